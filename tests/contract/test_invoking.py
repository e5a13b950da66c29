"""``LambdaPlanners``: what the planner is started with, and what Lambda may refuse."""

import pytest
from botocore.exceptions import ReadTimeoutError

from lastgood import codec
from lastgood.aws.invoking import LambdaPlanners
from lastgood.errors import AccessDenied, CallRefused, Throttled, Unavailable
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
