"""Paths under which TensorFlow reads a checkpoint whose own path it takes for a pattern.

Before it opens a checkpoint, TensorFlow looks whether a file matches its path. A path with ``*`` or ``?``
matches itself; ``lr=[0.1]`` and a backslash do not, and what was saved there could not be restored.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

from hookrun.checkpoints import files, storage

__all__ = ["check_readable", "readable"]

_UNREADABLE = re.compile(r"[\[\\]")


def check_readable(save_path: str, remote: bool = False) -> None:
    """Refuse a path of which no checkpoint could be restored.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.
      remote: True where they are read by other processes, which may be on other machines.

    Raises:
      ValueError: If it is such a path; it says the character.
    """
    found = _UNREADABLE.search(save_path)
    if found is not None and (remote or storage.is_url(save_path)):
        raise ValueError(
            f"logdir and checkpoint_basename must not hold {found[0]!r} where checkpoints are at a URL or "
            f"read by other processes, since TensorFlow takes it for a pattern: {save_path!r}"
        )


@contextlib.contextmanager
def readable(prefix: str) -> Iterator[str]:
    """Return a context manager for a path under which TensorFlow reads a checkpoint, on this machine.

    Args:
      prefix: The checkpoint, as `tf.compat.v1.train.Saver.restore` takes it.

    Yields:
      `prefix` itself, or where TensorFlow cannot read that, the path of links to its files, which are there
      until the end of the block.
    """
    if _UNREADABLE.search(prefix) is None or storage.is_url(prefix):
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="hookrun-checkpoint-") as directory:
        alias = os.path.join(directory, "checkpoint")
        for file in [*files.files_of(prefix), prefix]:
            if os.path.exists(file):
                os.symlink(os.path.abspath(file), alias + file.removeprefix(prefix))
        yield alias
