"""How EventBridge and its Scheduler hand an event to a target: permissions, retries, giving up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from tests.cloud.backbone import Backbone, Principal
from tests.cloud.policy import NotTaught

THROTTLES = {"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestThrottled"}
# Where boto3 has another name for the service than its ARNs have.
CLIENTS = {"states": "stepfunctions"}
# AWS says no more than exponential back-off with jitter; the figures are the test cloud's own.
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)


class Undeliverable(Exception):
    """The target did not take the event."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable


def hand_over(backbone: Backbone, principal: Principal, target: dict[str, Any], body: str) -> None:
    """Call the target's API as ``principal``.

    Raises:
        Undeliverable: with the error code of the target's service.
    """
    arn = target["Arn"]
    _, _, service, region, account, name = arn.split(":", 5)
    lit(backbone, region)
    client = backbone.client(CLIENTS.get(service, service), region, principal)
    try:
        if service == "lambda":
            client.invoke(FunctionName=arn, InvocationType="Event", Payload=body.encode())
        elif service == "sqs":
            client.send_message(QueueUrl=f"{backbone.url}/{account}/{name}", MessageBody=body)
        elif service == "states":
            # Without a name, AWS makes one up.
            client.start_execution(stateMachineArn=arn, input=body)
        elif service == "sns":
            client.publish(TopicArn=arn, Message=body)
        else:
            raise NotTaught(f"a target like {arn}")
    except ClientError as failed:
        error = failed.response["Error"]
        status = failed.response["ResponseMetadata"]["HTTPStatusCode"]
        retryable = status == 429 or status >= 500 or error["Code"] in THROTTLES
        if status == 501:
            raise
        raise Undeliverable(error["Code"], error["Message"], retryable=retryable) from failed


def lit(backbone: Backbone, region: str) -> None:
    """Raises Undeliverable, for now, if the Region is dark."""
    if region in backbone.dark:
        raise Undeliverable("ServiceUnavailable", f"{region} does not answer", retryable=True)


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one target.

    ``attempt`` is called with the number of the attempt, from 1; ``give_up`` with the last error,
    the condition that was exhausted (none for an error that no retry can mend), the retries made.
    """

    backbone: Backbone
    began: datetime
    maximum_retries: int
    maximum_age: timedelta
    attempt: Callable[[int], None]
    give_up: Callable[[Undeliverable, str | None, int], None]
    retries: int = 0

    def start(self) -> None:
        self.backbone.set_going(self.run)

    def run(self) -> None:
        try:
            self.attempt(self.retries + 1)
        except Undeliverable as failed:
            if not failed.retryable:
                self.give_up(failed, None, self.retries)
                return
            wait = min(FIRST_WAIT * 2**self.retries, LONGEST_WAIT)
            due = self.backbone.clock.now() + wait
            if self.retries >= self.maximum_retries:
                self.give_up(failed, "MaximumRetryAttempts", self.retries)
            elif due - self.began > self.maximum_age:
                self.give_up(failed, "MaximumEventAgeInSeconds", self.retries)
            else:
                again = replace(self, retries=self.retries + 1)
                self.backbone.clock.at(due, partial(self.backbone.set_going, again.run))


def delivery(
    backbone: Backbone,
    target: dict[str, Any],
    attempt: Callable[[int], None],
    give_up: Callable[[Undeliverable, str | None, int], None],
) -> Delivery:
    """A delivery under the retry policy of ``target``: by default 185 retries within 24 hours."""
    policy = target.get("RetryPolicy") or {}
    return Delivery(
        backbone,
        backbone.clock.now(),
        int(policy.get("MaximumRetryAttempts", 185)),
        timedelta(seconds=int(policy.get("MaximumEventAgeInSeconds", 86400))),
        attempt,
        give_up,
    )
