"""A restore reads once, ends as if each byte had been read before, and leaves nothing of what it gave up."""

from __future__ import annotations

import gc
import os

import pytest
import tensorflow as tf

import hookrun
from hookrun.checkpoints import restore
from hookrun.graph.restoring import restore_newest

tf1 = tf.compat.v1
DATA = ".data-00000-of-00001"


def build(extra=False):
    """Variables of several types."""
    zeros = tf1.zeros_initializer()
    tf1.train.get_or_create_global_step()
    for number in range(8):
        tf1.get_variable(f"w{number}", [64], initializer=zeros)
    tf1.get_variable("half", [3], tf.bfloat16, zeros)
    tf1.get_variable("text", [2], tf.string, tf1.constant_initializer("0"))
    tf1.get_variable("parts", [8], initializer=zeros, partitioner=tf1.fixed_size_partitioner(2))
    if extra:
        tf1.get_variable("extra", [4], initializer=zeros)


def filled(variable, value):
    dtype = variable.dtype.base_dtype
    return tf.fill(variable.shape, tf.as_string(value) if dtype == tf.string else tf.cast(value, dtype))


def save(logdir, *steps, **arguments):
    with tf.Graph().as_default(), tf1.Session() as sess:
        build(**arguments)
        value = tf1.placeholder(tf.int64, [])
        assigned = [variable.assign(filled(variable, value)) for variable in tf1.global_variables()]
        saver = tf1.train.Saver()
        for step in steps:
            sess.run(assigned, {value: step})
            saver.save(sess, os.path.join(logdir, "model.ckpt"), global_step=step)


def start(logdir):
    """The values with which a session begins."""
    with tf.Graph().as_default():
        build()
        sv = hookrun.Supervisor(logdir=logdir, summary_writer=None, save_model_secs=0)
        with sv.managed_session() as sess:
            values = sess.run({v.op.name: v for v in tf1.global_variables()})
            return {float(item) for value in values.values() for item in value.reshape(-1)}


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.fixture
def reads(monkeypatch):
    """The names of the tensors whose data was read apart from the restore, of each look into a checkpoint."""
    reads = []
    check, verify = restore.integrity._check, restore.verify

    def noted(tensor, data):
        reads[-1].add(tensor.name)
        return check(tensor, data)

    def begun(*arguments, **keywords):
        reads.append(set())
        return verify(*arguments, **keywords)

    monkeypatch.setattr(restore.integrity, "_check", noted)
    monkeypatch.setattr(restore, "verify", begun)
    return reads


def test_what_the_saver_restores_whole_is_not_read_before(tmp_path, reads):
    save(tmp_path, 9, 10)
    assert start(tmp_path) == {10.0}
    assert reads == [{"parts"}]


def test_what_the_saver_does_not_restore_is_read_before(tmp_path, reads, caplog):
    save(tmp_path, 9, 10, extra=True)
    assert start(tmp_path) == {10.0}
    assert reads == [{"parts", "extra"}]
    (extra,) = [
        t for t in restore.integrity.index.tensors(str(tmp_path / "model.ckpt-10")) if t.name == "extra"
    ]
    flip(tmp_path / f"model.ckpt-10{DATA}", extra.offset)
    assert start(tmp_path) == {9.0}
    assert "model.ckpt-10 is skipped: 'extra' cannot be read" in caplog.text


def test_nothing_survives_of_a_checkpoint_that_was_half_restored(tmp_path, caplog):
    save(tmp_path, 9, 10)
    flip(tmp_path / f"model.ckpt-10{DATA}", -1)
    assert start(tmp_path) == {9.0}
    assert "model.ckpt-10 is skipped: " in caplog.text
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, tf1.Session)]
    assert [session for session in left if not session._closed] == []


def test_a_flip_of_any_byte_of_the_data_is_noticed(tmp_path):
    save(tmp_path, 10)
    path = tmp_path / f"model.ckpt-10{DATA}"
    build()
    saver = tf1.train.Saver()
    with tf1.Session() as sess:
        for position in range(path.stat().st_size):
            flip(path, position)
            with pytest.raises(tf.errors.DataLossError, match="None of the checkpoints"):
                restore_newest(
                    *(tf1.get_default_graph(), saver, str(tmp_path / "model.ckpt"), True),
                    lambda prefix: saver.restore(sess, prefix),
                )
            flip(path, position)


def test_where_a_restore_tells_nothing_all_is_read_before(tmp_path, reads):
    save(tmp_path, 9, 10)
    flip(tmp_path / f"model.ckpt-10{DATA}", -1)

    class Silent(tf1.train.Saver):
        def restore(self, sess, path):
            restored.append(os.path.basename(path))
            super().restore(sess, path)

    class Manager(tf1.train.SessionManager):
        pass

    for arguments in ({"saver": Silent}, {"session_manager": Manager}):
        restored: list[str] = []
        reads.clear()
        with tf.Graph().as_default():
            build()
            made = {name: make() for name, make in arguments.items()}
            sv = hookrun.Supervisor(logdir=tmp_path, summary_writer=None, save_model_secs=0, **made)
            sv.prepare_or_wait_for_session().close()
            sv.stop()
        assert len(reads) == 2 and "w7" in reads[1]
        assert restored in ([], ["model.ckpt-9"])


def test_an_error_that_is_no_damage_is_raised_and_nothing_else_is_tried(tmp_path):
    save(tmp_path, 9, 10)
    tried = []

    def make(prefix):
        tried.append(prefix)
        raise ArithmeticError("mine")

    build()
    with pytest.raises(ArithmeticError, match="mine"):
        restore_newest(
            *(tf1.get_default_graph(), tf1.train.Saver(), str(tmp_path / "model.ckpt"), True), make
        )
    assert tried == [str(tmp_path / "model.ckpt-10")]
