"""Plan what to prune of a policy, part by part; apply it if it is within the cap."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import NamedTuple

from lastgood.domain import names, notices
from lastgood.domain.copying import place_of
from lastgood.domain.model import Source, SourceRecord
from lastgood.domain.notices import Notice
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, source_places
from lastgood.domain.prune_plan import (
    SLICES,
    SOURCES_IN_SLICE,
    CopyingSince,
    NextCopies,
    Obstacle,
    Part,
    PlanStatus,
    PruneMessage,
    PrunePlan,
    SourcePlan,
    retention_text,
)
from lastgood.errors import Conflict, Refused, UnknownTarget, UnsafePlan
from lastgood.judging import Judging
from lastgood.ports import Clock, Ledger, Notices, Plans, Policies, PruneQueue, Pruners
from lastgood.series import AllSeries
from lastgood.telling import tell_once

SOURCES_IN_PART = SLICES * SOURCES_IN_SLICE
RESERVE = timedelta(minutes=2)
"""Several times what one part takes: with less time left, another invocation goes on."""

VALID = timedelta(days=7)
"""How long a plan may be applied: what it says of its points gets old."""

MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """Of points, where nothing else is said. ``gib_at_most``: the volumes of those that go, since
    nobody tells what only they hold. ``unreachable``: by place, why its sources are not in it.
    ``next_copies``: by place, of how many sources the next copy will be incremental, or full.
    ``lost``: points that count for nothing, since snapshots of them are gone. ``deleted``,
    ``left``: what became of it so far; ``left`` names the first twenty, with what is in the way.
    """

    plan: str
    policy: str
    status: PlanStatus
    stored: str
    sources: int
    keep: int
    delete: int
    snapshots: int
    gib_at_most: int
    blocked: Mapping[Obstacle, int]
    over_share: int
    unreachable_sources: int
    next: str
    unreachable: Mapping[str, str] = field(default_factory=dict)
    next_copies: Mapping[str, NextCopies] = field(default_factory=dict)
    lost: int = 0
    deleted: int = 0
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReport:
    """``asked``: policies whose pruning is planned now. ``unmanaged``: how many points and copies
    there are of each policy that is not deployed any more; ``cut_short``: there may be more."""

    asked: tuple[str, ...]
    unmanaged: Mapping[str, int]
    cut_short: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    policies: Policies
    series: AllSeries
    ledger: Ledger
    plans: Plans
    queue: PruneQueue
    pruners: Pruners
    notices: Notices
    clock: Clock

    def ask_for_all(self, slot: datetime | None, *, dry_run: bool = False) -> DailyReport:
        """Have each policy planned, in an invocation of its own, and count what none manages.
        People are told of that, but in a dry run."""
        now = self.clock.now()
        deployed = [one.policy.name for one in self.policies.all()]
        self.ledger.note_policies(deployed)
        for name in deployed:
            self.pruners.ask(name, slot or now, dry_run=dry_run)
        unmanaged, cut_short = {}, False
        for name in sorted(self.ledger.noted_policies() - set(deployed)):
            points = sources = 0
            places = self.ledger.copied_places(name)
            for record in self.ledger.sources(name):
                if self.clock.left() < RESERVE:
                    cut_short = True
                    break
                ours = self._count(name, places, record.source)
                points, sources = points + ours, sources + bool(ours)
            if points:
                unmanaged[name] = points
                if not dry_run:
                    self._tell_once(notices.unmanaged(name, points, sources, now))
        return DailyReport(asked=tuple(deployed), unmanaged=unmanaged, cut_short=cut_short)

    def _count(self, policy: str, places: Iterable[Place], source: Source) -> int:
        """Its points, and copies of them."""
        copies = chain.from_iterable(self.ledger.copies_of(source.id, one) for one in places)
        points = sum(one.policy == policy for one in self.ledger.points(source.id))
        return points + sum(one.policy == policy for one in copies)

    def plan(self, name: str, slot: datetime | None, *, dry_run: bool) -> PruneReport:
        """Plan, or go on with the plan of the slot; the same slot is the same plan."""
        policy = self.policies.get(name)
        now = self.clock.now()
        slot = slot or now
        since = self.ledger.copying_since(name, self.series.places(policy), now)
        plan = self.ledger.open_plan(
            PrunePlan(
                id=names.plan_id(name, slot),
                policy=name,
                made_at=now,
                dry_run=dry_run,
                retention=retention_text(policy),
                copying=tuple(CopyingSince(place=one, at=at) for one, at in since.items()),
            )
        )
        if plan.status is PlanStatus.PLANNING:
            try:
                plan = self._go_on(plan, policy, slot)
            except Conflict:
                # Another invocation is at it, and further.
                plan = self._known(plan.id)
        if plan.status is PlanStatus.APPLYING:
            self._send(plan, plan.busy)
        elif plan.status is PlanStatus.STOPPED:
            self._send(plan, plan.finishing)
        if plan.status is PlanStatus.STOPPED or (
            plan.totals.sources_over_share and plan.status is PlanStatus.APPLYING
        ):
            place = self.plans.place(plan.policy, plan.id)
            self._tell_once(notices.prune_stopped(plan, policy.max_deletes, place))
        return self.report(plan)

    def apply(self, plan_id: str, by: str | None) -> PruneReport:
        """Apply a plan because a person says so, over the cap or not.

        Raises:
            UnknownTarget: there is no such plan.
            UnsafePlan: it is not done, too old, or its policy's retention was changed since.
        """
        plan = self._known(plan_id)
        if plan.status is PlanStatus.PLANNING:
            raise UnsafePlan(
                f"{plan_id} is still being planned, {plan.totals.sources} sources so far: "
                f'ask {{"plan": "{plan_id}", "dry_run": true}} how far it is'
            )
        if self.clock.now() - plan.made_at > VALID:
            raise UnsafePlan(f"{plan_id} is older than {VALID.days} days: make a new one")
        policy = self.policies.get(plan.policy)
        if retention_text(policy) != plan.retention:
            raise UnsafePlan(
                f"the retention of {plan.policy} was changed since {plan_id} was made: "
                "make a new one"
            )
        approved = replace(plan, status=PlanStatus.APPLYING, approved_by=by or "whoever invoked it")
        self.ledger.advance_plan(plan, approved)
        self._send(approved, approved.busy)
        return self.report(approved)

    def look(self, plan_id: str) -> PruneReport:
        """How far a plan is. Raises UnknownTarget: there is no such plan."""
        return self.report(self._known(plan_id))

    def _known(self, plan_id: str) -> PrunePlan:
        plan = self.ledger.plan(plan_id)
        if plan is None:
            raise UnknownTarget(f"there is no plan {plan_id}: plans are kept for 90 days")
        return plan

    def _go_on(self, plan: PrunePlan, policy: Policy, slot: datetime) -> PrunePlan:
        if retention_text(policy) != plan.retention:
            raise UnsafePlan(
                f"the retention of {plan.policy} was changed while {plan.id} was made: make a new "
                "one"
            )
        deployed = (one.policy for one in self.policies.all())
        places = source_places(deployed, self.series.home)
        for series in self.series.of(policy, plan.copying_since)[plan.series :]:
            judging = Judging(series, self.ledger, self.clock.now())
            for records in _batches(self.ledger.sources(policy.name, after=plan.cursor)):
                if self.clock.left() < RESERVE:
                    self.pruners.ask(policy.name, slot, dry_run=plan.dry_run)
                    return plan
                planned = _planned(judging, records, places, self.series.home)
                part = Part(
                    plan=plan.id,
                    policy=policy.name,
                    number=plan.parts,
                    sources=tuple(planned.plans),
                    place=series.place,
                )
                self.plans.put(part)
                last = records[-1].source.id
                after = plan.with_part(part, last, planned.unreachable, planned.refused)
                plan = self._advance(plan, after)
            plan = self._advance(plan, plan.next_series())
        return self._advance(plan, plan.finished(policy.max_deletes))

    def _advance(self, before: PrunePlan, after: PrunePlan) -> PrunePlan:
        self.ledger.advance_plan(before, after)
        return after

    def _send(self, plan: PrunePlan, slices: Iterable[int]) -> None:
        self.queue.send(
            PruneMessage(plan=plan.id, policy=plan.policy, slice=number) for number in slices
        )

    def _tell_once(self, notice: Notice) -> None:
        tell_once(self.ledger, self.notices, notice, self.clock.now())

    def report(self, plan: PrunePlan) -> PruneReport:
        applied = list(self.ledger.applied(plan.id))
        left = {point: why for one in applied for point, why in one.left.items()}
        totals = plan.totals if plan.approved_by is None else plan.totals.approved
        return PruneReport(
            plan=plan.id,
            policy=plan.policy,
            status=plan.status,
            stored=self.plans.place(plan.policy, plan.id),
            sources=totals.sources,
            keep=totals.kept,
            delete=totals.going,
            snapshots=totals.snapshots,
            gib_at_most=totals.gib,
            unreachable=plan.unreachable,
            next_copies=totals.next_copies,
            lost=totals.lost,
            blocked=totals.blocked,
            over_share=totals.over_share,
            unreachable_sources=totals.unreachable,
            next=_next(plan),
            deleted=sum(one.deleted for one in applied),
            left=dict(islice(left.items(), MOST_NAMED)),
        )


def _next(plan: PrunePlan) -> str:
    ask = f'{{"plan": "{plan.id}"}}'
    look = f'{{"plan": "{plan.id}", "dry_run": true}}'
    match plan.status:
        case PlanStatus.PLANNING:
            return f"another invocation goes on with it: {look} tells how far it is"
        case PlanStatus.READY:
            over = plan.totals.over_share
            more = f", and {over} points of sources over max_deletes.share with it" if over else ""
            return (
                f"nothing is deleted unless you apply it within {VALID.days} days, over "
                f"max_deletes or not{more}: {ask}"
            )
        case PlanStatus.STOPPED:
            return f"over max_deletes.count: nothing is deleted unless you approve of it: {ask}"
        case PlanStatus.APPLYING if plan.totals.over_share and plan.approved_by is None:
            return (
                f"{plan.totals.over_share} points stay, of sources over max_deletes.share, unless "
                f"you approve of it: {ask}; {look} tells how far it is"
            )
        case PlanStatus.APPLYING:
            return f"{look} tells how far it is"


class _Planned(NamedTuple):
    """``refused``: why a place has no plans; ``unreachable``: of how many sources."""

    plans: list[SourcePlan]
    refused: Mapping[str, str]
    unreachable: int


def _planned(
    judging: Judging, records: Iterable[SourceRecord], places: Container[Place], home: Place
) -> _Planned:
    """In the order of the places; of copies, only of sources that have some."""
    series = judging.series
    by_place: dict[Place, list[Source]] = defaultdict(list)
    for one in records:
        if series.place is None:
            by_place[one.source.place].append(one.source)
        elif series.place in _copied_to(series.policy, one.source):
            there = {"region": series.place.region, "account": series.place.account}
            by_place[series.place].append(replace(one.source, **there))
    plans: list[SourcePlan] = []
    refused = {}
    unreachable = 0
    for place, sources in sorted(by_place.items()):
        try:
            if not series.place and place not in places:
                raise Refused("no policy names this Region any more")
            found = judging.plan(place, sources)
            plans += [one for one in found if one.points] if series.place else found
        except Refused as error:
            refused[str(place) if series.place else place.name(home.account)] = str(error)
            unreachable += len(sources)
    return _Planned(plans, refused, unreachable)


def _copied_to(policy: Policy, source: Source) -> set[Place]:
    return {place_of(one, source.account) for one in policy.copies}


def _batches(records: Iterator[SourceRecord]) -> Iterable[list[SourceRecord]]:
    while batch := list(islice(records, SOURCES_IN_PART)):
        yield batch
