"""ScalarWriter: the interface of a sink for scalars, and the one of a text file."""

from __future__ import annotations

import abc
import mmap
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, SupportsInt, TextIO

import tensorflow as tf

from hookrun.paths import is_local, local_path

__all__ = ["ScalarWriter", "TextFileWriter"]


class ScalarWriter(abc.ABC):
    """Takes the scalars out of summaries, and leaves out all else. A subclass overrides `write`.

    It may be a `summary_writer`, one of a `SummaryHook`'s, or one of a `MultiWriter`'s. All methods may be
    called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @abc.abstractmethod
    def write(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> None:
        """Write the scalars of one summary. Called by one thread at a time, on the one that adds.

        Args:
          scalars: The values by their tags; at least one.
          step: The step they belong to; None without one.
          wall_time: The time in seconds since 1970.
        """

    def add_summary(
        self, summary: Any, global_step: SupportsInt | None = None, walltime: float | None = None
    ) -> None:
        """Write the scalars of a summary, as it comes from running a summary op.

        Args:
          summary: A serialized `Summary`, as bytes, or a `Summary` message.
          global_step: The step it belongs to.
          walltime: The time in seconds since 1970; now if None.
        """
        serialized = summary if isinstance(summary, bytes) else summary.SerializeToString()
        scalars = dict(_scalars(tf.compat.v1.Summary.FromString(serialized)))
        if scalars:
            self._write(scalars, global_step, walltime)

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: SupportsInt | None = None,
        walltime: float | None = None,
    ) -> None:
        """Write one scalar, as tensorboardX's method of the name does."""
        self._write({tag: float(scalar_value)}, global_step, walltime)

    def add_session_log(  # noqa: B027 (a sink may have a use for what is no scalar; few have)
        self, session_log: Any, global_step: SupportsInt | None = None
    ) -> None:
        """Ignored: it holds no scalars."""

    def add_graph(self, graph: Any, *arguments: Any, **keywords: Any) -> None:  # noqa: B027
        """Ignored: it holds no scalars."""

    def add_meta_graph(  # noqa: B027
        self, meta_graph_def: Any, global_step: SupportsInt | None = None
    ) -> None:
        """Ignored: it holds no scalars."""

    def flush(self) -> None:  # noqa: B027
        """Hand over what is held back."""

    def close(self) -> None:  # noqa: B027
        """Hand over what is held back, and let go of the sink. Writing again opens it again."""

    def reopen(self) -> None:  # noqa: B027
        """Called before a session. Does nothing: a closed sink is opened when it is written to."""

    def _write(
        self, scalars: Mapping[str, float], global_step: SupportsInt | None, walltime: float | None
    ) -> None:
        step = None if global_step is None else int(global_step)
        with self._lock:
            self.write(scalars, step, time.time() if walltime is None else walltime)


class TextFileWriter(ScalarWriter):
    """Appends text to a file. Each summary is handed to the operating system at once, as a whole: it survives
    the process. A subclass overrides `text`, and `start_text` where its readers need to know of restarts.

    Args:
      path: The local file; its directory is made when it is first written to. What it holds already stays,
        but for a last line without an end, of a process that was killed.

    Raises:
      ValueError: If `path` is a URL, unless its scheme is ``file``.
    """

    header = ""
    """What a new file begins with."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        if not is_local(os.fspath(path)):
            raise ValueError(f"path must be that of a local file, not {path!r}")
        self._path = local_path(os.fspath(path))
        self._file: TextIO | None = None

    @abc.abstractmethod
    def text(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> str:
        """The text for the scalars of one summary, with its line ends; the arguments are those of `write`."""

    def start_text(self, step: int, wall_time: float) -> str:
        """The text that marks a restart in a file that holds something already; none unless overridden.

        Args:
          step: What stands above the mark for this step and later ones was given up: a run was killed after
            its last checkpoint, an older checkpoint was restored, or another training began.
          wall_time: The time in seconds since 1970.
        """
        return ""

    def write(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> None:
        """Append the text for the scalars."""
        self._append(self.text(scalars, step, wall_time))

    def add_session_log(self, session_log: Any, global_step: SupportsInt | None = None) -> None:
        """Append `start_text` where a session starts and the file holds something already."""
        if session_log.status == session_log.START:
            with self._lock:
                if os.path.exists(self._path) and os.path.getsize(self._path):
                    step = 0 if global_step is None else int(global_step)
                    self._append(self.start_text(step, time.time()))

    def flush(self) -> None:
        """Hand over what a write that failed has left."""
        with self._lock:
            if self._file is not None:
                self._file.flush()

    def close(self) -> None:
        """Close the file. Writing again appends to it."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def _append(self, text: str) -> None:
        if self._file is None:
            self._file = self._open()
        self._file.write(text)

    def _open(self) -> TextIO:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        _cut_torn_line(self._path)
        file = open(self._path, "a", buffering=1, encoding="utf-8", newline="")
        if file.tell() == 0:
            file.write(self.header)
        return file


def _cut_torn_line(path: str) -> None:
    """Cut off a last line without an end: the process that wrote it was killed, or its disk was full."""
    if os.path.exists(path) and os.path.getsize(path):
        with (
            open(path, "r+b") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            whole = text.rfind(b"\n") + 1
        os.truncate(path, whole)


def _scalars(summary: Any) -> Iterator[tuple[str, float]]:
    for value in summary.value:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield value.tag, value.simple_value
        elif kind == "tensor" and value.metadata.plugin_data.plugin_name == "scalars":
            yield value.tag, float(tf.make_ndarray(value.tensor).item())
