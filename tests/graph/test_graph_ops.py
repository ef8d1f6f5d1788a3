"""The ops a Supervisor finds in the graph's collections, or builds and adds to them."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf

import hookrun

Keys = tf.compat.v1.GraphKeys
COLLECTIONS = {
    "ready_op": Keys.READY_OP,
    "init_op": Keys.INIT_OP,
    "saver": Keys.SAVERS,
    "summary_op": Keys.SUMMARY_OP,
    "global_step": Keys.GLOBAL_STEP,
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_default_is_built_and_added_to_its_collection(model, graph, name):
    sv = hookrun.Supervisor()
    assert getattr(sv, name) is not None
    assert graph.get_collection(COLLECTIONS[name])[0] is getattr(sv, name)


@pytest.mark.parametrize("name", ["ready_op", "init_op", "summary_op"])
def test_the_first_of_a_collection_is_used(model, graph, name):
    first, second = tf.constant("first"), tf.constant("second")
    graph.add_to_collection(COLLECTIONS[name], first)
    graph.add_to_collection(COLLECTIONS[name], second)
    assert getattr(hookrun.Supervisor(), name) is first


@pytest.mark.parametrize("name", COLLECTIONS)
def test_none_means_none_and_leaves_the_collection_alone(model, graph, name):
    before = graph.get_collection(COLLECTIONS[name])
    assert getattr(hookrun.Supervisor(**{name: None}), name) is None
    assert graph.get_collection(COLLECTIONS[name]) == before


def test_several_global_steps_are_named_in_a_warning(model, graph, caplog):
    other = tf.compat.v1.get_variable("another_step", [], tf.int64)
    graph.add_to_collection(Keys.GLOBAL_STEP, other)
    with caplog.at_level(logging.WARNING, "hookrun"):
        sv = hookrun.Supervisor()
    assert sv.global_step is model.global_step
    assert "global_step:0, another_step:0" in caplog.text


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_global_step_is_found_by_its_name(graph, use_resource):
    step = tf.compat.v1.get_variable("global_step", [], tf.int32, trainable=False, use_resource=use_resource)
    found = hookrun.Supervisor().global_step
    assert found.op is step.op or found.op is step.handle.op


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_variable_called_global_step_that_counts_nothing_is_passed_over_with_a_warning(
    graph, use_resource, caplog
):
    tf.compat.v1.get_variable("global_step", [], tf.float32, use_resource=use_resource)
    with caplog.at_level(logging.WARNING, "hookrun"):
        assert hookrun.Supervisor().global_step is None
    assert "'global_step' is not an int type" in caplog.text


def test_a_global_step_that_is_no_integer_is_refused(graph):
    with pytest.raises(TypeError, match="global_step must be an integer tensor, not of type float32"):
        hookrun.Supervisor(global_step=tf.constant(1.0))


def test_a_global_step_of_more_than_one_number_is_refused(graph):
    with pytest.raises(ValueError, match=r"global_step must be of size 1, not of shape \(2,\)"):
        hookrun.Supervisor(global_step=tf.constant([1, 2]))


def test_a_graph_without_variables_has_no_saver(graph):
    tf.constant(1)
    assert hookrun.Supervisor().saver is None


def test_the_graph_is_final(model, graph):
    hookrun.Supervisor()
    assert graph.finalized
