"""From a request to the restore that is to be made: the facts of EC2, and the judgement on them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from clone_instance.finding import Finder
from lastgood.domain import names, preflight
from lastgood.domain.chat_permissions import touches
from lastgood.domain.manifest import Instance, Manifest, Volume
from lastgood.domain.model import Point, Source
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode, ResourceKind, Restores, TagMatch, duration_text, match_text
from lastgood.domain.preflight import Findings, InPlaceFacts, LaunchFacts, Subnet, VolumeFacts
from lastgood.domain.restoring import (
    Restore,
    RestoreRequest,
    RestoreStatus,
)
from lastgood.errors import CannotRestore, NotPermitted, TryAgain
from lastgood.ports import Ledger, Machines

KEPT_FOR = timedelta(days=7)
"""How long the volumes that a restore in place took out stay, if nobody says."""

LOOKED_THROUGH = 20
"""Restores of a source among which one may be at work."""

Allowed = tuple[TagMatch, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    restore: Restore
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlanner:
    finder: Finder
    ledger: Ledger
    machines: Callable[[str], Machines]
    here: Place

    def prepare(self, request: RestoreRequest, allowed: Allowed, now: datetime) -> Prepared:
        """Nothing is made by this.

        Raises:
            CannotRestore: with every reason that was found.
            NotPermitted: the source's tags are none of ``allowed``.
        """
        place = self._place(request)
        found = self.finder.find(request.source, place.region if place else None)
        place = place or found.source.place
        self.permit(found.source, allowed)
        chosen = self.finder.choose(found, request.point, now)
        candidate = chosen.candidate
        origin = place if place in candidate.places else candidate.places[0]
        point = self.ledger.point(candidate.id)
        if point is None:
            raise CannotRestore([f"point: {candidate.id} is not on record any more"])
        _permit(point.source, point.manifest, allowed)
        snapshots = self._snapshots(point, origin)
        manifest = _manifest(point, request)
        pieces = preflight.pieces(manifest, snapshots)
        if origin == place:
            pieces = tuple(replace(one, snapshot=one.taken_from) for one in pieces)
        rules = found.policy.restores if found.policy else Restores()
        approval, of_approval = self.finder.approving(found, request.mode)
        restore = Restore(
            id=names.restore_id(request.request),
            request=request,
            source=found.source,
            policy=point.policy,
            point=point.id,
            origin=origin,
            place=place,
            region=self.here.region,
            why=chosen.why,
            status=RestoreStatus.RUNNING,
            asked_at=now,
            pieces=pieces,
            approval=approval,
            time_to_live=_time_to_live(request, rules),
        )
        if restore.approval:
            restore = replace(restore, status=RestoreStatus.APPROVING)
        restore, findings = self._fitted(restore, manifest, now)
        if origin != place:
            gib = sum(one.size_gib for one in pieces)
            findings.notes.append(
                f"its snapshots are copied from {origin} to {place} first: up to {gib} GiB"
            )
        if findings.problems:
            raise CannotRestore(findings.problems)
        notes = (*found.notes, *chosen.notes, *of_approval, *findings.notes)
        return Prepared(restore=restore, notes=notes)

    def _place(self, request: RestoreRequest) -> Place | None:
        """None: where the source was."""
        if self.finder.alone:
            if request.region and request.region != self.here.region:
                raise CannotRestore(
                    [
                        f"region: this function restores in {self.here.region} only; ask that of "
                        f"{request.region}, or leave region out"
                    ]
                )
            if request.mode is Mode.IN_PLACE:
                raise CannotRestore(
                    [f"mode: the source is not in {self.here.region}; use clone or volumes here"]
                )
            return self.here
        if request.region is None:
            return None
        return Place(region=request.region, account=self.here.account)

    def permit(self, source: Source, allowed: Allowed) -> None:
        """By the tags that the source had when its newest point was taken.

        Raises:
            NotPermitted: they are none of ``allowed``, or not known.
        """
        if allowed is None:
            return
        newest = next(self.ledger.points(source.id), None)
        point = self.ledger.point(newest.id) if newest else None
        _permit(source, point.manifest if point else None, allowed)

    def _snapshots(self, point: Point, origin: Place) -> dict[str, tuple[str, bool]]:
        """By volume, of the point or of its copy in ``origin``."""
        if origin == point.source.place:
            return {one.volume: (one.snapshot, one.encrypted) for one in point.members}
        copy = self.ledger.copy(point.id, origin)
        if copy is None:
            raise CannotRestore([f"point: the copy of {point.id} in {origin} is gone"])
        return {one.volume: (one.snapshot, True) for one in copy.members if one.snapshot}

    def _fitted(
        self, restore: Restore, manifest: Manifest, now: datetime
    ) -> tuple[Restore, Findings]:
        """With all that is to be made; or as it is, with problems."""
        request, machines = restore.request, self.machines(restore.place.region)
        if request.mode.launches:
            return self._launch(restore, manifest, machines)
        if request.mode is Mode.VOLUMES:
            return self._volumes(restore, manifest, machines)
        return self._in_place(restore, manifest, machines, now)

    def _launch(
        self, restore: Restore, manifest: Manifest, machines: Machines
    ) -> tuple[Restore, Findings]:
        original, request = manifest.instance, restore.request
        if original is None:
            of_volume = restore.source.kind is ResourceKind.VOLUME
            why = "mode: the source is a volume; use mode volumes"
            raise CannotRestore([why if of_volume else _no_manifest(restore.point)])
        facts = _launch_facts(restore, original, manifest, machines)
        launch, findings = preflight.launch(request, manifest, restore.pieces, facts)
        if launch is None:
            return restore, findings
        image = launch.image or (original.image if original.image in facts.images else None)
        known = {one.volume: one.snapshot for one in restore.pieces if one.snapshot}
        if image is None or len(known) < len(restore.pieces):
            findings.notes.append(
                "EC2 was not asked to try the launch: "
                + ("its snapshots are not here yet" if image else f"{original.image} is gone")
            )
            return replace(restore, launch=launch), findings
        try:
            machines.try_launch(launch, known, image)
        except CannotRestore as error:
            findings.problems += [f"launch: EC2 would refuse it: {one}" for one in error.problems]
        return replace(restore, launch=launch), findings

    def _volumes(
        self, restore: Restore, manifest: Manifest, machines: Machines
    ) -> tuple[Restore, Findings]:
        request, home = restore.request, restore.place == restore.source.place
        wanted = request.instance
        facts = VolumeFacts(
            place=restore.place,
            home=home,
            instance=machines.instances_by_id([wanted]).get(wanted) if wanted else None,
            selects=self.finder.selects() if wanted else (),
            bad_keys=_bad_keys(machines, manifest.volumes, request, home=home),
        )
        made, zone, attach, findings = preflight.volumes(request, manifest, restore.pieces, facts)
        pieces = tuple(one for one in restore.pieces if one.volume in {disk.piece for disk in made})
        return replace(restore, disks=made, zone=zone, attach=attach, pieces=pieces), findings

    def _in_place(
        self, restore: Restore, manifest: Manifest, machines: Machines, now: datetime
    ) -> tuple[Restore, Findings]:
        request, id_ = restore.request, restore.source.id
        if restore.place != restore.source.place:
            raise CannotRestore(
                [f"region: {id_} is in {restore.source.region}; in place means there"]
            )
        current = machines.instances_by_id([id_]).get(id_)
        facts = InPlaceFacts(current=None)
        if current is not None and current.state in ("running", "stopped"):
            attributes = machines.launch_attributes(current, now)
            facts = InPlaceFacts(
                current=current,
                volumes=machines.volumes_by_id(current.volumes.values()),
                snapshot_of=machines.snapshot_volumes(
                    one.snapshot for one in restore.pieces if one.snapshot
                ),
                protected=attributes.stop_protection,
                selects=self.finder.selects(),
                restored_by=self._restored_by(restore),
                bad_keys=_bad_keys(machines, manifest.volumes, request, home=True),
            )
        elif current is not None:
            facts = InPlaceFacts(current=current, selects=self.finder.selects())
        made, plan, findings = preflight.in_place(request, manifest, restore.pieces, facts)
        pieces = tuple(one for one in restore.pieces if one.volume in {disk.piece for disk in made})
        zone = current.zone if current else ""
        return replace(restore, disks=made, in_place=plan, zone=zone, pieces=pieces), findings

    def _restored_by(self, restore: Restore) -> str | None:
        """The ledger makes sure of it; this is for a dry run, and to say so with all else."""
        latest = islice(self.ledger.restores_of(restore.source.id), LOOKED_THROUGH)
        others = (one.id for one in latest if one.locks and one.id != restore.id)
        return next(others, None)


def _permit(source: Source, manifest: Manifest | None, allowed: Allowed) -> None:
    if not touches(allowed, manifest.tags if manifest else {}):
        raise NotPermitted(
            f"source: you may not do that with {source.id}: your permissions are for sources "
            f"tagged {' or '.join(map(match_text, allowed or ())) or 'nothing'}"
        )


def _no_manifest(point: str) -> str:
    return (
        f"point: {point} has no manifest, since its record was rebuilt from tags; use mode "
        "volumes, or another point"
    )


def _manifest(point: Point, request: RestoreRequest) -> Manifest:
    """Of a point whose record was rebuilt, what its snapshots tell: enough for volumes."""
    if point.manifest is not None:
        return point.manifest
    if request.mode is Mode.IN_PLACE:
        raise CannotRestore([_no_manifest(point.id)])
    return Manifest(
        captured_at=point.slot,
        volumes=tuple(
            Volume(
                id=one.volume,
                type="gp3",
                size_gib=one.size_gib,
                state="",
                zone="",
                encrypted=one.encrypted,
            )
            for one in point.members
        ),
    )


def _time_to_live(request: RestoreRequest, rules: Restores) -> timedelta | None:
    """None: it has no end, or, of a drill, none of its own."""
    if request.mode is Mode.DRILL or request.for_ever:
        return None
    wanted = request.time_to_live
    if wanted is not None and wanted > rules.longest:
        raise CannotRestore(
            [
                f"time_to_live: {duration_text(wanted)} is more than its policy allows, "
                f"{duration_text(rules.longest)}"
            ]
        )
    if wanted is None and request.mode is Mode.CLONE:
        return rules.time_to_live
    if wanted is None and request.mode is Mode.IN_PLACE:
        return min(KEPT_FOR, rules.longest)
    return wanted


def _bad_keys(
    machines: Machines, volumes: tuple[Volume, ...], request: RestoreRequest, *, home: bool
) -> dict[str, str]:
    """In another Region the volumes' own keys mean nothing."""
    asked = request.overrides.kms_key
    keys = {asked, *(one.kms_key for one in volumes if home)}
    found = {key: machines.key_problem(key) for key in keys if key}
    return {key: why for key, why in found.items() if why}


def _launch_facts(
    restore: Restore, original: Instance, manifest: Manifest, machines: Machines
) -> LaunchFacts:
    request, overrides = restore.request, restore.request.overrides
    home = restore.place == restore.source.place
    own = {one.subnet for one in original.interfaces} | {original.subnet or ""} if home else set()
    subnets = machines.subnets({one for one in (*own, overrides.subnet) if one})
    in_zone: tuple[Subnet, ...] = ()
    if overrides.zone and not overrides.subnet and original.vpc and home:
        in_zone = machines.subnets_in(original.vpc, overrides.zone)
    wanted = overrides.groups or ()
    if request.mode is Mode.DRILL:
        wanted = wanted or (preflight.ISOLATED,)
    elif overrides.groups is None and home:
        wanted = original.groups
    groups = list(machines.groups({one for one in wanted if one.startswith("sg-")}).values())
    for name in wanted:
        if not name.startswith("sg-"):
            groups += machines.groups_named(name)
    type_ = overrides.type or original.type
    profile = (
        original.instance_profile
        if overrides.instance_profile is None
        else overrides.instance_profile
    )
    key = original.key_name if overrides.key_name is None else overrides.key_name
    where = overrides.subnet or original.subnet
    taken_by = None
    if overrides.private_ip and where:
        taken_by = machines.address_taken(where, overrides.private_ip)
    return LaunchFacts(
        place=restore.place,
        home=home,
        subnets=subnets,
        in_zone=in_zone,
        groups=tuple(groups),
        zones=machines.zones_offering(type_),
        type=machines.instance_type(type_),
        key_pairs=frozenset({key} if key and machines.has_key_pair(key) else ()),
        **_profiles(profile, machines),
        images=machines.images({one for one in (original.image, overrides.image) if one}),
        bad_keys=_bad_keys(machines, manifest.volumes, request, home=home),
        taken_by=taken_by,
    )


def _profiles(profile: str | None, machines: Machines) -> dict[str, frozenset[str]]:
    """IAM answers from one Region for all: what is restored in another must not wait for it."""
    if not profile:
        return {}
    try:
        there = machines.has_profile(profile)
    except TryAgain:
        return {"unseen": frozenset({profile})}
    return {"profiles": frozenset({profile} if there else ())}
