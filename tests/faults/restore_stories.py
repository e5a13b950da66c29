"""Restores of each mode, told as often as a fault can be put into them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from lastgood.domain.names import restore_id
from lastgood.domain.policy import Mode, Restores
from lastgood.domain.restoring import RestoreStatus
from lastgood.domain.tags import RESTORE, TEMPORARY
from lastgood.errors import LastgoodError
from tests.cloud.ec2 import Outcome, Pace
from tests.cloud.ec2.conditions import CommandOutcome
from tests.cloud.ec2.seed import seed_network
from tests.cloud.killed import Killed
from tests.faults.stories import AWAY, LAG
from tests.support.fleet import disk, launch, tag, volumes_of
from tests.support.restores import HOUR, Site, isolated_group, launch_there
from tests.support.world import HOME, Fate, World, a_policy

SOON = timedelta(seconds=3)
PACE = Pace(
    pending=SOON,
    checking=SOON,
    stopping=SOON,
    shutting_down=SOON,
    creating=SOON,
    attaching=SOON,
    detaching=SOON,
    replacing=SOON,
    registering=SOON,
)
"""Everything takes a while, and no wait takes more than one look."""
IMAGE = "ami-0123456789abcdef0"
TRIES = 3
"""How often a person asks again after an error."""
DONE, UNDONE, ENDED = RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED
WEEKS = "20d"
"""Longer than any story is told."""
CHECK: dict[str, Any] = {"check": "systemctl is-active web"}


@dataclass
class Scene:
    """What there is before anybody asks, and what was asked for.

    ``asked``: the names of the requests; ``refused``: what was answered with a no. ``before``: of
    each instance, volume, image and snapshot by Region what is not to change, unless a restore was
    to change it.
    """

    site: Site
    before: dict[str, dict[str, Any]]
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.site.world

    def ask(self, **request: Any) -> bool:
        """As a person who asks again if no answer comes; whether one came."""
        name = request.get("request_id", "")
        if name and name not in self.asked:
            self.asked.append(name)
        for _ in range(TRIES):
            with suppress(LastgoodError, Killed):
                self._ask(request)
                return True
            self.world.advance(timedelta(seconds=1))
        return False

    def _ask(self, request: dict[str, Any]) -> None:
        try:
            answer = self.world.invoke("clone_instance", request)
        except (LastgoodError, Killed):
            raise
        except Exception as error:
            self.world.bugs.append(error)
            raise
        if answer["status"] == "refused":
            self.refused.append(answer["text"])

    def act(self, action: str, by: str = "bert", **more: Any) -> bool:
        """Of the first restore."""
        (name, *_) = self.asked
        return self.ask(action=action, restore=restore_id(name), by=by, **more)


@dataclass(frozen=True)
class RestoreStory:
    """``tell`` drives the world until nothing more is asked for. ``ends``: how, if nothing lasting
    is in the way. ``late``: describes show late what was made."""

    tell: Callable[[World], Scene]
    ends: RestoreStatus = DONE
    late: bool = False

    @property
    def name(self) -> str:
        return self.tell.__name__.replace("_", " ")


def things(world: World) -> dict[str, dict[str, Any]]:
    """Every instance, volume, image and snapshot by id: what a restore may change of it."""
    found: dict[str, dict[str, Any]] = {}
    for region in (HOME, AWAY):
        ec2 = world.client("ec2", region)
        for group in ec2.describe_instances()["Reservations"]:
            for one in group["Instances"]:
                if one["State"]["Name"] != "terminated":
                    found[one["InstanceId"]] = {
                        "kind": "instance",
                        "state": one["State"]["Name"],
                        "disks": {
                            each["DeviceName"]: (
                                each["Ebs"]["VolumeId"],
                                each["Ebs"]["DeleteOnTermination"],
                            )
                            for each in one["BlockDeviceMappings"]
                        },
                        "check": [each["SourceDestCheck"] for each in one["NetworkInterfaces"]],
                        "tags": _tags(one),
                    }
        for one in ec2.describe_volumes()["Volumes"]:
            found[one["VolumeId"]] = {
                "kind": "volume",
                "state": one["State"],
                "at": [(each["InstanceId"], each["Device"]) for each in one["Attachments"]],
                "of": one["SnapshotId"],
                "tags": _tags(one),
            }
        for one in ec2.describe_images(Owners=["self"])["Images"]:
            found[one["ImageId"]] = {"kind": "image", "tags": _tags(one)}
        for one in world.snapshots(region):
            found[one["SnapshotId"]] = {"kind": "snapshot", "tags": _tags(one)}
    return found


def _tags(described: dict[str, Any]) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in described.get("Tags", [])}


# ------------------------------------------------------------------------------- the scene


def a_scene(world: World, **policy: Any) -> Scene:
    """A source with a point; and what others have, or another restore."""
    network = seed_network(HOME)
    tags = {"backup": "daily", "ssm": "true"}
    source = launch_there(world.ec2, network, "web-1", tags=tags)
    interface = world.ec2.describe_instances(InstanceIds=[source])["Reservations"][0]["Instances"][
        0
    ]["NetworkInterfaces"][0]["NetworkInterfaceId"]
    world.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=interface, SourceDestCheck={"Value": False}
    )
    world.run()
    # What becomes of a safety point after its snapshots have begun is another matter.
    world.fates |= {("record_snapshot", number): Fate.DROPPED for number in range(2, 9)}
    if policy:
        world.deploy(a_policy(**policy))
    of_another = {RESTORE: "rs-of-another", TEMPORARY: "rs-of-another"}
    launch(world.ec2, "theirs", disk("/dev/sdf", 4), tags={})
    other = launch(world.ec2, "another-clone", tags=of_another)
    tag(world.ec2, volumes_of(world.ec2, other)["/dev/xvda"], **of_another)
    world.cloud.ec2.pace = PACE
    world.cloud.ec2.agent_after = SOON
    site = Site(world, network, source, volumes_of(world.ec2, source))
    return Scene(site, things(world))


def _told(scene: Scene, then: timedelta = HOUR, **request: Any) -> Scene:
    """One restore, and what follows on it."""
    given = {"source": scene.site.source, "by": "anna", "time_to_live": WEEKS, **request}
    scene.ask(request_id="one", **given)
    scene.world.advance(then)
    return scene


def _lagging(world: World) -> Scene:
    scene = a_scene(world)
    world.cloud.ec2.lag = LAG
    return scene


def _failing(scene: Scene) -> Scene:
    """The command that checks it fails."""
    scene.world.cloud.ec2.commands = lambda _: CommandOutcome(code=1, errors="it is dead")
    return scene


# --------------------------------------------------------------------------------- clones


def a_clone(world: World) -> Scene:
    return _told(a_scene(world))


def a_clone_that_is_seen_late(world: World) -> Scene:
    return _told(_lagging(world))


def a_clone_with_a_licence(world: World) -> Scene:
    image = world.cloud.ec2.image(IMAGE)
    world.cloud.ec2.images[IMAGE] = replace(image, usage_operation="RunInstances:0g00")
    return _told(a_scene(world))


def a_clone_elsewhere(world: World) -> Scene:
    return _elsewhere(a_scene(world))


def a_clone_elsewhere_that_is_seen_late(world: World) -> Scene:
    return _elsewhere(_lagging(world))


def _elsewhere(scene: Scene) -> Scene:
    world, there = scene.world, seed_network(AWAY, name="there")
    for point in world.points():
        for one in point.members:
            world.cloud.ec2.outcomes[one.snapshot] = Outcome(duration=SOON)
    return _told(
        scene,
        region=AWAY,
        subnet=there.subnets[0],
        security_groups=there.groups[0],
        key_name="there",
    )


def a_clone_with_a_command(world: World) -> Scene:
    return _told(a_scene(world), **CHECK)


def a_clone_that_is_stopped(world: World) -> Scene:
    return _told(a_scene(world), start="false")


def two_clones(world: World) -> Scene:
    return _told(a_scene(world), count="2")


def a_clone_that_fails_its_command(world: World) -> Scene:
    return _told(_failing(a_scene(world)), **CHECK)


def a_clone_that_fails_its_command_and_is_seen_late(world: World) -> Scene:
    return _told(_failing(_lagging(world)), **CHECK)


def a_clone_that_is_cancelled(world: World) -> Scene:
    scene = _told(a_scene(world), then=timedelta(seconds=7))
    scene.act("cancel")
    world.advance(HOUR)
    return scene


def a_clone_that_ends(world: World) -> Scene:
    return _told(a_scene(world), then=3 * HOUR, time_to_live="1h")


def a_clone_that_is_removed(world: World) -> Scene:
    scene = _told(a_scene(world))
    scene.act("remove")
    world.advance(HOUR)
    return scene


def a_clone_that_is_extended(world: World) -> Scene:
    scene = _told(a_scene(world), then=timedelta(minutes=30), time_to_live="1h")
    scene.act("extend", time_to_live="2h")
    world.advance(3 * HOUR)
    return scene


def a_clone_that_is_kept(world: World) -> Scene:
    scene = _told(a_scene(world), then=timedelta(minutes=30), time_to_live="1h")
    scene.act("keep")
    world.advance(3 * HOUR)
    return scene


def a_drill(world: World) -> Scene:
    scene = a_scene(world)
    isolated_group(world, scene.site.network)
    return _told(scene, mode="drill", time_to_live="")


# -------------------------------------------------------------------------------- approval


def _approving(world: World) -> Scene:
    scene = a_scene(world, restores=Restores(approval=(Mode.CLONE,)))
    return _told(scene, then=timedelta(minutes=1))


def an_approved_clone(world: World) -> Scene:
    scene = _approving(world)
    scene.act("approve")
    world.advance(HOUR)
    return scene


def a_declined_clone(world: World) -> Scene:
    scene = _approving(world)
    scene.act("decline")
    world.advance(HOUR)
    return scene


def a_clone_that_nobody_approves(world: World) -> Scene:
    scene = _approving(world)
    world.advance(25 * HOUR)
    return scene


# --------------------------------------------------------------------------------- volumes


def volumes(world: World) -> Scene:
    return _told(a_scene(world), mode="volumes")


def _attached(scene: Scene, **request: Any) -> Scene:
    at = {"instance": scene.site.source, "device": "/dev/sdz"}
    return _told(scene, mode="volumes", volumes="/dev/sdf", **at, **request)


def an_attached_volume(world: World) -> Scene:
    return _attached(a_scene(world))


def an_attached_volume_that_is_seen_late(world: World) -> Scene:
    return _attached(_lagging(world))


def an_attached_volume_that_ends(world: World) -> Scene:
    return _attached(a_scene(world), then=3 * HOUR, time_to_live="1h")


# -------------------------------------------------------------------------------- in place


def _in_place(scene: Scene, **request: Any) -> Scene:
    return _told(scene, **{"mode": "in_place", "stop": "true", **request})


def _root(scene: Scene, **request: Any) -> Scene:
    return _in_place(scene, stop="false", volumes="/dev/xvda", **request)


def in_place(world: World) -> Scene:
    return _in_place(a_scene(world))


def in_place_seen_late(world: World) -> Scene:
    return _in_place(_lagging(world))


def in_place_of_a_stopped_instance(world: World) -> Scene:
    scene = a_scene(world)
    world.ec2.stop_instances(InstanceIds=[scene.site.source])
    world.advance(HOUR)
    scene.before = things(world)
    return _in_place(scene)


def in_place_that_fails_its_command(world: World) -> Scene:
    return _in_place(_failing(a_scene(world)), **CHECK)


def in_place_that_is_cancelled(world: World) -> Scene:
    """When the volumes are being swapped."""
    scene = _in_place(a_scene(world), then=timedelta(seconds=16))
    scene.act("cancel")
    world.advance(HOUR)
    return scene


def in_place_whose_old_volumes_go(world: World) -> Scene:
    return _in_place(a_scene(world), then=3 * HOUR, time_to_live="1h")


def the_root_in_place(world: World) -> Scene:
    return _root(a_scene(world))


def the_root_in_place_seen_late(world: World) -> Scene:
    return _root(_lagging(world))


def the_root_in_place_that_fails_its_command(world: World) -> Scene:
    return _root(_failing(a_scene(world)), **CHECK)


def the_root_in_place_that_fails_and_is_seen_late(world: World) -> Scene:
    return _root(_failing(_lagging(world)), **CHECK)


STORIES = (
    RestoreStory(a_clone),
    RestoreStory(a_clone_that_is_seen_late, late=True),
    RestoreStory(a_clone_with_a_licence),
    RestoreStory(a_clone_elsewhere),
    RestoreStory(a_clone_with_a_command),
    RestoreStory(a_clone_that_is_stopped),
    RestoreStory(two_clones),
    RestoreStory(a_clone_elsewhere_that_is_seen_late, late=True),
    RestoreStory(a_clone_that_fails_its_command_and_is_seen_late, UNDONE, late=True),
    RestoreStory(a_clone_that_fails_its_command, UNDONE),
    RestoreStory(a_clone_that_is_cancelled, UNDONE),
    RestoreStory(a_clone_that_ends, ENDED),
    RestoreStory(a_clone_that_is_removed, ENDED),
    RestoreStory(a_clone_that_is_extended, ENDED),
    RestoreStory(a_clone_that_is_kept),
    RestoreStory(a_drill, ENDED),
    RestoreStory(an_approved_clone),
    RestoreStory(a_declined_clone, UNDONE),
    RestoreStory(a_clone_that_nobody_approves, UNDONE),
    RestoreStory(volumes),
    RestoreStory(an_attached_volume),
    RestoreStory(an_attached_volume_that_is_seen_late, late=True),
    RestoreStory(an_attached_volume_that_ends, ENDED),
    RestoreStory(in_place),
    RestoreStory(in_place_seen_late, late=True),
    RestoreStory(in_place_of_a_stopped_instance),
    RestoreStory(in_place_that_fails_its_command, UNDONE),
    RestoreStory(in_place_that_is_cancelled, UNDONE),
    RestoreStory(in_place_whose_old_volumes_go, ENDED),
    RestoreStory(the_root_in_place),
    RestoreStory(the_root_in_place_seen_late, late=True),
    RestoreStory(the_root_in_place_that_fails_its_command, UNDONE),
    RestoreStory(the_root_in_place_that_fails_and_is_seen_late, UNDONE, late=True),
)
