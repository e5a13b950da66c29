"""``SnsNotices``: a notice as SNS takes it, and what SNS may refuse."""

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lastgood.aws.topic import SnsNotices
from lastgood.domain import notices
from lastgood.domain.notices import Notice
from lastgood.errors import AccessDenied, CallRefused, KeyDenied, Throttled, Unavailable
from tests.cloud.faults import aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support.builders import POLICY, T0

HOME = "eu-west-1"
NOTICE = notices.caught_up(POLICY, T0, T0)


@pytest.fixture
def topic(cloud: InProcessCloud) -> str:
    made = cloud.client("sns", HOME).create_topic(Name="lastgood-notices")
    return str(made["TopicArn"])


@pytest.fixture
def people(cloud: InProcessCloud, topic: str) -> SnsNotices:
    return SnsNotices(cloud.client("sns", HOME), topic)


def read(cloud: InProcessCloud) -> list[dict[str, Any]]:
    return [call.params for call in cloud.calls.of("sns.Publish")]


def test_a_notice_is_published_with_its_subject_and_its_text(cloud, people, topic):
    people.tell(NOTICE)

    assert read(cloud) == [{"TopicArn": topic, "Subject": NOTICE.subject, "Message": NOTICE.text}]


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("Throttled", status=429), Throttled),
        (aws_error("InternalError", status=500), Unavailable),
        (aws_error("AuthorizationError", status=403), AccessDenied),
        (aws_error("KMSAccessDenied"), KeyDenied),
        (aws_error("KMSDisabled"), KeyDenied),
        (aws_error("KMSThrottling"), Throttled),
        (ReadTimeoutError(endpoint_url="https://sns"), Unavailable),
    ],
    ids=[
        "throttled",
        "internal",
        "denied",
        "key-denied",
        "key-disabled",
        "key-throttled",
        "timeout",
    ],
)
def test_what_sns_refuses_has_a_name_of_ours_and_says_what_was_tried(cloud, people, effect, error):
    cloud.faults.spoil("sns.Publish", effect)

    with pytest.raises(error, match=f"tell people of {NOTICE.key}"):
        people.tell(NOTICE)


def test_a_topic_that_is_gone_is_a_refusal(cloud, people, topic):
    cloud.client("sns", HOME).delete_topic(TopicArn=topic)

    with pytest.raises(CallRefused, match="NotFound"):
        people.tell(NOTICE)


def test_a_subject_that_is_too_long_is_a_refusal(people):
    with pytest.raises(CallRefused):
        people.tell(Notice(key="run#1", subject="x" * 101, text="a text"))
