"""Block: one `with` block of `Supervisor.managed_session`, and whether its end is still to come."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Block", "ended_at_exit"]


class Block:
    """One `with` block of `managed_session`, of the process and the thread that began it."""

    session: Any = None
    """What the block was given; None until it is ready."""
    interrupt: BaseException | None = None
    """What ended the block, where that is no `Exception`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._thread = threading.current_thread()
        self._is_left = False

    @property
    def is_over(self) -> bool:
        """True once it was left; in a forked child always, whose parent it is to end it."""
        return self._is_left or self._pid != os.getpid()

    def leave(self) -> bool:
        """Mark it as left; return False where it is over already."""
        if self.is_over:
            return False
        self._is_left = True
        return True

    def is_abandoned(self) -> bool:
        """True at the end of the program where nobody can leave it any more: no daemon thread is in it."""
        return self._thread is threading.main_thread() or not self._thread.is_alive()


@contextlib.contextmanager
def ended_at_exit(block: Block, end: Callable[[], object]) -> Iterator[None]:
    """At the end of the program, call `end` for a block that is not left by then.

    It is one of a generator that nobody has finished. Python would do so when it can save nothing any more.
    """

    def end_abandoned() -> None:
        if not block.is_over and block.is_abandoned():
            block.interrupt = GeneratorExit()
            end()

    atexit.register(end_abandoned)
    try:
        yield
    finally:
        atexit.unregister(end_abandoned)
