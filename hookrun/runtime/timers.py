"""TimerThread: something on a clock."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import tensorflow as tf

from hookrun.signals import SessionGoneError, check_ran

if TYPE_CHECKING:
    from hookrun.runtime.coordinator import Coordinator

__all__ = ["TimerThread", "next_tick", "start_loop"]

_logger = logging.getLogger(__name__)


_NO_FAILURES = (tf.errors.OutOfRangeError, SessionGoneError)
"""The end of the input, and that of the session."""


class TimerThread(threading.Thread):
    """Calls a function on a clock until the coordinator stops: at once, then at each boundary.

    The boundaries are `interval_secs` apart; those that pass while the function runs are left out, so a
    slow one is not followed by a burst. The function runs inside `context`. An exception is logged, ends
    the thread, and is reported to the coordinator, which stops the training.

    Args:
      name: The thread's name; a failure is logged under it.
      coord: The coordinator that the thread registers with and that ends it.
      interval_secs: Seconds between two calls; None calls back to back.
      target: Called without arguments, on this thread.
      context: Makes the context manager in which `target` runs.
      clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(
        self,
        name: str,
        coord: Coordinator,
        interval_secs: float | None,
        target: Callable[[], object],
        context: Callable[[], AbstractContextManager[object]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._coord = coord
        self._interval_secs = None if interval_secs is None else float(interval_secs)  # of numpy's also
        self._call = target
        self._context = context
        self._clock = clock
        coord.register_thread(self)

    def run(self) -> None:
        """The thread's own body; `start` begins it."""
        try:
            with self._context():
                if self._interval_secs is None:
                    while not self._coord.should_stop():
                        check_ran(self._call, self._call())
                else:
                    self._call_at_boundaries(self._interval_secs)
        except BaseException as error:  # the coordinator raises it again on the main thread
            if self._coord.should_stop() or isinstance(error, _NO_FAILURES):
                _logger.info("Thread %s ended with %s: %s", self.name, type(error).__name__, error)
            else:
                _logger.error("Thread %s failed: %s", self.name, error, exc_info=error)
            self._coord.request_stop(error)

    def _call_at_boundaries(self, interval_secs: float) -> None:
        due = self._clock()
        while not self._coord.wait_for_stop(due - self._clock()):
            check_ran(self._call, self._call())
            due = next_tick(due, interval_secs, self._clock())


def next_tick(due: float, interval_secs: float, now: float) -> float:
    """The first boundary at or after `now`, of those that lie `interval_secs` apart after `due`."""
    if interval_secs <= 0:
        return now
    return due + interval_secs * max(1, math.ceil((now - due) / interval_secs))


def start_loop(
    coord: Coordinator,
    interval_secs: float | None,
    call: Callable[[], object],
    name: str,
    context: Callable[[], AbstractContextManager[object]],
) -> TimerThread:
    """Start a thread that calls a function of the program's periodically; arguments as for `TimerThread`."""
    thread = TimerThread(f"hookrun-loop-{name}", coord, interval_secs, call, context)
    thread.start()
    return thread
