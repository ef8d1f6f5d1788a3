"""Snapshots: what belongs to one step is saved as of one step, while training goes on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.graph.snapshots import Snapshots, can_snapshot

v1 = tf.compat.v1


def equal_variables(use_resource, count=20, size=50_000):
    """Variables that equal the global step between any two steps, and the op that trains."""
    step = v1.get_variable(
        "global_step", [], tf.int64, v1.zeros_initializer(), trainable=False, use_resource=use_resource
    )
    v1.add_to_collection(v1.GraphKeys.GLOBAL_STEP, step)
    variables = [
        v1.get_variable(
            f"v{i}", [size], tf.int64, v1.zeros_initializer(), use_resource=use_resource, trainable=False
        )
        for i in range(count)
    ]
    ones = tf.ones([size], tf.int64)
    updates = [v1.assign_add(variable, ones, use_locking=True) for variable in variables]
    with tf.control_dependencies(updates):
        train_op = v1.assign_add(step, 1, use_locking=True)
    return variables, train_op.op


def values_in(path):
    """The distinct values in a checkpoint, and the step of its name."""
    reader = tf.train.load_checkpoint(path)
    values = {v for name in reader.get_variable_to_shape_map() for v in np.unique(reader.get_tensor(name))}
    return values, int(path.rpartition("-")[2])


@pytest.mark.parametrize("background", [True, False], ids=["background", "at the boundary"])
@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_saved_variable_and_the_name_belong_to_one_step(tmp_path, use_resource, background, threads):
    _, train_op = equal_variables(use_resource)
    sv = hookrun.Supervisor(
        logdir=tmp_path,
        save_model_secs=0.005,
        save_model_steps=7,
        save_summaries_secs=0,
        hooks=[hooks.CheckpointHook(keep=hooks.retention.LatestN(None), background=background)],
    )
    saved = []

    @sv.on(signals.checkpoint_saved)
    def note(_, event):
        saved.append((event.path, event.global_step))
        if len(saved) == 12:
            sv.request_stop()

    def train(sess):
        while not sv.should_stop():
            sess.run(train_op)

    with sv.managed_session() as sess, ThreadPoolExecutor(threads) as pool:
        for running in [pool.submit(train, sess) for _ in range(threads)]:
            running.result()
    assert len(saved) >= 12
    for path, step in saved:
        assert values_in(path) == ({step}, step)


UPDATES = {
    "assign": lambda v: v1.assign(v, tf.ones_like(v) * 9),
    "assign_add": lambda v: v1.assign_add(v, tf.ones_like(v)),
    "assign_sub": lambda v: v1.assign_sub(v, tf.ones_like(v)),
    "scatter_add": lambda v: v1.scatter_add(v, [1], [[5.0, 5.0]]),
    "scatter_update": lambda v: v1.scatter_update(v, [1], [[5.0, 5.0]]),
    "scatter_nd_update": lambda v: v1.scatter_nd_update(v, [[0, 1]], [5.0]),
    "strided slice": lambda v: v[0, 1].assign(5.0),
    "gradient descent": lambda v: v1.train.GradientDescentOptimizer(1.0).minimize(tf.reduce_sum(v**2)),
    "sparse gradient": lambda v: v1.train.GradientDescentOptimizer(1.0).minimize(
        tf.reduce_sum(tf.nn.embedding_lookup(v, [1]) ** 2)
    ),
    "adam": lambda v: v1.train.AdamOptimizer(1.0).minimize(tf.reduce_sum(v**2)),
    "sparse adam": lambda v: v1.train.AdamOptimizer(1.0).minimize(
        tf.reduce_sum(tf.nn.embedding_lookup(v, [1]) ** 2)
    ),
    "momentum": lambda v: v1.train.MomentumOptimizer(1.0, 0.9).minimize(tf.reduce_sum(v**2)),
    "adagrad": lambda v: v1.train.AdagradOptimizer(1.0).minimize(tf.reduce_sum(v**2)),
    "rmsprop": lambda v: v1.train.RMSPropOptimizer(1.0).minimize(tf.reduce_sum(v**2)),
    "ftrl": lambda v: v1.train.FtrlOptimizer(1.0).minimize(tf.reduce_sum(v**2)),
}


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "reference"])
@pytest.mark.parametrize("update", UPDATES)
def test_no_update_changes_a_snapshot(tmp_path, update, use_resource):
    initial = np.arange(1.0, 7.0, dtype=np.float32).reshape(3, 2)
    variable = v1.get_variable("v", initializer=initial, use_resource=use_resource)
    v1.train.get_or_create_global_step()
    update_op = UPDATES[update](variable)
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0)
    with sv.managed_session() as sess:
        snapshots = Snapshots(sess, sv.saver)
        with sv.between_steps():
            snapshot = snapshots.take()
        for _ in range(3):
            sess.run(update_op)
        path = snapshot.save(str(tmp_path / "snapshot"), 5)
        assert not np.array_equal(sess.run(variable), initial)
    assert path == str(tmp_path / "snapshot-5")
    assert np.array_equal(tf.train.load_checkpoint(path).get_tensor("v"), initial)


def test_the_file_is_the_one_that_the_saver_writes(model, tmp_path):
    v1.get_variable("names", initializer=["a", "bc"])
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        with sv.between_steps():
            ours = Snapshots(sess, sv.saver).take().save(str(tmp_path / "ours"), 1)
        theirs = sv.saver.save(sess, str(tmp_path / "theirs"), 1, write_state=False)
        sess.run(model.train_op)
        sv.saver.restore(sess, ours)
        assert sess.run(model.global_step) == 1
    for ending in (".index", ".data-00000-of-00001"):
        with open(ours + ending, "rb") as a, open(theirs + ending, "rb") as b:
            assert a.read() == b.read()
    assert (tmp_path / "ours-1.meta").exists()


class TestCanSnapshot:
    def ask(self, tmp_path, saver, **arguments):
        sv = hookrun.Supervisor(logdir=tmp_path, saver=saver, save_model_secs=0, save_summaries_secs=0)
        with sv.managed_session(**arguments) as sess:
            return can_snapshot(sess, saver)

    def test_a_saver_as_it_comes(self, model, tmp_path):
        assert self.ask(tmp_path, v1.train.Saver())

    def test_not_one_with_a_save_of_its_own(self, model, tmp_path):
        class Mine(v1.train.Saver):
            def save(self, *args, **kwargs):
                return super().save(*args, **kwargs)

        assert not self.ask(tmp_path, Mine())

    def test_not_one_that_is_sharded(self, model, tmp_path):
        assert not self.ask(tmp_path, v1.train.Saver(sharded=True))

    def test_not_one_of_the_first_format(self, model, tmp_path):
        assert not self.ask(tmp_path, v1.train.Saver(write_version=v1.train.SaverDef.V1))

    def test_not_one_that_saves_an_iterator(self, model, tmp_path):
        iterator = v1.data.make_one_shot_iterator(tf.data.Dataset.range(3))
        saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
        assert not self.ask(tmp_path, v1.train.Saver([model.weights, saveable]))

    def test_not_in_a_session_of_another_process(self, model, tmp_path):
        server = tf.distribute.Server.create_local_server()
        assert not self.ask(tmp_path, v1.train.Saver(), master=server.target)


def test_writing_needs_no_thread_of_the_session(tmp_path):
    """The only one may be in the middle of a step."""
    entered, leave = threading.Event(), threading.Event()

    def block():
        entered.set()
        assert leave.wait(30)
        return np.float32(0)

    _, train_op = equal_variables(use_resource=True, count=2)
    blocking_op = v1.py_func(block, [], tf.float32)
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_summaries_secs=0)
    config = v1.ConfigProto(inter_op_parallelism_threads=1, use_per_session_threads=True)
    with ThreadPoolExecutor(1) as pool, sv.managed_session(config=config) as sess:
        sess.run(train_op)
        with sv.between_steps():
            snapshot = Snapshots(sess, sv.saver).take()
        running = pool.submit(sess.run, blocking_op)
        assert entered.wait(30)
        path = snapshot.save(str(tmp_path / "snapshot"), 1)
        leave.set()
        running.result()
    assert values_in(path) == ({1}, 1)


def test_is_written_though_the_program_has_closed_the_session(model, tmp_path):
    sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_summaries_secs=0)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
        with sv.between_steps():
            snapshot = Snapshots(sess, sv.saver).take()
        weights = sess.run(model.weights)
        sess.close()
        path = snapshot.save(str(tmp_path / "snapshot"), 1)
    assert tf.train.load_checkpoint(path).get_tensor("weights").tolist() == weights.tolist()


@pytest.mark.parametrize(("count", "prepared"), [(20, True), (200, False)])
def test_the_first_snapshot_of_few_variables_is_taken_at_once(graph, count, prepared):
    equal_variables(True, count=count, size=1)
    sv = hookrun.Supervisor()
    with sv.managed_session() as sess:
        snapshots = Snapshots(sess, sv.saver)
        assert snapshots.are_prepared == prepared
        snapshots.prepare()
        assert snapshots.are_prepared
