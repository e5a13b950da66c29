"""Lastgood's schedules, as a person enables and disables them."""

from typing import Any

GROUP = "lastgood"
KEPT = (
    *("GroupName", "Name", "Description", "FlexibleTimeWindow", "Target"),
    *("ScheduleExpression", "ScheduleExpressionTimezone"),
)


def switch(scheduler: Any, name: str, *, on: bool) -> None:
    """UpdateSchedule puts a default wherever a value is not given, so all are given again."""
    known = scheduler.get_schedule(GroupName=GROUP, Name=name)
    state = "ENABLED" if on else "DISABLED"
    scheduler.update_schedule(**{key: known[key] for key in KEPT}, State=state)
