"""Under which conditions a test's EC2 runs, and what it noted about the calls it got."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from tests.cloud import accounts
from tests.cloud.clock import Clock
from tests.cloud.ec2.throttling import Buckets

Emit = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How the next snapshots of a volume, or copies of a snapshot, end: after how long, and with
    which error, if any."""

    duration: timedelta | None = None
    error: str | None = None


AT_ONCE = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long machines take from one state to the next; no time at all, unless a test wants it."""

    pending: timedelta = AT_ONCE
    """An instance, until it runs."""
    checking: timedelta = AT_ONCE
    """The status checks of an instance that runs, until they pass or fail."""
    stopping: timedelta = AT_ONCE
    shutting_down: timedelta = AT_ONCE
    creating: timedelta = AT_ONCE
    """A volume, until it is available or in error."""
    attaching: timedelta = AT_ONCE
    detaching: timedelta = AT_ONCE
    replacing: timedelta = AT_ONCE
    """A root volume, from the task to its end."""
    registering: timedelta = AT_ONCE
    """An image, until it is available."""


# No AWS figures, but what callers see: EC2 promises none of these durations.
AS_ON_AWS = Pace(
    pending=timedelta(seconds=30),
    checking=timedelta(minutes=2),
    stopping=timedelta(seconds=40),
    shutting_down=timedelta(seconds=40),
    creating=timedelta(seconds=5),
    attaching=timedelta(seconds=5),
    detaching=timedelta(seconds=5),
    replacing=timedelta(minutes=2),
    registering=timedelta(seconds=20),
)


@dataclass(frozen=True)
class Image:
    """What instances launched from an AMI take from it, and which snapshots it keeps in use.

    ``mappings``: the block devices of a registered one. ``home``: the account and Region of a
    registered one, whose owner alone can use it, there.
    """

    architecture: str = "x86_64"
    root_device_name: str = "/dev/xvda"
    root_size: int = 8
    root_volume_type: str = "gp3"
    platform: str | None = None
    platform_details: str = "Linux/UNIX"
    usage_operation: str = "RunInstances"
    boot_mode: str = "uefi-preferred"
    ena_support: bool = True
    snapshot_ids: frozenset[str] = frozenset()
    disabled: bool = False
    virtualization: str = "hvm"
    product_codes: tuple[str, ...] = ()
    name: str | None = None
    description: str | None = None
    tpm_support: str | None = None
    imds_support: str | None = None
    sriov_net_support: str | None = None
    mappings: tuple[dict[str, Any], ...] = ()
    home: tuple[str, str] | None = None
    created_at: datetime | None = None
    available_from: datetime | None = None
    seen_from: datetime | None = None


@dataclass(frozen=True)
class SentCommand:
    """A command of SSM for an instance."""

    instance_id: str
    document: str
    parameters: dict[str, list[str]]


@dataclass(frozen=True)
class CommandOutcome:
    """What a command gives: its exit code, what it writes, after how long it begins (never, if
    None) and how long it takes."""

    code: int = 0
    output: str = ""
    errors: str = ""
    begins: timedelta | None = timedelta(seconds=1)
    takes: timedelta = timedelta(seconds=2)

    def to_json(self) -> dict[str, Any]:
        """For the process of a cloud; times in seconds."""
        begins = None if self.begins is None else self.begins.total_seconds()
        return {**asdict(self), "begins": begins, "takes": self.takes.total_seconds()}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> "CommandOutcome":
        begins = None if given["begins"] is None else timedelta(seconds=given["begins"])
        return cls(**{**given, "begins": begins, "takes": timedelta(seconds=given["takes"])})


def succeed(_: SentCommand) -> CommandOutcome:
    return CommandOutcome()


@dataclass(frozen=True)
class BroadDescribe:
    """A describe call with neither ids, filters nor MaxResults: throttled hard on AWS.

    Source: aws-facts 1.2, "unfiltered and unpaginated describes 50/10".
    """

    operation: str
    account: str
    region: str


@dataclass
class Conditions:
    """Set by a test at any time; it takes effect with the next call.

    ``limits``: pending snapshots and spacing per volume are enforced.
    ``throttling``: requests take tokens from ``buckets``, and are refused without one.
    ``lag``: how long a snapshot, volume or instance made from now on is not seen by describes, and
    a snapshot deleted from now on still is.
    ``archiving``: how long it takes to archive a snapshot from now on.
    ``closed_regions``: Regions that no account opted in to.
    ``copy_slots``: copies under way at most in each destination Region, of which others than us
    take ``foreign_copies``, by Region of the home account, or by account and Region. Source:
    aws-facts 1.1.
    ``outcomes``: by the id of a volume, or of a snapshot that is copied. ``images``: by AMI id; any
    other AMI id is a plain ``Image()``, but ``gone_images`` are not found.
    ``pace``: of machines. ``AS_ON_AWS`` takes the time that AWS takes.
    ``bad_snapshots``: an instance with a volume made of one never passes its instance status check;
    nor do the instances in ``impaired``.
    ``no_capacity``, ``not_offered``: globs of an instance type and a zone, for which nothing can be
    launched or started now, or ever. ``vcpus``, ``instances``: how many may run in each Region.
    ``failing_roots``: instances whose next root volume cannot be attached, and the state in which
    the task ends: "failed", or "failed-detached" without any root volume.
    ``agent_after``: how long after its start the SSM agent of an instance answers. AWS publishes no
    figure. ``commands``: what each command will have given; asked when it is sent.
    """

    limits: bool = True
    throttling: bool = False
    buckets: Buckets = field(default_factory=Buckets)
    lag: timedelta = timedelta(0)
    archiving: timedelta = timedelta(0)
    closed_regions: set[str] = field(default_factory=set)
    copy_slots: int = 20
    foreign_copies: dict[str | tuple[str, str], int] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    gone_images: set[str] = field(default_factory=set)
    pace: Pace = Pace()
    bad_snapshots: set[str] = field(default_factory=set)
    impaired: set[str] = field(default_factory=set)
    no_capacity: set[tuple[str, str]] = field(default_factory=set)
    not_offered: set[tuple[str, str]] = field(default_factory=set)
    vcpus: int | None = None
    instances: int | None = None
    failing_roots: dict[str, str] = field(default_factory=dict)
    agent_after: timedelta = timedelta(seconds=30)
    commands: Callable[[SentCommand], CommandOutcome] = succeed
    broad_describes: list[BroadDescribe] = field(default_factory=list)
    not_modelled: list[str] = field(default_factory=list)

    def image(self, image_id: str) -> Image:
        return self.images.get(image_id) or Image()

    def copies_of_others(self, account: str, region: str) -> int:
        at_home = self.foreign_copies.get(region, 0) if account == accounts.HOME else 0
        return at_home + self.foreign_copies.get((account, region), 0)


def is_among(globs: set[tuple[str, str]], instance_type: str, zone: str) -> bool:
    return any(
        fnmatchcase(instance_type, kind) and fnmatchcase(zone, where) for kind, where in globs
    )


@dataclass(frozen=True)
class World:
    """What every operation of the model may use beside its own request."""

    clock: Clock
    emit: Emit
    conditions: Conditions

    def after(self, delay: timedelta, act: Callable[[], None]) -> None:
        """Do it on the clock, or now if it takes no time."""
        if delay:
            self.clock.at(self.clock.now() + delay, act)
        else:
            act()
