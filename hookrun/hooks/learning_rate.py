"""LearningRateHook: sets the learning rate, and records it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events, signals
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule

if TYPE_CHECKING:
    from hookrun.graph.supervisor import Supervisor
    from hookrun.runtime.subscriptions import Handle

__all__ = ["LearningRateHook"]

_logger = logging.getLogger(__name__)


class LearningRateHook(Hook):
    """Sets the learning rate before each training step to a function of the step, and records it.

    ```python
    import tensorflow as tf

    rate = tf.compat.v1.get_variable("rate", initializer=0.1, trainable=False)
    train_op = tf.compat.v1.train.GradientDescentOptimizer(rate).minimize(loss)
    sv = hookrun.Supervisor(
        logdir="runs/mine", hooks=[hooks.LearningRateHook(rate, lambda step: 0.1 * 0.5 ** (step // 1000))]
    )
    ```

    It is assigned when it changes, in a run of its own between two steps. Where several workers train, it is
    the chief that does so.

    The rate is written as the scalar ``learning_rate``, if there is a summary writer, and logged at DEBUG: at
    the steps that are due, where it is that of the step, or else whenever `summary_due` is sent.

    Args:
      learning_rate: The variable that the optimizer reads; or, to be recorded only, a tensor.
      rate_at: Called with the number of steps made so far, returns the rate for the next one, on the thread
        of the step. None to set nothing.
      every_steps: Record the rate at each multiple of this number of steps.
      every_secs: Record the rate at the first step after each that many seconds.
      at_steps: Record the rate at these steps.
      tag: The name of the scalar.

    Raises:
      TypeError: If `learning_rate` or `rate_at` is not of its kind; the message says which.
      ValueError: If a schedule is not positive.
    """

    chief_only = True

    def __init__(
        self,
        learning_rate: Any,
        rate_at: Callable[[int], float] | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        tag: str = "learning_rate",
    ) -> None:
        if not isinstance(learning_rate, (tf.Variable, tf.Tensor)):
            raise TypeError(f"learning_rate must be a variable or a tensor, not {learning_rate!r}")
        if rate_at is not None and not callable(rate_at):
            raise TypeError(f"rate_at must be a function of the step, or None, not {rate_at!r}")
        if rate_at is not None and not isinstance(learning_rate, tf.Variable):
            raise TypeError(f"learning_rate must be a variable where rate_at sets it, not {learning_rate!r}")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        if self.trigger is not None:  # else nothing is connected to `step`
            self.fetches = learning_rate
            self.on_step = self._record_at_step  # type: ignore[method-assign]
        self._learning_rate = learning_rate
        self._rate_at = rate_at
        self._tag = tag
        self._setting: Handle | None = None

    def setup_graph(self, supervisor: Supervisor) -> None:
        if self._rate_at is not None:
            self._next = tf.compat.v1.placeholder(self._learning_rate.dtype.base_dtype, [])
            self._assign = tf.compat.v1.assign(self._learning_rate, self._next).op

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        if self._rate_at is None:
            return
        self._current: float | None = None
        self._set(supervisor, event)
        if self._setting is None:
            self._setting = supervisor.on(
                signals.step, self._set, name=f"{self.name}.rate_at", priority=self.priority
            )

    def on_session_restored(self, supervisor: Supervisor, event: events.SessionRestored) -> None:
        if self._rate_at is not None:
            self._current = None  # the variable may have been restored
            self._set(supervisor, event)

    def on_summary_due(self, supervisor: Supervisor, event: events.SummaryDue) -> None:
        if self.trigger is None:
            rate, step = supervisor.run_with_global_step(event.session, self._learning_rate)
            self._record(supervisor, event.session, rate, step)

    def _set(
        self, supervisor: Supervisor, event: events.SessionCreated | events.SessionRestored | events.Step
    ) -> None:
        assert self._rate_at is not None
        rate = self._rate_at(event.global_step or 0)
        if rate != self._current:
            supervisor.run_without_hooks(event.session, self._assign, {self._next: rate})
            self._current = rate

    def _record_at_step(self, supervisor: Supervisor, event: events.Step) -> None:
        self._record(supervisor, event.session, event.values, event.global_step)

    def _record(self, supervisor: Supervisor, session: Any, rate: Any, step: int | None) -> None:
        _logger.debug("%s at step %s: %g", self._tag, step, rate)
        if supervisor.summary_writer is not None:
            summary = tf.compat.v1.Summary(value=[{"tag": self._tag, "simple_value": float(rate)}])
            supervisor.summary_computed(session, summary, step)
