"""What Lastgood promises (docs/architecture.md), read from the world when everything is over."""

from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto

from lastgood.domain.copying import CopyStatus
from lastgood.domain.model import Point, PointStatus, RunStatus
from lastgood.domain.place import Place
from lastgood.domain.tags import COPY, COPY_OF, POINT
from tests.faults.stories import AWAY, Story
from tests.support.world import ACCOUNT, ROWS, SLOT, World


class Bound(Enum):
    """How far a fault may reach."""

    MENDS = auto()
    """It mends itself: nobody hears of it."""
    PERSON = auto()
    """A person hears of it by a dead letter, and puts that back once the fault is over. A point
    may have failed by then: that is announced."""


CLOSED = (RunStatus.OK, RunStatus.PARTIAL, RunStatus.FAILED)


def broken(world: World, story: Story, sources: set[str], bound: Bound) -> list[str]:
    """A line for each promise that does not hold."""
    if story.prunes:
        silence = (*_silence(world, story, bound), *(f"a bug: {one!r}" for one in world.bugs))
        return [*_pruned(world, sources), *silence]
    points = {point.id: point for point in world.points() if point.slot == SLOT}
    return [
        *_snapshots(world, points),
        *_sources(world, story, sources, points, bound),
        *_runs(world),
        *_announcements(world, points),
        *(_copies(world, points) if story.copies else ()),
        *_silence(world, story, bound),
        *(f"a bug: {error!r}" for error in world.bugs),
        *_creating_calls(world),
    ]


def letters(world: World) -> dict[str, int]:
    """How many dead letters of each function there are."""
    found = {
        name: world.messages(f"{row.physical_name}-dead-letters") for name, row in ROWS.items()
    }
    return {name: len(letters) for name, letters in found.items() if letters}


def _snapshots(world: World, points: dict[str, Point]) -> Iterator[str]:
    made: Counter[tuple[str, str]] = Counter()
    members = {member.snapshot for point in points.values() for member in point.members}
    for snapshot in world.snapshots():
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        if POINT not in tags:
            yield f"untagged: {snapshot['SnapshotId']}"
            continue
        made[tags[POINT], snapshot["VolumeId"]] += 1
        if snapshot["SnapshotId"] not in members:
            yield f"left over: {snapshot['SnapshotId']}, a member of no point"
    for (point, of), count in made.items():
        if count > 1:
            yield f"duplicates: {count} snapshots of {of} for {point}"


def _sources(
    world: World, story: Story, sources: set[str], points: dict[str, Point], bound: Bound
) -> Iterator[str]:
    told = letters(world)
    for source in sorted(sources):
        of_source = [point for point in points.values() if point.source.id == source]
        if not of_source:
            yield f"missed: {source} has no point; dead letters: {told}"
        for point in of_source:
            if not point.status.settled:
                yield f"stuck: {point.id} is {point.status}; dead letters: {told}"
            elif point.status is not PointStatus.AVAILABLE:
                if not story.fails and bound is Bound.MENDS:
                    yield f"missed: {point.id} is {point.status}: {point.cause}"
                if not point.cause:
                    yield f"{point.id} is {point.status} without a cause"
            else:
                yield from _not_whole(world, story, point)


def _not_whole(world: World, story: Story, point: Point) -> Iterator[str]:
    states = {one["SnapshotId"]: one["State"] for one in world.snapshots()}
    for member in point.members:
        if states.get(member.snapshot) != "completed":
            yield f"{point.id} is available, but {member.snapshot} is not completed"
    if point.manifest is None and not story.bare:
        yield f"{point.id} is available without a manifest"


def _pruned(world: World, gone: set[str]) -> Iterator[str]:
    """What may go went whole; what may not is as it was, and so is what is not ours."""
    there = {one["SnapshotId"]: one for one in world.snapshots()}
    foreign = [one for one in there.values() if not one.get("Tags")]
    if len(foreign) != 1:
        yield "the snapshot of somebody else is gone"
    for point in world.points():
        left = [one for one in point.snapshots if one in there]
        if point.id in gone and (point.status is not PointStatus.DELETED or left):
            yield f"{point.id} is {point.status}, with {len(left)} snapshots left"
        if point.id not in gone and point.status is not PointStatus.AVAILABLE:
            yield f"{point.id} of {point.slot:%d %b} is {point.status}, and was to stay"
        if point.id not in gone and len(left) != len(point.members):
            yield f"{point.id} of {point.slot:%d %b} has lost snapshots, and was to stay whole"


def _copies(world: World, points: dict[str, Point]) -> Iterator[str]:
    """Each available point is whole in the other Region, once, and nothing else is there."""
    place = Place(region=AWAY, account=ACCOUNT)
    made = Counter()
    for snapshot in world.snapshots(AWAY):
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        if not {POINT, COPY} <= tags.keys():
            yield f"untagged copy: {snapshot['SnapshotId']}"
        made[tags.get(POINT), tags.get(COPY_OF)] += 1
    for point in points.values():
        copy = world.ledger.copy(point.id, place)
        if point.status is not PointStatus.AVAILABLE:
            continue
        if copy is None or copy.status is not CopyStatus.AVAILABLE:
            yield f"{point.id} is not copied: {copy and (copy.status, copy.cause, copy.members)}"
        for member in point.members:
            if made.pop((point.id, member.snapshot), 0) != 1:
                yield f"{member.snapshot} of {point.id} is not copied once"
    if made:
        yield f"copies of nothing: {dict(made)}"
    if taken := world.ledger.slots(place).taken:
        yield f"slots are held for ever: {sorted(taken)}"


def _runs(world: World) -> Iterator[str]:
    for policy in ("web-daily", "data"):
        for known in world.ledger.runs(policy):
            run = world.ledger.run(known.id)
            if run is None or run.status not in CLOSED:
                yield f"open: run {known.id} is {run and run.status}"
            elif run.planned is not None and sum(run.ended.values()) != run.planned.points:
                yield f"run {run.id} planned {run.planned.points} points, and {run.ended} ended"


def _announcements(world: World, points: dict[str, Point]) -> Iterator[str]:
    told: dict[str, set[str]] = {}
    for event in world.announcements():
        told.setdefault(event["detail"]["point"], set()).add(event["detail"]["status"])
    for point in points.values():
        said = told.pop(point.id, set())
        if point.status.settled and said != {point.status.value}:
            yield f"{point.id} is {point.status}, and was announced as {sorted(said) or 'nothing'}"
    for unknown in told:
        yield f"announced, but not on record: {unknown}"


def _silence(world: World, story: Story, bound: Bound) -> Iterator[str]:
    if bound is Bound.MENDS and not story.fails and not story.buried:
        for function, count in letters(world).items():
            yield f"{count} dead letters of {function} for what mends itself"


def _creating_calls(world: World) -> Iterator[str]:
    calls = world.cloud.calls.of("ec2.CreateSnapshot*")
    attempts = world.cloud.attempts.of("ec2.CreateSnapshot*")
    if len(calls) != len(attempts):
        yield f"botocore sent {len(calls)} creating calls {len(attempts)} times"
