"""TensorFlow's Coordinator, with what a training must know of its threads and errors."""

from __future__ import annotations

import threading
from typing import Any

import tensorflow as tf

from hookrun.events import INTERRUPTS
from hookrun.signals import SessionGoneError

__all__ = ["Coordinator"]


class Coordinator(tf.train.Coordinator):
    """A `tf.train.Coordinator` that keeps the first error, and knows its threads.

    An interrupt (one of `events.INTERRUPTS`) gives way to an error that `fail` reports after it: a
    training whose last step or final save failed did not end as intended. So does a lost session: what
    recovers from it must not hide the error of a hook.

    It also takes an exception that was never raised (TensorFlow's raises a `TypeError` for one and stops
    nothing), and lets the training report an `OutOfRangeError` that is no end of input.
    """

    def __init__(self) -> None:
        super().__init__(clean_stop_exception_types=())
        self._report_lock = threading.Lock()
        self.error: BaseException | None = None
        """The first error reported since the last `clear_stop`, or an interrupt; None without."""
        self._threads: set[threading.Thread] = set()
        self._stop_requested = False

    @property
    def threads(self) -> frozenset[threading.Thread]:
        """The threads registered since the last `join`."""
        return frozenset(self._threads)

    @property
    def stop_requested(self) -> bool:
        """True when a stop without an error was requested since the last `clear_stop`, not by `end` alone."""
        return self._stop_requested

    def end(self) -> None:
        """Have the threads stop because the session ends, which nobody requested."""
        self._report(None)

    def request_stop(self, ex: BaseException | tuple[Any, Any, Any] | None = None) -> None:
        """Request that the threads stop; see `tf.train.Coordinator.request_stop`.

        Args:
          ex: Optional `Exception`, raised or not, or an `exc_info` tuple. The first one is raised again
            from `join`. A `tf.errors.OutOfRangeError` is an end of input, and a clean stop.

        Raises:
          TypeError: If `ex` is anything else.
        """
        error = ex[1] if isinstance(ex, tuple) and len(ex) == 3 else ex
        if error is not None and not isinstance(error, BaseException):
            raise TypeError(f"ex must be an exception or an exc_info tuple, not {ex!r}")
        if isinstance(error, tf.errors.OutOfRangeError):
            error = None
        if error is None:
            self._stop_requested = True
        self._report(error)

    def fail(self, error: BaseException) -> None:
        """Request a stop because of `error`, which is kept even when a stop was requested before it.

        Called for errors of hooks, saves and restores, where an `OutOfRangeError` is no end of input; and
        for interrupts. On any thread, but not from the handler of a Unix signal: it takes locks that the
        interrupted code may hold.
        """
        with self._report_lock:
            if self.error is None or _gives_way(self.error, error):
                self.error = error
            # After a join, TensorFlow's raises what is reported; ours raises it from the next join.
            super().request_stop(None if self.joined else _exc_info(error))

    def clear_stop(self) -> None:
        """Forget the stop request and the error of the session before."""
        with self._report_lock:
            self.error = None
            self._stop_requested = False
            super().clear_stop()

    def register_thread(self, thread: threading.Thread) -> None:
        """Register a thread to be joined at the stop."""
        self._threads.add(thread)
        super().register_thread(thread)

    def join(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the threads, and raise the first error; see `tf.train.Coordinator.join`."""
        try:
            super().join(*args, **kwargs)
        finally:
            self._threads.clear()
            if self.error is not None:
                raise self.error

    def _report(self, error: BaseException | None) -> None:
        with self._report_lock:
            if self.error is None and not self.should_stop():
                self.error = error
            super().request_stop(None if error is None else _exc_info(error))


def _gives_way(first: BaseException, error: BaseException) -> bool:
    if isinstance(first, SessionGoneError):
        return isinstance(error, Exception) and not isinstance(error, SessionGoneError)
    return isinstance(first, INTERRUPTS) and isinstance(error, Exception)


def _exc_info(error: BaseException) -> tuple[Any, Any, Any]:
    return type(error), error, error.__traceback__
