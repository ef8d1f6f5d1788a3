"""Exceptions from the block, from a loop, from a service: which one comes out, and what is left behind."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

import tensorflow as tf
from observing import (
    ALL_SERVICES,
    catching,
    checkpoints,
    counting_model,
    described,
    first_tick,
    raised,
    streams,
    tf1,
    until,
)


class _Interruption(BaseException):
    pass


class _FailingSaver(tf1.train.Saver):
    def save(self, *args: Any, **kwargs: Any) -> str:
        raise OSError("no space left")


def _error_in_the_block(Supervisor: Any, logdir: str, error: BaseException) -> dict[str, Any]:
    """The services have ticked; one step is done; then the block raises."""
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    with catching() as errors, sv.managed_session() as session:
        first_tick(sv, logdir, *ALL_SERVICES)
        session.run(model.train_op)
        raise error
    return {
        "raised": errors,
        "should_stop": sv.should_stop(),
        "stream": streams(logdir),
        "session": raised(session.run, model.step),
    }


def block_raises_value_error(Supervisor, logdir):
    return _error_in_the_block(Supervisor, logdir, ValueError("bad batch"))


def block_raises_aborted_error(Supervisor, logdir):
    """As after the preemption of a worker."""
    return _error_in_the_block(Supervisor, logdir, tf.errors.AbortedError(None, None, "preempted"))


def block_raises_cancelled_error(Supervisor, logdir):
    return _error_in_the_block(Supervisor, logdir, tf.errors.CancelledError(None, None, "cancelled"))


def block_raises_stop_iteration(Supervisor, logdir):
    """The end of a Python iterator is no clean end."""
    return _error_in_the_block(Supervisor, logdir, StopIteration("no more batches"))


def block_raises_keyboard_interrupt(Supervisor, logdir):
    result = _error_in_the_block(Supervisor, logdir, KeyboardInterrupt())
    return {name: result[name] for name in ["raised", "should_stop", "session"]}


def block_raises_system_exit(Supervisor, logdir):
    result = _error_in_the_block(Supervisor, logdir, SystemExit(3))
    return {name: result[name] for name in ["raised", "should_stop", "session"]}


def block_raises_base_exception(Supervisor, logdir):
    result = _error_in_the_block(Supervisor, logdir, _Interruption("enough"))
    return {name: result[name] for name in ["raised", "should_stop", "session"]}


def block_raises_out_of_range_error(Supervisor, logdir):
    """The end of the input is a clean end."""
    counting_model()
    sv = Supervisor(logdir=logdir)
    with catching() as errors, sv.managed_session():
        first_tick(sv, logdir, *ALL_SERVICES)
        raise tf.errors.OutOfRangeError(None, None, "end of input")
    return {"raised": errors, "should_stop": sv.should_stop(), "stream": streams(logdir)}


def block_returns(Supervisor, logdir):
    counting_model()
    sv = Supervisor()

    def train():
        with sv.managed_session():
            return "done"

    return [train(), sv.should_stop()]


def block_breaks_from_a_loop(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor()
    for _ in range(3):
        with sv.managed_session() as session:
            session.run(model.train_op)
            break
    return sv.should_stop()


def block_raises_the_same_object_with_its_traceback(Supervisor, logdir):
    counting_model()
    error = ValueError("this one")

    def explode():
        raise error

    try:
        with Supervisor(logdir=logdir).managed_session():
            explode()
    except ValueError as caught:
        frames = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
        return [caught is error, "explode" in frames]


def training_op_that_fails(Supervisor, logdir):
    number = tf1.placeholder(tf.string, [], name="number")
    counting_model()
    parsed = tf.strings.to_number(number)
    sv = Supervisor(logdir=logdir)
    with catching() as errors, sv.managed_session() as session:
        session.run(parsed, {number: "four"})
    return [errors, sv.should_stop()]


def training_op_at_the_end_of_a_dataset(Supervisor, logdir):
    """A loop that looks at should_stop() only."""
    model = counting_model()
    batch = tf1.data.make_one_shot_iterator(tf1.data.Dataset.range(3)).get_next()
    sv = Supervisor()
    batches = []
    with sv.managed_session() as session:
        while not sv.should_stop():
            batches.append(int(session.run([batch, model.train_op])[0]))
    return [batches, sv.should_stop()]


def _error_in_a_loop(Supervisor: Any, logdir: str, error: BaseException, interval: float | None) -> list[Any]:
    counting_model()
    sv = Supervisor(logdir=logdir)
    calls = []

    def target():
        calls.append(1)
        raise error

    with catching() as errors, sv.managed_session():
        first_tick(sv, logdir, *ALL_SERVICES)
        thread = sv.loop(interval, target)
        sv.wait_for_stop()
    return [errors, calls, sv.should_stop(), thread.is_alive(), streams(logdir)]


def loop_raises(Supervisor, logdir):
    return _error_in_a_loop(Supervisor, logdir, ValueError("in the loop"), 60)


def loop_without_interval_raises(Supervisor, logdir):
    return _error_in_a_loop(Supervisor, logdir, ValueError("in the loop"), None)


def loop_raises_out_of_range_error(Supervisor, logdir):
    return _error_in_a_loop(Supervisor, logdir, tf.errors.OutOfRangeError(None, None, "end"), 60)


def loop_raises_base_exception(Supervisor, logdir):
    return _error_in_a_loop(Supervisor, logdir, _Interruption("in the loop"), 60)[:3]


def loop_raises_system_exit(Supervisor, logdir):
    return _error_in_a_loop(Supervisor, logdir, SystemExit(3), 60)[:3]


def loop_calls_with_arguments(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    calls = []
    done = threading.Event()

    def target(*args, **kwargs):
        calls.append([list(args), kwargs])
        done.set()

    with sv.managed_session():
        threads = [sv.loop(60, target, (1, 2), {"three": 3})]
        done.wait(10)
        done.clear()
        threads.append(sv.loop(timer_interval_secs=60, target=target, args=["four"], kwargs=None))
        done.wait(10)
        alive = [
            [isinstance(thread, threading.Thread), thread.daemon, thread.is_alive()] for thread in threads
        ]
    return [calls, alive, [thread.is_alive() for thread in threads]]


def loop_without_interval_calls_again_and_again(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    calls = []
    with sv.managed_session():
        sv.loop(None, calls.append, ("called",))
        until(lambda: len(calls) > 5)
    seen = len(calls)
    return [set(calls) == {"called"}, seen == len(calls)]


def loop_with_interval_calls_at_once_and_then_on_time(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    calls = []
    with sv.managed_session():
        sv.loop(0.01, calls.append, ("called",))
        until(lambda: len(calls) >= 4)
    return set(calls) == {"called"}


def loop_started_before_the_session_ends_with_it(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    calls = []
    thread = sv.loop(0.01, calls.append, ("called",))
    with sv.managed_session():
        until(lambda: len(calls) >= 2)
    return thread.is_alive()


def loop_after_the_end_does_not_run(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.managed_session():
        pass
    calls = []
    thread = sv.loop(60, calls.append, (1,))
    thread.join(10)
    return [calls, thread.is_alive()]


def loop_without_a_target(Supervisor, logdir):
    counting_model()
    return raised(Supervisor().loop, 60, None, (1,))[0]


def summary_op_that_fails(Supervisor, logdir):
    counting_model()
    bad = tf1.summary.scalar("bad", tf.strings.to_number("four"))
    sv = Supervisor(logdir=logdir, summary_op=bad, save_model_secs=0)
    with catching() as errors, sv.managed_session():
        sv.wait_for_stop()
    return [errors, sv.should_stop(), [stream[-1] for stream in streams(logdir)]]


def saver_that_fails(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, saver=_FailingSaver())
    with catching() as errors, sv.managed_session():
        sv.wait_for_stop()
    return [errors, sv.should_stop(), checkpoints(logdir), [stream[-1] for stream in streams(logdir)]]


def error_of_a_loop_wins_over_a_later_one_of_the_block(Supervisor, logdir):
    counting_model()
    sv = Supervisor()

    def target():
        raise ValueError("first")

    with catching() as errors, sv.managed_session():
        sv.loop(60, target)
        sv.wait_for_stop()
        raise KeyError("second")
    return errors


def error_of_the_block_wins_over_a_later_one_of_a_loop(Supervisor, logdir):
    counting_model()
    sv = Supervisor()

    def target():
        sv.wait_for_stop()
        raise ValueError("second")

    with catching() as errors, sv.managed_session():
        sv.loop(None, target)
        raise KeyError("first")
    return errors


def error_after_a_clean_end_was_requested_is_lost(Supervisor, logdir):
    """What follows a request to stop is fallout of stopping."""
    counting_model()
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        sv.request_stop()
        raise ValueError("too late")
    return errors


def keyboard_interrupt_after_an_error_of_a_loop(Supervisor, logdir):
    counting_model()
    sv = Supervisor()

    def target():
        raise ValueError("first")

    with catching() as errors, sv.managed_session():
        sv.loop(60, target)
        sv.wait_for_stop()
        raise KeyboardInterrupt
    return errors


def request_stop_ends_the_loop(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor()
    steps = 0
    with sv.managed_session() as session:
        while not sv.should_stop():
            session.run(model.train_op)
            steps += 1
            if steps == 4:
                sv.request_stop()
    return steps


def request_stop_with_an_exception(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        try:
            raise ValueError("reported")
        except ValueError as error:
            sv.request_stop(error)
    return [errors, sv.should_stop()]


def request_stop_with_exc_info(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        try:
            raise ValueError("reported")
        except ValueError:
            sv.request_stop(ex=sys.exc_info())
    return errors


def request_stop_with_out_of_range_error(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        try:
            raise tf.errors.OutOfRangeError(None, None, "end")
        except tf.errors.OutOfRangeError as error:
            sv.request_stop(error)
    return [errors, sv.should_stop()]


def request_stop_twice_keeps_the_first(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        for text in ["first", "second"]:
            try:
                raise ValueError(text)
            except ValueError as error:
                sv.request_stop(error)
    return errors


def request_stop_after_the_end_raises_at_once(Supervisor, logdir):
    """Nobody would hear of it otherwise."""
    counting_model()
    sv = Supervisor()
    with sv.managed_session():
        pass
    try:
        raise ValueError("late")
    except ValueError as error:
        return [raised(sv.request_stop, error), raised(sv.request_stop)]


def stop_on_exception(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    sv.prepare_or_wait_for_session()
    with catching() as inside, sv.stop_on_exception():
        raise ValueError("inside")
    return [inside, sv.should_stop(), raised(sv.stop)]


def stop_on_exception_at_the_end_of_input(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    sv.prepare_or_wait_for_session()
    with sv.stop_on_exception():
        raise tf.errors.OutOfRangeError(None, None, "end")
    return [sv.should_stop(), raised(sv.stop)]


def stop_on_exception_without_one(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.stop_on_exception():
        pass
    return sv.should_stop()


def error_is_raised_by_stop(Supervisor, logdir):
    """Without managed_session(), stop() raises what a thread reported."""
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)

    def target():
        raise ValueError("in the loop")

    sv.loop(60, target)
    sv.wait_for_stop()
    error = raised(sv.stop)
    session.close()
    return [error, raised(sv.stop), streams(logdir)]


def error_of_one_session_is_forgotten_in_the_next(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    results = []
    for error in [ValueError("first session"), None]:
        with catching() as errors, sv.managed_session():
            results.append(sv.should_stop())
            if error:
                raise error
        results.append(errors)
    return results


def error_while_another_is_handled_keeps_its_context(Supervisor, logdir):
    counting_model()
    try:
        with Supervisor().managed_session():
            try:
                raise KeyError("cause")
            except KeyError as error:
                raise ValueError("effect") from error
    except ValueError as caught:
        return [described(caught), described(caught.__cause__)]
