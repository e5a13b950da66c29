"""ClientToken: the same call made twice has one effect and one answer.

Source: EC2 API Reference, "Ensuring idempotency"; of the calls Lastgood makes, RunInstances,
CreateVolume and CreateReplaceRootVolumeTask have one, CreateSnapshot, CreateSnapshots and
RegisterImage have none (aws-facts 1.3, botocore).
"""

from collections.abc import Callable
from typing import Any

from tests.cloud.ec2.errors import refusal


def once(
    backend: Any, operation: str, params: dict[str, Any], act: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What ``act`` answered to this token first; it acts only then. A dry run leaves no trace.

    Raises:
        IdempotentParameterMismatch: the token was used with other parameters.
    """
    token = params.get("ClientToken")
    if not token or params.get("DryRun"):
        return act()
    # in the backend, so that it goes with moto's reset
    answers = vars(backend).setdefault("client_token_answers", {})
    asked = {name: value for name, value in params.items() if name not in ("ClientToken", "DryRun")}
    if (operation, token) not in answers:
        answers[operation, token] = asked, act()
    first, answer = answers[operation, token]
    if first != asked:
        raise refusal(
            "IdempotentParameterMismatch",
            "The client token has been used with other parameters.",
        )
    return dict(answer)
