"""Every tag key of Lastgood, once, and the tags of a new snapshot."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from lastgood.domain.names import instant

POINT = "lastgood:point"
POLICY = "lastgood:policy"
RUN = "lastgood:run"
SLOT = "lastgood:slot"
SOURCE = "lastgood:source"
METHOD = "lastgood:method"
OWN = (POINT, POLICY, RUN, SLOT, SOURCE, METHOD)

MOST_TAGS = 50
"""Of any EC2 resource (EC2 User Guide, "Tag restrictions"); the aws: ones are not counted."""


def of_point(
    *, point: str, policy: str, run: str, slot: datetime, source: str, method: str
) -> dict[str, str]:
    """Enough to find a snapshot's point again, and to write its ledger entry anew."""
    return {
        POINT: point,
        POLICY: policy,
        RUN: run,
        SLOT: instant(slot),
        SOURCE: source,
        METHOD: method,
    }


def copyable(tags: Mapping[str, str]) -> dict[str, str]:
    """A source's own tags, less what AWS reserves and what a restore may have left there."""
    return {
        key: value for key, value in tags.items() if not key.startswith("aws:") and key not in OWN
    }


def can_be_copied(tags: Mapping[str, str], sources: Iterable[Mapping[str, str]]) -> bool:
    """Whether EC2 may copy the tags of each of ``sources``, with ``tags`` on top.

    Not if there are too many; and not if a key is in both, since AWS does not say which wins: a
    volume that bears the tag of another point must not pass it on.
    """
    return all(
        len({**copyable(one), **tags}) <= MOST_TAGS and not one.keys() & tags.keys()
        for one in sources
    )
