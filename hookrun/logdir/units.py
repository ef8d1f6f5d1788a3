"""Times and sizes, written for a person."""

from __future__ import annotations

import time

__all__ = ["date", "size"]


def date(wall_time: float) -> str:
    """A time in seconds since 1970, as the local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_time))


def size(number: float) -> str:
    """A number of bytes, to three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
