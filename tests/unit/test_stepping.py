"""One call of one step: how long a step may take, and when it has begun."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from lastgood.domain.restoring import Restore, RestoreStatus
from lastgood.errors import AccessDenied, DeadlinePassed
from lastgood.ledger.memory import MemoryLedger
from lastgood.stepping import Advanced, StepRequest, Walk
from tests.support.builders import a_restore
from tests.support.fakes import FakeClock

HOUR = timedelta(hours=1)


class Steps:
    """The step "undo" of a restore, which does ``act`` at each call."""

    def __init__(self) -> None:
        self.clock, self.ledger = FakeClock(), MemoryLedger()
        self.id = a_restore(status=RestoreStatus.UNDOING).id
        self.ledger.open_restore(a_restore(status=RestoreStatus.UNDOING))
        self.error: Exception | None = None

    def call(self, *, done: bool = False, wait: timedelta | None = None) -> dict[str, Any]:
        def act(restore: Restore, _: datetime) -> Advanced:
            if self.error:
                raise self.error
            return Advanced(restore=restore, done=done, wait=wait)

        walk = Walk(ledger=self.ledger, clock=self.clock)
        return walk.step(StepRequest(restore=self.id, step="undo"), {"undo": act})


def test_a_wait_is_a_fifth_of_the_time_a_step_has_taken_or_what_the_step_says() -> None:
    steps = Steps()
    assert steps.call()["wait"] == 5
    steps.clock.advance(timedelta(minutes=5))

    assert steps.call()["wait"] == 60
    assert steps.call(wait=timedelta(seconds=100.5))["wait"] == 101


def test_a_step_that_is_not_done_in_time_ends_the_execution() -> None:
    steps = Steps()
    steps.call()
    steps.clock.advance(timedelta(minutes=56))

    with pytest.raises(DeadlinePassed, match="Undo: not done within 1:00:00"):
        steps.call()


def test_a_step_that_is_redriven_after_its_deadline_has_its_whole_time_again() -> None:
    steps = Steps()
    steps.call()
    steps.clock.advance(timedelta(minutes=56))
    with pytest.raises(DeadlinePassed):
        steps.call()
    steps.clock.advance(timedelta(minutes=1))

    assert not steps.call()["done"]
    steps.clock.advance(timedelta(minutes=16))
    assert steps.call(done=True)["done"]


def test_a_step_that_is_redriven_long_after_a_refusal_has_its_whole_time_again() -> None:
    steps = Steps()
    steps.error = AccessDenied("no")
    with pytest.raises(AccessDenied):
        steps.call()
    steps.clock.advance(20 * HOUR)
    steps.error = None

    assert not steps.call()["done"]
    steps.clock.advance(timedelta(minutes=16))
    assert steps.call(done=True)["done"]
