"""EarlyStoppingHook: ends the training when it no longer gets better."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from hookrun import events
from hookrun.numeric import checked_int, checked_number
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule
from hookrun.writers.scalars import as_number, check_is_number

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["EarlyStoppingHook"]

_logger = logging.getLogger(__name__)


class EarlyStoppingHook(Hook):
    """Stops the training when a metric has not improved for a number of training steps.

    ```python
    stopping = hooks.EarlyStoppingHook(loss, mode="min", patience=500, every_steps=10)
    sv = hookrun.Supervisor(logdir="runs/early", hooks=[stopping])
    ```

    The best value, and the step at which it was reached, are saved beside each checkpoint and survive a
    restart; with another metric or mode than before the hook starts anew, with a warning. A value that is NaN
    is no improvement. A training that was stopped, and is started again, stops at the first value that it
    looks at unless that is better.

    A reported metric is looked at once for each time that it was reported: what was not measured anew says
    nothing, and the training stops at a report alone, however rare those are.

    Args:
      metric: A fetch that gives one number, which rides in the step itself; or the name of a value that is
        reported with `Runtime.report_metrics`, by another hook or the program.
      mode: "min" where less is better, "max" where more is.
      patience: The training steps without an improvement after which the training stops.
      min_delta: What is no more than this better than the best value is no improvement.
      every_steps: Look at each multiple of this number of steps; at every step without a schedule.
      every_secs: Look at the first step after each that many seconds.
      at_steps: Look at these steps.

    Raises:
      TypeError: If `metric` is None.
      ValueError: If `metric` is of several numbers, or another argument is not what it should be; the message
        says which.
    """

    best: float
    """The best value so far; infinity, or minus infinity, before the first one."""
    best_step: int
    """The step at which it was reached; before the first one, the step at which the training began."""

    def __init__(
        self,
        metric: Any,
        *,
        mode: Literal["min", "max"],
        patience: int,
        min_delta: float = 0.0,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
    ) -> None:
        if metric is None:
            raise TypeError("metric must be a fetch or the name of a reported value, not None")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
        self._patience = checked_int("patience", patience, "a positive number of steps")
        self._min_delta = checked_number("min_delta", min_delta, "a number, 0 or more", lambda n: n >= 0)
        check_is_number(metric, f"{self.name}: metric")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self.fetches = None if isinstance(metric, str) else metric
        self._metric = metric if isinstance(metric, str) else getattr(metric, "name", type(metric).__name__)
        self._mode = mode
        self._sign = 1.0 if mode == "min" else -1.0
        self._begin(0)

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._begin(event.global_step or 0)  # before the state of a checkpoint is loaded
        if event.restored_from is not None:
            self._times_seen = runtime.times_reported(self._metric)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._times_seen = runtime.times_reported(self._metric)
        if self.best_step > event.global_step:  # of a model that was given up
            self._begin(event.global_step)

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        step = event.global_step
        value = self._new_value(runtime, event)
        if value is None:
            self._warn_if_never_reported(runtime, step)
        elif self._sign * value < self._sign * self.best - self._min_delta:
            self.best, self.best_step = value, step
        elif step - self.best_step >= self._patience and not runtime.should_stop():
            _logger.info(
                "The training stops at step %d: %s has not improved on %g (step %d) for %d steps",
                *(step, self._metric, self.best, self.best_step, self._patience),
            )
            runtime.request_stop()

    def state_dict(self) -> dict[str, Any]:
        return {
            "metric": self._metric,
            "mode": self._mode,
            "best": self.best,
            "best_step": self.best_step,
            "times_seen": self._times_seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        metric, mode = (
            state.get("metric", self._metric),
            state.get("mode", self._mode),
        )  # older ones have none
        if (metric, mode) != (self._metric, self._mode):
            _logger.warning(
                "%s starts anew: the checkpoint holds the best of %s with mode %r, not of %s with mode %r",
                *(self.name, metric, mode, self._metric, self._mode),
            )
            return
        self.best, self.best_step = state["best"], state["best_step"]
        self._times_seen = state.get("times_seen", self._times_seen)

    def _begin(self, step: int) -> None:
        self.best, self.best_step = self._sign * math.inf, step
        self._first_step = step
        self._times_seen = 0
        self._warns = True

    def _new_value(self, runtime: Runtime, event: events.Step) -> float | None:
        """The value of the metric; None where it was not reported since the last look."""
        if self.fetches is not None:
            return as_number(event.values, f"{self.name}: metric", self._metric)
        times = runtime.times_reported(self._metric)
        if times == self._times_seen:
            return None
        self._times_seen, self._warns = times, False
        return runtime.metrics[self._metric]

    def _warn_if_never_reported(self, runtime: Runtime, step: int) -> None:
        if self._warns and step - self._first_step >= self._patience:
            self._warns = False
            _logger.warning(
                "%s waits for the metric %r, which was not reported for %d steps; reported metrics: %s",
                *(self.name, self._metric, self._patience, ", ".join(runtime.metrics) or "none"),
            )
