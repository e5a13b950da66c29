"""When a point will be free to go, if its policy's schedules go on as they are."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from lastgood.domain import cron
from lastgood.domain.policy import Policy
from lastgood.domain.retention import Judge, PointFacts, Verdict

HORIZONS = tuple(timedelta(days=days) for days in (60, 400, 3_653))
"""How far it is looked ahead, a longer way only if need be: ten years at most."""

Freed = tuple[datetime, Verdict]
"""The slot whose point frees it, and the verdict then."""


def freed(policy: Policy, points: Sequence[PointFacts], point: str, now: datetime) -> Freed | None:
    """The first slot after which no rule keeps ``point``, one of ``points``; None within ten years.

    Every slot from ``now`` on is taken to yield a point; holds and the like to stay. Judging all
    at once is judging day by day: what a rule lets go it never wants back.
    """
    judge = Judge(policy.retention)
    for horizon in HORIZONS:
        slots = slots_of(policy, after=now, until=now + horizon)
        coming = [PointFacts(id=f"coming-{one:%Y%m%d%H%M}", taken_at=one) for one in slots]

        def verdict(count: int, coming: Sequence[PointFacts] = coming) -> Verdict:
            at = coming[count - 1].taken_at if count else now
            judged = judge.judge([*points, *coming[:count]], at)
            return next(one for one in judged if one.point.id == point)

        if slots and not verdict(len(slots)).keep:
            first = _first(len(slots), lambda count: not verdict(count).keep)
            return slots[first - 1], verdict(first)
    return None


def slots_of(policy: Policy, *, after: datetime, until: datetime) -> list[datetime]:
    """The slots of all its schedules in (after, until], oldest first, each once."""
    return sorted(
        {
            slot
            for one in policy.schedules
            for slot in cron.slots(one.cron, one.timezone, after=after, until=until)
        }
    )


def _first(last: int, holds: Callable[[int], bool]) -> int:
    """The smallest number from 1 to ``last`` for which it holds, as it does for ``last``."""
    low, high = 1, last
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
