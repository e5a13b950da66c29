"""Schedule expressions name the instants that EventBridge Scheduler documents."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.cloud.expressions import Malformed, next_after

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def following(expression: str, after: datetime, count: int, zone: str = "UTC") -> list[str]:
    found: list[str] = []
    while len(found) < count and (instant := next_after(expression, zone, after, NEW_YEAR)):
        found.append(instant.strftime("%Y-%m-%dT%H:%M"))
        after = instant
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * ? *", ["2026-01-01T03:00", "2026-01-02T03:00"]),
        ("0/20 8-9 ? * MON-FRI *", ["2026-01-01T08:00", "2026-01-01T08:20"]),
        ("15,45 0 1 JAN,JUL ? *", ["2026-01-01T00:15", "2026-01-01T00:45"]),
        ("0 0 L * ? *", ["2026-01-31T00:00", "2026-02-28T00:00"]),
        ("0 0 LW * ? *", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        # 1 February 2026 is a Sunday, and its nearest working day is not in January
        ("0 0 1W * ? *", ["2026-02-02T00:00", "2026-03-02T00:00"]),
        ("0 0 ? * 6L *", ["2026-01-30T00:00", "2026-02-27T00:00"]),
        ("0 0 ? * MON#2 *", ["2026-01-12T00:00", "2026-02-09T00:00"]),
        ("0 0 ? * L *", ["2026-01-03T00:00", "2026-01-10T00:00"]),
        ("0 0 29 2 ? *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
    ],
)
def test_a_cron_expression_names_its_instants(cron: str, expected: list[str]) -> None:
    assert following(f"cron({cron})", NEW_YEAR, 2) == expected


def test_a_local_time_that_does_not_exist_is_skipped() -> None:
    # Berlin goes from 02:00 to 03:00 on 29 March 2026
    after = datetime(2026, 3, 28, tzinfo=UTC)

    instants = following("cron(30 2 * * ? *)", after, 2, "Europe/Berlin")

    assert instants == ["2026-03-28T01:30", "2026-03-30T00:30"]


def test_a_local_time_that_comes_twice_is_used_once() -> None:
    # Berlin goes back from 03:00 to 02:00 on 25 October 2026
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)

    instants = following("cron(30 2 * * ? *)", after, 2, "Europe/Berlin")

    assert instants == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_a_rate_counts_from_its_start_and_fires_there_first() -> None:
    first = next_after("rate(5 minutes)", "UTC", NEW_YEAR - timedelta(seconds=1), NEW_YEAR)

    assert first == NEW_YEAR
    assert following("rate(5 minutes)", NEW_YEAR, 2) == ["2026-01-01T00:05", "2026-01-01T00:10"]


def test_a_day_of_a_rate_is_24_hours_whatever_the_zone_does() -> None:
    days = [NEW_YEAR]
    while len(days) < 120:
        instant = next_after("rate(1 day)", "Europe/Berlin", days[-1], NEW_YEAR)
        assert instant is not None
        days.append(instant)

    assert {later - earlier for earlier, later in pairwise(days)} == {timedelta(days=1)}


def test_an_at_expression_names_one_instant_in_its_zone() -> None:
    assert following("at(2026-07-01T12:00:00)", NEW_YEAR, 2, "Europe/Berlin") == [
        "2026-07-01T10:00"
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 3 * * ?)",
        "cron(0 3 * * * *)",
        "cron(0 3 ? * ? *)",
        "cron(60 3 * * ? *)",
        "cron(0 3 * FOO ? *)",
        "cron(0 3 1/0 * ? *)",
        "rate(0 minutes)",
        "rate(5 weeks)",
        "at(2026-07-01)",
        "every day",
    ],
)
def test_an_expression_that_aws_would_refuse_is_malformed(expression: str) -> None:
    with pytest.raises(Malformed):
        next_after(expression, "UTC", NEW_YEAR, NEW_YEAR)
