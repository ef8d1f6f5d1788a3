"""StepCounterHook: measures how fast the training goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from hookrun import events
from hookrun.hooks.base import Hook
from hookrun.writers import flush_soon

if TYPE_CHECKING:
    from hookrun.supervisor import Supervisor

__all__ = ["StepCounterHook"]

_logger = logging.getLogger(__name__)


class StepCounterHook(Hook):
    """Writes the training steps per second, as `global_step/sec`, whenever summaries are due.

    The Supervisor adds this hook on the chief when it has a `logdir`, a global step, a `summary_writer`
    and an interval.

    Args:
      clock: Returns the time in seconds; it never goes backwards.
    """

    chief_only = True

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._time = 0.0
        self._step = 0

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        if supervisor.global_step is None:
            raise ValueError("StepCounterHook needs a global step, and the Supervisor has none")
        self._time, self._step = self._clock(), event.global_step or 0

    def on_summary_due(self, supervisor: Supervisor, event: events.SummaryDue) -> None:
        now, step = self._clock(), supervisor.read_global_step(event.session) or 0
        secs, steps = now - self._time, step - self._step
        self._time, self._step = now, step
        steps_per_sec = steps / secs if secs > 0 else float("inf")
        tag = f"{supervisor.global_step.op.name}/sec"
        summary = tf.compat.v1.Summary(
            value=[tf.compat.v1.Summary.Value(tag=tag, simple_value=steps_per_sec)]
        )
        supervisor.summary_computed(event.session, summary, step)
        flush_soon(supervisor.summary_writer)
        _logger.info("%s: %g", tag, steps_per_sec)
