"""``docs/restore-refusals.md``: requests for restores that cannot work, and what people are told.

``python -m tests.support.refusal_table --write`` writes the page anew. Each row is proved in
tests/scenarios/test_refusals.py: its request goes to the handler, in the world that ``a_stage``
sets up.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/restore-refusals.md"

if __name__ == "__main__":
    # Under pytest the settings in pyproject.toml do this.
    sys.path[:0] = [str(ROOT / "functions/core/python"), str(ROOT / "functions")]

from moto.ec2.models import ec2_backends  # noqa: E402
from moto.iam.models import iam_backends  # noqa: E402

from lastgood.domain.manifest import Manifest  # noqa: E402
from lastgood.domain.model import PointStatus, Source  # noqa: E402
from lastgood.domain.names import point_id  # noqa: E402
from lastgood.domain.policy import ResourceKind, Select  # noqa: E402
from tests.cloud.ec2 import Image, Outcome  # noqa: E402
from tests.cloud.ec2.seed import Network, seed_network  # noqa: E402
from tests.cloud.faults import aws_error  # noqa: E402
from tests.support.builders import T0, a_member, a_point, a_volume, an_instance  # noqa: E402
from tests.support.world import (  # noqa: E402
    ACCOUNT,
    HOME,
    VAULT,
    World,
    a_policy,
    a_world,
)

ABROAD = "eu-central-1"
IMAGE = "ami-0123456789abcdef0"
WINDOWS = "ami-0a11a11a11a11a11a"
ISOLATED = "lastgood-isolated"


@dataclass
class Stage:
    """``named``: the ids of what is there, by the names that rows have for them."""

    world: World
    net: Network
    abroad: Network
    named: dict[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> Any:
        return ec2_backends[ACCOUNT][HOME]

    def launch(self, name: str, *, backup: str = "daily", **facts: Any) -> str:
        """It is known by its Name, without the number, from now on."""
        tags = {"Name": name, "backup": backup}
        wanted: dict[str, Any] = {
            "ImageId": IMAGE,
            "InstanceType": "m6i.large",
            "MinCount": 1,
            "MaxCount": 1,
            "KeyName": self.net.key,
            "IamInstanceProfile": {"Name": self.net.profile},
            "NetworkInterfaces": [
                {"DeviceIndex": 0, "SubnetId": self.net.subnets[0], "Groups": [self.net.groups[0]]}
            ],
            "TagSpecifications": [
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        }
        (made,) = self.world.ec2.run_instances(**wanted | facts)["Instances"]
        self.named[name.split("-")[0]] = made["InstanceId"]
        return str(made["InstanceId"])

    def volume_of(self, instance: str, device: str = "/dev/xvda") -> str:
        found = self.world.ec2.describe_instances(InstanceIds=[instance])
        (one,) = found["Reservations"][0]["Instances"]
        return next(
            str(mapping["Ebs"]["VolumeId"])
            for mapping in one["BlockDeviceMappings"]
            if mapping["DeviceName"] == device
        )


DATA = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}


@contextmanager
def a_stage() -> Iterator[Stage]:
    """Sources of every kind with a point each, and what makes trouble."""
    with a_world() as world:
        stage = Stage(world, seed_network(HOME), seed_network(ABROAD, name="there"))
        _sources(stage)
        world.deploy(a_policy(), _of_volumes())
        world.run()
        world.plan("data-daily")
        world.advance(timedelta(hours=1))
        _names(stage)
        _aftermath(stage)
        yield stage


def _of_volumes() -> Any:
    select = Select(resource=ResourceKind.VOLUME, tags={"backup": ("volume",)})
    return a_policy(name="data-daily", select=select)


def _sources(stage: Stage) -> None:
    world = stage.world
    web = stage.launch("web-1", BlockDeviceMappings=[DATA])
    stage.named |= {"root": stage.volume_of(web), "data": stage.volume_of(web, "/dev/sdf")}
    key = world.client("kms").create_key()["KeyMetadata"]["Arn"]
    secret = {**DATA["Ebs"], "Encrypted": True, "KmsKeyId": key}  # type: ignore[dict-item]
    stage.launch("vault-1", BlockDeviceMappings=[{**DATA, "Ebs": secret}])
    stage.named["key"] = key
    world.cloud.ec2.images[WINDOWS] = Image(
        platform="windows", usage_operation="RunInstances:0002", root_device_name="/dev/sda1"
    )
    stage.launch("win-1", ImageId=WINDOWS)
    stage.named["twin_a"], stage.named["twin_b"] = stage.launch("twin"), stage.launch("twin")
    stage.launch("spot-1", BlockDeviceMappings=[DATA])
    stage.backend.get_instance(stage.named["spot"]).lifecycle = "spot"
    stage.launch("fleet-1", BlockDeviceMappings=[DATA])
    stage.backend.tags[stage.named["fleet"]]["aws:autoscaling:groupName"] = "web-fleet"
    stage.launch("safe-1", BlockDeviceMappings=[DATA])
    stage.launch("busy-1", BlockDeviceMappings=[DATA])
    stage.launch("gone-1")
    stage.launch("bare-1", backup="no")
    failing = stage.volume_of(stage.launch("broken-1"))
    world.cloud.ec2.outcomes[failing] = Outcome(error="lost")
    shared = world.ec2.create_volume(
        AvailabilityZone=f"{HOME}a", Size=8, VolumeType="io2", Iops=100, MultiAttachEnabled=True
    )["VolumeId"]
    stage.launch("shared-1")
    stage.named["both"] = shared
    world.ec2.attach_volume(VolumeId=shared, InstanceId=stage.named["shared"], Device="/dev/sdf")
    lone = world.ec2.create_volume(
        AvailabilityZone=f"{HOME}a",
        Size=8,
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": [{"Key": "backup", "Value": "volume"}]}
        ],
    )["VolumeId"]
    stage.named["lone"] = lone


def _names(stage: Stage) -> None:
    net, abroad = stage.net, stage.abroad
    alien = seed_network(HOME, name="alien")
    points = {one.source.id: one.id for one in stage.world.points()}
    stage.named |= {
        "web_subnet": net.subnets[0],
        "other_subnet": net.subnets[1],
        "web_vpc": net.vpc,
        "web_group": net.groups[0],
        "profile": net.profile_arn,
        "alien_group": alien.groups[0],
        "alien_vpc": alien.vpc,
        "far_subnet": abroad.subnets[0],
        "far_group": abroad.groups[0],
        "far_vpc": abroad.vpc,
        "web_eni": next(
            one.id for one in stage.backend.enis.values() if one.private_ip_address == "10.20.0.4"
        ),
        "safe_data": stage.volume_of(stage.named["safe"], "/dev/sdf"),
        "broken_volume": stage.volume_of(stage.named["broken"]),
        "broken_snapshot": next(
            one.members[0].snapshot
            for one in stage.world.points()
            if one.source.id == stage.named["broken"]
        ),
        "web_point": points[stage.named["web"]],
        "win_point": points[stage.named["win"]],
        "broken_point": points[stage.named["broken"]],
        "twin_a": min(stage.named["twin_a"], stage.named["twin_b"]),
        "twin_b": max(stage.named["twin_a"], stage.named["twin_b"]),
    }


def _aftermath(stage: Stage) -> None:
    """What has happened since the points were taken."""
    world = stage.world
    world.ec2.terminate_instances(InstanceIds=[stage.named["gone"]])
    world.ec2.modify_instance_attribute(
        InstanceId=stage.named["safe"], DisableApiStop={"Value": True}
    )
    other = Source(id="i-0f0f0f0f0f0f0f0f0", region=HOME, account=VAULT)
    lost = Source(id="i-0e0e0e0e0e0e0e0e0", region=HOME, account=ACCOUNT)
    manifest = Manifest(captured_at=T0, volumes=(a_volume(),), instance=an_instance(other.id))
    for source, known in ((other, manifest), (lost, None)):
        world.ledger.rebuild(
            a_point(
                id=point_id("web-daily", T0, source.id),
                source=source,
                status=PointStatus.AVAILABLE,
                manifest=known,
                members=(a_member(device=None),),
            )
        )
    stage.named |= {"other": other.id, "lost": lost.id}
    stage.named["lost_point"] = point_id("web-daily", T0, lost.id)
    started = world.invoke(
        "clone_instance",
        {"source": "busy-1", "mode": "in_place", "stop": "true", "request_id": "deploy-17"},
    )
    stage.named["busy_restore"] = started["restore"]


# -- what is wrong with the world, for as long as a request is made -----------------------------

Wrong = Callable[[Stage], AbstractContextManager[Any]]


def _right(_: Stage) -> AbstractContextManager[Any]:
    return nullcontext()


@contextmanager
def _without(place: Any, key: Any) -> Iterator[None]:
    taken = place.pop(key)
    try:
        yield
    finally:
        place[key] = taken


def no_subnet(stage: Stage) -> AbstractContextManager[Any]:
    return _without(stage.backend.subnets[f"{HOME}a"], stage.named["web_subnet"])


def no_key_pair(stage: Stage) -> AbstractContextManager[Any]:
    return _without(stage.backend.key_pairs, stage.net.key)


def no_profile(stage: Stage) -> AbstractContextManager[Any]:
    return _without(iam_backends[ACCOUNT]["aws"].instance_profiles, stage.net.profile)


@contextmanager
def disabled_key(stage: Stage) -> Iterator[None]:
    kms, key = stage.world.client("kms"), stage.named["key"].rpartition("/")[2]
    kms.disable_key(KeyId=key)
    yield
    kms.enable_key(KeyId=key)


@contextmanager
def no_image(stage: Stage) -> Iterator[None]:
    stage.world.cloud.ec2.gone_images.add(WINDOWS)
    yield
    stage.world.cloud.ec2.gone_images.clear()


@contextmanager
def not_offered(stage: Stage) -> Iterator[None]:
    stage.world.cloud.ec2.not_offered.add(("m6i.xlarge", f"{HOME}a"))
    yield
    stage.world.cloud.ec2.not_offered.clear()


@contextmanager
def small_subnet(stage: Stage) -> Iterator[None]:
    made = stage.backend.create_subnet(stage.net.vpc, "10.20.99.0/28", availability_zone=f"{HOME}a")
    stage.named["small"] = made.id
    yield
    stage.backend.subnets[f"{HOME}a"].pop(made.id)


@contextmanager
def no_quota(stage: Stage) -> Iterator[None]:
    stage.world.cloud.ec2.instances = 1
    yield
    stage.world.cloud.ec2.instances = None


@contextmanager
def no_right(stage: Stage) -> Iterator[None]:
    stage.world.cloud.faults.spoil(
        "ec2.RunInstances",
        aws_error(
            "UnauthorizedOperation", "You are not authorized to perform this operation.", 403
        ),
        by="clone_instance",
    )
    yield


@contextmanager
def a_group_with_rules(stage: Stage) -> Iterator[None]:
    made = stage.backend.create_security_group(ISOLATED, "for drills", vpc_id=stage.net.vpc)
    stage.named["isolated"] = made.id
    yield
    stage.backend.delete_security_group(group_id=made.id)


@contextmanager
def a_closed_region(stage: Stage) -> Iterator[None]:
    stage.world.cloud.ec2.closed_regions.add("ap-east-1")
    yield
    stage.world.cloud.ec2.closed_regions.clear()


# -- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """``{name}`` in a request or a problem stands for an id of the stage."""

    about: str
    asked: Mapping[str, Any]
    problems: tuple[str, ...]
    wrong: Wrong = _right

    def request(self, named: Mapping[str, str]) -> dict[str, Any]:
        return {
            key: value.format(**named) if isinstance(value, str) else value
            for key, value in self.asked.items()
        }

    def told(self, named: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(one.format(**named) for one in self.problems)


def row(about: str, *problems: str, wrong: Wrong = _right, **asked: Any) -> Row:
    return Row(about, {"source": "web-1", **asked}, problems, wrong)


ROWS = (
    row(
        "no such source",
        "source: nothing with the id or Name 'web-9' has a recovery point; see that it is "
        "written so, and that a policy selects it",
        source="web-9",
    ),
    row(
        "no such instance",
        "source: nothing with the id or Name 'i-0123456789abcdef0' has a recovery point; see "
        "that it is written so, and that a policy selects it",
        source="i-0123456789abcdef0",
    ),
    row(
        "several sources of one Name",
        "source: 2 have the Name 'twin': {twin_a} (newest point 2026-03-01T02:00:00Z), "
        "{twin_b} (newest point 2026-03-01T02:00:00Z); give the id of one",
        source="twin",
    ),
    row(
        "a source that no policy takes",
        "point: the source has no recovery point on record; see that a policy selects it",
        source="bare-1",
    ),
    row(
        "a source of another account",
        "source: {other} is in account 210987654321; restores are made in 123456789012 only",
        source="{other}",
    ),
    row(
        "a source that may not be restored by who asks",
        "source: you may not do that with {web}: your permissions are for sources tagged team=db",
        allowed_sources=[{"team": ["db"]}],
    ),
    row(
        "no point is available",
        "point: none is available ({broken_point} is failed: {broken_snapshot} of "
        "{broken_volume}: lost); none of its points is available",
        source="broken-1",
    ),
    row(
        "a point that failed",
        "point: {broken_point} is failed: {broken_snapshot} of {broken_volume}: lost; none of "
        "its points is available",
        source="broken-1",
        point="{broken_point}",
    ),
    row(
        "a point of another source",
        "point: {win_point} is not of this source; available are {web_point} "
        "(2026-03-01T02:00:00Z)",
        point="{win_point}",
    ),
    row(
        "a date without points",
        "point: none that is available of 2026-02-14 (UTC); available are {web_point} "
        "(2026-03-01T02:00:00Z)",
        point="2026-02-14",
    ),
    row(
        "a time before the first point",
        "point: none that is available until 2026-03-01T02:00:00+01:00; available are {web_point} "
        "(2026-03-01T02:00:00Z)",
        point="before 2026-03-01T02:00+01:00",
    ),
    row(
        "a point that is not understood",
        "point: 'yesterday evening' is not understood; write latest, a point's id (pt-...), a "
        "date (2026-11-20), or before 2026-11-20T09:00+01:00",
        point="yesterday evening",
    ),
    row(
        "a longer time to live than the policy allows",
        "time_to_live: 90d is more than its policy allows, 30d",
        time_to_live="90d",
    ),
    row(
        "a request id that was used for another request",
        "request_id: deploy-17 was used for another request ({busy_restore}); give a new one, "
        "or none",
        request_id="deploy-17",
    ),
    row(
        "a Region that the account has not enabled",
        "region: ap-east-1 is not enabled for the account; enable it, or name another",
        region="ap-east-1",
        wrong=a_closed_region,
    ),
    row("a clone of a volume", "mode: the source is a volume; use mode volumes", source="{lone}"),
    row(
        "a clone of a point whose manifest is lost",
        "point: {lost_point} has no manifest, since its record was rebuilt from tags; use mode "
        "volumes, or another point",
        source="{lost}",
    ),
    row(
        "the original's subnet is gone",
        "subnet: the original's, {web_subnet}, is gone; name another one, and security_groups if "
        "it is in another VPC",
        wrong=no_subnet,
    ),
    row(
        "no such subnet",
        "subnet: subnet-0123456789abcdef0 is not in eu-west-1 of 123456789012; name one that is",
        subnet="subnet-0123456789abcdef0",
    ),
    row(
        "a subnet of another zone than is asked for",
        "zone: {other_subnet} is in eu-west-1b; leave out zone, or name another subnet",
        subnet="{other_subnet}",
        zone="eu-west-1a",
    ),
    row(
        "a zone without a subnet",
        "zone: {web_vpc} has no subnet in eu-west-1c; name a subnet, or leave out zone",
        zone="eu-west-1c",
    ),
    row(
        "another Region without a subnet",
        "subnet: is needed in another Region: name a subnet and security_groups of "
        "eu-central-1 of 123456789012",
        region="eu-central-1",
    ),
    row(
        "another Region without security groups",
        "security_groups: are needed: {far_subnet} is in {far_vpc}, and the original's are of "
        "{web_vpc}; name groups of {far_vpc}",
        region="eu-central-1",
        subnet="{far_subnet}",
        key_name="",
    ),
    row(
        "another Region where the key pair is not",
        "key_name: key pair app is not in eu-central-1 of 123456789012; name another, or an "
        "empty one for none",
        region="eu-central-1",
        subnet="{far_subnet}",
        security_groups="there-front",
    ),
    row(
        "security groups of another VPC",
        "security_groups: {alien_group} is of {alien_vpc}, and {web_subnet} is in {web_vpc}; name "
        "groups of that VPC",
        security_groups="{alien_group}",
    ),
    row(
        "no such security group",
        "security_groups: sg-0123456789abcdef0 is not in eu-west-1 of 123456789012; name one "
        "that is",
        "security_groups: web is not in eu-west-1 of 123456789012; name one that is",
        security_groups="sg-0123456789abcdef0,web",
    ),
    row(
        "a type that the zone does not have",
        "type: m6i.xlarge is not offered in eu-west-1a, only in eu-west-1b, eu-west-1c: name "
        "another type, or a subnet there",
        type="m6i.xlarge",
        wrong=not_offered,
    ),
    row(
        "no such type",
        "type: m6i.enormous is not offered in eu-west-1 of 123456789012; name another",
        type="m6i.enormous",
    ),
    row(
        "a type of another architecture",
        "type: m7g.large is arm64, and the volumes were made for x86_64; name a type of that",
        type="m7g.large",
    ),
    row(
        "too few free addresses",
        "subnet: {small} has 11 free addresses, and 12 are needed; name another subnet, or "
        "free some",
        subnet="{small}",
        count="12",
        wrong=small_subnet,
    ),
    row(
        "a private address that is taken",
        "private_ip: 10.20.0.4 is taken by {web_eni} of {web}; leave it out, or name one that "
        "is free",
        private_ip="10.20.0.4",
    ),
    row(
        "a private address that is not of the subnet",
        "launch: EC2 would refuse it: try to launch from ami-0123456789abcdef0 in eu-west-1: "
        "InvalidParameterValue: Address 192.168.0.4 does not fall within the subnet's address "
        "range",
        private_ip="192.168.0.4",
    ),
    row(
        "one private address for several clones",
        "private_ip: one address cannot be that of several instances",
        private_ip="10.20.0.40",
        count="2",
    ),
    row(
        "the key pair is gone",
        "key_name: key pair app is not in eu-west-1 of 123456789012; name another, or an empty "
        "one for none",
        wrong=no_key_pair,
    ),
    row(
        "no such key pair",
        "key_name: key pair nobody is not in eu-west-1 of 123456789012; name another, or an "
        "empty one for none",
        key_name="nobody",
    ),
    row(
        "the instance profile is gone",
        "instance_profile: {profile} is not there; name another, or an empty one for none",
        wrong=no_profile,
    ),
    row(
        "the KMS key is disabled",
        "kms_key: {key} cannot be used, and the point's snapshots open with no other: enable it, "
        "or allow its use",
        source="vault-1",
        wrong=disabled_key,
    ),
    row(
        "no such KMS key",
        "kms_key: look at the key alias/nothing in eu-west-1: NotFoundException: Alias "
        "arn:aws:kms:eu-west-1:123456789012:alias/nothing is not found. Create it in that "
        "Region, or correct kms_key.",
        kms_key="alias/nothing",
    ),
    row(
        "the image of a licence is gone",
        "image: the licence (RunInstances:0002) is billed through the image that the original "
        "was launched from, ami-0a11a11a11a11a11a, and that is not in eu-west-1 of "
        "123456789012; name an image with the same licence",
        source="win-1",
        wrong=no_image,
    ),
    row(
        "an image without the licence",
        "image: ami-0123456789abcdef0 is billed as RunInstances, the original as "
        "RunInstances:0002; name one with the same licence",
        "image: ami-0123456789abcdef0 starts from /dev/xvda, the original from /dev/sda1; name "
        "one with the same root device",
        source="win-1",
        image="ami-0123456789abcdef0",
    ),
    row(
        "the quota of instances is used up",
        "launch: EC2 would refuse it: try to launch from ami-0123456789abcdef0 in eu-west-1: "
        "InstanceLimitExceeded: Your quota allows for 1 more running instance(s). Remove what "
        "is not needed, or raise the quota that EC2 names.",
        wrong=no_quota,
    ),
    row(
        "the function may not launch",
        "launch: EC2 would refuse it: try to launch from ami-0123456789abcdef0 in eu-west-1: "
        "UnauthorizedOperation: You are not authorized to perform this operation. Redeploy the "
        "stack; if it is refused still, look for an SCP.",
        wrong=no_right,
    ),
    row(
        "too many tags",
        "tags: are 49 in all; EC2 takes 50, of which Lastgood needs 3",
        tags=",".join(f"k{n}=v" for n in range(48)),
    ),
    row(
        "a reserved tag",
        "tags: 'lastgood:point': keys that begin so are reserved",
        tags="lastgood:point=pt-1",
    ),
    row(
        "a drill without an isolated group",
        "security_groups: a drill needs a group that lets nothing in or out: make one named "
        "lastgood-isolated in {web_vpc} and take its rules away (docs/restore.md has the "
        "commands), or name one",
        mode="drill",
    ),
    row(
        "a drill in a group with rules",
        "security_groups: {isolated} (lastgood-isolated) has rules; a drill may reach nothing "
        "and nobody: take them away, or name another",
        mode="drill",
        wrong=a_group_with_rules,
    ),
    row(
        "a drill that is to stay",
        "time_to_live: has no meaning for a drill, which is removed once checked",
        mode="drill",
        time_to_live="8h",
    ),
    row(
        "volumes of a device that the point has not",
        "volumes: /dev/sdz is not in the point; it has /dev/sdf ({data}), /dev/xvda ({root})",
        mode="volumes",
        volumes="/dev/sdz",
    ),
    row(
        "volumes in another Region without a zone",
        "zone: is needed in another Region: name one of eu-central-1 of 123456789012, or an "
        "instance",
        mode="volumes",
        region="eu-central-1",
    ),
    row(
        "volumes in a zone of another Region",
        "zone: eu-central-1a is not in eu-west-1 of 123456789012; name one that is, or the region",
        mode="volumes",
        zone="eu-central-1a",
    ),
    row(
        "volumes of a lost manifest without a zone",
        "zone: is not known of the original: name one of eu-west-1 of 123456789012, or an instance",
        mode="volumes",
        source="{lost}",
    ),
    row(
        "volumes for an instance in another zone",
        "zone: {safe} is in eu-west-1a, and takes volumes of that zone only; leave out zone",
        "device: /dev/sdf of {safe} has {safe_data}; name a free one, or leave out instance",
        mode="volumes",
        volumes="/dev/sdf",
        instance="{safe}",
        zone="eu-west-1b",
    ),
    row(
        "volumes for an instance that is not there",
        "instance: i-0123456789abcdef0 is not in eu-west-1 of 123456789012; name one that is",
        mode="volumes",
        volumes="/dev/sdf",
        instance="i-0123456789abcdef0",
    ),
    row(
        "volumes for an instance that is terminated",
        "instance: {gone} is terminated; volumes are attached to one that is running or stopped",
        mode="volumes",
        volumes="/dev/sdf",
        instance="{gone}",
    ),
    row(
        "volumes for an instance that no policy selects",
        "instance: {bare} has none of the tags that policies select by (backup=volume or "
        "backup=daily|gold), so it is not Lastgood's to change; give it those of one",
        mode="volumes",
        volumes="/dev/sdf",
        instance="{bare}",
    ),
    row(
        "a device that is in use",
        "device: /dev/sdf of {safe} has {safe_data}; name a free one, or leave out instance",
        mode="volumes",
        volumes="/dev/sdf",
        instance="{safe}",
        device="/dev/sdf",
    ),
    row(
        "several volumes for one device",
        "device: is one, and the point has 2 volumes: say by volumes which is meant, or leave "
        "out device",
        mode="volumes",
        instance="{safe}",
        device="/dev/sdh",
    ),
    row(
        "a device without an instance",
        "device: needs the instance that the volume is to be attached to",
        mode="volumes",
        volumes="/dev/sdf",
        device="/dev/sdh",
    ),
    row(
        "in place, without leave to stop it",
        "stop: {web} is running and must be stopped for this; add stop=true if it may be",
        mode="in_place",
    ),
    row(
        "in place, of a volume",
        "mode: the source is a volume; use mode volumes",
        mode="in_place",
        source="{lone}",
    ),
    row(
        "in place, of a source that is gone",
        "mode: {gone} is gone; use mode clone",
        mode="in_place",
        source="gone-1",
        stop="true",
    ),
    row(
        "in place, of a Spot instance",
        "source: {spot} is a Spot instance, which EC2 may not start again; use mode clone",
        mode="in_place",
        source="spot-1",
        stop="true",
    ),
    row(
        "in place, in an Auto Scaling group",
        "source: {fleet} is of Auto Scaling group web-fleet, which replaces what stops; detach "
        "it from the group, or use mode clone",
        mode="in_place",
        source="fleet-1",
        stop="true",
    ),
    row(
        "in place, protected from being stopped",
        "stop: {safe} is protected from being stopped; take its stop protection away",
        mode="in_place",
        source="safe-1",
        stop="true",
    ),
    row(
        "in place, where another restore is at work",
        "source: {busy_restore} works at {busy}; wait until it is over, or cancel it",
        mode="in_place",
        source="busy-1",
        stop="true",
    ),
    row(
        "in place, of a volume of several instances",
        "volumes: {both} is attached to several instances; name the others, and restore it by "
        "mode volumes",
        mode="in_place",
        source="shared-1",
        stop="true",
    ),
    row(
        "in place, of a point whose manifest is lost",
        "point: {lost_point} has no manifest, since its record was rebuilt from tags; use mode "
        "volumes, or another point",
        mode="in_place",
        source="{lost}",
        stop="true",
    ),
    row(
        "in place, of a device that the point has not",
        "volumes: /dev/sdz is not in the point; it has /dev/sdf ({data}), /dev/xvda ({root})",
        mode="in_place",
        volumes="/dev/sdz",
        stop="true",
    ),
    row(
        "in place, in another Region",
        "region: has no meaning for mode in_place; only for clone and drill and volumes",
        mode="in_place",
        region="eu-central-1",
        stop="true",
    ),
)

KINDS = {
    "i": "web vault win twin twin_a twin_b spot fleet safe busy gone bare broken shared other lost",
    "vol": "root data both lone safe_data broken_volume",
    "snap": "broken_snapshot",
    "subnet": "web_subnet other_subnet far_subnet small",
    "sg": "web_group alien_group far_group isolated",
    "vpc": "web_vpc alien_vpc far_vpc",
    "eni": "web_eni",
    "pt": "web_point win_point broken_point lost_point",
    "rs": "busy_restore",
}
EXAMPLES = {
    **{
        name: f"{kind}-{re.sub('_[a-z]{2,}$', '', name)}"
        for kind, names in KINDS.items()
        for name in names.split()
    },
    "key": f"arn:aws:kms:{HOME}:{ACCOUNT}:key/1234",
    "profile": f"arn:aws:iam::{ACCOUNT}:instance-profile/app",
}
"""What the page shows in place of ids, which are others each time."""

# -- the page -----------------------------------------------------------------------------------

TOP = """\
# Restores that are refused

What `clone_instance` answers to requests that cannot work. Nothing is made, changed or written down
for any of them, and no execution is started: `tests/scenarios/test_refusals.py` sends each one.
This page is made from the table in `tests/support/refusal_table.py`, by
`python -m tests.support.refusal_table --write`.

- The answer has `"status": "refused"`, and `problems` with a line for each reason. A line begins
  with the key of the request that it is about, and says what to change. Lines that begin with
  `launch` are what EC2 says to a dry run of the launch.
- All mistakes of the request itself are told at once; so is all that its facts show.
- `"dry_run": true` gives the same answers, and makes nothing if there is none.
- Names stand here for ids: `i-web` is the instance named `web-1`.

| what is wrong | the request | what a person is told |
|---|---|---|
"""


def page() -> str:
    return TOP + "".join(_line(one) for one in ROWS)


def _line(one: Row) -> str:
    asked = ", ".join(
        f'"{key}": {_short(json.dumps(value))}' for key, value in one.request(EXAMPLES).items()
    )
    told = "<br>".join(one.told(EXAMPLES))
    return f"| {one.about} | `{{{asked}}}` | {told.replace('|', chr(92) + '|')} |\n"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f'{text[:40]}..."'


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
