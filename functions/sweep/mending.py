"""Points in flight that nobody settled, and points of which there may be too many snapshots."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lastgood.domain import mending, names
from lastgood.domain.ended import Ended, counts_members
from lastgood.domain.manifest import Manifest
from lastgood.domain.mending import Idle
from lastgood.domain.model import (
    Claim,
    Doubt,
    LeftOut,
    MemberState,
    Outcome,
    Point,
    PointStatus,
    Tagged,
)
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.domain.requests import request_for
from lastgood.domain.selection import Selected
from lastgood.domain.taking import outcome_of
from lastgood.errors import Conflict, InUse
from lastgood.fleet import Fleet
from lastgood.ports import Bus, Compute, Ledger, Patience, Queue
from sweep.progress import Progress

T = TypeVar("T")

AT_ONCE = 200
"""Points that are looked up together: the values that one filter of EC2 takes."""


@dataclass(frozen=True, slots=True)
class Mending:
    policies: Mapping[str, Policy]
    places: Collection[Place]
    at: Callable[[Place], Compute]
    ledger: Ledger
    queue: Queue
    bus: Bus
    patience: Patience
    home: Place

    def mend(self, progress: Progress) -> None:
        idle: list[Point] = []
        pending: dict[Place, list[str]] = defaultdict(list)
        unreachable: Counter[Place] = Counter()
        with progress.trying("read what is in flight"):
            for point in self.ledger.in_flight():
                progress.done["in_flight"] += 1
                progress.flying.add(point.run)
                age = progress.now - point.claimed_at
                if point.source.place not in self.places:
                    unreachable[point.source.place] += 1
                elif point.status is PointStatus.CREATING and age > mending.IDLE:
                    idle.append(point)
                elif point.status is PointStatus.PENDING and age > mending.SETTLE_AFTER:
                    pending[point.source.place].append(point.id)
        for place, count in unreachable.items():
            progress.problems.append(
                f"{count} points are in flight in {self._named(place)}, where no policy looks any "
                "more, nor may the sweep: deploy a policy that names it until they have ended"
            )
        for place, points in pending.items():
            for some in _some(points, progress):
                with progress.trying(f"settle {len(some)} points in {self._named(place)}"):
                    self._settle(place, some, progress)
        for point in idle:
            if progress.out_of_time():
                return
            with progress.trying(f"mend {point.id}"):
                self._mend(point.id, progress)
        self._resolve(progress)

    def _named(self, place: Place) -> str:
        return place.name(self.home.account)

    def _settle(self, place: Place, points: Sequence[str], progress: Progress) -> None:
        """The points whose snapshots have all ended, or are gone; the others are not even read."""
        found = self.at(place).snapshots_of_points(points)
        for id_ in points:
            members = [one.member for one in found.get(id_, ())]
            if members and outcome_of(members, progress.now) is None:
                continue
            point = self.ledger.point(id_)
            if point is None or point.status is not PointStatus.PENDING:
                continue
            point = mending.as_found(point, members, progress.now)
            if outcome := outcome_of(point.members, progress.now):
                self._settle_one(point, outcome)
                progress.done["settled"] += 1

    def _settle_one(self, point: Point, outcome: Outcome) -> None:
        """With a doubt first: if this is the last that is heard of us, it is announced later."""
        self.ledger.doubt(point.id, outcome.at)
        if counts_members(point):
            for one in point.members:
                if one.state is not MemberState.PENDING:
                    ended = Ended(snapshot=one.snapshot, state=one.state, cause=one.cause)
                    self.ledger.settle_member(point, ended)
        try:
            settled = self.ledger.settle(point, outcome)
        except Conflict:
            # Its event came meanwhile, and said otherwise.
            return
        self.bus.announce(settled.point)

    def _mend(self, id_: str, progress: Progress) -> None:
        point = self.ledger.point(id_)
        if point is None or point.status is not PointStatus.CREATING:
            return
        state = mending.idle(point, progress.now)
        if state is Idle.WORKED_AT:
            return
        progress.done["stuck"] += 1
        policy = self.policies.get(point.policy)
        if policy is None:
            self._finish(point, f"policy {point.policy} is not deployed any more", progress)
            return
        alone = point.run == names.run_id(point.policy, point.slot, point.source.id)
        place = point.source.place
        fleet = Fleet(policy=policy, compute=self.at(place), account=place.account)
        judgement = fleet.judge(point.source.id, alone=alone)
        if judgement is None:
            self._finish(point, f"there is no {point.source.id} any more", progress)
        elif isinstance(judgement, LeftOut):
            self._finish(point, f"the policy leaves it out now: {judgement.reason}", progress)
        elif state is Idle.HOPELESS:
            why = f"asked for again {point.retakes} times: {point.cause or 'no worker answered'}"
            self._finish(point, why, progress)
        else:
            self._retake(point, policy, judgement, progress)

    def _retake(self, point: Point, policy: Policy, selected: Selected, progress: Progress) -> None:
        request = request_for(
            selected,
            policy=policy.name,
            tags=policy.tags,
            run=point.run,
            slot=point.slot,
            at=progress.now,
        )
        # First, so that only what was sent counts: a message that is sent twice does no harm.
        self.queue.send([request])
        if self.ledger.retake(point, progress.now):
            progress.done["retaken"] += 1

    def _finish(self, point: Point, why: str, progress: Progress) -> None:
        """Adopt the snapshots that are there, if they are all; or give the point up."""
        claim = Claim(
            id=point.id,
            policy=point.policy,
            run=point.run,
            slot=point.slot,
            source=point.source,
            method=point.method,
            owner=f"sweep/{names.instant(progress.now)}",
            at=progress.now,
            lease=self.patience.lease,
        )
        try:
            held = self.ledger.claim(claim)
        except Conflict:
            return
        if held.status is not PointStatus.CREATING:
            return
        found = self.at(point.source.place).snapshots_of_points([point.id])
        if not self._adopt(held, found.get(point.id, ()), why, progress):
            self._give_up(claim, why, progress)

    def _adopt(self, held: Point, found: Sequence[Tagged], why: str, progress: Progress) -> bool:
        there = held.source
        like = mending.rebuilt(found, region=there.region, account=there.account, now=progress.now)
        if like is None or like.status is PointStatus.FAILED:
            return False
        notes = (f"adopted by a sweep, since {why}: its manifest is lost",)
        manifest = Manifest(captured_at=progress.now, volumes=())
        self.ledger.doubt(held.id, progress.now)
        point = self.ledger.answer(held, progress.now, like.members, manifest, notes)
        progress.done["adopted"] += 1
        if outcome := outcome_of(point.members, progress.now):
            self.bus.announce(self.ledger.settle(point, outcome).point)
        return True

    def _give_up(self, claim: Claim, why: str, progress: Progress) -> None:
        outcome = Outcome(status=PointStatus.FAILED, at=progress.now, cause=f"given up: {why}")
        self.ledger.doubt(claim.id, progress.now)
        point = self.ledger.give_up(claim, outcome)
        progress.done["given_up"] += 1
        self.bus.announce(point)

    def _resolve(self, progress: Progress) -> None:
        """Look into each doubt, from when describes must have caught up."""
        by_place: dict[Place, list[tuple[Doubt, Point]]] = defaultdict(list)
        with progress.trying("read the doubts"):
            for doubt in self.ledger.doubts():
                if progress.out_of_time():
                    return
                if progress.now - doubt.since < self.patience.lag:
                    continue
                point = self.ledger.point(doubt.point)
                if point is None:
                    self.ledger.dismiss(doubt)
                elif point.source.place not in self.places:
                    self._end_doubt(doubt, point, progress)
                elif point.status is not PointStatus.CREATING:
                    by_place[point.source.place].append((doubt, point))
        for place, doubted in by_place.items():
            for some in _some(doubted, progress):
                with progress.trying(f"look into {len(some)} doubts in {self._named(place)}"):
                    found = self.at(place).snapshots_of_points(one.id for _, one in some)
                    for doubt, point in some:
                        with progress.trying(f"look into a doubt about {point.id}"):
                            self._remove_surplus(doubt, point, found.get(point.id, ()), progress)

    def _remove_surplus(
        self, doubt: Doubt, point: Point, found: Sequence[Tagged], progress: Progress
    ) -> None:
        members = [one.member for one in found]
        before = len(progress.errors)
        for snapshot in mending.surplus(point, doubt, members):
            what = f"remove {snapshot}, which is surplus of {point.id}"
            with progress.trying(what):
                try:
                    self.at(point.source.place).delete_snapshot(snapshot)
                    progress.done["surplus_removed"] += 1
                except InUse as error:
                    # Somebody has made it his own meanwhile.
                    progress.problems.append(f"{what}: left alone: {error}")
        if len(progress.errors) == before:
            self._end_doubt(doubt, point, progress)

    def _end_doubt(self, doubt: Doubt, point: Point, progress: Progress) -> None:
        if progress.now - doubt.since < mending.DOUBT_FOR:
            return
        if point.status.settled:
            # Again: whoever settled it may have been killed before he said so.
            self.bus.announce(point, repeat=True)
        self.ledger.dismiss(doubt)


def _some(every: Sequence[T], progress: Progress) -> Iterator[Sequence[T]]:
    for start in range(0, len(every), AT_ONCE):
        if progress.out_of_time():
            return
        yield every[start : start + AT_ONCE]
