"""The bundle's handlers in this process: real adapters, moto's SQS and DynamoDB, EC2 as AWS is.

No deployment: what CDK wires (queues, event rules, schedules) is done by hand in here, so that
hundreds of stories run in seconds. The deployed bundle is proved in tests/e2e.
"""

import importlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from importlib.util import find_spec
from itertools import count
from types import SimpleNamespace
from typing import Any

from moto.sns.models import sns_backends
from moto.sqs.models import Message, Queue, sqs_backends

from infra.catalog import CATALOG, EbsEvents, QueueTrigger, announced_pattern
from infra.constructs import restore_machine
from infra.grants import ENDINGS
from infra.policies import policy_document
from lastgood import runtime
from lastgood.domain.model import Point
from lastgood.domain.policy import Policy, ResourceKind, Retention, Schedule, Select
from lastgood.errors import LastgoodError
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.clock import nothing
from tests.cloud.ec2.patches import Patches
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.cloud.killed import Killed
from tests.support import table
from tests.support.fleet import own_snapshots

ACCOUNT = "123456789012"
VAULT = "210987654321"
"""Another account, which copies go to."""
HOME = "eu-west-1"
SLOT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
POLICIES = "/lastgood/policies"
BUS = "lastgood"
NOTICES = "lastgood-notices"
PLANS = "lastgood-plans"
TOPIC = f"arn:aws:sns:{HOME}:{ACCOUNT}:{NOTICES}"
ANNOUNCEMENTS = "announcements"
RESTORE = "lastgood-restore"
MACHINE = f"arn:aws:states:{HOME}:{ACCOUNT}:stateMachine:{RESTORE}"

RETRIED = (timedelta(minutes=1), timedelta(minutes=2))
"""When Lambda invokes again what failed, of an asynchronous invocation. Source: Lambda Developer
Guide, "How Lambda handles errors and retries with asynchronous invocation"."""


@dataclass(frozen=True)
class Fed:
    """A function that a queue feeds, as its catalog row has it."""

    queue: str
    timeout: int
    receives: int
    batch: int


ROWS = {row.name: row for row in CATALOG}
FED = {
    row.name: Fed(row.physical_name, row.timeout, row.trigger.receives, row.trigger.batch)
    for row in CATALOG
    if isinstance(row.trigger, QueueTrigger)
}


class Fate(Enum):
    """What becomes of a message to a function, or of an asynchronous invocation, on its way."""

    DROPPED = auto()
    DOUBLED = auto()
    DELAYED = auto()
    """By an hour."""
    OVERTAKEN = auto()
    """By the next one of the same function."""


def a_policy(**given: Any) -> Policy:
    facts: dict[str, Any] = {
        "name": "web-daily",
        "select": Select(
            resource=ResourceKind.INSTANCE,
            tags={"backup": ("daily", "gold")},
            exclude_tags={"backup-skip": ("true",)},
            exclude_volume_tags={"scratch": ("true",)},
        ),
        "schedules": (Schedule(cron="0 2 * * ? *"),),
        "retention": Retention(keep_daily=7),
    }
    return Policy(**facts | given)


@dataclass(frozen=True)
class Context:
    function_name: str
    aws_request_id: str
    deadline: datetime
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:test"

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - datetime.now(UTC)) / timedelta(milliseconds=1))


@dataclass(frozen=True)
class _Asked:
    """An asynchronous invocation that is to be made now."""

    function: str
    event: Mapping[str, Any]
    attempt: int = 0


@dataclass
class World:
    """``fates``: by function and by the number of the arrival, from 0, what becomes of it.

    ``arrived`` counts the messages and asynchronous invocations of each function that arrived.
    ``bugs``: what a handler raised that is no error of ours. ``time_left``: of every invocation,
    if it is to be shorter than its function's timeout. ``members``: other accounts with sources.
    """

    cloud: InProcessCloud
    fates: dict[tuple[str, int], Fate] = field(default_factory=dict)
    arrived: Counter[str] = field(default_factory=Counter)
    bugs: list[BaseException] = field(default_factory=list)
    time_left: timedelta | None = None
    members: tuple[str, ...] = ()
    _seen: int = 0
    _taken: int = 0
    _requests: Any = field(default_factory=lambda: count(1))
    _watched: set[int] = field(default_factory=set)
    _met: set[str] = field(default_factory=set)
    _held: dict[str, Callable[[], None]] = field(default_factory=dict)
    _asked: list[_Asked] = field(default_factory=list)

    def client(self, service: str, region: str = HOME, account: str = ACCOUNT) -> Any:
        """Of an administrator of the account."""
        return self.cloud.client(service, region, None if account == ACCOUNT else account)

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.client("dynamodb"), table.NAME)

    def deploy(self, *policies: Policy) -> None:
        for policy in policies:
            self.client("ssm").put_parameter(
                Name=f"{POLICIES}/{policy.name}",
                Value=policy_document(policy),
                Type="String",
                Overwrite=True,
            )

    def plan(self, policy: str = "web-daily", **request: Any) -> dict[str, Any]:
        """Invoke the planner, as a schedule does for the slot, or as ``request`` says."""
        event = {"policy": policy, "slot": SLOT.isoformat()} | request
        return self.invoke("plan_snapshots", event)

    def run_at(self, slot: datetime) -> dict[str, Any]:
        """A whole run at its slot, to which the clock moves."""
        self.cloud.clock.advance_to(slot, self.settle)
        return self.run(slot=slot.isoformat())

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Invoke the function and wait for its answer, as people do.

        Raises:
            LastgoodError, Killed: what its handler raised.
        """
        handler = self._fresh(function)
        left = self.time_left or timedelta(seconds=ROWS[function].timeout)
        deadline = self.cloud.clock.now() + left
        context = Context(function, f"request-{next(self._requests)}", deadline)
        with self.cloud.running(function):
            return handler(event, context)

    def machine(self, name: str, definition: str, **substitutions: str) -> str:
        """A state machine at home whose tasks invoke our functions; its ARN.

        ``substitutions``: for each ``${name}``. A function goes by its physical name, or its row's.
        """
        for key, value in substitutions.items():
            definition = definition.replace(f"${{{key}}}", value)
        role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        made = self.client("stepfunctions").create_state_machine(
            name=name, definition=definition, roleArn=role
        )
        return str(made["stateMachineArn"])

    def schedule(self, policy: str = "web-daily", slot: datetime = SLOT) -> None:
        """Invoke the planner for the slot as EventBridge Scheduler does: asynchronously."""
        self.invoke_later("plan_snapshots", {"policy": policy, "slot": slot.isoformat()})

    def invoke_later(self, function: str, event: Mapping[str, Any]) -> None:
        """Take an asynchronous invocation. It is made when the world settles, twice more if it
        fails, and is a dead letter then."""
        ask = partial(self._ask, _Asked(function, event))
        fate = self._fate(function)
        if fate is Fate.DELAYED:
            self.cloud.clock.at(self.cloud.clock.now() + timedelta(hours=1), ask)
        elif fate is Fate.OVERTAKEN:
            self._held[function] = ask
            return
        elif fate is not Fate.DROPPED:
            ask()
        if fate is Fate.DOUBLED:
            ask()
        self._held.pop(function, nothing)()

    def sweep(self, **request: Any) -> None:
        """The sweep's schedule, and what it sets going."""
        self.invoke_later("sweep", request)
        self.settle()

    def prune(self, policy: str = "web-daily", **request: Any) -> dict[str, Any]:
        """Plan what to prune as a person does, and all that follows now."""
        report = self.invoke("prune_snapshots", {"policy": policy} | request)
        self.settle()
        return report

    def forget_events(self) -> None:
        """Of what has happened so far: none of it comes to a function."""
        self._seen = len(self.cloud.events)

    def prune_daily(self) -> None:
        """The schedule of prunes, and what it sets going."""
        slot = self.cloud.clock.now().replace(microsecond=0)
        self.invoke_later("prune_snapshots", {"slot": slot.isoformat()})
        self.settle()

    def settle(self) -> None:
        """Until nothing is left to do now: deliver what EBS told, invoke, feed the functions."""
        while True:
            self._forward_ebs_events()
            stepped = self.cloud.settle()
            invoked = self._invoke_asked()
            fed = [self._feed(name, one) for name, one in FED.items()]
            if not stepped and not invoked and not any(fed):
                break
        self._watch_hidden()

    def rest(self, longest: timedelta) -> bool:
        """Advance until nothing is to happen any more, but no longer than that; whether so."""
        end = self.cloud.clock.now() + longest
        self.settle()
        while (due := self.cloud.clock.next_due()) is not None and due <= end:
            self.cloud.clock.advance_to(due, self.settle)
        return due is None

    def advance(self, by: timedelta) -> None:
        self.cloud.clock.advance(by, self.settle)

    def run(self, policy: str = "web-daily", **request: Any) -> dict[str, Any]:
        """A whole run: plan, take, and an hour for the snapshots to complete."""
        report = self.plan(policy, **request)
        self.advance(timedelta(hours=1))
        return report

    def messages(self, queue: str) -> list[Any]:
        """What is in a queue; it stays there."""
        return [json.loads(message.body) for message in _queue(queue)._messages]

    def buried(self, function: str) -> list[dict[str, str]]:
        """The error, cause, function and time of each dead letter, which is taken out.

        What Lambda or SQS put there bears none of these.
        """
        queue = _queue(f"{ROWS[function].physical_name}-dead-letters")
        letters, queue._messages[:] = list(queue._messages), []
        return [
            {name: one["StringValue"] for name, one in letter.message_attributes.items()}
            for letter in letters
        ]

    def redrive(self, function: str) -> None:
        """Put the dead letters back where they came from, as a person does."""
        dead = _queue(f"{ROWS[function].physical_name}-dead-letters")
        letters, dead._messages[:] = list(dead._messages), []
        for letter in letters:
            if function in FED:
                self._send(FED[function].queue, letter.body)
            else:
                self.invoke_later(function, json.loads(letter.body)["requestPayload"])

    def notices(self) -> list[dict[str, str]]:
        """What people were told by SNS: the subject and the text of each."""
        told = sns_backends[ACCOUNT][HOME].topics[TOPIC].sent_notifications
        return [{"subject": subject or "", "text": text} for _, text, subject, *_ in told]

    def announcements(self) -> list[dict[str, Any]]:
        """The events that subscribers of the bus got."""
        return self.messages(ANNOUNCEMENTS)

    def points(self) -> list[Point]:
        """Every point, read whole, by source and slot."""
        found = table.points(self.client("dynamodb"))
        return sorted(found, key=lambda point: (point.source, point.slot))

    def in_flight(self) -> int:
        """How many points are neither good nor failed."""
        reply = self.client("dynamodb").scan(
            TableName=table.NAME, FilterExpression="attribute_exists(flight)", Select="COUNT"
        )
        return int(reply["Count"])

    def snapshots(self, region: str = HOME, account: str = ACCOUNT) -> list[dict[str, Any]]:
        return own_snapshots(self.client("ec2", region, account))

    def shared(self) -> dict[str, list[str]]:
        """The accounts that snapshots at home are shared with, by snapshot; of those that are."""
        found = {}
        for snapshot in self.snapshots():
            id_ = snapshot["SnapshotId"]
            reply = self.ec2.describe_snapshot_attribute(
                SnapshotId=id_, Attribute="createVolumePermission"
            )
            if users := [one["UserId"] for one in reply["CreateVolumePermissions"]]:
                found[id_] = users
        return found

    def _fresh(self, function: str) -> Any:
        """The handler in a new execution environment, with the function's own settings."""
        row, fed = ROWS[function], FED.get(function)
        settings = {
            "account": ACCOUNT,
            "region": HOME,
            "table": table.NAME,
            "bus": BUS,
            "policies": POLICIES,
            "timeout": str(row.timeout),
            "members": ",".join((ACCOUNT, *self.members)),
            "function": row.physical_name,
            "take_queue": _url(FED["create_snapshots"].queue),
            "copy_queue": _url(FED["copy_snapshots"].queue),
            "prune_queue": _url(FED["delete_snapshots"].queue),
            "pruner": ROWS["prune_snapshots"].physical_name,
            "plans": PLANS,
            "accounts": f"{ACCOUNT},{VAULT}",
            "external_id": "of-this-installation",
            "dead_letters": _url(f"{row.physical_name}-dead-letters"),
            "planner": ROWS["plan_snapshots"].physical_name,
            "topic": TOPIC,
            "machine": MACHINE,
            "endings": ENDINGS,
            "ending_role": f"arn:aws:iam::{ACCOUNT}:role/ending",
            "ending_letters": f"arn:aws:sqs:{HOME}:{ACCOUNT}:{ENDINGS}-dead-letters",
            "cloner": ROWS["clone_instance"].physical_name,
            "workers": str(getattr(row.trigger, "concurrency", None) or 1),
            "queue": _url(fed.queue) if fed else "",
            "receives": str(fed.receives if fed else 1),
        }
        os.environ.update({f"LASTGOOD_{name.upper()}": text for name, text in settings.items()})
        module = importlib.import_module(f"{function}.handler")
        for owner in (runtime, module):
            for value in vars(owner).values():
                if hasattr(value, "cache_clear") and value.__module__ == owner.__name__:
                    value.cache_clear()
        return module.handler

    def _fate(self, function: str) -> Fate | None:
        """Of what arrives now."""
        number = self.arrived[function]
        self.arrived[function] += 1
        return self.fates.get((function, number))

    def answer_machine(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke the function for a task of a state machine."""
        try:
            return self.invoke(function, event)
        except LastgoodError:
            raise
        except Exception as error:
            self.bugs.append(error)
            raise

    def _ask(self, asked: _Asked) -> None:
        self._asked.append(asked)

    def _invoke_asked(self) -> bool:
        """Each asynchronous invocation that is to be made now; whether there was one."""
        functions = {row.physical_name: row.name for row in CATALOG}
        new, self._taken = self.cloud.invocations[self._taken :], len(self.cloud.invocations)
        for one in new:
            self.invoke_later(functions[one.function], one.event)
        asked, self._asked = self._asked, []
        for one in asked:
            try:
                self.invoke(one.function, one.event)
            except (LastgoodError, Killed) as error:
                self._failed(one, error)
            except Exception as error:  # noqa: BLE001 - Lambda takes all alike
                self.bugs.append(error)
                self._failed(one, error)
        return bool(asked)

    def _failed(self, asked: _Asked, error: BaseException) -> None:
        """Source of the letter: Lambda Developer Guide, "Retaining records of asynchronous
        invocations"."""
        if asked.attempt < len(RETRIED):
            again = _Asked(asked.function, asked.event, asked.attempt + 1)
            due = self.cloud.clock.now() + RETRIED[asked.attempt]
            self.cloud.clock.at(due, partial(self._ask, again))
            return
        letter = {
            "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": asked.event,
            "responsePayload": {"errorType": type(error).__name__, "errorMessage": str(error)},
        }
        self._send(f"{ROWS[asked.function].physical_name}-dead-letters", json.dumps(letter))

    def _send(self, queue: str, body: str) -> None:
        sqs_backends[ACCOUNT][HOME].send_message(queue, body)

    def _forward_ebs_events(self) -> None:
        news, self._seen = self.cloud.events[self._seen :], len(self.cloud.events)
        for event in news:
            for row in CATALOG:
                wanted = row.trigger.events if isinstance(row.trigger, EbsEvents) else ()
                if event["detail"]["event"] in wanted and "result" in event["detail"]:
                    self._send(FED[row.name].queue, json.dumps(event))

    def _feed(self, function: str, fed: Fed) -> bool:
        """One batch, as Lambda's poller does it; whether there was one."""
        messages = self._received(function, fed)
        if not messages:
            return False
        records = [
            {
                "messageId": one.id,
                "receiptHandle": one.receipt_handle,
                "body": one.body,
                "attributes": {
                    "SenderId": one.sender_id,
                    "SentTimestamp": str(one.sent_timestamp),
                    "ApproximateReceiveCount": str(one.approximate_receive_count),
                    "ApproximateFirstReceiveTimestamp": str(
                        one.approximate_first_receive_timestamp
                    ),
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{HOME}:{ACCOUNT}:{fed.queue}",
                "awsRegion": HOME,
            }
            for one in messages
        ]
        # The messages of an invocation that died come back when their visibility ends.
        with suppress(Killed):
            response = self.invoke(function, {"Records": records})
            failed = {one["itemIdentifier"] for one in response["batchItemFailures"]}
            for one in messages:
                if one.id not in failed:
                    _queue(fed.queue).delete_message(one.receipt_handle)
        self._held.pop(function, nothing)()
        return True

    def _received(self, function: str, fed: Fed) -> list[Message]:
        """The next batch, without those that have another fate."""
        queue, backend = _queue(fed.queue), sqs_backends[ACCOUNT][HOME]
        for message in queue.messages:
            if message.id not in self._met:
                self._met.add(message.id)
                self._bring_about(self._fate(function), queue, message)
        return list(backend.receive_message(fed.queue, fed.batch, 0, 6 * fed.timeout))

    def _bring_about(self, fate: Fate | None, queue: Queue, message: Message) -> None:
        if fate is Fate.DROPPED:
            queue._messages.remove(message)
        elif fate is Fate.DOUBLED:
            self._send(queue.name, message.body)
            self._met.add(queue._messages[-1].id)
        elif fate is Fate.DELAYED:
            message.change_visibility(3600)
        elif fate is Fate.OVERTAKEN:
            message.change_visibility(3600)
            self._held[_function_of(queue)] = partial(message.change_visibility, 0)

    def _watch_hidden(self) -> None:
        """Let the clock stop when a hidden message can be taken again."""
        for fed in FED.values():
            for message in _queue(fed.queue)._messages:
                hidden_until = int(message.visible_at)
                if hidden_until not in self._watched and not message.visible:
                    self._watched.add(hidden_until)
                    # moto shows a message only after the millisecond itself
                    due = datetime.fromtimestamp((hidden_until + 2) / 1000, UTC)
                    self.cloud.clock.at(due, nothing)


def _queue(name: str) -> Queue:
    return sqs_backends[ACCOUNT][HOME].queues[name]


def _url(queue: str) -> str:
    return f"https://sqs.{HOME}.amazonaws.com/{ACCOUNT}/{queue}"


def _function_of(queue: Queue) -> str:
    return next(name for name, fed in FED.items() if fed.queue == queue.name)


class _Bugs(logging.Handler):
    """Notes what a handler that goes on with its batch logged as no error of ours."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, LastgoodError):
            self._world.bugs.append(error)


def _pace_on(patches: Patches, cloud: InProcessCloud) -> None:
    """A function that waits for its turn lets the cloud's time pass, not ours."""
    if find_spec("lastgood.aws.pacing") is None:
        return
    waits = SimpleNamespace(
        monotonic=lambda: cloud.clock.now().timestamp(),
        sleep=lambda seconds: cloud.clock.advance(timedelta(seconds=seconds)),
    )
    patches.set(importlib.import_module("lastgood.aws.pacing"), "time", waits)


@contextmanager
def a_world(start: datetime = SLOT) -> Iterator[World]:
    """A fresh world whose clock stands at ``start``, with the usual policy deployed."""
    patches = Patches()
    with in_process_cloud(start) as cloud:
        world = World(cloud)
        bugs = _Bugs(world)
        runtime.logger.addHandler(bugs)
        _pace_on(patches, cloud)
        try:
            _build(world)
            world.deploy(a_policy())
            yield world
        finally:
            patches.undo()
            runtime.logger._logger.removeHandler(bugs)


def _build(world: World) -> None:
    """What the stacks hold, beside the functions and their roles."""
    for row in CATALOG:
        answer = partial(world.answer_machine, row.name)
        world.cloud.functions |= {row.name: answer, row.physical_name: answer}
    table.create(world.client("dynamodb"))
    sqs = sqs_backends[ACCOUNT][HOME]
    for row in CATALOG:
        letters = sqs.create_queue(f"{row.physical_name}-dead-letters")
        if row.name in FED:
            fed = FED[row.name]
            redrive = {"deadLetterTargetArn": letters.queue_arn, "maxReceiveCount": fed.receives}
            sqs.create_queue(
                fed.queue,
                VisibilityTimeout=str(6 * fed.timeout),
                RedrivePolicy=json.dumps(redrive),
            )
    sqs.create_queue(ANNOUNCEMENTS)
    sqs.create_queue(f"{ENDINGS}-dead-letters")
    world.client("scheduler").create_schedule_group(Name=ENDINGS)
    world.machine(RESTORE, restore_machine.FILE.read_text(), **restore_machine.STEPS)
    where = {"LocationConstraint": HOME}
    world.client("s3").create_bucket(Bucket=PLANS, CreateBucketConfiguration=where)
    world.client("sns").create_topic(Name=NOTICES)
    events = world.client("events")
    events.create_event_bus(Name=BUS)
    events.put_rule(Name="all", EventBusName=BUS, EventPattern=json.dumps({"source": ["lastgood"]}))
    arn = _queue(ANNOUNCEMENTS).queue_arn
    events.put_targets(Rule="all", EventBusName=BUS, Targets=[{"Id": "1", "Arn": arn}])
    for row in CATALOG:
        if isinstance(row.trigger, QueueTrigger) and row.trigger.announced:
            pattern = json.dumps(announced_pattern(row.trigger.announced))
            events.put_rule(Name=row.name, EventBusName=BUS, EventPattern=pattern)
            arn = _queue(FED[row.name].queue).queue_arn
            events.put_targets(Rule=row.name, EventBusName=BUS, Targets=[{"Id": "1", "Arn": arn}])
