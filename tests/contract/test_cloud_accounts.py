"""Several accounts in one test cloud: what goes from one into another, and what does not."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.driver import CloudProcess
from tests.contract.workbench import ACCOUNT, OTHER, REGION, Allowed, Bench

AWAY = "eu-west-1"
HOUR = timedelta(hours=1)
HOME_BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"


@pytest.fixture
def vault(served: CloudProcess) -> Bench:
    return Bench(served, OTHER)


def root(account: str) -> dict[str, Any]:
    return {"Principal": {"AWS": f"arn:aws:iam::{account}:root"}}


def verdicts(cloud: CloudProcess, action: str, resource: str) -> list[tuple[str, bool]]:
    """By whom, as a name, and whether it was allowed."""
    return [
        (one["principal"], one["allowed"])
        for one in cloud.state()["decisions"]
        if (one["action"], one["resource"]) == (action, resource)
    ]


# ------------------------------------------------------------------- whose account it is


def test_each_operator_acts_in_an_account_of_his_own(bench: Bench, vault: Bench) -> None:
    for one in (bench, vault):
        one.client("sqs").create_queue(QueueName="same-name")

    assert vault.client("sts").get_caller_identity()["Account"] == OTHER
    assert [
        one.client("sqs").get_queue_url(QueueName="same-name")["QueueUrl"].split("/")[-2]
        for one in (bench, vault)
    ] == [ACCOUNT, OTHER]


def test_a_function_runs_in_the_account_that_it_is_deployed_in(vault: Bench) -> None:
    queue = vault.queue()
    function = vault.function(("sqs:SendMessage", queue[1]))

    told = vault.invoke(
        function, {"calls": [("sqs", "send_message", {"QueueUrl": queue[0], "MessageBody": "x"})]}
    )

    assert told is None
    assert [one["Body"] for one in vault.messages(queue)] == ["x"]


def test_a_queue_of_another_account_is_not_modelled(bench: Bench, vault: Bench) -> None:
    queue = vault.queue()
    function = bench.function(("sqs:SendMessage", "*"))

    told = bench.invoke(
        function, {"calls": [("sqs", "send_message", {"QueueUrl": queue[0], "MessageBody": "x"})]}
    )

    assert "from another account" in told["errorMessage"]


# --------------------------------------------------------------------------- AssumeRole


def assuming(bench: Bench, role: str, *allowed: Allowed, **given: str) -> Any:
    """What a function says that assumes the role and lists the snapshots of its account."""
    function = Bench(bench.cloud, bench.account).function
    mine = {"calls": [("ec2", "describe_snapshots", {"OwnerIds": ["self"]})]}
    return bench.invoke(function(*allowed), {**mine, "as": {"RoleArn": role, **given}})


DESCRIBE = ("ec2:DescribeSnapshots", "*")


def test_a_role_of_another_account_is_assumed_by_whom_it_trusts_and_who_may(
    bench: Bench, vault: Bench
) -> None:
    role = vault.trusting(root(ACCOUNT), DESCRIBE)

    assert assuming(bench, role, ("sts:AssumeRole", role)) is None
    denied = assuming(bench, role)

    assert "AccessDenied" in denied["errorMessage"]
    assert (
        f"is not authorized to perform: sts:AssumeRole on resource: {role}"
        in (denied["errorMessage"])
    )
    assert [allowed for _, allowed in verdicts(bench.cloud, "sts:AssumeRole", role)] == [
        *(True, False)
    ]


@pytest.mark.parametrize(
    "whom",
    [
        {"Principal": {"AWS": "111122223333"}},
        {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/another"}},
        {"Principal": {"Service": "lambda.amazonaws.com"}},
        {**root(ACCOUNT), "Effect": "Deny"},
    ],
)
def test_a_role_is_not_assumed_by_whom_it_does_not_trust(
    bench: Bench, vault: Bench, whom: dict[str, Any]
) -> None:
    role = vault.trusting(whom, DESCRIBE)

    assert "AccessDenied" in assuming(bench, role, ("sts:AssumeRole", "*"))["errorMessage"]


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": OTHER}}, False),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/function-role-*"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/copier"}}, False),
        ({"StringEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/copier"}}, False),
    ],
)
def test_a_trust_can_depend_on_who_asks(
    bench: Bench, vault: Bench, condition: dict[str, Any], met: bool
) -> None:
    role = vault.trusting({**root(ACCOUNT), "Condition": condition}, DESCRIBE)

    told = assuming(bench, role, ("sts:AssumeRole", role))

    assert (told is None) is met


def test_a_trust_can_ask_for_an_external_id(bench: Bench, vault: Bench) -> None:
    agreed = {"StringEquals": {"sts:ExternalId": "agreed"}}
    role = vault.trusting({**root(ACCOUNT), "Condition": agreed}, DESCRIBE)
    may = ("sts:AssumeRole", role)

    assert assuming(bench, role, may, ExternalId="agreed") is None
    assert "AccessDenied" in assuming(bench, role, may, ExternalId="guessed")["errorMessage"]
    assert "AccessDenied" in assuming(bench, role, may)["errorMessage"]


def test_a_session_may_what_its_role_may_in_the_account_of_the_role(
    bench: Bench, vault: Bench
) -> None:
    role = vault.trusting(root(ACCOUNT))

    told = assuming(bench, role, ("sts:AssumeRole", role), DESCRIBE)

    assert "ec2:DescribeSnapshots" in told["errorMessage"]
    name = role.rsplit("/", 1)[-1]
    assert [
        one["account"] for one in bench.cloud.state()["decisions"] if one["principal"] == name
    ] == [OTHER]


def test_an_administrator_takes_any_role_of_his_own_account(vault: Bench) -> None:
    role = vault.role("lambda.amazonaws.com")

    made = vault.client("sts").assume_role(RoleArn=role, RoleSessionName="test")

    assert f":{OTHER}:assumed-role/" in made["AssumedRoleUser"]["Arn"]


def test_an_administrator_needs_the_trust_of_a_role_of_another_account(
    bench: Bench, vault: Bench
) -> None:
    sts = bench.client("sts")
    session = {"RoleSessionName": "test"}

    made = sts.assume_role(RoleArn=vault.trusting(root(ACCOUNT)), **session)
    with pytest.raises(ClientError) as caught:
        sts.assume_role(RoleArn=vault.trusting(root(OTHER), what="closed"), **session)
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/gone", **session)

    assert f":{OTHER}:assumed-role/" in made["AssumedRoleUser"]["Arn"]
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


# -------------------------------------------------------------------------- EventBridge


@pytest.fixture
def heard(bench: Bench) -> tuple[str, str]:
    """A queue that hears what reaches the default bus at home from the vault's test source."""
    queue = bench.queue("heard")
    bench.let_in(queue, "events.amazonaws.com")
    events, name = bench.client("events"), bench.name("hears")
    events.put_rule(Name=name, EventPattern=json.dumps({"account": [OTHER]}))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": queue[1]}])
    return queue


@pytest.fixture
def let_in(bench: Bench) -> Iterator[Callable[..., None]]:
    """Gives the default bus at home a policy, by CloudFormation, for the length of the test."""

    def allowed(**more: Any) -> None:
        statement = {
            "Effect": "Allow",
            **root(OTHER),
            "Action": "events:PutEvents",
            "Resource": HOME_BUS,
            **more,
        }
        policy = {
            "Type": "AWS::Events::EventBusPolicy",
            "Properties": {"StatementId": "vault", "Statement": statement},
        }
        assert bench.stack({"Policy": policy})["StackStatus"] == "CREATE_COMPLETE"

    yield allowed
    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))
    assert "Policy" not in bench.client("events").describe_event_bus()


def told(bench: Bench, queue: tuple[str, str]) -> list[Any]:
    return [json.loads(one["Body"])["detail"] for one in bench.messages(queue)]


def lost(vault: Bench, rule: str) -> list[str]:
    return [one["ERROR_CODE"] for one in vault.cloud.state()["lost"] if one.get("RULE_ARN") == rule]


def test_an_event_reaches_the_bus_of_another_account_that_lets_it_in(
    bench: Bench, vault: Bench, heard: tuple[str, str], let_in: Callable[..., None]
) -> None:
    let_in()
    role = vault.role("events.amazonaws.com", ("events:PutEvents", HOME_BUS))
    vault.rule({"Arn": HOME_BUS, "RoleArn": role})

    vault.put_event(id=1)

    assert told(bench, heard) == [{"id": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        None,
        root("111122223333"),
        {"Condition": {"StringEquals": {"events:source": "another"}}},
        {"Condition": {"StringEquals": {"aws:PrincipalArn": f"arn:aws:iam::{OTHER}:role/x"}}},
    ],
)
def test_an_event_is_lost_that_the_bus_of_another_account_does_not_let_in(
    bench: Bench,
    vault: Bench,
    heard: tuple[str, str],
    let_in: Callable[..., None],
    statement: dict[str, Any] | None,
) -> None:
    if statement is not None:
        let_in(**statement)
    role = vault.role("events.amazonaws.com", ("events:PutEvents", HOME_BUS))
    rule = vault.rule({"Arn": HOME_BUS, "RoleArn": role})

    vault.put_event(id=1)

    assert told(bench, heard) == []
    assert lost(vault, rule) == ["NO_PERMISSIONS"]


def test_an_event_is_lost_whose_role_may_not_put_it_to_the_bus(
    bench: Bench, vault: Bench, heard: tuple[str, str], let_in: Callable[..., None]
) -> None:
    let_in()
    rule = vault.rule({"Arn": HOME_BUS, "RoleArn": vault.role("events.amazonaws.com")})

    vault.put_event(id=1)

    assert told(bench, heard) == []
    assert lost(vault, rule) == ["NO_PERMISSIONS"]


def test_an_event_is_lost_whose_rule_has_a_role_of_another_account(
    bench: Bench, vault: Bench, let_in: Callable[..., None]
) -> None:
    let_in()
    role = bench.role("events.amazonaws.com", ("events:PutEvents", HOME_BUS))
    rule = vault.rule({"Arn": HOME_BUS, "RoleArn": role})

    vault.put_event(id=1)

    assert lost(vault, rule) == ["FAILED_TO_ASSUME_ROLE"]


def test_a_call_puts_an_event_to_a_bus_of_another_account_that_lets_it_in(
    bench: Bench, vault: Bench, heard: tuple[str, str], let_in: Callable[..., None]
) -> None:
    entry = {"Source": "test", "DetailType": "Test", "Detail": "{}", "EventBusName": HOME_BUS}
    with pytest.raises(ClientError, match="AccessDenied"):
        vault.client("events").put_events(Entries=[entry])
    let_in()

    vault.client("events").put_events(Entries=[entry])
    bench.cloud.settle()

    assert told(bench, heard) == [{}]


def test_the_event_of_a_snapshot_reaches_the_default_bus_of_its_account_and_region(
    bench: Bench, vault: Bench, heard: tuple[str, str], let_in: Callable[..., None]
) -> None:
    let_in()
    role = vault.role("events.amazonaws.com", ("events:PutEvents", HOME_BUS))
    events, name = bench.cloud.client("events", AWAY, account=OTHER), vault.name("ebs")
    events.put_rule(Name=name, EventPattern=json.dumps({"source": ["aws.ec2"]}))
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": HOME_BUS, "RoleArn": role}])
    ec2 = bench.cloud.client("ec2", AWAY, account=OTHER)
    volume = ec2.create_volume(AvailabilityZone=f"{AWAY}a", Size=1)["VolumeId"]

    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    bench.cloud.advance(by=HOUR)

    (detail,) = told(bench, heard)
    assert detail["snapshot_id"].endswith(f":{AWAY}:snapshot/{snapshot}")
    events.remove_targets(Rule=name, Ids=["1"])


# ------------------------------------------------------------------------ EC2 and KMS


def a_snapshot(bench: Bench, **given: Any) -> str:
    """A complete one, with the tag ``ours``."""
    ec2 = bench.client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, **given)["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "ours", "Value": "p1"}]}]
    made = ec2.create_snapshot(VolumeId=volume, TagSpecifications=tags)["SnapshotId"]
    bench.cloud.advance(by=HOUR)
    return str(made)


def share(bench: Bench, snapshot: str) -> None:
    add = {"Add": [{"UserId": OTHER}]}
    bench.client("ec2").modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission=add)


def test_a_role_shares_only_what_it_may_and_only_with_whom_it_may(bench: Bench) -> None:
    ours, theirs = a_snapshot(bench), a_snapshot(bench)
    bench.client("ec2").delete_tags(Resources=[theirs])
    snapshots = f"arn:aws:ec2:{REGION}::snapshot/*"
    tagged = {"Null": {"aws:ResourceTag/ours": "false"}}
    function = bench.function(
        *(
            (
                "ec2:ModifySnapshotAttribute",
                snapshots,
                {"Condition": {**tagged, "StringEquals": {f"ec2:{how}/userId": OTHER}}},
            )
            for how in ("Add", "Remove")
        )
    )

    def changing(how: str, snapshot: str, *users: str) -> Any:
        permission = {how: [{"UserId": one} for one in users]}
        given = {"SnapshotId": snapshot, "CreateVolumePermission": permission}
        return bench.invoke(function, {"calls": [("ec2", "modify_snapshot_attribute", given)]})

    assert changing("Add", ours, OTHER) is None
    assert changing("Remove", ours, OTHER) is None
    for denied in (
        changing("Add", theirs, OTHER),
        changing("Add", ours, "111122223333"),
        changing("Add", ours, OTHER, "111122223333"),
    ):
        assert "UnauthorizedOperation" in denied["errorMessage"]


def copying(vault: Bench, snapshot: str, *allowed: Allowed, key: str | None = None) -> Any:
    """What a function of the vault says that copies the snapshot."""
    function = Bench(vault.cloud, OTHER).function
    given = {"SourceRegion": REGION, "SourceSnapshotId": snapshot}
    if key:
        given |= {"Encrypted": True, "KmsKeyId": key}
    return vault.invoke(function(*allowed), {"calls": [("ec2", "copy_snapshot", given)]})


COPY = ("ec2:CopySnapshot", f"arn:aws:ec2:{REGION}::snapshot/*")


def newest(vault: Bench) -> dict[str, Any]:
    vault.cloud.advance(by=HOUR)
    found = vault.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return dict(max(found, key=lambda one: one["StartTime"]))


def test_a_shared_snapshot_is_copied_into_another_account(bench: Bench, vault: Bench) -> None:
    snapshot = a_snapshot(bench)
    assert "InvalidSnapshot.NotFound" in copying(vault, snapshot, COPY)["errorMessage"]
    share(bench, snapshot)

    assert copying(vault, snapshot, COPY) is None

    made = newest(vault)
    assert (made["OwnerId"], made["State"]) == (OTHER, "completed")
    mine = bench.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert made["SnapshotId"] not in [one["SnapshotId"] for one in mine]


def test_the_tags_of_a_shared_snapshot_are_nothing_to_the_policies_of_another_account(
    bench: Bench, vault: Bench
) -> None:
    snapshot = a_snapshot(bench)
    share(bench, snapshot)
    tagged = {"Condition": {"Null": {"aws:ResourceTag/ours": "false"}}}
    new = (COPY[0], f"arn:aws:ec2:{REGION}::snapshot/*", tagged)

    assert "UnauthorizedOperation" in copying(vault, snapshot, new)["errorMessage"]


TO_READ = ["kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom", "kms:CreateGrant"]
TO_WRITE = [
    *("kms:CreateGrant", "kms:DescribeKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptTo"),
]


def test_an_encrypted_snapshot_is_copied_by_whom_both_accounts_let_use_its_key(
    bench: Bench, vault: Bench
) -> None:
    theirs = {"Effect": "Allow", **root(OTHER), "Action": TO_READ, "Resource": "*"}
    key, own = bench.key(theirs), vault.key()
    snapshot = a_snapshot(bench, Encrypted=True, KmsKeyId=key)
    share(bench, snapshot)
    reads = [(action, key) for action in TO_READ]
    writes = [(action, own) for action in TO_WRITE]

    copying(vault, snapshot, COPY, *reads, *writes, key=own)

    made = newest(vault)
    assert (made["State"], made["KmsKeyId"]) == ("completed", own)


@pytest.mark.parametrize("missing", ["key policy", "part of it", "reads", "grants", "writes"])
def test_a_copy_ends_in_error_that_lacks_a_right_to_a_key_in_either_account(
    bench: Bench, vault: Bench, missing: str
) -> None:
    shared = TO_READ[1:] if missing == "part of it" else TO_READ
    theirs = {"Effect": "Allow", **root(OTHER), "Action": shared, "Resource": "*"}
    key, own = bench.key(*([] if missing == "key policy" else [theirs])), vault.key()
    snapshot = a_snapshot(bench, Encrypted=True, KmsKeyId=key)
    share(bench, snapshot)
    may = TO_READ[:-1] if missing == "grants" else TO_READ
    reads = [] if missing == "reads" else [(action, key) for action in may]
    writes = [] if missing == "writes" else [(action, own) for action in TO_WRITE]

    assert copying(vault, snapshot, COPY, *reads, *writes, key=own) is None

    made = newest(vault)
    assert (made["State"], made["StateMessage"]) == ("error", "Given key ID is not accessible")


def test_an_administrator_of_another_account_needs_the_policy_of_the_key(
    bench: Bench, vault: Bench
) -> None:
    snapshot = a_snapshot(bench, Encrypted=True, KmsKeyId=bench.key())
    share(bench, snapshot)

    vault.client("ec2").copy_snapshot(
        SourceRegion=REGION, SourceSnapshotId=snapshot, Encrypted=True, KmsKeyId=vault.key()
    )

    assert newest(vault)["State"] == "error"
