"""Apply one slice of a plan: delete each of its points whole, if it may go still."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from lastgood.domain.model import Point, PointStatus
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import (
    SLICES,
    Applied,
    Obstacle,
    PlanStatus,
    PointPlan,
    PruneMessage,
    PrunePlan,
    SourcePlan,
    retention_text,
)
from lastgood.domain.pruning import hold_of, lost, newest
from lastgood.domain.retention import matches
from lastgood.errors import Conflict, InUse, OutOfTime, Refused, UnknownTarget, UnsafePlan
from lastgood.judging import in_the_way
from lastgood.ports import Clock, Compute, Ledger, Plans, Policies, PruneQueue
from lastgood.series import AllSeries, Found, Series

RESERVE = timedelta(minutes=1)
"""What one point may take, twice over: with less time left, the rest goes back to the queue."""


@dataclass(slots=True)
class Progress:
    """What became of a slice. ``deleted`` and ``gib`` are of this delivery, ``before`` counts
    points that were deleted earlier. ``left``: by point, for people; ``blocked``: the same,
    counted."""

    deleted: int = 0
    gib: int = 0
    before: int = 0
    left: dict[str, str] = field(default_factory=dict)
    blocked: Counter[Obstacle] = field(default_factory=Counter)
    carried_over: bool = False

    def leave(self, point: str, why: str, obstacle: Obstacle | None = None) -> None:
        self.left[point] = why
        if obstacle:
            self.blocked[obstacle] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleter:
    policies: Policies
    series: AllSeries
    ledger: Ledger
    plans: Plans
    queue: PruneQueue
    clock: Clock

    def apply(self, message: PruneMessage, progress: Progress) -> None:
        """Delete what the slice says and what may go still; note what became of it, in ``progress``
        also if it ends with an error.

        A message that comes again, or after a death in the middle, goes on where the other came to.
        Of a plan that is stopped, only what is expired goes: its deletion had begun.

        Raises:
            UnknownTarget, UnsafePlan: there is no such plan, or it is not to be applied.
            OutOfTime: there was not even time for one point.
        """
        plan = self.ledger.plan(message.plan)
        if plan is None:
            raise UnknownTarget(f"there is no {message.plan} any more")
        if plan.status not in (PlanStatus.APPLYING, PlanStatus.STOPPED):
            raise UnsafePlan(f"{plan.id} is {plan.status}: nobody said to apply it")
        policy = self.policies.get(plan.policy)
        part, number = divmod(message.slice, SLICES)
        stored = self.plans.get(plan.policy, plan.id, part)
        series = self.series.within(policy, stored.place, plan.copying_since)
        by_place: dict[Place, list[SourcePlan]] = defaultdict(list)
        for source in stored.slice(number):
            if _going(source, plan):
                by_place[source.source.place].append(source)
        for place, sources in by_place.items():
            self._enter(place, sources, plan, series, progress)
        if progress.carried_over:
            if not progress.deleted:
                raise OutOfTime("the function's time is nearly over", timedelta(seconds=1))
            self.queue.send([message])
        applied = Applied(deleted=progress.before + progress.deleted, left=progress.left)
        self.ledger.note_applied(plan.id, message.slice, applied, self.clock.now())

    def _enter(
        self,
        place: Place,
        sources: list[SourcePlan],
        plan: PrunePlan,
        series: Series,
        progress: Progress,
    ) -> None:
        """What is in a place that may not be entered stays, and stops nothing elsewhere."""
        try:
            compute = series.at(place)
        except Refused as error:
            for source in sources:
                for point in _going(source, plan):
                    progress.leave(point.id, str(error), Obstacle.REFUSED)
        else:
            self._apply(compute, sources, plan, series, progress)

    def _apply(
        self,
        compute: Compute,
        sources: list[SourcePlan],
        plan: PrunePlan,
        series: Series,
        progress: Progress,
    ) -> None:
        now = self.clock.now()
        there = {
            source.source: {one.id: one for one in series.points(source.source)}
            for source in sources
        }
        every = [one for points in there.values() for one in points.values()]
        found = series.found(compute, every)
        going: list[tuple[Point, PointPlan]] = []
        for source in sources:
            points = there[source.source]
            real = [one for one in points.values() if not lost(one, found.get(one.id, ()), now)]
            floor = newest(real, series.retention.at_least, now)
            for planned in _going(source, plan):
                point = points.get(planned.id)
                if point is None:
                    progress.before += 1
                elif why := _changed(planned, point, floor, plan, series):
                    progress.leave(point.id, why)
                else:
                    going.append((point, planned))
        kept = self._kept_by_ec2(compute, [point for point, _ in going], found, series, progress)
        for point, planned in going:
            if point.id in kept:
                continue
            if self.clock.left() < RESERVE:
                progress.carried_over = True
                return
            self._delete(series, compute, point, planned, progress)

    def _kept_by_ec2(
        self,
        compute: Compute,
        points: list[Point],
        found: Found,
        series: Series,
        progress: Progress,
    ) -> set[str]:
        """Those that a tag, a lock, an image or the archive keeps, as EC2 has it now."""
        if not points:
            return set()
        locked = compute.locked()
        obstacles = in_the_way(compute, points, found, self.clock.now())
        for point in points:
            tags = [one.tags for one in found.get(point.id, ())]
            for why in _tagged(tags, series, point):
                progress.leave(point.id, why)
            for snapshot in point.snapshots:
                if snapshot in locked:
                    progress.leave(point.id, f"{snapshot} is {locked[snapshot]}", Obstacle.LOCK)
            for obstacle, text in obstacles.get(point.id, {}).items():
                progress.leave(point.id, text, obstacle)
        return set(progress.left)

    def _delete(
        self,
        series: Series,
        compute: Compute,
        point: Point,
        planned: PointPlan,
        progress: Progress,
    ) -> None:
        """EXPIRED first, so that nobody restores from what is being deleted, or holds it."""
        try:
            expired = series.expire(point, self.clock.now(), "; ".join(planned.reasons))
        except Conflict as error:
            progress.leave(point.id, str(error))
            return
        for snapshot in expired.snapshots:
            try:
                compute.delete_snapshot(snapshot)
            except InUse as error:
                progress.leave(point.id, str(error), Obstacle.IMAGE)
                return
            except Refused as error:
                if compute.snapshot(snapshot) is None:
                    # What is gone has no tags, by which our right to delete it is judged.
                    continue
                progress.leave(point.id, str(error), Obstacle.REFUSED)
                return
        series.deleted(point, self.clock.now())
        progress.deleted += 1
        progress.gib += expired.gib


def _going(source: SourcePlan, plan: PrunePlan) -> tuple[PointPlan, ...]:
    if plan.status is PlanStatus.STOPPED:
        return source.finishing
    return source.going(approved=plan.approved_by is not None)


def _changed(
    planned: PointPlan, point: Point, floor: set[str], plan: PrunePlan, series: Series
) -> str | None:
    """Why the plan does not hold for the point any more."""
    if point.status is PointStatus.EXPIRED:
        return None
    if point.status is not planned.status:
        return f"it was {planned.status} when it was planned, and is {point.status} now"
    if point.hold:
        return f"it is {point.hold}"
    if point.id in floor:
        return f"it is one of the newest {series.retention.at_least} now"
    if not planned.lost and (missing := series.missing_copies(point)):
        return "; ".join(missing.values())
    if retention_text(series.policy) != plan.retention:
        return "the retention of its policy was changed since it was planned"
    return None


def _tagged(tags: list[Mapping[str, str]], series: Series, point: Point) -> Iterator[str]:
    for one in tags:
        if held := hold_of(one, point.slot):
            yield f"it is {held}"
        for match in series.retention.keep_tags:
            if point.status is PointStatus.AVAILABLE and matches(one, match):
                yield "it bears tags that keep_tags names"
