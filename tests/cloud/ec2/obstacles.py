"""What keeps a snapshot: images that use it, locks, and the archive tier."""

from datetime import timedelta
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.utils import random_ami_id

from tests.cloud.ec2 import filters, paging
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request, check_id

LONGEST_LOCK = 36_500  # days: EC2 API Reference, LockSnapshot


def _snapshot(request: Request) -> Any:
    snapshot_id = request.params.get("SnapshotId")
    check_id("snap", snapshot_id)
    if snapshot_id not in request.backend.snapshots:
        raise refusal("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    return request.backend.snapshots[snapshot_id]


# images


def handle_register_image(world: World, request: Request) -> dict[str, Any]:
    devices = request.params.get("BlockDeviceMappings") or []
    snapshots = frozenset(one["Ebs"]["SnapshotId"] for one in devices if "Ebs" in one)
    request.end_dry_run()
    image_id = random_ami_id()
    world.conditions.images[image_id] = Image(snapshot_ids=snapshots)
    return {"ImageId": image_id}


def handle_disable_image(world: World, request: Request) -> dict[str, Any]:
    world.conditions.disabled_images.add(request.params["ImageId"])
    return {"Return": True}


def handle_deregister_image(world: World, request: Request) -> dict[str, Any]:
    world.conditions.images.pop(request.params["ImageId"], None)
    return {"Return": True}


def handle_describe_images(world: World, request: Request) -> dict[str, Any]:
    """Those of ``conditions.images`` that keep snapshots; the public ones are not modelled.

    Source: EC2 API Reference, DescribeImages: disabled ones are left out without IncludeDisabled.
    """
    params = request.params
    matches = filters.matcher(params.get("Filters") or [], _OF_IMAGE)
    disabled = world.conditions.disabled_images if not params.get("IncludeDisabled") else set()
    found = [
        (image_id, image)
        for image_id, image in world.conditions.images.items()
        if image.snapshot_ids and image_id not in disabled and matches((image_id, image))
    ]
    page, token = paging.page(params, found, lambda one: one[0], "ImageIds")
    images = [
        {
            "ImageId": image_id,
            "State": "disabled" if image_id in world.conditions.disabled_images else "available",
            "BlockDeviceMappings": [
                {"DeviceName": f"/dev/sd{chr(ord('a') + n)}", "Ebs": {"SnapshotId": snapshot}}
                for n, snapshot in enumerate(sorted(image.snapshot_ids))
            ],
        }
        for image_id, image in page
    ]
    return {"Images": images, "NextToken": token}


_OF_IMAGE: filters.Fields = {
    "image-id": lambda one: [one[0]],
    "block-device-mapping.snapshot-id": lambda one: one[1].snapshot_ids,
}


# locks


def handle_lock_snapshot(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, LockSnapshot. A cool-off period is not modelled."""
    snapshot, params = _snapshot(request), request.params
    days = params.get("LockDuration")
    if params.get("LockMode") not in ("governance", "compliance"):
        raise refusal("InvalidParameterValue", "LockMode must be governance or compliance")
    if not days or not 1 <= int(days) <= LONGEST_LOCK:
        raise refusal("InvalidParameterValue", f"LockDuration must be 1 to {LONGEST_LOCK}")
    request.end_dry_run()
    snapshot.locked_as, snapshot.locked_at = params["LockMode"], utcnow()
    snapshot.locked_until = utcnow() + timedelta(days=int(days))
    return _lock(snapshot)


def handle_unlock_snapshot(world: World, request: Request) -> dict[str, Any]:
    snapshot = _snapshot(request)
    if getattr(snapshot, "locked_as", None) == "compliance":
        raise refusal("OperationNotPermitted", "A lock in compliance mode cannot be taken away.")
    snapshot.locked_as = None
    return {"SnapshotId": snapshot.id}


def handle_describe_locked_snapshots(world: World, request: Request) -> dict[str, Any]:
    params = request.params
    matches = filters.matcher(
        params.get("Filters") or [], {"lock-state": lambda one: [_lock(one)["LockState"]]}
    )
    ids = params.get("SnapshotIds")
    found = [
        one
        for one in request.backend.snapshots.values()
        if getattr(one, "locked_as", None) and (not ids or one.id in ids) and matches(one)
    ]
    page, token = paging.page(params, found, lambda one: str(one.id), "SnapshotIds")
    return {"Snapshots": [_lock(one) for one in page], "NextToken": token}


def is_locked(snapshot: Any) -> bool:
    return getattr(snapshot, "locked_as", None) is not None and snapshot.locked_until > utcnow()


def _lock(snapshot: Any) -> dict[str, Any]:
    return {
        "OwnerId": snapshot.owner_id,
        "SnapshotId": snapshot.id,
        "LockState": snapshot.locked_as if is_locked(snapshot) else "expired",
        "LockCreatedOn": snapshot.locked_at,
        "LockExpiresOn": snapshot.locked_until,
    }


# the archive


def handle_modify_snapshot_tier(world: World, request: Request) -> dict[str, Any]:
    """At once: how long archiving takes is not modelled. Source: EC2 API, ModifySnapshotTier."""
    snapshot = _snapshot(request)
    if snapshot.status != "completed":
        raise refusal("IncorrectState", f"The snapshot '{snapshot.id}' is not completed.")
    request.end_dry_run()
    snapshot.storage_tier, snapshot.archived_at = "archive", utcnow()
    return {"SnapshotId": snapshot.id, "TieringStartTime": snapshot.archived_at}


def handle_describe_snapshot_tier_status(world: World, request: Request) -> dict[str, Any]:
    fields: filters.Fields = {
        "snapshot-id": lambda one: [one.id],
        "volume-id": lambda one: [one.volume_id],
    }
    matches = filters.matcher(request.params.get("Filters") or [], fields)
    found = [one for one in request.backend.snapshots.values() if matches(one)]
    page, token = paging.page(request.params, found, lambda one: str(one.id), "SnapshotIds")
    statuses = [
        {
            "SnapshotId": one.id,
            "VolumeId": one.volume_id,
            "OwnerId": one.owner_id,
            "StorageTier": one.storage_tier or "standard",
            "ArchivalCompleteTime": getattr(one, "archived_at", None),
        }
        for one in page
    ]
    return {"SnapshotTierStatuses": statuses, "NextToken": token}


PAGED = {"Filters": FILTERS, "MaxResults": None, "NextToken": None, "DryRun": None}

OPERATIONS = [
    Operation(
        "RegisterImage",
        handle_register_image,
        {
            "Name": None,
            "RootDeviceName": None,
            "BlockDeviceMappings": {"DeviceName": None, "Ebs": {"SnapshotId": None}},
            "DryRun": None,
        },
    ),
    Operation("DisableImage", handle_disable_image, {"ImageId": None, "DryRun": None}),
    Operation("DeregisterImage", handle_deregister_image, {"ImageId": None, "DryRun": None}),
    Operation(
        "DescribeImages",
        handle_describe_images,
        {**PAGED, "ImageIds": None, "Owners": None, "IncludeDisabled": None},
    ),
    Operation(
        "LockSnapshot",
        handle_lock_snapshot,
        {"SnapshotId": None, "LockMode": None, "LockDuration": None, "DryRun": None},
    ),
    Operation("UnlockSnapshot", handle_unlock_snapshot, {"SnapshotId": None, "DryRun": None}),
    Operation(
        "DescribeLockedSnapshots",
        handle_describe_locked_snapshots,
        {**PAGED, "SnapshotIds": None},
    ),
    Operation(
        "ModifySnapshotTier",
        handle_modify_snapshot_tier,
        {"SnapshotId": None, "StorageTier": None, "DryRun": None},
    ),
    Operation("DescribeSnapshotTierStatus", handle_describe_snapshot_tier_status, PAGED),
]
