"""What a person asks for in ``policies.yaml``: the types of one policy, and nothing that acts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from lastgood.domain.place import Place

SPAN_PATTERN = r"(?=\d)(?:(\d{1,6})y)?(?:(\d{1,6})m)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?"

DURATION_PATTERN = r"[0-9]{1,14}[dhms]"
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}  # of each unit, largest first

Count = int | Literal["all"]
"""How many points a rule keeps: 0 switches the rule off, ``"all"`` sets no limit."""

TagMatch = Mapping[str, tuple[str, ...]]
"""Tags to look for: every key must be there, with any one of its values, compared exactly."""


def match_text(match: TagMatch) -> str:
    return " and ".join(f"{key}={'|'.join(values)}" for key, values in match.items())


def source_places(policies: "Iterable[Policy]", home: Place) -> tuple[Place, ...]:
    """Every place in which a policy has sources, each once, in order; home, if there are no
    policies."""
    named = {place for policy in policies for place in policy.select.places(home)}
    return tuple(sorted(named or {home}))


def copy_places(policies: "Iterable[Policy]", home: Place) -> tuple[Place, ...]:
    """Every place that a policy wants copies in, each once, in order."""
    return tuple(sorted({to for policy in policies for _, to in policy.ways(home)}))


def encrypting_places(policies: "Iterable[Policy]", home: Place) -> tuple[Place, ...]:
    """Every place with sources whose points have to be encrypted, each once, in order."""
    required = [one for one in policies if one.encryption is Encryption.REQUIRED]
    return source_places(required, home) if required else ()


def duration(text: str) -> timedelta:
    """Read ``15m``, ``26h``, ``14d`` or ``90s``: a whole number and one unit.

    Raises:
        ValueError: the text is anything else, or longer than a timedelta can be.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"not a duration: {text!r}")
    try:
        return timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])
    except OverflowError as error:
        raise ValueError(f"too long: {text!r}") from error


def duration_text(length: timedelta) -> str:
    """Write a timedelta with the largest unit that leaves no rest: 24 hours are ``1d``.

    Raises:
        ValueError: it is negative or not whole seconds.
    """
    if length < timedelta(0) or length.microseconds:
        raise ValueError(f"not a duration of whole seconds: {length!r}")
    seconds = length.days * _SECONDS["d"] + length.seconds
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}" if seconds else "0s"


class ResourceKind(StrEnum):
    """What a policy protects: instances, each with its volumes as one set, or single volumes."""

    INSTANCE = "instance"
    VOLUME = "volume"


class Encryption(StrEnum):
    """``required``: a point with an unencrypted member is made good by an encrypted copy."""

    REQUIRED = "required"
    AS_IS = "as-is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of calendar time, such as ``2y5m7d3h``: ``m`` is months, never minutes.

    Going back by a span goes back by years and months on the calendar first, then by days, then
    by hours. No part is negative.
    """

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> "Span":
        """Read ``2y5m7d3h``: each part at most once, in this order, at least one of them.

        Raises:
            ValueError: the text is anything else.
        """
        match = re.fullmatch(SPAN_PATTERN, text, re.ASCII)
        if match is None:
            raise ValueError(f"not a span: {text!r}")
        years, months, days, hours = (int(part or 0) for part in match.groups())
        return cls(years=years, months=months, days=days, hours=hours)

    def __str__(self) -> str:
        """The text that ``parse`` reads back; ``0h`` for a span of no length."""
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count) or "0h"

    def __bool__(self) -> bool:
        """False for a span of no length."""
        return self != Span()


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Which sources a policy protects.

    A source is selected if all of ``tags`` match and none of ``exclude_tags`` does.
    """

    resource: ResourceKind
    """``instance`` or ``volume``."""
    tags: TagMatch
    """Every key must match, with any one of its values, compared exactly.

    Never empty: a policy cannot select everything.
    """
    exclude_tags: TagMatch = field(default_factory=dict)
    """One matching key is enough to leave a source out."""
    exclude_boot_volume: bool = False
    """Take the data volumes of an instance only. For instances."""
    exclude_volume_tags: TagMatch = field(default_factory=dict)
    """One matching key is enough to leave a volume out of its instance's set. For instances."""
    regions: tuple[str, ...] = ()
    """Region names; empty: the Region of the stack."""
    accounts: tuple[str, ...] = ()
    """Twelve digits each, in every one of the Regions; empty: the account of the stack."""

    def places(self, home: Place) -> tuple[Place, ...]:
        """Where to look, in the order of the accounts; ``home``: where the stack is."""
        return tuple(
            Place(region=region, account=account)
            for account in self.accounts or (home.account,)
            for region in self.regions or (home.region,)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a policy runs. EventBridge Scheduler starts it within a minute of each slot."""

    cron: str
    """Six fields, without ``cron( )``: minutes hours day-of-month month day-of-week year."""
    timezone: str = "UTC"
    """IANA name of the zone in which the fields are read.

    A time that daylight saving skips is skipped; one that it repeats runs once.
    """
    window: timedelta | None = None
    """Start at any moment within this long after the slot: 1 to 1440 whole minutes, or at once."""

    @property
    def expression(self) -> str:
        """The ``ScheduleExpression`` that EventBridge Scheduler takes; equal for equal crons."""
        return f"cron({' '.join(self.cron.upper().split())})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long points are kept. The rules are OR'ed: a point that any of them keeps stays.

    ``keep_hourly`` to ``keep_yearly`` keep the newest point of each of the last N calendar
    periods that have one, in ``timezone``; weeks are ISO weeks. A period without a point uses up
    no count. ``keep_within`` and its kin count back from the newest point, not from now.
    """

    timezone: str = "UTC"
    """IANA name of the zone whose calendar the periods follow."""
    keep_last: Count = 0
    """Keep this many of the newest points; 0 is off, "all" has no limit."""
    keep_hourly: Count = 0
    """Keep the newest point of each of this many hours that have one."""
    keep_daily: Count = 0
    """Keep the newest point of each of this many days that have one."""
    keep_weekly: Count = 0
    """Keep the newest point of each of this many ISO weeks that have one."""
    keep_monthly: Count = 0
    """Keep the newest point of each of this many months that have one."""
    keep_yearly: Count = 0
    """Keep the newest point of each of this many years that have one."""
    keep_within: Span | None = None
    """Keep every point of this span."""
    keep_within_hourly: Span | None = None
    """Keep the newest point of each hour of this span."""
    keep_within_daily: Span | None = None
    """Keep the newest point of each day of this span."""
    keep_within_weekly: Span | None = None
    """Keep the newest point of each ISO week of this span."""
    keep_within_monthly: Span | None = None
    """Keep the newest point of each month of this span."""
    keep_within_yearly: Span | None = None
    """Keep the newest point of each year of this span."""
    keep_tags: tuple[TagMatch, ...] = ()
    """Keep a point whose tags match any of these; within one of them, every key must match."""
    at_least: int = 1
    """The floor: this many of a source's newest points stay, whatever the rules say."""

    def counts(self) -> dict[str, Count]:
        """The counting rules, switched on or not, by key, from the finest to the coarsest."""
        return {
            "keep_last": self.keep_last,
            "keep_hourly": self.keep_hourly,
            "keep_daily": self.keep_daily,
            "keep_weekly": self.keep_weekly,
            "keep_monthly": self.keep_monthly,
            "keep_yearly": self.keep_yearly,
        }

    def spans(self) -> dict[str, Span | None]:
        """The rules by span, switched on or not, by key, from the finest to the coarsest."""
        return {
            "keep_within": self.keep_within,
            "keep_within_hourly": self.keep_within_hourly,
            "keep_within_daily": self.keep_within_daily,
            "keep_within_weekly": self.keep_within_weekly,
            "keep_within_monthly": self.keep_within_monthly,
            "keep_within_yearly": self.keep_within_yearly,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One further place for every point of a policy."""

    region: str
    """Name of the destination Region."""
    account: str | None = None
    """Twelve digits; none: the account of the source."""
    kms_key: str | None = None
    """Key id, alias or ARN at the destination; none: the key that EBS uses there by default."""
    retention: Retention | None = None
    """None: the retention of the policy."""
    complete_within: timedelta | None = None
    """CopySnapshot's ``CompletionDurationMinutes``: 15 minutes to 48 hours, in steps of 15 minutes.

    None: a copy without a promised duration, which costs less.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxDeletes:
    """A prune that would delete more than either cap stops, asks, and deletes nothing."""

    count: int = 500
    """Points in one run, at least 1."""
    share: float = 0.5
    """Share of the points of any one source: above 0, at most 1."""


class Mode(StrEnum):
    """How a point is given back."""

    CLONE = "clone"
    """A new instance."""
    VOLUMES = "volumes"
    """New volumes, attached to an instance or not."""
    IN_PLACE = "in_place"
    """The source itself, with its volumes as they were; the present ones are kept for a while."""
    DRILL = "drill"
    """A clone that nothing can reach, checked, measured, and removed."""

    @property
    def launches(self) -> bool:
        return self in (Mode.CLONE, Mode.DRILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restores:
    """What holds for restores of a policy's points."""

    approval: tuple[Mode, ...] = ()
    """Modes that a second person must approve: clone, volumes, in_place, drill."""
    time_to_live: timedelta = timedelta(hours=8)
    """How long a clone stays, if who asks for it does not say."""
    longest: timedelta = timedelta(days=30)
    """The longest that anybody may ask for, or extend to; who may ``keep`` one has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to select, when to run, how long to keep, where to copy."""

    name: str
    """``[a-z][a-z0-9-]{0,47}``: part of schedule names and of tag values."""
    description: str = ""
    """For people."""
    select: Select
    """Which instances or volumes."""
    schedules: tuple[Schedule, ...] = ()
    """Empty: the policy runs only when a person starts it."""
    retention: Retention
    """How long points are kept, where they are taken."""
    copies: tuple[Copy, ...] = ()
    """Where every point goes as well."""
    encryption: Encryption = Encryption.AS_IS
    """What to do about members that are not encrypted."""
    rpo: timedelta | None = None
    """The longest a source may be without a new available point; none: nobody is told."""
    max_deletes: MaxDeletes = field(default_factory=MaxDeletes)
    """The brake on pruning."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Put on every snapshot, beside Lastgood's own tags."""
    restores: Restores = field(default_factory=Restores)
    """Approval and time to live of what is restored from its points."""

    def ways(self, home: Place) -> Iterator[tuple[Place, Place]]:
        """From each place of its sources to each place of their copies."""
        for place in self.select.places(home):
            for copy in self.copies:
                yield place, Place(region=copy.region, account=copy.account or place.account)
