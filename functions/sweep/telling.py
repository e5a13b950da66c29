"""What people are told: of runs that did not end well, and of sources past their policy's rpo."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from lastgood.domain import notices
from lastgood.domain.model import Run, RunStatus, SourceRecord
from lastgood.domain.notices import Notice
from lastgood.domain.policy import Policy
from lastgood.ports import Ledger, Notices
from sweep.progress import Progress

LOOK_BACK = timedelta(hours=48)
MOST_RUNS = 300
"""Of a policy: two days of a schedule each ten minutes."""


@dataclass(frozen=True, slots=True)
class Telling:
    ledger: Ledger
    notices: Notices

    def tell(self, policy: Policy, progress: Progress) -> None:
        over = None
        for run in self._recent(policy, progress.now):
            key = notices.run_key(run)
            told = self.ledger.told(key)
            if told and (over or run.source):
                continue
            counted = self.ledger.run(run.id)
            if counted is None or not counted.over:
                continue
            if over is None and run.source is None:
                over = counted
            if not told:
                self._tell_of_run(counted, progress)
        if policy.rpo is not None:
            self._tell_of_rpo(policy, policy.rpo, over, progress)

    def once(self, notice: Notice, progress: Progress) -> None:
        """Unless it was told before; twice if this is killed in between."""
        if not self.ledger.told(notice.key):
            self.notices.tell(notice)
            self.ledger.note_told(notice.key, progress.now)
            progress.done["told"] += 1

    def _recent(self, policy: Policy, now: datetime) -> Iterator[Run]:
        """Newest first; at least one, however old."""
        for number, run in enumerate(islice(self.ledger.runs(policy.name), MOST_RUNS)):
            if number and now - run.slot > LOOK_BACK:
                return
            yield run

    def _tell_of_run(self, run: Run, progress: Progress) -> None:
        if run.status is RunStatus.OK:
            # Nothing to tell, and nothing to look at again.
            self.ledger.note_told(notices.run_key(run), progress.now)
            return
        failures = list(islice(self.ledger.failures(run.id), notices.MOST_NAMED))
        self.once(notices.run_ended(run, failures), progress)

    def _tell_of_rpo(
        self, policy: Policy, rpo: timedelta, over: Run | None, progress: Progress
    ) -> None:
        """Of sources that the policy's last run still asked for: others are gone, or not selected
        any more."""

        def overdue(one: SourceRecord) -> bool:
            asked = one.last_asked or one.first_seen
            still_taken = over is None or asked >= over.started_at
            return still_taken and progress.now - (one.last_available or one.first_seen) > rpo

        past = [one for one in self.ledger.sources(policy.name) if overdue(one)]
        progress.past_rpo[policy.name] = len(past)
        if past:
            self.once(notices.past_rpo(policy, past, progress.now), progress)
