"""The test cloud's snapshots: creating, limits, lifecycle, events, deleting, describing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.ec2.models import ec2_backends

from tests.cloud.ec2 import Image, Outcome
from tests.cloud.in_process import InProcessCloud
from tests.support.refusals import refused

T0 = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"
ACCOUNT = "123456789012"
STRANGER = "999999999999"


def launch(ec2: Any, data_volumes: int = 1, **options: Any) -> tuple[str, list[str]]:
    """An instance and its volumes, the root first."""
    devices = [
        {"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3"}}
        for letter in "fghij"[:data_volumes]
    ]
    wanted = {"BlockDeviceMappings": devices, "InstanceType": "m5.large", **options}
    answer = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, **wanted)
    made = answer["Instances"][0]
    return made["InstanceId"], [each["Ebs"]["VolumeId"] for each in made["BlockDeviceMappings"]]


def volume(ec2: Any, size: int = 8, **options: Any) -> str:
    made = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=size, **options)
    return str(made["VolumeId"])


def tagged(**tags: str) -> list[dict[str, Any]]:
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": "snapshot", "Tags": pairs}]


def own(ec2: Any, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_snapshots(OwnerIds=["self"], **options)["Snapshots"]
    return found


def tags_of(snapshot: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}


# -- creating ---------------------------------------------------------------------------------


def test_a_new_snapshot_is_pending_and_has_the_tags_of_its_call(ec2: Any) -> None:
    volume_id = volume(ec2)

    made = ec2.create_snapshot(
        VolumeId=volume_id, Description="nightly", TagSpecifications=tagged(point="p1")
    )

    assert made["State"] == "pending"
    assert made["StartTime"] == T0
    assert (made["VolumeId"], made["VolumeSize"], made["Description"]) == (volume_id, 8, "nightly")
    assert tags_of(made) == {"point": "p1"}


def test_a_set_has_one_pending_snapshot_for_each_volume(ec2: Any) -> None:
    instance_id, volume_ids = launch(ec2, data_volumes=2)

    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance_id}, TagSpecifications=tagged(point="p1")
    )["Snapshots"]

    assert sorted(each["VolumeId"] for each in made) == sorted(volume_ids)
    assert {each["State"] for each in made} == {"pending"}
    assert all(tags_of(each) == {"point": "p1"} for each in made)


def test_a_set_leaves_out_the_boot_volume_and_the_named_data_volumes(ec2: Any) -> None:
    instance_id, (_, first, second) = launch(ec2, data_volumes=2)

    made = ec2.create_snapshots(
        InstanceSpecification={
            "InstanceId": instance_id,
            "ExcludeBootVolume": True,
            "ExcludeDataVolumeIds": [first],
        }
    )["Snapshots"]

    assert [each["VolumeId"] for each in made] == [second]


def test_a_set_refuses_to_exclude_the_root_as_a_data_volume(ec2: Any) -> None:
    instance_id, (root, *_) = launch(ec2)

    with refused("InvalidParameterValue"):
        ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance_id, "ExcludeDataVolumeIds": [root]}
        )

    assert own(ec2) == []


def test_a_set_refuses_to_exclude_a_volume_that_is_not_attached(ec2: Any) -> None:
    instance_id, _ = launch(ec2)

    with refused("InvalidParameterValue"):
        ec2.create_snapshots(
            InstanceSpecification={
                "InstanceId": instance_id,
                "ExcludeDataVolumeIds": [volume(ec2)],
            }
        )


def test_a_set_refuses_more_than_forty_exclusions(ec2: Any) -> None:
    instance_id, (_, data) = launch(ec2)

    with refused("InvalidParameterValue"):
        ec2.create_snapshots(
            InstanceSpecification={
                "InstanceId": instance_id,
                "ExcludeDataVolumeIds": [data] * 41,
            }
        )


def test_a_set_without_any_volume_left_is_refused(ec2: Any) -> None:
    instance_id, _ = launch(ec2, data_volumes=0)

    with refused("InvalidParameterValue"):
        ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance_id, "ExcludeBootVolume": True}
        )


def test_a_set_copies_the_tags_of_each_volume_beside_those_of_the_call(ec2: Any) -> None:
    instance_id, (root, data) = launch(ec2)
    ec2.create_tags(Resources=[root], Tags=[{"Key": "disk", "Value": "root"}])
    ec2.create_tags(Resources=[data], Tags=[{"Key": "disk", "Value": "data"}])

    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance_id},
        CopyTagsFromSource="volume",
        TagSpecifications=tagged(point="p1"),
    )["Snapshots"]

    found = {each["VolumeId"]: tags_of(each) for each in made}
    assert found == {
        root: {"disk": "root", "point": "p1"},
        data: {"disk": "data", "point": "p1"},
    }


def test_copied_and_given_tags_together_may_not_exceed_fifty(ec2: Any) -> None:
    instance_id, (_, data) = launch(ec2)
    ec2.create_tags(Resources=[data], Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])

    with refused("TagLimitExceeded"):
        ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance_id},
            CopyTagsFromSource="volume",
            TagSpecifications=tagged(point="p1"),
        )

    assert own(ec2) == []


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([(f"k{n}", "") for n in range(51)], "TagLimitExceeded"),
        ([("k" * 129, "")], "InvalidParameterValue"),
        ([("k", "v" * 257)], "InvalidParameterValue"),
        ([("aws:mine", "")], "InvalidParameterValue"),
        ([("k", "1"), ("k", "2")], "InvalidParameterValue"),
        ([("", "v")], "InvalidParameterValue"),
    ],
)
def test_refused_tags_leave_no_snapshot_behind(
    ec2: Any, pairs: list[tuple[str, str]], code: str
) -> None:
    volume_id = volume(ec2)
    tags = [{"Key": key, "Value": value} for key, value in pairs]

    with refused(code):
        ec2.create_snapshot(
            VolumeId=volume_id,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
        )

    assert own(ec2) == []


def test_tags_of_the_greatest_length_and_number_are_taken(ec2: Any) -> None:
    pairs = {f"{n:0128}": "v" * 256 for n in range(50)}

    made = ec2.create_snapshot(VolumeId=volume(ec2), TagSpecifications=tagged(**pairs))

    assert tags_of(made) == pairs


def test_tags_for_another_resource_type_are_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue"):
        ec2.create_snapshot(
            VolumeId=volume(ec2),
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": ""}]}],
        )


@pytest.mark.parametrize(
    ("instance_id", "code"),
    [("i-12345678", "InvalidInstanceID.NotFound"), ("i-nonsense", "InvalidInstanceID.Malformed")],
)
def test_a_set_of_an_instance_that_is_not_there_is_refused(
    ec2: Any, instance_id: str, code: str
) -> None:
    with refused(code):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})


def test_a_set_of_a_terminated_instance_is_refused(ec2: Any) -> None:
    instance_id, _ = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance_id])

    with refused("IncorrectInstanceState"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})


def test_a_set_of_a_hibernation_enabled_instance_is_refused(ec2: Any) -> None:
    root = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}
    instance_id, _ = launch(
        ec2, BlockDeviceMappings=[root], HibernationOptions={"Configured": True}
    )

    with refused("UnsupportedOperation"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})


@pytest.mark.parametrize(
    ("volume_id", "code"),
    [("vol-12345678", "InvalidVolume.NotFound"), ("vol-x", "InvalidVolumeID.Malformed")],
)
def test_a_snapshot_of_a_volume_that_is_not_there_is_refused(
    ec2: Any, volume_id: str, code: str
) -> None:
    with refused(code):
        ec2.create_snapshot(VolumeId=volume_id)


def test_a_description_of_more_than_255_characters_is_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue"):
        ec2.create_snapshot(VolumeId=volume(ec2), Description="d" * 256)


def test_a_dry_run_makes_nothing(ec2: Any) -> None:
    instance_id, (root, _) = launch(ec2)

    with refused("DryRunOperation"):
        ec2.create_snapshot(VolumeId=root, DryRun=True)
    with refused("DryRunOperation"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id}, DryRun=True)

    assert own(ec2) == []


# -- limits -----------------------------------------------------------------------------------


def test_snapshots_of_one_volume_must_be_fifteen_seconds_apart(
    cloud: InProcessCloud, ec2: Any
) -> None:
    volume_id = volume(ec2)
    ec2.create_snapshot(VolumeId=volume_id)

    cloud.clock.advance(timedelta(seconds=14))
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)

    cloud.clock.advance(timedelta(seconds=1))
    ec2.create_snapshot(VolumeId=volume_id)


@pytest.mark.parametrize(("kind", "most"), [("gp3", 5), ("st1", 1)])
def test_a_volume_has_only_so_many_pending_snapshots(
    cloud: InProcessCloud, ec2: Any, kind: str, most: int
) -> None:
    volume_id = volume(ec2, size=500, VolumeType=kind)
    cloud.ec2.outcomes[volume_id] = Outcome(duration=timedelta(hours=1))
    for _ in range(most):
        ec2.create_snapshot(VolumeId=volume_id)
        cloud.clock.advance(timedelta(seconds=15))

    with refused("ConcurrentSnapshotLimitExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)

    cloud.clock.advance(timedelta(hours=1))
    ec2.create_snapshot(VolumeId=volume_id)


def test_a_set_is_refused_as_a_whole_for_the_spacing_of_one_volume(ec2: Any) -> None:
    instance_id, (_, data) = launch(ec2)
    ec2.create_snapshot(VolumeId=data)

    with refused("SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})

    assert [each["VolumeId"] for each in own(ec2)] == [data]


@pytest.mark.parametrize(("kind", "most"), [("gp3", 5), ("st1", 1)])
def test_a_set_is_refused_as_a_whole_for_the_pending_snapshots_of_one_volume(
    cloud: InProcessCloud, ec2: Any, kind: str, most: int
) -> None:
    device = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 500, "VolumeType": kind}}
    instance_id, (_, data) = launch(ec2, BlockDeviceMappings=[device])
    cloud.ec2.outcomes[data] = Outcome(duration=timedelta(hours=1))
    for _ in range(most):
        ec2.create_snapshot(VolumeId=data)
        cloud.clock.advance(timedelta(seconds=15))

    with refused("ConcurrentSnapshotLimitExceeded"):
        ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})

    assert [each["VolumeId"] for each in own(ec2)] == [data] * most


def test_limits_can_be_switched_off(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.limits = False
    volume_id = volume(ec2)

    for _ in range(6):
        ec2.create_snapshot(VolumeId=volume_id)

    assert len(own(ec2)) == 6


# -- lifecycle and events ---------------------------------------------------------------------


def test_a_snapshot_completes_on_the_clock(cloud: InProcessCloud, ec2: Any) -> None:
    ec2.create_snapshot(VolumeId=volume(ec2, size=100))

    cloud.clock.advance(timedelta(seconds=20))
    halfway = own(ec2)[0]
    cloud.clock.advance(timedelta(seconds=20))
    over = own(ec2)[0]

    assert (halfway["State"], halfway["Progress"]) == ("pending", "50%")
    assert "CompletionTime" not in halfway
    assert (over["State"], over["Progress"]) == ("completed", "100%")
    assert over["CompletionTime"] == T0 + timedelta(seconds=40)
    assert over["FullSnapshotSizeInBytes"] > 0


def test_a_completed_snapshot_is_told_in_an_event(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]

    cloud.clock.advance(timedelta(minutes=1))

    (event,) = cloud.events
    assert event.pop("id")
    assert event == {
        "version": "0",
        "detail-type": "EBS Snapshot Notification",
        "source": "aws.ec2",
        "account": ACCOUNT,
        "time": "2025-03-01T03:00:21Z",
        "region": REGION,
        "resources": [f"arn:aws:ec2::{REGION}:snapshot/{snapshot_id}"],
        "detail": {
            "event": "createSnapshot",
            "result": "succeeded",
            "cause": "",
            "request-id": "",
            "snapshot_id": f"arn:aws:ec2::{REGION}:snapshot/{snapshot_id}",
            "source": f"arn:aws:ec2::{REGION}:volume/{volume_id}",
            "startTime": "2025-03-01T03:00:00Z",
            "endTime": "2025-03-01T03:00:21Z",
        },
    }


def test_a_set_is_told_of_once_when_its_last_member_is_over(
    cloud: InProcessCloud, ec2: Any
) -> None:
    instance_id, (root, data) = launch(ec2)
    cloud.ec2.outcomes[data] = Outcome(duration=timedelta(minutes=10))
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})["Snapshots"]
    ids = {each["VolumeId"]: each["SnapshotId"] for each in made}

    cloud.clock.advance(timedelta(minutes=9))
    before = [event["detail"]["event"] for event in cloud.events]
    cloud.clock.advance(timedelta(minutes=1))

    assert before == ["createSnapshot"]
    (event,) = [e for e in cloud.events if e["detail"]["event"] == "createSnapshots"]
    assert event["detail-type"] == "EBS Multi-Volume Snapshots Completion Status"
    assert event["resources"] == [
        f"arn:aws:ec2::{REGION}:snapshot/{ids[each]}" for each in (root, data)
    ]
    assert event["detail"] == {
        "event": "createSnapshots",
        "result": "succeeded",
        "cause": "",
        "request-id": "",
        "startTime": "2025-03-01T03:00:00Z",
        "endTime": "2025-03-01T03:10:00Z",
        "snapshots": [
            {
                "snapshot_id": f"arn:aws:ec2::{REGION}:snapshot/{ids[each]}",
                "source": f"arn:aws:ec2::{REGION}:volume/{each}",
                "status": "completed",
            }
            for each in (root, data)
        ],
    }


def test_a_failed_snapshot_says_why_only_when_described(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2)
    cloud.ec2.outcomes[volume_id] = Outcome(error="Given key ID is not accessible")
    made = ec2.create_snapshot(VolumeId=volume_id)

    cloud.clock.advance(timedelta(minutes=1))

    assert "StateMessage" not in made
    (found,) = own(ec2)
    assert (found["State"], found["StateMessage"]) == ("error", "Given key ID is not accessible")
    assert "CompletionTime" not in found
    (event,) = cloud.events
    assert event["detail"]["result"] == "failed"
    assert event["detail"]["cause"] == "Given key ID is not accessible"


def test_one_failed_member_fails_its_whole_set(cloud: InProcessCloud, ec2: Any) -> None:
    instance_id, (_, quick, slow) = launch(ec2, data_volumes=2)
    cloud.ec2.outcomes[quick] = Outcome(duration=timedelta(minutes=2), error="no")
    cloud.ec2.outcomes[slow] = Outcome(duration=timedelta(minutes=9))
    ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})

    cloud.clock.advance(timedelta(minutes=10))

    assert {each["State"] for each in own(ec2)} == {"error"}
    (event,) = [e for e in cloud.events if e["detail"]["event"] == "createSnapshots"]
    (failed,) = own(ec2, Filters=[{"Name": "volume-id", "Values": [quick]}])
    assert event["detail"]["result"] == "failed"
    assert event["detail"]["cause"] == f"Snapshot {failed['SnapshotId']} is in status error"
    assert {each["status"] for each in event["detail"]["snapshots"]} == {"error"}
    assert event["detail"]["endTime"] == "2025-03-01T03:02:00Z"


def test_a_snapshot_keeps_the_size_its_volume_had(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2, size=8)
    ec2.create_snapshot(VolumeId=volume_id)

    ec2.modify_volume(VolumeId=volume_id, Size=80)

    assert own(ec2)[0]["VolumeSize"] == 8


def test_a_snapshot_of_an_encrypted_volume_names_its_key(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2, Encrypted=True)
    key = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["KmsKeyId"]

    ec2.create_snapshot(VolumeId=volume_id)

    (found,) = own(ec2)
    assert found["Encrypted"]
    assert found["KmsKeyId"] == key
    assert key.startswith(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/")


# -- deleting ---------------------------------------------------------------------------------


def test_a_deleted_snapshot_is_gone(cloud: InProcessCloud, ec2: Any) -> None:
    made = ec2.create_snapshot(VolumeId=volume(ec2), TagSpecifications=tagged(point="p1"))
    snapshot_id = made["SnapshotId"]
    cloud.clock.advance(timedelta(minutes=1))

    ec2.delete_snapshot(SnapshotId=snapshot_id)

    assert own(ec2) == []
    assert ec2.describe_tags()["Tags"] == []
    with refused("InvalidSnapshot.NotFound"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_pending_snapshot_is_deleted_when_it_is_over(cloud: InProcessCloud, ec2: Any) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=volume(ec2))["SnapshotId"]

    ec2.delete_snapshot(SnapshotId=snapshot_id)
    states = [each["State"] for each in own(ec2)]
    cloud.clock.advance(timedelta(minutes=1))

    assert states == ["pending"]
    assert own(ec2) == []


def test_a_snapshot_that_an_image_uses_is_not_deleted(cloud: InProcessCloud, ec2: Any) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=volume(ec2))["SnapshotId"]
    cloud.clock.advance(timedelta(minutes=1))
    cloud.ec2.images["ami-0aaaaaaaa"] = Image(snapshot_ids=frozenset({snapshot_id}))

    with refused("InvalidSnapshot.InUse") as caught:
        ec2.delete_snapshot(SnapshotId=snapshot_id)

    message = f"The snapshot {snapshot_id} is currently in use by ami-0aaaaaaaa"
    assert caught.value.response["Error"]["Message"] == message
    assert len(own(ec2)) == 1


def test_a_deleted_snapshot_is_described_for_the_lag_and_cannot_be_used(
    cloud: InProcessCloud, ec2: Any
) -> None:
    made = ec2.create_snapshot(VolumeId=volume(ec2), TagSpecifications=tagged(point="p1"))
    cloud.clock.advance(timedelta(minutes=1))
    cloud.ec2.lag = timedelta(seconds=5)

    ec2.delete_snapshot(SnapshotId=made["SnapshotId"])
    at_once = own(ec2, Filters=[{"Name": "tag:point", "Values": ["p1"]}])
    with refused("InvalidSnapshot.NotFound"):
        ec2.delete_snapshot(SnapshotId=made["SnapshotId"])
    with refused("InvalidSnapshot.NotFound"):
        ec2.create_volume(AvailabilityZone=f"{REGION}a", SnapshotId=made["SnapshotId"])
    cloud.clock.advance(timedelta(seconds=5))

    assert [(each["SnapshotId"], tags_of(each)) for each in at_once] == [
        (made["SnapshotId"], {"point": "p1"})
    ]
    assert own(ec2) == []


# -- tags -------------------------------------------------------------------------------------


def tags_in(ec2: Any, snapshot_id: str) -> dict[str, str]:
    return tags_of(own(ec2, SnapshotIds=[snapshot_id])[0])


def test_tags_are_put_on_several_snapshots_and_taken_away_again(
    cloud: InProcessCloud, ec2: Any
) -> None:
    made = list(snapshots_of(cloud, ec2, 2))

    ec2.create_tags(Resources=made, Tags=[{"Key": "hold", "Value": "a"}, {"Key": "kept"}])
    put = [tags_in(ec2, each) for each in made]
    ec2.create_tags(Resources=made[:1], Tags=[{"Key": "hold", "Value": "b"}])
    ec2.delete_tags(Resources=made, Tags=[{"Key": "hold", "Value": "a"}])
    of_a_value = [tags_in(ec2, each) for each in made]
    ec2.delete_tags(Resources=made, Tags=[{"Key": "hold"}])

    assert put == [{"hold": "a", "kept": ""}] * 2
    assert of_a_value == [{"hold": "b", "kept": ""}, {"kept": ""}]
    assert [tags_in(ec2, each) for each in made] == [{"kept": ""}] * 2


def test_who_names_no_tag_to_delete_deletes_all(cloud: InProcessCloud, ec2: Any) -> None:
    made = ec2.create_snapshot(VolumeId=volume(ec2), TagSpecifications=tagged(a="1", b="2"))

    ec2.delete_tags(Resources=[made["SnapshotId"]])

    assert tags_in(ec2, made["SnapshotId"]) == {}


@pytest.mark.parametrize(
    ("key", "code"), [("aws:mine", "InvalidParameterValue"), ("k51", "TagLimitExceeded")]
)
def test_a_tag_that_one_resource_cannot_have_is_put_on_none(
    cloud: InProcessCloud, ec2: Any, key: str, code: str
) -> None:
    (bare,) = snapshots_of(cloud, ec2, 1)
    tags = tagged(**{f"k{n}": "" for n in range(50)})
    full = ec2.create_snapshot(VolumeId=volume(ec2), TagSpecifications=tags)["SnapshotId"]

    with refused(code):
        ec2.create_tags(Resources=[bare, full], Tags=[{"Key": key, "Value": ""}])

    assert tags_in(ec2, bare) == {}


def test_tags_of_a_snapshot_that_is_gone_or_of_more_than_a_thousand_are_refused(
    cloud: InProcessCloud, ec2: Any
) -> None:
    (made,) = snapshots_of(cloud, ec2, 1)
    hold = [{"Key": "hold", "Value": ""}]

    for change in (ec2.create_tags, ec2.delete_tags):
        with refused("InvalidSnapshot.NotFound"):
            change(Resources=[made, "snap-12345678"], Tags=hold)
        with refused("InvalidParameterValue"):
            change(Resources=[made] * 1001, Tags=hold)

    assert tags_in(ec2, made) == {}


# -- describing -------------------------------------------------------------------------------


def snapshots_of(cloud: InProcessCloud, ec2: Any, number: int) -> set[str]:
    cloud.ec2.limits = False
    volume_id = volume(ec2)
    return {ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"] for _ in range(number)}


def test_pages_hold_what_was_asked_for_and_end(cloud: InProcessCloud, ec2: Any) -> None:
    made = snapshots_of(cloud, ec2, 12)

    pages = list(
        ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], PaginationConfig={"PageSize": 5}
        )
    )

    assert [len(page["Snapshots"]) for page in pages] == [5, 5, 2]
    assert {each["SnapshotId"] for page in pages for each in page["Snapshots"]} == made


def test_deleting_between_pages_neither_hides_nor_repeats(cloud: InProcessCloud, ec2: Any) -> None:
    made = snapshots_of(cloud, ec2, 12)
    cloud.clock.advance(timedelta(minutes=1))
    first = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)
    seen = [each["SnapshotId"] for each in first["Snapshots"]]

    for snapshot_id in seen:
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    rest = own(ec2, MaxResults=10, NextToken=first["NextToken"])

    assert len(rest) == 7
    assert made == {*seen, *(each["SnapshotId"] for each in rest)}


@pytest.mark.parametrize("size", [4, 1001])
def test_a_page_has_between_5_and_1000_items(ec2: Any, size: int) -> None:
    with refused("InvalidParameterValue"):
        ec2.describe_snapshots(OwnerIds=["self"], MaxResults=size)


def test_page_size_and_ids_do_not_go_together(cloud: InProcessCloud, ec2: Any) -> None:
    made = snapshots_of(cloud, ec2, 1)

    with refused("InvalidParameterCombination"):
        ec2.describe_snapshots(SnapshotIds=list(made), MaxResults=5)


def test_an_invented_page_token_is_refused(ec2: Any) -> None:
    with refused("InvalidPaginationToken"):
        ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5, NextToken="made-up")


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("tag:backup", ["daily"], ["a"]),
        ("tag:backup", ["d*"], ["a", "b"]),
        ("tag:backup", ["dail?"], ["a"]),
        ("tag:backup", ["daily?"], ["a"]),
        ("tag:backup", ["dai?"], []),
        ("tag:backup", ["daily", "*100%*"], ["a", "c"]),
        ("tag:backup", [r"d\*"], ["b"]),
        ("tag:backup", ["DAILY"], []),
        ("tag:absent", ["*"], []),
        ("tag-key", ["Name", "other"], ["c"]),
        ("description", ["??st of *"], ["a", "b", "c"]),
        ("status", ["pending"], ["a", "b", "c"]),
        ("volume-size", ["8"], ["a", "b", "c"]),
        ("encrypted", ["false"], ["a", "b", "c"]),
        ("owner-id", [STRANGER], []),
        ("start-time", ["2025-03-01T03:00:00.000Z"], ["a", "b", "c"]),
        ("start-time", ["2025-03-01*"], ["a", "b", "c"]),
        ("storage-tier", ["archive"], []),
    ],
)
def test_a_filter_takes_wildcards_and_any_of_its_values(
    cloud: InProcessCloud, ec2: Any, name: str, values: list[str], found: list[str]
) -> None:
    cloud.ec2.limits = False
    volume_id = volume(ec2)
    tags = {
        "a": {"backup": "daily"},
        "b": {"backup": "d*"},
        "c": {"backup": "at 100% [x]", "Name": "n"},
    }
    ids = {
        key: ec2.create_snapshot(
            VolumeId=volume_id, Description="test of it", TagSpecifications=tagged(**given)
        )["SnapshotId"]
        for key, given in tags.items()
    }

    answer = own(ec2, Filters=[{"Name": name, "Values": values}])

    assert {each["SnapshotId"] for each in answer} == {ids[key] for key in found}


def test_several_filters_must_all_hold(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.limits = False
    volume_id = volume(ec2)
    ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tagged(a="1", b="1"))
    ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tagged(a="1", b="2"))

    same_name = [{"Name": "tag:b", "Values": ["1"]}, {"Name": "tag:b", "Values": ["2"]}]
    two_names = [{"Name": "tag:a", "Values": ["1"]}, {"Name": "tag:b", "Values": ["2"]}]

    assert own(ec2, Filters=same_name) == []
    assert [tags_of(each)["b"] for each in own(ec2, Filters=two_names)] == ["2"]


def test_a_tag_key_and_one_of_two_hundred_values_of_another_must_both_be_there(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.ec2.limits = False
    volume_id = volume(ec2)
    for tags in ({"point": "1", "source": "i-199"}, {"point": "2", "source": "i-200"}):
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tagged(**tags))
    ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=tagged(source="i-1"))

    found = own(
        ec2,
        Filters=[
            {"Name": "tag-key", "Values": ["point"]},
            {"Name": "tag:source", "Values": [f"i-{n}" for n in range(200)]},
        ],
    )

    assert [tags_of(each)["point"] for each in found] == ["1"]


def test_an_unknown_filter_is_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue"):
        own(ec2, Filters=[{"Name": "colour", "Values": ["red"]}])


def test_a_filter_value_has_at_most_255_characters(ec2: Any) -> None:
    with refused("InvalidParameterValue"):
        own(ec2, Filters=[{"Name": "tag:a", "Values": ["v" * 256]}])


def test_a_filter_takes_at_most_200_values(ec2: Any) -> None:
    with refused("FilterLimitExceeded"):
        own(ec2, Filters=[{"Name": "volume-id", "Values": ["vol-12345678"] * 201}])


@pytest.mark.parametrize(
    ("snapshot_id", "code"),
    [("snap-12345678", "InvalidSnapshot.NotFound"), ("snap-1", "InvalidSnapshotID.Malformed")],
)
def test_describing_a_snapshot_that_is_not_there_is_refused(
    ec2: Any, snapshot_id: str, code: str
) -> None:
    with refused(code):
        ec2.describe_snapshots(SnapshotIds=[snapshot_id])


def strangers_snapshot(cloud: InProcessCloud) -> Any:
    """A snapshot of another account, in moto's own objects."""
    backend = ec2_backends[STRANGER][REGION]
    other = backend.create_volume(5, f"{REGION}a")
    return backend.create_snapshot(other.id, "foreign")


def test_a_foreign_snapshot_is_not_seen(cloud: InProcessCloud, ec2: Any) -> None:
    foreign = strangers_snapshot(cloud)

    assert ec2.describe_snapshots(SnapshotIds=[foreign.id])["Snapshots"] == []
    assert ec2.describe_snapshots(OwnerIds=[STRANGER])["Snapshots"] == []


def test_a_shared_or_public_snapshot_is_seen_but_is_not_ones_own(
    cloud: InProcessCloud, ec2: Any
) -> None:
    shared, public = strangers_snapshot(cloud), strangers_snapshot(cloud)
    shared.create_volume_permission_userids.add(ACCOUNT)
    public.create_volume_permission_groups.add("all")

    seen = ec2.describe_snapshots(OwnerIds=[STRANGER])["Snapshots"]
    for_me = ec2.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]
    for_all = ec2.describe_snapshots(RestorableByUserIds=["all"])["Snapshots"]

    assert {each["SnapshotId"] for each in seen} == {shared.id, public.id}
    assert {each["SnapshotId"] for each in for_me} == {shared.id, public.id}
    assert {each["SnapshotId"] for each in for_all} == {public.id}
    assert own(ec2) == []


def test_a_new_snapshot_is_seen_only_after_the_lag(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.lag = timedelta(seconds=5)
    snapshot_id = ec2.create_snapshot(VolumeId=volume(ec2))["SnapshotId"]

    at_once = own(ec2)
    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=[snapshot_id])
    cloud.clock.advance(timedelta(seconds=5))

    assert at_once == []
    assert [each["SnapshotId"] for each in own(ec2)] == [snapshot_id]


def test_a_new_volume_is_seen_only_after_the_lag_and_can_be_used_at_once(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.ec2.lag = timedelta(seconds=5)
    volume_id = volume(ec2)

    ec2.create_snapshot(VolumeId=volume_id)
    at_once = ec2.describe_volumes()["Volumes"]
    with refused("InvalidVolume.NotFound"):
        ec2.describe_volumes(VolumeIds=[volume_id])
    cloud.clock.advance(timedelta(seconds=5))

    assert at_once == []
    assert [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]] == [volume_id]


def test_a_new_instance_and_its_volumes_are_seen_only_after_the_lag_and_can_be_used_at_once(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.ec2.lag = timedelta(seconds=5)
    instance_id, volume_ids = launch(ec2)

    ec2.create_snapshots(InstanceSpecification={"InstanceId": instance_id})
    at_once = [ec2.describe_instances()["Reservations"], ec2.describe_volumes()["Volumes"]]
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[instance_id])
    cloud.clock.advance(timedelta(seconds=5))

    assert at_once == [[], []]
    (reservation,) = ec2.describe_instances()["Reservations"]
    assert [each["InstanceId"] for each in reservation["Instances"]] == [instance_id]
    assert len(ec2.describe_volumes()["Volumes"]) == len(volume_ids)


def test_the_lag_is_for_what_is_made_under_it(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = volume(ec2)

    cloud.ec2.lag = timedelta(seconds=5)

    assert [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]] == [volume_id]


def test_describes_without_ids_filters_or_pages_are_noted(cloud: InProcessCloud, ec2: Any) -> None:
    ec2.describe_snapshots(OwnerIds=["self"])
    ec2.describe_volumes()
    ec2.describe_instances()
    ec2.describe_instances(MaxResults=5)
    ec2.describe_volumes(Filters=[{"Name": "status", "Values": ["in-use"]}])

    assert [each.operation for each in cloud.ec2.broad_describes] == [
        "DescribeSnapshots",
        "DescribeVolumes",
        "DescribeInstances",
    ]
