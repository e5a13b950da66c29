"""What EventBridge Scheduler takes as a cron, what is said about the rest, and when it is due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import cron
from tests.cloud.expressions import next_after

MINUTES = "allowed: 0-59, with *, lists, ranges and steps such as */2"
HOURS = "allowed: 0-23, with *, lists, ranges and steps such as */2"
DAY_OF_MONTH = (
    "allowed: 1-31, with *, lists, ranges, steps such as */2, ?, L (the last day) "
    "and 15W (the weekday nearest the 15th)"
)
MONTH = "allowed: 1-12 or JAN-DEC, with *, lists, ranges and steps such as */2"
DAY_OF_WEEK = (
    "allowed: 1-7 or SUN-SAT, with *, lists, ranges, ?, 6L (the last Friday) "
    "and 6#2 (the second Friday)"
)
YEAR = "allowed: 1970-2199, with *, lists, ranges and steps such as */2"


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 * * ? *",
        "00 03 * * ? *",
        "  0   3 * * ? *  ",
        "*/15 * * * ? *",
        "0/15 8-18/2 * * ? *",
        "0 1,13,22-23 * * ? *",
        "0 3 L * ? *",
        "0 3 15W * ? *",
        "0 3 1,15 JAN-MAR,DEC ? *",
        "0 3 ? * MON-FRI *",
        "0 3 ? * mon,Wed *",
        "0 3 ? * 1-7 *",
        "0 3 ? * L *",
        "0 3 ? * 6L *",
        "0 3 ? * FRIL *",
        "0 3 ? * 6#2 *",
        "0 3 ? * FRI#5 *",
        "0 3 1 1 ? 1970",
        "0 3 1 1 ? 2026-2199/2",
    ],
)
def test_scheduler_takes_it(expression):
    assert cron.problems(expression) == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "60 3 * * ? *",
            f"has '60' in the field minutes, where '60' is not a value of this field; {MINUTES}",
        ),
        (
            "0/0 3 * * ? *",
            "has '0/0' in the field minutes, "
            f"whose step '0' is not a whole number from 1 to 59; {MINUTES}",
        ),
        (
            "0/ 3 * * ? *",
            "has '0/' in the field minutes, "
            f"whose step '' is not a whole number from 1 to 59; {MINUTES}",
        ),
        (
            "? 3 * * ? *",
            f"has '?' in the field minutes, where '?' is not a value of this field; {MINUTES}",
        ),
        (
            "0 22-4 * * ? *",
            f"has '22-4' in the field hours, whose range '22-4' runs backwards; {HOURS}",
        ),
        (
            "0 3,, * * ? *",
            f"has '3,,' in the field hours, where '' is not a value of this field; {HOURS}",
        ),
        (
            "0 -3 * * ? *",
            f"has '-3' in the field hours, where '' is not a value of this field; {HOURS}",
        ),
        (
            "0 *,3 * * ? *",
            f"has '*,3' in the field hours, where '*' must stand alone, not in a list; {HOURS}",
        ),
        (
            "0 3 32 * ? *",
            "has '32' in the field day-of-month, "
            f"where '32' is not a value of this field; {DAY_OF_MONTH}",
        ),
        (
            "0 3 32W * ? *",
            "has '32W' in the field day-of-month, "
            f"where '32W' is not a value of this field; {DAY_OF_MONTH}",
        ),
        (
            "0 3 1,L * ? *",
            "has '1,L' in the field day-of-month, "
            f"where 'L' must stand alone, not in a list; {DAY_OF_MONTH}",
        ),
        (
            "0 3 * foo ? *",
            f"has 'FOO' in the field month, where 'FOO' is not a value of this field; {MONTH}",
        ),
        (
            "0 3 ? * 0 *",
            "has '0' in the field day-of-week, "
            f"where '0' is not a day: Sunday is 1 or SUN; {DAY_OF_WEEK}",
        ),
        (
            "0 3 ? * MON/2 *",
            f"has 'MON/2' in the field day-of-week, which takes no steps; {DAY_OF_WEEK}",
        ),
        (
            "0 3 ? * 6#6 *",
            "has '6#6' in the field day-of-week, "
            f"where '6#6' is not a value of this field; {DAY_OF_WEEK}",
        ),
        (
            "0 3 ? * 6#2,3#1 *",
            "has '6#2,3#1' in the field day-of-week, "
            f"where '6#2' must stand alone, not in a list; {DAY_OF_WEEK}",
        ),
        (
            "0 3 * * ? 2200",
            f"has '2200' in the field year, where '2200' is not a value of this field; {YEAR}",
        ),
        (
            "0 3 ? * ? *",
            "has '?' in the field day-of-month and '?' in the field day-of-week, "
            "but exactly one of the two must be ?",
        ),
        (
            "0 3 1 * MON *",
            "has '1' in the field day-of-month and 'MON' in the field day-of-week, "
            "but exactly one of the two must be ?",
        ),
        (
            "0 3 * * *",
            "has 5 fields, but must have six: minutes hours day-of-month month day-of-week year; "
            'every night at three is "0 3 * * ? *"',
        ),
        (
            "",
            "has 0 fields, but must have six: minutes hours day-of-month month day-of-week year; "
            'every night at three is "0 3 * * ? *"',
        ),
        (
            "cron(0 3 * * ? *)",
            "is the text 'cron(0 3 * * ? *)', but must be six cron fields and nothing else: "
            'write "0 3 * * ? *"',
        ),
        (
            "rate(1 day)",
            "is the text 'rate(1 day)', but must be six cron fields and nothing else",
        ),
    ],
)
def test_scheduler_would_refuse_it_and_the_message_names_field_and_choices(expression, message):
    assert cron.problems(expression) == [message]


def test_all_wrong_fields_are_named_at_once():
    found = cron.problems("60 24 0 13 8 1969")

    assert [text.split(",")[0] for text in found] == [
        "has '60' in the field minutes",
        "has '24' in the field hours",
        "has '0' in the field day-of-month",
        "has '13' in the field month",
        "has '8' in the field day-of-week",
        "has '1969' in the field year",
    ]


@given(st.text(alphabet="0123456789*?/,-LW#MONFRIJAN ()", max_size=30))
def test_any_text_gets_an_answer(text):
    assert isinstance(cron.problems(text), list)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(1, 31), st.integers(1, 12))
def test_every_moment_of_a_year_can_be_scheduled(minute, hour, day, month):
    assert cron.problems(f"{minute} {hour} {day} {month} ? *") == []


# -- when it is due ---------------------------------------------------------------------------

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def latest(expression: str, zone: str, until: str, days: float = 400) -> datetime | None:
    end = at(until)
    return cron.latest(expression, zone, after=end - timedelta(days=days), until=end)


@pytest.mark.parametrize(
    ("expression", "zone", "until", "found"),
    [
        ("0 3 * * ? *", "UTC", "2026-05-10T03:00", "2026-05-10T03:00"),
        ("0 3 * * ? *", "UTC", "2026-05-10T02:59", "2026-05-09T03:00"),
        ("0 3 * * ? *", BERLIN, "2026-07-10T12:00", "2026-07-10T01:00"),
        ("*/15 8-18/2 * * ? *", "UTC", "2026-05-10T17:50", "2026-05-10T16:45"),
        ("5/20 * * * ? *", "UTC", "2026-05-10T17:44", "2026-05-10T17:25"),
        ("0 3 L * ? *", "UTC", "2026-03-30T12:00", "2026-02-28T03:00"),
        ("0 3 L * ? *", "UTC", "2024-03-30T12:00", "2024-02-29T03:00"),
        ("0 3 29 2 ? *", "UTC", "2024-12-31T12:00", "2024-02-29T03:00"),
        ("0 3 29 2 ? *", "UTC", "2026-02-28T12:00", None),
        ("0 3 31 * ? *", "UTC", "2026-06-30T12:00", "2026-05-31T03:00"),
        # 15 August 2026 is a Saturday, 15 November a Sunday, 1 August a Saturday.
        ("0 3 15W * ? *", "UTC", "2026-08-20T12:00", "2026-08-14T03:00"),
        ("0 3 15W * ? *", "UTC", "2026-11-20T12:00", "2026-11-16T03:00"),
        ("0 3 1W * ? *", "UTC", "2026-08-20T12:00", "2026-08-03T03:00"),
        ("0 3 31W * ? *", "UTC", "2026-05-31T12:00", "2026-05-29T03:00"),
        ("0 3 1 jan,Jul ? *", "UTC", "2026-06-30T12:00", "2026-01-01T03:00"),
        ("0 3 ? * MON-FRI *", "UTC", "2026-05-10T12:00", "2026-05-08T03:00"),
        ("0 3 ? * L *", "UTC", "2026-05-10T12:00", "2026-05-09T03:00"),
        ("0 3 ? * 6L *", "UTC", "2026-05-10T12:00", "2026-04-24T03:00"),
        ("0 3 ? * fril *", "UTC", "2026-05-29T12:00", "2026-05-29T03:00"),
        ("0 3 ? * 6#2 *", "UTC", "2026-05-10T12:00", "2026-05-08T03:00"),
        ("0 3 ? * FRI#5 *", "UTC", "2026-05-10T12:00", "2026-01-30T03:00"),
        ("0 3 * * ? 2025", "UTC", "2026-05-10T12:00", "2025-12-31T03:00"),
        ("0 3 * * ? 2024/2", "UTC", "2025-06-01T12:00", "2024-12-31T03:00"),
    ],
)
def test_the_newest_due_instant_is_found(expression, zone, until, found):
    assert cron.problems(expression) == []
    assert latest(expression, zone, until) == (at(found) if found else None)


def test_the_span_leaves_out_its_beginning_and_takes_its_end():
    three = at("2026-05-10T03:00")
    before = three - timedelta(minutes=1)

    assert cron.latest("0 3 * * ? *", "UTC", after=before, until=three) == three
    assert cron.latest("0 3 * * ? *", "UTC", after=three, until=three + timedelta(hours=23)) is None


@pytest.mark.parametrize(
    ("zone", "until", "found"),
    [
        # 29 March 2026: 02:00 +01:00 is followed by 03:00 +02:00.
        (BERLIN, "2026-03-29T01:29", "2026-03-28T01:30"),
        (BERLIN, "2026-03-29T01:30", "2026-03-29T01:30"),
        (BERLIN, "2026-03-30T12:00", "2026-03-30T00:30"),
        # 8 March 2026: 02:00 -05:00 is followed by 03:00 -04:00.
        (NEW_YORK, "2026-03-08T07:29", "2026-03-07T07:30"),
        (NEW_YORK, "2026-03-08T07:30", "2026-03-08T07:30"),
    ],
)
def test_a_local_time_that_is_skipped_counts_as_if_the_clocks_had_not_been_set(zone, until, found):
    assert latest("30 2 * * ? *", zone, until) == at(found)


def test_lord_howe_skips_half_an_hour():
    # 4 October 2026: 02:00 +10:30 is followed by 02:30 +11:00.
    assert latest("15 2 * * ? *", LORD_HOWE, "2026-10-03T15:44") == at("2026-10-02T15:45")
    assert latest("15 2 * * ? *", LORD_HOWE, "2026-10-03T15:45") == at("2026-10-03T15:45")
    assert latest("30 2 * * ? *", LORD_HOWE, "2026-10-03T15:30") == at("2026-10-03T15:30")


@pytest.mark.parametrize(
    ("expression", "zone", "first", "again"),
    [
        ("30 2 * * ? *", BERLIN, "2026-10-25T00:30", "2026-10-25T01:30"),
        ("30 1 * * ? *", NEW_YORK, "2026-11-01T05:30", "2026-11-01T06:30"),
        ("45 1 * * ? *", LORD_HOWE, "2026-04-04T14:45", "2026-04-04T15:15"),
    ],
)
def test_a_local_time_that_comes_twice_counts_once_the_first(expression, zone, first, again):
    assert latest(expression, zone, first) == at(first)
    assert latest(expression, zone, again) == at(first)


def test_an_evening_that_is_skipped_counts_on_the_next_day():
    # Nuuk, 28 March 2026: 23:00 -02:00 is followed by 00:00 -01:00 of the 29th.
    skipped = at("2026-03-29T01:30")

    assert latest("30 23 * * ? *", "America/Nuuk", "2026-03-29T01:45", days=0.02) == skipped


def test_where_several_local_times_fall_together_the_newest_instant_is_given():
    # 02:55 is skipped and counts at 03:55, after 03:05 which is not.
    assert latest("5,55 2-3 * * ? *", BERLIN, "2026-03-29T01:56") == at("2026-03-29T01:55")


numbers = st.integers
minutes = st.one_of(
    numbers(0, 59).map(str), st.sampled_from(["*/30", "10-20/5", "0,45", "7/25", "59"])
)
hours = st.one_of(numbers(0, 23).map(str), st.sampled_from(["*/8", "0-3", "1,2,3", "20/2"]))
of_month = st.one_of(
    st.sampled_from(["*", "L", "1,15,31", "20-30/3", "*/9"]),
    numbers(1, 31).map(str),
    numbers(1, 31).map("{}W".format),
)
of_week = st.one_of(
    st.sampled_from(["L", "MON-FRI", "sun", "1,3,5", "SATL"]),
    numbers(1, 7).map("{}L".format),
    st.builds("{}#{}".format, numbers(1, 7), numbers(1, 5)),
)
days = st.one_of(
    st.builds("{} {} ?".format, of_month, st.sampled_from(["*", "*/3", "2,10", "JAN-MAR"])),
    st.builds("? {} {}".format, st.sampled_from(["*", "mar", "4-10"]), of_week),
)
crons = st.builds("{} {} {} {}".format, minutes, hours, days, st.sampled_from(["*", "2026"]))
zones = st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kolkata", "America/Nuuk"])
ends = numbers(0, 3 * 365 * 24 * 60).map(lambda n: at("2025-01-01") + timedelta(minutes=n))


@given(crons, zones, ends, numbers(0, 35 * 24 * 60))
def test_it_is_what_the_scheduler_named_last_or_what_it_skipped(expression, zone, until, span):
    after = until - timedelta(minutes=span)
    named, instant = None, after
    while instant := next_after(f"cron({expression})", zone, instant, start=after):
        if instant > until:
            break
        named = instant

    found = cron.latest(expression, zone, after=after, until=until)

    assert cron.problems(expression) == []
    if found != named:
        assert found is not None
        assert named is None or named < found
        assert within_an_hour_of_a_gap(found, zone)


def within_an_hour_of_a_gap(instant: datetime, zone: str) -> bool:
    """Whether clocks were set forward in the hour before."""

    def offset(one: datetime) -> timedelta | None:
        return one.astimezone(ZoneInfo(zone)).utcoffset()

    return offset(instant) > offset(instant - timedelta(hours=1))


# -- all slots --------------------------------------------------------------------------------


ZONES = ("UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu")


@given(
    text=st.sampled_from(
        ["30 2 * * ? *", "0 0 * * ? *", "*/20 0,23 * * ? *", "0 12 ? * MON-FRI *", "30 23 L * ? *"]
    ),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),
    length=st.integers(1, 40 * 24 * 60),
)
def test_slots_are_the_newest_and_then_the_newest_before_it_and_so_on(text, zone, start, length):
    after = start.replace(tzinfo=UTC)
    until = after + timedelta(minutes=length)

    found = list(cron.slots(text, zone, after=after, until=until))

    expected, end = [], until
    while (one := cron.latest(text, zone, after=after, until=end)) is not None:
        expected.append(one)
        end = one - timedelta(microseconds=1)
    assert found == expected[::-1]


def test_the_slots_of_a_night_with_a_gap_and_one_with_an_hour_that_comes_twice():
    days = [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)]

    nights = [
        [
            one.isoformat()
            for one in cron.slots(
                "30 2 * * ? *", "Europe/Berlin", after=day, until=day + timedelta(days=1)
            )
        ]
        for day in days
    ]

    assert nights == [["2026-03-29T01:30:00+00:00"], ["2026-10-25T00:30:00+00:00"]]
