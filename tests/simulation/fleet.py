"""Three policies, 200 sources in two Regions, and what people do to them from day to day."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from lastgood.domain.manifest import Attachment, Instance
from lastgood.domain.policy import Policy, ResourceKind, Retention, Schedule, Select
from lastgood.errors import UnknownPolicy
from lastgood.ports import Deployed
from tests.simulation.agenda import HOUR, Agenda
from tests.simulation.ec2 import Region
from tests.support.builders import a_volume, an_instance

HOME, AWAY = "eu-west-1", "us-east-1"
SKIP = {"backup-skip": "true"}
KEEP = Retention(keep_daily=7)

WEB = Policy(
    name="web-daily",
    select=Select(
        resource=ResourceKind.INSTANCE,
        tags={"backup": ("web",)},
        exclude_tags={"backup-skip": ("true",)},
        exclude_volume_tags={"scratch": ("true",)},
        regions=(HOME, AWAY),
    ),
    schedules=(Schedule(cron="30 2 * * ? *", timezone="Europe/Berlin"),),
    retention=KEEP,
    rpo=timedelta(hours=30),
)
DATA = Policy(
    name="data-twice-weekly",
    select=Select(
        resource=ResourceKind.VOLUME,
        tags={"backup": ("data",)},
        exclude_tags={"backup-skip": ("true",)},
        regions=(AWAY,),
    ),
    schedules=(Schedule(cron="30 2 ? * SUN,WED *", timezone="America/New_York"),),
    retention=KEEP,
)
ESTATE = Policy(
    name="estate-weekly",
    select=Select(
        resource=ResourceKind.INSTANCE,
        tags={"estate": ("yes",)},
        exclude_tags={"backup-skip": ("true",)},
        exclude_boot_volume=True,
    ),
    schedules=(Schedule(cron="0 4 ? * SAT *", window=timedelta(minutes=30)),),
    retention=KEEP,
    rpo=timedelta(days=8),
)
POLICIES = (WEB, DATA, ESTATE)


class DeployedPolicies:
    """``Policies``, of which one may be taken out for a while."""

    def __init__(self, since: datetime) -> None:
        self._deployed = {one.name: Deployed(one, since) for one in POLICIES}

    def all(self) -> list[Deployed]:
        return [self._deployed[name] for name in sorted(self._deployed)]

    def get(self, name: str) -> Policy:
        if name not in self._deployed:
            raise UnknownPolicy(f"no policy {name!r} is deployed")
        return self._deployed[name].policy

    def has(self, policy: Policy) -> bool:
        return policy.name in self._deployed

    def take_out(self, policy: Policy) -> None:
        self._deployed.pop(policy.name, None)

    def put_back(self, policy: Policy, at: datetime) -> None:
        self._deployed[policy.name] = Deployed(policy, at)


@dataclass(slots=True)
class People:
    """Who runs the fleet. ``changed``: since when a source has been taken, or not, as it is."""

    agenda: Agenda
    regions: dict[str, Region]
    changed: dict[str, datetime]
    _born: int = 0

    def found(self) -> None:
        """60 instances for the web, 60 lone volumes, 80 instances of the estate."""
        for number in range(60):
            estate = {"estate": "yes"} if number < 5 else {}
            self._launch(HOME if number < 40 else AWAY, {"backup": "web"} | estate)
        for _ in range(60):
            self._put_volume(AWAY, {"backup": "data"})
        for _ in range(80):
            self._launch(HOME, {"estate": "yes"})
        self._share()

    def selected(self, policy: Policy) -> Iterator[str]:
        """Which sources the policy takes now: read without the product's own rules."""
        for region in policy.select.regions or (HOME,):
            ec2 = self.regions[region]
            if policy is DATA:
                for volume in ec2.disks.values():
                    if _matches(volume.tags, policy):
                        yield volume.id
                continue
            for instance in ec2.fleet.values():
                if instance.state != "terminated" and _matches(instance.tags, policy):
                    if policy is ESTATE and len(instance.volumes) < 2:
                        continue
                    yield instance.id

    def change(self) -> None:
        """One thing that happens in a fleet."""
        act = self.agenda.random.choice(
            (
                self._replace,
                self._replace_disk,
                self._skip,
                self._attach,
                self._detach,
                self._restart,
            )
        )
        act()

    # what they do

    def _launch(self, region: str, tags: dict[str, str]) -> None:
        id_ = self._id("i")
        boot = self._put_volume(region, {"Name": id_}, attached=(id_, "/dev/sda1"))
        volumes = {"/dev/sda1": boot}
        more = 1 if "estate" in tags or self.agenda.chance(0.3) else 0
        for number in range(more):
            device = f"/dev/sdf{number}"
            scratch = {"scratch": "true"} if self.agenda.chance(0.1) else {}
            volumes[device] = self._put_volume(region, scratch, attached=(id_, device))
        self.regions[region].fleet[id_] = an_instance(
            id_,
            tags=tags | {"Name": id_},
            volumes=volumes,
            launched_at=self.agenda.time,
            hibernation=self.agenda.chance(0.04),
        )
        self.changed[id_] = self.agenda.time

    def _share(self) -> None:
        """A volume that two of the web's instances have, and one that they lose with it never."""
        ec2 = self.regions[HOME]
        pair = sorted(one.id for one in ec2.fleet.values() if not one.hibernation)[10:12]
        disk = self._put_volume(HOME, {"Name": "shared"})
        for id_ in pair:
            one = ec2.fleet[id_]
            ec2.fleet[id_] = replace(
                one, volumes={**one.volumes, "/dev/sdz": disk}, tags={**one.tags, "pair": "yes"}
            )
        ec2.disks[disk] = replace(
            ec2.disks[disk], multi_attach=True, attachments=tuple(_attached(i) for i in pair)
        )

    def _put_volume(
        self, region: str, tags: dict[str, str], attached: tuple[str, str] | None = None
    ) -> str:
        id_ = self._id("vol")
        attachments = (_attached(*attached),) if attached else ()
        self.regions[region].disks[id_] = a_volume(id_, tags=tags, attachments=attachments)
        self.changed[id_] = self.agenda.time
        return id_

    def _replace(self) -> None:
        """An instance is terminated, and seen as such for an hour; another takes its place."""
        ec2, one = self._an_instance()
        ec2.fleet[one.id] = replace(one, state="terminated", volumes={})
        for volume in one.volumes.values():
            del ec2.disks[volume]
        self.changed[one.id] = self.agenda.time
        self.agenda.at(self.agenda.time + HOUR, partial(ec2.fleet.pop, one.id, None))
        tags = {key: value for key, value in one.tags.items() if key in ("backup", "estate")}
        self._launch(ec2.region, tags)
        self.agenda.note("instances replaced", one.id)

    def _replace_disk(self) -> None:
        ec2 = self.regions[AWAY]
        lone = sorted(one.id for one in ec2.disks.values() if "backup" in one.tags)
        gone = self.agenda.random.choice(lone)
        del ec2.disks[gone]
        self.changed[gone] = self.agenda.time
        self._put_volume(AWAY, {"backup": "data"})
        self.agenda.note("volumes replaced", gone)

    def _skip(self) -> None:
        """A source is tagged to be left out, for hours or days."""
        ec2, one = self._an_instance()
        ec2.fleet[one.id] = replace(one, tags={**one.tags, **SKIP})
        self.changed[one.id] = self.agenda.time
        self.agenda.after(self.agenda.between(3600, 5 * 86400), self._unskip, ec2, one.id)
        self.agenda.note("sources left out", one.id)

    def _unskip(self, ec2: Region, id_: str) -> None:
        if one := ec2.fleet.get(id_):
            tags = {key: value for key, value in one.tags.items() if key not in SKIP}
            ec2.fleet[id_] = replace(one, tags=tags)
            self.changed[id_] = self.agenda.time

    def _attach(self) -> None:
        ec2, one = self._an_instance()
        if len(one.volumes) > 3:
            return
        device = f"/dev/sdx{self._born}"
        scratch = {"scratch": "true"} if self.agenda.chance(0.3) else {}
        disk = self._put_volume(ec2.region, scratch, attached=(one.id, device))
        ec2.fleet[one.id] = replace(one, volumes={**one.volumes, device: disk})
        self._judged_anew(one)
        self.agenda.note("volumes attached", one.id)

    def _detach(self) -> None:
        ec2, one = self._an_instance()
        data = [device for device in one.volumes if device != one.root_device]
        if not data:
            return
        device = self.agenda.random.choice(data)
        disk = one.volumes[device]
        ec2.fleet[one.id] = replace(
            one, volumes={at: id_ for at, id_ in one.volumes.items() if at != device}
        )
        ec2.disks[disk] = replace(ec2.disks[disk], attachments=(), state="available")
        self._judged_anew(one)
        self.agenda.note("volumes detached", one.id)

    def _judged_anew(self, instance: Instance) -> None:
        """A policy without boot volumes takes an instance for its other volumes only."""
        if "estate" in instance.tags:
            self.changed[instance.id] = self.agenda.time

    def _restart(self) -> None:
        ec2, one = self._an_instance()
        ec2.fleet[one.id] = replace(one, launched_at=self.agenda.time)
        self.agenda.note("instances restarted", one.id)

    def _an_instance(self) -> tuple[Region, Instance]:
        ec2 = self.regions[HOME if self.agenda.chance(0.7) else AWAY]
        there = [
            one for one in ec2.fleet.values() if one.state == "running" and "pair" not in one.tags
        ]
        return ec2, self.agenda.random.choice(there)

    def _id(self, kind: str) -> str:
        self._born += 1
        return f"{kind}-{self._born:017x}"


def _attached(instance: str, device: str = "/dev/sdz") -> Attachment:
    return Attachment(instance=instance, device=device, delete_on_termination=True)


def _matches(tags: Mapping[str, str], policy: Policy) -> bool:
    return "backup-skip" not in tags and all(
        tags.get(key) in values for key, values in policy.select.tags.items()
    )
