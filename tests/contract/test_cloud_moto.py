"""Why moto is patched: each test fails when a new moto does the thing itself."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.responses import EC2Response

from tests.cloud.clock import Clock
from tests.cloud.in_process import in_process_cloud

T0 = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"
ZONE = f"{REGION}a"


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(T0) as clock:
        yield clock


@pytest.fixture
def bare(clock: Clock) -> Iterator[Any]:
    """A client of moto as it comes."""
    with in_process_cloud(T0) as cloud:
        client = cloud.client("ec2", REGION)
    config: Any = {"core": {"mock_credentials": False, "reset_boto3_session": False}}
    with mock_aws(config=config):
        yield client


def volume(bare: Any, **options: Any) -> str:
    return str(bare.create_volume(**{"AvailabilityZone": ZONE, "Size": 8} | options)["VolumeId"])


def launch(bare: Any, **options: Any) -> dict[str, Any]:
    wanted = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, **options}
    made: dict[str, Any] = bare.run_instances(**wanted)["Instances"][0]
    return made


def the_instance(bare: Any, instance_id: str) -> dict[str, Any]:
    answer = bare.describe_instances(InstanceIds=[instance_id])
    found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return found


def test_moto_completes_a_snapshot_at_once(bare: Any) -> None:
    assert bare.create_snapshot(VolumeId=volume(bare))["State"] == "completed"


def test_moto_gives_no_state_to_the_members_of_a_set(bare: Any) -> None:
    instance_id = launch(bare)["InstanceId"]

    made = bare.create_snapshots(InstanceSpecification={"InstanceId": instance_id})["Snapshots"]

    assert "State" not in made[0]


def test_moto_copies_no_tags_and_takes_any_exclusion(bare: Any) -> None:
    instance_id = launch(bare)["InstanceId"]

    made = bare.create_snapshots(
        InstanceSpecification={"InstanceId": instance_id, "ExcludeDataVolumeIds": ["vol-0"]},
        CopyTagsFromSource="nonsense",
    )["Snapshots"]

    assert len(made) == 1


def test_moto_leaves_a_snapshot_behind_whose_tags_it_refused(bare: Any) -> None:
    tags = [{"Key": f"k{n}", "Value": ""} for n in range(51)]

    with pytest.raises(ClientError):
        bare.create_snapshot(
            VolumeId=volume(bare),
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
        )

    assert len(bare.describe_snapshots()["Snapshots"]) == 1


def test_moto_takes_tags_that_aws_refuses(bare: Any) -> None:
    tags = [{"Key": "aws:" + "k" * 200, "Value": "v" * 300}]

    bare.create_snapshot(
        VolumeId=volume(bare), TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
    )


def test_moto_deletes_no_tag_if_none_is_named(bare: Any) -> None:
    snapshot_id = bare.create_snapshot(VolumeId=volume(bare))["SnapshotId"]
    bare.create_tags(Resources=[snapshot_id], Tags=[{"Key": "a", "Value": ""}])

    bare.delete_tags(Resources=[snapshot_id])

    assert bare.describe_snapshots()["Snapshots"][0]["Tags"]


def test_moto_has_no_limit_on_the_snapshots_of_a_volume(bare: Any) -> None:
    volume_id = volume(bare)

    for _ in range(6):
        bare.create_snapshot(VolumeId=volume_id)


def test_moto_ignores_pages_and_owners(bare: Any) -> None:
    volume_id = volume(bare)
    for _ in range(6):
        bare.create_snapshot(VolumeId=volume_id)
        volume(bare)

    snapshots = bare.describe_snapshots(OwnerIds=["999999999999"], MaxResults=5)
    volumes = bare.describe_volumes(MaxResults=5)

    assert (len(snapshots["Snapshots"]), len(volumes["Volumes"])) == (6, 7)


def test_moto_shows_no_shared_snapshot(bare: Any) -> None:
    backend = ec2_backends["999999999999"][REGION]
    shared = backend.create_snapshot(backend.create_volume(5, ZONE).id, "")
    shared.create_volume_permission_userids.add("123456789012")

    assert bare.describe_snapshots()["Snapshots"] == []


def test_moto_does_not_refuse_an_unknown_filter_as_aws_does(bare: Any) -> None:
    bare.create_snapshot(VolumeId=volume(bare))

    with pytest.raises(NotImplementedError):
        bare.describe_snapshots(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_moto_makes_a_snapshot_of_its_own_for_an_image(bare: Any) -> None:
    snapshot_id = bare.create_snapshot(VolumeId=volume(bare))["SnapshotId"]
    bare.register_image(
        Name="image",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda", "Ebs": {"SnapshotId": snapshot_id}}],
    )

    bare.delete_snapshot(SnapshotId=snapshot_id)


def test_moto_has_no_locks(bare: Any) -> None:
    for call in ("lock_snapshot", "unlock_snapshot", "describe_locked_snapshots"):
        assert not hasattr(EC2Response, call)


def test_moto_archives_a_snapshot_twice_and_shows_tiers_on_one_page(bare: Any) -> None:
    made = [bare.create_snapshot(VolumeId=volume(bare))["SnapshotId"] for _ in range(6)]
    for _ in range(2):
        bare.modify_snapshot_tier(SnapshotId=made[0], StorageTier="archive")

    assert len(bare.describe_snapshot_tier_status(MaxResults=5)["SnapshotTierStatuses"]) == 6


def test_moto_lets_a_snapshot_grow_with_its_volume_and_gives_it_no_key(bare: Any) -> None:
    volume_id = volume(bare, Encrypted=True)
    bare.create_snapshot(VolumeId=volume_id)

    bare.modify_volume(VolumeId=volume_id, Size=80)

    (found,) = bare.describe_snapshots()["Snapshots"]
    assert found["VolumeSize"] == 80
    assert "KmsKeyId" not in found


def test_moto_attaches_across_zones_again_and_to_taken_devices(bare: Any) -> None:
    first, second = launch(bare), launch(bare)
    far = volume(bare, AvailabilityZone=f"{REGION}b")

    for instance in (first, second):
        bare.attach_volume(VolumeId=far, InstanceId=instance["InstanceId"], Device="/dev/sda1")

    (found,) = bare.describe_volumes(VolumeIds=[far])["Volumes"]
    assert len(found["Attachments"]) == 1
    assert "DeleteOnTermination" not in found["Attachments"][0]


def test_moto_needs_an_instance_to_detach(bare: Any) -> None:
    volume_id = volume(bare)
    bare.attach_volume(VolumeId=volume_id, InstanceId=launch(bare)["InstanceId"], Device="/dev/sdf")

    with pytest.raises((TypeError, ClientError)):
        bare.detach_volume(VolumeId=volume_id)


def test_moto_ignores_client_tokens(bare: Any) -> None:
    volumes = {volume(bare, ClientToken="t") for _ in range(2)}
    instances = {launch(bare, ClientToken="t")["InstanceId"] for _ in range(2)}

    assert (len(volumes), len(instances)) == (2, 2)


def test_moto_gives_no_default_throughput_and_takes_volumes_smaller_than_their_snapshot(
    bare: Any,
) -> None:
    snapshot_id = bare.create_snapshot(VolumeId=volume(bare, Size=20))["SnapshotId"]

    small = volume(bare, VolumeType="gp3", Size=1, SnapshotId=snapshot_id)

    (found,) = bare.describe_volumes(VolumeIds=[small])["Volumes"]
    assert "Throughput" not in found


def test_moto_drops_the_performance_in_block_device_mappings(bare: Any) -> None:
    ebs = {"VolumeSize": 9, "VolumeType": "gp3", "Iops": 5000}

    launch(bare, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": ebs}])

    (found,) = bare.describe_volumes()["Volumes"]
    assert found["Iops"] == 3000
    with pytest.raises(ClientError):
        launch(
            bare,
            BlockDeviceMappings=[
                {"DeviceName": "/dev/sdf", "Ebs": ebs | {"VolumeType": "io2", "Iops": 500}}
            ],
        )


def test_moto_drops_launch_options(bare: Any) -> None:
    instance_id = launch(
        bare,
        CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1},
        MaintenanceOptions={"AutoRecovery": "disabled"},
        EnclaveOptions={"Enabled": True},
        PrivateDnsNameOptions={"HostnameType": "resource-name"},
        HibernationOptions={"Configured": True},
        DisableApiTermination=True,
    )["InstanceId"]

    found = the_instance(bare, instance_id)
    missing = {"CpuOptions", "MaintenanceOptions", "EnclaveOptions", "PrivateDnsNameOptions"}
    assert not found.keys() & (missing | {"BootMode", "PlatformDetails", "UsageOperation"})
    bare.terminate_instances(InstanceIds=[instance_id])


def test_moto_launches_the_least_count(bare: Any) -> None:
    assert len(bare.run_instances(ImageId="ami-1", MinCount=1, MaxCount=3)["Instances"]) == 1


def test_moto_leaves_user_data_and_credits_out_of_launch_template_data(bare: Any) -> None:
    instance_id = launch(bare, UserData="hello", InstanceType="m5.large")["InstanceId"]

    data = bare.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"]

    assert data.get("UserData") != "aGVsbG8="
    assert data["CreditSpecification"] == {"CpuCredits": "standard"}


def test_moto_shows_a_terminated_instance_for_ever(bare: Any, clock: Clock) -> None:
    instance_id = launch(bare)["InstanceId"]
    bare.terminate_instances(InstanceIds=[instance_id])

    clock.advance(timedelta(days=1))

    assert the_instance(bare, instance_id)["State"]["Name"] == "terminated"


def test_moto_reads_all_tags_of_a_region_for_each_resource(bare: Any) -> None:
    assert "describe_tags" in TaggedEC2Resource.get_tags.__code__.co_names


def test_moto_ignores_parameters_that_it_does_not_know(bare: Any) -> None:
    bare.create_snapshot(VolumeId=volume(bare), Location="local")


def test_moto_keeps_the_launch_time_of_an_instance_that_was_started_again(
    bare: Any, clock: Clock
) -> None:
    instance = launch(bare)
    bare.stop_instances(InstanceIds=[instance["InstanceId"]])
    clock.advance(timedelta(hours=1))

    bare.start_instances(InstanceIds=[instance["InstanceId"]])

    assert the_instance(bare, instance["InstanceId"])["LaunchTime"] == instance["LaunchTime"]
