"""What Lastgood promises (docs/architecture.md), read from the world when everything is over."""

from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from lastgood.domain.copying import CopyStatus, PointCopy, as_point
from lastgood.domain.model import Point, PointStatus, RunStatus
from lastgood.domain.place import Place
from lastgood.domain.tags import COPY, POINT
from tests.faults.stories import Story
from tests.support.world import ROWS, SLOT, World


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
        return [*_pruned(world, story, sources), *silence]
    points = {point.id: point for point in world.points() if point.slot == SLOT}
    return [
        *_snapshots(world, points),
        *_sources(world, story, sources, points, bound),
        *_runs(world),
        *_announcements(world, points),
        *(line for place in story.copies for line in _copies(world, place, points)),
        *(_shared(world) if story.copies else ()),
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


def _pruned(world: World, story: Story, gone: set[str]) -> Iterator[str]:
    """What may go went whole; what may not is as it was, and so is what is not ours. Copies are
    points of their own (``copying.as_point``)."""
    there = {one["SnapshotId"]: one for one in world.snapshots()}
    foreign = [one for one in there.values() if not one.get("Tags")]
    if len(foreign) != 1:
        yield "the snapshot of somebody else is gone"
    points = world.points()
    for place in story.copies:
        there |= {one["SnapshotId"]: one for one in world.snapshots(place.region, place.account)}
    points += [as_point(copy) for one in points for copy in world.ledger.copies(one.id)]
    for point in points:
        what = f"{point.id} of {point.slot:%d %b} in {point.source.region}"
        left = [one for one in point.snapshots if there.pop(one, None)]
        if point.id in gone and (point.status is not PointStatus.DELETED or left):
            yield f"{what} is {point.status}, with {len(left)} snapshots left"
        if point.id not in gone and point.status is not PointStatus.AVAILABLE:
            yield f"{what} is {point.status}, and was to stay"
        if point.id not in gone and len(left) != len(point.members):
            yield f"{what} has lost snapshots, and was to stay whole"
    if ours := [id_ for id_, one in there.items() if one.get("Tags")]:
        yield f"forgotten: {ours}"


def _copies(world: World, place: Place, points: dict[str, Point]) -> Iterator[str]:
    """Each available point is whole in the place, once, and nothing else is there or goes on."""
    there = {one["SnapshotId"]: one for one in world.snapshots(place.region, place.account)}
    for point in points.values():
        if point.status is PointStatus.AVAILABLE:
            yield from _copied(world.ledger.copy(point.id, place), point, there)
    if there:
        yield f"copies of nothing in {place}: {sorted(there)}"
    if taken := world.ledger.slots(place).taken:
        yield f"slots of {place} are held for ever: {sorted(taken)}"
    for copy in world.ledger.due(place):
        yield f"open for ever: {copy.id} in {place}, {copy.status}: {copy.members}"


def _copied(
    copy: PointCopy | None, point: Point, there: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Takes out of ``there`` what belongs to the copy."""
    if copy is None or copy.status is not CopyStatus.AVAILABLE:
        yield f"{point.id} is not copied: {copy and (copy.place, copy.status, copy.cause)}"
        return
    if [one.of for one in copy.members] != list(point.snapshots):
        yield f"{copy.id} has the members {copy.members}"
    for number, member in enumerate(copy.members):
        found = there.pop(str(member.snapshot), None)
        if found is None or found["State"] != "completed":
            yield f"{copy.id} is available, and {member.snapshot} is {found and found['State']}"
            continue
        tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        if (tags.get(POINT), tags.get(COPY)) != (point.id, copy.operation(number)):
            yield f"{member.snapshot} bears the tags {tags}"


def _shared(world: World) -> Iterator[str]:
    for snapshot, accounts in world.shared().items():
        yield f"{snapshot} is shared with {' and '.join(accounts)}"


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
    for pattern in ("ec2.CreateSnapshot*", "ec2.CopySnapshot"):
        calls, attempts = world.cloud.calls.of(pattern), world.cloud.attempts.of(pattern)
        if len(calls) != len(attempts):
            yield f"botocore sent {len(calls)} creating calls {len(attempts)} times"
