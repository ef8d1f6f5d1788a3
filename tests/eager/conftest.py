"""What every test of eager training has: no graph, and a small model with a step."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[None]:
    """In the place of the fixture of that name, which makes a graph the default one."""
    assert tf.executing_eagerly()
    yield None


@pytest.fixture
def model() -> SimpleNamespace:
    """Weights that move towards the data, with a step as a `tf.function` and a checkpoint of it all."""
    weights = tf.Variable([0.0, 0.0])
    velocity = tf.Variable([0.0, 0.0])

    @tf.function
    def step(x):
        """Make one step."""
        loss = tf.reduce_sum((weights - x) ** 2)
        velocity.assign(0.5 * velocity + (x - weights))
        weights.assign_add(0.1 * velocity)
        return {"loss": loss, "more": {"square": loss**2}}

    checkpoint = tf.train.Checkpoint(weights=weights, velocity=velocity)
    return SimpleNamespace(weights=weights, velocity=velocity, step=step, checkpoint=checkpoint)


@pytest.fixture
def dataset() -> tf.data.Dataset:
    """A hundred shuffled batches."""
    data = tf.data.Dataset.range(100).map(lambda i: tf.cast([i, i % 7], tf.float32))
    return data.shuffle(20, seed=3, reshuffle_each_iteration=False)
