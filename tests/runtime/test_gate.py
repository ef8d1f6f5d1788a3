"""StepGate: steps together, snapshots alone, and no way for the two to wait for each other for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hookrun.runtime.gate import StepGate

BOUND_SECS = 30


@pytest.fixture
def gate():
    return StepGate()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
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
