"""PreparedRun: a distinct `Session.run`, prepared once.

`tf.compat.v1.Session.run` resolves its fetches and feeds anew at each call. A prepared run keeps what does
not change, and gives the same results: it takes TensorFlow's own fetch handler to check the fetches and
build the results, and leaves to `Session.run` whatever it has not seen before.
"""

from __future__ import annotations

import logging
import operator
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from hookrun.graph import tf_internals

__all__ = ["InlineChoice", "InlineSteps", "NotPreparable", "PreparedRun", "Ran"]

_logger = logging.getLogger(__name__)

InlineSteps = bool | Literal["auto"]

Ran = tuple[Any, Any, list[Any]]
"""What a run gave: the results of the program, the reads of the global step, the values of each rider."""


class NotPreparable(Exception):
    """A run that is left to `tf.compat.v1.Session.run`."""


class PreparedRun:
    """What a run of the program fetches and what rides in it, with a set of feeds, run again and again.

    Any number of threads may call it at once.

    Args:
      session: The `tf.compat.v1.Session`.
      fetches: What the program fetches, in any structure that `Session.run` takes.
      reads: A read of the global step, or a list of them.
      riders: The list of what hooks fetch, each in a structure of its own.
      feed_keys: The keys of the feed dictionaries that the run will be called with.
      owns_executor: False to have it run by what TensorFlow compiles once for all runs that are the same,
        and keeps.

    Raises:
      NotPreparable: If TensorFlow's internals are not available, or a fetch or feed is of a kind that
        only `Session.run` knows.
      TypeError, ValueError: What `Session.run` raises for the fetches.
    """

    def __init__(
        self,
        session: Any,
        fetches: Any,
        reads: Any,
        riders: list[Any],
        feed_keys: Iterable[Any],
        owns_executor: bool = True,
    ) -> None:
        parts = (fetches, reads, riders)
        handlers = [tf_internals.fetch_handler(session.graph, part) for part in parts]
        if None in handlers:
            raise NotPreparable
        keys = list(feed_keys)
        self._feeds = [_Feed(session.graph, key) for key in keys]
        fed = set(map(id, keys))
        positions: dict[int, int] = {}
        tensors: list[Any] = []
        targets: dict[Any, None] = {}
        builders: list[Callable[[list[Any]], Any]] = []
        for part, handler in zip(parts, handlers, strict=True):
            targets.update(dict.fromkeys(handler.targets()))
            for tensor in handler.fetches():
                if id(tensor) in fed or tensor.op.type.startswith("GetSessionHandle"):
                    raise NotPreparable
                if id(tensor) not in positions:
                    positions[id(tensor)] = len(tensors)
                    tensors.append(tensor)
            builders.append(_builder(session, part, handler, positions))
        if not tensors and not targets:
            raise NotPreparable
        self._build_results, self._build_reads, self._build_values = builders
        self._raw_run = tf_internals.raw_run(session, keys, tensors, list(targets), owns_executor)

    def run(self, feed_dict: Mapping[Any, Any] | None, inline: bool = False) -> Ran:
        """Run, and return the results of the fetches, of the reads and of the riders.

        Args:
          feed_dict: Values for exactly the `feed_keys`, in their order.
          inline: True to run on the calling thread alone.

        Raises:
          NotPreparable: If a value needs `Session.run`, which converts it or says what is wrong with it.
          tf.errors.OpError: What `Session.run` raises.
        """
        fed = []
        if feed_dict:
            for feed, value in zip(self._feeds, feed_dict.values(), strict=True):
                as_is = type(value) is np.ndarray and value.dtype is feed.dtype and value.shape == feed.dims
                fed.append(value if as_is else feed.array(value))
        values = self._raw_run(fed, inline)
        values.append(None)  # the result of an operation
        return self._build_results(values), self._build_reads(values), self._build_values(values)


class InlineChoice:
    """Whether a run goes on the calling thread alone.

    That saves the hand-over to TensorFlow's threads, but then no two ops of a step run in parallel.

    Args:
      setting: True, False, or "auto" to measure both in turn and keep the faster.
      clock: Returns the time in seconds.
    """

    WARM_UP, ROUNDS = 4, 15

    def __init__(self, setting: InlineSteps, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.choice: bool | None = None if setting == "auto" else bool(setting)
        """What was chosen; None while it is measured."""
        self._clock = clock
        self._runs = 0
        self._secs: dict[bool, list[float]] = {False: [], True: []}

    def measured(self, prepared: PreparedRun, feed_dict: Mapping[Any, Any] | None) -> Ran:
        """Run `prepared` one of the two ways, and measure it."""
        self._runs += 1
        inline = bool(self._runs % 2)
        start = self._clock()
        results = prepared.run(feed_dict, inline)
        secs = self._clock() - start
        if self._runs > self.WARM_UP:
            self._secs[inline].append(secs)
        if min(map(len, self._secs.values())) >= self.ROUNDS:
            threaded_secs, inline_secs = (statistics.median(self._secs[way]) for way in (False, True))
            self.choice = inline_secs < threaded_secs
            _logger.info(
                "Steps run %s from now on: %.6f s on the calling thread, %.6f s on TensorFlow's",
                *("inline" if self.choice else "not inline", inline_secs, threaded_secs),
            )
        return results


class _Feed:
    """A placeholder that is fed: takes the values that need no word from TensorFlow."""

    def __init__(self, graph: tf.Graph, key: Any) -> None:
        if not isinstance(key, tf.Tensor) or key.graph is not graph or not graph.is_feedable(key):
            raise NotPreparable
        self.dtype = np.dtype(key.dtype.as_numpy_dtype)
        self._shape = key.shape
        self.dims = tuple(key.shape.as_list()) if key.shape.rank is not None else None
        self._seen: tuple[int, ...] | None = None

    def array(self, value: Any) -> Any:
        """The value as TensorFlow would feed it."""
        if type(value) is not np.ndarray:
            if type(value) is not float or not np.issubdtype(self.dtype, np.floating):
                raise NotPreparable
            value = np.asarray(value, self.dtype)
        elif value.dtype != self.dtype:
            value = np.asarray(value, self.dtype)
        shape = value.shape
        if shape != self.dims and shape != self._seen:
            if not self._shape.is_compatible_with(shape):
                raise NotPreparable
            self._seen = shape
        return value


def _builder(
    session: Any, part: Any, handler: Any, positions: Mapping[int, int]
) -> Callable[[list[Any]], Any]:
    """A function from the values of all fetched tensors, and a final None, to the results of `part`."""
    if type(part) is list and not part:
        return lambda values: []
    flat = _flat_positions(session.graph, part, positions)
    if flat is None:
        fetched = [positions[id(tensor)] for tensor in handler.fetches()]
        return lambda values: handler.build_results(session, [values[i] for i in fetched])
    if not isinstance(part, (list, tuple)):
        return operator.itemgetter(flat[0])
    if len(flat) == 1:
        (only,) = flat
        return lambda values: type(part)((values[only],))
    pick = operator.itemgetter(*flat)
    return pick if type(part) is tuple else lambda values: list(pick(values))


def _flat_positions(graph: tf.Graph, part: Any, positions: Mapping[int, int]) -> list[int] | None:
    """The positions of the values of a single fetch, or of those in a list or tuple; else None."""
    leaves = part if type(part) in (list, tuple) else [part]
    if not leaves or not all(isinstance(leaf, (tf.Tensor, tf.Operation, tf.Variable)) for leaf in leaves):
        return None
    elements = [graph.as_graph_element(leaf) for leaf in leaves]
    return [-1 if isinstance(element, tf.Operation) else positions[id(element)] for element in elements]
