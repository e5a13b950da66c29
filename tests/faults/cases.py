"""Every fault for every call, every message and every handler of a story."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from lastgood.aws.faults import MEANINGS, Verdict
from tests.cloud.faults import KILL, LOST_REPLY, Effect, aws_error
from tests.cloud.in_process import Call
from tests.faults import promises
from tests.faults.promises import Bound
from tests.faults.stories import HANDLERS, LAG, Story
from tests.support.error_table import WireError, wire_errors
from tests.support.world import FED, HOME, SLOT, Fate, World, a_world

EVERY = os.environ.get("LASTGOOD_FAULTS") == "every"
"""Each code, and each call of each story. Else one code stands for all that mean the same:
tests/unit/test_faults.py shows that they do. All meanings are tried at the first call of a handler
to each service, since the table is by service; at its other calls one for each verdict, and one
that lasts. And of stories that begin alike, the first stands for the others until they part."""

SWEEPS = 6
"""Of an hour each, in which everything is to be settled: most do nothing, and cost our time."""
GRACE = timedelta(hours=2)
"""As long as the sweep leaves to others what they may still do."""
EVENTS = ("record_snapshot", "copy_snapshots")
"""Fed by events, which can be lost. A queue loses nothing."""
ONCE = ("ec2.CreateSnapshot", "ec2.CopySnapshot")
"""Beginnings of calls that botocore does not send again when their reply is lost."""
READS = (".Query", ".GetItem", ".BatchGetItem", ".GetParameter", ".GetParametersByPath")
CHANGES_NOTHING = ("ec2.Describe", "sts.AssumeRole", "s3.GetObject")
"""Beginnings of further calls after which a death is one after the call before."""
FOR_GOOD = 10**6
SEVERAL = 3
"""Of an asynchronous invocation one less: a third failure makes it a dead letter."""
NIGHT = timedelta(hours=20)
"""Longer than any message is tried, and over before the schedule's next slot."""

KILLS, LOST, CODES, EVENTS_SPOILT = "kills", "lost replies", "error codes", "spoilt events"


@dataclass(frozen=True)
class CallsSpoilt:
    """``times`` calls of the function that match go wrong, after so many that do not. ``whole``:
    however often botocore sends them; else only the first sending does."""

    by: str
    pattern: str
    effect: Effect
    after: int = 0
    times: int = 1
    whole: bool = True

    def put_into(self, world: World) -> None:
        world.cloud.faults.spoil(
            self.pattern,
            self.effect,
            times=self.times,
            after=self.after,
            by=self.by,
            whole=self.whole,
        )


@dataclass(frozen=True)
class ArrivalSpoilt:
    to: str
    number: int
    fate: Fate

    def put_into(self, world: World) -> None:
        world.fates[self.to, self.number] = self.fate


@dataclass(frozen=True)
class Case:
    """``spoilt`` is put into the world before the story is told."""

    handler: str
    story: Story
    kind: str
    fault: str
    spoilt: CallsSpoilt | ArrivalSpoilt
    bound: Bound = Bound.MENDS

    @property
    def id(self) -> str:
        return f"{self.handler}-{self.story.name}-{self.fault}"

    def broken(self) -> list[str]:
        """Tell the story with the fault; the promises that do not hold in the end."""
        with a_world(SLOT - timedelta(hours=1)) as world:
            self.spoilt.put_into(world)
            return told(world, self.story, self.bound)


@dataclass
class Tried:
    """What earlier stories of a handler have tried. ``calls``: by what they ask for;
    ``beginnings``: the calls up to one of them; whoever dies there knows no more in the one story
    than in the other. ``runs``: the same, from where the run began that made the call."""

    calls: set[str] = field(default_factory=set)
    beginnings: set[tuple[str, ...]] = field(default_factory=set)
    runs: set[tuple[str, ...]] = field(default_factory=set)

    def before(self, beginning: tuple[str, ...]) -> bool:
        known = beginning in self.beginnings
        self.beginnings.add(beginning)
        return known and not EVERY


def every_case() -> Iterator[Case]:
    """What lasts, and error codes, come in the first story in which a handler makes the call."""
    for handler, stories in HANDLERS.items():
        tried = Tried()
        for story in stories:
            yield from _cases(handler, story, tried)


def told(world: World, story: Story, bound: Bound) -> list[str]:
    """The story, and what comes after: what comes again, the end of the fault, a person if one
    has to come, sweeps. The promises that do not hold then.

    When all is well before the sweep comes, it is not waited for.
    """
    sources = story.tell(world)
    world.rest(NIGHT)
    world.cloud.faults.clear()
    world.advance(LAG)
    broken = promises.broken(world, story, sources, bound)
    for sweep in range(SWEEPS):
        if not broken and not world.in_flight():
            break
        if sweep == 0 and bound is Bound.PERSON:
            for function in promises.letters(world):
                world.redrive(function)
            world.rest(NIGHT)
        world.advance(GRACE if sweep == 0 else timedelta(hours=1))
        world.sweep()
        story.again(world)
        world.rest(NIGHT)
        world.advance(LAG)
        broken = promises.broken(world, story, sources, bound)
    return broken


def _cases(handler: str, story: Story, tried: Tried) -> Iterator[Case]:
    with a_world(SLOT - timedelta(hours=1)) as world:
        told(world, story, Bound.MENDS)
        calls = [call for call in world.cloud.calls if call.by == handler]
        arrived = world.arrived[handler]
    asked = [what_is_asked(call) for call in calls]
    runs = up_to_each(calls, asked)
    yield from _calls(handler, story, asked, runs, tried)
    tried.runs |= set(runs)
    case = partial(Case, handler, story)
    for number, (call, what) in enumerate(zip(calls, asked, strict=True)):
        if what in tried.calls:
            continue
        after = sum(one.name == call.name for one in calls[:number])
        kills = CallsSpoilt(handler, call.name, KILL, after, times=FOR_GOOD)
        yield case(KILLS, f"killed after every {what}", kills, Bound.PERSON)
        if not story.by_person:
            first = not any(name.startswith(f"{call.service}.") for name in tried.calls)
            yield from _codes(handler, story, call, after, first)
        tried.calls.add(what)
    for number in range(0 if story.by_person else arrived):
        for fate in _fates(handler, last=number == arrived - 1):
            fault = f"arrival {number + 1} {fate.name.lower()}"
            yield case(EVENTS_SPOILT, fault, ArrivalSpoilt(handler, number, fate))


def changes_nothing(name: str) -> bool:
    return name.endswith(READS) or name.startswith(CHANGES_NOTHING)


def what_is_asked(call: Call) -> str:
    """Its name, with what makes it another call for us: where it goes, and what for."""
    where = " elsewhere" if call.region != HOME else ""
    return f"{call.name}{where} {call.params.get('OperationType', '')}".rstrip()


def up_to_each(calls: list[Call], asked: list[str]) -> list[tuple[str, ...]]:
    """Of each call, what was asked in its run until then, and with it."""
    runs: dict[int, tuple[str, ...]] = {}
    found = []
    for call, what in zip(calls, asked, strict=True):
        runs[call.run] = (*runs.get(call.run, ()), what)
        found.append(runs[call.run])
    return found


def _calls(
    handler: str, story: Story, names: list[str], runs: list[tuple[str, ...]], tried: Tried
) -> Iterator[Case]:
    """For each call, that the function dies after it, and that its reply is lost."""
    case = partial(Case, handler, story)
    lost_before: set[str] = set()
    for number in _worth(names):
        if tried.before(tuple(names[: number + 1])):
            continue
        if story.varies and runs[number] in tried.runs and not EVERY:
            continue
        name = names[number]
        what = f"{name} (call {number + 1})"
        read = changes_nothing(name)
        if not (read and story.varies) or EVERY:
            kill = CallsSpoilt(handler, "*", KILL, number)
            yield case(KILLS, f"killed after {what}", kill)
        if name in lost_before:
            continue
        if name.endswith(READS):
            # Nothing came of it that a second one would not tell: once is enough.
            lost_before.add(name)
        lost = CallsSpoilt(handler, "*", LOST_REPLY, number)
        yield case(LOST, f"replies lost of {what}", lost)
        # That botocore sends it again is the same in each story.
        again = name not in tried.calls or EVERY
        if again and not name.startswith(ONCE) and not name.endswith(READS):
            yield case(LOST, f"reply lost of {what}", replace(lost, whole=False))


def _worth(names: list[str]) -> list[int]:
    """The numbers of all calls; of a row of reads of one kind, those of the first and the last."""
    return [
        number
        for number, name in enumerate(names)
        if not name.endswith(READS) or names[number - 1 : number + 2] != [name] * 3
    ]


def _codes(handler: str, story: Story, call: Call, after: int, first: bool) -> Iterator[Case]:
    """``after`` so many calls of its name. ``for good``: until the sweep comes, which is longer
    than anything is tried."""
    case = partial(Case, handler, story, CODES)
    lasted: set[Verdict] = set()
    for error in errors_of(call, by=meaning_of if first else verdict_of):
        verdict = verdict_of(call, error)
        done = verdict is Verdict.DONE
        answer = aws_error(error.code, status=error.status, done=done)
        once = CallsSpoilt(handler, call.name, answer, after)
        again = verdict is Verdict.AGAIN
        bound = Bound.MENDS if again else Bound.PERSON
        what = f"{error.code} of {what_is_asked(call)}"
        yield case(what, once, bound)
        if again and first and verdict not in lasted:
            times = SEVERAL if handler in FED else SEVERAL - 1
            yield case(f"{what} {times} times", replace(once, times=times), bound)
        if (again or first) and verdict not in lasted:
            lasted.add(verdict)
            yield case(f"{what} for good", replace(once, times=FOR_GOOD), Bound.PERSON)


def errors_of(call: Call, by: Callable[[Call, WireError], object]) -> list[WireError]:
    errors = wire_errors(call.service, call.operation)
    if EVERY:
        return errors
    return list({by(call, error): error for error in errors}.values())


def meaning_of(call: Call, error: WireError) -> object:
    code = error.code.removeprefix("AWS.SimpleQueueService.")
    return MEANINGS[call.service][code]  # type: ignore[index]


def verdict_of(call: Call, error: WireError) -> Verdict:
    return meaning_of(call, error).verdict  # type: ignore[attr-defined]


def _fates(handler: str, *, last: bool) -> list[Fate]:
    lossy = handler in EVENTS or handler not in FED
    return [
        fate
        for fate in Fate
        if (fate is not Fate.DROPPED or lossy) and (fate is not Fate.OVERTAKEN or not last)
    ]
