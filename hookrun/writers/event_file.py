"""EventFileWriter: TensorBoard's event files, written and synced on a thread of their own."""

from __future__ import annotations

import atexit
import collections
import errno
import functools
import logging
import math
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, SupportsInt

from hookrun.paths import is_local, local_path
from hookrun.writers.event_writer import EventWriter, summary_event
from hookrun.writers.record_file import EventFile, check_url, make_directory
from hookrun.writers.vocabulary import Vocabulary

__all__ = ["EventFileWriter"]

_logger = logging.getLogger(__name__)

_WRITE_SECS = 0.5  # from one write to the next
_PATIENCE_SECS = 0.5  # how long adding waits for a disk that has kept up so far
_FIRST_RETRY_SECS = 0.1
_LAST_RETRY_SECS = 5.0
_MAX_PENDING_BYTES = 16 << 20


_writers: weakref.WeakSet[EventFileWriter] = weakref.WeakSet()


_Record = bytes | tuple[bytes, int | None, float]
"""A serialized `Event`; or a summary with its step and time, of which the writer thread makes one."""


class EventFileWriter(EventWriter):
    """Writes event files that TensorBoard reads. Takes the place of `tf.compat.v1.summary.FileWriter`.

    It has also the methods of `tensorboardX.SummaryWriter`: `add_scalar`, `add_histogram`, `add_image`,
    `add_text`, `add_hparams`, ... Those of them that write to directories of their own do so through writers
    that are flushed and closed with this one.

    All methods may be called from any thread. Adding only puts the event into a queue. A thread of the
    writer takes all queued events at once and writes them within a second: TensorBoard sees them then, and
    they are not lost when the process is killed. It syncs them to disk, for the case that the machine fails:
    the first one right away, further ones every `flush_secs`, or when the queue is half full or holds 16 MiB.
    An event stays in the queue until it is synced.

    When the queue is full, adding waits for the thread as long as the disk has kept up so far, and then
    for 0.5 s at most. After that, and while the disk fails, it does not wait: the event that would be added
    is dropped and counted. Graphs, meta graphs, session logs, run metadata and version events are never
    dropped. The first event dropped is reported as a warning, and their number at `close`.

    When writing fails, the error is logged once with its traceback, the file is cut back to what was synced
    (deleted if that is nothing), and everything queued is tried again in a new file, after 0.1 s at first
    and then after up to 5 s. No record is torn, lost or written twice by this.

    A directory with a URL is written to by tensorboardX where it can do that, else by `tf.io.gfile`. What is
    added is there once it is synced, as far as that storage makes it so: an object store writes the whole
    file anew each time. A file that cannot be cut may show an event twice.

    A forked child that adds events has a queue, a thread and a file of its own.

    The file is created with the first event. Its name is not in use yet, and sorts after those of the event
    files that are there, also where the clock was set back since. A writer that is not closed is closed at
    the end of the interpreter, or when it is collected.

    Args:
      logdir: The directory of the file, made at once: a path, or a URL that tensorboardX or `tf.io.gfile`
        can write to.
      max_queue: The number of events that may wait to be synced.
      flush_secs: Seconds after which what was written is synced to disk, without `flush` being called.
      filename_suffix: The end of the file's name.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      OSError, tf.errors.OpError: If the directory cannot be made.
      ValueError: If `max_queue` is below 1, `flush_secs` negative, or `logdir` a URL of another kind.
    """

    _closed = True  # until the constructor is through: __del__ is called even when it raises

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        max_queue: int = 1000,
        flush_secs: float = 120,
        filename_suffix: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_queue < 1:
            raise ValueError(f"max_queue must be at least 1, not {max_queue!r}")
        if not flush_secs >= 0:
            raise ValueError(f"flush_secs must be a number of seconds, not {flush_secs!r}")
        self._logdir = os.fspath(logdir)
        if is_local(self._logdir):
            self._logdir = local_path(self._logdir)
        else:
            check_url(self._logdir)
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._filename_suffix = filename_suffix
        self._clock = clock
        self._run_metadata_tags: set[str] = set()

        self._beneath: dict[str, EventFileWriter] = {}
        self._start: tuple[Any, SupportsInt | None] | None = None
        self._set_up()

        make_directory(self._logdir)
        self._at_exit = functools.partial(_close_at_exit, weakref.ref(self))
        _writers.add(self)
        self.reopen()

    def _set_up(self) -> None:
        """An empty queue, and no file and thread yet."""
        self._disk = threading.Lock()  # held by the one thread that writes; guards the next
        self._file: EventFile | None = None
        self._lock = threading.RLock()  # never held while writing; guards all below
        self._due = threading.Condition(self._lock)  # the writer thread waits for it
        self._room = threading.Condition(self._lock)  # adding threads wait for it
        self._pending: collections.deque[_Record] = collections.deque()
        self._pending_bytes = 0
        self._written = 0  # of the first ones, which are in the file and not synced
        self._write_time = self._sync_time = -math.inf  # when it is due
        self._flush_asked = False  # since the thread took what it writes
        self._retry_secs = _FIRST_RETRY_SECS
        self._failing = False
        self._keeping_up = True
        self._dropped = 0
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """The number of events dropped because the queue was full, since the writer was last opened."""
        return self._dropped

    def get_logdir(self) -> str:
        """The directory of the file, as a string: an absolute path, or a URL."""
        return self._logdir

    def add_graph(self, graph: Any, *arguments: Any, **keywords: Any) -> None:
        """Add a graph, which TensorBoard draws.

        Args:
          graph: A `tf.Graph` or a `GraphDef` message, with the arguments that `FileWriter.add_graph` takes;
            or a PyTorch module, with those that tensorboardX's `add_graph` takes.

        Raises:
          TypeError: If the graph is none of these.
        """
        torch: Any = sys.modules.get("torch")
        if torch is not None and isinstance(graph, torch.nn.Module):
            self._vocabulary.add_graph(graph, *arguments, **keywords)
        else:
            super().add_graph(graph, *arguments, **keywords)

    def add_session_log(self, session_log: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `SessionLog` message: a session started, stopped or saved a checkpoint.

        A start holds for the directories beneath too: TensorBoard drops what an earlier run wrote after it.

        Raises:
          TypeError: If `session_log` is anything else.
        """
        super().add_session_log(session_log, global_step)
        if session_log.status == session_log.START:
            with self._lock:
                self._run_metadata_tags.clear()  # those of steps that are made again
                self._start = (session_log, global_step)
                for writer in self._beneath.values():
                    writer.add_session_log(session_log, global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: SupportsInt | None = None) -> None:
        """Add the `RunMetadata` message of one `session.run()`, under a name of its own.

        Raises:
          TypeError: If `run_metadata` is anything else.
          ValueError: If `tag` was used before.
        """
        with self._lock:
            if tag in self._run_metadata_tags:
                raise ValueError("The provided tag was already used for this event type")
            super().add_run_metadata(run_metadata, tag, global_step)
            self._run_metadata_tags.add(tag)

    def flush(self) -> None:
        """Write and sync, on the calling thread, everything added before by any thread. Then return.

        Does nothing when the writer is closed.

        Raises:
          OSError: If that failed. The events stay queued and are tried again.
        """
        with ExitStack() as others:
            for writer in self._writers_beneath():
                others.callback(writer.flush)
            if not self._closed:
                try:
                    self._write_pending(sync=True)
                except OSError:
                    raise
                except Exception as error:
                    raise OSError(errno.EIO, f"Writing events to {self._logdir} failed: {error}") from error

    def flush_soon(self) -> None:
        """Have the writer's thread write and sync everything added before, and do not wait for it.

        While the disk fails, the next attempt is made when it is due.
        """
        with self._lock:
            if self._pending and not self._failing:
                self._sync_time = -math.inf
                self._flush_asked = True
                self._due.notify()
        for writer in self._writers_beneath():
            writer.flush_soon()

    def close(self) -> None:
        """Write and sync what is queued, end the thread and close the file. Later events are ignored.

        Raises:
          OSError: If events were lost because this last attempt failed too; it says how many.
        """
        with ExitStack() as others:
            for writer in self._writers_beneath():
                others.callback(writer.close)
            self._close()

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open."""
        with self._lock:
            if self._closed:
                self._closed = False
                self._sync_time = -math.inf
                self._dropped = 0
                atexit.register(self._at_exit)
        for writer in self._writers_beneath():
            writer.reopen()

    def beneath(self, name: str) -> EventFileWriter:
        """The writer of the directory `name` in this one's: flushed, closed and reopened with this one.

        Raises:
          OSError: If the directory cannot be made.
        """
        with self._lock:
            writer = self._beneath.get(name)
            if writer is None:
                writer = self._beneath[name] = EventFileWriter(
                    os.path.join(self._logdir, name),
                    self._max_queue,
                    self._flush_secs,
                    self._filename_suffix,
                    clock=self._clock,
                )
                if self._start is not None:
                    writer.add_session_log(*self._start)
                if self._closed:
                    writer.close()
            return writer

    def __getattr__(self, name: str) -> Any:
        """The methods of tensorboardX."""
        if name.startswith("_") or not hasattr(Vocabulary, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._vocabulary, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in dir(Vocabulary) if name.startswith("add_"))]

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self)

    def __enter__(self) -> EventFileWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self.close()

    def _close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            atexit.unregister(self._at_exit)
            thread, self._thread = self._thread, None
            self._due.notify()
            self._room.notify_all()
        if thread is not None and thread is not threading.current_thread():  # it may be the one that collects
            thread.join()
        try:
            self._write_pending(sync=True)
        except Exception as error:
            with self._lock:
                lost = len(self._pending) + self._dropped
                self._pending.clear()
                self._pending_bytes = 0
            code = getattr(error, "errno", None) or errno.EIO
            raise OSError(code, f"{lost} events for {self._logdir} were lost: {error}") from error
        finally:
            with self._disk:
                if self._file is not None:
                    self._file.close()
                    self._file = None
            if self._dropped:
                _logger.warning("%d events for %s were dropped.", self._dropped, self._logdir)

    def _summary_record(self, summary: bytes, step: int | None, walltime: float) -> _Record:
        return summary, step, walltime  # the writer thread makes an event of it

    def _add_record(self, record: _Record, droppable: bool) -> None:
        with self._lock:
            full = droppable and len(self._pending) >= self._max_queue
            if full and self._keeping_up and not self._closed:
                self._keeping_up = self._room.wait_for(self._is_decided, _PATIENCE_SECS) and not self._failing
                full = self._is_full()
            if self._closed:
                warnings.warn("This event is ignored: the writer is closed.", stacklevel=3)
                return
            if not full:
                self._pending.append(record)
                self._pending_bytes += _size(record)
                if self._thread is None:
                    self._start_thread()
                elif len(self._pending) - self._written == 1 or self._delay() <= 0:
                    self._due.notify()
                return
            self._dropped += 1
            first = self._dropped == 1
        if first:
            _logger.warning(
                "%d events wait to be written to %s: further ones are dropped.", self._max_queue, self._logdir
            )

    def _writers_beneath(self) -> list[EventFileWriter]:
        with self._lock:
            return list(self._beneath.values())

    def _start_in_child(self) -> None:
        """Leave to the process that was forked what it has queued, and its file."""
        file = self._file
        self._set_up()
        if file is not None:
            file.abandon()

    def _is_full(self) -> bool:
        return len(self._pending) >= self._max_queue

    def _is_decided(self) -> bool:
        return not self._is_full() or self._failing or self._closed

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
                with self._lock:
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
            with self._lock:
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
        with self._lock:
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
        with self._lock:
            self._written = 0
        return file


def _size(record: _Record) -> int:
    return len(record if isinstance(record, bytes) else record[0])


def _write_when_due(reference: weakref.ref[EventFileWriter], due: threading.Condition) -> None:
    """The writer thread. It holds the writer only while it writes, so that the writer can be collected."""
    while True:
        with due:
            writer = reference()
            if writer is None or writer._thread is not threading.current_thread():
                return
            delay = writer._delay()
            if delay > 0:
                del writer  # which may have been the last reference
                if reference() is not None:
                    due.wait(min(delay, threading.TIMEOUT_MAX))
                continue
            sync = writer._is_sync_due(writer._clock())
        with suppress(Exception):  # it is reported, and the next attempt is due later
            writer._write_pending(sync)


def _close_at_exit(reference: weakref.ref[EventFileWriter]) -> None:
    writer = reference()
    if writer is not None:
        writer.__del__()


def _start_in_child() -> None:
    for writer in tuple(_writers):
        writer._start_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_in_child)
