"""What a run costs, counted: EC2 calls, ledger writes, and memory that does not grow."""

import math
import tracemalloc
from collections import Counter
from datetime import timedelta

import pytest

from lastgood import runtime
from lastgood.domain.policy import ResourceKind, Select
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Page
from plan_snapshots.usecase import Planner, PlanRequest
from tests.cloud.ec2.seed import seed_fleet
from tests.contract.test_ledger import item_writes
from tests.support.builders import a_volume, an_instance
from tests.support.fakes import FakePlanners
from tests.support.fleet import volume
from tests.support.world import HOME, SLOT, World, a_policy

DAILY = {"backup": "daily"}
PAGE = 1000


def ec2_calls(world, since=0):
    calls = world.cloud.calls[since:]
    return Counter(call.operation for call in calls if call.service == "ec2")


@pytest.mark.parametrize(("instances", "volumes"), [(1000, 1), (400, 3)])
def test_planning_costs_a_describe_for_a_thousand_instances_and_one_for_a_thousand_volumes(
    world: World, instances, volumes
):
    seed_fleet(HOME, instances, volumes, tags=DAILY)

    world.plan()

    # 2 describes for 1,000 sources of one volume; each further 1,000 volumes cost one more, for
    # a page holds no more, and the manifest needs to know every volume.
    assert ec2_calls(world) == {
        "DescribeInstances": 1,
        "DescribeVolumes": math.ceil(instances * volumes / PAGE),
    }


def test_taking_costs_one_creating_call_an_instance_and_no_describe(world: World):
    instances = 30
    seed_fleet(HOME, instances, 3, tags=DAILY)
    world.plan()
    before = len(world.cloud.calls)

    world.settle()

    # The read is due at first sight, after a start, and once a week.
    assert ec2_calls(world, before) == {
        "CreateSnapshots": instances,
        "GetLaunchTemplateData": instances,
    }


def test_lone_volumes_cost_one_describe_a_page_and_one_creating_call_each(world: World):
    select = Select(resource=ResourceKind.VOLUME, tags={"backup": ("volume",)})
    world.deploy(a_policy(name="data", select=select))
    for _ in range(30):
        volume(world.ec2, f"{HOME}a", {"backup": "volume"})
    before = len(world.cloud.calls)

    world.plan("data")
    world.settle()

    assert ec2_calls(world, before) == {"DescribeVolumes": 1, "CreateSnapshot": 30}


def test_from_the_second_run_on_an_instance_costs_one_call_and_its_point_six_writes(world: World):
    instances = 20
    seed_fleet(HOME, instances, 3, tags=DAILY | {"Name": "web"})
    world.run()
    before, written = len(world.cloud.calls), item_writes(world.cloud)
    read = len(world.cloud.calls.of("dynamodb.GetItem"))
    # At first sight, the launch attributes and the Name.
    assert written == 8 * instances + 2

    world.run_at(SLOT + timedelta(days=1))

    assert ec2_calls(world, before) == {
        "DescribeInstances": 1,
        "DescribeVolumes": 1,
        "CreateSnapshots": instances,
    }
    of_the_run = 2  # opened, and planned
    assert item_writes(world.cloud) - written == 6 * instances + of_the_run
    # One of the six for each point tells that the Name is known.
    of_a_point = len(world.cloud.calls.of("dynamodb.GetItem")) - read - 1
    assert of_a_point == 6 * instances


def test_no_describe_is_unfiltered_or_unpaged(world: World):
    seed_fleet(HOME, 5, 2, tags=DAILY)

    world.run()

    assert world.cloud.ec2.broad_describes == []


def test_planning_takes_no_more_memory_for_a_fleet_of_twelve_pages_than_for_three():
    peaks = [peak_of_planning(pages) for pages in (3, 12)]

    assert peaks[1] < 1.2 * peaks[0]


def peak_of_planning(pages):
    """Bytes at the most while ``pages`` pages of 500 instances are judged and sent.

    Only our own part: EC2 and SQS stand in here as generators, since moto keeps all it is told.
    """

    class Fleet:
        region = HOME

        def instances(self, tags, start=None):
            for page in range(pages):
                yield Page(
                    [
                        an_instance(f"i-{page}-{n}", volumes={"/dev/xvda": f"vol-{page}-{n}"})
                        for n in range(500)
                    ]
                )

        def volumes_by_id(self, ids):
            return {id_: a_volume(id_) for id_ in ids}

    class Sink:
        def send(self, requests):
            return sum(1 for _ in requests)

    class One:
        def get(self, name):
            return a_policy()

    planner = Planner(
        policies=One(),
        at=lambda _: Fleet(),
        ledger=MemoryLedger(),
        queue=Sink(),
        planners=FakePlanners(),
        clock=runtime.SystemClock(),
        account="123456789012",
        home_region=HOME,
    )
    tracemalloc.start()
    planner.plan(PlanRequest(policy="web-daily"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
