"""LearningRateHook: the rate of each step, and where it is recorded."""

from __future__ import annotations

import logging
import threading

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import events, hooks, signals

OFF = {"save_summaries_secs": 0, "save_model_secs": 0}


@pytest.fixture
def model(graph):
    """A weight that each step moves by the learning rate."""
    return build()


def build():
    class Model:
        rate = tf.compat.v1.get_variable("rate", initializer=9.0, trainable=False)
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        step = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.train.GradientDescentOptimizer(rate).minimize(-weight, global_step=step)

    return Model


def train(sv, model, steps):
    """The weight after each step."""
    weights = []
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)
            weights.append(float(sess.run(model.weight)))
    return weights


def test_each_step_has_the_rate_of_the_number_of_steps_before_it(model):
    hook = hooks.LearningRateHook(model.rate, lambda step: 1.0 if step < 2 else 10.0 * step)
    assert train(hookrun.Supervisor(hooks=[hook]), model, 4) == [1.0, 2.0, 22.0, 52.0]


def test_a_resumed_run_goes_on_with_the_rate_of_its_step(tmp_path):
    weights = []
    for _ in range(2):
        with tf.Graph().as_default():
            model = build()
            hook = hooks.LearningRateHook(model.rate, lambda step: 10.0**step)
            weights += train(hookrun.Supervisor(logdir=tmp_path, hooks=[hook]), model, 2)
    assert weights == [1.0, 11.0, 111.0, 1111.0]


def test_the_rate_is_assigned_only_when_it_changes(model, monkeypatch):
    assigned = []
    hook = hooks.LearningRateHook(model.rate, lambda step: 1.0 + step // 3)
    sv = hookrun.Supervisor(hooks=[hook])
    run = sv.run_without_hooks
    monkeypatch.setattr(sv, "run_without_hooks", lambda *a: assigned.extend(a[2:]) or run(*a))
    train(sv, model, 6)
    assert [list(feed.values()) for feed in assigned if feed] == [[1.0], [2.0], [3.0]]


def test_the_rate_of_the_steps_that_are_due_is_a_scalar(model, tmp_path):
    hook = hooks.LearningRateHook(model.rate, lambda step: 1.0 + step, every_steps=2)
    train(hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **OFF), model, 5)
    points = EventAccumulator(str(tmp_path)).Reload().Scalars("learning_rate")
    assert [(point.step, point.value) for point in points] == [(2, 2.0), (4, 4.0)]


def test_a_rate_that_the_graph_computes_is_recorded_only(model, tmp_path, caplog):
    decayed = tf.compat.v1.train.exponential_decay(8.0, tf.constant(1), 1, 0.5)
    hook = hooks.LearningRateHook(decayed, at_steps=[1], tag="decayed")
    with caplog.at_level(logging.DEBUG, "hookrun"):
        assert train(hookrun.Supervisor(hooks=[hook]), model, 2) == [9.0, 18.0]
    assert "decayed at step 1: 4" in caplog.text


def test_without_a_schedule_it_is_recorded_when_summaries_are_due(model, tmp_path, wait_until):
    due = threading.Event()
    hook = hooks.LearningRateHook(model.rate, lambda step: 3.0)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], save_model_secs=0)
    sv.on(hookrun.signals.summary_due, lambda *_: due.set(), priority=1)
    with sv.managed_session():
        wait_until(due)
    (point,) = EventAccumulator(str(tmp_path)).Reload().Scalars("learning_rate")
    assert (point.step, point.value) == (0, 3.0)


def test_wrong_arguments_are_refused_by_name_and_value(model):
    with pytest.raises(TypeError, match="learning_rate must be a variable or a tensor, not 0.1"):
        hooks.LearningRateHook(0.1)
    with pytest.raises(TypeError, match="rate_at must be a function of the step, or None, not 0.1"):
        hooks.LearningRateHook(model.rate, 0.1)
    with pytest.raises(TypeError, match="learning_rate must be a variable where rate_at sets it"):
        hooks.LearningRateHook(tf.constant(0.1), lambda step: 0.1)
    with pytest.raises(ValueError, match=r"LearningRateHook: learning_rate must .* of shape \(2,\): <tf"):
        hooks.LearningRateHook(tf.constant([0.1, 0.2]))


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (None, TypeError, r"rate 'rate_at\(0\)' must be a number, not None"),
        ([0.1, 0.2], ValueError, r"rate must be of one number, not of shape \(2,\): rate_at\(0\)"),
    ],
)
def test_a_rate_that_is_not_one_number_is_an_error_that_says_so(model, rate, error, message):
    hook = hooks.LearningRateHook(model.rate, lambda step: rate)
    with pytest.raises(error, match=f"LearningRateHook: {message}"):
        train(hookrun.Supervisor(hooks=[hook]), model, 1)


def test_a_rate_of_an_unknown_shape_is_recorded_where_it_is_one_number(model, tmp_path):
    rates = tf.compat.v1.placeholder_with_default([0.5], None)
    hook = hooks.LearningRateHook(rates, every_steps=1)
    train(hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **OFF), model, 1)
    assert EventAccumulator(str(tmp_path)).Reload().Scalars("learning_rate")[0].value == 0.5


def test_a_recorded_rate_of_several_numbers_is_an_error_that_says_so(model, tmp_path):
    rates = tf.compat.v1.placeholder_with_default([0.5, 0.25], None)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.LearningRateHook(rates, every_steps=1)], **OFF)
    with pytest.raises(ValueError, match=r"LearningRateHook: .* of shape \(2,\): learning_rate"):
        train(sv, model, 1)


@pytest.mark.parametrize("way", ["restore", "saver"])
def test_the_rate_goes_back_with_the_training(model, tmp_path, way):
    """Also where that of the step it goes back to was set last, and another one is restored."""
    rates = {0: 1.0, 1: 2.0, 2: 1.0, 3: 2.0}
    given = [hooks.LearningRateHook(model.rate, rates.__getitem__), hooks.CheckpointHook(background=False)]
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=given, **OFF)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        model.rate.load(100.0, sess)
        sv.send(signals.checkpoint_due, events.CheckpointDue(sess))
        model.rate.load(2.0, sess)
        for _ in range(2):
            sess.run(model.train_op)
        (sv.restore if way == "restore" else sv.saver.restore)(sess, f"{sv.save_path}-1")
        sess.run(model.train_op)
        assert float(sess.run(model.weight)) == 3.0
