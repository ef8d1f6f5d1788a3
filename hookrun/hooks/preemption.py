"""PreemptionHook: ends the training as intended when the process is told to go."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from hookrun import events
from hookrun.runtime.hook import Hook

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["PreemptionHook"]

_logger = logging.getLogger(__name__)

_UNCATCHABLE = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}

_FROM_HANDLER = 0x80
"""Set in what a handler itself tells the watcher; the rest comes from the interpreter's wakeup."""

_ONE_SIGNAL_SECS = 0.5
"""What is delivered within that time is one signal: a launcher sends it to the process and to its group."""


class PreemptionHook(Hook):
    """Stops the training on a signal of the operating system: SIGTERM of a scheduler, Ctrl-C.

    ```python
    sv = hookrun.Supervisor(logdir="runs/preempted", hooks=[hooks.PreemptionHook()])
    ```

    The training step that runs is finished, `should_stop` becomes true, and the next training step raises
    in a loop that does not ask. Then the session ends as at the end of the training, with a final
    checkpoint, and the `with` block (or `stop`) raises `SystemExit`, or `KeyboardInterrupt` for SIGINT:
    left alone, the process ends with the status that a shell expects, such as 143 for SIGTERM.

    What is delivered within half a second of the first signal is one with it, as where a launcher tells both
    the process and its group. A second signal, after that, ends the process at once, whatever it is doing, as
    if nothing handled it. A step that waits for input is not broken off by the first.

    Handlers that the program installed before are called too, on the main thread, and put back at the
    end of the session, half a second after a signal at the earliest; where one raises, that ends the training
    as it would without this hook. A signal that is ignored stays ignored. Child processes made by forking
    have the program's handlers.

    A session with this hook must be made on the main thread: Python handles signals on no other.

    Args:
      signal_numbers: Signals of Python's module `signal`, such as ``[signal.SIGTERM, signal.SIGUSR1]``.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      ValueError: If `signal_numbers` is empty, or holds what is no signal or cannot be handled.
    """

    priority = 2000  # the handlers stay until the final checkpoint is saved

    def __init__(
        self,
        signal_numbers: Iterable[int] = (signal.SIGTERM, signal.SIGINT),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(signal_numbers, Iterable):
            raise ValueError(f"signal_numbers must be an iterable of signal numbers, not {signal_numbers!r}")
        self._signal_numbers = list(signal_numbers)
        if not self._signal_numbers:
            raise ValueError("signal_numbers must name at least one signal")
        for number in self._signal_numbers:
            if number not in signal.valid_signals() - _UNCATCHABLE:
                raise ValueError(f"signal_numbers must be signals that can be handled, not {number!r}")
        self._signal_numbers = list(map(int, self._signal_numbers))  # of numpy's, no exit status can be made
        self._clock = clock
        self._handling: _SignalHandling | None = None

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "PreemptionHook needs a session made on the main thread, the only one on which Python "
                f"handles signals; this one is made on {threading.current_thread().name}"
            )
        self._release()  # where a session before was never stopped

        def stop_training(number: int) -> None:
            _logger.warning("%s received: the training stops after this step", _name(number))
            interrupt = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
            runtime.coord.fail(interrupt)

        self._handling = _SignalHandling(stop_training, self._clock)
        self._handling.install(self._signal_numbers)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        self._release()

    def _release(self) -> None:
        handling, self._handling = self._handling, None
        if handling is not None:
            handling.release()


class _SignalHandling:
    """Calls `on_first` for the first signal, on a thread of its own; the second has its default action.

    What comes within `_ONE_SIGNAL_SECS` of the first is no second one.

    A handler runs between two bytecodes of the main thread, which may hold any lock, and does not run
    while that thread is in a `Session.run`. So the interpreter itself writes to a socket when a signal
    arrives (`signal.set_wakeup_fd`), and the thread that reads it does the rest.

    Installed and released on the main thread.
    """

    def __init__(self, on_first: Callable[[int], None], clock: Callable[[], float]) -> None:
        self._on_first = on_first
        self._clock = clock
        self._first_time: float | None = None
        self._told = False
        self._called: set[int] = set()
        self._lock = threading.Lock()  # never taken by the handler
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._previous: dict[int, Any] = {}
        self._previous_wakeup_fd = -1
        self._threads: list[threading.Thread] = []
        self._start(self._watch)

    def install(self, numbers: Iterable[int]) -> None:
        """Handle `numbers`, without those that are ignored or whose handler is not Python's."""
        _in_force.append(self)
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            previous = signal.getsignal(number)
            if previous is None:
                _logger.warning("%s keeps its handler, which was not installed from Python", _name(number))
            elif previous is not signal.SIG_IGN and number not in self._previous:
                self._previous[number] = previous
                signal.signal(number, self._handle)

    def release(self) -> None:
        """Put back what was there before, and wait for the threads. A signal that has come is still told.

        What is one with it is waited for: it would have its default action.
        """
        try:
            if self._first_time is not None:
                left = self._first_time + _ONE_SIGNAL_SECS - self._clock()
                time.sleep(min(max(left, 0), _ONE_SIGNAL_SECS))
        finally:
            self._restore()
        with contextlib.suppress(OSError):  # closed, in a child
            self._sender.shutdown(socket.SHUT_WR)  # which a child's copy does not keep open
        self._sender.close()
        for thread in self._threads:  # the first, which may start another, comes first
            thread.join()
        self._receiver.close()

    def release_in_child(self) -> None:
        """Put back what was there before, in a forked child, and leave the parent's socket alone."""
        self._restore()
        self._sender.close()
        self._receiver.close()

    def _restore(self) -> None:
        """The handlers of the program, except where it has installed others since."""
        if self not in _in_force:
            return
        _in_force.remove(self)
        with self._lock:
            for number in self._still_handled():
                signal.signal(number, self._previous[number])
        wakeup_fd = signal.set_wakeup_fd(-1)
        if wakeup_fd == self._sender.fileno():
            wakeup_fd = self._previous_wakeup_fd
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)

    def _still_handled(self) -> list[int]:
        return [number for number in self._previous if signal.getsignal(number) == self._handle]

    def _handle(self, number: int, frame: Any) -> None:
        with contextlib.suppress(OSError):  # full: the thread has been told
            self._sender.send(bytes([number | _FROM_HANDLER]))  # the wakeup may go elsewhere by now
        self._time_of_first()
        previous = self._previous[number]
        if callable(previous) and previous is not signal.default_int_handler and number not in self._called:
            self._called.add(number)
            previous(number, frame)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="hookrun-preemption", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _time_of_first(self) -> float:
        """When the first signal came: now, where neither the handler nor the thread has been told before."""
        if self._first_time is None:
            self._first_time = self._clock()
        return self._first_time

    def _watch(self) -> None:
        while (received := self._receive()) != b"":
            delivered = bytes(byte for byte in received or b"" if byte < _FROM_HANDLER)
            self._pass_on(delivered)
            if not self._told:
                numbers = [byte & ~_FROM_HANDLER for byte in received or b""]
                first = next((number for number in numbers if number in self._previous), None)
                if first is not None:
                    self._told = True
                    self._time_of_first()
                    self._receiver.settimeout(_ONE_SIGNAL_SECS)
                    # It may wait for locks that the main thread holds; a second signal is not to wait for it.
                    self._start(functools.partial(self._on_first, first))
            elif self._clock() - self._time_of_first() >= _ONE_SIGNAL_SECS:
                self._receiver.settimeout(None)
                self._end_by_next(delivered)

    def _end_by_next(self, delivered: bytes) -> None:
        """Let the next signal have its default action, and those of `delivered`, which came before that."""
        with self._lock:
            handled = self._still_handled()
            for number in handled:
                _set_default_action(number)
        for number in set(delivered).intersection(handled):
            os.kill(os.getpid(), number)

    def _receive(self) -> bytes | None:
        """What has been told; None after `_ONE_SIGNAL_SECS` without anything, empty bytes at the end."""
        try:
            return self._receiver.recv(4096)
        except TimeoutError:
            return None

    def _pass_on(self, received: bytes) -> None:
        """Wake up whoever asked for it before, such as an event loop."""
        if self._previous_wakeup_fd != -1 and received:
            with contextlib.suppress(OSError):  # full, or closed
                os.write(self._previous_wakeup_fd, received)


_in_force: list[_SignalHandling] = []
"""Those that are installed, the last one on top: signals belong to the process."""


def _release_in_child() -> None:
    """The socket is the parent's too: a signal sent to the child must not stop the parent."""
    for handling in _in_force[::-1]:
        handling.release_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def _set_default_action(number: int) -> None:
    """As `signal.signal` with `SIG_DFL`, which only the main thread may call: it may be in C++ for long."""
    set_action = ctypes.pythonapi.PyOS_setsig
    set_action.argtypes, set_action.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    set_action(number, int(signal.SIG_DFL))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
