"""What each role may do is what was done under it, and nothing more."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lastgood.domain import tags
from lastgood.domain.model import Claim, Method, Point, PointStatus, Source
from lastgood.domain.names import point_id, run_id
from tests.cloud.driver import ACCOUNT
from tests.cloud.policy import like, listed
from tests.e2e.conftest import AWAY, FUNCTIONS, HOME, SLOT, Installation, an_installation
from tests.support.fleet import disk, launch, tag_list, tagged, volume, volumes_of
from tests.support.fleet import tag as put_tags

pytestmark = pytest.mark.slow

Right = tuple[str, str]
"""An action and the resource, or pattern of resources, that it is granted on."""

BY_AWS = {
    "ec2:DescribeInstanceAttribute": "EC2 needs it of who calls GetLaunchTemplateData",
    "ec2:DescribeInstanceCreditSpecifications": "EC2 needs it of who calls GetLaunchTemplateData",
    "ec2:DescribeSpotInstanceRequests": "EC2 needs it of who calls GetLaunchTemplateData",
    "kms:DescribeKey": "DynamoDB does it with the table's key on behalf of who calls it",
    "kms:Encrypt": "DynamoDB does it with the table's key on behalf of who calls it",
    "kms:ReEncryptFrom": "DynamoDB does it with the table's key on behalf of who calls it",
    "kms:ReEncryptTo": "DynamoDB does it with the table's key on behalf of who calls it",
    # record_snapshot sends dead letters, and so asks for a data key by itself; the same right by
    # way of DynamoDB cannot be told from it here.
}
"""Rights that AWS's services exercise inside of a call, where no log of ours shows it."""

READS = ("Describe", "Get", "List", "Query")


@dataclass(frozen=True)
class Stories:
    """An installation where everything happened once that Lastgood knows to deal with."""

    installation: Installation
    roles: dict[str, str]
    policies: dict[str, list[dict[str, Any]]]
    decisions: list[dict[str, Any]]
    points: dict[str, Point]

    def granted(self, name: str) -> set[Right]:
        return {
            (action, resource)
            for statement in self.policies[name]
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }

    def done(self, name: str) -> set[Right]:
        """What IAM was asked for the role and allowed."""
        return {
            (one["action"], one["resource"])
            for one in self.decisions
            if one["principal"] == self.roles[name] and one["allowed"]
        }


@pytest.fixture(scope="module")
def stories(assembly: Path) -> Iterator[Stories]:
    with an_installation(assembly) as installation:
        points = everything_happens(installation)
        roles = our_roles(installation)
        iam = installation.client("iam")
        policies = {
            name: iam.get_role_policy(RoleName=role, PolicyName="Granted")["PolicyDocument"][
                "Statement"
            ]
            for name, role in roles.items()
        }
        decisions = installation.cloud.state()["decisions"]
        yield Stories(installation, roles, policies, decisions, points)
        assert installation.cloud.errors() == ""


def our_roles(installation: Installation) -> dict[str, str]:
    """The names of the roles, by who has them."""
    clouds = installation.client("cloudformation", AWAY)
    (forwarder,) = [
        one["PhysicalResourceId"]
        for one in clouds.list_stack_resources(StackName=f"Lastgood-{AWAY}")[
            "StackResourceSummaries"
        ]
        if one["ResourceType"] == "AWS::IAM::Role"
    ]
    functions = {
        function: installation.role_of(function).rsplit("/", 1)[-1] for function in FUNCTIONS
    }
    schedules = installation.schedule_role().rsplit("/", 1)[-1]
    return {**functions, "schedules": schedules, "forwarder": forwarder}


# ----------------------------------------------------------------------------- the stories


def everything_happens(lastgood: Installation) -> dict[str, Point]:
    """Each story is about an instance or volume of its own; the points, by the story's name."""
    ec2, away = lastgood.client("ec2"), lastgood.client("ec2", AWAY)
    sources = {
        "set": launch(ec2, "web", disk("/dev/sdf")),
        "away": launch(away, "web"),
        "one by one": a_sleepy_one(ec2),
        "bare": a_much_tagged_one(ec2),
        "died before the call": launch(ec2, "web"),
        "died after the call": launch(ec2, "web", disk("/dev/sdf")),
        "failed": launch(ec2, "web"),
        "gone": launch(ec2, "web"),
        "volume": volume(ec2, f"{HOME}a", {"backup": "volume"}),
        "slow disk": launch(ec2, "web", disk("/dev/sdf", 500, VolumeType="st1")),
    }
    a_night_with_trouble(lastgood, sources)
    lastgood.plan("no-such-policy")
    lastgood.invoke("plan_snapshots", {"policy": "no-such-policy"}, InvocationType="Event")
    for function in ("create_snapshots", "record_snapshot"):
        lastgood.send(FUNCTIONS[function], "no JSON at all")
    # Asked for again: the point is there already.
    lastgood.plan(source=sources["set"], slot=SLOT.isoformat())
    lastgood.cloud.advance(by=timedelta(minutes=10))
    points = lastgood.points()
    a_schedule_that_finds_no_function(lastgood)
    return {
        story: next(point for point in points if point.source.id == source)
        for story, source in sources.items()
    }


def a_sleepy_one(ec2: Any) -> str:
    encrypted: dict[str, Any] = {"Encrypted": True}
    return launch(
        ec2,
        "sleepy",
        disk("/dev/sdf", **encrypted),
        root=encrypted,
        HibernationOptions={"Configured": True},
    )


def a_much_tagged_one(ec2: Any) -> str:
    """Its facts are larger than a message may be."""
    instance = launch(ec2, "big", *(disk(f"/dev/sd{letter}") for letter in "fghijklmnopqrstuvw"))
    for one in volumes_of(ec2, instance).values():
        put_tags(ec2, one, **{f"key-{n}-{'x' * 100}": "y" * 250 for n in range(42)})
    return instance


def a_night_with_trouble(lastgood: Installation, sources: dict[str, str]) -> None:
    ec2 = lastgood.client("ec2")
    lastgood.cloud.advance(to=SLOT - timedelta(minutes=5))
    claimed_by_a_worker_that_died(lastgood, sources["died after the call"])
    point = point_id("web-daily", SLOT, sources["died after the call"])
    ec2.create_snapshots(
        InstanceSpecification={"InstanceId": sources["died after the call"]},
        TagSpecifications=[tagged("snapshot", {tags.POINT: point})],
    )
    lastgood.cloud.advance(to=SLOT - timedelta(seconds=10))
    claimed_by_a_worker_that_died(lastgood, sources["died before the call"])
    # EBS allows one pending snapshot of such a volume, so the set has to wait.
    ec2.create_snapshot(VolumeId=volumes_of(ec2, sources["slow disk"])["/dev/sdf"])
    lastgood.cloud.advance(to=SLOT + timedelta(seconds=5))
    the_set_fails(lastgood, sources["failed"])
    gone_before_it_is_taken(lastgood, sources["gone"])
    lastgood.cloud.advance(to=SLOT + timedelta(hours=1))


def claimed_by_a_worker_that_died(lastgood: Installation, source: str) -> None:
    """The ledger as a function leaves it that is killed while it takes a point."""
    lastgood.ledger.claim(
        Claim(
            id=point_id("web-daily", SLOT, source),
            policy="web-daily",
            run=run_id("web-daily", SLOT),
            slot=SLOT,
            source=Source(id=source, region=HOME, account=ACCOUNT),
            method=Method.SET,
            owner="a worker that died",
            at=lastgood.cloud.now(),
            lease=timedelta(seconds=1),
        )
    )


def the_set_fails(lastgood: Installation, source: str) -> None:
    """EBS tells it by an event, here a made one: nothing from outside breaks a snapshot."""
    point = lastgood.points_at(SLOT)[source]
    assert point.status is PointStatus.PENDING
    now = lastgood.cloud.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = [
        {
            "snapshot_id": f"arn:aws:ec2::{HOME}:snapshot/{one.snapshot}",
            "source": f"arn:aws:ec2::{HOME}:volume/{one.volume}",
            "status": "error",
        }
        for one in point.members
    ]
    event = {
        "version": "0",
        "id": "made-by-hand",
        "detail-type": "EBS Multi-Volume Snapshots Completion Status",
        "source": "aws.ec2",
        "account": ACCOUNT,
        "time": now,
        "region": HOME,
        "resources": [one["snapshot_id"] for one in ended],
        "detail": {
            "event": "createSnapshots",
            "result": "failed",
            "cause": "",
            "request-id": "",
            "startTime": now,
            "endTime": now,
            "snapshots": ended,
        },
    }
    lastgood.send(FUNCTIONS["record_snapshot"], json.dumps(event))
    lastgood.cloud.settle()


def gone_before_it_is_taken(lastgood: Installation, source: str) -> None:
    """Planned for a slot of its own, terminated while the request waits in the queue."""
    client = lastgood.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName=FUNCTIONS["create_snapshots"])[
        "EventSourceMappings"
    ]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    lastgood.plan(source=source, slot=(SLOT - timedelta(days=1)).isoformat())
    lastgood.client("ec2").terminate_instances(InstanceIds=[source])
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    lastgood.cloud.settle()


def a_schedule_that_finds_no_function(lastgood: Installation) -> None:
    """Its invocation becomes a dead letter. The function is back for the tests."""
    client = lastgood.client("lambda")
    name = FUNCTIONS["plan_snapshots"]
    known = client.get_function_configuration(FunctionName=name)
    client.delete_function(FunctionName=name)
    lastgood.cloud.advance(to=SLOT + timedelta(days=1, minutes=1))
    client.create_function(
        FunctionName=name,
        Runtime=known["Runtime"],
        Role=known["Role"],
        Handler=known["Handler"],
        Code={"ZipFile": b"PK\x05\x06" + bytes(18)},
    )


# -------------------------------------------------------------------------------- the tests


def test_the_stories_went_as_they_should(stories: Stories):
    points = stories.points

    failed = {name: point.cause for name, point in points.items() if point.cause}
    assert set(failed) == {"failed", "gone"}
    assert "EBS gave no cause" in str(failed["failed"])
    available = {name for name, one in points.items() if one.status is PointStatus.AVAILABLE}
    assert available == set(points) - set(failed)
    assert points["one by one"].method is Method.ONE_BY_ONE
    assert points["volume"].method is Method.VOLUME
    assert len(points["bare"].members) == 19
    assert points["died after the call"].taken_at < SLOT < points["died before the call"].taken_at


@pytest.mark.parametrize("name", [*FUNCTIONS, "schedules", "forwarder"])
def test_every_right_of_a_role_was_exercised(stories: Stories, name):
    done = stories.done(name)

    idle = {
        (action, pattern)
        for action, pattern in stories.granted(name)
        if not any(action == each and like(pattern, resource) for each, resource in done)
    }

    assert {action for action, _ in idle} <= set(BY_AWS), sorted(idle)


@pytest.mark.parametrize("name", [*FUNCTIONS, "schedules", "forwarder"])
def test_all_that_a_role_did_is_granted_to_it_by_its_own_policy(stories: Stories, name):
    granted = stories.granted(name)

    done = stories.done(name)

    assert done
    assert [
        (action, resource)
        for action, resource in done
        if not any(action == each and like(pattern, resource) for each, pattern in granted)
    ] == []


def test_what_aws_exercises_for_us_is_granted_somewhere_and_never_seen(stories: Stories):
    granted = {action for name in stories.roles for action, _ in stories.granted(name)}

    seen = {action for name in stories.roles for action, _ in stories.done(name)}

    assert set(BY_AWS) <= granted
    assert set(BY_AWS) & seen == set()


def test_nothing_was_denied_to_anybody(stories: Stories):
    denied = [one for one in stories.decisions if not one["allowed"]]

    assert denied == []


def test_a_role_has_one_policy_and_none_of_aws(stories: Stories):
    iam = stories.installation.client("iam")

    for role in stories.roles.values():
        assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["Granted"]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []


def test_no_right_to_change_anything_is_on_every_resource(stories: Stories):
    wide = {
        action
        for name in stories.roles
        for action, resource in stories.granted(name)
        if resource == "*" or "*" in action
    }

    assert {action for action in wide if not action.split(":")[1].startswith(READS)} == set()


# ---------------------------------------------------------- what the role that creates may not


@pytest.fixture
def creator(stories: Stories) -> Any:
    """EC2 in a Region, with the credentials of create_snapshots."""
    installation = stories.installation
    role = installation.role_of("create_snapshots")
    sts = installation.client("sts")
    given = sts.assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]

    def ec2(region: str = HOME) -> Any:
        return boto3.client(
            "ec2",
            region_name=region,
            endpoint_url=installation.cloud.url,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    return ec2


def denied(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    return str(refused.value.response["Error"]["Code"])


WITH_POINT = [tagged("snapshot", {tags.POINT: "pt-1", "team": "web"})]


def test_the_role_that_creates_can_create_with_the_tag_of_a_point(stories: Stories, creator):
    one = volume(stories.installation.client("ec2"), f"{HOME}a", {"Name": "lone"})

    made = creator().create_snapshot(VolumeId=one, TagSpecifications=WITH_POINT)

    assert made["State"] == "pending"


def test_the_role_that_creates_cannot_delete_a_snapshot_not_even_its_own(stories: Stories, creator):
    member = stories.points["set"].members[0].snapshot

    assert denied(creator().delete_snapshot, SnapshotId=member) == "UnauthorizedOperation"


@pytest.mark.parametrize("specifications", [[], [tagged("snapshot", {"team": "web"})]])
def test_the_role_that_creates_cannot_create_without_the_tag_of_a_point(
    stories: Stories, creator, specifications
):
    ec2 = stories.installation.client("ec2")
    one = volume(ec2, f"{HOME}a", {"Name": "lone"})
    instance = {"InstanceId": launch(ec2, "web", tags={})}

    alone = denied(creator().create_snapshot, VolumeId=one, TagSpecifications=specifications)
    together = denied(
        creator().create_snapshots,
        InstanceSpecification=instance,
        TagSpecifications=specifications,
    )

    assert {alone, together} == {"UnauthorizedOperation"}


def test_the_role_that_creates_cannot_create_where_no_policy_looks(stories: Stories, creator):
    elsewhere = "us-east-1"
    one = volume(stories.installation.client("ec2", elsewhere), f"{elsewhere}a", {"Name": "lone"})

    code = denied(creator(elsewhere).create_snapshot, VolumeId=one, TagSpecifications=WITH_POINT)

    assert code == "UnauthorizedOperation"


def test_the_role_that_creates_cannot_tag_what_is_there_already(stories: Stories, creator):
    member = stories.points["set"].members[0].snapshot

    code = denied(creator().create_tags, Resources=[member], Tags=tag_list({"hold": "false"}))

    assert code == "UnauthorizedOperation"
