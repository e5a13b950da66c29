"""What the server changes in moto, or takes over from it, is still not done by moto itself."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.iam.access_control import IAMPolicyStatement, PermissionResult

REGION = "us-east-1"


@pytest.fixture
def moto() -> Iterator[Any]:
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"mock_credentials": True}}):
        yield lambda service: boto3.client(service, region_name=REGION)


def make_function(moto: Any, **settings: Any) -> None:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = moto("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("index.py", "def handler(event, context): return 1")
    moto("lambda").create_function(
        FunctionName="f",
        Role=role,
        Runtime="python3.13",
        Handler="index.handler",
        Code={"ZipFile": archive.getvalue()},
        **settings,
    )


def test_moto_still_forgets_settings_of_a_function(moto: Any) -> None:
    make_function(
        moto,
        DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-1:123456789012:q"},
        LoggingConfig={"LogGroup": "/mine"},
    )

    kept = moto("lambda").get_function_configuration(FunctionName="f")

    assert "DeadLetterConfig" not in kept
    assert "LoggingConfig" not in kept


def test_moto_still_calls_a_stand_in_from_inside_send_message(moto: Any) -> None:
    make_function(moto)
    url = moto("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:123456789012:q"
    moto("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="f")

    moto("sqs").send_message(QueueUrl=url, MessageBody="x")

    # taken and deleted, although the function never ran
    assert "Messages" not in moto("sqs").receive_message(QueueUrl=url)


def test_moto_still_takes_a_condition_it_does_not_know_for_met() -> None:
    unless_tls = {
        "Effect": "Deny",
        "Action": "s3:*",
        "Resource": "*",
        "Principal": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }

    verdict = IAMPolicyStatement(unless_tls).is_action_permitted("s3:GetObject", "arn:aws:s3:::b/k")

    assert verdict == PermissionResult.DENIED


def test_moto_still_forgets_the_policy_of_a_queue_when_other_attributes_are_set(moto: Any) -> None:
    sqs = moto("sqs")
    policy = json.dumps({"Statement": [{"Effect": "Deny", "Action": "*", "Principal": "*"}]})
    url = sqs.create_queue(QueueName="q", Attributes={"Policy": policy})["QueueUrl"]

    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7"})

    kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    assert "Policy" not in kept.get("Attributes", {})


def test_moto_still_takes_a_trust_policy_without_a_version_only_at_first(moto: Any) -> None:
    trust = json.dumps({"Statement": []})
    moto("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)

    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        moto("iam").update_assume_role_policy(RoleName="r", PolicyDocument=trust)


def test_moto_still_takes_any_expression_for_a_schedule(moto: Any) -> None:
    made = moto("scheduler").create_schedule(
        Name="s",
        ScheduleExpression="whenever",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:123456789012:q", "RoleArn": "arn:aws:iam::1:role/r"},
    )

    assert made["ScheduleArn"].endswith("schedule/default/s")


def test_moto_still_lets_a_principal_have_but_one_statement_on_a_bus(moto: Any) -> None:
    for sid in ("one", "two"):
        moto("events").put_permission(
            Action="events:PutEvents", Principal="210987654321", StatementId=sid
        )

    policy = json.loads(moto("events").describe_event_bus()["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["two"]


def test_moto_still_accepts_events_in_the_name_of_aws(moto: Any) -> None:
    entry = {"Source": "aws.ec2", "DetailType": "x", "Detail": "{}"}

    assert moto("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_moto_still_takes_a_subject_with_a_line_break(moto: Any) -> None:
    topic = moto("sns").create_topic(Name="t")["TopicArn"]

    made = moto("sns").publish(TopicArn=topic, Subject="one\ntwo", Message="x")

    assert made["MessageId"]
