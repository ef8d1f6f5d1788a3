"""LoopRuntime: what a training in TensorFlow 2 is to its hooks, whoever makes its steps."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from hookrun.checkpoints import restore
from hookrun.checkpoints.directory import undo_interrupted_save
from hookrun.eager.data import DataPositions
from hookrun.eager.restoring import restore_checkpoint, step_of
from hookrun.eager.snapshots import LoopProvider, Snapshots
from hookrun.eager.summaries import LoopSummaries
from hookrun.eager.training_step import LoopSession
from hookrun.eager.values import StepValues, check_fetches
from hookrun.hooks import CheckpointHook, StepCounterHook, SummaryHook
from hookrun.runtime.arguments import make_logdir
from hookrun.runtime.hook import Hook
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriber import Subscriber, overrides

__all__ = ["LoopRuntime"]

_OF_GRAPHS = ("setup_graph", "before_run", "after_run")

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""What the name of a variable's tensor adds to its own."""

GLOBAL_STEP_KEY = "hookrun/global_step"
"""The name under which a checkpoint holds the global step."""


class LoopRuntime(Runtime):
    """A training in TensorFlow 2: what it saves and restores, and which hooks fit it.

    Args:
      checkpoint: The `tf.train.Checkpoint` of all that the training changes; None to save nothing.
      step_variable: A variable that holds the global step; None where it is counted alone.
      **arguments: As for `Runtime`.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint | None, step_variable: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._checkpoint = checkpoint
        self._snapshots = None if checkpoint is None else Snapshots(checkpoint)
        self._step_variable = _checked_step_variable(step_variable)
        self._steps = LoopSession(self, 0)
        self._data: DataPositions

    @property
    def global_step(self) -> int:
        """The number of training steps made so far, those before a restart included."""
        return self._steps.last_step

    def read_global_step(self, sess: Any) -> int | None:
        """The number of training steps made so far in a session."""
        return int(sess.last_step)

    def values_of(self, sess: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """The values of variables, reported metrics, functions without a use for results, and structures of
        these.

        Raises:
          TypeError: If something is fed.
        """
        if feed_dict is not None:
            raise TypeError("nothing is fed in a Loop: give a function that computes what is wanted")
        return StepValues(None, lambda: self.metrics).of(fetches)

    def finite_checks(self) -> dict[str, Any]:
        """Whether all values of the floating-point variables in the checkpoint are finite, by their names."""
        variables = {} if self._snapshots is None else self._snapshots.variables()
        return {
            name.removesuffix(_VALUE): functools.partial(_is_finite, variable)
            for name, variable in variables.items()
            if variable.dtype.is_floating or variable.dtype.is_complex
        }

    def summaries(self, summary_op: Any) -> LoopSummaries:
        """The numbers among the results of the steps; there is no summary op in a loop."""
        return LoopSummaries()

    def snapshot_provider(self, session: Any, background: bool) -> LoopProvider:
        """What the checkpoint holds, with the global step and the positions in the data."""
        assert self._snapshots is not None
        return LoopProvider(self._snapshots, self._saved_besides, background)

    def _saved_besides(self) -> dict[str, Any]:
        step = self.global_step
        if self._step_variable is not None:
            self._step_variable.assign(step)
        return {GLOBAL_STEP_KEY: tf.constant(step, tf.int64), **self._data.tensors()}

    def between_steps(self, timeout_secs: float | None = None) -> AbstractContextManager[bool]:
        """As `Runtime.between_steps`. On another thread than that of the training, the block begins when a
        step
        has ended, before the training takes its next batch: the position in the data is that of the step."""
        return self._after_a_step(timeout_secs)

    @contextlib.contextmanager
    def _after_a_step(self, timeout_secs: float | None) -> Iterator[bool]:
        session = self._session
        waiting = contextlib.nullcontext() if session is None else session.after_a_step(timeout_secs)
        with waiting, self._gate.alone(timeout_secs) as in_time:
            yield in_time

    def _subscribe(self, hook: Subscriber) -> None:
        wrong = [method for method in _OF_GRAPHS if overrides(hook, method)]
        wrong += ["on_unfed"] if hook.on_unfed != "stop" else []
        if hook._only_in_graphs is not None or (wrong and not hook._fits_loops):
            reason = (
                hook._only_in_graphs or f"{' and '.join(wrong)} belong to graphs, and would never be called"
            )
            raise TypeError(f"{hook.name} cannot be used in a Loop: {reason}")
        if self._is_chief and isinstance(hook, CheckpointHook):
            if self._snapshots is None or self._logdir is None:
                raise ValueError(
                    f"{hook.name} needs a `checkpoint` and a `logdir`, and the Loop does not have both"
                )
            make_logdir(self._logdir)
        self._check_fetches(hook.name, hook._own_fetches)
        super()._subscribe(hook)

    def _check_fetches(self, name: str, fetches: Any) -> None:
        check_fetches(name, fetches)

    def _default_hooks(self, given: Sequence[Hook]) -> Iterator[Hook]:
        """The standard services that the arguments ask for, without those that `given` replaces."""
        services = self._is_chief and self._logdir is not None
        summaries = self.summary_writer is not None and (
            self._save_summaries_secs or self._save_summaries_steps
        )
        checkpoints = self._checkpoint is not None and (self._save_model_secs or self._save_model_steps)
        wanted: dict[type[Hook], Any] = {
            SummaryHook: services and summaries,
            StepCounterHook: services and summaries,
            CheckpointHook: services and checkpoints,
        }
        for kind, is_wanted in wanted.items():
            if is_wanted and not any(isinstance(hook, kind) for hook in given):
                yield kind()

    def _restored(self) -> tuple[str | None, int]:
        """Restore the newest intact checkpoint; return its prefix, or None without one, and the step."""
        prefix = None
        if self._checkpoint is not None and self._save_path is not None:
            undo_interrupted_save(self._save_path)
            prefix = restore.newest_intact(self._save_path)
        if prefix is not None:
            restore_checkpoint(self._checkpoint, prefix)
            return prefix, step_of(prefix, GLOBAL_STEP_KEY, self._step_variable)
        return None, self.global_step if self._step_variable is None else int(self._step_variable.numpy())

    def _running_session(self, what: str) -> LoopSession:
        if self._session is None:
            raise RuntimeError(f"{what} is a training step: it is called inside of `with loop:` alone")
        session: LoopSession = self._session
        return session

    def _close_session(self, ending: Ending) -> None:
        if ending.to_close is not None:
            ending.to_close.close()


def _is_finite(variable: tf.Variable, results: Any) -> tf.Tensor:
    value = tf.abs(variable) if variable.dtype.is_complex else tf.convert_to_tensor(variable)
    return tf.reduce_all(tf.math.is_finite(value))


def _checked_step_variable(variable: Any) -> Any:
    """The variable of the global step, of TensorFlow or of Keras; None without."""
    if variable is None:
        return None
    if not hasattr(variable, "assign") or not hasattr(variable, "numpy"):
        raise TypeError(f"global_step must be an integer variable or None, not {variable!r}")
    if not tf.as_dtype(variable.dtype).is_integer:
        raise TypeError(
            f"global_step must be an integer variable, not of type {variable.dtype}: {variable!r}"
        )
    return variable
