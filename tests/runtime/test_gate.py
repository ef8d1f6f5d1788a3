"""StepGate: steps together, snapshots alone, and no way for the two to wait for each other for ever."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hookrun.runtime.gate import StepGate

BOUND_SECS = 30


@pytest.fixture
def gate():
    return StepGate()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def in_a_step(gate, entered, leave):
    with gate:
        entered.set()
        assert leave.wait(BOUND_SECS)


def alone(gate, timeout_secs=BOUND_SECS):
    with gate.alone(timeout_secs) as in_time:
        return in_time


def test_steps_of_several_threads_run_together(gate, pool):
    both = threading.Barrier(2, timeout=BOUND_SECS)

    def step():
        with gate:
            both.wait()

    for done in [pool.submit(step), pool.submit(step)]:
        done.result(BOUND_SECS)


def test_a_snapshot_waits_for_the_running_step(gate, pool):
    entered, leave = threading.Event(), threading.Event()
    step = pool.submit(in_a_step, gate, entered, leave)
    assert entered.wait(BOUND_SECS)
    snapshot = pool.submit(alone, gate)
    assert not snapshot.done()
    leave.set()
    assert snapshot.result(BOUND_SECS) is True
    step.result(BOUND_SECS)


def test_a_new_step_waits_for_the_snapshot(gate, pool):
    order = []
    with gate.alone():

        def step():
            with gate:
                order.append("step")

        running = pool.submit(step)
        threading.Event().wait(0.05)  # time for the step to come in where it must not
        order.append("snapshot")
    running.result(BOUND_SECS)
    assert order == ["snapshot", "step"]


def test_a_step_that_blocks_is_not_waited_for_for_ever(gate, pool):
    entered, leave = threading.Event(), threading.Event()
    step = pool.submit(in_a_step, gate, entered, leave)
    assert entered.wait(BOUND_SECS)
    assert alone(gate, 0.01) is False
    leave.set()
    step.result(BOUND_SECS)
    assert alone(gate, 0) is True


def test_a_thread_may_take_a_snapshot_and_a_further_step_within_its_step(gate):
    with gate:
        with gate:
            with gate.alone(BOUND_SECS) as in_time:
                assert in_time
                with gate, gate.alone(BOUND_SECS):
                    pass
    assert alone(gate, 0) is True


def test_threads_that_want_a_snapshot_in_the_middle_of_their_steps_take_turns(gate, pool):
    both_in_a_step = threading.Barrier(2, timeout=BOUND_SECS)
    at_once = []

    def step():
        with gate:
            both_in_a_step.wait()
            with gate.alone(BOUND_SECS) as in_time:
                at_once.append(threading.get_ident())
                assert at_once[-1] == threading.get_ident()
                return in_time

    assert [done.result(BOUND_SECS) for done in [pool.submit(step), pool.submit(step)]] == [True, True]


def test_an_error_in_a_step_or_a_snapshot_opens_the_gate(gate):
    with pytest.raises(ZeroDivisionError), gate:
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), gate.alone():
        raise ZeroDivisionError
    with gate:
        pass
    assert alone(gate, 0) is True


def test_a_hold_nested_in_a_snapshot_is_left_with_the_snapshot(gate, pool):
    with gate, gate.alone():
        pass
    assert pool.submit(alone, gate, 0).result(BOUND_SECS) is True


def test_a_step_that_is_suspended_holds_up_no_snapshot_and_goes_on_after_it(gate, pool):
    snapshot_runs, leave = threading.Event(), threading.Event()

    def snapshot():
        with gate.alone(BOUND_SECS) as in_time:
            snapshot_runs.set()
            assert leave.wait(BOUND_SECS)
            return in_time

    def step():
        with gate:
            with gate.suspended():
                taken = pool.submit(snapshot)
                assert snapshot_runs.wait(BOUND_SECS)
                assert not gate.held
            return gate.held, taken.result(BOUND_SECS)

    running = pool.submit(step)
    assert snapshot_runs.wait(BOUND_SECS)
    assert not running.done()
    leave.set()
    assert running.result(BOUND_SECS) == (True, True)
    assert not gate.held


def test_one_that_has_it_alone_keeps_it_when_a_step_of_its_own_is_suspended(gate, pool):
    def step():
        with gate.alone(), gate, gate.suspended() as free:
            return free, pool.submit(alone, gate, 0.01).running()

    free, other_waits = pool.submit(step).result(BOUND_SECS)
    assert not free and other_waits


def test_a_notification_that_was_broken_off_is_made_up_for(gate, pool, monkeypatch):
    """As by an interrupt between giving a hold back and telling of it."""
    monkeypatch.setattr(gate, "notify", lambda: None)
    entered, leave = threading.Event(), threading.Event()
    step = pool.submit(in_a_step, gate, entered, leave)
    assert entered.wait(BOUND_SECS)
    snapshot = pool.submit(alone, gate, None)
    leave.set()
    step.result(BOUND_SECS)
    assert snapshot.result(BOUND_SECS) is True


@contextlib.contextmanager
def repeated(pool, *works):
    """Each of `works` again and again on a thread of its own."""
    over = threading.Event()

    def repeat(work):
        while not over.is_set():
            work()

    running = [pool.submit(repeat, work) for work in works]
    try:
        yield
    finally:
        over.set()
    for each in running:
        each.result(BOUND_SECS)


class TestStepsThatWaitForEachOther:
    """Snapshots come all the same, and keep no step out for long."""

    def step(self, gate, work, secs):
        start = time.monotonic()
        with gate:
            work()
        secs.append(time.monotonic() - start)

    def take_snapshots(self, gate, secs):
        while len(secs) < 100:
            assert alone(gate) is True

    @pytest.mark.parametrize(("capacity", "putters"), [(1, 1), (1, 3), (64, 1)])
    def test_one_that_takes_what_others_put(self, gate, pool, capacity, putters):
        items, secs = queue.Queue(capacity), []

        def put():
            with contextlib.suppress(queue.Full):  # at the end, when nobody takes
                self.step(gate, lambda: items.put(None, timeout=3), secs)

        def take():
            with contextlib.suppress(queue.Empty):
                self.step(gate, lambda: items.get(timeout=3), secs)

        with repeated(pool, take, *[put] * putters):
            self.take_snapshots(gate, secs)
        assert max(secs) < 3

    def test_those_that_meet_at_a_barrier(self, gate, pool):
        barrier, secs = threading.Barrier(4), []

        def meet():
            with contextlib.suppress(threading.BrokenBarrierError):
                self.step(gate, barrier.wait, secs)

        with repeated(pool, *[meet] * 4):
            self.take_snapshots(gate, secs)
            barrier.abort()
        assert max(secs) < 3


def test_a_snapshot_comes_between_steps_of_threads_that_are_never_out_at_once(gate, pool):
    """By themselves: each of three steps ends while the two others run."""

    def step():
        with gate:
            threading.Event().wait(0.05)

    with repeated(pool, step, step, step):
        for _ in range(5):
            with gate.alone(BOUND_SECS) as in_time:
                assert in_time and not gate.holds


def test_the_bound_of_steps_that_are_long_is_lifted(gate, pool, monkeypatch):
    monkeypatch.setattr("hookrun.runtime.gate._LONG_STEPS_AFTER_SECS", 0.5)
    gate._longest_secs = 0.02
    turn = threading.Semaphore(1)

    def step():
        with gate:
            threading.Event().wait(0.2)

    def shifted():
        if turn.acquire(blocking=False):
            threading.Event().wait(0.1)
        step()

    with repeated(pool, step, shifted):
        assert alone(gate) is True


class TestLongWait:
    @pytest.fixture(autouse=True)
    def warned(self, monkeypatch, caplog):
        monkeypatch.setattr("hookrun.runtime.waits._WARN_SECS", 0.05)

    def logged(self, caplog):
        return [record.getMessage() for record in caplog.records]

    def test_for_a_step_is_warned_of_once_with_its_place(self, gate, pool, caplog):
        with gate:
            for _ in range(2):
                assert pool.submit(alone, gate, 0.5).result(BOUND_SECS) is False
        (message,) = self.logged(caplog)
        assert "has waited 0.05 s to be between two steps, for thread MainThread (at " in message
        assert "test_gate.py" in message

    def test_of_a_step_for_a_snapshot_is_warned_of(self, gate, pool, caplog, wait_until):
        warned = threading.Event()
        caplog.handler.addFilter(lambda record: (warned.set(), True)[1])
        with gate.alone():
            running = pool.submit(in_a_step, gate, threading.Event(), warned)
            assert warned.wait(BOUND_SECS)
        running.result(BOUND_SECS)
        assert "to run a step, for thread MainThread (at " in self.logged(caplog)[0]
