"""When a schedule is due: the cron, rate and at expressions of EventBridge Scheduler.

Source: "Schedule types on EventBridge Scheduler". Daylight saving: a local time that does not exist
is skipped, one that comes twice is used once. A rate counts from its start, and fires there first.
"""

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if number}
WEEKDAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
EXPRESSION = re.compile(r"(cron|rate|at)\((.+)\)")
FARTHEST = timedelta(days=366 * 10)


class Malformed(ValueError):
    """Not an expression that EventBridge Scheduler takes, or one that is not modelled."""


def next_after(expression: str, zone: str, after: datetime, start: datetime) -> datetime | None:
    """The first instant (UTC) later than ``after`` that the expression names.

    ``start`` is where a rate counts from. None: there is none, or none within ten years.

    Raises:
        Malformed: the expression is not understood.
    """
    parsed = EXPRESSION.fullmatch(expression)
    if parsed is None:
        raise Malformed(expression)
    kind, body = parsed.groups()
    if kind == "rate":
        return _rate(body, after, start)
    candidates = _at(body, zone) if kind == "at" else _cron(body, ZoneInfo(zone), after)
    return next((instant for instant in candidates if instant > after), None)


def _rate(body: str, after: datetime, start: datetime) -> datetime:
    parsed = re.fullmatch(r"([1-9]\d*) (minute|hour|day)s?", body)
    if parsed is None:
        raise Malformed(f"rate({body})")
    # "A day is 24 hours", whatever the zone does.
    step = int(parsed[1]) * UNITS[parsed[2]]
    return start if after < start else start + ((after - start) // step + 1) * step


def _at(body: str, zone: str) -> Iterator[datetime]:
    try:
        local = datetime.strptime(body, "%Y-%m-%dT%H:%M:%S")
    except ValueError as wrong:
        raise Malformed(f"at({body})") from wrong
    yield local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _cron(body: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    fields = body.split()
    if len(fields) != 6:
        raise Malformed(f"cron({body}): six fields are needed")
    minutes, hours, of_month, months, of_week, years = fields
    if (of_month == "?") == (of_week == "?"):
        raise Malformed(f"cron({body}): day of month or day of week must be ?, and not both")
    fits = _day_of_month(of_month) if of_week == "?" else _day_of_week(of_week)
    month_set, year_set = _values(months, 1, 12, MONTHS), _values(years, 1970, 2199)
    hour_list, minute_list = sorted(_values(hours, 0, 23)), sorted(_values(minutes, 0, 59))
    day = after.astimezone(zone).date()
    last = day + FARTHEST
    while day <= last:
        if day.year in year_set and day.month in month_set and fits(day):
            for hour in hour_list:
                for minute in minute_list:
                    local = datetime(day.year, day.month, day.day, hour, minute)
                    # fold=0: the first of two equal local times.
                    instant = local.replace(tzinfo=zone).astimezone(UTC)
                    if instant.astimezone(zone).replace(tzinfo=None) == local:
                        yield instant
        day += timedelta(days=1)


def _values(field: str, low: int, high: int, names: dict[str, int] | None = None) -> set[int]:
    """The numbers that a field of lists, ranges and steps names."""

    def number(text: str) -> int:
        value = (names or {}).get(text.upper(), int(text) if text.isdigit() else -1)
        if not low <= value <= high:
            raise Malformed(f"{text!r} in cron field {field!r}")
        return value

    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = map(number, span.split("-", 1))
        else:
            first = number(span)
            last = high if step else first
        if first > last or (step and not (step.isdigit() and int(step) > 0)):
            raise Malformed(f"cron field {field!r}")
        values |= set(range(first, last + 1, int(step or 1)))
    return values


def _last_day(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, wanted: int) -> int:
    """The working day of the month nearest to ``wanted``, never in another month."""
    last = _last_day(day)
    wanted = min(wanted, last)
    match date(day.year, day.month, wanted).weekday():
        case calendar.SATURDAY:
            return wanted - 1 if wanted > 1 else wanted + 2
        case calendar.SUNDAY:
            return wanted + 1 if wanted < last else wanted - 2
        case _:
            return wanted


def _day_of_month(field: str) -> Callable[[date], bool]:
    if field == "L":
        return lambda day: day.day == _last_day(day)
    if field == "LW":
        return lambda day: day.day == _nearest_weekday(day, 31)
    if nearest := re.fullmatch(r"(\d{1,2})W", field):
        wanted = int(nearest[1])
        return lambda day: day.day == _nearest_weekday(day, wanted)
    days = _values(field, 1, 31)
    return lambda day: day.day in days


def _day_of_week(field: str) -> Callable[[date], bool]:
    if field == "L":
        field = "SAT"
    if last := re.fullmatch(r"(\w+)L", field):
        (only,) = _values(last[1], 1, 7, WEEKDAYS)
        return lambda day: _weekday(day) == only and day.day > _last_day(day) - 7
    if nth := re.fullmatch(r"(\w+)#([1-5])", field):
        (only,) = _values(nth[1], 1, 7, WEEKDAYS)
        week = int(nth[2])
        return lambda day: _weekday(day) == only and (day.day - 1) // 7 + 1 == week
    weekdays = _values(field, 1, 7, WEEKDAYS)
    return lambda day: _weekday(day) in weekdays


def _weekday(day: date) -> int:
    """1 for Sunday to 7 for Saturday."""
    return day.isoweekday() % 7 + 1
