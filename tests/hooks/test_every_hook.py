"""What holds for each hook of the library: it may be used again, copied, and overridden."""

from __future__ import annotations

import copy
import enum
import math
import re

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.runtime.subscriber import subscriptions_of
from hookrun.testing import FakeClock

v1 = tf.compat.v1

CLOCK = FakeClock()


class TensorFlowsHook(v1.train.SessionRunHook):
    def before_run(self, run_context):
        return v1.train.SessionRunArgs("loss:0")


MAKE = {
    "CallbackHook": lambda logdir: hooks.CallbackHook(lambda sv, event: None, every_steps=3),
    "CheckpointHook": lambda logdir: hooks.CheckpointHook(
        every_steps=3, keep=hooks.retention.BestN(1, metric="metric"), background=False
    ),
    "EarlyStoppingHook": lambda logdir: hooks.EarlyStoppingHook("loss:0", mode="min", patience=100),
    "EvaluationHook": lambda logdir: hooks.EvaluationHook({"metric": "loss:0"}, every_checkpoints=3),
    "HParamsHook": lambda logdir: hooks.HParamsHook({"rate": 0.1}, {"loss": "loss:0"}),
    "HeartbeatHook": lambda logdir: hooks.HeartbeatHook(f"{logdir}/heartbeat.json", clock=CLOCK),
    "LearningRateHook": lambda logdir: hooks.LearningRateHook(
        v1.get_variable("rate", initializer=0.5, trainable=False), lambda step: 0.5**step, every_steps=2
    ),
    "LoggingHook": lambda logdir: hooks.LoggingHook({"loss": "loss:0"}, every_steps=3, clock=CLOCK),
    "MovingAverageHook": lambda logdir: hooks.MovingAverageHook(),
    "NanGuardHook": lambda logdir: hooks.NanGuardHook("loss:0"),
    "PreemptionHook": lambda logdir: hooks.PreemptionHook(),
    "ProfilerHook": lambda logdir: hooks.ProfilerHook(at_steps=[1000]),
    "ProgressHook": lambda logdir: hooks.ProgressHook(every_steps=3, clock=CLOCK),
    "QueueRunnerHook": lambda logdir: hooks.QueueRunnerHook(),
    "SessionRunHookAdapter": lambda logdir: hooks.SessionRunHookAdapter(TensorFlowsHook()),
    "StepCounterHook": lambda logdir: hooks.StepCounterHook(clock=CLOCK),
    "StopAfterTimeHook": lambda logdir: hooks.StopAfterTimeHook(secs=1000, clock=CLOCK),
    "StopAtStepHook": lambda logdir: hooks.StopAtStepHook(num_steps=50),
    "SummaryHook": lambda logdir: hooks.SummaryHook(every_steps=3),
    "TraceHook": lambda logdir: hooks.TraceHook(at_steps=[5]),
}
"""A hook by the name of its class, made inside the graph that it is for, in which there is a `loss`."""

every_hook = pytest.mark.parametrize("name", MAKE)


def test_here_is_one_of_each():
    assert MAKE.keys() == set(hooks.__all__) - {"Hook", "retention"}


class Looks(hooks.Hook):
    """Describes another hook when a session is created, after every other was told of it."""

    priority = math.inf

    def __init__(self, other):
        self.other = other
        self.seen = []

    def on_session_created(self, supervisor, event):
        self.seen.append(described(self.other, {}))


def described(value, seen):
    """The state of `value`: numbers, strings, containers, and what the library's objects hold."""
    if value is None or isinstance(value, (bool, int, float, str, enum.Enum)):
        return value
    if id(value) in seen:
        return f"as before: {type(value).__name__}"
    seen[id(value)] = value
    if isinstance(value, dict):
        items = {str(name): described(each, seen) for name, each in value.items() if name not in ("time",)}
        return {name: each for name, each in items.items() if name not in ("_used_by", "_made_in_graph")}
    if isinstance(value, (list, tuple, set)):
        return [described(each, seen) for each in value]
    is_own = re.match("hookrun", type(value).__module__) and not isinstance(
        value, (hookrun.Supervisor, signals.Signal, v1.Session)
    )
    return [
        type(value).__name__,
        described(vars(value), seen) if is_own and hasattr(value, "__dict__") else "",
    ]


class Training:
    """A Supervisor with `hook`, in a graph of its own."""

    def __init__(self, logdir, hook, *others, before="", graph=None):
        self.graph = graph or tf.Graph()
        with self.graph.as_default():
            step = v1.train.get_or_create_global_step()
            if before:  # the names and the order of ops are others
                v1.get_variable(before, [1])
            weights = v1.get_variable("weights", [3], initializer=v1.zeros_initializer())
            loss = tf.reduce_sum((weights - 1.0) ** 2)
            self.loss = tf.identity(loss, name="loss")
            v1.summary.scalar("loss", self.loss)
            self.train_op = v1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
            self.hook = hook(logdir) if callable(hook) else hook
            given = [self.hook, *others]
            if not isinstance(self.hook, hooks.CheckpointHook):
                given.append(hooks.CheckpointHook(every_steps=2, background=False))
            self.sv = hookrun.Supervisor(logdir=logdir, save_summaries_secs=3600, hooks=given)

    def run(self, steps=5):
        with self.graph.as_default(), self.sv.managed_session() as sess:
            for _ in range(steps):
                sess.run([self.train_op, self.loss])


def as_new(name, logdir):
    looks = Looks(None)
    training = Training(logdir, MAKE[name], looks)
    looks.other = training.hook
    training.run(0)
    return looks.seen[0]


def forget_checkpoints(logdir):
    for file in (*logdir.glob("model.ckpt*"), *logdir.glob("checkpoint")):
        file.unlink()


def given_again(hook, graph):
    """The hook of an earlier training, with what its user gives it of the new graph."""
    if isinstance(hook, hooks.LearningRateHook):
        with graph.as_default():
            hook._learning_rate = hook.fetches = v1.get_variable("rate", initializer=0.5, trainable=False)
    return hook


@every_hook
def test_a_second_training_begins_as_with_a_new_instance(name, tmp_path):
    first = Training(tmp_path / "run", MAKE[name], before="another")
    first.run()
    forget_checkpoints(tmp_path / "run")
    looks, graph = Looks(first.hook), tf.Graph()
    Training(tmp_path / "run", given_again(first.hook, graph), looks, graph=graph).run()
    forget_checkpoints(tmp_path / "run")
    assert looks.seen == [as_new(name, tmp_path / "run")]


@pytest.mark.parametrize("name", [name for name in MAKE if name != "LearningRateHook"])
def test_each_of_two_supervisors_in_turn_has_the_ops_of_its_own_graph(name, tmp_path):
    first = Training(tmp_path / "first", MAKE[name], before="another")
    second = Training(tmp_path / "second", first.hook)
    for _ in range(2):
        first.run()
        second.run()
    assert tf.train.latest_checkpoint(tmp_path / "first").endswith("-10")


@every_hook
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_is_a_hook_for_a_training_of_its_own(name, how, tmp_path):
    template = Training(tmp_path / "run", MAKE[name], before="another").hook
    graph = tf.Graph()
    copied = given_again(how(template), graph)
    assert (copied.trigger is template.trigger) == (template.trigger is None)
    looks = Looks(copied)
    Training(tmp_path / "run", copied, looks, graph=graph).run(0)
    forget_checkpoints(tmp_path / "run")
    assert looks.seen == [as_new(name, tmp_path / "run")]


@every_hook
@pytest.mark.parametrize("signal", hooks.Hook._signals, ids=lambda signal: signal.name)
def test_a_subclass_that_overrides_a_method_is_called(name, signal, tmp_path):
    told, method = [], f"on_{signal.name}"
    with tf.Graph().as_default():
        tf.identity(1.0, name="loss")
        hook = MAKE[name](tmp_path)
        kind = type(hook)

        def override(self, supervisor, event):
            told.append(event)
            getattr(kind, method)(self, supervisor, event)

        hook.__class__ = type(f"My{name}", (kind,), {method: override})
    (connected,) = [s for s in subscriptions_of(hook) if s.signal is signal]
    assert connected.receiver.__func__ is override
