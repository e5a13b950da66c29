"""Restores: what was asked for, what is to be made, and how far it came.

A restore is a record in the ledger, and an execution of the restore state machine that works at it.
Each step of the machine gathers facts, decides, and makes one change; what it made bears the
restore's tag from the same call on, so that whatever happens, it is found again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from lastgood.domain.launching import Disk, Launch
from lastgood.domain.manifest import Tags
from lastgood.domain.model import Source
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode


class RestoreStatus(StrEnum):
    """``approving -> running -> done -> ending -> ended``; what fails goes ``undoing -> undone``.
    A drill goes from ``running`` to ``ending``; one that was never approved to ``undoing``."""

    APPROVING = "approving"
    RUNNING = "running"
    DONE = "done"
    """What was asked for is there."""
    UNDOING = "undoing"
    UNDONE = "undone"
    """It failed; nothing that it made is left, and what it changed is as it was."""
    ENDING = "ending"
    ENDED = "ended"
    """What it made was removed, as it was to be."""

    @property
    def at_work(self) -> bool:
        """The machine has something to do."""
        return self in (
            RestoreStatus.APPROVING,
            RestoreStatus.RUNNING,
            RestoreStatus.UNDOING,
            RestoreStatus.ENDING,
        )

    @property
    def forward(self) -> bool:
        return self in (RestoreStatus.APPROVING, RestoreStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCheck:
    """A command on the restored instance by SSM; what it writes is kept as evidence.

    ``document``: of SSM; ``commands``: its parameter of that name, a line each.
    """

    commands: tuple[str, ...]
    document: str = "AWS-RunShellScript"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What is to be other than the original. None: as it was. An empty text: none at all.

    ``user_data``: False drops it. ``kms_key``: under which all volumes are encrypted. ``image``:
    through which the licence of an instance is billed, where the original's is not to be had.
    """

    name: str | None = None
    zone: str | None = None
    subnet: str | None = None
    type: str | None = None
    groups: tuple[str, ...] | None = None
    instance_profile: str | None = None
    key_name: str | None = None
    private_ip: str | None = None
    kms_key: str | None = None
    image: str | None = None
    user_data: bool = True
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asked and by which way: ``via`` is ``cli``, ``chat`` or ``pipeline``; ``channel``: where
    in that."""

    by: str
    via: str = "cli"
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What a person asked for, read in full.

    ``source``: an id or a Name. ``point``: ``latest``, a point's id, ``before TIME`` or a date.
    ``time_to_live``: None for as long as the mode has by default; ``for_ever``: it has no end.
    ``volumes``: the devices that are meant; empty: all. ``instance`` and ``device``: what a volume
    is attached to. ``stop``: the instance may be stopped. ``request``: the name under which the
    same request, sent again, is found to be the same.
    """

    source: str
    mode: Mode = Mode.CLONE
    point: str = "latest"
    region: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    count: int = 1
    started: bool = True
    time_to_live: timedelta | None = None
    for_ever: bool = False
    volumes: tuple[str, ...] = ()
    instance: str | None = None
    device: str | None = None
    stop: bool = False
    check: CommandCheck | None = None
    reason: str = ""
    request: str = ""
    dry_run: bool = False
    asker: Asker


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One snapshot of the point, and what is to become of it.

    ``taken_from`` is the snapshot that there is; ``snapshot`` that in the place of the restore: the
    same, or a copy, None until it is begun. ``volume`` is the original.
    """

    device: str | None
    volume: str
    taken_from: str
    encrypted: bool
    size_gib: int
    snapshot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """On one device of the source: the volume that is there now, which is kept, and how it was
    attached; ``old`` is None if there is none. ``piece``: the original volume of the snapshot that
    comes there. ``root``: it is the root volume. ``by_task``: EC2 replaces it while the instance
    runs.
    """

    device: str
    piece: str
    old: str | None
    delete_on_termination: bool
    root: bool = False
    by_task: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """The source before anything was changed: what an undo drives it back to. ``reached``: SSM
    reached it, if there is a command to be run."""

    instance: str
    was_running: bool
    swaps: tuple[Swap, ...]
    safety_point: str | None = None
    reached: bool = False

    @property
    def must_stop(self) -> bool:
        """Not if EC2 replaces all there is to replace while it runs."""
        return not all(one.by_task for one in self.swaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Where new volumes go: by the original volume of each, the device on ``instance``."""

    instance: str
    devices: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One state of the machine. ``ended_at`` is None while it is under way; ``failed``: it ended
    what was to be."""

    name: str
    began_at: datetime
    ended_at: datetime | None = None
    failed: bool = False

    @property
    def seconds(self) -> float | None:
        return (self.ended_at - self.began_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """``kind``: ``instance``, ``volume``, ``image``, ``snapshot``. ``of``: what it is for, of those
    of its kind: the original volume, or the clone whose root it is. ``removed_at``: when it was
    seen to be gone."""

    kind: str
    id: str
    at: datetime
    of: str = ""
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One setting of the clone beside the original's. ``why``: they differ, and the reason; empty
    if they are the same, which no record has."""

    field: str
    original: str
    clone: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the check found. ``status``: of EC2's status checks, in words. ``output``: of the
    command, its beginning; ``only_status`` says why there was no command."""

    at: datetime
    passed: bool
    status: str
    command: str = ""
    output: str = ""
    only_status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The record of one restore.

    ``origin``: where the snapshots are that it is made from. ``place``: where it is made.
    ``region``: whose machine works at it: the ledger is the same in several.
    ``why``: why this point. ``launch``: of a clone or drill; ``disks``: the volumes to be made in
    the other modes, in ``zone``. ``attempted_at``: when a call that makes something last went out;
    until describes must show what it made, an absence proves nothing. ``token``: of the machine,
    which waits for approval. ``command``: the id of the SSM command that is under way.
    ``compared``: the settings of the clone that are not the original's; ``same``: the names of
    those that are. ``version``: how often it was written.
    """

    id: str
    request: RestoreRequest
    source: Source
    policy: str
    point: str
    origin: Place
    place: Place
    region: str
    why: str
    status: RestoreStatus
    asked_at: datetime
    pieces: tuple[Piece, ...] = ()
    launch: Launch | None = None
    disks: tuple[Disk, ...] = ()
    zone: str = ""
    attach: Attach | None = None
    in_place: InPlace | None = None
    time_to_live: timedelta | None = None
    approval: bool = False
    approved_by: str | None = None
    token: str | None = None
    cancelled_by: str | None = None
    steps: tuple[Step, ...] = ()
    made: tuple[Made, ...] = ()
    attempted_at: datetime | None = None
    command: str | None = None
    expires_at: datetime | None = None
    compared: tuple[Compared, ...] = ()
    same: tuple[str, ...] = ()
    evidence: Evidence | None = None
    cause: str | None = None
    settled_at: datetime | None = None
    version: int = 0

    @property
    def open(self) -> bool:
        """There is something to do still, now or once it expires."""
        done = self.status is RestoreStatus.DONE
        return self.status.at_work or (done and self.expires_at is not None)

    @property
    def free_to_go_at(self) -> datetime:
        """When it was asked for or, if it had to be, approved: how long people take is no time to
        recovery."""
        asked = self.step(STEPS["ask"])
        return (asked.ended_at if asked else None) or self.asked_at

    @property
    def locks(self) -> str | None:
        """The instance that no other restore in place may work at meanwhile. One that is DONE only
        has kept volumes to remove."""
        works = self.status.forward or self.status is RestoreStatus.UNDOING
        return self.in_place.instance if self.in_place and works else None

    @property
    def from_copy(self) -> bool:
        """It is made from the copy of the point in ``origin``."""
        return self.origin != self.source.place

    def step(self, name: str) -> Step | None:
        """The latest of that name."""
        return next((one for one in reversed(self.steps) if one.name == name), None)

    def made_for(self, kind: str, of: str) -> str | None:
        found = (one.id for one in self.made if (one.kind, one.of) == (kind, of))
        return next(found, None)

    @property
    def temporary(self) -> bool:
        """What it makes will be removed again, by itself."""
        return self.request.mode is Mode.DRILL or (
            self.time_to_live is not None and self.request.mode is not Mode.IN_PLACE
        )

    def ids(self, kind: str) -> tuple[str, ...]:
        """What it made of a kind, in order, less what is gone."""
        return tuple(one.id for one in self.made if one.kind == kind and one.removed_at is None)


def noted(restore: Restore, kind: str, ids: Iterable[str], at: datetime, of: str = "") -> Restore:
    """With what was found to be made; what is on record already stays as it is."""
    known = {one.id for one in restore.made}
    new = tuple(Made(kind=kind, id=one, at=at, of=of) for one in ids if one not in known)
    return replace(restore, made=(*restore.made, *new)) if new else restore


def gone(restore: Restore, there: Iterable[str], at: datetime) -> Restore:
    """With everything as removed that is not ``there`` any more."""
    left = set(there)
    made = tuple(
        one if one.removed_at or one.id in left else replace(one, removed_at=at)
        for one in restore.made
    )
    return replace(restore, made=made)


def began(restore: Restore, name: str, at: datetime) -> Restore:
    """With the step under way; one that is stays as it is. One that is past its deadline was left
    by an execution that failed: whoever redrives that has the whole time again."""
    latest = restore.step(name)
    if latest is not None and latest.ended_at is None:
        if at - latest.began_at <= deadline(name):
            return restore
        restore = ended(restore, name, at, failed=True)
    return replace(restore, steps=(*restore.steps, Step(name=name, began_at=at)))


def ended(restore: Restore, name: str, at: datetime, *, failed: bool = False) -> Restore:
    latest = restore.step(name)
    if latest is None or latest.ended_at:
        return restore
    return _with_step(restore, replace(latest, ended_at=at, failed=failed))


def failed(restore: Restore, at: datetime, but: str = "") -> Restore:
    """With whatever step was under way, but for one, as failed."""
    steps = tuple(
        one if one.ended_at or one.name == but else replace(one, ended_at=at, failed=True)
        for one in restore.steps
    )
    return replace(restore, steps=steps)


def _with_step(restore: Restore, step: Step) -> Restore:
    index = max(i for i, one in enumerate(restore.steps) if one.name == step.name)
    return replace(restore, steps=(*restore.steps[:index], step, *restore.steps[index + 1 :]))


def image_name(restore: str) -> str:
    """Of the image that a restore registers: by its tag alone, it is not told from those that DLM
    or AWS Backup make of a clone, which bear the clone's tags."""
    return f"lastgood-{restore}"


SAFETY = "a restore in place"
"""Who holds a safety point."""

SHORTEST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)
SHARE_WAITED = 5


def wait_after(since: datetime, now: datetime) -> int:
    """Seconds until a look that is worth it: a fifth of the time that it has taken so far, so that
    waiting adds at most that to what EC2 takes, and few looks are wasted."""
    passed = (now - since) / SHARE_WAITED
    return int(min(max(passed, SHORTEST_WAIT), LONGEST_WAIT).total_seconds())


STEPS = {
    "begin": "Begin",
    "ask": "Wait for approval",
    "hold": "Hold the point",
    "copy": "Bring the snapshots here",
    "image": "Register an image",
    "launch": "Launch",
    "root": "Swap the root",
    "dress": "Dress the clone",
    "volumes": "Make the volumes",
    "attach": "Attach the volumes",
    "stop": "Stop the instance",
    "safety": "Take a safety point",
    "replace": "Replace the root volume",
    "swap": "Swap the volumes",
    "start": "Start the instance",
    "check": "Check",
    "hand_over": "Hand over",
    "remove": "Remove what was made",
    "undo": "Undo",
}
"""By what the machine says to its functions, the name of the state, which stands in the record."""

DEADLINES = {
    "Bring the snapshots here": timedelta(hours=48),
    "Stop the instance": timedelta(minutes=30),
    "Take a safety point": timedelta(minutes=30),
    # A stop, a swap and a start.
    "Swap the root": timedelta(hours=1),
    # Bare metal and Windows take long to be well, and a command may take its time after that.
    "Check": timedelta(hours=1),
    "Undo": timedelta(hours=1),
}
DEADLINE = timedelta(minutes=20)
"""For what is done within minutes if it is done at all."""


def deadline(step: str) -> timedelta:
    return DEADLINES.get(step, DEADLINE)
