"""Which points of one source stay and which may go, each with its reasons.

The rules are those of restic's ``forget`` ("Removing snapshots according to a policy" in its
manual), with what snapshots of a running fleet need on top: points that are not finished, points
that somebody holds, a floor, and a reason for each delete.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from zoneinfo import ZoneInfo

from lastgood.domain import policy_checks
from lastgood.domain.model import PointStatus
from lastgood.domain.names import instant
from lastgood.domain.policy import Count, Retention, Span, TagMatch
from lastgood.errors import UnsafePlan

FAILED_GRACE = timedelta(days=7)
"""How long the snapshots of a failed point stay for a person to look at."""

MOST_MINUTES = 50_000
"""Minutes whose calendar periods one ``Judge`` remembers: some 15 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """What judging needs to know of a point.

    ``taken_at``: with a zone, at least a year from the first and the last year of the calendar.
    ``protections``: why it must stay whatever the rules say (a hold, a lock, a restore under way),
    each in words for people. ``lost``: why it is not whole any more, though it was; such a point
    counts for nothing.
    """

    id: str
    taken_at: datetime
    status: PointStatus = PointStatus.AVAILABLE
    tags: Mapping[str, str] = field(default_factory=dict)
    protections: tuple[str, ...] = ()
    lost: str | None = None

    def is_real(self, now: datetime) -> bool:
        """Whether it can be restored, and is not of the future."""
        return self.status is PointStatus.AVAILABLE and self.lost is None and self.taken_at <= now


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Keep or delete for one point. ``reasons`` are written when they are asked for."""

    point: PointFacts
    keep: bool
    _tell: Callable[[PointFacts], tuple[str, ...]]

    @property
    def reasons(self) -> tuple[str, ...]:
        """At least one. Of a delete: the nearest miss, and what would have kept the point."""
        return self._tell(self.point)


def judge(points: Iterable[PointFacts], retention: Retention, now: datetime) -> list[Verdict]:
    """Give each point of one source in one place a verdict, in the order of ``newest_first``.

    ``now`` tells which points are in the future, and which failed ones had their grace.

    Raises:
        UnsafePlan: the retention keeps nothing, or has a value that is not allowed.
    """
    return Judge(retention).judge(points, now)


class Judge:
    """``judge`` for many sources under one retention, whose rules are read once.

    Raises:
        UnsafePlan: the retention keeps nothing, or has a value that is not allowed.
    """

    def __init__(self, retention: Retention) -> None:
        problems = list(policy_checks.problems(retention))
        if problems:
            raise UnsafePlan("\n".join(f"{_path(path)} {text}" for path, text in problems))
        self._retention = retention
        self._calendar = _Calendar(ZoneInfo(retention.timezone))
        self._counting = [
            _Counting(key, count, _PERIOD_OF[key])
            for key, count in retention.counts().items()
            if count
        ]
        self._ranging = [
            _Ranging(key, span, _PERIOD_OF[key]) for key, span in retention.spans().items() if span
        ]

    def judge(self, points: Iterable[PointFacts], now: datetime) -> list[Verdict]:
        """As the function ``judge``."""
        ordered = newest_first(points)
        judged = [one for one in ordered if one.is_real(now) and not one.protections]
        case = self._apply(judged, floor(ordered, self._retention.at_least, now))
        kept, told, lost = case.kept, case.why_kept, case.why_lost
        verdicts, index = [], 0
        for one in ordered:
            if index < len(judged) and judged[index] is one:
                keep = index in kept
                verdicts.append(Verdict(one, keep, told if keep else lost))
                index += 1
            else:
                verdicts.append(_unjudged(one, now))
        return verdicts

    def _apply(self, judged: Sequence[PointFacts], newest: Sequence[PointFacts]) -> "_Case":
        case = _Case(judged, self._counting, self._ranging, self._calendar, newest)
        if not judged:
            return case
        self._apply_periods(case)
        for match in self._retention.keep_tags:
            tagged = _Tagged(match)
            for index, one in enumerate(judged):
                if matches(one.tags, match):
                    case.keep(index, tagged)
        standing = _Floor(self._retention.at_least)
        for index, one in enumerate(judged[: len(newest)]):
            if index not in case.kept and any(one is real for real in newest):
                case.keep(index, standing)
        return case

    def _apply_periods(self, case: "_Case") -> None:
        judged, calendar = case.judged, self._calendar
        periods = [calendar.periods(one.taken_at) for one in judged]
        for counting in self._counting:
            for index, left, oldest in counting.keeps(periods):
                case.keep(index, counting, left, oldest)
        for ranging in self._ranging:
            within = _count_after(judged, calendar.before(case.newest, ranging.span))
            for index, oldest in ranging.keeps(periods, within):
                case.keep(index, ranging, None, oldest)


def _count_after(judged: Sequence[PointFacts], cutoff: datetime | None) -> int:
    """How many of the newest were taken strictly after ``cutoff``; None: all."""
    if cutoff is None:
        return len(judged)
    return next((index for index, one in enumerate(judged) if one.taken_at <= cutoff), len(judged))


def _path(path: Sequence[str | int]) -> str:
    return "retention" + "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)


def newest_first(points: Iterable[PointFacts]) -> list[PointFacts]:
    """By the instant they were taken; those of one instant in the order of their ids."""
    return sorted(sorted(points, key=attrgetter("id")), key=attrgetter("taken_at"), reverse=True)


def floor(ordered: Iterable[PointFacts], at_least: int, now: datetime) -> list[PointFacts]:
    """The newest that no rule deletes. A held point is real: it counts here, though for no rule."""
    return list(islice((one for one in ordered if one.is_real(now)), at_least))


def matches(tags: Mapping[str, str], match: TagMatch) -> bool:
    """Whether every key of ``match`` is there, with one of its values."""
    return all(tags.get(key) in values for key, values in match.items())


# points that no rule judges


def _unjudged(point: PointFacts, now: datetime) -> Verdict:
    if point.status is PointStatus.DELETED:
        return Verdict(point, keep=False, _tell=_deleted)
    if point.protections:
        return Verdict(point, keep=True, _tell=_protected)
    match point.status:
        case PointStatus.CREATING | PointStatus.PENDING:
            return Verdict(point, keep=True, _tell=_in_progress)
        case PointStatus.EXPIRED:
            return Verdict(point, keep=False, _tell=_expired)
        case PointStatus.FAILED:
            keep = now - point.taken_at < FAILED_GRACE
            return Verdict(point, keep, _failed if keep else _failed_before)
        case _ if point.lost:
            return Verdict(point, keep=True, _tell=_lost)
        case _:
            return Verdict(point, keep=True, _tell=_in_the_future)


def _deleted(_: PointFacts) -> tuple[str, ...]:
    return ("deleted already",)


def _protected(point: PointFacts) -> tuple[str, ...]:
    return point.protections


def _in_progress(point: PointFacts) -> tuple[str, ...]:
    return (f"in progress: {point.status}",)


def _expired(_: PointFacts) -> tuple[str, ...]:
    return ("expired before: its deletion is under way",)


def _failed(point: PointFacts) -> tuple[str, ...]:
    until = instant(point.taken_at + FAILED_GRACE)
    return (f"failed: it counts for no rule, and stays until {until} to be looked at",)


def _failed_before(_: PointFacts) -> tuple[str, ...]:
    return (f"failed more than {FAILED_GRACE.days} days ago: it counts for no rule",)


def _lost(point: PointFacts) -> tuple[str, ...]:
    return (f"lost: {point.lost}; it counts for no rule",)


def _in_the_future(point: PointFacts) -> tuple[str, ...]:
    return (f"in the future: taken at {instant(point.taken_at)}, after now; a clock was wrong",)


# the calendar

Periods = tuple[int, int, int, int, int]
"""The hour, day, ISO week, month and year of an instant, as numbers that are read digit by digit:
2026112203, 20261122, 202647, 202611, 2026."""

HOUR, DAY, WEEK, MONTH, YEAR = range(5)
NAMES = ("hourly", "daily", "weekly", "monthly", "yearly")
_PERIOD_OF: Mapping[str, int | None] = {
    f"keep_{within}{name}": number
    for within in ("", "within_")
    for number, name in enumerate(NAMES)
} | {"keep_last": None, "keep_within": None}


class _Calendar:
    """Periods and spans in one time zone."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._known: dict[int, Periods] = {}

    def periods(self, moment: datetime) -> Periods:
        """An hour that comes twice, when clocks are set back, is one hour."""
        # Offsets change at whole minutes only (IANA, since 1972): points of one slot share them.
        minute = int(moment.timestamp() // 60)
        known = self._known.get(minute)
        if known is None:
            if len(self._known) >= MOST_MINUTES:
                self._known.clear()
            known = self._known[minute] = self._read(moment)
        return known

    def _read(self, moment: datetime) -> Periods:
        local = moment.astimezone(self._zone)
        year, week, _ = local.isocalendar()
        month = local.year * 100 + local.month
        day = month * 100 + local.day
        return day * 100 + local.hour, day, year * 100 + week, month, local.year

    def before(self, moment: datetime, span: Span) -> datetime | None:
        """``moment`` less the span; None if that is before the calendar begins.

        Years and months are taken off on the calendar; a day that the month does not have runs over
        into the next, as in Go's ``AddDate``, which restic uses: a month before 31 October is
        1 October.
        """
        local = moment.astimezone(self._zone)
        year, month = divmod(local.year * 12 + local.month - 1 - span.years * 12 - span.months, 12)
        try:
            first = local.replace(year=year, month=month + 1, day=1)
            back = first + timedelta(days=local.day - 1 - span.days)
            return back.astimezone(UTC) - timedelta(hours=span.hours)
        except (ValueError, OverflowError):
            return None

    def days_between(self, earlier: datetime, later: datetime) -> int:
        """From the calendar day of the one to that of the other."""
        first, last = (one.astimezone(self._zone).date() for one in (earlier, later))
        return (last - first).days


def _label(period: int, number: int) -> str:
    """A period as people write it: ``2026-11-22T03``, ``2026-11-22``, ``2026-W47``, ``2026-11``."""
    text = str(number)
    match period:
        case 0:
            return f"{text[:-6]}-{text[-6:-4]}-{text[-4:-2]}T{text[-2:]}"
        case 1:
            return f"{text[:-4]}-{text[-4:-2]}-{text[-2:]}"
        case 2:
            return f"{text[:-2]}-W{text[-2:]}"
        case 3:
            return f"{text[:-2]}-{text[-2:]}"
        case _:
            return text


# rules

Left = int | None
"""Counts that were left when a point was kept; None for a rule without a limit."""


@dataclass(frozen=True, slots=True)
class _Counting:
    """``keep_<period>: count``. ``period`` is None for keep_last."""

    key: str
    count: Count
    period: int | None

    def keeps(self, periods: Sequence[Periods]) -> Iterable[tuple[int, Left, bool]]:
        """The positions that it keeps, with the counts left then, and whether as the oldest."""
        limit = len(periods) if self.count == "all" else self.count
        last = len(periods) - 1
        if self.period is None:
            for index in range(min(limit, len(periods))):
                yield index, self._left(index + 1), False
            return
        period, used, seen = self.period, 0, set[int]()
        for index, every in enumerate(periods):
            if used == limit:
                return
            number = every[period]
            if number not in seen:
                seen.add(number)
                used += 1
                yield index, self._left(used), False
            elif index == last:
                yield index, self._left(used + 1), True

    def _left(self, used: int) -> Left:
        return None if self.count == "all" else self.count - used

    def tells(self, case: "_Case", index: int, left: Left, oldest: bool) -> str:
        name = self.key.removeprefix("keep_")
        which = index + 1 if self.period is None else _label(self.period, case.of(self, index))
        many = "no limit" if left is None else f"{left} of {self.count} left"
        return f"{'oldest ' if oldest else ''}{name} {which}, {many}"

    def misses(self, case: "_Case", index: int) -> "_Miss":
        name = self.key.removeprefix("keep_")
        if self.period is None:
            rank, which = index + 1, str(index + 1)
        else:
            which = _label(self.period, case.of(self, index))
            first, rank = case.standing(self.period, index)
            if first != index:
                return _Miss(_taken(case, name, which, first, index))
        needs = f"{self.key} {rank} would keep it"
        return _Miss(
            f"{name} {which}: {self.count} of {self.count} used by newer; {needs}",
            rank - int(self.count),
        )


@dataclass(frozen=True, slots=True)
class _Ranging:
    """``keep_within: span`` and its kin. ``period`` is None for keep_within itself."""

    key: str
    span: Span
    period: int | None

    def keeps(self, periods: Sequence[Periods], within: int) -> Iterable[tuple[int, bool]]:
        """The positions that it keeps of the ``within`` newest, and whether as the oldest."""
        if self.period is None:
            for index in range(within):
                yield index, False
            return
        seen = set[int]()
        last = len(periods) - 1
        for index in range(within):
            number = periods[index][self.period]
            if number not in seen:
                seen.add(number)
                yield index, False
            elif index == last:
                yield index, True

    def tells(self, case: "_Case", index: int, _: Left, oldest: bool) -> str:
        if self.period is None:
            return f"within {self.span} of {instant(case.newest)}"
        which = f"{NAMES[self.period]} {_label(self.period, case.of(self, index))}"
        return f"{'oldest ' if oldest else ''}{which} within {self.span} of {instant(case.newest)}"

    def misses(self, case: "_Case", index: int) -> "_Miss":
        name = self.key.removeprefix("keep_")
        if self.period is not None:
            first, _ = case.standing(self.period, index)
            if first != index:
                which = _label(self.period, case.of(self, index))
                return _Miss(_taken(case, NAMES[self.period], which, first, index))
        days = case.days_before_newest(index) + 1
        return _Miss(
            f"{name.replace('_', ' ')} {self.span} of {instant(case.newest)}: older; "
            f"{self.key} {days}d would keep it",
            days,
        )


@dataclass(frozen=True, slots=True)
class _Tagged:
    match: TagMatch

    def tells(self, case: "_Case", index: int, _: Left, __: bool) -> str:
        tags = case.judged[index].tags
        return f"tags {', '.join(f'{key}={tags[key]}' for key in self.match)}"


@dataclass(frozen=True, slots=True)
class _Floor:
    at_least: int

    def tells(self, _: "_Case", __: int, ___: Left, ____: bool) -> str:
        return f"floor: at_least {self.at_least} of the newest stay"


@dataclass(frozen=True, slots=True)
class _Miss:
    """``distance``: how many more counts or days would do; None if none of this rule would."""

    text: str
    distance: int | None = None


def _taken(case: "_Case", name: str, which: str, by: int, index: int) -> str:
    first = case.judged[by]
    how = "newer" if first.taken_at > case.judged[index].taken_at else "as new"
    return f"{name} {which}: {first.id} is {how} and stands for it"


class _Case:
    """What the rules made of the points that they judge; ``kept`` by position, newest first."""

    def __init__(
        self,
        judged: Sequence[PointFacts],
        counting: Sequence[_Counting],
        ranging: Sequence[_Ranging],
        calendar: _Calendar,
        newest: Sequence[PointFacts],
    ) -> None:
        self.judged = judged
        self.kept: dict[int, list[tuple[_Counting | _Ranging | _Tagged | _Floor, Left, bool]]] = {}
        self._counting = counting
        self._ranging = ranging
        self._calendar = calendar
        self._real = newest
        # Only who reads reasons needs these.
        self._standings: dict[int, list[tuple[int, int]]] = {}
        self._positions: dict[int, int] = {}

    def keep(
        self,
        index: int,
        rule: "_Counting | _Ranging | _Tagged | _Floor",
        left: Left = None,
        oldest: bool = False,
    ) -> None:
        self.kept.setdefault(index, []).append((rule, left, oldest))

    @property
    def newest(self) -> datetime:
        """When the newest point was taken, from which spans count back."""
        return self._real[0].taken_at

    def of(self, rule: _Counting | _Ranging, index: int) -> int:
        """The period of the point for that rule."""
        return self._period(index, rule.period or 0)

    def standing(self, period: int, index: int) -> tuple[int, int]:
        """The position of the newest point of the same period, and the rank of that period."""
        if period not in self._standings:
            seen: dict[int, tuple[int, int]] = {}
            self._standings[period] = [
                seen.setdefault(self._period(position, period), (position, len(seen) + 1))
                for position in range(len(self.judged))
            ]
        return self._standings[period][index]

    def days_before_newest(self, index: int) -> int:
        return self._calendar.days_between(self.judged[index].taken_at, self.newest)

    def why_kept(self, point: PointFacts) -> tuple[str, ...]:
        index = self._position(point)
        return tuple(
            rule.tells(self, index, left, oldest) for rule, left, oldest in self.kept[index]
        )

    def why_lost(self, point: PointFacts) -> tuple[str, ...]:
        """The nearest miss: the rule that would have needed the fewest more counts, else days."""
        index = self._position(point)
        counted = [one.misses(self, index) for one in self._counting]
        ranged = [one.misses(self, index) for one in self._ranging]
        for some in (counted, ranged):
            near = [one for one in some if one.distance is not None]
            if near:
                return (min(near, key=lambda one: one.distance or 0).text,)
        would = f"keep_last {index + 1} would keep it"
        if counted or ranged:
            return (f"{(counted + ranged)[0].text}; {would}",)
        return (f"none of the tags of keep_tags; {would}",)

    def _period(self, index: int, period: int) -> int:
        return self._calendar.periods(self.judged[index].taken_at)[period]

    def _position(self, point: PointFacts) -> int:
        if not self._positions:
            self._positions = {id(one): index for index, one in enumerate(self.judged)}
        return self._positions[id(point)]
