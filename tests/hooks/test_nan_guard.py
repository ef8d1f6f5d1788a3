"""NanGuardHook: a training that diverges ends, and what was saved last is a model that had not."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.testing import run_steps

NAN = float("nan")


def test_it_names_the_tensors_and_the_step_and_raises(caplog):
    guard = hooks.NanGuardHook(["loss:0", "norm:0", "other:0"])
    values = [[1.0, np.ones(2), 1.0], [NAN, np.array([1.0, np.inf]), 1.0], [1.0, np.ones(2), 1.0]]
    with pytest.raises(FloatingPointError, match="^not finite at step 2: loss, norm$"):
        run_steps(guard, 3, values=values)
    assert "NanGuardHook.on_step failed in step" in caplog.text


def test_it_stops_as_at_the_end_where_it_is_told_to(caplog, tmp_path):
    guard = hooks.NanGuardHook("loss:0", then="stop")
    sent = run_steps(guard, 3, values=[[1.0], [NAN], [1.0]], logdir=tmp_path)
    sent.assert_sent(signals.step, times=2)
    sent.assert_sent(signals.stop, error=None)
    sent.assert_sent(signals.checkpoint_saved, times=0)
    assert "The training stops: not finite at step 2: loss" in caplog.text


@pytest.fixture
def diverging(model):
    """Its weights are multiplied each step, and overflow in the third; the loss says so in the fourth."""
    weights = tf.compat.v1.get_variable("exploding", initializer=1.0)
    loss = tf.identity(weights, name="own_loss")
    with tf.control_dependencies([loss]):
        update = tf.compat.v1.assign(weights, weights * 1e15)
    with tf.control_dependencies([update]):
        train_op = tf.compat.v1.assign_add(model.global_step, 1).op
    return loss, train_op


def newest(logdir):
    checkpoint = tf.train.load_checkpoint(str(logdir))
    return int(checkpoint.get_tensor("global_step")), float(checkpoint.get_tensor("exploding"))


@pytest.mark.parametrize("then", ["raise", "stop"])
@pytest.mark.parametrize("own_schedule", [True, False])
def test_no_checkpoint_of_a_model_with_variables_that_are_not_finite_becomes_the_newest(
    diverging, tmp_path, then, own_schedule, caplog
):
    loss, train_op = diverging
    guard = hooks.NanGuardHook(loss, then=then)
    given = [hooks.CheckpointHook(every_steps=1), guard] if own_schedule else [guard]
    sv = hookrun.Supervisor(
        logdir=tmp_path, save_model_secs=0, save_model_steps=1, save_summaries_secs=0, hooks=given
    )

    def train():
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)

    if then == "raise":
        with pytest.raises(FloatingPointError, match="not finite at step 3: exploding"):
            train()
    else:
        train()
    assert newest(tmp_path) == (2, pytest.approx(1e30))
    assert "The model is not saved at step 3: not finite at step 3: exploding" in caplog.text


def test_a_program_that_ends_before_the_loss_tells_saves_nothing_at_its_end(diverging, tmp_path):
    loss, train_op = diverging
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, hooks=[hooks.NanGuardHook(loss)])
    sv.add_hook(hooks.CheckpointHook(at_steps=[1]))
    with pytest.raises(FloatingPointError, match="not finite at step 3"), sv.managed_session() as sess:
        for _ in range(3):
            sess.run(train_op)
    assert newest(tmp_path)[0] == 1


@pytest.mark.parametrize("then", ["raise", "stop"])
def test_a_save_of_the_timer_that_waits_for_the_step_saves_nothing(
    diverging, tmp_path, wait_until, then, monkeypatch
):
    loss, train_op = diverging
    waits, first_saved = threading.Event(), threading.Event()
    guard = hooks.NanGuardHook(loss, then=then)
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0.01, save_summaries_secs=0, hooks=[guard])
    sv.on(signals.checkpoint_saved, lambda *_: first_saved.set())
    between_steps = sv.between_steps

    @contextlib.contextmanager
    def watched(timeout_secs=None):
        waits.set()
        with between_steps(timeout_secs) as in_time:
            try:
                yield in_time
            finally:
                waits.clear()

    monkeypatch.setattr(sv, "between_steps", watched)

    @sv.on(signals.step, priority=-1)
    def hold_until_a_save_waits(supervisor, event):
        if event.global_step == 3:
            wait_until(waits)

    def train():
        with sv.managed_session() as sess:
            wait_until(first_saved)
            for _ in range(3):
                sess.run(train_op)
            sv.wait_for_stop()

    if then == "raise":
        with pytest.raises(FloatingPointError, match="not finite at step 3"):
            train()
    else:
        train()
    step, weight = newest(tmp_path)
    assert step <= 2 and np.isfinite(weight)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.int8, tf.bool, tf.complex64])
def test_tensors_of_any_type_of_numbers_and_any_shape_are_looked_at(model, dtype):
    tensor = tf.cast(tf.ones([2, 3]), dtype)
    with hookrun.Supervisor(hooks=[hooks.NanGuardHook(tensor)]).managed_session() as sess:
        sess.run(model.train_op)


def test_of_a_sparse_gradient_the_values_are_looked_at(model):
    gradient = tf.IndexedSlices(tf.constant([1.0, float("nan")]), tf.constant([0, 2]), tf.constant([3]))
    sv = hookrun.Supervisor(hooks=[hooks.NanGuardHook(gradient)])
    with pytest.raises(FloatingPointError, match="not finite at step 1: Const"):
        with sv.managed_session() as sess:
            sess.run(model.train_op)


def test_tensors_of_text_are_refused(graph):
    with pytest.raises(TypeError, match="tensors must be of numbers, not of string: <tf.Tensor"):
        hooks.NanGuardHook(tf.constant("text"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tensors": []}, ValueError, r"tensors must hold at least one, not \[\]"),
        ({"tensors": {"loss": "loss:0"}}, TypeError, "tensors must be a tensor or several, or their names"),
        ({"tensors": None}, TypeError, "tensors must be .* not None"),
        ({"tensors": "loss:0", "then": "warn"}, ValueError, "then must be 'raise' or 'stop', not 'warn'"),
    ],
)
def test_other_arguments_are_refused_by_name_and_value(arguments, error, message):
    with pytest.raises(error, match=message):
        hooks.NanGuardHook(**arguments)
