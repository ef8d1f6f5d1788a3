"""Where metrics go: event files for TensorBoard, text files, the console, several at once.

What a program does not use is not imported: tensorboardX brings PyTorch along where it is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookrun.lazy import names_of
from hookrun.writers.adapters import file_writer, flush_soon, flush_tick
from hookrun.writers.multi import MultiWriter

if TYPE_CHECKING:
    from hookrun.writers.console import ConsoleWriter
    from hookrun.writers.csv_file import CSVWriter
    from hookrun.writers.event_file import EventFileWriter
    from hookrun.writers.jsonl import JSONLWriter
    from hookrun.writers.scalar_writer import ScalarWriter, TextFileWriter

__all__ = [
    "CSVWriter",
    "ConsoleWriter",
    "EventFileWriter",
    "JSONLWriter",
    "MultiWriter",
    "ScalarWriter",
    "TextFileWriter",
    "file_writer",
    "flush_soon",
    "flush_tick",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the package's
    __getattr__, __dir__ = names_of(
        __name__,
        {
            "CSVWriter": "csv_file",
            "ConsoleWriter": "console",
            "EventFileWriter": "event_file",
            "JSONLWriter": "jsonl",
            "ScalarWriter": "scalar_writer",
            "TextFileWriter": "scalar_writer",
        },
    )
