"""JSONLWriter: scalars as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hookrun.writers.scalar_writer import TextFileWriter

__all__ = ["JSONLWriter"]


class JSONLWriter(TextFileWriter):
    """Appends a line for each summary: ``{"step": 100, "wall_time": 1.7e9, "scalars": {"loss": 0.5}}``.

    A value that is not finite is written as `NaN`, `Infinity` or `-Infinity`, as Python's `json` reads it.
    """

    def text(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> str:
        """One line of JSON."""
        return json.dumps({"step": step, "wall_time": wall_time, "scalars": dict(scalars)}) + "\n"
