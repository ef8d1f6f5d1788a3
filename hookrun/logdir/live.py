"""Checkpoints that are looked at while a training saves, replaces and removes them."""

from __future__ import annotations

import contextlib
import os
import time

from hookrun.checkpoints import restore
from hookrun.checkpoints.files import files_of
from hookrun.checkpoints.integrity import Progress

__all__ = ["GoneError", "damage"]

_AT_REST_SECS = 60.0
"""A directory that was not changed for so long is no longer being changed."""

_MOMENT_SECS = 2.0
"""How long half a checkpoint may be there while it is moved in, replaced or removed."""

_TRIES = 30

_State = tuple[dict[str, tuple[int, ...]], bool]
"""The files of a checkpoint, with what changes when one is replaced; and whether the state file names it."""

_GONE: _State = ({}, False)


class GoneError(Exception):
    """A checkpoint was removed, or was replaced again and again, after it was found."""


def damage(directory: str, prefix: str, progress: Progress = lambda _: None) -> str | None:
    """What is damaged of a checkpoint, as `restore.verify` says; None where it is intact.

    What a training does meanwhile is no damage: where something is wrong in a directory that was changed
    lately, and the files of the checkpoint change within a moment, they are read again.

    Args:
      directory: The directory of the state file.
      prefix: The checkpoint, as `tf.compat.v1.train.Saver.restore` takes it.
      progress: Called with the number of bytes of each piece of data that was read.

    Raises:
      GoneError: If it was removed.
    """
    for _ in range(_TRIES):
        before, begin = _state(directory, prefix), time.monotonic()
        if before == _GONE:
            break
        reason = restore.verify(prefix, progress)
        if reason is None:
            return None
        changed_ago = abs(time.time() - os.stat(directory).st_mtime)
        end = begin + (_MOMENT_SECS if changed_ago < _AT_REST_SECS else 0)
        while (after := _state(directory, prefix)) == before and time.monotonic() < end:
            time.sleep(0.01)
        if after == before:
            return reason
    raise GoneError(prefix)


def _state(directory: str, prefix: str) -> _State:
    files: dict[str, tuple[int, ...]] = {}
    for file in [*files_of(prefix), prefix]:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(file)
            files[file] = (found.st_ino, found.st_size, found.st_mtime_ns)
    named = os.path.basename(prefix) in map(os.path.basename, restore.named_in(directory))
    return files, named
