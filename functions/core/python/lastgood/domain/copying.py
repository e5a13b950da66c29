"""Copies of points: which waits, which is under way, and what becomes of each.

A copy has the members of its point, one for each snapshot. A destination has so many slots, and a
member takes one from the moment before the call until its snapshot has ended.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from lastgood.domain.model import Change, Member, MemberState, Method, Point, PointStatus, Source
from lastgood.domain.names import copy_id
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy as Wanted

SLOTS = 20
"""Copies under way at most in one destination Region, if Service Quotas does not say (EBS User
Guide, "Quotas for Amazon EBS", "Concurrent snapshot copies per destination Region")."""

QUOTA_FOR = timedelta(days=1)
"""How long a quota that was read is believed."""

SHRUNK_FOR = timedelta(minutes=10)
"""How long fewer slots are used after EC2 has refused one, since others copy there too."""

FIRST_WAIT = timedelta(minutes=15)
LONGEST_WAIT = timedelta(hours=12)
"""A copy that failed is tried again after the first wait, twice as long each time, and then twice a
day for as long as it is wanted: whoever mends the cause need not ask for it."""

PASSED_AFTER = 6
"""So often a copy fails, in some eight hours, before newer ones of its source go before it."""


class CopyStatus(StrEnum):
    """``waiting -> copying -> available -> expired -> deleted``, or ``failed``; of a copy in place,
    ``available -> merged``."""

    WAITING = "waiting"
    COPYING = "copying"
    AVAILABLE = "available"
    EXPIRED = "expired"
    DELETED = "deleted"
    FAILED = "failed"
    """For good: what it copies is gone."""
    MERGED = "merged"
    """Its snapshots are members of the point, and what they are copies of is gone."""

    @property
    def settled(self) -> bool:
        return self not in (CopyStatus.WAITING, CopyStatus.COPYING)

    @property
    def listed(self) -> bool:
        """It has, or may get, snapshots of its own."""
        return self not in (CopyStatus.DELETED, CopyStatus.MERGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMember:
    """``of`` is the snapshot that is copied, ``snapshot`` the copy of it, once EC2 has answered.

    ``asked_at``: since when a call may have gone out for it; it holds a slot from then until it
    has ended. ``state`` is None until it is known to be under way. ``shared``: ``of`` may be shared
    with the account of the copy's place, which it must not be for longer than that.
    """

    of: str
    volume: str
    size_gib: int
    encrypted: bool
    device: str | None = None
    asked_at: datetime | None = None
    snapshot: str | None = None
    state: MemberState | None = None
    cause: str | None = None
    incremental: bool | None = None
    shared: bool = False

    @property
    def ended(self) -> bool:
        return self.state in (MemberState.COMPLETED, MemberState.ERROR)

    @property
    def under_way(self) -> bool:
        return self.asked_at is not None and not self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCopy:
    """The copy of one point in one place.

    ``taken_at``: the instant whose data it has, that of its point. ``key``, ``minutes``: as
    CopySnapshot takes them. ``version``: how often it was written. ``not_before``: it waits until
    then. ``failures``: how often it has failed so far. ``late_at``: when EBS first told that a
    member is not complete within ``minutes``. ``hopeless``: a member of it cannot be copied any
    more, so no other is.
    """

    id: str
    point: str
    policy: str
    run: str
    slot: datetime
    source: Source
    place: Place
    taken_at: datetime
    queued_at: datetime
    members: tuple[CopyMember, ...]
    status: CopyStatus = CopyStatus.WAITING
    key: str | None = None
    minutes: int | None = None
    version: int = 0
    not_before: datetime | None = None
    failures: int = 0
    late_at: datetime | None = None
    hopeless: bool = False
    settled_at: datetime | None = None
    cause: str | None = None
    history: tuple[Change, ...] = ()

    def operation(self, number: int) -> str:
        """The id of the one call for a member, in the tag of what it makes."""
        return f"{self.id}/{number}"

    def holder(self, number: int) -> str:
        """Whose a slot is: the source's, and the operation's."""
        return f"{self.source.id}/{self.operation(number)}"

    @property
    def turn(self) -> tuple[datetime, int, str]:
        """Oldest slot first; of one slot, the largest first, since what is long and begins last
        is what the others are waited for."""
        return (self.slot, -max(one.size_gib for one in self.members), self.id)

    @property
    def free(self) -> tuple[int, ...]:
        """The members that nobody has asked for yet, by number."""
        return tuple(
            number
            for number, one in enumerate(self.members)
            if one.asked_at is None and not one.ended and not self.hopeless
        )

    @property
    def abroad(self) -> bool:
        """It is in another account than its source."""
        return self.place.account != self.source.account

    @property
    def in_place(self) -> bool:
        """It is where its source is: an encrypted one of the members that are not."""
        return self.place == self.source.place

    @property
    def unmerged(self) -> bool:
        """It is in place and complete, and the point, or something that it left, wants it done."""
        return self.in_place and self.status is CopyStatus.AVAILABLE

    @property
    def left_shared(self) -> tuple[int, ...]:
        """The members that may be shared, and need not be any more, by number."""
        return tuple(
            number for number, one in enumerate(self.members) if one.shared and not one.under_way
        )

    @property
    def open(self) -> bool:
        """There is something to be done about it still."""
        return not self.status.settled or self.unmerged or any(one.shared for one in self.members)


def place_of(wanted: Wanted, account: str) -> Place:
    """``account``: that of the sources."""
    return Place(region=wanted.region, account=wanted.account or account)


def queued(point: Point, wanted: Wanted, now: datetime) -> PointCopy:
    """The copy that a policy wants of an available point."""
    place = place_of(wanted, point.source.account)
    within = wanted.complete_within
    return PointCopy(
        id=copy_id(point.id, place.region, place.account),
        point=point.id,
        policy=point.policy,
        run=point.run,
        slot=point.slot,
        source=point.source,
        place=place,
        taken_at=point.taken_at or point.slot,
        queued_at=now,
        key=wanted.kms_key,
        minutes=int(within / timedelta(minutes=1)) if within else None,
        members=tuple(
            CopyMember(
                of=one.snapshot,
                volume=one.volume,
                size_gib=one.size_gib,
                encrypted=one.encrypted,
                device=one.device,
            )
            for one in point.members
        ),
    )


def encrypting(point: Point, now: datetime) -> PointCopy:
    """The copy in place of an available point's unencrypted members, under the key that EBS uses
    there by default."""
    copy = queued(point, Wanted(region=point.source.region), now)
    return replace(
        copy,
        members=tuple(replace(one, encrypted=True) for one in copy.members if not one.encrypted),
    )


def exchanged(point: Point, copy: PointCopy) -> tuple[Member, ...]:
    """The point's members, with what is copied in place in the place of what it is a copy of."""
    made = {one.of: one.snapshot for one in copy.members if one.snapshot}
    return tuple(
        replace(one, snapshot=made[one.snapshot], encrypted=True) if one.snapshot in made else one
        for one in point.members
    )


def next_free(
    due: Iterable[PointCopy], slots: "Slots", now: datetime
) -> Iterator[tuple[PointCopy, int]]:
    """What may be asked for, in order. ``due``: all that is open in one place, by ``turn``; no more
    of it is looked at than is wanted.

    Of one source, the members of one copy at a time, since a copy is incremental only to the newest
    that is complete: first the one that is under way, then whoever is older, also while it waits
    after its first failures.
    """
    busy = slots.copies
    for one in due:
        if one.status.settled:
            continue
        waits = one.not_before is not None and now < one.not_before
        if waits and one.failures >= PASSED_AFTER:
            continue
        if busy.setdefault(one.source.id, one.id) != one.id or waits:
            continue
        for number in one.free:
            yield one, number


def asked(copy: PointCopy, number: int, now: datetime) -> PointCopy:
    """In the same write, the snapshot is noted as shared: before it is."""
    under_way = replace(copy, status=CopyStatus.COPYING)
    return _with(under_way, number, asked_at=now, shared=copy.abroad)


def given_back(copy: PointCopy, number: int, not_before: datetime | None = None) -> PointCopy:
    """Nothing came of the call."""
    given = _with(copy, number, asked_at=None)
    if not any(one.under_way or one.ended for one in given.members):
        given = replace(given, status=CopyStatus.WAITING)
    return replace(given, not_before=not_before) if not_before else given


def unshared(copy: PointCopy, numbers: Iterable[int]) -> PointCopy:
    for number in numbers:
        copy = _with(copy, number, shared=False)
    return copy


def made(copy: PointCopy, number: int, snapshot: str) -> PointCopy:
    return _with(copy, number, snapshot=snapshot, state=MemberState.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEnded:
    """EBS's event: the copy ``snapshot`` in ``region`` has ended, in whichever way."""

    account: str
    region: str
    snapshot: str
    at: datetime
    incremental: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLate:
    """EBS's event: the copy ``snapshot`` takes longer than was asked for; it goes on."""

    account: str
    region: str
    snapshot: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReady:
    """A point became available: its policy may want copies of it."""

    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDue:
    """Look after what is under way in a place, and fill it."""

    place: Place


CopyWork = CopyEnded | CopyLate | PointReady | PlaceDue


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEnded:
    """How the copy of one snapshot ended. ``snapshot`` is None if EC2 made none."""

    snapshot: str | None
    state: MemberState
    cause: str | None = None
    incremental: bool | None = None
    for_good: bool = False
    """It cannot succeed another time."""


def ended(copy: PointCopy, number: int, news: MemberEnded, now: datetime) -> PointCopy:
    """With the news; and settled, if that was the last of them. A member that ended takes none."""
    if copy.status.settled or copy.members[number].ended:
        return copy
    after = _with(
        copy,
        number,
        snapshot=news.snapshot,
        state=news.state,
        cause=news.cause,
        incremental=news.incremental,
    )
    after = replace(after, hopeless=copy.hopeless or news.for_good)
    if any(one.under_way if after.hopeless else not one.ended for one in after.members):
        return after
    broken = [one for one in after.members if one.state is MemberState.ERROR]
    if not broken:
        return replace(after, status=CopyStatus.AVAILABLE, settled_at=now, cause=None)
    causes = "; ".join(dict.fromkeys(f"{one.of}: {one.cause}" for one in broken))
    failures = after.failures + 1
    if after.hopeless:
        return replace(
            after, status=CopyStatus.FAILED, settled_at=now, cause=causes, failures=failures
        )
    return replace(
        after,
        status=CopyStatus.WAITING,
        failures=failures,
        cause=causes,
        not_before=now + _wait(failures),
        members=tuple(
            replace(one, asked_at=None, snapshot=None, state=None, incremental=None)
            if one in broken
            else one
            for one in after.members
        ),
    )


def _wait(failures: int) -> timedelta:
    return min(FIRST_WAIT * (1 << min(failures - 1, 10)), LONGEST_WAIT)


def merged(copy: PointCopy, at: datetime) -> PointCopy:
    reason = "its snapshots are members of the point"
    change = Change(at=at, status=PointStatus.AVAILABLE, reason=reason)
    return replace(copy, status=CopyStatus.MERGED, cause=None, history=(*copy.history, change))


def unfinished(copy: PointCopy, why: str, now: datetime) -> PointCopy:
    """One in place that is complete, while something that is to go cannot."""
    failures = copy.failures + 1
    return replace(copy, cause=why, failures=failures, not_before=now + _wait(failures))


def begun_anew(copy: PointCopy) -> PointCopy:
    """One in place that is complete, of which something is gone before the point had it."""
    return replace(
        copy,
        status=CopyStatus.WAITING,
        settled_at=None,
        members=tuple(
            replace(one, asked_at=None, snapshot=None, state=None, incremental=None)
            for one in copy.members
        ),
    )


def expired(copy: PointCopy, at: datetime, reason: str) -> PointCopy:
    return _changed(copy, CopyStatus.EXPIRED, at, reason)


def deleted(copy: PointCopy, at: datetime) -> PointCopy:
    return _changed(copy, CopyStatus.DELETED, at, "its snapshots are deleted")


def _changed(copy: PointCopy, status: CopyStatus, at: datetime, reason: str) -> PointCopy:
    change = Change(at=at, status=PointStatus(status), reason=reason)
    return replace(copy, status=status, history=(*copy.history, change))


def as_point(copy: PointCopy) -> Point:
    """The copy as a point of its own, so that it is judged as one is: its source is in the place of
    the copy, and its id is the copy's."""
    if copy.status is CopyStatus.MERGED:
        status = PointStatus.AVAILABLE
    else:
        status = PointStatus(copy.status) if copy.status.settled else PointStatus.PENDING
    return Point(
        id=copy.id,
        policy=copy.policy,
        run=copy.run,
        slot=copy.slot,
        source=replace(copy.source, region=copy.place.region, account=copy.place.account),
        method=Method.SET,
        status=status,
        claimed_at=copy.queued_at,
        members=tuple(
            Member(
                snapshot=one.snapshot,
                volume=one.volume,
                size_gib=one.size_gib,
                encrypted=one.encrypted,
                started_at=copy.taken_at,
                device=one.device,
                state=one.state or MemberState.PENDING,
                cause=one.cause,
            )
            for one in copy.members
            if one.snapshot
        ),
        settled_at=copy.settled_at,
        cause=copy.cause,
        history=copy.history,
    )


def _with(copy: PointCopy, number: int, **changed: object) -> PointCopy:
    members = tuple(
        replace(one, **changed) if index == number else one  # type: ignore[arg-type]
        for index, one in enumerate(copy.members)
    )
    return replace(copy, members=members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Of one place: who holds one (``PointCopy.holder``), and how many there are for us.

    ``quota``: how many the account has there, when it was last asked.
    """

    taken: frozenset[str] = frozenset()
    quota: int | None = None
    quota_at: datetime | None = None
    shrunk_to: int | None = None
    shrunk_until: datetime | None = None

    @property
    def copies(self) -> dict[str, str]:
        """By source, the copy that is under way."""
        return dict(one.split("/")[:2] for one in self.taken)

    def is_old(self, now: datetime) -> bool:
        return self.quota_at is None or now - self.quota_at >= QUOTA_FOR

    def limit(self, now: datetime) -> int:
        all_ = self.quota or SLOTS
        if self.shrunk_to is None or self.shrunk_until is None or now >= self.shrunk_until:
            return all_
        return min(all_, self.shrunk_to)
