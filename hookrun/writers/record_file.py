"""EventFile: an event file on tensorboardX's record layer, in a local directory or in one with a URL."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import tensorflow as tf
from tensorboardX import record_writer

from hookrun.paths import is_local

__all__ = ["EventFile", "check_url", "make_directory"]

_NEEDED_PACKAGE = {"gs": record_writer.GCS_ENABLED, "s3": record_writer.S3_ENABLED}
"""Whether tensorboardX has found what it needs for its own schemes."""

_STAMPED = re.compile(r"events\.out\.tfevents\.(\d{10})(?:\.(\d{9})\.)?")
"""The name of an event file: of `EventFile`, with nanoseconds, or of another writer, with seconds alone."""


def check_url(logdir: str) -> None:
    """Check that tensorboardX or `tf.io.gfile` can write to a URL.

    Raises:
      ValueError: If neither can; it says what they know.
    """
    known = {
        *tf.io.gfile.get_registered_schemes(),
        *filter(_is_of_tensorboardx, record_writer.REGISTERED_FACTORIES),
    }
    if _scheme(logdir) not in known:
        raise ValueError(
            f"logdir must be a local path, or a URL of {', '.join(sorted(known - {''}))}, not {logdir!r}"
        )


def make_directory(logdir: str) -> None:
    """Make the directory of event files, and those above it, unless it is there."""
    if is_local(logdir):
        os.makedirs(logdir, exist_ok=True)
    elif _is_of_tensorboardx(_scheme(logdir)):
        record_writer.directory_check(logdir)
    else:
        tf.io.gfile.makedirs(logdir)


class EventFile:
    """A new event file. For one thread at a time.

    Its name sorts after those that are there, whatever the clock says: TensorBoard reads the files of a
    directory in the order of their names, and does not go back.

    Args:
      logdir: Its directory: an absolute path, or a URL.
      suffix: The end of its name.
    """

    def __init__(self, logdir: str, suffix: str) -> None:
        self._local = is_local(logdir)
        created_ns = _time_after(_names_in(logdir))
        while True:
            seconds, nanoseconds = divmod(created_ns, 10**9)
            origin = f"{socket.gethostname()}.{os.getpid()}"
            name = f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.{origin}{suffix}"
            self._path = os.path.join(logdir, name)
            with suppress(FileExistsError):  # of another writer, since the names were read
                self._stream = _opened(self._path)
                break
            created_ns += 1
        self._records = RecordStream(self._stream)
        version = tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")
        self._head = [version.SerializeToString()]  # of what is written first
        self._synced_bytes = 0

    def exists(self) -> bool:
        return not self._local or os.path.exists(self._path)

    def append(self, records: Iterable[bytes]) -> None:
        """Write `records`. In a local file they survive the process then; elsewhere after `sync`."""
        for record in (*self._head, *records):
            self._records.write(record)
        self._head = []
        if self._local:
            self._stream.flush()

    def sync(self) -> None:
        """Have what was written survive the machine, as far as its file system can do that."""
        self._records.flush()
        if self._local:
            self._synced_bytes = os.path.getsize(self._path)

    def close(self) -> None:
        """Close the file. What was synced is not lost by an error."""
        with suppress(Exception):
            self._records.close()

    def discard(self) -> None:
        """Close the file without what was written since it was synced, where that can be cut off."""
        self.close()  # first, since it writes what is still buffered
        with suppress(OSError):
            if self._synced_bytes:
                os.truncate(self._path, self._synced_bytes)
            elif self._local:
                os.unlink(self._path)

    def abandon(self) -> None:
        """Write nothing more, not even what is buffered: the file is that of another process."""
        with suppress(AttributeError, OSError):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


class RecordStream(record_writer.RecordWriter):
    """Records of tensorboardX on a stream that is open already. `flush` syncs it too, where it is a file."""

    def __init__(self, stream: Any) -> None:
        self._writer = stream


def _opened(path: str) -> Any:
    """A new file to write to; a `FileExistsError` where there is a local one."""
    if is_local(path):
        return open(path, "xb")
    if _is_of_tensorboardx(_scheme(path)):
        return record_writer.open_file(path)
    return tf.io.gfile.GFile(path, "wb")


def _names_in(logdir: str) -> list[str]:
    if is_local(logdir):
        return os.listdir(logdir)
    return tf.io.gfile.listdir(logdir) if _scheme(logdir) in tf.io.gfile.get_registered_schemes() else []


def _time_after(names: Iterable[str]) -> int:
    """The first time from now on, in nanoseconds, by which a file is named that sorts after `names`."""
    created_ns = time.time_ns()
    for stamped in filter(None, map(_STAMPED.match, names)):
        seconds, nanoseconds = stamped.groups()
        following = int(nanoseconds) + 1 if nanoseconds else 10**9
        created_ns = max(created_ns, int(seconds) * 10**9 + following)
    return created_ns


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _is_of_tensorboardx(scheme: str) -> bool:
    return scheme in record_writer.REGISTERED_FACTORIES and _NEEDED_PACKAGE.get(scheme, True)
