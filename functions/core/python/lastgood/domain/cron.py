"""Which cron expressions EventBridge Scheduler takes, and what is wrong with the others.

Source: "Cron-based schedules" in the EventBridge Scheduler User Guide. What its table of fields
and wildcards does not name is refused here, since it would fail only at deployment.
"""

import re
from dataclasses import dataclass, field

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELD_NAMES = "minutes hours day-of-month month day-of-week year"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    lowest: int
    highest: int
    largest_step: int
    names: tuple[str, ...] = ()
    special: str = ""
    """A pattern of what the field takes beside values, ranges and steps, and only alone."""
    also: tuple[str, ...] = field(default=())
    """The same in words, for the message."""

    @property
    def allowed(self) -> str:
        values = f"{self.lowest}-{self.highest}"
        if self.names:
            values += f" or {self.names[0]}-{self.names[-1]}"
        steps = (f"steps such as */{2}",) if self.largest_step else ()
        forms = ("*", "lists", "ranges", *steps, *self.also)
        return f"{values}, with {', '.join(forms[:-1])} and {forms[-1]}"

    def number(self, text: str) -> int | None:
        """The value that a number or name stands for; None if the field does not take it."""
        if text in self.names:
            return self.names.index(text) + self.lowest
        if not re.fullmatch(r"[0-9]{1,4}", text):
            return None
        return int(text) if self.lowest <= int(text) <= self.highest else None


_DAY = "|".join(DAYS)
_FIELDS = (
    _Field(name="minutes", lowest=0, highest=59, largest_step=59),
    _Field(name="hours", lowest=0, highest=23, largest_step=23),
    _Field(
        name="day-of-month",
        lowest=1,
        highest=31,
        largest_step=31,
        special=r"\?|L|([1-9]|[12][0-9]|3[01])W",
        also=("?", "L (the last day)", "15W (the weekday nearest the 15th)"),
    ),
    _Field(name="month", lowest=1, highest=12, largest_step=12, names=MONTHS),
    _Field(
        name="day-of-week",
        lowest=1,
        highest=7,
        # The guide's table has no / here.
        largest_step=0,
        names=DAYS,
        special=rf"\?|L|([1-7]|{_DAY})(L|#[1-5])",
        also=("?", "6L (the last Friday)", "6#2 (the second Friday)"),
    ),
    _Field(name="year", lowest=1970, highest=2199, largest_step=229),
)


def problems(expression: str) -> list[str]:
    """Say what EventBridge Scheduler would refuse in the six fields; nothing if it takes them.

    Each text is to follow the path of the value: what was wrong, then what is allowed. Names and
    wildcards may be in lower case. All fields are looked at.
    """
    parts = expression.upper().split()
    if "(" in expression:
        wrapped = re.fullmatch(r"cron\((.*)\)", expression.strip())
        hint = f': write "{wrapped[1]}"' if wrapped else ""
        return [f"is the text '{expression}', but must be six cron fields and nothing else{hint}"]
    if len(parts) != len(_FIELDS):
        noun = "field" if len(parts) == 1 else "fields"
        return [
            f"has {len(parts)} {noun}, but must have six: {FIELD_NAMES}; "
            'every night at three is "0 3 * * ? *"'
        ]
    found = [
        f"has '{text}' in the field {spec.name}, {wrong}; allowed: {spec.allowed}"
        for spec, text in zip(_FIELDS, parts, strict=True)
        if (wrong := _wrong(spec, text)) is not None
    ]
    if not found and (parts[2] == "?") == (parts[4] == "?"):
        found.append(
            f"has '{parts[2]}' in the field day-of-month and '{parts[4]}' in the field "
            "day-of-week, but exactly one of the two must be ?"
        )
    return found


def _wrong(spec: _Field, text: str) -> str | None:
    if spec.special and re.fullmatch(spec.special, text):
        return None
    items = text.split(",")
    if len(items) > 1:
        for item in items:
            if spec.special and re.fullmatch(spec.special, item):
                return f"where '{item}' must stand alone, not in a list"
            if item == "*":
                return "where '*' must stand alone, not in a list"
    return next((wrong for item in items if (wrong := _wrong_item(spec, item)) is not None), None)


def _wrong_item(spec: _Field, item: str) -> str | None:
    """Say what is wrong with a value, a range or a step: ``5``, ``1-5``, ``*/2``, ``1-9/2``."""
    base, slash, step = item.partition("/")
    if slash:
        if not spec.largest_step:
            return "which takes no steps"
        if not re.fullmatch(r"[0-9]{1,4}", step) or not 1 <= int(step) <= spec.largest_step:
            return f"whose step '{step}' is not a whole number from 1 to {spec.largest_step}"
    if base == "*":
        return None
    first, dash, last = base.partition("-")
    for end in (first, last) if dash else (first,):
        if spec.number(end) is None:
            return _not_a_value(spec, end)
    if dash and (spec.number(first) or 0) > (spec.number(last) or 0):
        return f"whose range '{base}' runs backwards"
    return None


def _not_a_value(spec: _Field, text: str) -> str:
    if spec.names == DAYS and text == "0":
        return "where '0' is not a day: Sunday is 1 or SUN"
    return f"where '{text}' is not a value of this field"
