"""as_session_run_hook: hooks of hookrun in a MonitoredTrainingSession of TensorFlow's."""

from __future__ import annotations

import json
import re
import signal
import textwrap

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import hooks, triggers

train = tf.compat.v1.train


class Recorder(hooks.Hook):
    """Notes what it is told; stops at a step, or fails there."""

    def __init__(self, told, fetches=None, every_steps=None, stop_at=None, fail_at=None):
        self.told, self.fetches, self.stop_at, self.fail_at = told, fetches, stop_at, fail_at
        self.trigger = triggers.schedule(every_steps=every_steps)

    def on_session_created(self, supervisor, event):
        self.told.append(("created", event.global_step, supervisor.graph.finalized))

    def on_step(self, supervisor, event):
        self.told.append((event.global_step, event.values, event.results))
        if event.global_step == self.fail_at:
            raise ValueError("failed")
        if event.global_step == self.stop_at:
            supervisor.request_stop()

    def on_stop(self, supervisor, event):
        self.told.append(("stop", event.error, event.session.run(supervisor.global_step)))


def run(model, *given, steps=4, fetches=None, **arguments):
    """Train in a MonitoredTrainingSession; after each step comes a run that does not train."""
    ran = 0
    with train.MonitoredTrainingSession(
        hooks=[hookrun.as_session_run_hook(*given, **arguments)], log_step_count_steps=0
    ) as sess:
        while not sess.should_stop() and ran < steps:
            sess.run(model.train_op if fetches is None else fetches)
            ran += 1
            if not sess.should_stop():
                sess.run(model.loss)
    return ran


@pytest.fixture
def fetches(model):
    """A training step that returns the step after it."""
    with tf.control_dependencies([model.train_op]):
        return {"step": model.global_step.read_value()}


def test_a_hook_is_told_of_training_steps_with_the_step_and_the_results(model, fetches):
    told = []
    run(model, Recorder(told), steps=2, fetches=fetches)
    step_1, step_2 = {"step": 1}, {"step": 2}
    assert told == [("created", 0, True), (1, None, step_1), (2, None, step_2), ("stop", None, 2)]


def test_the_order_that_is_logged_names_what_is_called_alone(model, caplog):
    caplog.set_level("INFO", logger="hookrun")

    class Saves(Recorder):
        def on_checkpoint_saved(self, supervisor, event): ...

    run(model, Saves([]), steps=1)
    (ready,) = [record.message for record in caplog.records if "Session ready" in record.message]
    assert "step: Saves.on_step" in ready
    assert "checkpoint_saved" not in ready


def test_fetches_ride_in_the_steps_at_which_the_trigger_is_due_alone(model):
    runs = []

    class Counts(train.SessionRunHook):
        def before_run(self, context):
            runs.append(context)

    told = []
    scaled = tf.identity(model.weights * 2.0)
    hook = hookrun.as_session_run_hook(Recorder(told, fetches=scaled, every_steps=2))
    with train.MonitoredTrainingSession(hooks=[Counts(), hook]) as sess:
        for _ in range(5):
            sess.run(model.train_op)
    assert [(step, values.shape) for step, values, _ in told[1:-1]] == [(2, (3,)), (4, (3,))]
    assert len(runs) == 5


def test_a_hook_that_stops_ends_the_training(model):
    told = []
    assert run(model, Recorder(told, stop_at=3), steps=10) == 3
    assert told[-1] == ("stop", None, 3)


def test_the_error_of_a_hook_is_raised_from_its_run_and_from_the_end_that_is_told(model):
    told = []
    with pytest.raises(ValueError, match="failed") as raised:
        run(model, Recorder(told, fail_at=2), steps=10)
    assert [each[0] for each in told] == ["created", 1, 2, "stop"]
    assert told[-1] == ("stop", raised.value, 2)


@pytest.mark.parametrize("error", [ValueError("of the program"), KeyboardInterrupt()], ids=repr)
def test_the_end_is_told_after_an_error_of_the_program(error, model):
    told = []
    hook = hookrun.as_session_run_hook(Recorder(told))
    for _ in range(2):  # the hook serves another session after it
        with pytest.raises(type(error)) as raised, train.MonitoredTrainingSession(hooks=[hook]) as sess:
            sess.run(model.train_op)
            raise error
        assert raised.value is error
    assert told[2::3] == [("stop", error, 1)] * 2


def test_the_end_is_told_where_a_hook_fails_before_the_first_step(model):
    told = []

    class Fails(hooks.Hook):
        def on_session_created(self, supervisor, event):
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed") as raised:
        run(model, Fails(), Recorder(told))
    assert told == [("created", 0, True), ("stop", raised.value, 0)]


def test_nothing_of_the_librarys_hooks_is_left_after_an_error(model, logger, tmp_path):
    before = list(logger.handlers), signal.getsignal(signal.SIGTERM)
    given = [
        hooks.HeartbeatHook(tmp_path / "heartbeat.json"),
        hooks.PreemptionHook(),
        hooks.ProfilerHook(at_steps=[1]),
    ]
    with pytest.raises(tf.errors.InvalidArgumentError):  # in the step that is profiled
        run(model, *given, fetches=tf.compat.v1.placeholder(tf.float32, []), logdir=tmp_path)
    assert (logger.handlers, signal.getsignal(signal.SIGTERM)) == before
    tf.profiler.experimental.start(str(tmp_path / "mine"))
    tf.profiler.experimental.stop()
    assert json.loads((tmp_path / "heartbeat.json").read_text())["state"] == "failed"


def test_setup_graph_adds_ops_once_for_a_graph_and_the_hook_serves_several_sessions(model):
    made = []

    class Adds(hooks.Hook):
        def setup_graph(self, supervisor):
            made.append(tf.compat.v1.get_variable("added", initializer=5.0))

        def on_step(self, supervisor, event):
            made.append(event.session.run(made[0]))

    hook = hookrun.as_session_run_hook(Adds())
    for _ in range(2):
        with train.MonitoredTrainingSession(hooks=[hook]) as sess:
            sess.run(model.train_op)
    assert made[1:] == [5.0, 5.0]


def test_a_hook_that_sees_every_run_asks_feeds_and_stops_there_too(model):
    rate = tf.compat.v1.placeholder_with_default(0.5, [], name="rate")
    seen = []

    class Sees(hooks.Hook):
        def before_run(self, context):
            options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
            seen.append(context.original_args.fetches)
            return train.SessionRunArgs({"rate": rate}, {rate: 7.0}, options)

        def after_run(self, context, values):
            seen.append((values.results, bool(values.run_metadata.step_stats.dev_stats)))
            context.request_stop()

    assert run(model, Sees(), Recorder(told := []), steps=9, fetches=[model.train_op, rate]) == 1
    assert seen == [[model.train_op, rate], ({"rate": 7.0}, True)]
    assert told[1] == (1, None, [None, 7.0])


def test_hooks_given_together_share_their_metrics_and_are_called_by_priority(model):
    class Reports(hooks.Hook):
        priority = -1

        def on_step(self, supervisor, event):
            supervisor.report_metrics({"accuracy": event.global_step})

    class Reads(hooks.Hook):
        def on_step(self, supervisor, event):
            read.append(supervisor.metrics)

    read = []
    run(model, Reads(), Reports(), steps=2)
    assert read == [{"accuracy": 1.0}, {"accuracy": 2.0}]


def test_what_a_hook_writes_is_in_the_logdir(model, tmp_path):
    class Writes(hooks.Hook):
        def on_step(self, supervisor, event):
            supervisor.summary_writer.add_scalar("mine", event.global_step, event.global_step)

    run(model, Writes(), steps=3, logdir=tmp_path)
    points = EventAccumulator(str(tmp_path)).Reload().Scalars("mine")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_run_of_the_hooks_own_is_no_step(model):
    steps = []

    class Runs(hooks.Hook):
        def on_step(self, supervisor, event):
            steps.append(event.global_step)
            event.session.run(model.train_op)

    run(model, Runs(), steps=2)
    assert steps == [1, 3]


@pytest.mark.parametrize(
    ("failing", "before"),
    [("after_run", ["created", 1, "stop"]), ("after_create_session", ["created", "stop"])],
)
def test_the_end_of_a_session_that_another_hook_loses_is_told_before_the_next_one(model, failing, before):
    told = []

    class Aborts(train.SessionRunHook):
        failed = False

        def fail(self, *args):
            if not self.failed:
                self.failed = True
                raise tf.errors.AbortedError(None, None, "the worker went away")

    aborts = Aborts()
    setattr(aborts, failing, aborts.fail)
    hook = hookrun.as_session_run_hook(Recorder(told))
    with train.MonitoredTrainingSession(hooks=[hook, aborts]) as sess:
        sess.run(model.train_op)
    assert [each[0] for each in told] == [*before, "created", 1, "stop"]
    if failing == "after_run":
        errors = [type(each[1]) for each in told if each[0] == "stop"]
        assert errors == [tf.errors.AbortedError, type(None)]


def test_the_example_runs(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", hookrun.as_session_run_hook.__doc__, re.DOTALL)
    exec(textwrap.dedent(block), {"hookrun": hookrun, "tf": tf, **vars(model)})
    points = EventAccumulator(str(tmp_path / "runs" / "mine" / "eval")).Reload().Scalars("loss")
    assert [point.step for point in points] == [50, 100, 150, 200]


def test_what_is_no_hook_is_refused():
    with pytest.raises(TypeError, match="hooks must be instances of hookrun.hooks.Hook, not 3"):
        hookrun.as_session_run_hook(3)
    with pytest.raises(ValueError, match="hooks must be at least one"):
        hookrun.as_session_run_hook()


def test_the_librarys_own_hooks_work_there(model, tmp_path):
    averages = hooks.MovingAverageHook(0.5)

    def evaluate(sess):
        with averages.swapped_in(sess):
            return {"average": sess.run(model.weights)[0]}

    evaluation = hooks.EvaluationHook(evaluate, every_steps=2, at_end=False)
    run(model, averages, evaluation, steps=3, logdir=tmp_path)
    (point,) = EventAccumulator(str(tmp_path / "eval")).Reload().Scalars("average")
    assert (point.step, 0 < point.value < 0.36) == (2, True)  # the weight itself is 0.36 then
