"""A test cloud inside the test's process: moto, EC2 as AWS is, one clock, faults, a call log."""

import fnmatch
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Final
from xml.sax.saxutils import escape

# Read by boto3 when the first session is made, so set before that; no profile may interfere.
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_SESSION_TOKEN="testing",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_ACCOUNT_ID_ENDPOINT_MODE="disabled",
    # 1,301 snapshots of foreign images a Region otherwise
    MOTO_EC2_LOAD_DEFAULT_AMIS="false",
)
os.environ.pop("AWS_PROFILE", None)
os.environ.pop("AWS_ENDPOINT_URL", None)

# Before any client is made: a client made earlier would go to the real network.
import moto.core  # noqa: F401, I001

import boto3
import botocore.endpoint
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.iam import models as iam_models
from moto.kms import models as kms_models
from moto.events.models import Rule
from moto.moto_api._internal import mock_random
from moto.scheduler.models import Schedule

from tests.cloud import accounts, answers, buckets, ec2, quotas, replicas, transactions
from tests.cloud.clock import Action, Clock
from tests.cloud.commands import Commands
from tests.cloud.ec2.patches import Patches
from tests.cloud.faults import KILL, LOST_REPLY, AwsError, CallFaults, Effect, aws_error
from tests.cloud.events import target_input
from tests.cloud.killed import Killed
from tests.cloud.slots import Slots, input_of
from tests.cloud.states import Host, StateMachines, Task
from tests.cloud.states.invoking import answered, function_failed, lost, refused
from tests.cloud.wire import CREDENTIAL, Refused

# The environment above is enough, and keeping the session keeps its clients' models loaded.
_MOTO_CONFIG: Final[Any] = {
    "core": {
        "mock_credentials": False,
        "reset_boto3_session": False,
        "passthrough": {"urls": [], "services": []},
        "service_whitelist": None,
    },
    "lambda": {"use_docker": False},
}


@dataclass(frozen=True)
class Call:
    """``by``: the function that made it; None if no function did. ``run``: in which run of any
    function, counted from 1."""

    service: str
    operation: str
    region: str
    params: dict[str, Any]
    by: str | None = None
    run: int = 0

    @property
    def name(self) -> str:
        return f"{self.service}.{self.operation}"


class CallLog(list[Call]):
    """Every call of any boto3 client, in order; a call that botocore retries is there once."""

    def of(self, pattern: str) -> list[Call]:
        """The calls whose ``service.Operation`` matches the glob."""
        return [call for call in self if fnmatch.fnmatchcase(call.name, pattern)]


@dataclass(frozen=True)
class Invocation:
    """An asynchronous invocation that somebody asked Lambda for. ``function`` is a name."""

    function: str
    event: Any


class NotModelledCalls(AssertionError):
    """Something was asked of the test cloud that it does not model, and the caller went on."""


@dataclass
class InProcessCloud:
    """``ec2`` holds the conditions: limits, lag, outcomes, images, closed Regions.

    ``attempts`` holds what went out for ``calls``: a call that botocore retries is there each time.
    ``invocations``: what Lambda was asked to invoke; there are no functions in here to do it.
    ``functions``: by name, what state machines may call, and get the answer of. ``before_run``: is
    told of each run of a function, by its name.
    """

    clock: Clock
    ec2: ec2.Conditions
    events: list[dict[str, Any]] = field(default_factory=list)
    invocations: list[Invocation] = field(default_factory=list)
    calls: CallLog = field(default_factory=CallLog)
    attempts: CallLog = field(default_factory=CallLog)
    faults: CallFaults = field(default_factory=CallFaults)
    functions: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    before_run: Callable[[str], None] = lambda _: None
    machines: StateMachines = field(init=False)
    slots: Slots = field(init=False)
    commands: Commands = field(init=False)
    _jobs: list[Action] = field(default_factory=list)
    _running: str | None = None
    _runs: int = 0
    _killed: bool = False

    def __post_init__(self) -> None:
        self.machines = StateMachines(
            Host(clock=self.clock, set_going=self._jobs.append, call=self._call)
        )

        self.commands = Commands(self.clock, self.ec2, threading.RLock())
        self.slots = Slots(self.clock, threading.RLock(), self._fire)

    def _fire(self, schedule: Schedule, slot: datetime) -> None:
        body = input_of(schedule, slot, str(mock_random.uuid4()), 1)
        self.hand_over(schedule.target["Arn"], body)

    def hand_over(self, target: str, body: str) -> None:
        """What a schedule or a rule has for a function or a state machine.

        Raises:
            NotModelledCalls: for any other target.
        """
        _, _, service, region, account, name = target.split(":", 5)
        if service == "lambda":
            self.invocations.append(Invocation(name.rsplit(":", 1)[-1], json.loads(body)))
        elif service == "states":
            given = {"stateMachineArn": target, "input": body}
            self.machines.answer("StartExecution", given, account, region)
        else:
            raise NotModelledCalls(f"a target like {target}")

    def settle(self) -> bool:
        """Do what is set going, until nothing more is; whether there was anything."""
        busy = False
        while self._jobs:
            busy = True
            self._jobs.pop(0)()
        return busy

    def _call(self, task: Task) -> Any:
        """The function of a machine's task, as the machine sees it.

        Raises:
            TaskFailed
        """
        name = task.function.rsplit(":", 1)[-1]
        effect = self.faults.effect_on("lambda.Invoke", task.machine.rsplit(":", 1)[-1], 1)
        if isinstance(effect, AwsError) and not effect.done:
            raise refused(effect.code, effect.message, effect.status)
        if isinstance(effect, Exception):
            raise lost(str(effect))
        if name not in self.functions:
            raise refused("ResourceNotFoundException", f"Function not found: {name}", 404)
        try:
            # As JSON: what the function does with its event is not seen by the machine.
            event = json.loads(json.dumps(task.payload))
            payload = json.loads(json.dumps(self.functions[name](event)))
        except Killed as killed:
            raise function_failed(_told_of("Sandbox.Timedout", "Task timed out")) from killed
        except Exception as error:
            raise function_failed(_told_of(type(error).__name__, str(error))) from error
        if isinstance(effect, AwsError):
            raise refused(effect.code, effect.message, effect.status)
        if effect is not None:
            raise lost("the reply was lost")
        return answered(payload, "request")

    @contextmanager
    def running(self, function: str) -> Iterator[None]:
        """All calls meanwhile, of any thread, are the function's. Once a ``KILL`` struck, none of
        its threads makes another: it dies with Killed."""
        self.before_run(function)
        self._running, self._killed = function, False
        self._runs += 1
        try:
            yield
        finally:
            self._running, self._killed = None, False

    def client(self, service: str, region: str = "us-east-1", account: str | None = None) -> Any:
        """A client that does not retry; the same one for every test of the process.

        ``account``: in which it acts, if not at home.
        """
        return _client(service, region, account)


@cache
def _client(service: str, region: str, account: str | None) -> Any:
    once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    keys = accounts.operator_credentials(account) if account else {}
    return boto3.client(service, region_name=region, config=once, **keys)


@contextmanager
def in_process_cloud(
    start: datetime, conditions: ec2.Conditions | None = None
) -> Iterator[InProcessCloud]:
    """A fresh cloud whose clock stands at ``start`` and moves only when told.

    Raises:
        NotModelledCalls: at the end, if an EC2 call was not modelled; a caller that takes errors
            one by one might have swallowed the refusal. Clear ``ec2.not_modelled`` to allow it.
    """
    with ExitStack() as stack:
        clock = stack.enter_context(Clock(start))
        cloud = InProcessCloud(clock, conditions or ec2.Conditions())
        uninstall = ec2.install(clock, lambda _a, _r, event: cloud.events.append(event), cloud.ec2)
        stack.callback(uninstall)
        patches = Patches()
        stack.callback(patches.undo)
        transactions.install(patches)
        replicas.install(patches)
        answers.install(patches)
        buckets.install(patches)
        quotas.install(patches, cloud.ec2)
        known = accounts.reading_keys(iam_models.get_account_id_from)
        patches.set(iam_models, "get_account_id_from", known)
        _intercept(patches, cloud)
        # The same ids each time: a story can be told again.
        mock_random.seed(0)
        stack.enter_context(mock_aws(config=_MOTO_CONFIG))
        yield cloud
    if cloud.ec2.not_modelled:
        raise NotModelledCalls("; ".join(cloud.ec2.not_modelled))


@dataclass
class _Sent:
    """The call that a thread's client is making: what the request itself no longer tells."""

    call: Call
    protocol: str
    attempt: int = 0


def _intercept(patches: Patches, cloud: InProcessCloud) -> None:
    calling = threading.local()
    lock = threading.RLock()
    api_call = BaseClient._make_api_call
    process, stub = BotocoreStubber.process_request, BotocoreStubber.__call__

    def make_api_call(client: Any, operation: str, params: dict[str, Any]) -> Any:
        if cloud._killed:
            raise Killed
        service = client.meta.service_model
        call = Call(
            service.service_name,
            operation,
            client.meta.region_name,
            params,
            cloud._running,
            cloud._runs,
        )
        cloud.calls.append(call)
        outer = getattr(calling, "sent", None)
        calling.sent = _Sent(call, service.resolved_protocol)
        try:
            return api_call(client, operation, params)
        finally:
            calling.sent = outer

    def process_one_at_a_time(stubber: Any, request: Any) -> Any:
        # moto has no locks
        with lock:
            return process(stubber, request)

    def answer(stubber: Any, event_name: str, request: Any, **kwargs: Any) -> Any:
        sent: _Sent = calling.sent
        sent.attempt += 1
        cloud.attempts.append(sent.call)
        effect = cloud.faults.effect_on(sent.call.name, sent.call.by, sent.attempt)
        if isinstance(effect, Exception):
            raise effect
        if isinstance(effect, AwsError) and not effect.done:
            return _error_response(sent.protocol, effect, request.url)
        by_moto = partial(stub, stubber, event_name, request, **kwargs)
        reply = _replied(cloud, sent, request, by_moto)
        return _told(cloud, sent, effect, reply)

    patches.set(Rule, "send_to_targets", _sending(cloud, Rule.send_to_targets))
    # Between two tries botocore waits for real seconds, which are nobody's here.
    patches.set(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))
    # 0.1 s for each key, though nothing here is signed with it
    patches.set(kms_models, "generate_private_key", _one_key)
    patches.set(BaseClient, "_make_api_call", make_api_call)
    patches.set(BotocoreStubber, "process_request", process_one_at_a_time)
    patches.set(BotocoreStubber, "__call__", answer)


def _sending(cloud: InProcessCloud, stock: Callable[..., None]) -> Callable[..., None]:
    """moto knows neither functions nor state machines as the targets of a rule."""

    def send(rule: Any, event: dict[str, Any], transform_input: bool = True) -> None:
        ours = [t for t in rule.targets if t["Arn"].split(":")[2] in ("lambda", "states")]
        everyone, rule.targets = rule.targets, [t for t in rule.targets if t not in ours]
        try:
            stock(rule, event, transform_input)
        finally:
            rule.targets = everyone
        if not rule.event_pattern.matches_event(event):
            return
        time = datetime.fromtimestamp(float(event["time"]), UTC)
        whole = {**event, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
        for target in ours:
            cloud.hand_over(target["Arn"], target_input(target, whole, rule))

    return send


def _replied(cloud: InProcessCloud, sent: _Sent, request: Any, by_moto: Callable[[], Any]) -> Any:
    call = sent.call
    if call.name == "lambda.Invoke":
        return _taken(cloud, call, request.url)
    if call.service == "stepfunctions":
        return _by(cloud.machines, sent, request)
    if call.service == "ssm" and cloud.commands.knows(call.operation):
        return _by(cloud.commands, sent, request)
    if call.service == "scheduler":
        return _scheduled(cloud, sent, request, by_moto)
    return by_moto()


def _told(cloud: InProcessCloud, sent: _Sent, effect: Effect | None, reply: Any) -> Any:
    """What the caller learns of a call that had its effect."""
    if isinstance(effect, AwsError):
        return _error_response(sent.protocol, effect, reply.url)
    if effect is LOST_REPLY:
        raise ReadTimeoutError(endpoint_url=reply.url)
    if effect is KILL:
        cloud._killed = True
        raise Killed
    return reply


_one_key = cache(kms_models.generate_private_key)


def _taken(cloud: InProcessCloud, call: Call, url: str) -> AWSResponse:
    """Lambda takes an asynchronous invocation for later. Source: Lambda API, "Invoke"."""
    if call.params.get("InvocationType") != "Event":
        raise NotModelledCalls("lambda.Invoke that waits for its answer")
    name = call.params["FunctionName"].rsplit(":", 1)[-1]
    cloud.invocations.append(Invocation(name, json.loads(call.params["Payload"])))
    return AWSResponse(url, 202, {}, _Body(b""))


def _told_of(kind: str, message: str) -> dict[str, str]:
    """Source: Lambda Developer Guide, "Python function errors"."""
    return {"errorMessage": message, "errorType": kind}


def _by(part: StateMachines | Commands, sent: _Sent, request: Any) -> AWSResponse:
    """Answered by a part of the cloud that is no moto."""
    call = sent.call
    try:
        result = part.answer(call.operation, call.params, _account(request), call.region)
    except Refused as why:
        return _refusal(why, sent, request)
    return _answer(result, request)


def _scheduled(cloud: InProcessCloud, sent: _Sent, request: Any, by_moto: Callable[[], Any]) -> Any:
    """moto keeps the schedule; it goes on the clock at once."""
    call = (sent.call.operation, sent.call.params, _account(request), sent.call.region)
    try:
        known = cloud.slots.before(*call)
    except Refused as why:
        return _refusal(why, sent, request)
    if known is not None:
        return _answer(known, request)
    reply = by_moto()
    if reply.status_code < 300:
        cloud.slots.after(*call)
        cloud.slots.plan()
    return reply


def _account(request: Any) -> str:
    signed = CREDENTIAL.search(str(request.headers.get("Authorization")))
    return (signed and accounts.operated_by(signed["key"])) or accounts.HOME


def _refusal(why: Refused, sent: _Sent, request: Any) -> AWSResponse:
    error = aws_error(why.code, why.message, status=why.status or 400)
    return _error_response(sent.protocol, error, request.url)


def _answer(result: dict[str, Any], request: Any) -> AWSResponse:
    # In JSON a timestamp is a number of seconds.
    body = json.dumps(result, default=datetime.timestamp).encode()
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, 200, headers, _Body(body))


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _error_response(protocol: str, error: AwsError, url: str) -> AWSResponse:
    headers, body = _ERROR_FORMATS[protocol](error)
    return AWSResponse(url, error.status, headers, _Body(body.encode()))


def _xml(error: AwsError) -> str:
    return f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"


def _ec2_error(error: AwsError) -> tuple[dict[str, str], str]:
    body = f"<Response><Errors><Error>{_xml(error)}</Error></Errors></Response>"
    return {"Content-Type": "text/xml"}, body


def _query_error(error: AwsError) -> tuple[dict[str, str], str]:
    body = f"<ErrorResponse><Error><Type>Sender</Type>{_xml(error)}</Error></ErrorResponse>"
    return {"Content-Type": "text/xml"}, body


def _s3_error(error: AwsError) -> tuple[dict[str, str], str]:
    return {"Content-Type": "application/xml"}, f"<Error>{_xml(error)}</Error>"


def _json_error(error: AwsError) -> tuple[dict[str, str], str]:
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-ErrorType": error.code}
    return headers, json.dumps({"__type": error.code, "message": error.message})


# An unknown protocol is a KeyError: better than an error that botocore reads as something else.
_ERROR_FORMATS: Final[dict[str, Callable[[AwsError], tuple[dict[str, str], str]]]] = {
    "ec2": _ec2_error,
    "query": _query_error,
    "json": _json_error,
    "rest-json": _json_error,
    "rest-xml": _s3_error,
}
