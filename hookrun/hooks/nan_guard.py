"""NanGuardHook: ends a training that has diverged, and keeps the diverged model from being saved."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from hookrun import events
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["NanGuardHook"]

_logger = logging.getLogger(__name__)


class NanGuardHook(Hook):
    """Ends the training when a tensor holds NaN or infinity, and names the tensor and the step.

    ```python
    sv = hookrun.Supervisor(logdir="runs/guarded", hooks=[hooks.NanGuardHook(loss)])
    ```

    Nothing is saved from then on. A loss is computed before its step's own update, and says nothing of what
    the update does: so before each checkpoint the trainable variables are looked at too, and a model with
    one that is not finite ends the training and is not saved. The next run starts from the newest
    checkpoint of a model that was finite.

    For gradients, give their `tf.linalg.global_norm`: one number, which is not finite where one of them is
    not.

    Args:
      tensors: A tensor or several, of any shape, or their names; they ride in the step itself.
      then: "raise" to raise a `FloatingPointError` from the next training step and the end of the session;
        "stop" to stop the training as at its end, with an error in the log alone.
      every_steps: Look at each multiple of this number of steps; at every step without a schedule. Between
        two looks a model may be saved whose loss is infinite, but not its variables: save at these steps.
      every_secs: Look at the first step after each that many seconds.
      at_steps: Look at these steps.

    Raises:
      TypeError: If `tensors` are not tensors or names, or are not of numbers.
      ValueError: If there is no tensor, or another argument is not what it should be.
    """

    _fits_loops = True

    def __init__(
        self,
        tensors: Any,
        *,
        then: Literal["raise", "stop"] = "raise",
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
    ) -> None:
        given = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        if not given:
            raise ValueError(f"tensors must hold at least one, not {tensors!r}")
        self.fetches = [_of_numbers(tensor) for tensor in given]
        self._names = [_name(tensor) for tensor in self.fetches]
        if then not in ("raise", "stop"):
            raise ValueError(f"then must be 'raise' or 'stop', not {then!r}")
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self._then = then
        self._found: str | None = None
        self._variables_finite: dict[str, Any] | None = None

    def setup_graph(self, runtime: Runtime) -> None:
        self._variables_finite = {}
        with tf.name_scope("hookrun/nan_guard"):
            for variable in tf.compat.v1.trainable_variables():
                if variable.dtype.is_floating or variable.dtype.is_complex:
                    with tf.device(variable.device):
                        self._variables_finite[_name(variable)] = _all_finite(variable)

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._found = None

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        finite = [bool(np.isfinite(value).all()) for value in event.values]
        self._end_unless(finite, self._names, runtime, event.global_step)

    def on_checkpoint_saving(self, runtime: Runtime, event: events.CheckpointSaving) -> None:
        try:
            if self._found is None:
                checks = runtime.finite_checks() if self._variables_finite is None else self._variables_finite
                finite = runtime.values_of(event.session, list(checks.values()))
                self._end_unless(finite, checks, runtime, event.global_step)
        finally:
            event.refused = self._found or event.refused

    def _end_unless(
        self, finite: Sequence[bool], names: Iterable[str], runtime: Runtime, step: int | None
    ) -> None:
        if all(finite):
            return
        found = ", ".join(name for name, is_finite in zip(names, finite, strict=True) if not is_finite)
        self._found = f"not finite at step {step}: {found}"
        if self._then == "raise":
            raise FloatingPointError(self._found)
        _logger.error("The training stops: %s", self._found)
        runtime.request_stop()


def _of_numbers(tensor: Any) -> Any:
    """The tensor itself, or that of the values of a sparse one, such as the gradient of an embedding."""
    if isinstance(tensor, (tf.IndexedSlices, tf.SparseTensor)):
        tensor = tensor.values
    dtype = getattr(tensor, "dtype", None)
    if isinstance(dtype, tf.DType) and dtype.base_dtype in (tf.string, tf.resource, tf.variant):
        raise TypeError(f"tensors must be of numbers, not of {dtype.name}: {tensor!r}")
    return tensor


def _name(tensor: Any) -> str:
    name = tensor if isinstance(tensor, str) else getattr(tensor, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"tensors must be a tensor or several, or their names, not {tensor!r}")
    return name.removesuffix(":0")


def _all_finite(variable: Any) -> Any:
    value = tf.convert_to_tensor(variable)
    parts = [tf.math.real(value), tf.math.imag(value)] if value.dtype.is_complex else [value]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in parts])
