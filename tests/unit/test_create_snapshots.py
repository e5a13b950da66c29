"""Taking a point: once, whatever dies, is lost, comes twice or has changed meanwhile."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_snapshots.usecase import Taker
from lastgood.domain import tags
from lastgood.domain.manifest import Attachment, LaunchAttributes
from lastgood.domain.model import MemberState, Method, Outcome, PointStatus, Run, Source
from lastgood.domain.names import point_id, run_id
from lastgood.domain.requests import TakeRequest
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    Conflict,
    KeyDenied,
    LedgerMissing,
    LimitReached,
    NotSettledYet,
    SourceGone,
    Throttled,
    TryAgain,
    Unavailable,
)
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Delivery, Patience
from record_snapshot.usecase import Recorder
from tests.support.builders import POLICY, SOURCE, T0, a_volume, an_instance, minutes
from tests.support.fakes import (
    FakeBus,
    FakeClock,
    FakeCompute,
    Killed,
    Steps,
    an_event,
    die,
    raising,
)

SOON = timedelta(seconds=5)
PATIENCE = Patience(lease=timedelta(seconds=130))
REDELIVERY = minutes(12)
"""The queue's visibility timeout: when the message of a worker that died is delivered again."""
LONE = Source(id="vol-1", region=SOURCE.region, account=SOURCE.account)

COMPLETED, ERROR, PENDING = MemberState.COMPLETED, MemberState.ERROR, MemberState.PENDING
AVAILABLE, FAILED = PointStatus.AVAILABLE, PointStatus.FAILED


def a_request(method=Method.SET, **given):
    source = LONE if method is Method.VOLUME else SOURCE
    volumes = (
        [a_volume("vol-1")] if method is Method.VOLUME else [a_volume("vol-1"), a_volume("vol-2")]
    )
    facts = {
        "point": point_id(POLICY, T0, source.id),
        "policy": POLICY,
        "run": run_id(POLICY, T0),
        "slot": T0,
        "source": source,
        "method": method,
        "planned_at": T0,
        "volumes": tuple(volumes),
        "instance": None if method is Method.VOLUME else WEB,
    }
    return TakeRequest(**facts | given)


WEB = an_instance(tags={"backup": "daily", "Name": "web"})


@dataclass
class Stage:
    """One instance with two volumes, and the workers that take it."""

    clock: FakeClock = field(default_factory=FakeClock)
    steps: Steps = field(default_factory=Steps)
    bus: FakeBus = field(default_factory=FakeBus)
    deliveries: int = 0

    def __post_init__(self):
        self.ec2 = FakeCompute(self.clock)
        self.ec2.put(WEB, a_volume("vol-1"), a_volume("vol-2"))
        self.ledger = MemoryLedger()
        watched = {
            "at": lambda _: self.steps.watch("compute", self.ec2),
            "ledger": self.steps.watch("ledger", self.ledger),
            "bus": self.steps.watch("bus", self.bus),
            "clock": self.clock,
        }
        self.taker = Taker(**watched, patience=PATIENCE)
        self.recorder = Recorder(**watched, accounts=frozenset({SOURCE.account}))

    def take(self, request=None, *, last=False, attempt=None):
        """One delivery, by a worker of its own."""
        self.deliveries += 1
        delivery = Delivery(
            owner=f"worker-{self.deliveries}", attempt=attempt or self.deliveries, last=last
        )
        return self.taker.take(request or a_request(), delivery)

    def until_done(self, request=None, *, most=12):
        """Deliver the message as SQS and the runtime do, until it is done or refused."""
        for _ in range(most):
            try:
                return self.take(request)
            except Killed:
                self.clock.advance(REDELIVERY)
            except TryAgain as error:
                self.clock.advance(error.after)
            except Conflict:
                self.clock.advance(timedelta(seconds=30))
        raise AssertionError(f"not done after {most} deliveries")

    def complete(self):
        """All snapshots end, and every event of them is delivered until it is done."""
        self.clock.advance(minutes(5))
        self.ec2.end_all()
        snapshots = sorted(self.ec2.made)
        for event in [*map(an_event, snapshots), an_event(*snapshots)]:
            for attempt in range(1, 9):
                try:
                    self.recorder.record(event, Delivery(owner="recorder", attempt=attempt))
                    break
                except Killed:
                    self.clock.advance(minutes(6))
                except TryAgain as error:
                    self.clock.advance(error.after)

    def point(self):
        (point,) = (*self.ledger.points(SOURCE.id), *self.ledger.points(LONE.id))
        return self.ledger.point(point.id)

    def volumes_taken(self):
        return sorted(one.member.volume for one in self.ec2.made.values())


def assert_taken_once(stage, request):
    """One snapshot of each volume, one point that has them all, and subscribers heard of it."""
    stage.complete()
    assert stage.volumes_taken() == [one.id for one in request.volumes]
    assert stage.point().status is AVAILABLE
    assert {one.snapshot for one in stage.point().members} == set(stage.ec2.made)
    assert [(one.id, one.status) for one in stage.bus.announced][:1] == [(request.point, AVAILABLE)]


# -- the plain way ----------------------------------------------------------------------------

CLEAN = {
    Method.SET: [
        "ledger.claim",
        "ledger.launch",
        "compute.launch_attributes",
        "ledger.remember_launch",
        "compute.snapshot_set",
        "ledger.answer",
        "ledger.note_name",
    ],
    Method.ONE_BY_ONE: [
        "ledger.claim",
        "ledger.launch",
        "compute.launch_attributes",
        "ledger.remember_launch",
        "compute.snapshot_volume",
        "compute.snapshot_volume",
        "ledger.answer",
        "ledger.note_name",
    ],
    Method.VOLUME: ["ledger.claim", "compute.snapshot_volume", "ledger.answer"],
}
ADOPTING = [
    "ledger.claim",
    "compute.snapshots_of",
    "ledger.launch",
    "ledger.answer",
    "ledger.settle",
    "bus.announce",
    "ledger.note_name",
]


@pytest.mark.parametrize("method", Method)
def test_a_first_delivery_looks_nothing_up_and_creates_once(method):
    stage, request = Stage(), a_request(method)

    point = stage.take(request)

    assert stage.steps.taken == CLEAN[method]
    assert point.status is PointStatus.PENDING
    assert_taken_once(stage, request)
    assert len(stage.bus.announced) == 1


def test_each_snapshot_bears_the_tags_of_its_point_from_the_call_on():
    stage = Stage()

    stage.take(a_request(tags={"cost-centre": "web"}))

    for made in stage.ec2.made.values():
        assert made.tags == {
            "Name": "web",
            "backup": "daily",
            "cost-centre": "web",
            "lastgood:point": a_request().point,
            "lastgood:policy": POLICY,
            "lastgood:run": a_request().run,
            "lastgood:slot": "2026-03-01T02:00:00Z",
            "lastgood:source": SOURCE.id,
            "lastgood:method": "set",
            "lastgood:members": "2",
        }


def test_a_policys_tag_cannot_take_the_place_of_ours():
    stage = Stage()

    stage.take(a_request(tags={tags.POINT: "pt-other"}))

    assert {made.tags[tags.POINT] for made in stage.ec2.made.values()} == {a_request().point}


def test_members_know_their_device_and_the_manifest_the_facts_as_planned():
    stage = Stage()

    point = stage.take(a_request(elsewhere={"vol-9": "pt-9"}, notes=("vol-9 left out",)))

    assert {one.volume: one.device for one in point.members} == {
        "vol-1": "/dev/sda1",
        "vol-2": "/dev/sdf",
    }
    assert point.manifest.instance == WEB
    assert [one.id for one in point.manifest.volumes] == ["vol-1", "vol-2"]
    assert point.manifest.taken_elsewhere == {"vol-9": "pt-9"}
    assert point.notes == ("vol-9 left out",)


def test_a_lone_volume_has_neither_device_nor_instance_nor_launch_attributes():
    point = Stage().take(a_request(Method.VOLUME))

    assert [one.device for one in point.members] == [None]
    assert point.manifest.instance is None
    assert point.manifest.launch is None


def test_the_name_of_a_source_is_remembered_with_its_point():
    one, other = Stage(), Stage()
    data = a_volume("vol-1", tags={"Name": "data"})

    one.take()
    other.take(a_request(Method.VOLUME, volumes=(data,)))

    assert one.ledger.named("web") == (SOURCE,)
    assert other.ledger.named("data") == (LONE,)


def test_a_name_that_could_not_be_noted_leaves_the_point_as_it_is_and_is_noted_with_the_next():
    stage = Stage()
    stage.steps.at("ledger.note_name", raising(Throttled("busy", SOON)))
    with pytest.raises(Throttled):
        stage.take()

    assert stage.take().status is PointStatus.PENDING
    assert_taken_once(stage, a_request())
    assert stage.ledger.named("web") == ()


# -- tags that do not fit ---------------------------------------------------------------------


def volume_with_tags(id_, own):
    return a_volume(id_, tags={f"key-{n}": "x" for n in range(own)})


@pytest.mark.parametrize(("own", "copied"), [(43, True), (44, False)])
def test_a_sets_volumes_keep_their_own_tags_up_to_fifty_with_ours(own, copied):
    stage = Stage()
    request = a_request(volumes=(a_volume("vol-1"), volume_with_tags("vol-2", own)))

    point = stage.take(request)

    assert stage.ec2.copied_tags == [copied]
    assert bool(point.notes) is not copied
    assert copied or "more than the 50 that EC2 allows" in point.notes[0]


@given(st.integers(0, 50), st.integers(0, 20), st.booleans())
@settings(max_examples=40)
def test_no_snapshot_taken_alone_gets_more_than_fifty_tags(own, of_policy, reserved):
    stage = Stage()
    extra = {"aws:cloudformation:stack-id": "x"} if reserved else {}
    volume = a_volume("vol-1", tags={**{f"key-{n}": "x" for n in range(own)}, **extra})
    more = {f"policy-{n}": "x" for n in range(of_policy)}

    point = stage.take(a_request(Method.VOLUME, volumes=(volume,), tags=more))

    (made,) = stage.ec2.made.values()
    fits = own + of_policy + len(tags.OF_POINT) <= tags.MOST_TAGS
    assert len(made.tags) == of_policy + len(tags.OF_POINT) + (own if fits else 0)
    assert len(made.tags) <= tags.MOST_TAGS
    assert bool(point.notes) is not fits


def test_tags_that_a_restore_left_on_a_volume_do_not_lead_to_the_old_point():
    stage = Stage()
    volume = a_volume("vol-1", tags={tags.POINT: "pt-old", "team": "web"})

    stage.take(a_request(Method.VOLUME, volumes=(volume,)))

    (made,) = stage.ec2.made.values()
    assert made.tags[tags.POINT] == a_request(Method.VOLUME).point
    assert made.tags["team"] == "web"


# -- killed at any step -----------------------------------------------------------------------


def moments(names):
    """Each call of these, by name and how many of that name it is, before and after its effect."""
    return [
        pytest.param(name, names[: n + 1].count(name), after, id=f"{n}-{name}-{when}")
        for n, name in enumerate(names)
        for after, when in ((False, "before"), (True, "after"))
    ]


def every_moment():
    return [
        pytest.param(method, *one.values, id=f"{method}-{one.id}")
        for method, names in CLEAN.items()
        for one in moments(names)
    ]


@pytest.mark.parametrize(("method", "step", "nth", "after"), every_moment())
def test_a_worker_killed_at_any_step_leaves_one_point_after_redelivery(method, step, nth, after):
    stage, request = Stage(), a_request(method)
    stage.steps.at(step, die, nth=nth, after=after)

    stage.until_done(request)

    assert_taken_once(stage, request)


def a_stage_whose_reply_was_lost(*, state=COMPLETED, cause=None):
    """The set was made and has ended, its events are gone by, and nobody knows of it."""
    stage = Stage()
    stage.steps.at("compute.snapshot_set", die, after=True)
    with pytest.raises(Killed):
        stage.take()
    stage.clock.advance(REDELIVERY)
    for snapshot in stage.ec2.made:
        stage.ec2.end(snapshot, state, cause)
    stage.steps.taken.clear()
    return stage


def test_adopting_a_set_creates_nothing():
    stage = a_stage_whose_reply_was_lost()

    stage.take()

    assert stage.steps.taken == ADOPTING
    assert stage.ec2.sets == 1


@pytest.mark.parametrize(("step", "nth", "after"), moments(ADOPTING))
def test_a_worker_killed_while_it_adopts_leaves_a_point_that_is_settled_and_announced(
    step, nth, after
):
    stage = a_stage_whose_reply_was_lost()
    stage.steps.at(step, die, nth=nth, after=after)

    stage.until_done()

    assert stage.ec2.sets == 1
    assert stage.point().status is AVAILABLE
    assert [one.status for one in stage.bus.announced][:1] == [AVAILABLE]


KILLS = st.lists(
    st.tuples(st.sampled_from(sorted({*CLEAN[Method.SET], *ADOPTING})), st.booleans()), max_size=4
)


@given(KILLS, st.sampled_from([Method.SET, Method.ONE_BY_ONE]), st.integers(0, 2).map(minutes))
@settings(max_examples=60, deadline=None)
def test_however_often_workers_are_killed_no_volume_is_taken_twice(kills, method, lag):
    stage, request = Stage(), a_request(method)
    stage.ec2.lag = lag
    for step, after in kills:
        name = "compute.snapshot_volume" if method is not Method.SET else "compute.snapshot_set"
        stage.steps.at(name if step == "compute.snapshot_set" else step, die, after=after)
        try:
            stage.take(request)
        except (Killed, TryAgain, Conflict):
            stage.clock.advance(REDELIVERY)

    stage.until_done(request)

    assert_taken_once(stage, request)


# -- try again at any step --------------------------------------------------------------------

NO_EFFECT = [
    Throttled("slow down", SOON),
    Unavailable("no connection", SOON, effect_unknown=False),
    Unavailable("no reply", SOON),
]


@pytest.mark.parametrize("error", NO_EFFECT, ids=["throttled", "not-sent", "no-reply"])
@pytest.mark.parametrize(
    ("method", "step", "nth"),
    [
        pytest.param(method, name, names[: n + 1].count(name), id=f"{method}-{n}-{name}")
        for method, names in CLEAN.items()
        for n, name in enumerate(names)
    ],
)
def test_a_call_that_is_to_be_tried_again_costs_time_and_no_second_snapshot(
    method, step, nth, error
):
    stage, request = Stage(), a_request(method)
    stage.steps.at(step, raising(error), nth=nth)

    with pytest.raises(TryAgain):
        stage.take(request)
    stage.until_done(request)

    assert_taken_once(stage, request)


@pytest.mark.parametrize(
    ("method", "step", "nth", "after"), [one for one in every_moment() if one.values[-1]]
)
def test_a_reply_that_is_lost_at_any_step_costs_a_look_up_and_no_second_snapshot(
    method, step, nth, after
):
    stage, request = Stage(), a_request(method)
    stage.steps.at(step, raising(Unavailable("no reply", SOON)), nth=nth, after=after)

    stage.until_done(request)

    assert_taken_once(stage, request)


@pytest.mark.parametrize("error", NO_EFFECT, ids=["throttled", "not-sent", "no-reply"])
@pytest.mark.parametrize("step", ADOPTING)
def test_an_adoption_that_is_to_be_tried_again_ends_settled_and_announced(step, error):
    stage = a_stage_whose_reply_was_lost()
    stage.steps.at(step, raising(error))

    stage.until_done()

    assert stage.ec2.sets == 1
    assert stage.point().status is AVAILABLE
    assert [one.status for one in stage.bus.announced][:1] == [AVAILABLE]


def test_a_limit_before_anything_was_made_owes_no_look_up():
    stage = Stage()
    stage.steps.at(
        "compute.snapshot_set", raising(LimitReached("too close", timedelta(seconds=20)))
    )

    with pytest.raises(LimitReached):
        stage.take()
    stage.take()

    assert "compute.snapshots_of" not in stage.steps.taken


def test_a_limit_after_the_first_of_several_volumes_keeps_its_wait_and_owes_a_look_up():
    stage, request = Stage(), a_request(Method.ONE_BY_ONE)
    limit = LimitReached("too many pending", minutes(2))
    stage.steps.at("compute.snapshot_volume", raising(limit), nth=2)

    with pytest.raises(LimitReached) as raised:
        stage.take(request)

    assert raised.value.after == minutes(2)
    assert stage.ledger.point(request.point).attempted_at == T0


def test_points_taken_one_by_one_go_on_where_they_broke_off():
    stage, request = Stage(), a_request(Method.ONE_BY_ONE)
    stage.steps.at("compute.snapshot_volume", die, nth=2)
    with pytest.raises(Killed):
        stage.take(request)
    stage.clock.advance(REDELIVERY)

    point = stage.take(request)

    assert stage.volumes_taken() == ["vol-1", "vol-2"]
    assert len(point.members) == 2
    assert "ledger.attempt" in stage.steps.taken


def test_when_the_release_fails_too_the_lease_runs_out_and_the_point_is_taken_once():
    stage, request = Stage(), a_request()
    stage.steps.at("compute.snapshot_set", raising(Throttled("slow down", SOON)))
    stage.steps.at("ledger.release", raising(Throttled("slow down", SOON)))

    stage.until_done(request)

    assert_taken_once(stage, request)


# -- looking up -------------------------------------------------------------------------------


def test_an_absence_is_believed_only_when_describes_had_their_time():
    stage = Stage()
    stage.ec2.lag = minutes(2)
    stage.steps.at("compute.snapshot_set", raising(Unavailable("no reply", SOON)), after=True)
    with pytest.raises(Unavailable):
        stage.take()
    stage.clock.advance(minutes(1))

    with pytest.raises(NotSettledYet) as early:
        stage.take()

    assert early.value.after == PATIENCE.lag - minutes(1)
    stage.clock.advance(early.value.after)
    stage.take()
    assert stage.ec2.sets == 1


def test_after_a_look_up_that_finds_nothing_the_next_attempt_has_its_own_time_to_show():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(Unavailable("no reply", SOON)))
    with pytest.raises(Unavailable):
        stage.take()
    stage.clock.advance(PATIENCE.lag)
    stage.ec2.lag = minutes(2)
    stage.steps.at("compute.snapshot_set", raising(Unavailable("no reply", SOON)), after=True)

    with pytest.raises(Unavailable):
        stage.take()

    with pytest.raises(NotSettledYet) as early:
        stage.take()
    assert early.value.after == PATIENCE.lag
    stage.until_done()
    assert stage.ec2.sets == 1


def test_of_surplus_snapshots_the_oldest_are_taken_over_and_a_sweep_is_told_of_the_others():
    stage = a_stage_whose_reply_was_lost(state=PENDING)
    stage.ec2.snapshot_set(a_request(), {tags.POINT: a_request().point}, copy_tags=False)

    point = stage.take()

    assert [one.snapshot for one in point.members] == ["snap-001", "snap-002"]
    assert [one.point for one in stage.ledger.doubts()] == [point.id]


def test_a_second_create_call_is_preceded_by_a_doubt_for_the_sweep():
    stage, request = Stage(), a_request()
    stage.steps.at("compute.snapshot_set", die)
    with pytest.raises(Killed):
        stage.take(request)
    stage.clock.advance(REDELIVERY)

    stage.take(request)

    assert stage.steps.taken.index("ledger.doubt") < len(stage.steps.taken) - 1
    (doubt,) = stage.ledger.doubts()
    assert (doubt.point, doubt.since) == (request.point, stage.clock.now())


def test_a_clean_take_leaves_no_doubt():
    stage = Stage()

    stage.take()

    assert list(stage.ledger.doubts()) == []


def test_a_set_that_lost_a_member_fails_and_says_which_volume_has_none():
    stage = a_stage_whose_reply_was_lost()
    del stage.ec2.made["snap-002"]

    with pytest.raises(CallRefused, match="there is no snapshot of vol-2"):
        stage.take()

    assert stage.point().status is FAILED
    assert stage.point().cause.startswith("CallRefused: the set of pt-")
    assert stage.ec2.sets == 1


def test_an_adopted_set_that_is_still_pending_is_settled_by_its_event():
    stage = a_stage_whose_reply_was_lost(state=PENDING)

    point = stage.take()

    assert point.status is PointStatus.PENDING
    assert stage.bus.announced == []
    assert_taken_once(stage, a_request())


def test_an_adopted_set_that_is_completed_is_available_at_once_and_announced():
    stage = a_stage_whose_reply_was_lost()

    point = stage.take()

    assert point.status is AVAILABLE
    assert stage.bus.announced == [point]


def test_an_adopted_set_that_ended_in_error_fails_with_its_cause():
    stage = a_stage_whose_reply_was_lost(state=ERROR, cause="no access to the key")

    point = stage.take()

    assert point.status is FAILED
    assert "snap-001 of vol-1: no access to the key" in point.cause
    assert stage.bus.announced == [point]


@given(st.lists(st.sampled_from(MemberState), min_size=2, max_size=2))
@settings(max_examples=9)
def test_an_adopted_set_is_settled_only_as_its_members_say(states):
    stage = a_stage_whose_reply_was_lost(state=PENDING)
    for snapshot, state in zip(sorted(stage.ec2.made), states, strict=True):
        stage.ec2.end(snapshot, state)

    point = stage.take()

    wanted = FAILED if ERROR in states else PointStatus.PENDING if PENDING in states else AVAILABLE
    assert point.status is wanted
    assert len(stage.bus.announced) == point.status.settled


# -- twice, and at the same time --------------------------------------------------------------


def test_a_second_delivery_of_a_point_that_is_taken_changes_nothing():
    stage = Stage()
    first = stage.take()

    assert stage.take() == first

    assert stage.ec2.sets == 1
    assert stage.bus.announced == []


def test_a_delivery_after_the_end_announces_again_if_one_went_before_it():
    stage = Stage()
    stage.take()
    stage.complete()

    stage.take(attempt=1)
    assert len(stage.bus.announced) == 1

    stage.take(attempt=2)
    assert [one.status for one in stage.bus.announced] == [AVAILABLE, AVAILABLE]


@pytest.mark.parametrize(("step", "nth", "after"), moments(CLEAN[Method.SET]))
def test_another_worker_that_comes_at_any_step_makes_no_second_set(step, nth, after):
    stage, request = Stage(), a_request()
    others = []

    def come():
        try:
            others.append(stage.take(request))
        except Conflict as conflict:
            others.append(conflict)

    stage.steps.at(step, come, nth=nth, after=after)

    stage.until_done(request)
    stage.until_done(request)

    assert len(others) == 1
    assert_taken_once(stage, request)


def test_a_worker_that_outlives_its_lease_cannot_answer_over_the_one_that_took_over():
    stage, request = Stage(), a_request()

    def take_over():
        stage.clock.advance(PATIENCE.lease + SOON)
        stage.take(request)

    stage.steps.at("compute.snapshot_set", take_over, after=True)

    with pytest.raises(Conflict):
        stage.take(request)

    assert stage.ec2.sets == 1
    assert_taken_once(stage, request)


def test_a_conflict_fails_nothing_even_at_the_last_delivery():
    stage, request = Stage(), a_request()
    stage.steps.at("compute.snapshot_set", die)
    with pytest.raises(Killed):
        stage.take(request)

    with pytest.raises(Conflict):
        stage.take(request, last=True)

    assert stage.point().status is PointStatus.CREATING
    assert stage.bus.announced == []


# -- the end of patience, and refusals --------------------------------------------------------


@pytest.mark.parametrize("method", Method)
def test_the_last_delivery_leaves_a_call_of_unknown_effect_to_the_sweep(method):
    stage, request = Stage(), a_request(method)
    lost = Unavailable("no reply", SOON)
    operation = "snapshot_set" if method is Method.SET else "snapshot_volume"
    stage.steps.at(f"compute.{operation}", raising(lost))

    with pytest.raises(Unavailable):
        stage.take(request, last=True)

    assert stage.ledger.point(request.point).status is PointStatus.CREATING
    assert stage.bus.announced == []


@pytest.mark.parametrize("error", NO_EFFECT[:2], ids=["throttled", "not-sent"])
def test_the_last_delivery_fails_the_point_on_record_and_on_the_bus(error):
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(error))

    with pytest.raises(type(error)):
        stage.take(last=True)

    point = stage.point()
    assert point.status is FAILED
    assert point.cause == f"{type(error).__name__}: {error}"
    assert stage.bus.announced == [point]


def test_before_the_last_delivery_nothing_is_failed():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(Throttled("slow down", SOON)))

    with pytest.raises(Throttled):
        stage.take()

    assert stage.point().status is PointStatus.CREATING
    assert stage.bus.announced == []


@pytest.mark.parametrize("kind", [AccessDenied, KeyDenied, SourceGone, CallRefused])
def test_a_refusal_fails_the_point_at_the_first_delivery(kind):
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(kind("not like this")))

    with pytest.raises(kind):
        stage.take()

    point = stage.point()
    assert point.cause == f"{kind.__name__}: not like this"
    assert point.history[-1].status is FAILED
    assert stage.bus.announced == [point]


def test_a_refusal_after_the_first_of_several_volumes_has_a_sweep_remove_what_was_made():
    stage, request = Stage(), a_request(Method.ONE_BY_ONE)
    stage.steps.at("compute.snapshot_volume", raising(KeyDenied("no key")), nth=2)

    with pytest.raises(KeyDenied, match="no key"):
        stage.take(request)

    assert stage.point().status is FAILED
    assert [one.point for one in stage.ledger.doubts()] == [request.point]


def test_a_refused_look_up_after_a_lost_reply_leaves_the_set_to_the_sweep():
    stage = a_stage_whose_reply_was_lost()
    stage.steps.at("compute.snapshots_of", raising(AccessDenied("not now")))

    with pytest.raises(AccessDenied):
        stage.take()

    assert stage.point().status is PointStatus.CREATING
    assert stage.point().owner is None
    assert stage.point().attempted_at is not None
    assert stage.bus.announced == []


def test_what_was_made_of_an_instance_that_is_gone_since_is_left_to_the_sweep():
    stage, request = Stage(), bare(Method.SET)
    stage.steps.at("compute.snapshot_set", die, after=True)
    with pytest.raises(Killed):
        stage.take(request)
    stage.ec2.fleet.clear()
    stage.clock.advance(REDELIVERY)

    with pytest.raises(SourceGone):
        stage.take(request)

    assert stage.point().status is PointStatus.CREATING


def test_a_refusal_after_the_set_was_made_leaves_it_to_the_sweep():
    stage = Stage()
    attach_a_third(stage)
    stage.steps.at("compute.volumes_by_id", raising(AccessDenied("not now")))

    with pytest.raises(AccessDenied):
        stage.take()

    assert stage.ec2.sets == 1
    assert stage.point().status is PointStatus.CREATING


def test_a_point_that_failed_is_not_tried_again_by_a_second_message():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(CallRefused("no")))
    with pytest.raises(CallRefused):
        stage.take()

    assert stage.take().status is FAILED

    assert stage.ec2.sets == 0


def test_an_instance_that_is_gone_fails_its_point_by_name():
    stage = Stage()
    stage.ec2.fleet.clear()

    with pytest.raises(SourceGone):
        stage.take()

    assert stage.point().cause.startswith("SourceGone: ")


def test_a_failure_is_announced_later_if_the_bus_was_not_to_be_reached():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(CallRefused("no")))
    stage.steps.at("bus.announce", raising(Throttled("slow down", SOON)))

    point = stage.until_done()

    assert point.status is FAILED
    assert stage.bus.announced == [point]


def test_a_failure_that_could_not_be_put_on_record_is_tried_again():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(CallRefused("no")))
    stage.steps.at("ledger.give_up", raising(Throttled("slow down", SOON)))

    with pytest.raises(Throttled):
        stage.take()

    assert stage.point().status is PointStatus.CREATING


def test_a_point_that_another_worker_took_meanwhile_is_not_failed():
    stage, request = Stage(), a_request()

    def take_over_and_be_refused():
        stage.clock.advance(PATIENCE.lease + SOON)
        with pytest.raises(NotSettledYet):
            stage.take(request)
        stage.steps.at("compute.snapshot_set", die)
        stage.clock.advance(PATIENCE.lag)
        with pytest.raises(Killed):
            stage.take(request)
        raise CallRefused("no")

    stage.steps.at("compute.snapshot_set", take_over_and_be_refused)

    with pytest.raises(CallRefused):
        stage.take(request)

    assert stage.point().status is PointStatus.CREATING
    assert stage.point().owner == "worker-3"
    assert stage.bus.announced == []


def test_a_ledger_that_is_missing_is_told_by_its_name():
    stage = Stage()
    stage.steps.at("ledger.claim", raising(LedgerMissing("no table")))
    stage.steps.at("ledger.give_up", raising(LedgerMissing("no table")))

    with pytest.raises(LedgerMissing):
        stage.take()

    assert stage.ec2.made == {}


# -- bare requests, and volumes that came and went --------------------------------------------


def bare(method=Method.SET, **given):
    return a_request(method, volumes=(), instance=None, bare=True, **given)


@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
def test_a_bare_request_reads_the_facts_itself(method):
    stage = Stage()

    point = stage.take(bare(method))

    assert stage.volumes_taken() == ["vol-1", "vol-2"]
    assert point.manifest.instance == WEB
    assert [one.id for one in point.manifest.volumes] == ["vol-1", "vol-2"]
    assert point.notes == ()


def test_a_bare_request_leaves_out_what_planning_left_out():
    stage = Stage()
    stage.ec2.put(
        an_instance(volumes={"/dev/sda1": "vol-1", "/dev/sdf": "vol-2", "/dev/sdg": "vol-3"}),
        a_volume("vol-3"),
    )

    point = stage.take(bare(excluded=("vol-2",), exclude_boot=True))

    assert stage.volumes_taken() == ["vol-3"]
    assert [one.id for one in point.manifest.volumes] == ["vol-3"]


def test_a_bare_request_for_an_instance_that_is_gone_fails_before_anything_is_made():
    stage = Stage()
    stage.ec2.fleet.clear()

    with pytest.raises(SourceGone, match="there is no instance i-0a any more"):
        stage.take(bare())

    assert stage.point().status is FAILED
    assert stage.ec2.made == {}


@pytest.mark.parametrize("error", NO_EFFECT, ids=["throttled", "not-sent", "no-reply"])
@pytest.mark.parametrize("step", ["compute.instances_by_id", "compute.volumes_by_id"])
def test_the_reads_of_a_bare_request_can_be_tried_again(step, error):
    stage = Stage()
    stage.steps.at(step, raising(error))

    stage.until_done(bare())

    assert_taken_once(stage, a_request())


@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
def test_a_source_without_a_volume_left_fails_by_name(method):
    stage = Stage()
    stage.ec2.put(an_instance(volumes={}))

    with pytest.raises(SourceGone):
        stage.take(bare(method))

    assert stage.point().status is FAILED


def attach_a_third(stage):
    stage.ec2.put(
        an_instance(volumes={"/dev/sda1": "vol-1", "/dev/sdf": "vol-2", "/dev/sdg": "vol-3"}),
        a_volume(
            "vol-3",
            attachments=(
                Attachment(instance=SOURCE.id, device="/dev/sdg", delete_on_termination=False),
            ),
        ),
    )


def test_a_volume_attached_after_planning_is_in_the_point_and_in_its_manifest():
    stage = Stage()
    attach_a_third(stage)

    point = stage.take()

    assert [one.device for one in point.members] == ["/dev/sda1", "/dev/sdf", "/dev/sdg"]
    assert [one.id for one in point.manifest.volumes] == ["vol-1", "vol-2", "vol-3"]
    assert point.notes == ("volumes were attached or detached between plan and snapshot: vol-3",)


def test_a_volume_detached_after_planning_is_in_neither():
    stage = Stage()
    stage.ec2.put(an_instance(volumes={"/dev/sda1": "vol-1"}))

    point = stage.take()

    assert [one.volume for one in point.members] == ["vol-1"]
    assert [one.id for one in point.manifest.volumes] == ["vol-1"]
    assert point.notes == ("volumes were attached or detached between plan and snapshot: vol-2",)


@pytest.mark.parametrize("error", NO_EFFECT, ids=["throttled", "not-sent", "no-reply"])
@pytest.mark.parametrize("step", ["compute.instances_by_id", "compute.volumes_by_id"])
def test_reading_the_changed_facts_can_be_tried_again_without_a_second_set(step, error):
    stage = Stage()
    attach_a_third(stage)
    stage.steps.at(step, raising(error))

    stage.until_done()

    assert stage.volumes_taken() == ["vol-1", "vol-2", "vol-3"]


def test_an_adopted_set_with_a_volume_attached_after_planning_keeps_it():
    stage = Stage()
    attach_a_third(stage)
    stage.steps.at("compute.snapshot_set", die, after=True)

    point = stage.until_done()

    assert [one.volume for one in point.members] == ["vol-1", "vol-2", "vol-3"]
    assert stage.ec2.sets == 1


def test_a_whole_set_of_an_instance_that_lost_a_volume_after_planning_is_adopted():
    stage = Stage()
    stage.ec2.put(an_instance(volumes={"/dev/sda1": "vol-1"}))
    stage.steps.at("compute.snapshot_set", die, after=True)

    point = stage.until_done()

    assert [one.volume for one in point.members] == ["vol-1"]
    assert stage.ec2.sets == 1


def test_the_manifest_has_the_volumes_that_were_taken_whatever_comes_or_goes_after():
    stage = Stage()
    attach_a_third(stage)

    def swap():
        del stage.ec2.disks["vol-1"]
        stage.ec2.put(
            an_instance(volumes={"/dev/sdf": "vol-2", "/dev/sdg": "vol-3", "/dev/sdh": "vol-4"}),
            a_volume("vol-4"),
        )

    stage.steps.at("compute.snapshot_set", swap, after=True)

    point = stage.take()

    taken = [one.volume for one in point.members]
    assert sorted(one.id for one in point.manifest.volumes) == taken == ["vol-1", "vol-2", "vol-3"]


def test_a_set_keeps_its_planned_facts_if_its_instance_went_away_just_after():
    stage = Stage()
    attach_a_third(stage)
    stage.steps.at("compute.snapshot_set", stage.ec2.fleet.clear, after=True)

    point = stage.take()

    assert len(point.members) == 3
    assert point.manifest.instance == WEB


# -- launch attributes ------------------------------------------------------------------------

STARTED = WEB.launched_at


def known(stage, *, read, launched=STARTED):
    launch = LaunchAttributes(read_at=read, launched_at=launched, user_data="old")
    stage.ledger.remember_launch(POLICY, SOURCE, launch)
    return launch


@pytest.mark.parametrize(
    ("state", "age", "launched", "kept"),
    [
        ("running", timedelta(days=7) - timedelta(seconds=1), STARTED, True),
        ("running", timedelta(days=7), STARTED, False),
        ("running", timedelta(0), STARTED - timedelta(days=1), False),
        ("stopped", timedelta(0), STARTED, False),
        ("stopping", timedelta(0), STARTED, False),
        ("pending", timedelta(0), STARTED, False),
    ],
)
def test_launch_attributes_hold_for_a_week_of_one_start_while_it_runs(state, age, launched, kept):
    stage = Stage()
    stage.ec2.user_data = "new"
    known(stage, read=T0 - age, launched=launched)

    point = stage.take(a_request(instance=an_instance(state=state)))

    assert point.manifest.launch.user_data == ("old" if kept else "new")
    assert ("compute.launch_attributes" in stage.steps.taken) is not kept
    assert stage.ledger.launch(POLICY, SOURCE) == point.manifest.launch


def test_launch_attributes_are_kept_for_each_policy_on_its_own():
    stage = Stage()
    known(stage, read=T0)

    stage.take(a_request(policy="other"))

    assert "compute.launch_attributes" in stage.steps.taken


def test_launch_attributes_survive_a_take_that_must_be_tried_again():
    stage = Stage()
    stage.steps.at("compute.snapshot_set", raising(Throttled("slow down", SOON)))

    stage.until_done()

    assert stage.steps.taken.count("compute.launch_attributes") == 1


@pytest.mark.parametrize("known_before", [False, True])
def test_launch_attributes_that_ec2_refuses_to_tell_do_not_keep_the_data_from_being_taken(
    known_before,
):
    stage = Stage()
    if known_before:
        known(stage, read=T0 - timedelta(days=20))
    stage.steps.at("compute.launch_attributes", raising(AccessDenied("not authorized")))

    point = stage.take()

    told = "those of 2026-02-09 are kept" if known_before else "there are none"
    assert point.notes == (f"launch attributes such as user data not read, {told}: not authorized",)
    assert bool(point.manifest.launch) is known_before
    assert_taken_once(stage, a_request())


# -- runs -------------------------------------------------------------------------------------


def test_a_point_that_another_run_took_is_counted_as_taken_elsewhere():
    stage = Stage()
    alone = run_id(POLICY, T0, SOURCE.id)
    for run in (a_request().run, alone):
        stage.ledger.open_run(Run(id=run, policy=POLICY, slot=T0, started_at=T0))
    stage.take(a_request())

    for _ in range(2):
        assert stage.take(a_request(run=alone)).run == a_request().run

    (point,) = stage.ledger.in_flight()
    stage.ledger.settle(stage.ledger.point(point.id), Outcome(status=PointStatus.FAILED, at=T0))
    for run in (a_request().run, alone):
        assert stage.ledger.run(run).ended[PointStatus.FAILED] == 1
    assert stage.ec2.sets == 1


def test_a_manifest_that_the_ledger_cannot_hold_goes_without_the_volumes_tags():
    stage = Stage()
    tags_of_all = {f"{n:02}-{'k' * 100}": "v" * 256 for n in range(40)}
    volumes = tuple(a_volume(f"vol-{n}", tags=tags_of_all) for n in range(1, 41))
    devices = {f"/dev/sd{n}": one.id for n, one in enumerate(volumes)}
    stage.ec2.put(an_instance(volumes=devices), *volumes)

    point = stage.take(a_request(volumes=volumes, instance=an_instance(volumes=devices)))

    assert len(point.members) == len(point.manifest.volumes) == 40
    assert {len(one.tags) for one in point.manifest.volumes} == {0}
    assert point.notes == ("the volumes' own tags are on their snapshots only: they are too many",)
