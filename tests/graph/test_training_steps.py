"""The training goes back to an earlier step within its session, and on from there in every respect."""

from __future__ import annotations

import os
import threading
from concurrent import futures

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.hooks.retention import LatestN

v1 = tf.compat.v1

QUIET = {"save_model_secs": 0, "save_summaries_secs": 0}


def train(session, model, steps):
    for _ in range(steps):
        session.run(model.train_op)


def by_saver(sv, session, model):
    sv.saver.restore(session, f"{sv.save_path}-20")


def by_restore(sv, session, model):
    sv.restore(session, f"{sv.save_path}-20")


def by_load(sv, session, model):
    model.global_step.load(20, session)


def by_assignment(sv, session, model):
    session.run(model.set_step)


def by_callable(sv, session, model):
    session.make_callable(model.set_step)()


WAYS = [by_saver, by_restore, by_load, by_assignment, by_callable]


@pytest.fixture
def model(model):
    model.set_step = v1.assign(model.global_step, 20)
    return model


def saving():
    return hooks.CheckpointHook(every_steps=10, keep=LatestN(None), background=False)


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_due_by_steps_is_due_again(model, tmp_path, way):
    steps, all_steps = {}, []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)

    def remember(name, **schedule):
        steps[name] = []
        sv.on(signals.step, lambda _, event: steps[name].append(event.global_step), **schedule)

    remember("every", every_steps=10)
    remember("at", at_steps=[21, 35])
    remember("fetching", every_steps=7, fetches=model.loss)
    sv.on(signals.step, lambda _, event: all_steps.append(event.global_step))
    with sv.managed_session() as session:
        train(session, model, 60)
        for told in (*steps.values(), all_steps):
            told.clear()
        way(sv, session, model)
        train(session, model, 38)
        assert session.last_step == 58
    assert steps == {"every": [30, 40, 50], "at": [21, 35], "fetching": [21, 28, 35, 42, 49, 56]}
    assert all_steps == list(range(21, 59))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("listens", [True, False])
def test_the_hooks_are_told_once_and_before_the_next_step_is(model, tmp_path, way, listens):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_steps=20, **QUIET)
    if listens:
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    told = []
    with sv.managed_session() as session:
        train(session, model, 60)
        handle = sv.on(signals.step, lambda _, event: told.append(event.global_step)) if listens else None
        sv.on(signals.session_restored, lambda _, event: told.append((event.last_step, event.global_step)))
        for _ in range(2):
            way(sv, session, model)
            train(session, model, 2)
        if handle is not None:
            handle.remove()
    expected = [(60, 20), 21, 22, (22, 20), 21, 22]
    assert told == (expected if listens else expected[::3])


def test_going_back_by_one_step_is_noticed(model, tmp_path):
    told = []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    sv.on(signals.session_restored, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as session:
        train(session, model, 21)
        by_saver(sv, session, model)
        train(session, model, 3)
    assert told == [20]


def test_an_evaluation_that_restores_another_model_and_then_its_own_is_no_going_back(model, tmp_path):
    told = []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    sv.on(signals.session_restored, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as session:
        train(session, model, 40)
        by_saver(sv, session, model)
        assert session.run(model.global_step) == 20
        sv.saver.restore(session, f"{sv.save_path}-40")
        train(session, model, 1)
        assert session.last_step == 41
    assert told == []


def test_a_step_that_does_not_count_is_no_going_back(graph, tmp_path):
    step = v1.train.get_or_create_global_step()
    finite = v1.placeholder(tf.bool, [])
    train_op = tf.cond(finite, lambda: v1.assign_add(step, 1).op, lambda: tf.no_op())
    told = []
    sv = hookrun.Supervisor(logdir=tmp_path, **QUIET)
    sv.on(signals.session_restored, lambda _, event: told.append(event))
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as session:
        for is_finite in (True, False, False, True):
            session.run(train_op, {finite: is_finite})
    assert told == [1, 1, 1, 2]


def test_an_assignment_of_what_is_fed_counts_steps_as_before(graph, tmp_path):
    step = v1.train.get_or_create_global_step()
    given = v1.placeholder(tf.int64, [])
    train_op = v1.assign(step, given)
    told = []
    sv = hookrun.Supervisor(logdir=tmp_path, **QUIET)
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    sv.on(signals.session_restored, lambda _, event: told.append((event.last_step, event.global_step)))
    with sv.managed_session() as session:
        for number in (1, 2, 3, 2, 3):
            session.run(train_op, {given: number})
    assert told == [1, 2, 3, (3, 1), 2, 3]


def test_several_threads_that_train_go_on_from_there(model, tmp_path):
    called = []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    sv.on(signals.step, lambda _, event: called.append(event.global_step), every_steps=10)
    with sv.managed_session() as session, futures.ThreadPoolExecutor(4) as pool:
        train(session, model, 20)
        for _ in pool.map(lambda _: session.run(model.train_op), range(60)):
            pass
        for way in (by_restore, by_saver, by_callable):
            way(sv, session, model)
            called.clear()
            for _ in pool.map(lambda _: session.run(model.train_op), range(40)):
                pass
            assert session.last_step == 60
            assert [step // 10 for step in called] == [3, 4, 5, 6], (way, called)


def test_one_may_go_back_while_others_train(model, tmp_path):
    """Whatever the threads meet: once it is quiet, schedules go on from the step that is."""
    called = []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    sv.on(signals.step, lambda _, event: called.append(event.global_step), every_steps=10)
    going_back = threading.Event()
    with sv.managed_session() as session, futures.ThreadPoolExecutor(3) as pool:
        train(session, model, 30)

        def trains():
            while not going_back.is_set():
                session.run(model.train_op)

        training = [pool.submit(trains) for _ in range(3)]
        for way in (by_restore, by_saver, by_restore):
            way(sv, session, model)
        going_back.set()
        for future in training:
            future.result()
        train(session, model, 1)
        begin = session.run(model.global_step)
        called.clear()
        train(session, model, 20)
        assert session.last_step == begin + 20
    assert called == [step for step in range(begin + 1, begin + 21) if step % 10 == 0]


def test_a_hook_may_go_back_when_it_is_told_of_a_step(model, tmp_path):
    called, back = [], []

    class Back(hooks.Hook):
        priority = -1

        def on_step(self, supervisor, event):
            if event.global_step == 40 and not back:
                back.append(supervisor.in_training_step)
                supervisor.restore(event.session, f"{supervisor.save_path}-20")

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[Back(), saving()], **QUIET)
    sv.on(signals.step, lambda _, event: called.append(event.global_step), every_steps=10)
    with sv.managed_session() as session:
        train(session, model, 59)
    assert called == [10, 20, 30, 40, 30] and back == [True]


class Best(hooks.Hook):
    name = "Best"
    value = 0

    def on_step(self, supervisor, event):
        self.value = event.global_step

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_restore_brings_back_the_metrics_the_hooks_and_their_triggers(model, tmp_path):
    best = Best()

    class First(hooks.Hook):
        trigger = hookrun.triggers.Once() | hookrun.triggers.AtSteps([25])

        def on_step(self, supervisor, event):
            supervisor.report_metrics({"first": event.global_step})

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[best, First(), saving()], **QUIET)
    with sv.managed_session() as session:
        train(session, model, 40)
        assert sv.metrics == {"first": 25.0}
        weights = []
        sv.on(signals.session_restored, lambda _, event: weights.append(session.run(model.weights).tolist()))
        by_restore(sv, session, model)
        assert (best.value, sv.metrics) == (20, {"first": 1.0})
        saved = tf.train.load_variable(f"{sv.save_path}-20", "weights").tolist()
        assert weights == [saved] and session.last_step == 20
        by_saver(sv, session, model)
        train(session, model, 30)
        sv.saver.restore(session, f"{sv.save_path}-20")
        train(session, model, 1)
        assert best.value == 21 and sv.metrics == {}  # those of a model that was given up


def test_restore_goes_forward_too(model, tmp_path):
    called = []
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[saving()], **QUIET)
    sv.on(signals.step, lambda _, event: called.append(event.global_step), every_steps=10)
    with sv.managed_session() as session:
        train(session, model, 41)
        by_restore(sv, session, model)
        sv.restore(session, f"{sv.save_path}-40")
        called.clear()
        train(session, model, 11)
        assert os.path.basename(tf.train.latest_checkpoint(str(tmp_path))) in (
            "model.ckpt-40",
            "model.ckpt-50",
        )
    assert called == [50]


def test_restore_of_what_cannot_be_restored_leaves_the_model_as_it_is(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path / "run", hooks=[saving()], **QUIET)
    with sv.managed_session() as session:
        train(session, model, 20)
        data = tmp_path / "run" / "model.ckpt-10.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-4])
        with tf.Graph().as_default(), v1.Session() as other:
            v1.get_variable("weights", [7])
            v1.train.get_or_create_global_step()
            other.run(v1.global_variables_initializer())
            wrong = v1.train.Saver().save(other, str(tmp_path / "other"))
        before = session.run(model.weights).tolist()
        with pytest.raises(tf.errors.DataLossError, match="model.ckpt-10 is not restored"):
            sv.restore(session, f"{sv.save_path}-10")
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"weights: .*\[7\].*\[3\]"):
            sv.restore(session, wrong)
        with pytest.raises(ValueError, match="there is no checkpoint .*-11"):
            sv.restore(session, f"{sv.save_path}-11")
        with v1.Session() as other, pytest.raises(ValueError, match="the session of the training"):
            sv.restore(other, f"{sv.save_path}-20")
        assert session.run(model.weights).tolist() == before and not sv.should_stop()
        train(session, model, 1)
    assert tf.train.latest_checkpoint(str(tmp_path / "run")).endswith("-21")


def test_a_restore_that_fails_half_way_ends_the_training_and_nothing_is_saved(model, tmp_path):
    class Failing(v1.train.Saver):
        def restore(self, sess, save_path):
            raise OSError("unplugged")

    sv = hookrun.Supervisor(
        logdir=tmp_path,
        saver=Failing(),
        hooks=[hooks.CheckpointHook(every_steps=2, background=False)],
        **QUIET,
    )
    with pytest.raises(OSError, match="unplugged"), sv.managed_session() as session:
        train(session, model, 3)
        with pytest.raises(OSError, match="unplugged"):
            sv.restore(session, f"{sv.save_path}-2")
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-2")


def test_without_a_global_step_restore_brings_back_the_model_and_the_steps_are_counted_on(graph, tmp_path):
    weights = v1.get_variable("weights", [], initializer=v1.zeros_initializer())
    train_op = v1.assign_add(weights, 1.0)
    told = []
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[hooks.CheckpointHook(every_steps=2, background=False)], **QUIET
    )
    sv.on(signals.session_restored, lambda _, event: told.append((event.last_step, event.global_step)))
    with sv.managed_session() as session:
        for _ in range(3):
            session.run(train_op)
        sv.restore(session, sv.save_path)
        assert session.run(weights) == 2.0 and session.last_step == 3
    assert told == [(3, 3)]


@pytest.mark.parametrize("way", WAYS)
def test_tensorboard_drops_what_was_given_up(model, tmp_path, way):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summaries = hooks.SummaryHook(every_steps=10)
    evaluation = hooks.EvaluationHook({"metric": model.loss}, every_steps=10, at_end=False)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[summaries, evaluation, saving()], **QUIET)
    with sv.managed_session() as session:
        train(session, model, 60)
        way(sv, session, model)
        train(session, model, 38)
    for directory, tag in ((tmp_path, "loss"), (tmp_path / "eval", "metric")):
        accumulator = EventAccumulator(str(directory)).Reload()
        assert [point.step for point in accumulator.Scalars(tag)] == [10, 20, 30, 40, 50]


def test_in_a_monitored_session_it_is_noticed_at_the_next_step(model, tmp_path):
    told = []

    class Told(hooks.Hook):
        trigger = hookrun.triggers.EverySteps(10)

        def on_step(self, supervisor, event):
            told.append(event.global_step)

        def on_session_restored(self, supervisor, event):
            told.append((event.last_step, event.global_step))

    saver = v1.train.Saver()
    with v1.train.MonitoredTrainingSession(hooks=[hookrun.as_session_run_hook(Told())]) as session:
        for _ in range(20):
            session.run(model.train_op)
        path = saver.save(session._tf_sess(), str(tmp_path / "model.ckpt"), write_meta_graph=False)
        for _ in range(15):
            session.run(model.train_op)
        saver.restore(session, path)
        for _ in range(15):
            session.run(model.train_op)
    assert told == [10, 20, 30, (35, 20), 30]
