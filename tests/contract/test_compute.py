"""``Ec2Compute`` against EC2 as AWS is: pages, fields, refusals, and what is never tried again."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from moto.ec2.models import ec2_backends

from lastgood.aws.clients import ONCE, client
from lastgood.aws.compute import Ec2Compute
from lastgood.domain.manifest import Attachment, Instance, Interface, Volume
from lastgood.domain.model import MemberState, Method, Source
from lastgood.domain.requests import TakeRequest
from lastgood.domain.tags import POINT, RUN
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    InUse,
    KeyDenied,
    LastgoodError,
    LimitReached,
    RegionNotEnabled,
    SourceGone,
    Throttled,
    Unavailable,
)
from tests.cloud.ec2 import Image, Outcome
from tests.cloud.ec2.seed import seed_fleet
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support.builders import T0, an_instance
from tests.support.fleet import disk, launch, tag, volume, volumes_of

ACCOUNT = "123456789012"
HOME = "eu-west-1"
ZONE = f"{HOME}a"
DAILY = {"backup": "daily"}
URL = "https://ec2.eu-west-1.amazonaws.com/"


@pytest.fixture
def ec2(cloud: InProcessCloud) -> Any:
    return cloud.client("ec2", HOME)


@pytest.fixture
def compute(cloud: InProcessCloud) -> Ec2Compute:
    return Ec2Compute(cloud.client("ec2", HOME), cloud.client("ec2", HOME))


@pytest.fixture
def deployed(cloud: InProcessCloud, monkeypatch) -> Ec2Compute:
    """With the clients that the functions have; botocore's pauses between tries left out."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    return Ec2Compute(client("ec2", HOME), client("ec2", HOME, ONCE))


def a_request(source="i-0a", **given):
    facts: dict[str, Any] = {
        "point": "pt-1",
        "policy": "web-daily",
        "run": "run-1",
        "slot": T0,
        "source": Source(id=source, region=HOME, account=ACCOUNT),
        "method": Method.SET,
        "planned_at": T0,
    }
    return TakeRequest(**facts | given)


def attempts(cloud):
    """How often the calls that the last fault matches went out, botocore's own tries included."""
    return cloud.faults._faults[-1].seen


# -- pages and chunks -------------------------------------------------------------------------


def test_a_fleet_comes_in_pages_of_a_thousand(cloud, compute):
    ids = seed_fleet(HOME, 1001, 1, tags=DAILY, volume_tags=DAILY)

    instances = [page.items for page in compute.instances({"backup": ("daily",)})]
    volumes = [page.items for page in compute.volumes({"backup": ("daily",)})]

    assert [len(page) for page in instances] == [len(page) for page in volumes] == [1000, 1]
    assert {one.id for page in instances for one in page} == set(ids)
    assert len({one.id for page in volumes for one in page}) == 1001
    assert len(cloud.calls.of("ec2.DescribeInstances")) == 2
    assert len(cloud.calls.of("ec2.DescribeVolumes")) == 2
    assert cloud.ec2.broad_describes == []


def seed_volumes(count):
    """Straight into moto, so that no call is made; their ids."""
    backend = ec2_backends[ACCOUNT][HOME]
    return [backend.create_volume(8, ZONE, volume_type="gp3").id for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "asked"), [(200, [200]), (201, [201]), (1200, [1000, 200]), (1201, [1000, 201])]
)
def test_volumes_by_id_are_asked_for_a_thousand_at_a_time(cloud, compute, count, asked):
    ids = seed_volumes(count)

    found = compute.volumes_by_id(ids)

    assert sorted(found) == sorted(ids)
    assert [len(named(call.params)) for call in cloud.calls.of("ec2.DescribeVolumes")] == asked


def named(params):
    return params.get("VolumeIds") or params["Filters"][0]["Values"]


def test_a_volume_that_is_gone_does_not_hide_the_others(cloud, compute):
    ids = seed_volumes(250)

    found = compute.volumes_by_id([*ids, "vol-0123456789abcdef0"])

    assert sorted(found) == sorted(ids)
    assert [len(named(call.params)) for call in cloud.calls.of("ec2.DescribeVolumes")] == [
        251,
        200,
        51,
    ]


@pytest.mark.parametrize("gone", [["vol-0123456789abcdef0"], []])
def test_few_volumes_are_asked_for_by_filter_so_that_one_that_is_gone_is_just_not_there(
    cloud, compute, ec2, gone
):
    wanted = volume(ec2, ZONE)

    assert sorted(compute.volumes_by_id([wanted, *gone, wanted])) == [wanted]
    assert len(cloud.calls.of("ec2.DescribeVolumes")) == 1


def test_instances_by_id_are_asked_for_two_hundred_at_a_time(cloud, compute):
    ids = seed_fleet(HOME, 201, 1)

    found = compute.instances_by_id([*ids, "i-0123456789abcdef0"])

    assert sorted(found) == sorted(ids)
    assert [
        len(call.params["Filters"][0]["Values"]) for call in cloud.calls.of("ec2.DescribeInstances")
    ] == [200, 2]


@pytest.mark.parametrize("read", ["instances_by_id", "volumes_by_id"])
def test_asking_for_nothing_costs_no_call(cloud, compute, read):
    assert getattr(compute, read)([]) == {}

    assert cloud.calls == []


READS = {"DescribeInstances": "instances", "DescribeVolumes": "volumes"}


@pytest.mark.parametrize(("operation", "read"), READS.items())
def test_from_the_next_of_a_page_on_comes_what_was_after_it(cloud, compute, operation, read):
    seed_fleet(HOME, 1001, 1, tags=DAILY, volume_tags=DAILY)
    first, second = getattr(compute, read)({"backup": ("daily",)})
    del cloud.calls[:]

    (rest,) = getattr(compute, read)({"backup": ("daily",)}, first.next)

    assert rest == second
    assert (len(rest.items), rest.next) == (1, None)
    assert len(cloud.calls.of(f"ec2.{operation}")) == 1


@pytest.mark.parametrize("token", ["eyJ2IjoiMiIsImMiOiJ4In0=", "a___1", "None"])
@pytest.mark.parametrize(("operation", "read"), READS.items())
def test_the_place_to_go_on_from_goes_to_ec2_as_it_came_from_there(
    cloud, compute, operation, read, token
):
    """A token is opaque. botocore makes tokens of its own, some of which look the same."""
    cloud.faults.spoil(f"ec2.{operation}", aws_error("InvalidPaginationToken"))

    with pytest.raises(CallRefused):
        list(getattr(compute, read)({"backup": ("daily",)}, token))

    (call,) = cloud.calls.of(f"ec2.{operation}")
    assert call.params["NextToken"] == token
    assert call.params["MaxResults"] == 1000


# -- tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a*c", "a?c", "a\\c", "*", "?", "\\*", "abc", "a.c", "[ab]c"])
def test_a_tags_value_is_compared_exactly_whatever_characters_it_has(compute, ec2, value):
    values = {"a*c", "a?c", "a\\c", "*", "?", "\\*", "abc", "a.c", "[ab]c", "ABC", "a\\\\c"}
    ids = {one: volume(ec2, ZONE, {"backup": one}) for one in values}
    instance = launch(ec2, "web", tags={"backup": value})
    launch(ec2, "other", tags={"backup": "other"})

    assert [one.id for page in compute.volumes({"backup": (value,)}) for one in page.items] == [
        ids[value]
    ]
    assert [one.id for page in compute.instances({"backup": (value,)}) for one in page.items] == [
        instance
    ]


def test_every_key_must_match_with_any_of_its_values(compute, ec2):
    both = volume(ec2, ZONE, {"backup": "gold", "stage": "prod"})
    volume(ec2, ZONE, {"backup": "gold"})
    volume(ec2, ZONE, {"backup": "never", "stage": "prod"})

    pages = compute.volumes({"backup": ("daily", "gold"), "stage": ("prod",)})

    assert [one.id for page in pages for one in page.items] == [both]


def test_terminated_instances_are_shown_so_that_planning_can_say_so(compute, ec2):
    gone = launch(ec2, "web")
    ec2.terminate_instances(InstanceIds=[gone])

    (page,) = compute.instances({"backup": ("daily",)})
    (found,) = page.items

    assert (found.id, found.state) == (gone, "terminated")


# -- what is read -----------------------------------------------------------------------------


def test_every_field_of_a_volume_is_read(compute, ec2):
    instance = launch(ec2, "web", disk("/dev/sdf", 20, Iops=4000, Throughput=250, Encrypted=True))
    data = volumes_of(ec2, instance)["/dev/sdf"]
    tag(ec2, data, team="web")
    described = ec2.describe_volumes(VolumeIds=[data])["Volumes"][0]

    found = compute.volumes_by_id([data])[data]

    assert found == Volume(
        id=data,
        type="gp3",
        size_gib=20,
        state="in-use",
        zone=ZONE,
        encrypted=True,
        iops=4000,
        throughput=250,
        kms_key=described["KmsKeyId"],
        multi_attach=False,
        attachments=(Attachment(instance=instance, device="/dev/sdf", delete_on_termination=True),),
        tags={"team": "web"},
    )


def test_a_shared_volume_is_read_with_every_instance_that_it_is_attached_to(compute, ec2):
    shared = volume(ec2, ZONE, {}, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    instances = [launch(ec2, name) for name in ("a", "b")]
    for one in instances:
        ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdh")

    found = compute.volumes_by_id([shared])[shared]

    assert found.multi_attach
    assert {one.instance for one in found.attachments} == set(instances)
    assert found.throughput is None


class Literal:
    """A client that answers with these dictionaries, as the EC2 API Reference has them."""

    def __init__(self, **answers: Mapping[str, Any]) -> None:
        self.meta = SimpleNamespace(region_name=HOME)
        self._answers = answers

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [self._answers[operation]])

    def __getattr__(self, operation: str) -> Any:
        return lambda **_: self._answers[operation]


LAUNCHED = datetime(2026, 1, 30, 2, 0, tzinfo=UTC)
BARE_INSTANCE: dict[str, Any] = {
    "InstanceId": "i-0a",
    "State": {"Code": 16, "Name": "running"},
    "InstanceType": "m6i.large",
    "ImageId": "ami-1",
    "LaunchTime": LAUNCHED,
    "Placement": {"AvailabilityZone": ZONE},
}
FULL_INSTANCE: dict[str, Any] = BARE_INSTANCE | {
    "Architecture": "arm64",
    "RootDeviceName": "/dev/xvda",
    "HibernationOptions": {"Configured": True},
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-1", "Status": "attached"}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ],
    "Tags": [{"Key": "backup", "Value": "daily"}],
    "VpcId": "vpc-1",
    "SubnetId": "subnet-1",
    "SecurityGroups": [{"GroupId": "sg-1", "GroupName": "web"}],
    "NetworkInterfaces": [
        {
            "NetworkInterfaceId": "eni-1",
            "Attachment": {"DeviceIndex": 1, "NetworkCardIndex": 2, "DeleteOnTermination": False},
            "SubnetId": "subnet-1",
            "Groups": [{"GroupId": "sg-1"}, {"GroupId": "sg-2"}],
            "PrivateIpAddresses": [
                {"PrivateIpAddress": "10.0.0.9", "Primary": False},
                {"PrivateIpAddress": "10.0.0.4", "Primary": True},
            ],
            "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}],
            "Description": "front",
            "InterfaceType": "efa",
            "SourceDestCheck": False,
            "Association": {"PublicIp": "203.0.113.7"},
        },
        {"NetworkInterfaceId": "eni-2"},
    ],
    "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/web", "Id": "x"},
    "KeyName": "ops",
    "BootMode": "uefi",
    "VirtualizationType": "hvm",
    "EnaSupport": True,
    "SriovNetSupport": "simple",
    "PlatformDetails": "Windows",
    "UsageOperation": "RunInstances:0002",
    "InstanceLifecycle": "spot",
    "TpmSupport": "v2.0",
    "Monitoring": {"State": "enabled"},
    "EbsOptimized": True,
    "Placement": {
        "AvailabilityZone": ZONE,
        "Tenancy": "dedicated",
        "GroupName": "cluster",
        "PartitionNumber": 3,
    },
    "CpuOptions": {"CoreCount": 4, "ThreadsPerCore": 1},
    "MetadataOptions": {"State": "applied", "HttpTokens": "required"},
    "PrivateDnsNameOptions": {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": True},
    "MaintenanceOptions": {"AutoRecovery": "default"},
    "EnclaveOptions": {"Enabled": True},
    "Licenses": [{"LicenseConfigurationArn": "arn:aws:license-manager:x"}],
    "CapacityReservationId": "cr-1",
}


def read_instance(described):
    page = {"Reservations": [{"Instances": [described]}]}
    (found,) = Ec2Compute(Literal(describe_instances=page), None).instances_by_id(["i-0a"]).values()
    return found


def test_every_field_of_an_instance_is_read():
    assert read_instance(FULL_INSTANCE) == Instance(
        id="i-0a",
        state="running",
        type="m6i.large",
        image="ami-1",
        architecture="arm64",
        launched_at=LAUNCHED,
        zone=ZONE,
        root_device="/dev/xvda",
        hibernation=True,
        volumes={"/dev/xvda": "vol-1"},
        tags={"backup": "daily"},
        vpc="vpc-1",
        subnet="subnet-1",
        groups=("sg-1",),
        interfaces=(
            Interface(
                id="eni-1",
                device_index=1,
                network_card=2,
                subnet="subnet-1",
                groups=("sg-1", "sg-2"),
                private_ips=("10.0.0.4", "10.0.0.9"),
                ipv6=("2001:db8::1",),
                description="front",
                type="efa",
                source_dest_check=False,
                delete_on_termination=False,
                public_ip="203.0.113.7",
            ),
            Interface(
                id="eni-2", device_index=0, network_card=0, subnet="", groups=(), private_ips=()
            ),
        ),
        instance_profile="arn:aws:iam::123456789012:instance-profile/web",
        key_name="ops",
        boot_mode="uefi",
        virtualization="hvm",
        ena=True,
        sriov="simple",
        platform="Windows",
        usage_operation="RunInstances:0002",
        lifecycle="spot",
        tpm="v2.0",
        monitoring="enabled",
        ebs_optimized=True,
        placement={"Tenancy": "dedicated", "GroupName": "cluster", "PartitionNumber": 3},
        cpu_options={"CoreCount": 4, "ThreadsPerCore": 1},
        metadata_options={"HttpTokens": "required"},
        private_dns_options={"HostnameType": "ip-name", "EnableResourceNameDnsARecord": True},
        maintenance_options={"AutoRecovery": "default"},
        enclave=True,
        licenses=("arn:aws:license-manager:x",),
        capacity_reservation="cr-1",
    )


def test_the_test_of_every_field_leaves_none_at_its_default():
    full, bare = read_instance(FULL_INSTANCE), read_instance(BARE_INSTANCE)
    always = {"id", "state", "type", "image", "launched_at", "zone"}

    same = {
        name for name in Instance.__dataclass_fields__ if getattr(full, name) == getattr(bare, name)
    }

    assert same == always


def test_an_instance_of_which_ec2_says_little_is_read_all_the_same():
    found = read_instance(BARE_INSTANCE)

    assert (found.volumes, found.tags, found.interfaces, found.groups) == ({}, {}, (), ())
    assert found.root_volume is None
    assert found.instance_profile is None


def test_an_option_that_is_a_structure_of_its_own_is_passed_over():
    described = BARE_INSTANCE | {"CpuOptions": {"CoreCount": 2, "New": {"Deep": 1}, "List": [1]}}

    assert read_instance(described).cpu_options == {"CoreCount": 2}


def test_an_instance_launched_with_everything_is_read_as_it_was_launched(compute, ec2, cloud):
    cloud.ec2.images["ami-0123456789abcdef0"] = Image(
        platform_details="Windows", usage_operation="RunInstances:0002", boot_mode="uefi"
    )
    id_ = launch(
        ec2,
        "web",
        disk("/dev/sdf"),
        InstanceType="m6i.large",
        EbsOptimized=True,
        Monitoring={"Enabled": True},
        CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1},
        EnclaveOptions={"Enabled": True},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
    )

    found = compute.instances_by_id([id_])[id_]

    assert found.volumes == volumes_of(ec2, id_)
    assert found.root_volume == volumes_of(ec2, id_)["/dev/xvda"]
    assert (found.platform, found.usage_operation) == ("Windows", "RunInstances:0002")
    assert found.cpu_options["CoreCount"] == 1
    assert found.metadata_options["HttpTokens"] == "required"
    assert "State" not in found.metadata_options
    assert found.enclave
    assert found.interfaces[0].private_ips
    assert found.interfaces[0].groups == found.groups
    assert found.tags == {"Name": "web", "backup": "daily"}


def test_a_volume_that_is_being_attached_to_no_instance_yet_has_no_attachment():
    described = {
        "VolumeId": "vol-1",
        "VolumeType": "gp2",
        "Size": 1,
        "State": "in-use",
        "AvailabilityZone": ZONE,
        "Encrypted": False,
        "Attachments": [{"AssociatedResource": "arn:aws:ecs:task", "State": "attaching"}],
    }
    compute = Ec2Compute(Literal(describe_volumes={"Volumes": [described]}), None)

    found = compute.volumes_by_id(["vol-1"])["vol-1"]

    assert found.attachments == ()
    assert (found.iops, found.throughput, found.kms_key, found.tags) == (None, None, None, {})


def test_launch_attributes_are_those_that_only_one_instance_at_a_time_tells(compute, ec2):
    id_ = launch(
        ec2,
        "web",
        InstanceType="t3.large",
        UserData="#!/bin/sh",
        DisableApiTermination=True,
        DisableApiStop=True,
        InstanceInitiatedShutdownBehavior="terminate",
        CreditSpecification={"CpuCredits": "unlimited"},
    )
    instance = compute.instances_by_id([id_])[id_]

    launch_facts = compute.launch_attributes(instance, T0)

    assert launch_facts.read_at == T0
    assert launch_facts.launched_at == instance.launched_at
    assert launch_facts.user_data == "IyEvYmluL3No"
    assert launch_facts.shutdown_behavior == "terminate"
    assert launch_facts.credit_mode == "unlimited"
    assert launch_facts.termination_protection
    assert launch_facts.stop_protection


def test_an_instance_without_user_data_or_credits_has_none():
    compute = Ec2Compute(Literal(get_launch_template_data={"LaunchTemplateData": {}}), None)

    facts = compute.launch_attributes(an_instance(), T0)

    assert (facts.user_data, facts.credit_mode, facts.shutdown_behavior) == (None, None, None)
    assert not facts.termination_protection
    assert not facts.stop_protection


# -- what is created --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "instance", "copied"),
    [
        ({}, {}, {"CopyTagsFromSource": "volume"}),
        ({"exclude_boot": True}, {"ExcludeBootVolume": True}, {"CopyTagsFromSource": "volume"}),
        (
            {"excluded": ("{sdf}",)},
            {"ExcludeDataVolumeIds": ["{sdf}"]},
            {"CopyTagsFromSource": "volume"},
        ),
        ({}, {}, {}),
    ],
)
def test_a_set_is_asked_for_with_its_tags_in_the_call_itself(
    cloud, compute, ec2, given, instance, copied
):
    id_ = launch(ec2, "web", disk("/dev/sdf"), disk("/dev/sdg"))
    data = volumes_of(ec2, id_)["/dev/sdf"]
    given = {key: (data,) if key == "excluded" else value for key, value in given.items()}
    instance = {
        key: [data] if isinstance(value, list) else value for key, value in instance.items()
    }

    members = compute.snapshot_set(
        a_request(id_, **given), {"lastgood:point": "pt-1"}, copy_tags=bool(copied)
    )

    (call,) = cloud.calls.of("ec2.CreateSnapshots")
    assert call.params == {
        "InstanceSpecification": {"InstanceId": id_, **instance},
        "Description": f"Lastgood web-daily: {id_} for 2026-03-01T02:00:00Z",
        "TagSpecifications": [
            {"ResourceType": "snapshot", "Tags": [{"Key": "lastgood:point", "Value": "pt-1"}]}
        ],
        **copied,
    }
    assert len(members) == 3 - bool(given)
    assert {one.state for one in members} == {MemberState.PENDING}
    assert {one.started_at for one in members} == {cloud.clock.now()}


def test_a_volume_is_asked_for_with_its_tags_in_the_call_itself(cloud, compute, ec2):
    id_ = volume(ec2, ZONE, Size=20)
    lone = compute.volumes_by_id([id_])[id_]

    member = compute.snapshot_volume(lone, a_request(id_), {"lastgood:point": "pt-1"})

    (call,) = cloud.calls.of("ec2.CreateSnapshot")
    assert call.params == {
        "VolumeId": id_,
        "Description": f"Lastgood web-daily: {id_} for 2026-03-01T02:00:00Z",
        "TagSpecifications": [
            {"ResourceType": "snapshot", "Tags": [{"Key": "lastgood:point", "Value": "pt-1"}]}
        ],
    }
    assert (member.volume, member.size_gib, member.encrypted) == (id_, 20, False)
    assert member.cause is None
    assert compute.snapshots_of("pt-1") == (member,)


def test_the_snapshots_of_a_point_come_oldest_first_and_no_others(cloud, compute, ec2):
    id_ = launch(ec2, "web")
    (first,) = compute.snapshot_set(a_request(id_), {"lastgood:point": "pt-1"}, copy_tags=True)
    cloud.clock.advance(timedelta(minutes=1))
    (second,) = compute.snapshot_set(a_request(id_), {"lastgood:point": "pt-1"}, copy_tags=True)
    cloud.clock.advance(timedelta(minutes=1))
    compute.snapshot_set(a_request(id_), {"lastgood:point": "pt-2"}, copy_tags=True)

    found = compute.snapshots_of("pt-1")

    assert [one.snapshot for one in found] == [first.snapshot, second.snapshot]
    call = cloud.calls.of("ec2.DescribeSnapshots")[-1]
    assert call.params["OwnerIds"] == ["self"]
    assert compute.snapshots_of("pt-3") == ()


def test_the_snapshots_of_many_points_come_in_a_call_for_each_two_hundred(cloud, compute, ec2):
    disk_id = volume(ec2, ZONE)
    lone = compute.volumes_by_id([disk_id])[disk_id]
    for point in ("pt-000", "pt-200", "pt-000"):
        compute.snapshot_volume(lone, a_request(disk_id), {POINT: point, "owner": "us"})
        cloud.clock.advance(timedelta(minutes=1))
    del cloud.calls[:]

    found = compute.snapshots_of_points(f"pt-{n:03}" for n in (*range(201), 0))

    assert sorted(found) == ["pt-000", "pt-200"]
    first, second = found["pt-000"]
    assert first.member.started_at < second.member.started_at
    assert first.tags == {POINT: "pt-000", "owner": "us"}
    calls = cloud.calls.of("ec2.DescribeSnapshots")
    assert [len(call.params["Filters"][0]["Values"]) for call in calls] == [200, 1]
    assert {tuple(call.params["OwnerIds"]) for call in calls} == {("self",)}
    assert cloud.ec2.broad_describes == []


def test_the_snapshots_of_no_points_cost_no_call(cloud, compute):
    assert compute.snapshots_of_points([]) == {}

    assert cloud.calls == []


def test_our_own_snapshots_are_those_that_bear_the_tag_of_a_point(cloud, compute, ec2):
    disk_id = volume(ec2, ZONE)
    lone = compute.volumes_by_id([disk_id])[disk_id]
    ours = []
    for n in (1, 2):
        own = {POINT: f"pt-{n}", RUN: f"run-{n}"}
        ours.append(compute.snapshot_volume(lone, a_request(disk_id), own))
        cloud.clock.advance(timedelta(minutes=1))
    ec2.create_snapshot(VolumeId=disk_id)

    (every,) = compute.own_snapshots()
    (of_run,) = compute.own_snapshots("run-2")

    assert {one.member.snapshot for one in every.items} == {one.snapshot for one in ours}
    assert [(one.member.snapshot, one.tags) for one in of_run.items] == [
        (ours[1].snapshot, {POINT: "pt-2", RUN: "run-2"})
    ]
    assert cloud.ec2.broad_describes == []


def test_our_own_snapshots_come_in_pages_of_a_thousand(cloud, compute, ec2):
    disk_id = volume(ec2, ZONE)
    backend = ec2_backends[ACCOUNT][HOME]
    for _ in range(1001):
        backend.create_snapshot(disk_id, "").add_tags({POINT: "pt-1"})

    pages = list(compute.own_snapshots())

    assert [len(page.items) for page in pages] == [1000, 1]
    (every,) = compute.snapshots_of_points(["pt-1"]).values()
    assert len(every) == 1001


# -- what is deleted --------------------------------------------------------------------------


def test_a_snapshot_is_deleted_and_no_other(cloud, compute, ec2):
    first, second = (
        ec2.create_snapshot(VolumeId=volume(ec2, ZONE))["SnapshotId"] for _ in range(2)
    )
    cloud.clock.advance(timedelta(hours=1))

    compute.delete_snapshot(first)

    left = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [one["SnapshotId"] for one in left] == [second]


def test_a_snapshot_that_is_gone_is_as_good_as_deleted(cloud, compute, ec2):
    snapshot = ec2.create_snapshot(VolumeId=volume(ec2, ZONE))["SnapshotId"]
    cloud.clock.advance(timedelta(hours=1))

    for _ in range(2):
        compute.delete_snapshot(snapshot)


def test_a_deletion_whose_reply_was_lost_is_tried_again_and_done(cloud, deployed, ec2):
    snapshot = ec2.create_snapshot(VolumeId=volume(ec2, ZONE))["SnapshotId"]
    cloud.clock.advance(timedelta(hours=1))
    cloud.faults.spoil("ec2.DeleteSnapshot", LOST_REPLY)

    deployed.delete_snapshot(snapshot)

    assert attempts(cloud) == 2


def test_a_snapshot_of_which_an_image_was_made_is_in_use(cloud, compute, ec2):
    snapshot = ec2.create_snapshot(VolumeId=volume(ec2, ZONE))["SnapshotId"]
    cloud.ec2.images["ami-1"] = Image(snapshot_ids=frozenset({snapshot}))

    with pytest.raises(InUse, match="ami-1"):
        compute.delete_snapshot(snapshot)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidSnapshot.InUse", InUse),
        ("OperationNotPermitted", InUse),
        ("RequestLimitExceeded", Throttled),
        ("InternalError", Unavailable),
        ("UnauthorizedOperation", AccessDenied),
        ("SomethingNew", CallRefused),
    ],
)
def test_a_deletion_that_is_refused_says_of_which_snapshot(cloud, compute, code, error):
    cloud.faults.spoil("ec2.DeleteSnapshot", aws_error(code))

    with pytest.raises(error, match=f"delete snap-1: {code}"):
        compute.delete_snapshot("snap-1")


# -- our own pace -----------------------------------------------------------------------------


class Turns:
    """A ``Pace`` that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wait(self) -> None:
        self.told.append("wait")

    def slow_down(self) -> None:
        self.told.append("slow down")


@pytest.fixture
def paces() -> dict[str, Any]:
    return {"create_snapshots": Turns(), "create_snapshot": Turns()}


@pytest.fixture
def paced(cloud, paces) -> Ec2Compute:
    return Ec2Compute(cloud.client("ec2", HOME), cloud.client("ec2", HOME), paces)


def create(compute, ec2, operation):
    if operation == "create_snapshots":
        compute.snapshot_set(a_request(launch(ec2, "web")), {"a": "b"}, copy_tags=True)
    else:
        (lone,) = compute.volumes_by_id([volume(ec2, ZONE)]).values()
        compute.snapshot_volume(lone, a_request(lone.id), {"a": "b"})


OPERATIONS = {"create_snapshots": "CreateSnapshots", "create_snapshot": "CreateSnapshot"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_creating_call_waits_for_its_own_turn_and_no_other_call_does(
    paced, paces, ec2, operation
):
    create(paced, ec2, operation)
    paced.snapshots_of("pt-1")

    assert {name: pace.told for name, pace in paces.items()} == {
        name: ["wait"] if name == operation else [] for name in paces
    }


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("RequestLimitExceeded", ["wait", "slow down"]),
        ("SnapshotCreationPerVolumeRateExceeded", ["wait"]),
        ("InternalError", ["wait"]),
        ("UnauthorizedOperation", ["wait"]),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_a_throttled_call_slows_those_after_it_down(
    cloud, paced, paces, ec2, operation, code, told
):
    cloud.faults.spoil(f"ec2.{OPERATIONS[operation]}", aws_error(code))

    with pytest.raises(LastgoodError):
        create(paced, ec2, operation)

    assert paces[operation].told == told


def test_snapshots_tell_how_they_ended_and_why(cloud, compute, ec2):
    id_ = launch(ec2, "web", disk("/dev/sdf", Encrypted=True))
    bad = volumes_of(ec2, id_)["/dev/sdf"]
    cloud.ec2.outcomes[bad] = Outcome(error="Given key ID is not accessible")
    compute.snapshot_set(a_request(id_), {"lastgood:point": "pt-1"}, copy_tags=True)

    cloud.clock.advance(timedelta(hours=1))

    found = {one.volume: one for one in compute.snapshots_of("pt-1")}
    assert found[bad].state is MemberState.ERROR
    assert found[bad].cause == "Given key ID is not accessible"


@pytest.mark.parametrize(
    ("state", "read"),
    [
        ("pending", MemberState.PENDING),
        ("completed", MemberState.COMPLETED),
        ("error", MemberState.ERROR),
        ("recoverable", MemberState.PENDING),
        ("recovering", MemberState.PENDING),
    ],
)
def test_only_a_completed_snapshot_counts_as_completed(state, read):
    snapshot = {
        "SnapshotId": "snap-1",
        "VolumeId": "vol-1",
        "VolumeSize": 8,
        "Encrypted": True,
        "StartTime": T0,
        "State": state,
        "StateMessage": "",
        "Tags": [{"Key": "lastgood:point", "Value": "pt-1"}],
    }
    compute = Ec2Compute(Literal(describe_snapshots={"Snapshots": [snapshot]}), None)

    (member,) = compute.snapshots_of("pt-1")

    assert (member.state, member.cause) == (read, None)


# -- refusals ---------------------------------------------------------------------------------

INSTANCE = "i-0123456789abcdef0"
CALLS = {
    "DescribeInstances": lambda one: list(one.instances({"backup": ("daily",)})),
    "DescribeVolumes": lambda one: list(one.volumes({"backup": ("daily",)})),
    "GetLaunchTemplateData": lambda one: one.launch_attributes(an_instance(INSTANCE), T0),
    "CreateSnapshots": lambda one: one.snapshot_set(
        a_request(INSTANCE), {"a": "b"}, copy_tags=True
    ),
    "CreateSnapshot": lambda one: one.snapshot_volume(
        Volume(
            id="vol-0123456789abcdef0",
            type="gp3",
            size_gib=8,
            state="in-use",
            zone=ZONE,
            encrypted=False,
        ),
        a_request(),
        {"a": "b"},
    ),
    "DescribeSnapshots": lambda one: one.snapshots_of("pt-1"),
}
BY_ID = {
    "DescribeInstances": lambda one: one.instances_by_id([INSTANCE]),
    "DescribeVolumes": lambda one: one.volumes_by_id(["vol-0123456789abcdef0"]),
}
CREATING = ["CreateSnapshots", "CreateSnapshot"]
READING = ["DescribeInstances", "DescribeVolumes", "GetLaunchTemplateData", "DescribeSnapshots"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RequestLimitExceeded", Throttled),
        ("InternalError", Unavailable),
        ("UnauthorizedOperation", AccessDenied),
        ("AuthFailure", RegionNotEnabled),
        ("SomethingNew", CallRefused),
    ],
)
@pytest.mark.parametrize(
    ("operation", "call"),
    [*CALLS.items(), *BY_ID.items()],
    ids=[*CALLS, *(f"{n}-by-id" for n in BY_ID)],
)
def test_every_call_tells_refusals_by_our_names_and_with_what_was_tried(
    cloud, compute, operation, call, code, error
):
    cloud.faults.spoil(f"ec2.{operation}", aws_error(code, "the message"))

    with pytest.raises(error, match=rf"^(describe|read|create) .*: {code}: the message"):
        call(compute)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("SnapshotCreationPerVolumeRateExceeded", LimitReached),
        ("ConcurrentSnapshotLimitExceeded", LimitReached),
        ("SnapshotLimitExceeded", CallRefused),
        ("InvalidKMSKey.InvalidState", KeyDenied),
    ],
)
@pytest.mark.parametrize("operation", CREATING)
def test_a_limit_passes_and_a_quota_does_not(cloud, compute, operation, code, error):
    cloud.faults.spoil(f"ec2.{operation}", aws_error(code))

    with pytest.raises(error):
        CALLS[operation](compute)


@pytest.mark.parametrize("operation", [*CREATING, "GetLaunchTemplateData"])
def test_what_is_not_there_is_gone(compute, operation):
    with pytest.raises(SourceGone):
        CALLS[operation](compute)


def test_a_region_that_is_not_enabled_is_named(cloud, compute):
    cloud.ec2.closed_regions.add(HOME)

    with pytest.raises(RegionNotEnabled, match=f"describe instances in {HOME}"):
        list(compute.instances({"backup": ("daily",)}))


def test_a_refusal_of_many_volumes_for_another_reason_is_not_taken_for_one_that_is_gone(
    cloud, compute
):
    cloud.faults.spoil("ec2.DescribeVolumes", aws_error("UnauthorizedOperation"))

    with pytest.raises(AccessDenied):
        compute.volumes_by_id([f"vol-{n:017x}" for n in range(201)])

    assert len(cloud.calls.of("ec2.DescribeVolumes")) == 1


# -- tried again, and never tried again -------------------------------------------------------

TROUBLES = [
    pytest.param(aws_error("RequestLimitExceeded", status=503), Throttled, id="throttled"),
    pytest.param(aws_error("InternalError", status=500), Unavailable, id="internal"),
    pytest.param(aws_error("Unavailable", status=503), Unavailable, id="unavailable"),
    pytest.param(LOST_REPLY, Unavailable, id="lost-reply"),
    pytest.param(EndpointConnectionError(endpoint_url=URL), Unavailable, id="no-connection"),
    pytest.param(ConnectTimeoutError(endpoint_url=URL), Unavailable, id="connect-timeout"),
    pytest.param(ReadTimeoutError(endpoint_url=URL), Unavailable, id="read-timeout"),
]


@pytest.mark.parametrize(("effect", "error"), TROUBLES)
@pytest.mark.parametrize("operation", CREATING)
def test_a_creating_call_goes_out_once_whatever_becomes_of_it(
    cloud, deployed, ec2, operation, effect, error
):
    id_ = launch(ec2, "web")
    lone = deployed.volumes_by_id([volume(ec2, ZONE)])
    cloud.faults.spoil(f"ec2.{operation}", effect, times=99)

    def create():
        tags = {"lastgood:point": "pt-1"}
        if operation == "CreateSnapshots":
            return deployed.snapshot_set(a_request(id_), tags, copy_tags=True)
        return deployed.snapshot_volume(*lone.values(), a_request(*lone), tags)

    with pytest.raises(error):
        create()

    assert attempts(cloud) == 1
    made = deployed.snapshots_of("pt-1")
    assert len(made) == (effect is LOST_REPLY)


@pytest.mark.parametrize(("effect", "error"), TROUBLES)
@pytest.mark.parametrize("operation", READING)
def test_a_read_is_tried_again_and_answered(cloud, deployed, ec2, operation, effect, error):
    instance = launch(ec2, "web")
    known = deployed.instances_by_id([instance])[instance]
    cloud.faults.spoil(f"ec2.{operation}", effect, times=2)

    if operation == "GetLaunchTemplateData":
        deployed.launch_attributes(known, T0)
    else:
        CALLS[operation](deployed)

    assert attempts(cloud) == 3


def test_a_read_that_fails_five_times_is_given_up(cloud, deployed):
    cloud.faults.spoil("ec2.DescribeSnapshots", aws_error("InternalError", status=500), times=99)

    with pytest.raises(Unavailable):
        deployed.snapshots_of("pt-1")

    assert attempts(cloud) == 5
