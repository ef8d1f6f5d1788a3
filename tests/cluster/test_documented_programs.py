"""The programs of TensorFlow's documentation, in a cluster whose tasks are threads of this process."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf

import hookrun
from hookrun import cluster, hooks
from tests.cluster.processes import BOUND_SECS, free_ports

v1 = tf.compat.v1
STEPS = 30


class Seen(hooks.Hook):
    def __init__(self, chief_only):
        self.chief_only = chief_only
        self.steps = []

    def on_step(self, supervisor, event):
        self.steps.append(event.global_step)


@contextlib.contextmanager
def session_by_hand(sv, master, config):
    sess = sv.prepare_or_wait_for_session(master, config=config)
    yield sess
    sv.stop()
    sess.close()


class Task:
    """What a worker does and sees; `run` is its documented program."""

    def __init__(self, task, server, logdir, both_ready):
        self.task, self.server, self.logdir, self.both_ready = task, server, logdir, both_ready
        self.everywhere, self.on_chief = Seen(chief_only=False), Seen(chief_only=True)
        self.weights, self.threads = None, []

    def run(self, sync, host, session=hookrun.Supervisor.managed_session):
        with tf.Graph().as_default(), v1.device(self.task.device_setter()):
            step = v1.train.get_or_create_global_step()
            weights = v1.get_variable(
                "weights",
                [8],
                initializer=v1.zeros_initializer(),
                partitioner=v1.fixed_size_partitioner(2),
            )
            examples = v1.train.input_producer([1.0], shuffle=False, capacity=4).dequeue()
            whole = tf.convert_to_tensor(weights)
            loss = tf.reduce_sum((whole - examples) ** 2)
            optimizer, ops = v1.train.GradientDescentOptimizer(0.1), {}
            if sync:
                optimizer = v1.train.SyncReplicasOptimizer(optimizer, 2, total_num_replicas=2)
            train_op = optimizer.minimize(loss, global_step=step)
            if sync:
                ops["ready_for_local_init_op"] = optimizer.ready_for_local_init_op
                ops["local_init_op"] = optimizer.local_step_init_op
            if sync and self.task.is_chief:
                ops["local_init_op"] = optimizer.chief_init_op
                chief_queue_runner = optimizer.get_chief_queue_runner()
                init_tokens_op = optimizer.get_init_tokens_op()
            sv = hookrun.Supervisor(
                is_chief=self.task.is_chief,
                logdir=self.logdir,
                recovery_wait_secs=0.1,
                hooks=[self.everywhere, self.on_chief],
                **ops,
            )
            master = self.server.target.replace("localhost", host)
            with session(sv, master, config=self.task.session_config()) as sess:
                if sync and self.task.is_chief:
                    sv.start_queue_runners(sess, [chief_queue_runner])
                    sess.run(init_tokens_op)
                self.both_ready.wait(BOUND_SECS)
                while not sv.should_stop() and sess.run(step) < STEPS:
                    sess.run(train_op)
                self.threads = [thread.name for thread in sv.coord.threads]
                self.weights = sess.run(whole)
                leaving = time.monotonic()
            self.left_after_secs = time.monotonic() - leaving


@pytest.fixture
def tasks(tmp_path):
    """Chief and worker, and two parameter servers beside them."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
    spec = {"ps": addresses[:2], "worker": addresses[2:]}
    servers = [cluster.Task(spec, "ps", index).start_server() for index in range(2)]
    described = [cluster.Task(spec, "worker", index) for index in range(2)]
    both_ready = threading.Barrier(2)
    yield [Task(task, task.start_server(), tmp_path / "logdir", both_ready) for task in described]
    del servers  # they run as long as the process


@pytest.mark.parametrize("sync", [False, True], ids=["asynchronous", "synchronous"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["target", "address"])
def test_replicas_train_one_model_of_several_parameter_servers(tasks, sync, host):
    chief, worker = tasks
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(task.run, sync, host) for task in tasks]
        for each in running:
            each.result(BOUND_SECS)

    assert chief.weights == pytest.approx([1] * 8, abs=0.1)
    assert worker.weights == pytest.approx([1] * 8, abs=0.1)
    assert chief.left_after_secs < 2  # though its queue runner waits for gradients
    assert chief.everywhere.steps == chief.on_chief.steps
    assert worker.on_chief.steps == []
    assert chief.everywhere.steps and worker.everywhere.steps
    assert max(chief.everywhere.steps + worker.everywhere.steps) >= STEPS
    assert any("input_producer" in name for name in worker.threads)
    assert any("sync_token" in name for name in chief.threads) == sync
    assert not any("sync_token" in name for name in worker.threads)
    assert dict(tf.train.list_variables(str(chief.logdir)))["weights"] == [8]


def test_replicas_that_prepare_and_stop_their_sessions_by_hand(tasks):
    chief, worker = tasks
    with ThreadPoolExecutor() as threads:
        for running in [threads.submit(task.run, True, "localhost", session_by_hand) for task in tasks]:
            running.result(BOUND_SECS)

    assert chief.weights == pytest.approx([1] * 8, abs=0.1)
    assert chief.left_after_secs < 2  # though its queue runner waits for gradients
    assert chief.everywhere.steps and worker.everywhere.steps
    assert worker.on_chief.steps == []
    assert tf.train.load_checkpoint(str(chief.logdir)).get_tensor("global_step") >= STEPS
