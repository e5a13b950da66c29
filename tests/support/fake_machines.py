"""EC2's instances and volumes in one Region, in memory: what is asked for takes its time, and
describes show what there was a while ago."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from lastgood.domain.launching import Disk, Launch
from lastgood.domain.manifest import Attachment, Instance, Interface, LaunchAttributes, Volume
from lastgood.domain.preflight import Group, Image, InstanceType, Subnet
from lastgood.domain.tags import RESTORE
from lastgood.errors import CallRefused, InUse, SourceGone
from lastgood.ports import Health, RootTask, Things
from tests.support.builders import SOURCE
from tests.support.fakes import FakeClock, FakeCompute

OK = Health(instance="ok", system="ok")
VPC = "vpc-1"
PACE = timedelta(seconds=20)


@dataclass
class World:
    """``coming``: what will happen by itself, and when."""

    instances: dict[str, Instance] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    images: dict[str, tuple[Image, dict[str, str]]] = field(default_factory=dict)
    tasks: dict[str, RootTask] = field(default_factory=dict)
    coming: tuple[tuple[datetime, "Change"], ...] = ()

    def at(self, time: datetime) -> "World":
        world = World(
            dict(self.instances),
            dict(self.volumes),
            dict(self.images),
            dict(self.tasks),
            tuple(one for one in self.coming if one[0] > time),
        )
        for _, change in sorted((one for one in self.coming if one[0] <= time), key=_due):
            change(world)
        return world

    def into(self, instance: str, state: str) -> None:
        if instance in self.instances:
            self.instances[instance] = replace(self.instances[instance], state=state)

    def on_device(self, instance: str, device: str, volume: str | None) -> None:
        known = self.instances[instance]
        volumes = {key: one for key, one in known.volumes.items() if key != device}
        if volume:
            volumes[device] = volume
        self.instances[instance] = replace(known, volumes=volumes)

    def attach(self, volume: str, instance: str, device: str, *, deleted_with: bool) -> None:
        attachment = Attachment(
            instance=instance, device=device, delete_on_termination=deleted_with
        )
        self.volumes[volume] = replace(
            self.volumes[volume], state="in-use", attachments=(attachment,)
        )

    def free(self, volume: str) -> None:
        if volume in self.volumes:
            self.volumes[volume] = replace(self.volumes[volume], state="available", attachments=())


Change = Callable[[World], None]


def _due(one: tuple[datetime, Change]) -> datetime:
    return one[0]


@dataclass
class FakeMachines:
    """``Machines``. ``lag``: how old what describes show is; ``pace``: how long a change takes.

    ``bad``: snapshots of which nothing can be made. ``unhealthy``: what status checks say of an
    instance; else all is well. ``ends_starting``: an instance that starts is ended by EC2.
    ``task_ends``: how the replacement of a root ends. ``torn``: volumes that were taken from an
    instance that ran.
    """

    clock: FakeClock
    compute: FakeCompute
    lag: timedelta = timedelta(0)
    pace: timedelta = PACE
    region: str = SOURCE.region
    bad: set[str] = field(default_factory=set)
    unhealthy: dict[str, Health] = field(default_factory=dict)
    ends_starting: bool = False
    task_ends: str = "succeeded"
    protected: set[str] = field(default_factory=set)
    unstoppable: set[str] = field(default_factory=set)
    user_data: dict[str, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    _worlds: list[tuple[datetime, World]] = field(default_factory=list)
    _by_token: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _ids: "count[int]" = field(default_factory=lambda: count(1))

    # what there is, and what happens by other hands

    @property
    def now(self) -> World:
        return self._seen(self.clock.now())

    def put(self, *things: Instance | Volume) -> None:
        """As if it had been there always."""
        world = self.now
        for one in things:
            where = world.instances if isinstance(one, Instance) else world.volumes
            where[one.id] = one
        self._worlds = [(datetime.min.replace(tzinfo=self.clock.now().tzinfo), world)]

    def change(self, change: Change) -> None:
        """Something is so from now on."""
        world = self.now
        change(world)
        self._worlds.append((self.clock.now(), world))

    def _seen(self, time: datetime) -> World:
        found = next((world for at, world in reversed(self._worlds) if at <= time), World())
        return found.at(time)

    @property
    def _shown(self) -> World:
        return self._seen(self.clock.now() - self.lag)

    def _later(self, world: World, change: Change, after: float = 1.0) -> None:
        world.coming = (*world.coming, (self.clock.now() + self.pace * after, change))

    # describes

    def instances_by_id(self, ids: Iterable[str]) -> dict[str, Instance]:
        return {one: self._shown.instances[one] for one in ids if one in self._shown.instances}

    def volumes_by_id(self, ids: Iterable[str]) -> dict[str, Volume]:
        return {one: self._shown.volumes[one] for one in ids if one in self._shown.volumes}

    def instances_named(self, name: str) -> tuple[Instance, ...]:
        return tuple(one for one in self._shown.instances.values() if one.tags.get("Name") == name)

    def launch_attributes(self, instance: Instance, at: datetime) -> LaunchAttributes:
        return LaunchAttributes(
            read_at=at,
            launched_at=instance.launched_at,
            user_data=self.user_data.get(instance.id),
            stop_protection=instance.id in self.unstoppable,
        )

    def things_of(self, restore: str) -> Things:
        seen = self._shown
        return Things(
            instances=tuple(
                one for one in seen.instances.values() if one.tags.get(RESTORE) == restore
            ),
            volumes=tuple(one for one in seen.volumes.values() if one.tags.get(RESTORE) == restore),
            images=tuple(one for one, of in seen.images.values() if of.get(RESTORE) == restore),
            snapshots=tuple(self.compute.tagged(RESTORE, restore)),
        )

    def images(self, ids: Iterable[str]) -> dict[str, Image]:
        return {one: self._shown.images[one][0] for one in ids if one in self._shown.images}

    def root_tasks(self, instance: str, restore: str) -> tuple[RootTask, ...]:
        return tuple(
            one
            for one in self._shown.tasks.values()
            if one.instance == instance and one.tags.get(RESTORE) == restore
        )

    def health(self, instances: Iterable[str]) -> dict[str, Health]:
        return {one: self.unhealthy.get(one, OK) for one in instances}

    def snapshot_volumes(self, snapshots: Iterable[str]) -> dict[str, str]:
        return {one: f"vol-of-{one}" for one in snapshots}

    # a network that has all that is asked for

    def subnets(self, ids: Iterable[str]) -> dict[str, Subnet]:
        return {one: Subnet(id=one, vpc=VPC, zone="eu-west-1a", free=100) for one in ids}

    def subnets_in(self, vpc: str, zone: str | None = None) -> tuple[Subnet, ...]:
        return (Subnet(id="subnet-1", vpc=vpc, zone=zone or "eu-west-1a", free=100),)

    def groups(self, ids: Iterable[str]) -> dict[str, Group]:
        return {one: Group(id=one, name=one, vpc=VPC) for one in ids}

    def groups_named(self, name: str) -> tuple[Group, ...]:
        return (Group(id="sg-9", name=name, vpc=VPC, isolated=True),)

    def zones_offering(self, type_: str) -> frozenset[str]:
        return frozenset({"eu-west-1a"})

    def instance_type(self, type_: str) -> InstanceType | None:
        return InstanceType(architectures=frozenset({"x86_64"}))

    def has_key_pair(self, name: str) -> bool:
        return True

    def has_profile(self, arn_or_name: str) -> bool:
        return True

    def address_taken(self, subnet: str, address: str) -> str | None:
        return None

    def key_problem(self, key: str) -> str | None:
        return None

    def try_launch(self, launch: Launch, snapshots: Mapping[str, str], image: str | None) -> None:
        pass

    # what is made

    def register_image(
        self, launch: Launch, snapshots: Mapping[str, str], *, name: str, tags: Mapping[str, str]
    ) -> str:
        if name in self._by_token:
            return self._by_token[name][0]
        image = Image(id=self._id("ami"), name=name, state="pending", root_device="/dev/sda1")
        ends = "failed" if self.bad & set(snapshots.values()) else "available"

        def registered(world: World) -> None:
            if image.id in world.images:
                world.images[image.id] = (replace(image, state=ends), dict(tags))

        def register(world: World) -> None:
            world.images[image.id] = (image, dict(tags))
            self._later(world, registered)

        self.change(register)
        self._by_token[name] = (image.id,)
        return image.id

    def deregister_image(self, image: str) -> None:
        self.change(lambda world: world.images.pop(image, None) and None)

    def launch(
        self,
        launch: Launch,
        snapshots: Mapping[str, str],
        *,
        image: str,
        token: str,
        tags: Mapping[str, str],
    ) -> tuple[str, ...]:
        if token not in self._by_token:
            self._by_token[token] = tuple(
                self._launched(launch, image, tags) for _ in range(launch.count)
            )
        return self._by_token[token]

    def _launched(self, launch: Launch, image: str, tags: Mapping[str, str]) -> str:
        id_ = self._id("i")
        volumes = {one.device: self._id("vol") for one in launch.disks if one.device}
        instance = Instance(
            id=id_,
            state="pending",
            type=launch.type,
            image=image,
            architecture="x86_64",
            launched_at=self.clock.now(),
            zone=launch.zone,
            root_device=launch.root_device,
            hibernation=launch.hibernation,
            volumes=volumes,
            tags={**launch.tags, **tags},
            vpc=launch.vpc,
            subnet=launch.cards[0].subnet,
            groups=launch.cards[0].groups,
            interfaces=tuple(
                Interface(
                    id=f"eni-{id_}-{one.device_index}",
                    device_index=one.device_index,
                    network_card=one.network_card,
                    subnet=one.subnet,
                    groups=one.groups,
                    private_ips=("10.0.0.9",),
                )
                for one in launch.cards
            ),
            instance_profile=launch.instance_profile,
            key_name=launch.key_name,
        )
        if launch.termination_protection:
            self.protected.add(id_)
        if launch.stop_protection and not launch.protected_last:
            self.unstoppable.add(id_)
        if launch.user_data and not launch.swaps_root:
            self.user_data[id_] = launch.user_data

        def started(world: World) -> None:
            if self.ends_starting:
                self._end(world, id_)
            else:
                world.into(id_, "running")

        def begin(world: World) -> None:
            world.instances[id_] = instance
            for disk in launch.disks:
                if disk.device:
                    volume = volumes[disk.device]
                    world.volumes[volume] = self._volume(volume, disk, launch.zone, tags, "in-use")
                    world.attach(volume, id_, disk.device, deleted_with=disk.delete_on_termination)
            self._later(world, started)

        self.change(begin)
        return id_

    def _volume(
        self, id_: str, disk: Disk, zone: str, tags: Mapping[str, str], state: str
    ) -> Volume:
        return Volume(
            id=id_,
            type=disk.type,
            size_gib=disk.size_gib,
            state=state,
            zone=zone,
            encrypted=disk.encrypted,
            tags={**disk.tags, **tags},
        )

    def create_volume(
        self, disk: Disk, snapshot: str, zone: str, *, token: str, tags: Mapping[str, str]
    ) -> str:
        if token in self._by_token:
            return self._by_token[token][0]
        made = self._volume(self._id("vol"), disk, zone, tags, "creating")
        state = "error" if snapshot in self.bad else "available"

        def created(world: World) -> None:
            if made.id in world.volumes:
                world.volumes[made.id] = replace(world.volumes[made.id], state=state)

        def create(world: World) -> None:
            world.volumes[made.id] = made
            self._later(world, created)

        self.change(create)
        self._by_token[token] = (made.id,)
        return made.id

    def replace_root(
        self, instance: str, snapshot: str, *, token: str, tags: Mapping[str, str]
    ) -> str:
        if token in self._by_token:
            return self._by_token[token][0]
        task = RootTask(
            id=self._id("replacevol"), instance=instance, state="in-progress", tags=dict(tags)
        )
        new = self._id("vol")

        def over(world: World) -> None:
            root = world.instances[instance].root_device or ""
            old = world.instances[instance].volumes[root]
            world.tasks[task.id] = replace(task, state=self.task_ends)
            if self.task_ends == "failed":
                return
            world.free(old)
            world.on_device(instance, root, None)
            if self.task_ends == "failed-detached":
                world.into(instance, "stopped")
                return
            world.volumes[new] = replace(world.volumes[old], id=new, tags={})
            world.attach(new, instance, root, deleted_with=False)
            world.on_device(instance, root, new)

        def begin(world: World) -> None:
            world.tasks[task.id] = task
            self._later(world, over)

        self.change(begin)
        self._by_token[token] = (task.id,)
        return task.id

    # what is changed

    def attach(self, volume: str, instance: str, device: str) -> None:
        there = self.now.volumes[volume]
        if any((one.instance, one.device) == (instance, device) for one in there.attachments):
            return
        if there.state != "available" or device in self._living(instance).volumes:
            raise CallRefused(f"{volume} is {there.state}, or {device} of {instance} is taken")

        def attach(world: World) -> None:
            world.attach(volume, instance, device, deleted_with=False)
            self._later(world, lambda one: one.on_device(instance, device, volume))

        self.change(attach)

    def detach(self, volume: str, instance: str) -> None:
        known = self.now.instances.get(instance)
        device = next((key for key, one in known.volumes.items() if one == volume), None)
        if known is None or device is None:
            return
        if known.state == "running" and device == known.root_device:
            raise CallRefused(f"{volume} is the root of {instance}, which runs")
        if known.state == "running":
            self.torn.append(volume)

        def detached(world: World) -> None:
            if volume in world.instances[instance].volumes.values():
                world.on_device(instance, device, None)
                world.free(volume)

        self.change(lambda world: self._later(world, detached))

    def delete_on_termination(self, instance: str, devices: Mapping[str, bool]) -> None:
        there = self._living(instance).volumes
        if not devices.keys() <= there.keys():
            raise CallRefused(f"{instance} has nothing on one of {', '.join(devices)}")

        def change(world: World) -> None:
            for device, on in devices.items():
                world.attach(there[device], instance, device, deleted_with=on)

        self.change(change)

    def tag(self, ids: Iterable[str], tags: Mapping[str, str]) -> None:
        self._tagged(ids, lambda has: {**has, **tags})

    def untag(self, ids: Iterable[str], keys: Iterable[str]) -> None:
        without = set(keys)
        self._tagged(ids, lambda has: {k: v for k, v in has.items() if k not in without})

    def _tagged(
        self, ids: Iterable[str], change: Callable[[Mapping[str, str]], dict[str, str]]
    ) -> None:
        def tag(world: World) -> None:
            for one in ids:
                if one in world.instances:
                    known = world.instances[one]
                    world.instances[one] = replace(known, tags=change(known.tags))
                elif one in world.volumes:
                    volume = world.volumes[one]
                    world.volumes[one] = replace(volume, tags=change(volume.tags))
                else:
                    raise SourceGone(f"there is no {one}")

        self.change(tag)

    def set_source_dest_check(self, interface: str, *, on: bool) -> None:
        def change(world: World) -> None:
            for one in list(world.instances.values()):
                cards = tuple(
                    replace(card, source_dest_check=on) if card.id == interface else card
                    for card in one.interfaces
                )
                world.instances[one.id] = replace(one, interfaces=cards)

        self.change(change)

    def start(self, instance: str) -> None:
        if self._living(instance).state in ("pending", "running"):
            return
        if self._living(instance).state != "stopped":
            raise CallRefused(f"{instance} is {self._living(instance).state}")
        self._through(instance, "pending", "running")

    def stop(self, instance: str) -> None:
        if self._living(instance).state in ("stopping", "stopped"):
            return
        if instance in self.unstoppable:
            raise CallRefused(f"{instance} is protected from being stopped")
        self._through(instance, "stopping", "stopped")

    def _through(self, instance: str, first: str, then: str) -> None:
        def change(world: World) -> None:
            world.into(instance, first)
            self._later(world, lambda one: one.into(instance, then))

        self.change(change)

    def unprotect(self, instance: str) -> None:
        self.protected.discard(instance)
        self.unstoppable.discard(instance)

    def protect_from_stop(self, instance: str) -> None:
        self.unstoppable.add(self._living(instance).id)

    def set_user_data(self, instance: str, user_data: str) -> None:
        if self._living(instance).state != "stopped":
            raise CallRefused(f"{instance} is not stopped")
        self.user_data[instance] = user_data

    def terminate(self, instances: Iterable[str]) -> None:
        there = [one for one in instances if one in self.now.instances]
        kept = self.protected | self.unstoppable
        for id_ in there:
            if id_ not in kept:
                self.change(lambda world, id_=id_: self._end(world, id_))
        for id_ in there:
            if id_ in kept:
                raise CallRefused(f"{id_} is protected")

    def _end(self, world: World, id_: str) -> None:
        world.into(id_, "shutting-down")

        def ended(one: World) -> None:
            for volume in list(one.instances[id_].volumes.values()):
                if one.volumes[volume].attachments[0].delete_on_termination:
                    del one.volumes[volume]
                else:
                    one.free(volume)
            one.instances[id_] = replace(one.instances[id_], state="terminated", volumes={})

        self._later(world, ended)

    def delete_volume(self, volume: str) -> None:
        known = self.now.volumes.get(volume)
        if known is None:
            return
        if known.attachments:
            raise InUse(f"{volume} is attached")

        def delete(world: World) -> None:
            world.volumes[volume] = replace(known, state="deleting")
            self._later(world, lambda one: one.volumes.pop(volume, None) and None, 0.5)

        self.change(delete)

    def _living(self, instance: str) -> Instance:
        known = self.now.instances.get(instance)
        if known is None or known.state in ("shutting-down", "terminated"):
            raise SourceGone(f"there is no {instance}")
        return known

    def _id(self, kind: str) -> str:
        return f"{kind}-new{next(self._ids)}"
