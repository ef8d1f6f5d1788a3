"""SessionRunHookAdapter: TensorFlow's hooks; that they behave as there is in tests/differential."""

from __future__ import annotations

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks

SessionRunHook = tf.compat.v1.train.SessionRunHook


def test_what_is_no_hook_of_tensorflow_is_refused_by_name_and_value():
    with pytest.raises(TypeError, match="hook must be a tf.compat.v1.train.SessionRunHook, not 'a hook'"):
        hooks.SessionRunHookAdapter("a hook")


def test_a_variable_that_begin_adds_is_initialized_and_saved(model, tmp_path):
    class Counts(SessionRunHook):
        def begin(self):
            self._count = tf.compat.v1.get_variable("count", initializer=0.0)
            self._grow = self._count.assign_add(1.0)

        def before_run(self, context):
            return tf.compat.v1.train.SessionRunArgs(self._grow)

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.SessionRunHookAdapter(Counts())])
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert tf.train.load_variable(str(tmp_path), "count") == 3.0


def test_only_what_a_hook_overrides_costs_something(model):
    final = hooks.SessionRunHookAdapter(tf.compat.v1.train.FinalOpsHook(model.loss))
    sv = hookrun.Supervisor(hooks=[final])
    assert not sv._run_hooks.present
    nan = hooks.SessionRunHookAdapter(tf.compat.v1.train.NanTensorHook(model.loss))
    assert hookrun.Supervisor(hooks=[nan])._run_hooks.present


def test_it_is_named_in_logs_after_the_hook(model, caplog):
    class Fails(SessionRunHook):
        def after_run(self, context, values):
            raise ValueError("failed")

    sv = hookrun.Supervisor(hooks=[hooks.SessionRunHookAdapter(Fails())])
    with pytest.raises(ValueError, match="failed"), sv.managed_session() as sess:
        sess.run(model.train_op)
    assert "Fails.after_run failed" in caplog.text


def test_end_is_not_called_after_an_interrupt_as_in_tensorflow(model):
    ended = []

    class Ends(SessionRunHook):
        def end(self, session):
            ended.append(session)

    for error in (KeyboardInterrupt, None):
        sv = hookrun.Supervisor(hooks=[hooks.SessionRunHookAdapter(Ends())])
        try:
            with sv.managed_session():
                if error:
                    raise error
        except KeyboardInterrupt:
            assert ended == []
    assert len(ended) == 1
