"""Restores whose execution died, and clones whose time is over and whose schedule was lost."""

from dataclasses import dataclass
from datetime import timedelta

from lastgood.domain.restoring import Restore, RestoreStatus
from lastgood.ports import Ledger, RestoreMachine
from sweep.progress import Progress

GRACE = timedelta(minutes=10)
"""An execution that was just started, or has just ended, may not be shown as it is."""
UNDO, END = "undo", "end"


@dataclass(frozen=True, slots=True)
class RestoreMending:
    """``region``: whose machine is ours. What another Region restores on a replica of the ledger,
    it ends there."""

    ledger: Ledger
    machine: RestoreMachine
    region: str

    def mend(self, progress: Progress) -> None:
        for restore in self.ledger.open_restores():
            if restore.region != self.region:
                continue
            with progress.trying(f"look after {restore.id}"):
                entry = self._entry(restore, progress)
                if entry and not self.machine.at_work(restore.id):
                    # A name for each hour: one that fails for good is not begun every quarter.
                    hour = progress.now.strftime("%Y%m%d%H")
                    name = f"{restore.id}-{entry}-{restore.version}-{hour}"
                    self.machine.start(restore.id, entry, name)
                    progress.done["restores_ended"] += 1

    def _entry(self, restore: Restore, progress: Progress) -> str | None:
        """How the machine is to be started, if nothing works at the restore any more."""
        if restore.status is RestoreStatus.DONE:
            ends = restore.expires_at
            return END if ends and progress.now - ends > GRACE else None
        latest = max((one.ended_at or one.began_at for one in restore.steps), default=None)
        if progress.now - (latest or restore.asked_at) < GRACE:
            return None
        return END if restore.status is RestoreStatus.ENDING else UNDO
