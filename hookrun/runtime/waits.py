"""Waits of one thread for another: after ten seconds a warning says who waits, and whom for."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

__all__ = ["LOOK_SECS", "Wait", "wait_for"]

_logger = logging.getLogger(__name__)

LOOK_SECS = 0.1
"""How often one that waits looks by itself: an interrupt may have broken off the notification."""

_WARN_SECS = 10.0

_MACHINERY = ("hookrun", "tensorflow", "threading", "concurrent", "contextlib")
"""The packages in which a thread stands for the sake of whoever called them."""


class Wait:
    """A wait of the calling thread, that begins now.

    Args:
      what: What the thread waits to do: "Thread … has waited 10 s to <what>".
      whom: Returns the idents of the threads that it waits for.
      timeout_secs: Seconds to wait at most; None for no bound.
    """

    def __init__(
        self, what: str, whom: Callable[[], Iterable[int]], timeout_secs: float | None = None
    ) -> None:
        self._what = what
        self._whom = whom
        self._start = time.monotonic()
        self._deadline = None if timeout_secs is None else self._start + timeout_secs
        self._warned = False

    def next_secs(self) -> float:
        """Seconds until the waiting thread is to look again; 0 when the time is over."""
        if self._deadline is None:
            return LOOK_SECS
        return max(0.0, min(LOOK_SECS, self._deadline - time.monotonic()))

    def warning(self) -> str | None:
        """What is to be logged now, once; else None."""
        if self._warned or time.monotonic() - self._start < _WARN_SECS:
            return None
        self._warned = True
        others = ", ".join(_place_of(thread) for thread in self._whom())
        return (
            f"Thread {threading.current_thread().name} has waited {_WARN_SECS:g} s to {self._what}, "
            f"for {others or 'a thread that has ended'}"
        )


def wait_for(future: futures.Future[Any], wait: Wait) -> bool:
    """Wait until `future` is done; return False where the time of `wait` was over first."""
    while not future.done():
        secs = wait.next_secs()
        if not secs:
            return False
        futures.wait([future], secs)
        warning = wait.warning()
        if warning is not None:
            _logger.warning(warning)
    return True


def _place_of(thread: int) -> str:
    """The name of a thread, and where in the program it is."""
    name = next((t.name for t in threading.enumerate() if t.ident == thread), str(thread))
    innermost = frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _MACHINERY:
        frame = frame.f_back
    at = frame or innermost
    if at is None:
        return f"thread {name}"
    return f"thread {name} (at {at.f_code.co_filename}:{at.f_lineno}, in {at.f_code.co_name})"
