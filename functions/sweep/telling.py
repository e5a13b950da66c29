"""What people are told: of runs that did not end well, and of sources past their policy's rpo."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from lastgood.domain import notices
from lastgood.domain.model import Run, RunStatus, SourceRecord
from lastgood.domain.notices import Notice
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.ports import Ledger, Notices
from lastgood.telling import tell_once
from sweep.progress import Progress

LOOK_BACK = timedelta(hours=48)
MOST_RUNS = 300
"""Of a policy: two days of a schedule each ten minutes."""

NEVER = timedelta(hours=30)
"""Longer than a run is asked for again: one that has not ended by then, and of which nothing is in
flight, never will."""

AGAIN = timedelta(minutes=15)
"""Lambda starts a planner again that failed, after one and two minutes."""


@dataclass(frozen=True, slots=True)
class Telling:
    ledger: Ledger
    notices: Notices

    def tell(self, policy: Policy, home: Place, progress: Progress) -> None:
        """Of the runs of the last two days, and of the newest, however old. ``last`` becomes, by
        place, the policy's newest run that is over and was planned there."""
        last: dict[str, Run] = {}
        places = {one.name(home.account): one for one in policy.select.places(home)}
        for number, run in enumerate(islice(self.ledger.runs(policy.name), MOST_RUNS)):
            recent = number == 0 or progress.now - run.slot <= LOOK_BACK
            missing = places.keys() - last.keys()
            if not recent and not missing:
                break
            planned = run.planned.regions if run.planned and run.source is None else ()
            told = not recent or self.ledger.told(notices.run_key(run))
            if told and not missing & set(planned):
                continue
            counted = self.ledger.run(run.id)
            if counted is None or counted.planned is None:
                continue
            if counted.over:
                last |= dict.fromkeys(missing & set(planned), counted)
            elif progress.now - run.slot < NEVER or run.id in progress.flying:
                continue
            may_be_planned_again = progress.now - counted.planned.at < AGAIN
            if not told and not (counted.planned.problems and may_be_planned_again):
                self._tell_of_run(counted, progress)
        if policy.rpo is not None:
            by_place = {place: last.get(name) for name, place in places.items()}
            self._tell_of_rpo(policy, policy.rpo, by_place, progress)

    def once(self, notice: Notice, progress: Progress) -> None:
        """Unless it was told before."""
        progress.done["told"] += tell_once(self.ledger, self.notices, notice, progress.now)

    def _tell_of_run(self, run: Run, progress: Progress) -> None:
        if run.status is RunStatus.OK:
            # Nothing to tell, and nothing to look at again.
            self.ledger.note_told(notices.run_key(run), progress.now)
            return
        failures = list(islice(self.ledger.failures(run.id), notices.MOST_NAMED))
        self.once(notices.run_ended(run, failures), progress)

    def _tell_of_rpo(
        self,
        policy: Policy,
        rpo: timedelta,
        last: Mapping[Place, Run | None],
        progress: Progress,
    ) -> None:
        """Of sources that the last run of their place still asked for: others are gone, or not
        selected any more. ``last``: by each place where the policy looks."""

        def overdue(one: SourceRecord) -> bool:
            run = last.get(one.source.place)
            asked = one.last_asked or one.first_seen
            still_taken = one.source.place in last and (run is None or asked >= run.started_at)
            return still_taken and progress.now - (one.last_available or one.first_seen) > rpo

        past = [one for one in self.ledger.sources(policy.name) if overdue(one)]
        progress.past_rpo[policy.name] = len(past)
        if past:
            self.once(notices.past_rpo(policy, past, progress.now), progress)
