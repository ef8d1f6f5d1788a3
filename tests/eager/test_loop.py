"""Loop: the same hooks, signals, checkpoints and event files in a training loop of TensorFlow 2."""

from __future__ import annotations

import logging
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import events, hooks, signals
from hookrun.testing import RecordingHook

NEVER = {"save_model_secs": 0, "save_summaries_secs": 0}


def names(logdir, ending):
    return sorted(path.name.removesuffix(ending) for path in logdir.glob(f"*{ending}"))


def step_of(loop, function):
    return loop.training_step(function)


class TestTheBlock:
    def test_a_hook_is_told_as_in_a_graph(self, model, dataset):
        recording = RecordingHook()
        loop = hookrun.Loop(hooks=[recording])
        step = loop.training_step(model.step)
        with loop as entered:
            assert entered is loop
            for x in dataset.take(3):
                step(x)
        assert [signal.name for signal, _ in recording.sent] == [
            "session_created",
            "step",
            "step",
            "step",
            "stop",
        ]
        assert [event.global_step for event in recording.events(signals.step)] == [1, 2, 3]
        assert recording.events(signals.step)[0].results["loss"].shape == []
        assert recording.events(signals.stop)[0].clean
        assert recording.supervisor is loop

    def test_it_may_be_entered_again_and_goes_on(self, model, dataset):
        loop = hookrun.Loop()
        step = loop.training_step(model.step)
        for _ in range(2):
            with loop:
                for x in dataset.take(3):
                    step(x)
        assert loop.global_step == 6

    def test_it_cannot_be_entered_twice_at_once(self):
        loop = hookrun.Loop()
        with loop, pytest.raises(RuntimeError, match="running already"):
            loop.__enter__()

    def test_it_is_refused_inside_a_graph(self):
        with (
            tf.Graph().as_default(),
            pytest.raises(RuntimeError, match="inside a tf.Graph: hookrun.Supervisor"),
        ):
            hookrun.Loop()

    @pytest.mark.parametrize("end", [StopIteration, lambda: tf.errors.OutOfRangeError(None, None, "the end")])
    def test_the_end_of_the_data_is_a_clean_end(self, end):
        recording = RecordingHook()
        with hookrun.Loop(hooks=[recording]):
            raise end()
        assert recording.events(signals.stop)[0].error is None

    def test_an_error_leaves_the_block_and_saves_nothing(self, model, dataset, tmp_path):
        recording = RecordingHook()
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, hooks=[recording])
        step = loop.training_step(model.step)
        with pytest.raises(ValueError, match="mine"), loop:
            step(next(iter(dataset)))
            raise ValueError("mine")
        assert isinstance(recording.events(signals.stop)[0].error, ValueError)
        assert "model.ckpt-1" not in names(tmp_path, ".index")

    def test_an_interrupt_leaves_the_block_and_saves_the_last_step(self, model, dataset, tmp_path):
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path)
        step = loop.training_step(model.step)
        with pytest.raises(KeyboardInterrupt), loop:
            step(next(iter(dataset)))
            raise KeyboardInterrupt
        assert "model.ckpt-1" in names(tmp_path, ".index")

    def test_a_stop_that_a_hook_requests_is_seen_by_the_loop(self, model, dataset):
        loop = hookrun.Loop(hooks=[hooks.StopAtStepHook(last_step=5)])
        step = loop.training_step(model.step)
        data = iter(dataset)
        with loop:
            while not loop.should_stop():
                step(next(data))
        assert loop.global_step == 5


class TestTrainingStep:
    def test_it_keeps_name_signature_and_attributes(self, model):
        step = hookrun.Loop().training_step(model.step)
        assert step.__name__ == "step" and step.__doc__ == "Make one step."
        assert step.get_concrete_function(tf.TensorSpec([2])) is not None

    def test_outside_of_the_block_it_is_an_error(self, model):
        step = hookrun.Loop().training_step(model.step)
        with pytest.raises(
            RuntimeError, match="step is a training step: it is called inside of `with loop:` alone"
        ):
            step(tf.ones([2]))

    def test_inside_of_a_function_the_decorators_are_in_the_wrong_order(self):
        loop = hookrun.Loop()

        @tf.function
        @loop.training_step
        def wrong(x):
            return x

        with (
            loop,
            pytest.raises(
                RuntimeError, match="wrong is a training step.*@loop.training_step above @tf.function"
            ),
        ):
            wrong(tf.ones([2]))

    def test_what_is_no_function_is_refused(self):
        with pytest.raises(TypeError, match="training_step must be given a function, not 3"):
            hookrun.Loop().training_step(3)

    def test_several_functions_and_plain_ones_are_steps_in_turn(self):
        loop = hookrun.Loop(hooks=[recording := RecordingHook()])
        first, second = loop.training_step(lambda: "first"), loop.training_step(lambda: "second")
        with loop:
            assert [first(), second(), first()] == ["first", "second", "first"]
        told = [(event.global_step, event.results) for event in recording.events(signals.step)]
        assert told == [(1, "first"), (2, "second"), (3, "first")]

    def test_a_block_is_a_step_where_there_is_no_function(self):
        loop = hookrun.Loop()
        told = []
        loop.on(signals.step, lambda loop, event: told.append(event.values), fetches="loss")
        with loop:
            with loop.step() as step:
                step.results = {"loss": 0.5}
        assert told == [0.5]

    def test_a_method_is_called_with_its_object(self):
        loop = hookrun.Loop()

        class Trainer:
            @loop.training_step
            def step(self, x):
                return self, x

        trainer = Trainer()
        with loop:
            assert trainer.step(3) == (trainer, 3)

    def test_several_threads_may_call_it(self):
        loop = hookrun.Loop(hooks=[recording := RecordingHook()])
        step = loop.training_step(lambda: None)
        with loop:
            threads = [threading.Thread(target=lambda: [step() for _ in range(50)]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(event.global_step for event in recording.events(signals.step)) == list(range(1, 201))

    def test_the_error_of_a_hook_is_raised_by_the_next_step(self, caplog):
        loop = hookrun.Loop()
        step = loop.training_step(lambda: None)

        @loop.on(signals.step, name="mine")
        def failing(loop, event):
            raise ValueError("of the hook")

        made = []
        with pytest.raises(ValueError, match="of the hook"), loop:
            for _ in range(3):
                step()
                made.append(1)
        assert made == [1] and loop.should_stop()
        assert "mine failed in step" in caplog.text


class TestValues:
    def test_they_come_at_due_steps_alone(self, model, dataset):
        loop = hookrun.Loop()
        step = loop.training_step(model.step)
        converted, told = [], []

        def square(results):
            converted.append(1)
            return results["more"]["square"]

        @loop.on(
            signals.step, every_steps=4, fetches={"loss": "loss", "square": square, "weights": model.weights}
        )
        def receiver(loop, event):
            told.append((event.global_step, event.values))

        with loop:
            for x in dataset.take(10):
                step(x)
        assert [at for at, _ in told] == [4, 8] and len(converted) == 2
        assert isinstance(told[0][1]["loss"], np.floating) and told[0][1]["weights"].shape == (2,)

    def test_a_key_that_is_not_there_stops_the_training_at_the_first_due_step(self, model, dataset):
        loop = hookrun.Loop(hooks=[hooks.NanGuardHook("los")])
        step = loop.training_step(model.step)
        with pytest.raises(KeyError, match="'los' is neither .* known are: loss, more, square"), loop:
            for x in dataset.take(3):
                step(x)

    def test_what_no_step_can_give_is_refused_at_once(self):
        with pytest.raises(TypeError, match="report cannot fetch 3.5"):
            hookrun.Loop().on(signals.step, lambda loop, event: None, fetches=3.5, name="report")


class TestWhichHooksFit:
    @pytest.mark.parametrize(
        ("hook", "reason"),
        [
            (lambda: hooks.QueueRunnerHook(), "a loop has no queues"),
            (lambda: hooks.TraceHook(every_steps=1), "use tf.profiler.experimental"),
            (lambda: hooks.ProfilerHook(every_steps=1), "use tf.profiler.experimental"),
            (
                lambda: hooks.SessionRunHookAdapter(tf.compat.v1.train.SessionRunHook()),
                "wraps a hook of graphs",
            ),
        ],
        ids=["QueueRunnerHook", "TraceHook", "ProfilerHook", "SessionRunHookAdapter"],
    )
    def test_those_of_graphs_are_refused_by_name(self, hook, reason):
        with pytest.raises(TypeError, match=f"cannot be used in a Loop: .*{reason}"):
            hookrun.Loop(hooks=[hook()])

    def test_so_is_one_that_overrides_what_belongs_to_graphs(self):
        class Mine(hooks.Hook):
            def setup_graph(self, runtime):
                pass

            def before_run(self, context):
                pass

        with pytest.raises(
            TypeError, match="Mine cannot be used in a Loop: setup_graph and before_run belong to graphs"
        ):
            hookrun.Loop(hooks=[Mine()])

    def test_a_checkpoint_hook_needs_something_to_save(self, tmp_path):
        with pytest.raises(ValueError, match="CheckpointHook needs a `checkpoint` and a `logdir`"):
            hookrun.Loop(logdir=tmp_path, hooks=[hooks.CheckpointHook()])


class TestCheckpoints:
    def train(self, model, logdir, steps, dataset, **arguments):
        loop = hookrun.Loop(model.checkpoint, logdir=logdir, **{"save_summaries_secs": 0, **arguments})
        step = loop.training_step(model.step)
        with loop:
            for x in loop.batches(dataset.take(steps) if steps else dataset):
                step(x)
        return loop

    def test_the_last_step_is_saved_and_the_next_run_starts_there(self, model, dataset, tmp_path):
        self.train(model, tmp_path, 7, dataset)
        weights = model.weights.numpy()
        model.weights.assign([0.0, 0.0])
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, hooks=[recording := RecordingHook()], **NEVER)
        with loop:
            assert loop.global_step == 7 and np.array_equal(model.weights.numpy(), weights)
        (created,) = recording.events(signals.session_created)
        assert created.restored_from == str(tmp_path / "model.ckpt-7") and created.global_step == 7

    def test_tensorflows_own_loaders_read_them(self, model, dataset, tmp_path):
        self.train(model, tmp_path, 4, dataset)
        weights = model.weights.numpy()
        model.weights.assign([0.0, 0.0])
        model.checkpoint.restore(str(tmp_path / "model.ckpt-4")).assert_consumed()
        assert np.array_equal(model.weights.numpy(), weights)
        manager = tf.train.CheckpointManager(model.checkpoint, str(tmp_path), max_to_keep=5)
        assert manager.restore_or_initialize() == str(tmp_path / "model.ckpt-4")

    def test_what_a_checkpoint_manager_wrote_is_started_from(self, model, tmp_path):
        model.weights.assign([5.0, 6.0])
        tf.train.CheckpointManager(model.checkpoint, str(tmp_path), 3).save(checkpoint_number=30)
        model.weights.assign([0.0, 0.0])
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, **NEVER)
        with loop:
            assert loop.global_step == 30 and model.weights.numpy().tolist() == [5.0, 6.0]

    def test_schedules_and_retention_are_those_of_the_supervisor(self, model, dataset, tmp_path):
        keep = hooks.retention.LatestN(2) | hooks.retention.BestN(1, metric="goodness")
        hook = hooks.CheckpointHook(every_steps=10, keep=keep)
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, hooks=[hook], save_summaries_secs=0)
        step = loop.training_step(model.step)

        @loop.on(signals.checkpoint_saving)
        def report(loop, event):
            loop.report_metrics({"goodness": 100.0 if event.global_step == 20 else 1.0})

        with loop:
            for x in dataset.take(55):
                step(x)
        assert names(tmp_path, ".index") == ["model.ckpt-20", "model.ckpt-50", "model.ckpt-55"]

    def test_what_hooks_remember_is_restored(self, model, dataset, tmp_path):
        def stopping():
            return hooks.EarlyStoppingHook("loss", mode="min", patience=500)

        self.train(model, tmp_path, 6, dataset, hooks=[first := stopping()])
        self.train(model, tmp_path, 6, dataset, hooks=[second := stopping()])
        assert (second.best, second.best_step) == (first.best, first.best_step)

    def test_a_damaged_newest_one_is_left_out(self, model, dataset, tmp_path, caplog):
        self.train(model, tmp_path, 12, dataset, hooks=[hooks.CheckpointHook(every_steps=5)])
        (data,) = tmp_path.glob("model.ckpt-12.data-*")
        data.write_bytes(data.read_bytes()[:-20])
        with hookrun.Loop(model.checkpoint, logdir=tmp_path, **NEVER) as loop:
            assert loop.global_step == 10
        assert "model.ckpt-12" in caplog.text

    def test_a_variable_of_another_shape_is_an_error_that_names_it(self, model, dataset, tmp_path):
        self.train(model, tmp_path, 2, dataset)
        other = tf.train.Checkpoint(weights=tf.Variable([0.0] * 3), velocity=tf.Variable([0.0] * 3))
        loop = hookrun.Loop(other, logdir=tmp_path)
        with pytest.raises(
            ValueError, match=r"velocity/.* shape \(2,\) in .*model.ckpt-2, and \(3,\) in the model"
        ):
            loop.__enter__()

    def test_what_only_one_of_them_has_is_told_by_name(self, model, dataset, tmp_path, caplog):
        self.train(model, tmp_path, 2, dataset)
        other = tf.train.Checkpoint(weights=model.weights, bias=tf.Variable(0.0))
        with hookrun.Loop(other, logdir=tmp_path, **NEVER):
            pass
        assert "the checkpoint does not hold bias/" in caplog.text
        assert "the model does not have (yet) velocity/" in caplog.text

    def test_a_step_variable_is_read_and_assigned(self, model, dataset, tmp_path):
        iterations = tf.Variable(0, dtype=tf.int64)
        checkpoint = tf.train.Checkpoint(weights=model.weights, iterations=iterations)
        loop = hookrun.Loop(checkpoint, logdir=tmp_path, global_step=iterations)
        step = loop.training_step(model.step)
        with loop:
            for x in dataset.take(3):
                step(x)
        assert int(iterations) == 3
        iterations.assign(0)
        with hookrun.Loop(checkpoint, logdir=tmp_path, global_step=iterations) as loop:
            assert loop.global_step == 3 and int(iterations) == 3

    def test_a_model_that_has_diverged_is_not_saved(self, model, dataset, tmp_path):
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, hooks=[hooks.NanGuardHook("loss")])
        step = loop.training_step(model.step)
        with pytest.raises(FloatingPointError, match="not finite at step 1: loss"), loop:
            step(tf.constant([np.nan, 1.0]))
            step(next(iter(dataset)))
        assert "model.ckpt-1" not in names(tmp_path, ".index")

    def test_nor_is_one_whose_loss_is_finite_yet(self, model, tmp_path):
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, hooks=[hooks.NanGuardHook("loss")])

        @loop.training_step
        def step():
            model.velocity.assign([np.inf, 0.0])
            return {"loss": 0.5}

        with pytest.raises(FloatingPointError, match="not finite at step 1: velocity$"), loop:
            step()
        assert names(tmp_path, ".index") in ([], ["model.ckpt-0"])


class TestTheOtherHooks:
    def test_an_evaluation_is_a_function(self, model, dataset, tmp_path):
        evaluation = hooks.EvaluationHook(
            lambda session: {"norm": float(tf.norm(model.weights))}, every_steps=4
        )
        loop = hookrun.Loop(logdir=tmp_path, hooks=[evaluation], save_model_secs=0)
        step = loop.training_step(model.step)
        with loop:
            for x in dataset.take(8):
                step(x)
        assert loop.metrics["norm"] == pytest.approx(float(tf.norm(model.weights)))
        assert [e.step for e in EventAccumulator(str(tmp_path / "eval")).Reload().Scalars("norm")] == [4, 8]

    def test_the_learning_rate_of_an_optimizer_is_set_and_recorded(self, tmp_path):
        optimizer = keras.optimizers.SGD(1.0)
        rates = hooks.LearningRateHook(optimizer, lambda step: 0.5**step, every_steps=1)
        loop = hookrun.Loop(logdir=tmp_path, hooks=[rates], save_model_secs=0)
        seen = []
        step = loop.training_step(lambda: seen.append(float(optimizer.learning_rate)))
        with loop:
            for _ in range(3):
                step()
        assert seen == [1.0, 0.5, 0.25]
        assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("learning_rate")) == 3

    def test_what_is_logged_shown_and_beaten_by_the_heart(self, model, dataset, tmp_path, caplog):
        caplog.set_level(logging.INFO, "hookrun")
        heart = hooks.HeartbeatHook(tmp_path / "heartbeat.json", every_secs=60)
        given = [
            hooks.LoggingHook({"loss": "loss"}, every_steps=5),
            heart,
            hooks.StopAfterTimeHook(secs=3600),
        ]
        loop = hookrun.Loop(hooks=given)
        step = loop.training_step(model.step)
        with loop:
            for x in dataset.take(5):
                step(x)
        assert "step 5: loss" in caplog.text and (tmp_path / "heartbeat.json").exists()


class TestTimers:
    def test_a_save_on_a_timer_is_of_a_whole_step(self, tmp_path, wait_until):
        variables = [tf.Variable(tf.zeros([1000], tf.int64)) for _ in range(20)]
        checkpoint = tf.train.Checkpoint(variables=variables)
        loop = hookrun.Loop(checkpoint, logdir=tmp_path, save_model_secs=0.05, save_summaries_secs=0)
        saved, enough = [], threading.Event()

        @loop.training_step
        @tf.function
        def step():
            for variable in variables:
                variable.assign_add(tf.ones_like(variable))

        @loop.on(signals.checkpoint_saved)
        def look(loop, event):
            reader = tf.train.load_checkpoint(event.path)
            keys = [key for key in reader.get_variable_to_shape_map() if key.startswith("variables/")]
            values = {int(value) for key in keys for value in reader.get_tensor(key)}
            saved.append((event.global_step, values))
            if len(saved) >= 10:
                enough.set()

        with loop:
            while not enough.is_set():
                step()
        assert all(values == {at} for at, values in saved) and len(saved) >= 10

    def test_the_position_in_the_data_is_that_of_the_step(self, tmp_path):
        total = tf.Variable(0, dtype=tf.int64)
        data = iter(tf.data.Dataset.range(10**9))
        loop = hookrun.Loop(
            tf.train.Checkpoint(total=total, data=data),
            logdir=tmp_path,
            save_model_secs=0.03,
            save_summaries_secs=0,
        )
        step = loop.training_step(tf.function(lambda x: total.assign(x)))
        saved, enough = [], threading.Event()

        @loop.on(signals.checkpoint_saved)
        def count(loop, event):
            saved.append(event.path)
            if len(saved) >= 8:
                enough.set()

        with loop:
            while not enough.is_set():
                step(next(data))
        other = iter(tf.data.Dataset.range(10**9))
        restored = tf.Variable(0, dtype=tf.int64)
        for path in [
            path for path in saved if tf.train.checkpoints_iterator and tf.io.gfile.exists(path + ".index")
        ]:
            tf.train.Checkpoint(total=restored, data=other).restore(path)
            if int(path.rpartition("-")[2]) > 0:
                assert int(next(other)) == int(restored) + 1

    def test_a_function_is_called_periodically_until_the_end(self, wait_until):
        called = threading.Event()
        loop = hookrun.Loop()
        with loop:
            thread = loop.run_every(3600, called.set)
            wait_until(called)
        assert not thread.is_alive()


class TestSummaries:
    def test_the_numbers_of_the_results_are_written_by_steps(self, model, dataset, tmp_path):
        loop = hookrun.Loop(
            logdir=tmp_path, save_model_secs=0, save_summaries_secs=0, save_summaries_steps=10
        )
        step = loop.training_step(model.step)
        with loop:
            for x in dataset.take(40):
                step(x)
        written = EventAccumulator(str(tmp_path)).Reload()
        assert [event.step for event in written.Scalars("loss")][:3] == [11, 21, 31]
        assert "more/square" in written.Tags()["scalars"] and "global_step/sec" in written.Tags()["scalars"]

    def test_a_summary_hook_writes_at_its_own_steps(self, model, dataset, tmp_path):
        loop = hookrun.Loop(logdir=tmp_path, save_model_secs=0, hooks=[hooks.SummaryHook(every_steps=10)])
        step = loop.training_step(model.step)
        with loop:
            for x in dataset.take(30):
                step(x)
        assert [event.step for event in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")] == [
            10,
            20,
            30,
        ]


class TestTrain:
    def test_it_calls_the_step_until_the_last(self, model, dataset):
        loop = hookrun.Loop()
        loop.train(model.step, dataset, last_step=30)
        assert loop.global_step == 30

    @pytest.mark.parametrize("steps_per_call", [1, 7, "auto"])
    def test_the_end_of_the_data_and_the_schedules_are_exact(self, model, dataset, steps_per_call):
        loop = hookrun.Loop()
        told = {"30": [], "at": []}
        loop.on(
            signals.step,
            lambda loop, e: told["30"].append((e.global_step, e.values)),
            every_steps=30,
            fetches="loss",
        )
        loop.on(signals.step, lambda loop, e: told["at"].append(e.global_step), at_steps=[1, 50])
        loop.train(model.step, dataset, steps_per_call=steps_per_call)
        assert loop.global_step == 100
        assert [at for at, _ in told["30"]] == [30, 60, 90] and told["at"] == [1, 50]

    def test_a_hook_that_is_due_at_every_step_is_told_of_every_step(self, model, dataset):
        loop = hookrun.Loop(hooks=[recording := RecordingHook()])
        loop.train(model.step, dataset, last_step=20, steps_per_call="auto")
        assert [event.global_step for event in recording.events(signals.step)] == list(range(1, 21))

    def test_what_cannot_be_run_in_a_graph_is_made_step_by_step(self, caplog):
        loop = hookrun.Loop()
        loop.train(lambda x: x, [1, 2, 3], steps_per_call="auto")
        assert loop.global_step == 3 and "made one by one: the step is no tf.function" in caplog.text

    def test_a_stop_of_a_timer_is_met_soon(self, model, dataset):
        loop = hookrun.Loop()
        with loop:
            loop.run_every(None, lambda: loop.request_stop() if loop.global_step > 200 else None)
            loop.train(model.step, dataset.repeat(), steps_per_call="auto")
        assert loop.global_step > 200

    def test_inside_of_the_block_it_goes_on(self, model, dataset, tmp_path):
        loop = hookrun.Loop(model.checkpoint, logdir=tmp_path, save_summaries_secs=0)
        with loop:
            loop.train(model.step, dataset, last_step=10)
            loop.train(model.step, dataset, last_step=25, steps_per_call="auto")
        assert "model.ckpt-25" in names(tmp_path, ".index")


def test_events_are_those_of_a_graph(model, dataset):
    loop = hookrun.Loop(hooks=[recording := RecordingHook()])
    with loop:
        loop.training_step(model.step)(next(iter(dataset)))
    assert all(
        type(event).__module__ == events.__name__ or isinstance(event, events.Step)
        for _, event in recording.sent
    )


def test_the_order_is_logged(model, caplog):
    caplog.set_level(logging.INFO, "hookrun")
    with hookrun.Loop(hooks=[RecordingHook()]):
        pass
    assert "Session ready at step 0" in caplog.text
