"""Schedules that functions make, change and delete while they run; and rules, in process."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.in_process import InProcessCloud, Invocation
from tests.contract.workbench import ACCOUNT, REGION, Bench

AWAY = "eu-west-1"
FUNCTION = f"arn:aws:lambda:{AWAY}:{ACCOUNT}:function:work"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/scheduler"


def at(moment: datetime) -> str:
    return f"at({moment:%Y-%m-%dT%H:%M:%S})"


class Schedules:
    """Makes schedules with the little that a test says of them."""

    def __init__(self, cloud: InProcessCloud) -> None:
        self.cloud = cloud
        self.client = cloud.client("scheduler", AWAY)

    def put(self, call: str = "create", **given: Any) -> None:
        later = self.cloud.clock.now() + timedelta(hours=1)
        settings: dict[str, Any] = {
            "Name": "s",
            "ScheduleExpression": at(later),
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": FUNCTION, "RoleArn": ROLE, "Input": '{"n": 1}'},
            "ActionAfterCompletion": "DELETE",
        }
        getattr(self.client, f"{call}_schedule")(**settings | given)

    def names(self) -> list[str]:
        return [one["Name"] for one in self.client.list_schedules()["Schedules"]]


@pytest.fixture
def schedules(cloud: InProcessCloud) -> Schedules:
    return Schedules(cloud)


def code(caught: Any) -> tuple[str, int]:
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_schedule_invokes_its_function_once_and_is_deleted(cloud, schedules):
    schedules.put()

    cloud.clock.advance(timedelta(minutes=59))
    assert cloud.invocations == []
    cloud.clock.advance(timedelta(hours=2))

    assert cloud.invocations == [Invocation("work", {"n": 1})]
    assert schedules.names() == []


def test_a_schedule_that_is_not_to_be_deleted_stays(cloud, schedules):
    schedules.put(ActionAfterCompletion="NONE")

    cloud.clock.advance(timedelta(hours=2))

    assert schedules.names() == ["s"]


def test_a_schedule_starts_an_execution_of_a_state_machine(cloud, schedules):
    states = cloud.client("stepfunctions", AWAY)
    definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
    arn = states.create_state_machine(name="m", definition=definition, roleArn=ROLE)[
        "stateMachineArn"
    ]
    given = '{"at": "<aws.scheduler.scheduled-time>"}'
    schedules.put(Target={"Arn": arn, "RoleArn": ROLE, "Input": given})

    cloud.clock.advance(timedelta(hours=1), cloud.settle)

    (one,) = states.list_executions(stateMachineArn=arn)["executions"]
    told = states.describe_execution(executionArn=one["executionArn"])
    assert (told["status"], told["input"]) == ("SUCCEEDED", '{"at": "2025-03-01T04:00:00Z"}')


def test_a_schedule_that_is_changed_fires_at_its_new_time_only(cloud, schedules):
    schedules.put()
    schedules.put("update", ScheduleExpression=at(cloud.clock.now() + timedelta(hours=3)))

    cloud.clock.advance(timedelta(hours=2))
    assert cloud.invocations == []
    cloud.clock.advance(timedelta(hours=2))

    assert len(cloud.invocations) == 1
    assert schedules.names() == []


def test_a_schedule_that_is_deleted_does_not_fire(cloud, schedules):
    schedules.put()
    schedules.client.delete_schedule(Name="s")

    cloud.clock.advance(timedelta(hours=2))

    assert cloud.invocations == []
    with pytest.raises(ClientError) as caught:
        schedules.client.get_schedule(Name="s")
    assert code(caught) == ("ResourceNotFoundException", 404)


def test_a_name_is_taken_once_and_the_same_token_makes_no_second(cloud, schedules):
    schedules.put(ClientToken="one")
    schedules.put(ClientToken="one")

    with pytest.raises(ClientError) as caught:
        schedules.put(ClientToken="two")

    assert code(caught) == ("ConflictException", 409)
    assert schedules.names() == ["s"]


def test_an_expression_that_cannot_be_read_is_refused(schedules):
    with pytest.raises(ClientError) as caught:
        schedules.put(ScheduleExpression="at(tomorrow)")

    assert code(caught) == ("ValidationException", 400)


def test_a_schedule_needs_a_group_that_is_there(schedules):
    with pytest.raises(ClientError) as caught:
        schedules.put(GroupName="mine")
    assert code(caught) == ("ResourceNotFoundException", 404)

    schedules.client.create_schedule_group(Name="mine")
    schedules.put(GroupName="mine")
    assert schedules.client.get_schedule(Name="s", GroupName="mine")["GroupName"] == "mine"


def test_a_rule_in_process_hands_its_event_to_functions_and_state_machines(cloud):
    events, states = cloud.client("events", AWAY), cloud.client("stepfunctions", AWAY)
    definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
    arn = states.create_state_machine(name="m", definition=definition, roleArn=ROLE)[
        "stateMachineArn"
    ]
    events.put_rule(Name="r", EventPattern=json.dumps({"source": ["test"]}))
    targets = [{"Id": "1", "Arn": FUNCTION}, {"Id": "2", "Arn": arn, "RoleArn": ROLE}]
    events.put_targets(Rule="r", Targets=targets)

    for source in ("test", "other"):
        events.put_events(Entries=[{"Source": source, "DetailType": "T", "Detail": '{"n": 1}'}])
    cloud.settle()

    (invocation,) = cloud.invocations
    assert invocation.event["detail"] == {"n": 1}
    assert invocation.event["time"] == "2025-03-01T03:00:00Z"
    assert len(states.list_executions(stateMachineArn=arn)["executions"]) == 1


# -- served -----------------------------------------------------------------------------------


def making(bench: Bench, role: str, function: str) -> dict[str, Any]:
    """An event for the workbench's function: make a schedule."""
    given = {
        "Name": bench.name("made"),
        "ScheduleExpression": at(bench.cloud.now() + timedelta(minutes=5)),
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": function, "RoleArn": role, "Input": '{"n": 1}'},
        "ActionAfterCompletion": "DELETE",
    }
    return {"calls": [("scheduler", "create_schedule", given)]}


def test_a_function_makes_a_schedule_that_fires_under_the_role_it_passed(bench: Bench) -> None:
    called = Bench(bench.cloud)
    function = called.function()
    role = bench.role("scheduler.amazonaws.com", ("lambda:InvokeFunction", function))
    schedule = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{bench.name('made')}"
    passing = {"Condition": {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}}
    maker = bench.function(("scheduler:CreateSchedule", schedule), ("iam:PassRole", role, passing))

    assert bench.invoke(maker, making(bench, role, function)) is None
    bench.cloud.advance(by=timedelta(minutes=6))

    events = [
        one["event"]
        for one in bench.cloud.state()["invocations"]
        if one["function"] == called.name("function")
    ]
    assert events == ['{"n": 1}']


def test_a_function_that_may_not_pass_the_role_cannot_make_the_schedule(bench: Bench) -> None:
    role = bench.role("scheduler.amazonaws.com")
    maker = bench.function(("scheduler:CreateSchedule", "*"))

    failed = bench.invoke(maker, making(bench, role, maker))

    assert "iam:PassRole" in failed["errorMessage"]


def test_scheduler_takes_no_role_that_it_cannot_assume(bench: Bench) -> None:
    role = bench.role("lambda.amazonaws.com")

    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler"):
        bench.schedule({"Arn": bench.queue()[1], "RoleArn": role}, "rate(1 hour)")


def test_an_update_without_a_state_leaves_the_schedule_enabled(bench: Bench) -> None:
    queue = bench.queue()
    role = bench.role("scheduler.amazonaws.com", ("sqs:SendMessage", queue[1]))
    target = {"Arn": queue[1], "RoleArn": role, "Input": "x"}
    later = bench.cloud.now() + timedelta(hours=9)
    bench.schedule(target, at(later), ActionAfterCompletion="DELETE")

    bench.client("scheduler").update_schedule(
        Name=bench.name("schedule"),
        ScheduleExpression=at(bench.cloud.now() + timedelta(minutes=2)),
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    bench.cloud.advance(by=timedelta(minutes=3))

    assert [m["Body"] for m in bench.messages(queue)] == ["x"]
