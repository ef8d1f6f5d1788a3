"""One session of a training, and how it is to end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Ending", "TrainingSession"]


class TrainingSession(Protocol):
    """One run of a training, from `session_created` to `stop`."""

    @property
    def last_step(self) -> int:
        """The step after the last training step that was counted or told to hooks."""

    @property
    def closed(self) -> bool:
        """True once it was closed, by its end or by the program."""

    def catch_up(self) -> None:
        """Have `last_step` count the training steps of which nobody was told."""

    def go_on_from(self, step: int) -> None:
        """Have the training steps counted from `step` on."""


@dataclass
class Ending:
    """How a session is to end."""

    grace_secs: float
    """How long its threads are waited for, in seconds."""
    threads: frozenset[threading.Thread] = frozenset()
    """The threads that are waited for: at first those besides the training's own."""
    ignore_live_threads: bool = False
    """True where threads that are still running are no error."""
    close_summary_writer: bool = True
    """False to leave the summary writer open, with all that was added on disk."""
    to_close: Any = None
    """The session that is closed at the end; None to leave it open."""
    interrupt: BaseException | None = None
    """What ended the session without an error of it, and is raised by the caller."""
    raises: bool = True
    """False where the first error is raised later, by another end."""
    session: Any = None
    """The session that ends; None where none had begun."""
    deadline: float = 0.0
    """The end of `grace_secs`, a time of `time.monotonic`."""
    stragglers: list[str] = field(default_factory=list)
    """The names of the threads that were still running then."""
