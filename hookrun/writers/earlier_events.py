"""`starts_needed`: the START marks by which TensorBoard drops what an earlier run has written."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

__all__ = ["starts_needed"]


def starts_needed(writer: Any, logdir: str) -> int:
    """How many START marks a run without a global step has to write.

    TensorBoard takes the first one of a directory for the beginning, and drops what came before at each
    further one.

    Args:
      writer: The writer; the event files are those of its directory, if it tells it.
      logdir: Their directory otherwise.

    Returns:
      0 where there are no events of an earlier run, 1 where they hold a START, 2 where they hold none.
    """
    directory = os.fspath(writer.get_logdir()) if hasattr(writer, "get_logdir") else logdir
    try:
        names = tf.io.gfile.listdir(directory)
    except tf.errors.OpError:  # there is none, or only the writer knows how to read it
        return 0
    needed = [_starts_needed_after(os.path.join(directory, name)) for name in names if "tfevents" in name]
    return min(filter(None, needed), default=0)


def _starts_needed_after(path: str) -> int:
    count = 0
    with suppress(DecodeError):  # TensorBoard reads no further than to a torn record either
        for event in _events(path):
            count += 1
            if event.session_log.status == tf.compat.v1.SessionLog.START:
                return 1
            if event.HasField("summary"):  # a START would have come before
                break
    return 2 if count > 1 else 0  # the first one is the version of the file


def _events(path: str) -> Iterator[Any]:
    """The events of a file, read without TensorFlow's iterator, which warns that it is deprecated."""
    with tf.io.gfile.GFile(path, "rb") as file:
        end = file.size()
        while len(header := file.read(12)) == 12:  # the size, and its checksum
            (size,) = struct.unpack("<Q4x", header)
            if size > end:
                return
            yield tf.compat.v1.Event.FromString(file.read(size + 4)[:size])
