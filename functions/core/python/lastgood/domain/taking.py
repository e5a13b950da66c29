"""What the snapshots that exist already say about a point that somebody began to take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from lastgood.domain.model import Member, MemberState, Outcome, PointStatus

LAUNCH_ATTRIBUTES_HOLD = timedelta(days=7)
"""Termination and stop protection can change without a start: so they are read once a week."""


class Next(Enum):
    CREATE = auto()
    """Nothing is there, and EC2's describes had the time to show it: create what is missing."""
    ADOPT = auto()
    """All is there: an earlier attempt's reply was lost. Take it over."""
    WAIT = auto()
    """Not all is there, but it may be and not be shown yet."""
    INCOMPLETE = auto()
    """A part of a set is there. EC2 takes sets whole, so this one lost a member since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``members``: one snapshot of each volume, the oldest; of one attempt, if sets are taken.
    ``surplus``: the others."""

    next: Next
    members: tuple[Member, ...]
    surplus: tuple[str, ...]


def judge_found(
    found: Sequence[Member],
    volumes: Sequence[str],
    *,
    attempted_at: datetime,
    now: datetime,
    lag: timedelta,
    as_set: bool,
) -> Found:
    """Decide what to do about a point that was attempted before.

    ``lag`` is how long EC2's describes may not show what was made: until it has passed since
    ``attempted_at``, an absence proves nothing. (EC2 Developer Guide, "Eventual consistency".)
    """

    def whole(one: Mapping[str, Member]) -> bool:
        return bool(volumes) and all(volume in one for volume in volumes)

    oldest = chosen(found, as_set=as_set, whole=whole)
    members = {member.snapshot for member in oldest.values()}
    surplus = [one.snapshot for one in _in_order(found) if one.snapshot not in members]
    if whole(oldest):
        step = Next.ADOPT
    elif now - attempted_at < lag:
        step = Next.WAIT
    elif oldest and as_set:
        step = Next.INCOMPLETE
    else:
        step = Next.CREATE
    return Found(next=step, members=tuple(oldest.values()), surplus=tuple(surplus))


SET_SPREAD = timedelta(minutes=1)
"""The snapshots of a set start within moments; two attempts at one are a lag apart."""


def chosen(
    found: Sequence[Member], *, as_set: bool, whole: Callable[[Mapping[str, Member]], bool]
) -> dict[str, Member]:
    """Of all that attempts at a point made, what is its members, by volume.

    The oldest snapshot of each volume; of a set, those of the oldest attempt that is ``whole``, or
    else of the largest.
    """
    attempts = _attempts(found) if as_set else [_oldest(found)]
    return next((one for one in attempts if whole(one)), max(attempts, key=len, default={}))


def _in_order(found: Sequence[Member]) -> list[Member]:
    return sorted(found, key=lambda one: (one.started_at, one.snapshot))


def _oldest(found: Sequence[Member]) -> dict[str, Member]:
    """The oldest snapshot of each volume."""
    oldest: dict[str, Member] = {}
    for member in _in_order(found):
        oldest.setdefault(member.volume, member)
    return oldest


def _attempts(found: Sequence[Member]) -> list[dict[str, Member]]:
    """The sets that were begun, oldest first: members of two of them never make up one."""
    sets: list[list[Member]] = []
    for member in _in_order(found):
        if sets and member.started_at - sets[-1][0].started_at < SET_SPREAD:
            sets[-1].append(member)
        else:
            sets.append([member])
    return [_oldest(one) for one in sets]


def outcome_of(members: Sequence[Member], at: datetime) -> Outcome | None:
    """How a point ends whose members are in these states; None while one is pending, or none
    is known.

    A set is whole or it does not count: one member in error fails the point. EBS puts the rest
    of its set in error too, without a cause of their own.
    """
    broken = [one for one in members if one.state is MemberState.ERROR]
    if broken:
        told = [one for one in broken if one.cause] or broken
        causes = (f"{one.snapshot} of {one.volume}: {one.cause or 'no cause told'}" for one in told)
        return Outcome(status=PointStatus.FAILED, at=at, cause="; ".join(causes))
    if not members or any(one.state is MemberState.PENDING for one in members):
        return None
    return Outcome(status=PointStatus.AVAILABLE, at=at)


def anchor(snapshots: Sequence[str]) -> str:
    """The snapshot id that a set is looked up by. Its completion event names them all."""
    return min(snapshots)
