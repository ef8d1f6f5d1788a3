"""The bus: `sv.on`, `sv.add_hook`, their order, their errors, and what they keep alive."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from concurrent import futures

import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks, signals


@pytest.fixture
def sv(model) -> hookrun.Supervisor:
    return hookrun.Supervisor(stop_grace_secs=10)


def run_steps(sv, model, steps):
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)


def test_on_as_a_decorator_hears_of_every_training_step(sv, model):
    told = []

    @sv.on(signals.step)
    def receiver(runtime, event):
        told.append((runtime, event.global_step))

    run_steps(sv, model, 3)
    assert told == [(sv, 1), (sv, 2), (sv, 3)]


def test_on_as_a_call_returns_a_handle_that_removes(sv, model):
    told = []
    handle = sv.on(signals.step, lambda _, event: told.append(event.global_step))
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        handle.remove()
        handle.remove()
        sess.run(model.train_op)
    assert told == [1]


def test_a_receiver_that_an_earlier_one_removes_does_not_hear_of_that_step(sv, model):
    told = []

    def weakly(sender, **kwargs):
        told.append(("weakly", kwargs["event"].global_step))

    @sv.on(signals.step)
    def remove_others(supervisor, event):
        if event.global_step == 2:
            removed.remove()
            signals.step.disconnect(weakly, sender=sv)

    removed = sv.on(signals.step, lambda _, event: told.append(("removed", event.global_step)))
    sv.on(signals.step, lambda _, event: told.append(("left", event.global_step)))
    signals.step.connect(weakly, sender=sv)
    run_steps(sv, model, 2)
    assert told == [("removed", 1), ("left", 1), ("weakly", 1), ("left", 2)]


@pytest.mark.parametrize("with_fetches", [True, False])
def test_a_schedule_that_begins_after_steps_of_which_nobody_heard_has_the_same_steps(sv, model, with_fetches):
    told = []
    with sv.managed_session() as sess:
        for _ in range(25):
            sess.run(model.train_op)
        sv.on(
            signals.step,
            lambda _, event: told.append(event.global_step),
            every_steps=10,
            fetches=model.loss if with_fetches else None,
        )
        for _ in range(25):
            sess.run(model.train_op)
    assert told == [30, 40, 50]


def test_a_handle_is_a_context_manager(sv, model):
    told = []
    with sv.managed_session() as sess:
        with sv.on(signals.step, lambda _, event: told.append(event.global_step)):
            sess.run(model.train_op)
        sess.run(model.train_op)
    assert told == [1]


def test_a_decorated_function_is_still_a_function(sv):
    @sv.on(signals.step)
    def receiver(runtime, event):
        """Says so."""
        return event

    assert receiver(None, 5) == 5
    assert (receiver.__name__, receiver.__doc__) == ("receiver", "Says so.")


def test_blinkers_own_connect_hears_of_this_supervisor_alone(sv, model):
    told = []

    def receiver(sender, event):
        told.append(sender)

    signals.step.connect(receiver, sender=sv)
    run_steps(sv, model, 1)
    with tf.Graph().as_default():
        step = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.assign_add(step, 1)
        with hookrun.Supervisor().managed_session() as sess:
            sess.run(train_op)
    assert told == [sv]


def test_what_is_given_is_held_as_long_as_the_supervisor(sv, model):
    told = []

    class Owner:
        def method(self, supervisor, event):
            told.append("method")

    sv.on(signals.step, lambda *_: told.append("lambda"))
    sv.on(signals.step, Owner().method)
    gc.collect()
    run_steps(sv, model, 1)
    assert told == ["lambda", "method"]


def test_a_supervisor_and_its_hooks_are_not_kept_by_the_signals(graph):
    class Quiet(hooks.Hook):
        def on_step(self, supervisor, event): ...

    def make():
        hook = Quiet()
        with tf.Graph().as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            train_op = tf.compat.v1.assign_add(step, 1)
            sv = hookrun.Supervisor(hooks=[hook])
            with sv.managed_session() as sess:
                sess.run(train_op)
        return weakref.ref(sv), weakref.ref(hook)

    supervisor, hook = make()
    gc.collect()
    assert supervisor() is None
    assert hook() is None


def test_order_is_by_priority_then_by_addition_with_checkpointing_last(model, tmp_path):
    told = []

    def named(label, order=0):
        class Named(hooks.Hook):
            priority = order

            def on_stop(self, supervisor, event):
                told.append(label)

        return Named()

    class Checkpoint(hooks.CheckpointHook):
        def on_stop(self, supervisor, event):
            told.append("checkpoint")

    given = [Checkpoint(), named("c", 10), named("a"), named("b"), named("first", -1)]
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=given)
    sv.on(signals.stop, lambda *_: told.append("on"))
    run_steps(sv, model, 1)
    assert told == ["first", "a", "b", "on", "c", "checkpoint"]


def test_the_order_is_logged_when_a_session_starts(sv, model, caplog):
    sv.on(signals.step, lambda *_: None, name="second")
    sv.on(signals.step, lambda *_: None, name="first", priority=-1)
    with caplog.at_level(logging.INFO, "hookrun"):
        run_steps(sv, model, 1)
    assert "step: first, second" in caplog.text


def test_a_failing_receiver_stops_the_training_in_a_loop_that_never_asks(sv, model, caplog):
    @sv.on(signals.step, name="the failing one")
    def fail(supervisor, event):
        if event.global_step == 3:
            raise ValueError("at step 3")

    ran = 0
    with caplog.at_level(logging.ERROR, "hookrun"), pytest.raises(ValueError, match="at step 3"):
        with sv.managed_session() as sess:
            for _ in range(100):
                sess.run(model.train_op)
                ran += 1
                assert sv.should_stop() == (ran >= 3)
    assert ran == 3
    assert "the failing one failed in step" in caplog.text


def test_evaluation_goes_on_after_a_failure_until_the_next_training_step(sv, model):
    @sv.on(signals.step)
    def fail(supervisor, event):
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"), sv.managed_session() as sess:
        sess.run(model.train_op)
        assert sess.run(model.global_step) == 1
        sess.run(model.train_op)


def test_a_receiver_that_only_logs_its_errors_does_not_stop_the_training(sv, model, caplog):
    @sv.on(signals.step, on_error="log")
    def fail(supervisor, event):
        raise ValueError("only logged")

    told = []
    sv.on(signals.step, lambda _, event: told.append(event.global_step))
    run_steps(sv, model, 3)
    assert told == [1, 2, 3]
    assert caplog.text.count("only logged") >= 3


def test_of_two_failing_hooks_the_first_is_raised_the_second_logged_and_all_are_stopped(
    model, tmp_path, caplog
):
    stopped = []

    class Failing(hooks.Hook):
        def __init__(self, error):
            self.error = error

        def on_step(self, supervisor, event):
            raise self.error

        def on_stop(self, supervisor, event):
            stopped.append(self.error)
            assert not event.session.closed
            assert str(event.error) == "the first"

    first, second = Failing(ValueError("the first")), Failing(KeyError("the second"))
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[first, second])
    with pytest.raises(ValueError, match="the first"):
        run_steps(sv, model, 2)
    assert stopped == [first.error, second.error]
    assert "the second" in caplog.text
    with pytest.raises(ValueError, match="the first"):  # closed: its thread is gone, and an event is ignored
        sv.stop()


def test_an_end_of_input_in_a_hook_is_an_error(sv, model):
    @sv.on(signals.step)
    def fail(supervisor, event):
        raise tf.errors.OutOfRangeError(None, None, "a hook's own data set")

    with pytest.raises(tf.errors.OutOfRangeError, match="a hook's own"):
        run_steps(sv, model, 2)


def test_an_error_in_on_stop_is_raised_and_the_other_hooks_are_stopped(sv, model):
    stopped = []

    @sv.on(signals.stop)
    def fail(supervisor, event):
        raise ValueError("at the end")

    sv.on(signals.stop, lambda *_: stopped.append(True))
    with pytest.raises(ValueError, match="at the end"):
        run_steps(sv, model, 1)
    assert stopped == [True]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt("at the end"), SystemExit(7)])
def test_an_interrupt_in_on_stop_skips_neither_the_other_hooks_nor_the_final_checkpoint(
    model, tmp_path, interrupt
):
    stopped = []

    class Interrupted(hooks.Hook):
        def on_stop(self, supervisor, event):
            raise interrupt

    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[Interrupted()], save_summaries_steps=1)
    sv.on(signals.stop, lambda _, event: stopped.append(event.session))
    with pytest.raises(type(interrupt)) as raised:
        run_steps(sv, model, 3)
    assert raised.value is interrupt
    assert [session.closed for session in stopped] == [True]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-3")
    assert not sv.services_started
    sv.remove_hook(sv.hooks[0])
    run_steps(sv, model, 1)
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-4")


def test_an_error_beside_an_interrupt_stops_the_training(sv, model):
    @sv.on(signals.step)
    def fail(supervisor, event):
        raise ValueError("failed")

    @sv.on(signals.step)
    def interrupt(supervisor, event):
        raise KeyboardInterrupt

    with sv.managed_session() as sess:
        with pytest.raises(KeyboardInterrupt):
            sess.run(model.train_op)
        assert str(sv.coord.error) == "failed"
        sv.coord.clear_stop()


def test_a_hook_that_fails_when_the_session_is_created_ends_it(sv, model):
    sessions = []

    @sv.on(signals.session_created)
    def fail(supervisor, event):
        sessions.append(event.session)
        raise ValueError("not ready")

    with pytest.raises(ValueError, match="not ready"):
        sv.prepare_or_wait_for_session()
    with pytest.raises(ValueError, match="not ready"), sv.managed_session():
        pytest.fail("the block must not be entered")
    assert [session.closed for session in sessions] == [True, True]


def test_add_hook_and_remove_hook(sv, model):
    told = []

    class Told(hooks.Hook):
        def on_step(self, supervisor, event):
            told.append(event.global_step)

    hook = Told()
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        sv.add_hook(hook)
        assert hook in sv.hooks
        sess.run(model.train_op)
        sv.remove_hook(hook)
        assert hook not in sv.hooks
        sess.run(model.train_op)
    assert told == [2]


def test_a_hook_that_add_hook_refuses_hears_of_nothing(sv, model):
    told = []

    class Mistaken(hooks.Hook):
        fetches = "nowhere:0"

        def on_session_created(self, supervisor, event):
            told.append("created")

        def on_step(self, supervisor, event):
            told.append("step")

    known = sv.hooks
    with pytest.raises(ValueError, match=r"Mistaken.on_step cannot fetch 'nowhere:0'"):
        sv.add_hook(Mistaken())
    run_steps(sv, model, 1)
    assert (told, sv.hooks) == ([], known)


def test_several_threads_may_add_and_remove_at_once(sv):
    class Hears(hooks.Hook):
        def on_step(self, supervisor, event):
            pass

    def add_and_remove():
        for _ in range(300):
            hook = Hears()
            with sv.on(signals.step, lambda *_: None), sv.on(signals.stop, lambda *_: None):
                sv.add_hook(hook)
                sv.remove_hook(hook)

    known, interval = sv.hooks, sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with futures.ThreadPoolExecutor(4) as threads:
            for added in [threads.submit(add_and_remove) for _ in range(4)]:
                added.result(60)
    finally:
        sys.setswitchinterval(interval)
    assert sv.hooks == known


def test_a_hook_is_added_once(sv):
    hook = hooks.Hook()
    sv.add_hook(hook)
    with pytest.raises(ValueError, match="already added"):
        sv.add_hook(hook)
    sv.remove_hook(hook)
    with pytest.raises(ValueError, match="not part of"):
        sv.remove_hook(hook)


def test_hooks_that_are_none_or_given_twice_are_refused(model):
    hook = hooks.Hook()
    with pytest.raises(ValueError, match="one hook twice: Hook"):
        hookrun.Supervisor(hooks=[hook, hook])
    with pytest.raises(TypeError, match="must be instances of .* not <class"):
        hookrun.Supervisor(hooks=[hooks.Hook])
    with pytest.raises(TypeError, match="must be a sequence of .* not <hookrun"):
        hookrun.Supervisor(hooks=hook)


def test_a_hook_of_tensorflow_is_refused_with_what_to_do(model):
    with pytest.raises(TypeError, match="not <.*: wrap it in hookrun.hooks.SessionRunHookAdapter"):
        hookrun.Supervisor(hooks=[tf.compat.v1.train.SessionRunHook()])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("setup_graph", "runtime"),
        ("before_run", "context"),
        ("after_run", "context, values"),
        ("state_dict", ""),
        ("load_state_dict", "state"),
    ],
)
def test_a_method_that_cannot_be_called_is_refused_when_its_hook_is_given(sv, method, arguments):
    wrong = type("Wrong", (hooks.Hook,), {method: lambda self, one, two, three: None})
    message = rf"^Wrong\.{method} must be callable as {method}\({arguments}\), not <bound method"
    with tf.Graph().as_default(), pytest.raises(TypeError, match=message):
        hookrun.Supervisor(hooks=[wrong()])
    with pytest.raises(TypeError, match=message):
        sv.add_hook(wrong())
    assert "Wrong" not in [hook.name for hook in sv.hooks]


def test_a_hook_that_could_not_go_on_from_what_it_remembers_is_refused(model):
    class Forgets(hooks.Hook):
        def state_dict(self):
            return {}

    with pytest.raises(TypeError, match="Forgets overrides state_dict without load_state_dict"):
        hookrun.Supervisor(hooks=[Forgets()])


def test_a_name_that_is_no_text_is_refused(model):
    class Numbered(hooks.Hook):
        name = 5

        def on_step(self, supervisor, event): ...

    with pytest.raises(TypeError, match="name must be a str, not 5, of the hook <.*Numbered object"):
        hookrun.Supervisor(hooks=[Numbered()])


def test_a_hook_that_adds_ops_cannot_come_late(sv):
    class Adds(hooks.Hook):
        def setup_graph(self, supervisor): ...

    with pytest.raises(RuntimeError, match="Adds adds ops"):
        sv.add_hook(Adds())


def test_what_is_no_hook_is_refused_by_its_value(sv, model):
    with pytest.raises(TypeError, match="not 'a hook'"):
        sv.add_hook("a hook")


async def coroutine(sv, event): ...


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("step", print), TypeError, "signal must be one of hookrun.signals, not 'step'"),
        ((signals.step, "print"), TypeError, "receiver must be callable"),
        ((signals.step, lambda: None), TypeError, r"as receiver\(runtime, event\), not <function"),
        ((signals.step, coroutine), TypeError, "not a coroutine function"),
    ],
)
def test_on_refuses_what_it_cannot_use(sv, arguments, error, message):
    with pytest.raises(error, match=message):
        sv.on(*arguments)


class Called:
    async def __call__(self, *arguments, **keywords): ...


def generator(*arguments, **keywords):
    yield


@pytest.mark.parametrize("given", [coroutine, Called(), generator], ids=["coroutine", "object", "generator"])
def test_what_a_call_would_not_run_is_refused_wherever_it_is_given(sv, model, given):
    never_run = "which a call does not run"
    with pytest.raises(TypeError, match=never_run):
        sv.on(signals.step, given)
    with pytest.raises(TypeError, match=f"function must .*{never_run}"):
        hooks.CallbackHook(given)
    with pytest.raises(TypeError, match=f"target must .*{never_run}"):
        sv.loop(1, given)
    with pytest.raises(TypeError, match=f"step_fn must .*{never_run}"):
        sv.train(given)
    with pytest.raises(TypeError, match=f"init_fn must .*{never_run}"):
        hookrun.Supervisor(init_fn=given)
    with pytest.raises(TypeError, match=f"evaluate must .*{never_run}"):
        hooks.EvaluationHook(given, every_steps=1)
    with pytest.raises(TypeError, match=f"rate_at must .*{never_run}"):
        hooks.LearningRateHook(model.global_step, given)
    if given is not generator:
        with pytest.raises(TypeError, match=f"feeds must .*{never_run}"):
            hooks.EvaluationHook({}, given, every_steps=1)


@pytest.mark.parametrize(
    "method",
    ["on_step", "on_stop", "setup_graph", "before_run", "after_run", "state_dict", "load_state_dict"],
)
@pytest.mark.parametrize("function", [Called.__call__, generator], ids=["coroutine", "generator"])
def test_a_hook_whose_method_a_call_would_not_run_is_refused(model, method, function):
    others = {name: lambda self, state=None: {} for name in ("state_dict", "load_state_dict")}
    never_run = type("NeverRun", (hooks.Hook,), {**others, method: function})
    with pytest.raises(TypeError, match=rf"NeverRun\.{method} must be an ordinary function"):
        hookrun.Supervisor(hooks=[never_run()])


def test_what_returns_a_coroutine_ends_the_training_that_would_do_nothing(sv, model):
    with pytest.raises(TypeError, match="<lambda> returned <coroutine .*>, which is never run"):
        sv.train(lambda sess: coroutine(sv, sess))
    with pytest.raises(TypeError, match="returned <coroutine .*>, which is never run"):
        with sv.managed_session() as sess:
            sv.on(signals.step, lambda sv, event: coroutine(sv, event))
            sess.run(model.train_op)
    with pytest.raises(TypeError, match="returned <coroutine .*>, which is never run"):
        with sv.managed_session():
            sv.loop(None, lambda: coroutine(None, None)).join(30)


def test_on_refuses_an_unknown_error_rule_and_a_schedule_for_another_signal(sv):
    with pytest.raises(ValueError, match="on_error must be 'stop' or 'log', not 'ignore'"):
        sv.on(signals.step, print, on_error="ignore")
    for priority in ("last", None, float("nan")):
        with pytest.raises(TypeError, match=f"priority must be a number, not {priority!r}: print"):
            sv.on(signals.step, print, priority=priority)
    with pytest.raises(ValueError, match="only `step` has schedules"):
        sv.on(signals.stop, print, every_steps=5)


def test_a_hook_can_send_signals_as_the_standard_hooks_do(sv, model):
    saved = []
    sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.path))

    @sv.on(signals.step)
    def save(supervisor, event):
        supervisor.send(signals.checkpoint_saved, events.CheckpointSaved(event.session, "elsewhere", 1))

    run_steps(sv, model, 1)
    assert saved == ["elsewhere"]


def test_the_time_of_each_hook_is_known_and_a_slow_one_named(sv, model, caplog):
    slept = threading.Event()  # never set: waiting for it is sleeping
    sv.on(signals.step, lambda *_: slept.wait(0.2), name="the sleeper")
    sv.on(signals.step, lambda *_: None, name="the quick one")
    with caplog.at_level(logging.DEBUG, "hookrun"):
        run_steps(sv, model, 3)
    times = {row.name: row for row in sv.hook_times() if row.signal == "step"}
    assert sv.hook_times()[0].name == "the sleeper"
    assert (times["the sleeper"].count, times["the quick one"].count) == (3, 3)
    assert 0.2 <= times["the sleeper"].mean_secs <= times["the sleeper"].max_secs
    assert times["the sleeper"].total_secs >= 0.6
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("the sleeper took")
    assert "the quick one" in caplog.text


def test_the_time_of_each_hook_counts_every_step_of_several_threads(sv, model):
    sv.on(signals.step, lambda *_: None, name="the counted one", fetches=model.loss)

    def train(sess):
        for _ in range(300):
            sess.run(model.train_op)

    with sv.managed_session() as sess:
        threads = [threading.Thread(target=train, args=(sess,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            sv.hook_times()  # adds up what they add to
        for thread in threads:
            thread.join()
    (row,) = [row for row in sv.hook_times() if row.name == "the counted one"]
    assert row.count == 1200
    assert 0 < row.max_secs <= row.total_secs


def test_times_do_not_pile_up_while_receivers_come_and_go(sv, model):
    sv.on(signals.step, lambda *_: None, name="the one that stays")
    (stays,) = [s for s in sv._subscriptions if s.name == "the one that stays"]
    with sv.managed_session() as sess:
        for _ in range(20):
            with sv.on(signals.step, lambda *_: None):
                sess.run(model.train_op)
        sess.run(model.train_op)
        assert len(stays._secs) == 1
    (row,) = [row for row in sv.hook_times() if row.name == "the one that stays"]
    assert row.count == 21


def slow(seconds=0.2):
    """A receiver that takes its time."""
    never = threading.Event()
    return lambda *_: never.wait(seconds)


def named_slow(caplog):
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    return [message.partition(" took ")[0] for message in messages if " of the training time" in message]


class SlowSummaries(hooks.SummaryHook):
    def on_summary_due(self, supervisor, event):
        super().on_summary_due(supervisor, event)
        slow()()


def test_a_slow_hook_that_steps_drive_is_named_and_what_drives_it_is_not(model, tmp_path, caplog):
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[SlowSummaries()], save_summaries_secs=0, save_summaries_steps=1
    )
    run_steps(sv, model, 3)
    assert named_slow(caplog) == ["SlowSummaries.on_summary_due"]
    (row,) = [row for row in sv.hook_times() if row.name == "SlowSummaries.on_summary_due"]
    assert row.training_secs == row.total_secs >= 0.6


def test_what_sends_to_a_slow_receiver_of_blinkers_own_is_not_named(model, tmp_path, caplog):
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1)
    receiver = slow()
    signals.summary_due.connect(receiver, sender=sv)
    run_steps(sv, model, 3)
    assert not [name for name in named_slow(caplog) if name.startswith("summary_due")]


def test_a_slow_hook_on_a_timer_is_not_named(model, tmp_path, caplog, wait_until):
    told = threading.Event()
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[SlowSummaries()], save_summaries_secs=0.01)
    sv.on(signals.summary_due, lambda *_: told.set(), priority=1)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        wait_until(told)
    assert named_slow(caplog) == []
    (row,) = [row for row in sv.hook_times() if row.name == "SlowSummaries.on_summary_due"]
    assert row.training_secs == 0 < 0.2 <= row.total_secs


def test_a_slow_receiver_of_what_a_hook_sends_within_a_step_is_named(model, tmp_path, caplog):
    checkpoint = hooks.CheckpointHook(every_steps=1, background=False)
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[checkpoint], save_summaries_secs=0)
    sv.on(signals.checkpoint_saved, slow(), name="the slow one")
    run_steps(sv, model, 3)
    times = {row.name: row for row in sv.hook_times()}
    assert "the slow one" in named_slow(caplog)
    assert times["the slow one"].training_secs >= 0.6


def test_a_slow_receiver_that_is_told_before_a_save_is_named_as_no_step_runs_meanwhile(
    model, tmp_path, caplog
):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=1, save_summaries_secs=0)
    sv.on(signals.checkpoint_saving, slow(), name="the slow one")
    run_steps(sv, model, 3)
    assert "the slow one" in named_slow(caplog)


def test_a_hook_that_is_slow_before_or_after_every_run_is_named(model, caplog):
    class Slow(hooks.Hook):
        def before_run(self, context):
            slow()()

        def after_run(self, context, values):
            slow()()

    run_steps(hookrun.Supervisor(hooks=[Slow()]), model, 2)
    assert sorted(named_slow(caplog)) == ["Slow.after_run", "Slow.before_run"]


def test_an_error_is_known_to_the_receivers_that_are_called_after_it(sv, model):
    known = []

    def fails(supervisor, event):
        raise ZeroDivisionError

    sv.on(signals.step, fails)
    sv.on(signals.step, lambda *_: known.append((sv.should_stop(), sv.coord.error)))
    with pytest.raises(ZeroDivisionError) as raised:
        run_steps(sv, model, 2)
    assert known == [(True, raised.value)]
