"""What goes wrong in a test cloud, by name and count: calls, the functions that make them, events.

Nothing in here needs moto, so that it can be planned from another process.
"""

import fnmatch
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from tests.cloud.clock import Clock

Json = dict[str, Any]


@dataclass(frozen=True)
class AwsError:
    """The call is answered with this, in the format of its service. It has no effect; ``done``:
    what it asks for is so already, as by somebody else."""

    code: str
    message: str
    status: int
    done: bool = False


class Ending(StrEnum):
    """How a call ends that has its effect, and whose reply never arrives."""

    LOST_REPLY = "lost reply"
    KILL = "kill"


LOST_REPLY = Ending.LOST_REPLY
KILL = Ending.KILL
"""The process of the function that made the call dies before it learns of the effect."""

Effect = AwsError | Ending | Exception
"""An exception is raised in the caller's place: only where both are in one process."""


def aws_error(
    code: str, message: str = "injected by the test", status: int = 400, *, done: bool = False
) -> AwsError:
    return AwsError(code, message, status, done)


@dataclass
class CallFault:
    """``after`` calls that match pass, then ``times`` of them go wrong.

    ``pattern``: a glob of ``service.Operation``. ``by``: only the calls of this function count; or
    of this role, where no function acts, such as a poller. ``whole``: all attempts of a call that
    botocore retries count as one, and all go wrong; otherwise each counts.
    """

    pattern: str
    effect: Effect
    times: int = 1
    after: int = 0
    by: str | None = None
    whole: bool = False
    seen: int = 0

    def strikes(self, name: str, by: str | None, attempt: int) -> bool:
        if not fnmatch.fnmatchcase(name, self.pattern) or self.by not in (None, by):
            return False
        if attempt == 1 or not self.whole:
            self.seen += 1
        return self.after < self.seen <= self.after + self.times

    def to_json(self) -> Json:
        """For the process of a cloud, where functions have processes of their own."""
        if self.effect is KILL and self.by is None:
            raise ValueError("whose process is to be killed?")
        return asdict(self)

    @classmethod
    def from_json(cls, given: Json) -> "CallFault":
        effect = given["effect"]
        known = AwsError(**effect) if isinstance(effect, dict) else Ending(effect)
        return cls(**{**given, "effect": known})


@dataclass
class CallFaults:
    """Which calls go wrong."""

    _faults: list[CallFault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: CallFault) -> None:
        self._faults.append(fault)

    def spoil(self, pattern: str, effect: Effect, **how: Any) -> None:
        """As CallFault has it."""
        self.add(CallFault(pattern, effect, **how))

    def clear(self) -> None:
        self._faults.clear()

    def effect_on(self, name: str, by: str | None, attempt: int) -> Effect | None:
        """What happens to this attempt of ``service.Operation``, made by a function or a role."""
        with self._lock:
            # every fault counts every call it matches, whichever of them strikes
            struck = [fault.effect for fault in self._faults if fault.strikes(name, by, attempt)]
        return struck[0] if struck else None


class Mishap(StrEnum):
    """What becomes of an event. EventBridge promises delivery at least once, in no order; the
    events of EBS are sent on a best-effort basis (EBS User Guide, "EventBridge events")."""

    DROPPED = "dropped"
    DOUBLED = "doubled"
    DELAYED = "delayed"
    REORDERED = "reordered"


DROPPED, DOUBLED, DELAYED, REORDERED = Mishap


@dataclass
class EventFault:
    """``after`` events that match pass, then ``times`` of them have the mishap.

    ``detail_type``: a glob. ``seconds``: of a delay. A reordered event is held until another one
    has come, or until the faults are cleared.
    """

    mishap: Mishap
    detail_type: str = "*"
    times: int = 1
    after: int = 0
    seconds: float = 0
    seen: int = 0

    def strikes(self, event: Json) -> bool:
        if not fnmatch.fnmatchcase(event["detail-type"], self.detail_type):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.times

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, given: Json) -> "EventFault":
        return cls(**{**given, "mishap": Mishap(given["mishap"])})


class EventFaults:
    """Stands between EBS and EventBridge: ``emit`` takes what ``publish`` would."""

    def __init__(self, clock: Clock, publish: Callable[[str, str, Json], None]) -> None:
        self._clock = clock
        self._publish = publish
        self._faults: list[EventFault] = []
        self._held: list[Callable[[], None]] = []

    def add(self, fault: EventFault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        """Plan nothing more, and let go what is held."""
        self._faults.clear()
        self._let_go()

    def emit(self, account: str, region: str, event: Json) -> None:
        arrive = partial(self._publish, account, region, event)
        # every fault counts every event it matches, whichever of them strikes
        struck = [fault for fault in self._faults if fault.strikes(event)]
        match struck[0].mishap if struck else None:
            case Mishap.DROPPED:
                return
            case Mishap.REORDERED:
                self._held.append(arrive)
                return
            case Mishap.DELAYED:
                due = self._clock.now() + timedelta(seconds=struck[0].seconds)
                self._clock.at(due, arrive)
                return
            case Mishap.DOUBLED:
                arrive()
        arrive()
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for arrive in reversed(held):
            arrive()
