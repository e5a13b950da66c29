"""Many workers in virtual time: threads that hand a baton on, so that only one ever runs.

A worker runs until it sleeps. Then the clock jumps to the next instant at which a worker is due,
and that one has the baton. What happens does not depend on the machine: same start, same order.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from tests.cloud.clock import Clock

Work = Callable[[], None]


class Relay:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, int, _Runner]] = []
        self._order = itertools.count()
        self._over = threading.Semaphore(0)
        self._failure: BaseException | None = None

    def start(self, work: Work, after: float = 0) -> None:
        """A worker that begins ``after`` so many seconds."""
        runner = _Runner(self, work)
        self._wake(runner, after)
        runner.start()

    def run(self) -> None:
        """Until every worker has ended. Raises what a worker raised, which ends all."""
        self._hand_on()
        self._over.acquire()
        if self._failure is not None:
            raise self._failure

    def sleep(self, seconds: float) -> None:
        """Let a worker's time pass. Nobody else's passes: of who sets the scene, or looks at it."""
        runner = threading.current_thread()
        if isinstance(runner, _Runner):
            self._wake(runner, seconds)
            self._hand_on(runner)

    def ended(self, failure: BaseException | None) -> None:
        self._failure = failure
        if failure is None and self._due:
            self._hand_on()
        else:
            self._over.release()

    def _wake(self, runner: "_Runner", after: float) -> None:
        due = self._clock.now() + timedelta(seconds=after)
        heapq.heappush(self._due, (due, next(self._order), runner))

    def _hand_on(self, current: "_Runner | None" = None) -> None:
        due, _, following = heapq.heappop(self._due)
        self._clock.advance_to(due)
        if following is not current:
            following.turn.release()
            if current is not None:
                current.turn.acquire()


class _Runner(threading.Thread):
    def __init__(self, relay: Relay, work: Work) -> None:
        super().__init__(daemon=True)
        self.turn = threading.Semaphore(0)
        self._relay = relay
        self._work = work

    def run(self) -> None:
        failure: BaseException | None = None
        self.turn.acquire()
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of ``run``
            failure = error
        self._relay.ended(failure)
