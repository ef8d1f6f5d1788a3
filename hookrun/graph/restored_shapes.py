"""Whether a checkpoint fits the graph: known from its index, before anything is restored.

An assignment of TensorFlow's to a resource variable takes a value of any shape: a model whose layer was
changed would get the old one back in silence, train it and save it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from hookrun.checkpoints import aliases
from hookrun.graph.restoring import restore_ops, restores_as_tensorflow

__all__ = ["check_shapes"]

_NAMED = 10
"""The number of variables that the error names."""


def check_shapes(graph: tf.Graph, saver: Any, checkpoint: str) -> None:
    """Refuse a checkpoint with a variable of another shape or type than the one it is restored to.

    Variables whose shape is not known in the graph, such as those with ``validate_shape=False``, take any
    shape, and all do with a ``Saver(reshape=True)``. A checkpoint of other partitions fits where the whole
    has the same shape. What has a `restore` of its own is left to it.

    Args:
      graph: The graph of the model.
      saver: What restores the checkpoint.
      checkpoint: Its prefix.

    Raises:
      tf.errors.InvalidArgumentError: If one differs; it names the variables, both shapes and the checkpoint.
    """
    if not restores_as_tensorflow(saver):
        return
    with aliases.readable(checkpoint) as path:
        reader = tf.compat.v1.train.NewCheckpointReader(path)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    wrong: list[str] = []
    for name, dtype, shape in sorted(_restored(graph, saver), key=lambda restored: restored[0]):
        if name in shapes and not (shape.is_compatible_with(shapes[name]) and dtype == dtypes[name]):
            saved = f"{dtypes[name].name} {shapes[name]}"
            wrong.append(f"{name}: {saved} in the checkpoint, {dtype.name} {_listed(shape)} in the graph")
    if wrong:
        wrong = list(dict.fromkeys(wrong))  # parts of one variable
        more = f"\n  and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"The checkpoint {checkpoint} does not fit the graph, and nothing was restored:\n  "
            + "\n  ".join(wrong[:_NAMED])
            + f"{more}\nTo begin anew with the changed model, give it another logdir.",
        )


def _restored(graph: tf.Graph, saver: Any) -> Iterator[tuple[str, tf.DType, tf.TensorShape]]:
    """What `saver` restores: name in the checkpoint, type, and shape; of a part, that of the whole."""
    for op in restore_ops(graph, saver):
        names, slices = (tf.get_static_value(tensor) for tensor in op.inputs[1:])
        for output, name, of_slice in zip(op.outputs, names, slices, strict=True):
            variable = _assigned(output)
            if variable is not None:
                dims = [int(size) for size in of_slice.decode().split()[:-1]]
                shape = tf.TensorShape(dims or variable.get_attr("shape"))
                yield name.decode(), output.dtype, shape


def _assigned(value: Any) -> Any:
    """The op that makes the variable which `value` is assigned to as it is; None where there is none."""
    for op in value.consumers():
        if op.type == "Identity":
            return _assigned(op.outputs[0])
        if op.type in ("Assign", "AssignVariableOp"):
            return op.inputs[0].op
    return None


def _listed(shape: tf.TensorShape) -> Any:
    return shape if shape.rank is None else shape.as_list()
