"""Sources of other accounts: planned, taken, recorded and pruned there, as those at home are."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lastgood.domain.model import Point, PointStatus, RunStatus
from lastgood.domain.policy import Retention
from lastgood.errors import AccessDenied
from tests.cloud.faults import AwsError
from tests.support import table
from tests.support.fleet import disk, launch
from tests.support.world import ACCOUNT, HOME, SLOT, World, a_policy, a_world

MEMBER = "222222222222"
DAY = timedelta(days=1)
NO_ROLE = AwsError("AccessDenied", "no such role", 403)


@pytest.fixture
def world() -> Iterator[World]:
    """Whose policy looks at home and in another account, and keeps one point."""
    with a_world() as world:
        world.members = (MEMBER,)
        policy = a_policy(retention=Retention(keep_last=1))
        accounts = (ACCOUNT, MEMBER)
        world.deploy(replace(policy, select=replace(policy.select, accounts=accounts)))
        yield world


def member(world: World) -> Any:
    return world.client("ec2", HOME, MEMBER)


def by_source(world: World) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for one in world.points():
        found.setdefault(one.source.id, []).append(one)
    return found


def test_a_members_instance_is_planned_taken_recorded_and_pruned_in_its_account(
    world: World,
) -> None:
    there = launch(member(world), "web", disk("/dev/sdf"))
    here = launch(world.ec2, "web")

    world.run_at(SLOT)
    world.run_at(SLOT + DAY)

    points = by_source(world)
    assert {source: len(of) for source, of in points.items()} == {there: 2, here: 2}
    assert all(one.status is PointStatus.AVAILABLE for of in points.values() for one in of)
    assert {one.source.account for one in points[there]} == {MEMBER}
    assert {one.source.account for one in points[here]} == {ACCOUNT}
    assert (len(world.snapshots(account=MEMBER)), len(world.snapshots())) == (4, 2)

    report = world.prune()

    assert (report["delete"], report["unreachable"]) == (2, {})
    old, new = by_source(world)[there]
    assert (old.status, new.status) == (PointStatus.DELETED, PointStatus.AVAILABLE)
    left = {one["SnapshotId"] for one in world.snapshots(account=MEMBER)}
    assert left == set(new.snapshots)
    assert len(world.snapshots()) == 1
    assert not world.bugs


def test_the_run_names_its_places_and_ends_well(world: World) -> None:
    launch(member(world), "web")
    launch(world.ec2, "web")

    report = world.run_at(SLOT)

    run = world.ledger.run(report["run"])
    assert run is not None
    assert run.planned is not None
    assert set(run.planned.regions) == {HOME, f"{MEMBER}/{HOME}"}
    assert run.status is RunStatus.OK


def test_an_account_that_cannot_be_entered_is_a_problem_of_the_run_and_stops_no_other(
    world: World,
) -> None:
    launch(member(world), "web")
    here = launch(world.ec2, "web")
    world.cloud.faults.spoil(
        "sts.AssumeRole", AwsError("AccessDenied", "no such role", 403), times=99
    )

    with pytest.raises(AccessDenied, match=f"enter account {MEMBER}"):
        world.plan()
    world.advance(timedelta(hours=1))

    assert set(by_source(world)) == {here}
    (run,) = world.ledger.runs("web-daily")
    counted = world.ledger.run(run.id)
    assert counted is not None
    assert counted.planned is not None
    assert counted.status is RunStatus.PARTIAL
    assert counted.planned.regions == (HOME,)
    (problem,) = counted.planned.problems
    assert MEMBER in problem


def test_what_is_to_go_stays_where_lastgood_may_not_enter_and_goes_elsewhere(
    world: World,
) -> None:
    there, here = launch(member(world), "web"), launch(world.ec2, "web")
    world.run_at(SLOT)
    world.run_at(SLOT + DAY)
    world.cloud.faults.spoil(
        "sts.AssumeRole", AwsError("AccessDenied", "no such role", 403), times=99
    )

    report = world.prune()

    assert list(report["unreachable"]) == [f"{MEMBER}/{HOME}"]
    assert [one.status for one in by_source(world)[here]] == [
        PointStatus.DELETED,
        PointStatus.AVAILABLE,
    ]
    assert {one.status for one in by_source(world)[there]} == {PointStatus.AVAILABLE}


def test_a_sweep_settles_and_rebuilds_what_is_in_another_account(world: World) -> None:
    there = launch(member(world), "web")
    world.plan()
    world.cloud.clock.advance(timedelta(minutes=1), world.settle)
    world.cloud.clock.advance(timedelta(hours=1))
    world.forget_events()

    world.sweep()

    (point,) = by_source(world)[there]
    assert (point.status, point.source.account) == (PointStatus.AVAILABLE, MEMBER)

    world.client("dynamodb").delete_item(
        TableName=table.NAME, Key={"pk": {"S": f"POINT#{point.id}"}, "sk": {"S": "POINT"}}
    )
    report = world.invoke("sweep", {"rebuild": True})

    assert report["rebuilt"] == 1
    (again,) = by_source(world)[there]
    assert (again.source, again.status) == (point.source, PointStatus.AVAILABLE)


def test_events_of_an_account_that_no_policy_names_are_foreign(world: World) -> None:
    launch(member(world), "web")
    world.plan()
    world.settle()
    world.members = ()

    world.advance(timedelta(hours=1))

    assert {one["error"] for one in world.buried("record_snapshot")} == {"ForeignEvent"}
