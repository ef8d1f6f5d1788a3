"""What the event files of a logdir tell: the curves, the sessions and the checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

__all__ = ["Checkpoint", "Point", "RunLog", "Session", "event_files", "read_events", "read_run_logs"]

_SessionLog = tf.compat.v1.SessionLog


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


def read_run_logs(logdir: str) -> list[RunLog]:
    """Read all event files in and below a directory, each to its last whole record or to what cannot be read.

    Args:
      logdir: A local directory.

    Returns:
      One `RunLog` for each directory that has event files, that of `logdir` itself first.

    Raises:
      FileNotFoundError: If there are none.
    """
    logs = []
    for directory, paths in event_files(logdir):
        log = RunLog(os.path.relpath(directory, logdir))
        for path in paths:
            with contextlib.suppress(tf.errors.DataLossError):  # the last record is torn, or damage
                for event in read_events(path):
                    if event is not None:
                        _add(log, event, directory)
        logs.append(log)
    if not logs:
        raise FileNotFoundError(f"There are no event files in {logdir!r}")
    return logs


def event_files(logdir: str) -> Iterator[tuple[str, list[str]]]:
    """Find the directories with event files in and below `logdir`, each with the paths of the files."""
    for directory, subdirectories, names in os.walk(logdir):
        subdirectories.sort()
        paths = [os.path.join(directory, name) for name in sorted(names) if "tfevents" in name]
        paths = [path for path in paths if os.path.isfile(path)]  # no pipe, nor a link to what is gone
        if paths:
            yield directory, paths


def read_events(path: str) -> Iterator[Any]:
    """The events of an event file, each a `tf.compat.v1.Event`; None for a record that is none.

    Raises:
      tf.errors.DataLossError: If what follows cannot be read: it is damaged, or the last record is torn, as
        its writer was killed, or is writing it.
    """
    for record in tf.compat.v1.io.tf_record_iterator(path):
        try:
            event = tf.compat.v1.Event.FromString(record)
        except DecodeError:
            event = None
        yield event


def _add(log: RunLog, event: Any, directory: str) -> None:
    kind = event.WhichOneof("what")
    if kind == "session_log":
        _add_session_log(log, event, directory)
    elif kind == "summary":
        for value in event.summary.value:
            _add_value(log, event, value)
    if log.sessions and not log.sessions[-1].stopped:
        session = log.sessions[-1]
        session.last_step = max(session.last_step, event.step)
        session.last_time = max(session.last_time, event.wall_time)


def _add_session_log(log: RunLog, event: Any, directory: str) -> None:
    status = event.session_log.status
    if status == _SessionLog.START:
        if not (event.session_log.msg and log.sessions):  # else the session went back to a checkpoint
            log.sessions.append(Session(event.step, event.wall_time, event.step, event.wall_time))
        for points in log.scalars.values():
            points[:] = [point for point in points if point.step < event.step]
    elif status == _SessionLog.STOP and log.sessions:
        log.sessions[-1].last_time = event.wall_time
        log.sessions[-1].stopped = True
    elif status == _SessionLog.CHECKPOINT:
        name = os.path.basename(event.session_log.checkpoint_path)
        path = os.path.join(directory, f"{name}-{event.step}")
        log.checkpoints.append(Checkpoint(event.step, event.wall_time, path, _checkpoint_size(path)))


def _checkpoint_size(path: str) -> int | None:
    directory, prefix = os.path.split(path)
    if not os.path.exists(f"{path}.index"):
        return None
    return sum(entry.stat().st_size for entry in os.scandir(directory) if entry.name.startswith(f"{prefix}."))


def _add_value(log: RunLog, event: Any, value: Any) -> None:
    kind = value.WhichOneof("value")
    plugin = value.metadata.plugin_data.plugin_name
    number = None
    if kind == "simple_value":
        number = value.simple_value
    elif kind == "tensor" and plugin == "scalars":
        number = float(tf.make_ndarray(value.tensor).item())
    elif kind == "tensor" and plugin == "text":
        log.texts[value.tag] = b"\n".join(tf.make_ndarray(value.tensor).ravel()).decode(errors="replace")
    if number is not None:
        log.scalars.setdefault(value.tag, []).append(Point(event.step, event.wall_time, number))
