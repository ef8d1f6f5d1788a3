"""hookrun.testing: what a hook author is given, also by its own documentation."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hookrun import events, hooks, signals, testing
from hookrun.testing import FakeClock, RecordingHook, run_steps

(DOCUMENTED,) = re.findall(r"```python\n(.*?)```", testing.__doc__, re.DOTALL)


def test_the_tests_in_its_documentation_pass(caplog):
    names = {}
    exec(DOCUMENTED, names)
    names["test_it_stops_the_training_at_a_loss_that_is_not_finite"]()
    caplog.clear()
    names["test_it_logs_the_values_with_the_steps_per_second"](caplog)


class Seen(hooks.Hook):
    """Keeps what it is told, and counts over restarts."""

    def __init__(self, fetches=None):
        self.fetches = fetches
        self.values = []
        self.count = 0

    def on_step(self, supervisor, event):
        self.values.append(event.values)
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class TestRunSteps:
    def test_gives_the_values_in_the_structure_of_the_fetches(self):
        own = {"loss": object(), "more": ["a name", object()]}
        hook = Seen(own)
        values = [{"loss": i / 2, "more": [np.arange(i), b"text"]} for i in (1, 2)]
        run_steps(hook, 2, values=values)
        assert hook.fetches is own
        assert [(v["loss"], list(v["more"][0]), v["more"][1]) for v in hook.values] == [
            (0.5, [0], b"text"),
            (1.0, [0, 1], b"text"),
        ]
        assert hook.values[0]["loss"].dtype == np.float32

    def test_is_a_whole_session_in_the_order_of_a_training(self, tmp_path):
        sent = run_steps(hooks.Hook(), 2, logdir=tmp_path)
        assert [signal.name for signal, _ in sent.sent] == [
            *("session_created", "step", "step", "checkpoint_saving", "checkpoint_saved", "stop")
        ]
        assert not sent.supervisor.services_started

    def test_ends_when_the_hook_stops_it_or_fails(self):
        stop = hooks.CallbackHook(lambda sv, _: sv.request_stop(), at_steps=[2])
        run_steps(stop, 5).assert_sent(signals.step, times=2)
        with pytest.raises(ZeroDivisionError):
            run_steps(hooks.CallbackHook(lambda *_: 1 / 0), 5)

    def test_restores_the_hook_from_what_it_saved(self, tmp_path):
        run_steps(Seen(), 3, logdir=tmp_path)
        again = Seen()
        run_steps(again, 2, logdir=tmp_path).assert_sent(signals.step, global_step=5)
        assert again.count == 5

    def test_moves_the_clock_before_each_step(self):
        clock, times = FakeClock(100.0), []
        run_steps(hooks.CallbackHook(lambda *_: times.append(clock())), 3, clock=clock, secs_per_step=0.5)
        assert times == [100.5, 101.0, 101.5]
        clock.advance(2)
        assert clock() == 103.5

    def test_values_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="values must be given where the hook has fetches: 'a'"):
            run_steps(Seen("a"), 1)
        with pytest.raises(ValueError, match="values must be given where the hook has fetches: None"):
            run_steps(Seen(), 1, values=[1.0])
        with pytest.raises(ValueError, match="values must hold those of 2 steps, not of 1"):
            run_steps(Seen("a"), 2, values=[1.0])
        with pytest.raises(ValueError, match="metrics must hold those of 2 steps, not of 1"):
            run_steps(Seen(), 2, metrics=[{"accuracy": 1.0}])
        with pytest.raises(ValueError, match="same set of keys"):
            run_steps(Seen({"a": "a"}), 1, values=[{"b": 1.0}])


class EveryHook:
    """For each hook of the library: how `run_steps` drives it, and what comes of that.

    A method is called in the graph that is given as `graph`, with the directory that is given as `logdir`. It
    returns the hook, further arguments, and what is to be true then, of what was sent and logged.
    """

    def CallbackHook(self, logdir):
        told = []
        hook = hooks.CallbackHook(lambda _, event: told.append(event.values.item()), fetches="any")
        return hook, {"values": [1.0, 2.0, 3.0]}, lambda *_: told == [1.0, 2.0, 3.0]

    def CheckpointHook(self, logdir):
        saved = {"model.ckpt-2.index", "model.ckpt-3.index"}
        hook = hooks.CheckpointHook(every_steps=2)
        return hook, {}, lambda *_: saved == {path.name for path in logdir.glob("*.index")}

    def EarlyStoppingHook(self, logdir):
        hook = hooks.EarlyStoppingHook("accuracy", mode="max", patience=1)
        metrics = [{"accuracy": 0.5}, {"accuracy": 0.75}, {}]
        return hook, {"metrics": metrics}, lambda *_: (hook.best, hook.best_step) == (0.75, 2)

    def EvaluationHook(self, logdir):
        hook = hooks.EvaluationHook({"two": tf.constant(2.0)}, every_steps=1)
        return hook, {"metrics": [{"two": 0.0}] * 3}, lambda sent, _: sent.supervisor.metrics == {"two": 2.0}

    def HParamsHook(self, logdir):
        hook = hooks.HParamsHook({"rate": 0.1}, {"two": tf.constant(2.0)})
        return hook, {}, lambda *_: scalars(logdir, "final/two") == [2.0]

    def HeartbeatHook(self, logdir):
        path = logdir / "heartbeat.json"
        return hooks.HeartbeatHook(path), {}, lambda *_: json.loads(path.read_text())["step"] == 3

    def LearningRateHook(self, logdir):
        rate = tf.compat.v1.get_variable("rate", initializer=9.0, trainable=False)
        hook = hooks.LearningRateHook(rate, lambda step: 2.0**step, every_steps=1)
        return hook, {}, lambda *_: scalars(logdir, "learning_rate") == [1.0, 2.0, 4.0]

    def LoggingHook(self, logdir):
        hook = hooks.LoggingHook({"two": tf.constant(2.0)}, every_steps=3)
        return hook, {}, lambda _, log: "step 3: two 2 (" in log

    def MovingAverageHook(self, logdir):
        weight = tf.compat.v1.get_variable("weight", initializer=4.0)
        hook, averages = hooks.MovingAverageHook(), []

        @hooks.CallbackHook
        def look(supervisor, event):
            with hook.swapped_in(event.session):
                averages.append(event.session.run(weight))

        return hook, {"others": [look]}, lambda *_: averages == [4.0] * 3

    def NanGuardHook(self, logdir):
        hook = hooks.NanGuardHook("loss:0", then="stop")
        values = [[1.0], [1.0], [math.inf]]
        return hook, {"values": values}, lambda _, log: "not finite at step 3: loss" in log

    def PreemptionHook(self, logdir):
        seen, before = [], signal.getsignal(signal.SIGTERM)
        look = hooks.CallbackHook(lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
        return hooks.PreemptionHook(), {"others": [look]}, lambda *_: before not in seen and len(seen) == 3

    def ProfilerHook(self, logdir):
        return hooks.ProfilerHook(at_steps=[2]), {}, lambda *_: any(logdir.glob("plugins/profile/step_2/*"))

    def ProgressHook(self, logdir):
        file = io.StringIO()
        hook = hooks.ProgressHook({"loss": "loss:0"}, last_step=3, file=file)
        return hook, {"values": [{"loss": 0.5}] * 3}, lambda *_: file.getvalue().startswith("100% 3/3")

    def QueueRunnerHook(self, logdir):
        queue = tf.queue.FIFOQueue(1, tf.float32)
        runner = tf.compat.v1.train.QueueRunner(queue, [queue.enqueue(1.0)])
        tf.compat.v1.train.add_queue_runner(runner)
        value, seen = queue.dequeue(), []
        look = hooks.CallbackHook(lambda _, event: seen.append(event.session.run(value)))
        return hooks.QueueRunnerHook(), {"others": [look]}, lambda *_: seen == [1.0, 1.0, 1.0]

    def SessionRunHookAdapter(self, logdir):
        final = tf.compat.v1.train.FinalOpsHook(tf.constant(2.0))
        return hooks.SessionRunHookAdapter(final), {}, lambda *_: final.final_ops_values == 2.0

    def StepCounterHook(self, logdir):
        @hooks.CallbackHook
        def tick(supervisor, event):
            supervisor.send(signals.summary_due, events.SummaryDue(event.session))

        clock = FakeClock()
        arguments = {"others": [tick], "clock": clock, "secs_per_step": 0.5}
        hook = hooks.StepCounterHook(clock=clock)
        return hook, arguments, lambda *_: scalars(logdir, "global_step/sec") == [2.0, 2.0, 2.0]

    def StopAfterTimeHook(self, logdir):
        clock = FakeClock()
        hook = hooks.StopAfterTimeHook(secs=3, clock=clock)
        return hook, {"clock": clock}, lambda _, log: "stops at step 3, after 3 s" in log

    def StopAtStepHook(self, logdir):
        return hooks.StopAtStepHook(last_step=3), {}, lambda _, log: "stops at step 3" in log

    def SummaryHook(self, logdir):
        tf.compat.v1.summary.scalar("two", tf.constant(2.0))
        return hooks.SummaryHook(every_steps=1), {}, lambda *_: scalars(logdir, "two") == [2.0] * 3

    def TraceHook(self, logdir):
        hook = hooks.TraceHook(at_steps=[2])
        return hook, {}, lambda *_: accumulated(logdir).Tags()["run_metadata"] == ["step_2"]


def accumulated(logdir):
    return EventAccumulator(str(logdir)).Reload()


def scalars(logdir, tag):
    return [point.value for point in accumulated(logdir).Scalars(tag)]


@pytest.mark.parametrize("name", [n for n in hooks.__all__ if n not in ("Hook", "retention")])
def test_run_steps_drives_each_hook_of_the_library(name, graph, tmp_path, caplog):
    caplog.set_level(logging.INFO, "hookrun")
    hook, arguments, is_true = getattr(EveryHook(), name)(tmp_path)
    sent = run_steps(hook, 3, graph=graph, logdir=tmp_path, **arguments)
    sent.assert_sent(signals.step, times=3)
    assert is_true(sent, caplog.text)


class TestRecordingHook:
    def test_what_was_sent_is_counted_by_its_fields(self):
        sent = run_steps(hooks.Hook(), 3)
        sent.assert_sent(signals.step)
        sent.assert_sent(signals.step, times=3)
        sent.assert_sent(signals.step, times=1, global_step=2)
        sent.assert_sent(signals.checkpoint_saved, times=0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"times": 3}, r"step\(\) was sent 2 times, not 3"),
            ({"times": 0}, r"step\(\) was sent 2 times, not 0"),
            ({"global_step": 7}, r"step\(global_step=7\) was sent 0 times, not at least once"),
        ],
    )
    def test_what_was_not_sent_is_told_with_what_was(self, arguments, message):
        sent = run_steps(hooks.Hook(), 2)
        all_sent = (
            r"Sent: session_created\(global_step=0\), step\(global_step=1\), step\(global_step=2\), stop"
        )
        with pytest.raises(AssertionError, match=f"{message}. {all_sent}"):
            sent.assert_sent(signals.step, **arguments)

    def test_a_field_that_does_not_exist_is_an_error(self):
        with pytest.raises(AttributeError, match="global_stop"):
            run_steps(hooks.Hook(), 1).assert_sent(signals.step, times=0, global_stop=1)

    def test_it_is_called_last_and_keeps_what_was_sent_before_an_error(self):
        recorder = RecordingHook()
        with pytest.raises(ZeroDivisionError):
            run_steps(hooks.CallbackHook(lambda *_: 1 / 0), 2, others=[recorder])
        recorder.assert_sent(signals.step, times=1)
        assert isinstance(recorder.events(signals.stop)[0].error, ZeroDivisionError)
