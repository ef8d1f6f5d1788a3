"""Metrics: the values that hooks and the program report of a training."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from hookrun.writers.scalars import as_number

__all__ = ["Metrics"]


class Metrics:
    """The last value of each metric, and how often each was reported. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}
        self._times: dict[str, int] = {}

    @property
    def values(self) -> dict[str, float]:
        """The last value of each metric, by name."""
        with self._lock:
            return dict(self._values)

    @property
    def times_reported(self) -> dict[str, int]:
        """How often each was reported, in the sessions that this one goes on from too: one that is restored
        from a checkpoint without these numbers counts from 0."""
        with self._lock:
            return dict(self._times)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Take new values: all of them, or none where one is no number.

        Raises:
          TypeError: If a name is no string, or a value no number.
          ValueError: If a value is of several numbers.
        """
        for name in metrics:
            if not isinstance(name, str):
                raise TypeError(f"the name of a metric must be a str, not {name!r}")
        numbers = {name: as_number(value, "metric", name) for name, value in metrics.items()}
        with self._lock:
            self._values.update(numbers)
            for name in numbers:
                self._times[name] = self._times.get(name, 0) + 1

    def restore(self, values: Mapping[str, float], times_reported: Mapping[str, int]) -> None:
        """Go back to what was saved: nothing of it is new."""
        with self._lock:
            self._values, self._times = dict(values), dict(times_reported)
