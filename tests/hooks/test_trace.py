"""TraceHook: the RunMetadata of the steps that are due, as TensorBoard reads it."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import hooks

OFF = {"save_summaries_secs": 0, "save_model_secs": 0}


def test_the_steps_that_are_due_are_traced_and_no_other_run(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.TraceHook(every_steps=3, at_steps=[1])], **OFF)
    with sv.managed_session() as sess:
        for _ in range(6):
            sess.run(model.loss)
            sess.run(model.train_op)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert read.Tags()["run_metadata"] == ["step_1", "step_3", "step_6"]
    ran = {stats.node_name for d in read.RunMetadata("step_3").step_stats.dev_stats for stats in d.node_stats}
    assert any("GradientDescent" in name for name in ran)


def test_the_program_gets_what_it_asked_for(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.TraceHook(every_steps=1)], **OFF)
    with sv.managed_session() as sess:
        train_op, loss = sess.run([model.train_op, model.loss])
    assert (train_op, float(loss) >= 0) == (None, True)


def test_without_a_schedule_it_is_refused():
    with pytest.raises(ValueError, match="one of every_steps, every_secs and at_steps"):
        hooks.TraceHook()


def test_without_a_summary_writer_it_says_what_it_needs(model):
    sv = hookrun.Supervisor(hooks=[hooks.TraceHook(every_steps=1)])
    with pytest.raises(ValueError, match="TraceHook needs a summary writer"), sv.managed_session():
        pass


def test_a_step_that_comes_again_is_traced_again(model, tmp_path):
    checkpoints = hooks.CheckpointHook(at_steps=[1], background=False)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[checkpoints, hooks.TraceHook(at_steps=[2])], **OFF)
    for go_back in (sv.restore, sv.saver.restore):
        with sv.managed_session() as sess:
            for _ in range(3):
                sess.run(model.train_op)
            go_back(sess, f"{sv.save_path}-1")
            for _ in range(2):
                sess.run(model.train_op)
        (tmp_path / "checkpoint").unlink()
        for path in tmp_path.glob("model.ckpt*"):
            path.unlink()
    runs = [run for path in tmp_path.glob("*tfevents*") for run in traced(path)]
    assert runs == ["step_2"] * 4


def traced(path):
    events = tf.compat.v1.train.summary_iterator(str(path))
    return [e.tagged_run_metadata.tag for e in events if e.HasField("tagged_run_metadata")]
