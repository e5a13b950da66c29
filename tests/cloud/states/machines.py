"""The API of Step Functions: state machines, their executions, and the tokens of their tasks.

Source of parameters, answers and errors: Step Functions API Reference, one page for each operation.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from tests.cloud.policy import NotTaught
from tests.cloud.states import language
from tests.cloud.states.execution import MOST_BYTES, Execution, Host, machine_of, read_token
from tests.cloud.states.paths import Malformed
from tests.cloud.wire import Refused

Given = dict[str, Any]
# Source: StartExecution, ``name``: unique for 90 days after the execution is closed.
NAME_KEPT = timedelta(days=90)
SETTINGS = ("loggingConfiguration", "tracingConfiguration", "encryptionConfiguration")
CREATING = {"name", "definition", "roleArn", "type", "tags", *SETTINGS}
UPDATING = {"stateMachineArn", "definition", "roleArn", *SETTINGS}


@dataclass(eq=False, kw_only=True)
class Machine:
    arn: str
    name: str
    account: str
    region: str
    definition: language.Definition
    role: str
    settings: Given
    created: datetime
    updated: datetime
    tags: dict[str, str]
    revision: str | None = None
    status: str = "ACTIVE"
    executions: dict[str, Execution] = field(default_factory=dict)


class StateMachines:
    """All of a cloud's state machines.

    ``transitions``: by the ARN of a machine, how many AWS would have billed so far.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machines: dict[str, Machine] = {}
        self.transitions: Counter[str] = Counter()

    def answer(self, operation: str, given: Given, account: str, region: str) -> Given:
        """What the operation answers.

        Raises:
            Refused: in the service's own words.
            NotTaught: the operation, a parameter or a definition is beyond this cloud.
        """
        taught = self.OPERATIONS.get(operation)
        if taught is None:
            raise NotTaught(f"stepfunctions:{operation}")
        with self._host.lock:
            for machine in list(self._machines.values()):
                self._remove_if_done(machine)
            return taught(self, given, account, region)

    # ------------------------------------------------------------------------ machines

    def _create(self, given: Given, account: str, region: str) -> Given:
        _only(given, CREATING)
        if given.get("type", "STANDARD") != "STANDARD":
            raise NotTaught(f"a state machine of type {given['type']}")
        if not language.is_name(given["name"]):
            raise Refused("InvalidName", f"Invalid Name: '{given['name']}'", 400)
        definition = _definition(given["definition"])
        arn = f"arn:aws:states:{region}:{account}:stateMachine:{given['name']}"
        settings = {name: given[name] for name in SETTINGS if name in given}
        if (known := self._machines.get(arn)) is not None:
            if known.status == "DELETING":
                raise Refused("StateMachineDeleting", f"State Machine is being deleted: '{arn}'")
            # Idempotent by all but role and tags.
            if known.definition.text != given["definition"] or known.settings != settings:
                raise Refused(
                    "StateMachineAlreadyExists", f"State Machine Already Exists: '{arn}'", 400
                )
            return {"stateMachineArn": arn, "creationDate": known.created}
        now = self._host.clock.now()
        self._machines[arn] = Machine(
            arn=arn,
            name=given["name"],
            account=account,
            region=region,
            definition=definition,
            role=_role(given["roleArn"]),
            settings=settings,
            created=now,
            updated=now,
            tags={tag["key"]: tag["value"] for tag in given.get("tags", [])},
        )
        return {"stateMachineArn": arn, "creationDate": now}

    def _update(self, given: Given, *_: str) -> Given:
        """Executions under way go on by the old definition and role."""
        _only(given, UPDATING)
        machine = self._machine(given["stateMachineArn"])
        if len(given) == 1:
            raise Refused("MissingRequiredParameter", "Nothing is to be updated", 400)
        if "definition" in given:
            machine.definition = _definition(given["definition"])
        if "roleArn" in given:
            machine.role = _role(given["roleArn"])
        machine.settings |= {name: given[name] for name in SETTINGS if name in given}
        machine.updated, machine.revision = self._host.clock.now(), str(uuid.uuid4())
        return {"updateDate": machine.updated, "revisionId": machine.revision}

    def _describe(self, given: Given, *_: str) -> Given:
        machine = self._machine(given["stateMachineArn"], deleting=True)
        return {
            "stateMachineArn": machine.arn,
            "name": machine.name,
            "status": machine.status,
            "definition": machine.definition.text,
            "roleArn": machine.role,
            "type": "STANDARD",
            "creationDate": machine.created,
            **({"revisionId": machine.revision} if machine.revision else {}),
            **machine.settings,
        }

    def _list(self, given: Given, account: str, region: str) -> Given:
        found = [
            {
                "stateMachineArn": machine.arn,
                "name": machine.name,
                "type": "STANDARD",
                "creationDate": machine.created,
            }
            for machine in sorted(self._machines.values(), key=lambda one: one.arn)
            if (machine.account, machine.region) == (account, region)
        ]
        return _page("stateMachines", found, given)

    def _delete(self, given: Given, *_: str) -> Given:
        """Executions under way end at their next transition."""
        machine = self._machines.get(_arn(given["stateMachineArn"]))
        if machine is not None:
            machine.status = "DELETING"
            self._remove_if_done(machine)
        return {}

    def _remove_if_done(self, machine: Machine) -> None:
        running = any(one.status == "RUNNING" for one in machine.executions.values())
        if machine.status == "DELETING" and not running:
            del self._machines[machine.arn]

    def _tag(self, given: Given, *_: str) -> Given:
        machine = self._tagged(given)
        machine.tags |= {tag["key"]: tag["value"] for tag in given["tags"]}
        return {}

    def _untag(self, given: Given, *_: str) -> Given:
        machine = self._tagged(given)
        machine.tags = {k: v for k, v in machine.tags.items() if k not in given["tagKeys"]}
        return {}

    def _tags(self, given: Given, *_: str) -> Given:
        tags = self._tagged(given).tags
        return {"tags": [{"key": key, "value": value} for key, value in sorted(tags.items())]}

    def _tagged(self, given: Given) -> Machine:
        machine = self._machines.get(_arn(given["resourceArn"]))
        if machine is None:
            raise Refused("ResourceNotFound", f"Resource not found: '{given['resourceArn']}'", 400)
        return machine

    def _machine(self, arn: str, *, deleting: bool = False) -> Machine:
        machine = self._machines.get(_arn(arn))
        if machine is None:
            raise Refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'", 400)
        if machine.status == "DELETING" and not deleting:
            raise Refused("StateMachineDeleting", f"State Machine is being deleted: '{arn}'", 400)
        return machine

    # ---------------------------------------------------------------------- executions

    def _start(self, given: Given, *_: str) -> Given:
        machine = self._machine(given["stateMachineArn"])
        name = given.get("name") or str(uuid.uuid4())
        if not language.is_name(name):
            raise Refused("InvalidName", f"Invalid Name: '{name}'", 400)
        text = _json(given.get("input", "{}"), "InvalidExecutionInput")
        arn = f"{machine.arn.replace(':stateMachine:', ':execution:')}:{name}"
        if (known := machine.executions.get(arn)) is not None:
            if known.status == "RUNNING" and known.input == text:
                return {"executionArn": arn, "startDate": known.started}
            if known.stopped is None or self._host.clock.now() - known.stopped < NAME_KEPT:
                raise Refused("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'", 400)
        execution = machine.executions[arn] = Execution(
            host=self._host,
            arn=arn,
            name=name,
            machine=machine.arn,
            machine_name=machine.name,
            definition=machine.definition,
            role=machine.role,
            input=text,
            started=self._host.clock.now(),
            count=partial(self.transitions.update, [machine.arn]),
            alive=lambda: machine.status == "ACTIVE",
        )
        self._host.set_going(partial(self._locked, execution.begin, execution))
        return {"executionArn": arn, "startDate": execution.started}

    def _locked(self, action: Callable[[], None], execution: Execution) -> None:
        """Unless it was stopped before it began."""
        with self._host.lock:
            if execution.status == "RUNNING":
                action()

    def _stop(self, given: Given, *_: str) -> Given:
        execution = self._execution(given["executionArn"])
        if execution.status == "RUNNING":
            execution.stop(given.get("error"), given.get("cause"))
        return {"stopDate": execution.stopped}

    def _redrive(self, given: Given, *_: str) -> Given:
        execution = self._execution(given["executionArn"])
        token = given.get("clientToken")
        if token is not None and token == execution.redrive_token:
            return {"redriveDate": execution.redriven}
        if why := execution.not_redrivable():
            raise Refused("ExecutionNotRedrivable", why, 400)
        execution.redrive_token = token
        execution.redrive()
        return {"redriveDate": execution.redriven}

    def _describe_execution(self, given: Given, *_: str) -> Given:
        execution = self._execution(given["executionArn"])
        why = execution.not_redrivable()
        told = {
            **self._summary(execution),
            "input": execution.input,
            "inputDetails": {"included": True},
            "output": execution.output,
            "outputDetails": {"included": True} if execution.output is not None else None,
            "error": execution.error,
            "cause": execution.cause,
            "redriveStatus": "NOT_REDRIVABLE" if why else "REDRIVABLE",
            "redriveStatusReason": why,
        }
        return _present(told)

    @staticmethod
    def _summary(execution: Execution) -> Given:
        return _present(
            {
                "executionArn": execution.arn,
                "stateMachineArn": execution.machine,
                "name": execution.name,
                "status": execution.status,
                "startDate": execution.started,
                "stopDate": execution.stopped,
                "redriveCount": execution.redrives,
                "redriveDate": execution.redriven,
            }
        )

    def _list_executions(self, given: Given, *_: str) -> Given:
        """The latest first."""
        _only(given, {"stateMachineArn", "statusFilter", "maxResults", "nextToken"})
        machine = self._machine(given["stateMachineArn"], deleting=True)
        wanted = given.get("statusFilter")
        found = [
            self._summary(one)
            for one in sorted(machine.executions.values(), key=lambda one: one.started)
            if wanted in (None, one.status)
        ]
        return _page("executions", found[::-1], given)

    def _history(self, given: Given, *_: str) -> Given:
        events = list(self._execution(given["executionArn"]).history)
        if given.get("reverseOrder"):
            events.reverse()
        if given.get("includeExecutionData", True) is False:
            raise NotTaught("GetExecutionHistory without the execution's data")
        return _page("events", events, given)

    def _execution(self, arn: str) -> Execution:
        machine = machine_of(_arn(arn))
        found = self._machines[machine].executions.get(arn) if machine in self._machines else None
        if found is None:
            raise Refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
        return found

    # -------------------------------------------------------------------------- tokens

    def _task(self, given: Given) -> tuple[Execution, int]:
        read = read_token(given["taskToken"])
        if read is None:
            raise Refused("InvalidToken", "Invalid Token: 'Invalid token'", 400)
        arn, turn = read
        machine = self._machines.get(machine_of(arn))
        execution = machine.executions.get(arn) if machine else None
        if execution is None:
            raise Refused("TaskDoesNotExist", "Task Does Not Exist", 400)
        if execution.status != "RUNNING" or execution.turn != turn:
            why = "Task Timed Out: 'Provided task does not exist anymore'"
            raise Refused("TaskTimedOut", why, 400)
        return execution, turn

    def _send_success(self, given: Given, *_: str) -> Given:
        output = json.loads(_json(given["output"], "InvalidOutput"))
        execution, turn = self._task(given)
        execution.succeed(turn, output)
        return {}

    def _send_failure(self, given: Given, *_: str) -> Given:
        execution, turn = self._task(given)
        execution.fail(turn, given.get("error", ""), given.get("cause", ""))
        return {}

    def _send_heartbeat(self, given: Given, *_: str) -> Given:
        """Nothing but the check: no state here has a heartbeat."""
        self._task(given)
        return {}

    OPERATIONS: ClassVar[dict[str, Callable[..., Given]]] = {
        "CreateStateMachine": _create,
        "UpdateStateMachine": _update,
        "DescribeStateMachine": _describe,
        "ListStateMachines": _list,
        "DeleteStateMachine": _delete,
        "TagResource": _tag,
        "UntagResource": _untag,
        "ListTagsForResource": _tags,
        "StartExecution": _start,
        "StopExecution": _stop,
        "RedriveExecution": _redrive,
        "DescribeExecution": _describe_execution,
        "ListExecutions": _list_executions,
        "GetExecutionHistory": _history,
        "SendTaskSuccess": _send_success,
        "SendTaskFailure": _send_failure,
        "SendTaskHeartbeat": _send_heartbeat,
    }


def _only(given: Given, known: set[str]) -> None:
    if beyond := {name for name, value in given.items() if value is not None} - known:
        raise NotTaught(f"{sorted(beyond)} of Step Functions")


def _definition(text: str) -> language.Definition:
    try:
        return language.read(text)
    except Malformed as wrong:
        message = f"Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: {wrong}'"
        raise Refused("InvalidDefinition", message, 400) from wrong


def _role(arn: str) -> str:
    if not re.fullmatch(r"arn:aws:iam::\d{12}:role/.+", arn):
        raise Refused("InvalidArn", f"Invalid Role Arn: '{arn}'", 400)
    return arn


def _arn(text: str) -> str:
    if not text.startswith("arn:aws:states:"):
        raise Refused("InvalidArn", f"Invalid Arn: '{text}'", 400)
    return text


def _json(text: str, code: str) -> str:
    if len(text.encode()) > MOST_BYTES:
        # Not in the page of the operation: the length is checked before anything else is.
        why = "Member must have length less than or equal to 262144"
        raise Refused("ValidationException", why, 400)
    try:
        json.loads(text)
    except ValueError as wrong:
        raise Refused(code, f"Invalid JSON: {wrong}", 400) from wrong
    return text


def _present(given: Given) -> Given:
    return {name: value for name, value in given.items() if value is not None}


def _page(name: str, found: list[Given], given: Given) -> Given:
    start, size = given.get("nextToken"), given.get("maxResults") or 100
    if start is not None and not start.isdigit():
        raise Refused("InvalidToken", "Invalid Token", 400)
    begin = int(start or 0)
    end = begin + size
    return {name: found[begin:end], **({"nextToken": str(end)} if end < len(found) else {})}
