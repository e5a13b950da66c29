"""What pruning needs of EC2, S3, SQS and Lambda, by the adapters that are deployed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.aws.compute import Ec2Compute
from lastgood.aws.invoking import LambdaPruners
from lastgood.aws.plans import S3Plans
from lastgood.aws.queue import SqsPruneQueue
from lastgood.domain import tags
from lastgood.domain.model import PointStatus
from lastgood.domain.prune_plan import Fate, Part, PointPlan, PruneMessage, SourcePlan
from lastgood.errors import AccessDenied, Throttled, UnknownTarget
from tests.cloud.faults import aws_error
from tests.support.builders import SOURCE, T0
from tests.support.fleet import tagged, volume

REGION = "eu-west-1"


@pytest.fixture
def compute(ec2):
    return Ec2Compute(ec2, ec2)


@pytest.fixture
def made(cloud, ec2):
    """Snapshots of one volume, complete, with the tags given."""

    def making(*each, policy="web-daily"):
        cloud.ec2.limits = False
        one = volume(ec2, f"{REGION}a")
        ids = [
            ec2.create_snapshot(
                VolumeId=one,
                TagSpecifications=[tagged("snapshot", {tags.POLICY: policy, **more})],
            )["SnapshotId"]
            for more in each
        ]
        cloud.clock.advance(timedelta(hours=1))
        return ids

    return making


def found(pages):
    return {one.member.snapshot for page in pages for one in page.items}


def test_snapshots_are_found_by_tags_of_a_policy_and_a_key_without_values_stands_for_any(
    compute, made
):
    held, kept, _ = made({tags.HOLD: "x"}, {"keep": "yes", "team": "web"}, {"keep": "no"})
    made({tags.HOLD: "x", "keep": "yes", "team": "web"}, policy="other")

    assert found(compute.snapshots_tagged("web-daily", {tags.HOLD: ()})) == {held}
    match = {"keep": ("yes", "ever"), "team": ("web",)}
    assert found(compute.snapshots_tagged("web-daily", match)) == {kept}


def test_one_snapshot_is_found_by_its_id_and_one_that_is_gone_is_none(compute, made, ec2):
    one, other = made({}, {})
    ec2.delete_snapshot(SnapshotId=other)

    assert compute.snapshot(one).member.snapshot == one
    assert compute.snapshot(other) is None


def test_locks_that_have_run_out_are_none(compute, made, ec2, cloud):
    short, long, _ = made({}, {}, {})
    ec2.lock_snapshot(SnapshotId=short, LockMode="governance", LockDuration=1)
    ec2.lock_snapshot(SnapshotId=long, LockMode="governance", LockDuration=90)

    assert set(compute.locked()) == {short, long}
    cloud.clock.advance(timedelta(days=2))
    assert set(compute.locked()) == {long}
    assert compute.locked()[long].startswith("locked (governance) until 2025-05-")


def test_more_locks_than_a_page_holds_are_all_found(compute, made, ec2):
    ids = made(*[{}] * 12)
    for one in ids:
        ec2.lock_snapshot(SnapshotId=one, LockMode="governance", LockDuration=9)
    call = ec2.describe_locked_snapshots

    def five(**request):
        return call(**{**request, "MaxResults": 5})

    ec2.describe_locked_snapshots = five

    assert set(compute.locked()) == set(ids)


def test_images_are_found_by_what_they_are_made_of_also_when_they_are_disabled(compute, made, ec2):
    used, retired, free = made({}, {}, {})
    images = [
        ec2.register_image(
            Name=f"image of {one}",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": one}}],
        )["ImageId"]
        for one in (used, retired)
    ]
    ec2.disable_image(ImageId=images[1])

    assert compute.images_of([used, retired, free]) == {
        used: f"used by {images[0]}",
        retired: f"used by {images[1]}, which is disabled",
    }
    assert compute.images_of([]) == {}


def test_what_is_archived_is_told_with_the_time(compute, made, ec2, cloud):
    old, _ = made({tags.POINT: "pt-1"}, {tags.POINT: "pt-1"})
    ec2.modify_snapshot_tier(SnapshotId=old, StorageTier="archive")
    archived = cloud.clock.now()

    snapshots = compute.snapshots_of_points(["pt-1"])["pt-1"]

    assert {one.member.snapshot: one.archived for one in snapshots}[old]
    assert sum(one.archived for one in snapshots) == 1
    (at,) = compute.archived_at([old]).values()
    assert abs(at - archived) < timedelta(seconds=1)


def test_a_tag_is_put_on_and_taken_off_and_others_stay(compute, made):
    one, other = made({"team": "web"}, {})

    compute.tag_snapshots([one, other], tags.HOLD, "anna: audit")
    assert compute.snapshot(one).tags[tags.HOLD] == "anna: audit"

    compute.untag_snapshots([one], tags.HOLD, "anna: audit")
    assert compute.snapshot(one).tags == {tags.POLICY: "web-daily", "team": "web"}
    assert tags.HOLD in compute.snapshot(other).tags


def test_snapshots_that_are_gone_or_bear_another_value_are_passed_over(compute, made):
    one, other = made({tags.HOLD: "legal"}, {})

    compute.tag_snapshots([one, other, "snap-12345678"], tags.HOLD, "anna: audit")
    assert compute.snapshot(one).tags[tags.HOLD] == "legal"
    assert compute.snapshot(other).tags[tags.HOLD] == "anna: audit"

    compute.untag_snapshots([one, other, "snap-12345678"], tags.HOLD, "anna: audit")
    assert compute.snapshot(one).tags[tags.HOLD] == "legal"
    assert tags.HOLD not in compute.snapshot(other).tags


def test_a_snapshot_that_goes_in_between_leaves_no_other_without_its_tag(cloud, compute, made):
    one, other = made({}, {})
    gone = aws_error("InvalidSnapshot.NotFound", "gone", 400)
    cloud.faults.spoil("ec2.CreateTags", gone, times=2)

    compute.tag_snapshots([one, other], tags.HOLD, "anna: audit")

    found = [compute.snapshot(each).tags.get(tags.HOLD) for each in (one, other)]
    assert sorted(map(str, found)) == ["None", "anna: audit"]


# -- plans, messages, invocations -------------------------------------------------------------

POINT = PointPlan(
    id="pt-1",
    status=PointStatus.AVAILABLE,
    taken_at=T0,
    snapshots=("snap-1",),
    gib=8,
    fate=Fate.DELETE,
    reasons=("daily: used up",),
)
PART = Part(
    plan="plan-1",
    policy="web-daily",
    number=3,
    sources=(SourcePlan(source=SOURCE, points=(POINT,)),),
)


@pytest.fixture
def plans(cloud):
    client = cloud.client("s3", REGION)
    client.create_bucket(Bucket="plans", CreateBucketConfiguration={"LocationConstraint": REGION})
    return S3Plans(client, "plans")


def test_a_part_is_read_back_as_it_was_stored_last(plans):
    plans.put(PART)
    plans.put(replace(PART, sources=()))
    plans.put(PART)

    assert plans.get("web-daily", "plan-1", 3) == PART
    assert plans.place("web-daily", "plan-1") == "s3://plans/plans/web-daily/plan-1/"


def test_a_part_that_is_not_there_is_told_so(plans):
    with pytest.raises(UnknownTarget, match="make a new plan"):
        plans.get("web-daily", "plan-1", 3)


@pytest.mark.parametrize(
    ("code", "status", "error"), [("AccessDenied", 403, AccessDenied), ("SlowDown", 503, Throttled)]
)
def test_errors_of_s3_are_told_as_ours(plans, cloud, code, status, error):
    cloud.faults.spoil("s3.*", aws_error(code, status=status), times=99)

    with pytest.raises(error, match="store part 3 of plan-1"):
        plans.put(PART)


def test_messages_ask_for_parts_of_a_plan(cloud):
    client = cloud.client("sqs", REGION)
    url = client.create_queue(QueueName="prune")["QueueUrl"]

    SqsPruneQueue(client, url).send(
        PruneMessage(plan="plan-1", policy="web-daily", slice=number) for number in range(12)
    )

    depth = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert depth["ApproximateNumberOfMessages"] == "12"
    assert len(cloud.calls.of("sqs.SendMessageBatch")) == 2


def test_a_pruner_is_asked_for_without_waiting_for_it(cloud):
    LambdaPruners(cloud.client("lambda", REGION), "pruner").ask("web-daily", T0, dry_run=True)

    (asked,) = cloud.invocations
    assert asked.function == "pruner"
    assert asked.event == {"policy": "web-daily", "slot": "2026-03-01T02:00:00Z", "dry_run": True}
