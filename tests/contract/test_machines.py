"""``Ec2Machines`` against EC2 as AWS is: what is launched, attached, stopped, replaced, removed."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from lastgood.aws.clients import client
from lastgood.aws.faults import CAPACITY
from lastgood.aws.machines import CHANGING, Ec2Machines
from lastgood.domain.launching import Card, Disk, Launch, NewImage
from lastgood.domain.tags import COPY_OF, RESTORE
from lastgood.errors import (
    CallRefused,
    CannotRestore,
    InUse,
    LastgoodError,
    LimitReached,
    NotSettledYet,
    RegionNotEnabled,
    SourceGone,
    Unavailable,
)
from lastgood.ports import Health, Machines
from tests.cloud.ec2 import AS_ON_AWS, Image
from tests.cloud.ec2.seed import Network, seed_network
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support import fleet

HOME = "eu-west-1"
ZONE = f"{HOME}a"
ROOT, DATA = "/dev/xvda", "/dev/sdf"
OURS = {RESTORE: "rs-1"}
AT = datetime(2025, 3, 1, 4, 0, tzinfo=UTC)
SOURCES_IMAGE = "ami-0123456789abcdef0"


@pytest.fixture
def net(cloud: InProcessCloud) -> Network:
    return seed_network(HOME)


@pytest.fixture
def machines(cloud: InProcessCloud) -> Ec2Machines:
    return Ec2Machines(cloud.client("ec2", HOME), lambda: cloud.client("iam"))


@pytest.fixture
def deployed(cloud: InProcessCloud, monkeypatch) -> Ec2Machines:
    """With the client that the functions have; botocore's pauses between tries left out."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    return Ec2Machines(client("ec2", HOME), lambda: client("iam", HOME))


@pytest.fixture
def paced(cloud: InProcessCloud) -> InProcessCloud:
    cloud.ec2.pace = AS_ON_AWS
    return cloud


@pytest.fixture
def snapshots(cloud: InProcessCloud, ec2: Any) -> dict[str, str]:
    """By the volumes of a source: its root and its data."""
    source = fleet.launch(ec2, "web", fleet.disk(DATA))
    held = fleet.volumes_of(ec2, source)
    taken = {
        volume: str(ec2.create_snapshot(VolumeId=volume)["SnapshotId"]) for volume in held.values()
    }
    cloud.clock.advance(timedelta(minutes=5))
    return taken


def a_launch(net: Network, snapshots: dict[str, str], **given: Any) -> Launch:
    root, data = snapshots
    facts: dict[str, Any] = {
        "type": "m6i.large",
        "zone": ZONE,
        "vpc": net.vpc,
        "root_device": ROOT,
        "disks": (
            Disk(piece=root, device=ROOT, type="gp3", size_gib=10, iops=4000, root=True),
            Disk(piece=data, device=DATA, type="gp2", size_gib=9, iops=100, throughput=128),
        ),
        "cards": (a_card(net),),
        "new_image": NewImage(architecture="x86_64", root_device=ROOT),
        "tags": {"Name": "web"},
    }
    return Launch(**facts | given)


def a_card(net: Network, **given: Any) -> Card:
    facts: dict[str, Any] = {
        "device_index": 0,
        "network_card": 0,
        "subnet": net.subnets[0],
        "groups": net.groups,
    }
    return Card(**facts | given)


def registered(machines: Ec2Machines, launch: Launch, snapshots: dict[str, str]) -> str:
    return machines.register_image(launch, snapshots, name="lastgood-rs-1", tags=OURS)


def launched(machines: Ec2Machines, launch: Launch, snapshots: dict[str, str]) -> str:
    image = launch.image or registered(machines, launch, snapshots)
    (made,) = machines.launch(launch, snapshots, image=image, token="t", tags=OURS)
    return made


def state(machines: Ec2Machines, instance: str) -> str:
    return machines.instances_by_id([instance])[instance].state


def raised(error: type[LastgoodError], text: str = ".") -> Any:
    return pytest.raises(error, match=text)


def test_it_is_what_the_use_cases_need(machines):
    port: Machines = machines

    assert port.region == HOME


# -- a launch ---------------------------------------------------------------------------------


def test_a_clone_starts_from_an_image_of_the_snapshots_with_all_its_disks(
    machines, net, snapshots, ec2
):
    made = launched(machines, a_launch(net, snapshots), snapshots)

    instance = machines.instances_by_id([made])[made]
    volumes = machines.volumes_by_id(instance.volumes.values())
    root, data = volumes[instance.volumes[ROOT]], volumes[instance.volumes[DATA]]
    assert (root.type, root.size_gib, root.iops) == ("gp3", 10, 4000)
    assert (data.type, data.size_gib) == ("gp2", 9)
    of = {one["VolumeId"]: one["SnapshotId"] for one in ec2.describe_volumes()["Volumes"]}
    assert {of[root.id], of[data.id]} == set(snapshots.values())
    assert instance.tags == {"Name": "web", **OURS}
    assert root.tags == data.tags == OURS
    assert instance.groups == net.groups
    assert instance.subnet == net.subnets[0]


def test_all_that_a_launch_says_is_told(cloud, machines, net, snapshots):
    script = b"#!/bin/sh\necho \xff\x00"
    launch = a_launch(
        net,
        snapshots,
        cards=(
            a_card(net, private_ip="10.20.0.40", description="front"),
            a_card(net, device_index=1, groups=net.groups[:1], delete_on_termination=False),
        ),
        instance_profile=net.profile_arn,
        key_name=net.key,
        user_data=base64.b64encode(script).decode(),
        monitoring=True,
        termination_protection=True,
        stop_protection=True,
        shutdown_behavior="terminate",
        metadata_options={"HttpTokens": "required", "State": "applied"},
        maintenance_options={"AutoRecovery": "disabled", "RebootMigration": "default"},
        private_dns_options={"HostnameType": "ip-name"},
        cpu_options={"CoreCount": 1, "ThreadsPerCore": 1, "AmdSevSnp": "disabled"},
        placement={"Tenancy": "default", "GroupName": "", "AvailabilityZoneId": "euw1-az1"},
    )

    made = launched(machines, launch, snapshots)

    instance = machines.instances_by_id([made])[made]
    read = machines.launch_attributes(instance, AT)
    assert base64.b64decode(read.user_data or "") == script
    assert (read.termination_protection, read.stop_protection) == (True, True)
    assert read.shutdown_behavior == "terminate"
    assert instance.instance_profile == net.profile_arn
    assert (instance.key_name, instance.monitoring) == (net.key, "enabled")
    assert instance.metadata_options["HttpTokens"] == "required"
    assert instance.interfaces[0].private_ips[0] == "10.20.0.40"
    assert instance.interfaces[0].description == "front"
    assert not instance.interfaces[1].delete_on_termination
    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    assert call.params["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert call.params["MaintenanceOptions"] == {"AutoRecovery": "disabled"}
    assert call.params["Placement"] == {"Tenancy": "default"}


def test_what_is_as_ec2_has_it_is_not_told(cloud, machines, net, snapshots):
    launched(machines, a_launch(net, snapshots), snapshots)

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    assert set(call.params) == {
        *("BlockDeviceMappings", "ClientToken", "ImageId", "InstanceType", "MaxCount", "MinCount"),
        *("NetworkInterfaces", "TagSpecifications"),
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {}),
        ({"type": "trunk", "network_card": 0}, {}),
        (
            {"more_ips": 2, "ipv6": 1, "network_card": 1, "type": "efa"},
            {
                "SecondaryPrivateIpAddressCount": 2,
                "Ipv6AddressCount": 1,
                "NetworkCardIndex": 1,
                "InterfaceType": "efa",
            },
        ),
    ],
)
def test_an_interface_is_told_no_more_than_it_has(cloud, machines, net, snapshots, given, told):
    cloud.faults.spoil("ec2.RunInstances", aws_error("DryRunOperation"))
    launch = a_launch(net, snapshots, cards=(a_card(net, **given),))

    machines.try_launch(launch, snapshots, "ami-0a")

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    assert call.params["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "SubnetId": net.subnets[0],
            "Groups": list(net.groups),
            "DeleteOnTermination": True,
            **told,
        }
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"Tenancy": "host", "HostId": "h-1", "Affinity": "host"}, None),
        (
            {"Tenancy": "host", "HostResourceGroupArn": "arn:rg", "HostId": "h-1"},
            {"Tenancy": "host", "HostResourceGroupArn": "arn:rg"},
        ),
        ({"GroupName": "pg", "GroupId": "pg-1", "PartitionNumber": 2}, {"GroupName": "pg"}),
        ({"Tenancy": "default", "Affinity": "default"}, {"Tenancy": "default"}),
    ],
)
def test_where_an_instance_is_placed_is_said_in_one_way(
    cloud, machines, net, snapshots, given, told
):
    cloud.faults.spoil("ec2.RunInstances", aws_error("DryRunOperation"))

    machines.try_launch(a_launch(net, snapshots, placement=given), snapshots, "ami-0a")

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    more = {"PartitionNumber": 2} if "PartitionNumber" in given else {}
    assert call.params["Placement"] == ({**told, **more} if told else given)


def test_a_key_is_told_with_a_yes_and_without_a_key_nothing_is(cloud, machines, net, snapshots):
    plain = a_launch(net, snapshots)
    root, data = plain.disks
    keyed = replace(
        plain, disks=(replace(root, encrypted=True, kms_key="k"), replace(data, encrypted=True))
    )
    cloud.faults.spoil("ec2.RunInstances", aws_error("DryRunOperation"))

    machines.try_launch(keyed, snapshots, "ami-0a")

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    first, second = (one["Ebs"] for one in call.params["BlockDeviceMappings"])
    assert (first["Encrypted"], first["KmsKeyId"]) == (True, "k")
    assert not {"Encrypted", "KmsKeyId"} & second.keys()


def test_from_the_image_of_the_source_only_the_data_is_of_the_snapshots(
    cloud, machines, net, snapshots, ec2
):
    cloud.ec2.images[SOURCES_IMAGE] = Image()
    launch = a_launch(net, snapshots, image=SOURCES_IMAGE, unmapped=("/dev/sdb",))

    made = launched(machines, launch, snapshots)

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    root, data, unmapped = call.params["BlockDeviceMappings"]
    assert "SnapshotId" not in root["Ebs"]
    assert data["Ebs"]["SnapshotId"] == snapshots[launch.disks[1].piece]
    assert unmapped == {"DeviceName": "/dev/sdb", "NoDevice": ""}
    assert set(machines.instances_by_id([made])[made].volumes) == {ROOT, DATA}


def test_as_many_are_launched_as_are_asked_for(machines, net, snapshots):
    launch = a_launch(net, snapshots, count=3)
    image = registered(machines, launch, snapshots)

    made = machines.launch(launch, snapshots, image=image, token="t", tags=OURS)

    assert len(set(made)) == 3


def test_a_launch_that_is_sent_again_gives_the_same_instance(cloud, deployed, net, snapshots):
    launch = a_launch(net, snapshots)
    image = registered(deployed, launch, snapshots)
    cloud.faults.spoil("ec2.RunInstances", LOST_REPLY)

    (first,) = deployed.launch(launch, snapshots, image=image, token="t", tags=OURS)
    (second,) = deployed.launch(launch, snapshots, image=image, token="t", tags=OURS)

    assert first == second
    assert len(deployed.things_of("rs-1").instances) == 1


def test_without_room_a_launch_is_tried_again_later(cloud, machines, net, snapshots):
    cloud.ec2.no_capacity.add(("m6i.*", ZONE))

    with raised(LimitReached, "InsufficientInstanceCapacity") as refused:
        launched(machines, a_launch(net, snapshots), snapshots)

    assert refused.value.after == CAPACITY


def test_above_the_quota_a_launch_is_refused_with_what_to_do(cloud, machines, net, snapshots):
    cloud.ec2.instances = 1

    with raised(CallRefused, "InstanceLimitExceeded: .* raise the quota"):
        launched(machines, a_launch(net, snapshots), snapshots)


def test_an_image_that_is_gone_is_no_success(machines, net, snapshots):
    launch = a_launch(net, snapshots)
    image = registered(machines, launch, snapshots)
    machines.deregister_image(image)

    with raised(CallRefused, "InvalidAMIID.NotFound"):
        machines.launch(launch, snapshots, image=image, token="t", tags=OURS)


@pytest.mark.parametrize(
    ("code", "text", "error", "advice"),
    [
        (
            "OptInRequired",
            "To use this AWS Marketplace product you need to accept terms and subscribe.",
            CallRefused,
            "subscribe. Subscribe to the product",
        ),
        (
            "AuthFailure",
            "Not authorized for images: [ami-0a]",
            CallRefused,
            "Have the owner of the image share it",
        ),
        ("OptInRequired", "You are not subscribed.", RegionNotEnabled, "Enable the Region"),
    ],
)
def test_an_image_that_is_not_for_us_is_no_matter_of_the_region(
    cloud, machines, net, snapshots, code, text, error, advice
):
    cloud.faults.spoil("ec2.RunInstances", aws_error(code, text, status=403))

    with raised(error, advice) as refused:
        launched(machines, a_launch(net, snapshots), snapshots)

    assert (error is RegionNotEnabled) == ("Enable the Region" in str(refused.value))


# -- a try ------------------------------------------------------------------------------------


def test_a_launch_that_would_work_is_tried_and_nothing_is_made(machines, net, snapshots):
    launch = a_launch(net, snapshots)
    image = registered(machines, launch, snapshots)

    machines.try_launch(launch, snapshots, image)

    assert machines.things_of("rs-1").instances == ()


@pytest.mark.parametrize(
    ("changes", "of_card", "said"),
    [
        ({"key_name": "nobody"}, {}, "InvalidKeyPair.NotFound: .* another"),
        ({"type": "m9.none"}, {}, "InvalidParameterValue"),
        ({}, {"subnet": "subnet-0badbadbad0000000"}, "InvalidSubnetID.NotFound"),
        ({}, {"groups": ("sg-0badbadbad0000000",)}, "InvalidGroup.NotFound"),
        ({}, {"private_ip": "10.99.0.1"}, "InvalidParameterValue"),
    ],
)
def test_a_launch_that_would_not_work_says_why(machines, net, snapshots, changes, of_card, said):
    launch = a_launch(net, snapshots, cards=(a_card(net, **of_card),), **changes)
    image = registered(machines, launch, snapshots)

    with raised(CannotRestore, said) as refused:
        machines.try_launch(launch, snapshots, image)

    assert len(refused.value.problems) == 1


def test_before_there_is_an_image_nothing_is_tried(cloud, machines, net, snapshots):
    before = len(cloud.calls.of("ec2.RunInstances"))

    machines.try_launch(a_launch(net, snapshots, key_name="nobody"), snapshots, None)

    assert len(cloud.calls.of("ec2.RunInstances")) == before


def test_the_image_of_the_source_is_tried_without_the_snapshots_that_are_not_here_yet(
    cloud, machines, net, snapshots
):
    cloud.ec2.images[SOURCES_IMAGE] = Image()

    machines.try_launch(a_launch(net, snapshots, image=SOURCES_IMAGE), {}, None)

    (call,) = cloud.calls.of("ec2.RunInstances")[-1:]
    assert [one["DeviceName"] for one in call.params["BlockDeviceMappings"]] == [ROOT]


# -- an image ---------------------------------------------------------------------------------


def test_an_image_that_is_registered_again_is_the_same(cloud, machines, net, snapshots):
    launch = a_launch(net, snapshots)
    cloud.faults.spoil("ec2.RegisterImage", LOST_REPLY)
    with raised(Unavailable):
        registered(machines, launch, snapshots)

    image = registered(machines, launch, snapshots)

    (made,) = machines.things_of("rs-1").images
    assert (made.id, made.name, made.devices) == (image, "lastgood-rs-1", (ROOT, DATA))


def test_an_image_that_is_there_and_not_seen_yet_is_waited_for(cloud, machines, net, snapshots):
    cloud.faults.spoil("ec2.RegisterImage", aws_error("InvalidAMIName.Duplicate"))

    with raised(NotSettledYet, "lastgood-rs-1"):
        registered(machines, a_launch(net, snapshots), snapshots)


def test_an_image_of_a_snapshot_that_is_gone_is_refused(machines, net, snapshots):
    gone = dict.fromkeys(snapshots, "snap-0badbadbad0000000")

    with raised(CallRefused, "InvalidSnapshot.NotFound"):
        registered(machines, a_launch(net, snapshots), gone)


def test_an_image_is_deregistered_once_and_for_all(machines, net, snapshots):
    image = registered(machines, a_launch(net, snapshots), snapshots)

    machines.deregister_image(image)
    machines.deregister_image(image)

    assert machines.images([image]) == {}


def test_images_that_are_gone_are_left_out(cloud, machines, net, snapshots):
    cloud.ec2.images[SOURCES_IMAGE] = Image(usage_operation="RunInstances:0002")
    gone = registered(machines, a_launch(net, snapshots), snapshots)
    machines.deregister_image(gone)

    found = machines.images([SOURCES_IMAGE, gone])

    assert list(found) == [SOURCES_IMAGE]
    assert found[SOURCES_IMAGE].usage_operation == "RunInstances:0002"
    assert found[SOURCES_IMAGE].root_device == ROOT


# -- volumes ----------------------------------------------------------------------------------


def test_a_volume_is_made_of_a_snapshot_as_the_disk_says(deployed, cloud, snapshots, ec2):
    piece, snapshot = next(iter(snapshots.items()))
    disk = Disk(
        piece=piece,
        device=None,
        type="gp3",
        size_gib=12,
        iops=5000,
        throughput=250,
        tags={"Name": "data"},
    )
    cloud.faults.spoil("ec2.CreateVolume", LOST_REPLY)

    made = deployed.create_volume(disk, snapshot, ZONE, token="t", tags=OURS)

    assert deployed.create_volume(disk, snapshot, ZONE, token="t", tags=OURS) == made
    (volume,) = deployed.things_of("rs-1").volumes
    assert volume.id == made
    assert (volume.type, volume.size_gib, volume.iops, volume.throughput) == ("gp3", 12, 5000, 250)
    assert volume.tags == {"Name": "data", **OURS}
    assert volume.zone == ZONE


def test_a_shared_volume_is_one_again(machines, snapshots):
    piece, snapshot = next(iter(snapshots.items()))
    disk = Disk(
        piece=piece, device=None, type="io2", size_gib=12, iops=500, throughput=1, multi_attach=True
    )

    made = machines.create_volume(disk, snapshot, ZONE, token="t", tags=OURS)

    volume = machines.volumes_by_id([made])[made]
    assert (volume.type, volume.iops, volume.multi_attach) == ("io2", 500, True)


@pytest.fixture
def pair(ec2: Any) -> tuple[str, str]:
    """An instance, and a volume beside it."""
    instance = fleet.launch(ec2, "web")
    zone = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return instance, fleet.volume(ec2, zone["Placement"]["AvailabilityZone"])


def test_a_volume_is_attached_and_detached_once_and_for_all(machines, pair):
    instance, volume = pair

    machines.attach(volume, instance, DATA)
    machines.attach(volume, instance, DATA)
    (attachment,) = machines.volumes_by_id([volume])[volume].attachments
    assert (attachment.instance, attachment.device) == (instance, DATA)

    machines.detach(volume, instance)
    machines.detach(volume, instance)
    assert machines.volumes_by_id([volume])[volume].attachments == ()


def test_what_is_attached_elsewhere_is_in_use(machines, pair, ec2):
    instance, volume = pair
    machines.attach(volume, instance, DATA)

    with raised(InUse, "Detach the volume"):
        machines.attach(volume, instance, "/dev/sdg")
    with raised(InUse):
        machines.delete_volume(volume)
    machines.detach(volume, fleet.launch(ec2, "other"))
    assert machines.volumes_by_id([volume])[volume].attachments


def test_what_is_on_its_way_out_is_waited_for(paced, machines, pair):
    instance, volume = pair
    paced.clock.advance(timedelta(minutes=2))
    machines.attach(volume, instance, DATA)
    paced.clock.advance(timedelta(minutes=1))
    machines.detach(volume, instance)

    machines.detach(volume, instance)
    with raised(LimitReached) as refused:
        machines.attach(volume, instance, DATA)

    assert refused.value.after == CHANGING


def test_what_is_in_use_where_nobody_sees_it_yet_is_waited_for(cloud, machines, pair):
    instance, volume = pair
    cloud.faults.spoil("ec2.AttachVolume", aws_error("VolumeInUse"))

    with raised(LimitReached, "VolumeInUse"):
        machines.attach(volume, instance, DATA)


def test_a_root_volume_is_not_detached_from_a_running_instance(machines, pair, ec2):
    instance, _ = pair
    root = fleet.volumes_of(ec2, instance)[ROOT]

    with raised(InUse, "OperationNotPermitted"):
        machines.detach(root, instance)


def test_a_volume_is_deleted_once_and_for_all(machines, pair):
    _, volume = pair

    machines.delete_volume(volume)
    machines.delete_volume(volume)

    assert machines.volumes_by_id([volume]) == {}


def test_what_becomes_of_a_volume_with_its_instance_is_set_by_device(machines, pair):
    instance, volume = pair
    machines.attach(volume, instance, DATA)

    machines.delete_on_termination(instance, {DATA: True, ROOT: False})
    machines.delete_on_termination(instance, {})

    volumes = machines.instances_by_id([instance])[instance].volumes
    found = machines.volumes_by_id(volumes.values())
    deleted = {
        device: found[one].attachments[0].delete_on_termination for device, one in volumes.items()
    }
    assert deleted == {ROOT: False, DATA: True}


def test_a_root_volume_is_replaced_once_and_the_old_one_kept(deployed, cloud, ec2):
    instance = fleet.launch(ec2, "web")
    old = fleet.volumes_of(ec2, instance)[ROOT]
    snapshot = ec2.create_snapshot(VolumeId=old)["SnapshotId"]
    cloud.clock.advance(timedelta(minutes=5))
    cloud.faults.spoil("ec2.CreateReplaceRootVolumeTask", LOST_REPLY)

    task = deployed.replace_root(instance, snapshot, token="t", tags=OURS)

    cloud.clock.advance(timedelta(minutes=30))
    (found,) = deployed.root_tasks(instance, OURS[RESTORE])
    assert (found.id, found.instance, found.state) == (task, instance, "succeeded")
    assert found.tags == OURS
    assert fleet.volumes_of(ec2, instance)[ROOT] != old
    assert deployed.volumes_by_id([old])[old].attachments == ()
    assert deployed.snapshot_volumes([snapshot, "snap-0badbadbad0000000"]) == {snapshot: old}


# -- instances --------------------------------------------------------------------------------


def test_an_instance_is_stopped_and_started_whatever_it_was(paced, machines, ec2):
    instance = fleet.launch(ec2, "web")
    machines.start(instance)
    with raised(LimitReached, "IncorrectInstanceState") as refused:
        machines.stop(instance)
    assert refused.value.after == CHANGING
    paced.clock.advance(AS_ON_AWS.pending)

    machines.start(instance)
    machines.stop(instance)
    machines.stop(instance)
    with raised(LimitReached, "IncorrectInstanceState"):
        machines.start(instance)
    paced.clock.advance(AS_ON_AWS.stopping)
    machines.stop(instance)
    assert state(machines, instance) == "stopped"

    machines.start(instance)
    assert state(machines, instance) == "pending"


def test_what_is_terminated_is_gone_for_who_would_start_or_stop_it(machines, ec2):
    instance = fleet.launch(ec2, "web")
    machines.terminate([instance])

    for change in (machines.start, machines.stop):
        with raised(SourceGone):
            change(instance)
    with raised(SourceGone):
        machines.start("i-0badbadbad0000000")


def test_those_that_are_gone_do_not_keep_others_from_being_terminated(machines, ec2):
    instance = fleet.launch(ec2, "web")

    machines.terminate(["i-0badbadbad0000000", instance])

    assert state(machines, instance) == "terminated"
    machines.terminate([instance])


def test_one_that_is_protected_does_not_keep_others_from_being_terminated(machines, ec2):
    protected = fleet.launch(ec2, "web", DisableApiTermination=True)
    instance = fleet.launch(ec2, "web")

    with raised(InUse, "protection from termination"):
        machines.terminate([protected, instance])

    assert state(machines, instance) == "terminated"


def test_what_is_protected_is_terminated_once_it_is_not(machines, ec2):
    instance = fleet.launch(ec2, "web", DisableApiTermination=True, DisableApiStop=True)
    with raised(InUse, "protection from termination"):
        machines.terminate([instance])

    machines.unprotect(instance)
    machines.terminate([instance])

    assert state(machines, instance) == "terminated"
    machines.unprotect(instance)
    machines.unprotect("i-0badbadbad0000000")


def test_user_data_and_protection_are_set_on_what_was_launched_without(machines, ec2):
    script = b"#!/bin/sh\necho \xff\x00"
    instance = fleet.launch(ec2, "web")
    with raised(CallRefused, "not in the 'stopped' state"):
        machines.set_user_data(instance, base64.b64encode(script).decode())
    machines.stop(instance)

    machines.set_user_data(instance, base64.b64encode(script).decode())
    machines.protect_from_stop(instance)

    read = machines.launch_attributes(machines.instances_by_id([instance])[instance], AT)
    assert base64.b64decode(read.user_data or "") == script
    assert read.stop_protection


def test_instances_and_volumes_are_tagged_and_untagged(machines, pair):
    machines.tag(pair, {"a": "1", "b": "2"})
    machines.untag(pair, ["a", "never"])
    machines.tag(pair, {})
    machines.untag(pair, [])

    instance, volume = pair
    assert "a" not in machines.instances_by_id([instance])[instance].tags
    assert machines.volumes_by_id([volume])[volume].tags["b"] == "2"


def test_a_router_may_pass_on_what_is_not_for_it(machines, ec2):
    instance = fleet.launch(ec2, "nat")
    (interface,) = machines.instances_by_id([instance])[instance].interfaces

    machines.set_source_dest_check(interface.id, on=False)

    (after,) = machines.instances_by_id([instance])[instance].interfaces
    assert not after.source_dest_check


def test_the_health_of_those_that_run_is_read_although_one_is_gone(cloud, machines, ec2):
    running, stopped = fleet.launch(ec2, "a"), fleet.launch(ec2, "b")
    cloud.ec2.impaired.add(running)
    machines.stop(stopped)

    found = machines.health([running, stopped, "i-0badbadbad0000000"])

    assert found == {running: Health(instance="impaired", system="ok")}


def test_instances_are_found_by_their_name_to_the_letter(machines, ec2):
    named = fleet.launch(ec2, "web*")
    fleet.launch(ec2, "web-2")

    assert [one.id for one in machines.instances_named("web*")] == [named]


def test_all_that_a_restore_made_is_found_by_its_tag(machines, net, snapshots, ec2):
    made = launched(machines, a_launch(net, snapshots), snapshots)
    # A volume's tags come to its snapshots, whoever takes them: only a copy says what of.
    others, copy = snapshots.values()
    fleet.tag(ec2, others, **OURS)
    fleet.tag(ec2, copy, **OURS, **{COPY_OF: others})

    things = machines.things_of("rs-1")

    assert [one.id for one in things.instances] == [made]
    assert len(things.volumes) == 2
    assert len(things.images) == 1
    assert [one.member.snapshot for one in things.snapshots] == [copy]
    assert machines.things_of("rs-2") == type(things)()


# -- what is there to launch into -------------------------------------------------------------


def test_subnets_are_read_with_their_free_addresses(machines, net):
    first, second = net.subnets

    assert {one.id: one.free for one in machines.subnets_in(net.vpc)} == {first: 251, second: 251}
    assert [one.id for one in machines.subnets_in(net.vpc, ZONE)] == [first]
    found = machines.subnets([first, "subnet-0badbadbad0000000"])
    assert (list(found), found[first].vpc, found[first].zone) == ([first], net.vpc, ZONE)


def test_a_subnet_that_gives_public_addresses_says_so(machines, net, ec2):
    first, second = net.subnets
    for subnet, gives in ((first, True), (second, False)):
        ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": gives})

    found = machines.subnets([first, second])

    assert {id_: one.public for id_, one in found.items()} == {first: True, second: False}


def test_a_group_is_isolated_if_nothing_goes_in_or_out(machines, net, ec2):
    group, other = net.groups
    assert not machines.groups([group])[group].isolated

    rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=rules["IpPermissionsEgress"])

    assert machines.groups([group, other, "sg-0badbadbad0000000"])[group].isolated
    assert [one.id for one in machines.groups_named("app-front")] == [group]
    assert machines.groups_named("app-*") == ()


def test_types_are_offered_in_zones_and_have_architectures(machines):
    assert ZONE in machines.zones_offering("m6i.large")
    assert machines.instance_type("m6i.large").architectures == {"x86_64"}
    assert machines.instance_type("m6g.large").architectures == {"arm64"}
    assert machines.zones_offering("m6i.none") == frozenset()
    assert machines.instance_type("m6i.none") is None


def test_a_type_has_cores_and_threads_without_a_word(machines):
    known = machines.instance_type("m6i.large")
    assert (known.cores, known.threads) == (1, 2)


def test_key_pairs_and_profiles_are_looked_for(machines, net):
    assert machines.has_key_pair(net.key)
    assert not machines.has_key_pair("nobody")
    assert machines.has_profile(net.profile_arn)
    assert machines.has_profile(net.profile)
    assert not machines.has_profile("arn:aws:iam::123456789012:instance-profile/x/nobody")


def test_a_profile_is_not_taken_to_be_gone_if_iam_does_not_answer(cloud, machines, net):
    dark = ConnectTimeoutError(endpoint_url="https://iam.amazonaws.com/")
    cloud.faults.spoil("iam.GetInstanceProfile", dark, times=9)

    with pytest.raises(Unavailable):
        machines.has_profile(net.profile)


def test_an_address_is_taken_by_an_interface(machines, net, snapshots):
    launch = a_launch(net, snapshots, cards=(a_card(net, private_ip="10.20.0.40"),))
    made = launched(machines, launch, snapshots)

    assert machines.address_taken(net.subnets[0], "10.20.0.41") is None
    assert f" of {made}" in (machines.address_taken(net.subnets[0], "10.20.0.40") or "")
