"""`file_writer`: any writer that a user may have, with the interface of TensorFlow's `FileWriter`."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

from hookrun.writers.event_writer import EventWriter

__all__ = ["file_writer", "flush_soon", "flush_tick"]

_METHODS = ("add_summary", "add_session_log", "add_graph", "add_meta_graph", "close", "reopen")


def file_writer(writer: Any) -> Any:
    """The same writer, with the interface of TensorFlow's `FileWriter`.

    Args:
      writer: A `tensorboardX.SummaryWriter` or `tensorboardX.FileWriter`, for which an adapter is made that
        holds nothing but the writer; or an object with the methods `add_summary`, `add_session_log`,
        `add_graph`, `add_meta_graph`, `close` and `reopen`, which is returned itself.

    Raises:
      TypeError: If `writer` lacks one of these methods; it names those that are missing.
    """
    if isinstance(writer, EventWriter):
        return writer
    tensorboardx: Any = sys.modules.get("tensorboardX")  # where it is not imported, nothing is of its classes
    if tensorboardx is not None:
        if isinstance(writer, tensorboardx.FileWriter):
            return _FileWriterAdapter(writer)
        if isinstance(writer, tensorboardx.SummaryWriter):
            return _SummaryWriterAdapter(writer)
    missing = [name for name in _METHODS if not callable(getattr(writer, name, None))]
    if missing:
        raise TypeError(f"A summary writer of type {type(writer).__name__} lacks {', '.join(missing)}")
    return writer


def flush_soon(writer: Any) -> None:
    """Have what was added to `writer` written to disk, without waiting for it where the writer can do so."""
    flush = getattr(writer, "flush_soon", None) or getattr(writer, "flush", None)
    if flush is not None:
        flush()


def flush_tick(writer: Any, wait: bool) -> None:
    """Have what a tick added to `writer` written to disk.

    Args:
      writer: A writer.
      wait: True to return when it is on disk; a training step does not wait. A disk that fails is reported
        by the writer, which tries again.
    """
    if wait and hasattr(writer, "flush_soon"):
        with suppress(OSError):
            writer.flush()
    else:
        flush_soon(writer)


class _FileWriterAdapter(EventWriter):
    """Adds events to a tensorboardX writer. What is said there of its queue and of `flush` holds."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def get_logdir(self) -> str:
        """The directory of the writer's file."""
        return str(self._writer.get_logdir())

    def flush(self) -> None:
        """Flush the writer. tensorboardX leaves in its queue what its thread has not taken yet."""
        self._writer.flush()

    def close(self) -> None:
        """Close the writer; later events are ignored."""
        self._writer.close()

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open.

        tensorboardX itself would fail to do so.
        """
        if self._writer.event_writer._closed:
            kind = type(self._writer.event_writer)
            self._writer.event_writer = kind(self.get_logdir(), filename_suffix=_suffix_of_now())

    def _add_record(self, record: bytes, droppable: bool) -> None:
        _add_to(self._writer, record)


class _SummaryWriterAdapter(_FileWriterAdapter):
    def get_logdir(self) -> str:
        """The directory of the writer's file."""
        return str(self._writer.logdir)

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open.

        tensorboardX itself would overwrite a file of the same second.
        """
        if self._writer.file_writer is None:
            import tensorboardX

            file = tensorboardX.FileWriter(self.get_logdir(), filename_suffix=_suffix_of_now())
            self._writer.file_writer = file
            self._writer.all_writers = {self.get_logdir(): file}

    def _add_record(self, record: bytes, droppable: bool) -> None:
        if self._writer.file_writer is not None:  # there is none once it is closed
            _add_to(self._writer.file_writer, record)


def _suffix_of_now() -> str:
    return f".{time.time_ns()}"


def _add_to(file_writer: Any, record: bytes) -> None:
    from tensorboardX.proto.event_pb2 import Event

    event = Event.FromString(record)
    file_writer.add_event(event, walltime=event.wall_time)
