"""Functions that others start or ask: what they are told, and what Lambda may refuse."""

import io
import json
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from lastgood import codec
from lastgood.aws.invoking import LambdaFunction, LambdaPlanners
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    NotPermitted,
    Refused,
    Throttled,
    Unavailable,
    UnknownTarget,
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


# -- a function that answers -------------------------------------------------------------------


@pytest.fixture
def asked(cloud: InProcessCloud) -> Iterator[tuple[LambdaFunction, Stubber]]:
    """There are no functions in this cloud to answer: what Lambda sends is stubbed."""
    client = boto3.client("lambda", HOME)
    with Stubber(client) as stub:
        yield LambdaFunction(client, FUNCTION), stub


def answers(stub: Stubber, payload: bytes, **more: str) -> None:
    body = StreamingBody(io.BytesIO(payload), len(payload))
    stub.add_response(
        "invoke",
        {"StatusCode": 200, "Payload": body, **more},
        {"FunctionName": FUNCTION, "Payload": b'{"action": "points"}'},
    )


def test_a_function_is_asked_and_its_answer_is_handed_on(asked):
    function, stub = asked
    answers(stub, b'{"status": "running"}')

    assert function.ask({"action": "points"}) == {"status": "running"}


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ({"errorType": "NotPermitted", "errorMessage": "not yours"}, NotPermitted, "^not yours$"),
        ({"errorType": "UnknownTarget", "errorMessage": "none"}, UnknownTarget, "^none$"),
        ({"errorType": "Throttled", "errorMessage": "slow"}, CallRefused, "failed: Throttled slow"),
        ({"errorType": "CannotRestore", "errorMessage": "a"}, Refused, "^a$"),
        ({"errorType": "KeyError", "errorMessage": "'x'"}, CallRefused, "failed: KeyError 'x'"),
        ({"errorType": "datetime", "errorMessage": "x"}, CallRefused, "datetime"),
        ({"errorMessage": "RequestId: 1 Task timed out after 10 s"}, CallRefused, "timed out"),
    ],
)
def test_what_a_function_raised_has_its_own_name_if_that_is_a_refusal_of_ours(
    asked, answer, error, says
):
    function, stub = asked
    answers(stub, json.dumps(answer).encode(), FunctionError="Unhandled")

    with pytest.raises(error, match=says) as raised:
        function.ask({"action": "points"})
    assert type(raised.value) is error


@pytest.mark.parametrize("payload", [b"[]", b'"x"', b"null"])
def test_an_answer_that_is_no_object_is_none(asked, payload):
    function, stub = asked
    answers(stub, payload)

    with pytest.raises(CallRefused, match="no JSON object"):
        function.ask({"action": "points"})


def test_an_answer_that_does_not_come_in_time_leaves_unknown_what_was_done(cloud):
    cloud.faults.spoil("lambda.Invoke", ReadTimeoutError(endpoint_url="https://lambda"))

    with pytest.raises(Unavailable) as late:
        LambdaFunction(cloud.client("lambda", HOME), FUNCTION).ask({})
    assert late.value.effect_unknown


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("TooManyRequestsException", status=429), Throttled),
        (aws_error("AccessDeniedException", status=403), AccessDenied),
    ],
)
def test_what_lambda_refuses_to_ask_has_a_name_of_ours(cloud, effect, error):
    cloud.faults.spoil("lambda.Invoke", effect)

    with pytest.raises(error, match=r"^ask lastgood-plan-snapshots: "):
        LambdaFunction(cloud.client("lambda", HOME), FUNCTION).ask({})
