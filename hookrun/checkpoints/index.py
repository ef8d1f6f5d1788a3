"""The index of a checkpoint: its tensors, with type, shape, checksum and place of the data of each.

It is a table in LevelDB's format. A block holds keys and values in the order of the keys; of a key only what
differs from the one before is stored. After each block come a byte that says how it is compressed, which no
index of TensorFlow's is, and a checksum. Most blocks hold tensors: the key is a name, the value a
`BundleEntry`; the first key is empty, with a `BundleHeader`. Then come a block of metadata, which is empty,
and one with the place of each block. The last 48 bytes, the footer, have the places of these two, zeros, and
a magic number.

No size in the file is believed before it is compared with what there is: whatever is damaged, reading it
takes no more memory than an intact index of that size.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import crc32c
from google.protobuf.message import DecodeError

from hookrun.checkpoints import storage
from hookrun.checkpoints.messages import BundleEntry, BundleHeader

__all__ = ["STRING", "VARIANT", "DamagedError", "Tensor", "is_table", "masked", "tensors", "varint"]

STRING, VARIANT = 7, 21
"""The numbers of the two types of which a tensor's size does not follow from its shape."""

_ITEM_SIZES = {
    **dict.fromkeys((4, 6, 10, 11, 12), 1),  # uint8, int8, bool, qint8, quint8
    **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),  # int16, bfloat16, qint16, quint16, uint16, half
    **dict.fromkeys((1, 3, 13, 22), 4),  # float, int32, qint32, uint32
    **dict.fromkeys((2, 8, 9, 23), 8),  # double, complex64, int64, uint64
    18: 16,  # complex128
}
"""Bytes by the number of the type. Of types that are not here, the size is not compared with the shape."""

_FIRST_REFERENCE_TYPE = 101

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER_SIZE = 48
_TRAILER_SIZE = 5
_VARINT = rb"([\x80-\xff]{1,9}[\x01-\x7f]|[\x00-\x7f])"
_HANDLES = re.compile(_VARINT * 4 + rb"\x00*", re.DOTALL)
"""The two places in the footer: offset and size, in varints no longer than they need be; then zeros."""


class DamagedError(ValueError):
    """A file is not as it was written; the message says what is wrong, and not of which file."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the index says of a tensor, or of one slice of a partitioned one."""

    name: str
    dtype: int
    """The number in TensorFlow's `DataType`."""
    shape: tuple[int, ...]
    file: str
    """The data file that it is in."""
    offset: int
    """Where in the file, in bytes."""
    size: int
    """The number of bytes."""
    checksum: int
    """Of its data, as stored."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def is_table(path: str) -> bool:
    """True for a file that ends as tables do. One that is truncated does not."""
    try:
        size = storage.size_and_time(path)[0]
        with storage.open_to_read(path) as file:
            file.seek(max(size - len(_MAGIC), 0))
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def tensors(prefix: str) -> Iterator[Tensor]:
    """Read the index of a checkpoint, and check every byte of it.

    Args:
      prefix: The checkpoint, as `tf.compat.v1.train.Saver.restore` takes it.

    Returns:
      The tensors that have data, in the order of their names. A partitioned one has none: its slices have.

    Raises:
      DamagedError: If the index is damaged.
      OSError: If it cannot be read.
    """
    path = f"{prefix}.index"
    size = storage.size_and_time(path)[0]
    shards = None
    in_slices: dict[str, int] = collections.Counter()
    """Elements by the name of the tensor: the keys of slices come first."""
    with storage.open_to_read(path) as file:
        for key, value in _Table(file, size).records():
            if shards is None:
                shards = _shards(key, value)
                continue
            entry = _parsed(BundleEntry, value)
            tensor = _tensor(prefix, shards, _name(key), entry)
            if entry.slices:
                if tensor.elements != in_slices[tensor.name]:
                    raise DamagedError(f"{tensor.name!r} does not have all of its slices")
                continue
            if key.startswith(b"\0"):
                in_slices[tensor.name] += tensor.elements
            yield tensor
    if shards is None:
        raise DamagedError("it is empty")


def _parsed(message: Any, value: bytes) -> Any:
    try:
        return message.FromString(value)
    except DecodeError as error:
        raise DamagedError(f"it has a value that is not a {message.DESCRIPTOR.name}") from error


def _shards(key: bytes, value: bytes) -> int:
    if key:
        raise DamagedError("it does not begin with a header")
    return int(_parsed(BundleHeader, value).num_shards)


def _tensor(prefix: str, shards: int, name: str, entry: Any) -> Tensor:
    tensor = Tensor(
        name=name,
        dtype=entry.dtype,
        shape=tuple(dim.size for dim in entry.shape.dim),
        file=f"{prefix}.data-{entry.shard_id:05d}-of-{shards:05d}",
        offset=entry.offset,
        size=entry.size,
        checksum=entry.crc32c,
    )
    item_size = None if entry.slices else _ITEM_SIZES.get(tensor.dtype)
    if (
        not 0 <= entry.shard_id < shards
        or not 0 < tensor.dtype < _FIRST_REFERENCE_TYPE
        or entry.shape.unknown_rank
        or min(tensor.offset, tensor.size, *tensor.shape) < 0
        or (item_size is not None and tensor.elements * item_size != tensor.size)
    ):
        raise DamagedError(f"{name!r} has a type, a shape, a size or a place that is impossible")
    return tensor


def _name(key: bytes) -> str:
    """The name of a tensor; a slice's key is the name between zeros, and where in the tensor it is."""
    return key.lstrip(b"\0").partition(b"\0")[0].decode(errors="replace")


class _Table:
    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._end = size - _FOOTER_SIZE
        """Where the blocks end."""

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values of the table, in their order."""
        if self._end < 0:
            raise DamagedError(f"it has {self._end + _FOOTER_SIZE} bytes, fewer than its footer")
        footer = self._read(self._end, _FOOTER_SIZE)
        if not footer.endswith(_MAGIC):
            raise DamagedError("it does not end as an index does")
        handles = _HANDLES.fullmatch(footer.removesuffix(_MAGIC))
        if handles is None:
            raise DamagedError("its footer is damaged")
        metadata_offset, metadata_size, offset, size = (varint(text, 0)[0] for text in handles.groups())
        self._block(metadata_offset, metadata_size)
        previous = None
        for _, handle in _records_of(self._block(offset, size)):
            offset, position = varint(handle, 0)
            for key, value in _records_of(self._block(offset, varint(handle, position)[0])):
                if previous is not None and key <= previous:
                    raise DamagedError("its keys are not in order")
                previous = key
                yield key, value

    def _block(self, offset: int, size: int) -> bytes:
        if offset + size + _TRAILER_SIZE > self._end:
            raise DamagedError(f"there is no block of {size} bytes at byte {offset}")
        block = self._read(offset, size + _TRAILER_SIZE)
        if masked(crc32c.crc32c(block[:-4])) != int.from_bytes(block[-4:], "little"):
            raise DamagedError(f"the checksum of the block at byte {offset} is wrong")
        if block[-_TRAILER_SIZE]:
            raise DamagedError(f"the block at byte {offset} is compressed, which no index of TensorFlow's is")
        return block[:-_TRAILER_SIZE]

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise DamagedError("it became shorter while it was read")
        return data


def _records_of(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. It ends with a list of places to search from, and their number."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise DamagedError("a block is shorter than it says")
    position, key = 0, b""
    while position < end:
        shared, position = varint(block, position)
        unshared, position = varint(block, position)
        length, position = varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise DamagedError("a block is shorter than it says")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number in a varint, seven bits a byte and the lowest first, and where it ends.

    Raises:
      DamagedError: If `data` ends before it does, or it is no number of 64 bits.
    """
    number = 0
    for place, byte in enumerate(data[position : position + 10]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if number >> 64:
                break
            return number, position + place + 1
    raise DamagedError("a number is cut off")


def masked(checksum: int) -> int:
    """A checksum as it is stored in tables, data and records."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
