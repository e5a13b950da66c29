"""CreateSnapshot, CreateSnapshots, DescribeSnapshots and DeleteSnapshot."""

from collections.abc import Iterator
from typing import Any

from moto.ec2.models import ec2_backends

from tests.cloud.ec2 import filters, images, instances, locks, paging, tags, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.copies import EbsCopy
from tests.cloud.ec2.errors import no_snapshot, refusal
from tests.cloud.ec2.lifecycle import EbsSnapshot, SnapshotSet, check_limits, remove
from tests.cloud.ec2.request import FILTERS, TAG_SPECIFICATIONS, Operation, Request, check_id
from tests.cloud.ec2.times import iso

# Source: aws-facts 1.3; botocore, CreateSnapshots InstanceSpecification.ExcludeDataVolumeIds.
MAX_EXCLUDED = 40
# Source: EC2 API Reference, CreateSnapshot: Description (EBS User Guide: up to 255 characters).
MAX_DESCRIPTION = 255


def handle_create_snapshot(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    _check_description(params)
    wanted = tags.requested(request.operation, params, "snapshot").get("snapshot", {})
    check_id("vol", params.get("VolumeId"))
    volume = backend.get_volume(params["VolumeId"])
    request.end_dry_run()
    check_limits(world, backend, [volume])
    made = SnapshotSet(world, [volume], params.get("Description") or "", reports=False)
    made.start([wanted])
    return _created(made.members[0])


def handle_create_snapshots(world: World, request: Request) -> dict[str, Any]:
    """All or nothing: whatever is refused is refused before the first snapshot is there."""
    params, backend = request.params, request.backend
    _check_description(params)
    wanted = tags.requested(request.operation, params, "snapshot").get("snapshot", {})
    copies = _copies_volume_tags(params)
    volumes = _volumes_of(request)
    together = [{**(_user_tags(volume) if copies else {}), **wanted} for volume in volumes]
    for each in together:
        tags.limit(each)
    request.end_dry_run()
    check_limits(world, backend, volumes)
    made = SnapshotSet(world, volumes, params.get("Description") or "", reports=True)
    made.start(together)
    return {"Snapshots": [_created(member) for member in made.members]}


def _check_description(params: dict[str, Any]) -> None:
    if len(params.get("Description") or "") > MAX_DESCRIPTION:
        raise refusal("InvalidParameterValue", f"Description exceeds {MAX_DESCRIPTION} characters")


def _copies_volume_tags(params: dict[str, Any]) -> bool:
    source = params.get("CopyTagsFromSource")
    if source not in (None, "volume"):
        raise refusal(
            "InvalidParameterValue",
            f"Value ({source}) for parameter copyTagsFromSource is invalid.",
        )
    return source == "volume"


def _user_tags(volume: Any) -> tags.Tags:
    return {k: v for k, v in tags.tags_of(volume).items() if not k.lower().startswith("aws:")}


def _volumes_of(request: Request) -> list[Any]:
    """The volumes of the instance that the call does not leave out.

    Source: EC2 API Reference, CreateSnapshots; hibernation: aws-facts 1.3. The codes for a
    hibernation-enabled instance, a terminated one and a wrong exclusion were not seen on an
    account.
    """
    wanted = request.params.get("InstanceSpecification") or {}
    check_id("i", wanted.get("InstanceId"))
    instance = request.backend.get_instance(wanted["InstanceId"])
    if instance.state in {"terminated", "shutting-down"}:
        raise refusal("IncorrectInstanceState", f"The instance '{instance.id}' is terminated.")
    if instances.hibernates(instance):
        raise refusal(
            "UnsupportedOperation",
            f"Instance '{instance.id}' is enabled for hibernation.",
        )
    excluded = _excluded(wanted, instance)
    if wanted.get("ExcludeBootVolume"):
        excluded.add(_root_volume_id(instance))
    blocks = instance.block_device_mapping.values()
    volumes = [request.backend.volumes[b.volume_id] for b in blocks if b.volume_id not in excluded]
    if not volumes:
        raise refusal("InvalidParameterValue", "No volumes are left to be snapshotted.")
    return volumes


def _root_volume_id(instance: Any) -> str | None:
    root = instance.block_device_mapping.get(instance.root_device_name)
    return str(root.volume_id) if root else None


def _excluded(wanted: dict[str, Any], instance: Any) -> set[str | None]:
    excluded = wanted.get("ExcludeDataVolumeIds") or []
    if len(excluded) > MAX_EXCLUDED:
        raise refusal("InvalidParameterValue", f"More than {MAX_EXCLUDED} volumes are excluded.")
    data_volumes = {b.volume_id for b in instance.block_device_mapping.values()}
    data_volumes.discard(_root_volume_id(instance))
    for volume_id in excluded:
        check_id("vol", volume_id)
        if volume_id not in data_volumes:
            raise refusal(
                "InvalidParameterValue",
                f"The volume '{volume_id}' is not an attached data volume of '{instance.id}'.",
            )
    return set(excluded)


def handle_delete_snapshot(world: World, request: Request) -> dict[str, Any]:
    """A pending one goes when it is over.

    Source: EBS User Guide, "Delete an Amazon EBS snapshot": "Although you can delete a snapshot
    that is still in progress, the snapshot must complete before the deletion takes effect."
    """
    snapshot = request.snapshot()
    _check_unused(world, request.backend, snapshot)
    request.end_dry_run()
    if snapshot.status == "pending":
        snapshot.to_be_deleted = True
    else:
        remove(world, snapshot)
    return {}


def _check_unused(world: World, backend: Any, snapshot: Any) -> None:
    """Source: EBS User Guide, "Delete an Amazon EBS snapshot": images, also disabled ones, and
    locks. The code for a locked one, and which comes first, were not seen on an account."""
    if locks.is_locked(snapshot):
        raise refusal("OperationNotPermitted", f"The snapshot {snapshot.id} is locked.")
    users = images.users_of(world, snapshot)
    if snapshot.from_ami in backend.amis:
        users.append(snapshot.from_ami)
    if users:
        raise refusal(
            "InvalidSnapshot.InUse", f"The snapshot {snapshot.id} is currently in use by {users[0]}"
        )


def handle_describe_snapshots(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DescribeSnapshots: who sees what, OwnerIds, RestorableBy; EC2 User
    Guide, "Tag your Amazon EC2 resources": tags of what is shared are of one account only."""
    params = request.params

    def seen(snapshot: Any) -> tags.Tags:
        found: tags.Tags = request.backend.tags.get(snapshot.id, {})
        return found

    matches = filters.matcher(params.get("Filters") or [], _FIELDS, seen)
    request.end_dry_run()
    request.note_if_broad(world)
    found = [
        snapshot
        for snapshot in _candidates(request)
        if _owned(snapshot, params, request.backend.account_id)
        and _restorable(snapshot, params, request.backend.account_id)
        and matches(snapshot)
    ]
    page, token = paging.page(params, found, lambda snapshot: str(snapshot.id), "SnapshotIds")
    shown = [{**rendered(one), "Tags": tags.listed(seen(one))} for one in page]
    return {"Snapshots": shown, "NextToken": token}


def _candidates(request: Request) -> list[Any]:
    seen = {snapshot.id: snapshot for snapshot in _existing(request.backend)}
    ids = list(dict.fromkeys(request.params.get("SnapshotIds") or []))
    for snapshot_id in ids:
        check_id("snap", snapshot_id)
        if snapshot_id not in seen:
            raise no_snapshot(snapshot_id)
    chosen = [seen[snapshot_id] for snapshot_id in ids] if ids else seen.values()
    # "If you specify a snapshot ID for which you do not have access, it is not included"
    return [snapshot for snapshot in chosen if _may_use(snapshot, request.backend.account_id)]


def _existing(backend: Any) -> Iterator[Any]:
    for regions in list(ec2_backends.values()):
        if backend.region_name in list(regions):
            here = regions[backend.region_name]
            yield from filter(visibility.is_seen, here.snapshots.values())
            yield from visibility.seen_still(here)


def _may_use(snapshot: Any, account: str) -> bool:
    return (
        snapshot.owner_id == account
        or account in snapshot.create_volume_permission_userids
        or "all" in snapshot.create_volume_permission_groups
    )


def _owned(snapshot: Any, params: dict[str, Any], account: str) -> bool:
    owners = params.get("OwnerIds") or []
    return not owners or snapshot.owner_id in {account if o == "self" else o for o in owners}


def _restorable(snapshot: Any, params: dict[str, Any], account: str) -> bool:
    users = {account if u == "self" else u for u in params.get("RestorableByUserIds") or []}
    return not users or any(
        "all" in snapshot.create_volume_permission_groups
        if user == "all"
        else _may_use(snapshot, user)
        for user in users
    )


def _created(snapshot: EbsSnapshot) -> dict[str, Any]:
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
        "State": "pending",
        "Progress": "",
        "StartTime": snapshot.start_time,
        "OwnerId": snapshot.owner_id,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "Tags": tags.rendered(snapshot),
    }


def rendered(snapshot: Any) -> dict[str, Any]:
    """As DescribeSnapshots has it; StateMessage is nowhere else (doc of Snapshot.StateMessage)."""
    known = {
        **_created(snapshot),
        "State": snapshot.status,
        "Progress": snapshot.progress,
        "StorageTier": snapshot.storage_tier,
        "KmsKeyId": snapshot.kms_key_id,
    }
    if isinstance(snapshot, EbsSnapshot | EbsCopy):
        known |= {
            "StateMessage": snapshot.state_message,
            "CompletionTime": snapshot.completed_at if snapshot.status == "completed" else None,
            "FullSnapshotSizeInBytes": snapshot.full_size,
        }
    return known


# Source: EC2 API Reference, DescribeSnapshots, Filters.
_FIELDS: filters.Fields = {
    "description": lambda s: [s.description],
    "encrypted": lambda s: [s.encrypted],
    "owner-alias": lambda _: [],
    "owner-id": lambda s: [s.owner_id],
    "progress": lambda s: [s.progress],
    "snapshot-id": lambda s: [s.id],
    "start-time": lambda s: [iso(s.start_time)],
    "status": lambda s: [s.status],
    "storage-tier": lambda s: [s.storage_tier],
    "transfer-type": lambda s: ["time-based" if vars(s).get("within") else "standard"],
    "volume-id": lambda s: [s.volume_id],
    "volume-size": lambda s: [s.volume_size],
}

OPERATIONS = [
    Operation(
        "CreateSnapshot",
        handle_create_snapshot,
        {
            "VolumeId": None,
            "Description": None,
            "DryRun": None,
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation(
        "CreateSnapshots",
        handle_create_snapshots,
        {
            "InstanceSpecification": {
                "InstanceId": None,
                "ExcludeBootVolume": None,
                "ExcludeDataVolumeIds": None,
            },
            "Description": None,
            "CopyTagsFromSource": None,
            "DryRun": None,
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation("DeleteSnapshot", handle_delete_snapshot, {"SnapshotId": None, "DryRun": None}),
    Operation(
        "DescribeSnapshots",
        handle_describe_snapshots,
        {
            "SnapshotIds": None,
            "OwnerIds": None,
            "RestorableByUserIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
