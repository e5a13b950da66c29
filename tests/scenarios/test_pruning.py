"""Points come, and go by their policy's retention: planned, capped, held, blocked, explained."""

import json
from datetime import timedelta

import pytest

from lastgood.domain.policy import Retention
from lastgood.errors import UnsafePlan
from tests.support.fleet import disk, launch
from tests.support.world import PLANS, SLOT, World, a_policy

DAY = timedelta(days=1)


def days(world: World, count: int, first: int = 0) -> None:
    """A point a day, and no prune."""
    for day in range(first, first + count):
        world.run_at(SLOT + day * DAY)


def kept(world: World) -> list[int]:
    """The days, from 0, whose points are available."""
    return [(one.slot - SLOT).days for one in world.points() if one.status == "available"]


def test_what_no_rule_keeps_is_deleted_whole(world: World) -> None:
    launch(world.ec2, "web", disk("/dev/sdf", 16))
    world.deploy(a_policy(retention=Retention(keep_daily=3)))
    days(world, 6)

    report = world.prune()

    assert report["status"] == "applying"
    assert kept(world) == [3, 4, 5]
    assert len(world.snapshots()) == 6
