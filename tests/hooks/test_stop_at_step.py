"""StopAtStepHook: the step at which a training ends."""

from __future__ import annotations

import pytest

from hookrun import hooks, signals
from hookrun.testing import run_steps


def test_last_step_is_the_global_step_also_of_a_run_that_is_restored(tmp_path):
    run_steps(hooks.StopAtStepHook(last_step=3), 9, logdir=tmp_path).assert_sent(signals.step, times=3)
    resumed = run_steps(hooks.StopAtStepHook(last_step=5), 9, logdir=tmp_path)
    assert [event.global_step for event in resumed.events(signals.step)] == [4, 5]


def test_a_session_that_starts_at_its_last_step_makes_none(tmp_path):
    run_steps(hooks.StopAtStepHook(last_step=3), 9, logdir=tmp_path)
    again = run_steps(hooks.StopAtStepHook(last_step=3), 9, logdir=tmp_path)
    again.assert_sent(signals.step, times=0)
    again.assert_sent(signals.stop, error=None)


def test_num_steps_are_those_of_each_session(tmp_path):
    run_steps(hooks.StopAtStepHook(num_steps=3), 9, logdir=tmp_path)
    resumed = run_steps(hooks.StopAtStepHook(num_steps=2), 9, logdir=tmp_path)
    assert [event.global_step for event in resumed.events(signals.step)] == [4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "StopAtStepHook needs one of last_step and num_steps, not last_step=None and num_steps=None"),
        ({"last_step": 1, "num_steps": 2}, "not last_step=1 and num_steps=2"),
        ({"last_step": 0}, "last_step must be a positive number of steps, not 0"),
        ({"num_steps": 1.5}, "num_steps must be a positive number of steps, not 1.5"),
    ],
)
def test_other_arguments_are_refused_by_name_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        hooks.StopAtStepHook(**arguments)
