"""EventFile: an event file on tensorboardX's record layer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import tensorflow as tf
from tensorboardX.record_writer import RecordWriter

from hookrun.writers.paths import is_local

__all__ = ["EventFile", "is_local"]


class EventFile:
    """An event file that holds a batch of events as a whole, or nothing of it. For one thread at a time.

    Args:
      logdir: Its directory, or a URL that tensorboardX can write to.
      created_ns: The time that its name holds, in nanoseconds: names sort by it.
      suffix: The end of its name.

    Raises:
      FileExistsError: If there is a local file of that name.
    """

    def __init__(self, logdir: str, created_ns: int, suffix: str) -> None:
        seconds, nanoseconds = divmod(created_ns, 10**9)
        origin = f"{socket.gethostname()}.{os.getpid()}"
        name = f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.{origin}{suffix}"
        self._path = os.path.join(logdir, name)
        self._local = is_local(logdir)
        if self._local:
            open(self._path, "xb").close()  # RecordWriter would empty a file that exists
        self._writer: Any = None
        self._synced_bytes = 0

    def exists(self) -> bool:
        return not self._local or os.path.exists(self._path)

    def append(self, records: Iterable[bytes]) -> None:
        """Write and sync `records`. When that raises, the file is as before, and closed."""
        try:
            if self._writer is None:
                self._writer = RecordWriter(self._path)
                version = tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")
                self._writer.write(version.SerializeToString())
            for record in records:
                self._writer.write(record)
            self._writer.flush()
            if self._local:
                self._synced_bytes = os.path.getsize(self._path)
        except BaseException:
            self.close()  # first, since it writes what is still buffered
            self._cut()
            raise

    def close(self) -> None:
        """Close the file. What was appended is synced already, so an error means no loss."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()

    def abandon(self) -> None:
        """Write nothing more, not even what is buffered: the file is that of another process."""
        with suppress(AttributeError, OSError):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._writer._writer.fileno())

    def _cut(self) -> None:
        with suppress(OSError):
            if self._synced_bytes:
                os.truncate(self._path, self._synced_bytes)
            elif self._local:
                os.unlink(self._path)
