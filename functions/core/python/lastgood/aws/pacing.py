"""Our own pace below EC2's request limits, so that a run throttles neither itself nor others."""

import time

REFILL = 5.0
"""Calls a second by which the buckets of CreateSnapshot, CreateSnapshots and DeleteSnapshot fill,
each, for an account and Region; all hold 100 (EC2 Developer Guide, "Request throttling")."""

OUR_SHARE = 0.95
"""Of the refill, by all workers together: the bucket stays as full as it was found."""

BURST = 5
"""Calls that a worker may make at once after a rest: 50 for ten workers, half of a full bucket."""

RECOVERY = 0.9
SLOWEST = 20.0
"""Seconds: a worker that is to wait longer may be ended while it holds a point (``RESERVE``)."""


class Pace:
    """One worker's turn at one operation: ``BURST`` calls, then one each ``interval`` seconds.

    The worker's state is its own: nothing is shared, and nothing is lost when it ends. ``workers``
    is how many there are at most. When EC2 throttles a call nevertheless, because somebody else
    draws on the bucket, the interval doubles, up to ``SLOWEST``, and shrinks by a tenth with each
    call that is not throttled.
    """

    def __init__(self, workers: int) -> None:
        # ``_due``: when the next call were due without bursts (GCRA, ITU-T I.371).
        self._shortest = workers / (REFILL * OUR_SHARE)
        self._interval = self._shortest
        self._due = float("-inf")

    def wait(self) -> None:
        """Return when it is this call's turn."""
        now = time.monotonic()
        turn = max(now, self._due - (BURST - 1) * self._interval)
        if turn > now:
            time.sleep(turn - now)
        self._due = max(turn, self._due) + self._interval
        self._interval = max(self._shortest, self._interval * RECOVERY)

    def slow_down(self) -> None:
        self._interval = min(SLOWEST, self._interval * 2 / RECOVERY)
        self._due = time.monotonic() + BURST * self._interval
