"""DescribeInstances, and what moto's instances lack: hibernation, CPU options, credits, expiry."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceBackend

from tests.cloud.ec2 import filters, paging, tags, visibility
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import FILTERS, Operation, Request, check_id
from tests.cloud.ec2.times import iso

# Source: EC2 API Reference, DescribeInstances: "Recently terminated instances might appear in the
# returned results. This interval is usually less than one hour."
TERMINATED_SHOWN = timedelta(hours=1)

# Source: EC2 User Guide, "Burstable performance instances": T3, T3a and T4g are unlimited.
STANDARD_BY_DEFAULT = {"t1", "t2"}


def install(patches: Patches) -> None:
    patches.set(InstanceBackend, "get_instance", get_instance)
    patches.set(Instance, "terminate", _stamped(Instance.terminate))
    patches.set(Instance, "start", _relaunched(Instance.start))


def _relaunched(moto_start: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """LaunchTime is "the time that the instance was last launched" (EC2 API, Instance): a start
    changes it, which moto leaves out."""

    def start(instance: Any) -> Any:
        before = moto_start(instance)
        instance.launch_time = utcnow()
        return before

    return start


def _stamped(moto_terminate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def terminate(instance: Any) -> Any:
        before = moto_terminate(instance)
        for interface in instance.nics.values():
            # moto leaves those that stay attached to what is gone
            interface.instance = interface.attachment_id = interface.device_index = None
            interface.status = "available"
        vars(instance).setdefault("terminated_at", utcnow())
        return before

    return terminate


def get_instance(backend: Any, instance_id: str) -> Any:
    """In place of moto's, which walks over copies of all reservations for each look-up."""
    by_id: dict[str, Any] = vars(backend).setdefault("instances_by_id", {})
    if instance_id not in by_id:
        by_id.update(
            (instance.id, instance)
            for reservation in backend.reservations.values()
            for instance in reservation.instances
        )
    if instance_id not in by_id or not is_shown(by_id[instance_id]):
        raise InvalidInstanceIdError(instance_id)
    return by_id[instance_id]


def seen(backend: Any, instance_id: str) -> Any:
    """As get_instance has it, for a describe call, which does not see it for the lag."""
    instance = backend.get_instance(instance_id)
    if not visibility.is_seen(instance):
        raise InvalidInstanceIdError(instance_id)
    return instance


def is_shown(instance: Any) -> bool:
    gone = vars(instance).get("terminated_at")
    return gone is None or utcnow() - gone < TERMINATED_SHOWN


def options(instance: Any) -> dict[str, Any]:
    """The launch options that moto drops, as RunInstances was given them."""
    given: dict[str, Any] = vars(instance).setdefault("launch_options", {})
    return given


def image(instance: Any) -> Image:
    launched_from: Image = vars(instance).setdefault("launched_from", Image())
    return launched_from


def hibernates(instance: Any) -> bool:
    return bool((instance.hibernation_options or {}).get("Configured"))


def cpu_options(instance: Any) -> dict[str, Any] | None:
    facts = INSTANCE_TYPES.get(instance.instance_type)
    if facts is None:
        return options(instance).get("CpuOptions")
    defaults = {
        "CoreCount": facts["VCpuInfo"].get("DefaultCores"),
        "ThreadsPerCore": facts["VCpuInfo"].get("DefaultThreadsPerCore"),
    }
    return {**defaults, **options(instance).get("CpuOptions", {})}


def credit_specification(instance: Any) -> dict[str, str] | None:
    """Only T instances have one."""
    family = instance.instance_type.split(".")[0]
    if not family.startswith("t"):
        return None
    usual = "standard" if family in STANDARD_BY_DEFAULT else "unlimited"
    return {"CpuCredits": usual, **options(instance).get("CreditSpecification", {})}


def profile(instance: Any) -> Any:
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    return association.iam_instance_profile if association else None


def security_groups(instance: Any) -> list[dict[str, str]]:
    # moto leaves the instance's own list empty when the launch named no group
    groups = instance.nics[0].group_set if 0 in instance.nics else instance.security_groups
    return _groups(groups)


def _groups(groups: Iterable[Any]) -> list[dict[str, str]]:
    return [{"GroupId": group.id, "GroupName": group.name} for group in groups]


def handle_describe_instances(world: World, request: Request) -> dict[str, Any]:
    """Pages count reservations; a reservation holds only those of its instances that match."""
    params, backend = request.params, request.backend
    ids = set(params.get("InstanceIds") or [])
    for instance_id in ids:
        check_id("i", instance_id)
        seen(backend, instance_id)
    matches = filters.matcher(params.get("Filters") or [], _FIELDS)
    request.end_dry_run()
    request.note_if_broad(world)
    found = []
    for reservation in backend.reservations.values():
        instances = [
            instance
            for instance in reservation.instances
            if (not ids or instance.id in ids)
            and is_shown(instance)
            and visibility.is_seen(instance)
            and matches(instance)
        ]
        if instances:
            found.append((reservation, instances))
    page, token = paging.page(params, found, lambda pair: str(pair[0].id), "InstanceIds")
    reservations = [rendered_reservation(*pair) for pair in page]
    return {"Reservations": reservations, "NextToken": token}


def rendered_reservation(reservation: Any, instances: Iterable[Any]) -> dict[str, Any]:
    return {
        "ReservationId": reservation.id,
        "OwnerId": reservation.owner_id,
        "Groups": [],
        "Instances": [rendered(instance) for instance in instances],
    }


def rendered(instance: Any) -> dict[str, Any]:
    known = _description(instance) | _launch_facts(instance)
    return known if instance.state == "terminated" else known | _attached(instance)


def _description(instance: Any) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "State": {"Code": instance.state_code, "Name": instance.state},
        "StateReason": _state_reason(instance),
        "StateTransitionReason": instance.state_transition_reason or "",
        "KeyName": instance.key_name,
        "AmiLaunchIndex": instance.ami_launch_index,
        "ProductCodes": [
            {"ProductCodeId": code, "ProductCodeType": "marketplace"}
            for code in image(instance).product_codes
        ],
        "InstanceType": instance.instance_type,
        "LaunchTime": instance.launch_time,
        "Placement": _placement(instance),
        "Platform": instance.platform,
        "Monitoring": {"State": instance.monitoring_state},
        "Architecture": instance.architecture,
        "ClientToken": instance.client_token or "",
        "EbsOptimized": bool(instance.ebs_optimized),
        "Hypervisor": instance.hypervisor,
        "InstanceLifecycle": instance.lifecycle,
        "RootDeviceName": instance.root_device_name,
        "RootDeviceType": instance.root_device_type,
        "VirtualizationType": "hvm",
        "Tags": tags.rendered(instance),
    }


def _state_reason(instance: Any) -> dict[str, str] | None:
    reason = instance.state_reason
    return {"Code": reason.code, "Message": reason.message} if reason.code else None


def _placement(instance: Any) -> dict[str, Any]:
    placement = instance.placement
    return {
        "AvailabilityZone": placement.availability_zone,
        "GroupName": placement.group_name,
        "Tenancy": placement.tenancy,
        "HostId": placement.host_id,
        **{
            name: options(instance).get("Placement", {}).get(name)
            for name in ("Affinity", "PartitionNumber", "HostResourceGroupArn")
        },
    }


def _launch_facts(instance: Any) -> dict[str, Any]:
    """What comes from the AMI, the instance type and the launch options."""
    source, given = image(instance), options(instance)
    boot_mode = source.boot_mode
    return {
        "BootMode": boot_mode,
        "CurrentInstanceBootMode": "uefi" if boot_mode == "uefi-preferred" else boot_mode,
        "EnaSupport": source.ena_support,
        "PlatformDetails": source.platform_details,
        "UsageOperation": source.usage_operation,
        "UsageOperationUpdateTime": instance.launch_time,
        "CpuOptions": cpu_options(instance),
        "CapacityReservationSpecification": given.get(
            "CapacityReservationSpecification", {"CapacityReservationPreference": "open"}
        ),
        "Licenses": given.get("LicenseSpecifications"),
        "HibernationOptions": {"Configured": hibernates(instance)},
        "EnclaveOptions": {"Enabled": False, **given.get("EnclaveOptions", {})},
        "MaintenanceOptions": {"AutoRecovery": "default", **given.get("MaintenanceOptions", {})},
        "PrivateDnsNameOptions": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
            **given.get("PrivateDnsNameOptions", {}),
        },
        "MetadataOptions": metadata_options(instance),
    }


def metadata_options(instance: Any) -> dict[str, Any]:
    chosen = instance.metadata_options
    return {
        "State": chosen.state,
        "HttpTokens": chosen.http_tokens,
        "HttpPutResponseHopLimit": chosen.http_put_response_hop_limit,
        "HttpEndpoint": chosen.http_endpoint,
        "HttpProtocolIpv6": chosen.http_protocol_ipv6,
        "InstanceMetadataTags": chosen.instance_metadata_tags,
    }


def _attached(instance: Any) -> dict[str, Any]:
    """What a terminated instance has no longer."""
    role = profile(instance)
    return {
        "BlockDeviceMappings": [
            _block_device(instance, *each) for each in instance.block_device_mapping.items()
        ],
        "IamInstanceProfile": {"Arn": role.arn, "Id": role.id} if role else None,
        "NetworkInterfaces": [
            rendered_interface(interface) for interface in instance.nics.values()
        ],
        "SecurityGroups": security_groups(instance),
        "SourceDestCheck": instance.source_dest_check,
        "SubnetId": instance.subnet_id,
        "VpcId": instance.vpc_id,
        "PrivateIpAddress": instance.private_ip_address,
        "PrivateDnsName": instance.private_dns_name,
        "PublicIpAddress": instance.public_ip_address,
        "PublicDnsName": instance.public_dns_name or "",
    }


def network_card(interface: Any) -> int:
    return int(vars(interface).get("network_card_index", 0))


def rendered_interface(interface: Any) -> dict[str, Any]:
    return {
        "NetworkInterfaceId": interface.id,
        "Attachment": {
            "AttachmentId": interface.attachment_id,
            "AttachTime": interface.attach_time,
            "DeleteOnTermination": bool(interface.delete_on_termination),
            "DeviceIndex": interface.device_index,
            "NetworkCardIndex": network_card(interface),
            "Status": "attached",
        },
        "Description": interface.description,
        "Groups": _groups(interface.group_set),
        "InterfaceType": interface.interface_type,
        "Ipv6Addresses": [{"Ipv6Address": address} for address in interface.ipv6_addresses],
        "MacAddress": interface.mac_address,
        "OwnerId": interface.owner_id,
        "PrivateIpAddress": interface.private_ip_address,
        "PrivateIpAddresses": [
            {
                "Primary": bool(address.get("Primary")),
                "PrivateIpAddress": address["PrivateIpAddress"],
            }
            for address in interface.private_ip_addresses
        ],
        "Association": {"PublicIp": interface.public_ip} if interface.public_ip else None,
        "SourceDestCheck": interface.source_dest_check,
        "Status": "in-use",
        "SubnetId": interface.subnet.id,
        "VpcId": interface.subnet.vpc_id,
    }


def _block_device(instance: Any, device: str, block: Any) -> dict[str, Any]:
    volume = instance.ec2_backend.volumes[block.volume_id]
    return {
        "DeviceName": device,
        "Ebs": {
            "VolumeId": block.volume_id,
            "Status": volume.by_instance[instance.id].status,
            "AttachTime": block.attach_time,
            "DeleteOnTermination": bool(block.delete_on_termination),
        },
    }


def _blocks(instance: Any) -> Iterable[Any]:
    blocks: Iterable[Any] = instance.block_device_mapping.values()
    return blocks


# Source: EC2 API Reference, DescribeInstances, Filters; those on what Lastgood might select by.
_FIELDS: filters.Fields = {
    "architecture": lambda i: [i.architecture],
    "availability-zone": lambda i: [i.availability_zone],
    "block-device-mapping.delete-on-termination": lambda i: [
        bool(b.delete_on_termination) for b in _blocks(i)
    ],
    "block-device-mapping.device-name": lambda i: i.block_device_mapping,
    "block-device-mapping.volume-id": lambda i: [b.volume_id for b in _blocks(i)],
    "client-token": lambda i: [i.client_token],
    "hibernation-options.configured": lambda i: [hibernates(i)],
    "iam-instance-profile.arn": lambda i: [profile(i).arn] if profile(i) else [],
    "image-id": lambda i: [i.image_id],
    "instance-id": lambda i: [i.id],
    "instance-lifecycle": lambda i: [i.lifecycle],
    "instance-state-code": lambda i: [i.state_code],
    "instance-state-name": lambda i: [i.state],
    "instance-type": lambda i: [i.instance_type],
    "instance.group-id": lambda i: [g["GroupId"] for g in security_groups(i)],
    "key-name": lambda i: [i.key_name],
    "launch-time": lambda i: [iso(i.launch_time)],
    "network-interface.network-interface-id": lambda i: [n.id for n in i.network_interfaces],
    "owner-id": lambda i: [i.owner_id],
    "platform": lambda i: [i.platform],
    "private-ip-address": lambda i: [i.private_ip_address],
    "root-device-name": lambda i: [i.root_device_name],
    "root-device-type": lambda i: [i.root_device_type],
    "subnet-id": lambda i: [i.subnet_id],
    "tenancy": lambda i: [i.placement.tenancy],
    "vpc-id": lambda i: [i.vpc_id],
}

OPERATIONS = [
    Operation(
        "DescribeInstances",
        handle_describe_instances,
        {
            "InstanceIds": None,
            "MaxResults": None,
            "NextToken": None,
            "DryRun": None,
            "Filters": FILTERS,
        },
    ),
]
