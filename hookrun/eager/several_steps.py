"""Several training steps in one call of a `tf.function`, with the iterator of the data inside."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import tensorflow as tf

from hookrun.eager import tf_internals
from hookrun.eager.data import Batches
from hookrun.eager.training_step import LoopSession, StepFunction

__all__ = ["CallsOfSteps", "NotInGraphError", "SeveralSteps", "arguments_of"]

_logger = logging.getLogger(__name__)


_CALL_SECS = 0.1
"""How long a call of several steps may take: no stop and no timer is looked at meanwhile."""

_MOST_STEPS = 10_000


class CallsOfSteps:
    """Makes the steps of `Loop.train`, as many in each call as may be.

    Args:
      session: The session of the loop.
      next_due: Returns the next step at which a hook is due, after one.
      should_stop: Returns whether the training is to stop.
      function: The step.
      batches: An iterator of batches.
      last_step: The step to end at; None for the end of the data.
      at_most: The number of steps in a call at most; "auto" for as many as may be.
    """

    def __init__(
        self,
        session: LoopSession,
        next_due: Callable[[int], float],
        should_stop: Callable[[], bool],
        function: StepFunction,
        batches: Iterator[Any],
        last_step: int | None,
        at_most: int | Literal["auto"],
    ) -> None:
        self._session = session
        self._next_due = next_due
        self._should_stop = should_stop
        self._function = function
        self._batches = batches
        self._last_step = math.inf if last_step is None else last_step
        self._at_most = math.inf if at_most == "auto" else at_most
        self._fastest_secs = math.inf

    def make(self) -> None:
        """Make all steps. The first is made by itself: it makes the variables that are made late."""
        several: SeveralSteps | None = None
        while self._session.last_step < self._last_step and not self._should_stop():
            count = self._steps_until_due() if several is not None else 1
            if several is None or count == 1:
                try:
                    batch = next(self._batches)
                except (StopIteration, tf.errors.OutOfRangeError):
                    return
                self._function(*arguments_of(batch))
                if several is None and self._at_most > 1:
                    several = self._made_several()
            elif self._make_several(several, count):
                return

    def _made_several(self) -> SeveralSteps | None:
        try:
            iterator = self._batches.iterator if isinstance(self._batches, Batches) else self._batches
            return SeveralSteps(self._function.function, iterator)
        except NotInGraphError as reason:
            _logger.warning("The steps are made one by one: %s", reason)
            self._at_most = 1
            return None

    def _make_several(self, several: SeveralSteps, count: int) -> bool:
        """Make `count` steps; return True where the data have ended."""
        with self._session.step() as done:
            start = time.monotonic()
            made, ended, results = several(count)
            if made:
                self._fastest_secs = min(self._fastest_secs, (time.monotonic() - start) / made)
                done(results, made)
        if ended and isinstance(self._batches, Batches):
            self._batches.end()
        return ended

    def _steps_until_due(self) -> int:
        """The number of steps to the next one at which anything is due, or as many as fit in a call."""
        step = self._session.last_step
        due = min(self._next_due(step), self._last_step) - step
        in_time = max(1.0, _CALL_SECS / self._fastest_secs) if self._fastest_secs else math.inf
        return int(max(1.0, min(due, self._at_most, in_time, _MOST_STEPS)))


class SeveralSteps:
    """Runs a step function in a loop of the graph.

    Args:
      function: The `tf.function` of one step, called with the elements of a batch. It has been called before:
      it
        makes no variables any more.
      iterator: The iterator of `tf.data`.

    Raises:
      NotInGraphError: If it cannot be run so; it says why.
    """

    def __init__(self, function: Any, iterator: Any) -> None:
        if not hasattr(function, "get_concrete_function"):
            raise NotInGraphError("the step is no tf.function")
        if tf_internals.iterator_resource(iterator) is None:
            raise NotInGraphError("the data are no iterator of tf.data")
        self._iterator = iterator
        specs = function.get_concrete_function(*arguments_of(iterator.element_spec)).structured_outputs
        if not all(isinstance(spec, (tf.TensorSpec, tf.Tensor)) for spec in tf.nest.flatten(specs)):
            raise NotInGraphError("the results of the step are not all tensors")
        self._run = _loop_in_graph(function, specs)

    def __call__(self, count: int) -> tuple[int, bool, Any]:
        """Make `count` steps, or as many as there are data for.

        Returns:
          The number of steps made, whether the data have ended, and the results of the last step.
        """
        made, ended, results = self._run(self._iterator, tf.constant(count, tf.int64))
        return int(made), bool(ended), results


class NotInGraphError(Exception):
    """Why steps cannot be made in a loop of the graph."""


def arguments_of(batch: Any) -> tuple[Any, ...]:
    """What a step function is called with for a batch: the elements of a tuple, or the batch itself."""
    return batch if isinstance(batch, tuple) else (batch,)


def _loop_in_graph(function: Callable[..., Any], specs: Any) -> Callable[..., Any]:
    shapes = tf.nest.map_structure(lambda spec: spec.shape, specs)

    @tf.function  # type: ignore[untyped-decorator]
    def run(iterator: Any, count: tf.Tensor) -> Any:
        def body(made: tf.Tensor, _: tf.Tensor, results: Any) -> Any:
            batch = iterator.get_next_as_optional()

            def step() -> Any:
                return made + 1, tf.constant(False), function(*arguments_of(batch.get_value()))

            return tf.cond(batch.has_value(), step, lambda: (made, tf.constant(True), results))

        nothing = tf.nest.map_structure(_zeros, specs)
        return tf.while_loop(
            lambda made, ended, _: tf.logical_and(made < count, tf.logical_not(ended)),
            body,
            (tf.constant(0, tf.int64), tf.constant(False), nothing),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([]), shapes),
            parallel_iterations=1,
        )

    in_graph: Callable[..., Any] = run
    return in_graph


def _zeros(spec: Any) -> tf.Tensor:
    if spec.shape.rank is None:
        raise NotInGraphError("a result of the step is of unknown rank")
    return tf.zeros([size or 0 for size in spec.shape], spec.dtype)
