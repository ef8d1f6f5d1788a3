"""EvaluationHook: measures the model now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hookrun import events
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule
from hookrun.writers import flush_soon
from hookrun.writers.formatting import format_values

if TYPE_CHECKING:
    from hookrun.graph.supervisor import Supervisor

__all__ = ["EvaluationHook"]

_logger = logging.getLogger(__name__)


class EvaluationHook(Hook):
    """Evaluates the model, writes the metrics to a TensorBoard run of their own, and reports them.

    ```python
    def evaluate(session):
        return {"loss on the test set": session.run(loss)}

    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[hooks.EvaluationHook(evaluate, every_steps=50)])
    ```

    It happens on the thread of the training step, or by checkpoints on the one that saves, and no other step
    runs meanwhile: all that is measured is the model of one step. At a clean end, the last step is evaluated
    too, before the final checkpoint is saved; an interrupt (Ctrl-C, SIGTERM) does not wait for that.

    The metrics are made known with `Supervisor.report_metrics`, to the hooks and to the checkpoints: at the
    same step to the hooks that stand after this one in `hooks=`, to the others at their next one. In
    TensorBoard they are scalars of the run ``eval`` beneath that of the training. Where the Supervisor's
    `summary_writer` is not a `hookrun.writers.EventFileWriter`, they are of that of the training, named
    ``eval/accuracy``.

    Args:
      evaluate: What is measured: fetches that give one number each, by the name of the metric; or a function
        that is called with the session and returns numbers by name.
      feeds: For fetches: a function that returns an iterable of feed dictionaries. The fetches are run with
        each of them, and averaged, each with the same weight. None to run them once, without a feed.
      every_steps: Evaluate at each multiple of this number of steps.
      every_secs: Evaluate at the first step after each that many seconds.
      at_steps: Evaluate at these steps.
      every_checkpoints: Evaluate the model that is about to be saved, each that many checkpoints: the metrics
        are then those by which `hooks.retention.BestN` keeps this very checkpoint.
      at_end: False to leave out the last step.
      directory: The name of the run in TensorBoard: a directory in that of the `summary_writer`.

    Raises:
      TypeError: If `evaluate` or `feeds` is not of its kind; the message says which.
      ValueError: If there is no schedule, or one is not positive.
    """

    chief_only = True

    def __init__(
        self,
        evaluate: Mapping[str, Any] | Callable[[Any], Mapping[str, float]],
        feeds: Callable[[], Iterable[Any]] | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        every_checkpoints: int | None = None,
        at_end: bool = True,
        directory: str = "eval",
    ) -> None:
        if not isinstance(evaluate, Mapping) and not callable(evaluate):
            raise TypeError(
                f"evaluate must be fetches by name or a function of the session, not {evaluate!r}"
            )
        if feeds is not None and not callable(feeds):
            raise TypeError(f"feeds must be a function that returns feed dictionaries, not {feeds!r}")
        if feeds is not None and not isinstance(evaluate, Mapping):
            raise TypeError(f"feeds is for fetches; the function {evaluate!r} feeds what it runs itself")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        if self.trigger is not None:  # else nothing is connected to `step`
            self.on_step = self._evaluate_step  # type: ignore[method-assign]
        elif every_checkpoints is None:
            raise ValueError(
                f"{self.name} needs one of every_steps, every_secs, at_steps and every_checkpoints"
            )
        if every_checkpoints is not None:
            if (
                isinstance(every_checkpoints, bool)
                or not isinstance(every_checkpoints, int)
                or every_checkpoints < 1
            ):
                raise ValueError(
                    f"every_checkpoints must be a positive number of checkpoints, not {every_checkpoints!r}"
                )
            self._until_due = self._every_checkpoints = every_checkpoints
            self.on_checkpoint_saving = self._evaluate_saved  # type: ignore[method-assign]
        self._evaluate = evaluate
        if isinstance(evaluate, Mapping):
            self._own_fetches = dict(evaluate)
        self._feeds = feeds
        self._at_end = at_end
        self._directory = directory

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        self._evaluated: int | None = None
        self._ended = False

    def on_session_restored(self, supervisor: Supervisor, event: events.SessionRestored) -> None:
        self._evaluated = None

    def _evaluate_step(self, supervisor: Supervisor, event: events.Step) -> None:
        with supervisor.between_steps():
            self._measure(supervisor, event.session, supervisor.read_global_step(event.session))

    def _evaluate_saved(self, supervisor: Supervisor, event: events.CheckpointSaving) -> None:
        if self._ended or event.refused is not None:
            return
        self._until_due -= 1
        if self._until_due == 0:
            self._until_due = self._every_checkpoints
            if event.global_step is None or event.global_step != self._evaluated:
                self._measure(supervisor, event.session, event.global_step)

    def on_stop(self, supervisor: Supervisor, event: events.Stop) -> None:
        self._ended = True
        if self._at_end and event.error is None and not event.session.closed:
            step = supervisor.read_global_step(event.session)
            if step is None or step != self._evaluated:
                self._measure(supervisor, event.session, step)

    def _measure(self, supervisor: Supervisor, session: Any, step: int | None) -> None:
        self._evaluated = step
        metrics: Mapping[str, float]
        if isinstance(self._evaluate, Mapping):
            metrics = self._averaged(supervisor, session, self._evaluate)
        else:
            metrics = self._evaluate(session)
            if not isinstance(metrics, Mapping):
                raise TypeError(f"evaluate must return numbers by name, and returned {metrics!r}")
        supervisor.report_metrics(metrics)
        _logger.info("Evaluated at step %s: %s", step, format_values(metrics))
        if supervisor.summary_writer is not None:
            self._write(supervisor, session, metrics, step)

    def _averaged(self, supervisor: Supervisor, session: Any, fetches: Mapping[str, Any]) -> dict[str, float]:
        feeds = [None] if self._feeds is None else self._feeds()
        values = [supervisor.run_without_hooks(session, dict(fetches), feed) for feed in feeds]
        if not values:
            raise ValueError("feeds returned no feed dictionary, and there is nothing to average")
        return {name: float(np.mean([value[name] for value in values])) for name in fetches}

    def _write(
        self, supervisor: Supervisor, session: Any, metrics: Mapping[str, float], step: int | None
    ) -> None:
        beneath = getattr(supervisor.summary_writer, "beneath", None)
        prefix = "" if beneath else f"{self._directory}/"
        values = [{"tag": prefix + name, "simple_value": float(value)} for name, value in metrics.items()]
        summary = tf.compat.v1.Summary(value=values)
        if beneath is None:
            supervisor.summary_computed(session, summary, step)
        else:
            writer = beneath(self._directory)
            writer.add_summary(summary, step)
            flush_soon(writer)
