"""Lambda: have the planner started, without waiting for it."""

import json
from datetime import datetime
from typing import Any

from lastgood.aws.faults import translated
from lastgood.domain.names import instant


class LambdaPlanners:
    """``Planners`` on the function that plans."""

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, policy: str, slot: datetime, source: str | None = None) -> None:
        request = {
            "policy": policy,
            "slot": instant(slot),
            **({"source": source} if source else {}),
        }
        with translated("lambda", f"have {policy} planned for {instant(slot)}"):
            self._client.invoke(
                FunctionName=self._function,
                InvocationType="Event",
                Payload=json.dumps(request).encode(),
            )
