"""EventFileWriter: TensorBoard's event files, written and synced on a thread of their own."""

from __future__ import annotations

import abc
import atexit
import collections
import errno
import functools
import logging
import math
import os
import socket
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, SupportsInt

import tensorflow as tf
from tensorboardX.record_writer import REGISTERED_FACTORIES, RecordWriter, directory_check

__all__ = ["EventFileWriter", "EventWriter"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECS = 0.5  # how long adding waits for a disk that has kept up so far
_FIRST_RETRY_SECS = 0.1
_LAST_RETRY_SECS = 5.0
_MAX_PENDING_BYTES = 16 << 20

# Field numbers of the Event message.
_GRAPH_DEF, _SUMMARY, _SESSION_LOG, _TAGGED_RUN_METADATA, _META_GRAPH_DEF = 4, 5, 7, 8, 9

_wall_time_field = struct.Struct("<Bd").pack


class EventWriter(abc.ABC):
    """The methods of TensorFlow's `FileWriter` that add an event. A subclass says where the event goes.

    A message may come from TensorFlow, tensorboardX or tensorboard: it is known by its name. What is
    already serialized is not parsed.
    """

    @abc.abstractmethod
    def _add_record(self, record: bytes, droppable: bool) -> None:
        """Take a serialized `Event`; only a `droppable` one may be left out when there are too many."""

    def add_summary(self, summary: Any, global_step: SupportsInt | None = None) -> None:
        """Add a summary, as it comes from running a summary op.

        Args:
          summary: A serialized `Summary`, as bytes, or a `Summary` message.
          global_step: The step it belongs to: an integer, also as a numpy scalar or an array of size 1.

        Raises:
          TypeError: If `summary` is anything else.
          ValueError: If `global_step` is not one number of 64 bits.
        """
        if not isinstance(summary, bytes):
            summary = _serialized("summary", summary, "Summary", "serialized bytes or ")
        self._add_record(_event(_SUMMARY, summary, global_step), True)

    def add_event(self, event: Any) -> None:
        """Add an `Event` message as it is, with its own time and step.

        Raises:
          TypeError: If `event` is no `Event` message.
        """
        record = _serialized("event", event, "Event")
        self._add_record(record, event.WhichOneof("what") in ("summary", "log_message", None))

    def add_graph(self, graph: Any, global_step: SupportsInt | None = None, graph_def: Any = None) -> None:
        """Add a graph, which TensorBoard draws.

        Args:
          graph: A `tf.Graph`, or a `GraphDef` message; None when `graph_def` is given.
          global_step: The step it belongs to.
          graph_def: The older name of `graph`.

        Raises:
          TypeError: If the graph is neither.
          ValueError: If both `graph` and `graph_def` are given.
        """
        if graph is not None and graph_def is not None:
            raise ValueError("Please pass only graph, or graph_def (deprecated), but not both.")
        graph = graph_def if graph is None else graph
        if isinstance(graph, tf.Graph):
            graph = graph.as_graph_def(add_shapes=True)
        if _message_name(graph) != "GraphDef":
            raise TypeError("The passed graph must be an instance of `Graph` or the deprecated `GraphDef`")
        self._add_record(_event(_GRAPH_DEF, graph.SerializeToString(), global_step), False)

    def add_meta_graph(self, meta_graph_def: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `MetaGraphDef` message, as `saver.export_meta_graph()` returns it.

        Raises:
          TypeError: If `meta_graph_def` is anything else.
        """
        payload = _serialized("meta_graph_def", meta_graph_def, "MetaGraphDef")
        self._add_record(_event(_META_GRAPH_DEF, payload, global_step), False)

    def add_session_log(self, session_log: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `SessionLog` message: a session started, stopped or saved a checkpoint.

        Raises:
          TypeError: If `session_log` is anything else.
        """
        payload = _serialized("session_log", session_log, "SessionLog")
        self._add_record(_event(_SESSION_LOG, payload, global_step), False)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: SupportsInt | None = None) -> None:
        """Add the `RunMetadata` message of one `session.run()`, under a name of its own.

        Raises:
          TypeError: If `run_metadata` is anything else.
        """
        payload = _serialized("run_metadata", run_metadata, "RunMetadata")
        tagged = tf.compat.v1.summary.TaggedRunMetadata(tag=tag, run_metadata=payload)
        payload = tagged.SerializeToString()
        self._add_record(_event(_TAGGED_RUN_METADATA, payload, global_step), False)


class EventFileWriter(EventWriter):
    """Writes event files that TensorBoard reads. Takes the place of `tf.compat.v1.summary.FileWriter`.

    All methods may be called from any thread. Adding only puts the event into a queue. A thread of the
    writer takes all queued events at once, writes them and syncs them to disk: the first one right away,
    further ones every `flush_secs`, or when the queue is half full or holds 16 MiB. An event stays in the
    queue until it is synced.

    When the queue is full, adding waits for the thread as long as the disk has kept up so far, and then
    for 0.5 s at most. After that, and while the disk fails, it does not wait: the event that would be added
    is dropped and counted. Graphs, meta graphs, session logs, run metadata and version events are never
    dropped. The first event dropped is reported as a warning, and their number at `close`.

    When writing fails, the error is logged once with its traceback, the file is cut back to what was synced
    (deleted if that is nothing), and everything queued is tried again in a new file, after 0.1 s at first
    and then after up to 5 s. No record is torn, lost or written twice by this. Storage that cannot be cut
    (``gs://``, ``s3://``) may show an event twice.

    The file is created with the first event, and its name is never in use yet. Names sort in the order of
    creation. A writer that is not closed is closed at the end of the interpreter, or when it is collected.

    Args:
      logdir: The directory of the file, made at once: a path, or a URL that tensorboardX can write to.
      max_queue: The number of events that may wait to be synced.
      flush_secs: Seconds after which what was added is synced to disk, without `flush` being called.
      filename_suffix: The end of the file's name.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      OSError: If the directory cannot be made.
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
        scheme, separator, _ = self._logdir.partition("://")
        self._local = not separator
        if not self._local and scheme not in REGISTERED_FACTORIES:
            raise ValueError(
                f"logdir must be a local path, or a URL of {', '.join(REGISTERED_FACTORIES)}, not {logdir!r}"
            )
        self._max_queue = max_queue
        self._flush_secs = flush_secs
        self._filename_suffix = filename_suffix
        self._clock = clock
        self._run_metadata_tags: set[str] = set()

        self._disk = threading.Lock()  # held by the one thread that writes; guards the next two
        self._file: _EventFile | None = None
        self._created_ns = 0
        self._lock = threading.RLock()  # never held while writing; guards all below
        self._due = threading.Condition(self._lock)  # the writer thread waits for it
        self._room = threading.Condition(self._lock)  # adding threads wait for it
        self._pending: collections.deque[bytes] = collections.deque()
        self._pending_bytes = 0
        self._due_time = -math.inf
        self._retry_secs = _FIRST_RETRY_SECS
        self._failing = False
        self._keeping_up = True
        self._dropped = 0
        self._thread: threading.Thread | None = None

        self._make_directory()
        self._pid = os.getpid()
        self._at_exit = functools.partial(_close_at_exit, weakref.ref(self))
        self.reopen()

    @property
    def dropped(self) -> int:
        """The number of events dropped because the queue was full, since the writer was last opened."""
        return self._dropped

    def get_logdir(self) -> str:
        """The directory of the file, as a string."""
        return self._logdir

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
        if not self._closed:
            self._write_pending()

    def close(self) -> None:
        """Write and sync what is queued, end the thread and close the file. Later events are ignored.

        Raises:
          OSError: If events were lost because this last attempt failed too; it says how many.
        """
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
            self._write_pending()
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

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open."""
        with self._lock:
            if self._closed:
                self._closed = False
                self._due_time = -math.inf
                self._dropped = 0
                atexit.register(self._at_exit)

    def __enter__(self) -> EventFileWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and self._pid == os.getpid():  # the file is not that of a forked child
            self.close()

    def _add_record(self, record: bytes, droppable: bool) -> None:
        with self._lock:
            if droppable and self._is_full() and self._keeping_up and not self._closed:
                self._keeping_up = self._room.wait_for(self._is_decided, _PATIENCE_SECS) and not self._failing
            if self._closed:
                warnings.warn("This event is ignored: the writer is closed.", stacklevel=3)
                return
            if not (droppable and self._is_full()):
                self._pending.append(record)
                self._pending_bytes += len(record)
                if self._thread is None:
                    self._start_thread()
                elif len(self._pending) == 1 or self._delay() <= 0:
                    self._due.notify()
                return
            self._dropped += 1
            first = self._dropped == 1
        if first:
            _logger.warning(
                "%d events wait to be written to %s: further ones are dropped.", self._max_queue, self._logdir
            )

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
        much = 2 * len(self._pending) >= self._max_queue or self._pending_bytes >= _MAX_PENDING_BYTES
        return 0.0 if much and not self._failing else self._due_time - self._clock()

    def _write_pending(self) -> None:
        """Write and sync what is queued, on the calling thread. When that fails, all of it stays queued."""
        with self._disk:
            with self._lock:
                batch = list(self._pending)
            if not batch:
                return
            try:
                if self._file is None or not self._file.exists():
                    self._file = self._new_file()
                self._file.append(batch)
            except BaseException as error:
                self._file = None
                if isinstance(error, Exception):
                    self._failed(error)
                raise
            with self._lock:
                for record in batch:
                    self._pending.popleft()
                    self._pending_bytes -= len(record)
                self._due_time = self._clock() + self._flush_secs
                self._retry_secs = _FIRST_RETRY_SECS
                recovered, self._failing = self._failing, False
                self._keeping_up = True
                self._room.notify_all()
        if recovered:
            _logger.info("Events are written to %s again.", self._logdir)

    def _failed(self, error: Exception) -> None:
        with self._lock:
            first = not self._failing
            self._failing = True
            self._due_time = self._clock() + self._retry_secs
            self._retry_secs = min(2 * self._retry_secs, _LAST_RETRY_SECS)
            self._due.notify()
            self._room.notify_all()
        if first:
            _logger.error(
                "Writing events to %s failed, and is tried again: %s", self._logdir, error, exc_info=error
            )

    def _make_directory(self) -> None:
        if self._local:
            os.makedirs(self._logdir, exist_ok=True)
        else:
            directory_check(self._logdir)

    def _new_file(self) -> _EventFile:
        if self._file is not None:
            self._file.close()
        self._make_directory()
        while True:
            self._created_ns = max(time.time_ns(), self._created_ns + 1)
            seconds, nanoseconds = divmod(self._created_ns, 10**9)
            created = f"{seconds:010d}.{nanoseconds:09d}"
            origin = f"{socket.gethostname()}.{os.getpid()}"
            name = f"events.out.tfevents.{created}.{origin}{self._filename_suffix}"
            with suppress(FileExistsError):
                return _EventFile(os.path.join(self._logdir, name), self._local)


class _EventFile:
    """An event file that holds a batch of events as a whole, or nothing of it. For one thread at a time.

    Raises:
      FileExistsError: If there is a local file at `path`.
    """

    def __init__(self, path: str, local: bool) -> None:
        if local:
            open(path, "xb").close()  # RecordWriter would empty a file that exists
        self._path = path
        self._local = local
        self._writer: Any = None
        self._synced_bytes = 0

    def exists(self) -> bool:
        return not self._local or os.path.exists(self._path)

    def append(self, records: Iterable[bytes]) -> None:
        """Write and sync `records`. When that raises, the file is as before, and closed."""
        try:
            if self._writer is None:
                self._writer = RecordWriter(self._path)
                version = tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")
                self._writer.write(version.SerializeToString())
            for record in records:
                self._writer.write(record)
            self._writer.flush()
            if self._local:
                self._synced_bytes = os.path.getsize(self._path)
        except BaseException:
            self.close()  # first, since it writes what is still buffered
            self._cut()
            raise

    def close(self) -> None:
        """Close the file. What was appended is synced already, so an error means no loss."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()

    def _cut(self) -> None:
        with suppress(OSError):
            if self._synced_bytes:
                os.truncate(self._path, self._synced_bytes)
            elif self._local:
                os.unlink(self._path)


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
        with suppress(Exception):  # it is reported, and the next attempt is due later
            writer._write_pending()


def _close_at_exit(reference: weakref.ref[EventFileWriter]) -> None:
    writer = reference()
    if writer is not None:
        writer.__del__()


def _event(field: int, payload: bytes, global_step: SupportsInt | None) -> bytes:
    """A serialized `Event` of this moment, with `payload` as the field of that number."""
    step = b"" if global_step is None else b"\x10" + _varint(_int64(global_step))
    tag_and_size = bytes((field << 3 | 2,)) + _varint(len(payload))
    return b"".join((_wall_time_field(9, time.time()), step, tag_and_size, payload))


def _int64(step: Any) -> int:
    """An integer as the unsigned number with the same 64 bits."""
    value = int(step.item() if hasattr(step, "item") else step)  # int() refuses arrays that are no scalars
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"global_step must be a number of 64 bits, not {value}")
    return value & (1 << 64) - 1


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _message_name(value: Any) -> str | None:
    return getattr(getattr(type(value), "DESCRIPTOR", None), "name", None)


def _serialized(argument: str, value: Any, message: str, alternative: str = "") -> bytes:
    if _message_name(value) != message:
        raise TypeError(
            f"{argument} must be {alternative}a message of type {message}, not {type(value).__name__}"
        )
    record: bytes = value.SerializeToString()
    return record
