"""Virtual time: what happens next, in order, and a running hash of all that happened."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from tests.simulation.weather import CALM, Weather

START = datetime(2025, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Agenda:
    """``random`` is the only source of chance: the same seed gives the same trace.

    ``deadline``: when the function that runs now will be ended by Lambda.
    """

    def __init__(self, seed: int, start: datetime) -> None:
        self.random = Random(seed)
        self.time = start
        self.deadline = start
        self.weather: Weather = CALM
        self.counts: Counter[str] = Counter()
        self._due: list[tuple[datetime, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._hash = blake2b(digest_size=16)

    # the product's Clock

    def now(self) -> datetime:
        return self.time

    def left(self) -> timedelta:
        return self.deadline - self.time

    # what happens

    def at(self, when: datetime, act: Callable[..., None], *given: Any) -> None:
        heappush(self._due, (when, next(self._numbers), act, given))

    def after(self, seconds: float, act: Callable[..., None], *given: Any) -> None:
        self.at(self.time + timedelta(seconds=seconds), act, *given)

    def run_until(self, end: datetime) -> None:
        """Everything that is due by then. May be called by what happens: as while a slow worker
        works."""
        due = self._due
        while due and due[0][0] <= end:
            when, _, act, given = heappop(due)
            if when > self.time:
                self.time = when
            act(*given)
        if end > self.time:
            self.time = end

    def note(self, what: str, about: str = "") -> None:
        """Count it, and put it on the trace."""
        self.counts[what] += 1
        self._hash.update(f"{self.time.timestamp()} {what} {about}\n".encode())

    @property
    def trace(self) -> str:
        return self._hash.hexdigest()

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random.random()
