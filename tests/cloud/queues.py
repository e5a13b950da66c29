"""SQS: mappings that poll, visibility on the cloud's clock, dead letters of services."""

import json
import math
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.awslambda.models import EventSourceMapping, lambda_backends
from moto.sqs.models import Queue, sqs_backends

from tests.cloud.backbone import Backbone, Job, Role, Service, regions_of
from tests.cloud.clock import nothing
from tests.cloud.policy import Need
from tests.cloud.wire import Call, Refused

if TYPE_CHECKING:
    from tests.cloud.iam import Gate
    from tests.cloud.lambdas import Functions

# Source: "Using Lambda with Amazon SQS", execution role permissions.
POLLER_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
POLLERS = 3
REST = timedelta(minutes=1)
"""Of a poller whose receive was refused. AWS publishes no figure."""


def send(
    backbone: Backbone,
    sender: Role | Service,
    target: str,
    body: str,
    attributes: dict[str, str],
    what: str,
) -> None:
    """Send what a service could not deliver; if that fails too it is lost, as on AWS."""
    _, _, service, region, _, name = target.split(":")
    typed = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()}
    entry = {"what": what, "target": target, "body": body, "attributes": attributes}
    try:
        client = backbone.client(service, region, sender)
        if service == "sqs":
            url = f"{backbone.url}/{target.split(':')[4]}/{name}"
            client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=typed)
        elif service == "sns":
            client.publish(TopicArn=target, Message=body, MessageAttributes=typed)
        else:
            raise NotImplementedError(f"{what} to {target}")
    except ClientError as failed:
        backbone.record.lost.append({**entry, "why": str(failed)})
    else:
        backbone.record.dead_letters.append(entry)


class Pollers:
    """What Lambda's pollers do for every enabled mapping, one batch per job."""

    def __init__(self, backbone: Backbone, functions: "Functions", gate: "Gate") -> None:
        self._backbone = backbone
        self._functions = functions
        self._gate = gate
        self._watched: set[tuple[str, float]] = set()
        self._resting: dict[str, datetime] = {}

    def before(self, call: Call, account: str) -> None:
        """AWS refuses a mapping whose function may not read the queue."""
        if (call.service, call.operation) != ("lambda", "CreateEventSourceMapping"):
            return
        source = call.parameters["EventSourceArn"]
        window = call.parameters.get("MaximumBatchingWindowInSeconds", 0)
        # Source: BatchSize in the API reference of CreateEventSourceMapping.
        if call.parameters.get("BatchSize", 10) > 10 and window < 1:
            raise Refused(
                "InvalidParameterValueException",
                "Maximum batch window in seconds must be greater than 0 "
                "if maximum batch size is greater than 10",
            )
        function = self._functions.find(call.parameters["FunctionName"], account, call.region)
        for action in POLLER_ACTIONS:
            if not self._gate.allows(Role(function.role), Need(action, source)):
                name = action.removeprefix("sqs:")
                raise Refused(
                    "InvalidParameterValueException",
                    f"The provided execution role does not have permissions to call {name} on SQS",
                )
        with self._backbone.lock:
            queue = sqs_backends[account][call.region].queues.get(source.rsplit(":", 1)[-1])
        # Lambda refuses a queue that would show a message again while the function may still run.
        # moto sets the attributes of a queue by their names.
        visibility = queue.__dict__["visibility_timeout"] if queue is not None else None
        if visibility is not None and visibility < function.timeout:
            raise Refused(
                "InvalidParameterValueException",
                f"Queue visibility timeout: {visibility} seconds is less than "
                f"Function timeout: {function.timeout} seconds",
            )

    def due(self) -> list[Job]:
        """One job per batch that can be taken now, up to each mapping's concurrency."""
        jobs: list[Job] = []
        now = self._backbone.clock.now()
        with self._backbone.lock:
            for mapping, queue in self._mappings():
                if mapping.uuid in self._resting and self._resting[mapping.uuid] > now:
                    continue
                batches = math.ceil(self._visible(queue) / mapping.batch_size)
                cap = (mapping.scaling_config or {}).get("MaximumConcurrency", POLLERS)
                jobs += [partial(self._poll, mapping, queue)] * min(batches, int(cap), POLLERS)
        return jobs

    def watch(self) -> None:
        """Stop the clock at each instant when a message that is hidden now can be taken again."""
        with self._backbone.lock:
            for _, queue in self._mappings():
                for message in queue._messages:
                    hidden_until = max(message.visible_at, message.delayed_until)
                    if message.visible and not message.delayed:
                        continue
                    if (message.id, hidden_until) not in self._watched:
                        self._watched.add((message.id, hidden_until))
                        # moto takes a message for visible only after the millisecond itself.
                        due = datetime.fromtimestamp((hidden_until + 1) / 1000, UTC)
                        self._backbone.clock.at(due + timedelta(milliseconds=1), nothing)

    def _mappings(self) -> list[tuple[EventSourceMapping, Queue]]:
        found = []
        for backend in regions_of(lambda_backends):
            if backend.region_name in self._backbone.dark:
                continue
            for mapping in backend._event_source_mappings.values():
                name = mapping.event_source_arn.rsplit(":", 1)[-1]
                queue = sqs_backends[backend.account_id][backend.region_name].queues.get(name)
                if mapping.enabled and queue is not None:
                    found.append((mapping, queue))
        return found

    @staticmethod
    def _visible(queue: Queue) -> int:
        return len(queue.messages)

    def _poll(self, mapping: EventSourceMapping, queue: Queue) -> None:
        function = self._functions.find(mapping.function_arn, queue.account_id, queue.region)
        sqs = self._backbone.client("sqs", queue.region, Role(function.role))
        url = f"{self._backbone.url}/{queue.account_id}/{queue.name}"
        try:
            messages = self._receive(sqs, url, mapping.batch_size)
        except ClientError as refused:
            # The key is disabled, or a right was taken away: the poller goes on trying.
            self._backbone.record.deliveries.append(
                {"queue": queue.name, "function": function.name, "error": str(refused)}
            )
            again = self._backbone.clock.now() + REST
            self._resting[mapping.uuid] = again
            self._backbone.clock.at(again, nothing)
            return
        if not messages:
            return
        records = [self._record(message, queue) for message in messages]
        event = json.dumps({"Records": records}).encode()
        try:
            outcome = self._functions.run(function, event)
        except Refused as refused:
            # Throttled, or the role is gone: the messages come back when their visibility ends.
            self._backbone.record.deliveries.append(
                {"queue": queue.name, "function": function.name, "error": str(refused)}
            )
            return
        failed = self._failed(mapping, records, outcome.payload) if not outcome.error else None
        if failed is None:
            return
        for message in messages:
            if message["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    @staticmethod
    def _receive(sqs: Any, url: str, batch_size: int) -> list[dict[str, Any]]:
        """Up to a batch; a single receive gives at most ten."""
        messages: list[dict[str, Any]] = []
        while len(messages) < batch_size:
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(10, batch_size - len(messages)),
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                break
            messages += answer["Messages"]
        return messages

    @staticmethod
    def _record(message: dict[str, Any], queue: Queue) -> dict[str, Any]:
        attributes = {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        }
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": queue.queue_arn,
            "awsRegion": queue.region,
        }

    @staticmethod
    def _failed(
        mapping: EventSourceMapping, records: list[dict[str, Any]], payload: bytes
    ) -> set[str] | None:
        """The ids that stay in the queue, or None if all stay.

        Source: "Handling errors for an SQS event source in Lambda", success and failure conditions:
        null, {} and an empty or null list are a success; an empty or null itemIdentifier, a wrong
        key and an id that is not in the batch fail the batch.
        """
        if "ReportBatchItemFailures" not in (mapping.function_response_types or []):
            return set()
        response = json.loads(payload or b"null")
        if response is None or response == {}:
            return set()
        if not isinstance(response, dict) or "batchItemFailures" not in response:
            return None
        failures = response["batchItemFailures"] or []
        known = {record["messageId"] for record in records}
        ids = {str(f.get("itemIdentifier") if isinstance(f, dict) else None) for f in failures}
        return ids if ids <= known else None
