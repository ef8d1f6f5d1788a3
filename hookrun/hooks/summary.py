"""SummaryHook: computes summaries when they are due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events
from hookrun.runtime.arguments import check_summary_op
from hookrun.runtime.hook import Hook
from hookrun.triggers import Trigger, schedule
from hookrun.writers import MultiWriter, flush_tick

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["SummaryHook"]

_logger = logging.getLogger(__name__)


class SummaryHook(Hook):
    """Computes summaries and writes them.

    ```python
    sv = hookrun.Supervisor(logdir="runs/summarized", hooks=[hooks.SummaryHook(every_steps=100)])
    ```

    Without a schedule they are due whenever `signals.summary_due` is sent, and computed in a run of their
    own on its thread. Where they depend on a `tf.compat.v1.placeholder`, they ride in the next training step
    that feeds it. A `placeholder_with_default` alone has its default.

    With a schedule they ride in the training steps at which they are due, or in the next one that feeds
    their placeholders.

    A histogram of values that are not finite is left out, with one warning; the other summaries are
    written. After each time the writers are flushed; a training step does not wait for that.

    The Supervisor adds this hook on the chief when it has a `logdir`, a `summary_op`, a `summary_writer`
    and an interval. One that is given takes its place; several may be.

    Args:
      summary_op: What returns the summaries; None for `runtime.summary_op`.
      every_steps: Write them at each multiple of this number of steps.
      every_secs: Write them at the first step after each that many seconds.
      at_steps: Write them at these steps.
      writers: Where they go besides `runtime.summary_writer`: what `hookrun.writers.file_writer` takes.
        Opened and closed with each session; one that fails is reported, and holds up nothing.

    Raises:
      TypeError, ValueError: If the summary op, a schedule or a writer is not what it should be; the message
        says which.
    """

    chief_only = True

    def __init__(
        self,
        summary_op: Any = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        writers: Iterable[Any] = (),
    ) -> None:
        if summary_op is not None:
            check_summary_op(summary_op)
        self._summary_op = summary_op
        self._schedule = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self._writers = MultiWriter(writers)
        self._summaries: Any = None
        self._ride: _Ride | None = None

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._writers.reopen()
        start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        self._writers.add_session_log(start, event.global_step + 1 if event.global_step else 0)
        if runtime.step_name is None:
            _logger.warning("Without a global step, summaries are numbered by the steps of their session")
        for hook in runtime.hooks:
            if isinstance(hook, _Ride) and hook.owner is self:  # of a session before
                runtime.remove_hook(hook)
        self._summaries = self._ride = None
        self._prepared(runtime)

    def on_summary_due(self, runtime: Runtime, event: events.SummaryDue) -> None:
        summaries = self._prepared(runtime)
        if self._ride is not None:
            if self._schedule is None:
                self._ride.due.set()
            return
        try:
            summary, step = summaries.compute(event.session)
        except tf.errors.OutOfRangeError as error:  # summaries that read the input meet its end as steps do
            _logger.info("The input has ended: no more summaries. %s", error.message)
            runtime.request_stop(error)
            return
        if step is None:
            step = event.session.last_step or None
        self._write(runtime, event.session, summary, step)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        self._writers.add_session_log(log, event.global_step + 1)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        self._writers.close()

    def _prepared(self, runtime: Runtime) -> Any:
        """The summaries; from the first time, they ride in training steps where they are to."""
        if self._summaries is None:
            self._summaries = runtime.summaries(self._summary_op)
            if self._summaries is None:
                raise ValueError(f"{self.name} needs a summary op, and neither it nor the Supervisor has one")
            if self._schedule is not None or self._summaries.need_a_step:
                self._ride = _Ride(self, self._summaries, _Due(self._schedule))
                runtime.add_hook(self._ride)
        return self._summaries

    def _write(self, runtime: Runtime, session: Any, summary: bytes, step: int | None) -> None:
        level = logging.DEBUG if runtime.in_training_step else logging.INFO  # as TensorFlow's, on a timer
        _logger.log(level, "Recording summary at step %s.", step)
        if runtime.summary_writer is not None or not self._writers:
            runtime.summary_computed(session, summary, step)
            flush_tick(runtime.summary_writer, wait=not runtime.in_training_step)
        self._writers.add_summary(summary, step)
        flush_tick(self._writers, wait=not runtime.in_training_step)


class _Ride(Hook):
    """Takes the summaries of a `SummaryHook` along in training steps."""

    on_unfed = "skip"
    _fits_loops = True

    def __init__(self, owner: SummaryHook, summaries: Any, due: _Due) -> None:
        self.name = f"{owner.name} in the step"
        self.priority = owner.priority
        self.on_error = owner.on_error
        self.fetches = summaries.fetches
        self.trigger = self.due = due
        self.owner = owner
        self._summaries = summaries

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        if self.owner not in runtime.hooks:
            runtime.remove_hook(self)
        elif self.due.take():
            summary = self._summaries.merged(event.session, event.values)
            self.owner._write(runtime, event.session, summary, event.global_step)


class _Due(Trigger):
    """Fires from when `set` was called, or the schedule fired, at every step until one has taken it."""

    def __init__(self, schedule: Trigger | None) -> None:
        self._schedule = schedule
        self._lock = threading.Lock()
        self._pending = False

    def set(self) -> None:
        with self._lock:
            self._pending = True

    def take(self) -> bool:
        """True for the first step that brings the summaries, of several at once."""
        with self._lock:
            pending, self._pending = self._pending, False
        return pending

    def start(self, step: int) -> None:
        self.take()
        if self._schedule is not None:
            self._schedule.start(step)

    def go_on_from(self, step: int) -> None:
        if self._schedule is not None:
            self._schedule.go_on_from(step)

    def __call__(self, step: int) -> bool:
        if self._schedule is not None and self._schedule(step):
            self.set()
        return self._pending

    def state_dict(self) -> dict[str, Any]:
        return {} if self._schedule is None else self._schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._schedule is not None:
            self._schedule.load_state_dict(state)
