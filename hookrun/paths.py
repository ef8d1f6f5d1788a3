"""Paths as they are given: relative, absolute, or URLs. Nothing of TensorFlow is imported."""

from __future__ import annotations

import os
import pathlib

__all__ = ["is_local", "local_path"]


def is_local(path: str) -> bool:
    """False for a URL, unless its scheme is ``file``."""
    return "://" not in path or path.startswith("file://")


def local_path(path: str) -> str:
    """A local path as an absolute one, also where it is given as a URL: a program may change its directory.

    One that is absolute stays as it is: what ``..`` means after a symbolic link is known to the system alone.

    Raises:
      ValueError: If it is a URL of another host, or of a relative path: ``file://runs/first``.
    """
    if not path.startswith("file://"):
        return path if os.path.isabs(path) else str(pathlib.Path(path).absolute())
    host, slash, rest = path.removeprefix("file://").partition("/")
    if host not in ("", "localhost") or not slash:
        raise ValueError(f"A file URL must have an absolute path, as in file:///runs/first, not {path!r}")
    return f"/{rest}"
