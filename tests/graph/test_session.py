"""The managed session: TensorFlow's in every respect, and who receives its training steps."""

from __future__ import annotations

import _thread
import collections
import threading

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.graph.recovery import call_while_answered
from hookrun.runtime.gate import StepGate

BOUND_SECS = 30.0


@pytest.fixture
def sv(model) -> hookrun.Supervisor:
    return hookrun.Supervisor(stop_grace_secs=10)


@pytest.fixture
def told(sv) -> list:
    told: list = []
    sv.on(signals.step, lambda _, event: told.append(event))
    return told


def test_it_is_a_real_session(sv):
    with sv.managed_session() as sess:
        assert isinstance(sess, tf.compat.v1.Session)


def test_one_training_run_among_nine_evaluations_is_one_step(sv, model, told):
    with sv.managed_session() as sess:
        for i in range(10):
            sess.run(model.train_op if i == 5 else [model.loss, model.global_step])
    assert [event.global_step for event in told] == [1]


def test_the_event_has_the_step_the_session_and_what_run_returned(sv, model, told):
    with sv.managed_session() as sess:
        results = sess.run({"train": model.train_op, "loss": model.loss})
    (event,) = told
    assert (event.global_step, event.session, event.values) == (1, sess, None)
    assert event.results == results
    assert results["train"] is None


def test_results_have_the_structure_and_types_of_tensorflows_own(sv, model, told):
    Pair = collections.namedtuple("Pair", ["first", "second"])
    fetches = [
        model.train_op,
        "weights:0",
        {"loss": model.loss, "nested": (model.weights, [Pair(model.loss, model.train_op)])},
        collections.OrderedDict(x=model.global_step),
    ]
    with sv.managed_session() as sess:
        managed = sess.run(fetches)
        plain = sess.run_without_hooks(fetches)
    assert tf.nest.map_structure(type, managed) == tf.nest.map_structure(type, plain)
    assert isinstance(managed[2]["nested"][1][0], Pair)


def test_fetches_of_a_receiver_ride_in_the_same_run_on_due_steps_alone(sv, model):
    told = []
    sv.on(
        signals.step,
        lambda _, event: told.append((event.global_step, event.values)),
        every_steps=2,
        fetches={"loss": model.loss, "both": [model.loss, model.weights]},
    )
    with sv.managed_session() as sess:
        losses = [sess.run([model.train_op, model.loss])[1] for _ in range(4)]
    assert [step for step, _ in told] == [2, 4]
    assert [values["loss"] for _, values in told] == [losses[1], losses[3]]
    assert told[0][1]["both"][1].shape == (3,)


def test_a_hooks_fetches_and_trigger_are_those_of_its_instance(model):
    class Collect(hooks.Hook):
        def __init__(self, fetches, trigger):
            self.fetches, self.trigger, self.got = fetches, trigger, []

        def on_step(self, supervisor, event):
            self.got.append((event.global_step, event.values))

    some = Collect(model.global_step, hookrun.triggers.AtSteps([2]))
    all_steps = Collect((model.loss,), None)
    sv = hookrun.Supervisor(hooks=[some, all_steps])
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    assert [step for step, _ in some.got] == [2]
    assert [step for step, _ in all_steps.got] == [1, 2, 3]
    assert all(isinstance(values, tuple) for _, values in all_steps.got)


def test_a_fetch_that_needs_a_placeholder_uses_what_the_step_is_fed(graph, model):
    scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
    fed_loss = model.loss * scale
    sv = hookrun.Supervisor()
    told = []
    sv.on(signals.step, lambda _, event: told.append(event.values), fetches=fed_loss)
    with sv.managed_session() as sess:
        loss = sess.run([model.train_op, fed_loss], {scale: 3.0})[1]
    assert told == [loss]


def test_a_fetch_whose_placeholder_is_not_fed_is_an_error_naming_both(graph, model):
    scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
    sv = hookrun.Supervisor()
    sv.on(signals.step, lambda *_: None, fetches=scale, name="needs a scale")
    with pytest.raises(ValueError, match="needs a scale .*placeholder 'scale'"):
        with sv.managed_session() as sess:
            sess.run(model.train_op)


def test_a_receiver_may_leave_out_the_steps_that_do_not_feed_its_placeholder(graph, model):
    placeholder = tf.compat.v1.placeholder(tf.float32, [])
    doubled, told = placeholder * 2, []
    sv = hookrun.Supervisor()

    @sv.on(signals.step, fetches=doubled, on_unfed="skip")
    def tell(sv, event):
        told.append((event.global_step, event.values))

    with sv.managed_session() as sess:
        sess.run(model.train_op)
        sess.run(model.train_op, {placeholder: 4.0})
    assert told == [(2, 8.0)]


def test_a_receiver_that_was_due_in_a_run_that_failed_is_due_in_the_next_step(graph, model):
    fed = tf.compat.v1.placeholder(tf.float32, [2])
    with tf.control_dependencies([fed]):
        train_op = tf.group(model.train_op)
    sv = hookrun.Supervisor()
    told = []
    sv.on(signals.step, lambda _, event: told.append(event.global_step), every_steps=2, fetches=model.loss)
    with sv.managed_session() as sess:
        for _ in range(5):
            with pytest.raises(ValueError, match="Cannot feed value of shape"):
                sess.run(train_op, {fed: np.ones(3, np.float32)})
            sess.run(train_op, {fed: np.ones(2, np.float32)})
    assert told == [2, 4]


def test_a_schedule_goes_on_after_a_resume_where_it_would_have_without(tmp_path):
    def train(steps):
        told = []
        with tf.Graph().as_default():
            train_op = tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)
            sv = hookrun.Supervisor(logdir=tmp_path)
            sv.on(signals.step, lambda _, event: told.append(event.global_step), every_steps=10)
            with sv.managed_session() as sess:
                for _ in range(steps):
                    sess.run(train_op)
        return told

    assert train(15) == [10]
    assert train(15) == [20, 30]


def test_fetch_lists_built_afresh_and_changed_in_place_are_told_apart(sv, model, told):
    with sv.managed_session() as sess:
        fetches = [model.loss]
        sess.run(fetches)
        fetches.append(model.train_op)
        sess.run(fetches)
        sess.run([model.loss, model.train_op])
        fetches.pop()
        sess.run(fetches)
    assert [event.global_step for event in told] == [1, 2]


def test_a_run_of_something_unknown_is_tensorflows_own_error(sv, told):
    with sv.managed_session() as sess, tf.compat.v1.Session() as plain:
        for bad in (None, 5, object(), "no_such_op", [None]):
            with pytest.raises((TypeError, ValueError)) as expected:
                plain.run(bad)
            with pytest.raises(expected.type) as managed:
                sess.run(bad)
            assert str(managed.value).partition(" at 0x")[0] == str(expected.value).partition(" at 0x")[0]


def test_run_without_hooks_is_heard_by_nobody(sv, model, told):
    with sv.managed_session() as sess:
        sv.run_without_hooks(sess, model.train_op)
        assert sess.run(model.global_step) == 1
    assert told == []


def test_callables_and_partial_runs_go_straight_to_tensorflow(graph, model):
    rate = tf.compat.v1.placeholder(tf.float32, [], name="rate")
    with tf.control_dependencies([model.train_op]):
        rated = tf.identity(rate)
    sv = hookrun.Supervisor()
    told = []
    sv.on(signals.step, lambda _, event: told.append(event))
    with sv.managed_session() as sess:
        sess.make_callable(model.train_op)()
        assert sess.make_callable(rated, feed_list=[rate])(0.5) == 0.5
        handle = sess.partial_run_setup([rated], [rate])
        assert sess.partial_run(handle, rated, {rate: 0.25}) == 0.25
        assert sess.run(model.global_step) == 3
    assert told == []


def test_what_a_callable_runs_at_the_end_of_a_remote_session_is_waited_for_as_every_run(graph, monkeypatch):
    watched = []

    def watch(name, call, *arguments):
        watched.append(name)
        return call_while_answered(name, call, *arguments)

    monkeypatch.setattr("hookrun.graph.session.call_while_answered", watch)
    one = tf.constant(1)
    sv = hookrun.Supervisor()
    sv.on(signals.stop, lambda _, event: event.session.make_callable(one)())
    with sv.managed_session("local"):
        pass
    assert watched == ["hookrun-session-last-run"]


def test_eval_and_operation_run_go_through_it(sv, model, told):
    with sv.managed_session() as sess, sess.as_default():
        model.train_op.run()
        model.loss.eval()
    assert [event.global_step for event in told] == [1]


def test_options_and_run_metadata_are_passed_on(sv, model, told):
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    with sv.managed_session() as sess:
        sess.run(model.train_op, options=options, run_metadata=metadata)
    assert metadata.step_stats.dev_stats
    assert len(told) == 1


def test_a_closed_session_says_so(sv, model):
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    assert sess.closed
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        sess.run(model.train_op)


def test_several_threads_train_and_every_step_is_told(sv, model, told):
    def train(sess):
        for _ in range(50):
            sess.run(model.train_op)

    with sv.managed_session() as sess:
        threads = [threading.Thread(target=train, args=(sess,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(told) == 200
    assert max(event.global_step for event in told) == 200


def test_without_a_global_step_steps_are_counted(graph):
    weights = tf.compat.v1.get_variable("weights", [3], initializer=tf.compat.v1.zeros_initializer())
    loss = tf.reduce_sum((weights - 1.0) ** 2)
    train_op = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss)
    sv = hookrun.Supervisor()
    told = []
    with sv.managed_session() as sess:
        sess.run(train_op)
        sv.on(signals.step, lambda _, event: told.append(event.global_step))
        sess.run([train_op, loss])
        sess.run(loss)
        sess.run(train_op)
    assert told == [2, 3]


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_global_step_of_shape_1_works(graph, use_resource, tmp_path):
    step = tf.compat.v1.get_variable(
        "global_step",
        [1],
        tf.int64,
        tf.compat.v1.zeros_initializer(),
        trainable=False,
        use_resource=use_resource,
    )
    train_op = tf.compat.v1.assign_add(step, np.ones(1, np.int64))
    sv = hookrun.Supervisor(logdir=tmp_path)
    told = []
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as sess:
        sess.run(train_op)
        sess.run(train_op)
    assert told == [1, 2]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-2")


def test_a_session_of_a_custom_manager_is_managed_and_keeps_its_own_class(model):
    class Special(tf.compat.v1.Session):
        special = True

    class Manager(tf.compat.v1.train.SessionManager):
        def prepare_session(self, master, init_op=None, **kwargs):
            session = Special()
            session.run(init_op)
            return session

    sv = hookrun.Supervisor(session_manager=Manager())
    told = []
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as sess:
        assert isinstance(sess, Special)
        assert sess.special
        sess.run(model.train_op)
    assert told == [1]


def test_a_run_of_the_session_that_a_custom_manager_made_is_not_passed_by(model):
    runs = []

    class Counting(tf.compat.v1.Session):
        def run(self, *args, **kwargs):
            runs.append(args)
            return super().run(*args, **kwargs)

    class Manager(tf.compat.v1.train.SessionManager):
        def prepare_session(self, master, init_op=None, **kwargs):
            session = Counting()
            session.run(init_op)
            return session

    sv = hookrun.Supervisor(session_manager=Manager())
    told = []
    sv.on(signals.step, lambda _, event: told.append(event.values), fetches=model.global_step)
    with sv.managed_session() as sess:
        runs.clear()
        sess.run([model.train_op, model.loss])
        sess.run(model.loss)
        assert len(runs) == 2
    assert len(told) == 1


def test_a_manager_that_makes_no_session_is_refused(model):
    class Manager(tf.compat.v1.train.SessionManager):
        def prepare_session(self, *args, **kwargs):
            return "a session"

    sv = hookrun.Supervisor(session_manager=Manager())
    with pytest.raises(TypeError, match="not 'a session'"), sv.managed_session():
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize("trains", [True, False])
def test_an_interrupt_ends_a_run_that_waits_for_a_snapshot(model, monkeypatch, trains):
    update = model.weights.assign_add(tf.zeros_like(model.weights))
    sv = hookrun.Supervisor()
    alone, waiting = threading.Event(), threading.Event()

    def take(sess):
        with sv.between_steps():
            alone.set()
            assert waiting.wait(BOUND_SECS)
            _thread.interrupt_main()
            interrupted.wait(BOUND_SECS)

    wait = StepGate.wait
    monkeypatch.setattr(StepGate, "wait", lambda gate, thread: (waiting.set(), wait(gate, thread)))
    interrupted = threading.Event()
    with sv.managed_session() as sess:
        taker = threading.Thread(target=take, args=(sess,))
        taker.start()
        assert alone.wait(BOUND_SECS)
        with pytest.raises(KeyboardInterrupt):
            sess.run(model.train_op if trains else update)
        interrupted.set()
        taker.join()
        with sv.between_steps(0) as in_time:
            assert in_time
        sess.run(model.train_op)
        assert sess.run(model.global_step) == 1
