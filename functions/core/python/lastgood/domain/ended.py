"""What EBS says when snapshots end, and what that means for the point that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.domain.model import Member, MemberState, Method, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One snapshot that ended: ``state`` is COMPLETED or ERROR."""

    snapshot: str
    state: MemberState
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsEnded:
    """An event: one snapshot ended, or the last of a set did, and all of the set are named."""

    account: str
    region: str
    at: datetime
    started_at: datetime
    snapshots: tuple[Ended, ...]


def merged(members: Sequence[Member], ended: Sequence[Ended]) -> tuple[Member, ...]:
    """The members, with the states that the event tells."""
    news = {one.snapshot: one for one in ended}
    return tuple(
        replace(member, state=news[member.snapshot].state, cause=news[member.snapshot].cause)
        if member.snapshot in news
        else member
        for member in members
    )


def counts_members(point: Point) -> bool:
    """Whether the ledger has to remember each member's end, since no one event names them all.

    The event of a set names every member: the success of one alone is no news, and not written.
    """
    return point.method is Method.ONE_BY_ONE and len(point.members) > 1
