"""StepCounterHook: measures how fast the training goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from hookrun import events, signals
from hookrun.runtime.hook import Hook
from hookrun.runtime.step_rate import StepRate
from hookrun.runtime.subscriptions import HOOK_TIMES
from hookrun.writers import flush_tick

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["HOOK_TIMES", "StepCounterHook"]

_logger = logging.getLogger(__name__)


class StepCounterHook(Hook):
    """Writes the training steps per second, as `global_step/sec`, whenever summaries are due and the step has
    not gone back.

    ```python
    sv = hookrun.Supervisor(logdir="runs/counted", save_summaries_secs=30, hooks=[hooks.StepCounterHook()])
    ```

    At the end of a session in which anything was called at training steps, it writes the time that each hook
    took, as a text: TensorBoard and ``hookrun report`` show it as a table.

    The Supervisor adds this hook on the chief when it has a `logdir`, a global step, a `summary_writer`
    and an interval.

    Args:
      clock: Returns the time in seconds; it never goes backwards.
    """

    chief_only = True

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = StepRate(clock)

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if runtime.step_name is None:
            raise ValueError("StepCounterHook needs a global step, and the Supervisor has none")
        self._rate = StepRate(self._clock)
        self._rate.start(event.global_step or 0)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._rate.start(event.global_step)

    def on_summary_due(self, runtime: Runtime, event: events.SummaryDue) -> None:
        step = runtime.read_global_step(event.session) or 0
        steps_per_sec = self._rate(step)
        if steps_per_sec is not None:
            tag = f"{runtime.step_name}/sec"
            summary = tf.compat.v1.Summary(value=[{"tag": tag, "simple_value": steps_per_sec}])
            runtime.summary_computed(event.session, summary, step)
            level = logging.DEBUG if runtime.in_training_step else logging.INFO  # as TensorFlow's, on a timer
            _logger.log(level, "%s: %g", tag, steps_per_sec)
        flush_tick(runtime.summary_writer, wait=not runtime.in_training_step)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        rows = [row for row in runtime.hook_times() if row.count]
        if runtime.summary_writer is None or not any(row.signal == signals.step.name for row in rows):
            return
        lines = [
            "| called | calls | seconds | ms on average | ms at most |",
            "| --- | --: | --: | --: | --: |",
        ]
        lines += [
            f"| {row.name} | {row.count} | {row.total_secs:.3f} "
            f"| {row.mean_secs * 1e3:.3f} | {row.max_secs * 1e3:.3f} |"
            for row in rows
        ]
        table = tf.compat.v1.Summary.Value(
            tag=HOOK_TIMES,
            tensor=tf.make_tensor_proto("\n".join(lines)),
            metadata={"plugin_data": {"plugin_name": "text"}},
        )
        summary = tf.compat.v1.Summary(value=[table])
        runtime.summary_computed(event.session, summary, event.session.last_step)
