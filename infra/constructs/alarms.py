"""What people are woken for: one alarm for each way in which a function or a policy can fail."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct, IDependable

from infra.catalog import (
    BY_NAME,
    CLONER,
    COPIER,
    PLANNER,
    PRUNER,
    RESTORING,
    SWEEPER,
    TAKER,
    Every,
    FunctionUrl,
    QueueTrigger,
    Row,
    StepOf,
)
from infra.constructs.inbox import Inbox
from infra.constructs.restoring import ENDING_LETTERS, Restoring
from infra.constructs.schedules import GROUP
from lastgood.domain.measures import NAMESPACE, Measure
from lastgood.domain.policy import Policy, duration_text
from lastgood.domain.prune_plan import Obstacle

QUARTER = timedelta(minutes=15)
"""How often a sweep counts."""

TWO_RETAKES = timedelta(hours=6)
"""Within it, a sweep finds a point twice that nobody works at: 4 hours at most lie between."""

Missing = cloudwatch.TreatMissingData

_PLANNER, _TAKER, _COPIER, _SWEEPER, _CLONER = (
    BY_NAME[name].physical_name for name in (PLANNER, TAKER, COPIER, SWEEPER, CLONER)
)


def _invoke(function: str, **request: str | bool) -> str:
    """The command for it, in bash and for every version of the AWS CLI."""
    return (
        f"aws lambda invoke --function-name {function} --cli-read-timeout 0 "
        f"--payload fileb://<(echo '{json.dumps(request)}') answer.json"
    )


def _log(function: str, hours: int, pattern: str = "") -> str:
    """The command that shows a function's log."""
    only = f" --filter-pattern '\"{pattern}\"'" if pattern else ""
    return f"aws logs tail /aws/lambda/{function} --since {hours}h{only}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One alarm: ``metric`` is more (``below``: less) than ``threshold`` in ``of`` of the last
    ``periods``.

    ``text`` is for a person who never heard of it: what it means, where to look, what to do.
    """

    name: str
    text: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str = "Sum"
    threshold: int = 0
    period: timedelta = timedelta(minutes=5)
    periods: int = 1
    of: int = 1
    below: bool = False
    missing: cloudwatch.TreatMissingData = Missing.NOT_BREACHING


class Alarms(Construct):
    """Each of ``all`` tells ``topic`` when it begins and when it is over.

    ``after``: what runs first when all is new, so that the absence of it is none.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        topic: sns.ITopic,
        watches: Iterable[Watch],
        after: Sequence[IDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        action = actions.SnsAction(topic)
        self.all = [self._alarm(watch, action) for watch in watches]
        self.node.add_dependency(*after)

    def _alarm(self, watch: Watch, action: actions.SnsAction) -> cloudwatch.Alarm:
        comparison = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            self,
            watch.name,
            alarm_name=watch.name,
            alarm_description=watch.text,
            metric=cloudwatch.Metric(
                namespace=watch.namespace,
                metric_name=watch.metric,
                dimensions_map=dict(watch.dimensions),
                statistic=watch.statistic,
                period=Duration.seconds(int(watch.period.total_seconds())),
            ),
            comparison_operator=comparison.LESS_THAN_THRESHOLD
            if watch.below
            else comparison.GREATER_THAN_THRESHOLD,
            threshold=watch.threshold,
            evaluation_periods=watch.periods,
            datapoints_to_alarm=watch.of,
            treat_missing_data=watch.missing,
        )
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        return alarm


def watches(
    rows: Iterable[Row],
    inboxes: Mapping[str, Inbox],
    policies: Mapping[str, Policy],
    restoring: Restoring,
) -> Iterator[Watch]:
    """All of home: by row, by policy, and those of the whole."""
    for row in rows:
        if row.name in RESTORING:
            continue
        if row.buries:
            yield _dead_letters(row, inboxes[row.name])
        yield _errors(row)
        yield _throttles(row)
        if isinstance(row.trigger, QueueTrigger):
            yield _old_messages(row, row.trigger)
        if isinstance(row.trigger, Every):
            yield _did_not_run(row, row.trigger)
    yield from watches_of_restores(restoring)
    yield _schedules_refused()
    yield _schedules_lost()
    yield _stuck()
    for policy in policies.values():
        yield from _of_policy(policy)


def _of_policy(policy: Policy) -> Iterator[Watch]:
    if policy.schedules:
        yield _caught_up(policy)
    if policy.rpo is not None:
        yield _past_rpo(policy)
    yield _prune_stopped(policy)
    if policy.copies:
        yield _copies_failed(policy)
        yield _prune_waits_for_copies(policy)
    if any(copy.complete_within for copy in policy.copies):
        yield _copies_late(policy)


def watches_of_restores(restoring: Restoring) -> Iterator[Watch]:
    """Those of any Region in which restores are made. That one failed and was undone is no alarm:
    a notice tells of it."""
    for name in RESTORING:
        yield _errors_undoing(restoring) if name == UNDOER else _errors(BY_NAME[name])
        yield _throttles(BY_NAME[name])
    yield _endings_lost(restoring)


# of a function


def _dead_letters(row: Row, inbox: Inbox) -> Watch:
    return Watch(
        name=f"{row.physical_name}-dead-letters",
        text=f"{row.physical_name} gave something up, and it is not done. It is kept for at most "
        "14 days. Look what it is, and at its attributes error and cause, which say what to "
        f"change: aws sqs receive-message --queue-url {inbox.dead_letters.queue_url} "
        f"--message-attribute-names All. {_amends(row, inbox)}",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": f"{row.physical_name}-dead-letters"},
        statistic="Maximum",
    )


def _amends(row: Row, inbox: Inbox) -> str:
    """What to do once the cause is gone. Only moving a letter back takes it out of the queue."""
    empty = (
        "When all that is in the queue is dealt with, empty it, or this alarm stays: "
        f"aws sqs purge-queue --queue-url {inbox.dead_letters.queue_url}"
    )
    if row.name == TAKER:
        # A point that failed stays failed, however often it is asked for.
        anew = _invoke(_PLANNER, policy="...", source="...")
        return f"Then take its source anew: {anew}. {empty}"
    if row.name == PLANNER:
        again = _invoke(_PLANNER, policy="...", slot="...")
        return f"Then ask again for what it shows: {again}. {empty}"
    if inbox.queue is None:
        return f"Nothing has to be sent again: the next run does what this one did not. {empty}"
    return (
        "Then move it back: aws sqs start-message-move-task "
        f"--source-arn {inbox.dead_letters.queue_arn} --destination-arn {inbox.queue.queue_arn}"
    )


def _errors(row: Row) -> Watch:
    """One alone is a person's mistake, or a worker that was lost and is followed by another. What
    a schedule starts and fails is tried again within minutes, so it fails more than once."""
    return Watch(
        name=f"{row.physical_name}-errors",
        text=f"{row.physical_name} failed more than once within a quarter of an hour: it raised an "
        f"error, ran out of time or could not start. {_after_errors(row)} "
        f"Look since when, and why: {_log(row.physical_name, 1, 'ERROR')}. "
        "If it began with a deployment, deploy the version before it.",
        namespace="AWS/Lambda",
        metric="Errors",
        dimensions={"FunctionName": row.physical_name},
        threshold=1,
        period=QUARTER,
    )


def _after_errors(row: Row) -> str:
    """What becomes of what failed."""
    if isinstance(row.trigger, StepOf):
        return "What may work later is tried again; else the restore is undone, and its cause told."
    if not row.buries:
        return "Who asked got no answer, and may ask again: a request that is repeated counts once."
    return "What failed is tried again by itself, and what is given up becomes a dead letter."


def _throttles(row: Row) -> Watch:
    if isinstance(row.trigger, FunctionUrl):
        return _flooded(row, row.trigger)
    return Watch(
        name=f"{row.physical_name}-throttles",
        text=f"Lambda has refused to start {row.physical_name} for a quarter of an hour: the "
        "account has no concurrency left. Work waits, and is late. Look who uses it, and how much "
        "there is: aws lambda get-account-settings --query AccountLimit. Ask for more in Service "
        "Quotas (Lambda, Concurrent executions), or limit who takes it all.",
        namespace="AWS/Lambda",
        metric="Throttles",
        dimensions={"FunctionName": row.physical_name},
        periods=3,
        of=3,
    )


def _flooded(row: Row, trigger: FunctionUrl) -> Watch:
    return Watch(
        name=f"{row.physical_name}-throttles",
        text=f"For a quarter of an hour, more than {trigger.concurrency} requests at a time have "
        f"come to the URL of {row.physical_name}, and people get no answers. Whoever knows the URL "
        "may call it; nothing happens without Slack's signature, but each call costs. Look whether "
        f"it is refused: {_log(row.physical_name, 1)}. To stop it: aws lambda "
        f"put-function-concurrency --function-name {row.physical_name} "
        "--reserved-concurrent-executions 0, and then deploy Lastgood without chat and with it, "
        "which gives another URL.",
        namespace="AWS/Lambda",
        metric="Throttles",
        dimensions={"FunctionName": row.physical_name},
        periods=3,
        of=3,
    )


def _old_messages(row: Row, trigger: QueueTrigger) -> Watch:
    """A backlog. A message that is tried in vain is not seen: SQS leaves out what was received
    three times or more (SQS Developer Guide, "Available CloudWatch metrics"). It becomes a dead
    letter."""
    return Watch(
        name=f"{row.physical_name}-old-messages",
        text=f"A message has waited for more than {duration_text(trigger.old)} for "
        f"{row.physical_name}, which reads them too slowly or not at all. See that its trigger is "
        "Enabled: aws lambda list-event-source-mappings "
        f"--function-name {row.physical_name} --query EventSourceMappings[].State. See in its "
        "alarms that it does not fail and is not throttled. If it works, it has met limits of EC2, "
        f"which pass by themselves, and is late: {_log(row.physical_name, 1, 'comes again')}",
        namespace="AWS/SQS",
        metric="ApproximateAgeOfOldestMessage",
        dimensions={"QueueName": row.physical_name},
        statistic="Maximum",
        threshold=int(trigger.old.total_seconds()),
        # Once it is there, it stays until the message is gone; a single datapoint may be wrong.
        periods=3,
        of=3,
    )


def _did_not_run(row: Row, trigger: Every) -> Watch:
    """The dead man's handle: no datapoint is the worst of them.

    It may ring once when all is new, before the first run is counted.
    """
    return Watch(
        name=f"{row.physical_name}-did-not-run",
        text=f"{row.physical_name} has not run for {3 * trigger.minutes} minutes, and should every "
        f"{trigger.minutes}. Nothing mends what is lost now, and no other alarm about sources can "
        "be trusted. See that its schedule is there and ENABLED: aws scheduler get-schedule "
        f"--group-name {GROUP} --name {row.physical_name}. Run it by hand: "
        f"{_invoke(row.physical_name)}. If the schedule is gone, deploy Lastgood again.",
        namespace="AWS/Lambda",
        metric="Invocations",
        dimensions={"FunctionName": row.physical_name},
        threshold=1,
        below=True,
        period=timedelta(minutes=trigger.minutes),
        periods=3,
        of=3,
        missing=Missing.BREACHING,
    )


# of restores

UNDOER = "undo_restore"


def _errors_undoing(restoring: Restoring) -> Watch:
    """One alone is enough: an undo that gives up leaves something behind."""
    undoer = BY_NAME[UNDOER].physical_name
    arn = restoring.machine.state_machine_arn
    return Watch(
        name=f"{undoer}-errors",
        text="The undo of a restore failed, or the end of a clone. What may work later is tried "
        "again. If it gave up, what was made may still be there and cost, and an instance that was "
        "restored in place may not be as it was. Look which: aws stepfunctions list-executions "
        f"--status-filter FAILED --max-items 20 --state-machine-arn {arn}; and why: "
        f"{_log(undoer, 1, 'ERROR')}. Mend the cause, and let it go on where it stopped: "
        "aws stepfunctions redrive-execution --execution-arn ... In the home Region, a sweep "
        "begins anew what nothing works at any more.",
        namespace="AWS/Lambda",
        metric="Errors",
        dimensions={"FunctionName": undoer},
        period=QUARTER,
    )


def _endings_lost(restoring: Restoring) -> Watch:
    letters = restoring.ending_letters.queue_url
    return Watch(
        name=ENDING_LETTERS,
        text="EventBridge Scheduler could not start the end of something whose time to live is "
        "over: a clone, or a volume that was swapped out, is still there and costs. In the home "
        "Region, the next sweep ends it; elsewhere, have it removed: "
        f"{_invoke(_CLONER, action='remove', restore='rs-...')}. "
        f"Look which, and why: aws sqs receive-message --queue-url {letters} "
        "--message-attribute-names All. If a role or the machine was "
        "changed by hand, deploy Lastgood again. When all is dealt with, empty the queue, or this "
        f"alarm stays: aws sqs purge-queue --queue-url {letters}",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": ENDING_LETTERS},
        statistic="Maximum",
    )


# of the schedules


def _schedules_refused() -> Watch:
    return Watch(
        name="lastgood-schedules-refused",
        text="Within a quarter of an hour, EventBridge Scheduler was refused again and again when "
        "it started something. Slots are late, and are given up in the end. See that the "
        "functions are there, and that the schedules' roles may invoke them: aws scheduler "
        f"list-schedules --group-name {GROUP}. CloudTrail names the refusal (Invoke, from "
        "scheduler.amazonaws.com). If a role or a function was changed by hand, deploy Lastgood "
        "again.",
        namespace="AWS/Scheduler",
        metric="TargetErrorCount",
        dimensions={"ScheduleGroup": GROUP},
        periods=3,
        of=2,
    )


def _schedules_lost() -> Watch:
    return Watch(
        name="lastgood-schedules-lost",
        text="EventBridge Scheduler gave up a slot and could not even leave a dead letter of it. "
        "The next sweep starts a slot that was due within the last day. If sweeps do not run "
        f"either, start each policy by hand: {_invoke(_PLANNER, policy='...')}. "
        "Then look at the schedules' roles and at the key alias/lastgood: one of them was changed "
        "or disabled. Deploy Lastgood again, or enable the key.",
        namespace="AWS/Scheduler",
        metric="InvocationsFailedToBeSentToDeadLetterCount",
        dimensions={"ScheduleGroup": GROUP},
    )


# of what a sweep counts


def _of_sweep(**dimensions: str) -> Mapping[str, str]:
    return {"service": _SWEEPER, **dimensions}


def _stuck() -> Watch:
    """A sweep that finds one asks for it again. Found once, one point is nothing to do for people;
    twice, asking did not help. Several that are found at once ring as well: many lost workers."""
    return Watch(
        name="lastgood-points-stuck",
        text="Twice or more within six hours, a sweep found a recovery point that nobody works at: "
        "the same one again, though it was asked for again, or several. After three times, a point "
        "is given up, and its source has none for that slot. Points of a policy that was taken out "
        f"count too, and are given up at once. Look what happens to the workers, {_TAKER}: "
        f"{_log(_TAKER, 6, 'ERROR')}. See that their trigger is Enabled: aws lambda "
        f"list-event-source-mappings --function-name {_TAKER} --query EventSourceMappings[].State. "
        f"What was given up, take anew: {_invoke(_PLANNER, policy='...', source='...')}",
        namespace=NAMESPACE,
        metric=Measure.POINTS_STUCK.value,
        dimensions=_of_sweep(),
        threshold=1,
        period=TWO_RETAKES,
    )


def _caught_up(policy: Policy) -> Watch:
    return Watch(
        name=f"lastgood-{policy.name}-not-started",
        text=f"A slot of policy {policy.name} was started by no schedule, or its plan broke off. "
        "A sweep has started it since: its points hold the data of then, not of the slot. On the "
        "day when clocks go forward this is right for a local time that does not exist. Otherwise, "
        "see that the policy's schedules are there and ENABLED: aws scheduler list-schedules "
        f"--group-name {GROUP} --name-prefix {policy.name}. Then look at the dead letters of "
        f"{_PLANNER}.",
        namespace=NAMESPACE,
        metric=Measure.SLOTS_CAUGHT_UP.value,
        dimensions=_of_sweep(policy=policy.name),
        period=QUARTER,
    )


def _prune_stopped(policy: Policy) -> Watch:
    """Until the next day's plan is within the cap, or a person has approved of one."""
    return Watch(
        name=f"lastgood-{policy.name}-prune-stopped",
        text=f"A prune of policy {policy.name} would delete more than its max_deletes allows, as a "
        "whole or of some sources. Nothing of that was deleted: no point is in danger, but "
        "snapshots pile up and cost. A notice on this topic says how many, where the plan is "
        "stored, and how to approve it. Or plan it anew, and look: "
        f"{_invoke(BY_NAME[PRUNER].physical_name, policy=policy.name, dry_run=True)}",
        namespace=NAMESPACE,
        metric=Measure.PRUNES_STOPPED.value,
        dimensions={"service": BY_NAME[PRUNER].physical_name, "policy": policy.name},
        statistic="Maximum",
        period=timedelta(days=1),
    )


def _copies_failed(policy: Policy) -> Watch:
    return Watch(
        name=f"lastgood-{policy.name}-copies-failed",
        text=f"Copies of points of policy {policy.name} ended in error within the last day. They "
        "are tried again by themselves, later each time, and at least twice a day: mend the cause "
        "and wait. Until then the points are not protected where they are wanted, and are not "
        f"pruned at home. Look which, and why: {_log(_COPIER, 24, 'failed')}. Most often it is a "
        "key: it has to be enabled, in the Region of the copy, and its policy has to let the "
        "account use it.",
        namespace=NAMESPACE,
        metric=Measure.COPIES_FAILED.value,
        dimensions={"service": _COPIER, "policy": policy.name},
        period=timedelta(days=1),
    )


def _copies_late(policy: Policy) -> Watch:
    return Watch(
        name=f"lastgood-{policy.name}-copies-late",
        text=f"Copies of points of policy {policy.name} were not complete within complete_within. "
        "They go on. Where many are copied at one time, they share 2,000 MiB/s of an account and "
        "Region, and 500 MiB/s each: give them longer, or run the policy at another time. Look "
        f"which: {_log(_COPIER, 24, 'is not there after')}",
        namespace=NAMESPACE,
        metric=Measure.COPIES_LATE.value,
        dimensions={"service": _COPIER, "policy": policy.name},
        period=timedelta(days=1),
    )


def _prune_waits_for_copies(policy: Policy) -> Watch:
    """For two days: copies of the night may well be under way when it is pruned."""
    pruner = BY_NAME[PRUNER].physical_name
    return Watch(
        name=f"lastgood-{policy.name}-prune-waits-for-copies",
        text=f"On two days, points of policy {policy.name} could not be pruned, since copies that "
        "it asks for are not there. Nothing is in danger, but snapshots pile up and cost. See "
        f"lastgood-{policy.name}-copies-failed, and what a plan says of each point: "
        f"{_invoke(pruner, policy=policy.name, dry_run=True)}. If copies wait for a slot, there "
        "are more than the place can take: look at its dead letters and its log, or copy less.",
        namespace=NAMESPACE,
        metric=Measure.DELETES_BLOCKED.value,
        dimensions={"service": pruner, "policy": policy.name, "reason": Obstacle.COPY.value},
        statistic="Maximum",
        period=timedelta(days=1),
        periods=2,
        of=2,
    )


def _past_rpo(policy: Policy) -> Watch:
    """Where no sweep counts, it stays as it was: nothing is known, and that is told by the alarm
    about sweeps. So it cannot ring before the first sweep, and is not over because they stopped."""
    rpo = duration_text(policy.rpo or timedelta(0))
    return Watch(
        name=f"lastgood-{policy.name}-past-rpo",
        text=f"Sources of policy {policy.name} have had no good recovery point for longer than "
        f"{rpo}, the policy's rpo. If one of them is lost now, more is lost than was agreed. A "
        "notice on this topic names them once a day. Look why their last points failed: the "
        "causes are in the notices of the runs, and in the dead letters of "
        f"{_TAKER}. Mend it, and take each now: "
        f"{_invoke(_PLANNER, policy=policy.name, source='...')}",
        namespace=NAMESPACE,
        metric=Measure.SOURCES_PAST_RPO.value,
        dimensions=_of_sweep(policy=policy.name),
        statistic="Maximum",
        period=QUARTER,
        missing=Missing.IGNORE,
    )
