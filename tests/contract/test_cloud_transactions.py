"""Transactions of the test cloud: all or nothing, as moto's own, without copying the table."""

import copy

import pytest
from moto.dynamodb import models
from moto.dynamodb.exceptions import TransactionCanceledException
from moto.dynamodb.models.table import Table

from tests.cloud.in_process import InProcessCloud
from tests.support import table


@pytest.fixture
def dynamodb(cloud: InProcessCloud):
    client = cloud.client("dynamodb")
    table.create(client)
    return client


def key(name):
    return {"pk": {"S": name}, "sk": {"S": "X"}}


def update(name, value, **more):
    return {
        "Update": {
            "TableName": table.NAME,
            "Key": key(name),
            "UpdateExpression": "SET seen = :seen",
            "ExpressionAttributeValues": {":seen": {"S": value}},
            **more,
        }
    }


def seen(dynamodb, name):
    item = dynamodb.get_item(TableName=table.NAME, Key=key(name)).get("Item", {})
    return item.get("seen", {}).get("S")


def test_a_transaction_writes_all(dynamodb):
    dynamodb.transact_write_items(TransactItems=[update("a", "1"), update("b", "1")])

    assert (seen(dynamodb, "a"), seen(dynamodb, "b")) == ("1", "1")


def test_a_transaction_whose_last_condition_fails_leaves_all_as_it_was(dynamodb):
    dynamodb.transact_write_items(TransactItems=[update("a", "1")])

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(
            TransactItems=[
                update("a", "2"),
                update("new", "2"),
                update("b", "2", ConditionExpression="attribute_exists(pk)"),
            ]
        )

    assert [seen(dynamodb, name) for name in ("a", "new", "b")] == ["1", None, None]
    assert not dynamodb.query(
        TableName=table.NAME,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "new"}},
    )["Items"]


def check(name, condition="attribute_not_exists(pk)"):
    return {
        "ConditionCheck": {
            "TableName": table.NAME,
            "Key": key(name),
            "ConditionExpression": condition,
        }
    }


def reasons(refusal):
    return [one["Code"] for one in refusal.value.response["CancellationReasons"]]


def test_a_check_that_an_item_is_not_there_lets_an_update_beside_it_pass(dynamodb):
    dynamodb.transact_write_items(TransactItems=[update("point", "1"), check("hold")])

    assert seen(dynamodb, "point") == "1"
    assert "Item" not in dynamodb.get_item(TableName=table.NAME, Key=key("hold"))


@pytest.mark.parametrize("first", [True, False])
def test_a_check_that_fails_leaves_the_item_beside_it_as_it_was(dynamodb, first):
    dynamodb.transact_write_items(TransactItems=[update("point", "1"), update("hold", "there")])
    both = [update("point", "2"), check("hold")]

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as refusal:
        dynamodb.transact_write_items(TransactItems=both[::-1] if first else both)

    told = ["None", "ConditionalCheckFailed"]
    assert reasons(refusal) == (told[::-1] if first else told)
    assert seen(dynamodb, "point") == "1"


def test_a_check_that_holds_changes_nothing_of_its_item(dynamodb):
    dynamodb.transact_write_items(TransactItems=[update("hold", "there")])

    dynamodb.transact_write_items(
        TransactItems=[update("point", "1"), check("hold", "attribute_exists(pk)")]
    )

    assert (seen(dynamodb, "point"), seen(dynamodb, "hold")) == ("1", "there")


def test_one_item_cannot_be_checked_and_changed_in_one_transaction(dynamodb):
    with pytest.raises(dynamodb.exceptions.ClientError, match="ValidationException"):
        dynamodb.transact_write_items(TransactItems=[check("point"), update("point", "1")])

    assert seen(dynamodb, "point") is None


def test_a_transaction_on_a_table_without_a_sort_key_is_undone_as_well(dynamodb):
    dynamodb.create_table(
        TableName="plain",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    item = {"pk": {"S": "a"}}

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": "plain", "Item": item}},
                check("b", "attribute_exists(pk)"),
            ]
        )

    assert "Item" not in dynamodb.get_item(TableName="plain", Key=item)


def test_moto_by_itself_still_copies_the_whole_table(monkeypatch):
    copied = []
    monkeypatch.setattr(
        models.copy, "deepcopy", lambda value: copied.append(value) or copy.copy(value)
    )
    backend = models.DynamoDBBackend("us-east-1", "123456789012")
    backend.tables["t"] = object.__new__(Table)

    with pytest.raises(TransactionCanceledException):
        backend.transact_write_items([{"Put": {"TableName": "t", "Item": {}}}])

    assert [type(one) for one in copied] == [Table]


def test_a_transaction_that_is_sent_again_with_its_token_changes_nothing(dynamodb):
    write = {
        "TransactItems": [update("a", "once", ConditionExpression="attribute_not_exists(pk)")],
        "ClientRequestToken": "token",
    }
    dynamodb.transact_write_items(**write)

    dynamodb.transact_write_items(**write)

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(**write | {"ClientRequestToken": "another"})
    assert seen(dynamodb, "a") == "once"
