"""Batches: data whose position is saved and restored with the checkpoint, without a word of the program's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from hookrun.eager import tf_internals

__all__ = ["Batches", "DataPositions"]

_logger = logging.getLogger(__name__)

_PREFIX = "hookrun/data/"
"""What the names of the tensors begin with that hold positions in the data."""


class DataPositions:
    """The positions in the data of one session: of each `batches` in the order in which they are asked for.

    Args:
      steps_made: Returns the number of steps made so far.
      should_stop: Returns whether the data ends because the training does.
      restored_from: The checkpoint that holds the positions to go on from; None to begin with the data.
    """

    def __init__(
        self, steps_made: Callable[[], int], should_stop: Callable[[], bool], restored_from: str | None
    ) -> None:
        self._steps_made = steps_made
        self._should_stop = should_stop
        self._restored_from = restored_from
        self._batches: list[Batches] = []
        names: set[str] = set()
        if restored_from is not None:
            names = set(tf.train.load_checkpoint(restored_from).get_variable_to_shape_map())
        self._saved = {name for name in names if name.startswith(_PREFIX)}

    def batches(self, dataset: tf.data.Dataset) -> Batches:
        """The batches of `dataset` that are left to train on."""
        key = f"{_PREFIX}{len(self._batches)}/"
        batches = Batches(dataset, key, self._steps_made, self._should_stop)
        if self._restored_from is not None:
            batches.restore(self._restored_from, self._saved)
        self._batches.append(batches)
        return batches

    def tensors(self) -> dict[str, Any]:
        """What holds the positions now, by name. Call it between two steps."""
        return {name: value for batches in self._batches for name, value in batches.tensors().items()}


class Batches:
    """The batches of a dataset, as an iterator that ends when the training is to stop.

    Args:
      dataset: The `tf.data.Dataset`.
      key: What the names of its tensors in a checkpoint begin with.
      steps_made, should_stop: As for `DataPositions`.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        key: str,
        steps_made: Callable[[], int],
        should_stop: Callable[[], bool],
    ) -> None:
        self.element_spec = dataset.element_spec
        self.iterator: Any = iter(dataset)
        """The iterator of `tf.data` itself."""
        self._key = key
        self._steps_made = steps_made
        self._should_stop = should_stop
        self._given: tuple[Any, int] | None = None
        """The batch that was given last, and the number of steps before it."""
        self._first: Any = None
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._ended or self._should_stop():
            raise StopIteration
        batch, self._first = self._first, None
        if batch is None:
            try:
                batch = next(self.iterator)
            except StopIteration:
                self.end()
                raise
        self._given = batch, self._steps_made()
        return batch

    def end(self) -> None:
        """The data has ended: a run that goes on from here has no more of it."""
        self._ended, self._given = True, None

    def tensors(self) -> dict[str, Any]:
        """What holds the position now, by name: with the batch that was given, but no step was made with."""
        if self._ended:
            return {f"{self._key}ended": tf.constant(True)}
        tensors = {f"{self._key}position": self.iterator}
        if self._given is not None and self._steps_made() == self._given[1]:
            batch = tf.nest.flatten(self._given[0], expand_composites=True)
            tensors |= {f"{self._key}batch/{number}": part for number, part in enumerate(batch)}
        return tensors

    def restore(self, checkpoint: str, saved: set[str]) -> None:
        """Go on from where `checkpoint` was saved, where it holds this position; `saved` are its names."""
        if f"{self._key}ended" in saved:
            _logger.info("The data had ended before %s was saved: there is no more of it", checkpoint)
            self.end()
        elif f"{self._key}position" in saved:
            (state,) = _restored(checkpoint, [f"{self._key}position"], [tf.variant])
            resource = tf_internals.iterator_resource(self.iterator)
            tf.raw_ops.DeserializeIterator(resource_handle=resource, serialized=state)
            specs = tf.nest.flatten(self.element_spec, expand_composites=True)
            names = [f"{self._key}batch/{number}" for number in range(len(specs))]
            if specs and names[0] in saved:
                parts = _restored(checkpoint, names, [spec.dtype for spec in specs])
                self._first = tf.nest.pack_sequence_as(self.element_spec, parts, expand_composites=True)


def _restored(checkpoint: str, names: list[str], dtypes: list[tf.DType]) -> list[Any]:
    tensors: list[Any] = tf.raw_ops.RestoreV2(
        prefix=checkpoint, tensor_names=names, shape_and_slices=[""] * len(names), dtypes=dtypes
    )
    return tensors
