"""HeartbeatHook: a small file that tells how the training is, for health checks."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from hookrun import events
from hookrun.logs import LogWatcher
from hookrun.paths import local_path
from hookrun.runtime.hook import Hook
from hookrun.runtime.step_rate import StepRate
from hookrun.triggers import schedule

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["HeartbeatHook"]


class HeartbeatHook(Hook):
    """Writes a JSON file with the state of the training, which a reader always finds whole.

    ```python
    sv = hookrun.Supervisor(logdir="runs/watched", hooks=[hooks.HeartbeatHook("runs/watched/heartbeat.json")])
    ```

    | key | value |
    | --- | --- |
    | `state` | "training"; at the end "ended", "interrupted" (by one of `events.INTERRUPTS`) or "failed" |
    | `step` | the global step |
    | `steps_per_sec` | since the last time that a step was told; null where it is not known |
    | `last_checkpoint` | the prefix of the newest checkpoint that was saved or restored; null without |
    | `last_error` | the last error that hookrun logged, or that the training failed with; null without |
    | `time` | when the file was written, in seconds since 1970 |
    | `pid` | the process |

    It is written when a session is created, at the steps that are due, after each checkpoint and at the end:
    one whose `time` is old, and whose `state` is "training", is of a process that hangs or was killed. A file
    that cannot be written is logged and does not stop the training.

    Args:
      path: The file; its directory is made if missing. Each worker needs one of its own.
      every_steps: Write it at each multiple of this number of steps.
      every_secs: Write it at the first step after each that many seconds; 10 without a schedule.
      at_steps: Write it at these steps.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      TypeError: If `path` is no path.
      ValueError: If a schedule is not positive.
    """

    priority = 3000  # at the end, after the final checkpoint
    on_error = "log"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path, not {path!r}")
        self._path = local_path(os.fspath(path))
        if every_steps is None and at_steps is None and every_secs is None:
            every_secs = 10
        self.trigger = schedule(
            every_steps=every_steps, every_secs=every_secs, at_steps=at_steps, clock=clock
        )
        self._clock = clock
        self._rate = StepRate(clock)
        self._lock = threading.Lock()
        self._status: dict[str, Any] = {}
        self._errors = _LastError()

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._errors.stop_listening()  # for a session that was not stopped
        self._errors = _LastError()
        self._errors.listen()
        self._rate = StepRate(self._clock)
        self._rate.start(event.global_step or 0)
        self._status = {"steps_per_sec": None, "pid": os.getpid()}
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self._write(state="training", step=event.global_step, last_checkpoint=event.restored_from)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._rate.start(event.global_step)
        if event.checkpoint is not None:
            self._write(step=event.global_step, last_checkpoint=event.checkpoint)

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        rate = self._rate(event.global_step)
        self._write(step=event.global_step, steps_per_sec=rate if rate != math.inf else None)

    def on_checkpoint_saved(self, runtime: Runtime, event: events.CheckpointSaved) -> None:
        self._write(last_checkpoint=event.path)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        self._errors.stop_listening()
        error = runtime.coord.error or event.error  # that of a hook which was told before
        state = "failed"
        if error is None:
            state = "ended"
        elif isinstance(error, events.INTERRUPTS):
            state = "interrupted"
        else:
            self._errors.last = f"{type(error).__name__}: {error}"
        self._write(state=state, step=event.session.last_step)

    def _write(self, **changes: Any) -> None:
        with self._lock:
            self._status.update(changes, last_error=self._errors.last, time=time.time())
            written = f"{self._path}.{os.getpid()}.tmp"
            try:
                with open(written, "w", encoding="utf-8") as file:
                    json.dump(self._status, file)
                os.replace(written, self._path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(written)
                raise


class _LastError(LogWatcher):
    """Keeps the last error that hookrun logs: of hooks, of services, of saves that failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: str | None = None

    def listen(self) -> None:
        self.last = None
        logging.getLogger("hookrun").addHandler(self)

    def stop_listening(self) -> None:
        logging.getLogger("hookrun").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if record.levelno < logging.ERROR:
            return
        self.last = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            self.last += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
