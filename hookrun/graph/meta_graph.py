"""MetaGraph: the ``.meta`` file of a checkpoint, which stays the same once the graph is finalized."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from google.protobuf.message import Message

__all__ = ["MetaGraph", "is_tensorflows"]


class MetaGraph:
    """What `saver` writes beside each checkpoint. For one thread at a time.

    The saver exports it, which takes longer than the values of a small model; it does so again only when ops
    were added to the graph, or its collections or the saver's own description have changed.

    Args:
      graph: The graph of the model.
      saver: The `tf.compat.v1.train.Saver`.
    """

    def __init__(self, graph: tf.Graph, saver: Any) -> None:
        self._graph = graph
        self._saver = saver
        self._exports_as_tensorflow = is_tensorflows(saver, "export_meta_graph")
        self._described: list[Any] = []
        self._bytes: bytes | None = None

    def write(self, prefix: str) -> None:
        """Write the file of the checkpoint with that prefix. Called inside the graph."""
        path = f"{prefix}.meta"
        described = self._describe()
        if self._bytes is not None and self._exports_as_tensorflow and _are_same(described, self._described):
            with tf.io.gfile.GFile(path, "wb") as file:
                file.write(self._bytes)
            return
        self._saver.export_meta_graph(path)
        self._described = described
        with tf.io.gfile.GFile(path, "rb") as file:
            self._bytes = file.read()

    def _describe(self) -> list[Any]:
        """All that may have changed."""
        described = [len(self._graph.get_operations()), self._saver.saver_def.SerializeToString()]
        for name in self._graph.collections:
            described.append(name)
            described += map(_value_of, self._graph.get_collection_ref(name))
        return described


def is_tensorflows(saver: Any, method: str) -> bool:
    """True for a saver whose method of that name is the one of `tf.compat.v1.train.Saver`."""
    own = getattr(tf.compat.v1.train.Saver, method)
    return getattr(type(saver), method) is own and method not in vars(saver)


def _value_of(item: Any) -> Any:
    """The item of a collection, or what it holds where that may change."""
    if isinstance(item, Message):
        return item.SerializeToString()
    saver_def = getattr(item, "saver_def", None)
    return item if saver_def is None else saver_def.SerializeToString()


def _are_same(described: list[Any], before: list[Any]) -> bool:
    """As `==`, which makes an op of two tensors."""
    return len(described) == len(before) and all(
        a is b or (type(a) is type(b) and isinstance(a, (bytes, str, int, float)) and a == b)
        for a, b in zip(described, before, strict=True)
    )
