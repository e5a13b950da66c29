"""Applying a part of a plan: whole points, again and again, and never what may not go any more."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from delete_snapshots.usecase import RESERVE, Progress
from lastgood.domain.model import PointStatus
from lastgood.domain.policy import Copy, Retention
from lastgood.domain.prune_plan import Obstacle, PruneMessage
from lastgood.domain.tags import HOLD
from lastgood.errors import OutOfTime, Throttled, UnknownTarget, UnsafePlan
from lastgood.ledger.memory import MemoryLedger
from tests.cloud.killed import Killed
from tests.support.builders import SOURCE
from tests.support.fakes import die, raising
from tests.support.prune_stage import NOW, Stage, a_policy

SLOW_DOWN = Throttled("slow down", timedelta(seconds=5))


def a_stage(**given):
    """Two of four points are free to go, and the message is on its way."""
    stage = Stage(a_policy(retention=Retention(keep_daily=2), **given))
    points = stage.take(0, 1, 2, 3)
    stage.ask(policy="web-daily", slot=NOW)
    (message,) = stage.queue.messages
    stage.queue.messages.clear()
    stage.steps.taken.clear()
    return stage, points, message


def test_a_message_that_comes_twice_deletes_once():
    stage, points, message = a_stage()

    first, second = stage.deliver(message), stage.deliver(message)

    assert (first.deleted, first.gib) == (2, 32)
    assert (second.deleted, second.before, second.left) == (0, 2, {})
    assert stage.status(points) == ["deleted", "deleted", "available", "available"]


STEPS = ["ledger.expire", "compute.delete_snapshot", "ledger.deleted"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_anywhere_is_followed_by_one_that_finishes(step, nth, after):
    stage, points, message = a_stage()
    stage.steps.at(step, die, nth=nth, after=after)

    with suppress(Killed):
        stage.deliver(message)
    stage.deliver(message)

    assert stage.status(points) == ["deleted", "deleted", "available", "available"]
    assert len(stage.ec2.made) == 4
    (applied,) = stage.ledger.applied(message.plan)
    assert (applied.deleted, applied.left) == (2, {})


def test_a_member_that_is_gone_already_counts_as_deleted():
    stage, points, message = a_stage()
    del stage.ec2.made[points[0].snapshots[0]]

    stage.deliver(message)

    assert stage.status(points)[0] == "deleted"


def test_a_member_that_is_gone_and_that_iam_therefore_refuses_counts_as_deleted():
    stage, points, message = a_stage()
    gone = points[0].snapshots[0]
    del stage.ec2.made[gone]
    stage.ec2.refused.add(gone)

    progress = stage.deliver(message)

    assert stage.status(points)[:2] == ["deleted", "deleted"]
    assert progress.left == {}


def test_an_image_that_was_made_since_keeps_its_point_whole():
    stage, points, message = a_stage()
    stage.ec2.in_use.add(points[0].snapshots[1])

    progress = stage.deliver(message)

    assert stage.status(points) == ["available", "deleted", "available", "available"]
    assert progress.blocked == {Obstacle.IMAGE: 1}
    assert points[0].snapshots[0] in stage.ec2.made


def test_an_image_that_is_made_in_between_leaves_the_point_expired_and_it_is_tried_again():
    stage, points, message = a_stage()
    stage.steps.at("compute.delete_snapshot", lambda: stage.ec2.in_use.add(points[0].snapshots[0]))

    progress = stage.deliver(message)

    assert stage.status(points)[:2] == ["expired", "deleted"]
    assert "ami-1" in progress.left[points[0].id]

    stage.ec2.in_use.clear()
    stage.clock.advance(timedelta(days=1))
    stage.prune()

    assert stage.status(points)[0] == "deleted"


def test_a_refusal_blocks_only_its_point():
    stage, points, message = a_stage()
    stage.ec2.refused.add(points[0].snapshots[1])

    progress = stage.deliver(message)

    assert stage.status(points)[:2] == ["expired", "deleted"]
    assert progress.blocked == {Obstacle.REFUSED: 1}


def test_a_hold_that_came_since_is_kept():
    stage, points, message = a_stage()
    stage.ask(hold=points[0].id, by="anna", why="audit")

    progress = stage.deliver(message)

    assert stage.status(points)[:2] == ["available", "deleted"]
    assert "held by anna" in progress.left[points[0].id]


def test_a_hold_of_the_source_that_comes_in_the_last_moment_is_kept():
    stage, points, message = a_stage()
    stage.steps.at("ledger.expire", lambda: stage.ask(hold=SOURCE.id, by="anna", why="audit"))

    stage.deliver(message)

    assert stage.status(points) == ["available"] * 4


@pytest.mark.parametrize(("key", "value"), [(HOLD, "legal"), ("keep", "yes")])
def test_a_tag_that_came_since_is_kept(key, value):
    stage = Stage(a_policy(retention=Retention(keep_daily=2, keep_tags=({"keep": ("yes",)},))))
    points = stage.take(0, 1, 2, 3)
    stage.ask(policy="web-daily", slot=NOW)
    stage.ec2.made[points[0].snapshots[0]].tags[key] = value

    stage.work()

    assert stage.status(points)[:2] == ["available", "deleted"]


def test_a_lock_that_came_since_is_kept():
    stage, points, message = a_stage()
    stage.ec2.locks[points[0].snapshots[0]] = "locked (compliance)"

    progress = stage.deliver(message)

    assert stage.status(points)[:2] == ["available", "deleted"]
    assert progress.blocked == {Obstacle.LOCK: 1}


def test_a_point_whose_state_has_changed_is_refused():
    """As after a ledger that was lost, and a snapshot with it."""
    stage, points, message = a_stage()
    plan = stage.ledger.plan(message.plan)
    stage.ledger = MemoryLedger()
    stage.ledger.open_plan(plan)
    stage.take(1, 2, 3)
    stage.take(0, status=PointStatus.FAILED, cause="1 of its 2 snapshots are there")

    progress = stage.deliver(message)

    assert "is failed now" in progress.left[points[0].id]


def test_the_newest_points_stay_whatever_the_plan_says():
    stage = Stage(a_policy(retention=Retention(keep_daily=1, at_least=2)))
    points = stage.take(0, 1, 2)
    report = stage.ask(policy="web-daily", slot=NOW)
    gone = points[2]
    stage.ledger.expire(gone, NOW, "a person's wish")
    stage.ledger.deleted(gone.id, NOW)

    stage.work()

    assert stage.status(points) == ["available", "available", "deleted"]
    assert "one of the newest 2" in stage.ask(plan=report.plan, dry_run=True).left[points[0].id]


def test_a_retention_that_was_changed_since_is_not_applied():
    stage, points, message = a_stage()
    stage.policies.known["web-daily"] = a_policy(retention=Retention(keep_daily=30))

    stage.deliver(message)

    assert stage.status(points) == ["available"] * 4


def test_copies_that_are_asked_for_since_are_waited_for():
    stage, points, message = a_stage()
    stage.policies.known["web-daily"] = replace(stage.policy, copies=(Copy(region="eu-north-1"),))

    progress = stage.deliver(message)

    assert stage.status(points) == ["available"] * 4
    assert "its copy to eu-north-1 of 123456789012 is required" in progress.left[points[0].id]


def test_when_the_newest_lose_their_snapshots_the_last_whole_one_stays():
    stage, points, message = a_stage()
    for one in points[2:]:
        stage.ec2.made.pop(one.snapshots[0])

    progress = stage.deliver(message)

    assert stage.status(points) == ["deleted", "available", "available", "available"]
    assert progress.left == {points[1].id: "it is one of the newest 1 now"}


def test_what_was_deleted_before_an_error_is_counted():
    stage, _, message = a_stage()
    stage.steps.at("compute.delete_snapshot", raising(SLOW_DOWN), nth=3)
    progress = Progress()

    with pytest.raises(Throttled):
        stage.deleter.apply(message, progress)

    assert progress.deleted == 1


def test_a_plan_that_nobody_applied_is_refused():
    stage = a_stage()[0]
    dry = stage.ask(policy="web-daily", dry_run=True, slot=NOW + timedelta(hours=1))

    with pytest.raises(UnsafePlan):
        stage.deliver(PruneMessage(plan=dry.plan, policy="web-daily", slice=0))
    with pytest.raises(UnknownTarget):
        stage.deliver(PruneMessage(plan="plan-0", policy="web-daily", slice=0))


def test_what_is_left_when_time_is_nearly_over_goes_back_to_the_queue():
    stage, points, message = a_stage()

    def late():
        stage.clock.time_left = RESERVE - timedelta(seconds=1)

    stage.steps.at("ledger.deleted", late, after=True)

    progress = stage.deliver(message)

    assert progress.carried_over
    assert stage.status(points)[:2].count("deleted") == 1
    assert stage.queue.messages == [message]
    stage.clock.time_left = timedelta(minutes=5)
    stage.work()
    assert stage.status(points)[:2] == ["deleted", "deleted"]


def test_without_time_for_one_point_the_message_comes_again_by_itself():
    stage, _, message = a_stage()
    stage.clock.time_left = timedelta(0)

    with pytest.raises(OutOfTime):
        stage.deliver(message)
    assert stage.queue.messages == []


def test_a_throttle_ends_the_delivery_and_the_next_goes_on():
    stage, points, message = a_stage()
    stage.steps.at("compute.delete_snapshot", raising(SLOW_DOWN), nth=3)

    with pytest.raises(Throttled):
        stage.deliver(message)
    stage.deliver(message)

    assert stage.status(points)[:2] == ["deleted", "deleted"]
