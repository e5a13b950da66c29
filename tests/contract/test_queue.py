"""``SqsQueue`` and ``SqsDeliveries``: batches that SQS takes, what it refuses, and dead letters."""

import json
import math
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lastgood import codec
from lastgood.aws.queue import LONGEST_CAUSE, MOST_BYTES, MOST_ENTRIES, SqsDeliveries, SqsQueue
from lastgood.domain.model import Method
from lastgood.domain.requests import TakeRequest
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    KeyDenied,
    MalformedMessage,
    SourceGone,
    Throttled,
    Unavailable,
)
from tests.cloud.faults import aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support.builders import POLICY, SOURCE, T0, a_volume, an_instance

HOME = "eu-west-1"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/lastgood-take"


def a_request(point="pt-1", **given):
    facts: dict[str, Any] = {
        "policy": POLICY,
        "run": "run-1",
        "slot": T0,
        "source": SOURCE,
        "method": Method.SET,
        "planned_at": T0,
        "volumes": (a_volume("vol-1"), a_volume("vol-2")),
        "instance": an_instance(),
    }
    return TakeRequest(point=point, **facts | given)


def of_size(size, point="pt-1"):
    """A request whose message is this many bytes."""
    empty = len(json.dumps(codec.unstructure(a_request(point, notes=("",))), separators=(",", ":")))
    return a_request(point, notes=("x" * (size - empty),))


class Sqs:
    """A client that notes what is sent. ``refuse`` says which entries of a call fail, by its
    number from 1 and the entry's place in the call."""

    def __init__(self, refuse=lambda call, place: False):
        self.calls: list[list[str]] = []
        self.visibility: list[int] = []
        self.letters: list[dict[str, Any]] = []
        self.taken: list[str] = []
        self._refuse = refuse

    def send_message_batch(self, QueueUrl, Entries):  # noqa: N803
        assert QueueUrl == URL
        ids = [one["Id"] for one in Entries]
        assert len(set(ids)) == len(ids)
        self.calls.append([one["MessageBody"] for one in Entries])
        failed = [
            {"Id": one["Id"], "Code": "InternalError", "SenderFault": False}
            for place, one in enumerate(Entries)
            if self._refuse(len(self.calls), place)
        ]
        bad = {one["Id"] for one in failed}
        self.taken += [one["MessageBody"] for one in Entries if one["Id"] not in bad]
        return {"Failed": failed} if failed else {}

    def change_message_visibility(self, VisibilityTimeout, **_):  # noqa: N803
        self.visibility.append(VisibilityTimeout)

    def send_message(self, **letter):
        self.letters.append(letter)


def points(bodies):
    return [json.loads(body)["point"] for body in bodies]


# -- batches ----------------------------------------------------------------------------------

SIZES = st.lists(
    st.one_of(st.integers(2_000, 4_000), st.sampled_from([26_000, 131_072, 200_000, MOST_BYTES])),
    max_size=30,
)


@given(SIZES)
@example([MOST_BYTES] * 3)
@example([MOST_BYTES // 2] * 4)
@example([MOST_BYTES // 2, MOST_BYTES // 2 + 1])
@example([2_000] * 21)
@settings(max_examples=40, deadline=None)
def test_every_call_is_one_that_sqs_takes_and_nothing_is_lost_or_out_of_order(sizes):
    sqs = Sqs()

    sent = SqsQueue(sqs, URL).send(of_size(size, f"pt-{n:02}") for n, size in enumerate(sizes))

    assert sent == len(sizes)
    assert [len(body) for body in sqs.taken] == sizes
    assert points(sqs.taken) == [f"pt-{n:02}" for n in range(len(sizes))]
    for call in sqs.calls:
        assert 1 <= len(call) <= MOST_ENTRIES
        assert sum(len(body.encode()) for body in call) <= MOST_BYTES
    for one, following in zip(sqs.calls, sqs.calls[1:], strict=False):
        full = sum(map(len, one)) + len(following[0]) > MOST_BYTES
        assert len(one) == MOST_ENTRIES or full


def test_sending_nothing_costs_no_call():
    sqs = Sqs()

    assert SqsQueue(sqs, URL).send([]) == 0

    assert sqs.calls == []


def test_requests_come_out_of_the_queue_as_they_went_in(cloud: InProcessCloud):
    client = cloud.client("sqs", HOME)
    url = client.create_queue(QueueName="take")["QueueUrl"]
    requests = [a_request(f"pt-{n:02}", tags={"ü": "€"}) for n in range(25)]

    SqsQueue(client, url).send(requests)

    bodies = []
    while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [one["Body"] for one in messages]
    found = [codec.structure(json.loads(body), TakeRequest) for body in bodies]
    assert sorted(found, key=lambda one: one.point) == requests
    assert [len(call.params["Entries"]) for call in cloud.calls.of("sqs.SendMessageBatch")] == [
        10,
        10,
        5,
    ]


@pytest.mark.parametrize(("size", "bare"), [(MOST_BYTES, False), (MOST_BYTES + 1, True)])
def test_a_request_that_is_too_large_for_a_message_goes_without_its_facts(size, bare):
    sqs = Sqs()
    whole = of_size(size)
    tags = {f"key-{n}": "x" * 250 for n in range(50)}
    large = a_request(volumes=tuple(a_volume(f"vol-{n}", tags=tags) for n in range(30)))

    SqsQueue(sqs, URL).send([whole, large])

    first, second = (codec.structure(json.loads(body), TakeRequest) for body in sqs.taken)
    assert first.bare is bare
    assert second.bare
    assert (second.instance, second.volumes) == (None, ())
    assert (second.point, second.source, second.method) == ("pt-1", SOURCE, Method.SET)


# -- what sqs refuses -------------------------------------------------------------------------


def test_entries_that_are_refused_are_sent_again_and_only_those():
    sqs = Sqs(
        refuse=lambda call, place: (call == 1 and place in (1, 3)) or (call == 2 and not place)
    )

    sent = SqsQueue(sqs, URL).send(a_request(f"pt-{n}") for n in range(5))

    assert sent == 5
    assert [points(call) for call in sqs.calls] == [
        ["pt-0", "pt-1", "pt-2", "pt-3", "pt-4"],
        ["pt-1", "pt-3"],
        ["pt-1"],
    ]
    assert sorted(points(sqs.taken)) == [f"pt-{n}" for n in range(5)]


def test_entries_that_are_refused_again_and_again_are_unavailable_at_last():
    sqs = Sqs(refuse=lambda call, place: place == 0)

    with pytest.raises(Unavailable, match="SQS refused 1 requests: InternalError"):
        SqsQueue(sqs, URL).send([a_request("pt-0"), a_request("pt-1")])

    assert [points(call) for call in sqs.calls] == [["pt-0", "pt-1"], ["pt-0"], ["pt-0"]]


@given(st.integers(1, 25), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_whatever_is_refused_a_send_that_returns_has_sent_each_request_once(count, chance):
    sqs = Sqs(refuse=lambda call, place: chance.random() < 0.3)

    try:
        SqsQueue(sqs, URL).send(a_request(f"pt-{n:02}") for n in range(count))
    except Unavailable:
        assert len(set(points(sqs.taken))) == len(sqs.taken) < count
    else:
        assert sorted(points(sqs.taken)) == [f"pt-{n:02}" for n in range(count)]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RequestThrottled", Throttled),
        ("InternalFailure", Unavailable),
        ("AccessDeniedException", AccessDenied),
        ("KMS.AccessDeniedException", KeyDenied),
        ("AWS.SimpleQueueService.NonExistentQueue", CallRefused),
    ],
)
def test_what_sqs_refuses_has_a_name_of_ours(cloud: InProcessCloud, code, error):
    client = cloud.client("sqs", HOME)
    url = client.create_queue(QueueName="take")["QueueUrl"]
    calls = {
        "SendMessageBatch": lambda: SqsQueue(client, url).send([a_request()]),
        "ChangeMessageVisibility": lambda: a_deliverer(client, url).postpone(
            "receipt", timedelta(seconds=1)
        ),
        "SendMessage": lambda: a_deliverer(client, url).bury("{}", SourceGone("x"), "f", T0),
    }
    for operation, call in calls.items():
        cloud.faults.spoil(f"sqs.{operation}", aws_error(code, "the message"))

        with pytest.raises(error, match="the message"):
            call()


def a_deliverer(client, url=URL):
    return SqsDeliveries(client, url, f"{url}-dead-letters")


# -- messages that could not be handled -------------------------------------------------------


@given(st.timedeltas(timedelta(0), timedelta(hours=13)))
@example(timedelta(microseconds=1))
@example(timedelta(hours=12))
@settings(max_examples=100, deadline=None)
def test_a_message_is_hidden_in_whole_seconds_never_shorter_and_at_most_twelve_hours(after):
    sqs = Sqs()

    a_deliverer(sqs).postpone("receipt", after)

    (seconds,) = sqs.visibility
    assert seconds == min(math.ceil(after.total_seconds()), 12 * 3600)


def test_a_postponed_message_is_hidden_that_long(cloud: InProcessCloud):
    client = cloud.client("sqs", HOME)
    url = client.create_queue(QueueName="take")["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="{}")
    (message,) = client.receive_message(QueueUrl=url)["Messages"]

    a_deliverer(client, url).postpone(message["ReceiptHandle"], timedelta(seconds=89.5))

    cloud.clock.advance(timedelta(seconds=89.9))
    assert not client.receive_message(QueueUrl=url).get("Messages")
    cloud.clock.advance(timedelta(seconds=0.2))
    assert client.receive_message(QueueUrl=url).get("Messages")


def test_a_dead_letter_bears_the_message_as_it_came_and_what_a_person_must_know(cloud):
    client = cloud.client("sqs", HOME)
    url = client.create_queue(QueueName="dead")["QueueUrl"]
    body = '{"point": "pt-1", "ü": 1}'

    SqsDeliveries(client, URL, url).bury(body, SourceGone("no such instance"), "create", T0)

    (letter,) = client.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert letter["Body"] == body
    assert {name: one["StringValue"] for name, one in letter["MessageAttributes"].items()} == {
        "error": "SourceGone",
        "cause": "no such instance",
        "function": "create",
        "at": "2026-03-01T02:00:00Z",
    }
    assert {one["DataType"] for one in letter["MessageAttributes"].values()} == {"String"}


def test_a_very_long_cause_is_cut():
    sqs = Sqs()

    a_deliverer(sqs).bury("{}", CallRefused("x" * 5000), "create", T0)

    (letter,) = sqs.letters
    assert letter["MessageAttributes"]["cause"]["StringValue"] == "x" * LONGEST_CAUSE


NOT_TAKEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What SQS refuses in a message or an attribute (SQS API, SendMessage, MessageBody)."""


@given(st.text(min_size=1, max_size=20))
@example("\x00")
@example("\ud800")
@settings(max_examples=60, deadline=None)
def test_a_cause_never_holds_a_character_for_which_sqs_would_refuse_the_dead_letter(text):
    sqs = Sqs()
    with pytest.raises(MalformedMessage) as raised:
        codec.structure({"slot": text}, TakeRequest)

    a_deliverer(sqs).bury("{}", raised.value, "create", T0)

    (letter,) = sqs.letters
    assert not NOT_TAKEN.search(letter["MessageAttributes"]["cause"]["StringValue"])
