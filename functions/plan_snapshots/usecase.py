"""Select the sources of a policy, open the run, and ask for a point of each."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from lastgood.domain import names
from lastgood.domain.copying import place_of
from lastgood.domain.lineage import NextCopy, next_copy
from lastgood.domain.model import Cursor, LeftOut, Planned, Run
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, ResourceKind
from lastgood.domain.requests import TakeRequest, request_for
from lastgood.domain.selection import Selected
from lastgood.errors import (
    CallRefused,
    LastgoodError,
    MalformedMessage,
    OutOfTime,
    Refused,
    SourceGone,
    SourceNotSelected,
)
from lastgood.fleet import Fleet, Judgement
from lastgood.ports import Clock, Compute, Ledger, Page, Planners, Policies, Queue

MOST_NAMED = 100
"""Sources that a run and a report name one by one; beyond that they are counted."""

EARLY = timedelta(minutes=5)
"""A schedule may fire a little before its slot, as clocks go."""

RESERVE = timedelta(minutes=2)
"""What a page of a thousand sources may take, twice over: with less time left, another invocation
goes on."""

_Failure = tuple[Place | None, LastgoodError]
"""A place, and why it could not be read."""


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
    """``next_copies``, of a dry run only: whether its copies will be incremental or full, and why,
    by what is on record."""

    point: str
    source: str
    region: str
    method: str
    volumes: tuple[str, ...]
    notes: tuple[str, ...]
    next_copies: tuple[NextCopy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """``points`` and ``left_out`` hold the first hundred of ``point_count``, ``left_out_count``;
    ``points`` only those that this planning asked for, and not an earlier one of the same run.

    ``problems``, of a dry run only: a line for each place that could not be read.
    ``carried_over``: places that another invocation goes on with, since time ran short.
    ``left_out_kinds``: how many sources this invocation left out, by ``LeftOut.kind``.
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
    carried_over: tuple[str, ...] = ()
    left_out_kinds: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Tally:
    """What was planned so far: counts of all, names of the first. Does not grow with the fleet."""

    points: int = 0
    left_out_count: int = 0
    named: list[TakeRequest] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def up_to(cls, reached: Planned | Cursor) -> "_Tally":
        return cls(
            points=reached.points,
            left_out_count=reached.left_out_count,
            left_out=list(reached.left_out),
        )

    def add(self, more: "_Tally") -> None:
        self.points += more.points
        self.left_out_count += more.left_out_count
        self.named = [*self.named, *more.named][:MOST_NAMED]
        self.left_out = [*self.left_out, *more.left_out][:MOST_NAMED]
        self.kinds += more.kinds

    def take(self, request: TakeRequest) -> None:
        self.points += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(request)

    def leave(self, left: LeftOut) -> None:
        self.left_out_count += 1
        self.kinds[left.kind] += 1
        if len(self.left_out) < MOST_NAMED:
            self.left_out.append(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """The world as planning needs it. ``at`` gives the EC2 of a place; ``account`` and
    ``home_region`` are those of the stack."""

    policies: Policies
    at: Callable[[Place], Compute]
    ledger: Ledger
    queue: Queue
    planners: Planners
    clock: Clock
    account: str
    home_region: str

    def plan(self, request: PlanRequest) -> PlanReport:
        """Open the run and send one request for each source that the policy takes.

        A place that cannot be read does not stop the others: it is noted in the run, and its
        error is raised at the end. Planning a slot again that broke off skips the places that
        are done; a slot that was planned whole is asked for whole again, which takes no source
        twice. Short of time, it notes how far it came and has another invocation go on from there.

        Raises:
            UnknownPolicy, SourceGone, SourceNotSelected: the request cannot be met.
            OutOfTime: for asking again for a slot that was planned whole.
            LastgoodError: of the first place that could not be read. Not while another invocation
                goes on, which tries it again: an error would have Lambda start this one again too.
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
        waiting, failed = self._plan_places(policy, run, request, tally)
        if failed and not waiting and not request.dry_run:
            raise failed[0][1]
        explained = waiting or (request.dry_run and (tally.left_out or failed))
        if request.source and not tally.points and not explained:
            raise self._not_taken(policy, run, request, tally)
        return PlanReport(
            policy=policy.name,
            slot=slot,
            dry_run=request.dry_run,
            run=run.id,
            point_count=tally.points,
            left_out_count=tally.left_out_count,
            points=tuple(
                self._shown(one, policy if request.dry_run else None) for one in tally.named
            ),
            left_out=tuple(tally.left_out),
            problems=_lines(failed),
            carried_over=waiting,
            left_out_kinds=dict(tally.kinds),
        )

    def _shown(self, request: TakeRequest, foreseen: Policy | None) -> PlannedPoint:
        """``foreseen``: whose copies to tell of."""
        return PlannedPoint(
            point=request.point,
            source=request.source.id,
            region=request.source.region,
            method=request.method.value,
            volumes=tuple(volume.id for volume in request.volumes),
            notes=request.notes,
            next_copies=tuple(self._next_copies(request, foreseen)) if foreseen else (),
        )

    def _next_copies(self, request: TakeRequest, policy: Policy) -> Iterator[NextCopy]:
        volumes = {one.id: one.size_gib for one in request.volumes}
        for wanted in policy.copies:
            place = place_of(wanted, request.source.account)
            every = self.ledger.copies_of(request.source.id, place)
            copies = [one for one in every if one.policy == policy.name]
            yield next_copy(place, wanted.kms_key, volumes, copies)

    def _places(self, policy: Policy) -> dict[str, Place]:
        """By name."""
        home = Place(region=self.home_region, account=self.account)
        return {one.name(self.account): one for one in policy.select.places(home)}

    def _plan_places(
        self, policy: Policy, run: Run, request: PlanRequest, tally: _Tally
    ) -> tuple[tuple[str, ...], list[_Failure]]:
        """The places that were left for another invocation, and those that could not be read."""
        before = None
        if not request.dry_run:
            self.ledger.open_run(run)
            before = self.ledger.planned(run.id)
        # One that was complete is done again: somebody asks for it, because messages were lost.
        whole = before is not None and not (before.waiting or before.problems)
        if before is not None and not whole:
            tally.add(_Tally.up_to(before))
        done = set(before.regions) if before and not whole else set()
        cursor = before.cursor if before and not whole else None
        # What was asked for before still ends in the run, if the fleet is smaller now.
        expected = before.points if before else 0
        failed: list[_Failure] = []
        for name, place in self._places(policy).items():
            if name in done:
                continue
            here = cursor if cursor and cursor.region == name else None
            reached = None
            try:
                reached = self._plan_place(policy, place, run, request, tally, here)
            except LastgoodError as error:
                failed.append((place, error))
            else:
                done |= set() if reached else {name}
            if request.dry_run:
                continue
            cursor = None if here else cursor
            planned = self._planned(policy, tally, done, failed, reached or cursor)
            planned = replace(planned, points=max(planned.points, expected))
            self.ledger.plan_run(run.id, planned)
            if planned.waiting and (reached or self.clock.left() < RESERVE):
                if whole:
                    # The ledger keeps the whole plan, and so no place to go on from.
                    short = OutOfTime(f"no time to ask for all of {run.id} again", RESERVE)
                    return (), [*failed, (place, short)]
                self.planners.ask(policy.name, run.slot, run.source)
                return planned.waiting, failed
        return (), failed

    def _planned(
        self,
        policy: Policy,
        tally: _Tally,
        done: set[str],
        failed: Sequence[_Failure],
        cursor: Cursor | None = None,
    ) -> Planned:
        # What may be read later waits for it: the planner is tried again, and a sweep asks for it.
        refused = {place for place, error in failed if isinstance(error, Refused)}
        return Planned(
            at=self.clock.now(),
            points=tally.points,
            left_out_count=tally.left_out_count,
            left_out=tuple(tally.left_out),
            regions=tuple(sorted(done)),
            waiting=tuple(
                name
                for name, place in self._places(policy).items()
                if name not in done and place not in refused
            ),
            problems=_lines(failed),
            cursor=cursor,
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
            error = SourceGone(
                f"there is no {policy.select.resource.value} {request.source} in "
                f"{', '.join(self._places(policy))}, where policy {policy.name} looks: check the "
                "id, the account and the policy's select.regions and select.accounts"
            )
        if not request.dry_run:
            done = set(self._places(policy))
            self.ledger.plan_run(run.id, self._planned(policy, tally, done, [(None, error)]))
        return error

    def _plan_place(
        self,
        policy: Policy,
        place: Place,
        run: Run,
        request: PlanRequest,
        tally: _Tally,
        start: Cursor | None,
    ) -> Cursor | None:
        """Page by page: judge, send, count. The tally changes only once the place is done.

        Where it stopped, if time ran short; EC2 keeps the place only for a while, so if it does
        not know it any more, the place is begun anew.
        """
        counted = _Tally.up_to(start) if start else _Tally()
        try:
            for page in self._judged(policy, place, request.source, start):
                wanted = []
                for judgement in page.items:
                    if isinstance(judgement, LeftOut):
                        counted.leave(judgement)
                    else:
                        take = self._request(policy, run, judgement)
                        counted.take(take)
                        wanted.append(take)
                if request.dry_run:
                    continue
                self.queue.send(wanted)
                if page.next and self.clock.left() < RESERVE:
                    tally.kinds += counted.kinds
                    return Cursor(
                        region=place.name(self.account),
                        token=page.next,
                        points=counted.points,
                        left_out_count=counted.left_out_count,
                        left_out=tuple(counted.left_out),
                    )
        except CallRefused:
            if start is None:
                raise
            return self._plan_place(policy, place, run, request, tally, None)
        tally.add(counted)
        return None

    def _judged(
        self, policy: Policy, place: Place, only: str | None, start: Cursor | None
    ) -> Iterable[Page[Judgement]]:
        fleet = Fleet(policy=policy, compute=self.at(place), account=place.account)
        if only is None:
            return fleet.judged(start.token if start else None)
        judgement = fleet.judge(only, alone=True)
        return [Page([judgement] if judgement else [])]

    def _request(self, policy: Policy, run: Run, selected: Selected) -> TakeRequest:
        return request_for(
            selected,
            policy=policy.name,
            tags=policy.tags,
            run=run.id,
            slot=run.slot,
            at=self.clock.now(),
        )


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
