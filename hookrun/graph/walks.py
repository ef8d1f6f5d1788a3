"""Walks through a graph: what running a fetch runs, and what has to be run to run an op."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import tensorflow as tf

from hookrun.graph import tf_internals

__all__ = ["Descendants", "ancestors"]


def ancestors(
    fetches: Iterable[Any], fed: Collection[int], within: Collection[Any] | None = None
) -> Iterator[Any]:
    """The ops that running `fetches` runs, those of the fetches included; only those `within`, if given."""
    ops = [f if isinstance(f, tf.Operation) else f.op for f in fetches if id(f) not in fed]
    pending = [op for op in ops if within is None or op in within]
    seen = set(pending)
    while pending:
        op = pending.pop()
        yield op
        parents = [tensor.op for tensor in op.inputs if id(tensor) not in fed]
        for parent in (*parents, *op.control_inputs):
            if parent not in seen and (within is None or parent in within):
                seen.add(parent)
                pending.append(parent)


class Descendants:
    """The ops whose run runs one of `sources`: mostly few of a graph, as an update comes last in it."""

    def __init__(self, graph: tf.Graph, sources: Iterable[Any]) -> None:
        self._graph = graph
        self._sources = sources
        self._found: tuple[int, set[Any]] = (0, set())

    def ops(self) -> set[Any]:
        """The ops, `sources` included; looked for anew where ops were added to the graph."""
        size = len(self._graph.get_operations())
        if self._found[0] != size:
            seen = set(self._sources)
            pending = list(seen)
            while pending:
                op = pending.pop()
                children = [child for tensor in op.outputs for child in tensor.consumers()]
                for child in (*children, *tf_internals.control_outputs(op)):
                    if child not in seen:
                        seen.add(child)
                        pending.append(child)
            self._found = (size, seen)
        return self._found[1]
