"""What a sweep has found and done so far."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lastgood.errors import LastgoodError
from lastgood.ports import Clock

RESERVE = timedelta(minutes=1)
"""With less time left, the next sweep goes on."""


@dataclass(slots=True)
class Progress:
    """One sweep, at the instant ``now``. ``flying``: runs that have points in flight. Counts are by
    name, or by policy."""

    clock: Clock
    now: datetime
    flying: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    caught_up: Counter[str] = field(default_factory=Counter)
    past_rpo: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    errors: list[LastgoodError] = field(default_factory=list)
    cut_short: bool = False

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Nothing that fails stops the rest: it is noted, and raised when all else is done."""
        try:
            yield
        except LastgoodError as error:
            self.note(what, error)

    def note(self, what: str, error: LastgoodError) -> None:
        self.problems.append(f"{what}: {type(error).__name__}: {error}")
        self.errors.append(error)

    def out_of_time(self) -> bool:
        self.cut_short = self.cut_short or self.clock.left() < RESERVE
        return self.cut_short
