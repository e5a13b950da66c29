"""Copies in the test cloud: slots, keys, lineages, deadlines and sharing, as AWS documents them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest

from tests.cloud.ec2 import Outcome
from tests.cloud.in_process import InProcessCloud
from tests.support.refusals import refused

HOME, AWAY = "eu-west-1", "eu-central-1"
OTHER = "210987654321"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

Take = Callable[..., str]


@pytest.fixture
def away(cloud: InProcessCloud) -> Any:
    return cloud.client("ec2", AWAY)


@pytest.fixture
def volume(ec2: Any) -> str:
    return str(ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=100)["VolumeId"])


@pytest.fixture
def take(cloud: InProcessCloud, ec2: Any, volume: str) -> Take:
    """Makes a snapshot of the volume, or of another, and waits for it; its id."""
    cloud.ec2.limits = False

    def taken(of: str = volume) -> str:
        snapshot_id = str(ec2.create_snapshot(VolumeId=of)["SnapshotId"])
        cloud.clock.advance(HOUR)
        return snapshot_id

    return taken


def copy(away: Any, snapshot: str, **given: Any) -> str:
    made = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snapshot, **given)
    return str(made["SnapshotId"])


def by_a_role(cloud: InProcessCloud, account: str) -> Any:
    """EC2 of the account, by a role in it."""
    given = cloud.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/vault", RoleSessionName="test"
    )["Credentials"]
    return boto3.client(
        "ec2",
        region_name=AWAY,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def share(ec2: Any, snapshot: str) -> None:
    add = {"Add": [{"UserId": OTHER}]}
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission=add)


def shown(ec2: Any, snapshot: str) -> dict[str, Any]:
    (found,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    return dict(found)


def details(cloud: InProcessCloud) -> list[dict[str, Any]]:
    return [one["detail"] for one in cloud.events if one["detail"]["event"] == "copySnapshot"]


def a_key(cloud: InProcessCloud, region: str = AWAY) -> str:
    return str(cloud.client("kms", region).create_key()["KeyMetadata"]["Arn"])


def test_a_copy_has_the_tags_of_the_call_and_an_arbitrary_volume_and_completes_by_itself(
    cloud: InProcessCloud, away: Any, take: Take
) -> None:
    tags = [{"Key": "lineage", "Value": "one"}]
    source = take()

    made = copy(away, source, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])

    found = shown(away, made)
    assert (found["State"], found["VolumeId"], found["VolumeSize"], found["Tags"]) == (
        *("pending", "vol-ffffffff", 100),
        tags,
    )
    cloud.clock.advance(HOUR)
    assert (shown(away, made)["State"], shown(away, made)["Progress"]) == ("completed", "100%")
    (told,) = details(cloud)
    assert told["result"] == "succeeded"
    assert told["snapshot_id"].endswith(f"{AWAY}:snapshot/{made}")
    assert told["source"].endswith(f"{HOME}:snapshot/{source}")
    assert told["incremental"] == "false"


def test_a_copy_is_incremental_while_the_newest_before_it_is_there_under_the_same_key(
    cloud: InProcessCloud, away: Any, take: Take
) -> None:
    key, other = a_key(cloud), a_key(cloud)

    def incremental(key: str) -> str:
        copy(away, take(), Encrypted=True, KmsKeyId=key)
        cloud.clock.advance(HOUR)
        return str(details(cloud)[-1]["incremental"])

    assert [incremental(key), incremental(key)] == ["false", "true"]
    assert [incremental(other), incremental(other)] == ["false", "true"]
    newest = away.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    newest.sort(key=lambda one: one["StartTime"])
    away.delete_snapshot(SnapshotId=newest[0]["SnapshotId"])
    assert incremental(other) == "true"
    away.delete_snapshot(SnapshotId=details(cloud)[-1]["snapshot_id"].rsplit("/", 1)[-1])
    assert incremental(other) == "false"


def test_there_are_so_many_slots_in_a_destination_of_which_others_take_some(
    cloud: InProcessCloud, away: Any, take: Take
) -> None:
    source = take()
    cloud.ec2.foreign_copies[AWAY] = 17
    for _ in range(3):
        copy(away, source)

    with refused("ResourceLimitExceeded"):
        copy(away, source)
    assert copy(cloud.client("ec2", "us-east-1"), source)
    cloud.clock.advance(HOUR)
    assert copy(away, source)


def test_a_key_that_cannot_be_used_shows_only_later(
    cloud: InProcessCloud, away: Any, take: Take
) -> None:
    key = a_key(cloud)
    cloud.client("kms", AWAY).disable_key(KeyId=key.rpartition("/")[2])
    wrong = a_key(cloud, HOME)

    made = [copy(away, take(), Encrypted=True, KmsKeyId=one) for one in (key, wrong)]

    cloud.clock.advance(MINUTE)
    found = [shown(away, one) for one in made]
    assert [one["State"] for one in found] == ["error", "error"]
    assert {one["StateMessage"] for one in found} == {"Given key ID is not accessible"}
    assert [one["result"] for one in details(cloud)] == ["failed", "failed"]


def test_a_copy_that_takes_longer_than_asked_for_is_told_of_and_goes_on(
    cloud: InProcessCloud, away: Any, take: Take
) -> None:
    source = take()
    cloud.ec2.outcomes[source] = Outcome(duration=HOUR)

    made = copy(away, source, CompletionDurationMinutes=15)

    cloud.clock.advance(16 * MINUTE)
    (late,) = cloud.events[-1:]
    assert late["detail-type"] == "EBS Copy Snapshot Missed Completion Duration"
    assert shown(away, made)["State"] == "pending"
    cloud.clock.advance(HOUR)
    assert details(cloud)[-1]["transferType"] == "time-based"
    assert shown(away, made)["State"] == "completed"


@pytest.mark.parametrize("minutes", [1, 10, 20, 2895])
def test_a_duration_that_is_no_quarter_of_an_hour_is_refused(
    away: Any, take: Take, minutes: int
) -> None:
    source = take()

    with refused("InvalidParameterValue"):
        copy(away, source, CompletionDurationMinutes=minutes)


def test_what_is_pending_or_gone_cannot_be_copied(ec2: Any, away: Any, volume: str) -> None:
    pending = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]

    for id_, code in (
        (pending, "IncorrectState"),
        ("snap-12345678", "InvalidSnapshot.NotFound"),
        ("x", "InvalidSnapshotID.Malformed"),
    ):
        with refused(code):
            copy(away, id_)


def test_a_snapshot_is_copied_by_another_account_only_while_it_is_shared(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    source = take()
    vault = cloud.client("ec2", AWAY, OTHER)
    with refused("InvalidSnapshot.NotFound"):
        copy(vault, source)

    share(ec2, source)
    made = copy(vault, source)
    ec2.modify_snapshot_attribute(
        SnapshotId=source, CreateVolumePermission={"Remove": [{"UserId": OTHER}]}
    )

    cloud.clock.advance(HOUR)
    assert shown(vault, made)["OwnerId"] == OTHER
    found = ec2.describe_snapshot_attribute(SnapshotId=source, Attribute="createVolumePermission")
    assert found["CreateVolumePermissions"] == []


def test_a_snapshot_under_the_key_that_aws_manages_cannot_be_shared(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    encrypted = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=8, Encrypted=True)["VolumeId"]
    source = take(encrypted)

    with refused("OperationNotPermitted"):
        share(ec2, source)


def test_a_role_copies_into_its_account_what_is_shared_with_it(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    source = take()
    share(ec2, source)
    vault = by_a_role(cloud, OTHER)

    made = copy(vault, source)

    assert shown(vault, made)["OwnerId"] == OTHER
    with refused("InvalidSnapshot.NotFound"):
        shown(cloud.client("ec2", HOME, OTHER), made)


def test_each_account_has_its_own_snapshots_and_copies(
    cloud: InProcessCloud, ec2: Any, away: Any, take: Take
) -> None:
    source = take()
    share(ec2, source)
    vault = cloud.client("ec2", AWAY, OTHER)

    mine, theirs = copy(away, source), copy(vault, source)

    cloud.clock.advance(HOUR)
    for one, owned in ((away, mine), (vault, theirs)):
        found = one.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        assert [snapshot["SnapshotId"] for snapshot in found] == [owned]
        assert one.describe_snapshots(SnapshotIds=[mine, theirs])["Snapshots"] == found
    told = [(one["account"], one["detail"]["incremental"]) for one in cloud.events[-2:]]
    assert sorted(told) == [("123456789012", "false"), (OTHER, "false")]


def test_each_account_has_its_own_slots(
    cloud: InProcessCloud, ec2: Any, away: Any, take: Take
) -> None:
    source = take()
    share(ec2, source)
    vault = cloud.client("ec2", AWAY, OTHER)
    cloud.ec2.foreign_copies |= {AWAY: 19, (OTHER, AWAY): 18}

    for one, free in ((away, 1), (vault, 2)):
        for _ in range(free):
            copy(one, source)
        with refused("ResourceLimitExceeded"):
            copy(one, source)


def test_the_tags_of_a_shared_snapshot_are_seen_by_its_owner_only(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    source = take()
    share(ec2, source)
    ec2.create_tags(Resources=[source], Tags=[{"Key": "lineage", "Value": "one"}])
    vault = cloud.client("ec2", HOME, OTHER)
    tagged = [{"Name": "tag-key", "Values": ["lineage"]}]

    assert "Tags" not in shown(vault, source)
    assert vault.describe_snapshots(Filters=tagged)["Snapshots"] == []
    assert len(ec2.describe_snapshots(Filters=tagged)["Snapshots"]) == 1


def test_a_copy_in_another_account_needs_the_key_of_its_source_and_has_one_of_its_own(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    key = a_key(cloud, HOME)
    encrypted = {"AvailabilityZone": f"{HOME}a", "Size": 8, "Encrypted": True, "KmsKeyId": key}
    source = take(ec2.create_volume(**encrypted)["VolumeId"])
    share(ec2, source)
    vault = cloud.client("ec2", AWAY, OTHER)
    own = cloud.client("kms", AWAY, OTHER).create_key()["KeyMetadata"]["Arn"]

    made = copy(vault, source, Encrypted=True, KmsKeyId=own)
    cloud.client("kms", HOME).disable_key(KeyId=key.rpartition("/")[2])
    late = copy(vault, source, Encrypted=True, KmsKeyId=own)

    cloud.clock.advance(HOUR)
    assert (shown(vault, made)["State"], shown(vault, made)["KmsKeyId"]) == ("completed", own)
    assert shown(vault, late)["State"] == "error"
