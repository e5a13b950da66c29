"""Which points stay and which go: each rule by examples, and what must hold whatever is given."""

import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.model import PointStatus
from lastgood.domain.policy import Retention, Span
from lastgood.domain.retention import FAILED_GRACE, PointFacts, judge, newest_first
from lastgood.errors import UnsafePlan

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"


def at(text, **given):
    """A point whose id is its time."""
    zone = given.pop("zone", "UTC")
    taken = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return PointFacts(id=text, taken_at=taken, **given)


def daily(count, **given):
    """A point each night at 03:00, newest first."""
    return [
        PointFacts(id=f"{NOW - n * DAY:%m-%d}", taken_at=NOW - n * DAY - 9 * HOUR, **given)
        for n in range(count)
    ]


def kept(points, now=NOW, **retention):
    return [one.point.id for one in judge(points, Retention(**retention), now) if one.keep]


def reasons(points, now=NOW, **retention):
    return {one.point.id: one.reasons for one in judge(points, Retention(**retention), now)}


# order, counts and periods


def test_verdicts_come_newest_first_and_ties_by_id():
    same = [PointFacts(id=one, taken_at=NOW - DAY) for one in ("b", "c", "a")]
    points = [PointFacts(id="old", taken_at=NOW - 2 * DAY), *same]

    found = judge(points, Retention(keep_last=1), NOW)

    assert [one.point.id for one in found] == ["a", "b", "c", "old"]
    assert [one.keep for one in found] == [True, False, False, False]


def test_a_count_keeps_the_newest_point_of_each_period():
    points = [at("2026-11-22T01:00"), at("2026-11-22T23:00"), at("2026-11-21T23:30")]

    assert kept(points, keep_daily=2) == ["2026-11-22T23:00", "2026-11-21T23:30"]


def test_a_period_without_a_point_uses_up_no_count():
    points = [at("2026-11-22T01:00"), at("2026-10-01T01:00"), at("2026-03-01T01:00")]

    assert len(kept(points, keep_daily=3)) == 3


def test_weeks_are_iso_weeks_across_the_turn_of_the_year():
    points = [at("2027-01-03T01:00"), at("2026-12-28T01:00"), at("2026-12-27T01:00")]

    found = reasons(points, now=datetime(2027, 2, 1, tzinfo=UTC), keep_weekly=2)

    assert found["2027-01-03T01:00"] == ("weekly 2026-W53, 1 of 2 left",)
    assert "2026-12-28T01:00" not in kept(points, datetime(2027, 2, 1, tzinfo=UTC), keep_weekly=2)
    assert found["2026-12-27T01:00"] == ("weekly 2026-W52, 0 of 2 left",)


def test_periods_are_those_of_the_retentions_zone():
    points = [at("2026-11-22T22:30"), at("2026-11-22T23:30")]

    assert len(kept(points, keep_daily=9)) == 2  # the second as the oldest
    assert reasons(points, keep_daily=9, timezone=BERLIN) == {
        "2026-11-22T23:30": ("daily 2026-11-23, 8 of 9 left",),
        "2026-11-22T22:30": ("daily 2026-11-22, 7 of 9 left",),
    }


def test_an_hour_that_comes_twice_is_one_hour_and_one_that_is_skipped_is_none():
    backward = [at(f"2026-10-25T0{hour}:30") for hour in range(4)]
    forward = [at(f"2026-03-29T0{hour}:30") for hour in range(3)]

    assert kept(backward, keep_hourly=3, timezone=BERLIN) == [
        *("2026-10-25T03:30", "2026-10-25T02:30", "2026-10-25T01:30")
    ]
    assert list(reasons(forward, keep_hourly=9, timezone=BERLIN).values()) == [
        ("hourly 2026-03-29T04, 8 of 9 left",),
        ("hourly 2026-03-29T03, 7 of 9 left",),
        ("hourly 2026-03-29T01, 6 of 9 left",),
    ]


def test_hours_begin_where_the_zone_begins_them():
    points = [at("2026-11-22T10:15"), at("2026-11-22T10:45"), at("2026-11-22T09:00")]

    assert kept(points, keep_hourly=1) == ["2026-11-22T10:45"]
    assert reasons(points, keep_hourly=2, timezone="Asia/Kolkata") == {
        "2026-11-22T10:45": ("hourly 2026-11-22T16, 1 of 2 left",),
        "2026-11-22T10:15": ("hourly 2026-11-22T15, 0 of 2 left",),
        "2026-11-22T09:00": (
            "hourly 2026-11-22T14: 2 of 2 used by newer; keep_hourly 3 would keep it",
        ),
    }


def test_rules_are_independent_and_a_point_may_use_one_count_of_several():
    found = reasons(daily(20), keep_last=1, keep_daily=2, keep_monthly=1)

    newest, *_ = found.values()
    assert newest == (
        "last 1, 0 of 1 left",
        "daily 2026-11-25, 1 of 2 left",
        "monthly 2026-11, 0 of 1 left",
    )
    assert len(kept(daily(20), keep_daily=7, keep_weekly=4)) == 9


def test_all_has_no_limit_and_zero_is_off():
    assert len(kept(daily(50), keep_daily="all")) == 50
    assert kept(daily(50), keep_daily=0, keep_last=1) == ["11-25"]


def test_the_oldest_point_is_kept_while_there_are_counts_left():
    found = reasons(daily(12), keep_monthly=3)

    assert found["11-14"] == ("oldest monthly 2026-11, 1 of 3 left",)
    assert kept(daily(12), keep_monthly=1) == ["11-25"]


# spans


def test_a_span_keeps_what_is_strictly_younger_than_it():
    points = [at("2026-11-22T00:00"), at("2026-11-20T00:00"), at("2026-11-19T23:59")]

    assert kept(points, keep_within=Span.parse("2d")) == ["2026-11-22T00:00"]
    assert len(kept(points, keep_within=Span.parse("2d1h"))) == 3


def test_a_span_counts_back_from_the_newest_point_and_not_from_now():
    assert kept([at("2020-01-02T00:00"), at("2020-01-01T00:00")], keep_within=Span.parse("3d")) == [
        *("2020-01-02T00:00", "2020-01-01T00:00")
    ]


@pytest.mark.parametrize(
    ("newest", "span", "before"),
    [
        ("2026-10-31T00:00", "1m", "2026-10-01T00:00"),  # there is no 31 September
        ("2026-03-29T00:00", "1m", "2026-03-01T00:00"),
        ("2028-02-29T00:00", "1y", "2027-03-01T00:00"),
        ("2026-03-01T00:00", "1y2m3d3h", "2024-12-28T21:00"),
        ("2026-11-22T10:00", "5h", "2026-11-22T05:00"),
    ],
)
def test_years_months_and_days_are_taken_off_on_the_calendar_and_then_hours(newest, span, before):
    edge = at(before).taken_at
    points = [
        at(newest),
        PointFacts(id="in", taken_at=edge + timedelta(seconds=1)),
        PointFacts(id="out", taken_at=edge),
    ]

    assert kept(points, datetime(2029, 1, 1, tzinfo=UTC), keep_within=Span.parse(span)) == [
        newest,
        "in",
    ]


@pytest.mark.parametrize(
    ("newest", "span", "before"),
    [
        ("2026-03-29T10:00", "1d", "2026-03-28T11:00"),  # 23 hours: noon to noon in Berlin
        ("2026-10-25T11:00", "1d", "2026-10-24T10:00"),  # 25
        ("2026-03-29T06:00", "12h", "2026-03-28T18:00"),
    ],
)
def test_when_clocks_change_days_are_those_of_the_zone_and_hours_are_hours(newest, span, before):
    edge = at(before).taken_at
    points = [
        at(newest),
        PointFacts(id="in", taken_at=edge + timedelta(seconds=1)),
        PointFacts(id="out", taken_at=edge),
    ]

    found = kept(points, keep_within=Span.parse(span), timezone=BERLIN)

    assert found == [newest, "in"]


@pytest.mark.parametrize("span", ["9999y", "999999m", "999999d", "2025y11m"])
def test_a_span_that_reaches_before_the_calendar_begins_has_no_limit(span):
    assert len(kept(daily(400), keep_within=Span.parse(span))) == 400


def test_a_span_of_periods_keeps_the_newest_of_each_within_it_and_the_oldest_of_all():
    points = [at(f"2026-11-{day}T{hour}:00") for day in (20, 21, 22) for hour in ("01", "13")]

    assert kept(points, keep_within_daily=Span.parse("1d13h")) == [
        *("2026-11-22T13:00", "2026-11-21T13:00")
    ]
    assert kept(points, keep_within_daily=Span.parse("9d"))[-1] == "2026-11-20T01:00"


# tags


def test_all_tags_of_a_set_must_match_and_any_set_suffices():
    points = [
        PointFacts(id=str(n), taken_at=NOW - n * DAY, tags=tags)
        for n, tags in enumerate(({}, {"a": "1"}, {"a": "1", "b": "2"}, {"c": "5"}, {"c": "6"}))
    ]
    sets = ({"a": ("1",), "b": ("2", "3")}, {"c": ("5",)})

    assert kept(points, keep_tags=sets) == ["0", "2", "3"]  # the first by the floor
    assert reasons(points, keep_tags=sets)["2"] == ("tags a=1, b=2",)


# what is not judged


@pytest.mark.parametrize("status", [PointStatus.CREATING, PointStatus.PENDING])
def test_what_is_in_progress_is_kept_and_uses_up_no_count(status):
    points = daily(3)
    points[0] = replace(points[0], status=status)

    assert kept(points, keep_last=1) == ["11-25", "11-24"]
    assert reasons(points, keep_last=1)["11-25"] == (f"in progress: {status}",)


def test_failed_points_are_freed_after_their_grace_and_hold_up_nothing():
    points = daily(12)
    points[0] = replace(points[0], status=PointStatus.FAILED)
    points[9] = replace(points[9], status=PointStatus.FAILED)

    assert kept(points, keep_last=1) == ["11-25", "11-24"]
    edge = NOW - FAILED_GRACE
    for age, stays in ((edge, False), (edge + timedelta(seconds=1), True)):
        failed = PointFacts(id="failed", taken_at=age, status=PointStatus.FAILED)
        assert ("failed" in kept([failed, *daily(1)], keep_last=1)) is stays


def test_protected_points_are_kept_and_use_up_no_count():
    points = daily(4)
    points[0] = replace(points[0], protections=("held by anna: audit",))
    points[3] = replace(points[3], protections=("locked",))

    assert kept(points, keep_last=1) == ["11-25", "11-24", "11-22"]
    assert reasons(points, keep_last=1)["11-25"] == ("held by anna: audit",)


def test_a_held_newest_point_is_what_spans_count_back_from():
    points = daily(4)
    points[0] = replace(points[0], protections=("held",))

    assert kept(points, keep_within=Span.parse("2d")) == ["11-25", "11-24"]
    assert reasons(points, keep_within=Span.parse("2d"))["11-24"] == (
        "within 2d of 2026-11-25T03:00:00Z",
    )


def test_a_point_taken_at_this_very_moment_is_not_in_the_future():
    points = [PointFacts(id="now", taken_at=NOW), *daily(3)]

    assert reasons(points, keep_last=1)["now"] == ("last 1, 0 of 1 left",)
    assert kept(points, keep_last=1) == ["now"]
    assert kept(points, keep_within=Span.parse("1d10h")) == ["now", "11-25", "11-24"]


def test_what_was_deleted_is_gone_whoever_holds_it():
    gone = replace(daily(2)[1], status=PointStatus.DELETED, protections=("held",))

    assert kept([daily(1)[0], gone], keep_last=9) == ["11-25"]
    assert reasons([daily(1)[0], gone], keep_last=9)["11-24"] == ("deleted already",)


def test_points_in_the_future_are_kept_say_so_and_anchor_nothing():
    future = PointFacts(id="future", taken_at=NOW + 400 * DAY)
    points = [future, *daily(5)]

    assert kept(points, keep_within=Span.parse("2d"), keep_last=1) == ["future", "11-25", "11-24"]
    assert "in the future" in reasons(points, keep_last=1)["future"][0]


def test_what_expired_goes_on_going_unless_it_is_held():
    expired = PointFacts(id="e", taken_at=NOW, status=PointStatus.EXPIRED)

    assert kept([expired, *daily(1)], keep_last=9) == ["11-25"]
    assert kept([replace(expired, protections=("held",))], keep_last=9) == ["e"]


# the floor


def test_the_newest_points_stay_whatever_the_rules_say():
    points = daily(5)

    assert kept(points, keep_tags=({"a": ("1",)},)) == ["11-25"]
    assert kept(points, keep_last=1, at_least=3) == ["11-25", "11-24", "11-23"]
    assert reasons(points, keep_last=1, at_least=2)["11-24"] == (
        "floor: at_least 2 of the newest stay",
    )


def test_neither_failed_nor_future_points_make_up_the_floor():
    points = daily(4)
    points[0] = replace(points[0], status=PointStatus.FAILED)
    future = PointFacts(id="future", taken_at=NOW + DAY)

    found = kept([future, *points], keep_tags=({"a": ("1",)},), at_least=2)

    assert found == ["future", "11-25", "11-24", "11-23"]


def test_a_held_newest_point_is_one_of_the_floor():
    points = daily(4)
    points[0] = replace(points[0], protections=("held",))

    assert kept(points, keep_tags=({"a": ("1",)},), at_least=2) == ["11-25", "11-24"]
    assert kept(points, keep_tags=({"a": ("1",)},)) == ["11-25"]


# refusals


@pytest.mark.parametrize(
    ("retention", "why"),
    [
        ({}, "keeps nothing"),
        ({"at_least": 5}, "keeps nothing"),
        ({"keep_daily": -1}, "must be 0 or more"),
        ({"keep_daily": 10**6}, "at most 100000"),
        ({"keep_daily": 1, "at_least": 0}, "must be 1 or more"),
        ({"keep_within": Span()}, "keeps nothing|longer than nothing"),
        ({"keep_daily": 1, "keep_within": Span()}, "longer than nothing"),
        ({"keep_daily": 1, "timezone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'"),
        ({"keep_tags": ({},)}, "keeps everything"),
        ({"keep_tags": ({"a": ()},)}, "at least one value"),
    ],
)
def test_a_retention_that_cannot_be_meant_is_refused_with_what_is_allowed(retention, why):
    with pytest.raises(UnsafePlan, match=why):
        judge(daily(3), Retention(**retention), NOW)


# reasons of deletes


@pytest.mark.parametrize(
    ("retention", "day", "reason"),
    [
        (
            {"keep_weekly": 4, "keep_daily": 2},
            "10-11",
            "weekly 2026-W41: 4 of 4 used by newer; keep_weekly 8 would keep it",
        ),
        (
            {"keep_weekly": 4, "keep_monthly": 1, "keep_yearly": 1},
            "10-31",
            "monthly 2026-10: 1 of 1 used by newer; keep_monthly 2 would keep it",
        ),
        (
            {"keep_within": Span.parse("50d"), "keep_last": 9},
            "10-01",
            "last 56: 9 of 9 used by newer; keep_last 56 would keep it",
        ),
        (
            {"keep_within": Span.parse("7d"), "keep_within_monthly": Span.parse("1m")},
            "10-01",
            "within 7d of 2026-11-25T03:00:00Z: older; keep_within 56d would keep it",
        ),
        ({"keep_last": 3}, "11-20", "last 6: 3 of 3 used by newer; keep_last 6 would keep it"),
        (
            {"keep_within": Span.parse("3d")},
            "11-20",
            "within 3d of 2026-11-25T03:00:00Z: older; keep_within 6d would keep it",
        ),
        (
            {"keep_monthly": 1},
            "11-20",
            "monthly 2026-11: 11-25 is newer and stands for it; keep_last 6 would keep it",
        ),
        ({"keep_tags": ({"a": ("1",)},)}, "11-20", "none of the tags of keep_tags; keep_last 6"),
    ],
)
def test_a_delete_names_the_nearest_miss(retention, day, reason):
    (found,) = reasons(daily(60), **retention)[day]

    assert found.startswith(reason)


# what must hold whatever is given

COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
SPANS = ("keep_within", *(key.replace("keep_", "keep_within_") for key in COUNTS[1:]))
ZONES = ("UTC", BERLIN, "America/Havana", "Australia/Lord_Howe", "Antarctica/Troll")
START = datetime(2025, 1, 1, tzinfo=UTC)

spans = st.builds(
    Span,
    years=st.integers(0, 2),
    months=st.integers(0, 14),
    days=st.integers(0, 40),
    hours=st.integers(1, 50),
)
retentions = st.fixed_dictionaries(
    {"keep_last": st.integers(1, 4), "timezone": st.sampled_from(ZONES)},
    optional={
        **{key: st.one_of(st.integers(0, 9), st.just("all")) for key in COUNTS[1:]},
        **dict.fromkeys(SPANS, spans),
        "keep_tags": st.just(({"keep": ("yes",)},)),
        "at_least": st.integers(1, 5),
    },
).map(lambda given: Retention(**given))
facts = st.builds(
    PointFacts,
    id=st.uuids().map(str),
    taken_at=st.integers(0, 2 * 365 * 24 * 4).map(lambda n: START + n * timedelta(minutes=15)),
    status=st.sampled_from([*[PointStatus.AVAILABLE] * 9, *PointStatus]),
    tags=st.sampled_from([{}, {}, {"keep": "yes"}]),
    protections=st.sampled_from([(), (), (), ("held",)]),
)
histories = st.lists(facts, max_size=60, unique_by=lambda one: one.id)
nows = st.integers(300, 900).map(lambda days: START + timedelta(days=days))


def told(verdicts):
    return [(one.point.id, one.keep, one.reasons) for one in verdicts]


def survivors(verdicts):
    return {one.point.id for one in verdicts if one.keep}


@given(histories, retentions, nows)
def test_each_point_has_one_verdict_with_a_reason_and_the_order_given_does_not_matter(
    points, retention, now
):
    found = judge(points, retention, now)

    assert sorted(one.point.id for one in found) == sorted(one.id for one in points)
    assert all(one.reasons and all(one.reasons) for one in found)
    assert told(judge(points[::-1], retention, now)) == told(found)
    assert all(
        (a.taken_at, b.id) > (b.taken_at, a.id) for a, b in pairwise(one.point for one in found)
    )


@given(histories, retentions, nows)
def test_judging_what_was_kept_keeps_all_of_it(points, retention, now):
    left = [one.point for one in judge(points, retention, now) if one.keep]

    again = judge(left, retention, now)

    assert all(one.keep for one in again)


@given(histories, retentions, nows, st.sampled_from(COUNTS), st.integers(1, 5))
def test_a_bigger_count_never_deletes_more(points, retention, now, key, more):
    count = getattr(retention, key)
    bigger = replace(retention, **{key: count if count == "all" else count + more})

    assert survivors(judge(points, retention, now)) <= survivors(judge(points, bigger, now))


@given(histories, retentions, nows, st.sampled_from(SPANS), spans)
def test_a_longer_span_never_deletes_more(points, retention, now, key, span):
    longer = replace(span, years=span.years + 1)
    short, long = (replace(retention, **{key: one}) for one in (span, longer))

    assert survivors(judge(points, short, now)) <= survivors(judge(points, long, now))


@given(histories, retentions, nows, facts)
def test_a_newer_point_never_unkeeps_what_is_protected_or_bears_a_tag(
    points, retention, now, newer
):
    newer = replace(newer, id="newer", taken_at=now, status=PointStatus.AVAILABLE)

    found = judge([*points, newer], retention, now)

    for one in found:
        if one.point.protections and one.point.status is not PointStatus.DELETED:
            assert one.keep


@given(histories, retentions, nows)
def test_the_newest_available_points_stay(points, retention, now):
    real = [one for one in points if one.status is PointStatus.AVAILABLE and one.taken_at <= now]
    real = newest_first(real)

    kept_ids = survivors(judge(points, retention, now))

    assert {one.id for one in real[: retention.at_least]} <= kept_ids


ADVICE = re.compile(r"(keep_\w+) (\w+) would keep it$")


@given(histories, retentions, nows)
def test_what_a_delete_advises_would_keep_it(points, retention, now):
    for one in judge(points, retention, now):
        advice = ADVICE.search(one.reasons[-1])
        if one.keep or one.point.status is not PointStatus.AVAILABLE:
            assert not advice
            continue
        key, value = advice.groups()
        setting = Span.parse(value) if "within" in key else int(value)
        changed = replace(retention, **{key: setting})
        assert one.point.id in survivors(judge(points, changed, now))


def test_verdicts_do_not_depend_on_the_zone_or_clock_of_the_process(monkeypatch):
    found = []
    for zone in ("UTC", "Pacific/Apia", "America/New_York"):
        monkeypatch.setitem(os.environ, "TZ", zone)
        time.tzset()
        found.append(told(judge(daily(60), Retention(keep_daily=7, keep_weekly=4), NOW)))
    monkeypatch.delenv("TZ")
    time.tzset()

    assert found[0] == found[1] == found[2]


# restic's own rules, written down as its source has them


def restic(points, retention):
    """The ids that ``ApplyPolicy`` of restic keeps (internal/data/snapshot_policy.go): each
    snapshot's zone is the retention's, since restic takes the one that it was recorded with."""
    zone = ZoneInfo(retention.timezone)
    ordered = newest_first(points)
    local = [one.taken_at.astimezone(zone) for one in ordered]
    keys = {
        "last": lambda number, _: number,
        "hourly": lambda _, t: (t.year, t.month, t.day, t.hour),
        "daily": lambda _, t: (t.year, t.month, t.day),
        "weekly": lambda _, t: t.isocalendar()[:2],
        "monthly": lambda _, t: (t.year, t.month),
        "yearly": lambda _, t: t.year,
    }
    left = {
        name: -1 if (count := getattr(retention, f"keep_{name}")) == "all" else count
        for name in keys
    }
    last = dict.fromkeys(keys)
    last_within = dict.fromkeys(keys)
    found = set()
    for number, (point, moment) in enumerate(zip(ordered, local, strict=True)):
        is_oldest = number == len(ordered) - 1
        for match in retention.keep_tags:
            if all(point.tags.get(key) in values for key, values in match.items()):
                found.add(point.id)
        if retention.keep_within and point.taken_at > go_back(local[0], retention.keep_within):
            found.add(point.id)
        for name, key in keys.items():
            value = key(number, moment)
            if left[name] != 0 and (value != last[name] or is_oldest):
                found.add(point.id)
                last[name] = value
                left[name] -= left[name] > 0
            span = getattr(retention, f"keep_within_{name}", None)
            inside = span and point.taken_at > go_back(local[0], span)
            if inside and (value != last_within[name] or is_oldest):
                found.add(point.id)
                last_within[name] = value
    return found


def go_back(moment, span):
    """Go's ``AddDate``, which carries what overflows a month into the next, and then ``Add``."""
    months = moment.year * 12 + moment.month - 1 - span.years * 12 - span.months
    first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
    days = timedelta(days=moment.day - 1 - span.days)
    return (first + days).astimezone(UTC) - timedelta(hours=span.hours)


plain = st.lists(
    st.builds(
        PointFacts,
        id=st.uuids().map(str),
        taken_at=facts.map(lambda one: one.taken_at),
        tags=st.sampled_from([{}, {"keep": "yes"}]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda one: one.id,
)


@given(plain, retentions)
def test_apart_from_the_floor_the_verdicts_are_those_of_restic(points, retention):
    """But for the zone whose clocks go back by two hours, in which restic would see hours of the
    same name, with another between them, as four."""
    retention = replace(retention, at_least=1)
    if retention.timezone == "Antarctica/Troll":
        retention = replace(retention, keep_hourly=0, keep_within_hourly=None)

    found = survivors(judge(points, retention, START + timedelta(days=1000)))

    assert found == restic(points, retention)
