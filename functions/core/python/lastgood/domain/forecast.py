"""When a point will be free to go, if its policy's schedules go on as they are."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lastgood.domain import cron
from lastgood.domain.policy import Policy
from lastgood.domain.policy_checks import Problem
from lastgood.domain.retention import Judge, PointFacts, Verdict

LOOKED = timedelta(days=3_653)
"""How far it is looked ahead: ten years."""

MOST_JUDGED = 1_000_000
"""Verdicts, some seconds' worth: with very many points, it is looked ahead less far."""

PRUNE_AT = timedelta(hours=5, minutes=40)
"""When the daily prune is, in UTC (``infra.catalog``)."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Freed:
    """``at``: the slot whose point frees it, with the verdict then; without one, how far it was
    looked ahead in vain."""

    at: datetime
    verdict: Verdict | None = None


def freed(policy: Policy, points: Sequence[PointFacts], point: str, now: datetime) -> Freed:
    """The first slot after which no rule keeps ``point``, one of ``points``.

    Every slot from ``now`` on is taken to yield a point, each day a prune to take what is free, and
    holds and the like to stay.
    """
    judge = Judge(policy.retention)
    left, judged = list(points), 0
    begin = now
    for end in prunes(now, now + LOOKED):
        coming = [_coming(one) for one in slots_of(policy, after=begin, until=end)]
        verdicts = judge.judge([*left, *coming], end)
        if not _of(point, verdicts).keep:
            return _within_a_day(judge, left, coming, point, end)
        left = [one.point for one in verdicts if one.keep]
        judged += len(verdicts)
        begin = end
        if judged > MOST_JUDGED:
            break
    return Freed(begin)


def _within_a_day(
    judge: Judge,
    left: Sequence[PointFacts],
    coming: Sequence[PointFacts],
    point: str,
    end: datetime,
) -> Freed:
    """The first of the day's slots that frees it; time alone may do so too."""
    for count, one in enumerate(coming, 1):
        verdict = _of(point, judge.judge([*left, *coming[:count]], one.taken_at))
        if not verdict.keep:
            return Freed(one.taken_at, verdict)
    return Freed(end, _of(point, judge.judge([*left, *coming], end)))


def _of(point: str, verdicts: Sequence[Verdict]) -> Verdict:
    return next(one for one in verdicts if one.point.id == point)


def _coming(slot: datetime) -> PointFacts:
    return PointFacts(id=f"coming-{slot:%Y%m%d%H%M}", taken_at=slot)


def prunes(after: datetime, until: datetime) -> Iterator[datetime]:
    """The instants of the daily prunes in (after, until]."""
    at = after.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + PRUNE_AT
    while at <= until:
        if at > after:
            yield at
        at += DAY


SINCE = datetime(2026, 1, 1, tzinfo=UTC)
"""When policies are tried from: one instant, so that every synth finds the same."""

TRIED = timedelta(days=120)
"""How long a policy is run to see what it deletes each day; the second half counts."""


def problems(policy: Policy) -> Iterator[Problem]:
    """A cap that would stop every prune: more goes of a source each day than it allows.

    ``policy`` has no other problem.
    """
    if not policy.schedules or policy.max_deletes.share >= 1:
        return
    going, there = _largest_share(policy)
    if going > policy.max_deletes.share * there:
        least = math.ceil(100 * going / there) / 100
        yield (
            ("max_deletes", "share"),
            (
                f"is {policy.max_deletes.share:g}, but at these schedules and this retention "
                f"{going} of the {there} points of a source go on one day: nothing would ever be "
                f"pruned; it must be at least {least:g}"
            ),
        )


def _largest_share(policy: Policy) -> tuple[int, int]:
    """Of one source on the day when most of it goes, if every slot yields a point and nothing stops
    a prune: how many go, and of how many."""
    judge, left = Judge(policy.retention), list[PointFacts]()
    worst, begin = (0, 1), SINCE
    for end in prunes(SINCE, SINCE + TRIED):
        left += [_coming(one) for one in slots_of(policy, after=begin, until=end)]
        verdicts = judge.judge(left, end)
        kept = [one.point for one in verdicts if one.keep]
        going = len(left) - len(kept)
        if end - SINCE > TRIED / 2 and going * worst[1] > worst[0] * len(left):
            worst = going, len(left)
        left, begin = kept, end
    return worst


def slots_of(policy: Policy, *, after: datetime, until: datetime) -> list[datetime]:
    """The slots of all its schedules in (after, until], oldest first, each once."""
    return sorted(
        {
            slot
            for one in policy.schedules
            for slot in cron.slots(one.cron, one.timezone, after=after, until=until)
        }
    )
