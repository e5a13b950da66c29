"""What will a policy keep? ``python -m infra.simulate``, or ``make simulate``. It needs no AWS.

Every slot of the policy's schedules yields a point of one source, and each day a prune judges
them, as the product does, caps and all; slots within an outage yield none.
"""

import argparse
import json
import re
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

from infra.given import parsed  # noqa: E402
from infra.policies import WAITS_FOR_COPIES, load_policy  # noqa: E402
from infra.timeline import svg, tier_of  # noqa: E402
from lastgood import codec  # noqa: E402
from lastgood.domain.forecast import DAY, prunes, slots_of  # noqa: E402
from lastgood.domain.policy import Policy, Retention  # noqa: E402
from lastgood.domain.retention import Judge, PointFacts, Verdict  # noqa: E402
from lastgood.errors import LastgoodError, MalformedMessage, UnknownPolicy  # noqa: E402

MOST_YEARS = 100
BANDS = {"1 week": 7 * DAY, "1 month": 31 * DAY, "1 year": 366 * DAY}
TIERS = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "floor")

Outage = tuple[datetime, datetime]
"""From the one until just before the other."""


@dataclass(frozen=True, slots=True)
class Month:
    """A source's points after the last prune of a month, at ``at``.

    ``tiers``: how many points each rule keeps; one point may serve several. ``gaps``: the longest
    time without a point, within each of ``BANDS`` counted back from ``at``, and over all; None if
    the points do not reach back so far.
    """

    at: datetime
    points: int
    tiers: Counter[str]
    reach: timedelta
    gaps: dict[str, timedelta | None]


@dataclass(slots=True)
class History:
    """``kept``: the verdicts on what is left in the end, newest first. ``most``: the most points
    that there were at one time. ``stopped``: days on which the caps let nothing go. ``worst``: the
    longest gap of all months that have a point, and when that was; None without one."""

    months: list[Month] = field(default_factory=list)
    kept: list[Verdict] = field(default_factory=list)
    taken: int = 0
    most: int = 0
    stopped: int = 0

    @property
    def worst(self) -> tuple[timedelta, datetime] | None:
        gaps = ((one.gaps["ever"], one.at) for one in self.months)
        return max(((gap, at) for gap, at in gaps if gap is not None), default=None)


def simulate(
    policy: Policy, start: datetime, end: datetime, outages: Sequence[Outage] = ()
) -> History:
    """From ``start`` to ``end``, a prune a day. Raises UnsafePlan as the judge does."""
    judge, history = Judge(policy.retention), History()
    slots = slots_of(policy, after=start, until=end)
    points: list[PointFacts] = []
    position = 0
    for now in prunes(start, end):
        while position < len(slots) and slots[position] <= now:
            slot = slots[position]
            position += 1
            if not any(begin <= slot < over for begin, over in outages):
                points.append(PointFacts(id=f"{slot:%Y-%m-%dT%H:%M}Z", taken_at=slot))
                history.taken += 1
        history.most = max(history.most, len(points))
        verdicts = judge.judge(points, now)
        going = sum(not one.keep for one in verdicts)
        if going > policy.max_deletes.count or going > policy.max_deletes.share * len(verdicts):
            history.stopped += 1
            history.kept = verdicts
        else:
            history.kept = [one for one in verdicts if one.keep]
        points = [one.point for one in history.kept]
        if (now + DAY).month != now.month:
            history.months.append(_month(now, history.kept))
    return history


def _month(now: datetime, kept: Sequence[Verdict]) -> Month:
    times = [one.point.taken_at for one in kept]
    tiers = Counter(tier for one in kept if one.keep for tier in tiers_of(one))
    reach = now - times[-1] if times else 0 * DAY
    bands = {**BANDS, "ever": reach}
    return Month(
        at=now,
        points=len(times),
        tiers=tiers,
        reach=reach,
        gaps={
            name: _gap(now, times, band) if times and band <= reach else None
            for name, band in bands.items()
        },
    )


def tiers_of(verdict: Verdict) -> set[str]:
    """The rules that keep a point, each by the first word of its reason."""
    return set(map(tier_of, verdict.reasons))


def _gap(now: datetime, newest_first: Sequence[datetime], band: timedelta) -> timedelta:
    """The longest time without a point, of those that end within ``band`` before ``now``."""
    later = [now, *newest_first]
    return max(
        one - other for one, other in zip(later, newest_first, strict=False) if now - one < band
    )


# the command

USAGE = """\
make -s simulate POLICY=NAME [YEARS=N] [START=DATE] [OUTAGES=DATE..DATE,...]
                        [WHATIF=RULES] [OUT=timeline.svg]
   or: python -m infra.simulate --policy NAME [--years N] [--start DATE] ..."""
HELP = """\
Of each month: how many points there are, how many of them each rule keeps, how
far they reach back, and the longest time without one in the last week, month and
year; - where they do not reach back so far. An outage ends before its second date,
or lasts to the end without one.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        usage=USAGE,
        description=__doc__,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--policy", required=True, help="the name of a policy in --policies")
    parser.add_argument("--policies", type=Path, default=ROOT / "policies.yaml")
    parser.add_argument("--years", type=float, default=2.0, help="how long (default: 2)")
    parser.add_argument("--start", default="2026-01-01", help="a date (default: 2026-01-01)")
    parser.add_argument("--outages", default="", help="such as 2026-03-01..2026-03-15,2026-06-01..")
    parser.add_argument(
        "--what-if",
        default="",
        help="other rules, such as keep_daily=14,keep_within=30d; or JSON, null takes one out",
    )
    parser.add_argument("--out", type=Path, default=Path("timeline.svg"), help="the picture")
    given = parser.parse_args(arguments)
    try:
        policy = _changed(_policy(given.policies, given.policy), given.what_if)
        start, end = _span(given.start, given.years)
        outages = [_outage(one, start, end) for one in given.outages.split(",") if one]
        history = simulate(policy, start, end, outages)
        if not history.taken:
            raise MalformedMessage(f"{policy.name} takes no point from {start:%Y-%m-%d} on")
        if policy.copies:
            print(WAITS_FOR_COPIES, file=sys.stderr)
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
    if changes.lstrip().startswith("{"):
        rules |= parsed(changes, "WHATIF")
        rules = {key: value for key, value in rules.items() if value is not None}
        return replace(policy, retention=codec.structure(rules, Retention))
    for change in filter(None, changes.split(",")):
        key, equals, value = change.partition("=")
        if not equals:
            raise MalformedMessage(f"WHATIF: {change!r} is not like keep_daily=14")
        rules[key.strip()] = int(value) if re.fullmatch(r"\s*-?\d+\s*", value) else value.strip()
    return replace(policy, retention=codec.structure(rules, Retention))


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedMessage(f"{text!r} is not a date such as 2026-03-01") from error


def _span(start: str, years: float) -> tuple[datetime, datetime]:
    if not 0 < years <= MOST_YEARS:
        raise MalformedMessage(f"YEARS must be above 0 and at most {MOST_YEARS}")
    begin = _date(start)
    return begin, begin + timedelta(days=365.25 * years)


def _outage(text: str, start: datetime, end: datetime) -> Outage:
    begin, dots, over = text.partition("..")
    if not dots:
        raise MalformedMessage(f"OUTAGES: {text!r} is not like 2026-03-01..2026-03-15")
    outage = _date(begin), _date(over) if over else end
    if not start <= outage[0] < outage[1] or outage[0] >= end:
        raise MalformedMessage(
            f"OUTAGES: {text} must begin before it ends, and lie between {start:%Y-%m-%d} and "
            f"{end:%Y-%m-%d}"
        )
    return outage


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
            *(_length(length) if length else "-" for length in (one.reach, *one.gaps.values())),
        )
        for one in history.months
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    yield ""
    yield (
        f"{history.taken} points taken, at most {history.most} there at one time, "
        f"{len(history.kept)} in the end."
    )
    if worst := history.worst:
        gap, at = worst
        yield f"The worst gap between two points to go back to: {_length(gap)}, seen {at:%Y-%m}."
    empty = [one for one in history.months if not one.points]
    if empty:
        yield f"Nothing to go back to in {len(empty)} months, first {empty[0].at:%Y-%m}."
    if history.stopped:
        yield (
            f"On {history.stopped} days the prune was over max_deletes, and stopped: a person had "
            "to approve."
        )
    yield f"Picture: {out}"


def _length(length: timedelta) -> str:
    days = length / DAY
    return f"{days * 24:.0f} h" if days < 3 else f"{days:.0f} d"


if __name__ == "__main__":
    sys.exit(main())
