"""Both ledgers, in memory and on DynamoDB, keep the same promises: each test runs on both."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from lastgood.domain.conversing import ChatRefusal, Conversation
from lastgood.domain.copying import (
    SLOTS,
    CopyMember,
    CopyStatus,
    MemberEnded,
    PointCopy,
    asked,
    deleted,
    ended,
    expired,
    given_back,
    merged,
)
from lastgood.domain.ended import Ended
from lastgood.domain.launching import Card, Disk, Launch
from lastgood.domain.manifest import MOST_TAG_BYTES, LaunchAttributes
from lastgood.domain.model import (
    Change,
    Doubt,
    Failure,
    Hold,
    MemberState,
    Method,
    Outcome,
    Planned,
    PointStatus,
    Proof,
    Run,
    RunStatus,
    Source,
)
from lastgood.domain.place import Place
from lastgood.domain.prune_plan import (
    Applied,
    Fate,
    Obstacle,
    Part,
    PointPlan,
    PrunePlan,
    SourcePlan,
)
from lastgood.domain.restoring import Compared, Made, Piece, RestoreStatus, Step
from lastgood.errors import AccessDenied, Conflict, KeyDenied, LedgerMissing, Throttled
from lastgood.ledger import items
from lastgood.ledger.dynamo import DynamoLedger, _cancelled
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Ledger
from tests.cloud.faults import KILL, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.cloud.killed import Killed
from tests.support import table
from tests.support.builders import (
    POLICY,
    SOURCE,
    T0,
    a_claim,
    a_manifest,
    a_member,
    a_point,
    a_restore,
    an_instance,
    in_place,
    minutes,
)

AVAILABLE = Outcome(status=PointStatus.AVAILABLE, at=T0 + minutes(5))
FAILED = Outcome(status=PointStatus.FAILED, at=T0 + minutes(5), cause="the key is disabled")


@pytest.fixture(params=["memory", "dynamo"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    return MemoryLedger() if request.param == "memory" else request.getfixturevalue("dynamo")


@pytest.fixture
def dynamo(cloud: InProcessCloud) -> DynamoLedger:
    client = cloud.client("dynamodb", "eu-west-1")
    table.create(client)
    return DynamoLedger(client, table.NAME)


def answered(ledger: Ledger, claim=None, members=None):
    claim = claim or a_claim()
    members = members or (a_member("snap-1"), a_member("snap-2", "vol-2", device="/dev/sdf"))
    point = ledger.claim(claim)
    return ledger.answer(point, claim.at + minutes(1), members, a_manifest(), ("a note",))


def done(members):
    return tuple(replace(one, state=MemberState.COMPLETED) for one in members)


def test_the_first_claim_wins_and_owes_no_look_up(ledger):
    point = ledger.claim(a_claim())

    assert point.status is PointStatus.CREATING
    assert point.attempted_at is None


def test_a_second_worker_is_kept_out_until_the_lease_has_run_out(ledger):
    ledger.claim(a_claim("worker-a"))

    with pytest.raises(Conflict):
        ledger.claim(a_claim("worker-b", T0 + minutes(1)))

    taken_over = ledger.claim(a_claim("worker-b", T0 + minutes(3)))
    assert taken_over.attempted_at == T0


def test_a_worker_can_claim_again_what_it_holds(ledger):
    ledger.claim(a_claim("worker-a"))

    again = ledger.claim(a_claim("worker-a", T0 + minutes(1)))

    assert again.attempted_at == T0


def test_a_released_point_is_free_at_once(ledger):
    ledger.claim(a_claim("worker-a"))

    ledger.release(a_claim().id, "worker-a", "throttled", T0 + minutes(1), untouched=False)

    assert ledger.claim(a_claim("worker-b", T0 + minutes(1))).attempted_at == T0


def test_a_point_released_untouched_owes_no_look_up(ledger):
    ledger.claim(a_claim("worker-a"))

    ledger.release(a_claim().id, "worker-a", "throttled", T0 + minutes(1), untouched=True)

    assert ledger.claim(a_claim("worker-b", T0 + minutes(1))).attempted_at is None


def test_an_attempt_after_a_look_up_moves_the_time_that_describes_may_lag_from(ledger):
    ledger.claim(a_claim("worker-a"))
    ledger.claim(a_claim("worker-b", T0 + minutes(3)))

    ledger.attempt(a_claim().id, "worker-b", T0 + minutes(4))

    ledger.release(a_claim().id, "worker-b", "throttled", T0 + minutes(1), untouched=False)
    known = ledger.claim(a_claim("worker-c", T0 + minutes(5)))
    assert known.attempted_at == T0 + minutes(4)


def test_only_the_owner_may_attempt_release_and_answer(ledger):
    point = ledger.claim(a_claim("worker-a"))

    with pytest.raises(Conflict):
        ledger.attempt(point.id, "worker-b", T0)
    with pytest.raises(Conflict):
        ledger.release(point.id, "worker-b", "throttled", T0 + minutes(1), untouched=True)
    with pytest.raises(Conflict):
        ledger.answer(replace(point, owner="worker-b"), T0, (a_member(),), a_manifest(), ())


def test_an_answer_makes_the_point_pending_with_all_that_was_learnt(ledger):
    point = answered(ledger)

    assert ledger.point(point.id) == point
    assert point.status is PointStatus.PENDING
    assert point.manifest == a_manifest()
    assert [member.snapshot for member in point.members] == ["snap-1", "snap-2"]
    assert point.notes == ("a note",)
    assert point.owner is None
    assert point.lease_until is None
    assert point.attempted_at is None


def test_an_answer_that_comes_after_a_takeover_is_refused(ledger):
    slow = ledger.claim(a_claim("worker-a"))
    ledger.claim(a_claim("worker-b", T0 + minutes(3)))

    with pytest.raises(Conflict):
        ledger.answer(slow, T0, (a_member(),), a_manifest(), ())


def test_a_claim_of_a_point_that_is_taken_gives_the_point_as_it_is(ledger):
    point = answered(ledger)

    assert ledger.claim(a_claim("worker-b", T0 + minutes(9))) == point


def test_a_set_is_found_by_its_first_snapshot(ledger):
    point = answered(ledger)

    assert ledger.point_of("snap-1") == point
    assert ledger.point_of("snap-2") is None
    assert ledger.point_of("snap-foreign") is None


def test_a_point_taken_one_by_one_is_found_by_any_of_its_snapshots(ledger):
    point = answered(ledger, a_claim(method=Method.ONE_BY_ONE))

    assert ledger.point_of("snap-1") == point
    assert ledger.point_of("snap-2") == point


def test_a_settled_point_is_available_and_counted_once(ledger):
    claim = a_claim()
    ledger.open_run(Run(id=claim.run, policy=POLICY, slot=T0, started_at=T0))
    ledger.plan_run(claim.run, Planned(at=T0, points=1))
    point = answered(ledger, claim)
    whole = replace(point, members=done(point.members))

    first = ledger.settle(whole, AVAILABLE)
    second = ledger.settle(whole, AVAILABLE)

    assert first.changed
    assert not second.changed
    assert first.point == second.point == ledger.point(point.id)
    assert first.point.status is PointStatus.AVAILABLE
    assert first.point.members == done(point.members)
    run = ledger.run(claim.run)
    assert run.ended == {PointStatus.AVAILABLE: 1, PointStatus.FAILED: 0}
    assert run.status is RunStatus.OK


def test_a_settled_point_does_not_become_the_other_way(ledger):
    point = answered(ledger)
    ledger.settle(point, FAILED)

    with pytest.raises(Conflict):
        ledger.settle(point, AVAILABLE)

    assert ledger.point(point.id).cause == "the key is disabled"


def test_a_point_that_is_still_creating_cannot_be_settled(ledger):
    point = ledger.claim(a_claim())

    with pytest.raises(Conflict):
        ledger.settle(point, AVAILABLE)


def test_the_history_tells_each_status_with_its_time_and_reason(ledger):
    point = answered(ledger)

    settled = ledger.settle(point, FAILED).point

    assert [(one.status.value, one.at, one.reason) for one in settled.history] == [
        ("creating", T0, "claimed"),
        ("pending", T0 + minutes(1), "2 snapshots"),
        ("failed", T0 + minutes(5), "the key is disabled"),
    ]


def test_giving_up_fails_a_point_that_nobody_else_holds(ledger):
    ledger.claim(a_claim("worker-a"))

    point = ledger.give_up(a_claim("worker-a"), FAILED)

    assert point.status is PointStatus.FAILED
    assert ledger.give_up(a_claim("worker-a"), FAILED) == point


def test_giving_up_leaves_alone_what_another_worker_holds_or_has_taken(ledger):
    point = ledger.claim(a_claim("worker-a"))

    with pytest.raises(Conflict):
        ledger.give_up(a_claim("worker-b"), FAILED)

    ledger.answer(point, T0, (a_member(),), a_manifest(), ())
    with pytest.raises(Conflict):
        ledger.give_up(a_claim("worker-a"), FAILED)


def test_giving_up_a_point_that_was_never_claimed_puts_it_on_record_as_failed(ledger):
    claim = a_claim("worker-a")
    ledger.open_run(Run(id=claim.run, policy=POLICY, slot=T0, started_at=T0))

    point = ledger.give_up(claim, FAILED)

    assert ledger.point(claim.id) == point
    assert (point.status, point.cause) == (PointStatus.FAILED, "the key is disabled")
    assert ledger.run(claim.run).ended[PointStatus.FAILED] == 1
    assert list(ledger.in_flight()) == []


def test_giving_up_counts_in_the_run_that_the_point_belongs_to(ledger):
    first, other = a_claim("worker-a"), a_claim("worker-b", run="run-2")
    for run in (first.run, other.run):
        ledger.open_run(Run(id=run, policy=POLICY, slot=T0, started_at=T0))
    ledger.claim(first)
    ledger.release(first.id, "worker-a", "throttled", T0 + minutes(1), untouched=True)
    ledger.claim(other)
    ledger.taken_elsewhere("run-2", first.id, T0)

    ledger.give_up(other, FAILED)

    assert ledger.run(first.run).ended[PointStatus.FAILED] == 1
    assert ledger.run("run-2").ended[PointStatus.FAILED] == 1


def test_what_a_released_point_waits_for_is_on_record_until_it_is_taken(ledger):
    ledger.claim(a_claim("worker-a"))
    ledger.release(
        a_claim().id, "worker-a", "a snapshot is pending", T0 + minutes(1), untouched=True
    )

    assert ledger.point(a_claim().id).cause == "a snapshot is pending"
    again = ledger.claim(a_claim("worker-b"))
    assert again.cause == "a snapshot is pending"
    assert ledger.answer(again, T0, (a_member(),), a_manifest(), ()).cause is None


def test_a_settled_point_takes_no_more_notes_of_its_members(ledger):
    point = answered(ledger, a_claim(method=Method.ONE_BY_ONE))
    bad = Ended(snapshot="snap-1", state=MemberState.ERROR, cause="no key")
    settled = ledger.settle(ledger.settle_member(point, bad), FAILED).point

    late = ledger.settle_member(point, replace(bad, cause="something else"))

    assert late == settled == ledger.point(point.id)


def test_members_of_a_point_taken_one_by_one_are_noted_one_by_one(ledger):
    point = answered(ledger, a_claim(method=Method.ONE_BY_ONE))

    first = ledger.settle_member(point, Ended(snapshot="snap-2", state=MemberState.COMPLETED))
    second = ledger.settle_member(
        point, Ended(snapshot="snap-1", state=MemberState.ERROR, cause="no key")
    )

    assert [one.state.value for one in first.members] == ["pending", "completed"]
    assert [one.state.value for one in second.members] == ["error", "completed"]
    assert second.members[0].cause == "no key"


def test_a_source_is_on_record_from_the_first_claim_on(ledger):
    ledger.claim(a_claim())

    (record,) = ledger.sources(POLICY)

    assert (record.source, record.first_seen) == (SOURCE, T0)
    assert record.last_available is None


def test_a_source_keeps_the_newest_point_that_was_available(ledger):
    older = answered(ledger, a_claim(slot=T0))
    newer = answered(
        ledger,
        a_claim(slot=T0 + timedelta(days=1), at=T0 + timedelta(days=1)),
        (a_member("snap-3", started_at=T0 + timedelta(days=1)),),
    )

    ledger.settle(newer, AVAILABLE)
    settled = ledger.settle(older, AVAILABLE)

    assert settled.changed
    (record,) = ledger.sources(POLICY)
    assert record.last_point == newer.id
    assert record.last_available == T0 + timedelta(days=1)
    assert record.first_seen == T0


def test_a_failed_point_does_not_count_as_the_last_available(ledger):
    ledger.settle(answered(ledger), FAILED)

    (record,) = ledger.sources(POLICY)

    assert record.last_available is None


def test_the_points_of_a_source_come_newest_first(ledger):
    for day in (1, 3, 2):
        answered(ledger, a_claim(slot=T0 + timedelta(days=day)), (a_member(f"snap-{day}"),))
    other = Source(id="i-0b", region="eu-west-1", account="123456789012")
    answered(ledger, a_claim(source=other), (a_member("snap-9"),))

    found = list(ledger.points(SOURCE.id))

    assert [(one.slot - T0).days for one in found] == [3, 2, 1]
    assert [one.snapshots for one in found] == [("snap-3",), ("snap-2",), ("snap-1",)]
    assert all(one.manifest is None and one.history == () for one in found)


def test_what_is_in_flight_is_what_is_not_settled(ledger):
    creating = ledger.claim(a_claim(slot=T0))
    pending = answered(ledger, a_claim(slot=T0 + minutes(1)), (a_member("snap-3"),))
    over = answered(ledger, a_claim(slot=T0 + minutes(2)), (a_member("snap-4"),))
    ledger.settle(over, AVAILABLE)

    assert {one.id for one in ledger.in_flight()} == {creating.id, pending.id}


def test_a_run_is_opened_once_and_listed_newest_first(ledger):
    first = Run(id="run-1", policy=POLICY, slot=T0, started_at=T0)
    ledger.open_run(first)
    ledger.open_run(replace(first, started_at=T0 + minutes(1)))
    ledger.open_run(Run(id="run-2", policy=POLICY, slot=T0 + minutes(9), started_at=T0))

    assert ledger.run("run-1").started_at == T0
    assert [run.id for run in ledger.runs(POLICY)] == ["run-2", "run-1"]
    assert ledger.run("run-3") is None


def test_a_run_tells_what_was_planned(ledger):
    ledger.open_run(Run(id="run-1", policy=POLICY, slot=T0, started_at=T0))
    planned = Planned(at=T0, points=2, regions=("eu-west-1",), problems=("a problem",))

    ledger.plan_run("run-1", planned)

    assert ledger.run("run-1").planned == planned
    assert ledger.run("run-1").status is RunStatus.RUNNING


def test_a_point_that_another_run_takes_counts_as_it_ends_and_once(ledger):
    ledger.open_run(Run(id="run-2", policy=POLICY, slot=T0, started_at=T0))
    ledger.plan_run("run-2", Planned(at=T0, points=1))
    point = answered(ledger)

    ledger.taken_elsewhere("run-2", point.id, T0)
    ledger.taken_elsewhere("run-2", point.id, T0)

    assert ledger.run("run-2").status is RunStatus.RUNNING
    ledger.settle(point, FAILED)
    assert ledger.run("run-2").status is RunStatus.FAILED
    assert ledger.run("run-2").ended[PointStatus.FAILED] == 1


def test_a_plan_that_is_behind_does_not_undo_one_that_is_further(ledger):
    ledger.open_run(Run(id="run-1", policy=POLICY, slot=T0, started_at=T0))
    further = Planned(at=T0, points=2, regions=("eu-west-1", "eu-north-1"))

    ledger.plan_run("run-1", further)
    ledger.plan_run("run-1", Planned(at=T0, points=1, regions=("eu-west-1",)))

    assert ledger.planned("run-1") == further


def test_launch_attributes_are_kept_per_source(ledger):
    launch = LaunchAttributes(
        read_at=T0, launched_at=an_instance().launched_at, user_data="IyEvYmluL3No"
    )
    ledger.claim(a_claim())

    assert ledger.launch(POLICY, SOURCE) is None
    ledger.remember_launch(POLICY, SOURCE, launch)

    assert ledger.launch(POLICY, SOURCE) == launch
    (record,) = ledger.sources(POLICY)
    assert record.source == SOURCE


def test_the_record_of_a_failed_point_expires_and_that_of_an_available_one_does_not(dynamo, cloud):
    failed, good = a_claim(slot=T0), a_claim(slot=T0 + minutes(1))
    dynamo.settle(answered(dynamo, failed), FAILED)
    dynamo.settle(answered(dynamo, good, (a_member("snap-9"),)), AVAILABLE)

    def ttl(point):
        key = {"pk": {"S": f"POINT#{point}"}, "sk": {"S": "POINT"}}
        client = cloud.client("dynamodb", "eu-west-1")
        return client.get_item(TableName=table.NAME, Key=key)["Item"].get("ttl")

    assert int(ttl(failed.id)["N"]) == int((FAILED.at + timedelta(days=90)).timestamp())
    assert ttl(good.id) is None


@pytest.mark.parametrize(
    "reasons", [["TransactionConflict", "None", "ConditionalCheckFailed"], ["ThrottlingError"]]
)
def test_a_transaction_that_meets_another_is_no_verdict_on_its_conditions(reasons):
    cancelled = ClientError(
        {
            "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
            "CancellationReasons": [{"Code": reason} for reason in reasons],
        },
        "TransactWriteItems",
    )

    assert isinstance(_cancelled(cancelled, "settle"), Throttled)


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("ResourceNotFoundException", "Requested resource not found", LedgerMissing),
        ("AccessDeniedException", "not authorized to perform: dynamodb:GetItem", AccessDenied),
        ("AccessDeniedException", "The ciphertext: kms:Decrypt was denied", KeyDenied),
        ("ThrottlingException", "slow down", Throttled),
    ],
)
def test_what_dynamodb_refuses_has_a_name_of_ours(dynamo, cloud, code, message, error):
    cloud.faults.spoil("dynamodb.GetItem", aws_error(code, message))

    with pytest.raises(error, match=message.split(":")[0]):
        dynamo.point("pt-1")


def test_a_transaction_that_meets_another_is_tried_later(dynamo, cloud):
    cloud.faults.spoil(
        "dynamodb.TransactWriteItems", aws_error("TransactionInProgressException", "busy")
    )

    with pytest.raises(Throttled):
        dynamo.claim(a_claim())


def test_a_point_costs_six_item_writes_up_to_available(dynamo, cloud):
    point = answered(dynamo)
    dynamo.settle(point, AVAILABLE)

    assert item_writes(cloud) == 6


def item_writes(cloud):
    """Every item that a call wrote or tried to write."""
    single = [
        call
        for name in ("PutItem", "UpdateItem", "DeleteItem")
        for call in cloud.calls.of(f"dynamodb.{name}")
    ]
    transactions = cloud.calls.of("dynamodb.TransactWriteItems")
    return len(single) + sum(len(call.params["TransactItems"]) for call in transactions)


# -- points that a sweep asks for again -------------------------------------------------------


def test_an_idle_point_is_asked_for_again_by_one_sweep_of_two(ledger):
    idle = ledger.claim(a_claim("worker-a"))
    known = ledger.point(idle.id)

    assert ledger.retake(known, T0 + minutes(40))
    assert not ledger.retake(known, T0 + minutes(40))

    assert ledger.point(idle.id).retakes == 1
    assert ledger.point(idle.id).lease_until == T0 + minutes(40)


def test_a_point_that_was_asked_for_again_is_free_and_owes_a_look_up(ledger):
    ledger.claim(a_claim("worker-a"))
    ledger.retake(ledger.point(a_claim().id), T0 + minutes(40))

    taken = ledger.claim(a_claim("worker-b", T0 + minutes(40)))

    assert taken.attempted_at == T0
    assert (taken.owner, taken.retakes) == ("worker-b", 1)


def test_a_point_that_a_worker_took_since_it_was_read_is_not_asked_for_again(ledger):
    ledger.claim(a_claim("worker-a"))
    read = ledger.point(a_claim().id)
    ledger.claim(a_claim("worker-b", T0 + minutes(30)))

    assert not ledger.retake(read, T0 + minutes(30))


def test_a_point_that_is_past_creating_is_not_asked_for_again(ledger):
    ledger.claim(a_claim("worker-a"))
    read = ledger.point(a_claim().id)
    answered(ledger)

    assert not ledger.retake(read, T0 + minutes(40))


def test_each_time_that_a_point_is_asked_for_again_counts(ledger):
    ledger.claim(a_claim("worker-a"))
    for hour in (1, 2, 3):
        assert ledger.retake(ledger.point(a_claim().id), T0 + timedelta(hours=hour))

    assert ledger.point(a_claim().id).retakes == 3


# -- doubts -----------------------------------------------------------------------------------


def test_the_latest_doubt_about_a_point_counts(ledger):
    ledger.doubt("pt-1", T0)
    ledger.doubt("pt-2", T0)
    ledger.doubt("pt-1", T0 + minutes(9))

    assert sorted(ledger.doubts(), key=lambda one: one.point) == [
        Doubt(point="pt-1", since=T0 + minutes(9)),
        Doubt(point="pt-2", since=T0),
    ]


def test_only_the_doubt_that_was_looked_into_is_dismissed(ledger):
    ledger.doubt("pt-1", T0)
    (old,) = ledger.doubts()
    ledger.doubt("pt-1", T0 + minutes(9))

    ledger.dismiss(old)
    assert [one.since for one in ledger.doubts()] == [T0 + minutes(9)]

    (new,) = ledger.doubts()
    ledger.dismiss(new)
    ledger.dismiss(new)
    assert list(ledger.doubts()) == []


def test_a_doubt_keeps_its_instant_to_the_fraction(ledger):
    since = T0 + timedelta(microseconds=123456)
    ledger.doubt("pt-1", since)

    (doubt,) = ledger.doubts()

    assert doubt.since == since
    ledger.dismiss(doubt)
    assert list(ledger.doubts()) == []


def test_a_doubt_is_not_in_flight_and_is_no_point(ledger):
    point = answered(ledger)
    ledger.doubt(point.id, T0)

    assert [one.id for one in ledger.in_flight()] == [point.id]
    assert ledger.point(point.id) == point
    assert len(list(ledger.points(SOURCE.id))) == 1


# -- what is on record ------------------------------------------------------------------------


def test_points_that_are_on_record_are_known_and_no_others(ledger):
    point = answered(ledger)

    assert ledger.known([point.id, "pt-unknown", point.id]) == {point.id}
    assert ledger.known([]) == set()


def test_points_are_looked_for_a_hundred_at_a_time(dynamo, cloud):
    point = answered(dynamo)
    del cloud.calls[:]

    found = dynamo.known([point.id, *(f"pt-{n}" for n in range(200))])

    assert found == {point.id}
    calls = cloud.calls.of("dynamodb.BatchGetItem")
    asked = [call.params["RequestItems"][table.NAME] for call in calls]
    assert [len(one["Keys"]) for one in asked] == [100, 100, 1]
    assert all(one["ConsistentRead"] for one in asked)


def test_what_dynamodb_left_for_later_is_asked_for_again():
    """A client that answers one key of each call. Source: DynamoDB API, BatchGetItem."""
    asked = []

    def batch_get_item(RequestItems):  # noqa: N803
        (request,) = RequestItems.values()
        first, *rest = request["Keys"]
        asked.append(len(request["Keys"]))
        left = {table.NAME: {**request, "Keys": rest}} if rest else {}
        item = {"id": {"S": first["pk"]["S"].removeprefix("POINT#")}}
        return {"Responses": {table.NAME: [item]}, "UnprocessedKeys": left}

    ledger = DynamoLedger(SimpleNamespace(batch_get_item=batch_get_item), table.NAME)

    assert ledger.known(["pt-1", "pt-2", "pt-3"]) == {"pt-1", "pt-2", "pt-3"}
    assert asked == [3, 2, 1]


# -- rebuilt ----------------------------------------------------------------------------------


def a_rebuilt_point(status=PointStatus.AVAILABLE, slot=T0, **given):
    claim = a_claim(slot=slot)
    ended = status is not PointStatus.PENDING
    facts = {
        "id": claim.id,
        "slot": slot,
        "status": status,
        "claimed_at": slot,
        "settled_at": T0 + minutes(90) if ended else None,
        "cause": "1 of its 2 snapshots are there" if status is PointStatus.FAILED else None,
        "members": done(
            (
                a_member(f"snap-{slot:%d}a", started_at=slot),
                a_member(f"snap-{slot:%d}b", "vol-2", started_at=slot),
            )
        ),
        "history": (Change(at=T0 + minutes(90), status=status, reason="rebuilt from tags"),),
    }
    return a_point(**facts | given)


@pytest.mark.parametrize("status", [PointStatus.PENDING, PointStatus.AVAILABLE, PointStatus.FAILED])
@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
def test_a_rebuilt_point_is_found_in_every_way(ledger, status, method):
    point = a_rebuilt_point(status, method=method)

    assert ledger.rebuild(point)

    assert ledger.point(point.id) == point
    assert ledger.known([point.id]) == {point.id}
    assert [one.id for one in ledger.points(SOURCE.id)] == [point.id]
    assert [one.id for one in ledger.in_flight()] == (
        [point.id] if status is PointStatus.PENDING else []
    )
    assert ledger.point_of(point.snapshots[0]) == point
    assert (ledger.point_of(point.snapshots[1]) == point) is (method is Method.ONE_BY_ONE)


def test_rebuilding_again_changes_nothing(ledger):
    point = a_rebuilt_point()
    ledger.rebuild(point)

    assert not ledger.rebuild(replace(point, notes=("other",)))

    assert ledger.point(point.id) == point


def test_rebuilding_never_writes_over_what_is_on_record(ledger):
    held = ledger.claim(a_claim())

    assert not ledger.rebuild(a_rebuilt_point())

    assert ledger.point(held.id).status is PointStatus.CREATING
    assert ledger.point(held.id).owner == "worker-a"


def test_a_rebuilt_point_counts_in_no_run(ledger):
    point = a_rebuilt_point()
    ledger.open_run(Run(id=point.run, policy=POLICY, slot=T0, started_at=T0))

    ledger.rebuild(point)

    assert ledger.run(point.run).ended[PointStatus.AVAILABLE] == 0


def test_a_rebuilt_point_that_is_pending_is_settled_as_any_other(ledger):
    point = a_rebuilt_point(PointStatus.PENDING)
    ledger.rebuild(point)

    assert ledger.settle(point, AVAILABLE).changed

    (record,) = ledger.sources(POLICY)
    assert record.last_point == point.id


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_source_is_rebuilt_with_its_newest_good_point_whatever_comes_first(ledger, order):
    points = [a_rebuilt_point(slot=T0 + timedelta(days=day)) for day in (0, 1)]
    points.append(a_rebuilt_point(PointStatus.FAILED, slot=T0 + timedelta(days=2)))

    for number in order:
        ledger.rebuild(points[number])

    (record,) = ledger.sources(POLICY)
    assert record.source == SOURCE
    assert record.last_point == points[1].id
    assert record.last_available == T0 + timedelta(days=1)


def test_a_source_that_is_on_record_keeps_when_it_was_seen_and_asked_for(ledger):
    ledger.claim(a_claim(slot=T0 + timedelta(days=3), at=T0 + timedelta(days=3)))

    ledger.rebuild(a_rebuilt_point())

    (record,) = ledger.sources(POLICY)
    assert record.first_seen == record.last_asked == T0 + timedelta(days=3)
    assert record.last_available == T0


@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
@pytest.mark.parametrize("after", range(4))
def test_a_rebuilding_that_was_killed_between_two_writes_is_done_anew(dynamo, cloud, method, after):
    point = a_rebuilt_point(method=method)
    cloud.faults.spoil("dynamodb.*", KILL, after=after)
    with suppress(Killed), cloud.running("sweep"):
        dynamo.rebuild(point)
    cloud.faults.clear()

    dynamo.rebuild(point)

    assert dynamo.point(point.id) == point
    assert dynamo.point_of(point.snapshots[0]) == point
    (record,) = dynamo.sources(POLICY)
    assert record.last_point == point.id


def test_the_record_of_a_rebuilt_point_expires_only_if_it_failed(dynamo, cloud):
    for status, slot in ((PointStatus.FAILED, T0), (PointStatus.AVAILABLE, T0 + minutes(1))):
        point = a_rebuilt_point(status, slot=slot)
        dynamo.rebuild(point)
        key = {"pk": {"S": f"POINT#{point.id}"}, "sk": {"S": "POINT"}}
        client = cloud.client("dynamodb", "eu-west-1")
        item = client.get_item(TableName=table.NAME, Key=key)["Item"]
        assert ("ttl" in item) is (status is PointStatus.FAILED)


# -- what people were told, and what failed ---------------------------------------------------


def test_what_was_told_is_told_and_nothing_else(ledger):
    ledger.note_told("run#run-1", T0)
    ledger.note_told("run#run-1", T0 + minutes(1))

    assert ledger.told("run#run-1")
    assert not ledger.told("run#run-10")
    assert not ledger.told("rpo#web-daily#2026-03-01")


def test_what_was_told_of_a_run_is_remembered_for_as_long_as_the_run(dynamo, cloud):
    dynamo.open_run(Run(id="run-1", policy=POLICY, slot=T0, started_at=T0))
    dynamo.note_told("run#run-1", T0 + minutes(30))
    client = cloud.client("dynamodb", "eu-west-1")

    def ttl(pk, sk):
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        return int(client.get_item(TableName=table.NAME, Key=key)["Item"]["ttl"]["N"])

    assert ttl("NOTICE#run#run-1", "NOTICE") >= ttl("RUN#run-1", "RUN")


def test_the_failures_of_a_run_are_named_with_their_cause(ledger):
    claims = [
        a_claim(source=Source(id=f"i-{n}", region="eu-west-1", account=SOURCE.account))
        for n in range(3)
    ]
    ledger.settle(answered(ledger, claims[0], (a_member("snap-1"),)), AVAILABLE)
    ledger.settle(answered(ledger, claims[1], (a_member("snap-2"),)), FAILED)
    ledger.claim(claims[2])
    ledger.give_up(claims[2], replace(FAILED, cause="throttled"))

    failures = sorted(ledger.failures(claims[0].run), key=lambda one: one.source)

    assert failures == [
        Failure(point=claims[1].id, source=claims[1].source, cause="the key is disabled"),
        Failure(point=claims[2].id, source=claims[2].source, cause="throttled"),
    ]
    assert list(ledger.failures("run-other")) == []


def test_a_source_was_asked_for_when_a_point_of_it_was_first_claimed(ledger):
    ledger.claim(a_claim("worker-a"))
    ledger.claim(a_claim("worker-b", T0 + minutes(30)))
    (record,) = ledger.sources(POLICY)
    assert record.last_asked == T0

    ledger.claim(a_claim("worker-a", T0 + timedelta(days=1), slot=T0 + timedelta(days=1)))

    (record,) = ledger.sources(POLICY)
    assert (record.first_seen, record.last_asked) == (T0, T0 + timedelta(days=1))


def test_a_point_that_is_given_up_unclaimed_was_asked_for_too(ledger):
    ledger.give_up(a_claim("worker-a"), FAILED)

    (record,) = ledger.sources(POLICY)

    assert record.last_asked == T0


def test_launch_attributes_are_no_part_of_the_sources_item(dynamo, cloud):
    """Each claim writes that item, and a large one costs more."""
    dynamo.claim(a_claim())
    launch = LaunchAttributes(read_at=T0, launched_at=T0, user_data="x" * 10_000)
    dynamo.remember_launch(POLICY, SOURCE, launch)
    client = cloud.client("dynamodb", "eu-west-1")

    found = client.scan(TableName=table.NAME)["Items"]

    assert dynamo.launch(POLICY, SOURCE) == launch
    assert [one["pk"]["S"] for one in found if "user_data" in one] == ["LAUNCH#web-daily#i-0a"]
    (record,) = dynamo.sources(POLICY)
    assert record.source == SOURCE


# -- what goes, what is held, and the plans of it ---------------------------------------------

HOLD = Hold(by="anna", why="audit", at=T0 + minutes(9))
LATER = T0 + timedelta(days=8)


def available(ledger):
    return ledger.settle(answered(ledger), AVAILABLE).point


def test_an_expired_point_is_listed_until_it_is_deleted_and_on_record_after_that(ledger):
    point = available(ledger)

    expired = ledger.expire(point, LATER, "daily: used up")
    listed = [one.status for one in ledger.points(SOURCE.id)]
    ledger.deleted(point.id, LATER + minutes(1))

    assert expired.snapshots == point.snapshots
    assert listed == [PointStatus.EXPIRED]
    assert list(ledger.points(SOURCE.id)) == []
    known = ledger.point(point.id)
    assert known.status is PointStatus.DELETED
    assert known.manifest is None
    assert [(one.status.value, one.reason) for one in known.history[-2:]] == [
        ("expired", "daily: used up"),
        ("deleted", "its snapshots are deleted"),
    ]


def test_expiring_and_deleting_again_changes_nothing(ledger):
    point = available(ledger)
    ledger.expire(point, LATER, "freed")

    again = ledger.expire(point, LATER + minutes(1), "freed")
    ledger.deleted(point.id, LATER)
    ledger.deleted(point.id, LATER + minutes(1))

    assert again.history[-1].at == LATER
    assert len(ledger.point(point.id).history) == 5


def test_a_point_that_is_not_as_it_was_read_does_not_expire(ledger):
    pending = answered(ledger)
    ledger.settle(pending, AVAILABLE)

    with pytest.raises(Conflict, match="available now"):
        ledger.expire(pending, LATER, "freed")
    with pytest.raises(Conflict):
        ledger.deleted(pending.id, LATER)


def test_a_run_keeps_its_counts_when_its_points_go(ledger):
    """Also for a run that asked for a point that another one took."""
    point = available(ledger)
    ledger.open_run(Run(id=point.run, policy=POLICY, slot=T0, started_at=T0))
    ledger.open_run(Run(id="run-other", policy=POLICY, slot=T0, started_at=T0))
    ledger.taken_elsewhere("run-other", point.id, T0)
    ledger.taken_elsewhere("run-other", "pt-gone-by-its-ttl", T0)

    ledger.expire(point, LATER, "freed")
    ledger.deleted(point.id, LATER)

    assert ledger.run(point.run).ended[PointStatus.AVAILABLE] == 1
    assert ledger.run("run-other").ended[PointStatus.AVAILABLE] == 2


def test_a_failed_point_that_went_still_counts_as_failed(ledger):
    point = ledger.settle(answered(ledger), FAILED).point
    ledger.open_run(Run(id="run-other", policy=POLICY, slot=T0, started_at=T0))
    ledger.taken_elsewhere("run-other", point.id, T0)

    ledger.expire(point, LATER, "its grace is over")

    assert ledger.run("run-other").ended[PointStatus.FAILED] == 1


def test_a_held_point_does_not_expire_until_it_is_released(ledger):
    point = available(ledger)
    ledger.hold(point.id, HOLD)
    assert ledger.point(point.id).hold == HOLD
    assert [one.hold for one in ledger.points(SOURCE.id)] == [HOLD]

    with pytest.raises(Conflict, match="held by anna"):
        ledger.expire(point, LATER, "freed")

    ledger.release_hold(point.id)
    assert ledger.expire(point, LATER, "freed").status is PointStatus.EXPIRED


def test_no_point_of_a_held_source_expires_until_it_is_released(ledger):
    point = available(ledger)
    ledger.hold_source(SOURCE.id, HOLD)
    assert ledger.source_holds([SOURCE.id, "i-other"]) == {SOURCE.id: HOLD}

    with pytest.raises(Conflict, match="held with its source"):
        ledger.expire(point, LATER, "freed")

    ledger.release_source(SOURCE.id)
    assert ledger.source_holds([SOURCE.id]) == {}
    assert ledger.expire(point, LATER, "freed").status is PointStatus.EXPIRED


def test_what_is_on_its_way_out_cannot_be_held(ledger):
    point = available(ledger)
    ledger.expire(point, LATER, "freed")

    with pytest.raises(Conflict, match="cannot be held any more"):
        ledger.hold(point.id, HOLD)
    with pytest.raises(Conflict):
        ledger.hold("pt-0", HOLD)


def test_releasing_what_is_not_held_changes_nothing(ledger):
    point = available(ledger)

    ledger.release_hold(point.id)
    ledger.release_hold("pt-0")
    ledger.release_source("i-other")

    assert ledger.point(point.id) == point
    assert ledger.point("pt-0") is None


def a_plan(**given):
    facts = {"id": "plan-1", "policy": POLICY, "made_at": T0, "dry_run": False, "retention": "x"}
    return PrunePlan(**facts | given)


def a_part(number=0, fate=Fate.DELETE):
    point = PointPlan(
        id=f"pt-{number}",
        status=PointStatus.AVAILABLE,
        taken_at=T0,
        snapshots=("snap-1", "snap-2"),
        gib=16,
        fate=fate,
        reasons=("daily: used up",),
        blocked_by={Obstacle.IMAGE: "ami-1"} if fate is Fate.BLOCKED else {},
    )
    sources = (SourcePlan(source=SOURCE, points=(point,)),)
    return Part(plan="plan-1", policy=POLICY, number=number, sources=sources)


def test_a_plan_is_opened_once_and_advanced_part_by_part(ledger):
    opened = ledger.open_plan(a_plan())
    again = ledger.open_plan(a_plan(dry_run=True))
    assert opened == again == a_plan()

    one = opened.with_part(a_part(), "i-1")
    two = one.with_part(a_part(1, Fate.BLOCKED), "i-2", unreachable=3)
    ledger.advance_plan(opened, one)
    ledger.advance_plan(one, two)

    known = ledger.plan("plan-1")
    assert known == two
    assert (known.busy, known.cursor, known.parts) == ((0,), "i-2", 2)
    assert (known.totals.going, known.totals.gib, known.totals.unreachable) == (1, 16, 3)
    assert known.totals.blocked == {Obstacle.IMAGE: 1}
    assert ledger.plan("plan-2") is None


def test_who_is_behind_with_a_plan_does_not_write_over_it(ledger):
    opened = ledger.open_plan(a_plan())
    mine, other = (opened.with_part(a_part(), cursor) for cursor in ("i-1", "i-9"))
    ledger.advance_plan(opened, mine)

    with pytest.raises(Conflict):
        ledger.advance_plan(opened, other)

    assert ledger.plan("plan-1") == mine


def test_a_plan_whose_reply_was_lost_is_advanced_all_the_same(dynamo, cloud):
    opened = dynamo.open_plan(a_plan())
    after = opened.with_part(a_part(), "i-1")
    dynamo.advance_plan(opened, after)

    dynamo.advance_plan(opened, after)

    assert dynamo.plan("plan-1") == after


def test_what_became_of_a_part_is_known_by_its_last_word(ledger):
    ledger.open_plan(a_plan())
    ledger.note_applied("plan-1", 1, Applied(deleted=1, left={"pt-1": "ami-1"}), LATER)
    ledger.note_applied("plan-1", 0, Applied(deleted=2), LATER)
    ledger.note_applied("plan-1", 1, Applied(deleted=2), LATER)

    assert list(ledger.applied("plan-1")) == [Applied(deleted=2), Applied(deleted=2)]
    assert list(ledger.applied("plan-2")) == []


def test_policies_that_were_deployed_are_remembered(ledger):
    ledger.note_policies(["web-daily", "data"])
    ledger.note_policies(["web-daily"])

    assert ledger.noted_policies() == {"web-daily", "data"}


def test_sources_go_on_after_any_of_them(ledger):
    for number in range(40):
        source = Source(id=f"i-{number}", region="eu-west-1", account=SOURCE.account)
        ledger.claim(a_claim(source=source))
    every = [one.source.id for one in ledger.sources(POLICY)]

    for position, source_id in enumerate(every):
        rest = [one.source.id for one in ledger.sources(POLICY, after=source_id)]
        assert rest == every[position + 1 :]


def test_both_ledgers_give_sources_in_one_order(dynamo):
    memory = MemoryLedger()
    for number in range(40):
        source = Source(id=f"i-{number}", region="eu-west-1", account=SOURCE.account)
        for ledger in (dynamo, memory):
            ledger.claim(a_claim(source=source))

    one, other = (
        [found.source.id for found in ledger.sources(POLICY)] for ledger in (dynamo, memory)
    )

    assert one == other


def test_the_record_of_a_deleted_point_and_of_a_plan_expire_long_after(dynamo, cloud):
    point = available(dynamo)
    dynamo.expire(point, LATER, "freed")
    dynamo.deleted(point.id, LATER)
    dynamo.open_plan(a_plan())
    dynamo.note_applied("plan-1", 0, Applied(), T0)
    client = cloud.client("dynamodb", "eu-west-1")

    found = client.scan(TableName=table.NAME)["Items"]

    ttl = {one["pk"]["S"]: int(one["ttl"]["N"]) for one in found if "ttl" in one}
    assert ttl[f"POINT#{point.id}"] == int((LATER + timedelta(days=400)).timestamp())
    assert ttl["PLAN#plan-1"] == int((T0 + timedelta(days=90)).timestamp())


# copies

AWAY = Place(region="eu-central-1", account=SOURCE.account)


def a_copy(point="pt-1", slot=T0, **given):
    facts = {
        "id": f"cp-{point}",
        "policy": POLICY,
        "run": "run-1",
        "source": SOURCE,
        "place": AWAY,
        "taken_at": slot,
        "queued_at": slot,
        "members": (CopyMember(of="snap-1", volume="vol-1", size_gib=8, encrypted=False),),
    }
    return PointCopy(point=point, slot=slot, **facts | given)


def test_a_copy_is_queued_once_and_the_oldest_is_due_first(ledger):
    later, earlier = a_copy("pt-2", T0 + minutes(5)), a_copy("pt-1")

    assert [ledger.open_copy(one) for one in (later, earlier, earlier)] == [True, True, False]

    assert list(ledger.due(AWAY)) == [earlier, later]
    assert list(ledger.due(Place(region="eu-north-1", account=SOURCE.account))) == []
    assert ledger.copies("pt-1") == [earlier]
    assert ledger.copy("pt-3", AWAY) is None


def test_a_slot_is_taken_with_the_copy_that_holds_it_or_neither_is_written(ledger):
    for number in range(3):
        ledger.open_copy(a_copy(f"pt-{number}"))
    for number in range(2):
        before = ledger.copy(f"pt-{number}", AWAY)
        assert ledger.change_copy(before, asked(before, 0, T0), take=f"op-{number}", limit=2)
    third = ledger.copy("pt-2", AWAY)

    assert ledger.change_copy(third, asked(third, 0, T0), take="op-2", limit=2) is None

    assert ledger.slots(AWAY).taken == {"op-0", "op-1"}
    assert ledger.copy("pt-2", AWAY) == third
    first = ledger.copy("pt-0", AWAY)
    ledger.change_copy(first, given_back(first, 0), free="op-0")
    assert ledger.change_copy(third, asked(third, 0, T0), take="op-1", limit=9) is None
    taken = ledger.change_copy(third, asked(third, 0, T0), take="op-2", limit=2)
    assert taken == ledger.copy("pt-2", AWAY)
    assert taken.status is CopyStatus.COPYING


def test_a_copy_that_was_changed_meanwhile_is_not_written_over(ledger):
    copy = a_copy()
    ledger.open_copy(copy)
    ledger.change_copy(copy, asked(copy, 0, T0), take="op", limit=1)

    with pytest.raises(Conflict):
        ledger.change_copy(copy, given_back(copy, 0), free="op")

    assert ledger.slots(AWAY).taken == {"op"}


def test_a_copy_that_has_ended_is_due_no_more(ledger):
    copy = a_copy()
    ledger.open_copy(copy)
    copy = ledger.change_copy(copy, asked(copy, 0, T0), take="op", limit=1)
    news = MemberEnded(snapshot="snap-9", state=MemberState.COMPLETED, incremental=True)

    ledger.change_copy(copy, ended(copy, 0, news, T0 + minutes(3)), free="op")

    assert list(ledger.due(AWAY)) == []
    (known,) = ledger.copies("pt-1")
    assert known.status is CopyStatus.AVAILABLE
    assert known.members[0].incremental
    assert ledger.slots(AWAY).taken == frozenset()


def test_fewer_slots_are_used_for_a_while(ledger):
    ledger.shrink(AWAY, 7, T0 + minutes(10))

    slots = ledger.slots(AWAY)

    assert [slots.limit(T0 + minutes(one)) for one in (0, 9, 10)] == [7, 7, SLOTS]


def test_a_quota_that_was_read_is_the_limit_and_fewer_slots_are_fewer(ledger):
    ledger.note_quota(AWAY, 50, T0)
    assert ledger.slots(AWAY).limit(T0) == 50
    ledger.shrink(AWAY, 7, T0 + minutes(10))
    assert ledger.slots(AWAY).limit(T0) == 7
    ledger.note_quota(AWAY, None, T0 + timedelta(days=1))

    slots = ledger.slots(AWAY)

    assert slots.limit(T0 + timedelta(days=1)) == SLOTS
    assert [slots.is_old(T0 + timedelta(hours=hours)) for hours in (25, 49)] == [False, True]


def an_available_copy(ledger, point="pt-1", slot=T0):
    copy = a_copy(point, slot)
    ledger.open_copy(copy)
    news = MemberEnded(snapshot=f"snap-of-{point}", state=MemberState.COMPLETED)
    return ledger.change_copy(copy, ended(copy, 0, news, slot + minutes(3)))


def test_the_copies_of_a_source_in_a_place_are_listed_until_they_are_deleted(ledger):
    older, newer = (an_available_copy(ledger, f"pt-{n}", T0 + minutes(n)) for n in (1, 2))
    elsewhere = Place(region="eu-north-1", account=SOURCE.account)
    ledger.open_copy(a_copy("pt-1", place=elsewhere))

    assert list(ledger.copies_of(SOURCE.id, AWAY)) == [newer, older]
    assert [one.place for one in ledger.copies_of(SOURCE.id, elsewhere)] == [elsewhere]
    assert list(ledger.copies_of("i-other", AWAY)) == []

    going = ledger.change_copy(older, expired(older, LATER, "daily 2026-03-01: no count left"))
    assert [one.status for one in ledger.copies_of(SOURCE.id, AWAY)] == ["available", "expired"]
    ledger.change_copy(going, deleted(going, LATER))
    assert list(ledger.copies_of(SOURCE.id, AWAY)) == [newer]
    assert [one.status for one in ledger.copy("pt-1", AWAY).history] == ["expired", "deleted"]


def test_a_copy_whose_source_is_held_does_not_expire(ledger):
    copy = an_available_copy(ledger)
    ledger.hold_source(SOURCE.id, Hold(by="anna", why="audit", at=T0))

    with pytest.raises(Conflict, match="held with its point or source"):
        ledger.change_copy(copy, expired(copy, LATER, "free"))

    ledger.release_source(SOURCE.id)
    assert ledger.change_copy(copy, expired(copy, LATER, "free"))


def test_since_when_a_policy_has_copies_in_a_place_is_remembered_until_a_break(ledger):
    north = Place(region="eu-north-1", account=SOURCE.account)
    days = [T0 + timedelta(days=number) for number in range(5)]

    assert ledger.copying_since("web", [AWAY], days[0]) == {AWAY: days[0]}
    assert ledger.copying_since("web", [AWAY, north], days[1]) == {AWAY: days[0], north: days[1]}
    assert ledger.copying_since("web", [north], days[2]) == {north: days[1]}
    assert ledger.copying_since("web", [AWAY, north], days[3]) == {AWAY: days[3], north: days[1]}
    assert ledger.copying_since("other", [], days[4]) == {}
    assert ledger.copied_places("web") == {AWAY, north}
    assert ledger.noted_policies() == set()


# members that are exchanged

THERE = Place(region=SOURCE.region, account=SOURCE.account)


def encrypted(point, number=1):
    members = list(point.members)
    members[number] = replace(members[number], snapshot="snap-0", encrypted=True)
    return tuple(members)


@pytest.mark.parametrize("method", [Method.SET, Method.ONE_BY_ONE])
def test_members_of_an_available_point_are_exchanged_and_it_is_found_by_them(ledger, method):
    point = a_rebuilt_point(method=method)
    ledger.rebuild(point)

    changed = ledger.exchange(point, encrypted(point), LATER)

    assert changed == ledger.point(point.id)
    assert changed.members == encrypted(point)
    assert [one.members for one in ledger.points(SOURCE.id)] == [changed.members]
    assert changed.history[-1] == Change(
        at=LATER,
        status=PointStatus.AVAILABLE,
        reason=f"encrypted in place: snap-0 for {point.snapshots[1]}",
    )
    assert replace(changed, members=point.members, history=point.history) == point
    assert ledger.point_of("snap-0") == changed


def test_exchanging_members_again_changes_nothing(ledger):
    point = a_rebuilt_point()
    ledger.rebuild(point)
    ledger.exchange(point, encrypted(point), LATER)

    again = ledger.exchange(point, encrypted(point), LATER + minutes(1))

    assert again.history[-1].at == LATER


@pytest.mark.parametrize("deleted_too", [False, True])
def test_members_of_a_point_that_goes_are_not_exchanged(ledger, deleted_too):
    point = a_rebuilt_point()
    ledger.rebuild(point)
    ledger.expire(point, LATER, "freed")
    if deleted_too:
        ledger.deleted(point.id, LATER)

    with pytest.raises(Conflict):
        ledger.exchange(point, encrypted(point), LATER)

    assert ledger.point(point.id).snapshots == point.snapshots


def test_other_members_than_were_read_are_not_exchanged(ledger):
    point = a_rebuilt_point()
    ledger.rebuild(point)
    ledger.exchange(point, encrypted(point, 1), LATER)
    other = tuple(replace(one, snapshot=f"{one.snapshot}-other") for one in point.members)

    with pytest.raises(Conflict):
        ledger.exchange(point, other, LATER)
    with pytest.raises(Conflict):
        ledger.exchange(replace(point, id="pt-none"), other, LATER)

    assert ledger.point(point.id).members == encrypted(point, 1)


def test_what_expires_after_an_exchange_goes_with_the_members_it_has_then(ledger):
    point = a_rebuilt_point()
    ledger.rebuild(point)
    ledger.exchange(point, encrypted(point), LATER)

    assert ledger.expire(point, LATER, "freed").members == encrypted(point)


def test_a_copy_in_place_is_due_until_it_is_merged_and_is_listed_no_more(ledger):
    copy = a_copy(place=THERE)
    ledger.open_copy(copy)
    whole = ended(copy, 0, MemberEnded(snapshot="snap-9", state=MemberState.COMPLETED), T0)
    whole = ledger.change_copy(copy, whole)

    assert list(ledger.due(THERE)) == [whole]
    ledger.change_copy(whole, merged(whole, LATER))

    assert list(ledger.due(THERE)) == []
    assert list(ledger.copies_of(SOURCE.id, THERE)) == []
    assert ledger.copy(copy.point, THERE).status is CopyStatus.MERGED


def test_a_copy_whose_point_is_held_does_not_expire(ledger):
    point = answered(ledger)
    ledger.settle(point, AVAILABLE)
    copy = an_available_copy(ledger, point.id)
    ledger.hold(point.id, Hold(by="anna", why="audit", at=T0))

    with pytest.raises(Conflict, match="held with its point or source"):
        ledger.change_copy(copy, expired(copy, LATER, "free"))

    ledger.release_hold(point.id)
    assert ledger.change_copy(copy, expired(copy, LATER, "free"))


TALK = Conversation(
    restore="rs-1", by="slack:U01AAAAAAA", reply_to="https://hooks.slack.com/commands/1", since=T0
)


def test_a_request_of_chat_counts_once(ledger):
    assert ledger.note_request("v0=1", LATER)
    assert not ledger.note_request("v0=1", LATER)
    assert ledger.note_request("v0=2", LATER)


def test_a_conversation_is_found_by_its_restore_and_the_latest_counts(ledger):
    ledger.converse(TALK)
    assert ledger.conversation("rs-1") == TALK
    assert ledger.conversation("rs-2") is None

    ledger.note_said("rs-1", "e1", T0)
    ledger.converse(replace(TALK, reply_to="https://hooks.slack.com/actions/2", since=LATER))

    talk = ledger.conversation("rs-1")
    assert (talk.reply_to[-1], talk.since, talk.said) == ("2", LATER, ())


def test_what_was_said_in_a_conversation_is_noted_once_and_in_order(ledger):
    ledger.converse(TALK)

    ledger.note_said("rs-1", "e1", T0)
    ledger.note_said("rs-1", "e2", LATER)
    ledger.note_said("rs-1", "e1", LATER + minutes(1))

    talk = ledger.conversation("rs-1")
    assert (talk.said, talk.said_at) == (("e1", "e2"), LATER)


def test_an_answer_in_a_conversation_is_noted(ledger):
    ledger.converse(TALK)

    ledger.answered("rs-1")

    assert ledger.conversation("rs-1") == replace(TALK, answered=True)


def test_a_conversation_that_is_not_on_record_is_not_made_by_what_was_said(ledger):
    ledger.answered("rs-1")
    ledger.note_said("rs-1", "e1", T0)

    assert ledger.conversation("rs-1") is None


def test_refusals_in_chat_are_listed_by_day(dynamo, cloud):
    refusal = ChatRefusal(
        key="chat-1",
        at=T0,
        team="T0123456789",
        person="U09STRANGE",
        channel="C01OPS0000",
        verb="clone",
        text="clone web-1",
        why="nothing in chat.yaml lets you clone",
    )
    dynamo.note_refusal(refusal)
    dynamo.note_refusal(replace(refusal, key="chat-2"))
    dynamo.note_refusal(replace(refusal, key="chat-3", at=T0 + timedelta(days=1)))

    found = cloud.client("dynamodb", "eu-west-1").query(
        TableName=table.NAME,
        KeyConditionExpression="pk = :day",
        ExpressionAttributeValues={":day": {"S": f"REFUSED#{T0:%Y-%m-%d}"}},
    )["Items"]
    assert [one["key"]["S"] for one in found] == ["chat-1", "chat-2"]
    assert int(found[0]["ttl"]["N"]) == int((T0 + timedelta(days=400)).timestamp())


# restores

DONE = RestoreStatus.DONE


def test_a_restore_is_opened_once_and_read_as_it_was_written(ledger):
    first = a_restore(in_place=in_place(), launch=a_launch(), disks=(a_disk(0),), steps=STEPS)

    assert ledger.open_restore(first) == first
    again = ledger.open_restore(replace(first, why="another reason"))

    assert again == first
    assert ledger.restore(first.id) == first
    assert ledger.restore("rs-none") is None


def test_a_restore_that_was_changed_meanwhile_is_not_written_over(ledger):
    first = ledger.open_restore(a_restore())

    second = ledger.change_restore(first, replace(first, cancelled_by="ben"))
    with pytest.raises(Conflict, match="was changed meanwhile"):
        ledger.change_restore(first, replace(first, command="cmd-1"))
    with pytest.raises(Conflict):
        ledger.change_restore(a_restore("never"), a_restore("never"))

    assert second == replace(first, cancelled_by="ben", version=1)
    assert ledger.restore(first.id) == second
    assert ledger.restore(a_restore("never").id) is None


def test_the_restores_of_a_source_come_whole_and_newest_first(ledger):
    other = Source(id="i-other", region=SOURCE.region, account=SOURCE.account)
    every = [a_restore(f"{n}", asked_at=T0 + minutes(n), made=MADE) for n in range(30)]
    for one in every:
        ledger.open_restore(one)
    elsewhere = ledger.open_restore(a_restore("elsewhere", source=other))

    assert list(ledger.restores_of(SOURCE.id)) == every[::-1]
    assert list(ledger.restores_of("i-other")) == [elsewhere]
    assert list(ledger.restores_of("i-none")) == []
    assert list(ledger.points(SOURCE.id)) == []


def test_open_are_restores_at_work_and_those_that_are_done_and_will_end(ledger):
    stages = [
        ("approving", None, True),
        ("running", None, True),
        ("done", LATER, True),
        ("done", None, False),
        ("undoing", None, True),
        ("undone", None, False),
        ("ending", LATER, True),
        ("ended", LATER, False),
    ]
    wanted = []
    for number, (status, until, is_open) in enumerate(stages):
        one = ledger.open_restore(a_restore(f"{number}", asked_at=T0 + minutes(number)))
        after = replace(one, status=RestoreStatus(status), expires_at=until, settled_at=T0)
        written = ledger.change_restore(one, after)
        wanted += [written] if is_open else []

    assert list(ledger.open_restores()) == wanted
    assert list(ledger.in_flight()) == list(ledger.due(THERE)) == list(ledger.doubts()) == []


def test_one_restore_in_place_works_at_an_instance_until_it_is_settled(ledger):
    first = ledger.open_restore(a_restore("first", in_place=in_place()))
    assert ledger.open_restore(first) == first

    with pytest.raises(Conflict, match=f"{first.id} works at {SOURCE.id}"):
        ledger.open_restore(a_restore("second", in_place=in_place()))
    assert ledger.restore(a_restore("second").id) is None
    ledger.open_restore(a_restore("elsewhere", in_place=in_place("i-other")))
    ledger.open_restore(a_restore("beside"))


@pytest.mark.parametrize("ways", [("done",), ("undoing", "undone"), ("running", "done")])
def test_a_settled_restore_in_place_lets_another_work_at_the_instance(ledger, ways):
    last = ledger.open_restore(a_restore("first", in_place=in_place()))
    for status in ways:
        with pytest.raises(Conflict, match="works at"):
            ledger.open_restore(a_restore("second", in_place=in_place()))
        last = ledger.change_restore(last, replace(last, status=RestoreStatus(status)))

    assert ledger.open_restore(a_restore("second", in_place=in_place()))


def test_who_gives_what_was_written_for_what_was_read_frees_the_instance_as_well(ledger):
    first = ledger.open_restore(a_restore("first", in_place=in_place()))
    done = replace(first, status=DONE)

    ledger.change_restore(done, done)

    assert ledger.open_restore(a_restore("second", in_place=in_place()))


def test_a_restore_in_place_that_ends_leaves_the_instance_to_who_works_at_it(ledger):
    first = ledger.open_restore(a_restore("first", in_place=in_place()))
    first = ledger.change_restore(first, replace(first, status=DONE, expires_at=LATER))
    second = ledger.open_restore(a_restore("second", in_place=in_place()))

    for status in (RestoreStatus.ENDING, RestoreStatus.ENDED):
        first = ledger.change_restore(first, replace(first, status=status))

    with pytest.raises(Conflict, match=second.id):
        ledger.open_restore(a_restore("third", in_place=in_place()))


def test_an_approved_restore_that_was_changed_meanwhile_keeps_its_instance(ledger):
    first = ledger.open_restore(a_restore("first", in_place=in_place()))
    ledger.change_restore(first, replace(first, approved_by="ben"))

    with pytest.raises(Conflict):
        ledger.change_restore(first, replace(first, status=DONE))

    with pytest.raises(Conflict, match=first.id):
        ledger.open_restore(a_restore("second", in_place=in_place()))


def test_a_point_that_is_restored_from_does_not_expire_until_no_restore_needs_it(ledger):
    point = available(ledger)
    first, second = (a_restore(name, point=point.id) for name in ("first", "second"))
    for one in (first, second, first):
        ledger.hold_for_restore(one)

    ledger.free_from_restore(first)
    with pytest.raises(Conflict, match=f"is being restored from, by {second.id}"):
        ledger.expire(point, LATER, "freed")

    ledger.free_from_restore(second)
    ledger.free_from_restore(second)
    assert ledger.expire(point, LATER, "freed").status is PointStatus.EXPIRED


def test_a_person_who_holds_a_point_is_named_before_a_restore(ledger):
    point = available(ledger)
    ledger.hold_for_restore(a_restore(point=point.id))
    ledger.hold(point.id, HOLD)

    with pytest.raises(Conflict, match=r"held by anna|restored from"):
        ledger.expire(point, LATER, "freed")


def test_nothing_is_restored_from_what_is_not_available(ledger):
    pending = answered(ledger)
    gone = a_rebuilt_point(slot=T0 + minutes(1))
    ledger.rebuild(gone)
    ledger.expire(gone, LATER, "freed")

    for point in (pending.id, gone.id, "pt-none"):
        with pytest.raises(Conflict, match=f"^{point} is not available any more"):
            ledger.hold_for_restore(a_restore(point=point))

    ledger.settle(pending, AVAILABLE)
    assert ledger.expire(ledger.point(pending.id), LATER, "freed").status is PointStatus.EXPIRED


def test_freeing_what_was_never_held_leaves_nothing_behind(dynamo, cloud):
    dynamo.free_from_restore(a_restore())

    assert cloud.client("dynamodb", "eu-west-1").scan(TableName=table.NAME)["Items"] == []


def test_a_copy_that_is_restored_from_does_not_expire_and_its_point_neither(ledger):
    point = available(ledger)
    copy = an_available_copy(ledger, point.id)
    restore = a_restore(point=point.id, origin=AWAY)
    ledger.hold_for_restore(restore)

    with pytest.raises(Conflict, match=f"restored from, by {restore.id}"):
        ledger.change_copy(copy, expired(copy, LATER, "free"))
    with pytest.raises(Conflict, match=f"restored from, by {restore.id}"):
        ledger.expire(point, LATER, "freed")

    ledger.free_from_restore(restore)
    assert ledger.change_copy(copy, expired(copy, LATER, "free"))


def test_a_copy_is_restored_from_though_its_point_is_gone(ledger):
    copy = an_available_copy(ledger)

    ledger.hold_for_restore(a_restore(point="pt-1", origin=AWAY))
    with pytest.raises(Conflict, match=r"^pt-1 is not available any more"):
        ledger.hold_for_restore(a_restore(point="pt-1"))

    with pytest.raises(Conflict, match="restored from"):
        ledger.change_copy(copy, expired(copy, LATER, "free"))


def test_nothing_is_restored_from_a_copy_that_is_not_available(ledger):
    point = available(ledger)
    ledger.open_copy(a_copy(point.id))

    with pytest.raises(Conflict, match=f"the copy in {AWAY} of {point.id} is not available"):
        ledger.hold_for_restore(a_restore(point=point.id, origin=AWAY))


def test_members_are_not_exchanged_while_a_restore_is_made_of_them(ledger):
    point = a_rebuilt_point()
    ledger.rebuild(point)
    restore = a_restore(point=point.id)
    ledger.hold_for_restore(restore)

    with pytest.raises(Conflict, match=f"restored from, by {restore.id}"):
        ledger.exchange(point, encrypted(point), LATER)
    assert ledger.point(point.id) == point

    ledger.free_from_restore(restore)
    assert ledger.exchange(point, encrypted(point), LATER).members == encrypted(point)


def test_the_later_proof_of_a_point_stays(ledger):
    point = available(ledger)
    proofs = [
        Proof(restore=f"rs-{n}", at=T0 + timedelta(hours=n), seconds=250, how="status checks")
        for n in range(3)
    ]
    assert point.proof is None

    for n in (1, 0, 2, 1):
        ledger.prove(point.id, proofs[n])
    ledger.prove("pt-none", proofs[0])

    assert ledger.point(point.id) == replace(point, proof=proofs[2])
    assert ledger.point("pt-none") is None


def test_a_proof_is_compared_by_the_second(ledger):
    point = available(ledger)
    proof = Proof(restore="rs-1", at=T0 + timedelta(milliseconds=1), seconds=250, how="checks")
    ledger.prove(point.id, proof)

    ledger.prove(point.id, replace(proof, restore="rs-2", at=T0 + timedelta(seconds=1)))

    assert ledger.point(point.id).proof.restore == "rs-2"


def test_all_that_ever_had_a_name_are_found_by_it(ledger):
    other = Source(id="i-0b", region="eu-central-1", account=SOURCE.account)
    for name, source in (("web", SOURCE), ("web", other), ("web", SOURCE), ("db", SOURCE)):
        ledger.note_name(name, source, T0)

    assert ledger.named("web") == (SOURCE, other)
    assert ledger.named("db") == (SOURCE,)
    assert ledger.named("we") == ledger.named("web ") == ()


def test_a_name_that_is_known_costs_a_read_and_no_write(dynamo, cloud):
    dynamo.note_name("web", SOURCE, T0)
    dynamo.note_name("web", SOURCE, LATER)

    assert len(cloud.calls.of("dynamodb.GetItem")) == 2
    assert item_writes(cloud) == 1


def test_the_record_of_a_restore_expires_once_there_is_nothing_to_do(dynamo, cloud):
    ends = {"open": None, "done": LATER, "kept": None, "undone": None}
    for name, until in ends.items():
        one = dynamo.open_restore(a_restore(name))
        status = {"done": DONE, "kept": DONE, "undone": RestoreStatus.UNDONE}.get(name, one.status)
        after = replace(one, status=status, expires_at=until, settled_at=LATER)
        dynamo.change_restore(one, after)
    client = cloud.client("dynamodb", "eu-west-1")

    found = client.scan(TableName=table.NAME)["Items"]

    ttl = {one["id"]["S"]: int(one["ttl"]["N"]) for one in found if "ttl" in one}
    after = int((LATER + timedelta(days=400)).timestamp())
    assert ttl == {a_restore(name).id: after for name in ("kept", "undone")}


def test_what_a_restore_holds_is_free_in_the_end_even_if_nobody_frees_it(dynamo, cloud):
    point = available(dynamo)
    dynamo.hold_for_restore(a_restore(point=point.id))
    key = {"pk": {"S": f"POINT#{point.id}"}, "sk": {"S": "RESTORES"}}

    held = cloud.client("dynamodb", "eu-west-1").get_item(TableName=table.NAME, Key=key)["Item"]

    assert int(held["ttl"]["N"]) == int((T0 + timedelta(days=400)).timestamp())


STEPS = (Step(name="Launch", began_at=T0, ended_at=T0 + minutes(1)),)
MADE = (Made(kind="volume", id="vol-9", at=T0),)


def a_disk(number, **given):
    facts = {"device": f"/dev/xvd{number}", "type": "gp3", "size_gib": 8, "root": number == 0}
    return Disk(piece=f"vol-{number:017x}", **facts | given)


def a_launch(**given):
    facts = {
        "type": "m6i.large",
        "zone": "eu-west-1a",
        "vpc": "vpc-1",
        "root_device": "/dev/xvd0",
        "disks": (a_disk(0),),
        "cards": (Card(device_index=0, network_card=0, subnet="subnet-1", groups=("sg-1",)),),
        "cpu_options": {"CoreCount": 2, "AmdSevSnp": "disabled"},
        "placement": {"Tenancy": "default", "HostResourceGroup": True},
    }
    return Launch(**facts | given)


def test_the_largest_restore_stays_within_what_an_item_may_hold(dynamo):
    disks = 40
    most = "x" * (MOST_TAG_BYTES // 2 // disks)
    tagged = tuple(a_disk(n, tags={"a": most, "b": most}) for n in range(disks))
    snapshot = "snap-0123456789abcdef0"
    restore = a_restore(
        launch=a_launch(
            disks=tagged,
            user_data="x" * 22_000,
            tags={f"{n:0128}": "x" * 256 for n in range(50)},
        ),
    )
    whole = replace(
        restore,
        pieces=tuple(
            Piece(
                device=one.device,
                volume=one.piece,
                taken_from=snapshot,
                encrypted=True,
                size_gib=8,
                snapshot=snapshot,
            )
            for one in tagged
        ),
        steps=STEPS * 40,
        made=MADE * 120,
        compared=(Compared(field="f" * 40, original="o" * 60, clone="c" * 60, why="w" * 80),) * 60,
    )

    dynamo.open_restore(whole)

    assert dynamo.restore(whole.id) == whole
    assert len(json.dumps(items.restore(whole))) < 0.85 * 400 * 1024
