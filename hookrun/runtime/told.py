"""What receivers are told of a step: nothing through which one of them changes what others have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hookrun import events

__all__ = ["IMMUTABLE", "ToldStep", "private", "read_only"]

IMMUTABLE = frozenset({bool, bytes, float, int, str, type(None), *np.sctypeDict.values()})
"""The types of values that nobody can change."""

_set_step, _set_session, _set_results, _set_values = (
    getattr(events.Step, name).__set__ for name in ("global_step", "session", "results", "values")
)
_get_results = events.Step.__dict__["results"].__get__


class ToldStep(events.Step):
    """An `events.Step` whose `results` are a copy of those of the program, made when they are read."""

    __slots__ = ()

    def __init__(self, global_step: int, session: Any, results: Any, values: Any = None) -> None:
        _set_step(self, global_step)  # what the frozen dataclass does takes four times as long
        _set_session(self, session)
        _set_results(self, results)
        _set_values(self, values)

    @property
    def results(self) -> Any:
        """What `session.run` returns to the program, in the structure of its fetches."""
        return private(_get_results(self))


def private(values: Any) -> Any:
    """A copy of the values of a structure of fetches."""
    return _map(values, np.ndarray.copy)


def read_only(values: Any, results: Any) -> Any:
    """The values of a structure of fetches, for receivers that share them.

    Args:
      values: The values; those of a structure of its own.
      results: Those that the program gets of the same run. It may change them: an array in both is copied.
    """
    of_program = {id(array) for array in _arrays_of(results)}

    def protected(array: Any) -> Any:
        array = array.copy() if id(array) in of_program else array.view()
        array.setflags(write=False)
        return array

    return _map(values, protected)


def _arrays_of(values: Any) -> list[Any]:
    """The arrays in a structure of values."""
    if isinstance(values, np.ndarray):
        return [values]
    parts: Iterable[Any] = ()
    if isinstance(values, (list, tuple)):
        parts = values
    elif isinstance(values, dict):
        parts = values.values()
    elif hasattr(values, "row_splits"):  # a RaggedTensorValue
        parts = (values.values, values.row_splits)
    return [array for part in parts if type(part) not in IMMUTABLE for array in _arrays_of(part)]


def _map(values: Any, function: Callable[[Any], Any]) -> Any:
    """The same structure in containers of its own, with what `function` makes of each array."""
    kind = type(values)
    if kind in IMMUTABLE:
        return values
    if isinstance(values, np.ndarray):
        return function(values)
    if isinstance(values, dict):
        return kind((key, _map(value, function)) for key, value in values.items())
    if isinstance(values, (list, tuple)):
        parts = [_map(value, function) for value in values]
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    if hasattr(values, "row_splits"):  # a RaggedTensorValue
        return kind(_map(values.values, function), _map(values.row_splits, function))
    return values
