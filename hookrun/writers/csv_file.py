"""CSVWriter: scalars as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from hookrun.writers.scalar_writer import TextFileWriter

__all__ = ["CSVWriter"]


class CSVWriter(TextFileWriter):
    """Appends a row for each scalar: its step, the time in seconds since 1970, its tag and its value.

    Where the file holds something already when a session starts, a row of the tag ``hookrun/start`` marks it:
    what stands above it for its step and later ones was given up.
    """

    header = "step,wall_time,tag,value\n"

    def text(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> str:
        """One row for each scalar."""
        rows = io.StringIO()
        write = csv.writer(rows, lineterminator="\n").writerow
        for tag, value in scalars.items():
            write(["" if step is None else step, wall_time, tag, value])
        return rows.getvalue()

    def start_text(self, step: int, wall_time: float) -> str:
        """One row, whose value is its step."""
        return self.text({"hookrun/start": step}, step, wall_time)
