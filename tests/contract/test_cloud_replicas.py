"""Global tables of the test cloud: one table in several Regions, each under its own key."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.in_process import InProcessCloud
from tests.contract.workbench import ACCOUNT, REGION, Bench
from tests.support import table

AWAY, THIRD = "eu-west-1", "eu-north-1"
ITEM = {"pk": {"S": "a"}, "sk": {"S": "X"}}


# DynamoDB itself


@pytest.fixture
def home(cloud: InProcessCloud) -> Any:
    client = cloud.client("dynamodb", REGION)
    table.create(client)
    table.replicate(client, AWAY)
    return client


@pytest.fixture
def away(home: Any, cloud: InProcessCloud) -> Any:
    return cloud.client("dynamodb", AWAY)


def test_what_is_written_in_one_region_is_read_in_the_other(home: Any, away: Any) -> None:
    home.put_item(TableName=table.NAME, Item=ITEM)
    away.put_item(TableName=table.NAME, Item={**ITEM, "sk": {"S": "Y"}})

    for client in (home, away):
        found = client.scan(TableName=table.NAME)["Items"]
        assert [one["sk"]["S"] for one in found] == ["X", "Y"]

    home.delete_item(TableName=table.NAME, Key=ITEM)
    assert "Item" not in away.get_item(TableName=table.NAME, Key=ITEM)


def test_a_transaction_that_fails_is_undone_everywhere(home: Any, away: Any) -> None:
    fails = {"Key": ITEM, "ConditionExpression": "attribute_exists(pk)"}

    with pytest.raises(home.exceptions.TransactionCanceledException):
        home.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": table.NAME, "Item": {**ITEM, "sk": {"S": "Y"}}}},
                {"ConditionCheck": {"TableName": table.NAME, **fails}},
            ]
        )

    assert away.scan(TableName=table.NAME)["Count"] == 0


def test_what_was_there_before_the_replica_is_in_its_indexes(home: Any, cloud: Any) -> None:
    home.put_item(TableName=table.NAME, Item={**ITEM, "anchor": {"S": "snap-1"}})
    table.replicate(home, THIRD)

    found = cloud.client("dynamodb", THIRD).query(
        TableName=table.NAME,
        IndexName="by_snapshot",
        KeyConditionExpression="anchor = :one",
        ExpressionAttributeValues={":one": {"S": "snap-1"}},
    )

    assert found["Count"] == 1


def test_each_replica_names_the_others_and_has_an_arn_of_its_region(home: Any, away: Any) -> None:
    described = {
        region: client.describe_table(TableName=table.NAME)["Table"]
        for region, client in ((REGION, home), (AWAY, away))
    }

    for region, other in ((REGION, AWAY), (AWAY, REGION)):
        arn = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table.NAME}"
        assert described[region]["TableArn"] == arn
        assert [one["RegionName"] for one in described[region]["Replicas"]] == [other]


def test_deletion_protection_is_each_replicas_own(home: Any, away: Any) -> None:
    away.update_table(TableName=table.NAME, DeletionProtectionEnabled=True)
    assert not home.describe_table(TableName=table.NAME)["Table"]["DeletionProtectionEnabled"]

    gone = [{"Delete": {"RegionName": AWAY}}]
    with pytest.raises(ClientError, match="can't be deleted"):
        home.update_table(TableName=table.NAME, ReplicaUpdates=gone)

    away.update_table(TableName=table.NAME, DeletionProtectionEnabled=False)
    home.update_table(TableName=table.NAME, ReplicaUpdates=gone)
    assert away.list_tables()["TableNames"] == []
    assert "Replicas" not in home.describe_table(TableName=table.NAME)["Table"]


def test_a_replica_outlives_the_table_that_it_is_of(home: Any, away: Any) -> None:
    home.put_item(TableName=table.NAME, Item=ITEM)

    home.delete_table(TableName=table.NAME)

    assert away.get_item(TableName=table.NAME, Key=ITEM)["Item"] == ITEM


# as CloudFormation makes it


def replica(region: str, kms_key: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "Region": region,
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        **({"SSESpecification": {"KMSMasterKeyId": kms_key}} if kms_key else {}),
        **more,
    }


def ledger(bench: Bench, *replicas: dict[str, Any]) -> dict[str, Any]:
    encrypted = any("SSESpecification" in one for one in replicas)
    properties = {
        "TableName": bench.name("ledger"),
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
        "Replicas": list(replicas),
    }
    if encrypted:
        properties["SSESpecification"] = {"SSEEnabled": True, "SSEType": "KMS"}
    return {"Ledger": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}


def updated(bench: Bench, *replicas: dict[str, Any]) -> dict[str, Any]:
    bench.client("cloudformation").update_stack(
        StackName=bench.name("stack"),
        TemplateBody=json.dumps({"Resources": ledger(bench, *replicas)}),
    )
    return bench.described()


def tables(bench: Bench) -> list[str]:
    """The Regions that have it."""
    return [
        region
        for region in (REGION, AWAY, THIRD)
        if bench.name("ledger")
        in bench.cloud.client("dynamodb", region).list_tables()["TableNames"]
    ]


def key_away(bench: Bench, region: str = AWAY) -> str:
    """The ARN of its alias."""
    kms, alias = bench.cloud.client("kms", region), f"alias/{bench.name('ledger')}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    return f"arn:aws:kms:{region}:{ACCOUNT}:{alias}"


def test_a_stack_makes_a_table_in_its_region_and_replicas_in_others(bench: Bench) -> None:
    keys = {REGION: bench.key(), AWAY: key_away(bench)}

    made = bench.stack(
        ledger(bench, *(replica(*one, DeletionProtectionEnabled=True) for one in keys.items())),
        Outputs={"Arn": {"Value": {"Fn::GetAtt": ["Ledger", "Arn"]}}},
    )

    assert made["StackStatus"] == "CREATE_COMPLETE"
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{bench.name('ledger')}"
    assert made["Outputs"][0]["OutputValue"] == arn
    for region, kms_key in keys.items():
        client = bench.cloud.client("dynamodb", region)
        described = client.describe_table(TableName=bench.name("ledger"))["Table"]
        backups = client.describe_continuous_backups(TableName=bench.name("ledger"))
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert described["SSEDescription"]["KMSMasterKeyArn"] == kms_key
        assert described["DeletionProtectionEnabled"] is True
        assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_a_replica_is_read_through_its_own_key(bench: Bench) -> None:
    kms = bench.cloud.client("kms", AWAY)
    alias = key_away(bench)
    bench.stack(ledger(bench, replica(REGION, bench.key()), replica(AWAY, alias)))
    client = bench.cloud.client("dynamodb", AWAY)

    client.scan(TableName=bench.name("ledger"))
    key = kms.describe_key(KeyId=alias.rpartition(":")[2])["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)

    with pytest.raises(ClientError, match="is Disabled"):
        client.scan(TableName=bench.name("ledger"))
    bench.client("dynamodb").scan(TableName=bench.name("ledger"))


def test_without_the_key_of_a_replica_there_is_no_table_at_all(bench: Bench) -> None:
    missing = f"arn:aws:kms:{AWAY}:{ACCOUNT}:alias/nowhere-{bench.number}"

    made = bench.stack(ledger(bench, replica(REGION, bench.key()), replica(AWAY, missing)))

    assert made["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "cannot be used" in made["StackStatusReason"]
    assert tables(bench) == []


def test_an_update_adds_one_replica_and_no_more(bench: Bench) -> None:
    bench.stack(ledger(bench, replica(REGION)))

    two = updated(bench, replica(REGION), replica(AWAY), replica(THIRD))
    assert two["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "a single replica" in two["StackStatusReason"]
    assert tables(bench) == [REGION]

    assert updated(bench, replica(REGION), replica(AWAY))["StackStatus"] == "UPDATE_COMPLETE"
    assert tables(bench) == [REGION, AWAY]


def test_a_protected_replica_goes_only_when_its_protection_is_off(bench: Bench) -> None:
    protected = replica(AWAY, DeletionProtectionEnabled=True)
    bench.stack(ledger(bench, replica(REGION), protected))

    refused = updated(bench, replica(REGION))
    assert refused["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert tables(bench) == [REGION, AWAY]

    updated(bench, replica(REGION), replica(AWAY))
    assert updated(bench, replica(REGION))["StackStatus"] == "UPDATE_COMPLETE"
    assert tables(bench) == [REGION]


def test_a_stack_needs_a_replica_where_it_is_itself(bench: Bench) -> None:
    made = bench.stack(ledger(bench, replica(AWAY)))

    assert made["StackStatus"] == "ROLLBACK_COMPLETE"
    assert tables(bench) == []


def test_a_stack_that_goes_takes_all_replicas_with_it(bench: Bench) -> None:
    bench.stack(ledger(bench, replica(REGION), replica(AWAY)))

    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))

    assert tables(bench) == []
