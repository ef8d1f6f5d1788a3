"""StopAtStepHook: ends the training at a step."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hookrun import events
from hookrun.numeric import checked_int
from hookrun.runtime.hook import Hook

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["StopAtStepHook"]

_logger = logging.getLogger(__name__)


class StopAtStepHook(Hook):
    """Stops the training once the global step has reached a number. `should_stop` is true from then on.

    ```python
    sv = hookrun.Supervisor(logdir="runs/stopped", hooks=[hooks.StopAtStepHook(last_step=2000)])
    ```

    A session that starts at its last step, such as that of a training which is run again, is stopped before
    it has made a step.

    Args:
      last_step: The global step to stop at.
      num_steps: The number of steps of each session instead: one that is restored makes as many again.

    Raises:
      ValueError: Unless one of the two is given, and is a positive integer.
    """

    def __init__(self, *, last_step: int | None = None, num_steps: int | None = None) -> None:
        if (last_step is None) == (num_steps is None):
            raise ValueError(
                f"{self.name} needs one of last_step and num_steps, "
                f"not last_step={last_step!r} and num_steps={num_steps!r}"
            )
        name, steps = ("last_step", last_step) if num_steps is None else ("num_steps", num_steps)
        number = checked_int(name, steps, "a positive number of steps")
        self._num_steps = None if num_steps is None else number
        self._last_step = number

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        step = event.global_step or 0
        if self._num_steps is not None:
            self._last_step = step + self._num_steps
        self._stop_if_reached(runtime, step)

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        self._stop_if_reached(runtime, event.global_step)

    def _stop_if_reached(self, runtime: Runtime, step: int) -> None:
        if step >= self._last_step and not runtime.should_stop():
            _logger.info("The training stops at step %d: the last step is %d", step, self._last_step)
            runtime.request_stop()
