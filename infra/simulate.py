"""What will a policy keep? ``python -m infra.simulate``, or ``make simulate``. It needs no AWS.

Every slot of the policy's schedules yields a point of one source, and each day a prune judges
them, as the product does; slots within an outage yield none.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    # Under pytest and in app.py this is done before.
    sys.path.insert(0, str(ROOT / "functions/core/python"))

from infra.policies import load_policy  # noqa: E402
from infra.timeline import svg, tier_of  # noqa: E402
from lastgood import codec  # noqa: E402
from lastgood.domain.forecast import slots_of  # noqa: E402
from lastgood.domain.policy import Policy, Retention  # noqa: E402
from lastgood.domain.retention import Judge, PointFacts, Verdict  # noqa: E402
from lastgood.errors import LastgoodError, MalformedMessage, UnknownPolicy  # noqa: E402

PRUNE_AT = timedelta(hours=5, minutes=40)
"""Of each day in UTC, as ``infra.catalog`` has it."""
DAY = timedelta(days=1)
BANDS = {"1 week": 7 * DAY, "1 month": 31 * DAY, "1 year": 366 * DAY}
TIERS = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "floor")

Outage = tuple[datetime, datetime]
"""From the one until just before the other."""


@dataclass(frozen=True, slots=True)
class Month:
    """A source's points after the last prune of a month, at ``at``.

    ``tiers``: how many points each rule keeps; one point may serve several. ``gaps``: the longest
    time without a point, within each of ``BANDS`` counted back from ``at``, and over all.
    """

    at: datetime
    points: int
    tiers: Counter[str]
    reach: timedelta
    gaps: dict[str, timedelta]


@dataclass(slots=True)
class History:
    """``kept``: the verdicts on what is left in the end, newest first. ``most``: the most points
    that there were at one time. ``worst``: the longest gap of all months, and when that was."""

    months: list[Month] = field(default_factory=list)
    kept: list[Verdict] = field(default_factory=list)
    taken: int = 0
    most: int = 0

    @property
    def worst(self) -> tuple[timedelta, datetime]:
        return max(((one.gaps["ever"], one.at) for one in self.months), default=(0 * DAY, _EPOCH))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def simulate(
    policy: Policy, start: datetime, end: datetime, outages: Sequence[Outage] = ()
) -> History:
    """From ``start`` to ``end``, a prune a day. Raises UnsafePlan as the judge does."""
    judge, history = Judge(policy.retention), History()
    slots = slots_of(policy, after=start, until=end)
    points: list[PointFacts] = []
    position = 0
    for now in _prunes(start, end):
        while position < len(slots) and slots[position] <= now:
            slot = slots[position]
            position += 1
            if not any(begin <= slot < over for begin, over in outages):
                points.append(PointFacts(id=f"{slot:%Y-%m-%dT%H:%M}Z", taken_at=slot))
                history.taken += 1
        history.most = max(history.most, len(points))
        history.kept = [one for one in judge.judge(points, now) if one.keep]
        points = [one.point for one in history.kept]
        if (now + DAY).month != now.month:
            history.months.append(_month(now, history.kept))
    return history


def _prunes(start: datetime, end: datetime) -> Iterator[datetime]:
    now = start.replace(hour=0, minute=0, second=0, microsecond=0) + PRUNE_AT
    while now <= end:
        if now > start:
            yield now
        now += DAY


def _month(now: datetime, kept: Sequence[Verdict]) -> Month:
    times = [one.point.taken_at for one in kept]
    tiers = Counter(tier for one in kept for tier in tiers_of(one))
    return Month(
        at=now,
        points=len(times),
        tiers=tiers,
        reach=now - times[-1] if times else 0 * DAY,
        gaps={name: _gap(now, times, band) for name, band in BANDS.items()}
        | {"ever": _gap(now, times, now - times[-1] if times else 0 * DAY)},
    )


def tiers_of(verdict: Verdict) -> set[str]:
    """The rules that keep a point, each by the first word of its reason."""
    return set(map(tier_of, verdict.reasons))


def _gap(now: datetime, newest_first: Sequence[datetime], band: timedelta) -> timedelta:
    """The longest time without a point, of those that end within ``band`` before ``now``."""
    later = [now, *newest_first]
    return max(
        (one - other for one, other in zip(later, newest_first, strict=False) if now - one < band),
        default=0 * DAY,
    )


# the command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--policy", required=True, help="the name of a policy in --policies")
    parser.add_argument("--policies", type=Path, default=ROOT / "policies.yaml")
    parser.add_argument("--years", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--start", default="2026-01-01", help="a date (default: 2026-01-01)")
    parser.add_argument("--outages", default="", help="such as 2026-03-01..2026-03-15,2026-06-01..")
    parser.add_argument(
        "--what-if", default="", help="other rules, such as keep_daily=14,keep_within=30d"
    )
    parser.add_argument("--out", type=Path, default=Path("timeline.svg"), help="the picture")
    given = parser.parse_args(arguments)
    try:
        policy = _changed(_policy(given.policies, given.policy), given.what_if)
        start = _date(given.start)
        end = start + timedelta(days=365.25 * given.years)
        outages = [_outage(one, end) for one in given.outages.split(",") if one]
        history = simulate(policy, start, end, outages)
        given.out.write_text(svg(policy.name, history.kept, end, outages), encoding="utf-8")
    except (LastgoodError, OSError, OverflowError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print("\n".join(_lines(policy, history, given.out)))
    return 0


def _policy(path: Path, name: str) -> Policy:
    policy = load_policy(path, name)
    if not policy.schedules:
        raise UnknownPolicy(f"{name} has no schedule: it takes points only when a person asks")
    return policy


def _changed(policy: Policy, changes: str) -> Policy:
    """With other rules: each ``key=value``, a value as in the file."""
    rules = codec.unstructure(policy.retention)
    for change in filter(None, changes.split(",")):
        key, equals, value = change.partition("=")
        if not equals:
            raise MalformedMessage(f"WHATIF: {change!r} is not like keep_daily=14")
        rules[key.strip()] = int(value) if value.strip().lstrip("-").isdigit() else value.strip()
    return replace(policy, retention=codec.structure(rules, Retention))


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedMessage(f"{text!r} is not a date such as 2026-03-01") from error


def _outage(text: str, end: datetime) -> Outage:
    begin, dots, over = text.partition("..")
    if not dots:
        raise MalformedMessage(f"OUTAGES: {text!r} is not like 2026-03-01..2026-03-15")
    return _date(begin), _date(over) if over else end


def _lines(policy: Policy, history: History, out: Path) -> Iterator[str]:
    rules = {key: one for key, one in codec.unstructure(policy.retention).items() if one}
    yield f"{policy.name}: {json.dumps(rules)}"
    yield ""
    used = [tier for tier in TIERS if any(one.tiers[tier] for one in history.months)]
    head = ("month", "points", *used, "reaches back", *(f"gap {one}" for one in BANDS), "gap ever")
    rows = [
        (
            f"{one.at:%Y-%m}",
            str(one.points),
            *(str(one.tiers[tier]) for tier in used),
            *(_length(length) for length in (one.reach, *one.gaps.values())),
        )
        for one in history.months
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    yield ""
    worst, at = history.worst
    yield (
        f"{history.taken} points taken, at most {history.most} there at one time, "
        f"{len(history.kept)} in the end."
    )
    yield f"The worst gap between two points to go back to: {_length(worst)}, seen {at:%Y-%m}."
    yield f"Picture: {out}"


def _length(length: timedelta) -> str:
    days = length / DAY
    return f"{days * 24:.0f} h" if days < 3 else f"{days:.0f} d"


if __name__ == "__main__":
    sys.exit(main())
