"""What Lastgood promises, checked after each day: of a day's slots, when two days have passed."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lastgood.domain import names
from lastgood.domain import tags as keys
from lastgood.domain.model import MemberState, Method, Point, PointStatus
from lastgood.domain.policy import Policy
from tests.simulation.agenda import DAY, HOUR, MINUTE, START
from tests.simulation.ec2 import Snapshot

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

PATIENCE = 2
"""Days after which everything that a slot set going must be over."""
STUCK = timedelta(hours=40)
ENOUGH = timedelta(hours=2)
"""Of time without an outage, within the window in which a slot is caught up."""
WINDOW = timedelta(hours=24)
GRACE = timedelta(minutes=15)


class Broken(AssertionError):
    """A promise was. The message begins with the seed and the day."""


@dataclass(frozen=True, slots=True)
class Slot:
    """``sources``: those that the policy took when it was due."""

    policy: Policy
    at: datetime
    sources: tuple[str, ...]
    by_hand: bool = False

    @property
    def run(self) -> str:
        return names.run_id(self.policy.name, self.at, self.sources[0] if self.by_hand else None)


class Promises:
    def __init__(self, world: "Simulation") -> None:
        self._world = world
        self._slots: dict[int, list[Slot]] = defaultdict(list)
        self._latest: dict[str, datetime] = {}
        self._out: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        self._newest: dict[tuple[str, str], datetime] = {}
        self._before: dict[str, Point] = {}
        self._lost_at = world.agenda.time - 9 * DAY
        self.causes: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()
        self.most_announced = 0

    # what is expected

    def due(self, policy: Policy, slot: datetime) -> None:
        self._latest[policy.name] = slot
        if self._world.policies.has(policy):
            sources = tuple(self._world.people.selected(policy))
            self._slots[self._day(slot)].append(Slot(policy, slot, sources))

    def by_hand(self, policy: Policy, slot: datetime, source: str) -> None:
        self._slots[self._day(self._world.agenda.time)].append(Slot(policy, slot, (source,), True))

    def just_due(self, now: datetime) -> bool:
        return any(now - slot < 90 * MINUTE for slot in self._latest.values())

    def latest(self, policy: Policy) -> datetime | None:
        """The policy's slot of the last hour."""
        slot = self._latest.get(policy.name)
        return slot if slot and self._world.agenda.time - slot < HOUR else None

    def without(self, policy: Policy) -> None:
        now = self._world.agenda.time
        self._out[policy.name].append((now, now + 99 * DAY))

    def with_again(self, policy: Policy) -> None:
        begin, _ = self._out[policy.name].pop()
        self._out[policy.name].append((begin, self._world.agenda.time))

    def lost(self) -> None:
        """The ledger is about to be. What it held must be there again after a rebuild."""
        self._lost_at = self._world.agenda.time
        self._before = {
            id_: point
            for id_, point in self._world.ledger._points.items()
            if point.status is PointStatus.AVAILABLE
        }
        self._world.told.of_key.clear()
        self._world.told.excused.clear()

    # what is found

    def look(self, day: int) -> None:
        """At the end of the ``day``, counted from 0. Raises Broken."""
        broken = [
            *self._stuck(),
            *self._tags(),
            *self._repeats(),
            *self._rebuilt(),
            *(line for slot in self._ripe(day) for line in self._slot(slot)),
            *self._twice(),
        ]
        if broken:
            more = [f"and {len(broken) - 12} more"] if len(broken) > 12 else []
            raise Broken(
                f"seed {self._world.seed}, day {day} ({self._world.agenda.time:%Y-%m-%d}):\n"
                + "\n".join([*broken[:12], *more])
            )

    def _day(self, moment: datetime) -> int:
        return (moment - START).days

    def _ripe(self, day: int) -> list[Slot]:
        """Those to be judged now; none on the day on which the ledger is rebuilt."""
        if self._before:
            return []
        days = [one for one in sorted(self._slots) if one <= day - PATIENCE]
        return [slot for one in days for slot in self._slots.pop(one)]

    def _stuck(self) -> Iterator[str]:
        now = self._world.agenda.time
        for one in self._world.ledger.in_flight():
            age = now - one.claimed_at
            if age > STUCK:
                yield f"stuck: {one.id} is {one.status} for {age}: {one.cause}"
            elif one.status is PointStatus.PENDING and age > 2 * HOUR and not self._hindered(now):
                of_point = self._snapshots(one.id)
                if all(each.ended_at and now - each.ended_at > ENOUGH for each in of_point):
                    yield f"unsettled: {one.id}, though all of its {len(of_point)} snapshots ended"

    def _tags(self) -> Iterator[str]:
        for region in self._world.regions.values():
            yield from region.broken_tags

    def _repeats(self) -> Iterator[str]:
        told = self._world.told
        for key, times in told.of_key.items():
            if times - told.excused[key] > 1:
                yield f"told {times} times: {key}"

    def _slot(self, slot: Slot) -> Iterator[str]:
        ledger, policy = self._world.ledger, slot.policy
        excuse = self._excuse(slot)
        points = {
            point
            for region in self._world.regions.values()
            for point in region.of_run.get(slot.run, ())
        }
        for source in slot.sources:
            id_ = names.point_id(policy.name, slot.at, source)
            if ledger.point(id_) is not None:
                points.add(id_)
            elif self._world.changed[source] > slot.at:
                self.causes["the source changed after its slot"] += 1
            elif excuse:
                self.causes[excuse] += 1
            elif self._dead_requests()[id_] > 1:
                # Its worker dies at every delivery, also after the sweep had it asked for again:
                # the alarm of dead letters tells of it.
                self.causes["never claimed: its requests are dead letters"] += 1
                excuse = "dead letters"
            else:
                yield f"missed: {source} has no point of {policy.name} for {slot.at}"
        for id_ in sorted(points):
            yield from self._point(id_)
        self.judged["runs"] += 1
        if not excuse:
            yield from self._run(slot)
        yield from self._last_available(slot)

    def _run(self, slot: Slot) -> Iterator[str]:
        run = self._world.ledger.run(slot.run)
        if run is None:
            yield f"no run of {slot.policy.name} for {slot.at}"
        elif not run.over:
            yield f"open: run {run.id} of {slot.policy.name} for {slot.at}: {run.status}"
        elif run.planned and sum(run.ended.values()) < run.planned.points:
            yield f"run {run.id} planned {run.planned.points}, and {run.ended} ended"

    def _point(self, id_: str) -> Iterator[str]:
        point = self._world.ledger.point(id_)
        if point is None:
            yield f"not on record: {id_}, of which there are snapshots"
            return
        said = self._world.bus.of_point.get(id_, Counter())
        self.judged[point.status.value] += 1
        if not point.status.settled:
            yield f"open: {id_} is {point.status}: {point.cause}"
            return
        forgotten = self._lost_at - PATIENCE * DAY < point.slot < self._lost_at
        if set(said) != {point.status} and not forgotten:
            yield f"{id_} is {point.status}, and was announced as {dict(said)}: {point.history}"
        self.most_announced = max(self.most_announced, sum(said.values()))
        yield from self._made(point)
        if point.status is PointStatus.FAILED:
            if not point.cause:
                yield f"{id_} failed without a cause"
            self.causes[_short(point.cause or "")] += 1

    def _dead_requests(self) -> Counter[str]:
        return Counter(request.point for request in self._world.takes.dead)

    def _made(self, point: Point) -> Iterator[str]:
        """What EC2 has of it."""
        there = {one.member.snapshot: one for one in self._snapshots(point.id)}
        members = set(point.snapshots)
        if surplus := there.keys() - members:
            yield f"left over: {sorted(surplus)} of {point.id}, which is {point.status}"
        for one in there.values():
            if one.tags[keys.SOURCE] != point.source.id or one.tags[keys.POLICY] != point.policy:
                yield f"{one.member.snapshot} of {point.id} bears other tags: {one.tags}"
        if point.status is not PointStatus.AVAILABLE:
            return
        if members - there.keys():
            yield f"gone: {sorted(members - there.keys())} of {point.id}"
        if any(one.member.state is not MemberState.COMPLETED for one in there.values()):
            yield f"{point.id} is available, but not all of it completed"
        if point.method is Method.SET and not _one_set(list(there.values())):
            yield f"{point.id} is no whole set: {sorted(there)}"
        key = point.policy, point.source.id
        taken = (point.taken_at or point.slot).replace(microsecond=0)
        self._newest[key] = max(taken, self._newest.get(key, taken))

    def _last_available(self, slot: Slot) -> Iterator[str]:
        ledger = self._world.ledger
        for record in ledger.sources(slot.policy.name):
            newest = self._newest.get((record.policy, record.source.id))
            if newest is None:
                continue
            last = record.last_available
            point = ledger.point(record.last_point or "")
            if last is None or last < newest:
                yield f"{record.source.id} was last available {last}, and not {newest}"
            elif point is None or point.status is not PointStatus.AVAILABLE:
                yield f"{record.source.id} names {record.last_point} as its last good point"

    def _twice(self) -> Iterator[str]:
        """Points of which more was made than needed: no more than two days ago, or it is gone."""
        now = self._world.agenda.time
        for region in self._world.regions.values():
            for id_ in list(region.twice):
                there = region.of_point[id_]
                newest = max((one.member.started_at for one in there), default=now - 9 * DAY)
                if now - newest < PATIENCE * DAY:
                    continue
                del region.twice[id_]
                volumes = Counter(one.member.volume for one in there)
                for volume, count in volumes.items():
                    if count > 1:
                        yield f"duplicates: {count} snapshots of {volume} for {id_}"

    def _rebuilt(self) -> Iterator[str]:
        """A day after the ledger was lost, what was available is so again."""
        now = self._world.agenda.time
        if not self._before or now - self._lost_at < DAY:
            return
        before, self._before = self._before, {}
        for id_, was in before.items():
            point = self._world.ledger.point(id_)
            if point is None or point.status is not PointStatus.AVAILABLE:
                yield f"not rebuilt: {id_} of {was.slot}, {point and point.status}"
            elif set(point.snapshots) != set(was.snapshots) or (
                point.policy,
                point.slot,
                point.source,
                point.method,
                point.run,
            ) != (was.policy, was.slot, was.source, was.method, was.run):
                yield f"rebuilt otherwise: {id_}"

    # what excuses

    def _excuse(self, slot: Slot) -> str | None:
        """Why nobody can have planned it."""
        begin, end = slot.at, slot.at + WINDOW
        for out, back in self._out[slot.policy.name]:
            if out < end and back > begin:
                return "the policy was taken out"
        if begin < self._lost_at:
            return "the ledger was lost"
        return self._no_time(slot)

    def _no_time(self, slot: Slot) -> str | None:
        """Whether the time in which it could be started was no two hours without an outage."""
        window = slot.policy.schedules[0].window or timedelta(0)
        later = [
            one.at
            for some in self._slots.values()
            for one in some
            if one.policy is slot.policy and one.at > slot.at and not one.by_hand
        ]
        # Then the newer one is started in its place.
        end = min([slot.at + WINDOW, *(one + GRACE for one in later)])
        down = [one for one in self._world.down if one.end > slot.at and one.begin < end]
        step = 10 * MINUTE
        moments = range(int((end - slot.at - GRACE - window) / step))
        good = sum(
            not any(one.begin <= slot.at + GRACE + window + number * step < one.end for one in down)
            for number in moments
        )
        return "an outage" if down and good * step < ENOUGH else None

    def _hindered(self, now: datetime) -> bool:
        since = now - 3 * HOUR
        return any(one.end > since for one in self._world.down)

    def _snapshots(self, point: str) -> Sequence[Snapshot]:
        for region in self._world.regions.values():
            if found := region.of_point.get(point):
                return found
        return ()


def _one_set(snapshots: Sequence[Snapshot]) -> bool:
    return bool(snapshots) and {id(one) for one in snapshots} == {
        id(one) for one in snapshots[0].whole
    }


def _short(cause: str) -> str:
    """A cause without what is different each time."""
    words = [word for word in cause.split() if not any(letter.isdigit() for letter in word)]
    return " ".join(words)[:70]
