"""The ledger in memory: what the DynamoDB one does, in a few dictionaries, for fast tests."""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from lastgood.domain.conversing import ChatRefusal, Conversation
from lastgood.domain.copying import CopyStatus, PointCopy, Slots
from lastgood.domain.ended import Ended, counts_members
from lastgood.domain.manifest import LaunchAttributes, Manifest
from lastgood.domain.model import (
    Change,
    Claim,
    Doubt,
    Failure,
    Hold,
    Member,
    Method,
    Outcome,
    Planned,
    Point,
    PointStatus,
    Proof,
    Run,
    Source,
    SourceRecord,
)
from lastgood.domain.names import shard
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import Applied, PrunePlan
from lastgood.domain.restoring import Restore
from lastgood.domain.taking import anchor
from lastgood.errors import Conflict
from lastgood.ledger import items
from lastgood.ledger.keys import SHARDS, by_slot
from lastgood.ports import Settled


class MemoryLedger:
    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._runs_of: dict[str, list[tuple[datetime, str]]] = {}
        self._points: dict[str, Point] = {}
        self._flying: dict[str, None] = {}
        self._points_of: dict[str, dict[str, None]] = {}
        self._counts: dict[str, Counter[PointStatus]] = {}
        self._failures: dict[str, dict[str, Failure]] = {}
        self._doubts: dict[str, Doubt] = {}
        self._told: set[str] = set()
        self._leads: dict[str, str] = {}
        self._elsewhere: dict[str, set[str]] = {}
        self._sources: dict[tuple[str, str], SourceRecord] = {}
        self._launch: dict[tuple[str, str], LaunchAttributes] = {}
        self._holds: dict[str, Hold] = {}
        self._plans: dict[str, PrunePlan] = {}
        self._applied: dict[str, dict[int, Applied]] = {}
        self._policies: set[str] = set()
        self._copied: dict[str, dict[Place, datetime | None]] = {}
        self._copies: dict[tuple[str, Place], PointCopy] = {}
        self._slots: dict[Place, Slots] = {}
        self._restores: dict[str, Restore] = {}
        self._restoring: dict[str, str] = {}
        self._restored_from: dict[str, set[str]] = {}
        self._names: dict[str, dict[str, Source]] = {}
        self._requests: set[str] = set()
        self._conversations: dict[str, Conversation] = {}
        self.refusals: list[ChatRefusal] = []

    def open_run(self, run: Run) -> None:
        if run.id not in self._runs:
            self._runs[run.id] = run
            insort(self._runs_of.setdefault(run.policy, []), (run.slot, run.id))

    def plan_run(self, run: str, planned: Planned) -> None:
        known = self._runs.get(run)
        behind = known and known.planned and len(known.planned.regions) > len(planned.regions)
        if known and not behind:
            self._runs[run] = replace(known, planned=planned)

    def planned(self, run: str) -> Planned | None:
        return self._runs[run].planned if run in self._runs else None

    def run(self, run: str) -> Run | None:
        found = self._runs.get(run)
        if found is None:
            return None
        ended = Counter(self._counts.get(run, {}))
        others = (self._points.get(one) for one in self._elsewhere.get(run, ()))
        ended.update(one.ended if one else PointStatus.AVAILABLE for one in others)
        counted = (PointStatus.AVAILABLE, PointStatus.FAILED)
        return replace(found, ended={status: ended[status] for status in counted})

    def runs(self, policy: str) -> Iterator[Run]:
        return (self._runs[id_] for _, id_ in self._runs_of.get(policy, [])[::-1])

    def failures(self, run: str) -> Iterator[Failure]:
        return iter(list(self._failures.get(run, {}).values()))

    def claim(self, claim: Claim) -> Point:
        point = self._points.get(claim.id)
        if point is None:
            first = items.first_claim(claim)
            self._keep(first)
            self._see(claim)
            return replace(first, attempted_at=None)
        if point.status is not PointStatus.CREATING:
            return point
        leased = point.lease_until is not None and point.lease_until > claim.at
        if point.owner not in (None, claim.owner) and leased:
            raise Conflict(f"{claim.id} is being taken by another worker")
        held = replace(point, owner=claim.owner, lease_until=items.lease_end(claim))
        self._keep(replace(held, attempted_at=point.attempted_at or claim.at))
        return held

    def taken_elsewhere(self, run: str, point: str, at: datetime) -> None:  # noqa: ARG002
        self._elsewhere.setdefault(run, set()).add(point)

    def attempt(self, point: str, owner: str, at: datetime) -> None:
        self._keep(replace(self._held(point, owner), attempted_at=at))

    def release(self, point: str, owner: str, why: str, at: datetime, *, untouched: bool) -> None:
        held = self._held(point, owner)
        self._keep(
            replace(
                held,
                cause=why,
                owner=None,
                lease_until=at.replace(microsecond=0),
                attempted_at=None if untouched else held.attempted_at,
            )
        )

    def retake(self, point: Point, at: datetime) -> bool:
        known = self._known(point.id)
        if known.status is not PointStatus.CREATING or known.lease_until != point.lease_until:
            return False
        self._keep(replace(known, lease_until=at.replace(microsecond=0), retakes=known.retakes + 1))
        return True

    def doubt(self, point: str, at: datetime) -> None:
        self._doubts[point] = Doubt(point=point, since=at)

    def doubts(self) -> Iterator[Doubt]:
        return iter(list(self._doubts.values()))

    def dismiss(self, doubt: Doubt) -> None:
        if self._doubts.get(doubt.point) == doubt:
            del self._doubts[doubt.point]

    def answer(
        self,
        point: Point,
        at: datetime,
        members: tuple[Member, ...],
        manifest: Manifest,
        notes: tuple[str, ...],
    ) -> Point:
        held = self._held(point.id, point.owner or "")
        change = Change(at=at, status=PointStatus.PENDING, reason=f"{len(members)} snapshots")
        answered = replace(
            held,
            status=PointStatus.PENDING,
            members=members,
            manifest=manifest,
            notes=notes,
            cause=None,
            owner=None,
            lease_until=None,
            attempted_at=None,
            history=(*held.history, change),
        )
        self._keep(answered)
        self._lead_to(answered)
        return answered

    def settle(self, point: Point, outcome: Outcome) -> Settled:
        known = self._known(point.id)
        if known.status is outcome.status:
            return Settled(known, changed=False)
        if known.status is not PointStatus.PENDING:
            raise Conflict(f"{point.id} cannot become {outcome.status}: it is {known.status}")
        members = known.members if counts_members(point) else point.members
        ended = self._end(replace(known, members=members), outcome)
        self._note_newest(ended)
        return Settled(ended, changed=True)

    def give_up(self, claim: Claim, outcome: Outcome) -> Point:
        known = self._points.get(claim.id)
        if known is None:
            self._see(claim)
            given_up = items.given_up(claim, outcome)
            self._keep(given_up)
            self._count(given_up)
            return given_up
        if known.status is outcome.status:
            return known
        if known.status is not PointStatus.CREATING or known.owner not in (None, claim.owner):
            raise Conflict(f"{claim.id} is not ours to give up")
        return self._end(known, outcome)

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        known = self._known(point.id)
        if known.status is PointStatus.EXPIRED:
            return known
        if known.status is not point.status:
            raise Conflict(f"{point.id} is {known.status} now")
        if known.hold or point.source.id in self._holds:
            raise Conflict(f"{point.id} is {known.hold or 'held with its source'}")
        self._may_go(point.id)
        change = Change(at=at, status=PointStatus.EXPIRED, reason=reason)
        expired = replace(known, status=PointStatus.EXPIRED, history=(*known.history, change))
        self._keep(expired)
        return expired

    def exchange(self, point: Point, members: tuple[Member, ...], at: datetime) -> Point:
        known = self._known(point.id)
        if known.status is PointStatus.AVAILABLE and known.members == members:
            return known
        if known.status is not PointStatus.AVAILABLE or known.snapshots != point.snapshots:
            raise Conflict(f"{point.id} is {known.status}, or has other members now")
        self._may_go(point.id)
        change = items.exchange(point, members, at)
        changed = replace(known, members=members, history=(*known.history, change))
        self._keep(changed)
        if known.method is not Method.ONE_BY_ONE:
            self._leads.pop(anchor(known.snapshots), None)
        self._leads[anchor(changed.snapshots)] = point.id
        return changed

    def deleted(self, point: str, at: datetime) -> None:
        known = self._known(point)
        if known.status is PointStatus.DELETED:
            return
        if known.status is not PointStatus.EXPIRED:
            raise Conflict(f"{point} is not expired")
        change = Change(at=at, status=PointStatus.DELETED, reason="its snapshots are deleted")
        self._keep(
            replace(
                known,
                status=PointStatus.DELETED,
                manifest=None,
                history=(*known.history, change),
            )
        )
        del self._points_of[known.source.id][point]

    def hold(self, point: str, hold: Hold) -> None:
        known = self._known(point)
        if known.status in (PointStatus.EXPIRED, PointStatus.DELETED):
            raise Conflict(f"{point} is {known.status}: it cannot be held any more")
        self._keep(replace(known, hold=hold))

    def release_hold(self, point: str) -> None:
        if point in self._points:
            self._keep(replace(self._points[point], hold=None))

    def hold_source(self, source: str, hold: Hold) -> None:
        self._holds[source] = hold

    def release_source(self, source: str) -> None:
        self._holds.pop(source, None)

    def source_holds(self, sources: Iterable[str]) -> dict[str, Hold]:
        return {one: self._holds[one] for one in sources if one in self._holds}

    def open_plan(self, plan: PrunePlan) -> PrunePlan:
        return self._plans.setdefault(plan.id, plan)

    def plan(self, plan: str) -> PrunePlan | None:
        return self._plans.get(plan)

    def advance_plan(self, before: PrunePlan, after: PrunePlan) -> None:
        known = self._plans.get(after.id)
        as_before = known and (known.status, known.parts) == (before.status, before.parts)
        if not as_before and known != after:
            raise Conflict(f"{after.id} was changed meanwhile")
        self._plans[after.id] = after

    def note_applied(self, plan: str, slice_: int, applied: Applied, at: datetime) -> None:  # noqa: ARG002
        self._applied.setdefault(plan, {})[slice_] = applied

    def applied(self, plan: str) -> Iterator[Applied]:
        return iter([one for _, one in sorted(self._applied.get(plan, {}).items())])

    def note_policies(self, policies: Iterable[str]) -> None:
        self._policies |= set(policies)

    def noted_policies(self) -> set[str]:
        return set(self._policies)

    def copying_since(
        self, policy: str, places: Iterable[Place], at: datetime
    ) -> dict[Place, datetime]:
        known = self._copied.setdefault(policy, {})
        since = {place: known.get(place) or at.replace(microsecond=0) for place in places}
        known.update({**dict.fromkeys(known), **since})
        return since

    def copied_places(self, policy: str) -> set[Place]:
        return set(self._copied.get(policy, {}))

    def settle_member(self, point: Point, ended: Ended) -> Point:
        known = self._known(point.id)
        if known.status is not PointStatus.PENDING:
            return known
        members = tuple(
            replace(member, state=ended.state, cause=ended.cause)
            if member.snapshot == ended.snapshot
            else member
            for member in known.members
        )
        noted = replace(known, members=members)
        self._keep(noted)
        return noted

    def point(self, point: str) -> Point | None:
        return self._points.get(point)

    def point_of(self, snapshot: str) -> Point | None:
        return self._points.get(self._leads.get(snapshot, ""))

    def points(self, source: str) -> Iterator[Point]:
        ours = [_listed(self._points[one]) for one in self._points_of.get(source, {})]
        return iter(sorted(ours, key=lambda point: (point.slot, point.id), reverse=True))

    def sources(self, policy: str, after: str | None = None) -> Iterator[SourceRecord]:
        ours = [one for (name, _), one in self._sources.items() if name == policy]
        ours.sort(key=lambda one: _place(one.source.id))
        return iter([one for one in ours if after is None or _place(one.source.id) > _place(after)])

    def launch(self, policy: str, source: Source) -> LaunchAttributes | None:
        return self._launch.get((policy, source.id))

    def remember_launch(self, policy: str, source: Source, launch: LaunchAttributes) -> None:
        self._launch[policy, source.id] = launch

    def in_flight(self) -> Iterator[Point]:
        return iter([_in_flight(self._points[one]) for one in self._flying])

    def known(self, points: Iterable[str]) -> set[str]:
        return self._points.keys() & set(points)

    def note_source(self, policy: str, source: Source, at: datetime) -> None:
        record = SourceRecord(policy=policy, source=source, first_seen=at, last_asked=at)
        self._sources.setdefault((policy, source.id), record)

    def known_copies(self, points: Iterable[str], place: Place) -> set[str]:
        found = (self._copies.get((one, place)) for one in points)
        return {one.id for one in found if one}

    def rebuild(self, point: Point) -> bool:
        if point.id in self._points:
            return False
        self.note_source(point.policy, point.source, point.claimed_at)
        self._keep(point)
        self._lead_to(point)
        self._note_newest(point)
        return True

    def told(self, key: str) -> bool:
        return key in self._told

    def note_told(self, key: str, at: datetime) -> None:  # noqa: ARG002
        self._told.add(key)

    def note_request(self, key: str, until: datetime) -> bool:  # noqa: ARG002
        new = key not in self._requests
        self._requests.add(key)
        return new

    def note_refusal(self, refusal: ChatRefusal) -> None:
        self.refusals.append(refusal)

    def converse(self, conversation: Conversation) -> None:
        self._conversations[conversation.restore] = conversation

    def conversation(self, restore: str) -> Conversation | None:
        return self._conversations.get(restore)

    def answered(self, restore: str) -> None:
        if known := self._conversations.get(restore):
            self._conversations[restore] = replace(known, answered=True)

    def note_said(self, restore: str, announcement: str, at: datetime) -> None:
        known = self._conversations.get(restore)
        if known and announcement not in known.said:
            said = (*known.said, announcement)
            self._conversations[restore] = replace(known, said=said, said_at=at)

    def _keep(self, point: Point) -> None:
        """With what the table's indexes find it by."""
        if point.id not in self._points:
            self._points_of.setdefault(point.source.id, {})[point.id] = None
        self._points[point.id] = point
        if point.status.settled:
            self._flying.pop(point.id, None)
        else:
            self._flying[point.id] = None

    def open_copy(self, copy: PointCopy) -> bool:
        new = (copy.point, copy.place) not in self._copies
        self._copies.setdefault((copy.point, copy.place), copy)
        return new

    def copy(self, point: str, place: Place) -> PointCopy | None:
        return self._copies.get((point, place))

    def copies(self, point: str) -> list[PointCopy]:
        found = [one for (of, _), one in self._copies.items() if of == point]
        return sorted(found, key=lambda one: (one.place.account, one.place.region))

    def copies_of(self, source: str, place: Place) -> Iterator[PointCopy]:
        found = [
            _listed_copy(one)
            for (_, where), one in self._copies.items()
            if where == place and one.source.id == source and one.status.listed
        ]
        yield from sorted(found, key=lambda one: (one.slot, one.id), reverse=True)

    def due(self, place: Place) -> Iterator[PointCopy]:
        waiting = [one for (_, where), one in self._copies.items() if where == place and one.open]
        yield from sorted(waiting, key=lambda one: one.turn)

    def change_copy(
        self,
        before: PointCopy,
        after: PointCopy,
        *,
        take: str | None = None,
        limit: int = 0,
        free: str | None = None,
    ) -> PointCopy | None:
        key = (before.point, before.place)
        if self._copies[key].version != before.version:
            raise Conflict(f"{before.id} was changed meanwhile")
        point = self._points.get(before.point)
        held = before.source.id in self._holds or (point is not None and point.hold)
        if after.status is CopyStatus.EXPIRED and held:
            raise Conflict(f"{before.id} is held with its point or source")
        if after.status is CopyStatus.EXPIRED:
            self._may_go(before.point)
        slots = self.slots(before.place)
        if take and (take in slots.taken or len(slots.taken) >= limit):
            return None
        taken = (slots.taken | {take} if take else slots.taken) - {free}
        self._slots[before.place] = replace(slots, taken=frozenset(filter(None, taken)))
        self._copies[key] = replace(after, version=before.version + 1)
        return self._copies[key]

    def slots(self, place: Place) -> Slots:
        return self._slots.get(place, Slots())

    def note_quota(self, place: Place, quota: int | None, at: datetime) -> None:
        self._slots[place] = replace(self.slots(place), quota=quota, quota_at=at)

    def shrink(self, place: Place, to: int, until: datetime) -> None:
        self._slots[place] = replace(self.slots(place), shrunk_to=to, shrunk_until=until)

    def open_restore(self, restore: Restore) -> Restore:
        if restore.id in self._restores:
            return self._restores[restore.id]
        if restore.locks:
            if restore.locks in self._restoring:
                raise Conflict(f"{self._restoring[restore.locks]} works at {restore.locks}")
            self._restoring[restore.locks] = restore.id
        self._restores[restore.id] = restore
        return restore

    def restore(self, restore: str) -> Restore | None:
        return self._restores.get(restore)

    def change_restore(self, before: Restore, after: Restore) -> Restore:
        known = self._restores.get(before.id)
        if known is None or known.version != before.version:
            raise Conflict(f"{before.id} was changed meanwhile")
        if after.in_place and not after.locks:
            instance = after.in_place.instance
            if self._restoring.get(instance) == after.id:
                del self._restoring[instance]
        self._restores[before.id] = replace(after, version=before.version + 1)
        return self._restores[before.id]

    def restores_of(self, source: str) -> Iterator[Restore]:
        ours = [one for one in self._restores.values() if one.source.id == source]
        return iter(sorted(ours, key=_asked, reverse=True))

    def open_restores(self) -> Iterator[Restore]:
        return iter(sorted((one for one in self._restores.values() if one.open), key=_asked))

    def hold_for_restore(self, restore: Restore) -> None:
        copy = self._copies.get((restore.point, restore.origin))
        point = self._points.get(restore.point)
        if restore.from_copy:
            there = copy is not None and copy.status is CopyStatus.AVAILABLE
        else:
            there = point is not None and point.status is PointStatus.AVAILABLE
        if not there:
            raise Conflict(items.not_available(restore))
        self._restored_from.setdefault(restore.point, set()).add(restore.id)

    def free_from_restore(self, restore: Restore) -> None:
        self._restored_from.get(restore.point, set()).discard(restore.id)

    def prove(self, point: str, proof: Proof) -> None:
        known = self._points.get(point)
        proof = items.proof(proof)
        if known and (known.proof is None or known.proof.at < proof.at):
            self._keep(replace(known, proof=proof))

    def note_name(self, name: str, source: Source, at: datetime) -> None:  # noqa: ARG002
        self._names.setdefault(name, {}).setdefault(source.id, source)

    def named(self, name: str) -> tuple[Source, ...]:
        return tuple(one for _, one in sorted(self._names.get(name, {}).items()))

    def _may_go(self, point: str) -> None:
        if by := self._restored_from.get(point):
            raise Conflict(items.restored_from(point, by))

    def _lead_to(self, point: Point) -> None:
        one_by_one = point.method is Method.ONE_BY_ONE
        for snapshot in point.snapshots if one_by_one else [anchor(point.snapshots)]:
            self._leads[snapshot] = point.id

    def _note_newest(self, point: Point) -> None:
        source = self._sources[point.policy, point.source.id]
        taken = (point.taken_at or point.slot).replace(microsecond=0)
        newer = source.last_available is None or source.last_available < taken
        if point.status is PointStatus.AVAILABLE and newer:
            self._sources[point.policy, point.source.id] = replace(
                source, last_available=taken, last_point=point.id
            )

    def _see(self, claim: Claim) -> None:
        key = (claim.policy, claim.source.id)
        known = self._sources.get(key) or SourceRecord(
            policy=claim.policy, source=claim.source, first_seen=claim.at
        )
        self._sources[key] = replace(known, last_asked=claim.at)

    def _count(self, point: Point) -> None:
        self._counts.setdefault(point.run, Counter())[point.status] += 1
        if point.status is PointStatus.FAILED:
            self._failures.setdefault(point.run, {})[point.id] = Failure(
                point=point.id, source=point.source, cause=point.cause or ""
            )

    def _end(self, point: Point, outcome: Outcome) -> Point:
        ended = replace(
            point,
            status=outcome.status,
            settled_at=outcome.at,
            cause=outcome.cause,
            owner=None,
            lease_until=None,
            attempted_at=None,
            history=(*point.history, items.settled(outcome)),
        )
        self._keep(ended)
        self._count(ended)
        return ended

    def _held(self, point: str, owner: str) -> Point:
        known = self._points.get(point)
        if known is None or known.status is not PointStatus.CREATING or known.owner != owner:
            raise Conflict(f"{point} is not held by {owner} any more")
        return known

    def _known(self, point: str) -> Point:
        known = self._points.get(point)
        if known is None:
            raise Conflict(f"there is no point {point}")
        return known


def _listed(point: Point) -> Point:
    """With what the indexes hold, and no more."""
    return Point(
        id=point.id,
        policy=point.policy,
        run=point.run,
        slot=point.slot,
        source=point.source,
        method=point.method,
        status=point.status,
        claimed_at=point.claimed_at,
        settled_at=point.settled_at,
        cause=point.cause,
        members=point.members,
        hold=point.hold,
    )


def _listed_copy(copy: PointCopy) -> PointCopy:
    return replace(copy, minutes=None, not_before=None, failures=0, history=())


def _asked(restore: Restore) -> str:
    return by_slot(restore.asked_at, restore.id)


def _in_flight(point: Point) -> Point:
    return replace(_listed(point), members=(), hold=None, settled_at=None, cause=None)


def _place(source: str) -> tuple[int, str]:
    return shard(source, SHARDS), source
