"""EventBridge: events reach the targets of the rules that match them, if permissions let them."""

import copy
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from moto.events.models import EventBus, Rule, events_backends

from tests.cloud.backbone import Backbone, CannotAssume, Principal, Role, Service
from tests.cloud.ec2.patches import Patches
from tests.cloud.iam import Gate
from tests.cloud.policy import Need, NotTaught, owner_of
from tests.cloud.queues import send
from tests.cloud.targets import Undeliverable, delivery, hand_over, lit
from tests.cloud.wire import Call, Refused, Reply

SERVICE = "events.amazonaws.com"
Event = dict[str, Any]
MAXIMUM_REQUEST_BYTES = 256 * 1024
VARIABLE = re.compile(r"<([\w.:-]+)>")
STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]")
# The codes of the dead-letter queue, by the code of the target's service. Source: "Using
# dead-letter queues to process undelivered events in EventBridge", which calls its list a sample.
DEAD_LETTER_CODES = {
    "ResourceNotFoundException": "NO_RESOURCE",
    "AWS.SimpleQueueService.NonExistentQueue": "NO_RESOURCE",
    "QueueDoesNotExist": "NO_RESOURCE",
    "NotFound": "NO_RESOURCE",
    "AccessDenied": "NO_PERMISSIONS",
    "AccessDeniedException": "NO_PERMISSIONS",
    "AuthorizationError": "NO_PERMISSIONS",
    "AuthorizationErrorException": "NO_PERMISSIONS",
    "TooManyRequestsException": "THROTTLING",
}


def install(patches: Patches) -> None:
    """moto lets a principal have but one statement in the policy of a bus."""
    patches.set(EventBus, "_remove_principals_statements", lambda *_: None)


class Buses:
    def __init__(self, backbone: Backbone, gate: Gate) -> None:
        self._backbone = backbone
        self._gate = gate

    # -------------------------------------------------------------------- PutEvents

    def put_events(self, call: Call, account: str) -> Reply:
        """Source of the answers: API reference of PutEvents, and its "Handling failures" page."""
        entries = call.parameters["Entries"]
        if len(entries) > 10:
            raise Refused("ValidationException", "Member must have length less than or equal to 10")
        if sum(map(_size, entries)) > MAXIMUM_REQUEST_BYTES:
            message = "Total size of the entries in the request is over the limit."
            raise Refused("ValidationException", message)
        results = [self._put(entry, account, call.region) for entry in entries]
        failed = sum("ErrorCode" in result for result in results)
        return call.answer({"FailedEntryCount": failed, "Entries": results})

    def _put(self, entry: dict[str, Any], account: str, region: str) -> dict[str, str]:
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                why = f"Parameter {name} is not valid. Reason: {name} is a required argument."
                return {"ErrorCode": "InvalidArgument", "ErrorMessage": why}
        if entry["Source"].startswith("aws."):
            return {
                "ErrorCode": "NotAuthorizedForSourceException",
                "ErrorMessage": "Not authorized for the source.",
            }
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": account,
            "time": _iso(entry.get("Time") or self._backbone.clock.now()),
            "region": region,
            "resources": entry.get("Resources", []),
            "detail": detail,
        }
        bus = entry.get("EventBusName", "default")
        self.publish(owner_of(bus) or account, region, event, bus)
        return {"EventId": event["id"]}

    def emit(self, account: str, region: str, event: Event) -> None:
        """An event of an AWS service, on the default bus of the account and Region."""
        self.publish(account, region, event, "default")

    def publish(self, account: str, region: str, event: Event, bus_name: str) -> None:
        with self._backbone.lock:
            bus = self._bus(account, region, bus_name)
            for rule in bus.rules.values():
                if rule.state == "ENABLED" and _matches(rule, event):
                    for target in rule.targets:
                        self._deliver(rule, copy.deepcopy(target), event)

    @staticmethod
    def _bus(account: str, region: str, name: str) -> EventBus:
        buses = events_backends[account][region].event_buses
        found = buses.get(name.rsplit("/", 1)[-1])
        if found is None:
            raise NotTaught(f"what EventBridge answers when there is no event bus {name}")
        return found

    # --------------------------------------------------------------------- delivery

    def _deliver(self, rule: Rule, target: dict[str, Any], event: Event) -> None:
        body = target_input(target, event, rule)

        def attempt(_: int) -> None:
            principal = self._principal(rule, target)
            if ":event-bus/" in target["Arn"]:
                self._forward(principal, target["Arn"], event)
            else:
                hand_over(self._backbone, principal, target, body)
            self._backbone.record.deliveries.append(
                {"rule": rule.arn, "target": target["Arn"], "input": body, "id": event["id"]}
            )

        def give_up(failed: Undeliverable, exhausted: str | None, retries: int) -> None:
            attributes = {
                "RULE_ARN": rule.arn,
                "TARGET_ARN": target["Arn"],
                "ERROR_CODE": DEAD_LETTER_CODES.get(failed.code, failed.code),
                "ERROR_MESSAGE": failed.message,
                "RETRY_ATTEMPTS": str(retries),
            }
            if exhausted:
                attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
            queue = (target.get("DeadLetterConfig") or {}).get("Arn")
            if queue:
                sender = Service(SERVICE, rule.arn)
                what = "undelivered event"
                send(self._backbone, sender, queue, json.dumps(event), attributes, what)
            else:
                self._backbone.record.lost.append({"what": "event", **attributes})

        delivery(self._backbone, target, attempt, give_up).start()

    def _principal(self, rule: Rule, target: dict[str, Any]) -> Principal:
        if "RoleArn" not in target:
            return Service(SERVICE, rule.arn)
        try:
            return self._backbone.assume(target["RoleArn"], SERVICE, rule.arn)
        except CannotAssume as why:
            raise Undeliverable("FAILED_TO_ASSUME_ROLE", str(why), retryable=False) from why

    def _forward(self, principal: Principal, bus_arn: str, event: Event) -> None:
        """The event reaches the other bus as it is; PutEvents only names the permission."""
        if not isinstance(principal, Role):
            message = f"an event bus as a target needs a role: {bus_arn}"
            raise Undeliverable("NO_PERMISSIONS", message, retryable=False)
        about = {"events:source": event["source"], "events:detail-type": event["detail-type"]}
        # In another account, the bus's own policy is asked as well.
        if not self._gate.allows(principal, Need("events:PutEvents", bus_arn, about)):
            message = f"{principal.arn} may not put events to {bus_arn}"
            raise Undeliverable("NO_PERMISSIONS", message, retryable=False)
        _, _, _, region, account, name = bus_arn.split(":", 5)
        lit(self._backbone, region)
        self.publish(account, region, event, name)


def _matches(rule: Rule, event: Any) -> bool:
    return bool(rule.event_pattern.matches_event(event))


def refuse_schedules(call: Call) -> None:
    """Scheduled rules are the forerunner of EventBridge Scheduler; nothing here fires them."""
    if call.parameters.get("ScheduleExpression"):
        raise NotTaught("a rule with a schedule (use EventBridge Scheduler)")


def check_targets(call: Call) -> None:
    """Source: API reference of PutTargets, "RoleArn": a state machine is started by a role."""
    for target in call.parameters["Targets"]:
        if ":states:" in target["Arn"] and "RoleArn" not in target:
            message = f"RoleArn is required for target {target['Arn']}."
            raise Refused("ValidationException", message, 400)


def _size(entry: dict[str, Any]) -> int:
    """Source: "Calculating Amazon EventBridge PutEvents event entry size"."""
    texts = [*(entry.get(name, "") for name in ("Source", "DetailType", "Detail"))]
    texts += entry.get("Resources", [])
    return sum(len(t.encode()) for t in texts) + (14 if entry.get("Time") else 0)


def _iso(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


# -------------------------------------------------------------------------- target input


def target_input(target: dict[str, Any], event: Event, rule: Rule) -> str:
    """Source: "EventBridge input transformation" of the EventBridge User Guide."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return json.dumps(_at(event, target["InputPath"]))
    if transformer := target.get("InputTransformer"):
        values = {n: _at(event, p) for n, p in transformer.get("InputPathsMap", {}).items()}
        values |= {
            "aws.events.rule-arn": rule.arn,
            "aws.events.rule-name": rule.name,
            "aws.events.event.json": event,
            "aws.events.event": {k: v for k, v in event.items() if k != "detail"},
        }
        return _filled(transformer["InputTemplate"], values.__getitem__)
    return json.dumps(event)


def _at(event: Event, path: str) -> Any:
    value: Any = event
    steps = path.removeprefix("$")
    if "".join(m.group(0) for m in STEP.finditer(steps)) != steps:
        raise NotTaught(f"JSON path {path}")
    for step in STEP.finditer(steps):
        name, index = step.groups()
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _filled(template: str, value_of: Callable[[str], Any]) -> str:
    """A variable between quotes gives its text; elsewhere its JSON."""

    def text(found: re.Match[str]) -> str:
        quoted = template[: found.start()].count('"') % 2 == 1
        value = value_of(found[1])
        if not quoted:
            return json.dumps(value)
        if isinstance(value, dict | list):
            raise NotTaught(f"<{found[1]}> is not a text and stands between quotes")
        return json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)

    return VARIABLE.sub(text, template)
