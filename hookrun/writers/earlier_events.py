"""`holds_events`: whether an earlier run has written where a writer writes."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

__all__ = ["holds_events"]


def holds_events(writer: Any, logdir: str) -> bool:
    """True where an event file holds more than its version.

    Args:
      writer: The writer; the files are those of its directory, if it tells it.
      logdir: Their directory otherwise.
    """
    directory = os.fspath(writer.get_logdir()) if hasattr(writer, "get_logdir") else logdir
    try:
        names = tf.io.gfile.listdir(directory)
    except tf.errors.OpError:  # there is none, or only the writer knows how to read it
        return False
    return any(_has_two(os.path.join(directory, name)) for name in names if "tfevents" in name)


def _has_two(path: str) -> bool:
    try:
        events = tf.compat.v1.train.summary_iterator(path)
        return next(events, None) is not None and next(events, None) is not None
    except tf.errors.DataLossError:  # TensorBoard reads no further either
        return False
