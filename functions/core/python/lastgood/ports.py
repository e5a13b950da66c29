"""What the use cases need of the world. ``aws/`` and ``ledger/`` provide it, tests stand in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from lastgood.domain.chat_permissions import Permissions
from lastgood.domain.conversing import ChatRefusal, Conversation
from lastgood.domain.copying import PointCopy, Slots
from lastgood.domain.ended import Ended
from lastgood.domain.launching import Disk, Launch
from lastgood.domain.manifest import Instance, LaunchAttributes, Manifest, Volume
from lastgood.domain.model import (
    Claim,
    Doubt,
    Failure,
    Hold,
    Member,
    Outcome,
    Planned,
    Point,
    Proof,
    Run,
    Source,
    SourceRecord,
    Tagged,
)
from lastgood.domain.notices import Notice
from lastgood.domain.place import Place
from lastgood.domain.policy import Policy, TagMatch
from lastgood.domain.preflight import Group, Image, InstanceType, Subnet
from lastgood.domain.prune_plan import Applied, Part, PruneMessage, PrunePlan
from lastgood.domain.requests import TakeRequest
from lastgood.domain.restoring import CommandCheck, Restore, RestoreRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery of a message. ``owner`` is unique to it; ``last`` says no other will follow."""

    owner: str
    attempt: int = 1
    last: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """``changed`` is False when the point had ended that way before."""

    point: Point
    changed: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """``lease``: how long a worker may hold a point, no shorter than it can run.

    ``describes``: how long EC2's describes may not show what was made.
    """

    lease: timedelta
    describes: timedelta = timedelta(minutes=2)

    @property
    def lag(self) -> timedelta:
        """From a claim on, how long an absence proves nothing: a worker's last call, and then
        the time that describes may need."""
        return self.lease + self.describes


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of what there is; ``next`` is where to go on, None at the end."""

    items: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """A policy, and since when it has been as it is."""

    policy: Policy
    since: datetime


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, with a time zone."""
        ...

    def left(self) -> timedelta:
        """How long the function may still run."""
        ...


class Policies(Protocol):
    def get(self, name: str) -> Policy:
        """Raises UnknownPolicy, which names those that there are."""
        ...

    def all(self) -> Sequence[Deployed]:
        """Every policy that is deployed, by name."""
        ...


class Compute(Protocol):
    """EC2 in one Region. Every method may raise Throttled, Unavailable, AccessDenied, CallRefused
    and RegionNotEnabled beside what it names."""

    region: str

    def instances(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Instance]]:
        """A page at a time, those whose tags EC2 finds matching; terminated ones too.

        ``start``: the ``next`` of an earlier page.
        """
        ...

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        """Those of ``ids`` that exist."""
        ...

    def volumes(
        self, tags: Mapping[str, tuple[str, ...]], start: str | None = None
    ) -> Iterator[Page[Volume]]:
        """As ``instances``."""
        ...

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        """Those of ``ids`` that exist."""
        ...

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes: ...

    def snapshot_set(
        self, request: TakeRequest, tags: Mapping[str, str], *, copy_tags: bool
    ) -> tuple[Member, ...]:
        """Take all volumes of the instance but the excluded ones, in one call, tagged in it.

        ``copy_tags``: each snapshot gets its volume's own tags too.

        Raises:
            SourceGone: there is no such instance any more.
            LimitReached: a volume has too many snapshots pending, or one just before.
        """
        ...

    def snapshot_volume(
        self, volume: Volume, request: TakeRequest, tags: Mapping[str, str]
    ) -> Member:
        """Take one volume, tagged in the call. Raises as ``snapshot_set`` does."""
        ...

    def snapshots_of(self, point: str) -> tuple[Member, ...]:
        """The snapshots that carry the point's tag, oldest first, as far as EC2 shows them yet."""
        ...

    def snapshots_of_points(self, points: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        """As ``snapshots_of``, by point, in a call for each 200; those without are left out."""
        ...

    def own_snapshots(self, run: str | None = None) -> Iterator[Page[Tagged]]:
        """A page at a time, all snapshots that carry a point's tag; of ``run``, if it is given."""
        ...

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
        """Begin to copy it into this Region, tagged in the call; the id of the copy.

        ``encrypted``: under ``key``, or the Region's own without one. ``minutes``: in which it is
        to be done.

        Raises:
            AlreadyDone: the snapshot is gone.
            LimitReached: too many copies come into this Region.
        """
        ...

    def copy_slots(self) -> int | None:
        """How many copies may come into this Region at one time; None if nobody says."""
        ...

    def key_problem(self, key: str) -> str | None:
        """Why nothing can be encrypted here with it, for people; None if nothing is wrong."""
        ...

    def share_snapshot(self, snapshot: str, account: str) -> None:
        """Let the account make volumes and copies of it; one that may already is passed over.

        Raises:
            AlreadyDone: it is gone.
            KeyDenied: it is encrypted under the key that AWS manages.
        """
        ...

    def unshare_snapshot(self, snapshot: str, account: str) -> None:
        """The contrary; one that is gone is as good."""
        ...

    def copies_made(self, operations: Iterable[str]) -> dict[str, tuple[Tagged, ...]]:
        """The copies that these made, oldest first, as far as EC2 shows them yet."""
        ...

    def delete_snapshot(self, snapshot: str) -> None:
        """Delete it; one that is gone already is as good.

        Raises:
            InUse: an image was made of it, or it is locked.
        """
        ...

    def snapshots_tagged(self, policy: str, tags: TagMatch) -> Iterator[Page[Tagged]]:
        """A page at a time, the snapshots of the policy's points that bear all of ``tags``; a key
        without values stands for any value."""
        ...

    def snapshot(self, snapshot: str) -> Tagged | None:
        """One of our account, whoever made it."""
        ...

    def locked(self) -> dict[str, str]:
        """Every locked snapshot of our account, and how it is locked, in words."""
        ...

    def images_of(self, snapshots: Iterable[str]) -> dict[str, str]:
        """The images, disabled ones too, that are made of those that have some, in words."""
        ...

    def archived_at(self, snapshots: Iterable[str]) -> dict[str, datetime]:
        """When those that are in the archive tier came there."""
        ...

    def tag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        """Those that are gone, or bear the key already, are passed over."""
        ...

    def untag_snapshots(self, snapshots: Iterable[str], key: str, value: str) -> None:
        """Those that are gone, or bear the key with another value, are passed over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTask:
    """A replacement of a root volume by EC2, which does not tell the new volume."""

    id: str
    instance: str
    state: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """EC2's status checks of an instance: ``ok``, ``initializing``, ``impaired`` and others."""

    instance: str
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """What bears a restore's tag in a place, as far as EC2 shows it yet."""

    instances: tuple[Instance, ...] = ()
    volumes: tuple[Volume, ...] = ()
    images: tuple[Image, ...] = ()
    snapshots: tuple[Tagged, ...] = ()


class Machines(Protocol):
    """EC2's instances, volumes and images in one Region, as restores need them. Every method may
    raise what those of ``Compute`` may.

    What makes something tags it in the same call. ``token`` makes a call that is sent again the
    same call: it gives what the first has made.
    """

    region: str

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]: ...

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]: ...

    def instances_named(self, name: str) -> tuple[Instance, ...]:
        """Those with that Name, terminated ones too."""
        ...

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes: ...

    def things_of(self, restore: str) -> Things:
        """All that bears the tag of the restore; images also disabled ones."""
        ...

    def images(self, ids: Iterable[str]) -> dict[str, Image]:
        """Those that there are and that we may launch."""
        ...

    def subnets(self, ids: Iterable[str]) -> dict[str, Subnet]: ...

    def subnets_in(self, vpc: str, zone: str | None = None) -> tuple[Subnet, ...]: ...

    def groups(self, ids: Iterable[str]) -> dict[str, Group]: ...

    def groups_named(self, name: str) -> tuple[Group, ...]:
        """In any VPC."""
        ...

    def zones_offering(self, type_: str) -> frozenset[str]:
        """The zones in which the type can be launched; empty for one that there is not."""
        ...

    def instance_type(self, type_: str) -> InstanceType | None:
        """None: there is no such type in the Region."""
        ...

    def has_key_pair(self, name: str) -> bool: ...

    def has_profile(self, arn_or_name: str) -> bool: ...

    def address_taken(self, subnet: str, address: str) -> str | None:
        """By what, in words; None if it is free."""
        ...

    def key_problem(self, key: str) -> str | None:
        """As ``Compute.key_problem``."""
        ...

    def snapshot_volumes(self, snapshots: Iterable[str]) -> dict[str, str]:
        """The volume that EC2 says each snapshot is of, of those that there are."""
        ...

    def try_launch(self, launch: Launch, snapshots: Mapping[str, str], image: str | None) -> None:
        """Ask EC2 whether it would launch it, without doing so.

        ``image``: None to try with what may be known before an image is registered: the image of
        the source, if there is one; else nothing is tried.

        Raises:
            CannotRestore: it would not, and why.
        """
        ...

    def register_image(
        self, launch: Launch, snapshots: Mapping[str, str], *, name: str, tags: Mapping[str, str]
    ) -> str:
        """An image of the snapshots; ``name`` is what a call that is sent again is known by: the
        image that has it is given then. Raises NotSettledYet while EC2 does not show that."""
        ...

    def deregister_image(self, image: str) -> None:
        """One that is gone is as good."""
        ...

    def launch(
        self,
        launch: Launch,
        snapshots: Mapping[str, str],
        *,
        image: str,
        token: str,
        tags: Mapping[str, str],
    ) -> tuple[str, ...]:
        """The ids of the new instances, ``launch.count`` or none.

        Raises:
            LimitReached: EC2 has no room for them now.
            CallRefused: the quota is used up, or it would never work.
        """
        ...

    def create_volume(
        self, disk: Disk, snapshot: str, zone: str, *, token: str, tags: Mapping[str, str]
    ) -> str: ...

    def attach(self, volume: str, instance: str, device: str) -> None:
        """Begin to; one that is attached there already is passed over."""
        ...

    def detach(self, volume: str, instance: str) -> None:
        """Begin to; one that is not attached there is passed over."""
        ...

    def delete_on_termination(self, instance: str, devices: Mapping[str, bool]) -> None: ...

    def tag(self, ids: Iterable[str], tags: Mapping[str, str]) -> None:
        """Instances and volumes."""
        ...

    def untag(self, ids: Iterable[str], keys: Iterable[str]) -> None: ...

    def set_source_dest_check(self, interface: str, *, on: bool) -> None: ...

    def start(self, instance: str) -> None: ...

    def stop(self, instance: str) -> None: ...

    def unprotect(self, instance: str) -> None:
        """Let it be terminated and stopped."""
        ...

    def protect_from_stop(self, instance: str) -> None:
        """Of a launch that is ``protected_last``."""
        ...

    def set_user_data(self, instance: str, user_data: str) -> None:
        """In base64; the instance is stopped."""
        ...

    def terminate(self, instances: Iterable[str]) -> None:
        """Those that are gone are as good."""
        ...

    def delete_volume(self, volume: str) -> None:
        """One that is gone is as good. Raises InUse: it is attached."""
        ...

    def replace_root(
        self, instance: str, snapshot: str, *, token: str, tags: Mapping[str, str]
    ) -> str:
        """Begin to, keeping the volume that is replaced; the task's id."""
        ...

    def root_tasks(self, instance: str, restore: str) -> tuple[RootTask, ...]:
        """Those of the restore, oldest first."""
        ...

    def health(self, instances: Iterable[str]) -> dict[str, Health]:
        """Of those that run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """``over``: it ended. ``ok``: and it ended well. ``output``: the beginning of what it wrote."""

    over: bool
    ok: bool = False
    output: str = ""
    status: str = ""


class Commands(Protocol):
    """SSM on instances in one Region. May raise what ``Compute`` may."""

    def managed(self, instance: str) -> bool:
        """Whether SSM reaches it now."""
        ...

    def send(self, instance: str, check: CommandCheck, comment: str) -> str:
        """The id of the command. It has no token: sent again, it runs again."""
        ...

    def result(self, command: str, instance: str) -> CommandResult | None:
        """None while SSM does not know it yet."""
        ...


class RestoreMachine(Protocol):
    """Executions of the restore state machine. Raises Throttled, Unavailable, AccessDenied."""

    def start(self, restore: str, entry: str, name: str) -> str:
        """Start it, unless one of that name was started; its ARN. ``entry``: ``begin``, ``undo`` or
        ``end``."""
        ...

    def approve(self, token: str) -> None:
        """Let the one that waits go on. Raises AlreadyDone: it waits no more."""
        ...

    def decline(self, token: str, why: str) -> None:
        """As ``approve``; it fails with NotApproved."""
        ...

    def at_work(self, restore: str) -> bool:
        """Whether an execution that began with the restore runs still."""
        ...


class Endings(Protocol):
    """One-shot schedules that end what has a time to live. Raises Throttled, Unavailable,
    AccessDenied."""

    def set(self, restore: str, at: datetime) -> None:
        """Have it ended then; an earlier word is taken back."""
        ...

    def clear(self, restore: str) -> None:
        """None is as good."""
        ...


class Ledger(Protocol):
    """The record of every point, run and source. Any method may raise LedgerMissing, KeyDenied,
    AccessDenied, Throttled and Unavailable. All writes that change a state are conditional."""

    def open_run(self, run: Run) -> None:
        """Write the run, unless it is there already."""
        ...

    def plan_run(self, run: str, planned: Planned) -> None:
        """Write what planning came to. A second planning of the same run writes over it, unless
        it has fewer Regions done: that is one that began before, and ends later."""
        ...

    def planned(self, run: str) -> Planned | None:
        """What planning of the run came to so far."""
        ...

    def run(self, run: str) -> Run | None:
        """The run with the counts of its points, added up now; those that another run has taken
        among them, as they are now."""
        ...

    def runs(self, policy: str) -> Iterator[Run]:
        """Newest slot first, without their counts."""
        ...

    def failures(self, run: str) -> Iterator[Failure]:
        """The points of the run that failed, by id."""
        ...

    def claim(self, claim: Claim) -> Point:
        """Make the point ours to take. The source is on record from then on.

        The point that comes back says how far it got: past CREATING, it is taken already; with
        ``attempted_at``, an attempt went before whose outcome is not known. The ledger itself
        notes the attempt that may now follow, in the same write.

        Raises:
            Conflict: another owner holds it, and its lease has not run out.
        """
        ...

    def taken_elsewhere(self, run: str, point: str, at: datetime) -> None:
        """Note that another run takes a point that ``run`` asked for too: it counts in both."""
        ...

    def attempt(self, point: str, owner: str, at: datetime) -> None:
        """Note that a further create call goes out now. Raises Conflict unless ``owner`` holds
        the point."""
        ...

    def release(self, point: str, owner: str, why: str, at: datetime, *, untouched: bool) -> None:
        """Give the point back so that the next delivery need not wait for the lease to run out.

        ``why`` is its ``cause`` until it is taken. ``untouched``: nothing that went out for it
        had an effect. Raises Conflict as above.
        """
        ...

    def retake(self, point: Point, at: datetime) -> bool:
        """Note that a point that nobody works at is asked for again; False if somebody does, or did
        since ``point`` was read."""
        ...

    def doubt(self, point: str, at: datetime) -> None:
        """Note that the point may have more snapshots than members. The latest doubt counts."""
        ...

    def doubts(self) -> Iterator[Doubt]: ...

    def dismiss(self, doubt: Doubt) -> None:
        """Take the doubt away, unless there is a later one."""
        ...

    def answer(
        self,
        point: Point,
        at: datetime,
        members: tuple[Member, ...],
        manifest: Manifest,
        notes: tuple[str, ...],
    ) -> Point:
        """CREATING to PENDING, with what EC2 answered.

        Raises:
            Conflict: ``point.owner`` does not hold the point any more.
        """
        ...

    def settle(self, point: Point, outcome: Outcome) -> Settled:
        """PENDING to AVAILABLE or FAILED, counted in its run, in one transaction.

        ``point.members`` are recorded in the states they have there. Settling it again the same
        way changes nothing.

        Raises:
            Conflict: it is settled the other way, or is not yet PENDING.
        """
        ...

    def give_up(self, claim: Claim, outcome: Outcome) -> Point:
        """CREATING, or never claimed, to FAILED, counted in its run. Giving up again changes
        nothing.

        Raises:
            Conflict: another owner holds it, or it is past CREATING.
        """
        ...

    def expire(self, point: Point, at: datetime, reason: str) -> Point:
        """AVAILABLE or FAILED, as ``point`` is, to EXPIRED; one that is EXPIRED stays so. The point
        as it is then, with its members.

        Raises:
            Conflict: it is in another state by now, or it or its source is held.
        """
        ...

    def exchange(self, point: Point, members: tuple[Member, ...], at: datetime) -> Point:
        """Give the point, which is AVAILABLE, ``members`` in place of those of ``point``, as many
        and in that order; one that has them already stays so. The point as it is then.

        Raises:
            Conflict: it is in another state, or has other members than ``point``.
        """
        ...

    def deleted(self, point: str, at: datetime) -> None:
        """EXPIRED to DELETED: it is listed no more. Saying so again changes nothing.

        Raises:
            Conflict: it is not EXPIRED.
        """
        ...

    def hold(self, point: str, hold: Hold) -> None:
        """Forbid its deletion; a later hold takes the place of an earlier.

        Raises:
            Conflict: there is no such point, or it is EXPIRED or DELETED.
        """
        ...

    def release_hold(self, point: str) -> None: ...

    def hold_source(self, source: str, hold: Hold) -> None:
        """As ``hold``, of all points that the source has or will have, under any policy."""
        ...

    def release_source(self, source: str) -> None: ...

    def source_holds(self, sources: Iterable[str]) -> dict[str, Hold]:
        """Of those that are held."""
        ...

    def open_plan(self, plan: PrunePlan) -> PrunePlan:
        """Write the plan, unless it is there already; the plan that is there then."""
        ...

    def plan(self, plan: str) -> PrunePlan | None: ...

    def advance_plan(self, before: PrunePlan, after: PrunePlan) -> None:
        """Write ``after``. Raises Conflict unless status and parts are those of ``before``."""
        ...

    def note_applied(self, plan: str, slice_: int, applied: Applied, at: datetime) -> None:
        """What became of a slice; said again, the last word counts."""
        ...

    def applied(self, plan: str) -> Iterator[Applied]:
        """Of each slice that was noted, by number."""
        ...

    def open_copy(self, copy: PointCopy) -> bool:
        """Write a copy that waits, unless it is on record; False then."""
        ...

    def copy(self, point: str, place: Place) -> PointCopy | None: ...

    def copies(self, point: str) -> list[PointCopy]:
        """Of one point, in the order of accounts and Regions."""
        ...

    def copies_of(self, source: str, place: Place) -> Iterator[PointCopy]:
        """The copies of a source's points in a place that are not DELETED, of all policies, newest
        slot first, without deadline, waits and history. May miss what was written in the last
        second."""
        ...

    def due(self, place: Place) -> Iterator[PointCopy]:
        """What is ``open`` in a place, by ``turn``. May miss what was written a second ago."""
        ...

    def change_copy(
        self,
        before: PointCopy,
        after: PointCopy,
        *,
        take: str | None = None,
        limit: int = 0,
        free: str | None = None,
    ) -> PointCopy | None:
        """Write ``after``, and take or free the slot of an operation with it, or neither.

        What is written then, with its version; None if no slot of ``limit`` is free, or the
        operation holds one already.

        Raises:
            Conflict: the copy is not of the version of ``before`` any more; or ``after`` is
                EXPIRED, and its source is held.
        """
        ...

    def slots(self, place: Place) -> Slots: ...

    def note_quota(self, place: Place, quota: int | None, at: datetime) -> None:
        """How many slots the place has, as it was read then."""
        ...

    def shrink(self, place: Place, to: int, until: datetime) -> None:
        """Use no more than so many slots until then."""
        ...

    def note_policies(self, policies: Iterable[str]) -> None:
        """Remember that these are, or were, deployed."""
        ...

    def noted_policies(self) -> set[str]: ...

    def copying_since(
        self, policy: str, places: Iterable[Place], at: datetime
    ) -> dict[Place, datetime]:
        """Since when the policy has had copies in each of the places that it names now, without a
        break that was noted; ``at``, if it had none. What it does not name is noted as a break."""
        ...

    def copied_places(self, policy: str) -> set[Place]:
        """All that ``copying_since`` was ever told."""
        ...

    def settle_member(self, point: Point, ended: Ended) -> Point:
        """Note how one member of a point that was taken one by one ended; gives the point with
        the states of all its members, as they are after this."""
        ...

    def point(self, point: str) -> Point | None: ...

    def point_of(self, snapshot: str) -> Point | None:
        """The point that a snapshot id leads to: a set is found by its first id (``anchor``),
        a point taken one by one by any. May miss what was written in the last second."""
        ...

    def points(self, source: str) -> Iterator[Point]:
        """The points of a source that are not DELETED, of all policies, newest slot first, without
        manifest, notes and history. May miss what was written in the last second."""
        ...

    def sources(self, policy: str, after: str | None = None) -> Iterator[SourceRecord]:
        """Every source that was ever seen under the policy, in an order that stays; ``after``: only
        those that follow the source of this id."""
        ...

    def launch(self, policy: str, source: Source) -> LaunchAttributes | None:
        """What ``remember_launch`` kept last."""
        ...

    def remember_launch(self, policy: str, source: Source, launch: LaunchAttributes) -> None:
        """Keep what EC2 tells only one instance at a time, so as not to ask for it each day."""
        ...

    def in_flight(self) -> Iterator[Point]:
        """The points that are CREATING or PENDING, without members and manifest."""
        ...

    def known(self, points: Iterable[str]) -> set[str]:
        """Those of the point ids that are on record."""
        ...

    def note_source(self, policy: str, source: Source, at: datetime) -> None:
        """Have it on record, as first seen and asked for then, unless it is there."""
        ...

    def known_copies(self, points: Iterable[str], place: Place) -> set[str]:
        """The ids of those copies of the points in the place that are on record."""
        ...

    def rebuild(self, point: Point) -> bool:
        """Write a point that is not on record, PENDING, AVAILABLE or FAILED, with its source; it
        counts in no run. False if it was on record meanwhile."""
        ...

    def open_restore(self, restore: Restore) -> Restore:
        """Write it, unless one of that id is there; the one that is there then. One in place locks
        its instance, until it is settled.

        Raises:
            Conflict: another restore works at the instance; the message says which.
        """
        ...

    def restore(self, restore: str) -> Restore | None: ...

    def change_restore(self, before: Restore, after: Restore) -> Restore:
        """Write ``after`` with a version of its own; given back with that.

        Raises:
            Conflict: it is not of the version of ``before`` any more.
        """
        ...

    def restores_of(self, source: str) -> Iterator[Restore]:
        """Newest first. May miss what was written in the last second."""
        ...

    def open_restores(self) -> Iterator[Restore]:
        """Those at work, and those that are DONE and have an end. As above."""
        ...

    def hold_for_restore(self, restore: Restore) -> None:
        """Keep its point, and the copies of it, from being deleted while it is made from it. Doing
        so again changes nothing.

        Raises:
            Conflict: the point, or its copy in ``restore.origin``, is not AVAILABLE any more.
        """
        ...

    def free_from_restore(self, restore: Restore) -> None:
        """The contrary; one that was never held is as good."""
        ...

    def prove(self, point: str, proof: Proof) -> None:
        """Note it, unless a later one is known."""
        ...

    def note_name(self, name: str, source: Source, at: datetime) -> None:
        """Remember that a source had this Name; costs a read where it is known."""
        ...

    def named(self, name: str) -> tuple[Source, ...]:
        """All that ever had it, as far as it was noted."""
        ...

    def told(self, key: str) -> bool:
        """Whether people were told of this."""
        ...

    def note_told(self, key: str, at: datetime) -> None: ...

    def note_request(self, key: str, until: datetime) -> bool:
        """Whether this request of chat comes for the first time; it is remembered until then."""
        ...

    def note_refusal(self, refusal: ChatRefusal) -> None:
        """Record that somebody asked in chat for what he may not have done."""
        ...

    def converse(self, conversation: Conversation) -> None:
        """Write down where a restore is told of from now on; what was before is forgotten."""
        ...

    def conversation(self, restore: str) -> Conversation | None: ...

    def answered(self, restore: str) -> None:
        """Note that chat said itself what became of the request."""
        ...

    def note_said(self, restore: str, announcement: str, at: datetime) -> None:
        """Note that an announcement, which was made at that time, was told; once."""
        ...


class Queue(Protocol):
    def send(self, requests: Iterable[TakeRequest]) -> int:
        """Send each request, in as few calls as fit; how many were sent.

        Raises:
            Unavailable: some were refused again and again. Sending all again is harmless.
        """
        ...


class Plans(Protocol):
    """Where the parts of plans are stored. Raises Throttled, Unavailable, AccessDenied."""

    def put(self, part: Part) -> None:
        """Store it; one that was stored before is written over."""
        ...

    def get(self, policy: str, plan: str, part: int) -> Part:
        """Raises UnknownTarget: it is not there, or not any more."""
        ...

    def place(self, policy: str, plan: str) -> str:
        """Where people find all parts of it."""
        ...


class PruneQueue(Protocol):
    def send(self, messages: Iterable[PruneMessage]) -> None:
        """As ``Queue.send``."""
        ...


class CopyQueue(Protocol):
    def send(self, places: Iterable[Place]) -> None:
        """Have each place looked after, and filled. As ``Queue.send``."""
        ...


class Pruners(Protocol):
    def ask(self, policy: str, slot: datetime, *, dry_run: bool = False) -> None:
        """Have pruning of the policy planned, or go on with it; as ``Planners.ask``."""
        ...


class Planners(Protocol):
    def ask(self, policy: str, slot: datetime, source: str | None = None) -> None:
        """Have the planner started for the slot; does not wait for it. Raises Throttled,
        Unavailable, AccessDenied."""
        ...


class Cloner(Protocol):
    def ask(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the function that opens restores answer ``payload``. Raises what that raised;
        Throttled, AccessDenied; Unavailable, with ``effect_unknown`` if no answer came in time."""
        ...


class Explainer(Protocol):
    def ask(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the function that explains points answer ``payload``. Raises as ``Cloner``."""
        ...


class Permitted(Protocol):
    def get(self) -> Permissions:
        """As deployed, at most a minute ago. Raises as ``SigningSecret``."""
        ...


class SigningSecret(Protocol):
    """Raises AccessDenied, KeyDenied, CallRefused, Throttled, Unavailable."""

    def get(self) -> str:
        """As it was within the last five minutes."""
        ...

    def renewed(self) -> str | None:
        """As it is now; None if it was read within the last minute."""
        ...


class Replies(Protocol):
    def post(self, url: str, message: Mapping[str, Any]) -> None:
        """Send a message to a response URL of Slack.

        Raises:
            AlreadyDone: the URL takes no more.
            CallRefused: it is none of Slack's, or Slack does not take the message.
            Throttled, Unavailable.
        """
        ...


class Notices(Protocol):
    def tell(self, notice: Notice) -> None:
        """Send it to the people who subscribed. Raises Throttled, Unavailable, KeyDenied."""
        ...


class News(Protocol):
    """Raises Throttled, Unavailable."""

    def announce(self, restore: Restore, what: str) -> None:
        """Tell subscribers how a restore goes: ``what`` is for people, and follows its name."""
        ...

    def refuse(self, restore: str, request: RestoreRequest, what: str) -> None:
        """Tell them that none is made; ``restore``: the id that it would have had."""
        ...


class Bus(Protocol):
    def announce(self, point: Point, *, repeat: bool = False) -> None:
        """Tell subscribers that a point is available, or failed; ``repeat``: they may know already.
        Raises Throttled, Unavailable."""
        ...
