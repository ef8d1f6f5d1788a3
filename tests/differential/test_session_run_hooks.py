"""Each hook of `tf.compat.v1.train` shows the same in a MonitoredSession and, adapted, under hookrun."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks

tf1 = tf.compat.v1


class Recorder(tf1.train.SessionRunHook):
    """Passes its calls on to `hook`, and notes them with what they are given and return."""

    def __init__(self, hook, calls):
        self._hook, self._calls = hook, calls

    def begin(self):
        self._calls.append("begin")
        self._hook.begin()

    def after_create_session(self, session, coord):
        kinds = [isinstance(session, tf1.Session), isinstance(coord, tf.train.Coordinator)]
        self._calls.append(["after_create_session", kinds, tf1.get_default_graph().finalized])
        self._hook.after_create_session(session, coord)

    def before_run(self, run_context):
        args = self._hook.before_run(run_context)
        self._calls.append(["before_run", context(run_context), plain(args)])
        return args

    def after_run(self, run_context, run_values):
        self._hook.after_run(run_context, run_values)
        traced = bool(run_values.run_metadata.step_stats.dev_stats)
        self._calls.append(["after_run", context(run_context), plain(run_values.results), traced])

    def end(self, session):
        self._calls.append(["end", isinstance(session, tf1.Session)])
        self._hook.end(session)


def context(run_context):
    args = run_context.original_args
    return plain([args.fetches, args.feed_dict, run_context.stop_requested])


def plain(value):
    """The names of what is in the graph; values as they are."""
    if isinstance(value, dict):
        return {getattr(key, "name", key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(getattr(value, "name", value))


def build_model():
    tf1.train.get_or_create_global_step()
    tf1.train.StopAtStepHook(
        last_step=1
    ).begin()  # adds the read of the step that all hooks of TensorFlow fetch
    (read,) = tf1.get_collection("global_step_read_op_cache")
    weight = tf1.get_variable("weight", initializer=1.0)
    rate = tf1.placeholder_with_default(1.0, [], name="rate")
    before = weight.read_value()
    with tf.control_dependencies([read, before]):  # or it is luck what the hooks see of a step
        grow = weight.assign_add(rate)
    with tf.control_dependencies([grow]):
        train_op = tf1.assign_add(tf1.train.get_global_step(), 1).op
    tf1.summary.scalar("weight_now", before)
    loss = tf.where(read < 3, 0.5, np.nan, name="loss")
    return SimpleNamespace(
        train_op=train_op,
        weight=weight,
        before=before,
        rate=rate,
        loss=loss,
        summary_op=tf1.summary.merge_all(),
    )


def observe(runtime, make_hook, folder, caplog, ending):
    """Train six steps with the hook, and return all that could be seen of it."""
    calls: list[Any] = []
    outputs, errors = [], []
    caplog.clear()
    with tf.Graph().as_default(), caplog.at_level(logging.INFO, "tensorflow"):
        model = build_model()
        made = make_hook(model, str(folder), calls)
        given = Recorder(made, calls)
        if runtime == "tensorflow":
            session = tf1.train.MonitoredSession(hooks=[given])
            loop = session
        else:
            loop = hookrun.Supervisor(hooks=[hooks.SessionRunHookAdapter(given)])
            session = loop.managed_session()
        try:
            with session as sess:
                while not loop.should_stop() and len(outputs) < 6:
                    outputs.append(plain(sess.run([model.train_op, model.rate])[1]))
                if ending is not None:
                    raise ending
        except Exception as error:
            errors.append([type(error).__name__, str(error)])
        tf1.summary.FileWriterCache.clear()
    return {
        "calls": calls,
        "outputs": outputs,
        "raised": errors,
        "result": plain(getattr(made, "final_ops_values", None)),
        "log": [
            timeless(r.getMessage()).replace(str(folder), "FOLDER") for r in caplog.records if of_a_hook(r)
        ],
        "files": sorted({re.sub("tfevents.*", "tfevents", p.name) for p in folder.glob("**/*")}),
        "events": events_in(folder),
        "saved": {p.name: saved(p) for p in sorted(folder.glob("*.index"))},
    }


def of_a_hook(record):
    return record.name == "tensorflow" and "basic_session_run_hooks" in record.pathname


def timeless(text):
    return re.sub(r"\(\d+\.\d+ sec\)|(?<=/sec: )\S+", "TIME", text)


def saved(index: Path):
    reader = tf1.train.NewCheckpointReader(str(index.with_suffix("")))
    return {name: reader.get_tensor(name).tolist() for name in reader.get_variable_to_shape_map()}


def events_in(folder: Path):
    found = []
    for path in folder.glob("*tfevents*"):
        for event in tf1.train.summary_iterator(str(path)):
            values = [v.tag if "/sec" in v.tag else [v.tag, v.simple_value] for v in event.summary.value]
            status = event.session_log.status
            tagged = event.tagged_run_metadata.tag
            found.append([event.WhichOneof("what"), event.step, status, tagged, values])
    return found


class Listener(tf1.train.CheckpointSaverListener):
    def __init__(self, calls, stop_at):
        self._calls, self._stop_at = calls, stop_at

    def __repr__(self):
        return f"Listener({self._stop_at})"

    def begin(self):
        tf.constant(1, name="of_the_listener")
        self._calls.append("listener begin")

    def before_save(self, session, global_step_value):
        self._calls.append(f"listener before_save {global_step_value}")

    def after_save(self, session, global_step_value):
        self._calls.append(f"listener after_save {global_step_value}")
        return global_step_value == self._stop_at

    def end(self, session, global_step_value):
        self._calls.append(f"listener end {global_step_value}")


class Own(tf1.train.SessionRunHook):
    """Adds a variable, asks a timer, fetches, feeds, sets options, runs, and stops."""

    def __init__(self, calls):
        self._calls = calls
        self._timer = tf1.train.SecondOrStepTimer(every_steps=2)

    def begin(self):
        self._count = tf1.get_variable("count", initializer=0.0)
        self._grow = self._count.assign_add(1.0)
        self._timer.reset()

    def after_create_session(self, session, coord):
        self._calls.append(["the count is", float(session.run(self._count))])
        self._run = 0

    def before_run(self, run_context):
        self._run += 1
        if not self._timer.should_trigger_for_step(self._run):
            return None
        self._calls.append(["elapsed", self._timer.update_last_triggered_step(self._run)[1]])
        rate = tf1.get_default_graph().get_tensor_by_name("rate:0")
        options = tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE)
        return tf1.train.SessionRunArgs({"count": self._grow}, {rate: 3.0}, options)

    def after_run(self, run_context, run_values):
        if run_context.session.run(self._count) >= 3.0:
            run_context.request_stop()


train = tf1.train
HOOKS = {
    "LoggingTensorHook": lambda m, d, c: train.LoggingTensorHook(
        {"w": m.weight}, every_n_iter=2, at_end=True
    ),
    "LoggingTensorHook of names": lambda m, d, c: train.LoggingTensorHook(
        ["loss", "rate"], every_n_secs=1000
    ),
    "StopAtStepHook last": lambda m, d, c: train.StopAtStepHook(last_step=4),
    "StopAtStepHook number": lambda m, d, c: train.StopAtStepHook(num_steps=3),
    "CheckpointSaverHook": lambda m, d, c: train.CheckpointSaverHook(
        d, save_steps=2, listeners=[Listener(c, 4), Listener(c, None)]
    ),
    "CheckpointSaverHook to the end": lambda m, d, c: train.CheckpointSaverHook(d, save_steps=4),
    "StepCounterHook": lambda m, d, c: train.StepCounterHook(every_n_steps=2, output_dir=d),
    "NanTensorHook that raises": lambda m, d, c: train.NanTensorHook(m.loss),
    "NanTensorHook that stops": lambda m, d, c: train.NanTensorHook(m.loss, fail_on_nan_loss=False),
    "SummarySaverHook": lambda m, d, c: train.SummarySaverHook(
        save_steps=2, output_dir=d, summary_op=m.summary_op
    ),
    "GlobalStepWaiterHook": lambda m, d, c: train.GlobalStepWaiterHook(0),
    "FinalOpsHook": lambda m, d, c: train.FinalOpsHook({"now": m.weight, "fed": m.rate}, {m.rate: 9.0}),
    "FeedFnHook": lambda m, d, c: train.FeedFnHook(lambda: {m.rate: 7.0}),
    "ProfilerHook": lambda m, d, c: train.ProfilerHook(save_steps=2, output_dir=d),
    "one of one's own": lambda m, d, c: Own(c),
}
ENDINGS = {
    "at the end of the input": tf.errors.OutOfRangeError(None, None, "no more"),
    "by an error": ValueError("the loop failed"),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_of_tensorflow_behaves_as_in_a_monitored_session(hook, tmp_path, caplog):
    seen = {}
    for runtime in ("tensorflow", "hookrun"):
        folder = tmp_path / runtime
        folder.mkdir()
        observed = observe(runtime, HOOKS[hook], folder, caplog, None)
        if hook == "NanTensorHook that raises" and runtime == "hookrun":
            observed["outputs"].pop()  # the program gets the results of the run of which the hook complains
        seen[runtime] = observed
    for name, shown in seen["tensorflow"].items():
        assert seen["hookrun"][name] == shown, name


@pytest.mark.parametrize("ending", ["at the end of the input", "by an error"])
def test_end_is_called_as_in_a_monitored_session_when_the_session_ends(ending, tmp_path, caplog):
    def observed(runtime):
        (tmp_path / runtime).mkdir()
        return observe(runtime, HOOKS["FinalOpsHook"], tmp_path / runtime, caplog, ENDINGS[ending])

    expected = observed("tensorflow")
    assert observed("hookrun") == expected
    assert (expected["calls"][-1] == ["end", True]) == (ending == "at the end of the input")


@pytest.mark.parametrize("runtime", ["tensorflow", "hookrun"])
def test_a_worker_waits_until_the_others_have_made_enough_steps(runtime, caplog):
    model = build_model()
    hook = tf1.train.GlobalStepWaiterHook(3)

    class Others(tf1.train.SessionRunHook):
        """Makes their steps while this one waits: with each of its looks at the step, so to speak."""

        def before_run(self, run_context):
            for _ in range(3):
                run_context.session.run(model.train_op)

    with caplog.at_level(logging.INFO, "tensorflow"):
        if runtime == "tensorflow":
            session = tf1.train.MonitoredSession(hooks=[Others(), hook])
        else:
            adapted = [hooks.SessionRunHookAdapter(each) for each in (Others(), hook)]
            session = hookrun.Supervisor(hooks=adapted).managed_session()
        with session as sess:
            assert sess.run(tf1.train.get_global_step()) == 3
    assert "Waiting for global step 3 before starting training." in caplog.text
