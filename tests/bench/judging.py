"""How many points a second are judged, beside shelvery's check for staleness and a plain sort.

All on one core, one after the other, in one run: 100,000 sources of 60 points each, made one
source at a time and judged as a prune does. The time that it takes to make them is not counted.
shelvery's check, ``BackupResource.is_stale``, runs in an environment of its own on fewer points.
"""

import argparse
import json
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lastgood.domain.policy import Retention, Span
from lastgood.domain.retention import Judge, PointFacts
from tests.bench import show
from tests.bench.tools import SHELVERY, installed

NOW = datetime(2026, 11, 25, 5, 40, tzinfo=UTC)
RETENTION = Retention(
    timezone="Europe/Berlin",
    keep_last=3,
    keep_daily=7,
    keep_weekly=4,
    keep_monthly=12,
    keep_yearly=1,
    keep_within=Span.parse("14d"),
    at_least=2,
)
"""Of the policy web-daily as it is shipped."""
TARGET = 200_000
STALE = Path(__file__).with_name("shelvery_stale.py")

Points = list[PointFacts]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sources", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=60, help="of each source")


def run(given: argparse.Namespace) -> int:
    """Prints what came of it; 1 if the target is missed."""
    judge = Judge(RETENTION)
    tenth = given.sources // 10

    def told(points: Points) -> int:
        return sum(len(one.reasons) for one in judge.judge(points, NOW))

    show.title(f"Judging {given.sources} sources of {given.points} points each, on one core")
    rates = []
    for name, sources, work in (
        ("verdicts", given.sources, lambda points: judge.judge(points, NOW)),
        ("verdicts, and every reason read", tenth, told),
        ("a plain sort by time", tenth, lambda points: sorted(points, key=_taken_at)),
    ):
        seconds, early, late = _timed(work, sources, given.points)
        rate = sources * given.points / seconds
        rates.append((name, f"{rate:.0f}", f"{early / 1024:.0f}", f"{late / 1024:.0f}"))
    done = subprocess.run(
        [str(installed(SHELVERY) / "python"), str(STALE)],
        check=True,
        capture_output=True,
        text=True,
    )
    shelvery = json.loads(done.stdout)
    rates.append((f"{SHELVERY}: is_stale", f"{shelvery['rate']:.0f}", "-", "-"))
    show.table(("", "points/s", "MiB after a tenth", "MiB at the end"), rates)
    first = float(rates[0][1])
    others = ", ".join(f"{first / float(rate):.2f} of {name}" for name, rate, *_ in rates[1:])
    show.line(f"verdicts are given at {others}")
    show.line(f"target {TARGET} points/s: {'met' if first >= TARGET else 'MISSED'}")
    return int(first < TARGET)


def _taken_at(point: PointFacts) -> datetime:
    return point.taken_at


def _timed(work: Callable[[Points], object], sources: int, count: int) -> tuple[float, int, int]:
    """Seconds of CPU in ``work``; the most memory so far, in KiB, after a tenth and at the end."""
    seconds, early = 0.0, 0
    for number, points in enumerate(_sources(sources, count)):
        began = time.process_time()
        work(points)
        seconds += time.process_time() - began
        if number == sources // 10:
            early = _memory()
    return seconds, early, _memory()


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _sources(sources: int, count: int) -> Iterator[Points]:
    """Points a day apart, begun within five hours of their slot, as workers come to them."""
    for number in range(sources):
        late = timedelta(seconds=number * 7919 % 18_000)
        yield [
            PointFacts(
                id=f"pt-{number:06}-{day:02}",
                taken_at=NOW - timedelta(days=day, hours=5) + late,
            )
            for day in range(count)
        ]
