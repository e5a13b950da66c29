"""The sweep: what lost events, dead workers and missed schedules left behind is put right."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_snapshots.usecase import Taker
from lastgood.domain import copying, tags
from lastgood.domain.mending import (
    DOUBT_FOR,
    GONE_AFTER,
    IDLE,
    IDLE_FOR_LIMIT,
    MOST_RETAKES,
    SETTLE_AFTER,
)
from lastgood.domain.model import (
    MemberState,
    Method,
    Planned,
    PointStatus,
    Run,
    RunStatus,
    Source,
)
from lastgood.domain.names import point_id, run_id
from lastgood.domain.policy import (
    Copy,
    Encryption,
    Policy,
    ResourceKind,
    Retention,
    Schedule,
    Select,
)
from lastgood.domain.requests import request_for
from lastgood.domain.restoring import RestoreStatus
from lastgood.errors import (
    AccessDenied,
    Conflict,
    KeyDenied,
    LastgoodError,
    Throttled,
    TryAgain,
    Unavailable,
)
from lastgood.fleet import Fleet
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Delivery, Patience
from plan_snapshots.usecase import Planner, PlanRequest
from record_snapshot.usecase import Recorder
from sweep import reminding
from sweep.catching_up import GRACE, PLANNING, WINDOW
from sweep.progress import RESERVE
from sweep.usecase import Sweeper, SweepRequest
from tests.support.builders import (
    POLICY,
    SOURCE,
    T0,
    a_claim,
    a_restore,
    a_volume,
    an_instance,
    attached_to,
    minutes,
)
from tests.support.fakes import (
    FakeBus,
    FakeClock,
    FakeCompute,
    FakeCopyQueue,
    FakeNotices,
    FakePlanners,
    FakePolicies,
    FakeQueue,
    FakeRestoreMachine,
    Killed,
    Steps,
    an_event,
    die,
    raising,
)

HOME, NORTH = "eu-west-1", "eu-north-1"
PATIENCE = Patience(lease=timedelta(seconds=130))
SWEEPS = Patience(lease=timedelta(seconds=910))
EVERY = minutes(15)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
DENIED = AccessDenied("not authorized")
SLOW_DOWN = Throttled("slow down", SECOND)
LOST = Unavailable("the reply was lost", SECOND)

COMPLETED, ERROR = MemberState.COMPLETED, MemberState.ERROR
AVAILABLE, FAILED, PENDING = PointStatus.AVAILABLE, PointStatus.FAILED, PointStatus.PENDING


def a_policy(name=POLICY, *, schedules=(), rpo=None, **select):
    facts = {"resource": ResourceKind.INSTANCE, "tags": {"backup": ("daily",)}}
    return Policy(
        name=name,
        select=Select(**facts | select),
        retention=Retention(keep_daily=7),
        schedules=schedules,
        rpo=rpo,
    )


NIGHTLY = Schedule(cron="0 2 * * ? *")
"""T0 is one of its slots."""


@dataclass
class Stage:
    """One instance with two volumes, its workers, and the sweeps."""

    policy: Policy = field(default_factory=a_policy)
    clock: FakeClock = field(default_factory=FakeClock)
    steps: Steps = field(default_factory=Steps)
    deliveries: int = 0

    def __post_init__(self):
        self.bus, self.queue = FakeBus(), FakeQueue()
        self.planners, self.notices = FakePlanners(), FakeNotices()
        self.regions = {one: FakeCompute(self.clock, one) for one in (HOME, NORTH)}
        self.ec2 = self.regions[HOME]
        self.ec2.put(an_instance(), a_volume("vol-1"), a_volume("vol-2"))
        self.policies = FakePolicies({self.policy.name: self.policy})
        self.restart(MemoryLedger())

    def restart(self, ledger):
        """All functions, on this ledger. Only the sweep's calls are steps."""
        self.ledger = ledger
        plain = {
            "at": lambda place: self.regions[place.region],
            "ledger": ledger,
            "clock": self.clock,
        }
        self.taker = Taker(**plain, bus=self.bus, patience=PATIENCE)
        self.recorder = Recorder(**plain, bus=self.bus, accounts=frozenset({SOURCE.account}))
        self.planner = Planner(
            **plain,
            policies=self.policies,
            queue=self.queue,
            planners=self.planners,
            account=SOURCE.account,
            home_region=HOME,
        )
        self.copies, self.machine = FakeCopyQueue(), FakeRestoreMachine()
        self.sweeper = Sweeper(
            copies=self.copies,
            policies=self.policies,
            at=lambda place: self.steps.watch("compute", self.regions[place.region]),
            ledger=self.steps.watch("ledger", ledger),
            queue=self.steps.watch("queue", self.queue),
            planners=self.steps.watch("planners", self.planners),
            notices=self.steps.watch("notices", self.notices),
            machine=self.machine,
            bus=self.steps.watch("bus", self.bus),
            clock=self.clock,
            patience=SWEEPS,
            account=SOURCE.account,
            home_region=HOME,
        )

    def sweep(self, *, after=timedelta(0), rebuild=False):
        """A sweep that meets no trouble."""
        report, error = self.trouble(after=after, rebuild=rebuild)
        assert error is None
        assert report.problems == ()
        return report

    def trouble(self, *, after=timedelta(0), rebuild=False):
        self.clock.advance(after)
        return self.sweeper.sweep(SweepRequest(rebuild=rebuild))

    def plan(self, slot=T0, **given):
        return self.planner.plan(PlanRequest(**{"policy": self.policy.name, "slot": slot} | given))

    def request(self, slot=T0, source=SOURCE.id):
        fleet = Fleet(policy=self.policy, compute=self.ec2, account=SOURCE.account)
        return request_for(
            fleet.judge(source, alone=False),
            policy=self.policy.name,
            tags={},
            run=run_id(self.policy.name, slot),
            slot=slot,
            at=self.clock.now(),
        )

    def take(self, request=None, *, last=False):
        """One delivery, by a worker of its own."""
        self.deliveries += 1
        delivery = Delivery(owner=f"worker-{self.deliveries}", attempt=self.deliveries, last=last)
        return self.taker.take(request or self.request(), delivery)

    def lose(self, call, error, *, had_effect=True, last=False, slot=T0):
        """A delivery whose creating call ends in this error."""
        broken = Steps()
        broken.at(f"compute.{call}", raising(error), after=had_effect)
        watched = replace(
            self.taker, at=lambda place: broken.watch("compute", self.regions[place.region])
        )
        self.deliveries += 1
        delivery = Delivery(owner=f"worker-{self.deliveries}", attempt=self.deliveries, last=last)
        with pytest.raises(type(error)):
            watched.take(self.request(slot), delivery)

    def deliver(self):
        """What was sent to the take queue since, each message until it is done or refused."""
        sent, self.queue.sends = self.queue.requests, []
        for request in sent:
            for _ in range(12):
                try:
                    self.take(request)
                except (TryAgain, Conflict) as error:
                    self.clock.advance(getattr(error, "after", timedelta(seconds=30)))
                except LastgoodError:
                    break
                else:
                    break

    def run_policy(self, slot=T0):
        """Plan, take, complete, record: a whole run on a good day."""
        self.clock.time = max(self.clock.time, slot)
        self.plan(slot)
        self.deliver()
        self.complete()

    def complete(self):
        """All snapshots end, and their points are settled by the events."""
        self.clock.advance(minutes(5))
        self.ec2.end_all()
        for point in list(self.ledger.in_flight()):
            known = self.ledger.point(point.id)
            if known.members:
                event = an_event(*known.snapshots, at=self.clock.now())
                self.recorder.record(event, Delivery(owner="recorder"))

    def point(self, slot=T0, source=SOURCE.id):
        return self.ledger.point(point_id(self.policy.name, slot, source))

    def copy_by_hand(self, snapshot, volume, **given):
        """A person's snapshot that bears the same tags."""
        made = self.ec2.made[snapshot]
        id_ = f"snap-person-{len(self.ec2.made)}"
        member = replace(made.member, snapshot=id_, volume=volume, **given)
        self.ec2.made[id_] = replace(made, member=member)
        return id_

    def subjects(self):
        return [one.subject for one in self.notices.told]


# -- a good day -------------------------------------------------------------------------------


def test_where_all_is_well_a_sweep_changes_nothing_and_says_so():
    stage = Stage(a_policy(schedules=(NIGHTLY,), rpo=timedelta(hours=26)))
    stage.run_policy()

    report = stage.sweep(after=minutes(20), rebuild=True)

    assert (report.in_flight, report.settled, report.stuck, report.rebuilt) == (0, 0, 0, 0)
    assert (report.caught_up, report.past_rpo) == ({}, {POLICY: 0})
    assert (report.told, stage.notices.told) == (0, [])
    assert stage.planners.asked == stage.queue.requests == []
    assert not report.cut_short


def test_a_sweep_of_nothing_asks_ec2_nothing():
    stage = Stage()

    stage.sweep()

    assert not [one for one in stage.steps.taken if one.startswith("compute")]


def test_what_is_under_way_is_left_to_those_who_are_at_it():
    stage = Stage()
    stage.take()

    report = stage.sweep(after=SETTLE_AFTER)

    assert (report.in_flight, report.settled) == (1, 0)
    assert stage.steps.taken.count("compute.snapshots_of_points") == 0
    assert stage.point().status is PENDING


# -- events that were lost --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["set", "one-by-one"])
@pytest.mark.parametrize(("state", "status"), [(COMPLETED, AVAILABLE), (ERROR, FAILED)])
def test_a_point_whose_events_were_lost_is_settled_counted_and_announced(method, state, status):
    stage = Stage()
    stage.ec2.put(an_instance(hibernation=method == "one-by-one"))
    stage.plan()
    stage.deliver()
    stage.ec2.end_all()
    stage.ec2.end("snap-002", state, "the key is disabled" if state is ERROR else None)

    report = stage.sweep(after=minutes(16))

    point = stage.point()
    assert report.settled == 1
    assert (point.method.value, point.status) == (method, status)
    assert [one.state for one in point.members] == [COMPLETED, state]
    assert (point.cause or "") == (
        "snap-002 of vol-2: the key is disabled" if state is ERROR else ""
    )
    assert [one.status for one in stage.bus.announced] == [status]
    assert stage.ledger.run(run_id(POLICY, T0)).ended[status] == 1


def test_a_point_one_of_whose_snapshots_is_pending_waits():
    stage = Stage()
    stage.take()
    stage.ec2.end("snap-001")

    assert stage.sweep(after=timedelta(hours=3)).settled == 0

    assert stage.point().status is PENDING


def test_a_member_that_was_deleted_by_hand_while_pending_fails_its_point_after_a_while():
    stage = Stage()
    stage.take()
    stage.ec2.end("snap-001")
    del stage.ec2.made["snap-002"]

    assert stage.sweep(after=minutes(20)).settled == 0
    assert stage.sweep(after=GONE_AFTER).settled == 1

    assert stage.point().status is FAILED
    assert stage.point().cause == "snap-002 of vol-2: the snapshot is not there any more"


def test_a_point_that_waited_for_hours_before_it_was_taken_is_not_failed_by_a_describe_that_lags():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    stage.ledger.release(a_claim().id, "worker-0", "one is pending", T0, untouched=True)
    stage.clock.advance(timedelta(hours=5))
    stage.ec2.lag = minutes(2)
    stage.take()

    stage.sweep()

    assert stage.point().status is PENDING


def test_an_event_that_comes_after_all_changes_nothing():
    stage = Stage()
    stage.take()
    stage.ec2.end_all()
    stage.sweep(after=minutes(16))
    settled = stage.point()

    stage.recorder.record(an_event("snap-001", "snap-002"), Delivery(owner="recorder"))

    assert stage.point() == settled
    assert len(stage.bus.announced) == 1


def test_an_event_that_comes_between_look_and_settlement_is_believed():
    stage = Stage()
    stage.take()
    stage.ec2.end("snap-001", ERROR, "no key")
    event = an_event("snap-001", "snap-002", at=T0 + minutes(15))
    stage.steps.at(
        "ledger.settle", lambda: stage.recorder.record(event, Delivery(owner="recorder"))
    )

    stage.sweep(after=minutes(16))

    assert stage.point().status is AVAILABLE


def test_points_are_looked_up_by_region_and_many_at_once():
    stage = Stage()
    stage.ec2.put_fleet((f"{n:03}" for n in range(200)), tags={"backup": "daily"})
    stage.plan()
    stage.deliver()

    report = stage.sweep(after=minutes(16))

    assert report.in_flight == 201
    assert stage.steps.taken.count("compute.snapshots_of_points") == 2
    assert stage.steps.taken.count("ledger.point") == 0


# -- workers that died ------------------------------------------------------------------------


def dead_worker(stage, *, had_effect=False):
    """It died at the last delivery of its message, which nobody will bring again."""
    stage.lose("snapshot_set", LOST, had_effect=had_effect, last=True)
    assert stage.point().status is PointStatus.CREATING


def sweep_and_deliver(stage, times):
    reports = []
    for _ in range(times):
        reports.append(stage.sweep(after=EVERY))
        stage.deliver()
    return reports


def test_a_point_whose_worker_died_at_the_last_delivery_is_asked_for_again():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))

    report = stage.sweep(after=a_claim().lease + IDLE + SECOND)

    assert (report.stuck, report.retaken) == (1, 1)
    (request,) = stage.queue.requests
    assert request == stage.request()
    stage.deliver()
    stage.complete()
    assert stage.point().status is AVAILABLE
    assert stage.ec2.sets == 1


def test_before_its_next_delivery_could_have_come_it_is_left_alone():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))

    report = stage.sweep(after=a_claim().lease + IDLE)

    assert (report.stuck, report.retaken) == (0, 0)


def test_what_the_dead_worker_had_made_is_adopted_by_the_next():
    stage = Stage()
    dead_worker(stage, had_effect=True)

    sweep_and_deliver(stage, 12)
    stage.complete()

    assert stage.point().status is AVAILABLE
    assert set(stage.point().snapshots) == set(stage.ec2.made)
    assert stage.point().manifest.instance is not None
    assert stage.ec2.sets == 1


def test_a_point_is_asked_for_again_three_times_and_then_given_up():
    stage = Stage()
    stage.plan()
    stage.queue.sends = []
    stage.ledger.claim(a_claim("worker-0"))

    reports = [stage.sweep(after=EVERY) for _ in range(40)]

    assert sum(one.retaken for one in reports) == MOST_RETAKES == len(stage.queue.requests)
    assert sum(one.given_up for one in reports) == 1
    assert stage.point().status is FAILED
    assert stage.point().cause == "given up: asked for again 3 times: no worker answered"
    assert stage.ledger.run(run_id(POLICY, T0)).status is RunStatus.FAILED
    assert {one.status for one in stage.bus.announced} == {FAILED}


def test_a_run_whose_requests_went_unheard_is_asked_for_again():
    stage = Stage()
    stage.plan()
    stage.queue.sends = []

    asked = [stage.sweep(after=minutes(59)) for _ in range(4)]

    assert [one.asked_again for one in asked] == [0, 0, 0, 1]
    assert stage.planners.asked == [(POLICY, T0, None)]


def test_people_are_told_once_of_a_run_that_never_ends():
    stage = Stage()
    stage.plan()
    stage.queue.sends = []

    told = [stage.sweep(after=timedelta(hours=10)).told for _ in range(5)]

    assert sum(told) == 1
    assert "does not end: running" in stage.notices.told[0].text
    assert "1 were never heard of" in stage.notices.told[0].text


def test_a_run_that_has_a_point_in_flight_is_not_asked_for_again():
    stage = Stage()
    stage.plan()
    stage.take()

    stage.sweep(after=timedelta(hours=4))

    assert stage.planners.asked == []


def test_a_point_that_waits_for_a_limit_is_given_the_time_that_the_limit_takes():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    stage.ledger.release(a_claim().id, "worker-0", "one is pending", T0, untouched=True)

    assert stage.sweep(after=timedelta(hours=2)).stuck == 0
    assert stage.sweep(after=timedelta(hours=1)).retaken == 1


def test_a_source_that_is_gone_leaves_a_whole_set_which_is_adopted():
    stage = Stage()
    stage.plan()
    stage.queue.sends = []
    dead_worker(stage, had_effect=True)
    stage.ec2.end_all()
    del stage.ec2.fleet["i-0a"]

    report = stage.sweep(after=IDLE_FOR_LIMIT)

    point = stage.point()
    assert (report.adopted, report.given_up, report.retaken) == (1, 0, 0)
    assert (point.status, set(point.snapshots)) == (AVAILABLE, set(stage.ec2.made))
    assert point.notes == (
        "adopted by a sweep, since there is no i-0a any more: its manifest is lost",
    )
    assert stage.bus.announced[0].status is AVAILABLE
    assert stage.ledger.run(point.run).status is RunStatus.OK


def test_a_set_that_is_pending_is_adopted_and_settled_as_any_other():
    stage = Stage()
    dead_worker(stage, had_effect=True)
    del stage.ec2.fleet["i-0a"]
    stage.sweep(after=IDLE_FOR_LIMIT)
    assert stage.point().status is PENDING

    stage.ec2.end_all()
    stage.sweep(after=EVERY)

    assert stage.point().status is AVAILABLE


def test_a_source_that_is_gone_and_left_a_part_of_a_set_fails_its_point():
    stage = Stage()
    dead_worker(stage, had_effect=True)
    stage.ec2.end_all()
    del stage.ec2.made["snap-002"]
    del stage.ec2.fleet["i-0a"]

    report = stage.sweep(after=IDLE_FOR_LIMIT)

    assert report.given_up == 1
    assert stage.point().cause == "given up: there is no i-0a any more"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda stage: stage.ec2.put(an_instance(tags={"backup": "never"})),
            "the policy leaves it out now: its tag backup is 'never'; the policy wants 'daily'",
        ),
        (
            lambda stage: stage.policies.known.clear(),
            "policy web-daily is not deployed any more",
        ),
    ],
)
def test_a_point_that_nobody_wants_any_more_is_given_up_with_the_reason(change, why):
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    change(stage)

    stage.sweep(after=minutes(45))

    assert (stage.point().status, stage.point().cause) == (FAILED, f"given up: {why}")


def test_a_worker_that_comes_back_while_a_sweep_looks_has_the_point():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    stage.steps.at("ledger.retake", stage.take)

    assert stage.sweep(after=minutes(45)).retaken == 0

    stage.deliver()
    assert stage.ec2.sets == 1
    assert stage.point().status is PENDING


def test_two_sweeps_at_once_count_once():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    stage.steps.at("ledger.retake", stage.sweep)

    stage.sweep(after=minutes(45))

    assert stage.point().retakes == 1
    stage.deliver()
    assert stage.ec2.sets == 1


def test_a_point_is_not_given_up_because_the_queue_took_no_message():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    for nth in range(1, 13):
        stage.steps.at("queue.send", raising(SLOW_DOWN), nth=nth)
    for _ in range(15):
        stage.trouble(after=EVERY)

    sweep_and_deliver(stage, 2)

    assert stage.point().status is PENDING


@pytest.mark.parametrize(("source", "taken"), [(None, ["vol-b"]), ("i-b", ["vol-b", "vol-s"])])
def test_an_instance_that_was_asked_for_alone_has_its_shared_volumes_when_asked_for_again(
    source, taken
):
    stage = Stage()
    tags = {"backup": "daily"}
    stage.ec2.put(
        a_volume("vol-s", multi_attach=True, attachments=attached_to("i-a", "i-b")),
        a_volume("vol-a"),
        a_volume("vol-b"),
        an_instance("i-a", volumes={"/dev/sda1": "vol-a", "/dev/sdf": "vol-s"}, tags=tags),
        an_instance("i-b", volumes={"/dev/sda1": "vol-b", "/dev/sdf": "vol-s"}, tags=tags),
    )
    run = run_id(POLICY, T0, source)
    shared = Source(id="i-b", region=HOME, account=SOURCE.account)
    stage.ledger.claim(a_claim("worker-0", run=run, source=shared))

    stage.sweep(after=minutes(45))

    (request,) = stage.queue.requests
    assert request.run == run
    assert [one.id for one in request.volumes] == taken


def test_a_worker_that_took_the_point_just_before_it_was_given_up_has_it():
    stage = Stage()
    stage.ledger.claim(a_claim("worker-0"))
    stage.policies.known.clear()
    stage.steps.at("ledger.claim", stage.take)

    report = stage.sweep(after=minutes(45))

    assert (report.adopted, report.given_up) == (0, 0)
    assert stage.point().status is PENDING


def test_a_point_whose_adoption_was_not_announced_is_announced_later():
    stage = Stage()
    stage.lose("snapshot_set", Killed())
    stage.ec2.end_all()
    del stage.ec2.fleet["i-0a"]
    stage.steps.at("bus.announce", die)
    with pytest.raises(Killed):
        stage.sweep(after=IDLE_FOR_LIMIT)
    assert stage.point().status is AVAILABLE

    stage.sweep(after=DOUBT_FOR)

    assert [one.status for one in stage.bus.announced] == [AVAILABLE]


# -- surplus ----------------------------------------------------------------------------------


def two_sets(stage, slot=T0):
    """The first set is shown only when nobody waits for it any more. The second's ids."""
    before = set(stage.ec2.made)
    stage.ec2.lag = timedelta(hours=2)
    stage.lose("snapshot_set", LOST, slot=slot)
    stage.ec2.lag = timedelta(0)
    stage.clock.advance(PATIENCE.lag)
    stage.take(stage.request(slot))
    ours = stage.point(slot).snapshots
    for one in stage.ec2.made.keys() - before - set(ours):
        stage.ec2.made[one].shown_from = stage.clock.now()
    assert len(stage.ec2.made) == len(before) + 4
    return ours


def test_a_surplus_set_is_removed_and_nothing_else():
    stage = Stage()
    ours = two_sets(stage)
    stage.complete()
    persons = stage.copy_by_hand(ours[0], "vol-9")
    later = stage.copy_by_hand(ours[0], "vol-1", started_at=T0 + DOUBT_FOR + minutes(30))
    copy = stage.copy_by_hand(ours[0], "vol-ffff1234")

    report = stage.sweep(after=EVERY + EVERY)

    assert report.surplus_removed == 2
    assert set(stage.ec2.made) == {*ours, persons, later, copy}
    assert stage.sweep(after=EVERY).surplus_removed == 0


def test_surplus_is_looked_for_until_it_would_have_shown_up_and_then_no_more():
    stage = Stage()
    two_sets(stage)
    stage.complete()

    stage.sweep(after=DOUBT_FOR)

    assert list(stage.ledger.doubts()) == []
    assert len(stage.ec2.made) == 2


def test_a_point_that_is_pending_is_not_announced_when_its_doubt_is_over():
    stage = Stage()
    two_sets(stage)

    stage.sweep(after=DOUBT_FOR)

    assert list(stage.ledger.doubts()) == []
    assert stage.bus.announced == []


def test_what_was_made_for_a_point_that_was_given_up_is_removed():
    stage = Stage()
    stage.lose("snapshot_set", LOST)
    del stage.ec2.made["snap-002"]
    stage.clock.advance(PATIENCE.lag)
    with pytest.raises(LastgoodError, match="is not whole"):
        stage.take()
    assert stage.point().status is FAILED

    stage.sweep(after=minutes(20))

    assert stage.ec2.made == {}


def test_surplus_that_somebody_made_his_own_is_left_to_him_and_stops_nothing():
    stage = Stage()
    ours = two_sets(stage)
    stage.complete()
    first, _ = sorted(stage.ec2.made.keys() - set(ours))
    stage.ec2.in_use.add(first)
    other = a_claim("worker", slot=T0 - DAY)
    stage.ledger.claim(other)

    report, error = stage.trouble(after=minutes(45))

    assert error is None
    assert [first in one for one in report.problems] == [True]
    assert set(stage.ec2.made) == {*ours, first}
    assert (report.surplus_removed, report.retaken) == (1, 1)

    stage.trouble(after=DAY)

    assert set(stage.ec2.made) == {*ours, first}
    assert list(stage.ledger.doubts()) == []


def test_no_snapshot_is_removed_before_describes_must_show_all_and_the_point_is_taken():
    stage = Stage()
    two_sets(stage)

    report = stage.sweep(after=minutes(5))

    assert report.surplus_removed == 0
    assert len(stage.ec2.made) == 4


def test_a_doubt_about_what_is_not_on_record_is_dropped():
    stage = Stage()
    stage.ledger.doubt("pt-unknown", T0)

    stage.sweep(after=DAY)

    assert list(stage.ledger.doubts()) == []


def test_a_sweep_that_died_before_it_announced_leaves_word_for_a_later_one():
    stage = Stage()
    stage.take()
    stage.ec2.end_all()
    stage.steps.at("bus.announce", die)
    with pytest.raises(Killed):
        stage.sweep(after=minutes(16))
    assert stage.point().status is AVAILABLE
    assert stage.bus.announced == []

    stage.sweep(after=DOUBT_FOR)

    assert [one.status for one in stage.bus.announced] == [AVAILABLE]


# -- a ledger that was lost -------------------------------------------------------------------


def test_the_whole_ledger_is_rebuilt_from_tags_but_for_what_tags_do_not_say():
    stage = Stage()
    stage.ec2.put(an_instance("i-0h", hibernation=True, volumes={"/dev/sda1": "vol-3"}))
    stage.ec2.put(a_volume("vol-3"))
    for day in range(3):
        stage.run_policy(T0 + day * DAY)
    before = {
        point.id: stage.ledger.point(point.id)
        for source in ("i-0a", "i-0h")
        for point in stage.ledger.points(source)
    }
    sources = {one.source: one for one in stage.ledger.sources(POLICY)}
    stage.restart(MemoryLedger())

    report = stage.sweep(after=minutes(40), rebuild=True)

    assert report.rebuilt == len(before) == 6
    for id_, old in before.items():
        new = stage.ledger.point(id_)
        assert new.status is AVAILABLE
        assert new.manifest is None
        same = ("policy", "run", "slot", "source", "method", "taken_at")
        assert [getattr(new, one) for one in same] == [getattr(old, one) for one in same]
        assert set(new.snapshots) == set(old.snapshots)
        for snapshot in old.snapshots if old.method is Method.ONE_BY_ONE else old.snapshots[:1]:
            assert stage.ledger.point_of(snapshot) == new
    for one in stage.ledger.sources(POLICY):
        assert one.last_available == sources[one.source].last_available
        assert one.last_point == sources[one.source].last_point
    assert stage.sweep(after=EVERY, rebuild=True).rebuilt == 0


def test_a_rebuilt_ledger_knows_a_source_by_the_name_that_all_of_its_snapshots_bear():
    stage = Stage()
    stage.ec2.put(an_instance(tags={"backup": "daily", "Name": "web"}))
    stage.run_policy(T0)
    stage.restart(MemoryLedger())

    stage.sweep(after=minutes(40), rebuild=True)

    assert stage.ledger.named("web") == (SOURCE,)


def test_a_rebuilt_ledger_takes_no_volumes_name_for_that_of_its_instance():
    stage = Stage()
    stage.ec2.put(an_instance(tags={"backup": "daily", "Name": "web"}))
    stage.ec2.put(a_volume("vol-2", tags={"Name": "web-data"}))
    stage.run_policy(T0)
    stage.restart(MemoryLedger())

    stage.sweep(after=minutes(40), rebuild=True)

    assert stage.ledger.named("web") == stage.ledger.named("web-data") == ()


def test_without_being_asked_to_a_sweep_rebuilds_nothing():
    stage = Stage()
    stage.run_policy()
    stage.restart(MemoryLedger())

    assert stage.sweep(after=minutes(40)).rebuilt == 0


def test_what_was_pending_is_rebuilt_pending_and_settled_by_its_event():
    stage = Stage()
    stage.take()
    stage.restart(MemoryLedger())
    stage.sweep(after=minutes(40), rebuild=True)
    assert stage.point().status is PENDING

    stage.complete()

    assert stage.point().status is AVAILABLE


def test_a_point_whose_snapshots_are_so_young_that_some_may_not_be_shown_is_rebuilt_later():
    stage = Stage()
    stage.take()
    stage.ec2.end_all()
    stage.restart(MemoryLedger())

    assert stage.sweep(after=minutes(1), rebuild=True).rebuilt == 0
    assert stage.sweep(after=DAY, rebuild=True).rebuilt == 1


def test_all_regions_of_all_policies_are_looked_at():
    stage = Stage(a_policy(regions=(NORTH,)))
    stage.regions[NORTH].put(an_instance(), a_volume("vol-1"), a_volume("vol-2"))
    stage.plan()
    stage.deliver()
    stage.regions[NORTH].end_all()
    stage.restart(MemoryLedger())

    stage.sweep(after=minutes(40), rebuild=True)

    assert stage.point().source.region == NORTH


def test_snapshots_whose_tags_a_person_spoilt_stop_no_other():
    stage = Stage()
    stage.run_policy()
    stage.run_policy(T0 + DAY)
    spoilt = stage.point()
    for one in spoilt.snapshots:
        stage.ec2.made[one].tags[tags.SLOT] = "2026-03-01"
    stage.restart(MemoryLedger())

    assert stage.sweep(after=minutes(40), rebuild=True).rebuilt == 1


@pytest.mark.parametrize("step", ["known", "snapshots_of_points", "rebuild"])
@pytest.mark.parametrize("after", [False, True])
def test_a_rebuilding_sweep_that_was_killed_is_made_good_by_the_next(step, after):
    stage = Stage()
    for day in range(3):
        stage.run_policy(T0 + day * DAY)
    stage.restart(MemoryLedger())
    port = "compute" if step == "snapshots_of_points" else "ledger"
    stage.steps.at(f"{port}.{step}", die, nth=2, after=after)
    with pytest.raises(Killed):
        stage.sweep(after=minutes(40), rebuild=True)

    stage.sweep(rebuild=True)

    assert len(list(stage.ledger.points(SOURCE.id))) == 3


# -- slots that nobody started ----------------------------------------------------------------


def a_night(**given):
    """A policy whose schedule was due at T0, and did not run."""
    return Stage(a_policy(schedules=(NIGHTLY,)), **given)


def test_a_slot_that_was_skipped_is_asked_for_and_told():
    stage = a_night()

    report = stage.sweep(after=GRACE)

    assert stage.planners.asked == [(POLICY, T0, None)]
    assert report.caught_up == {POLICY: 1}
    assert stage.subjects() == ["Lastgood: web-daily was not started at 2026-03-01 02:00 UTC"]


def test_a_schedule_that_may_still_start_is_given_its_time():
    stage = a_night()
    flexible = replace(NIGHTLY, window=timedelta(hours=1))
    other = Stage(a_policy(schedules=(flexible,)))

    stage.sweep(after=GRACE - SECOND)
    other.sweep(after=GRACE + timedelta(hours=1) - SECOND)
    assert stage.planners.asked == other.planners.asked == []

    other.sweep(after=SECOND)
    assert other.planners.asked == [(POLICY, T0, None)]


def test_a_slot_that_was_started_is_not_asked_for_again():
    stage = a_night()
    stage.run_policy()

    assert stage.sweep(after=minutes(40)).caught_up == {}


def test_a_run_of_one_source_does_not_count_as_the_slot():
    stage = a_night()
    stage.plan(source=SOURCE.id)

    stage.sweep(after=GRACE)

    assert stage.planners.asked == [(POLICY, T0, None)]


@pytest.mark.parametrize(("age", "asked"), [(WINDOW - SECOND, 1), (WINDOW, 0)])
def test_a_slot_is_caught_up_for_a_day_and_no_longer(age, asked):
    sundays = replace(NIGHTLY, cron="0 2 ? * SUN *")
    stage = Stage(a_policy(schedules=(sundays,)))

    stage.sweep(after=age)

    assert len(stage.planners.asked) == asked


def test_of_many_skipped_slots_only_the_newest_is_caught_up():
    stage = Stage(a_policy(schedules=(replace(NIGHTLY, cron="0 * * * ? *"),)))

    stage.sweep(after=timedelta(hours=7, minutes=30))

    assert stage.planners.asked == [(POLICY, T0 + timedelta(hours=7), None)]


def test_each_schedule_of_a_policy_is_looked_at():
    stage = Stage(a_policy(schedules=(NIGHTLY, replace(NIGHTLY, cron="30 3 * * ? *"))))

    stage.sweep(after=timedelta(hours=2))

    assert [slot for _, slot, _ in stage.planners.asked] == [T0, T0 + minutes(90)]


@pytest.mark.parametrize(("since", "asked"), [(T0 - SECOND, 1), (T0, 0), (T0 + SECOND, 0)])
def test_a_slot_from_before_the_policy_was_deployed_is_none_of_its_slots(since, asked):
    stage = a_night()
    stage.policies.since = since

    stage.sweep(after=GRACE)

    assert len(stage.planners.asked) == asked


def test_a_local_time_that_daylight_saving_skips_is_caught_up():
    """On 29 March 2026 clocks in Berlin go from 02:00 to 03:00."""
    berlin = Schedule(cron="30 2 * * ? *", timezone="Europe/Berlin")
    stage = Stage(a_policy(schedules=(berlin,)))
    stage.clock.time = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    stage.run_policy(datetime(2026, 3, 28, 1, 30, tzinfo=UTC))

    for _ in range(12):
        stage.sweep(after=EVERY)
        for policy, slot, source in stage.planners.asked:
            assert stage.plan(slot, policy=policy, source=source).point_count == 1
        stage.planners.asked.clear()

    slots = [run.slot for run in stage.ledger.runs(POLICY)]
    assert slots[0] == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert len(slots) == 2
    assert len(stage.subjects()) == 1


def test_a_local_time_that_comes_twice_is_one_slot():
    """On 25 October 2026 clocks in Berlin go back from 03:00 to 02:00."""
    berlin = Schedule(cron="30 2 * * ? *", timezone="Europe/Berlin")
    stage = Stage(a_policy(schedules=(berlin,)))
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    stage.run_policy(first)

    for _ in range(16):
        stage.sweep(after=EVERY)

    assert stage.planners.asked == []


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_run_that_left_snapshots_but_no_record_takes_no_source_twice_and_ends(rebuild):
    stage = a_night()
    stage.ec2.put_fleet("bc", tags={"backup": "daily"})
    stage.plan()
    taken, missed, pending = stage.queue.requests
    stage.take(taken)
    stage.complete()
    stage.take(pending)
    stage.queue.sends = []
    stage.restart(MemoryLedger())

    report = stage.sweep(after=minutes(40), rebuild=rebuild)

    assert report.rebuilt == 2
    assert stage.planners.asked == [(POLICY, T0, None)]
    stage.plan()
    stage.deliver()
    stage.complete()
    assert stage.point(source=missed.source.id).status is AVAILABLE
    assert len(stage.ec2.made) == 4
    run = stage.ledger.run(run_id(POLICY, T0))
    assert run.status is RunStatus.OK
    assert sum(run.ended.values()) == run.planned.points == 3


def test_what_a_run_left_is_looked_for_in_every_region_of_the_policy():
    stage = Stage(a_policy(schedules=(NIGHTLY,), regions=(NORTH,)))
    stage.regions[NORTH].put(an_instance(), a_volume("vol-1"), a_volume("vol-2"))
    stage.plan()
    stage.deliver()
    stage.restart(MemoryLedger())

    assert stage.sweep(after=minutes(40)).rebuilt == 1


def test_a_slot_is_not_asked_for_while_its_snapshots_may_not_be_shown_yet():
    stage = a_night()
    stage.clock.advance(GRACE)
    stage.take()
    stage.restart(MemoryLedger())

    stage.sweep()
    assert stage.planners.asked == []

    stage.sweep(after=SWEEPS.lag)
    assert len(stage.planners.asked) == 1


def test_a_slot_is_asked_for_although_nobody_can_be_told():
    stage = a_night()
    stage.steps.at("notices.tell", raising(KeyDenied("no key for the topic")))

    _, error = stage.trouble(after=GRACE)

    assert isinstance(error, KeyDenied)
    assert stage.planners.asked == [(POLICY, T0, None)]


def test_slots_come_before_what_may_take_all_the_time():
    stage = a_night()
    stage.take()

    stage.sweep(after=GRACE)

    assert stage.steps.taken.index("planners.ask") < stage.steps.taken.index("ledger.in_flight")


# -- plans that broke off ---------------------------------------------------------------------


@pytest.mark.parametrize("source", [None, SOURCE.id])
@pytest.mark.parametrize("slot", [T0, T0 + minutes(7)], ids=["scheduled", "asked-for-by-a-person"])
def test_a_plan_that_broke_off_is_asked_for_again(slot, source):
    stage = a_night()
    run = Run(id=run_id(POLICY, slot, source), policy=POLICY, slot=slot, started_at=slot)
    stage.ledger.open_run(replace(run, source=source))
    if (slot, source) != (T0, None):
        stage.plan()
    stage.clock.time = slot

    stage.sweep(after=PLANNING)
    assert stage.planners.asked == []

    stage.sweep(after=SECOND)
    assert stage.planners.asked == [(POLICY, slot, source)]
    assert stage.notices.told == []


def test_a_plan_some_of_whose_regions_wait_is_asked_for_again_from_its_last_sign_on():
    stage = a_night()
    stage.ledger.open_run(Run(id=run_id(POLICY, T0), policy=POLICY, slot=T0, started_at=T0))
    planned = Planned(at=T0 + minutes(12), points=0, waiting=(HOME,))
    stage.ledger.plan_run(run_id(POLICY, T0), planned)

    stage.sweep(after=minutes(12) + PLANNING)
    assert stage.planners.asked == []

    stage.sweep(after=SECOND)
    assert stage.planners.asked == [(POLICY, T0, None)]


def test_a_scheduled_plan_that_broke_off_is_asked_for_again_although_a_person_began_another():
    stage = a_night()
    stage.ledger.open_run(Run(id=run_id(POLICY, T0), policy=POLICY, slot=T0, started_at=T0))
    stage.run_policy(T0 + minutes(9))

    stage.sweep(after=PLANNING)

    assert stage.planners.asked == [(POLICY, T0, None)]


def test_a_plan_that_broke_off_more_than_a_day_ago_is_left():
    stage = Stage()
    stage.ledger.open_run(Run(id=run_id(POLICY, T0), policy=POLICY, slot=T0, started_at=T0))

    stage.sweep(after=WINDOW)

    assert stage.planners.asked == []


def test_an_older_plan_that_broke_off_is_left_when_a_newer_one_was_begun():
    stage = Stage(a_policy(schedules=(replace(NIGHTLY, cron="0 * * * ? *"),)))
    for hour in range(3):
        slot = T0 + timedelta(hours=hour)
        stage.ledger.open_run(
            Run(id=run_id(POLICY, slot), policy=POLICY, slot=slot, started_at=slot)
        )

    stage.sweep(after=timedelta(hours=2, minutes=30))

    assert stage.planners.asked == [(POLICY, T0 + timedelta(hours=2), None)]


# -- what people are told of runs -------------------------------------------------------------


def a_failed_run(stage, slot=T0):
    stage.clock.time = max(stage.clock.time, slot)
    stage.plan(slot)
    stage.deliver()
    stage.ec2.end_all()
    last = max(stage.ec2.made)
    stage.ec2.end(last, ERROR, "the key is disabled")
    point = stage.point(slot)
    stage.clock.advance(minutes(3))
    event = an_event(*point.snapshots, state=ERROR, at=stage.clock.now())
    stage.recorder.record(event, Delivery(owner="recorder"))


def test_a_run_that_ended_badly_is_told_once():
    stage = Stage()
    a_failed_run(stage)

    reports = [stage.sweep(after=EVERY) for _ in range(6)]

    assert [one.told for one in reports] == [1, 0, 0, 0, 0, 0]
    (notice,) = stage.notices.told
    assert notice.subject == "Lastgood: web-daily 2026-03-01 02:00Z failed, 1 failed"
    assert "- i-0a in eu-west-1: snap-002 of vol-2: the key is disabled" in notice.text


def test_a_run_that_is_not_over_is_told_when_it_is():
    stage = Stage()
    stage.plan()
    stage.sweep(after=minutes(5))
    assert stage.notices.told == []

    stage.queue.sends = []
    a_failed_run(stage)
    stage.sweep(after=EVERY)

    assert len(stage.notices.told) == 1


def test_of_a_run_that_ended_well_nobody_is_told():
    stage = Stage()
    stage.run_policy()

    stage.sweep(after=EVERY)

    assert stage.notices.told == []


def test_a_run_is_told_again_only_if_the_sweep_died_before_it_noted_that():
    stage = Stage()
    a_failed_run(stage)
    stage.steps.at("ledger.note_told", die)
    with pytest.raises(Killed):
        stage.sweep(after=EVERY)

    stage.sweep()
    stage.sweep()

    assert len(stage.notices.told) == 2


def test_a_notice_that_could_not_be_sent_is_sent_by_the_next_sweep():
    stage = Stage()
    a_failed_run(stage)
    stage.steps.at("notices.tell", raising(SLOW_DOWN))

    _, error = stage.trouble(after=EVERY)
    stage.sweep(after=EVERY)

    assert error is SLOW_DOWN
    assert len(stage.notices.told) == 1


def test_every_bad_run_of_two_days_is_told_and_no_older_one():
    stage = Stage()
    for day in range(4):
        a_failed_run(stage, T0 + day * DAY)

    stage.sweep(after=minutes(1))

    told = [f"2026-03-0{day} 02:00Z" for day in (4, 3)]
    assert [one.split()[2] + " " + one.split()[3] for one in stage.subjects()] == told


def test_the_newest_run_is_told_however_old_it_is():
    stage = Stage()
    a_failed_run(stage)

    stage.sweep(after=timedelta(days=9))

    assert len(stage.notices.told) == 1


def test_a_region_that_could_not_be_read_is_told_once_nobody_will_try_again_by_himself():
    stage = Stage()
    run = Run(id=run_id(POLICY, T0), policy=POLICY, slot=T0, started_at=T0)
    stage.ledger.open_run(run)
    problems = ("AccessDenied: describe instances in eu-west-1",)
    stage.ledger.plan_run(run.id, Planned(at=T0, points=0, problems=problems))

    stage.sweep(after=minutes(5))
    assert stage.notices.told == []

    stage.sweep(after=minutes(10))
    assert len(stage.notices.told) == 1


def test_of_runs_that_are_done_with_only_the_newest_is_counted_again():
    stage = Stage()
    stage.run_policy()
    stage.run_policy(T0 + minutes(60))
    stage.sweep(after=EVERY)
    assert stage.steps.taken.count("ledger.run") == 2
    stage.steps.taken.clear()

    stage.sweep(after=EVERY)

    assert stage.steps.taken.count("ledger.run") == 1


# -- sources past their rpo -------------------------------------------------------------------

RPO = timedelta(hours=26)


def with_rpo(**given):
    return Stage(a_policy(schedules=(), rpo=RPO, **given))


def test_a_source_without_a_good_point_for_longer_than_the_rpo_is_told_once_a_day():
    stage = with_rpo()
    stage.run_policy()

    assert stage.sweep(after=RPO - minutes(5)).past_rpo == {POLICY: 0}
    assert stage.sweep(after=minutes(1)).past_rpo == {POLICY: 1}
    for _ in range(12):
        assert stage.sweep(after=EVERY).past_rpo == {POLICY: 1}

    assert stage.subjects() == ["Lastgood: 1 sources of web-daily are past their rpo"]
    stage.sweep(after=DAY)
    assert len(stage.notices.told) == 2


def test_a_failed_point_is_no_good_point():
    stage = with_rpo()
    stage.run_policy()
    a_failed_run(stage, T0 + DAY)

    assert stage.sweep(after=timedelta(hours=3)).past_rpo == {POLICY: 1}


def test_a_source_that_never_had_a_good_point_is_counted_from_first_sight():
    stage = with_rpo()
    stage.take()

    assert stage.sweep(after=RPO).past_rpo == {POLICY: 0}
    assert stage.sweep(after=SECOND).past_rpo == {POLICY: 1}


@pytest.mark.parametrize("change", ["terminated", "gone", "tags"])
def test_a_source_that_the_last_run_did_not_ask_for_is_gone_and_not_overdue(change):
    stage = with_rpo()
    stage.ec2.put_fleet("b", tags={"backup": "daily"})
    stage.run_policy()
    if change == "gone":
        del stage.ec2.fleet["i-b"]
    else:
        state = "terminated" if change == "terminated" else "running"
        tags = {"backup": "daily" if change == "terminated" else "never"}
        stage.ec2.put_fleet("b", state=state, tags=tags)
    stage.run_policy(T0 + DAY)

    assert stage.sweep(after=timedelta(hours=20)).past_rpo == {POLICY: 0}


def test_a_source_is_not_taken_for_gone_when_a_person_took_another_one_alone():
    stage = with_rpo()
    stage.ec2.put_fleet("b", tags={"backup": "daily"})
    stage.run_policy()
    stage.clock.time = T0 + DAY
    stage.plan(T0 + DAY, source="i-b")
    stage.deliver()
    stage.complete()

    assert stage.sweep(after=timedelta(hours=3)).past_rpo == {POLICY: 1}


def test_a_source_that_is_gone_is_not_overdue_while_a_run_a_week_later_is_under_way():
    stage = with_rpo()
    stage.run_policy()
    del stage.ec2.fleet["i-0a"]
    stage.ec2.put_fleet("b", tags={"backup": "daily"})
    stage.run_policy(T0 + 7 * DAY)
    stage.clock.time = T0 + 14 * DAY
    stage.plan(T0 + 14 * DAY)

    report = stage.sweep(after=minutes(1))

    (overdue,) = stage.notices.told
    assert report.past_rpo == {POLICY: 1}
    assert "- i-b in" in overdue.text


def test_a_source_in_a_region_that_cannot_be_read_any_more_is_overdue():
    stage = with_rpo(regions=(HOME, NORTH))
    stage.regions[NORTH].put_fleet(["n"], tags={"backup": "daily"})
    stage.regions[NORTH].put_fleet(["gone"], tags={"backup": "daily"})
    stage.plan()
    stage.deliver()
    stage.regions[NORTH].end_all()
    stage.sweep(after=minutes(20))
    del stage.regions[NORTH].fleet["i-gone"]
    stage.clock.time = T0 + minutes(30)
    stage.plan(T0 + minutes(30))
    stage.deliver()
    stage.regions[NORTH].end_all()
    stage.sweep(after=minutes(20))
    denied = Steps()
    planner = replace(
        stage.planner, at=lambda place: denied.watch(place.region, stage.regions[place.region])
    )
    for day in (1, 2):
        stage.clock.time = T0 + day * DAY
        denied.at(f"{NORTH}.instances", raising(DENIED))
        with pytest.raises(AccessDenied):
            planner.plan(PlanRequest(policy=POLICY, slot=T0 + day * DAY))
        stage.deliver()
        stage.complete()

    report = stage.sweep(after=EVERY)

    assert report.past_rpo == {POLICY: 1}
    assert "- i-n in eu-north-1" in stage.notices.told[-1].text


def test_a_source_in_a_region_that_the_policy_gave_up_is_not_overdue():
    stage = with_rpo(regions=(NORTH,))
    stage.ledger.claim(a_claim())

    report, error = stage.trouble(after=7 * DAY)

    assert report.past_rpo == {POLICY: 0}
    assert error is None
    assert report.problems == (
        "1 points are in flight in eu-west-1, where no policy looks any more, nor may the sweep: "
        "deploy a policy that names it until they have ended",
    )


def test_a_policy_without_an_rpo_has_no_source_past_it():
    stage = Stage()
    stage.ledger.claim(a_claim())
    stage.sweep(after=minutes(45))
    stage.deliver()
    stage.complete()

    assert stage.sweep(after=30 * DAY).past_rpo == {}


# -- whatever goes wrong ----------------------------------------------------------------------


def a_mess():
    """Something of everything that a sweep can put right."""
    stage = Stage(a_policy(schedules=(NIGHTLY,), rpo=timedelta(hours=30)))
    stage.ec2.put_fleet("bcde", tags={"backup": "daily"})
    before = T0 - DAY
    stage.clock.time = before
    stage.plan(before)
    stage.deliver()
    stage.ec2.end_all()  # no event came
    stage.clock.time = T0 - minutes(200)
    slot = T0 - minutes(200)
    for id_ in ("i-b", "i-x"):
        source = Source(id=id_, region=HOME, account=SOURCE.account)
        stage.ledger.claim(a_claim("worker-0", slot, source=source, slot=slot))
    stage.clock.time = T0 - minutes(30)
    ours = two_sets(stage, slot)
    stage.ec2.end_all()
    event = an_event(*ours, at=stage.clock.now())
    stage.recorder.record(event, Delivery(owner="recorder"))
    stage.clock.time = T0 + GRACE
    return stage


def states(stage):
    return {
        point.id: (point.status, point.cause)
        for source in ("i-0a", "i-b", "i-c", "i-d", "i-e", "i-x")
        for point in stage.ledger.points(source)
    }


def put_right(stage):
    """Sweep through what is left of the night, with its planner and workers."""
    for _ in range(20):
        for policy, slot, source in stage.planners.asked:
            stage.plan(slot, policy=policy, source=source)
        stage.planners.asked.clear()
        stage.deliver()
        stage.ec2.end_all()
        stage.sweep(after=EVERY)


def clean():
    stage = a_mess()
    stage.sweep(rebuild=True)
    steps = list(stage.steps.taken)
    put_right(stage)
    return steps, states(stage), set(stage.subjects()), len(stage.ec2.made)


STEPS, STATES, SUBJECTS, SNAPSHOTS = clean()


def test_a_mess_is_put_right():
    statuses = [status for status, _ in STATES.values()]

    assert (statuses.count(AVAILABLE), statuses.count(FAILED)) == (12, 1)
    assert len(statuses) == 13
    assert SNAPSHOTS == 6 + 3 + 6
    assert {"ledger.settle", "ledger.retake", "ledger.give_up", "planners.ask"} <= set(STEPS)
    assert {"compute.delete_snapshot", "notices.tell", "queue.send", "bus.announce"} <= set(STEPS)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_sweep_killed_at_any_step_is_made_good_by_the_next_ones(number, after):
    stage = a_mess()
    step = STEPS[number]
    stage.steps.at(step, die, nth=STEPS[: number + 1].count(step), after=after)
    with pytest.raises(Killed):
        stage.sweep(rebuild=True)

    put_right(stage)

    assert states(stage) == STATES
    assert len(stage.ec2.made) == SNAPSHOTS
    assert set(stage.subjects()) == SUBJECTS
    announced = {(one.id, one.status) for one in stage.bus.announced}
    assert announced == {(id_, status) for id_, (status, _) in STATES.items()}
    assert list(stage.ledger.in_flight()) == []


@pytest.mark.parametrize("error", [SLOW_DOWN, DENIED], ids=["throttled", "denied"])
@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_call_that_fails_stops_nothing_else_and_is_told_at_the_end(number, error):
    stage = a_mess()
    step = STEPS[number]
    stage.steps.at(step, raising(error), nth=STEPS[: number + 1].count(step))

    report, raised = stage.trouble(rebuild=True)

    assert raised is error
    assert len(report.problems) == 1
    assert str(error) in report.problems[0]
    put_right(stage)
    assert states(stage) == STATES
    assert len(stage.ec2.made) == SNAPSHOTS
    # What is not told of a slot is told of by the sweep's own failure.
    assert set(stage.subjects()) == SUBJECTS or step in ("ledger.told", "notices.tell")


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_two_sweeps_at_once_do_no_harm(number):
    stage = a_mess()
    step = STEPS[number]
    stage.steps.at(step, stage.sweep, nth=STEPS[: number + 1].count(step))

    stage.trouble(rebuild=True)
    put_right(stage)

    assert states(stage) == STATES
    assert len(stage.ec2.made) == SNAPSHOTS


def test_policies_that_cannot_be_read_end_the_sweep():
    stage = Stage()
    stage.policies.all = raising(DENIED)

    with pytest.raises(AccessDenied):
        stage.sweep()


def test_a_sweep_that_runs_short_of_time_says_so_and_the_next_goes_on():
    stage = a_mess()
    stage.clock.time_left = RESERVE - SECOND

    report = stage.sweep(rebuild=True)
    assert report.cut_short
    assert (report.settled, report.retaken, report.given_up, report.surplus_removed) == (0,) * 4

    stage.clock.time_left = minutes(15)
    put_right(stage)
    assert states(stage) == STATES


# -- whatever happens in whatever order -------------------------------------------------------


@dataclass
class Mortal(Steps):
    """``lives``: after so many more calls it is killed; None for never."""

    lives: int | None = None

    def run(self, step, call):
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                self.lives = None
                die()
        return super().run(step, call)


@dataclass
class Chaos(Stage):
    steps: Mortal = field(default_factory=Mortal)

    def deliver_once(self, error=None, *, had_effect=False):
        """Each message once; what was not done comes again."""
        sent, self.queue.sends = self.queue.requests, []
        broken = Steps()
        if error:
            broken.at("compute.snapshot_set", raising(error), after=had_effect)
        taker = replace(
            self.taker, at=lambda place: broken.watch("compute", self.regions[place.region])
        )
        for request in sent:
            self.deliveries += 1
            delivery = Delivery(owner=f"worker-{self.deliveries}", attempt=self.deliveries)
            try:
                taker.take(request, delivery)
            except Killed:
                self.clock.advance(minutes(12))
                self.queue.send([request])
            except (TryAgain, Conflict) as error:
                self.clock.advance(getattr(error, "after", timedelta(seconds=30)))
                self.queue.send([request])

    def forget_messages(self):
        """Of points that are on record: they were delivered for the last time."""
        left = [one for one in self.queue.requests if self.ledger.point(one.point) is None]
        self.queue.sends = [left]

    def sweep_and_die(self, lives):
        self.clock.advance(EVERY)
        self.steps.lives = lives
        with suppress(Killed):
            self.sweep()
        self.steps.lives = None


TROUBLES = {
    "taken": lambda stage, n: stage.deliver_once(),
    "reply lost": lambda stage, n: stage.deliver_once(LOST, had_effect=True),
    "call lost": lambda stage, n: stage.deliver_once(LOST),
    "throttled": lambda stage, n: stage.deliver_once(SLOW_DOWN),
    "worker dies": lambda stage, n: stage.deliver_once(Killed(), had_effect=n % 2 == 0),
    "message gone": lambda stage, n: stage.forget_messages(),
    "events come": lambda stage, n: stage.complete(),
    "events lost": lambda stage, n: stage.ec2.end_all(),
    "time goes by": lambda stage, n: stage.clock.advance(minutes(n)),
    "sweep": lambda stage, n: stage.sweep(after=EVERY),
    "sweep dies": lambda stage, n: stage.sweep_and_die(n),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(TROUBLES)), st.integers(0, 40)), max_size=15))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_each_source_is_taken_once_and_people_hear_of_it(story):
    stage = Chaos()
    stage.ec2.lag = PATIENCE.describes
    stage.plan()

    for what, number in story:
        TROUBLES[what](stage, number)
    for _ in range(60):
        stage.deliver()
        stage.ec2.end_all()
        stage.sweep(after=EVERY)

    assert list(stage.ledger.in_flight()) == list(stage.ledger.doubts()) == []
    point = stage.point()
    given_up = point.cause is not None and "asked for again 3 times" in point.cause
    assert point.status is (FAILED if given_up else AVAILABLE)
    assert set(stage.ec2.made) == set(point.snapshots)
    assert {one.status for one in stage.bus.announced} == {point.status}
    assert sum(stage.ledger.run(point.run).ended.values()) == 1


def test_a_rebuilding_sweep_that_runs_short_of_time_rebuilds_no_more():
    stage = Stage()
    stage.run_policy()
    stage.restart(MemoryLedger())
    stage.clock.time_left = RESERVE - SECOND

    report = stage.sweep(after=minutes(40), rebuild=True)

    assert (report.rebuilt, report.cut_short) == (0, True)


# copies that nobody has begun

COPIED = replace(a_policy(), copies=(Copy(region=NORTH),))


def test_a_point_of_which_no_copy_was_begun_is_announced_again_by_the_daily_sweep():
    stage = Stage(COPIED)
    stage.run_policy()
    stage.bus.announced.clear()

    assert stage.sweep(after=minutes(90)).reminded == 0
    assert stage.sweep(rebuild=True).reminded == 1

    assert [one.id for one in stage.bus.announced] == [stage.point().id]


def test_a_point_whose_copy_is_on_record_is_not_announced_again():
    stage = Stage(COPIED)
    stage.run_policy()
    stage.ledger.open_copy(copying.queued(stage.point(), COPIED.copies[0], stage.clock.now()))

    assert stage.sweep(after=minutes(90), rebuild=True).reminded == 0


def test_a_point_that_is_young_or_old_is_not_announced_again():
    stage = Stage(COPIED)
    stage.run_policy()

    assert stage.sweep(after=minutes(30), rebuild=True).reminded == 0
    assert stage.sweep(after=reminding.WINDOW, rebuild=True).reminded == 0


# points that are to be encrypted

REQUIRED = replace(a_policy(), encryption=Encryption.REQUIRED)


@pytest.mark.parametrize("age", [minutes(90), timedelta(days=30)])
def test_a_point_of_any_age_that_is_to_be_encrypted_is_announced_again_until_that_is_begun(age):
    stage = Stage(REQUIRED)
    stage.run_policy()
    point = stage.point()
    plain = tuple(replace(one, encrypted=False) for one in point.members)
    stage.ledger.exchange(point, plain, stage.clock.now())

    assert stage.sweep(after=age, rebuild=True).reminded == 1
    stage.ledger.open_copy(copying.encrypting(stage.point(), stage.clock.now()))

    assert stage.sweep(rebuild=True).reminded == 0


def test_a_point_that_is_encrypted_is_not_announced_again():
    stage = Stage(REQUIRED)
    stage.run_policy()

    assert stage.sweep(after=minutes(90), rebuild=True).reminded == 0


def test_places_where_points_are_to_be_encrypted_are_looked_after():
    stage = Stage(replace(REQUIRED, copies=(Copy(region=NORTH),)))

    stage.sweep()

    assert [one.region for one in stage.copies.places] == [NORTH, "eu-west-1"]


# restores

RESTORED = timedelta(hours=2)


@pytest.mark.parametrize(
    ("status", "expires", "entry"),
    [
        (RestoreStatus.APPROVING, None, "undo"),
        (RestoreStatus.RUNNING, None, "undo"),
        (RestoreStatus.UNDOING, None, "undo"),
        (RestoreStatus.ENDING, None, "end"),
        (RestoreStatus.DONE, T0 + timedelta(hours=1), "end"),
    ],
)
def test_what_is_left_of_a_restore_at_which_nothing_works_is_ended(status, expires, entry):
    stage = Stage()
    restore = stage.ledger.open_restore(a_restore(status=status, expires_at=expires))

    report = stage.sweep(after=RESTORED)
    stage.sweep(after=timedelta(minutes=15))

    assert report.restores_ended == 1
    assert stage.machine.started == [(restore.id, entry)], "once in an hour"


@pytest.mark.parametrize(
    "of",
    [
        {"status": RestoreStatus.DONE, "expires_at": T0 + timedelta(hours=3)},
        {"status": RestoreStatus.DONE},
        {"status": RestoreStatus.UNDONE},
        {"status": RestoreStatus.RUNNING, "region": NORTH},
        {"status": RestoreStatus.RUNNING, "asked_at": T0 + RESTORED},
    ],
    ids=["not over", "kept", "undone", "another Region's", "just begun"],
)
def test_a_restore_that_needs_nothing_is_left_alone(of):
    stage = Stage()
    stage.ledger.open_restore(a_restore(**of))

    assert stage.sweep(after=RESTORED).restores_ended == 0
    assert stage.machine.started == []


def test_a_restore_at_which_an_execution_works_is_left_to_it():
    stage = Stage()
    restore = stage.ledger.open_restore(a_restore())
    stage.machine.working.add(restore.id)

    assert stage.sweep(after=RESTORED).restores_ended == 0
