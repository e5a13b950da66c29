"""Put straight into moto: a large fleet, for tests that count calls and measure, and a network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.block_device import BlockDeviceMapping
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import (
    Instance,
    InstancePlacement,
    InstanceState,
    MetadataOptions,
    Reservation,
    StateReason,
)
from moto.ec2.utils import random_instance_id, random_reservation_id
from moto.iam.models import iam_backends

from tests.cloud.ec2.conditions import Image


class SeededInstance(Instance):
    """A running instance, without the address and image look-ups of a launch."""

    def __init__(self, backend: Any, subnet: Any, address: str) -> None:
        self.id = random_instance_id()
        self.ec2_backend = backend
        self.owner_id = backend.account_id
        self.region_name = backend.region_name
        self.image_id = "ami-0123456789abcdef0"
        self.launched_from = Image()
        self.instance_type = "m6i.large"
        self.architecture = self.launched_from.architecture
        self.root_device_name = self.launched_from.root_device_name
        self.root_device_type = "ebs"
        self.hypervisor = "xen"
        self.platform = self.lifecycle = self.key_name = self.user_data = None
        self.client_token = ""
        self.ami_launch_index = 0
        self.launch_time: datetime = utcnow()
        self.hibernation_options: dict[str, Any] = {}
        self.metadata_options = MetadataOptions()
        self.monitoring_state = "disabled"
        self.ebs_optimized = True
        self.source_dest_check = True
        self.disable_api_termination = self.disable_api_stop = False
        self.instance_initiated_shutdown_behavior = "stop"
        self.security_groups = []
        self.state_reason = StateReason()
        self._state = InstanceState("running", 16)
        self._reason = ""
        self._placement = InstancePlacement(subnet.availability_zone)
        self._subnet_id = subnet.id
        self._private_ips = set()
        self._spot_fleet_id = self._fleet_id = None
        self.block_device_mapping = BlockDeviceMapping()
        self.nics = {}
        # moto leaves methods of CloudFormation abstract that it never calls
        interface = NetworkInterface(backend, subnet, address)  # type: ignore[abstract]
        interface.delete_on_termination = True
        backend.enis[interface.id] = interface
        self.attach_eni(interface, 0)


def seed_fleet(
    region: str,
    instances: int,
    volumes_each: int = 1,
    *,
    size: int = 8,
    tags: Mapping[str, str] | None = None,
    volume_tags: Mapping[str, str] | None = None,
    account: str = DEFAULT_ACCOUNT_ID,
) -> list[str]:
    """Instances with a root volume and ``volumes_each - 1`` data volumes; their ids.

    No call is made and none is recorded. 10,000 instances with two volumes take seconds.
    """
    backend = ec2_backends[account][region]
    subnet = next(iter(subnet for zone in backend.subnets.values() for subnet in zone.values()))
    ids = []
    for number in range(instances):
        address = f"172.16.{number // 250 % 250}.{number % 250 + 4}"
        instance = SeededInstance(backend, subnet, address)  # type: ignore[abstract]
        reservation = Reservation(random_reservation_id(), account)
        reservation.instances.append(instance)
        backend.reservations[reservation.id] = reservation
        backend.tags[instance.id] = dict(tags or {})
        _seed_volumes(instance, volumes_each, size, dict(volume_tags or {}))
        ids.append(instance.id)
    return ids


def _seed_volumes(instance: Any, count: int, size: int, tags: dict[str, str]) -> None:
    backend = instance.ec2_backend
    # known before the first attachment, or each look-up would walk over the whole fleet
    vars(backend).setdefault("instances_by_id", {})[instance.id] = instance
    for number in range(count):
        device = f"/dev/sd{chr(ord('e') + number)}" if number else instance.root_device_name
        volume = backend.create_volume(size, instance.availability_zone, volume_type="gp3")
        backend.tags[volume.id] = dict(tags)
        backend.attach_volume(volume.id, instance.id, device, number == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a launch needs around it. ``subnets``: one in each of the first two zones, of 251 free
    addresses; ``groups``: two of the VPC. ``profile``: the name of the profile of ``role``, whose
    ARN it is."""

    vpc: str
    subnets: tuple[str, str]
    groups: tuple[str, str]
    key: str
    profile: str
    profile_arn: str
    role: str


def seed_network(region: str, *, account: str = DEFAULT_ACCOUNT_ID, name: str = "app") -> Network:
    """A VPC with subnets and security groups, a key pair and an instance profile; no call is made.

    ``name``: of the groups, the key pair, the role and the profile.
    """
    backend, iam = ec2_backends[account][region], iam_backends[account]["aws"]
    vpc = backend.create_vpc("10.20.0.0/16")
    subnets = [
        backend.create_subnet(vpc.id, f"10.20.{number}.0/24", availability_zone=f"{region}{zone}")
        for number, zone in enumerate("ab")
    ]
    groups = [
        backend.create_security_group(f"{name}-{what}", what, vpc_id=vpc.id)
        for what in ("front", "back")
    ]
    backend.create_key_pair(name, "ed25519", {})
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "ec2.amazonaws.com"},
    }
    # IAM is the account's: another Region may have made them
    if name not in iam.instance_profiles:
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(name, document, "/", None, "", [], "3600")
        iam.create_instance_profile(name, "/", [role.name])
    profile = iam.get_instance_profile(name)
    return Network(
        vpc=vpc.id,
        subnets=(subnets[0].id, subnets[1].id),
        groups=(groups[0].id, groups[1].id),
        key=name,
        profile=name,
        profile_arn=profile.arn,
        role=profile.roles[0].arn,
    )
