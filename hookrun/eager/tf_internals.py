"""Every name of TensorFlow's that eager training needs and that is not public API, in one place, each with
what
is done without it."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

__all__ = [
    "OBJECT_GRAPH_KEY",
    "TrackableObjectGraph",
    "iterator_resource",
    "object_graph_of",
    "read_object_graph",
]

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The name under which a checkpoint of TensorFlow 2 holds its object graph."""


def object_graph_of(checkpoint: tf.train.Checkpoint) -> TrackableObjectGraph:
    """The object graph that `checkpoint` would write now.

    Without TensorFlow's own way to compute it, it is read from a checkpoint that is written for that, which
    takes as long as any save.
    """
    graph = _gathered(checkpoint)
    if graph is not None:
        return graph
    with tempfile.TemporaryDirectory() as directory:
        return read_object_graph(checkpoint.write(os.path.join(directory, "checkpoint")))


def _gathered(checkpoint: tf.train.Checkpoint) -> TrackableObjectGraph | None:
    try:
        *_, graph = checkpoint._saver._gather_serialized_tensors()
    except (AttributeError, TypeError):
        return None
    return graph if isinstance(graph, TrackableObjectGraph) else None


def read_object_graph(prefix: str) -> TrackableObjectGraph:
    """The object graph that the checkpoint `prefix` holds.

    Raises:
      tf.errors.NotFoundError: If it holds none, as one of a `tf.compat.v1.train.Saver`.
    """
    reader = tf.train.load_checkpoint(prefix)
    if not reader.has_tensor(OBJECT_GRAPH_KEY):
        raise tf.errors.NotFoundError(None, None, f"{prefix} holds no object graph")
    return TrackableObjectGraph.FromString(reader.get_tensor(OBJECT_GRAPH_KEY))


def iterator_resource(iterator: Any) -> Any:
    """The resource of an iterator of `tf.data`; None where it is no such iterator, or is distributed."""
    return getattr(iterator, "_iterator_resource", None)
