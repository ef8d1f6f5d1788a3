"""Summaries of a loop: the single numbers among the results of a training step."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from hookrun.eager.values import parts_of

__all__ = ["LoopSummaries"]


class LoopSummaries:
    """The numbers in the results of a step, as scalars; nested ones are called ``outer/inner``.

    They need a training step, and have no op.
    """

    need_a_step = True

    @property
    def fetches(self) -> Callable[[Any], dict[str, Any]]:
        """Takes the numbers out of the results of a step."""
        return _numbers

    def compute(self, session: Any) -> tuple[bytes, int | None]:
        """Never called: there are none without a step."""
        raise NotImplementedError

    def merged(self, session: Any, values: Mapping[str, Any]) -> bytes:
        """The serialized summaries, from the values of `fetches`."""
        summary = tf.compat.v1.Summary(
            value=[{"tag": tag, "simple_value": float(value)} for tag, value in values.items()]
        )
        serialized: bytes = summary.SerializeToString()
        return serialized


def _numbers(results: Any, prefix: str = "") -> dict[str, Any]:
    parts = parts_of(results)
    if parts is None:
        return {prefix.removesuffix("/") or "loss": results} if _is_number(results) else {}
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= _numbers(part, f"{prefix}{name}/")
    return found


def _is_number(value: Any) -> bool:
    if isinstance(value, numbers.Real):
        return True
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None or tf.TensorShape(shape).rank != 0:
        return False
    dtype = tf.as_dtype(dtype)
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_bool)
