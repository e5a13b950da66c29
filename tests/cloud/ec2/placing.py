"""Where a launch may go: its type, zone, subnet, groups, addresses, key pair and place.

Source: EC2 API Reference, RunInstances, and "Error codes"; the texts are those that callers report.
Which refusal comes first when several apply was not seen on an account.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from moto.ec2.exceptions import InvalidNetworkInterfaceIdError, InvalidSecurityGroupNotFoundError
from moto.ec2.models.instance_types import INSTANCE_TYPES

from tests.cloud.ec2 import machines, network, offerings
from tests.cloud.ec2.conditions import Image, World
from tests.cloud.ec2.errors import NotModelled, refusal
from tests.cloud.ec2.request import Request

USUAL_TYPE = "m1.small"
COUNTED = {"pending", "running"}


def check(world: World, request: Request, source: Image, count: int) -> None:
    """Raises what AWS answers to a launch that cannot be, be it a dry run or not."""
    params, backend = request.params, request.backend
    interfaces = params.get("NetworkInterfaces") or []
    if interfaces and any(
        params.get(name) for name in ("SubnetId", "SecurityGroupIds", "SecurityGroups")
    ):
        raise refusal(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID or security groups may not be "
            "specified on the same request",
        )
    asked = interfaces or [{"SubnetId": params.get("SubnetId"), **_of_the_call(params)}]
    subnets = {
        one["SubnetId"]: backend.get_subnet(one["SubnetId"]) for one in asked if one.get("SubnetId")
    }
    zone = zone_of(request)
    kind = params.get("InstanceType") or USUAL_TYPE
    _check_type(world, backend, kind, zone, source)
    _check_interfaces(backend, kind, interfaces)
    for one in asked:
        _check_groups(backend, one, subnets.get(one.get("SubnetId", "")))
    _check_addresses(backend, asked, subnets, count)
    _check_key(backend, params.get("KeyName"))
    _check_group(backend, params)
    _check_limits(world, backend, kind, count)


def zone_of(request: Request) -> str:
    """Of the first interface's subnet, or as asked for, or the first of the Region."""
    params, backend = request.params, request.backend
    for one in params.get("NetworkInterfaces") or [params]:
        if one.get("SubnetId"):
            return str(backend.get_subnet(one["SubnetId"]).availability_zone)
        if one.get("NetworkInterfaceId"):
            return str(_existing(backend, one["NetworkInterfaceId"]).subnet.availability_zone)
    placement = params.get("Placement") or {}
    return str(placement.get("AvailabilityZone") or f"{backend.region_name}a")


def _of_the_call(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "Groups": params.get("SecurityGroupIds") or [],
        "PrivateIpAddress": params.get("PrivateIpAddress"),
    }


def _check_type(world: World, backend: Any, kind: str, zone: str, source: Image) -> None:
    facts = INSTANCE_TYPES.get(kind)
    if facts is None:
        raise refusal("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    if not offerings.is_offered(world, kind, backend.region_name, zone):
        raise refusal(
            "Unsupported",
            f"Your requested instance type ({kind}) is not supported in your requested "
            f"Availability Zone ({zone}).",
        )
    if source.home is None:
        # nobody said what a public image is made for
        return
    architectures = facts["ProcessorInfo"]["SupportedArchitectures"]
    if source.architecture not in architectures:
        raise refusal(
            "InvalidParameterValue",
            f"The architecture '{','.join(architectures)}' of the specified instance type does "
            f"not match the architecture '{source.architecture}' of the specified AMI.",
        )
    if source.virtualization not in facts["SupportedVirtualizationTypes"]:
        raise refusal(
            "InvalidParameterCombination",
            f"Non-Windows instances with a virtualization type of '{source.virtualization}' are "
            "currently not supported for this instance type.",
        )
    if facts["NetworkInfo"]["EnaSupport"] == "required" and not source.ena_support:
        raise refusal(
            "InvalidParameterCombination",
            "Enhanced networking with the Elastic Network Adapter (ENA) is required for the "
            f"'{kind}' instance type. Ensure that you are using an AMI that is enabled for ENA.",
        )
    if source.boot_mode in {"uefi", "legacy-bios"} - set(facts.get("SupportedBootModes") or []):
        # the code was not seen on an account
        raise refusal(
            "InvalidParameterCombination", f"'{kind}' does not support {source.boot_mode}"
        )


def _check_interfaces(backend: Any, kind: str, interfaces: list[dict[str, Any]]) -> None:
    network = INSTANCE_TYPES[kind]["NetworkInfo"]
    if len(interfaces) > network["MaximumNetworkInterfaces"]:
        raise refusal(
            "AttachmentLimitExceeded",
            f"Interface count {len(interfaces)} exceeds the limit for {kind}",
        )
    cards = network.get("MaximumNetworkCards", 1)
    for one in interfaces:
        if one.get("NetworkCardIndex", 0) >= cards:
            raise refusal(
                "InvalidParameterValue", f"{kind} has no network card {one['NetworkCardIndex']}"
            )
        if one.get("NetworkInterfaceId"):
            held = _existing(backend, one["NetworkInterfaceId"])
            if held.instance is not None:
                raise refusal("InvalidNetworkInterface.InUse", f"Interface: [{held.id}] in use.")
    indexes = [one.get("DeviceIndex") for one in interfaces]
    if cards > 1 and len(set(indexes)) < len(indexes):
        raise NotModelled("RunInstances", "the same device index on two network cards")
    devices = {(one.get("NetworkCardIndex", 0), one.get("DeviceIndex")) for one in interfaces}
    if len(devices) < len(interfaces):
        raise refusal(
            "InvalidParameterValue", "Each network interface requires a unique device index."
        )


def _existing(backend: Any, interface_id: str) -> Any:
    if interface_id not in backend.enis:
        raise InvalidNetworkInterfaceIdError(interface_id)
    return backend.enis[interface_id]


def _check_groups(backend: Any, asked: dict[str, Any], subnet: Any) -> None:
    for group_id in asked.get("Groups") or []:
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(group_id)
        vpc = subnet.vpc_id if subnet else backend.get_default_vpc().id
        if group.vpc_id != vpc:
            raise refusal(
                "InvalidParameter",
                f"Security group {group_id} and subnet {subnet.id if subnet else vpc} belong to "
                "different networks.",
            )


def asked_addresses(asked: dict[str, Any]) -> list[str]:
    given = [one["PrivateIpAddress"] for one in asked.get("PrivateIpAddresses") or []]
    single = asked.get("PrivateIpAddress")
    return given if single is None or single in given else [single, *given]


def _check_addresses(
    backend: Any, asked: list[dict[str, Any]], subnets: dict[str, Any], count: int
) -> None:
    wanted: dict[str, int] = {}
    for one in asked:
        if one.get("NetworkInterfaceId"):
            continue
        addresses = asked_addresses(one)
        if addresses and count > 1:
            raise refusal(
                "InvalidParameterCombination",
                "Specifying private IP addresses is not allowed for more than one instance.",
            )
        if not one.get("SubnetId"):
            continue
        subnet = subnets[one["SubnetId"]]
        _check_inside(subnet, addresses)
        if one.get("Ipv6AddressCount") and not subnet.ipv6_cidr_block_associations:
            # the code was not seen on an account
            raise refusal("InvalidParameterValue", f"{subnet.id} has no IPv6 CIDR block")
        each = max(1, len(addresses)) + one.get("SecondaryPrivateIpAddressCount", 0)
        wanted[subnet.id] = wanted.get(subnet.id, 0) + count * each
    for subnet_id, number in wanted.items():
        if network.free_addresses(subnets[subnet_id]) < number:
            raise refusal(
                "InsufficientFreeAddressesInSubnet",
                f"There are not enough free addresses in subnet '{subnet_id}' to satisfy the "
                "requested number of instances.",
            )


def _check_inside(subnet: Any, addresses: Iterable[str]) -> None:
    taken = network.addresses_in(subnet)
    for address in addresses:
        number = ipaddress.ip_address(address)
        if number not in subnet.cidr:
            raise refusal(
                "InvalidParameterValue",
                f"Address {address} does not fall within the subnet's address range",
            )
        if network.is_reserved(subnet, number):
            raise refusal(
                "InvalidParameterValue", f"Address {address} is in subnet's reserved address range"
            )
        if address in taken:
            raise refusal("InvalidIPAddress.InUse", f"Address {address} is in use.")


def _check_key(backend: Any, name: str | None) -> None:
    if name and name not in backend.key_pairs:
        raise refusal("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def _check_group(backend: Any, params: dict[str, Any]) -> None:
    placement = params.get("Placement") or {}
    host = placement.get("HostId")
    if host and host not in backend.hosts:
        raise refusal("InvalidHostID.NotFound", f"The dedicated host ID '{host}' does not exist")
    if placement.get("Tenancy", "default") not in {"default", "dedicated", "host"}:
        raise refusal("InvalidParameterValue", f"Invalid tenancy {placement['Tenancy']}")


def _check_limits(world: World, backend: Any, kind: str, count: int) -> None:
    conditions = world.conditions
    if conditions.instances is None and conditions.vcpus is None:
        return
    running = [
        instance
        for reservation in backend.reservations.values()
        for instance in reservation.instances
        if instance.state in COUNTED
    ]
    if conditions.instances is not None and len(running) + count > conditions.instances:
        raise refusal(
            "InstanceLimitExceeded",
            f"Your quota allows for {conditions.instances} more running instance(s).",
        )
    used = sum(vcpus(instance.instance_type) for instance in running)
    if conditions.vcpus is not None and used + count * vcpus(kind) > conditions.vcpus:
        raise refusal(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of "
            f"{conditions.vcpus} allows for the instance bucket that the specified instance type "
            "belongs to.",
        )


def vcpus(kind: str) -> int:
    facts = INSTANCE_TYPES.get(kind)
    return int(facts["VCpuInfo"]["DefaultVCpus"]) if facts else 0


def check_capacity(world: World, request: Request) -> None:
    machines.check_capacity(
        world, request.params.get("InstanceType") or USUAL_TYPE, zone_of(request)
    )
