"""LearningRateHook: sets the learning rate, and records it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events, signals
from hookrun.runtime.graph_training import in_graph
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import only_if
from hookrun.triggers import schedule
from hookrun.writers.scalars import as_number, check_is_number

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime
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
      learning_rate: The variable that the optimizer reads, or the optimizer itself where it is one of Keras;
        or, to be recorded only, a tensor.
      rate_at: Called with the number of steps made so far, returns the rate for the next one, on the thread
        of the step. None to set nothing.
      every_steps: Record the rate at each multiple of this number of steps.
      every_secs: Record the rate at the first step after each that many seconds.
      at_steps: Record the rate at these steps.
      tag: The name of the scalar.

    Raises:
      TypeError: If `learning_rate` or `rate_at` is not of its kind; the message says which.
      ValueError: If `learning_rate` is of several numbers, or a schedule not positive.
    """

    chief_only = True
    _fits_loops = True

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
        learning_rate = getattr(learning_rate, "learning_rate", learning_rate)  # of an optimizer of Keras
        if not isinstance(learning_rate, (tf.Variable, tf.Tensor)):  # a variable of Keras
            learning_rate = getattr(learning_rate, "value", learning_rate)
        if not isinstance(learning_rate, (tf.Variable, tf.Tensor)):
            raise TypeError(f"learning_rate must be a variable or a tensor, not {learning_rate!r}")
        check_is_number(learning_rate, f"{self.name}: learning_rate")
        if rate_at is not None and not callable(rate_at):
            raise TypeError(f"rate_at must be a function of the step, or None, not {rate_at!r}")
        if rate_at is not None:
            signals.check_runs("rate_at", rate_at)
        if rate_at is not None and not isinstance(learning_rate, tf.Variable):
            raise TypeError(f"learning_rate must be a variable where rate_at sets it, not {learning_rate!r}")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self.fetches = None if self.trigger is None else learning_rate
        self._learning_rate = learning_rate
        self._rate_at = rate_at
        self._tag = tag
        self._setting: Handle | None = None
        self._assign: Any = None

    def setup_graph(self, runtime: Runtime) -> None:
        if self._rate_at is not None:
            self._next = tf.compat.v1.placeholder(self._learning_rate.dtype.base_dtype, [])
            self._assign = tf.compat.v1.assign(self._learning_rate, self._next).op

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if self._setting is not None:
            self._setting.remove()  # of a session before
        if self._rate_at is None:
            return
        self._current: float | None = None
        self._set(runtime, event)
        self._setting = runtime.on(
            signals.step, self._set, name=f"{self.name}.rate_at", priority=self.priority
        )

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        if self._rate_at is not None:
            self._current = None  # the variable may have been restored
            self._set(runtime, event)

    @only_if(lambda hook: hook.trigger is None)
    def on_summary_due(self, runtime: Runtime, event: events.SummaryDue) -> None:
        rate = runtime.values_of(event.session, self._learning_rate)
        self._record(runtime, event.session, rate, runtime.read_global_step(event.session))

    def _set(
        self, runtime: Runtime, event: events.SessionCreated | events.SessionRestored | events.Step
    ) -> None:
        assert self._rate_at is not None
        step = event.global_step or 0
        rate = as_number(self._rate_at(step), f"{self.name}: rate", f"rate_at({step})")
        if rate != self._current:
            if self._assign is None:
                self._learning_rate.assign(rate)
            else:
                in_graph(runtime).run_without_hooks(event.session, self._assign, {self._next: rate})
            self._current = rate

    @only_if(lambda hook: hook.trigger is not None)
    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        self._record(runtime, event.session, event.values, event.global_step)

    def _record(self, runtime: Runtime, session: Any, rate: Any, step: int | None) -> None:
        rate = as_number(rate, f"{self.name}: learning_rate", self._tag)
        _logger.debug("%s at step %s: %g", self._tag, step, rate)
        if runtime.summary_writer is not None:
            summary = tf.compat.v1.Summary(value=[{"tag": self._tag, "simple_value": rate}])
            runtime.summary_computed(session, summary, step)
