"""StepGate: training steps and snapshots exclude each other."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from threading import get_ident

from hookrun.runtime.waits import Wait

__all__ = ["StepGate"]

_logger = logging.getLogger(__name__)

_SHORTEST_SECS, _LONGEST_SECS = 0.02, 0.4
"""How long a step is kept out at least and at most, while one that wants the gate alone waits for others."""

_LONG_STEPS_AFTER_SECS = 10.0
"""After this time without a quiet moment, steps are taken to be longer than `_LONGEST_SECS`."""


class StepGate:
    """Any number of training steps share it; a snapshot has it alone, between steps.

    A step holds it from before its run until its hooks have been told: ``with gate: ...``. A thread may
    nest its holds.

    The gate is given to whoever wants it alone at the first moment at which nobody holds it. Meanwhile new
    steps are kept out, so that this moment comes. But a step that runs may wait for one that is kept out: so
    each is let in again after a while. That is as long as its thread needed since it was last let in, which
    is 20 ms to 0.4 s; within seconds it grows to that many times as long as there are threads, by when all
    steps that wait for nobody have ended. Where steps take so long that 0.4 s are not enough, the bound is
    lifted after 10 s, for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.holds: dict[int, int] = {}
        """How often each thread holds it: each changes its own."""
        self.closed = False
        """True while somebody has it alone or waits for that."""
        self._alone: int | None = None
        self._asking: list[int] = []
        """The threads that wait to have it alone, the first one first."""
        self._asked_at = 0.0
        """When the first of them began to wait for steps alone."""
        self._let_in_at: dict[int, float] = {}
        """When each thread was let in although somebody asks, since that began."""
        self._kept_out = 0
        self._longest_secs = _LONGEST_SECS
        self._warned_of: set[str] = set()

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
        """Take back the hold of `thread`, the calling one, while it is kept out."""
        if self._alone == thread:
            return
        with self._lock:
            del self.holds[thread]
            self._settle()
            self._wait_to_enter(thread)
            self.holds[thread] = 1

    def notify(self) -> None:
        """A hold was given back while the gate was closed."""
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        """Give the gate to the first who wants it alone, if nobody is inside. With the lock held."""
        if self._alone is None and self._asking and not self.holds:
            self._alone = self._asking.pop(0)
        self.closed = self._alone is not None or bool(self._asking)
        self._changed.notify_all()

    def _wait_to_enter(self, thread: int) -> None:
        """Wait, with the lock held, until a step of `thread` may go in."""
        arrived = time.monotonic()
        age = arrived - self._asked_at
        if self._asking and self._alone is None and age >= _LONG_STEPS_AFTER_SECS:
            self._longest_secs = math.inf
        self._kept_out += 1
        firmness = min(1.0 + age, len(self.holds) + self._kept_out)
        own_secs = arrived - self._let_in_at.get(thread, self._asked_at)
        until = arrived + min(max(firmness * own_secs, _SHORTEST_SECS), self._longest_secs)

        def may_enter() -> bool:
            if self._alone is None:
                return not self.closed or time.monotonic() >= until
            return self._alone == thread

        try:
            self._wait_until(may_enter, "run a step", until=until)
        finally:
            self._kept_out -= 1
        if self.closed:
            self._let_in_at[thread] = time.monotonic()

    def _wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        timeout_secs: float | None = None,
        until: float = math.inf,
    ) -> bool:
        """Wait with the lock held, and return False if it took too long. Look again at the time `until`."""
        wait = Wait(what, self._others, timeout_secs)
        while not condition():
            secs = wait.next_secs()
            if not secs:
                return False
            left = until - time.monotonic()
            self._changed.wait(min(secs, left) if left > 0 else secs)
            warning = wait.warning()
            if warning is not None and warning not in self._warned_of:
                self._warned_of.add(warning)
                self._lock.release()  # a handler may wait for somebody who is at the gate
                try:
                    _logger.warning(warning)
                finally:
                    self._lock.acquire()
            self._settle()
        return True

    def _others(self) -> list[int]:
        """Those inside."""
        return list(self.holds) if self._alone is None else [self._alone]

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
            self._settle()
        try:
            yield self._alone != thread
        finally:
            if own:
                with self._lock:
                    self._wait_to_enter(thread)
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
            try:
                in_time = self._wait_alone(thread, timeout_secs)
            except BaseException:  # an interrupt
                self._resume(thread, own)
                raise
        try:
            yield in_time
        finally:
            with self._lock:
                self._resume(thread, own)

    def _wait_alone(self, thread: int, timeout_secs: float | None) -> bool:
        if not self.closed:
            self._asked_at = time.monotonic()
        self._asking.append(thread)
        self.closed = True
        self._settle()
        what = "be between two steps"
        if self._wait_until(lambda: self._alone == thread, what, timeout_secs):
            return True
        self._wait_until(lambda: self._alone in (None, thread), what)
        if self._alone == thread:
            return True
        self._asking.remove(thread)
        self._alone = thread
        self._settle()
        return False

    def _resume(self, thread: int, holds: int) -> None:
        """Give back what `thread` has alone or waits for; it has its `holds` again."""
        if holds:
            self.holds[thread] = holds
        if self._alone == thread:
            self._alone, self._asked_at = None, time.monotonic()
            self._let_in_at.clear()
        if thread in self._asking:
            self._asking.remove(thread)
        self._settle()
