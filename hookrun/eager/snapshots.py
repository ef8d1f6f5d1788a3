"""Snapshots: what a `tf.train.Checkpoint` holds, taken between two training steps and written later.

The file is one that `tf.train.Checkpoint.write` could have written, of the same names and object graph. What
is saved besides it, such as the global step, is in tensors of its own under ``hookrun/``, which TensorFlow's
loaders do not look at.
"""

from __future__ import annotations

import contextlib
import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from hookrun.checkpoints.retention import LatestN
from hookrun.eager import tf_internals

__all__ = ["LoopProvider", "Snapshot", "Snapshots"]

_logger = logging.getLogger(__name__)

_VARIABLE, _ITERATOR = "VARIABLE_VALUE", "ITERATOR"
"""The names that the values of these have in an object graph."""

_STATE = "_STATE"
"""What the name of an iterator's tensor adds to that."""


class Snapshots:
    """Takes snapshots of what `checkpoint` holds. For one thread at a time.

    A variable is taken without a copy: its memory is shared until the next update, which goes to a new one.
    An iterator of `tf.data` is copied with what it has buffered. The names are found once, and anew when an
    object was added. A checkpoint that holds other things, such as a lookup table, is written as a whole
    between two steps.

    Args:
      checkpoint: The `tf.train.Checkpoint`.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._structure: _Structure | None = None

    def variables(self) -> dict[str, tf.Variable]:
        """The variables that are saved, by the names of their tensors."""
        sources = self._current_structure().sources or {}
        return {name: source for name, source in sources.items() if isinstance(source, tf.Variable)}

    @property
    def can_be_taken(self) -> bool:
        """False where the checkpoint holds things that can only be written as a whole."""
        return self._current_structure().sources is not None

    def take(self, extra: Mapping[str, Any]) -> Snapshot:
        """Take the values as they are now. Call it inside `Runtime.between_steps`.

        Args:
          extra: Tensors, numbers or iterators that are saved besides, by name.

        Raises:
          ValueError: If an iterator of `tf.data` cannot be saved; it names the op that is in the way.
        """
        structure = self._current_structure()
        if structure.sources is None:
            return Snapshot(self._checkpoint.write)
        names = [*structure.sources, *extra, tf_internals.OBJECT_GRAPH_KEY]
        tensors = [_value_of(name, source) for name, source in {**structure.sources, **extra}.items()]
        return Snapshot(lambda prefix: _write(prefix, names, [*tensors, structure.graph]))

    def _current_structure(self) -> _Structure:
        self._checkpoint.save_counter  # noqa: B018 (made by being looked at; `restore` expects it in the file)
        objects = tf.train.TrackableView(self._checkpoint).descendants()
        known = self._structure
        if (
            known is None
            or len(objects) != len(known.objects)
            or not all(map(operator.is_, objects, known.objects))
        ):
            with _naming_the_op("an iterator of the tf.train.Checkpoint"):
                graph = tf_internals.object_graph_of(self._checkpoint)
            known = self._structure = _Structure(objects, graph)
        return known


class LoopProvider:
    """What a loop saves: a `hookrun.checkpoints.provider.SnapshotProvider`.

    Args:
      snapshots: Takes what the `tf.train.Checkpoint` holds.
      extra: Returns what is saved besides, by name.
      background: False to have each snapshot written before the next step.
    """

    policy = LatestN(5)
    checkpoint_list = None
    names_relative_paths = False
    manages_files = False
    is_prepared = True
    version = None

    def __init__(
        self, snapshots: Snapshots, extra: Callable[[], Mapping[str, Any]], background: bool
    ) -> None:
        self._snapshots = snapshots
        self._extra = extra
        self._background = background

    @property
    def writes_behind(self) -> bool:
        """True where all that is saved can be taken without writing it."""
        return self._background and self._snapshots.can_be_taken

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def take(self) -> Snapshot:
        """Take the values as they are now, between two steps."""
        return self._snapshots.take(self._extra())


class Snapshot:
    """The values at one moment.

    Args:
      write: Writes them to the files of a prefix.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def save(self, save_path: str, step: int | None) -> str:
        """Write the files of a checkpoint. Any thread may call this, while training goes on.

        Args:
          save_path: The path of the checkpoint without its step.
          step: The step.

        Returns:
          The checkpoint's prefix.
        """
        prefix = f"{save_path}-{step}"
        self._write(prefix)
        return prefix


class _Structure:
    """The names under which the objects of a checkpoint are saved.

    Args:
      objects: All that is in the checkpoint, in TensorFlow's order.
      graph: Its object graph, whose nodes begin in the same order.
    """

    def __init__(self, objects: Sequence[Any], graph: tf_internals.TrackableObjectGraph) -> None:
        self.objects = objects
        self.graph = graph.SerializeToString()
        self.sources: dict[str, Any] | None = None
        """The variables and iterators by the names of their tensors; None where there are other things."""
        sources: dict[str, Any] = {}
        for index, node in enumerate(graph.nodes):
            for attribute in node.attributes:
                key = attribute.checkpoint_key
                source = _source_of(objects[index], attribute.name) if index < len(objects) else None
                if source is None:
                    _logger.info("The checkpoint is written between two steps: %s is no variable", key)
                    return
                sources[key + _STATE if attribute.name == _ITERATOR else key] = source
        self.sources = sources


def _source_of(trackable: Any, attribute: str) -> Any:
    """What the value of an attribute is read from; None for what is neither a variable nor an iterator."""
    if attribute == _VARIABLE:
        variable = trackable if isinstance(trackable, tf.Variable) else getattr(trackable, "value", None)
        return variable if isinstance(variable, tf.Variable) and hasattr(variable, "handle") else None
    if attribute == _ITERATOR and tf_internals.iterator_resource(trackable) is not None:
        return trackable
    return None


def _value_of(name: str, source: Any) -> Any:
    if isinstance(source, tf.Variable):
        return tf.raw_ops.ReadVariableOp(resource=source.handle, dtype=source.dtype)
    resource = tf_internals.iterator_resource(source)
    if resource is None:
        return source
    with _naming_the_op(name):
        return tf.raw_ops.SerializeIterator(resource_handle=resource)


@contextlib.contextmanager
def _naming_the_op(name: str) -> Iterator[None]:
    """Say what to do where an iterator cannot be saved."""
    try:
        yield
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError) as error:
        reason = error.message.partition("}}")[2].strip() or error.message
        raise ValueError(
            f"The position in the data cannot be saved, of {name}: {reason} Leave the iterator out of the "
            "checkpoint, or make the dataset of ops without state"
        ) from error


def _write(prefix: str, names: Sequence[str], tensors: Sequence[Any]) -> None:
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
