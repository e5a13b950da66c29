"""Select the sources of a policy, open the run, and ask for a point of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lastgood.domain import names, selection
from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.model import LeftOut, Planned, Run, Source
from lastgood.domain.policy import Policy, ResourceKind
from lastgood.domain.requests import TakeRequest, request_for
from lastgood.domain.selection import Selected
from lastgood.errors import LastgoodError, MalformedMessage, SourceGone, SourceNotSelected
from lastgood.ports import Clock, Compute, Ledger, Policies, Queue

MOST_NAMED = 100
"""Sources that a run and a report name one by one; beyond that they are counted."""

EARLY = timedelta(minutes=5)
"""A schedule may fire a little before its slot, as clocks go."""

Judgement = Selected | LeftOut
_Failure = tuple[str, LastgoodError]
"""A Region, and why it could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a schedule or a person asks for.

    ``slot``: when the schedule was due; the present minute if absent, so that a command that is
    sent twice within the minute is one run. ``source``: only this instance or volume.
    ``dry_run``: say what would be done, and do nothing.
    """

    policy: str
    slot: datetime | None = None
    source: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    point: str
    source: str
    region: str
    method: str
    volumes: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """``points`` and ``left_out`` hold the first hundred of ``point_count``, ``left_out_count``;
    ``points`` only those that this planning asked for, and not an earlier one of the same run.

    ``problems``, of a dry run only: a line for each Region that could not be read.
    """

    policy: str
    slot: datetime
    dry_run: bool
    run: str
    point_count: int
    left_out_count: int
    points: tuple[PlannedPoint, ...]
    left_out: tuple[LeftOut, ...]
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    """What was planned so far: counts of all, names of the first. Does not grow with the fleet."""

    points: int = 0
    left_out_count: int = 0
    named: list[PlannedPoint] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def take(self, request: TakeRequest) -> None:
        self.points += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(
                PlannedPoint(
                    point=request.point,
                    source=request.source.id,
                    region=request.source.region,
                    method=request.method.value,
                    volumes=tuple(volume.id for volume in request.volumes),
                    notes=request.notes,
                )
            )

    def leave(self, left: LeftOut) -> None:
        self.left_out_count += 1
        if len(self.left_out) < MOST_NAMED:
            self.left_out.append(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """The world as planning needs it. ``compute`` gives the EC2 of a Region."""

    policies: Policies
    compute: Callable[[str], Compute]
    ledger: Ledger
    queue: Queue
    clock: Clock
    account: str
    home_region: str

    def plan(self, request: PlanRequest) -> PlanReport:
        """Open the run and send one request for each source that the policy takes.

        A Region that cannot be read does not stop the others: it is noted in the run, and its
        error is raised at the end. Planning a slot again that broke off skips the Regions that
        are done; a slot that was planned whole is asked for whole again, which takes no source
        twice.

        Raises:
            UnknownPolicy, SourceGone, SourceNotSelected: the request cannot be met.
            LastgoodError: of the first Region that could not be read.
        """
        policy = self.policies.get(request.policy)
        now = self.clock.now()
        slot = (request.slot or now.replace(second=0)).replace(microsecond=0)
        _check(request, policy, slot, now)
        run = Run(
            id=names.run_id(policy.name, slot, request.source),
            policy=policy.name,
            slot=slot,
            started_at=now,
            source=request.source,
        )
        tally = _Tally()
        failed = self._plan_regions(policy, run, request, tally)
        if failed and not request.dry_run:
            raise failed[0][1]
        explained = request.dry_run and (tally.left_out or failed)
        if request.source and not tally.points and not explained:
            raise self._not_taken(policy, run, request, tally)
        return PlanReport(
            policy=policy.name,
            slot=slot,
            dry_run=request.dry_run,
            run=run.id,
            point_count=tally.points,
            left_out_count=tally.left_out_count,
            points=tuple(tally.named),
            left_out=tuple(tally.left_out),
            problems=_lines(failed),
        )

    def _regions(self, policy: Policy) -> tuple[str, ...]:
        return policy.select.regions or (self.home_region,)

    def _plan_regions(
        self, policy: Policy, run: Run, request: PlanRequest, tally: _Tally
    ) -> list[_Failure]:
        before = None
        if not request.dry_run:
            self.ledger.open_run(run)
            before = self._planned_before(run, tally)
        done = set(before.regions) if before else set()
        failed: list[_Failure] = []
        for region in self._regions(policy):
            if region in done:
                continue
            try:
                self._plan_region(policy, region, run, request, tally)
                done.add(region)
            except LastgoodError as error:
                failed.append((region, error))
            if not request.dry_run:
                self.ledger.plan_run(run.id, self._planned(policy, tally, done, failed))
        return failed

    def _planned_before(self, run: Run, tally: _Tally) -> Planned | None:
        """What an earlier planning that broke off has finished, taken over into the tally.

        One that was complete is done again: somebody asks for it, because messages were lost.
        """
        known = self.ledger.planned(run.id)
        if known is None or not (known.waiting or known.problems):
            return None
        tally.points = known.points
        tally.left_out_count = known.left_out_count
        tally.left_out = list(known.left_out)
        return known

    def _planned(
        self, policy: Policy, tally: _Tally, done: set[str], failed: Sequence[_Failure]
    ) -> Planned:
        tried = done | {region for region, _ in failed}
        return Planned(
            at=self.clock.now(),
            points=tally.points,
            left_out_count=tally.left_out_count,
            left_out=tuple(tally.left_out),
            regions=tuple(sorted(done)),
            waiting=tuple(one for one in self._regions(policy) if one not in tried),
            problems=_lines(failed),
        )

    def _not_taken(
        self, policy: Policy, run: Run, request: PlanRequest, tally: _Tally
    ) -> LastgoodError:
        """The refusal of a source that was asked for by name; the run has it on record."""
        error: LastgoodError
        if tally.left_out:
            error = SourceNotSelected(
                f"policy {policy.name} leaves {request.source} out: {tally.left_out[0].reason}"
            )
        else:
            regions = self._regions(policy)
            error = SourceGone(
                f"there is no {policy.select.resource.value} {request.source} in "
                f"{', '.join(regions)}, where policy {policy.name} looks: check the id, the "
                "account and the policy's select.regions"
            )
        if not request.dry_run:
            done = set(self._regions(policy))
            self.ledger.plan_run(run.id, self._planned(policy, tally, done, [("", error)]))
        return error

    def _plan_region(
        self, policy: Policy, region: str, run: Run, request: PlanRequest, tally: _Tally
    ) -> None:
        """Page by page: judge, send, count. The tally changes only once the Region is done."""
        counted = _Tally()
        compute = self.compute(region)
        for judgements in self._judged(policy, compute, request.source):
            wanted = []
            for judgement in judgements:
                if isinstance(judgement, LeftOut):
                    counted.leave(judgement)
                else:
                    take = request_for(
                        judgement,
                        policy=policy.name,
                        tags=policy.tags,
                        run=run.id,
                        slot=run.slot,
                        at=self.clock.now(),
                    )
                    counted.take(take)
                    wanted.append(take)
            if not request.dry_run:
                self.queue.send(wanted)
        tally.points += counted.points
        tally.left_out_count += counted.left_out_count
        tally.named = [*tally.named, *counted.named][:MOST_NAMED]
        tally.left_out = [*tally.left_out, *counted.left_out][:MOST_NAMED]

    def _judged(
        self, policy: Policy, compute: Compute, only: str | None
    ) -> Iterator[list[Judgement]]:
        if policy.select.resource is ResourceKind.INSTANCE:
            for instances in _instances(policy, compute, only):
                yield self._judge_instances(policy, compute, instances, alone=only is not None)
        else:
            for volumes in _volumes(policy, compute, only):
                yield [
                    selection.judge_volume(policy.select, self._source(volume.id, compute), volume)
                    for volume in volumes
                ]

    def _judge_instances(
        self, policy: Policy, compute: Compute, instances: Sequence[Instance], *, alone: bool
    ) -> list[Judgement]:
        wanted = [one for one in instances if selection.refusal(policy.select, one) is None]
        volumes = compute.volumes_by_id(id_ for one in wanted for id_ in one.volumes.values())
        # An instance that is taken alone has its shared volumes to itself.
        owners = {} if alone else _owners(policy, compute, instances, volumes)
        return [
            selection.judge_instance(
                policy.select, self._source(one.id, compute), one, volumes, owners
            )
            for one in instances
        ]

    def _source(self, id_: str, compute: Compute) -> Source:
        return Source(id=id_, region=compute.region, account=self.account)


KINDS = {
    ResourceKind.INSTANCE: ("i-", "an instance, such as i-0123456789abcdef0"),
    ResourceKind.VOLUME: ("vol-", "a volume, such as vol-0123456789abcdef0"),
}


def _check(request: PlanRequest, policy: Policy, slot: datetime, now: datetime) -> None:
    """Refuse what could only be a mistake, before anything is written.

    Raises:
        MalformedMessage: the slot is to come, so that its own schedule would find it taken; or
            the source is no id.
        SourceNotSelected: the source is not of the policy's kind.
    """
    if slot - now > EARLY:
        raise MalformedMessage(
            f"the slot {names.instant(slot)} is in the future: leave it out to run the policy now"
        )
    if request.source is None:
        return
    prefix, example = KINDS[policy.select.resource]
    if request.source.startswith(prefix):
        return
    if request.source.startswith(("i-", "vol-")):
        raise SourceNotSelected(
            f"policy {policy.name} protects {policy.select.resource.value}s, and "
            f"{request.source} is not one"
        )
    raise MalformedMessage(f"{request.source!r} is not the id of {example}")


def _lines(failed: Sequence[_Failure]) -> tuple[str, ...]:
    return tuple(f"{type(error).__name__}: {error}" for _, error in failed)


def _instances(policy: Policy, compute: Compute, only: str | None) -> Iterator[Sequence[Instance]]:
    if only is None:
        return compute.instances(policy.select.tags)
    return iter([list(compute.instances_by_id([only]).values())])


def _volumes(policy: Policy, compute: Compute, only: str | None) -> Iterator[Sequence[Volume]]:
    if only is None:
        return compute.volumes(policy.select.tags)
    return iter([list(compute.volumes_by_id([only]).values())])


def _owners(
    policy: Policy,
    compute: Compute,
    instances: Sequence[Instance],
    volumes: Mapping[str, Volume],
) -> dict[str, str]:
    """Who takes each shared volume; asks only for instances that another page may hold."""
    others = selection.others_to_ask(instances, volumes.values())
    known = {one.id: one for one in instances}
    if others:
        known |= compute.instances_by_id(others)
    return selection.owners_of_shared(policy.select, known, volumes.values())
