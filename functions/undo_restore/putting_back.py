"""The source of a restore in place, driven back to what it was."""

from dataclasses import dataclass

from lastgood.domain.manifest import Instance
from lastgood.domain.restoring import InPlace, Restore
from lastgood.domain.swapping import Move, moves
from lastgood.domain.tags import OF_RESTORE, RESTORE, of_restore
from lastgood.ports import Machines


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    machines: Machines

    def done(self, restore: Restore) -> bool:
        """Make the next change that can be made; whether none was left to make."""
        plan = restore.in_place
        if plan is None:
            return True
        instance = self.machines.instances_by_id([plan.instance]).get(plan.instance)
        if instance is None or instance.state in ("terminated", "shutting-down"):
            # Nobody can put volumes back onto it; the originals stay as they are.
            return True
        if instance.state not in ("running", "stopped") or self._replacing(restore, plan):
            return False
        wanted = {one.device: one.old for one in plan.swaps}
        meant = [one for one in (*wanted.values(), *instance.volumes.values()) if one]
        found = moves(wanted, instance, self.machines.volumes_by_id(meant))
        if found.done:
            return self._as_it_was(restore, plan, instance)
        if instance.state == "running":
            self.machines.stop(instance.id)
        else:
            for one in found.next:
                self._move(restore, instance, one)
        return False

    def _move(self, restore: Restore, instance: Instance, move: Move) -> None:
        if move.attach:
            self.machines.attach(move.volume, instance.id, move.device)
            return
        # What EC2 made for a replaced root bears no tag of ours, by which it is to be removed.
        tags = of_restore(restore.id, restore.point, temporary=True)
        self.machines.tag([move.volume], tags)
        self.machines.detach(move.volume, instance.id)

    def _as_it_was(self, restore: Restore, plan: InPlace, instance: Instance) -> bool:
        flags = {one.device: one.delete_on_termination for one in plan.swaps if one.old}
        self.machines.delete_on_termination(plan.instance, flags)
        old = [one.old for one in plan.swaps if one.old]
        known = self.machines.volumes_by_id(old)
        marked = [one.id for one in known.values() if one.tags.get(RESTORE) == restore.id]
        self.machines.untag(marked, OF_RESTORE)
        if plan.was_running and instance.state == "stopped":
            self.machines.start(instance.id)
            return False
        if not plan.was_running and instance.state == "running":
            self.machines.stop(instance.id)
            return False
        return True

    def _replacing(self, restore: Restore, plan: InPlace) -> bool:
        """EC2 is at work at the root, which nobody may interrupt."""
        if plan.must_stop:
            return False
        tasks = self.machines.root_tasks(plan.instance)
        return any(
            one.tags.get(RESTORE) == restore.id
            and one.state in ("pending", "in-progress", "failing")
            for one in tasks
        )
