"""Step Functions behind HTTP: deployed functions, roles, CloudFormation, rules and schedules."""

import json
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.faults import LOST_REPLY, aws_error
from tests.contract.workbench import ACCOUNT, REGION, Bench

INVOKE = "arn:aws:states:::lambda:invoke"


class Machine:
    """A machine of one task that invokes a function."""

    def __init__(self, bench: Bench, function: str, **task: Any) -> None:
        self.bench = bench
        self.states = bench.client("stepfunctions")
        self.role = bench.role(
            "states.amazonaws.com", ("lambda:InvokeFunction", function), what="machine-role"
        )
        self.task = {
            "Type": "Task",
            "Resource": INVOKE,
            "Parameters": {"FunctionName": function, "Payload.$": "$"},
            "OutputPath": "$.Payload",
            "End": True,
            **task,
        }
        self.definition = json.dumps({"StartAt": "Do", "States": {"Do": self.task}})
        self.arn = self.states.create_state_machine(
            name=bench.name("machine"), definition=self.definition, roleArn=self.role
        )["stateMachineArn"]

    def run(self, given: Any = None) -> dict[str, Any]:
        started = self.states.start_execution(
            stateMachineArn=self.arn, input=json.dumps({} if given is None else given)
        )
        self.bench.cloud.settle()
        found: dict[str, Any] = self.states.describe_execution(executionArn=started["executionArn"])
        return found

    def runs(self) -> list[dict[str, Any]]:
        found = self.states.list_executions(stateMachineArn=self.arn)["executions"]
        return [self.states.describe_execution(executionArn=f["executionArn"]) for f in found]


def test_a_task_runs_the_deployed_function_and_its_transitions_are_counted(bench: Bench) -> None:
    machine = Machine(bench, bench.function(result="{'n': 1}"))

    told = machine.run()

    assert (told["status"], json.loads(told["output"])) == ("SUCCEEDED", {"n": 1})
    assert bench.cloud.state()["transitions"][machine.arn] == 1


def test_an_error_of_the_function_bears_its_class_and_its_stack_is_in_the_cause(
    bench: Bench,
) -> None:
    told = Machine(bench, bench.function()).run("fail")

    assert (told["status"], told["error"]) == ("FAILED", "ValueError")
    assert json.loads(told["cause"])["errorMessage"] == "asked to fail"
    assert "stackTrace" in json.loads(told["cause"])


def test_a_machine_whose_role_may_not_invoke_the_function_fails(bench: Bench) -> None:
    machine = Machine(bench, bench.function())
    bench.client("iam").delete_role_policy(
        RoleName=bench.name("machine-role"), PolicyName="allowed"
    )

    told = machine.run()

    assert told["error"] == "Lambda.AWSLambdaException"
    assert "lambda:InvokeFunction" in told["cause"]


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("TooManyRequestsException", status=429), "Lambda.TooManyRequestsException"),
        (LOST_REPLY, "Lambda.SdkClientException"),
    ],
)
def test_what_lambda_refuses_has_a_name_of_lambda(bench: Bench, effect: Any, error: str) -> None:
    machine = Machine(bench, bench.function())
    bench.cloud.add_fault("lambda.Invoke", effect, by=bench.name("machine-role"))

    assert machine.run()["error"] == error
    bench.cloud.clear_faults()


def test_a_retry_waits_on_the_clock_of_the_cloud(bench: Bench) -> None:
    retry = [{"ErrorEquals": ["ValueError"], "IntervalSeconds": 60, "MaxAttempts": 2}]
    machine = Machine(bench, bench.function(), Retry=retry)
    assert machine.run("fail")["status"] == "RUNNING"

    bench.cloud.advance(by=timedelta(minutes=4))

    (told,) = machine.runs()
    assert told["status"] == "FAILED"
    took = told["stopDate"] - told["startDate"]
    assert timedelta(minutes=3) <= took < timedelta(minutes=3, seconds=10)


def test_a_machine_needs_a_role_that_step_functions_may_assume(bench: Bench) -> None:
    machine = Machine(bench, bench.function())
    role = bench.role("lambda.amazonaws.com", what="other")

    with pytest.raises(ClientError, match="authorized to assume the provided role"):
        machine.states.create_state_machine(
            name=bench.name("other"), definition=machine.definition, roleArn=role
        )


def test_a_machine_with_logs_needs_a_role_that_may_deliver_them(bench: Bench) -> None:
    machine = Machine(bench, bench.function())

    with pytest.raises(ClientError, match="Log Destination"):
        machine.states.update_state_machine(
            stateMachineArn=machine.arn,
            roleArn=machine.role,
            loggingConfiguration={"level": "ERROR"},
        )


@pytest.mark.parametrize("allowed", [True, False])
def test_a_function_needs_the_right_to_start_an_execution(bench: Bench, allowed: bool) -> None:
    other = Bench(bench.cloud)
    machine = Machine(bench, bench.function())
    rights = [("states:StartExecution", machine.arn)] if allowed else []
    call = ("stepfunctions", "start_execution", {"stateMachineArn": machine.arn})

    failed = other.invoke(other.function(*rights), {"calls": [call]})
    bench.cloud.settle()

    assert (failed is None) is allowed
    assert len(machine.runs()) == int(allowed)
    if not allowed:
        assert "states:StartExecution" in failed["errorMessage"]


def test_the_right_to_answer_a_task_is_one_on_its_machine(bench: Bench) -> None:
    """As CDK's grantTaskResponse gives it."""
    name = bench.name("machine")
    arn = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}"
    function = bench.function(("states:SendTaskSuccess", arn))
    payload = {"calls": [["stepfunctions", "send_task_success", {"output": "1"}]]}
    parameters = json.loads(json.dumps(payload))
    parameters["calls"][0][2]["taskToken.$"] = "$$.Task.Token"
    machine = Machine(
        bench,
        function,
        Resource=f"{INVOKE}.waitForTaskToken",
        Parameters={"FunctionName": function, "Payload": parameters},
        OutputPath="$",
    )

    assert machine.run()["output"] == "1"


def test_a_rule_starts_an_execution_with_its_event(bench: Bench) -> None:
    machine = Machine(bench, bench.function())
    role = bench.role("events.amazonaws.com", ("states:StartExecution", machine.arn), what="rule")
    bench.rule({"Arn": machine.arn, "RoleArn": role})

    bench.put_event(n=1)

    (told,) = machine.runs()
    assert json.loads(told["input"])["detail"] == {"n": 1}
    with pytest.raises(ClientError, match="RoleArn is required"):
        Bench(bench.cloud).rule({"Arn": machine.arn})


def test_a_schedule_starts_an_execution_at_its_time(bench: Bench) -> None:
    machine = Machine(bench, bench.function())
    role = bench.role("scheduler.amazonaws.com", ("states:StartExecution", machine.arn), what="s")
    due = bench.cloud.now() + timedelta(hours=1)
    expression = f"at({due:%Y-%m-%dT%H:%M:%S})"
    target = {"Arn": machine.arn, "RoleArn": role, "Input": '{"n": 2}'}
    bench.schedule(target, expression, ActionAfterCompletion="DELETE")

    bench.cloud.advance(by=timedelta(hours=1, minutes=1))

    (told,) = machine.runs()
    assert told["input"] == '{"n": 2}'
    assert told["startDate"] - due < timedelta(seconds=2)
    names = [one["Name"] for one in bench.client("scheduler").list_schedules()["Schedules"]]
    assert bench.name("schedule") not in names


def test_cloudformation_makes_changes_and_removes_a_machine(bench: Bench) -> None:
    function = bench.function(result="'x'")
    machine = Machine(bench, function)

    def resources(comment: str) -> dict[str, Any]:
        task = {**machine.task, "Comment": comment}
        task["Parameters"] = {"FunctionName": "${function}", "Payload.$": "$"}
        definition = json.dumps({"StartAt": "Do", "States": {"Do": task}})
        properties = {
            "DefinitionString": definition,
            "DefinitionSubstitutions": {"function": function},
            "RoleArn": machine.role,
            "TracingConfiguration": {"Enabled": True},
            "Tags": [{"Key": "of", "Value": comment}],
        }
        return {"M": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}

    outputs = {"Outputs": {"Arn": {"Value": {"Ref": "M"}}}}
    stack = bench.stack(resources("first"), **outputs)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    (made,) = stack["Outputs"]
    machine.arn = made["OutputValue"]
    assert machine.run()["output"] == '"x"'

    bench.client("cloudformation").update_stack(
        StackName=bench.name("stack"),
        TemplateBody=json.dumps({"Resources": resources("second"), **outputs}),
    )

    told = machine.states.describe_state_machine(stateMachineArn=machine.arn)
    assert "second" in told["definition"]
    assert told["tracingConfiguration"] == {"enabled": True}
    tags = machine.states.list_tags_for_resource(resourceArn=machine.arn)["tags"]
    assert tags == [{"key": "of", "value": "second"}]
    bench.client("cloudformation").delete_stack(StackName=bench.name("stack"))
    with pytest.raises(ClientError, match="StateMachineDoesNotExist"):
        machine.states.describe_state_machine(stateMachineArn=machine.arn)


def test_an_invalid_definition_fails_its_stack(bench: Bench) -> None:
    role = bench.role("states.amazonaws.com")
    properties = {"DefinitionString": '{"StartAt": "A", "States": {}}', "RoleArn": role}

    stack = bench.stack(
        {"M": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}
    )

    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "InvalidDefinition" in stack["StackStatusReason"]
