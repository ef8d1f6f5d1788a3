"""TimerThread: when it ticks, what it does with errors, and that it ends."""

from __future__ import annotations

import logging
import threading

import pytest
import tensorflow as tf

from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.timers import TimerThread, next_tick


@pytest.fixture
def coord() -> Coordinator:
    return Coordinator()


def test_the_first_tick_comes_at_once_and_the_thread_ends_with_the_coordinator(coord, graph, wait_until):
    ticked = threading.Event()
    timer = TimerThread("hookrun-test-timer", coord, 3600, ticked.set, graph.as_default)
    timer.start()
    wait_until(ticked)
    coord.request_stop()
    coord.join()
    assert not timer.is_alive()


def test_it_is_registered_with_the_coordinator_under_its_name(coord, graph):
    timer = TimerThread("hookrun-test-timer", coord, 1, lambda: None, graph.as_default)
    assert timer in coord.threads
    assert timer.name == "hookrun-test-timer"
    assert timer.daemon


class FakeTime:
    """A coordinator's waiting, on a clock that moves only when somebody waits on it or works."""

    def __init__(self, coord: Coordinator, until: float) -> None:
        self.now, self._coord, self._until = 0.0, coord, until
        coord.wait_for_stop = self.wait

    def __call__(self) -> float:
        return self.now

    def wait(self, secs: float) -> bool:
        self.now += max(secs, 0.0)
        if self.now > self._until:
            self._coord.request_stop()
        return self._coord.should_stop()


def test_it_ticks_at_its_boundaries(coord, graph):
    clock, ticks = FakeTime(coord, until=30), []
    TimerThread("t", coord, 10, lambda: ticks.append(clock.now), graph.as_default, clock=clock).run()
    assert ticks == [0, 10, 20, 30]


def test_a_slow_tick_is_not_followed_by_a_burst(coord, graph):
    clock, ticks = FakeTime(coord, until=60), []

    def slow() -> None:
        ticks.append(clock.now)
        clock.now += 25 if len(ticks) == 1 else 1

    TimerThread("t", coord, 10, slow, graph.as_default, clock=clock).run()
    assert ticks == [0, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("now", "expected"), [(0, 10), (3, 10), (10, 10), (10.1, 20), (95, 100), (1e6 + 5, 1e6 + 10)]
)
def test_the_next_tick_is_the_first_boundary_to_come(now, expected):
    assert next_tick(0, 10, now) == expected


def test_without_an_interval_it_calls_back_to_back(coord, graph):
    calls = []

    def call() -> None:
        calls.append(None)
        if len(calls) == 1000:
            coord.request_stop()

    TimerThread("t", coord, None, call, graph.as_default).run()
    assert len(calls) == 1000


def test_it_runs_inside_its_graph_under_tensorflow_2s_defaults(coord, graph, wait_until):
    seen, done = [], threading.Event()

    def look() -> None:
        seen.append((tf.executing_eagerly(), tf.compat.v1.get_default_graph() is graph))
        done.set()

    timer = TimerThread("t", coord, 3600, look, graph.as_default)
    timer.start()
    wait_until(done)
    coord.request_stop()
    coord.join()
    assert seen == [(False, True)]


def test_a_failure_is_logged_with_its_traceback_and_reaches_the_coordinator(coord, graph, caplog):
    def fail() -> None:
        raise ValueError("in the background")

    timer = TimerThread("hookrun-test-timer", coord, 3600, fail, graph.as_default)
    with caplog.at_level(logging.ERROR, "hookrun"):
        timer.start()
        with pytest.raises(ValueError, match="in the background"):
            coord.join()
    (record,) = caplog.records
    assert "hookrun-test-timer" in record.getMessage()
    assert record.exc_info[0] is ValueError


def test_the_end_of_the_input_is_a_clean_stop_and_no_error_in_the_log(coord, graph, caplog):
    def end() -> None:
        raise tf.errors.OutOfRangeError(None, None, "no more input")

    TimerThread("t", coord, 3600, end, graph.as_default).run()
    assert coord.should_stop()
    assert coord.error is None
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
