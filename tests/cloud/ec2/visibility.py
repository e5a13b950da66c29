"""Eventual consistency: describes see what was just made only after a while.

Source: EC2 API Reference, "Eventual consistency": a resource that was just created may not be found
by a command that follows at once. Calls that name its id otherwise than to describe it work here
from the start: the stricter case for a caller who looks before he creates.
"""

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
