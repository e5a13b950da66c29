"""Why one point is kept, or when and why it will go, on one screen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain import forecast
from lastgood.domain.chat_permissions import touches
from lastgood.domain.copying import as_point
from lastgood.domain.model import Point, PointStatus, Tagged
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, TagMatch, copy_places, source_places
from lastgood.domain.prune_plan import Fate, PointPlan, SourcePlan
from lastgood.domain.retention import PointFacts
from lastgood.domain.tags import COPY, POINT, in_place
from lastgood.errors import AccessDenied, NotPermitted, UnknownPolicy, UnknownTarget
from lastgood.judging import Judging
from lastgood.ports import Clock, Ledger, Policies
from lastgood.series import AllSeries, Series


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
    series: AllSeries
    ledger: Ledger
    clock: Clock

    def explain(self, target: str, allowed: tuple[TagMatch, ...] | None = None) -> Explanation:
        """``target``: the id of a point, or of a snapshot of one or of a copy. ``allowed``: the
        tags of the sources that who asks may ask about; None: of all.

        Raises:
            UnknownTarget: it is none of ours, or not on record.
            NotPermitted: its source has other tags, or they are not on record any more.
        """
        point, place = self._find(target)
        if not touches(allowed, point.manifest.tags if point.manifest else {}):
            raise NotPermitted(f"{target} is of a source that you may not ask about")
        if point.status is PointStatus.DELETED:
            return _explanation(point, Fate.DELETE, _past(point), None, self._copies(point, place))
        try:
            policy = self.policies.get(point.policy)
        except UnknownPolicy:
            why = f"unmanaged: the policy {point.policy} is not deployed any more; it stays"
            return _explanation(point, Fate.KEEP, (why,), None, [])
        now = self.clock.now()
        since = self.ledger.copying_since(policy.name, self.series.places(policy), now)
        series = self.series.within(policy, place, since)
        judging = Judging(series, self.ledger, now)
        judged, found = judging.judge(point.source.place, [point.source])
        (plan,) = judging.planned(point.source.place, judged, found)
        planned = next((one for one in plan.points if one.id == point.id), None)
        if planned is None:
            why = (
                "it failed without snapshots: there is nothing to delete"
                if point.status.settled
                else "it was written a moment ago: ask again"
            )
            return _explanation(point, Fate.KEEP, (why,), None, [])
        if planned.fate is not Fate.KEEP or point.status is not PointStatus.AVAILABLE:
            lines = [*_now(planned, plan, policy), *self._copies(point, place)]
            return _explanation(point, planned.fate, planned.reasons, None, lines)
        facts = [one.point for one in judged[point.source].verdicts]
        return self._forecast(point, planned, series, facts)

    def _forecast(
        self, point: Point, planned: PointPlan, series: Series, facts: Sequence[PointFacts]
    ) -> Explanation:
        policy = replace(series.policy, retention=series.retention)
        coming = forecast.freed(policy, facts, point.id, self.clock.now())
        copies = self._copies(point, series.place)
        if coming.verdict is None:
            lines = [f"It does not go before {coming.at:%Y-%m-%d}, as things are.", *copies]
            return _explanation(point, planned.fate, planned.reasons, None, lines)
        lines = [
            f"It goes after {coming.at:%Y-%m-%d %H:%M} UTC, if every slot until then yields a "
            "point:",
            *(f"  {one}" for one in coming.verdict.reasons),
            *copies,
        ]
        return _explanation(point, planned.fate, planned.reasons, coming.at, lines)

    def _copies(self, point: Point, place: Place | None) -> list[str]:
        """Of a point, in words; a copy has none itself."""
        if place:
            return []
        return [
            f"Its {'encrypted copy' if one.in_place else 'copy'} in {one.place} is {one.status}"
            f"{f' ({one.cause})' if one.cause else ''}: "
            f"{', '.join(member.snapshot or '-' for member in one.members)}"
            for one in self.ledger.copies(point.id)
        ]

    def _find(self, target: str) -> tuple[Point, Place | None]:
        """With where it is, if it is a copy."""
        point = self.ledger.point(target)
        if point is None and target.startswith("snap-"):
            point = self.ledger.point_of(target)
            if point is None:
                return self._of_snapshot(target)
        return self._known(point, target), None

    def _of_snapshot(self, snapshot: str) -> tuple[Point, Place | None]:
        deployed = [one.policy for one in self.policies.all()]
        for place in source_places(deployed, self.series.home):
            found = self._shown(place, snapshot)
            if found and (COPY not in found.tags or in_place(found.tags)):
                point = self.ledger.point(_tag_of(found, snapshot, place.region))
                return self._known(point, snapshot), None
        for place in copy_places(deployed, self.series.home):
            found = self._shown(place, snapshot)
            if found:
                copy = self.ledger.copy(_tag_of(found, snapshot, place.region), place)
                return self._known(as_point(copy) if copy else None, snapshot), place
        return self._known(None, snapshot), None

    def _shown(self, place: Place, snapshot: str) -> Tagged | None:
        """None also if Lastgood may not look there: it may be somewhere else."""
        try:
            return self.series.at(place).snapshot(snapshot)
        except AccessDenied:
            return None

    def _known(self, point: Point | None, target: str) -> Point:
        if point is None:
            raise UnknownTarget(
                f"{target!r} is not on record: give the id of a point (pt-...) or of a snapshot "
                "(snap-...) that Lastgood made"
            )
        return point


def _tag_of(found: Tagged, snapshot: str, region: str) -> str:
    if POINT not in found.tags:
        raise UnknownTarget(
            f"{snapshot} in {region} bears no tag {POINT}: Lastgood did not make it, and never "
            "deletes it"
        )
    return found.tags[POINT]


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
    if proof := point.proof:
        yield (
            f"last proved on {proof.at:%Y-%m-%d %H:%M} UTC by {proof.restore}: it took "
            f"{_length(proof.seconds)} ({proof.how})"
        )


def _length(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
