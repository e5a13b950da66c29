"""The points of a policy's sources as they are now: asked of ledger and EC2, and judged."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from lastgood.domain import pruning
from lastgood.domain.model import Point, PointStatus, Source, Tagged
from lastgood.domain.policy import Policy
from lastgood.domain.prune_plan import LEAST_ARCHIVED, Obstacle, Obstacles, SourcePlan
from lastgood.domain.retention import Judge, Verdict
from lastgood.domain.tags import HOLD, POINT
from lastgood.ports import Compute, Ledger


class Judged(NamedTuple):
    points: list[Point]
    verdicts: list[Verdict]


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

    def plan(self, sources: Iterable[Source]) -> list[SourcePlan]:
        """For each source all its points, newest first, with what is in the way of those that the
        rules free. In the order of the Regions' names."""
        by_region: dict[str, list[Source]] = defaultdict(list)
        for source in sources:
            by_region[source.region].append(source)
        return [
            one
            for region in sorted(by_region)
            for one in self.planned(region, self.judge(by_region[region]))
        ]

    def judge(self, sources: Sequence[Source]) -> dict[Source, Judged]:
        """Each source's points of the policy, and the verdicts on them, newest first."""
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

    def planned(self, region: str, judged: Mapping[Source, Judged]) -> list[SourcePlan]:
        """As ``plan``, of sources in one Region that are judged already."""
        freed: list[Point] = []
        for points, verdicts in judged.values():
            free = {one.point.id for one in verdicts if not one.keep}
            freed += [one for one in points if one.id in free]
        obstacles = self._obstacles(region, freed)
        cap = self.policy.max_deletes
        return [
            pruning.plan_source(source, points, verdicts, obstacles, cap)
            for source, (points, verdicts) in judged.items()
        ]

    def _obstacles(self, region: str, freed: Sequence[Point]) -> dict[str, Obstacles]:
        compute = self.compute(region)
        found = compute.snapshots_of_points(one.id for one in freed) if freed else {}
        held = in_the_way(compute, freed, found, self.now)
        return {
            one.id: {**pruning.missing_copies(self.policy, one), **held.get(one.id, {})}
            for one in freed
        }

    def _region(self, name: str) -> _Region:
        if name not in self._regions:
            compute, tags = self.compute(name), defaultdict[str, dict[str, str]](dict)
            for match in ({HOLD: ()}, *self.policy.retention.keep_tags):
                for page in compute.snapshots_tagged(self.policy.name, match):
                    for one in page.items:
                        tags[one.tags.get(POINT, "")] |= one.tags
            self._regions[name] = _Region(tags, compute.locked())
        return self._regions[name]


def in_the_way(
    compute: Compute,
    points: Sequence[Point],
    snapshots: Mapping[str, Sequence[Tagged]],
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
