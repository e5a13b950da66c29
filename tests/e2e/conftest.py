"""The whole bundle in the test cloud, put there by the real CDK CLI."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.catalog import CATALOG
from infra.stacks.state import TABLE
from lastgood.domain.model import Point
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.driver import ACCOUNT, CDK, REPOSITORY, CloudProcess
from tests.support import schedules, table
from tests.support.fleet import own_snapshots

HOME, AWAY = "eu-west-1", "eu-north-1"
VAULT = "210987654321"
VAULT_STACK = f"Lastgood-{VAULT}-{AWAY}"
MEMBER = "333333333333"
MEMBER_STACK = f"Lastgood-{MEMBER}-{HOME}"
STACKS = {
    "LastgoodState": (HOME, ACCOUNT),
    "Lastgood": (HOME, ACCOUNT),
    f"Lastgood-{AWAY}": (AWAY, ACCOUNT),
    VAULT_STACK: (AWAY, VAULT),
    MEMBER_STACK: (HOME, MEMBER),
}
"""Where each is."""
POLICIES = Path(__file__).with_name("policies.yaml")
CHAT = Path(__file__).with_name("chat.yaml")
START = datetime(2026, 3, 1, tzinfo=UTC)
SLOT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
"""When the schedule of web-daily is due for the first time."""
FUNCTIONS = {row.name: row.physical_name for row in CATALOG}
BURYING = [row.name for row in CATALOG if row.buries]
"""Those that have dead letters: whoever asks the others gets their errors."""
HEARD = "heard-by-a-subscriber"
"""The subscriber's queue."""
APP = ("app.py", "cdk.json", "functions", "infra", "build")
"""What of the repository the CDK needs; ``build`` may not be there yet."""
QUIET = ("--require-approval", "never", "--concurrency", "3")


@pytest.fixture(scope="session", autouse=True)
def _cdk_cli() -> None:
    if not CDK.exists():
        pytest.fail(f"there is no CDK CLI at {CDK.relative_to(REPOSITORY)}: run `npm ci`")


@dataclass(frozen=True)
class Answer:
    """What ``aws lambda invoke`` gets. ``error`` is the errorType, None if there is none."""

    error: str | None
    payload: Any


def _starts(schedule: dict[str, Any], function: str) -> bool:
    return str(schedule["Target"]["Arn"]).endswith(f":function:{FUNCTIONS[function]}")


@dataclass(frozen=True)
class Installation:
    """A cloud of its own, with a look at what Lastgood did in it."""

    cloud: CloudProcess

    def client(self, service: str, region: str = HOME, *, account: str = ACCOUNT) -> Any:
        return self.cloud.client(service, region, account=account)

    def synthesise(self, source: Path, output: Path) -> Path:
        self._cdk("synth", "--quiet", source=source, policies=POLICIES, output=output)
        return output

    def deploy(self, assembly: Path) -> str:
        """All stacks; what the CLI printed."""
        return self.cloud.cdk("deploy", "--all", *QUIET, "--app", str(assembly), region=HOME)

    def deploy_source(self, source: Path, output: Path, policies: Path = POLICIES) -> str:
        """As a person does it: from the folder of the app.

        Raises:
            CdkFailed: with all that the CLI printed.
        """
        return self._cdk("deploy", "--all", *QUIET, source=source, policies=policies, output=output)

    def destroy(self, assembly: Path) -> str:
        return self.cloud.cdk("destroy", "--all", "--force", "--app", str(assembly), region=HOME)

    def _cdk(self, *command: str, source: Path, policies: Path, output: Path) -> str:
        given = (f"lastgood:policies={policies}", f"lastgood:chat={CHAT}")
        context = [one for text in given for one in ("-c", text)]
        return self.cloud.cdk(*command, *context, "-o", str(output), cwd=source, region=HOME)

    # -------------------------------------------------------------------- what it did

    def invoke(
        self, function: str, event: dict[str, Any], region: str = HOME, **how: Any
    ) -> Answer:
        reply = self.client("lambda", region).invoke(
            FunctionName=FUNCTIONS[function], Payload=json.dumps(event), **how
        )
        text = reply["Payload"].read().decode()
        payload = json.loads(text) if text else None
        return Answer(payload["errorType"] if "FunctionError" in reply else None, payload)

    def plan(self, policy: str = "web-daily", **request: Any) -> Answer:
        """Invoke the planner by hand; for a slot, once the clock has come to it."""
        if "slot" in request:
            slot = datetime.fromisoformat(request["slot"])
            if slot > self.cloud.now():
                self.cloud.advance(to=slot)
        return self.invoke("plan_snapshots", {"policy": policy, **request})

    def sweep(self, **request: Any) -> dict[str, Any]:
        """Have it swept now; the report."""
        answer = self.invoke("sweep", request)
        assert answer.error is None, answer.payload
        report: dict[str, Any] = answer.payload
        return report

    def hurry(self, function: str) -> None:
        """Have each of its workers keep a pace as if alone: they wait in real time."""
        client, name = self.client("lambda"), FUNCTIONS[function]
        known = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables = {**known, "LASTGOOD_WORKERS": "1"}
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )

    def skip(self, to: datetime) -> None:
        """Move the clock without sweeps: those of a day in which nothing happens take a while."""
        schedules.switch(self.client("scheduler"), FUNCTIONS["sweep"], on=False)
        self.cloud.advance(to=to)
        schedules.switch(self.client("scheduler"), FUNCTIONS["sweep"], on=True)

    def start_only(self, function: str) -> None:
        """From now on no other function is started by a schedule."""
        for name, schedule in self.schedules().items():
            if not _starts(schedule, function):
                schedules.switch(self.client("scheduler"), name, on=False)

    def schedules(self) -> dict[str, dict[str, Any]]:
        """Ours, by name."""
        scheduler, group = self.client("scheduler"), {"GroupName": schedules.GROUP}
        listed = scheduler.list_schedules(**group)["Schedules"]
        return {one["Name"]: scheduler.get_schedule(**group, Name=one["Name"]) for one in listed}

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.client("dynamodb"), TABLE)

    def points(self) -> list[Point]:
        """Every point, read whole, in the order in which they were due."""
        return table.points(self.client("dynamodb"))

    def points_at(self, slot: datetime) -> dict[str, Point]:
        """The points of one slot, by source."""
        return {point.source.id: point for point in self.points() if point.slot == slot}

    def snapshots(self, region: str = HOME) -> list[dict[str, Any]]:
        return own_snapshots(self.client("ec2", region))

    def subscribe(self) -> None:
        """As somebody who wants to hear of every point: a queue, and a rule on Lastgood's bus."""
        sqs, events = self.client("sqs"), self.client("events")
        arn = f"arn:aws:sqs:{HOME}:{ACCOUNT}:{HEARD}"
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.create_queue(QueueName=HEARD, Attributes={"Policy": policy})
        events.put_rule(
            Name="everything",
            EventBusName="lastgood",
            EventPattern=json.dumps({"source": ["lastgood"]}),
        )
        events.put_targets(
            Rule="everything", EventBusName="lastgood", Targets=[{"Id": "1", "Arn": arn}]
        )

    def heard(self) -> list[dict[str, Any]]:
        """What the subscriber heard since it was asked last."""
        return [json.loads(one["body"]) for one in self.take_out(HEARD)]

    def send(self, queue: str, body: str) -> None:
        self.client("sqs").send_message(QueueUrl=self._url(queue), MessageBody=body)

    def take_out(self, queue: str) -> list[dict[str, Any]]:
        """All messages of a queue, which is empty afterwards: ``body`` and ``attributes``."""
        sqs, url = self.client("sqs"), self._url(queue)
        taken = []
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for one in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
                attributes = {
                    name: value["StringValue"]
                    for name, value in one.get("MessageAttributes", {}).items()
                }
                taken.append({"body": one["Body"], "attributes": attributes})
        return taken

    def dead_letters(self, function: str) -> list[dict[str, Any]]:
        return self.take_out(f"{FUNCTIONS[function]}-dead-letters")

    def _url(self, queue: str) -> str:
        return f"{self.cloud.url}/{ACCOUNT}/{queue}"

    def log(self, function: str, until: datetime) -> list[str]:
        pages = (
            self.client("logs")
            .get_paginator("filter_log_events")
            .paginate(
                logGroupName=f"/aws/lambda/{FUNCTIONS[function]}",
                endTime=int(until.timestamp() * 1000),
            )
        )
        return [event["message"] for page in pages for event in page["events"]]

    def role_of(self, function: str) -> str:
        """The ARN of the role of a function."""
        known = self.client("lambda").get_function_configuration(FunctionName=FUNCTIONS[function])
        return str(known["Role"])

    def schedule_role(self, function: str = "plan_snapshots") -> str:
        """The ARN of the role of the schedules that start the function."""
        ours = (one for one in self.schedules().values() if _starts(one, function))
        return str(next(ours)["Target"]["RoleArn"])

    @contextmanager
    def waiting(self, function: str) -> Iterator[None]:
        """The messages of the function stay in its queue, for the length of the block."""
        client = self.client("lambda")
        found = client.list_event_source_mappings(FunctionName=FUNCTIONS[function])
        (mapping,) = (one["UUID"] for one in found["EventSourceMappings"])
        client.update_event_source_mapping(UUID=mapping, Enabled=False)
        try:
            yield
        finally:
            client.update_event_source_mapping(UUID=mapping, Enabled=True)

    @contextmanager
    def trusting_nobody(self, role: str) -> Iterator[None]:
        """No service can assume the role, for the length of the block."""
        iam, name = self.client("iam"), role.rsplit("/", 1)[-1]
        before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        nobody = {"Effect": "Deny", "Principal": {"Service": "*"}, "Action": "sts:AssumeRole"}
        other = {"Version": "2012-10-17", "Statement": [nobody]}
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(other))
        try:
            yield
        finally:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@contextmanager
def a_bootstrapped_cloud() -> Iterator[Installation]:
    with CloudProcess(START) as cloud:
        places = [f"aws://{ACCOUNT}/{region}" for region in (HOME, AWAY)]
        cloud.cdk("bootstrap", *places, region=HOME)
        cloud.bootstrap(AWAY, account=VAULT, trust=[ACCOUNT])
        cloud.bootstrap(HOME, account=MEMBER, trust=[ACCOUNT])
        yield Installation(cloud)


@contextmanager
def an_installation(assembly: Path) -> Iterator[Installation]:
    with a_bootstrapped_cloud() as bootstrapped:
        bootstrapped.deploy(assembly)
        yield bootstrapped


def copy_of(app: Path, folder: Path) -> Path:
    """The files that the app consists of, without what Python compiled when it imported them."""
    folder.mkdir()
    for name in APP:
        if (app / name).is_dir():
            # In build there is bytecode that is deployed.
            ignored = shutil.ignore_patterns(
                *([] if name == "build" else ["__pycache__"]), ".new-*"
            )
            shutil.copytree(app / name, folder / name, ignore=ignored)
        elif (app / name).exists():
            shutil.copy(app / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app as it is now, so that who edits it meanwhile does not change what is deployed."""
    return copy_of(REPOSITORY, tmp_path_factory.mktemp("source") / "app")


@pytest.fixture(scope="session")
def assembly(app: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the CLI synthesises, once for all clouds."""
    with CloudProcess(START) as cloud:
        return Installation(cloud).synthesise(app, tmp_path_factory.mktemp("assembly"))


@cache
def template(assembly: Path, stack: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((assembly / f"{stack}.template.json").read_text())
    return loaded
