"""Metrics: what is a number, what is new, and what is gone back to."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

from hookrun.runtime.metrics import Metrics

bfloat16 = tf.bfloat16.as_numpy_dtype


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (True, 1.0),
        (np.int8(100), 100.0),
        (np.uint8(200), 200.0),
        (np.float16(0.5), 0.5),
        (bfloat16(1.0078125), 1.0078125),
        (np.array([[2.5]]), 2.5),
        (np.array([True]), 1.0),
        (float("inf"), float("inf")),
    ],
)
def test_a_number_of_any_type_and_shape_of_one_is_taken(value, number):
    metrics = Metrics()
    metrics.report({"value": value})
    assert metrics.values == {"value": number} and type(metrics.values["value"]) is float


@pytest.mark.parametrize("value", ["3", b"3", None, 1j, np.complex64(1), [1, [2]], 10**400, np.array(["3"])])
def test_what_is_no_number_is_refused_by_name_and_value_and_nothing_is_taken(value):
    metrics = Metrics()
    with pytest.raises(TypeError, match="metric 'bad' must be a number, not "):
        metrics.report({"good": 1.0, "bad": value})
    assert metrics.values == {}


@pytest.mark.parametrize(("value", "shape"), [([1.0, 2.0], r"\(2,\)"), (np.zeros([0]), r"\(0,\)")])
def test_several_numbers_are_refused_by_name_and_shape(value, shape):
    with pytest.raises(ValueError, match=f"metric must be of one number, not of shape {shape}: per_class"):
        Metrics().report({"per_class": value})


def test_a_tensor_in_the_place_of_its_value_is_refused(graph):
    with pytest.raises(TypeError, match="metric 'loss' must be a number, not <tf.Tensor 'Const:0'"):
        Metrics().report({"loss": tf.constant(1.0)})


def test_a_name_that_would_come_back_from_a_checkpoint_as_another_is_refused():
    with pytest.raises(TypeError, match="the name of a metric must be a str, not 3"):
        Metrics().report({3: 1.0})


def test_it_counts_the_reports_of_each_also_of_equal_values():
    metrics = Metrics()
    for _ in range(2):
        metrics.report({"loss": 0.5})
    metrics.report({"accuracy": 0.5})
    assert metrics.times_reported == {"loss": 2, "accuracy": 1}


def test_what_is_gone_back_to_is_not_new_and_what_is_not_among_it_is_forgotten():
    metrics = Metrics()
    metrics.report({"loss": 0.5, "accuracy": 0.5})
    metrics.restore({"loss": 0.25}, {"loss": 7})
    assert (metrics.values, metrics.times_reported) == ({"loss": 0.25}, {"loss": 7})


def test_no_report_of_several_threads_is_lost():
    metrics, begin = Metrics(), threading.Barrier(4)

    def report():
        begin.wait(30)
        for _ in range(500):
            metrics.report({"loss": 0.5})

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.times_reported == {"loss": 2000}
