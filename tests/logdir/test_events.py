"""events: which event files are found, and what is read of them."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import tensorflow as tf

from hookrun.checkpoints.index import DamagedError
from hookrun.checkpoints.messages import Event
from hookrun.logdir.events import TornError, event_files, number_of, read_events
from hookrun.writers import EventFileWriter

NUMBERS = [
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64),
    *(tf.uint8, tf.uint16, tf.uint32, tf.uint64),
]


def as_read(proto):
    """A tensor of TensorFlow's, as it is read from a file."""
    value = tf.compat.v1.Summary.Value(tensor=proto)
    event = tf.compat.v1.Event(summary=tf.compat.v1.Summary(value=[value]))
    return Event.FromString(event.SerializeToString()).summary.value[0].tensor


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("number", [100, 0])
def test_a_tensor_of_one_number_is_read_whatever_its_type_and_form(dtype, number):
    array = np.array([number], dtype.as_numpy_dtype)
    assert number_of(as_read(tf.make_tensor_proto(array))) == number
    content = tf.compat.v1.make_tensor_proto(array)
    for field in ("half_val", "float_val", "double_val", "int_val", "int64_val", "uint32_val", "uint64_val"):
        content.ClearField(field)
    content.tensor_content = array.tobytes()
    assert number_of(as_read(content)) == number


@pytest.mark.parametrize("value", [[1.0, 2.0], [], "words", 1j], ids=str)
def test_what_is_not_one_number_is_none(value):
    assert number_of(as_read(tf.make_tensor_proto(value))) is None


def runs(logdir):
    return [os.path.relpath(directory, logdir) for directory, _ in event_files(str(logdir))]


def test_links_are_followed_and_a_cycle_ends(tmp_path):
    for name in ("runs/a", "runs/b/eval"):
        with EventFileWriter(tmp_path / name) as writer:
            writer.add_scalar("loss", 0.5, 1)
    compared = tmp_path / "compared"
    compared.mkdir()
    (compared / "a").symlink_to("../runs/a")
    (compared / "b").symlink_to(tmp_path / "runs" / "b")
    (compared / "again").symlink_to(".")
    (tmp_path / "runs" / "b" / "up").symlink_to("..")
    (compared / "gone").symlink_to("nowhere")
    assert runs(compared) == ["a", "b/eval", "b/up/a"]
    (tmp_path / "linked").symlink_to(compared)
    assert runs(tmp_path / "linked") == runs(compared)
    (tmp_path / "file").mkdir()
    (event_file,) = (tmp_path / "runs" / "a").iterdir()
    (tmp_path / "file" / event_file.name).symlink_to(event_file)
    assert runs(tmp_path / "file") == ["."]


def ended(path):
    """What is read of a file, and how that ends: intact, torn or damaged."""
    records = []
    try:
        records.extend(read_events(str(path)))
    except DamagedError as error:
        assert isinstance(error, TornError) == str(error).startswith("truncated")
        return len(records), str(error)
    return len(records), None


def ended_for_tensorflow(path):
    records = []
    try:
        records.extend(tf.compat.v1.io.tf_record_iterator(str(path)))
    except tf.errors.DataLossError as error:
        return len(records), " ".join(error.message.replace("'", "").split()[:4])
    return len(records), None


def test_damage_is_where_tensorflow_finds_it(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        for step in range(20):
            writer.add_scalar("loss", step / 10, step)
    (path,) = tmp_path.iterdir()
    intact = path.read_bytes()
    assert ended(path) == ended_for_tensorflow(path) == (21, None)
    chance = random.Random(1)
    for number in range(300):
        changed = bytearray(intact)
        at = chance.randrange(len(changed))
        if number % 3 == 0:
            del changed[at:]
        elif number % 3 == 1:
            changed[at] ^= 1 << chance.randrange(8)
        else:
            changed[at:at] = chance.randbytes(9)
        path.write_bytes(changed)
        read, damage = ended(path)
        right = ended_for_tensorflow(path)
        if right[1] is None and damage is not None:  # it does not tell of a part of a record's length
            assert read == right[0] and damage.startswith("truncated record at ")
        else:
            assert (read, damage) == right
