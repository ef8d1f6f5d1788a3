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

    def __enter__(self) -> None:
        thread = threading.get_ident()
        holds = self._holds.get(thread, 0)
        if holds or self._alone == thread:
            self._holds[thread] = holds + 1
            return
        with self._lock:
            while self._waiting or self._alone is not None:
                self._changed.wait()
            self._holds[thread] = 1

    def __exit__(self, *exc_info: object) -> None:
        thread = threading.get_ident()
        holds = self._holds[thread] - 1
        if holds:
            self._holds[thread] = holds
            return
        with self._lock:
            del self._holds[thread]
            if self._waiting:
                self._changed.notify_all()

    @property
    def held(self) -> bool:
        """True when the calling thread holds it, as a step does."""
        return threading.get_ident() in self._holds

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
