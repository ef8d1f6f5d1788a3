"""Training steps of a loop in TensorFlow 2: which calls they are, their number, and who is told of them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import tensorflow as tf

from hookrun import events, signals
from hookrun.eager.values import StepValues
from hookrun.runtime.subscriptions import Subscription

if TYPE_CHECKING:
    from hookrun.eager.loop import Loop

__all__ = ["LoopSession", "StepFunction", "StepInBlock"]


class LoopSession:
    """One run of a `Loop`: from the beginning of its `with` block to the end.

    Args:
      loop: The loop.
      step: The number of steps that were made before.
    """

    def __init__(self, loop: Loop, step: int) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self.last_step = step
        """The number of steps made so far."""
        self.closed = False
        """True once the block has ended."""

    def catch_up(self) -> None:
        """Nothing is to be done: every step is counted."""

    @contextlib.contextmanager
    def step(self) -> Iterator[Callable[[Any, int], None]]:
        """A training step is made in the block, which no snapshot interrupts.

        Yields:
          What is called with its results and the number of steps that they are of, to tell the hooks.

        Raises:
          Exception: The error that stopped the training before it.
        """
        coord = self._loop.coord
        if coord.error is not None and coord.should_stop():
            raise coord.error
        with self._loop._gate:
            yield self._done

    def _done(self, results: Any, count: int = 1) -> None:
        with self._lock:
            self.last_step += count
            step = self.last_step
        references = signals.step.resolved_for(self._loop)
        if references:
            self._tell(step, results, references)

    def _tell(self, step: int, results: Any, references: tuple[signals.Reference, ...]) -> None:
        state = signals.step.state
        values = StepValues(results, self._loop._metrics)
        without_values = events.Step(step, self, results)  # type: ignore[arg-type]
        calls: list[signals.Call] = []
        told: list[events.Step] = []
        for reference in references:
            receiver = reference()
            if not isinstance(receiver, Subscription):
                if receiver is not None:
                    calls.append((reference, receiver, _forget, len(told)))
                    told.append(without_values)
                continue
            if receiver.trigger is not None and not receiver.due(step):
                continue
            call, event = receiver.receiver, without_values
            if receiver.fetches is not None:
                try:
                    event = events.Step(step, self, results, values.of(receiver.fetches))  # type: ignore[arg-type]
                except Exception as error:  # told as what the receiver itself raises
                    call = functools.partial(_raise, error)
            calls.append((reference, call, receiver.took, len(told)))
            told.append(event)
        if calls:
            _, interrupt = signals.step.call_each(self._loop, calls, state, told, self._loop.coord.fail)
            if interrupt is not None:
                raise interrupt


class StepFunction:
    """A function of which each call is a training step of a loop. It keeps the name and signature of its own.

    Args:
      loop: The loop.
      function: A `tf.function`, or any other callable.
    """

    def __init__(self, loop: Loop, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._loop = loop
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if tf.inside_function():
            raise RuntimeError(
                f"{_name(self)} is a training step, and is called inside of a tf.function: put "
                "@loop.training_step above @tf.function"
            )
        with self._loop._running_session(_name(self)).step() as done:
            results = self._function(*args, **kwargs)
            done(results, 1)
        return results

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method that is decorated is called with its object."""
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class StepInBlock:
    """A training step that is no function, made in the block of ``with loop.step() as step:``."""

    results: Any = None
    """What the hooks are told of it, to be set in the block; a key is looked up in it."""


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", None) or repr(function))


def _raise(error: BaseException, *args: Any) -> NoReturn:
    raise error


def _forget(secs: float) -> None:
    pass
