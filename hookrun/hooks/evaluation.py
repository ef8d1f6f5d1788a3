"""EvaluationHook: measures the model now and then."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hookrun import events
from hookrun.numeric import checked_int
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import only_if
from hookrun.signals import check_runs
from hookrun.triggers import schedule
from hookrun.writers import flush_soon
from hookrun.writers.formatting import format_values
from hookrun.writers.scalars import as_number, check_is_number

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["EvaluationHook"]

_logger = logging.getLogger(__name__)


class EvaluationHook(Hook):
    """Evaluates the model, writes the metrics to a TensorBoard run of their own, and reports them.

    ```python
    def evaluate(session):
        return {"loss on the test set": session.run(loss)}

    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[hooks.EvaluationHook(evaluate, every_steps=50)])
    ```

    It happens on the thread of the training step, or by checkpoints on the saving thread, and no other step
    runs meanwhile: all that is measured is the model of one step. At a clean end, the last step is evaluated
    too, before the final checkpoint is saved.

    A stop does not wait for an evaluation: one that goes on when a stop is requested, or the training is
    interrupted (Ctrl-C, SIGTERM) or fails, is broken off before its next run of the session, and nothing of
    it is reported or written. In a function of the program, that run raises what no ``except Exception``
    catches. A function that has written variables of the model, other weights for instance, is let finish,
    so that it puts back what was there; to be broken off with averaged weights, use
    `MovingAverageHook.swapped_in`. One that takes long between its runs, or makes them on other threads, may
    look at `Runtime.should_stop` itself.

    The metrics are made known with `Runtime.report_metrics`, to the hooks and to the checkpoints: at the
    same step to the hooks that stand after this one in `hooks=`, to the others at their next one. In
    TensorBoard they are scalars of the run ``eval`` beneath that of the training. Where the Supervisor's
    `summary_writer` is not a `hookrun.writers.EventFileWriter`, they are of that of the training, named
    ``eval/accuracy``.

    Args:
      evaluate: What is measured: fetches that give one number each, by the name of the metric; or a function
        that is called with the session and returns numbers by name.
      feeds: For fetches: a function that returns an iterable of feed dictionaries. The fetches are run with
        each of them, and averaged in float64, each with the same weight. None to run them once, without a
        feed.
      every_steps: Evaluate at each multiple of this number of steps.
      every_secs: Evaluate at the first step after each that many seconds.
      at_steps: Evaluate at these steps.
      every_checkpoints: Evaluate the model that is about to be saved, each that many checkpoints: the metrics
        are then those by which `hooks.retention.BestN` keeps this very checkpoint.
      at_end: False to leave out the last step.
      directory: The name of the run in TensorBoard: a directory in that of the `summary_writer`.

    Raises:
      TypeError: If `evaluate` or `feeds` is not of its kind; the message says which.
      ValueError: If there is no schedule, or one is not positive; if a fetch is of several numbers.
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
        if callable(evaluate):
            check_runs("evaluate", evaluate)
        if feeds is not None:
            check_runs("feeds", feeds, generator=True)
        if feeds is not None and not isinstance(evaluate, Mapping):
            raise TypeError(f"feeds is for fetches; the function {evaluate!r} feeds what it runs itself")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        if self.trigger is None and every_checkpoints is None:
            raise ValueError(
                f"{self.name} needs one of every_steps, every_secs, at_steps and every_checkpoints"
            )
        if every_checkpoints is not None:
            every_checkpoints = checked_int(
                "every_checkpoints", every_checkpoints, "a positive number of checkpoints"
            )
        self._every_checkpoints = every_checkpoints
        self._evaluate = evaluate
        if isinstance(evaluate, Mapping):
            for name, fetch in evaluate.items():
                check_is_number(fetch, f"{self.name}: metric {name!r}")
            self._own_fetches = dict(evaluate)
        self._feeds = feeds
        self._at_end = at_end
        self._directory = directory

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._until_due = self._every_checkpoints or 0
        self._evaluated: int | None = None
        self._ended = False

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._evaluated = None

    @only_if(lambda hook: hook.trigger is not None)
    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        with runtime.between_steps():
            self._measure(runtime, event.session, runtime.read_global_step(event.session))

    @only_if(lambda hook: hook._every_checkpoints is not None)
    def on_checkpoint_saving(self, runtime: Runtime, event: events.CheckpointSaving) -> None:
        if self._ended or event.refused is not None:
            return
        self._until_due -= 1
        if self._until_due == 0:
            self._until_due = self._every_checkpoints or 0
            if event.global_step is None or event.global_step != self._evaluated:
                self._measure(runtime, event.session, event.global_step)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        self._ended = True
        if self._at_end and event.error is None and not event.session.closed:
            step = runtime.read_global_step(event.session)
            if step is None or step != self._evaluated:
                self._measure(runtime, event.session, step)

    def _measure(self, runtime: Runtime, session: Any, step: int | None) -> None:
        self._evaluated = step
        stop = _Stop(runtime)
        metrics: dict[str, float] = {}
        with contextlib.suppress(_BrokenOff):
            if isinstance(self._evaluate, Mapping):
                metrics = self._averaged(runtime, session, self._evaluate, stop)
            else:
                metrics = self._returned(session, self._evaluate, stop)
        if stop.has_come:
            self._evaluated = None
            _logger.info("The evaluation at step %s is aborted: the training stops", step)
            return
        runtime.report_metrics(metrics)
        _logger.info("Evaluated at step %s: %s", step, format_values(metrics))
        if runtime.summary_writer is not None:
            self._write(runtime, session, metrics, step)

    def _averaged(
        self, runtime: Runtime, session: Any, fetches: Mapping[str, Any], stop: _Stop
    ) -> dict[str, float]:
        values: dict[str, list[float]] = {name: [] for name in fetches}
        empty = True
        for feed in [None] if self._feeds is None else self._feeds():
            stop.check()
            empty = False
            for name, value in runtime.values_of(session, dict(fetches), feed).items():
                values[name].append(self._number(name, value))
        if empty:
            raise ValueError("feeds returned no feed dictionary, and there is nothing to average")
        return {name: float(np.mean(numbers)) for name, numbers in values.items()}

    def _returned(self, session: Any, evaluate: Callable[[Any], Any], stop: _Stop) -> dict[str, float]:
        with session.runs_checked(stop.check):
            metrics = evaluate(session)
        if stop.has_come:
            raise _BrokenOff  # which the function has caught
        if not isinstance(metrics, Mapping):
            raise TypeError(f"evaluate must return numbers by name, and returned {metrics!r}")
        return {name: self._number(name, value) for name, value in metrics.items()}

    def _number(self, name: str, value: Any) -> float:
        return as_number(value, f"{self.name}: metric", name)

    def _write(self, runtime: Runtime, session: Any, metrics: Mapping[str, float], step: int | None) -> None:
        beneath = getattr(runtime.summary_writer, "beneath", None)
        prefix = "" if beneath else f"{self._directory}/"
        values = [{"tag": prefix + name, "simple_value": value} for name, value in metrics.items()]
        summary = tf.compat.v1.Summary(value=values)
        if beneath is None:
            runtime.summary_computed(session, summary, step)
        else:
            writer = beneath(self._directory)
            writer.add_summary(summary, step)
            flush_soon(writer)


class _BrokenOff(BaseException):
    """The evaluation makes no more runs. No ``except Exception`` of the program is to go on with the next."""


class _Stop:
    """Whether a stop has come, looked at before each run of an evaluation.

    A clean one that was requested before it began does not count: the last step is evaluated as any other.
    Nor does any once the evaluation has changed the model, which nobody else would put right.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._was_requested = runtime.should_stop()
        self._model_changed = False
        self.has_come = False

    def check(self, changes_model: bool = False) -> None:
        """Called before each run, with True where it writes variables of the model; raises `_BrokenOff`."""
        requested = self._runtime.should_stop() and not self._was_requested
        if not self._model_changed and (requested or self._runtime.coord.error is not None):
            self.has_come = True
            raise _BrokenOff
        self._model_changed |= changes_model
