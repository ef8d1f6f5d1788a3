"""What a receiver fetches of a step in TensorFlow 2: found in the step's results, converted to numpy."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["StepValues", "check_fetches", "named_results", "parts_of"]

_LOSS = "loss"
"""The key of a result that is a single number."""


def check_fetches(name: str, fetches: Any) -> None:
    """Refuse what no step can give to the receiver `name`.

    Raises:
      TypeError: If `fetches` is not a key, a variable, a function of the results or a structure of these.
    """
    if isinstance(fetches, Mapping):
        parts = list(fetches.values())
    elif isinstance(fetches, (list, tuple)):
        parts = list(fetches)
    elif isinstance(fetches, str) or _variable_of(fetches) is not None or callable(fetches):
        return
    else:
        raise TypeError(
            f"{name} cannot fetch {fetches!r}: in a loop of TensorFlow 2, fetches are keys of the step's "
            "results, variables, functions of the results, or structures of these"
        )
    for part in parts:
        check_fetches(name, part)


class StepValues:
    """The values of one step, each converted once for all that want it.

    Args:
      results: What the step function returned.
      metrics: Returns the metrics that were reported, by name.
    """

    def __init__(self, results: Any, metrics: Callable[[], Mapping[str, float]]) -> None:
        self._results = results
        self._metrics = metrics
        self._by_key: dict[Any, Any] = {}

    def of(self, fetches: Any) -> Any:
        """The values of `fetches`, in their structure.

        Raises:
          KeyError: If a key is neither in the results nor a metric; it lists those that are.
          TypeError: If a result cannot be converted.
        """
        if isinstance(fetches, Mapping):
            return {key: self.of(part) for key, part in fetches.items()}
        if isinstance(fetches, tuple) and hasattr(fetches, "_fields"):
            return type(fetches)(*map(self.of, fetches))
        if isinstance(fetches, (list, tuple)):
            return type(fetches)(map(self.of, fetches))
        key = fetches if isinstance(fetches, str) else id(fetches)
        if key not in self._by_key:
            self._by_key[key] = _converted(self._found(fetches))
        return self._by_key[key]

    def _found(self, fetch: Any) -> Any:
        variable = _variable_of(fetch)
        if variable is not None:
            return variable
        if not isinstance(fetch, str):
            return fetch(self._results)
        for key, value in named_results(self._results):
            if key == fetch:
                return value
        metrics = self._metrics()
        if fetch in metrics:
            return metrics[fetch]
        known = [*(key for key, _ in named_results(self._results)), *metrics]
        raise KeyError(
            f"{fetch!r} is neither in the step's results nor a reported metric; known are: "
            + (", ".join(dict.fromkeys(known)) or "none")
        )


def parts_of(results: Any) -> list[tuple[str, Any]] | None:
    """The parts of a dictionary, a named tuple or a dataclass by their keys; None for anything else."""
    if isinstance(results, Mapping):
        return [(str(key), value) for key, value in results.items()]
    if isinstance(results, tuple) and hasattr(results, "_fields"):
        return list(zip(results._fields, results, strict=True))
    if dataclasses.is_dataclass(results) and not isinstance(results, type):
        return [(each.name, getattr(results, each.name)) for each in dataclasses.fields(results)]
    return None


def named_results(results: Any) -> Iterator[tuple[str, Any]]:
    """The results by their keys, the outer ones first. A single number is called "loss"."""
    parts = parts_of(results)
    if parts is not None:
        yield from parts
        for _, value in parts:
            if parts_of(value) is not None:
                yield from named_results(value)
    elif isinstance(results, numbers.Number) or getattr(getattr(results, "shape", None), "rank", None) == 0:
        yield _LOSS, results


def _variable_of(fetch: Any) -> Any:
    """The variable that `fetch` is, of TensorFlow or of Keras; None where it is none."""
    if isinstance(fetch, tf.Variable):
        return fetch
    value = getattr(fetch, "value", None)
    return value if isinstance(value, tf.Variable) else None


def _converted(value: Any) -> Any:
    """The value in numpy, which nobody can change: it is shared."""
    if isinstance(value, tf.distribute.DistributedValues) and not isinstance(value, tf.Variable):
        raise TypeError(
            f"a result has one value per replica: {value!r}. Reduce it in the step, with "
            'strategy.reduce("mean", value, axis=None)'
        )
    if isinstance(value, tf.IndexedSlices):
        value = tf.convert_to_tensor(value)
    if isinstance(value, (Mapping, list, tuple)):
        return tf.nest.map_structure(_converted, value)
    converted = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(converted, np.ndarray):
        converted = converted.view()
        converted.flags.writeable = False
    return converted
