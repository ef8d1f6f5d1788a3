"""Where metrics go: event files for TensorBoard, and any other writer in their place."""

from __future__ import annotations

from hookrun.writers.adapters import file_writer
from hookrun.writers.event_file import EventFileWriter

__all__ = ["EventFileWriter", "file_writer"]
