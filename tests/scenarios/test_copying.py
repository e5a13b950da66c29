"""Points are copied to another Region: by slots, in order, whole or not at all."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from typing import Any

import pytest

from copy_snapshots.usecase import UNHEARD, Copied, Copier
from lastgood.aws.bus import copy_event
from lastgood.aws.compute import Ec2Compute
from lastgood.domain import mending, pruning, tags
from lastgood.domain.copying import (
    QUOTA_FOR,
    SHRUNK_FOR,
    SLOTS,
    CopyEnded,
    CopyStatus,
    place_of,
)
from lastgood.domain.model import Hold, Point
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy, Encryption
from lastgood.errors import AccessDenied, LimitReached, Throttled, Unavailable
from lastgood.ledger.dynamo import DynamoLedger
from lastgood.ports import Patience
from lastgood.runtime import copy_work
from lastgood.series import Originals
from sweep.progress import Progress
from sweep.rebuilding import Rebuilding
from tests.cloud.ec2 import Outcome
from tests.cloud.faults import KILL, LOST_REPLY, AwsError
from tests.cloud.in_process import InProcessCloud, in_process_cloud
from tests.cloud.killed import Killed
from tests.support import table
from tests.support.fakes import FakePolicies
from tests.support.fleet import disk, launch
from tests.support.history import past_point
from tests.support.world import ACCOUNT, HOME, SLOT, a_policy

AWAY = "eu-central-1"
PLACE = Place(region=AWAY, account=ACCOUNT)
VAULT = "210987654321"
WAITING = CopyStatus.WAITING
SLOW = AwsError("RequestLimitExceeded", "slow down", 503)
ARCHIVED = AwsError("IncorrectState", "Snapshot 'snap-1' is archived.", 400)
DENIED = AwsError("UnauthorizedOperation", "no", 403)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)


@dataclass
class Site:
    """A fleet's points at home, and the function that copies them, fed with EBS's events."""

    cloud: InProcessCloud
    wanted: Copy = field(default_factory=lambda: Copy(region=AWAY))

    def __post_init__(self) -> None:
        self.home = self.cloud.client("ec2", HOME)
        self.place = place_of(self.wanted, ACCOUNT)
        self.away = self._client(self.place)
        client = self.cloud.client("dynamodb", HOME)
        table.create(client)
        self.ledger = DynamoLedger(client, table.NAME)
        self.cloud.ec2.limits = False
        self.policies = FakePolicies({"web-daily": a_policy(copies=(self.wanted,))})
        self.copier = Copier(
            policies=self.policies,
            at=cache(self._at),
            ledger=self.ledger,
            clock=Watch(self.cloud),
            accounts=frozenset({ACCOUNT, VAULT}),
        )

    def _at(self, place: Place) -> Ec2Compute:
        client = self._client(place)
        quotas, keys = (partial(self._client, place, one) for one in ("service-quotas", "kms"))
        return Ec2Compute(client, client, quotas=quotas, keys=keys)

    def _client(self, place: Place, service: str = "ec2") -> Any:
        abroad = place.account if place.account != ACCOUNT else None
        return self.cloud.client(service, place.region, abroad)

    def point(self, instance: str, days: int = 1) -> Point:
        """Complete at once, and its events forgotten."""
        point = past_point(self.home, self.ledger, instance, SLOT - days * DAY)
        self.cloud.clock.advance(HOUR)
        self.cloud.events.clear()
        return point

    def hear(self) -> list[Copied]:
        """What EBS has told since; what comes of the news as well."""
        heard = []
        while self.cloud.events:
            event = self.cloud.events.pop(0)
            if "result" in event["detail"] and event["detail"]["event"] == "copySnapshot":
                heard.append(self.done(self.copier.settle, copy_event(event)))
        return heard

    def done(self, handle: Callable[..., None], what: Any) -> Copied:
        done = Copied()
        handle(what, done)
        return done

    def queue(self, point: Point) -> Copied:
        return self.done(self.copier.queue, point.id)

    def look_after(self) -> Copied:
        return self.done(self.copier.look_after, self.place)

    def days(self, count: int = 1) -> None:
        for _ in range(24 * count):
            self.cloud.clock.advance(HOUR)
            self.hear()
            self.look_after()

    def status(self, point: Point) -> CopyStatus:
        copy = self.ledger.copy(point.id, self.place)
        assert copy is not None
        return copy.status

    def shared(self) -> dict[str, list[str]]:
        """The accounts that each of our snapshots at home is shared with."""
        ours = self.home.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        found = {}
        for one in ours:
            permitted = self.home.describe_snapshot_attribute(
                SnapshotId=one["SnapshotId"], Attribute="createVolumePermission"
            )["CreateVolumePermissions"]
            if permitted:
                found[one["SnapshotId"]] = [user["UserId"] for user in permitted]
        return found

    def copies(self) -> list[dict[str, Any]]:
        found = self.away.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return sorted(found, key=lambda one: str(one["StartTime"]))


@dataclass
class Watch:
    cloud: InProcessCloud

    def now(self) -> Any:
        return self.cloud.clock.now()

    def left(self) -> timedelta:
        return timedelta(minutes=5)


@pytest.fixture
def site():
    with in_process_cloud(SLOT) as cloud:
        yield Site(cloud)


def two_disks(site, name="web"):
    return launch(site.home, name, disk("/dev/sdf"))


def tag_values(snapshot):
    return {one["Key"]: one["Value"] for one in snapshot["Tags"]}


def test_a_point_is_copied_whole_with_the_tags_that_tell_what_it_is(site):
    point = site.point(two_disks(site))

    site.queue(point)
    assert site.status(point) is CopyStatus.COPYING
    site.cloud.clock.advance(HOUR)
    heard = site.hear()

    assert site.status(point) is CopyStatus.AVAILABLE
    assert [len(one.available) for one in heard] == [0, 1]
    found = {one[tags.COPY_OF]: one for one in map(tag_values, site.copies())}
    assert set(found) == set(point.snapshots)
    for member in point.members:
        assert found[member.snapshot][tags.VOLUME] == member.volume
        assert found[member.snapshot][tags.POINT] == point.id
        assert found[member.snapshot][tags.SOURCE] == point.source.id
    assert site.ledger.slots(PLACE).taken == frozenset()


def test_the_same_news_again_changes_nothing(site):
    point = site.point(two_disks(site))
    for _ in range(2):
        site.queue(point)
    site.cloud.clock.advance(HOUR)
    events = [copy_event(one) for one in site.cloud.events]
    for event in [*events, *events]:
        site.done(site.copier.settle, event)

    assert len(site.copies()) == 2
    assert site.status(point) is CopyStatus.AVAILABLE


def test_points_of_one_source_go_one_after_the_other_so_that_each_is_incremental(site):
    instance = two_disks(site)
    points = [site.point(instance, days) for days in (3, 2, 1)]
    for one in reversed(points):
        site.queue(one)

    # The newest was queued first, and alone; of the others the oldest goes first.
    assert [site.status(one) for one in points] == [CopyStatus.WAITING] * 2 + [CopyStatus.COPYING]
    site.days()

    assert [site.status(one) for one in points] == [CopyStatus.AVAILABLE] * 3
    later = [site.ledger.copy(one.id, PLACE) for one in points[:2]]
    assert all(member.incremental for copy in later for member in copy.members)


def test_no_more_are_under_way_than_there_are_slots_and_an_end_starts_the_next(site):
    points = [site.point(two_disks(site, f"web-{n}")) for n in range(SLOTS // 2 + 2)]
    for one in points:
        site.queue(one)
    assert len(site.ledger.slots(PLACE).taken) == SLOTS
    assert len(site.copies()) == SLOTS

    site.cloud.clock.advance(HOUR)
    site.hear()

    assert len(site.copies()) == len(points) * 2


def test_as_many_go_at_one_time_as_service_quotas_says_and_it_is_asked_once_a_day(site):
    site.cloud.ec2.copy_slots = 3
    points = [site.point(two_disks(site, f"web-{n}")) for n in range(3)]
    site.look_after()
    for one in points:
        site.queue(one)
    site.look_after()

    assert len(site.copies()) == 3
    assert len(site.cloud.calls.of("service-quotas.*")) == 1
    assert site.ledger.slots(PLACE).limit(site.cloud.clock.now()) == 3
    site.cloud.clock.advance(QUOTA_FOR)
    site.look_after()
    assert len(site.cloud.calls.of("service-quotas.*")) == 2


def test_when_others_take_slots_fewer_are_used_for_a_while(site):
    site.cloud.ec2.foreign_copies[AWAY] = SLOTS - 3
    points = [site.point(two_disks(site, f"web-{n}")) for n in range(3)]
    site.queue(points[0])
    with pytest.raises(LimitReached):
        site.queue(points[1])

    assert len(site.copies()) == 3
    assert len(site.ledger.slots(PLACE).taken) == 3
    site.look_after()
    assert len(site.copies()) == 3
    site.cloud.ec2.foreign_copies.clear()
    site.cloud.clock.advance(SHRUNK_FOR)
    site.hear()
    for one in points:
        site.queue(one)
    site.days()

    assert [site.status(one) for one in points] == [CopyStatus.AVAILABLE] * 3


def test_a_lost_reply_is_found_again_and_nothing_is_copied_twice(site):
    point = site.point(two_disks(site))
    site.cloud.faults.spoil("ec2.CopySnapshot", LOST_REPLY)
    with pytest.raises(Unavailable):
        site.queue(point)

    site.queue(point)
    site.cloud.clock.advance(UNHEARD + MINUTE)
    site.look_after()
    site.days()

    assert site.status(point) is CopyStatus.AVAILABLE
    assert len(site.copies()) == 2


def test_lost_events_do_not_matter(site):
    point = site.point(two_disks(site))
    site.queue(point)
    site.cloud.clock.advance(HOUR)
    site.cloud.events.clear()

    done = site.look_after()

    assert len(done.available) == 1
    assert site.status(point) is CopyStatus.AVAILABLE


def test_a_key_that_is_disabled_fails_loudly_and_the_copy_heals_when_it_is_back(site):
    kms = site.cloud.client("kms", AWAY)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    wanted = Copy(region=AWAY, kms_key=key)
    site.policies.known["web-daily"] = a_policy(copies=(wanted,))
    kms.disable_key(KeyId=key)
    point = site.point(two_disks(site))

    queued = site.queue(point)
    site.cloud.clock.advance(HOUR)
    heard = site.hear()

    copy = site.ledger.copy(point.id, PLACE)
    assert (copy.status, copy.failures) == (CopyStatus.WAITING, 1)
    assert f"the key {key} in {AWAY} is Disabled: enable it" in copy.cause
    assert len(queued.failed) == 1
    assert (heard, site.copies()) == ([], [])
    kms.enable_key(KeyId=key)
    site.days()

    assert site.status(point) is CopyStatus.AVAILABLE
    assert {one["Encrypted"] for one in site.copies()} == {True}


def test_a_key_that_is_not_there_is_named(site):
    site.policies.known["web-daily"] = a_policy(copies=(Copy(region=AWAY, kms_key="alias/none"),))
    point = site.point(launch(site.home, "web"))

    done = site.queue(point)

    assert "look at the key alias/none in eu-central-1: NotFoundException" in done.failed[0].cause
    assert site.cloud.calls.of("ec2.CopySnapshot") == []


def test_a_source_whose_key_is_disabled_fails_in_the_copy_with_what_ebs_says_and_heals(site):
    kms = site.cloud.client("kms", HOME)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    point = site.point(launch(site.home, "web", root={"Encrypted": True, "KmsKeyId": key}))
    kms.disable_key(KeyId=key)
    site.queue(point)
    site.cloud.clock.advance(HOUR)
    heard = site.hear()

    copy = site.ledger.copy(point.id, PLACE)
    assert "Given key ID is not accessible" in copy.cause
    assert sum(len(one.failed) for one in heard) == 1
    assert site.copies() == []
    kms.enable_key(KeyId=key)
    site.days()

    assert site.status(point) is CopyStatus.AVAILABLE


def test_a_copy_that_fails_for_days_holds_up_no_other_and_heals_at_last(site):
    instance = launch(site.home, "web")
    point, newer = site.point(instance, 2), site.point(instance, 1)
    site.cloud.ec2.outcomes[point.snapshots[0]] = Outcome(error="broken")

    for one in (point, newer):
        site.queue(one)
    site.days(4)

    assert [site.status(one) for one in (point, newer)] == [WAITING, CopyStatus.AVAILABLE]
    assert len(site.copies()) == 1
    assert site.ledger.slots(PLACE).taken == frozenset()
    site.cloud.ec2.outcomes.clear()
    site.days(1)
    assert site.status(point) is CopyStatus.AVAILABLE


def test_a_snapshot_that_is_gone_is_no_reason_to_wait(site):
    point = site.point(launch(site.home, "web"))
    site.home.delete_snapshot(SnapshotId=point.snapshots[0])
    other = site.point(launch(site.home, "other"))
    site.queue(point)
    assert site.status(point) is WAITING
    site.queue(other)
    assert site.status(other) is CopyStatus.COPYING

    site.cloud.clock.advance(HOUR)
    site.look_after()

    copy = site.ledger.copy(point.id, PLACE)
    assert (copy.status, copy.cause) == (
        CopyStatus.FAILED,
        f"{point.snapshots[0]}: {point.snapshots[0]} is gone",
    )


def test_news_of_a_copy_that_was_removed_as_broken_do_not_wait_for_it_to_show_again(site):
    point = site.point(launch(site.home, "web"))
    site.cloud.ec2.outcomes[point.snapshots[0]] = Outcome(error="broken")
    site.queue(point)
    site.cloud.clock.advance(HOUR)
    (event,) = [one for one in site.cloud.events if one["detail"]["event"] == "copySnapshot"]
    site.done(site.copier.settle, copy_event(event))
    assert site.copies() == []

    site.done(site.copier.settle, copy_event(event))

    copy = site.ledger.copy(point.id, PLACE)
    assert (copy.status, copy.failures) == (WAITING, 1)


# another account


@pytest.fixture
def abroad():
    with in_process_cloud(SLOT) as cloud:
        yield Site(cloud, Copy(region=AWAY, account=VAULT))


def test_a_snapshot_is_shared_with_another_account_only_while_it_is_copied_there(abroad):
    point = abroad.point(two_disks(abroad))
    assert abroad.shared() == {}

    abroad.queue(point)
    assert abroad.shared() == {one: [VAULT] for one in point.snapshots}
    abroad.cloud.clock.advance(HOUR)
    abroad.hear()

    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert abroad.shared() == {}
    assert {tag_values(one)[tags.POINT] for one in abroad.copies()} == {point.id}
    assert list(abroad.ledger.due(abroad.place)) == []


def test_one_that_could_not_be_unshared_is_when_the_news_comes_again(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    abroad.queue(point)
    abroad.cloud.clock.advance(HOUR)
    (event,) = [one for one in abroad.cloud.events if one["detail"]["event"] == "copySnapshot"]
    abroad.cloud.faults.spoil("ec2.ModifySnapshotAttribute", SLOW)
    with pytest.raises(Throttled):
        abroad.done(abroad.copier.settle, copy_event(event))

    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert abroad.shared() == {point.snapshots[0]: [VAULT]}
    assert [one.point for one in abroad.ledger.due(abroad.place)] == [point.id]
    abroad.done(abroad.copier.settle, copy_event(event))

    assert abroad.shared() == {}


def test_one_whose_news_is_lost_is_unshared_by_a_sweep(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    abroad.queue(point)
    abroad.cloud.clock.advance(HOUR)
    abroad.cloud.events.clear()

    abroad.look_after()

    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert abroad.shared() == {}


def test_one_that_cannot_be_copied_is_not_left_shared(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    abroad.cloud.faults.spoil("ec2.CopySnapshot", DENIED, times=1)

    done = abroad.queue(point)

    assert "UnauthorizedOperation" in done.failed[0].cause
    assert abroad.shared() == {}


def test_two_copies_in_one_account_share_a_snapshot_until_both_are_there(abroad):
    two = tuple(Copy(region=one, account=VAULT) for one in (AWAY, "eu-north-1"))
    abroad.policies.known["web-daily"] = a_policy(copies=two)
    point = abroad.point(launch(abroad.home, "web"))
    abroad.queue(point)
    abroad.cloud.clock.advance(HOUR)
    first, second = (
        copy_event(one) for one in abroad.cloud.events if one["detail"]["event"] == "copySnapshot"
    )

    abroad.done(abroad.copier.settle, first)
    assert abroad.shared() == {point.snapshots[0]: [VAULT]}
    abroad.done(abroad.copier.settle, second)

    assert abroad.shared() == {}
    assert {one.status for one in abroad.ledger.copies(point.id)} == {CopyStatus.AVAILABLE}


def test_events_of_an_account_that_nobody_names_are_passed_over(abroad):
    stranger = {"region": AWAY, "account": "999999999999", "snapshot": "snap-1"}

    abroad.done(abroad.copier.settle, CopyEnded(at=SLOT, **stranger))


def test_a_copy_that_misses_its_deadline_is_noted_once_and_goes_on(site):
    wanted = Copy(region=AWAY, complete_within=timedelta(minutes=15))
    site.policies.known["web-daily"] = a_policy(copies=(wanted,))
    point = site.point(launch(site.home, "web"))
    site.cloud.ec2.outcomes[point.snapshots[0]] = Outcome(duration=timedelta(minutes=40))
    site.queue(point)
    site.cloud.clock.advance(timedelta(minutes=20))
    (event,) = [one for one in site.cloud.events if "Missed" in one["detail-type"]]

    news = copy_work(event)
    done = [site.done(site.copier.note_late, news) for _ in range(2)]

    assert [len(one.late) for one in done] == [1, 0]
    late = site.ledger.copy(point.id, PLACE)
    assert (late.status, late.late_at) == (CopyStatus.COPYING, news.at)
    site.cloud.clock.advance(HOUR)
    site.hear()
    assert site.status(point) is CopyStatus.AVAILABLE


def test_a_place_that_cannot_be_entered_fails_in_the_copy_and_is_tried_again(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    entered, closed = abroad.copier.at, True

    def at(place):
        if closed and place.account == VAULT:
            raise AccessDenied("enter account 210987654321: AccessDenied")
        return entered(place)

    abroad.copier = replace(abroad.copier, at=at)
    done = abroad.queue(point)
    assert "enter account" in done.failed[0].cause
    closed = False
    abroad.days()

    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert abroad.shared() == {}


def test_a_source_whose_account_cannot_be_entered_holds_up_no_other_copy(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    other = abroad.point(launch(abroad.home, "other"))
    entered, closed = abroad.copier.at, set[Place]()

    def at(place):
        if place in closed:
            raise AccessDenied(f"enter account {place.account}: AccessDenied")
        return entered(place)

    abroad.copier = replace(abroad.copier, at=at)
    abroad.queue(point)
    closed.add(point.source.place)
    abroad.days()
    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert list(abroad.shared()) == list(point.snapshots)
    abroad.queue(other)
    assert abroad.status(other) is WAITING
    closed.clear()
    abroad.days()

    assert abroad.status(other) is CopyStatus.AVAILABLE
    assert abroad.shared() == {}


def test_what_cannot_be_unshared_holds_up_no_other_and_is_loud(abroad):
    instance = launch(abroad.home, "web")
    first, second = abroad.point(instance, 2), abroad.point(instance, 1)
    for one in (first, second):
        abroad.queue(one)
    abroad.cloud.clock.advance(HOUR)
    abroad.cloud.events.clear()
    abroad.cloud.faults.spoil("ec2.ModifySnapshotAttribute", DENIED, times=1)
    abroad.look_after()
    assert abroad.status(second) is CopyStatus.COPYING
    assert list(abroad.shared()) == sorted([*first.snapshots, *second.snapshots])
    abroad.cloud.faults.spoil("ec2.ModifySnapshotAttribute", DENIED, times=1)
    with pytest.raises(AccessDenied):
        abroad.look_after()

    abroad.days()
    assert [abroad.status(one) for one in (first, second)] == [CopyStatus.AVAILABLE] * 2
    assert abroad.shared() == {}


# encryption in place

HERE = Place(region=HOME, account=ACCOUNT)
REQUIRED = Encryption.REQUIRED


@pytest.fixture
def plain(site):
    """What is not encrypted has to be, before it is copied elsewhere."""
    site.policies.known["web-daily"] = a_policy(encryption=REQUIRED, copies=(Copy(region=AWAY),))
    return site


def half_plain(site, days=1):
    """The point of one encrypted volume, and one that is not."""
    return site.point(launch(site.home, "web", disk("/dev/sdf", Encrypted=True)), days)


def known(site, point):
    found = site.ledger.point(point.id)
    assert found is not None
    return found


def at_home(site):
    """Our snapshots there, and whether they are encrypted."""
    found = site.home.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {one["SnapshotId"]: one["Encrypted"] for one in found}


def passes(site, hours=1):
    for _ in range(hours):
        site.cloud.clock.advance(HOUR)
        site.hear()
        for place in (HERE, PLACE):
            site.done(site.copier.look_after, place)


def test_an_unencrypted_member_is_made_good_in_place_and_then_the_point_is_copied_elsewhere(plain):
    point = half_plain(plain)
    plain.queue(point)
    assert [one.place for one in plain.ledger.copies(point.id)] == [HERE]
    assert len(plain.ledger.slots(HERE).taken) == 1
    assert known(plain, point) == point

    passes(plain)

    good = known(plain, point)
    (old,) = point.plain
    assert (good.status, good.plain) == (point.status, ())
    assert [replace(one, snapshot="", encrypted=True) for one in good.members] == [
        replace(one, snapshot="", encrypted=True) for one in point.members
    ]
    assert at_home(plain) == dict.fromkeys(good.snapshots, True)
    assert old.snapshot not in good.snapshots
    assert good.history[-1].reason.endswith(f" for {old.snapshot}")
    in_place, elsewhere = (plain.ledger.copy(point.id, one) for one in (HERE, PLACE))
    assert (in_place.status, in_place.open) == (CopyStatus.MERGED, False)
    assert {one.of for one in elsewhere.members} == set(good.snapshots)
    passes(plain)
    assert plain.status(point) is CopyStatus.AVAILABLE
    assert {one["Encrypted"] for one in plain.copies()} == {True}
    assert {tag_values(one)[tags.VOLUME] for one in plain.copies()} == {
        one.volume for one in point.members
    }
    assert plain.ledger.point_of(min(good.snapshots)) == good


def test_a_point_that_is_encrypted_is_not_copied_in_place(plain):
    point = plain.point(launch(plain.home, "web", root={"Encrypted": True}))

    plain.queue(point)

    assert [one.place for one in plain.ledger.copies(point.id)] == [PLACE]


def test_without_news_a_sweep_makes_a_point_good(plain):
    point = half_plain(plain)
    plain.queue(point)
    plain.cloud.clock.advance(HOUR)
    plain.cloud.events.clear()

    plain.done(plain.copier.look_after, HERE)

    assert known(plain, point).plain == ()
    assert plain.status(point) is CopyStatus.COPYING


CALLS = 25
"""That follow the news that the copy in place is complete, to the first elsewhere."""


@pytest.mark.parametrize("number", range(CALLS + 1))
def test_who_is_killed_anywhere_leaves_a_point_that_is_whole_and_is_made_good_later(plain, number):
    point = half_plain(plain)
    plain.queue(point)
    plain.cloud.clock.advance(HOUR)
    (event,) = [one for one in plain.cloud.events if one["detail"]["event"] == "copySnapshot"]
    plain.cloud.events.clear()
    plain.cloud.faults.spoil("*", KILL, after=number)
    with suppress(Killed), plain.cloud.running("copy_snapshots"):
        plain.done(plain.copier.settle, copy_event(event))
        assert number == CALLS
    plain.cloud.faults.clear()

    assert set(known(plain, point).snapshots) <= at_home(plain).keys()
    passes(plain, 3)

    assert known(plain, point).plain == ()
    assert at_home(plain) == dict.fromkeys(known(plain, point).snapshots, True)
    assert plain.status(point) is CopyStatus.AVAILABLE
    assert plain.ledger.copy(point.id, HERE).status is CopyStatus.MERGED
    assert plain.ledger.slots(HERE).taken == frozenset()
    assert list(plain.ledger.due(HERE)) == list(plain.ledger.due(PLACE)) == []


def test_news_that_come_again_change_nothing(plain):
    point = half_plain(plain)
    plain.queue(point)
    plain.cloud.clock.advance(HOUR)
    (event,) = [one for one in plain.cloud.events if one["detail"]["event"] == "copySnapshot"]
    for _ in range(2):
        plain.done(plain.copier.settle, copy_event(event))
        plain.queue(point)

    assert known(plain, point).plain == ()
    assert len(plain.copies()) == 2
    assert len([one for one in known(plain, point).history if "in place" in one.reason]) == 1


def test_a_member_that_an_image_uses_stays_until_it_does_not_and_the_point_is_good(plain):
    point = half_plain(plain)
    (old,) = point.plain
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": old.snapshot}}]
    image = plain.home.register_image(
        Name="made of it", RootDeviceName="/dev/xvda", BlockDeviceMappings=mapping
    )["ImageId"]
    plain.queue(point)
    passes(plain, 3)

    assert known(plain, point).plain == ()
    assert plain.status(point) is CopyStatus.AVAILABLE
    assert at_home(plain)[old.snapshot] is False
    in_place = plain.ledger.copy(point.id, HERE)
    assert (in_place.status, in_place.open) == (CopyStatus.AVAILABLE, True)
    assert image in in_place.cause
    plain.home.deregister_image(ImageId=image)
    passes(plain, 12)

    assert old.snapshot not in at_home(plain)
    assert plain.ledger.copy(point.id, HERE).status is CopyStatus.MERGED


def test_one_in_place_that_is_gone_before_the_point_has_it_is_made_again(plain):
    point = half_plain(plain)
    plain.queue(point)
    plain.cloud.clock.advance(HOUR)
    (event,) = [one for one in plain.cloud.events if one["detail"]["event"] == "copySnapshot"]
    plain.cloud.events.clear()
    plain.cloud.faults.spoil("dynamodb.TransactWriteItems", KILL)
    with suppress(Killed), plain.cloud.running("copy_snapshots"):
        plain.done(plain.copier.settle, copy_event(event))
    plain.cloud.faults.clear()
    assert plain.ledger.copy(point.id, HERE).unmerged
    plain.home.delete_snapshot(SnapshotId=event["detail"]["snapshot_id"].rpartition("/")[2])

    plain.done(plain.copier.look_after, HERE)

    assert known(plain, point) == point
    assert set(at_home(plain)) == set(point.snapshots)
    passes(plain, 3)
    assert known(plain, point).plain == ()
    assert at_home(plain) == dict.fromkeys(known(plain, point).snapshots, True)


def test_what_is_not_encrypted_stays_if_its_encrypted_copy_was_deleted_meanwhile(plain):
    point = half_plain(plain)
    (old,) = point.plain
    plain.ledger.hold(point.id, HOLD)
    plain.queue(point)
    passes(plain, 3)
    (new,) = set(known(plain, point).snapshots) - set(point.snapshots)
    plain.home.delete_snapshot(SnapshotId=new)
    plain.ledger.release_hold(point.id)
    passes(plain, 12)

    assert old.snapshot in at_home(plain)
    assert plain.ledger.copy(point.id, HERE).cause == f"{new} is not there any more"


HOLD = Hold(by="anna", why="audit", at=SLOT)


@pytest.mark.parametrize("held", ["point", "source", "tag"])
def test_a_held_member_stays_until_it_is_released(plain, held):
    point = half_plain(plain)
    (old,) = point.plain
    if held == "point":
        plain.ledger.hold(point.id, HOLD)
    elif held == "source":
        plain.ledger.hold_source(point.source.id, HOLD)
    else:
        tag = [{"Key": tags.HOLD, "Value": "anna: audit"}]
        plain.home.create_tags(Resources=[old.snapshot], Tags=tag)
    plain.queue(point)
    passes(plain, 3)

    assert known(plain, point).plain == ()
    assert old.snapshot in at_home(plain)
    assert "audit" in plain.ledger.copy(point.id, HERE).cause
    plain.ledger.release_hold(point.id)
    plain.ledger.release_source(point.source.id)
    plain.home.delete_tags(Resources=[old.snapshot], Tags=[{"Key": tags.HOLD}])
    passes(plain, 12)

    assert old.snapshot not in at_home(plain)


@pytest.mark.parametrize("deleted", [False, True])
def test_of_a_point_that_went_meanwhile_nothing_stays(plain, deleted):
    point = half_plain(plain)
    plain.queue(point)
    plain.ledger.expire(point, SLOT, "a person wants it")
    if deleted:
        plain.cloud.clock.advance(HOUR)
        plain.home.delete_snapshot(SnapshotId=point.plain[0].snapshot)
        plain.ledger.deleted(point.id, SLOT)
    passes(plain)

    (encrypted,) = (one.snapshot for one in point.members if one.encrypted)
    # That is for who deletes the point.
    assert at_home(plain) == {encrypted: True}
    assert plain.ledger.copy(point.id, HERE).status is CopyStatus.DELETED
    assert plain.ledger.copy(point.id, PLACE) is None
    assert list(plain.ledger.due(HERE)) == []


def test_a_member_that_is_copied_elsewhere_still_stays_until_that_is_done(plain):
    as_is = a_policy(copies=(Copy(region=AWAY),))
    point = half_plain(plain)
    (old,) = point.plain
    plain.cloud.ec2.outcomes[old.snapshot] = Outcome(duration=5 * HOUR)
    plain.policies.known, required = {"web-daily": as_is}, plain.policies.known
    plain.queue(point)
    plain.policies.known = required
    plain.cloud.ec2.outcomes.clear()
    plain.queue(point)
    passes(plain)

    assert known(plain, point).plain == ()
    assert old.snapshot in at_home(plain)
    passes(plain, 12)

    assert plain.status(point) is CopyStatus.AVAILABLE
    assert old.snapshot not in at_home(plain)


def test_encrypted_copies_that_are_there_already_are_taken_when_all_records_are_lost(plain):
    point = half_plain(plain)
    plain.cloud.faults.spoil("ec2.DeleteSnapshot", DENIED, times=99)
    plain.queue(point)
    passes(plain)
    good = known(plain, point)
    plain.cloud.faults.clear()
    client = plain.cloud.client("dynamodb", HOME)
    client.delete_table(TableName=table.NAME)
    table.create(client)
    found = plain.copier.at(HERE).snapshots_of_points([point.id])[point.id]
    again = mending.rebuilt(found, region=HOME, account=ACCOUNT, now=plain.cloud.clock.now())
    assert again is not None
    assert set(again.snapshots) == set(point.snapshots)
    plain.ledger.rebuild(again)

    plain.queue(point)
    passes(plain, 3)

    assert set(known(plain, point).snapshots) == set(good.snapshots)
    assert at_home(plain) == dict.fromkeys(good.snapshots, True)


def test_a_point_that_was_made_good_is_had_back_from_the_tags_of_its_members(plain):
    point = half_plain(plain)
    plain.queue(point)
    passes(plain)
    good = known(plain, point)

    found = plain.copier.at(HERE).snapshots_of_points([point.id])[point.id]
    again = mending.rebuilt(found, region=HOME, account=ACCOUNT, now=plain.cloud.clock.now())

    assert again is not None
    assert again.status is point.status
    assert {(one.snapshot, one.volume) for one in again.members} == {
        (one.snapshot, one.volume) for one in good.members
    }
    assert again.plain == ()


def test_a_point_that_was_made_good_is_judged_by_the_tags_of_all_its_members_and_is_not_lost(plain):
    point = half_plain(plain)
    plain.queue(point)
    passes(plain, 3)
    series = Originals(plain.policies.get("web-daily"), plain.ledger, plain.copier.at, {})
    found = series.found(plain.copier.at(HERE), [point])[point.id]
    now = plain.cloud.clock.now()

    assert pruning.lost(known(plain, point), found, now) is None
    # Nor if it was read before it was made good, and its members are looked for after.
    assert pruning.lost(point, found, now) is None
    assert {series.point_of(one) for one in found} == {point.id}
    away = plain.copier.at(PLACE).snapshots_of_points([point.id])[point.id]
    assert {series.point_of(one) for one in away} == {None}


# a ledger that is lost


def test_copies_are_had_back_from_the_tags_of_their_snapshots_when_the_ledger_is_lost(site):
    point = site.point(two_disks(site))
    site.queue(point)
    site.days()
    before = site.ledger.copy(point.id, PLACE)
    broken = site.copies()[0]["SnapshotId"]
    table.empty(site.cloud.client("dynamodb", HOME))
    progress = Progress(Watch(site.cloud), site.cloud.clock.now())
    rebuilding = Rebuilding(site.copier.at, site.ledger, Patience(lease=MINUTE))

    for _ in range(2):
        rebuilding.rebuild_copies(PLACE, progress)

    assert progress.done["rebuilt"] == 1
    after = site.ledger.copy(point.id, PLACE)
    assert after.status is CopyStatus.AVAILABLE
    assert (after.id, after.source, after.slot) == (before.id, before.source, before.slot)
    kept = ("of", "snapshot", "volume", "size_gib", "encrypted")
    assert [[getattr(one, name) for name in kept] for one in after.members] == [
        [getattr(one, name) for name in kept] for one in before.members
    ]
    assert [one.id for one in site.ledger.copies_of(point.source.id, PLACE)] == [before.id]
    # One that is not whole is of no use.
    site.away.delete_snapshot(SnapshotId=broken)
    table.empty(site.cloud.client("dynamodb", HOME))
    rebuilding.rebuild_copies(PLACE, progress)
    assert site.ledger.copy(point.id, PLACE) is None


# what a reviewer found


def test_a_held_copy_that_breaks_gives_its_slot_back_and_is_made_anew(site):
    point = site.point(launch(site.home, "web"))
    site.home.create_tags(Resources=list(point.snapshots), Tags=[{"Key": tags.HOLD, "Value": "x"}])
    site.cloud.ec2.outcomes[point.snapshots[0]] = Outcome(error="broken")
    site.queue(point)
    site.cloud.clock.advance(HOUR)
    # As IAM does with what bears a hold.
    site.cloud.faults.spoil("ec2.DeleteSnapshot", DENIED, times=99)
    site.hear()
    assert site.ledger.slots(PLACE).taken == frozenset()
    site.cloud.ec2.outcomes.clear()
    site.days()

    assert site.status(point) is CopyStatus.AVAILABLE
    assert sorted(one["State"] for one in site.copies()) == ["completed", "error"]


def test_when_a_member_is_gone_no_other_is_copied_and_what_was_goes(site):
    point = site.point(two_disks(site))
    site.cloud.ec2.copy_slots = 1
    site.look_after()
    site.queue(point)
    second = point.snapshots[1]
    site.home.delete_snapshot(SnapshotId=second)
    site.cloud.clock.advance(2 * HOUR)
    site.hear()
    site.days()

    assert site.status(point) is CopyStatus.FAILED
    assert site.copies() == []
    assert site.ledger.slots(PLACE).taken == frozenset()


def test_a_source_that_is_gone_needs_no_unsharing(abroad):
    point = abroad.point(launch(abroad.home, "web"))
    abroad.queue(point)
    abroad.cloud.clock.advance(HOUR)
    abroad.home.delete_snapshot(SnapshotId=point.snapshots[0])
    abroad.cloud.faults.spoil("ec2.ModifySnapshotAttribute", DENIED, times=99)

    abroad.hear()
    abroad.look_after()

    assert abroad.status(point) is CopyStatus.AVAILABLE
    assert list(abroad.ledger.due(abroad.place)) == []


def test_a_snapshot_that_cannot_be_copied_is_a_failure_of_its_own_and_takes_no_slot(site):
    bad, good = (site.point(launch(site.home, name)) for name in ("bad", "good"))
    site.cloud.faults.spoil("ec2.CopySnapshot", ARCHIVED, times=1)

    done = [site.queue(one) for one in (bad, good)]

    assert "is archived" in done[0].failed[0].cause
    assert site.status(good) is CopyStatus.COPYING
    assert site.ledger.slots(PLACE).shrunk_to is None


def test_a_refused_look_at_the_quotas_stops_nothing(site):
    point = site.point(launch(site.home, "web"))
    site.cloud.faults.spoil("service-quotas.*", AwsError("AccessDeniedException", "no", 400))
    with pytest.raises(AccessDenied):
        site.look_after()
    site.queue(point)

    assert site.status(point) is CopyStatus.COPYING
    assert site.ledger.slots(PLACE).limit(site.cloud.clock.now()) == SLOTS
    site.look_after()
