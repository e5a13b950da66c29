"""One call of one step of a restore: how its record is read, and what is written of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from lastgood.domain.restoring import (
    STEPS,
    Restore,
    began,
    deadline,
    ended,
    failed,
    wait_after,
)
from lastgood.errors import (
    Cancelled,
    Conflict,
    DeadlinePassed,
    LastgoodError,
    MalformedMessage,
    TryAgain,
    UnknownTarget,
)
from lastgood.ports import Clock, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """What the machine says. ``context``: all that it knows, where a step needs that."""

    restore: str
    step: str
    token: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """The record as it is to be; ``more``: what the machine is told beside that it is done.
    ``wait``: until when there is nothing to see, if the step knows."""

    restore: Restore
    done: bool = False
    wait: timedelta | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


Act = Callable[[Restore, datetime], Advanced]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Writes come from one execution; a second worker at the same step meets a Conflict."""

    ledger: Ledger
    clock: Clock

    def restore(self, id_: str) -> Restore:
        restore = self.ledger.restore(id_)
        if restore is None:
            raise UnknownTarget(f"there is no restore {id_} on record")
        return restore

    def step(self, request: StepRequest, acts: Mapping[str, Act]) -> dict[str, Any]:
        """Call the step once; ``wait`` is after how many seconds it is worth another call.

        Raises:
            DeadlinePassed: it is not done, and another call would come too late.
            MalformedMessage: there is no such step here.
        """
        if request.step not in acts:
            raise MalformedMessage(f"no step {request.step!r} here; there are: {', '.join(acts)}")
        name, now = STEPS[request.step], self.clock.now()
        restore = self.restore(request.restore)
        restore = self.save(restore, began(restore, name, now))
        try:
            advanced = acts[request.step](restore, now)
            after = advanced.restore
            latest = after.step(name)
            since = latest.began_at if latest else now
            wait = ceil(advanced.wait.total_seconds()) if advanced.wait else wait_after(since, now)
            if advanced.done:
                after = ended(after, name, self.clock.now())
            self._write(restore, after)
            if not advanced.done and now + timedelta(seconds=wait) - since > deadline(name):
                raise DeadlinePassed(f"{name}: not done within {deadline(name)}")
        except (TryAgain, Conflict):
            raise
        except LastgoodError:
            # When it is redriven, or begun again by a sweep, its time begins anew.
            record = self.restore(request.restore)
            self.save(record, failed(record, now))
            raise
        return {"done": advanced.done, "wait": wait, **advanced.more}

    def save(self, before: Restore, after: Restore) -> Restore:
        """Write ``after`` if it is another; as it is then."""
        return after if after == before else self.ledger.change_restore(before, after)

    def _write(self, before: Restore, after: Restore) -> None:
        """``after`` may come of what the step itself has written since ``before``."""
        before = replace(before, version=after.version)
        if after != before:
            self.ledger.change_restore(before, after)

    def attempt(self, restore: Restore) -> Restore:
        """Note that a call goes out now that makes or changes something."""
        return self.save(restore, replace(restore, attempted_at=self.clock.now()))


def heed(restore: Restore) -> None:
    """Raises Cancelled: a person has stopped it, or it is past going forward."""
    if restore.cancelled_by:
        raise Cancelled(restore.cause or f"{restore.cancelled_by} cancelled it")
    if not restore.status.forward:
        raise Cancelled(f"it is {restore.status} already")
