"""``make demo``: deploy the bundle into the test cloud, let schedules fire, show what came of it:
a good night, and a bad one.

``--stay`` (``make cloud``) deploys the same and leaves the cloud running for the AWS CLI.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.policies import load_policies
from lastgood.domain import cron
from lastgood.domain.model import Point, PointStatus, Run
from lastgood.domain.retention import PointFacts, judge
from lastgood.ledger.dynamo import DynamoLedger
from tests.cloud.driver import CdkFailed, CloudFailed, CloudProcess
from tests.cloud.faults import DROPPED, KILL, LOST_REPLY
from tests.demo_copies import Copies
from tests.demo_restores import Restores
from tests.support import table
from tests.support.fleet import disk, launch, tag, volume, volumes_of
from tests.support.schedules import GROUP, change, switch

REPOSITORY = Path(__file__).resolve().parents[1]
REGION = "eu-west-1"
ZONE = f"{REGION}a"
# Less than an hour before the last slot: so long does EC2 show a terminated instance.
START = datetime(2026, 3, 2, 1, 20, tzinfo=UTC)
SLOTS = {
    "data-volumes": datetime(2026, 3, 2, 1, 30, tzinfo=UTC),
    "web-daily": datetime(2026, 3, 2, 2, 0, tzinfo=UTC),  # 03:00 in Berlin
}
STEP = timedelta(seconds=30)
PATIENCE = timedelta(minutes=30)
DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)
BAD_NIGHT = timedelta(hours=2)
"""Until the sweeps have nothing left to do."""
CREATOR, SWEEPER = "lastgood-create-snapshots", "lastgood-sweep"
PRUNER = "lastgood-prune-snapshots"
DAYS, STRIDE = 400, 8 * 7 * DAY
STAYS = "web-1"
WEEKLY = "0 3 ? * SUN *"


@dataclass
class Fleet:
    """What was made. ``names`` by id; ``wanted`` are the sources that must get a point, with how
    many snapshots; ``left_out`` those that a run must name, with a word of the reason."""

    names: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, dict[str, int]] = field(
        default_factory=lambda: {policy: {} for policy in SLOTS}
    )
    left_out: dict[str, str] = field(default_factory=dict)

    def instance(self, id_: str, name: str, snapshots: int) -> str:
        self.names[id_] = name
        self.wanted["web-daily"][id_] = snapshots
        return id_

    def without(self, id_: str, name: str, reason: str) -> None:
        self.names[id_] = name
        self.left_out[id_] = reason

    def lone(self, id_: str, name: str) -> str:
        self.names[id_] = name
        self.wanted["data-volumes"][id_] = 1
        return id_


def build_fleet(ec2: Any) -> Fleet:
    """Of all that a real account holds, one each."""
    fleet = Fleet()
    fleet.instance(
        launch(ec2, "web-1", disk("/dev/sdf", 40, Iops=6000, Throughput=500)), "web-1", 2
    )
    fleet.instance(launch(ec2, "web-2", disk("/dev/sdf"), disk("/dev/sdg", 100)), "web-2", 3)
    first, second = sorted(
        launch(ec2, name, root={"Encrypted": True}, tags={"backup": "gold"})
        for name in ("db", "db")
    )
    fleet.instance(first, "db-1, owns the shared io2 volume", 2)
    fleet.instance(second, "db-2, shares it", 1)
    shared = volume(
        ec2, ZONE, {"Name": "shared"}, VolumeType="io2", Iops=3000, MultiAttachEnabled=True
    )
    for one in (first, second):
        ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdh")
    fleet.instance(
        launch(ec2, "archive", disk("/dev/sdf", 500, VolumeType="st1")), "archive, on st1", 2
    )
    stopped = launch(ec2, "batch", disk("/dev/sdf", Encrypted=True))
    ec2.stop_instances(InstanceIds=[stopped])
    fleet.instance(stopped, "batch, stopped", 2)
    sleepy = launch(
        ec2,
        "desktop",
        disk("/dev/sdf", 20, Encrypted=True),
        root={"Encrypted": True},
        HibernationOptions={"Configured": True},
    )
    fleet.instance(sleepy, "desktop, hibernation-enabled", 2)
    large = launch(ec2, "build", *(disk(f"/dev/sd{letter}", 50) for letter in "fghi"))
    tag(ec2, volumes_of(ec2, large)["/dev/sdi"], scratch="true")
    fleet.instance(large, "build, with a scratch volume", 4)
    skipped = launch(ec2, "test", tags={"backup": "daily", "backup-skip": "true"})
    fleet.without(skipped, "test", "backup-skip=true")
    gone = launch(ec2, "old")
    ec2.terminate_instances(InstanceIds=[gone])
    fleet.without(gone, "old", "terminated")
    fleet.names[launch(ec2, "untagged", tags={})] = "untagged: no policy selects it"
    data = {"backup": "volume"}
    fleet.lone(volume(ec2, ZONE, {**data, "Name": "exports"}, Size=120), "exports")
    fleet.lone(volume(ec2, ZONE, {**data, "Name": "keys"}, Encrypted=True), "keys, encrypted")
    cache = volume(ec2, ZONE, {"Name": "cache"}, Size=30)
    fleet.names[cache] = "cache, lone: no policy selects it"
    return fleet


class Show:
    """What a person reads: steps with how long they took, and tables."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        print(f"\n[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)

    def line(self, text: str = "") -> None:
        print(f"          {text}", flush=True)

    def run(self, run: Run, points: list[Point], fleet: Fleet) -> None:
        planned = run.planned
        assert planned is not None
        self.step(f"Run of {run.policy} for the slot {run.slot:%Y-%m-%d %H:%M} UTC: {run.status}")
        for point in points:
            self._point(point, fleet)
        for left in planned.left_out:
            self.line(f"left out   {left.source.id}  {fleet.names.get(left.source.id, '')}")
            self.line(f"           {left.reason}")
        good = run.ended[PointStatus.AVAILABLE]
        bad = run.ended[PointStatus.FAILED]
        members = [member for point in points for member in point.members]
        self.line(
            f"totals     {planned.points} points: {good} available, {bad} failed; "
            f"{len(members)} snapshots of {sum(one.size_gib for one in members)} GiB; "
            f"{planned.left_out_count} sources left out"
        )

    def _point(self, point: Point, fleet: Fleet) -> None:
        took = (point.settled_at - point.slot).total_seconds() if point.settled_at else 0
        self.line(
            f"{point.status:10} {point.source.id}  {fleet.names.get(point.source.id, '')}: "
            f"{point.id}, {point.method}, {took:.0f} s after its slot"
        )
        for member in point.members:
            key = "encrypted" if member.encrypted else "plain"
            self.line(
                f"           {member.snapshot}  {member.device or '-':10} "
                f"{member.size_gib:4} GiB  {key:9}  {member.state}"
            )
        for note in (*point.notes, *([point.cause] if point.cause else [])):
            self.line(f"           note: {note}")


@dataclass
class Demo:
    cloud: CloudProcess
    show: Show

    def __post_init__(self) -> None:
        self.ec2 = self.cloud.client("ec2", REGION)
        self.scheduler = self.cloud.client("scheduler", REGION)
        self.ledger = DynamoLedger(self.cloud.client("dynamodb", REGION), table.NAME)

    def deploy(self) -> None:
        self.show.step(f"cdk bootstrap aws://123456789012/{REGION}")
        self.cloud.bootstrap(REGION)
        self.show.step("cdk deploy --all")
        out = self.cloud.deploy(REPOSITORY, region=REGION)
        for line in out.splitlines():
            if line.strip().startswith(("✅", "✨")):
                self.show.line(line.strip())
        for stack in ("LastgoodState", "Lastgood"):
            found = self.cloud.stack_resources(stack, REGION)
            self.show.line(f"{stack}: {sum(found.values())} resources")

    def fleet(self) -> Fleet:
        fleet = build_fleet(self.ec2)
        volumes = self.ec2.describe_volumes(MaxResults=500)["Volumes"]
        self.show.step(
            f"A fleet: {sum(id_.startswith('i-') for id_ in fleet.names)} instances "
            f"and {len(volumes)} volumes; the attached ones go with their instances"
        )
        for id_, name in fleet.names.items():
            self.show.line(f"{id_:21}  {name}")
        return fleet

    def protect(self) -> list[Run]:
        """Move the clock to each slot and on, until every point of its run has ended."""
        return [self._one_slot(policy, slot) for policy, slot in SLOTS.items()]

    def _one_slot(self, policy: str, slot: datetime) -> Run:
        self.show.step(f"The clock moves to {slot:%H:%M} UTC, the slot of {policy}")
        self.cloud.advance(to=slot)
        said = ""
        while True:
            run = next(self.ledger.runs(policy), None)
            counted = self.ledger.run(run.id) if run else None
            statuses = [point.status for point in self.ledger.in_flight()]
            now = self.cloud.now()
            if counted and counted.planned and (news := _progress(counted, statuses)) != said:
                self.show.line(f"{now:%H:%M:%S}  {news}")
                said = news
            ended = counted is not None and counted.planned is not None and not statuses
            if counted is not None and (ended or now > slot + PATIENCE):
                return counted
            if now > slot + PATIENCE:
                raise CloudFailed(f"the schedule of {policy} did not start a run")
            self.cloud.advance(by=STEP)

    def points(self, run: Run, fleet: Fleet) -> list[Point]:
        found = []
        for source in fleet.wanted[run.policy]:
            listed = next((one for one in self.ledger.points(source) if one.run == run.id), None)
            point = self.ledger.point(listed.id) if listed else None
            if point is not None:
                found.append(point)
        return found

    # ------------------------------------------------------------------- a bad night

    def bad_night(self) -> list[Run]:
        """The night after, in which nobody does anything but to mend the schedule."""
        self.show.step("The day passes; the sweep's schedule, every 15 minutes, rests till night")
        switch(self.scheduler, SWEEPER, on=False)
        first, second = (slot + DAY for slot in SLOTS.values())
        self.cloud.advance(to=first - 2 * QUARTER)
        switch(self.scheduler, SWEEPER, on=True)
        self.show.step(f"A bad night, {first:%Y-%m-%d}. All of this goes wrong:")
        self.show.line("- the schedule of data-volumes is disabled by mistake: nobody starts it")
        self.show.line("- create_snapshots is killed in the middle of a batch, after a create call")
        self.show.line("- EC2 takes a set of snapshots, and its reply is lost")
        self.show.line("- the events that EBS sends within ten minutes are lost")
        skipped = self._schedule_of("data-volumes")
        switch(self.scheduler, skipped, on=False)
        self.cloud.advance(to=second - QUARTER)
        switch(self.scheduler, skipped, on=True)
        self.cloud.add_fault("ec2.CreateSnapshots", KILL, after=1, by=CREATOR)
        self.cloud.add_fault("ec2.CreateSnapshots", LOST_REPLY, after=2)
        self.cloud.add_event_fault(DROPPED, times=99)
        seen = len(self._sweeps())
        self.cloud.advance(to=second + timedelta(minutes=10))
        self.cloud.clear_faults()
        self.cloud.advance(to=second + BAD_NIGHT)
        self.show.step(f"The clock moves on to {second + BAD_NIGHT:%H:%M}. What the sweeps found:")
        idle = 0
        for time_, report in self._sweeps()[seen:]:
            if found := _findings(report):
                self.show.line(f"{time_:%H:%M}  {found}")
            else:
                idle += 1
        self.show.line(f"{idle} other sweeps found nothing to do")
        self.show.step("What people were told, on the topic lastgood-notices:")
        for notice in self.cloud.state()["notices"]:
            self.show.line(notice["subject"])
            for line in notice["message"].splitlines():
                self.show.line(f"  {line}".rstrip())
        return [run for run in self._runs() if run.slot >= first]

    def _schedule_of(self, policy: str) -> str:
        # moto passes over NamePrefix.
        found = self.scheduler.list_schedules(GroupName=GROUP)["Schedules"]
        return next(str(one["Name"]) for one in found if one["Name"].startswith(policy))

    def _sweeps(self) -> list[tuple[datetime, dict[str, Any]]]:
        """When each was, and its report."""
        return [
            (datetime.fromisoformat(one["time"]), json.loads(one["result"]))
            for one in self.cloud.state()["invocations"]
            if one["function"] == SWEEPER
        ]

    def _runs(self) -> list[Run]:
        """All of them, oldest first, with their counts."""
        listed = [run.id for policy in SLOTS for run in self.ledger.runs(policy)]
        runs = [run for id_ in listed if (run := self.ledger.run(id_))]
        return sorted(runs, key=lambda run: run.slot)

    def mended(self, night: list[Run], fleet: Fleet) -> Iterator[str]:
        """A line for each trouble that did not come, or that was not mended as it should be."""
        state, found = self.cloud.state(), Counter[str]()
        for _, report in self._sweeps():
            found.update({"settled": report["settled"], **report["caught_up"]})
        killed = [one["function"] for one in state["invocations"] if "killed" in one["result"]]
        notes = [note for run in night for one in self.points(run, fleet) for note in one.notes]
        slot = SLOTS["data-volumes"] + DAY
        wanted = [f"Lastgood: data-volumes was not started at {slot:%Y-%m-%d %H:%M} UTC"]
        if {(run.policy, run.slot) for run in night} != {(p, s + DAY) for p, s in SLOTS.items()}:
            yield f"the runs of the bad night are {night}"
        if found["settled"] < 2 or found["data-volumes"] != 1:
            yield f"the sweeps found other things: {dict(found)}"
        if killed != [CREATOR] or not any("taken late" in note for note in notes):
            yield f"killed were {killed}; no reply was lost, or no note tells of it: {notes}"
        if (told := [one["subject"] for one in state["notices"]]) != wanted:
            yield f"people were told: {told}"

    # ----------------------------------------------------------------- what must be so

    def problems(self, fleet: Fleet) -> Iterator[str]:
        """A line for each thing that is not as it should be after all runs until now."""
        runs = self._runs()
        points = {run.id: self.points(run, fleet) for run in runs}
        for run in runs:
            of_source = {point.source.id: point for point in points[run.id]}
            for source, count in fleet.wanted[run.policy].items():
                if not _whole(of_source.get(source), count):
                    name = f"{source} ({fleet.names[source]})"
                    yield f"{name}: no point with {count} snapshots at {run.slot:%Y-%m-%d %H:%M}"
        every = [member for some in points.values() for point in some for member in point.members]
        taken = {member.snapshot for member in every}
        if len(taken) < len(every):
            yield "a snapshot is a member of two points"
        snapshots = self.ec2.describe_snapshots(OwnerIds=["self"], MaxResults=1000)["Snapshots"]
        if extra := {one["SnapshotId"] for one in snapshots} - taken:
            yield f"snapshots that belong to no point: {', '.join(sorted(extra))}"
        yield from (f"in flight: {point.id}" for point in self.ledger.in_flight())
        yield from self._complaints()

    def _complaints(self) -> Iterator[str]:
        state = self.cloud.state()
        denied = [one for one in state["decisions"] if not one["allowed"]]
        for what in ("dead_letters", "lost"):
            yield from (f"{what}: {json.dumps(one)}" for one in state[what])
        yield from (f"denied: {json.dumps(one)}" for one in denied)
        if errors := self.cloud.errors():
            yield f"the test cloud says: {errors}"

    def demonstrate(self) -> int:
        self.deploy()
        fleet = self.fleet()
        good = self.protect()
        self._show_runs(good, fleet)
        if problems := [*self.problems(fleet), *_left_out(fleet, good)]:
            return self._not_so(problems)
        self.show.step("All as it should be: every source once, none doubled, no call denied")
        bad = self.bad_night()
        self._show_runs(bad, fleet)
        if problems := [*self.problems(fleet), *self.mended(bad, fleet)]:
            return self._not_so(problems)
        self.show.step(
            "All as it should be after the bad night: every source once, none doubled, "
            "no call denied, nothing in flight"
        )
        wanted = self.long_time(fleet)
        if problems := [*self.left_right(fleet, wanted), *self._complaints()]:
            return self._not_so(problems)
        self.show.step(
            f"All as it should be after {DAYS} days: what retention keeps is there, whole, and "
            "nothing else; no call denied"
        )
        copies = Copies(self.cloud, self.show)
        if problems := [*copies.tell(REPOSITORY), *self._complaints()]:
            return self._not_so(problems)
        self.show.step(
            "All as it should be: the originals went when their copies were there, the copies stay "
            "by their own rules, and nothing is left shared; no call denied"
        )
        restores = Restores(self.cloud, self.show)
        if problems := [*restores.tell(), *self._complaints()]:
            return self._not_so(problems)
        self.show.step(
            "All as it should be: what was lost is there again, what did not work was put back, "
            "and nothing else was touched; no call denied"
        )
        return 0

    # ------------------------------------------------------------------ a long time

    def long_time(self, fleet: Fleet) -> set[datetime]:
        """The slots of web-1 whose points are to be there in the end, judged all at once."""
        web = next(id_ for id_, name in fleet.names.items() if name == STAYS)
        self.show.step(
            f"{DAYS} days pass. So that this takes minutes, the schedules of web-daily and of "
            f"prunes are weekly now, {STAYS} alone is protected further, and the sweep rests"
        )
        others = [id_ for id_ in fleet.names if id_ != web]
        self.ec2.delete_tags(Resources=others, Tags=[{"Key": "backup"}])
        # The daily sweep too: it would start the daily slots that the policy still asks for.
        for name in (SWEEPER, f"{SWEEPER}-daily", self._schedule_of("data-volumes")):
            switch(self.scheduler, name, on=False)
        change(self.scheduler, self._schedule_of("web-daily"), f"cron({WEEKLY})")
        change(self.scheduler, PRUNER, "cron(40 5 ? * SUN *)")
        began = self.cloud.now()
        end = (began + DAYS * DAY).replace(hour=6, minute=0, second=0)
        end += (6 - end.weekday()) * DAY
        while self.cloud.now() < end:
            self.cloud.advance(to=min(self.cloud.now() + STRIDE, end))
            points = list(self.ledger.points(web))
            there = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
            self.show.line(
                f"{self.cloud.now():%Y-%m-%d}  {STAYS} has {len(points):2} points, back to "
                f"{points[-1].slot:%Y-%m-%d}; {len(there)} snapshots in all"
            )
        nights = [SLOTS["web-daily"], SLOTS["web-daily"] + DAY]
        weekly = cron.slots(WEEKLY, "Europe/Berlin", after=began, until=end)
        facts = [PointFacts(id=f"{one:%Y-%m-%d}", taken_at=one) for one in (*nights, *weekly)]
        policy = load_policies(REPOSITORY / "policies.yaml")["web-daily"]
        verdicts = judge(facts, policy.retention, end)
        kept = [one for one in verdicts if one.keep]
        self.show.step(f"Of {len(facts)} points of {STAYS}, {len(kept)} stay, and these are why:")
        for one in kept:
            self.show.line(f"{one.point.id}  {'; '.join(one.reasons)}")
        points = list(self.ledger.points(web))
        for point in (points[0].id, points[len(points) // 2].id, points[-1].id):
            self.show.step(f'lastgood-prune-snapshots {{"explain": "{point}"}}')
            for line in self._explain(point)["lines"]:
                self.show.line(line)
        return {one.point.taken_at for one in kept}

    def _explain(self, point: str) -> Any:
        reply = self.cloud.client("lambda", REGION).invoke(
            FunctionName=PRUNER, Payload=json.dumps({"explain": point})
        )
        return json.loads(reply["Payload"].read())

    def left_right(self, fleet: Fleet, wanted: set[datetime]) -> Iterator[str]:
        """A line for each point that should be there and is not, or is and should not."""
        snapshots = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        there, taken = {one["SnapshotId"] for one in snapshots}, set[str]()
        for id_, name in fleet.names.items():
            points = list(self.ledger.points(id_))
            if name == STAYS and (found := {one.slot for one in points}) != wanted:
                yield f"{name}: too many: {found - wanted}; missing: {wanted - found}"
            for point in points:
                taken |= set(point.snapshots)
                if not there >= set(point.snapshots):
                    yield f"{point.id} is not whole"
        if there - taken:
            yield f"snapshots that belong to no point: {', '.join(sorted(there - taken))}"

    def _show_runs(self, runs: list[Run], fleet: Fleet) -> None:
        for run in runs:
            self.show.run(run, self.points(run, fleet), fleet)

    def _not_so(self, problems: list[str]) -> int:
        self.show.step("NOT as it should be:")
        for problem in problems:
            self.show.line(problem)
        return 1

    def stay(self) -> int:
        """Deploy, make the fleet, and run in real time until interrupted."""
        self.deploy()
        self.fleet()
        self.show.step("Running until Ctrl-C. In another terminal:")
        self.show.line(f"export AWS_ENDPOINT_URL={self.cloud.url}")
        self.show.line(f"export AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} AWS_PAGER=")
        self.show.line("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test")
        self.show.line("aws scheduler list-schedules --group-name lastgood")
        self.show.line("(Version 1 of the aws CLI needs --endpoint-url for sqs, too.)")
        while self.cloud.running():
            threading.Event().wait(1)
        raise CloudFailed("the test cloud has stopped")


def _whole(point: Point | None, snapshots: int) -> bool:
    available = point is not None and point.status is PointStatus.AVAILABLE
    return available and len(point.members) == snapshots


def _left_out(fleet: Fleet, runs: list[Run]) -> Iterator[str]:
    wanted = dict(fleet.left_out)
    for run in runs:
        for left in run.planned.left_out if run.planned else ():
            if wanted.pop(left.source.id, "not at all") not in left.reason:
                yield f"{left.source.id} is left out: {left.reason}"
    yield from (f"{source} is not left out for {why}" for source, why in wanted.items())


FINDINGS = {
    "in_flight": "in flight",
    "settled": "settled, their events were lost",
    "retaken": "asked for again",
    "surplus_removed": "surplus snapshots removed",
    "rebuilt": "rebuilt",
    "reminded": "announced again",
    "told": "people told",
}


def _findings(report: dict[str, Any]) -> str:
    """What a sweep found and did; nothing if all was well."""
    started = [f"started {policy}, as nobody had" for policy in report["caught_up"]]
    counts = [f"{text}: {report[name]}" for name, text in FINDINGS.items() if report[name]]
    return "; ".join([*started, *counts, *report["problems"]])


def _progress(run: Run, in_flight: list[PointStatus]) -> str:
    assert run.planned is not None
    creating = in_flight.count(PointStatus.CREATING)
    good, bad = run.ended[PointStatus.AVAILABLE], run.ended[PointStatus.FAILED]
    return (
        f"{run.planned.points} planned: {creating} creating, {len(in_flight) - creating} pending, "
        f"{good} available, {bad} failed"
    )


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="deploy, and leave the cloud running")
    parser.add_argument("--port", type=int, default=0, help="of the cloud; 0: any free one")
    given = parser.parse_args()
    start = None if given.stay else START
    # As Ctrl-C does: also where a shell started us with that ignored, and by plain `kill`.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        with CloudProcess(start, port=given.port, live=given.stay) as cloud:
            demo = Demo(cloud, Show())
            return demo.stay() if given.stay else demo.demonstrate()
    except (CdkFailed, CloudFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


if __name__ == "__main__":
    sys.exit(main())
