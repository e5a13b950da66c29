"""The test cloud behind HTTP, and the few resources that a test needs in it."""

import io
import json
import zipfile
from itertools import count
from typing import Any

from botocore.config import Config

from tests.cloud.driver import CloudProcess

REGION = "us-east-1"
ACCOUNT = "123456789012"
OTHER = "210987654321"
NUMBER = count(1)
# Action, resource, and the other elements of the statement, if any.
Allowed = tuple[str, str] | tuple[str, str, dict[str, Any]]

HANDLER = """
import json
import boto3

def clients(event):
    if not isinstance(event, dict) or "as" not in event:
        return boto3.client
    given = boto3.client("sts").assume_role(RoleSessionName="test", **event["as"])["Credentials"]
    return boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    ).client

def calls_in(event):
    yield from event.get("calls", [])
    for record in event.get("Records", []):
        if record["body"].startswith("{"):
            yield from json.loads(record["body"]).get("calls", [])

def handler(event, context):
    if event == "fail":
        raise ValueError("asked to fail")
    client = clients(event)
    for service, call, given in calls_in(event):
        getattr(client(service), call)(**given)
    return RESULT
"""


class Bench:
    """Makes the few resources that a test needs in an account, each with a name of its own."""

    def __init__(self, cloud: CloudProcess, account: str = ACCOUNT) -> None:
        self.cloud = cloud
        self.account = account
        self.number = next(NUMBER)

    def client(self, service: str, config: Config | None = None) -> Any:
        return self.cloud.client(service, REGION, config, account=self.account)

    def name(self, what: str) -> str:
        return f"{what}-{self.number}"

    def queue(self, what: str = "queue", **attributes: str) -> tuple[str, str]:
        """Its URL and ARN."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=self.name(what), Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:{REGION}:{self.account}:{self.name(what)}"

    def topic(self, **attributes: str) -> str:
        """Its ARN."""
        made = self.client("sns").create_topic(Name=self.name("topic"), Attributes=attributes)
        return str(made["TopicArn"])

    def let_in(self, queue: tuple[str, str], service: str) -> None:
        url, arn = queue
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})

    def messages(self, queue: tuple[str, str]) -> list[dict[str, Any]]:
        answer = self.client("sqs").receive_message(
            QueueUrl=queue[0], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(answer.get("Messages", []))

    def role(self, service: str, *allowed: Allowed, what: str = "role") -> str:
        return self.trusting({"Principal": {"Service": service}}, *allowed, what=what)

    def trusting(self, whom: dict[str, Any], *allowed: Allowed, what: str = "role") -> str:
        """A role; ``whom``: the principal in its trust policy, and conditions if any."""
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", **whom}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        name = self.name(what)
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        statements = [
            {"Effect": "Allow", "Action": action, "Resource": resource, **dict(*conditions)}
            for action, resource, *conditions in allowed
        ]
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy)
        return str(arn)

    def function(self, *allowed: Allowed, result: str = "None", **settings: Any) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as code:
            code.writestr("index.py", HANDLER.replace("RESULT", result))
        role = self.role("lambda.amazonaws.com", *allowed, what="function-role")
        made = self.client("lambda").create_function(
            FunctionName=self.name("function"),
            Role=role,
            Runtime="python3.13",
            Handler="index.handler",
            Code={"ZipFile": archive.getvalue()},
            **settings,
        )
        return str(made["FunctionArn"])

    def invoke(self, function: str, event: Any) -> Any:
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read())

    def reading(self, queue: tuple[str, str]) -> list[tuple[str, str]]:
        actions = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        return [(f"sqs:{action}", queue[1]) for action in actions]

    def key(self, *statements: dict[str, Any]) -> str:
        root = {"AWS": f"arn:aws:iam::{self.account}:root"}
        owner = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [owner, *statements]})
        return str(self.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"])

    def rule(self, target: dict[str, Any], **settings: Any) -> str:
        events, name = self.client("events"), self.name("rule")
        pattern = json.dumps({"source": [self.name("source")]})
        arn = events.put_rule(Name=name, EventPattern=pattern, **settings)["RuleArn"]
        events.put_targets(Rule=name, Targets=[{"Id": "1", **target}])
        return str(arn)

    def put_event(self, **detail: Any) -> None:
        entry = {"Source": self.name("source"), "DetailType": "Test", "Detail": json.dumps(detail)}
        self.client("events").put_events(Entries=[entry])
        self.cloud.settle()

    def schedule(self, target: dict[str, Any], expression: str, **settings: Any) -> str:
        made = self.client("scheduler").create_schedule(
            Name=self.name("schedule"),
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=target,
            **settings,
        )
        return str(made["ScheduleArn"])

    def stack(self, resources: dict[str, Any], what: str = "stack", **more: Any) -> dict[str, Any]:
        body = json.dumps({"Resources": resources, **more})
        self.client("cloudformation").create_stack(StackName=self.name(what), TemplateBody=body)
        return self.described(what)

    def described(self, what: str = "stack") -> dict[str, Any]:
        found = self.client("cloudformation").describe_stacks(StackName=self.name(what))
        return dict(found["Stacks"][0])


def attributes_of(message: dict[str, Any]) -> dict[str, str]:
    return {k: v["StringValue"] for k, v in message.get("MessageAttributes", {}).items()}
