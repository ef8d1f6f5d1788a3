"""Retention: which checkpoints are kept. A policy is a pure function of the checkpoints that there are.

``a | b`` keeps what either keeps:

>>> policy = LatestN(2) | BestN(1, metric="accuracy")
>>> checkpoints = [
...     Checkpoint(f"model.ckpt-{step}", step, 60.0 * step, {"accuracy": accuracy})
...     for step, accuracy in [(1, 0.5), (2, 0.9), (3, 0.7), (4, 0.8)]
... ]
>>> sorted(checkpoint.step for checkpoint in policy.kept(checkpoints))
[2, 3, 4]

A policy is asked after each save, with what is there then, and after a restart with what is found on disk.
It never wants a checkpoint back: asked without those that it let go, it keeps what it would keep with them.
Nothing here imports TensorFlow.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from hookrun.numeric import checked_int, checked_number

__all__ = ["AnyOf", "BestN", "Checkpoint", "EveryNHours", "LatestN", "Policy"]


_NUMBER = "a positive number of checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a policy knows of a checkpoint."""

    path: str
    """The checkpoint's prefix, as `tf.compat.v1.train.Saver.restore` takes it."""
    step: int | None
    """The step it holds; None without a global step."""
    time: float
    """When it was saved, in seconds since the epoch."""
    metrics: Mapping[str, float] = field(hash=False)
    """The last values that were reported when it was saved, by name."""
    times_reported: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How often each had been reported by then: a value that was not reported anew has the same number as in
    the checkpoint before. Those of which it is not known are taken as reported for this one."""


class Policy(abc.ABC):
    """Says which checkpoints are kept. ``a | b`` keeps those that either keeps."""

    @abc.abstractmethod
    def kept(self, checkpoints: Sequence[Checkpoint]) -> set[Checkpoint]:
        """The checkpoints to keep, of all that there are.

        Args:
          checkpoints: The oldest first, in the order in which they were saved.
        """

    @property
    def fetches(self) -> Mapping[str, Any]:
        """What is to be measured for each checkpoint: the fetch for each name in `Checkpoint.metrics`."""
        return {}

    @property
    def metrics(self) -> Set[str]:
        """The names of the metrics that it goes by."""
        return self.fetches.keys()

    def __or__(self, other: Policy) -> AnyOf:
        if not isinstance(other, Policy):
            return NotImplemented
        return AnyOf(self, other)


class LatestN(Policy):
    """Keeps the `n` newest.

    Args:
      n: A positive number of checkpoints; None to keep all, which `tf.compat.v1.train.Saver` says with
        ``max_to_keep=0``.

    Raises:
      ValueError: If `n` is anything else.
    """

    def __init__(self, n: int | None) -> None:
        self.n = None if n is None else checked_int("n", n, f"{_NUMBER}, or None for all")

    def kept(self, checkpoints: Sequence[Checkpoint]) -> set[Checkpoint]:
        return set(checkpoints if self.n is None else checkpoints[-self.n :])

    def __repr__(self) -> str:
        return f"LatestN({self.n})"


class EveryNHours(Policy):
    """Keeps the last that was saved before each multiple of `hours` hours, and the newest.

    Those are as many as with the ``keep_checkpoint_every_n_hours`` of `tf.compat.v1.train.Saver`, give or
    take one. The Saver counts from its own creation, so that a training that restarts more often than that
    keeps none; here the hours are those of the clock, counted from the epoch, and go on over restarts.

    Args:
      hours: A positive number of hours; 0 to keep all, as in the Saver.

    Raises:
      ValueError: If `hours` is negative or no number.
    """

    def __init__(self, hours: float) -> None:
        expected = "a positive number of hours, or 0 for all"
        self.hours = checked_number("hours", hours, expected, lambda n: n >= 0)

    def kept(self, checkpoints: Sequence[Checkpoint]) -> set[Checkpoint]:
        if self.hours == 0:
            return set(checkpoints)
        return set({c.time // (self.hours * 3600): c for c in checkpoints}.values())

    def __repr__(self) -> str:
        return f"EveryNHours({self.hours})"


class BestN(Policy):
    """Keeps the `n` with the best values of a metric; of equal ones, the older.

    One without the metric, or with NaN, is never among the best: where none has a value, none is kept. A
    value counts for the first checkpoint after it was reported, not for those that are saved until the next.
    The newest is not kept for being the newest: combine with `LatestN`.

    Args:
      n: A positive number of checkpoints.
      metric: The name under which a hook reports the value; or a fetch that gives one number, such as a
        scalar `tf.Tensor`, which is named after it: ``accuracy`` for the tensor ``accuracy:0``.
      mode: "max" where more is better, "min" where less is.

    Raises:
      TypeError: If `metric` is neither a name nor a fetch with a name.
      ValueError: If `n` is not a positive integer, or `mode` neither "max" nor "min".
    """

    def __init__(self, n: int, *, metric: Any, mode: Literal["max", "min"] = "max") -> None:
        self.n = checked_int("n", n, _NUMBER)
        name = metric if isinstance(metric, str) else getattr(metric, "name", None)
        if not isinstance(name, str) or not name:
            raise TypeError(f"metric must be the name of a value, or a fetch with a name, not {metric!r}")
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', not {mode!r}")
        self.mode = mode
        self.metric = name if isinstance(metric, str) else name.removesuffix(":0")
        self._fetch = None if isinstance(metric, str) else metric

    def kept(self, checkpoints: Sequence[Checkpoint]) -> set[Checkpoint]:
        first_of_report: dict[Any, Checkpoint] = {}
        for checkpoint in checkpoints:
            value = checkpoint.metrics.get(self.metric, math.nan)
            if not math.isnan(value):
                times = checkpoint.times_reported.get(self.metric)
                report = checkpoint.path if times is None else (times, value)
                first_of_report.setdefault(report, checkpoint)
        best_first = sorted(
            first_of_report.values(), key=lambda c: c.metrics[self.metric], reverse=self.mode == "max"
        )
        return set(best_first[: self.n])

    @property
    def fetches(self) -> Mapping[str, Any]:
        return {} if self._fetch is None else {self.metric: self._fetch}

    @property
    def metrics(self) -> Set[str]:
        return {self.metric}

    def __repr__(self) -> str:
        return f"BestN({self.n}, metric={self.metric!r}, mode={self.mode!r})"


class AnyOf(Policy):
    """Keeps what any of `policies` keeps; ``a | b`` makes one.

    Args:
      *policies: The policies.
    """

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies

    def kept(self, checkpoints: Sequence[Checkpoint]) -> set[Checkpoint]:
        return {checkpoint for policy in self.policies for checkpoint in policy.kept(checkpoints)}

    @property
    def fetches(self) -> Mapping[str, Any]:
        return {name: fetch for policy in self.policies for name, fetch in policy.fetches.items()}

    @property
    def metrics(self) -> Set[str]:
        return {name for policy in self.policies for name in policy.metrics}

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))
