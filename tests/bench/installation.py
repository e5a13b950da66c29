"""Lastgood in a cloud of its own, put there by the real CDK CLI, for what is measured."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.bench import show
from tests.cloud.driver import ACCOUNT, REPOSITORY, CloudProcess

HOME = "eu-west-1"


@dataclass
class Installation:
    """``ids``: of the instances of the fleet."""

    cloud: CloudProcess
    ids: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return self.cloud.client(service, HOME)

    def invoke_later(self, function: str, event: dict[str, Any]) -> None:
        """Asynchronously, as schedules do."""
        self.client("lambda").invoke(
            FunctionName=function, InvocationType="Event", Payload=json.dumps(event)
        )

    def stop_pollers(self) -> None:
        """No queue feeds a function from now on."""
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.delete_event_source_mapping(UUID=mapping["UUID"])

    def take_message(self, queue: str) -> dict[str, Any]:
        """The next message of a queue, which must have one."""
        sqs, url = self.client("sqs"), f"{self.cloud.url}/{ACCOUNT}/{queue}"
        reply = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["All"]
        )
        message: dict[str, Any] = reply["Messages"][0]
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return message


def deploy(cloud: CloudProcess) -> Installation:
    show.doing("cdk bootstrap and deploy")
    cloud.bootstrap(HOME)
    cloud.deploy(REPOSITORY, region=HOME)
    return Installation(cloud)


@contextmanager
def installed(start: datetime) -> Iterator[Installation]:
    with CloudProcess(start) as cloud:
        yield deploy(cloud)
