"""Subnets, security groups and network interfaces: which addresses are taken, and by what.

Source: EC2 API Reference, DescribeSubnets, DescribeSecurityGroups, DescribeNetworkInterfaces and
DeleteNetworkInterface.
"""

import ipaddress
from typing import Any

from moto.ec2.exceptions import InvalidNetworkInterfaceIdError, InvalidSecurityGroupNotFoundError
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.subnets import Subnet

from tests.cloud.ec2 import filters, instances, paging, tags, visibility
from tests.cloud.ec2.conditions import World
from tests.cloud.ec2.errors import refusal
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.request import FILTERS, Operation, Request

# Source: VPC User Guide, "Subnet CIDR blocks": the first four addresses and the last are reserved.
RESERVED_AT_THE_START = 4


def install(patches: Patches) -> None:
    """moto gives out addresses that others hold, and random ones to further interfaces."""
    patches.set(Subnet, "get_available_subnet_ip", lambda subnet, instance: lowest_free(subnet))
    patches.set(Subnet, "request_ip", lambda subnet, ip, instance: None)
    patches.set(
        NetworkInterfaceBackend,
        "create_network_interface",
        _addressed(NetworkInterfaceBackend.create_network_interface),
    )


def _addressed(moto_create: Any) -> Any:
    def create_network_interface(
        backend: Any,
        subnet: Any,
        private_ip_address: Any,
        private_ip_addresses: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if not private_ip_address and not private_ip_addresses:
            held = backend.get_subnet(subnet) if isinstance(subnet, str) else subnet
            private_ip_address = lowest_free(held)
        return moto_create(
            backend, subnet, private_ip_address, private_ip_addresses, *args, **kwargs
        )

    return create_network_interface


def addresses_in(subnet: Any) -> set[str]:
    """Those that interfaces of any kind hold."""
    return {
        address["PrivateIpAddress"]
        for interface in subnet.ec2_backend.enis.values()
        if interface.subnet.id == subnet.id
        for address in interface.private_ip_addresses
    }


def free_addresses(subnet: Any) -> int:
    return int(subnet.cidr.num_addresses) - RESERVED_AT_THE_START - 1 - len(addresses_in(subnet))


def is_reserved(subnet: Any, address: Any) -> bool:
    first = int(subnet.cidr.network_address)
    return bool(
        int(address) - first < RESERVED_AT_THE_START or address == subnet.cidr.broadcast_address
    )


def lowest_free(subnet: Any) -> str:
    taken = addresses_in(subnet)
    first, last = int(subnet.cidr.network_address), int(subnet.cidr.broadcast_address)
    for number in range(first + RESERVED_AT_THE_START, last):
        if (address := str(ipaddress.ip_address(number))) not in taken:
            return address
    raise refusal(
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{subnet.id}'.",
    )


def handle_describe_subnets(_: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    ids = list(dict.fromkeys(params.get("SubnetIds") or []))
    known = [subnet for zone in backend.subnets.values() for subnet in zone.values()]
    chosen = [backend.get_subnet(subnet_id) for subnet_id in ids] or known
    matches = filters.matcher(params.get("Filters") or [], _SUBNET_FIELDS)
    request.end_dry_run()
    found = [subnet for subnet in chosen if matches(subnet)]
    page, token = paging.page(params, found, lambda subnet: str(subnet.id), "SubnetIds")
    return {"Subnets": [_rendered_subnet(subnet) for subnet in page], "NextToken": token}


def _rendered_subnet(subnet: Any) -> dict[str, Any]:
    return {
        "SubnetId": subnet.id,
        "SubnetArn": subnet.arn,
        "VpcId": subnet.vpc_id,
        "OwnerId": subnet.owner_id,
        "State": subnet.state,
        "CidrBlock": subnet.cidr_block,
        "AvailableIpAddressCount": free_addresses(subnet),
        "AvailabilityZone": subnet.availability_zone,
        "AvailabilityZoneId": subnet.availability_zone_id,
        "DefaultForAz": str(subnet.default_for_az).lower() == "true",
        "MapPublicIpOnLaunch": str(subnet.map_public_ip_on_launch).lower() == "true",
        "AssignIpv6AddressOnCreation": bool(subnet.assign_ipv6_address_on_creation),
        "Ipv6CidrBlockAssociationSet": [],
        "Tags": tags.rendered(subnet),
    }


_SUBNET_FIELDS: filters.Fields = {
    "availability-zone": lambda s: [s.availability_zone],
    "availability-zone-id": lambda s: [s.availability_zone_id],
    "available-ip-address-count": lambda s: [free_addresses(s)],
    "cidr-block": lambda s: [s.cidr_block],
    "default-for-az": lambda s: [str(s.default_for_az).lower()],
    "owner-id": lambda s: [s.owner_id],
    "state": lambda s: [s.state],
    "subnet-id": lambda s: [s.id],
    "vpc-id": lambda s: [s.vpc_id],
}


def handle_describe_security_groups(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    known = {group.id: group for groups in backend.groups.values() for group in groups.values()}
    ids = list(dict.fromkeys(params.get("GroupIds") or []))
    for group_id in ids:
        if group_id not in known:
            raise InvalidSecurityGroupNotFoundError(group_id)
    matches = filters.matcher(params.get("Filters") or [], _GROUP_FIELDS)
    request.end_dry_run()
    request.note_if_broad(world)
    chosen = [known[group_id] for group_id in ids] or known.values()
    found = [group for group in chosen if matches(group)]
    page, token = paging.page(params, found, lambda group: str(group.id), "GroupIds")
    return {"SecurityGroups": [_rendered_group(group) for group in page], "NextToken": token}


def _rendered_group(group: Any) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.owner_id,
        "VpcId": group.vpc_id,
        "IpPermissions": [_rendered_rule(rule) for rule in group.ip_permissions],
        "IpPermissionsEgress": [_rendered_rule(rule) for rule in group.ip_permissions_egress],
        "Tags": tags.rendered(group),
    }


def _rendered_rule(rule: Any) -> dict[str, Any]:
    return {
        "IpProtocol": rule.ip_protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "IpRanges": rule.ip_ranges,
        "Ipv6Ranges": rule.ipv6_ranges,
        "PrefixListIds": rule.prefix_list_ids,
        "UserIdGroupPairs": rule.user_id_group_pairs,
    }


# Source: EC2 API Reference, DescribeSecurityGroups, Filters: those that Lastgood has use for.
_GROUP_FIELDS: filters.Fields = {
    "description": lambda g: [g.description],
    "group-id": lambda g: [g.id],
    "group-name": lambda g: [g.name],
    "owner-id": lambda g: [g.owner_id],
    "vpc-id": lambda g: [g.vpc_id],
}


def handle_describe_network_interfaces(world: World, request: Request) -> dict[str, Any]:
    params, backend = request.params, request.backend
    ids = list(dict.fromkeys(params.get("NetworkInterfaceIds") or []))
    for interface_id in ids:
        if interface_id not in backend.enis or not visibility.is_seen(backend.enis[interface_id]):
            raise InvalidNetworkInterfaceIdError(interface_id)
    matches = filters.matcher(params.get("Filters") or [], _INTERFACE_FIELDS)
    request.end_dry_run()
    request.note_if_broad(world)
    chosen = [backend.enis[interface_id] for interface_id in ids] or backend.enis.values()
    found = [one for one in chosen if visibility.is_seen(one) and matches(one)]
    page, token = paging.page(params, found, lambda one: str(one.id), "NetworkInterfaceIds")
    return {"NetworkInterfaces": [_rendered_interface(one) for one in page], "NextToken": token}


def _rendered_interface(interface: Any) -> dict[str, Any]:
    known = instances.rendered_interface(interface)
    attachment = None
    if interface.instance is not None:
        attachment = {**known["Attachment"], "InstanceId": interface.instance.id}
    return {
        **known,
        "Attachment": attachment,
        "AvailabilityZone": interface.subnet.availability_zone,
        "RequesterManaged": False,
        "Status": interface.status,
        "TagSet": tags.rendered(interface) or [],
    }


def _addresses(interface: Any) -> list[str]:
    return [one["PrivateIpAddress"] for one in interface.private_ip_addresses]


# Source: EC2 API Reference, DescribeNetworkInterfaces, Filters: those Lastgood has use for.
_INTERFACE_FIELDS: filters.Fields = {
    "addresses.private-ip-address": _addresses,
    "attachment.device-index": lambda n: [n.device_index] if n.instance else [],
    "attachment.instance-id": lambda n: [n.instance.id] if n.instance else [],
    "availability-zone": lambda n: [n.subnet.availability_zone],
    "description": lambda n: [n.description],
    "group-id": lambda n: [group.id for group in n.group_set],
    "network-interface-id": lambda n: [n.id],
    "owner-id": lambda n: [n.owner_id],
    "private-ip-address": lambda n: [n.private_ip_address],
    "status": lambda n: [n.status],
    "subnet-id": lambda n: [n.subnet.id],
    "vpc-id": lambda n: [n.subnet.vpc_id],
}


def handle_delete_network_interface(_: World, request: Request) -> dict[str, Any]:
    """The refusal of one that is attached is what callers report."""
    interface_id = request.params.get("NetworkInterfaceId")
    if interface_id not in request.backend.enis:
        raise InvalidNetworkInterfaceIdError(interface_id)
    interface = request.backend.enis[interface_id]
    if interface.instance is not None:
        raise refusal(
            "InvalidParameterValue", f"Network interface '{interface_id}' is currently in use."
        )
    request.end_dry_run()
    interface.delete()
    request.backend.tags.pop(interface_id, None)
    return {}


_PAGED = {"MaxResults": None, "NextToken": None, "DryRun": None, "Filters": FILTERS}

OPERATIONS = [
    Operation(
        "DescribeSecurityGroups", handle_describe_security_groups, {"GroupIds": None, **_PAGED}
    ),
    Operation("DescribeSubnets", handle_describe_subnets, {"SubnetIds": None, **_PAGED}),
    Operation(
        "DescribeNetworkInterfaces",
        handle_describe_network_interfaces,
        {"NetworkInterfaceIds": None, **_PAGED},
    ),
    Operation(
        "DeleteNetworkInterface",
        handle_delete_network_interface,
        {"NetworkInterfaceId": None, "DryRun": None},
    ),
]
