"""The test cloud's volumes and instances: launching, attaching, describing, reading back."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cloud.ec2 import Image
from tests.cloud.ec2.seed import seed_fleet
from tests.cloud.in_process import InProcessCloud
from tests.support.refusals import refused

T0 = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"
ZONE = f"{REGION}a"
OTHER_ZONE = f"{REGION}b"
ROOT = "/dev/xvda"


def launch(ec2: Any, **options: Any) -> str:
    wanted = {"ImageId": "ami-12345678", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    return str(ec2.run_instances(**wanted | options)["Instances"][0]["InstanceId"])


def volume(ec2: Any, **options: Any) -> str:
    return str(ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 8} | options)["VolumeId"])


def shared_volume(ec2: Any) -> str:
    return volume(ec2, VolumeType="io2", Iops=1000, MultiAttachEnabled=True)


def the_volume(ec2: Any, volume_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    return found


def the_instance(ec2: Any, instance_id: str) -> dict[str, Any]:
    answer = ec2.describe_instances(InstanceIds=[instance_id])
    found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return found


def volumes_by_device(ec2: Any, instance_id: str) -> dict[str, dict[str, Any]]:
    blocks = the_instance(ec2, instance_id)["BlockDeviceMappings"]
    return {each["DeviceName"]: the_volume(ec2, each["Ebs"]["VolumeId"]) for each in blocks}


def instance_ids(pages: list[dict[str, Any]]) -> list[str]:
    return [
        each["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
    ]


# -- CreateVolume -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "iops", "throughput"),
    [
        ({"VolumeType": "gp3"}, 3000, 125),
        ({"VolumeType": "gp3", "Iops": 4000, "Throughput": 250}, 4000, 250),
        ({"VolumeType": "gp2", "Size": 8}, 100, None),
        ({"VolumeType": "gp2", "Size": 1000}, 3000, None),
        ({"VolumeType": "io2", "Iops": 500}, 500, None),
        ({"VolumeType": "st1", "Size": 500}, None, None),
    ],
)
def test_a_volume_has_the_performance_of_its_type(
    ec2: Any, options: dict[str, Any], iops: int | None, throughput: int | None
) -> None:
    made = the_volume(ec2, volume(ec2, **options))

    assert (made.get("Iops"), made.get("Throughput")) == (iops, throughput)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"VolumeType": "io2"}, "MissingParameter"),
        ({"VolumeType": "gp2", "Iops": 300}, "InvalidParameterCombination"),
        ({"VolumeType": "io1", "Iops": 100, "Throughput": 125}, "InvalidParameterCombination"),
        ({"VolumeType": "gp3", "MultiAttachEnabled": True}, "InvalidParameterCombination"),
        ({"KmsKeyId": "alias/mine"}, "InvalidParameterDependency"),
        ({"AvailabilityZone": "us-east-1a"}, "InvalidZone.NotFound"),
        ({"SnapshotId": "snap-12345678"}, "InvalidSnapshot.NotFound"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(ec2: Any, options: dict[str, Any], code: str) -> None:
    with refused(code):
        volume(ec2, **options)

    assert ec2.describe_volumes()["Volumes"] == []


def test_an_encrypted_volume_names_the_accounts_default_key(ec2: Any) -> None:
    made = the_volume(ec2, volume(ec2, Encrypted=True))

    assert re.fullmatch(rf"arn:aws:kms:{REGION}:123456789012:key/[0-9a-f-]+", made["KmsKeyId"])


def test_a_key_given_by_alias_is_named_by_its_arn(cloud: InProcessCloud, ec2: Any) -> None:
    kms = cloud.client("kms", REGION)
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=key["KeyId"])

    made = the_volume(ec2, volume(ec2, Encrypted=True, KmsKeyId="alias/mine"))

    assert made["KmsKeyId"] == key["Arn"]


def test_encryption_by_default_encrypts_what_did_not_ask_for_it(ec2: Any) -> None:
    ec2.enable_ebs_encryption_by_default()

    assert the_volume(ec2, volume(ec2))["Encrypted"]


def test_a_volume_takes_size_encryption_and_key_from_its_snapshot(
    cloud: InProcessCloud, ec2: Any
) -> None:
    source = the_volume(ec2, volume(ec2, Size=20, Encrypted=True))
    snapshot_id = ec2.create_snapshot(VolumeId=source["VolumeId"])["SnapshotId"]

    with refused("IncorrectState"):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)
    cloud.clock.advance(timedelta(minutes=1))
    with refused("InvalidParameterValue"):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id, Size=19)
    made = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)

    assert (made["Size"], made["Encrypted"]) == (20, True)
    assert made["KmsKeyId"] == source["KmsKeyId"]


def test_a_repeated_client_token_makes_one_volume(ec2: Any) -> None:
    first = volume(ec2, ClientToken="t")

    assert volume(ec2, ClientToken="t") == first
    with refused("IdempotentParameterMismatch"):
        volume(ec2, ClientToken="t", Size=9)
    assert len(ec2.describe_volumes()["Volumes"]) == 1


# -- AttachVolume -----------------------------------------------------------------------------


def test_a_volume_attaches_to_one_instance_only(ec2: Any) -> None:
    volume_id, first, second = volume(ec2), launch(ec2), launch(ec2)
    ec2.attach_volume(VolumeId=volume_id, InstanceId=first, Device="/dev/sdf")

    with refused("VolumeInUse"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=second, Device="/dev/sdf")

    (attachment,) = the_volume(ec2, volume_id)["Attachments"]
    assert attachment["InstanceId"] == first
    assert (attachment["Device"], attachment["State"]) == ("/dev/sdf", "attached")
    assert not attachment["DeleteOnTermination"]


def test_a_multi_attach_volume_attaches_to_several(ec2: Any) -> None:
    volume_id, holders = shared_volume(ec2), [launch(ec2), launch(ec2)]

    for holder in holders:
        ec2.attach_volume(VolumeId=volume_id, InstanceId=holder, Device="/dev/sdf")

    found = the_volume(ec2, volume_id)
    assert found["MultiAttachEnabled"]
    assert {each["InstanceId"] for each in found["Attachments"]} == set(holders)
    for holder in holders:
        answer = ec2.describe_volumes(
            Filters=[{"Name": "attachment.instance-id", "Values": [holder]}]
        )
        assert volume_id in {each["VolumeId"] for each in answer["Volumes"]}


def test_a_multi_attach_volume_attaches_once_to_an_instance(ec2: Any) -> None:
    volume_id, holder = shared_volume(ec2), launch(ec2)
    ec2.attach_volume(VolumeId=volume_id, InstanceId=holder, Device="/dev/sdf")

    with refused("VolumeInUse"):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=holder, Device="/dev/sdg")


def test_a_multi_attach_volume_outlives_the_first_of_its_instances(ec2: Any) -> None:
    volume_id, first, second = shared_volume(ec2), launch(ec2), launch(ec2)
    for holder in (first, second):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=holder, Device="/dev/sdf")
        ec2.modify_instance_attribute(
            InstanceId=holder,
            BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}],
        )

    ec2.terminate_instances(InstanceIds=[first])

    (attachment,) = the_volume(ec2, volume_id)["Attachments"]
    assert attachment["InstanceId"] == second


def test_attaching_across_zones_or_to_a_taken_device_is_refused(ec2: Any) -> None:
    instance_id = launch(ec2, Placement={"AvailabilityZone": ZONE})

    with refused("InvalidVolume.ZoneMismatch"):
        ec2.attach_volume(
            VolumeId=volume(ec2, AvailabilityZone=OTHER_ZONE),
            InstanceId=instance_id,
            Device="/dev/sdf",
        )
    with refused("InvalidParameterValue"):
        ec2.attach_volume(VolumeId=volume(ec2), InstanceId=instance_id, Device=ROOT)


def test_attaching_to_a_terminated_instance_is_refused(ec2: Any) -> None:
    instance_id = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance_id])

    with refused("IncorrectState"):
        ec2.attach_volume(VolumeId=volume(ec2), InstanceId=instance_id, Device="/dev/sdf")


def test_detaching_needs_no_instance_while_there_is_only_one(ec2: Any) -> None:
    single, shared = volume(ec2), shared_volume(ec2)
    first, second = launch(ec2), launch(ec2)
    ec2.attach_volume(VolumeId=single, InstanceId=first, Device="/dev/sdf")
    for holder in (first, second):
        ec2.attach_volume(VolumeId=shared, InstanceId=holder, Device="/dev/sdg")

    ec2.detach_volume(VolumeId=single)
    with refused("IncorrectState"):
        ec2.detach_volume(VolumeId=shared)
    ec2.detach_volume(VolumeId=shared, InstanceId=first)

    assert the_volume(ec2, single)["State"] == "available"
    assert [a["InstanceId"] for a in the_volume(ec2, shared)["Attachments"]] == [second]


# -- DescribeVolumes --------------------------------------------------------------------------


def test_volumes_come_in_pages(ec2: Any) -> None:
    made = {volume(ec2) for _ in range(7)}

    pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))

    assert [len(page["Volumes"]) for page in pages] == [5, 2]
    assert {each["VolumeId"] for page in pages for each in page["Volumes"]} == made


def test_one_unknown_volume_fails_the_whole_describe(ec2: Any) -> None:
    known = volume(ec2)

    with refused("InvalidVolume.NotFound"):
        ec2.describe_volumes(VolumeIds=[known, "vol-12345678"])


def test_volumes_are_found_by_what_they_are(ec2: Any) -> None:
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "backup", "Value": "daily"}]}]
    tagged = volume(ec2, VolumeType="gp3", TagSpecifications=tags)
    shared = shared_volume(ec2)
    far = volume(ec2, AvailabilityZone=OTHER_ZONE, VolumeType="gp2")
    attached = volume(ec2, VolumeType="gp2", Size=99)
    ec2.attach_volume(VolumeId=attached, InstanceId=launch(ec2), Device="/dev/sdz")

    def found(name: str, *values: str) -> set[str]:
        answer = ec2.describe_volumes(Filters=[{"Name": name, "Values": list(values)}])
        return {each["VolumeId"] for each in answer["Volumes"]}

    assert found("tag:backup", "d*") == {tagged}
    assert found("tag-key", "back??") == {tagged}
    assert found("volume-id", tagged, far) == {tagged, far}
    assert found("availability-zone", OTHER_ZONE) == {far}
    assert found("multi-attach-enabled", "true") == {shared}
    assert found("attachment.device", "/dev/sdz") == {attached}
    assert found("status", "available") == {tagged, shared, far}
    assert found("size", "99") == {attached}
    assert found("volume-type", "io?") == {shared}


def test_two_hundred_volumes_can_be_named_in_a_filter_but_no_more(ec2: Any) -> None:
    one = volume(ec2)
    names = [one] * 200

    answer = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": names}])

    assert len(answer["Volumes"]) == 1
    with refused("FilterLimitExceeded"):
        ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [*names, one]}])


# -- RunInstances -----------------------------------------------------------------------------


def test_a_launch_keeps_what_its_mappings_say(cloud: InProcessCloud, ec2: Any) -> None:
    key = cloud.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
    mappings = [
        {"DeviceName": ROOT, "Ebs": {"VolumeSize": 30, "Encrypted": True, "KmsKeyId": key}},
        {
            "DeviceName": "/dev/sdf",
            "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Iops": 5000, "Throughput": 300},
        },
        {
            "DeviceName": "/dev/sdg",
            "Ebs": {
                "VolumeSize": 60,
                "VolumeType": "io2",
                "Iops": 900,
                "DeleteOnTermination": True,
            },
        },
    ]

    made = volumes_by_device(ec2, launch(ec2, BlockDeviceMappings=mappings))

    assert set(made) == {ROOT, "/dev/sdf", "/dev/sdg"}
    assert (made[ROOT]["Size"], made[ROOT]["VolumeType"]) == (30, "gp3")
    assert (made[ROOT]["Encrypted"], made[ROOT]["KmsKeyId"]) == (True, key)
    assert (made["/dev/sdf"]["Iops"], made["/dev/sdf"]["Throughput"]) == (5000, 300)
    assert (made["/dev/sdg"]["VolumeType"], made["/dev/sdg"]["Iops"]) == ("io2", 900)
    kept = {name: each["Attachments"][0]["DeleteOnTermination"] for name, each in made.items()}
    assert kept == {ROOT: True, "/dev/sdf": False, "/dev/sdg": True}


def test_a_launch_from_a_snapshot_has_its_size(cloud: InProcessCloud, ec2: Any) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=volume(ec2, Size=44))["SnapshotId"]
    cloud.clock.advance(timedelta(minutes=1))
    root = {"DeviceName": ROOT, "Ebs": {"SnapshotId": snapshot_id}}

    made = volumes_by_device(ec2, launch(ec2, BlockDeviceMappings=[root]))

    assert (made[ROOT]["Size"], made[ROOT]["SnapshotId"]) == (44, snapshot_id)


def test_a_refused_mapping_leaves_neither_instance_nor_volume(ec2: Any) -> None:
    with refused("MissingParameter"):
        launch(
            ec2,
            BlockDeviceMappings=[
                {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 9, "VolumeType": "io1"}}
            ],
        )

    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_volumes()["Volumes"] == []


def test_a_repeated_client_token_launches_once(ec2: Any) -> None:
    first = launch(ec2, ClientToken="t")

    assert launch(ec2, ClientToken="t") == first
    with refused("IdempotentParameterMismatch"):
        launch(ec2, ClientToken="t", InstanceType="m5.xlarge")
    assert len(ec2.describe_instances()["Reservations"]) == 1


def test_a_launch_makes_as_many_as_the_greatest_count(ec2: Any) -> None:
    answer = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=3)

    assert len(answer["Instances"]) == 3
    assert {each["State"]["Name"] for each in answer["Instances"]} == {"pending"}
    with refused("InvalidParameterCombination"):
        ec2.run_instances(ImageId="ami-12345678", MinCount=3, MaxCount=2)


def test_hibernation_needs_an_encrypted_root(ec2: Any) -> None:
    root = {"DeviceName": ROOT, "Ebs": {"Encrypted": True}}

    with refused("UnsupportedHibernationConfiguration"):
        launch(ec2, HibernationOptions={"Configured": True})
    instance_id = launch(ec2, HibernationOptions={"Configured": True}, BlockDeviceMappings=[root])

    assert the_instance(ec2, instance_id)["HibernationOptions"] == {"Configured": True}


def test_a_launch_dry_run_checks_and_makes_nothing(ec2: Any) -> None:
    with refused("DryRunOperation"):
        launch(ec2, DryRun=True)

    assert ec2.describe_instances()["Reservations"] == []


def test_a_launch_with_an_unknown_profile_is_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue"):
        launch(ec2, IamInstanceProfile={"Name": "nobody"})

    assert ec2.describe_instances()["Reservations"] == []


# -- DescribeInstances ------------------------------------------------------------------------


def test_an_instance_tells_how_it_was_launched(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.images["ami-0b0b0b0b0"] = Image(
        platform="windows",
        platform_details="Windows",
        usage_operation="RunInstances:0002",
        boot_mode="legacy-bios",
    )

    found = the_instance(
        ec2,
        launch(
            ec2,
            ImageId="ami-0b0b0b0b0",
            CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1},
            MaintenanceOptions={"AutoRecovery": "disabled"},
            PrivateDnsNameOptions={"HostnameType": "resource-name"},
            EnclaveOptions={"Enabled": True},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            EbsOptimized=True,
        ),
    )

    assert found["LaunchTime"] == T0
    assert found["Platform"] == "windows"
    assert (found["PlatformDetails"], found["UsageOperation"]) == ("Windows", "RunInstances:0002")
    assert (found["BootMode"], found["CurrentInstanceBootMode"]) == ("legacy-bios", "legacy-bios")
    assert found["EnaSupport"]
    assert found["EbsOptimized"]
    assert found["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert found["MaintenanceOptions"] == {"AutoRecovery": "disabled"}
    assert found["PrivateDnsNameOptions"]["HostnameType"] == "resource-name"
    assert found["EnclaveOptions"] == {"Enabled": True}
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 2


def test_an_instance_names_its_profile_by_the_profiles_id(cloud: InProcessCloud, ec2: Any) -> None:
    profile = cloud.client("iam").create_instance_profile(InstanceProfileName="web")
    known = profile["InstanceProfile"]

    instance_id = launch(ec2, IamInstanceProfile={"Name": "web"})

    assert the_instance(ec2, instance_id)["IamInstanceProfile"] == {
        "Arn": known["Arn"],
        "Id": known["InstanceProfileId"],
    }


def test_an_instance_keeps_all_addresses_of_its_interfaces(ec2: Any) -> None:
    subnet = ec2.describe_subnets()["Subnets"][0]
    prefix = subnet["CidrBlock"].rsplit(".", 1)[0]
    addresses = [
        {"PrivateIpAddress": f"{prefix}.100", "Primary": True},
        {"PrivateIpAddress": f"{prefix}.101", "Primary": False},
    ]

    instance_id = launch(
        ec2,
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnet["SubnetId"],
                "PrivateIpAddresses": addresses,
                "Description": "front",
            }
        ],
    )

    (interface,) = the_instance(ec2, instance_id)["NetworkInterfaces"]
    assert interface["PrivateIpAddresses"] == addresses
    assert interface["Description"] == "front"
    assert interface["Attachment"]["DeleteOnTermination"]
    assert [group["GroupName"] for group in interface["Groups"]] == ["default"]


def test_a_page_of_instances_counts_reservations(ec2: Any) -> None:
    for _ in range(6):
        ec2.run_instances(ImageId="ami-12345678", MinCount=2, MaxCount=2)

    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))

    assert [len(page["Reservations"]) for page in pages] == [5, 1]
    assert len(set(instance_ids(pages))) == 12


def test_instances_are_found_by_tags_and_state(ec2: Any) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "backup", "Value": "daily-gold"}]}]
    running, stopped, other = (
        launch(ec2, TagSpecifications=tags),
        launch(ec2, TagSpecifications=tags),
        launch(ec2, InstanceType="t3.micro"),
    )
    ec2.stop_instances(InstanceIds=[stopped])

    def found(**filters: list[str]) -> set[str]:
        given = [{"Name": k.replace("_", "-"), "Values": v} for k, v in filters.items()]
        return set(instance_ids([ec2.describe_instances(Filters=given)]))

    assert found(**{"tag:backup": ["daily*"]}) == {running, stopped}
    assert found(**{"tag:backup": ["*"]}, instance_state_name=["running"]) == {running}
    assert found(instance_state_name=["running", "stopped"]) == {running, stopped, other}
    assert found(instance_type=["t3.*"]) == {other}
    assert found(instance_id=[other, "i-12345678"]) == {other}
    assert found(tag_key=["backup"]) == {running, stopped}


def test_a_reservation_shows_only_the_instances_that_match(ec2: Any) -> None:
    answer = ec2.run_instances(ImageId="ami-12345678", MinCount=2, MaxCount=2)
    first = answer["Instances"][0]["InstanceId"]

    found = ec2.describe_instances(InstanceIds=[first])["Reservations"]

    assert [each["InstanceId"] for each in found[0]["Instances"]] == [first]
    assert len(instance_ids([ec2.describe_instances()])) == 2


def test_one_unknown_instance_fails_the_whole_describe(ec2: Any) -> None:
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[launch(ec2), "i-12345678"])


def test_a_terminated_instance_is_seen_for_an_hour_without_its_volumes(
    cloud: InProcessCloud, ec2: Any
) -> None:
    instance_id = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance_id])

    cloud.clock.advance(timedelta(minutes=59))
    last_sight = the_instance(ec2, instance_id)
    cloud.clock.advance(timedelta(minutes=1))

    assert last_sight["State"]["Name"] == "terminated"
    assert last_sight.get("BlockDeviceMappings", []) == []
    assert "PrivateIpAddress" not in last_sight
    assert ec2.describe_volumes()["Volumes"] == []
    with refused("InvalidInstanceID.NotFound"):
        ec2.describe_instances(InstanceIds=[instance_id])
    assert instance_ids([ec2.describe_instances()]) == []


# -- GetLaunchTemplateData --------------------------------------------------------------------


def test_launch_template_data_reads_back_the_launch(cloud: InProcessCloud, ec2: Any) -> None:
    instance_id = launch(
        ec2,
        InstanceType="t3.small",
        UserData="#!/bin/sh\necho hello\n",
        DisableApiTermination=True,
        DisableApiStop=True,
        InstanceInitiatedShutdownBehavior="terminate",
        CreditSpecification={"CpuCredits": "standard"},
        CpuOptions={"CoreCount": 1, "ThreadsPerCore": 2},
        MetadataOptions={"HttpTokens": "required"},
        Placement={"AvailabilityZone": ZONE, "Tenancy": "dedicated"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}],
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/sdf",
                "Ebs": {"VolumeSize": 5, "VolumeType": "gp3", "Throughput": 200},
            }
        ],
    )

    data = ec2.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"]

    assert base64.b64decode(data["UserData"]) == b"#!/bin/sh\necho hello\n"
    assert data["DisableApiTermination"]
    assert data["DisableApiStop"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["CreditSpecification"] == {"CpuCredits": "standard"}
    assert data["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["Placement"]["Tenancy"] == "dedicated"
    assert data["TagSpecifications"] == [
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}
    ]
    devices = {each["DeviceName"]: each["Ebs"] for each in data["BlockDeviceMappings"]}
    assert set(devices) == {ROOT, "/dev/sdf"}
    assert (devices["/dev/sdf"]["Iops"], devices["/dev/sdf"]["Throughput"]) == (3000, 200)
    assert json.dumps(data["NetworkInterfaces"][0]["Groups"]).startswith('["sg-')


@pytest.mark.parametrize(
    ("kind", "credits_"), [("t2.micro", "standard"), ("t4g.micro", "unlimited"), ("m5.large", None)]
)
def test_only_burstable_types_have_credits(ec2: Any, kind: str, credits_: str | None) -> None:
    answer = ec2.get_launch_template_data(InstanceId=launch(ec2, InstanceType=kind))

    found = answer["LaunchTemplateData"].get("CreditSpecification", {})
    assert found.get("CpuCredits") == credits_


# -- seeding ----------------------------------------------------------------------------------


def test_a_seeded_fleet_is_like_a_launched_one(cloud: InProcessCloud, ec2: Any) -> None:
    ids = seed_fleet(REGION, 300, 2, tags={"backup": "daily"}, volume_tags={"disk": "d"}, size=20)

    pages = list(
        ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "tag:backup", "Values": ["daily"]}],
            PaginationConfig={"PageSize": 200},
        )
    )
    snapshots = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": ids[0], "ExcludeBootVolume": True},
        CopyTagsFromSource="volume",
    )["Snapshots"]
    data = ec2.get_launch_template_data(InstanceId=ids[0])["LaunchTemplateData"]

    assert [call.operation for call in cloud.calls][:2] == ["DescribeInstances"] * 2
    assert sorted(instance_ids(pages)) == sorted(ids)
    assert [each["Tags"] for each in snapshots] == [[{"Key": "disk", "Value": "d"}]]
    assert len(data["BlockDeviceMappings"]) == 2
    launched = launch(ec2, InstanceType="m6i.large", EbsOptimized=True)
    assert the_instance(ec2, ids[0]).keys() - {"Tags"} == the_instance(ec2, launched).keys() - {
        "PublicIpAddress"
    }
