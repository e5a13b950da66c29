"""The ledger in memory: what the DynamoDB one does, in a few dictionaries, for fast tests."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from lastgood.domain.ended import Ended, counts_members
from lastgood.domain.manifest import LaunchAttributes, Manifest
from lastgood.domain.model import (
    Change,
    Claim,
    Member,
    Method,
    Outcome,
    Planned,
    Point,
    PointStatus,
    Run,
    Source,
    SourceRecord,
)
from lastgood.domain.taking import anchor
from lastgood.errors import Conflict
from lastgood.ledger import items
from lastgood.ports import Settled


class MemoryLedger:
    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._points: dict[str, Point] = {}
        self._leads: dict[str, str] = {}
        self._elsewhere: set[tuple[str, str]] = set()
        self._sources: dict[tuple[str, str], SourceRecord] = {}
        self._launch: dict[tuple[str, str], LaunchAttributes] = {}

    def open_run(self, run: Run) -> None:
        self._runs.setdefault(run.id, run)

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
        ended = dict.fromkeys((PointStatus.AVAILABLE, PointStatus.FAILED), 0)
        for point in self._points.values():
            asked_for = point.run == run or (run, point.id) in self._elsewhere
            if asked_for and point.status in ended:
                ended[point.status] += 1
        return replace(found, ended=ended)

    def runs(self, policy: str) -> Iterator[Run]:
        ours = [run for run in self._runs.values() if run.policy == policy]
        return iter(sorted(ours, key=lambda run: (run.slot, run.id), reverse=True))

    def claim(self, claim: Claim) -> Point:
        point = self._points.get(claim.id)
        if point is None:
            first = items.first_claim(claim)
            self._points[claim.id] = first
            self._see(claim)
            return replace(first, attempted_at=None)
        if point.status is not PointStatus.CREATING:
            return point
        leased = point.lease_until is not None and point.lease_until > claim.at
        if point.owner not in (None, claim.owner) and leased:
            raise Conflict(f"{claim.id} is being taken by another worker")
        held = replace(point, owner=claim.owner, lease_until=items.lease_end(claim))
        self._points[claim.id] = replace(held, attempted_at=point.attempted_at or claim.at)
        return held

    def taken_elsewhere(self, run: str, point: str, at: datetime) -> None:  # noqa: ARG002
        self._elsewhere.add((run, point))

    def attempt(self, point: str, owner: str, at: datetime) -> None:
        self._points[point] = replace(self._held(point, owner), attempted_at=at)

    def release(self, point: str, owner: str, why: str, *, untouched: bool) -> None:
        held = self._held(point, owner)
        self._points[point] = replace(
            held,
            cause=why,
            owner=None,
            lease_until=None,
            attempted_at=None if untouched else held.attempted_at,
        )

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
        self._points[point.id] = replace(
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
        snapshots = [member.snapshot for member in members]
        one_by_one = held.method is Method.ONE_BY_ONE
        for snapshot in snapshots if one_by_one else [anchor(snapshots)]:
            self._leads[snapshot] = point.id
        return self._points[point.id]

    def settle(self, point: Point, outcome: Outcome) -> Settled:
        known = self._known(point.id)
        if known.status is outcome.status:
            return Settled(known, changed=False)
        if known.status is not PointStatus.PENDING:
            raise Conflict(f"{point.id} cannot become {outcome.status}: it is {known.status}")
        members = known.members if counts_members(point) else point.members
        ended = self._end(replace(known, members=members), outcome)
        source = self._sources[ended.policy, ended.source.id]
        taken = (ended.taken_at or ended.slot).replace(microsecond=0)
        newer = source.last_available is None or source.last_available < taken
        if outcome.status is PointStatus.AVAILABLE and newer:
            self._sources[ended.policy, ended.source.id] = replace(
                source, last_available=taken, last_point=ended.id
            )
        return Settled(ended, changed=True)

    def give_up(self, claim: Claim, outcome: Outcome) -> Point:
        known = self._points.get(claim.id)
        if known is None:
            self._see(claim)
            self._points[claim.id] = items.given_up(claim, outcome)
            return self._points[claim.id]
        if known.status is outcome.status:
            return known
        if known.status is not PointStatus.CREATING or known.owner not in (None, claim.owner):
            raise Conflict(f"{claim.id} is not ours to give up")
        return self._end(known, outcome)

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
        self._points[point.id] = replace(known, members=members)
        return self._points[point.id]

    def point(self, point: str) -> Point | None:
        return self._points.get(point)

    def point_of(self, snapshot: str) -> Point | None:
        return self._points.get(self._leads.get(snapshot, ""))

    def points(self, source: str) -> Iterator[Point]:
        ours = [_listed(point) for point in self._points.values() if point.source.id == source]
        return iter(sorted(ours, key=lambda point: (point.slot, point.id), reverse=True))

    def sources(self, policy: str) -> Iterator[SourceRecord]:
        return iter([one for (name, _), one in self._sources.items() if name == policy])

    def launch(self, policy: str, source: Source) -> LaunchAttributes | None:
        return self._launch.get((policy, source.id))

    def remember_launch(self, policy: str, source: Source, launch: LaunchAttributes) -> None:
        self._launch[policy, source.id] = launch

    def in_flight(self) -> Iterator[Point]:
        return iter([_listed(one) for one in self._points.values() if not one.status.settled])

    def _see(self, claim: Claim) -> None:
        self._sources.setdefault(
            (claim.policy, claim.source.id),
            SourceRecord(policy=claim.policy, source=claim.source, first_seen=claim.at),
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
        self._points[point.id] = ended
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
    )
