"""The bundle's handlers in this process: real adapters, moto's SQS and DynamoDB, EC2 as AWS is.

No deployment: what CDK wires (queues, event rules, schedules) is done by hand in here, so that
hundreds of stories run in seconds. The deployed bundle is proved in tests/e2e.
"""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from moto.sqs.models import sqs_backends

from infra.catalog import CATALOG, QueueTrigger
from infra.policies import policy_document
from lastgood import runtime
from lastgood.domain.model import Point
from lastgood.domain.policy import Policy, ResourceKind, Retention, Schedule, Select
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.clock import nothing
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.support import table
from tests.support.fleet import own_snapshots

ACCOUNT = "123456789012"
HOME = "eu-west-1"
SLOT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
POLICIES = "/lastgood/policies"
BUS = "lastgood"


@dataclass(frozen=True)
class Fed:
    """A function that a queue feeds, as its catalog row has it."""

    queue: str
    timeout: int
    receives: int
    batch: int


FED = {
    row.name: Fed(row.physical_name, row.timeout, row.trigger.receives, row.trigger.batch)
    for row in CATALOG
    if isinstance(row.trigger, QueueTrigger)
}
ANNOUNCEMENTS = "announcements"


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
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:test"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass
class World:
    cloud: InProcessCloud
    _seen: int = 0
    _requests: Any = field(default_factory=lambda: count(1))
    _watched: set[int] = field(default_factory=set)

    def client(self, service: str, region: str = HOME) -> Any:
        return self.cloud.client(service, region)

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

    def invoke(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        handler = self._fresh(function)
        return dict(handler(event, Context(function, f"request-{next(self._requests)}")))

    def settle(self) -> None:
        """Until no queue has a visible message: deliver what EBS told, and feed the functions."""
        while True:
            self._forward_ebs_events()
            fed = [self._feed(name, one) for name, one in FED.items()]
            if not any(fed):
                break
        self._watch_hidden()

    def advance(self, by: timedelta) -> None:
        self.cloud.clock.advance(by, self.settle)

    def run(self, policy: str = "web-daily", **request: Any) -> dict[str, Any]:
        """A whole run: plan, take, and an hour for the snapshots to complete."""
        report = self.plan(policy, **request)
        self.advance(timedelta(hours=1))
        return report

    def messages(self, queue: str) -> list[Any]:
        """What is in a queue; it stays there."""
        backend = sqs_backends[ACCOUNT][HOME].queues[queue]
        return [json.loads(message.body) for message in backend._messages]

    def buried(self, function: str) -> list[dict[str, str]]:
        """The error, cause, function and time of each dead letter, which is taken out."""
        reply = self.client("sqs").receive_message(
            QueueUrl=self._url(f"{FED[function].queue}-dead-letters"),
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        )
        return [
            {name: one["StringValue"] for name, one in message["MessageAttributes"].items()}
            for message in reply.get("Messages", [])
        ]

    def announcements(self) -> list[dict[str, Any]]:
        """The events that subscribers of the bus got."""
        return self.messages(ANNOUNCEMENTS)

    def points(self) -> list[Point]:
        """Every point, read whole, by source and slot."""
        found = table.points(self.client("dynamodb"))
        return sorted(found, key=lambda point: (point.source, point.slot))

    def snapshots(self, region: str = HOME) -> list[dict[str, Any]]:
        return own_snapshots(self.client("ec2", region))

    def _fresh(self, function: str) -> Any:
        """The handler in a new execution environment, with the function's own settings."""
        fed = FED.get(function)
        settings = {
            "account": ACCOUNT,
            "region": HOME,
            "table": table.NAME,
            "bus": BUS,
            "policies": POLICIES,
            "timeout": str(fed.timeout if fed else 900),
            "take_queue": self._url(FED["create_snapshots"].queue),
        }
        if fed:
            settings |= {
                "queue": self._url(fed.queue),
                "dead_letters": self._url(f"{fed.queue}-dead-letters"),
                "receives": str(fed.receives),
            }
        os.environ.update({f"LASTGOOD_{name.upper()}": text for name, text in settings.items()})
        module = importlib.import_module(f"{function}.handler")
        for owner in (runtime, module):
            for value in vars(owner).values():
                if hasattr(value, "cache_clear") and value.__module__ == owner.__name__:
                    value.cache_clear()
        return module.handler

    def _url(self, queue: str) -> str:
        return str(self.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"])

    def _forward_ebs_events(self) -> None:
        url = self._url(FED["record_snapshot"].queue)
        news, self._seen = self.cloud.events[self._seen :], len(self.cloud.events)
        for event in news:
            self.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(event))

    def _feed(self, function: str, fed: Fed) -> bool:
        """One batch, as Lambda's poller does it; whether there was one."""
        sqs, url = self.client("sqs"), self._url(fed.queue)
        messages = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=fed.batch, MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        if not messages:
            return False
        records = [
            {
                "messageId": one["MessageId"],
                "receiptHandle": one["ReceiptHandle"],
                "body": one["Body"],
                "attributes": one["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{HOME}:{ACCOUNT}:{fed.queue}",
                "awsRegion": HOME,
            }
            for one in messages
        ]
        response = self.invoke(function, {"Records": records})
        failed = {one["itemIdentifier"] for one in response["batchItemFailures"]}
        for one in messages:
            if one["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        return True

    def _watch_hidden(self) -> None:
        """Let the clock stop when a hidden message can be taken again."""
        for fed in FED.values():
            for message in sqs_backends[ACCOUNT][HOME].queues[fed.queue]._messages:
                hidden_until = int(message.visible_at)
                if hidden_until not in self._watched and not message.visible:
                    self._watched.add(hidden_until)
                    # moto shows a message only after the millisecond itself
                    due = datetime.fromtimestamp((hidden_until + 2) / 1000, UTC)
                    self.cloud.clock.at(due, nothing)


@contextmanager
def a_world(start: datetime = SLOT) -> Iterator[World]:
    """A fresh world whose clock stands at ``start``, with the usual policy deployed."""
    with in_process_cloud(start) as cloud:
        world = World(cloud)
        sqs, events = world.client("sqs"), world.client("events")
        table.create(world.client("dynamodb"))
        for fed in FED.values():
            sqs.create_queue(
                QueueName=fed.queue, Attributes={"VisibilityTimeout": str(6 * fed.timeout)}
            )
            sqs.create_queue(QueueName=f"{fed.queue}-dead-letters")
        sqs.create_queue(QueueName=ANNOUNCEMENTS)
        events.create_event_bus(Name=BUS)
        events.put_rule(
            Name="all", EventBusName=BUS, EventPattern=json.dumps({"source": ["lastgood"]})
        )
        arn = f"arn:aws:sqs:{HOME}:{ACCOUNT}:{ANNOUNCEMENTS}"
        events.put_targets(Rule="all", EventBusName=BUS, Targets=[{"Id": "1", "Arn": arn}])
        world.deploy(a_policy())
        yield world
