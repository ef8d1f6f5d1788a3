"""EarlyStoppingHook: ends the training when it no longer gets better."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from hookrun import events
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule

if TYPE_CHECKING:
    from hookrun.graph.supervisor import Supervisor

__all__ = ["EarlyStoppingHook"]

_logger = logging.getLogger(__name__)


class EarlyStoppingHook(Hook):
    """Stops the training when a metric has not improved for a number of training steps.

    ```python
    stopping = hooks.EarlyStoppingHook(loss, mode="min", patience=500, every_steps=10)
    sv = hookrun.Supervisor(logdir="runs/early", hooks=[stopping])
    ```

    The best value, and the step at which it was reached, are saved beside each checkpoint and survive a
    restart. A value that is NaN is no improvement. A training that was stopped, and is started again, stops
    at the first step that is due unless it improves there.

    Args:
      metric: A fetch that gives one number, which rides in the step itself; or the name of a value that is
        reported with `Supervisor.report_metrics`, by another hook or the program.
      mode: "min" where less is better, "max" where more is.
      patience: The training steps without an improvement after which the training stops.
      min_delta: What is no more than this better than the best value is no improvement.
      every_steps: Look at each multiple of this number of steps; at every step without a schedule.
      every_secs: Look at the first step after each that many seconds.
      at_steps: Look at these steps.

    Raises:
      TypeError: If `metric` is None.
      ValueError: If another argument is not what it should be; the message says which.
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
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"patience must be a positive number of steps, not {patience!r}")
        if isinstance(min_delta, bool) or not isinstance(min_delta, (int, float)) or not min_delta >= 0:
            raise ValueError(f"min_delta must be a number, 0 or more, not {min_delta!r}")
        shape = tf.TensorShape(getattr(metric, "shape", None))
        if shape.num_elements() not in (1, None):
            raise ValueError(f"{self.name}: metric must be of one number, not of shape {shape}: {metric!r}")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self.fetches = None if isinstance(metric, str) else metric
        self._metric = metric if isinstance(metric, str) else getattr(metric, "name", repr(metric))
        self._sign = 1.0 if mode == "min" else -1.0
        self._patience = patience
        self._min_delta = min_delta
        self._begin(0)

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        self._begin(event.global_step or 0)  # before the state of a checkpoint is loaded

    def on_session_restored(self, supervisor: Supervisor, event: events.SessionRestored) -> None:
        if self.best_step > event.global_step:  # of a model that was given up
            self._begin(event.global_step)

    def on_step(self, supervisor: Supervisor, event: events.Step) -> None:
        if self.fetches is not None:
            values = np.asarray(event.values)
            if values.size != 1:
                raise ValueError(
                    f"{self.name}: metric must be of one number, not of shape {values.shape}: {self._metric}"
                )
            value = values.item()
        elif self._metric in supervisor.metrics:
            value = supervisor.metrics[self._metric]
        else:
            self._warn_if_never_reported(supervisor, event.global_step)
            return
        if self._sign * value < self._sign * self.best - self._min_delta:
            self.best, self.best_step = float(value), event.global_step
        elif event.global_step - self.best_step >= self._patience and not supervisor.should_stop():
            _logger.info(
                "The training stops at step %d: %s has not been better than %g, of step %d, for %d steps",
                *(event.global_step, self._metric, self.best, self.best_step, self._patience),
            )
            supervisor.request_stop()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_step = state["best"], state["best_step"]

    def _begin(self, step: int) -> None:
        self.best, self.best_step = self._sign * math.inf, step
        self._warned = False

    def _warn_if_never_reported(self, supervisor: Supervisor, step: int) -> None:
        if step - self.best_step >= self._patience and not self._warned:
            self._warned = True
            _logger.warning(
                "%s waits for the metric %r, which nobody has reported in %d steps; reported were: %s",
                *(self.name, self._metric, self._patience, ", ".join(supervisor.metrics) or "none"),
            )
