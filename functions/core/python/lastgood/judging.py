"""The points of a series as they are now: asked of ledger and EC2, and judged."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from lastgood.domain import pruning
from lastgood.domain.model import Point, PointStatus, Source
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import LEAST_ARCHIVED, Obstacle, SourcePlan
from lastgood.domain.retention import Judge, Verdict
from lastgood.domain.tags import HOLD
from lastgood.ports import Compute, Ledger
from lastgood.series import Found, Series


class Judged(NamedTuple):
    points: list[Point]
    verdicts: list[Verdict]


class _There(NamedTuple):
    """``tags``: by point, of those that a tag may keep. ``locked``: by snapshot, how."""

    tags: Mapping[str, Mapping[str, str]]
    locked: Mapping[str, str]


@dataclass(slots=True)
class Judging:
    """At the instant ``now``. What holds for a whole place is asked for once.

    Raises UnsafePlan for a retention that keeps nothing; its methods raise what ``Ledger`` and
    ``Compute`` do.
    """

    series: Series
    ledger: Ledger
    now: datetime
    _judge: Judge = field(init=False)
    _places: dict[Place, _There] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.series.retention)

    def plan(self, place: Place, sources: Sequence[Source]) -> list[SourcePlan]:
        """For each source of the place all its points, newest first, with what is in the way of
        those that the rules free."""
        judged, found = self.judge(place, sources)
        return self.planned(place, judged, found)

    def judge(self, place: Place, sources: Sequence[Source]) -> tuple[dict[Source, Judged], Found]:
        """Each source's points of the policy, and the verdicts on them, newest first; and what EC2
        has of the points of those sources of which some go.

        Of such a source a point that lost snapshots counts for nothing: else the last one that can
        be restored might go for one that cannot.
        """
        judged = self._by_record(place, sources)
        poorer = {source: one for source, one in judged.items() if any(_free(one))}
        asked = [one for points, _ in poorer.values() for one in points]
        found = self.series.found(self.series.at(place), asked) if asked else {}
        for source, (points, verdicts) in poorer.items():
            lost = {one.id: pruning.lost(one, found.get(one.id, ()), self.now) for one in points}
            if any(lost.values()):
                facts = [replace(one.point, lost=lost[one.point.id]) for one in verdicts]
                judged[source] = Judged(points, self._judge.judge(facts, self.now))
        return judged, found

    def _by_record(self, place: Place, sources: Sequence[Source]) -> dict[Source, Judged]:
        holds = self.ledger.source_holds(one.id for one in sources)
        there = self._there(place)
        judged = {}
        for source in sources:
            points = [one for one in self.series.points(source) if not _is_empty(one)]
            facts = [
                pruning.facts(
                    one,
                    hold=holds.get(source.id),
                    tags=there.tags.get(one.id, {}),
                    locked=there.locked,
                )
                for one in points
            ]
            judged[source] = Judged(points, self._judge.judge(facts, self.now))
        return judged

    def planned(
        self, place: Place, judged: Mapping[Source, Judged], found: Found
    ) -> list[SourcePlan]:
        """As ``plan``, of what ``judge`` answered."""
        freed = [one for each in judged.values() for one in _free(each)]
        held = in_the_way(self.series.at(place), freed, found, self.now)
        # What is not whole any more cannot be copied, and waits for no copy.
        lost = {one.point.id for each in judged.values() for one in each.verdicts if one.point.lost}
        obstacles = {
            one.id: {
                **({} if one.id in lost else self.series.missing_copies(one)),
                **held.get(one.id, {}),
            }
            for one in freed
        }
        cap = self.series.policy.max_deletes
        archived = {
            point: "a snapshot is archived"
            for point, some in found.items()
            if any(one.archived for one in some)
        }
        plans = []
        for source, (points, verdicts) in judged.items():
            plan = pruning.plan_source(source, points, verdicts, obstacles, cap)
            broken = {one.point.id: one.point.lost for one in verdicts if one.point.lost}
            gone = {one.id: "its copies go" for one in plan.going(approved=True)}
            coming = self.series.next_copy(source, {**archived, **broken, **gone})
            plans.append(replace(plan, next_copy=coming))
        return plans

    def _there(self, place: Place) -> _There:
        if place not in self._places:
            compute, tags = self.series.at(place), defaultdict[str, dict[str, str]](dict)
            for match in ({HOLD: ()}, *self.series.retention.keep_tags):
                for page in compute.snapshots_tagged(self.series.policy.name, match):
                    for one in page.items:
                        if point := self.series.point_of(one):
                            tags[point] |= one.tags
            self._places[place] = _There(tags, compute.locked())
        return self._places[place]


def _is_empty(point: Point) -> bool:
    """One that failed without snapshots has nothing to delete: its record goes by itself."""
    return point.status is PointStatus.FAILED and not point.members


def _free(judged: Judged) -> list[Point]:
    free = {one.point.id for one in judged.verdicts if not one.keep}
    return [one for one in judged.points if one.id in free]


def in_the_way(
    compute: Compute,
    points: Sequence[Point],
    snapshots: Found,
    now: datetime,
) -> dict[str, dict[Obstacle, str]]:
    """By point: images that use its snapshots, and snapshots that are in the archive for less than
    the minimum. Those without are left out. ``snapshots``: of the points, as EC2 shows them."""
    if not points:
        return {}
    images = compute.images_of(one for point in points for one in point.snapshots)
    archived = [one.member.snapshot for some in snapshots.values() for one in some if one.archived]
    young = {
        snapshot: at + LEAST_ARCHIVED
        for snapshot, at in (compute.archived_at(archived) if archived else {}).items()
        if now < at + LEAST_ARCHIVED
    }
    found: dict[str, dict[Obstacle, str]] = {}
    for point in points:
        of_point = found.setdefault(point.id, {})
        for one in point.snapshots:
            if one in images:
                of_point[Obstacle.IMAGE] = f"{one} is {images[one]}"
            if one in young:
                until = f"{young[one]:%Y-%m-%d}"
                of_point[Obstacle.ARCHIVE] = f"{one} is archived, and paid for until {until}"
    return {point: obstacles for point, obstacles in found.items() if obstacles}
