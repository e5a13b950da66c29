"""What the use cases need of the world. ``aws/`` and ``ledger/`` provide it, tests stand in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from lastgood.domain.ended import Ended
from lastgood.domain.manifest import Instance, LaunchAttributes, Manifest, Volume
from lastgood.domain.model import (
    Claim,
    Member,
    Outcome,
    Planned,
    Point,
    Run,
    Source,
    SourceRecord,
)
from lastgood.domain.policy import Policy
from lastgood.domain.requests import TakeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery of a message. ``owner`` is unique to it; ``last`` says no other will follow."""

    owner: str
    attempt: int = 1
    last: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """``changed`` is False when the point had ended that way before."""

    point: Point
    changed: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """``lease``: how long a worker may hold a point, no shorter than it can run.

    ``describes``: how long EC2's describes may not show what was made.
    """

    lease: timedelta
    describes: timedelta = timedelta(minutes=2)

    @property
    def lag(self) -> timedelta:
        """From a claim on, how long an absence proves nothing: a worker's last call, and then
        the time that describes may need."""
        return self.lease + self.describes


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, with a time zone."""
        ...


class Policies(Protocol):
    def get(self, name: str) -> Policy:
        """Raises UnknownPolicy, which names those that there are."""
        ...


class Compute(Protocol):
    """EC2 in one Region. Every method may raise Throttled, Unavailable, AccessDenied, CallRefused
    and RegionNotEnabled beside what it names."""

    region: str

    def instances(self, tags: Mapping[str, tuple[str, ...]]) -> Iterator[Sequence[Instance]]:
        """A page at a time, those whose tags EC2 finds matching; terminated ones too."""
        ...

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        """Those of ``ids`` that exist."""
        ...

    def volumes(self, tags: Mapping[str, tuple[str, ...]]) -> Iterator[Sequence[Volume]]:
        """A page at a time, those whose tags EC2 finds matching."""
        ...

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        """Those of ``ids`` that exist."""
        ...

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes: ...

    def snapshot_set(
        self, request: TakeRequest, tags: Mapping[str, str], *, copy_tags: bool
    ) -> tuple[Member, ...]:
        """Take all volumes of the instance but the excluded ones, in one call, tagged in it.

        ``copy_tags``: each snapshot gets its volume's own tags too.

        Raises:
            SourceGone: there is no such instance any more.
            LimitReached: a volume has too many snapshots pending, or one just before.
        """
        ...

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        """Take one volume, tagged in the call. Raises as ``snapshot_set`` does."""
        ...

    def snapshots_of(self, point: str) -> tuple[Member, ...]:
        """The snapshots that carry the point's tag, oldest first, as far as EC2 shows them yet."""
        ...


class Ledger(Protocol):
    """The record of every point, run and source. Any method may raise LedgerMissing, KeyDenied,
    AccessDenied, Throttled and Unavailable. All writes that change a state are conditional."""

    def open_run(self, run: Run) -> None:
        """Write the run, unless it is there already."""
        ...

    def plan_run(self, run: str, planned: Planned) -> None:
        """Write what planning came to. A second planning of the same run writes over it, unless
        it has fewer Regions done: that is one that began before, and ends later."""
        ...

    def planned(self, run: str) -> Planned | None:
        """What planning of the run came to so far."""
        ...

    def run(self, run: str) -> Run | None:
        """The run with the counts of its points, added up now; those that another run has taken
        among them, as they are now."""
        ...

    def runs(self, policy: str) -> Iterator[Run]:
        """Newest slot first, without their counts."""
        ...

    def claim(self, claim: Claim) -> Point:
        """Make the point ours to take. The source is on record from then on.

        The point that comes back says how far it got: past CREATING, it is taken already; with
        ``attempted_at``, an attempt went before whose outcome is not known. The ledger itself
        notes the attempt that may now follow, in the same write.

        Raises:
            Conflict: another owner holds it, and its lease has not run out.
        """
        ...

    def taken_elsewhere(self, run: str, point: str, at: datetime) -> None:
        """Note that another run takes a point that ``run`` asked for too: it counts in both."""
        ...

    def attempt(self, point: str, owner: str, at: datetime) -> None:
        """Note that a further create call goes out now. Raises Conflict unless ``owner`` holds
        the point."""
        ...

    def release(self, point: str, owner: str, why: str, *, untouched: bool) -> None:
        """Give the point back so that the next delivery need not wait for the lease to run out.

        ``why`` is its ``cause`` until it is taken. ``untouched``: nothing that went out for it
        had an effect. Raises Conflict as above.
        """
        ...

    def answer(
        self,
        point: Point,
        at: datetime,
        members: tuple[Member, ...],
        manifest: Manifest,
        notes: tuple[str, ...],
    ) -> Point:
        """CREATING to PENDING, with what EC2 answered.

        Raises:
            Conflict: ``point.owner`` does not hold the point any more.
        """
        ...

    def settle(self, point: Point, outcome: Outcome) -> Settled:
        """PENDING to AVAILABLE or FAILED, counted in its run, in one transaction.

        ``point.members`` are recorded in the states they have there. Settling it again the same
        way changes nothing.

        Raises:
            Conflict: it is settled the other way, or is not yet PENDING.
        """
        ...

    def give_up(self, claim: Claim, outcome: Outcome) -> Point:
        """CREATING, or never claimed, to FAILED, counted in its run. Giving up again changes
        nothing.

        Raises:
            Conflict: another owner holds it, or it is past CREATING.
        """
        ...

    def settle_member(self, point: Point, ended: Ended) -> Point:
        """Note how one member of a point that was taken one by one ended; gives the point with
        the states of all its members, as they are after this."""
        ...

    def point(self, point: str) -> Point | None: ...

    def point_of(self, snapshot: str) -> Point | None:
        """The point that a snapshot id leads to: a set is found by its first id (``anchor``),
        a point taken one by one by any. May miss what was written in the last second."""
        ...

    def points(self, source: str) -> Iterator[Point]:
        """The points of a source, newest slot first, without members and manifest."""
        ...

    def sources(self, policy: str) -> Iterator[SourceRecord]:
        """Every source that was ever seen under the policy, in no order."""
        ...

    def launch(self, policy: str, source: Source) -> LaunchAttributes | None:
        """What ``remember_launch`` kept last."""
        ...

    def remember_launch(self, policy: str, source: Source, launch: LaunchAttributes) -> None:
        """Keep what EC2 tells only one instance at a time, so as not to ask for it each day."""
        ...

    def in_flight(self) -> Iterator[Point]:
        """The points that are CREATING or PENDING, without members and manifest."""
        ...


class Queue(Protocol):
    def send(self, requests: Iterable[TakeRequest]) -> int:
        """Send each request, in as few calls as fit; how many were sent.

        Raises:
            Unavailable: some were refused again and again. Sending all again is harmless.
        """
        ...


class Bus(Protocol):
    def announce(self, point: Point) -> None:
        """Tell subscribers that a point is available, or failed. Raises Throttled, Unavailable."""
        ...
