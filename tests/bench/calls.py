"""EC2 calls, time, and what is left undone: Lastgood beside what else people use.

All run against the same test cloud, one after the other, over HTTP on loopback: a plain loop,
cloud custodian and shelvery as processes, then Lastgood, deployed by the real CDK CLI, at two
slots. Every instance has three volumes. A call is a request that reached EC2: one that is tried
again counts again.

Time is the cloud's, from the start (of Lastgood: from the slot) to the last snapshot. Lastgood
paces itself to 95 % of what EC2 gives, whether EC2 limits or not. The test cloud runs three of its
workers at most where Lambda runs ten, so each is told that it is one of three.

With limits on, EC2's token buckets hold, and pending snapshots and spacing of each volume; and of
every tenth volume five snapshots are pending at the start, for two minutes.
"""

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.catalog import CATALOG
from lastgood.ledger.dynamo import DynamoLedger
from tests.bench import show
from tests.bench.installation import HOME, Installation, deploy
from tests.bench.tools import TAGS, Tool, others
from tests.cloud.driver import CloudProcess
from tests.cloud.queues import POLLERS
from tests.support import table
from tests.support.fleet import own_snapshots

START = datetime(2026, 3, 2, 0, 20, tzinfo=UTC)
SLOTS = (datetime(2026, 3, 2, 2, 0, tzinfo=UTC), datetime(2026, 3, 2, 4, 0, tzinfo=UTC))
"""The policy's own, and one that is asked for as its schedule would."""
VOLUMES = 3
SMALL, LARGE = 8, 500
"""GiB. A snapshot takes 20 s and 0.2 s for each in the test cloud: two minutes for a large one."""
REST = timedelta(minutes=5)
PENDING = 5
STEP = timedelta(seconds=15)
PATIENCE = timedelta(minutes=40)
RAN = "create_snapshots", "plan_snapshots"
HEADINGS = (
    *("tool", "calls/source", "calls/done", "s"),
    *("undone", "doubled", "untagged", "throttled", "how it ended"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instances", type=int, nargs="*", default=[200, 1000])
    parser.add_argument("--limited", type=int, nargs="*", default=[200], help="with limits on")
    parser.add_argument("--longest", type=float, default=600, help="seconds that a tool gets")


@dataclass(frozen=True)
class Result:
    """What one tool did to a fleet. ``calls``: of EC2, by name; ``refused``: throttled ones."""

    tool: str
    calls: dict[str, int]
    seconds: float
    undone: int
    doubled: int
    untagged: int
    refused: int
    ended: str

    def row(self, sources: int) -> tuple[str, ...]:
        done = sources - self.undone
        return (
            self.tool,
            f"{sum(self.calls.values()) / sources:.3f}",
            f"{sum(self.calls.values()) / done:.3f}" if done else "-",
            f"{self.seconds:.0f}",
            str(self.undone),
            str(self.doubled),
            str(self.untagged),
            str(self.refused),
            self.ended,
        )


@dataclass
class Field:
    """A cloud with a fleet in it. ``volumes``: the ids of each instance's. ``longest``: seconds."""

    cloud: CloudProcess
    volumes: dict[str, set[str]]
    limited: bool
    longest: float

    def now(self) -> datetime:
        return self.cloud.advance(by=timedelta(milliseconds=1))

    def with_tool(self, tool: Tool, folder: Path) -> Result:
        self._occupy()
        before = self._count("")
        refused = self._refused()
        began = self.now()
        folder.mkdir()
        ended = tool.run(self.cloud, folder, self.longest, self.cloud.settle)
        calls = self._count("") - before
        return self._result(tool.name, calls, began, ended, self._refused() - refused)

    def with_lastgood(self, place: Installation, slot: datetime, name: str) -> Result:
        self.cloud.advance(to=slot - REST - timedelta(seconds=30))
        self._occupy()
        before, refused = self._ours(), self._refused()
        ledger = DynamoLedger(place.client("dynamodb"), table.NAME)
        self.cloud.advance(to=slot)
        if slot != SLOTS[0]:
            request = {"policy": "web-daily", "slot": slot.isoformat()}
            place.invoke_later("lastgood-plan-snapshots", request)
        while self.now() < slot + PATIENCE:
            self.cloud.advance(by=STEP)
            run = next(ledger.runs("web-daily"), None)
            counted = ledger.run(run.id) if run else None
            if counted and counted.slot == slot and counted.planned and not any(ledger.in_flight()):
                break
        calls = self._ours() - before
        letters = len(self.cloud.state()["dead_letters"])
        ended = f"dead letters: {letters}" if letters else "ended well"
        return self._result(name, calls, slot, ended, self._refused() - refused)

    def _occupy(self) -> None:
        """Let what is pending end and the buckets fill; with limits on, make volumes busy."""
        self.cloud.advance(by=REST)
        if not self.limited:
            return
        ec2 = self.cloud.client("ec2", HOME)
        self.cloud.conditions(limits=False, throttling=False)
        every = sorted(one for ids in self.volumes.values() for one in ids)
        for volume in every[::10]:
            for _ in range(PENDING):
                ec2.create_snapshot(VolumeId=volume, Description="busy")
        self.cloud.conditions(limits=True, throttling=True)

    def _ours(self) -> Counter[str]:
        functions = [row.physical_name for row in CATALOG if row.name in RAN]
        return sum((self._count(name) for name in functions), Counter[str]())

    def _count(self, by: str) -> Counter[str]:
        counted = self.cloud.state()["calls"].get(by, {})
        return Counter(
            {
                name.removeprefix("ec2."): count
                for name, count in counted.items()
                if name.startswith("ec2.")
            }
        )

    def _refused(self) -> int:
        return sum(bucket["refused"] for bucket in self.cloud.conditions()["buckets"])

    def _result(
        self, tool: str, calls: Counter[str], since: datetime, ended: str, refused: int
    ) -> Result:
        made = [
            one
            for one in own_snapshots(self.cloud.client("ec2", HOME))
            if one["StartTime"] >= since and one["Description"] != "busy"
        ]
        of = Counter(one["VolumeId"] for one in made)
        last = max((one["StartTime"] for one in made), default=since)
        return Result(
            tool=tool,
            calls=dict(calls),
            seconds=(last - since).total_seconds(),
            undone=sum(any(not of[one] for one in ids) for ids in self.volumes.values()),
            doubled=sum(count - 1 for count in of.values()),
            untagged=sum(not one.get("Tags") for one in made),
            refused=refused,
            ended=ended,
        )


def run(given: argparse.Namespace) -> int:
    for limited, sizes in ((False, given.instances), (True, given.limited)):
        for instances in sizes:
            _compare(instances, limited, given.longest)
    return 0


def _compare(instances: int, limited: bool, longest: float) -> None:
    results = []
    with tempfile.TemporaryDirectory() as name, CloudProcess(START) as cloud:
        folder = Path(name)
        tools = others(folder)
        size = LARGE if limited else SMALL
        cloud.seed_fleet(
            HOME, instances, volumes_each=VOLUMES, size=size, tags=TAGS, volume_tags=TAGS
        )
        field = Field(cloud, _volumes(cloud), limited, longest)
        cloud.conditions(limits=limited, throttling=limited)
        for tool in tools:
            show.doing(f"{tool.name}, {instances} instances")
            results.append(field.with_tool(tool, folder / tool.name.split()[0]))
        cloud.conditions(limits=False, throttling=False)
        place = deploy(cloud)
        _share_among_pollers(place)
        cloud.conditions(limits=limited, throttling=limited)
        for slot, which in zip(SLOTS, ("first run", "second run"), strict=True):
            show.doing(f"Lastgood, {which}, {instances} instances")
            results.append(field.with_lastgood(place, slot, f"Lastgood, {which}"))
        if errors := cloud.errors():
            show.line(errors)
    show.title(f"{instances} instances of {VOLUMES} volumes, limits {'on' if limited else 'off'}")
    show.table(
        HEADINGS,
        [one.row(instances) for one in results],
    )
    show.line()
    for one in results:
        calls = ", ".join(f"{name} {count}" for name, count in sorted(one.calls.items()))
        show.line(f"{one.tool}: {calls}")


def _share_among_pollers(place: Installation) -> None:
    functions, name = place.client("lambda"), "lastgood-create-snapshots"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    variables["LASTGOOD_WORKERS"] = str(POLLERS)
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def _volumes(cloud: CloudProcess) -> dict[str, set[str]]:
    pages = cloud.client("ec2", HOME).get_paginator("describe_instances").paginate(MaxResults=500)
    return {
        instance["InstanceId"]: {one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]}
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    }
