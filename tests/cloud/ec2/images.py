"""Images that are made of snapshots, and so keep them in use; disabled ones as well."""

from dataclasses import replace
from typing import Any

from moto.ec2.utils import random_ami_id

from tests.cloud.ec2 import filters, paging
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.errors import no_snapshot, refusal
from tests.cloud.ec2.request import FILTERS, Operation, Request


def users_of(world: World, snapshot: Any) -> list[str]:
    """The ids of the images that keep the snapshot in use."""
    images = world.conditions.images.items()
    return [image_id for image_id, image in images if snapshot.id in image.snapshot_ids]


def handle_register_image(world: World, request: Request) -> dict[str, Any]:
    devices = request.params.get("BlockDeviceMappings") or []
    snapshot_ids = frozenset(one["Ebs"]["SnapshotId"] for one in devices)
    for snapshot_id in snapshot_ids - request.backend.snapshots.keys():
        raise no_snapshot(snapshot_id)
    request.end_dry_run()
    image_id = str(random_ami_id())
    world.conditions.images[image_id] = Image(snapshot_ids=snapshot_ids)
    return {"ImageId": image_id}


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
    return {"Return": True}


def _named(world: World, request: Request) -> tuple[str, Image]:
    image_id = request.params["ImageId"]
    if image_id not in world.conditions.images:
        raise refusal("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image_id, world.conditions.images[image_id]


def handle_describe_images(world: World, request: Request) -> dict[str, Any]:
    """The account's own, made of snapshots of this Region; public ones are not modelled.

    Source: EC2 API Reference, DescribeImages: disabled ones are left out without IncludeDisabled.
    """
    params, backend = request.params, request.backend
    matches = filters.matcher(params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    owners = params.get("Owners") or ["self"]
    mine = not {"self", backend.account_id}.isdisjoint(owners)
    found = [
        (image_id, image)
        for image_id, image in world.conditions.images.items()
        if mine
        and not image.snapshot_ids.isdisjoint(backend.snapshots)
        and (params.get("IncludeDisabled") or not image.disabled)
        and matches((image_id, image))
    ]
    # ImageIds are not modelled, and so not refused beside MaxResults
    page, token = paging.page(params, found, lambda one: one[0], "ImageIds")
    images = [_rendered(image_id, image, backend.account_id) for image_id, image in page]
    return {"Images": images, "NextToken": token}


def _rendered(image_id: str, image: Image, owner: str) -> dict[str, Any]:
    return {
        "ImageId": image_id,
        "OwnerId": owner,
        "State": "disabled" if image.disabled else "available",
        "BlockDeviceMappings": [
            {"DeviceName": f"/dev/sd{chr(ord('a') + n)}", "Ebs": {"SnapshotId": snapshot_id}}
            for n, snapshot_id in enumerate(sorted(image.snapshot_ids))
        ],
    }


# Source: EC2 API Reference, DescribeImages, Filters: those that Lastgood has use for.
_FIELDS: filters.Fields = {
    "image-id": lambda one: [one[0]],
    "state": lambda one: ["disabled" if one[1].disabled else "available"],
    "block-device-mapping.snapshot-id": lambda one: one[1].snapshot_ids,
}

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
        {
            "Owners": None,
            "IncludeDisabled": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
