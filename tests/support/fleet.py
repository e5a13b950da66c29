"""Instances and volumes for stories, launched through the EC2 API with what a fleet really has."""

from typing import Any

TAGS = {"backup": "daily"}


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tagged(kind: str, tags: dict[str, str]) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": tag_list(tags)}


def disk(device: str, size: int = 8, **ebs: Any) -> dict[str, Any]:
    facts = {"VolumeSize": size, "VolumeType": "gp3", "DeleteOnTermination": True}
    return {"DeviceName": device, "Ebs": facts | ebs}


def launch(
    ec2: Any,
    name: str,
    *disks: dict[str, Any],
    tags: dict[str, str] | None = None,
    root: dict[str, Any] | None = None,
    **request: Any,
) -> str:
    """One instance with a root volume and ``disks``; its id. ``root``: of the root volume."""
    wanted = {"Name": name} | (TAGS if tags is None else tags)
    reply = ec2.run_instances(
        ImageId=request.pop("ImageId", "ami-0123456789abcdef0"),
        InstanceType=request.pop("InstanceType", "m6i.large"),
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[disk("/dev/xvda", **root or {}), *disks],
        TagSpecifications=[tagged("instance", wanted)],
        **request,
    )
    return str(reply["Instances"][0]["InstanceId"])


def volumes_of(ec2: Any, instance: str) -> dict[str, str]:
    """Volume ids by device."""
    reply = ec2.describe_instances(InstanceIds=[instance])
    mappings = reply["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
    return {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in mappings}


def tag(ec2: Any, resource: str, **tags: str) -> None:
    ec2.create_tags(Resources=[resource], Tags=tag_list(tags))


def volume(ec2: Any, zone: str, tags: dict[str, str] | None = None, **facts: Any) -> str:
    request = {"AvailabilityZone": zone, "Size": 8, "VolumeType": "gp3"} | facts
    reply = ec2.create_volume(**request, TagSpecifications=[tagged("volume", tags or TAGS)])
    return str(reply["VolumeId"])


def own_snapshots(ec2: Any) -> list[dict[str, Any]]:
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    return [one for page in pages for one in page["Snapshots"]]
