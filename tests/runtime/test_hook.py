"""The contract of a hook."""

from __future__ import annotations

import copy
import logging
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.runtime.subscriber import subscriptions_of
from hookrun.testing import FakeClock, run_steps


def test_only_overridden_methods_are_connected():
    class Two(hooks.Hook):
        def on_step(self, supervisor, event): ...

        def on_stop(self, supervisor, event): ...

    assert [s.name for s in subscriptions_of(Two())] == ["Two.on_step", "Two.on_stop"]
    assert list(subscriptions_of(hooks.Hook())) == []


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("on_steps", "on_step"), ("on_Step", "on_step"), ("on_session_create", "on_session_created")],
)
def test_a_misspelt_method_is_refused_where_the_class_is_defined(misspelt, meant):
    with pytest.raises(TypeError, match=rf"Typo\.{misspelt} is not called .* did you mean {meant}\?"):
        type("Typo", (hooks.Hook,), {misspelt: lambda self, supervisor, event: None})


def test_a_hook_that_would_never_be_called_is_refused(model):
    class OfAnotherLibrary(hooks.Hook):
        def begin(self): ...

    with pytest.raises(TypeError, match="OfAnotherLibrary overrides no method of hookrun.hooks.Hook"):
        hookrun.Supervisor(hooks=[OfAnotherLibrary()])


def test_a_hook_is_called_by_the_name_of_its_class_unless_it_has_one():
    class Plain(hooks.Hook): ...

    class Named(hooks.Hook):
        name = "a name"

    assert (Plain.name, Named.name, hooks.Hook.name) == ("Plain", "a name", "Hook")


def test_attributes_of_the_instance_come_first():
    class Hook(hooks.Hook):
        priority = 5
        on_error = "log"

        def on_step(self, supervisor, event): ...

    hook = Hook()
    hook.priority, hook.name, hook.trigger = 7, "mine", hookrun.triggers.Once()
    (subscription,) = subscriptions_of(hook)
    assert (subscription.priority, subscription.name, subscription.on_error) == (7, "mine.on_step", "log")
    assert subscription.trigger is hook.trigger


def test_variables_and_summaries_made_in_setup_graph_are_the_models_own(model, tmp_path):
    class Adds(hooks.Hook):
        def setup_graph(self, supervisor):
            assert supervisor.global_step is not None
            self.variable = tf.compat.v1.get_variable("added", initializer=3.0)
            tf.compat.v1.summary.scalar("added_by_hook", self.variable)

    hook = Adds()
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook])
    with sv.managed_session() as sess:
        assert sess.run(hook.variable) == 3.0
        summary = tf.compat.v1.Summary.FromString(sess.run(sv.summary_op))
    assert {value.tag for value in summary.value} == {"added_by_hook", "loss"}
    assert "added" in dict(tf.train.list_variables(str(tmp_path)))


def test_the_life_of_a_hook_is_as_documented(model, tmp_path):
    calls = []

    class Life(hooks.Hook):
        def setup_graph(self, supervisor):
            calls.append("setup_graph")

        def on_session_created(self, supervisor, event):
            assert not supervisor.services_started
            calls.append(("on_session_created", event.global_step, event.start_standard_services))

        def on_step(self, supervisor, event):
            calls.append(("on_step", event.global_step))

        def on_checkpoint_saving(self, supervisor, event):
            calls.append(("on_checkpoint_saving", event.global_step))

        def on_checkpoint_saved(self, supervisor, event):
            calls.append(("on_checkpoint_saved", event.global_step, event.path))

        def on_stop(self, supervisor, event):
            calls.append(("on_stop", event.error, event.session.closed))

    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=2, hooks=[Life()])
    for _ in range(2):
        with sv.managed_session() as sess:
            sess.run(model.train_op)
    path = str(tmp_path / "model.ckpt")
    assert calls == [
        "setup_graph",
        ("on_session_created", 0, True),
        ("on_step", 1),
        ("on_stop", None, False),
        ("on_checkpoint_saving", 1),
        ("on_checkpoint_saved", 1, f"{path}-1"),
        ("on_session_created", 1, True),
        ("on_step", 2),
        ("on_checkpoint_saving", 2),
        ("on_checkpoint_saved", 2, f"{path}-2"),
        ("on_stop", None, False),
    ]


def test_to_stop_when_the_loss_no_longer_improves_and_to_log_the_learning_rate_takes_few_lines(caplog):
    class StopWhenStuck(hooks.Hook):
        """Stops when the loss has not improved for 500 steps; logs the learning rate with each best one."""

        def __init__(self, loss, learning_rate, patience=500):
            self.fetches = {"loss": loss, "learning_rate": learning_rate}
            self.patience = patience
            self.best, self.best_step = float("inf"), 0

        def on_step(self, supervisor, event):
            if event.values["loss"] < self.best:
                self.best, self.best_step = float(event.values["loss"]), event.global_step
                logging.warning("learning rate %.3g", event.values["learning_rate"])
            elif event.global_step - self.best_step >= self.patience:
                supervisor.request_stop()

        def state_dict(self):
            return {"best": self.best, "best_step": self.best_step}

        def load_state_dict(self, state):
            self.best, self.best_step = state["best"], state["best_step"]

    values = [{"loss": 1 / min(step, 7), "learning_rate": 0.1} for step in range(1, 601)]
    run_steps(StopWhenStuck("loss:0", "rate:0"), 600, values=values).assert_sent(signals.step, times=507)
    assert caplog.messages == ["learning rate 0.1"] * 7


def test_an_instance_in_two_sessions_at_a_time_is_refused(graph, tmp_path):
    hook = hooks.CheckpointHook(every_steps=1)

    def supervisor(logdir):
        with tf.Graph().as_default() as graph:
            train_op = tf.compat.v1.train.get_or_create_global_step().assign_add(1)
            return hookrun.Supervisor(graph=graph, logdir=tmp_path / logdir, hooks=[hook]), train_op

    (first, train_op), (second, _) = supervisor("first"), supervisor("second")
    with first.managed_session() as sess:
        sess.run(train_op)
        with pytest.raises(RuntimeError, match="CheckpointHook is in a session of another Supervisor"):
            with second.managed_session():
                pass
        sess.run(train_op)
    with second.managed_session():
        pass
    sess = first.prepare_or_wait_for_session(start_standard_services=False)
    sess.close()  # and no stop()
    with second.managed_session():
        pass
    first.stop()


def test_a_trigger_of_the_class_is_one_for_each_instance():
    class Fifth(hooks.Hook):
        trigger = hookrun.triggers.EverySteps(5)

        def __init__(self):
            self.told = []

        def on_step(self, supervisor, event):
            self.told.append(event.global_step)

    first, second = Fifth(), Fifth()
    run_steps(first, 10, others=[second])
    assert first.told == second.told == [5, 10]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_shares_no_state_with_what_it_is_a_copy_of(how):
    class Mine(hooks.Hook):
        def __init__(self, clock):
            self.trigger = self.own = hookrun.triggers.EverySteps(2) | hookrun.triggers.EverySecs(
                5, clock=clock
            )
            self.clock, self.lock, self.settings = clock, threading.Lock(), {"a": [1]}
            self.told = []

        def on_step(self, supervisor, event):
            self.told.append(event.global_step)

    hook = Mine(FakeClock())
    copied = how(hook)
    copied.told = []
    assert copied.trigger is copied.own is not hook.trigger
    assert (copied.clock, copied.lock) == (hook.clock, hook.lock)
    assert (copied.settings is hook.settings) == (how is copy.copy)
    assert copied.settings == {"a": [1]}
    run_steps(hook, 5, others=[copied], clock=hook.clock)
    assert hook.told == copied.told == [2, 4, 5]


def test_what_a_subclass_calls_does_nothing_where_the_instance_has_no_use_for_it(model, tmp_path):
    told = []

    class Announced(hooks.CheckpointHook):
        def on_step(self, supervisor, event):
            told.append(event.global_step)
            super().on_step(supervisor, event)

    assert "CheckpointHook.on_step" not in [s.name for s in subscriptions_of(hooks.CheckpointHook())]
    with hookrun.Supervisor(logdir=tmp_path, hooks=[Announced()]).managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert told == [1, 2, 3]
    assert len(list(tmp_path.glob("model.ckpt-*.index"))) <= 2  # by its timer, and at the end


def test_nothing_is_connected_to_step_where_no_hook_has_a_use_for_it(model, tmp_path):
    given = [
        hooks.CheckpointHook(),
        hooks.EvaluationHook({"loss": model.loss}, every_checkpoints=1),
        hooks.LearningRateHook(model.loss),
        hooks.CallbackHook(lambda sv, event: None, signals.stop),
    ]
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=given)
    assert signals.step.resolved_for(sv) == ()
