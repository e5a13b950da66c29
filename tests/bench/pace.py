"""How long a run of many instances takes, in virtual time, against the bound that EC2 sets.

The real handlers run over the in-process cloud with EC2's token buckets: the planner, and as many
workers of create_snapshots as its row of the catalog allows, each an environment of its own. Only
waiting is virtual: each call takes a latency, which is an assumption (see the options). Workers
start as Lambda's pollers do: five at once, then five more a second ("up to 300 more per minute",
Lambda Developer Guide, "Scaling of Amazon SQS event source mappings"). EBS's completion events are
not handled here; the snapshots' ends bind nothing that is measured.

The bound: CreateSnapshots has one bucket of 100 tokens, refilled at 5 a second.
"""

import argparse
import gc
import importlib
import importlib.util
import json
import os
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

import botocore.endpoint
from botocore.client import BaseClient
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.sqs.models import Message, sqs_backends

import lastgood
from infra.catalog import CATALOG, QueueTrigger, Row
from lastgood import runtime
from tests.bench import show
from tests.bench.relay import Relay
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.seed import seed_fleet
from tests.cloud.ec2.throttling import NAMED
from tests.support import table
from tests.support.world import ACCOUNT, HOME, SLOT, Context, World, a_world

TAKER = next(row for row in CATALOG if row.name == "create_snapshots")
PLANNER = next(row for row in CATALOG if row.name == "plan_snapshots")
assert isinstance(TAKER.trigger, QueueTrigger)
TRIGGER = TAKER.trigger
BUCKET = NAMED["CreateSnapshots"]
AT_FIRST = 5
GROWTH = 5.0
"""Workers a second."""
REST = 1.0
"""Seconds until a poller that found nothing looks again."""
TARGET = 1.15

Handler = Callable[[Any, Any], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--volumes", type=int, default=3, help="of each instance")
    parser.add_argument("--runs", type=int, default=1, help="a day apart; 2: the usual run, too")
    parser.add_argument("--create", type=float, default=0.5, help="seconds of a creating call")
    parser.add_argument("--describe", type=float, default=0.2, help="seconds of other EC2 calls")
    parser.add_argument("--dynamodb", type=float, default=0.01, help="seconds of such a call")
    parser.add_argument("--other", type=float, default=0.02, help="seconds of any other call")


@dataclass
class Latencies:
    """Seconds of each kind of call."""

    create: float
    describe: float
    dynamodb: float
    other: float

    def of(self, service: str, operation: str) -> float:
        if service == "ec2":
            changes = operation.startswith(("Create", "Delete"))
            return self.create if changes else self.describe
        return self.dynamodb if service == "dynamodb" else self.other


class Output:
    """What functions write: metrics and errors, each a line of JSON. Errors are counted."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()

    def write(self, text: str) -> int:
        if '"error"' in text:
            entry = json.loads(text)
            kind = "metric" if "_aws" in entry else "log"
            self.errors[f"{kind} {entry['error']}"] += int(entry.get("Errors", [1])[0])
        return len(text)

    def flush(self) -> None:
        pass


@dataclass
class Run:
    """A planner and the workers that its messages go to, in virtual time, from ``slot`` on.

    ``operation``: the call of EC2 that sets the pace; ``last``: when it was last answered.
    """

    world: World
    latencies: Latencies
    slot: datetime
    planner: Row = PLANNER
    worker: Row = TAKER
    operation: str = "CreateSnapshots"
    calls: Counter[str] = field(default_factory=Counter)
    last: datetime | None = None
    too_long: int = 0
    _planning: int = 0
    _requests: Any = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self._relay = Relay(self.world.cloud.clock)
        assert isinstance(self.worker.trigger, QueueTrigger)
        self.trigger = self.worker.trigger
        self._queue = sqs_backends[ACCOUNT][HOME].queues[self.worker.physical_name]
        # moto walks over a queue's messages at every call, so it holds only those on their way.
        self._aside: deque[Message] = deque()
        self._invoked = len(self.world.cloud.invocations)

    def take(self) -> None:
        with self._latent():
            self._plan({"policy": "web-daily", "slot": self.slot.isoformat()})
            for number in range(self.trigger.concurrency or 1):
                later = max(0, number - AT_FIRST + 1) / GROWTH
                handler = environment(self.world, self.worker.name)
                self._relay.start(lambda handler=handler: self._poll(handler), later)
            self._relay.run()

    @contextmanager
    def _latent(self) -> Iterator[None]:
        """Calls, botocore's waits before another try, and our own pace take virtual time."""
        patches, call = Patches(), BaseClient._make_api_call

        def make_api_call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            service = client.meta.service_model.service_name
            try:
                return call(client, operation, params)
            finally:
                self._relay.sleep(self.latencies.of(service, operation))
                self.calls[f"{service}.{operation}"] += 1
                self._set_aside()
                # Nobody reads these, and 10,000 instances make 60,000 of them.
                self.world.cloud.calls.clear()
                self.world.cloud.attempts.clear()
                if operation == self.operation:
                    self.last = self._now()
                    so_far = self.calls[f"ec2.{operation}"]
                    if not so_far % 1000:
                        show.doing(f"{so_far} calls of {operation}")

        waits = SimpleNamespace(monotonic=lambda: self._now().timestamp(), sleep=self._relay.sleep)
        patches.set(BaseClient, "_make_api_call", make_api_call)
        patches.set(botocore.endpoint, "time", waits)
        patches.set(importlib.import_module("lastgood.aws.pacing"), "time", waits)
        try:
            yield
        finally:
            patches.undo()

    def _now(self) -> datetime:
        return self.world.cloud.clock.now()

    def _invoke(self, handler: Handler, name: str, timeout: int, event: Any) -> Any:
        deadline = self._now() + timedelta(seconds=timeout)
        answer = handler(event, Context(name, f"request-{next(self._requests)}", deadline))
        self.too_long += self._now() > deadline
        return answer

    def _plan(self, event: dict[str, Any]) -> None:
        handler = environment(self.world, self.planner.name)

        def plan() -> None:
            self._invoke(handler, self.planner.name, self.planner.timeout, event)
            # It may have asked for another invocation that goes on where it stopped.
            asked = self.world.cloud.invocations[self._invoked :]
            self._invoked += len(asked)
            for one in asked:
                self._plan(one.event)
            self._planning -= 1

        self._planning += 1
        self._relay.start(plan)

    def _set_aside(self) -> None:
        sent = [one for one in self._queue._messages if not one.approximate_receive_count]
        if sent:
            self._aside.extend(sent)
            self._queue._messages[:] = [one for one in self._queue._messages if one not in sent]

    def _receive(self) -> list[Message]:
        back = len(self._queue.messages)
        for _ in range(min(len(self._aside), self.trigger.batch - back)):
            self._queue._messages.append(self._aside.popleft())
        received: list[Message] = sqs_backends[ACCOUNT][HOME].receive_message(
            self._queue.name, self.trigger.batch, 0, 6 * self.worker.timeout
        )
        return received

    def _more(self) -> bool:
        return bool(self._planning or self._aside or self._queue._messages)

    def _rest(self) -> float:
        return REST

    def _poll(self, handler: Handler) -> None:
        while self._more():
            messages = self._receive()
            self._relay.sleep(self.latencies.other)
            if not messages:
                self._relay.sleep(self._rest())
                continue
            event = {"Records": [self._record(one) for one in messages]}
            answer = self._invoke(handler, self.worker.name, self.worker.timeout, event)
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            for one in messages:
                if one.id not in failed:
                    self._queue.delete_message(one.receipt_handle)

    def _record(self, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {"ApproximateReceiveCount": str(message.approximate_receive_count)},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{HOME}:{ACCOUNT}:{self.worker.physical_name}",
            "awsRegion": HOME,
        }


def environment(world: World, function: str) -> Handler:
    """The handler in an execution environment of its own: with its own copy of what modules keep
    between invocations."""
    original = world._fresh(function)
    shared = runtime
    copied = _again(shared)
    lastgood.runtime = copied
    try:
        module = _again(sys.modules[original.__module__])
    finally:
        lastgood.runtime = shared
    # Read now, while the variables are those of this function.
    copied.settings()
    handler: Handler = module.handler
    return handler


def _again(module: ModuleType) -> ModuleType:
    """Another copy of a module, which nobody else can import."""
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    return copied


def run(given: argparse.Namespace) -> int:
    """Prints what came of it; 1 if the target is missed or anything is left undone."""
    latencies = Latencies(given.create, given.describe, given.dynamodb, given.other)
    output = quiet()
    good = True
    with a_world(SLOT) as world:
        ids = seed_fleet(HOME, given.instances, given.volumes, tags={"backup": "daily"})
        world.cloud.ec2.throttling = True
        # Or each full collection would look at the whole fleet again.
        gc.freeze()
        for number in range(given.runs):
            began = time.perf_counter()
            slot = SLOT + timedelta(days=number)
            world.cloud.clock.advance_to(slot)
            world.cloud.ec2.buckets.clear()
            this = Run(world, latencies, slot)
            with redirect_stdout(output), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                this.take()
            show.title(
                f"Pace: run {number + 1}, {len(ids)} instances of {given.volumes} volumes, "
                f"{TRIGGER.concurrency} workers, batches of {TRIGGER.batch}"
            )
            good &= _report(this, ids, given.volumes)
            show.line(f"computed in {time.perf_counter() - began:.0f} s")
        show.line(f"errors logged or counted: {dict(output.errors) or 'none'}")
    return int(not good)


def quiet() -> Output:
    """Where the functions' output goes: lines about each point would be much of the work."""
    output = Output()
    os.environ["POWERTOOLS_LOG_LEVEL"] = "ERROR"
    runtime.logger.setLevel("ERROR")
    runtime.logger.registered_handler.setStream(output)
    return output


def _report(this: Run, ids: list[str], volumes: int) -> bool:
    assert this.last is not None
    took = (this.last - this.slot).total_seconds()
    bound = max(0.0, (len(ids) - BUCKET.size) / BUCKET.per_second)
    show.line(f"from the slot to the last answer of CreateSnapshots: {took:.1f} s")
    if bound:
        show.line(f"bound: {bound:.0f} s, ratio {took / bound:.3f} (target {TARGET})")
    for bucket in this.world.cloud.ec2.buckets.described(this.last):
        show.line(
            f"bucket of {bucket['operation']}: {bucket['taken']} calls, {bucket['refused']} "
            f"throttled, at least {bucket['lowest']:.0f} of {bucket['size']} tokens left to others"
        )
    undone, doubled, untagged = _wholeness(this.slot, ids, volumes)
    letters = sqs_backends[ACCOUNT][HOME].queues[f"{TAKER.physical_name}-dead-letters"]._messages
    failed = _statuses()["failed"]
    show.line(
        f"left undone {undone}, doubled {doubled}, untagged {untagged}, dead letters "
        f"{len(letters)}, failed points {failed}, invocations beyond their time {this.too_long}"
    )
    per_source = sum(n for name, n in this.calls.items() if name.startswith("ec2.")) / len(ids)
    show.line(f"EC2 calls for each source: {per_source:.2f}")
    show.line("calls: " + ", ".join(f"{name} {n}" for name, n in sorted(this.calls.items())))
    whole = not (undone or doubled or untagged or letters or failed or this.too_long)
    return whole and (not bound or took / bound <= TARGET)


def _wholeness(slot: datetime, ids: list[str], volumes: int) -> tuple[int, int, int]:
    """Sources without a whole set of this slot; snapshots too many; snapshots without our tag."""
    backend = ec2_backends[ACCOUNT][HOME]
    made: Counter[str] = Counter()
    untagged = 0
    for snapshot in backend.snapshots.values():
        if snapshot.start_time.timestamp() < slot.timestamp():
            continue
        tags = backend.tags.get(snapshot.id, {})
        untagged += "lastgood:point" not in tags
        made[tags.get("lastgood:source", "")] += 1
    undone = sum(made[one] < volumes for one in ids)
    return undone, sum(max(0, made[one] - volumes) for one in ids), untagged


def _statuses() -> Counter[str]:
    """Of the points, looked at where they are kept: moto's scan takes minutes for 10,000."""
    items = dynamodb_backends[ACCOUNT][HOME].tables[table.NAME].all_items()
    return Counter(item.attrs["status"].value for item in items if "status" in item.attrs)
