"""What the event files of a logdir tell: the curves, the sessions and the checkpoints."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any

from hookrun.checkpoints.index import DamagedError
from hookrun.checkpoints.integrity import Progress
from hookrun.logdir.events import TornError, event_files, number_of, read_events, text_of

__all__ = ["Checkpoint", "EventFile", "Point", "RunLog", "Session", "read_run_logs"]

_START, _STOP, _CHECKPOINT = 1, 2, 3
"""The statuses of a `SessionLog`."""


@dataclass(slots=True)
class Point:
    """A value of a curve."""

    step: int
    wall_time: float
    """Seconds since 1970."""
    value: float


@dataclass(slots=True)
class Session:
    """From a start to its stop."""

    start_step: int
    start_time: float
    """Seconds since 1970."""
    last_step: int
    """The largest step that it has written."""
    last_time: float
    """When it wrote last, in seconds since 1970."""
    stopped: bool = False
    """False where it was killed, or still runs."""


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint that was saved, whether it is still there or not."""

    step: int
    wall_time: float
    """Seconds since 1970."""
    path: str
    """Its prefix, in the logdir."""
    size: int | None
    """The bytes of its files; None where it has been deleted."""


@dataclass(slots=True)
class EventFile:
    """An event file, read to its end or to what cannot be read. A record that is no event is left out."""

    path: str
    size: int
    """Bytes."""
    events: int = 0
    first_step: int | None = None
    """The lowest step of its summaries, 0 where one has none; None without summaries."""
    last_step: int | None = None
    """The highest."""
    torn: bool = False
    """True where the last record is not whole: its writer was killed, or is writing it."""
    damage: str | None = None
    """What is damaged; None where every record that is whole is as it was written."""


@dataclass(slots=True)
class RunLog:
    """What the event files of one directory tell, read in the order of their names, as TensorBoard does."""

    name: str
    """The directory, relative to the logdir; "." for the logdir itself."""
    scalars: dict[str, list[Point]] = field(default_factory=dict)
    """The curves by tag. What lies at or after the step of a later start is left out, as in TensorBoard."""
    sessions: list[Session] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """The last text of each tag."""
    files: list[EventFile] = field(default_factory=list)
    plugins: dict[str, str] = field(default_factory=dict)
    """What shows a tag's values in TensorBoard. Many writers say so with the first value alone."""


def read_run_logs(logdir: str, progress: Progress = lambda _: None) -> list[RunLog]:
    """Read all event files in and below a directory, each to its last whole record or to what cannot be read.

    One that is removed meanwhile is left out.

    Args:
      logdir: A local directory.
      progress: Called with the number of bytes, each time that some have been read.

    Returns:
      One `RunLog` for each directory that has event files, that of `logdir` itself first.

    Raises:
      FileNotFoundError: If there are none.
    """
    logs = []
    for directory, paths in event_files(logdir):
        log = RunLog(os.path.relpath(directory, logdir))
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                log.files.append(_read(log, path, progress))
        logs.append(log)
    if not logs:
        raise FileNotFoundError(f"There are no event files in {logdir!r}")
    return logs


def _read(log: RunLog, path: str, progress: Progress) -> EventFile:
    file = EventFile(path, os.path.getsize(path))
    try:
        for number, event in enumerate(read_events(path, progress), 1):
            if event is None:
                file.damage = file.damage or f"record {number} is no event"
                continue
            file.events += 1
            _add(log, file, event)
    except TornError:
        file.torn = True
    except DamagedError as error:
        file.damage = file.damage or str(error)
    return file


def _add(log: RunLog, file: EventFile, event: Any) -> None:
    step = event.step
    if event.HasField("summary"):
        file.first_step = step if file.first_step is None else min(step, file.first_step)
        file.last_step = step if file.last_step is None else max(step, file.last_step)
        for value in event.summary.value:
            _add_value(log, event, value)
    elif event.HasField("session_log"):
        _add_session_log(log, event, os.path.dirname(file.path))
    if log.sessions and not log.sessions[-1].stopped:
        session = log.sessions[-1]
        session.last_step = max(session.last_step, step)
        session.last_time = max(session.last_time, event.wall_time)


def _add_session_log(log: RunLog, event: Any, directory: str) -> None:
    status = event.session_log.status
    if status == _START:
        if not (event.session_log.msg and log.sessions):  # else the session went back to a checkpoint
            log.sessions.append(Session(event.step, event.wall_time, event.step, event.wall_time))
        for points in log.scalars.values():
            points[:] = [point for point in points if point.step < event.step]
    elif status == _STOP and log.sessions:
        log.sessions[-1].last_time = event.wall_time
        log.sessions[-1].stopped = True
    elif status == _CHECKPOINT:
        name = os.path.basename(event.session_log.checkpoint_path)
        path = os.path.join(directory, f"{name}-{event.step}")
        log.checkpoints.append(Checkpoint(event.step, event.wall_time, path, _checkpoint_size(path)))


def _checkpoint_size(path: str) -> int | None:
    directory, prefix = os.path.split(path)
    if not os.path.exists(f"{path}.index"):
        return None
    try:
        files = [name for name in os.listdir(directory) if name.startswith(f"{prefix}.")]
        return sum(os.path.getsize(os.path.join(directory, name)) for name in files)
    except FileNotFoundError:  # it is removed just now
        return None


def _add_value(log: RunLog, event: Any, value: Any) -> None:
    tag, number = value.tag, None
    if value.HasField("metadata"):
        log.plugins.setdefault(tag, value.metadata.plugin_data.plugin_name)
    if value.HasField("simple_value"):
        number = value.simple_value
    elif value.HasField("tensor"):
        plugin = log.plugins.get(tag)
        if plugin == "scalars":
            number = number_of(value.tensor)
        elif plugin == "text":
            log.texts[tag] = text_of(value.tensor)
    if number is not None:
        log.scalars.setdefault(tag, []).append(Point(event.step, event.wall_time, number))
