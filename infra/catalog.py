"""Every Lambda of the bundle, one row each: what starts it, what it may do, how much it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra import grants
from infra.grants import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySchedules:
    """Every cron of every policy invokes it, and people do."""

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (grants.BURY,)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTrigger:
    """A queue of its own feeds it.

    ``batch``: messages at most in one invocation. ``receives``: how often a message is delivered
    before it is a dead letter. ``concurrency``: batches at most at one time, 2 or more; None for
    no limit but the account's.
    """

    batch: int
    receives: int
    concurrency: int | None = None

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (grants.CONSUME_QUEUE, grants.BURY)


EBS_DETAIL_TYPES = ("EBS Snapshot Notification", "EBS Multi-Volume Snapshots Completion Status")
"""EBS User Guide, "EventBridge events for Amazon EBS"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EbsEvents(QueueTrigger):
    """As ``QueueTrigger``, with a queue that EBS's ``events`` are put into."""

    events: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One Lambda. ``name`` is its folder's. ``timeout`` in seconds, ``memory`` in MB."""

    name: str
    description: str
    trigger: PolicySchedules | QueueTrigger
    grants: tuple[Grant, ...]
    timeout: int
    memory: int

    @property
    def physical_name(self) -> str:
        """Of the function and its queue, for people to type: ``lastgood-plan-snapshots``."""
        return f"lastgood-{self.name.replace('_', '-')}"

    @property
    def construct_id(self) -> str:
        return self.name.title().replace("_", "")

    @property
    def all_grants(self) -> tuple[Grant, ...]:
        return (grants.WRITE_LOGS, *self.trigger.grants, *self.grants)


CATALOG = (
    Row(
        name="plan_snapshots",
        description="Selects the sources of a policy and asks for a recovery point of each",
        trigger=PolicySchedules(),
        grants=(
            grants.READ_POLICIES,
            grants.READ_FLEET,
            grants.RECORD_RUNS,
            grants.SEND_TAKE_REQUESTS,
        ),
        timeout=900,
        memory=512,
    ),
    Row(
        name="create_snapshots",
        description="Takes the recovery point of one source for each message",
        # CreateSnapshots refills at 5 a second for an account and Region (EC2 Developer Guide,
        # "Request throttling"): two workers are enough to use that up.
        trigger=QueueTrigger(batch=10, receives=12, concurrency=2),
        grants=(
            grants.READ_FLEET,
            grants.READ_LAUNCH_ATTRIBUTES,
            grants.FIND_SNAPSHOTS,
            grants.TAKE_SNAPSHOTS,
            grants.RECORD_POINTS,
            grants.ANNOUNCE,
        ),
        timeout=120,
        memory=512,
    ),
    Row(
        name="record_snapshot",
        description="Settles the recovery point whose snapshots ended",
        trigger=EbsEvents(batch=10, receives=8, events=("createSnapshot", "createSnapshots")),
        grants=(grants.SETTLE_POINTS, grants.FIND_SNAPSHOTS, grants.ANNOUNCE),
        timeout=60,
        memory=512,
    ),
)

TAKER = "create_snapshots"
"""Whose queue take requests go to."""


def ebs_pattern(events: tuple[str, ...]) -> Mapping[str, Any]:
    """Of an EventBridge rule, for EBS's ``events``."""
    return {
        "source": ["aws.ec2"],
        "detail-type": list(EBS_DETAIL_TYPES),
        "detail": {"event": list(events)},
    }


def all_ebs_events() -> tuple[str, ...]:
    """Those that any row wants, each once."""
    wanted = (row.trigger.events for row in CATALOG if isinstance(row.trigger, EbsEvents))
    return tuple(dict.fromkeys(event for events in wanted for event in events))
