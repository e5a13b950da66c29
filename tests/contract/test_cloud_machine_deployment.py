"""A state machine, a function URL and a secret, deployed by the real CDK CLI."""

import json
import textwrap
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.driver import CloudProcess

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 1, tzinfo=UTC)
REGION = "us-east-1"

APP = """
import json

from aws_cdk import App, CfnOutput, Duration, Environment, Stack
from aws_cdk import aws_iam as iam, aws_lambda as lambda_, aws_logs as logs
from aws_cdk import aws_secretsmanager as secrets, aws_stepfunctions as sfn

DEFINITION = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {
                "FunctionName": "${worker}",
                "Payload": {"token.$": "$$.Task.Token", "name.$": "$$.Execution.Name"},
            },
            "TimeoutSeconds": 3600,
            "ResultPath": "$.answer",
            "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}],
            "Next": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": 600, "Next": "Done"},
        "Done": {"Type": "Succeed"},
        "Late": {"Type": "Fail", "Error": "Late"},
    },
}


class Sample(Stack):
    def __init__(self, scope, id, **kwargs):
        super().__init__(scope, id, **kwargs)
        worker = self.function("worker")
        door = self.function("door")
        machine = sfn.StateMachine(
            self, "Machine", state_machine_name="sample",
            definition_body=sfn.DefinitionBody.from_string(json.dumps(DEFINITION)),
            definition_substitutions={"worker": worker.function_arn},
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=logs.LogGroup(self, "Logs"), level=sfn.LogLevel.ERROR,
                include_execution_data=False,
            ),
        )
        worker.grant_invoke(machine)
        machine.grant_task_response(door)
        secret = secrets.Secret(self, "Secret", secret_name="sample")
        secret.grant_read(door)
        url = door.add_function_url(auth_type=lambda_.FunctionUrlAuthType.NONE)
        lambda_.CfnPermission(
            self, "ByUrl", function_name=door.function_arn, action="lambda:InvokeFunction",
            principal="*",
        ).add_property_override("InvokedViaFunctionUrl", True)
        CfnOutput(self, "Url", value=url.url)

    def function(self, name):
        return lambda_.Function(
            self, name.title(), function_name=name, handler=f"index.{name}",
            code=lambda_.Code.from_inline(CODE), runtime=lambda_.Runtime.PYTHON_3_13,
        )


CODE = '''
import json
import boto3

def worker(event, context):
    print("token", event["token"])
    return event["name"]

def door(event, context):
    secret = boto3.client("secretsmanager").get_secret_value(SecretId="sample")
    given = json.loads(event["body"])
    output = json.dumps({"by": given["by"], "known": len(secret["SecretString"])})
    boto3.client("stepfunctions").send_task_success(taskToken=given["token"], output=output)
    return {"statusCode": 202, "body": "thanks"}
'''

app = App()
Sample(app, "Sample", env=Environment(account="123456789012", region="us-east-1"))
app.synth()
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text(textwrap.dedent(APP))
    settings = {"app": "python app.py", "versionReporting": False}
    (folder / "cdk.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def cloud(app: Path) -> Iterator[CloudProcess]:
    with CloudProcess(START) as cloud:
        cloud.bootstrap(REGION)
        cloud.deploy(app)
        yield cloud


def start(cloud: CloudProcess, name: str) -> str:
    """An execution that waits for its token."""
    started = cloud.client("stepfunctions").start_execution(
        stateMachineArn=f"arn:aws:states:{REGION}:123456789012:stateMachine:sample", name=name
    )
    cloud.settle()
    return str(started["executionArn"])


def told(cloud: CloudProcess, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = cloud.client("stepfunctions").describe_execution(executionArn=arn)
    return found


def test_a_person_answers_at_the_url_and_the_execution_goes_on(cloud: CloudProcess) -> None:
    arn = start(cloud, "answered")
    (asked,) = [i for i in cloud.state()["invocations"] if '"answered"' in i["event"]]
    token = json.loads(asked["event"])["token"]
    described = cloud.client("cloudformation").describe_stacks(StackName="Sample")["Stacks"][0]
    (url,) = [one["OutputValue"] for one in described["Outputs"] if one["OutputKey"] == "Url"]

    answer = json.dumps({"token": token, "by": "Ada"}).encode()
    request = urllib.request.Request(url, answer, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        assert (reply.status, reply.read()) == (202, b"thanks")
    assert told(cloud, arn)["status"] == "RUNNING"
    cloud.advance(by=timedelta(minutes=11))

    assert json.loads(told(cloud, arn)["output"]) == {"answer": {"by": "Ada", "known": 32}}


def test_nobody_answers_and_the_execution_is_late(cloud: CloudProcess) -> None:
    arn = start(cloud, "late")

    cloud.advance(by=timedelta(minutes=61))

    assert (told(cloud, arn)["status"], told(cloud, arn)["error"]) == ("FAILED", "Late")


def test_after_destroy_nothing_of_them_is_left(cloud: CloudProcess, app: Path) -> None:
    cloud.cdk("destroy", "--all", "--force", "--app", str(app / "cdk.out"))

    assert cloud.client("stepfunctions").list_state_machines()["stateMachines"] == []
    assert cloud.errors() == ""
