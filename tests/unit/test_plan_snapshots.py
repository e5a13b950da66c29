"""Planning: which sources are asked for, what the run says of it, and what may go wrong."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.domain import copying
from lastgood.domain.copying import MemberEnded
from lastgood.domain.model import LeftOut, MemberState, Method, PointStatus, RunStatus, Source
from lastgood.domain.names import point_id, run_id
from lastgood.domain.policy import Copy, Policy, ResourceKind, Retention, Select
from lastgood.errors import (
    AccessDenied,
    CallRefused,
    LedgerMissing,
    OutOfTime,
    RegionNotEnabled,
    SourceGone,
    SourceNotSelected,
    Throttled,
    Unavailable,
    UnknownPolicy,
)
from lastgood.ledger.memory import MemoryLedger
from plan_snapshots.usecase import MOST_NAMED, RESERVE, Planner, PlanRequest
from tests.support.builders import (
    POLICY,
    SOURCE,
    T0,
    a_member,
    a_point,
    a_volume,
    an_instance,
    attached_to,
)
from tests.support.fakes import (
    FakeClock,
    FakeCompute,
    FakePlanners,
    FakePolicies,
    FakeQueue,
    Killed,
    Steps,
    die,
    raising,
)

HOME, NORTH, SOUTH = "eu-west-1", "eu-north-1", "eu-south-1"
SOON = timedelta(seconds=5)
SLOW_DOWN = Throttled("slow down", SOON)


def a_select(**given):
    facts = {"resource": ResourceKind.INSTANCE, "tags": {"backup": ("daily",)}}
    return Select(**facts | given)


def a_policy(**given):
    select = a_select(**given.pop("select", {}))
    return Policy(name=POLICY, select=select, retention=Retention(keep_daily=7), **given)


@dataclass
class Stage:
    policy: Policy = field(default_factory=a_policy)
    clock: FakeClock = field(default_factory=FakeClock)
    steps: Steps = field(default_factory=Steps)
    queue: FakeQueue = field(default_factory=FakeQueue)
    planners: FakePlanners = field(default_factory=FakePlanners)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self):
        self.regions = {one: FakeCompute(self.clock, one) for one in (HOME, NORTH, SOUTH)}
        self.ec2 = self.regions[HOME]
        self.planner = Planner(
            policies=FakePolicies({POLICY: self.policy}),
            at=lambda place: self.steps.watch(place.region, self.regions[place.region]),
            ledger=self.steps.watch("ledger", self.ledger),
            queue=self.steps.watch("queue", self.queue),
            planners=self.steps.watch("planners", self.planners),
            clock=self.clock,
            account=SOURCE.account,
            home_region=HOME,
        )

    def plan(self, **given):
        return self.planner.plan(PlanRequest(**{"policy": POLICY, "slot": T0} | given))

    def run(self, source=None):
        return self.ledger.run(run_id(POLICY, T0, source))

    def asked(self):
        """Sources that a point was asked for, as often as it was."""
        return [one.source.id for one in self.queue.requests]


# -- what is asked for ------------------------------------------------------------------------


def test_an_instance_is_asked_for_with_all_that_taking_it_needs():
    stage = Stage(a_policy(tags={"cost-centre": "web"}))
    stage.ec2.put(an_instance("i-0a"), a_volume("vol-1"), a_volume("vol-2"))

    report = stage.plan()

    (request,) = stage.queue.requests
    assert request.point == point_id(POLICY, T0, "i-0a")
    assert (request.policy, request.run, request.slot) == (POLICY, report.run, T0)
    assert request.source == Source(id="i-0a", region=HOME, account=SOURCE.account)
    assert request.method is Method.SET
    assert request.instance == an_instance("i-0a")
    assert [one.id for one in request.volumes] == ["vol-1", "vol-2"]
    assert request.tags == {"cost-centre": "web"}
    assert request.planned_at == T0
    assert not request.bare


def test_the_report_names_each_point_as_it_is_asked_for():
    stage = Stage()
    stage.ec2.put(an_instance("i-0a", hibernation=True), a_volume("vol-1"), a_volume("vol-2"))

    report = stage.plan()

    (named,) = report.points
    (request,) = stage.queue.requests
    assert (named.point, named.source, named.region) == (request.point, "i-0a", HOME)
    assert (named.method, named.volumes) == ("one-by-one", ("vol-1", "vol-2"))
    assert named.notes == request.notes
    assert (report.point_count, report.left_out_count, report.problems) == (1, 0, ())


def test_lone_volumes_are_asked_for_one_by_one():
    stage = Stage(a_policy(select={"resource": ResourceKind.VOLUME}))
    tags = {"backup": "daily"}
    stage.ec2.put(a_volume("vol-1", tags=tags), a_volume("vol-2", tags=tags, state="error"))

    report = stage.plan()

    (request,) = stage.queue.requests
    assert (request.method, request.source.id, request.instance) == (Method.VOLUME, "vol-1", None)
    assert report.left_out == (
        LeftOut(
            source=Source(id="vol-2", region=HOME, account=SOURCE.account),
            reason="it is error",
            kind="state",
        ),
    )


def test_what_is_left_out_is_in_the_report_and_in_the_run():
    stage = Stage()
    stage.ec2.put(an_instance("i-0a", state="terminated"))
    stage.ec2.put(an_instance("i-0b", volumes={}))

    report = stage.plan()

    assert [(one.source.id, one.reason) for one in report.left_out] == [
        ("i-0a", "it is terminated"),
        ("i-0b", "it has no EBS volume"),
    ]
    assert stage.run().planned.left_out == report.left_out
    assert stage.run().planned.left_out_count == report.left_out_count == 2
    assert stage.queue.requests == []


def test_the_volumes_of_instances_that_are_refused_are_not_asked_for():
    stage = Stage()
    stage.ec2.put_fleet(["a", "b"], tags={"backup": "daily"})
    stage.ec2.put_fleet(["c"], tags={"backup": "daily"}, state="terminated")

    stage.plan()

    assert stage.ec2.asked == [("vol-a", "vol-b"), ()]


def test_a_shared_volume_whose_other_instance_is_on_another_page_is_taken_once():
    stage = Stage()
    stage.ec2.page = 1
    shared = a_volume("vol-s", multi_attach=True, attachments=attached_to("i-0a", "i-0b"))
    stage.ec2.put(shared, a_volume("vol-a"), a_volume("vol-b"))
    stage.ec2.put(an_instance("i-0b", volumes={"/dev/sda1": "vol-b", "/dev/sdf": "vol-s"}))
    stage.ec2.put(an_instance("i-0a", volumes={"/dev/sda1": "vol-a", "/dev/sdf": "vol-s"}))

    stage.plan()

    second, first = stage.queue.requests
    assert [one.id for one in first.volumes] == ["vol-a", "vol-s"]
    assert [one.id for one in second.volumes] == ["vol-b"]
    assert second.excluded == ("vol-s",)
    assert second.elsewhere == {"vol-s": first.point}


def test_every_region_of_the_policy_is_planned_and_without_any_that_of_the_stack():
    both = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    one = Stage()
    for stage in (both, one):
        for region in (HOME, NORTH):
            stage.regions[region].put_fleet([region])

    both.plan()
    one.plan()

    assert [request.source.region for request in both.queue.requests] == [NORTH, HOME]
    assert [request.source.region for request in one.queue.requests] == [HOME]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_every_source_that_matches_is_asked_for_once_or_left_out_once(fleet, page):
    stage = Stage(a_policy(select={"exclude_tags": {"skip": ("1",)}}))
    stage.ec2.page = page
    for n, (matches, skipped) in enumerate(fleet):
        tags = {"backup": "daily" if matches else "never"} | ({"skip": "1"} if skipped else {})
        stage.ec2.put_fleet([f"{n:02}"], tags=tags)

    report = stage.plan()

    wanted = [f"i-{n:02}" for n, (matches, skipped) in enumerate(fleet) if matches and not skipped]
    out = [f"i-{n:02}" for n, (matches, skipped) in enumerate(fleet) if matches and skipped]
    assert stage.asked() == wanted
    assert [one.source.id for one in report.left_out] == out
    planned = stage.run().planned
    assert (planned.points, planned.left_out_count) == (len(wanted), len(out))
    assert planned.regions == (HOME,)


def test_requests_are_sent_page_by_page():
    stage = Stage()
    stage.ec2.put_fleet("abcde")

    stage.plan()

    assert [len(sent) for sent in stage.queue.sends] == [2, 2, 1]


def test_a_report_names_the_first_hundred_and_counts_all():
    stage = Stage()
    stage.ec2.page = 60
    stage.ec2.put_fleet([f"{n:03}" for n in range(MOST_NAMED + 20)])
    stage.ec2.put_fleet([f"gone-{n:03}" for n in range(MOST_NAMED + 10)], state="terminated")

    report = stage.plan()

    assert (report.point_count, len(report.points)) == (MOST_NAMED + 20, MOST_NAMED)
    assert (report.left_out_count, len(report.left_out)) == (MOST_NAMED + 10, MOST_NAMED)
    assert report.points[0].source == "i-000"
    assert len(stage.run().planned.left_out) == MOST_NAMED
    assert len(stage.queue.requests) == MOST_NAMED + 20


# -- the slot and the run ---------------------------------------------------------------------


def test_without_a_slot_the_run_is_for_the_present_minute():
    stage = Stage(clock=FakeClock(datetime(2026, 3, 1, 2, 7, 42, 99, tzinfo=UTC)))
    stage.ec2.put_fleet("a")

    first = stage.plan(slot=None)
    stage.clock.advance(timedelta(seconds=17))
    second = stage.plan(slot=None)

    assert first.slot == datetime(2026, 3, 1, 2, 7, tzinfo=UTC)
    assert second.run == first.run
    assert {one.slot for one in stage.queue.requests} == {first.slot}


def test_the_run_is_open_before_anything_is_asked_for():
    stage = Stage()
    stage.ec2.put_fleet("a")
    seen = []
    stage.steps.at("queue.send", lambda: seen.append(stage.run().status))

    stage.plan()

    assert seen == [RunStatus.PLANNING]
    assert stage.run().status is RunStatus.RUNNING


def test_a_run_that_finds_nothing_is_ok():
    stage = Stage()

    report = stage.plan()

    assert report.point_count == 0
    assert stage.run().status is RunStatus.OK


def test_a_slot_that_was_planned_whole_is_asked_for_whole_again():
    stage = Stage()
    stage.ec2.put_fleet("ab")
    stage.plan()

    again = stage.plan()

    assert stage.asked() == ["i-a", "i-b"] * 2
    assert len({one.point for one in stage.queue.requests}) == 2
    assert again.point_count == 2
    assert stage.run().planned.points == 2


def test_a_second_planning_counts_all_points_and_names_those_that_it_asked_for_itself():
    stage = Stage(a_policy(select={"regions": (HOME, NORTH)}))
    stage.ec2.put_fleet("h")
    stage.regions[NORTH].put_fleet("n")
    stage.steps.at(f"{NORTH}.instances", raising(SLOW_DOWN))
    with pytest.raises(Throttled):
        stage.plan()

    again = stage.plan()

    assert again.point_count == 2
    assert [one.source for one in again.points] == ["i-n"]


# -- one source -------------------------------------------------------------------------------


def test_one_source_makes_a_run_of_its_own_for_the_same_point():
    stage = Stage()
    stage.ec2.put_fleet("ab")

    report = stage.plan(source="i-a")

    (request,) = stage.queue.requests
    assert request.point == point_id(POLICY, T0, "i-a")
    assert report.run == run_id(POLICY, T0, "i-a") != run_id(POLICY, T0)
    assert stage.run("i-a").source == "i-a"


def test_one_lone_volume_can_be_asked_for():
    stage = Stage(a_policy(select={"resource": ResourceKind.VOLUME}))
    stage.ec2.put(a_volume("vol-1", tags={"backup": "daily"}))

    stage.plan(source="vol-1")

    assert stage.asked() == ["vol-1"]


def test_one_source_is_found_in_whichever_region_it_is():
    stage = Stage(a_policy(select={"regions": (HOME, NORTH)}))
    stage.regions[NORTH].put_fleet("a")

    stage.plan(source="i-a")

    assert [one.source.region for one in stage.queue.requests] == [NORTH]


def test_a_source_that_the_policy_leaves_out_is_refused_with_the_reason():
    stage = Stage()
    stage.ec2.put_fleet("a", tags={"backup": "weekly"})

    with pytest.raises(SourceNotSelected, match="leaves i-a out: its tag backup is 'weekly'"):
        stage.plan(source="i-a")


@pytest.mark.parametrize(
    ("resource", "source", "told"),
    [
        (ResourceKind.INSTANCE, "i-x", "there is no instance i-x in eu-west-1, eu-north-1"),
        (ResourceKind.VOLUME, "vol-x", "there is no volume vol-x in eu-west-1, eu-north-1"),
    ],
)
def test_a_source_that_is_nowhere_is_refused_with_where_it_was_looked_for(resource, source, told):
    stage = Stage(a_policy(select={"resource": resource, "regions": (HOME, NORTH)}))
    stage.ec2.put(a_volume("vol-1", tags={"backup": "daily"}))

    with pytest.raises(SourceGone, match=told):
        stage.plan(source=source)

    assert stage.queue.requests == []


def test_one_source_planned_again_is_not_refused_for_being_done():
    stage = Stage()
    stage.ec2.put_fleet("a")
    stage.plan(source="i-a")

    assert stage.plan(source="i-a").point_count == 1
    assert stage.asked() == ["i-a", "i-a"]


# -- a dry run --------------------------------------------------------------------------------


def test_a_dry_run_says_all_and_touches_neither_ledger_nor_queue():
    stage = Stage()
    stage.ec2.put_fleet("a")
    stage.ec2.put_fleet("b", state="terminated")

    report = stage.plan(dry_run=True)

    assert (report.dry_run, report.point_count, report.left_out_count) == (True, 1, 1)
    assert stage.run() is None
    assert not [one for one in stage.steps.taken if one.startswith(("ledger", "queue"))]


def test_a_dry_run_says_of_each_copy_whether_it_will_be_incremental_and_why():
    stage = Stage(a_policy(copies=(Copy(region=NORTH), Copy(region=NORTH, account="210987654321"))))
    stage.ec2.put_fleet("a")
    (point,) = stage.plan(dry_run=True).points
    taken = a_point(
        id="pt-old",
        source=replace(SOURCE, id="i-a"),
        status=PointStatus.AVAILABLE,
        members=(a_member("snap-1", "vol-a"),),
    )
    copy = copying.queued(taken, stage.policy.copies[0], T0)
    good = MemberEnded(snapshot="snap-2", state=MemberState.COMPLETED)
    stage.ledger.open_copy(copying.ended(copy, 0, good, T0))

    (later,) = stage.plan(dry_run=True).points

    assert [one.incremental for one in point.next_copies] == [False, False]
    near, abroad = later.next_copies
    assert (near.incremental, near.gib, near.place) == (True, 8, f"{NORTH} of {SOURCE.account}")
    assert (abroad.incremental, abroad.why) == (False, "no copy of it is there yet")


def test_a_dry_run_tells_which_regions_could_not_be_read_and_raises_nothing():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("a")
    stage.steps.at(f"{NORTH}.instances", raising(RegionNotEnabled("not enabled")))

    report = stage.plan(dry_run=True)

    assert report.problems == ("RegionNotEnabled: not enabled",)
    assert report.point_count == 1


def test_a_dry_run_of_one_source_explains_why_it_is_left_out():
    stage = Stage()
    stage.ec2.put_fleet("a", state="terminated")

    report = stage.plan(source="i-a", dry_run=True)

    assert [one.reason for one in report.left_out] == ["it is terminated"]


def test_a_dry_run_of_one_source_that_may_be_in_a_region_that_cannot_be_read_says_so():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.steps.at(f"{NORTH}.instances_by_id", raising(SLOW_DOWN))

    report = stage.plan(source="i-a", dry_run=True)

    assert report.problems == ("Throttled: slow down",)


def test_a_dry_run_of_one_source_that_is_nowhere_is_refused():
    with pytest.raises(SourceGone):
        Stage().plan(source="i-a", dry_run=True)


def test_a_dry_run_after_a_real_one_says_what_is_there_now():
    stage = Stage()
    stage.ec2.put_fleet("ab")
    stage.plan()

    assert stage.plan(dry_run=True).point_count == 2


# -- what goes wrong --------------------------------------------------------------------------


def test_an_unknown_policy_is_refused_before_anything_is_opened():
    stage = Stage()

    with pytest.raises(UnknownPolicy):
        stage.plan(policy="web")

    assert stage.steps.taken == []


IN_A_REGION = ["instances", "volumes_by_id"]


@pytest.mark.parametrize("error", [SLOW_DOWN, Unavailable("no", SOON), AccessDenied("no")])
@pytest.mark.parametrize("call", [*IN_A_REGION, "send"])
def test_a_region_that_fails_stops_no_other_and_is_told_at_the_end(call, error):
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.regions[NORTH].put_fleet("n")
    stage.ec2.put_fleet("h")
    stage.steps.at("queue.send" if call == "send" else f"{NORTH}.{call}", raising(error))

    with pytest.raises(type(error)) as raised:
        stage.plan()

    assert raised.value is error
    assert stage.asked() == ["i-h"]
    planned = stage.run().planned
    assert (planned.points, planned.regions) == (1, (HOME,))
    assert planned.problems == (f"{type(error).__name__}: {error}",)


def test_a_slot_that_is_planned_again_for_a_smaller_fleet_still_expects_what_was_asked_for():
    stage = Stage()
    stage.ec2.put_fleet("ab")
    stage.plan()
    del stage.ec2.fleet["i-b"]

    report = stage.plan()

    assert report.point_count == 1
    assert stage.run().planned.points == 2


@pytest.mark.parametrize(
    ("error", "waiting"), [(Unavailable("no", SOON), (NORTH,)), (RegionNotEnabled("no"), ())]
)
def test_a_region_waits_for_what_passes_and_not_for_what_a_person_must_change(error, waiting):
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.steps.at(f"{NORTH}.instances", raising(error))

    with pytest.raises(type(error)):
        stage.plan()

    assert stage.run().planned.waiting == waiting
    assert stage.run().over is not bool(waiting)


def test_the_first_of_several_failures_is_raised_and_all_are_on_record():
    stage = Stage(a_policy(select={"regions": (NORTH, SOUTH, HOME)}))
    stage.steps.at(f"{NORTH}.instances", raising(RegionNotEnabled("north")))
    stage.steps.at(f"{SOUTH}.instances", raising(AccessDenied("south")))

    with pytest.raises(RegionNotEnabled, match="north"):
        stage.plan()

    assert stage.run().planned.problems == ("RegionNotEnabled: north", "AccessDenied: south")
    assert stage.run().status is RunStatus.FAILED


def test_a_region_that_breaks_off_at_its_second_page_is_not_counted_and_asked_for_again():
    stage = Stage()
    stage.ec2.put_fleet("abc")
    stage.steps.at("queue.send", raising(SLOW_DOWN), nth=2)
    with pytest.raises(Throttled):
        stage.plan()
    assert stage.run().planned.points == 0

    report = stage.plan()

    assert report.point_count == stage.run().planned.points == 3
    assert stage.asked() == ["i-a", "i-b", "i-a", "i-b", "i-c"]
    assert len({one.point for one in stage.queue.requests}) == 3


def test_a_second_planning_does_only_the_regions_that_failed_and_clears_their_problems():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.regions[NORTH].put_fleet("n")
    stage.ec2.put_fleet("h")
    stage.ec2.put_fleet("x", state="terminated")
    stage.steps.at(f"{NORTH}.instances", raising(SLOW_DOWN))
    with pytest.raises(Throttled):
        stage.plan()

    report = stage.plan()

    assert stage.asked() == ["i-h", "i-n"]
    assert (report.point_count, report.left_out_count) == (2, 1)
    planned = stage.run().planned
    assert (planned.points, planned.left_out_count, planned.problems) == (2, 1, ())
    assert planned.regions == (NORTH, HOME)


def test_a_region_that_fails_again_leaves_the_run_as_it_was():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("h")
    for nth in (1, 2):
        stage.steps.at(f"{NORTH}.instances", raising(SLOW_DOWN), nth=nth)

    for _ in range(2):
        with pytest.raises(Throttled):
            stage.plan()

    assert stage.asked() == ["i-h"]
    assert stage.run().planned.points == 1
    assert stage.run().planned.problems == ("Throttled: slow down",)


def test_one_source_may_be_in_the_region_that_failed_so_it_is_not_said_to_be_gone():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.steps.at(f"{NORTH}.instances_by_id", raising(SLOW_DOWN))

    with pytest.raises(Throttled):
        stage.plan(source="i-a")


@pytest.mark.parametrize("call", ["open_run", "planned", "plan_run"])
@pytest.mark.parametrize("error", [LedgerMissing("no table"), SLOW_DOWN])
def test_what_the_ledger_refuses_is_told_by_its_name(call, error):
    stage = Stage()
    stage.ec2.put_fleet("a")
    stage.steps.at(f"ledger.{call}", raising(error))

    with pytest.raises(type(error)):
        stage.plan()


CLEAN = [
    "ledger.open_run",
    "ledger.planned",
    f"{NORTH}.instances",
    f"{NORTH}.volumes_by_id",
    "queue.send",
    "ledger.plan_run",
    f"{HOME}.instances",
    f"{HOME}.volumes_by_id",
    "queue.send",
    "ledger.plan_run",
]


def a_fleet_in_two_regions():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.regions[NORTH].put_fleet("n")
    stage.ec2.put_fleet("h")
    return stage


def test_a_plan_makes_these_calls_and_no_more():
    stage = a_fleet_in_two_regions()

    stage.plan()

    assert stage.steps.taken == CLEAN


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("number", "step"), list(enumerate(CLEAN)))
def test_a_planner_killed_at_any_step_is_made_good_by_the_next(number, step, after):
    stage = a_fleet_in_two_regions()
    stage.steps.at(step, die, nth=CLEAN[: number + 1].count(step), after=after)
    with pytest.raises(Killed):
        stage.plan()

    report = stage.plan()

    assert set(stage.asked()) == {"i-n", "i-h"}
    assert len({one.point for one in stage.queue.requests}) == 2
    assert report.point_count == stage.run().planned.points == 2
    assert stage.run().planned.regions == (NORTH, HOME)


@pytest.mark.parametrize(("number", "step"), list(enumerate(CLEAN)))
def test_two_planners_of_the_same_slot_agree(number, step):
    stage = a_fleet_in_two_regions()
    stage.steps.at(step, stage.plan, nth=CLEAN[: number + 1].count(step))

    stage.plan()

    assert {one.point for one in stage.queue.requests} == {
        point_id(POLICY, T0, "i-n"),
        point_id(POLICY, T0, "i-h"),
    }
    assert stage.run().planned.points == 2
    assert stage.run().ended == {PointStatus.AVAILABLE: 0, PointStatus.FAILED: 0}


# -- near the end of time ---------------------------------------------------------------------


def hurry(stage, *, from_page):
    """Time runs short as the ``from_page``-th page of requests is sent."""

    def short():
        stage.clock.time_left = RESERVE - timedelta(seconds=1)

    stage.steps.at("queue.send", short, nth=from_page)


def go_on(stage, *, pages=99, most=30):
    """Each invocation that was asked for, until none is; each has time for so many pages."""
    reports = []
    while stage.planners.asked:
        assert len(reports) < most, "it goes on for ever"
        policy, slot, source = stage.planners.asked.pop(0)
        stage.clock.time_left = timedelta(minutes=15)
        hurry(stage, from_page=pages)
        reports.append(stage.plan(policy=policy, slot=slot, source=source))
    return reports


def test_short_of_time_it_notes_where_it_is_and_asks_itself_to_go_on():
    stage = Stage()
    stage.ec2.put_fleet("abcde")
    hurry(stage, from_page=1)

    report = stage.plan()

    assert stage.asked() == ["i-a", "i-b"]
    assert report.carried_over == (HOME,)
    assert stage.planners.asked == [(POLICY, T0, None)]
    planned = stage.run().planned
    assert (planned.points, planned.regions, planned.waiting) == (0, (), (HOME,))
    assert (planned.cursor.region, planned.cursor.points) == (HOME, 2)
    assert stage.run().status is RunStatus.PLANNING


def test_it_goes_on_where_it_was_and_counts_all():
    stage = Stage()
    stage.ec2.put_fleet("abcd")
    stage.ec2.put_fleet("xyz", state="terminated")
    hurry(stage, from_page=1)
    stage.plan()

    (report,) = go_on(stage)

    assert stage.asked() == ["i-a", "i-b", "i-c", "i-d"]
    assert (report.point_count, report.left_out_count, report.carried_over) == (4, 3, ())
    assert [one.source.id for one in report.left_out] == ["i-x", "i-y", "i-z"]
    planned = stage.run().planned
    assert (planned.points, planned.left_out_count) == (4, 3)
    assert (planned.regions, planned.waiting, planned.cursor) == ((HOME,), (), None)
    assert stage.run().status is RunStatus.RUNNING


def test_each_source_that_is_left_out_is_counted_by_kind_in_one_of_the_reports():
    stage = Stage()
    stage.ec2.put_fleet("xyz", state="terminated")
    hurry(stage, from_page=1)

    reports = [stage.plan(), *go_on(stage)]

    assert [one.left_out_kinds for one in reports] == [{"gone": 2}, {"gone": 1}]


def test_with_its_last_page_it_is_done_however_little_time_is_left():
    stage = Stage()
    stage.ec2.put_fleet("ab")
    hurry(stage, from_page=1)

    report = stage.plan()

    assert (report.point_count, report.carried_over) == (2, ())
    assert stage.planners.asked == []


def test_regions_that_there_is_no_time_for_wait_and_are_named():
    stage = Stage(a_policy(select={"regions": (NORTH, SOUTH, HOME)}))
    for region in (NORTH, SOUTH, HOME):
        stage.regions[region].put_fleet([region])
    hurry(stage, from_page=1)

    report = stage.plan()

    assert (report.carried_over, report.point_count) == ((SOUTH, HOME), 1)
    assert stage.run().planned.regions == (NORTH,)
    go_on(stage)
    assert stage.asked() == [f"i-{NORTH}", f"i-{SOUTH}", f"i-{HOME}"]
    assert stage.run().planned.points == 3


def test_one_source_is_looked_for_in_the_other_regions_by_another_invocation():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("a")
    stage.clock.time_left = RESERVE - timedelta(seconds=1)

    report = stage.plan(source="i-a")

    assert report.carried_over == (HOME,)
    assert stage.planners.asked == [(POLICY, T0, "i-a")]
    go_on(stage)
    assert stage.asked() == ["i-a"]


def test_a_dry_run_asks_nobody_to_go_on():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("abcde")
    stage.clock.time_left = RESERVE - timedelta(seconds=1)

    report = stage.plan(dry_run=True)

    assert (report.point_count, report.carried_over) == (5, ())
    assert stage.planners.asked == []


def test_a_place_that_ec2_does_not_know_any_more_begins_the_region_anew():
    stage = Stage()
    stage.ec2.put_fleet("abcd")
    stage.ec2.put_fleet("x", state="terminated")
    hurry(stage, from_page=1)
    stage.plan()
    stage.ec2.stale_token = stage.run().planned.cursor.token

    go_on(stage)

    assert stage.asked() == ["i-a", "i-b", "i-a", "i-b", "i-c", "i-d"]
    planned = stage.run().planned
    assert (planned.points, planned.left_out_count) == (4, 1)


def test_a_refusal_that_has_nothing_to_do_with_a_place_is_raised():
    stage = Stage()
    stage.steps.at(f"{HOME}.instances", raising(CallRefused("no")))

    with pytest.raises(CallRefused):
        stage.plan()


@pytest.mark.parametrize("step", ["ledger.plan_run", "planners.ask"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_as_it_carries_over_it_is_made_good_by_the_next(step, after):
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.regions[NORTH].put_fleet("nop")
    stage.ec2.put_fleet("abc")
    hurry(stage, from_page=1)
    stage.steps.at(step, die, after=after)
    with pytest.raises(Killed):
        stage.plan()

    stage.planners.asked.append((POLICY, T0, None))  # by Lambda, or by a sweep
    go_on(stage)

    assert set(stage.asked()) == {"i-n", "i-o", "i-p", "i-a", "i-b", "i-c"}
    assert stage.run().planned.points == 6


def test_a_region_that_fails_is_told_by_the_last_invocation_and_only_by_it():
    """An error makes Lambda start the invocation again, beside the one that goes on."""
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("abcd")
    for nth in (1, 2, 3):
        stage.steps.at(f"{NORTH}.instances", raising(AccessDenied("no")), nth=nth)
    hurry(stage, from_page=1)

    report = stage.plan()
    assert report.carried_over == (HOME,)
    assert len(stage.planners.asked) == 1

    with pytest.raises(AccessDenied):
        go_on(stage)
    assert stage.asked() == ["i-a", "i-b", "i-c", "i-d"]
    assert stage.run().planned.problems == ("AccessDenied: no",)


def test_another_region_that_takes_all_the_time_does_not_lose_the_place():
    stage = Stage(a_policy(select={"regions": (NORTH, HOME)}))
    stage.ec2.put_fleet("abcdef")
    stage.steps.at(f"{NORTH}.instances", raising(SLOW_DOWN))
    hurry(stage, from_page=1)
    stage.plan()

    def slow():
        stage.clock.time_left = RESERVE - timedelta(seconds=1)
        raise SLOW_DOWN

    stage.steps.at(f"{NORTH}.instances", slow)
    stage.clock.time_left = timedelta(minutes=15)
    stage.planners.asked.clear()
    stage.plan()
    go_on(stage)

    assert stage.asked() == ["i-a", "i-b", "i-c", "i-d", "i-e", "i-f"]


@pytest.mark.parametrize("regions", [(HOME,), (HOME, NORTH)])
def test_a_run_that_was_planned_whole_and_is_planned_again_comes_to_an_end(regions):
    stage = Stage(a_policy(select={"regions": regions}))
    stage.ec2.put_fleet("abcd")
    stage.regions[NORTH].put_fleet("no")
    stage.plan()
    hurry(stage, from_page=1)

    with pytest.raises(OutOfTime):
        stage.plan()

    assert stage.planners.asked == []
    assert stage.run().planned.points == len(regions) * 2 + 2
    assert not stage.run().planned.waiting


FLEETS = st.fixed_dictionaries({one: st.integers(0, 9) for one in (NORTH, HOME, SOUTH)})


@given(FLEETS, st.integers(1, 3), st.lists(st.integers(1, 4), max_size=12), st.data())
@settings(max_examples=80, deadline=None)
def test_however_time_is_cut_into_invocations_every_source_is_asked_for_and_counted_once(
    fleets, page, cuts, data
):
    stage = Stage(a_policy(select={"regions": tuple(fleets)}))
    gone = 0
    for region, count in fleets.items():
        stage.regions[region].page = page
        for n in range(count):
            state = data.draw(st.sampled_from(["running", "terminated"]))
            gone += state == "terminated"
            stage.regions[region].put_fleet([f"{region}-{n}"], state=state)
    stage.planners.ask(POLICY, T0)

    for pages in [*cuts, 99]:
        if not stage.planners.asked:
            break
        stage.planners.asked.pop()
        stage.clock.time_left = timedelta(minutes=15)
        hurry(stage, from_page=pages)
        stage.plan()
        assert len(stage.planners.asked) <= 1
        stage.steps.at("queue.send", lambda: None, nth=1)

    taken = sum(fleets.values()) - gone
    assert len(stage.asked()) == len(set(stage.asked())) == taken
    planned = stage.run().planned
    assert (planned.points, planned.left_out_count) == (taken, gone)
    assert planned.regions == tuple(sorted(fleets))
    assert (planned.waiting, planned.cursor) == ((), None)
