"""StepGate: training steps and snapshots exclude each other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from threading import get_ident

__all__ = ["StepGate"]

_LOOK_SECS = 0.1
"""How often one that waits looks by itself: an interrupt may have broken off the notification."""


class StepGate:
    """Any number of training steps share it; a snapshot has it alone, between steps.

    A step holds it from before its run until its hooks have been told: ``with gate: ...``. A thread may
    nest its holds. One that waits to have the gate alone goes before new steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.holds: dict[int, int] = {}
        """How often each thread holds it: each changes its own."""
        self.closed = False
        """True while somebody has it alone or waits for that."""
        self._alone: int | None = None
        self._waiting = 0

    # The lock is taken by `with self._lock`: an interrupt may come in between where a Condition takes it.
    # A step announces its hold before it looks whether the gate is closed, and who wants it alone closes it
    # before looking for holds: one of them sees the other, and steps take no lock.

    def __enter__(self) -> None:
        thread = get_ident()
        own = self.holds.get(thread, 0)
        self.holds[thread] = own + 1
        if self.closed and not own:
            self.wait(thread)

    def __exit__(self, *exc_info: object) -> None:
        thread = get_ident()
        if self.holds[thread] > 1:
            self.holds[thread] -= 1
            return
        del self.holds[thread]
        if self.closed:
            self.notify()

    def wait(self, thread: int) -> None:
        """Take back the hold of `thread`, the calling one, while the gate is closed to it."""
        if self._alone == thread:
            return
        with self._lock:
            del self.holds[thread]
            self._changed.notify_all()
            self._wait_until(lambda: not self.closed)
            self.holds[thread] = 1

    def notify(self) -> None:
        """A hold was given back while the gate was closed."""
        with self._lock:
            self._changed.notify_all()

    def _wait_until(self, condition: Callable[[], bool], timeout_secs: float | None = None) -> bool:
        """Wait with the lock held, and return False if it took too long."""
        deadline = None if timeout_secs is None else time.monotonic() + timeout_secs
        while not condition():
            left = _LOOK_SECS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, _LOOK_SECS))
        return True

    @property
    def held(self) -> bool:
        """True when the calling thread holds it, as a step does."""
        return get_ident() in self.holds

    @contextlib.contextmanager
    def suspended(self) -> Iterator[bool]:
        """The calling thread holds nothing inside the block, if it did, and runs no step there.

        For a hook that waits, after the run of its step, for somebody who may want the gate alone.

        Yields:
          False when the thread has the gate alone, and keeps it.
        """
        thread = get_ident()
        with self._lock:
            own = self.holds.pop(thread, 0)
            self._changed.notify_all()
        try:
            yield self._alone != thread
        finally:
            if own:
                with self._lock:
                    self._wait_until(lambda: not self.closed or self._alone == thread)
                    self.holds[thread] = own

    @contextlib.contextmanager
    def alone(self, timeout_secs: float | None = None) -> Iterator[bool]:
        """No step runs inside the block, except those of the calling thread itself.

        The calling thread may hold the gate: called by a hook of a step, whose run is over.

        Args:
          timeout_secs: Seconds to wait for running steps; None for as long as they take.

        Yields:
          False when a step was still running after `timeout_secs`; the block is entered all the same.
        """
        thread = get_ident()
        if self._alone == thread:
            yield True
            return
        with self._lock:
            own = self.holds.pop(thread, 0)
            self._waiting += 1
            self.closed = True
            try:
                in_time = self._wait_until(lambda: self._alone is None and not self.holds, timeout_secs)
                self._wait_until(lambda: self._alone is None)
                self._alone = thread
            finally:
                self._waiting -= 1
                if self._alone != thread:  # interrupted
                    self._resume(thread, own)
        try:
            yield in_time
        finally:
            with self._lock:
                self._alone = None
                self._resume(thread, own)

    def _resume(self, thread: int, holds: int) -> None:
        if holds:
            self.holds[thread] = holds
        self.closed = self._waiting > 0 or self._alone is not None
        self._changed.notify_all()
