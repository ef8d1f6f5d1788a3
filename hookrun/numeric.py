"""Numbers that are given as arguments: Python's, numpy's, and arrays of numpy's that are of one number."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

__all__ = ["checked_int", "checked_number", "python_number"]


def python_number(value: Any) -> Any:
    """The number of Python's that is equal to one of numpy's, also in an array of no dimension."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def checked_number(name: str, value: Any, expected: str, is_accepted: Callable[[float], bool]) -> float:
    """The number of Python's that the argument `name` is.

    Args:
      name, value: The argument.
      expected: What it must be, for the message.
      is_accepted: Called with the number, which may be NaN.

    Raises:
      ValueError: If it is no number, or not accepted.
    """
    number = python_number(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not is_accepted(float(number)):
        raise ValueError(f"{name} must be {expected}, not {value!r}")
    return int(number) if isinstance(number, numbers.Integral) else float(number)


def checked_int(name: str, value: Any, expected: str, least: int = 1) -> int:
    """The integer that the argument `name` is; a float may be one too, such as 1e6.

    Args:
      name, value: The argument.
      expected: What it must be, for the message.
      least: The smallest that is accepted.

    Raises:
      ValueError: If it is no integer, or less than that.
    """
    return int(checked_number(name, value, expected, lambda n: n >= least and n.is_integer()))
