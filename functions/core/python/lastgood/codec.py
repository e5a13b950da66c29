"""The one converter between JSON-able data and the project's frozen dataclasses.

How values are written: datetimes as ``2026-07-01T03:00:00Z``, timedeltas as ``15m``, ``26h`` or
``14d``, calendar spans as ``2y5m7d3h``, enums by value, tuples as lists.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from lastgood.domain.manifest import Scalar
from lastgood.domain.policy import Count, Span, duration, duration_text
from lastgood.errors import MalformedMessage

T = TypeVar("T")

Path = tuple[str | int, ...]
"""Where a value is: keys and, for lists, positions from 0."""

_LONGEST_SHOWN = 60  # characters of a wrong text that a message repeats


def structure(data: object, type_: type[T]) -> T:
    """Make a value of ``type_`` from what JSON, YAML or DynamoDB gave.

    Nothing is guessed: ``"3"`` and ``true`` are not numbers, and a key that ``type_`` does not
    have is an error. A Decimal without a fraction is an int, any finite Decimal is a float.

    Raises:
        MalformedMessage: with one line for each problem, each with the path of the value.
    """
    value, problems = structure_or_problems(data, type_)
    if problems:
        lines = (f"{show_path((type_.__name__, *path))}: {text}" for path, text in problems)
        raise MalformedMessage("\n".join(lines))
    return cast("T", value)


def structure_or_problems(data: object, type_: Any) -> tuple[Any, list[tuple[Path, str]]]:
    """As ``structure``, for who reports the problems himself: the value, or all problems.

    The value is meaningless if there are problems.
    """
    try:
        return _CONVERTER.structure(data, type_), []
    except BaseValidationError as error:
        return None, list(_problems(error, ()))
    except _Mismatch as error:
        return None, [((), str(error))]


def unstructure(value: object) -> Any:
    """Make JSON-able data that ``structure`` reads back to an equal value.

    Defaults are written out, None as null.

    Raises:
        ValueError: a datetime without a zone; a timedelta that is negative or not whole seconds.
    """
    return _CONVERTER.unstructure(value)


def show_path(path: Path) -> str:
    """Write a path as in ``policies.web-daily.schedules[0].cron``."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif re.fullmatch(r"[\w:/@+-]+", part):
            shown += f".{part}" if shown else part
        else:
            shown += f"['{part}']"
    return shown


def unknown_key(key: object, known: Iterable[str]) -> str:
    """Say that a key is not known, and which one may have been meant."""
    known = list(known)
    return f"unknown key '{key}'; " + (did_you_mean(str(key), known) or f"known: {_list(known)}")


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Ask for the closest of the known texts; empty if none is close."""
    import difflib  # a cold start need not pay for it

    close = difflib.get_close_matches(text, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else ""


class _Mismatch(Exception):
    """A value is not of its type. The message follows the path: what it is, what it must be."""


def _problems(error: Exception, path: Path) -> Iterable[tuple[Path, str]]:
    """Flatten what cattrs raised, in the order of the fields, with the path of each."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, path + _step(inner))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(cast("Any", error.cl))]
        for key in sorted(error.extra_fields, key=str):
            yield (*path, str(key)), unknown_key(key, known)
    elif isinstance(error, KeyError):
        yield path, f"is missing; it must be {_expected(_note(error).type)}"
    else:
        yield path, str(error)


def _step(error: Exception) -> Path:
    note = _note(error)
    if note is None:
        return ()
    return (note.name if isinstance(note, AttributeValidationNote) else note.index,)


def _note(error: Exception) -> Any:
    """The field or position that cattrs noted on an error; None on an error of a whole value."""
    kinds = (AttributeValidationNote, IterableValidationNote)
    notes = getattr(error, "__notes__", ())
    return next((note for note in notes if isinstance(note, kinds)), None)


def _mismatch(value: object, type_: Any, hint: str = "") -> _Mismatch:
    hint = hint or _hint(value, type_)
    return _Mismatch(
        f"{describe(value)}, but must be {_expected(type_)}" + (f": {hint}" if hint else "")
    )


def describe(value: object) -> str:
    """Say what a value is, in the words of a person who wrote YAML: ``is the text 'daily'``."""
    match value:
        case None:
            return "is empty"
        case bool():
            return f"is the truth value {str(value).lower()}"
        case str() if len(value) > _LONGEST_SHOWN:
            return f"is the text '{value[:_LONGEST_SHOWN]}...'"
        case str():
            return f"is the text '{value}'"
        case int() | float() | Decimal():
            return f"is the number {value}"
        case Mapping():
            return "is a mapping"
        case list() | tuple():
            return "is a list"
        case date():
            return f"is the date {value}"
        case _:
            return f"is of type {type(value).__name__}"


_DURATION = 'a duration: a whole number with one unit, d, h, m or s, such as "15m", "26h", "14d"'
_SPAN = (
    "a span of years, months, days and hours, each at most once and in this order, "
    'such as "14d" or "1y6m"'
)
_EXPECTED: dict[Any, tuple[str, str]] = {
    str: ("a text", "texts"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "truth values"),
    Scalar: ("a text, a whole number or a truth value", "texts, whole numbers or truth values"),
    Count: ('a whole number or "all"', "whole numbers"),
    datetime: ("a time with its zone, such as 2026-07-01T03:00:00Z", "times"),
    timedelta: (_DURATION, "durations"),
    Span: (_SPAN, "spans"),
}


def _expected(type_: Any, *, many: bool = False) -> str:
    """What a value of a type looks like; ``many``: its plural."""
    type_ = _not_none(type_)
    if type_ in _EXPECTED:
        return _EXPECTED[type_][many]
    if isinstance(type_, type) and issubclass(type_, Enum):
        return f"one of {_list(str(member.value) for member in type_)}"
    if _is_literal(type_):
        return f"one of {_list(str(value) for value in get_args(type_))}"
    if get_origin(type_) is tuple:
        return "lists" if many else f"a list of {_expected(get_args(type_)[0], many=True)}"
    if many:
        return "mappings"
    if _is_mapping(type_):
        value_type = get_args(type_)[1]
        if get_origin(value_type) is tuple:
            return f"a mapping with {_expected(value_type)} for every key"
        return f"a mapping of {_expected(value_type, many=True)}"
    return "a mapping"


def _hint(value: object, type_: Any) -> str:
    type_ = _not_none(type_)
    if type_ is str and isinstance(value, bool | int | float | date):
        return "write it in quotes"
    if type_ is int and isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return "write it without quotes"
    if type_ is bool and value in ("true", "false"):
        return "write it without quotes"
    if get_origin(type_) is tuple and get_args(type_)[0] is str and isinstance(value, str):
        return f'write ["{value}"]'
    return ""


def _not_none(type_: Any) -> Any:
    """The type without its ``| None``."""
    if type_ in (Count, Scalar) or get_origin(type_) not in (Union, UnionType):
        return type_
    return next(arg for arg in get_args(type_) if arg is not type(None))


def _list(items: Iterable[str]) -> str:
    return ", ".join(items)


def _text(value: object, type_: Any) -> str:
    if type(value) is not str:
        raise _mismatch(value, type_)
    return value


def _truth(value: object, type_: Any) -> bool:
    if type(value) is not bool:
        raise _mismatch(value, type_)
    return value


def _whole_number(value: object, type_: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    raise _mismatch(value, type_)


def _number(value: object, type_: Any) -> float:
    if type(value) is int or type(value) is float:
        return float(value)
    if isinstance(value, Decimal) and value.is_finite():
        return float(value)
    raise _mismatch(value, type_)


def _scalar(value: object, type_: Any) -> Scalar:
    if type(value) in (str, bool, int):
        return cast("Scalar", value)
    return _whole_number(value, type_)


def _count(value: object, type_: Any) -> Count:
    return "all" if value == "all" else _whole_number(value, type_)


def _enum(value: object, type_: Any) -> Any:
    values = {member.value: member for member in type_}
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    if (plain or (isinstance(value, Decimal) and value.is_finite())) and value in values:
        return values[value]
    hint = did_you_mean(value, map(str, values)) if isinstance(value, str) else ""
    raise _mismatch(value, type_, hint)


def _literal(value: object, type_: Any) -> Any:
    for allowed in get_args(type_):
        if type(value) is type(allowed) and value == allowed:
            return allowed
    raise _mismatch(value, type_)


def _time(value: object, type_: Any) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value, type_))
        if time.tzinfo is None:
            raise _mismatch(value, type_, "it has no zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _mismatch(value, type_) from error


def _time_text(time: datetime) -> str:
    if time.tzinfo is None:
        raise ValueError(f"a time without a zone: {time!r}")
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _from_text(parse: Callable[[str], object]) -> Callable[[object, Any], object]:
    def hook(value: object, type_: Any) -> object:
        if type(value) is not str:
            raise _mismatch(value, type_)
        try:
            return parse(value)
        except ValueError as error:
            raise _mismatch(value, type_) from error

    return hook


def _tuple_hook(type_: Any, converter: Converter) -> Callable[[object, Any], object]:
    item_type = get_args(type_)[0]

    def hook(value: object, _: Any) -> object:
        if not isinstance(value, list | tuple):
            raise _mismatch(value, type_)
        return tuple(_each(enumerate(value), item_type, converter, type_).values())

    return hook


def _mapping_hook(type_: Any, converter: Converter) -> Callable[[object, Any], object]:
    key_type, value_type = get_args(type_)

    def hook(value: object, _: Any) -> object:
        if not isinstance(value, Mapping):
            raise _mismatch(value, type_)
        for key in value:
            if type(key) is not str:
                raise _Mismatch(
                    f"has a key that {describe(key)}, but every key must be a text: "
                    "write it in quotes"
                )
        done = _each(value.items(), value_type, converter, type_)
        if key_type is str:
            return done
        return {converter.structure(key, key_type): one for key, one in done.items()}

    return hook


def _each(
    items: Iterable[tuple[Any, object]], type_: Any, converter: Converter, whole: Any
) -> dict[Any, Any]:
    """Structure every item, and only then fail for those that did not pass."""
    done, failed = {}, []
    for index, value in items:
        try:
            done[index] = converter.structure(value, type_)
        except (_Mismatch, BaseValidationError) as error:
            error.add_note(IterableValidationNote(f"at {index}", index, type_))
            failed.append(error)
    if failed:
        raise IterableValidationError("items", failed, whole)
    return done


def _dataclass_hook(type_: Any, converter: Converter) -> Callable[[object, Any], object]:
    fields = make_dict_structure_fn(type_, converter)

    def hook(value: object, _: Any) -> object:
        if not isinstance(value, Mapping):
            raise _mismatch(value, type_)
        return fields(cast("Mapping[str, Any]", value), type_)

    return hook


def _is_literal(type_: Any) -> bool:
    return get_origin(type_) is Literal


def _is_count(type_: Any) -> bool:
    return bool(type_ == Count)


def _is_scalar(type_: Any) -> bool:
    return bool(type_ == Scalar)


def _is_tuple(type_: Any) -> bool:
    """A tuple of any length with items of one type."""
    return get_origin(type_) is tuple and get_args(type_)[1:] == (...,)


def _is_mapping(type_: Any) -> bool:
    return get_origin(type_) in (Mapping, dict)


def _converter() -> Converter:
    converter = Converter(
        forbid_extra_keys=True,
        detailed_validation=True,
        unstruct_collection_overrides={tuple: list},
    )
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_func(_is_count, _count)
    converter.register_structure_hook_func(_is_scalar, _scalar)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(float, _number)
    # StrEnum as well: it is a str, whose hook would otherwise be nearer than that of Enum.
    converter.register_structure_hook(StrEnum, _enum)
    converter.register_structure_hook(Enum, _enum)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook(timedelta, _from_text(duration))
    # By predicates, so that what a message needs is built when it is first met, not at import.
    converter.register_structure_hook_factory(dataclasses.is_dataclass, _dataclass_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    converter.register_structure_hook(Span, _from_text(Span.parse))
    converter.register_unstructure_hook(StrEnum, lambda member: member.value)
    converter.register_unstructure_hook(Span, str)
    converter.register_unstructure_hook(datetime, _time_text)
    converter.register_unstructure_hook(timedelta, duration_text)
    converter.register_unstructure_hook_func(_is_count, lambda count: count)
    converter.register_unstructure_hook_func(_is_scalar, lambda scalar: scalar)
    return converter


_CONVERTER = _converter()
