"""SSM Run Command: instances that are managed, and commands that end on the cloud's clock.

Source: AWS Systems Manager API Reference and User Guide, "Understanding command statuses".
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from tests.cloud.clock import Clock
from tests.cloud.ec2.conditions import CommandOutcome, Conditions, SentCommand
from tests.cloud.ec2.instances import is_shown
from tests.cloud.policy import NotTaught
from tests.cloud.wire import Refused

Given = dict[str, Any]
SHELL, POWERSHELL = "AWS-RunShellScript", "AWS-RunPowerShellScript"
MANAGED_TAG = ("ssm", "true")
"""Of the instances whose agent answers, as one with the right profile does on AWS."""
# Source: SendCommand, TimeoutSeconds (until it starts), and the documents' executionTimeout.
DELIVERED_WITHIN, RUNS_AT_MOST = 3600, 3600
# Source: GetCommandInvocation, StandardOutputContent and StandardErrorContent.
MOST_OUTPUT, MOST_ERRORS = 24_000, 8_000
TAUGHT = {"InstanceIds", "DocumentName", "TimeoutSeconds", "Comment", "Parameters"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command, when it was sent, how it goes, and when somebody cancelled it."""

    id: str
    command: SentCommand
    outcome: CommandOutcome
    at: datetime
    comment: str
    deadline: datetime
    """By when it must have started."""
    longest: timedelta


class Commands:
    def __init__(self, clock: Clock, conditions: Conditions, lock: threading.RLock) -> None:
        self._clock = clock
        self._conditions = conditions
        self._lock = lock
        self._sent: dict[str, Sent] = {}
        self._cancelled: dict[str, datetime] = {}

    def knows(self, operation: str) -> bool:
        """Other operations of SSM, such as those on parameters, are moto's."""
        return operation in self.OPERATIONS

    def answer(self, operation: str, given: Given, account: str, region: str) -> Given:
        """What the operation answers.

        Raises:
            Refused: in the service's own words.
            NotTaught: a parameter is beyond this cloud.
        """
        with self._lock:
            return self.OPERATIONS[operation](self, given, account, region)

    def _send(self, given: Given, account: str, region: str) -> Given:
        if beyond := set(given) - TAUGHT:
            raise NotTaught(f"SendCommand with {sorted(beyond)}")
        if len(given.get("InstanceIds", [])) != 1:
            raise NotTaught("SendCommand to more or less than one instance")
        (instance_id,) = given["InstanceIds"]
        instance = self._instances(account, region).get(instance_id)
        if instance is None or self._ping(instance) != "Online":
            message = f"Instances [[{instance_id}]] not in a valid state for account {account}"
            raise Refused("InvalidInstanceId", message, 400)
        document, parameters = given["DocumentName"], given.get("Parameters", {})
        _check_document(document, parameters, instance, account, region)
        now = self._clock.now()
        command = SentCommand(instance_id, document, parameters)
        timeout = (parameters.get("executionTimeout") or [str(RUNS_AT_MOST)])[0]
        sent = Sent(
            id=str(uuid.uuid4()),
            command=command,
            outcome=self._conditions.commands(command),
            at=now,
            comment=given.get("Comment", ""),
            deadline=now + timedelta(seconds=given.get("TimeoutSeconds", DELIVERED_WITHIN)),
            longest=timedelta(seconds=int(timeout)),
        )
        self._sent[sent.id] = sent
        return {
            "Command": {
                "CommandId": sent.id,
                "DocumentName": document,
                "Comment": sent.comment,
                "ExpiresAfter": sent.deadline + sent.longest,
                "Parameters": parameters,
                "InstanceIds": [instance_id],
                "RequestedDateTime": now,
                "Status": "Pending",
                "StatusDetails": "Pending",
                "TargetCount": 1,
                "CompletedCount": 0,
                "ErrorCount": 0,
            }
        }

    def _invocation(self, given: Given, *_: str) -> Given:
        sent = self._sent.get(given["CommandId"])
        # A command that was just sent is not seen everywhere yet.
        if (
            sent is None
            or sent.command.instance_id != given["InstanceId"]
            or self._clock.now() < sent.at + self._conditions.lag
        ):
            raise Refused("InvocationDoesNotExist", "", 400)
        status, details, ended = self._status(sent)
        told = {
            "CommandId": sent.id,
            "InstanceId": sent.command.instance_id,
            "Comment": sent.comment,
            "DocumentName": sent.command.document,
            "Status": status,
            "StatusDetails": details,
            "ResponseCode": -1,
            "StandardOutputContent": "",
            "StandardErrorContent": "",
        }
        if status != "Pending" and details != "DeliveryTimedOut":
            assert sent.outcome.begins is not None
            told["ExecutionStartDateTime"] = _iso(sent.at + sent.outcome.begins)
        if ended is not None:
            told["ExecutionEndDateTime"] = _iso(ended)
        if status in ("Success", "Failed"):
            told["ResponseCode"] = sent.outcome.code
            told["StandardOutputContent"] = sent.outcome.output[:MOST_OUTPUT]
            told["StandardErrorContent"] = sent.outcome.errors[:MOST_ERRORS]
        return told

    def _status(self, sent: Sent) -> tuple[str, str, datetime | None]:
        """Status, details and end, as the clock stands."""
        now, outcome = self._clock.now(), sent.outcome
        cancelled = self._cancelled.get(sent.id)
        if outcome.begins is None or sent.at + outcome.begins > sent.deadline:
            started, end, final = None, sent.deadline, ("TimedOut", "DeliveryTimedOut")
        else:
            started = sent.at + outcome.begins
            if outcome.takes > sent.longest:
                end, final = started + sent.longest, ("TimedOut", "ExecutionTimedOut")
            else:
                status = "Success" if outcome.code == 0 else "Failed"
                end, final = started + outcome.takes, (status, status)
        if cancelled is not None and cancelled < end:
            return "Cancelled", "Cancelled", cancelled
        if now >= end:
            return *final, end
        if started is None or now < started:
            return "Pending", "Pending", None
        return "InProgress", "InProgress", None

    def _cancel(self, given: Given, *_: str) -> Given:
        sent = self._sent.get(given["CommandId"])
        if sent is None:
            raise Refused("InvalidCommandId", "", 400)
        self._cancelled.setdefault(sent.id, self._clock.now())
        return {}

    def _information(self, given: Given, account: str, region: str) -> Given:
        wanted: set[str] | None = None
        for one in given.get("Filters", []):
            if one["Key"] != "InstanceIds":
                raise NotTaught(f"DescribeInstanceInformation with the filter {one['Key']}")
            wanted = set(one["Values"])
        if beyond := set(given) - {"Filters", "MaxResults", "NextToken"}:
            raise NotTaught(f"DescribeInstanceInformation with {sorted(beyond)}")
        found = []
        for id_, instance in sorted(self._instances(account, region).items()):
            ping = self._ping(instance)
            if ping is None or (wanted is not None and id_ not in wanted):
                continue
            found.append(
                {
                    "InstanceId": id_,
                    "PingStatus": ping,
                    "LastPingDateTime": self._clock.now(),
                    "AgentVersion": "3.3.0.0",
                    "PlatformType": "Windows" if _is_windows(instance) else "Linux",
                    "ResourceType": "EC2Instance",
                }
            )
        start, size = int(given.get("NextToken") or 0), given.get("MaxResults") or 50
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        return {"InstanceInformationList": found[start : start + size], **more}

    def _instances(self, account: str, region: str) -> dict[str, Any]:
        """Those that have an agent."""
        backend = ec2_backends[account][region]
        key, value = MANAGED_TAG
        return {
            instance.id: instance
            for reservation in backend.reservations.values()
            for instance in reservation.instances
            if backend.tags.get(instance.id, {}).get(key) == value and is_shown(instance)
        }

    def _ping(self, instance: Any) -> str | None:
        """None before the agent has answered for the first time, and of what is terminated."""
        if instance.state == "stopped":
            return "ConnectionLost"
        ready = instance.launch_time.replace(tzinfo=UTC) + self._conditions.agent_after
        return "Online" if instance.state == "running" and self._clock.now() >= ready else None

    OPERATIONS: ClassVar[dict[str, Callable[..., Given]]] = {
        "SendCommand": _send,
        "GetCommandInvocation": _invocation,
        "CancelCommand": _cancel,
        "DescribeInstanceInformation": _information,
    }


def _check_document(
    name: str, parameters: dict[str, list[str]], instance: Any, account: str, region: str
) -> None:
    if name in (SHELL, POWERSHELL):
        if name == SHELL and _is_windows(instance):
            raise Refused("UnsupportedPlatformType", f"{name} does not run on Windows", 400)
        known = {"commands", "workingDirectory", "executionTimeout"}
        if not parameters.get("commands") or set(parameters) - known:
            raise Refused("InvalidParameters", f"the parameters of {name}", 400)
    elif name not in ssm_backends[account][region]._documents:
        raise Refused("InvalidDocument", f"Document with name {name} does not exist.", 400)


def _is_windows(instance: Any) -> bool:
    return (getattr(instance, "platform", None) or "").lower() == "windows"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
