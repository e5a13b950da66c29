"""Which point of a source is meant: ``latest``, an id, ``before`` a time, or a date."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from lastgood.domain.copying import CopyStatus, PointCopy
from lastgood.domain.model import Point, PointStatus
from lastgood.domain.names import instant
from lastgood.domain.place import Place
from lastgood.errors import CannotRestore, MalformedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One of the three is set, or none: the latest. ``until`` is included."""

    point: str | None = None
    until: datetime | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A point, and the places in which it, or a copy of it, is available.

    ``lacks``: why there is no such place. ``safety_of``: the restore in place before which it was
    taken: it has what somebody wanted to be rid of, so it is meant only by its id.
    """

    id: str
    policy: str
    slot: datetime
    taken_at: datetime
    places: tuple[Place, ...]
    lacks: str = ""
    safety_of: str = ""

    @property
    def counts(self) -> bool:
        """It may be chosen by time."""
        return bool(self.places) and not self.safety_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    candidate: Candidate
    why: str
    notes: tuple[str, ...] = ()


def wish(text: str, zone: tzinfo) -> Wish:
    """``zone``: of a time without an offset, and of a date.

    Raises:
        MalformedMessage: the text is none of these.
    """
    text = text.strip()
    if text.lower() in ("", "latest", "last", "newest"):
        return Wish()
    if re.fullmatch(r"pt-[0-9a-f]{20}", text):
        return Wish(point=text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return Wish(day=date.fromisoformat(text))
        except ValueError as error:
            raise MalformedMessage(f"point: {text!r} is no date: {error}") from error
    moment = re.sub(r"^(before|at) ", "", text, flags=re.IGNORECASE).strip()
    try:
        until = datetime.fromisoformat(moment)
    except ValueError as error:
        raise MalformedMessage(
            f"point: {text!r} is not understood; write latest, a point's id (pt-...), a date "
            "(2026-11-20), or before 2026-11-20T09:00+01:00"
        ) from error
    return Wish(until=until if until.tzinfo else until.replace(tzinfo=zone))


def candidates(
    points: Iterable[Point], copies: Iterable[PointCopy], safety: Mapping[str, str]
) -> list[Candidate]:
    """Newest first; a copy stands also for a point that is gone itself. ``safety``: by safety
    point, the restore before which it was taken."""
    found: dict[str, Candidate] = {}
    for point in points:
        ok = point.status is PointStatus.AVAILABLE
        found[point.id] = Candidate(
            id=point.id,
            policy=point.policy,
            slot=point.slot,
            taken_at=point.taken_at or point.slot,
            places=(point.source.place,) if ok else (),
            lacks="" if ok else f"is {point.status}{f': {point.cause}' if point.cause else ''}",
            safety_of=safety.get(point.id, ""),
        )
    for copy in copies:
        known = found.get(copy.point)
        places = known.places if known else ()
        if copy.status is CopyStatus.AVAILABLE and not copy.in_place:
            places = (*places, copy.place)
        found[copy.point] = Candidate(
            id=copy.point,
            policy=copy.policy,
            slot=copy.slot,
            taken_at=copy.taken_at,
            places=places,
            lacks="" if places else (known.lacks if known else f"its copy is {copy.status}"),
            safety_of=safety.get(copy.point, ""),
        )
    return sorted(found.values(), key=lambda one: (one.taken_at, one.id), reverse=True)


def choose(every: list[Candidate], wanted: Wish, zone: tzinfo, now: datetime) -> Chosen:
    """``every``: newest first.

    Raises:
        CannotRestore: there is none such; says which there are.
    """
    if not every:
        raise CannotRestore(
            ["point: the source has no recovery point on record; see that a policy selects it"]
        )
    if wanted.point:
        one = next((one for one in every if one.id == wanted.point), None)
        if one is None:
            raise CannotRestore([f"point: {wanted.point} is not of this source; {_offer(every)}"])
        if not one.places:
            raise CannotRestore([f"point: {one.id} {one.lacks}; {_offer(every)}"])
        return Chosen(candidate=one, why=f"{_taken(one, now)}: asked for by its id")
    meant, rule = [one for one in every if _fits(one, wanted, zone)], _rule(wanted, zone)
    good = [one for one in meant if one.counts]
    if not good:
        bad = f" ({meant[0].id} {_why_not(meant[0])})" if meant else ""
        none = f"none that is available {rule}" if rule else "none is available"
        raise CannotRestore([f"point: {none}{bad}; {_offer(every)}"])
    newer = tuple(
        f"{one.id} of {instant(one.slot)} is newer and does not count: it {_why_not(one)}"
        for one in meant[: meant.index(good[0])]
    )
    why = f"{_taken(good[0], now)}: the newest of {len(good)} that are available {rule}".rstrip()
    return Chosen(candidate=good[0], why=why, notes=newer[:3])


def _why_not(one: Candidate) -> str:
    if one.lacks:
        return one.lacks
    return f"was taken before {one.safety_of} changed the source; name it by its id to restore it"


def _fits(one: Candidate, wanted: Wish, zone: tzinfo) -> bool:
    if wanted.day:
        return one.taken_at.astimezone(zone).date() == wanted.day
    return wanted.until is None or one.taken_at <= wanted.until


def _rule(wanted: Wish, zone: tzinfo) -> str:
    if wanted.day:
        return f"of {wanted.day} ({zone})"
    return f"until {wanted.until.isoformat()}" if wanted.until else ""


def _taken(one: Candidate, now: datetime) -> str:
    return f"taken {instant(one.taken_at)}, {age(now - one.taken_at)} ago"


def age(length: timedelta) -> str:
    """``3 d 4 h``, ``5 h 10 min``, ``7 min``: the two largest parts."""
    minutes = max(int(length.total_seconds()) // 60, 0)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _offer(every: list[Candidate]) -> str:
    good = [one for one in every if one.places][:5]
    if not good:
        return "none of its points is available"
    return "available are " + ", ".join(f"{one.id} ({instant(one.taken_at)})" for one in good)
