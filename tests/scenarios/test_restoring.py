"""Restores from asking to the end: what there is then, what was told, and what is left behind."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lastgood.domain.fidelity import UNEXPLAINED
from lastgood.domain.model import PointStatus
from lastgood.domain.policy import Mode, Restores
from lastgood.domain.restoring import RestoreStatus
from lastgood.domain.tags import RESTORE, RESTORED_FROM, TEMPORARY
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.ec2.seed import seed_network
from tests.cloud.faults import AwsError
from tests.support.fleet import launch, tag, volumes_of
from tests.support.restores import (
    HOUR,
    Site,
    a_site,
    isolated_group,
    launch_there,
    spoil_points,
)
from tests.support.world import ACCOUNT, World, a_policy
from tests.support.world import RESTORE as MACHINE

DONE, UNDONE, ENDED = RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED
IMAGE = "ami-0123456789abcdef0"
DENIED = AwsError("UnauthorizedOperation", "You are not authorized", 403)


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    yield a_site(world)
    assert world.bugs == []


def tags_of(described: dict[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in described.get("Tags", [])}


def execution(site: Site, name: str) -> Any:
    arn = f"arn:aws:states:eu-west-1:{ACCOUNT}:execution:{MACHINE}:{name}"
    return site.world.client("stepfunctions").describe_execution(executionArn=arn)


# -------------------------------------------------------------------------------- clones


def test_a_clone_equals_its_original_but_for_what_cannot_be_or_was_asked_for(site: Site) -> None:
    restore = site.restore(name="web-1-test", type="m6i.xlarge", tags="owner=anna")

    assert (restore.status, restore.cause) == (DONE, None)
    assert [one for one in restore.compared if one.why == UNEXPLAINED] == []
    other = {one.field: one.why for one in restore.compared}
    assert other["type"] == "it was asked for"
    assert other["interface 0 address"] == "the original has it"
    assert {
        "user data",
        "security groups",
        "subnet",
        "instance profile",
        "key pair",
        "metadata HttpTokens",
        "monitoring",
        "shutdown",
        "/dev/sdf IOPS",
        "/dev/sdf throughput",
        "/dev/sdf deleted on termination",
        "/dev/sdf tag part",
        "interface 0 description",
        "tag backup",
    } <= set(restore.same)
    (clone,) = restore.ids("instance")
    tags = tags_of(site.instance(clone))
    assert tags["Name"] == "web-1-test"
    assert tags["owner"] == "anna"
    assert (tags[RESTORE], tags[TEMPORARY]) == (restore.id, restore.id)
    assert tags[RESTORED_FROM] == restore.point
    assert site.made(restore.id).keys() == {"instance", "volume"}


def test_the_original_is_untouched_by_a_clone(site: Site) -> None:
    before = site.instance(site.source)

    site.restore()

    assert site.instance(site.source) == before


def test_a_lost_instance_is_found_by_its_name_and_cloned_from_its_last_point(site: Site) -> None:
    site.world.ec2.terminate_instances(InstanceIds=[site.source])
    site.world.advance(3 * HOUR)

    restore = site.restore(source="web-1")

    assert restore.status is DONE
    assert restore.source.id == site.source


def test_a_clone_is_removed_when_its_time_is_over_and_nothing_else_is(site: Site) -> None:
    other = site.restore(time_to_live="keep")
    restore = site.restore(time_to_live="2h")
    assert site.schedules() == [restore.id]

    site.world.advance(2 * HOUR)

    assert site.record(restore.id).status is ENDED
    assert site.made(restore.id) == {}
    assert site.schedules() == []
    assert site.instance(site.source)["State"]["Name"] == "running"
    assert site.instance(other.ids("instance")[0])["State"]["Name"] == "running"


def test_an_instance_that_somebody_launched_with_a_clones_tags_stays(site: Site) -> None:
    restore = site.restore(time_to_live="2h")
    (clone,) = restore.ids("instance")
    more = launch(site.world.ec2, "another", tags=tags_of(site.instance(clone)))

    site.world.advance(3 * HOUR)

    assert site.record(restore.id).status is ENDED
    assert site.made(restore.id)["instance"] == [more]


def test_a_snapshot_that_others_took_of_a_restored_volume_stays(site: Site) -> None:
    restore = site.ask(mode="in_place", stop="true")["restore"]
    while not site.made(restore):
        site.world.advance(timedelta(seconds=5))
    volume, mine = site.made(restore)["volume"][0], [{"Key": RESTORE, "Value": restore}]
    taken = site.world.ec2.create_snapshot(
        VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": mine}]
    )["SnapshotId"]
    site.world.advance(HOUR)

    assert site.record(restore).status is DONE
    assert site.made(restore)["snapshot"] == [taken]


def test_a_clone_that_is_extended_outlives_its_first_schedule(site: Site) -> None:
    restore = site.restore(time_to_live="2h")
    site.ask(action="extend", restore=restore.id, time_to_live="6h")

    site.world.advance(4 * HOUR)
    assert site.record(restore.id).status is DONE

    site.world.advance(3 * HOUR)
    assert site.record(restore.id).status is ENDED


def test_a_clone_that_is_kept_stays_and_is_protected_from_then_on(site: Site) -> None:
    restore = site.restore(time_to_live="2h")
    site.ask(action="keep", restore=restore.id)

    site.world.advance(48 * HOUR)

    (clone,) = restore.ids("instance")
    assert TEMPORARY not in tags_of(site.instance(clone))
    assert site.schedules() == []
    report = site.world.plan(slot=site.world.cloud.clock.now().isoformat())
    assert {one["source"] for one in report["points"]} == {site.source, clone}


def test_a_policy_leaves_out_a_clone_that_will_be_removed(site: Site) -> None:
    site.restore(time_to_live="8h")

    report = site.world.plan(slot=site.world.cloud.clock.now().isoformat())

    assert [one["source"] for one in report["points"]] == [site.source]


def test_a_sweep_ends_a_clone_whose_schedule_was_lost(site: Site) -> None:
    restore = site.restore(time_to_live="2h")
    site.world.client("scheduler").delete_schedule(Name=restore.id, GroupName="lastgood-restores")
    site.world.advance(3 * HOUR)
    assert site.record(restore.id).status is DONE

    report = site.world.invoke("sweep", {})
    site.world.advance(HOUR)

    assert report["restores_ended"] == 1
    assert site.record(restore.id).status is ENDED


def test_a_clone_that_is_not_to_run_is_checked_and_then_stopped(site: Site) -> None:
    restore = site.restore(start="false")

    (clone,) = restore.ids("instance")
    assert restore.evidence is not None
    assert restore.evidence.passed
    assert site.instance(clone)["State"]["Name"] == "stopped"


def test_several_clones_are_made_by_one_launch(site: Site) -> None:
    restore = site.restore(count="3")

    assert len(restore.ids("instance")) == 3
    assert len(site.made(restore.id)["volume"]) == 6


def test_a_clone_in_another_zone_takes_the_subnet_that_the_vpc_has_there(site: Site) -> None:
    restore = site.restore(zone="eu-west-1b")

    (clone,) = restore.ids("instance")
    assert site.instance(clone)["SubnetId"] == site.network.subnets[1]
    assert [one for one in restore.compared if one.why == UNEXPLAINED] == []


def test_a_source_with_a_licence_is_launched_from_its_image_and_gets_its_root_swapped(
    world: World,
) -> None:
    image = world.cloud.ec2.image(IMAGE)
    world.cloud.ec2.images[IMAGE] = replace(
        image, usage_operation="RunInstances:0002", platform="windows"
    )
    site = a_site(world)

    restore = site.restore()

    assert (restore.status, restore.cause) == (DONE, None)
    (clone,) = restore.ids("instance")
    described = site.instance(clone)
    assert described["ImageId"] == IMAGE
    assert described["UsageOperation"] == "RunInstances:0002"
    root = volumes_of(world.ec2, clone)["/dev/xvda"]
    point = next(one for one in world.points() if one.id == restore.point)
    snapshot = world.ec2.describe_volumes(VolumeIds=[root])["Volumes"][0]["SnapshotId"]
    assert snapshot in point.snapshots
    assert len(site.made(restore.id)["volume"]) == 2, "the root that the image came with is gone"


@pytest.mark.parametrize("operation", ["RunInstances", "RunInstances:0002"])
def test_a_source_that_may_not_be_stopped_is_cloned_stopped_or_not_and_protected_then(
    world: World, operation: str
) -> None:
    image = world.cloud.ec2.image(IMAGE)
    world.cloud.ec2.images[IMAGE] = replace(image, usage_operation=operation)
    site = a_site(world, DisableApiStop=True)

    for started, state in (("true", "running"), ("false", "stopped")):
        restore = site.restore(start=started)

        assert (restore.status, restore.cause) == (DONE, None)
        assert [one for one in restore.compared if one.why == UNEXPLAINED] == []
        assert {"stop protection", "user data"} <= set(restore.same)
        (clone,) = restore.ids("instance")
        assert site.instance(clone)["State"]["Name"] == state


def test_a_clone_in_another_region_is_made_from_copies_that_go_afterwards(site: Site) -> None:
    world, frankfurt = site.world, "eu-central-1"
    there = seed_network(frankfurt, name="there")
    answer = site.ask(
        region=frankfurt,
        subnet=there.subnets[0],
        security_groups=there.groups[0],
        key_name="there",
    )
    assert answer["restore"], answer["text"]
    world.advance(3 * HOUR)

    restore = site.record(answer["restore"])
    assert (restore.status, restore.cause) == (DONE, None)
    client = world.client("ec2", frankfurt)
    (clone,) = restore.ids("instance")
    reply = client.describe_instances(InstanceIds=[clone])["Reservations"][0]["Instances"][0]
    assert reply["SubnetId"] == there.subnets[0]
    assert client.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert client.describe_images(Owners=["self"])["Images"] == []
    assert [one for one in restore.compared if one.why == UNEXPLAINED] == []


# -------------------------------------------------------------------------------- checks


def test_a_command_is_run_on_the_clone_and_its_output_kept(world: World) -> None:
    site = a_site(world)
    tag(world.ec2, site.source, ssm="true")
    world.cloud.ec2.commands = lambda sent: CommandOutcome(
        output=" ".join(sent.parameters["commands"])
    )
    world.run_at(world.cloud.clock.now() + HOUR)

    restore = site.restore(check="systemctl is-active nginx")

    assert (restore.status, restore.cause) == (DONE, None)
    assert restore.evidence is not None
    assert restore.evidence.command == "systemctl is-active nginx"
    assert restore.evidence.output == "systemctl is-active nginx"
    assert restore.evidence.only_status == ""


def test_a_clone_whose_command_fails_is_removed_and_what_it_wrote_is_kept(world: World) -> None:
    site = a_site(world)
    tag(world.ec2, site.source, ssm="true")
    world.cloud.ec2.commands = lambda _: CommandOutcome(code=3, output="inactive")
    world.run_at(world.cloud.clock.now() + HOUR)

    restore = site.restore(check="systemctl is-active nginx")

    assert restore.status is UNDONE
    assert "inactive" in (restore.cause or "")
    assert restore.evidence is not None
    assert (restore.evidence.passed, restore.evidence.output) == (False, "inactive")
    assert site.made(restore.id) == {}


def test_a_clone_that_ssm_does_not_reach_is_checked_by_its_status_only(site: Site) -> None:
    restore = site.restore(check="true")

    assert restore.status is DONE
    assert restore.evidence is not None
    assert restore.evidence.only_status.startswith("status only: SSM does not reach i-")


def test_a_clone_that_fails_its_check_is_removed_with_all_that_was_made(site: Site) -> None:
    spoil_points(site.world)

    restore = site.restore()

    assert restore.status is UNDONE
    assert restore.cause is not None
    assert restore.cause.startswith("CheckFailed: status checks: i-")
    assert site.made(restore.id) == {}
    assert site.schedules() == []
    ended = execution(site, restore.id)
    assert (ended["status"], ended["error"]) == ("FAILED", "CheckFailed")
    assert restore.cause.removeprefix("CheckFailed: ") in ended["cause"]


# ------------------------------------------------------------------------------- volumes


def test_volumes_are_made_in_the_zone_that_was_asked_for_and_stay(site: Site) -> None:
    restore = site.restore(mode="volumes", zone="eu-west-1b")

    volumes = site.world.ec2.describe_volumes(VolumeIds=list(restore.ids("volume")))["Volumes"]
    assert restore.status is DONE
    assert {one["AvailabilityZone"] for one in volumes} == {"eu-west-1b"}
    assert sorted(one["Size"] for one in volumes) == [8, 20]
    assert restore.expires_at is None


def test_a_volume_is_attached_where_it_was_asked_for_and_leaves_when_its_time_is_over(
    site: Site,
) -> None:
    helper = launch_there(site.world.ec2, site.network, "helper")
    site.world.advance(HOUR)

    restore = site.restore(
        mode="volumes",
        volumes="/dev/sdf",
        instance=helper,
        device="/dev/sdz",
        time_to_live="3h",
    )
    assert volumes_of(site.world.ec2, helper)["/dev/sdz"] == restore.ids("volume")[0]

    site.world.advance(3 * HOUR)

    assert "/dev/sdz" not in volumes_of(site.world.ec2, helper)
    assert site.made(restore.id) == {}


def test_a_volume_that_somebody_attached_elsewhere_stays(site: Site) -> None:
    helper = launch_there(site.world.ec2, site.network, "helper")
    site.world.advance(HOUR)
    restore = site.restore(mode="volumes", volumes="/dev/sdf", time_to_live="3h")
    (volume,) = restore.ids("volume")
    site.world.ec2.attach_volume(VolumeId=volume, InstanceId=helper, Device="/dev/sdz")

    site.world.advance(4 * HOUR)

    assert site.record(restore.id).status is ENDED
    assert volumes_of(site.world.ec2, helper)["/dev/sdz"] == volume
    assert f"{volume} stays" in site.told(restore.id)[-1]


# ------------------------------------------------------------------------------ in place


def attached(site: Site) -> dict[str, tuple[str, bool]]:
    mappings = site.instance(site.source)["BlockDeviceMappings"]
    return {
        one["DeviceName"]: (one["Ebs"]["VolumeId"], one["Ebs"]["DeleteOnTermination"])
        for one in mappings
    }


def test_in_place_swaps_all_volumes_and_keeps_the_old_ones_for_a_while(site: Site) -> None:
    before = attached(site)

    restore = site.restore(mode="in_place", stop="true", time_to_live="3d")

    after = attached(site)
    assert (restore.status, restore.cause) == (DONE, None)
    assert {device: flag for device, (_, flag) in after.items()} == {
        device: flag for device, (_, flag) in before.items()
    }
    assert {volume for volume, _ in after.values()} == set(restore.ids("volume"))
    assert site.instance(site.source)["State"]["Name"] == "running"
    old = [volume for volume, _ in before.values()]
    kept = site.world.ec2.describe_volumes(VolumeIds=old)["Volumes"]
    assert {one["State"] for one in kept} == {"available"}

    site.world.advance(timedelta(days=4))

    assert site.record(restore.id).status is ENDED
    left = {one["VolumeId"] for one in site.world.ec2.describe_volumes()["Volumes"]}
    assert left & set(old) == set()
    assert attached(site) == after


def test_in_place_takes_a_safety_point_that_is_held_until_the_old_volumes_go(site: Site) -> None:
    restore = site.restore(mode="in_place", stop="true", time_to_live="3d")

    assert restore.in_place is not None
    assert restore.in_place.safety_point is not None
    safety = site.world.ledger.point(restore.in_place.safety_point)
    assert safety is not None
    assert safety.hold is not None
    assert safety.status is PointStatus.AVAILABLE
    assert safety.members[0].started_at < restore.settled_at  # type: ignore[operator]

    site.world.advance(timedelta(days=4))

    safety = site.world.ledger.point(restore.in_place.safety_point)
    assert safety is not None
    assert safety.hold is None


def test_in_place_that_fails_its_check_is_put_back(site: Site) -> None:
    before = attached(site)
    tags = {
        one["VolumeId"]: tags_of(one)
        for one in site.world.ec2.describe_volumes(VolumeIds=list(site.volumes.values()))["Volumes"]
    }
    spoil_points(site.world)

    restore = site.restore(mode="in_place", stop="true")

    assert restore.status is UNDONE
    assert attached(site) == before
    assert site.instance(site.source)["State"]["Name"] == "running"
    assert site.made(restore.id) == {}
    now = site.world.ec2.describe_volumes(VolumeIds=list(site.volumes.values()))["Volumes"]
    assert {one["VolumeId"]: tags_of(one) for one in now} == tags
    site.world.cloud.ec2.bad_snapshots.clear()
    assert site.restore(mode="in_place", stop="true").status is DONE, "the instance is free again"


def test_in_place_leaves_a_stopped_instance_stopped(site: Site) -> None:
    site.world.ec2.stop_instances(InstanceIds=[site.source])
    site.world.advance(HOUR)

    restore = site.restore(mode="in_place")

    assert restore.status is DONE
    assert site.instance(site.source)["State"]["Name"] == "stopped"
    assert restore.evidence is not None
    assert "stopped, as it was" in restore.evidence.status


def test_the_root_alone_is_replaced_by_ec2_while_the_instance_runs(site: Site) -> None:
    before = attached(site)

    restore = site.restore(mode="in_place", volumes="/dev/xvda")

    after = attached(site)
    assert (restore.status, restore.cause) == (DONE, None)
    assert [one.name for one in restore.steps if one.name == "Stop the instance"] == []
    assert after["/dev/xvda"][0] == restore.ids("volume")[0]
    assert after["/dev/xvda"][1] == before["/dev/xvda"][1]
    assert after["/dev/sdf"] == before["/dev/sdf"]


def test_a_root_that_ec2_replaced_and_that_fails_its_check_is_put_back(site: Site) -> None:
    before = attached(site)
    spoil_points(site.world)

    restore = site.restore(mode="in_place", volumes="/dev/xvda")

    assert restore.status is UNDONE
    assert attached(site) == before
    assert site.made(restore.id) == {}
    assert site.instance(site.source)["State"]["Name"] == "running"


# ---------------------------------------------------------- points of what was restored


def lost_snapshots(site: Site) -> set[str]:
    """Members of points that are not there any more."""
    there = {one["SnapshotId"] for one in site.world.snapshots()}
    return {member.snapshot for point in site.world.points() for member in point.members} - there


def test_a_point_that_is_taken_while_a_restore_is_checked_keeps_its_snapshots(site: Site) -> None:
    restore = site.ask(mode="in_place", stop="true")["restore"]
    site.world.advance(timedelta(minutes=2))
    assert site.record(restore).steps[-1].name == "Check"

    site.world.run_at(site.world.cloud.clock.now())

    assert site.record(restore).status is DONE
    assert lost_snapshots(site) == set()


def test_a_point_with_a_volume_that_is_there_for_a_while_keeps_its_snapshot(site: Site) -> None:
    helper = launch_there(site.world.ec2, site.network, "helper")
    site.world.advance(HOUR)
    restore = site.restore(
        mode="volumes",
        volumes="/dev/sdf",
        instance=helper,
        device="/dev/sdz",
        time_to_live="3h",
    )
    site.world.run_at(site.world.cloud.clock.now())

    site.world.advance(3 * HOUR)

    assert site.record(restore.id).status is ENDED
    assert lost_snapshots(site) == set()


# -------------------------------------------------------------------------------- drills


def test_a_drill_proves_the_point_and_leaves_nothing(site: Site) -> None:
    group = isolated_group(site.world, site.network)

    restore = site.restore(mode="drill")

    assert restore.status is ENDED
    assert site.made(restore.id) == {}
    (where,) = [one for one in restore.compared if one.field == "security groups"]
    assert where.clone == group
    point = site.world.ledger.point(restore.point)
    assert point is not None
    assert point.proof is not None
    assert point.proof.restore == restore.id
    assert restore.evidence is not None
    assert point.proof.seconds == int((restore.evidence.at - restore.asked_at).total_seconds())


# --------------------------------------------------------------------- approval and ends


def approving(site: Site) -> None:
    site.world.deploy(a_policy(restores=Restores(approval=(Mode.CLONE, Mode.IN_PLACE))))


def test_a_restore_that_a_second_person_must_approve_waits_for_one(site: Site) -> None:
    approving(site)
    answer = site.ask()
    assert (answer["status"], answer["approval"]) == ("approving", True)
    site.world.advance(HOUR)
    assert site.made(answer["restore"]) == {}

    own = site.ask(action="approve", restore=answer["restore"], by="anna")
    assert own["status"] == "refused"
    site.ask(action="approve", restore=answer["restore"], by="bert")
    site.world.advance(HOUR)

    restore = site.record(answer["restore"])
    assert (restore.status, restore.approved_by) == (DONE, "bert")


def test_a_restore_that_is_declined_makes_nothing_and_says_who_declined(site: Site) -> None:
    approving(site)
    restore = site.ask()["restore"]
    site.world.advance(HOUR)

    site.ask(action="decline", restore=restore, by="bert", reason="not on a Friday")
    site.world.advance(HOUR)

    ended = site.record(restore)
    assert ended.status is UNDONE
    assert ended.cause == "NotApproved: bert declined it: not on a Friday"
    assert site.made(restore) == {}


def test_a_restore_that_nobody_approves_in_a_day_ends(site: Site) -> None:
    approving(site)
    restore = site.ask()["restore"]

    site.world.advance(25 * HOUR)

    ended = site.record(restore)
    assert ended.status is UNDONE
    assert ended.cause == "NotApproved: nobody approved it within a day"


def test_a_restore_that_is_cancelled_is_undone_at_its_next_step(site: Site) -> None:
    restore = site.ask()["restore"]
    site.world.advance(timedelta(seconds=60))
    assert site.made(restore) != {}

    site.ask(action="cancel", restore=restore, by="bert")
    site.world.advance(HOUR)

    ended = site.record(restore)
    assert (ended.status, ended.cause) == (UNDONE, "Cancelled: bert cancelled it")
    assert site.made(restore) == {}


def test_a_point_that_is_being_restored_is_not_pruned(site: Site) -> None:
    restore = site.ask()["restore"]
    site.world.advance(timedelta(seconds=30))
    point = site.record(restore).point

    assert site.world.ledger.point(point) is not None
    site.world.advance(HOUR)
    assert site.record(restore).status is DONE


def test_a_request_that_comes_twice_makes_one_clone(site: Site) -> None:
    first, second = (site.ask(request_id="deploy-42") for _ in range(2))
    site.world.advance(HOUR)

    assert first["restore"] == second["restore"]
    assert len(site.made(first["restore"])["instance"]) == 1


def test_a_denied_call_ends_in_nothing_left_and_the_cause_told(site: Site) -> None:
    site.world.cloud.faults.spoil("ec2.RunInstances", DENIED, times=10**6, by="restore_instance")

    restore = site.restore()

    assert restore.status is UNDONE
    assert "You are not authorized" in (restore.cause or "")
    assert site.made(restore.id) == {}


def test_an_undo_that_cannot_go_on_is_redriven_once_the_cause_is_mended(site: Site) -> None:
    spoil_points(site.world)
    deny = {"times": 10**6, "by": "undo_restore"}
    site.world.cloud.faults.spoil("ec2.TerminateInstances", DENIED, **deny)
    restore = site.restore()
    assert restore.status is RestoreStatus.UNDOING
    ended = execution(site, restore.id)
    assert (ended["status"], ended["error"]) == ("FAILED", "AccessDenied")

    site.world.cloud.faults.clear()
    site.world.client("stepfunctions").redrive_execution(executionArn=ended["executionArn"])
    site.world.advance(HOUR)

    assert site.record(restore.id).status is UNDONE
    assert site.made(restore.id) == {}


def test_a_sweep_undoes_a_restore_whose_execution_was_stopped(site: Site) -> None:
    answer = site.ask()
    site.world.advance(timedelta(seconds=60))
    arn = execution(site, answer["restore"])["executionArn"]
    site.world.client("stepfunctions").stop_execution(executionArn=arn)
    site.world.advance(HOUR)

    report = site.world.invoke("sweep", {})
    site.world.advance(HOUR)

    assert report["restores_ended"] == 1
    assert site.record(answer["restore"]).status is UNDONE
    assert site.made(answer["restore"]) == {}


def test_the_history_of_an_execution_reads_like_the_story_of_the_restore(site: Site) -> None:
    answer = site.ask()
    site.world.advance(HOUR)

    client = site.world.client("stepfunctions")
    pages = client.get_paginator("get_execution_history").paginate(executionArn=answer["execution"])
    events = [one for page in pages for one in page["events"]]
    entered = [
        one["stateEnteredEventDetails"]["name"]
        for one in events
        if "stateEnteredEventDetails" in one
    ]
    story = list(dict.fromkeys(one for one in entered if not one.endswith("?")))
    assert story == [
        "Where to begin",
        "Begin",
        "Hold the point",
        "Register an image",
        "Wait for the image",
        "Launch",
        "Wait for the instance",
        "Dress the clone",
        "Check",
        "Wait for the check",
        "Hand over",
        "Restored",
    ]
    assert json.loads(events[-1]["executionSucceededEventDetails"]["output"])["restore"]


def test_after_a_restore_in_place_the_latest_point_is_not_the_state_that_it_replaced(
    site: Site,
) -> None:
    first = site.restore(mode="in_place", stop="true")
    assert first.in_place is not None

    again = site.restore(mode="in_place", stop="true")
    named = site.restore(point=first.in_place.safety_point)

    assert again.point == first.point
    assert named.status is DONE
