"""QueueRunnerHook: input queues are filled, and end."""

from __future__ import annotations

import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks


@pytest.fixture
def counting(graph):
    return tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)


def test_an_input_producer_with_epochs_ends_the_loop_cleanly(counting, tmp_path):
    item = tf.compat.v1.train.string_input_producer(["a", "b"], num_epochs=3, shuffle=False).dequeue()
    sv = hookrun.Supervisor(logdir=tmp_path, stop_grace_secs=10)
    read = []
    with sv.managed_session() as sess:
        while not sv.should_stop():
            read.append(sess.run([item, counting])[0].decode())
    assert read == ["a", "b"] * 3


def test_shuffled_batches_arrive(counting):
    numbers = tf.compat.v1.train.input_producer(tf.range(10), shuffle=False, num_epochs=2).dequeue()
    batch = tf.compat.v1.train.shuffle_batch([numbers], batch_size=5, capacity=20, min_after_dequeue=5)
    sv = hookrun.Supervisor(stop_grace_secs=10)
    read = []
    with sv.managed_session() as sess:
        while not sv.should_stop():
            read.extend(sess.run([batch, counting])[0].tolist())
    assert sorted(read) == sorted([*range(10), *range(10)])


def test_an_error_in_the_loop_ends_the_queue_runners(counting):
    item = tf.compat.v1.train.input_producer(tf.range(10)).dequeue()
    sv = hookrun.Supervisor(stop_grace_secs=10)
    with pytest.raises(ZeroDivisionError), sv.managed_session() as sess:
        sess.run([item, counting])
        raise ZeroDivisionError


def test_an_error_in_an_enqueue_is_raised(counting):
    queue = tf.queue.FIFOQueue(4, tf.float32)
    broken = tf.debugging.check_numerics(tf.constant(float("nan")), "broken input")
    runner = tf.compat.v1.train.QueueRunner(queue, [queue.enqueue(broken)])
    tf.compat.v1.train.add_queue_runner(runner)
    sv = hookrun.Supervisor(stop_grace_secs=10)
    with pytest.raises(tf.errors.InvalidArgumentError, match="broken input"), sv.managed_session() as sess:
        while not sv.should_stop():
            sess.run(counting)


def test_no_services_means_no_queue_runners(counting):
    tf.compat.v1.train.input_producer(tf.range(10))
    sv = hookrun.Supervisor()
    before = threading.active_count()
    with sv.managed_session(start_standard_services=False):
        assert threading.active_count() == before


def test_the_hook_can_be_given_other_runners(counting):
    queue = tf.queue.FIFOQueue(4, tf.int32)
    runner = tf.compat.v1.train.QueueRunner(queue, [queue.enqueue(7)])
    item = queue.dequeue()
    sv = hookrun.Supervisor(hooks=[hooks.QueueRunnerHook([runner])], stop_grace_secs=10)
    with sv.managed_session() as sess:
        assert sess.run(item) == 7
