"""EBS says that snapshots ended: the point is settled once, whatever order the events come in."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.domain.model import MemberState, Method, Outcome, PointStatus
from lastgood.errors import (
    AccessDenied,
    ForeignEvent,
    LedgerMissing,
    NotSettledYet,
    Throttled,
    TryAgain,
    Unavailable,
)
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Delivery
from record_snapshot.usecase import LOOK_AGAIN, LOOKS, YOUNG, Recorder
from tests.support.builders import POLICY, SOURCE, T0, a_claim, a_manifest, a_member, minutes
from tests.support.fakes import (
    FakeBus,
    FakeClock,
    FakeCompute,
    Killed,
    Made,
    Steps,
    an_event,
    die,
    raising,
)

SOON = timedelta(seconds=5)
COMPLETED, ERROR = MemberState.COMPLETED, MemberState.ERROR
AVAILABLE, FAILED = PointStatus.AVAILABLE, PointStatus.FAILED


@dataclass
class Stage:
    clock: FakeClock = field(default_factory=lambda: FakeClock(T0 + minutes(3)))
    steps: Steps = field(default_factory=Steps)
    bus: FakeBus = field(default_factory=FakeBus)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self):
        self.ec2 = FakeCompute(self.clock)
        self.recorder = Recorder(
            at=lambda _: self.steps.watch("compute", self.ec2),
            ledger=self.steps.watch("ledger", self.ledger),
            bus=self.steps.watch("bus", self.bus),
            clock=self.clock,
            accounts=frozenset({SOURCE.account}),
        )

    def taken(self, *snapshots, method=Method.SET):
        """A point that waits for these snapshots to end."""
        members = tuple(a_member(one, f"vol-{one}") for one in snapshots)
        claim = a_claim(method=method)
        point = self.ledger.claim(claim)
        for one in members:
            self.ec2.made[one.snapshot] = Made(one, {"lastgood:point": claim.id}, T0)
        return self.ledger.answer(point, T0, members, a_manifest(), ())

    def record(self, event, attempt=1, *, last=False):
        delivery = Delivery(owner=f"recorder-{attempt}", attempt=attempt, last=last)
        return self.recorder.record(event, delivery)

    def until_done(self, event, *, most=8):
        for attempt in range(1, most + 1):
            try:
                return self.record(event, attempt)
            except Killed:
                self.clock.advance(minutes(6))
            except TryAgain as error:
                self.clock.advance(error.after)
        raise AssertionError(f"not done after {most} deliveries")

    def point(self):
        return self.ledger.point(a_claim().id)


# -- how a point ends -------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.SET, Method.VOLUME, Method.ONE_BY_ONE])
def test_a_point_of_one_snapshot_is_available_by_its_event(method):
    stage = Stage()
    stage.taken("snap-1", method=method)

    point = stage.record(an_event("snap-1"))

    assert point.status is AVAILABLE
    assert point.settled_at == an_event("snap-1").at
    assert point == stage.point()
    assert stage.bus.announced == [point]


def test_a_set_is_settled_by_the_event_that_names_all_its_members():
    stage = Stage()
    stage.taken("snap-1", "snap-2")

    point = stage.record(an_event("snap-2", "snap-1"))

    assert point.status is AVAILABLE
    assert [one.state for one in point.members] == [COMPLETED, COMPLETED]


def test_one_completed_member_of_a_set_is_no_news_and_not_written():
    stage = Stage()
    taken = stage.taken("snap-1", "snap-2")

    point = stage.record(an_event("snap-1"))

    assert point.status is PointStatus.PENDING
    assert stage.point() == taken
    assert stage.steps.taken == ["ledger.point_of"]


def test_one_failed_member_fails_a_set_at_once():
    stage = Stage()
    stage.taken("snap-1", "snap-2")

    point = stage.record(an_event("snap-1", state=ERROR))

    assert point.status is FAILED
    assert stage.bus.announced == [point]


def test_members_taken_one_by_one_are_counted_until_the_last():
    stage = Stage()
    stage.taken("snap-1", "snap-2", "snap-3", method=Method.ONE_BY_ONE)

    for snapshot in ("snap-3", "snap-1"):
        assert stage.record(an_event(snapshot)).status is PointStatus.PENDING
    point = stage.record(an_event("snap-2"))

    assert point.status is AVAILABLE
    assert stage.bus.announced == [point]


def test_one_failed_member_fails_a_point_taken_one_by_one():
    stage = Stage()
    stage.taken("snap-1", "snap-2", method=Method.ONE_BY_ONE)

    point = stage.record(an_event("snap-2", state=ERROR))
    late = stage.record(an_event("snap-1"))

    assert point.status is late.status is FAILED
    assert len(stage.bus.announced) == 1


def test_the_cause_of_a_failure_is_looked_up_in_the_snapshots():
    stage = Stage()
    stage.taken("snap-1", "snap-2")
    stage.ec2.end("snap-2", ERROR, "no access to the key")

    point = stage.record(an_event("snap-1", "snap-2", state=ERROR))

    assert point.cause == "snap-2 of vol-snap-2: no access to the key"
    assert [one.cause for one in point.members] == [None, "no access to the key"]


def test_a_cause_that_the_event_told_is_kept_if_the_snapshots_do_not_tell_one():
    stage = Stage()
    stage.taken("snap-1")

    point = stage.record(an_event("snap-1", state=ERROR, cause="no access to the key"))

    assert point.cause == "snap-1 of vol-snap-1: no access to the key"


def test_a_failed_snapshot_that_ec2_does_not_show_any_more_fails_its_point_all_the_same():
    stage = Stage()
    stage.taken("snap-1")
    stage.ec2.made.clear()

    point = stage.record(an_event("snap-1", state=ERROR, cause="gone"))

    assert point.cause == "snap-1 of vol-snap-1: gone"


def test_the_run_counts_a_point_once_however_many_events_there_are():
    stage = Stage()
    stage.taken("snap-1")

    for _ in range(3):
        stage.record(an_event("snap-1"))

    assert len(stage.bus.announced) == 1
    assert [one.status.value for one in stage.point().history] == [
        "creating",
        "pending",
        "available",
    ]


# -- any order, any number --------------------------------------------------------------------


@st.composite
def stories(draw):
    """A point of up to four snapshots, how they ended, and the events of that, as they come."""
    method = draw(st.sampled_from(Method))
    size = 1 if method is Method.VOLUME else draw(st.integers(1, 4))
    snapshots = [f"snap-{n}" for n in range(size)]
    broken = set(draw(st.lists(st.sampled_from(snapshots), max_size=1)))
    if method is Method.SET and broken:
        broken = set(snapshots)  # EBS fails the rest of a set too
    states = {one: ERROR if one in broken else COMPLETED for one in snapshots}
    events = [an_event(one, state=state) for one, state in states.items()]
    if method is Method.SET:
        events.append(an_event(*snapshots, state=ERROR if broken else COMPLETED))
    extra = draw(st.lists(st.sampled_from(events), max_size=3))
    foreign = [an_event("snap-foreign")] if draw(st.booleans()) else []
    order = draw(st.permutations([*events, *extra, *foreign]))
    return method, snapshots, FAILED if broken else AVAILABLE, order


@given(stories())
@settings(max_examples=150, deadline=None)
def test_events_in_any_order_and_number_settle_the_point_once(story):
    method, snapshots, status, events = story
    stage = Stage()
    stage.taken(*snapshots, method=method)

    for event in events:
        stage.until_done(event)

    assert stage.point().status is status
    assert [one.status for one in stage.bus.announced].count(status) == 1
    assert len(stage.bus.announced) == 1


STEPS = ["ledger.point_of", "ledger.settle_member", "ledger.settle", "bus.announce"]


@given(
    stories(),
    st.lists(st.tuples(st.sampled_from(STEPS), st.booleans(), st.booleans()), max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_events_that_meet_deaths_and_errors_still_settle_and_announce_the_point(story, troubles):
    method, snapshots, status, events = story
    stage = Stage()
    stage.taken(*snapshots, method=method)
    for nth, (step, after, kill) in enumerate(troubles, 1):
        stage.steps.at(
            step, die if kill else raising(Unavailable("no reply", SOON)), nth=nth, after=after
        )

    for event in events:
        stage.until_done(event)

    assert stage.point().status is status
    assert stage.bus.announced
    assert {(one.id, one.status) for one in stage.bus.announced} == {(a_claim().id, status)}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["ledger.point_of", "ledger.settle", "bus.announce"])
def test_a_worker_killed_at_any_step_leaves_a_point_that_is_announced_after_redelivery(step, after):
    stage = Stage()
    stage.taken("snap-1", "snap-2")
    stage.steps.at(step, die, after=after)

    stage.until_done(an_event("snap-1", "snap-2"))

    assert stage.point().status is AVAILABLE
    assert stage.bus.announced


@pytest.mark.parametrize("step", ["ledger.settle_member", "compute.snapshots_of"])
@pytest.mark.parametrize("error", [Throttled("slow", SOON), Unavailable("no reply", SOON)])
def test_a_failed_member_is_settled_after_a_call_that_had_to_be_tried_again(step, error):
    stage = Stage()
    stage.taken("snap-1", "snap-2", method=Method.ONE_BY_ONE)
    stage.ec2.end("snap-1", ERROR, "no key")
    stage.steps.at(step, raising(error))

    stage.until_done(an_event("snap-1", state=ERROR))

    assert stage.point().cause == "snap-1 of vol-snap-1: no key"
    assert len(stage.bus.announced) == 1


def test_the_last_two_members_that_end_at_once_settle_the_point_once():
    stage = Stage()
    stage.taken("snap-1", "snap-2", method=Method.ONE_BY_ONE)
    stage.steps.at("ledger.settle_member", lambda: stage.record(an_event("snap-2")), after=True)

    stage.record(an_event("snap-1"))

    assert stage.point().status is AVAILABLE
    assert len(stage.bus.announced) == 1


def test_two_workers_with_the_same_event_announce_it_once():
    stage = Stage()
    stage.taken("snap-1")
    stage.steps.at("ledger.settle", lambda: stage.record(an_event("snap-1")))

    stage.record(an_event("snap-1"))

    assert len(stage.bus.announced) == 1


# -- repeats ----------------------------------------------------------------------------------


def test_a_first_delivery_of_a_settled_points_event_says_nothing():
    stage = Stage()
    stage.taken("snap-1")
    stage.record(an_event("snap-1"))

    assert stage.record(an_event("snap-1")) == stage.point()

    assert len(stage.bus.announced) == 1


def test_a_second_delivery_announces_again_since_the_first_may_have_been_lost():
    stage = Stage()
    stage.taken("snap-1")
    stage.record(an_event("snap-1"))

    stage.record(an_event("snap-1"), attempt=2)

    assert len(stage.bus.announced) == 2


def test_an_event_that_was_taken_out_of_the_dead_letters_announces_again():
    stage = Stage()
    stage.taken("snap-1")
    stage.steps.at("bus.announce", raising(AccessDenied("not to this bus")))
    with pytest.raises(AccessDenied):
        stage.record(an_event("snap-1"))
    stage.clock.advance(timedelta(days=1))

    point = stage.record(an_event("snap-1"))

    assert stage.bus.announced == [point]


def test_an_announcement_that_is_refused_is_made_by_the_next_delivery():
    stage = Stage()
    stage.taken("snap-1")
    stage.steps.at("bus.announce", raising(Throttled("slow down", SOON)))
    with pytest.raises(Throttled):
        stage.record(an_event("snap-1"))

    point = stage.record(an_event("snap-1"), attempt=2)

    assert stage.bus.announced == [point]


@pytest.mark.parametrize(
    ("first", "second", "status"), [(COMPLETED, ERROR, AVAILABLE), (ERROR, COMPLETED, FAILED)]
)
def test_the_first_end_stands_and_one_that_contradicts_it_changes_nothing(first, second, status):
    stage = Stage()
    stage.taken("snap-1")
    settled = stage.record(an_event("snap-1", state=first))

    for attempt in (1, 2):
        point = stage.record(an_event("snap-1", state=second), attempt=attempt)
        assert point.status is status

    assert stage.point() == settled
    assert len(stage.bus.announced) == 1


def test_what_is_told_after_a_conflict_is_the_point_as_it_is_on_record():
    stage = Stage()
    point = stage.taken("snap-1")
    gone_bad = Outcome(status=FAILED, at=T0 + minutes(2), cause="given up")
    stage.steps.at("ledger.settle", lambda: stage.ledger.settle(point, gone_bad))

    told = stage.record(an_event("snap-1"))

    assert told == stage.point()
    assert stage.bus.announced == []


# -- not ours, or not yet ---------------------------------------------------------------------


def test_an_event_of_another_account_is_refused_before_anything_is_read():
    stage = Stage()
    stage.taken("snap-1")

    with pytest.raises(ForeignEvent, match="account 999999999999"):
        stage.record(an_event("snap-1", account="999999999999"))

    assert stage.steps.taken == []


def test_a_young_snapshot_that_nobody_knows_is_looked_for_again_twice():
    stage = Stage()

    for attempt in range(1, LOOKS):
        with pytest.raises(NotSettledYet, match="snap-1: not on record yet") as early:
            stage.record(an_event("snap-1"), attempt)
        assert early.value.after == LOOK_AGAIN * 2 ** (attempt - 1)

    assert stage.record(an_event("snap-1"), LOOKS) is None


@pytest.mark.parametrize(("age", "looks"), [(YOUNG - SOON, True), (YOUNG, False)])
def test_a_snapshot_is_young_until_its_creator_must_have_answered(age, looks):
    stage = Stage()
    stage.clock.time = T0 + age

    if looks:
        with pytest.raises(NotSettledYet):
            stage.record(an_event("snap-1"))
    else:
        assert stage.record(an_event("snap-1")) is None


def test_at_the_last_delivery_a_snapshot_that_nobody_knows_is_let_go():
    stage = Stage()

    assert stage.record(an_event("snap-1"), last=True) is None


def test_an_event_that_comes_before_the_answer_settles_the_point_after_it():
    stage = Stage()
    with pytest.raises(NotSettledYet):
        stage.record(an_event("snap-1"))
    stage.taken("snap-1")

    point = stage.record(an_event("snap-1"), attempt=2)

    assert point.status is AVAILABLE
    assert stage.bus.announced == [point]


def test_an_event_of_a_set_that_names_more_than_its_members_settles_it():
    stage = Stage()
    stage.taken("snap-1")

    assert stage.record(an_event("snap-1", "snap-2")).status is AVAILABLE


@pytest.mark.parametrize("kind", [LedgerMissing, AccessDenied])
def test_a_refusal_of_the_ledger_goes_to_who_delivered(kind):
    stage = Stage()
    stage.steps.at("ledger.point_of", raising(kind("not like this")))

    with pytest.raises(kind):
        stage.record(an_event("snap-1"))


def test_the_newest_available_point_of_the_source_is_noted():
    stage = Stage()
    stage.taken("snap-1")

    point = stage.record(an_event("snap-1"))

    (source,) = stage.ledger.sources(POLICY)
    assert (source.last_point, source.last_available) == (point.id, T0)
