"""DynamoDB's transactions: once for each client token, in time that does not grow with the table.

moto copies the whole table before each transaction, to put it back if a condition fails: a fleet
of a few hundred sources then takes minutes, and gigabytes. Here the items of the transaction are
put back, and only they.

moto does not know the token by which botocore may send a transaction again whose reply was lost.
Source: DynamoDB API, TransactWriteItems: what has succeeded "return[s] successfully without making
any changes" for 10 minutes.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb import models
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler

from tests.cloud.ec2.patches import Patches

TOKEN_HOLDS = timedelta(minutes=10)


def install(patches: Patches) -> None:
    transact = models.DynamoDBBackend.transact_write_items

    def transact_write_items(backend: Any, transact_items: list[dict[str, Any]]) -> None:
        before = [
            _item(backend.tables[write["TableName"]], write)
            for write in (next(iter(one.values())) for one in transact_items)
            if write["TableName"] in backend.tables
        ]
        try:
            transact(backend, transact_items)
        except Exception:
            for put_back in before:
                put_back()
            raise

    def deepcopy(value: Any) -> Any:
        return value if isinstance(value, Table) else copy.deepcopy(value)

    patches.set(models.DynamoDBBackend, "transact_write_items", transact_write_items)
    patches.set(models, "copy", SimpleNamespace(deepcopy=deepcopy))
    patches.set(DynamoHandler, "transact_write_items", _once(DynamoHandler.transact_write_items))


def _once(transact: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    done: dict[str, datetime] = {}

    def transact_write_items(handler: Any) -> ActionResult:
        token, now = handler.body.get("ClientRequestToken"), datetime.now(UTC)
        if token in done and now - done[token] < TOKEN_HOLDS:
            return ActionResult({})
        answer = transact(handler)
        if token:
            done[token] = now
        return answer

    return transact_write_items


def _item(table: Table, write: dict[str, Any]) -> Callable[[], None]:
    """Puts the item that ``write`` changes back as it is now, or takes it away if there is none."""
    key = write.get("Key") or write["Item"]
    items: Any = table.items
    name = DynamoType(key[table.hash_key_attr])
    if table.range_key_attr:
        items, name = items[name], DynamoType(key[table.range_key_attr])
    item = copy.deepcopy(items.get(name))

    def put_back() -> None:
        if item is None:
            items.pop(name, None)
        else:
            items[name] = item

    return put_back
