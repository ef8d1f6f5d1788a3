"""EventQueue: the events that wait to be written to one directory, and the thread that writes them."""

from __future__ import annotations

import atexit
import collections
import errno
import functools
import logging
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from hookrun.writers.event_writer import summary_event
from hookrun.writers.record_file import EventFile, make_directory

__all__ = ["EventQueue", "Record"]

_logger = logging.getLogger(__name__)

_WRITE_SECS = 0.5  # from one write to the next
_PATIENCE_SECS = 0.5  # how long adding waits for a disk that has kept up so far
_FIRST_RETRY_SECS = 0.1
_LAST_RETRY_SECS = 5.0
_MAX_PENDING_BYTES = 16 << 20


_queues: weakref.WeakSet[EventQueue] = weakref.WeakSet()


Record = bytes | tuple[bytes, int | None, float]
"""A serialized `Event`; or a summary with its step and time, of which the writer thread makes one."""


class EventQueue:
    """What an `EventFileWriter` does with the events of its own directory; it says how. Open from the start.

    An event stays in the queue until it is synced: when writing or syncing fails, all that is queued is
    written to a new file. One that is not closed is closed at the end of the interpreter, or when it is
    collected. A forked child has an empty one, with a thread and a file of its own.

    Args:
      logdir: The directory, an absolute path or a URL. It is made at once.
      max_queue: The number of events that may wait to be synced.
      flush_secs: Seconds after which what was written is synced.
      filename_suffix: The end of the names of its files.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      OSError, tf.errors.OpError: If the directory cannot be made.
    """

    closed = True  # until the constructor is through: __del__ is called even when it raises

    def __init__(
        self,
        logdir: str,
        max_queue: int,
        flush_secs: float,
        filename_suffix: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logdir = logdir
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._filename_suffix = filename_suffix
        self._clock = clock
        self._set_up()
        make_directory(logdir)
        self._at_exit = functools.partial(_close_at_exit, weakref.ref(self))
        _queues.add(self)
        self.reopen()

    def _set_up(self) -> None:
        """An empty queue, and no file and thread yet."""
        self._disk = threading.Lock()  # held by the one thread that writes; guards the next
        self._file: EventFile | None = None
        self.lock = threading.RLock()  # never held while writing; guards all below
        self._due = threading.Condition(self.lock)  # the writer thread waits for it
        self._room = threading.Condition(self.lock)  # adding threads wait for it
        self._pending: collections.deque[Record] = collections.deque()
        self._pending_bytes = 0
        self._written = 0  # of the first ones, which are in the file and not synced
        self._write_time = self._sync_time = -math.inf  # when it is due
        self._flush_asked = False  # since the thread took what it writes
        self._retry_secs = _FIRST_RETRY_SECS
        self._failing = False
        self._keeping_up = True
        self.dropped = 0
        self._thread: threading.Thread | None = None

    def add(self, record: Record, droppable: bool) -> None:
        """Add an event; only a `droppable` one may be left out when there are too many."""
        with self.lock:
            full = droppable and len(self._pending) >= self._max_queue
            if full and self._keeping_up and not self.closed:
                self._keeping_up = self._room.wait_for(self._is_decided, _PATIENCE_SECS) and not self._failing
                full = self._is_full()
            if self.closed:
                warnings.warn("This event is ignored: the writer is closed.", stacklevel=4)
                return
            if not full:
                self._pending.append(record)
                self._pending_bytes += _size(record)
                if self._thread is None:
                    self._start_thread()
                elif len(self._pending) - self._written == 1 or self._delay() <= 0:
                    self._due.notify()
                return
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _logger.warning(
                "%d events wait to be written to %s: further ones are dropped.", self._max_queue, self._logdir
            )

    def flush(self) -> None:
        """Write and sync, on the calling thread, everything added before by any thread; none when closed.

        Raises:
          OSError: If that failed. The events stay queued and are tried again.
        """
        if not self.closed:
            try:
                self._write_pending(sync=True)
            except OSError:
                raise
            except Exception as error:  # the clients of a storage have their own
                raise OSError(errno.EIO, f"Writing events to {self._logdir} failed: {error}") from error

    def flush_soon(self) -> None:
        """Have the thread write and sync everything added before; while the disk fails, when it is due."""
        with self.lock:
            if self._pending and not self._failing:
                self._sync_time = -math.inf
                self._flush_asked = True
                self._due.notify()

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when it is open."""
        with self.lock:
            if self.closed:
                self.closed = False
                self._sync_time = -math.inf
                self.dropped = 0
                atexit.register(self._at_exit)

    def close(self) -> None:
        """Write and sync what is queued, end the thread and close the file. Later events are ignored.

        Raises:
          OSError: If events were lost because this last attempt failed too; it says how many.
        """
        with self.lock:
            if self.closed:
                return
            self.closed = True
            atexit.unregister(self._at_exit)
            thread, self._thread = self._thread, None
            self._due.notify()
            self._room.notify_all()
        if thread is not None and thread is not threading.current_thread():  # it may be the one that collects
            thread.join()
        try:
            self._write_pending(sync=True)
        except Exception as error:
            with self.lock:
                lost = len(self._pending) + self.dropped
                self._pending.clear()
                self._pending_bytes = 0
            code = getattr(error, "errno", None) or errno.EIO
            raise OSError(code, f"{lost} events for {self._logdir} were lost: {error}") from error
        finally:
            with self._disk:
                if self._file is not None:
                    self._file.close()
                    self._file = None
            if self.dropped:
                _logger.warning("%d events for %s were dropped.", self.dropped, self._logdir)

    def __del__(self) -> None:
        if not self.closed:
            self.close()

    def _start_in_child(self) -> None:
        """Leave to the process that was forked what it has queued, and its file."""
        file = self._file
        self._set_up()
        if file is not None:
            file.abandon()

    def _is_full(self) -> bool:
        return len(self._pending) >= self._max_queue

    def _is_decided(self) -> bool:
        return not self._is_full() or self._failing or self.closed

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=_write_when_due,
            args=(weakref.ref(self), self._due),
            name="hookrun-event-writer",
            daemon=True,
        )
        with suppress(RuntimeError):  # no further thread can be started: `flush` and `close` do without
            thread.start()
            self._thread = thread

    def _delay(self) -> float:
        """Seconds until the writer thread has something to do."""
        if not self._pending:
            return math.inf
        now = self._clock()
        if self._is_sync_due(now):
            return 0.0
        writes = len(self._pending) > self._written and not self._failing
        return min(self._sync_time, self._write_time if writes else math.inf) - now

    def _is_sync_due(self, now: float) -> bool:
        much = 2 * len(self._pending) >= self._max_queue or self._pending_bytes >= _MAX_PENDING_BYTES
        return now >= self._sync_time or (much and not self._failing)

    def _write_pending(self, sync: bool) -> None:
        """Write what is queued, on the calling thread, and sync it where it is asked to. When that fails, all
        that is not synced stays queued."""
        with self._disk:
            if not self._pending:
                return
            try:
                if self._file is None or not self._file.exists():
                    self._file = self._new_file()
                with self.lock:
                    batch = list(islice(self._pending, self._written, None))
                    self._flush_asked = self._flush_asked and not sync
                self._file.append([r if isinstance(r, bytes) else summary_event(*r) for r in batch])
                if sync:
                    self._file.sync()
            except BaseException as error:
                file, self._file = self._file, None
                if file is not None:
                    file.discard()
                if isinstance(error, Exception):
                    self._failed(error)
                raise
            with self.lock:
                self._written += len(batch)
                self._write_time = self._clock() + _WRITE_SECS
                recovered = self._failing and sync
                if sync:
                    self._synced()
        if recovered:
            _logger.info("Events are written to %s again.", self._logdir)

    def _synced(self) -> None:
        for _ in range(self._written):
            self._pending_bytes -= _size(self._pending.popleft())
        self._written = 0
        self._sync_time = -math.inf if self._flush_asked else self._clock() + self._flush_secs
        self._retry_secs = _FIRST_RETRY_SECS
        self._failing = False
        self._keeping_up = True
        self._room.notify_all()

    def _failed(self, error: Exception) -> None:
        with self.lock:
            first = not self._failing
            self._failing = True
            self._sync_time = self._clock() + self._retry_secs
            self._retry_secs = min(2 * self._retry_secs, _LAST_RETRY_SECS)
            self._due.notify()
            self._room.notify_all()
        if first:
            _logger.error(
                "Writing events to %s failed, and is tried again: %s", self._logdir, error, exc_info=error
            )

    def _new_file(self) -> EventFile:
        if self._file is not None:
            self._file.close()
        make_directory(self._logdir)
        file = EventFile(self._logdir, self._filename_suffix)
        with self.lock:
            self._written = 0
        return file


def _size(record: Record) -> int:
    return len(record if isinstance(record, bytes) else record[0])


def _write_when_due(reference: weakref.ref[EventQueue], due: threading.Condition) -> None:
    """The writer thread. It holds the queue only while it writes, so that the queue can be collected."""
    while True:
        with due:
            queue = reference()
            if queue is None or queue._thread is not threading.current_thread():
                return
            delay = queue._delay()
            if delay > 0:
                del queue  # which may have been the last reference
                if reference() is not None:
                    due.wait(min(delay, threading.TIMEOUT_MAX))
                continue
            sync = queue._is_sync_due(queue._clock())
        with suppress(Exception):  # it is reported, and the next attempt is due later
            queue._write_pending(sync)


def _close_at_exit(reference: weakref.ref[EventQueue]) -> None:
    queue = reference()
    if queue is not None:
        queue.__del__()


def _start_in_child() -> None:
    for queue in tuple(_queues):
        queue._start_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_in_child)
