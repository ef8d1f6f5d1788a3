"""StepRate: how fast the training goes."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["StepRate"]


class StepRate:
    """Training steps per second, from one time that it is asked to the next. For one thread at a time.

    Args:
      clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.start(0)

    def start(self, step: int) -> None:
        """Measure from now, after `step` steps."""
        self._time, self._step = self._clock(), step

    def __call__(self, step: int) -> float:
        """The steps per second since the last time; infinity where no time has passed."""
        secs, steps = self._clock() - self._time, max(0, step - self._step)  # it may have gone back
        self.start(step)
        return steps / secs if secs > 0 else float("inf")
