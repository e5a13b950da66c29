"""The points of a policy's sources as they are now: asked of ledger and EC2, and judged."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from lastgood.domain import pruning
from lastgood.domain.copying import PointCopy
from lastgood.domain.model import Point, PointStatus, Source, Tagged
from lastgood.domain.policy import Policy
from lastgood.domain.prune_plan import LEAST_ARCHIVED, Obstacle, Obstacles, SourcePlan
from lastgood.domain.retention import Judge, Verdict
from lastgood.domain.tags import HOLD, POINT
from lastgood.ports import Compute, Ledger


class Judged(NamedTuple):
    points: list[Point]
    verdicts: list[Verdict]


Found = Mapping[str, Sequence[Tagged]]
"""The snapshots with the tags of points, by point, as EC2 shows them."""


class _Region(NamedTuple):
    """``tags``: by point, of those that a tag may keep. ``locked``: by snapshot, how."""

    tags: Mapping[str, Mapping[str, str]]
    locked: Mapping[str, str]


@dataclass(slots=True)
class Judging:
    """At the instant ``now``. What holds for a whole Region is asked for once.

    Raises UnsafePlan for a retention that keeps nothing; its methods raise what ``Ledger`` and
    ``Compute`` do.
    """

    policy: Policy
    compute: Callable[[str], Compute]
    ledger: Ledger
    now: datetime
    _judge: Judge = field(init=False)
    _regions: dict[str, _Region] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.policy.retention)

    def plan(self, region: str, sources: Sequence[Source]) -> list[SourcePlan]:
        """For each source of the Region all its points, newest first, with what is in the way of
        those that the rules free."""
        judged, found = self.judge(region, sources)
        return self.planned(region, judged, found)

    def judge(self, region: str, sources: Sequence[Source]) -> tuple[dict[Source, Judged], Found]:
        """Each source's points of the policy, and the verdicts on them, newest first; and what EC2
        has of the points of those sources of which some go.

        Of such a source a point that lost snapshots counts for nothing: else the last one that can
        be restored might go for one that cannot.
        """
        judged = self._by_record(sources)
        poorer = {source: one for source, one in judged.items() if any(_free(one))}
        asked = [one.id for points, _ in poorer.values() for one in points]
        found = self.compute(region).snapshots_of_points(asked) if asked else {}
        for source, (points, verdicts) in poorer.items():
            lost = {one.id: pruning.lost(one, found.get(one.id, ()), self.now) for one in points}
            if any(lost.values()):
                facts = [replace(one.point, lost=lost[one.point.id]) for one in verdicts]
                judged[source] = Judged(points, self._judge.judge(facts, self.now))
        return judged, found

    def _by_record(self, sources: Sequence[Source]) -> dict[Source, Judged]:
        holds = self.ledger.source_holds(one.id for one in sources)
        judged = {}
        for source in sources:
            region = self._region(source.region)
            points = [one for one in self.ledger.points(source.id) if self._is_ours(one)]
            facts = [
                pruning.facts(
                    one,
                    hold=holds.get(source.id),
                    tags=region.tags.get(one.id, {}),
                    locked=region.locked,
                )
                for one in points
            ]
            judged[source] = Judged(points, self._judge.judge(facts, self.now))
        return judged

    def _is_ours(self, point: Point) -> bool:
        """One that failed without snapshots has nothing to delete: its record goes by itself."""
        empty = point.status is PointStatus.FAILED and not point.members
        return point.policy == self.policy.name and not empty

    def planned(
        self, region: str, judged: Mapping[Source, Judged], found: Found
    ) -> list[SourcePlan]:
        """As ``plan``, of what ``judge`` answered."""
        freed = [one for each in judged.values() for one in _free(each)]
        held = in_the_way(self.compute(region), freed, found, self.now)
        obstacles = {one.id: {**self._missing_copies(one), **held.get(one.id, {})} for one in freed}
        cap = self.policy.max_deletes
        return [
            pruning.plan_source(source, points, verdicts, obstacles, cap)
            for source, (points, verdicts) in judged.items()
        ]

    def _missing_copies(self, point: Point) -> Obstacles:
        copies = copies_of(self.ledger, self.policy, point)
        return pruning.missing_copies(self.policy, point, copies)

    def _region(self, name: str) -> _Region:
        if name not in self._regions:
            compute, tags = self.compute(name), defaultdict[str, dict[str, str]](dict)
            for match in ({HOLD: ()}, *self.policy.retention.keep_tags):
                for page in compute.snapshots_tagged(self.policy.name, match):
                    for one in page.items:
                        tags[one.tags.get(POINT, "")] |= one.tags
            self._regions[name] = _Region(tags, compute.locked())
        return self._regions[name]


def copies_of(ledger: Ledger, policy: Policy, point: Point) -> Sequence[PointCopy]:
    """Asked of the ledger only if the policy wants any."""
    return ledger.copies(point.id) if policy.copies else ()


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
