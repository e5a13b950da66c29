"""Restores on stand-ins for AWS: one of each kind, and the machine that walks them to their end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from check_restore.usecase import Checker
from clone_instance.finding import Finder
from clone_instance.planning import RestorePlanner
from clone_instance.usecase import RestoreDesk
from lastgood.domain.launching import Card, Disk, Launch, NewImage
from lastgood.domain.manifest import Manifest, Volume
from lastgood.domain.model import PointStatus
from lastgood.domain.place import Place
from lastgood.domain.policy import Mode, Restores
from lastgood.domain.restoring import (
    Asker,
    Attach,
    InPlace,
    Piece,
    Restore,
    RestoreRequest,
    RestoreStatus,
    Swap,
)
from lastgood.errors import Conflict, LastgoodError, TryAgain
from lastgood.ledger.memory import MemoryLedger
from lastgood.ports import Patience
from lastgood.stepping import StepRequest
from restore_instance.safety import SafetyPoints
from restore_instance.usecase import Restorer
from tests.cloud.killed import Killed
from tests.support.builders import (
    POLICY,
    SOURCE,
    a_member,
    a_point,
    a_restore,
    a_volume,
    an_instance,
)
from tests.support.fake_machines import FakeMachines, World
from tests.support.fakes import (
    FakeClock,
    FakeCommands,
    FakeCompute,
    FakeEndings,
    FakeNews,
    FakePolicies,
    FakeQueue,
    FakeRestoreMachine,
    Steps,
)
from tests.support.prune_stage import a_policy
from undo_restore.usecase import Undoer

ROOT, DATA = "/dev/sda1", "/dev/sdf"
OTHER = "i-0b"
"""An instance of somebody else's."""
AWAY = Place(region="eu-central-1", account=SOURCE.account)
PATIENCE = Patience(lease=timedelta(minutes=2))
MOST_CALLS = 500

DISKS = (
    Disk(piece="vol-1", device=ROOT, type="gp3", size_gib=8, root=True, encrypted=True),
    Disk(
        piece="vol-2",
        device=DATA,
        type="gp3",
        size_gib=8,
        encrypted=True,
        delete_on_termination=False,
        tags={"part": "data"},
    ),
)
PIECES = tuple(
    Piece(
        device=one.device,
        volume=one.piece,
        taken_from=f"snap-{one.piece[-1]}",
        encrypted=True,
        size_gib=8,
        snapshot=f"snap-{one.piece[-1]}",
    )
    for one in DISKS
)
LAUNCH = Launch(
    type="m6i.large",
    zone="eu-west-1a",
    vpc="vpc-1",
    root_device=ROOT,
    disks=DISKS,
    cards=(
        Card(
            device_index=0,
            network_card=0,
            subnet="subnet-1",
            groups=("sg-1",),
            source_dest_check=False,
        ),
    ),
    new_image=NewImage(architecture="x86_64", root_device=ROOT),
    tags={"Name": "web-1"},
)
SWAPS = (
    Swap(device=ROOT, piece="vol-1", old="vol-1", delete_on_termination=True, root=True),
    Swap(device=DATA, piece="vol-2", old="vol-2", delete_on_termination=False),
)


def _asked(mode: Mode, **given: Any) -> RestoreRequest:
    return RestoreRequest(source=SOURCE.id, mode=mode, asker=Asker(by="anna"), **given)


def a_clone(**given: Any) -> Restore:
    facts = {"request": _asked(Mode.CLONE), "launch": LAUNCH, "time_to_live": timedelta(hours=8)}
    return replace(a_restore(), **{"pieces": PIECES, **facts, **given})


def a_licensed_clone() -> Restore:
    """Two of them, which start from the image of the source."""
    return a_clone(launch=replace(LAUNCH, image="ami-1", new_image=None, count=2))


def a_clone_from_elsewhere() -> Restore:
    there = tuple(replace(one, snapshot=None) for one in PIECES)
    return a_clone(origin=AWAY, source=replace(SOURCE, region=AWAY.region), pieces=there)


def a_drill() -> Restore:
    return a_clone(request=_asked(Mode.DRILL), time_to_live=None)


def volumes(**given: Any) -> Restore:
    attach = Attach(instance=OTHER, devices={"vol-2": "/dev/sdg"})
    facts: dict[str, Any] = {
        "request": _asked(Mode.VOLUMES),
        "disks": DISKS[1:],
        "pieces": PIECES[1:],
        "zone": "eu-west-1a",
        "attach": attach,
        "time_to_live": timedelta(hours=8),
    }
    return replace(a_restore(), **{**facts, **given})


def in_place(**given: Any) -> Restore:
    facts: dict[str, Any] = {
        "request": _asked(Mode.IN_PLACE, stop=True),
        "disks": DISKS,
        "pieces": PIECES,
        "zone": "eu-west-1a",
        "in_place": InPlace(instance=SOURCE.id, was_running=True, swaps=SWAPS),
        "time_to_live": timedelta(days=7),
    }
    return replace(a_restore(), **{**facts, **given})


def root_by_task() -> Restore:
    swap = replace(SWAPS[0], by_task=True)
    plan = InPlace(instance=SOURCE.id, was_running=True, swaps=(swap,))
    return in_place(in_place=plan, disks=DISKS[:1], pieces=PIECES[:1])


KINDS = {
    "clone": a_clone,
    "licensed clones": a_licensed_clone,
    "clone from elsewhere": a_clone_from_elsewhere,
    "drill": a_drill,
    "volumes": volumes,
    "in place": in_place,
    "root by task": root_by_task,
}


@dataclass
class TakingQueue(FakeQueue):
    """Whose points are taken at once."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def send(self, requests: Any) -> int:
        sent = super().send(requests)
        for one in self.sends[-1]:
            facts = {"id": one.point, "slot": one.slot, "run": one.run}
            self.ledger.rebuild(a_point(status=PointStatus.PENDING, **facts))
        return sent


@dataclass
class RestoreStage:
    """The source, ``i-0a``, and ``i-0b`` run; the point of the source is there. ``rules``: of its
    policy; ``others``: of further policies."""

    lag: timedelta = timedelta(0)
    clock: FakeClock = field(default_factory=FakeClock)
    steps: Steps = field(default_factory=Steps)
    rules: Restores = field(default_factory=Restores)
    others: dict[str, Restores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger()
        self.compute = FakeCompute(self.clock, lag=self.lag)
        self.ec2 = FakeMachines(self.clock, self.compute, lag=self.lag)
        self.machine, self.commands = FakeRestoreMachine(), FakeCommands()
        self.endings, self.news = FakeEndings(), FakeNews()
        self.queue = TakingQueue(ledger=self.ledger)
        source = an_instance(vpc="vpc-1", subnet="subnet-1", groups=("sg-1",))
        self.ec2.put(
            source,
            an_instance(OTHER, volumes={ROOT: "vol-8"}),
            *(_attached(DISKS[0], source.id), _attached(DISKS[1], source.id)),
            replace(_attached(DISKS[0], OTHER), id="vol-8"),
        )
        manifest = Manifest(
            captured_at=self.clock.now(),
            volumes=(_attached(DISKS[0], source.id), _attached(DISKS[1], source.id)),
            instance=source,
        )
        self.point = a_point(
            status=PointStatus.AVAILABLE,
            manifest=manifest,
            members=(a_member(), a_member("snap-2", "vol-2", device=DATA)),
        )
        self.ledger.rebuild(self.point)

    # the functions

    def watched(self, name: str) -> Any:
        return self.steps.watch(name, getattr(self, name))

    def _ports(self, *names: str) -> dict[str, Any]:
        return {name: self.watched(name) for name in names}

    def call(
        self, step: str, restore: Restore, token: str = "", context: Any = None
    ) -> dict[str, Any]:
        """One call of a step, as the machine makes it."""
        ec2, compute = self.watched("ec2"), self.watched("compute")
        request = StepRequest(restore=restore.id, step=step, token=token, context=context or {})
        ports = {"machines": lambda _: ec2, "clock": self.clock}
        if step == "check":
            commands = self.watched("commands")
            return Checker(commands=lambda _: commands, **ports, **self._ports("ledger")).step(
                request
            )
        acting = {**ports, "at": lambda _: compute, "patience": PATIENCE}
        commands = self.watched("commands")
        told = self._ports("ledger", "endings", "news")
        if step in ("undo", "remove"):
            return Undoer(**acting, **told).step(request)
        safety = SafetyPoints(**self._ports("ledger", "queue"))
        return Restorer(
            commands=lambda _: commands,
            **acting,
            **told,
            **self._ports("machine"),
            safety=safety,
        ).step(request)

    @property
    def desk(self) -> RestoreDesk:
        ec2 = self.watched("ec2")
        finder = Finder(
            ledger=self.ledger,
            policies=FakePolicies(
                {
                    name: a_policy(name=name, restores=rules)
                    for name, rules in {POLICY: self.rules, **self.others}.items()
                }
            ),
            machines=lambda _: ec2,
            here=SOURCE.place,
            alone=False,
        )
        ledger = self.watched("ledger")
        return RestoreDesk(
            finder=finder,
            planner=RestorePlanner(
                finder=finder, ledger=ledger, machines=lambda _: ec2, here=SOURCE.place
            ),
            machines=lambda _: ec2,
            clock=self.clock,
            ledger=ledger,
            **self._ports("machine", "endings", "news"),
        )

    def ask(self, **given: Any) -> Any:
        """What clone_instance answers."""
        return self.desk.answer({"by": "anna", **given}, "request-1")

    # the machine

    def open(self, restore: Restore) -> Restore:
        return self.ledger.open_restore(restore)

    def finish(self, step: str, restore: Restore, context: Any = None) -> dict[str, Any]:
        """Call the step until it is done: at once if it was killed, in its own time if it waits, a
        little later if it is worth that."""
        tries = 0
        for _ in range(MOST_CALLS):
            try:
                answer = self.call(step, restore, context=context)
            except Killed:
                continue
            except (TryAgain, Conflict):
                tries += 1
                if tries > 8:
                    raise
                self.clock.advance(timedelta(seconds=20))
                continue
            self._time_passes()
            if answer["done"]:
                return answer
            self.clock.advance(timedelta(seconds=answer["wait"]))
        raise AssertionError(f"{step} does not end")

    def _time_passes(self) -> None:
        """Copies complete."""
        self.compute.end_all()

    def run(self, restore: Restore) -> Restore:
        """Forward to the end; undone if that fails. The record then."""
        try:
            for step in self._way(restore):
                self.finish(step, restore)
        except LastgoodError as error:
            self.undo(restore, error)
        if self.record(restore).status is RestoreStatus.ENDING:
            self.persist("remove", restore)
        return self.record(restore)

    def persist(self, step: str, restore: Restore, context: Any = None) -> None:
        """What nothing catches is redriven, once a person has seen to it."""
        try:
            self.finish(step, restore, context)
        except LastgoodError:
            self.finish(step, restore, context)

    def undo(self, restore: Restore, error: LastgoodError) -> Restore:
        cause = json.dumps({"errorMessage": str(error), "errorType": type(error).__name__})
        failure = {"Error": type(error).__name__, "Cause": cause}
        self.persist("undo", restore, {"failure": failure})
        return self.record(restore)

    def _way(self, restore: Restore) -> Iterator[str]:
        begun = self.finish("begin", restore)
        yield "hold"
        if begun["copies"]:
            yield "copy"
        if begun["launches"]:
            if begun["registers"]:
                yield "image"
            yield "launch"
            if begun["swaps_root"]:
                yield "root"
            yield "dress"
        else:
            yield from self._way_of_volumes(begun)
        yield from ("check", "hand_over")

    def _way_of_volumes(self, begun: dict[str, Any]) -> Iterator[str]:
        yield "volumes"
        if not begun["in_place"]:
            yield "attach"
            return
        if begun["stops"]:
            yield "stop"
        yield "safety"
        yield from ("replace",) if begun["by_task"] else ("swap", "start")

    def record(self, restore: Restore) -> Restore:
        found = self.ledger.restore(restore.id)
        assert found is not None
        return found

    # what there is

    def scene(self) -> dict[str, Any]:
        """All that there is once it has settled, without what tells one new thing from another."""
        self.clock.advance(timedelta(minutes=30))
        world = self.ec2.now
        living = [one for one in world.instances.values() if one.state != "terminated"]
        return {
            "instances": sorted(
                (
                    _name(one.id),
                    one.state,
                    sorted(one.tags.items()),
                    [_volume(world, device, id_) for device, id_ in sorted(one.volumes.items())],
                    [card.source_dest_check for card in one.interfaces],
                )
                for one in living
            ),
            "loose": sorted(
                _volume(world, "", one.id) for one in world.volumes.values() if not one.attachments
            ),
            "images": sorted(_name(one) for one in world.images),
            "snapshots": len(self.compute.made),
            "endings": sorted(self.endings.set_for),
            "held": sum(one.hold is not None for one in self.ledger.points(SOURCE.id)),
        }


def _attached(disk: Disk, instance: str) -> Volume:
    world = World(volumes={disk.piece: a_volume(disk.piece, tags=disk.tags)})
    world.attach(disk.piece, instance, disk.device or "", deleted_with=disk.delete_on_termination)
    return world.volumes[disk.piece]


def _name(id_: str) -> str:
    return "new" if "new" in id_ else id_


def _volume(world: World, device: str, id_: str) -> tuple[Any, ...]:
    one = world.volumes[id_]
    flags = [attached.delete_on_termination for attached in one.attachments]
    return device, _name(id_), one.state, sorted(one.tags.items()), flags
