"""EventBridge Scheduler: the end of what has a time to live, as a schedule that fires once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from lastgood.aws.faults import code_of, translated
from lastgood.errors import CallRefused, Unavailable


class ScheduleEndings:
    """``Endings`` in a group of schedules, each with the restore's id for its name.

    ``machine``: the ARN of what is started, by ``role``; ``dead_letters``: of the queue that takes
    what could not be started, if there is one.
    """

    def __init__(
        self, client: Any, group: str, machine: str, role: str, dead_letters: str = ""
    ) -> None:
        self._client = client
        self._group = group
        self._machine = machine
        self._role = role
        self._dead_letters = dead_letters

    def set(self, restore: str, at: datetime) -> None:
        # Without a token of ours: that which botocore makes holds for its own tries, and one that
        # comes twice would let a schedule that was cleared meanwhile pass for made.
        schedule = {
            "Name": restore,
            "GroupName": self._group,
            "ScheduleExpression": f"at({_minute(at):%Y-%m-%dT%H:%M:%S})",
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": self._target(restore),
        }
        what = f"schedule the end of {restore}"
        try:
            with translated("scheduler", what):
                self._client.create_schedule(**schedule)
        except Unavailable as error:
            if code_of(error) != "ConflictException":
                raise
            with translated("scheduler", what):
                self._client.update_schedule(**schedule)

    def clear(self, restore: str) -> None:
        try:
            with translated("scheduler", f"take back the end of {restore}"):
                self._client.delete_schedule(Name=restore, GroupName=self._group)
        except CallRefused as error:
            if code_of(error) != "ResourceNotFoundException":
                raise

    def _target(self, restore: str) -> dict[str, Any]:
        target: dict[str, Any] = {
            "Arn": self._machine,
            "RoleArn": self._role,
            "Input": json.dumps({"restore": restore, "entry": "end"}),
        }
        if self._dead_letters:
            target["DeadLetterConfig"] = {"Arn": self._dead_letters}
        return target


def _minute(at: datetime) -> datetime:
    """The first that is not before ``at``, in UTC: Scheduler goes by minutes."""
    utc = at.astimezone(UTC)
    whole = utc.replace(second=0, microsecond=0)
    return whole if whole == utc else whole + timedelta(minutes=1)
