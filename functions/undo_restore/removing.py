"""What a restore made is removed, by its tag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lastgood.domain.restoring import Restore
from lastgood.ports import Compute, Machines, Things

GONE = "terminated"
Mine = Callable[[str, Mapping[str, str]], bool]
"""Whether what has this id and these tags is to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remover:
    machines: Machines
    compute: Compute

    def remove(self, restore: Restore, mine: Mine) -> list[str]:
        """Begin to remove what can be removed now; what is left of it, by id."""
        things = self.machines.things_of(restore.id)
        left = self._instances(restore, things, mine)
        for image in things.images:
            self.machines.deregister_image(image.id)
            left.append(image.id)
        for one in things.snapshots:
            if image_free(things) and mine(one.member.snapshot, one.tags):
                self.compute.delete_snapshot(one.member.snapshot)
                left.append(one.member.snapshot)
        return left + self._volumes(things, mine)

    def _instances(self, restore: Restore, things: Things, mine: Mine) -> list[str]:
        there = [one for one in things.instances if one.state != GONE and mine(one.id, one.tags)]
        going = [one.id for one in there if one.state != "shutting-down"]
        launch = restore.launch
        if launch and (launch.termination_protection or launch.stop_protection):
            for one in going:
                self.machines.unprotect(one)
        if going:
            self.machines.terminate(going)
        return [one.id for one in there]

    def _volumes(self, things: Things, mine: Mine) -> list[str]:
        """One that somebody has attached to another instance stays with that."""
        ours = {one.id for one in things.instances}
        left = []
        for one in things.volumes:
            if not mine(one.id, one.tags) or one.state in ("deleting", "deleted"):
                continue
            if any(each.instance not in ours for each in one.attachments):
                continue
            left.append(one.id)
            if one.state in ("available", "error"):
                self.machines.delete_volume(one.id)
        return left


def image_free(things: Things) -> bool:
    """A snapshot that an image uses cannot be deleted."""
    return not things.images
