"""Copy points to the places that their policies name, as many at a time as there are slots."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from lastgood.domain import copying, tags
from lastgood.domain.copying import (
    SHRUNK_FOR,
    CopyEnded,
    CopyLate,
    CopyStatus,
    MemberEnded,
    PointCopy,
)
from lastgood.domain.mending import GONE_AFTER
from lastgood.domain.model import MemberState, Point, PointStatus, Tagged
from lastgood.domain.place import Place
from lastgood.domain.policy import Encryption
from lastgood.errors import (
    AccessDenied,
    AlreadyDone,
    Conflict,
    KeyDenied,
    LimitReached,
    NotSettledYet,
    Refused,
    Throttled,
    Unavailable,
    UnknownPolicy,
)
from lastgood.ports import Clock, Compute, Ledger, Policies

RESERVE = timedelta(seconds=30)
"""With less time left no further call goes out: the next message goes on."""

UNHEARD = timedelta(minutes=5)
"""After which a call whose outcome nobody wrote is looked up: longer than this function runs, and
than describes lag behind."""

LATE = timedelta(minutes=20)
"""After which a copy whose end nobody told is looked at, each time a sweep asks."""

AVAILABLE = PointStatus.AVAILABLE
GONE = (PointStatus.EXPIRED, PointStatus.DELETED)

TRIES = 4
"""At one copy, while other messages of it are handled as well."""


@dataclass(slots=True)
class Copied:
    """What one message came to: calls that went out, copies that ended; places without a slot."""

    asked: int = 0
    available: list[PointCopy] = field(default_factory=list)
    failed: list[PointCopy] = field(default_factory=list)
    late: list[PointCopy] = field(default_factory=list)
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copier:
    """The world as copying needs it. ``at`` gives the EC2 of a place; ``accounts``: those of the
    places that copies go to."""

    policies: Policies
    at: Callable[[Place], Compute]
    ledger: Ledger
    clock: Clock
    accounts: frozenset[str]

    def queue(self, point_id: str, done: Copied) -> None:
        """Have an available point copied to each place that its policy names; one that has to be
        encrypted first, only in place. Said again, it changes nothing.

        Raises:
            UnknownPolicy: it was taken out since.
        """
        point = self.ledger.point(point_id)
        if point is None or point.status is not PointStatus.AVAILABLE:
            return
        # First all of them, since a place that is full holds up nothing elsewhere.
        for place in self._open(point):
            self.fill(place, done)

    def _open(self, point: Point) -> list[Place]:
        """Where copies of it are on record then. Raises as ``queue`` does."""
        now, policy = self.clock.now(), self.policies.get(point.policy)
        if policy.encryption is Encryption.REQUIRED and point.plain:
            copies = [copying.encrypting(point, now)]
        else:
            copies = [copying.queued(point, wanted, now) for wanted in policy.copies]
        for copy in copies:
            self.ledger.open_copy(copy)
        return [copy.place for copy in copies]

    def fill(self, place: Place, done: Copied) -> None:
        """Give the free slots of the place to what has waited longest.

        Raises:
            Throttled, Unavailable: as a call ended; what was not asked for comes with the next.
        """
        now = self.clock.now()
        slots = self.ledger.slots(place)
        if len(slots.taken) >= slots.limit(now):
            done.full = True
            return
        latest: dict[str, PointCopy] = {}
        due = self._in_time(self.ledger.due(place))
        for copy, number in copying.next_free(due, slots, now):
            if self.clock.left() < RESERVE:
                return
            known = latest.get(copy.id, copy)
            asked, holder = copying.asked(known, number, now), known.holder(number)
            try:
                claimed = self.ledger.change_copy(known, asked, take=holder, limit=slots.limit(now))
            except Conflict:
                # Another message is at it.
                continue
            if claimed is None:
                done.full = True
                return
            done.asked += 1
            latest[copy.id] = self._ask(claimed, number, done)

    def _ask(self, copy: PointCopy, number: int, done: Copied) -> PointCopy:
        # One in place may be there from before its record was lost: its point is rebuilt then.
        if (copy.failures or copy.in_place) and self._found_before(copy, number, done):
            return self._known(copy)
        try:
            snapshot = self._begin(copy, number)
        except NotSettledYet as error:
            # Of this snapshot only: the others go on, and a sweep comes back to it.
            return self._give_back(copy, number, self.clock.now() + error.after)
        except (LimitReached, Throttled) as error:
            self._give_back(copy, number)
            if isinstance(error, LimitReached):
                # Others copy there too: as many as are under way now are ours.
                fewer = max(1, len(self.ledger.slots(copy.place).taken))
                self.ledger.shrink(copy.place, fewer, self.clock.now() + SHRUNK_FOR)
            raise
        except Unavailable as error:
            if not error.effect_unknown:
                self._give_back(copy, number)
            raise
        except AlreadyDone as error:
            member = copy.members[number]
            gone = self.at(copy.source.place).snapshot(member.of) is None
            why = f"{member.of} is gone" if gone else str(error)
            return self._end(copy, number, _failed(why, for_good=gone), done)
        except Refused as error:
            return self._end(copy, number, _failed(str(error)), done)
        try:
            return self.ledger.change_copy(copy, copying.made(copy, number, snapshot)) or copy
        except Conflict:
            # It ended, and its event was faster.
            return self._known(copy)

    def _begin(self, copy: PointCopy, number: int) -> str:
        member = copy.members[number]
        if copy.key and (problem := self.at(copy.place).key_problem(copy.key)):
            raise KeyDenied(problem)
        bears = self._tags(copy, number)
        if copy.abroad:
            self.at(copy.source.place).share_snapshot(member.of, copy.place.account)
        return self.at(copy.place).copy_snapshot(
            member.of,
            copy.source.region,
            bears,
            key=copy.key,
            encrypted=member.encrypted or copy.key is not None,
            minutes=copy.minutes,
        )

    def _found_before(self, copy: PointCopy, number: int, done: Copied) -> bool:
        """An error may have hidden that an earlier call was carried out."""
        operation = copy.operation(number)
        found = self.at(copy.place).copies_made([operation]).get(operation, ())
        # What broke before, and could not be deleted, is no answer to this call.
        shown = [one for one in found if not _is_broken(one)]
        for one in shown:
            self._note(copy, one, done)
        return bool(shown)

    def _known(self, copy: PointCopy) -> PointCopy:
        return self.ledger.copy(copy.point, copy.place) or copy

    def _tags(self, copy: PointCopy, number: int) -> dict[str, str]:
        member = copy.members[number]
        found = self.at(copy.source.place).snapshot(member.of)
        if found is None and self.clock.now() - copy.queued_at < GONE_AFTER:
            raise NotSettledYet(f"EC2 does not show {member.of} yet", timedelta(minutes=1))
        if found is None:
            raise AlreadyDone(f"{member.of} is gone")
        return tags.of_copy(
            found.tags,
            operation=copy.operation(number),
            copy_of=member.of,
            volume=member.volume,
            region=copy.source.region,
            account=copy.source.account,
        )

    def _give_back(self, copy: PointCopy, number: int, until: datetime | None = None) -> PointCopy:
        """``until``: it waits so long."""
        after = copying.given_back(copy, number, until)
        after = self.ledger.change_copy(copy, after, free=copy.holder(number)) or after
        self._unshare(after)
        return after

    def _unshare(self, copy: PointCopy, *, loud: bool = False) -> None:
        """What is left shared: after it is written that it need not be, so that of two copies of
        one snapshot in one account, that end at one time, the later finds none under way::

            copy in eu-north-1            shared?                     copy in eu-central-1
            ends: is written               yes                         is under way
            finds another under way        yes
            notes: not shared by me        yes                         ends: is written
                                           yes                         finds none under way
                                           no   <--------------------- un-shares, and notes it

        Where that is refused it stays noted, and the copies of others go on: each sweep has it
        tried again, and is ``loud`` then.

        Raises, if it is to be ``loud``, AccessDenied and its like; not for an account that cannot
        be entered.
        """
        for before in self._read_again(copy):
            left = before.left_shared
            if not left:
                return
            others = [
                one
                for one in self.ledger.copies(before.point)
                if one.place.account == before.place.account and one.place != before.place
            ]
            try:
                source = self.at(before.source.place)
            except AccessDenied:
                # Planning tells people of it.
                return
            try:
                for number in left:
                    if not any(one.members[number].under_way for one in others):
                        _unshare(source, before.members[number].of, before.place.account)
            except Refused:
                if loud:
                    raise
                return
            try:
                self.ledger.change_copy(before, copying.unshared(before, left))
            except Conflict:
                continue
            return
        raise Conflict(f"{copy.id} is changed again and again")

    def _merge(self, copy: PointCopy, done: Copied) -> None:
        """Of a copy in place that is available: make its snapshots members of the point, and delete
        what they are copies of. Whoever is killed in between left it open, and it is done anew::

            copy in place    members of the point    snapshots             copies elsewhere
            available        old                     old, new              none
            available        new                     old, new              none
            available        new                     old, new              queued
            available        new                     new                   queued
            merged           new                     new                   queued

        The members are there and complete at every step, whoever reads them. Of a point that went
        meanwhile, both go. What may not be deleted is tried again later, and later each time; and
        nothing is deleted of which EC2 does not show the encrypted copy.
        """
        now = self.clock.now()
        if not copy.unmerged or (copy.not_before and now < copy.not_before):
            return
        point = self.ledger.point(copy.point)
        if point is None or point.status not in (AVAILABLE, *GONE):
            return
        queued: list[Place] = []
        try:
            after = self._merged(point, copy, queued)
        except Conflict:
            # It is going, or another message is at it.
            return
        except Refused as error:
            after = copying.unfinished(copy, str(error), now)
        # If another message was at it, it did the same.
        with suppress(Conflict):
            self.ledger.change_copy(copy, after)
        for place in queued:
            self.fill(place, done)

    def _merged(self, point: Point, copy: PointCopy, queued: list[Place]) -> PointCopy:
        """The copy as it is after that. ``queued`` gets the places elsewhere."""
        now = self.clock.now()
        if point.status is not AVAILABLE:
            left = self._clear(point, copy)
            return copying.unfinished(copy, left, now) if left else copying.deleted(copy, now)
        members = copying.exchanged(point, copy)
        if lost := self._lost(copy):
            again = copying.unfinished(copy, f"{lost} is not there any more", now)
            return again if members == point.members else copying.begun_anew(again)
        if members != point.members:
            point = self.ledger.exchange(point, members, now)
        with suppress(UnknownPolicy):
            queued += self._open(point)
        left = self._clear(point, copy)
        return copying.unfinished(copy, left, now) if left else copying.merged(copy, now)

    def _clear(self, point: Point, copy: PointCopy) -> str | None:
        """Delete, of what a copy in place is made of and of what it made, all that the point has
        not; or why not all of it."""
        own: tuple[str, ...] = ()
        if point.status is AVAILABLE:
            own = point.snapshots
            others = (one for one in self.ledger.copies(point.id) if one.id != copy.id)
            read = {
                member.of
                for one in others
                if not one.status.settled
                for member in one.members
                if not member.ended
            }
            if still := read.intersection(member.of for member in copy.members):
                return f"{', '.join(sorted(still))} is copied elsewhere still"
            if hold := point.hold or self.ledger.source_holds([point.source.id]).get(
                point.source.id
            ):
                return f"what was not encrypted stays: it is {hold}"
        pairs = [one for member in copy.members for one in (member.of, member.snapshot)]
        refused = [self._delete(copy.place, one) for one in pairs if one and one not in own]
        return "; ".join(filter(None, refused)) or None

    def _lost(self, copy: PointCopy) -> str | None:
        """What a copy in place made and EC2 does not show as complete and encrypted."""
        operations = [copy.operation(number) for number in range(len(copy.members))]
        found = {
            one.member.snapshot
            for some in self.at(copy.place).copies_made(operations).values()
            for one in some
            if one.member.state is MemberState.COMPLETED and one.member.encrypted
        }
        lost = [one.snapshot for one in copy.members if one.snapshot not in found]
        return ", ".join(filter(None, lost)) or None

    def _delete(self, place: Place, snapshot: str) -> str | None:
        """Why not, if something holds it."""
        compute = self.at(place)
        found = compute.snapshot(snapshot)
        # What is gone has no tags, by which our right to delete it is judged.
        if found is None:
            return None
        if tags.HOLD in found.tags:
            return f"{snapshot} bears the tag {tags.HOLD}={found.tags[tags.HOLD]}"
        try:
            compute.delete_snapshot(snapshot)
        except Refused as error:
            return str(error)
        return None

    def settle(self, event: CopyEnded, done: Copied) -> None:
        """Note how a copy ended, as EC2 shows it, and start the next; none of ours is passed over.
        One that EC2 does not show any more was removed: by an earlier delivery, since it was of no
        use, or by its retention.

        Raises:
            NotSettledYet: EC2 does not show yet that it has ended.
        """
        place = self._place_of(event)
        if place is None:
            return
        found = self._shown(event, place)
        if found:
            copy = self._of(found, place)
            if copy is None:
                return
            self._note(copy, found, done, incremental=event.incremental)
        self.fill(place, done)

    def note_late(self, event: CopyLate, done: Copied) -> None:
        """Note that a copy takes longer than its policy asked for. Raises as ``settle`` does."""
        place = self._place_of(event)
        found = self._shown(event, place) if place else None
        copy = self._of(found, place) if found and place else None
        if copy is None:
            return
        for before in self._read_again(copy):
            if before.late_at:
                return
            late = replace(before, late_at=event.at)
            try:
                self.ledger.change_copy(before, late)
            except Conflict:
                continue
            done.late.append(late)
            return
        raise Conflict(f"{copy.id} is changed again and again")

    def _place_of(self, event: CopyEnded | CopyLate) -> Place | None:
        """None: of an account that no policy names."""
        if event.account not in self.accounts:
            return None
        return Place(region=event.region, account=event.account)

    def _shown(self, event: CopyEnded | CopyLate, place: Place) -> Tagged | None:
        """None: it is gone."""
        found = self.at(place).snapshot(event.snapshot)
        if found is None and self.clock.now() - event.at <= UNHEARD:
            raise NotSettledYet(f"EC2 does not show {event.snapshot} yet", UNHEARD / 5)
        return found

    def look_after(self, place: Place, done: Copied) -> None:
        """What events and workers left behind in a place; then fill it. How many slots it has, is
        asked once a day.

        Raises, once all is done: what refused to be un-shared.
        """
        now = self.clock.now()
        refused = self._ask_for_slots(place, now)
        due = list(self._in_time(self.ledger.due(place)))
        for copy in due:
            if self.clock.left() < RESERVE:
                break
            try:
                self._unshare(copy, loud=True)
                self._merge(copy, done)
            except Refused as error:
                refused.append(error)
        unsure = [
            (copy, number)
            for copy in due
            for number, member in enumerate(copy.members)
            if member.under_way
            and member.asked_at is not None
            and now - member.asked_at > (LATE if member.snapshot else UNHEARD)
        ]
        if unsure:
            operations = [copy.operation(number) for copy, number in unsure]
            found = self.at(place).copies_made(operations)
            for copy, number in unsure:
                shown = found.get(copy.operation(number), ())
                try:
                    self._as_shown(copy.point, place, number, shown, done)
                except Refused as error:
                    refused.append(error)
        self.fill(place, done)
        if refused:
            raise refused[0]

    def _ask_for_slots(self, place: Place, now: datetime) -> list[Refused]:
        """Once a day. Why nobody says, if so: then it is as many as everybody has."""
        if not self.ledger.slots(place).is_old(now):
            return []
        try:
            quota, refused = self.at(place).copy_slots(), []
        except Refused as error:
            quota, refused = None, [error]
        self.ledger.note_quota(place, quota, now)
        return refused

    def _in_time(self, copies: Iterator[PointCopy]) -> Iterator[PointCopy]:
        """As many as there is time to read: there may be very many that wait."""
        for one in copies:
            if self.clock.left() < RESERVE:
                return
            yield one

    def _as_shown(
        self, point: str, place: Place, number: int, shown: tuple[Tagged, ...], done: Copied
    ) -> None:
        copy = self.ledger.copy(point, place)
        if copy is None or copy.status.settled or copy.members[number].ended:
            return
        asked_at = copy.members[number].asked_at or copy.queued_at
        current = [one for one in shown if not _is_older(one, asked_at)]
        if current:
            for one in current:
                self._note(self._known(copy), one, done)
        elif copy.members[number].snapshot:
            cause = f"{copy.members[number].snapshot} is not there any more"
            self._end(copy, number, _failed(cause), done)
        else:
            # Nothing came of the call: describes have had their time.
            self._give_back(copy, number)

    def _of(self, found: Tagged, place: Place) -> PointCopy | None:
        operation, point = found.tags.get(tags.COPY), found.tags.get(tags.POINT)
        if operation is None or point is None:
            return None
        copy = self.ledger.copy(point, place)
        return copy if copy and operation.startswith(f"{copy.id}/") else None

    def _note(
        self, copy: PointCopy, found: Tagged, done: Copied, incremental: bool | None = None
    ) -> None:
        number = int(found.tags[tags.COPY].rpartition("/")[2])
        member, snapshot = found.member, found.member.snapshot
        if member.state is MemberState.PENDING:
            if copy.members[number].snapshot is None:
                self.ledger.change_copy(copy, copying.made(copy, number, snapshot))
            return
        known, asked_at = copy.members[number].snapshot, copy.members[number].asked_at
        if known is not None and known != snapshot:
            # Made by a second call for the same member, whose first answer was lost.
            self._delete(copy.place, snapshot)
            return
        if _is_broken(found):
            # Nobody can use it, and the next attempt makes another. One that is held stays.
            self._delete(copy.place, snapshot)
            if asked_at is None or _is_older(found, asked_at):
                return
        news = MemberEnded(
            snapshot=snapshot,
            state=member.state,
            cause=member.cause or ("EBS gave no cause" if _is_broken(found) else None),
            incremental=incremental,
        )
        self._end(copy, number, news, done)

    def _end(self, copy: PointCopy, number: int, news: MemberEnded, done: Copied) -> PointCopy:
        """Other members may end at the same moment: then it is read and written once more."""
        for before in self._read_again(copy):
            if before.status.settled or before.members[number].ended:
                self._unshare(before)
                self._merge(before, done)
                return before
            after = copying.ended(before, number, news, self.clock.now())
            if after.status is CopyStatus.FAILED:
                # Before it is written: what is left of a copy that is not whole is of no use.
                self._remove(after)
            try:
                written = self.ledger.change_copy(before, after, free=copy.holder(number))
            except Conflict:
                continue
            after = written or after
            if after.status is CopyStatus.AVAILABLE:
                done.available.append(after)
            elif after.failures > before.failures:
                done.failed.append(after)
            self._unshare(after)
            self._merge(after, done)
            return after
        raise Conflict(f"{copy.id} is changed again and again")

    def _remove(self, copy: PointCopy) -> None:
        for member in copy.members:
            if member.snapshot:
                self._delete(copy.place, member.snapshot)

    def _read_again(self, copy: PointCopy) -> Iterator[PointCopy]:
        yield copy
        for _ in range(TRIES):
            known = self.ledger.copy(copy.point, copy.place)
            if known is None:
                return
            yield known


def _is_broken(found: Tagged) -> bool:
    return found.member.state is MemberState.ERROR


def _unshare(source: Compute, snapshot: str, account: str) -> None:
    try:
        source.unshare_snapshot(snapshot, account)
    except Refused:
        # What is gone has no tags, by which our right is judged.
        if source.snapshot(snapshot) is not None:
            raise


def _is_older(found: Tagged, asked_at: datetime) -> bool:
    """Of an earlier call than that, as clocks go."""
    return found.member.started_at < asked_at - timedelta(minutes=1)


def _failed(cause: str, *, for_good: bool = False) -> MemberEnded:
    return MemberEnded(snapshot=None, state=MemberState.ERROR, cause=cause, for_good=for_good)
