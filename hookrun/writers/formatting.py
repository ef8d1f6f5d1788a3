"""How values are written for a person."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["format_value", "format_values"]


def format_values(values: Mapping[str, Any]) -> str:
    """Values by name on one line: ``loss 0.5, accuracy 0.9``."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def format_value(value: Any) -> str:
    """A value as a session returns it, on one line: numbers to six digits, the ends of a large array."""
    if isinstance(value, Mapping):
        return f"{{{format_values(value)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    array = np.asarray(value)
    if array.ndim == 0:
        return _format_item(array.item())
    text = np.array2string(
        array,
        max_line_width=1_000_000,
        threshold=8,
        edgeitems=3,
        separator=", ",
        formatter={"all": _format_item},
    )
    return " ".join(text.split())


def _format_item(item: Any) -> str:
    if isinstance(item, bytes):
        return item.decode(errors="replace")
    if isinstance(item, (str, bool, int, np.bool_, np.integer)):
        return str(item)
    if isinstance(item, numbers.Complex) or hasattr(item, "__float__"):
        return f"{item:.6g}"
    return str(item)  # None, of an op, among others
