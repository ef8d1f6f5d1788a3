"""Restoring a checkpoint of TensorFlow 2, and what of it the model does not have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from hookrun.eager import tf_internals

__all__ = ["restore_checkpoint", "step_of"]

_logger = logging.getLogger(__name__)

_VARIABLE = "VARIABLE_VALUE"
_NAMES_TOLD = 10


def restore_checkpoint(checkpoint: tf.train.Checkpoint, prefix: str) -> None:
    """Restore all that `checkpoint` holds, and what is added to it later, from the files of `prefix`.

    What one of them has and the other has not is said in one warning.

    Raises:
      ValueError: If a variable has another shape or type in the file; it names the variable and both.
      tf.errors.OpError: If the files cannot be read.
    """
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    saved = tf_internals.read_object_graph(prefix)
    own = tf_internals.object_graph_of(checkpoint)
    objects = tf.train.TrackableView(checkpoint).descendants()
    pairs = dict(_matched(saved, own))
    for saved_id, own_id in pairs.items():
        variable: Any = objects[own_id] if own_id < len(objects) else None
        key = _key_of(saved.nodes[saved_id])
        if key is None or not hasattr(variable, "shape"):
            continue
        shape, dtype = tf.TensorShape(shapes[key]), tf.as_dtype(dtypes[key])
        if not tf.TensorShape(variable.shape).is_compatible_with(shape):
            raise ValueError(f"{key} has the shape {shape} in {prefix}, and {variable.shape} in the model")
        if tf.as_dtype(variable.dtype) != dtype:
            raise ValueError(f"{key} is of type {dtype.name} in {prefix}, and {variable.dtype} in the model")
    in_file = {_key_of(node) for i, node in enumerate(saved.nodes) if i not in pairs}
    in_model = {_key_of(node) for i, node in enumerate(own.nodes) if i not in set(pairs.values())}
    for names, where in (
        (in_model, "the checkpoint does not hold"),
        (in_file, "the model does not have (yet)"),
    ):
        known = sorted(name for name in names if name is not None and not name.startswith("save_counter/"))
        if known:
            more = f" and {len(known) - _NAMES_TOLD} more" if len(known) > _NAMES_TOLD else ""
            _logger.warning("Restoring %s: %s %s%s", prefix, where, ", ".join(known[:_NAMES_TOLD]), more)
    checkpoint.restore(prefix)


def step_of(prefix: str, key: str, variable: Any) -> int:
    """The number of training steps that the checkpoint `prefix` was saved after.

    Args:
      prefix: The checkpoint, which was restored.
      key: The name of the tensor that holds it.
      variable: The variable of the global step, which is asked where there is no such tensor; or None.
    """
    reader = tf.train.load_checkpoint(prefix)
    if reader.has_tensor(key):
        return int(reader.get_tensor(key))
    if variable is not None:
        return int(variable.numpy())
    number = prefix.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _matched(saved: Any, own: Any) -> Iterator[tuple[int, int]]:
    """The nodes of two object graphs that have the same way from the root, as TensorFlow matches them."""
    pending, seen = [(0, 0)], {0}
    while pending:
        saved_id, own_id = pending.pop(0)
        yield saved_id, own_id
        children = {child.local_name: child.node_id for child in own.nodes[own_id].children}
        for child in saved.nodes[saved_id].children:
            if child.local_name in children and child.node_id not in seen:
                seen.add(child.node_id)
                pending.append((child.node_id, children[child.local_name]))


def _key_of(node: Any) -> str | None:
    return next((str(a.checkpoint_key) for a in node.attributes if a.name == _VARIABLE), None)
