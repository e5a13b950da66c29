"""Every fault for every call of the functions of restores, and for every call of the machine."""

import gc
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn

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
LOOKS_AT_NOTHING = ("begin", "ask", "hold")
"""Steps for which it is all the same when describes show something."""
BY_WAY = ("hand_over", "undo", "remove")
WAYS = ("replace", "swap", "attach", "root", "copy", "launch")
MAKES = ("Attach", "Copy", "CreateReplace", "CreateVolume", "Register", "Run")
"""Of those that make what describes may not show yet."""
READ = ("BatchGet", "Describe", "Get", "List", "Query")
"""Beginnings of operations that change nothing."""
REFUSALS = {
    "TooManyRequestsException": 429,
    "ServiceException": 500,
    "ENILimitReachedException": 502,
}
"""Of Lambda, each with a name of its own for the machine, but for the last."""
INVOCATIONS, UNSPOILT = "invocations", "none"
ASKED = "asked"
"""In place of a step: a person asks."""
SWEEPS = 3


@dataclass(frozen=True)
class RestoreCase:
    """``spoilt`` is put into the world when as many runs of ``FUNCTIONS`` are over as ``at`` says,
    and the next one begins."""

    by: str
    story: RestoreStory
    kind: str
    fault: str
    at: int
    spoilt: CallsSpoilt | None
    bound: Bound = Bound.MENDS

    @property
    def id(self) -> str:
        return f"{self.by}-{self.story.name}-{self.fault}"


@dataclass
class Branches:
    """Tells a story once, and for each case once more from where its fault strikes: in a process
    that is forked there, since what comes before is the same. ``broken``: by case."""

    world: World
    cases: Sequence[RestoreCase]
    broken: dict[str, list[str]] = field(default_factory=dict)
    here: RestoreCase | None = None
    _begun: int = 0
    _answer: int = 0

    def __call__(self, function: str) -> None:
        if self.here is not None or function not in FUNCTIONS:
            return
        for case in self.cases:
            if case.at == self._begun and case.spoilt is not None and self._parts(case):
                case.spoilt.put_into(self.world)
                return
        self._begun += 1

    def _parts(self, case: RestoreCase) -> bool:
        """Whether this is the process in which it is told with the fault."""
        # What is looked at by the garbage collection is copied.
        gc.freeze()
        answer, self._answer = os.pipe()
        child = os.fork()
        if child == 0:
            self.here = case
            return True
        os.close(self._answer)
        with os.fdopen(answer) as lines:
            self.broken[case.id] = json.loads(lines.read() or '["its process died"]')
        os.waitpid(child, 0)
        return False

    def report(self, broken: list[str]) -> NoReturn:
        """The end of a process that was forked."""
        os.write(self._answer, json.dumps(broken).encode())
        os._exit(0)


def judged(cases: Sequence[RestoreCase]) -> dict[str, list[str]]:
    """Of one story: by id, the promises that do not hold in the end."""
    story = cases[0].story
    with a_world(SLOT) as world:
        branches = world.cloud.before_run = Branches(world, cases)
        try:
            broken = _told(world, story, branches)
        except Exception as error:
            if branches.here is None:
                raise
            # Whoever waits for this process is told.
            broken = [repr(error)]
        if branches.here is not None:
            branches.report([*broken, *world.cloud.ec2.not_modelled])
    unspoilt = [case.id for case in cases if case.spoilt is None]
    return branches.broken | dict.fromkeys(unspoilt, broken)


class Tried(set[tuple[str, ...]]):
    """What earlier stories have tried: one stands for all others."""

    def new(self, *what: str) -> bool:
        fresh = what not in self
        self.add(what)
        return fresh or EVERY


@dataclass(frozen=True)
class Run:
    """One run of a function for a step of the machine, or for a person, and how many came before
    it."""

    function: str
    step: str
    number: int
    calls: tuple[Call, ...]

    @property
    def by_machine(self) -> bool:
        return self.step != ASKED


def every_restore_case() -> Iterator[RestoreCase]:
    tried = Tried()
    for story in STORIES:
        runs = _unspoilt(story)
        yield RestoreCase("nobody", story, UNSPOILT, "as it is", 0, None)
        # What is seen late makes other cases of what looks alike.
        so_far = Tried() if story.late else tried
        yield from _calls_spoilt(story, runs, so_far)
        yield from _invocations_spoilt(story, runs, so_far)


def _told(world: World, story: RestoreStory, branches: Branches) -> list[str]:
    """The story; and if that is not enough, the end of the fault, a person, and the sweep."""
    scene = story.tell(world)
    world.rest(NIGHT)
    bound = branches.here.bound if branches.here else Bound.MENDS
    broken = restore_promises.broken(scene, story.ends, bound)
    if bound is Bound.MENDS:
        return [*broken, *(scene.refused if branches.here is None else ())]
    world.cloud.faults.clear()
    for sweep in range(SWEEPS):
        if not broken:
            break
        if sweep == 0:
            _redrive(scene)
        else:
            world.sweep()
        world.advance(NIGHT)
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
    begun: list[tuple[str, str, int]] = []
    steps: list[str] = []
    with a_world(SLOT) as world:

        def begin(function: str) -> None:
            step = steps.pop() if steps else ASKED
            begun.append((function, step, len(world.cloud.calls)))

        def of_machine(function: Callable[[Any], Any], event: Any) -> Any:
            steps.append(event["step"])
            return function(event)

        for name, function in world.cloud.functions.items():
            world.cloud.functions[name] = partial(of_machine, function)
        world.cloud.before_run = begin
        _told(world, story, Branches(world, ()))
        calls = list(world.cloud.calls)
    ends = [first for _, _, first in begun[1:]] + [len(calls)]
    found = [
        (function, step, tuple(call for call in calls[first:end] if call.by == function))
        for (function, step, first), end in zip(begun, ends, strict=True)
        if function in FUNCTIONS
    ]
    return [Run(one, step, number, made) for number, (one, step, made) in enumerate(found)]


def _calls_spoilt(story: RestoreStory, runs: list[Run], tried: Tried) -> Iterator[RestoreCase]:
    for run in _worth(story, runs):
        step = _step_of(run, runs)
        for number in range(len(run.calls)):
            yield from _ended(story, run, number, step, tried)
            if not story.late:
                yield from _coded(story, run, number, step, tried)


def _changes(call: Call) -> bool:
    return not call.operation.startswith(READ) and "DryRun" not in call.params


def _step_of(run: Run, runs: list[Run]) -> str:
    """With the way of the restore, if what is at stake in the step depends on that."""
    steps = {one.step for one in runs}
    way = next((one for one in WAYS if one in steps), "")
    return f"{run.step} of {way}" if run.step in BY_WAY else run.step


def _worth(story: RestoreStory, runs: list[Run]) -> list[Run]:
    return [one for one in runs if not story.late or one.step not in (ASKED, *LOOKS_AT_NOTHING)]


def _case(
    story: RestoreStory,
    run: Run,
    kind: str,
    fault: str,
    spoilt: CallsSpoilt,
    bound: Bound = Bound.MENDS,
) -> RestoreCase:
    what = f"{run.step} (run {run.number + 1}): {fault}"
    return RestoreCase(run.function, story, kind, what, run.number, spoilt, bound)


def _name(call: Call) -> str:
    dry = " dry" if call.params.get("DryRun") else ""
    return f"{what_is_asked(call)}{dry}"


def _ended(
    story: RestoreStory, run: Run, number: int, step: str, tried: Tried
) -> Iterator[RestoreCase]:
    """The function dies after a call, which is tried in each step; or its reply is lost."""
    case, call = partial(_case, story, run), run.calls[number]
    name, changes = _name(call), _changes(call)
    what = f"{name} (call {number + 1})"
    lost = CallsSpoilt(run.function, "*", LOST_REPLY, number)
    # What is on record is read again, whichever step wrote it.
    where = "" if call.service == "dynamodb" else step
    worth = changes and (not story.late or call.operation.startswith(MAKES))
    if worth and tried.new(run.function, where, name, "killed"):
        yield case(KILLS, f"killed after {what}", replace(lost, effect=KILL))
    if story.late and not EVERY:
        return
    if tried.new(run.function, name if changes else call.service, "lost"):
        yield case(LOST, f"replies lost of {what}", lost)
    if call.operation.startswith(MAKES) and tried.new(run.function, name, "sent again"):
        yield case(LOST, f"reply lost of {what}", replace(lost, whole=False))


def _coded(
    story: RestoreStory, run: Run, number: int, step: str, tried: Tried
) -> Iterator[RestoreCase]:
    """The call is answered with an error: with all meanings where a function first calls a service.
    Elsewhere with one that a person must mend, and which lasts: what may pass is as a lost reply,
    and what is given up is as this. What changes something is tried by itself, in each step."""
    case, call = partial(_case, story, run), run.calls[number]
    name, changes = _name(call), _changes(call) and call.service != "dynamodb"
    known = (step, name) if changes else (call.service,)
    first = tried.new(run.function, call.service, "codes")
    if not first and not tried.new(run.function, *known, "denied"):
        return
    after = sum(one.name == call.name for one in run.calls[:number])
    for error in errors_of(call, by=meaning_of if first else verdict_of):
        verdict = verdict_of(call, error)
        answer = aws_error(error.code, status=error.status, done=verdict is Verdict.DONE)
        once = CallsSpoilt(run.function, call.name, answer, after)
        bound = Bound.MENDS if verdict is Verdict.AGAIN else Bound.PERSON
        what = f"{error.code} of {name} (call {number + 1})"
        if first:
            yield case(CODES, what, once, bound)
        if verdict is Verdict.PERSON and (not first or EVERY):
            for_good = replace(once, times=FOR_GOOD)
            yield case(CODES, f"{what} for good", for_good, Bound.PERSON)
        if verdict is Verdict.AGAIN and tried.new(run.function, call.service, "goes on"):
            for_good = replace(once, times=FOR_GOOD)
            yield case(CODES, f"{what} for long", for_good, Bound.PERSON)


def _invocations_spoilt(
    story: RestoreStory, runs: list[Run], tried: Tried
) -> Iterator[RestoreCase]:
    """Lambda refuses the machine, or its reply is lost: what was done is done twice."""
    for run in (one for one in _worth(story, runs) if one.by_machine):
        # The machine calls before the run begins.
        case = partial(_case, story, replace(run, function="machine", number=run.number - 1))
        spoilt = CallsSpoilt(MACHINE, "lambda.Invoke", LOST_REPLY)
        if tried.new("machine", run.step, "twice"):
            yield case(INVOCATIONS, f"{run.step} is run twice", spoilt)
        if not story.late and tried.new("machine", "refused"):
            for code, status in REFUSALS.items():
                refused = replace(spoilt, effect=aws_error(code, status=status))
                yield case(INVOCATIONS, f"{code} for {run.step}", refused)
        if not story.late and tried.new("machine", run.step, "none"):
            denied = aws_error("AccessDeniedException", status=403)
            for_good = replace(spoilt, effect=denied, times=FOR_GOOD)
            yield case(INVOCATIONS, f"none from {run.step} on", for_good, Bound.PERSON)
