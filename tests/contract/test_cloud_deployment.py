"""A small CDK app, deployed into the test cloud by the real CDK CLI, runs as it would on AWS."""

import json
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.driver import CdkFailed, CloudProcess

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 1, tzinfo=UTC)
HOME, AWAY = "us-east-1", "eu-west-1"

APP = """
import sys
from pathlib import Path

from aws_cdk import App, Duration, Environment, RemovalPolicy, Stack, TimeZone
from aws_cdk import aws_dynamodb as dynamodb, aws_events as events
from aws_cdk import aws_events_targets as event_targets, aws_kms as kms, aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_lambda_event_sources as sources, aws_logs as logs
from aws_cdk import aws_scheduler as scheduler, aws_scheduler_targets as targets, aws_sqs as sqs

HERE = Path(__file__).parent


class Sample(Stack):
    def __init__(self, scope, id, **kwargs):
        super().__init__(scope, id, **kwargs)
        key = kms.Key(self, "Key", removal_policy=RemovalPolicy.DESTROY)
        dead = sqs.Queue(self, "Dead", queue_name="dead")
        lost = sqs.Queue(self, "Lost", queue_name="lost")
        work = sqs.Queue(
            self, "Work", queue_name="work", encryption_master_key=key,
            visibility_timeout=Duration.seconds(60),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=2),
        )
        code = lambda_.Code.from_asset(str(HERE / "layer"))
        layer = lambda_.LayerVersion(self, "Layer", code=code)
        planner = self.function("planner", layer, {"QUEUE_URL": work.queue_url})
        failed = destinations.SqsDestination(lost)
        planner.configure_async_invoke(retry_attempts=1, on_failure=failed)
        work.grant_send_messages(planner)
        worker = self.function("worker", layer, {})
        worker.add_event_source(
            sources.SqsEventSource(work, batch_size=10, report_batch_item_failures=True)
        )
        scheduler.Schedule(
            self, "Nightly", schedule=scheduler.ScheduleExpression.expression(
                "cron(30 2 * * ? *)", TimeZone.of("Europe/Berlin")
            ),
            target=targets.LambdaInvoke(
                planner,
                input=scheduler.ScheduleTargetInput.from_object(
                    {"slot": "<aws.scheduler.scheduled-time>", "items": ["good", "bad"]}
                ),
            ),
        )
        bus = events.EventBus(self, "Bus", event_bus_name="sample")
        heard = sqs.Queue(self, "Heard", queue_name="heard")
        events.Rule(
            self, "Hears", event_bus=bus,
            event_pattern=events.EventPattern(source=["sample"], detail_type=["Thing Done"]),
            targets=[event_targets.SqsQueue(heard)],
        )
        dynamodb.Table(
            self, "Kept", table_name="kept", removal_policy=RemovalPolicy.RETAIN,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            time_to_live_attribute="expires", billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        )

    def function(self, name, layer, environment):
        return lambda_.Function(
            self, name.title(), function_name=name, handler=f"{name}.handler",
            code=lambda_.Code.from_asset(str(HERE / "functions")), layers=[layer],
            runtime=lambda_.Runtime.PYTHON_3_13, architecture=lambda_.Architecture.ARM_64,
            environment=environment, timeout=Duration.seconds(5),
            log_group=logs.LogGroup(
                self, f"{name.title()}Logs", log_group_name=f"/sample/{name}",
                retention=logs.RetentionDays.ONE_WEEK, removal_policy=RemovalPolicy.DESTROY,
            ),
        )


class Away(Stack):
    def __init__(self, scope, id, **kwargs):
        super().__init__(scope, id, **kwargs)
        events.EventBus(self, "Bus", event_bus_name="away")


app = App()
account = "123456789012"
Sample(app, "Sample", env=Environment(account=account, region="us-east-1"))
Away(app, "Away", env=Environment(account=account, region="eu-west-1"))
app.synth()
"""

SHARED = """
import json


def read(body):
    return json.loads(body)
"""

PLANNER = """
import json
import os
import sys
from datetime import UTC, datetime

import boto3
from shared import read


def handler(event, context):
    match event.get("do"):
        case "delete":
            boto3.client("ec2").delete_snapshot(SnapshotId="snap-0123456789abcdef0")
        case "fail":
            raise ValueError("asked to fail")
        case "exit":
            os._exit(3)
        case "sleep":
            import time

            time.sleep(60)
        case "import":
            import pytest
        case "time":
            left = context.get_remaining_time_in_millis()
            return {"now": datetime.now(UTC).isoformat(), "left": left}
    print("planning", event.get("slot"))
    sqs = boto3.client("sqs")
    for item in event.get("items", []):
        body = {"slot": event["slot"], "item": item}
        sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps(body))
"""

WORKER = """
from shared import read


def handler(event, context):
    failed = [r for r in event["Records"] if read(r["body"])["item"] == "bad"]
    return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in failed]}
"""


def write_app(folder: Path) -> Path:
    for name, text in {
        "app.py": APP,
        "cdk.json": json.dumps({"app": "python app.py", "versionReporting": False}),
        "functions/planner.py": PLANNER,
        "functions/worker.py": WORKER,
        "layer/python/shared.py": SHARED,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_app(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def cloud(app: Path) -> Iterator[CloudProcess]:
    with CloudProcess(START) as cloud:
        cloud.bootstrap(HOME, AWAY)
        cloud.deploy(app)
        yield cloud


def messages(cloud: CloudProcess, queue: str) -> list[dict[str, Any]]:
    """Take and delete all that can be seen."""
    sqs = cloud.client("sqs", HOME)
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = []
    while batch := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in batch:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        found += batch
    return found


def invoke(cloud: CloudProcess, event: dict[str, Any], kind: str = "RequestResponse") -> Any:
    answer = cloud.client("lambda", HOME).invoke(
        FunctionName="planner", InvocationType=kind, Payload=json.dumps(event)
    )
    return json.loads(answer["Payload"].read() or b"null")


def test_every_resource_of_the_template_is_there(cloud: CloudProcess, app: Path) -> None:
    template = json.loads((app / "cdk.out" / "Sample.template.json").read_text())

    made = cloud.stack_resources("Sample", HOME)

    declared = [r["Type"] for r in template["Resources"].values()]
    assert sorted(made.elements()) == sorted(declared)
    assert cloud.stack_resources("Away", AWAY) == {"AWS::Events::EventBus": 1}


def test_what_cannot_be_done_goes_from_the_schedule_through_the_queue_to_its_dead_letter_queue(
    cloud: CloudProcess,
) -> None:
    cloud.advance(to=START + timedelta(hours=1))

    cloud.advance(to=START + timedelta(hours=3))

    # 02:30 in Berlin is 01:30 UTC in winter
    dead = [json.loads(m["Body"]) for m in messages(cloud, "dead")]
    assert dead == [{"slot": "2026-03-01T01:30:00Z", "item": "bad"}]
    batches = [i for i in cloud.state()["invocations"] if i["function"] == "worker"]
    # the good one once, the bad one again after its visibility timeout
    assert [len(json.loads(b["event"])["Records"]) for b in batches] == [2, 1]
    first, second = (datetime.fromisoformat(b["time"]) for b in batches)
    assert timedelta(seconds=59) < second - first < timedelta(seconds=62)


def test_an_event_reaches_the_queue_of_the_rule_that_matches_it(cloud: CloudProcess) -> None:
    entry = {"Source": "sample", "EventBusName": "sample", "Detail": '{"id": 1}'}

    cloud.client("events", HOME).put_events(
        Entries=[{**entry, "DetailType": "Thing Done"}, {**entry, "DetailType": "Other"}]
    )
    cloud.settle()

    (heard,) = [json.loads(m["Body"]) for m in messages(cloud, "heard")]
    assert (heard["detail-type"], heard["detail"]) == ("Thing Done", {"id": 1})


def test_a_call_that_the_role_does_not_allow_is_denied_and_written_down(
    cloud: CloudProcess,
) -> None:
    failure = invoke(cloud, {"do": "delete"})

    assert "UnauthorizedOperation" in failure["errorMessage"]
    denied = [d for d in cloud.state()["decisions"] if not d["allowed"]]
    assert [(d["action"], d["resource"]) for d in denied] == [
        ("ec2:DeleteSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-0123456789abcdef0")
    ]


def test_a_function_runs_at_the_time_of_the_cloud(cloud: CloudProcess) -> None:
    told = invoke(cloud, {"do": "time"})

    behind = cloud.now() - datetime.fromisoformat(told["now"])
    assert abs(behind) < timedelta(seconds=2)
    assert 4000 < told["left"] <= 5000


def test_a_function_that_ends_its_process_has_a_runtime_exit_error(cloud: CloudProcess) -> None:
    assert invoke(cloud, {"do": "exit"})["errorType"] == "Runtime.ExitError"


def test_a_function_that_is_too_slow_is_ended_at_its_timeout(cloud: CloudProcess) -> None:
    assert invoke(cloud, {"do": "sleep"})["errorType"] == "Sandbox.Timedout"


def test_a_function_sees_nothing_but_itself_its_layers_and_the_image(cloud: CloudProcess) -> None:
    failure = invoke(cloud, {"do": "import"})

    assert failure["errorMessage"] == "No module named 'pytest'"


def test_an_asynchronous_event_that_fails_is_tried_again_and_then_recorded(
    cloud: CloudProcess,
) -> None:
    invoke(cloud, {"do": "fail"}, kind="Event")

    cloud.advance(by=timedelta(minutes=2))

    (record,) = [json.loads(m["Body"]) for m in messages(cloud, "lost")]
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestPayload"] == {"do": "fail"}
    assert record["responsePayload"]["errorType"] == "ValueError"


def test_what_a_function_prints_is_in_its_log_group(cloud: CloudProcess) -> None:
    invoke(cloud, {"slot": "now"})

    logged = cloud.client("logs", HOME).filter_log_events(logGroupName="/sample/planner")
    assert "planning now" in [event["message"].strip() for event in logged["events"]]


def test_a_second_deployment_of_the_same_has_no_changes(cloud: CloudProcess, app: Path) -> None:
    assert "(no changes)" in cloud.deploy(app / "cdk.out", "Sample")


def test_a_type_that_nobody_taught_fails_the_deployment(
    cloud: CloudProcess, tmp_path: Path
) -> None:
    source = """
        from aws_cdk import App, CfnResource, Environment, Stack
        app = App()
        stack = Stack(app, "Odd", env=Environment(account="123456789012", region="us-east-1"))
        CfnResource(stack, "Thing", type="AWS::Batch::JobQueue")
        app.synth()
    """
    (tmp_path / "app.py").write_text(textwrap.dedent(source))
    (tmp_path / "cdk.json").write_text(json.dumps({"app": "python app.py"}))

    with pytest.raises(CdkFailed, match="Unrecognized resource types"):
        cloud.deploy(tmp_path)


def test_a_changed_function_runs_its_new_code_after_the_next_deployment(
    cloud: CloudProcess, app: Path
) -> None:
    (app / "functions" / "planner.py").write_text("def handler(event, context): return 'new'")

    cloud.deploy(app, "Sample")

    assert invoke(cloud, {}) == "new"


def test_after_destroy_only_what_is_retained_is_left(cloud: CloudProcess, app: Path) -> None:
    cloud.cdk("destroy", "--all", "--force", "--app", str(app / "cdk.out"))

    assert cloud.client("dynamodb", HOME).list_tables()["TableNames"] == ["kept"]
    assert "QueueUrls" not in cloud.client("sqs", HOME).list_queues()
    assert cloud.client("lambda", HOME).list_functions()["Functions"] == []
    assert cloud.client("scheduler", HOME).list_schedules()["Schedules"] == []
    roles = cloud.client("iam", HOME).list_roles()["Roles"]
    assert [r["RoleName"] for r in roles if not r["RoleName"].startswith("cdk-")] == []
    assert cloud.errors() == ""
