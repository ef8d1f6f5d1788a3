"""Files by their path, or by a URL that `tf.io.gfile` knows. TensorFlow is imported for a URL alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any

__all__ = [
    "errors_of_urls",
    "exists",
    "is_url",
    "names_in",
    "open_to_read",
    "remove",
    "size_and_time",
    "sync",
    "write_text",
]


def is_url(path: str) -> bool:
    """False for a path."""
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
    with errors_of_urls():
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
    with errors_of_urls():
        stat = _tensorflow().io.gfile.stat(path)
        return int(stat.length), int(stat.mtime_nsec)


@contextlib.contextmanager
def open_to_read(path: str) -> Iterator[IO[bytes]]:
    """Open a file of bytes. What fails in the block with an error of TensorFlow's fails with an `OSError`."""
    if not is_url(path):
        with open(path, "rb") as file:
            yield file
        return
    with errors_of_urls(), _tensorflow().io.gfile.GFile(path, "rb") as file:
        yield file


def remove(path: str) -> None:
    """Remove a file. That another process removed it is no error.

    Raises:
      OSError: If it cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if not is_url(path):
            os.unlink(path)
            return
        with errors_of_urls():
            _tensorflow().io.gfile.remove(path)


def write_text(path: str, text: str, aside: str) -> None:
    """Replace a file, whole and synced; at a URL, as whole as its file system does that.

    Args:
      path: The file.
      text: What it is to hold.
      aside: Where it is written first, in the same directory.

    Raises:
      OSError: If it cannot be written; the one before is in its place then.
    """
    if is_url(path):
        with errors_of_urls():
            gfile = _tensorflow().io.gfile
            with gfile.GFile(aside, "w") as file:
                file.write(text)
            gfile.rename(aside, path, overwrite=True)
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
    """Wait until a local file, or the names in a local directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_of_urls() -> Iterator[None]:
    """Turn the errors of TensorFlow in the block into those that are raised for a path."""
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
