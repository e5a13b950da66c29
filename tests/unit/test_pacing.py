"""Our own pace: a burst, then an even flow, and slower for a while if EC2 throttles."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import runtime
from lastgood.aws import pacing
from lastgood.aws.pacing import BURST, OUR_SHARE, REFILL, SLOWEST, Pace

WORKERS = 10
INTERVAL = WORKERS / (REFILL * OUR_SHARE)


@dataclass
class FakeTime:
    """Stands in for ``time``: a sleep passes at once, and exactly."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def time(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(pacing, "time", fake)
    return fake


def calls(pace, time, count):
    """The times at which so many calls in a row may go out, from now on."""
    begin, times = time.now, []
    for _ in range(count):
        pace.wait()
        times.append(time.now - begin)
    return times


def test_a_rested_worker_makes_a_burst_and_then_a_call_each_interval(time):
    turns = calls(Pace(WORKERS), time, BURST + 3)

    assert turns == pytest.approx([0] * BURST + [INTERVAL, 2 * INTERVAL, 3 * INTERVAL])


def test_all_workers_together_stay_below_what_fills_the_bucket(time):
    turns = calls(Pace(WORKERS), time, 1000)

    rate = WORKERS * (len(turns) - BURST) / turns[-1]
    assert rate == pytest.approx(REFILL * OUR_SHARE)
    assert WORKERS * BURST <= 50


def test_a_worker_that_is_alone_has_the_whole_share(time):
    turns = calls(Pace(1), time, BURST + 1)

    assert turns[-1] == pytest.approx(1 / (REFILL * OUR_SHARE))


def test_after_a_rest_there_is_a_burst_again_and_no_more_than_one(time):
    pace = Pace(WORKERS)
    calls(pace, time, 20)
    time.now += 3600

    turns = calls(pace, time, BURST + 1)

    assert turns == pytest.approx([0] * BURST + [INTERVAL])


def test_a_throttled_call_makes_an_end_of_the_burst_and_doubles_the_interval(time):
    pace = Pace(WORKERS)
    calls(pace, time, 1)

    pace.slow_down()

    (turn,) = calls(pace, time, 1)
    assert 2 * INTERVAL <= turn <= 2.5 * INTERVAL


def test_it_comes_back_to_its_own_pace_call_by_call(time):
    pace = Pace(WORKERS)
    calls(pace, time, BURST)
    pace.slow_down()

    turns = [0, *calls(pace, time, 30)]

    gaps = [after - before for before, after in pairwise(turns)]
    assert gaps[1:] == sorted(gaps[1:], reverse=True)
    assert gaps[-1] == pytest.approx(INTERVAL)


def test_it_is_never_slower_than_a_message_may_take(time):
    pace = Pace(WORKERS)
    for _ in range(50):
        pace.slow_down()

    (turn,) = calls(pace, time, 1)

    assert turn == pytest.approx(SLOWEST)
    assert timedelta(seconds=turn) < runtime.RESERVE


WAIT, SLOW = "wait", "slow"
STEPS = st.lists(
    st.one_of(st.just(WAIT), st.just(SLOW), st.floats(0, 60, allow_nan=False)),
    min_size=1,
    max_size=120,
)


@given(STEPS, st.integers(1, 20))
def test_in_no_stretch_of_time_are_there_more_calls_than_a_burst_and_the_rate(steps, workers):
    time = FakeTime()
    interval = workers / (REFILL * OUR_SHARE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "time", time)
        pace, turns = Pace(workers), []
        for step in steps:
            if step == WAIT:
                pace.wait()
                turns.append(time.now)
            elif step == SLOW:
                pace.slow_down()
            else:
                time.now += step

    for first, begin in enumerate(turns):
        for last, end in enumerate(turns[first:], first):
            assert last - first + 1 <= BURST + (end - begin) / interval + 1e-6
