"""What crosses an edge comes back equal, or is refused with every problem and its path."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood import codec
from lastgood.domain.manifest import Scalar
from lastgood.domain.model import Proof
from lastgood.domain.policy import Count, Restores, Span, duration, duration_text
from lastgood.domain.prune_plan import Obstacle, Totals
from lastgood.domain.restoring import Restore
from lastgood.errors import MalformedMessage


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    name: str
    size: Size = Size.SMALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: str
    at: datetime
    number: int = 0
    ratio: float = 0.5
    on: bool = False
    colour: Colour = Colour.RED
    wait: timedelta | None = None
    span: Span | None = None
    count: Count = 0
    kind: Literal["a", "b"] = "a"
    parts: tuple[Part, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)


T0 = datetime(2026, 7, 1, 3, tzinfo=UTC)
LEAST = {"id": "m", "at": "2026-07-01T03:00:00Z"}


def refused(**changes: object) -> list[str]:
    with pytest.raises(MalformedMessage) as caught:
        codec.structure({**LEAST, **changes}, Message)
    return str(caught.value).splitlines()


def test_a_message_is_structured_with_its_defaults():
    assert codec.structure(LEAST, Message) == Message(id="m", at=T0)


def test_a_message_is_written_with_all_keys_in_json():
    message = Message(
        id="m",
        at=T0,
        wait=timedelta(hours=26),
        span=Span(days=14),
        count="all",
        parts=(Part(name="p", size=Size.LARGE),),
        tags={"a": "b"},
        raw={"list": [1, {"x": None}]},
    )

    data = codec.unstructure(message)

    assert data == {
        "id": "m",
        "at": "2026-07-01T03:00:00Z",
        "number": 0,
        "ratio": 0.5,
        "on": False,
        "colour": "red",
        "wait": "26h",
        "span": "14d",
        "count": "all",
        "kind": "a",
        "parts": [{"name": "p", "size": 2}],
        "tags": {"a": "b"},
        "raw": {"list": [1, {"x": None}]},
    }
    assert type(data["colour"]) is str
    assert codec.structure(json.loads(json.dumps(data)), Message) == message


def test_numbers_of_dynamodb_become_ints_and_floats():
    message = codec.structure(
        {**LEAST, "number": Decimal(7), "ratio": Decimal("0.25"), "count": Decimal(3)},
        Message,
    )

    assert (message.number, message.ratio, message.count) == (7, 0.25, 3)
    assert [type(value) for value in (message.number, message.ratio, message.count)] == [
        int,
        float,
        int,
    ]


def test_a_whole_number_is_a_float_where_a_float_is_wanted():
    assert codec.structure({**LEAST, "ratio": 1}, Message).ratio == 1.0


@pytest.mark.parametrize("text", ["2026-07-01T05:00:00+02:00", "2026-07-01T03:00:00.000Z"])
def test_times_are_turned_into_utc(text):
    at = codec.structure({**LEAST, "at": text}, Message).at

    assert at == T0
    assert at.tzinfo is UTC


def test_times_are_written_in_utc_whatever_their_zone():
    there = T0.astimezone(timezone(timedelta(hours=2)))

    assert codec.unstructure(there) == "2026-07-01T03:00:00Z"


def test_microseconds_are_kept():
    assert codec.unstructure(T0.replace(microsecond=5)) == "2026-07-01T03:00:00.000005Z"


def test_what_cannot_be_read_back_is_not_written():
    for value in (
        datetime(2026, 7, 1),
        timedelta(seconds=-1),
        timedelta(microseconds=1),
    ):
        with pytest.raises(ValueError, match=r"zone|whole seconds"):
            codec.unstructure(value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"number": "3"},
            "number: is the text '3', but must be a whole number: write it without quotes",
        ),
        ({"number": True}, "number: is the truth value true, but must be a whole number"),
        ({"number": 3.0}, "number: is the number 3.0, but must be a whole number"),
        ({"number": Decimal("1.5")}, "number: is the number 1.5, but must be a whole number"),
        ({"number": Decimal("NaN")}, "number: is the number NaN, but must be a whole number"),
        ({"number": None}, "number: is empty, but must be a whole number"),
        ({"ratio": False}, "ratio: is the truth value false, but must be a number"),
        ({"ratio": Decimal("Infinity")}, "ratio: is the number Infinity, but must be a number"),
        ({"on": 1}, "on: is the number 1, but must be true or false"),
        ({"id": 5}, "id: is the number 5, but must be a text: write it in quotes"),
        ({"id": b"x"}, "id: is of type bytes, but must be a text"),
        (
            {"colour": "rad"},
            "colour: is the text 'rad', but must be one of red, green: did you mean 'red'?",
        ),
        ({"colour": 3}, "colour: is the number 3, but must be one of red, green"),
        ({"kind": "c"}, "kind: is the text 'c', but must be one of a, b"),
        ({"count": "every"}, "count: is the text 'every', but must be a whole number or \"all\""),
        (
            {"span": 14},
            "span: is the number 14, but must be a span of years, months, days and "
            'hours, each at most once and in this order, such as "14d" or "1y6m"',
        ),
        (
            {"wait": "1 h"},
            "wait: is the text '1 h', but must be a duration: a whole number with "
            'one unit, d, h, m or s, such as "15m", "26h", "14d"',
        ),
        (
            {"wait": "9" * 14 + "d"},
            f"wait: is the text '{'9' * 14}d', but must be a duration: a "
            "whole number with one unit, d, h, m or s, such as "
            '"15m", "26h", "14d"',
        ),
        (
            {"at": "2026-07-01T03:00:00"},
            "at: is the text '2026-07-01T03:00:00', but must be a "
            "time with its zone, such as 2026-07-01T03:00:00Z: "
            "it has no zone",
        ),
        (
            {"at": "soon"},
            "at: is the text 'soon', but must be a time with its zone, "
            "such as 2026-07-01T03:00:00Z",
        ),
        (
            {"at": "x" * 99},
            f"at: is the text '{'x' * 60}...', but must be a time with its zone, "
            "such as 2026-07-01T03:00:00Z",
        ),
        ({"parts": "p"}, "parts: is the text 'p', but must be a list of mappings"),
        ({"parts": ["p"]}, "parts[0]: is the text 'p', but must be a mapping"),
        ({"parts": [{}]}, "parts[0].name: is missing; it must be a text"),
        (
            {"parts": [{"name": "p", "size": 3}]},
            "parts[0].size: is the number 3, but must be one of 1, 2",
        ),
        (
            {"tags": {"a b": 1}},
            "tags['a b']: is the number 1, but must be a text: write it in quotes",
        ),
        (
            {"tags": {1: "a"}},
            "tags: has a key that is the number 1, but every key must be a "
            "text: write it in quotes",
        ),
        ({"colours": "red"}, "colours: unknown key 'colours'; did you mean 'colour'?"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(changes, line):
    assert refused(**changes) == [f"Message.{line}"]


def test_all_problems_are_reported_together():
    assert refused(number="x", parts=[{"name": 1}, {"name": "p"}, 7], colour="blue") == [
        "Message.number: is the text 'x', but must be a whole number",
        "Message.colour: is the text 'blue', but must be one of red, green",
        "Message.parts[0].name: is the number 1, but must be a text: write it in quotes",
        "Message.parts[2]: is the number 7, but must be a mapping",
    ]


def test_a_value_that_is_no_mapping_at_all_is_refused():
    with pytest.raises(MalformedMessage, match=r"^Message: is a list, but must be a mapping$"):
        codec.structure([], Message)


def test_problems_can_be_had_as_values_instead():
    value, problems = codec.structure_or_problems({**LEAST, "parts": [7]}, Message)

    assert value is None
    assert problems == [(("parts", 0), "is the number 7, but must be a mapping")]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=15), "15m"),
        (timedelta(hours=24), "1d"),
        (timedelta(hours=26), "26h"),
        (timedelta(days=14), "14d"),
    ],
)
def test_a_duration_is_written_with_its_largest_whole_unit(length, text):
    assert duration_text(length) == text
    assert duration(text) == length


@given(st.integers(0, 10**9))
def test_every_duration_of_whole_seconds_comes_back(seconds):
    length = timedelta(seconds=seconds)

    assert duration(duration_text(length)) == length


@given(st.datetimes(timezones=st.timezones()))
def test_every_instant_comes_back(moment):
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        return

    data = {**LEAST, "at": codec.unstructure(moment)}

    assert codec.structure(data, Message).at == in_utc


def whole(type_: Any) -> st.SearchStrategy[Any]:
    """Values of a type with every field given, those with a default too."""
    inner = get_args(type_)
    if type_ in _PLAIN:
        return _PLAIN[type_]
    if NoneType in inner:
        return st.none() | whole(inner[0])
    if get_origin(type_) is tuple:
        return st.lists(whole(inner[0]), max_size=2).map(tuple)
    if get_origin(type_) is Mapping:
        return st.dictionaries(whole(inner[0]), whole(inner[1]), max_size=2)
    if issubclass(type_, Enum):
        return st.sampled_from(type_)
    return st.builds(type_, **{name: whole(one) for name, one in get_type_hints(type_).items()})


_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=3),
    int: st.integers(),
    bool: st.booleans(),
    Scalar: st.text(max_size=3) | st.integers() | st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    timedelta: st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds)),
}


@pytest.mark.parametrize("type_", [Restore, Proof, Restores])
def test_every_record_comes_back_whatever_is_in_it(type_):
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(whole(type_))
    def comes_back(record):
        read = codec.structure(json.loads(json.dumps(codec.unstructure(record))), type_)

        assert read == record

    comes_back()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(json_values)
def test_junk_is_refused_as_malformed_and_never_crashes(junk):
    for field_ in fields(Message):
        result, problems = codec.structure_or_problems({**LEAST, field_.name: junk}, Message)
        assert problems or isinstance(result, Message)


def test_a_mapping_by_the_members_of_an_enum_is_read_back_with_them():
    totals = Totals(blocked={Obstacle.IMAGE: 2})

    found = codec.structure(codec.unstructure(totals), Totals)

    assert [type(one) for one in found.blocked] == [Obstacle]
    assert codec.unstructure(found) == codec.unstructure(totals)


def test_a_key_that_is_no_member_of_the_enum_is_refused():
    with pytest.raises(MalformedMessage, match="is the text 'imagination', but must be one of"):
        codec.structure({"blocked": {"imagination": 1}}, Totals)
