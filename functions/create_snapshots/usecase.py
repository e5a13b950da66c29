"""Take the point of one source: claim, look up if need be, create, record the answer."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from lastgood.domain import tags
from lastgood.domain.manifest import Instance, LaunchAttributes, Manifest, trimmed
from lastgood.domain.model import Claim, Member, Method, Outcome, Point, PointStatus
from lastgood.domain.place import Place
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
    """The world as taking a point needs it. ``at`` gives the EC2 of a place."""

    at: Callable[[Place], Compute]
    ledger: Ledger
    bus: Bus
    clock: Clock
    patience: Patience

    def take(self, request: TakeRequest, delivery: Delivery) -> Point:
        """Take the point once, however often and by however many workers this is called.

        A point that cannot be taken, or could not by the last delivery, is FAILED in the ledger
        with its cause and announced; the error is raised as well. If a call may have had an effect
        that EC2 does not show yet, the point is left for the sweep, which looks later.

        Raises:
            Conflict: another delivery is taking it now.
            TryAgain: not now; how long to wait is in it.
            Refused: never like this.
        """
        work = _Work(request=request)
        try:
            return self._take(work, delivery)
        except Refused as error:
            if work.may_exist:
                self._leave(work, delivery, error)
            else:
                self._fail(work, delivery, error)
            raise
        except TryAgain as error:
            if delivery.last:
                # Whatever is half done by now, a sweep looks at it, and announces it again.
                self.ledger.doubt(request.point, self.clock.now())
                if not self._may_exist(request.point):
                    self._fail(work, delivery, error)
            raise

    def _may_exist(self, point: str) -> bool:
        """Whether a call went out whose outcome nobody knows yet."""
        known = self.ledger.point(point)
        return known is not None and known.attempted_at is not None

    def _take(self, work: "_Work", delivery: Delivery) -> Point:
        request = work.request
        point = self.ledger.claim(self._claim(request, delivery))
        if point.run != request.run:
            self.ledger.taken_elsewhere(request.run, point.id, self.clock.now())
        if point.status is not PointStatus.CREATING:
            return self._taken_before(point, delivery)
        work.notes = [*request.notes, *([f"taken late: {point.cause}"] if point.cause else [])]
        work.untouched = point.attempted_at is None
        work.may_exist = not work.untouched
        try:
            work.compute = self.at(request.source.place)
            return self._take_claimed(point, work, delivery.owner)
        except TryAgain as error:
            # Nothing is to be released if the point got past CREATING before this happened.
            with suppress(Conflict):
                self.ledger.release(
                    point.id,
                    delivery.owner,
                    str(error),
                    self.clock.now(),
                    untouched=work.untouched,
                )
            raise

    def _taken_before(self, point: Point, delivery: Delivery) -> Point:
        """An earlier delivery got this far. It may have died before it did the rest."""
        outcome = outcome_of(point.members, self.clock.now())
        if point.status is PointStatus.PENDING and outcome:
            return self._settle(point, outcome)
        if point.status.settled and delivery.attempt > 1:
            self.bus.announce(point, repeat=True)
        return point

    def _settle(self, point: Point, outcome: Outcome) -> Point:
        """At once: the events of these snapshots came while nobody knew them."""
        settled = self.ledger.settle(point, outcome).point
        self.bus.announce(settled)
        return settled

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

    def _take_claimed(self, point: Point, work: "_Work", owner: str) -> Point:
        if work.request.bare:
            self._read_again(work)
        found = self._found(point, work)
        work.may_exist = found.next is Next.ADOPT
        launch = self._launch(work)
        again = point.attempted_at is not None and found.next is Next.CREATE
        if again or found.surplus:
            # Before the call: whoever is killed after it leaves word that there may be two.
            self.ledger.doubt(point.id, self.clock.now())
        if found.next is Next.ADOPT:
            members = found.members
        else:
            if again:
                self.ledger.attempt(point.id, owner, self.clock.now())
            members = self._create(work, found.members)
            work.may_exist = True
        manifest = self._manifest(work, launch, members)
        members = _with_devices(members, manifest)
        point = self.ledger.answer(point, self.clock.now(), members, manifest, tuple(work.notes))
        outcome = outcome_of(members, self.clock.now())
        if outcome:
            point = self._settle(point, outcome)
        if manifest.name:
            # Last: if it fails, the next point of the source notes it.
            self.ledger.note_name(manifest.name, point.source, self.clock.now())
        return point

    def _found(self, point: Point, work: "_Work") -> Found:
        """What earlier attempts made. Free of any call when there was none."""
        attempted_at = point.attempted_at
        if attempted_at is None:
            return Found(next=Next.CREATE, members=(), surplus=())
        now = self.clock.now()
        snapshots = work.compute.snapshots_of(point.id)

        def judged() -> Found:
            return judge_found(
                snapshots,
                [volume.id for volume in work.request.volumes],
                attempted_at=attempted_at,
                now=now,
                lag=self.patience.lag,
                as_set=work.request.method is Method.SET,
            )

        found = judged()
        if found.next is Next.INCOMPLETE:
            # A volume may have been detached between the plan and the set, which is whole then.
            self._read_again(work)
            found = judged()
        if found.next is Next.WAIT:
            raise NotSettledYet(
                f"an earlier attempt at {point.id} may have made snapshots that EC2 does not "
                "show yet",
                after=attempted_at + self.patience.lag - now,
            )
        if found.next is Next.INCOMPLETE:
            work.may_exist = False
            have = {member.volume for member in found.members}
            missing = (volume.id for volume in work.request.volumes if volume.id not in have)
            raise CallRefused(
                f"the set of {point.id} is not whole: there is no snapshot of {', '.join(missing)}"
            )
        return found

    def _create(self, work: "_Work", have: tuple[Member, ...]) -> tuple[Member, ...]:
        """Create; once more if EC2 refuses because a volume to leave out is not attached now."""
        try:
            return _create_once(work, have)
        except CallRefused:
            before = work.request.excluded
            if not before:
                raise
            self._read_again(work)
            if work.request.excluded == before:
                raise
            return _create_once(work, have)

    def _read_again(self, work: "_Work") -> None:
        work.request = _with_facts(work.request, work.compute, self.clock.now())

    def _launch(self, work: "_Work") -> LaunchAttributes | None:
        """What EC2 tells one instance at a time: asked for after a start, and once a week.

        If EC2 refuses to tell, the point is taken all the same: data first.
        """
        request, instance = work.request, work.request.instance
        if instance is None:
            return None
        now = self.clock.now()
        known = self.ledger.launch(request.policy, request.source)
        if known and _still_holds(known, instance, now):
            return known
        try:
            fresh = work.compute.launch_attributes(instance, now)
        except Refused as error:
            age = f"those of {known.read_at:%Y-%m-%d} are kept" if known else "there are none"
            work.notes.append(f"launch attributes such as user data not read, {age}: {error}")
            return known
        self.ledger.remember_launch(request.policy, request.source, fresh)
        return fresh

    def _manifest(
        self, work: "_Work", launch: LaunchAttributes | None, members: tuple[Member, ...]
    ) -> Manifest:
        """The facts as planned, with those of volumes that were attached since."""
        taken = {member.volume for member in members}
        facts = {volume.id: volume for volume in work.request.volumes}
        if changed := sorted(taken ^ facts.keys()):
            facts |= work.compute.volumes_by_id(taken - facts.keys())
            work.notes.append(
                "volumes were attached or detached between plan and snapshot: " + ", ".join(changed)
            )
        whole = Manifest(
            captured_at=work.request.planned_at,
            volumes=tuple(facts[id_] for id_ in sorted(taken & facts.keys())),
            instance=work.request.instance,
            launch=launch,
            taken_elsewhere=work.request.elsewhere,
        )
        manifest = trimmed(whole)
        if manifest != whole:
            work.notes.append(
                "the volumes' own tags are on their snapshots only: they are too many"
            )
        return manifest

    def _leave(self, work: "_Work", delivery: Delivery, error: Refused) -> None:
        """To the sweep, which adopts what is there. Failing is final, and would make it surplus."""
        point, now = work.request.point, self.clock.now()
        self.ledger.doubt(point, now)
        with suppress(Conflict):
            self.ledger.release(point, delivery.owner, str(error), now, untouched=False)

    def _fail(self, work: "_Work", delivery: Delivery, error: Exception) -> None:
        """Put the failure on record and on the bus; a sweep will look for what may be left over.

        If another worker took the point meanwhile, it is not ours to fail.
        """
        request = work.request
        if not work.untouched:
            self.ledger.doubt(request.point, self.clock.now())
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


@dataclass(slots=True, kw_only=True)
class _Work:
    """A point while it is taken. ``compute`` is there once it is claimed.

    ``untouched``: no create call has gone out for it that had, or may have had, an effect.
    ``may_exist``: all of its snapshots may be there: then it is not to be failed.
    """

    request: TakeRequest
    compute: Compute = field(init=False)
    notes: list[str] = field(default_factory=list)
    untouched: bool = True
    may_exist: bool = False


def _create_once(work: _Work, have: tuple[Member, ...]) -> tuple[Member, ...]:
    request = work.request
    own = {
        **request.tags,
        **tags.of_point(
            point=request.point,
            policy=request.policy,
            run=request.run,
            slot=request.slot,
            source=request.source.id,
            method=request.method,
            members=len(request.volumes),
        ),
    }
    volume_tags = [volume.tags for volume in request.volumes]
    copied_by_ec2 = request.method is Method.SET
    copy_tags = tags.fit(own, volume_tags) and (not copied_by_ec2 or tags.apart(own, volume_tags))
    if not copy_tags:
        work.notes.append(
            "the volumes' own tags are in the manifest only: with Lastgood's they are more than "
            f"the {tags.MOST_TAGS} that EC2 allows, or have a key of the same name"
        )
    if request.instance:
        own |= tags.of_instance(request.instance.tags, own, volume_tags)
    before, work.untouched = work.untouched, False
    try:
        if request.method is Method.SET:
            return work.compute.snapshot_set(request, own, copy_tags=copy_tags)
        return _create_each(work, have, own, copy_tags)
    except _Begun as error:
        raise error.error from error
    except (TryAgain, Refused) as error:
        unknown = isinstance(error, Unavailable) and error.effect_unknown
        work.untouched = before and not unknown
        raise


class _Begun(Exception):
    """Some of the snapshots were made before ``error`` came."""

    def __init__(self, error: TryAgain | Refused) -> None:
        super().__init__(str(error))
        self.error = error


def _create_each(
    work: _Work, have: tuple[Member, ...], own: dict[str, str], copy_tags: bool
) -> tuple[Member, ...]:
    """One call a volume, for those that have no snapshot yet. Raises _Begun after the first."""
    members = {member.volume: member for member in have}
    for volume in work.request.volumes:
        if volume.id in members:
            continue
        all_tags = {**tags.copyable(volume.tags), **own} if copy_tags else own
        try:
            members[volume.id] = work.compute.snapshot_volume(volume, work.request, all_tags)
        except (TryAgain, Refused) as error:
            if members:
                raise _Begun(error) from error
            raise
    return tuple(members.values())


def _still_holds(known: LaunchAttributes, instance: Instance, now: datetime) -> bool:
    """User data can change while an instance is stopped, without a trace: not kept then."""
    return (
        instance.state == "running"
        and known.launched_at == instance.launched_at
        and now - known.read_at < LAUNCH_ATTRIBUTES_HOLD
    )


def _with_facts(request: TakeRequest, compute: Compute, now: datetime) -> TakeRequest:
    """The request with its source as EC2 shows it now, and without exclusions of what is gone.

    Raises:
        SourceGone: the source is gone, or none of its volumes is left to take.
    """
    id_, instance, excluded = request.source.id, None, request.excluded
    wanted = {id_}
    if request.method is not Method.VOLUME:
        instance = compute.instances_by_id([id_]).get(id_)
        if instance is None:
            raise SourceGone(f"there is no instance {id_} any more")
        boot = {instance.root_volume} if request.exclude_boot else set()
        attached = set(instance.volumes.values())
        excluded = tuple(one for one in request.excluded if one in attached)
        wanted = attached - set(excluded) - boot
    volumes = compute.volumes_by_id(wanted)
    if not volumes:
        raise SourceGone(f"there is no volume of {id_} any more that the policy takes")
    return replace(
        request,
        instance=instance,
        volumes=tuple(volumes[one] for one in sorted(volumes)),
        excluded=excluded,
        planned_at=now,
        bare=False,
    )


def _with_devices(members: tuple[Member, ...], manifest: Manifest) -> tuple[Member, ...]:
    """Snapshots do not tell where their volume was attached; the instance and the volume do."""
    instance = manifest.instance
    if instance is None:
        return members
    devices = {
        volume.id: attachment.device
        for volume in manifest.volumes
        for attachment in volume.attachments
        if attachment.instance == instance.id
    } | {id_: device for device, id_ in instance.volumes.items()}
    return tuple(replace(one, device=devices.get(one.volume)) for one in members)
