"""EvaluationHook: what is measured when, and who is told of it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import hooks
from hookrun.hooks import retention

OFF = {"save_summaries_secs": 0, "save_model_secs": 0}


def train(sv, model, steps):
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)


def points(directory, tag):
    return [(point.step, point.value) for point in EventAccumulator(str(directory)).Reload().Scalars(tag)]


def test_fetches_are_averaged_over_the_feeds_and_are_a_run_of_their_own(model, tmp_path):
    given = tf.compat.v1.placeholder(tf.float32, [])
    step = tf.cast(model.global_step, tf.float32)

    def feeds():
        yield {given: 1.0}
        yield {given: 4.0}

    hook = hooks.EvaluationHook({"sum": given + step, "step": step}, feeds, every_steps=2)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook], **OFF)
    train(sv, model, 5)
    assert points(tmp_path / "eval", "sum") == [(2, 4.5), (4, 6.5), (5, 7.5)]
    assert sv.metrics == {"sum": 7.5, "step": 5.0}
    assert "sum" not in EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]


@pytest.mark.parametrize(
    ("dtype", "batches", "mean"),
    [
        (tf.bfloat16, [1.0] * 1000, 1.0),
        (tf.float16, [60000.0, 60000.0], 60000.0),
        (tf.float32, [2.0**24, 1.0, 1.0, 2.0**24], (2.0**25 + 2) / 4),
        (tf.int8, [100, 101, 127], 328 / 3),
        (tf.uint8, [200, 255], 227.5),
        (tf.int64, [2**62, 2**62, 2**62], 2.0**62),
        (tf.bool, [True, False, False, False], 0.25),
    ],
)
def test_an_average_is_that_of_the_values_whatever_their_type(dtype, batches, mean, model):
    value = tf.compat.v1.placeholder(dtype, [])
    feeds = [{value: batch} for batch in batches]
    sv = hookrun.Supervisor(hooks=[hooks.EvaluationHook({"mean": value}, lambda: feeds, every_steps=1)])
    train(sv, model, 1)
    assert sv.metrics == {"mean": mean}


def test_what_is_not_one_number_is_refused_by_hook_and_metric(model):
    known, unknown, text = tf.zeros([2]), tf.compat.v1.placeholder(tf.float32, None), tf.constant("3")
    with pytest.raises(ValueError, match=r"EvaluationHook: metric 'per_class' must .* shape \(2,\): <tf"):
        hooks.EvaluationHook({"per_class": known}, every_steps=1)
    for evaluate, feeds in (
        ({"per_class": unknown}, lambda: [{unknown: [1.0]}, {unknown: [1.0, 2.0]}]),
        (lambda sess: {"per_class": sess.run(known)}, None),
    ):
        hook = hooks.EvaluationHook(evaluate, feeds, every_steps=1)
        with pytest.raises(ValueError, match=r"EvaluationHook: metric must .* shape \(2,\): per_class"):
            train(hookrun.Supervisor(hooks=[hook]), model, 1)
    hook = hooks.EvaluationHook({"text": text}, every_steps=1)
    with pytest.raises(TypeError, match="EvaluationHook: metric 'text' must be a number, not b'3'"):
        train(hookrun.Supervisor(hooks=[hook]), model, 1)


class TestAStop:
    """Comes in the third of ten batches of an evaluation, in each form that an evaluation has."""

    @pytest.fixture(params=["fetches", "function", "function that catches errors"])
    def evaluation(self, request, model, tmp_path):
        """Makes a hook that stops the training so in the evaluation of that number; and what has been run."""
        value = tf.compat.v1.placeholder(tf.float32, [])
        runs = []

        def feeds(stop, when):
            for batch in range(10):
                if len(runs) == 10 * (when - 1) + 3:
                    stop()
                yield {value: batch}
                runs.append(batch)

        def make(stop, when=1, **arguments):
            def evaluate(sess):
                for feed in feeds(stop, when):
                    sess.run(value, feed)
                return {"value": 4.5}

            def evaluate_the_more(sess):
                for feed in feeds(stop, when):
                    with contextlib.suppress(Exception):
                        sess.run(value, feed)
                return {"value": 4.5}

            if request.param == "fetches":
                return hooks.EvaluationHook({"value": value}, lambda: feeds(stop, when), **arguments)
            function = evaluate if request.param == "function" else evaluate_the_more
            return hooks.EvaluationHook(function, **arguments)

        return make, runs

    def interrupted(self, tmp_path, model, evaluation, when=1, steps=100, saving=(), **schedule):
        def interrupt():
            sv.coord.fail(SystemExit(143))

        make, runs = evaluation
        sv = hookrun.Supervisor(
            logdir=tmp_path, hooks=[make(interrupt, when, **schedule), *saving], save_summaries_secs=0
        )
        with pytest.raises(SystemExit):
            train(sv, model, steps)
        return sv, len(runs)

    def test_breaks_it_off_and_nothing_of_it_is_told(self, tmp_path, model, evaluation, caplog):
        caplog.set_level(logging.INFO, "hookrun.hooks.evaluation")
        sv, runs = self.interrupted(tmp_path, model, evaluation, at_steps=[5])
        assert runs == 3 and sv.metrics == {} and not (tmp_path / "eval").exists()
        assert caplog.messages == ["The evaluation at step 5 is aborted: the training stops"]
        assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-5")

    def test_breaks_off_that_of_a_checkpoint(self, tmp_path, model, evaluation):
        saving = hooks.CheckpointHook(every_steps=5, keep=retention.LatestN(2))
        sv, runs = self.interrupted(tmp_path, model, evaluation, saving=[saving], every_checkpoints=1)
        assert runs == 3 and sv.metrics == {}
        assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-5")

    def test_breaks_off_that_of_the_end(self, tmp_path, model, evaluation):
        sv, runs = self.interrupted(tmp_path, model, evaluation, when=2, steps=8, every_steps=5)
        assert runs == 13 and sv.metrics == {"value": 4.5}
        assert points(tmp_path / "eval", "value") == [(5, 4.5)]

    def test_that_is_clean_is_followed_by_the_evaluation_of_the_last_step(self, tmp_path, model, evaluation):
        make, runs = evaluation
        sv = hookrun.Supervisor(
            logdir=tmp_path, hooks=[make(lambda: sv.request_stop(), every_steps=5)], **OFF
        )
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(model.train_op)
        assert len(runs) == 3 + 10 and points(tmp_path / "eval", "value") == [(5, 4.5)]

    def test_that_came_before_it_lets_the_last_step_be_evaluated(self, model, evaluation):
        make, runs = evaluation
        last = hooks.StopAtStepHook(last_step=5)
        hook = make(lambda: None, every_steps=5, at_end=False)
        sv = hookrun.Supervisor(hooks=[last, hook])
        train(sv, model, 5)
        assert len(runs) == 10 and sv.metrics == {"value": 4.5}


def by_loading(model):
    return lambda sess, value: model.weights.load(value, sess)


def by_assigning(model):
    value = tf.compat.v1.placeholder(tf.float32, [3])
    assign = tf.compat.v1.assign(model.weights, value)
    return lambda sess, given: sess.run(assign, {value: given})


def by_restoring(model):
    saver = tf.compat.v1.train.Saver([model.weights])
    path = tempfile.mkdtemp()

    def write(sess, value):
        by_loading(model)(sess, value)
        saver.restore(sess, saver.save(sess, f"{path}/weights", write_meta_graph=False))

    return write


@pytest.mark.parametrize("writes", [by_loading, by_assigning, by_restoring])
def test_a_function_that_has_changed_the_model_is_let_finish(writes, model, tmp_path):
    write = writes(model)

    def evaluate(sess):
        before = sess.run(model.weights)
        write(sess, [7.0, 7.0, 7.0])
        sv.coord.fail(SystemExit(143))
        loss = sess.run(model.loss)
        write(sess, before)  # as a program may, without `finally`
        return {"loss": loss}

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.EvaluationHook(evaluate, every_steps=2)])
    with pytest.raises(SystemExit):
        train(sv, model, 5)
    assert sv.metrics == {"loss": 108.0}
    saved = tf.train.load_variable(tf.train.latest_checkpoint(str(tmp_path)), "weights")
    np.testing.assert_allclose(saved, 1 - 0.8**2, rtol=1e-5)


def test_with_the_averages_swapped_in_it_is_broken_off_and_they_are_swapped_out(model, tmp_path):
    averages = hooks.MovingAverageHook(0.5)

    def evaluate(sess):
        with averages.swapped_in(sess):
            sv.coord.fail(SystemExit(143))
            return {"loss": sess.run(model.loss)}

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[averages, hooks.EvaluationHook(evaluate, every_steps=2)])
    with pytest.raises(SystemExit):
        train(sv, model, 5)
    assert sv.metrics == {}
    saved = tf.train.load_variable(tf.train.latest_checkpoint(str(tmp_path)), "weights")
    np.testing.assert_allclose(saved, 1 - 0.8**2, rtol=1e-5)


def test_runs_of_other_threads_are_not_broken_off(model):
    def evaluate(sess):
        sv.request_stop()
        with futures.ThreadPoolExecutor(1) as other:
            return {"loss": other.submit(sess.run, model.loss).result(30)}

    sv = hookrun.Supervisor(hooks=[hooks.EvaluationHook(evaluate, every_steps=1, at_end=False)])
    train(sv, model, 1)
    assert sv.metrics.keys() == {"loss"}


def test_a_function_is_called_with_the_session_and_its_metrics_reach_other_hooks_in_the_same_step(model):
    read = []

    class Reads(hooks.Hook):
        def on_step(self, supervisor, event):
            read.append((event.global_step, supervisor.metrics))

    hook = hooks.EvaluationHook(
        lambda sess: {"step": sess.run(model.global_step)}, at_steps=[2], at_end=False
    )
    train(hookrun.Supervisor(hooks=[hook, Reads()]), model, 3)
    assert read == [(1, {}), (2, {"step": 2.0}), (3, {"step": 2.0})]


def test_no_training_step_runs_while_the_model_is_measured(model):
    def measure(sess):
        before = sess.run(model.global_step)
        others_ran.wait(0.2)  # they would; the bound is how long they are given to
        seen.append(int(sess.run(model.global_step) - before))
        return {}

    seen, others_ran = [], threading.Event()
    sv = hookrun.Supervisor(hooks=[hooks.EvaluationHook(measure, every_steps=20)])

    def others(sess):
        while not sv.should_stop():
            sess.run(model.train_op)

    with sv.managed_session() as sess:
        thread = threading.Thread(target=others, args=(sess,))
        thread.start()
        for _ in range(60):
            sess.run(model.train_op)
        sv.request_stop()
        thread.join()
    assert len(seen) >= 3 and set(seen) == {0}


def test_metrics_may_be_updated_by_several_threads_while_no_step_runs(model):
    mean, update = tf.compat.v1.metrics.mean(model.loss)

    def evaluate(sess):
        threads = futures.ThreadPoolExecutor(2)
        try:
            for updated in [threads.submit(sess.run, update) for _ in range(4)]:
                updated.result(20)
        finally:
            threads.shutdown(wait=False)
        return {"mean": sess.run(mean)}

    sv = hookrun.Supervisor(hooks=[hooks.EvaluationHook(evaluate, every_steps=1)])
    train(sv, model, 2)
    assert "mean" in sv.metrics


def test_every_so_many_seconds_it_evaluates_at_the_step_after(model):
    evaluated = []
    hook = hooks.EvaluationHook(
        lambda sess: evaluated.append(1) or {}, every_secs=1e-9, at_steps=[2], at_end=False
    )
    train(hookrun.Supervisor(hooks=[hook]), model, 3)
    rare = hooks.EvaluationHook(lambda sess: evaluated.append(2) or {}, every_secs=3600, at_end=False)
    train(hookrun.Supervisor(hooks=[rare]), model, 3)
    assert evaluated == [1, 1, 1]


def test_every_so_many_checkpoints_it_evaluates_the_model_that_is_saved(model, tmp_path):
    evaluation = hooks.EvaluationHook({"loss": model.loss}, every_checkpoints=2, at_end=False)
    saving = hooks.CheckpointHook(every_steps=2)
    train(hookrun.Supervisor(logdir=tmp_path, hooks=[evaluation, saving]), model, 11)
    assert [step for step, _ in points(tmp_path / "eval", "loss")] == [4, 8]


@pytest.mark.parametrize("schedule", [{"every_checkpoints": 1}, {"every_checkpoints": 1, "every_steps": 5}])
def test_by_checkpoints_the_best_is_the_one_that_was_best_and_early_stopping_hears_of_it(
    schedule, model, tmp_path
):
    evaluated = []

    def evaluate(session):
        evaluated.append(int(session.run(model.global_step)))
        return {"distance": abs(evaluated[-1] - 12)}

    saving = hooks.CheckpointHook(
        every_steps=5, keep=retention.LatestN(1) | retention.BestN(1, metric="distance", mode="min")
    )
    stopping = hooks.EarlyStoppingHook("distance", mode="min", patience=20)
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[hooks.EvaluationHook(evaluate, **schedule), stopping, saving], **OFF
    )
    with sv.managed_session() as sess:
        while not sv.should_stop():
            sess.run(model.train_op)
    assert evaluated[:6] == [5, 10, 15, 20, 25, 30]
    assert stopping.best == 2 and stopping.best_step in (10, 11)
    assert evaluated[-1] == stopping.best_step + 20
    kept = sorted(path.stem for path in tmp_path.glob("model.ckpt-*.index"))
    assert kept == ["model.ckpt-10", f"model.ckpt-{evaluated[-1]}"]


def test_the_final_checkpoint_after_an_interrupt_does_not_wait_for_an_evaluation(model, tmp_path):
    evaluated = []
    hook = hooks.EvaluationHook(lambda sess: evaluated.append(1) or {}, every_checkpoints=1)
    saving = hooks.CheckpointHook(every_steps=1000)
    with pytest.raises(KeyboardInterrupt):
        with hookrun.Supervisor(logdir=tmp_path, hooks=[hook, saving]).managed_session() as sess:
            sess.run(model.train_op)
            raise KeyboardInterrupt
    assert evaluated == []
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-1")


def test_the_last_evaluation_is_remembered_beside_the_final_checkpoint(model, tmp_path):
    saved = []
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[hooks.EvaluationHook({"step": model.global_step}, every_steps=2)]
    )
    sv.on(hookrun.signals.checkpoint_saved, lambda _, event: saved.append(dict(event.metrics)))
    train(sv, model, 3)
    assert saved[-1] == {"step": 3.0}


def test_it_logs_the_metrics_as_a_person_writes_them(model, caplog):
    caplog.set_level(logging.INFO, "hookrun.hooks.evaluation")
    hook = hooks.EvaluationHook(
        lambda sess: {"loss": np.float32(1) / 3, "hits": np.int64(7)}, at_steps=[1], at_end=False
    )
    train(hookrun.Supervisor(hooks=[hook]), model, 1)
    assert caplog.messages == ["Evaluated at step 1: loss 0.333333, hits 7"]


def test_neither_an_interrupt_nor_an_error_waits_for_an_evaluation(model):
    called = []
    hook = hooks.EvaluationHook(lambda sess: called.append(1), every_steps=100)
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), hookrun.Supervisor(hooks=[hook]).managed_session():
            raise error
    assert called == []


def test_another_summary_writer_gets_the_metrics_under_the_directory_as_a_prefix(model, tmp_path):
    writer = tf.compat.v1.summary.FileWriter(str(tmp_path))
    hook = hooks.EvaluationHook(lambda sess: {"accuracy": 0.5}, every_steps=1, directory="test")
    train(hookrun.Supervisor(logdir=tmp_path, summary_writer=writer, hooks=[hook], **OFF), model, 1)
    assert points(tmp_path, "test/accuracy") == [(1, 0.5)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "evaluate must be fetches by name or a function of the session, not 3"),
        (({}, 3), TypeError, "feeds must be a function that returns feed dictionaries, not 3"),
        ((print, list), TypeError, "feeds is for fetches; the function <built-in function print>"),
        (({},), ValueError, "needs one of every_steps, every_secs, at_steps and every_checkpoints"),
    ],
)
def test_wrong_arguments_are_refused_by_name_and_value(arguments, error, message):
    with pytest.raises(error, match=message):
        hooks.EvaluationHook(*arguments)


def test_what_is_not_in_the_graph_is_refused_when_the_hook_is_given(model):
    evaluation = hooks.EvaluationHook({"loss": "nosuch:0"}, every_steps=1)
    with pytest.raises(ValueError, match="EvaluationHook cannot fetch 'nosuch:0'"):
        hookrun.Supervisor(hooks=[evaluation])


def test_a_wrong_number_of_checkpoints_is_refused():
    with pytest.raises(ValueError, match="every_checkpoints must be a positive number .*, not 0"):
        hooks.EvaluationHook({}, every_checkpoints=0)


def test_a_function_that_returns_no_metrics_is_an_error_that_says_so(model):
    with pytest.raises(TypeError, match="evaluate must return numbers by name, and returned 0.5"):
        train(hookrun.Supervisor(hooks=[hooks.EvaluationHook(lambda sess: 0.5, every_steps=1)]), model, 1)


def test_a_last_step_that_was_evaluated_before_the_training_went_back_to_it_is_evaluated_again(
    model, tmp_path
):
    steps = []

    def evaluate(session):
        steps.append(int(sv.read_global_step(session)))
        return {"metric": 1.0}

    given = [
        hooks.CheckpointHook(at_steps=[2, 4], background=False),
        hooks.EvaluationHook(evaluate, every_checkpoints=2),
    ]
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=given, save_model_secs=0, save_summaries_secs=0)
    with sv.managed_session() as sess:
        for _ in range(4):
            sess.run(model.train_op)
        sv.restore(sess, f"{sv.save_path}-2")
        for _ in range(2):
            sess.run(model.train_op)
    assert steps == [4, 4]
