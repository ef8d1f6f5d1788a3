"""Batches whose position is saved: a resumed program sees each batch that no step was made with, once."""

from __future__ import annotations

import pytest
import tensorflow as tf

from hookrun.eager.data import DataPositions
from hookrun.eager.snapshots import Snapshots


class Training:
    """Steps that are counted by hand, and a checkpoint that is saved when told."""

    def __init__(self, directory, restored_from=None):
        self.steps = 0
        self.stopped = False
        self.prefix = str(directory / "data")
        self.positions = DataPositions(lambda: self.steps, lambda: self.stopped, restored_from)

    def save(self):
        snapshot = Snapshots(tf.train.Checkpoint()).take(self.positions.tensors())
        return snapshot.save(self.prefix, self.steps)


def numbers(batches, training=None, count=None):
    """Take so many batches, and make a step with each."""
    taken = []
    for batch in batches:
        taken.append(int(batch))
        if training is not None:
            training.steps += 1
        if count is not None and len(taken) == count:
            break
    return taken


DATA = tf.data.Dataset.range(20).shuffle(7, seed=5)


def test_a_resumed_run_goes_on_with_the_next_batch(tmp_path):
    training = Training(tmp_path)
    batches = training.positions.batches(DATA)
    numbers(batches, training, count=8)
    saved = training.save()
    rest = numbers(batches)
    assert len(rest) == 12
    assert numbers(Training(tmp_path, saved).positions.batches(DATA)) == rest


def test_a_batch_that_was_given_without_a_step_is_given_again(tmp_path):
    training = Training(tmp_path)
    batches = training.positions.batches(DATA)
    numbers(batches, training, count=8)
    given = int(next(batches))
    saved = training.save()
    rest = numbers(batches)
    assert numbers(Training(tmp_path, saved).positions.batches(DATA)) == [given, *rest]


def test_it_is_given_again_by_a_run_that_makes_no_step_with_it_neither(tmp_path):
    training = Training(tmp_path)
    given = int(next(training.positions.batches(DATA)))
    second = Training(tmp_path, training.save())
    assert int(next(second.positions.batches(DATA))) == given
    third = Training(tmp_path, second.save())
    assert int(next(third.positions.batches(DATA))) == given


def test_structures_of_any_kind_come_back(tmp_path):
    data = tf.data.Dataset.from_tensor_slices(
        {"x": tf.ragged.constant([[1], [2, 3]]), "y": (tf.constant([1.0, 2.0]), tf.constant(["a", "b"]))}
    )
    training = Training(tmp_path)
    next(training.positions.batches(data))
    again = next(Training(tmp_path, training.save()).positions.batches(data))
    assert again["x"].numpy().tolist() == [1] and again["y"][1].numpy() == b"a"


def test_the_batches_of_each_epoch_go_on_in_the_same_place(tmp_path):
    def epochs(training, count):
        for epoch in range(3):
            for batch in training.positions.batches(tf.data.Dataset.range(4).shuffle(4, seed=1)):
                yield epoch, int(batch)
                training.steps += 1
                if training.steps == count:
                    return

    training = Training(tmp_path)
    first = list(epochs(training, 6))
    rest = list(epochs(Training(tmp_path, training.save()), None))
    assert [epoch for epoch, _ in first + rest] == [0] * 4 + [1] * 4 + [2] * 4
    for epoch in range(3):
        assert {number for of, number in first + rest if of == epoch} == set(range(4))


def test_a_stop_ends_them_and_is_no_end_of_the_data(tmp_path):
    training = Training(tmp_path)
    batches = training.positions.batches(DATA)
    numbers(batches, training, count=5)
    training.stopped = True
    assert numbers(batches) == []
    assert len(numbers(Training(tmp_path, training.save()).positions.batches(DATA))) == 15


def test_data_that_cannot_be_saved_is_an_error_at_the_save(tmp_path):
    training = Training(tmp_path)
    data = tf.data.Dataset.from_generator(lambda: range(3), output_signature=tf.TensorSpec([], tf.int64))
    assert numbers(training.positions.batches(data), count=1) == [0]
    with pytest.raises(
        ValueError, match="position in the data cannot be saved, of hookrun/data/0/position: Generator"
    ):
        training.save()
