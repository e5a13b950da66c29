"""The deployed bundle through bad nights: functions that die, AWS that fails, events that get lost.

A few of what tests/faults tells of every call, here with real processes, queues and schedules.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from lastgood.domain.model import PointStatus, RunStatus
from lastgood.domain.names import run_id
from lastgood.domain.tags import POINT
from tests.cloud.driver import CloudProcess
from tests.cloud.faults import DELAYED, DOUBLED, DROPPED, LOST_REPLY, REORDERED, aws_error
from tests.e2e.conftest import BURYING, FUNCTIONS, SLOT, Installation, an_installation
from tests.support.fleet import disk, launch, tag, volumes_of

pytestmark = pytest.mark.slow

INSTANCES = 8
LENGTH = timedelta(hours=2)
"""Of a night: sweeps give a point up, or are done with a doubt, in less."""
MINUTE = timedelta(minutes=1)

Trouble = Callable[[CloudProcess], None]

ASLEEP = ("copy_snapshots", "prune_snapshots", "delete_snapshots", "tell_chat")
"""The policy wants no copies, by morning nothing is to be pruned, and nobody asks for a restore."""


def killed(cloud: CloudProcess, **after: int) -> None:
    """Each function dies after its call of that number, for once."""
    for function, number in after.items():
        cloud.kill(FUNCTIONS[function], after=number)


def throttled(cloud: CloudProcess) -> None:
    """By others who use the same account, at the calls that we make once and at those we repeat."""
    cloud.conditions(throttling=True, lag=MINUTE)
    busy = aws_error("RequestLimitExceeded", status=503)
    # Each halves the pace of a worker, which waits in real time.
    cloud.add_fault("ec2.CreateSnapshots", busy, times=3)
    cloud.add_fault("ec2.Describe*", busy, times=2)
    cloud.add_fault("dynamodb.*", aws_error("ThrottlingException"), times=2, after=9)


def replies_lost(cloud: CloudProcess) -> None:
    cloud.conditions(lag=MINUTE)
    cloud.add_fault("ec2.CreateSnapshots", LOST_REPLY, times=3, after=2)
    cloud.add_fault("dynamodb.TransactWriteItems", LOST_REPLY, times=2, after=1)


def replies_lost_and_describes_late(cloud: CloudProcess) -> None:
    """Later than EC2 is waited for, so that sets are made twice."""
    cloud.conditions(lag=10 * MINUTE)
    cloud.add_fault("ec2.CreateSnapshots", LOST_REPLY, times=2, after=3)


def events_go_astray(cloud: CloudProcess) -> None:
    cloud.add_event_fault(DROPPED, times=6)
    cloud.add_event_fault(DOUBLED, times=4, after=6)
    cloud.add_event_fault(REORDERED, times=3, after=10)
    cloud.add_event_fault(DELAYED, times=4, after=13, delay=25 * MINUTE)


def all_at_once(cloud: CloudProcess) -> None:
    killed(cloud, plan_snapshots=5, create_snapshots=11, record_snapshot=7, sweep=30)
    throttled(cloud)
    replies_lost(cloud)
    events_go_astray(cloud)


NIGHTS: dict[str, Trouble] = {
    "replies lost and describes late": replies_lost_and_describes_late,
    "all at once": all_at_once,
}


@pytest.fixture(scope="module")
def lastgood(assembly) -> Iterator[Installation]:
    with an_installation(assembly) as installation:
        installation.subscribe()
        installation.hurry("create_snapshots")
        ec2 = installation.client("ec2")
        for number in range(INSTANCES):
            instance = launch(ec2, f"web-{number}", disk("/dev/sdf"))
            tag(ec2, volumes_of(ec2, instance)["/dev/sdf"], team="web")
        yield installation
        assert installation.cloud.errors() == ""


@pytest.mark.parametrize("night", NIGHTS)
def test_after_a_bad_night_every_source_has_its_point_once(lastgood: Installation, night):
    cloud = lastgood.cloud
    slot = SLOT + LENGTH * list(NIGHTS).index(night)
    # The first is its schedule's; the other slots are asked for as a schedule does.
    cloud.advance(to=slot - MINUTE)
    began = len(cloud.state()["invocations"])
    NIGHTS[night](cloud)
    if slot > SLOT:
        cloud.advance(to=slot)
        event = {"policy": "web-daily", "slot": slot.isoformat()}
        lastgood.invoke("plan_snapshots", event, InvocationType="Event")
    cloud.advance(to=slot + LENGTH / 2)
    cloud.clear_faults()
    cloud.conditions(throttling=False, lag=timedelta(0))
    cloud.advance(to=slot + LENGTH - 2 * MINUTE)

    state = cloud.state()
    assert broken_promises(lastgood, slot) == []
    assert [one for one in state["decisions"] if not one["allowed"]] == []
    assert (state["notices"], state["lost"]) == ([], [])
    if night == "all at once":
        ends = state["invocations"][began:]
        dead = {one["function"] for one in ends if "signal: killed" in one["result"]}
        # Deaths of the others are in tests/faults.
        assert dead == {FUNCTIONS[one] for one in BURYING if one not in ASLEEP}


def broken_promises(lastgood: Installation, slot) -> list[str]:
    """A line for each that was not kept."""
    return [*_of_points(lastgood, slot), *_of_snapshots(lastgood), *_of_the_rest(lastgood)]


def _of_points(lastgood: Installation, slot) -> Iterator[str]:
    points = lastgood.points_at(slot)
    if len(points) != INSTANCES:
        yield f"{len(points)} points of {INSTANCES} sources"
    for point in points.values():
        if point.status is not PointStatus.AVAILABLE or len(point.members) != 2:
            yield f"{point.id} is {point.status} with {len(point.members)} members: {point.cause}"
    run = lastgood.ledger.run(run_id("web-daily", slot))
    if run is None or run.status is not RunStatus.OK:
        yield f"the run is {run}"
    told = {one["detail"]["point"] for one in lastgood.heard()}
    yield from (f"not announced: {one.id}" for one in points.values() if one.id not in told)


def _of_snapshots(lastgood: Installation) -> Iterator[str]:
    members = {member.snapshot for point in lastgood.points() for member in point.members}
    made: Counter[tuple[str, str]] = Counter()
    for one in lastgood.snapshots():
        point = {tag["Key"]: tag["Value"] for tag in one["Tags"]}.get(POINT, "no point")
        made[point, one["VolumeId"]] += 1
        if one["SnapshotId"] not in members:
            yield f"{one['SnapshotId']} of {point} is a member of none"
    yield from (f"{times} snapshots of {what}" for what, times in made.items() if times > 1)


def _of_the_rest(lastgood: Installation) -> Iterator[str]:
    yield from (f"in flight: {point.id}" for point in lastgood.ledger.in_flight())
    yield from (f"in doubt: {doubt.point}" for doubt in lastgood.ledger.doubts())
    for function in BURYING:
        yield from (f"dead letter of {function}: {one}" for one in lastgood.dead_letters(function))
