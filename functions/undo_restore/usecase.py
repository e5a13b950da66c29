"""What ends a restore: undoing one that failed, and removing what was to stay for a while only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lastgood.domain.place import Place
from lastgood.domain.restoring import SAFETY, STEPS, Restore, RestoreStatus, failed, gone
from lastgood.domain.tags import TEMPORARY
from lastgood.errors import NotApproved
from lastgood.ports import Clock, Compute, Endings, Ledger, Machines, News, Patience
from lastgood.stepping import Advanced, StepRequest, Walk
from undo_restore.putting_back import PutBack
from undo_restore.removing import Remover

NOBODY = (NotApproved.__name__, "nobody approved it within a day")
UNKNOWN = ("Unknown", "the machine was stopped, or ran out of time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoer:
    ledger: Ledger
    machines: Callable[[str], Machines]
    at: Callable[[Place], Compute]
    endings: Endings
    news: News
    clock: Clock
    patience: Patience

    def step(self, request: StepRequest) -> dict[str, Any]:
        """As ``Walk.step``. Of ``undo``, the answer has ``error`` and ``cause``, why it was."""
        walk = Walk(ledger=self.ledger, clock=self.clock)
        failure = _failure(request.context)
        return walk.step(
            request,
            {
                "undo": lambda restore, now: self._undo(walk, restore, failure, now),
                "remove": lambda restore, now: self._remove(walk, restore, now),
            },
        )

    def _undo(
        self, walk: Walk, restore: Restore, failure: tuple[str, str], now: datetime
    ) -> Advanced:
        """To be as if nothing had been asked for: the source first, then what was made."""
        error, cause = failure
        if restore.status is RestoreStatus.APPROVING and error == "States.Timeout":
            error, cause = NOBODY
        if restore.status.forward:
            cause = f"{error}: {restore.cause or cause}"
            after = replace(restore, status=RestoreStatus.UNDOING, cause=cause)
            restore = walk.save(restore, failed(after, now, but=STEPS["undo"]))
            self.news.announce(restore, f"failed, and is being undone: {restore.cause}")
        more = {"error": error, "cause": restore.cause or cause}
        if restore.status is not RestoreStatus.UNDOING:
            return Advanced(restore=restore, done=True, more=more)
        machines = self.machines(restore.place.region)
        if not PutBack(machines=machines).done(restore):
            return Advanced(restore=restore, more=more)
        remover = self._remover(restore, machines)
        originals = {one.old for one in restore.in_place.swaps} if restore.in_place else set()
        left = remover.remove(restore, lambda id_, _: id_ not in originals)
        restore = gone(restore, left, now)
        if left or self._may_appear(restore, now):
            return Advanced(restore=restore, more=more)
        self._let_go(restore)
        after = replace(restore, status=RestoreStatus.UNDONE, settled_at=now)
        self.news.announce(after, f"is undone; nothing is left of it. {restore.cause}")
        return Advanced(restore=after, done=True, more=more)

    def _remove(self, walk: Walk, restore: Restore, now: datetime) -> Advanced:
        """What bears the tag that says that it will go, and nothing else."""
        if restore.status is RestoreStatus.DONE and restore.expires_at is not None:
            if restore.expires_at > now:
                # It lives longer than the schedule that woke us knew.
                return Advanced(restore=restore, done=True)
            ending = replace(restore, status=RestoreStatus.ENDING)
            restore = walk.save(restore, ending)
        if restore.status is not RestoreStatus.ENDING:
            return Advanced(restore=restore, done=True)
        remover = self._remover(restore, self.machines(restore.place.region))

        def mine(_: str, tags: Mapping[str, str]) -> bool:
            return tags.get(TEMPORARY) == restore.id

        left = remover.remove(restore, mine)
        restore = gone(restore, left, now) if restore.in_place is None else restore
        if left or self._may_appear(restore, now):
            return Advanced(restore=restore)
        self._let_go(restore)
        after = replace(restore, status=RestoreStatus.ENDED)
        kept = remover.kept(restore, mine)
        self.news.announce(after, "; ".join(("has ended: what was to go is removed", *kept)))
        return Advanced(restore=after, done=True)

    def _remover(self, restore: Restore, machines: Machines) -> Remover:
        return Remover(machines=machines, compute=self.at(restore.place))

    def _may_appear(self, restore: Restore, now: datetime) -> bool:
        """A call may have made something that describes do not show yet."""
        tried = restore.attempted_at
        return tried is not None and now - tried <= self.patience.describes

    def _let_go(self, restore: Restore) -> None:
        self.endings.clear(restore.id)
        self.ledger.free_from_restore(restore)
        safety = restore.in_place.safety_point if restore.in_place else None
        point = self.ledger.point(safety) if safety else None
        if safety and point and point.hold and point.hold.by == SAFETY:
            self.ledger.release_hold(safety)


def _failure(context: Mapping[str, Any]) -> tuple[str, str]:
    """The error's name and message of what the machine caught: the function's own, in JSON."""
    caught = context.get("failure")
    if not isinstance(caught, dict):
        return UNKNOWN
    error, cause = str(caught.get("Error", UNKNOWN[0])), str(caught.get("Cause", ""))
    try:
        told = json.loads(cause)
    except ValueError:
        return error, cause
    if isinstance(told, dict) and "errorMessage" in told:
        return error, str(told["errorMessage"])
    return error, cause
