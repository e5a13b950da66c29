"""Every fault for every call of the functions of restores, and for every call of the machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from lastgood.aws.faults import Verdict
from tests.cloud.faults import KILL, LOST_REPLY, aws_error
from tests.cloud.in_process import Call
from tests.faults import restore_promises
from tests.faults.cases import (
    CODES,
    EVERY,
    FOR_GOOD,
    KILLS,
    LOST,
    NIGHT,
    CallsSpoilt,
    errors_of,
    meaning_of,
    verdict_of,
    what_is_asked,
)
from tests.faults.promises import Bound
from tests.faults.restore_stories import STORIES, RestoreStory, Scene
from tests.support.world import MACHINE as ARN
from tests.support.world import RESTORE as MACHINE
from tests.support.world import SLOT, World, a_world

FUNCTIONS = ("clone_instance", "restore_instance", "check_restore", "undo_restore")
BACKWARD = ("undo", "remove")
READ = ("BatchGet", "Describe", "Get", "List", "Query")
"""Beginnings of operations that change nothing."""
REFUSALS = {
    "TooManyRequestsException": 429,
    "ServiceException": 500,
    "ENILimitReachedException": 502,
}
"""Of Lambda, each with a name of its own for the machine, but for the last."""
INVOCATIONS, UNSPOILT = "invocations", "none"
SWEEPS = 3


@dataclass(frozen=True)
class RestoreCase:
    """``spoilt`` is put into the world before the story is told."""

    by: str
    story: RestoreStory
    kind: str
    fault: str
    spoilt: CallsSpoilt | None
    bound: Bound = Bound.MENDS

    @property
    def id(self) -> str:
        return f"{self.by}-{self.story.name}-{self.fault}"

    def broken(self) -> list[str]:
        """Tell the story with the fault; the promises that do not hold in the end."""
        with a_world(SLOT) as world:
            if self.spoilt is not None:
                self.spoilt.put_into(world)
            return _told(world, self.story, self.bound)


@dataclass
class Tried:
    """What earlier stories have tried: one stands for all others in which a step does the same.

    ``runs``: what was asked in a run of a step until then. ``steps``: calls by step. ``calls``: by
    function. ``services``: by function, those of the calls.
    """

    runs: set[tuple[str, ...]] = field(default_factory=set)
    steps: set[tuple[str, ...]] = field(default_factory=set)
    calls: set[tuple[str, ...]] = field(default_factory=set)

    def new(self, known: set[tuple[str, ...]], *what: str) -> bool:
        fresh = what not in known
        known.add(what)
        return fresh or EVERY


@dataclass(frozen=True)
class Run:
    """One run of a function for a step of the machine, or for a person."""

    function: str
    step: str
    calls: tuple[Call, ...]
    by_machine: bool


def every_restore_case() -> Iterator[RestoreCase]:
    tried = Tried()
    for story in STORIES:
        runs = _unspoilt(story)
        yield RestoreCase("nobody", story, UNSPOILT, "as it is", None)
        # What is seen late makes other cases of what looks alike.
        so_far = Tried() if story.late else tried
        yield from _calls_spoilt(story, runs, so_far)
        yield from _invocations_spoilt(story, runs, so_far)


def _told(world: World, story: RestoreStory, bound: Bound) -> list[str]:
    """The story; and if that is not enough, the end of the fault, a person, and the sweep."""
    scene = story.tell(world)
    world.rest(NIGHT)
    broken = restore_promises.broken(scene, story.ends, bound)
    if bound is Bound.MENDS:
        return broken
    world.cloud.faults.clear()
    for sweep in range(SWEEPS):
        if not broken:
            break
        if sweep == 0:
            _redrive(scene)
        else:
            world.sweep()
        world.rest(NIGHT)
        broken = restore_promises.broken(scene, story.ends, bound)
    return broken


def _redrive(scene: Scene) -> None:
    """As a person does with what failed, of restores that are not at their end."""
    machine = scene.world.client("stepfunctions")
    failed = machine.list_executions(stateMachineArn=ARN, statusFilter="FAILED")["executions"]
    for one in failed:
        restore = scene.world.ledger.restore(one["name"][:23])
        if restore is not None and restore.status.at_work:
            machine.redrive_execution(executionArn=one["executionArn"])


def _unspoilt(story: RestoreStory) -> list[Run]:
    """The runs of the functions while the story is told without a fault."""
    runs: list[Run] = []
    with a_world(SLOT) as world:
        for name in FUNCTIONS:
            for known in [key for key in world.cloud.functions if key.replace("-", "_").endswith(name)]:
                world.cloud.functions[known] = partial(
                    _noted, world, runs, name, world.cloud.functions[known]
                )
        _told(world, story, Bound.MENDS)
        calls = [call for call in world.cloud.calls if call.by == "clone_instance"]
    by_people: dict[int, list[Call]] = {}
    for call in calls:
        by_people.setdefault(call.run, []).append(call)
    asked = [Run("clone_instance", "ask", tuple(one), False) for one in by_people.values()]
    return [*asked, *runs]


def _noted(
    world: World, runs: list[Run], name: str, function: Callable[[Any], Any], event: Any
) -> Any:
    first = len(world.cloud.calls)
    try:
        return function(event)
    finally:
        calls = tuple(call for call in world.cloud.calls[first:] if call.by == name)
        runs.append(Run(name, event["step"], calls, True))


def _calls_spoilt(story: RestoreStory, runs: list[Run], tried: Tried) -> Iterator[RestoreCase]:
    for function in FUNCTIONS:
        number, made = 0, list[Call]()
        for run in (one for one in runs if one.function == function):
            until: tuple[str, ...] = (function, run.step)
            for call in run.calls:
                until = (*until, _name(call))
                yield from _ended(story, run, call, number, until, tried)
                after = sum(one.name == call.name for one in made)
                if not story.late:
                    yield from _coded(story, run, call, after, tried)
                made.append(call)
                number += 1


def _name(call: Call) -> str:
    dry = " dry" if call.params.get("DryRun") else ""
    return f"{what_is_asked(call)}{dry}"


def _ended(
    story: RestoreStory, run: Run, call: Call, number: int, until: tuple[str, ...], tried: Tried
) -> Iterator[RestoreCase]:
    """The function dies after the call, or its reply is lost."""
    case = partial(RestoreCase, run.function, story)
    name = _name(call)
    what = f"{name} in {run.step} (call {number + 1})"
    lost = CallsSpoilt(run.function, "*", LOST_REPLY, number)
    if call.operation.startswith(READ) or name.endswith(" dry"):
        if tried.new(tried.calls, run.function, name, "lost"):
            yield case(LOST, f"replies lost of {what}", lost)
        return
    if not tried.new(tried.runs, *until):
        return
    yield case(KILLS, f"killed after {what}", CallsSpoilt(run.function, "*", KILL, number))
    yield case(LOST, f"replies lost of {what}", lost)
    if tried.new(tried.calls, run.function, name, "again"):
        yield case(LOST, f"reply lost of {what}", replace(lost, whole=False))


def _coded(
    story: RestoreStory, run: Run, call: Call, after: int, tried: Tried
) -> Iterator[RestoreCase]:
    """The call is answered with an error: all meanings where a function makes it first, and one of
    each verdict in its other steps."""
    case = partial(RestoreCase, run.function, story)
    name = _name(call)
    if not tried.new(tried.steps, run.function, run.step, name):
        return
    first = tried.new(tried.calls, run.function, name, "codes")
    lasted: set[Verdict] = set()
    for error in errors_of(call, by=meaning_of if first else verdict_of):
        verdict = verdict_of(call, error)
        answer = aws_error(error.code, status=error.status, done=verdict is Verdict.DONE)
        once = CallsSpoilt(run.function, call.name, answer, after)
        bound = Bound.MENDS if verdict is Verdict.AGAIN else Bound.PERSON
        what = f"{error.code} of {name} in {run.step}"
        yield case(CODES, what, once, bound)
        if verdict is not Verdict.DONE and verdict not in lasted:
            lasted.add(verdict)
            for_good = replace(once, times=FOR_GOOD)
            yield case(CODES, f"{what} for good", for_good, Bound.PERSON)


def _invocations_spoilt(
    story: RestoreStory, runs: list[Run], tried: Tried
) -> Iterator[RestoreCase]:
    """Lambda refuses the machine, or its reply is lost: what was done is done twice."""
    case = partial(RestoreCase, "machine", story)
    for number, run in enumerate(one for one in runs if one.by_machine):
        what = f"{run.step} (invocation {number + 1})"
        until = (run.step, *(_name(call) for call in run.calls))
        if not tried.new(tried.runs, "machine", *until):
            continue
        spoilt = CallsSpoilt(MACHINE, "lambda.Invoke", LOST_REPLY, number)
        yield case(INVOCATIONS, f"{what} twice", spoilt)
        if tried.new(tried.steps, "machine", run.step):
            for code, status in REFUSALS.items():
                refused = replace(spoilt, effect=aws_error(code, status=status))
                yield case(INVOCATIONS, f"{code} for {what}", refused)
            denied = aws_error("AccessDeniedException", status=403)
            for_good = replace(spoilt, effect=denied, times=FOR_GOOD)
            yield case(INVOCATIONS, f"none from {what} on", for_good, Bound.PERSON)
