"""Step Functions of the served cloud: tasks call deployed functions under the machine's role."""

import json
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.cloud.backbone import Backbone, CannotAssume, Role
from tests.cloud.iam import Gate
from tests.cloud.policy import Need
from tests.cloud.states import Host, StateMachines, Task
from tests.cloud.states.invoking import answered, function_failed, lost, refused
from tests.cloud.wire import Call, Refused, Reply

SERVICE = "states.amazonaws.com"
# Source: "Logging using CloudWatch Logs" of the Step Functions Developer Guide, IAM policies.
LOGGING = (
    *("CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery"),
    *("ListLogDeliveries", "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups"),
)


class ServedMachines:
    """Logs and traces are not written; what a role lacks to write logs is refused as on AWS."""

    def __init__(self, backbone: Backbone, gate: Gate) -> None:
        self._backbone = backbone
        self._gate = gate
        host = Host(
            clock=backbone.clock,
            set_going=backbone.set_going,
            call=self._call,
            lock=backbone.lock,
        )
        self._machines = StateMachines(host)

    def answer(self, call: Call, account: str) -> Reply:
        if call.operation in ("CreateStateMachine", "UpdateStateMachine"):
            self._check_role(call, account)
        told = self._machines.answer(call.operation, call.parameters, account, call.region)
        return call.answer(told)

    def transitions(self) -> dict[str, int]:
        """What AWS would have billed so far, by the ARN of a machine."""
        return dict(self._machines.transitions)

    def _check_role(self, call: Call, account: str) -> None:
        given = call.parameters
        if (arn := given.get("roleArn")) is None:
            return
        name = f"stateMachine:{given['name']}" if "name" in given else ""
        machine = given.get("stateMachineArn") or f"arn:aws:states:{call.region}:{account}:{name}"
        try:
            role = self._backbone.assume(arn, SERVICE, machine)
        except CannotAssume as why:
            message = (
                f"Neither the global service principal {SERVICE}, nor the regional one is "
                "authorized to assume the provided role."
            )
            raise Refused("AccessDeniedException", message, 400) from why
        logging = given.get("loggingConfiguration") or {}
        if logging.get("level", "OFF") != "OFF" and not all(
            self._gate.allows(role, Need(f"logs:{action}")) for action in LOGGING
        ):
            message = "The state machine IAM Role is not authorized to access the Log Destination"
            raise Refused("AccessDeniedException", message, 400)

    def _call(self, task: Task) -> Any:
        """Invoke the function as the machine's role.

        Raises:
            TaskFailed
        """
        try:
            role: Role = self._backbone.assume(task.role, SERVICE, task.machine)
        except CannotAssume as why:
            raise refused("AccessDeniedException", str(why), 403) from why
        client = self._backbone.client("lambda", task.machine.split(":")[3], role)
        event = json.dumps(task.payload).encode()
        try:
            reply = client.invoke(FunctionName=task.function, Payload=event)
        except ClientError as failed:
            error, about = failed.response["Error"], failed.response["ResponseMetadata"]
            raise refused(error["Code"], error["Message"], about["HTTPStatusCode"]) from failed
        except BotoCoreError as broken:
            raise lost(str(broken)) from broken
        payload = json.loads(reply["Payload"].read() or b"null")
        if "FunctionError" in reply:
            raise function_failed(payload)
        request = reply["ResponseMetadata"].get("RequestId", "")
        return answered(payload, request, reply["ExecutedVersion"])
