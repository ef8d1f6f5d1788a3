"""A non-chief waits for a model that another task makes ready, and writes nothing."""

from __future__ import annotations

import os
import threading
from typing import Any

import tensorflow as tf
from observing import Model, catching, counting_model, files, raised, tf1


def _worker_model() -> Model:
    with tf.device("/cpu:0"):
        return counting_model()


def gives_up_when_the_model_is_not_made_ready(Supervisor, logdir):
    _worker_model()
    sv = Supervisor(is_chief=False, logdir=logdir, recovery_wait_secs=0.02)
    error = raised(sv.prepare_or_wait_for_session, max_wait_secs=0.1)[0]  # hookrun says what is missing
    return [error, os.path.exists(logdir)]


def gives_up_when_not_ready_for_local_init(Supervisor, logdir):
    _worker_model()
    sv = Supervisor(
        is_chief=False, ready_for_local_init_op=tf.constant(["no"]), ready_op=None, recovery_wait_secs=0.02
    )
    return raised(sv.prepare_or_wait_for_session, max_wait_secs=0)[0]


def gives_up_at_once_when_there_is_no_time_to_wait(Supervisor, logdir):
    _worker_model()
    sv = Supervisor(is_chief=False, recovery_wait_secs=30)
    return raised(sv.prepare_or_wait_for_session, max_wait_secs=3)[0]


def does_not_initialize(Supervisor, logdir):
    model = _worker_model()
    sv = Supervisor(is_chief=False, ready_op=None, init_fn=lambda session: 1 / 0)
    with sv.managed_session() as session:
        return raised(session.run, model.weight)[0]


def runs_its_local_init_op(Supervisor, logdir):
    _worker_model()
    local = tf1.get_local_variable("local", initializer=3, use_resource=True)
    sv = Supervisor(is_chief=False, ready_op=None)
    with sv.managed_session() as session:
        return int(session.run(local))


def does_not_restore(Supervisor, logdir):
    with tf.Graph().as_default():
        counting_model()
        chief = Supervisor(logdir=logdir, save_model_secs=0)
        with chief.managed_session() as session:
            chief.saver.save(session, chief.save_path, global_step=chief.global_step)
    _worker_model()
    sv = Supervisor(is_chief=False, logdir=logdir, recovery_wait_secs=0.02)
    return raised(sv.prepare_or_wait_for_session, max_wait_secs=0)[0]


def waits_for_the_chief(Supervisor, logdir):
    """Both train the same variables, in the containers of one server."""
    server = tf1.train.Server.create_local_server()
    result: dict[str, Any] = {}
    waiting = threading.Event()

    class Manager(tf1.train.SessionManager):
        def wait_for_session(self, *args, **kwargs):
            waiting.set()
            return super().wait_for_session(*args, **kwargs)

    def worker():
        with tf.Graph().as_default(), catching() as errors:
            model = _worker_model()
            ready = tf1.report_uninitialized_variables()
            manager = Manager(ready_op=ready, recovery_wait_secs=0.05)
            sv = Supervisor(is_chief=False, logdir=logdir + "-worker", session_manager=manager)
            with sv.managed_session(server.target) as session:
                session.run(model.train_op)
        result["worker"] = errors

    thread = threading.Thread(target=worker)
    thread.start()
    waiting.wait(20)
    model = counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    with sv.managed_session(server.target) as session:
        thread.join(20)
        result["step"] = int(session.run(model.step))
    return [result, os.path.exists(logdir + "-worker")]


def error_in_the_block(Supervisor, logdir):
    tf.constant(1)
    sv = Supervisor(is_chief=False, logdir=logdir)
    with catching() as errors, sv.managed_session():
        raise ValueError("in a worker")
    return [errors, os.path.exists(logdir)]


def loops_run(Supervisor, logdir):
    tf.constant(1)
    sv = Supervisor(is_chief=False)
    called = threading.Event()
    with sv.managed_session():
        sv.loop(60, called.set)
        return called.wait(10)


def writer_that_is_given_is_not_used(Supervisor, logdir):
    tf.constant(1)
    writer = tf1.summary.FileWriter(logdir)
    sv = Supervisor(is_chief=False, logdir=logdir, summary_writer=writer)
    with sv.managed_session():
        pass
    writer.close()
    return [sv.summary_writer, files(logdir)]
