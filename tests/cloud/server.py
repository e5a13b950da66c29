"""The front of the test cloud: reads each request, judges it, answers it or hands it to moto."""

import io
import json
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import time_machine
from flask import Flask
from moto.iam import models as iam_models
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from tests.cloud import (
    accounts,
    buckets,
    ec2,
    events,
    function_urls,
    lambdas,
    notices,
    quotas,
    replicas,
    transactions,
    wire,
)
from tests.cloud.backbone import Backbone, Principal
from tests.cloud.cfn import Stacks
from tests.cloud.clock import Clock
from tests.cloud.commands import Commands
from tests.cloud.ec2.conditions import CommandOutcome, SentCommand
from tests.cloud.ec2.patches import Patches
from tests.cloud.ec2.seed import seed_fleet, seed_network
from tests.cloud.events import Buses
from tests.cloud.faults import (
    KILL,
    AwsError,
    CallFault,
    CallFaults,
    Effect,
    EventFault,
    EventFaults,
)
from tests.cloud.function_urls import FunctionUrls
from tests.cloud.iam import Gate
from tests.cloud.lambdas import Functions
from tests.cloud.queues import Pollers
from tests.cloud.scheduler import Scheduler
from tests.cloud.state_machines import ServedMachines
from tests.cloud.wire import Call, Refused, Reply

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
WORKERS = 8
# A message that is never deleted nor hidden, or two functions that call each other, never settle.
MOST_ROUNDS = 1000


class NeverSettles(RuntimeError):
    """What was set going sets more going without end."""


class Cloud:
    """AWS accounts in one process; ``start`` serves them on loopback."""

    def __init__(self, clock: Clock) -> None:
        self.backbone = Backbone(clock)
        self._gate = Gate(self.backbone)
        self._functions = Functions(self.backbone, self._gate)
        self._urls = FunctionUrls(self.backbone, self._functions, self._gate)
        self._pollers = Pollers(self.backbone, self._functions, self._gate)
        self._buses = Buses(self.backbone, self._gate)
        self._scheduler = Scheduler(self.backbone, self._gate)
        self._machines = ServedMachines(self.backbone, self._gate)
        self._stacks = Stacks(self.backbone)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="settling")
        self._moving = threading.Lock()
        self._moto = DomainDispatcherApplication(_loud)
        self._server: BaseWSGIServer | None = None
        self._patches = Patches()
        known = accounts.reading_keys(iam_models.get_account_id_from)
        self._patches.set(iam_models, "get_account_id_from", known)
        lambdas.install(self._patches)
        function_urls.install(self._patches, self.backbone)
        transactions.install(self._patches)
        replicas.install(self._patches)
        notices.install(self._patches, self.backbone.record.notices.append)
        buckets.install(self._patches)
        events.install(self._patches)
        warnings.filterwarnings("ignore", message=r"Exception\(Refused\)")
        self._faults = CallFaults()
        self._event_faults = EventFaults(clock, self._buses.emit)
        self._conditions = ec2.Conditions()
        self._commands = Commands(clock, self._conditions, self.backbone.lock)
        quotas.install(self._patches, self._conditions)
        self._undo_ec2 = ec2.install(clock, self._event_faults.emit, self._conditions)

    # ---------------------------------------------------------------------- serving

    def start(self, port: int = 0) -> str:
        """Serve on 127.0.0.1; the URL."""
        server = make_server("127.0.0.1", port, self, threaded=True, request_handler=_Handler)
        self._server = server
        self.backbone.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return self.backbone.url

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
        self._workers.shutdown()
        self._functions.close()
        self._undo_ec2()
        self._patches.undo()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = _body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"].startswith("/_cloud/"):
            reply = self._control(environ["PATH_INFO"].removeprefix("/_cloud/"), body)
        elif environ["PATH_INFO"].startswith(function_urls.PREFIX):
            reply = self._by_url(environ)
        else:
            reply = self._answer(environ)
        phrase = HTTPStatus(reply.status).phrase
        start_response(f"{reply.status} {phrase}", list(reply.headers.items()))
        return [reply.body]

    def _by_url(self, environ: Environ) -> Reply:
        try:
            return self._urls.answer(environ)
        except NotImplementedError as lacking:
            print(lacking, file=sys.stderr, flush=True)
            return Reply(501, {"Content-Type": "text/plain"}, str(lacking).encode())

    def _answer(self, environ: Environ) -> Reply:
        try:
            call = wire.read(environ)
        except wire.Unreadable as unreadable:
            return Reply(501, {"Content-Type": "text/plain"}, str(unreadable).encode())
        principal = self.backbone.principal(call.access_key)
        environment = self._functions.caller(call.access_key)
        by = environment.deployed.name if environment is not None else principal.name
        if call.region in self.backbone.dark:
            what = {"by": by, "call": f"{call.service}.{call.operation}", "region": call.region}
            self.backbone.record.unanswered.append(what)
            wire.hang_up(environ)
        effect = self._effect_on(call, by)
        if isinstance(effect, AwsError) and not effect.done:
            return _told(call, effect)
        reply = self._tried(call, principal, environ)
        if isinstance(effect, AwsError):
            return _told(call, effect)
        if effect is not None:
            if effect is KILL and environment is not None:
                environment.kill()
            wire.hang_up(environ)
        return reply

    def _effect_on(self, call: Call, by: str) -> Effect | None:
        with self.backbone.lock:
            self.backbone.record.count(by, f"{call.service}.{call.operation}")
        return self._faults.effect_on(f"{call.service}.{call.operation}", by, call.attempt)

    def _tried(self, call: Call, principal: Principal, environ: Environ) -> Reply:
        try:
            return self._respond(call, principal, environ)
        except Refused as refused:
            return call.error(refused)
        except NotImplementedError as lacking:
            message = f"{call.service}:{call.operation} in the test cloud: {lacking}"
            print(message, file=sys.stderr, flush=True)
            return call.error(Refused("NotImplemented", message, 501))
        except Exception as broken:  # noqa: BLE001 - moto may raise anything; the caller is to see it
            traceback.print_exc()
            message = f"{type(broken).__name__}: {broken}"
            return call.error(Refused("InternalFailure", message, 500))

    def _respond(self, call: Call, principal: Principal, environ: Environ) -> Reply:
        account = principal.account
        self._gate.check(principal, call, account)
        answered = self._by_ourselves(call, account) or self._before_moto(call, account)
        return answered or self._by_moto(call, account, environ)

    def _by_ourselves(self, call: Call, account: str) -> Reply | None:
        match call.service, call.operation:
            case "cloudformation", _:
                return self._stacks.answer(call, account)
            case "stepfunctions", _:
                return self._machines.answer(call, account)
            case "ssm", operation if self._commands.knows(operation):
                told = self._commands.answer(operation, call.parameters, account, call.region)
                return call.answer(told)
            case "lambda", "Invoke":
                return self._functions.invoke(call, account)
            case "events", "PutEvents":
                return self._buses.put_events(call, account)
        return None

    def _before_moto(self, call: Call, account: str) -> Reply | None:
        """Refuse what AWS does and moto does not; an answer, if moto is not to be asked."""
        match call.service, call.operation:
            case "events", "PutRule":
                events.refuse_schedules(call)
            case "events", "PutTargets":
                events.check_targets(call)
            case "scheduler", _:
                return self._scheduler.before(call, account)
            case "lambda", _:
                function_urls.before(call)
                self._pollers.before(call, account)
        return None

    def _by_moto(self, call: Call, account: str, environ: Environ) -> Reply:
        environ["wsgi.input"].seek(0)
        answered: list[tuple[str, list[tuple[str, str]]]] = []
        with self.backbone.lock:
            parts = self._moto(
                environ, lambda status, headers, *_: answered.append((status, headers))
            )
            reply_body = b"".join(parts)
            status, headers = answered[0]
            if status.startswith("2") and call.service == "lambda":
                lambdas.after(call, account)
                function_urls.after(call, account)
            if status.startswith("2") and call.service == "scheduler":
                self._scheduler.after(call, account)
        return Reply(int(status.split()[0]), dict(headers), reply_body)

    # ------------------------------------------------------------------------ control

    def _control(self, path: str, body: bytes) -> Reply:
        given = json.loads(body or b"{}")
        try:
            match path:
                case "state":
                    answer = self.state()
                case "now":
                    answer = {"now": self._now()}
                case "settle":
                    self.settle()
                    answer = {"now": self._now()}
                case "advance":
                    self._advance(given)
                    answer = {"now": self._now()}
                case "conditions":
                    answer = self._set_conditions(given)
                case "fleet" | "network":
                    answer = self._seed(path, given)
                case "faults":
                    self._plan(given, self._faults, CallFault.from_json)
                    answer = {}
                case "events":
                    self._plan(given, self._event_faults, EventFault.from_json)
                    answer = {}
                case _:
                    return Reply(404, {}, b"")
        except Exception:  # noqa: BLE001 - whatever went wrong is for whoever asked to settle
            text = traceback.format_exc()
            print(text, file=sys.stderr, flush=True)
            return Reply(500, {"Content-Type": "text/plain"}, text.encode())
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _advance(self, given: dict[str, Any]) -> None:
        if "to" in given:
            self.advance_to(datetime.fromisoformat(given["to"]))
        else:
            self.advance_to(self.backbone.clock.now() + timedelta(seconds=given["seconds"]))

    def _set_conditions(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change those that are given; all of them, as they are now."""
        conditions = self._conditions
        conditions.throttling = given.get("throttling", conditions.throttling)
        conditions.limits = given.get("limits", conditions.limits)
        if "lag" in given:
            conditions.lag = timedelta(seconds=given["lag"])
        if "dark" in given:
            self.backbone.dark = frozenset(given["dark"])
        if "paced" in given:
            conditions.pace = ec2.AS_ON_AWS if given["paced"] else ec2.Pace()
        for name in ("bad_snapshots", "impaired", "gone_images"):
            if name in given:
                setattr(conditions, name, set(given[name]))
        for name in ("no_capacity", "not_offered"):
            if name in given:
                setattr(conditions, name, {(kind, zone) for kind, zone in given[name]})
        for name, facts in given.get("images", {}).items():
            conditions.images[name] = replace(conditions.image(name), **facts)
        if "commands" in given:
            conditions.commands = _outcomes(given["commands"])
        with self.backbone.lock:
            buckets = conditions.buckets.described(self.backbone.clock.now())
        return {
            "throttling": conditions.throttling,
            "limits": conditions.limits,
            "lag": conditions.lag.total_seconds(),
            "buckets": buckets,
        }

    def _seed(self, what: str, given: dict[str, Any]) -> dict[str, Any]:
        with self.backbone.lock:
            if what == "fleet":
                return {"ids": seed_fleet(**given)}
            return asdict(seed_network(**given))

    @staticmethod
    def _plan(given: dict[str, Any], plan: Any, read: Callable[[dict[str, Any]], Any]) -> None:
        """Add one fault; an empty request clears the plan."""
        if given:
            plan.add(read(given))
        else:
            plan.clear()

    def _now(self) -> str:
        return self.backbone.clock.now().isoformat()

    def state(self) -> dict[str, Any]:
        with self.backbone.lock:
            transitions = self._machines.transitions()
            return {
                "now": self._now(),
                **asdict(self.backbone.record),
                "transitions": transitions,
            }

    def settle(self) -> None:
        """Run what is due and wait until all that it set going is over."""
        with self._moving:
            self._settle()
            self.backbone.clock.run_due(self._settle)

    def advance_to(self, instant: datetime) -> None:
        with self._moving:
            self.backbone.clock.advance_to(instant, self._settle)

    def _settle(self) -> None:
        for _ in range(MOST_ROUNDS):
            self._functions.wait_for_running()
            jobs = [*self.backbone.take_jobs(), *self._pollers.due()]
            if not jobs:
                self._pollers.watch()
                self._scheduler.plan()
                return
            for done in [self._workers.submit(job) for job in jobs]:
                done.result()
        raise NeverSettles(f"still busy after {MOST_ROUNDS} rounds: {jobs}")

    def live(self, every: float) -> None:
        """Settle again and again in real time, until the process ends."""
        while True:
            self.settle()
            time.sleep(every)


class _Handler(MotoRequestHandler):
    # Headers and body in one segment, else each answer waits 40 ms for a delayed acknowledgement.
    wbufsize = -1
    protocol_version = "HTTP/1.1"

    def finish(self) -> None:
        # Who asked may wait no longer, as a function with little patience.
        with suppress(BrokenPipeError, ConnectionResetError):
            super().finish()

    def date_time_string(self, timestamp: float | None = None) -> str:
        # The host's time, as of the CDK CLI: it takes another for a skewed clock, and retries.
        return super().date_time_string(time_machine.escape_hatch.time.time())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _outcomes(given: dict[str, dict[str, Any]]) -> Callable[[SentCommand], CommandOutcome]:
    """By instance, else by document, else that of "*"."""
    known = {name: CommandOutcome.from_json(one) for name, one in given.items()}

    def outcome(sent: SentCommand) -> CommandOutcome:
        names = (sent.instance_id, sent.document, "*")
        return next((known[name] for name in names if name in known), CommandOutcome())

    return outcome


def _told(call: Call, error: AwsError) -> Reply:
    return call.error(Refused(error.code, error.message, error.status))


def _body(environ: Environ) -> bytes:
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        body = environ["wsgi.input"].read()
        environ["CONTENT_LENGTH"] = str(len(body))
        del environ["HTTP_TRANSFER_ENCODING"]
        return bytes(body)
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def _loud(service: Any) -> Flask:
    """A moto app whose exceptions reach us, rather than an HTML page the client."""
    app = create_backend_app(service)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app
