"""What is promised of a restore: at its end there is what was asked for, or nothing of it."""

from collections.abc import Iterator
from typing import Any

from lastgood.domain.names import restore_id
from lastgood.domain.policy import Mode
from lastgood.domain.restoring import Restore, RestoreStatus
from lastgood.domain.tags import OF_RESTORE, RESTORE, RESTORED_FROM, TEMPORARY
from lastgood.ledger import items, keys
from tests.faults.promises import Bound
from tests.faults.restore_stories import Scene, things
from tests.support import table
from tests.support.world import World

Found = dict[str, dict[str, Any]]
DONE, UNDONE, ENDED = RestoreStatus.DONE, RestoreStatus.UNDONE, RestoreStatus.ENDED


def broken(scene: Scene, ends: RestoreStatus, bound: Bound) -> list[str]:
    """A line for each promise that does not hold. What was checked is not undone because something
    cannot be tidied: that is told, and holds then."""
    world = scene.world
    restores = {one: world.ledger.restore(restore_id(one)) for one in scene.asked}
    left, lines = things(world), [f"a bug: {one!r}" for one in world.bugs]
    for name, restore in restores.items():
        if restore is None:
            if bound is Bound.MENDS:
                lines.append(f"{name}: nobody has taken it up")
            continue
        lines += _ended(restore, ends, bound)
        lines += _kept(scene, restore)
        if bound is not Bound.MENDS and restore.time_to_live and restore.expires_at is None:
            # Whoever asked to keep it got the error, and may ask again.
            _forget_end(restore, left)
        lines += list(_made(scene, restore, left))
        for id_ in [one for one in left if f"the copy {one} stays" in _told(scene, restore)]:
            del left[id_]
    lines += _others(scene, left)
    return lines


def _told(scene: Scene, restore: Restore) -> str:
    return "; ".join(scene.site.told(restore.id))


def _forget_end(restore: Restore, left: Found) -> None:
    for one in left.values():
        if one["tags"].get(TEMPORARY) == restore.id:
            del one["tags"][TEMPORARY]


def _ended(restore: Restore, ends: RestoreStatus, bound: Bound) -> Iterator[str]:
    wanted = {ends} if bound is Bound.MENDS else {DONE, UNDONE, ENDED}
    if restore.status not in wanted:
        yield f"it is {restore.status}, not {ends}: {restore.cause}"


def _kept(scene: Scene, restore: Restore) -> Iterator[str]:
    """What is held for a restore, in the ledger and by Scheduler."""
    world = scene.world
    scheduled = scene.site.schedules()
    lives = restore.status is DONE and restore.expires_at is not None
    swept = lives and not scheduled and "nothing is scheduled" in _told(scene, restore)
    if scheduled != ([restore.id] if lives else []) and not swept:
        yield f"scheduled, though it is {restore.status}: {scheduled}"
    if "restores" in _item(world, keys.restores_from(restore.point)):
        yield f"{restore.point} is held still"
    if _item(world, keys.restoring(scene.site.source)):
        yield f"{scene.site.source} is locked still"
    safety = restore.in_place.safety_point if restore.in_place else None
    point = world.ledger.point(safety) if safety else None
    held = point is not None and point.hold is not None
    if held != (point is not None and restore.status is DONE):
        yield f"the safety point {safety} is {'held' if held else 'free'}: {restore.status}"


def _item(world: World, key: keys.Key) -> Any:
    reply = world.client("dynamodb").get_item(TableName=table.NAME, Key=items.to_item(key))
    return reply.get("Item", {})


def _made(scene: Scene, restore: Restore, left: Found) -> Iterator[str]:
    """What is there of it. It is taken from ``left`` if it is what was asked for."""
    mode, status = restore.request.mode, restore.status
    if status is DONE and mode is Mode.CLONE:
        yield from _clones(scene, restore, left)
    elif status is DONE and mode is Mode.VOLUMES:
        yield from _volumes(scene, restore, left)
    elif mode is Mode.IN_PLACE and status in (DONE, ENDED):
        yield from _swapped(scene, restore, left)
    elif mode is Mode.DRILL and status is ENDED:
        point = scene.world.ledger.point(restore.point)
        if point is None or point.proof is None:
            yield f"{restore.point} is not proved"


def _clones(scene: Scene, restore: Restore, left: Found) -> Iterator[str]:
    original = scene.before[scene.site.source]
    clones = _of(restore, "instance", left)
    if len(clones) != restore.request.count:
        yield f"{len(clones)} clones, not {restore.request.count}"
    for id_, clone in clones.items():
        del left[id_]
        state = "running" if restore.request.started else "stopped"
        if clone["state"] != state:
            yield f"{id_} is {clone['state']}, not {state}"
        if clone["check"] != original["check"]:
            yield f"{id_} checks source and destination"
        yield from _tagged(restore, id_, clone, original["tags"])
        if clone["disks"].keys() != original["disks"].keys():
            yield f"{id_} has {sorted(clone['disks'])}"
            continue
        for device, (volume, deleted) in clone["disks"].items():
            old, wanted = original["disks"][device]
            if deleted != wanted:
                yield f"{volume} of {id_} has another end"
            yield from _disk(scene, restore, volume, old, left)


def _volumes(scene: Scene, restore: Restore, left: Found) -> Iterator[str]:
    wanted = {one.piece for one in restore.disks}
    made = _of(restore, "volume", left)
    if len(made) != len(wanted):
        yield f"{len(made)} volumes, not {len(wanted)}"
    by_snapshot = {one.snapshot: one.volume for one in restore.pieces}
    for id_, volume in made.items():
        at = [(restore.attach.instance, "/dev/sdz")] if restore.attach else []
        if volume["at"] != at:
            yield f"{id_} is attached to {volume['at']}"
        yield from _disk(scene, restore, id_, by_snapshot.get(volume["of"], "nothing"), left)
    if restore.attach:
        left[restore.attach.instance]["disks"].pop("/dev/sdz", None)


def _swapped(scene: Scene, restore: Restore, left: Found) -> Iterator[str]:
    """Its own volumes are where they are to be; the old ones are there until it has ended."""
    plan, before = restore.in_place, scene.before[scene.site.source]
    assert plan is not None
    now = left[scene.site.source]["disks"]
    for one in plan.swaps:
        old, flag = before["disks"][one.device]
        volume, deleted = now.get(one.device, ("nothing", None))
        if deleted != flag:
            yield f"{volume} on {one.device} has another end"
        yield from _disk(scene, restore, volume, old, left, temporary=False)
        now[one.device] = old, flag
        kept = left.pop(old, None)
        if restore.status is ENDED:
            if kept is not None:
                yield f"{old} is there still"
            left[old] = scene.before[old]
            continue
        if kept is None:
            yield f"{old} is gone"
            continue
        marked = kept["tags"].get(TEMPORARY) == restore.id
        if kept["state"] != "available" or not (
            marked or "are not marked, and stay" in _told(scene, restore)
        ):
            yield f"{old} is {kept['state']} with {kept['tags']}"
        left[old] = scene.before[old]


def _disk(
    scene: Scene,
    restore: Restore,
    volume: str,
    old: str,
    left: Found,
    *,
    temporary: bool | None = None,
) -> Iterator[str]:
    """The volume is made of the snapshot of ``old``, and like it."""
    found = left.pop(volume, None)
    piece = next((one for one in restore.pieces if one.volume == old), None)
    if found is None or piece is None or found["of"] != piece.snapshot:
        yield f"{volume} is not of the snapshot of {old}: {found}"
        return
    tags = scene.before[old]["tags"]
    yield from _tagged(restore, volume, found, tags, temporary=temporary)


def _tagged(
    restore: Restore,
    id_: str,
    thing: dict[str, Any],
    tags: dict[str, str],
    *,
    temporary: bool | None = None,
) -> Iterator[str]:
    own = {key: value for key, value in thing["tags"].items() if key not in OF_RESTORE}
    if {**own, "Name": ""} != {**tags, "Name": ""}:
        yield f"{id_} has the tags {own}, not {tags}"
    ours = {RESTORE: restore.id, RESTORED_FROM: restore.point}
    goes = restore.expires_at is not None if temporary is None else temporary
    if goes:
        ours[TEMPORARY] = restore.id
    if {key: value for key, value in thing["tags"].items() if key in OF_RESTORE} != ours:
        yield f"{id_} has {thing['tags']}, not {ours}"


def _of(restore: Restore, kind: str, left: Found) -> Found:
    return {
        id_: one
        for id_, one in left.items()
        if one["kind"] == kind and one["tags"].get(RESTORE) == restore.id
    }


def _others(scene: Scene, left: Found) -> Iterator[str]:
    """Nothing else is there, and nothing else has changed."""
    members = {one.snapshot for point in scene.world.points() for one in point.members}
    for id_, one in left.items():
        before = scene.before.get(id_)
        if before is None:
            if id_ not in members:
                yield f"left over: {id_}, {one}"
        elif one != before:
            yield f"changed: {id_}: {one}, was {before}"
    for id_ in scene.before.keys() - left.keys():
        yield f"gone: {id_}, {scene.before[id_]}"
