"""The ops a Supervisor needs in the graph: found in its collections, or built and added to them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from hookrun.runtime.arguments import check_summary_op

__all__ = ["USE_DEFAULT", "GraphOps", "find_global_step", "is_default"]

USE_DEFAULT = 0

_logger = logging.getLogger(__name__)
_Keys = tf.compat.v1.GraphKeys


class GraphOps:
    """The ops of the default graph that initialize, check, save and summarize the model.

    Each argument is an op to use, None for none, or `USE_DEFAULT` for the first of its collection, which
    is built and added to it where it is empty; see `tf.compat.v1.train.Supervisor`.
    """

    def __init__(
        self,
        *,
        ready_op: Any,
        ready_for_local_init_op: Any,
        init_op: Any,
        local_init_op: Any,
        saver: Any,
        summary_op: Any,
    ) -> None:
        self.ready_op = _given_or(ready_op, _Keys.READY_OP, tf.compat.v1.report_uninitialized_variables)
        self.ready_for_local_init_op = _given_or(
            ready_for_local_init_op, _Keys.READY_FOR_LOCAL_INIT_OP, lambda: None
        )
        self.init_op = _given_or(init_op, _Keys.INIT_OP, tf.compat.v1.global_variables_initializer)
        self.local_init_op = _given_or(local_init_op, _Keys.LOCAL_INIT_OP, _build_local_init_op)
        self.saver = _given_or(saver, _Keys.SAVERS, _build_saver)
        self.summary_op = _given_or(summary_op, _Keys.SUMMARY_OP, tf.compat.v1.summary.merge_all)
        if self.summary_op is not None:
            check_summary_op(self.summary_op)


def find_global_step(global_step: Any) -> Any:
    """The global step of the default graph.

    Args:
      global_step: An integer tensor or variable of size 1, None for none, or `USE_DEFAULT` for the first
        of the collection or else the variable called `global_step`.

    Returns:
      A tensor or variable, or None.

    Raises:
      TypeError, ValueError: If a global step is given that is no integer, or not of size 1.
    """
    if global_step is not None and not is_default(global_step):
        if not hasattr(global_step, "dtype") or not hasattr(global_step, "shape"):
            raise TypeError(f"global_step must be an integer tensor or variable, not {global_step!r}")
        dtype, size = tf.as_dtype(global_step.dtype).base_dtype, global_step.shape.num_elements()
        if not dtype.is_integer:
            raise TypeError(f"global_step must be an integer tensor, not of type {dtype.name}: {global_step}")
        if size not in (1, None):
            raise ValueError(
                f"global_step must be of size 1, not of shape {global_step.shape}: {global_step}"
            )
    return _given_or(global_step, _Keys.GLOBAL_STEP, _global_step_by_name)


def _given_or(given: Any, collection: str, build: Callable[[], Any]) -> Any:
    if not is_default(given):
        return given
    found = tf.compat.v1.get_collection(collection)
    if len(found) > 1:
        names = ", ".join(str(getattr(op, "name", op)) for op in found)
        level = logging.WARNING if collection == _Keys.GLOBAL_STEP else logging.INFO
        _logger.log(
            level, "Found %d in the collection %r, the first is used: %s", len(found), collection, names
        )
    if found:
        return found[0]
    built = build()
    if built is not None:
        tf.compat.v1.add_to_collection(collection, built)
    return built


def is_default(given: Any) -> bool:
    """True where an argument was left out, or given as `USE_DEFAULT`."""
    return isinstance(given, int) and given == USE_DEFAULT


def _build_local_init_op() -> Any:
    return tf.group(tf.compat.v1.local_variables_initializer(), tf.compat.v1.tables_initializer())


def _build_saver() -> Any:
    return tf.compat.v1.train.Saver() if tf.compat.v1.global_variables() else None


def _global_step_by_name() -> Any:
    try:
        tensor = tf.compat.v1.get_default_graph().get_tensor_by_name("global_step:0")
    except KeyError:
        return None
    if tensor.dtype == tf.resource:
        handles = {id(v.handle): v for v in tf.compat.v1.global_variables() if hasattr(v, "handle")}
        found = handles.get(id(tensor))
    else:
        found = tensor
    if found is None or found.dtype.base_dtype not in (tf.int32, tf.int64):
        _logger.warning(
            "Found 'global_step' is not an int type: %s", (tensor if found is None else found).dtype
        )
        return None
    if found.shape.num_elements() not in (1, None):
        _logger.warning("Found 'global_step' is not of size 1: %s", found.shape)
        return None
    return found
