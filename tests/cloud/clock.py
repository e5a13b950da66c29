"""The one clock of a test cloud: moto, schedules, queues, snapshots and functions all read it."""

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import time_machine

Action = Callable[[], None]


def nothing() -> None:
    pass


class Clock:
    """Virtual time for a whole process: it replaces what ``datetime.now`` and ``time.time`` answer.

    A ticking clock goes on at real speed between moves; any other moves only when told to.
    Actions that are due run in order of time, each while the clock stands at its own instant.
    """

    def __init__(self, start: datetime, *, ticking: bool = False) -> None:
        self._traveller = time_machine.travel(start, tick=ticking)
        self._coordinates: Any = None
        self._due: list[tuple[datetime, int, Action]] = []
        self._order = itertools.count()
        self._lock = threading.RLock()

    def __enter__(self) -> "Clock":
        self._coordinates = self._traveller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._traveller.stop()
        self._coordinates = None

    def now(self) -> datetime:
        return datetime.now(UTC)

    def at(self, due: datetime, action: Action) -> Action:
        """Run ``action`` once the clock reaches ``due`` (at the next move, if that is past).

        What is returned takes it off the clock again, if it did not run yet.
        """
        entry = (due, next(self._order), action)
        with self._lock:
            heapq.heappush(self._due, entry)
        return partial(self._forget, entry)

    def _forget(self, entry: tuple[datetime, int, Action]) -> None:
        with self._lock:
            if entry in self._due:
                self._due.remove(entry)
                heapq.heapify(self._due)

    def next_due(self) -> datetime | None:
        with self._lock:
            return self._due[0][0] if self._due else None

    def run_due(self, settle: Action = nothing) -> int:
        """Run what is due by now, without moving the clock; how many ran."""
        ran = 0
        while action := self._pop(self.now()):
            action()
            settle()
            ran += 1
        return ran

    def advance_to(self, instant: datetime, settle: Action = nothing) -> None:
        """Move to ``instant``, stopping at each due action on the way.

        ``settle`` is called at the start and after each action: what an action set going
        (a queue to drain, a function to run) ends before time goes on.
        """
        settle()
        while (due := self.next_due()) is not None and due <= instant:
            self._move(max(due, self.now()))
            self.run_due(settle)
        self._move(max(instant, self.now()))

    def advance(self, by: timedelta, settle: Action = nothing) -> None:
        self.advance_to(self.now() + by, settle)

    def _pop(self, now: datetime) -> Action | None:
        with self._lock:
            if self._due and self._due[0][0] <= now:
                return heapq.heappop(self._due)[2]
            return None

    def _move(self, instant: datetime) -> None:
        if self._coordinates is None:
            raise RuntimeError("the clock is not running: enter it first")
        self._coordinates.move_to(instant)
