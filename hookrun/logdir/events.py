"""The events in event files, read without TensorFlow."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from typing import Any

import crc32c
from google.protobuf.message import DecodeError

from hookrun.checkpoints.index import DamagedError, masked
from hookrun.checkpoints.integrity import Progress
from hookrun.checkpoints.messages import Event

__all__ = ["TornError", "event_files", "number_of", "read_events", "text_of"]

_HEADER = struct.Struct("<QI")
"""Before a record come its length and the checksum of that; after it comes its own."""
_CHECKSUM = struct.Struct("<I")
_PIECE = 1 << 20
"""Bytes that are read at once."""

_FORMATS = {
    1: ("<f", "float_val"),
    2: ("<d", "double_val"),
    3: ("<i", "int_val"),
    4: ("<B", "int_val"),
    5: ("<h", "int_val"),
    6: ("<b", "int_val"),
    9: ("<q", "int64_val"),
    10: ("<?", "bool_val"),
    14: ("<H", "half_val"),  # bfloat16: its bits, as of half
    17: ("<H", "int_val"),
    19: ("<H", "half_val"),
    22: ("<I", "uint32_val"),
    23: ("<Q", "uint64_val"),
}
"""By the number of a type: how a tensor of it holds a number in its content, or else in which field."""
_BFLOAT16, _HALF = 14, 19


class TornError(DamagedError):
    """The last record is not whole: its writer was killed, or is writing it."""


def event_files(logdir: str) -> Iterator[tuple[str, list[str]]]:
    """Find the directories with event files in and below `logdir`, each with the paths of the files.

    Links are followed, as by TensorBoard, but for one that leads back to a directory that it is in.
    """
    return _event_files(logdir, frozenset())


def _event_files(directory: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    try:
        identity = os.stat(directory)
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:  # it was removed meanwhile, or one may not look into it
        return
    here = (identity.st_dev, identity.st_ino)
    if here in above:
        return
    # No pipe, and no link to what is gone:
    paths = [entry.path for entry in entries if "tfevents" in entry.name and entry.is_file()]
    if paths:
        yield directory, paths
    for entry in entries:
        if entry.is_dir():
            yield from _event_files(entry.path, above | {here})


def read_events(path: str, progress: Progress = lambda _: None) -> Iterator[Any]:
    """The events of an event file, each an `Event`; None for a record that is none.

    Args:
      path: The file.
      progress: Called with the number of bytes, each time that some have been read.

    Raises:
      TornError: If the last record is not whole: its writer was killed, or is writing it.
      DamagedError: If what follows cannot be read.
      OSError: If the file cannot be read.
    """
    told = 0
    for end, record in _records(path):
        if end - told >= _PIECE:
            progress(end - told)
            told = end
        try:
            event = Event.FromString(record)
        except DecodeError:
            event = None
        yield event


def _records(path: str) -> Iterator[tuple[int, bytes]]:
    """The records of a file, each with the position at which it ends."""
    with open(path, "rb", buffering=_PIECE) as file:
        begin = size = 0
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                raise TornError(f"truncated record at {begin}")
            length, checksum = _HEADER.unpack(header)
            if masked(crc32c.crc32c(header[:8])) != checksum:
                raise DamagedError(f"corrupted record at {begin}")
            end = begin + _HEADER.size + length + _CHECKSUM.size
            if end > size and end > (size := os.fstat(file.fileno()).st_size):
                raise TornError(f"truncated record at {begin}")
            record = file.read(length)
            (checksum,) = _CHECKSUM.unpack(file.read(_CHECKSUM.size))
            if masked(crc32c.crc32c(record)) != checksum:
                raise DamagedError(f"corrupted record at {begin + _HEADER.size}")
            yield end, record
            begin = end


def number_of(tensor: Any) -> float | None:
    """The one number that a tensor holds; None where it holds another number of them, or no numbers."""
    if tensor.dtype not in _FORMATS or math.prod(dim.size for dim in tensor.tensor_shape.dim) != 1:
        return None
    layout, field = _FORMATS[tensor.dtype]
    if tensor.tensor_content:
        if len(tensor.tensor_content) != struct.calcsize(layout):
            return None
        (value,) = struct.unpack(layout, tensor.tensor_content)
    elif values := getattr(tensor, field):
        value = values[0]
    else:
        return None
    if tensor.dtype == _HALF:
        (value,) = struct.unpack("<e", struct.pack("<H", value))
    elif tensor.dtype == _BFLOAT16:
        (value,) = struct.unpack("<f", struct.pack("<I", value << 16))
    return float(value)


def text_of(tensor: Any) -> str:
    """The lines of text that a tensor of strings holds."""
    return b"\n".join(tensor.string_val).decode(errors="replace")
