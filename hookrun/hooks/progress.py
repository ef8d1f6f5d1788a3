"""ProgressHook: how far the training is, on the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from hookrun import events
from hookrun.numeric import checked_number
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule
from hookrun.writers.formatting import format_values

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["ProgressHook"]

_TIME_FORMAT = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}{postfix}]"

_LOGGERS = ("", "hookrun", "tensorflow")
"""Those that usually have handlers of their own; the first is the root."""


class ProgressHook(Hook):
    """Shows a bar of tqdm's on a terminal, and writes lines to anything else.

    ```python
    progress = hooks.ProgressHook({"loss": loss}, last_step=2000)
    sv = hookrun.Supervisor(logdir="runs/shown", hooks=[progress, hooks.StopAtStepHook(last_step=2000)])
    ```

    It shows the steps, their rate, the time left and the values; no end where the session starts behind it.
    There is one bar at a time: while there is one, another ProgressHook of the process writes lines above it,
    and so do the handlers of Python's `logging` that were there before and write to a terminal, such as that
    of `hookrun.log_to_console`. On a cluster it is the chief that shows it.

    Args:
      values: Fetches by the names under which they are shown; they ride in the steps that are due.
      last_step: The global step at which the training is at its end, as for `StopAtStepHook`.
      num_steps: The number of steps of each session instead.
      secs: The seconds of each session instead, as for `StopAfterTimeHook`. Without any, no end is shown.
      every_steps: Show each multiple of this number of steps.
      every_secs: Show the first step after each that many seconds; without a schedule, 0.2 for a bar and 10
        for lines.
      at_steps: Show these steps.
      file: Where to; standard error if None.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      TypeError: If `values` is no mapping of names.
      ValueError: If more than one end is given, or a number is not positive.
    """

    chief_only = True

    _with_bar: weakref.WeakSet[ProgressHook] = weakref.WeakSet()
    """Those that have a bar now: one at most."""

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        last_step: int | None = None,
        num_steps: int | None = None,
        secs: float | None = None,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if values is not None and not (
            isinstance(values, Mapping) and all(isinstance(name, str) for name in values)
        ):
            raise TypeError(f"values must be a mapping of names to fetches, not {values!r}")
        ends = {"last_step": last_step, "num_steps": num_steps, "secs": secs}
        given = {name: end for name, end in ends.items() if end is not None}
        if len(given) > 1:
            raise ValueError(f"{self.name} takes one of last_step, num_steps and secs, not {given}")
        for name, end in given.items():
            given[name] = checked_number(name, end, "a positive number", lambda n: n > 0)
        self.fetches = dict(values or {}) or None
        self._file = sys.stderr if file is None else file
        if every_steps is None and every_secs is None and at_steps is None:
            every_secs = 0.2 if self._file.isatty() else 10
        self.trigger = schedule(
            every_steps=every_steps, every_secs=every_secs, at_steps=at_steps, clock=clock
        )
        self._last_step, self._num_steps, self._secs = map(given.get, ends)
        self._clock = clock
        self._bar: _Bar | None = None

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._close_bar()  # of a session that was not stopped
        self._start, self._first_step = self._clock(), event.global_step or 0
        self._shown: int | None = self._first_step
        self._values = ""
        total = self._last_step if self._num_steps is None else self._first_step + self._num_steps
        if total is not None and total < self._first_step:
            total = None
        self._style: dict[str, Any] = {"total": total, "unit": " steps", "initial": self._first_step}
        self._line_style = {**self._style, "ncols": 0}  # without a bar
        if self._secs is not None:
            self._style = {"total": self._secs, "bar_format": _TIME_FORMAT}
            self._line_style = {**self._style, "bar_format": _TIME_FORMAT.replace("|{bar}|", "")}
        if self._file.isatty() and not self._with_bar:
            self._with_bar.add(self)
            size = _size(self._file)
            self._bar = _Bar(**self._style, **size, file=self._file, mininterval=0, miniters=0)
            self._bar.raise_logs()

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        if self._secs is None:  # else it is the time that is shown, which goes on
            step, self._start = event.global_step, self._clock()
            self._style["initial"] = self._line_style["initial"] = step
            if self._bar is not None:
                self._bar.reset()
                self._bar.initial = self._bar.n = self._bar.last_print_n = step

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        self._values = format_values(event.values or {})
        self._show(event.global_step)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        step = event.session.last_step
        if self._bar is not None or step != self._shown:
            self._show(step)
        self._close_bar()

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            self._with_bar.discard(self)
            bar.close()

    def _show(self, step: int) -> None:
        self._shown = step
        elapsed = self._clock() - self._start
        n = step if self._secs is None else elapsed
        if self._style["total"] is not None:
            n = min(n, self._style["total"])  # tqdm shows no end otherwise
        values = self._values
        if self._secs is not None:
            values = f"step {step}" + (values and f", {values}")
        if self._bar is not None:
            self._bar.set_postfix_str(values, refresh=False)
            self._bar.update(n - self._bar.n)
        else:
            line = _Bar.format_meter(n, elapsed=elapsed, postfix=values, **self._line_style)
            _Bar.write(line.strip(), file=self._file)
            self._file.flush()


def _size(terminal: TextIO) -> dict[str, Any]:
    """How large it is, for tqdm: that of the terminal at any time, unless it says that it has no columns."""
    with contextlib.suppress(OSError):  # no real one
        if os.get_terminal_size(terminal.fileno()).columns == 0:
            return {"ncols": 80, "nrows": 24}
    return {"dynamic_ncols": True}


class _Bar(tqdm):
    monitor_interval = 0  # no thread that looks after it
    _raised: Sequence[tuple[Any, TextIO]] = ()

    def raise_logs(self) -> None:
        """Have what is logged to terminals written above the bar, until it is closed."""
        handlers: list[Any] = [
            handler
            for logger in map(logging.getLogger, _LOGGERS)
            for handler in logger.handlers
            if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "isatty", bool)()
        ]
        self._raised = [(each, each.setStream(_AboveBar(self.fp, each.stream))) for each in handlers]

    def close(self) -> None:
        for handler, stream in self._raised:
            if isinstance(handler.stream, _AboveBar):
                handler.setStream(stream)
        self._raised = ()
        super().close()


class _AboveBar:
    """What is written to a terminal while a bar is shown."""

    def __init__(self, file: Any, stream: TextIO) -> None:
        self._file = file  # that of the bar, which is not held: it is closed once nobody has it
        self._stream = stream

    def write(self, text: str) -> None:
        with _Bar.external_write_mode(self._file):
            self._stream.write(text)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
