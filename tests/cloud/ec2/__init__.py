"""moto's EC2, changed into EC2 as AWS is, for the calls that Lastgood makes."""

from collections.abc import Callable

from tests.cloud.clock import Clock
from tests.cloud.ec2 import (
    archive,
    attributes,
    copies,
    guard,
    images,
    instances,
    launches,
    locks,
    machines,
    network,
    offerings,
    roots,
    snapshots,
    tags,
    volumes,
)
from tests.cloud.ec2.conditions import (
    AS_ON_AWS,
    Conditions,
    Emit,
    Image,
    Outcome,
    Pace,
    World,
)
from tests.cloud.ec2.patches import Patches

__all__ = ["AS_ON_AWS", "Conditions", "Emit", "Image", "Outcome", "Pace", "install"]

OPERATIONS = [
    *snapshots.OPERATIONS,
    *volumes.OPERATIONS,
    *instances.OPERATIONS,
    *launches.OPERATIONS,
    *machines.OPERATIONS,
    *attributes.OPERATIONS,
    *roots.OPERATIONS,
    *network.OPERATIONS,
    *offerings.OPERATIONS,
    *images.OPERATIONS,
    *locks.OPERATIONS,
    *archive.OPERATIONS,
    *copies.OPERATIONS,
    *tags.OPERATIONS,
]


def install(clock: Clock, emit: Emit, conditions: Conditions | None = None) -> Callable[[], None]:
    """Patch moto in this process; with ``mock_aws`` or with moto's server, before or after.

    ``emit(account, region, event)`` gets each EBS event when its time has come on ``clock``.
    The answer undoes it.
    """
    patches = Patches()
    world = World(clock, emit, conditions or Conditions())
    tags.install(patches)
    volumes.install(patches)
    instances.install(patches)
    launches.install(patches)
    network.install(patches)
    guard.install(patches, world, OPERATIONS)
    return patches.undo
