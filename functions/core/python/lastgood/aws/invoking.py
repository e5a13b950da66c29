"""Lambda: have a planner started, without waiting for it."""

import json
from collections.abc import Mapping
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
            _invoke(self._client, self._function, request)


class LambdaPruners:
    """``Pruners`` on the function that plans what to prune."""

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, policy: str, slot: datetime, *, dry_run: bool = False) -> None:
        request = {"policy": policy, "slot": instant(slot), "dry_run": dry_run}
        with translated("lambda", f"have the pruning of {policy} planned for {instant(slot)}"):
            _invoke(self._client, self._function, request)


def _invoke(client: Any, function: str, request: Mapping[str, Any]) -> None:
    client.invoke(
        FunctionName=function, InvocationType="Event", Payload=json.dumps(request).encode()
    )
