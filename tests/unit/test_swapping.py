"""Volumes on the devices of an instance: the next moves, from wherever they were interrupted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.swapping import Move, moves
from tests.support.builders import a_volume, an_instance

OLD, NEW = "vol-old", "vol-new"
DEVICE = "/dev/sdf"


def the_instance(**volumes):
    return an_instance(volumes={f"/dev/{name}": volume for name, volume in volumes.items()})


def the_volumes(**states):
    return {
        id_.replace("_", "-"): a_volume(id_.replace("_", "-"), state=state)
        for id_, state in states.items()
    }


def test_what_is_on_the_device_goes_first():
    found = moves({DEVICE: NEW}, the_instance(sdf=OLD), the_volumes(vol_new="available"))

    assert found.next == (Move(attach=False, volume=OLD, device=DEVICE),)
    assert not found.done


def test_an_empty_device_takes_a_volume_that_is_available():
    found = moves({DEVICE: NEW}, the_instance(), the_volumes(vol_new="available"))

    assert found.next == (Move(attach=True, volume=NEW, device=DEVICE),)


def test_a_volume_that_is_on_its_way_is_waited_for():
    for volumes in (the_volumes(vol_new="creating"), the_volumes(vol_new="in-use"), {}):
        found = moves({DEVICE: NEW}, the_instance(), volumes)

        assert found.next == ()
        assert found.waiting


def test_a_volume_that_is_shown_there_but_not_in_use_yet_is_waited_for():
    attaching = moves({DEVICE: NEW}, the_instance(sdf=NEW), the_volumes(vol_new="available"))
    attached = moves({DEVICE: NEW}, the_instance(sdf=NEW), the_volumes(vol_new="in-use"))

    assert not attaching.done
    assert attaching.next == ()
    assert attached.done


def test_a_device_that_had_nothing_is_emptied_again():
    there = moves({DEVICE: None}, the_instance(sdf=NEW), the_volumes(vol_new="in-use"))
    gone = moves({DEVICE: None}, the_instance(), the_volumes(vol_new="available"))

    assert there.next == (Move(attach=False, volume=NEW, device=DEVICE),)
    assert gone.done


def test_other_devices_are_left_alone():
    found = moves(
        {DEVICE: NEW}, the_instance(sda1="vol-root", sdf=NEW), the_volumes(vol_new="in-use")
    )

    assert found.done


DEVICES = ("/dev/sda1", "/dev/sdf", "/dev/sdg")
BEFORE = {"/dev/sda1": "vol-1", "/dev/sdf": "vol-2", "/dev/sdg": None}
AFTER = {"/dev/sda1": "vol-11", "/dev/sdf": "vol-12", "/dev/sdg": "vol-13"}


class Ec2:
    """Attaches and detaches, each of which takes until it is looked at again."""

    def __init__(self, attached):
        self.attached = {device: id_ for device, id_ in attached.items() if id_}
        ids = {id_ for id_ in (*BEFORE.values(), *AFTER.values()) if id_}
        self.states = {
            id_: "in-use" if id_ in self.attached.values() else "available" for id_ in ids
        }

    def make(self, move):
        if move.attach:
            assert move.device not in self.attached, "EC2 refuses a device that is in use"
            assert self.states[move.volume] == "available"
            self.attached[move.device] = move.volume
            self.states[move.volume] = "in-use"
        else:
            assert self.attached.pop(move.device) == move.volume
            self.states[move.volume] = "available"

    def look(self, wanted):
        volumes = {id_: a_volume(id_, state=state) for id_, state in self.states.items()}
        return moves(wanted, replace(an_instance(), volumes=dict(self.attached)), volumes)


@given(
    st.tuples(*(st.sampled_from([None, BEFORE[one], AFTER[one]]) for one in DEVICES)),
    st.sampled_from([BEFORE, AFTER]),
    st.data(),
)
def test_from_wherever_it_was_interrupted_the_moves_lead_there_and_back(between, wanted, data):
    ec2 = Ec2(dict(zip(DEVICES, between, strict=True)))

    for _ in range(2 * len(DEVICES) + 1):
        found = ec2.look(wanted)
        if found.done:
            break
        assert found.next, "nothing is under way, so something is to be done"
        # A worker may die after any of them.
        for move in found.next[: data.draw(st.integers(1, len(found.next)))]:
            ec2.make(move)

    assert ec2.attached == {device: id_ for device, id_ in wanted.items() if id_}
    assert ec2.look(wanted).next == ()
