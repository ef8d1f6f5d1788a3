"""What hookrun logs, on the console."""

from __future__ import annotations

import logging

__all__ = ["log_to_console"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NAME = "hookrun console"


def log_to_console(level: int | str = logging.INFO) -> None:
    """Show what hookrun logs on standard error.

    For programs that do not configure Python's `logging` themselves: everything is logged under the logger
    `hookrun`, and is silent until a handler is set up. At INFO it says what each session calls in which
    order, when checkpoints are saved and why it stops; at DEBUG also the time that each hook took. Errors
    reach the program as exceptions, with and without a log. A further call changes the level alone.

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
