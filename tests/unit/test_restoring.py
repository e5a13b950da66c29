"""The record of a restore: its steps, what it made, what it locks; and its machine's states."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import restoring
from lastgood.domain.launching import Launch, NewImage
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import (
    STEPS,
    RestoreStatus,
    Step,
    began,
    deadline,
    ended,
    failed,
    gone,
    noted,
    wait_after,
)
from lastgood.ledger.memory import MemoryLedger
from lastgood.stepping import StepRequest
from restore_instance.safety import SafetyPoints
from restore_instance.usecase import Restorer
from tests import ROOT
from tests.support.builders import T0, a_restore, in_place, minutes

MACHINE = json.loads((ROOT / "infra/state_machines/restore.asl.json").read_text())
STATES = MACHINE["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}


# -- the machine ------------------------------------------------------------------------------


def test_the_steps_are_the_states_of_the_machine_and_no_others():
    told = {state["Parameters"]["Payload"]["step"]: name for name, state in TASKS.items()}

    assert told == STEPS


def test_a_deadline_is_that_of_a_step():
    assert set(restoring.DEADLINES) <= set(STEPS.values())
    assert deadline(STEPS["copy"]) == timedelta(hours=48)
    assert deadline(STEPS["launch"]) == timedelta(minutes=20)


def read_of(state):
    """The paths into answers that the state reads."""
    variables = [one["Variable"] for one in state.get("Choices", [])]
    paths = [state[key] for key in ("SecondsPath", "ErrorPath", "CausePath") if key in state]
    return [path for path in (*variables, *paths) if ".answer." in path]


def begun(**facts):
    """What the machine is told by its first step."""
    ledger = MemoryLedger()
    ledger.open_restore(a_restore(**facts))
    clock = SimpleNamespace(now=lambda: T0)
    unused = dict.fromkeys(("machines", "at", "commands", "machine", "endings", "news", "patience"))
    safety = SafetyPoints(ledger=ledger, queue=None)
    restorer = Restorer(ledger=ledger, clock=clock, safety=safety, **unused)
    return restorer.step(StepRequest(restore=a_restore().id, step="begin"))


def test_every_choice_reads_what_a_step_answers():
    read = {path for state in STATES.values() for path in read_of(state)}
    of_plan = {path.rpartition(".")[2] for path in read if path.startswith("$.plan.")}
    of_step = {path.rpartition(".")[2] for path in read if path.startswith("$.step.")}

    assert of_plan | {"done", "wait"} == set(begun())
    # ``error`` and ``cause`` are those of Undo.
    assert of_step == {"done", "wait", "error", "cause"}


def test_every_task_goes_on_to_a_choice_that_can_come_back_to_it():
    once = {"Begin", "Wait for approval", "Hold the point"}
    for name in TASKS.keys() - once:
        choice = STATES[STATES[name]["Next"]]
        wait = STATES[choice["Default"]]

        assert choice["Choices"][0]["Variable"] == "$.step.answer.done"
        assert (wait["Type"], wait["Next"]) == ("Wait", name)


def test_every_state_but_the_ends_is_left_for_one_that_there_is():
    reached = {MACHINE["StartAt"]}
    for state in STATES.values():
        nexts = [state.get("Next"), state.get("Default")]
        nexts += [one["Next"] for one in (*state.get("Choices", []), *state.get("Catch", []))]
        reached |= {one for one in nexts if one}

    assert reached == set(STATES)


def test_what_fails_forward_is_undone_and_undoing_is_tried_for_as_long_as_it_takes():
    backward = {"Undo", "Remove what was made"}

    for name, state in TASKS.items():
        caught = [one["Next"] for one in state.get("Catch", [])]
        assert caught == ([] if name in backward else ["Undo"])


LAUNCH = Launch(
    type="m6i.large",
    zone="eu-west-1a",
    vpc="vpc-1",
    root_device="/dev/sda1",
    disks=(),
    cards=(),
    new_image=NewImage(architecture="x86_64", root_device="/dev/sda1"),
)
IN_PLACE = in_place()
BY_TASK = replace(IN_PLACE, swaps=(replace(IN_PLACE.swaps[0], by_task=True),))


@pytest.mark.parametrize(
    ("facts", "true"),
    [
        ({}, set()),
        ({"status": RestoreStatus.APPROVING}, {"approval"}),
        ({"launch": LAUNCH}, {"launches", "registers"}),
        ({"launch": replace(LAUNCH, image="ami-1")}, {"launches", "swaps_root"}),
        ({"in_place": IN_PLACE}, {"in_place", "stops"}),
        ({"in_place": BY_TASK}, {"in_place", "by_task"}),
    ],
)
def test_the_plan_says_which_way_the_machine_goes(facts, true):
    told = begun(**facts)

    assert {key for key, value in told.items() if value is True} - {"done"} == true


# -- waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "seconds"), [(0, 5), (10, 5), (60, 12), (600, 120), (3600, 300), (48 * 3600, 300)]
)
def test_a_wait_is_a_fifth_of_what_it_took_so_far_within_bounds(passed, seconds):
    assert wait_after(T0, T0 + timedelta(seconds=passed)) == seconds


@given(st.integers(0, 72 * 3600))
def test_waiting_adds_at_most_a_fifth_to_what_ec2_takes_but_for_the_first_seconds(takes):
    waited = 0
    while waited < takes:
        waited += wait_after(T0, T0 + timedelta(seconds=waited))

    assert waited <= max(takes * 1.2, takes + 5)


# -- steps ------------------------------------------------------------------------------------


def test_a_step_that_is_under_way_is_not_begun_again():
    once = began(a_restore(), "Launch", T0)

    assert began(once, "Launch", T0 + minutes(1)) == once
    assert once.steps == (Step(name="Launch", began_at=T0),)


def test_a_step_that_comes_again_after_its_end_is_another():
    first = ended(began(a_restore(), "Launch", T0), "Launch", T0 + minutes(1))

    again = began(first, "Launch", T0 + minutes(5))

    assert [one.seconds for one in again.steps] == [60.0, None]
    assert again.step("Launch").began_at == T0 + minutes(5)


def test_only_a_step_that_was_begun_ends_and_only_once():
    done = ended(began(a_restore(), "Launch", T0), "Launch", T0 + minutes(1))

    assert ended(done, "Launch", T0 + minutes(9)) == done
    assert ended(done, "Check", T0 + minutes(9)) == done


def test_what_was_under_way_is_what_failed_but_not_the_undoing():
    restore = ended(began(a_restore(), "Launch", T0), "Launch", T0 + minutes(1))
    restore = began(began(restore, "Check", T0 + minutes(1)), "Undo", T0 + minutes(3))

    after = failed(restore, T0 + minutes(3), but="Undo")

    assert [(one.name, one.failed, one.seconds) for one in after.steps] == [
        ("Launch", False, 60.0),
        ("Check", True, 120.0),
        ("Undo", False, None),
    ]


# -- what it made -----------------------------------------------------------------------------


def test_what_is_on_record_is_not_noted_twice():
    once = noted(a_restore(), "volume", ["vol-1"], T0, of="vol-0")

    twice = noted(once, "volume", ["vol-1", "vol-2"], T0 + minutes(1))

    assert [(one.id, one.of) for one in twice.made] == [("vol-1", "vol-0"), ("vol-2", "")]
    assert noted(twice, "volume", ["vol-2"], T0) is twice
    assert twice.made_for("volume", "vol-0") == "vol-1"
    assert twice.made_for("instance", "vol-0") is None


def test_what_is_not_there_any_more_was_removed_when_that_was_seen():
    made = noted(a_restore(), "volume", ["vol-1", "vol-2"], T0)

    after = gone(made, ["vol-2"], T0 + minutes(5))
    later = gone(after, [], T0 + minutes(9))

    assert after.ids("volume") == ("vol-2",)
    assert [one.removed_at for one in later.made] == [T0 + minutes(5), T0 + minutes(9)]


# -- what it is -------------------------------------------------------------------------------

FORWARD = {RestoreStatus.APPROVING, RestoreStatus.RUNNING}
BACKWARD = {RestoreStatus.UNDOING, RestoreStatus.ENDING}


@pytest.mark.parametrize("status", list(RestoreStatus))
def test_a_status_is_forward_at_work_or_settled(status):
    restore = a_restore(status=status)
    expiring = replace(restore, expires_at=datetime.now(UTC))

    assert status.forward is (status in FORWARD)
    assert status.at_work is (status in FORWARD | BACKWARD)
    assert restore.open is status.at_work
    assert expiring.open is (status.at_work or status is RestoreStatus.DONE)


@pytest.mark.parametrize("status", list(RestoreStatus))
def test_an_instance_is_locked_for_as_long_as_it_may_be_changed_in_place(status):
    restore = a_restore(status=status, in_place=in_place())

    locked = status in FORWARD | {RestoreStatus.UNDOING}
    assert restore.locks == (restore.source.id if locked else None)
    assert a_restore(status=status).locks is None


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("length", [None, timedelta(hours=8)])
def test_a_drill_and_what_has_an_end_is_temporary_but_never_what_is_in_place(mode, length):
    restore = a_restore(time_to_live=length)
    restore = replace(restore, request=replace(restore.request, mode=mode))

    assert restore.temporary is (
        mode is Mode.DRILL or (length is not None and mode is not Mode.IN_PLACE)
    )
