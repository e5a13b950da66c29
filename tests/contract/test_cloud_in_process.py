"""The in-process cloud: faults, the call log, isolation, closed Regions, loud refusals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from moto.server import ThreadedMotoServer

from tests.cloud import ec2 as model
from tests.cloud.clock import Clock
from tests.cloud.faults import KILL, LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud, Invocation, NotModelledCalls, in_process_cloud
from tests.cloud.killed import Killed
from tests.support.refusals import refused

T0 = datetime(2025, 3, 1, 3, 0, tzinfo=UTC)
REGION = "eu-west-1"


def volume(ec2: Any, **options: Any) -> str:
    made = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8, **options)
    return str(made["VolumeId"])


# -- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("ec2", "describe_volumes", {}),
        ("dynamodb", "list_tables", {}),
        ("sqs", "list_queues", {}),
        ("events", "list_rules", {}),
        ("ssm", "get_parameter", {"Name": "p"}),
        ("sts", "get_caller_identity", {}),
        ("iam", "list_roles", {}),
        ("stepfunctions", "list_state_machines", {}),
        ("scheduler", "list_schedules", {}),
        ("cloudwatch", "list_metrics", {}),
        ("s3", "list_buckets", {}),
    ],
)
def test_a_fault_is_read_by_botocore_as_the_services_own_error(
    cloud: InProcessCloud, service: str, operation: str, params: dict[str, Any]
) -> None:
    cloud.faults.spoil(f"{service}.*", aws_error("SomeCode", "some <text>", status=418))

    with pytest.raises(ClientError) as caught:
        getattr(cloud.client(service, REGION), operation)(**params)

    assert caught.value.response["Error"]["Code"] == "SomeCode"
    assert caught.value.response["Error"]["Message"] == "some <text>"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 418


def test_a_fault_strikes_only_the_calls_it_was_planned_for(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.faults.spoil("ec2.DescribeVolumes", aws_error("InternalError"), times=2, after=1)

    ec2.describe_volumes()
    ec2.describe_snapshots()
    for _ in range(2):
        with refused("InternalError"):
            ec2.describe_volumes()
    ec2.describe_volumes()


def test_botocore_retries_a_throttled_call_and_it_is_logged_once(cloud: InProcessCloud) -> None:
    retrying = boto3.client(
        "ec2",
        region_name=REGION,
        config=Config(retries={"mode": "standard", "total_max_attempts": 2}),
    )
    cloud.faults.spoil("ec2.DescribeVolumes", aws_error("RequestLimitExceeded", status=503))

    answer = retrying.describe_volumes()

    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    assert [call.name for call in cloud.calls] == ["ec2.DescribeVolumes"]


def test_a_lost_reply_leaves_its_effect(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.faults.spoil("ec2.CreateVolume", LOST_REPLY)

    with pytest.raises(ReadTimeoutError):
        volume(ec2)

    assert len(ec2.describe_volumes()["Volumes"]) == 1


def test_an_error_of_what_is_done_already_leaves_its_effect(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.faults.spoil("ec2.CreateVolume", aws_error("Known", done=True))

    with refused("Known"):
        volume(ec2)

    assert len(ec2.describe_volumes()["Volumes"]) == 1


def test_a_call_can_fail_before_it_reaches_aws(cloud: InProcessCloud, ec2: Any) -> None:
    cloud.faults.spoil("ec2.Create*", EndpointConnectionError(endpoint_url="https://ec2"))

    with pytest.raises(EndpointConnectionError):
        volume(ec2)

    assert ec2.describe_volumes()["Volumes"] == []


def test_a_fault_on_a_whole_call_outlasts_botocores_retries(cloud: InProcessCloud) -> None:
    retrying = boto3.client(
        "ec2",
        region_name=REGION,
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
    )
    cloud.faults.spoil("ec2.*", aws_error("Unavailable", status=503), after=1, whole=True)

    retrying.describe_volumes()
    with refused("Unavailable"):
        retrying.describe_volumes()
    retrying.describe_volumes()

    assert len(cloud.calls) == 3
    assert len(cloud.attempts) == 5


def test_a_fault_can_be_meant_for_the_calls_of_one_function(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.faults.spoil("ec2.*", aws_error("InternalError"), by="sweep")

    ec2.describe_volumes()
    with cloud.running("sweep"), refused("InternalError"):
        ec2.describe_volumes()

    assert [call.by for call in cloud.calls] == [None, "sweep"]


def test_a_function_that_is_killed_has_had_its_effect_and_makes_no_further_call(
    cloud: InProcessCloud, ec2: Any
) -> None:
    cloud.faults.spoil("ec2.CreateVolume", KILL)

    with cloud.running("create_snapshots"):
        with pytest.raises(Killed):
            volume(ec2)
        with pytest.raises(Killed):
            ec2.describe_volumes()

    assert len(ec2.describe_volumes()["Volumes"]) == 1
    assert len(cloud.calls) == 2


def test_an_asynchronous_invocation_is_noted_and_can_fail_as_any_call(
    cloud: InProcessCloud,
) -> None:
    ask = {"FunctionName": "planner", "InvocationType": "Event", "Payload": b'{"policy": "web"}'}
    cloud.faults.spoil("lambda.Invoke", aws_error("ServiceException", status=500))

    with refused("ServiceException"):
        cloud.client("lambda", REGION).invoke(**ask)
    reply = cloud.client("lambda", REGION).invoke(**ask)

    assert reply["StatusCode"] == 202
    assert cloud.invocations == [Invocation("planner", {"policy": "web"})]


# -- the log, and one test beside another -----------------------------------------------------


def test_every_call_of_every_client_is_logged(cloud: InProcessCloud, ec2: Any) -> None:
    ec2.describe_volumes(MaxResults=5)
    boto3.client("sts", region_name="us-east-2").get_caller_identity()

    (described,) = cloud.calls.of("ec2.Describe*")
    assert described.region == REGION
    assert described.params == {"MaxResults": 5}
    assert [(call.name, call.region) for call in cloud.calls.of("sts.*")] == [
        ("sts.GetCallerIdentity", "us-east-2")
    ]


def test_nothing_is_left_for_the_next_cloud() -> None:
    with in_process_cloud(T0) as first:
        ec2 = first.client("ec2", REGION)
        ec2.create_snapshot(VolumeId=volume(ec2))
        first.faults.spoil("ec2.*", aws_error("InternalError"))
    with in_process_cloud(T0 + timedelta(days=1)) as second:
        seen = second.client("ec2", REGION).describe_snapshots(OwnerIds=["self"])["Snapshots"]
        second.clock.advance(timedelta(hours=1))

    assert seen == []
    assert second.events == []


def test_the_cloud_stands_at_its_start_and_moves_when_told(cloud: InProcessCloud, ec2: Any) -> None:
    first = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["CreateTime"]
    cloud.clock.advance(timedelta(hours=3))
    second = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["CreateTime"]

    assert (first, second) == (T0, T0 + timedelta(hours=3))


# -- what the cloud refuses -------------------------------------------------------------------


def test_a_region_that_is_not_enabled_knows_no_credentials(cloud: InProcessCloud) -> None:
    cloud.ec2.closed_regions.add("eu-south-2")
    closed = cloud.client("ec2", "eu-south-2")

    with refused("AuthFailure"):
        closed.describe_instances(MaxResults=5)
    with refused("AuthFailure"):
        closed.describe_vpcs()

    cloud.client("ec2", REGION).describe_vpcs()


@pytest.mark.parametrize(
    ("operation", "params", "named"),
    [
        ("create_snapshot", {"VolumeId": "vol-1", "Location": "local"}, "Location"),
        (
            "create_snapshots",
            {"InstanceSpecification": {"InstanceId": "i-1"}, "OutpostArn": "a"},
            "OutpostArn",
        ),
        ("describe_volumes", {"IncludeManagedResources": True}, "IncludeManagedResources"),
        (
            "create_volume",
            {"AvailabilityZone": "a", "VolumeInitializationRate": 100},
            "VolumeInitializationRate",
        ),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": [{"Ebs": {"OutpostArn": "a"}}]},
            "BlockDeviceMappings.Ebs.OutpostArn",
        ),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "Placement": {"SpreadDomain": "x"}},
            "Placement.SpreadDomain",
        ),
        ("describe_vpcs", {"MaxResults": 5}, "MaxResults"),
    ],
)
def test_a_parameter_that_is_not_modelled_is_refused_by_name(
    cloud: InProcessCloud, ec2: Any, operation: str, params: dict[str, Any], named: str
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(ec2, operation)(**params)

    assert caught.value.response["Error"]["Code"] == "NotModelled"
    assert f"the parameter {named} " in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    cloud.ec2.not_modelled.clear()


def test_a_swallowed_refusal_of_the_unmodelled_still_fails_the_test() -> None:
    with (
        pytest.raises(NotModelledCalls, match="Location"),
        in_process_cloud(T0) as cloud,
        refused("NotModelled"),
    ):
        cloud.client("ec2", REGION).create_snapshot(VolumeId="vol-1", Location="local")


# -- without mock_aws -------------------------------------------------------------------------


def test_the_model_works_behind_motos_server_and_is_gone_after_it() -> None:
    events: list[tuple[str, str, dict[str, Any]]] = []
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    with Clock(T0) as clock:
        uninstall = model.install(clock, lambda *event: events.append(event))
        server.start()
        try:
            host, port = server.get_host_and_port()
            ec2 = boto3.client("ec2", region_name=REGION, endpoint_url=f"http://{host}:{port}")
            ec2.create_snapshot(VolumeId=volume(ec2))
            clock.advance(timedelta(minutes=1))
            (found,) = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)["Snapshots"]
            with refused("NotModelled"):
                ec2.create_snapshot(VolumeId="vol-1", Location="local")
            uninstall()
            after = ec2.create_snapshot(VolumeId=found["VolumeId"])
        finally:
            server.stop()

    assert found["State"] == "completed"
    assert [(account, region) for account, region, _ in events] == [("123456789012", REGION)]
    assert after["State"] == "completed"


def test_what_is_taken_off_the_clock_does_not_run(cloud: InProcessCloud) -> None:
    ran: list[str] = []
    due = cloud.clock.now() + timedelta(minutes=1)
    forget = cloud.clock.at(due, lambda: ran.append("forgotten"))
    cloud.clock.at(due, lambda: ran.append("kept"))

    forget()
    cloud.clock.advance(timedelta(minutes=2))
    forget()

    assert ran == ["kept"]
