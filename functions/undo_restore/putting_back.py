"""The source of a restore in place, driven back to what it was."""

from collections.abc import Mapping
from dataclasses import dataclass

from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.restoring import STEPS, InPlace, Restore, Swap
from lastgood.domain.swapping import Move, moves
from lastgood.domain.tags import OF_RESTORE, RESTORE, of_restore
from lastgood.ports import Machines, RootTask

CHANGING = ("stop", "replace", "swap", "start")
"""Before any of these steps, the source is as it was, or as somebody else has left it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What somebody else put on a device stays there, and an original that somebody else uses stays
    with that: nobody knows what for."""

    machines: Machines

    def done(self, restore: Restore) -> bool:
        """Make the next change that can be made; whether none was left to make."""
        plan = restore.in_place
        if plan is None:
            return True
        originals = self.machines.volumes_by_id(one.old for one in plan.swaps if one.old)
        self._unmark(restore, originals)
        if not _changed(restore):
            return True
        instance = self._instance(plan)
        if instance is None or instance.state == "terminated":
            # Nobody can put volumes back onto it; the originals stay as they are.
            return True
        tasks = self._tasks(restore, plan)
        if instance.state not in ("running", "stopped") or _under_way(tasks):
            return False
        there = self.machines.volumes_by_id(instance.volumes.values())
        wanted = {
            one.device: _wanted(one, instance.id, originals)
            for one in plan.swaps
            if _may_move(restore, one, instance, there, tasks)
        }
        found = moves(wanted, instance, {**there, **originals})
        if found.done:
            return self._as_it_was(plan, instance)
        if instance.state == "running":
            self.machines.stop(instance.id)
        else:
            for one in found.next:
                self._move(restore, instance, one)
        return False

    def told(self, restore: Restore) -> list[str]:
        """What could not be put back, in words."""
        plan = restore.in_place
        if plan is None or not _changed(restore):
            return []
        instance = self._instance(plan)
        if instance is None or instance.gone:
            return [f"{plan.instance} is gone, and nothing was put back"]
        return [
            f"{one.device} of {instance.id} has {current or 'nothing'}, and not "
            f"{one.old or 'nothing'}, since somebody else has changed that"
            for one in plan.swaps
            if (current := instance.volumes.get(one.device)) != one.old
        ]

    def _instance(self, plan: InPlace) -> Instance | None:
        return self.machines.instances_by_id([plan.instance]).get(plan.instance)

    def _unmark(self, restore: Restore, originals: Mapping[str, Volume]) -> None:
        """Of a restore that was about to be handed over: they are not to be removed any more."""
        marked = [one.id for one in originals.values() if one.tags.get(RESTORE) == restore.id]
        self.machines.untag(marked, OF_RESTORE)

    def _tasks(self, restore: Restore, plan: InPlace) -> tuple[RootTask, ...]:
        if plan.must_stop:
            return ()
        return self.machines.root_tasks(plan.instance, restore.id)

    def _move(self, restore: Restore, instance: Instance, move: Move) -> None:
        if move.attach:
            self.machines.attach(move.volume, instance.id, move.device)
            return
        # What EC2 made for a replaced root bears no tag of ours, by which it is to be removed.
        tags = of_restore(restore.id, restore.point, temporary=True)
        self.machines.tag([move.volume], tags)
        self.machines.detach(move.volume, instance.id)

    def _as_it_was(self, plan: InPlace, instance: Instance) -> bool:
        flags = {
            one.device: one.delete_on_termination
            for one in plan.swaps
            if one.old and instance.volumes.get(one.device) == one.old
        }
        self.machines.delete_on_termination(plan.instance, flags)
        if plan.was_running and instance.state == "stopped":
            self.machines.start(instance.id)
            return False
        # One that runs although it did not was started by somebody else, with the originals.
        return True


def _changed(restore: Restore) -> bool:
    return any(restore.step(STEPS[name]) for name in CHANGING)


def _under_way(tasks: tuple[RootTask, ...]) -> bool:
    """EC2 is at work at the root, which nobody may interrupt."""
    return any(one.state in ("pending", "in-progress", "failing") for one in tasks)


def _may_move(
    restore: Restore,
    swap: Swap,
    instance: Instance,
    there: Mapping[str, Volume],
    tasks: tuple[RootTask, ...],
) -> bool:
    """Whether the device is free, or has the original or what the restore put there."""
    current = instance.volumes.get(swap.device)
    if current in (None, swap.old):
        return True
    if current in there and there[current].tags.get(RESTORE) == restore.id:
        return True
    # What EC2 made has no tag until the step that waits for it has seen it.
    unseen = restore.made_for("volume", swap.piece) is None
    return unseen and any(one.state == "succeeded" for one in tasks)


def _wanted(swap: Swap, instance: str, originals: Mapping[str, Volume]) -> str | None:
    """The original, unless it is gone or somebody has attached it elsewhere."""
    old = originals.get(swap.old or "")
    if old is None or any(one.instance != instance for one in old.attachments):
        return None
    return old.id
