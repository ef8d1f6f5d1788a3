"""LoggingHook: the lines that it logs."""

from __future__ import annotations

import logging
import re

import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks
from hookrun.testing import FakeClock, run_steps


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, "hookrun.hooks.logging")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "hookrun.hooks.logging"]


def test_a_line_has_the_step_the_values_and_the_steps_per_second_since_the_last(logged):
    clock = FakeClock()
    hook = hooks.LoggingHook(
        {"loss": "loss:0", "text": "text:0", "count": "n:0"}, every_steps=4, at_steps=[1], clock=clock
    )
    values = [{"loss": 1 / 3 / i, "text": b"hi", "count": 3} for i in (1, 2, 3, 4)]
    run_steps(hook, 4, values=values, clock=clock, secs_per_step=0.5)
    assert logged() == [
        "step 1: loss 0.333333, text hi, count 3 (2 steps/s)",
        "step 4: loss 0.0833333, text hi, count 3 (2 steps/s)",
    ]


def test_the_speed_is_measured_from_the_start_of_each_session(logged):
    clock = FakeClock()
    hook = hooks.LoggingHook({}, every_steps=2, clock=clock)
    for _ in range(2):
        clock.advance(1000)
        run_steps(hook, 2, clock=clock, secs_per_step=0.5)
    assert logged() == ["step 2: (2 steps/s)"] * 2


def test_it_goes_by_its_own_clock(logged):
    clock = FakeClock()
    hook = hooks.LoggingHook({"loss": "loss:0"}, every_secs=10, clock=clock)
    run_steps(hook, 9, values=[{"loss": 0.5}] * 9, clock=clock, secs_per_step=4)
    assert [line.partition(":")[0] for line in logged()] == ["step 3", "step 6", "step 9"]


def test_a_step_that_comes_after_one_that_followed_it_has_no_rate(logged):
    """As where several threads train."""
    clock = FakeClock()
    hook = hooks.LoggingHook({}, every_steps=1, clock=clock)
    for step in (10, 9, 11):
        clock.advance(2)
        hook.on_step(None, events.Step(step, None, None))
    assert logged() == ["step 10: (5 steps/s)", "step 9: (the step went back)", "step 11: (1 steps/s)"]


def test_values_are_those_of_the_step_and_arrays_are_on_one_line(model, logged):
    values = {"weights": model.weights, "two": model.weights[:, None]}
    sv = hookrun.Supervisor(hooks=[hooks.LoggingHook(values, every_steps=2)])
    with sv.managed_session() as sess:
        for _ in range(2):
            sess.run(model.train_op)
    (line,) = logged()
    assert line.startswith("step 2: weights [") and "two [[" in line and "\n" not in line


def test_values_may_be_all_that_a_session_returns(model, logged):
    values = {
        "nested": {"step": model.global_step, "two": [tf.constant(1 / 3), tf.constant([1.0, 2.0])]},
        "op": model.train_op,
        "text": tf.constant("text"),
        "complex": tf.constant(1 + 2j),
        "half": tf.constant(0.5, tf.bfloat16),
    }
    sv = hookrun.Supervisor(hooks=[hooks.LoggingHook(values, at_steps=[1])])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    (line,) = logged()
    assert re.search(r"nested \{step \d, two \[0.333333, \[1, 2\]\]\}, op None, text text, ", line)
    assert "complex 1+2j, half 0.5 " in line


def test_without_values_it_logs_the_speed_alone(logged):
    run_steps(hooks.LoggingHook({}, every_steps=1, clock=FakeClock()), 1)
    assert logged() == ["step 1: (inf steps/s)"]


def test_other_arguments_are_refused_by_name_and_value():
    with pytest.raises(ValueError, match="LoggingHook needs one of every_steps, every_secs and at_steps"):
        hooks.LoggingHook({"loss": "loss:0"})
    with pytest.raises(TypeError, match=r"values must be a mapping of names to fetches, not \['loss:0'\]"):
        hooks.LoggingHook(["loss:0"], every_steps=1)
