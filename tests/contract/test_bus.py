"""``EventBus``, ``RestoreNews``, ``ebs_event``: what subscribers are told, and what EBS tells."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.aws.bus import EventBus, RestoreNews, detail, ebs_event
from lastgood.domain.ended import Ended, SnapshotsEnded
from lastgood.domain.model import MemberState, Method, PointStatus, Source
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import Asker, RestoreRequest, began
from lastgood.errors import AccessDenied, MalformedMessage, Throttled, Unavailable
from tests.cloud.faults import LOST_REPLY, aws_error
from tests.cloud.in_process import InProcessCloud
from tests.support.builders import T0, a_member, a_point, a_restore, minutes

HOME = "eu-west-1"
COMPLETED, ERROR = MemberState.COMPLETED, MemberState.ERROR


def a_settled_point(**given):
    facts: dict[str, Any] = {
        "status": PointStatus.AVAILABLE,
        "settled_at": T0 + minutes(3),
        "members": (
            a_member("snap-1", state=COMPLETED, started_at=T0 + timedelta(seconds=9)),
            a_member("snap-2", "vol-2", device="/dev/sdf", state=COMPLETED),
        ),
        "notes": ("vol-3 left out",),
    }
    return a_point(**facts | given)


@pytest.fixture
def bus(cloud: InProcessCloud) -> EventBus:
    client = cloud.client("events", HOME)
    client.create_event_bus(Name="lastgood")
    return EventBus(client, "lastgood")


# -- what is told -----------------------------------------------------------------------------


def test_an_available_point_is_told_with_all_that_a_subscriber_needs(cloud, bus):
    point = a_settled_point()

    bus.announce(point)

    (entry,) = cloud.calls.of("events.PutEvents")[0].params["Entries"]
    assert entry["EventBusName"] == "lastgood"
    assert entry["Source"] == "lastgood"
    assert entry["DetailType"] == "Recovery Point Available"
    assert entry["Resources"] == [
        "arn:aws:ec2:eu-west-1::snapshot/snap-1",
        "arn:aws:ec2:eu-west-1::snapshot/snap-2",
    ]
    assert json.loads(entry["Detail"]) == {
        "point": point.id,
        "status": "available",
        "policy": "web-daily",
        "run": point.run,
        "slot": "2026-03-01T02:00:00Z",
        "source": {
            "id": "i-0a",
            "region": "eu-west-1",
            "account": "123456789012",
            "kind": "instance",
        },
        "method": "set",
        "members": [
            {
                "snapshot": "snap-1",
                "volume": "vol-1",
                "size_gib": 8,
                "encrypted": True,
                "started_at": "2026-03-01T02:00:09Z",
                "device": "/dev/sda1",
                "state": "completed",
                "cause": None,
            },
            {
                "snapshot": "snap-2",
                "volume": "vol-2",
                "size_gib": 8,
                "encrypted": True,
                "started_at": "2026-03-01T02:00:00Z",
                "device": "/dev/sdf",
                "state": "completed",
                "cause": None,
            },
        ],
        "taken_at": "2026-03-01T02:00:00Z",
        "settled_at": "2026-03-01T02:03:00Z",
        "seconds": 180,
        "cause": None,
        "notes": ["vol-3 left out"],
    }


def test_a_failed_point_is_told_with_its_cause(cloud, bus):
    bus.announce(
        a_settled_point(status=PointStatus.FAILED, members=(), cause="KeyDenied: no key", notes=())
    )

    (entry,) = cloud.calls.of("events.PutEvents")[0].params["Entries"]
    told = json.loads(entry["Detail"])
    assert entry["DetailType"] == "Recovery Point Failed"
    assert entry["Resources"] == []
    assert (told["status"], told["cause"]) == ("failed", "KeyDenied: no key")
    assert (told["members"], told["taken_at"]) == ([], None)


def test_a_lone_volume_is_told_as_a_volume():
    source = Source(id="vol-1", region=HOME, account="123456789012")

    told = detail(a_settled_point(source=source, method=Method.VOLUME))

    assert (told["source"]["kind"], told["method"]) == ("volume", "volume")


def test_a_repeat_is_told_by_the_same_point_and_status():
    point = a_settled_point()

    assert detail(point) == detail(replace(point, owner="other", lease_until=T0))


def test_the_largest_set_fits_into_one_event():
    members = tuple(
        a_member(f"snap-{n:017x}", f"vol-{n:017x}", device=f"/dev/xvd{n}", cause="x" * 100)
        for n in range(128)
    )

    entry = detail(a_settled_point(members=members, cause="x" * 20_000, notes=("x" * 200,) * 128))

    most = 262_144  # EventBridge User Guide, "PutEvents", size of an entry
    resources = sum(
        len(f"arn:aws-us-gov:ec2:us-gov-west-1::snapshot/{m.snapshot}") for m in members
    )
    assert len(json.dumps(entry)) + resources < most


class Events:
    """A client of EventBridge that gives one answer."""

    def __init__(self, reply, partition="aws"):
        self.meta = SimpleNamespace(partition=partition)
        self.entries: list[dict[str, Any]] = []
        self._reply = reply

    def put_events(self, Entries):  # noqa: N803
        self.entries += Entries
        return self._reply


def test_snapshots_are_named_in_the_partition_of_the_region():
    events = Events({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, partition="aws-cn")

    EventBus(events, "lastgood").announce(
        a_settled_point(source=Source(id="i-0a", region="cn-north-1", account="123456789012"))
    )

    assert events.entries[0]["Resources"][0] == "arn:aws-cn:ec2:cn-north-1::snapshot/snap-1"


def test_an_entry_that_eventbridge_did_not_take_is_to_be_told_again():
    reply = {
        "FailedEntryCount": 1,
        "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "later"}],
    }

    with pytest.raises(Unavailable, match=r"announce pt-\w+: InternalFailure"):
        EventBus(Events(reply), "lastgood").announce(a_settled_point())


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (aws_error("ThrottlingException"), Throttled),
        (aws_error("InternalException", status=500), Unavailable),
        (aws_error("AccessDeniedException"), AccessDenied),
        (LOST_REPLY, Unavailable),
    ],
)
def test_what_eventbridge_refuses_has_a_name_of_ours(cloud, bus, effect, error):
    cloud.faults.spoil("events.PutEvents", effect)

    with pytest.raises(error, match=r"^announce pt-"):
        bus.announce(a_settled_point())


def test_how_a_restore_goes_is_told_without_where_chat_takes_it(cloud, bus):
    asker = Asker(by="jo", via="chat")
    restore = replace(
        a_restore(place=Place("eu-central-1", "123456789012")),
        request=RestoreRequest(source="web", mode=Mode.CLONE, asker=asker),
    )

    RestoreNews(bus).announce(
        began(began(restore, "hold", T0), "copy", T0), "The snapshots are being copied."
    )

    (entry,) = cloud.calls.of("events.PutEvents")[0].params["Entries"]
    assert (entry["Source"], entry["DetailType"]) == ("lastgood", "Restore Progress")
    assert json.loads(entry["Detail"]) == {
        "restore": restore.id,
        "status": "running",
        "what": "The snapshots are being copied.",
        "mode": "clone",
        "source": "i-0a",
        "name": "web",
        "point": restore.point,
        "place": {"region": "eu-central-1", "account": "123456789012"},
        "by": "jo",
        "via": "chat",
        "step": "copy",
    }


def test_before_its_first_step_a_restore_has_none(cloud, bus):
    RestoreNews(bus).announce(a_restore(), "It begins.")

    (entry,) = cloud.calls.of("events.PutEvents")[0].params["Entries"]
    assert json.loads(entry["Detail"])["step"] is None


def test_news_that_eventbridge_does_not_take_are_told_again(cloud, bus):
    cloud.faults.spoil("events.PutEvents", aws_error("ThrottlingException"))

    with pytest.raises(Throttled, match=r"^tell how rs-\w+ goes: "):
        RestoreNews(bus).announce(a_restore(), "It begins.")


# -- what ebs tells ---------------------------------------------------------------------------


def one_ended(**given):
    facts: dict[str, Any] = {
        "event": "createSnapshot",
        "result": "succeeded",
        "cause": "",
        "request-id": "",
        "snapshot_id": "arn:aws:ec2::eu-west-1:snapshot/snap-01234567",
        "source": "arn:aws:ec2::eu-west-1:volume/vol-01234567",
        "startTime": "2026-03-01T01:59:30Z",
        "endTime": "2026-03-01T02:01:00Z",
    }
    return envelope("EBS Snapshot Notification", facts | given)


def set_ended(*states, **given):
    facts: dict[str, Any] = {
        "event": "createSnapshots",
        "result": "succeeded",
        "cause": "",
        "request-id": "",
        "startTime": "2026-03-01T01:59:30Z",
        "endTime": "2026-03-01T02:01:00Z",
        "snapshots": [
            {
                "snapshot_id": f"arn:aws:ec2::eu-west-1:snapshot/snap-{n}",
                "source": f"arn:aws:ec2::eu-west-1:volume/vol-{n}",
                "status": state,
            }
            for n, state in enumerate(states)
        ],
    }
    return envelope("EBS Multi-Volume Snapshots Completion Status", facts | given)


def envelope(kind, detail, **given):
    facts = {
        "version": "0",
        "id": "01234567-0123-0123-0123-0123456789ab",
        "detail-type": kind,
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2026-03-01T02:05:00Z",
        "region": HOME,
        "resources": [],
        "detail": detail,
    }
    return facts | given


def test_one_snapshot_that_completed_is_read():
    assert ebs_event(one_ended()) == SnapshotsEnded(
        account="123456789012",
        region=HOME,
        at=datetime(2026, 3, 1, 2, 1, tzinfo=UTC),
        started_at=datetime(2026, 3, 1, 1, 59, 30, tzinfo=UTC),
        snapshots=(Ended(snapshot="snap-01234567", state=COMPLETED),),
    )


def test_one_snapshot_that_failed_is_read_with_its_cause():
    (ended,) = ebs_event(one_ended(result="failed", cause="Source volume is gone")).snapshots

    assert ended == Ended(snapshot="snap-01234567", state=ERROR, cause="Source volume is gone")


def test_a_failure_without_a_cause_says_so():
    (ended,) = ebs_event(one_ended(result="failed", cause="")).snapshots

    assert ended.cause == "EBS gave no cause"


def test_a_set_is_read_with_every_member():
    event = ebs_event(set_ended("completed", "completed"))

    assert event.snapshots == (
        Ended(snapshot="snap-0", state=COMPLETED),
        Ended(snapshot="snap-1", state=COMPLETED),
    )


def test_a_set_that_failed_is_read_member_by_member():
    event = ebs_event(set_ended("completed", "error", result="failed", cause="one failed"))

    assert [(one.state, one.cause) for one in event.snapshots] == [
        (COMPLETED, None),
        (ERROR, "one failed"),
    ]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:ec2::eu-west-1:snapshot/snap-01234567",
        "arn:aws:ec2:eu-west-1::snapshot/snap-01234567",
        "arn:aws-us-gov:ec2::us-gov-west-1:snapshot/snap-01234567",
        "snap-01234567",
    ],
)
def test_an_id_is_read_from_any_form_of_arn(arn):
    (ended,) = ebs_event(one_ended(snapshot_id=arn)).snapshots

    assert ended.snapshot == "snap-01234567"


@pytest.mark.parametrize("missing", ["", None])
def test_without_times_of_its_own_an_event_has_that_of_its_envelope(missing):
    event = ebs_event(one_ended(startTime=missing, endTime=missing))

    assert event.at == event.started_at == datetime(2026, 3, 1, 2, 5, tzinfo=UTC)


def test_a_time_in_another_zone_is_the_same_instant():
    event = ebs_event(one_ended(endTime="2026-03-01T03:01:00+01:00"))

    assert event.at == datetime(2026, 3, 1, 3, 1, tzinfo=timezone(timedelta(hours=1)))


def test_keys_that_aws_adds_are_passed_over():
    event = one_ended(incremental="true") | {"replay-name": "again"}

    assert ebs_event(event) == ebs_event(one_ended())


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({}, "KeyError"),
        (envelope("EBS Snapshot Notification", None), "AttributeError"),
        (envelope("EBS Snapshot Notification", []), "AttributeError"),
        (envelope("EBS Snapshot Notification", {}), "KeyError"),
        (envelope("EBS Volume Notification", {}), "EBS Volume Notification"),
        (set_ended(), "no snapshot"),
        (set_ended(snapshots=None), "TypeError"),
        (set_ended(snapshots=[{}]), "KeyError"),
        (set_ended(snapshots=["snap-1"]), "TypeError"),
        (one_ended(snapshot_id=None), "AttributeError"),
        (one_ended(snapshot_id=7), "AttributeError"),
        (one_ended(endTime="yesterday"), "ValueError"),
        (one_ended(endTime="2026-03-01T02:01:00"), "a time without a zone"),
        (one_ended(endTime=7), "TypeError"),
        ({key: one for key, one in one_ended().items() if key != "account"}, "account"),
        ({key: one for key, one in one_ended().items() if key != "time"}, None),
        (one_ended(endTime=None) | {"time": None}, "TypeError"),
    ],
)
def test_what_is_not_such_an_event_is_malformed_and_says_why(event, told):
    if told is None:
        assert ebs_event(event)
        return

    with pytest.raises(MalformedMessage, match=told):
        ebs_event(event)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from([one_ended(), set_ended("completed", "completed")]),
    st.sampled_from(
        ["detail", "detail-type", "time", "account", "region"]
        + [f"detail.{key}" for key in set_ended()["detail"]]
        + ["detail.snapshot_id"]
    ),
    JSON,
)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_its_place_an_event_is_read_or_malformed(event, path, value):
    outer, _, inner = path.partition(".")
    spoilt = event | {outer: event["detail"] | {inner: value} if inner else value}

    try:
        read = ebs_event(spoilt)
    except MalformedMessage:
        return
    assert read.snapshots
    assert all(type(one.snapshot) is str for one in read.snapshots)
    assert all(type(one.cause) in (str, type(None)) for one in read.snapshots)
