"""Queue runners: input that ends, threads that fail, threads that hang."""

from __future__ import annotations

import re
import threading
from typing import Any

import tensorflow as tf
from observing import catching, counting_model, raised, tf1, until


def _records(**kwargs: Any) -> tf.Tensor:
    return tf1.train.string_input_producer(["a", "b", "c"], shuffle=False, **kwargs).dequeue()


def _queue_runner(capacity: int = 100) -> tuple[tf1.QueueBase, tf1.train.QueueRunner]:
    queue = tf1.FIFOQueue(capacity, tf.int32, shapes=[[]], name="numbers")
    return queue, tf1.train.QueueRunner(queue, [queue.enqueue(1)] * 2)


def input_of_two_epochs(Supervisor, logdir):
    """The end of the input ends the loop, and is no error."""
    model = counting_model()
    record = _records(num_epochs=2)
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    seen = []
    with catching() as errors, sv.managed_session() as session:
        while not sv.should_stop():
            seen.append(session.run([record, model.train_op])[0])
    return [seen, errors, sv.should_stop()]


def input_in_shuffled_batches(Supervisor, logdir):
    model = counting_model()
    batch = tf1.train.shuffle_batch([_records(num_epochs=4)], 5, capacity=20, min_after_dequeue=5)
    sv = Supervisor()
    seen = []
    with sv.managed_session() as session:
        while not sv.should_stop():
            seen += [item.decode() for item in session.run([batch, model.train_op])[0]]
    return [len(seen), set(seen) <= {"a", "b", "c"}]


def input_in_batches_with_a_smaller_last_one(Supervisor, logdir):
    counting_model()
    batch = tf1.train.batch([_records(num_epochs=1)], 2, allow_smaller_final_batch=True)
    sv = Supervisor()
    seen = []
    with sv.managed_session() as session:
        while not sv.should_stop():
            seen.append(session.run(batch).tolist())
    return [[item.decode() for item in items] for items in seen]


def queue_runners_are_started_without_logdir(Supervisor, logdir):
    counting_model()
    record = _records()
    with Supervisor().managed_session() as session:
        return session.run(record)


def queue_runners_are_not_started_without_standard_services(Supervisor, logdir):
    counting_model()
    queue, runner = _queue_runner()
    tf1.train.add_queue_runner(runner)
    size = queue.size()
    with Supervisor().managed_session(start_standard_services=False) as session:
        return int(session.run(size))


def queue_runners_of_a_non_chief_are_started(Supervisor, logdir):
    record = _records()
    with Supervisor(is_chief=False, ready_op=None).managed_session() as session:
        return session.run(record)


def start_queue_runners_returns_the_threads(Supervisor, logdir):
    counting_model()
    queue, runner = _queue_runner(capacity=3)
    size = queue.size()
    sv = Supervisor()
    with sv.managed_session() as session:
        threads = sv.start_queue_runners(session, [runner])
        until(lambda: session.run(size) == 3)
        shown = sorted([re.sub(r"\d+$", "N", t.name), t.daemon, t.is_alive()] for t in threads)
    return [type(threads).__name__, shown, [t.is_alive() for t in threads if t.is_alive()]]


def start_queue_runners_of_the_collection(Supervisor, logdir):
    counting_model()
    queue, runner = _queue_runner(capacity=3)
    tf1.train.add_queue_runner(runner)
    size = queue.size()
    sv = Supervisor()
    with sv.managed_session(start_standard_services=False) as session:
        threads = sv.StartQueueRunners(session)
        until(lambda: session.run(size) == 3)
        return len(threads)


def start_queue_runners_of_an_empty_list(Supervisor, logdir):
    counting_model()
    _, runner = _queue_runner()
    tf1.train.add_queue_runner(runner)
    sv = Supervisor()
    with sv.managed_session(start_standard_services=False) as session:
        return sv.start_queue_runners(session, [])


def start_queue_runners_twice_in_one_session(Supervisor, logdir):
    counting_model()
    _, runner = _queue_runner(capacity=3)
    tf1.train.add_queue_runner(runner)
    sv = Supervisor()
    with sv.managed_session() as session:
        return sv.start_queue_runners(session)


def enqueue_op_that_fails(Supervisor, logdir):
    """The error of the queue runner's thread comes out of the block."""
    counting_model()
    queue = tf1.FIFOQueue(10, tf.float32, shapes=[[]])
    tf1.train.add_queue_runner(tf1.train.QueueRunner(queue, [queue.enqueue(tf.strings.to_number("four"))]))
    sv = Supervisor()
    with catching() as errors, sv.managed_session():
        sv.wait_for_stop()
    return [errors, sv.should_stop()]


def enqueue_op_that_fails_while_the_loop_reads(Supervisor, logdir):
    """The loop runs into the end of the closed queue; the error behind it is what counts."""
    counting_model()
    queue = tf1.FIFOQueue(10, tf.float32, shapes=[[]])
    tf1.train.add_queue_runner(tf1.train.QueueRunner(queue, [queue.enqueue(tf.strings.to_number("four"))]))
    item = queue.dequeue()
    sv = Supervisor()
    with catching() as errors, sv.managed_session() as session:
        while not sv.should_stop():
            session.run(item)
    return errors


def queue_runner_that_is_blocked_at_stop(Supervisor, logdir):
    """The queue is full, nobody reads: stopping cancels the pending enqueue ops."""
    counting_model()
    queue, runner = _queue_runner(capacity=2)
    tf1.train.add_queue_runner(runner)
    size = queue.size()
    before = set(threading.enumerate())
    sv = Supervisor()
    with catching() as errors, sv.managed_session() as session:
        until(lambda: session.run(size) == 2)
    until(lambda: not [thread for thread in threading.enumerate() if thread not in before])
    return errors


def _blocked_loop(sv: Any, session: tf1.Session, enqueue: tf.Operation) -> threading.Thread:
    """Start a loop that fills a queue which is full, and wait until it is about to."""
    entered = threading.Event()

    def fill():
        entered.set()
        session.run(enqueue)

    session.run(enqueue)
    thread = sv.loop(None, fill)
    entered.wait(10)
    return thread


def loop_that_is_blocked_at_stop(Supervisor, logdir):
    """It is named after the grace period; closing the session then ends it."""
    counting_model()
    enqueue = tf1.FIFOQueue(1, tf.int32, shapes=[[]]).enqueue(1)
    sv = Supervisor(stop_grace_secs=0.2)
    with catching() as errors, sv.managed_session() as session:
        thread = _blocked_loop(sv, session, enqueue)
    until(lambda: not thread.is_alive())
    return [[kind, text.replace(thread.name, "THREAD")] for kind, text in errors]


def error_of_the_block_with_a_blocked_loop(Supervisor, logdir):
    counting_model()
    enqueue = tf1.FIFOQueue(1, tf.int32, shapes=[[]]).enqueue(1)
    sv = Supervisor(stop_grace_secs=0.2)
    with catching() as errors, sv.managed_session() as session:
        thread = _blocked_loop(sv, session, enqueue)
        raise ValueError("the first error")
    until(lambda: not thread.is_alive())
    return errors


def end_of_input_in_two_sessions(Supervisor, logdir):
    """The second session begins the input anew."""
    counting_model()
    record = _records(num_epochs=1)
    sv = Supervisor()
    seen = []
    for _ in range(2):
        with sv.managed_session() as session:
            while not sv.should_stop():
                seen.append(session.run(record))
    return seen


def start_queue_runners_with_no_runners(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.managed_session() as session:
        return [sv.start_queue_runners(session), raised(sv.start_queue_runners, session, [None])[0]]
