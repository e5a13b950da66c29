"""Volumes on the devices of an instance: the next moves towards the ones that are to be there.

The same moves lead to the restored volumes and back to the original ones, from wherever they were
interrupted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lastgood.domain.manifest import Instance, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """``attach``: or detach. A device has one move at a time: what is there goes first."""

    attach: bool
    volume: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """``waiting``: something is under way, or nothing may be moved yet."""

    next: tuple[Move, ...] = ()
    waiting: bool = False

    @property
    def done(self) -> bool:
        return not self.next and not self.waiting


def moves(
    wanted: Mapping[str, str | None], instance: Instance, volumes: Mapping[str, Volume]
) -> Moves:
    """``wanted``: by device, the volume that is to be there; None: none. ``volumes``: by id, those
    that are meant, as they are now."""
    found, waiting = [], False
    for device, want in sorted(wanted.items()):
        current = instance.volumes.get(device)
        if current == want:
            attached = volumes.get(want or "")
            waiting = waiting or (attached is not None and attached.state != "in-use")
        elif current is not None:
            found.append(Move(attach=False, volume=current, device=device))
        elif want is not None and want in volumes and volumes[want].state == "available":
            found.append(Move(attach=True, volume=want, device=device))
        else:
            waiting = True
    return Moves(next=tuple(found), waiting=waiting)
