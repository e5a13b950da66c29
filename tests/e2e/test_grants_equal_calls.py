"""What each role may do is what was done under it, and nothing more."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.catalog import CATALOG
from infra.stacks.state import TABLE
from lastgood.domain import tags
from lastgood.domain.copying import CopyStatus, PointCopy
from lastgood.domain.model import (
    Claim,
    Method,
    Point,
    PointStatus,
    Source,
)
from lastgood.domain.names import point_id, role_abroad, run_id
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy
from lastgood.ledger import items, keys
from tests.cloud.driver import ACCOUNT
from tests.cloud.faults import DROPPED, aws_error
from tests.cloud.policy import like, listed
from tests.e2e.conftest import (
    AWAY,
    BURYING,
    FUNCTIONS,
    HOME,
    MEMBER,
    MEMBER_STACK,
    SLOT,
    VAULT,
    VAULT_STACK,
    Installation,
    an_installation,
)
from tests.e2e.restore_stories import ending_role, machine_role, restores_happen
from tests.support.fleet import disk, launch, tag_list, tagged, volume, volumes_of
from tests.support.fleet import tag as put_tags
from tests.support.history import past_copy, past_point

pytestmark = pytest.mark.slow

Right = tuple[str, str, str]
"""An action; the resource, or pattern of resources, that it is granted on; of the ledger's items,
the pattern of their partition keys, else nothing."""

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

NOT_TOLD = {
    "ec2:RunInstances": (
        "arn:aws:resource-groups:",
        "the test cloud knows no groups of hosts, which an instance may be placed in",
    ),
    "ec2:DeleteTags": (
        "arn:aws:ec2:*:123456789012:volume/",
        "undo_restore takes marks away only if the hand over dies after it has made them",
    ),
    "kms:GenerateDataKey": (
        "arn:aws:kms:",
        "DynamoDB does it with the table's key; that of others with queues is seen",
    ),
}
"""Further rights that no story exercises: the beginning of the resource, and why."""

WITHOUT_RESOURCES = {
    # Whose token it is, says which restore.
    *("states:SendTaskFailure", "states:SendTaskSuccess"),
    # Deliveries of the machine's log.
    *(f"logs:{change}LogDelivery" for change in ("Create", "Delete", "Update")),
    "logs:PutResourcePolicy",
}
"""Actions that IAM knows on everything only."""

READS = ("Describe", "Get", "List", "Query")

SCHEDULED = ("plan_snapshots", "sweep", "prune_snapshots")
IN_VAULT = ("copy_snapshots", "sweep", "prune_snapshots", "delete_snapshots")
"""Who works where only copies are."""
IN_MEMBER = tuple(row.name for row in CATALOG if row.works_abroad)
ABROAD = {
    **{f"{one} in the vault": VAULT for one in IN_VAULT},
    "forwarder of the vault": VAULT,
    **{f"{one} in the member": MEMBER for one in IN_MEMBER},
    "forwarder of the member": MEMBER,
}
"""The account of each role that is not at home."""
ROLES = (
    *FUNCTIONS,
    *(f"schedules of {function}" for function in SCHEDULED),
    "machine of restores",
    "endings of restores",
    "forwarder",
    *ABROAD,
)


@dataclass(frozen=True)
class Stories:
    """An installation where everything happened once that Lastgood knows to deal with.

    ``notices`` and ``calls`` are those before restores.
    """

    installation: Installation
    roles: dict[str, str]
    policies: dict[str, list[dict[str, Any]]]
    points: dict[str, Point]
    decisions: list[dict[str, Any]]
    notices: list[dict[str, Any]]
    calls: dict[str, dict[str, int]]

    def granted(self, name: str) -> set[Right]:
        return {
            (action, resource, key)
            for statement in self.policies[name]
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
            for key in _partitions(statement)
        }

    def done(self, name: str) -> set[Right]:
        """What IAM was asked for the role and allowed."""
        return {
            (one["action"], one["resource"], key)
            for one in self.decisions
            if one["principal"] == self.roles[name] and one["allowed"]
            for key in one["leading_keys"] or [""]
        }


def _partitions(statement: dict[str, Any]) -> list[str]:
    conditions = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
    return [str(key) for key in listed(conditions.get("dynamodb:LeadingKeys", ""))]


def _covers(granted: Right, done: Right) -> bool:
    return granted[0] == done[0] and all(map(like, granted[1:], done[1:]))


@pytest.fixture(scope="module")
def stories(assembly: Path) -> Iterator[Stories]:
    with an_installation(assembly) as installation:
        points = everything_happens(installation)
        before = installation.cloud.state()
        restores_happen(installation, under_a_key(installation)["KmsKeyId"])
        roles = our_roles(installation)
        policies = {
            name: statements_of(iam_of(installation, name), role) for name, role in roles.items()
        }
        state = installation.cloud.state()
        assert state["lost"] == []
        yield Stories(
            installation,
            roles,
            policies,
            points,
            decisions=state["decisions"],
            notices=before["notices"],
            calls=before["calls"],
        )
        assert installation.cloud.errors() == ""


def our_roles(installation: Installation) -> dict[str, str]:
    """The names of the roles, by who has them."""
    there = roles_of_stack(installation, f"Lastgood-{AWAY}", ACCOUNT)
    # Those of restores there are the same, for fewer places.
    (forwarder,) = (one for one in there if "Forwarder" in one)
    vault = {f"{one} in the vault": role_abroad(FUNCTIONS[one], AWAY) for one in IN_VAULT}
    member = {f"{one} in the member": role_abroad(FUNCTIONS[one], HOME) for one in IN_MEMBER}
    of_vault = roles_of_stack(installation, VAULT_STACK, VAULT)
    (forwarder_of_vault,) = set(of_vault) - set(vault.values())
    of_member = roles_of_stack(installation, MEMBER_STACK, MEMBER, HOME)
    (forwarder_of_member,) = set(of_member) - set(member.values())
    functions = {
        function: installation.role_of(function).rsplit("/", 1)[-1] for function in FUNCTIONS
    }
    schedules = {
        f"schedules of {function}": installation.schedule_role(function).rsplit("/", 1)[-1]
        for function in SCHEDULED
    }
    return {
        **functions,
        **schedules,
        "machine of restores": machine_role(installation),
        "endings of restores": ending_role(installation),
        "forwarder": forwarder,
        **vault,
        "forwarder of the vault": forwarder_of_vault,
        **member,
        "forwarder of the member": forwarder_of_member,
    }


def roles_of_stack(
    installation: Installation, stack: str, account: str, region: str = AWAY
) -> list[str]:
    clouds = installation.client("cloudformation", region, account=account)
    return [
        one["PhysicalResourceId"]
        for one in clouds.list_stack_resources(StackName=stack)["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::IAM::Role"
    ]


def statements_of(iam: Any, role: str) -> list[dict[str, Any]]:
    """Of the policy that is part of the role, and of those that take what is too long for it."""
    inline = iam.get_role_policy(RoleName=role, PolicyName="Granted")["PolicyDocument"]
    found: list[dict[str, Any]] = [*inline["Statement"]]
    for one in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = one["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        attached = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
        found += attached["Document"]["Statement"]
    return found


def iam_of(installation: Installation, role: str) -> Any:
    return installation.client("iam", account=ABROAD.get(role, ACCOUNT))


# ----------------------------------------------------------------------------- the stories

BY_HAND = SLOT + timedelta(hours=1)
"""When the stories of sources that are asked for by hand begin."""
LATE = BY_HAND + timedelta(minutes=70)
HOUR = timedelta(hours=1)


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
        "volume": volume(ec2, f"{HOME}a", {"backup": "volume"}, **under_a_key(lastgood)),
        "slow disk": launch(ec2, "web", disk("/dev/sdf", 500, VolumeType="st1")),
        "unheard": launch(ec2, "web", disk("/dev/sdf")),
        "forsaken": launch(ec2, "web"),
        "forsaken and gone": launch(ec2, "web"),
        "unannounced": launch(ec2, "web"),
    }
    slots = {
        **dict.fromkeys(sources, SLOT),
        "volume": SLOT + timedelta(minutes=30),
        "gone": SLOT - timedelta(days=1),
        **dict.fromkeys(("unheard", "forsaken", "forsaken and gone"), BY_HAND),
        **dict.fromkeys(("away", "unannounced"), LATE),
    }
    a_night_with_trouble(lastgood, sources)
    asked_in_vain(lastgood)
    # Asked for again: the point is there already.
    lastgood.plan(source=sources["set"], slot=SLOT.isoformat())
    events_are_lost(lastgood, sources["unheard"])
    messages_are_lost(lastgood, [sources["forsaken"], sources["forsaken and gone"]])
    ec2.terminate_instances(InstanceIds=[sources["forsaken and gone"]])
    the_key_of_copies_is_made(lastgood)
    in_a_member_account(lastgood)
    lastgood.cloud.advance(to=LATE)
    an_item_is_lost(lastgood, sources["set"])
    a_planner_short_of_time(lastgood, sources["away"])
    announcements_fail(lastgood, sources["unannounced"])
    copied_once_more(lastgood, point_id("data-volumes", slots["volume"], sources["volume"]))
    pruned_in_a_member_account(lastgood)
    pruned(lastgood, sources["died before the call"])
    found = {
        story: lastgood.ledger.point(
            point_id("data-volumes" if story == "volume" else "web-daily", slots[story], source)
        )
        for story, source in sources.items()
    }
    return {story: point for story, point in found.items() if point is not None}


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
    for function in SCHEDULED:
        a_schedule_is_refused(lastgood, function)
    lastgood.cloud.advance(to=SLOT + timedelta(minutes=10))
    taken_once_more(ec2, sources["died before the call"], sources["volume"])
    lastgood.cloud.advance(to=BY_HAND)


def claimed_by_a_worker_that_died(
    lastgood: Installation,
    source: str,
    slot: datetime = SLOT,
    run: str | None = None,
    policy: str = "web-daily",
) -> None:
    """The ledger as a function leaves it that is killed while it takes a point."""
    account = MEMBER if policy == MEMBERS else ACCOUNT
    lastgood.ledger.claim(
        Claim(
            id=point_id(policy, slot, source),
            policy=policy,
            run=run or run_id(policy, slot),
            slot=slot,
            source=Source(id=source, region=HOME, account=account),
            method=Method.SET,
            owner="a worker that died",
            at=lastgood.cloud.now(),
            lease=timedelta(seconds=1),
        )
    )


def the_set_fails(lastgood: Installation, source: str, slot: datetime = SLOT) -> None:
    """EBS tells it by an event, here a made one: nothing from outside breaks a snapshot."""
    point = lastgood.points_at(slot)[source]
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
        "account": point.source.account,
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
    with lastgood.waiting("create_snapshots"):
        lastgood.plan(source=source, slot=(SLOT - timedelta(days=1)).isoformat())
        lastgood.client("ec2").terminate_instances(InstanceIds=[source])
    lastgood.cloud.settle()


def a_schedule_is_refused(lastgood: Installation, function: str) -> None:
    """The next time that it starts the function. Scheduler does not try that again."""
    role = lastgood.schedule_role(function).rsplit("/", 1)[-1]
    refusal = aws_error("ResourceNotFoundException", "Function not found", 404)
    lastgood.cloud.add_fault("lambda.Invoke", refusal, by=role)


BY_A_PERSON = "by a person"


def taken_once_more(ec2: Any, source: str, other: str) -> None:
    """A set that came out although EC2 had not shown it for long; and what a person made, with the
    tags of the point copied to it, of another volume."""
    point = {tags.POINT: point_id("web-daily", SLOT, source)}
    ec2.create_snapshots(
        InstanceSpecification={"InstanceId": source},
        TagSpecifications=[tagged("snapshot", {**point, "Name": "surplus"})],
    )
    ec2.create_snapshot(
        VolumeId=other, TagSpecifications=[tagged("snapshot", {**point, "Name": BY_A_PERSON})]
    )


def asked_in_vain(lastgood: Installation) -> None:
    lastgood.plan("no-such-policy")
    lastgood.plan("data-volumes", dry_run=True)
    lastgood.invoke("plan_snapshots", {"policy": "no-such-policy"}, InvocationType="Event")
    lastgood.invoke("sweep", {"rebuild": "perhaps"}, InvocationType="Event")
    for function in ("create_snapshots", "record_snapshot"):
        lastgood.send(FUNCTIONS[function], "no JSON at all")


def events_are_lost(lastgood: Installation, source: str) -> None:
    lastgood.cloud.add_event_fault(DROPPED, times=99)
    lastgood.plan(source=source, slot=BY_HAND.isoformat())
    lastgood.cloud.advance(by=timedelta(minutes=10))
    lastgood.cloud.clear_faults()


def messages_are_lost(
    lastgood: Installation,
    sources: list[str],
    policy: str = "web-daily",
    slot: datetime = BY_HAND,
) -> None:
    """A worker has died that had claimed the points, and no other delivery follows."""
    with lastgood.waiting("create_snapshots"):
        for source in sources:
            lastgood.plan(policy, source=source, slot=slot.isoformat())
            run = run_id(policy, slot, source)
            claimed_by_a_worker_that_died(lastgood, source, slot, run, policy)
        assert len(lastgood.take_out(FUNCTIONS["create_snapshots"])) == len(sources)


def an_item_is_lost(lastgood: Installation, source: str) -> None:
    """Deleted by hand, with its source's Name. The sweep writes both anew when it is told to."""
    point = point_id("web-daily", SLOT, source)
    for key in (keys.point(point), keys.name("web", source)):
        lastgood.client("dynamodb").delete_item(TableName=TABLE, Key=items.to_item(key))
    assert lastgood.ledger.point(point) is None
    # Where no policy has copies any more, it is looked for those that are under way.
    once = Place(region="us-east-1", account=ACCOUNT)
    lastgood.ledger.copying_since("web-daily", [once], lastgood.cloud.now())
    assert lastgood.sweep(rebuild=True)["rebuilt"] == 1


def a_planner_short_of_time(lastgood: Installation, source: str) -> None:
    """Its time suffices for one Region; the source is in the second."""
    client, name = lastgood.client("lambda"), FUNCTIONS["plan_snapshots"]
    timeout = client.get_function_configuration(FunctionName=name)["Timeout"]
    client.update_function_configuration(FunctionName=name, Timeout=100)
    report = lastgood.plan(source=source, slot=LATE.isoformat()).payload
    lastgood.cloud.settle()
    client.update_function_configuration(FunctionName=name, Timeout=timeout)
    assert (report["point_count"], report["carried_over"]) == (0, [AWAY])


def announcements_fail(lastgood: Installation, source: str) -> None:
    """Up to the last delivery, so that a dead letter and a doubt are left. The sweep announces."""
    # With status 503, as it has on AWS, botocore would try it again, which takes seconds of ours.
    down = aws_error("ServiceUnavailable", status=400)
    lastgood.plan(source=source, slot=LATE.isoformat())
    by = FUNCTIONS["record_snapshot"]
    lastgood.cloud.add_fault("events.PutEvents", down, times=99, by=by)
    lastgood.cloud.advance(by=timedelta(minutes=80))
    lastgood.cloud.clear_faults()
    lastgood.cloud.advance(by=timedelta(minutes=80))


def under_a_key(lastgood: Installation, of: str = ACCOUNT) -> dict[str, Any]:
    """Which the account of the vault may use, as docs/copies.md says."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": action,
            "Resource": "*",
        }
        for account, action in (
            (of, "kms:*"),
            (VAULT, ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom"]),
        )
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    key = lastgood.client("kms", account=of).create_key(Policy=policy)["KeyMetadata"]["KeyId"]
    return {"Encrypted": True, "KmsKeyId": key}


def the_key_of_copies_is_made(lastgood: Installation) -> None:
    """It was not there yet when the night's point was to be copied: so the copy failed; the next
    attempt is throttled, and the one after that goes well."""
    kms = lastgood.client("kms", AWAY)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/copies", TargetKeyId=key)
    busy = aws_error("RequestLimitExceeded", status=503)
    lastgood.cloud.add_fault("ec2.CopySnapshot", busy, by=FUNCTIONS["copy_snapshots"])


def copied_once_more(lastgood: Installation, point: str) -> None:
    """In each place, as by a second call whose first answer was lost."""
    for copy in lastgood.ledger.copies(point):
        ec2 = lastgood.client("ec2", copy.place.region, account=copy.place.account)
        (known,) = (one.snapshot for one in copy.members)
        (found,) = ec2.describe_snapshots(SnapshotIds=[known])["Snapshots"]
        again = {"ResourceType": "snapshot", "Tags": found["Tags"]}
        ec2.copy_snapshot(
            SourceSnapshotId=known, SourceRegion=copy.place.region, TagSpecifications=[again]
        )
    lastgood.cloud.advance(by=timedelta(minutes=20))


MEMBERS, OLD_MEMBERS = "members", "old-members"


def in_a_member_account(lastgood: Installation) -> None:
    """Each story is about an instance of its own, in one run; and one whose message is lost."""
    ec2, wanted = lastgood.client("ec2", account=MEMBER), {"backup": "member"}
    encrypted = under_a_key(lastgood, MEMBER)
    failed, died = (launch(ec2, "web", tags=wanted) for _ in range(2))
    shrunk = launch(ec2, "web", disk("/dev/sdf"), tags=wanted)
    launch(
        ec2,
        "sleepy",
        disk("/dev/sdf", **encrypted),
        tags=wanted,
        root=encrypted,
        HibernationOptions={"Configured": True},
    )
    slot = lastgood.cloud.now().replace(microsecond=0)
    for one in (died, shrunk):
        claimed_by_a_worker_that_died(lastgood, one, slot, policy=MEMBERS)
    lastgood.cloud.advance(by=timedelta(seconds=10))
    with lastgood.waiting("create_snapshots"):
        answer = lastgood.plan(MEMBERS, slot=slot.isoformat())
        assert (answer.error, answer.payload["point_count"]) == (None, 4)
        ec2.detach_volume(VolumeId=volumes_of(ec2, shrunk)["/dev/sdf"])
        taken_for(ec2, shrunk, slot)
    lastgood.cloud.settle()
    the_set_fails(lastgood, failed, slot)
    lastgood.cloud.advance(by=timedelta(minutes=10))
    taken_for(ec2, died, slot)
    # Not there yet when the first points were to be copied.
    kms = lastgood.client("kms", AWAY, account=VAULT)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/members", TargetKeyId=key)
    messages_are_lost(lastgood, [launch(ec2, "web", tags=wanted)], MEMBERS, slot)


def taken_for(ec2: Any, source: str, slot: datetime) -> None:
    """By a worker that could not tell."""
    point = {tags.POINT: point_id(MEMBERS, slot, source)}
    ec2.create_snapshots(
        InstanceSpecification={"InstanceId": source},
        TagSpecifications=[tagged("snapshot", point)],
    )


def pruned_in_a_member_account(lastgood: Installation) -> None:
    """Of four points one stays, one is archived before it is planned, and one before it is to go;
    the policy is deployed by hand, for points that are made by hand."""
    ssm, name = lastgood.client("ssm"), f"/lastgood/policies/{OLD_MEMBERS}"
    shipped = ssm.get_parameter(Name=f"/lastgood/policies/{MEMBERS}")["Parameter"]["Value"]
    ec2 = lastgood.client("ec2", account=MEMBER)
    source = launch(ec2, "old", tags={"Name": "old"})
    points = []
    for days in range(1, 5):
        # EC2 wants a while between two snapshots of a volume.
        lastgood.cloud.advance(by=timedelta(seconds=20))
        slot = SLOT - timedelta(days=days)
        points.append(past_point(ec2, lastgood.ledger, source, slot, OLD_MEMBERS, MEMBER))
    document = json.loads(shipped) | {
        "name": OLD_MEMBERS,
        "retention": {"keep_last": 1},
        "max_deletes": {"count": 9, "share": 1.0},
        "copies": [],
    }
    ssm.put_parameter(Name=name, Value=json.dumps(document), Type="String")
    lastgood.cloud.advance(by=timedelta(minutes=2))

    def ask(**request: Any) -> Any:
        answer = lastgood.invoke("prune_snapshots", request)
        assert answer.error is None, answer.payload
        return answer.payload

    assert ask(hold=source, by="anna", why="audit")["held"]
    assert not ask(release=source)["held"]
    ec2.modify_snapshot_tier(SnapshotId=points[3].snapshots[0], StorageTier="archive")
    plan = ask(policy=OLD_MEMBERS, dry_run=True)
    assert (plan["delete"], plan["blocked"]) == (2, {"archive": 1})
    ec2.modify_snapshot_tier(SnapshotId=points[2].snapshots[0], StorageTier="archive")
    ask(plan=plan["plan"], by="anna")
    lastgood.cloud.settle()
    assert ask(plan=plan["plan"], dry_run=True)["deleted"] == 1
    ssm.delete_parameter(Name=name)


OLD = "old-daily"


def pruned(lastgood: Installation, source: str) -> None:
    """All that can be asked about pruning, and daily rounds. The policy is deployed by hand, for
    points that are made by hand; and taken out in the end."""
    ssm, name = lastgood.client("ssm"), f"/lastgood/policies/{OLD}"
    shipped = ssm.get_parameter(Name="/lastgood/policies/web-daily")["Parameter"]["Value"]
    places = {one: Copy(region=AWAY, account=one) for one in (ACCOUNT, VAULT)}
    copies: list[PointCopy] = []
    for days in range(1, 11):
        # EC2 wants a while between two snapshots of a volume.
        lastgood.cloud.advance(by=timedelta(seconds=20))
        slot = SLOT - timedelta(days=days)
        member = past_point(lastgood.client("ec2"), lastgood.ledger, source, slot, OLD)
        for account, wanted in places.items():
            there = lastgood.client("ec2", AWAY, account=account)
            copies.append(past_copy(there, lastgood.ledger, member, wanted))
    document = json.loads(shipped) | {
        "name": OLD,
        "schedules": [],
        "rpo": None,
        "retention": {"keep_last": 1, "keep_tags": [{"keep": ["yes"]}]},
        "max_deletes": {"count": 1, "share": 1.0},
        "copies": [
            {"region": AWAY, "account": account, "retention": {"keep_last": 7}}
            for account in places
        ],
    }
    ssm.put_parameter(Name=name, Value=json.dumps(document), Type="String")
    lastgood.cloud.advance(by=timedelta(minutes=2))

    def ask(**request: Any) -> Any:
        answer = lastgood.invoke("prune_snapshots", request)
        assert answer.error is None, answer.payload
        return answer.payload

    held = ask(hold=source, by="anna", why="audit")
    ask(hold=member.id, by="ben", why="audit")
    assert held["held"]
    assert ask(explain=member.snapshots[0])["fate"] == "keep"
    ask(release=source)
    ask(release=member.id)
    archive(lastgood, source, days=9)
    abroad = lastgood.client("ec2", AWAY, account=VAULT)
    older, oldest = (one.members[0].snapshot for one in copies[-3::2])
    abroad.modify_snapshot_tier(SnapshotId=oldest, StorageTier="archive")
    stopped = ask(policy=OLD)
    # Eight points; three copies in the one place, and two of three in the other.
    assert (stopped["status"], stopped["delete"]) == ("stopped", 8 + 5)
    assert stopped["blocked"] == {"archive": 2}
    archive(lastgood, source, days=8)
    abroad.modify_snapshot_tier(SnapshotId=older, StorageTier="archive")
    with short_of_time(lastgood, "delete_snapshots"):
        ask(plan=stopped["plan"], by="anna")
        lastgood.cloud.settle()
        lastgood.cloud.advance(by=timedelta(minutes=2))
    assert ask(plan=stopped["plan"], dry_run=True)["deleted"] == 7 + 4
    lastgood.send(FUNCTIONS["delete_snapshots"], json.dumps({"plan": "none"}))
    lastgood.invoke("prune_snapshots", {"hold": "x"}, InvocationType="Event")
    ask()
    lastgood.cloud.settle()
    ssm.delete_parameter(Name=name)
    # Of a policy that is gone: nobody knows where it is to be copied.
    kept = point_id(OLD, SLOT - timedelta(days=1), source)
    news = {"detail-type": "Recovery Point Available", "detail": {"point": kept}}
    lastgood.send(FUNCTIONS["copy_snapshots"], json.dumps(news))
    a_schedule_is_refused(lastgood, "prune_snapshots")
    lastgood.start_only("prune_snapshots")
    lastgood.cloud.advance(to=SLOT + timedelta(hours=52))
    letter = {"plan": stopped["plan"], "policy": OLD, "slice": 0}
    lastgood.send(FUNCTIONS["delete_snapshots"], json.dumps(letter))
    lastgood.cloud.settle()


def archive(lastgood: Installation, source: str, days: int) -> None:
    point = lastgood.ledger.point(point_id(OLD, SLOT - timedelta(days=days), source))
    (member,) = point.snapshots
    lastgood.client("ec2").modify_snapshot_tier(SnapshotId=member, StorageTier="archive")


@contextmanager
def short_of_time(lastgood: Installation, function: str) -> Iterator[None]:
    """Five deletes at once, a wait of three seconds for the sixth, and then no time for another;
    one delete is answered by a fault of EC2's."""
    client, name = lastgood.client("lambda"), FUNCTIONS[function]
    known = client.get_function_configuration(FunctionName=name)
    variables = {**known["Environment"]["Variables"], "LASTGOOD_WORKERS": "15"}
    client.update_function_configuration(
        FunctionName=name, Timeout=63, Environment={"Variables": variables}
    )
    # With status 503, as it has on AWS, botocore would try it again, which takes seconds of ours.
    down = aws_error("ServiceUnavailable", status=400)
    lastgood.cloud.add_fault("ec2.DeleteSnapshot", down, by=name)
    try:
        yield
    finally:
        client.update_function_configuration(
            FunctionName=name, Timeout=known["Timeout"], Environment=known["Environment"]
        )


# -------------------------------------------------------------------------------- the tests


def test_the_stories_went_as_they_should(stories: Stories):
    points = stories.points

    failed = {name: point.cause for name, point in points.items() if point.cause}
    assert set(failed) == {"failed", "gone", "forsaken and gone"}
    assert "EBS gave no cause" in str(failed["failed"])
    assert "given up: the policy leaves it out now" in str(failed["forsaken and gone"])
    available = {name for name, one in points.items() if one.status is PointStatus.AVAILABLE}
    assert available == set(points) - set(failed)
    assert points["one by one"].method is Method.ONE_BY_ONE
    assert points["volume"].method is Method.VOLUME
    near, abroad = stories.installation.ledger.copies(points["volume"].id)
    assert (near.status, near.failures > 0, near.cause) == (CopyStatus.AVAILABLE, True, None)
    assert (abroad.status, abroad.failures, abroad.open) == (CopyStatus.AVAILABLE, 0, False)
    assert (near.place.account, abroad.place.account) == (ACCOUNT, VAULT)
    assert len(points["bare"].members) == 19
    assert points["died after the call"].taken_at < SLOT < points["died before the call"].taken_at
    assert points["forsaken"].retakes == 1
    assert points["forsaken"].taken_at > BY_HAND + timedelta(minutes=30)
    assert points["unheard"].settled_at > BY_HAND + timedelta(minutes=15)
    assert "rebuilt from the tags" in points["set"].notes[0]


def test_the_sweep_has_deleted_the_surplus_set_and_nothing_else(stories: Stories):
    point = stories.points["died before the call"]
    tagged_so = [{"Name": f"tag:{tags.POINT}", "Values": [point.id]}]

    left = stories.installation.client("ec2").describe_snapshots(Filters=tagged_so)["Snapshots"]

    members = {one.snapshot for one in point.members}
    others = [one for one in left if one["SnapshotId"] not in members]
    assert len(left) - len(others) == len(members) == 1
    names = [tag["Value"] for one in others for tag in one["Tags"] if tag["Key"] == "Name"]
    assert names == [BY_A_PERSON]
    assert [one for one in stories.calls["lastgood-sweep"].items() if "Delete" in one[0]] == [
        ("ec2.DeleteSnapshot", 1),
        ("dynamodb.DeleteItem", stories.calls["lastgood-sweep"]["dynamodb.DeleteItem"]),
    ]


def test_people_are_told_once_of_what_did_not_end_well(stories: Stories):
    told = Counter(one["subject"] for one in stories.notices)

    assert told == {
        "Lastgood: web-daily 2026-02-28 02:00Z failed, 1 failed": 1,
        "Lastgood: web-daily 2026-03-01 02:00Z partial, 1 failed": 1,
        "Lastgood: web-daily 2026-03-01 03:00Z failed, 1 failed": 1,
        "Lastgood: data-volumes was not started at 2026-03-01 02:30 UTC": 1,
        "Lastgood: pruning of old-daily stopped, 13 points over its cap": 1,
        "Lastgood: members 2026-03-01 03:10Z partial, 1 failed": 1,
        # With the copies that are left in either place.
        "Lastgood: 19 points of old-daily, which is not deployed, stay for ever": 1,
    }


def test_dead_letters_are_those_of_the_stories(stories: Stories):
    found = {
        function: [
            one["attributes"].get("error")
            or one["attributes"].get("ERROR_CODE")
            or json.loads(one["body"])["responsePayload"]["errorType"]
            for one in stories.installation.dead_letters(function)
        ]
        for function in BURYING
    }

    assert {function: sorted(errors) for function, errors in found.items()} == {
        "plan_snapshots": ["ResourceNotFoundException", "UnknownPolicy"],
        "create_snapshots": ["CallRefused", "MalformedMessage"],
        # EBS tells of a set, and of each of its snapshots.
        "record_snapshot": ["MalformedMessage", "Unavailable", "Unavailable"],
        "copy_snapshots": ["UnknownPolicy"],
        "sweep": ["MalformedMessage", "ResourceNotFoundException"],
        "prune_snapshots": ["MalformedMessage", "ResourceNotFoundException"],
        "delete_snapshots": ["MalformedMessage", "UnknownPolicy"],
        "tell_chat": ["MalformedMessage"],
    }


@pytest.mark.parametrize("name", ROLES)
def test_every_right_of_a_role_was_exercised(stories: Stories, name):
    done = stories.done(name)

    idle = {
        right for right in stories.granted(name) if not any(_covers(right, each) for each in done)
    }

    untold = {
        (action, resource, key)
        for action, resource, key in idle
        if not resource.startswith(NOT_TOLD.get(action, ("no resource", ""))[0])
    }
    assert {action for action, *_ in untold} <= set(BY_AWS), sorted(untold)


@pytest.mark.parametrize("name", ROLES)
def test_all_that_a_role_did_is_granted_to_it_by_its_own_policy(stories: Stories, name):
    granted = stories.granted(name)

    done = stories.done(name)

    assert done
    assert [one for one in done if not any(_covers(each, one) for each in granted)] == []


def test_what_aws_exercises_for_us_is_granted_somewhere_and_never_seen(stories: Stories):
    granted = {action for name in stories.roles for action, *_ in stories.granted(name)}

    # Who copies or restores uses keys of others, which is seen.
    using = {"copy_snapshots", "copy_snapshots in the vault", "clone_instance", "restore_instance"}
    others = stories.roles.keys() - using
    seen = {action for name in others for action, *_ in stories.done(name)}

    assert set(BY_AWS) <= granted
    assert set(BY_AWS) & seen == set()


def test_nothing_was_denied_to_anybody(stories: Stories):
    denied = [one for one in stories.decisions if not one["allowed"]]

    assert denied == []


def test_a_role_has_one_policy_of_its_own_and_none_of_aws(stories: Stories):
    for name, role in stories.roles.items():
        iam = iam_of(stories.installation, name)
        assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["Granted"]
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert all(f":{ABROAD.get(name, ACCOUNT)}:policy/" in one["PolicyArn"] for one in attached)


def test_no_right_to_change_anything_is_on_every_resource_but_what_knows_none(stories: Stories):
    wide = {
        action
        for name in stories.roles
        for action, resource, _ in stories.granted(name)
        if resource == "*" or "*" in action
    }

    changing = {action for action in wide if not action.split(":")[1].startswith(READS)}
    assert changing == WITHOUT_RESOURCES


# ------------------------------------------------------------------------ what roles may not do

Under = Callable[..., Any]


@pytest.fixture
def under(stories: Stories) -> Under:
    """A client of the service, in a Region, with the credentials of the function."""
    installation = stories.installation

    def client(function: str, service: str = "ec2", region: str = HOME) -> Any:
        given = installation.client("sts").assume_role(
            RoleArn=installation.role_of(function), RoleSessionName="test"
        )["Credentials"]
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=installation.cloud.url,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )

    return client


def denied(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    return str(refused.value.response["Error"]["Code"])


ELSEWHERE = "us-east-1"
"""Where no policy looks."""
DELETING = ("sweep", "delete_snapshots")
WITH_POINT = [tagged("snapshot", {tags.POINT: "pt-1", "team": "web"})]
REFUSED = "UnauthorizedOperation"


def lone_volume(stories: Stories, region: str = HOME) -> str:
    return volume(stories.installation.client("ec2", region), f"{region}a", {"Name": "lone"})


def snapshot(stories: Stories, region: str = HOME, **request: Any) -> str:
    made = stories.installation.client("ec2", region).create_snapshot(
        VolumeId=lone_volume(stories, region), **request
    )
    return str(made["SnapshotId"])


def test_the_role_that_creates_can_create_with_the_tag_of_a_point(stories: Stories, under: Under):
    made = under("create_snapshots").create_snapshot(
        VolumeId=lone_volume(stories), TagSpecifications=WITH_POINT
    )

    assert made["State"] == "pending"


@pytest.mark.parametrize("specifications", [[], [tagged("snapshot", {"team": "web"})]])
def test_the_role_that_creates_cannot_create_without_the_tag_of_a_point(
    stories: Stories, under: Under, specifications
):
    ec2 = under("create_snapshots")
    instance = launch(stories.installation.client("ec2"), "web", tags={})

    alone = denied(
        ec2.create_snapshot, VolumeId=lone_volume(stories), TagSpecifications=specifications
    )
    together = denied(
        ec2.create_snapshots,
        InstanceSpecification={"InstanceId": instance},
        TagSpecifications=specifications,
    )

    assert {alone, together} == {REFUSED}


def test_the_role_that_creates_cannot_create_where_no_policy_looks(stories: Stories, under: Under):
    one = lone_volume(stories, ELSEWHERE)

    ec2 = under("create_snapshots", region=ELSEWHERE)

    assert denied(ec2.create_snapshot, VolumeId=one, TagSpecifications=WITH_POINT) == REFUSED


def test_the_role_that_creates_cannot_tag_what_is_there_already(stories: Stories, under: Under):
    member = stories.points["set"].members[0].snapshot

    ec2 = under("create_snapshots")

    assert denied(ec2.create_tags, Resources=[member], Tags=tag_list({"hold": "no"})) == REFUSED


def test_the_role_that_holds_can_touch_no_other_tag_and_nothing_that_is_not_ours(
    stories: Stories, under: Under
):
    member, foreign = stories.points["set"].members[0].snapshot, snapshot(stories)
    ec2, hold = under("prune_snapshots"), tag_list({tags.HOLD: "anna: audit"})

    ec2.create_tags(Resources=[member], Tags=hold)
    ec2.delete_tags(Resources=[member], Tags=[{"Key": tags.HOLD}])

    both = [*hold, *tag_list({tags.POINT: "pt-1"})]
    assert denied(ec2.create_tags, Resources=[member], Tags=both) == REFUSED
    assert denied(ec2.delete_tags, Resources=[member], Tags=[{"Key": tags.POINT}]) == REFUSED
    assert denied(ec2.create_tags, Resources=[foreign], Tags=hold) == REFUSED
    # Without a list it would take them all away.
    assert denied(ec2.delete_tags, Resources=[member]) == REFUSED


@pytest.mark.parametrize("function", [one for one in FUNCTIONS if one not in DELETING])
def test_no_role_but_two_can_delete_a_snapshot(stories: Stories, under: Under, function):
    member = stories.points["set"].members[0].snapshot

    assert denied(under(function).delete_snapshot, SnapshotId=member) == REFUSED


@pytest.mark.parametrize("function", [one for one in FUNCTIONS if one != "create_snapshots"])
def test_no_role_but_the_creators_can_create_a_snapshot(stories: Stories, under: Under, function):
    ec2 = under(function)
    instance = {"InstanceId": launch(stories.installation.client("ec2"), "web", tags={})}

    alone = denied(ec2.create_snapshot, VolumeId=lone_volume(stories), TagSpecifications=WITH_POINT)
    together = denied(
        ec2.create_snapshots, InstanceSpecification=instance, TagSpecifications=WITH_POINT
    )

    assert {alone, together} == {REFUSED}


@pytest.mark.parametrize("function", DELETING)
def test_a_role_that_deletes_can_delete_what_has_the_tag_of_a_point(
    stories: Stories, under: Under, function
):
    made = snapshot(stories, TagSpecifications=WITH_POINT)

    under(function).delete_snapshot(SnapshotId=made)

    # EC2 deletes a pending snapshot once it is complete.
    stories.installation.cloud.advance(by=timedelta(minutes=10))
    assert made not in {one["SnapshotId"] for one in stories.installation.snapshots()}


@pytest.mark.parametrize("function", DELETING)
@pytest.mark.parametrize(
    "own_tags",
    [
        {},
        {"team": "web", "lastgood:policy": "web-daily"},
        {tags.POINT: "pt-1", tags.HOLD: "anna: audit"},
    ],
)
def test_a_role_that_deletes_cannot_delete_what_lacks_the_tag_of_a_point_or_is_held(
    stories: Stories, under: Under, own_tags, function
):
    request = {"TagSpecifications": [tagged("snapshot", own_tags)]} if own_tags else {}

    made = snapshot(stories, **request)

    assert denied(under(function).delete_snapshot, SnapshotId=made) == REFUSED


def test_the_role_that_deletes_cannot_give_a_snapshot_the_tag_first(stories: Stories, under: Under):
    made = snapshot(stories)

    code = denied(under("sweep").create_tags, Resources=[made], Tags=tag_list({tags.POINT: "pt-1"}))

    assert code == REFUSED


def test_the_role_that_deletes_cannot_delete_where_no_policy_looks(stories: Stories, under: Under):
    made = snapshot(stories, ELSEWHERE, TagSpecifications=WITH_POINT)

    ec2 = under("sweep", region=ELSEWHERE)

    assert denied(ec2.delete_snapshot, SnapshotId=made) == REFUSED


def item(partition: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": "ITEM"}}


@pytest.mark.parametrize(
    ("function", "partition"),
    [
        ("plan_snapshots", "POINT#pt-1"),
        ("plan_snapshots", "SOURCES#web-daily#00"),
        ("create_snapshots", "NOTICE#run"),
        ("record_snapshot", "LAUNCH#web-daily#i-1"),
        ("sweep", "LAUNCH#web-daily#i-1"),
        ("prune_snapshots", "POINT#pt-1"),
        ("delete_snapshots", "HOLD#i-1"),
    ],
)
def test_a_role_cannot_write_items_that_are_not_its_business(under: Under, function, partition):
    ledger = under(function, "dynamodb")

    put = denied(ledger.put_item, TableName=TABLE, Item=item(partition))
    # Nor together with one that it may write.
    writes = [{"Put": {"TableName": TABLE, "Item": item(one)}} for one in ("RUN#run-1", partition)]
    both = denied(ledger.transact_write_items, TransactItems=writes)

    assert {put, both} == {"AccessDeniedException"}


def test_no_role_can_read_the_ledger_whole(under: Under):
    codes = {denied(under(one, "dynamodb").scan, TableName=TABLE) for one in FUNCTIONS}

    assert codes == {"AccessDeniedException"}
