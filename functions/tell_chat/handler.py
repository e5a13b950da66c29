"""Announcements of how restores go, by a queue: tell them in chat."""

from functools import cache

from lastgood import runtime
from lastgood.domain.conversing import Progress
from lastgood.ports import Delivery
from tell_chat.usecase import Telling


@cache
def telling() -> Telling:
    return Telling(ledger=runtime.ledger(), replies=runtime.replies(), clock=runtime.clock())


@runtime.batch(runtime.restore_progress, about=runtime.about_progress)
def handler(progress: Progress, delivery: Delivery) -> None:  # noqa: ARG001
    runtime.logger.info(telling().tell(progress))
