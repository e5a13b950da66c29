"""What every function stands on: one message at a time, what comes again, what is told of it."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.policies import policy_document
from lastgood import codec, runtime
from lastgood.domain.measures import Measure
from lastgood.domain.model import Method, Point, PointStatus
from lastgood.domain.policy import Policy, ResourceKind, Retention, Select
from lastgood.domain.requests import TakeRequest
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    Conflict,
    KeyDenied,
    LastgoodError,
    LimitReached,
    MalformedMessage,
    NotSettledYet,
    SourceGone,
    Throttled,
    Unavailable,
    UnknownPolicy,
)
from lastgood.ports import Delivery
from tests.cloud.faults import aws_error
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.support.builders import SOURCE, T0, a_point

HOME = "eu-west-1"
RECEIVES = 12
SOON = timedelta(seconds=5)
SLOW_DOWN = Throttled("slow down", SOON)


@dataclass(frozen=True)
class Context:
    function_name: str = "create_snapshots"
    aws_request_id: str = "request-1"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:create"

    time_left: timedelta = timedelta(minutes=1)

    def get_remaining_time_in_millis(self) -> int:
        return int(self.time_left / timedelta(milliseconds=1))


def forget() -> None:
    """What a new execution environment does not know yet."""
    for value in vars(runtime).values():
        if hasattr(value, "cache_clear") and value.__module__ == runtime.__name__:
            value.cache_clear()


@dataclass
class Fed:
    """A function that a queue feeds, and what it does with each point's message."""

    cloud: InProcessCloud
    queue: str
    dead: str
    told: io.StringIO
    answers: dict[str, Any] = field(default_factory=dict)
    context: Context = field(default_factory=Context)
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def sqs(self) -> Any:
        return self.cloud.client("sqs", HOME)

    def deliver(self, *bodies: str, attempt: int = 1) -> set[int]:
        """One batch; the places of the messages that come again."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queue, MessageBody=body)
        messages = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)["Messages"]
        messages.sort(key=lambda one: bodies.index(one["Body"]))
        records = [
            {
                "messageId": one["MessageId"],
                "receiptHandle": one["ReceiptHandle"],
                "body": one["Body"],
                "attributes": {"ApproximateReceiveCount": str(attempt)},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:take",
                "awsRegion": HOME,
            }
            for one in messages
        ]
        del self.cloud.calls[:]
        response = self.handler()({"Records": records}, self.context)
        ids = [one["messageId"] for one in records]
        return {ids.index(one["itemIdentifier"]) for one in response["batchItemFailures"]}

    def handler(self) -> Any:
        @runtime.batch(runtime.message_of(TakeRequest), about=runtime.about_request)
        def handle(request: TakeRequest, delivery: Delivery) -> Point | None:
            self.deliveries.append(delivery)
            runtime.logger.info("working")
            answer = self.answers.get(request.point)
            if isinstance(answer, BaseException):
                raise answer
            return answer() if callable(answer) else answer

        return handle

    def hidden_for(self) -> list[int]:
        return [
            call.params["VisibilityTimeout"]
            for call in self.cloud.calls.of("sqs.ChangeMessageVisibility")
        ]

    def buried(self) -> dict[str, dict[str, str]]:
        """Dead letters by body."""
        found = {}
        while messages := self.sqs.receive_message(
            QueueUrl=self.dead, MessageAttributeNames=["All"], MaxNumberOfMessages=10
        ).get("Messages"):
            for one in messages:
                attributes = one.get("MessageAttributes", {}).items()
                found[one["Body"]] = {key: value["StringValue"] for key, value in attributes}
        return found

    def lines(self, message: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.told.getvalue().splitlines()]
        return [one for one in lines if message in (None, one["message"])]


@contextmanager
def a_fed_function() -> Iterator[Fed]:
    with in_process_cloud(T0) as cloud, pytest.MonkeyPatch.context() as patch:
        sqs = cloud.client("sqs", HOME)
        queue, dead = (
            sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("take", "take-dead-letters")
        )
        variables = {
            "ACCOUNT": "123456789012",
            "REGION": HOME,
            "TABLE": "lastgood-ledger",
            "BUS": "lastgood",
            "POLICIES": "/lastgood/policies",
            "TIMEOUT": "120",
            "QUEUE": queue,
            "DEAD_LETTERS": dead,
            "RECEIVES": str(RECEIVES),
        }
        for name, value in variables.items():
            patch.setenv(f"LASTGOOD_{name}", value)
        told = io.StringIO()
        handler = runtime.logger.registered_handler
        before = handler.setStream(told)
        forget()
        yield Fed(cloud, queue, dead, told)
        handler.setStream(before)
        forget()


@pytest.fixture
def world() -> Iterator[Fed]:
    with a_fed_function() as fed:
        yield fed


def a_request(point="pt-1", **given):
    facts: dict[str, Any] = {
        "policy": "web-daily",
        "run": "run-1",
        "slot": T0,
        "source": SOURCE,
        "method": Method.SET,
        "planned_at": T0,
    }
    return TakeRequest(point=point, **facts | given)


def body(point="pt-1", **given):
    return json.dumps(codec.unstructure(a_request(point, **given)))


def metrics_of(capsys):
    """Every metric that was written: its name, value and dimensions."""
    found = []
    for line in capsys.readouterr().out.splitlines():
        told = json.loads(line)
        for metric in told["_aws"]["CloudWatchMetrics"]:
            assert metric["Namespace"] == "Lastgood"
            for one in metric["Metrics"]:
                names = metric["Dimensions"][0]
                dimensions = {name: told[name] for name in names if name != "service"}
                found.append((one["Name"], told[one["Name"]], dimensions))
    return found


# -- what comes again, and when ---------------------------------------------------------------


def test_a_message_that_is_done_does_not_come_again(world):
    world.answers["pt-1"] = a_point()

    assert world.deliver(body()) == set()

    assert world.hidden_for() == []
    assert world.buried() == {}


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 120), (6, 3840), (7, 7200), (11, 7200)])
def test_pending_snapshots_are_waited_for_up_to_two_hours_at_a_time(world, attempt, seconds):
    world.answers["pt-1"] = LimitReached("one is pending", timedelta(minutes=2))

    world.deliver(body(), attempt=attempt)

    assert world.hidden_for() == [seconds]


@pytest.mark.parametrize(
    ("after", "attempt", "seconds"),
    [
        (SOON, 1, 5),
        (SOON, 2, 10),
        (SOON, 3, 20),
        (SOON, 8, 640),
        (SOON, 9, 900),
        (SOON, 11, 900),
        (timedelta(seconds=20), 1, 20),
        (timedelta(seconds=20), 4, 160),
        (timedelta(minutes=2), 4, 900),
        (timedelta(minutes=20), 1, 900),
        (timedelta(milliseconds=400), 1, 1),
    ],
)
def test_what_is_to_be_tried_again_waits_twice_as_long_each_time_up_to_a_quarter_of_an_hour(
    world, after, attempt, seconds
):
    world.answers["pt-1"] = Throttled("too many", after)

    assert world.deliver(body(), attempt=attempt) == {0}

    assert world.hidden_for() == [seconds]
    assert world.buried() == {}


@pytest.mark.parametrize("attempt", [1, 5, 11])
@pytest.mark.parametrize(
    ("after", "seconds"),
    [(timedelta(seconds=95.2), 96), (timedelta(minutes=40), 2400), (timedelta(microseconds=1), 1)],
)
def test_what_knows_when_it_will_be_known_is_believed(world, attempt, after, seconds):
    world.answers["pt-1"] = NotSettledYet("not yet", after)

    assert world.deliver(body(), attempt=attempt) == {0}

    assert world.hidden_for() == [seconds]


@pytest.mark.parametrize("attempt", [1, 7])
def test_after_a_conflict_the_wait_is_always_the_same(world, attempt):
    world.answers["pt-1"] = Conflict("held")

    assert world.deliver(body(), attempt=attempt) == {0}

    assert world.hidden_for() == [30]


# -- what does not come again -----------------------------------------------------------------


@pytest.mark.parametrize("error", [SourceGone("gone"), KeyDenied("no key"), CallRefused("no")])
def test_what_is_refused_is_buried_at_once_with_its_error(world, error):
    world.answers["pt-1"] = error

    assert world.deliver(body()) == set()

    assert world.buried() == {
        body(): {
            "error": type(error).__name__,
            "cause": str(error),
            "function": "create_snapshots",
            "at": "2026-03-01T02:00:00Z",
        }
    }
    assert world.hidden_for() == []


@pytest.mark.parametrize(
    "error", [SLOW_DOWN, NotSettledYet("not yet", SOON), Conflict("held"), Unavailable("x", SOON)]
)
@pytest.mark.parametrize(("attempt", "last"), [(RECEIVES - 1, False), (RECEIVES, True)])
def test_the_last_delivery_is_buried_and_no_other(world, error, attempt, last):
    world.answers["pt-1"] = error

    again = world.deliver(body(), attempt=attempt)

    assert world.deliveries[0].last is last
    assert again == (set() if last else {0})
    assert [one["error"] for one in world.buried().values()] == [type(error).__name__] * last


def test_each_delivery_has_an_owner_of_its_own_and_knows_how_often_it_came(world):
    world.deliver(body("pt-1"), body("pt-2"), attempt=3)

    first, second = world.deliveries
    assert first.owner != second.owner
    assert first.owner.startswith("request-1/")
    assert (first.attempt, second.attempt) == (3, 3)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("not json", "not JSON: Expecting value"),
        ("[1]", "not a JSON object: [1]"),
        ('"text"', "not a JSON object"),
        ("{}", "TakeRequest.point: is missing"),
    ],
)
def test_a_message_of_another_shape_is_buried_and_says_what_is_wrong(world, message, cause):
    assert world.deliver(message, body("pt-2")) == set()

    ((letter, attributes),) = world.buried().items()
    assert letter == message
    assert attributes["error"] == "MalformedMessage"
    assert attributes["cause"].startswith(cause)
    assert len(world.deliveries) == 1


@pytest.mark.parametrize(
    ("error", "operation", "sent_before"),
    [(CallRefused("no"), "SendMessage", 2), (SLOW_DOWN, "ChangeMessageVisibility", 0)],
)
def test_what_cannot_be_buried_or_postponed_comes_again_and_stops_no_other(
    world, error, operation, sent_before
):
    world.answers["pt-1"] = error
    world.cloud.faults.spoil(
        f"sqs.{operation}", aws_error("AccessDeniedException"), after=sent_before, times=9
    )

    assert world.deliver(body("pt-1"), body("pt-2")) == {0}

    assert world.buried() == {}
    assert len(world.deliveries) == 2


# -- near the end of time ---------------------------------------------------------------------


def test_with_little_time_left_the_rest_of_a_batch_goes_back_and_is_not_buried(world, capsys):
    """The first takes all but half a minute less a second of the function's minute."""

    def slow():
        world.cloud.clock.advance(timedelta(seconds=31))
        return a_point()

    world.answers["pt-1"] = slow

    assert world.deliver(*(body(f"pt-{n}") for n in (1, 2, 3))) == {1, 2}

    assert len(world.deliveries) == 1
    assert world.hidden_for() == [1, 1]
    assert world.buried() == {}
    assert metrics_of(capsys).count(("Retries", [1.0], {"error": "OutOfTime"})) == 2


def test_what_comes_back_for_want_of_time_waits_no_longer_each_time(world):
    world.context = Context(time_left=runtime.RESERVE - timedelta(seconds=1))

    world.deliver(body(), attempt=RECEIVES - 1)

    assert world.hidden_for() == [1]


@pytest.mark.parametrize(
    ("time_left", "attempt"),
    [(runtime.RESERVE, 1), (timedelta(seconds=1), RECEIVES)],
    ids=["time-enough", "no-other-delivery"],
)
def test_a_message_is_handled_with_time_enough_or_if_it_will_not_come_again(
    world, time_left, attempt
):
    world.context = Context(time_left=time_left)

    assert world.deliver(body(), attempt=attempt) == set()

    assert len(world.deliveries) == 1


# -- a bug of ours ----------------------------------------------------------------------------


def test_a_bug_makes_its_message_come_again_and_touches_no_other(world):
    world.answers |= {"pt-1": a_point(), "pt-2": ZeroDivisionError("oops"), "pt-3": a_point()}

    assert world.deliver(body("pt-1"), body("pt-2"), body("pt-3")) == {1}

    assert len(world.deliveries) == 3
    assert world.buried() == {}
    assert world.hidden_for() == []


def test_when_every_message_meets_a_bug_all_come_again(world):
    world.answers |= {"pt-1": ZeroDivisionError(), "pt-2": KeyError()}

    assert world.deliver(body("pt-1"), body("pt-2")) == {0, 1}


def test_a_bug_is_logged_with_its_traceback_and_the_keys_of_its_message(world):
    world.answers["pt-1"] = ZeroDivisionError("oops")

    world.deliver(body())

    (line,) = [one for one in world.lines() if one["level"] in ("ERROR", "WARNING")]
    assert "ZeroDivisionError: oops" in line["exception"]
    assert line["point"] == "pt-1"


def test_a_bug_is_counted_by_its_name(world, capsys):
    world.answers["pt-1"] = ZeroDivisionError("oops")

    world.deliver(body())

    assert ("Errors", [1.0], {"error": "ZeroDivisionError"}) in metrics_of(capsys)


# -- all together -----------------------------------------------------------------------------

DONE, BURIED, AGAIN = "done", "buried", "again"
ENDS: dict[str, tuple[Any, str]] = {
    "point": (a_point(), DONE),
    "nothing": (None, DONE),
    "refused": (SourceGone("gone"), BURIED),
    "throttled": (SLOW_DOWN, AGAIN),
    "conflict": (Conflict("held"), AGAIN),
    "early": (NotSettledYet("not yet", SOON), AGAIN),
    "bug": (ZeroDivisionError("oops"), AGAIN),
}


@given(st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=10))
@settings(max_examples=25, deadline=None)
def test_each_message_of_a_batch_ends_as_it_would_alone(kinds):
    places = {body(f"pt-{n}"): n for n in range(len(kinds))}
    with a_fed_function() as world:
        world.answers = {f"pt-{n}": ENDS[kind][0] for n, kind in enumerate(kinds)}

        again = world.deliver(*places)

        buried = {places[letter] for letter in world.buried()}
    assert again == {n for n, kind in enumerate(kinds) if ENDS[kind][1] == AGAIN}
    assert buried == {n for n, kind in enumerate(kinds) if ENDS[kind][1] == BURIED}


# -- log lines --------------------------------------------------------------------------------

KEYS = {"policy": "web-daily", "run": "run-1", "source": SOURCE.id}


def keys_of(line):
    return {key: line.get(key) for key in KEYS}


def test_every_line_about_a_message_bears_its_keys(world):
    world.answers["pt-1"] = a_point()

    world.deliver(body(), attempt=2)

    (working,) = world.lines("working")
    assert keys_of(working) == KEYS
    assert working["point"] == "pt-1"
    assert working["attempt"] == 2
    assert working["message"] == "working"
    (done,) = [one for one in world.lines() if one["message"].endswith("is pending")]
    assert done["point"] == a_point().id
    assert keys_of(done) == KEYS | {"run": a_point().run}


@pytest.mark.parametrize(
    "error", [SLOW_DOWN, SourceGone("gone"), Conflict("held"), NotSettledYet("not yet", SOON)]
)
def test_every_line_about_a_message_that_failed_bears_its_keys_too(world, error):
    world.answers["pt-1"] = error

    world.deliver(body())

    failed = [one for one in world.lines() if "error" in one]
    assert failed
    for line in failed:
        assert line["error"] == type(error).__name__
        assert keys_of(line) == KEYS
        assert line["point"] == "pt-1"


def test_a_line_says_which_message_it_is_about(world):
    world.deliver(body())

    (working,) = world.lines("working")
    (delivery,) = world.deliveries
    assert delivery.owner.removeprefix("request-1/") in working.values()


def test_no_message_bears_the_keys_of_another(world):
    world.answers |= {"pt-1": SLOW_DOWN, "pt-2": ZeroDivisionError()}

    world.deliver(
        body("pt-1", policy="first"), body("pt-2", policy="second"), "not json", body("pt-4")
    )

    (malformed,) = [one for one in world.lines() if one.get("error") == "MalformedMessage"]
    assert not {"policy", "run", "point", "source"} & set(malformed)
    assert [one["policy"] for one in world.lines("working")] == ["first", "second", "web-daily"]


def test_no_batch_bears_the_keys_of_the_one_before(world):
    world.answers["pt-1"] = ZeroDivisionError()
    world.deliver(body())
    world.told.truncate(0)
    world.told.seek(0)

    world.deliver("not json")

    (malformed,) = world.lines()
    assert not {"policy", "run", "point", "source"} & set(malformed)


def test_what_is_not_settled_yet_is_no_error_in_the_log(world, capsys):
    world.answers["pt-1"] = NotSettledYet("not yet", SOON)

    world.deliver(body())

    assert {one["level"] for one in world.lines()} == {"INFO"}
    assert not [one for one in metrics_of(capsys) if one[0] == "Errors"]


# -- metrics ----------------------------------------------------------------------------------


def test_messages_are_counted_and_each_error_by_its_name(world, capsys):
    world.answers |= {
        "pt-1": SLOW_DOWN,
        "pt-2": SourceGone("gone"),
        "pt-3": Throttled("again", SOON),
        "pt-4": a_point(),
    }

    world.deliver(*(body(f"pt-{n}") for n in (1, 2, 3, 4)))

    assert sorted(metrics_of(capsys), key=str) == [
        ("Errors", [1.0], {"error": "SourceGone"}),
        ("Messages", [4.0], {}),
        ("Retries", [1.0], {"error": "Throttled"}),
        ("Retries", [1.0], {"error": "Throttled"}),
    ]


@pytest.mark.parametrize(
    ("error", "attempt", "name"),
    [
        (SLOW_DOWN, 1, "Retries"),
        (LimitReached("one is pending", SOON), RECEIVES - 1, "Retries"),
        (Conflict("held"), 1, "Retries"),
        (SLOW_DOWN, RECEIVES, "Errors"),
        (SourceGone("gone"), 1, "Errors"),
    ],
)
def test_what_comes_again_is_a_retry_and_what_is_given_up_an_error(
    world, capsys, error, attempt, name
):
    world.answers["pt-1"] = error

    world.deliver(body(), attempt=attempt)

    told = [one for one in metrics_of(capsys) if one[0] != "Messages"]
    assert told == [(name, [1.0], {"error": type(error).__name__})]


def test_a_measure_has_its_unit_and_its_dimensions(capsys, monkeypatch):
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "lastgood-record-snapshot")

    runtime.measure(Measure.SECONDS_TO_AVAILABLE, 42, MetricUnit.Seconds, policy="web")

    told = json.loads(capsys.readouterr().out)
    (metric,) = told["_aws"]["CloudWatchMetrics"]
    assert metric["Namespace"] == "Lastgood"
    assert metric["Metrics"] == [{"Name": "SecondsToAvailable", "Unit": "Seconds"}]
    assert set(metric["Dimensions"][0]) == {"service", "policy"}
    assert told["SecondsToAvailable"] == [42.0]
    assert (told["policy"], told["service"]) == ("web", "lastgood-record-snapshot")


@dataclass
class Bus:
    error: LastgoodError | None = None
    announced: list[Point] = field(default_factory=list)

    def announce(self, point):
        if self.error:
            raise self.error
        self.announced.append(point)


def settled(status):
    return a_point(status=status, settled_at=T0 + timedelta(minutes=3))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (PointStatus.FAILED, [("PointsFailed", [1.0])]),
        (
            PointStatus.AVAILABLE,
            [("PointsAvailable", [1.0]), ("SecondsToAvailable", [180.0])],
        ),
    ],
)
def test_each_point_is_measured_as_it_is_announced(capsys, status, told):
    bus = Bus()

    runtime.MeasuredBus(bus).announce(settled(status))

    assert bus.announced == [settled(status)]
    policy = {"policy": a_point().policy}
    assert metrics_of(capsys) == [(*one, policy) for one in told]


def test_what_could_not_be_announced_is_not_measured(capsys):
    with pytest.raises(Throttled):
        runtime.MeasuredBus(Bus(SLOW_DOWN)).announce(settled(PointStatus.FAILED))

    assert metrics_of(capsys) == []


# -- a function that is invoked ---------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    name: str
    at: datetime | None = None


@dataclass(frozen=True)
class Report:
    name: str
    at: datetime
    items: tuple[int, ...] = ()


def invoked(handle, event):
    decorate = runtime.instrumented(Request, about=lambda request: {"policy": request.name})
    return decorate(handle)(event, Context())


def test_the_event_becomes_a_request_and_the_report_json(world):
    seen = []

    def handle(request):
        seen.append(request)
        return Report(request.name, T0, (1, 2))

    report = invoked(handle, {"name": "web", "at": "2026-03-01T02:00:00Z"})

    assert seen == [Request("web", T0)]
    assert report == {"name": "web", "at": "2026-03-01T02:00:00Z", "items": [1, 2]}
    json.dumps(report)


def test_every_line_of_an_invocation_bears_its_keys_and_none_of_the_one_before(world):
    def handle(request):
        runtime.logger.info("working")
        return Report(request.name, T0)

    invoked(handle, {"name": "web"})
    with pytest.raises(MalformedMessage):
        invoked(handle, {})

    working, malformed = world.lines()
    assert working["policy"] == "web"
    assert "policy" not in malformed


def test_an_event_of_another_shape_is_refused_to_who_invoked(world, capsys):
    with pytest.raises(MalformedMessage, match=r"Request\.name: is missing"):
        invoked(lambda request: None, {"nme": "web"})

    assert world.lines()[0]["error"] == "MalformedMessage"
    assert ("Errors", [1.0], {"error": "MalformedMessage"}) in metrics_of(capsys)


def test_an_error_goes_to_who_invoked_logged_and_counted_by_its_name(world, capsys):
    def handle(request):
        raise UnknownPolicy("no policy 'web'")

    with pytest.raises(UnknownPolicy):
        invoked(handle, {"name": "web"})

    (line,) = world.lines()
    assert (line["level"], line["message"], line["error"]) == (
        "ERROR",
        "no policy 'web'",
        "UnknownPolicy",
    )
    assert sorted(metrics_of(capsys), key=str) == [
        ("Errors", [1.0], {"error": "UnknownPolicy"}),
        ("Requests", [1.0], {}),
    ]


def test_a_bug_goes_to_who_invoked_as_it_is(world, capsys):
    def handle(request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        invoked(handle, {"name": "web"})

    assert ("Requests", [1.0], {}) in metrics_of(capsys)


# -- policies ---------------------------------------------------------------------------------


def a_policy(**given):
    select = Select(resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)})
    return Policy(**{"name": "web", "select": select, "retention": Retention(keep_daily=7)} | given)


@pytest.fixture
def deploy(world):
    ssm = world.cloud.client("ssm", HOME)

    def put(policy):
        name = f"/lastgood/policies/{policy.name}"
        ssm.put_parameter(Name=name, Value=policy_document(policy), Type="String", Overwrite=True)

    return put


def test_a_deployed_policy_is_read_whole(world, deploy):
    policy = a_policy(tags={"cost-centre": "web"}, rpo=timedelta(hours=26))
    deploy(policy)

    assert runtime.policies().get("web") == policy


def test_a_policy_is_read_once_a_minute(world, deploy):
    deploy(a_policy())
    runtime.policies().get("web")
    del world.cloud.calls[:]
    newer = replace(a_policy(), description="new")
    deploy(newer)

    assert runtime.policies().get("web") == a_policy()

    world.cloud.clock.advance(timedelta(seconds=61))
    assert runtime.policies().get("web") == newer


@pytest.mark.parametrize("name", ["wbe", "", "a b", "../web"])
def test_an_unknown_policy_is_refused_with_the_names_that_there_are(world, deploy, name):
    deploy(a_policy())
    deploy(a_policy(name="db"))

    with pytest.raises(UnknownPolicy, match=r"is deployed; there are: db, web\. Add it"):
        runtime.policies().get(name)


def test_without_any_policy_that_is_said(world):
    with pytest.raises(UnknownPolicy, match="there are: none"):
        runtime.policies().get("web")


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("AccessDeniedException", "not authorized"), AccessDenied),
        (aws_error("ThrottlingException"), Throttled),
        (aws_error("InternalServerError", status=500), Unavailable),
        (ReadTimeoutError(endpoint_url="https://ssm"), Unavailable),
    ],
    ids=["denied", "throttled", "internal", "timeout"],
)
@pytest.mark.parametrize("operation", ["GetParameter", "GetParametersByPath"])
def test_a_policy_that_cannot_be_read_is_not_said_to_be_unknown(
    world, deploy, monkeypatch, operation, effect, error
):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    deploy(a_policy())
    world.cloud.faults.spoil(f"ssm.{operation}", effect, times=99)

    with pytest.raises(error):
        runtime.policies().get("web" if operation == "GetParameter" else "wbe")


def test_all_policies_are_read_by_name_with_the_time_of_their_last_change(world, deploy):
    deploy(a_policy(name="web"))
    world.cloud.clock.advance(timedelta(days=1))
    deploy(a_policy(name="db"))

    found = runtime.policies().all()

    assert [one.policy for one in found] == [a_policy(name="db"), a_policy(name="web")]
    assert [one.since for one in found] == [T0 + timedelta(days=1), T0]


def test_more_policies_than_fit_on_a_page_are_all_read(world, deploy):
    for number in range(23):
        deploy(a_policy(name=f"p-{number:02}"))

    assert [one.policy.name for one in runtime.policies().all()] == [
        f"p-{number:02}" for number in range(23)
    ]
    assert len(world.cloud.calls.of("ssm.GetParametersByPath")) > 1


def test_policies_that_cannot_be_read_are_not_taken_for_none(world, deploy):
    deploy(a_policy())
    world.cloud.faults.spoil("ssm.GetParametersByPath", aws_error("AccessDeniedException"), times=9)

    with pytest.raises(AccessDenied, match="read the policies"):
        runtime.policies().all()


def test_without_policies_there_are_none(world):
    assert runtime.policies().all() == []


# -- the rest ---------------------------------------------------------------------------------


def test_the_clock_tells_the_time_with_its_zone(world):
    now = runtime.clock().now()

    assert now.tzinfo is UTC
    assert now == world.cloud.clock.now()


def test_the_clock_tells_what_is_left_of_the_invocation(world):
    left = []
    world.answers["pt-1"] = lambda: left.append(runtime.clock().left())
    world.context = Context(time_left=timedelta(seconds=50))

    world.deliver(body())

    assert left == [timedelta(seconds=50)]


def test_connections_are_made_once_for_each_region(world):
    assert runtime.compute(HOME) is runtime.compute(HOME)
    assert runtime.compute("eu-north-1").region == "eu-north-1"


def test_the_lease_is_that_of_the_settings(world):
    assert runtime.patience().lease == timedelta(seconds=130)
    assert runtime.patience().lag == timedelta(seconds=130) + timedelta(minutes=2)
