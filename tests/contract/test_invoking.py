"""``LambdaPlanners`` and ``LambdaFunction``: what a function is asked, and what may go wrong."""

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lastgood import codec
from lastgood.aws.invoking import LambdaFunction, LambdaPlanners
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    NotPermitted,
    Refused,
    Throttled,
    Unavailable,
)
from plan_snapshots.usecase import PlanRequest
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support.builders import POLICY, SOURCE, T0

HOME = "eu-west-1"
FUNCTION = "lastgood-plan-snapshots"


@pytest.fixture
def planners(cloud: InProcessCloud) -> LambdaPlanners:
    return LambdaPlanners(cloud.client("lambda", HOME), FUNCTION)


@pytest.mark.parametrize("source", [None, SOURCE.id])
def test_the_planner_is_started_with_what_it_takes_for_a_request(cloud, planners, source):
    planners.ask(POLICY, T0, source)

    (invocation,) = cloud.invocations
    assert invocation.function == FUNCTION
    request = codec.structure(invocation.event, PlanRequest)
    assert request == PlanRequest(policy=POLICY, slot=T0, source=source)


def test_nobody_waits_for_the_planner(cloud, planners):
    planners.ask(POLICY, T0)

    (call,) = cloud.calls.of("lambda.Invoke")
    assert call.params["InvocationType"] == "Event"


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("TooManyRequestsException", status=429), Throttled),
        (aws_error("ServiceException", status=500), Unavailable),
        (aws_error("AccessDeniedException", status=403), AccessDenied),
        (aws_error("ResourceNotFoundException", status=404), CallRefused),
        (ReadTimeoutError(endpoint_url="https://lambda"), Unavailable),
    ],
    ids=["throttled", "internal", "denied", "gone", "timeout"],
)
def test_what_lambda_refuses_has_a_name_of_ours_and_says_what_was_tried(
    cloud, planners, effect, error
):
    cloud.faults.spoil("lambda.Invoke", effect)

    with pytest.raises(error, match="have web-daily planned for 2026-03-01T02:00:00Z"):
        planners.ask(POLICY, T0)

    assert cloud.invocations == []


def test_a_reply_that_is_lost_may_mean_that_the_planner_was_started(cloud, planners):
    cloud.faults.spoil("lambda.Invoke", LOST_REPLY)

    with pytest.raises(Unavailable) as raised:
        planners.ask(POLICY, T0)

    assert raised.value.effect_unknown
    assert len(cloud.invocations) == 1


# -- asked, and answered ----------------------------------------------------------------------


class Answering:
    """A client of Lambda whose function ends as it is told."""

    def __init__(self, answer: Any, **reply: Any) -> None:
        self.asked: dict[str, Any] = {}
        self._reply = {"Payload": io.BytesIO(json.dumps(answer).encode()), **reply}

    def invoke(self, **request: Any) -> Any:
        self.asked = request
        return self._reply


def test_a_function_is_asked_and_its_answer_waited_for():
    client = Answering({"status": "running"}, StatusCode=200)

    assert LambdaFunction(client, "cloner").ask({"source": "web"}) == {"status": "running"}
    # Lambda waits for the answer unless it is told otherwise.
    assert client.asked == {"FunctionName": "cloner", "Payload": b'{"source": "web"}'}


def test_an_answer_that_is_no_object_is_refused():
    with pytest.raises(CallRefused, match="no JSON object"):
        LambdaFunction(Answering("done"), "cloner").ask({})


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        ({"errorType": "NotPermitted", "errorMessage": "not jo"}, NotPermitted, "^not jo$"),
        ({"errorType": "PolicyInvalid", "errorMessage": "two mistakes"}, Refused, "^two mistakes$"),
        ({"errorType": "Throttled", "errorMessage": "later"}, Unavailable, "Throttled later$"),
        ({"errorType": "KeyError", "errorMessage": "'x'"}, Unavailable, "^ask cloner: .* 'x'$"),
        (
            {"errorMessage": "2025 abc Task timed out after 60.00 seconds"},
            Unavailable,
            "timed out after",
        ),
        ({}, Unavailable, "^ask cloner: it failed"),
    ],
)
def test_a_function_that_fails_says_why(failure, error, message):
    client = Answering(failure, FunctionError="Unhandled", StatusCode=200)

    with pytest.raises(error, match=message) as raised:
        LambdaFunction(client, "cloner").ask({})

    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("TooManyRequestsException", status=429), Throttled),
        (aws_error("AccessDeniedException", status=403), AccessDenied),
        (ReadTimeoutError(endpoint_url="https://lambda"), Unavailable),
    ],
)
def test_what_lambda_refuses_to_ask_has_a_name_of_ours(cloud, effect, error):
    cloud.faults.spoil("lambda.Invoke", effect)

    with pytest.raises(error, match=r"^ask cloner: "):
        LambdaFunction(cloud.client("lambda", HOME), "cloner").ask({})
