"""index: what is read of the indexes that TensorFlow writes, and of those that something has changed."""

from __future__ import annotations

import random
import tracemalloc

import crc32c
import pytest
import tensorflow as tf

from hookrun.checkpoints import index, messages

tf1 = tf.compat.v1


def saved(path, sizes):
    """A checkpoint of a tensor of each size, and of one that is in three slices."""
    names = [f"{number}/{'x' * 100}" for number in range(len(sizes))]
    slices = [f"6 2 {begin},2:-" for begin in (0, 2, 4)]
    with tf.Graph().as_default(), tf1.Session() as sess:
        op = tf.raw_ops.SaveV2(
            prefix=str(path),
            tensor_names=[*names, *["parts"] * 3],
            shape_and_slices=[*[""] * len(names), *slices],
            tensors=[*(tf.zeros([size, 3]) for size in sizes), *[tf.ones([2, 2])] * 3],
        )
        sess.run(op)
    return str(path)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """A checkpoint with an index of several blocks."""
    return saved(tmp_path_factory.mktemp("saved") / "model.ckpt", [number % 7 for number in range(3000)])


@pytest.fixture
def small(tmp_path):
    """A checkpoint with an index of one block."""
    return saved(tmp_path / "model.ckpt", [1, 2, 3])


def read(prefix):
    """What the index holds, or what is wrong with it."""
    try:
        return list(index.tensors(prefix))
    except index.DamagedError as error:
        return str(error)


def test_it_holds_what_tensorflows_reader_finds_there(prefix):
    reader = tf1.train.NewCheckpointReader(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    del shapes["parts"]
    found = [tensor for tensor in index.tensors(prefix) if tensor.name != "parts"]
    assert {tensor.name: list(tensor.shape) for tensor in found} == shapes
    assert {tensor.dtype for tensor in found} == {dtypes[tensor.name].as_datatype_enum for tensor in found}
    assert {tensor.file for tensor in found} == {f"{prefix}.data-00000-of-00001"}
    parts = [tensor for tensor in index.tensors(prefix) if tensor.name == "parts"]
    assert [tensor.shape for tensor in parts] == [(2, 2)] * 3


def test_the_messages_are_tensorflows():
    """Each field has the number, the type and the cardinality that it has in TensorFlow's definition."""

    def same(ours, theirs):
        for field in ours.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.is_repeated) == (other.number, other.is_repeated), field.full_name
            if other.message_type is not None:
                if field.message_type.full_name not in seen:
                    seen.add(field.message_type.full_name)
                    same(field.message_type, other.message_type)
            else:
                kind = field.TYPE_INT32 if other.type == field.TYPE_ENUM else other.type
                assert field.type == kind, field.full_name

    seen = set()
    same(messages.Event.DESCRIPTOR, tf1.Event.DESCRIPTOR)
    same(messages.MetaGraphDef.DESCRIPTOR, tf1.MetaGraphDef.DESCRIPTOR)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_is_found_or_changes_nothing(small, seed):
    path = f"{small}.index"
    with open(path, "rb") as file:
        intact, content = file.read(), read(small)
    chance = random.Random(seed)
    tracemalloc.start()
    for _ in range(500):
        changed = bytearray(intact)
        begin = len(changed) - 60 if chance.random() < 0.4 else 0  # the footer, or anywhere
        at = chance.randrange(begin, len(changed))
        change = chance.randrange(4)
        if change == 0:
            del changed[at:]
        elif change == 1:
            changed[at] ^= 1 << chance.randrange(8)
        elif change == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 20))
        else:
            del changed[at : at + chance.randrange(1, 20)]
        with open(path, "wb") as file:
            file.write(changed)
        found = read(small)
        assert isinstance(found, str) or found == content
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def with_entry(prefix, change):
    """Write an index with right checksums in which `change` was made to the entry of `weights`."""
    fields = {"dtype": 1, "size": 24, "shape": {"dim": [{"size": 3}, {"size": 2}]}} | change
    entry = messages.BundleEntry(**fields)
    table = bytearray()

    def add(*records, kind=0):
        block = (
            b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in records)
            + bytes(4)
            + (1).to_bytes(4, "little")
            + bytes([kind])
        )
        place = varint(len(table)) + varint(len(block) - 1)
        table.extend(block + index.masked(crc32c.crc32c(block)).to_bytes(4, "little"))
        return place

    header = messages.BundleHeader(num_shards=1).SerializeToString()
    block = add((b"", header), (b"weights", entry.SerializeToString()))
    footer = add() + add((b"x", block))
    table.extend(footer + bytes(40 - len(footer)) + bytes.fromhex("57fb808b247547db"))
    with open(f"{prefix}.index", "wb") as file:
        file.write(table)


def varint(number):
    text = bytearray()
    while number > 127:
        text.append(number & 127 | 128)
        number >>= 7
    return bytes([*text, number])


HUGE = {"dim": [{"size": 1 << 40}, {"size": 1 << 22}]}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": HUGE},
        {"shape": HUGE, "slices": [{}]},
        {"shape": {"dim": [{"size": -3}, {"size": -2}]}},
        {"shape": {"unknown_rank": True}},
        {"size": 1 << 60},
        {"offset": -1},
        {"dtype": 0},
        {"dtype": 101},
        {"shard_id": 1},
        {"shard_id": -1},
    ],
    ids=str,
)
def test_what_tensorflows_reader_would_believe_is_refused(tmp_path, change):
    with_entry(tmp_path / "m", {})
    (tensor,) = read(tmp_path / "m")
    assert (tensor.name, tensor.shape, tensor.size) == ("weights", (3, 2), 24)
    with_entry(tmp_path / "m", change)
    assert "weights" in read(tmp_path / "m")
