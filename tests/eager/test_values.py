"""What a receiver fetches of a step: keys, variables, functions of the results, and structures of these."""

from __future__ import annotations

import collections
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from hookrun.eager.values import StepValues, check_fetches

Pair = collections.namedtuple("Pair", ["loss", "other"])


@dataclasses.dataclass
class Results:
    loss: object
    more: object = None


LOSS = tf.constant(2.5)


@pytest.mark.parametrize(
    "results",
    [
        {"loss": LOSS},
        {"outer": {"loss": LOSS}},
        Pair(LOSS, 1),
        Results(LOSS),
        Results(1, {"loss": LOSS}),
        LOSS,
    ],
    ids=["dict", "nested", "named tuple", "dataclass", "in a dataclass", "a number"],
)
def test_a_key_is_found_in(results):
    if isinstance(results, Results) and results.more is not None:
        results = {"a": Results(LOSS)}
    assert StepValues(results, lambda: {}).of("loss") == 2.5


def test_the_outer_key_goes_before_the_inner_one():
    assert StepValues({"inner": {"loss": 1.0}, "loss": 2.0}, lambda: {}).of("loss") == 2.0


def test_a_metric_is_found_where_no_result_has_its_name():
    values = StepValues({"loss": LOSS}, lambda: {"loss": 7.0, "accuracy": 0.5})
    assert values.of({"a": "accuracy", "l": "loss"}) == {"a": 0.5, "l": 2.5}


def test_a_key_that_is_not_there_says_which_are():
    with pytest.raises(KeyError, match="'los' is neither in .* known are: loss, more, square, accuracy"):
        StepValues({"loss": LOSS, "more": {"square": LOSS}}, lambda: {"accuracy": 1.0}).of("los")
    with pytest.raises(KeyError, match="known are: none"):
        StepValues(None, lambda: {}).of("loss")


def test_variables_functions_and_structures():
    variable, of_keras = tf.Variable([1, 2]), keras.Variable([3.0])
    values = StepValues({"loss": LOSS}, lambda: {})
    got = values.of(
        {"v": variable, "k": of_keras, "f": lambda results: results["loss"] + 1, "t": ("loss", ["loss"])}
    )
    assert got["v"].tolist() == [1, 2] and got["k"].tolist() == [3.0] and got["f"] == 3.5
    assert got["t"] == (2.5, [2.5])
    assert values.of(Pair("loss", variable)).loss == 2.5


def test_a_value_is_converted_once_and_cannot_be_changed():
    calls = []

    def of_results(results):
        calls.append(1)
        return tf.constant([1.0])

    values = StepValues({"loss": tf.constant([1.0, 2.0])}, lambda: {})
    assert values.of("loss") is values.of(["loss"])[0]
    values.of(of_results), values.of(of_results)
    assert calls == [1]
    with pytest.raises(ValueError, match="read-only"):
        values.of("loss")[0] = 5.0


def test_results_that_are_sparse_or_nested_are_converted():
    slices = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([1]), tf.constant([2, 1]))
    got = StepValues({"g": slices, "list": [LOSS, (LOSS,)]}, lambda: {}).of({"g": "g", "list": "list"})
    assert got["g"].tolist() == [[0.0], [1.0]] and got["list"] == [np.float32(2.5), (np.float32(2.5),)]


def test_a_result_of_each_replica_is_an_error_that_says_to_reduce_it():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    per_replica = strategy.experimental_distribute_values_from_function(lambda context: tf.constant(1.0))
    if not isinstance(per_replica, tf.distribute.DistributedValues):
        pytest.skip("one device alone: TensorFlow unwraps the value")
    with pytest.raises(TypeError, match="Reduce it in the step"):
        StepValues({"loss": per_replica}, lambda: {}).of("loss")


@pytest.mark.parametrize(
    "fetches", [3, None, {"a": 1.5}, ["loss", object()], LOSS], ids=lambda fetches: type(fetches).__name__
)
def test_what_no_step_can_give_is_refused(fetches):
    with pytest.raises(TypeError, match=r"mine cannot fetch .* keys of the step's results, variables"):
        check_fetches("mine", fetches)


def test_what_a_step_can_give_is_taken():
    check_fetches("mine", {"a": ["loss", tf.Variable(1)], "b": (lambda results: 1, keras.Variable(1.0))})
