"""integrity: the data of every kind of tensor is checked to its last byte."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from hookrun.checkpoints import integrity

tf1 = tf.compat.v1

DTYPES = [
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool),
    *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
]


def saved(path, sharded):
    """Save tensors of every type; an iterator's state, of variants, where one file is to hold it all."""
    with tf.Graph().as_default(), tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 3})) as sess:
        iterator = tf1.data.make_initializable_iterator(tf.data.Dataset.range(9).shuffle(3))
        variables = [] if sharded else [tf.data.experimental.make_saveable_from_iterator(iterator)]
        for number, dtype in enumerate(DTYPES):
            with tf.device(f"/cpu:{number % 3}"):
                initial = tf.cast(tf.range(3), dtype)
                variables.append(tf1.get_variable(f"of_{dtype.name}", initializer=initial))
        variables.append(tf1.get_variable("strings", initializer=[["a", ""], ["xyz" * 50, "b" * 300]]))
        variables.append(tf1.get_variable("empty", [0, 3]))
        variables += tf1.get_variable("parts", [6, 2], partitioner=tf1.fixed_size_partitioner(3))
        sess.run([iterator.initializer, tf1.global_variables_initializer()])
        return tf1.train.Saver(variables, sharded=sharded).save(sess, str(path / "model.ckpt"))


@pytest.mark.parametrize("sharded", [False, True])
def test_a_flipped_byte_is_noticed_and_a_data_file_that_is_cut_off(tmp_path, sharded):
    prefix = saved(tmp_path, sharded)
    assert integrity.damage(prefix) is None
    files = sorted(tmp_path.glob("model.ckpt.data-*"))
    assert len(files) == (4 if sharded else 1)
    for file in files:
        intact = file.read_bytes()
        for position in range(0, len(intact), 5):
            file.write_bytes(intact[:position] + bytes([intact[position] ^ 4]) + intact[position + 1 :])
            assert f"cannot be read from {file}: " in integrity.damage(prefix), position
            assert integrity.damage(prefix, read_data=False) is None
        file.write_bytes(intact[:-1])
        assert f"cannot be read from {file}: the file ends at byte" in integrity.damage(prefix)
        assert integrity.damage(prefix, read_data=False) is not None
        file.unlink()
        assert f"cannot be read from {file}: " in integrity.damage(prefix, read_data=False)
        file.write_bytes(intact)
    assert integrity.damage(prefix) is None


def test_all_of_the_data_is_told_piece_by_piece(tmp_path):
    with tf1.Session() as sess:
        tf1.get_variable("weights", initializer=tf.zeros([300_000]))
        sess.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(sess, str(tmp_path / "model.ckpt"))
    pieces = []
    assert integrity.damage(prefix, progress=pieces.append) is None
    assert sum(pieces) == 1_200_000 and len(pieces) > 3


def test_a_url_is_read_by_tensorflow():
    with tf1.Session() as sess:
        tf1.get_variable("weights", [3])
        sess.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(sess, "ram://integrity/model.ckpt")
    assert integrity.damage(prefix) is None
    tf.io.gfile.remove(f"{prefix}.data-00000-of-00001")
    assert "its data cannot be read from ram:" in integrity.damage(prefix)
    assert "cannot be read" in integrity.damage("ram://integrity/none")


def test_tensorflow_is_not_imported(tmp_path):
    with tf1.Session() as sess:
        tf1.get_variable("weights", [3])
        sess.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(sess, str(tmp_path / "model.ckpt"))
    program = "import sys; from hookrun.checkpoints import restore; "
    program += f"assert restore.verify({prefix!r}) is None; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100, cwd=os.getcwd()).returncode == 0
