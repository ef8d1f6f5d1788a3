"""LoggingHook: values of the training, and its speed, in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hookrun import events
from hookrun.runtime.hook import Hook
from hookrun.runtime.step_rate import StepRate
from hookrun.triggers import required, schedule
from hookrun.writers.formatting import format_values

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["LoggingHook"]

_logger = logging.getLogger(__name__)


class LoggingHook(Hook):
    """Logs values of the training steps that are due, with the steps per second since the last time.

    ```python
    sv = hookrun.Supervisor(logdir="runs/logged", hooks=[hooks.LoggingHook({"loss": loss}, every_steps=100)])
    ```

    A line is ``step 100: loss 0.25 (812.3 steps/s)``, at INFO under the logger ``hookrun.hooks.logging``. It
    is shown where the program has configured Python's `logging`. Where the step went back since the last
    line, it says so in the place of the rate.

    Args:
      values: Fetches by the names under which they are logged; they ride in the step itself.
      every_steps: Log each multiple of this number of steps.
      every_secs: Log the first step after each that many seconds.
      at_steps: Log these steps.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      TypeError: If `values` is no mapping of names.
      ValueError: If no schedule is given, or one is not positive.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise TypeError(f"values must be a mapping of names to fetches, not {values!r}")
        due = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps, clock=clock)
        self.trigger = required(due, self.name)
        self.fetches = dict(values) or None
        self._clock = clock
        self._rate = StepRate(clock)

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._rate = StepRate(self._clock)
        self._rate.start(event.global_step or 0)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._rate.start(event.global_step)

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        rate = self._rate(event.global_step)
        speed = "the step went back" if rate is None else f"{rate:.4g} steps/s"
        values = format_values(event.values or {})
        _logger.info("step %d: %s(%s)", event.global_step, values and f"{values} ", speed)
