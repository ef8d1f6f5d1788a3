"""StepGate: training steps and snapshots exclude each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from threading import get_ident

__all__ = ["StepGate"]


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
        with self._changed:
            del self.holds[thread]
            self._changed.notify_all()
            self._changed.wait_for(self._is_open)
            self.holds[thread] = 1

    def notify(self) -> None:
        """A hold was given back while the gate was closed."""
        with self._changed:
            self._changed.notify_all()

    def _is_open(self) -> bool:
        return not self.closed

    @property
    def held(self) -> bool:
        """True when the calling thread holds it, as a step does."""
        return get_ident() in self.holds

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """The calling thread holds nothing inside the block, if it did, and runs no step there.

        For a hook that waits, after the run of its step, for somebody who may want the gate alone.
        """
        thread = get_ident()
        with self._changed:
            own = self.holds.pop(thread, 0)
            self._changed.notify_all()
        try:
            yield
        finally:
            if own:
                with self._changed:
                    self._changed.wait_for(self._is_open)
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
        with self._changed:
            own = self.holds.pop(thread, 0)
            self._waiting += 1
            self.closed = True
            try:
                in_time = self._changed.wait_for(lambda: self._alone is None and not self.holds, timeout_secs)
                self._changed.wait_for(lambda: self._alone is None)
                self._alone = thread
            finally:
                self._waiting -= 1
                if self._alone != thread:  # interrupted
                    self._resume(thread, own)
        try:
            yield in_time
        finally:
            with self._changed:
                self._alone = None
                self._resume(thread, own)

    def _resume(self, thread: int, holds: int) -> None:
        if holds:
            self.holds[thread] = holds
        self.closed = self._waiting > 0 or self._alone is not None
        self._changed.notify_all()
