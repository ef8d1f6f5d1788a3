"""EventLog: the writer of a training's events, from one session to the next."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from hookrun import writers

__all__ = ["EventLog"]


class EventLog:
    """Opens, marks and closes the summary writer of a training.

    Args:
      writer: What the events are written with; None where they are not.
      is_own: True where it was made by the training, and not passed in.
    """

    def __init__(self, writer: Any, is_own: bool) -> None:
        self.writer = writer
        self.is_own = is_own
        self.is_open = writer is not None
        self.has_graph = False
        """True once the graph of a model was written since it was opened."""

    def reopen(self) -> None:
        """A session begins: events are taken again."""
        if self.writer is not None:
            writers.file_writer(self.writer).reopen()
            self.is_open = True

    def mark(self, status: str, step: int | None = None, **fields: str) -> None:
        """Write a mark of the session: START, STOP or CHECKPOINT, as `tf.compat.v1.SessionLog` has them."""
        if self.writer is not None:
            log = tf.compat.v1.SessionLog(status=status, **fields)
            writers.file_writer(self.writer).add_session_log(log, step)

    def flush(self) -> None:
        """Have all that was added on disk. A disk that fails is reported by the writer."""
        if self.is_open:
            writers.flush_tick(writers.file_writer(self.writer), wait=True)

    def close(self) -> None:
        """Write STOP, without a step, as the session may be gone; then close the writer."""
        if self.is_open:
            self.is_open = self.has_graph = False
            self.mark("STOP")
            writers.file_writer(self.writer).close()
