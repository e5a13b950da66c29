"""Paths, payload templates, intrinsic functions and choice rules of a state machine.

Source: the Amazon States Language specification, "Paths", "Payload Template", "Intrinsic Functions"
and "Choice State".
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.cloud.policy import NotTaught

Read = Callable[[Any, Any], Any]
"""Of a state's data and its context object."""

STEP = re.compile(r"\.(?P<name>\w[\w-]*)|\['(?P<quoted>[^'\\]+)'\]|\[(?P<index>\d+)\]")
# Valid on AWS: descent, wildcards, slices and filters, which may give several nodes.
BEYOND = re.compile(r"\.\.|\*|\?\(|@|\[-|\[\d*:|,")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Malformed(ValueError):
    """No definition of a state machine may have this."""


class StateError(Exception):
    """What a state ends with, under its error name."""

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


def written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Path:
    """A path to one node: ``$.a.b[0]``, or ``$$.a`` in the context object."""

    text: str
    of_context: bool
    steps: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: Any) -> "Path":
        """Raises Malformed; NotTaught for a path that may have several nodes."""
        if not isinstance(text, str) or not text.startswith("$"):
            raise Malformed(f"{text!r} is not a valid JSONPath")
        of_context = text.startswith("$$")
        rest = text[2 if of_context else 1 :]
        found = list(STEP.finditer(rest))
        if "".join(step[0] for step in found) != rest:
            if BEYOND.search(rest):
                raise NotTaught(f"a JSONPath like {text}")
            raise Malformed(f"{text!r} is not a valid JSONPath")
        steps = (int(s["index"]) if s["index"] else s["name"] or s["quoted"] for s in found)
        return cls(text, of_context, tuple(steps))

    def find(self, data: Any, context: Any) -> tuple[bool, Any]:
        """Whether the node is there, and its value."""
        value = context if self.of_context else data
        for step in self.steps:
            if isinstance(step, int):
                there = isinstance(value, list) and step < len(value)
            else:
                there = isinstance(value, dict) and step in value
            if not there:
                return False, None
            value = value[step]
        return True, value

    def read(self, data: Any, context: Any) -> Any:
        there, value = self.find(data, context)
        if not there:
            # Retry and Catch never see it. Source: "Handling errors in Step Functions workflows".
            raise StateError(
                "States.Runtime",
                f"The JSONPath '{self.text}' could not be found in the input '{written(data)}'",
            )
        return value

    def put(self, data: Any, value: Any) -> Any:
        """``data`` with ``value`` at the node; objects on the way are made.

        Raises:
            StateError: something on the way is no object.
        """
        return self._put(data, self.steps, value)

    def _put(self, data: Any, steps: tuple[str | int, ...], value: Any) -> Any:
        if not steps:
            return value
        first, *rest = steps
        if not isinstance(data, dict):
            why = f"Unable to apply ReferencePath {self.text} to input {written(data)}"
            raise StateError("States.ResultPathMatchFailure", why)
        return {**data, first: self._put(data.get(str(first), {}), tuple(rest), value)}


# --------------------------------------------------------------------------- intrinsics

TOKEN = re.compile(
    r"\s*(?:(?P<call>States\.\w+)\s*\(|(?P<text>'(?:[^'\\]|\\.)*')|(?P<path>\$[^,)\s]*)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>true|false|null)|(?P<mark>[,)]))"
)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
HOLE = re.compile(r"\\(.)|(\{\})", re.DOTALL)


def _format(template: Any, *values: Any) -> str:
    left = list(values)

    def fill(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        value = left.pop(0)
        return value if isinstance(value, str) else written(value)

    holes = sum(1 for found in HOLE.finditer(template) if found[2])
    if holes != len(left):
        raise ValueError(f"States.Format has {holes} places for {len(left)} values")
    return HOLE.sub(fill, template)


def _parsed(text: Any) -> Any:
    return json.loads(text)


INTRINSICS: dict[str, Callable[..., Any]] = {
    "States.Format": _format,
    "States.JsonToString": written,
    "States.StringToJson": _parsed,
}


def expression(text: Any) -> Read:
    """A path or an intrinsic function, ready to be read.

    Raises:
        Malformed, NotTaught
    """
    if not isinstance(text, str):
        raise Malformed(f"{text!r} is neither a JSONPath nor an intrinsic function")
    if text.startswith("$"):
        return Path.parse(text).read
    read, end = _argument(text, 0)
    if text[end:].strip() or not text.startswith("States."):
        raise Malformed(f"{text!r} is neither a JSONPath nor an intrinsic function")
    return read


def _argument(text: str, at: int, *, raw: bool = False) -> tuple[Read, int]:
    """``raw``: a text keeps its escapes, as the template of States.Format does."""
    token = TOKEN.match(text, at)
    if token is None or token["mark"]:
        raise Malformed(f"{text!r} is not a valid intrinsic function")
    if token["call"]:
        return _call(text, token["call"], token.end())
    if token["path"]:
        return Path.parse(token["path"]).read, token.end()
    if token["text"] is not None:
        constant: Any = token["text"][1:-1]
        if not raw:
            constant = ESCAPE.sub(r"\1", constant)
    else:
        constant = json.loads(token["number"] or token["word"])
    return (lambda _data, _context: constant), token.end()


def _call(text: str, name: str, at: int) -> tuple[Read, int]:
    if name not in INTRINSICS:
        raise NotTaught(f"the intrinsic function {name}")
    arguments: list[Read] = []
    while True:
        raw = name == "States.Format" and not arguments
        argument, at = _argument(text, at, raw=raw)
        arguments.append(argument)
        mark = TOKEN.match(text, at)
        if mark is None or not mark["mark"]:
            raise Malformed(f"{text!r} is not a valid intrinsic function")
        at = mark.end()
        if mark["mark"] == ")":
            break

    def read(data: Any, context: Any) -> Any:
        values = [argument(data, context) for argument in arguments]
        try:
            return INTRINSICS[name](*values)
        except (ValueError, TypeError) as wrong:
            raise StateError("States.IntrinsicFailure", f"{name} failed: {wrong}") from wrong

    return read, at


def template(value: Any) -> Read:
    """A payload template: a field whose name ends in ``.$`` gets what its path gives."""
    if isinstance(value, list):
        items = [template(item) for item in value]
        return lambda data, context: [item(data, context) for item in items]
    if not isinstance(value, dict):
        return lambda _data, _context: value
    fields = {
        name.removesuffix(".$"): expression(given) if name.endswith(".$") else template(given)
        for name, given in value.items()
    }
    return lambda data, context: {name: read(data, context) for name, read in fields.items()}


# -------------------------------------------------------------------------------- choice

Holds = Callable[[Any, Any], bool]


def instant(text: Any) -> datetime | None:
    """None of what is no timestamp of the profile of RFC 3339 that the language has."""
    if not isinstance(text, str) or not TIMESTAMP.fullmatch(text):
        return None
    return datetime.fromisoformat(text)


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _of(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else None


KINDS: dict[str, Callable[[Any], Any]] = {
    "String": _of(str),
    "Numeric": _number,
    "Boolean": _of(bool),
    "Timestamp": instant,
}
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda given, wanted: given == wanted,
    "LessThan": lambda given, wanted: given < wanted,
    "GreaterThan": lambda given, wanted: given > wanted,
    "LessThanEquals": lambda given, wanted: given <= wanted,
    "GreaterThanEquals": lambda given, wanted: given >= wanted,
}
COMPARISON = re.compile(rf"({'|'.join(KINDS)})({'|'.join(sorted(ORDERS, reverse=True))})(Path)?")
TESTS: dict[str, Callable[[Any], bool]] = {
    "IsNull": lambda value: value is None,
    "IsString": lambda value: isinstance(value, str),
    "IsNumeric": lambda value: _number(value) is not None,
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: instant(value) is not None,
}


def rule(given: Any) -> Holds:
    """A choice rule without its Next. A value of another type than the comparison's never fits.

    Raises:
        Malformed, NotTaught
    """
    if not isinstance(given, dict):
        raise Malformed(f"{given!r} is not a choice rule")
    if set(given) in ({"And"}, {"Or"}):
        ((name, parts),) = given.items()
        rules = [rule(part) for part in parts]
        if not rules:
            raise Malformed(f"{name} must have rules")
        every = all if name == "And" else any
        return lambda data, context: every(one(data, context) for one in rules)
    if set(given) == {"Not"}:
        inner = rule(given["Not"])
        return lambda data, context: not inner(data, context)
    operators = set(given) - {"Variable"}
    if "Variable" not in given or len(operators) != 1:
        raise Malformed(f"{given!r} must have Variable and exactly one comparison")
    (operator,) = operators
    return _comparison(Path.parse(given["Variable"]), operator, given[operator])


def _comparison(variable: Path, operator: str, wanted: Any) -> Holds:
    if operator == "IsPresent":
        return lambda data, context: variable.find(data, context)[0] == _true(wanted)
    if test := TESTS.get(operator):
        return lambda data, context: test(variable.read(data, context)) == _true(wanted)
    if operator == "StringMatches":
        raise NotTaught("the comparison StringMatches")
    parsed = COMPARISON.fullmatch(operator)
    if parsed is None or (parsed[1] == "Boolean" and parsed[2] != "Equals"):
        raise Malformed(f"{operator} is not a comparison")
    typed, compare = KINDS[parsed[1]], ORDERS[parsed[2]]
    if parsed[3]:
        other: Read = Path.parse(wanted).read
    else:
        if typed(wanted) is None:
            raise Malformed(f"{operator} cannot have {wanted!r}")
        other = lambda _data, _context: wanted  # noqa: E731

    def holds(data: Any, context: Any) -> bool:
        left, right = typed(variable.read(data, context)), typed(other(data, context))
        return left is not None and right is not None and compare(left, right)

    return holds


def _true(wanted: Any) -> bool:
    return wanted is True
