"""What carries words from one function to another: SQS, EventBridge, Lambda's own queue, SNS.

Sources: SQS Developer Guide (visibility timeout, at-least-once delivery); Lambda Developer Guide,
"How Lambda handles errors and retries with asynchronous invocation".
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from lastgood.domain.model import Point
from lastgood.domain.notices import Notice
from lastgood.domain.requests import TakeRequest
from lastgood.errors import LastgoodError, Refused
from lastgood.ports import Delivery
from lastgood.runtime import _wait
from tests.cloud.killed import Killed
from tests.simulation.agenda import Agenda


class Message:
    __slots__ = ("body", "id", "receives")

    def __init__(self, body: Any, id_: int, receives: int = 0) -> None:
        self.body = body
        self.id = id_
        self.receives = receives


@dataclass(slots=True)
class Inbox:
    """A queue and the function that it feeds, as ``lastgood.runtime.batch`` runs it.

    ``of_events``: EventBridge puts its messages there, and may not. ``awake``: from when on it may
    be fed: now, but for an outage.

    ``rate``: deliveries a second at most, with ``burst`` at once after a rest; 0 for no bound.
    """

    function: str
    timeout: float
    receives: int
    agenda: Agenda
    handle: Callable[[Any, Delivery], Any]
    awake: Callable[[], datetime]
    of_events: bool = False
    rate: float = 0
    burst: float = 0
    dead: list[Any] = field(default_factory=list)
    open: int = 0
    """Messages that are in the queue, seen or not."""
    _sent: int = 0
    _due: datetime | None = None

    def put(self, body: Any) -> None:
        """It arrives soon, or late, or twice, before or after others."""
        agenda = self.agenda
        if self.of_events and (agenda.chance(agenda.weather.dropped) or self._may_be_lost()):
            agenda.note("events dropped")
            return
        self._put(body)
        if agenda.chance(agenda.weather.doubled):
            agenda.note(f"{self.function}: sent twice")
            self._put(body)

    def _may_be_lost(self) -> bool:
        """In an outage, every other event is."""
        return self.awake() > self.agenda.time and self.agenda.chance(0.5)

    def _put(self, body: Any) -> None:
        agenda = self.agenda
        self._sent += 1
        self.open += 1
        delay = agenda.between(0, 4)
        if self.of_events and agenda.chance(self.agenda.weather.delayed):
            agenda.note("events delayed")
            delay = agenda.between(60, 4 * 3600)
        agenda.after(delay, self._deliver, Message(body, self._sent))

    def _deliver(self, message: Message) -> None:
        """When it is its turn, of a function that is given so many a second."""
        now = self.agenda.time
        if self.rate:
            # As EC2 counts its buckets: when the next were due without bursts.
            due = max(now, self._due or now)
            self._due = due + timedelta(seconds=1 / self.rate)
            turn = due - timedelta(seconds=self.burst / self.rate)
            if turn > now:
                self.agenda.at(turn, self._receive, message)
                return
        self._receive(message)

    def _receive(self, message: Message) -> None:
        agenda = self.agenda
        start = self.awake()
        if start > agenda.time:
            agenda.at(start, self._deliver, message)
            return
        if message.receives >= self.receives:
            self._bury("MovedBySqs", message)
            return
        message.receives += 1
        if agenda.chance(self.agenda.weather.doubled * 0.3):
            # At least once: another copy of it is received, now or later.
            agenda.note(f"{self.function}: received twice")
            twin = Message(message.body, message.id, message.receives)
            agenda.after(agenda.between(0, 60), self._deliver, twin)
            self.open += 1
        self._handle(message)

    def _handle(self, message: Message) -> None:
        agenda = self.agenda
        attempt = message.receives
        owner = f"{self.function}-{agenda.counts[self.function]}/{message.id}"
        delivery = Delivery(owner=owner, attempt=attempt, last=attempt >= self.receives)
        agenda.note(self.function, str(message.id))
        try:
            self.handle(message.body, delivery)
        except Killed:
            agenda.note(f"{self.function}: killed", owner)
            agenda.after(6 * self.timeout, self._deliver, message)
        except LastgoodError as error:
            if isinstance(error, Refused) or delivery.last:
                self._bury(type(error).__name__, message)
                return
            agenda.note(f"{self.function}: again, {type(error).__name__}")
            agenda.after(ceil(_wait(error, attempt).total_seconds()), self._deliver, message)
        else:
            self.open -= 1

    def _bury(self, error: str, message: Message) -> None:
        self.open -= 1
        self.dead.append(message.body)
        self.agenda.note(f"{self.function}: dead letters, {error}", str(message.id))


@dataclass(slots=True)
class TakeQueue:
    """``Queue`` on an inbox."""

    inbox: Inbox

    def send(self, requests: Iterable[TakeRequest]) -> int:
        sent = 0
        for request in requests:
            self.inbox.put(request)
            sent += 1
        return sent


@dataclass(slots=True)
class Announcements:
    """``Bus``: how often each point was announced, and as what."""

    agenda: Agenda
    of_point: dict[str, Counter[str]] = field(default_factory=dict)

    def announce(self, point: Point, *, repeat: bool = False) -> None:
        self.of_point.setdefault(point.id, Counter())[point.status] += 1
        self.agenda.note(f"announced {point.status}", point.id)


@dataclass(slots=True)
class Told:
    """``Notices``: how often people got each."""

    agenda: Agenda
    of_key: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    """Of these, by how many a sweep may not know that it said so: it was killed, for one."""
    in_trouble: bool = False

    def tell(self, notice: Notice) -> None:
        self.of_key[notice.key] += 1
        self.excused[notice.key] += self.in_trouble
        self.agenda.note("notices", notice.key)
