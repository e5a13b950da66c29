"""Lambda: have a planner started, without waiting for it; or ask a function, and wait."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lastgood import errors
from lastgood.aws.faults import SOON, translated
from lastgood.domain.names import instant

REFUSALS = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.Refused)
}


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


class LambdaAnswers:
    """A function that is asked, and answers. ``client`` must not try again by itself: what the
    function did has no token of Lambda's."""

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers.

        Raises:
            Refused: the function gave up with an error of that kind; the message is its own.
            Unavailable: it failed otherwise; and what ``translated`` raises.
        """
        what = f"ask {self._function}"
        with translated("lambda", what):
            reply = self._client.invoke(
                FunctionName=self._function,
                InvocationType="RequestResponse",
                Payload=json.dumps(payload).encode(),
            )
            answer = json.loads(reply["Payload"].read())
        if "FunctionError" not in reply:
            return dict(answer)
        message = str(answer.get("errorMessage", ""))
        if answer.get("errorType") in REFUSALS:
            raise errors.Refused(message)
        raise errors.Unavailable(f"{what}: {message or reply['FunctionError']}", SOON)


def _invoke(client: Any, function: str, request: Mapping[str, Any]) -> None:
    client.invoke(
        FunctionName=function, InvocationType="Event", Payload=json.dumps(request).encode()
    )
