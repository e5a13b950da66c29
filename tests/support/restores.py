"""Restores in the world of scenarios: a source worth restoring, asking, and what there is then."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lastgood.domain.restoring import Restore
from lastgood.domain.tags import RESTORE
from tests.cloud import ec2 as cloud_ec2
from tests.cloud.ec2.seed import Network, seed_network
from tests.support.fleet import disk, launch, tag, volumes_of
from tests.support.world import HOME, World

USER_DATA = "#!/bin/sh\necho hello\n"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Site:
    """A network, and in it ``source``: an instance that has a point, with much that a restore may
    lose. ``volumes``: its own, by device."""

    world: World
    network: Network
    source: str
    volumes: dict[str, str]

    def ask(self, **request: Any) -> Any:
        """The answer of clone_instance."""
        given = {"by": "anna", **request}
        if "action" not in given:
            given.setdefault("source", self.source)
        return self.world.invoke("clone_instance", given)

    def restore(self, then: timedelta = HOUR, **request: Any) -> Restore:
        """Ask for it, let ``then`` pass, and give its record."""
        answer = self.ask(**request)
        assert answer["restore"], answer["text"]
        self.world.advance(then)
        return self.record(answer["restore"])

    def record(self, restore: str) -> Restore:
        found = self.world.ledger.restore(restore)
        assert found is not None
        return found

    def instance(self, id_: str) -> dict[str, Any]:
        reply = self.world.ec2.describe_instances(InstanceIds=[id_])
        return dict(reply["Reservations"][0]["Instances"][0])

    def made(self, restore: str) -> dict[str, list[str]]:
        """What bears the tag of a restore and is there still, by kind."""
        return made_by(self.world.ec2, restore)

    def schedules(self) -> list[str]:
        found = self.world.client("scheduler").list_schedules()["Schedules"]
        return [one["Name"] for one in found]

    def told(self, restore: str) -> list[str]:
        """What subscribers of the bus were told of it, in order."""
        return [
            one["detail"]["what"]
            for one in self.world.announcements()
            if one["detail-type"] == "Restore Progress" and one["detail"]["restore"] == restore
        ]


def made_by(ec2: Any, restore: str) -> dict[str, list[str]]:
    """What bears the tag of a restore and is there still, by kind."""
    mine = [{"Name": f"tag:{RESTORE}", "Values": [restore]}]
    instances = [
        one["InstanceId"]
        for group in ec2.describe_instances(Filters=mine)["Reservations"]
        for one in group["Instances"]
        if one["State"]["Name"] != "terminated"
    ]
    volumes = [one["VolumeId"] for one in ec2.describe_volumes(Filters=mine)["Volumes"]]
    images = ec2.describe_images(Owners=["self"], Filters=mine)["Images"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"], Filters=mine)["Snapshots"]
    found = {
        "instance": instances,
        "volume": volumes,
        "image": [one["ImageId"] for one in images],
        "snapshot": [one["SnapshotId"] for one in snapshots],
    }
    return {kind: ids for kind, ids in found.items() if ids}


def a_site(world: World, **request: Any) -> Site:
    """With machines that take as long as they do on AWS, and a point of the source."""
    network = seed_network(HOME)
    world.cloud.ec2.pace = cloud_ec2.AS_ON_AWS
    source = launch_there(world.ec2, network, "web-1", **request)
    world.advance(timedelta(minutes=5))
    world.run()
    return Site(world, network, source, volumes_of(world.ec2, source))


def launch_there(ec2: Any, network: Network, name: str, **request: Any) -> str:
    facts: dict[str, Any] = {
        "KeyName": network.key,
        "IamInstanceProfile": {"Name": network.profile},
        "UserData": USER_DATA,
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "Monitoring": {"Enabled": True},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": network.subnets[0],
                "Groups": list(network.groups),
                "Description": "front",
            }
        ],
    }
    data = disk("/dev/sdf", 20, Iops=4000, Throughput=200, DeleteOnTermination=False)
    instance = launch(ec2, name, data, **facts | request)
    volume = volumes_of(ec2, instance)["/dev/sdf"]
    tag(ec2, volume, part="data")
    return instance


def isolated_group(world: World, network: Network) -> str:
    """A security group for drills; its id."""
    made = world.ec2.create_security_group(
        GroupName="lastgood-isolated", Description="drills", VpcId=network.vpc
    )
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    world.ec2.revoke_security_group_egress(GroupId=made["GroupId"], IpPermissions=[everything])
    return str(made["GroupId"])


def spoil_points(world: World) -> None:
    """Nothing that is made of a snapshot that there is now will pass its status checks."""
    world.cloud.ec2.bad_snapshots |= {
        one.snapshot for point in world.points() for one in point.members
    }
