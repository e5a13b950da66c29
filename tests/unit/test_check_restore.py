"""Whether what was restored works: what a check waits for, and what it says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain.restoring import CommandCheck, InPlace, RestoreStatus
from lastgood.errors import Cancelled, CheckFailed, DeadlinePassed, Unavailable
from lastgood.ports import CommandResult, Health
from tests.support.builders import SOURCE, an_instance, minutes
from tests.support.fakes import die, raising
from tests.support.restore_stage import (
    LAUNCH,
    SWAPS,
    RestoreStage,
    a_clone,
    in_place,
    root_by_task,
    volumes,
)

IMPAIRED = Health(instance="impaired", system="ok")
STARTING = Health(instance="initializing", system="ok")
COMMAND = CommandCheck(commands=("systemctl is-active nginx", "df -h"))
PENDING = CommandResult(over=False, status="Pending")


def launched(check=None, **given):
    """A clone that runs, whose check is about to begin."""
    stage = RestoreStage()
    asked = a_clone(**given)
    restore = stage.open(replace(asked, request=replace(asked.request, check=check)))
    for step in ("hold", "image", "launch", "dress"):
        stage.finish(step, restore)
    return stage, restore


def clone_of(stage, restore):
    return stage.record(restore).ids("instance")[0]


def failed_with(stage, restore):
    with pytest.raises(CheckFailed) as caught:
        stage.finish("check", restore)
    return str(caught.value)


# ------------------------------------------------------------------------------------- the status


def test_a_clone_without_a_command_is_checked_by_its_status():
    stage, restore = launched()

    stage.finish("check", restore)

    found = stage.record(restore).evidence
    assert (found.passed, found.status) == (True, "instance and system status ok")
    assert found.only_status == "no command was asked for"


def test_every_clone_must_be_well():
    stage, restore = launched(launch=replace(LAUNCH, count=2))
    _, other = stage.record(restore).ids("instance")
    stage.ec2.unhealthy = {other: STARTING}

    assert not stage.call("check", restore)["done"]

    stage.ec2.unhealthy = {}
    assert stage.call("check", restore)["done"]


def test_a_clone_that_is_not_shown_yet_is_waited_for():
    stage, restore = launched()
    stage.ec2.lag = timedelta(hours=1)

    assert not stage.call("check", restore)["done"]


def test_a_clone_may_be_impaired_for_a_moment_as_it_starts():
    stage, restore = launched()
    stage.ec2.unhealthy = {clone_of(stage, restore): IMPAIRED}
    stage.call("check", restore)
    stage.clock.advance(minutes(5))
    assert not stage.call("check", restore)["done"]

    stage.ec2.unhealthy = {}

    assert stage.call("check", restore)["done"]


def test_a_clone_that_stays_impaired_has_failed_and_the_evidence_is_kept():
    stage, restore = launched()
    clone = clone_of(stage, restore)
    stage.ec2.unhealthy = {clone: IMPAIRED}

    words = failed_with(stage, restore)

    assert words == f"status checks: {clone}: instance impaired, system ok"
    found = stage.record(restore).evidence
    assert (found.passed, found.status) == (False, f"{clone}: instance impaired, system ok")


def test_a_clone_that_never_gets_well_ends_at_the_deadline():
    stage, restore = launched()
    stage.ec2.unhealthy = {clone_of(stage, restore): STARTING}

    with pytest.raises(DeadlinePassed, match="Check: not done within"):
        stage.finish("check", restore)


def test_a_clone_that_is_gone_is_not_waited_for():
    stage, restore = launched()
    clone = clone_of(stage, restore)
    stage.ec2.terminate([clone])

    assert failed_with(stage, restore) == f"{clone} is shutting-down"


def test_an_instance_that_did_not_run_is_not_checked():
    stage = RestoreStage()
    stage.ec2.put(an_instance(state="stopped"))
    plan = InPlace(instance=SOURCE.id, was_running=False, swaps=SWAPS)
    restore = stage.open(in_place(in_place=plan))

    assert stage.call("check", restore)["done"]
    assert stage.record(restore).evidence.status.startswith("stopped, as it was")


def test_the_source_itself_is_checked_when_it_was_restored_in_place():
    stage = RestoreStage()
    restore = stage.open(in_place())
    stage.ec2.unhealthy = {SOURCE.id: IMPAIRED}

    assert failed_with(stage, restore) == "status checks: i-0a: instance impaired, system ok"


def test_the_status_of_a_root_that_was_replaced_is_not_believed():
    stage = RestoreStage()
    restore = stage.open(root_by_task())
    for step in ("hold", "volumes", "safety", "replace"):
        stage.finish(step, restore)
    replaced = stage.record(restore).step("Replace the root volume").ended_at

    assert not stage.call("check", restore)["done"]
    stage.finish("check", restore)

    assert stage.record(restore).evidence.at >= replaced + minutes(3)


def test_volumes_have_nothing_that_could_be_checked():
    stage = RestoreStage()
    restore = stage.open(volumes())

    assert stage.call("check", restore)["done"]
    assert stage.record(restore).evidence.status.startswith("volumes made")


# ------------------------------------------------------------------------------------ the command


def test_what_a_command_wrote_is_kept_as_evidence():
    stage, restore = launched(check=COMMAND)
    stage.commands.answers = [None, PENDING, CommandResult(over=True, ok=True, output="active")]

    stage.finish("check", restore)

    found = stage.record(restore).evidence
    assert (found.passed, found.output) == (True, "active")
    assert found.command == "systemctl is-active nginx\ndf -h"
    assert stage.commands.sent == [clone_of(stage, restore)]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (CommandResult(over=True, output="inactive", status="Failed"), "Failed: inactive"),
        (CommandResult(over=True, status="Delivery Timed Out"), "Delivery Timed Out: no output"),
        (CommandResult(over=True, status="Cancelled"), "Cancelled: no output"),
    ],
)
def test_a_command_that_does_not_end_well_fails_the_check(result, words):
    stage, restore = launched(check=COMMAND)
    stage.commands.answers = [result]

    told = failed_with(stage, restore)

    assert told == f"the command on {clone_of(stage, restore)} ended with {words}"
    assert stage.record(restore).evidence.output == result.output


@pytest.mark.parametrize("answer", [None, PENDING])
def test_a_command_that_does_not_end_is_ended_by_the_deadline(answer):
    stage, restore = launched(check=COMMAND)
    stage.commands.answers = [answer]

    with pytest.raises(DeadlinePassed):
        stage.finish("check", restore)

    assert len(stage.commands.sent) == 1


def test_an_agent_that_reports_late_is_waited_for():
    stage, restore = launched(check=COMMAND)
    stage.commands.reaches = False
    assert not stage.call("check", restore)["done"]
    stage.clock.advance(minutes(4))
    assert not stage.call("check", restore)["done"]

    stage.commands.reaches = True
    stage.finish("check", restore)

    assert stage.record(restore).evidence.output == "fine"


def test_a_clone_that_ssm_never_reaches_is_checked_by_its_status_only_and_says_so():
    stage, restore = launched(check=COMMAND)
    stage.commands.reaches = False

    stage.finish("check", restore)

    found = stage.record(restore).evidence
    assert found.passed
    assert found.only_status == f"status only: SSM does not reach {clone_of(stage, restore)}"
    assert stage.clock.now() - restore.asked_at >= minutes(5)


@pytest.mark.parametrize("before", [True, False])
def test_a_source_that_ssm_reached_before_must_be_reached_again(before):
    stage, asked = RestoreStage(), in_place()
    restore = stage.open(replace(asked, request=replace(asked.request, check=COMMAND)))
    stage.commands.reaches = before
    for step in ("hold", "volumes", "stop", "safety", "swap", "start"):
        stage.finish(step, restore)
    stage.commands.reaches = False

    if before:
        assert failed_with(stage, restore) == "SSM reached i-0a before, and does not any more"
    else:
        stage.finish("check", restore)
        assert stage.record(restore).evidence.only_status.startswith("status only")


# ------------------------------------------------------------------------- killed, called again


def test_a_check_that_is_killed_before_any_call_ends_alike():
    stage, restore = launched(check=COMMAND)
    before = len(stage.steps.taken)
    stage.finish("check", restore)
    calls = len(stage.steps.taken) - before
    evidence = stage.record(restore).evidence

    for nth in range(1, calls + 1):
        stage, restore = launched(check=COMMAND)
        stage.steps.at_call(nth, die)

        stage.finish("check", restore)

        found = stage.record(restore).evidence
        assert replace(found, at=evidence.at) == evidence, stage.steps.taken[before + nth - 1]


def test_a_check_whose_answer_was_lost_is_not_made_again():
    stage, restore = launched(check=COMMAND)
    stage.finish("check", restore)
    evidence = stage.record(restore).evidence
    stage.commands.answers = [CommandResult(over=True, status="Failed")]
    stage.clock.advance(minutes(1))

    assert stage.call("check", restore)["done"]

    assert stage.record(restore).evidence == evidence
    assert len(stage.commands.sent) == 1


def test_a_command_whose_sending_was_lost_is_sent_again():
    stage, restore = launched(check=COMMAND)
    lost = Unavailable("no reply", timedelta(seconds=1))
    stage.steps.at("commands.send", raising(lost), after=True)

    stage.finish("check", restore)

    assert len(stage.commands.sent) == 2


@pytest.mark.parametrize(
    ("stopped", "words"),
    [
        ({"cancelled_by": "bob"}, "bob cancelled it"),
        ({"cancelled_by": "bob", "cause": "bob: wrong one"}, "bob: wrong one"),
        ({"status": RestoreStatus.UNDOING}, "it is undoing already"),
    ],
)
def test_a_restore_that_was_stopped_is_not_checked(stopped, words):
    stage, restore = launched()
    known = stage.record(restore)
    stage.ledger.change_restore(known, replace(known, **stopped))

    with pytest.raises(Cancelled, match=words):
        stage.call("check", restore)
