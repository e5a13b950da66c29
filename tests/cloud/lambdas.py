"""Lambda: every way to invoke a function runs the code that was deployed, under its role."""

import base64
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.logs.models import logs_backends
from moto.sqs.models import sqs_backends

from tests.cloud.backbone import Backbone, CannotAssume, Role
from tests.cloud.ec2.patches import Patches
from tests.cloud.environment import Deployed, Environment, Outcome, remove_workspace
from tests.cloud.iam import Gate
from tests.cloud.policy import Need
from tests.cloud.queues import send
from tests.cloud.wire import Call, Refused, Reply

SERVICE = "lambda.amazonaws.com"
# AWS starts as many as the account may have; a machine for tests has two cores.
ENVIRONMENTS_PER_FUNCTION = 3
# One minute before the first retry, two before the second. Source: "How Lambda handles errors and
# retries with asynchronous invocation", which has the default of six hours too.
RETRY_WAITS = (timedelta(minutes=1), timedelta(minutes=2))
THROTTLED_WAIT = timedelta(minutes=1)
MAXIMUM_EVENT_AGE = 6 * 3600
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Asynchronous:
    """An event that waits in Lambda's own queue."""

    deployed: Deployed
    event: bytes
    accepted: datetime
    attempts: int = 0


class Functions:
    def __init__(self, backbone: Backbone, gate: Gate) -> None:
        self._backbone = backbone
        self._gate = gate
        self._idle: dict[str, list[Environment]] = defaultdict(list)
        self._alive: set[Environment] = set()
        self._slots: dict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(ENVIRONMENTS_PER_FUNCTION)
        )
        self._running: dict[str, int] = defaultdict(int)
        self._changed = threading.Condition()

    # ------------------------------------------------------------------ the Invoke API

    def invoke(self, call: Call, account: str) -> Reply:
        given = call.parameters
        deployed = self.find(given["FunctionName"], account, call.region, given.get("Qualifier"))
        event = given.get("Payload") or b"{}"
        match given.get("InvocationType", "RequestResponse"):
            case "DryRun":
                return call.answer({"StatusCode": 204})
            case "Event":
                self.submit(deployed, event)
                return call.answer({"StatusCode": 202})
            case _:
                outcome = self.run(deployed, event)
        result: dict[str, Any] = {
            "StatusCode": 200,
            "ExecutedVersion": deployed.version,
            "Payload": outcome.payload,
        }
        if outcome.error:
            result["FunctionError"] = "Unhandled"
        if given.get("LogType") == "Tail":
            result["LogResult"] = base64.b64encode(outcome.logs.encode()[-4096:]).decode()
        return call.answer(result)

    def find(self, name: str, account: str, region: str, qualifier: str | None = None) -> Deployed:
        """The function as it is now deployed, by its name or ARN.

        Raises:
            Refused: there is none.
        """
        with self._backbone.lock:
            try:
                function = lambda_backends[account][region].get_function(name, qualifier)
            except LambdaClientError as missing:
                raise Refused(
                    "ResourceNotFoundException", f"Function not found: {name}", 404
                ) from missing
            return deployed(function)

    # ---------------------------------------------------------------------- running

    def run(self, function: Deployed, event: bytes) -> Outcome:
        """Run one event to its end and write its log.

        Raises:
            Refused: its role cannot be assumed, or its reserved concurrency is used up.
        """
        self._reserve(function)
        try:
            with self._slots[function.arn]:
                return self._run(function, event)
        finally:
            with self._changed:
                self._running[function.arn] -= 1
                self._changed.notify_all()

    def caller(self, access_key: str) -> Environment | None:
        """The execution environment whose credentials these are; None if nobody's."""
        with self._changed:
            return next((e for e in self._alive if e.access_key == access_key), None)

    def wait_for_running(self) -> None:
        """Return once no invocation is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not any(self._running.values()))

    def _reserve(self, function: Deployed) -> None:
        with self._backbone.lock:
            backend = lambda_backends[function.account][function.region]
            reserved = backend.get_function(function.arn).reserved_concurrency
        with self._changed:
            if reserved is not None and self._running[function.arn] >= int(reserved):
                raise Refused("TooManyRequestsException", "Rate Exceeded.", 429)
            self._running[function.arn] += 1

    def _run(self, function: Deployed, event: bytes) -> Outcome:
        environment = self._environment(function)
        began = self._backbone.clock.now()
        outcome = environment.invoke(event)
        took = self._backbone.clock.now() - began
        self._write_log(function, environment.log_stream, outcome, took)
        with self._changed:
            if environment.dead:
                self._alive.discard(environment)
            else:
                self._idle[function.arn].append(environment)
        if environment.dead:
            environment.close()
        self._backbone.record.invocations.append(
            {
                "function": function.name,
                "account": function.account,
                "region": function.region,
                "time": began.isoformat(),
                "request_id": outcome.request_id,
                "event": event.decode(errors="replace"),
                "error": outcome.error,
                "result": outcome.payload.decode(errors="replace"),
            }
        )
        return outcome

    def _environment(self, function: Deployed) -> Environment:
        try:
            role = self._backbone.assume(function.role, SERVICE, function.arn)
        except CannotAssume as why:
            message = "The role defined for the function cannot be assumed by Lambda."
            raise Refused("AccessDeniedException", message, 403) from why
        with self._changed:
            idle = self._idle[function.arn]
            outdated = [e for e in idle if e.deployed.revision != function.revision]
            self._idle[function.arn] = fit = [e for e in idle if e not in outdated]
            self._alive.difference_update(outdated)
            environment = fit.pop() if fit else None
        for old in outdated:
            old.close()
        if environment is None:
            backbone = self._backbone
            environment = Environment(
                function, backbone.credentials(role), backbone.url, backbone.clock.now
            )
            with self._changed:
                self._alive.add(environment)
        return environment

    def _write_log(
        self, function: Deployed, stream: str, outcome: Outcome, took: timedelta
    ) -> None:
        group = f"arn:aws:logs:{function.region}:{function.account}:log-group:{function.log_group}"
        role = Role(function.role)
        # Without these rights the function still runs, and its log is lost.
        if not (
            self._gate.allows(role, Need("logs:CreateLogStream", f"{group}:*"))
            and self._gate.allows(role, Need("logs:PutLogEvents", f"{group}:log-stream:{stream}"))
        ):
            return
        lines = [
            f"START RequestId: {outcome.request_id} Version: {function.version}",
            *outcome.logs.splitlines(),
            f"END RequestId: {outcome.request_id}",
            f"REPORT RequestId: {outcome.request_id}\tDuration: {took / MILLISECOND:.2f} ms",
        ]
        with self._backbone.lock:
            logs = logs_backends[function.account][function.region]
            if function.log_group not in logs.groups:
                if not self._gate.allows(role, Need("logs:CreateLogGroup", f"{group}:*")):
                    return
                logs.create_log_group(function.log_group, {})
            if stream not in logs.groups[function.log_group].streams:
                logs.create_log_stream(function.log_group, stream)
            now = int(self._backbone.clock.now().timestamp() * 1000)
            events = [{"timestamp": now, "message": line} for line in lines if line]
            logs.put_log_events(function.log_group, stream, events)

    # ------------------------------------------------------------ asynchronous events

    def submit(self, function: Deployed, event: bytes) -> None:
        waiting = Asynchronous(function, event, self._backbone.clock.now())
        self._backbone.set_going(partial(self._attempt, waiting))

    def _attempt(self, waiting: Asynchronous) -> None:
        function = self.find(
            waiting.deployed.arn, waiting.deployed.account, waiting.deployed.region
        )
        try:
            outcome = self.run(function, waiting.event)
        except Refused as refused:
            if refused.code == "TooManyRequestsException":
                self._later(THROTTLED_WAIT, waiting)
                return
            outcome = Outcome.failure("none", refused.code, refused.message)
        config, dead_letter = self._failure_settings(function)
        attempts = waiting.attempts + 1
        if not outcome.error:
            self._to_destination(waiting, outcome, config, "OnSuccess", "Success", attempts)
        elif attempts <= int(config.get("MaximumRetryAttempts", 2)):
            again = Asynchronous(function, waiting.event, waiting.accepted, attempts)
            self._later(RETRY_WAITS[attempts - 1], again)
        else:
            reason = "RetriesExhausted"
            self._to_destination(waiting, outcome, config, "OnFailure", reason, attempts)
            if dead_letter:
                self._to_dead_letter_queue(waiting, outcome, dead_letter)

    def _later(self, wait: timedelta, waiting: Asynchronous) -> None:
        """Try again after ``wait``, unless the event is too old by then."""
        config, dead_letter = self._failure_settings(waiting.deployed)
        due = self._backbone.clock.now() + wait
        age = timedelta(seconds=int(config.get("MaximumEventAgeInSeconds", MAXIMUM_EVENT_AGE)))
        if due - waiting.accepted <= age:
            job = partial(self._attempt, waiting)
            self._backbone.clock.at(due, partial(self._backbone.set_going, job))
            return
        outcome = Outcome.failure("none", "EventAgeExceeded", "the event is too old")
        condition = "EventAgeExceeded"
        self._to_destination(
            waiting, outcome, config, "OnFailure", condition, max(1, waiting.attempts)
        )
        if dead_letter:
            self._to_dead_letter_queue(waiting, outcome, dead_letter)

    def _failure_settings(self, function: Deployed) -> tuple[dict[str, Any], str | None]:
        with self._backbone.lock:
            found = lambda_backends[function.account][function.region].get_function(function.arn)
            # moto appends at each PutFunctionEventInvokeConfig, which on AWS replaces.
            config = found.event_invoke_config[-1].config if found.event_invoke_config else {}
            return dict(config), extras(found).get("DeadLetterConfig", {}).get("TargetArn")

    def _to_destination(
        self,
        waiting: Asynchronous,
        outcome: Outcome,
        config: dict[str, Any],
        kind: str,
        condition: str,
        attempts: int,
    ) -> None:
        """Source of the record: "Capturing records of Lambda asynchronous invocations"."""
        target = config.get("DestinationConfig", {}).get(kind, {}).get("Destination")
        if not target:
            return
        function = waiting.deployed
        context = {"statusCode": 200, "executedVersion": function.version}
        if outcome.error:
            context["functionError"] = "Unhandled"
        now = self._backbone.clock.now()
        record = {
            "version": "1.0",
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": outcome.request_id,
                "functionArn": f"{function.arn}:{function.version}",
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "requestPayload": json.loads(waiting.event),
            "responseContext": context,
            "responsePayload": json.loads(outcome.payload),
        }
        send(self._backbone, Role(function.role), target, json.dumps(record), {}, "destination")

    def _to_dead_letter_queue(self, waiting: Asynchronous, outcome: Outcome, target: str) -> None:
        message = json.loads(outcome.payload).get("errorMessage") or "unknown"
        attributes = {
            "RequestID": outcome.request_id,
            "ErrorCode": "200",
            "ErrorMessage": message[:1024],
        }
        event, role = waiting.event.decode(), Role(waiting.deployed.role)
        send(self._backbone, role, target, event, attributes, "dead letter")

    def close(self) -> None:
        for environment in list(self._alive):
            environment.close()
        remove_workspace()


def extras(function: LambdaFunction) -> dict[str, Any]:
    """Settings that moto takes and forgets."""
    kept: dict[str, Any] = function.__dict__.setdefault("forgotten_by_moto", {})
    return kept


def deployed(function: LambdaFunction) -> Deployed:
    backend = lambda_backends[function.account_id][function.region]
    layers = [backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers]
    kept = extras(function)
    settings = Deployed(
        arn=function.function_arn,
        name=function.function_name,
        version="$LATEST" if str(function.version) in ("$LATEST", "1") else str(function.version),
        account=function.account_id,
        region=function.region,
        revision="",
        code=function.code_bytes,
        layers=tuple(layer.code_bytes for layer in layers if layer),
        handler=str(function.handler),
        runtime=str(function.run_time),
        role=function.role,
        timeout=int(function.timeout),
        memory=int(function.memory_size),
        variables=tuple((k, str(v)) for k, v in sorted(function.environment_vars.items())),
        log_group=kept.get("LoggingConfig", {}).get("LogGroup") or function.logs_group_name,
    )
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()
    return Deployed(**{**settings.__dict__, "revision": digest})


# -------------------------------------------------------- what moto does not do, or does otherwise

REMEMBERED = ("DeadLetterConfig", "LoggingConfig", "KMSKeyArn", "TracingConfig", "Tags")


def after(call: Call, account: str) -> None:
    """Put right what moto did with a call that succeeded."""
    backend = lambda_backends[account][call.region]
    if call.operation in ("CreateFunction", "UpdateFunctionConfiguration"):
        kept = extras(backend.get_function(call.parameters["FunctionName"]))
        kept.update({k: v for k, v in call.parameters.items() if k in REMEMBERED})
    if call.operation in ("CreateEventSourceMapping", "UpdateEventSourceMapping"):
        # moto would call the function from inside SendMessage, with its own stand-in for a handler.
        for queue in sqs_backends[account][call.region].queues.values():
            queue.lambda_event_source_mappings.clear()


def _remembering(stock: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def get_configuration(self: LambdaFunction, on_create: bool = False) -> dict[str, Any]:
        shown = {k: v for k, v in extras(self).items() if k != "Tags"}
        return stock(self, on_create) | shown

    return get_configuration


def _refuse(self: LambdaFunction, event: str | None = None) -> tuple[str, bool, str]:
    raise NotImplementedError(
        f"a way to invoke {self.function_name} that the test cloud does not take over"
    )


def install(patches: Patches) -> None:
    stock = LambdaFunction.get_configuration
    patches.set(LambdaFunction, "get_configuration", _remembering(stock))
    patches.set(LambdaFunction, "_invoke_lambda", _refuse)
