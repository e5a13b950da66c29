"""One call of one step: how long a step may take, and when it has begun."""

from datetime import timedelta

import pytest

from lastgood.domain.restoring import RestoreStatus
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

    def call(self, *, done: bool = False) -> bool:
        def act(restore: object, _: object) -> Advanced:
            if self.error:
                raise self.error
            return Advanced(restore=restore, done=done)  # type: ignore[arg-type]

        walk = Walk(ledger=self.ledger, clock=self.clock)
        return bool(walk.step(StepRequest(restore=self.id, step="undo"), {"undo": act})["done"])


def test_a_step_that_is_not_done_in_time_ends_the_execution() -> None:
    steps = Steps()
    steps.call()
    steps.clock.advance(timedelta(minutes=17))

    with pytest.raises(DeadlinePassed, match="Undo: not done within 0:20:00"):
        steps.call()


def test_a_step_that_is_redriven_after_its_deadline_has_its_whole_time_again() -> None:
    steps = Steps()
    steps.call()
    steps.clock.advance(timedelta(minutes=17))
    with pytest.raises(DeadlinePassed):
        steps.call()
    steps.clock.advance(timedelta(minutes=1))

    assert not steps.call()
    steps.clock.advance(timedelta(minutes=16))
    assert steps.call(done=True)


def test_a_step_that_is_redriven_long_after_a_refusal_has_its_whole_time_again() -> None:
    steps = Steps()
    steps.error = AccessDenied("no")
    with pytest.raises(AccessDenied):
        steps.call()
    steps.clock.advance(20 * HOUR)
    steps.error = None

    assert not steps.call()
    steps.clock.advance(timedelta(minutes=16))
    assert steps.call(done=True)
