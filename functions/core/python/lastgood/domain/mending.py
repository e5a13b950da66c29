"""What a sweep does about points that nobody settled, and about snapshots that are too many."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto

from lastgood.domain import tags as keys
from lastgood.domain.copying import CopyMember, CopyStatus, PointCopy
from lastgood.domain.model import (
    Change,
    Doubt,
    Hold,
    Member,
    MemberState,
    Method,
    Outcome,
    Point,
    PointStatus,
    Source,
    Tagged,
)
from lastgood.domain.place import Place
from lastgood.domain.taking import chosen, outcome_of

SETTLE_AFTER = timedelta(minutes=15)
"""A pending point that is older has had time for its events to come."""

GONE_AFTER = timedelta(hours=1)
"""A member that EC2 does not show after this long is gone: far longer than describes lag."""

IDLE = timedelta(minutes=30)
"""A worker that was killed is followed by the next delivery within the queue's visibility timeout,
which is 12 minutes; one that gave the point back comes again within 15."""

IDLE_FOR_LIMIT = timedelta(hours=2, minutes=30)
"""A worker that met a limit on snapshots gave the point back, and waits for up to two hours."""

MOST_RETAKES = 3
"""How often a sweep asks for a point again before it gives it up."""

DOUBT_FOR = timedelta(hours=1)
"""How long after its last attempt surplus snapshots of a point may still show up."""


class Idle(Enum):
    """What is known of a point that is CREATING."""

    WORKED_AT = auto()
    """Somebody has it, or will come back to it."""
    FORSAKEN = auto()
    """Nobody will: its message is gone."""
    HOPELESS = auto()
    """So it is, and it was asked for again often enough."""


def idle(point: Point, now: datetime) -> Idle:
    """``point`` is CREATING and read whole. Each time it was asked for again doubles the patience,
    for its message may wait behind those of a large fleet."""
    free_since = point.lease_until or point.claimed_at
    given_back = point.owner is None and point.cause is not None
    if now - free_since < (IDLE_FOR_LIMIT if given_back else IDLE * (1 << point.retakes)):
        return Idle.WORKED_AT
    return Idle.HOPELESS if point.retakes >= MOST_RETAKES else Idle.FORSAKEN


def as_found(point: Point, found: Sequence[Member], now: datetime) -> Point:
    """A PENDING point, with the states of its members as EC2 shows them now.

    A member that is not shown long after it was made is in error: somebody has deleted it.
    """
    states = {one.snapshot: one for one in found}

    def seen(member: Member) -> Member:
        if one := states.get(member.snapshot):
            return replace(member, state=one.state, cause=one.cause)
        old = now - member.started_at > GONE_AFTER
        if old and member.state is MemberState.PENDING:
            cause = "the snapshot is not there any more"
            return replace(member, state=MemberState.ERROR, cause=cause)
        return member

    return replace(point, members=tuple(seen(member) for member in point.members))


def surplus(point: Point, doubt: Doubt, found: Sequence[Member]) -> tuple[str, ...]:
    """Snapshots of ``found`` that an attempt made for the point and that are none of its members.

    ``found`` carry the point's tag. Tags can be copied by people: so a snapshot also has to be of
    a volume of the point, and started while it was attempted, to be taken for one of ours.
    """
    if point.status in (PointStatus.CREATING, PointStatus.DELETED):
        return ()
    members = {member.snapshot for member in point.members}
    volumes = {member.volume for member in point.members}
    begin, end = point.claimed_at - timedelta(minutes=1), doubt.since + DOUBT_FOR
    return tuple(
        one.snapshot
        for one in found
        if one.snapshot not in members
        and (not volumes or one.volume in volumes)
        and not one.volume.startswith(OF_A_COPY)
        and begin <= one.started_at <= end
    )


OF_A_COPY = "vol-ffff"
"""A copy's volume is no volume (EC2 API Reference, CopySnapshot)."""


def _originals(found: Sequence[Tagged]) -> list[Tagged]:
    """Those that were taken; of a volume without one, what was encrypted in place instead, as if
    it had been taken with the others, or at the point's slot."""
    taken = [one for one in found if not one.member.volume.startswith(OF_A_COPY)]
    volumes = {one.member.volume for one in taken}
    started = min((one.member.started_at for one in taken), default=None)
    for one in found:
        volume = one.tags.get(keys.VOLUME)
        complete = one.member.state is MemberState.COMPLETED
        if keys.in_place(one.tags) and complete and volume and volume not in volumes:
            volumes.add(volume)
            at = started or datetime.fromisoformat(one.tags[keys.SLOT])
            taken.append(replace(one, member=replace(one.member, volume=volume, started_at=at)))
    return taken


def rebuilt(found: Sequence[Tagged], *, region: str, account: str, now: datetime) -> Point | None:
    """The point that these snapshots with its tag were; None if their tags do not tell.

    It is AVAILABLE only if as many completed as its first attempt was to make. The manifest, the
    devices of its volumes, its notes and its history cannot be had back. Of surplus snapshots, a
    worker's choice is made.
    """
    try:
        ours = _originals(found)
        tags = ours[0].tags
        method, wanted = Method(tags[keys.METHOD]), int(tags[keys.MEMBERS])
        slot = datetime.fromisoformat(tags[keys.SLOT])
        names = tags[keys.POINT], tags[keys.POLICY], tags[keys.RUN], tags[keys.SOURCE]
    except (IndexError, KeyError, ValueError):
        return None
    if slot.tzinfo is None:
        return None
    kept = chosen(
        [one.member for one in ours],
        as_set=method is Method.SET,
        whole=lambda one: len(one) >= wanted,
    )
    members = tuple(kept[volume] for volume in sorted(kept))
    outcome = outcome_of(members, now)
    if len(members) < wanted:
        cause = f"{len(members)} of its {wanted} snapshots are there"
        outcome = Outcome(status=PointStatus.FAILED, at=now, cause=cause)
    status = outcome.status if outcome else PointStatus.PENDING
    held = next((one.tags[keys.HOLD] for one in ours if keys.HOLD in one.tags), None)
    point, policy, run, source = names
    return Point(
        id=point,
        policy=policy,
        run=run,
        slot=slot,
        source=Source(id=source, region=region, account=account),
        method=method,
        status=status,
        claimed_at=min(one.started_at for one in members),
        members=members,
        notes=("rebuilt from the tags of its snapshots: its manifest is lost",),
        settled_at=outcome.at if outcome else None,
        cause=outcome.cause if outcome else None,
        hold=None if held is None else Hold.of_tag(held, now),
        history=(Change(at=now, status=status, reason="rebuilt from tags"),),
    )


def rebuilt_copy(found: Sequence[Tagged], place: Place, now: datetime) -> PointCopy | None:
    """The copy that these snapshots of ``place``, of one copy's operations, were; None if their
    tags do not tell, or if some of it is missing or in error: then it is of no use.

    ``taken_at`` is the slot: when exactly the point was taken is lost. So are key, deadline and
    history.
    """
    try:
        tags = found[0].tags
        wanted, slot = int(tags[keys.MEMBERS]), datetime.fromisoformat(tags[keys.SLOT])
        region, _, account = tags[keys.COPIED_FROM].partition("/")
        source = Source(id=tags[keys.SOURCE], region=region, account=account)
        members = {
            int(one.tags[keys.COPY].rpartition("/")[2]): _member_of_copy(
                one, abroad=account != place.account
            )
            for one in sorted(found, key=lambda one: one.member.started_at, reverse=True)
            if one.member.state is not MemberState.ERROR
        }
        names = tags[keys.POINT], tags[keys.POLICY], tags[keys.RUN]
    except (IndexError, KeyError, ValueError):
        return None
    if slot.tzinfo is None or members.keys() != set(range(wanted)):
        return None
    under_way = any(one.state is MemberState.PENDING for one in members.values())
    point, policy, run = names
    return PointCopy(
        id=tags[keys.COPY].partition("/")[0],
        point=point,
        policy=policy,
        run=run,
        slot=slot,
        source=source,
        place=place,
        taken_at=slot,
        queued_at=now,
        members=tuple(members[number] for number in range(wanted)),
        status=CopyStatus.COPYING if under_way else CopyStatus.AVAILABLE,
        settled_at=None if under_way else now,
    )


def _member_of_copy(one: Tagged, *, abroad: bool) -> CopyMember:
    return CopyMember(
        # What was shared when the record was lost may be so still.
        shared=abroad,
        of=one.tags[keys.COPY_OF],
        volume=one.tags[keys.VOLUME],
        size_gib=one.member.size_gib,
        encrypted=one.member.encrypted,
        asked_at=one.member.started_at,
        snapshot=one.member.snapshot,
        state=one.member.state,
    )
