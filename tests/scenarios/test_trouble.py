"""Bad input and bad days: each ends in a named error, and the other sources are not touched."""

import json
from datetime import timedelta

import pytest

from lastgood.domain.model import PointStatus, RunStatus
from lastgood.domain.policy import ResourceKind, Select
from lastgood.errors import (
    AccessDenied,
    KeyDenied,
    LedgerMissing,
    MalformedMessage,
    RegionNotEnabled,
    SourceGone,
    SourceNotSelected,
    UnknownPolicy,
)
from tests.cloud.ec2 import Outcome
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.support import table
from tests.support.fleet import disk, launch, tag, volume, volumes_of
from tests.support.world import FED, HOME, SLOT, World, a_policy

TAKE = FED["create_snapshots"].queue
RECORD = FED["record_snapshot"].queue


def send(world, queue, body):
    url = world.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    world.client("sqs").send_message(QueueUrl=url, MessageBody=body)


def statuses(world):
    return {point.source.id: point.status for point in world.points()}


def test_an_unknown_policy_is_refused_with_the_names_that_there_are(world: World):
    with pytest.raises(UnknownPolicy, match=r"no policy 'web' is deployed; there are: web-daily\."):
        world.plan("web")


def test_a_request_of_the_wrong_shape_is_refused_with_every_problem(world: World):
    with pytest.raises(MalformedMessage) as refused:
        world.invoke("plan_snapshots", {"polcy": "web-daily", "dry_run": "yes"})

    assert str(refused.value).splitlines() == [
        "PlanRequest.policy: is missing; it must be a text",
        "PlanRequest.dry_run: is the text 'yes', but must be true or false",
        "PlanRequest.polcy: unknown key 'polcy'; did you mean 'policy'?",
    ]


def test_a_source_that_the_policy_leaves_out_is_refused_with_the_reason(world: World):
    other = launch(world.ec2, "web", tags={"backup": "weekly"})

    with pytest.raises(SourceNotSelected) as refused:
        world.plan(source=other)

    assert str(refused.value) == (
        f"policy web-daily leaves {other} out: its tag backup is 'weekly'; "
        "the policy wants 'daily' or 'gold'"
    )


def test_a_source_that_does_not_exist_is_refused(world: World):
    with pytest.raises(SourceGone, match="there is no instance i-0123456789abcdef0 in eu-west-1"):
        world.plan(source="i-0123456789abcdef0")


def test_a_region_that_is_not_enabled_is_named_and_the_others_are_taken(world: World):
    select = Select(
        resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}, regions=("af-south-1", HOME)
    )
    world.deploy(a_policy(select=select))
    world.cloud.ec2.closed_regions.add("af-south-1")
    instance = launch(world.ec2, "web")

    with pytest.raises(RegionNotEnabled, match=r"af-south-1: AuthFailure.* Enable the Region"):
        world.plan()
    world.advance(timedelta(hours=1))

    assert statuses(world) == {instance: PointStatus.AVAILABLE}
    (run,) = world.ledger.runs("web-daily")
    run = world.ledger.run(run.id)
    assert run.status is RunStatus.PARTIAL
    assert run.planned.problems[0].startswith("RegionNotEnabled: describe instances in af-south-1")


def test_a_plan_that_is_tried_again_does_not_ask_again_for_regions_that_are_done(world: World):
    select = Select(
        resource=ResourceKind.INSTANCE, tags={"backup": ("daily",)}, regions=(HOME, "af-south-1")
    )
    world.deploy(a_policy(select=select))
    world.cloud.ec2.closed_regions.add("af-south-1")
    launch(world.ec2, "web")
    with pytest.raises(RegionNotEnabled):
        world.plan()
    world.cloud.ec2.closed_regions.clear()
    launch(world.client("ec2", "af-south-1"), "web")

    report = world.run()

    assert report["point_count"] == 2
    assert len(world.cloud.calls.of("sqs.SendMessageBatch")) == 2
    assert set(statuses(world).values()) == {PointStatus.AVAILABLE}


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("not json", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "not a JSON object: []"),
        ('{"point": "pt-1"}', "TakeRequest.policy: is missing; it must be a text"),
    ],
)
def test_a_malformed_request_is_a_dead_letter_with_its_cause(world: World, body, cause):
    url = world.client("sqs").get_queue_url(QueueName=TAKE)["QueueUrl"]
    world.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    instance = launch(world.ec2, "web")

    world.run()

    dead = buried(world, "create_snapshots")
    assert dead["error"] == "MalformedMessage"
    assert dead["cause"].splitlines()[0] == cause
    assert dead["function"] == "create_snapshots"
    assert statuses(world) == {instance: PointStatus.AVAILABLE}


def buried(world, function):
    (letter,) = world.buried(function)
    return letter


def an_ebs_event(**given):
    event = {
        "version": "0",
        "id": "01234567-0123-0123-0123-0123456789ab",
        "detail-type": "EBS Snapshot Notification",
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2026-03-01T02:00:00Z",
        "region": HOME,
        "resources": [f"arn:aws:ec2::{HOME}:snapshot/snap-01234567"],
        "detail": {
            "event": "createSnapshot",
            "result": "succeeded",
            "cause": "",
            "request-id": "",
            "snapshot_id": f"arn:aws:ec2::{HOME}:snapshot/snap-01234567",
            "source": f"arn:aws:ec2::{HOME}:volume/vol-01234567",
            "startTime": "2026-03-01T01:59:30Z",
            "endTime": "2026-03-01T02:00:00Z",
        },
    }
    return json.dumps(event | given)


def test_an_event_of_another_account_is_a_dead_letter_that_says_what_to_change(world: World):
    send(world, RECORD, an_ebs_event(account="999999999999"))

    world.settle()

    dead = buried(world, "record_snapshot")
    assert dead["error"] == "ForeignEvent"
    assert "take away the rule or bus policy that forwards it" in dead["cause"]


def test_an_event_without_a_detail_is_a_dead_letter(world: World):
    send(world, RECORD, an_ebs_event(detail=None))

    world.settle()

    assert buried(world, "record_snapshot")["error"] == "MalformedMessage"


def test_a_snapshot_that_is_not_ours_is_looked_for_five_times_and_then_left_alone(world: World):
    send(world, RECORD, an_ebs_event())

    world.advance(timedelta(minutes=10))

    assert world.messages(RECORD) == []
    assert world.buried("record_snapshot") == []
    assert len(world.cloud.calls.of("dynamodb.Query")) == 5
    assert world.announcements() == []


def test_an_old_snapshot_that_is_not_ours_is_left_alone_at_once(world: World):
    world.advance(timedelta(hours=1))
    send(world, RECORD, an_ebs_event())

    world.settle()

    assert len(world.cloud.calls.of("dynamodb.Query")) == 1


def test_a_missing_ledger_is_named_in_every_dead_letter(world: World):
    launch(world.ec2, "web")
    world.plan()
    world.client("dynamodb").delete_table(TableName=table.NAME)

    world.settle()

    dead = buried(world, "create_snapshots")
    assert dead["error"] == "LedgerMissing"
    assert "Deploy the stack that holds the table" in dead["cause"]
    assert world.snapshots() == []


def test_planning_without_a_ledger_is_refused_by_name(world: World):
    world.client("dynamodb").delete_table(TableName=table.NAME)

    with pytest.raises(LedgerMissing):
        world.plan()


@pytest.mark.parametrize(
    ("operation", "code", "message", "error"),
    [
        ("dynamodb.PutItem", "AccessDeniedException", "kms:Decrypt is denied", KeyDenied),
        ("ec2.DescribeInstances", "UnauthorizedOperation", "not authorized", AccessDenied),
        ("ssm.GetParameter", "AccessDeniedException", "not authorized", AccessDenied),
        ("sqs.SendMessageBatch", "KMS.DisabledException", "the key is disabled", KeyDenied),
    ],
)
def test_what_aws_denies_to_the_planner_has_a_name(world: World, operation, code, message, error):
    launch(world.ec2, "web")
    world.cloud.faults.spoil(operation, aws_error(code, message))

    with pytest.raises(error):
        world.plan()


def test_one_instance_that_cannot_be_taken_does_not_stop_the_others(world: World):
    instances = [launch(world.ec2, f"web-{n}") for n in range(4)]
    world.cloud.faults.spoil(
        "ec2.CreateSnapshots", aws_error("UnauthorizedOperation", "not you"), after=1
    )

    report = world.run()

    failed = [id_ for id_, status in statuses(world).items() if status is PointStatus.FAILED]
    assert len(failed) == 1
    assert set(statuses(world)) == set(instances)
    assert buried(world, "create_snapshots")["error"] == "AccessDenied"
    assert world.ledger.run(report["run"]).status is RunStatus.PARTIAL
    (event,) = [
        one for one in world.announcements() if one["detail-type"] == "Recovery Point Failed"
    ]
    assert event["detail"]["source"]["id"] == failed[0]
    assert event["detail"]["cause"].startswith("AccessDenied: create the snapshots of")


def test_an_instance_that_went_away_after_planning_fails_its_point_by_name(world: World):
    instance = launch(world.ec2, "web")
    world.plan()
    world.ec2.terminate_instances(InstanceIds=[instance])

    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.status is PointStatus.FAILED
    assert point.cause.startswith("CallRefused: create the snapshots of")
    assert "IncorrectInstanceState" in point.cause


@pytest.mark.parametrize(
    "code",
    [
        "RequestLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
    ],
)
def test_a_limit_makes_the_point_later_and_nothing_twice(world: World, code):
    launch(world.ec2, "web", disk("/dev/sdf"))
    world.cloud.faults.spoil("ec2.CreateSnapshots", aws_error(code, status=503), times=3)

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(world.snapshots()) == 2
    assert not world.cloud.calls.of("ec2.DescribeSnapshots")[:-1]


def test_a_pending_snapshot_of_an_st1_volume_delays_the_set_until_it_is_over(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf", 500, VolumeType="st1"))
    slow = volumes_of(world.ec2, instance)["/dev/sdf"]
    world.cloud.ec2.outcomes[slow] = Outcome(duration=timedelta(minutes=5))
    world.ec2.create_snapshot(VolumeId=slow)
    world.cloud.ec2.outcomes[slow] = Outcome()

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert point.taken_at >= SLOT + timedelta(minutes=5)


def test_a_lost_reply_is_found_again_by_its_tag_and_nothing_is_made_twice(world: World):
    launch(world.ec2, "web", disk("/dev/sdf"))
    world.cloud.faults.spoil("ec2.CreateSnapshots", LOST_REPLY)

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(world.snapshots()) == 2
    assert len(world.cloud.calls.of("ec2.CreateSnapshots")) == 1


def test_a_reply_lost_before_the_effect_leads_to_one_set_after_describes_caught_up(world: World):
    launch(world.ec2, "web", disk("/dev/sdf"))
    world.cloud.faults.spoil("ec2.CreateSnapshots", aws_error("InternalError", status=500))

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert point.taken_at >= SLOT + timedelta(minutes=4)
    assert len(world.snapshots()) == 2


def test_a_volume_by_volume_point_that_broke_off_takes_only_what_is_missing(world: World):
    launch(
        world.ec2,
        "sleepy",
        disk("/dev/sdf", Encrypted=True),
        disk("/dev/sdg", Encrypted=True),
        root={"Encrypted": True},
        HibernationOptions={"Configured": True},
    )
    world.cloud.faults.spoil(
        "ec2.CreateSnapshot", aws_error("RequestLimitExceeded", status=503), after=1
    )

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(point.members) == len(world.snapshots()) == 3


def test_a_limit_that_never_ends_fails_the_point_and_leaves_a_dead_letter(world: World):
    launch(world.ec2, "web")
    world.cloud.faults.spoil(
        "ec2.CreateSnapshots", aws_error("ConcurrentSnapshotLimitExceeded"), times=99
    )
    world.plan()

    world.advance(timedelta(hours=24))

    (point,) = world.points()
    assert point.status is PointStatus.FAILED
    assert buried(world, "create_snapshots")["error"] == "LimitReached"
    assert len(world.cloud.calls.of("ec2.CreateSnapshots")) == FED["create_snapshots"].receives


def test_a_request_that_is_delivered_twice_makes_one_point(world: World):
    launch(world.ec2, "web")
    world.plan()
    (body,) = world.messages(TAKE)
    send(world, TAKE, json.dumps(body))

    world.advance(timedelta(hours=1))

    assert len(world.points()) == len(world.snapshots()) == 1
    assert len(world.announcements()) == 1


def test_events_that_come_twice_and_before_the_answer_settle_the_point_once(world: World):
    launch(world.ec2, "web", disk("/dev/sdf"))
    world.cloud.ec2.outcomes.clear()
    world.plan()
    world.settle()
    world.cloud.clock.advance(timedelta(minutes=1))
    for event in [*world.cloud.events, *reversed(world.cloud.events)]:
        send(world, RECORD, json.dumps(event))

    world.advance(timedelta(minutes=30))

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(world.announcements()) == 1


def test_an_event_that_comes_before_the_answer_loses_nothing(world: World):
    launch(world.ec2, "web")
    # The set is made, its reply lost, and EC2 does not show it for a minute.
    world.cloud.faults.spoil("ec2.CreateSnapshots", LOST_REPLY)
    world.cloud.ec2.lag = timedelta(minutes=1)
    world.plan()

    world.advance(timedelta(minutes=2))
    assert [point.status for point in world.points()] == [PointStatus.CREATING]
    assert len(world.cloud.events) == 2

    world.advance(timedelta(minutes=10))
    assert [point.status for point in world.points()] == [PointStatus.AVAILABLE]
    assert len(world.snapshots()) == 1
    assert len(world.announcements()) == 1


def test_a_very_large_request_goes_without_its_facts_and_is_taken_all_the_same(world: World):
    instance = launch(world.ec2, "web", *(disk(f"/dev/sd{c}") for c in "fghijklmnopqrstuvw"))
    for one in volumes_of(world.ec2, instance).values():
        tag(world.ec2, one, **{f"key-{n}-{'x' * 100}": "y" * 250 for n in range(41)})

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(point.members) == 19
    assert len(point.manifest.volumes) == 19
    assert point.notes == ("the volumes' own tags are on their snapshots only: they are too many",)
    assert len(world.snapshots()[0]["Tags"]) == 41 + 7 + 2


@pytest.mark.parametrize(
    "fault",
    [
        aws_error("ThrottlingException", "slow down"),
        aws_error("TransactionConflictException", "busy"),
        aws_error("503", "no such service", status=503),
        LOST_REPLY,
    ],
    ids=["throttled", "conflict", "balancer", "lost"],
)
def test_an_answer_that_cannot_be_recorded_makes_no_second_set(world: World, fault):
    launch(world.ec2, "web", disk("/dev/sdf"))
    # The first update keeps the launch attributes; the second is the answer.
    world.cloud.faults.spoil("dynamodb.UpdateItem", fault, after=1, times=5)

    world.plan()
    world.cloud.calls.clear()
    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(world.snapshots()) == 2
    assert len(world.cloud.calls.of("ec2.CreateSnapshots")) == 1


def test_an_answer_that_is_no_answer_of_ec2_is_tried_again(world: World):
    launch(world.ec2, "web")
    world.cloud.faults.spoil("ec2.CreateSnapshots", aws_error("503", status=503))

    world.run()

    assert [point.status for point in world.points()] == [PointStatus.AVAILABLE]


def test_a_lost_reply_and_a_volume_detached_since_the_plan_are_a_whole_set(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf"))
    world.plan()
    world.ec2.detach_volume(
        VolumeId=volumes_of(world.ec2, instance)["/dev/sdf"], InstanceId=instance
    )
    world.cloud.faults.spoil("ec2.CreateSnapshots", LOST_REPLY)

    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(point.members) == len(point.manifest.volumes) == 1


def test_launch_attributes_that_ec2_refuses_to_tell_cost_a_note_and_not_the_point(world: World):
    launch(world.ec2, "web")
    world.cloud.faults.spoil(
        "ec2.GetLaunchTemplateData", aws_error("UnauthorizedOperation", "not you")
    )

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert point.manifest.launch is None
    assert "launch attributes such as user data not read, there are none" in point.notes[0]


def test_a_run_for_a_source_that_is_taken_already_ends_too(world: World):
    instance = launch(world.ec2, "web")
    whole = world.run()

    alone = world.run(source=instance)

    assert alone["run"] != whole["run"]
    for run in (whole["run"], alone["run"]):
        assert world.ledger.run(run).status is RunStatus.OK


def test_an_instance_all_of_whose_volumes_are_gone_fails_its_point_by_name(world: World):
    instance = launch(world.ec2, "web", *(disk(f"/dev/sd{c}") for c in "fghijklmnopqrstuvw"))
    for one in volumes_of(world.ec2, instance).values():
        tag(world.ec2, one, **{f"key-{n}-{'x' * 100}": "y" * 250 for n in range(42)})
    world.plan()
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.cloud.clock.advance(timedelta(hours=2))

    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.cause.startswith("SourceGone: there is no instance")


def test_a_shared_volume_goes_with_an_instance_that_is_run_alone(world: World):
    first, second = sorted(launch(world.ec2, name) for name in ("a", "b"))
    shared = volume(world.ec2, f"{HOME}a", {}, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for one in (first, second):
        world.ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdh")

    world.run(source=second)

    (point,) = world.points()
    assert shared in {one.volume for one in point.members}
    assert point.manifest.taken_elsewhere == {}


def test_a_slot_that_was_planned_whole_and_whose_messages_were_lost_can_be_planned_again(
    world: World,
):
    launch(world.ec2, "web")
    world.plan()
    world.client("sqs").purge_queue(
        QueueUrl=world.client("sqs").get_queue_url(QueueName=TAKE)["QueueUrl"]
    )

    report = world.run()

    assert [point.status for point in world.points()] == [PointStatus.AVAILABLE]
    assert world.ledger.run(report["run"]).status is RunStatus.OK


def test_a_refused_request_leaves_a_run_that_failed_with_the_reason(world: World):
    other = launch(world.ec2, "web", tags={"backup": "weekly"})
    with pytest.raises(SourceNotSelected):
        world.plan(source=other)

    (run,) = world.ledger.runs("web-daily")

    run = world.ledger.run(run.id)
    assert run.status is RunStatus.FAILED
    assert run.planned.problems[0].startswith("SourceNotSelected: policy web-daily leaves")


def test_a_point_that_could_never_be_claimed_is_failed_and_announced(world: World):
    launch(world.ec2, "web")
    report = world.plan()
    receives = FED["create_snapshots"].receives
    world.cloud.faults.spoil(
        "dynamodb.TransactWriteItems",
        aws_error("TransactionInProgressException", "busy"),
        # botocore tries each of them five times
        times=5 * receives,
    )

    world.advance(timedelta(hours=4))

    (point,) = world.points()
    assert point.status is PointStatus.FAILED
    assert len(world.announcements()) == 1
    assert world.ledger.run(report["run"]).status is RunStatus.FAILED


def test_a_volume_to_leave_out_that_is_detached_since_the_plan_does_not_cost_the_point(
    world: World,
):
    instance = launch(world.ec2, "web", disk("/dev/sdf"), disk("/dev/sdg"))
    scratch = volumes_of(world.ec2, instance)["/dev/sdg"]
    tag(world.ec2, scratch, scratch="true")
    world.plan()
    world.ec2.detach_volume(VolumeId=scratch, InstanceId=instance)

    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert len(point.members) == 2


def test_a_volume_that_bears_a_tag_of_ours_does_not_pass_it_on(world: World):
    instance = launch(world.ec2, "web", disk("/dev/sdf"))
    tag(world.ec2, volumes_of(world.ec2, instance)["/dev/sdf"], **{"lastgood:point": "pt-old"})

    world.run()

    (point,) = world.points()
    assert point.status is PointStatus.AVAILABLE
    assert "a key of the same name" in point.notes[0]
    for snapshot in world.snapshots():
        assert {"Key": "lastgood:point", "Value": point.id} in snapshot["Tags"]


def test_a_point_that_had_to_wait_says_what_for(world: World):
    launch(world.ec2, "web")
    world.cloud.faults.spoil(
        "ec2.CreateSnapshots", aws_error("ConcurrentSnapshotLimitExceeded", "one is pending")
    )
    world.plan()
    world.settle()
    (waiting,) = world.points()
    assert "one is pending" in waiting.cause

    world.advance(timedelta(hours=1))

    (point,) = world.points()
    assert point.cause is None
    assert point.notes[0].startswith("taken late: create the snapshots of")


def test_a_slot_in_the_future_is_refused_since_its_schedule_would_find_it_taken(world: World):
    launch(world.ec2, "web")

    with pytest.raises(MalformedMessage, match="the slot 2026-03-02T02:00:00Z is in the future"):
        world.plan(slot="2026-03-02T02:00:00Z")

    assert list(world.ledger.runs("web-daily")) == []


def test_a_point_for_a_slot_long_past_says_so(world: World):
    launch(world.ec2, "web")

    world.run(slot="2026-02-27T02:00:00Z")

    (point,) = world.points()
    assert point.notes == ("asked for 48 hours after its slot: the data is of that time",)


@pytest.mark.parametrize(
    ("source", "refusal"),
    [
        ("", "'' is not the id of an instance, such as i-0123456789abcdef0"),
        ("web-1", "'web-1' is not the id of an instance, such as i-0123456789abcdef0"),
        ("vol-1", "policy web-daily protects instances, and vol-1 is not one"),
    ],
)
def test_what_is_no_source_of_the_policys_kind_is_refused_and_makes_no_run(
    world: World, source, refusal
):
    with pytest.raises((MalformedMessage, SourceNotSelected), match=refusal):
        world.plan(source=source)

    assert list(world.ledger.runs("web-daily")) == []
