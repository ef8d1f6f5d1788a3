"""Files go to the disk while they are written, so that little is left to wait for at their end."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["synced_early"]

_EVERY_SECS = 0.05


@contextlib.contextmanager
def synced_early(directory: str) -> Iterator[None]:
    """In the block, sync the files of `directory` again and again, on the thread ``hookrun-early-sync``.

    What is wrong with a file is left to whoever writes it, and syncs it at the end.
    """
    ended = threading.Event()

    def sync() -> None:
        while not ended.wait(_EVERY_SECS):
            with contextlib.suppress(OSError):  # also where a file was renamed meanwhile
                for name in os.listdir(directory):
                    _sync(os.path.join(directory, name))

    thread = threading.Thread(target=sync, name="hookrun-early-sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
