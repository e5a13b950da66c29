"""Under which conditions a test's EC2 runs, and what it noted about the calls it got."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
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


@dataclass(frozen=True)
class Image:
    """What instances launched from an AMI take from it, and which snapshots it keeps in use."""

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
    other AMI id is a plain ``Image()``.
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
    agent_after: timedelta = timedelta(seconds=30)
    commands: Callable[[SentCommand], CommandOutcome] = succeed
    broad_describes: list[BroadDescribe] = field(default_factory=list)
    not_modelled: list[str] = field(default_factory=list)

    def image(self, image_id: str) -> Image:
        return self.images.get(image_id) or Image()

    def copies_of_others(self, account: str, region: str) -> int:
        at_home = self.foreign_copies.get(region, 0) if account == accounts.HOME else 0
        return at_home + self.foreign_copies.get((account, region), 0)


@dataclass(frozen=True)
class World:
    """What every operation of the model may use beside its own request."""

    clock: Clock
    emit: Emit
    conditions: Conditions
