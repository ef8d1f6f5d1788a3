"""What receivers are told of a step: none changes what another has, nor what the program gets."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals

Pair = collections.namedtuple("Pair", ["first", "second"])

v1 = tf.compat.v1


@pytest.fixture
def fetch(model):
    return tf.ones([3]) + model.weights * 0.0


@pytest.fixture(params=[False, True], ids=["by default", "inline"])
def sv(request, fetch):
    return hookrun.Supervisor(inline_steps=request.param)


def train(sv, *fetches):
    with sv.managed_session() as sess:
        return sess.run(fetches)


def change(values):
    """Change in place what can be changed."""
    if isinstance(values, np.ndarray):
        with pytest.raises(ValueError, match="read-only"):
            values[:] = -1.0
        return
    if isinstance(values, dict):
        for value in values.values():
            change(value)
        values.clear()
    elif isinstance(values, (list, tuple)):
        for value in values:
            change(value)
        if isinstance(values, list):
            values.clear()


FETCHES = {
    "an array": lambda x: x,
    "a list": lambda x: [x, [x]],
    "a dict": lambda x: {"a": x, "b": (x, {"c": x})},
    "an OrderedDict": lambda x: collections.OrderedDict(a=x),
    "a named tuple": lambda x: Pair(x, [x]),
    "a sparse tensor": lambda x: tf.SparseTensor(tf.constant([[0], [1], [2]], tf.int64), x, [3]),
    "indexed slices": lambda x: tf.IndexedSlices(x, tf.constant([0, 1, 2])),
}


@pytest.mark.parametrize("structure", FETCHES.values(), ids=FETCHES)
@pytest.mark.parametrize("programs_too", [False, True], ids=["of hooks alone", "of the program too"])
def test_what_one_receiver_changes_no_other_sees(model, fetch, structure, programs_too):
    fetches, others = structure(fetch), structure(fetch)
    sv, told = hookrun.Supervisor(), []

    def spoil(sv, event):
        told.append(repr(event.values))
        change(event.values)

    for asked in (fetches, fetches, others):
        sv.on(signals.step, spoil, fetches=asked)
    own = train(sv, model.train_op, fetches if programs_too else model.loss)[1]
    assert len(told) == 3 and len(set(told)) == 1
    if programs_too:
        assert repr(own) == told[0]


def test_the_program_may_change_what_it_gets_and_no_receiver_sees_it(sv, model, fetch):
    kept = []
    sv.on(signals.step, lambda sv, event: kept.append(event.values), fetches=fetch)
    sv.on(signals.step, lambda sv, event: kept.append(event.results[1]))
    _, own = train(sv, model.train_op, fetch)
    own += 1.0
    assert own.tolist() == [2.0] * 3
    assert [values.tolist() for values in kept] == [[1.0] * 3] * 2


def test_results_are_a_copy_of_the_programs(sv, model, fetch):
    def spoil(sv, event):
        event.results[1]["ones"][:] = -1.0
        event.results[1].clear()

    sv.on(signals.step, spoil)
    sv.on(signals.step, spoil)
    _, own = train(sv, model.train_op, {"ones": fetch})
    assert own["ones"].tolist() == [1.0] * 3 and own["ones"].flags.writeable


def test_nothing_is_copied_that_nobody_shares(sv, model, fetch, monkeypatch):
    told = []
    sv.on(signals.step, lambda sv, event: told.append(event.values), fetches=fetch)
    train(sv, model.train_op, model.weights)
    assert told[0].base is not None  # a view


def test_ragged_values_are_told_as_they_are(model, fetch):
    ragged = tf.RaggedTensor.from_row_lengths(fetch, [1, 2])
    sv, told = hookrun.Supervisor(), []
    sv.on(signals.step, lambda sv, event: told.append(event.values), fetches=ragged)
    _, own = train(sv, model.train_op, ragged)
    with pytest.raises(ValueError, match="read-only"):
        told[0].values[:] = -1.0
    assert own.to_list() == told[0].to_list() == [[1.0], [1.0, 1.0]]


def test_the_event_itself_cannot_be_changed(sv, model):
    told = []

    def spoil(sv, event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.values -= 1.0
        told.append(event.values)

    sv.on(signals.step, spoil, fetches=model.loss)
    sv.on(signals.step, spoil, fetches=model.loss)
    train(sv, model.train_op)
    assert told == [3.0, 3.0]


def test_each_hook_that_sees_runs_has_arrays_of_its_own(model, fetch):
    x, told = fetch, []

    class Spoils(hooks.Hook):
        fetches = x

        def before_run(self, context):
            return v1.train.SessionRunArgs({"x": x})

        def after_run(self, context, values):
            told.append(values.results["x"].tolist())
            values.results["x"][:] = -1.0

        def on_step(self, supervisor, event):
            told.append(event.values.tolist())

    _, own = train(hookrun.Supervisor(hooks=[Spoils(), Spoils()]), model.train_op, x)
    assert told == [[1.0] * 3] * 4
    assert own.tolist() == [1.0] * 3
