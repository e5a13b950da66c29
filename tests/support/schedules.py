"""Lastgood's schedules, as a person enables, disables and changes them."""

from typing import Any

GROUP = "lastgood"
KEPT = (
    *("GroupName", "Name", "Description", "FlexibleTimeWindow", "Target"),
    *("ScheduleExpression", "ScheduleExpressionTimezone", "State"),
)


def switch(scheduler: Any, name: str, *, on: bool) -> None:
    _update(scheduler, name, State="ENABLED" if on else "DISABLED")


def change(scheduler: Any, name: str, expression: str) -> None:
    """When it fires."""
    _update(scheduler, name, ScheduleExpression=expression)


def _update(scheduler: Any, name: str, **changed: str) -> None:
    """UpdateSchedule puts a default wherever a value is not given, so all are given again."""
    known = scheduler.get_schedule(GroupName=GROUP, Name=name)
    scheduler.update_schedule(**{key: known[key] for key in KEPT} | changed)
