"""EarlyStoppingHook: when a training is no longer getting better."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.testing import run_steps


def steps_made(values, **arguments):
    hook = hooks.EarlyStoppingHook(object(), **arguments)
    sent = run_steps(hook, len(values), values=values)
    return len(sent.events(signals.step))


@pytest.mark.parametrize(
    ("values", "arguments", "steps"),
    [
        ([3.0, 2.0, 2.5, 2.0, 1.0], {"mode": "min", "patience": 2}, 4),
        ([3.0, 2.0, 2.5, 1.0, 1.0], {"mode": "min", "patience": 2}, 5),
        ([1.0, 2.0, 1.5, 2.0, 3.0], {"mode": "max", "patience": 2}, 4),
        ([3.0, 2.9, 2.8, 2.7, 2.0], {"mode": "min", "patience": 3, "min_delta": 0.5}, 4),
        ([3.0, math.nan, math.nan, 1.0], {"mode": "min", "patience": 2}, 3),
        ([math.nan, math.nan, math.nan], {"mode": "max", "patience": 2}, 2),
        ([3.0, 9.0, 3.0, 9.0, 3.0, 1.0], {"mode": "min", "patience": 2, "every_steps": 2}, 4),
    ],
)
def test_it_stops_when_nothing_was_better_for_as_many_steps(values, arguments, steps):
    assert steps_made(values, **arguments) == steps


def test_a_reported_metric_is_looked_at_by_its_name_and_missed_with_one_warning(caplog):
    reported = {3: 0.5, 4: 0.6, 6: 0.55}

    def report(supervisor, event):
        if event.global_step in reported:
            supervisor.report_metrics({"accuracy": reported[event.global_step]})

    hook = hooks.EarlyStoppingHook("accuracy", mode="max", patience=2)
    sent = run_steps(hook, 9, others=[hooks.CallbackHook(report)])
    sent.assert_sent(signals.step, times=6)
    assert (hook.best, hook.best_step) == (0.6, 4)
    assert caplog.text.count("waits for the metric 'accuracy', which was not reported for 2 steps") == 1


def test_a_value_that_was_not_reported_anew_is_no_evidence():
    reported = [{"loss": 0.5 ** (step // 20)} if step % 20 == 0 else {} for step in range(1, 101)]
    hook = hooks.EarlyStoppingHook("loss", mode="min", patience=15)
    run_steps(hook, 100, metrics=reported).assert_sent(signals.step, times=100)
    assert (hook.best, hook.best_step) == (0.5**5, 100)


def test_a_value_that_is_reported_again_is_evidence_though_it_is_the_same():
    hook = hooks.EarlyStoppingHook("loss", mode="min", patience=3)
    reported = [{"loss": 0.5}, {}, {"loss": 0.5}, {}, {}, {"loss": 0.5}, {}]
    run_steps(hook, 7, metrics=reported).assert_sent(signals.step, times=6)


def test_what_was_reported_before_the_restart_is_evidence_only_where_it_was_not_looked_at(tmp_path):
    def best(n, metrics):
        hook = hooks.EarlyStoppingHook("loss", mode="min", patience=3, every_steps=2)
        sent = run_steps(hook, n, metrics=metrics, logdir=tmp_path)
        return len(sent.events(signals.step)), hook.best, hook.best_step

    assert best(3, [{"loss": 2.0}, {}, {"loss": 1.0}]) == (3, 2.0, 2)  # the last is not looked at
    assert best(5, [{}] * 5) == (5, 1.0, 4)  # until here
    assert best(2, [{"loss": 3.0}, {}]) == (2, 1.0, 4)  # at step 10: it stops


@pytest.mark.parametrize(
    ("metric", "mode"), [("accuracy", "min"), ("loss", "max"), (SimpleNamespace(name="loss:0"), "min")]
)
def test_with_another_metric_or_mode_than_before_it_starts_anew_with_a_warning(
    metric, mode, tmp_path, caplog
):
    reported = {"loss": 0.5, "accuracy": 0.25}
    run_steps(hooks.EarlyStoppingHook("loss", mode="min", patience=9), 1, metrics=[reported], logdir=tmp_path)
    hook = hooks.EarlyStoppingHook(metric, mode=mode, patience=9)
    values = None if isinstance(metric, str) else [3.0]
    run_steps(hook, 1, values=values, metrics=[{} if values is None else reported], logdir=tmp_path)
    name = metric if values is None else "loss:0"
    told = f"EarlyStoppingHook starts anew: .* of loss with mode 'min', not of {name} with mode '{mode}'"
    assert len(re.findall(told, caplog.text)) == 1
    nothing = math.inf if mode == "min" else -math.inf
    assert (hook.best, hook.best_step) == ((nothing, 1) if values is None else (3.0, 2))


def test_a_state_that_does_not_say_what_it_is_of_is_taken_as_before():
    hook = hooks.EarlyStoppingHook("loss", mode="min", patience=1)
    hook.load_state_dict({"best": 0.5, "best_step": 7})
    assert (hook.best, hook.best_step) == (0.5, 7)


def test_the_best_value_and_the_patience_used_survive_a_restart(model, tmp_path):
    """In a session of its own for each run, restored from what the one before has saved."""
    value = tf.compat.v1.placeholder(tf.float32, [], name="value")

    def run(values):
        hook = hooks.EarlyStoppingHook(value, mode="min", patience=3)
        sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, hooks=[hook])
        with sv.managed_session() as sess:
            while values and not sv.should_stop():
                sess.run(model.train_op, {value: values.pop(0)})
            return hook.best, hook.best_step, sess.run(model.global_step)

    assert run([1.0, 5.0, 5.0]) == (1.0, 1, 3)
    assert run([2.0, 0.5, 0.5, 0.5]) == (1.0, 1, 4)


def test_a_session_that_is_not_restored_begins_anew():
    hook = hooks.EarlyStoppingHook(object(), mode="min", patience=2)
    run_steps(hook, 2, values=[1.0, 2.0])
    run_steps(hook, 2, values=[3.0, 4.0])
    assert (hook.best, hook.best_step) == (3.0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best", "patience": 1}, "mode must be 'min' or 'max', not 'best'"),
        ({"mode": "min", "patience": 0}, "patience must be a positive number of steps, not 0"),
        ({"mode": "min", "patience": 1, "min_delta": -1}, "min_delta must be a number, 0 or more, not -1"),
        ({"mode": "min", "patience": 1, "every_steps": 0}, "every_steps must be"),
    ],
)
def test_other_arguments_are_refused_by_name_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        hooks.EarlyStoppingHook("accuracy", **arguments)


def test_a_metric_that_is_no_one_number_is_refused_by_hook_and_shape(graph):
    with pytest.raises(ValueError, match=r"EarlyStoppingHook: metric must be of one number.* \(3,\): <tf"):
        hooks.EarlyStoppingHook(tf.zeros([3]), mode="min", patience=1)
    unknown = tf.compat.v1.placeholder_with_default([1.0, 2.0], None, name="unknown")
    hook = hooks.EarlyStoppingHook(unknown, mode="min", patience=1)
    with pytest.raises(ValueError, match=r"EarlyStoppingHook: metric .* shape \(2,\): unknown:0"):
        run_steps(hook, 1, values=[np.array([1.0, 2.0])])


@pytest.mark.parametrize("way", ["restore", "saver"])
def test_patience_counts_from_the_step_that_the_training_goes_back_to(model, tmp_path, way):
    """The best value is forgotten where it is of a step that was given up."""
    values = iter([5.0, 4.0, 3.0, 2.0, 1.0, *[4.0] * 20])
    stopping = hooks.EarlyStoppingHook("value", mode="min", patience=4)
    checkpoints = hooks.CheckpointHook(at_steps=[2], background=False)
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[checkpoints, stopping], save_model_secs=0, save_summaries_secs=0
    )
    sv.on(signals.step, lambda sv, _: sv.report_metrics({"value": next(values)}), priority=-1)
    with sv.managed_session() as sess:
        for _ in range(5):
            sess.run(model.train_op)
        assert stopping.best_step == 5
        (sv.restore if way == "restore" else sv.saver.restore)(sess, f"{sv.save_path}-2")
        while not sv.should_stop():
            sess.run(model.train_op)
    # 4.0 was the best of step 2, which `restore` brings back; without it, step 3 is the first.
    assert sess.last_step == (6 if way == "restore" else 7)
