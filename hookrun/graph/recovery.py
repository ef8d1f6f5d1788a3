"""What is done about a lost session: the error that tells of it, waits that end, and a budget of recoveries.

TensorFlow blocks in C++ while a task of the cluster does not answer: when a session is made, and when one is
closed. Such a call cannot be interrupted. It is made on a daemon thread, which is waited for as long as the
caller said and then left to itself: it ends when the task answers, or with the process.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import logging
import math
import queue
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, TypeVar

import tensorflow as tf

from hookrun.signals import SessionGoneError

__all__ = [
    "LOST",
    "CallersThread",
    "Recoveries",
    "SessionLostError",
    "StoppedWaitingError",
    "call_while_answered",
    "call_within",
    "close_within",
    "growing_waits",
    "is_lost",
]

_logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

LOST = (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.CancelledError)
"""What a run may raise when a task of its cluster went away, or came back as another process; `is_lost` says
whether that was why. It is a `CancelledError` where TensorFlow reports several errors as one."""

_FIRST_WAIT_SECS = 0.5
_POLL_SECS = 0.25
_EXIT_SECS = 0.5
_SILENCE_SECS = 5.0
"""How long tasks must not have answered before a run is given up."""
_NODE = re.compile(r"\{\{node (\S+?)\}\}")
_ONE_OF_SEVERAL = re.compile(
    r"^(?:ABORTED|UNAVAILABLE): (.*?)(?=^[A-Z_]+: |^=====|\Z)", re.MULTILINE | re.DOTALL
)


class SessionLostError(tf.errors.AbortedError, tf.errors.UnavailableError, SessionGoneError):
    """A worker or a parameter server went away, and the session with it.

    It is both a `tf.errors.AbortedError` and a `tf.errors.UnavailableError`, so that a loop that retries on
    either of them does. Only runs of a session raise it: an `AbortedError` of a hook, of the program or of an
    op of the graph stays what it is.

    Args:
      error: What the run raised.
    """

    def __init__(self, error: tf.errors.OpError) -> None:
        message = f"The session was lost: {error.message}"
        tf.errors.OpError.__init__(self, error.node_def, error.op, message, tf.errors.ABORTED)
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error,)


class StoppedWaitingError(tf.errors.CancelledError):
    """A stop was requested while a session was waited for."""

    def __init__(self, missing: str) -> None:
        super().__init__(None, None, f"A stop was requested while waiting for a session: {missing}")


def is_lost(error: tf.errors.OpError, graph: tf.Graph) -> bool:
    """True for what a run of a session raises when it is lost; False for what an op of `graph` fails with.

    TensorFlow reports the op that failed. It has none to report for a task that went away, except the nodes
    that it adds to a graph for the transport.
    """
    if not isinstance(error, LOST):
        return False
    messages = _ONE_OF_SEVERAL.findall(error.message)
    if not messages and not isinstance(error, tf.errors.CancelledError):
        messages = [error.message]
    return any(not any(_is_op(name, graph) for name in _NODE.findall(message)) for message in messages)


def _is_op(name: str, graph: tf.Graph) -> bool:
    try:
        graph.get_operation_by_name(name)
    except (KeyError, ValueError):
        return False
    return True


class Recoveries:
    """How often a session may be recovered, and how long to wait before each time.

    Args:
      at_most: The number of recoveries within a period.
      period_secs: The period, in seconds.
      clock: Returns the time in seconds; it never goes backwards.
    """

    def __init__(
        self, at_most: int, period_secs: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_most = at_most
        self._period_secs = period_secs
        self._clock = clock
        self._times: collections.deque[float] = collections.deque()

    def next_wait_secs(self, error: SessionLostError) -> float:
        """Count a recovery, log it, and return how long to wait before it.

        The wait doubles with each recovery of the period, up to 30 s. A random part of it is left out, so
        that the workers of a cluster do not come all at once.

        Raises:
          SessionLostError: `error`, if there were too many.
        """
        now = self._clock()
        while self._times and now - self._times[0] > self._period_secs:
            self._times.popleft()
        if len(self._times) >= self._at_most:
            _logger.error(
                "The session was lost, after %d recoveries within %g s: the training ends",
                *(len(self._times), self._period_secs),
            )
            raise error
        secs: float = min(30.0, 0.25 * 2.0 ** len(self._times)) * random.uniform(0.5, 1.0)
        self._times.append(now)
        _logger.error(
            "Recovery %d of at most %d within %g s begins in %.1f s: %s",
            *(len(self._times), self._at_most, self._period_secs, secs, _first_line(error)),
        )
        return secs


def growing_waits(longest_secs: float) -> Iterator[float]:
    """Yield waits in seconds, each twice as long as the one before, up to the longest."""
    secs = min(_FIRST_WAIT_SECS, longest_secs)
    while True:
        yield secs
        secs = min(2 * secs, longest_secs)


_left_to_themselves: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@atexit.register
def _wait_for_those_left() -> None:
    """A thread that comes back from C++ while the interpreter ends would abort the process."""
    deadline = time.monotonic() + _EXIT_SECS
    for thread in list(_left_to_themselves):
        thread.join(max(0.0, deadline - time.monotonic()))


class CallersThread:
    """The thread that waits in `call_within`: it calls what the blocked one asks it to call."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[futures.Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._left = False

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Have `function` called by the thread that waits; on any other one.

        Raises:
          BaseException: What it raised.
          futures.CancelledError: If nobody waits any more.
        """
        future: futures.Future[_Result] = futures.Future()
        with self._lock:
            if self._left:
                raise futures.CancelledError
            self._asked.put((future, function))
        return future.result()

    def serve(self, secs: float) -> float:
        """Wait for something to be asked, so many seconds at most, and do it; return how long that took."""
        try:
            future, function = self._asked.get(timeout=secs)
        except queue.Empty:
            return 0.0
        start = time.monotonic()
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future.set_result(result)
        return time.monotonic() - start

    def wake(self) -> None:
        """End the `serve` that waits."""
        self._asked.put((futures.Future(), lambda: None))

    def leave(self) -> None:
        """Serve no more."""
        with self._lock:
            self._left = True
        with contextlib.suppress(queue.Empty):
            while True:
                future, _ = self._asked.get_nowait()
                future.cancel()


def call_within(
    name: str,
    call: Callable[[], _Result],
    deadline: float,
    *,
    waiting: Callable[[], None] = lambda: None,
    callers_thread: CallersThread | None = None,
    too_late: Callable[[_Result], object] = lambda result: None,
) -> _Result:
    """Make a call that may block in C++, on a thread of its own, and wait for it until the deadline.

    Ctrl-C ends the wait. A thread that is blocked then cannot be joined, and is left to itself.

    Args:
      name: The thread's name.
      call: The call.
      deadline: A time of `time.monotonic`; what `callers_thread` calls does not count.
      waiting: Called every 0.25 s while the call blocks; what it raises ends the wait.
      callers_thread: How the call may have something called by the thread that waits.
      too_late: Called on that thread with a result that nobody waits for any more.

    Returns:
      What `call` returned.

    Raises:
      TimeoutError: If the deadline has passed.
      BaseException: What `call` raised.
    """
    done = threading.Event()
    lock = threading.Lock()
    given_up = False
    results: list[_Result] = []
    errors: list[BaseException] = []
    callers_thread = callers_thread or CallersThread()

    def make_call() -> None:
        try:
            result = call()
        except BaseException as error:  # raised again by the one who waits
            errors.append(error)
        else:
            with lock:
                late = given_up
                results.append(result)
            if late:
                too_late(result)
        done.set()
        callers_thread.wake()

    thread = threading.Thread(target=make_call, name=name, daemon=True)
    thread.start()
    try:
        while not done.is_set():
            left = deadline - time.monotonic()
            deadline += callers_thread.serve(max(0.0, min(_POLL_SECS, left)))
            if done.is_set():
                break
            if time.monotonic() >= deadline:
                raise TimeoutError(name)
            waiting()
    except BaseException:
        _left_to_themselves.add(thread)
        with lock:
            given_up = True
            late_results = list(results)
        for result in late_results:  # it came in the moment between
            too_late(result)
        raise
    finally:
        callers_thread.leave()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def call_while_answered(
    name: str, call: Callable[[], _Result], silent: Callable[[], str], deadline: float
) -> _Result:
    """Make a call that may block in C++, on a thread of its own, and wait for it as long as all tasks answer.

    Args:
      name, call: As for `call_within`.
      silent: Says which tasks do not answer; empty where all do.
      deadline: A time of `time.monotonic`: until then a task may be silent.

    Raises:
      tf.errors.UnavailableError: If a task was silent at the deadline, and for 5 s; it says which.
      BaseException: What `call` raised.
    """
    last_answer = time.monotonic()

    def look() -> None:
        nonlocal last_answer
        missing, now = silent(), time.monotonic()
        if not missing:
            last_answer = now
        elif now >= max(deadline, last_answer + _SILENCE_SECS):
            raise tf.errors.UnavailableError(None, None, missing)

    return call_within(name, call, math.inf, waiting=look)


def close_within(secs: float, close: Callable[[], object]) -> None:
    """Close a remote session by `close`, on the thread ``hookrun-session-close``.

    With a server that does not answer, TensorFlow's call blocks until it does.

    Args:
      secs: How long the end of it is waited for.
      close: The call.
    """
    try:
        call_within("hookrun-session-close", close, time.monotonic() + secs)
    except TimeoutError:
        _logger.info("The session's server does not answer: its end is not waited for")


def _first_line(error: tf.errors.OpError) -> str:
    lines = [line for line in error.message.splitlines() if line.strip()]
    return " ".join(lines)[:300]
