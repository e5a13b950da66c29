"""Why one point is kept, or when and why it will go, on one screen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from lastgood.domain import forecast
from lastgood.domain.model import Point, PointStatus
from lastgood.domain.policy import Policy, source_regions
from lastgood.domain.prune_plan import Fate, PointPlan, SourcePlan
from lastgood.domain.retention import PointFacts
from lastgood.domain.tags import POINT
from lastgood.errors import UnknownPolicy, UnknownTarget
from lastgood.judging import Judging
from lastgood.ports import Clock, Compute, Ledger, Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``lines`` say the same for people. ``goes_at``: the slot whose point frees it, if the
    schedules go on as they are; None if it is free now, or not within ten years."""

    point: str
    policy: str
    source: str
    status: PointStatus
    fate: Fate
    reasons: tuple[str, ...]
    goes_at: datetime | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explaining:
    policies: Policies
    compute: Callable[[str], Compute]
    ledger: Ledger
    clock: Clock
    home_region: str

    def explain(self, target: str) -> Explanation:
        """``target``: the id of a point or of a snapshot.

        Raises:
            UnknownTarget: it is none of ours, or not on record.
        """
        point = self._find(target)
        if point.status is PointStatus.DELETED:
            return _explanation(point, Fate.DELETE, _past(point), None, [])
        try:
            policy = self.policies.get(point.policy)
        except UnknownPolicy:
            why = f"unmanaged: the policy {point.policy} is not deployed any more; it stays"
            return _explanation(point, Fate.KEEP, (why,), None, [])
        judging = Judging(policy, self.compute, self.ledger, self.clock.now())
        judged, found = judging.judge(point.source.region, [point.source])
        (plan,) = judging.planned(point.source.region, judged, found)
        planned = next((one for one in plan.points if one.id == point.id), None)
        if planned is None:
            why = (
                "it failed without snapshots: there is nothing to delete"
                if point.status.settled
                else "it was written a moment ago: ask again"
            )
            return _explanation(point, Fate.KEEP, (why,), None, [])
        if planned.fate is not Fate.KEEP or point.status is not PointStatus.AVAILABLE:
            lines = _now(planned, plan, policy)
            return _explanation(point, planned.fate, planned.reasons, None, lines)
        facts = [one.point for one in judged[point.source].verdicts]
        return self._forecast(point, planned, policy, facts)

    def _forecast(
        self, point: Point, planned: PointPlan, policy: Policy, facts: Sequence[PointFacts]
    ) -> Explanation:
        coming = forecast.freed(policy, facts, point.id, self.clock.now())
        if coming.verdict is None:
            lines = [f"It does not go before {coming.at:%Y-%m-%d}, as things are."]
            return _explanation(point, planned.fate, planned.reasons, None, lines)
        lines = [
            f"It goes after {coming.at:%Y-%m-%d %H:%M} UTC, if every slot until then yields a "
            "point:",
            *(f"  {one}" for one in coming.verdict.reasons),
        ]
        return _explanation(point, planned.fate, planned.reasons, coming.at, lines)

    def _find(self, target: str) -> Point:
        point = self.ledger.point(target)
        if point is None and target.startswith("snap-"):
            point = self.ledger.point_of(target) or self._of_snapshot(target)
        if point is None:
            raise UnknownTarget(
                f"{target!r} is not on record: give the id of a point (pt-...) or of a snapshot "
                "(snap-...) that Lastgood made"
            )
        return point

    def _of_snapshot(self, snapshot: str) -> Point | None:
        deployed = (one.policy for one in self.policies.all())
        for region in source_regions(deployed, self.home_region):
            found = self.compute(region).snapshot(snapshot)
            if found is None:
                continue
            if POINT not in found.tags:
                raise UnknownTarget(
                    f"{snapshot} in {region} bears no tag {POINT}: Lastgood did not make it, and "
                    "never deletes it"
                )
            return self.ledger.point(found.tags[POINT])
        return None


def _now(planned: PointPlan, plan: SourcePlan, policy: Policy) -> list[str]:
    if planned in plan.going(approved=False):
        return ["It goes at the next prune, if that is not over max_deletes.count."]
    if planned.fate is Fate.DELETE:
        going = len(plan.going(approved=True))
        return [
            f"{going} of the {len(plan.points)} points of its source would go, more than "
            f"max_deletes.share {policy.max_deletes.share:g}: none does, unless a person applies a "
            f'plan: {{"policy": "{policy.name}", "dry_run": true}} makes one.'
        ]
    return [f"In the way: {text}" for text in planned.blocked_by.values()]


def _past(point: Point) -> tuple[str, ...]:
    return tuple(
        f"{one.status} at {one.at:%Y-%m-%d %H:%M} UTC: {one.reason}" for one in point.history
    )


def _explanation(
    point: Point,
    fate: Fate,
    reasons: Sequence[str],
    goes_at: datetime | None,
    more: Sequence[str],
) -> Explanation:
    return Explanation(
        point=point.id,
        policy=point.policy,
        source=point.source.id,
        status=point.status,
        fate=fate,
        reasons=tuple(reasons),
        goes_at=goes_at,
        lines=(*_head(point), f"{_VERBS[fate]}:", *(f"  {one}" for one in reasons), *more),
    )


_VERBS = {Fate.KEEP: "Kept", Fate.DELETE: "Free to go", Fate.BLOCKED: "Free to go, but blocked"}


def _head(point: Point) -> Iterator[str]:
    taken = point.taken_at or point.slot
    yield f"{point.id} of {point.source.id} in {point.source.region}, policy {point.policy}"
    yield (
        f"{point.status}, taken {taken:%Y-%m-%d %H:%M} UTC, {len(point.members)} snapshots of "
        f"{point.gib} GiB of volumes"
    )
