"""Definitions of state machines, read and checked as CreateStateMachine does.

Source: the Amazon States Language specification, and the Step Functions Developer Guide.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cloud.policy import NotTaught
from tests.cloud.states.paths import (
    Holds,
    Malformed,
    Path,
    Read,
    expression,
    instant,
    rule,
    template,
)

Fields = dict[str, Any]
# Source: "Task state timeouts and heartbeat intervals": the default of TimeoutSeconds.
NO_TIMEOUT = 99999999
MOST_BYTES_OF_DEFINITION = 1024 * 1024

INVOKE = "arn:aws:states:::lambda:invoke"
CALLBACK = f"{INVOKE}.waitForTaskToken"
COMMON = {"Type", "Comment", "InputPath", "OutputPath"}
TRANSITION = {"Next", "End"}
FIELDS: dict[str, set[str]] = {
    "Task": COMMON
    | TRANSITION
    | {"Resource", "Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"}
    | {"TimeoutSeconds", "TimeoutSecondsPath"},
    "Choice": COMMON | {"Choices", "Default"},
    "Wait": COMMON | TRANSITION | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    "Pass": COMMON | TRANSITION | {"Parameters", "Result", "ResultPath"},
    "Succeed": COMMON,
    "Fail": {"Type", "Comment", "Error", "ErrorPath", "Cause", "CausePath"},
}
# Valid on AWS, but nobody here uses it.
ELSEWHERE = {
    *("QueryLanguage", "Arguments", "Output", "Assign", "Condition", "HeartbeatSeconds"),
    *("HeartbeatSecondsPath", "Credentials", "ItemProcessor", "Branches", "Iterator"),
}
OTHER_TYPES = {"Map", "Parallel"}
# What may be given to the function. Source: "Invoke an AWS Lambda function with Step Functions".
INVOKING = {"FunctionName", "Payload"}
INVOKING_ELSEWHERE = {"ClientContext", "InvocationType", "LogType", "Qualifier"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrier:
    errors: tuple[str, ...]
    interval: int = 1
    attempts: int = 3
    rate: float = 2.0
    longest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catcher:
    errors: tuple[str, ...]
    next: str
    result_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """``next`` is None at the end. A path is None where the definition has null."""

    name: str
    type: str
    fields: Mapping[str, Any]
    next: str | None
    input_path: Path | None
    output_path: Path | None
    result_path: Path | None
    parameters: Read | None = None
    selector: Read | None = None
    retriers: tuple[Retrier, ...] = ()
    catchers: tuple[Catcher, ...] = ()
    choices: tuple[tuple[Holds, str], ...] = ()
    default: str | None = None
    callback: bool = False

    def given(self, name: str) -> Read | None:
        """The field, or what its path gives; None without either."""
        if name in self.fields:
            value = self.fields[name]
            return lambda _data, _context: value
        path = self.fields.get(f"{name}Path")
        return None if path is None else expression(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    text: str
    start: str
    states: Mapping[str, State]
    timeout: int | None


def read(text: str) -> Definition:
    """The definition, ready to run.

    Raises:
        Malformed: AWS would not take it.
        NotTaught: AWS would; it has what this interpreter lacks.
    """
    if len(text.encode()) > MOST_BYTES_OF_DEFINITION:
        raise Malformed("the definition is longer than 1 MiB")
    try:
        whole = json.loads(text)
    except ValueError as wrong:
        raise Malformed(f"INVALID_JSON_DESCRIPTION: {wrong}") from wrong
    if not isinstance(whole, dict):
        raise Malformed("the definition is no object")
    if whole.get("QueryLanguage", "JSONPath") != "JSONPath":
        raise NotTaught(f"the query language {whole['QueryLanguage']}")
    known = {"Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage"}
    if unknown := set(whole) - known:
        raise Malformed(f"unknown fields {sorted(unknown)} at /")
    if not whole.get("States"):
        raise Malformed("there are no States at /")
    states = {name: _state(name, given) for name, given in whole["States"].items()}
    _check_transitions(whole.get("StartAt"), states)
    timeout = whole.get("TimeoutSeconds")
    return Definition(text=text, start=whole["StartAt"], states=states, timeout=timeout)


def _state(name: str, given: Fields) -> State:
    kind = given.get("Type")
    try:
        if len(name) > 80:
            raise Malformed("its name is longer than 80 characters")
        if kind in OTHER_TYPES:
            raise NotTaught(f"a state of type {kind}")
        if kind not in FIELDS:
            raise Malformed(f"{kind!r} is not a type")
        _check_fields(given, FIELDS[kind])
        if kind in ("Task", "Wait", "Pass") and ("Next" in given) == (given.get("End") is True):
            raise Malformed("it must have either Next or End")
        return _parsed(name, kind, given)
    except Malformed as wrong:
        raise Malformed(f"{wrong} at /States/{name}") from wrong


def _check_fields(given: Fields, known: set[str]) -> None:
    if beyond := set(given) & ELSEWHERE:
        raise NotTaught(f"a state with {sorted(beyond)}")
    if unknown := set(given) - known:
        raise Malformed(f"unknown fields {sorted(unknown)}")
    for name in set(given):
        if f"{name}Path" in given and f"{name}Path" != "ResultPath":
            raise Malformed(f"it cannot have both {name} and {name}Path")


def _parsed(name: str, kind: str, given: Fields) -> State:
    details: Fields = {}
    if kind == "Task":
        details = _task(given)
    elif kind == "Choice":
        details = _choice(given)
    elif kind == "Wait":
        _check_wait(given)
    elif kind == "Pass" and "Parameters" in given:
        details = {"parameters": template(given["Parameters"])}
    state = State(
        name=name,
        type=kind,
        fields=given,
        next=given.get("Next"),
        input_path=_path(given, "InputPath"),
        output_path=_path(given, "OutputPath"),
        result_path=_path(given, "ResultPath"),
        **details,
    )
    for each in ("Error", "Cause", "TimeoutSeconds", "Seconds", "Timestamp"):
        state.given(each)
    return state


def _path(given: Fields, name: str) -> Path | None:
    text = given.get(name, "$")
    path = None if text is None else Path.parse(text)
    if path is not None and name == "ResultPath":
        # A reference path that writes; arrays and the context object cannot be written here.
        if path.of_context:
            raise Malformed("ResultPath cannot be in the context object")
        if any(isinstance(step, int) for step in path.steps):
            raise NotTaught(f"the ResultPath {text}")
    return path


def _task(given: Fields) -> Fields:
    resource = given.get("Resource")
    if resource not in (INVOKE, CALLBACK):
        if not isinstance(resource, str) or not resource.startswith("arn:"):
            raise Malformed(f"the Resource {resource!r} is no ARN")
        raise NotTaught(f"the resource {resource}")
    parameters = given.get("Parameters", {})
    names = {each.removesuffix(".$") for each in parameters}
    if names & INVOKING_ELSEWHERE:
        raise NotTaught(f"{sorted(names & INVOKING_ELSEWHERE)} in the Parameters of {INVOKE}")
    if names - INVOKING:
        raise Malformed(f"the Parameters {sorted(names - INVOKING)} are not supported")
    if "FunctionName" not in names:
        raise Malformed("FunctionName is required in Parameters")
    timeout = given.get("TimeoutSeconds", NO_TIMEOUT)
    if not isinstance(timeout, int) or not 0 < timeout <= NO_TIMEOUT:
        raise Malformed(f"{timeout!r} is no TimeoutSeconds")
    selector = template(given["ResultSelector"]) if "ResultSelector" in given else None
    return {
        "parameters": template(parameters),
        "selector": selector,
        "retriers": tuple(map(_retrier, given.get("Retry", []))),
        "catchers": tuple(map(_catcher, given.get("Catch", []))),
        "callback": resource == CALLBACK,
    }


def _errors(given: Fields) -> tuple[str, ...]:
    errors = given.get("ErrorEquals")
    if not errors or not all(isinstance(one, str) for one in errors):
        raise Malformed("ErrorEquals must have names")
    if "States.ALL" in errors and len(errors) > 1:
        raise Malformed("States.ALL must be alone in ErrorEquals")
    return tuple(errors)


def _retrier(given: Fields) -> Retrier:
    known = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds"}
    if unknown := set(given) - known - {"JitterStrategy", "Comment"}:
        raise Malformed(f"unknown fields {sorted(unknown)} in Retry")
    if given.get("JitterStrategy", "NONE") not in ("FULL", "NONE"):
        raise Malformed(f"{given['JitterStrategy']} is no JitterStrategy")
    retrier = Retrier(
        errors=_errors(given),
        interval=given.get("IntervalSeconds", 1),
        attempts=given.get("MaxAttempts", 3),
        rate=given.get("BackoffRate", 2.0),
        longest=given.get("MaxDelaySeconds"),
    )
    longest = retrier.longest
    if retrier.interval < 1 or retrier.attempts < 0 or retrier.rate < 1.0:
        raise Malformed(f"the Retry of {retrier.errors} is out of range")
    if longest is not None and not retrier.interval < longest < 31622400:
        raise Malformed(f"MaxDelaySeconds of {retrier.errors} is out of range")
    return retrier


def _catcher(given: Fields) -> Catcher:
    if unknown := set(given) - {"ErrorEquals", "Next", "ResultPath", "Comment"}:
        raise Malformed(f"unknown fields {sorted(unknown)} in Catch")
    if "Next" not in given:
        raise Malformed("a Catch must have Next")
    path = _path(given, "ResultPath")
    return Catcher(errors=_errors(given), next=given["Next"], result_path=path)


def _choice(given: Fields) -> Fields:
    if not given.get("Choices"):
        raise Malformed("it must have Choices")
    choices = []
    for one in given["Choices"]:
        if "Next" not in one:
            raise Malformed("a choice must have Next")
        if set(one) & ELSEWHERE:
            raise NotTaught(f"a choice with {sorted(set(one) & ELSEWHERE)}")
        bare = {name: value for name, value in one.items() if name not in ("Next", "Comment")}
        choices.append((rule(bare), one["Next"]))
    return {"choices": tuple(choices), "default": given.get("Default")}


def _check_wait(given: Fields) -> None:
    ways = set(given) & {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}
    if len(ways) != 1:
        raise Malformed(
            "it must have exactly one of Seconds, SecondsPath, Timestamp, TimestampPath"
        )
    if "Seconds" in given and not is_wait(given["Seconds"]):
        raise Malformed(f"{given['Seconds']!r} is no Seconds")
    if "Timestamp" in given and instant(given["Timestamp"]) is None:
        raise Malformed(f"{given['Timestamp']!r} is no Timestamp")


def is_wait(seconds: Any) -> bool:
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    return whole and 0 <= seconds <= NO_TIMEOUT


def _targets(state: State) -> Iterator[str]:
    if state.next is not None:
        yield state.next
    yield from (catcher.next for catcher in state.catchers)
    yield from (name for _, name in state.choices)
    if state.default is not None:
        yield state.default


def _check_transitions(start: Any, states: Mapping[str, State]) -> None:
    if start not in states:
        raise Malformed(f"MISSING_TRANSITION_TARGET: {start!r} is not a state at /StartAt")
    _check_lists(states)
    reached, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for target in _targets(states[name]):
            if target not in states:
                raise Malformed(
                    f"MISSING_TRANSITION_TARGET: {target!r} is not a state at /States/{name}"
                )
            waiting.append(target)
    if missed := [name for name in states if name not in reached]:
        raise Malformed(f"MISSING_TRANSITION_TARGET: {missed} are not reachable")


def _check_lists(states: Mapping[str, State]) -> None:
    """States.ALL must be in the last retrier and the last catcher."""
    for state in states.values():
        for handlers in (state.retriers, state.catchers):
            if any("States.ALL" in one.errors for one in handlers[:-1]):
                raise Malformed(f"States.ALL must come last at /States/{state.name}")


# States.ALL takes no error that ends the execution in any case. Source: "Handling errors in Step
# Functions workflows", "Error names".
TERMINAL = {"States.DataLimitExceeded", "States.Runtime"}


def names_error(errors: tuple[str, ...], error: str) -> bool:
    """Whether a Retry or Catch of these names takes the error."""
    if error == "States.Runtime":
        return False
    if error in errors:
        return True
    if error in TERMINAL:
        return False
    return "States.ALL" in errors or ("States.TaskFailed" in errors and error != "States.Timeout")


INVALID_NAME = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]")


def is_name(name: str) -> bool:
    """Source: API reference of CreateStateMachine and StartExecution, ``name``."""
    return 0 < len(name) <= 80 and not INVALID_NAME.search(name)
