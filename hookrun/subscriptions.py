"""A receiver of a signal, with the schedule and the fetches it was subscribed with."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from hookrun.signals import Signal, takes_event
from hookrun.triggers import Trigger

__all__ = ["Handle", "HookTime", "OnError", "Subscription"]

OnError = Literal["stop", "log"]

_HELD_UP_BY = frozenset({"step", "before_run", "after_run"})
"""The signals that are sent on training threads alone."""

_inner_secs: dict[int, float] = {}
"""What receivers took that were called within another's time, in a training step; by thread."""


@dataclass(slots=True)
class HookTime:
    """The time that a receiver has taken so far."""

    name: str
    """What the receiver is called: for a hook, its name and method."""
    signal: str
    """The name of the signal."""
    count: int = 0
    """How often it was called."""
    total_secs: float = 0.0
    """The time of all calls together, in seconds; in a training step without that of receivers that were
    called meanwhile."""
    training_secs: float = 0.0
    """The part of it that held up the training, in seconds: what is called on timers' threads does not."""
    max_secs: float = 0.0
    """The time of the longest call, in seconds."""

    @property
    def mean_secs(self) -> float:
        """The time of a call on average, in seconds."""
        return self.total_secs / self.count if self.count else 0.0

    def add(self, secs: float, holds_up: bool = True) -> None:
        """Count one more call; `holds_up` is False for one that training did not wait for."""
        self.count += 1
        self.total_secs += secs
        if holds_up:
            self.training_secs += secs
        if secs > self.max_secs:
            self.max_secs = secs


class Subscription:
    """What a `Supervisor` connects to a signal: calls the receiver when it is due, with its values.

    Args:
      signal: The signal it is for.
      receiver: Called as ``receiver(supervisor, event)``.
      name: What it is called in logs.
      priority: Lower goes first.
      on_error: "stop" ends the training when the receiver raises; "log" only logs it.
      fetches: What the receiver wants from the training step itself, in any structure that
        `tf.compat.v1.Session.run` takes.
      trigger: At which training steps it is called; None for every one.

    Raises:
      TypeError, ValueError: If an argument is not of its kind, or is a schedule or fetches for a signal
        other than `step`.
    """

    __slots__ = (
        "__weakref__",
        "_holds_up",
        "_lock",
        "_receiver",
        "fetches",
        "name",
        "on_error",
        "priority",
        "signal",
        "time",
        "trigger",
    )

    def __init__(
        self,
        signal: Signal,
        receiver: Callable[[Any, Any], Any],
        *,
        name: str,
        priority: float = 0,
        on_error: OnError = "stop",
        fetches: Any = None,
        trigger: Trigger | None = None,
    ) -> None:
        if not isinstance(signal, Signal):
            raise TypeError(f"signal must be one of hookrun.signals, not {signal!r}")
        if not callable(receiver) or not takes_event(receiver):
            raise TypeError(f"receiver must be callable as receiver(supervisor, event), not {receiver!r}")
        if inspect.iscoroutinefunction(receiver):
            raise TypeError(f"receiver must be an ordinary function, not a coroutine function: {receiver!r}")
        if not _is_number(priority):
            raise TypeError(f"priority must be a number, not {priority!r}: {name}")
        if on_error not in ("stop", "log"):
            raise ValueError(f"on_error must be 'stop' or 'log', not {on_error!r}")
        if trigger is not None and not isinstance(trigger, Trigger):
            raise TypeError(f"trigger must be a hookrun.triggers.Trigger or None, not {trigger!r}")
        if signal.name != "step" and not (fetches is None and trigger is None):
            raise ValueError(f"only `step` has schedules and fetches; {name} asks for them on {signal.name}")
        self.signal = signal
        self.name = name
        self.priority = priority
        self.on_error = on_error
        self.fetches = fetches
        self.trigger = trigger
        self.time = HookTime(name, signal.name)
        self._receiver = receiver
        self._holds_up = signal.name in _HELD_UP_BY
        self._lock = threading.Lock()

    def start(self, step: int) -> None:
        """A session starts after `step` steps: its schedule and its time begin."""
        self.time = HookTime(self.name, self.signal.name)
        if self.trigger is not None:
            self.trigger.start(step)

    def due(self, step: int) -> bool:
        """True when the receiver is to be called at `step`. Asked once per step, on any thread."""
        if self.trigger is None:
            return True
        with self._lock:
            return self.trigger(step)

    def __call__(self, supervisor: Any, event: Any) -> None:
        """Called when the signal is sent."""
        if self.fetches is not None:
            event = event.own.get(self)
            if event is None:
                return
        elif self.trigger is not None and not self.due(event.global_step):
            return
        outer = _inner_secs.pop(threading.get_ident(), 0.0) if _inner_secs else 0.0
        start = time.perf_counter()
        try:
            self._receiver(supervisor, event)
        finally:
            secs = time.perf_counter() - start
            own = secs - _inner_secs.pop(threading.get_ident(), 0.0) if _inner_secs else secs
            within_step = not self._holds_up and supervisor.in_training_step
            if within_step:
                _inner_secs[threading.get_ident()] = outer + secs
            with self._lock:
                self.time.add(own, self._holds_up or within_step)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not math.isnan(value)


class Handle:
    """What `Supervisor.on` returns: the receiver, and the way to remove it.

    Calling a handle calls the receiver, so that a decorated function stays a function. As a context
    manager, it removes the receiver at the end of the block.
    """

    def __init__(self, receiver: Callable[[Any, Any], Any], remove: Callable[[], None]) -> None:
        self._receiver = receiver
        self._remove = remove
        functools.update_wrapper(self, receiver, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._receiver(*args, **kwargs)

    def remove(self) -> None:
        """Call the receiver no more. Removing it twice does nothing."""
        self._remove()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()
