"""What is made of snapshots that are there already, and of snapshots that end."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.ended import Ended, counts_members, merged
from lastgood.domain.model import MemberState, Method, Planned, PointStatus, Run, RunStatus
from lastgood.domain.taking import Next, anchor, judge_found, outcome_of
from tests.support.builders import T0, a_member, a_point, minutes

LAG = minutes(4)
COMPLETED, ERROR, PENDING = MemberState.COMPLETED, MemberState.ERROR, MemberState.PENDING


def found(*members, volumes=("vol-1", "vol-2"), age=timedelta(minutes=1), as_set=True):
    return judge_found(members, volumes, attempted_at=T0, now=T0 + age, lag=LAG, as_set=as_set)


def test_all_snapshots_there_are_adopted_at_once():
    members = (a_member("snap-1", "vol-1"), a_member("snap-2", "vol-2"))

    assert found(*members).next is Next.ADOPT
    assert found(*members).members == members


@pytest.mark.parametrize("as_set", [True, False])
def test_an_absence_proves_nothing_until_describes_had_their_time(as_set):
    assert found(age=LAG - timedelta(seconds=1), as_set=as_set).next is Next.WAIT
    assert found(age=LAG, as_set=as_set).next is Next.CREATE


def test_a_part_of_a_set_is_incomplete_and_a_part_of_single_ones_is_continued():
    member = a_member("snap-1", "vol-1")

    assert found(member, age=LAG, as_set=True).next is Next.INCOMPLETE
    assert found(member, age=LAG, as_set=False).next is Next.CREATE
    assert found(member, age=LAG, as_set=False).members == (member,)


def test_the_oldest_snapshot_of_a_volume_counts_and_the_others_are_surplus():
    old = [a_member("snap-3", "vol-1"), a_member("snap-4", "vol-2")]
    new = [replace(one, snapshot=one.snapshot + "x", started_at=T0 + minutes(1)) for one in old]

    verdict = found(*new, *old)

    assert verdict.members == tuple(old)
    assert verdict.surplus == ("snap-3x", "snap-4x")


def test_members_of_two_attempts_never_make_up_one_set():
    first = a_member("snap-1", "vol-1")
    second = [
        a_member("snap-2", "vol-1", started_at=T0 + LAG),
        a_member("snap-3", "vol-2", started_at=T0 + LAG),
    ]

    verdict = found(first, *second, age=2 * LAG)

    assert verdict.next is Next.ADOPT
    assert verdict.members == tuple(second)
    assert verdict.surplus == ("snap-1",)


MEMBERS = st.lists(
    st.builds(
        a_member,
        st.uuids().map(str),
        st.sampled_from(["vol-1", "vol-2", "vol-3"]),
        started_at=st.integers(0, 9).map(lambda n: T0 + minutes(n)),
    ),
    max_size=8,
)


@given(MEMBERS, st.booleans(), st.integers(0, 10).map(minutes))
def test_no_snapshot_is_lost_or_counted_twice_in_a_look_up(members, as_set, age):
    verdict = found(*members, as_set=as_set, age=age)

    kept = [one.snapshot for one in verdict.members]
    assert sorted([*kept, *verdict.surplus]) == sorted(one.snapshot for one in members)
    assert len({one.volume for one in verdict.members}) == len(kept)


@given(st.lists(st.sampled_from(MemberState), min_size=1, max_size=6))
def test_a_point_is_available_only_if_every_member_is_completed(states):
    members = [a_member(f"snap-{n}", state=state) for n, state in enumerate(states)]

    outcome = outcome_of(members, T0)

    if ERROR in states:
        assert outcome.status is PointStatus.FAILED
    elif PENDING in states:
        assert outcome is None
    else:
        assert outcome.status is PointStatus.AVAILABLE


def test_the_cause_of_a_failed_set_is_that_of_the_member_that_failed_by_itself():
    members = [
        a_member("snap-1", "vol-1", state=ERROR),
        a_member("snap-2", "vol-2", state=ERROR, cause="no access to the key"),
    ]

    assert outcome_of(members, T0).cause == "snap-2 of vol-2: no access to the key"
    assert outcome_of(members[:1], T0).cause == "snap-1 of vol-1: no cause told"


@given(st.permutations(["snap-1", "snap-2", "snap-3"]))
def test_the_order_of_events_does_not_matter(order):
    members = tuple(a_member(f"snap-{n}") for n in (1, 2, 3))

    for snapshot in order:
        assert outcome_of(members, T0) is None
        members = merged(members, [Ended(snapshot=snapshot, state=COMPLETED)])

    assert outcome_of(members, T0).status is PointStatus.AVAILABLE


def test_news_of_other_snapshots_changes_nothing():
    members = (a_member("snap-1"),)

    assert merged(members, [Ended(snapshot="snap-9", state=COMPLETED)]) == members


@pytest.mark.parametrize(
    ("method", "count", "expected"),
    [(Method.SET, 3, False), (Method.ONE_BY_ONE, 3, True), (Method.ONE_BY_ONE, 1, False)],
)
def test_members_are_counted_where_no_event_names_them_all(method, count, expected):
    members = tuple(a_member(f"snap-{n}") for n in range(count))

    assert counts_members(a_point(method=method, members=members)) is expected


def test_a_set_is_looked_up_by_one_of_its_snapshots_whatever_their_order():
    assert anchor(["snap-b", "snap-a"]) == anchor(["snap-a", "snap-b"]) == "snap-a"


@pytest.mark.parametrize(
    ("planned", "good", "bad", "problems", "status"),
    [
        (None, 0, 0, (), RunStatus.PLANNING),
        (2, 1, 0, (), RunStatus.RUNNING),
        (2, 2, 0, (), RunStatus.OK),
        (0, 0, 0, (), RunStatus.OK),
        (2, 1, 1, (), RunStatus.PARTIAL),
        (2, 0, 2, (), RunStatus.FAILED),
        (1, 1, 0, ("a Region",), RunStatus.PARTIAL),
        (0, 0, 0, ("a Region",), RunStatus.FAILED),
    ],
)
def test_the_status_of_a_run_is_read_from_its_counts(planned, good, bad, problems, status):
    run = Run(
        id="run-1",
        policy="web",
        slot=T0,
        started_at=T0,
        planned=None if planned is None else Planned(at=T0, points=planned, problems=problems),
        ended={PointStatus.AVAILABLE: good, PointStatus.FAILED: bad},
    )

    assert run.status is status
