"""EventBridge Scheduler: schedules fire at their slots on the cloud's clock, under their role."""

import json
import uuid
from datetime import datetime
from functools import partial
from typing import Any

from moto.scheduler.models import Schedule

from tests.cloud.backbone import Backbone, CannotAssume, Role, Service
from tests.cloud.iam import Gate
from tests.cloud.policy import Need
from tests.cloud.queues import send
from tests.cloud.slots import WRITES, Slots, input_of, written
from tests.cloud.targets import Undeliverable, delivery, hand_over
from tests.cloud.wire import Call, Refused, Reply

SERVICE = "scheduler.amazonaws.com"


class Scheduler:
    def __init__(self, backbone: Backbone, gate: Gate) -> None:
        self._backbone = backbone
        self._gate = gate
        self._slots = Slots(backbone.clock, backbone.lock, self._fire)
        self.plan = self._slots.plan

    def before(self, call: Call, account: str) -> Reply | None:
        """The answer, where moto is not to be asked.

        Raises:
            Refused: as AWS does, and moto does not.
        """
        given = call.parameters
        known = self._slots.before(call.operation, given, account, call.region)
        if known is not None:
            return call.answer(known)
        if call.operation in WRITES:
            group = _group(call.region, account, given.get("GroupName", "default"))
            try:
                self._backbone.assume(given["Target"]["RoleArn"], SERVICE, group)
            except CannotAssume as why:
                message = (
                    "The execution role you provide must allow AWS EventBridge Scheduler to assume "
                    "the role."
                )
                raise Refused("ValidationException", message) from why
        return None

    def after(self, call: Call, account: str) -> None:
        self._slots.after(call.operation, call.parameters, account, call.region)

    def _fire(self, schedule: Schedule, slot: datetime) -> None:
        target, arn = json.loads(json.dumps(schedule.target)), schedule.arn
        _, _, _, region, account, _ = arn.split(":", 5)
        group = _group(region, account, schedule.group_name)
        execution = str(uuid.uuid4())
        when, body = written(slot), partial(input_of, schedule, slot, execution)

        def role() -> Role:
            # "Confused deputy prevention": aws:SourceArn is the schedule group.
            return self._backbone.assume(target["RoleArn"], SERVICE, group)

        def attempt(number: int) -> None:
            try:
                hand_over(self._backbone, role(), target, body(number))
            except CannotAssume as why:
                raise Undeliverable("AccessDeniedException", str(why), retryable=False) from why
            self._backbone.record.deliveries.append(
                {"schedule": arn, "slot": when, "target": target["Arn"], "input": body(number)}
            )

        def give_up(failed: Undeliverable, exhausted: str | None, retries: int) -> None:
            """Source of the attributes: "Configuring a schedule's dead-letter queue"."""
            attributes = {
                "ERROR_CODE": failed.code,
                "ERROR_MESSAGE": failed.message,
                "EXECUTION_ID": execution,
                "IS_PAYLOAD_TRUNCATED": "false",
                "RETRY_ATTEMPTS": str(retries),
                "SCHEDULED_TIME": when,
                "SCHEDULE_ARN": arn,
                "TARGET_ARN": target["Arn"],
            }
            if exhausted:
                attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
            queue = (target.get("DeadLetterConfig") or {}).get("Arn")
            if queue:
                what = "unfired schedule"
                sender = self._dead_letter_sender(role, queue, arn)
                send(self._backbone, sender, queue, body(retries + 1), attributes, what)
            else:
                self._backbone.record.lost.append({"what": "schedule", **attributes})

        delivery(self._backbone, target, attempt, give_up).start()

    def _dead_letter_sender(self, role: Any, queue: str, schedule_arn: str) -> Role | Service:
        """The role if it may send; else the service itself, whom the queue's policy may let in."""
        try:
            sender: Role = role()
        except CannotAssume:
            return Service(SERVICE, schedule_arn)
        if self._gate.allows(sender, Need("sqs:SendMessage", queue)):
            return sender
        return Service(SERVICE, schedule_arn)


def _group(region: str, account: str, name: str) -> str:
    return f"arn:aws:scheduler:{region}:{account}:schedule-group/{name}"
