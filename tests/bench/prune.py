"""How long a prune of many points takes, in virtual time, against the bound that EC2 sets.

As the part ``pace``, with the function that plans what to prune and the workers that delete. The
bound: DeleteSnapshot has one bucket of 100 tokens, refilled at 5 a second.
"""

import argparse
import gc
import time
import warnings
from contextlib import redirect_stdout
from datetime import timedelta

from moto.ec2.models import ec2_backends
from moto.sqs.models import sqs_backends

from infra.catalog import BY_NAME, DELETER, PRUNER
from lastgood.domain.policy import MaxDeletes, Retention
from tests.bench import show
from tests.bench.pace import Latencies, Run, quiet
from tests.bench.pace import add_arguments as add_latencies
from tests.cloud.ec2.seed import seed_fleet
from tests.cloud.ec2.throttling import NAMED
from tests.support.history import past_point
from tests.support.world import ACCOUNT, HOME, SLOT, a_policy, a_world

BUCKET = NAMED["DeleteSnapshot"]
KEPT = 2
TARGET = 1.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_latencies(parser)
    parser.set_defaults(instances=1_000, volumes=1)
    parser.add_argument("--points", type=int, default=10, help="to delete of each instance")


def run(given: argparse.Namespace) -> int:
    """Prints what came of it; 1 if the target is missed or anything is left undone."""
    output = quiet()
    latencies = Latencies(given.create, given.describe, given.dynamodb, given.other)
    with a_world(SLOT) as world:
        retention = Retention(keep_last=KEPT)
        cap = MaxDeletes(count=100_000, share=1.0)
        world.deploy(a_policy(retention=retention, max_deletes=cap, schedules=()))
        ids = seed_fleet(HOME, given.instances, given.volumes, tags={"backup": "daily"})
        world.cloud.ec2.limits = False
        for number, instance in enumerate(ids):
            if not number % 100:
                show.doing(f"points of {number} instances")
            for days in range(1, given.points + KEPT + 1):
                past_point(world.ec2, world.ledger, instance, SLOT - timedelta(days=days))
            world.cloud.calls.clear()
            world.cloud.attempts.clear()
        world.cloud.clock.advance_to(SLOT + timedelta(hours=1))
        world.forget_events()
        world.cloud.ec2.throttling = True
        world.cloud.ec2.buckets.clear()
        gc.freeze()
        began = time.perf_counter()
        this = Run(
            world,
            latencies,
            world.cloud.clock.now(),
            planner=BY_NAME[PRUNER],
            worker=BY_NAME[DELETER],
            operation="DeleteSnapshot",
        )
        with redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            this.take()
        show.title(
            f"Prune: {given.points} points of each of {len(ids)} instances of {given.volumes} "
            f"volumes, {this.trigger.concurrency} workers"
        )
        good = _report(this, given)
        show.line(f"computed in {time.perf_counter() - began:.0f} s")
        show.line(f"errors logged or counted: {dict(output.errors) or 'none'}")
    return int(not good)


def _report(this: Run, given: argparse.Namespace) -> bool:
    assert this.last is not None
    deletes = given.instances * given.points * given.volumes
    took = (this.last - this.slot).total_seconds()
    bound = max(1.0, (deletes - BUCKET.size) / BUCKET.per_second)
    show.line(f"from the invocation of the planner to the last DeleteSnapshot: {took:.1f} s")
    show.line(f"bound: {bound:.0f} s, ratio {took / bound:.3f} (target {TARGET})")
    for bucket in this.world.cloud.ec2.buckets.described(this.last):
        show.line(
            f"bucket of {bucket['operation']}: {bucket['taken']} calls, {bucket['refused']} "
            f"throttled, at least {bucket['lowest']:.0f} of {bucket['size']} tokens left to others"
        )
    left = len(ec2_backends[ACCOUNT][HOME].snapshots) - given.instances * KEPT * given.volumes
    queue = f"{this.worker.physical_name}-dead-letters"
    letters = len(sqs_backends[ACCOUNT][HOME].queues[queue]._messages)
    show.line(
        f"left undone {left} snapshots, dead letters {letters}, invocations beyond their time "
        f"{this.too_long}"
    )
    show.line("calls: " + ", ".join(f"{name} {n}" for name, n in sorted(this.calls.items())))
    return not (left or letters or this.too_long) and took / bound <= TARGET
