"""Training steps of a loop in TensorFlow 2: which calls they are, their number, and who is told of them."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import tensorflow as tf

from hookrun import events, signals
from hookrun.eager.values import StepValues
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.subscriptions import Subscription

__all__ = ["LoopSession", "StepFunction", "StepInBlock"]

_LOOK_SECS = 0.1
"""How often one that waits for the end of a step looks whether the training stops."""


class LoopSession:
    """One run of a `Loop`: from the beginning of its `with` block to the end.

    Args:
      runtime: The loop.
      step: The number of steps that were made before.
    """

    def __init__(self, runtime: Runtime, step: int) -> None:
        self._runtime = runtime
        self._metrics = lambda: runtime.metrics
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._wanted = 0
        self._parked = 0
        self._thread: int | None = None
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
        coord = self._runtime.coord
        if coord.error is not None and coord.should_stop():
            raise coord.error
        with self._runtime._gate:
            yield self._done
            self._thread = threading.get_ident()
        if self._wanted:
            self._park()

    @contextlib.contextmanager
    def after_a_step(self, timeout_secs: float | None) -> Iterator[None]:
        """Wait until a step has ended; the thread that made it takes no more data before the block ends.

        On the thread that makes the steps, there is nothing to wait for.

        Args:
          timeout_secs: Seconds to wait at most; None to wait as long as the training goes on.
        """
        if self._thread in (None, threading.get_ident()) or self._runtime._gate.held:
            yield
            return
        with self._changed:
            self._wanted += 1
            deadline = math.inf if timeout_secs is None else time.monotonic() + timeout_secs
            while (
                not (self._parked or self.closed or self._runtime.should_stop())
                and time.monotonic() < deadline
            ):
                self._changed.wait(_LOOK_SECS)
        try:
            yield
        finally:
            with self._changed:
                self._wanted -= 1
                self._changed.notify_all()

    def go_on_from(self, step: int) -> None:
        """Have the steps counted from `step` on."""
        with self._lock:
            self.last_step = step

    @contextlib.contextmanager
    def runs_checked(self, check: Callable[[bool], object]) -> Iterator[None]:
        """There are no runs to check: what is called in the block looks at `should_stop` itself."""
        yield

    def close(self) -> None:
        """The block of the loop has ended: no more steps come."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _park(self) -> None:
        with self._changed:
            self._parked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._wanted)
            self._parked -= 1

    def _done(self, results: Any, count: int = 1) -> None:
        with self._lock:
            self.last_step += count
            step = self.last_step
        references = signals.step.resolved_for(self._runtime)
        if references:
            self._tell(step, results, references)

    def _tell(self, step: int, results: Any, references: tuple[signals.Reference, ...]) -> None:
        state = signals.step.state
        values = StepValues(results, self._metrics)
        without_values = events.Step(step, self, results)
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
                    event = events.Step(step, self, results, values.of(receiver.fetches))
                except Exception as error:  # told as what the receiver itself raises
                    call = functools.partial(_raise, error)
            calls.append((reference, call, receiver.took, len(told)))
            told.append(event)
        if calls:
            _, interrupt = signals.step.call_each(self._runtime, calls, state, told, self._runtime.coord.fail)
            if interrupt is not None:
                raise interrupt


class StepFunction:
    """A function of which each call is a training step of a loop. It keeps the name and signature of its own.

    Args:
      function: A `tf.function`, or any other callable.
      session_for: Returns the session that runs, or raises an error that names what needs one.
    """

    def __init__(self, function: Callable[..., Any], session_for: Callable[[str], LoopSession]) -> None:
        functools.update_wrapper(self, function)
        self._session_for = session_for
        self.function = function
        """The function itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if tf.inside_function():
            raise RuntimeError(
                f"{_name(self)} is a training step, and is called inside of a tf.function: put "
                "@loop.training_step above @tf.function"
            )
        with self._session_for(_name(self)).step() as done:
            results = self.function(*args, **kwargs)
            done(results, 1)
        return results

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method that is decorated is called with its object."""
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)


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
