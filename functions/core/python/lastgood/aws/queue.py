"""SQS: take requests in, and dead letters with their cause."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from lastgood.aws.faults import SOON, translated
from lastgood.codec import unstructure
from lastgood.domain.copying import PlaceDue
from lastgood.domain.names import instant
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import PruneMessage
from lastgood.domain.requests import TakeRequest
from lastgood.errors import LastgoodError, Unavailable

MOST_ENTRIES = 10
MOST_BYTES = 262_144
"""Of one SendMessageBatch and of one message: what every Region and event source takes. SQS itself
allows 1 MiB by now (botocore, SendMessage)."""
LONGEST_CAUSE = 1024
MOST_DELAY = timedelta(hours=12)
TRIES = 3


class SqsQueue:
    """``Queue`` on one SQS queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._out = _Out(client, url)

    def send(self, requests: Iterable[TakeRequest]) -> int:
        return self._out.send(_body(request) for request in requests)


class SqsPruneQueue:
    """``PruneQueue`` on one SQS queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._out = _Out(client, url)

    def send(self, messages: Iterable[PruneMessage]) -> None:
        self._out.send(json.dumps(unstructure(one)) for one in messages)


class SqsCopyQueue:
    """``CopyQueue`` on one SQS queue."""

    def __init__(self, client: Any, url: str) -> None:
        self._out = _Out(client, url)

    def send(self, places: Iterable[Place]) -> None:
        self._out.send(json.dumps(unstructure(PlaceDue(place=one))) for one in places)


class _Out:
    """A queue that is only written to."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, every: Iterable[str]) -> int:
        """In as few calls as fit; how many were sent."""
        sent = 0
        for bodies in _batches(every):
            self._send_batch(bodies)
            sent += len(bodies)
        return sent

    def _send_batch(self, bodies: list[str]) -> None:
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies)]
        refused: list[Any] = []
        for _ in range(TRIES):
            with translated("sqs", f"send {len(entries)} requests"):
                reply = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            refused = reply.get("Failed", [])
            again = {one["Id"] for one in refused}
            entries = [entry for entry in entries if entry["Id"] in again]
            if not entries:
                return
        raise Unavailable(f"SQS refused {len(entries)} requests: {refused[0]['Code']}", SOON)


class SqsDeliveries:
    """What a function does with a message that it could not handle."""

    def __init__(self, client: Any, url: str, dead_letters: str) -> None:
        self._client = client
        self._url = url
        self._dead_letters = dead_letters

    def postpone(self, receipt: str, after: timedelta) -> None:
        """Hide the message until ``after`` has passed, in whole seconds, so never shorter."""
        with translated("sqs", "postpone a message"):
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=receipt,
                VisibilityTimeout=math.ceil(min(after, MOST_DELAY).total_seconds()),
            )

    def bury(self, body: str, error: LastgoodError, function: str, at: datetime) -> None:
        """Put the message among the dead letters, with the error that a person is to read."""
        attributes = {
            "error": type(error).__name__,
            "cause": _sendable(str(error))[:LONGEST_CAUSE],
            "function": function,
            "at": instant(at),
        }
        with translated("sqs", "send a dead letter"):
            self._client.send_message(
                QueueUrl=self._dead_letters,
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                },
            )


def _body(request: TakeRequest) -> str:
    """The request as JSON; without its facts if they are larger than a message can be."""
    plain = unstructure(request)
    body = json.dumps(plain, separators=(",", ":"))
    if len(body.encode()) > MOST_BYTES:
        body = json.dumps(plain | {"instance": None, "volumes": [], "bare": True})
    return body


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == MOST_ENTRIES or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch


def _sendable(text: str) -> str:
    """With what SQS refuses in a text written as an escape (SQS API, SendMessage)."""
    return re.sub(
        "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
        lambda found: ascii(found[0])[1:-1],
        text,
    )
