"""A policy's slot comes: what is taken, what is left out, and what is on record afterwards."""

from datetime import timedelta

import pytest

from lastgood.domain.model import Method, PointStatus, RunStatus
from lastgood.domain.policy import ResourceKind, Select
from tests.cloud.ec2 import Outcome
from tests.support.fleet import disk, launch, tag, volume, volumes_of
from tests.support.world import HOME, SLOT, World, a_policy

ZONE = f"{HOME}a"


def tags_of(snapshot):
    return {one["Key"]: one["Value"] for one in snapshot["Tags"]}


def left_out(report):
    return {one["source"]["id"]: one["reason"] for one in report["left_out"]}


def test_an_instance_becomes_one_available_point_with_all_its_volumes(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf", 20), disk("/dev/sdg", 30))
    volumes = volumes_of(world.ec2, instance)

    report = world.run()

    (point,) = world.points()
    assert point.id == report["points"][0]["point"]
    assert point.status is PointStatus.AVAILABLE
    assert point.method is Method.SET
    assert {one.device: one.volume for one in point.members} == volumes
    assert len(world.cloud.calls.of("ec2.CreateSnapshots")) == 1
    assert world.ledger.run(report["run"]).status is RunStatus.OK


def test_each_snapshot_bears_the_tags_of_its_volume_and_ours_from_the_call_on(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf"))
    tag(world.ec2, volumes_of(world.ec2, instance)["/dev/sdf"], team="web")
    world.deploy(a_policy(tags={"cost-centre": "42"}))

    world.run()

    (point,) = world.points()
    tags = {one["VolumeId"]: tags_of(one) for one in world.snapshots()}
    assert tags[volumes_of(world.ec2, instance)["/dev/sdf"]] == {
        "team": "web",
        "Name": "web",
        "backup": "daily",
        "cost-centre": "42",
        "lastgood:point": point.id,
        "lastgood:policy": "web-daily",
        "lastgood:run": point.run,
        "lastgood:slot": "2026-03-01T02:00:00Z",
        "lastgood:source": instance,
        "lastgood:method": "set",
        "lastgood:members": "2",
    }
    assert not world.cloud.calls.of("ec2.CreateTags")[1:]


def test_subscribers_hear_of_the_point_with_all_they_need(world: World):
    instance = launch(world.ec2, "web")

    world.run()

    (event,) = world.announcements()
    (point,) = world.points()
    assert event["detail-type"] == "Recovery Point Available"
    detail = event["detail"]
    assert (detail["point"], detail["status"]) == (point.id, "available")
    assert detail["source"] == {
        "id": instance,
        "region": HOME,
        "account": "123456789012",
        "kind": "instance",
    }
    assert [one["snapshot"] for one in detail["members"]] == [point.members[0].snapshot]
    assert detail["seconds"] == 21


def test_excluded_volumes_are_not_taken_and_the_point_says_so(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf"), disk("/dev/sdg"))
    scratch = volumes_of(world.ec2, instance)["/dev/sdg"]
    tag(world.ec2, scratch, scratch="true")

    world.run()

    (point,) = world.points()
    assert scratch not in {one.volume for one in point.members}
    assert len(point.members) == 2
    assert point.notes == (
        f"{scratch} left out: it has tag scratch=true, which the policy excludes",
    )


def test_the_boot_volume_can_be_left_out(world: World):
    select = Select(
        resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}, exclude_boot_volume=True
    )
    world.deploy(a_policy(select=select))
    launch(world.ec2, "web", disk("/dev/sdf"))

    world.run()

    (point,) = world.points()
    assert [one.device for one in point.members] == ["/dev/sdf"]


def test_sources_that_are_left_out_are_named_with_the_reason(world: World):
    skipped = launch(world.ec2, "skip", tags={"backup": "daily", "backup-skip": "true"})
    gone = launch(world.ec2, "gone")
    world.ec2.terminate_instances(InstanceIds=[gone])
    launch(world.ec2, "other", tags={"backup": "weekly"})

    report = world.run()

    assert report["point_count"] == 0
    assert left_out(report) == {
        skipped: "it has tag backup-skip=true, which the policy excludes",
        gone: "it is terminated",
    }
    planned = world.ledger.run(report["run"]).planned
    assert {one.source.id for one in planned.left_out} == {skipped, gone}


def test_a_shared_volume_is_taken_once_and_the_other_point_tells_where(world: World):
    first, second = sorted(launch(world.ec2, name) for name in ("a", "b"))
    shared = volume(world.ec2, ZONE, {}, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for one in (first, second):
        world.ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdh")

    world.run()

    taken = [one["VolumeId"] for one in world.snapshots()]
    assert taken.count(shared) == 1
    points = {point.source.id: point for point in world.points()}
    assert shared in {one.volume for one in points[first].members}
    assert points[second].manifest.taken_elsewhere == {shared: points[first].id}
    assert points[second].notes == (f"{shared} left out: it is shared, and taken with {first}",)


def test_a_shared_volume_is_taken_with_the_one_instance_that_the_policy_selects(world: World):
    outside = launch(world.ec2, "outside", tags={"backup": "never"})
    inside = launch(world.ec2, "inside")
    shared = volume(world.ec2, ZONE, {}, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for one in (outside, inside):
        world.ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdh")

    world.run()

    (point,) = world.points()
    assert shared in {one.volume for one in point.members}


def test_a_hibernation_enabled_instance_is_taken_volume_by_volume_and_shown_as_such(world: World):
    launch(
        world.ec2,
        "sleepy",
        disk("/dev/sdf", 20, Encrypted=True),
        root={"Encrypted": True},
        HibernationOptions={"Configured": True},
    )

    world.run()

    (point,) = world.points()
    assert point.method is Method.ONE_BY_ONE
    assert point.status is PointStatus.AVAILABLE
    assert len(point.members) == 2
    assert "not as one instant: hibernation is enabled" in point.notes[0]
    assert len(world.cloud.calls.of("ec2.CreateSnapshot")) == 2
    assert not world.cloud.calls.of("ec2.CreateSnapshots")
    assert len(world.announcements()) == 1


def test_lone_volumes_are_taken_one_call_each_with_their_tags(world: World):
    select = Select(resource=ResourceKind.VOLUME, tags={"backup": ("volume",)})
    world.deploy(a_policy(name="data", select=select))
    first = volume(world.ec2, ZONE, {"backup": "volume", "team": "data"})
    volume(world.ec2, ZONE, {"backup": "other"})

    report = world.run("data")

    (point,) = world.points()
    assert report["point_count"] == 1
    assert (point.source.id, point.method, point.status) == (
        first,
        Method.VOLUME,
        PointStatus.AVAILABLE,
    )
    assert tags_of(world.snapshots()[0])["team"] == "data"


def test_a_set_that_ends_in_error_fails_the_point_with_the_cause(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf", Encrypted=True))
    bad = volumes_of(world.ec2, instance)["/dev/sdf"]
    world.cloud.ec2.outcomes[bad] = Outcome(error="Given key ID is not accessible")

    report = world.run()

    (point,) = world.points()
    assert point.status is PointStatus.FAILED
    broken = next(one for one in point.members if one.volume == bad)
    assert point.cause == f"{broken.snapshot} of {bad}: Given key ID is not accessible"
    assert [one["detail-type"] for one in world.announcements()] == ["Recovery Point Failed"]
    assert world.ledger.run(report["run"]).status is RunStatus.FAILED


def test_a_policy_runs_in_every_region_that_it_names(world: World):
    regions = (HOME, "eu-north-1")
    select = Select(resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}, regions=regions)
    world.deploy(a_policy(select=select))
    for region in regions:
        launch(world.client("ec2", region), "web")

    world.run()

    assert {(one.source.region, one.status) for one in world.points()} == {
        (region, PointStatus.AVAILABLE) for region in regions
    }


def test_the_next_slot_makes_the_next_point(world: World):
    launch(world.ec2, "web")
    world.run()

    world.run_at(SLOT + timedelta(days=1))

    first, second = world.points()
    assert second.slot - first.slot == timedelta(days=1)
    (record,) = world.ledger.sources("web-daily")
    assert record.last_point == second.id


def test_the_same_slot_planned_again_makes_nothing_more(world: World):
    launch(world.ec2, "web")
    first = world.run()

    second = world.run()

    assert second["run"] == first["run"]
    assert len(world.points()) == 1
    assert len(world.cloud.calls.of("ec2.CreateSnapshots")) == 1


def test_a_dry_run_tells_all_and_makes_nothing(world: World):
    wanted = launch(world.ec2, "web")
    skipped = launch(world.ec2, "skip", tags={"backup": "daily", "backup-skip": "true"})

    report = world.run(dry_run=True)

    assert [one["source"] for one in report["points"]] == [wanted]
    assert left_out(report) == {skipped: "it has tag backup-skip=true, which the policy excludes"}
    assert world.points() == []
    assert world.snapshots() == []
    assert world.ledger.run(report["run"]) is None


def test_one_source_can_be_run_alone(world: World):
    launch(world.ec2, "other")
    wanted = launch(world.ec2, "web")

    report = world.run(source=wanted)

    assert [point.source.id for point in world.points()] == [wanted]
    assert world.ledger.run(report["run"]).source == wanted


def test_without_a_slot_a_run_is_for_the_present_minute(world: World):
    launch(world.ec2, "web")
    world.advance(timedelta(seconds=42))

    report = world.plan(slot=None)

    assert report["slot"] == "2026-03-01T02:00:00Z"


def test_the_manifest_holds_what_a_restore_needs(world: World):
    user_data = "IyEvYmluL3No"
    instance = launch(
        world.ec2,
        "web",
        disk("/dev/sdf", 20, Iops=4000, Throughput=250, Encrypted=True),
        UserData="#!/bin/sh",
        DisableApiTermination=True,
        CreditSpecification={"CpuCredits": "unlimited"},
        InstanceType="t3.large",
    )

    world.run()

    (point,) = world.points()
    facts = point.manifest.instance
    data = next(one for one in point.manifest.volumes if one.size_gib == 20)
    assert (facts.id, facts.type, facts.image) == (
        instance,
        "t3.large",
        "ami-0123456789abcdef0",
    )
    assert facts.interfaces[0].private_ips
    assert facts.interfaces[0].groups
    assert facts.subnet
    assert facts.usage_operation == "RunInstances"
    assert facts.metadata_options
    assert (data.type, data.iops, data.throughput, data.encrypted) == ("gp3", 4000, 250, True)
    assert data.kms_key
    launch_facts = point.manifest.launch
    assert launch_facts.user_data == user_data
    assert launch_facts.termination_protection
    assert launch_facts.credit_mode == "unlimited"


@pytest.mark.parametrize(("days", "reads"), [(1, 1), (8, 2)])
def test_launch_attributes_are_read_again_after_a_week(world: World, days, reads):
    launch(world.ec2, "web")
    world.run()

    world.run_at(SLOT + timedelta(days=days))

    assert len(world.cloud.calls.of("ec2.GetLaunchTemplateData")) == reads


def test_launch_attributes_of_a_stopped_instance_are_read_every_time(world: World):
    instance = launch(world.ec2, "web")
    world.run()
    world.ec2.stop_instances(InstanceIds=[instance])

    world.run_at(SLOT + timedelta(days=1))

    assert len(world.cloud.calls.of("ec2.GetLaunchTemplateData")) == 2


def test_launch_attributes_are_read_again_after_a_start(world: World):
    instance = launch(world.ec2, "web")
    world.run()
    world.ec2.stop_instances(InstanceIds=[instance])
    world.ec2.start_instances(InstanceIds=[instance])

    world.run_at(SLOT + timedelta(days=1))
    world.run_at(SLOT + timedelta(days=2))

    assert len(world.cloud.calls.of("ec2.GetLaunchTemplateData")) == 2
