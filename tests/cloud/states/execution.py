"""One execution of a state machine, stepped on the cloud's clock.

Source: the Amazon States Language specification, and the Step Functions Developer Guide.
"""

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tests.cloud.clock import Action, Clock, nothing
from tests.cloud.states.language import (
    NO_TIMEOUT,
    Catcher,
    Definition,
    Retrier,
    State,
    is_wait,
    names_error,
)
from tests.cloud.states.paths import StateError, instant, written

# Source: "Step Functions service quotas": the input or output of a task, state or execution.
MOST_BYTES = 256 * 1024
MOST_EVENTS = 25_000
# Source: "Restarting state machine executions with redrive".
REDRIVABLE_FOR = timedelta(days=14)
MOST_REDRIVES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call of a function that a state makes, under the machine's role."""

    machine: str
    role: str
    function: str
    payload: Any


class TaskFailed(Exception):
    """The function, or its service, did not do it: the error as the machine names it."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """``call`` gives what the function answered, or raises TaskFailed. It is called by a job, with
    ``lock`` free."""

    clock: Clock
    set_going: Callable[[Action], None]
    call: Callable[[Task], Any]
    lock: threading.RLock = field(default_factory=threading.RLock)


def token_of(execution: str, turn: int) -> str:
    """The token of a task. On AWS it says nothing; here, whose it is."""
    return f"AQCM{base64.urlsafe_b64encode(f'{execution}#{turn}'.encode()).decode()}"


def read_token(token: str) -> tuple[str, int] | None:
    """The execution and its turn; None of what is no token."""
    try:
        execution, turn = base64.urlsafe_b64decode(token.removeprefix("AQCM")).decode().split("#")
        return execution, int(turn)
    except ValueError:
        return None


def machine_of(execution: str) -> str:
    """The ARN of its machine."""
    return execution.rpartition(":")[0].replace(":execution:", ":stateMachine:")


def iso(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(eq=False, kw_only=True)
class Execution:
    """``transitions``: states entered and retries, which AWS bills.

    ``turn`` counts what the execution waited for; what comes of an earlier turn is too late.
    """

    host: Host
    arn: str
    name: str
    machine: str
    machine_name: str
    definition: Definition
    role: str
    input: str
    started: datetime
    count: Callable[[], None]
    alive: Callable[[], bool]
    status: str = "RUNNING"
    stopped: datetime | None = None
    output: str | None = None
    error: str | None = None
    cause: str | None = None
    redrives: int = 0
    redriven: datetime | None = None
    redrive_token: str | None = None
    transitions: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    turn: int = 0
    _state: str = ""
    _input: Any = None
    _entered: datetime | None = None
    _retries: Counter[int] = field(default_factory=Counter)
    _wake: Action = nothing
    _end: Action = nothing

    # ------------------------------------------------------------------------ its life

    def begin(self) -> None:
        self._note("ExecutionStarted", input=self.input, roleArn=self.role)
        self._expire_later()
        self._run(self.definition.start, json.loads(self.input))

    def stop(self, error: str | None, cause: str | None) -> None:
        self._over("ABORTED", "ExecutionAborted", error, cause)

    def not_redrivable(self) -> str | None:
        """Why it cannot be redriven. Source: "Redrive eligibility" of the Developer Guide."""
        if self.status in ("RUNNING", "SUCCEEDED"):
            return f"Execution is {self.status} and cannot be redriven"
        assert self.stopped is not None
        if self.host.clock.now() - self.stopped > REDRIVABLE_FOR:
            return "Execution has exceeded the redrivable period"
        if self.redrives >= MOST_REDRIVES:
            return "Execution has reached the maximum number of redrives"
        if len(self.history) >= MOST_EVENTS - 1:
            return "Execution history event limit exceeded"
        return None

    def redrive(self) -> None:
        """Go on from the state that failed, with its input and with all of its retries again."""
        self.status, self.stopped, self.error, self.cause = "RUNNING", None, None, None
        self.redrives += 1
        self.redriven = self.host.clock.now()
        self._note("ExecutionRedriven", redriveCount=self.redrives)
        self._expire_later()
        if not self._state:
            self._run(self.definition.start, json.loads(self.input))
        elif self.definition.states[self._state].type == "Task":
            # A task is scheduled again; it is not entered a second time.
            self._bill()
            self._retries.clear()
            self._guarded(partial(self._schedule, self.definition.states[self._state]))
        else:
            self._run(self._state, self._input)

    def _expire_later(self) -> None:
        if self.definition.timeout is not None:
            due = self.host.clock.now() + timedelta(seconds=self.definition.timeout)
            self._end = self.host.clock.at(due, self._expire)

    def _expire(self) -> None:
        with self.host.lock:
            if self.status == "RUNNING":
                self._over("TIMED_OUT", "ExecutionTimedOut", "States.Timeout", None)

    def _over(self, status: str, event: str, error: str | None, cause: str | None) -> None:
        given = {"error": error, "cause": cause}
        self._note(event, **{name: text for name, text in given.items() if text is not None})
        self.error, self.cause = error, cause
        self._close(status)

    def _close(self, status: str) -> None:
        self.status, self.stopped = status, self.host.clock.now()
        self.turn += 1
        self._wake()
        self._end()
        self._wake = self._end = nothing

    # -------------------------------------------------------------------- from state to state

    def _run(self, name: str | None, data: Any) -> None:
        """Go through states until one waits for something, or it is over."""
        while name is not None:
            if not self.alive():
                # Source: DeleteStateMachine: its executions end at their next transition.
                self.stop(None, None)
                return
            state = self.definition.states[name]
            self._state, self._input, self._entered = name, data, self.host.clock.now()
            self._retries.clear()
            self._bill()
            going_on: tuple[str | None, Any] | None = None

            def enter(state: State = state) -> None:
                nonlocal going_on
                self._enter_event(state)
                going_on = ENTERED[state.type](self, state)

            self._guarded(enter)
            if going_on is None:
                return
            name, data = going_on
        self._succeed(data)

    def _guarded(self, step: Action) -> None:
        """A step whose error the state's Retry and Catch may take."""
        try:
            step()
        except _TooLong:
            self._close_as_too_long()
        except StateError as failed:
            self._guarded(partial(self._failed, failed.error, failed.cause))

    def _succeed(self, data: Any) -> None:
        self.output = written(data)
        self._guarded(partial(self._note, "ExecutionSucceeded", output=self.output))
        if self.status == "RUNNING":
            self._close("SUCCEEDED")

    def _leave(self, state: State, data: Any) -> tuple[str | None, Any]:
        data = self._sized(self._selected(state.output_path, data))
        self._note(f"{state.type}StateExited", name=state.name, output=written(data))
        return state.next, data

    def _enter_event(self, state: State) -> None:
        self._note(f"{state.type}StateEntered", name=state.name, input=written(self._input))

    def _bill(self) -> None:
        self.transitions += 1
        self.count()

    def _note(self, event: str, **details: Any) -> None:
        number = len(self.history) + 1
        if number >= MOST_EVENTS and not event.startswith("Execution"):
            raise _TooLong
        self.history.append(
            {
                "timestamp": self.host.clock.now(),
                "type": event,
                "id": number,
                "previousEventId": number - 1,
                **({_details_of(event): details} if details else {}),
            }
        )

    def _close_as_too_long(self) -> None:
        """Source: "Step Functions service quotas": the execution fails at the limit."""
        why = "The execution reached the maximum number of history events (25000)."
        self._over("FAILED", "ExecutionFailed", "States.Runtime", why)

    # ---------------------------------------------------------------------------- data

    def _context(self, **more: Any) -> dict[str, Any]:
        """Source: "Accessing execution data from the Context object"."""
        assert self._entered is not None
        return {
            "Execution": {
                "Id": self.arn,
                "Input": json.loads(self.input),
                "Name": self.name,
                "RoleArn": self.role,
                "StartTime": iso(self.started),
                "RedriveCount": self.redrives,
                **({"RedriveTime": iso(self.redriven)} if self.redriven else {}),
            },
            "State": {
                "EnteredTime": iso(self._entered),
                "Name": self._state,
                "RetryCount": self._retries.total(),
            },
            "StateMachine": {"Id": self.machine, "Name": self.machine_name},
            **more,
        }

    def _selected(self, path: Any, data: Any) -> Any:
        return {} if path is None else path.read(data, self._context())

    def _given(self, state: State, name: str, data: Any) -> Any:
        read = state.given(name)
        return None if read is None else read(data, self._context())

    def _sized(self, data: Any) -> Any:
        if len(written(data).encode()) > MOST_BYTES:
            why = (
                f"The state/task '{self._state}' returned a result with a size exceeding the "
                "maximum number of bytes service limit."
            )
            raise StateError("States.DataLimitExceeded", why)
        return data

    # ---------------------------------------------------------------------------- states

    def _pass(self, state: State) -> tuple[str | None, Any]:
        data = self._selected(state.input_path, self._input)
        if state.parameters is not None:
            data = state.parameters(data, self._context())
        result = state.fields.get("Result", data)
        return self._leave(state, self._merged(state.result_path, result))

    def _choice(self, state: State) -> tuple[str | None, Any]:
        data = self._selected(state.input_path, self._input)
        context = self._context()
        chosen = next((name for holds, name in state.choices if holds(data, context)), None)
        chosen = chosen or state.default
        if chosen is None:
            why = f"Failed to transition out of the state '{state.name}'. No choice matched."
            raise StateError("States.NoChoiceMatched", why)
        _, data = self._leave(state, data)
        return chosen, data

    def _wait(self, state: State) -> None:
        data = self._selected(state.input_path, self._input)
        now = self.host.clock.now()
        seconds, moment = self._given(state, "Seconds", data), None
        if seconds is not None:
            if not is_wait(seconds):
                raise StateError("States.Runtime", f"{seconds!r} is no number of seconds to wait")
            due = now + timedelta(seconds=seconds)
        else:
            moment = self._given(state, "Timestamp", data)
            parsed = instant(moment)
            if parsed is None:
                raise StateError("States.Runtime", f"{moment!r} is no timestamp to wait for")
            due = max(parsed, now)
        self._wait_until(due, partial(self._waited, state, data))

    def _waited(self, state: State, data: Any) -> None:
        self._guarded(lambda: self._run(*self._leave(state, data)))

    def _wait_until(self, due: datetime, then: Action) -> None:
        self.turn += 1
        turn = self.turn

        def woken() -> None:
            with self.host.lock:
                if turn == self.turn:
                    then()

        self._wake = self.host.clock.at(due, partial(self.host.set_going, woken))

    def _end_well(self, state: State) -> tuple[str | None, Any]:
        return self._leave(state, self._selected(state.input_path, self._input))

    def _end_badly(self, state: State) -> None:
        error = self._given(state, "Error", self._input)
        cause = self._given(state, "Cause", self._input)
        self._over("FAILED", "ExecutionFailed", error, cause)

    def _merged(self, path: Any, result: Any) -> Any:
        return self._input if path is None else path.put(self._input, result)

    # ------------------------------------------------------------------------------ tasks

    def _schedule(self, state: State) -> None:
        self.turn += 1
        turn = self.turn
        data = self._selected(state.input_path, self._input)
        more = {"Task": {"Token": token_of(self.arn, turn)}} if state.callback else {}
        assert state.parameters is not None
        given = self._sized(state.parameters(data, self._context(**more)))
        seconds = self._given(state, "TimeoutSeconds", data) or NO_TIMEOUT
        if not isinstance(seconds, int) or seconds < 1:
            raise StateError("States.Runtime", f"{seconds!r} is no timeout")
        # The region in which the function is; machine and function share it here.
        scheduled: dict[str, Any] = {
            "region": self.machine.split(":")[3],
            "parameters": written(given),
        }
        if seconds != NO_TIMEOUT:
            scheduled["timeoutInSeconds"] = seconds
            due = self.host.clock.now() + timedelta(seconds=seconds)
            self._wake = self.host.clock.at(due, partial(self._time_out, turn))
        self._note("TaskScheduled", **_of(state), **scheduled)
        task = Task(
            machine=self.machine,
            role=self.role,
            function=given["FunctionName"],
            payload=given.get("Payload", {}),
        )
        self.host.set_going(partial(self._call, state, turn, task))

    def _call(self, state: State, turn: int, task: Task) -> None:
        with self.host.lock:
            if turn != self.turn:
                return
            self._guarded(partial(self._note, "TaskStarted", **_of(state)))
        try:
            output = self.host.call(task)
        except TaskFailed as failed:
            self.fail(turn, failed.error, failed.cause)
            return
        if not state.callback:
            self.succeed(turn, output)
            return
        with self.host.lock:
            if turn == self.turn:
                submitted = partial(
                    self._note, "TaskSubmitted", **_of(state), output=written(output)
                )
                self._guarded(submitted)

    def succeed(self, turn: int, output: Any) -> bool:
        """End the task that the execution waits for; False if it waits no more."""
        with self.host.lock:
            if turn != self.turn or self.status != "RUNNING":
                return False
            self._settled()
            state = self.definition.states[self._state]
            self._guarded(partial(self._succeeded, state, output))
            return True

    def _succeeded(self, state: State, output: Any) -> None:
        self._sized(output)
        self._note("TaskSucceeded", **_of(state), output=written(output))
        if state.selector is not None:
            output = state.selector(output, self._context())
        self._run(*self._leave(state, self._merged(state.result_path, output)))

    def fail(self, turn: int, error: str, cause: str) -> bool:
        """As ``succeed``, with an error."""
        with self.host.lock:
            if turn != self.turn or self.status != "RUNNING":
                return False
            self._settled()
            state = self.definition.states[self._state]

            def failed() -> None:
                self._note("TaskFailed", **_of(state), error=error, cause=cause)
                raise StateError(error, cause)

            self._guarded(failed)
            return True

    def _time_out(self, turn: int) -> None:
        with self.host.lock:
            if turn != self.turn:
                return
            self._settled()
            state = self.definition.states[self._state]

            def timed_out() -> None:
                self._note("TaskTimedOut", **_of(state), error="States.Timeout")
                raise StateError("States.Timeout", "")

            self._guarded(timed_out)

    def _settled(self) -> None:
        self.turn += 1
        self._wake()
        self._wake = nothing

    # ------------------------------------------------------------------------------ errors

    def _failed(self, error: str, cause: str) -> None:
        state = self.definition.states[self._state]
        self._settled()
        for number, retrier in enumerate(state.retriers):
            if names_error(retrier.errors, error):
                # The first that names the error decides. Source: ASL specification, "Retrying".
                if self._retries[number] < retrier.attempts:
                    self._retry(state, number, retrier)
                    return
                break
        for catcher in state.catchers:
            if names_error(catcher.errors, error):
                self._catch(state, catcher, error, cause)
                return
        self._over("FAILED", "ExecutionFailed", error, cause or None)

    def _retry(self, state: State, number: int, retrier: Retrier) -> None:
        """The whole wait, also where AWS would draw a jitter."""
        wait = retrier.interval * retrier.rate ** self._retries[number]
        if retrier.longest is not None:
            wait = min(wait, retrier.longest)
        self._retries[number] += 1

        def again() -> None:
            self._bill()
            self._guarded(partial(self._schedule, state))

        self._wait_until(self.host.clock.now() + timedelta(seconds=wait), again)

    def _catch(self, state: State, catcher: Catcher, error: str, cause: str) -> None:
        told = {"Error": error, "Cause": cause}
        data = self._sized(self._merged(catcher.result_path, told))
        self._note("TaskStateExited", name=state.name, output=written(data))
        self._run(catcher.next, data)


class _TooLong(Exception):
    """The history is full."""


ENTERED: dict[str, Callable[[Execution, State], tuple[str | None, Any] | None]] = {
    "Task": Execution._schedule,
    "Choice": Execution._choice,
    "Wait": Execution._wait,
    "Pass": Execution._pass,
    "Succeed": Execution._end_well,
    "Fail": Execution._end_badly,
}


def _of(state: State) -> dict[str, str]:
    suffix = ".waitForTaskToken" if state.callback else ""
    return {"resourceType": "lambda", "resource": f"invoke{suffix}"}


def _details_of(event: str) -> str:
    """In which field of a HistoryEvent its details are."""
    for common in ("StateEntered", "StateExited"):
        if event.endswith(common):
            return f"s{common[1:]}EventDetails"
    return f"{event[0].lower()}{event[1:]}EventDetails"
