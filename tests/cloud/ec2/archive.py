"""The archive tier: ModifySnapshotTier and DescribeSnapshotTierStatus.

Source: EC2 API Reference of the two; EBS User Guide, "Archive an Amazon EBS snapshot". The codes of
the refusals were not seen on an account.
"""

from datetime import timedelta
from functools import partial
from typing import Any

from moto.core.utils import utcnow

from tests.cloud.ec2 import filters, images, paging, tags, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.lifecycle import ARCHIVE, STANDARD
from tests.cloud.ec2.request import FILTERS, Operation, Request

IN_PROGRESS, COMPLETED = "archival-in-progress", "archival-completed"


def handle_modify_snapshot_tier(world: World, request: Request) -> dict[str, Any]:
    """The snapshot moves after ``conditions.archiving``, and can be used until then."""
    snapshot = request.snapshot()
    if request.params.get("StorageTier") != ARCHIVE:
        raise refusal("InvalidParameterValue", f"StorageTier must be {ARCHIVE}")
    if snapshot.status != "completed":
        raise refusal("IncorrectState", f"The snapshot '{snapshot.id}' is {snapshot.status}.")
    if ARCHIVE in (snapshot.storage_tier, _goes_to(snapshot)):
        raise refusal("IncorrectState", f"The snapshot '{snapshot.id}' is archived already.")
    for image_id in images.users_of(world, snapshot):
        if not world.conditions.images[image_id].disabled:
            raise refusal("InvalidSnapshot.InUse", f"{snapshot.id} is in use by {image_id}")
    request.end_dry_run()
    snapshot.last_tiering_start_time = utcnow()
    snapshot.last_tiering_operation_status = IN_PROGRESS
    if world.conditions.archiving > timedelta(0):
        due = world.clock.now() + world.conditions.archiving
        world.clock.at(due, partial(_archive, snapshot))
    else:
        _archive(snapshot)
    return {"SnapshotId": snapshot.id, "TieringStartTime": snapshot.last_tiering_start_time}


def _goes_to(snapshot: Any) -> str:
    return ARCHIVE if snapshot.last_tiering_operation_status == IN_PROGRESS else STANDARD


def _archive(snapshot: Any) -> None:
    snapshot.storage_tier = ARCHIVE
    snapshot.last_tiering_operation_status = COMPLETED
    snapshot.archival_complete_time = utcnow()


def handle_describe_snapshot_tier_status(world: World, request: Request) -> dict[str, Any]:
    matches = filters.matcher(request.params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    known = filter(visibility.is_seen, request.backend.snapshots.values())
    page, token = paging.page(
        request.params, filter(matches, known), lambda one: str(one.id), "SnapshotIds"
    )
    statuses = [
        {
            "SnapshotId": one.id,
            "VolumeId": one.volume_id,
            "Status": one.status,
            "OwnerId": one.owner_id,
            "Tags": tags.rendered(one),
            "StorageTier": one.storage_tier,
            "LastTieringStartTime": one.last_tiering_start_time,
            "LastTieringOperationStatus": one.last_tiering_operation_status,
            "ArchivalCompleteTime": one.archival_complete_time,
        }
        for one in page
    ]
    return {"SnapshotTierStatuses": statuses, "NextToken": token}


_FIELDS: filters.Fields = {
    "snapshot-id": lambda one: [one.id],
    "volume-id": lambda one: [one.volume_id],
    "last-tiering-operation": lambda one: [one.last_tiering_operation_status],
}

OPERATIONS = [
    Operation(
        "ModifySnapshotTier",
        handle_modify_snapshot_tier,
        {"SnapshotId": None, "StorageTier": None, "DryRun": None},
    ),
    Operation(
        "DescribeSnapshotTierStatus",
        handle_describe_snapshot_tier_status,
        {"MaxResults": None, "NextToken": None, "DryRun": None, "Filters": FILTERS},
    ),
]
