"""StepGate: training steps and snapshots exclude each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["StepGate"]


class StepGate:
    """Any number of training steps share it; a snapshot has it alone, between steps.

    A step holds it from before its run until its hooks have been told: ``with gate: ...``. A thread may
    nest its holds. One that waits to have the gate alone goes before new steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._holds: dict[int, int] = {}  # per thread; each changes its own
        self._alone: int | None = None
        self._waiting = 0

    # A step announces its hold before it looks for who wants the gate alone, and who wants it alone
    # announces that before it looks for holds: one of them sees the other, and steps take no lock.

    def __enter__(self) -> None:
        thread = threading.get_ident()
        if thread in self._holds:
            self._holds[thread] += 1
            return
        self._holds[thread] = 1
        if (self._waiting or self._alone is not None) and self._alone != thread:
            self._wait(thread)

    def __exit__(self, *exc_info: object) -> None:
        thread = threading.get_ident()
        if self._holds[thread] > 1:
            self._holds[thread] -= 1
            return
        del self._holds[thread]
        if self._waiting:
            with self._lock:
                self._changed.notify_all()

    def _wait(self, thread: int) -> None:
        """Take back the hold of `thread` until nobody has the gate alone or waits for that."""
        with self._lock:
            del self._holds[thread]
            self._changed.notify_all()
            while self._waiting or self._alone is not None:
                self._changed.wait()
            self._holds[thread] = 1

    @property
    def held(self) -> bool:
        """True when the calling thread holds it, as a step does."""
        return threading.get_ident() in self._holds

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """The calling thread holds nothing inside the block, if it did, and runs no step there.

        For a hook that waits, after the run of its step, for somebody who may want the gate alone.
        """
        thread = threading.get_ident()
        with self._changed:
            own = self._holds.pop(thread, 0)
            self._changed.notify_all()
        try:
            yield
        finally:
            if own:
                with self._changed:
                    while self._waiting or self._alone is not None:
                        self._changed.wait()
                    self._holds[thread] = own

    @contextlib.contextmanager
    def alone(self, timeout_secs: float | None = None) -> Iterator[bool]:
        """No step runs inside the block, except those of the calling thread itself.

        The calling thread may hold the gate: called by a hook of a step, whose run is over.

        Args:
          timeout_secs: Seconds to wait for running steps; None for as long as they take.

        Yields:
          False when a step was still running after `timeout_secs`; the block is entered all the same.
        """
        thread = threading.get_ident()
        if self._alone == thread:
            yield True
            return
        with self._changed:
            own = self._holds.pop(thread, 0)
            self._waiting += 1
            try:
                in_time = self._changed.wait_for(
                    lambda: self._alone is None and not self._holds, timeout_secs
                )
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
            self._holds[thread] = holds
        self._changed.notify_all()
