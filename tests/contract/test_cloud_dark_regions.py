"""A Region of the test cloud that is dark: it answers nobody, and what is in it rests."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.contract.workbench import REGION, Bench

AWAY = "eu-north-1"


@pytest.fixture
def dark(bench: Bench) -> Iterator[Bench]:
    """Its Region is lit again in the end."""
    yield bench
    bench.cloud.conditions(dark=[])


def test_a_dark_region_closes_every_connection_and_others_go_on(dark: Bench) -> None:
    seen = len(dark.cloud.state()["unanswered"])
    dark.cloud.conditions(dark=[REGION])

    with pytest.raises(ConnectionClosedError):
        dark.client("ec2").describe_instances()

    assert dark.cloud.client("ec2", AWAY).describe_instances()["Reservations"] == []
    assert dark.cloud.state()["unanswered"][seen:] == [
        {"by": "", "call": "ec2.DescribeInstances", "region": REGION}
    ]


def test_what_waits_in_a_dark_region_goes_on_once_it_is_lit(dark: Bench) -> None:
    queue = dark.queue()
    function = dark.function(*dark.reading(queue))
    dark.client("lambda").create_event_source_mapping(
        EventSourceArn=queue[1], FunctionName=function
    )
    away = dark.queue("away")
    dark.let_in(away, "scheduler.amazonaws.com")
    role = dark.role("scheduler.amazonaws.com", ("sqs:SendMessage", away[1]))
    dark.schedule({"Arn": away[1], "RoleArn": role, "Input": "x"}, "rate(1 minute)")
    dark.client("sqs").send_message(QueueUrl=queue[0], MessageBody="x")
    before = len(dark.cloud.state()["invocations"])
    dark.cloud.conditions(dark=[REGION])

    dark.cloud.advance(by=timedelta(minutes=2))

    assert len(dark.cloud.state()["invocations"]) == before
    dark.cloud.conditions(dark=[])
    assert dark.messages(away) == []
    dark.cloud.advance(by=timedelta(minutes=5))
    assert len(dark.cloud.state()["invocations"]) == before + 1
    assert len(dark.messages(away)) > 0
