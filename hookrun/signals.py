"""The signals, and the one way in which they are sent.

| signal | sent | on which thread |
| --- | --- | --- |
| `session_created` | once a session is ready, before any service starts | the caller's |
| `step` | after each training step | the one that ran it |
| `summary_due` | every `save_summaries_secs`; every `save_summaries_steps` | timer; the step's |
| `checkpoint_due` | every `save_model_secs`; every `save_model_steps` | timer; the step's |
| `checkpoint_saving` | before the model is taken for a checkpoint, between two steps | the saving thread |
| `checkpoint_saved` | after a checkpoint is complete and visible | the one that saved |
| `session_lost` | when a worker or parameter server went away, before `stop` | the caller's |
| `session_recovered` | when `Supervisor.train` goes on after that, before its first step | the caller's |
| `session_restored` | when an older checkpoint was restored in the session | the one that restored or steps |
| `stop` | once per session, at its end, clean or not, the session still open | the caller's |

They are blinker signals with the Supervisor or the Loop as sender: ``signals.step.connect(fn, sender=sv)``
works as users of blinker expect, and `on` of either adds schedules, fetches and a strong reference.
A receiver is called as ``receiver(runtime, event)`` with an event from `hookrun.events`; blinker's own form,
``receiver(sender, **kwargs)``, is called with ``event=``.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, MutableSet, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

import blinker

__all__ = [
    "Signal",
    "checkpoint_due",
    "checkpoint_saved",
    "checkpoint_saving",
    "session_created",
    "session_lost",
    "session_recovered",
    "session_restored",
    "step",
    "stop",
    "summary_due",
]

_logger = logging.getLogger(__name__)

Receiver = Callable[[Any, Any], Any]

Failed = Callable[[Exception], object]

Reference = Callable[[], Any]
"""Gives a receiver, or None when it has died."""

Call = tuple[Reference, Receiver, Callable[[float], None], int]
"""A reference to the receiver, how to call it, what is told the seconds it took, the index of its event."""

Failures = tuple[Exception | None, BaseException | None]
"""The error and the interrupt to be raised once all receivers were called."""

NO_FAILURES: Failures = (None, None)


class SessionGoneError(Exception):
    """What a receiver raises that met the end of its session: not logged as a failure of its own."""


class _ConnectionOrder(MutableSet[Any]):
    """The set that blinker keeps receivers in, iterated in the order of connection, unions included."""

    _clock = itertools.count()

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def add(self, value: Any) -> None:
        self._numbers.setdefault(value, next(self._clock))

    def discard(self, value: Any) -> None:
        self._numbers.pop(value, None)

    def copy(self) -> _ConnectionOrder:
        return self | _ConnectionOrder()

    def __or__(self, other: Any) -> _ConnectionOrder:
        union = _ConnectionOrder()
        merged = {**other._numbers, **self._numbers}
        union._numbers = dict(sorted(merged.items(), key=lambda item: item[1]))
        return union

    def __contains__(self, value: object) -> bool:
        return value in self._numbers

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)


class Signal(blinker.NamedSignal):
    """A blinker signal with a fixed order, in which one failing receiver does not silence the others.

    Receivers are called by their `priority` attribute (0 where they have none; lower goes first), then in
    the order of connection.
    """

    set_class = _ConnectionOrder  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lock = threading.RLock()
        self._resolved: dict[int, tuple[weakref.ref[Any], tuple[Reference, ...]]] = {}
        self.state: object = object()
        """Another object whenever a receiver connects or disconnects."""

    def connect(self, receiver: Any, sender: Any = blinker.ANY, weak: bool = True) -> Any:
        """Call `receiver` when the signal is sent by `sender`, as `blinker.Signal.connect` does.

        Raises:
          TypeError: If a call of `receiver` would not run it, as that of a coroutine function or a generator.
        """
        check_runs("receiver", receiver)
        with self._lock:
            super().connect(receiver, sender, weak)
            self._resolved.clear()
            self.state = object()
        return receiver

    def disconnect(self, receiver: Any, sender: Any = blinker.ANY) -> None:
        """Call `receiver` no more, as `blinker.Signal.disconnect` does."""
        with self._lock:
            super().disconnect(receiver, sender)
            self._resolved.clear()
            self.state = object()

    def receivers_for(self, sender: Any) -> Iterator[Any]:  # type: ignore[override]
        """Yield the live receivers of `sender`, in the order in which they are called."""
        with self._lock:
            return iter(sorted(super().receivers_for(sender), key=_priority))

    def resolved_for(self, sender: Any) -> tuple[Reference, ...]:
        """The receivers of `sender`, resolved once and kept until one connects or disconnects.

        Returns:
          A tuple of references; each, called without arguments, gives ``receiver(sender, event)`` or None
          when the receiver has died. The same tuple as long as nothing changed.
        """
        entry = self._resolved.get(id(sender))
        if entry is not None and entry[0]() is sender:
            return entry[1]
        with self._lock:
            references = tuple(_reference(receiver) for receiver in self.receivers_for(sender))
            self._resolved[id(sender)] = (weakref.ref(sender), references)
        return references

    def send(self, sender: Any, /, event: Any) -> None:  # type: ignore[override]
        """Call every receiver of `sender` with `event`, on the calling thread.

        Every receiver is called, even when an earlier one raised, unless it was disconnected meanwhile. Each
        error is logged at once, with its traceback and the receiver's name.

        Raises:
          Exception: The first error of a receiver whose `on_error` is not "log", after all were called.
          BaseException: Before any error, the first interrupt (`KeyboardInterrupt`, `SystemExit`).
        """
        error, interrupt = self.call_all(sender, event)
        if interrupt is not None:
            raise interrupt
        if error is not None:
            raise error

    def call_all(self, sender: Any, event: Any, failed: Failed | None = None) -> Failures:
        """Call receivers as `send` does, and return what it would raise.

        `failed` is called with the first error that would be raised, before the next receiver is.
        """
        failures = NO_FAILURES
        if self.is_muted:
            return failures
        state = self.state  # before they are resolved, so that a change meanwhile is noticed
        for reference in self.resolved_for(sender):
            receiver = reference()
            if receiver is None or (self.state is not state and reference not in self.resolved_for(sender)):
                continue
            try:
                returned = receiver(sender, event)
                if returned is not None:
                    check_ran(receiver, returned)
            except BaseException as error:
                failures = self._failed(receiver, error, failures, failed)
        return failures

    def call_each(
        self, sender: Any, calls: Sequence[Call], state: object, events: Sequence[Any], failed: Failed
    ) -> Failures:
        """As `call_all`, but call those in `calls`, each with its own of the `events`, and time them.

        `state` is that of the signal when they were resolved.
        """
        failures = NO_FAILURES
        if self.is_muted:
            return failures
        start = perf_counter()
        for reference, call, took, index in calls:
            if self.state is not state and reference not in self.resolved_for(sender):
                continue
            try:
                returned = call(sender, events[index])
                if returned is not None:
                    check_ran(call, returned)
            except BaseException as error:
                failures = self._failed(reference(), error, failures, failed)
            end = perf_counter()
            took(end - start)
            start = end
        return failures

    def _failed(
        self, receiver: Any, error: BaseException, earlier: Failures, failed: Failed | None
    ) -> Failures:
        first, interrupt = earlier
        if not isinstance(error, Exception):
            return first, interrupt or error
        if isinstance(error, SessionGoneError):
            _logger.info("%s was interrupted by a lost session in %s", receiver_name(receiver), self.name)
        else:
            _logger.error("%s failed in %s", receiver_name(receiver), self.name, exc_info=error)
        if first is None and getattr(receiver, "on_error", "stop") != "log":
            first = error
            if failed is not None:
                failed(error)
        return first, interrupt


def receiver_name(receiver: Any) -> str:
    """The name under which a receiver is reported: its own `name`, or that of the function it is."""
    return str(getattr(receiver, "name", None) or getattr(receiver, "__qualname__", None) or repr(receiver))


def takes_event(receiver: Callable[..., Any]) -> bool:
    """True when `receiver` can be called as ``receiver(runtime, event)``, as far as can be known."""
    return takes(receiver, 2)


def takes(function: Callable[..., Any], count: int) -> bool:
    """True when `function` can be called with that many arguments, as far as can be known."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin that has no signature
        pass
    return True


def check_runs(name: str, function: Callable[..., Any], generator: bool = False) -> None:
    """Check that a call of `function` runs it, as far as can be known before.

    Args:
      name: What the function is called in the message.
      function: The function, or an object that can be called.
      generator: True where a generator is iterated over by who calls it.

    Raises:
      TypeError: If it would only return a coroutine or a generator.
    """
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    if not inspect.isroutine(called) and not inspect.isclass(called):
        called = getattr(type(called), "__call__", called)  # noqa: B004 (what it is, not whether it is there)
    kind = None
    if inspect.iscoroutinefunction(called):
        kind = "a coroutine function"
    elif inspect.isasyncgenfunction(called):
        kind = "an async generator"
    elif inspect.isgeneratorfunction(called) and not generator:
        kind = "a generator"
    if kind is not None:
        raise TypeError(
            f"{name} must be an ordinary function, not {kind}, which a call does not run: {function!r}"
        )


def check_ran(function: Callable[..., Any], returned: Any) -> None:
    """Check that a call of `function`, which returned this, has run it.

    Raises:
      TypeError: If it returned a coroutine or a generator, as a function that wraps such a one does.
    """
    if isinstance(returned, (CoroutineType, GeneratorType, AsyncGeneratorType)):
        if isinstance(returned, CoroutineType):
            returned.close()  # else Python warns of it too
        raise TypeError(f"{receiver_name(function)} returned {returned!r}, which is never run")


def _priority(receiver: Any) -> float:
    return getattr(receiver, "priority", 0)


def _reference(receiver: Any) -> Reference:
    """A weak reference to `receiver`: blinker holds those that are to be held. Equal to others to it.

    A receiver in blinker's own form gets the event by its name.
    """
    kind = weakref.WeakMethod if inspect.ismethod(receiver) else weakref.ref
    reference = kind(receiver)
    return reference if takes_event(receiver) else _ByNameReference(reference)


@dataclass(frozen=True)
class _ByNameReference:
    reference: Reference

    def __call__(self) -> _ByName | None:
        target = self.reference()
        return None if target is None else _ByName(target)


class _ByName:
    """A receiver in blinker's own form, ``receiver(sender, **kwargs)``."""

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self.name = receiver_name(receiver)
        self.on_error = getattr(receiver, "on_error", "stop")

    def __call__(self, sender: Any, event: Any) -> Any:
        return self._receiver(sender, event=event)


session_created = Signal("session_created")
"""Sent once a session is ready: after its model was restored or initialized, before any service starts. On
the caller's thread, with an `events.SessionCreated`."""

step = Signal("step")
"""Sent after each training step, on the thread that ran it, with an `events.Step`."""

summary_due = Signal("summary_due")
"""Sent when it is time to write summaries: every `save_summaries_secs` on the summary timer's thread, and
every `save_summaries_steps` on that of the step. With an `events.SummaryDue`."""

checkpoint_due = Signal("checkpoint_due")
"""Sent when it is time to save a checkpoint: every `save_model_secs` on the checkpoint timer's thread, and
every `save_model_steps` on that of the step. With an `events.CheckpointDue`."""

checkpoint_saving = Signal("checkpoint_saving")
"""Sent before the model is taken for a checkpoint, on the thread that saves, while no training step runs.
With an `events.CheckpointSaving`, of which a receiver may set `refused`."""

checkpoint_saved = Signal("checkpoint_saved")
"""Sent after a checkpoint is complete and visible, on the thread that saved it, with an
`events.CheckpointSaved`."""

session_lost = Signal("session_lost")
"""Sent before `stop` when a worker or a parameter server went away, on the caller's thread, with an
`events.SessionLost`."""

session_recovered = Signal("session_recovered")
"""Sent when `Supervisor.train` goes on in a new session after a lost one: after its `session_created`, before
its first step. On the caller's thread, with an `events.SessionRecovered`."""

session_restored = Signal("session_restored")
"""Sent when the training goes on from another step than its last one, with an `events.SessionRestored`: in
`Supervisor.restore`, on its thread, between two steps; where the program restored an older checkpoint in
another way, before the next training step is run, on its thread."""

stop = Signal("stop")
"""Sent once per session when it ends, cleanly or not: the services have stopped, the session is still open.
On the caller's thread, with an `events.Stop`."""
