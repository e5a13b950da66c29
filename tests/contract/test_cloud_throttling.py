"""The test cloud throttles EC2's APIs as AWS does, when it is told to."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.cloud.ec2.throttling import Api, Bucket
from tests.cloud.in_process import InProcessCloud
from tests.support.refusals import refused

REGION = "eu-west-1"
ACCOUNT = "123456789012"
NO_ID = "snap-12345678"
FILTERS = [{"Name": "status", "Values": ["in-use"]}]

Ask = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def throttling(cloud: InProcessCloud) -> None:
    cloud.ec2.throttling = True


def bucket(cloud: InProcessCloud, operation: str, *, broad: bool = False) -> Bucket:
    return cloud.ec2.buckets[Api(ACCOUNT, REGION, operation, broad)]


def describe(ec2: Any) -> Any:
    return ec2.describe_volumes(MaxResults=5)


def tag(ec2: Any) -> Any:
    return ec2.create_tags(Resources=["vol-12345678"], Tags=[{"Key": "a", "Value": "b"}])


def asked(ec2: Any, ask: Ask) -> str | None:
    """The error code of one call, none if it passed."""
    try:
        ask(ec2)
    except ec2.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def passed(ec2: Any, ask: Ask) -> int:
    """How many calls get past the bucket, one after another, until one does not."""
    count = 0
    while asked(ec2, ask) != "RequestLimitExceeded":
        count += 1
    return count


@pytest.mark.parametrize(
    ("ask", "size", "per_second"),
    [
        (describe, 100, 20),
        (lambda ec2: ec2.describe_volumes(Filters=FILTERS), 100, 20),
        (lambda ec2: ec2.describe_volumes(), 50, 10),
        (lambda ec2: ec2.describe_instances(), 50, 10),
        (lambda ec2: ec2.describe_snapshots(OwnerIds=["self"]), 50, 10),
        (lambda ec2: ec2.describe_regions(), 100, 20),
        (lambda ec2: ec2.create_snapshot(VolumeId="vol-12345678"), 100, 5),
        (
            lambda ec2: ec2.create_snapshots(InstanceSpecification={"InstanceId": "i-12345678"}),
            100,
            5,
        ),
        (lambda ec2: ec2.delete_snapshot(SnapshotId=NO_ID), 100, 5),
        (tag, 100, 10),
        (lambda ec2: ec2.run_instances(ImageId="nonsense", MinCount=1, MaxCount=1), 5, 2),
        (lambda ec2: ec2.stop_instances(InstanceIds=["i-12345678"]), 50, 5),
    ],
)
def test_each_api_has_a_bucket_of_its_size_and_refill(
    cloud: InProcessCloud, ec2: Any, ask: Ask, size: int, per_second: int
) -> None:
    at_first = passed(ec2, ask)
    cloud.clock.advance(timedelta(seconds=1))
    a_second_later = passed(ec2, ask)

    assert (at_first, a_second_later) == (size, per_second)


def test_a_throttled_call_has_no_effect_and_says_so_as_ec2_does(
    cloud: InProcessCloud, ec2: Any
) -> None:
    volume_id = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    passed(ec2, lambda ec2: ec2.create_snapshot(VolumeId="vol-12345678"))

    with refused("RequestLimitExceeded") as caught:
        ec2.create_snapshot(VolumeId=volume_id)

    answer = caught.value.response
    assert answer["Error"]["Message"] == "Request limit exceeded."
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_a_throttled_call_takes_no_token(cloud: InProcessCloud, ec2: Any) -> None:
    passed(ec2, describe)
    for _ in range(50):
        asked(ec2, describe)

    cloud.clock.advance(timedelta(milliseconds=50))

    assert passed(ec2, describe) == 1


def test_calls_at_the_pace_of_the_refill_are_never_throttled(
    cloud: InProcessCloud, ec2: Any
) -> None:
    passed(ec2, tag)

    for _ in range(300):
        cloud.clock.advance(timedelta(milliseconds=100))
        assert asked(ec2, tag) != "RequestLimitExceeded"


def test_a_bucket_holds_no_more_than_its_size(cloud: InProcessCloud, ec2: Any) -> None:
    passed(ec2, describe)

    cloud.clock.advance(timedelta(days=1))

    assert passed(ec2, describe) == 100


def test_each_api_and_region_has_a_bucket_of_its_own(cloud: InProcessCloud, ec2: Any) -> None:
    passed(ec2, describe)

    assert asked(ec2, lambda ec2: ec2.describe_snapshots(MaxResults=5)) is None
    assert asked(ec2, lambda ec2: ec2.describe_volumes()) is None
    assert asked(cloud.client("ec2", "us-east-1"), describe) is None


def test_a_bucket_tells_its_tokens_and_the_fewest_it_ever_had(
    cloud: InProcessCloud, ec2: Any
) -> None:
    for _ in range(30):
        describe(ec2)
    cloud.clock.advance(timedelta(seconds=1))

    volumes = bucket(cloud, "DescribeVolumes")
    assert volumes.tokens(cloud.clock.now()) == 90
    assert (volumes.lowest, volumes.taken, volumes.refused) == (70, 30, 0)


def test_nothing_is_throttled_unless_it_is_asked_for(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.ec2.throttling = False

    for _ in range(101):
        describe(ec2)

    assert cloud.ec2.buckets == {}
