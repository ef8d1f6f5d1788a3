"""CheckpointHook: what it saves, when, and whom it tells."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from concurrent import futures
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks, signals, triggers
from hookrun.checkpoints import directory, restore
from hookrun.hooks.retention import BestN, LatestN
from hookrun.runtime import hook_state


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


NEVER = {"save_model_secs": 0, "save_summaries_secs": 0}


def train(sv, model, steps):
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)


def steps_saved(logdir):
    return sorted(int(path.stem.rpartition("-")[2]) for path in logdir.glob("*.index"))


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


class TestSchedule:
    def test_of_its_own_takes_the_place_of_the_timer(self, model, tmp_path):
        hook = hooks.CheckpointHook(every_steps=4, at_steps=[1], keep=LatestN(None))
        train(hookrun.Supervisor(logdir=tmp_path, hooks=[hook]), model, 9)
        assert steps_saved(tmp_path) == [1, 4, 8, 9]

    def test_without_one_nothing_is_connected_to_step(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook()])
        assert not signals.step.resolved_for(sv)
        sv.stop()

    def test_a_subclass_may_decide_itself_when_to_save(self, model, tmp_path):
        class Odd(hooks.CheckpointHook):
            def on_checkpoint_due(self, supervisor, event):
                if supervisor.read_global_step(event.session) % 2:
                    super().on_checkpoint_due(supervisor, event)

        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[Odd()], save_model_steps=1, **NEVER)
        train(sv, model, 4)
        assert steps_saved(tmp_path) == [1, 3, 4]

    def test_a_step_that_is_saved_is_not_saved_again_by_the_next_run(self, model, tmp_path):
        train(hookrun.Supervisor(logdir=tmp_path, save_model_secs=3600), model, 3)
        before = (tmp_path / "model.ckpt-3.index").stat().st_mtime_ns
        saved = []
        for _ in range(2):
            sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0.001, save_summaries_secs=0)
            sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
            train(sv, model, 0)
        assert saved == []
        assert (tmp_path / "model.ckpt-3.index").stat().st_mtime_ns == before


class TestConfiguration:
    def test_without_a_logdir_or_saver_it_says_what_it_needs_at_once(self, model, tmp_path):
        with pytest.raises(ValueError, match="CheckpointHook needs a `saver` and a `logdir`"):
            hookrun.Supervisor(hooks=[hooks.CheckpointHook()])
        with pytest.raises(ValueError, match="CheckpointHook needs a `saver` and a `logdir`"):
            hookrun.Supervisor(logdir=tmp_path, saver=None, hooks=[hooks.CheckpointHook()])
        hookrun.Supervisor(logdir=tmp_path, saver=None, hooks=[hooks.CheckpointHook()], is_chief=False)

    def test_what_to_keep_is_a_policy_that_measures_what_is_in_the_graph(self, model, tmp_path):
        with pytest.raises(
            TypeError, match="keep must be a policy of hookrun.hooks.retention or None, not 3"
        ):
            hooks.CheckpointHook(keep=3)
        with tf.Graph().as_default():
            elsewhere = BestN(1, metric=tf.constant(1.0))
        with pytest.raises(ValueError, match="CheckpointHook cannot fetch <tf.Tensor 'Const:0'"):
            hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(keep=elsewhere)])

    def test_what_is_to_be_kept_needs_a_saver_that_leaves_that_to_the_hook(self, model, tmp_path):
        class Mine(tf.compat.v1.train.Saver):
            def save(self, *args, **kwargs):
                return super().save(*args, **kwargs)

        hook = hooks.CheckpointHook(keep=LatestN(1))
        with pytest.raises(ValueError, match="keep needs a saver .* not a Mine"):
            train(hookrun.Supervisor(logdir=tmp_path, saver=Mine(), hooks=[hook]), model, 1)

    @pytest.mark.parametrize("arguments", [{"sharded": True}, {"max_to_keep": 2}])
    def test_savers_of_every_kind_are_saved_as_they_are(self, model, tmp_path, arguments):
        saver = tf.compat.v1.train.Saver(**arguments)
        sv = hookrun.Supervisor(logdir=tmp_path, saver=saver, save_model_steps=1, **NEVER)
        train(sv, model, 3)
        assert steps_saved(tmp_path) == [1, 2, 3] if "sharded" in arguments else [2, 3]
        assert tf.train.load_checkpoint(str(tmp_path)).get_tensor("global_step") == 3

    def test_a_saver_of_an_iterator_is_saved_whole(self, model, tmp_path):
        iterator = tf.compat.v1.data.make_one_shot_iterator(tf.data.Dataset.range(5))
        saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
        saver = tf.compat.v1.train.Saver([model.global_step, model.weights, saveable])
        next_value = iterator.get_next()
        for expected in (0, 1):
            sv = hookrun.Supervisor(logdir=tmp_path, saver=saver, save_model_steps=1, **NEVER)
            with sv.managed_session() as sess:
                assert sess.run(next_value) == expected
                sess.run(model.train_op)
        assert steps_saved(tmp_path) == [1, 2]

    def test_a_session_of_a_server_is_saved_whole(self, model, tmp_path):
        server = tf.distribute.Server.create_local_server()
        sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=1, **NEVER)
        with sv.managed_session(server.target) as sess:
            for _ in range(2):
                sess.run(model.train_op)
        assert steps_saved(tmp_path) == [1, 2]
        assert tf.train.load_checkpoint(str(tmp_path)).get_tensor("global_step") == 2


class TestMetrics:
    def test_the_best_by_a_fetch_is_kept_and_told(self, model, tmp_path):
        only_the_step = tf.compat.v1.assign_add(model.global_step, 1).op
        keep = LatestN(1) | BestN(1, metric=tf.negative(model.loss, name="quality"))
        hook = hooks.CheckpointHook(every_steps=1, keep=keep)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        told = []
        sv.on(signals.checkpoint_saved, lambda _, event: told.append(event.metrics["quality"]))
        with sv.managed_session() as sess:
            for weight in (5.0, 1.0, 7.0):
                model.weights.load([weight] * 3, sess)
                sess.run(only_the_step)
        assert steps_saved(tmp_path) == [2, 3]
        assert told == [-48.0, 0.0, -108.0]

    def test_the_best_by_what_a_hook_reports_survives_restarts(self, model, tmp_path):
        def run(values):
            values = iter(values)
            hook = hooks.CheckpointHook(every_steps=1, keep=LatestN(1) | BestN(1, metric="accuracy"))
            sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
            sv.on(signals.step, lambda sv, _: sv.report_metrics({"accuracy": next(values)}))
            train(sv, model, 3)

        run([0.5, 0.9, 0.7])
        assert steps_saved(tmp_path) == [2, 3]
        run([0.8, 0.6, 0.8])
        assert steps_saved(tmp_path) == [2, 6]
        run([0.8, 0.95, 0.8])
        assert steps_saved(tmp_path) == [8, 9]

    def test_the_best_are_those_that_were_measured_also_after_a_restart(self, model, tmp_path):
        def run(evaluated, steps):
            saving = hooks.CheckpointHook(every_steps=2, keep=BestN(2, metric="loss", mode="min"))
            evaluation = hooks.EvaluationHook(
                lambda sess: {"loss": evaluated[int(sess.run(model.global_step))]},
                at_steps=evaluated,
                at_end=False,
            )
            train(hookrun.Supervisor(logdir=tmp_path, hooks=[evaluation, saving], **NEVER), model, steps)

        run({4: 0.5}, 8)
        assert steps_saved(tmp_path) == [4, 8]  # the newest is kept by the directory
        run({12: 0.6}, 8)
        assert steps_saved(tmp_path) == [4, 12, 16]

    def test_a_policy_by_another_metric_does_not_go_by_the_values_of_the_one_before(self, model, tmp_path):
        def run(metric, values):
            values = iter(values)
            saving = hooks.CheckpointHook(every_steps=1, keep=LatestN(2) | BestN(1, metric=metric))
            sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving], **NEVER)
            sv.on(signals.step, lambda sv, _: sv.report_metrics({metric: next(values)}))
            train(sv, model, 3)

        run("accuracy", [0.9, 0.1, 0.1])
        assert steps_saved(tmp_path) == [1, 2, 3]
        run("score", [0.2, 0.1, 0.1])
        assert steps_saved(tmp_path) == [4, 5, 6]

    def test_what_it_measures_is_one_number(self, model):
        with pytest.raises(ValueError, match=r"CheckpointHook: metric 'weights' must .* of shape \(3,\)"):
            hooks.CheckpointHook(every_steps=1, keep=BestN(1, metric=model.weights))

    def test_what_it_measures_is_one_number_where_its_shape_is_not_known(self, model, tmp_path):
        value = tf.compat.v1.placeholder_with_default([1.0, 2.0], None, name="value")
        saving = hooks.CheckpointHook(every_steps=1, keep=BestN(1, metric=value))
        with pytest.raises(ValueError, match=r"CheckpointHook: metric must .* of shape \(2,\): value"):
            train(hookrun.Supervisor(logdir=tmp_path, hooks=[saving], **NEVER), model, 1)

    def test_a_metric_that_is_no_number_is_refused_by_its_name(self, model):
        sv = hookrun.Supervisor()
        with pytest.raises(TypeError, match="metric 'accuracy' must be a number, not 'high'"):
            sv.report_metrics({"accuracy": "high"})


class Best(hooks.Hook):
    """Remembers the number of steps it has seen."""

    def __init__(self, name="Best", trigger=None):
        self.name = name
        self.trigger = trigger
        self.seen = 0
        self.steps = []

    def on_step(self, supervisor, event):
        self.seen += 1
        self.steps.append(event.global_step)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class TestHookState:
    def run(self, model, tmp_path, steps, *given, **arguments):
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=given, save_model_steps=1, **NEVER, **arguments)
        train(sv, model, steps)

    def test_survives_a_restart(self, model, tmp_path):
        self.run(model, tmp_path, 3, Best())
        second = Best()
        self.run(model, tmp_path, 2, second)
        assert second.seen == 5

    def test_belongs_to_the_step_of_its_checkpoint(self, model, tmp_path):
        self.run(model, tmp_path, 4, Best(), saver=tf.compat.v1.train.Saver(max_to_keep=0))
        for step in range(1, 5):
            state = hook_state.read(tmp_path / f"model.ckpt-{step}{hook_state.SUFFIX}")
            assert state.hooks == {"Best": {"seen": step}}

    def test_that_of_a_trigger_survives_too(self, model, tmp_path):
        once = Best(trigger=triggers.Once())
        self.run(model, tmp_path, 3, once)
        again = Best(trigger=triggers.Once())
        self.run(model, tmp_path, 3, again)
        assert (once.steps, again.steps) == ([1], [])

    def test_is_removed_with_its_checkpoint(self, model, tmp_path):
        self.run(model, tmp_path, 4, Best(), saver=tf.compat.v1.train.Saver(max_to_keep=1))
        assert [path.name for path in tmp_path.glob(f"*{hook_state.SUFFIX}")] == ["model.ckpt-4.hooks.json"]

    def test_without_any_there_is_no_file(self, model, tmp_path):
        self.run(model, tmp_path, 1)
        assert not list(tmp_path.glob(f"*{hook_state.SUFFIX}"))

    def test_a_hook_that_is_new_or_gone_is_a_warning(self, model, tmp_path, caplog):
        self.run(model, tmp_path, 1, Best("old"))
        self.run(model, tmp_path, 1, Best("new"))
        assert "holds no state of the hook new" in caplog.text
        assert "holds the state of a hook old, which this training does not have" in caplog.text

    def test_two_hooks_of_one_name_are_refused(self, model):
        with pytest.raises(ValueError, match="two hooks are called 'Best'"):
            hookrun.Supervisor(hooks=[Best(), Best()])

    def test_an_error_while_it_is_loaded_is_raised_and_nothing_is_trained(self, model, tmp_path, caplog):
        class Broken(Best):
            def load_state_dict(self, state):
                raise KeyError("seen")

        self.run(model, tmp_path, 1, Best())
        with pytest.raises(KeyError, match="seen"):
            self.run(model, tmp_path, 1, Broken("Best"))
        assert steps_saved(tmp_path) == [1]
        assert errors(caplog) == ["Best.load_state_dict failed"]

    @pytest.mark.parametrize("on_error", ["log", "stop"])
    def test_one_that_cannot_be_told_stops_the_training_unless_its_hook_only_logs(
        self, model, tmp_path, on_error, caplog
    ):
        class Broken(Best):
            def state_dict(self):
                if self.seen == 2:
                    raise ZeroDivisionError
                return super().state_dict()

        broken = Broken("Broken")
        broken.on_error = on_error
        if on_error == "log":
            self.run(model, tmp_path, 3, broken, Best())
            assert steps_saved(tmp_path) == [1, 2, 3]
            states = [hook_state.read(tmp_path / f"model.ckpt-{step}{hook_state.SUFFIX}") for step in (2, 3)]
            assert [sorted(state.hooks) for state in states] == [["Best"], ["Best", "Broken"]]
        else:
            with pytest.raises(ZeroDivisionError):
                self.run(model, tmp_path, 3, broken, Best())
            assert steps_saved(tmp_path) == [1]
        assert errors(caplog) == ["Broken.state_dict failed"]

    def test_what_is_no_json_is_an_error_that_names_the_hook(self, model, tmp_path):
        class Broken(Best):
            def state_dict(self):
                return {"array": np.zeros(3)}

        with pytest.raises(TypeError, match="state_dict of Best must hold JSON values only"):
            self.run(model, tmp_path, 1, Broken())


class TestStorage:
    """A disk that fails: what was saved is there, the training goes on, and the failure is told."""

    @pytest.fixture
    def failing_steps(self, monkeypatch):
        """The steps whose files cannot be synced."""
        steps, real = set(), os.fsync

        def fsync(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if any(f"ckpt-{step}." in path for step in steps):
                raise OSError(5, "Input/output error")
            real(descriptor)

        monkeypatch.setattr(directory.os, "fsync", fsync)
        return steps

    @pytest.mark.parametrize("background", [True, False])
    def test_costs_the_checkpoint_alone_and_the_next_one_is_tried(
        self, model, tmp_path, caplog, failing_steps, background
    ):
        failing_steps |= {2, 3}
        hook = hooks.CheckpointHook(every_steps=1, background=background)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        told = []
        sv.on(signals.checkpoint_saved, lambda _, event: told.append(event.global_step))
        train(sv, model, 4)
        assert steps_saved(tmp_path) == told == [1, 4]
        state = tf.train.get_checkpoint_state(str(tmp_path))
        assert [path[-1] for path in state.all_model_checkpoint_paths] == ["1", "4"]
        assert not [path for path in tmp_path.iterdir() if "-2" in path.name or "saving" in path.name]
        assert caplog.text.count("could not be saved; the next one that is due is tried") == 2
        assert "Checkpoints that could not be saved: 2; the last error: [Errno 5]" in caplog.text

    def test_an_error_in_the_last_save_is_raised(self, model, tmp_path, failing_steps):
        failing_steps |= {1}
        with pytest.raises(OSError, match="Input/output error"):
            train(hookrun.Supervisor(logdir=tmp_path, save_model_secs=3600, save_summaries_secs=0), model, 1)
        assert steps_saved(tmp_path) in ([], [0])

    @pytest.mark.parametrize("background", [True, False])
    def test_a_real_limit_in_the_middle_of_a_file(self, model, tmp_path, caplog, background):
        tf.compat.v1.get_variable("large", [500_000], initializer=tf.compat.v1.zeros_initializer())
        hook = hooks.CheckpointHook(every_steps=1, background=background)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with sv.managed_session() as sess:
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
                for _ in range(3):  # the third waits until the second is written
                    sess.run(model.train_op)
                before_the_third = steps_saved(tmp_path)
                sess.run(model.train_op)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert before_the_third == []
        assert steps_saved(tmp_path)[-1] == 4
        assert "The checkpoint of step 1 could not be saved" in caplog.text
        assert not [path for path in tmp_path.iterdir() if "tempstate" in path.name or "saving" in path.name]


class TestBlockedStep:
    def test_does_not_block_saving_for_ever(self, model, tmp_path, caplog, monkeypatch, wait_until):
        monkeypatch.setattr("hookrun.hooks.checkpoint._PATIENCE_SECS", 0.05)
        queue = tf.queue.FIFOQueue(1, tf.float32, [()])
        enqueue = queue.enqueue(1.0)
        with tf.control_dependencies([queue.dequeue()]):
            blocking_step = tf.compat.v1.assign_add(model.global_step, 1)
        sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0)
        saved = threading.Event()
        sv.on(signals.checkpoint_saved, lambda *_: saved.set())
        with sv.managed_session(start_standard_services=False) as sess:
            step = threading.Thread(target=sess.run, args=[blocking_step])
            step.start()
            running = False
            while not running:
                with sv.between_steps(0) as in_time:
                    running = not in_time
            sv.start_standard_services(sess)
            wait_until(saved)
            sess.run(enqueue)
            step.join()
        assert caplog.text.count("For 0.05 s there was no moment without a run that writes variables") == 1

    @pytest.mark.parametrize("capacity", [1, 8])
    def test_may_wait_for_a_run_that_writes_and_is_saved_whole(self, model, tmp_path, wait_until, capacity):
        """With a small queue, either may wait for the other."""
        queue = tf.queue.FIFOQueue(capacity, tf.float32, [()])
        frames = [
            tf.compat.v1.get_variable(f"frames{i}", [], tf.int64, tf.compat.v1.zeros_initializer())
            for i in range(2)
        ]
        with tf.control_dependencies([queue.enqueue(1.0)]):
            act = tf.group([tf.compat.v1.assign_add(variable, 1) for variable in frames])
        learn = tf.group(queue.dequeue(), tf.compat.v1.assign_add(model.global_step, 1))
        close = queue.close(cancel_pending_enqueues=True)
        sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_model_secs=0.1)
        saves, fifth = [], threading.Event()

        @sv.on(signals.checkpoint_saved)
        def count(supervisor, event):
            saves.append(event.path)
            if len(saves) == 5:
                fifth.set()

        def act_until_the_end(sess):
            with contextlib.suppress(tf.errors.CancelledError):
                while not sv.should_stop():
                    sess.run(act)

        with sv.managed_session() as sess:
            actor = threading.Thread(target=act_until_the_end, args=[sess])
            actor.start()
            longest = 0.0
            while not fifth.is_set():
                began = time.monotonic()
                sess.run(learn)
                longest = max(longest, time.monotonic() - began)
            assert longest < 5
            sv.request_stop()
            sess.run(close)
            actor.join()
        for path in tf.train.get_checkpoint_state(tmp_path).all_model_checkpoint_paths:
            reader = tf.train.load_checkpoint(path)
            assert reader.get_tensor("frames0") == reader.get_tensor("frames1")

    def test_is_not_waited_for_again_as_long_where_none_came_in_time(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr("hookrun.hooks.checkpoint._PATIENCE_SECS", 0.05)
        hook = hooks.CheckpointHook()
        asked = []
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        between_steps = sv.between_steps

        def late_once(timeout_secs):
            asked.append(timeout_secs)
            return contextlib.nullcontext(False) if len(asked) == 1 else between_steps(timeout_secs)

        monkeypatch.setattr(sv, "between_steps", late_once)
        with sv.managed_session() as sess:
            for _ in range(3):
                sess.run(model.train_op)
                sv.send(signals.checkpoint_due, events.CheckpointDue(sess))
        assert asked[:3] == [0.05, 1.0, 0.05]


def test_an_error_behind_the_training_stops_it(model, tmp_path, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("in the writer")

    monkeypatch.setattr(directory.CheckpointDirectory, "add", broken)
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=1, **NEVER)
    with pytest.raises(ZeroDivisionError, match="in the writer"), sv.managed_session() as sess:
        while True:
            sess.run(model.train_op)
    assert "CheckpointHook failed" in caplog.text


@pytest.mark.parametrize("background", [True, False])
def test_the_training_goes_on_while_a_checkpoint_is_written(model, tmp_path, wait_until, background):
    """In the background only."""
    written, steps_meanwhile = threading.Event(), []

    class Slow(hooks.CheckpointHook):
        def on_session_created(self, supervisor, event):
            super().on_session_created(supervisor, event)
            add = self._directory.add

            def slow(*args):
                if background:
                    wait_until(written)
                return add(*args)

            self._directory.add = slow

    hook = Slow(at_steps=[1], background=background)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
    with sv.managed_session() as sess:
        for _ in range(5):
            sess.run(model.train_op)
            steps_meanwhile.append(len(steps_saved(tmp_path)))
        written.set()
    assert steps_meanwhile == ([0] * 5 if background else [1] * 5)
    assert steps_saved(tmp_path) == [1, 5]


def test_nothing_is_saved_once_a_receiver_that_is_told_of_the_save_has_failed(model, tmp_path):
    def fails(supervisor, event):
        if event.global_step == 2:
            raise ZeroDivisionError

    sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=1, **NEVER)
    sv.on(signals.checkpoint_saving, fails)
    with pytest.raises(ZeroDivisionError):
        train(sv, model, 3)
    assert steps_saved(tmp_path) == [1]


@pytest.mark.parametrize("own_schedule", [True, False])
def test_nothing_is_saved_at_a_step_at_which_a_hook_has_failed(model, tmp_path, own_schedule):
    def fails(supervisor, event):
        raise ZeroDivisionError

    given = [hooks.CheckpointHook(every_steps=1)] if own_schedule else []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=given, **{**NEVER, "save_model_steps": 1})
    sv.on(signals.step, fails, at_steps=[2])
    with pytest.raises(ZeroDivisionError):
        train(sv, model, 3)
    assert steps_saved(tmp_path) == [1]


def test_a_receiver_may_refuse_a_save_that_of_the_end_too(model, tmp_path, caplog):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=1, **NEVER)

    @sv.on(signals.checkpoint_saving)
    def refuse(supervisor, event):
        if event.global_step % 2:
            event.refused = "the step is odd"

    train(sv, model, 5)
    assert steps_saved(tmp_path) == [2, 4]
    assert "The model is not saved at step 5: the step is odd" in caplog.text


@pytest.mark.parametrize("background", [True, False])
def test_a_checkpoint_is_named_by_the_step_that_it_holds_when_who_is_told_of_the_save_trains(
    model, tmp_path, background
):
    saving = hooks.CheckpointHook(every_steps=2, background=background)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving])
    sv.on(signals.checkpoint_saving, lambda _, event: event.session.run(model.train_op))
    train(sv, model, 2)
    step = tf.train.load_variable(str(tmp_path / "model.ckpt-3"), "global_step")
    assert (steps_saved(tmp_path), step) == ([3], 3)


@pytest.mark.timeout(60)
def test_who_is_told_of_a_checkpoint_may_wait_for_the_step_that_waits_to_save(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=1)])
    told, later_step = [], threading.Event()
    sv.on(signals.step, lambda sv, event: event.global_step < 3 or later_step.set())

    @sv.on(signals.checkpoint_saved)
    def look(supervisor, event):
        later_step.wait(0.2)  # so that the next save waits, in its step
        with supervisor.between_steps():
            told.append(event.global_step)

    with sv.managed_session() as sess:
        for _ in range(5):
            sess.run(model.train_op)
    assert told == [1, 2, 3, 4, 5]


@pytest.mark.timeout(60)
def test_who_is_told_of_a_checkpoint_may_train(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=1)])
    trained = []

    @sv.on(signals.checkpoint_saved)
    def train(supervisor, event):
        if len(trained) < 3:
            trained.append(event.session.run([model.train_op, model.global_step])[1])

    with sv.managed_session() as sess:
        for _ in range(5):
            sess.run(model.train_op)
    assert len(trained) == 3
    assert steps_saved(tmp_path)[-1] == 8


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_one_that_is_told_in_the_background_ends_the_training(model, tmp_path, interrupt):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=2)])

    @sv.on(signals.checkpoint_saved)
    def end(supervisor, event):
        raise interrupt

    with pytest.raises(interrupt), sv.managed_session() as sess:
        for _ in range(2):
            sess.run(model.train_op)
        assert sv.coord.wait_for_stop(30)


def test_a_thread_of_the_program_without_a_default_graph_saves_at_its_step(model, tmp_path):
    hook = hooks.CheckpointHook(every_steps=2, background=False)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook])
    with sv.managed_session() as sess:
        thread = threading.Thread(target=lambda: [sess.run(model.train_op) for _ in range(4)])
        thread.start()
        thread.join()
    assert steps_saved(tmp_path) == [2, 4]


def test_steps_inside_between_steps_are_saved_like_others(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=1, keep=LatestN(None))])
    with sv.managed_session() as sess, sv.between_steps():
        for _ in range(5):
            sess.run(model.train_op)
    assert len(list(tmp_path.glob("model.ckpt-*.index"))) == 5


def test_an_interrupt_while_a_save_is_handed_over_does_not_hold_up_the_end(model, tmp_path, monkeypatch):
    def submit(self, *args):
        monkeypatch.undo()
        raise KeyboardInterrupt

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=1)])
    with pytest.raises(KeyboardInterrupt), sv.managed_session() as sess:
        monkeypatch.setattr(futures.ThreadPoolExecutor, "submit", submit)
        sess.run(model.train_op)
    assert (tmp_path / "model.ckpt-1.index").exists()


class TestGoingBack:
    """The training goes back to an older checkpoint within its session."""

    @pytest.fixture(params=["restore", "saver"])
    def go_back(self, request):
        def go_back(sv, sess, step):
            restore = sv.restore if request.param == "restore" else sv.saver.restore
            restore(sess, f"{sv.save_path}-{step}")

        return go_back

    def named(self, tmp_path):
        state = tf.train.get_checkpoint_state(str(tmp_path))
        paths = [state.model_checkpoint_path, *state.all_model_checkpoint_paths]
        return [int(path.rpartition("-")[2]) for path in paths]

    @pytest.mark.parametrize("background", [True, False])
    def test_steps_that_come_again_are_saved_again_and_the_newest_is_of_the_new_line(
        self, model, tmp_path, background, go_back
    ):
        saved = []
        hook = hooks.CheckpointHook(every_steps=10, keep=LatestN(None), background=background)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        with sv.managed_session() as sess:
            for _ in range(35):
                sess.run(model.train_op)
            go_back(sv, sess, 10)
            for _ in range(25):
                sess.run(model.train_op)
        assert saved == [10, 20, 30, 20, 30, 35]
        assert self.named(tmp_path) == [35, 10, 20, 30, 35]

    def test_those_that_were_given_up_go_first(self, model, tmp_path, go_back):
        hook = hooks.CheckpointHook(every_steps=10, keep=LatestN(4), background=False)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        with sv.managed_session() as sess:
            for _ in range(60):
                sess.run(model.train_op)
            assert self.named(tmp_path) == [60, 30, 40, 50, 60]
            go_back(sv, sess, 40)
            sess.run(model.train_op)
            assert self.named(tmp_path) == [40, 50, 60, 30, 40]
            go_back(sv, sess, 40)  # again, from a step that was not saved
            for _ in range(5):
                sess.run(model.train_op)
        assert self.named(tmp_path) == [45, 60, 30, 40, 45]
        assert steps_saved(tmp_path) == [30, 40, 45, 60]

    @pytest.mark.parametrize("max_to_keep", [1, 5, None])
    def test_a_run_after_it_begins_where_this_one_was(self, model, tmp_path, max_to_keep, go_back):
        saver = tf.compat.v1.train.Saver(max_to_keep=max_to_keep)
        hook = hooks.CheckpointHook(at_steps=[10, 20], background=False)
        sv = hookrun.Supervisor(logdir=tmp_path, saver=saver, hooks=[hook], **NEVER)
        copy = tmp_path / "kept"
        with sv.managed_session() as sess:
            for _ in range(10):
                sess.run(model.train_op)
            saver.save(sess, str(copy), global_step=10, write_state=False)
            for _ in range(15):
                sess.run(model.train_op)
            if max_to_keep == 1:  # it is gone, and was kept under another name
                sv.restore(sess, f"{copy}-10")
            else:
                go_back(sv, sess, 10)
            for _ in range(8):
                sess.run(model.train_op)
            expected = 20 if max_to_keep == 1 else 10  # there is no other
            assert restore.newest_intact(sv.save_path).endswith(f"-{expected}")
        assert restore.newest_intact(sv.save_path).endswith("-18")

    def test_what_is_restored_is_named_at_once_and_not_saved_again(self, model, tmp_path):
        saved = []
        hook = hooks.CheckpointHook(every_steps=10, background=False)
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **NEVER)
        with sv.managed_session() as sess:
            for _ in range(35):
                sess.run(model.train_op)
            sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
            sv.restore(sess, f"{sv.save_path}-20")
            assert self.named(tmp_path)[0] == 20
        assert saved == [] and self.named(tmp_path)[0] == 20

    def test_one_that_is_being_written_meanwhile_does_not_become_the_newest(
        self, model, tmp_path, monkeypatch, wait_until
    ):
        writing, go_on = threading.Event(), threading.Event()
        add = directory.CheckpointDirectory.add

        def slow(self, save, state):
            if writing.is_set():
                return add(self, save, state)
            writing.set()
            wait_until(go_on)
            return add(self, save, state)

        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(at_steps=[10, 20])], **NEVER)
        saved = []
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        with sv.managed_session() as sess:
            for _ in range(10):
                sess.run(model.train_op)
            futures.wait([sv.hooks[0]._pending])
            monkeypatch.setattr(directory.CheckpointDirectory, "add", slow)
            for _ in range(10):
                sess.run(model.train_op)
            wait_until(writing)
            sv.restore(sess, f"{sv.save_path}-10")
            go_on.set()
            futures.wait([sv.hooks[0]._pending])
            assert self.named(tmp_path) == [10, 20, 10]
            for _ in range(10):
                sess.run(model.train_op)
        assert saved == [10, 20, 20] and self.named(tmp_path) == [20, 10, 20]

    def test_one_that_is_told_of_a_checkpoint_may_go_back(self, model, tmp_path):
        back = []

        def told(sv, event):
            if event.global_step == 20 and not back:
                sv.restore(event.session, f"{sv.save_path}-10")
                back.append(threading.current_thread().name)

        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=10)], **NEVER)
        sv.on(signals.checkpoint_saved, told)
        with sv.managed_session() as sess:
            while sess.last_step < 20:
                sess.run(model.train_op)
            while not back:
                sess.run(model.train_op)
            while sess.last_step < 25:
                sess.run(model.train_op)
            last_step = sess.last_step
        assert back == ["hookrun-checkpoint-writer_0"]
        assert self.named(tmp_path)[0] == last_step

    def test_a_save_by_time_of_a_step_that_was_saved_before_it_went_back(self, model, tmp_path):
        """Nobody listens to `step`; only what is saved tells that it went back."""
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.CheckpointHook(background=False)], **NEVER)
        saved = []
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        with sv.managed_session() as sess:

            def save():
                sv.send(signals.checkpoint_due, events.CheckpointDue(sess))

            for _ in range(2):
                sess.run(model.train_op)
                save()
            sv.saver.restore(sess, f"{sv.save_path}-1")
            save()
            sess.run(model.train_op)
            save()
            save()
        assert saved == [1, 2, 1, 2]

    def test_a_state_file_that_cannot_be_written_costs_that_alone(self, model, tmp_path, monkeypatch, caplog):
        sv = hookrun.Supervisor(
            logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=10, background=False)], **NEVER
        )
        with sv.managed_session() as sess:
            for _ in range(20):
                sess.run(model.train_op)

            def full(*_):
                raise OSError("disk full")

            with monkeypatch.context() as patched:
                patched.setattr(directory.CheckpointDirectory, "_write_state_file", full)
                sv.restore(sess, f"{sv.save_path}-10")
            sess.run(model.train_op)
        assert self.named(tmp_path)[0] == 11
        assert "Until the next save, the `checkpoint` file names a later step: disk full" in errors(caplog)


class TestModelThatNobodyWrites:
    @pytest.fixture(params=[True, False], ids=["global step", "no global step"])
    def build(self, request):
        def build():
            v1 = tf.compat.v1
            if request.param:
                v1.train.get_or_create_global_step()
            v = v1.get_variable("v", [], initializer=v1.zeros_initializer(), trainable=False)
            local = v1.get_local_variable("local", [], initializer=v1.zeros_initializer())
            write = v1.assign_add(v, 1.0).op
            with tf.control_dependencies([write]):
                written = tf.constant(1.0) + 1.0
            return SimpleNamespace(
                write=write,
                written=written,
                init=v1.global_variables_initializer(),
                count=v1.assign_add(local, 1.0),
                read=v + 1.0,
                local=local,
            )

        return build

    def saves(self, tmp_path, model, runs, saver=None):
        """How often the model is saved: when it is due, when it is due after `runs`, and at the end."""
        hook = hooks.CheckpointHook(background=False)
        saver = saver or tf.compat.v1.train.Saver()
        sv = hookrun.Supervisor(logdir=tmp_path, saver=saver, hooks=[hook], **NEVER)
        saved = []
        sv.on(signals.checkpoint_saved, lambda *_: saved.append(None))
        with sv.managed_session() as sess:
            sv.send(signals.checkpoint_due, events.CheckpointDue(sess))
            runs(sv, sess, model)
            sv.send(signals.checkpoint_due, events.CheckpointDue(sess))
        return len(saved)

    def test_is_saved_once_and_not_again_by_the_next_run(self, build, tmp_path):
        def reads(sv, sess, model):
            sess.run([model.read, model.count])
            sess.make_callable(model.read)()
            sv.run_without_hooks(sess, model.read)

        for expected in (1, 0):
            with tf.Graph().as_default():
                assert self.saves(tmp_path, build(), reads) == expected

    @pytest.mark.parametrize(
        "write",
        [
            lambda sv, sess, model: sess.run(model.write),
            lambda sv, sess, model: sess.run([model.read, model.write]),
            lambda sv, sess, model: sess.run(model.init),
            lambda sv, sess, model: sv.run_without_hooks(sess, model.write),
            lambda sv, sess, model: sess.make_callable(model.write)(),
            lambda sv, sess, model: sess.make_callable(model.write, feed_list=[])(),
            lambda sv, sess, model: sess.partial_run(
                sess.partial_run_setup([model.written], []), model.written
            ),
            lambda sv, sess, model: sv.saver.restore(sess, tf.train.latest_checkpoint(sv.logdir)),
        ],
        ids=[
            "run",
            "run of several",
            "init",
            "without hooks",
            "callable",
            "with feeds",
            "partial",
            "restore",
        ],
    )
    def test_is_saved_again_after_whatever_may_write_it(self, build, tmp_path, write):
        assert self.saves(tmp_path, build(), write) == 2

    def test_is_saved_again_where_a_table_is_saved_with_it(self, build, tmp_path):
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        insert = table.insert(tf.constant(["key"]), tf.constant([1], tf.int64))
        assert self.saves(tmp_path, build(), lambda _, sess, model: sess.run(insert)) == 3

    def test_is_saved_again_where_a_local_variable_is_saved_with_it(self, build, tmp_path):
        model = build()
        saver = tf.compat.v1.train.Saver([model.local])
        assert self.saves(tmp_path, model, lambda _, sess, model: sess.run(model.count), saver) == 3
