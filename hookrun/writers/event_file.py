"""EventFileWriter: TensorBoard's event files, written and synced on a thread of their own."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, SupportsInt

from hookrun.paths import is_local, local_path
from hookrun.writers.event_queue import EventQueue, Record
from hookrun.writers.event_writer import EventWriter
from hookrun.writers.record_file import check_url
from hookrun.writers.vocabulary import Vocabulary

__all__ = ["EventFileWriter"]


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
        self._queue = EventQueue(self._logdir, max_queue, flush_secs, filename_suffix, clock)
        self._run_metadata_tags: set[str] = set()
        self._beneath: dict[str, EventFileWriter] = {}
        self._start: tuple[Any, SupportsInt | None] | None = None

    @property
    def dropped(self) -> int:
        """The number of events dropped because the queue was full, since the writer was last opened."""
        return self._queue.dropped

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
            with self._queue.lock:
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
        with self._queue.lock:
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
            self._queue.flush()

    def flush_soon(self) -> None:
        """Have the writer's thread write and sync everything added before, and do not wait for it.

        While the disk fails, the next attempt is made when it is due.
        """
        self._queue.flush_soon()
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
            self._queue.close()

    def reopen(self) -> None:
        """Take events again after `close`, into a new file. Does nothing when the writer is open."""
        self._queue.reopen()
        for writer in self._writers_beneath():
            writer.reopen()

    def beneath(self, name: str) -> EventFileWriter:
        """The writer of the directory `name` in this one's: flushed, closed and reopened with this one.

        Raises:
          OSError: If the directory cannot be made.
        """
        with self._queue.lock:
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
                if self._queue.closed:
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

    def _summary_record(self, summary: bytes, step: int | None, walltime: float) -> Record:
        return summary, step, walltime  # the writer thread makes an event of it

    def _add_record(self, record: Record, droppable: bool) -> None:
        self._queue.add(record, droppable)

    def _writers_beneath(self) -> list[EventFileWriter]:
        with self._queue.lock:
            return list(self._beneath.values())
