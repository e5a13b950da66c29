"""Ten years of hours, judged every day: clocks that change, outages, and clocks that were wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from lastgood.domain import cron
from lastgood.domain.policy import Retention
from lastgood.domain.retention import Judge, PointFacts

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=3653)
DAY = timedelta(days=1)
OUTAGES = ((START + 400 * DAY, START + 445 * DAY), (START + 2000 * DAY, START + 2003 * DAY))
JUMP = timedelta(days=500)
"""By which a clock was ahead, for a day each year."""


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
def test_ten_years_of_hours_keep_what_the_rules_say_and_never_lose_the_newest(zone: str) -> None:
    retention = Retention(
        timezone=zone,
        keep_hourly=24,
        keep_daily=7,
        keep_weekly=5,
        keep_monthly=12,
        keep_yearly="all",
    )
    judge, points = Judge(retention), []
    slots = cron.slots("0 * * * ? *", zone, after=START, until=END)
    coming = next(slots)
    now, last_good, most = START, None, 0
    while now < END - DAY:
        now += DAY
        while coming <= now:
            if not any(begin <= coming < over for begin, over in OUTAGES):
                jumped = coming.timetuple().tm_yday == 200 and coming.hour == 3
                taken_at = coming + JUMP if jumped else coming
                points.append(PointFacts(id=f"{coming:%Y%m%d%H}", taken_at=taken_at))
                last_good = last_good if jumped else coming
            coming = next(slots)

        verdicts = judge.judge(points, now)

        kept = [one.point for one in verdicts if one.keep]
        real = [one.taken_at for one in kept if one.taken_at <= now]
        assert real[0] >= last_good
        if len(points) < 24:
            assert len(kept) == len(points)
        most = max(most, len(kept))
        points = kept
    assert most < 24 + 7 + 5 + 12 + 11 + 2
    years = {one.taken_at.year for one in points}
    assert years >= set(range(2026, 2036))
