"""`file_writer`: any writer that a user may have, with the interface of TensorFlow's `FileWriter`."""

from __future__ import annotations

import time
from typing import Any

import tensorboardX
from tensorboardX.event_file_writer import EventFileWriter as TensorboardXEventFileWriter
from tensorboardX.proto.event_pb2 import Event

from hookrun.writers.event_writer import EventWriter

__all__ = ["file_writer"]

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
    if isinstance(writer, (tensorboardX.SummaryWriter, tensorboardX.FileWriter)):
        return _TensorboardXWriter(writer)
    missing = [name for name in _METHODS if not callable(getattr(writer, name, None))]
    if missing:
        raise TypeError(f"A summary writer of type {type(writer).__name__} lacks {', '.join(missing)}")
    return writer


class _TensorboardXWriter(EventWriter):
    """Adds events to a tensorboardX writer. What is said there of its queue and of `flush` holds."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def get_logdir(self) -> str:
        """The directory of the writer's file."""
        if isinstance(self._writer, tensorboardX.FileWriter):
            return str(self._writer.get_logdir())
        return str(self._writer.logdir)

    def flush(self) -> None:
        """Flush the writer. tensorboardX leaves in its queue what its thread has not taken yet."""
        self._writer.flush()

    def close(self) -> None:
        """Close the writer; later events are ignored."""
        self._writer.close()

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open.

        tensorboardX itself would fail to do so (`FileWriter`), or overwrite a file of the same second.
        """
        suffix = f".{time.time_ns()}"
        if isinstance(self._writer, tensorboardX.FileWriter):
            if self._writer.event_writer._closed:
                self._writer.event_writer = TensorboardXEventFileWriter(
                    self.get_logdir(), filename_suffix=suffix
                )
        elif self._writer.file_writer is None:
            self._writer.file_writer = tensorboardX.FileWriter(self.get_logdir(), filename_suffix=suffix)
            self._writer.all_writers = {self.get_logdir(): self._writer.file_writer}

    def _add_record(self, record: bytes, droppable: bool) -> None:
        event = Event.FromString(record)
        writer = self._writer
        if isinstance(writer, tensorboardX.SummaryWriter):
            writer = writer.file_writer
        if writer is not None:  # a SummaryWriter has none once it is closed
            writer.add_event(event, walltime=event.wall_time)
