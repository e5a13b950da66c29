"""Which cron expressions EventBridge Scheduler takes, what is wrong with the others, and when the
sound ones are due.

Source: "Cron-based schedules" in the EventBridge Scheduler User Guide. What its table of fields
and wildcards does not name is refused here, since it would fail only at deployment.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

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

    def number(self, text: str) -> int:
        """The value that a number or name stands for."""
        if text in self.names:
            return self.names.index(text) + self.lowest
        if re.fullmatch(r"[0-9]{1,4}", text) and self.lowest <= int(text) <= self.highest:
            return int(text)
        if self.names == DAYS and text == "0":
            raise _Wrong("where '0' is not a day: Sunday is 1 or SUN")
        raise _Wrong(f"where '{text}' is not a value of this field")


class _Wrong(ValueError):
    """Says what is wrong with a field, to follow its name."""


_DAY = "|".join(DAYS)
_DAY_OF_WEEK = _Field(
    name="day-of-week",
    lowest=1,
    highest=7,
    # The guide's table has no / here.
    largest_step=0,
    names=DAYS,
    special=rf"\?|L|([1-7]|{_DAY})(L|#[1-5])",
    also=("?", "6L (the last Friday)", "6#2 (the second Friday)"),
)
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
    _DAY_OF_WEEK,
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


def latest(cron: str, timezone: str, *, after: datetime, until: datetime) -> datetime | None:
    """The newest instant in (after, until] that the cron names in the zone: UTC, a whole minute.

    ``cron`` is one that ``problems`` takes. A local time that comes twice counts once, the first.
    One that daylight saving skips counts as if the clocks had not been set forward: where 02:00 is
    followed by 03:00, 02:30 is the instant at which clocks show 03:30. Scheduler passes it over
    ("Daylight savings time" in "Schedule types on EventBridge Scheduler"), so it is there to be
    caught up. The days of the span are looked at, newest first.
    """
    times = _Times(cron, timezone)
    for day in reversed(times.days(after, until)):
        found = max((one for one in times.on(day) if after < one <= until), default=None)
        if found is not None:
            return found
    return None


def slots(cron: str, timezone: str, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Every instant of which ``latest`` may be one, oldest first, each once."""
    times = _Times(cron, timezone)
    coming: set[datetime] = set()
    for day in times.days(after, until):
        next_ones = set(times.on(day))
        # A time of the evening that is skipped may come after the first of the next day.
        first = min(next_ones, default=None)
        due = {one for one in coming if first is None or one < first}
        yield from sorted(one for one in due if after < one <= until)
        coming = (coming - due) | next_ones
    yield from sorted(one for one in coming if after < one <= until)


class _Times:
    """When a cron is due in a zone, day by day."""

    def __init__(self, cron: str, timezone: str) -> None:
        fields = (
            _read(spec, text) for spec, text in zip(_FIELDS, cron.upper().split(), strict=True)
        )
        minutes, hours, self._of_month, self._months, self._of_week, self._years = fields
        self._clock = sorted(product(hours.numbers, minutes.numbers))
        self._zone = ZoneInfo(timezone)

    def days(self, after: datetime, until: datetime) -> list[date]:
        """Every day on which an instant of the span may count."""
        # A skipped time of the evening counts on the next day.
        first = after.astimezone(self._zone).date() - timedelta(days=1)
        last = until.astimezone(self._zone).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def on(self, day: date) -> Iterator[datetime]:
        """Its instants in UTC, in the order of the clock."""
        if (
            day.year in self._years.numbers
            and day.month in self._months.numbers
            and _fits_month(day, self._of_month)
            and _fits_week(day, self._of_week)
        ):
            for hour, minute in self._clock:
                # fold=0 is the first of two, and the offset before a gap.
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone)
                yield local.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class _Named:
    """What a field names: numbers, or one of its special forms."""

    numbers: frozenset[int] = frozenset()
    special: str = ""


def _fits_month(day: date, named: _Named) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    match named.special:
        case "":
            return day.day in named.numbers
        case "?":
            return True
        case "L":
            return day.day == last
        case nearest:
            return day.day == _weekday_nearest(day.replace(day=min(int(nearest[:-1]), last)), last)


def _weekday_nearest(wanted: date, last: int) -> int:
    """The working day of the month nearest to ``wanted``, never in another month."""
    match wanted.weekday():
        case calendar.SATURDAY:
            return wanted.day - 1 if wanted.day > 1 else wanted.day + 2
        case calendar.SUNDAY:
            return wanted.day + 1 if wanted.day < last else wanted.day - 2
        case _:
            return wanted.day


def _fits_week(day: date, named: _Named) -> bool:
    weekday = day.isoweekday() % 7 + 1
    if not named.special:
        return weekday in named.numbers
    if named.special in ("?", "L"):
        return named.special == "?" or weekday == len(DAYS)
    name, number, week = named.special.partition("#")
    if weekday != _DAY_OF_WEEK.number(name if number else name[:-1]):
        return False
    if number:
        return (day.day + 6) // 7 == int(week)
    return (day + timedelta(days=7)).month != day.month


def _wrong(spec: _Field, text: str) -> str | None:
    try:
        _read(spec, text)
    except _Wrong as wrong:
        return str(wrong)
    return None


def _read(spec: _Field, text: str) -> _Named:
    if spec.special and re.fullmatch(spec.special, text):
        return _Named(special=text)
    items = text.split(",")
    if len(items) > 1:
        for item in items:
            if item == "*" or (spec.special and re.fullmatch(spec.special, item)):
                raise _Wrong(f"where '{item}' must stand alone, not in a list")
    return _Named(frozenset(number for item in items for number in _read_item(spec, item)))


def _read_item(spec: _Field, item: str) -> range:
    """A value, a range or a step: ``5``, ``1-5``, ``*/2``, ``1-9/2``; ``5/10`` goes to the end."""
    base, slash, step = item.partition("/")
    if slash:
        if not spec.largest_step:
            raise _Wrong("which takes no steps")
        if not re.fullmatch(r"[0-9]{1,4}", step) or not 1 <= int(step) <= spec.largest_step:
            raise _Wrong(f"whose step '{step}' is not a whole number from 1 to {spec.largest_step}")
    if base == "*":
        first, last = spec.lowest, spec.highest
    else:
        start, dash, end = base.partition("-")
        first = spec.number(start)
        last = spec.number(end) if dash else spec.highest if slash else first
    if first > last:
        raise _Wrong(f"whose range '{base}' runs backwards")
    return range(first, last + 1, int(step or 1))
