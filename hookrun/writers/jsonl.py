"""JSONLWriter: scalars as lines of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hookrun.writers.scalar_writer import TextFileWriter

__all__ = ["JSONLWriter"]


class JSONLWriter(TextFileWriter):
    """Appends a line for each summary: ``{"step": 100, "wall_time": 1.7e9, "scalars": {"loss": 0.5}}``.

    A value that is not finite is `null`, as JSON has no other word for it.

    Where the file holds something already when a session starts, a line ``{"step": 101, "wall_time": 1.7e9,
    "scalars": {}, "start": true}`` marks it: what stands above it for that step and later ones was given up.
    """

    def text(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> str:
        """One line of JSON."""
        finite = {tag: value if math.isfinite(value) else None for tag, value in scalars.items()}
        return _line(step=step, wall_time=wall_time, scalars=finite)

    def start_text(self, step: int, wall_time: float) -> str:
        """One line of JSON without scalars."""
        return _line(step=step, wall_time=wall_time, scalars={}, start=True)


def _line(**values: Any) -> str:
    return json.dumps(values, allow_nan=False) + "\n"
