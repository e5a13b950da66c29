"""How long copies of mixed length take, in virtual time, against the bound that the slots set.

Each point has one copy in each of two Regions, with 20 slots each. The real handler of
copy_snapshots runs over the in-process cloud, in as many environments as its row of the catalog
allows, as in the part ``pace``: each call takes a latency. Points are announced at the pace at
which EC2 makes them; EBS's events come a second or two late; what the handler postpones comes
again when it said so; every 15 minutes a sweep asks to look after each place.

Lengths are drawn from a heavy-tailed distribution (lognormal, cut off); no AWS figures. Volumes are
larger where copies are longer, roughly: ``noise`` says how roughly.

Beside it the same copies, made by a design that polls: every 15 minutes it looks how many copies
are under way, and begins as many as are free, on the same cloud's EC2, in two other Regions and
without any latency.

The bound: all slots that are there are in use until all is copied, but no less than the longest
copy takes. ``foreign``: somebody else wants some of the slots for a while, and takes each as it
gets free; then the slots that are there are those that nobody else has.
"""

import argparse
import gc
import heapq
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from botocore.exceptions import ClientError
from moto.ec2.models import ec2_backends
from moto.sqs.models import sqs_backends

from infra.catalog import BY_NAME, COPIER
from lastgood.codec import unstructure
from lastgood.domain.copying import SLOTS, CopyStatus, PlaceDue
from lastgood.domain.model import Point
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy
from tests.bench import show
from tests.bench.pace import Latencies, Output, Run, environment, quiet
from tests.bench.pace import add_arguments as add_latencies
from tests.cloud.ec2 import Outcome
from tests.cloud.ec2.copies import EbsCopy
from tests.cloud.ec2.seed import seed_fleet
from tests.support.history import past_point
from tests.support.world import ACCOUNT, HOME, SLOT, World, a_policy, a_world

REGIONS = ("eu-central-1", "eu-north-1")
POLLED = ("eu-west-2", "eu-west-3")
"""Where the other design copies the same snapshots to, before ours does."""
COMPLETE = timedelta(days=7)
"""After which all snapshots are."""
QUARTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
ANNOUNCED = 5.0
"""Points a second: as fast as EC2 makes them."""
NEWS = (1.0, 2.0)
"""Seconds that an event takes, by way of EventBridge."""
LONG_POLL = 20.0
TARGET = 1.05
AT_LEAST, AT_MOST = 3.0, 240.0
"""Minutes of a copy."""
GIB_PER_MINUTE = 4
LARGEST = 16_384
"""GiB; no volume is made larger here."""
FOREIGN = 10
FOREIGN_FOR = (20.0, 60.0)
"""Minutes after which others want another number of slots."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_latencies(parser)
    parser.set_defaults(instances=1_000, volumes=1)
    parser.add_argument("--median", type=float, default=15.0, help="minutes of a copy")
    parser.add_argument("--sigma", type=float, default=1.0, help="of the lengths' logarithm")
    parser.add_argument(
        "--noise", type=float, default=0.5, help="of sizes beside lengths, as sigma; 9: no relation"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("alone", "foreign"), help="only this; both if not given")


class News(list[dict[str, Any]]):
    """EBS's events: each is sent to the queue a little later."""

    def __init__(self, world: World, queue: str, random: Random) -> None:
        super().__init__()
        self.ended = self.on_their_way = 0
        self._world, self._queue, self._random = world, queue, random

    def append(self, event: dict[str, Any]) -> None:
        super().append(event)
        if event["detail"]["event"] == "copySnapshot" and "result" in event["detail"]:
            self.ended += 1
            if not self.ended % 200:
                show.doing(f"{self.ended} copies ended")
            self.send(event, self._random.uniform(*NEWS))

    def send(self, body: dict[str, Any], after: float) -> None:
        clock = self._world.cloud.clock
        self.on_their_way += 1
        clock.at(clock.now() + timedelta(seconds=after), partial(self._arrive, json.dumps(body)))

    def _arrive(self, body: str) -> None:
        self.on_their_way -= 1
        sqs_backends[ACCOUNT][HOME].send_message(self._queue, body)


@dataclass
class Copying(Run):
    """The workers, until each of ``points`` has ended everywhere and no message is left."""

    points: Sequence[Point] = ()
    seed: int = 0
    longest: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.news = News(self.world, self._queue.name, Random(self.seed))
        self.world.cloud.events = self.news
        self._members = sum(len(point.members) for point in self.points) * len(REGIONS)

    def take(self) -> None:
        for number, point in enumerate(self.points):
            announced = {"detail-type": "Recovery Point Available", "detail": {"point": point.id}}
            self.news.send(announced, number / ANNOUNCED)
        self._sweep()
        with self._latent():
            for _ in range(self.trigger.concurrency or 1):
                handler = environment(self.world, self.worker.name)
                self._relay.start(lambda handler=handler: self._poll(handler))
            self._relay.run()

    def _sweep(self) -> None:
        for region in REGIONS:
            due = PlaceDue(place=Place(region=region, account=ACCOUNT))
            self.news.send(unstructure(due), NEWS[0])
        self.world.cloud.clock.at(self._now() + QUARTER, self._sweep)

    def _more(self) -> bool:
        if self._now() > self.slot + self.longest:
            return False
        return bool(self.news.ended < self._members or self.news.on_their_way or super()._more())

    def _rest(self) -> float:
        """Until something may have come: a poller waits for a message and has it at once."""
        now = self._now()
        due = self.world.cloud.clock.next_due() or now + QUARTER
        # moto shows a message only after the millisecond itself
        hidden = [
            datetime.fromtimestamp((one.visible_at + 2) / 1000, tz=now.tzinfo)
            for one in self._queue._messages
        ]
        first = min([due, *hidden])
        return min(LONG_POLL, max(0.0, (first - now).total_seconds()))

    def _receive(self) -> list[Any]:
        self._set_aside()
        return super()._receive() if self._aside or self._queue.messages else []


@dataclass
class Others:
    """Who wants some of a Region's slots for a while: ``wishes`` of so many, from then on."""

    world: World
    region: str
    random: Random
    wishes: list[tuple[datetime, int]] = field(default_factory=list)

    def wish(self) -> None:
        now = self.world.cloud.clock.now()
        wanted = self.random.randint(0, FOREIGN)
        # EC2 refuses us from then on, as if each slot that gets free were taken at once.
        self.world.cloud.ec2.foreign_copies[self.region] = wanted
        self.wishes.append((now, wanted))
        until = timedelta(minutes=self.random.uniform(*FOREIGN_FOR))
        self.world.cloud.clock.at(now + until, self.wish)


@dataclass(frozen=True)
class Result:
    """What came of the copies to one Region, in minutes since the start, by EC2's own record.

    ``steps``: when slots got more or fewer, how many were there for us, and how many we used.
    """

    lengths: tuple[float, ...]
    took: float
    last_begun: float
    steps: tuple[tuple[float, int, int], ...]

    @property
    def bound(self) -> float:
        left = sum(self.lengths)
        for (at, there, _), (until, *_) in zip(self.steps, self.steps[1:], strict=False):
            if there * (until - at) >= left:
                return max(at + left / there, max(self.lengths))
            left -= there * (until - at)
        return self.took

    @property
    def ratio(self) -> float:
        return self.took / self.bound

    def used(self, end: float) -> float:
        """The share of the slots that were there until ``end``."""
        there = used = 0.0
        for (at, slots, ours), (until, *_) in zip(self.steps, self.steps[1:], strict=False):
            span = max(0.0, min(until, end) - at)
            there, used = there + slots * span, used + ours * span
        return used / there


def result(region: str, start: datetime, others: Others | None) -> Result:
    def minutes(at: datetime) -> float:
        # moto's times bear no zone
        return (at.replace(tzinfo=start.tzinfo) - start) / MINUTE

    made = sorted(_made(region), key=lambda one: one.start_time.timestamp())
    begun = [minutes(one.start_time) for one in made]
    ended = [minutes(one.completed_at) for one in made if one.completed_at]
    changes = Counter(begun)
    changes.subtract(Counter(ended))
    wishes = {minutes(at): wanted for at, wanted in others.wishes} if others else {}
    ours = wanted = 0
    steps = []
    for at in sorted({0.0, *changes, *wishes}):
        ours += changes[at]
        wanted = wishes.get(at, wanted)
        # What we use, others have not got yet.
        steps.append((at, max(SLOTS - wanted, ours), ours))
    lengths = tuple(one.takes / MINUTE for one in made)
    return Result(lengths, max(ended), max(begun), tuple(steps))


def _made(region: str) -> list[EbsCopy]:
    snapshots = ec2_backends[ACCOUNT][region].snapshots.values()
    return [one for one in snapshots if isinstance(one, EbsCopy)]


def without_pause(lengths: Sequence[float]) -> float:
    """Minutes of copies of which each begins, in this order, as soon as any slot is free."""
    slots = [0.0] * SLOTS
    for length in lengths:
        heapq.heapreplace(slots, slots[0] + length)
    return max(slots)


def poll(world: World, points: Sequence[Point]) -> None:
    """A design without events: look every 15 minutes, and fill what is free."""
    waiting = {
        region: [one for point in points for one in point.snapshots][::-1] for region in POLLED
    }
    while any(waiting.values()):
        for region, left in waiting.items():
            _tick(world.client("ec2", region), left)
        world.cloud.clock.advance(QUARTER)
    while any(one.status == "pending" for region in POLLED for one in _made(region)):
        world.cloud.clock.advance(QUARTER)


def _tick(ec2: Any, waiting: list[str]) -> None:
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[{"Name": "status", "Values": ["pending"]}]
    )
    under_way = sum(len(page["Snapshots"]) for page in pages)
    for _ in range(min(SLOTS - under_way, len(waiting))):
        try:
            ec2.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=waiting[-1])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceLimitExceeded":
                raise
            return
        waiting.pop()


@contextmanager
def _site(given: argparse.Namespace) -> Iterator[tuple[World, list[Point]]]:
    """Points of instances that have one volume each, all available; the clock is at the start."""
    random = Random(given.seed)
    with a_world(SLOT) as world:
        world.deploy(a_policy(copies=tuple(Copy(region=one) for one in REGIONS)))
        world.cloud.ec2.limits = False
        points = []
        for number in range(given.instances):
            if not number % 200:
                show.doing(f"points of {number} instances")
            lengths = [_length(given, random) for _ in range(given.volumes)]
            drawn = max(lengths) * GIB_PER_MINUTE * random.lognormvariate(0, given.noise)
            size = min(LARGEST, max(1, round(drawn)))
            ids = seed_fleet(HOME, 1, given.volumes, size=size, tags={"backup": "daily"})
            point = past_point(world.ec2, world.ledger, ids[0], SLOT)
            for snapshot, length in zip(point.snapshots, lengths, strict=True):
                outcome = Outcome(duration=timedelta(minutes=length))
                world.cloud.ec2.outcomes[snapshot] = outcome
            points.append(point)
            world.cloud.calls.clear()
            world.cloud.attempts.clear()
        world.cloud.clock.advance(COMPLETE)
        gc.freeze()
        yield world, points


def _length(given: argparse.Namespace, random: Random) -> float:
    drawn = random.lognormvariate(math.log(given.median), given.sigma)
    return min(AT_MOST, max(AT_LEAST, drawn))


def _others(world: World, mode: str, regions: Sequence[str], seed: int) -> dict[str, Others | None]:
    """The same wishes for the first Region of either design, and for the second."""
    if mode == "alone":
        return dict.fromkeys(regions)
    found: dict[str, Others | None] = {}
    for number, region in enumerate(regions):
        one = found[region] = Others(world, region, Random(f"{seed} {number}"))
        one.wish()
    return found


def run(given: argparse.Namespace) -> int:
    """Prints what came of it; 1 if the target is missed, or any copy is lost or doubled."""
    output = quiet()
    modes = [given.mode] if given.mode else ["alone", "foreign"]
    missed = sum(not _run(given, mode, output) for mode in modes)
    show.line(f"errors logged or counted: {dict(output.errors) or 'none'}")
    return int(bool(missed))


def _run(given: argparse.Namespace, mode: str, output: Output) -> bool:
    began = time.perf_counter()
    with _site(given) as (world, points):
        polled = _polled(world, points, mode, given.seed)
        show.doing("the design that polls is done")
        # The throttling of EC2's requests is for us only, as are the latencies.
        world.cloud.ec2.throttling = True
        start = world.cloud.clock.now()
        others = _others(world, mode, REGIONS, given.seed)
        this = Copying(
            world,
            Latencies(given.create, given.describe, given.dynamodb, given.other),
            start,
            worker=BY_NAME[COPIER],
            operation="CopySnapshot",
            points=points,
            seed=given.seed,
        )
        with redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            this.take()
        ours = {region: result(region, start, others[region]) for region in REGIONS}
        show.title(
            f"Copies, {mode}: {len(points)} points of {given.volumes} volumes to each of "
            f"{len(REGIONS)} Regions, {this.trigger.concurrency} workers"
        )
        good = _report(this, ours)
    _table(ours, polled)
    if mode == "alone":
        for region, one in ours.items():
            longest_first = without_pause(sorted(one.lengths, reverse=True)) / one.bound
            in_order = without_pause(one.lengths) / one.bound
            show.line(
                f"{region}, without any pause between copies: in our order {in_order:.3f}, "
                f"longest first {longest_first:.3f}"
            )
    show.line(f"computed in {time.perf_counter() - began:.0f} s")
    return good and all(one.ratio <= TARGET for one in ours.values())


def _polled(world: World, points: Sequence[Point], mode: str, seed: int) -> dict[str, Result]:
    start = world.cloud.clock.now()
    others = _others(world, mode, POLLED, seed)
    poll(world, points)
    return {region: result(region, start, others[region]) for region in POLLED}


def _table(ours: dict[str, Result], polled: dict[str, Result]) -> None:
    rows = [
        (
            f"{name}, {region}",
            *(f"{hours / 60:.2f}" for hours in (one.bound, one.took, one.last_begun)),
            f"{one.ratio:.3f}",
            f"{one.used(one.last_begun):.1%}",
            f"{one.used(one.took):.1%}",
        )
        for name, results in (("Lastgood", ours), ("polls", polled))
        for region, one in results.items()
    ]
    show.table(
        (
            f"hours (target {TARGET})",
            *("bound", "took", "last begun", "ratio", "slots used till then", "in all"),
        ),
        rows,
    )


def _report(this: Copying, results: dict[str, Result]) -> bool:
    statuses: Counter[str] = Counter()
    lost = doubled = 0
    settled = this.slot
    for region in REGIONS:
        whole = Counter(one.source_arn for one in _made(region) if one.status == "completed")
        unfinished = sum(one.status != "completed" for one in _made(region))
        wanted = sum(len(point.members) for point in this.points)
        lost += wanted - len(whole)
        doubled += whole.total() - len(whole) + unfinished
        for point in this.points:
            copy = this.world.ledger.copy(point.id, Place(region=region, account=ACCOUNT))
            statuses[copy.status if copy else "not queued"] += 1
            settled = max(settled, copy.settled_at if copy and copy.settled_at else settled)
    letters = sqs_backends[ACCOUNT][HOME].queues[f"{this.worker.physical_name}-dead-letters"]
    held = sum(
        len(this.world.ledger.slots(Place(region=one, account=ACCOUNT)).taken) for one in REGIONS
    )
    show.line(
        f"lost {lost}, doubled {doubled}, in the ledger {dict(statuses)}, slots still held {held}, "
        f"dead letters {len(letters._messages)}, invocations beyond their time {this.too_long}"
    )
    last = max(one.took for one in results.values())
    late = (settled - this.slot).total_seconds() - last * 60
    again = this.calls["sqs.ChangeMessageVisibility"]
    show.line(f"in the ledger {late:.1f} s after the last end; messages that came again {again}")
    show.line("calls: " + ", ".join(f"{name} {n}" for name, n in sorted(this.calls.items())))
    available = set(statuses) == {CopyStatus.AVAILABLE}
    return available and not (lost or doubled or held or letters._messages or this.too_long)
