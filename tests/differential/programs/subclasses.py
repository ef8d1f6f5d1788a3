"""What a subclass overrides is called, and what the program itself hands in is used."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from observing import catching, counting_model, raised, streams, tf1


def _noting(Supervisor: Any, calls: list[Any]) -> Any:
    """A subclass that notes how the methods are called that `managed_session` goes through."""

    def noted(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append([name, [isinstance(arg, tf1.Session) for arg in args], sorted(kwargs)])
            return getattr(super(Noting, self), name)(*args, **kwargs)

        return method

    names = ["prepare_or_wait_for_session", "start_standard_services", "start_queue_runners"]
    methods = {name: noted(name) for name in [*names, "request_stop", "stop"]}
    Noting = type("Noting", (Supervisor,), methods)
    return Noting


def _called(Supervisor: Any, error: BaseException | None = None, **arguments: Any) -> Any:
    calls: list[Any] = []
    tf.constant(1)
    sv = _noting(Supervisor, calls)(ready_op=None, save_model_secs=0, save_summaries_secs=0, **arguments)
    with catching() as errors, sv.managed_session():
        if error is not None:
            raise error
    return [calls, errors]


def managed_session_calls_the_methods_of_a_subclass(Supervisor, logdir):
    return _called(Supervisor, logdir=logdir)


def managed_session_calls_them_without_a_logdir(Supervisor, logdir):
    return _called(Supervisor)


def managed_session_of_a_worker_calls_them(Supervisor, logdir):
    return _called(Supervisor, is_chief=False)


def managed_session_calls_them_after_an_error(Supervisor, logdir):
    return _called(Supervisor, ValueError("in the block"), logdir=logdir)


def managed_session_calls_them_after_the_end_of_the_input(Supervisor, logdir):
    return _called(Supervisor, tf.errors.OutOfRangeError(None, None, "end"), logdir=logdir)


def managed_session_calls_them_after_an_interrupt(Supervisor, logdir):
    return _called(Supervisor, KeyboardInterrupt(), logdir=logdir)


def subclass_that_prepares_without_services(Supervisor, logdir):
    """Its `start_standard_services` and `start_queue_runners` do nothing."""
    counting_model()
    queue = tf.queue.FIFOQueue(1, tf.int32)
    tf1.train.add_queue_runner(tf1.train.QueueRunner(queue, [queue.enqueue(1)]))

    class Quiet(Supervisor):
        def start_standard_services(self, sess):
            return []

        def start_queue_runners(self, sess, queue_runners=None):
            return []

    size = queue.size()
    with Quiet(logdir=logdir).managed_session() as session:
        return [int(session.run(size)), streams(logdir)[1:]]


def subclass_that_forgives_an_error(Supervisor, logdir):
    """What its `request_stop` does not pass on is not raised."""
    counting_model()

    class Forgiving(Supervisor):
        def request_stop(self, ex=None):
            super().request_stop()

    with catching() as errors, Forgiving(logdir=logdir).managed_session():
        raise ValueError("forgiven")
    return errors


def session_manager_with_a_master_of_its_own(Supervisor, logdir):
    model = counting_model()
    initialize = tf1.global_variables_initializer()
    masters = []

    class Manager:
        def prepare_session(self, master, **kwargs):
            masters.append(master)
            session = tf1.Session()
            session.run(initialize)
            return session

    for master in ("queue://jobs/7", "local"):
        with Supervisor(session_manager=Manager()).managed_session(master) as session:
            session.run(model.train_op)
    return masters


def writer_without_a_logdir_is_closed_by_stop(Supervisor, logdir):
    """As in TensorFlow's own tests: the session is closed before that."""
    tf1.summary.scalar("c1", tf.constant(1))
    summaries = tf1.summary.merge_all()
    writer = tf1.summary.FileWriter(logdir)
    sv = Supervisor(logdir="", summary_op=None, summary_writer=writer)
    session = sv.prepare_or_wait_for_session("")
    sv.summary_computed(session, session.run(summaries))
    session.close()
    return [raised(sv.stop), streams(logdir)]
