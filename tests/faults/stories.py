"""A night of a small fleet, told as often as a fault can be put into it.

To add a handler, add its line to ``HANDLERS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lastgood.domain.copying import SLOTS
from lastgood.domain.model import Point
from lastgood.domain.names import plan_id
from lastgood.domain.place import Place
from lastgood.domain.policy import Copy, MaxDeletes, ResourceKind, Retention, Select
from lastgood.domain.tags import HOLD
from tests.cloud.ec2 import Image, Outcome
from tests.cloud.faults import KILL, LOST_REPLY, aws_error
from tests.support import table
from tests.support.fleet import disk, launch, tag, volume, volumes_of
from tests.support.history import past_copy, past_point
from tests.support.world import ACCOUNT, FED, HOME, POLICIES, SLOT, VAULT, Fate, World, a_policy

LAG = timedelta(minutes=1)
"""Describes do not show a new snapshot for that long: it completes before that."""

CREATING = "ec2.CreateSnapshot*"


@dataclass(frozen=True)
class Story:
    """``tell`` sets the world up, drives it until the night is over, and gives the sources that
    are to have a point.

    ``fails``: their points need not be good, for somebody must act first. ``buried``: there are
    dead letters, whatever is done. ``bare``: what is not in tags is lost. ``copies``: where each
    point is to be as well. ``prunes``: it is about points and copies that go; ``tell`` gives their
    ids, and all others are to stay. ``by_person``: who asks waits for the answer, and sees what is
    refused: so only deaths and lost replies count. ``varies``: it is an earlier story of the
    handler with something else in it: of a run that begins like one of those, only what comes after
    is spoilt.
    """

    tell: Callable[[World], set[str]]
    fails: bool = False
    buried: bool = False
    bare: bool = False
    copies: tuple[Place, ...] = ()
    prunes: bool = False
    by_person: bool = False
    varies: bool = False

    def again(self, world: World) -> None:
        """What a schedule starts every day."""
        if self.prunes:
            world.prune_daily()
        elif self.copies:
            world.sweep(rebuild=True)

    @property
    def name(self) -> str:
        return self.tell.__name__.replace("_", " ")


def an_instance(world: World) -> set[str]:
    return _night(world, _instance(world))


def a_hibernating_instance(world: World) -> set[str]:
    """Its volumes are taken one by one."""
    instance = launch(
        world.ec2,
        "bed",
        disk("/dev/sdf", 16, Encrypted=True),
        root={"Encrypted": True},
        HibernationOptions={"Configured": True},
    )
    return _night(world, instance)


def a_volume(world: World) -> set[str]:
    world.client("ssm").delete_parameter(Name=f"{POLICIES}/web-daily")
    return _night(world, _volume(world), policies=("data",))


def a_fleet(world: World) -> set[str]:
    return _night(world, _instance(world), _volume(world), policies=("web-daily", "data"))


def a_broken_volume(world: World) -> set[str]:
    return _broken(world, "/dev/sdf")


def a_broken_root(world: World) -> set[str]:
    return _broken(world, "/dev/xvda")


def a_lost_reply(world: World) -> set[str]:
    world.cloud.faults.spoil(CREATING, LOST_REPLY)
    return an_instance(world)


def a_lost_reply_of_the_second_volume(world: World) -> set[str]:
    world.cloud.faults.spoil(CREATING, LOST_REPLY, after=1)
    return a_hibernating_instance(world)


def a_limit(world: World) -> set[str]:
    world.cloud.faults.spoil(CREATING, aws_error("SnapshotCreationPerVolumeRateExceeded"))
    return an_instance(world)


def a_refusal(world: World) -> set[str]:
    world.cloud.faults.spoil(CREATING, aws_error("UnauthorizedOperation", status=403), times=99)
    return an_instance(world)


def a_refusal_of_the_second_volume(world: World) -> set[str]:
    world.cloud.faults.spoil(
        CREATING, aws_error("UnauthorizedOperation", status=403), after=1, times=99
    )
    return a_hibernating_instance(world)


def lost_events(world: World) -> set[str]:
    _lose_events(world)
    return an_instance(world)


def lost_events_of_a_hibernating_instance(world: World) -> set[str]:
    _lose_events(world)
    return a_hibernating_instance(world)


def a_slot_that_no_schedule_started(world: World) -> set[str]:
    world.fates["plan_snapshots", 0] = Fate.DROPPED
    return an_instance(world)


def workers_that_die(world: World) -> set[str]:
    """After the creating call and each look-up: SQS moves the message away, without a cause."""
    for call in (CREATING, "ec2.DescribeSnapshots"):
        world.cloud.faults.spoil(call, KILL, by="create_snapshots", whole=True, times=99)
    return an_instance(world)


def a_worker_that_dies_and_its_request_with_it(world: World) -> set[str]:
    """Before the creating call. As if that had been the last delivery."""
    world.cloud.faults.spoil("ec2.GetLaunchTemplateData", KILL, by="create_snapshots")
    instance = _instance(world)
    world.cloud.clock.advance_to(SLOT)
    world.schedule()
    world.settle()
    queue = world.client("sqs").get_queue_url(QueueName=FED["create_snapshots"].queue)
    world.client("sqs").purge_queue(QueueUrl=queue["QueueUrl"])
    return {instance}


def a_lost_ledger(world: World) -> set[str]:
    """The table is there, and empty: what is in the tags is put back."""
    sources = an_instance(world)
    table.empty(world.client("dynamodb"))
    world.invoke_later("sweep", {"rebuild": True})
    return sources


def copies(world: World) -> set[str]:
    world.deploy(a_policy(copies=(Copy(region=AWAY),)))
    return an_instance(world)


def copies_to_another_account(world: World) -> set[str]:
    world.deploy(a_policy(copies=(Copy(region=AWAY, account=VAULT),)))
    return an_instance(world)


def copies_to_two_places_of_one_account(world: World) -> set[str]:
    two = tuple(Copy(region=region, account=VAULT) for region in (AWAY, FAR))
    world.deploy(a_policy(copies=two))
    return an_instance(world)


def copies_under_a_key_that_is_disabled_for_a_while(world: World) -> set[str]:
    """The second attempt fails as well, and the third is made with the key."""
    kms = world.client("kms", AWAY, VAULT)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)
    world.deploy(a_policy(copies=(Copy(region=AWAY, account=VAULT, kms_key=key),)))
    sources = an_instance(world)
    world.sweep()
    world.advance(timedelta(hours=1))
    kms.enable_key(KeyId=key)
    world.sweep()
    world.advance(timedelta(hours=1))
    return sources


def copies_under_a_limit(world: World) -> set[str]:
    """Others take all slots but one for a while."""
    world.cloud.ec2.foreign_copies[AWAY] = SLOTS - 1
    world.cloud.clock.at(SLOT + timedelta(hours=3), world.cloud.ec2.foreign_copies.clear)
    return copies(world)


def lost_events_of_copies(world: World) -> set[str]:
    """What EBS tells of both."""
    world.fates |= {("copy_snapshots", number): Fate.DROPPED for number in (1, 2)}
    return copies_to_another_account(world)


def a_prune(world: World) -> set[str]:
    points = _history(world)
    world.prune_daily()
    return {points[day] for day in (3, 4)}


def a_prune_that_a_person_approves(world: World) -> set[str]:
    points = _history(world, max_deletes=MaxDeletes(count=1, share=1.0))
    world.invoke_later("prune_snapshots", {"policy": "web-daily", "slot": SLOT.isoformat()})
    world.settle()
    plan = {"plan": plan_id("web-daily", SLOT), "by": "anna"}
    world.advance(timedelta(minutes=10))
    world.invoke_later("prune_snapshots", plan)
    world.settle()
    return {points[day] for day in (3, 4)}


def a_hold(world: World) -> set[str]:
    points = _history(world)
    hold = {"hold": points[4], "by": "anna", "why": "audit"}
    world.invoke_later("prune_snapshots", hold)
    world.advance(timedelta(minutes=10))
    world.prune_daily()
    return {points[3]}


def a_prune_of_copies(world: World) -> set[str]:
    """Two are kept of the points and abroad, one in the other Region. No copy of the fourth was
    begun, so it stays at home; a tag holds the third in the other Region."""
    there, abroad = wanted = (
        Copy(region=AWAY, retention=Retention(keep_daily=1)),
        Copy(region=AWAY, account=VAULT),
    )
    points = _points(world, days=4, copies=wanted)
    # As sweeps have noted since before the first of them.
    places = (IN_REGION, ABROAD)
    world.ledger.copying_since("web-daily", places, SLOT - timedelta(days=9))
    ids: dict[tuple[Copy, int], str] = {}
    for copy, days in ((there, (1, 2, 3)), (abroad, (1, 2, 3))):
        ec2 = world.client("ec2", AWAY, copy.account or ACCOUNT)
        for day in days:
            made = past_copy(ec2, world.ledger, points[day], copy)
            ids[copy, day] = made.id
            if (copy, day) == (there, 3):
                tag(ec2, str(made.members[1].snapshot), **{HOLD: "legal"})
    _at_slot(world)
    world.prune_daily()
    return {points[3].id, ids[there, 2], ids[abroad, 3]}


def _history(world: World, **policy: Any) -> dict[int, str]:
    """A point for each of six days, by how many days ago: two are kept by the rules, a tag holds
    the fifth, and an image keeps the sixth."""
    points = _points(world, days=6, **policy)
    held, used = points[5].snapshots[1], points[6].snapshots[0]
    tag(world.ec2, held, **{HOLD: "legal"})
    world.cloud.ec2.images["ami-0123456789abcdef0"] = Image(snapshot_ids=frozenset({used}))
    _at_slot(world)
    return {day: point.id for day, point in points.items()}


def _points(world: World, *, days: int, **policy: Any) -> dict[int, Point]:
    """One for each day, by how many days ago, of which the rules keep two; and the snapshot of
    somebody else."""
    retention = Retention(keep_daily=2)
    caps: dict[str, Any] = {"max_deletes": MaxDeletes(count=9, share=1.0)} | policy
    world.deploy(a_policy(retention=retention, schedules=(), **caps))
    instance = launch(world.ec2, "web", disk("/dev/sdf", 16))
    world.cloud.ec2.limits = False
    points = {
        day: past_point(world.ec2, world.ledger, instance, SLOT - timedelta(days=day))
        for day in range(1, days + 1)
    }
    world.ec2.create_snapshot(VolumeId=volumes_of(world.ec2, instance)["/dev/xvda"])
    return points


def _at_slot(world: World) -> None:
    world.cloud.clock.advance_to(SLOT)
    world.forget_events()


AWAY, FAR = "eu-central-1", "eu-north-1"
IN_REGION = Place(region=AWAY, account=ACCOUNT)
ABROAD, FAR_ABROAD = (Place(region=region, account=VAULT) for region in (AWAY, FAR))

HANDLERS: dict[str, tuple[Story, ...]] = {
    "plan_snapshots": (Story(a_fleet),),
    "create_snapshots": (
        Story(an_instance),
        Story(a_hibernating_instance),
        Story(a_volume),
        Story(a_lost_reply),
        Story(a_lost_reply_of_the_second_volume),
        Story(a_limit),
        Story(a_refusal, fails=True),
        Story(a_refusal_of_the_second_volume, fails=True),
    ),
    "record_snapshot": (
        Story(an_instance),
        Story(a_hibernating_instance),
        Story(a_volume),
        Story(a_broken_volume, fails=True),
        Story(a_broken_root, fails=True),
    ),
    "copy_snapshots": (
        Story(copies_to_another_account, copies=(ABROAD,)),
        Story(copies_to_two_places_of_one_account, copies=(ABROAD, FAR_ABROAD), varies=True),
        Story(copies_under_a_key_that_is_disabled_for_a_while, copies=(ABROAD,), varies=True),
        Story(lost_events_of_copies, copies=(ABROAD,), varies=True),
        Story(copies, copies=(IN_REGION,), varies=True),
        Story(copies_under_a_limit, copies=(IN_REGION,), varies=True),
    ),
    "sweep": (
        Story(lost_events),
        Story(lost_events_of_a_hibernating_instance),
        Story(a_slot_that_no_schedule_started),
        Story(workers_that_die, buried=True),
        Story(a_worker_that_dies_and_its_request_with_it),
        Story(a_lost_ledger, bare=True),
    ),
    "prune_snapshots": (
        Story(a_prune, prunes=True),
        Story(a_prune_of_copies, prunes=True, copies=(IN_REGION, ABROAD), varies=True),
        Story(a_prune_that_a_person_approves, prunes=True, by_person=True),
        Story(a_hold, prunes=True, by_person=True),
    ),
    "delete_snapshots": (
        Story(a_prune, prunes=True),
        Story(a_prune_of_copies, prunes=True, copies=(IN_REGION, ABROAD), varies=True),
    ),
}


def _instance(world: World) -> str:
    return launch(world.ec2, "web", disk("/dev/sdf", 16))


def _lose_events(world: World) -> None:
    world.fates |= {("record_snapshot", number): Fate.DROPPED for number in range(9)}


def _broken(world: World, device: str) -> set[str]:
    instance = _instance(world)
    volume_id = volumes_of(world.ec2, instance)[device]
    world.cloud.ec2.outcomes[volume_id] = Outcome(error="the volume could not be read")
    return _night(world, instance)


def _volume(world: World) -> str:
    select = Select(resource=ResourceKind.VOLUME, tags={"backup": ("volume",)})
    world.deploy(a_policy(name="data", select=select))
    return volume(world.ec2, f"{HOME}a", {"backup": "volume"})


def _night(world: World, *sources: str, policies: tuple[str, ...] = ("web-daily",)) -> set[str]:
    world.cloud.ec2.lag = LAG
    world.cloud.clock.advance_to(SLOT)
    for policy in policies:
        world.schedule(policy)
    world.advance(timedelta(hours=1))
    return set(sources)
