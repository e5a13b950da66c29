"""The steps of a restore that lead forward: each makes one change, or waits for one."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lastgood.domain.fidelity import compare, for_record, not_compared
from lastgood.domain.launching import Launch
from lastgood.domain.manifest import Instance, Volume
from lastgood.domain.model import Proof
from lastgood.domain.names import instant
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import (
    STEPS,
    Compared,
    Restore,
    RestoreStatus,
    ended,
    gone,
    image_name,
    noted,
)
from lastgood.domain.swapping import moves
from lastgood.domain.tags import of_restore
from lastgood.errors import AlreadyDone, CannotRestore, Conflict, MadeInVain, Refused
from lastgood.ports import (
    Clock,
    Commands,
    Compute,
    Endings,
    Ledger,
    Machines,
    News,
    Patience,
    RestoreMachine,
)
from lastgood.stepping import Act, Advanced, StepRequest, Walk, heed
from restore_instance.copying import Fetcher
from restore_instance.safety import SafetyPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorer:
    ledger: Ledger
    machines: Callable[[str], Machines]
    at: Callable[[Place], Compute]
    commands: Callable[[str], Commands]
    machine: RestoreMachine
    endings: Endings
    news: News
    safety: SafetyPoints
    clock: Clock
    patience: Patience

    def step(self, request: StepRequest) -> dict[str, Any]:
        """Raises what ends a restore, and what is worth another try (``Walk.step``)."""
        if request.step == "ask":
            return self._walk.step(request, {"ask": lambda one, _: self._ask(one, request.token)})
        return self._walk.step(request, self._acts)

    @property
    def _walk(self) -> Walk:
        return Walk(ledger=self.ledger, clock=self.clock)

    @property
    def _acts(self) -> dict[str, Act]:
        fetcher = Fetcher(
            walk=self._walk, at=self.at, machines=self.machines, patience=self.patience
        )
        acts: dict[str, Act] = {
            "begin": self._begin,
            "hold": self._hold,
            "copy": fetcher.fetch,
            "image": self._image,
            "launch": self._launch,
            "root": self._root,
            "dress": self._dress,
            "volumes": self._volumes,
            "attach": self._attach,
            "stop": self._stop,
            "safety": self.safety.take,
            "replace": self._replace,
            "swap": self._swap,
            "start": self._start,
        }
        heeding = {name: _heeding(act) for name, act in acts.items()}
        # Its last word is that the restore is done: said again, it must not count as too late.
        return {**heeding, "hand_over": self._hand_over}

    # ----------------------------------------------------------------------- beginning

    def _begin(self, restore: Restore, _: datetime) -> Advanced:
        launch, plan = restore.launch, restore.in_place
        return Advanced(
            restore=restore,
            done=True,
            more={
                "approval": restore.status is RestoreStatus.APPROVING,
                "copies": restore.origin != restore.place,
                "registers": launch is not None and launch.image is None,
                "launches": launch is not None,
                "swaps_root": launch is not None and launch.swaps_root,
                "in_place": plan is not None,
                "stops": plan is not None and plan.must_stop,
                "by_task": plan is not None and not plan.must_stop,
                "drill": restore.request.mode is Mode.DRILL,
            },
        )

    def _ask(self, restore: Restore, token: str) -> Advanced:
        """The machine goes on when a person says so; or at once, if one has said so already."""
        heed(restore)
        after = self._walk.save(restore, replace(restore, token=token))
        if after.approved_by:
            try:
                self.machine.approve(token)
            except AlreadyDone:
                return Advanced(restore=after)
        return Advanced(restore=after)

    def _hold(self, restore: Restore, now: datetime) -> Advanced:
        try:
            self.ledger.hold_for_restore(restore)
        except Conflict as error:
            raise CannotRestore([f"point: {error}"]) from error
        if restore.origin == restore.source.place:
            point = self.ledger.point(restore.point)
            there = set(point.snapshots) if point else set()
            if not {one.taken_from for one in restore.pieces} <= there:
                raise MadeInVain(
                    f"the snapshots of {restore.point} were replaced meanwhile by encrypted "
                    "copies: ask for it again"
                )
        plan = restore.in_place
        if plan is not None and plan.was_running and restore.request.check is not None:
            reached = self.commands(restore.place.region).managed(plan.instance)
            restore = replace(restore, in_place=replace(plan, reached=reached))
        # Nobody calls the step that waited for a person once he has spoken.
        restore = ended(restore, STEPS["ask"], now)
        return Advanced(
            restore=replace(restore, status=RestoreStatus.RUNNING, token=None), done=True
        )

    # --------------------------------------------------------------------- new instances

    def _image(self, restore: Restore, now: datetime) -> Advanced:
        machines, launch = self._place(restore), _launch_of(restore)
        (image,) = restore.ids("image") or (None,)
        if image is None:
            restore = self._walk.attempt(restore)
            image = machines.register_image(
                launch,
                _snapshots(restore),
                name=image_name(restore.id),
                tags=of_restore(restore.id, restore.point, temporary=True),
            )
            return Advanced(restore=noted(restore, "image", [image], now))
        known = machines.images([image]).get(image)
        if known is not None and known.state in ("failed", "error", "invalid"):
            raise MadeInVain(f"the image {image} of the point's snapshots is {known.state}")
        return Advanced(restore=restore, done=known is not None and known.state == "available")

    def _launch(self, restore: Restore, now: datetime) -> Advanced:
        machines, launch = self._place(restore), _launch_of(restore)
        ids = restore.ids("instance")
        if not ids:
            (registered,) = restore.ids("image") or (None,)
            image = launch.image or registered
            if image is None:
                raise MadeInVain("the image that was registered is gone")
            restore = self._walk.attempt(restore)
            ids = machines.launch(
                launch,
                _snapshots(restore),
                image=image,
                token=f"{restore.id}-launch",
                tags=self._tags(restore),
            )
            self.news.announce(restore, f"launched {', '.join(ids)}")
            return Advanced(restore=noted(restore, "instance", ids, now))
        found = machines.instances_by_id(ids).values()
        for one in found:
            if one.gone or one.state == "stopped":
                raise MadeInVain(
                    f"EC2 ended {one.id} while it started: most often a KMS key that its volumes "
                    "need is disabled or may not be used"
                )
        running = [one for one in found if one.state == "running"]
        return Advanced(restore=restore, done=len(running) == len(ids))

    def _clones(self, restore: Restore, machines: Machines) -> list[Instance] | None:
        """All of them, which have run; None as long as describes do not show one."""
        ids = restore.ids("instance")
        found = list(machines.instances_by_id(ids).values())
        for one in found:
            if one.gone:
                raise MadeInVain(f"{one.id} is gone")
        return found if len(found) == len(ids) else None

    def _root(self, restore: Restore, now: datetime) -> Advanced:
        """Of a clone that had to start from its image for the licence."""
        machines, launch = self._place(restore), _launch_of(restore)
        disk = launch.root
        clones = self._clones(restore, machines)
        done = clones is not None
        for one in clones or []:
            volume = restore.made_for("volume", one.id)
            if volume is None:
                restore = self._walk.attempt(restore)
                volume = machines.create_volume(
                    disk,
                    _snapshots(restore)[disk.piece],
                    one.zone,
                    token=f"{restore.id}-{one.id}",
                    tags=self._tags(restore),
                )
                restore = self._walk.save(
                    restore, noted(restore, "volume", [volume], now, of=one.id)
                )
            there = one.volumes.get(one.root_device or "") == volume
            if one.state == "running" and there:
                continue
            done = False
            if one.state == "running":
                machines.stop(one.id)
            elif one.state == "stopped":
                restore, _ = self._move(restore, machines, one, {one.root_device or "": volume})
                if there:
                    flags = {one.root_device or "": disk.delete_on_termination}
                    machines.delete_on_termination(one.id, flags)
                    if launch.user_data:
                        machines.set_user_data(one.id, launch.user_data)
                    machines.start(one.id)
        return Advanced(restore=restore, done=done)

    def _dress(self, restore: Restore, now: datetime) -> Advanced:
        """What RunInstances cannot be told: each volume's own tags, and the address check."""
        machines, launch = self._place(restore), _launch_of(restore)
        clones = self._clones(restore, machines)
        if clones is None:
            return Advanced(restore=restore)
        disks = {one.device: one for one in launch.disks}
        cards = {(one.network_card, one.device_index): one for one in launch.cards}
        for one in clones:
            for device, volume in one.volumes.items():
                restore = noted(restore, "volume", [volume], now)
                if device in disks and disks[device].tags:
                    machines.tag([volume], disks[device].tags)
            for interface in one.interfaces:
                card = cards.get((interface.network_card, interface.device_index))
                if card and interface.source_dest_check and not card.source_dest_check:
                    machines.set_source_dest_check(interface.id, on=False)
        for image in restore.ids("image"):
            machines.deregister_image(image)
        done = self._clear(restore, machines, clones)
        return Advanced(restore=_removed(restore, "image", now), done=done)

    def _clear(self, restore: Restore, machines: Machines, clones: list[Instance]) -> bool:
        """Delete the roots that an image with a licence came with; whether all have left."""
        attached = {volume for one in clones for volume in one.volumes.values()}
        surplus = [
            one
            for one in machines.things_of(restore.id).volumes
            if one.id not in attached and one.state not in ("deleting", "deleted")
        ]
        for one in surplus:
            if one.state == "available":
                machines.delete_volume(one.id)
        return all(one.state == "available" for one in surplus)

    # -------------------------------------------------------------------------- volumes

    def _volumes(self, restore: Restore, now: datetime) -> Advanced:
        machines, snapshots = self._place(restore), _snapshots(restore)
        plan = restore.in_place
        by_task = {one.piece for one in plan.swaps if one.by_task} if plan else set()
        wanted = [one for one in restore.disks if one.piece not in by_task]
        for disk in wanted:
            if restore.made_for("volume", disk.piece):
                continue
            restore = self._walk.attempt(restore)
            volume = machines.create_volume(
                disk,
                snapshots[disk.piece],
                restore.zone,
                token=f"{restore.id}-{disk.piece}",
                tags=self._tags(restore),
            )
            made = noted(restore, "volume", [volume], now, of=disk.piece)
            restore = self._walk.save(restore, made)
        ids = restore.ids("volume")
        found = machines.volumes_by_id(ids)
        _see_made(found)
        ready = [one for one in found.values() if one.state in ("available", "in-use")]
        return Advanced(restore=restore, done=len(ready) == len(ids))

    def _attach(self, restore: Restore, _: datetime) -> Advanced:
        attach = restore.attach
        if attach is None:
            return Advanced(restore=restore, done=True)
        wanted = {
            device: restore.made_for("volume", piece) for piece, device in attach.devices.items()
        }
        machines = self._place(restore)
        instance = _one(machines, attach.instance)
        for device, volume in wanted.items():
            _see_free(instance, device, volume)
        restore, done = self._move(restore, machines, instance, wanted)
        return Advanced(restore=restore, done=done)

    # -------------------------------------------------------------------------- in place

    def _stop(self, restore: Restore, _: datetime) -> Advanced:
        machines = self._place(restore)
        instance = _one(machines, restore.source.id)
        if instance.state == "running":
            plan = restore.in_place
            if not (plan and plan.was_running and restore.request.stop):
                raise MadeInVain(f"{instance.id} was started meanwhile; ask again with stop=true")
            restore = self._walk.attempt(restore)
            machines.stop(instance.id)
        return Advanced(restore=restore, done=instance.state == "stopped")

    def _replace(self, restore: Restore, now: datetime) -> Advanced:
        machines, plan = self._place(restore), restore.in_place
        if plan is None:
            return Advanced(restore=restore, done=True)
        (swap,) = plan.swaps
        tasks = machines.root_tasks(plan.instance, restore.id)
        if not tasks:
            restore = self._walk.attempt(restore)
            machines.replace_root(
                plan.instance,
                _snapshots(restore)[swap.piece],
                token=f"{restore.id}-root",
                tags=of_restore(restore.id, restore.point, temporary=False),
            )
            return Advanced(restore=restore)
        state = tasks[-1].state
        if state.startswith("fail"):
            raise MadeInVain(f"EC2 could not replace the root volume: {tasks[-1].id} is {state}")
        volume = _one(machines, plan.instance).volumes.get(swap.device)
        if state != "succeeded" or volume in (None, swap.old):
            return Advanced(restore=restore)
        # EC2 takes no tags for the volume that it makes here.
        (disk,) = restore.disks
        machines.tag([str(volume)], self._tags(restore))
        machines.tag([str(volume)], disk.tags)
        machines.delete_on_termination(plan.instance, {swap.device: swap.delete_on_termination})
        return Advanced(
            restore=noted(restore, "volume", [str(volume)], now, of=swap.piece), done=True
        )

    def _swap(self, restore: Restore, now: datetime) -> Advanced:
        machines, plan = self._place(restore), restore.in_place
        if plan is None:
            return Advanced(restore=restore, done=True)
        wanted = {one.device: restore.made_for("volume", one.piece) for one in plan.swaps}
        instance = _one(machines, plan.instance)
        for one in plan.swaps:
            _see_free(instance, one.device, one.old, wanted[one.device])
        there = all(instance.volumes.get(device) == one for device, one in wanted.items())
        if instance.state != "stopped" and not there:
            # Somebody has started it meanwhile.
            return replace(self._stop(restore, now), done=False)
        restore, done = self._move(restore, machines, instance, wanted)
        if not done:
            return Advanced(restore=restore)
        flags = {one.device: one.delete_on_termination for one in plan.swaps}
        machines.delete_on_termination(plan.instance, flags)
        return Advanced(restore=restore, done=True)

    def _start(self, restore: Restore, _: datetime) -> Advanced:
        machines, plan = self._place(restore), restore.in_place
        if plan is None or not plan.was_running:
            return Advanced(restore=restore, done=True)
        instance = _one(machines, plan.instance)
        if instance.state == "stopped":
            restore = self._walk.attempt(restore)
            machines.start(instance.id)
        return Advanced(restore=restore, done=instance.state == "running")

    def _move(
        self,
        restore: Restore,
        machines: Machines,
        instance: Instance,
        wanted: dict[str, str | None],
    ) -> tuple[Restore, bool]:
        """Make the moves that can be made now; whether there is none left."""
        meant = [one for one in (*wanted.values(), *instance.volumes.values()) if one]
        volumes = machines.volumes_by_id(meant)
        _see_made(volumes)
        found = moves(wanted, instance, volumes)
        if found.next:
            restore = self._walk.attempt(restore)
        for one in found.next:
            if one.attach:
                machines.attach(one.volume, instance.id, one.device)
            else:
                machines.detach(one.volume, instance.id)
        return restore, found.done

    # ------------------------------------------------------------------------- the end

    def _hand_over(self, restore: Restore, now: datetime) -> Advanced:
        """What was checked is not undone because of what cannot be tidied: that is told."""
        if restore.status in (RestoreStatus.DONE, RestoreStatus.ENDING):
            # Whoever wrote that may have died before he told it.
            self.news.announce(restore, _done(restore))
            return Advanced(restore=restore, done=True)
        heed(restore)
        machines = self._place(restore)
        if not restore.request.started and not self._stopped(restore, machines):
            return Advanced(restore=restore)
        untidy: list[str] = []
        if restore.launch is not None and not restore.compared:
            clones = self._clones(restore, machines)
            if clones is None:
                return Advanced(restore=restore)
            for one in clones if restore.launch.protected_last else []:
                with _told(untidy, f"{one.id} is not protected from being stopped"):
                    machines.protect_from_stop(one.id)
            restore = self._compared(restore, machines, clones[0], now)
        restore = self._without_copies(restore, machines, now, untidy)
        plan = restore.in_place
        if plan is not None:
            restore = self._walk.attempt(restore)
            with _told(untidy, "the volumes that were replaced are not marked, and stay"):
                old = machines.volumes_by_id(one.old for one in plan.swaps if one.old)
                machines.tag(old, of_restore(restore.id, restore.point, temporary=True))
        if restore.time_to_live is not None:
            if restore.expires_at is None:
                ends = now + restore.time_to_live
                restore = self._walk.save(restore, replace(restore, expires_at=ends))
            with _told(untidy, "nothing is scheduled for its end, which only a sweep sees to"):
                self.endings.set(restore.id, restore.expires_at or now)
        with _told(untidy, f"{restore.point} is still kept for it"):
            self.ledger.free_from_restore(restore)
        drill = restore.request.mode is Mode.DRILL
        if drill:
            with _told(untidy, f"that it proves {restore.point} is not written there"):
                self._prove(restore)
        status = RestoreStatus.ENDING if drill else RestoreStatus.DONE
        restore = self._walk.save(restore, replace(restore, status=status, settled_at=now))
        self.news.announce(restore, "; ".join((_done(restore), *untidy)))
        return Advanced(restore=restore, done=True)

    def _without_copies(
        self, restore: Restore, machines: Machines, now: datetime, untidy: list[str]
    ) -> Restore:
        compute, there = self.at(restore.place), set(restore.ids("snapshot"))
        with _told(untidy, "the copies of its snapshots stay"):
            there = {one.member.snapshot for one in machines.things_of(restore.id).snapshots}
        for snapshot in sorted(there):
            with _told(untidy, f"the copy {snapshot} stays"):
                compute.delete_snapshot(snapshot)
                there.remove(snapshot)
        return _removed(restore, "snapshot", now, but=there)

    def _stopped(self, restore: Restore, machines: Machines) -> bool:
        clones = self._clones(restore, machines)
        for one in clones or []:
            if one.state == "running":
                machines.stop(one.id)
        return clones is not None and all(one.state == "stopped" for one in clones)

    def _compared(
        self, restore: Restore, machines: Machines, clone: Instance, now: datetime
    ) -> Restore:
        """Of one clone: all are launched alike."""
        try:
            found = self._beside(restore, machines, clone, now)
            compared, same = for_record(found)
            return self._walk.save(restore, replace(restore, compared=compared, same=same))
        except Refused as error:
            return replace(restore, compared=not_compared(str(error)))

    def _beside(
        self, restore: Restore, machines: Machines, clone: Instance, now: datetime
    ) -> tuple[Compared, ...]:
        point = self.ledger.point(restore.point)
        if point is None or point.manifest is None:
            raise CannotRestore([f"point: {restore.point} is gone meanwhile"])
        return compare(
            restore.request,
            _launch_of(restore),
            point.manifest,
            clone,
            machines.launch_attributes(clone, now),
            machines.volumes_by_id(clone.volumes.values()).values(),
        )

    def _prove(self, restore: Restore) -> None:
        evidence = restore.evidence
        if evidence is None or not evidence.passed:
            return
        proof = Proof(
            restore=restore.id,
            at=evidence.at,
            seconds=int((evidence.at - restore.free_to_go_at).total_seconds()),
            how="; ".join(one for one in (evidence.status, evidence.only_status) if one),
        )
        self.ledger.prove(restore.point, proof)

    def _place(self, restore: Restore) -> Machines:
        return self.machines(restore.place.region)

    def _tags(self, restore: Restore) -> dict[str, str]:
        return of_restore(restore.id, restore.point, temporary=restore.temporary)


def _done(restore: Restore) -> str:
    if restore.status is RestoreStatus.ENDING:
        return "is checked, and is removed now"
    made = ", ".join(restore.ids("instance") or restore.ids("volume"))
    if restore.expires_at is None:
        return f"is done: {made}"
    ends = instant(restore.expires_at)
    if restore.in_place is not None:
        return f"is done: {made}; the volumes that were replaced are kept until {ends}"
    return f"is done: {made}; it is removed at {ends}"


@contextmanager
def _told(untidy: list[str], what: str) -> Iterator[None]:
    """``what``: of a call that is refused."""
    try:
        yield
    except Refused as error:
        untidy.append(f"{what}: {error}")


def _heeding(act: Act) -> Act:
    """A step of a restore that a person has stopped is its end."""

    def heeding(restore: Restore, now: datetime) -> Advanced:
        heed(restore)
        return act(restore, now)

    return heeding


def _launch_of(restore: Restore) -> Launch:
    if restore.launch is None:
        raise MadeInVain(f"{restore.id} has no launch on record")
    return restore.launch


def _snapshots(restore: Restore) -> dict[str, str]:
    return {one.volume: one.snapshot for one in restore.pieces if one.snapshot}


def _one(machines: Machines, instance: str) -> Instance:
    found = machines.instances_by_id([instance]).get(instance)
    if found is None or found.gone:
        raise MadeInVain(f"{instance} is gone")
    return found


def _see_made(volumes: Mapping[str, Volume]) -> None:
    for one in volumes.values():
        if one.state == "error":
            raise MadeInVain(
                f"EC2 could not make {one.id}: most often the KMS key of the snapshot or of "
                "the volume is disabled or may not be used"
            )


def _see_free(instance: Instance, device: str, *known: str | None) -> None:
    """A volume that somebody has put there meanwhile is not for us to take out."""
    current = instance.volumes.get(device)
    if current is not None and current not in known:
        raise MadeInVain(
            f"{device} of {instance.id} has {current}, which was not there when the restore was "
            "asked for"
        )


def _removed(restore: Restore, kind: str, now: datetime, but: Collection[str] = ()) -> Restore:
    made = (one.id for one in restore.made if one.kind != kind or one.id in but)
    return gone(restore, made, now)
