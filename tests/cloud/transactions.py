"""DynamoDB's transactions in time that does not grow with the table.

moto copies the whole table before each transaction, to put it back if a condition fails: a fleet
of a few hundred sources then takes minutes. Here only the items of the transaction are copied.
"""

import copy
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from moto.dynamodb import models
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table

from tests.cloud.ec2.patches import Patches


def install(patches: Patches) -> None:
    transact = models.DynamoDBBackend.transact_write_items
    touched: list[dict[str, Any]] = []

    def transact_write_items(backend: Any, transact_items: list[dict[str, Any]]) -> None:
        touched[:] = [next(iter(one.values())) for one in transact_items]
        transact(backend, transact_items)

    def deepcopy(value: Any) -> Any:
        return _restorable(value, touched) if isinstance(value, Table) else copy.deepcopy(value)

    patches.set(models.DynamoDBBackend, "transact_write_items", transact_write_items)
    patches.set(models, "copy", SimpleNamespace(deepcopy=deepcopy))


def _restorable(table: Table, writes: list[dict[str, Any]]) -> Table:
    """A table that shares its items with ``table``, but for those that ``writes`` change."""
    kept = copy.copy(table)
    kept.items = defaultdict(dict, {key: dict(under) for key, under in table.items.items()})
    for write in writes:
        if write["TableName"] != table.name:
            continue
        key = write.get("Key") or write["Item"]
        partition = DynamoType(key[table.hash_key_attr])
        sort = DynamoType(key[table.range_key_attr])
        if sort in kept.items.get(partition, {}):
            kept.items[partition][sort] = copy.deepcopy(kept.items[partition][sort])
    return kept
