"""``SsmCommands``: a command goes out once, and what came of it is read."""

from typing import Any

import pytest

from lastgood.aws.commands import DELIVERY, MOST_OUTPUT, SsmCommands
from lastgood.domain.restoring import CommandCheck
from lastgood.errors import AccessDenied, CallRefused, Throttled, Unavailable, UnknownTarget
from lastgood.ports import CommandResult, Commands
from tests.cloud.faults import aws_error
from tests.cloud.in_process import InProcessCloud

HOME = "eu-west-1"
INSTANCE = "i-0123456789abcdef0"
CHECK = CommandCheck(commands=("systemctl is-active web", "curl -fs localhost"))


class Replying:
    """A client of SSM whose calls are answered with what AWS documents: the test cloud has no
    agents. botocore's own model checks what is asked, in ``cloud``."""

    def __init__(self, **replies: Any) -> None:
        self.asked: dict[str, Any] = {}
        self._replies = replies

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked[operation] = request
            return self._replies[operation]

        return call


def of(**replies: Any) -> SsmCommands:
    client = Replying(**replies)
    return SsmCommands(client, client)


def a_result(status: str, **given: Any) -> CommandResult | None:
    reply = {"Status": status, "StatusDetails": status, **given}
    return of(get_command_invocation=reply).result("cmd-1", INSTANCE)


@pytest.fixture
def commands(cloud: InProcessCloud) -> SsmCommands:
    ssm = cloud.client("ssm", HOME)
    return SsmCommands(ssm, ssm)


def test_it_is_what_the_use_cases_need(commands):
    port: Commands = commands

    assert port


@pytest.mark.parametrize(
    ("found", "managed"),
    [
        ([], False),
        ([{"InstanceId": INSTANCE, "PingStatus": "Online"}], True),
        ([{"InstanceId": INSTANCE, "PingStatus": "ConnectionLost"}], False),
    ],
)
def test_an_instance_is_managed_while_its_agent_answers(found, managed):
    ssm = of(describe_instance_information={"InstanceInformationList": found})

    assert ssm.managed(INSTANCE) is managed


def test_an_instance_that_ssm_does_not_know_is_not_managed(cloud, commands):
    cloud.faults.spoil("ssm.DescribeInstanceInformation", aws_error("InvalidInstanceId"))

    assert not commands.managed(INSTANCE)


def test_a_command_goes_to_the_instance_with_its_lines(cloud, commands):
    commands.send(INSTANCE, CHECK, "Lastgood rs-1: " + "x" * 100)

    (call,) = cloud.calls.of("ssm.SendCommand")
    assert len(call.params.pop("Comment")) == 100
    assert call.params == {
        "InstanceIds": [INSTANCE],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": list(CHECK.commands)},
        "TimeoutSeconds": DELIVERY,
    }


def test_a_document_that_takes_no_command_is_told_none(cloud, commands):
    commands.send(INSTANCE, CommandCheck(commands=(), document="Ours"), "rs-1")

    (call,) = cloud.calls.of("ssm.SendCommand")
    assert (call.params["DocumentName"], call.params["Parameters"]) == ("Ours", {})


@pytest.mark.parametrize("status", ["Pending", "InProgress", "Delayed", "Cancelling"])
def test_a_command_that_is_under_way_is_not_over(status):
    assert a_result(status) == CommandResult(over=False, status=status)


@pytest.mark.parametrize("status", ["Failed", "TimedOut", "Cancelled"])
def test_a_command_that_did_not_succeed_is_over(status):
    assert a_result(status) == CommandResult(over=True, status=status)


def test_a_command_that_succeeded_has_what_it_wrote():
    found = a_result(
        "Success", StandardOutputContent="active\n", StandardErrorContent="warning: old\n"
    )

    assert found == CommandResult(
        over=True, ok=True, output="active\nwarning: old", status="Success"
    )


def test_the_details_say_why_and_the_output_is_cut():
    found = a_result(
        "TimedOut", StatusDetails="DeliveryTimedOut", StandardOutputContent="x" * 24_000
    )

    assert found is not None
    assert found.status == "DeliveryTimedOut"
    assert len(found.output) == MOST_OUTPUT


def test_a_command_that_ssm_does_not_know_yet_has_no_result(cloud, commands):
    cloud.faults.spoil("ssm.GetCommandInvocation", aws_error("InvocationDoesNotExist"))

    assert commands.result("11111111-2222-3333-4444-555555555555", INSTANCE) is None


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("ThrottlingException"), Throttled),
        (aws_error("InternalServerError", status=500), Unavailable),
        (aws_error("AccessDeniedException"), AccessDenied),
        (aws_error("InvalidDocument"), CallRefused),
        (aws_error("InvalidCommandId"), UnknownTarget),
    ],
)
def test_what_ssm_refuses_has_a_name_of_ours(cloud, commands, effect, error):
    cloud.faults.spoil("ssm.*", effect, times=3)

    with pytest.raises(error, match=r"^ask SSM whether it reaches "):
        commands.managed(INSTANCE)
    with pytest.raises(error, match=r"^run AWS-RunShellScript on "):
        commands.send(INSTANCE, CHECK, "rs-1")
    with pytest.raises(error, match=r"^read the result "):
        commands.result("11111111-2222-3333-4444-555555555555", INSTANCE)
