"""Points come, and go by their policy's retention: planned, capped, held, blocked, explained."""

import json
from datetime import timedelta

import pytest

from lastgood.domain.policy import MaxDeletes, Retention
from lastgood.domain.tags import HOLD
from lastgood.errors import UnsafePlan
from tests.support.fleet import disk, launch
from tests.support.history import past_point
from tests.support.world import PLANS, SLOT, World, a_policy

DAY = timedelta(days=1)
KEEP_ONE = Retention(keep_last=1, keep_tags=({"keep": ("yes",)},))
WIDE = MaxDeletes(count=100, share=1.0)


def kept(world: World) -> list[int]:
    """How many days before the slot the points were taken that are available, newest first."""
    points = [one for one in world.points() if one.status == "available"]
    return sorted((SLOT - one.slot).days for one in points)


def history(world: World, days: int, **policy) -> dict:
    """An instance with a point for each of the last days, and the policy."""
    world.deploy(a_policy(**{"retention": KEEP_ONE, "max_deletes": WIDE, **policy}))
    instance = launch(world.ec2, "web", disk("/dev/sdf", 16))
    world.cloud.ec2.limits = False
    points = {}
    for day in range(days, 0, -1):
        world.cloud.clock.advance(timedelta(minutes=1))
        points[day] = past_point(world.ec2, world.ledger, instance, SLOT - day * DAY)
    world.advance(timedelta(hours=1))
    world.forget_events()
    return points


def test_points_are_taken_and_pruned_by_their_schedules(world: World) -> None:
    launch(world.ec2, "web", disk("/dev/sdf", 16))
    world.deploy(a_policy(retention=Retention(keep_daily=3)))

    for day in range(5):
        world.run_at(SLOT + day * DAY)
        world.prune_daily()

    assert kept(world) == [-4, -3, -2]
    assert len(world.snapshots()) == 6


def test_what_keeps_a_snapshot_keeps_its_whole_point_and_no_other(world: World) -> None:
    points = history(world, 8)
    snapshots = {day: point.snapshots for day, point in points.items()}
    ec2 = world.ec2
    image = ec2.register_image(
        Name="made of a point",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshots[2][0]}}],
    )["ImageId"]
    ec2.disable_image(ImageId=image)
    ec2.lock_snapshot(SnapshotId=snapshots[3][1], LockMode="governance", LockDuration=30)
    ec2.modify_snapshot_tier(SnapshotId=snapshots[4][0], StorageTier="archive")
    ec2.create_tags(Resources=[snapshots[5][0]], Tags=[{"Key": HOLD, "Value": "legal"}])
    ec2.create_tags(Resources=[snapshots[6][0]], Tags=[{"Key": "keep", "Value": "yes"}])

    report = world.prune()

    assert kept(world) == [1, 2, 3, 4, 5, 6]
    assert report["blocked"] == {"image": 1, "archive": 1}
    assert len(world.snapshots()) == 12
    # Of one that is deleted, only the point and its first snapshot lead to it.
    ask = {day: snapshots[day][1] if day < 7 else points[day].id for day in points}
    why = {day: world.invoke("prune_snapshots", {"explain": ask[day]}) for day in points}
    assert f"used by {image}, which is disabled" in why[2]["lines"][-1]
    assert "locked (governance) until" in why[3]["reasons"][0]
    assert "is archived, and paid for until" in why[4]["lines"][-1]
    assert "legal" in why[5]["reasons"][0]
    assert why[6]["reasons"] == ["tags keep=yes"]
    assert why[7]["status"] == "deleted"


def test_what_was_in_the_way_and_is_no_more_goes_with_the_next_prune(world: World) -> None:
    points = history(world, 2)
    (used, _) = points[2].snapshots
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": used}}]
    image = world.ec2.register_image(Name="image", BlockDeviceMappings=mapping)["ImageId"]
    world.prune()
    assert kept(world) == [1, 2]

    world.ec2.deregister_image(ImageId=image)
    world.advance(DAY)
    world.prune()

    assert kept(world) == [1]


def test_the_stored_plan_is_json_that_says_of_each_point_what_and_why(world: World) -> None:
    points = history(world, 3)

    report = world.prune(dry_run=True)

    key = f"plans/web-daily/{report['plan']}/000000.json"
    assert report["stored"] == f"s3://{PLANS}/plans/web-daily/{report['plan']}/"
    body = world.client("s3").get_object(Bucket=PLANS, Key=key)["Body"].read()
    (source,) = json.loads(body)["sources"]
    told = {one["id"]: one for one in source["points"]}
    assert told[points[3].id]["fate"] == "delete"
    assert told[points[3].id]["gib"] == 24
    assert told[points[3].id]["snapshots"] == list(points[3].snapshots)
    assert kept(world) == [1, 2, 3]


def test_a_plan_over_its_cap_waits_for_a_person(world: World) -> None:
    history(world, 4, max_deletes=MaxDeletes(count=2, share=1.0))

    stopped = world.prune()

    assert stopped["status"] == "stopped"
    assert kept(world) == [1, 2, 3, 4]
    (notice,) = world.notices()
    assert stopped["plan"] in notice["text"]
    world.invoke("prune_snapshots", {"plan": stopped["plan"], "by": "anna"})
    world.settle()
    assert kept(world) == [1]
    world.deploy(a_policy(retention=Retention(keep_daily=9)))
    with pytest.raises(UnsafePlan, match="was changed"):
        world.invoke("prune_snapshots", {"plan": stopped["plan"]})


def test_a_lost_ledger_is_rebuilt_with_its_holds(world: World) -> None:
    points = history(world, 3)
    world.invoke("prune_snapshots", {"hold": points[3].id, "by": "anna", "why": "audit"})
    for point in points.values():
        key = {"pk": {"S": f"POINT#{point.id}"}, "sk": {"S": "POINT"}}
        world.client("dynamodb").delete_item(TableName="lastgood-ledger", Key=key)

    world.invoke_later("sweep", {"rebuild": True})
    world.settle()
    world.prune()

    assert kept(world) == [1, 3]
    hold = world.ledger.point(points[3].id).hold
    assert (hold.by, hold.why) == ("anna", "audit")
