"""What people ask about restores: make one, say how it goes, let it live longer, end it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from clone_instance.finding import Finder
from clone_instance.planning import RestorePlanner
from clone_instance.telling import (
    Answer,
    answer_of,
    list_of,
    makes_of,
    planned,
    refused,
    status_of,
)
from lastgood.domain import asking, tags
from lastgood.domain.asking import Asked
from lastgood.domain.names import restore_id
from lastgood.domain.policy import Restores, duration_text
from lastgood.domain.restoring import Restore, RestoreRequest, RestoreStatus
from lastgood.errors import (
    AlreadyDone,
    CannotRestore,
    Conflict,
    MalformedMessage,
    NotPermitted,
    RegionNotEnabled,
    UnknownTarget,
)
from lastgood.ports import Clock, Endings, Ledger, Machines, News, RestoreMachine

SHOWN = 5
CHAT = "chat"
REFUSALS = (CannotRestore, NotPermitted, UnknownTarget, Conflict, RegionNotEnabled)
"""What a person can do something about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreDesk:
    finder: Finder
    planner: RestorePlanner
    ledger: Ledger
    machines: Callable[[str], Machines]
    machine: RestoreMachine
    endings: Endings
    news: News
    clock: Clock

    def answer(self, given: Mapping[str, Any], request_id: str) -> Answer | str:
        """Of one request; a text if ``answer`` says so. What cannot be done is an answer too."""
        asked = None
        try:
            asked = asking.read(given, request_id)
            answer = self._answer(asked)
        except MalformedMessage as error:
            answer = refused(str(error).split("\n"), type(error).__name__)
        except REFUSALS as error:
            answer = refused(_reasons(error), type(error).__name__)
            self._tell(asked, answer)
        return answer.text if asking.wants_text(given) else answer

    def _tell(self, asked: Asked | None, answer: Answer) -> None:
        """Chat may have stopped to wait for the answer, and a restore that is refused has no
        record by which anybody could ask for it."""
        if asked and asked.restoring and asked.asker.via == CHAT:
            id_ = restore_id(asked.restoring.request)
            self.news.refuse(id_, asked.restoring, answer.text)

    def _answer(self, asked: Asked) -> Answer:
        now = self.clock.now()
        if asked.restoring:
            return self._restore(asked.restoring, asked, now)
        if asked.verb == "points" or (asked.verb == "status" and asked.source):
            return self._of_source(asked, now)
        restore = self._known(asked.restore)
        self.planner.permit(restore.source, asked.allowed)
        if asked.verb == "status":
            return status_of(restore, now)
        if restore.region != self.finder.here.region:
            # Its machine, its schedule and what waits for a person are there.
            raise CannotRestore([f"restore: it is of {restore.region}; ask the function there"])
        match asked.verb:
            case "extend":
                return self._extend(restore, asked, now)
            case "keep":
                return self._keep(restore, now)
            case "cancel":
                return self._cancel(restore, asked, now)
            case "remove":
                return self._remove(restore, now)
            case "approve":
                return self._approve(restore, asked, now)
            case _:
                return self._decline(restore, asked, now)

    def _known(self, id_: str) -> Restore:
        restore = self.ledger.restore(id_)
        if restore is None:
            raise UnknownTarget(f"restore: there is no {id_}")
        return restore

    # ------------------------------------------------------------------------- restores

    def _restore(self, request: RestoreRequest, asked: Asked, now: datetime) -> Answer:
        if not request.dry_run:
            known = self.ledger.restore(restore_id(request.request))
            if known is not None:
                self.planner.permit(known.source, asked.allowed)
                return self._again(known, request, now)
        try:
            prepared = self.planner.prepare(request, asked.allowed, now)
        except RegionNotEnabled as error:
            region = request.region or "that of the source"
            raise CannotRestore(
                [f"region: {region} is not enabled for the account; enable it, or name another"]
            ) from error
        if request.dry_run:
            return planned(prepared.restore, prepared.notes)
        try:
            restore = self.ledger.open_restore(prepared.restore)
        except Conflict as error:
            raise CannotRestore(
                [f"source: {error}; wait until it is over, or cancel it"]
            ) from error
        if (restore.request, restore.region) != (request, prepared.restore.region):
            return self._again(restore, request, now)
        return self._started(restore, now, prepared.notes)

    def _started(self, restore: Restore, now: datetime, notes: tuple[str, ...] = ()) -> Answer:
        """Whoever died between the record and the start is made good by the next, or the sweep."""
        execution = self.machine.start(restore.id, "begin", restore.id)
        what = "waits for approval" if restore.approval else "has begun"
        self.news.announce(restore, what)
        makes = makes_of(restore)
        return answer_of(restore, now, makes=makes, notes=notes, execution=execution)

    def _again(self, known: Restore, request: RestoreRequest, now: datetime) -> Answer:
        """A repeated request changes nothing; another one may not take its name."""
        if known.region != self.finder.here.region:
            raise CannotRestore(
                [
                    f"request_id: {request.request} was used in {known.region} ({known.id}); give "
                    "a new one"
                ]
            )
        if replace(known.request, asker=request.asker, dry_run=request.dry_run) != request:
            raise CannotRestore(
                [
                    f"request_id: {request.request} was used for another request ({known.id}); "
                    "give a new one, or none"
                ]
            )
        if known.status.forward and not known.steps:
            return self._started(known, now)
        return answer_of(known, now, notes=("it was asked for before; nothing was changed",))

    def _of_source(self, asked: Asked, now: datetime) -> Answer:
        found = self.finder.find(asked.source, None)
        self.planner.permit(found.source, asked.allowed)
        if asked.verb == "points":
            return list_of(found.source, found.every, now)
        restores = list(islice(self.ledger.restores_of(found.source.id), SHOWN))
        if not restores:
            raise UnknownTarget(f"source: nothing was restored from {found.source.id}")
        answers = [answer_of(one, now) for one in restores]
        return replace(answers[0], text="\n".join(one.text for one in answers))

    # ------------------------------------------------------------------------ their lives

    def _rules(self, restore: Restore) -> Restores:
        policy = self.finder.policy_of(restore.policy)
        return policy.restores if policy else Restores()

    def _extend(self, restore: Restore, asked: Asked, now: datetime) -> Answer:
        self._has_end(restore)
        length, longest = asked.time_to_live, self._rules(restore).longest
        if length is None or length > longest:
            raise CannotRestore(
                [f"time_to_live: its policy allows {duration_text(longest)} from now at most"]
            )
        after = self.ledger.change_restore(restore, replace(restore, expires_at=now + length))
        self.endings.set(restore.id, now + length)
        return answer_of(after, now)

    def _keep(self, restore: Restore, now: datetime) -> Answer:
        """The record decides between this and an end that begins at the same time: then nothing
        removes it any more. Said again, it does again what one who died may have left undone."""
        self._is_done(restore)
        if restore.expires_at is not None:
            restore = self.ledger.change_restore(restore, replace(restore, expires_at=None))
        machines = self.machines(restore.place.region)
        things = machines.things_of(restore.id)
        tagged = [(one.id, one.tags) for one in things.instances]
        tagged += [(one.id, one.tags) for one in things.volumes]
        ids = [id_ for id_, of in tagged if tags.TEMPORARY in of]
        machines.untag(ids, [tags.TEMPORARY])
        self.endings.clear(restore.id)
        return answer_of(restore, now)

    def _is_done(self, restore: Restore) -> None:
        if restore.status is not RestoreStatus.DONE:
            raise CannotRestore([f"restore: {restore.id} is {restore.status}, not done"])

    def _has_end(self, restore: Restore) -> None:
        self._is_done(restore)
        if restore.expires_at is None:
            raise CannotRestore([f"restore: {restore.id} has no end already"])

    def _remove(self, restore: Restore, now: datetime) -> Answer:
        if restore.status.forward:
            raise CannotRestore([f"restore: {restore.id} is under way; cancel it"])
        if restore.status is not RestoreStatus.DONE:
            return answer_of(restore, now)
        if restore.expires_at is None:
            raise CannotRestore(
                [f"restore: {restore.id} is to be kept, and not Lastgood's to remove any more"]
            )
        after = self.ledger.change_restore(restore, replace(restore, expires_at=now))
        self.machine.start(restore.id, "end", f"{restore.id}-end-{after.version}")
        return answer_of(after, now, notes=("it is being removed",))

    def _cancel(self, restore: Restore, asked: Asked, now: datetime) -> Answer:
        if not restore.cancelled_by and not restore.status.forward:
            raise CannotRestore(
                [f"restore: {restore.id} is {restore.status}; what is done is ended by remove"]
            )
        after = self._stopped(restore, asked.asker.by, None)
        notes = ("what it made so far is being removed",) if after != restore else ()
        return answer_of(after, now, notes=notes)

    # -------------------------------------------------------------------------- approval

    def _approve(self, restore: Restore, asked: Asked, now: datetime) -> Answer:
        self._waits(restore)
        by, first = asked.asker.by, restore.request.asker.by
        if by == asking.NOBODY or by.casefold() == first.casefold():
            raise NotPermitted(
                f"by: {restore.id} was asked for by {first}: a second person, by "
                "name, must approve it"
            )
        if restore.approved_by is None:
            restore = self.ledger.change_restore(restore, replace(restore, approved_by=by))
        if restore.token:
            try:
                self.machine.approve(restore.token)
            except AlreadyDone:
                return answer_of(restore, now, notes=("it waits no more",))
        return answer_of(restore, now)

    def _decline(self, restore: Restore, asked: Asked, now: datetime) -> Answer:
        by = asked.asker.by
        if restore.cancelled_by != by:
            self._waits(restore)
        why = f"{by} declined it" + (f": {asked.reason}" if asked.reason else "")
        return answer_of(self._stopped(restore, by, why), now)

    def _waits(self, restore: Restore) -> None:
        if restore.status is not RestoreStatus.APPROVING or restore.cancelled_by:
            raise CannotRestore([f"restore: {restore.id} does not wait for approval"])

    def _stopped(self, restore: Restore, by: str, why: str | None) -> Restore:
        """Put down that a person has stopped it, unless one has, and wake the machine if it waits
        for a person; else it sees the word at its next step. Whoever died in between says it
        again."""
        if not restore.cancelled_by:
            after = replace(restore, cancelled_by=by, cause=why)
            restore = self.ledger.change_restore(restore, after)
        if restore.token and restore.status is RestoreStatus.APPROVING:
            with suppress(AlreadyDone):
                told = restore.cause or f"{restore.cancelled_by} cancelled it"
                self.machine.decline(restore.token, told)
        return restore


def _reasons(error: Exception) -> list[str]:
    match error:
        case CannotRestore():
            return error.problems
        case Conflict():
            return [f"restore: {error}; look at it again"]
        case RegionNotEnabled():
            return [f"region: {error}"]
        case _:
            return [str(error)]
