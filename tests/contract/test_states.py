"""``Machine``: executions of the restore machine that are started, asked after, and let go on."""

import json
from typing import Any

import pytest

from lastgood.aws.states import MOST_CAUSE, Machine
from lastgood.errors import AccessDenied, AlreadyDone, CallRefused, Throttled, Unavailable
from lastgood.ports import RestoreMachine
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud

HOME = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/machine"
APPROVAL = {
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
    "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
    "End": True,
}


class Asked:
    """The function that a restore waits for: it keeps the token, as the ledger would."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, event: Any) -> Any:
        self.tokens.append(event["token"])
        return {}


@pytest.fixture
def asked(cloud: InProcessCloud) -> Asked:
    cloud.functions["ask"] = asked = Asked()
    return asked


@pytest.fixture
def arn(cloud: InProcessCloud, asked: Asked) -> str:
    definition = json.dumps({"StartAt": "Ask", "States": {"Ask": APPROVAL}})
    made = cloud.client("stepfunctions", HOME).create_state_machine(
        name="lastgood-restore", definition=definition, roleArn=ROLE
    )
    return str(made["stateMachineArn"])


@pytest.fixture
def machine(cloud: InProcessCloud, arn: str) -> Machine:
    return Machine(cloud.client("stepfunctions", HOME), arn)


def of(cloud: InProcessCloud, execution: str) -> dict[str, Any]:
    cloud.settle()
    found: dict[str, Any] = cloud.client("stepfunctions", HOME).describe_execution(
        executionArn=execution
    )
    return found


def test_it_is_what_the_use_cases_need(machine):
    port: RestoreMachine = machine

    assert not port.at_work("rs-1")


def test_an_execution_is_told_the_restore_and_where_to_begin(cloud, machine):
    execution = machine.start("rs-1", "undo", "rs-1-undo-1")

    found = of(cloud, execution)
    assert found["name"] == "rs-1-undo-1"
    assert json.loads(found["input"]) == {"restore": "rs-1", "entry": "undo"}


def test_one_that_was_started_is_not_started_again_even_when_it_is_over(cloud, machine, asked):
    cloud.faults.spoil("stepfunctions.StartExecution", LOST_REPLY)
    with pytest.raises(Unavailable):
        machine.start("rs-1", "begin", "rs-1")

    first = machine.start("rs-1", "begin", "rs-1")
    cloud.settle()
    machine.approve(asked.tokens[0])
    assert of(cloud, first)["status"] == "SUCCEEDED"

    assert machine.start("rs-1", "begin", "rs-1") == first
    assert of(cloud, first)["status"] == "SUCCEEDED"


def test_what_is_approved_goes_on_and_what_is_declined_fails_with_who_did(cloud, machine, asked):
    approved, declined = (machine.start(one, "begin", one) for one in ("rs-1", "rs-2"))
    cloud.settle()

    machine.approve(asked.tokens[0])
    machine.decline(asked.tokens[1], "declined by jo" + "." * MOST_CAUSE)

    assert of(cloud, approved)["status"] == "SUCCEEDED"
    found = of(cloud, declined)
    assert (found["status"], found["error"]) == ("FAILED", "NotApproved")
    assert found["cause"].startswith("declined by jo")
    for answer in (machine.approve, lambda token: machine.decline(token, "late")):
        with pytest.raises(AlreadyDone):
            answer(asked.tokens[0])


def test_a_restore_is_at_work_while_one_of_its_executions_runs(cloud, machine, asked):
    machine.start("rs-1", "begin", "rs-1")
    machine.start("rs-22", "undo", "rs-22-undo-1")
    cloud.settle()

    assert machine.at_work("rs-1")
    assert machine.at_work("rs-22")
    assert not machine.at_work("rs-2")
    machine.approve(asked.tokens[0])
    cloud.settle()
    assert not machine.at_work("rs-1")


def test_an_execution_that_a_schedule_started_is_known_by_its_input(cloud, machine, arn):
    cloud.client("stepfunctions", HOME).start_execution(
        stateMachineArn=arn,
        name="0b6dcb1c-8a62-4a2e-9d7c-1d1f0c2f3a4b",
        input=json.dumps({"restore": "rs-1", "entry": "end"}),
    )
    cloud.settle()

    assert machine.at_work("rs-1")
    assert not machine.at_work("rs-2")


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("ThrottlingException"), Throttled),
        (aws_error("InternalFailure", status=500), Unavailable),
        (aws_error("AccessDeniedException"), AccessDenied),
        (aws_error("StateMachineDoesNotExist"), CallRefused),
    ],
)
def test_what_step_functions_refuses_has_a_name_of_ours(cloud, machine, effect, error):
    cloud.faults.spoil("stepfunctions.*", effect, times=2)

    with pytest.raises(error, match=r"^start rs-1: "):
        machine.start("rs-1", "begin", "rs-1")
    with pytest.raises(error, match=r"^look for what works at rs-1: "):
        machine.at_work("rs-1")
