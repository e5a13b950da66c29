"""Slots that no schedule started, and plans that broke off."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from lastgood.domain import names, notices
from lastgood.domain.cron import latest
from lastgood.domain.model import Run, RunStatus
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, Schedule
from lastgood.errors import AccessDenied
from lastgood.ports import Deployed, Ledger, Planners
from sweep.progress import Progress
from sweep.rebuilding import Rebuilding
from sweep.telling import Telling

WINDOW = timedelta(hours=24)
"""How long a slot that nobody started is still worth a point."""

GRACE = timedelta(minutes=15)
"""Scheduler starts within a minute, and Lambda tries a planner again after one and two."""

PLANNING = timedelta(minutes=20)
"""Longer than a planner can run: one that is not done by then has died."""

UNHEARD = timedelta(hours=3)
"""Longer than a request can wait whose worker dies at each of its twelve deliveries."""


@dataclass(frozen=True, slots=True)
class CatchingUp:
    ledger: Ledger
    planners: Planners
    telling: Telling
    rebuilding: Rebuilding

    def catch_up(self, deployed: Deployed, home: Place, progress: Progress) -> None:
        """Ask for the newest slot of each schedule, if nobody has; and for plans that broke off.

        Only the newest: a point that is taken now holds the data of now, whichever slot it is for.
        Slots before the policy was deployed as it is are none of its slots.
        """
        policy = deployed.policy
        due = {
            slot
            for schedule in policy.schedules
            if (slot := self._newest(schedule, deployed.since, progress.now))
        }
        recent = list(self._recent(policy, progress.now))
        started = {run.id for run in recent}
        for slot in sorted(due):
            if names.run_id(policy.name, slot) not in started:
                self._start(policy, slot, home, progress)
        newest = next((run for run in recent if run.source is None), None)
        for run in recent:
            wanted = run.source or run is newest or run.slot in due
            if wanted and _broke_off(run, progress.now):
                self._ask(policy, run.slot, run.source, progress)

    def ask_again(self, policy: Policy, progress: Progress) -> None:
        """For runs with sources of which there is no point, and none is on its way any more: their
        requests went unheard. What is there already is not taken again."""
        for run in self._recent(policy, progress.now):
            planned = run.planned
            if not planned or progress.now - planned.at < UNHEARD or run.id in progress.flying:
                continue
            if self.ledger.told(notices.run_key(run)):
                continue
            counted = self.ledger.run(run.id)
            if counted and counted.status is RunStatus.RUNNING:
                self.planners.ask(policy.name, run.slot, run.source)
                progress.done["asked_again"] += 1

    def _newest(self, schedule: Schedule, since: datetime, now: datetime) -> datetime | None:
        until = now - GRACE - (schedule.window or timedelta(0))
        after = max(since, now - WINDOW)
        if until <= after:
            return None
        return latest(schedule.cron, schedule.timezone, after=after, until=until)

    def _recent(self, policy: Policy, now: datetime) -> Iterator[Run]:
        return takewhile(lambda run: run.slot > now - WINDOW, self.ledger.runs(policy.name))

    def _start(self, policy: Policy, slot: datetime, home: Place, progress: Progress) -> None:
        run_id = names.run_id(policy.name, slot)
        # A run that left snapshots has lost its record: no source is to be taken twice.
        places = policy.select.places(home)
        if not all(self._rebuilt(one, run_id, progress) for one in places):
            return
        with progress.trying(f"tell that {policy.name} was not started"):
            self.telling.once(notices.caught_up(policy.name, slot, progress.now), progress)
        self._ask(policy, slot, None, progress)

    def _rebuilt(self, place: Place, run_id: str, progress: Progress) -> bool:
        """Also one that may not be entered: nothing can be planned there either, and the others
        are not to wait for it."""
        try:
            return self.rebuilding.rebuild(place, progress, run_id)
        except AccessDenied as error:
            progress.note(f"rebuild what {run_id} left in {place}", error)
            return True

    def _ask(self, policy: Policy, slot: datetime, source: str | None, progress: Progress) -> None:
        self.planners.ask(policy.name, slot, source)
        progress.caught_up[policy.name] += 1


def _broke_off(run: Run, now: datetime) -> bool:
    unfinished = run.planned is None or bool(run.planned.waiting)
    since = run.planned.at if run.planned else run.started_at
    return unfinished and now - since > PLANNING
