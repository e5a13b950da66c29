"""EventBridge Scheduler: schedules fire at their slots on the cloud's clock, under their role."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from tests.cloud.backbone import Backbone, CannotAssume, Role, Service, regions_of
from tests.cloud.expressions import Malformed, next_after
from tests.cloud.iam import Gate
from tests.cloud.policy import Need
from tests.cloud.queues import send
from tests.cloud.targets import Undeliverable, delivery, hand_over
from tests.cloud.wire import Call, Refused

SERVICE = "scheduler.amazonaws.com"


class Scheduler:
    def __init__(self, backbone: Backbone, gate: Gate) -> None:
        self._backbone = backbone
        self._gate = gate
        self._planned: dict[str, str] = {}

    def before(self, call: Call) -> None:
        """AWS refuses an expression or a zone that it cannot read; moto takes any."""
        if call.operation not in ("CreateSchedule", "UpdateSchedule"):
            return
        given, now = call.parameters, self._backbone.clock.now()
        zone = given.get("ScheduleExpressionTimezone", "UTC")
        try:
            next_after(given["ScheduleExpression"], zone, now, now)
        except Malformed as wrong:
            raise Refused("ValidationException", f"Invalid Schedule Expression {wrong}.") from wrong
        except KeyError as unknown:
            raise Refused("ValidationException", f"Invalid time zone {zone}") from unknown

    def plan(self) -> None:
        """Put the next slot of every new or changed schedule on the clock; forget the rest."""
        with self._backbone.lock:
            current = {s.arn: (b, s) for b in regions_of(scheduler_backends) for s in _all(b)}
            for arn in set(self._planned) - set(current):
                del self._planned[arn]
            for arn, (backend, schedule) in current.items():
                state = _state(schedule)
                if self._planned.get(arn) != state:
                    self._planned[arn] = state
                    # A rate fires at its start first; any other only after it was made.
                    is_rate = schedule.schedule_expression.startswith("rate(")
                    begins = _start(schedule) if is_rate else _begins(schedule)
                    self._plan_next(backend, schedule, begins - timedelta(microseconds=1))

    def _plan_next(
        self, backend: EventBridgeSchedulerBackend, schedule: Schedule, after: datetime
    ) -> None:
        zone = schedule.schedule_expression_timezone
        slot = next_after(schedule.schedule_expression, zone, after, _start(schedule))
        ended = slot is None or (schedule.end_date and slot > _instant(schedule.end_date))
        if ended and schedule.action_after_completion == "DELETE":
            backend.delete_schedule(schedule.group_name, schedule.name)
        elif slot is not None and not ended and schedule.state == "ENABLED":
            state = self._planned[schedule.arn]
            self._backbone.clock.at(slot, partial(self._due, backend, schedule, state, slot))

    def _due(
        self, backend: EventBridgeSchedulerBackend, schedule: Schedule, state: str, slot: datetime
    ) -> None:
        with self._backbone.lock:
            group = backend.schedule_groups.get(schedule.group_name)
            exists = group is not None and group.schedules.get(schedule.name) is schedule
            # Deleted, or changed since: then the change has put its own slot on the clock.
            if not exists or self._planned.get(schedule.arn) != state or _state(schedule) != state:
                return
            self._fire(schedule, slot)
            self._plan_next(backend, schedule, slot)

    def _fire(self, schedule: Schedule, slot: datetime) -> None:
        target, arn = json.loads(json.dumps(schedule.target)), schedule.arn
        _, _, _, region, account, _ = arn.split(":", 5)
        group = f"arn:aws:scheduler:{region}:{account}:schedule-group/{schedule.group_name}"
        execution = str(uuid.uuid4())
        when = slot.strftime("%Y-%m-%dT%H:%M:%SZ")

        def body(attempt: int) -> str:
            """Source: "Adding context attributes in EventBridge Scheduler"."""
            text = str(target.get("Input") or "{}")
            for name, value in {
                "schedule-arn": arn,
                "scheduled-time": when,
                "execution-id": execution,
                "attempt-number": str(attempt),
            }.items():
                text = text.replace(f"<aws.scheduler.{name}>", value)
            return text

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


def _all(backend: EventBridgeSchedulerBackend) -> list[Schedule]:
    return [s for group in backend.schedule_groups.values() for s in group.schedules.values()]


def _state(schedule: Schedule) -> str:
    return json.dumps(schedule.to_dict(), sort_keys=True, default=str)


def _begins(schedule: Schedule) -> datetime:
    return _instant(schedule.start_date or schedule.last_modified_date)


def _start(schedule: Schedule) -> datetime:
    """Where a rate counts from: slots are whole seconds."""
    return _begins(schedule).replace(microsecond=0)


def _instant(moment: Any) -> datetime:
    if isinstance(moment, datetime):
        return moment.astimezone(UTC)
    return datetime.fromtimestamp(float(moment), UTC)
