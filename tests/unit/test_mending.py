"""What a sweep makes of what it finds: of idle points, lost members, surplus, and bare tags."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.domain import tags
from lastgood.domain.mending import (
    DOUBT_FOR,
    GONE_AFTER,
    IDLE,
    IDLE_FOR_LIMIT,
    MOST_RETAKES,
    Idle,
    as_found,
    idle,
    rebuilt,
    surplus,
)
from lastgood.domain.model import Doubt, MemberState, Method, PointStatus, Source, Tagged
from lastgood.domain.names import copy_id, point_id, run_id
from tests.support.builders import POLICY, SOURCE, T0, a_member, a_point, minutes, tags_of

COMPLETED, ERROR, PENDING = MemberState.COMPLETED, MemberState.ERROR, MemberState.PENDING
SECOND = timedelta(seconds=1)


# -- idle -------------------------------------------------------------------------------------


def creating(**given):
    return a_point(status=PointStatus.CREATING, members=(), **given)


@pytest.mark.parametrize(
    ("facts", "free_since", "wait"),
    [
        ({"owner": "worker", "lease_until": T0 + minutes(2)}, T0 + minutes(2), IDLE),
        ({"lease_until": T0 + minutes(5)}, T0 + minutes(5), IDLE),
        ({"lease_until": T0, "cause": "one is pending"}, T0, IDLE_FOR_LIMIT),
        ({"owner": "worker", "lease_until": T0, "cause": "one was pending"}, T0, IDLE),
        ({}, T0, IDLE),
    ],
    ids=["held", "asked-for-again", "given-back", "taken-up-after-that", "as-claimed"],
)
def test_a_point_is_forsaken_once_every_delivery_of_it_would_have_come(facts, free_since, wait):
    point = creating(**facts)

    assert idle(point, free_since + wait - SECOND) is Idle.WORKED_AT
    assert idle(point, free_since + wait) is Idle.FORSAKEN


def test_a_point_that_was_asked_for_again_often_enough_is_hopeless_and_not_before_it_is_idle():
    often = creating(lease_until=T0, retakes=MOST_RETAKES)

    assert idle(often, T0 + 8 * IDLE) is Idle.HOPELESS
    assert idle(often, T0 + 8 * IDLE - SECOND) is Idle.WORKED_AT
    assert idle(replace(often, retakes=MOST_RETAKES - 1), T0 + 4 * IDLE) is Idle.FORSAKEN


# -- members as they are now ------------------------------------------------------------------


def test_members_get_the_states_that_ec2_shows():
    point = a_point(members=(a_member("snap-1"), a_member("snap-2", "vol-2")))
    shown = [
        a_member("snap-1", state=COMPLETED),
        a_member("snap-2", "vol-2", state=ERROR, cause="no key"),
        a_member("snap-9", state=COMPLETED),
    ]

    found = as_found(point, shown, T0 + minutes(20))

    assert [(one.snapshot, one.state, one.cause) for one in found.members] == [
        ("snap-1", COMPLETED, None),
        ("snap-2", ERROR, "no key"),
    ]


@pytest.mark.parametrize(("age", "state"), [(GONE_AFTER, PENDING), (GONE_AFTER + SECOND, ERROR)])
def test_a_member_that_is_not_shown_is_gone_only_after_far_longer_than_describes_lag(age, state):
    point = a_point(members=(a_member("snap-1"),))

    (member,) = as_found(point, [], T0 + age).members

    assert member.state is state
    assert member.cause == ("the snapshot is not there any more" if state is ERROR else None)


def test_a_young_member_of_a_point_that_was_claimed_long_ago_is_not_taken_for_gone():
    """It waited for hours until EC2 took another snapshot of its volume."""
    late = T0 + timedelta(hours=5)
    point = a_point(claimed_at=T0, members=(a_member("snap-1", started_at=late),))

    (member,) = as_found(point, [], late + minutes(1)).members

    assert member.state is PENDING


def test_a_member_that_was_completed_and_is_deleted_later_was_good():
    point = a_point(members=(a_member("snap-1", state=COMPLETED),))

    (member,) = as_found(point, [], T0 + timedelta(days=1)).members

    assert member.state is COMPLETED


# -- surplus ----------------------------------------------------------------------------------

DOUBTED = Doubt(point=a_point().id, since=T0 + minutes(10))
STATES = st.sampled_from([one for one in PointStatus if one is not PointStatus.CREATING])
VOLUMES = st.sampled_from(["vol-1", "vol-2", "vol-3", "vol-ffff1"])
MADE = st.lists(
    st.tuples(VOLUMES, st.integers(-60, 180)).map(
        lambda made: a_member(volume=made[0], started_at=T0 + minutes(made[1]))
    ),
    max_size=8,
).map(lambda made: [replace(one, snapshot=f"snap-{n}") for n, one in enumerate(made)])


@given(STATES, MADE, st.data())
@settings(max_examples=200)
def test_surplus_is_never_a_member_a_copy_of_another_volume_or_of_another_time(status, made, data):
    originals = [one for one in made if not one.volume.startswith("vol-ffff")]
    members = data.draw(st.lists(st.sampled_from(originals), unique=True)) if originals else []
    point = a_point(status=status, members=tuple(members))

    unwanted = surplus(point, DOUBTED, made)

    for one in made:
        if one.snapshot in unwanted:
            assert one not in members
            assert not one.volume.startswith("vol-ffff")
            assert not members or one.volume in {member.volume for member in members}
            assert T0 - minutes(1) <= one.started_at <= DOUBTED.since + DOUBT_FOR


def test_a_second_set_of_the_same_volumes_is_surplus():
    ours = (a_member("snap-1"), a_member("snap-2", "vol-2"))
    more = (a_member("snap-3"), a_member("snap-4", "vol-2"))

    assert surplus(a_point(members=ours), DOUBTED, (*ours, *more)) == ("snap-3", "snap-4")


def test_all_that_was_made_for_a_point_that_was_given_up_is_surplus():
    failed = a_point(status=PointStatus.FAILED, members=())

    assert surplus(failed, DOUBTED, [a_member("snap-1")]) == ("snap-1",)


@pytest.mark.parametrize("status", [PointStatus.CREATING, PointStatus.DELETED])
def test_nothing_is_surplus_while_a_worker_may_adopt_it_or_once_the_point_is_deleted(status):
    assert surplus(a_point(status=status, members=()), DOUBTED, [a_member("snap-1")]) == ()


# -- rebuilt from tags ------------------------------------------------------------------------


def tagged(point, *, members=None, **changes):
    """A point's snapshots as EC2 shows them."""
    bears = {**tags_of(point, members), **changes}
    bears = {key: value for key, value in bears.items() if value is not None}
    return [Tagged(replace(one, device=None), bears) for one in point.members]


def rebuild(found):
    return rebuilt(found, region=SOURCE.region, account=SOURCE.account, now=T0 + timedelta(hours=1))


@given(
    method=st.sampled_from(list(Method)),
    slot=st.datetimes(min_value=T0.replace(tzinfo=None, year=2020)),
    states=st.lists(st.sampled_from(list(MemberState)), min_size=1, max_size=5),
    data=st.data(),
)
def test_what_the_tags_of_a_points_snapshots_say_rebuilds_the_same_point(
    method, slot, states, data
):
    slot = slot.replace(microsecond=0, tzinfo=T0.tzinfo)
    members = tuple(
        a_member(f"snap-{n}", f"vol-{n}", device=None, state=state, started_at=T0 + n * SECOND)
        for n, state in enumerate(states)
    )
    source = replace(SOURCE, id="vol-0") if method is Method.VOLUME else SOURCE
    point = a_point(
        id=point_id(POLICY, slot, source.id),
        run=run_id(POLICY, slot),
        slot=slot,
        source=source,
        method=method,
        members=members,
    )

    found = rebuild(data.draw(st.permutations(tagged(point))))

    same = ("id", "policy", "run", "slot", "source", "method", "members", "claimed_at")
    assert {name: getattr(found, name) for name in same} == {
        name: getattr(point, name) for name in same
    }
    expected = (
        PointStatus.FAILED
        if ERROR in states
        else PointStatus.PENDING
        if PENDING in states
        else PointStatus.AVAILABLE
    )
    assert found.status is expected
    assert (found.settled_at is None) is (expected is PointStatus.PENDING)
    assert (found.cause is None) is (expected is not PointStatus.FAILED)
    assert found.notes == ("rebuilt from the tags of its snapshots: its manifest is lost",)


def done(*members):
    return a_point(members=tuple(replace(one, state=COMPLETED) for one in members))


def test_a_point_some_of_whose_snapshots_are_not_there_is_failed_and_says_so():
    point = rebuild(tagged(done(a_member()), members=2))

    assert (point.status, point.cause) == (PointStatus.FAILED, "1 of its 2 snapshots are there")


def test_of_two_attempts_the_older_whole_one_is_the_point():
    late = T0 + minutes(6)
    both = done(
        a_member("snap-1"),
        a_member("snap-2", "vol-2"),
        a_member("snap-3", started_at=late),
        a_member("snap-4", "vol-2", started_at=late),
    )

    assert rebuild(tagged(both, members=2)).snapshots == ("snap-1", "snap-2")
    assert rebuild(tagged(both, members=2)[1:]).snapshots == ("snap-3", "snap-4")


def test_a_copy_is_no_member():
    point = done(a_member("snap-1"), a_member("snap-2", "vol-ffff0001"))

    assert rebuild(tagged(point, members=1)).snapshots == ("snap-1",)
    assert rebuild(tagged(point)[1:]) is None


@pytest.mark.parametrize(
    "changed",
    [
        {tags.METHOD: "by-hand"},
        {tags.METHOD: None},
        {tags.MEMBERS: "all"},
        {tags.MEMBERS: None},
        {tags.SLOT: "last night"},
        {tags.SLOT: "2026-03-01T02:00:00"},
        {tags.SLOT: None},
        {tags.POLICY: None},
        {tags.RUN: None},
        {tags.SOURCE: None},
    ],
    ids=str,
)
def test_tags_that_a_person_took_away_or_wrote_over_rebuild_nothing(changed):
    assert rebuild(tagged(done(a_member()), **changed)) is None


def test_no_snapshots_rebuild_nothing():
    assert rebuild([]) is None


def test_the_region_and_account_are_those_that_were_asked():
    point = rebuilt(tagged(done(a_member())), region="eu-north-1", account="1", now=T0)

    assert point.source == Source(id=SOURCE.id, region="eu-north-1", account="1")


def encrypted_in_place(one, snapshot):
    """The complete copy in place of a tagged snapshot, a day later."""
    operation = f"{copy_id(one.tags[tags.POINT], SOURCE.region, SOURCE.account)}/0"
    later = one.member.started_at + timedelta(days=1)
    bears = tags.of_copy(
        one.tags,
        operation=operation,
        copy_of=one.member.snapshot,
        volume=one.member.volume,
        region=SOURCE.region,
        account=SOURCE.account,
    )
    member = replace(one.member, snapshot=snapshot, volume="vol-ffffffff", started_at=later)
    return Tagged(member, bears)


@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
def test_members_that_were_encrypted_in_place_are_members_if_what_they_are_of_is_gone(method):
    whole = replace(done(a_member("snap-1"), a_member("snap-2", "vol-2")), method=method)
    first, second = tagged(whole)
    copies = [encrypted_in_place(first, "snap-3"), encrypted_in_place(second, "snap-4")]

    mixed = rebuild([first, copies[1]])
    both = rebuild([first, second, *copies])
    alone = rebuild(copies)

    assert [(one.snapshot, one.volume) for one in mixed.members] == [
        ("snap-1", "vol-1"),
        ("snap-4", "vol-2"),
    ]
    assert mixed.taken_at == first.member.started_at
    assert both.snapshots == ("snap-1", "snap-2")
    assert alone.snapshots == ("snap-3", "snap-4")
    assert alone.taken_at == whole.slot
    assert {one.status for one in (mixed, both, alone)} == {PointStatus.AVAILABLE}


def test_a_copy_in_place_that_is_not_complete_is_no_member():
    (one,) = tagged(done(a_member("snap-1")))
    copy = encrypted_in_place(one, "snap-2")

    assert rebuild([replace(copy, member=replace(copy.member, state=PENDING))]) is None
