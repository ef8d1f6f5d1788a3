"""What a saver restores must have the shape that the graph gives it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun.graph.restored_shapes import check_shapes

v1 = tf.compat.v1


def head(shape, dtype=tf.float32, **arguments):
    initial = np.full(shape, b"" if dtype == tf.string else 1, dtype.as_numpy_dtype)
    return v1.get_variable("head", initializer=tf.constant(initial, dtype), **arguments)


def saved(path, build, **arguments):
    """A checkpoint of what `build` makes."""
    with tf.Graph().as_default(), v1.Session() as sess:
        build(**arguments)
        sess.run(v1.global_variables_initializer())
        return v1.train.Saver().save(sess, str(path / "model.ckpt"), global_step=5)


def refused(checkpoint, **arguments):
    """What the error says with another head, or None without one."""
    with tf.Graph().as_default() as graph:
        head(**arguments)
        try:
            check_shapes(graph, v1.train.Saver(), checkpoint)
        except tf.errors.InvalidArgumentError as error:
            return error.message
    return None


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16, tf.int64, tf.bool, tf.string])
def test_another_shape_is_refused_with_the_variable_both_shapes_and_the_checkpoint(
    tmp_path, dtype, use_resource
):
    checkpoint = saved(tmp_path, head, shape=[4, 5], dtype=dtype)
    message = refused(checkpoint, shape=[4, 3], dtype=dtype, use_resource=use_resource)
    for named in ("head: ", "[4, 5] in the checkpoint", "[4, 3] in the graph", checkpoint):
        assert named in message


def test_another_number_of_dimensions_or_type_is_refused(tmp_path):
    checkpoint = saved(tmp_path, head, shape=[1])
    assert "float32 [1] in the checkpoint, float32 [] in the graph" in refused(checkpoint, shape=[])
    message = refused(checkpoint, shape=[1], dtype=tf.float64)
    assert "float32 [1] in the checkpoint, float64 [1] in the graph" in message


def parts(count):
    return v1.fixed_size_partitioner(count)


def partitioned(shape, partitioner=None):
    return v1.get_variable("head", shape, partitioner=partitioner, initializer=v1.ones_initializer())


@pytest.mark.parametrize("before, after", [(3, 2), (3, None), (None, 2)])
def test_other_partitions_of_the_same_whole_fit_and_of_another_do_not(tmp_path, before, after):
    checkpoint = saved(tmp_path, partitioned, shape=[6, 4], partitioner=before and parts(before))
    with tf.Graph().as_default() as graph, v1.Session() as sess:
        partitioned([6, 4], after and parts(after))
        check_shapes(graph, v1.train.Saver(), checkpoint)
        v1.train.Saver().restore(sess, checkpoint)
    with tf.Graph().as_default() as graph:
        partitioned([8, 4], after and parts(after))
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="head: float32 .6, 4. in .*8, 4. in"
        ) as info:
            check_shapes(graph, v1.train.Saver(), checkpoint)
    assert info.value.message.count("head: ") == 1


def test_a_variable_that_takes_any_shape_does(tmp_path):
    checkpoint = saved(tmp_path, head, shape=[4, 5])
    with tf.Graph().as_default() as graph:
        v1.get_variable("head", initializer=v1.placeholder(tf.float32), validate_shape=False)
        check_shapes(graph, v1.train.Saver(), checkpoint)
    with tf.Graph().as_default() as graph:
        tf.Variable(tf.zeros([4, 3]), shape=[4, None], name="head")
        check_shapes(graph, v1.train.Saver(), checkpoint)
    with tf.Graph().as_default() as graph:
        head([5, 4])
        check_shapes(graph, v1.train.Saver(reshape=True), checkpoint)


def test_what_the_saver_does_not_restore_may_have_any_shape(tmp_path):
    checkpoint = saved(tmp_path, head, shape=[4, 5])
    with tf.Graph().as_default() as graph:
        head([4, 3])
        other = v1.get_variable("other", [2])
        check_shapes(graph, v1.train.Saver([other]), checkpoint)  # it is not in the checkpoint
        check_shapes(graph, v1.train.Saver({"mine": other}), checkpoint)


def test_a_saver_that_restores_in_a_way_of_its_own_is_left_alone(tmp_path):
    class Optimistic(v1.train.Saver):
        def restore(self, sess, save_path):
            pass

    checkpoint = saved(tmp_path, head, shape=[4, 5])
    with tf.Graph().as_default() as graph:
        head([4, 3])
        check_shapes(graph, Optimistic(), checkpoint)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_training_with_another_shape_ends_before_anything_is_restored_or_saved(tmp_path, sharded):
    def train(classes):
        with tf.Graph().as_default():
            step = v1.train.get_or_create_global_step()
            head([4, classes])
            train_op = v1.assign_add(step, 1)
            saver = v1.train.Saver(sharded=sharded)
            with hookrun.Supervisor(logdir=tmp_path, saver=saver).managed_session() as sess:
                sess.run(train_op)

    train(5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("model.ckpt*")}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"head: .*4, 5.*4, 3"):
        train(3)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("model.ckpt*")}
    train(5)
    assert tf.train.load_variable(str(tmp_path), "global_step") == 2
