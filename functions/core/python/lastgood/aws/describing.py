"""EC2's dictionaries become the domain's values here, and nowhere else."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from lastgood.aws.faults import translated
from lastgood.aws.kms import key_problem
from lastgood.domain.manifest import (
    Attachment,
    Instance,
    Interface,
    LaunchAttributes,
    Volume,
)
from lastgood.domain.model import Member, MemberState, Tagged
from lastgood.ports import Page

PAGE = 1000
"""The most that a describe gives at once (EC2 API, "Pagination")."""
MOST_IDS = 1000
"""Ids named in one describe: as many as a page would hold."""
MOST_FILTER_VALUES = 200
"""Of one filter (EC2 User Guide, "Filter your resources")."""
ARCHIVE = "archive"

Dict = Mapping[str, Any]


class Describing:
    """What every adapter of EC2 reads in the same way. ``reads`` tries again by itself."""

    def __init__(self, reads: Any, keys: Callable[[], Any] | None = None) -> None:
        self._reads = reads
        self._keys = keys
        self.region: str = reads.meta.region_name

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        found = [
            one
            for some in chunks(ids, MOST_FILTER_VALUES)
            for page in self._pages("describe_instances", [filter_of("instance-id", some)])
            for one in instances_in(page)
        ]
        return {one.id: one for one in found}

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        found = [
            volume_of(one) for some in chunks(ids, MOST_IDS) for one in self._volumes_of_some(some)
        ]
        return {one.id: one for one in found}

    def _volumes_of_some(self, ids: list[str]) -> Iterator[Dict]:
        """By id, in one call; by filter if one of them is gone, for then EC2 refuses them all."""
        if len(ids) > MOST_FILTER_VALUES:
            # EC2 takes no page size beside ids; if it pages all the same, this goes on.
            pages = self._reads.get_paginator("describe_volumes").paginate(VolumeIds=ids)
            with translated("ec2", f"describe volumes in {self.region}"):
                try:
                    yield from [one for page in pages for one in page["Volumes"]]
                except ClientError as error:
                    if error.response["Error"]["Code"] != "InvalidVolume.NotFound":
                        raise
                else:
                    return
        for some in chunks(ids, MOST_FILTER_VALUES):
            for page in self._pages("describe_volumes", [filter_of("volume-id", some)]):
                yield from page["Volumes"]

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes:
        with translated("ec2", f"read launch attributes of {instance.id}"):
            reply = self._reads.get_launch_template_data(InstanceId=instance.id)
        data = reply["LaunchTemplateData"]
        return LaunchAttributes(
            read_at=at,
            launched_at=instance.launched_at,
            user_data=data.get("UserData"),
            shutdown_behavior=data.get("InstanceInitiatedShutdownBehavior"),
            credit_mode=data.get("CreditSpecification", {}).get("CpuCredits"),
            termination_protection=data.get("DisableApiTermination", False),
            stop_protection=data.get("DisableApiStop", False),
        )

    def key_problem(self, key: str) -> str | None:
        return key_problem(self._keys(), key) if self._keys else None

    def _snapshots(self, *filters: Dict) -> Iterator[Page[Tagged]]:
        for page in self._pages("describe_snapshots", list(filters), OwnerIds=["self"]):
            found = [
                Tagged(member_of(one), tags_of(one), archived=one.get("StorageTier") == ARCHIVE)
                for one in page["Snapshots"]
            ]
            yield Page(found, page.get("NextToken"))

    def _pages(
        self,
        operation: str,
        filters: list[Dict],
        start: str | None = None,
        *,
        size: int | None = PAGE,
        **request: Any,
    ) -> Iterator[Dict]:
        """``size``: None for what is so few that EC2 need not be told how many a page has."""
        if start:
            # Not as a StartingToken: botocore would take it apart, as one of its own.
            request["NextToken"] = start
        pages = self._reads.get_paginator(operation).paginate(
            Filters=filters, PaginationConfig={"PageSize": size}, **request
        )
        with translated("ec2", f"{operation.replace('_', ' ')} in {self.region}"):
            yield from pages


def chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    every = sorted(set(ids))
    for start in range(0, len(every), size):
        yield every[start : start + size]


def filter_of(name: str, values: Sequence[str]) -> Dict:
    return {"Name": name, "Values": list(values)}


def exactly(name: str, values: Sequence[str]) -> Dict:
    """A filter on what people have named: EC2 reads ``*`` and ``?`` in a value as wildcards,
    unless a backslash goes before."""
    return filter_of(name, [re.sub(r"([*?\\])", r"\\\1", value) for value in values])


def tag_filters(tags: Mapping[str, tuple[str, ...]]) -> list[Dict]:
    return [exactly(f"tag:{key}", values) for key, values in tags.items()]


def tag_specifications(tags: Mapping[str, str], *types: str) -> list[Dict]:
    return [{"ResourceType": one, "Tags": tag_list(tags)} for one in types]


def tag_list(tags: Mapping[str, str]) -> list[Dict]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def member_of(snapshot: Dict) -> Member:
    return Member(
        snapshot=snapshot["SnapshotId"],
        volume=snapshot["VolumeId"],
        size_gib=snapshot["VolumeSize"],
        encrypted=snapshot["Encrypted"],
        started_at=snapshot["StartTime"],
        state=_MEMBER_STATES.get(snapshot["State"], MemberState.PENDING),
        cause=snapshot.get("StateMessage") or None,
    )


_MEMBER_STATES = {"completed": MemberState.COMPLETED, "error": MemberState.ERROR}


def tags_of(resource: Dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def volume_of(volume: Dict) -> Volume:
    return Volume(
        id=volume["VolumeId"],
        type=volume["VolumeType"],
        size_gib=volume["Size"],
        state=volume["State"],
        zone=volume["AvailabilityZone"],
        encrypted=volume["Encrypted"],
        iops=volume.get("Iops"),
        throughput=volume.get("Throughput"),
        kms_key=volume.get("KmsKeyId"),
        multi_attach=volume.get("MultiAttachEnabled", False),
        attachments=tuple(
            Attachment(
                instance=one["InstanceId"],
                device=one["Device"],
                delete_on_termination=one.get("DeleteOnTermination", False),
            )
            for one in volume.get("Attachments", [])
            if "InstanceId" in one
        ),
        tags=tags_of(volume),
    )


def instances_in(page: Dict) -> list[Instance]:
    return [
        _instance(one) for reservation in page["Reservations"] for one in reservation["Instances"]
    ]


def _instance(instance: Dict) -> Instance:
    return Instance(
        id=instance["InstanceId"],
        state=instance["State"]["Name"],
        type=instance["InstanceType"],
        image=instance["ImageId"],
        architecture=instance.get("Architecture", ""),
        launched_at=instance["LaunchTime"],
        zone=instance["Placement"]["AvailabilityZone"],
        root_device=instance.get("RootDeviceName"),
        hibernation=instance.get("HibernationOptions", {}).get("Configured", False),
        volumes={
            one["DeviceName"]: one["Ebs"]["VolumeId"]
            for one in instance.get("BlockDeviceMappings", [])
            if "Ebs" in one
        },
        tags=tags_of(instance),
        vpc=instance.get("VpcId"),
        subnet=instance.get("SubnetId"),
        groups=_groups(instance.get("SecurityGroups", [])),
        interfaces=tuple(_interface(one) for one in instance.get("NetworkInterfaces", [])),
        instance_profile=instance.get("IamInstanceProfile", {}).get("Arn"),
        key_name=instance.get("KeyName"),
        boot_mode=instance.get("BootMode"),
        virtualization=instance.get("VirtualizationType"),
        ena=instance.get("EnaSupport"),
        sriov=instance.get("SriovNetSupport"),
        platform=instance.get("PlatformDetails"),
        usage_operation=instance.get("UsageOperation"),
        lifecycle=instance.get("InstanceLifecycle"),
        tpm=instance.get("TpmSupport"),
        monitoring=instance.get("Monitoring", {}).get("State"),
        ebs_optimized=instance.get("EbsOptimized", False),
        placement=_options(instance["Placement"], without=("AvailabilityZone",)),
        cpu_options=_options(instance.get("CpuOptions", {})),
        metadata_options=_options(instance.get("MetadataOptions", {}), without=("State",)),
        private_dns_options=_options(instance.get("PrivateDnsNameOptions", {})),
        maintenance_options=_options(instance.get("MaintenanceOptions", {})),
        enclave=instance.get("EnclaveOptions", {}).get("Enabled", False),
        licenses=tuple(one["LicenseConfigurationArn"] for one in instance.get("Licenses", [])),
        capacity_reservation=instance.get("CapacityReservationId"),
    )


def _options(options: Dict, without: Sequence[str] = ()) -> dict[str, str | int | bool]:
    return {
        key: value
        for key, value in options.items()
        if key not in without and isinstance(value, str | int | bool)
    }


def _groups(groups: Iterable[Dict]) -> tuple[str, ...]:
    return tuple(group["GroupId"] for group in groups)


def _interface(interface: Dict) -> Interface:
    attachment = interface.get("Attachment", {})
    addresses = sorted(
        interface.get("PrivateIpAddresses", []), key=lambda one: not one.get("Primary", False)
    )
    return Interface(
        id=interface["NetworkInterfaceId"],
        device_index=attachment.get("DeviceIndex", 0),
        network_card=attachment.get("NetworkCardIndex", 0),
        subnet=interface.get("SubnetId", ""),
        groups=_groups(interface.get("Groups", [])),
        private_ips=tuple(one["PrivateIpAddress"] for one in addresses),
        ipv6=tuple(one["Ipv6Address"] for one in interface.get("Ipv6Addresses", [])),
        description=interface.get("Description", ""),
        type=interface.get("InterfaceType", "interface"),
        source_dest_check=interface.get("SourceDestCheck", True),
        delete_on_termination=attachment.get("DeleteOnTermination", True),
        public_ip=interface.get("Association", {}).get("PublicIp"),
    )
