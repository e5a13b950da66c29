"""``SsmCommands``: a command goes out once, and what came of it is read."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lastgood.aws.commands import DELIVERY, MOST_OUTPUT, SsmCommands
from lastgood.domain.restoring import CommandCheck
from lastgood.errors import AccessDenied, CallRefused, Throttled, Unavailable, UnknownTarget
from lastgood.ports import CommandResult, Commands
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.faults import aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support import fleet

HOME = "eu-west-1"
CHECK = CommandCheck(commands=("systemctl is-active web", "curl -fs localhost"))
NEVER = "11111111-2222-3333-4444-555555555555"
Ran = Callable[..., CommandResult | None]


@pytest.fixture
def instance(cloud: InProcessCloud, ec2: Any) -> str:
    """One whose agent answers."""
    launched = fleet.launch(ec2, "web", tags={"ssm": "true"})
    cloud.clock.advance(timedelta(minutes=1))
    return launched


@pytest.fixture
def commands(cloud: InProcessCloud) -> SsmCommands:
    ssm = cloud.client("ssm", HOME)
    return SsmCommands(ssm, ssm)


@pytest.fixture
def ran(cloud: InProcessCloud, commands: SsmCommands, instance: str) -> Ran:
    """What came of a command that goes as it is told, after so many seconds."""

    def result(seconds: float, **outcome: Any) -> CommandResult | None:
        cloud.ec2.commands = lambda _: CommandOutcome(**outcome)
        command = commands.send(instance, CHECK, "rs-1")
        cloud.clock.advance(timedelta(seconds=seconds))
        return commands.result(command, instance)

    return result


def test_it_is_what_the_use_cases_need(commands):
    port: Commands = commands

    assert port


def test_an_instance_is_managed_while_its_agent_answers(cloud, ec2, commands, instance):
    other = fleet.launch(ec2, "other")

    assert commands.managed(instance)
    assert not commands.managed(other)
    ec2.stop_instances(InstanceIds=[instance])
    assert not commands.managed(instance)


def test_an_instance_that_ssm_does_not_know_is_not_managed(cloud, commands):
    cloud.faults.spoil("ssm.DescribeInstanceInformation", aws_error("InvalidInstanceId"))

    assert not commands.managed("i-0123456789abcdef0")


def test_a_command_goes_to_the_instance_with_its_lines(cloud, commands, instance):
    commands.send(instance, CHECK, "Lastgood rs-1: " + "x" * 100)

    (call,) = cloud.calls.of("ssm.SendCommand")
    assert len(call.params.pop("Comment")) == 100
    assert call.params == {
        "InstanceIds": [instance],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": list(CHECK.commands)},
        "TimeoutSeconds": DELIVERY,
    }


def test_a_document_that_there_is_not_is_refused_and_it_is_told_no_commands(
    cloud, commands, instance
):
    with pytest.raises(CallRefused, match=r"InvalidDocument: .* another check_document"):
        commands.send(instance, CommandCheck(commands=(), document="Ours"), "rs-1")

    (call,) = cloud.calls.of("ssm.SendCommand")
    assert (call.params["DocumentName"], call.params["Parameters"]) == ("Ours", {})


def test_an_instance_without_an_agent_takes_no_command(ec2, commands):
    with pytest.raises(CallRefused, match="Let the SSM agent run"):
        commands.send(fleet.launch(ec2, "other"), CHECK, "rs-1")


@pytest.mark.parametrize(("seconds", "status"), [(0, "Pending"), (2, "InProgress")])
def test_a_command_that_is_under_way_is_not_over(ran, seconds, status):
    assert ran(seconds) == CommandResult(over=False, status=status)


def test_a_command_that_succeeded_has_what_it_wrote(ran):
    assert ran(60, output="active\n", errors="warning: old\n") == CommandResult(
        over=True, ok=True, output="active\nwarning: old", status="Success"
    )


def test_a_command_that_failed_is_over_and_the_output_is_cut(ran):
    found = ran(60, code=3, output="x" * 24_000)

    assert (found.over, found.ok, found.status) == (True, False, "Failed")
    assert len(found.output) == MOST_OUTPUT


def test_a_command_that_never_reaches_the_instance_ends_and_says_so(ran):
    assert ran(DELIVERY, begins=None) == CommandResult(over=True, status="DeliveryTimedOut")


def test_a_command_that_ssm_does_not_know_yet_has_no_result(commands, instance):
    assert commands.result(NEVER, instance) is None


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
def test_what_ssm_refuses_has_a_name_of_ours(cloud, commands, instance, effect, error):
    cloud.faults.spoil("ssm.*", effect, times=3)

    with pytest.raises(error, match=r"^ask SSM whether it reaches "):
        commands.managed(instance)
    with pytest.raises(error, match=r"^run AWS-RunShellScript on "):
        commands.send(instance, CHECK, "rs-1")
    with pytest.raises(error, match=r"^read the result "):
        commands.result(NEVER, instance)
