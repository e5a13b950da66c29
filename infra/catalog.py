"""Every Lambda of the bundle, one row each: what starts it, what it may do, how much it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from infra import grants
from infra.grants import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Schedules invoke it and wait for no answer; people may invoke it too.

    ``late``: how late an invocation may start, at most the 6 hours for which Lambda keeps one.
    ``retries``: how often one that failed is tried again, at most the 2 that Lambda makes. What
    becomes nothing even so is a dead letter.
    """

    late: timedelta
    retries: int

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (grants.BURY,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySchedules(Scheduled):
    """Every cron of every policy. A late point is better than none, and keeps its slot."""

    late: timedelta = timedelta(hours=6)
    retries: int = 2


SLOT = "<aws.scheduler.scheduled-time>"
"""Scheduler puts the instant here for which the run was due, also when it starts late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """One schedule in UTC. ``often`` is for people; ``suffix`` tells it from others of its row."""

    often: str
    expression: str
    given: Mapping[str, Any]
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed(Scheduled):
    """At times of its own, whatever the policies are."""

    @property
    def times(self) -> tuple[Time, ...]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Every(Timed):
    """Every ``minutes`` with ``{}``, and at the time of the cron ``daily`` with ``daily_input``.
    One that fails is soon followed by the next."""

    minutes: int
    daily: str
    daily_input: Mapping[str, Any]
    late: timedelta = timedelta(minutes=15)
    retries: int = 1

    @property
    def times(self) -> tuple[Time, ...]:
        often, rate = f"every {self.minutes} minutes", f"rate({self.minutes} minutes)"
        return (
            Time(often=often, expression=rate, given={}),
            Time(
                often="once a day",
                expression=f"cron({self.daily})",
                given=self.daily_input,
                suffix="-daily",
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily(Timed):
    """At the time of the cron ``at``, with the slot."""

    at: str
    late: timedelta = timedelta(hours=6)
    retries: int = 2

    @property
    def times(self) -> tuple[Time, ...]:
        return (Time(often="once a day", expression=f"cron({self.at})", given={"slot": SLOT}),)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTrigger:
    """A queue of its own feeds it.

    ``batch``: messages at most in one invocation. ``receives``: how often a message is delivered
    before it is a dead letter. ``concurrency``: batches at most at one time, 2 or more; None for
    no limit but the account's. ``old``: a message may wait that long before people are told.
    """

    batch: int
    receives: int
    concurrency: int | None = None
    old: timedelta = timedelta(hours=1)

    @property
    def grants(self) -> tuple[Grant, ...]:
        return (grants.CONSUME_QUEUE, grants.BURY)


EBS_DETAIL_TYPES = (
    "EBS Snapshot Notification",
    "EBS Multi-Volume Snapshots Completion Status",
    "EBS Copy Snapshot Missed Completion Duration",
)
"""EBS User Guide, "EventBridge events for Amazon EBS"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EbsEvents(QueueTrigger):
    """As ``QueueTrigger``, with a queue that EBS's ``events`` are put into."""

    events: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEvents(EbsEvents):
    """As ``EbsEvents``; the queue gets what Lastgood itself announces, too, of ``announced``."""

    announced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One Lambda. ``name`` is its folder's. ``timeout`` in seconds, ``memory`` in MB."""

    name: str
    description: str
    trigger: Scheduled | QueueTrigger
    grants: tuple[Grant, ...]
    timeout: int
    memory: int

    @property
    def physical_name(self) -> str:
        """Of the function and its queue, for people to type: ``lastgood-plan-snapshots``."""
        return f"lastgood-{self.name.replace('_', '-')}"

    @property
    def works_abroad(self) -> bool:
        """It enters other accounts."""
        return grants.ENTER_ACCOUNTS in self.grants

    def role_name(self, region: str) -> str | None:
        """Of a function that other accounts let in, who have to name it; others need none."""
        return f"{self.physical_name}-{region}" if self.works_abroad else None

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
            grants.ENTER_ACCOUNTS,
            grants.RECORD_RUNS,
            grants.FORESEE_COPIES,
            grants.SEND_TAKE_REQUESTS,
            grants.ASK_PLANNER,
        ),
        timeout=900,
        memory=512,
    ),
    Row(
        name="create_snapshots",
        description="Takes the recovery point of one source for each message",
        # CreateSnapshots refills at 5 a second for an account and Region (EC2 Developer Guide,
        # "Request throttling"), which the workers share by their number. One whose volumes have
        # too many pending snapshots waits for hours: for twelve deliveries, half a day.
        trigger=QueueTrigger(batch=5, receives=12, concurrency=10, old=timedelta(hours=6)),
        grants=(
            grants.READ_FLEET,
            grants.READ_LAUNCH_ATTRIBUTES,
            grants.FIND_SNAPSHOTS,
            grants.TAKE_SNAPSHOTS,
            grants.ENTER_ACCOUNTS,
            grants.RECORD_POINTS,
            grants.ANNOUNCE,
        ),
        timeout=120,
        memory=512,
    ),
    Row(
        name="record_snapshot",
        description="Settles the recovery point whose snapshots ended",
        trigger=EbsEvents(batch=10, receives=12, events=("createSnapshot", "createSnapshots")),
        grants=(
            grants.SETTLE_POINTS,
            grants.FIND_SNAPSHOTS,
            grants.ENTER_ACCOUNTS,
            grants.ANNOUNCE,
        ),
        timeout=60,
        memory=512,
    ),
    Row(
        name="copy_snapshots",
        description="Copies points to the places that their policies name, as slots get free",
        # Two at a time, the fewest that Lambda allows: there are 20 slots in a place.
        trigger=CopyEvents(
            batch=10,
            receives=12,
            concurrency=2,
            events=("copySnapshot",),
            announced=("Recovery Point Available",),
        ),
        grants=(
            grants.READ_POLICIES,
            grants.FIND_SNAPSHOTS,
            grants.COPY_SNAPSHOTS,
            grants.USE_COPY_KEYS,
            grants.READ_COPY_KEYS,
            grants.SHARE_SNAPSHOTS,
            grants.REMOVE_COPIES,
            grants.ENTER_ACCOUNTS,
            grants.RECORD_COPIES,
            grants.REPLACE_MEMBERS,
            grants.REMOVE_UNENCRYPTED,
        ),
        timeout=120,
        memory=512,
    ),
    Row(
        name="sweep",
        description="Mends what lost events, dead workers and missed schedules left behind",
        trigger=Every(minutes=15, daily="10 4 * * ? *", daily_input={"rebuild": True}),
        grants=(
            grants.LIST_POLICIES,
            grants.READ_FLEET,
            grants.FIND_SNAPSHOTS,
            grants.FIND_COPIES,
            grants.REMOVE_SURPLUS,
            grants.ENTER_ACCOUNTS,
            grants.MEND_LEDGER,
            grants.SEND_TAKE_REQUESTS,
            grants.SEND_COPY_REQUESTS,
            grants.ASK_PLANNER,
            grants.ANNOUNCE,
            grants.TELL_PEOPLE,
        ),
        timeout=900,
        memory=512,
    ),
    Row(
        name="prune_snapshots",
        description="Plans what retention frees, applies plans, explains and holds points",
        # After the night's slots in most zones, and after the daily sweep.
        trigger=Daily(at="40 5 * * ? *"),
        grants=(
            grants.READ_POLICIES,
            grants.JUDGE_SNAPSHOTS,
            grants.HOLD_SNAPSHOTS,
            grants.PLAN_PRUNES,
            grants.STORE_PLANS,
            grants.SEND_PRUNE_MESSAGES,
            grants.ENTER_ACCOUNTS,
            grants.ASK_PRUNER,
            grants.TELL_PEOPLE,
        ),
        timeout=900,
        memory=512,
    ),
    Row(
        name="delete_snapshots",
        description="Deletes the points that a part of a prune plan frees",
        # DeleteSnapshot refills at 5 a second (EC2 Developer Guide, "Request throttling"), which
        # the workers share. One message at a time: it is up to five sources.
        trigger=QueueTrigger(batch=1, receives=12, concurrency=5, old=timedelta(hours=6)),
        grants=(
            grants.READ_POLICIES,
            grants.JUDGE_SNAPSHOTS,
            grants.DELETE_SNAPSHOTS,
            grants.ENTER_ACCOUNTS,
            grants.RECORD_DELETES,
            grants.READ_PLANS,
            grants.SEND_PRUNE_MESSAGES,
        ),
        timeout=300,
        memory=512,
    ),
)

PLANNER = "plan_snapshots"
"""Which policies' schedules start, and which goes on where another invocation of it stopped."""

TAKER = "create_snapshots"
"""Whose queue take requests go to."""

COPIER = "copy_snapshots"
"""Whose queue places go to that are to be looked after."""

PRUNER = "prune_snapshots"
"""Which goes on where another invocation of it stopped."""

DELETER = "delete_snapshots"
"""Whose queue parts of prune plans go to."""

SWEEPER = "sweep"
"""Which counts, at each of its runs, what alarms and the dashboard show of the whole."""

BY_NAME = {row.name: row for row in CATALOG}


def announced_pattern(announced: tuple[str, ...]) -> Mapping[str, Any]:
    """Of an EventBridge rule, for what Lastgood announces."""
    return {"source": ["lastgood"], "detail-type": list(announced)}


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


def copy_events() -> tuple[str, ...]:
    """Those that tell of copies."""
    trigger = BY_NAME[COPIER].trigger
    return trigger.events if isinstance(trigger, EbsEvents) else ()
