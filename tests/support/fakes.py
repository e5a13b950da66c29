"""The world of the use cases, made by hand: each fake fits a Protocol of ``lastgood.ports``.

``Steps`` counts the calls that a use case makes to its ports, and lets a test step in at any of
them: to raise, to kill, to let another worker run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from lastgood.domain import tags as tag_keys
from lastgood.domain.ended import Ended, SnapshotsEnded
from lastgood.domain.manifest import Instance, LaunchAttributes, Volume
from lastgood.domain.model import Member, MemberState, Point, Tagged
from lastgood.domain.notices import Notice
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy
from lastgood.domain.prune_plan import Part, PruneMessage
from lastgood.domain.requests import TakeRequest
from lastgood.domain.restoring import CommandCheck, Restore, RestoreRequest
from lastgood.errors import (
    AccessDenied,
    AlreadyDone,
    CallRefused,
    InUse,
    SourceGone,
    UnknownPolicy,
    UnknownTarget,
)
from lastgood.ports import CommandResult, Deployed, Page
from tests.cloud.killed import Killed
from tests.support.builders import SOURCE, T0, a_volume, an_instance

Action = Callable[[], None]
ANY = ""
"""Of ``Steps``: whatever the call is."""


def die() -> None:
    raise Killed


def raising(error: Exception) -> Action:
    def action() -> None:
        raise error

    return action


@dataclass
class Steps:
    """The calls to all watched ports, in order, by names such as ``compute.snapshot_set``."""

    taken: list[str] = field(default_factory=list)
    _planned: dict[tuple[str, int, bool], Action] = field(default_factory=dict)
    _seen: Counter[str] = field(default_factory=Counter)

    def watch(self, name: str, port: Any) -> Any:
        return _Watched(name, port, self)

    def at(self, step: str, action: Action, *, nth: int = 1, after: bool = False) -> None:
        """Do ``action`` once: just before the ``nth`` call of ``step`` from now on, or once it
        had its effect but has not answered yet (``after``)."""
        self._planned[step, self._seen[step] + nth, after] = action

    def at_call(self, nth: int, action: Action, *, after: bool = False) -> None:
        """As ``at``, of all calls to all ports."""
        self._planned[ANY, len(self.taken) + nth, after] = action

    def run(self, step: str, call: Callable[[], Any]) -> Any:
        self.taken.append(step)
        self._seen[step] += 1
        here = ((step, self._seen[step]), (ANY, len(self.taken)))
        for name, number in here:
            self._planned.pop((name, number, False), _nothing)()
        result = call()
        for name, number in here:
            self._planned.pop((name, number, True), _nothing)()
        return result


def _nothing() -> None:
    pass


class _Watched:
    def __init__(self, name: str, port: Any, steps: Steps) -> None:
        self._name, self._port, self._steps = name, port, steps

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._steps.run(f"{self._name}.{attribute}", lambda: value(*args, **kwargs))

        return call


@dataclass
class FakeClock:
    time: datetime = T0
    time_left: timedelta = timedelta(minutes=15)

    def now(self) -> datetime:
        return self.time

    def left(self) -> timedelta:
        return self.time_left

    def advance(self, by: timedelta) -> None:
        self.time += by


@dataclass
class Made:
    """A snapshot of the fake EC2."""

    member: Member
    tags: dict[str, str]
    shown_from: datetime


@dataclass
class FakeCompute:
    """EC2 in one Region. ``lag``: how long describes do not show a new snapshot."""

    clock: FakeClock
    region: str = SOURCE.region
    fleet: dict[str, Instance] = field(default_factory=dict)
    disks: dict[str, Volume] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    lag: timedelta = timedelta(0)
    page: int = 2
    sets: int = 0
    asked: list[tuple[str, ...]] = field(default_factory=list)
    copied_tags: list[bool] = field(default_factory=list)
    user_data: str | None = None
    in_use: set[str] = field(default_factory=set)
    locks: dict[str, str] = field(default_factory=dict)
    archive: dict[str, datetime] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    stale_token: str = "stale"
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def instances(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Instance]]:
        found = [one for one in self.fleet.values() if _match(one.tags, tags)]
        return self._pages(found, start)

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        wanted = tuple(ids)
        self.asked.append(wanted)
        return {id_: self.fleet[id_] for id_ in wanted if id_ in self.fleet}

    def volumes(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Volume]]:
        return self._pages([one for one in self.disks.values() if _match(one.tags, tags)], start)

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        wanted = tuple(ids)
        self.asked.append(wanted)
        return {id_: self.disks[id_] for id_ in wanted if id_ in self.disks}

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes:
        return LaunchAttributes(
            read_at=at, launched_at=instance.launched_at, user_data=self.user_data
        )

    def snapshot_set(
        self, request: TakeRequest, tags: Mapping[str, str], *, copy_tags: bool
    ) -> tuple[Member, ...]:
        instance = self.fleet.get(request.source.id)
        if instance is None:
            raise SourceGone(f"there is no instance {request.source.id}")
        self.sets += 1
        self.copied_tags.append(copy_tags)
        out = set(request.excluded)
        if request.exclude_boot and instance.root_volume:
            out.add(instance.root_volume)
        volumes = [id_ for id_ in instance.volumes.values() if id_ not in out]
        if not volumes:
            raise CallRefused(f"{instance.id} has no volume to take")
        return tuple(self._make(id_, tags) for id_ in volumes)

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        if volume.id not in self.disks:
            raise SourceGone(f"there is no volume {volume.id}")
        return self._make(volume.id, tags)

    def snapshots_of(self, point: str) -> tuple[Member, ...]:
        return tuple(one.member for one in self.snapshots_of_points([point]).get(point, ()))

    def snapshots_of_points(self, points: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        return self._by_tag(tag_keys.POINT, points)

    def copies_made(self, operations: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        return self._by_tag(tag_keys.COPY, operations)

    def _by_tag(self, key: str, values: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        found: dict[str, tuple[Tagged, ...]] = {}
        wanted = set(values)
        for one in self._shown():
            value = one.tags.get(key, "")
            if value in wanted:
                found[value] = (*found.get(value, ()), one)
        return found

    def own_snapshots(self, run: str | None = None) -> Iterator[Page[Tagged]]:
        found = [
            one
            for one in self._shown()
            if tag_keys.POINT in one.tags and run in (None, one.tags.get(tag_keys.RUN))
        ]
        return self._pages(found, None)

    def snapshots_tagged(
        self, policy: str, tags: Mapping[str, tuple[str, ...]]
    ) -> Iterator[Page[Tagged]]:
        found = [
            one
            for one in self._shown()
            if one.tags.get(tag_keys.POLICY) == policy
            and all(key in one.tags for key in tags)
            and _match(one.tags, {key: values for key, values in tags.items() if values})
        ]
        return self._pages(found, None)

    def snapshot(self, snapshot: str) -> Tagged | None:
        return next((one for one in self._shown() if one.member.snapshot == snapshot), None)

    def tagged(self, key: str, value: str) -> list[Tagged]:
        """As far as describes show them."""
        return [one for one in self._shown() if one.tags.get(key) == value]

    def copy_snapshot(
        self,
        snapshot: str,
        source_region: str,
        tags: Mapping[str, str],
        *,
        key: str | None,
        encrypted: bool,
        minutes: int | None,
    ) -> str:
        if snapshot in self.refused:
            raise AlreadyDone(f"there is no {snapshot} in {source_region}")
        return self._make("vol-ffffffff", tags).snapshot

    def locked(self) -> dict[str, str]:
        return dict(self.locks)

    def images_of(self, snapshots: Iterable[str]) -> dict[str, str]:
        return {one: "used by ami-1" for one in snapshots if one in self.in_use}

    def archived_at(self, snapshots: Iterable[str]) -> dict[str, datetime]:
        return {one: self.archive[one] for one in snapshots if one in self.archive}

    def tag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        for one in self.made.keys() & set(snapshots):
            self.made[one].tags.setdefault(key, value)

    def untag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        for one in self.made.keys() & set(snapshots):
            if self.made[one].tags.get(key) == value:
                del self.made[one].tags[key]

    def delete_snapshot(self, snapshot: str) -> None:
        if snapshot in self.in_use or snapshot in self.locks:
            raise InUse(f"{snapshot} is in use by ami-1")
        if snapshot in self.refused:
            raise AccessDenied(f"delete {snapshot}: UnauthorizedOperation")
        self.made.pop(snapshot, None)

    def _shown(self) -> list[Tagged]:
        now = self.clock.now()
        found = [
            Tagged(one.member, one.tags, archived=one.member.snapshot in self.archive)
            for one in self.made.values()
            if one.shown_from <= now
        ]
        return sorted(found, key=lambda one: (one.member.started_at, one.member.snapshot))

    def _pages(self, things: Sequence[Any], start: str | None) -> Iterator[Page[Any]]:
        """A token is where its page begins."""
        if start == self.stale_token:
            raise CallRefused("InvalidPaginationToken")
        begin = int(start or 0)
        for first in range(begin, len(things), self.page):
            after = first + self.page
            yield Page(things[first:after], str(after) if after < len(things) else None)

    # what happens in EC2 by itself, or by other hands

    def put(self, *things: Instance | Volume) -> None:
        for thing in things:
            if isinstance(thing, Instance):
                self.fleet[thing.id] = thing
            else:
                self.disks[thing.id] = thing

    def put_fleet(self, names: Iterable[str], **given: Any) -> None:
        """Instances, each with one volume of its own."""
        for name in names:
            self.put(
                an_instance(f"i-{name}", volumes={"/dev/sda1": f"vol-{name}"}, **given),
                a_volume(f"vol-{name}"),
            )

    def end(
        self,
        snapshot: str,
        state: MemberState = MemberState.COMPLETED,
        cause: str | None = None,
    ) -> None:
        made = self.made[snapshot]
        self.made[snapshot] = replace(made, member=replace(made.member, state=state, cause=cause))

    def end_all(self) -> None:
        for snapshot in self.made:
            self.end(snapshot)

    def _make(self, volume: str, tags: Mapping[str, str]) -> Member:
        member = Member(
            snapshot=f"snap-{next(self._ids):03}",
            volume=volume,
            size_gib=8,
            encrypted=True,
            started_at=self.clock.now(),
        )
        self.made[member.snapshot] = Made(member, dict(tags), self.clock.now() + self.lag)
        return member


def _match(has: Mapping[str, str], wanted: Mapping[str, tuple[str, ...]]) -> bool:
    """As EC2 filters: it does not know what a policy excludes."""
    return all(has.get(key) in values for key, values in wanted.items())


@dataclass
class FakeBus:
    announced: list[Point] = field(default_factory=list)

    def announce(self, point: Point, *, repeat: bool = False) -> None:
        self.announced.append(point)


@dataclass
class FakeQueue:
    sends: list[list[TakeRequest]] = field(default_factory=list)

    def send(self, requests: Iterable[TakeRequest]) -> int:
        self.sends.append(list(requests))
        return len(self.sends[-1])

    @property
    def requests(self) -> list[TakeRequest]:
        return [one for sent in self.sends for one in sent]


@dataclass
class FakePruneQueue:
    messages: list[PruneMessage] = field(default_factory=list)

    def send(self, messages: Iterable[PruneMessage]) -> None:
        self.messages += messages


@dataclass
class FakePlans:
    parts: dict[tuple[str, int], Part] = field(default_factory=dict)

    def put(self, part: Part) -> None:
        self.parts[part.plan, part.number] = part

    def get(self, policy: str, plan: str, part: int) -> Part:
        if (plan, part) not in self.parts:
            raise UnknownTarget(f"part {part} of {plan} is not stored any more")
        return self.parts[plan, part]

    def place(self, policy: str, plan: str) -> str:
        return f"s3://plans/{policy}/{plan}/"


@dataclass
class FakePruners:
    asked: list[tuple[str, datetime, bool]] = field(default_factory=list)

    def ask(self, policy: str, slot: datetime, *, dry_run: bool = False) -> None:
        self.asked.append((policy, slot, dry_run))


@dataclass
class FakePlanners:
    asked: list[tuple[str, datetime, str | None]] = field(default_factory=list)

    def ask(self, policy: str, slot: datetime, source: str | None = None) -> None:
        self.asked.append((policy, slot, source))


@dataclass
class FakeNotices:
    told: list[Notice] = field(default_factory=list)

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)


@dataclass
class FakeCopyQueue:
    places: list[Place] = field(default_factory=list)

    def send(self, places: Iterable[Place]) -> None:
        self.places += places


class FakeRestoreMachine:
    """``RestoreMachine``; ``working`` are the restores at which an execution works, ``waiting`` the
    tokens with which one waits."""

    def __init__(self) -> None:
        self.working: set[str] = set()
        self.started: list[tuple[str, str]] = []
        self.waiting: set[str] = set()
        self.approved: list[str] = []
        self.declined: dict[str, str] = {}
        self._names: set[str] = set()

    def start(self, restore: str, entry: str, name: str) -> str:
        if name not in self._names:
            self._names.add(name)
            self.started.append((restore, entry))
        return name

    def approve(self, token: str) -> None:
        self._goes_on(token)
        self.approved.append(token)

    def decline(self, token: str, why: str) -> None:
        self._goes_on(token)
        self.declined[token] = why

    def _goes_on(self, token: str) -> None:
        if token not in self.waiting:
            raise AlreadyDone("it waits no more")
        self.waiting.remove(token)

    def at_work(self, restore: str) -> bool:
        return restore in self.working


@dataclass
class FakeEndings:
    set_for: dict[str, datetime] = field(default_factory=dict)

    def set(self, restore: str, at: datetime) -> None:
        self.set_for[restore] = at

    def clear(self, restore: str) -> None:
        self.set_for.pop(restore, None)


@dataclass
class FakeNews:
    told: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def announce(self, restore: Restore, what: str) -> None:
        self.told.append(what)

    def refuse(self, restore: str, request: RestoreRequest, what: str) -> None:
        self.refused.append(what)


@dataclass
class FakeCommands:
    """SSM. ``reaches``: whether an agent has reported; ``answers``: what becomes of a command, one
    after another; the last one stays."""

    reaches: bool = True
    answers: list[CommandResult | None] = field(
        default_factory=lambda: [CommandResult(over=True, ok=True, output="fine")]
    )
    sent: list[str] = field(default_factory=list)

    def managed(self, instance: str) -> bool:
        return self.reaches

    def send(self, instance: str, check: CommandCheck, comment: str) -> str:
        self.sent.append(instance)
        return f"command-{len(self.sent)}"

    def result(self, command: str, instance: str) -> CommandResult | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass
class FakePolicies:
    """``since``: when all of them were deployed."""

    known: dict[str, Policy]
    since: datetime = T0 - timedelta(days=30)

    def all(self) -> list[Deployed]:
        return [Deployed(self.known[name], self.since) for name in sorted(self.known)]

    def get(self, name: str) -> Policy:
        if name not in self.known:
            raise UnknownPolicy(f"no policy {name!r} is deployed")
        return self.known[name]


def an_event(*snapshots: str, state: MemberState = MemberState.COMPLETED, **given: Any) -> Any:
    """EBS's event that these snapshots ended: of a set if there are several, else of one."""
    facts: dict[str, Any] = {
        "account": SOURCE.account,
        "region": SOURCE.region,
        "at": T0 + timedelta(minutes=3),
        "started_at": T0,
    }
    cause = given.pop("cause", None)
    ended = tuple(Ended(snapshot=one, state=state, cause=cause) for one in snapshots)
    return SnapshotsEnded(snapshots=ended, **facts | given)
