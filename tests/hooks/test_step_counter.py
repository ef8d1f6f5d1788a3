"""StepCounterHook: steps per second, on a clock that the test moves."""

from __future__ import annotations

import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks, signals
from hookrun.hooks.step_counter import HOOK_TIMES
from hookrun.testing import FakeClock


def rates(read):
    return [
        (e.step, value.simple_value)
        for e in read
        for value in e.summary.value
        if value.tag == "global_step/sec"
    ]


def test_it_writes_the_steps_per_second_since_the_last_time(model, tmp_path, read_events):
    clock = FakeClock()
    counter = hooks.StepCounterHook(clock=clock)
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=5, hooks=[counter])
    with sv.managed_session() as sess:
        for i in range(10):
            clock.advance(0.5 if i < 5 else 0.1)
            sess.run(model.train_op)
    assert rates(read_events(tmp_path)) == [(5, 2.0), (10, 10.0)]


def test_it_writes_no_rate_where_the_step_went_back(model, tmp_path, read_events):
    clock = FakeClock()
    counter = hooks.StepCounterHook(clock=clock)
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, hooks=[counter, hooks.SummaryHook()])
    with sv.managed_session() as sess:
        for step in (10, 4, 6):
            clock.advance(2.0)
            model.global_step.load(step, sess)
            sv.send(signals.summary_due, events.SummaryDue(sess))
    assert rates(read_events(tmp_path)) == [(10, 5.0), (6, 1.0)]


def test_no_time_at_all_is_infinitely_fast(model, tmp_path, read_events):
    counter = hooks.StepCounterHook(clock=FakeClock())
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1, hooks=[counter])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert rates(read_events(tmp_path)) == [(1, float("inf"))]


def test_without_a_global_step_it_is_an_error_that_says_so(graph, tmp_path):
    tf.compat.v1.get_variable("weights", [])
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.StepCounterHook()])
    with pytest.raises(ValueError, match="StepCounterHook needs a global step"), sv.managed_session():
        pytest.fail("the block must not be entered")


def hook_times(read):
    return [
        tf.make_ndarray(value.tensor).item().decode()
        for e in read
        for value in e.summary.value
        if value.tag == HOOK_TIMES
    ]


def test_at_the_end_it_writes_the_time_of_each_hook(model, tmp_path, read_events):
    sv = hookrun.Supervisor(logdir=tmp_path)
    sv.on(signals.step, lambda *_: None, name="my own")
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    (table,) = hook_times(read_events(tmp_path))
    assert table.startswith("| called | calls |") and "| my own | 3 |" in table


def test_it_writes_no_times_where_nothing_was_called_at_steps(model, tmp_path, read_events):
    with hookrun.Supervisor(logdir=tmp_path).managed_session() as sess:
        sess.run(model.train_op)
    assert hook_times(read_events(tmp_path)) == []


def test_the_rate_is_that_of_the_steps_since_the_training_went_back(model, tmp_path, read_events):
    clock = FakeClock()
    given = [hooks.StepCounterHook(clock=clock), hooks.CheckpointHook(every_steps=5, background=False)]
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=5, hooks=given)
    with sv.managed_session() as sess:
        for _ in range(12):
            clock.advance(0.5)
            sess.run(model.train_op)
        sv.restore(sess, f"{sv.save_path}-5")
        for _ in range(5):
            clock.advance(0.1)
            sess.run(model.train_op)
    assert [(step, round(rate)) for step, rate in rates(read_events(tmp_path))] == [(5, 2), (10, 2), (10, 10)]
