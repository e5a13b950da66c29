"""Find what events missed and workers left behind, put it right, and tell people of the rest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice

from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, copy_places, encrypting_places, source_places
from lastgood.errors import LastgoodError
from lastgood.ports import (
    Bus,
    Clock,
    Compute,
    CopyQueue,
    Ledger,
    Notices,
    Patience,
    Planners,
    Policies,
    Queue,
    RestoreMachine,
)
from sweep.catching_up import CatchingUp
from sweep.mending import Mending
from sweep.progress import Progress
from sweep.rebuilding import Rebuilding
from sweep.reminding import Reminding
from sweep.restores import RestoreMending
from sweep.telling import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """``rebuild``: look at every snapshot of ours as well, for points that are not on record, and
    at the points of the last days, for copies that nobody has begun."""

    rebuild: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found and did.

    ``in_flight``: points that are creating or pending. ``settled``: those whose events were lost.
    ``stuck``: those that no worker will come back to: ``retaken``, ``adopted`` with the snapshots
    that were there, ``given_up``, or waiting. ``surplus_removed``: snapshots that were made twice.
    ``rebuilt``: points and copies that were not on record. ``reminded``: points that were
    announced again, since nobody had begun a copy of them. ``caught_up``: slots by policy that
    nobody had started, or whose plan broke off. ``asked_again``: runs whose requests went unheard.
    ``restores_ended``: those whose execution had died, or whose end nobody had begun.
    ``past_rpo``: sources by policy, of those policies that have an rpo. ``told``: notices.
    ``problems``: a line for what could not be done. ``cut_short``: the next sweep goes on.
    """

    in_flight: int
    settled: int
    stuck: int
    retaken: int
    adopted: int
    given_up: int
    surplus_removed: int
    rebuilt: int
    reminded: int
    told: int
    asked_again: int
    restores_ended: int
    caught_up: Mapping[str, int]
    past_rpo: Mapping[str, int]
    problems: tuple[str, ...]
    cut_short: bool


MOST_COUNTED = 100
COUNTS = tuple(one.name for one in fields(SweepReport) if one.type is int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """The world as a sweep needs it. ``at`` gives the EC2 of a place; ``account`` and
    ``home_region`` are those of the stack."""

    policies: Policies
    at: Callable[[Place], Compute]
    ledger: Ledger
    queue: Queue
    planners: Planners
    copies: CopyQueue
    notices: Notices
    machine: RestoreMachine
    bus: Bus
    clock: Clock
    patience: Patience
    account: str
    home_region: str

    def sweep(self, request: SweepRequest) -> tuple[SweepReport, LastgoodError | None]:
        """Put right what can be put right; the report, and the first thing that went wrong.

        Nothing that fails stops the rest. Two sweeps at once do no harm: each step is a conditional
        write, or harmless to do twice.
        """
        progress = Progress(self.clock, self.clock.now())
        deployed = self.policies.all()
        # Those in which it may call EC2: the policies', or home if there is no policy.
        home = Place(region=self.home_region, account=self.account)
        places = source_places((one.policy for one in deployed), home)
        for one in deployed:
            # Before anything is rebuilt: what is rebuilt is asked for copies too.
            with progress.trying(f"note where {one.policy.name} has copies"):
                to = dict.fromkeys(to for _, to in one.policy.ways(home))
                self.ledger.copying_since(one.policy.name, to, progress.now)
        rebuilding = Rebuilding(self.at, self.ledger, self.patience)
        if request.rebuild:
            for place in places:
                with progress.trying(f"rebuild what is in {place.name(self.account)}"):
                    rebuilding.rebuild(place, progress)
            for place in copy_places((one.policy for one in deployed), home):
                with progress.trying(f"rebuild the copies in {place.name(self.account)}"):
                    rebuilding.rebuild_copies(place, progress)
        telling = Telling(self.ledger, self.notices)
        catching_up = CatchingUp(self.ledger, self.planners, telling, rebuilding)
        for one in deployed:
            with progress.trying(f"catch up {one.policy.name}"):
                catching_up.catch_up(one, home, progress)
        mending = Mending(
            {one.policy.name: one.policy for one in deployed},
            places,
            self.at,
            self.ledger,
            self.queue,
            self.bus,
            self.patience,
            home,
        )
        mending.mend(progress)
        for one in deployed if request.rebuild else ():
            with progress.trying(f"look for copies of {one.policy.name} that were not begun"):
                Reminding(self.ledger, self.bus).remind(one.policy, progress)
        with progress.trying("look after copies"):
            policies = [one.policy for one in deployed]
            wanted = {*copy_places(policies, home), *encrypting_places(policies, home)}
            self.copies.send(sorted(wanted))
            if request.rebuild:
                progress.problems += self._left_behind(policies, wanted)
        with progress.trying("look after restores"):
            RestoreMending(self.ledger, self.machine, self.home_region).mend(progress)
        for one in deployed:
            if progress.out_of_time():
                break
            with progress.trying(f"ask again for {one.policy.name}"):
                catching_up.ask_again(one.policy, progress)
            with progress.trying(f"tell of {one.policy.name}"):
                telling.tell(one.policy, home, progress)
        report = SweepReport(
            **{name: progress.done[name] for name in COUNTS},
            caught_up=dict(progress.caught_up),
            past_rpo=progress.past_rpo,
            problems=tuple(progress.problems),
            cut_short=progress.cut_short,
        )
        return report, progress.errors[0] if progress.errors else None

    def _left_behind(self, policies: Iterable[Policy], wanted: set[Place]) -> Iterator[str]:
        """A line for each place that no policy names any more, and that has open copies: nobody
        may look after them now."""
        names = {*self.ledger.noted_policies(), *(one.name for one in policies)}
        once = {place for name in names for place in self.ledger.copied_places(name)}
        for place in sorted(once - wanted):
            count = sum(1 for _ in islice(self.ledger.due(place), MOST_COUNTED))
            if count:
                yield (
                    f"{count} copies to {place} are under way, and may be shared, though no policy "
                    "names that place: deploy one that does, until they have ended"
                )
