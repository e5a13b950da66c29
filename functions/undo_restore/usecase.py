"""What ends a restore: undoing one that failed, and removing what was to stay for a while only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lastgood.domain.place import Place
from lastgood.domain.restoring import SAFETY, STEPS, Restore, RestoreStatus, failed, gone
from lastgood.domain.tags import TEMPORARY
from lastgood.errors import NotApproved
from lastgood.ports import Clock, Compute, Endings, Ledger, Machines, News, Patience
from lastgood.stepping import Act, Advanced, StepRequest, Walk
from undo_restore.putting_back import PutBack
from undo_restore.removing import Left, Remover

NOBODY = (NotApproved.__name__, "nobody approved it within a day")
AFTER = timedelta(seconds=1)
"""Then it is shown for sure."""
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
        failure = _failure(request.context)
        acts: dict[str, Act] = {
            "undo": lambda restore, now: self._undo(restore, failure, now),
            "remove": self._remove,
        }
        return self._walk.step(request, acts)

    @property
    def _walk(self) -> Walk:
        return Walk(ledger=self.ledger, clock=self.clock)

    def _undo(self, restore: Restore, failure: tuple[str, str], now: datetime) -> Advanced:
        """To be as if nothing had been asked for: the source first, then what was made."""
        error, cause = failure
        if restore.status is RestoreStatus.APPROVING and error == "States.Timeout":
            error, cause = NOBODY
        if restore.status.forward:
            cause = f"{error}: {restore.cause or cause}"
            after = replace(restore, status=RestoreStatus.UNDOING, cause=cause)
            restore = self._walk.save(restore, failed(after, now, but=STEPS["undo"]))
            self.news.announce(restore, f"failed, and is being undone: {restore.cause}")
        more = {"error": error, "cause": restore.cause or cause}
        if restore.status is not RestoreStatus.UNDOING:
            return Advanced(restore=restore, done=True, more=more)
        plan, unseen = restore.in_place, self._unseen(restore, now)
        if plan and unseen:
            # The source may not be as describes show it: what was changed last is not seen yet.
            return Advanced(restore=restore, wait=unseen, more=more)
        source = PutBack(machines=self.machines(restore.place.region))
        if not source.done(restore):
            return Advanced(restore=restore, more=more)
        originals = {one.old for one in plan.swaps} if plan else set()
        remover = self._remover(restore, *([plan.instance] if plan else []))
        left = remover.remove(restore, lambda id_, _: id_ not in originals)
        restore = gone(restore, left.there, now)
        if left.going or unseen:
            return Advanced(restore=restore, wait=None if left.going else unseen, more=more)
        self._release(restore, left)
        self._let_go(restore)
        after = replace(restore, status=RestoreStatus.UNDONE, settled_at=now)
        what = "; ".join((*left.told(), *source.told(restore))) or "nothing is left of it"
        self.news.announce(after, f"is undone; {what}. {restore.cause}")
        return Advanced(restore=after, done=True, more=more)

    def _remove(self, restore: Restore, now: datetime) -> Advanced:
        """What is on record and bears the tag that says that it will go, and nothing else: people
        launch more like a clone, with all of its tags."""
        if restore.status is RestoreStatus.DONE and restore.expires_at is not None:
            if restore.expires_at > now:
                # It lives longer than the schedule that woke us knew.
                return Advanced(restore=restore, done=True)
            ending = replace(restore, status=RestoreStatus.ENDING)
            restore = self._walk.save(restore, ending)
        if restore.status is not RestoreStatus.ENDING:
            return Advanced(restore=restore, done=True)

        known = {one.id for one in restore.made}
        if restore.in_place is not None:
            known = {one.old for one in restore.in_place.swaps if one.old}

        def mine(id_: str, tags: Mapping[str, str]) -> bool:
            return id_ in known and tags.get(TEMPORARY) == restore.id

        left = self._remover(restore).remove(restore, mine)
        restore = gone(restore, left.there, now) if restore.in_place is None else restore
        unseen = self._unseen(restore, now)
        if left.going or unseen:
            return Advanced(restore=restore, wait=None if left.going else unseen)
        self._release(restore, left)
        self._let_go(restore)
        after = replace(restore, status=RestoreStatus.ENDED)
        told = ("has ended: what was to go is removed", *left.told())
        self.news.announce(after, "; ".join(told))
        return Advanced(restore=after, done=True)

    def _remover(self, restore: Restore, *users: str) -> Remover:
        attached = [restore.attach.instance] if restore.attach else []
        return Remover(
            machines=self.machines(restore.place.region),
            compute=self.at(restore.place),
            users=frozenset((*attached, *users)),
        )

    def _unseen(self, restore: Restore, now: datetime) -> timedelta | None:
        """How long describes may still not show what a call has made; None: no longer."""
        if restore.attempted_at is None:
            return None
        left = restore.attempted_at + self.patience.describes - now
        return left + AFTER if left >= timedelta(0) else None

    def _release(self, restore: Restore, left: Left) -> None:
        """What stays is not to be removed any more: policies take it from now on."""
        self.machines(restore.place.region).untag(left.kept, (TEMPORARY,))

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
