"""Sources, recovery points and runs: the values that everything else passes around."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from lastgood.domain.manifest import Manifest
from lastgood.domain.names import instant
from lastgood.domain.place import Place
from lastgood.domain.policy import ResourceKind

A_TAG = "a tag"
"""Who holds, if a tag says only why."""
LONGEST_TAG_VALUE = 256
"""Characters (EC2 User Guide, "Tag restrictions")."""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """What is protected: an instance (all its volumes, as one set) or a single volume."""

    id: str
    region: str
    account: str

    @property
    def kind(self) -> ResourceKind:
        return ResourceKind.INSTANCE if self.id.startswith("i-") else ResourceKind.VOLUME

    @property
    def place(self) -> Place:
        return Place(region=self.region, account=self.account)


class PointStatus(StrEnum):
    """``creating -> pending -> available -> expired -> deleted``, or ``failed``. Nothing else."""

    CREATING = "creating"
    PENDING = "pending"
    AVAILABLE = "available"
    EXPIRED = "expired"
    DELETED = "deleted"
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        return self not in (PointStatus.CREATING, PointStatus.PENDING)


class Method(StrEnum):
    """How the members of a point were taken."""

    SET = "set"
    """One CreateSnapshots call: crash-consistent across all volumes of the instance."""
    VOLUME = "volume"
    """One CreateSnapshot call, of a lone volume."""
    ONE_BY_ONE = "one-by-one"
    """A CreateSnapshot call for each volume: *not* one instant across the volumes."""


class MemberState(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One snapshot of a point. ``size_gib`` is the volume's size, not what the snapshot costs.

    ``device`` is the volume's name on its instance; None for a lone volume.
    """

    snapshot: str
    volume: str
    size_gib: int
    encrypted: bool
    started_at: datetime
    device: str | None = None
    state: MemberState = MemberState.PENDING
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Tagged:
    """A snapshot as EC2 shows it, with its tags. ``archived``: it is in the archive tier."""

    member: Member
    tags: Mapping[str, str]
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What forbids deletion until it is lifted: who asked for it, and why."""

    by: str
    why: str
    at: datetime

    def __str__(self) -> str:
        return f"held by {self.by} since {instant(self.at)}: {self.why}"

    @property
    def tag(self) -> str:
        """The value of the tag that says so; cut to what a tag holds. As ``of_tag`` found it."""
        text = self.why if self.by == A_TAG else f"{self.by}: {self.why}"
        return text[:LONGEST_TAG_VALUE]

    @classmethod
    def of_tag(cls, value: str, at: datetime) -> "Hold":
        """What a tag says, whoever wrote it; ``at``: when it was found."""
        by, colon, why = value.partition(": ")
        return cls(by=by if colon else A_TAG, why=why if colon else value or "no reason", at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A drill made the point into an instance that passed its check. ``seconds``: from the start
    of the restore until then, which is the RTO that was measured."""

    restore: str
    at: datetime
    seconds: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step in the history of a point: when it got which status, and why."""

    at: datetime
    status: PointStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A recovery point as the ledger has it.

    ``owner`` and ``lease_until`` say who is taking it now, and until when nobody else may; without
    an owner, since when it has been free. ``retakes``: how often a sweep asked for it again.
    ``attempted_at`` is when a create call may first have gone out whose outcome is not known;
    None when none did. ``members`` is empty until EC2 has answered. ``cause`` says why it failed,
    or, while it is CREATING, what it waits for. ``hold`` is its own, not that of its source.
    ``proof``: of the latest drill that passed.
    """

    id: str
    policy: str
    run: str
    slot: datetime
    source: Source
    method: Method
    status: PointStatus
    claimed_at: datetime
    owner: str | None = None
    lease_until: datetime | None = None
    attempted_at: datetime | None = None
    retakes: int = 0
    members: tuple[Member, ...] = ()
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()
    settled_at: datetime | None = None
    cause: str | None = None
    hold: Hold | None = None
    proof: Proof | None = None
    history: tuple[Change, ...] = ()

    @property
    def snapshots(self) -> tuple[str, ...]:
        return tuple(member.snapshot for member in self.members)

    @property
    def plain(self) -> tuple[Member, ...]:
        """Its members that are not encrypted."""
        return tuple(member for member in self.members if not member.encrypted)

    @property
    def taken_at(self) -> datetime | None:
        """The instant whose data the point holds: when its first snapshot was started."""
        return min((member.started_at for member in self.members), default=None)

    @property
    def ended(self) -> PointStatus:
        """How it was settled, whatever became of it since."""
        if self.status in (PointStatus.EXPIRED, PointStatus.DELETED):
            return PointStatus.FAILED if self.cause else PointStatus.AVAILABLE
        return self.status

    @property
    def gib(self) -> int:
        """Of all its volumes: more than its snapshots can cost, and free when they go."""
        return sum(member.size_gib for member in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A point that may have more snapshots than it has members: an attempt of unknown outcome was
    followed by another, or by giving up. ``since``: the latest such attempt."""

    point: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker says when it wants to take a point."""

    id: str
    policy: str
    run: str
    slot: datetime
    source: Source
    method: Method
    owner: str
    at: datetime
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a point ended: ``status`` is AVAILABLE or FAILED; a failed one has a ``cause``."""

    status: PointStatus
    at: datetime
    cause: str | None = None


class RunStatus(StrEnum):
    PLANNING = "planning"
    RUNNING = "running"
    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A source that the policy's tags match and that is not taken, and why.

    ``kind`` is the reason in a word, for counting: ``gone``, ``tags``, ``state``, ``no-volume``,
    ``temporary`` if a restore will remove it, or ``excluded`` if it has no volume that the policy
    does not exclude.
    """

    source: Source
    reason: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far planning came in a place before its time was over: from ``token`` on it goes on.

    ``region``: its name (``Place.name``). The counts are those of the pages before it.
    """

    region: str
    token: str
    points: int
    left_out_count: int
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What planning came to.

    ``left_out`` holds the first of the ``left_out_count``; ``regions`` are the places that are
    done, by name, ``waiting`` those that were not tried yet; ``problems`` has a line for each that
    could not be read. ``cursor``: where in the first of ``waiting`` to go on.
    """

    at: datetime
    points: int
    left_out_count: int = 0
    left_out: tuple[LeftOut, ...] = ()
    regions: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of one policy for one slot. ``source`` is set when only that was asked for.

    ``ended`` counts the points that it asked for; also one that another run of the same slot
    takes.
    """

    id: str
    policy: str
    slot: datetime
    started_at: datetime
    source: str | None = None
    planned: Planned | None = None
    ended: Mapping[PointStatus, int] = field(default_factory=dict)

    @property
    def status(self) -> RunStatus:
        """Read from the counts, so it cannot go stale: nothing has to close a run."""
        if self.planned is None or self.planned.waiting:
            return RunStatus.PLANNING
        good = self.ended.get(PointStatus.AVAILABLE, 0)
        bad = self.ended.get(PointStatus.FAILED, 0)
        if good + bad < self.planned.points:
            return RunStatus.RUNNING
        if not bad and not self.planned.problems:
            return RunStatus.OK
        return RunStatus.PARTIAL if good else RunStatus.FAILED

    @property
    def over(self) -> bool:
        return self.status not in (RunStatus.PLANNING, RunStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A point of a run that failed, for people to read."""

    point: str
    source: Source
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source under a policy, from first sight on; kept when the source itself is gone.

    ``last_asked``: when a point of it was last claimed, so that a run that began later and did not
    ask for it tells that the policy does not take it any more.
    """

    policy: str
    source: Source
    first_seen: datetime
    last_asked: datetime | None = None
    last_available: datetime | None = None
    last_point: str | None = None
