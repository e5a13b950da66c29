"""What a restore adds to what EC2 takes, and how fast those answer whom people ask.

By mode, in virtual time: the real handlers and the real state machine run over the in-process
cloud, whose machines take about as long as those of AWS seem to (``AS_ON_AWS``; EC2 promises none
of it): each duration is drawn anew for each restore, between 0.7 and 1.5 of that, since none is a
multiple of what is waited. The least that EC2 takes is the sum of what must follow one upon the
other: while volumes are made the instance is stopped, and what a check waits for counts as EC2's.
The rest is overhead: of waits that end later than they might, and of order. Handlers take no
virtual time: on AWS each invocation adds what Lambda takes, a part of a second.

Then the answers of ``chat`` and ``clone_instance`` in the served test cloud, deployed by the CDK
CLI: real time on this machine, whose load is told. Cold: a fresh execution environment for chat and
for clone_instance, which chat asks; warm: those of before. Chat is asked for a list, and
clone_instance for a dry run of a clone, which looks at all that a clone would.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import fmean

from lastgood.domain.restoring import Restore, RestoreStatus
from tests.bench import show
from tests.bench.installation import HOME
from tests.bench.pace import quiet
from tests.cloud.driver import REPOSITORY, CloudProcess
from tests.cloud.ec2 import AS_ON_AWS, Pace
from tests.cloud.ec2.seed import Network
from tests.support.restores import Site, a_site, isolated_group, launch_there
from tests.support.slack_served import SlackApp, install_app, response_urls
from tests.support.world import ACCOUNT, a_world
from tests.support.world import RESTORE as MACHINE

SPREAD = (0.7, 1.5)
TRANSITION = 0.025 / 1_000
"""Dollars. Source: Step Functions pricing, Standard Workflows, us-east-1."""
WITHIN = 3.0
"""Seconds in which Slack wants its answer."""
START = datetime(2026, 3, 2, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
"""After the slot of the policy below."""
FUNCTIONS = ("lastgood-chat", "lastgood-clone-instance", "lastgood-prune-snapshots")


def _checked(pace: Pace) -> timedelta:
    return pace.pending + pace.checking


@dataclass(frozen=True)
class Mode:
    """``least``: what EC2 takes if nobody ever waits for long."""

    name: str
    least: Callable[[Pace], timedelta]
    request: Mapping[str, str]
    wanted: RestoreStatus = RestoreStatus.DONE


MODES = (
    Mode("clone", lambda of: of.registering + _checked(of), {}),
    Mode("volumes", lambda of: of.creating, {"mode": "volumes"}),
    Mode(
        "volumes, attached",
        lambda of: of.creating + of.attaching,
        {"mode": "volumes", "volumes": "/dev/sdf", "instance": "helper", "device": "/dev/sdz"},
    ),
    Mode(
        "in place, all volumes",
        lambda of: max(of.stopping, of.creating) + of.detaching + of.attaching + _checked(of),
        {"mode": "in_place", "stop": "true"},
    ),
    # EC2 starts the instance anew by it.
    Mode(
        "in place, root by EC2",
        lambda of: of.replacing + of.checking,
        {"mode": "in_place", "volumes": "/dev/xvda"},
    ),
    Mode(
        "drill, and removed",
        lambda of: of.registering + _checked(of) + of.shutting_down,
        {"mode": "drill"},
        RestoreStatus.ENDED,
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=10, help="restores of each mode")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cold", type=int, default=20, help="answers of fresh environments")
    parser.add_argument("--warm", type=int, default=100, help="answers of those of before")
    parser.add_argument("--only", choices=("modes", "answers"), help="only this; both if not given")


def run(given: argparse.Namespace) -> int:
    """Prints tables; 1 if chat does not answer in time."""
    if given.only != "answers":
        show.title(f"Restores: seconds of virtual time, means of {given.draws}, beside EC2's own")
        random = Random(given.seed)
        with redirect_stdout(quiet()):
            rows = [_row(mode, given.draws, random) for mode in MODES]
        show.table(
            (
                *("mode", "restore", "EC2", "overhead", "at most"),
                *("transitions", "dollars", "invocations"),
            ),
            rows,
        )
        show.line("dollars: of state transitions; invocations: of Lambda, by the machine")
    return 0 if given.only == "modes" else _answers(given)


# ---------------------------------------------------------------------------------- modes


@dataclass(frozen=True)
class Measured:
    took: float
    least: float
    transitions: int
    invocations: int

    @property
    def overhead(self) -> float:
        return self.took - self.least


def _row(mode: Mode, draws: int, random: Random) -> tuple[str, ...]:
    every = [_measured(mode, random) for _ in range(draws)]
    transitions = fmean(one.transitions for one in every)
    return (
        mode.name,
        f"{fmean(one.took for one in every):.0f}",
        f"{fmean(one.least for one in every):.0f}",
        f"{fmean(one.overhead for one in every):.0f}",
        f"{max(one.overhead for one in every):.0f}",
        f"{transitions:.0f}",
        f"{transitions * TRANSITION:.4f}",
        f"{fmean(one.invocations for one in every):.0f}",
    )


def _measured(mode: Mode, random: Random) -> Measured:
    with a_world() as world:
        site = a_site(world)
        isolated_group(world, site.network)
        request = dict(mode.request)
        if "instance" in request:
            request["instance"] = launch_there(world.ec2, site.network, "helper")
            world.advance(timedelta(minutes=5))
        pace = world.cloud.ec2.pace = drawn(random)
        restore = site.restore(**request)
        if restore.status is not mode.wanted:
            raise RuntimeError(f"{mode.name} is {restore.status}: {restore.cause}")
        machine = f"arn:aws:states:{HOME}:{ACCOUNT}:stateMachine:{MACHINE}"
        return Measured(
            (_ended(restore) - restore.asked_at).total_seconds(),
            mode.least(pace).total_seconds(),
            world.cloud.machines.transitions[machine],
            _invocations(site, restore),
        )


def drawn(random: Random) -> Pace:
    usual = {one.name: getattr(AS_ON_AWS, one.name) for one in fields(Pace)}
    return Pace(**{name: time * random.uniform(*SPREAD) for name, time in usual.items()})


def _ended(restore: Restore) -> datetime:
    """When the last step was over."""
    return max(one.ended_at for one in restore.steps if one.ended_at)


def _invocations(site: Site, restore: Restore) -> int:
    client = site.world.client("stepfunctions")
    arn = f"arn:aws:states:{HOME}:{ACCOUNT}:execution:{MACHINE}:{restore.id}"
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    return sum(one["type"] == "TaskScheduled" for page in pages for one in page["events"])


# -------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Place:
    """A deployment with a source, ``shop``, that has a point."""

    cloud: CloudProcess
    app: SlackApp

    def chat(self) -> float:
        told = self.app.command("list shop")
        if told.status != 200:
            raise RuntimeError(f"chat answered {told.status}")
        return told.seconds

    def clone(self) -> float:
        client, began = self.cloud.client("lambda", HOME), time.perf_counter()
        payload = json.dumps({"source": "shop", "dry_run": "true"})
        reply = client.invoke(FunctionName=FUNCTIONS[1], Payload=payload)
        answer = json.loads(reply["Payload"].read())
        if answer.get("status") != "planned":
            raise RuntimeError(f"clone_instance answered {answer}")
        return time.perf_counter() - began

    def chill(self, number: int) -> None:
        """Another setting: Lambda keeps no environment of the one before."""
        client = self.cloud.client("lambda", HOME)
        for name in FUNCTIONS:
            known = client.get_function_configuration(FunctionName=name)["Environment"]
            variables = known["Variables"] | {"LASTGOOD_BENCH": str(number)}
            client.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )


def _answers(given: argparse.Namespace) -> int:
    with _deployed() as place:
        asked: tuple[tuple[str, Callable[[], float]], ...] = (
            ("chat", place.chat),
            ("clone_instance", place.clone),
        )
        load = os.getloadavg()[0]
        rows, slowest = [], 0.0
        for name, ask in asked:
            cold = []
            for number in range(given.cold):
                place.chill(number)
                cold.append(ask())
            ask()
            warm = [ask() for _ in range(given.warm)]
            for kind, seconds in (("cold", cold), ("warm", warm)):
                rows.append((f"{name}, {kind}", str(len(seconds)), *_figures(seconds)))
            slowest = max(slowest, *cold, *warm) if name == "chat" else slowest
    show.title("Answers in the served test cloud, in milliseconds of real time")
    show.table(("function", "answers", "median", "p95", "slowest"), rows)
    show.line(
        f"{os.cpu_count()} processors, load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    show.line(f"Slack waits {WITHIN:.0f} s: " + ("missed" if slowest > WITHIN else "met by all"))
    return int(slowest > WITHIN)


def _figures(seconds: Sequence[float]) -> tuple[str, ...]:
    ordered = sorted(seconds)
    of = (ordered[len(ordered) // 2], ordered[math.ceil(len(ordered) * 0.95) - 1], ordered[-1])
    return tuple(map(show.milliseconds, of))


@contextmanager
def _deployed() -> Iterator[Place]:
    with CloudProcess(START) as cloud, response_urls() as hooks:
        show.doing("cdk bootstrap and deploy")
        cloud.bootstrap(HOME)
        cloud.cdk(
            *("deploy", "--all", "--require-approval", "never"),
            *("-c", "lastgood:chat=tests/demo-chat.yaml"),
            cwd=REPOSITORY,
            region=HOME,
        )
        network = Network(**cloud.network(HOME, name="shop"))
        launch_there(cloud.client("ec2", HOME), network, "shop")
        cloud.advance(to=NIGHT)
        yield Place(cloud, install_app(cloud, HOME, hooks))
