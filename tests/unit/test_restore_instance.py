"""The steps that lead forward: killed, doubled, refused, cancelled, or shown too little by EC2."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain.model import MemberState, PointStatus
from lastgood.domain.restoring import STEPS, RestoreStatus, deadline
from lastgood.domain.tags import TEMPORARY
from lastgood.errors import (
    CallRefused,
    Cancelled,
    CannotRestore,
    Conflict,
    DeadlinePassed,
    LimitReached,
    MadeInVain,
    MalformedMessage,
    Unavailable,
    UnknownTarget,
)
from tests.support.builders import SOURCE, T0, a_restore, a_volume, an_instance, minutes
from tests.support.fakes import die, raising
from tests.support.restore_stage import (
    DATA,
    KINDS,
    LAUNCH,
    OTHER,
    RestoreStage,
    a_clone,
    a_drill,
    in_place,
)

DONE, ENDED, UNDONE = RestoreStatus.DONE, RestoreStatus.ENDED, RestoreStatus.UNDONE
LAG = timedelta(seconds=40)
TIDYING = (
    "compute.delete_snapshot",
    "ec2.things_of",
    "ec2.volumes_by_id",
    "ec2.tag",
    "endings.set",
)
"""When they are refused as a restore is handed over, that is told."""
every_kind = pytest.mark.parametrize("kind", KINDS)


def a_stage(kind, lag=timedelta(0)):
    stage = RestoreStage(lag)
    return stage, stage.open(KINDS[kind]())


def undisturbed(kind, lag=timedelta(0)):
    """How it ends: how many calls it took, what there is, and the record."""
    stage, restore = a_stage(kind, lag)
    record = stage.run(restore)
    return len(stage.steps.taken), stage.scene(), record


def made(record):
    return sorted((one.kind, one.removed_at is None) for one in record.made)


# ------------------------------------------------------------------- whatever happens meanwhile


@every_kind
def test_a_function_that_is_killed_before_any_call_is_followed_by_one_that_ends_it_alike(kind):
    calls, scene, end = undisturbed(kind)
    assert end.status in (DONE, ENDED)

    for nth in range(1, calls + 1):
        stage, restore = a_stage(kind)
        stage.steps.at_call(nth, die)

        record = stage.run(restore)

        assert (record.status, made(record)) == (end.status, made(end)), stage.steps.taken[nth - 1]
        assert stage.scene() == scene, stage.steps.taken[nth - 1]


@every_kind
def test_two_at_the_same_step_make_what_one_would_have_made(kind):
    calls, scene, end = undisturbed(kind)

    for nth in range(1, calls + 1):
        stage, restore = a_stage(kind)

        def another(stage=stage, restore=restore):
            latest = stage.record(restore).steps
            step = next(key for key, name in STEPS.items() if latest and latest[-1].name == name)
            stage.call(step, restore)

        # Before the first write of a step, the other one is at the step before.
        stage.steps.at_call(nth, lambda another=another: _harmless(another))

        record = stage.run(restore)

        assert (record.status, made(record)) == (end.status, made(end)), stage.steps.taken[nth - 1]
        assert stage.scene() == scene, stage.steps.taken[nth - 1]


def _harmless(another):
    # Before the first step has begun, there is none for another.
    with suppress(Conflict, StopIteration):
        another()


@every_kind
def test_a_call_that_is_refused_for_good_ends_in_all_or_nothing(kind):
    calls, scene, end = undisturbed(kind, LAG)
    untouched = RestoreStage(LAG).scene()

    for nth in range(1, calls + 1):
        stage, restore = a_stage(kind, LAG)
        stage.steps.at_call(nth, raising(CallRefused("no")))

        record = stage.run(restore)

        assert record.status in (end.status, UNDONE), stage.steps.taken[nth - 1]
        if record.status is DONE and stage.steps.taken[nth - 1] in TIDYING:
            continue
        expected = untouched if record.status is UNDONE else scene
        assert stage.scene() == expected, stage.steps.taken[nth - 1]


@every_kind
def test_a_restore_that_is_cancelled_at_any_call_ends_in_all_or_nothing(kind):
    calls, scene, end = undisturbed(kind, LAG)
    untouched = RestoreStage(LAG).scene()

    for nth in range(1, calls + 1):
        stage, restore = a_stage(kind, LAG)

        def cancel(stage=stage, restore=restore):
            known = stage.record(restore)
            if known.status.forward:
                stage.ledger.change_restore(known, replace(known, cancelled_by="bob"))

        stage.steps.at_call(nth, cancel)

        record = stage.run(restore)

        assert record.status in (end.status, UNDONE), stage.steps.taken[nth - 1]
        expected = untouched if record.status is UNDONE else scene
        assert stage.scene() == expected, stage.steps.taken[nth - 1]


@every_kind
def test_every_step_ends_alike_if_describes_lag_behind(kind):
    _, scene, end = undisturbed(kind)

    _, late, record = undisturbed(kind, LAG)

    assert late == scene
    assert (record.status, made(record)) == (end.status, made(end))


@every_kind
def test_every_step_may_be_called_again_when_it_is_done(kind):
    _, scene, end = undisturbed(kind)
    stage, restore = a_stage(kind)
    finish = stage.finish

    def twice(step, restore, context=None):
        finish(step, restore, context)
        return finish(step, restore, context)

    stage.finish = twice

    record = stage.run(restore)

    assert (record.status, made(record)) == (end.status, made(end))
    assert stage.scene() == scene


@every_kind
def test_no_step_is_left_under_way(kind):
    _, _, record = undisturbed(kind)

    assert [one.name for one in record.steps if one.ended_at is None or one.failed] == []


# ---------------------------------------------------------------------- what is no step of ours


def test_a_step_that_there_is_not_is_named_with_those_that_there_are():
    stage, restore = a_stage("clone")

    with pytest.raises(MalformedMessage, match=r"no step 'lunch' here; there are: .*launch"):
        stage.call("lunch", restore)


def test_a_restore_that_is_not_on_record_is_said_to_be_so():
    with pytest.raises(UnknownTarget, match="there is no restore rs-"):
        RestoreStage().call("begin", a_restore())


@pytest.mark.parametrize("status", [UNDONE, DONE, RestoreStatus.UNDOING])
def test_no_step_leads_forward_once_a_restore_is_past_that(status):
    stage = RestoreStage()
    restore = stage.open(a_clone(status=status))

    with pytest.raises(Cancelled, match=f"it is {status} already"):
        stage.call("launch", restore)

    assert stage.ec2.now.instances.keys() == {SOURCE.id, OTHER}


# ------------------------------------------------------------------------------------ approval


def waiting():
    stage = RestoreStage()
    restore = stage.open(a_clone(status=RestoreStatus.APPROVING, approval=True))
    stage.machine.waiting.add("token")
    return stage, restore


def test_the_machine_waits_if_nobody_has_approved_yet():
    stage, restore = waiting()

    answer = stage.call("ask", restore, token="token")

    assert not answer["done"]
    assert stage.record(restore).token == "token"
    assert stage.machine.approved == []


def test_the_machine_goes_on_at_once_if_it_was_approved_before_it_asked():
    stage, restore = waiting()
    stage.ledger.change_restore(restore, replace(restore, approved_by="bob"))

    stage.call("ask", restore, token="token")

    assert stage.machine.approved == ["token"]


def test_asking_again_with_a_token_that_is_used_up_is_no_error():
    stage, restore = waiting()
    stage.ledger.change_restore(restore, replace(restore, approved_by="bob"))

    for _ in range(2):
        stage.call("ask", restore, token="token")

    assert stage.machine.approved == ["token"]


def test_an_approval_in_the_moment_of_asking_is_not_missed():
    stage, restore = waiting()

    def approve():
        known = stage.record(restore)
        stage.ledger.change_restore(known, replace(known, approved_by="bob"))

    stage.steps.at("ledger.change_restore", approve, nth=2)
    with pytest.raises(Conflict):
        stage.call("ask", restore, token="token")

    # The machine tries again, with another token.
    stage.machine.waiting = {"second"}
    stage.call("ask", restore, token="second")

    assert stage.machine.approved == ["second"]


def test_a_restore_that_was_declined_before_the_machine_asked_ends_there():
    stage, restore = waiting()
    declined = replace(restore, cancelled_by="bob", cause="bob declined it: not now")
    stage.ledger.change_restore(restore, declined)

    with pytest.raises(Cancelled, match="bob declined it: not now"):
        stage.call("ask", restore, token="token")


def test_the_wait_for_approval_is_measured():
    stage, restore = waiting()
    stage.call("ask", restore, token="token")
    stage.clock.advance(timedelta(hours=3))

    stage.finish("hold", restore)

    step = stage.record(restore).step("Wait for approval")
    assert (step.seconds, step.failed) == (10800, False)


# ------------------------------------------------------------------------------------ the point


def test_a_point_that_is_gone_ends_a_restore_at_once_and_for_good():
    stage, restore = a_stage("clone")
    expired = stage.ledger.expire(stage.point, T0, "by hand")
    assert expired.status is PointStatus.EXPIRED

    with pytest.raises(CannotRestore, match="point: "):
        stage.call("hold", restore)


def test_a_copy_whose_outcome_is_unknown_is_made_again_only_when_describes_must_show_it():
    stage, restore = a_stage("clone from elsewhere")
    lost = Unavailable("no reply", timedelta(seconds=1))
    stage.steps.at("compute.copy_snapshot", raising(lost))
    stage.finish("hold", restore)
    with pytest.raises(Unavailable):
        stage.call("copy", restore)

    stage.clock.advance(minutes(2))
    assert not stage.call("copy", restore)["done"]
    assert stage.compute.made == {}

    stage.clock.advance(minutes(1))
    stage.call("copy", restore)
    assert len(stage.compute.made) == 2


def test_copies_that_do_not_fit_now_are_made_later():
    stage, restore = a_stage("clone from elsewhere")
    full = LimitReached("20 copies come here", timedelta(minutes=1))
    stage.steps.at("compute.copy_snapshot", raising(full), nth=2)

    stage.finish("copy", restore)

    assert len(stage.compute.made) == 2
    assert all(one.snapshot for one in stage.record(restore).pieces)


def test_a_copy_that_fails_says_why():
    stage, restore = a_stage("clone from elsewhere")
    stage.call("copy", restore)
    stage.compute.end("snap-002", MemberState.ERROR, "the key is disabled")

    with pytest.raises(MadeInVain, match=r"copy of snap-2 to .* failed: the key is disabled"):
        stage.call("copy", restore)


def test_a_snapshot_that_is_gone_before_it_is_copied_ends_the_restore():
    stage, restore = a_stage("clone from elsewhere")
    stage.compute.refused.add("snap-1")

    with pytest.raises(MadeInVain, match="there is no snap-1 in eu-central-1"):
        stage.call("copy", restore)


# ------------------------------------------------------------------------------------ instances


def test_an_image_that_fails_ends_the_restore():
    stage, restore = a_stage("clone")
    stage.ec2.bad.add("snap-1")

    record = stage.run(restore)

    assert record.status is UNDONE
    assert "is failed" in record.cause
    assert stage.ec2.now.images == {}


def test_an_instance_that_ec2_ends_while_it_starts_tells_of_the_key():
    stage, restore = a_stage("clone")
    stage.ec2.ends_starting = True

    record = stage.run(restore)

    assert record.status is UNDONE
    assert "EC2 ended i-new" in record.cause
    assert "KMS key" in record.cause


def test_a_launch_that_is_never_shown_ends_at_its_deadline():
    stage, restore = a_stage("clone")
    stage.finish("image", restore)
    stage.ec2.lag = timedelta(hours=1)

    with pytest.raises(DeadlinePassed, match="Launch: not done within 0:20:00"):
        stage.finish("launch", restore)

    assert stage.record(restore).step("Launch").failed


@pytest.mark.parametrize("step", ["root", "dress", "hand_over"])
def test_clones_that_are_not_shown_for_a_moment_are_waited_for(step):
    stage, restore = a_stage("licensed clones")
    for one in ("hold", "launch", "root", "dress", "check", "hand_over"):
        if one == step:
            break
        stage.finish(one, restore)
    stage.steps.at("ec2.instances_by_id", lambda: setattr(stage.ec2, "lag", timedelta(hours=1)))

    assert not stage.call(step, restore)["done"]

    stage.ec2.lag = timedelta(0)
    stage.finish(step, restore)


def test_a_root_that_cannot_be_made_is_told_as_such():
    stage, restore = a_stage("licensed clones")
    stage.ec2.bad.add("snap-1")

    record = stage.run(restore)

    assert record.status is UNDONE
    assert "EC2 could not make vol-new" in record.cause


def test_the_roots_that_an_image_came_with_are_gone_when_its_clones_are_dressed():
    stage, restore = a_stage("licensed clones")

    stage.run(restore)
    stage.clock.advance(minutes(5))

    assert [one for one in stage.ec2.now.volumes.values() if not one.attachments] == []


def test_a_protected_clone_is_undone_all_the_same():
    stage = RestoreStage()
    restore = stage.open(a_clone(launch=replace(LAUNCH, termination_protection=True)))
    stage.steps.at("ec2.set_source_dest_check", raising(CallRefused("no")))

    record = stage.run(restore)

    assert record.status is UNDONE
    assert stage.scene() == RestoreStage().scene()


@pytest.mark.parametrize(
    ("kind", "started"), [("licensed clones", True), ("licensed clones", False), ("clone", False)]
)
def test_a_clone_that_has_to_stop_is_protected_from_being_stopped_last(kind, started):
    stage, asked = RestoreStage(), KINDS[kind]()
    launch = replace(asked.launch, stop_protection=True, started=started)
    request = replace(asked.request, started=started)
    restore = stage.open(replace(asked, launch=launch, request=request))

    record = stage.run(restore)

    assert (record.status, record.cause) == (DONE, None)
    assert stage.ec2.unstoppable == set(record.ids("instance"))
    assert "stop protection" not in [one.field for one in record.compared]


def test_user_data_never_runs_on_the_root_that_an_image_came_with():
    stage, asked = RestoreStage(), KINDS["licensed clones"]()
    restore = stage.open(replace(asked, launch=replace(asked.launch, user_data="IyEvYmluL3No")))
    stage.finish("hold", restore)
    stage.finish("launch", restore)
    assert stage.ec2.user_data == {}

    record = stage.run(restore)

    assert record.status is DONE
    assert set(stage.ec2.user_data) == set(record.ids("instance"))


def test_a_swapped_root_outlives_its_clone_if_the_original_would():
    stage, asked = RestoreStage(), KINDS["licensed clones"]()
    root, data = asked.launch.disks
    disks = (replace(root, delete_on_termination=False), data)
    restore = stage.open(replace(asked, launch=replace(asked.launch, disks=disks)))

    record = stage.run(restore)

    world = stage.ec2.now
    roots = [world.instances[one].volumes[root.device] for one in record.ids("instance")]
    flags = [world.volumes[one].attachments[0].delete_on_termination for one in roots]
    assert flags == [False, False]


# ------------------------------------------------------------------------------------- volumes


def test_a_volume_that_ec2_cannot_make_is_told_as_such():
    stage, restore = a_stage("volumes")
    stage.ec2.bad.add("snap-2")

    record = stage.run(restore)

    assert record.status is UNDONE
    assert "EC2 could not make vol-new1: most often the KMS key" in record.cause
    assert "vol-new1" not in stage.ec2.now.volumes


def put_on(stage, instance, device, volume="vol-9"):
    """Somebody attaches a volume of his own, in place of what is there."""

    def change(world):
        old = world.instances[instance].volumes.get(device)
        if old:
            world.free(old)
        world.volumes[volume] = a_volume(volume)
        world.attach(volume, instance, device, deleted_with=False)
        world.on_device(instance, device, volume)

    stage.ec2.change(change)


def test_a_device_that_was_taken_meanwhile_is_left_alone():
    stage, restore = a_stage("volumes")
    stage.finish("volumes", restore)
    put_on(stage, OTHER, "/dev/sdg")

    with pytest.raises(MadeInVain, match="/dev/sdg of i-0b has vol-9, which was not there"):
        stage.call("attach", restore)

    stage.clock.advance(minutes(5))
    assert stage.ec2.now.instances[OTHER].volumes["/dev/sdg"] == "vol-9"


def test_an_instance_that_is_gone_cannot_be_given_a_volume():
    stage, restore = a_stage("volumes")
    stage.finish("volumes", restore)
    stage.ec2.terminate([OTHER])

    with pytest.raises(MadeInVain, match="i-0b is gone"):
        stage.call("attach", restore)


# ------------------------------------------------------------------------------------- in place


def up_to(stage, restore, step):
    for one in ("begin", "hold", "volumes", "stop", "safety", "swap", "start", "check"):
        if one == step:
            return
        stage.finish(one, restore)


def test_an_instance_that_somebody_started_is_stopped_again_before_volumes_are_taken_out():
    stage, restore = a_stage("in place")
    up_to(stage, restore, "swap")
    stage.ec2.start(SOURCE.id)
    stage.clock.advance(minutes(1))

    stage.finish("swap", restore)

    assert stage.ec2.torn == []
    assert set(stage.ec2.now.instances[SOURCE.id].volumes.values()) == {"vol-new1", "vol-new2"}


@pytest.mark.parametrize("step", ["stop", "swap"])
def test_an_instance_that_nobody_allowed_to_stop_is_not_stopped(step):
    stage = RestoreStage()
    stage.ec2.put(an_instance(state="stopped"))
    asked = in_place()
    plan = replace(asked.in_place, was_running=False)
    restore = stage.open(replace(asked, in_place=plan, request=replace(asked.request, stop=False)))
    up_to(stage, restore, step)
    stage.ec2.start(SOURCE.id)
    stage.clock.advance(minutes(1))

    with pytest.raises(MadeInVain, match="i-0a was started meanwhile; ask again with stop=true"):
        stage.call(step, restore)
    record = stage.undo(restore, MadeInVain("i-0a was started meanwhile"))

    assert record.status is UNDONE
    source = stage.ec2.now.instances[SOURCE.id]
    assert (source.state, set(source.volumes.values())) == ("running", {"vol-1", "vol-2"})
    assert "ec2.stop" not in stage.steps.taken


def test_a_volume_that_somebody_put_in_meanwhile_is_not_taken_out():
    stage, restore = a_stage("in place")
    up_to(stage, restore, "swap")
    put_on(stage, SOURCE.id, DATA)

    with pytest.raises(MadeInVain, match="/dev/sdf of i-0a has vol-9, which was not there"):
        stage.call("swap", restore)


@pytest.mark.parametrize("ends", ["failed", "failed-detached"])
def test_a_root_that_ec2_could_not_replace_is_put_back(ends):
    stage, restore = a_stage("root by task")
    stage.ec2.task_ends = ends

    record = stage.run(restore)

    assert record.status is UNDONE
    assert f"could not replace the root volume: replacevol-new1 is {ends}" in record.cause
    scene = stage.scene()
    assert scene == RestoreStage().scene()


def test_a_replacement_is_asked_for_once_however_often_the_step_is_called():
    stage, restore = a_stage("root by task")
    stage.ec2.lag = LAG

    stage.finish("replace", restore)

    assert len(stage.ec2.now.tasks) == 1


def test_the_safety_point_has_the_time_at_which_it_was_taken():
    stage = RestoreStage()
    restore = stage.open(in_place())
    stage.clock.advance(timedelta(hours=20))

    stage.finish("safety", restore)

    (request,) = stage.queue.requests
    assert request.slot == T0 + timedelta(hours=20, seconds=1)
    assert request.bare


def test_the_safety_point_is_none_of_those_that_the_policy_takes_at_that_minute():
    stage, restore = a_stage("in place")

    stage.finish("safety", restore)

    assert stage.record(restore).in_place.safety_point != stage.point.id


def test_a_safety_point_that_fails_changes_nothing():
    stage, restore = a_stage("in place")
    stage.queue.send = lambda _: 0
    stage.call("safety", restore)
    (id_,) = {stage.record(restore).in_place.safety_point}
    point = replace(stage.point, id=id_, status=PointStatus.FAILED, cause="the key is disabled")
    stage.ledger.rebuild(point)

    with pytest.raises(MadeInVain, match=f"safety point {id_} failed: the key is disabled"):
        stage.call("safety", restore)


def test_a_safety_point_that_nobody_takes_ends_at_its_deadline():
    stage, restore = a_stage("in place")
    stage.queue.send = lambda _: 0

    with pytest.raises(DeadlinePassed):
        stage.finish("safety", restore)

    passed = stage.clock.now() - restore.asked_at
    assert deadline("Take a safety point") - minutes(6) < passed
    assert passed <= deadline("Take a safety point")


def test_a_stopped_instance_stays_stopped():
    stage = RestoreStage()
    stage.ec2.put(an_instance(state="stopped"))
    plan = replace(in_place().in_place, was_running=False)
    restore = stage.open(in_place(in_place=plan))

    record = stage.run(restore)

    assert (record.status, record.cause) == (DONE, None)
    assert stage.ec2.now.instances[SOURCE.id].state == "stopped"


# ----------------------------------------------------------------------------------- the end


def test_the_end_is_counted_from_the_first_time_that_it_was_handed_over():
    stage, restore = a_stage("clone")
    for step in ("hold", "image", "launch", "dress", "check"):
        stage.finish(step, restore)
    first = stage.clock.now()
    stage.steps.at("ledger.free_from_restore", raising(Unavailable("no", minutes(1))))
    with pytest.raises(Unavailable):
        stage.call("hand_over", restore)
    stage.clock.advance(minutes(30))

    stage.finish("hand_over", restore)

    assert stage.record(restore).expires_at == first + timedelta(hours=8)
    assert stage.endings.set_for == {restore.id: first + timedelta(hours=8)}


def test_a_volume_that_was_swapped_out_and_deleted_by_hand_does_not_undo_the_restore():
    stage, restore = a_stage("in place")
    up_to(stage, restore, "hand over")
    stage.ec2.delete_volume("vol-2")
    stage.clock.advance(minutes(1))

    stage.finish("hand_over", restore)

    assert stage.record(restore).status is DONE
    assert stage.ec2.now.volumes["vol-1"].tags[TEMPORARY] == restore.id


def test_a_clone_that_is_not_to_run_is_handed_over_when_it_has_stopped():
    stage = RestoreStage()
    request = replace(a_clone().request, started=False)
    restore = stage.open(a_clone(request=request))

    stage.run(restore)

    (clone,) = stage.record(restore).ids("instance")
    assert stage.ec2.now.instances[clone].state == "stopped"


def test_a_point_is_proved_by_a_drill_that_passed():
    stage = RestoreStage()
    restore = stage.open(a_drill())

    stage.run(restore)

    proof = stage.ledger.point(restore.point).proof
    assert proof.restore == restore.id
    assert proof.how == "instance and system status ok; no command was asked for"


def test_the_time_that_people_took_to_approve_is_no_time_to_recovery():
    stage = RestoreStage()
    restore = stage.open(replace(a_drill(), status=RestoreStatus.APPROVING, approval=True))
    stage.call("ask", restore, token="token")
    stage.clock.advance(timedelta(hours=5))

    stage.run(restore)

    proof = stage.ledger.point(restore.point).proof
    assert 0 < proof.seconds < 600


NO = raising(CallRefused("not allowed"))


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        ("clone from elsewhere", "compute.delete_snapshot", "the copy snap-001 stays"),
        ("clone from elsewhere", "ec2.things_of", "the copies of its snapshots stay"),
        ("in place", "ec2.tag", "the volumes that were replaced are not marked, and stay"),
        ("clone", "endings.set", "nothing is scheduled for its end, which only a sweep sees to"),
        ("clone", "ledger.free_from_restore", "pt-c6c6242f491cff479918 is still kept for it"),
    ],
)
def test_what_was_checked_is_not_undone_because_of_what_is_to_be_tidied(kind, call, words):
    stage, restore = a_stage(kind)
    original = stage.finish

    def finish(step, restore, context=None):
        if step == "hand_over":
            stage.steps.at(call, NO)
        return original(step, restore, context)

    stage.finish = finish

    record = stage.run(restore)

    assert record.status is DONE
    assert f"; {words}: not allowed" in stage.news.told[-1]


def test_a_copy_that_could_not_be_deleted_is_on_record_as_there():
    stage, restore = a_stage("clone from elsewhere")
    stage.steps.at("compute.delete_snapshot", NO)

    record = stage.run(restore)

    assert record.ids("snapshot") == tuple(stage.compute.made)


@pytest.mark.parametrize("call", ["ec2.launch_attributes", "ec2.volumes_by_id"])
def test_a_comparison_that_cannot_be_made_is_a_line_of_it(call):
    stage, restore = a_stage("clone")
    for step in ("hold", "image", "launch", "dress", "check"):
        stage.finish(step, restore)
    stage.steps.at(call, NO)

    stage.finish("hand_over", restore)

    record = stage.record(restore)
    assert record.status is DONE
    assert [one.why for one in record.compared] == ["they could not be compared: not allowed"]


def test_a_comparison_that_is_too_large_to_be_written_is_a_line_of_it():
    stage, restore = a_stage("clone")
    for step in ("hold", "image", "launch", "dress", "check"):
        stage.finish(step, restore)
    # The first write notes that the step has begun.
    stage.steps.at("ledger.change_restore", NO, nth=2)

    stage.finish("hand_over", restore)

    record = stage.record(restore)
    assert (record.status, len(record.compared), record.same) == (DONE, 1, ())


def test_that_it_is_done_is_told_once_it_is_written_and_again_if_nobody_may_know():
    stage, restore = a_stage("clone")
    for step in ("hold", "image", "launch", "dress", "check"):
        stage.finish(step, restore)
    stage.steps.at("news.announce", die)

    stage.finish("hand_over", restore)

    assert stage.record(restore).status is DONE
    assert [one for one in stage.news.told if one.startswith("is done")] == [stage.news.told[-1]]
