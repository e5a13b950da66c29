"""What a restore made is removed, by its tag."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lastgood.domain.manifest import Volume
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
        """Begin to remove what can be removed now; what is left of it, by id. A volume that
        somebody has attached to another instance stays with that (``kept``)."""
        things = self.machines.things_of(restore.id)
        left = self._instances(restore, things, mine)
        for image in things.images:
            self.machines.deregister_image(image.id)
            left.append(image.id)
        for one in things.snapshots:
            if image_free(things) and mine(one.member.snapshot, one.tags):
                self.compute.delete_snapshot(one.member.snapshot)
                left.append(one.member.snapshot)
        return left + self._volumes(restore, things, mine)

    def kept(self, restore: Restore, mine: Mine) -> list[str]:
        """What is not removed, because it is in use elsewhere, in words."""
        things = self.machines.things_of(restore.id)
        return [
            f"{one.id} stays, since somebody has attached it to {by}"
            for one in things.volumes
            if mine(one.id, one.tags) and (by := _user(restore, things, one))
        ]

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

    def _volumes(self, restore: Restore, things: Things, mine: Mine) -> list[str]:
        going = [
            one
            for one in things.volumes
            if mine(one.id, one.tags)
            and one.state not in ("deleting", "deleted")
            and not _user(restore, things, one)
        ]
        for one in going:
            if one.state in ("available", "error"):
                self.machines.delete_volume(one.id)
            for attachment in one.attachments:
                if restore.attach and attachment.instance == restore.attach.instance:
                    self.machines.detach(one.id, attachment.instance)
        return [one.id for one in going]


def _user(restore: Restore, things: Things, volume: Volume) -> str | None:
    """An instance that has the volume, though the restore has not attached it there."""
    ours = {one.id for one in things.instances}
    if restore.attach:
        ours.add(restore.attach.instance)
    users = (one.instance for one in volume.attachments if one.instance not in ours)
    return next(users, None)


def image_free(things: Things) -> bool:
    """A snapshot that an image uses cannot be deleted."""
    return not things.images
