"""What EventBridge Scheduler takes as a cron, and what is said about the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain import cron

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
