"""EBS volumes: to create, attach, detach, describe and delete them, and Multi-Attach."""

from functools import partial
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import InvalidVolumeIdError
from moto.ec2.models.block_device import BlockDeviceType
from moto.ec2.models.elastic_block_store import EBSBackend, Volume, VolumeAttachment
from moto.ec2.models.instances import Instance
from moto.ec2.utils import random_volume_id

from tests.cloud.ec2 import filters, master_keys, paging, tags, tokens, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.lifecycle import ARCHIVE
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import FILTERS, TAG_SPECIFICATIONS, Operation, Request, check_id
from tests.cloud.ec2.times import iso

# Source: EC2 API Reference, CreateVolume: Iops, Throughput, MultiAttachEnabled.
PROVISIONED = {"io1", "io2"}
GP3_IOPS = 3000
GP3_THROUGHPUT = 125
GP2_IOPS_RANGE = (100, 16_000)
GP2_IOPS_PER_GIB = 3
MULTI_ATTACH_INSTANCES = 16


class EbsVolume(Volume):
    """moto's volume knows one attachment; with Multi-Attach there are several.

    ``phase``: creating, or error, in which it is of no use.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.by_instance: dict[str, VolumeAttachment] = {}
        self.phase: str | None = None
        super().__init__(*args, **kwargs)

    @property
    def status(self) -> str:
        return self.phase or super().status

    @property
    def attachment(self) -> VolumeAttachment | None:
        return next(iter(self.by_instance.values()), None)

    @attachment.setter
    def attachment(self, value: VolumeAttachment | None) -> None:
        if value is not None:
            raise TypeError("attach through the backend")
        self.by_instance.clear()

    @property
    def attachments(self) -> list[VolumeAttachment]:
        return list(self.by_instance.values())


def install(patches: Patches) -> None:
    patches.set(EBSBackend, "create_volume", create_volume)
    patches.set(EBSBackend, "attach_volume", attach_volume)
    patches.set(EBSBackend, "detach_volume", detach_volume)
    patches.set(EBSBackend, "delete_volume", _delete_volume(EBSBackend.delete_volume))
    patches.set(Instance, "teardown_defaults", release_volumes)


def _delete_volume(moto_delete: Any) -> Any:
    def delete_volume(backend: Any, volume_id: str) -> Any:
        volume = moto_delete(backend, volume_id)
        backend.tags.pop(volume_id, None)
        return volume

    return delete_volume


def create_volume(
    backend: Any,
    size: int | None,
    zone_name: str,
    snapshot_id: str | None = None,
    encrypted: bool = False,
    kms_key_id: str | None = None,
    volume_type: str | None = None,
    iops: int | None = None,
    throughput: int | None = None,
    multi_attach_enabled: bool | None = None,
) -> EbsVolume:
    """In place of moto's, under its signature, since instances and images call it too."""
    kind = volume_type or "gp2"
    size, is_encrypted, key = check(
        backend,
        {
            "VolumeType": kind,
            "Iops": iops,
            "Throughput": throughput,
            "MultiAttachEnabled": multi_attach_enabled,
            "SnapshotId": snapshot_id,
            "Encrypted": encrypted,
            "KmsKeyId": kms_key_id,
        },
        size,
    )
    volume = EbsVolume(  # type: ignore[abstract]  # moto leaves what it never calls abstract
        backend,
        volume_id=random_volume_id(),
        size=size,
        zone=backend.get_zone_by_name(zone_name),
        snapshot_id=snapshot_id,
        encrypted=is_encrypted,
        kms_key_id=key,
        volume_type=kind,
        iops=iops or (GP3_IOPS if kind == "gp3" else None),
        throughput=throughput or (GP3_THROUGHPUT if kind == "gp3" else None),
        multi_attach_enabled=bool(multi_attach_enabled),
    )
    backend.volumes[volume.id] = volume
    return volume


def check(backend: Any, wanted: dict[str, Any], size: int | None) -> tuple[int, bool, str | None]:
    """Its size, whether it is encrypted and under which key, of a volume that can be made.

    ``wanted`` has the names of CreateVolume. Raises what AWS answers to one that cannot be.
    """
    check_performance(
        wanted.get("VolumeType") or "gp2",
        wanted.get("Iops"),
        wanted.get("Throughput"),
        bool(wanted.get("MultiAttachEnabled")),
    )
    snapshot_id = wanted.get("SnapshotId")
    snapshot = usable_snapshot(backend, snapshot_id) if snapshot_id else None
    return (
        checked_size(size, snapshot),
        *encryption(backend, bool(wanted.get("Encrypted")), wanted.get("KmsKeyId"), snapshot),
    )


def check_performance(
    kind: str, iops: int | None, throughput: int | None, multi_attach: bool
) -> None:
    """Raises what AWS answers to performance that the volume type does not have."""
    if kind in PROVISIONED and not iops:
        raise refusal("MissingParameter", f"The parameter iops must be specified for {kind}.")
    if iops and kind not in PROVISIONED | {"gp3"}:
        raise refusal(
            "InvalidParameterCombination",
            f"The parameter iops is not supported for {kind} volumes.",
        )
    if throughput and kind != "gp3":
        raise refusal(
            "InvalidParameterCombination",
            f"The parameter throughput is not supported for {kind} volumes.",
        )
    if multi_attach and kind not in PROVISIONED:
        raise refusal(
            "InvalidParameterCombination",
            f"Multi-Attach is not supported for {kind} volumes.",
        )


def usable_snapshot(backend: Any, snapshot_id: str) -> Any:
    """Raises IncorrectState for one that is not complete (EBS User Guide, "Create a volume"), or
    archived (EBS User Guide, "Archive Amazon EBS snapshots"; that code was not seen)."""
    snapshot = backend.get_snapshot(snapshot_id)
    if snapshot.status != "completed":
        raise refusal("IncorrectState", f"Snapshot is in invalid state - {snapshot.status}")
    if snapshot.storage_tier == ARCHIVE:
        raise refusal("IncorrectState", f"Snapshot '{snapshot_id}' is archived")
    return snapshot


def checked_size(size: int | None, snapshot: Any) -> int:
    """Raises InvalidParameterValue for less than the snapshot has (doc of CreateVolume Size)."""
    smallest = snapshot.volume_size if snapshot else None
    asked = size or smallest
    if asked is None:
        raise refusal("MissingParameter", "The request must contain the parameter size/snapshot")
    if smallest and asked < smallest:
        raise refusal(
            "InvalidParameterValue",
            f"Volume of size {asked}GB is smaller than snapshot '{snapshot.id}', "
            f"expect size >= {smallest}GB",
        )
    return int(asked)


def encryption(
    backend: Any, encrypted: bool, kms_key_id: str | None, snapshot: Any
) -> tuple[bool, str | None]:
    """Whether the volume is encrypted, and the ARN of its key.

    Source: EBS User Guide, "How Amazon EBS encryption works": from an encrypted snapshot the
    volume is encrypted, under the snapshot's key unless another is named; the account's default
    applies to all others.
    """
    from_encrypted = bool(snapshot and snapshot.encrypted)
    if kms_key_id and not (encrypted or from_encrypted):
        raise refusal(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        )
    if not (encrypted or from_encrypted or backend.ebs_encryption_by_default):
        return False, None
    inherited = snapshot.kms_key_id if from_encrypted else None
    return True, _key_arn(backend, kms_key_id) if kms_key_id else inherited or default_key(backend)


def default_key(backend: Any) -> str:
    """The ARN of the key that EBS takes if none is named."""
    return str(backend.default_kms_key_id or backend._create_default_encryption_key())


def _key_arn(backend: Any, key: str) -> str:
    """Any name will do. Source: EC2 API Reference, CreateVolume, KmsKeyId: "if you specify an ID,
    alias, or ARN that is not valid, the action can appear to complete, but eventually fails"."""
    return master_keys.found(key, backend.account_id, backend.region_name)[0]


def attach_volume(
    backend: Any,
    volume_id: str,
    instance_id: str,
    device_path: str,
    delete_on_termination: bool = False,
) -> VolumeAttachment:
    """In place of moto's, which attaches anything anywhere.

    Source: EC2 API Reference, AttachVolume, and "Error codes"; the text for a device in use from
    thenickdude/snap-to-s3#9. Which refusal comes first when several apply was not seen.
    """
    volume, instance = backend.get_volume(volume_id), backend.get_instance(instance_id)
    if instance.state not in {"running", "stopped"}:
        raise refusal("IncorrectState", f"Instance '{instance_id}' is not 'running'.")
    if volume.phase:
        raise refusal("IncorrectState", f"{volume_id} is not 'available'.")
    if volume.availability_zone != instance.availability_zone:
        raise refusal(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume_id}' is not in the same availability zone "
            f"as instance '{instance_id}'",
        )
    _check_attachable(volume, instance_id)
    if device_path in instance.block_device_mapping:
        raise refusal(
            "InvalidParameterValue",
            f"Invalid value '{device_path}' for unixDevice. "
            f"Attachment point {device_path} is already in use",
        )
    attachment = VolumeAttachment(  # type: ignore[abstract]
        volume, instance, device_path, "attached"
    )
    volume.by_instance[instance_id] = attachment
    instance.block_device_mapping[device_path] = BlockDeviceType(
        volume_id=volume_id,
        status=volume.status,
        size=volume.size,
        attach_time=utcnow(),
        delete_on_termination=delete_on_termination,
    )
    if device_path == instance.root_device_name:
        root_volumes(instance).append(volume_id)
    return attachment


def root_volumes(instance: Any) -> list[str]:
    """Those that are or were the instance's root volume, in their order."""
    known: list[str] = vars(instance).setdefault("root_volumes", [])
    return known


def _check_attachable(volume: EbsVolume, instance_id: str) -> None:
    if not volume.by_instance:
        return
    if not volume.multi_attach_enabled or instance_id in volume.by_instance:
        raise refusal("VolumeInUse", f"{volume.id} is already attached to an instance")
    if len(volume.by_instance) >= MULTI_ATTACH_INSTANCES:
        raise refusal("AttachmentLimitExceeded", f"{volume.id} has {MULTI_ATTACH_INSTANCES}")


def detach_volume(
    backend: Any, volume_id: str, instance_id: str | None, device_path: str | None
) -> VolumeAttachment:
    """In place of moto's, which fails without an instance id (optional on AWS, unless there
    are several attachments: doc of DetachVolume InstanceId)."""
    attachment = _attachment_of(backend, volume_id, instance_id, device_path)
    del attachment.volume.by_instance[attachment.instance.id]  # type: ignore[attr-defined]
    attachment.instance.block_device_mapping.pop(attachment.device)
    attachment.status = "detached"
    return attachment


def _attachment_of(
    backend: Any, volume_id: str, instance_id: str | None, device_path: str | None
) -> VolumeAttachment:
    volume = backend.get_volume(volume_id)
    if instance_id is None and len(volume.by_instance) == 1:
        instance_id = next(iter(volume.by_instance))
    attachment: VolumeAttachment | None = volume.by_instance.get(instance_id)
    if attachment is None or (device_path and device_path != attachment.device):
        raise refusal("IncorrectState", f"Volume '{volume_id}' is not attached to '{instance_id}'.")
    return attachment


def release_volumes(instance: Any) -> None:
    """At termination: detach all, delete those that are to go and that nobody else holds."""
    backend = instance.ec2_backend
    for device, block in list(instance.block_device_mapping.items()):
        backend.detach_volume(block.volume_id, instance.id, device)
        if block.delete_on_termination and not backend.volumes[block.volume_id].by_instance:
            backend.delete_volume(block.volume_id)


def handle_create_volume(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    wanted_tags = tags.requested(request.operation, params, "volume").get("volume", {})
    zone = params.get("AvailabilityZone")
    if not zone:
        raise refusal("MissingParameter", "The request must contain the parameter zone")
    if backend.get_zone_by_name(zone) is None:
        raise refusal("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")

    def create() -> dict[str, Any]:
        check(backend, params, params.get("Size"))
        request.end_dry_run()
        volume = create_volume(
            backend,
            size=params.get("Size"),
            zone_name=zone,
            snapshot_id=params.get("SnapshotId"),
            encrypted=bool(params.get("Encrypted")),
            kms_key_id=params.get("KmsKeyId"),
            volume_type=params.get("VolumeType"),
            iops=params.get("Iops"),
            throughput=params.get("Throughput"),
            multi_attach_enabled=params.get("MultiAttachEnabled"),
        )
        volume.add_tags(wanted_tags)
        visibility.delay(world, volume)
        failed = master_keys.obstacle(volume) is not None
        volume.phase = "creating"
        world.after(world.conditions.pace.creating, partial(_created, volume, failed=failed))
        return rendered(volume) | {"State": "creating"}

    return tokens.once(backend, request.operation, params, create)


def _created(volume: EbsVolume, *, failed: bool) -> None:
    """Source: EC2 API Reference, CreateVolume, KmsKeyId: a key that cannot be used fails it late;
    EBS User Guide, volume states: "error"."""
    volume.phase = "error" if failed else None


def handle_attach_volume(world: World, request: Request) -> dict[str, Any]:
    params = request.params
    check_id("vol", params.get("VolumeId"))
    check_id("i", params.get("InstanceId"))
    if not params.get("Device"):
        raise refusal("MissingParameter", "The request must contain the parameter device")
    request.end_dry_run()
    attachment = request.backend.attach_volume(
        params["VolumeId"], params["InstanceId"], params["Device"]
    )
    attachment.status = "attaching"
    world.after(world.conditions.pace.attaching, partial(_attached, attachment))
    return {**_attachment(attachment), "State": "attaching"}


def _attached(attachment: VolumeAttachment) -> None:
    if attachment.status == "attaching":
        attachment.status = "attached"


def handle_detach_volume(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DetachVolume, and EC2 User Guide: a root volume only of an
    instance that is stopped. Force is for a guest that holds on, which none does here."""
    params, backend = request.params, request.backend
    check_id("vol", params.get("VolumeId"))
    attachment = _attachment_of(
        backend, params["VolumeId"], params.get("InstanceId"), params.get("Device")
    )
    instance = attachment.instance
    if attachment.device == instance.root_device_name and instance.state != "stopped":
        raise refusal(
            "OperationNotPermitted",
            f"Unable to detach root volume '{params['VolumeId']}' from instance '{instance.id}'",
        )
    if attachment.status == "detaching":
        raise refusal("IncorrectState", f"Volume '{params['VolumeId']}' is detaching.")
    request.end_dry_run()
    attachment.status = "detaching"
    world.after(world.conditions.pace.detaching, partial(_detached, attachment))
    return {
        "VolumeId": attachment.volume.id,
        "InstanceId": attachment.instance.id,
        "Device": attachment.device,
        "AttachTime": attachment.attach_time,
        "State": "detaching",
    }


def _detached(attachment: VolumeAttachment) -> None:
    volume, instance = attachment.volume, attachment.instance
    # the end of the instance may have come first
    if volume.attachments and attachment in volume.attachments:  # type: ignore[attr-defined]
        instance.ec2_backend.detach_volume(volume.id, instance.id, attachment.device)


def handle_delete_volume(_: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DeleteVolume: "available" or, EBS User Guide, "error"."""
    volume_id = request.params.get("VolumeId")
    check_id("vol", volume_id)
    volume = request.backend.get_volume(volume_id)
    if volume.by_instance:
        holder = next(iter(volume.by_instance))
        raise refusal("VolumeInUse", f"Volume {volume_id} is currently attached to {holder}")
    if volume.status == "creating":
        raise refusal("IncorrectState", f"The volume '{volume_id}' is 'creating'")
    request.end_dry_run()
    request.backend.delete_volume(volume_id)
    return {}


def handle_describe_volumes(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 API Reference, DescribeVolumes; an unknown id fails the whole call."""
    params, backend = request.params, request.backend
    ids = list(dict.fromkeys(params.get("VolumeIds") or []))
    for volume_id in ids:
        check_id("vol", volume_id)
        if volume_id not in backend.volumes or not visibility.is_seen(backend.volumes[volume_id]):
            raise InvalidVolumeIdError(volume_id)
    matches = filters.matcher(params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    request.note_if_broad(world)
    volumes = [backend.volumes[volume_id] for volume_id in ids] or backend.volumes.values()
    found = (volume for volume in volumes if visibility.is_seen(volume) and matches(volume))
    page, token = paging.page(params, found, lambda volume: str(volume.id), "VolumeIds")
    return {"Volumes": [rendered(volume) for volume in page], "NextToken": token}


def _iops(volume: Volume) -> int | None:
    if volume.volume_type != "gp2":
        return volume.iops
    least, most = GP2_IOPS_RANGE
    return max(least, min(most, volume.size * GP2_IOPS_PER_GIB))


def _deletes_on_termination(attachment: VolumeAttachment) -> bool:
    # read from the instance: ModifyInstanceAttribute changes it there
    return bool(attachment.instance.block_device_mapping[attachment.device].delete_on_termination)


def _attachment(attachment: VolumeAttachment) -> dict[str, Any]:
    return {
        "VolumeId": attachment.volume.id,
        "InstanceId": attachment.instance.id,
        "Device": attachment.device,
        "State": attachment.status,
        "AttachTime": attachment.attach_time,
        "DeleteOnTermination": _deletes_on_termination(attachment),
    }


def rendered(volume: Volume) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "Size": volume.size,
        "SnapshotId": volume.snapshot_id or "",
        "AvailabilityZone": volume.availability_zone,
        "AvailabilityZoneId": volume.zone.zone_id if volume.zone else None,
        "State": volume.status,
        "CreateTime": volume.create_time,
        "Attachments": [_attachment(attachment) for attachment in volume.attachments],
        "Encrypted": volume.encrypted,
        "KmsKeyId": volume.kms_key_id,
        "Iops": _iops(volume),
        "Throughput": volume.throughput,
        "VolumeType": volume.volume_type,
        "MultiAttachEnabled": bool(volume.multi_attach_enabled),
        "Tags": tags.rendered(volume),
    }


# Source: EC2 API Reference, DescribeVolumes, Filters.
_FIELDS: filters.Fields = {
    "attachment.attach-time": lambda v: [iso(a.attach_time) for a in v.attachments],
    "attachment.delete-on-termination": lambda v: map(_deletes_on_termination, v.attachments),
    "attachment.device": lambda v: [a.device for a in v.attachments],
    "attachment.instance-id": lambda v: v.by_instance,
    "attachment.status": lambda v: [a.status for a in v.attachments],
    "availability-zone": lambda v: [v.availability_zone],
    "availability-zone-id": lambda v: [v.zone.zone_id] if v.zone else [],
    "create-time": lambda v: [iso(v.create_time)],
    "encrypted": lambda v: [v.encrypted],
    "fast-restored": lambda _: [False],
    "multi-attach-enabled": lambda v: [bool(v.multi_attach_enabled)],
    "operator.managed": lambda _: [False],
    "operator.principal": lambda _: [],
    "size": lambda v: [v.size],
    "snapshot-id": lambda v: [v.snapshot_id],
    "status": lambda v: [v.status],
    "volume-id": lambda v: [v.id],
    "volume-type": lambda v: [v.volume_type],
}

OPERATIONS = [
    Operation(
        "CreateVolume",
        handle_create_volume,
        {
            "AvailabilityZone": None,
            "Size": None,
            "SnapshotId": None,
            "Encrypted": None,
            "KmsKeyId": None,
            "VolumeType": None,
            "Iops": None,
            "Throughput": None,
            "MultiAttachEnabled": None,
            "ClientToken": None,
            "DryRun": None,
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation(
        "AttachVolume",
        handle_attach_volume,
        {"VolumeId": None, "InstanceId": None, "Device": None, "DryRun": None},
    ),
    Operation(
        "DetachVolume",
        handle_detach_volume,
        {"VolumeId": None, "InstanceId": None, "Device": None, "Force": None, "DryRun": None},
    ),
    Operation("DeleteVolume", handle_delete_volume, {"VolumeId": None, "DryRun": None}),
    Operation(
        "DescribeVolumes",
        handle_describe_volumes,
        {
            "VolumeIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
