"""The files of checkpoints in a directory. No path is taken for a pattern: it may be ``lr=[0.1]``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Set

from hookrun.checkpoints import storage
from hookrun.checkpoints.index import is_table
from hookrun.runtime import hook_state

__all__ = [
    "exists",
    "files_of",
    "index_last",
    "prefix_of",
    "prefixes_in",
    "remove",
    "step_of",
    "without_step",
]

_PART = re.compile(r"(.+)(?:\.index|\.data-\d{5,}-of-\d{5,})", re.DOTALL)
_STEP = re.compile(r"-(\d+)\Z")
_ENDING = re.compile(rf"\.index|\.data-\d{{5,}}-of-\d{{5,}}|\.meta|{re.escape(hook_state.SUFFIX)}")


def prefix_of(name: str) -> str | None:
    """The checkpoint that a file of its index or of its data belongs to; None for another file."""
    match = _PART.fullmatch(name)
    return match[1] if match else None


def step_of(prefix: str) -> int | None:
    """The step in the name of a checkpoint; None without one."""
    match = _STEP.search(prefix)
    return int(match[1]) if match else None


def without_step(prefix: str) -> str:
    return _STEP.sub("", prefix)


def prefixes_in(directory: str, base_names: Set[str]) -> set[str]:
    """The checkpoints in a directory; of `base_names`, also those of which little is left.

    Other tools have files of such names too. A checkpoint has data beside its index, or an index that is a
    table. One of TensorFlow's first format is itself a table, with a `.meta` beside it.
    """
    names = set(storage.names_in(directory))
    indexes = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    metas = {name.removesuffix(".meta") for name in names if name.endswith(".meta")}
    data = {prefix for name in names if not name.endswith(".index") and (prefix := prefix_of(name))}

    def is_checkpoint(prefix: str) -> bool:
        numbered = without_step(prefix) != prefix
        ours = not base_names.isdisjoint((prefix, without_step(prefix)))
        path = os.path.join(directory, prefix)
        if prefix in indexes:
            return prefix in data or (ours and prefix in metas) or is_table(f"{path}.index")
        if prefix in data:
            return ours or numbered or prefix in metas
        return prefix in names and ((ours and numbered) or is_table(path))

    return set(filter(is_checkpoint, indexes | data | metas))


def exists(prefix: str) -> bool:
    """True where there is a checkpoint. In the first format, the name may be a pattern of its shards."""
    return any(map(storage.exists, (f"{prefix}.index", prefix))) or bool(glob.glob(prefix))


def files_of(prefix: str) -> list[str]:
    """The files of the checkpoint `prefix`, the index last: without it, the others are none."""
    directory, name = os.path.split(prefix)
    there = storage.names_in(directory or ".")
    endings = [file.removeprefix(name) for file in there if file.startswith(name)]
    return index_last([f"{prefix}{ending}" for ending in endings if _ENDING.fullmatch(ending)])


def index_last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.endswith(".index"), name))


def remove(prefix: str) -> None:
    """Remove the files of the checkpoint `prefix`. That another process removed one is no error.

    Raises:
      OSError: If one cannot be removed.
    """
    for file in files_of(prefix):  # a process that is killed meanwhile leaves what the next one finds
        storage.remove(file)
    if storage.exists(prefix) and not os.path.isdir(prefix):  # in TensorFlow's first format
        storage.remove(prefix)
