"""stop(), its arguments, and what comes after it."""

from __future__ import annotations

import glob
import os
import threading
import time
from typing import Any

import tensorflow as tf
from observing import (
    ALL_SERVICES,
    FlushingWriter,
    catching,
    counting_model,
    files,
    first_tick,
    raised,
    streams,
    tf1,
    until,
)


def _straggler(release: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=release.wait, args=(30,), name="straggler", daemon=True)
    thread.start()
    return thread


def stop_ends_loops_and_services(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    before = set(threading.enumerate())
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.loop(60, lambda: None)
    result = sv.stop()
    until(lambda: not [thread for thread in threading.enumerate() if thread not in before])
    session.close()
    return [result, sv.should_stop(), sv.coord.joined]


def stop_does_not_close_the_session(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    sv.stop()
    with session:
        return float(session.run(model.weight))


def stop_waits_for_the_threads_given(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    done = []

    def work():
        sv.wait_for_stop()
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    sv.stop(threads=[thread])
    session.close()
    return [done, thread.is_alive()]


def stop_waits_for_loops_beside_the_threads_given(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    loop = sv.loop(60, lambda: None)
    sv.stop([])
    session.close()
    return loop.is_alive()


def stop_does_not_wait_for_other_threads(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    release = threading.Event()
    thread = _straggler(release)
    sv.stop()
    alive = thread.is_alive()
    release.set()
    session.close()
    return alive


def stop_waits_for_threads_registered_with_the_coordinator(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    thread = threading.Thread(target=sv.wait_for_stop)
    sv.coord.register_thread(thread)
    thread.start()
    sv.stop()
    session.close()
    return thread.is_alive()


def stop_names_a_straggler(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, stop_grace_secs=0.1)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    release = threading.Event()
    error = raised(sv.stop, [_straggler(release)])
    release.set()
    session.close()
    return [error, streams(logdir)]


def stop_ignores_a_straggler_when_asked(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, stop_grace_secs=0.1)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    release = threading.Event()
    error = raised(sv.stop, threads=[_straggler(release)], ignore_live_threads=True)
    release.set()
    session.close()
    return [error, streams(logdir)]


def stop_raises_the_error_rather_than_the_straggler(Supervisor, logdir):
    counting_model()
    sv = Supervisor(stop_grace_secs=0.1)
    session = sv.prepare_or_wait_for_session()
    release = threading.Event()
    with sv.stop_on_exception():
        raise ValueError("the error")
    error = raised(sv.stop, [_straggler(release)])
    release.set()
    session.close()
    return error


def managed_session_names_a_straggler(Supervisor, logdir):
    counting_model()
    sv = Supervisor(stop_grace_secs=0.1)
    release = threading.Event()
    with catching() as errors, sv.managed_session() as session:
        sv.coord.register_thread(_straggler(release))
    release.set()
    return [errors, raised(session.run, "weight:0")]


def stop_grace_secs_bounds_the_wait(Supervisor, logdir):
    counting_model()
    sv = Supervisor(stop_grace_secs=0.2)
    session = sv.prepare_or_wait_for_session()
    release = threading.Event()
    begin = time.monotonic()
    sv.stop([_straggler(release)], ignore_live_threads=True)
    waited = time.monotonic() - begin
    release.set()
    session.close()
    return 0.15 < waited < 5


def stop_twice(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    errors = [raised(sv.stop), raised(sv.stop)]
    session.close()
    return [errors, streams(logdir)]


def stop_before_a_session_was_made(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    return [raised(sv.stop), sv.should_stop(), streams(logdir)]


def stop_without_logdir(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    result = raised(sv.stop)
    session.close()
    return result


def stop_of_a_non_chief(Supervisor, logdir):
    weight = tf1.get_local_variable("weight", initializer=1.0, use_resource=True)
    sv = Supervisor(is_chief=False, logdir=logdir)
    session = sv.prepare_or_wait_for_session(max_wait_secs=5)
    value = float(session.run(weight))
    result = raised(sv.stop)
    session.close()
    return [value, result, os.path.exists(logdir)]


def stop_and_a_writer_of_the_user(Supervisor, logdir):
    closed = {}
    for way, arguments in {"default": {}, "asked": {"close_summary_writer": True}}.items():
        writer = FlushingWriter()
        with tf.Graph().as_default():
            counting_model()
            sv = Supervisor(logdir=logdir, summary_writer=writer, save_model_secs=0, save_summaries_secs=0)
        session = sv.prepare_or_wait_for_session()
        sv.stop(**arguments)
        session.close()
        closed[way] = "close" in writer.calls
    with sv.managed_session():
        writer.calls.clear()
    return {**closed, "managed_session": "close" in writer.calls}


def stop_leaves_the_writer_open_when_asked(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.stop(close_summary_writer=False)
    sv.summary_writer.add_summary(tf1.Summary(value=[tf1.Summary.Value(tag="after", simple_value=1.0)]), 7)
    sv.summary_writer.flush()
    session.close()
    return streams(logdir)


def stop_closes_its_writer_when_asked(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.stop(None, True)
    session.close()
    return streams(logdir)


def managed_session_leaves_the_writer_open_when_asked(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session(close_summary_writer=False):
        first_tick(sv, logdir, *ALL_SERVICES)
    sv.summary_writer.add_summary(tf1.Summary(value=[tf1.Summary.Value(tag="after", simple_value=1.0)]), 7)
    sv.summary_writer.flush()
    return streams(logdir)


def writer_left_open_is_used_by_the_next_session(Supervisor, logdir):
    """One file; the graph is in it once."""
    counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0)
    for _ in range(2):
        with sv.managed_session(close_summary_writer=False):
            pass
    sv.summary_writer.flush()
    return streams(logdir)


def _next_second(logdir: str) -> None:
    """Wait until a new event file can have a new name: TensorFlow puts the time in seconds into it."""
    newest = max(int(os.path.basename(path).split(".")[3]) for path in glob.glob(f"{logdir}/*tfevents*"))
    until(lambda: int(time.time()) > newest)


def prepare_stop_and_prepare_again(Supervisor, logdir):
    """A new session: restored, with an event file of its own that begins with the graph and START."""
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    steps = []
    for run in range(2):
        if run == 1:
            _next_second(logdir)
        session = sv.prepare_or_wait_for_session()
        steps.append([sv.should_stop(), int(session.run(model.step))])
        first_tick(sv, logdir, *(ALL_SERVICES if run == 0 else ("weight_now", "/sec")))
        if run == 0:
            session.run(model.train_op)
            sv.saver.save(session, sv.save_path, global_step=sv.global_step)
        sv.stop(close_summary_writer=True)
        steps.append(sv.should_stop())
        session.close()
    # the last checkpoint of the first session is this program's own; whether it is told of, or saved again
    # in the second session, is not compared
    lines = [[line for line in stream if not line.startswith("CHECKPOINT 1")] for stream in streams(logdir)]
    return [steps, lines, files(logdir)]


def two_managed_sessions(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, save_summaries_secs=0, save_model_secs=0)
    with sv.managed_session():
        pass
    _next_second(logdir)
    with sv.managed_session():
        pass
    return [streams(logdir), files(logdir)]


def should_stop_through_a_session(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    seen = [sv.should_stop()]
    session = sv.prepare_or_wait_for_session()
    seen.append(sv.should_stop())
    sv.request_stop()
    seen.append(sv.should_stop())
    sv.stop()
    seen.append(sv.should_stop())
    session.close()
    with sv.managed_session():
        seen.append(sv.should_stop())
    return seen


def wait_for_stop(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(sv.wait_for_stop()))
    thread.start()
    waiting = [thread.is_alive(), list(results)]
    sv.request_stop()
    thread.join(10)
    sv.stop()
    session.close()
    return [waiting, results]


def coordinator_is_the_one_of_the_supervisor(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.managed_session():
        before = sv.coord.should_stop()
        sv.coord.request_stop()
        during = sv.should_stop()
    return [before, during, sv.coord.joined]


def request_stop_before_the_session_is_cleared(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    sv.request_stop()
    with sv.managed_session():
        return sv.should_stop()
