"""SSM: a command on an instance, and what came of it."""

from typing import Any

from lastgood.aws.faults import code_of, translated
from lastgood.domain.restoring import CommandCheck
from lastgood.errors import CallRefused, UnknownTarget
from lastgood.ports import CommandResult

DELIVERY = 600
"""Seconds in which SSM is to reach the instance; else the command has timed out."""
MOST_COMMENT = 100
MOST_OUTPUT = 4000
"""Characters that are kept as evidence. SSM itself keeps 24,000."""
UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")


class SsmCommands:
    """``Commands`` on two clients: ``reads`` tries again by itself, ``once`` never does."""

    def __init__(self, reads: Any, once: Any) -> None:
        self._reads = reads
        self._once = once

    def managed(self, instance: str) -> bool:
        try:
            with translated("ssm", f"ask SSM whether it reaches {instance}"):
                reply = self._reads.describe_instance_information(
                    Filters=[{"Key": "InstanceIds", "Values": [instance]}]
                )
        except CallRefused as error:
            if code_of(error) != "InvalidInstanceId":
                raise
            return False
        return any(one["PingStatus"] == "Online" for one in reply["InstanceInformationList"])

    def send(self, instance: str, check: CommandCheck, comment: str) -> str:
        parameters = {"commands": list(check.commands)} if check.commands else {}
        with translated("ssm", f"run {check.document} on {instance}"):
            reply = self._once.send_command(
                InstanceIds=[instance],
                DocumentName=check.document,
                Parameters=parameters,
                TimeoutSeconds=DELIVERY,
                Comment=comment[:MOST_COMMENT],
            )
        return str(reply["Command"]["CommandId"])

    def result(self, command: str, instance: str) -> CommandResult | None:
        try:
            with translated("ssm", f"read the result of the command on {instance}"):
                reply = self._reads.get_command_invocation(CommandId=command, InstanceId=instance)
        except UnknownTarget as error:
            if code_of(error) != "InvocationDoesNotExist":
                raise
            return None
        status = reply["Status"]
        written = (reply.get("StandardOutputContent", ""), reply.get("StandardErrorContent", ""))
        return CommandResult(
            over=status not in UNDER_WAY,
            ok=status == "Success",
            output="\n".join(text.rstrip() for text in written if text.strip())[:MOST_OUTPUT],
            status=reply.get("StatusDetails") or status,
        )
