"""Schedules of EventBridge Scheduler on the cloud's clock, in whichever cloud they are.

moto keeps them, and fires none. Source: EventBridge Scheduler API Reference and User Guide.
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from tests.cloud.clock import Clock
from tests.cloud.expressions import Malformed, next_after
from tests.cloud.wire import Refused

Given = dict[str, Any]
Fire = Callable[[Schedule, datetime], None]
WRITES = ("CreateSchedule", "UpdateSchedule")


class Slots:
    """``fire`` is called with each schedule at its time, while the clock stands there."""

    def __init__(self, clock: Clock, lock: threading.RLock, fire: Fire) -> None:
        self._clock = clock
        self._lock = lock
        self._fire = fire
        self._planned: dict[str, str] = {}
        self._tokens: dict[str, str | None] = {}

    def before(self, operation: str, given: Given, account: str, region: str) -> Given | None:
        """The answer to a CreateSchedule that comes again, by its ClientToken; None of a new call.

        Raises:
            Refused: of an expression or zone that cannot be read, which moto takes; of a group that
                does not exist, which breaks it; and of a name that is there already, for which
                moto has another status.
        """
        if operation not in WRITES:
            return None
        now, zone = self._clock.now(), given.get("ScheduleExpressionTimezone", "UTC")
        try:
            next_after(given["ScheduleExpression"], zone, now, now)
        except Malformed as wrong:
            raise Refused("ValidationException", f"Invalid Schedule Expression {wrong}.") from wrong
        except KeyError as unknown:
            raise Refused("ValidationException", f"Invalid time zone {zone}") from unknown
        group = given.get("GroupName", "default")
        if group not in scheduler_backends[account][region].schedule_groups:
            message = f"Schedule group {group} does not exist."
            raise Refused("ResourceNotFoundException", message, 404)
        known = _find(given, account, region)
        if operation == "UpdateSchedule" or known is None:
            return None
        token = given.get("ClientToken")
        if token is not None and token == self._tokens.get(known.arn):
            return {"ScheduleArn": known.arn}
        raise Refused("ConflictException", f"Schedule {known.name} already exists.", 409)

    def after(self, operation: str, given: Given, account: str, region: str) -> None:
        """Put right what moto did with a call that succeeded: an update replaces everything, and
        what it does not name gets its default."""
        known = _find(given, account, region) if operation in WRITES else None
        if known is None:
            return
        known.state = given.get("State", "ENABLED")
        known.action_after_completion = given.get("ActionAfterCompletion", "NONE")
        if operation == "CreateSchedule":
            self._tokens[known.arn] = given.get("ClientToken")

    def plan(self) -> None:
        """Put the next slot of every new or changed schedule on the clock; forget the rest."""
        with self._lock:
            backends = [b for one in list(scheduler_backends.values()) for b in list(one.values())]
            current = {s.arn: (b, s) for b in backends for s in _all(b)}
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
            self._clock.at(slot, partial(self._due, backend, schedule, state, slot))

    def _due(
        self, backend: EventBridgeSchedulerBackend, schedule: Schedule, state: str, slot: datetime
    ) -> None:
        with self._lock:
            group = backend.schedule_groups.get(schedule.group_name)
            exists = group is not None and group.schedules.get(schedule.name) is schedule
            # Deleted, or changed since: then the change has put its own slot on the clock.
            if not exists or self._planned.get(schedule.arn) != state or _state(schedule) != state:
                return
            self._fire(schedule, slot)
            self._plan_next(backend, schedule, slot)


def written(slot: datetime) -> str:
    return slot.strftime("%Y-%m-%dT%H:%M:%SZ")


def input_of(schedule: Schedule, slot: datetime, execution: str, attempt: int) -> str:
    """Source: "Adding context attributes in EventBridge Scheduler"."""
    text = str(schedule.target.get("Input") or "{}")
    for name, value in {
        "schedule-arn": schedule.arn,
        "scheduled-time": written(slot),
        "execution-id": execution,
        "attempt-number": str(attempt),
    }.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    return text


def _find(given: Given, account: str, region: str) -> Schedule | None:
    groups = scheduler_backends[account][region].schedule_groups
    group = groups.get(given.get("GroupName", "default"))
    return group.schedules.get(given["Name"]) if group is not None else None


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
