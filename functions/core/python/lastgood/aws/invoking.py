"""Lambda: have a planner started, without waiting for it; or ask a function, and wait."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lastgood import errors
from lastgood.aws.faults import translated
from lastgood.domain.names import instant
from lastgood.errors import CallRefused, LastgoodError, Refused


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


class LambdaFunction:
    """``Cloner`` and ``Explainer`` on a function that answers. ``client`` must not try again by
    itself, for what the function did has no token of Lambda's. Nobody waits longer than the client
    does: what was asked for is done all the same."""

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        what = f"ask {self._function}"
        with translated("lambda", what):
            reply = self._client.invoke(
                FunctionName=self._function, Payload=json.dumps(payload).encode()
            )
            answer = json.loads(reply["Payload"].read())
        if "FunctionError" in reply:
            raise _raised(what, answer)
        if not isinstance(answer, dict):
            raise CallRefused(f"{what}: the answer is no JSON object")
        return answer


def _raised(what: str, answer: Any) -> LastgoodError:
    """What the function raised, if that was a refusal of ours; anything else is in its own log."""
    name, text = (str(answer.get(key, "")) for key in ("errorType", "errorMessage"))
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, Refused):
        return Refused(text) if kind in _OF_PROBLEMS else kind(text)
    # Not Unavailable: that would say that it may be at work still.
    return CallRefused(f"{what}: it failed: {name} {text}")


_OF_PROBLEMS = (errors.PolicyInvalid, errors.CannotRestore)


def _invoke(client: Any, function: str, request: Mapping[str, Any]) -> None:
    client.invoke(
        FunctionName=function, InvocationType="Event", Payload=json.dumps(request).encode()
    )
