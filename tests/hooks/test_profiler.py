"""ProfilerHook: what it writes of the steps that are due, and that it lets go of TensorFlow's profiler."""

from __future__ import annotations

import json
import logging

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import hookrun
from hookrun import hooks

OFF = {"save_summaries_secs": 0, "save_model_secs": 0}


def profiled(logdir):
    """The steps that TensorBoard's plugin finds a profile of."""
    return sorted(path.parent.name for path in logdir.glob("plugins/profile/*/*.xplane.pb"))


def traced_ops(path):
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return {event.name for plane in space.planes for event in plane.event_metadata.values()}


def test_the_steps_that_are_due_are_profiled_and_no_other_run(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.ProfilerHook(every_steps=3, at_steps=[1])], **OFF)
    with sv.managed_session() as sess:
        for _ in range(6):
            sess.run(model.loss)
            assert sess.run([model.train_op, model.global_step])[0] is None
    assert profiled(tmp_path) == ["step_1", "step_3", "step_6"]
    (profile,) = tmp_path.glob("plugins/profile/step_3/*.xplane.pb")
    assert any("GradientDescent" in name for name in traced_ops(profile))


def test_the_same_steps_are_a_timeline_that_chrome_shows(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.ProfilerHook(at_steps=[2])], **OFF)
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert [path.name for path in tmp_path.glob("timeline-*.json")] == ["timeline-2.json"]
    events = json.loads((tmp_path / "timeline-2.json").read_text())["traceEvents"]
    assert any("GradientDescent" in str(event.get("args")) and event["dur"] >= 0 for event in events)


def test_a_run_that_fails_leaves_no_profiler_behind(model, tmp_path):
    needs = tf.compat.v1.placeholder(tf.float32, [])
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.ProfilerHook(every_steps=1)], **OFF)
    with sv.managed_session() as sess:
        with pytest.raises(tf.errors.InvalidArgumentError):
            sess.run(needs)
        sess.run(model.train_op)
        with pytest.raises(tf.errors.InvalidArgumentError):
            sess.run(needs)
    assert profiled(tmp_path) == ["step_1"]
    tf.profiler.experimental.start(str(tmp_path / "mine"))
    tf.profiler.experimental.stop()


def test_while_the_program_profiles_itself_the_step_is_left_out_with_a_warning(model, tmp_path, caplog):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.ProfilerHook(every_steps=1)], **OFF)
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session() as sess:
        tf.profiler.experimental.start(str(tmp_path / "mine"))
        sess.run(model.train_op)
        tf.profiler.experimental.stop()
        sess.run(model.train_op)
    assert profiled(tmp_path) == ["step_2"]
    assert len(profiled(tmp_path / "mine")) == 1
    assert caplog.text.count("TensorFlow's profiler is in use") == 1


def test_a_step_that_the_program_traces_itself_is_left_out_with_a_warning(model, tmp_path, caplog):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.ProfilerHook(every_steps=1)], **OFF)
    options, metadata = tf.compat.v1.RunOptions(trace_level=3), tf.compat.v1.RunMetadata()
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session() as sess:
        sess.run(model.train_op, options=options, run_metadata=metadata)
        sess.run(model.train_op)
    assert metadata.step_stats.dev_stats
    assert profiled(tmp_path) == ["step_2"]
    assert "profiler is in use" in caplog.text
    assert len(list(tmp_path.glob("timeline-*.json"))) == 2


def test_without_a_schedule_it_is_refused():
    with pytest.raises(ValueError, match="one of every_steps, every_secs and at_steps"):
        hooks.ProfilerHook()


def test_without_a_logdir_it_says_what_it_needs(model):
    sv = hookrun.Supervisor(hooks=[hooks.ProfilerHook(every_steps=1)])
    with pytest.raises(ValueError, match="ProfilerHook needs a logdir"), sv.managed_session():
        pass


def test_a_step_may_be_profiled_and_traced_at_once(model, tmp_path, read_events):
    both = [hooks.ProfilerHook(at_steps=[2]), hooks.TraceHook(at_steps=[2])]
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=both, **OFF)
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert profiled(tmp_path) == ["step_2"]
    assert [
        e.tagged_run_metadata.tag for e in read_events(tmp_path) if e.HasField("tagged_run_metadata")
    ] == ["step_2"]
