"""What the snapshots that exist already say about a point that somebody began to take."""

from collections.abc import Sequence
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
    """``members``: one snapshot of each volume, the oldest. ``surplus``: the others."""

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
    oldest: dict[str, Member] = {}
    surplus = []
    for member in sorted(found, key=lambda one: (one.started_at, one.snapshot)):
        if member.volume in oldest:
            surplus.append(member.snapshot)
        else:
            oldest[member.volume] = member
    if volumes and all(volume in oldest for volume in volumes):
        step = Next.ADOPT
    elif now - attempted_at < lag:
        step = Next.WAIT
    elif oldest and as_set:
        step = Next.INCOMPLETE
    else:
        step = Next.CREATE
    return Found(next=step, members=tuple(oldest.values()), surplus=tuple(surplus))


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
