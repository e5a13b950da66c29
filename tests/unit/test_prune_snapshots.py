"""Planning what to prune, the cap, approving, explaining and holding."""

from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain import copying, forecast
from lastgood.domain.copying import CopyStatus
from lastgood.domain.forecast import slots_of
from lastgood.domain.model import Hold, MemberState, Outcome, PointStatus, Proof, Source
from lastgood.domain.policy import (
    Copy,
    Encryption,
    MaxDeletes,
    ResourceKind,
    Retention,
    Schedule,
    Select,
    Span,
)
from lastgood.domain.prune_plan import SLICES, Fate, Obstacle, PlanStatus
from lastgood.domain.retention import Judge, PointFacts
from lastgood.domain.tags import HOLD
from lastgood.errors import (
    Conflict,
    MalformedMessage,
    NotPermitted,
    RegionNotEnabled,
    UnknownPolicy,
    UnknownTarget,
    UnsafePlan,
)
from prune_snapshots.planning import RESERVE, SOURCES_IN_PART, VALID
from tests.support.builders import SOURCE, T0, a_claim, a_manifest, a_member
from tests.support.fakes import raising
from tests.support.prune_stage import DAY, NOW, Stage, a_policy

TWO_REGIONS = Select(
    resource=ResourceKind.INSTANCE,
    tags={"backup": ("daily",)},
    regions=("eu-west-1", "eu-north-1"),
)
NIGHTLY = Schedule(cron="0 2 * * ? *")


def sources(count):
    return [
        Source(id=f"i-{number:04}", region="eu-west-1", account=SOURCE.account)
        for number in range(count)
    ]


def a_stage(**given):
    return Stage(a_policy(**given))


def planned(stage, plan):
    """By point, what the stored plan says of it."""
    return {
        point.id: point
        for (of, _), part in stage.plans.parts.items()
        if of == plan
        for source in part.sources
        for point in source.points
    }


# planning


def test_a_dry_run_stores_the_whole_plan_and_deletes_nothing():
    stage = Stage()
    points = stage.take(0, 1, 2, 3, 4)

    report = stage.prune(dry_run=True)

    assert (report.status, report.keep, report.delete) == (PlanStatus.READY, 3, 2)
    assert (report.snapshots, report.gib_at_most) == (4, 32)
    assert stage.status(points) == ["available"] * 5
    told = planned(stage, report.plan)
    assert [told[one.id].fate for one in points] == [Fate.DELETE] * 2 + [Fate.KEEP] * 3
    assert told[points[0].id].reasons == (
        "daily 2026-03-01: 3 of 3 used by newer; keep_daily 5 would keep it",
    )
    assert told[points[4].id].reasons == ("daily 2026-03-05, 2 of 3 left",)


def test_what_the_rules_free_is_deleted_with_all_its_snapshots():
    stage = Stage()
    points = stage.take(0, 1, 2, 3, 4)

    report = stage.prune()

    assert report.status is PlanStatus.APPLYING
    assert stage.status(points) == ["deleted", "deleted", "available", "available", "available"]
    assert len(stage.ec2.made) == 6
    assert stage.ask(plan=report.plan, dry_run=True).deleted == 2


def test_sources_that_are_gone_are_pruned_as_any_other():
    """Nothing in pruning asks EC2 for the source itself."""
    stage = Stage()
    stage.take(0, 1, 2, 3)

    stage.prune()

    assert stage.days() == [1, 2, 3]
    assert not [one for one in stage.steps.taken if one.startswith("compute.instances")]


def test_the_same_slot_is_the_same_plan():
    stage = Stage()
    stage.take(0, 1, 2, 3)

    first = stage.ask(policy="web-daily", slot=NOW, dry_run=True)
    second = stage.ask(policy="web-daily", slot=NOW, dry_run=True)

    assert first == second


def test_points_of_another_policy_are_not_judged_with_those_of_this_one():
    stage = Stage()
    stage.policies.known["hourly"] = a_policy("hourly")
    stage.take(0, 1, 2, 3, policy="hourly")
    stage.take(0, 1)

    report = stage.prune()

    assert (report.keep, report.delete) == (2, 0)
    assert len(stage.days()) == 6


def test_a_policy_that_is_not_deployed_cannot_be_pruned():
    with pytest.raises(UnknownPolicy):
        Stage().ask(policy="web-dayly")


def test_a_retention_that_keeps_nothing_is_refused_when_it_comes_to_pruning_too():
    stage = a_stage(retention=Retention())
    stage.take(0, 1)

    with pytest.raises(UnsafePlan, match="keeps nothing"):
        stage.prune()


def test_failed_points_go_after_their_grace_and_count_for_nothing():
    stage = Stage()
    (failed,) = stage.take(90, status=PointStatus.FAILED, cause="the key is disabled")
    (young,) = stage.take(99, status=PointStatus.FAILED, cause="the key is disabled")
    (good,) = stage.take(0)

    stage.prune()

    assert stage.status([failed, young, good]) == ["deleted", "failed", "available"]


def test_a_failed_point_without_snapshots_is_left_to_its_expiry():
    stage = Stage()
    outcome = Outcome(status=PointStatus.FAILED, at=T0, cause="no key")
    point = stage.ledger.give_up(a_claim(), outcome)

    report = stage.prune()

    assert (report.sources, report.keep, report.delete) == (1, 0, 0)
    assert stage.status([point]) == ["failed"]


def test_a_region_that_no_policy_names_any_more_is_counted_and_left():
    stage = Stage()
    north = Source(id="i-north", region="eu-north-1", account=SOURCE.account)
    stage.take(0, 1, 2, 3, source=north)
    stage.take(0, 1, 2, 3)

    report = stage.prune()

    assert report.unreachable_sources == 1
    assert stage.days(north) == [0, 1, 2, 3]
    assert stage.days() == [1, 2, 3]


def test_a_region_that_refuses_is_told_of_and_the_others_go_on():
    stage = Stage(a_policy(select=TWO_REGIONS))
    north = Source(id="i-north", region="eu-north-1", account=SOURCE.account)
    stage.take(0, 1, 2, 3, source=north)
    stage.take(0, 1, 2, 3)
    refusal = RegionNotEnabled("eu-north-1 is not enabled")
    stage.steps.at("compute.snapshots_tagged", raising(refusal), nth=1)

    report = stage.prune()

    assert report.status is PlanStatus.APPLYING
    assert report.unreachable_sources == 1
    assert report.unreachable == {"eu-north-1": "eu-north-1 is not enabled"}
    assert stage.days() == [1, 2, 3]


def test_points_whose_snapshots_somebody_deleted_count_for_nothing():
    stage = a_stage(retention=Retention(keep_last=3), max_deletes=MaxDeletes(share=0.5))
    points = stage.take(*range(6))
    for one in points[3:]:
        del stage.ec2.made[one.snapshots[0]]

    report = stage.prune()

    assert (report.delete, report.lost) == (0, 3)
    assert stage.days() == list(range(6))
    told = stage.ask(explain=points[5].id)
    assert told.reasons == (
        "lost: 1 of its 2 snapshots are not in EC2 any more; it counts for no rule",
    )


def test_a_dry_run_for_all_policies_asks_for_dry_runs():
    stage = Stage()

    stage.ask(dry_run=True)

    assert stage.pruners.asked == [("web-daily", NOW, True)]


@pytest.mark.parametrize("given", [{"hold": "pt-1", "by": "a", "why": "b"}, {"release": "pt-1"}])
def test_there_is_no_dry_run_of_a_hold(given):
    with pytest.raises(MalformedMessage, match="no dry run"):
        Stage().ask(dry_run=True, **given)


# parts


def test_a_plan_goes_on_where_its_time_was_over():
    stage = a_stage(max_deletes=MaxDeletes(count=1000, share=1.0))
    for source in sources(2 * SOURCES_IN_PART + 1):
        stage.take(0, 1, 2, 3, source=source)
    stage.clock.time_left = RESERVE - timedelta(seconds=1)
    begun = stage.ask(policy="web-daily", slot=NOW)
    assert begun.status is PlanStatus.PLANNING
    assert stage.pruners.asked == [("web-daily", NOW, False)]

    stage.clock.time_left = timedelta(minutes=15)
    done = stage.ask(policy="web-daily", slot=NOW)

    assert done.plan == begun.plan
    assert (done.sources, done.delete) == (2 * SOURCES_IN_PART + 1,) * 2
    assert [one.slice for one in stage.queue.messages] == list(range(2 * SLICES + 1))


def test_a_planner_that_meets_another_one_at_the_same_plan_stops():
    stage = Stage()
    for source in sources(2):
        stage.take(0, 1, 2, 3, source=source)
    other = []

    def overtake():
        if not other:
            other.append(stage.ask(policy="web-daily", slot=NOW))

    stage.steps.at("compute.locked", overtake)

    mine = stage.ask(policy="web-daily", slot=NOW)

    assert mine.sources == other[0].sources == 2
    assert mine.status is PlanStatus.APPLYING


def test_a_plan_whose_retention_changes_while_it_is_made_is_refused():
    stage = Stage()
    for source in sources(SOURCES_IN_PART + 1):
        stage.take(0, 1, 2, 3, source=source)
    stage.clock.time_left = RESERVE - timedelta(seconds=1)
    stage.ask(policy="web-daily", slot=NOW)
    stage.clock.time_left = timedelta(minutes=15)
    stage.policies.known["web-daily"] = a_policy(retention=Retention(keep_daily=1))

    with pytest.raises(UnsafePlan, match="was changed while"):
        stage.ask(policy="web-daily", slot=NOW)


# the cap


def test_over_the_count_nothing_is_deleted_and_people_are_told_how_to_approve():
    stage = a_stage(max_deletes=MaxDeletes(count=1, share=1.0))
    points = stage.take(0, 1, 2, 3, 4)

    report = stage.prune()

    assert report.status is PlanStatus.STOPPED
    assert stage.status(points) == ["available"] * 5
    (notice,) = stage.notices.told
    assert report.plan in notice.text
    assert "max_deletes.count allows 1" in notice.text
    assert len(notice.subject) <= 100


def test_a_plan_over_the_count_is_applied_once_a_person_approves():
    stage = a_stage(max_deletes=MaxDeletes(count=1, share=1.0))
    stage.take(0, 1, 2, 3, 4)
    report = stage.prune()

    approved = stage.ask(plan=report.plan, by="anna")
    stage.work()

    assert approved.status is PlanStatus.APPLYING
    assert stage.days() == [2, 3, 4]
    assert stage.ledger.plan(report.plan).approved_by == "anna"


def test_a_source_over_the_share_keeps_all_while_the_others_are_pruned():
    stage = a_stage(max_deletes=MaxDeletes(count=100, share=0.5))
    many, few = sources(2)
    stage.take(*range(7), source=many)
    stage.take(*range(4), source=few)

    report = stage.prune()

    assert stage.days(many) == list(range(7))
    assert stage.days(few) == [1, 2, 3]
    assert (report.delete, report.over_share) == (1, 4)
    assert "more than 50%" in stage.notices.told[0].text

    approved = stage.ask(plan=report.plan)
    stage.work()

    assert stage.days(many) == [4, 5, 6]
    assert (approved.delete, approved.snapshots, approved.gib_at_most) == (5, 10, 80)


@pytest.mark.parametrize("cap", [MaxDeletes(count=100, share=0.5), MaxDeletes(count=1, share=1.0)])
def test_a_deletion_that_has_begun_is_finished_whatever_the_cap_says(cap):
    stage = a_stage(max_deletes=cap)
    points = stage.take(*range(8))
    stage.ledger.expire(points[0], NOW, "daily 2026-03-01: used up")
    del stage.ec2.made[points[0].snapshots[0]]

    report = stage.prune()

    assert stage.status(points) == ["deleted", *["available"] * 7]
    assert report.status is (PlanStatus.APPLYING if cap.count == 100 else PlanStatus.STOPPED)


def test_half_of_the_points_is_not_more_than_half():
    stage = a_stage(max_deletes=MaxDeletes(count=100, share=0.5))
    stage.take(*range(6))

    assert stage.prune().over_share == 0


def test_people_are_told_once_of_a_plan_that_stopped():
    stage = a_stage(max_deletes=MaxDeletes(count=1, share=1.0))
    stage.take(0, 1, 2, 3, 4)

    stage.ask(policy="web-daily", slot=NOW)
    stage.ask(policy="web-daily", slot=NOW)

    assert len(stage.notices.told) == 1


# approving


def test_a_plan_that_nobody_knows_is_refused():
    with pytest.raises(UnknownTarget):
        Stage().ask(plan="plan-0")


def test_an_old_plan_is_refused():
    stage = Stage()
    stage.take(0, 1, 2, 3)
    report = stage.prune(dry_run=True)

    stage.clock.advance(VALID + timedelta(seconds=1))

    with pytest.raises(UnsafePlan, match="older than 7 days"):
        stage.ask(plan=report.plan)


def test_a_plan_of_another_retention_is_refused():
    stage = Stage()
    stage.take(0, 1, 2, 3)
    report = stage.prune(dry_run=True)

    stage.policies.known["web-daily"] = a_policy(retention=Retention(keep_daily=30))

    with pytest.raises(UnsafePlan, match="was changed"):
        stage.ask(plan=report.plan)


def test_a_plan_in_the_making_is_refused():
    stage = Stage()
    stage.take(0, 1, 2, 3)
    stage.clock.time_left = timedelta(0)
    report = stage.ask(policy="web-daily", slot=NOW)

    with pytest.raises(UnsafePlan, match="still being planned"):
        stage.ask(plan=report.plan)


# what is in the way


def test_an_image_a_lock_or_the_archive_blocks_only_its_point():
    stage = a_stage(retention=Retention(keep_last=1))
    image, lock, archive, free, _ = points = stage.take(0, 1, 2, 3, 4)
    stage.ec2.in_use.add(image.snapshots[1])
    stage.ec2.locks[lock.snapshots[0]] = "locked (governance) until 2027-01-01T00:00:00Z"
    stage.ec2.archive[archive.snapshots[0]] = NOW - 89 * DAY

    report = stage.prune()

    assert stage.status(points) == ["available", "available", "available", "deleted", "available"]
    assert report.blocked == {Obstacle.IMAGE: 1, Obstacle.ARCHIVE: 1}
    told = planned(stage, report.plan)
    assert told[image.id].blocked_by == {Obstacle.IMAGE: f"{image.snapshots[1]} is used by ami-1"}
    assert "paid for until 2026-06-10" in told[archive.id].blocked_by[Obstacle.ARCHIVE]
    assert told[lock.id].reasons == (
        f"{lock.snapshots[0]} is locked (governance) until 2027-01-01T00:00:00Z",
    )
    assert free.id in told


def test_what_was_archived_long_ago_goes():
    stage = a_stage(retention=Retention(keep_last=1))
    old, _ = stage.take(0, 1)
    stage.ec2.archive[old.snapshots[0]] = NOW - 90 * DAY

    stage.prune()

    assert stage.days() == [1]


def test_nothing_goes_before_its_required_copies_are_there():
    stage = a_stage(copies=(Copy(region="eu-north-1"),))
    stage.ledger.copying_since(stage.policy.name, [stage.north], T0)
    stage.take(0, 1, 2, 3)

    report = stage.prune()

    assert report.blocked == {Obstacle.COPY: 1}
    assert stage.days() == [0, 1, 2, 3]


def test_points_from_before_their_policy_asked_for_copies_wait_for_none():
    stage = a_stage(copies=(Copy(region="eu-north-1"),))
    stage.take(0, 1)
    stage.ledger.copying_since(stage.policy.name, [stage.north], T0 + 2 * DAY)
    stage.take(2, 3, 4, 5)

    report = stage.prune()

    assert report.blocked == {Obstacle.COPY: 1}
    assert stage.days() == [2, 3, 4, 5]


def test_nothing_goes_before_it_is_encrypted_if_that_is_required_of_whatever_age():
    stage = a_stage(encryption=Encryption.REQUIRED)
    plain = (a_member("snap-plain", encrypted=False, state=MemberState.COMPLETED),)
    (first,) = stage.take(0, members=plain)
    stage.take(1, 2, 3, 4)

    report = stage.prune()

    assert report.blocked == {Obstacle.COPY: 1}
    assert stage.days() == [0, 2, 3, 4]
    told = stage.ask(explain=first.id).lines
    assert "In the way: its members are to be encrypted first, and that is not begun" in told
    copy = copying.encrypting(first, NOW)
    stage.ledger.open_copy(replace(copy, cause="no key"))
    told = stage.ask(explain=first.id).lines
    assert "In the way: its members are to be encrypted first, and that is waiting: no key" in told
    good = replace(first.members[0], snapshot="snap-good", encrypted=True)
    stage.put(good, first)
    stage.ledger.exchange(first, (good,), NOW)
    stage.clock.advance(timedelta(hours=1))

    stage.prune()

    assert stage.days() == [2, 3, 4]
    assert "snap-good" not in stage.ec2.made


def test_a_point_whose_copies_are_there_goes_and_one_whose_copy_waits_says_why():
    stage = a_stage(copies=(Copy(region="eu-north-1"),))
    first, second, *_ = stage.take(0, 1, 2, 3, 4)
    for point, status in ((first, CopyStatus.AVAILABLE), (second, CopyStatus.WAITING)):
        copy = copying.queued(point, stage.policy.copies[0], NOW)
        stage.ledger.open_copy(replace(copy, status=status, cause="no key"))

    stage.prune()

    assert stage.days() == [1, 2, 3, 4]
    told = stage.ask(explain=second.id)
    assert told.lines[-2] == (
        "In the way: its copy to eu-north-1 of 123456789012 is required, and waiting: no key"
    )


# copies, by their own rules

NORTH = Copy(region="eu-north-1", retention=Retention(keep_last=2))


def a_copied_stage(*days):
    stage = a_stage(copies=(NORTH,))
    points = stage.take(*days)
    stage.copy(*points)
    return stage, points


def test_copies_go_by_their_own_retention_and_the_newest_stays():
    stage, _ = a_copied_stage(0, 1, 2, 3, 4)

    report = stage.prune()

    assert (report.sources, report.delete, report.snapshots) == (1, 5, 10)
    assert stage.days() == [2, 3, 4]
    assert stage.copied_days() == [3, 4]
    assert len(stage.regions["eu-north-1"].made) == 4
    assert stage.prune(slot=NOW + DAY).delete == 0


def test_copies_in_two_accounts_of_one_region_go_each_by_its_own_retention():
    abroad = replace(NORTH, account="210987654321", retention=Retention(keep_last=4))
    stage = a_stage(copies=(NORTH, abroad))
    points = stage.take(0, 1, 2, 3, 4)
    stage.copy(*points)

    stage.prune()

    assert stage.copied_days() == [3, 4]
    assert stage.copied_days(abroad) == [1, 2, 3, 4]


def test_copies_outlive_the_points_that_they_are_copies_of_and_the_policy_that_kept_those():
    stage, points = a_copied_stage(0, 1, 2, 3)
    longer = replace(NORTH, retention=Retention(keep_daily=30))
    stage.policies.known[stage.policy.name] = replace(stage.policy, copies=(longer,))

    stage.prune()

    assert stage.status(points) == ["deleted", "available", "available", "available"]
    assert stage.copied_days() == [0, 1, 2, 3]


def test_a_point_whose_copy_went_by_its_own_rules_waits_for_no_copy():
    stage, points = a_copied_stage(0, 1, 2, 3)
    stage.prune()
    assert stage.copied_days() == [2, 3]
    shorter = replace(stage.policy, retention=Retention(keep_last=1))
    stage.policies.known[stage.policy.name] = shorter

    stage.prune(slot=NOW + DAY)

    assert stage.status(points) == ["deleted", "deleted", "deleted", "available"]


@pytest.mark.parametrize("how", ["source", "tag", "lock", "image"])
def test_a_copy_that_is_protected_stays(how):
    stage, points = a_copied_stage(0, 1, 2)
    away = stage.regions["eu-north-1"]
    snapshot = stage.copy_of(points[0]).members[0].snapshot
    match how:
        case "source":
            stage.ledger.hold_source(SOURCE.id, Hold(by="anna", why="audit", at=NOW))
        case "tag":
            away.made[snapshot].tags[HOLD] = "audit"
        case "lock":
            away.locks[snapshot] = "locked (governance)"
        case "image":
            away.in_use.add(snapshot)

    stage.prune()

    assert 0 in stage.copied_days()


def test_who_holds_a_point_holds_its_copies():
    stage, points = a_copied_stage(0, 1, 2, 3)
    away = stage.regions["eu-north-1"]
    copied = [one.snapshot for one in stage.copy_of(points[0]).members]

    stage.ask(hold=points[0].id, by="anna", why="audit")
    stage.prune()

    assert [away.made[one].tags[HOLD] for one in copied] == ["anna: audit"] * 2
    assert stage.copied_days() == [0, 2, 3]
    stage.ask(release=points[0].id)
    assert all(HOLD not in away.made[one].tags for one in copied)


def test_a_copy_that_lost_a_snapshot_counts_for_nothing():
    stage, points = a_copied_stage(0, 1, 2)
    lost = stage.copy_of(points[2]).members[0].snapshot
    del stage.regions["eu-north-1"].made[lost]

    stage.prune()

    assert {0, 1} <= set(stage.copied_days())


def test_a_copy_under_way_is_kept_and_takes_no_count():
    stage, points = a_copied_stage(0, 1, 2)
    (newest,) = stage.take(3)
    stage.ledger.open_copy(copying.queued(newest, NORTH, NOW))

    stage.prune()

    assert stage.copied_days() == [1, 2]
    assert stage.copy_of(newest).status is CopyStatus.WAITING
    assert stage.status(points)[0] == "deleted"


def test_the_snapshot_of_a_copy_is_explained_by_the_rules_of_its_place():
    stage, points = a_copied_stage(0, 1, 2)
    kept, free = (stage.copy_of(points[n]) for n in (2, 0))

    told = stage.ask(explain=kept.members[0].snapshot)
    assert (told.point, told.fate, told.reasons) == (kept.id, "keep", ("last 1, 1 of 2 left",))
    assert "in eu-north-1" in told.lines[0]
    assert stage.ask(explain=free.members[1].snapshot).fate == "delete"
    lines = stage.ask(explain=points[2].id).lines
    assert lines[-1] == (
        "Its copy in eu-north-1 of 123456789012 is available: "
        f"{', '.join(one.snapshot for one in kept.members)}"
    )


def test_a_plan_goes_on_in_the_series_where_it_stopped():
    stage, _ = a_copied_stage(0, 1, 2, 3)
    stage.steps.at(
        "plans.put", lambda: setattr(stage.clock, "time_left", timedelta(minutes=1)), after=True
    )
    stage.plans = stage.steps.watch("plans", stage.plans)
    slot = NOW

    first = stage.ask(policy=stage.policy.name, slot=slot)
    stage.clock.time_left = timedelta(minutes=15)
    second = stage.ask(policy=stage.policy.name, slot=slot)

    assert (first.status, second.status) == ("planning", "applying")
    assert (second.plan, second.sources, second.delete) == (first.plan, 1, 3)


# holds


def test_a_held_point_stays_and_uses_up_no_count():
    stage = Stage()
    points = stage.take(0, 1, 2, 3, 4)

    report = stage.ask(hold=points[4].id, by="anna", why="audit")
    stage.prune()

    assert report.held
    assert stage.days() == [1, 2, 3, 4]
    made = [stage.ec2.made[one].tags[HOLD] for one in points[4].snapshots]
    assert made == ["anna: audit"] * 2


def test_a_tag_that_somebody_put_on_one_snapshot_holds_its_point():
    stage = Stage()
    points = stage.take(0, 1, 2, 3, 4)
    stage.ec2.made[points[0].snapshots[1]].tags[HOLD] = "legal"

    stage.prune()

    assert stage.days() == [0, 2, 3, 4]


def test_a_held_source_loses_no_point_whatever_comes():
    stage = Stage()
    stage.take(0, 1, 2, 3)
    stage.ask(hold=SOURCE.id, by="anna", why="audit")
    stage.take(4, 5)

    stage.prune()

    assert stage.days() == [0, 1, 2, 3, 4, 5]


def test_what_is_released_may_go():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.ask(hold=points[0].id, by="anna", why="audit")

    report = stage.ask(release=points[0].id)
    stage.prune()

    assert not report.held
    assert stage.days() == [1, 2, 3]


def test_a_released_source_leaves_points_with_a_hold_of_their_own():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.ask(hold=points[0].id, by="anna", why="audit")
    stage.ask(hold=SOURCE.id, by="ben", why="move")

    report = stage.ask(release=SOURCE.id)
    stage.prune()

    assert report.held
    assert HOLD in stage.ec2.made[points[0].snapshots[0]].tags
    assert HOLD not in stage.ec2.made[points[1].snapshots[0]].tags
    assert stage.days() == [0, 1, 2, 3]


def test_a_released_point_of_a_held_source_stays_held():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.ask(hold=SOURCE.id, by="ben", why="move")
    stage.ask(hold=points[0].id, by="anna", why="audit")

    report = stage.ask(release=points[0].id)

    assert report.held
    assert HOLD in stage.ec2.made[points[0].snapshots[0]].tags


def tags_of(stage, points):
    return {stage.ec2.made[one].tags.get(HOLD) for point in points for one in point.snapshots}


def test_a_tag_that_somebody_else_put_outlives_our_holds():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    for one in points[0].snapshots:
        stage.ec2.made[one].tags[HOLD] = "legal: case 7"

    stage.ask(hold=SOURCE.id, by="ops", why="migration")
    report = stage.ask(release=SOURCE.id)

    assert tags_of(stage, points[:1]) == {"legal: case 7"}
    assert tags_of(stage, points[1:]) == {None}
    assert report.held
    assert f"the tag {HOLD}=legal: case 7" in report.note
    stage.prune()
    assert stage.days() == [0, 1, 2, 3]


def test_of_two_holds_the_tag_that_is_left_is_of_the_one_that_is_left():
    stage = Stage()
    (point,) = stage.take(0)
    stage.ask(hold=SOURCE.id, by="ben", why="move")
    stage.ask(hold=point.id, by="anna", why="audit")
    assert tags_of(stage, [point]) == {"ben: move"}

    stage.ask(release=SOURCE.id)
    assert tags_of(stage, [point]) == {"anna: audit"}

    stage.ask(hold=SOURCE.id, by="ben", why="move")
    stage.ask(release=point.id)
    assert tags_of(stage, [point]) == {"ben: move"}


def test_a_source_whose_snapshots_are_partly_or_all_gone_can_be_held_and_released():
    stage = Stage()
    points = stage.take(0, 1)
    del stage.ec2.made[points[0].snapshots[0]]

    stage.ask(hold=SOURCE.id, by="ben", why="move")
    assert not stage.ask(release=SOURCE.id).held
    assert tags_of(stage, points[1:]) == {None}

    empty = Source(id="i-empty", region="eu-west-1", account=SOURCE.account)
    stage.ledger.hold_source(empty.id, Hold(by="ben", why="move", at=NOW))
    assert not stage.ask(release=empty.id).held


def test_what_is_being_deleted_cannot_be_held():
    stage = Stage()
    (point,) = stage.take(0)
    stage.ledger.expire(point, NOW, "freed")

    with pytest.raises(Conflict):
        stage.ask(hold=point.id, by="anna", why="audit")


@pytest.mark.parametrize("target", ["pt-0", "i-nobody", "x"])
def test_what_is_not_on_record_cannot_be_held_or_released(target):
    with pytest.raises(UnknownTarget):
        Stage().ask(hold=target, by="anna", why="audit")
    with pytest.raises(UnknownTarget):
        Stage().ask(release=target)


@pytest.mark.parametrize("given", [{}, {"by": "anna"}, {"why": "audit"}])
def test_a_hold_needs_to_say_who_and_why(given):
    with pytest.raises(MalformedMessage, match="by"):
        Stage().ask(hold="pt-1", **given)


def test_only_one_thing_can_be_asked_for():
    with pytest.raises(MalformedMessage, match="policy and explain"):
        Stage().ask(policy="web-daily", explain="pt-1")


# explaining


def test_a_kept_point_is_explained_with_the_slot_after_which_it_goes():
    stage = a_stage(schedules=(NIGHTLY,))
    points = stage.take(97, 98, 99)

    told = stage.ask(explain=points[0].id)

    assert told.fate is Fate.KEEP
    assert told.reasons == ("daily 2026-06-06, 0 of 3 left",)
    assert told.goes_at == T0 + 101 * DAY
    assert "It goes after 2026-06-10 02:00 UTC" in told.lines[4]


def test_a_point_that_nothing_frees_within_ten_years_says_so():
    stage = a_stage(schedules=(), retention=Retention(keep_daily=3))
    points = stage.take(97)

    told = stage.ask(explain=points[0].id)

    assert told.goes_at is None
    assert told.lines[-1] == "It does not go before 2036-06-08, as things are."


def test_who_may_ask_about_certain_sources_only_is_told_of_those():
    stage = Stage()
    (point,) = stage.take(0)
    stage.ledger._keep(replace(point, manifest=a_manifest()))
    theirs, others = {"backup": ("daily", "gold")}, {"backup": ("weekly",)}

    assert stage.ask(explain=point.id, allowed_sources=(others, theirs)).point == point.id
    for allowed in ((others,), ()):
        with pytest.raises(NotPermitted, match="of a source that you may not ask about"):
            stage.ask(explain=point.id, allowed_sources=allowed)


def test_any_snapshot_of_a_point_leads_to_its_explanation():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)

    told = [stage.ask(explain=one) for one in points[0].snapshots]

    assert {one.point for one in told} == {points[0].id}
    assert all(one.fate is Fate.DELETE for one in told)
    assert told[0].lines[-1].startswith("It goes at the next prune")


def test_a_point_of_a_source_over_the_share_is_explained_by_that():
    stage = a_stage(max_deletes=MaxDeletes(count=100, share=0.5))
    points = stage.take(*range(8))

    told = stage.ask(explain=points[0].id)

    assert told.fate is Fate.DELETE
    assert told.lines[-1].startswith("5 of the 8 points of its source would go, more than")
    assert '{"policy": "web-daily", "dry_run": true}' in told.lines[-1]


def test_a_blocked_point_is_explained_with_what_is_in_the_way():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.ec2.in_use.add(points[0].snapshots[0])

    told = stage.ask(explain=points[0].id)

    assert told.fate is Fate.BLOCKED
    assert told.lines[-1] == f"In the way: {points[0].snapshots[0]} is used by ami-1"


def test_a_deleted_point_is_explained_by_its_history():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.prune()

    told = stage.ask(explain=points[0].id)

    assert told.status is PointStatus.DELETED
    assert "keep_daily 4 would keep it" in told.reasons[-2]


def test_a_deleted_point_of_a_policy_that_is_gone_is_explained_by_its_history_too():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.prune()
    stage.policies.known.clear()

    told = stage.ask(explain=points[0].id)

    assert told.lines[2] == "Free to go:"
    assert "deleted at" in told.reasons[-1]


def test_what_is_foretold_counts_on_the_prunes_until_then():
    """The oldest point stays for its rule until it leaves the span; then the next one does."""
    retention = Retention(keep_weekly=8, keep_within_monthly=Span.parse("2m"))
    stage = a_stage(retention=retention, schedules=(NIGHTLY,))
    policy, day = stage.policy, NOW - 60 * DAY
    points, target = [PointFacts(id="p", taken_at=day)], "p"
    foretold = forecast.freed(policy, points, target, day + DAY / 2)

    judge, now, left = Judge(retention), day, points
    while any(one.id == target for one in left):
        now += DAY
        coming = slots_of(policy, after=now - DAY, until=now)
        left = [*left, *(PointFacts(id=f"{one}", taken_at=one) for one in coming)]
        left = [one.point for one in judge.judge(left, now) if one.keep]

    assert abs(foretold.at - now) < DAY


def test_a_point_without_a_policy_is_kept_as_unmanaged():
    stage = Stage()
    points = stage.take(0, 1, policy="old")

    told = stage.ask(explain=points[0].id)

    assert told.fate is Fate.KEEP
    assert told.reasons[0].startswith("unmanaged")


def test_a_snapshot_of_somebody_else_is_named_as_such():
    stage = Stage()
    (point,) = stage.take(0)
    stage.put(replace(point.members[0], snapshot="snap-other"), point)
    stage.ec2.made["snap-other"].tags.clear()

    with pytest.raises(UnknownTarget, match="did not make it"):
        stage.ask(explain="snap-other")


def test_a_held_point_is_explained_by_its_hold():
    stage = Stage()
    points = stage.take(0, 1, 2, 3)
    stage.ask(hold=points[0].id, by="anna", why="audit")

    told = stage.ask(explain=points[0].id)

    assert told.reasons == (str(Hold(by="anna", why="audit", at=NOW)),)


@pytest.mark.parametrize(
    ("seconds", "took"), [(250, "4 min 10 s"), (3600, "1 h"), (3661, "1 h 1 min 1 s"), (0, "0 s")]
)
def test_a_point_that_a_drill_made_a_machine_of_says_when_and_how_long_it_took(seconds, took):
    stage = a_stage(schedules=(NIGHTLY,))
    (point,) = stage.take(99)
    assert not [one for one in stage.ask(explain=point.id).lines if "proved" in one]
    proof = Proof(restore="rs-1", at=T0 + 99 * DAY, seconds=seconds, how="status checks passed")
    stage.ledger.prove(point.id, proof)

    told = stage.ask(explain=point.id)

    assert told.lines[2] == (
        f"last proved on 2026-06-08 02:00 UTC by rs-1: it took {took} (status checks passed)"
    )


# the daily round


def test_the_daily_round_has_each_policy_planned_in_an_invocation_of_its_own():
    stage = Stage()
    stage.policies.known["other"] = a_policy("other")

    report = stage.ask(slot=NOW)

    assert report.asked == ("other", "web-daily")
    assert stage.pruners.asked == [("other", NOW, False), ("web-daily", NOW, False)]


def test_points_of_a_policy_that_was_taken_out_stay_and_are_told_of_once_a_month():
    stage = Stage()
    stage.take(0, 1, 2, 3)
    stage.ask(slot=NOW)
    stage.policies.known["other"] = stage.policies.known.pop("web-daily")
    stage.policies.known["other"] = a_policy("other")

    reports = [stage.ask(slot=NOW) for _ in range(2)]

    assert [one.unmanaged for one in reports] == [{"web-daily": 4}] * 2
    (notice,) = stage.notices.told
    assert "4 recovery points of 1 sources" in notice.text
    assert stage.days() == [0, 1, 2, 3]
