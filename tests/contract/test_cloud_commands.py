"""SSM Run Command in the test cloud: managed instances, and how commands end."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.in_process import InProcessCloud
from tests.contract.workbench import ACCOUNT, REGION, Bench

AWAY = "eu-west-1"
SHELL = "AWS-RunShellScript"


def launched(ec2: Any, managed: bool = True) -> str:
    tags = [{"Key": "ssm", "Value": "true"}] if managed else []
    made = ec2.run_instances(
        ImageId="ami-0123456789abcdef0",
        MinCount=1,
        MaxCount=1,
        InstanceType="m6i.large",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}] if tags else [],
    )
    return str(made["Instances"][0]["InstanceId"])


class Agent:
    """One managed instance."""

    def __init__(self, cloud: InProcessCloud, ec2: Any) -> None:
        self.cloud = cloud
        self.ssm = cloud.client("ssm", AWAY)
        self.instance = launched(ec2)
        self.wait(30)

    def wait(self, seconds: float) -> None:
        self.cloud.clock.advance(timedelta(seconds=seconds))

    def send(self, document: str = SHELL, **given: Any) -> str:
        settings: dict[str, Any] = {"Parameters": {"commands": ["true"]}, **given}
        sent = self.ssm.send_command(InstanceIds=[self.instance], DocumentName=document, **settings)
        return str(sent["Command"]["CommandId"])

    def told(self, command: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ssm.get_command_invocation(
            CommandId=command, InstanceId=self.instance
        )
        return found

    def pings(self) -> dict[str, str]:
        found = self.ssm.describe_instance_information()["InstanceInformationList"]
        return {one["InstanceId"]: one["PingStatus"] for one in found}


@pytest.fixture
def agent(cloud: InProcessCloud, ec2: Any) -> Agent:
    return Agent(cloud, ec2)


def code(caught: Any) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_an_agent_answers_some_seconds_after_the_start(cloud, ec2, agent):
    second = launched(ec2)
    launched(ec2, managed=False)

    assert agent.pings() == {agent.instance: "Online"}
    agent.wait(30)
    assert agent.pings() == {agent.instance: "Online", second: "Online"}


def test_an_instance_that_is_stopped_has_lost_its_connection(ec2, agent):
    ec2.stop_instances(InstanceIds=[agent.instance])

    assert agent.pings() == {agent.instance: "ConnectionLost"}
    with pytest.raises(ClientError) as caught:
        agent.send()
    assert code(caught) == "InvalidInstanceId"


def test_an_instance_that_is_not_managed_takes_no_command(ec2, agent):
    agent.instance = launched(ec2, managed=False)
    agent.wait(60)

    with pytest.raises(ClientError) as caught:
        agent.send()

    assert code(caught) == "InvalidInstanceId"


def test_a_command_begins_and_ends_on_the_clock_of_the_cloud(cloud, agent):
    cloud.ec2.commands = lambda sent: CommandOutcome(output=f"ran {sent.parameters['commands']}")
    command = agent.send()

    seen = [agent.told(command)["Status"]]
    for _ in range(2):
        agent.wait(2)
        seen.append(agent.told(command)["Status"])

    assert seen == ["Pending", "InProgress", "Success"]
    told = agent.told(command)
    assert (told["ResponseCode"], told["StandardOutputContent"]) == (0, "ran ['true']")


@pytest.mark.parametrize(
    ("outcome", "status", "details", "response"),
    [
        (CommandOutcome(code=3, errors="no"), "Failed", "Failed", 3),
        (CommandOutcome(begins=None), "TimedOut", "DeliveryTimedOut", -1),
        (CommandOutcome(takes=timedelta(hours=2)), "TimedOut", "ExecutionTimedOut", -1),
    ],
)
def test_a_command_may_end_badly(cloud, agent, outcome, status, details, response):
    cloud.ec2.commands = lambda sent: outcome
    command = agent.send()

    agent.wait(3 * 3600)

    told = agent.told(command)
    found = (told["Status"], told["StatusDetails"], told["ResponseCode"])
    assert found == (status, details, response)


def test_a_command_can_be_cancelled_while_it_runs(agent):
    command = agent.send()

    agent.ssm.cancel_command(CommandId=command)
    agent.wait(60)

    assert agent.told(command)["Status"] == "Cancelled"


def test_a_command_is_not_seen_at_once_where_describes_lag(cloud, agent):
    cloud.ec2.lag = timedelta(seconds=5)
    command = agent.send()

    with pytest.raises(ClientError) as caught:
        agent.told(command)

    assert code(caught) == "InvocationDoesNotExist"
    agent.wait(5)
    assert agent.told(command)["Status"] == "Success"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"document": "mine"}, "InvalidDocument"),
        ({"Parameters": {}}, "InvalidParameters"),
    ],
)
def test_a_command_that_cannot_be_understood_is_refused(agent, given, why):
    with pytest.raises(ClientError) as caught:
        agent.send(**given)

    assert code(caught) == why


def test_a_document_of_ones_own_can_be_run(agent):
    agent.ssm.create_document(
        Name="mine", Content='{"schemaVersion": "2.2", "mainSteps": []}', DocumentType="Command"
    )

    assert agent.told(agent.send("mine", Parameters={"x": ["1"]}))["DocumentName"] == "mine"


def test_a_role_needs_rights_on_the_document_and_the_instance(bench: Bench) -> None:
    instance = launched(bench.client("ec2"))
    bench.cloud.advance(by=timedelta(minutes=1))
    given = {
        "InstanceIds": [instance],
        "DocumentName": SHELL,
        "Parameters": {"commands": ["true"]},
    }
    event = {"calls": [("ssm", "send_command", given)]}
    document = ("ssm:SendCommand", f"arn:aws:ssm:{REGION}::document/{SHELL}")
    tagged = {"Condition": {"StringEquals": {"ssm:resourceTag/ssm": "true"}}}
    on = ("ssm:SendCommand", f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*", tagged)
    other = Bench(bench.cloud)

    refused = bench.invoke(bench.function(document), event)

    assert f"instance/{instance}" in refused["errorMessage"]
    assert other.invoke(other.function(document, on), event) is None


def test_what_commands_give_is_set_from_outside_too(bench: Bench) -> None:
    instance = launched(bench.client("ec2"))
    bench.cloud.advance(by=timedelta(minutes=1))
    bench.cloud.conditions(commands={instance: CommandOutcome(code=7, takes=timedelta(minutes=5))})
    ssm = bench.client("ssm")

    sent = ssm.send_command(
        InstanceIds=[instance], DocumentName=SHELL, Parameters={"commands": ["false"]}
    )
    bench.cloud.advance(by=timedelta(minutes=6))

    told = ssm.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=instance)
    assert (told["Status"], told["ResponseCode"]) == ("Failed", 7)
