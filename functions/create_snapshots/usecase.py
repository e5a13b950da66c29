"""Take the point of one source: claim, look up if need be, create, record the answer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain import tags
from lastgood.domain.manifest import Instance, LaunchAttributes, Manifest, Volume, trimmed
from lastgood.domain.model import Claim, Member, Method, Outcome, Point, PointStatus
from lastgood.domain.requests import TakeRequest
from lastgood.domain.taking import (
    LAUNCH_ATTRIBUTES_HOLD,
    Found,
    Next,
    judge_found,
    outcome_of,
)
from lastgood.errors import (
    CallRefused,
    Conflict,
    NotSettledYet,
    Refused,
    SourceGone,
    TryAgain,
    Unavailable,
)
from lastgood.ports import Bus, Clock, Compute, Delivery, Ledger, Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """The world as taking a point needs it. ``compute`` gives the EC2 of a Region."""

    compute: Callable[[str], Compute]
    ledger: Ledger
    bus: Bus
    clock: Clock
    patience: Patience

    def take(self, request: TakeRequest, delivery: Delivery) -> Point:
        """Take the point once, however often and by however many workers this is called.

        A point that cannot be taken, or could not by the last delivery, is FAILED in the ledger
        with its cause and announced; the error is raised as well.

        Raises:
            Conflict: another delivery is taking it now.
            TryAgain: not now; how long to wait is in it.
            Refused: never like this.
        """
        try:
            return self._take(request, delivery)
        except (Refused, TryAgain) as error:
            if isinstance(error, Refused) or delivery.last:
                self._fail(request, delivery, error)
            raise

    def _take(self, request: TakeRequest, delivery: Delivery) -> Point:
        point = self.ledger.claim(self._claim(request, delivery))
        if point.status is not PointStatus.CREATING:
            if point.status.settled and delivery.attempt > 1:
                # An earlier delivery of this may have settled it, and died before it said so.
                self.bus.announce(point)
            return point
        compute = self.compute(request.source.region)
        try:
            return self._take_claimed(point, request, compute, delivery.owner)
        except TryAgain as error:
            maybe = isinstance(error, Unavailable) and error.effect_unknown
            self.ledger.release(
                point.id, delivery.owner, untouched=point.attempted_at is None and not maybe
            )
            raise

    def _claim(self, request: TakeRequest, delivery: Delivery) -> Claim:
        return Claim(
            id=request.point,
            policy=request.policy,
            run=request.run,
            slot=request.slot,
            source=request.source,
            method=request.method,
            owner=delivery.owner,
            at=self.clock.now(),
            lease=self.patience.lease,
        )

    def _take_claimed(
        self, point: Point, request: TakeRequest, compute: Compute, owner: str
    ) -> Point:
        notes = list(request.notes)
        if request.bare:
            request = _with_facts(request, compute)
        found = self._found(point, request, compute)
        if found.surplus:
            notes.append(
                f"surplus snapshots of this point, to be removed: {', '.join(found.surplus)}"
            )
        launch = self._launch(request, compute)
        if found.next is Next.ADOPT:
            members = found.members
        else:
            if point.attempted_at is not None:
                self.ledger.attempt(point.id, owner, self.clock.now())
            members = self._create(request, compute, found.members, notes)
        manifest, more = self._manifest(request, compute, launch, members)
        members = _with_devices(members, manifest.instance)
        point = self.ledger.answer(
            point.id, owner, self.clock.now(), members, manifest, (*notes, *more)
        )
        if outcome := outcome_of(members, self.clock.now()):
            # Adopted late: the events of these snapshots came while nobody knew them.
            point = self.ledger.settle(point, outcome).point
            self.bus.announce(point)
        return point

    def _found(self, point: Point, request: TakeRequest, compute: Compute) -> Found:
        """What earlier attempts made. Free of any call when there was none."""
        if point.attempted_at is None:
            return Found(next=Next.CREATE, members=(), surplus=())
        now = self.clock.now()
        found = judge_found(
            compute.snapshots_of(point.id),
            [volume.id for volume in request.volumes],
            attempted_at=point.attempted_at,
            now=now,
            lag=self.patience.lag,
            as_set=request.method is Method.SET,
        )
        if found.next is Next.WAIT:
            raise NotSettledYet(
                f"an earlier attempt at {point.id} may have made snapshots that EC2 does not "
                "show yet",
                after=point.attempted_at + self.patience.lag - now,
            )
        if found.next is Next.INCOMPLETE:
            have = {member.volume for member in found.members}
            missing = sorted(volume.id for volume in request.volumes if volume.id not in have)
            raise CallRefused(
                f"the set of {point.id} is not whole: there is no snapshot of {', '.join(missing)}"
            )
        return found

    def _create(
        self,
        request: TakeRequest,
        compute: Compute,
        have: tuple[Member, ...],
        notes: list[str],
    ) -> tuple[Member, ...]:
        own = {
            **request.tags,
            **tags.of_point(
                point=request.point,
                policy=request.policy,
                run=request.run,
                slot=request.slot,
                source=request.source.id,
                method=request.method,
            ),
        }
        copy_tags = tags.fits(own, (volume.tags for volume in request.volumes))
        if not copy_tags:
            notes.append(
                f"the volumes' own tags are in the manifest only: with Lastgood's they are more "
                f"than the {tags.MOST_TAGS} that EC2 allows"
            )
        if request.method is Method.SET:
            return compute.snapshot_set(request, own, copy_tags=copy_tags)
        return self._create_each(request, compute, have, own, copy_tags)

    def _create_each(
        self,
        request: TakeRequest,
        compute: Compute,
        have: tuple[Member, ...],
        own: dict[str, str],
        copy_tags: bool,
    ) -> tuple[Member, ...]:
        """One call a volume, for those that have no snapshot yet.

        A TryAgain after the first is not ``untouched``: what was made must be looked up.
        """
        members = {member.volume: member for member in have}
        for volume in request.volumes:
            if volume.id in members:
                continue
            all_tags = {**tags.copyable(volume.tags), **own} if copy_tags else own
            try:
                members[volume.id] = compute.snapshot_volume(volume, request, all_tags)
            except TryAgain as error:
                if members and not isinstance(error, Unavailable):
                    raise Unavailable(str(error), error.after, effect_unknown=True) from error
                raise
        return tuple(members.values())

    def _launch(self, request: TakeRequest, compute: Compute) -> LaunchAttributes | None:
        """What EC2 tells one instance at a time: asked for after a start, and once a week."""
        instance = request.instance
        if instance is None:
            return None
        now = self.clock.now()
        known = self.ledger.launch(request.policy, request.source)
        if known and _still_holds(known, instance, now):
            return known
        fresh = compute.launch_attributes(instance, now)
        self.ledger.remember_launch(request.policy, request.source, fresh)
        return fresh

    def _manifest(
        self,
        request: TakeRequest,
        compute: Compute,
        launch: LaunchAttributes | None,
        members: tuple[Member, ...],
    ) -> tuple[Manifest, tuple[str, ...]]:
        """The facts as planned, read again if the snapshots show that volumes came or went."""
        taken = {member.volume for member in members}
        notes: tuple[str, ...] = ()
        planned = {volume.id for volume in request.volumes}
        if taken != planned:
            request = _with_facts(request, compute)
            changed = ", ".join(sorted(taken ^ planned))
            notes = (f"volumes were attached or detached between plan and snapshot: {changed}",)
        whole = Manifest(
            captured_at=self.clock.now(),
            volumes=request.volumes,
            instance=request.instance,
            launch=launch,
            taken_elsewhere=request.elsewhere,
        )
        manifest = trimmed(whole)
        if manifest != whole:
            notes = (*notes, "the volumes' own tags are on their snapshots only: they are too many")
        return manifest, notes

    def _fail(self, request: TakeRequest, delivery: Delivery, error: Exception) -> None:
        """Put the failure on record and on the bus.

        If another worker took the point meanwhile, it is not ours to fail.
        """
        outcome = Outcome(
            status=PointStatus.FAILED,
            at=self.clock.now(),
            cause=f"{type(error).__name__}: {error}",
        )
        try:
            point = self.ledger.give_up(self._claim(request, delivery), outcome)
        except Conflict:
            return
        self.bus.announce(point)


def _still_holds(known: LaunchAttributes, instance: Instance, now: datetime) -> bool:
    """User data can change while an instance is stopped, without a trace: not kept then."""
    return (
        instance.state == "running"
        and known.launched_at == instance.launched_at
        and now - known.read_at < LAUNCH_ATTRIBUTES_HOLD
    )


def _with_facts(request: TakeRequest, compute: Compute) -> TakeRequest:
    """The request with its source as EC2 shows it now."""
    if request.method is Method.VOLUME:
        volumes = compute.volumes_by_id([request.source.id])
        return replace(request, volumes=_in_order(volumes), bare=False)
    found = compute.instances_by_id([request.source.id])
    instance = found.get(request.source.id)
    if instance is None:
        raise SourceGone(f"there is no instance {request.source.id} any more")
    out = set(request.excluded)
    if request.exclude_boot and instance.root_volume:
        out.add(instance.root_volume)
    volumes = compute.volumes_by_id(id_ for id_ in instance.volumes.values() if id_ not in out)
    return replace(request, instance=instance, volumes=_in_order(volumes), bare=False)


def _with_devices(members: tuple[Member, ...], instance: Instance | None) -> tuple[Member, ...]:
    """Snapshots do not tell where their volume was attached; the instance does."""
    if instance is None:
        return members
    return tuple(replace(one, device=instance.device_of(one.volume)) for one in members)


def _in_order(volumes: dict[str, Volume]) -> tuple[Volume, ...]:
    return tuple(volumes[id_] for id_ in sorted(volumes))
