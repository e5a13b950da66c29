"""The restore machine: check what was restored."""

from functools import cache
from typing import Any

from check_restore.usecase import Checker
from lastgood import runtime
from lastgood.stepping import StepRequest


@cache
def checker() -> Checker:
    return Checker(
        ledger=runtime.ledger(),
        machines=runtime.machines,
        commands=runtime.commands,
        clock=runtime.clock(),
    )


@runtime.instrumented(
    StepRequest, about=lambda request: {"restore": request.restore, "step": request.step}
)
def handler(request: StepRequest) -> dict[str, Any]:
    return checker().step(request)
