"""Slots that no schedule started, and plans that broke off."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lastgood.domain import names, notices
from lastgood.domain.cron import latest
from lastgood.domain.model import Run
from lastgood.domain.policy import Policy, Schedule
from lastgood.ports import Compute, Deployed, Ledger, Planners
from sweep.progress import Progress
from sweep.rebuilding import Rebuilding
from sweep.telling import Telling

WINDOW = timedelta(hours=24)
"""How long a slot that nobody started is still worth a point."""

GRACE = timedelta(minutes=15)
"""Scheduler starts within a minute, and Lambda tries a planner again after one and two."""

PLANNING = timedelta(minutes=20)
"""Longer than a planner can run: one that is not done by then has died."""


@dataclass(frozen=True, slots=True)
class CatchingUp:
    compute: Callable[[str], Compute]
    ledger: Ledger
    planners: Planners
    telling: Telling
    rebuilding: Rebuilding

    def catch_up(self, deployed: Deployed, home_region: str, progress: Progress) -> None:
        """Ask for the newest slot of each schedule, if nobody has.

        Only the newest: a point that is taken now holds the data of now, whichever slot it is for.
        Slots before the policy was deployed as it is are none of its slots.
        """
        policy = deployed.policy
        for schedule in policy.schedules:
            until = progress.now - GRACE - (schedule.window or timedelta(0))
            after = max(deployed.since, progress.now - WINDOW)
            slot = self._newest(schedule, after, until)
            if slot is not None:
                self._see_to(policy, slot, home_region, progress)

    def _newest(self, schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
        if until <= after:
            return None
        return latest(schedule.cron, schedule.timezone, after=after, until=until)

    def _see_to(self, policy: Policy, slot: datetime, home_region: str, progress: Progress) -> None:
        run = self._run(policy, slot)
        if run is None:
            regions = policy.select.regions or (home_region,)
            run_id = names.run_id(policy.name, slot)
            # A run that left snapshots has lost its record: no source is to be taken twice.
            if not all(self.rebuilding.rebuild(one, progress, run_id) for one in regions):
                return
            self.telling.once(notices.caught_up(policy.name, slot, progress.now), progress)
        elif not _broke_off(run, progress.now):
            return
        self.planners.ask(policy.name, slot)
        progress.caught_up[policy.name] += 1

    def _run(self, policy: Policy, slot: datetime) -> Run | None:
        for run in self.ledger.runs(policy.name):
            if run.slot < slot:
                return None
            if run.id == names.run_id(policy.name, slot):
                return run
        return None


def _broke_off(run: Run, now: datetime) -> bool:
    unfinished = run.planned is None or bool(run.planned.waiting)
    since = run.planned.at if run.planned else run.started_at
    return unfinished and now - since > PLANNING
