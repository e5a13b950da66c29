"""DynamoDB's global tables: what is in one Region is in the others, which moto leaves out.

A replica holds the items of the first table themselves, so what is written in one Region is read
in the other at once. A real one lags, by a second as a rule and without a bound, and of two writes
of one item the last one wins: who reads or writes in two Regions learns nothing of that here.

Not modelled: indexes that are added later, and the day in which a table that new replicas were
filled from cannot be deleted.
Sources: DynamoDB API, ReplicationGroupUpdate; DynamoDB Developer Guide, "Global tables" (a key of
each replica's own Region; deletion protection of each replica).
"""

import copy
from typing import Any

from moto.core.responses import ActionResult
from moto.dynamodb.exceptions import DeletionProtectedException, MockValidationException
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler, DynamoResult

from tests.cloud.ec2.patches import Patches
from tests.cloud.keys import key_of


def install(patches: Patches) -> None:
    update, describe = DynamoHandler.update_table, Table.describe

    def update_table(handler: Any) -> ActionResult:
        changes = handler.body.get("ReplicaUpdates")
        if not changes:
            return update(handler)
        if len(changes) > 1 or len(handler.body) > 2:
            raise MockValidationException("one replica, and nothing else, in one UpdateTable")
        table = handler.dynamodb_backend.get_table(handler.body["TableName"])
        ((action, given),) = changes[0].items()
        there = dynamodb_backends[table.account_id][given["RegionName"]]
        match action:
            case "Create":
                _create(table, there, given)
            case "Delete":
                _delete(table, there)
            case _:
                raise NotImplementedError(f"{action} of a replica")
        return DynamoResult(table.describe())

    def describe_with_replicas(table: Table, base_key: str = "TableDescription") -> dict[str, Any]:
        described = describe(table, base_key)
        if others := [one for one in _group(table) if one is not table]:
            described[base_key]["GlobalTableVersion"] = "2019.11.21"
            described[base_key]["Replicas"] = [
                {
                    "RegionName": one.region_name,
                    "ReplicaStatus": "ACTIVE",
                    "KMSMasterKeyId": (one.sse_specification or {}).get("KMSMasterKeyId"),
                }
                for one in others
            ]
        return described

    patches.set(DynamoHandler, "update_table", update_table)
    patches.set(Table, "describe", describe_with_replicas)


def _group(table: Table) -> list[Table]:
    """The replicas, in the order of their Regions; the table itself is one of them."""
    backends = sorted(dynamodb_backends[table.account_id].items())
    found = (backend.tables.get(table.name) for _, backend in backends)
    return [one for one in found if one is not None and one.items is table.items]


def _create(table: Table, there: DynamoDBBackend, given: dict[str, Any]) -> None:
    if table.name in there.tables:
        raise MockValidationException(f"{there.region_name} already has a table {table.name}")
    own_key = (table.sse_specification or {}).get("KMSMasterKeyId")
    key_id = given.get("KMSMasterKeyId")
    if own_key and not key_id:
        raise MockValidationException("KMSMasterKeyId must be specified for each replica.")
    if key_id:
        key = key_of(key_id, table.account_id, there.region_name)
        if key is None or key.key_state != "Enabled":
            raise MockValidationException(f"KMS key {key_id} cannot be used")
    replica = copy.copy(table)
    replica.region_name = there.region_name
    replica.table_arn = replica._generate_arn(table.name)
    replica.sse_specification = (
        {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key_id} if key_id else None
    )
    # Of each replica's own. The rest, indexes and time to live, is the same for all.
    replica.continuous_backups = {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
    }
    replica.deletion_protection_enabled = False
    replica.tags = []
    there.tables[table.name] = replica


def _delete(table: Table, there: DynamoDBBackend) -> None:
    replica = there.tables.get(table.name)
    if replica is None or replica not in _group(table):
        raise MockValidationException(f"{there.region_name} has no replica of {table.name}")
    if replica.deletion_protection_enabled:
        raise DeletionProtectedException(table.name)
    del there.tables[table.name]
