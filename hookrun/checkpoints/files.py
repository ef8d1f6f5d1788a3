"""The files of checkpoints, by their path or by a URL that `tf.io.gfile` knows.

No path is taken for a pattern: a directory may be called ``lr=[0.1]``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Set

import tensorflow as tf

from hookrun.checkpoints import storage
from hookrun.runtime import hook_state

__all__ = [
    "exists",
    "files_of",
    "index_last",
    "prefix_of",
    "prefixes_of",
    "remove",
    "step_of",
    "sync",
    "write_text",
]

_PART = re.compile(r"(.+)(?:\.index|\.data-\d{5,}-of-\d{5,})", re.DOTALL)
_STEP = re.compile(r"-(\d+)$")
_ENDING = re.compile(rf"\.index|\.data-\d{{5,}}-of-\d{{5,}}|\.meta|{re.escape(hook_state.SUFFIX)}")


def prefix_of(name: str) -> str | None:
    """The checkpoint that a file of its index or of its data belongs to; None for another file."""
    match = _PART.fullmatch(name)
    return match[1] if match else None


def prefixes_of(names: Set[str]) -> set[str]:
    """The checkpoints that files belong to. One of the first format is a file with a `.meta`."""
    prefixes = {prefix for prefix in map(prefix_of, names) if prefix is not None}
    return prefixes | {name for name in names if f"{name}.meta" in names}


def step_of(prefix: str) -> int | None:
    """The step in the name of a checkpoint; None without one."""
    match = _STEP.search(prefix)
    return int(match[1]) if match else None


def exists(prefix: str) -> bool:
    """True where there is a checkpoint. In the first format, the name may be a pattern of its shards."""
    return any(map(storage.exists, (f"{prefix}.index", prefix))) or bool(tf.io.gfile.glob(prefix))


def files_of(prefix: str) -> list[str]:
    """The files of the checkpoint `prefix`, the index last: without it, the others are none."""
    directory, name = os.path.split(prefix)
    there = storage.names_in(directory or ".")
    endings = [file.removeprefix(name) for file in there if file.startswith(name)]
    return index_last([f"{prefix}{ending}" for ending in endings if _ENDING.fullmatch(ending)])


def index_last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.endswith(".index"), name))


def remove(prefix: str) -> None:
    """Remove the files of the checkpoint `prefix`.

    Raises:
      OSError, tf.errors.OpError: If one cannot be removed.
    """
    delete = tf.io.gfile.remove if storage.is_url(prefix) else os.unlink
    for file in files_of(prefix):  # a process that is killed meanwhile leaves what the next one finds
        delete(file)
    if storage.exists(prefix):  # in TensorFlow's first format
        delete(prefix)


def write_text(path: str, text: str, aside: str) -> None:
    """Replace a file, whole and synced; at a URL, as whole as its file system does that.

    Args:
      path: The file.
      text: What it is to hold.
      aside: Where it is written first, in the same directory.

    Raises:
      OSError, tf.errors.OpError: If it cannot be written; the one before is in its place then.
    """
    if storage.is_url(path):
        with tf.io.gfile.GFile(aside, "w") as file:
            file.write(text)
        tf.io.gfile.rename(aside, path, overwrite=True)
        return
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
        sync(aside)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    sync(os.path.dirname(path) or ".")


def sync(path: str) -> None:
    """Wait until the file, or the names in the directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
