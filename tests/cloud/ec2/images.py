"""Images: to register, describe, disable and deregister them. They keep snapshots in use, disabled
ones as well.

Source: EC2 API Reference of each call; EC2 User Guide, "Disable an AMI" and "Create an AMI from a
snapshot"; "Error codes" for names and ids.
"""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.utils import random_ami_id

from tests.cloud.ec2 import filters, paging, tags, volumes
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.errors import no_snapshot, refusal
from tests.cloud.ec2.request import FILTERS, TAG_SPECIFICATIONS, Operation, Request

AMAZON = "137112412989"
"""Who owns the images that nobody here registered."""
# Source: EC2 API Reference, RegisterImage, Name.
NAME = re.compile(r"[\w()\[\] ./'@-]{3,128}", re.ASCII)


def users_of(world: World, snapshot: Any) -> list[str]:
    """The ids of the images that keep the snapshot in use."""
    images = world.conditions.images.items()
    return [image_id for image_id, image in images if snapshot.id in image.snapshot_ids]


def registered(backend: Any) -> dict[str, frozenset[str]]:
    """The snapshots of each image that was registered here, by its id."""
    # in the backend, so that it goes with moto's reset
    known: dict[str, frozenset[str]] = vars(backend).setdefault("registered_images", {})
    return known


def usable(world: World, backend: Any, image_id: str) -> Image:
    """What is launched from.

    Raises:
        InvalidAMIID.NotFound: there is none here.
        InvalidAMIID.Unavailable: it is pending or disabled.
    """
    conditions, here = world.conditions, _here(backend)
    image = conditions.image(image_id)
    if image_id in conditions.gone_images or image.home not in (None, here):
        raise refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    if _state(image) != "available":
        raise refusal(
            "InvalidAMIID.Unavailable", f"The image ID '{image_id}' is in state '{_state(image)}'"
        )
    return image


def _here(backend: Any) -> tuple[str, str]:
    return backend.account_id, backend.region_name


def _state(image: Image) -> str:
    if image.disabled:
        return "disabled"
    return "available" if _is_past(image.available_from) else "pending"


def _is_past(instant: datetime | None) -> bool:
    return instant is None or instant <= utcnow()


def handle_register_image(world: World, request: Request) -> dict[str, Any]:
    """Whatever its snapshots were made of, it is a Linux image of no licence: RunInstances.

    Source: EC2 User Guide, "Create an AMI from a snapshot" (no Windows, and no billing code for
    others) and "AMI billing information fields".
    """
    params, backend = request.params, request.backend
    wanted = tags.requested(request.operation, params, "image")
    name = str(params.get("Name") or "")
    if not NAME.fullmatch(name):
        raise refusal("InvalidAMIName.Malformed", f"AMI names must be 3 to 128 characters: {name}")
    for image_id, image in world.conditions.images.items():
        if image.name == name and image.home == _here(backend):
            raise refusal(
                "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image_id}"
            )
    mappings = tuple(params.get("BlockDeviceMappings") or [])
    snapshot_ids = _checked(backend, mappings, params.get("RootDeviceName"))
    request.end_dry_run()
    image_id, now = str(random_ami_id()), utcnow()
    world.conditions.images[image_id] = Image(
        name=name,
        description=params.get("Description"),
        architecture=params.get("Architecture") or "i386",
        root_device_name=params.get("RootDeviceName") or Image().root_device_name,
        virtualization=params.get("VirtualizationType") or "paravirtual",
        ena_support=bool(params.get("EnaSupport")),
        boot_mode=params.get("BootMode") or "",
        tpm_support=params.get("TpmSupport"),
        imds_support=params.get("ImdsSupport"),
        sriov_net_support=params.get("SriovNetSupport"),
        snapshot_ids=snapshot_ids,
        mappings=mappings,
        home=_here(backend),
        created_at=now,
        available_from=now + world.conditions.pace.registering,
        seen_from=now + world.conditions.lag,
    )
    registered(backend)[image_id] = snapshot_ids
    backend.tags[image_id] = dict(wanted.get("image", {}))
    return {"ImageId": image_id}


def _checked(backend: Any, mappings: Any, root: str | None) -> frozenset[str]:
    """The snapshots. The refusal of one without a root is what callers report."""
    snapshot_ids = set()
    for one in mappings:
        ebs = one.get("Ebs") or {}
        if ebs.get("SnapshotId"):
            if ebs["SnapshotId"] not in backend.snapshots:
                raise no_snapshot(ebs["SnapshotId"])
            snapshot_ids.add(ebs["SnapshotId"])
        if "Encrypted" in ebs:
            # Source: EC2 API Reference, EbsBlockDevice, Encrypted
            raise refusal(
                "InvalidBlockDeviceMapping",
                "the encrypted flag cannot be specified since device has a snapshot specified.",
            )
        if ebs:
            volumes.check(backend, ebs, ebs.get("VolumeSize"))
    with_snapshot = {
        one.get("DeviceName") for one in mappings if "SnapshotId" in one.get("Ebs", {})
    }
    if mappings and root and root not in with_snapshot:
        raise refusal("InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.")
    return frozenset(snapshot_ids)


def handle_disable_image(world: World, request: Request) -> dict[str, Any]:
    """Source: EC2 User Guide, "Disable an AMI": its snapshots are in use still."""
    image_id, image = _named(world, request)
    request.end_dry_run()
    world.conditions.images[image_id] = replace(image, disabled=True)
    return {"Return": True}


def handle_deregister_image(world: World, request: Request) -> dict[str, Any]:
    image_id, _ = _named(world, request)
    request.end_dry_run()
    del world.conditions.images[image_id]
    world.conditions.gone_images.add(image_id)
    request.backend.tags.pop(image_id, None)
    return {"Return": True}


def _named(world: World, request: Request) -> tuple[str, Image]:
    image_id = request.params["ImageId"]
    image = world.conditions.images.get(image_id)
    if image is None or image.home not in (None, _here(request.backend)):
        raise refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image_id, image


def handle_describe_images(world: World, request: Request) -> dict[str, Any]:
    """The account's own, and those of AWS by their ids, or a filter of ids: others are not
    modelled.

    Source: EC2 API Reference, DescribeImages: disabled ones are left out without IncludeDisabled.
    """
    params, backend = request.params, request.backend

    def bears(one: tuple[str, Image]) -> tags.Tags:
        found: tags.Tags = backend.tags.get(one[0], {})
        return found

    matches = filters.matcher(params.get("Filters") or [], _FIELDS, bears)
    ids = list(dict.fromkeys(params.get("ImageIds") or []))
    named = [(image_id, _described(world, backend, image_id)) for image_id in ids]
    request.end_dry_run()
    public = [(one, world.conditions.image(one)) for one in _filtered_ids(world, params)]
    owners = set(params.get("Owners") or [])
    found = []
    for image_id, image in named or {**world.conditions.images, **dict(public)}.items():
        mine = _is_own(backend, image)
        wanted = not owners or not owners.isdisjoint(
            {"self", backend.account_id} if mine else {"amazon", AMAZON}
        )
        if (
            wanted
            and (mine or ids or (image.home is None and (image_id, image) in public))
            and _is_past(image.seen_from)
            and (params.get("IncludeDisabled") or not image.disabled)
            and matches((image_id, image))
        ):
            found.append((image_id, image))
    page, token = paging.page(params, found, lambda one: one[0], "ImageIds")
    return {"Images": [_rendered(backend, *one) for one in page], "NextToken": token}


def _filtered_ids(world: World, params: dict[str, Any]) -> list[str]:
    """The ids in a filter, of images that are there."""
    return [
        value
        for given in params.get("Filters") or []
        if given.get("Name") == "image-id"
        for value in given.get("Values") or []
        if value.startswith("ami-") and value not in world.conditions.gone_images
    ]


def _is_own(backend: Any, image: Image) -> bool:
    """Of one that a test declared, its snapshots tell."""
    if image.home is not None:
        return image.home == _here(backend)
    return not image.snapshot_ids.isdisjoint(backend.snapshots)


def _described(world: World, backend: Any, image_id: str) -> Image:
    if not image_id.startswith("ami-"):
        raise refusal("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = world.conditions.image(image_id)
    gone = image_id in world.conditions.gone_images or not _is_past(image.seen_from)
    if gone or image.home not in (None, _here(backend)):
        raise refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image


def _rendered(backend: Any, image_id: str, image: Image) -> dict[str, Any]:
    bears: tags.Tags = backend.tags.get(image_id, {})
    devices = image.mappings or [
        {"DeviceName": f"/dev/sd{chr(ord('a') + n)}", "Ebs": {"SnapshotId": snapshot_id}}
        for n, snapshot_id in enumerate(sorted(image.snapshot_ids))
    ]
    return {
        "ImageId": image_id,
        "Name": image.name,
        "Description": image.description,
        "OwnerId": backend.account_id if _is_own(backend, image) else AMAZON,
        "State": _state(image),
        "Architecture": image.architecture,
        "Platform": image.platform,
        "PlatformDetails": image.platform_details,
        "UsageOperation": image.usage_operation,
        "ProductCodes": [
            {"ProductCodeId": code, "ProductCodeType": "marketplace"}
            for code in image.product_codes
        ],
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": "ebs",
        "VirtualizationType": image.virtualization,
        "EnaSupport": image.ena_support,
        "SriovNetSupport": image.sriov_net_support,
        "BootMode": image.boot_mode or None,
        "TpmSupport": image.tpm_support,
        "ImdsSupport": image.imds_support,
        "CreationDate": None if image.created_at is None else f"{image.created_at:%FT%T.000Z}",
        "BlockDeviceMappings": [_rendered_device(backend, one) for one in devices],
        "Tags": tags.listed(bears),
    }


def _rendered_device(backend: Any, mapping: dict[str, Any]) -> dict[str, Any]:
    ebs = mapping.get("Ebs") or {}
    snapshot = backend.snapshots.get(ebs.get("SnapshotId"))
    if snapshot is None:
        return mapping
    known = {"VolumeSize": snapshot.volume_size, "Encrypted": bool(snapshot.encrypted)}
    return {**mapping, "Ebs": {"DeleteOnTermination": True, "VolumeType": "gp2", **known, **ebs}}


# Source: EC2 API Reference, DescribeImages, Filters: those that Lastgood has use for.
_FIELDS: filters.Fields = {
    "architecture": lambda one: [one[1].architecture],
    "image-id": lambda one: [one[0]],
    "name": lambda one: [one[1].name],
    "root-device-name": lambda one: [one[1].root_device_name],
    "state": lambda one: [_state(one[1])],
    "block-device-mapping.snapshot-id": lambda one: one[1].snapshot_ids,
}

OPERATIONS = [
    Operation(
        "RegisterImage",
        handle_register_image,
        {
            **dict.fromkeys(
                (
                    *("Name", "Description", "Architecture", "RootDeviceName"),
                    *("VirtualizationType", "EnaSupport", "SriovNetSupport", "BootMode"),
                    *("TpmSupport", "ImdsSupport", "DryRun"),
                )
            ),
            "BlockDeviceMappings": {
                "DeviceName": None,
                "Ebs": dict.fromkeys(
                    (
                        *("SnapshotId", "VolumeSize", "VolumeType", "Iops", "Throughput"),
                        *("DeleteOnTermination", "Encrypted"),
                    )
                ),
            },
            "TagSpecifications": TAG_SPECIFICATIONS,
        },
    ),
    Operation("DisableImage", handle_disable_image, {"ImageId": None, "DryRun": None}),
    Operation("DeregisterImage", handle_deregister_image, {"ImageId": None, "DryRun": None}),
    Operation(
        "DescribeImages",
        handle_describe_images,
        {
            "ImageIds": None,
            "Owners": None,
            "IncludeDisabled": None,
            # none is deprecated here
            "IncludeDeprecated": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
