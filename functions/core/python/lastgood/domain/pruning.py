"""What to delete of a source's points, what is in the way, and the plan that says so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from lastgood.domain.model import Hold, Point, PointStatus, Source
from lastgood.domain.policy import MaxDeletes, Policy, Retention
from lastgood.domain.tags import HOLD

if TYPE_CHECKING:
    from lastgood.domain.retention import PointFacts, Verdict

AVAILABLE = PointStatus.AVAILABLE


class Fate(StrEnum):
    """``blocked``: the rules free the point, but something is in the way."""

    KEEP = "keep"
    DELETE = "delete"
    BLOCKED = "blocked"


class Obstacle(StrEnum):
    """What is in the way of a delete, in a word, for counting."""

    COPY = "copy"
    """A copy that its policy asks for is not available."""
    IMAGE = "image"
    """An AMI uses a snapshot of it, enabled or not."""
    ARCHIVE = "archive"
    """A snapshot is in the archive tier for less than the minimum that is paid for."""
    LOCK = "lock"
    """A snapshot is locked."""
    REFUSED = "refused"
    """EC2 refused a delete for another reason."""


LEAST_ARCHIVED = timedelta(days=90)
"""The rest of it is billed when the snapshot is deleted (EBS User Guide, "Archive Amazon EBS
snapshots")."""

PLAN_FOR = timedelta(days=90)
"""How long the head of a plan and its parts are kept."""

Obstacles = Mapping[Obstacle, str]
"""What is in the way of one point, each in words for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPlan:
    """``gib``: of all its volumes, so an upper bound of what a delete frees."""

    id: str
    status: PointStatus
    taken_at: datetime
    snapshots: tuple[str, ...]
    gib: int
    fate: Fate
    reasons: tuple[str, ...]
    blocked_by: Obstacles = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """All points of one source under one policy, newest first.

    ``over_share``: more than ``max_deletes.share`` of them would go; none does, unless a person
    approves of it.
    """

    source: Source
    points: tuple[PointPlan, ...]
    over_share: bool = False

    def going(self, *, approved: bool) -> tuple[PointPlan, ...]:
        if self.over_share and not approved:
            return ()
        return tuple(one for one in self.points if one.fate is Fate.DELETE)


SOURCES_IN_SLICE = 5
"""As many as one message asks to apply: few, so that all workers have their share."""
SLICES = 10
"""Of a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """As much of a plan as is judged, and stored, at once: up to ``SLICES`` slices."""

    plan: str
    policy: str
    number: int
    sources: tuple[SourcePlan, ...]

    def slice(self, number: int) -> tuple[SourcePlan, ...]:
        begin = number * SOURCES_IN_SLICE
        return self.sources[begin : begin + SOURCES_IN_SLICE]

    @property
    def busy(self) -> tuple[int, ...]:
        """The slices in which something goes, or would if a person approved, counted through the
        plan."""
        return tuple(
            self.number * SLICES + number
            for number in range(SLICES)
            if any(one.going(approved=True) for one in self.slice(number))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of points, but for ``sources``. ``gib`` is of those that go: at most so much is freed.

    ``unreachable``: sources in Regions that no policy names any more, where nothing can be done.
    """

    sources: int = 0
    unreachable: int = 0
    kept: int = 0
    going: int = 0
    over_share: int = 0
    sources_over_share: int = 0
    blocked: Mapping[Obstacle, int] = field(default_factory=dict)
    snapshots: int = 0
    gib: int = 0

    def with_part(self, part: Part) -> "Totals":
        blocked = dict(self.blocked)
        for one in _points(part):
            for obstacle in one.blocked_by:
                blocked[obstacle] = blocked.get(obstacle, 0) + 1
        going = [one for source in part.sources for one in source.going(approved=False)]
        over = [source for source in part.sources if source.over_share]
        return replace(
            self,
            sources=self.sources + len(part.sources),
            kept=self.kept + sum(one.fate is Fate.KEEP for one in _points(part)),
            going=self.going + len(going),
            over_share=self.over_share + sum(len(one.going(approved=True)) for one in over),
            sources_over_share=self.sources_over_share + len(over),
            blocked=blocked,
            snapshots=self.snapshots + sum(len(one.snapshots) for one in going),
            gib=self.gib + sum(one.gib for one in going),
        )


def _points(part: Part) -> Iterable[PointPlan]:
    return (one for source in part.sources for one in source.points)


class PlanStatus(StrEnum):
    PLANNING = "planning"
    READY = "ready"
    """A dry run: nothing happens until a person applies it."""
    STOPPED = "stopped"
    """Over the cap: nothing happens until a person approves of it."""
    APPLYING = "applying"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """The head of a plan; its parts are stored apart, as JSON.

    ``cursor``: where among the sources of the policy to go on, None at their end. ``parts``: how
    many are written; ``busy``: the slices in which something goes. ``retention``: that
    of the policy when it was planned. ``approved_by``: who applied it, if that was a person.
    """

    id: str
    policy: str
    made_at: datetime
    dry_run: bool
    retention: str
    status: PlanStatus = PlanStatus.PLANNING
    cursor: str | None = None
    parts: int = 0
    busy: tuple[int, ...] = ()
    totals: Totals = field(default_factory=Totals)
    approved_by: str | None = None

    def with_part(self, part: Part, cursor: str, unreachable: int = 0) -> "PrunePlan":
        """``cursor``: the last source of the part. ``unreachable``: sources that are not in it."""
        totals = self.totals.with_part(part)
        return replace(
            self,
            parts=part.number + 1,
            cursor=cursor,
            busy=(*self.busy, *part.busy),
            totals=replace(totals, unreachable=totals.unreachable + unreachable),
        )

    def finished(self, cap: MaxDeletes) -> "PrunePlan":
        """What becomes of it when all sources are planned."""
        if self.dry_run:
            status = PlanStatus.READY
        elif self.totals.going > cap.count:
            status = PlanStatus.STOPPED
        else:
            status = PlanStatus.APPLYING
        return replace(self, status=status, cursor=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneMessage:
    """Apply one slice of a plan, counted through it."""

    plan: str
    policy: str
    slice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one slice, counted from its points as they are. ``left``: for people."""

    deleted: int = 0
    left: Mapping[str, str] = field(default_factory=dict)


def retention_text(retention: Retention) -> str:
    """Equal for equal retentions, so that a change shows."""
    return repr(retention)


def facts(
    point: Point, *, hold: Hold | None, tags: Mapping[str, str], locked: Mapping[str, str]
) -> "PointFacts":
    """For the judge. ``hold``: of its source. ``tags``: of its snapshots, as EC2 has them now.
    ``locked``: by snapshot, how."""
    # Every function knows plans; a cold start of those that judge nothing need not pay for this.
    from lastgood.domain.retention import PointFacts

    protections = [f"{one} is {locked[one]}" for one in point.snapshots if one in locked]
    if hold:
        protections.insert(0, f"its source is {hold}")
    if held := point.hold or hold_of(tags, point.slot):
        protections.insert(0, str(held))
    return PointFacts(
        id=point.id,
        taken_at=point.taken_at or point.slot,
        status=point.status,
        tags=tags,
        protections=tuple(protections),
    )


def hold_of(tags: Mapping[str, str], at: datetime) -> Hold | None:
    """What the tag says that anybody may put on a snapshot."""
    return Hold.of_tag(tags[HOLD], at) if HOLD in tags else None


def newest(points: Iterable[Point], at_least: int, now: datetime) -> set[str]:
    """The ids of the points of one source that a plan may never delete: see ``Retention``."""
    taken = sorted(
        ((one.taken_at or one.slot, one.id) for one in points if one.status is AVAILABLE),
        reverse=True,
    )
    return {id_ for at, id_ in [one for one in taken if one[0] <= now][:at_least]}


def missing_copies(policy: Policy, point: Point) -> Obstacles:
    """The copies that the policy asks for and that are not available yet, of an available point.

    There are none yet, since this release makes no copies: so nothing of such a policy goes.
    """
    if not policy.copies or point.status is not AVAILABLE:
        return {}
    places = ", ".join(
        f"{one.region}{f' in {one.account}' if one.account else ''}" for one in policy.copies
    )
    return {Obstacle.COPY: f"its copy to {places} is required, and not available"}


def plan_source(
    source: Source,
    points: Iterable[Point],
    verdicts: "Sequence[Verdict]",
    obstacles: Mapping[str, Obstacles],
    cap: MaxDeletes,
) -> SourcePlan:
    """``obstacles``: by point, of those that the rules free."""
    by_id = {one.id: one for one in points}
    planned = tuple(_planned(by_id[one.point.id], one, obstacles) for one in verdicts)
    available = [one for one in planned if one.status is AVAILABLE]
    going = sum(one.fate is Fate.DELETE for one in available)
    return SourcePlan(source=source, points=planned, over_share=going > cap.share * len(available))


def _planned(point: Point, verdict: "Verdict", obstacles: Mapping[str, Obstacles]) -> PointPlan:
    blocked_by = {} if verdict.keep else obstacles.get(point.id, {})
    return PointPlan(
        id=point.id,
        status=point.status,
        taken_at=verdict.point.taken_at,
        snapshots=point.snapshots,
        gib=point.gib,
        fate=Fate.KEEP if verdict.keep else Fate.BLOCKED if blocked_by else Fate.DELETE,
        reasons=verdict.reasons,
        blocked_by=blocked_by,
    )
