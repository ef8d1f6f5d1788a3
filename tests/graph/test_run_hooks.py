"""Hooks that see or change every run: TensorFlow's SessionRunHooks, with the rules of the bus."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.runtime.subscriber import subscriptions_of

SessionRunArgs = tf.compat.v1.train.SessionRunArgs
RunOptions = tf.compat.v1.RunOptions


class Recording:
    """Records its calls; asks for what it was made with. Mixed into a hook of either library."""

    def __init__(self, args=None, label=None, told=None):
        self.args, self.label, self.told = args, label, [] if told is None else told

    def before_run(self, context):
        self.told.append((self.label, "before", context, None))
        return self.args

    def after_run(self, context, values):
        self.told.append((self.label, "after", context, values))


class Recorder(Recording, hooks.Hook): ...


def calls(told):
    return [(label, method) for label, method, *_ in told]


def results(hook):
    return [values.results for _, method, _, values in hook.told if method == "after"]


def train(sv, *fetches, **arguments):
    with sv.managed_session() as sess:
        return [sess.run(each, **arguments) for each in fetches]


@pytest.fixture
def rate(graph, model):
    return tf.compat.v1.placeholder_with_default(0.5, [], name="rate")


def test_every_run_passes_through_in_order_of_priority_then_of_addition(model):
    told = []
    last, a, b = (Recorder(label=label, told=told) for label in ("last", "a", "b"))
    last.priority = 1
    sv = hookrun.Supervisor(hooks=[last, a, b])
    train(sv, model.train_op, model.loss)
    one_run = [(label, method) for method in ("before", "after") for label in ("a", "b", "last")]
    assert calls(told) == 2 * one_run


def test_the_context_has_the_programs_own_arguments_and_the_session(model, rate):
    hook = Recorder(SessionRunArgs(model.loss))
    options = RunOptions(timeout_in_ms=10_000)
    with hookrun.Supervisor(hooks=[hook]).managed_session() as sess:
        sess.run([rate], {rate: 2.0}, options)
    (_, _, before, _), (_, _, after, _) = hook.told
    assert before is after
    assert isinstance(before, tf.compat.v1.train.SessionRunContext)
    assert before.original_args == SessionRunArgs([rate], {rate: 2.0}, options)
    assert before.session is sess


def test_what_a_hook_fetches_rides_in_the_programs_run_and_the_program_gets_its_own(model):
    one, other = Recorder(SessionRunArgs({"step": model.global_step})), Recorder(SessionRunArgs([model.loss]))
    none = Recorder()
    fetches = {"train": model.train_op, "loss": model.loss}
    (own,) = train(hookrun.Supervisor(hooks=[one, none, other]), fetches)
    assert own == {"train": None, "loss": 3.0}
    assert results(other) == [[3.0]]
    assert results(one)[0].keys() == {"step"}
    assert results(none) == [None]


def test_what_a_hook_feeds_changes_the_run(model, rate):
    hook = Recorder(SessionRunArgs(None, {rate: 7.0}))
    assert train(hookrun.Supervisor(hooks=[hook]), rate) == [7.0]
    assert results(hook) == [None]


def test_feeds_of_the_program_and_of_hooks_are_merged(graph, model, rate):
    other = tf.compat.v1.placeholder(tf.float32, [2], name="other")
    hook = Recorder(SessionRunArgs(None, {rate: 7.0}))
    feeds = {other: np.ones(2)}
    ((first, second),) = train(hookrun.Supervisor(hooks=[hook]), [rate, other], feed_dict=feeds)
    assert (first, list(second), list(feeds)) == (7.0, [1.0, 1.0], [other])


def test_to_feed_what_the_program_feeds_is_an_error_naming_the_hook(model, rate):
    hook = Recorder(SessionRunArgs(None, {rate: 7.0}))
    with pytest.raises(RuntimeError, match="Recorder feeds what the program feeds too.*rate"):
        train(hookrun.Supervisor(hooks=[hook]), rate, feed_dict={rate: 1.0})


def test_to_feed_what_another_hook_feeds_is_an_error_naming_the_hook(model, rate):
    one, other = Recorder(SessionRunArgs(None, {rate: 7.0})), Recorder(SessionRunArgs(None, {rate: 7.0}))
    other.name = "the other"
    with pytest.raises(RuntimeError, match="the other feeds what another hook feeds too.*rate"):
        train(hookrun.Supervisor(hooks=[one, other]), rate)


def test_options_are_merged_and_those_of_the_program_left_alone(model):
    hook = Recorder(SessionRunArgs(None, options=RunOptions(trace_level=RunOptions.FULL_TRACE)))
    plain = Recorder()
    options = RunOptions(timeout_in_ms=10_000)
    train(hookrun.Supervisor(hooks=[plain, hook]), model.train_op, options=options)
    *_, values = plain.told[-1]
    assert (values.options.timeout_in_ms, values.options.trace_level) == (10_000, RunOptions.FULL_TRACE)
    assert values.run_metadata.step_stats.dev_stats
    assert options == RunOptions(timeout_in_ms=10_000)


def test_the_programs_run_metadata_is_what_a_hook_is_told(model):
    hook, metadata = Recorder(), tf.compat.v1.RunMetadata()
    options = RunOptions(trace_level=RunOptions.FULL_TRACE)
    train(hookrun.Supervisor(hooks=[hook]), model.train_op, options=options, run_metadata=metadata)
    assert metadata.step_stats.dev_stats
    assert hook.told[-1][-1].run_metadata is metadata


def test_request_stop_stops_the_training_after_the_run(model):
    class Stops(hooks.Hook):
        def after_run(self, context, values):
            context.request_stop()

    ran = 0
    sv = hookrun.Supervisor(hooks=[Stops()])
    with sv.managed_session() as sess:
        while not sv.should_stop():
            sess.run(model.train_op)
            ran += 1
    assert ran == 1


def test_a_training_step_is_told_after_it_with_the_programs_results_alone(model):
    told = []

    class Both(Recorder):
        fetches = model.weights

        def on_step(self, supervisor, event):
            self.told.append(("on", event.global_step, event.results, event.values.shape))

    sv = hookrun.Supervisor(hooks=[Both(SessionRunArgs(model.loss), told=told)])
    train(sv, [model.train_op, model.global_step], model.loss)
    assert [each[1] for each in told] == ["before", "after", 1, "before", "after"]
    step, read = told[2][2]
    assert (step, read in (0, 1), told[2][3]) == (None, True, (3,))


def test_a_run_in_which_a_hooks_fetch_trains_is_a_training_step(model):
    told = []
    sv = hookrun.Supervisor(hooks=[Recorder(SessionRunArgs(model.train_op))])
    sv.on(signals.step, lambda _, event: told.append((event.global_step, event.results)))
    train(sv, model.loss)
    assert told == [(1, 3.0)]


def test_a_run_that_fails_is_not_told_of_afterwards(model):
    hook = Recorder()
    needs = tf.compat.v1.placeholder(tf.float32, [], name="needs")
    with hookrun.Supervisor(hooks=[hook]).managed_session() as sess:
        with pytest.raises(tf.errors.InvalidArgumentError):
            sess.run(needs)
        sess.run(model.loss)
    assert [method for _, method, *_ in hook.told] == ["before", "before", "after"]


def test_runs_that_go_straight_to_tensorflow_are_not_seen(graph, model):
    rate = tf.compat.v1.placeholder(tf.float32, [])
    rated = tf.identity(rate)
    hook = Recorder()
    sv = hookrun.Supervisor(hooks=[hook])
    with sv.managed_session() as sess:
        sess.run_without_hooks(model.train_op)
        sv.run_without_hooks(sess, model.train_op)
        sess.make_callable(model.train_op)()
        sess.make_callable(rated, feed_list=[rate])(0.5)
        handle = sess.partial_run_setup([rated], [rate])
        sess.partial_run(handle, rated, {rate: 0.25})
    assert hook.told == []


def test_runs_of_hooks_and_services_are_not_the_programs(model, tmp_path):
    ran = threading.Event()

    class Runs(Recorder):
        def before_run(self, context):
            context.session.run(model.loss)
            return super().before_run(context)

        def on_step(self, supervisor, event):
            event.session.run(model.loss)

        def on_summary_due(self, supervisor, event):
            event.session.run(model.loss)
            ran.set()

        def on_stop(self, supervisor, event):
            event.session.run(model.loss)

    hook = Runs()
    checkpoint = hooks.CheckpointHook(every_steps=1, background=False)
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0.01, hooks=[hook, checkpoint])
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        assert ran.wait(30)
    assert calls(hook.told) == [(None, "before"), (None, "after")]


def test_runs_of_queue_runners_are_not_the_programs(model):
    queue = tf.queue.FIFOQueue(10, tf.float32, [])
    enqueue = queue.enqueue(1.0)
    tf.compat.v1.train.add_queue_runner(tf.compat.v1.train.QueueRunner(queue, [enqueue]))
    taken = queue.dequeue()
    hook = Recorder()
    assert train(hookrun.Supervisor(hooks=[hook], stop_grace_secs=10), taken, taken) == [1.0, 1.0]
    assert len(hook.told) == 4


def test_several_threads_run_and_each_hears_of_its_own(model, rate):
    wrong = []

    class Feeds(hooks.Hook):
        def before_run(self, context):
            return SessionRunArgs(rate, {rate: float(threading.get_ident() % 1000)})

        def after_run(self, context, values):
            if values.results != threading.get_ident() % 1000:
                wrong.append(values.results)

    def run(sess):
        for _ in range(50):
            sess.run(model.train_op)

    told = []
    sv = hookrun.Supervisor(hooks=[Feeds()])
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as sess:
        threads = [threading.Thread(target=run, args=(sess,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (wrong, len(told)) == ([], 200)


class Failing(hooks.Hook):
    """Fails in the method that it is made for."""

    def __init__(self, method, on_error="stop"):
        self.on_error = on_error
        setattr(self, method, self._fail)

    def _fail(self, *args):
        raise ValueError("failed")


def test_an_error_before_a_run_is_logged_and_stops_the_training_and_the_run_is_not_made(model, caplog):
    other, stopped = Recorder(), []
    sv = hookrun.Supervisor(hooks=[Failing("before_run"), other])
    sv.on(
        signals.stop, lambda sv, event: stopped.append((str(event.error), sv.read_global_step(event.session)))
    )
    with pytest.raises(ValueError, match="failed"):
        train(sv, model.train_op)
    assert [method for _, method, *_ in other.told] == ["before"]
    assert stopped == [("failed", 0)]
    assert caplog.text.count("Failing.before_run failed") == 1


def test_an_error_after_a_run_stops_the_training_and_the_others_are_told(model, caplog):
    other, told, ran = Recorder(), [], []
    sv = hookrun.Supervisor(hooks=[Failing("after_run"), other])
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with pytest.raises(ValueError, match="failed"), sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
            ran.append(sv.should_stop())
    assert (ran, told) == ([True], [1])
    assert [method for _, method, *_ in other.told] == ["before", "after", "before"]
    assert "Failing.after_run failed" in caplog.text


@pytest.mark.parametrize("method", ["before_run", "after_run"])
def test_the_error_of_a_hook_that_only_logs_does_not_stop_the_training(model, method, caplog):
    sv = hookrun.Supervisor(hooks=[Failing(method, on_error="log")])
    assert len(train(sv, model.train_op, model.train_op)) == 2
    assert caplog.text.count(f"Failing.{method} failed") == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["loss"], "must return a SessionRunArgs or None, not .'loss'."),
        (SessionRunArgs("no_such_op"), "no_such_op"),
        (SessionRunArgs(object()), "has invalid type"),
    ],
)
def test_what_a_hook_cannot_ask_for_is_its_own_error(model, args, message, caplog):
    hook = Recorder(args)
    hook.on_error = "log"
    assert train(hookrun.Supervisor(hooks=[hook]), model.loss) == [3.0]
    assert results(hook) == [None]
    assert "Recorder.before_run failed" in caplog.text
    hook.on_error = "stop"
    with pytest.raises((TypeError, ValueError), match=message):
        train(hookrun.Supervisor(hooks=[hook]), model.loss)


def test_only_overridden_methods_are_called_and_a_run_costs_nothing_without(model):
    class After(hooks.Hook):
        def after_run(self, context, values): ...

    sv = hookrun.Supervisor(hooks=[hooks.Hook()])
    assert not sv._run_hooks.present
    hook = After()
    sv.add_hook(hook)
    assert sv._run_hooks.present
    assert [row.name for row in sv.hook_times() if row.name.startswith("After")] == ["After.after_run"]
    assert list(subscriptions_of(hook)) == []
    sv.remove_hook(hook)
    assert not sv._run_hooks.present


def test_hooks_come_and_go_during_the_training(model):
    hook = Recorder()
    sv = hookrun.Supervisor()
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        sv.add_hook(hook)
        sess.run(model.train_op)
        sv.remove_hook(hook)
        sess.run(model.train_op)
    assert calls(hook.told) == [(None, "before"), (None, "after")]


def test_a_hook_for_the_chief_sees_nothing_elsewhere(graph):
    hook = Recorder()
    hook.chief_only = True
    with tf.device("/job:worker/task:0"):
        step = tf.compat.v1.train.get_or_create_global_step()
    sv = hookrun.Supervisor(is_chief=False, hooks=[hook])
    assert not sv._run_hooks.present
    assert step is sv.global_step


def test_the_times_of_both_methods_and_their_order_are_known(model, caplog):
    one, other = Recorder(), Recorder()
    one.name, other.name, other.priority = "one", "other", -1
    sv = hookrun.Supervisor(hooks=[one, other])
    with caplog.at_level(logging.INFO, "hookrun"):
        train(sv, model.train_op, model.loss)
    times = {(row.name, row.signal): row.count for row in sv.hook_times()}
    for name in ("one", "other"):
        for method in ("before_run", "after_run"):
            assert times[f"{name}.{method}", method] == 2
    assert "before_run: other.before_run, one.before_run" in caplog.text


def test_the_same_hook_sees_the_same_under_a_monitored_session():
    """All but the program's options among the original arguments, which TensorFlow leaves out."""

    class TensorFlowsRecorder(Recording, tf.compat.v1.train.SessionRunHook): ...

    def observe(kind, session_with):
        with tf.Graph().as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            x = tf.compat.v1.placeholder_with_default(1.0, [], name="x")
            y = tf.compat.v1.placeholder_with_default(2.0, [], name="y")
            train_op, total = tf.compat.v1.assign_add(step, 1), tf.add(x, y, name="total")
            traced = RunOptions(trace_level=RunOptions.SOFTWARE_TRACE, output_partition_graphs=True)
            told = []
            given = [
                kind(SessionRunArgs({"total": total, "nested": [(x,), "y:0"]}), "fetches", told),
                kind(SessionRunArgs(None, {y: 5.0}), "feeds", told),
                kind(SessionRunArgs([x], None, traced), "traces", told),
                kind(None, "nothing", told),
            ]
            got = []
            with session_with(given) as sess:
                got.append(sess.run(train_op))
                got.append(sess.run({"total": total}, feed_dict={x: 3.0}))
                options = RunOptions(timeout_in_ms=9000, trace_level=RunOptions.FULL_TRACE)
                got.append(sess.run([total, (step,)], {"x:0": 4.0}, options, tf.compat.v1.RunMetadata()))
            return [told_plainly(each) for each in told], got

    def told_plainly(each):
        label, method, context, values = each
        args = context.original_args
        names = tf.nest.map_structure(lambda fetch: fetch.name, args.fetches)
        feeds = {getattr(key, "name", key): value for key, value in (args.feed_dict or {}).items()}
        if values is None:
            return label, method, names, feeds, args.feed_dict is None, context.stop_requested
        metadata = values.run_metadata
        traced = bool(metadata.step_stats.dev_stats), bool(metadata.partition_graphs)
        return label, method, names, feeds, values.results, str(values.options), traced

    def monitored(given):
        return tf.compat.v1.train.MonitoredSession(hooks=given)

    def managed(given):
        return hookrun.Supervisor(hooks=given).managed_session()

    expected = observe(TensorFlowsRecorder, monitored)
    assert len(expected[0]) == 3 * 2 * 4
    assert observe(Recorder, managed) == expected


def test_without_options_the_same_empty_ones_are_told_as_under_a_monitored_session():
    def observe(kind, session_with):
        with tf.Graph().as_default():
            train_op = tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)
            hook = kind()
            with session_with(hook) as sess:
                sess.run(train_op)
            *_, values = hook.told[-1]
            return values.results, str(values.options), str(values.run_metadata)

    class TensorFlowsRecorder(Recording, tf.compat.v1.train.SessionRunHook): ...

    expected = observe(TensorFlowsRecorder, lambda hook: tf.compat.v1.train.MonitoredSession(hooks=[hook]))
    got = observe(Recorder, lambda hook: hookrun.Supervisor(hooks=[hook]).managed_session())
    assert got == expected == (None, "", "")


def test_an_interrupt_before_a_run_is_raised_after_the_others_were_asked(model):
    class Interrupts(hooks.Hook):
        def before_run(self, context):
            raise KeyboardInterrupt

    other = Recorder()
    sv = hookrun.Supervisor(hooks=[Failing("before_run"), Interrupts(), other])
    with sv.managed_session() as sess:
        with pytest.raises(KeyboardInterrupt):
            sess.run(model.train_op)
        assert str(sv.coord.error) == "failed"
        assert calls(other.told) == [(None, "before")]
        sv.coord.clear_stop()
