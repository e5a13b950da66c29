"""Settle the point whose snapshots ended, and tell subscribers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from lastgood.domain import ended
from lastgood.domain.ended import SnapshotsEnded
from lastgood.domain.model import Outcome, Point, PointStatus
from lastgood.domain.place import Place
from lastgood.domain.taking import anchor, outcome_of
from lastgood.errors import Conflict, ForeignEvent, NotSettledYet, TryAgain
from lastgood.ports import Bus, Clock, Compute, Delivery, Ledger

LOOKS = 5
"""How often a young snapshot that the ledger does not know is looked for, before it is foreign."""

LOOK_AGAIN = timedelta(seconds=20)
"""After the first look; twice as long after each other: five minutes in all, which is longer than
the function that takes snapshots can run before it answers."""

YOUNG = timedelta(minutes=10)
"""An older snapshot is on record, or is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """The world as recording needs it. ``at`` gives the EC2 of a place; ``accounts``: those that
    sources are in, the only ones whose events count."""

    at: Callable[[Place], Compute]
    ledger: Ledger
    bus: Bus
    clock: Clock
    accounts: frozenset[str]

    def record(self, event: SnapshotsEnded, delivery: Delivery) -> Point | None:
        """Settle the point of these snapshots; None if they are none of ours.

        Subscribers hear of a point at least once: again if this event settled it at an earlier
        delivery, whose announcement may have been lost.

        Raises:
            ForeignEvent: of an account that no policy names.
            NotSettledYet: they may be ours, and their creator has not written its answer yet.
        """
        if event.account not in self.accounts:
            raise ForeignEvent(
                f"an EBS event of account {event.account} came to Lastgood, whose policies look in "
                f"{', '.join(sorted(self.accounts))}: take away the rule or bus policy that "
                "forwards it"
            )
        snapshots = [one.snapshot for one in event.snapshots]
        point = self.ledger.point_of(anchor(snapshots))
        if point is None or point.status is PointStatus.CREATING:
            self._unknown(event, delivery, snapshots)
            return None
        point = self._with_news(point, event)
        outcome = outcome_of(point.members, event.at)
        if outcome is None:
            return point
        if outcome.status is PointStatus.FAILED:
            point = self._with_causes(point)
            outcome = outcome_of(point.members, event.at) or outcome
        try:
            # A message that a person took out of the dead letters is counted anew.
            old = self.clock.now() - event.at > YOUNG
            return self._settle(point, outcome, again=delivery.attempt > 1 or old)
        except Conflict:
            # It ended the other way, or is past that.
            return self.ledger.point(point.id)
        except TryAgain:
            if delivery.last:
                # If it was settled and not announced, a sweep announces it.
                self.ledger.doubt(point.id, self.clock.now())
            raise

    def _settle(self, point: Point, outcome: Outcome, *, again: bool) -> Point:
        settled = self.ledger.settle(point, outcome)
        ours = settled.point.settled_at == outcome.at
        if settled.changed or (ours and again):
            self.bus.announce(settled.point, repeat=not settled.changed)
        return settled.point

    def _with_news(self, point: Point, event: SnapshotsEnded) -> Point:
        if not ended.counts_members(point):
            return replace(point, members=ended.merged(point.members, event.snapshots))
        for one in event.snapshots:
            point = self.ledger.settle_member(point, one)
        return point

    def _with_causes(self, point: Point) -> Point:
        """The reason stands in a snapshot's state message, and only there: events do not say it."""
        found = self.at(point.source.place).snapshots_of(point.id)
        causes = {one.snapshot: one.cause for one in found if one.cause}
        if not causes:
            return point
        return replace(
            point,
            members=tuple(replace(one, cause=causes.get(one.snapshot)) for one in point.members),
        )

    def _unknown(self, event: SnapshotsEnded, delivery: Delivery, snapshots: list[str]) -> None:
        """Foreign, a set's member that is not its anchor, or not yet on record: wait for that."""
        age = self.clock.now() - event.started_at
        if age < YOUNG and delivery.attempt < LOOKS and not delivery.last:
            raise NotSettledYet(
                f"{', '.join(snapshots)}: not on record yet",
                after=LOOK_AGAIN * (1 << delivery.attempt - 1),
            )
