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
