"""``ScheduleEndings``: a schedule for each restore that has an end, which fires once."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lastgood.aws.endings import ScheduleEndings
from lastgood.errors import AccessDenied, CallRefused, Throttled, Unavailable
from lastgood.ports import Endings
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud

HOME = "eu-west-1"
GROUP = "lastgood-restores"
MACHINE = f"arn:aws:states:{HOME}:123456789012:stateMachine:lastgood-restore"
ROLE = "arn:aws:iam::123456789012:role/lastgood-RestoreEnding"
LETTERS = f"arn:aws:sqs:{HOME}:123456789012:lastgood-endings"
AT = datetime(2025, 3, 1, 11, 0, tzinfo=UTC)


@pytest.fixture
def scheduler(cloud: InProcessCloud) -> Any:
    client = cloud.client("scheduler", HOME)
    client.create_schedule_group(Name=GROUP)
    return client


@pytest.fixture
def endings(scheduler: Any) -> ScheduleEndings:
    return ScheduleEndings(scheduler, GROUP, MACHINE, ROLE, LETTERS)


def scheduled(scheduler: Any) -> dict[str, str]:
    """When, by the restores."""
    found = scheduler.list_schedules(GroupName=GROUP)["Schedules"]
    return {
        one["Name"]: scheduler.get_schedule(Name=one["Name"], GroupName=GROUP)["ScheduleExpression"]
        for one in found
    }


def test_it_is_what_the_use_cases_need(endings):
    port: Endings = endings

    port.clear("rs-1")


def test_a_restore_is_ended_once_by_the_machine(scheduler, endings):
    endings.set("rs-1", AT)

    found = scheduler.get_schedule(Name="rs-1", GroupName=GROUP)
    assert found["ScheduleExpression"] == "at(2025-03-01T11:00:00)"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert found["ActionAfterCompletion"] == "DELETE"
    target = found["Target"]
    assert (target["Arn"], target["RoleArn"]) == (MACHINE, ROLE)
    assert target["DeadLetterConfig"] == {"Arn": LETTERS}
    assert json.loads(target["Input"]) == {"restore": "rs-1", "entry": "end"}


def test_without_a_queue_for_dead_letters_none_is_named(scheduler):
    ScheduleEndings(scheduler, GROUP, MACHINE, ROLE).set("rs-1", AT)

    found = scheduler.get_schedule(Name="rs-1", GroupName=GROUP)
    assert not found["Target"].get("DeadLetterConfig")


@pytest.mark.parametrize(
    ("at", "minute"),
    [
        (AT, "11:00"),
        (AT + timedelta(microseconds=1), "11:01"),
        (AT + timedelta(seconds=59), "11:01"),
        (datetime(2025, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=1))), "11:30"),
    ],
)
def test_it_is_never_ended_early_and_the_time_is_utc(scheduler, endings, at, minute):
    endings.set("rs-1", at)

    assert scheduled(scheduler) == {"rs-1": f"at(2025-03-01T{minute}:00)"}


def test_a_later_word_takes_back_an_earlier(cloud, scheduler, endings):
    endings.set("rs-1", AT)
    endings.set("rs-1", AT)
    endings.set("rs-1", AT + timedelta(hours=8))

    assert scheduled(scheduler) == {"rs-1": "at(2025-03-01T19:00:00)"}


def test_a_word_whose_answer_was_lost_is_said_again(cloud, scheduler, endings):
    cloud.faults.spoil("scheduler.CreateSchedule", LOST_REPLY)
    with pytest.raises(Unavailable):
        endings.set("rs-1", AT)

    endings.set("rs-1", AT)

    assert scheduled(scheduler) == {"rs-1": "at(2025-03-01T11:00:00)"}


def test_what_is_kept_has_no_end_and_may_be_given_one_again(scheduler, endings):
    endings.set("rs-1", AT)
    endings.set("rs-2", AT)

    endings.clear("rs-1")
    endings.clear("rs-1")

    assert list(scheduled(scheduler)) == ["rs-2"]
    endings.set("rs-1", AT)
    assert set(scheduled(scheduler)) == {"rs-1", "rs-2"}


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("ThrottlingException", status=429), Throttled),
        (aws_error("InternalServerException", status=500), Unavailable),
        (aws_error("AccessDeniedException", status=403), AccessDenied),
        (aws_error("ServiceQuotaExceededException", status=402), CallRefused),
    ],
)
def test_what_scheduler_refuses_has_a_name_of_ours(cloud, endings, effect, error):
    cloud.faults.spoil("scheduler.*", effect, times=2)

    with pytest.raises(error, match=r"^schedule the end of rs-1: "):
        endings.set("rs-1", AT)
    with pytest.raises(error, match=r"^take back the end of rs-1: "):
        endings.clear("rs-1")


def test_a_group_that_is_gone_is_no_success(cloud, endings):
    gone = aws_error("ResourceNotFoundException", status=404)
    cloud.faults.spoil("scheduler.CreateSchedule", gone)

    with pytest.raises(CallRefused, match="Redeploy the stack"):
        endings.set("rs-1", AT)


def test_a_change_that_meets_another_is_tried_again(cloud, endings):
    endings.set("rs-1", AT)
    cloud.faults.spoil("scheduler.UpdateSchedule", aws_error("ConflictException", status=409))

    with pytest.raises(Unavailable) as raised:
        endings.set("rs-1", AT)

    assert not raised.value.effect_unknown
