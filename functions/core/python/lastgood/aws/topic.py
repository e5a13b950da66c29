"""SNS: what people are told."""

from typing import Any

from lastgood.aws.faults import translated
from lastgood.domain.notices import Notice


class SnsNotices:
    """``Notices`` on one topic."""

    def __init__(self, client: Any, topic: str) -> None:
        self._client = client
        self._topic = topic

    def tell(self, notice: Notice) -> None:
        with translated("sns", f"tell people of {notice.key}"):
            self._client.publish(TopicArn=self._topic, Subject=notice.subject, Message=notice.text)
