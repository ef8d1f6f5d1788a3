"""What is one number: the value of a scalar, of a metric, of a learning rate.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_number", "check_is_number"]


def as_number(value: Any, what: str, name: str) -> float:
    """The number in `value`, in Python's own precision.

    Args:
      value: A number of Python, numpy or TensorFlow, or an array of one, in any number of dimensions.
      what: What the value is, for the message, such as "EvaluationHook: metric".
      name: What it is called.

    Raises:
      TypeError: If it is no real number.
      ValueError: If it is of several numbers, or of none.
    """
    try:
        array = np.asarray(value)
        if array.size == 1:
            item = array.item()
            if isinstance(item, (str, bytes)):  # which `float` would read
                raise TypeError
            return float(item)
    except (
        TypeError,
        ValueError,
        OverflowError,
        NotImplementedError,
    ) as error:  # the last: a symbolic tensor
        raise TypeError(f"{what} {name!r} must be a number, not {value!r}") from error
    raise ValueError(f"{what} must be of one number, not of shape {array.shape}: {name}")


def check_is_number(fetch: Any, what: str) -> None:
    """Check that what is to be fetched is of one number, as far as its shape is known.

    Raises:
      ValueError: If it is not.
    """
    shape = getattr(fetch, "shape", None)
    if getattr(shape, "num_elements", lambda: None)() not in (1, None):
        raise ValueError(f"{what} must be of one number, not of shape {shape}: {fetch!r}")
