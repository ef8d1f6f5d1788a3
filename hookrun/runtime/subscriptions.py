"""A receiver of a signal, with the schedule and the fetches it was subscribed with."""

from __future__ import annotations

import functools
import logging
import math
import numbers
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from hookrun.numeric import python_number
from hookrun.signals import Signal, check_runs, takes_event
from hookrun.triggers import Trigger

__all__ = ["HOOK_TIMES", "Handle", "HookTime", "OnError", "OnUnfed", "Subscription"]

_logger = logging.getLogger(__name__)

HOOK_TIMES = "hookrun/hook_times"
"""The tag of the text that holds the time of each hook."""

OnError = Literal["stop", "log"]
OnUnfed = Literal["stop", "skip"]

_HELD_UP_BY = frozenset({"step", "before_run", "after_run", "checkpoint_saving"})
"""The signals that are sent on training threads alone, or while no step runs."""


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
    """The time of all calls together, in seconds."""
    training_secs: float = 0.0
    """The part of it that held up the training, in seconds: what is called on timers' threads does not."""
    max_secs: float = 0.0
    """The time of the longest call, in seconds."""

    def add(self, secs: Sequence[float], training: bool) -> None:
        """Count calls that took `secs`, and held up the training or not."""
        total = sum(secs)
        self.count += len(secs)
        self.total_secs += total
        self.max_secs = max((self.max_secs, *secs))
        if training:
            self.training_secs += total

    @property
    def mean_secs(self) -> float:
        """The time of a call on average, in seconds."""
        return self.total_secs / self.count if self.count else 0.0


class Subscription:
    """What a training connects to a signal: calls the receiver when it is due, with its values.

    Args:
      signal: The signal it is for.
      receiver: Called as ``receiver(runtime, event)``.
      name: What it is called in logs.
      priority: Lower goes first.
      on_error: "stop" ends the training when the receiver raises; "log" only logs it.
      fetches: What the receiver wants from the training step itself, in any structure that
        `tf.compat.v1.Session.run` takes.
      trigger: At which training steps it is called; None for every one.
      on_unfed: "stop" raises where a step does not feed a placeholder that `fetches` depend on; "skip"
        leaves them out there, with one warning.

    Raises:
      TypeError, ValueError: If an argument is not of its kind, or is a schedule or fetches for a signal
        other than `step`.
    """

    __slots__ = (
        "__weakref__",
        "_holds_up",
        "_lock",
        "_missed",
        "_secs",
        "_time",
        "_unfed",
        "fetches",
        "name",
        "on_error",
        "on_unfed",
        "priority",
        "receiver",
        "signal",
        "took",
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
        on_unfed: OnUnfed = "stop",
    ) -> None:
        if not isinstance(signal, Signal):
            raise TypeError(f"signal must be one of hookrun.signals, not {signal!r}")
        if not callable(receiver) or not takes_event(receiver):
            raise TypeError(f"receiver must be callable as receiver(runtime, event), not {receiver!r}")
        check_runs(f"receiver {name}", receiver)
        if not _is_number(priority):
            raise TypeError(f"priority must be a number, not {priority!r}: {name}")
        if on_error not in ("stop", "log"):
            raise ValueError(f"on_error must be 'stop' or 'log', not {on_error!r}")
        if on_unfed not in ("stop", "skip"):
            raise ValueError(f"on_unfed must be 'stop' or 'skip', not {on_unfed!r}")
        if trigger is not None and not isinstance(trigger, Trigger):
            raise TypeError(f"trigger must be a hookrun.triggers.Trigger or None, not {trigger!r}")
        if trigger is not None:
            check_runs("trigger", trigger)
        if signal.name != "step" and not (fetches is None and trigger is None):
            raise ValueError(f"only `step` has schedules and fetches; {name} asks for them on {signal.name}")
        self.signal = signal
        self.name = name
        self.priority = priority
        self.on_error = on_error
        self.fetches = fetches
        self.trigger = trigger
        self.on_unfed = on_unfed
        self.receiver = receiver
        self._time = HookTime(name, signal.name)
        self._secs: list[float] = []  # of calls that are not in it yet
        self.took = self._secs.append
        self._holds_up = signal.name in _HELD_UP_BY
        self._lock = threading.Lock()
        self._missed = False
        self._unfed: set[str] = set()

    def start(self, step: int) -> None:
        """A session starts after `step` steps: its schedule and its time begin."""
        with self._lock:
            self._secs.clear()
            self._time = HookTime(self.name, self.signal.name)
        self._missed = False
        if self.trigger is not None:
            self.trigger.start(step)

    def go_on_from(self, session: Any) -> None:
        """The training went back to the `last_step` of `session`: so does the schedule."""
        with self._lock:  # what a step asks in between is of that step or later
            self._missed = False
            if self.trigger is not None:
                self.trigger.go_on_from(session.last_step)

    def due(self, step: int) -> bool:
        """True when the receiver is to be called at `step`. Asked once per step, on any thread."""
        if self.trigger is None:
            return True
        with self._lock:
            due, self._missed = self.trigger(step) or self._missed, False
            return due

    def missed(self) -> None:
        """The step at which it was due was not run: it is due at the next one."""
        self._missed = True

    def unfed(self, placeholder: str) -> None:
        """A training step that is due does not feed `placeholder`, on which `fetches` depend.

        Raises:
          ValueError: If that is an error for the receiver.
        """
        message = (
            f"{self.name} fetches what depends on the placeholder {placeholder!r}, "
            "which this training step does not feed (on_unfed='skip' leaves it out of such steps)"
        )
        if self.on_unfed == "stop":
            raise ValueError(message)
        if placeholder not in self._unfed:
            self._unfed.add(placeholder)
            _logger.warning("%s: it is left out of such steps", message)

    def settle_time(self) -> HookTime:
        """Add up what `took` was told, and return the time of the current session, or the one before."""
        with self._lock:
            secs = self._secs[:]
            del self._secs[: len(secs)]  # and no more: other threads append meanwhile
            self._time.add(secs, training=True)
            return self._time

    def __call__(self, runtime: Any, event: Any) -> Any:
        """Called when the signal is sent; with fetches, only for the steps in which they rode."""
        if self.is_scheduled and not self.due(event.global_step):
            return None
        start = perf_counter()
        try:
            return self.receiver(runtime, event)
        finally:
            secs = perf_counter() - start
            with self._lock:
                self._time.add([secs], training=self._holds_up or runtime.in_training_step)

    @property
    def is_scheduled(self) -> bool:
        """True when it asks its trigger at each call whether it is due."""
        return self.trigger is not None and self.fetches is None


def _is_number(value: Any) -> bool:
    number = python_number(value)
    return isinstance(number, numbers.Real) and not math.isnan(number)


class Handle:
    """What `on` of a training returns: the receiver, and the way to remove it.

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
