"""Step Functions: executions of the restore state machine."""

import json
from contextlib import suppress
from typing import Any

from lastgood.aws.faults import translated
from lastgood.errors import AlreadyDone, UnknownTarget

OURS = "rs-"
"""With which the names of all executions begin that we start ourselves."""
MOST_CAUSE = 32_768
"""Characters of the cause of a failure (Step Functions API, SendTaskFailure)."""


class Machine:
    """``RestoreMachine`` on the state machine of that ARN."""

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def start(self, restore: str, entry: str, name: str) -> str:
        # While one of that name and input runs, Step Functions gives its ARN itself.
        with suppress(AlreadyDone), translated("stepfunctions", f"start {name}"):
            self._client.start_execution(
                stateMachineArn=self._arn,
                name=name,
                input=json.dumps({"restore": restore, "entry": entry}),
            )
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"

    def approve(self, token: str) -> None:
        with translated("stepfunctions", "let the restore go on"):
            self._client.send_task_success(taskToken=token, output="{}")

    def decline(self, token: str, why: str) -> None:
        with translated("stepfunctions", "end the restore, which is declined"):
            self._client.send_task_failure(
                taskToken=token, error="NotApproved", cause=why[:MOST_CAUSE]
            )

    def at_work(self, restore: str) -> bool:
        """Those that we start bear the restore's id at the beginning of their names. EventBridge
        Scheduler makes up the names of those that it starts: their input tells.

        Step Functions may not show what began, or ended, in the last seconds.
        """
        pages = self._client.get_paginator("list_executions").paginate(
            stateMachineArn=self._arn, statusFilter="RUNNING"
        )
        with translated("stepfunctions", f"look for what works at {restore}"):
            running = [one for page in pages for one in page["executions"]]
        if any(f"{one['name']}-".startswith(f"{restore}-") for one in running):
            return True
        return any(
            self._works_at(one["executionArn"], restore)
            for one in running
            if not one["name"].startswith(OURS)
        )

    def _works_at(self, execution: str, restore: str) -> bool:
        try:
            with translated("stepfunctions", f"look at {execution}"):
                found = self._client.describe_execution(executionArn=execution)
        except UnknownTarget:
            return False
        return bool(json.loads(found["input"]).get("restore") == restore)
