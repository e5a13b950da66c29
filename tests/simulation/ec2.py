"""EC2 in one Region, as far as Lastgood needs it: a model of AWS on the ports of the product.

Sources: EBS User Guide, "Quotas for Amazon EBS" (pending snapshots and spacing of a volume) and
"multi-volume snapshots"; EC2 Developer Guide, "Request throttling" and "Eventual consistency".
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lastgood.domain import tags as keys
from lastgood.domain.ended import Ended, SnapshotsEnded
from lastgood.domain.manifest import Instance, LaunchAttributes, Volume
from lastgood.domain.model import Member, MemberState, Tagged
from lastgood.domain.names import instant
from lastgood.domain.requests import TakeRequest
from lastgood.ports import Page
from tests.cloud.ec2.throttling import Api, Buckets
from tests.simulation.agenda import MINUTE, SECOND, Agenda
from tests.simulation.trouble import refusal

ACCOUNT = "123456789012"
PENDING_PER_VOLUME = 5
CREATING = ("CreateSnapshot", "CreateSnapshots")
SPACING = timedelta(seconds=15)
PAGE = 50
"""Smaller than EC2's 1,000, so that 200 sources make several pages."""


class Snapshot:
    """``call`` numbers the creating call that made it; ``whole`` is how many that made."""

    __slots__ = ("call", "deleting", "ended_at", "fails", "member", "shown_from", "tags", "whole")

    def __init__(
        self, member: Member, tags: Mapping[str, str], call: int, shown_from: datetime
    ) -> None:
        self.member = member
        self.tags = tags
        self.call = call
        self.whole: list[Snapshot] = [self]
        self.shown_from = shown_from
        self.ended_at: datetime | None = None
        self.fails = False
        self.deleting = False


class Region:
    """``tell``: who gets EBS's events. ``locked``: volumes whose KMS key is disabled."""

    def __init__(self, name: str, agenda: Agenda, tell: Callable[[SnapshotsEnded], None]) -> None:
        self.region = name
        self.fleet: dict[str, Instance] = {}
        self.disks: dict[str, Volume] = {}
        self.of_point: dict[str, list[Snapshot]] = {}
        self.by_id: dict[str, Snapshot] = {}
        self.of_run: dict[str, set[str]] = defaultdict(set)
        self.twice: dict[str, None] = {}
        """Points for which more than one call made snapshots."""
        self.locked: set[str] = set()
        self.down_until: datetime = agenda.time
        self.busy_until: datetime = agenda.time
        """Somebody else draws on the buckets until then."""
        self.broken_tags: list[str] = []
        self._agenda = agenda
        self._tell = tell
        self._buckets = Buckets()
        self._calls = 0
        self._pending: dict[str, int] = defaultdict(int)
        self._last_start: dict[str, datetime] = {}

    # describes

    def instances(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Instance]]:
        return self._paged("DescribeInstances", self.fleet.values(), tags, start)

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        self._ask("DescribeInstances")
        return {id_: self.fleet[id_] for id_ in sorted(set(ids)) if id_ in self.fleet}

    def volumes(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Volume]]:
        return self._paged("DescribeVolumes", self.disks.values(), tags, start)

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        self._ask("DescribeVolumes")
        return {id_: self.disks[id_] for id_ in sorted(set(ids)) if id_ in self.disks}

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes:
        self._ask("GetLaunchTemplateData")
        if instance.id not in self.fleet:
            raise refusal("InvalidInstanceID.NotFound", f"read {instance.id}")
        return LaunchAttributes(read_at=at, launched_at=instance.launched_at)

    def snapshots_of(self, point: str) -> tuple[Member, ...]:
        return tuple(one.member for one in self.snapshots_of_points([point]).get(point, ()))

    def snapshots_of_points(self, points: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        found = {}
        for some in _chunks(sorted(set(points)), 200):
            self._ask("DescribeSnapshots")
            for point in some:
                if shown := self._shown(self.of_point.get(point, ())):
                    found[point] = tuple(sorted(shown, key=_age))
        return found

    def own_snapshots(self, run: str | None = None) -> Iterator[Page[Tagged]]:
        points = sorted(self.of_run.get(run, ())) if run else list(self.of_point)
        shown = [one for point in points for one in self._shown(self.of_point.get(point, ()))]
        for some in _chunks(shown, 1000):
            self._ask("DescribeSnapshots")
            yield Page(some, "more" if some[-1] is not shown[-1] else None)

    def _shown(self, snapshots: Iterable[Snapshot]) -> list[Tagged]:
        now = self._agenda.time
        return [Tagged(one.member, one.tags) for one in snapshots if one.shown_from <= now]

    def _paged(
        self,
        operation: str,
        things: Iterable[Any],
        tags: Mapping[str, tuple[str, ...]],
        start: str | None,
    ) -> Iterator[Page[Any]]:
        found = [
            one
            for one in things
            if all(one.tags.get(key) in wanted for key, wanted in tags.items())
        ]
        if start is not None and self._agenda.chance(0.1):
            raise refusal("InvalidPaginationToken", operation)
        begin = int(start or 0)
        for first in range(begin, max(len(found), 1), PAGE):
            self._ask(operation)
            after = first + PAGE
            yield Page(found[first:after], str(after) if after < len(found) else None)

    def _ask(self, operation: str) -> None:
        """Raises Throttled, Unavailable."""
        now = self._agenda.time
        if now < self.down_until:
            raise refusal("Unavailable", f"{operation} in {self.region}")
        # botocore tries reads five times before it lets us know.
        refused = 0.5 if operation in CREATING else 0.03
        if now < self.busy_until and self._agenda.chance(refused):
            raise refusal("RequestLimitExceeded", f"{operation} in {self.region}")
        if not self._buckets.take(Api(ACCOUNT, self.region, operation), now):
            self._agenda.note("throttled", operation)
            raise refusal("RequestLimitExceeded", f"{operation} in {self.region}")

    # creating and deleting

    def snapshot_set(
        self, request: TakeRequest, tags: Mapping[str, str], *, copy_tags: bool
    ) -> tuple[Member, ...]:
        what = f"create the snapshots of {request.source.id}"
        self._ask("CreateSnapshots")
        instance = self.fleet.get(request.source.id)
        if instance is None:
            raise refusal("InvalidInstanceID.NotFound", what)
        if instance.state == "terminated":
            raise refusal("IncorrectInstanceState", what)
        if instance.hibernation:
            raise refusal("UnsupportedOperation", what)
        data = set(instance.volumes.values()) - {instance.root_volume}
        if not data.issuperset(request.excluded):
            raise refusal("InvalidParameterValue", what)
        out = {*request.excluded, *([instance.root_volume] if request.exclude_boot else [])}
        volumes = [self.disks[one] for one in instance.volumes.values() if one not in out]
        if not volumes:
            raise refusal("InvalidParameterValue", what)
        return self._create(volumes, request, tags, copy_tags=copy_tags)

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        self._ask("CreateSnapshot")
        there = self.disks.get(volume.id)
        if there is None:
            raise refusal("InvalidVolume.NotFound", f"create the snapshot of {volume.id}")
        return self._create([there], request, tags, copy_tags=False)[0]

    def delete_snapshot(self, snapshot: str) -> None:
        """A pending one goes when it is over."""
        self._ask("DeleteSnapshot")
        one = self.by_id.get(snapshot)
        if one is None:
            return
        if one.member.state is MemberState.PENDING:
            one.deleting = True
        else:
            self._remove(one)

    def _create(
        self,
        volumes: Sequence[Volume],
        request: TakeRequest,
        tags: Mapping[str, str],
        *,
        copy_tags: bool,
    ) -> tuple[Member, ...]:
        """All or nothing."""
        now = self._agenda.time
        what = f"take {request.source.id}"
        for volume in volumes:
            if volume.id in self.locked:
                raise refusal("InvalidKMSKey.InvalidState", what)
            if self._pending[volume.id] >= PENDING_PER_VOLUME:
                raise refusal("ConcurrentSnapshotLimitExceeded", what)
            last = self._last_start.get(volume.id)
            if last is not None and now - last < SPACING:
                raise refusal("SnapshotCreationPerVolumeRateExceeded", what)
        self._check_tags(request, tags)
        self._calls += 1
        shown_from = now + timedelta(seconds=self._lag())
        whole: list[Snapshot] = []
        for volume in volumes:
            member = Member(
                snapshot=f"snap-{self._agenda.random.getrandbits(68):017x}",
                volume=volume.id,
                size_gib=volume.size_gib,
                encrypted=volume.encrypted,
                started_at=now,
            )
            all_tags = {**volume.tags, **tags} if copy_tags and volume.tags else tags
            one = Snapshot(member, all_tags, self._calls, shown_from)
            one.fails = self._agenda.chance(self._agenda.weather.broken)
            whole.append(one)
            self.by_id[member.snapshot] = one
            self._pending[volume.id] += 1
            self._last_start[volume.id] = now
            self._agenda.after(self._takes(), self._end, one)
        self._enter(request, whole)
        return tuple(one.member for one in whole)

    def _enter(self, request: TakeRequest, whole: list[Snapshot]) -> None:
        known = self.of_point.setdefault(request.point, [])
        if request.method.value != "one-by-one":
            for one in whole:
                one.whole = whole
            again = bool(known)
        else:
            again = any(one.member.volume == whole[0].member.volume for one in known)
        if again:
            self.twice[request.point] = None
            self._agenda.note("made twice", request.point)
        known.extend(whole)
        self.of_run[request.run].add(request.point)
        self._agenda.note("creating calls", request.point)

    def _check_tags(self, request: TakeRequest, tags: Mapping[str, str]) -> None:
        wanted = {
            keys.POINT: request.point,
            keys.POLICY: request.policy,
            keys.RUN: request.run,
            keys.SLOT: instant(request.slot),
            keys.SOURCE: request.source.id,
            keys.METHOD: request.method.value,
            keys.MEMBERS: str(len(request.volumes)),
        }
        if not wanted.items() <= tags.items():
            self.broken_tags.append(f"{request.point} was to be made with the tags {tags}")

    def _lag(self) -> float:
        """Seconds until describes show it. The product reckons with two minutes at most."""
        return self._agenda.between(0, self._agenda.weather.lag)

    def _takes(self) -> float:
        """Seconds. Most take minutes; one in 300, hours."""
        if self._agenda.chance(0.003):
            return self._agenda.between(3600, 6 * 3600)
        return self._agenda.between(20, 900)

    def _end(self, one: Snapshot) -> None:
        if one.member.state is not MemberState.PENDING:
            return
        if one.fails:
            self._agenda.note("snapshots in error", one.member.snapshot)
            self._settle(one, MemberState.ERROR, "An internal error occurred")
            for other in one.whole:
                if other.member.state is MemberState.PENDING:
                    self._settle(other, MemberState.ERROR, None)
                elif other is not one:
                    other.member = replace(other.member, state=MemberState.ERROR)
        else:
            self._settle(one, MemberState.COMPLETED, None)
        of_set = one.tags[keys.METHOD] == "set"
        if of_set and all(each.member.state is not MemberState.PENDING for each in one.whole):
            self._say(one.whole)

    def _settle(self, one: Snapshot, state: MemberState, cause: str | None) -> None:
        one.member = replace(one.member, state=state, cause=cause)
        one.ended_at = self._agenda.time
        self._pending[one.member.volume] -= 1
        self._say([one])
        if one.deleting:
            self._remove(one)

    def _say(self, ended: Sequence[Snapshot]) -> None:
        """EBS's event: of one snapshot, or of all of a set."""
        self._tell(
            SnapshotsEnded(
                account=ACCOUNT,
                region=self.region,
                at=self._agenda.time.replace(microsecond=0),
                started_at=ended[0].member.started_at.replace(microsecond=0),
                snapshots=tuple(
                    Ended(
                        snapshot=one.member.snapshot,
                        state=one.member.state,
                        cause=None if one.member.state is MemberState.COMPLETED else "EBS says so",
                    )
                    for one in ended
                ),
            )
        )

    def _remove(self, one: Snapshot) -> None:
        self.of_point[one.tags[keys.POINT]].remove(one)
        del self.by_id[one.member.snapshot]
        self._agenda.note("surplus removed", one.member.snapshot)

    # what others do

    def hold(self, volume: str, until: datetime) -> None:
        """Somebody else's snapshots of the volume are pending until then."""
        self._pending[volume] += PENDING_PER_VOLUME
        self._agenda.at(until, self._let_go, volume)

    def _let_go(self, volume: str) -> None:
        self._pending[volume] -= PENDING_PER_VOLUME

    def draw(self, minutes: float) -> None:
        self.busy_until = self._agenda.time + minutes * MINUTE

    def fall(self, seconds: float) -> None:
        self.down_until = self._agenda.time + seconds * SECOND


def _age(one: Tagged) -> tuple[datetime, str]:
    return one.member.started_at, one.member.snapshot


def _chunks(things: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
