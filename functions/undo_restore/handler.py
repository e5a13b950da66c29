"""The restore machine: undo a restore that failed, or remove what was to stay for a while."""

from functools import cache
from typing import Any

from lastgood import runtime
from lastgood.stepping import StepRequest
from undo_restore.usecase import Undoer


@cache
def undoer() -> Undoer:
    return Undoer(
        ledger=runtime.ledger(),
        machines=runtime.machines,
        at=runtime.at,
        endings=runtime.endings(),
        news=runtime.news(),
        clock=runtime.clock(),
        patience=runtime.patience(),
    )


@runtime.instrumented(
    StepRequest, about=lambda request: {"restore": request.restore, "step": request.step}
)
def handler(request: StepRequest) -> dict[str, Any]:
    return undoer().step(request)
