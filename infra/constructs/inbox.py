"""The queues of one Lambda: what feeds it, if a queue does, and its dead letters."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Duration, Validations
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import grants
from infra.catalog import EbsEvents, QueueTrigger, Row, announced_pattern, ebs_pattern
from infra.constructs.bus import NAME as BUS
from infra.grants import Places

KEPT = Duration.days(4)
"""Longer than any message is tried."""

DEAD_KEPT = Duration.days(14)
"""The longest that SQS keeps a message: two weeks for a person to come back and look. It must be
longer than ``KEPT``, since SQS counts from when the message was first sent."""


class Inbox(Construct):
    """``queue`` is None for a Lambda that no queue feeds. Neither queue takes unencrypted calls."""

    def __init__(
        self, scope: Construct, construct_id: str, *, row: Row, key: kms.IKey, places: Places
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = dead_letters(
            self, "DeadLetters", f"{row.physical_name}-dead-letters", key
        )
        self.queue: sqs.Queue | None = None
        if isinstance(row.trigger, QueueTrigger):
            self.queue = _queue(
                self,
                "Queue",
                row.physical_name,
                key,
                KEPT,
                # AWS advises six times the function's timeout, so that Lambda can try a batch
                # again while it is throttled (Lambda Developer Guide, "Using Lambda with SQS").
                visibility_timeout=Duration.seconds(6 * row.timeout),
                dead_letter_queue=sqs.DeadLetterQueue(
                    queue=self.dead_letters, max_receive_count=row.trigger.receives
                ),
            )
            self._listen(row, row.trigger, self.queue, places)

    def _listen(self, row: Row, trigger: QueueTrigger, queue: sqs.Queue, places: Places) -> None:
        """By a rule on the account's own bus, where AWS services put their events; and one on ours,
        if it wants what Lastgood announces."""
        name = row.physical_name
        rules = []
        if isinstance(trigger, EbsEvents):
            what = f"EBS's events, for {name}"
            rules.append(self._rule("Rule", name, what, ebs_pattern(trigger.events)))
        if trigger.announced:
            pattern = announced_pattern(trigger.announced)
            what = f"What Lastgood announces, for {name}"
            rules.append(self._rule("Announced", f"{name}-announced", what, pattern, BUS))
        if not rules:
            return
        for rule in rules:
            rule.targets = [
                events.CfnRule.TargetProperty(
                    id="Queue",
                    arn=queue.queue_arn,
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(
                        arn=self.dead_letters.queue_arn
                    ),
                )
            ]
        prefix = f"arn:{places.partition}:events:{places.region}:{places.account}:rule/"
        for one in (queue, self.dead_letters):
            for statement in grants.RECEIVE_EVENTS.statements(
                grants.Places(
                    partition=places.partition,
                    account=places.account,
                    region=places.region,
                    queue=one.queue_arn,
                    rules=tuple(
                        f"{prefix}{f'{rule.event_bus_name}/' if rule.event_bus_name else ''}"
                        f"{rule.name}"
                        for rule in rules
                    ),
                )
            ):
                one.add_to_resource_policy(statement)

    def _rule(
        self,
        construct_id: str,
        name: str,
        description: str,
        pattern: Mapping[str, Any],
        bus: str | None = None,
    ) -> events.CfnRule:
        return events.CfnRule(
            self,
            construct_id,
            name=name,
            description=description,
            event_bus_name=bus,
            event_pattern=pattern,
        )


def dead_letters(scope: Construct, construct_id: str, name: str, key: kms.IKey) -> sqs.Queue:
    """A queue of them, which people look at."""
    queue = _queue(scope, construct_id, name, key, DEAD_KEPT)
    Validations.of(queue).acknowledge(
        Acknowledgment(id="AwsSolutions-SQS3", reason="It is itself where dead letters go")
    )
    return queue


def _queue(
    scope: Construct,
    construct_id: str,
    name: str,
    key: kms.IKey,
    kept: Duration,
    visibility_timeout: Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        scope,
        construct_id,
        queue_name=name,
        encryption_master_key=key,
        # Each data key that is asked for anew costs, and slows a send.
        data_key_reuse=Duration.hours(1),
        enforce_ssl=True,
        retention_period=kept,
        visibility_timeout=visibility_timeout,
        dead_letter_queue=dead_letter_queue,
    )
