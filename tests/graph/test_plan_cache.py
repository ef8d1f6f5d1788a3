"""PlanCache: many distinct runs in turn cost what few do, and ever new ones fill no memory."""

from __future__ import annotations

import pytest
import tensorflow as tf

import hookrun
from hookrun.graph import plan_cache, tf_internals

v1 = tf.compat.v1
KEPT = 10


@pytest.fixture
def room(monkeypatch):
    """For `KEPT` plans with executors of their own."""
    monkeypatch.setattr(plan_cache, "_EXECUTOR_WEIGHT", 400)
    monkeypatch.setattr(plan_cache, "_ROOM", KEPT * (400 + 30))


@pytest.fixture
def prepared(monkeypatch):
    """How many runs were prepared with an executor of their own, and without one."""
    counts, raw_run = {True: 0, False: 0}, tf_internals.raw_run

    def counted(session, feeds, tensors, targets, owns_executor=True):
        counts[owns_executor] += 1
        return raw_run(session, feeds, tensors, targets, owns_executor)

    monkeypatch.setattr(tf_internals, "raw_run", counted)
    return counts


def test_of_runs_in_turn_none_is_prepared_again_after_some_rounds(room, prepared):
    step = v1.train.get_or_create_global_step()
    updates = [v1.assign_add(step, 1).op for _ in range(3 * KEPT)]
    with hookrun.Supervisor().managed_session() as sess:
        for _ in range(5):
            for update in updates:
                sess.run(update)
        assert prepared[True] <= len(updates)
        known = dict(prepared)
        for update in updates:
            sess.run(update)
        assert prepared == known
        assert sess.run(step) == 6 * len(updates)


def test_what_is_needed_once_goes_with_its_executor(room, prepared):
    constants = [tf.constant(float(i)) for i in range(30)]
    with hookrun.Supervisor().managed_session() as sess:
        for constant in constants:
            assert sess.run([constant, constants[3]])[1] == 3.0
        assert prepared == {True: len(constants), False: 0}
        assert len(sess._training_steps._plans) <= KEPT
        assert len(sess._training_steps._quick_plans) <= KEPT


def test_a_plan_larger_than_the_room_is_kept_alone(room, prepared, monkeypatch):
    monkeypatch.setattr(plan_cache, "_ROOM", 1)
    constants = [tf.constant(float(i)) for i in range(3)]
    with hookrun.Supervisor().managed_session() as sess:
        for _ in range(2):
            assert [sess.run(constant) for constant in constants] == [0.0, 1.0, 2.0]
        assert len(sess._training_steps._plans) == 1
