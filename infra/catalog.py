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
    ``announced``: what of that which Lastgood itself announces is put into the queue.
    """

    batch: int
    receives: int
    concurrency: int | None = None
    old: timedelta = timedelta(hours=1)
    announced: tuple[str, ...] = ()

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
class Asked:
    """Somebody invokes it and waits for the answer, so there are no dead letters: who asked is
    told."""

    @property
    def grants(self) -> tuple[Grant, ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoked(Asked):
    """People invoke it, and functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOf(Asked):
    """The restore state machine invokes it, tries again, and knows what to do when it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUrl(Asked):
    """Everybody may invoke it, by a URL: it has to see for itself who asks.

    ``concurrency``: so many invocations run at one time at most, kept free for it: who floods the
    URL costs no more than that, and takes nothing from other functions.
    """

    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One Lambda. ``name`` is its folder's. ``timeout`` in seconds, ``memory`` in MB.

    ``of_chat``: it is there only if somebody may ask by chat.
    """

    name: str
    description: str
    trigger: Scheduled | QueueTrigger | Asked
    grants: tuple[Grant, ...]
    timeout: int
    memory: int
    of_chat: bool = False

    @property
    def physical_name(self) -> str:
        """Of the function and its queue, for people to type: ``lastgood-plan-snapshots``."""
        return f"lastgood-{self.name.replace('_', '-')}"

    @property
    def buries(self) -> bool:
        """It has dead letters."""
        return not isinstance(self.trigger, Asked)

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
        trigger=EbsEvents(
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
            grants.MEND_RESTORES,
            grants.START_RESTORES,
            grants.SEE_EXECUTIONS,
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
    Row(
        name="clone_instance",
        description="Takes a request for a restore, sees that it can work, and has it begun",
        trigger=Invoked(),
        grants=(
            grants.READ_POLICIES,
            grants.READ_MACHINES,
            grants.READ_LAUNCH_ATTRIBUTES,
            grants.READ_RESTORE_KEYS,
            grants.TRY_LAUNCH,
            grants.OPEN_RESTORES,
            grants.START_RESTORES,
            grants.APPROVE_RESTORES,
            grants.DECLINE_RESTORES,
            grants.END_RESTORES,
            grants.CLEAR_ENDINGS,
            grants.KEEP_RESTORED,
            grants.ANNOUNCE,
        ),
        timeout=30,
        # Lambda gives processors by memory: with less, it does not answer within 2 seconds when
        # it is started anew.
        memory=1024,
    ),
    Row(
        name="restore_instance",
        description="Makes what a restore makes, one change at a time",
        trigger=StepOf(),
        grants=(
            grants.FIND_RESTORED,
            grants.COPY_FOR_RESTORES,
            grants.REGISTER_IMAGES,
            grants.LAUNCH_CLONES,
            grants.COMPARE_CLONES,
            grants.MAKE_VOLUMES,
            grants.USE_RESTORE_KEYS,
            grants.CHANGE_SOURCES,
            grants.TAG_RESTORED,
            grants.MARK_VOLUMES,
            grants.CLEAR_UP,
            grants.RECORD_RESTORES,
            grants.KEEP_POINTS,
            grants.SEE_AGENTS,
            grants.TAKE_SAFETY_POINTS,
            grants.APPROVE_RESTORES,
            grants.END_RESTORES,
            grants.ANNOUNCE,
        ),
        timeout=120,
        memory=512,
    ),
    Row(
        name="check_restore",
        description="Sees whether what was restored works",
        trigger=StepOf(),
        grants=(grants.SEE_HEALTH, grants.RUN_CHECKS, grants.RECORD_CHECKS),
        timeout=120,
        memory=512,
    ),
    Row(
        name="undo_restore",
        description="Removes what a restore made, and puts back what it changed",
        trigger=StepOf(),
        grants=(
            grants.FIND_RESTORED,
            grants.UNDO_RESTORES,
            grants.CLEAR_UP,
            grants.PASS_RESTORE_KEYS,
            grants.PUT_BACK_SOURCES,
            grants.MARK_VOLUMES,
            grants.UNMARK_VOLUMES,
            grants.RECORD_RESTORES,
            grants.CLEAR_ENDINGS,
            grants.ANNOUNCE,
        ),
        timeout=120,
        memory=512,
    ),
    Row(
        name="chat",
        description="Answers people in Slack, who ask for restores and approve them",
        trigger=FunctionUrl(concurrency=10),
        grants=(
            grants.READ_CHAT,
            grants.ASK_CLONER,
            grants.ASK_ABOUT_POINTS,
            grants.NOTE_REQUESTS,
        ),
        # Slack waits for 3 seconds; what it asks may take longer, and is told later.
        timeout=10,
        memory=1024,
        of_chat=True,
    ),
    Row(
        name="tell_chat",
        description="Tells in Slack how the restores go that were asked for there",
        trigger=QueueTrigger(batch=10, receives=5, announced=("Restore Progress",)),
        grants=(grants.TELL_RESTORES,),
        timeout=60,
        memory=512,
        of_chat=True,
    ),
)

RESTORING = ("clone_instance", "restore_instance", "check_restore", "undo_restore")
"""Those that are also in each Region that copies go to, so that a restore needs no other."""

CLONER = "clone_instance"
"""Whom people and pipelines ask for restores, and chat for them."""

CHAT = "chat"
"""Which people ask in Slack."""

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


def deployed_rows(*, chat: bool) -> tuple[Row, ...]:
    """Those of the home Region."""
    return tuple(row for row in CATALOG if chat or not row.of_chat)


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
