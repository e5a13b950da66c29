"""The ledger's table as the state stack makes it (a test in tests/infra compares the two)."""

from typing import Any

from lastgood.domain.model import Point
from lastgood.ledger.dynamo import DynamoLedger

NAME = "lastgood-ledger"

TABLE: dict[str, Any] = {
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"}
        for name in ("pk", "sk", "listed", "at", "anchor", "flight")
    ],
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "listing",
            "KeySchema": [
                {"AttributeName": "listed", "KeyType": "HASH"},
                {"AttributeName": "at", "KeyType": "RANGE"},
            ],
            "Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": [
                    "cause",
                    "claimed_at",
                    "hold",
                    "id",
                    "key",
                    "members",
                    "method",
                    "place",
                    "planned",
                    "point",
                    "policy",
                    "queued_at",
                    "run",
                    "settled_at",
                    "slot",
                    "source",
                    "started_at",
                    "status",
                    "taken_at",
                    "version",
                ],
            },
        },
        {
            "IndexName": "by_snapshot",
            "KeySchema": [{"AttributeName": "anchor", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
        {
            "IndexName": "in_flight",
            "KeySchema": [
                {"AttributeName": "flight", "KeyType": "HASH"},
                {"AttributeName": "at", "KeyType": "RANGE"},
            ],
            "Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": [
                    "claimed_at",
                    "id",
                    "method",
                    "policy",
                    "run",
                    "slot",
                    "source",
                    "status",
                ],
            },
        },
    ],
}


def create(client: Any) -> None:
    client.create_table(TableName=NAME, BillingMode="PAY_PER_REQUEST", **TABLE)


def replicate(client: Any, region: str) -> None:
    """Have the table of the client's Region in another one too."""
    there = {"Create": {"RegionName": region}}
    client.update_table(TableName=NAME, ReplicaUpdates=[there])


def empty(client: Any) -> None:
    """As if all had been deleted, or the table had been made anew."""
    client.delete_table(TableName=NAME)
    create(client)


def points(client: Any) -> list[Point]:
    """Every point, read whole, by slot and source. The product never scans; a test may."""
    ledger = DynamoLedger(client, NAME)
    ids = [
        item["pk"]["S"].removeprefix("POINT#")
        for page in client.get_paginator("scan").paginate(TableName=NAME)
        for item in page["Items"]
        if item["sk"]["S"] == "POINT"
    ]
    found = [point for id_ in ids if (point := ledger.point(id_))]
    return sorted(found, key=lambda point: (point.slot, point.source))
