"""Eventual consistency: describes see what was just made, or deleted, only after a while.

Source: EC2 API Reference, "Eventual consistency": a resource that was just created may not be found
by a command that follows at once. Calls that name its id otherwise than to describe it work here
from the start: the stricter case for a caller who looks before he creates.
"""

from collections.abc import Callable, Iterable
from typing import Any

from moto.core.utils import utcnow

from tests.cloud.ec2.conditions import World


def delay(world: World, *made: Any) -> None:
    """Hide these from describes for the lag of now; a later change of the lag is not for them."""
    for resource in made:
        vars(resource)["seen_from"] = utcnow() + world.conditions.lag


def is_seen(resource: Any) -> bool:
    seen_from = vars(resource).get("seen_from")
    return seen_from is None or seen_from <= utcnow()


def linger(world: World, deleted: Any, forget: Callable[[], object]) -> None:
    """Leave it among ``seen_still`` for the lag of now, and then forget it."""
    lingering = _lingering(deleted.ec2_backend)
    lingering[deleted.id] = deleted

    def end() -> None:
        del lingering[deleted.id]
        forget()

    if world.conditions.lag:
        world.clock.at(world.clock.now() + world.conditions.lag, end)
    else:
        end()


def seen_still(backend: Any) -> Iterable[Any]:
    """The snapshots that are deleted, which describes do not know yet."""
    return filter(is_seen, _lingering(backend).values())


def _lingering(backend: Any) -> dict[str, Any]:
    # in the backend, so that it goes with moto's reset
    lingering: dict[str, Any] = vars(backend).setdefault("seen_still", {})
    return lingering
