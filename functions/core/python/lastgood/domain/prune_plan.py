"""The plan of a prune: what becomes of each point, what is in the way, and how far it is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from lastgood.domain.copying import place_of
from lastgood.domain.lineage import NextCopy
from lastgood.domain.model import PointStatus, Source
from lastgood.domain.place import Place
from lastgood.domain.policy import MaxDeletes, Policy


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
    """``gib``: of all its volumes, so an upper bound of what a delete frees. ``lost``: EC2 lacks
    snapshots of it."""

    id: str
    status: PointStatus
    taken_at: datetime
    snapshots: tuple[str, ...]
    gib: int
    fate: Fate
    reasons: tuple[str, ...]
    blocked_by: Obstacles = field(default_factory=dict)
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """All points of one source under one policy, newest first; in a place of copies, all copies of
    them there, and ``source`` says so.

    ``over_share``: more than ``max_deletes.share`` of them would go; none does, unless a person
    approves of it. But a point that is expired is being deleted already: it is finished.
    ``next_copy``: in a place of copies, whether the next will be incremental after this.
    """

    source: Source
    points: tuple[PointPlan, ...]
    over_share: bool = False
    next_copy: NextCopy | None = None

    def going(self, *, approved: bool) -> tuple[PointPlan, ...]:
        if self.over_share and not approved:
            return self.finishing
        return tuple(one for one in self.points if one.fate is Fate.DELETE)

    @property
    def finishing(self) -> tuple[PointPlan, ...]:
        return tuple(
            one
            for one in self.points
            if one.fate is Fate.DELETE and one.status is PointStatus.EXPIRED
        )


SOURCES_IN_SLICE = 5
"""As many as one message asks to apply: few, so that all workers have their share."""
SLICES = 10
"""Of a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """As much of a plan as is judged, and stored, at once: up to ``SLICES`` slices. ``place``: that
    of the copies that it is about."""

    plan: str
    policy: str
    number: int
    sources: tuple[SourcePlan, ...]
    place: Place | None = None

    def slice(self, number: int) -> tuple[SourcePlan, ...]:
        begin = number * SOURCES_IN_SLICE
        return self.sources[begin : begin + SOURCES_IN_SLICE]

    @property
    def busy(self) -> tuple[int, ...]:
        """The slices in which something goes, or would if a person approved, counted through the
        plan."""
        return self._slices(lambda one: one.going(approved=True))

    @property
    def finishing(self) -> tuple[int, ...]:
        """Those in which the deletion of a point has begun."""
        return self._slices(lambda one: one.finishing)

    def _slices(self, some: Callable[[SourcePlan], object]) -> tuple[int, ...]:
        return tuple(
            self.number * SLICES + number
            for number in range(SLICES)
            if any(some(one) for one in self.slice(number))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCopies:
    """Of how many sources the next copy will be incremental, and of how many full; ``full_gib``: of
    the volumes of the latter, so at most so much is sent whole."""

    incremental: int = 0
    full: int = 0
    full_gib: int = 0

    def __add__(self, one: NextCopy) -> "NextCopies":
        if one.incremental:
            return replace(self, incremental=self.incremental + 1)
        return replace(self, full=self.full + 1, full_gib=self.full_gib + one.gib)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of points and copies, but for ``sources``. ``gib`` is of those that go: at most so much is
    freed.

    ``next_copies``: by place. ``finishing``: those of ``going`` that are expired. ``over_...``:
    what goes beside, if a person approves. ``lost``: points that lack snapshots in EC2.
    ``unreachable``: sources in places where nothing can be done.
    """

    sources: int = 0
    unreachable: int = 0
    kept: int = 0
    going: int = 0
    finishing: int = 0
    lost: int = 0
    over_share: int = 0
    over_snapshots: int = 0
    over_gib: int = 0
    sources_over_share: int = 0
    blocked: Mapping[Obstacle, int] = field(default_factory=dict)
    snapshots: int = 0
    gib: int = 0
    next_copies: Mapping[str, NextCopies] = field(default_factory=dict)

    def with_part(self, part: Part) -> "Totals":
        blocked = dict(self.blocked)
        for one in _points(part):
            for obstacle in one.blocked_by:
                blocked[obstacle] = blocked.get(obstacle, 0) + 1
        going = [one for source in part.sources for one in source.going(approved=False)]
        over_sources = [source for source in part.sources if source.over_share]
        over = [
            one
            for source in over_sources
            for one in source.going(approved=True)
            if one not in source.finishing
        ]
        coming = dict(self.next_copies)
        for source in part.sources:
            if source.next_copy:
                place = source.next_copy.place
                coming[place] = coming.get(place, NextCopies()) + source.next_copy
        return replace(
            self,
            next_copies=coming,
            sources=self.sources + (0 if part.place else len(part.sources)),
            kept=self.kept + sum(one.fate is Fate.KEEP for one in _points(part)),
            going=self.going + len(going),
            finishing=self.finishing + sum(len(one.finishing) for one in part.sources),
            lost=self.lost + sum(one.lost for one in _points(part)),
            over_share=self.over_share + len(over),
            over_snapshots=self.over_snapshots + sum(len(one.snapshots) for one in over),
            over_gib=self.over_gib + sum(one.gib for one in over),
            sources_over_share=self.sources_over_share + len(over_sources),
            blocked=blocked,
            snapshots=self.snapshots + sum(len(one.snapshots) for one in going),
            gib=self.gib + sum(one.gib for one in going),
        )

    @property
    def approved(self) -> "Totals":
        """What goes when a person has approved."""
        return replace(
            self,
            going=self.going + self.over_share,
            snapshots=self.snapshots + self.over_snapshots,
            gib=self.gib + self.over_gib,
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
class CopyingSince:
    place: Place
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """The head of a plan; its parts are stored apart, as JSON.

    ``series``: which of the policy's is planned: 0 for the originals, and then its copies in their
    order. ``cursor``: where among its sources to go on. ``parts``: how many are written; ``busy``:
    the slices in which something goes, ``finishing``: in which something is expired.
    ``unreachable``: by place, why its sources are in none. ``retention``: that of the policy when
    it was planned. ``copying``: since when it has copies in each place that it names.
    ``approved_by``: who applied it, if a person did.
    """

    id: str
    policy: str
    made_at: datetime
    dry_run: bool
    retention: str
    copying: tuple[CopyingSince, ...] = ()
    status: PlanStatus = PlanStatus.PLANNING
    series: int = 0
    cursor: str | None = None
    parts: int = 0
    busy: tuple[int, ...] = ()
    finishing: tuple[int, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    approved_by: str | None = None

    def with_part(
        self,
        part: Part,
        cursor: str,
        unreachable: int = 0,
        refused: Mapping[str, str] | None = None,
    ) -> "PrunePlan":
        """``cursor``: the last source of the part. ``unreachable``: sources that are not in it;
        ``refused``: by place, why."""
        totals = self.totals.with_part(part)
        return replace(
            self,
            parts=part.number + 1,
            cursor=cursor,
            busy=(*self.busy, *part.busy),
            finishing=(*self.finishing, *part.finishing),
            unreachable={**self.unreachable, **(refused or {})},
            totals=replace(totals, unreachable=totals.unreachable + unreachable),
        )

    @property
    def copying_since(self) -> Mapping[Place, datetime]:
        return {one.place: one.at for one in self.copying}

    def next_series(self) -> "PrunePlan":
        return replace(self, series=self.series + 1, cursor=None)

    def finished(self, cap: MaxDeletes) -> "PrunePlan":
        """What becomes of it when all sources are planned."""
        if self.dry_run:
            status = PlanStatus.READY
        elif self.totals.going - self.totals.finishing > cap.count:
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


def retention_text(policy: Policy) -> str:
    """Equal for equal retentions in equal places, so that a change shows."""
    places = [(place_of(one, ""), one.retention) for one in policy.copies]
    if places and policy.select.accounts:
        return repr((policy.retention, places, policy.select.accounts))
    return repr((policy.retention, places) if places else policy.retention)
