"""What is in the way of a delete in the test cloud: images, locks, and the archive tier."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.cloud.ec2 import Outcome
from tests.cloud.in_process import InProcessCloud
from tests.contract.workbench import REGION as SERVED_REGION
from tests.contract.workbench import Bench
from tests.support.refusals import refused

REGION = "eu-west-1"
ACCOUNT = "123456789012"
NO_SNAPSHOT = "snap-12345678"
NO_IMAGE = "ami-12345678"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Take = Callable[..., str]


@pytest.fixture
def take(cloud: InProcessCloud, ec2: Any) -> Take:
    """Makes a snapshot, completed unless told otherwise; its id."""
    cloud.ec2.limits = False
    volume_id = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]

    def taken(*, pending: bool = False) -> str:
        snapshot_id = str(ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"])
        if not pending:
            cloud.clock.advance(timedelta(minutes=1))
        return snapshot_id

    return taken


def one_filter(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


# -- images -----------------------------------------------------------------------------------


def register(ec2: Any, *snapshot_ids: str) -> str:
    devices = [
        {"DeviceName": f"/dev/sd{letter}", "Ebs": {"SnapshotId": snapshot_id}}
        for letter, snapshot_id in zip("abc", snapshot_ids, strict=False)
    ]
    image = ec2.register_image(
        Name=f"image {len(ec2.describe_images(IncludeDisabled=True)['Images'])}",
        RootDeviceName="/dev/sda",
        BlockDeviceMappings=devices,
    )
    return str(image["ImageId"])


def images(ec2: Any, **options: Any) -> list[str]:
    found = ec2.describe_images(Owners=["self"], **options)["Images"]
    return [each["ImageId"] for each in found]


def test_an_image_is_found_by_a_snapshot_that_it_is_made_of(ec2: Any, take: Take) -> None:
    root, data, other = take(), take(), take()
    image_id = register(ec2, root, data)

    (found,) = ec2.describe_images(
        Owners=["self"], Filters=one_filter("block-device-mapping.snapshot-id", data, other)
    )["Images"]

    devices = found["BlockDeviceMappings"]
    assert (found["ImageId"], found["OwnerId"], found["State"]) == (image_id, ACCOUNT, "available")
    assert {each["Ebs"]["SnapshotId"] for each in devices} == {root, data}


def test_images_are_those_of_the_region_and_of_the_owner_that_is_asked_for(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    image_id = register(ec2, take())

    assert images(ec2) == [image_id]
    assert ec2.describe_images(Owners=["amazon"])["Images"] == []
    assert images(cloud.client("ec2", "us-east-1")) == []


def test_a_disabled_image_is_seen_only_by_who_asks_for_it_and_keeps_its_snapshots(
    ec2: Any, take: Take
) -> None:
    snapshot_id = take()
    image_id = register(ec2, snapshot_id)
    ec2.disable_image(ImageId=image_id)

    (found,) = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]

    assert found["State"] == "disabled"
    assert images(ec2) == []
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_the_snapshots_of_an_image_can_be_deleted_once_it_is_deregistered(
    ec2: Any, take: Take
) -> None:
    snapshot_id = take()
    image_id = register(ec2, snapshot_id)

    ec2.deregister_image(ImageId=image_id)

    ec2.delete_snapshot(SnapshotId=snapshot_id)
    with refused("InvalidAMIID.NotFound"):
        ec2.deregister_image(ImageId=image_id)


def test_no_image_is_made_of_a_snapshot_that_is_not_there(ec2: Any) -> None:
    with refused("InvalidSnapshot.NotFound"):
        register(ec2, NO_SNAPSHOT)

    assert images(ec2) == []


def test_images_come_in_pages(ec2: Any, take: Take) -> None:
    made = {register(ec2, take()) for _ in range(6)}

    pages = list(
        ec2.get_paginator("describe_images").paginate(
            Owners=["self"], PaginationConfig={"PageSize": 5}
        )
    )

    assert [len(page["Images"]) for page in pages] == [5, 1]
    assert {each["ImageId"] for page in pages for each in page["Images"]} == made


# -- locks ------------------------------------------------------------------------------------


def lock(ec2: Any, snapshot_id: str, mode: str = "governance", **options: Any) -> dict[str, Any]:
    given = {"LockMode": mode, "LockDuration": 1, **options}
    answer: dict[str, Any] = ec2.lock_snapshot(SnapshotId=snapshot_id, **given)
    return answer


def locked(ec2: Any, **options: Any) -> dict[str, str]:
    found = ec2.describe_locked_snapshots(**options)["Snapshots"]
    return {each["SnapshotId"]: each["LockState"] for each in found}


def test_a_locked_snapshot_is_not_deleted_until_its_lock_has_expired(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    snapshot_id = take()
    until = lock(ec2, snapshot_id, LockDuration=30)["LockExpiresOn"]

    cloud.clock.advance(30 * DAY - HOUR)
    with refused("OperationNotPermitted"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    before = locked(ec2)
    cloud.clock.advance(HOUR)

    assert until == cloud.clock.now()
    assert (before, locked(ec2)) == ({snapshot_id: "governance"}, {snapshot_id: "expired"})
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert locked(ec2) == {}


def test_a_lock_is_described_with_its_times(cloud: InProcessCloud, ec2: Any, take: Take) -> None:
    snapshot_id = take()
    now = cloud.clock.now()
    lock(ec2, snapshot_id, "compliance", LockDuration=2, CoolOffPeriod=3)

    (found,) = ec2.describe_locked_snapshots()["Snapshots"]

    assert found == {
        "SnapshotId": snapshot_id,
        "OwnerId": ACCOUNT,
        "LockState": "compliance-cooloff",
        "LockDuration": 2,
        "LockCreatedOn": now,
        "LockDurationStartTime": now,
        "LockExpiresOn": now + 2 * DAY,
        "CoolOffPeriod": 3,
        "CoolOffPeriodExpiresOn": now + 3 * HOUR,
    }


def test_a_lock_in_governance_mode_can_be_taken_away(ec2: Any, take: Take) -> None:
    snapshot_id = take()
    lock(ec2, snapshot_id)

    ec2.unlock_snapshot(SnapshotId=snapshot_id)

    assert locked(ec2) == {}
    ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_lock_in_compliance_mode_can_be_taken_away_only_while_it_cools_off(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    early, late = take(), take()
    for snapshot_id in (early, late):
        lock(ec2, snapshot_id, "compliance", CoolOffPeriod=1)

    with refused("OperationNotPermitted"):
        ec2.delete_snapshot(SnapshotId=early)
    ec2.unlock_snapshot(SnapshotId=early)
    cloud.clock.advance(HOUR)

    with refused("OperationNotPermitted"):
        ec2.unlock_snapshot(SnapshotId=late)
    assert locked(ec2) == {late: "compliance"}


@pytest.mark.parametrize(
    "change", [{"LockDuration": 9}, {"LockMode": "governance"}, {"CoolOffPeriod": 1}]
)
def test_a_lock_in_compliance_mode_can_only_be_extended(
    ec2: Any, take: Take, change: dict[str, Any]
) -> None:
    snapshot_id = take()
    lock(ec2, snapshot_id, "compliance", LockDuration=10)

    with refused("OperationNotPermitted"):
        lock(ec2, snapshot_id, **{"mode": "compliance", "LockDuration": 10, **change})

    assert lock(ec2, snapshot_id, "compliance", LockDuration=11)["LockDuration"] == 11


def test_the_time_of_a_lock_on_a_pending_snapshot_runs_from_its_completion(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    snapshot_id = take(pending=True)
    made = lock(ec2, snapshot_id)

    with refused("OperationNotPermitted"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    cloud.clock.advance(HOUR)

    assert not made.keys() & {"LockDurationStartTime", "LockExpiresOn"}
    (found,) = ec2.describe_locked_snapshots()["Snapshots"]
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert found["LockDurationStartTime"] == snapshot["CompletionTime"]
    assert found["LockExpiresOn"] == snapshot["CompletionTime"] + DAY


def test_a_snapshot_that_fails_has_no_lock(cloud: InProcessCloud, ec2: Any) -> None:
    volume_id = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    cloud.ec2.outcomes[volume_id] = Outcome(error="no")
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    lock(ec2, snapshot_id)

    cloud.clock.advance(HOUR)

    assert locked(ec2) == {}
    with refused("IncorrectState"):
        lock(ec2, snapshot_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_what_aws_says_to_unlocking_what_is_not_locked_is_not_modelled(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    with refused("NotModelled"):
        ec2.unlock_snapshot(SnapshotId=take())

    cloud.ec2.not_modelled.clear()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"LockMode": "strict"}, "InvalidParameterValue"),
        ({"LockDuration": 36_501}, "InvalidParameterValue"),
        ({"LockMode": "compliance", "CoolOffPeriod": 73}, "InvalidParameterValue"),
        ({"CoolOffPeriod": 1}, "InvalidParameterCombination"),
    ],
)
def test_a_lock_that_cannot_be_is_refused(
    ec2: Any, take: Take, given: dict[str, Any], code: str
) -> None:
    snapshot_id = take()

    with refused(code):
        ec2.lock_snapshot(
            **{"SnapshotId": snapshot_id, "LockMode": "governance", "LockDuration": 1} | given
        )

    assert locked(ec2) == {}


def test_locks_are_chosen_by_state_and_by_snapshot(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    short, long, _ = take(), take(), take()
    lock(ec2, short)
    lock(ec2, long, LockDuration=9)
    cloud.clock.advance(2 * DAY)

    expired = locked(ec2, Filters=one_filter("lock-state", "expired", "compliance"))

    assert expired == {short: "expired"}
    assert locked(ec2, SnapshotIds=[long]) == {long: "governance"}
    with refused("InvalidSnapshot.NotFound"):
        locked(ec2, SnapshotIds=[long, NO_SNAPSHOT])


def test_locks_come_in_pages(ec2: Any, take: Take) -> None:
    made = [take() for _ in range(6)]
    for snapshot_id in made:
        lock(ec2, snapshot_id)

    first = ec2.describe_locked_snapshots(MaxResults=5)
    rest = ec2.describe_locked_snapshots(MaxResults=5, NextToken=first["NextToken"])

    assert "NextToken" not in rest
    assert (len(first["Snapshots"]), len(rest["Snapshots"])) == (5, 1)
    found = {each["SnapshotId"] for page in (first, rest) for each in page["Snapshots"]}
    assert found == set(made)


# -- the archive ------------------------------------------------------------------------------


def archive(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    return answer


def tiers(ec2: Any, *filters: dict[str, Any]) -> list[dict[str, Any]]:
    found = ec2.describe_snapshot_tier_status(Filters=list(filters))
    return list(found["SnapshotTierStatuses"])


def test_a_snapshot_is_archived_after_the_time_that_it_takes(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    snapshot_id = take()
    cloud.ec2.archiving = DAY
    started = archive(ec2, snapshot_id)["TieringStartTime"]

    (moving,) = tiers(ec2)
    with refused("IncorrectState"):
        archive(ec2, snapshot_id)
    cloud.clock.advance(DAY)
    (moved,) = tiers(ec2)

    assert (moving["StorageTier"], moving["LastTieringOperationStatus"]) == (
        "standard",
        "archival-in-progress",
    )
    assert "ArchivalCompleteTime" not in moving
    assert (moved["StorageTier"], moved["LastTieringOperationStatus"]) == (
        "archive",
        "archival-completed",
    )
    assert moved["LastTieringStartTime"] == started
    assert moved["ArchivalCompleteTime"] == started + DAY


def test_an_archived_snapshot_is_described_as_such_and_can_be_deleted(ec2: Any, take: Take) -> None:
    archived, other = take(), take()
    archive(ec2, archived)

    found = ec2.describe_snapshots(
        OwnerIds=["self"], Filters=one_filter("storage-tier", "archive")
    )["Snapshots"]

    assert [(each["SnapshotId"], each["StorageTier"]) for each in found] == [(archived, "archive")]
    ec2.delete_snapshot(SnapshotId=archived)
    assert [each["SnapshotId"] for each in tiers(ec2)] == [other]


def test_tiers_are_chosen_by_snapshot_volume_and_last_operation(ec2: Any, take: Take) -> None:
    archived, other = take(), take()
    archive(ec2, archived)
    volume_id = tiers(ec2)[0]["VolumeId"]

    by_id = tiers(ec2, *one_filter("snapshot-id", other, NO_SNAPSHOT))
    by_volume = tiers(ec2, *one_filter("volume-id", volume_id))
    by_operation = tiers(ec2, *one_filter("last-tiering-operation", "archival-completed"))

    assert [each["SnapshotId"] for each in by_id] == [other]
    assert {each["SnapshotId"] for each in by_volume} == {archived, other}
    assert [each["SnapshotId"] for each in by_operation] == [archived]
    with refused("InvalidParameterValue"):
        tiers(ec2, *one_filter("storage-tier", "archive"))


def test_what_is_pending_archived_or_used_by_an_image_is_not_archived(ec2: Any, take: Take) -> None:
    archived, used, pending = take(), take(), take(pending=True)
    archive(ec2, archived)
    image_id = register(ec2, used)

    for snapshot_id in (pending, archived):
        with refused("IncorrectState"):
            archive(ec2, snapshot_id)
    with refused("InvalidSnapshot.InUse"):
        archive(ec2, used)

    ec2.disable_image(ImageId=image_id)
    archive(ec2, used)


# -- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("delete_snapshot", {}),
        ("lock_snapshot", {"LockMode": "governance", "LockDuration": 1}),
        ("unlock_snapshot", {}),
        ("modify_snapshot_tier", {"StorageTier": "archive"}),
    ],
)
@pytest.mark.parametrize(
    ("snapshot_id", "code"),
    [(NO_SNAPSHOT, "InvalidSnapshot.NotFound"), ("snap-1", "InvalidSnapshotID.Malformed")],
)
def test_a_snapshot_that_is_not_there_is_refused_by_every_call(
    ec2: Any, call: str, more: dict[str, Any], snapshot_id: str, code: str
) -> None:
    with refused(code):
        getattr(ec2, call)(SnapshotId=snapshot_id, **more)


def test_locks_and_tiers_of_a_new_snapshot_are_seen_only_after_the_lag(
    cloud: InProcessCloud, ec2: Any, take: Take
) -> None:
    cloud.ec2.lag = HOUR
    lock(ec2, take(pending=True))

    at_once = (locked(ec2), tiers(ec2))
    cloud.clock.advance(HOUR)

    assert at_once == ({}, [])
    assert (len(locked(ec2)), len(tiers(ec2))) == (1, 1)


def test_a_dry_run_changes_nothing(ec2: Any, take: Take) -> None:
    held, free = take(), take()
    image_id = register(ec2, held)
    lock(ec2, held)
    calls = [
        ("register_image", {"Name": "image", "BlockDeviceMappings": []}),
        ("disable_image", {"ImageId": image_id}),
        ("deregister_image", {"ImageId": image_id}),
        ("describe_images", {}),
        ("lock_snapshot", {"SnapshotId": free, "LockMode": "governance", "LockDuration": 1}),
        ("unlock_snapshot", {"SnapshotId": held}),
        ("describe_locked_snapshots", {}),
        ("modify_snapshot_tier", {"SnapshotId": free, "StorageTier": "archive"}),
        ("describe_snapshot_tier_status", {}),
    ]

    for call, given in calls:
        with refused("DryRunOperation"):
            getattr(ec2, call)(**given, DryRun=True)

    assert images(ec2) == [image_id]
    assert locked(ec2) == {held: "governance"}
    assert {each["StorageTier"] for each in tiers(ec2)} == {"standard"}


def test_the_cloud_behind_http_has_the_same_obstacles(bench: Bench) -> None:
    ec2 = bench.client("ec2")
    volume_id = ec2.create_volume(AvailabilityZone=f"{SERVED_REGION}a", Size=1)["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    bench.cloud.advance(by=timedelta(minutes=1))
    image_id = register(ec2, snapshot_id)
    ec2.disable_image(ImageId=image_id)
    archive(ec2, snapshot_id)
    lock(ec2, snapshot_id, LockDuration=2)

    (image,) = ec2.describe_images(
        Owners=["self"],
        IncludeDisabled=True,
        Filters=one_filter("block-device-mapping.snapshot-id", snapshot_id),
    )["Images"]
    (tier,) = tiers(ec2, *one_filter("snapshot-id", snapshot_id))
    with refused("OperationNotPermitted"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    bench.cloud.advance(by=2 * DAY)
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)

    assert (image["ImageId"], image["State"]) == (image_id, "disabled")
    assert tier["StorageTier"] == "archive"
    assert locked(ec2, SnapshotIds=[snapshot_id]) == {snapshot_id: "expired"}
