"""Several steps in one call of a tf.function."""

from __future__ import annotations

import pytest
import tensorflow as tf

from hookrun.eager.several_steps import NotInGraphError, SeveralSteps, arguments_of


def test_as_many_steps_as_asked_with_the_results_of_the_last(model, dataset):
    expected = [model.step(x)["loss"].numpy() for x in dataset.take(30)]
    model.weights.assign([0.0, 0.0])
    model.velocity.assign([0.0, 0.0])
    several = SeveralSteps(model.step, iter(dataset))
    for count, last in ((10, 9), (1, 10), (19, 29)):
        made, ended, results = several(count)
        assert (made, ended) == (count, False)
        assert results["loss"].numpy() == pytest.approx(expected[last], rel=1e-5)


def test_the_end_of_the_data_is_told_with_the_steps_that_were_made(model, dataset):
    several = SeveralSteps(model.step, iter(dataset))
    assert several(70)[:2] == (70, False)
    assert several(70)[:2] == (30, True)
    assert several(70)[:2] == (0, True)


def test_a_last_batch_of_another_shape_is_a_step_as_any():
    total = tf.Variable(0)

    @tf.function
    def step(x):
        total.assign_add(tf.size(x))
        return x[-1]

    made, ended, last = SeveralSteps(step, iter(tf.data.Dataset.range(10).batch(4)))(5)
    assert (made, ended, int(last), int(total)) == (3, True, 9, 10)


@pytest.mark.parametrize(
    ("step", "data", "reason"),
    [
        (lambda x: x, iter(tf.data.Dataset.range(3)), "the step is no tf.function"),
        (tf.function(lambda x: x), iter([1, 2]), "the data are no iterator of tf.data"),
        (tf.function(lambda x: {"a": x, "b": None}), iter(tf.data.Dataset.range(3)), "not all tensors"),
    ],
    ids=["a plain function", "plain data", "a result that is no tensor"],
)
def test_what_cannot_be_run_so_says_why(step, data, reason):
    with pytest.raises(NotInGraphError, match=reason):
        SeveralSteps(step, data)


def test_a_tuple_is_several_arguments():
    assert arguments_of((1, 2)) == (1, 2)
    assert arguments_of({"x": 1}) == ({"x": 1},)
