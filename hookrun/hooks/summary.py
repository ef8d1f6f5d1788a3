"""SummaryHook: computes summaries when they are due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events
from hookrun.graph.graph_ops import check_summary_op
from hookrun.graph.steps import StepOps
from hookrun.runtime.hook import Hook
from hookrun.triggers import Trigger, schedule
from hookrun.writers import MultiWriter, flush_tick

if TYPE_CHECKING:
    from hookrun.graph.session import ManagedSession
    from hookrun.graph.supervisor import Supervisor

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
      summary_op: What returns the summaries; None for `supervisor.summary_op`.
      every_steps: Write them at each multiple of this number of steps.
      every_secs: Write them at the first step after each that many seconds.
      at_steps: Write them at these steps.
      writers: Where they go besides `supervisor.summary_writer`: what `hookrun.writers.file_writer` takes.
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
        self._summaries: _Summaries | None = None
        self._ride: _Ride | None = None

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        self._writers.reopen()
        if supervisor.global_step is None:
            _logger.warning(
                "Without a global step, summaries are written at the number of the steps of their session"
            )
        self._prepared(supervisor)

    def on_summary_due(self, supervisor: Supervisor, event: events.SummaryDue) -> None:
        summaries = self._prepared(supervisor)
        if self._ride is not None:
            if self._schedule is None:
                self._ride.due.set()
            return
        try:
            try:
                summary, step = supervisor.run_with_global_step(event.session, self._summary_op)
            except tf.errors.InvalidArgumentError:  # perhaps of a histogram
                values, step = supervisor.run_with_global_step(event.session, summaries.fetches)
                summary = summaries.merged(supervisor, event.session, values)
        except tf.errors.OutOfRangeError as error:  # summaries that read the input meet its end as steps do
            _logger.info("The input has ended: no more summaries. %s", error.message)
            supervisor.request_stop(error)
            return
        if step is None:
            step = event.session.last_step or None
        self._write(supervisor, event.session, summary, step)

    def on_session_restored(self, supervisor: Supervisor, event: events.SessionRestored) -> None:
        log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        self._writers.add_session_log(log, event.global_step + 1)

    def on_stop(self, supervisor: Supervisor, event: events.Stop) -> None:
        self._writers.close()

    def _prepared(self, supervisor: Supervisor) -> _Summaries:
        """The summaries; from the first time, they ride in training steps where they are to."""
        if self._summaries is None:
            if self._summary_op is None:
                self._summary_op = supervisor.summary_op
            if self._summary_op is None:
                raise ValueError(f"{self.name} needs a summary op, and neither it nor the Supervisor has one")
            self._summaries = _Summaries(supervisor.graph, self._summary_op)
            if self._schedule is not None or self._summaries.depend_on_placeholder:
                self._ride = _Ride(self, self._summaries, _Due(self._schedule))
                supervisor.add_hook(self._ride)
        return self._summaries

    def _write(
        self, supervisor: Supervisor, session: ManagedSession, summary: bytes, step: int | None
    ) -> None:
        level = logging.DEBUG if supervisor.in_training_step else logging.INFO  # as TensorFlow's, on a timer
        _logger.log(level, "Recording summary at step %s.", step)
        if supervisor.summary_writer is not None or not self._writers:
            supervisor.summary_computed(session, summary, step)
            flush_tick(supervisor.summary_writer, wait=not supervisor.in_training_step)
        self._writers.add_summary(summary, step)
        flush_tick(self._writers, wait=not supervisor.in_training_step)


class _Ride(Hook):
    """Takes the summaries of a `SummaryHook` along in training steps."""

    on_unfed = "skip"

    def __init__(self, owner: SummaryHook, summaries: _Summaries, due: _Due) -> None:
        self.name = f"{owner.name} in the step"
        self.priority = owner.priority
        self.on_error = owner.on_error
        self.fetches = summaries.fetches
        self.trigger = self.due = due
        self._owner = owner
        self._summaries = summaries

    def on_step(self, supervisor: Supervisor, event: events.Step) -> None:
        if self._owner not in supervisor.hooks:
            supervisor.remove_hook(self)
        elif self.due.take():
            summary = self._summaries.merged(supervisor, event.session, event.values)
            self._owner._write(supervisor, event.session, summary, event.global_step)


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


class _Summaries:
    """The summaries that one op merges, with the histograms apart: they fail where a value is not finite.

    Args:
      graph: The graph.
      summary_op: What returns the summaries.
    """

    def __init__(self, graph: tf.Graph, summary_op: Any) -> None:
        merged = graph.as_graph_element(summary_op)
        self._summaries = list(_unmerged(merged))
        self._left_out: set[str] = set()
        self.depend_on_placeholder = bool(StepOps.unfed_placeholders([merged], ()))
        self.fetches = [_histogram_values(summary) for summary in self._summaries]

    def merged(self, supervisor: Supervisor, session: ManagedSession, values: Sequence[Any]) -> bytes:
        """The serialized summaries, from the values of `fetches`; histograms are computed in `session`."""
        parts = []
        for summary, fetch, value in zip(self._summaries, self.fetches, values, strict=True):
            if fetch is not summary:
                try:
                    value = supervisor.run_without_hooks(session, summary, {fetch: value})
                except tf.errors.InvalidArgumentError:
                    self._leave_out(summary.op.name)
                    continue
            parts.append(value)
        return b"".join(parts)  # one message after another is their merged message

    def _leave_out(self, name: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            _logger.warning("The histogram %s is left out where its values are not all finite", name)


def _unmerged(summary: tf.Tensor) -> Iterator[tf.Tensor]:
    if summary.op.type != "MergeSummary":
        yield summary
        return
    for part in summary.op.inputs:
        yield from _unmerged(part)


def _histogram_values(summary: tf.Tensor) -> tf.Tensor:
    """What `summary` is a histogram of; `summary` itself where it is of another kind."""
    if summary.op.type == "HistogramSummary" and summary.graph.is_feedable(summary.op.inputs[1]):
        return summary.op.inputs[1]
    return summary
