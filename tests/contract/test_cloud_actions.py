"""What a call needs in IAM: actions, resources, and the keys that conditions ask for."""

from typing import Any

import pytest

from tests.cloud.actions import needs
from tests.cloud.ec2.seed import seed_network
from tests.cloud.in_process import InProcessCloud
from tests.cloud.policy import Need, NotTaught, judge
from tests.cloud.wire import Call

REGION = "eu-west-1"
ACCOUNT = "123456789012"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/ledger"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:planner"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:notices"


def needed(service: str, operation: str, **parameters: Any) -> list[Need]:
    model: Any = None
    return needs(Call(service, operation, REGION, "key", parameters, {}, "json", model), ACCOUNT)


def key(partition: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": "1"}}


@pytest.fixture
def table(cloud: InProcessCloud) -> str:
    """Keys ``pk`` and ``sk``, and an index ``by_state`` whose partition key is ``state``."""
    names = ("pk", "sk", "state")
    cloud.client("dynamodb", REGION).create_table(
        TableName="ledger",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_state",
                "KeySchema": [{"AttributeName": "state", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return "ledger"


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("GetItem", {"Key": key("a")}),
        ("UpdateItem", {"Key": key("a")}),
        ("DeleteItem", {"Key": key("a")}),
        ("PutItem", {"Item": {**key("a"), "more": {"S": "b"}}}),
        (
            "Query",
            {
                "KeyConditionExpression": "begins_with(#s, :s) AND #p = :p",
                "ExpressionAttributeNames": {"#p": "pk", "#s": "sk"},
                "ExpressionAttributeValues": {":p": {"S": "a"}, ":s": {"S": "b"}},
            },
        ),
    ],
)
def test_the_leading_key_of_a_call_is_the_partition_that_it_touches(
    table: str, operation: str, given: dict[str, Any]
) -> None:
    assert needed("dynamodb", operation, TableName=table, **given) == [
        Need(f"dynamodb:{operation}", TABLE, {"dynamodb:LeadingKeys": ["a"]})
    ]


def test_a_batch_touches_all_partitions_of_its_keys(table: str) -> None:
    read = needed("dynamodb", "BatchGetItem", RequestItems={table: {"Keys": [key("a"), key("b")]}})
    written = needed(
        "dynamodb",
        "BatchWriteItem",
        RequestItems={
            table: [{"PutRequest": {"Item": key("a")}}, {"DeleteRequest": {"Key": key("b")}}]
        },
    )

    both = {"dynamodb:LeadingKeys": ["a", "b"]}
    assert read == [Need("dynamodb:BatchGetItem", TABLE, both)]
    assert written == [Need("dynamodb:BatchWriteItem", TABLE, both)]


def test_each_entry_of_a_transaction_needs_the_permission_of_its_own_call(table: str) -> None:
    entries = [
        {"Put": {"TableName": table, "Item": key("a")}},
        {"Update": {"TableName": table, "Key": key("b")}},
        {"Delete": {"TableName": table, "Key": key("c")}},
        {"ConditionCheck": {"TableName": table, "Key": key("d")}},
    ]

    assert needed("dynamodb", "TransactWriteItems", TransactItems=entries) == [
        Need("dynamodb:PutItem", TABLE, {"dynamodb:LeadingKeys": ["a"]}),
        Need("dynamodb:UpdateItem", TABLE, {"dynamodb:LeadingKeys": ["b"]}),
        Need("dynamodb:DeleteItem", TABLE, {"dynamodb:LeadingKeys": ["c"]}),
        Need("dynamodb:ConditionCheckItem", TABLE, {"dynamodb:LeadingKeys": ["d"]}),
    ]


def test_the_leading_key_of_an_index_is_the_partition_key_of_the_index(table: str) -> None:
    query = {
        "IndexName": "by_state",
        "KeyConditionExpression": "#s = :s",
        "ExpressionAttributeNames": {"#s": "state"},
        "ExpressionAttributeValues": {":s": {"S": "PENDING"}},
    }

    assert needed("dynamodb", "Query", TableName=table, **query) == [
        Need("dynamodb:Query", f"{TABLE}/index/by_state", {"dynamodb:LeadingKeys": ["PENDING"]})
    ]


def test_a_scan_has_no_leading_key_and_so_passes_for_all_values(table: str) -> None:
    (need,) = needed("dynamodb", "Scan", TableName=table)
    condition = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["POINT#*"]}}
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}

    assert judge([{"Statement": statement}], need) == "allowed"


def test_a_query_that_is_not_understood_is_not_let_pass(table: str) -> None:
    with pytest.raises(NotTaught):
        needed("dynamodb", "Query", TableName=table, KeyConditions={})


def test_deleting_a_snapshot_is_judged_by_its_tags(cloud: InProcessCloud) -> None:
    ec2 = cloud.client("ec2", REGION)
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "ours", "Value": "p1"}]}]
    snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=tags)["SnapshotId"]

    (need,) = needed("ec2", "DeleteSnapshot", SnapshotId=snapshot)

    assert (need.action, need.resource) == (
        "ec2:DeleteSnapshot",
        f"arn:aws:ec2:{REGION}::snapshot/{snapshot}",
    )
    assert need.context["aws:ResourceTag/ours"] == "p1"


def test_a_set_of_an_instance_that_is_gone_is_judged_by_what_is_known() -> None:
    gone = {"InstanceId": "i-12345678"}

    required = needed("ec2", "CreateSnapshots", InstanceSpecification=gone)

    assert [need.resource for need in required] == [
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-12345678",
        f"arn:aws:ec2:{REGION}::snapshot/*",
    ]


def permissions(operation: str, **parameters: Any) -> set[tuple[str, str]]:
    """The actions, and resources without what all EC2 resources begin with."""
    start = f"arn:aws:ec2:{REGION}:"
    return {
        (need.action, need.resource.removeprefix(start))
        for need in needed("ec2", operation, **parameters)
    }


def test_a_launch_needs_all_that_it_names_and_makes(cloud: InProcessCloud) -> None:
    net = seed_network(REGION)
    interface = {"DeviceIndex": 0, "SubnetId": net.subnets[0], "Groups": [net.groups[0]]}
    device = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-12345678"}}
    tags = [
        {"ResourceType": kind, "Tags": [{"Key": "ours", "Value": "r1"}]}
        for kind in ("instance", "volume")
    ]

    required = permissions(
        "RunInstances",
        ImageId="ami-12345678",
        KeyName="app",
        NetworkInterfaces=[interface],
        BlockDeviceMappings=[device],
        IamInstanceProfile={"Name": "app"},
        Placement={"GroupName": "rack"},
        TagSpecifications=tags,
    )

    run = "ec2:RunInstances"
    assert required == {
        (run, ":image/ami-12345678"),
        (run, ":snapshot/snap-12345678"),
        (run, f"{ACCOUNT}:instance/*"),
        (run, f"{ACCOUNT}:volume/*"),
        (run, f"{ACCOUNT}:network-interface/*"),
        (run, f"{ACCOUNT}:subnet/{net.subnets[0]}"),
        (run, f"{ACCOUNT}:security-group/{net.groups[0]}"),
        (run, f"{ACCOUNT}:key-pair/app"),
        (run, f"{ACCOUNT}:placement-group/rack"),
        ("ec2:CreateTags", f"{ACCOUNT}:instance/*"),
        ("ec2:CreateTags", f"{ACCOUNT}:volume/*"),
        ("iam:PassRole", net.role),
    }
    assert permissions("StartInstances", InstanceIds=["i-12345678"]) == {
        ("ec2:StartInstances", f"{ACCOUNT}:instance/i-12345678")
    }


def test_the_tags_of_a_launch_are_in_the_context_of_what_bears_them_alone(
    cloud: InProcessCloud,
) -> None:
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "ours", "Value": "r1"}]}]
    device = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-12345678"}}

    required = needed(
        "ec2",
        "RunInstances",
        ImageId="ami-12345678",
        InstanceType="m5.large",
        BlockDeviceMappings=[device],
        TagSpecifications=tags,
    )

    context = {(need.action, need.resource.rsplit(":", 1)[-1]): need.context for need in required}
    bears = {"aws:RequestTag/ours": "r1", "aws:TagKeys": ["ours"]}
    parent = {"ec2:ParentSnapshot": f"arn:aws:ec2:{REGION}::snapshot/snap-12345678"}
    assert context["ec2:RunInstances", "volume/*"] == bears | parent
    assert context["ec2:RunInstances", "instance/*"] == {"ec2:InstanceType": "m5.large"}
    assert context["ec2:CreateTags", "volume/*"] == {**bears, "ec2:CreateAction": "RunInstances"}


@pytest.mark.parametrize(
    ("operation", "given", "resources"),
    [
        (
            "CreateVolume",
            {"SnapshotId": "snap-1"},
            {":snapshot/snap-1", f"{ACCOUNT}:volume/*"},
        ),
        (
            "CreateReplaceRootVolumeTask",
            {"InstanceId": "i-1", "SnapshotId": "snap-1"},
            {
                *(":snapshot/snap-1", f"{ACCOUNT}:instance/i-1"),
                *(f"{ACCOUNT}:replace-root-volume-task/*", f"{ACCOUNT}:volume/*"),
            },
        ),
        (
            "RegisterImage",
            {"BlockDeviceMappings": [{"Ebs": {"SnapshotId": "snap-1"}}]},
            {":snapshot/snap-1", ":image/*"},
        ),
        ("DeregisterImage", {"ImageId": "ami-1"}, {":image/ami-1"}),
        ("TerminateInstances", {"InstanceIds": ["i-1"]}, {f"{ACCOUNT}:instance/i-1"}),
        ("StopInstances", {"InstanceIds": ["i-1"]}, {f"{ACCOUNT}:instance/i-1"}),
        ("ModifyInstanceAttribute", {"InstanceId": "i-1"}, {f"{ACCOUNT}:instance/i-1"}),
        (
            "AttachVolume",
            {"InstanceId": "i-1", "VolumeId": "vol-1"},
            {f"{ACCOUNT}:instance/i-1", f"{ACCOUNT}:volume/vol-1"},
        ),
        ("DetachVolume", {"VolumeId": "vol-1"}, {f"{ACCOUNT}:volume/vol-1"}),
        ("DeleteVolume", {"VolumeId": "vol-1"}, {f"{ACCOUNT}:volume/vol-1"}),
        (
            "DeleteNetworkInterface",
            {"NetworkInterfaceId": "eni-1"},
            {f"{ACCOUNT}:network-interface/eni-1"},
        ),
        ("DescribeInstanceStatus", {}, {"*"}),
        ("DescribeReplaceRootVolumeTasks", {}, {"*"}),
    ],
)
def test_a_restore_needs_its_rights_on_what_it_names(
    operation: str, given: dict[str, Any], resources: set[str]
) -> None:
    assert permissions(operation, **given) == {(f"ec2:{operation}", one) for one in resources}


def test_a_profile_is_read_by_its_name() -> None:
    assert needed("iam", "GetInstanceProfile", InstanceProfileName="app") == [
        Need("iam:GetInstanceProfile", f"arn:aws:iam::{ACCOUNT}:instance-profile/app")
    ]


def test_a_function_is_invoked_and_a_topic_published_to_by_their_arns() -> None:
    assert needed("lambda", "Invoke", FunctionName="planner") == [
        Need("lambda:InvokeFunction", FUNCTION)
    ]
    assert needed("lambda", "Invoke", FunctionName=FUNCTION) == [
        Need("lambda:InvokeFunction", FUNCTION)
    ]
    assert needed("sns", "Publish", TopicArn=TOPIC) == [Need("sns:Publish", TOPIC)]


def test_who_shares_a_snapshot_needs_the_right_for_each_account_and_has_its_tags_in_context(
    cloud: InProcessCloud,
) -> None:
    ec2 = cloud.client("ec2", REGION)
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}]
    snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=tags)["SnapshotId"]
    bears = {"aws:ResourceTag/a": "b", "ec2:ResourceTag/a": "b"}

    def context(**change: Any) -> list[Any]:
        return [
            need.context
            for need in needed("ec2", "ModifySnapshotAttribute", SnapshotId=snapshot, **change)
        ]

    both = {"Add": [{"UserId": "1"}, {"UserId": "2"}], "Remove": [{"UserId": "3"}]}
    assert context(CreateVolumePermission=both) == [
        {**bears, "ec2:Add/userId": one, "ec2:Remove/userId": "3"} for one in ("1", "2")
    ]
    assert context(OperationType="remove", UserIds=["1"]) == [{**bears, "ec2:Remove/userId": "1"}]


@pytest.mark.parametrize(
    "more", [{"Policy": "{}"}, {"Tags": []}, {"SourceIdentity": "x"}, {"PolicyArns": []}]
)
def test_a_session_that_is_narrowed_or_tagged_is_not_taught(more: dict[str, Any]) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/x"

    with pytest.raises(NotTaught):
        needed("sts", "AssumeRole", RoleArn=role, RoleSessionName="x", **more)
