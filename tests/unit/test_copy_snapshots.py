"""Which copy goes next, and what becomes of one: rules, and what must hold whatever is given."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import copying, tags
from lastgood.domain.copying import (
    FIRST_WAIT,
    LONGEST_WAIT,
    PASSED_AFTER,
    CopyMember,
    CopyStatus,
    MemberEnded,
    PointCopy,
    Slots,
)
from lastgood.domain.model import MemberState, PointStatus, Source
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy
from tests.support.builders import SOURCE, T0, a_member, a_point

PLACE = Place(region="eu-central-1", account=SOURCE.account)
HOUR = timedelta(hours=1)
GOOD = MemberEnded(snapshot="snap-9", state=MemberState.COMPLETED)
BAD = MemberEnded(snapshot="snap-9", state=MemberState.ERROR, cause="no key")


def a_copy(number=1, source="i-1", members=1, **given):
    facts = {
        "slot": T0 + number * HOUR,
        "taken_at": T0 + number * HOUR,
        "queued_at": T0,
        "members": tuple(
            CopyMember(of=f"snap-{number}-{n}", volume=f"vol-{n}", size_gib=8, encrypted=False)
            for n in range(members)
        ),
    }
    return PointCopy(
        id=f"cp-{number}",
        point=f"pt-{number}",
        policy="web-daily",
        run="run-1",
        source=Source(id=source, region="eu-west-1", account=SOURCE.account),
        place=PLACE,
        **facts | given,
    )


def going(*due, slots=None, now=T0):
    return [(one.id, n) for one, n in copying.next_free(due, slots or Slots(), now)]


def test_a_copy_has_what_its_policy_wants_and_a_member_for_each_snapshot():
    members = (a_member("snap-1"), a_member("snap-2", "vol-2", device="/dev/sdf"))
    point = a_point(status=PointStatus.AVAILABLE, members=members)
    wanted = Copy(region="eu-central-1", kms_key="alias/copies", complete_within=timedelta(hours=4))

    copy = copying.queued(point, wanted, T0)

    assert (copy.place, copy.key, copy.minutes) == (PLACE, "alias/copies", 240)
    assert [one.of for one in copy.members] == ["snap-1", "snap-2"]
    assert copying.queued(point, wanted, T0 + HOUR).id == copy.id
    assert copying.queued(point, replace(wanted, region="eu-north-1"), T0).id != copy.id


def test_the_oldest_of_each_source_goes_with_all_its_members():
    due = (a_copy(1, members=2), a_copy(2), a_copy(3, "i-2"))

    assert going(*due) == [("cp-1", 0), ("cp-1", 1), ("cp-3", 0)]


def test_what_is_under_way_comes_before_what_is_older():
    newer = copying.asked(a_copy(2, members=2), 0, T0)
    slots = Slots(taken=frozenset({newer.holder(0)}))

    assert going(a_copy(1), newer, slots=slots) == [("cp-2", 1)]


def test_one_that_waits_after_a_failure_holds_up_only_its_source():
    waits = a_copy(1, not_before=T0 + HOUR)
    due = (waits, a_copy(2), a_copy(3, "i-2"))

    assert going(*due) == [("cp-3", 0)]
    assert going(*due, now=T0 + HOUR) == [("cp-1", 0), ("cp-3", 0)]


def test_newer_ones_go_before_one_that_fails_again_and_again():
    waits = a_copy(1, not_before=T0 + HOUR, failures=PASSED_AFTER)

    assert going(waits, a_copy(2)) == [("cp-2", 0)]
    assert going(waits, a_copy(2), now=T0 + HOUR) == [("cp-1", 0)]


def test_it_is_available_when_the_last_member_is():
    copy = a_copy(members=2)

    half = copying.ended(copy, 0, GOOD, T0)
    whole = copying.ended(half, 1, GOOD, T0 + HOUR)

    assert half.status is CopyStatus.WAITING
    assert (whole.status, whole.settled_at) == (CopyStatus.AVAILABLE, T0 + HOUR)
    assert copying.ended(whole, 1, BAD, T0 + 2 * HOUR) == whole


def test_only_members_that_failed_are_copied_again_and_later_each_time():
    copy = copying.ended(a_copy(members=2), 0, GOOD, T0)
    waits = []
    for _ in range(10):
        copy = copying.ended(copy, 1, BAD, T0)
        waits.append(copy.not_before - T0)
        assert (copy.status, copy.free) == (CopyStatus.WAITING, (1,))

    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == max(waits) == LONGEST_WAIT
    assert copy.cause == "snap-1-1: no key"


def test_what_cannot_succeed_is_not_tried_again():
    assert copying.ended(a_copy(), 0, replace(BAD, for_good=True), T0).status is CopyStatus.FAILED


def test_a_copy_bears_the_tags_of_its_point_its_hold_and_as_many_others_as_fit():
    own = {tags.POINT: "pt-1", tags.POLICY: "web-daily", tags.HOLD: "anna: audit", "aws:x": "y"}
    others = {f"key-{n}": "value" for n in range(49)}

    found = tags.of_copy(
        {**others, **own},
        operation="cp-1/0",
        copy_of="snap-1",
        volume="vol-1",
        region="eu-west-1",
        account=SOURCE.account,
    )

    assert len(found) == tags.MOST_TAGS
    assert found.keys() >= {tags.POINT, tags.POLICY, tags.COPY, tags.COPY_OF, tags.VOLUME}
    assert found[tags.HOLD] == "anna: audit"
    assert found[tags.COPIED_FROM] == f"eu-west-1/{SOURCE.account}"
    assert "aws:x" not in found


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=20),
    st.integers(1, 5),
    st.data(),
)
def test_whatever_ends_when_no_slot_is_taken_twice_and_all_is_copied(wanted, limit, data):
    """A place is filled and emptied until nothing is due, as a ledger would write it."""
    due = {
        f"cp-{number}": a_copy(number, f"i-{source}", members)
        for number, (source, members) in enumerate(wanted)
    }
    taken: dict[str, tuple[str, int]] = {}
    order: dict[str, list[str]] = {}
    while open_ := [one for one in due.values() if not one.status.settled]:
        slots = Slots(taken=frozenset(taken))
        for copy, number in copying.next_free(open_, slots, T0):
            known = due[copy.id]
            if len(taken) >= limit:
                break
            assert known.holder(number) not in taken
            due[copy.id] = copying.asked(known, number, T0)
            taken[known.holder(number)] = (copy.id, number)
        assert taken
        holder = data.draw(st.sampled_from(sorted(taken)))
        id_, number = taken.pop(holder)
        due[id_] = copying.ended(due[id_], number, GOOD, T0)
        if due[id_].status.settled:
            order.setdefault(due[id_].source.id, []).append(id_)

    for ids in order.values():
        assert ids == sorted(ids, key=lambda one: due[one].slot)


# in place

HERE = Place(region=SOURCE.region, account=SOURCE.account)


def half_plain():
    members = (a_member("snap-1"), a_member("snap-2", "vol-2", encrypted=False, device="/dev/sdf"))
    return a_point(status=PointStatus.AVAILABLE, members=members)


def in_place():
    return copying.encrypting(half_plain(), T0)


def test_what_is_not_encrypted_is_copied_to_where_it_is_under_the_key_that_is_used_there():
    copy = in_place()

    assert (copy.place, copy.in_place, copy.key, copy.minutes) == (HERE, True, None, None)
    (member,) = copy.members
    assert (member.of, member.volume, member.device, member.encrypted) == (
        *("snap-2", "vol-2", "/dev/sdf"),
        True,
    )


def test_a_copy_in_place_takes_the_place_of_what_it_is_made_of_and_of_nothing_else():
    whole = copying.ended(in_place(), 0, GOOD, T0)
    first, second = half_plain().members

    members = copying.exchanged(half_plain(), whole)

    assert members == (first, replace(second, snapshot="snap-9", encrypted=True))
    assert copying.exchanged(replace(half_plain(), members=members), whole) == members


def test_a_copy_in_place_is_open_until_it_is_merged_or_deleted():
    whole = copying.ended(in_place(), 0, GOOD, T0)
    left = copying.unfinished(whole, "it is locked", T0)

    assert whole.open
    assert left.open
    assert (left.cause, left.not_before) == ("it is locked", T0 + FIRST_WAIT)
    assert copying.unfinished(left, "it is locked", T0).not_before == T0 + 2 * FIRST_WAIT
    assert not copying.merged(whole, T0).open
    assert not copying.deleted(whole, T0).open
    assert not copying.ended(a_copy(), 0, GOOD, T0).open


def test_tags_tell_a_copy_in_place_from_one_that_came_from_elsewhere():
    point = half_plain()

    def bears(copy, region):
        return tags.of_copy(
            {tags.POINT: point.id},
            operation=copy.operation(0),
            copy_of="snap-2",
            volume="vol-2",
            region=region,
            account=SOURCE.account,
        )

    elsewhere = copying.queued(point, Copy(region="eu-central-1"), T0)

    assert tags.in_place(bears(in_place(), SOURCE.region))
    assert not tags.in_place(bears(elsewhere, SOURCE.region))
    assert not tags.in_place({tags.POINT: point.id})
    # What was encrypted in place, and is copied elsewhere then, is in place no more.
    assert not tags.in_place({**bears(in_place(), SOURCE.region), **bears(elsewhere, "eu-west-1")})
