"""StopAfterTimeHook: ends the training when its time is up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hookrun import events
from hookrun.numeric import checked_number
from hookrun.runtime.hook import Hook

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["StopAfterTimeHook"]

_logger = logging.getLogger(__name__)


class StopAfterTimeHook(Hook):
    """Stops the training at the first step that ends `secs` seconds after its session was created.

    ```python
    sv = hookrun.Supervisor(logdir="runs/timed", hooks=[hooks.StopAfterTimeHook(secs=8 * 3600)])
    ```

    The time of the sessions before a restart does not count, and a step that blocks is not broken off: leave
    the time of the slowest step, and that of the final checkpoint, to the limit of a scheduler.

    Args:
      secs: A positive number of seconds.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      ValueError: If `secs` is no positive number.
    """

    def __init__(self, *, secs: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._secs = checked_number("secs", secs, "a positive number of seconds", lambda n: n > 0)
        self._clock = clock
        self._end = 0.0

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._end = self._clock() + self._secs

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        if self._clock() >= self._end and not runtime.should_stop():
            _logger.info("The training stops at step %d, after %g s", event.global_step, self._secs)
            runtime.request_stop()
