"""A picture of what a source has to go back to: one row a rule, the past on a growing scale."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from lastgood.domain.retention import Verdict

HOUR = timedelta(hours=1)
MARKS = {
    "1 h": HOUR,
    "6 h": 6 * HOUR,
    "1 day": 24 * HOUR,
    "3 days": 72 * HOUR,
    "1 week": 7 * 24 * HOUR,
    "1 month": 30.4 * 24 * HOUR,
    "3 months": 91.3 * 24 * HOUR,
    "1 year": 365.25 * 24 * HOUR,
    "3 years": 3 * 365.25 * 24 * HOUR,
    "10 years": 10 * 365.25 * 24 * HOUR,
}
COLOURS = {
    "last": "#475569",
    "hourly": "#0e7490",
    "daily": "#1d4ed8",
    "weekly": "#6d28d9",
    "monthly": "#be185d",
    "yearly": "#b45309",
    "within": "#15803d",
    "tags": "#a16207",
    "floor": "#991b1b",
}
WIDTH, LEFT, RIGHT, ROW, TOP = 960, 90, 30, 30, 64  # pixels


def svg(
    name: str,
    kept: Sequence[Verdict],
    now: datetime,
    outages: Sequence[tuple[datetime, datetime]] = (),
) -> str:
    """``kept``, newest first, as they are at ``now``; the present is at the right."""
    rows: dict[str, list[datetime]] = {tier: [] for tier in COLOURS}
    for verdict in kept:
        for reason in verdict.reasons:
            rows.setdefault(tier_of(reason), []).append(verdict.point.taken_at)
    rows = {tier: sorted(set(times)) for tier, times in rows.items() if times}
    oldest = min((one.point.taken_at for one in kept), default=now - 24 * HOUR)
    scale = _Scale(now, max(now - oldest, 24 * HOUR))
    height = TOP + ROW * (len(rows) + 1) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(name)}: {len(kept)} points, {now:%Y-%m-%d}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" fill="#0f172a">{escape(name)}: {len(kept)} points '
        f"to go back to, as of {now:%Y-%m-%d}</text>",
        '<text x="16" y="44" fill="#475569">Each mark is a point, in the row of each rule that '
        "keeps it. Time is on a logarithmic scale.</text>",
        *_outages(outages, scale, height),
        *_grid(scale, height),
    ]
    every = sorted({one.point.taken_at for one in kept})
    for number, (tier, times) in enumerate([("all", every), *rows.items()]):
        parts += _row(tier, times, TOP + ROW * number + ROW / 2, scale)
    return "\n".join([*parts, "</svg>", ""])


def tier_of(reason: str) -> str:
    """The rule that a reason for keeping a point speaks of: its first word."""
    return reason.removeprefix("oldest ").split(" ")[0].rstrip(":")


class _Scale:
    """From an instant to pixels. An hour ago and less is at the right edge."""

    def __init__(self, now: datetime, reach: timedelta) -> None:
        self.now = now
        self.reach = reach
        self._whole = math.log(max(reach / HOUR, 2))

    def x(self, moment: datetime) -> float:
        age = max((self.now - moment) / HOUR, 1)
        return WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * min(math.log(age) / self._whole, 1)


def _grid(scale: _Scale, height: int) -> Iterator[str]:
    bottom = height - 36
    for label, age in MARKS.items():
        if age <= scale.reach:
            x = scale.x(scale.now - age)
            yield (
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#e2e8f0"/>'
            )
            yield (
                f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#475569">'
                f"{label}</text>"
            )
    yield (f'<text x="{WIDTH - 16}" y="{bottom + 30}" text-anchor="end" fill="#475569">ago</text>')


def _outages(
    outages: Sequence[tuple[datetime, datetime]], scale: _Scale, height: int
) -> Iterator[str]:
    for begin, over in outages:
        left, right = scale.x(begin), scale.x(min(over, scale.now))
        yield (
            f'<rect x="{left:.1f}" y="{TOP - 8}" width="{max(right - left, 1):.1f}" '
            f'height="{height - 36 - TOP + 8}" fill="#fee2e2"><title>outage from '
            f"{begin:%Y-%m-%d} to {over:%Y-%m-%d}</title></rect>"
        )


def _row(tier: str, times: Sequence[datetime], y: float, scale: _Scale) -> Iterator[str]:
    colour = COLOURS.get(tier, "#0f172a")
    yield (
        f'<text x="16" y="{y + 4:.0f}" fill="{colour}">{escape(tier)} '
        f'<tspan fill="#64748b">{len(times)}</tspan></text>'
    )
    yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#f1f5f9"/>'
    for one in times:
        yield (
            f'<circle cx="{scale.x(one):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.75">'
            f"<title>{one:%Y-%m-%d %H:%M} UTC</title></circle>"
        )
