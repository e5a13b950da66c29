"""A fleet's points on record and in a fake EC2, and both functions that prune them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from delete_snapshots.usecase import Deleter, Progress
from lastgood.domain import copying, tags
from lastgood.domain.copying import MemberEnded, PointCopy
from lastgood.domain.model import Member, MemberState, Point, PointStatus, Source
from lastgood.domain.names import point_id
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy, MaxDeletes, Policy, ResourceKind, Retention, Select
from lastgood.domain.prune_plan import PruneMessage
from lastgood.ledger.memory import MemoryLedger
from lastgood.series import AllSeries
from prune_snapshots.explaining import Explaining
from prune_snapshots.holding import Holding
from prune_snapshots.planning import Pruning
from prune_snapshots.usecase import Pruner, PruneRequest
from tests.support.builders import POLICY, SOURCE, T0, a_member, a_point, tags_of
from tests.support.fakes import (
    FakeClock,
    FakeCompute,
    FakeNotices,
    FakePlans,
    FakePolicies,
    FakePruneQueue,
    FakePruners,
    Made,
    Steps,
)

ACCOUNT = SOURCE.account
DAY = timedelta(days=1)
NOW = T0 + 100 * DAY


def a_policy(name: str = POLICY, **given: Any) -> Policy:
    facts: dict[str, Any] = {
        "select": Select(resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}),
        "retention": Retention(keep_daily=3),
        "max_deletes": MaxDeletes(count=100, share=1.0),
    }
    return Policy(name=name, **facts | given)


@dataclass
class Stage:
    policy: Policy = field(default_factory=a_policy)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    steps: Steps = field(default_factory=Steps)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger()
        self.regions = {one: FakeCompute(self.clock, one) for one in ("eu-west-1", "eu-north-1")}
        self.ec2 = self.regions["eu-west-1"]
        self.policies = FakePolicies({self.policy.name: self.policy})
        self.plans, self.queue, self.pruners = FakePlans(), FakePruneQueue(), FakePruners()
        self.notices = FakeNotices()

    north = Place(region="eu-north-1", account=ACCOUNT)

    @property
    def pruner(self) -> Pruner:
        ports: dict[str, Any] = {"ledger": self.ledger, "clock": self.clock}
        looking = {**ports, "policies": self.policies, "series": self._series(self.ledger)}
        return Pruner(
            pruning=Pruning(
                **looking,
                plans=self.plans,
                queue=self.queue,
                pruners=self.pruners,
                notices=self.notices,
            ),
            holding=Holding(**ports, at=self.at),
            explaining=Explaining(**looking),
        )

    @property
    def deleter(self) -> Deleter:
        ledger = self.steps.watch("ledger", self.ledger)
        return Deleter(
            policies=self.policies,
            series=self._series(ledger),
            ledger=ledger,
            plans=self.plans,
            queue=self.queue,
            clock=self.clock,
        )

    def _series(self, ledger: Any) -> AllSeries:
        return AllSeries(ledger, self.at, Place(region="eu-west-1", account=ACCOUNT))

    def at(self, place: Place) -> Any:
        return self.steps.watch("compute", self.regions[place.region])

    def ask(self, **request: Any) -> Any:
        return self.pruner.answer(PruneRequest(**request))

    def prune(self, **request: Any) -> Any:
        """Plan, and apply what was asked for."""
        report = self.ask(policy=self.policy.name, **request)
        self.work()
        return report

    def work(self) -> list[Progress]:
        done = []
        while self.queue.messages:
            done.append(self.deliver(self.queue.messages.pop(0)))
        return done

    def deliver(self, message: PruneMessage) -> Progress:
        progress = Progress()
        self.deleter.apply(message, progress)
        return progress

    def take(self, *days: int, source: Source = SOURCE, **given: Any) -> list[Point]:
        """A point of two snapshots of 8 GiB, for each of the days from T0 on."""
        return [self._take(T0 + day * DAY, source, given) for day in days]

    def _take(self, slot: datetime, source: Source, given: dict[str, Any]) -> Point:
        facts = {"policy": self.policy.name, "status": PointStatus.AVAILABLE, "settled_at": slot}
        policy = given.get("policy", self.policy.name)
        id_ = point_id(policy, slot, source.id)
        members = tuple(
            a_member(
                f"snap-{id_[3:11]}-{number}",
                f"vol-{number}",
                started_at=slot,
                state=MemberState.COMPLETED,
            )
            for number in (1, 2)
        )
        facts |= {"members": members, **given}
        point = a_point(id=id_, slot=slot, claimed_at=slot, source=source, **facts)
        self.ledger.rebuild(point)
        for member in point.members:
            self.put(member, point)
        return point

    def copy(self, *points: Point) -> None:
        """Available in each place that the policy names."""
        for point in points:
            for wanted in self.policy.copies:
                self._copy(copying.queued(point, wanted, point.slot), point)

    def _copy(self, copy: PointCopy, point: Point) -> None:
        self.ledger.open_copy(copy)
        ended = copy
        for number, one in enumerate(copy.members):
            snapshot = f"{one.of}-in-{copy.place.account}"
            news = MemberEnded(snapshot=snapshot, state=MemberState.COMPLETED)
            ended = copying.ended(ended, number, news, point.slot)
            member = replace(point.members[number], snapshot=snapshot)
            of_copy = tags.of_copy(
                self.regions[point.source.region].made[one.of].tags,
                operation=copy.operation(number),
                copy_of=one.of,
                volume=one.volume,
                region=point.source.region,
                account=point.source.account,
            )
            made = Made(member, of_copy, member.started_at)
            self.regions[copy.place.region].made[snapshot] = made
        self.ledger.change_copy(copy, ended)

    def copy_of(self, point: Point) -> PointCopy:
        """In the first place that the policy names."""
        place = copying.place_of(self.policy.copies[0], ACCOUNT)
        copy = self.ledger.copy(point.id, place)
        assert copy
        return copy

    def put(self, member: Member, point: Point) -> None:
        made = Made(member, tags_of(point), member.started_at)
        self.regions[point.source.region].made[member.snapshot] = made

    def status(self, points: Iterable[Point]) -> list[str]:
        return [
            known.status.value if (known := self.ledger.point(one.id)) else "-" for one in points
        ]

    def copied_days(self, wanted: Copy | None = None) -> list[int]:
        """The days whose copies are available, oldest first; in the first place that the policy
        names, if no other is ``wanted``."""
        place = copying.place_of(wanted or self.policy.copies[0], ACCOUNT)
        copies = self.ledger.copies_of(SOURCE.id, place)
        return sorted((one.slot - T0).days for one in copies if one.status == "available")

    def days(self, source: Source = SOURCE) -> list[int]:
        """The days whose points are available, oldest first."""
        points = self.ledger.points(source.id)
        return sorted((one.slot - T0).days for one in points if one.status == "available")
