"""What is in a logdir: its checkpoints and event files, whether they are intact, and what may be removed."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from hookrun.checkpoints import restore, retention, state_file
from hookrun.checkpoints.files import files_of, remove
from hookrun.checkpoints.integrity import Progress
from hookrun.checkpoints.messages import MetaGraphDef
from hookrun.checkpoints.state_file import time_saved
from hookrun.logdir import live
from hookrun.logdir.events import event_files
from hookrun.logdir.run_log import EventFile, Point, read_run_logs
from hookrun.runtime import hook_state
from hookrun.runtime.hook_state import HookState

__all__ = [
    "Checkpoint",
    "EventFile",
    "Logdir",
    "PruneError",
    "Pruning",
    "bytes_in",
    "inspect",
    "prune",
    "read_scalars",
]

_TRIES = 10
"""How often the checkpoints are looked for, where all were removed since they were found."""


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint as it is found."""

    path: str
    """Its prefix, as `tf.compat.v1.train.Saver.restore` takes it."""
    step: int | None
    """The step of its name; None where it has none."""
    wall_time: float | None
    """When it was saved, in seconds since 1970; None where it does not exist."""
    size: int
    """The bytes of its files."""
    damage: str | None
    """What is damaged; None where every byte is as it was written."""
    is_start: bool = False
    """True for the one that a run would start from."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The metrics that were reported when it was saved."""
    best: dict[str, str] = field(default_factory=dict)
    """The metrics of which it has the "least" or the "most" of all intact checkpoints of its base name."""


@dataclass(slots=True)
class Logdir:
    """What is in and below a logdir."""

    checkpoints: list[Checkpoint]
    """The oldest first, one base name after the other."""
    event_files: list[EventFile]
    last_values: dict[str, dict[str, Point]]
    """The last value of each tag, by the directory relative to the logdir, as TensorBoard shows it."""
    hook_state: dict[str, Any]
    """What each hook remembers, by name, in the checkpoint that a run would start from."""

    def verify(self) -> dict[str, str | None]:
        """What is damaged of each checkpoint and event file, by path; None where it is intact.

        Of a checkpoint that is its ``.meta`` too, which no run needs to start from it.
        """
        checkpoints = {c.path: c.damage or _damage_of_meta(f"{c.path}.meta") for c in self.checkpoints}
        return checkpoints | {file.path: file.damage for file in self.event_files}


def inspect(directory: str, progress: Progress = lambda _: None) -> Logdir:
    """Read every byte of the checkpoints in a logdir, and of the event files in and below it.

    What is removed meanwhile is left out.

    Args:
      directory: A local directory.
      progress: Called with the number of bytes, each time that some have been read.

    Raises:
      FileNotFoundError: If there is no such directory, or neither checkpoints nor event files in it.
      NotADirectoryError: If it is a file.
    """
    os.scandir(directory).close()  # raises where there is no directory
    found = _found(directory, progress)
    logs = []
    with contextlib.suppress(FileNotFoundError):
        logs = read_run_logs(directory, progress)
    if not found and not logs:
        raise FileNotFoundError(f"There are neither checkpoints nor event files in {directory!r}")
    last_values = {
        log.name: last
        for log in logs
        if (last := {tag: points[-1] for tag, points in log.scalars.items() if points})
    }
    start = _start(directory, found)
    state = {} if start is None else dict(hook_state.read(start.path + hook_state.SUFFIX).hooks)
    return Logdir(found, [file for log in logs for file in log.files], last_values, state)


def bytes_in(directory: str) -> int:
    """About how many bytes `inspect` will read."""
    paths = [path for _, paths in event_files(directory) for path in paths]
    for save_path in restore.save_paths_in(directory):
        paths += [file for path in restore.candidates(save_path) for file in files_of(path)]
    return sum(map(_size, paths))


def read_scalars(directory: str, tag: str) -> dict[str, list[Point]]:
    """The curve of a tag, as TensorBoard shows it.

    Args:
      directory: A local directory.
      tag: The tag of a scalar.

    Returns:
      The points by the directory, relative to the given one, whose event files they are in.

    Raises:
      FileNotFoundError: If there are no event files.
      KeyError: If none has the tag; its argument is the sorted list of those that there are.
    """
    logs = read_run_logs(directory)
    curves = {log.name: log.scalars[tag] for log in logs if log.scalars.get(tag)}
    if not curves:
        raise KeyError(sorted({known for log in logs for known, points in log.scalars.items() if points}))
    return curves


class PruneError(Exception):
    """Nothing was removed: too little would have been left."""


@dataclass(slots=True)
class Pruning:
    """Which checkpoints of one base name are kept, and which are not."""

    kept: list[str]
    """Prefixes, the oldest first. They are intact."""
    not_kept: list[str]
    """Those that are removed with `delete`."""
    damaged: dict[str, str]
    """Those that would be kept if they were intact, and are left alone, with what is damaged."""


def prune(directory: str, policy: retention.Policy, delete: bool) -> list[Pruning]:
    """Remove the checkpoints in a logdir that `policy` does not keep.

    What counts is intact: a checkpoint that the policy would keep is read to its last byte first, and where
    it is damaged, the policy is asked again without it. The checkpoint that a run would start from is
    always kept. The state file names what is left. For a directory in which no training runs.

    Args:
      directory: A local directory.
      policy: Which checkpoints are kept, of those of each base name.
      delete: False to change nothing.

    Raises:
      FileNotFoundError: If there are no checkpoints.
      PruneError: If none of them is intact, or a policy finds none to keep.
    """
    os.scandir(directory).close()
    plans = _plans(directory, policy)
    if delete:
        for save_path, pruning in plans.items():
            _remove(directory, save_path, pruning)
    return list(plans.values())


def _plans(directory: str, policy: retention.Policy) -> dict[str, Pruning]:
    """What is kept and what is not, by the path of the checkpoints without their step."""
    for _ in range(_TRIES):
        save_paths = restore.save_paths_in(directory)
        plans = {path: plan for path in save_paths if (plan := _plan(directory, path, policy)) is not None}
        if plans or not save_paths:
            break
    if not plans:
        raise FileNotFoundError(f"There are no checkpoints in {directory!r}")
    return plans


def _plan(directory: str, save_path: str, policy: retention.Policy) -> Pruning | None:
    """None where all checkpoints were removed since they were found."""
    trusted = [
        retention.Checkpoint(path, _step(path), wall_time, state.metrics, state.times_reported)
        for path in reversed(restore.candidates(save_path))
        if os.path.dirname(path) == os.path.dirname(save_path) and (wall_time := time_saved(path)) is not None
        for state in [_state(path)]
    ]
    damaged: dict[str, str] = {}
    intact: set[str] = set()
    while trusted:
        wanted = policy.kept(trusted)
        unknown = [c for c in trusted if c in wanted | {trusted[-1]} and c.path not in intact]
        if not unknown:
            break
        for checkpoint in reversed(unknown):
            try:
                reason = live.damage(directory, checkpoint.path)
            except live.GoneError:
                trusted.remove(checkpoint)
                continue
            if reason is None:
                intact.add(checkpoint.path)
            else:
                damaged[checkpoint.path] = reason
                trusted.remove(checkpoint)
    if not trusted and not damaged:
        return None
    if not trusted:
        raise PruneError(f"none of the checkpoints of {save_path} is intact; all are left as they are")
    if not wanted:
        raise PruneError(f"{policy} keeps none of the checkpoints of {save_path}; all are left as they are")
    kept = [c.path for c in trusted if c in wanted | {trusted[-1]}]
    return Pruning(kept, [c.path for c in trusted if c.path not in kept], damaged)


def _remove(directory: str, save_path: str, pruning: Pruning) -> None:
    """The state file names one that stays before any is removed, and no longer what is gone."""
    named = [_here(directory, path) for path in restore.named_in(directory)]
    if not pruning.not_kept or not named:
        for path in pruning.not_kept:
            remove(path)
        return
    written = f"{save_path}.pruned"  # not what a training writes its own to
    gone = {os.path.basename(path) for path in pruning.not_kept}
    newest = pruning.kept[-1] if os.path.basename(named[0]) in gone else named[0]
    state_file.write(written, newest, reversed(named), relative=True)
    for path in pruning.not_kept:
        remove(path)
    newest, *others = [_here(directory, path) for path in restore.named_in(directory)]
    left = [path for path in reversed(others) if os.path.basename(path) not in gone]
    state_file.write(written, newest, [*left, newest], relative=True)


def _here(directory: str, path: str) -> str:
    """The checkpoint of that name in a directory that was moved or copied; else `path`."""
    here = os.path.join(directory, os.path.basename(path))
    return path if time_saved(here) is None else here


def _found(directory: str, progress: Progress) -> list[Checkpoint]:
    """The checkpoints in a logdir, the oldest first, one base name after the other."""
    for _ in range(_TRIES):
        save_paths = restore.save_paths_in(directory)
        found = [c for save_path in save_paths for c in _checkpoints(directory, save_path, progress)]
        if found or not save_paths:
            break
    return found


def _checkpoints(directory: str, save_path: str, progress: Progress) -> list[Checkpoint]:
    found = list(_newest_first(directory, restore.candidates(save_path), progress))[::-1]
    intact = [checkpoint for checkpoint in found if checkpoint.damage is None]
    for name in {name for checkpoint in intact for name in checkpoint.metrics}:
        measured = [c for c in intact if not math.isnan(c.metrics.get(name, math.nan))]
        if len({c.metrics[name] for c in measured}) > 1:
            min(measured, key=lambda c: c.metrics[name]).best[name] = "least"
            max(measured, key=lambda c: c.metrics[name]).best[name] = "most"
    return found


def _newest_first(directory: str, paths: Iterable[str], progress: Progress) -> Iterator[Checkpoint]:
    """Read each; a training removes the oldest first."""
    for path in paths:
        with contextlib.suppress(live.GoneError):
            size, wall_time, metrics = (
                sum(map(_size, files_of(path))),
                time_saved(path),
                dict(_state(path).metrics),
            )
            damage = live.damage(directory, path, progress)
            yield Checkpoint(path, _step(path), wall_time, size, damage, metrics=metrics)


def _size(path: str) -> int:
    """The bytes of a file; 0 for one that was removed meanwhile."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _damage_of_meta(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            if MetaGraphDef.FromString(file.read()).HasField("graph_def"):
                return None
    except FileNotFoundError:  # a Saver need not write it
        return None
    except (OSError, DecodeError) as error:
        return f"{path} cannot be read: {error}"
    return f"{path} holds no graph"


def _step(path: str) -> int | None:
    step = os.path.basename(path).rpartition("-")[2]
    return int(step) if step.isdecimal() else None


def _state(path: str) -> HookState:
    try:
        return hook_state.read(path + hook_state.SUFFIX)
    except (OSError, ValueError):  # `restore.verify` tells of it
        return HookState()


def _start(directory: str, found: list[Checkpoint]) -> Checkpoint | None:
    """Mark the checkpoint that a run would start from, and return it."""
    intact = [c for c in found if c.damage is None]
    named = {_base_name(path) for path in restore.named_in(directory)[:1]}
    of_the_run = [c for c in intact if _base_name(c.path) in named] or intact
    if not of_the_run:
        return None
    of_the_run[-1].is_start = True
    return of_the_run[-1]


def _base_name(path: str) -> str:
    return os.path.basename(path).rpartition("-")[0]
