"""What people ask about restores: said twice, said too early, said by two, cut off half way."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain.model import PointStatus
from lastgood.domain.names import restore_id
from lastgood.domain.policy import Mode, Restores
from lastgood.domain.restoring import RestoreStatus
from lastgood.domain.tags import TEMPORARY
from lastgood.errors import Throttled, Unavailable
from tests.cloud.killed import Killed
from tests.support.builders import SOURCE, minutes
from tests.support.fakes import die, raising
from tests.support.restore_stage import AWAY, RestoreStage, a_clone, in_place

DONE, ENDED, UNDONE = RestoreStatus.DONE, RestoreStatus.ENDED, RestoreStatus.UNDONE
HOUR = timedelta(hours=1)
APPROVING = Restores(approval=(Mode.CLONE,))
REQUESTS = {
    "clone": {},
    "volumes": {"mode": "volumes", "zone": "eu-west-1b"},
    "in place": {"mode": "in_place", "stop": "true"},
    "drill": {"mode": "drill"},
}
every_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def done(restore=None):
    """A restore that has done what was asked for."""
    stage = RestoreStage()
    restore = stage.open(restore or a_clone())
    stage.run(restore)
    return stage, restore


def waiting(*, asked=True):
    """A restore for which a person must speak; ``asked``: the machine waits for him."""
    stage = RestoreStage(rules=APPROVING)
    answer = stage.ask(source=SOURCE.id)
    restore = stage.ledger.restore(answer.restore)
    if asked:
        stage.machine.waiting.add("token")
        stage.call("ask", restore, token="token")
    return stage, restore


def of(stage, restore, action, **given):
    return stage.ask(action=action, restore=restore.id, **given)


# ------------------------------------------------------------------------------------ beginning


@every_request
def test_a_request_that_is_cut_off_before_any_call_is_made_good_by_the_next(request_):
    whole = RestoreStage()
    answer = whole.ask(source=SOURCE.id, **request_)
    calls = len(whole.steps.taken)
    assert whole.machine.started == [(answer.restore, "begin")]

    for nth in range(1, calls + 1):
        stage = RestoreStage()
        stage.steps.at_call(nth, die)
        with pytest.raises(Killed):
            stage.ask(source=SOURCE.id, **request_)

        again = stage.ask(source=SOURCE.id, **request_)

        assert (again.restore, again.status) == (answer.restore, answer.status)
        assert stage.machine.started == [(answer.restore, "begin")]
        assert stage.news.told[-1] == "has begun"


def test_a_request_that_comes_while_the_first_is_at_work_begins_nothing_more():
    stage = RestoreStage()
    stage.steps.at("ledger.open_restore", lambda: stage.ask(source=SOURCE.id) and None)

    answer = stage.ask(source=SOURCE.id)

    assert stage.machine.started == [(answer.restore, "begin")]


def test_another_request_of_the_same_name_that_comes_in_between_is_refused():
    stage = RestoreStage()
    other = {"source": SOURCE.id, "type": "m6i.xlarge"}
    stage.steps.at("ledger.open_restore", lambda: stage.ask(**other) and None)

    answer = stage.ask(source=SOURCE.id)

    assert answer.status == "refused"
    assert "was used for another request" in answer.problems[0]


def test_two_in_place_at_one_time_are_not_begun():
    stage = RestoreStage()
    request = {"source": SOURCE.id, "mode": "in_place", "stop": "true"}
    stage.steps.at("ledger.open_restore", lambda: stage.ask(**request, request_id="other") and None)

    answer = stage.ask(**request)

    assert answer.status == "refused"
    assert restore_id("other") in answer.problems[0]
    assert stage.machine.started == [(restore_id("other"), "begin")]


@every_request
def test_a_dry_run_makes_nothing_and_says_what_a_restore_would_make(request_):
    stage = RestoreStage()

    dry = stage.ask(source=SOURCE.id, dry_run="true", **request_)
    wet = stage.ask(source=SOURCE.id, **request_)

    assert (dry.status, dry.restore, dry.makes) == ("planned", "", wet.makes)
    assert stage.machine.started == [(wet.restore, "begin")]


@every_request
def test_what_is_asked_for_comes_to_its_end(request_):
    stage = RestoreStage()

    answer = stage.ask(source=SOURCE.id, **request_)

    record = stage.run(stage.ledger.restore(answer.restore))
    assert record.status is (ENDED if request_.get("mode") == "drill" else DONE)
    assert record.cause is None


def renamed():
    """The source was web-1 when it was taken; now it is another Name, and web-1 another source."""
    stage = RestoreStage()
    ours = stage.ec2.now.instances[SOURCE.id]
    stage.ledger.note_name("web-1", SOURCE, stage.clock.now())
    stage.ec2.put(
        replace(ours, tags={**ours.tags, "Name": "web-1-old"}),
        replace(ours, id="i-0c", tags={"Name": "web-1"}, volumes={}),
    )
    return stage


def test_an_instance_that_had_the_name_once_is_not_restored_in_place_by_it():
    stage = renamed()

    by_name = stage.ask(source="web-1", mode="in_place", stop="true")
    by_id = stage.ask(source=SOURCE.id, mode="in_place", stop="true")

    assert by_name.problems == (
        "source: i-0a had the Name 'web-1' once, and has web-1-old now; name it by its id",
    )
    assert by_id.status == "running"


def test_a_clone_by_a_name_that_is_anothers_now_says_whose_it_is():
    answer = renamed().ask(source="web-1")

    assert answer.source == SOURCE.id
    assert answer.notes[0] == (
        "'web-1' is the Name of i-0c now, of which there is no recovery point: i-0a is meant, "
        "whose points have it"
    )


def test_a_clone_does_not_wait_for_iam():
    stage = RestoreStage()
    dark = Unavailable("no answer", timedelta(minutes=1))
    stage.steps.at("ec2.has_profile", raising(dark))

    answer = stage.ask(source=SOURCE.id, instance_profile="app")

    assert answer.status == "running"
    assert stage.ledger.restore(answer.restore).launch.instance_profile == "app"
    assert any("could not be looked up" in one for one in answer.notes)


# ------------------------------------------------------------------------------------- approval


def test_an_approval_reaches_the_machine_that_waits():
    stage, restore = waiting()

    answer = of(stage, restore, "approve", by="bob")

    assert stage.machine.approved == ["token"]
    assert "is approved by bob" in answer.text


def two_policies(others, **facts):
    """Of the two points, the older one is of another policy."""
    stage = RestoreStage(others=others)
    older = {"policy": "other", "id": "pt-" + "0" * 20, "slot": stage.point.slot - HOUR}
    stage.ledger.rebuild(replace(stage.point, **older | facts))
    return stage


def test_a_policy_of_any_point_may_want_a_second_person():
    stage = two_policies({"other": APPROVING})

    answer = stage.ask(source=SOURCE.id)

    assert (answer.status, answer.approval) == ("approving", True)
    assert "not deployed" not in " ".join(answer.notes)


def test_what_a_policy_wants_that_is_not_deployed_any_more_is_not_known_so_a_second_person_counts():
    stage = two_policies({})

    answer = stage.ask(source=SOURCE.id, mode="drill")

    assert (answer.status, answer.approval) == ("approving", True)
    assert answer.notes[0] == (
        "a second person must approve it: the policy other of some of its points is not deployed "
        "any more, so what it says of that is not known"
    )


def test_a_point_that_is_gone_wants_nobody():
    stage = two_policies({}, status=PointStatus.DELETED)

    assert stage.ask(source=SOURCE.id).status == "running"


def test_an_approval_may_come_before_the_machine_asks():
    stage, restore = waiting(asked=False)
    of(stage, restore, "approve", by="bob")
    stage.machine.waiting.add("token")

    stage.call("ask", restore, token="token")

    assert stage.machine.approved == ["token"]


@pytest.mark.parametrize("by", ["anna", "Anna", ""])
def test_nobody_approves_his_own_request_or_without_a_name(by):
    stage, restore = waiting()

    answer = of(stage, restore, "approve", by=by)

    assert (answer.status, answer.error) == ("refused", "NotPermitted")
    assert stage.machine.approved == []


def test_an_approval_that_did_not_reach_the_machine_does_when_it_is_said_again():
    stage, restore = waiting()
    stage.steps.at("machine.approve", raising(Throttled("slow down", HOUR)))
    with pytest.raises(Throttled):
        of(stage, restore, "approve", by="bob")

    of(stage, restore, "approve", by="carol")

    assert stage.machine.approved == ["token"]
    assert stage.record(restore).approved_by == "bob"


def test_an_approval_that_is_said_again_is_no_error():
    stage, restore = waiting()

    first, second = (of(stage, restore, "approve", by="bob") for _ in range(2))

    assert (first.status, second.status) == ("approving", "approving")
    assert stage.machine.approved == ["token"]


def test_a_restore_is_declined_with_the_reason():
    stage, restore = waiting()

    of(stage, restore, "decline", by="bob", reason="not today")

    assert stage.machine.declined == {"token": "bob declined it: not today"}
    assert stage.record(restore).cause == "bob declined it: not today"


def test_what_was_declined_cannot_be_approved_any_more_and_what_was_approved_can_be_declined():
    stage, restore = waiting(asked=False)
    of(stage, restore, "approve", by="bob")
    of(stage, restore, "decline", by="carol")

    answer = of(stage, restore, "approve", by="bob")

    assert answer.status == "refused"
    record = stage.run(restore)
    assert (record.status, record.cause) == (UNDONE, "Cancelled: carol declined it")


@pytest.mark.parametrize(
    ("action", "words"), [("decline", "anna declined it"), ("cancel", "anna cancelled it")]
)
def test_a_no_that_did_not_reach_the_machine_does_when_it_is_said_again(action, words):
    stage, restore = waiting()
    stage.steps.at("machine.decline", die)
    with pytest.raises(Killed):
        of(stage, restore, action)

    answer = of(stage, restore, action)

    assert answer.status == "approving"
    assert words in answer.text
    assert stage.machine.declined == {"token": words}


def test_a_no_of_one_is_not_said_again_by_another():
    stage, restore = waiting()
    of(stage, restore, "decline", by="bob")

    answer = of(stage, restore, "decline", by="carol")

    assert answer.problems == (f"restore: {restore.id} does not wait for approval",)
    assert stage.record(restore).cancelled_by == "bob"


# ---------------------------------------------------------------------------------- being stopped


def test_a_restore_that_is_cancelled_twice_names_the_first():
    stage = RestoreStage()
    restore = stage.open(a_clone())

    of(stage, restore, "cancel", by="bob")
    of(stage, restore, "cancel", by="carol")

    record = stage.run(restore)
    assert (record.status, record.cause) == (UNDONE, "Cancelled: bob cancelled it")


@pytest.mark.parametrize("status", [DONE, UNDONE, ENDED])
def test_what_is_over_cannot_be_cancelled(status):
    stage = RestoreStage()
    restore = stage.open(a_clone(status=status))

    answer = of(stage, restore, "cancel")

    assert answer.problems == (
        f"restore: {restore.id} is {status}; what is done is ended by remove",
    )


def test_a_change_in_the_same_moment_is_told_as_such():
    stage = RestoreStage()
    restore = stage.open(a_clone())
    stage.steps.at("ledger.change_restore", lambda: stage.call("begin", restore) and None)

    answer = of(stage, restore, "cancel")

    assert answer.problems == (f"restore: {restore.id} was changed meanwhile; look at it again",)


# ------------------------------------------------------------------------------------ their lives


def test_a_clone_lives_as_long_as_was_said_last():
    stage, restore = done()

    of(stage, restore, "extend", time_to_live="24h")
    of(stage, restore, "extend", time_to_live="2h")

    ends = stage.clock.now() + 2 * HOUR
    assert stage.record(restore).expires_at == ends
    assert stage.endings.set_for == {restore.id: ends}


def test_a_clone_that_is_kept_can_neither_be_extended_nor_removed():
    stage, restore = done()
    of(stage, restore, "keep")
    stage.clock.advance(9 * HOUR)

    answers = [
        of(stage, restore, action, **given)
        for action, given in (("extend", {"time_to_live": "1h"}), ("remove", {}))
    ]

    assert [one.status for one in answers] == ["refused"] * 2
    assert stage.finish("remove", restore)["done"]
    (clone,) = stage.record(restore).ids("instance")
    assert stage.ec2.now.instances[clone].state == "running"
    assert TEMPORARY not in stage.ec2.now.instances[clone].tags
    assert stage.endings.set_for == {}


def test_what_has_begun_to_end_is_not_kept_and_loses_nothing_by_which_it_ends():
    stage, restore = done()
    stage.clock.advance(9 * HOUR)
    stage.steps.at("ledger.change_restore", lambda: stage.call("remove", restore) and None)

    answer = of(stage, restore, "keep")

    assert answer.problems == (f"restore: {restore.id} was changed meanwhile; look at it again",)
    stage.finish("remove", restore)
    (clone,) = [one.id for one in stage.record(restore).made if one.kind == "instance"]
    assert stage.ec2.now.instances[clone].state == "terminated"


def test_a_clone_that_is_kept_again_is_untagged_again_and_loses_its_schedule():
    stage, restore = done()
    stage.steps.at("ec2.untag", die)
    with pytest.raises(Killed):
        of(stage, restore, "keep")
    (clone,) = stage.record(restore).ids("instance")
    assert TEMPORARY in stage.ec2.now.instances[clone].tags

    answer = of(stage, restore, "keep")

    assert answer.status == "done"
    assert TEMPORARY not in stage.ec2.now.instances[clone].tags
    assert stage.endings.set_for == {}


def test_a_clone_that_is_removed_can_be_asked_about_and_not_kept():
    stage, restore = done()
    of(stage, restore, "remove")
    stage.finish("remove", restore)

    assert of(stage, restore, "remove").status == "ended"
    assert of(stage, restore, "keep").problems == (f"restore: {restore.id} is ended, not done",)
    assert of(stage, restore, "extend", time_to_live="1h").status == "refused"


def test_a_clone_that_is_extended_once_its_removal_was_asked_for_stays():
    stage, restore = done()
    of(stage, restore, "remove")
    of(stage, restore, "extend", time_to_live="1h")

    stage.finish("remove", restore)

    assert stage.record(restore).status is DONE


def test_a_restore_that_is_under_way_is_cancelled_and_not_removed():
    stage = RestoreStage()
    restore = stage.open(a_clone())

    answer = of(stage, restore, "remove")

    assert answer.problems == (f"restore: {restore.id} is under way; cancel it",)


@pytest.mark.parametrize(
    ("action", "given"), [("extend", {"time_to_live": "3h"}), ("keep", {}), ("remove", {})]
)
def test_a_word_that_is_cut_off_before_any_call_is_good_when_it_is_said_again(action, given):
    def end(stage, restore):
        stage.clock.advance(2 * HOUR)
        stage.finish("remove", restore)
        return stage.record(restore).status, stage.scene()

    stage, restore = done()
    before = len(stage.steps.taken)
    of(stage, restore, action, **given)
    calls = len(stage.steps.taken) - before
    expected = end(stage, restore)

    for nth in range(1, calls + 1):
        stage, restore = done()
        stage.steps.at_call(nth, die)
        with pytest.raises(Killed):
            of(stage, restore, action, **given)

        of(stage, restore, action, **given)

        status, scene = end(stage, restore)
        # A schedule that comes too late finds nothing to do.
        assert (status, {**scene, "endings": []}) == (
            expected[0],
            {**expected[1], "endings": []},
        ), stage.steps.taken[before + nth - 1]


@pytest.mark.parametrize("action", ["extend", "keep", "cancel", "remove", "approve", "decline"])
def test_a_restore_of_another_region_is_told_of_and_left_to_the_function_there(action):
    stage = RestoreStage()
    restore = stage.open(a_clone(region=AWAY.region, place=AWAY))
    given = {"time_to_live": "1h"} if action == "extend" else {}

    answer = of(stage, restore, action, **given)

    assert answer.problems == ("restore: it is of eu-central-1; ask the function there",)
    assert stage.record(restore) == restore
    assert of(stage, restore, "status").restore == restore.id


def test_a_request_id_that_was_used_in_another_region_is_refused():
    stage = RestoreStage()
    begun = stage.ask(source=SOURCE.id)
    stage.ledger.change_restore(
        known := stage.ledger.restore(begun.restore), replace(known, region=AWAY.region)
    )

    answer = stage.ask(source=SOURCE.id)

    assert answer.problems == (
        f"request_id: request-1 was used in eu-central-1 ({begun.restore}); give a new one",
    )


def test_the_volumes_that_were_swapped_out_are_kept_if_somebody_says_so():
    stage, restore = done(in_place())
    of(stage, restore, "keep")
    stage.clock.advance(timedelta(days=8))

    stage.finish("remove", restore)

    left = stage.ec2.now.volumes
    assert [TEMPORARY in left[one].tags for one in ("vol-1", "vol-2")] == [False, False]


# --------------------------------------------------------------------------------------- answers


def test_a_fault_of_aws_is_no_refusal():
    stage = RestoreStage()
    stage.steps.at("ledger.open_restore", raising(Unavailable("no reply", minutes(1))))

    with pytest.raises(Unavailable):
        stage.ask(source=SOURCE.id)


def test_a_refusal_is_told_to_chat_which_may_have_stopped_to_wait():
    stage = RestoreStage()

    stage.ask(source="i-unknown", via="chat")
    stage.ask(source="i-unknown", via="cli")

    assert len(stage.news.refused) == 1
    assert "i-unknown" in stage.news.refused[0]


def test_the_status_of_a_source_is_that_of_its_latest_restores():
    stage, restore = done()
    other = replace(a_clone(), id="rs-later", asked_at=restore.asked_at + HOUR)
    stage.ledger.open_restore(other)

    answer = stage.ask(action="status", source=SOURCE.id)

    assert answer.restore == "rs-later"
    assert restore.id in answer.text
