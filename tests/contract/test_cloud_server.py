"""The test cloud answers and acts as AWS does where Lastgood depends on it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.workbench import ACCOUNT, REGION, Bench, attributes_of

# ------------------------------------------------------------------------------- server


def test_an_operation_that_moto_lacks_is_answered_501_by_name(bench: Bench) -> None:
    with pytest.raises(ClientError, match="kms:GetParametersForImport") as failed:
        bench.client("kms").get_parameters_for_import(
            KeyId="x", WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
        )

    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


# -------------------------------------------------------------------------------- SQS


def test_a_message_that_is_hidden_comes_back_on_the_clock_of_the_cloud(bench: Bench) -> None:
    queue = bench.queue(VisibilityTimeout="300")
    bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")
    assert len(bench.messages(queue)) == 1
    assert bench.messages(queue) == []

    bench.cloud.advance(by=timedelta(minutes=6))

    assert len(bench.messages(queue)) == 1


@pytest.mark.parametrize(
    "response",
    ["{'batchItemFailures': [{'itemIdentifier': ''}]}", "{'failures': []}", "'no'"],
)
def test_a_response_that_is_not_understood_fails_the_whole_batch(
    bench: Bench, response: str
) -> None:
    dead = bench.queue("dead")
    redrive = json.dumps({"deadLetterTargetArn": dead[1], "maxReceiveCount": 1})
    queue = bench.queue(RedrivePolicy=redrive)
    function = bench.function(*bench.reading(queue), result=response)
    bench.client("lambda").create_event_source_mapping(
        EventSourceArn=queue[1],
        FunctionName=function,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")

    bench.cloud.advance(by=timedelta(minutes=2))

    assert [m["Body"] for m in bench.messages(dead)] == ["x"]


def test_a_mapping_needs_a_role_that_may_read_the_queue(bench: Bench) -> None:
    queue = bench.queue()
    function = bench.function()

    with pytest.raises(ClientError, match="does not have permissions to call ReceiveMessage"):
        bench.client("lambda").create_event_source_mapping(
            EventSourceArn=queue[1], FunctionName=function
        )


# -------------------------------------------------------------------------------- keys


def test_a_role_without_the_key_cannot_send_to_an_encrypted_queue(bench: Bench) -> None:
    key = bench.key()
    queue = bench.queue(KmsMasterKeyId=key)
    allowed = ("sqs:SendMessage", queue[1])
    function = bench.function(allowed)
    message = {"QueueUrl": queue[0], "MessageBody": "x"}
    event = {"calls": [("sqs", "send_message", message)]}

    refused = bench.invoke(function, event)

    assert "kms:GenerateDataKey" in refused["errorMessage"]
    with_key = Bench(bench.cloud)
    able = with_key.function(allowed, ("kms:GenerateDataKey", key), ("kms:Decrypt", key))
    assert with_key.invoke(able, event) is None


def test_a_disabled_key_closes_the_queue_to_everybody(bench: Bench) -> None:
    key = bench.key()
    queue = bench.queue(KmsMasterKeyId=key)
    bench.client("kms").disable_key(KeyId=key.rsplit("/", 1)[-1])

    with pytest.raises(ClientError) as failed:
        bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")

    assert "Disabled" in failed.value.response["Error"]["Code"]


def test_a_log_group_needs_a_key_whose_policy_names_the_logs_service(bench: Bench) -> None:
    logs = bench.client("logs")
    writer = {
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{REGION}.amazonaws.com"},
        "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:GenerateDataKey*"],
        "Resource": "*",
    }

    with pytest.raises(ClientError, match="AccessDenied"):
        logs.create_log_group(logGroupName=bench.name("closed"), kmsKeyId=bench.key())
    logs.create_log_group(logGroupName=bench.name("open"), kmsKeyId=bench.key(writer))


def test_a_rule_cannot_send_to_an_encrypted_queue_whose_key_does_not_name_eventbridge(
    bench: Bench,
) -> None:
    queue, dead = bench.queue(KmsMasterKeyId=bench.key()), bench.queue("dead")
    bench.let_in(queue, "events.amazonaws.com")
    bench.let_in(dead, "events.amazonaws.com")
    bench.rule({"Arn": queue[1], "DeadLetterConfig": {"Arn": dead[1]}})

    bench.put_event()

    (message,) = bench.messages(dead)
    assert "kms:GenerateDataKey" in attributes_of(message)["ERROR_MESSAGE"]


def test_a_role_without_the_key_cannot_publish_to_an_encrypted_topic(bench: Bench) -> None:
    key = bench.key()
    topic = bench.topic(KmsMasterKeyId=key)
    allowed = ("sns:Publish", topic)
    function = bench.function(allowed)
    event = {"calls": [("sns", "publish", {"TopicArn": topic, "Message": "x"})]}

    refused = bench.invoke(function, event)

    assert "kms:GenerateDataKey" in refused["errorMessage"]
    with_key = Bench(bench.cloud)
    only_by_sns = {"Condition": {"StringEquals": {"kms:ViaService": f"sns.{REGION}.amazonaws.com"}}}
    uses = [(f"kms:{action}", key, only_by_sns) for action in ("GenerateDataKey", "Decrypt")]
    assert with_key.invoke(with_key.function(allowed, *uses), event) is None


# -------------------------------------------------------------------------------- SNS


def test_what_a_topic_took_is_on_record_and_reaches_its_queues(bench: Bench) -> None:
    topic, queue = bench.topic(), bench.queue()
    sns = bench.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue[1])
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.com")

    sns.publish(TopicArn=topic, Subject="web is past its RPO", Message="Since 03:00")

    (notice,) = [each for each in bench.cloud.state()["notices"] if each["topic"] == topic]
    assert (notice["subject"], notice["message"]) == ("web is past its RPO", "Since 03:00")
    (message,) = bench.messages(queue)
    assert json.loads(message["Body"])["Message"] == "Since 03:00"


@pytest.mark.parametrize("subject", ["one\ntwo", "x" * 101, "Grüße", "tab\t", " space", ""])
def test_a_subject_that_an_email_cannot_have_is_refused(bench: Bench, subject: str) -> None:
    topic = bench.topic()

    with pytest.raises(ClientError, match="Invalid parameter: Subject"):
        bench.client("sns").publish(TopicArn=topic, Subject=subject, Message="x")

    assert topic not in [each["topic"] for each in bench.cloud.state()["notices"]]


# -------------------------------------------------------------------------------- IAM


def test_a_role_touches_only_the_partitions_of_its_leading_keys(bench: Bench) -> None:
    table = bench.client("dynamodb").create_table(
        TableName=bench.name("table"),
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )["TableDescription"]["TableArn"]
    points = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["POINT#*"]}}
    function = bench.function(("dynamodb:GetItem", table, {"Condition": points}))

    def reading(partition: str) -> Any:
        given = {"TableName": bench.name("table"), "Key": {"pk": {"S": partition}}}
        return bench.invoke(function, {"calls": [("dynamodb", "get_item", given)]})

    assert reading("POINT#1") is None
    assert "dynamodb:GetItem" in reading("POLICY#1")["errorMessage"]


def test_a_role_checks_an_item_in_a_transaction_by_the_right_to_check_it(bench: Bench) -> None:
    table = bench.client("dynamodb").create_table(
        TableName=bench.name("table"),
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )["TableDescription"]["TableArn"]
    named = {"TableName": bench.name("table")}
    update = {**named, "Key": {"pk": {"S": "POINT#1"}}, "UpdateExpression": "REMOVE held"}
    unheld = {**named, "Key": {"pk": {"S": "HOLD#1"}}}
    unheld["ConditionExpression"] = "attribute_not_exists(pk)"
    entries = [{"Update": update}, {"ConditionCheck": unheld}]
    event = {"calls": [("dynamodb", "transact_write_items", {"TransactItems": entries})]}

    def on(action: str, partition: str) -> Any:
        keys = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [partition]}}
        return (f"dynamodb:{action}", table, {"Condition": keys})

    def outcome(*allowed: Any) -> Any:
        role = Bench(bench.cloud)
        return role.invoke(role.function(on("UpdateItem", "POINT#*"), *allowed), event)

    assert outcome(on("ConditionCheckItem", "HOLD#*")) is None
    for denied in (outcome(), outcome(on("ConditionCheckItem", "POINT#*"))):
        assert "dynamodb:ConditionCheckItem" in denied["errorMessage"]


def two_snapshots(bench: Bench) -> tuple[str, str]:
    """Complete: one has the tag ``ours``, the other none."""
    ec2 = bench.client("ec2")
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "ours", "Value": "p1"}]}]
    ours, theirs = (
        ec2.create_snapshot(
            VolumeId=ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"], **tagged
        )["SnapshotId"]
        for tagged in ({"TagSpecifications": tags}, {})
    )
    bench.cloud.advance(by=timedelta(minutes=1))
    return ours, theirs


def test_a_role_deletes_only_snapshots_that_have_the_tag(bench: Bench) -> None:
    ours, theirs = two_snapshots(bench)
    has_tag = {"Null": {"aws:ResourceTag/ours": "false"}}
    here = {"StringEquals": {"aws:RequestedRegion": REGION}}
    function = bench.function(
        (
            "ec2:DeleteSnapshot",
            f"arn:aws:ec2:{REGION}::snapshot/*",
            {"Condition": {**has_tag, **here}},
        )
    )

    def deleting(snapshot: str) -> Any:
        given = {"SnapshotId": snapshot}
        return bench.invoke(function, {"calls": [("ec2", "delete_snapshot", given)]})

    assert deleting(ours) is None
    assert "UnauthorizedOperation" in deleting(theirs)["errorMessage"]


def test_a_role_changes_only_the_tags_that_it_may_and_only_where_it_may(bench: Bench) -> None:
    ec2 = bench.client("ec2")
    ours, theirs = two_snapshots(bench)
    only_hold = {
        "Null": {"aws:ResourceTag/ours": "false"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["hold"]},
    }
    snapshots = f"arn:aws:ec2:{REGION}::snapshot/*"
    when = {"Condition": only_hold}
    function = bench.function(
        ("ec2:CreateTags", snapshots, when), ("ec2:DeleteTags", snapshots, when)
    )

    def changing(call: str, *snapshots: str, **given: Any) -> Any:
        event = {"calls": [("ec2", call, {"Resources": snapshots, **given})]}
        return bench.invoke(function, event)

    hold, both = [{"Key": "hold"}], [{"Key": "hold"}, {"Key": "ours"}]
    for call in ("create_tags", "delete_tags"):
        assert changing(call, ours, Tags=hold) is None
        for denied in (
            changing(call, ours, Tags=both),
            changing(call, theirs, Tags=hold),
            changing(call, ours, theirs, Tags=hold),
        ):
            assert "UnauthorizedOperation" in denied["errorMessage"]
    # for all values of none: it is for the policy to ask that there is one
    assert changing("delete_tags", ours) is None
    assert "Tags" not in ec2.describe_snapshots(SnapshotIds=[ours])["Snapshots"][0]


# ----------------------------------------------------------------------------- EventBridge


def test_an_event_that_may_not_be_delivered_goes_to_the_dead_letter_queue(bench: Bench) -> None:
    queue, dead = bench.queue(), bench.queue("dead")
    bench.let_in(dead, "events.amazonaws.com")
    rule = bench.rule({"Arn": queue[1], "DeadLetterConfig": {"Arn": dead[1]}})

    bench.put_event(id=7)

    (message,) = bench.messages(dead)
    assert json.loads(message["Body"])["detail"] == {"id": 7}
    attributes = attributes_of(message)
    assert (attributes["RULE_ARN"], attributes["TARGET_ARN"]) == (rule, queue[1])
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"


def test_a_disabled_rule_delivers_nothing(bench: Bench) -> None:
    queue = bench.queue()
    bench.let_in(queue, "events.amazonaws.com")
    bench.rule({"Arn": queue[1]}, State="DISABLED")

    bench.put_event()

    assert bench.messages(queue) == []


def test_an_input_transformer_fills_its_template(bench: Bench) -> None:
    queue = bench.queue()
    bench.let_in(queue, "events.amazonaws.com")
    transformer = {
        "InputPathsMap": {"what": "$.detail.what", "all": "$.detail"},
        "InputTemplate": '{"text": "got <what>", "detail": <all>, "by": "<aws.events.rule-name>"}',
    }
    bench.rule({"Arn": queue[1], "InputTransformer": transformer})

    bench.put_event(what='a "b"')

    (message,) = bench.messages(queue)
    assert json.loads(message["Body"]) == {
        "text": 'got a "b"',
        "detail": {"what": 'a "b"'},
        "by": bench.name("rule"),
    }


def test_an_event_reaches_a_bus_in_another_region_as_it_is(bench: Bench) -> None:
    away = bench.cloud.client("events", "eu-west-1")
    bus = away.create_event_bus(Name=bench.name("bus"))["EventBusArn"]
    sqs = bench.cloud.client("sqs", "eu-west-1")
    url = sqs.create_queue(QueueName=bench.name("away"))["QueueUrl"]
    arn = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{bench.name('away')}"
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
    pattern = json.dumps({"source": [bench.name("source")]})
    away.put_rule(Name="all", EventBusName=bench.name("bus"), EventPattern=pattern)
    away.put_targets(Rule="all", EventBusName=bench.name("bus"), Targets=[{"Id": "1", "Arn": arn}])
    role = bench.role("events.amazonaws.com", ("events:PutEvents", bus))
    bench.rule({"Arn": bus, "RoleArn": role})

    bench.put_event(id=1)

    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    event = json.loads(message["Body"])
    assert (event["region"], event["detail"]) == (REGION, {"id": 1})


def test_nobody_puts_events_in_the_name_of_aws(bench: Bench) -> None:
    entry = {"Source": "aws.ec2", "DetailType": "x", "Detail": "{}"}

    answer = bench.client("events").put_events(Entries=[entry])

    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_the_event_of_a_finished_snapshot_reaches_the_default_bus(bench: Bench) -> None:
    ec2, queue = bench.client("ec2"), bench.queue()
    bench.let_in(queue, "events.amazonaws.com")
    events, name = bench.client("events"), bench.name("ebs")
    pattern = {"source": ["aws.ec2"], "detail-type": ["EBS Snapshot Notification"]}
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": queue[1]}])
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, VolumeType="gp3")
    bench.cloud.advance(by=timedelta(minutes=5))

    snapshot = ec2.create_snapshot(VolumeId=volume["VolumeId"])["SnapshotId"]
    bench.cloud.advance(by=timedelta(hours=2))

    (message,) = bench.messages(queue)
    detail = json.loads(message["Body"])["detail"]
    assert detail["event"] == "createSnapshot"
    assert detail["snapshot_id"].endswith(snapshot)
    events.remove_targets(Rule=name, Ids=["1"])


# ----------------------------------------------------------------------------- Scheduler


def test_a_schedule_hands_its_slot_to_its_target(bench: Bench) -> None:
    queue = bench.queue()
    role = bench.role("scheduler.amazonaws.com", ("sqs:SendMessage", queue[1]))
    target = {
        "Arn": queue[1],
        "RoleArn": role,
        "Input": '{"slot": "<aws.scheduler.scheduled-time>"}',
    }
    due = bench.cloud.now().replace(minute=30, second=0, microsecond=0) + timedelta(hours=1)
    bench.schedule(target, f"at({due:%Y-%m-%dT%H:%M:%S})")

    bench.cloud.advance(to=due + timedelta(hours=5))

    slots = [json.loads(m["Body"])["slot"] for m in bench.messages(queue)]
    assert slots == [f"{due:%Y-%m-%dT%H:%M:%SZ}"]


def test_a_rate_fires_at_its_start_and_then_at_its_pace(bench: Bench) -> None:
    queue = bench.queue()
    role = bench.role("scheduler.amazonaws.com", ("sqs:SendMessage", queue[1]))
    start = bench.cloud.now().replace(microsecond=0) + timedelta(minutes=5)
    target = {"Arn": queue[1], "RoleArn": role, "Input": "<aws.scheduler.scheduled-time>"}
    bench.schedule(target, "rate(15 minutes)", StartDate=start)

    bench.cloud.advance(to=start + timedelta(minutes=31))

    slots = [start + timedelta(minutes=minutes) for minutes in (0, 15, 30)]
    fired = sorted(message["Body"] for message in bench.messages(queue))
    assert fired == [f"{slot:%Y-%m-%dT%H:%M:%SZ}" for slot in slots]
    bench.client("scheduler").delete_schedule(Name=bench.name("schedule"))


def test_a_schedule_that_is_changed_or_deleted_no_longer_fires_at_its_old_slots(
    bench: Bench,
) -> None:
    queue = bench.queue()
    role = bench.role("scheduler.amazonaws.com", ("sqs:SendMessage", queue[1]))
    target = {"Arn": queue[1], "RoleArn": role, "Input": "{}"}
    bench.schedule(target, "cron(0/10 * * * ? *)")
    bench.cloud.advance(by=timedelta(minutes=10))
    assert len(bench.messages(queue)) == 1

    bench.client("scheduler").update_schedule(
        Name=bench.name("schedule"),
        ScheduleExpression="cron(0/10 * * * ? *)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
        State="DISABLED",
    )
    bench.cloud.advance(by=timedelta(minutes=15))

    # the first one, which was not deleted
    assert len(bench.messages(queue)) == 1
    bench.client("scheduler").delete_schedule(Name=bench.name("schedule"))


def test_a_schedule_without_the_right_to_its_target_goes_to_its_dead_letter_queue(
    bench: Bench,
) -> None:
    function, dead = bench.function(), bench.queue("dead")
    role = bench.role("scheduler.amazonaws.com", ("sqs:SendMessage", dead[1]))
    target = {"Arn": function, "RoleArn": role, "DeadLetterConfig": {"Arn": dead[1]}}
    due = bench.cloud.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    schedule = bench.schedule(target, f"at({due:%Y-%m-%dT%H:%M:%S})")

    bench.cloud.advance(to=due + timedelta(minutes=1))

    (message,) = bench.messages(dead)
    attributes = attributes_of(message)
    assert attributes["ERROR_CODE"] == "AccessDeniedException"
    assert "lambda:InvokeFunction" in attributes["ERROR_MESSAGE"]
    assert (attributes["SCHEDULE_ARN"], attributes["TARGET_ARN"]) == (schedule, function)
    assert attributes["SCHEDULED_TIME"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"


def test_a_schedule_whose_expression_is_not_understood_is_refused(bench: Bench) -> None:
    target = {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:x", "RoleArn": "arn:aws:x"}

    with pytest.raises(ClientError, match="Invalid Schedule Expression"):
        bench.schedule(target, "cron(0 3 * * *)")


# ------------------------------------------------------------------------------- Lambda


def test_a_role_that_lambda_cannot_assume_fails_the_invocation(bench: Bench) -> None:
    function = bench.function()
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}
    statement = {**trust, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    bench.client("iam").update_assume_role_policy(
        RoleName=bench.name("function-role"), PolicyDocument=document
    )

    with pytest.raises(
        ClientError, match=r"The role defined for the function cannot be assumed by Lambda\."
    ):
        bench.invoke(function, {})


def test_a_function_keeps_its_dead_letter_queue_and_uses_it(bench: Bench) -> None:
    dead = bench.queue("dead")
    function = bench.function(("sqs:SendMessage", dead[1]), DeadLetterConfig={"TargetArn": dead[1]})
    client = bench.client("lambda")
    assert client.get_function_configuration(FunctionName=function)["DeadLetterConfig"] == {
        "TargetArn": dead[1]
    }

    client.invoke(FunctionName=function, InvocationType="Event", Payload='"fail"')
    bench.cloud.advance(by=timedelta(minutes=4))

    (message,) = bench.messages(dead)
    assert message["Body"] == '"fail"'
    assert attributes_of(message)["ErrorMessage"] == "asked to fail"


def test_a_function_invokes_another_if_its_role_may(bench: Bench) -> None:
    queue, other = bench.queue(), Bench(bench.cloud)
    invoked = other.function(("sqs:SendMessage", queue[1]))
    send = ("sqs", "send_message", {"QueueUrl": queue[0], "MessageBody": "x"})
    given = {
        "FunctionName": other.name("function"),
        "InvocationType": "Event",
        "Payload": json.dumps({"calls": [send]}),
    }
    event = {"calls": [("lambda", "invoke", given)]}

    denied = bench.invoke(bench.function(), event)
    bench.cloud.settle()
    assert "lambda:InvokeFunction" in denied["errorMessage"]
    assert bench.messages(queue) == []

    able = Bench(bench.cloud)
    assert able.invoke(able.function(("lambda:InvokeFunction", invoked)), event) is None
    bench.cloud.settle()
    assert [message["Body"] for message in bench.messages(queue)] == ["x"]


def test_no_more_than_the_reserved_concurrency_runs(bench: Bench) -> None:
    function = bench.function()
    bench.client("lambda").put_function_concurrency(
        FunctionName=function, ReservedConcurrentExecutions=0
    )

    with pytest.raises(ClientError, match="TooManyRequestsException"):
        bench.invoke(function, {})


# ------------------------------------------------------------------------ CloudFormation


def test_a_stack_that_fails_is_rolled_back_and_says_why(bench: Bench) -> None:
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": bench.name("first")}}
    nonsense = {"Queues": [{"Ref": "Queue"}], "PolicyDocument": {}, "Nonsense": 1}
    bad = {"Type": "AWS::SQS::QueuePolicy", "Properties": nonsense}

    stack = bench.stack({"Queue": queue, "Policy": bad})

    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "Nonsense" in stack["StackStatusReason"]
    with pytest.raises(ClientError, match="does not exist"):
        bench.client("sqs").get_queue_url(QueueName=bench.name("first"))


def test_an_update_that_fails_leaves_the_stack_as_it_was(bench: Bench) -> None:
    def parameter(value: str) -> dict[str, Any]:
        properties = {"Name": bench.name("/parameter"), "Type": "String", "Value": value}
        return {"Type": "AWS::SSM::Parameter", "Properties": properties}

    bench.stack({"Parameter": parameter("one")})
    broken = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "no spaces allowed"}}
    body = {"Resources": {"Parameter": parameter("two"), "Queue": broken}}

    bench.client("cloudformation").update_stack(
        StackName=bench.name("stack"), TemplateBody=json.dumps(body)
    )

    assert bench.described()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    found = bench.client("ssm").get_parameter(Name=bench.name("/parameter"))["Parameter"]
    assert found["Value"] == "one"


def watching(bench: Bench, threshold: int) -> dict[str, Any]:
    """The resources of a stack that watches: their logical ids and entries."""
    topic = {"Ref": "Topic"}
    metric = {"Namespace": "Lastgood", "MetricName": "Errors"}
    query = {
        "Id": "errors",
        "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Sum"},
        "ReturnData": False,
    }
    alarm = {
        "AlarmActions": [topic],
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Threshold": threshold,
        "TreatMissingData": "notBreaching",
    }
    publish = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    properties: dict[str, dict[str, Any]] = {
        "AWS::SNS::Topic": {
            "TopicName": bench.name("notices"),
            "KmsMasterKeyId": bench.key(),
        },
        "AWS::SNS::TopicPolicy": {
            "Topics": [topic],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [publish]},
        },
        "AWS::SNS::Subscription": {
            "TopicArn": topic,
            "Protocol": "email",
            "Endpoint": "ops@example.com",
        },
        "AWS::CloudWatch::Alarm": {
            **alarm,
            "AlarmName": bench.name("alarm"),
            "Metrics": [query, {"Id": "all", "Expression": "FILL(errors, 0)"}],
        },
        "AWS::CloudWatch::Dashboard": {
            "DashboardName": bench.name("dashboard"),
            "DashboardBody": json.dumps({"widgets": []}),
        },
    }
    return {
        kind.rsplit(":", 1)[-1]: {"Type": kind, "Properties": given}
        for kind, given in properties.items()
    }


def test_a_stack_makes_changes_and_removes_what_watches(bench: Bench) -> None:
    cloudwatch, sns = bench.client("cloudwatch"), bench.client("sns")
    cloudformation = bench.client("cloudformation")
    stack = bench.stack(watching(bench, 1))

    assert stack["StackStatus"] == "CREATE_COMPLETE", stack.get("StackStatusReason")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[bench.name("alarm")])["MetricAlarms"]
    (topic,) = alarm["AlarmActions"]
    (subscribed,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (subscribed["Protocol"], subscribed["Endpoint"]) == ("email", "ops@example.com")
    assert cloudwatch.get_dashboard(DashboardName=bench.name("dashboard"))["DashboardBody"]

    body = json.dumps({"Resources": watching(bench, 7)})
    cloudformation.update_stack(StackName=bench.name("stack"), TemplateBody=body)
    assert bench.described()["StackStatus"] == "UPDATE_COMPLETE"
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[bench.name("alarm")])["MetricAlarms"]
    assert alarm["Threshold"] == 7

    cloudformation.delete_stack(StackName=bench.name("stack"))
    assert not cloudwatch.describe_alarms(AlarmNames=[bench.name("alarm")])["MetricAlarms"]
    assert topic not in [each["TopicArn"] for each in sns.list_topics()["Topics"]]


def test_an_export_stays_as_long_as_another_stack_imports_it(bench: Bench) -> None:
    export = {"Name": bench.name("export")}
    bus = {"Type": "AWS::Events::EventBus", "Properties": {"Name": bench.name("bus")}}
    outputs = {"Arn": {"Value": {"Fn::GetAtt": ["Bus", "Arn"]}, "Export": export}}
    bench.stack({"Bus": bus}, "owner", Outputs=outputs)
    value = {"Fn::ImportValue": bench.name("export")}
    properties = {"Type": "String", "Value": value}
    bench.stack({"P": {"Type": "AWS::SSM::Parameter", "Properties": properties}}, "user")
    cloudformation = bench.client("cloudformation")

    cloudformation.delete_stack(StackName=bench.name("owner"))

    assert bench.described("owner")["StackStatus"] == "DELETE_FAILED"
    cloudformation.delete_stack(StackName=bench.name("user"))
    cloudformation.delete_stack(StackName=bench.name("owner"))
    with pytest.raises(ClientError, match="does not exist"):
        bench.described("owner")


def test_what_is_retained_outlives_its_stack(bench: Bench) -> None:
    group = {"LogGroupName": bench.name("kept")}
    kept = {"Type": "AWS::Logs::LogGroup", "Properties": group, "DeletionPolicy": "Retain"}
    bench.stack({"Logs": kept})

    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))

    found = bench.client("logs").describe_log_groups(logGroupNamePrefix=bench.name("kept"))
    assert len(found["logGroups"]) == 1
