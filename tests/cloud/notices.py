"""What is published to SNS: subjects as SNS takes them, and a record of what was told."""

import re
from collections.abc import Callable
from typing import Any

from moto.core.utils import utcnow
from moto.sns.exceptions import SNSInvalidParameter
from moto.sns.models import SNSBackend

from tests.cloud.ec2.patches import Patches

# Source: SNS API Reference, Publish, Subject. Its editions differ on characters (ASCII, or UTF-8)
# and length (100, or less): here only what all of them take, and what moto takes of the length.
SUBJECT = re.compile(r"[!-~][ -~]{0,99}")

Notice = dict[str, Any]


def install(patches: Patches, told: Callable[[Notice], None]) -> None:
    """``told`` gets each message that a topic took: time, topic (ARN), subject, message.

    moto takes subjects with line breaks, which fail on AWS.
    """
    publish = SNSBackend.publish

    def checked(backend: SNSBackend, message: str, **given: Any) -> str:
        subject = given.get("subject")
        if subject is not None and not SUBJECT.fullmatch(subject):
            raise SNSInvalidParameter("Invalid parameter: Subject")
        message_id = publish(backend, message, **given)
        if topic := given.get("arn"):
            time = utcnow().isoformat(timespec="seconds") + "Z"
            told({"time": time, "topic": topic, "subject": subject, "message": message})
        return message_id

    patches.set(SNSBackend, "publish", checked)
