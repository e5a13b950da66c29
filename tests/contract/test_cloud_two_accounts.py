"""One CDK app of two accounts, deployed with the credentials of one of them by the CDK CLI."""

import json
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.driver import ACCOUNT, CdkFailed, CloudProcess

pytestmark = pytest.mark.slow

START = datetime(2026, 3, 1, tzinfo=UTC)
VAULT = "210987654321"
HOME, AWAY = "us-east-1", "eu-west-1"
HOUR = timedelta(hours=1)

APP = f"""
from pathlib import Path

from aws_cdk import App, Environment, Stack
from aws_cdk import aws_events as events, aws_events_targets as targets, aws_iam as iam
from aws_cdk import aws_kms as kms, aws_lambda as lambda_, aws_sqs as sqs

CODE = str(Path(__file__).parent / "functions")
ROLE = "arn:aws:iam::{VAULT}:role/vault-copier"


class Home(Stack):
    def __init__(self, scope, id, **kwargs):
        super().__init__(scope, id, **kwargs)
        function = lambda_.Function(
            self, "Copier", function_name="copier", handler="copier.handler",
            code=lambda_.Code.from_asset(CODE), runtime=lambda_.Runtime.PYTHON_3_13,
            role=iam.Role(
                self, "CopierRole", role_name="copier",
                assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            ),
        )
        function.add_to_role_policy(
            iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[ROLE])
        )
        bus = self.format_arn(service="events", resource="event-bus", resource_name="default")
        events.CfnEventBusPolicy(
            self, "LetsIn", statement_id="vault", event_bus_name="default",
            statement={{
                "Effect": "Allow", "Action": "events:PutEvents", "Resource": bus,
                "Principal": {{"AWS": "arn:aws:iam::{VAULT}:root"}},
            }},
        )
        events.Rule(
            self, "Hears", event_pattern=events.EventPattern(source=["aws.ec2"]),
            targets=[targets.SqsQueue(sqs.Queue(self, "Heard", queue_name="heard"))],
        )


class Vault(Stack):
    def __init__(self, scope, id, **kwargs):
        super().__init__(scope, id, **kwargs)
        kms.Key(self, "Key", alias="alias/vault")
        role = iam.Role(
            self, "Copies", role_name="vault-copier",
            assumed_by=iam.ArnPrincipal("arn:aws:iam::{ACCOUNT}:root").with_conditions(
                {{"ArnEquals": {{"aws:PrincipalArn": "arn:aws:iam::{ACCOUNT}:role/copier"}}}}
            ),
        )
        role.add_to_policy(
            iam.PolicyStatement(actions=["ec2:CopySnapshot"], resources=["*"])
        )
        bus = "arn:aws:events:{HOME}:{ACCOUNT}:event-bus/default"
        events.Rule(
            self, "Tells", event_pattern=events.EventPattern(source=["aws.ec2"]),
            targets=[targets.EventBus(events.EventBus.from_event_bus_arn(self, "Bus", bus))],
        )


app = App()
Home(app, "Home", env=Environment(account="{ACCOUNT}", region="{HOME}"))
Vault(app, "Vault", env=Environment(account="{VAULT}", region="{AWAY}"))
app.synth()
"""

COPIER = f"""
import boto3


def handler(event, context):
    sts = boto3.client("sts")
    given = sts.assume_role(
        RoleArn="arn:aws:iam::{VAULT}:role/vault-copier", RoleSessionName="copier"
    )["Credentials"]
    vault = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    ).client("ec2", region_name="{AWAY}")
    return vault.copy_snapshot(SourceRegion="{HOME}", SourceSnapshotId=event)["SnapshotId"]
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "functions").mkdir()
    (folder / "functions" / "copier.py").write_text(textwrap.dedent(COPIER))
    (folder / "app.py").write_text(textwrap.dedent(APP))
    settings = {"app": "python app.py", "versionReporting": False}
    (folder / "cdk.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def bootstrapped() -> Iterator[CloudProcess]:
    with CloudProcess(START) as cloud:
        cloud.bootstrap(HOME)
        cloud.bootstrap(AWAY, account=VAULT)
        yield cloud


@pytest.fixture(scope="module")
def refusal(bootstrapped: CloudProcess, app: Path) -> str:
    """What the CLI says as long as the vault does not trust the home account."""
    with pytest.raises(CdkFailed) as failed:
        bootstrapped.deploy(app, "Vault")
    return str(failed.value)


@pytest.fixture(scope="module")
def cloud(bootstrapped: CloudProcess, app: Path, refusal: str) -> CloudProcess:
    bootstrapped.bootstrap(AWAY, account=VAULT, trust=[ACCOUNT])
    bootstrapped.deploy(app)
    return bootstrapped


def copy(cloud: CloudProcess, snapshot: str) -> Any:
    answer = cloud.client("lambda", HOME).invoke(
        FunctionName="copier", Payload=json.dumps(snapshot)
    )
    return json.loads(answer["Payload"].read())


def test_an_account_is_not_deployed_into_that_does_not_trust_whoever_deploys(refusal: str) -> None:
    assert f"cdk-hnb659fds-deploy-role-{VAULT}-{AWAY}" in refusal


def stacks(cloud: CloudProcess, account: str, region: str) -> list[str]:
    found = cloud.client("cloudformation", region, account=account).describe_stacks()["Stacks"]
    return [stack["StackName"] for stack in found]


def roles(cloud: CloudProcess, account: str) -> set[str]:
    found = cloud.client("iam", account=account).list_roles()["Roles"]
    return {role["RoleName"] for role in found if not role["RoleName"].startswith("cdk-")}


def keys(cloud: CloudProcess, account: str) -> list[str]:
    found = cloud.client("kms", AWAY, account=account).list_aliases()["Aliases"]
    return [one["AliasName"] for one in found if not one["AliasName"].startswith("alias/aws/")]


def test_each_stack_and_what_it_makes_is_in_its_own_account(cloud: CloudProcess) -> None:
    assert stacks(cloud, ACCOUNT, HOME) == ["CDKToolkit", "Home"]
    assert stacks(cloud, VAULT, AWAY) == ["CDKToolkit", "Vault"]
    assert cloud.stack_resources("Home", HOME)["AWS::Events::EventBusPolicy"] == 1
    assert cloud.stack_resources("Vault", AWAY, account=VAULT)["AWS::Events::Rule"] == 1
    assert "copier" in roles(cloud, ACCOUNT) - roles(cloud, VAULT)
    assert "vault-copier" in roles(cloud, VAULT) - roles(cloud, ACCOUNT)
    assert (keys(cloud, ACCOUNT), keys(cloud, VAULT)) == ([], ["alias/vault"])


def test_a_function_at_home_copies_into_the_vault_and_home_hears_of_it(
    cloud: CloudProcess,
) -> None:
    ec2 = cloud.client("ec2", HOME)
    volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1)["VolumeId"]
    source = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    cloud.advance(by=HOUR)
    add = {"Add": [{"UserId": VAULT}]}
    ec2.modify_snapshot_attribute(SnapshotId=source, CreateVolumePermission=add)

    made = copy(cloud, source)
    cloud.advance(by=HOUR)

    vault = cloud.client("ec2", AWAY, account=VAULT)
    (found,) = vault.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert (found["SnapshotId"], found["State"]) == (made, "completed")
    sqs = cloud.client("sqs", HOME)
    url = sqs.get_queue_url(QueueName="heard")["QueueUrl"]
    heard = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    told = [json.loads(one["Body"]) for one in heard]
    assert [
        (one["account"], one["region"], one["detail"]["event"])
        for one in sorted(told, key=lambda one: str(one["time"]))
    ] == [(ACCOUNT, HOME, "createSnapshot"), (VAULT, AWAY, "copySnapshot")]
    assert cloud.state()["lost"] == []


def test_the_stacks_of_both_accounts_are_destroyed_with_the_credentials_of_one(
    cloud: CloudProcess, app: Path
) -> None:
    cloud.cdk("destroy", "--all", "--force", "--app", str(app / "cdk.out"))

    assert stacks(cloud, ACCOUNT, HOME) == stacks(cloud, VAULT, AWAY) == ["CDKToolkit"]
    assert "Policy" not in cloud.client("events", HOME).describe_event_bus()
    assert cloud.errors() == ""
