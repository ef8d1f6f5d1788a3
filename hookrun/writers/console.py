"""ConsoleWriter: scalars as text for a person."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO

from hookrun.writers.formatting import format_values
from hookrun.writers.scalar_writer import ScalarWriter

__all__ = ["ConsoleWriter"]


class ConsoleWriter(ScalarWriter):
    """Prints a line for each summary: ``step 100: loss 0.5, accuracy 0.9``.

    Args:
      stream: Where to; standard output if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream

    def write(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> None:
        """Print the scalars on one line."""
        values = format_values(scalars)
        print(
            values if step is None else f"step {step}: {values}", file=self._stream or sys.stdout, flush=True
        )
