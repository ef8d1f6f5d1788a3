"""CheckpointHook: what it saves, when, and whom it tells."""

from __future__ import annotations

import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals


def test_a_checkpoint_is_an_ordinary_one_named_by_its_step(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, checkpoint_basename="mine", save_model_secs=3600)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        weights = sess.run(model.weights)
    path = tf.train.latest_checkpoint(str(tmp_path))
    assert path == str(tmp_path / "mine-1")
    assert tf.train.load_checkpoint(path).get_tensor("weights").tolist() == weights.tolist()


def test_the_saved_event_and_the_log_name_the_step(model, tmp_path, read_events):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=2)
    saved = []
    sv.on(signals.checkpoint_saved, lambda _, event: saved.append((event.path, event.global_step)))
    with sv.managed_session() as sess:
        for _ in range(2):
            sess.run(model.train_op)
    assert saved == [(f"{sv.save_path}-2", 2)]
    logs = [(e.step, e.session_log) for e in read_events(tmp_path) if e.session_log.checkpoint_path]
    assert [(step, log.checkpoint_path) for step, log in logs] == [(2, sv.save_path)]


def test_without_a_global_step_the_name_has_none_and_each_save_replaces_the_one_before(graph, tmp_path):
    weights = tf.compat.v1.get_variable("weights", [], initializer=tf.compat.v1.zeros_initializer())
    train_op = tf.compat.v1.assign_add(weights, 1.0)
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=1)
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(train_op)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt")
    assert tf.train.load_variable(str(tmp_path), "weights") == 3.0


def test_a_model_that_changes_without_its_global_step_is_saved_at_the_end(graph, tmp_path, wait_until):
    tf.compat.v1.train.get_or_create_global_step()
    weights = tf.compat.v1.get_variable("weights", [], initializer=tf.compat.v1.zeros_initializer())
    train_op = tf.compat.v1.assign_add(weights, 1.0)
    sv = hookrun.Supervisor(logdir=tmp_path)
    saved = threading.Event()
    sv.on(signals.checkpoint_saved, lambda *_: saved.set())
    with sv.managed_session() as sess:
        wait_until(saved)
        sess.run(train_op)
    assert tf.train.load_variable(str(tmp_path), "weights") == 1.0


def test_an_error_in_the_final_save_is_raised(model, tmp_path):
    class Broken(tf.compat.v1.train.Saver):
        def save(self, *args, **kwargs):
            raise OSError("disk full")

    sv = hookrun.Supervisor(
        logdir=tmp_path, saver=Broken(), save_model_secs=0, save_model_steps=1000, stop_grace_secs=5
    )
    with pytest.raises(OSError, match="disk full"), sv.managed_session() as sess:
        sess.run(model.train_op)


def test_given_explicitly_it_saves_at_the_end_though_the_timer_is_off(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, hooks=[hooks.CheckpointHook()])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-1")
