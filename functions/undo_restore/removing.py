"""What a restore made is removed, by its tag."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lastgood.domain.manifest import Volume
from lastgood.domain.preflight import Image
from lastgood.domain.restoring import Restore, image_name
from lastgood.errors import InUse, Refused
from lastgood.ports import Compute, Machines, Things

Mine = Callable[[str, Mapping[str, str]], bool]
"""Whether what has this id and these tags is to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """``going``: what is not gone yet. ``kept``: volumes that stay, and the instance that somebody
    has attached each to."""

    going: tuple[str, ...]
    kept: Mapping[str, str]

    @property
    def there(self) -> tuple[str, ...]:
        return (*self.going, *self.kept)

    def told(self) -> list[str]:
        return [
            f"{volume} stays, since somebody has attached it to {by}"
            for volume, by in self.kept.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remover:
    """``users``: the instances that the restore itself attached volumes to."""

    machines: Machines
    compute: Compute
    users: frozenset[str]
    _refused: list[Refused] = field(default_factory=list)

    def remove(self, restore: Restore, mine: Mine) -> Left:
        """Begin to remove what can be removed now. What describes show too late to be free, or in
        use, is left for the next time.

        Raises Refused, the first, once all the rest was begun.
        """
        self._refused.clear()
        things = self.machines.things_of(restore.id)
        left = self._instances(restore, things, mine)
        images = [one.id for one in things.images if _registered(one, restore)]
        for image in images:
            with self._trying():
                self.machines.deregister_image(image)
        left += images
        if not images:
            # An image keeps the snapshots that it is of.
            left += self._snapshots(things, mine)
        kept = {
            one.id: by
            for one in things.volumes
            if mine(one.id, one.tags) and (by := self._by(things, one))
        }
        left += self._volumes(things, lambda id_, tags: mine(id_, tags) and id_ not in kept)
        if self._refused:
            raise self._refused[0]
        return Left(going=tuple(left), kept=kept)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """What is refused does not keep the rest."""
        try:
            yield
        except Refused as error:
            self._refused.append(error)

    def _instances(self, restore: Restore, things: Things, mine: Mine) -> list[str]:
        there = [
            one for one in things.instances if one.state != "terminated" and mine(one.id, one.tags)
        ]
        going = [one.id for one in there if not one.gone]
        launch = restore.launch
        if launch and (launch.termination_protection or launch.stop_protection):
            for one in going:
                with self._trying():
                    self.machines.unprotect(one)
        if going:
            with self._trying():
                self.machines.terminate(going)
        return [one.id for one in there]

    def _snapshots(self, things: Things, mine: Mine) -> list[str]:
        going = [
            one.member.snapshot for one in things.snapshots if mine(one.member.snapshot, one.tags)
        ]
        for one in going:
            with self._trying(), suppress(InUse):
                self.compute.delete_snapshot(one)
        return going

    def _volumes(self, things: Things, mine: Mine) -> list[str]:
        going = [
            one
            for one in things.volumes
            if mine(one.id, one.tags) and one.state not in ("deleting", "deleted")
        ]
        for one in going:
            if one.state in ("available", "error"):
                with self._trying(), suppress(InUse):
                    self.machines.delete_volume(one.id)
            for attachment in one.attachments:
                if attachment.instance in self.users:
                    with self._trying():
                        self.machines.detach(one.id, attachment.instance)
        return [one.id for one in going]

    def _by(self, things: Things, volume: Volume) -> str | None:
        """An instance that has the volume, though the restore has not attached it there."""
        ours = {*self.users, *(one.id for one in things.instances)}
        users = (one.instance for one in volume.attachments if one.instance not in ours)
        return next(users, None)


def _registered(image: Image, restore: Restore) -> bool:
    """Whether the restore has registered it, on record or not."""
    return image.id in restore.ids("image") or image.name == image_name(restore.id)
