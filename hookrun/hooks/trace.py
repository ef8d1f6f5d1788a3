"""TraceHook: writes what a training step ran, and how long each op of it took."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events, writers
from hookrun.runtime.hook import Hook
from hookrun.triggers import NextStep, required, schedule

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["TraceHook"]


class TraceHook(Hook):
    """Runs the training steps that are due with a trace, and writes their `RunMetadata` as ``step_N``.

    ```python
    sv = hookrun.Supervisor(logdir="runs/traced", hooks=[hooks.TraceHook(at_steps=[10, 50])])
    ```

    TensorBoard shows the time and memory of each op in its graph, as the host ran it; `ProfilerHook` shows
    the kernels of a GPU. A traced step is slower.

    Args:
      every_steps: Trace each multiple of this number of steps.
      every_secs: Trace the first step after each that many seconds.
      at_steps: Trace these steps.

    Raises:
      ValueError: If none of them is given, or one is not positive.
    """

    _only_in_graphs = "use tf.profiler.experimental around the steps"

    chief_only = True

    def __init__(
        self,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
    ) -> None:
        due = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self._next_step = NextStep(required(due, self.name))
        self._traced = threading.local()

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if runtime.summary_writer is None:
            raise ValueError(f"{self.name} needs a summary writer, and the Supervisor has none")
        self._traced = threading.local()
        self._next_step.start(event.global_step or 0)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._next_step.go_on_from(event.global_step)

    def before_run(self, context: Any) -> Any:
        self._traced.metadata = None
        if not self._next_step.is_due:
            return None
        # FULL_TRACE needs TensorFlow's only profiler, and fails the run while somebody else uses it.
        options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.SOFTWARE_TRACE)
        return tf.compat.v1.train.SessionRunArgs(None, options=options)

    def after_run(self, context: Any, values: Any) -> None:
        if self._next_step.is_due:
            self._traced.metadata = values.run_metadata

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        # Reached by a training step alone: an evaluation that was traced meanwhile is not written.
        if getattr(self._traced, "metadata", None) is not None:
            writer = writers.file_writer(runtime.summary_writer)
            writer.add_run_metadata(self._traced.metadata, f"step_{event.global_step}", event.global_step)
        self._next_step.after(event.global_step)
