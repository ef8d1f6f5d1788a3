"""Files by their path, or by a URL that `tf.io.gfile` knows. TensorFlow is imported for a URL alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["exists", "is_url", "names_in", "open_to_read", "size_and_time"]


def is_url(path: str) -> bool:
    return "://" in path


def exists(path: str) -> bool:
    return bool(_tensorflow().io.gfile.exists(path)) if is_url(path) else os.path.exists(path)


def names_in(directory: str) -> list[str]:
    """The names in a directory; none where there is no such directory.

    Raises:
      OSError: If it cannot be read.
    """
    if not is_url(directory):
        try:
            return os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
    with _errors_of_urls():
        gfile = _tensorflow().io.gfile
        return [name.rstrip("/") for name in gfile.listdir(directory)] if gfile.isdir(directory) else []


def size_and_time(path: str) -> tuple[int, int]:
    """The bytes of a file, and when it was written, in nanoseconds since the epoch.

    Raises:
      OSError: If there is none.
    """
    if not is_url(path):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    with _errors_of_urls():
        stat = _tensorflow().io.gfile.stat(path)
        return int(stat.length), int(stat.mtime_nsec)


@contextlib.contextmanager
def open_to_read(path: str) -> Iterator[IO[bytes]]:
    """Open a file of bytes. What fails in the block with an error of TensorFlow's fails with an `OSError`."""
    if not is_url(path):
        with open(path, "rb") as file:
            yield file
        return
    with _errors_of_urls(), _tensorflow().io.gfile.GFile(path, "rb") as file:
        yield file


@contextlib.contextmanager
def _errors_of_urls() -> Iterator[None]:
    errors = _tensorflow().errors
    try:
        yield
    except errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except errors.OpError as error:
        raise OSError(error.message) from error


def _tensorflow() -> Any:
    import tensorflow

    return tensorflow
