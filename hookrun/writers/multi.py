"""MultiWriter: several writers at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any, SupportsInt

from hookrun.writers.adapters import file_writer, flush_soon

__all__ = ["MultiWriter"]

_logger = logging.getLogger(__name__)


class MultiWriter:
    """Hands everything to each of several writers. Takes the place of `tf.compat.v1.summary.FileWriter`.

    A writer that raises does not stop the others, nor the training: its first error since it was opened is
    logged with its name and traceback. tensorboardX's `add_scalar`, `add_image`, ... go to those writers
    that have them.

    Args:
      writers: What `hookrun.writers.file_writer` takes.

    Raises:
      TypeError: If one of them is no writer.
    """

    def __init__(self, writers: Iterable[Any]) -> None:
        self._writers = [file_writer(writer) for writer in writers]
        self._failed: set[int] = set()

    def __len__(self) -> int:
        return len(self._writers)

    def add_summary(self, summary: Any, global_step: SupportsInt | None = None, **arguments: Any) -> None:
        """Add a summary to each."""
        self._each("add_summary", summary, global_step, **arguments)

    def add_session_log(self, session_log: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `SessionLog` message to each."""
        self._each("add_session_log", session_log, global_step)

    def add_graph(self, graph: Any, *arguments: Any, **keywords: Any) -> None:
        """Add a graph to each."""
        self._each("add_graph", graph, *arguments, **keywords)

    def add_meta_graph(self, meta_graph_def: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `MetaGraphDef` message to each."""
        self._each("add_meta_graph", meta_graph_def, global_step)

    def flush(self) -> None:
        """Flush each that can be flushed."""
        self._each("flush")

    def flush_soon(self) -> None:
        """Flush each, without waiting for those that can do so."""
        for writer in self._writers:
            self._call(writer, "flush", functools.partial(flush_soon, writer))

    def close(self) -> None:
        """Close each."""
        self._each("close")

    def reopen(self) -> None:
        """Reopen each."""
        self._failed.clear()
        self._each("reopen")

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Another method that adds something, of those writers that have it."""
        if not name.startswith("add_") or not any(hasattr(writer, name) for writer in self._writers):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}, nor has a writer in it")

        def add(*arguments: Any, **keywords: Any) -> None:
            self._each(name, *arguments, **keywords)

        return add

    def _each(self, method: str, *arguments: Any, **keywords: Any) -> None:
        for writer in self._writers:
            call = getattr(writer, method, None)
            if call is not None:
                self._call(writer, method, functools.partial(call, *arguments, **keywords))

    def _call(self, writer: Any, method: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:
            if id(writer) not in self._failed:
                self._failed.add(id(writer))
                _logger.error(
                    "%s failed in %s; the other writers go on", type(writer).__name__, method, exc_info=error
                )
