"""Snapshots of a tf.train.Checkpoint: what is written is what was there when it was taken."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from hookrun.eager import tf_internals
from hookrun.eager.snapshots import Snapshots


def of_keras():
    """A model that was trained for a step, with all that Keras adds to it, its data and random numbers."""
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(2),
        ]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    optimizer.build(model.trainable_variables)
    data = iter(tf.data.Dataset.range(100).shuffle(10, seed=1).batch(4).repeat())
    metric, seed = keras.metrics.Mean(), keras.random.SeedGenerator(7)
    checkpoint = tf.train.Checkpoint(
        model=model,
        optimizer=optimizer,
        data=data,
        rng=tf.random.Generator.from_seed(1),
        metrics=[variable.value for variable in metric.variables],
        seed=seed.state.value,
        more=[tf.Variable(1), {"a.b/c": tf.Variable(2)}, tf.Variable(["text"])],
    )
    return checkpoint, data, model


@pytest.mark.parametrize("private_names", [True, False], ids=["", "without TensorFlow's own names"])
def test_what_is_written_is_what_was_there_when_it_was_taken(tmp_path, monkeypatch, private_names):
    checkpoint, data, model = of_keras()
    if not private_names:
        monkeypatch.setattr(tf_internals, "_gathered", lambda checkpoint: None)
    next(data)
    kernel = model.layers[0].kernel
    before = kernel.numpy()
    snapshot = Snapshots(checkpoint).take({})
    later = [next(data).numpy().tolist() for _ in range(5)]
    kernel.assign_add(tf.ones_like(kernel))

    prefix = snapshot.save(str(tmp_path / "model.ckpt"), 7)
    assert prefix == str(tmp_path / "model.ckpt-7")
    checkpoint.restore(prefix).assert_consumed()
    assert np.array_equal(kernel.numpy(), before)
    assert [next(data).numpy().tolist() for _ in range(5)] == later


def test_the_file_holds_what_tensorflow_would_write(tmp_path):
    checkpoint, *_ = of_keras()
    ours = tf.train.load_checkpoint(Snapshots(checkpoint).take({}).save(str(tmp_path / "ours"), 1))
    theirs = tf.train.load_checkpoint(checkpoint.write(str(tmp_path / "theirs")))
    assert ours.get_variable_to_shape_map() == theirs.get_variable_to_shape_map()
    assert ours.get_variable_to_dtype_map() == theirs.get_variable_to_dtype_map()
    key = tf_internals.OBJECT_GRAPH_KEY
    assert ours.get_tensor(key) == theirs.get_tensor(key)


def test_a_checkpoint_manager_starts_from_it(tmp_path, model):
    model.weights.assign([3.0, 4.0])
    Snapshots(model.checkpoint).take({}).save(str(tmp_path / "model.ckpt"), 5)
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), "model.ckpt-5", ["model.ckpt-5"])
    model.weights.assign([0.0, 0.0])
    manager = tf.train.CheckpointManager(model.checkpoint, str(tmp_path), max_to_keep=3)
    assert manager.restore_or_initialize() == str(tmp_path / "model.ckpt-5")
    assert model.weights.numpy().tolist() == [3.0, 4.0]


def test_what_is_saved_besides_is_not_looked_at_by_tensorflow(tmp_path, model):
    prefix = (
        Snapshots(model.checkpoint).take({"hookrun/global_step": tf.constant(9)}).save(str(tmp_path / "m"), 9)
    )
    model.checkpoint.restore(prefix).assert_consumed()
    assert tf.train.load_variable(prefix, "hookrun/global_step") == 9


def test_an_object_that_was_added_is_in_the_next_one(tmp_path):
    checkpoint = tf.train.Checkpoint(first=tf.Variable(1))
    snapshots = Snapshots(checkpoint)
    snapshots.take({})
    checkpoint.second = tf.Variable(2)
    prefix = snapshots.take({}).save(str(tmp_path / "m"), 1)
    assert "second/.ATTRIBUTES/VARIABLE_VALUE" in tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    checkpoint.restore(prefix).assert_consumed()


def test_the_names_are_found_once(tmp_path, model, monkeypatch):
    calls, found = [], tf_internals.object_graph_of
    monkeypatch.setattr(tf_internals, "object_graph_of", lambda c: calls.append(c) or found(c))
    snapshots = Snapshots(model.checkpoint)
    for _ in range(3):
        snapshots.take({})
    assert len(calls) == 1


def test_a_checkpoint_of_other_things_is_written_as_a_whole(tmp_path, caplog):
    caplog.set_level(logging.INFO, "hookrun")
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    table.insert(tf.constant([1], tf.int64), tf.constant([5], tf.int64))
    checkpoint = tf.train.Checkpoint(table=table, weight=tf.Variable(1.0))
    prefix = Snapshots(checkpoint).take({}).save(str(tmp_path / "m"), 1)
    table.insert(tf.constant([1], tf.int64), tf.constant([6], tf.int64))
    checkpoint.restore(prefix).assert_consumed()
    assert table.lookup(tf.constant([1], tf.int64)).numpy().tolist() == [5]
    assert "written between two steps: table/" in caplog.text


def test_an_iterator_that_cannot_be_saved_names_what_is_in_the_way():
    data = iter(tf.data.Dataset.range(3).map(lambda x: tf.numpy_function(lambda y: y, [x], tf.int64)))
    with pytest.raises(
        ValueError, match=r"cannot be saved, of an iterator.*PyFunc is stateful.* Leave the iterator out"
    ):
        Snapshots(tf.train.Checkpoint(data=data)).take({})
