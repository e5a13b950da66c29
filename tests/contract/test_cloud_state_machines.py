"""Step Functions in the test cloud: states, errors, time, limits, redrive, tokens."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.cloud.killed import Killed
from tests.cloud.policy import NotTaught
from tests.cloud.states.execution import token_of
from tests.support.world import SLOT, a_world

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/machine"
INVOKE = "arn:aws:states:::lambda:invoke"
CALLBACK = f"{INVOKE}.waitForTaskToken"
END = {"Type": "Succeed"}


class Machine:
    """One state machine, and what its executions did."""

    def __init__(self, cloud: InProcessCloud) -> None:
        self.cloud = cloud
        self.states = cloud.client("stepfunctions", REGION)
        self.arn = ""

    def made(self, states: dict[str, Any], **more: Any) -> "Machine":
        definition = json.dumps({"StartAt": next(iter(states)), "States": states, **more})
        made = self.states.create_state_machine(name="m", definition=definition, roleArn=ROLE)
        self.arn = made["stateMachineArn"]
        return self

    def start(self, given: Any = None, name: str = "one") -> str:
        started = self.states.start_execution(
            stateMachineArn=self.arn, name=name, input=json.dumps(given or {})
        )
        self.cloud.settle()
        return str(started["executionArn"])

    def run(self, given: Any = None) -> dict[str, Any]:
        """A whole execution, for as long as it takes."""
        arn = self.start(given)
        self.cloud.clock.advance(timedelta(days=2), self.cloud.settle)
        return self.of(arn)

    def of(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.states.describe_execution(executionArn=arn)
        return found

    def events(self, arn: str) -> list[dict[str, Any]]:
        pages = self.states.get_paginator("get_execution_history").paginate(executionArn=arn)
        return [event for page in pages for event in page["events"]]

    def story(self, arn: str) -> list[str]:
        return [event["type"] for event in self.events(arn)]


@pytest.fixture
def machine(cloud: InProcessCloud) -> Machine:
    return Machine(cloud)


def task(payload: Any = None, **more: Any) -> dict[str, Any]:
    parameters = {"FunctionName": "work", "Payload": {} if payload is None else payload}
    end = {} if "Next" in more else {"End": True}
    return {"Type": "Task", "Resource": INVOKE, "Parameters": parameters, **end, **more}


def output(told: dict[str, Any]) -> Any:
    assert told["status"] == "SUCCEEDED", told
    return json.loads(told["output"])


def failing(*errors: BaseException) -> Callable[[Any], Any]:
    """Raises each in turn; then answers ``done``."""
    left = list(errors)

    def work(event: Any) -> Any:
        if left:
            raise left.pop(0)
        return "done"

    return work


def refused(machine: Machine, states: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ClientError) as caught:
        machine.made(states, **more)
    assert caught.value.response["Error"]["Code"] == "InvalidDefinition"
    return str(caught.value.response["Error"]["Message"])


class NotReady(Exception):
    """An error of a function."""


# -- data -------------------------------------------------------------------------------------


def test_a_task_gets_its_parameters_and_its_result_goes_where_resultpath_says(cloud, machine):
    got = []
    cloud.functions["work"] = lambda event: got.append(event) or {"count": 3, "rest": "x"}
    payload = {"id.$": "$.id", "name.$": "$$.Execution.Name", "at.$": "$$.State.EnteredTime"}
    step = task(
        payload,
        InputPath="$.order",
        ResultSelector={"count.$": "$.Payload.count"},
        ResultPath="$.done.work",
        OutputPath="$.done",
    )

    told = machine.made({"Do": step}).run({"order": {"id": 7}, "done": {"before": True}})

    assert output(told) == {"before": True, "work": {"count": 3}}
    assert got == [{"id": 7, "name": "one", "at": "2025-03-01T03:00:00.000Z"}]


def test_a_result_without_selector_is_all_that_lambda_answers(cloud, machine):
    cloud.functions["work"] = lambda event: "x"

    told = machine.made({"Do": task()}).run()

    assert output(told)["Payload"] == "x"
    assert output(told)["StatusCode"] == 200


def test_a_resultpath_of_null_drops_the_result_and_keeps_the_input(cloud, machine):
    cloud.functions["work"] = lambda event: "x"

    assert output(machine.made({"Do": task(ResultPath=None)}).run({"a": 1})) == {"a": 1}


def test_intrinsic_functions_format_and_convert(machine):
    parameters = {
        "text.$": "States.Format('{} has {} of \\'{}\\' \\{\\}', $.who, $.n, $.list[1])",
        "own.$": "States.Format('{}', 'it\\'s')",
        "json.$": "States.JsonToString($.list)",
        "value.$": "States.StringToJson(States.Format('[{}]', $.n))",
        "as it is": ["x", {"deep.$": "$.n"}],
    }

    told = machine.made({"P": {"Type": "Pass", "Parameters": parameters, "End": True}}).run(
        {"who": "Ada", "n": 2, "list": [1, "two"]}
    )

    assert output(told) == {
        "text": "Ada has 2 of 'two' {}",
        "own": "it's",
        "json": '[1,"two"]',
        "value": [2],
        "as it is": ["x", {"deep": 2}],
    }


def test_a_path_that_is_not_there_ends_the_execution_and_no_catch_takes_it(machine):
    caught = [{"ErrorEquals": ["States.ALL"], "Next": "End"}]
    step = task({"x.$": "$.missing"}, Next="End", Catch=caught)

    told = machine.made({"Do": step, "End": END}).run()

    assert (told["status"], told["error"]) == ("FAILED", "States.Runtime")
    assert "$.missing" in told["cause"]


@pytest.mark.parametrize(
    ("rule", "given", "holds"),
    [
        ({"Variable": "$.a", "StringEquals": "x"}, {"a": "x"}, True),
        ({"Variable": "$.a", "StringEquals": "x"}, {"a": 1}, False),
        ({"Variable": "$.a", "StringEqualsPath": "$.b"}, {"a": "x", "b": "x"}, True),
        ({"Variable": "$.a", "BooleanEquals": True}, {"a": True}, True),
        ({"Variable": "$.a", "NumericGreaterThanEquals": 2}, {"a": 2}, True),
        ({"Variable": "$.a", "NumericLessThan": 2}, {"a": True}, False),
        ({"Variable": "$.a", "IsPresent": False}, {}, True),
        ({"Variable": "$.a", "IsNull": True}, {"a": None}, True),
        ({"Variable": "$.a", "IsString": True}, {"a": 1}, False),
        (
            {"Variable": "$.a", "TimestampLessThanPath": "$.b"},
            {"a": "2025-03-01T00:00:00Z", "b": "2025-03-01T02:00:00+01:00"},
            True,
        ),
        ({"Not": {"Variable": "$.a", "IsNull": True}}, {"a": 1}, True),
        ({"Or": [{"Variable": "$.a", "IsNull": True}, {"Variable": "$.a", "IsString": True}]},
         {"a": "x"}, True),
        (
            {"And": [{"Variable": "$.a", "IsPresent": True}, {"Variable": "$.a", "IsNull": False}]},
            {},
            False,
        ),
    ],
)  # fmt: skip
def test_a_choice_compares(machine, rule, given, holds):
    states = {
        "C": {"Type": "Choice", "Choices": [{**rule, "Next": "Yes"}], "Default": "No"},
        "Yes": {"Type": "Pass", "Result": True, "End": True},
        "No": {"Type": "Pass", "Result": False, "End": True},
    }

    assert output(machine.made(states).run(given)) is holds


def test_a_choice_without_default_fails_where_nothing_holds(machine):
    rule = {"Variable": "$.a", "IsPresent": True, "Next": "End"}

    told = machine.made({"C": {"Type": "Choice", "Choices": [rule]}, "End": END}).run()

    assert told["error"] == "States.NoChoiceMatched"


# -- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        ({"Seconds": 90}, timedelta(seconds=90)),
        ({"SecondsPath": "$.s"}, timedelta(seconds=120)),
        ({"Timestamp": "2025-03-01T04:00:00Z"}, timedelta(hours=1)),
        ({"TimestampPath": "$.t"}, timedelta(hours=2)),
        ({"Timestamp": "2020-01-01T00:00:00Z"}, timedelta(0)),
    ],
)
def test_a_wait_ends_on_the_clock_of_the_cloud(machine, wait, until):
    machine.made({"W": {"Type": "Wait", **wait, "End": True}})

    told = machine.run({"s": 120, "t": "2025-03-01T05:00:00Z"})

    assert told["stopDate"] - told["startDate"] == until


def test_a_person_can_read_the_story(cloud, machine):
    cloud.functions["work"] = lambda event: "x"
    machine.made({"Do": task(Next="W"), "W": {"Type": "Wait", "Seconds": 60, "End": True}})

    arn = machine.run()["executionArn"]

    assert machine.story(arn) == [
        *("ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted"),
        *("TaskSucceeded", "TaskStateExited", "WaitStateEntered", "WaitStateExited"),
        "ExecutionSucceeded",
    ]
    entered, left = machine.events(arn)[6:8]
    assert entered["stateEnteredEventDetails"]["name"] == "W"
    assert left["timestamp"] - entered["timestamp"] == timedelta(minutes=1)


def test_a_history_comes_in_pages_either_way(cloud, machine):
    arn = machine.made({"P": {"Type": "Pass", "End": True}}).start()

    page = machine.states.get_execution_history(executionArn=arn, maxResults=3)
    rest = machine.states.get_execution_history(
        executionArn=arn, maxResults=3, nextToken=page["nextToken"]
    )

    assert [event["id"] for event in page["events"] + rest["events"]] == [1, 2, 3, 4]
    back = machine.states.get_execution_history(executionArn=arn, reverseOrder=True)
    assert [event["id"] for event in back["events"]] == [4, 3, 2, 1]


# -- errors -----------------------------------------------------------------------------------


def test_an_error_bears_the_name_of_its_class_and_the_cause_is_its_json(cloud, machine):
    cloud.functions["work"] = failing(NotReady("not yet"))
    caught = [{"ErrorEquals": ["NotReady"], "ResultPath": "$.error", "Next": "End"}]

    told = machine.made({"Do": task(Next="End", Catch=caught), "End": END}).run({"id": 7})

    assert output(told)["id"] == 7
    assert output(told)["error"]["Error"] == "NotReady"
    assert json.loads(output(told)["error"]["Cause"])["errorMessage"] == "not yet"


def test_a_retry_waits_longer_each_time_up_to_its_maximum(cloud, machine):
    cloud.functions["work"] = failing(*[NotReady()] * 4)
    retry = {"ErrorEquals": ["NotReady"], "IntervalSeconds": 10, "BackoffRate": 2.0}
    retry |= {"MaxAttempts": 4, "MaxDelaySeconds": 30, "JitterStrategy": "FULL"}

    told = machine.made({"Do": task(Retry=[retry])}).run()

    assert told["status"] == "SUCCEEDED"
    assert told["stopDate"] - told["startDate"] == timedelta(seconds=10 + 20 + 30 + 30)


def test_attempts_that_are_used_up_go_to_the_catch(cloud, machine):
    cloud.functions["work"] = failing(*[NotReady()] * 3)
    retry = [{"ErrorEquals": ["NotReady"], "MaxAttempts": 2}]
    caught = [{"ErrorEquals": ["States.ALL"], "Next": "End"}]

    told = machine.made({"Do": task(Retry=retry, Catch=caught, Next="End"), "End": END}).run()

    assert output(told)["Error"] == "NotReady"


@pytest.mark.parametrize(
    ("effect", "name"),
    [
        (aws_error("TooManyRequestsException", status=429), "Lambda.TooManyRequestsException"),
        (aws_error("ServiceException", status=500), "Lambda.ServiceException"),
        (aws_error("AccessDeniedException", status=403), "Lambda.AWSLambdaException"),
        (LOST_REPLY, "Lambda.SdkClientException"),
    ],
    ids=["throttled", "internal", "denied", "lost"],
)
def test_what_lambda_refuses_has_a_name_of_lambda(cloud, machine, effect, name):
    cloud.functions["work"] = lambda event: "x"
    cloud.faults.spoil("lambda.Invoke", effect, by="m")

    assert machine.made({"Do": task()}).run()["error"] == name


def test_a_function_that_dies_has_timed_out_and_one_that_is_gone_is_not_found(cloud, machine):
    cloud.functions["work"] = failing(Killed())
    machine.made({"Do": task()})

    assert machine.of(machine.start())["error"] == "Sandbox.Timedout"
    cloud.functions.clear()
    told = machine.of(machine.start(name="two"))
    assert told["error"] == "Lambda.ResourceNotFoundException"


def test_taskfailed_takes_every_error_but_a_timeout(cloud, machine):
    caught = [
        {"ErrorEquals": ["States.TaskFailed"], "Next": "Failed"},
        {"ErrorEquals": ["States.Timeout"], "Next": "Late"},
    ]
    states = {
        "Do": task(
            {"token.$": "$$.Task.Token"},
            Resource=CALLBACK,
            TimeoutSecondsPath="$.seconds",
            Catch=caught,
            Next="Failed",
        ),
        "Failed": {"Type": "Pass", "Result": "failed", "End": True},
        "Late": {"Type": "Pass", "Result": "late", "End": True},
    }
    machine.made(states)

    cloud.functions["work"] = failing(NotReady())
    assert output(machine.of(machine.start({"seconds": 60}))) == "failed"
    arn = machine.start({"seconds": 60}, name="two")
    cloud.clock.advance(timedelta(seconds=59), cloud.settle)
    assert machine.of(arn)["status"] == "RUNNING"
    cloud.clock.advance(timedelta(seconds=1), cloud.settle)
    assert output(machine.of(arn)) == "late"


def test_a_fail_state_says_why(machine):
    states = {
        "F": {"Type": "Fail", "Error": "Broken", "CausePath": "States.Format('no {}', $.what)"}
    }

    told = machine.made(states).run({"what": "luck"})

    assert (told["status"], told["error"], told["cause"]) == ("FAILED", "Broken", "no luck")


def test_a_machine_has_a_timeout_of_its_own(machine):
    machine.made({"W": {"Type": "Wait", "Seconds": 600, "End": True}}, TimeoutSeconds=300)

    told = machine.run()

    assert (told["status"], told["error"]) == ("TIMED_OUT", "States.Timeout")
    assert told["stopDate"] - told["startDate"] == timedelta(seconds=300)


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("catches", [True, False])
def test_data_of_more_than_256_kib_fails_and_states_all_does_not_take_it(cloud, machine, catches):
    cloud.functions["work"] = lambda event: "x" * 256 * 1024
    name = "States.DataLimitExceeded" if catches else "States.ALL"
    caught = [{"ErrorEquals": [name], "Next": "End"}]

    told = machine.made({"Do": task(Catch=caught, Next="End"), "End": END}).run()

    assert told["status"] == ("SUCCEEDED" if catches else "FAILED")


def test_an_execution_of_25000_events_fails(machine):
    states = {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}

    told = machine.made(states).run()

    assert told["status"] == "FAILED"
    assert "25000" in told["cause"]
    assert machine.events(told["executionArn"])[-1]["id"] == 25000


def test_transitions_are_states_entered_and_retries(cloud, machine):
    cloud.functions["work"] = failing(NotReady(), NotReady())
    retry = [{"ErrorEquals": ["NotReady"]}]

    machine.made({"Do": task(Retry=retry, Next="End"), "End": END}).run()

    assert cloud.machines.transitions[machine.arn] == 4


# -- definitions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ({"A": {"Type": "Pass", "Next": "B"}}, "'B' is not a state"),
        ({"A": {"Type": "Pass", "End": True}, "B": END}, "not reachable"),
        ({"A": {"Type": "Pass"}}, "either Next or End"),
        ({"A": {"Type": "Pass", "End": True, "Retries": []}}, "unknown fields"),
        ({"A": {"Type": "Nap", "End": True}}, "is not a type"),
        ({"A": {"Type": "Wait", "End": True}}, "one of Seconds"),
        ({"A": {"Type": "Pass", "InputPath": "a.b", "End": True}}, "not a valid JSONPath"),
        ({"A": task(Parameters={})}, "FunctionName"),
        ({"A": task(Retry=[{"ErrorEquals": ["States.ALL", "X"]}])}, "alone"),
        (
            {"A": task(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["X"]}])},
            "must come last",
        ),
        ({"A": {"Type": "Choice", "Choices": [{"Variable": "$.a", "Is": 1, "Next": "A"}]}}, "Is"),
        ({"A": {"Type": "Pass", "Parameters": {"x.$": "a"}, "End": True}}, "intrinsic"),
    ],
)
def test_a_definition_that_aws_would_not_take_is_invalid(machine, states, why):
    assert why in refused(machine, states)


@pytest.mark.parametrize(
    "states",
    [
        {"A": {"Type": "Map", "End": True}},
        {"A": task(Resource="arn:aws:states:::sqs:sendMessage")},
        {"A": task(HeartbeatSeconds=10)},
        {"A": {"Type": "Pass", "InputPath": "$..a", "End": True}},
        {"A": {"Type": "Pass", "Parameters": {"x.$": "States.UUID()"}, "End": True}},
        {"A": {"Type": "Pass", "Output": "{% 1 %}", "End": True}},
    ],
)
def test_what_this_cloud_lacks_is_refused_loudly_when_the_machine_is_made(machine, states):
    with pytest.raises(NotTaught):
        machine.made(states)


# -- executions -------------------------------------------------------------------------------

WAITS = {"W": {"Type": "Wait", "Seconds": 60, "End": True}}


def code(caught: Any) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_a_name_starts_one_execution_as_long_as_it_runs_with_the_same_input(cloud, machine):
    machine.made(WAITS)
    first = machine.start({"a": 1})

    assert machine.start({"a": 1}) == first
    with pytest.raises(ClientError) as caught:
        machine.start({"a": 2})
    assert code(caught) == "ExecutionAlreadyExists"
    cloud.clock.advance(timedelta(minutes=2), cloud.settle)
    with pytest.raises(ClientError) as caught:
        machine.start({"a": 1})
    assert code(caught) == "ExecutionAlreadyExists"
    cloud.clock.advance(timedelta(days=91), cloud.settle)
    machine.start({"a": 1})


def test_executions_are_listed_by_status_the_latest_first(cloud, machine):
    machine.made(WAITS)
    machine.start(name="a")
    cloud.clock.advance(timedelta(minutes=2), cloud.settle)
    machine.start(name="b")

    def listed(**given: Any) -> list[str]:
        found = machine.states.list_executions(stateMachineArn=machine.arn, **given)
        return [one["name"] for one in found["executions"]]

    assert listed() == ["b", "a"]
    assert listed(statusFilter="RUNNING") == ["b"]


def test_an_execution_that_is_stopped_does_nothing_more(cloud, machine):
    arn = machine.made(WAITS).start()

    machine.states.stop_execution(executionArn=arn, error="Enough", cause="said a person")
    cloud.clock.advance(timedelta(hours=1), cloud.settle)

    told = machine.of(arn)
    assert (told["status"], told["error"]) == ("ABORTED", "Enough")
    assert machine.story(arn)[-1] == "ExecutionAborted"


def test_a_deleted_machine_ends_its_executions_at_their_next_transition(cloud, machine):
    arn = machine.made(WAITS | {"W": WAITS["W"] | {"End": False, "Next": "E"}, "E": END}).start()

    machine.states.delete_state_machine(stateMachineArn=machine.arn)
    with pytest.raises(ClientError) as caught:
        machine.start(name="two")
    assert code(caught) == "StateMachineDeleting"
    assert machine.of(arn)["status"] == "RUNNING"

    cloud.clock.advance(timedelta(hours=1), cloud.settle)
    assert machine.states.list_state_machines()["stateMachines"] == []


def test_an_update_is_for_later_executions_only(cloud, machine):
    first = machine.made(WAITS).start()
    definition = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": 2, "End": True}}}

    machine.states.update_state_machine(
        stateMachineArn=machine.arn, definition=json.dumps(definition)
    )
    second = machine.start(name="two")
    cloud.clock.advance(timedelta(hours=1), cloud.settle)

    assert output(machine.of(first)) == {}
    assert output(machine.of(second)) == 2


# -- redrive ----------------------------------------------------------------------------------


def test_a_redrive_goes_on_from_the_task_that_failed_with_its_input(cloud, machine):
    cloud.functions["work"] = failing(NotReady())
    states = {
        "P": {"Type": "Pass", "Result": {"id": 7}, "Next": "Do"},
        "Do": task(ResultPath="$.done", ResultSelector={"it.$": "$.Payload"}),
    }
    arn = machine.made(states).start()
    assert machine.of(arn)["redriveStatus"] == "REDRIVABLE"

    machine.states.redrive_execution(executionArn=arn)
    cloud.settle()

    told = machine.of(arn)
    assert output(told) == {"id": 7, "done": {"it": "done"}}
    assert (told["redriveCount"], told["redriveStatus"]) == (1, "NOT_REDRIVABLE")
    story = machine.story(arn)
    assert story.count("PassStateEntered") == 1
    assert story[story.index("ExecutionRedriven") + 1] == "TaskScheduled"


def test_a_fail_state_is_run_again_by_a_redrive(machine):
    arn = machine.made({"F": {"Type": "Fail", "Error": "No"}}).start()

    machine.states.redrive_execution(executionArn=arn)

    assert machine.of(arn)["status"] == "FAILED"
    assert machine.story(arn).count("FailStateEntered") == 2


def test_only_what_failed_in_the_last_14_days_can_be_redriven(cloud, machine):
    good = machine.made(WAITS).start()
    bad = machine.start(name="bad")
    machine.states.stop_execution(executionArn=bad)

    for arn, later in ((good, timedelta(0)), (good, timedelta(hours=1)), (bad, timedelta(14))):
        cloud.clock.advance(later, cloud.settle)
        with pytest.raises(ClientError) as caught:
            machine.states.redrive_execution(executionArn=arn)
        assert code(caught) == "ExecutionNotRedrivable"


# -- tokens -----------------------------------------------------------------------------------


@pytest.fixture
def waiting(cloud: InProcessCloud, machine: Machine) -> tuple[str, list[str]]:
    """An execution that waits for its token, and the tokens that it gave out."""
    tokens: list[str] = []
    cloud.functions["work"] = lambda event: tokens.append(event["token"])
    step = task({"token.$": "$$.Task.Token"}, Resource=CALLBACK, TimeoutSeconds=600)
    return machine.made({"Do": step}).start(), tokens


def test_a_task_with_a_token_ends_with_what_is_sent_for_it(machine, waiting):
    arn, (token,) = waiting
    assert machine.of(arn)["status"] == "RUNNING"
    machine.states.send_task_heartbeat(taskToken=token)

    machine.states.send_task_success(taskToken=token, output='{"approved": true}')

    assert output(machine.of(arn)) == {"approved": True}
    assert "TaskSubmitted" in machine.story(arn)


def test_a_task_with_a_token_can_be_made_to_fail(machine, waiting):
    arn, (token,) = waiting

    machine.states.send_task_failure(taskToken=token, error="Denied", cause="by Ada")

    assert machine.of(arn)["error"] == "Denied"


def test_a_token_is_good_once_and_only_as_long_as_the_task_waits(cloud, machine, waiting):
    arn, (token,) = waiting
    cloud.clock.advance(timedelta(seconds=600), cloud.settle)
    assert machine.of(arn)["error"] == "States.Timeout"

    for sent, why in (
        (token, "TaskTimedOut"),
        (token_of(f"{arn}-never", 1), "TaskDoesNotExist"),
        ("made up", "InvalidToken"),
    ):
        with pytest.raises(ClientError) as caught:
            machine.states.send_task_success(taskToken=sent, output="{}")
        assert code(caught) == why


def test_a_function_may_send_for_its_own_token_before_it_ends(cloud, machine):
    def work(event: Any) -> None:
        machine.states.send_task_success(taskToken=event["token"], output='"early"')

    cloud.functions["work"] = work
    step = task({"token.$": "$$.Task.Token"}, Resource=CALLBACK)

    assert output(machine.made({"Do": step}).run()) == "early"


def test_time_that_starts_an_execution_is_that_of_the_cloud(machine):
    started = machine.of(machine.made(WAITS).start())["startDate"]

    assert started == datetime(2025, 3, 1, 3, tzinfo=UTC)


# -- the world --------------------------------------------------------------------------------


def test_in_the_world_a_machine_invokes_our_functions_and_sees_their_errors_by_name():
    caught = [{"ErrorEquals": ["UnknownPolicy"], "ResultPath": "$.error", "Next": "End"}]
    plan = task(Next="End", Catch=caught, ResultSelector={"run.$": "$.Payload.run"})
    plan["Parameters"] = {"FunctionName": "${planner}", "Payload.$": "$"}
    definition = json.dumps({"StartAt": "Plan", "States": {"Plan": plan, "End": END}})

    with a_world() as world:
        arn = world.machine("plans", definition, planner="lastgood-plan-snapshots")
        states = world.client("stepfunctions")
        given = {"policy": "web-daily", "slot": SLOT.isoformat()}
        good = states.start_execution(stateMachineArn=arn, input=json.dumps(given))
        bad = states.start_execution(stateMachineArn=arn, input='{"policy": "none"}')
        world.settle()

        told = [states.describe_execution(executionArn=one["executionArn"]) for one in (good, bad)]

    assert output(told[0])["run"].startswith("run-")
    assert output(told[1])["error"]["Error"] == "UnknownPolicy"
    assert world.bugs == []
