"""MovingAverageHook: the averages, and that no step and no checkpoint sees them as the weights."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks

BOUND_SECS = 30.0


def counting_model():
    """A weight that is the number of steps."""
    step = tf.compat.v1.train.get_or_create_global_step()
    weight = tf.compat.v1.get_variable("weight", initializer=0.0)
    with tf.control_dependencies([weight.assign_add(1.0)]):
        train_op = tf.compat.v1.assign_add(step, 1).op
    return SimpleNamespace(step=step, weight=weight, train_op=train_op)


@pytest.fixture
def counting(graph):
    return counting_model()


def expected_averages(weights, decay, first=0.0):
    """The average after each step, from the weight after each."""
    average, averages = first, []
    for step, weight in enumerate(weights, start=1):
        rate = min(decay, (1 + step) / (10 + step))
        average = rate * average + (1 - rate) * weight
        averages.append(average)
    return averages


def first_weight(sess, model):
    return float(sess.run(model.weights)[0])


def test_the_averages_follow_the_weights_after_each_step_and_are_swapped_in_for_a_block(model):
    weights, averages = [], []
    hook = hooks.MovingAverageHook(0.5)
    with hookrun.Supervisor(hooks=[hook]).managed_session() as sess:
        for _ in range(6):
            sess.run(model.train_op)
            weights.append(first_weight(sess, model))
            with hook.swapped_in(sess):
                averages.append(first_weight(sess, model))
            assert first_weight(sess, model) == weights[-1]
    np.testing.assert_allclose(averages, expected_averages(weights, 0.5), rtol=1e-5)
    np.testing.assert_allclose(weights, 1 - 0.8 ** np.arange(1, 7), rtol=1e-5)  # as without the hook


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float32, tf.float64])
@pytest.mark.parametrize("counts", [False, True])
def test_averages_of_any_type_follow_in_small_steps(dtype, counts, tmp_path):
    if counts:
        tf.compat.v1.train.get_or_create_global_step()
    weight = tf.compat.v1.get_variable("weight", initializer=tf.constant(2.0, dtype))
    hook = hooks.MovingAverageHook(0.999)
    sv = hookrun.Supervisor(hooks=[hook])
    with sv.managed_session() as sess:
        if counts:
            sv.global_step.load(100_000, sess)
        weight.load(1.0, sess)
        for _ in range(1000):
            hook.on_step(sv, events.Step(1, sess, None))
        expected = 1 + 0.999**1000
        average = next(v for v in tf.compat.v1.global_variables() if v.op.name.startswith("weight/"))
        assert sess.run(average) == pytest.approx(expected, rel=1e-5)
        with hook.swapped_in(sess):
            assert float(sess.run(weight)) == pytest.approx(expected, rel=2**-8)
        assert float(sess.run(weight)) == 1.0
        saved = tf.train.load_variable(hook.save(sess, str(tmp_path / "averaged")), "weight")
        assert saved.dtype == dtype and float(saved) == pytest.approx(expected, rel=2**-8)


def test_the_other_hooks_of_a_step_find_the_averages_updated_and_evaluate_with_them(model):
    hook = hooks.MovingAverageHook(0.5)

    def evaluate(sess):
        with hook.swapped_in(sess):
            return {"average": first_weight(sess, model)}

    sv = hookrun.Supervisor(hooks=[hooks.EvaluationHook(evaluate, every_steps=1), hook])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        assert sv.metrics["average"] == pytest.approx(expected_averages([0.2], 0.5)[0])


def test_a_schedule_says_at_which_steps_they_are_updated(model):
    hook = hooks.MovingAverageHook(0.5, every_steps=2)
    averages = []
    with hookrun.Supervisor(hooks=[hook]).managed_session() as sess:
        for _ in range(4):
            sess.run(model.train_op)
            with hook.swapped_in(sess):
                averages.append(first_weight(sess, model))
    assert averages[0] == 0.0 < averages[1] == averages[2] < averages[3]


def test_the_averages_are_in_the_checkpoint_and_a_resumed_run_goes_on_with_them(tmp_path):
    weights, averages = [], []
    for _ in range(2):
        with tf.Graph().as_default():
            model, hook = counting_model(), hooks.MovingAverageHook(0.5)
            with hookrun.Supervisor(logdir=tmp_path, hooks=[hook]).managed_session() as sess:
                for _ in range(3):
                    sess.run(model.train_op)
                    weights.append(sess.run(model.weight))
                    with hook.swapped_in(sess):
                        averages.append(sess.run(model.weight))
    assert weights == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(averages, expected_averages(weights, 0.5), rtol=1e-5)


def test_no_training_step_and_no_checkpoint_sees_the_averages(counting, tmp_path):
    """Two threads train, a third swaps after each step that it is told of, and every second step is saved."""
    hook = hooks.MovingAverageHook(0.5)
    saving = hooks.CheckpointHook(every_steps=2, keep=hooks.retention.LatestN(None))
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook, saving])
    training, stepped, swapped = threading.Event(), threading.Event(), []
    sv.on(hookrun.signals.step, lambda *_: stepped.set())

    def train(sess):
        for _ in range(15):
            sess.run(counting.train_op)

    def swap(sess):
        while stepped.wait(BOUND_SECS) and training.is_set():
            stepped.clear()
            with hook.swapped_in(sess):
                step = sess.run(counting.step)
                swapped.append(sess.run(counting.weight) < step)
                assert sess.run(counting.step) == step

    training.set()
    with sv.managed_session() as sess:
        trainers = [threading.Thread(target=train, args=(sess,)) for _ in range(2)]
        swapper = threading.Thread(target=swap, args=(sess,))
        for thread in (swapper, *trainers):
            thread.start()
        for thread in trainers:
            thread.join()
        training.clear()
        stepped.set()
        swapper.join()
        assert sess.run([counting.weight, counting.step]) == [30, 30]
    assert len(swapped) > 3 and all(swapped)
    checkpoints = [str(path.with_suffix("")) for path in tmp_path.glob("*.index")]
    assert len(checkpoints) > 3
    for path in checkpoints:
        assert tf.train.load_variable(path, "weight") == int(path.rpartition("-")[2])


def test_steps_of_several_threads_update_one_after_the_other(graph):
    """Two updates at once would overshoot: weights that only grow must stay above their averages."""
    step = tf.compat.v1.train.get_or_create_global_step()
    weights = tf.compat.v1.get_variable("weights", [300_000], initializer=tf.compat.v1.zeros_initializer())
    with tf.control_dependencies([weights.assign_add(tf.ones([300_000]))]):
        train_op = tf.compat.v1.assign_add(step, 1).op
    hook = hooks.MovingAverageHook(0.5)
    sv = hookrun.Supervisor(hooks=[hook])
    (average,) = [v for v in tf.compat.v1.global_variables() if "ExponentialMovingAverage" in v.op.name]
    lag = []

    @sv.on(hookrun.signals.step)
    def compare(sv, event):
        averaged = event.session.run(average)
        lag.append((event.session.run(weights) - averaged).min())

    with sv.managed_session() as sess:
        trainers = [
            threading.Thread(target=lambda: [sess.run(train_op) for _ in range(50)]) for _ in range(3)
        ]
        for thread in trainers:
            thread.start()
        for thread in trainers:
            thread.join()
    assert len(lag) == 150 and min(lag) > 0


def test_the_weights_are_back_after_an_error_and_after_an_interrupt(model, tmp_path):
    hook = hooks.MovingAverageHook(0.5)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook])
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt), sv.managed_session() as sess:
            sess.run(model.train_op)
            before = first_weight(sess, model)
            with pytest.raises(error), hook.swapped_in(sess):
                raise error
            assert first_weight(sess, model) == before
            raise KeyboardInterrupt


def test_an_interrupt_before_the_weights_are_back_does_not_save_the_averages(model, tmp_path, monkeypatch):
    hook = hooks.MovingAverageHook(0.5)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hook])
    swap_back = hook._swap_back

    def interrupted(session):
        monkeypatch.setattr(hook, "_swap_back", swap_back)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), sv.managed_session() as sess:
        sess.run(model.train_op)
        monkeypatch.setattr(hook, "_swap_back", interrupted)
        with hook.swapped_in(sess):
            pass
    assert tf.train.load_variable(str(tmp_path), "weights")[0] == pytest.approx(0.2)


def test_a_training_step_inside_the_block_is_an_error(model):
    hook = hooks.MovingAverageHook()
    with pytest.raises(RuntimeError, match="a training step was run inside `swapped_in`"):
        with hookrun.Supervisor(hooks=[hook]).managed_session() as sess, hook.swapped_in(sess):
            sess.run(model.train_op)


def test_what_it_saves_is_restored_as_the_model_itself(model, tmp_path):
    hook = hooks.MovingAverageHook(0.5)
    logdir, path = tmp_path / "run", str(tmp_path / "averaged" / "model.ckpt")
    with hookrun.Supervisor(logdir=logdir, hooks=[hook]).managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
        with hook.swapped_in(sess):
            average = sess.run(model.weights)
        assert hook.save(sess, path) == path
    assert not (tmp_path / "averaged" / "checkpoint").exists()
    assert set(dict(tf.train.list_variables(path))) == {"weights", "global_step"}
    with tf.Graph().as_default(), tf.compat.v1.Session() as sess:
        weights = tf.compat.v1.get_variable("weights", [3])
        step = tf.compat.v1.train.get_or_create_global_step()
        saver = tf.compat.v1.train.Saver()
        saver.restore(sess, path)
        assert (sess.run(weights).tolist(), sess.run(step)) == (average.tolist(), 3)


@pytest.mark.parametrize("decay", [0, 1, 1.5, "0.9", True, float("nan")])
def test_another_decay_is_refused_by_name_and_value(decay):
    with pytest.raises(ValueError, match=f"decay must be a number between 0 and 1, not {decay!r}"):
        hooks.MovingAverageHook(decay)


def test_a_graph_without_trainable_variables_is_refused(graph):
    tf.compat.v1.train.get_or_create_global_step()
    with pytest.raises(ValueError, match="MovingAverageHook needs variables to average"):
        hookrun.Supervisor(hooks=[hooks.MovingAverageHook()])
