"""What hookrun logs: on the console, and seen by a hook."""

from __future__ import annotations

import logging
from collections.abc import Iterator

__all__ = ["LogWatcher", "log_to_console"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NAME = "hookrun console"


def log_to_console(level: int | str = logging.INFO) -> None:
    """Show what hookrun logs on standard error.

    For programs that do not configure Python's `logging` themselves: everything is logged under the logger
    `hookrun`. Warnings and errors are shown without this too, as bare lines. At INFO it says what each
    session calls in which order, when checkpoints are saved and why it stops; at DEBUG also the time that
    each hook took. Errors reach the program as exceptions, with and without a log. A further call changes the
    level alone.

    Args:
      level: The least level that is shown, as `logging.Logger.setLevel` takes it.

    Raises:
      TypeError, ValueError: If `level` is no level of `logging`.
    """
    logger = logging.getLogger("hookrun")
    logger.setLevel(level)
    for handler in [h for h in logger.handlers if h.name == _NAME]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.name = _NAME
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)


class LogWatcher(logging.Handler):
    """Sees what hookrun logs, and takes nothing from the console.

    Python shows a warning that no handler receives on standard error. A watcher has it shown.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Have the line shown that would have been without the watchers; called for each one that is seen."""
        handlers = list(_handlers_of(logging.getLogger(record.name)))
        if handlers[0] is self and all(isinstance(each, LogWatcher) for each in handlers):
            last_resort = logging.lastResort
            if last_resort is not None and record.levelno >= last_resort.level:
                last_resort.handle(record)


def _handlers_of(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """The handlers that receive what `logger` logs."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
