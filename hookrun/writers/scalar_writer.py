"""ScalarWriter: the interface of a sink for scalars, and the one of a text file."""

from __future__ import annotations

import abc
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, SupportsInt, TextIO

import tensorflow as tf

from hookrun.paths import local_path

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
    """Appends text to a file; a flush hands it to the operating system. A subclass overrides `text`.

    Args:
      path: The file; its directory is made when it is first written to. What it holds already stays.
    """

    header = ""
    """What a new file begins with."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = local_path(os.fspath(path))
        self._file: TextIO | None = None

    @abc.abstractmethod
    def text(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> str:
        """The text for the scalars of one summary, with its line ends; the arguments are those of `write`."""

    def write(self, scalars: Mapping[str, float], step: int | None, wall_time: float) -> None:
        """Append the text for the scalars."""
        if self._file is None:
            self._file = self._open()
        self._file.write(self.text(scalars, step, wall_time))

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        with self._lock:
            if self._file is not None:
                self._file.flush()

    def close(self) -> None:
        """Close the file. Writing again appends to it."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def _open(self) -> TextIO:
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        file = open(self._path, "a", encoding="utf-8", newline="")
        size = file.tell()
        if size == 0:
            file.write(self.header)
        else:
            with open(self._path, "rb") as written:
                written.seek(size - 1)
                if written.read() != b"\n":  # the process that wrote it was killed
                    file.write("\n")
        return file


def _scalars(summary: Any) -> Iterator[tuple[str, float]]:
    for value in summary.value:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield value.tag, value.simple_value
        elif kind == "tensor" and value.metadata.plugin_data.plugin_name == "scalars":
            yield value.tag, float(tf.make_ndarray(value.tensor).item())
