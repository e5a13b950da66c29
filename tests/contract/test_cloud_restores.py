"""The test cloud's machines as a restore meets them: on the clock, with all that can be refused."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from tests.cloud.ec2 import AS_ON_AWS, Image
from tests.cloud.ec2.seed import Network, seed_network
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.contract.workbench import REGION as SERVED_REGION
from tests.contract.workbench import Allowed, Bench
from tests.support.refusals import refused

REGION = "eu-west-1"
ZONE, OTHER_ZONE = f"{REGION}a", f"{REGION}b"
ROOT = "/dev/xvda"
SECOND = timedelta(seconds=1)
Take = Callable[[str], str]


@pytest.fixture
def net(cloud: InProcessCloud) -> Network:
    return seed_network(REGION)


@pytest.fixture
def paced(cloud: InProcessCloud) -> InProcessCloud:
    cloud.ec2.pace = AS_ON_AWS
    return cloud


@pytest.fixture
def take(cloud: InProcessCloud, ec2: Any) -> Take:
    """A completed snapshot of a volume."""

    def taken(volume_id: str) -> str:
        snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        cloud.clock.advance(timedelta(minutes=1))
        return str(snapshot_id)

    return taken


def launch(ec2: Any, **options: Any) -> str:
    wanted = {"ImageId": "ami-12345678", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    return str(ec2.run_instances(**wanted | options)["Instances"][0]["InstanceId"])


def volume(ec2: Any, **options: Any) -> str:
    return str(ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 8} | options)["VolumeId"])


def the_instance(ec2: Any, instance_id: str) -> dict[str, Any]:
    answer = ec2.describe_instances(InstanceIds=[instance_id])
    found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return found


def state(ec2: Any, instance_id: str) -> str:
    return str(the_instance(ec2, instance_id)["State"]["Name"])


def volumes_of(ec2: Any, instance_id: str) -> dict[str, str]:
    blocks = the_instance(ec2, instance_id)["BlockDeviceMappings"]
    return {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in blocks}


def the_volume(ec2: Any, volume_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    return found


def statuses(ec2: Any, instance_id: str) -> tuple[str, str]:
    answer = ec2.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True)
    (found,) = answer["InstanceStatuses"]
    return found["SystemStatus"]["Status"], found["InstanceStatus"]["Status"]


def tagged(kind: str, **tags: str) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}


def snapshot(ec2: Any, take: Take) -> str:
    return take(volume(ec2))


# -- calls that go wrong, and the cloud behind HTTP -------------------------------------------


@pytest.mark.parametrize("operation", ["RunInstances", "CreateVolume"])
def test_a_lost_reply_is_made_good_by_the_same_token(
    cloud: InProcessCloud, ec2: Any, operation: str
) -> None:
    make = {"RunInstances": launch, "CreateVolume": volume}[operation]
    cloud.faults.spoil(f"ec2.{operation}", LOST_REPLY)

    with pytest.raises(ReadTimeoutError):
        make(ec2, ClientToken="t")
    made = make(ec2, ClientToken="t")

    known = volumes_of(ec2, made) if operation == "RunInstances" else {ROOT: made}
    assert [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]] == list(known.values())


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("start_instances", {"InstanceIds": ["i-12345678"]}),
        ("stop_instances", {"InstanceIds": ["i-12345678"]}),
        ("terminate_instances", {"InstanceIds": ["i-12345678"]}),
        ("describe_instance_status", {}),
        ("create_replace_root_volume_task", {"InstanceId": "i-12345678"}),
        ("describe_replace_root_volume_tasks", {}),
        ("register_image", {"Name": "image"}),
        ("deregister_image", {"ImageId": "ami-12345678"}),
        ("describe_subnets", {}),
        ("describe_network_interfaces", {}),
        ("delete_network_interface", {"NetworkInterfaceId": "eni-12345678"}),
        ("describe_instance_type_offerings", {}),
        ("modify_instance_attribute", {"InstanceId": "i-12345678"}),
        ("attach_volume", {"VolumeId": "vol-1", "InstanceId": "i-1", "Device": "/dev/sdf"}),
        ("delete_volume", {"VolumeId": "vol-12345678"}),
    ],
)
def test_any_call_of_a_restore_can_fail(
    cloud: InProcessCloud, ec2: Any, call: str, given: dict[str, Any]
) -> None:
    cloud.faults.spoil("ec2.*", aws_error("InternalError", status=500))

    with refused("InternalError"):
        getattr(ec2, call)(**given)


def test_a_role_launches_what_it_may_and_passes_what_it_may(bench: Bench) -> None:
    net = bench.cloud.network(SERVED_REGION, name=bench.name("app"))
    wanted = {
        "ImageId": "ami-12345678",
        "InstanceType": "m5.large",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": net["subnets"][0],
        "SecurityGroupIds": [net["groups"][0]],
        "IamInstanceProfile": {"Name": net["profile"]},
    }
    call = {"calls": [["ec2", "run_instances", wanted]]}
    launches: Allowed = ("ec2:RunInstances", "*", of_region())

    function = bench.function(launches)
    assert "not authorized to perform: iam:PassRole" in bench.invoke(function, call)["errorMessage"]

    iam, role = bench.client("iam"), bench.name("function-role")
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": net["role"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [passing]})
    iam.put_role_policy(RoleName=role, PolicyName="passes", PolicyDocument=document)
    assert bench.invoke(function, call) is None

    (reservation,) = bench.client("ec2").describe_instances(
        Filters=[{"Name": "subnet-id", "Values": [net["subnets"][0]]}]
    )["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "running"


def of_region() -> dict[str, Any]:
    return {"Condition": {"StringEquals": {"ec2:Region": SERVED_REGION}}}


def test_a_volume_whose_key_its_maker_may_not_use_is_in_error(bench: Bench) -> None:
    key = bench.key()
    wanted = {"AvailabilityZone": f"{SERVED_REGION}a", "Size": 1, "Encrypted": True}
    call = {"calls": [["ec2", "create_volume", {**wanted, "KmsKeyId": key}]]}

    assert bench.invoke(bench.function(("ec2:CreateVolume", "*")), call) is None

    by_state = [{"Name": "status", "Values": ["error"]}]
    found = bench.client("ec2").describe_volumes(Filters=by_state)["Volumes"]
    assert key in {one["KmsKeyId"] for one in found}


def test_the_cloud_behind_http_can_be_paced(bench: Bench) -> None:
    bench.cloud.conditions(paced=True, no_capacity=[["m4.*", "*"]])
    ec2 = bench.client("ec2")

    with refused("InsufficientInstanceCapacity"):
        launch(ec2, InstanceType="m4.large")
    instance_id = launch(ec2)
    assert state(ec2, instance_id) == "pending"
    bench.cloud.advance(by=AS_ON_AWS.pending)
    assert state(ec2, instance_id) == "running"
    bench.cloud.conditions(paced=False, no_capacity=[])


# -- an instance on the clock -----------------------------------------------------------------


def test_an_instance_runs_stops_starts_and_ends_in_its_time(
    paced: InProcessCloud, ec2: Any
) -> None:
    clock = paced.clock
    instance_id = launch(ec2)

    assert state(ec2, instance_id) == "pending"
    clock.advance(29 * SECOND)
    assert state(ec2, instance_id) == "pending"
    clock.advance(SECOND)
    assert state(ec2, instance_id) == "running"

    (change,) = ec2.stop_instances(InstanceIds=[instance_id], Force=True)["StoppingInstances"]
    assert change["PreviousState"]["Name"] == "running"
    assert change["CurrentState"] == {"Code": 64, "Name": "stopping"}
    with refused("IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[instance_id])
    clock.advance(AS_ON_AWS.stopping)
    assert state(ec2, instance_id) == "stopped"

    ec2.start_instances(InstanceIds=[instance_id])
    assert state(ec2, instance_id) == "pending"
    with refused("IncorrectInstanceState"):
        ec2.stop_instances(InstanceIds=[instance_id])
    clock.advance(AS_ON_AWS.pending)
    assert state(ec2, instance_id) == "running"

    ec2.terminate_instances(InstanceIds=[instance_id])
    assert state(ec2, instance_id) == "shutting-down"
    with refused("IncorrectInstanceState"):
        ec2.stop_instances(InstanceIds=[instance_id])
    clock.advance(AS_ON_AWS.shutting_down)
    assert state(ec2, instance_id) == "terminated"
    clock.advance(timedelta(hours=1))
    with refused("InvalidInstanceID.NotFound"):
        the_instance(ec2, instance_id)


def test_volumes_that_are_not_deleted_with_their_instance_become_available(
    paced: InProcessCloud, ec2: Any
) -> None:
    data = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 9}}
    instance_id = launch(ec2, BlockDeviceMappings=[data])
    held = volumes_of(ec2, instance_id)
    ec2.terminate_instances(InstanceIds=[instance_id])

    assert the_volume(ec2, held["/dev/sdf"])["State"] == "in-use"
    paced.clock.advance(AS_ON_AWS.shutting_down)

    assert the_volume(ec2, held["/dev/sdf"])["State"] == "available"
    with refused("InvalidVolume.NotFound"):
        the_volume(ec2, held[ROOT])


def test_an_instance_that_ends_before_it_ran_does_not_run(paced: InProcessCloud, ec2: Any) -> None:
    instance_id = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance_id])

    paced.clock.advance(timedelta(minutes=5))

    assert state(ec2, instance_id) == "terminated"


def test_a_protected_instance_is_not_terminated_and_nor_are_those_named_with_it(ec2: Any) -> None:
    free, protected = launch(ec2), launch(ec2, DisableApiTermination=True)

    with refused("OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[free, protected])
    assert (state(ec2, free), state(ec2, protected)) == ("running", "running")

    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[protected])


def test_a_launch_with_a_key_that_cannot_be_used_ends_terminated(
    paced: InProcessCloud, ec2: Any
) -> None:
    kms = paced.client("kms", REGION)
    key = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    for given, code in [
        (key["Arn"], "Client.InvalidKMSKey.InvalidState"),
        ("alias/nobody", "Client.InternalError"),
    ]:
        root = {"DeviceName": ROOT, "Ebs": {"Encrypted": True, "KmsKeyId": given}}
        instance_id = launch(ec2, BlockDeviceMappings=[root])

        assert state(ec2, instance_id) == "pending"
        paced.clock.advance(AS_ON_AWS.pending)

        assert state(ec2, instance_id) == "terminated"
        assert the_instance(ec2, instance_id)["StateReason"]["Code"] == code
    assert ec2.describe_volumes()["Volumes"] == []


def test_an_instance_whose_key_is_disabled_does_not_start(cloud: InProcessCloud, ec2: Any) -> None:
    kms = cloud.client("kms", REGION)
    key = kms.create_key()["KeyMetadata"]
    root = {"DeviceName": ROOT, "Ebs": {"Encrypted": True, "KmsKeyId": key["Arn"]}}
    instance_id = launch(ec2, BlockDeviceMappings=[root])
    ec2.stop_instances(InstanceIds=[instance_id])
    kms.disable_key(KeyId=key["KeyId"])

    ec2.start_instances(InstanceIds=[instance_id])

    found = the_instance(ec2, instance_id)
    assert found["State"]["Name"] == "stopped"
    assert found["StateReason"]["Code"] == "Client.InvalidKMSKey.InvalidState"


# -- status checks ----------------------------------------------------------------------------


def test_status_checks_pass_two_minutes_after_the_instance_runs(
    paced: InProcessCloud, ec2: Any
) -> None:
    instance_id = launch(ec2)

    assert ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"] == []
    assert statuses(ec2, instance_id) == ("not-applicable", "not-applicable")
    paced.clock.advance(AS_ON_AWS.pending)
    assert statuses(ec2, instance_id) == ("initializing", "initializing")
    paced.clock.advance(AS_ON_AWS.checking)
    assert statuses(ec2, instance_id) == ("ok", "ok")
    passed = [{"Name": "instance-status.status", "Values": ["ok"]}]
    (found,) = ec2.describe_instance_status(Filters=passed)["InstanceStatuses"]
    assert found["InstanceStatus"]["Details"] == [{"Name": "reachability", "Status": "passed"}]


def test_an_instance_with_a_volume_of_bad_data_never_passes(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    bad = snapshot(ec2, take)
    cloud.ec2.bad_snapshots.add(bad)
    data = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": bad}}
    spoilt, sound, chosen = launch(ec2, BlockDeviceMappings=[data]), launch(ec2), launch(ec2)
    cloud.ec2.impaired.add(chosen)

    assert statuses(ec2, spoilt) == ("ok", "impaired")
    assert statuses(ec2, sound) == ("ok", "ok")
    assert statuses(ec2, chosen) == ("ok", "impaired")


# -- volumes on the clock ---------------------------------------------------------------------


def test_a_volume_is_created_attached_and_detached_in_its_time(
    paced: InProcessCloud, ec2: Any
) -> None:
    instance_id = launch(ec2)
    paced.clock.advance(AS_ON_AWS.pending)
    volume_id = volume(ec2)
    where = {"VolumeId": volume_id, "InstanceId": instance_id, "Device": "/dev/sdf"}

    assert the_volume(ec2, volume_id)["State"] == "creating"
    for early in (
        lambda: ec2.attach_volume(**where),
        lambda: ec2.delete_volume(VolumeId=volume_id),
    ):
        with refused("IncorrectState"):
            early()
    paced.clock.advance(AS_ON_AWS.creating)
    assert ec2.attach_volume(**where)["State"] == "attaching"
    assert the_volume(ec2, volume_id)["Attachments"][0]["State"] == "attaching"
    paced.clock.advance(AS_ON_AWS.attaching)
    assert the_volume(ec2, volume_id)["Attachments"][0]["State"] == "attached"
    with refused("VolumeInUse"):
        ec2.delete_volume(VolumeId=volume_id)
    assert ec2.detach_volume(VolumeId=volume_id, Force=True)["State"] == "detaching"
    with refused("VolumeInUse"):
        ec2.attach_volume(**where)
    paced.clock.advance(AS_ON_AWS.detaching)
    assert the_volume(ec2, volume_id)["State"] == "available"
    ec2.delete_volume(VolumeId=volume_id)
    with refused("InvalidVolume.NotFound"):
        the_volume(ec2, volume_id)


def test_a_volume_is_in_error_if_its_key_cannot_be_used(paced: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2, Encrypted=True, KmsKeyId="alias/nobody")

    paced.clock.advance(AS_ON_AWS.creating)

    assert the_volume(ec2, volume_id)["State"] == "error"
    with refused("IncorrectState"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=launch(ec2), Device="/dev/sdf")
    ec2.delete_volume(VolumeId=volume_id)


def test_a_root_volume_is_detached_only_while_its_instance_is_stopped(ec2: Any) -> None:
    instance_id = launch(ec2)
    root = volumes_of(ec2, instance_id)[ROOT]

    with refused("OperationNotPermitted"):
        ec2.detach_volume(VolumeId=root)
    ec2.stop_instances(InstanceIds=[instance_id])
    ec2.detach_volume(VolumeId=root)
    with refused("InvalidParameterValue"):
        ec2.start_instances(InstanceIds=[instance_id])
    other = volume(
        ec2, AvailabilityZone=the_instance(ec2, instance_id)["Placement"]["AvailabilityZone"]
    )
    ec2.attach_volume(VolumeId=other, InstanceId=instance_id, Device=ROOT)
    ec2.start_instances(InstanceIds=[instance_id])

    assert volumes_of(ec2, instance_id) == {ROOT: other}


def test_a_dry_run_of_a_volume_says_what_the_call_would(ec2: Any) -> None:
    with refused("DryRunOperation"):
        volume(ec2, DryRun=True, ClientToken="t")
    with refused("InvalidSnapshot.NotFound"):
        volume(ec2, DryRun=True, SnapshotId="snap-12345678")

    volume(ec2, ClientToken="t")


# -- what a launch needs ----------------------------------------------------------------------


def in_the_network(net: Network, **more: Any) -> dict[str, Any]:
    interface = {
        "DeviceIndex": 0,
        "SubnetId": net.subnets[0],
        "Groups": list(net.groups),
        "PrivateIpAddress": "10.20.0.50",
    }
    return {
        "KeyName": net.key,
        "IamInstanceProfile": {"Arn": net.profile_arn},
        "NetworkInterfaces": [interface],
        **more,
    }


def test_a_dry_run_passes_and_makes_nothing_if_a_launch_would(ec2: Any, net: Network) -> None:
    with refused("DryRunOperation"):
        launch(ec2, **in_the_network(net), ClientToken="t", DryRun=True)

    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    launch(ec2, **in_the_network(net), ClientToken="t")


def test_a_repeated_token_is_answered_although_its_address_is_taken_by_then(
    ec2: Any, net: Network
) -> None:
    first = launch(ec2, **in_the_network(net), ClientToken="t")

    assert launch(ec2, **in_the_network(net), ClientToken="t") == first
    with refused("InvalidIPAddress.InUse"):
        launch(ec2, **in_the_network(net))
    with refused("IdempotentParameterMismatch"):
        launch(ec2, **in_the_network(net), ClientToken="t", EbsOptimized=True)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"NetworkInterfaces": [], "SubnetId": "subnet-12345678"}, "InvalidSubnetID.NotFound"),
        ({"ImageId": "ami-0dead0dead0dead00"}, "InvalidAMIID.NotFound"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
        ({"InstanceType": "x9.huge"}, "InvalidParameterValue"),
        ({"InstanceType": "m5.metal"}, "Unsupported"),
        ({"Placement": {"HostId": "h-12345678"}}, "InvalidHostID.NotFound"),
        ({"SecurityGroupIds": ["sg-12345678"]}, "InvalidParameterCombination"),
        ({"InstanceType": "c5.large"}, "VcpuLimitExceeded"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_as_the_dry_run_said(
    cloud: InProcessCloud, ec2: Any, net: Network, changes: dict[str, Any], code: str, dry: bool
) -> None:
    cloud.ec2.gone_images.add("ami-0dead0dead0dead00")
    cloud.ec2.not_offered.add(("m5.metal", ZONE))
    cloud.ec2.vcpus = 1 if changes.get("InstanceType") == "c5.large" else None

    with refused(code):
        launch(ec2, **in_the_network(net) | changes, DryRun=dry)


@pytest.mark.parametrize(
    ("interface", "code"),
    [
        ({"Groups": ["sg-12345678"]}, "InvalidGroup.NotFound"),
        ({"PrivateIpAddress": "10.21.0.4"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "10.20.0.3"}, "InvalidParameterValue"),
        ({"NetworkCardIndex": 1}, "InvalidParameterValue"),
        ({"NetworkInterfaceId": "eni-12345678"}, "InvalidNetworkInterfaceID.NotFound"),
    ],
)
def test_an_interface_that_cannot_be_is_refused(
    ec2: Any, net: Network, interface: dict[str, Any], code: str
) -> None:
    (usual,) = in_the_network(net)["NetworkInterfaces"]

    with refused(code):
        launch(ec2, NetworkInterfaces=[usual | interface], DryRun=True)


def test_a_group_of_another_network_is_refused(ec2: Any, net: Network) -> None:
    other = seed_network(REGION, name="other")

    with refused("InvalidParameter"):
        launch(ec2, SubnetId=net.subnets[0], SecurityGroupIds=[other.groups[0]])


def test_a_type_without_capacity_is_refused_but_not_on_a_dry_run(
    cloud: InProcessCloud, ec2: Any, net: Network
) -> None:
    instance_id = launch(ec2, SubnetId=net.subnets[0])
    ec2.stop_instances(InstanceIds=[instance_id])
    cloud.ec2.no_capacity.add(("m5.*", ZONE))

    with refused("InsufficientInstanceCapacity"):
        launch(ec2, SubnetId=net.subnets[0])
    with refused("DryRunOperation"):
        launch(ec2, SubnetId=net.subnets[0], DryRun=True)
    with refused("InsufficientInstanceCapacity"):
        ec2.start_instances(InstanceIds=[instance_id])
    assert state(ec2, instance_id) == "stopped"
    launch(ec2, SubnetId=net.subnets[1])


def test_no_more_instances_run_than_the_quota_allows(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.instances = 1
    first = launch(ec2)

    with refused("InstanceLimitExceeded"):
        launch(ec2)
    ec2.terminate_instances(InstanceIds=[first])
    launch(ec2)


def test_a_subnet_runs_out_of_addresses(ec2: Any, net: Network) -> None:
    def free() -> int:
        answer = ec2.describe_subnets(SubnetIds=[net.subnets[0]])
        return int(answer["Subnets"][0]["AvailableIpAddressCount"])

    assert free() == 251
    ids = [
        one["InstanceId"]
        for one in ec2.run_instances(
            ImageId="ami-12345678",
            InstanceType="m5.large",
            MinCount=250,
            MaxCount=250,
            SubnetId=net.subnets[0],
        )["Instances"]
    ]
    assert free() == 1
    with refused("InsufficientFreeAddressesInSubnet"):
        ec2.run_instances(ImageId="ami-1", MinCount=2, MaxCount=2, SubnetId=net.subnets[0])
    ec2.terminate_instances(InstanceIds=ids[:1])
    assert free() == 2


# -- what is told of a launch -----------------------------------------------------------------


def test_a_launch_is_told_again_with_all_its_options(ec2: Any, net: Network) -> None:
    arn = "arn:aws:license-manager:eu-west-1:123456789012:license-configuration:lic-1"
    reservation = {"CapacityReservationTarget": {"CapacityReservationId": "cr-12345678"}}
    interfaces = [
        {
            "DeviceIndex": 0,
            "NetworkCardIndex": 0,
            "SubnetId": net.subnets[0],
            "Groups": [net.groups[0]],
            "PrivateIpAddresses": [
                {"PrivateIpAddress": "10.20.0.60", "Primary": True},
                {"PrivateIpAddress": "10.20.0.61", "Primary": False},
            ],
            "Description": "front",
            "InterfaceType": "interface",
        },
        {
            "DeviceIndex": 1,
            "SubnetId": net.subnets[0],
            "Groups": [net.groups[1]],
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.20.0.70", "Primary": True}],
            "DeleteOnTermination": False,
        },
    ]
    instance_id = launch(
        ec2,
        InstanceType="t3.large",
        KeyName=net.key,
        IamInstanceProfile={"Name": net.profile},
        UserData="#!/bin/sh",
        NetworkInterfaces=interfaces,
        LicenseSpecifications=[{"LicenseConfigurationArn": arn}],
        CapacityReservationSpecification=reservation,
        Placement={"Tenancy": "dedicated", "GroupName": "rack", "PartitionNumber": 2},
        CreditSpecification={"CpuCredits": "standard"},
        EnclaveOptions={"Enabled": True},
        Monitoring={"Enabled": True},
        DisableApiStop=True,
        TagSpecifications=[
            tagged("instance", Name="web", **{"lastgood:restore": "r1"}),
            tagged("volume", **{"lastgood:restore": "r1"}),
            tagged("network-interface", **{"lastgood:restore": "r1"}),
        ],
    )

    found = the_instance(ec2, instance_id)
    data = ec2.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"]
    ours = [{"Name": "tag:lastgood:restore", "Values": ["r1"]}]
    first, second = sorted(
        ec2.describe_network_interfaces(Filters=ours)["NetworkInterfaces"],
        key=lambda one: one["PrivateIpAddress"],
    )

    assert found["Licenses"] == [{"LicenseConfigurationArn": arn}]
    assert found["CapacityReservationSpecification"] == reservation
    assert found["Placement"]["PartitionNumber"] == 2
    assert found["Placement"]["GroupName"] == "rack"
    assert (found["KeyName"], found["Monitoring"]["State"]) == (net.key, "enabled")
    assert found["IamInstanceProfile"]["Arn"] == net.profile_arn
    assert (first["PrivateIpAddress"], second["PrivateIpAddress"]) == ("10.20.0.60", "10.20.0.70")
    assert len(first["PrivateIpAddresses"]) == 2
    assert [one["GroupId"] for one in second["Groups"]] == [net.groups[1]]
    assert first["Attachment"]["DeleteOnTermination"]
    assert not second["Attachment"]["DeleteOnTermination"]
    assert data["LicenseSpecifications"] == [{"LicenseConfigurationArn": arn}]
    assert data["NetworkInterfaces"][1]["PrivateIpAddresses"][0]["PrivateIpAddress"] == "10.20.0.70"
    assert len(ec2.describe_volumes(Filters=ours)["Volumes"]) == 1
    (credit,) = ec2.describe_instance_credit_specifications(InstanceIds=[instance_id])[
        "InstanceCreditSpecifications"
    ]
    assert credit == {"InstanceId": instance_id, "CpuCredits": "standard"}
    for attribute, name, value in [
        ("userData", "UserData", base64.b64encode(b"#!/bin/sh").decode()),
        ("disableApiStop", "DisableApiStop", True),
        ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior", "stop"),
        ("rootDeviceName", "RootDeviceName", ROOT),
    ]:
        answer = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=attribute)
        assert answer[name] == {"Value": value}


def test_secondary_addresses_may_be_listed_apart_from_the_primary_one(
    ec2: Any, net: Network
) -> None:
    (usual,) = in_the_network(net)["NetworkInterfaces"]
    second = {"PrivateIpAddresses": [{"PrivateIpAddress": "10.20.0.51", "Primary": False}]}

    instance_id = launch(ec2, NetworkInterfaces=[usual | second])

    found = the_instance(ec2, instance_id)
    (interface,) = found["NetworkInterfaces"]
    assert found["PrivateIpAddress"] == "10.20.0.50"
    assert interface["PrivateIpAddresses"] == [
        {"Primary": True, "PrivateIpAddress": "10.20.0.50"},
        {"Primary": False, "PrivateIpAddress": "10.20.0.51"},
    ]


def test_addresses_may_be_asked_for_by_their_number(ec2: Any, net: Network) -> None:
    ec2.associate_subnet_cidr_block(SubnetId=net.subnets[0], Ipv6CidrBlock=ec2_block(ec2, net.vpc))
    (usual,) = in_the_network(net)["NetworkInterfaces"]
    more = {"SecondaryPrivateIpAddressCount": 2, "Ipv6AddressCount": 1}

    instance_id = launch(ec2, NetworkInterfaces=[usual | more])

    (interface,) = the_instance(ec2, instance_id)["NetworkInterfaces"]
    assert [one["Primary"] for one in interface["PrivateIpAddresses"]] == [True, False, False]
    assert len(interface["Ipv6Addresses"]) == 1
    with refused("InvalidParameterValue"):
        elsewhere = {"DeviceIndex": 0, "SubnetId": net.subnets[1], **more}
        launch(ec2, NetworkInterfaces=[elsewhere])


def ec2_block(ec2: Any, vpc: str) -> str:
    """An IPv6 block of the network."""
    ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    (found,) = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    (block,) = found["Ipv6CidrBlockAssociationSet"]
    return str(block["Ipv6CidrBlock"]).replace("/56", "/64")


def test_security_groups_are_shown_with_their_rules_in_pages(ec2: Any, net: Network) -> None:
    ec2.authorize_security_group_ingress(
        GroupId=net.groups[0],
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
                "IpRanges": [{"CidrIp": "10.0.0.0/8"}],
                "UserIdGroupPairs": [{"GroupId": net.groups[1]}],
            }
        ],
    )

    pages = list(
        ec2.get_paginator("describe_security_groups").paginate(
            Filters=[{"Name": "group-name", "Values": ["app-front"]}],
            PaginationConfig={"PageSize": 5},
        )
    )

    ((group,),) = [page["SecurityGroups"] for page in pages]
    (rule,) = group["IpPermissions"]
    assert (rule["FromPort"], rule["IpRanges"][0]["CidrIp"]) == (443, "10.0.0.0/8")
    assert rule["UserIdGroupPairs"][0]["GroupId"] == net.groups[1]
    assert group["IpPermissionsEgress"][0]["IpProtocol"] == "-1"


def test_types_come_in_pages_and_an_unknown_one_is_refused(ec2: Any) -> None:
    graviton = {"Name": "processor-info.supported-architecture", "Values": ["arm64"]}
    pages = ec2.get_paginator("describe_instance_types").paginate(
        Filters=[graviton, {"Name": "instance-type", "Values": ["m7g.*", "m5.*"]}],
        PaginationConfig={"PageSize": 5},
    )
    found = {one["InstanceType"].split(".")[0] for page in pages for one in page["InstanceTypes"]}

    assert found == {"m7g"}
    with refused("InvalidInstanceType"):
        ec2.describe_instance_types(InstanceTypes=["x9.huge"])


def test_images_of_others_are_found_by_a_filter_of_their_ids(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.ec2.gone_images.add("ami-0dead0dead0dead00")
    ids = ["ami-12345678", "ami-0dead0dead0dead00"]

    found = ec2.describe_images(
        IncludeDeprecated=True, Filters=[{"Name": "image-id", "Values": ids}]
    )["Images"]

    assert [one["ImageId"] for one in found] == ["ami-12345678"]


def test_an_interface_that_outlives_its_instance_can_be_deleted_then(
    ec2: Any, net: Network
) -> None:
    (usual,) = in_the_network(net)["NetworkInterfaces"]
    instance_id = launch(ec2, NetworkInterfaces=[usual | {"DeleteOnTermination": False}])
    by_address = [{"Name": "addresses.private-ip-address", "Values": ["10.20.0.50"]}]
    (held,) = ec2.describe_network_interfaces(Filters=by_address)["NetworkInterfaces"]

    with refused("InvalidParameterValue"):
        ec2.delete_network_interface(NetworkInterfaceId=held["NetworkInterfaceId"])
    ec2.terminate_instances(InstanceIds=[instance_id])
    (left,) = ec2.describe_network_interfaces(Filters=by_address)["NetworkInterfaces"]
    assert (left["Status"], "Attachment" in left) == ("available", False)
    ec2.delete_network_interface(NetworkInterfaceId=held["NetworkInterfaceId"])

    assert ec2.describe_network_interfaces(Filters=by_address)["NetworkInterfaces"] == []


def test_what_was_just_launched_is_not_seen_for_the_lag(
    cloud: InProcessCloud, ec2: Any, net: Network
) -> None:
    cloud.ec2.lag = timedelta(seconds=10)
    instance_id = launch(ec2, SubnetId=net.subnets[0])

    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instance_status(InstanceIds=[instance_id])
    cloud.clock.advance(timedelta(seconds=10))
    assert len(ec2.describe_network_interfaces()["NetworkInterfaces"]) == 1
    assert statuses(ec2, instance_id) == ("ok", "ok")


def test_one_attribute_is_changed_at_a_time(ec2: Any) -> None:
    instance_id = launch(ec2)
    mapping = {"DeviceName": ROOT, "Ebs": {"DeleteOnTermination": False}}

    with refused("InvalidParameterCombination"):
        ec2.modify_instance_attribute(
            InstanceId=instance_id, BlockDeviceMappings=[mapping], DisableApiStop={"Value": True}
        )
    with refused("InvalidInstanceAttributeValue"):
        other = mapping | {"DeviceName": "/dev/sdq"}
        ec2.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[other])
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "m5.xlarge"})
    ec2.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[mapping])

    root = volumes_of(ec2, instance_id)[ROOT]
    assert not the_volume(ec2, root)["Attachments"][0]["DeleteOnTermination"]


def test_offerings_are_those_of_the_zone(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.not_offered.add(("m5.large", OTHER_ZONE))

    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": ["m5.large"]}],
    )

    zones = {one["Location"] for one in answer["InstanceTypeOfferings"]}
    assert ZONE in zones
    assert OTHER_ZONE not in zones


def test_preflight_reads_types_groups_keys_and_profiles(
    cloud: InProcessCloud, ec2: Any, net: Network
) -> None:
    (kind,) = ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"]
    groups = ec2.describe_security_groups(GroupIds=list(net.groups))["SecurityGroups"]
    (key,) = ec2.describe_key_pairs(KeyNames=[net.key])["KeyPairs"]
    iam = cloud.client("iam")
    profile = iam.get_instance_profile(InstanceProfileName=net.profile)["InstanceProfile"]

    assert kind["NetworkInfo"]["EnaSupport"] == "required"
    assert {one["VpcId"] for one in groups} == {net.vpc}
    assert key["KeyName"] == net.key
    assert profile["Roles"][0]["Arn"] == net.role
    with refused("InvalidGroup.NotFound"):
        ec2.describe_security_groups(GroupIds=["sg-12345678"])
    with refused("InvalidKeyPair.NotFound"):
        ec2.describe_key_pairs(KeyNames=["nobody"])


# -- images made of snapshots -----------------------------------------------------------------


def register(ec2: Any, root: str, **more: Any) -> str:
    wanted = {
        "Name": "restore r1",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "RootDeviceName": ROOT,
        "BlockDeviceMappings": [
            {"DeviceName": ROOT, "Ebs": {"SnapshotId": root, "VolumeType": "gp3"}}
        ],
    }
    return str(ec2.register_image(**wanted | more)["ImageId"])


def test_an_image_made_of_snapshots_launches_them_and_has_no_licence(
    paced: InProcessCloud, ec2: Any, take: Take
) -> None:
    paced.ec2.images["ami-0b0b0b0b0"] = Image(
        platform="windows", platform_details="Windows", usage_operation="RunInstances:0002"
    )
    source = launch(ec2, ImageId="ami-0b0b0b0b0")
    paced.clock.advance(AS_ON_AWS.pending)
    root = take(volumes_of(ec2, source)[ROOT])
    image_id = register(ec2, root, TagSpecifications=[tagged("image", **{"lastgood:restore": "r"})])

    with refused("InvalidAMIID.Unavailable"):
        launch(ec2, ImageId=image_id)
    paced.clock.advance(AS_ON_AWS.registering)
    instance_id = launch(ec2, ImageId=image_id)

    made = the_volume(ec2, volumes_of(ec2, instance_id)[ROOT])
    assert (made["SnapshotId"], made["VolumeType"]) == (root, "gp3")
    found = the_instance(ec2, instance_id)
    assert (found["UsageOperation"], found["PlatformDetails"]) == ("RunInstances", "Linux/UNIX")
    assert "Platform" not in found
    assert the_instance(ec2, source)["UsageOperation"] == "RunInstances:0002"
    (image,) = ec2.describe_images(
        Owners=["self"], Filters=[{"Name": "tag:lastgood:restore", "Values": ["r"]}]
    )["Images"]
    assert (image["ImageId"], image["State"]) == (image_id, "available")
    (known,) = ec2.describe_images(ImageIds=["ami-0b0b0b0b0"])["Images"]
    assert known["UsageOperation"] == "RunInstances:0002"


def test_an_image_name_is_taken_until_it_is_deregistered(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    root = snapshot(ec2, take)
    image_id = register(ec2, root)

    with refused("InvalidAMIName.Duplicate"):
        register(ec2, root)
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=root)
    with refused("InvalidAMIID.NotFound"):
        launch(cloud.client("ec2", "eu-central-1"), ImageId=image_id)
    ec2.deregister_image(ImageId=image_id)
    with refused("InvalidAMIID.NotFound"):
        launch(ec2, ImageId=image_id)
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[image_id])
    assert register(ec2, root) != image_id


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"EnaSupport": False}, "InvalidParameterCombination"),
        ({"Architecture": "arm64"}, "InvalidParameterValue"),
        ({"VirtualizationType": "paravirtual"}, "InvalidParameterCombination"),
    ],
)
def test_an_image_that_does_not_fit_the_type_is_not_launched(
    ec2: Any, take: Take, changes: dict[str, Any], code: str
) -> None:
    image_id = register(ec2, snapshot(ec2, take), **changes)

    with refused(code):
        launch(ec2, ImageId=image_id, DryRun=True)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Name": "no*good"}, "InvalidAMIName.Malformed"),
        ({"RootDeviceName": "/dev/sda1"}, "InvalidBlockDeviceMapping"),
    ],
)
def test_an_image_that_cannot_be_is_refused(
    ec2: Any, take: Take, changes: dict[str, Any], code: str
) -> None:
    with refused(code):
        register(ec2, snapshot(ec2, take), **changes)


# -- another root volume ----------------------------------------------------------------------


def the_task(ec2: Any, instance_id: str) -> dict[str, Any]:
    filters = [{"Name": "instance-id", "Values": [instance_id]}]
    answer = ec2.describe_replace_root_volume_tasks(Filters=filters)
    found: dict[str, Any] = answer["ReplaceRootVolumeTasks"][-1]
    return found


def replace(ec2: Any, instance_id: str, snapshot_id: str, **more: Any) -> dict[str, Any]:
    answer = ec2.create_replace_root_volume_task(
        InstanceId=instance_id, SnapshotId=snapshot_id, **more
    )
    made: dict[str, Any] = answer["ReplaceRootVolumeTask"]
    return made


def test_a_root_volume_is_replaced_while_its_instance_runs(
    paced: InProcessCloud, ec2: Any, take: Take
) -> None:
    instance_id = launch(ec2)
    paced.clock.advance(AS_ON_AWS.pending)
    before = volumes_of(ec2, instance_id)[ROOT]
    source = take(before)
    asked = {
        "ClientToken": "t",
        "TagSpecifications": [tagged("replace-root-volume-task", **{"lastgood:restore": "r1"})],
    }

    task = replace(ec2, instance_id, source, **asked)
    again = replace(ec2, instance_id, source, **asked)

    assert task["TaskState"] == "pending"
    assert again["ReplaceRootVolumeTaskId"] == task["ReplaceRootVolumeTaskId"]
    assert the_task(ec2, instance_id)["TaskState"] == "in-progress"
    paced.clock.advance(AS_ON_AWS.replacing)
    after = volumes_of(ec2, instance_id)[ROOT]
    ended = the_task(ec2, instance_id)
    assert (ended["TaskState"], ended["Tags"][0]["Value"]) == ("succeeded", "r1")
    assert the_volume(ec2, after)["SnapshotId"] == source
    assert the_volume(ec2, after)["Attachments"][0]["DeleteOnTermination"]
    assert the_volume(ec2, before)["State"] == "available"
    assert statuses(ec2, instance_id) == ("initializing", "initializing")
    # a former root volume will do as well
    replace(ec2, instance_id, source, DeleteReplacedRootVolume=True)
    paced.clock.advance(AS_ON_AWS.replacing)
    with refused("InvalidVolume.NotFound"):
        the_volume(ec2, after)


def test_only_a_snapshot_of_its_own_root_volume_will_do(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    instance_id, stopped = launch(ec2), launch(ec2)
    root = take(volumes_of(ec2, instance_id)[ROOT])
    copy = ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=root)["SnapshotId"]
    cloud.clock.advance(timedelta(minutes=5))
    ec2.stop_instances(InstanceIds=[stopped])

    for other in (snapshot(ec2, take), copy):
        with refused("InvalidParameterValue"):
            replace(ec2, instance_id, other)
    with refused("IncorrectInstanceState"):
        replace(ec2, stopped, root)
    with refused("DryRunOperation"):
        replace(ec2, instance_id, root, DryRun=True)


@pytest.mark.parametrize("outcome", ["failed", "failed-detached"])
def test_a_replacement_may_fail_with_or_without_a_root_volume(
    cloud: InProcessCloud, ec2: Any, take: Take, outcome: str
) -> None:
    instance_id = launch(ec2)
    before = volumes_of(ec2, instance_id)
    cloud.ec2.failing_roots[instance_id] = outcome

    replace(ec2, instance_id, take(before[ROOT]))

    assert the_task(ec2, instance_id)["TaskState"] == outcome
    assert volumes_of(ec2, instance_id) == ({} if outcome == "failed-detached" else before)
