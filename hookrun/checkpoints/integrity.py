"""Whether a checkpoint is as it was written: its index, and every byte of its data.

TensorFlow's own reader is for what was found intact here: a damaged index may end it with a MemoryError. Here
no tensor is made. The data is read from the begin of each file to its end, a piece at a time, and the
checksums are compared. TensorFlow is imported for URLs alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from typing import IO

import crc32c

from hookrun.checkpoints import index, storage
from hookrun.checkpoints.index import DamagedError, Tensor, masked

__all__ = ["Progress", "damage"]

Progress = Callable[[int], object]
"""Called with the number of bytes of each piece that was read."""

_PIECE = 1 << 18
"""Bytes that are read at once: few enough to stay in the processor's cache for the checksum."""


def damage(
    prefix: str,
    *,
    read_data: bool = True,
    unread: Collection[str] = frozenset(),
    progress: Progress = lambda _: None,
) -> str | None:
    """What is damaged of the index and the data of a checkpoint.

    Args:
      prefix: The checkpoint, as `tf.compat.v1.train.Saver.restore` takes it.
      read_data: False to read the index, and only look whether all of the data is there.
      unread: The names of tensors whose data is not read either.
      progress: Called with the number of bytes of each piece of data that was read.

    Returns:
      What is damaged, naming the file; None where everything is as it was written.
    """
    try:
        tensors = sorted(index.tensors(prefix), key=lambda tensor: (tensor.file, tensor.offset))
    except (DamagedError, OSError) as error:
        return f"{prefix}.index cannot be read: {error}"
    for file, held in itertools.groupby(tensors, key=lambda tensor: tensor.file):
        reason = _damage_of_file(file, held, unread, progress if read_data else None)
        if reason is not None:
            return reason
    return None


def _damage_of_file(
    path: str, tensors: Iterable[Tensor], unread: Collection[str], progress: Progress | None
) -> str | None:
    """Look at all of the data of one file; without `progress`, only at its size."""
    tensor = None
    try:
        size = storage.size_and_time(path)[0]
        with storage.open_to_read(path) as file:
            for tensor in tensors:
                if tensor.offset + tensor.size > size:
                    raise DamagedError(f"the file ends at byte {size}, before the tensor does")
                if progress is not None and tensor.name not in unread:
                    _check(tensor, _Data(file, tensor.offset, tensor.size, progress))
    except (DamagedError, OSError) as error:
        what = "its data" if tensor is None else repr(tensor.name)
        return f"{what} cannot be read from {path}: {error}"
    return None


def _check(tensor: Tensor, data: _Data) -> None:
    """Read the data of a tensor, and compare its checksum.

    Raises:
      DamagedError: If it is another.
    """
    if tensor.dtype == index.STRING:
        checksum = _checksum_of_strings(tensor.elements, data)
    elif tensor.dtype == index.VARIANT:
        checksum = _checksum_of_variants(tensor.elements, data)
    else:
        checksum = data.checksum(tensor.size)
    if data.left or masked(checksum) != tensor.checksum:
        raise DamagedError("its checksum is wrong")


def _checksum_of_strings(elements: int, data: _Data) -> int:
    """Of strings there are first all lengths, as varints, then their checksum, then all the bytes."""
    checksum = length = 0
    for _ in range(elements):
        size = data.varint()
        checksum = crc32c.crc32c(size.to_bytes(4 if size < 1 << 32 else 8, "little"), checksum)
        length += size
    return data.checksum(length, data.compare(checksum))


def _checksum_of_variants(elements: int, data: _Data) -> int:
    """Of variants, such as the state of an iterator, each has its length, its bytes and a checksum."""
    checksum = 0
    for _ in range(elements):
        size = data.varint()
        checksum = data.checksum(size, crc32c.crc32c(size.to_bytes(8, "little"), checksum))
        checksum = data.compare(checksum)
    return checksum


class _Data:
    """The data of one tensor, read once from its begin to its end."""

    def __init__(self, file: IO[bytes], offset: int, size: int, progress: Progress) -> None:
        self._file = file
        self._file.seek(offset)
        self._progress = progress
        self.left = size
        """Bytes that were not read yet."""

    def checksum(self, size: int, checksum: int = 0) -> int:
        """The checksum of the next `size` bytes, continued from `checksum`."""
        while size:
            piece = self._read(min(size, _PIECE))
            checksum = crc32c.crc32c(piece, checksum)
            size -= len(piece)
            self._progress(len(piece))
        return checksum

    def compare(self, checksum: int) -> int:
        """Compare `checksum` with the one that is stored next; returns the checksum of that too."""
        stored = self._read(4)
        if masked(checksum) != int.from_bytes(stored, "little"):
            raise DamagedError("its checksum is wrong")
        return int(crc32c.crc32c(stored, checksum))

    def varint(self) -> int:
        text = self._read(1)
        while text[-1] & 0x80 and len(text) < 10:
            text += self._read(1)
        return index.varint(text, 0)[0]

    def _read(self, size: int) -> bytes:
        if size > self.left:
            raise DamagedError("its data is shorter than it says")
        piece = self._file.read(size)
        if len(piece) < size:
            raise DamagedError("the file became shorter while it was read")
        self.left -= size
        return piece
