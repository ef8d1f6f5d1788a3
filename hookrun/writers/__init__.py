"""Where metrics go: event files for TensorBoard, text files, the console, several at once.

What a program does not use is not imported: tensorboardX brings PyTorch along where it is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

_MODULES = {
    "CSVWriter": "csv_file",
    "ConsoleWriter": "console",
    "EventFileWriter": "event_file",
    "JSONLWriter": "jsonl",
    "ScalarWriter": "scalar_writer",
    "TextFileWriter": "scalar_writer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
