"""Every tag key of Lastgood, once, and the tags of a new snapshot."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from lastgood.domain.names import copy_id, instant

NAME = "Name"
"""By which people know a source."""
POINT = "lastgood:point"
POLICY = "lastgood:policy"
RUN = "lastgood:run"
SLOT = "lastgood:slot"
SOURCE = "lastgood:source"
METHOD = "lastgood:method"
MEMBERS = "lastgood:members"
COPY = "lastgood:copy"
"""On a snapshot that is a copy: the operation that made it, a copy's id and the member's number."""
COPY_OF = "lastgood:copy-of"
"""The snapshot that it is a copy of."""
VOLUME = "lastgood:volume"
"""The volume whose data it has: EC2 gives a copy a volume id of no volume."""
COPIED_FROM = "lastgood:copied-from"
"""The place of the snapshot that it is a copy of: ``REGION/ACCOUNT``."""
HOLD = "lastgood:hold"
"""On a snapshot that may not be deleted, whoever put it there; its value says who and why."""
RESTORE = "lastgood:restore"
"""On all that a restore made, from the call on that made it: the restore's id."""
RESTORED_FROM = "lastgood:restored-from"
"""On what a restore made: the point whose data it has."""
TEMPORARY = "lastgood:temporary"
"""On a clone with a time to live, or a volume that was swapped out: it will be removed, by the
restore that is named, and is not taken by policies."""
OF_RESTORE = (RESTORE, RESTORED_FROM, TEMPORARY)
OF_POINT = (POINT, POLICY, RUN, SLOT, SOURCE, METHOD, MEMBERS)
OWN = (*OF_POINT, COPY, COPY_OF, COPIED_FROM, VOLUME, *OF_RESTORE)

MOST_TAGS = 50
"""Of any EC2 resource (EC2 User Guide, "Tag restrictions"); the aws: ones are not counted."""


def of_point(
    *, point: str, policy: str, run: str, slot: datetime, source: str, method: str, members: int
) -> dict[str, str]:
    """Enough to find a snapshot's point again, and to write its ledger entry anew.

    ``members`` is how many volumes are to be taken, so that the tags alone tell a set that is
    whole.
    """
    return {
        POINT: point,
        POLICY: policy,
        RUN: run,
        SLOT: instant(slot),
        SOURCE: source,
        METHOD: method,
        MEMBERS: str(members),
    }


def of_copy(
    tags: Mapping[str, str],
    *,
    operation: str,
    copy_of: str,
    volume: str,
    region: str,
    account: str,
) -> dict[str, str]:
    """Of the copy of a snapshot with ``tags``, which EC2 does not copy: all that fit, and ours.
    What is held is held in each place. ``region``, ``account``: where the snapshot is."""
    ours = {
        **{key: value for key, value in tags.items() if key in (*OWN, HOLD)},
        COPY: operation,
        COPY_OF: copy_of,
        COPIED_FROM: f"{region}/{account}",
        VOLUME: volume,
    }
    more = list(copyable(tags).items())[: MOST_TAGS - len(ours)]
    return {**dict(more), **ours}


def in_place(tags: Mapping[str, str]) -> bool:
    """Whether these are of a copy that is where it came from, to be a member of the point in place
    of what it is a copy of: the copy's id tells where it is."""
    region, _, account = tags.get(COPIED_FROM, "").partition("/")
    return tags.get(COPY, "").partition("/")[0] == copy_id(tags.get(POINT, ""), region, account)


def of_restore(restore: str, point: str, *, temporary: bool) -> dict[str, str]:
    """Of whatever a restore makes."""
    tags = {RESTORE: restore, RESTORED_FROM: point}
    return {**tags, TEMPORARY: restore} if temporary else tags


def copyable(tags: Mapping[str, str]) -> dict[str, str]:
    """A source's own tags, less what AWS reserves and what a restore may have left there."""
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith("aws:") and key not in (*OWN, HOLD)
    }


def fit(tags: Mapping[str, str], sources: Iterable[Mapping[str, str]]) -> bool:
    """Whether each of ``sources``, with ``tags`` on top, stays within what EC2 allows."""
    return all(len({**copyable(one), **tags}) <= MOST_TAGS for one in sources)


def apart(tags: Mapping[str, str], sources: Iterable[Mapping[str, str]]) -> bool:
    """Whether EC2 may copy the tags of ``sources`` beside ``tags``: no key is in both.

    AWS does not say which would win: a volume that bears the tag of another point must not pass
    it on.
    """
    return not any(one.keys() & tags.keys() for one in sources)


def of_instance(
    instance: Mapping[str, str], tags: Mapping[str, str], volumes: Iterable[Mapping[str, str]]
) -> dict[str, str]:
    """An instance's own tags for the snapshots of its volumes, such as its Name.

    Without the keys that ``tags`` or one of the ``volumes`` have: theirs are nearer. None at all
    if there would be too many.
    """
    volumes = [copyable(one) for one in volumes]
    taken = set(tags).union(*volumes)
    more = {key: value for key, value in copyable(instance).items() if key not in taken}
    largest = max((len(one) for one in volumes), default=0)
    return more if len(tags) + len(more) + largest <= MOST_TAGS else {}
