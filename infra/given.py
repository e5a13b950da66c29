"""Points that people give to ``make judge``: as they write them, or as EC2 describes snapshots."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood import codec
from lastgood.domain import tags as keys
from lastgood.domain.mending import OF_A_COPY, rebuilt
from lastgood.domain.model import Member, MemberState, PointStatus, Tagged
from lastgood.domain.pruning import facts, hold_of
from lastgood.domain.retention import PointFacts
from lastgood.errors import MalformedMessage

STATES = {
    "completed": PointStatus.AVAILABLE,
    "pending": PointStatus.PENDING,
    "error": PointStatus.FAILED,
    # In the Recycle Bin, or on its way back from it.
    "recoverable": PointStatus.DELETED,
    "recovering": PointStatus.PENDING,
}
MEMBER_STATES = {
    PointStatus.AVAILABLE: MemberState.COMPLETED,
    PointStatus.PENDING: MemberState.PENDING,
}
YEARS = range(1970, 9000)
"""Of an instant: where calendars of every zone, and what is counted from it, still have room."""


@dataclass(frozen=True, slots=True)
class Given:
    """A point, and by which ids whoever gave it knows it: its own, or those of its snapshots."""

    point: PointFacts
    ids: tuple[str, ...]


Groups = Mapping[str, Sequence[Given]]
"""Those that are judged together, by what they are of; a plain list has no name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPoint:
    """A point as people write it. ``held``: true, or why."""

    id: str
    taken_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    status: PointStatus = PointStatus.AVAILABLE
    held: str | None = None


def read(place: str) -> Groups:
    """The points in a file, or on standard input for ``-``, in UTF-8, UTF-16 or UTF-32.

    Raises:
        MalformedMessage: with the place of what is wrong, and what is allowed.
        OSError: the file cannot be read.
    """
    content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    given = parsed(content, "POINTS")
    if isinstance(given, Mapping) and "Snapshots" in given:
        groups = _described(given["Snapshots"])
    elif isinstance(given, list) and given and _is_snapshot(given[0]):
        groups = _described(given)
    elif isinstance(given, list):
        groups = {"": [_written(number, one) for number, one in enumerate(given)]}
    else:
        raise MalformedMessage(
            "POINTS must be a list of points, or what aws ec2 describe-snapshots prints"
        )
    _check_ids(id_ for group in groups.values() for one in group for id_ in one.ids)
    return groups


def parsed(content: str | bytes, name: str) -> Any:
    """JSON; a key that comes twice is a mistake, not the last one wins."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, _ in pairs if [one for one, _ in pairs].count(key) > 1)
            raise MalformedMessage(f"{name} has the key {twice!r} twice")
        return found

    try:
        return json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"{name} is not JSON: {error}") from error


def moment(given: Any, name: str) -> datetime:
    """An instant with its zone, in ISO 8601."""
    found, problems = codec.structure_or_problems(given, datetime)
    if problems:
        raise MalformedMessage(f"{name} {problems[0][1]}")
    if found.year not in YEARS:
        raise MalformedMessage(f"{name} must lie in the years {YEARS[0]} to {YEARS[-1]}")
    at: datetime = found
    return at


def _check_ids(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for one in ids:
        if not one:
            raise MalformedMessage("POINTS has an id that is empty")
        if one in seen:
            raise MalformedMessage(f"POINTS has the id {one!r} twice")
        seen.add(one)


def _written(number: int, given: Any) -> Given:
    if isinstance(given, Mapping) and isinstance(given.get("held"), bool):
        given = {**given, "held": "" if given["held"] else None}
    found, problems = codec.structure_or_problems(given, WrittenPoint)
    if problems:
        raise MalformedMessage(
            "\n".join(
                f"{codec.show_path(('POINTS', number, *path))} {text}" for path, text in problems
            )
        )
    held = () if found.held is None else (f"held: {found.held}" if found.held else "held",)
    point = PointFacts(
        id=found.id,
        taken_at=moment(given["taken_at"], f"POINTS[{number}].taken_at"),
        status=found.status,
        tags=found.tags,
        protections=held,
    )
    return Given(point, (found.id,))


# as EC2 describes snapshots


def _is_snapshot(given: Any) -> bool:
    return isinstance(given, Mapping) and "SnapshotId" in given


def _described(snapshots: Any) -> Groups:
    """Ours by source and policy, the snapshots of a set as one point; all others by volume."""
    if not isinstance(snapshots, list):
        raise MalformedMessage("POINTS.Snapshots must be a list")
    groups: dict[str, list[Given]] = {}
    sets: dict[str, list[Tagged]] = {}
    for number, one in enumerate(snapshots):
        found, status = _snapshot(number, one)
        if keys.POINT in found.tags and status is not PointStatus.DELETED:
            sets.setdefault(found.tags[keys.POINT], []).append(found)
        else:
            groups.setdefault(_of(found), []).append(_alone(found, status))
    for members in sets.values():
        point = rebuilt(members, region="", account="", now=datetime.now(UTC))
        if point is None:
            for one in members:
                groups.setdefault(_of(one), []).append(_alone(one, _status(one)))
            continue
        merged = {key: value for one in members for key, value in one.tags.items()}
        together = groups.setdefault(f"{point.source.id} ({point.policy})", [])
        judged = facts(point, hold=None, tags=merged, locked={})
        together.append(Given(judged, tuple(sorted(one.member.snapshot for one in members))))
    return groups or {"": []}


def _alone(found: Tagged, status: PointStatus) -> Given:
    held = hold_of(found.tags, found.member.started_at)
    point = PointFacts(
        id=found.member.snapshot,
        taken_at=found.member.started_at,
        status=status,
        tags=found.tags,
        protections=(str(held),) if held else (),
    )
    return Given(point, (found.member.snapshot,))


def _of(found: Tagged) -> str:
    """A copy's volume is none: without our tag nobody knows what it is of, so it stands alone."""
    if not found.member.volume.startswith(OF_A_COPY):
        return found.member.volume
    return found.tags.get(keys.SOURCE, f"{found.member.snapshot}, a copy of an unknown volume")


def _status(found: Tagged) -> PointStatus:
    states = {state: status for status, state in MEMBER_STATES.items()}
    return states.get(found.member.state, PointStatus.FAILED)


def _snapshot(number: int, given: Any) -> tuple[Tagged, PointStatus]:
    place = f"POINTS.Snapshots[{number}]"
    if not isinstance(given, Mapping):
        raise MalformedMessage(f"{place} must be a mapping, as DescribeSnapshots has it")
    for name in ("SnapshotId", "VolumeId", "State", "StartTime"):
        if not isinstance(given.get(name), str):
            raise MalformedMessage(f"{place}.{name} is missing, or no text")
    if given["State"] not in STATES:
        raise MalformedMessage(f"{place}.State must be one of {', '.join(STATES)}")
    try:
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in given.get("Tags") or []}
    except (KeyError, TypeError) as error:
        raise MalformedMessage(f'{place}.Tags must be a list of {{"Key", "Value"}}') from error
    status = STATES[given["State"]]
    member = Member(
        snapshot=given["SnapshotId"],
        volume=given["VolumeId"],
        size_gib=int(given.get("VolumeSize") or 0),
        encrypted=bool(given.get("Encrypted")),
        started_at=moment(given["StartTime"], f"{place}.StartTime"),
        state=MEMBER_STATES.get(status, MemberState.ERROR),
    )
    return Tagged(member, tags), status
