"""What ends a restore: the source as it was, what was made gone, and nothing else touched."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain.preflight import Image
from lastgood.domain.restoring import InPlace, RestoreStatus, image_name
from lastgood.domain.tags import RESTORE, TEMPORARY, of_restore
from lastgood.errors import CallRefused, CheckFailed, DeadlinePassed, InUse
from tests.support.builders import SOURCE, T0, a_volume, an_instance, minutes
from tests.support.fakes import die, raising
from tests.support.restore_stage import (
    DATA,
    OTHER,
    ROOT,
    SWAPS,
    RestoreStage,
    a_clone,
    a_clone_from_elsewhere,
    in_place,
    root_by_task,
    volumes,
)

DONE, ENDED, UNDONE = RestoreStatus.DONE, RestoreStatus.ENDED, RestoreStatus.UNDONE
BROKEN = CheckFailed("status checks: instance impaired")
LAG = timedelta(seconds=40)


def begun(restore, *steps, lag=timedelta(0)):
    """A restore that has come through these steps."""
    stage = RestoreStage(lag)
    opened = stage.open(restore)
    for step in steps:
        stage.finish(step, opened)
    return stage, opened


SWAPPED = ("hold", "volumes", "stop", "safety", "swap", "start")


def untouched():
    return RestoreStage().scene()


def told(stage):
    return stage.news.told[-1]


# -------------------------------------------------------------------------------- killed, doubled


def lives():
    return {
        "clone": begun(a_clone(), "hold", "image", "launch", "dress"),
        "from elsewhere": begun(a_clone_from_elsewhere(), "hold", "copy", "image", "launch"),
        "volumes": begun(volumes(), "hold", "volumes", "attach"),
        "in place": begun(in_place(), *SWAPPED),
        "root by task": begun(root_by_task(), "hold", "volumes", "safety", "replace"),
    }


@pytest.mark.parametrize("kind", lives())
def test_an_undo_that_is_killed_before_any_call_is_taken_up_by_the_next(kind):
    stage, restore = lives()[kind]
    before = len(stage.steps.taken)
    stage.undo(restore, BROKEN)
    calls = len(stage.steps.taken) - before
    assert stage.scene() == untouched()

    for nth in range(1, calls + 1):
        stage, restore = lives()[kind]
        stage.steps.at_call(nth, die)

        record = stage.undo(restore, BROKEN)

        assert record.status is UNDONE
        assert record.cause == f"CheckFailed: {BROKEN}"
        assert stage.scene() == untouched(), stage.steps.taken[before + nth - 1]
        assert all(one.removed_at for one in record.made)


@pytest.mark.parametrize("kind", lives())
def test_an_undo_that_is_refused_goes_on_where_it_was_once_it_is_redriven(kind):
    stage, restore = lives()[kind]
    before = len(stage.steps.taken)
    stage.undo(restore, BROKEN)
    calls = len(stage.steps.taken) - before

    for nth in range(1, calls + 1):
        stage, restore = lives()[kind]
        stage.steps.at_call(nth, raising(CallRefused("no")))

        record = stage.undo(restore, BROKEN)

        assert record.status is UNDONE
        assert stage.scene() == untouched(), stage.steps.taken[before + nth - 1]


@pytest.mark.parametrize("mode", [a_clone, volumes, in_place, root_by_task])
def test_an_end_that_is_killed_before_any_call_is_taken_up_by_the_next(mode):
    def done():
        stage = RestoreStage()
        restore = stage.open(mode())
        stage.run(restore)
        stage.clock.advance(timedelta(days=8))
        return stage, restore

    stage, restore = done()
    before = len(stage.steps.taken)
    stage.finish("remove", restore)
    calls = len(stage.steps.taken) - before
    scene = stage.scene()

    for nth in range(1, calls + 1):
        stage, restore = done()
        stage.steps.at_call(nth, die)

        stage.finish("remove", restore)

        assert stage.record(restore).status is ENDED
        assert stage.scene() == scene, stage.steps.taken[before + nth - 1]


def test_an_undo_that_is_over_answers_the_same_again():
    stage, restore = begun(a_clone(), "hold", "image")
    stage.undo(restore, BROKEN)

    answer = stage.call("undo", restore)

    assert answer["done"]
    assert answer["cause"] == f"CheckFailed: {BROKEN}"


# ------------------------------------------------------------------------------------- the source


def test_a_source_that_no_step_has_changed_is_left_as_somebody_else_made_it():
    stage, restore = begun(in_place(), "hold", "volumes")
    stage.ec2.stop(SOURCE.id)
    stage.clock.advance(minutes(3))

    stage.undo(restore, BROKEN)

    assert stage.ec2.now.instances[SOURCE.id].state == "stopped"
    assert "ec2.start" not in stage.steps.taken


def put_on(stage, device, volume="vol-9"):
    """Somebody puts a volume of his own in place of what is there."""

    def change(world):
        old = world.instances[SOURCE.id].volumes.get(device)
        if old:
            world.free(old)
        world.volumes[volume] = a_volume(volume)
        world.attach(volume, SOURCE.id, device, deleted_with=False)
        world.on_device(SOURCE.id, device, volume)

    stage.ec2.change(change)


@pytest.mark.parametrize("steps", [("hold", "volumes", "stop"), SWAPPED])
def test_a_volume_that_somebody_put_in_is_neither_taken_out_nor_deleted(steps):
    stage, restore = begun(in_place(), *steps)
    put_on(stage, DATA)

    record = stage.undo(restore, BROKEN)

    world = stage.ec2.now
    assert record.status is UNDONE
    assert world.instances[SOURCE.id].volumes == {ROOT: "vol-1", DATA: "vol-9"}
    assert RESTORE not in world.volumes["vol-9"].tags
    assert world.volumes["vol-2"].state == "available"
    assert told(stage).startswith(
        "is undone; /dev/sdf of i-0a has vol-9, and not vol-2, since somebody else has changed that"
    )


def test_a_root_that_somebody_put_in_after_ec2_had_replaced_it_stays():
    stage, restore = begun(root_by_task(), "hold", "volumes", "safety", "replace")
    put_on(stage, ROOT)

    stage.undo(restore, BROKEN)

    assert stage.ec2.now.instances[SOURCE.id].volumes == {ROOT: "vol-9", DATA: "vol-2"}
    assert stage.ec2.now.instances[SOURCE.id].state == "running"


def test_a_root_that_ec2_has_replaced_before_anybody_saw_it_is_taken_out_again():
    stage, restore = begun(root_by_task(), "hold", "volumes", "safety")
    stage.call("replace", restore)
    stage.clock.advance(minutes(3))

    stage.undo(restore, BROKEN)

    assert stage.scene() == untouched()


def test_an_original_that_somebody_attached_elsewhere_stays_there():
    stage, restore = begun(in_place(), *SWAPPED)

    def take(world):
        world.attach("vol-2", OTHER, "/dev/sdh", deleted_with=False)
        world.on_device(OTHER, "/dev/sdh", "vol-2")

    stage.ec2.change(take)

    record = stage.undo(restore, BROKEN)

    world = stage.ec2.now
    assert record.status is UNDONE
    assert world.instances[OTHER].volumes["/dev/sdh"] == "vol-2"
    assert world.instances[SOURCE.id].volumes == {ROOT: "vol-1"}


def test_an_original_that_was_deleted_meanwhile_is_not_waited_for():
    stage, restore = begun(in_place(), *SWAPPED)
    stage.ec2.delete_volume("vol-2")

    record = stage.undo(restore, BROKEN)

    assert record.status is UNDONE
    assert stage.ec2.now.instances[SOURCE.id].volumes == {ROOT: "vol-1"}


@pytest.mark.parametrize("steps", [SWAPPED[:4], SWAPPED])
def test_a_source_that_is_gone_keeps_its_originals_and_nothing_that_was_made(steps):
    stage, restore = begun(in_place(), *steps)
    stage.ec2.terminate([SOURCE.id])

    record = stage.undo(restore, BROKEN)
    stage.clock.advance(minutes(5))

    assert "i-0a is gone, and nothing was put back" in told(stage)
    ours = {one for one in stage.ec2.now.volumes if "new" in one}
    assert record.status is UNDONE
    assert ours == set()
    if steps == SWAPPED:
        assert stage.ec2.now.volumes.keys() >= {"vol-1", "vol-2"}


def test_originals_that_were_marked_to_go_are_never_deleted():
    stage, restore = begun(in_place(), *SWAPPED, "check")

    def cancel():
        known = stage.record(restore)
        stage.ledger.change_restore(known, replace(known, cancelled_by="bob"))

    # Before the one who hands it over writes that down.
    stage.steps.at("ledger.free_from_restore", cancel)

    record = stage.run(restore)

    assert record.status is UNDONE
    assert "ec2.tag" in stage.steps.taken
    assert stage.scene() == untouched()


def test_marks_go_from_the_originals_of_a_source_that_is_gone():
    stage, restore = begun(in_place(), *SWAPPED)
    stage.ec2.tag(["vol-1", "vol-2"], of_restore(restore.id, restore.point, temporary=True))
    stage.ec2.terminate([SOURCE.id])

    stage.undo(restore, BROKEN)

    left = stage.ec2.now.volumes
    assert [TEMPORARY in left[one].tags for one in ("vol-1", "vol-2")] == [False, False]


def test_marks_of_another_restore_stay():
    stage, restore = begun(in_place(), "hold")
    stage.ec2.tag(["vol-2"], of_restore("rs-other", "pt-other", temporary=True))

    stage.undo(restore, BROKEN)

    assert stage.ec2.now.volumes["vol-2"].tags[TEMPORARY] == "rs-other"


def test_a_change_that_is_not_shown_yet_is_waited_for_before_the_source_is_touched():
    stage, restore = begun(in_place(), *SWAPPED[:4])
    stage.ec2.lag = LAG
    stage.call("swap", restore)

    record = stage.undo(restore, BROKEN)

    assert record.status is UNDONE
    assert stage.ec2.torn == []
    assert stage.scene() == untouched()


def test_a_root_at_which_ec2_is_at_work_is_waited_for():
    stage, restore = begun(root_by_task(), "hold", "volumes", "safety")
    stage.ec2.pace = minutes(10)
    stage.call("replace", restore)
    stage.ec2.pace = minutes(1)

    stage.undo(restore, BROKEN)

    assert stage.scene() == untouched()


def test_an_instance_that_did_not_run_is_stopped_again():
    stage = RestoreStage()
    stage.ec2.put(an_instance(state="stopped"))
    plan = InPlace(instance=SOURCE.id, was_running=False, swaps=SWAPS)
    restore = stage.open(in_place(in_place=plan))
    for step in SWAPPED:
        stage.finish(step, restore)
    stage.ec2.start(SOURCE.id)
    stage.clock.advance(minutes(3))

    stage.undo(restore, BROKEN)
    stage.clock.advance(minutes(3))

    found = stage.ec2.now.instances[SOURCE.id]
    assert (found.state, found.volumes) == ("stopped", {ROOT: "vol-1", DATA: "vol-2"})


# --------------------------------------------------------------------------------- what was made


def test_nothing_is_believed_to_be_gone_before_describes_must_show_it():
    stage, restore = begun(a_clone(), "hold", "image")
    stage.ec2.lag = minutes(1)
    stage.call("launch", restore)
    at = stage.clock.now()

    stage.undo(restore, BROKEN)

    assert stage.clock.now() - at > minutes(2)
    stage.clock.advance(minutes(3))
    assert stage.ec2.now.instances.keys() - {SOURCE.id, OTHER} == {"i-new2"}
    assert stage.ec2.now.instances["i-new2"].state == "terminated"


def use(stage, volume):
    """Somebody takes a volume that was made to an instance of his own."""

    def change(world):
        world.attach(volume, SOURCE.id, "/dev/sdz", deleted_with=False)
        world.on_device(SOURCE.id, "/dev/sdz", volume)

    stage.ec2.change(change)


def test_a_volume_that_somebody_uses_elsewhere_stays_and_is_told():
    stage, restore = begun(volumes(attach=None), "hold", "volumes")
    use(stage, "vol-new1")

    record = stage.undo(restore, BROKEN)

    assert told(stage).startswith(
        "is undone; vol-new1 stays, since somebody has attached it to i-0a. CheckFailed"
    )
    assert [one.removed_at for one in record.made] == [None]
    assert stage.ec2.now.volumes["vol-new1"].state == "in-use"


def test_a_volume_that_somebody_uses_elsewhere_outlives_its_restore():
    stage = RestoreStage()
    restore = stage.open(volumes(attach=None))
    stage.run(restore)
    use(stage, "vol-new1")
    stage.clock.advance(timedelta(hours=9))

    stage.finish("remove", restore)

    record = stage.record(restore)
    assert record.status is ENDED
    assert told(stage).endswith("vol-new1 stays, since somebody has attached it to i-0a")
    assert [one.removed_at for one in record.made] == [None]
    assert TEMPORARY not in stage.ec2.now.volumes["vol-new1"].tags


def put_image(stage, restore, name="nightly of DLM"):
    """An image that somebody made of a clone, with the clone's tags."""
    image = Image(id="ami-9", name=name, state="available", root_device=ROOT)
    tags = of_restore(restore.id, restore.point, temporary=True)
    stage.ec2.change(lambda world: world.images.update({image.id: (image, tags)}))


def test_an_image_that_others_made_of_a_clone_outlives_it():
    stage = RestoreStage()
    restore = stage.open(a_clone())
    stage.run(restore)
    put_image(stage, restore)
    stage.clock.advance(timedelta(hours=9))

    stage.finish("remove", restore)

    assert stage.record(restore).status is ENDED
    assert stage.ec2.now.images.keys() == {"ami-9"}


def test_an_image_that_others_made_does_not_keep_the_copies_of_a_restore():
    stage, restore = begun(a_clone_from_elsewhere(), "hold", "copy", "image", "launch")
    put_image(stage, restore)

    stage.undo(restore, BROKEN)

    assert stage.ec2.now.images.keys() == {"ami-9"}
    assert stage.compute.made == {}


def test_an_image_that_a_killed_function_registered_is_found_by_its_name():
    stage, restore = begun(a_clone(), "hold")
    put_image(stage, restore, name=image_name(restore.id))

    stage.undo(restore, BROKEN)

    assert stage.ec2.now.images == {}


@pytest.mark.parametrize("call", ["ec2.deregister_image", "ec2.terminate"])
def test_what_may_not_go_does_not_keep_the_rest(call):
    stage, restore = begun(a_clone_from_elsewhere(), "hold", "copy", "image", "launch")
    loose = a_volume("vol-loose", state="available", tags={RESTORE: restore.id})
    stage.ec2.change(lambda world: world.volumes.update({loose.id: loose}))
    stage.clock.advance(minutes(5))
    stage.steps.at(call, raising(CallRefused("it is protected")))

    with pytest.raises(CallRefused, match="it is protected"):
        stage.finish("undo", restore)

    assert stage.ec2.now.volumes[loose.id].state == "deleting"
    stage.finish("undo", restore)
    assert stage.scene() == untouched()


@pytest.mark.parametrize("call", ["ec2.delete_volume", "compute.delete_snapshot"])
def test_what_is_in_use_for_a_moment_more_is_removed_later(call):
    stage, restore = begun(a_clone_from_elsewhere(), "hold", "copy", "image", "launch")
    stage.steps.at(call, raising(InUse("it is in use")))

    record = stage.undo(restore, BROKEN)

    assert (record.status, stage.scene()) == (UNDONE, untouched())


def test_a_clone_that_does_not_go_ends_the_step_with_its_deadline_and_is_redriven():
    stage, restore = begun(a_clone(), "hold", "image", "launch")
    stage.ec2.pace = timedelta(hours=2)
    with pytest.raises(DeadlinePassed, match="Undo: not done within 1:00:00"):
        stage.finish("undo", restore)
    stage.clock.advance(timedelta(hours=2))
    stage.ec2.pace = minutes(1)

    stage.finish("undo", restore)

    record = stage.record(restore)
    assert record.status is UNDONE
    assert [one.failed for one in record.steps if one.name == "Undo"] == [True, False]


# ------------------------------------------------------------------------------------ why it was


@pytest.mark.parametrize(
    ("failure", "error", "cause"),
    [
        (
            {"Error": "CheckFailed", "Cause": json.dumps({"errorMessage": "it is impaired"})},
            "CheckFailed",
            "CheckFailed: it is impaired",
        ),
        (
            {"Error": "NotApproved", "Cause": "bob declined it"},
            "NotApproved",
            "NotApproved: bob declined it",
        ),
        ({"Error": "States.Timeout"}, "States.Timeout", "States.Timeout: "),
        ({"Error": "X", "Cause": '["a list"]'}, "X", 'X: ["a list"]'),
        ("not a mapping", "Unknown", "Unknown: the machine was stopped, or ran out of time"),
        (None, "Unknown", "Unknown: the machine was stopped, or ran out of time"),
    ],
)
def test_the_cause_is_told_as_whoever_failed_has_told_it(failure, error, cause):
    stage, restore = begun(a_clone(), "hold")

    answer = stage.finish("undo", restore, {"failure": failure} if failure else {})

    assert (answer["error"], answer["cause"]) == (error, cause)
    assert stage.record(restore).cause == cause


def test_the_reason_that_a_person_gave_comes_before_what_the_machine_knows():
    stage = RestoreStage()
    restore = stage.open(
        a_clone(
            status=RestoreStatus.APPROVING, cancelled_by="bob", cause="bob declined it: not now"
        )
    )

    stage.finish("undo", restore, {"failure": {"Error": "NotApproved", "Cause": "declined"}})

    assert stage.record(restore).cause == "NotApproved: bob declined it: not now"


def test_the_first_cause_stays_when_an_undo_is_redriven():
    stage, restore = begun(a_clone(), "hold", "image", "launch")
    stage.steps.at("ec2.things_of", raising(CallRefused("no")))

    stage.undo(restore, BROKEN)
    stage.finish("undo", restore)

    assert stage.record(restore).cause == f"CheckFailed: {BROKEN}"


# ---------------------------------------------------------------------------------- ends of clones


def test_a_clone_whose_time_was_prolonged_is_left_alone_by_its_first_schedule():
    stage = RestoreStage()
    restore = stage.open(a_clone())
    record = stage.run(restore)
    stage.clock.advance(timedelta(hours=9))
    longer = replace(record, expires_at=stage.clock.now() + minutes(1))
    stage.ledger.change_restore(record, longer)

    assert stage.finish("remove", restore)["done"]
    assert stage.record(restore).status is DONE

    stage.clock.advance(minutes(2))
    stage.finish("remove", restore)
    assert stage.record(restore).status is ENDED


def test_a_restore_that_is_prolonged_as_its_end_begins_is_left_alone():
    stage = RestoreStage()
    restore = stage.open(a_clone())
    record = stage.run(restore)
    stage.clock.advance(timedelta(hours=9))

    def prolong():
        known = stage.record(restore)
        later = stage.clock.now() + timedelta(hours=1)
        stage.ledger.change_restore(known, replace(known, expires_at=later))

    # The first write notes that the step has begun, the second that the restore ends.
    stage.steps.at("ledger.change_restore", prolong, nth=2)

    stage.finish("remove", restore)

    assert record.status is stage.record(restore).status is DONE
    assert "ec2.terminate" not in stage.steps.taken


@pytest.mark.parametrize("status", [UNDONE, ENDED, RestoreStatus.UNDOING, RestoreStatus.RUNNING])
def test_an_end_that_comes_for_a_restore_that_is_not_done_removes_nothing(status):
    stage, restore = begun(a_clone(), "hold", "image", "launch")
    known = stage.record(restore)
    stage.ledger.change_restore(known, replace(known, status=status, expires_at=T0))

    assert stage.finish("remove", restore)["done"]
    assert "ec2.terminate" not in stage.steps.taken


def test_a_hold_that_a_person_put_on_the_safety_point_outlives_the_restore():
    stage, restore = begun(in_place(), *SWAPPED, "check", "hand_over")
    record = stage.record(restore)
    point = stage.ledger.point(record.in_place.safety_point)
    stage.ledger.hold(point.id, replace(point.hold, by="anna", why="audit"))
    stage.clock.advance(timedelta(days=8))

    stage.finish("remove", restore)

    assert stage.ledger.point(point.id).hold.by == "anna"
