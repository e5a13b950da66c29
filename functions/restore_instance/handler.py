"""The restore machine: one step forward of one restore."""

from functools import cache
from typing import Any

from lastgood import runtime
from lastgood.stepping import StepRequest
from restore_instance.safety import SafetyPoints
from restore_instance.usecase import Restorer


@cache
def restorer() -> Restorer:
    ledger = runtime.ledger()
    return Restorer(
        ledger=ledger,
        machines=runtime.machines,
        at=runtime.at,
        commands=runtime.commands,
        machine=runtime.restore_machine(),
        endings=runtime.endings(),
        news=runtime.news(),
        safety=SafetyPoints(ledger=ledger, queue=runtime.take_queue()),
        clock=runtime.clock(),
        patience=runtime.patience(),
    )


@runtime.instrumented(
    StepRequest, about=lambda request: {"restore": request.restore, "step": request.step}
)
def handler(request: StepRequest) -> dict[str, Any]:
    return restorer().step(request)
