"""The faults that are planned from outside the test cloud strike as they would on AWS."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.cloud.clock import Clock
from tests.cloud.driver import CloudProcess
from tests.cloud.faults import (
    DELAYED,
    DOUBLED,
    DROPPED,
    KILL,
    LOST_REPLY,
    REORDERED,
    CallFault,
    EventFault,
    EventFaults,
    aws_error,
)
from tests.contract.workbench import REGION, Bench
from tests.support.refusals import refused

SEND = "sqs.SendMessage"


@pytest.fixture(autouse=True)
def faultless_afterwards(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test sees the faults of another, and no fault is one of the cloud itself."""
    if "bench" not in request.fixturenames:
        yield
        return
    served: CloudProcess = request.getfixturevalue("served")
    before = served.errors()
    yield
    served.clear_faults()
    served.conditions(throttling=False, limits=True, lag=timedelta(0))
    assert served.errors() == before


def send(queue: tuple[str, str], text: str = "x") -> tuple[str, str, dict[str, str]]:
    """A call for the handler of a bench's function."""
    return ("sqs", "send_message", {"QueueUrl": queue[0], "MessageBody": text})


def bodies(bench: Bench, queue: tuple[str, str]) -> list[str]:
    return sorted(message["Body"] for message in bench.messages(queue))


# -- calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("ec2", "describe_volumes", {}),
        ("dynamodb", "list_tables", {}),
        ("sqs", "list_queues", {}),
        ("sns", "list_topics", {}),
        ("lambda", "list_functions", {}),
        ("ssm", "get_parameter", {"Name": "p"}),
        ("events", "list_rules", {}),
        ("kms", "list_keys", {}),
        ("s3", "list_buckets", {}),
    ],
)
def test_an_error_is_answered_in_the_services_own_format(
    bench: Bench, service: str, operation: str, params: dict[str, Any]
) -> None:
    bench.cloud.add_fault(f"{service}.*", aws_error("SomeCode", "some <text>", 503))

    with refused("SomeCode") as caught:
        getattr(bench.client(service), operation)(**params)

    answer = caught.value.response
    assert answer["Error"]["Message"] == "some <text>"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_fault_strikes_so_many_calls_after_so_many(bench: Bench) -> None:
    queue = bench.queue()
    bench.cloud.add_fault(SEND, aws_error("InternalError"), times=2, after=1)
    sqs = bench.client("sqs")

    sqs.send_message(QueueUrl=queue[0], MessageBody="1")
    for _ in range(2):
        with refused("InternalError"):
            sqs.send_message(QueueUrl=queue[0], MessageBody="lost")
    sqs.send_message(QueueUrl=queue[0], MessageBody="2")

    assert bodies(bench, queue) == ["1", "2"]


def test_a_fault_of_the_whole_call_strikes_each_of_its_retries(bench: Bench) -> None:
    queue = bench.queue()
    retrying = bench.client("sqs", Config(retries={"mode": "standard", "total_max_attempts": 2}))
    throttled = aws_error("RequestThrottled", status=429)

    bench.cloud.add_fault(SEND, throttled)
    retrying.send_message(QueueUrl=queue[0], MessageBody="at the second try")
    bench.cloud.clear_faults()
    bench.cloud.add_fault(SEND, throttled, whole=True)
    with refused("RequestThrottled"):
        retrying.send_message(QueueUrl=queue[0], MessageBody="never")
    retrying.send_message(QueueUrl=queue[0], MessageBody="the next call")

    assert bodies(bench, queue) == ["at the second try", "the next call"]


def test_a_lost_reply_leaves_its_effect_and_breaks_the_connection_at_once(bench: Bench) -> None:
    queue = bench.queue()
    bench.cloud.add_fault(SEND, LOST_REPLY)

    with pytest.raises(ConnectionClosedError):
        bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")

    assert bodies(bench, queue) == ["x"]


def test_an_error_of_what_is_done_already_leaves_its_effect(bench: Bench) -> None:
    queue = bench.queue()
    bench.cloud.add_fault(SEND, aws_error("Known", done=True))

    with refused("Known"):
        bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")

    assert bodies(bench, queue) == ["x"]


def test_a_fault_can_be_for_the_calls_of_one_function_only(bench: Bench) -> None:
    queue = bench.queue()
    struck = bench.function(("sqs:SendMessage", queue[1]))
    other = Bench(bench.cloud)
    spared = other.function(("sqs:SendMessage", queue[1]))
    bench.cloud.add_fault(SEND, aws_error("Struck"), by=bench.name("function"))

    assert other.invoke(spared, {"calls": [send(queue, "spared")]}) is None
    bench.client("sqs").send_message(QueueUrl=queue[0], MessageBody="mine")
    failed = bench.invoke(struck, {"calls": [send(queue)]})

    assert "(Struck)" in failed["errorMessage"]
    assert bodies(bench, queue) == ["mine", "spared"]


# -- the death of a function ------------------------------------------------------------------


def test_a_function_dies_after_the_effect_of_its_call(bench: Bench) -> None:
    queue = bench.queue()
    function = bench.function(("sqs:SendMessage", queue[1]))
    bench.cloud.kill(bench.name("function"), after=2)

    ended = bench.invoke(function, {"calls": [send(queue, text) for text in "123"]})

    assert ended["errorType"] == "Runtime.ExitError"
    assert ended["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    assert bodies(bench, queue) == ["1", "2"]
    assert bench.invoke(function, {"calls": [send(queue, "4")]}) is None


def test_the_messages_of_a_function_that_died_come_back_after_their_visibility(
    bench: Bench,
) -> None:
    work, done = bench.queue("work", VisibilityTimeout="60"), bench.queue("done")
    function = bench.function(*bench.reading(work), ("sqs:SendMessage", done[1]))
    bench.client("lambda").create_event_source_mapping(
        EventSourceArn=work[1], FunctionName=function
    )
    bench.cloud.kill(bench.name("function"), after=1)
    order = json.dumps({"calls": [send(done, "first"), send(done, "second")]})
    bench.client("sqs").send_message(QueueUrl=work[0], MessageBody=order)

    bench.cloud.settle()
    at_once = bodies(bench, done)
    bench.cloud.advance(by=timedelta(minutes=2))

    assert at_once == ["first"]
    # the one that was looked at before is visible again
    assert bodies(bench, done) == ["first", "first", "second"]
    name = bench.name("function")
    runs = [i for i in bench.cloud.state()["invocations"] if i["function"] == name]
    assert [run["error"] for run in runs] == [True, False]


def test_only_a_function_can_be_killed() -> None:
    with pytest.raises(ValueError, match="whose process"):
        CallFault("*", KILL).to_json()


# -- conditions -------------------------------------------------------------------------------


def test_throttling_is_switched_on_from_outside_and_its_buckets_are_seen(bench: Bench) -> None:
    assert bench.cloud.conditions(throttling=True)["throttling"]
    ec2 = bench.client("ec2")

    codes = []
    for _ in range(10):
        with pytest.raises(ClientError) as caught:
            ec2.run_instances(ImageId="nonsense", MinCount=1, MaxCount=1)
        codes.append(caught.value.response["Error"]["Code"])

    (bucket,) = [
        each for each in bench.cloud.conditions()["buckets"] if each["operation"] == "RunInstances"
    ]
    assert (bucket["region"], bucket["size"], bucket["per_second"]) == (REGION, 5, 2)
    assert bucket["lowest"] < 1
    assert codes[:5] == ["InvalidAMIID.Malformed"] * 5
    assert bucket["refused"] == codes.count("RequestLimitExceeded") > 0


def test_the_lag_and_the_limits_are_set_from_outside(bench: Bench) -> None:
    ec2 = bench.client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    bench.cloud.conditions(lag=timedelta(hours=1), limits=False)

    made = [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(6)]

    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=made)
    bench.cloud.advance(by=timedelta(hours=1))
    assert len(ec2.describe_snapshots(SnapshotIds=made)["Snapshots"]) == 6


# -- events -----------------------------------------------------------------------------------


class Arrivals:
    """What comes out of ``EventFaults``: the names of the events, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.names: list[str] = []
        self.faults = EventFaults(clock, lambda *arrived: self.names.append(arrived[-1]["id"]))

    def emit(self, names: str, detail_type: str = "EBS Snapshot Notification") -> None:
        for name in names:
            self.faults.emit("1", REGION, {"id": name, "detail-type": detail_type})

    @property
    def text(self) -> str:
        return "".join(self.names)


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    with Clock(datetime(2026, 3, 1, tzinfo=UTC)) as clock:
        yield Arrivals(clock)


@pytest.mark.parametrize(
    ("fault", "arrived"),
    [
        (EventFault(DROPPED), "bcd"),
        (EventFault(DROPPED, times=2, after=1), "ad"),
        (EventFault(DOUBLED), "aabcd"),
        (EventFault(DELAYED, seconds=60), "bcd"),
        (EventFault(REORDERED), "bacd"),
        (EventFault(REORDERED, times=2), "cbad"),
        (EventFault(DROPPED, detail_type="EBS Multi-Volume*"), "abcd"),
    ],
)
def test_an_event_goes_astray_as_planned(
    arrivals: Arrivals, fault: EventFault, arrived: str
) -> None:
    arrivals.faults.add(fault)

    arrivals.emit("abcd")

    assert arrivals.text == arrived


def test_a_delayed_event_arrives_on_the_clock(arrivals: Arrivals) -> None:
    arrivals.faults.add(EventFault(DELAYED, seconds=60))
    arrivals.emit("ab")

    arrivals.clock.advance(timedelta(seconds=59))
    before = arrivals.text
    arrivals.clock.advance(timedelta(seconds=1))

    assert (before, arrivals.text) == ("b", "ba")


def test_an_event_that_no_other_follows_arrives_when_the_faults_are_cleared(
    arrivals: Arrivals,
) -> None:
    arrivals.faults.add(EventFault(REORDERED))
    arrivals.emit("a")
    assert arrivals.text == ""

    arrivals.faults.clear()

    assert arrivals.text == "a"


def test_events_of_ebs_are_spoiled_from_outside(bench: Bench) -> None:
    queue, ec2, events = bench.queue(), bench.client("ec2"), bench.client("events")
    bench.let_in(queue, "events.amazonaws.com")
    rule = bench.name("ebs")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": ["aws.ec2"]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": queue[1]}])
    bench.cloud.add_event_fault(DROPPED)
    bench.cloud.add_event_fault(DOUBLED, after=1)
    ids = [ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"] for _ in range(2)]

    for volume in ids:
        ec2.create_snapshot(VolumeId=volume)
        bench.cloud.advance(by=timedelta(minutes=1))

    told = [json.loads(body)["detail"]["source"] for body in bodies(bench, queue)]
    assert [source.rsplit("/", 1)[-1] for source in told] == [ids[1]] * 2
    events.remove_targets(Rule=rule, Ids=["1"])
