"""Sources in accounts other than that of the stack: each use case goes where they are."""

from dataclasses import replace
from datetime import timedelta

import pytest

from delete_snapshots.usecase import Progress
from infra.duties import others, with_duties
from infra.grants import Places
from lastgood.domain.model import MemberState, PointStatus, RunStatus
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy, Retention, Schedule, copy_places, source_places
from lastgood.domain.prune_plan import Obstacle, retention_text
from lastgood.errors import AccessDenied, ForeignEvent
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Delivery
from tests.support import prune_stage
from tests.support.builders import SOURCE, a_volume, an_instance
from tests.support.fakes import FakeCompute, an_event
from tests.unit import test_create_snapshots as taking
from tests.unit import test_plan_snapshots as planning
from tests.unit import test_record_snapshot as recording
from tests.unit import test_sweep as sweeping

HOME = Place(region=SOURCE.region, account=SOURCE.account)
MEMBER, VAULT = "222222222222", "333333333333"
THERE = Place(region=HOME.region, account=MEMBER)
NAME = f"{MEMBER}/{HOME.region}"
DENIED = AccessDenied(f"enter account {MEMBER}: not authorized")
BOTH = (HOME.account, MEMBER)


def entering(stage, there=None):
    """Give the EC2 of home, or what is ``there``: nobody may enter the member if that is None."""

    def at(place):
        if place.account == MEMBER and there is None:
            raise DENIED
        return there if place.account == MEMBER else stage.ec2

    return at


def a_fleet(stage):
    found = FakeCompute(stage.clock)
    found.put_fleet(["there"])
    stage.ec2.put_fleet(["here"])
    return found


# planning


def a_plan(there=True):
    stage = planning.Stage(planning.a_policy(select={"accounts": BOTH}))
    fleet = a_fleet(stage)
    stage.planner = replace(stage.planner, at=entering(stage, fleet if there else None))
    return stage


def test_sources_are_planned_in_every_account_of_the_policy():
    stage = a_plan()

    report = stage.plan()

    assert {one.source.id: one.source.account for one in stage.queue.requests} == {
        "i-here": HOME.account,
        "i-there": MEMBER,
    }
    planned = stage.ledger.planned(report.run)
    assert set(planned.regions) == {HOME.region, NAME}


def test_an_account_that_cannot_be_entered_is_a_problem_of_the_run_and_stops_no_other():
    stage = a_plan(there=False)

    with pytest.raises(AccessDenied):
        stage.plan()

    assert [one.source.id for one in stage.queue.requests] == ["i-here"]
    (run,) = stage.ledger.runs(stage.policy.name)
    assert run.planned.regions == (HOME.region,)
    assert run.planned.waiting == ()
    assert run.planned.problems == (f"AccessDenied: {DENIED}",)
    good = replace(run, ended={PointStatus.AVAILABLE: 1})
    assert good.status is RunStatus.PARTIAL


def test_a_place_is_named_by_its_region_at_home_and_with_its_account_elsewhere():
    assert HOME.name(HOME.account) == HOME.region
    assert THERE.name(HOME.account) == NAME


# taking and recording


def test_a_point_is_taken_where_its_source_is():
    stage = taking.Stage()
    there = FakeCompute(stage.clock)
    there.put(an_instance(), a_volume("vol-1"), a_volume("vol-2"))
    stage.taker = replace(stage.taker, at=entering(stage, there))
    source = replace(SOURCE, account=MEMBER)

    point = stage.take(replace(taking.a_request(), source=source))

    assert (point.status, point.source.account) == (PointStatus.PENDING, MEMBER)
    assert (len(there.made), len(stage.ec2.made)) == (2, 0)


def test_a_point_whose_account_cannot_be_entered_fails_with_the_cause():
    stage = taking.Stage()
    stage.taker = replace(stage.taker, at=entering(stage))
    request = replace(taking.a_request(), source=replace(SOURCE, account=MEMBER))

    with pytest.raises(AccessDenied):
        stage.take(request)

    point = stage.ledger.point(request.point)
    assert (point.status, point.cause) == (PointStatus.FAILED, f"AccessDenied: {DENIED}")
    assert not list(stage.ledger.doubts())


def test_events_of_accounts_that_policies_name_count_and_of_others_do_not():
    stage = recording.Stage()
    stage.recorder = replace(stage.recorder, accounts=frozenset(BOTH))
    stage.taken("snap-1")
    delivery = Delivery(owner="worker", attempt=1, last=False)

    point = stage.recorder.record(an_event("snap-1", account=MEMBER), delivery)

    assert point.status is PointStatus.AVAILABLE
    with pytest.raises(ForeignEvent, match=f"account {VAULT} .* look in {HOME.account}, {MEMBER}"):
        stage.recorder.record(an_event("snap-1", account=VAULT), delivery)


# sweeping


def a_sweep(**given):
    stage = sweeping.Stage(sweeping.a_policy(accounts=BOTH, **given))
    there = FakeCompute(stage.clock)
    there.put_fleet(["there"], tags={"backup": "daily"})
    for name in ("planner", "taker", "sweeper"):
        setattr(stage, name, replace(getattr(stage, name), at=entering(stage, there)))
    return stage, there


def test_what_is_in_flight_in_a_member_is_settled_there():
    stage, there = a_sweep()
    stage.plan()
    stage.deliver()
    for one in list(there.made):
        there.end(one, MemberState.COMPLETED)

    report, error = stage.trouble(after=timedelta(minutes=20))

    assert (error, report.settled) == (None, 1)


def test_points_of_a_member_are_rebuilt_as_its_own():
    stage, there = a_sweep()
    stage.plan()
    stage.deliver()
    for one in list(there.made):
        there.end(one, MemberState.COMPLETED)
    ledger = MemoryLedger()
    stage.restart(ledger)
    stage.sweeper = replace(stage.sweeper, at=entering(stage, there))

    stage.trouble(after=timedelta(hours=1), rebuild=True)

    found = [one.source for one in ledger.points("i-there")]
    assert found == [replace(SOURCE, id="i-there", account=MEMBER)]


def test_a_slot_is_caught_up_although_one_account_cannot_be_entered():
    stage, _ = a_sweep(schedules=(Schedule(cron="0 2 * * ? *"),))
    stage.sweeper = replace(stage.sweeper, at=entering(stage))

    report, error = stage.trouble(after=timedelta(minutes=40))

    assert report.caught_up == {stage.policy.name: 1}
    assert isinstance(error, AccessDenied)
    assert any(MEMBER in one for one in report.problems)


# places


def of_both(**given):
    return replace(sweeping.a_policy(accounts=BOTH), **given)


def test_sources_are_in_each_region_of_each_account_and_copies_in_that_of_the_source():
    policy = of_both(copies=(Copy(region="eu-north-1"), Copy(region="eu-north-1", account=VAULT)))

    assert source_places([policy], HOME) == tuple(sorted((HOME, THERE)))
    assert copy_places([policy], HOME) == tuple(
        Place(region="eu-north-1", account=one) for one in sorted((*BOTH, VAULT))
    )


def test_what_is_to_be_done_in_an_account_follows_from_the_policies():
    policy = of_both(copies=(Copy(region="eu-north-1", account=VAULT),))

    member, vault = (
        with_duties(Places(partition="aws", account=of, region=at), [policy], HOME, only_here=True)
        for of, at in ((MEMBER, HOME.region), (VAULT, "eu-north-1"))
    )

    assert others([policy], HOME) == (Place(region="eu-north-1", account=VAULT), THERE)
    assert (member.regions, member.shared, member.vaults) == (
        (HOME.region,),
        (HOME.region,),
        (VAULT,),
    )
    assert (member.destinations, member.foreign) == ((), ())
    assert (vault.regions, vault.destinations) == ((), ("eu-north-1",))
    assert vault.foreign == tuple(sorted((HOME, THERE)))


def test_a_change_of_accounts_shows_in_the_retention_of_a_plan_only_if_there_are_copies():
    plain, one = sweeping.a_policy(), of_both()
    copied = replace(plain, copies=(Copy(region="eu-north-1"),))

    assert retention_text(plain) == retention_text(one)
    assert retention_text(copied) != retention_text(of_both(copies=copied.copies))


def test_what_may_go_stays_where_nobody_may_enter():
    stage = prune_stage.Stage(prune_stage.a_policy(retention=Retention(keep_daily=2)))
    points = stage.take(0, 1, 2, 3)
    stage.ask(policy="web-daily", slot=prune_stage.NOW)
    (message,) = stage.queue.messages

    def nobody(_):
        raise DENIED

    deleter = stage.deleter
    deleter = replace(deleter, series=replace(deleter.series, at=nobody))
    progress = Progress()
    deleter.apply(message, progress)

    assert (progress.deleted, progress.blocked) == (0, {Obstacle.REFUSED: 2})
    assert stage.status(points) == ["available"] * 4
