"""EventWriter: the methods of TensorFlow's `FileWriter` that add an event, and how events are encoded."""

from __future__ import annotations

import abc
import struct
import time
from typing import Any, SupportsInt

import tensorflow as tf

__all__ = ["EventWriter", "summary_event"]

# Field numbers of the Event message.
_GRAPH_DEF, _SUMMARY, _SESSION_LOG, _TAGGED_RUN_METADATA, _META_GRAPH_DEF = 4, 5, 7, 8, 9

_wall_time_field = struct.Struct("<Bd").pack


class EventWriter(abc.ABC):
    """The methods of TensorFlow's `FileWriter` that add an event. A subclass says where the event goes.

    A message may come from TensorFlow, tensorboardX or tensorboard: it is known by its name. What is
    already serialized is not parsed.
    """

    @abc.abstractmethod
    def _add_record(self, record: bytes, droppable: bool) -> None:
        """Take a serialized `Event`; only a `droppable` one may be left out when there are too many."""

    def add_summary(
        self, summary: Any, global_step: SupportsInt | None = None, walltime: float | None = None
    ) -> None:
        """Add a summary, as it comes from running a summary op.

        Args:
          summary: A serialized `Summary`, as bytes, or a `Summary` message.
          global_step: The step it belongs to: an integer, also as a numpy scalar or an array of size 1.
          walltime: Its time in seconds since 1970; now if None.

        Raises:
          TypeError: If `summary` is anything else.
          ValueError: If `global_step` is not one number of 64 bits.
        """
        if not isinstance(summary, bytes):
            summary = _serialized("summary", summary, "Summary", "serialized bytes or ")
        step = None if global_step is None else _int64(global_step)
        walltime = time.time() if walltime is None else walltime
        self._add_record(self._summary_record(summary, step, walltime), True)

    def _summary_record(self, summary: bytes, step: int | None, walltime: float) -> Any:
        """What `_add_record` takes for a serialized `Summary`."""
        return summary_event(summary, step, walltime)

    def add_event(self, event: Any, step: SupportsInt | None = None, walltime: float | None = None) -> None:
        """Add an `Event` message as it is, with its own time and step unless others are given.

        Raises:
          TypeError: If `event` is no `Event` message.
        """
        record = _serialized("event", event, "Event")
        if step is not None:
            record += _step_field(step)  # of a field that comes twice, the last one counts
        if walltime is not None:
            record += _wall_time_field(9, walltime)
        self._add_record(record, event.WhichOneof("what") in ("summary", "log_message", None))

    def add_graph(self, graph: Any, global_step: SupportsInt | None = None, graph_def: Any = None) -> None:
        """Add a graph, which TensorBoard draws.

        Args:
          graph: A `tf.Graph`, or a `GraphDef` message; None when `graph_def` is given.
          global_step: The step it belongs to.
          graph_def: The older name of `graph`.

        Raises:
          TypeError: If the graph is neither.
          ValueError: If both `graph` and `graph_def` are given.
        """
        if graph is not None and graph_def is not None:
            raise ValueError("Please pass only graph, or graph_def (deprecated), but not both.")
        graph = graph_def if graph is None else graph
        if isinstance(graph, tf.Graph):
            graph = graph.as_graph_def(add_shapes=True)
        if _message_name(graph) != "GraphDef":
            raise TypeError("The passed graph must be an instance of `Graph` or the deprecated `GraphDef`")
        self._add_record(_event(_GRAPH_DEF, graph.SerializeToString(), global_step), False)

    def add_meta_graph(self, meta_graph_def: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `MetaGraphDef` message, as `saver.export_meta_graph()` returns it.

        Raises:
          TypeError: If `meta_graph_def` is anything else.
        """
        payload = _serialized("meta_graph_def", meta_graph_def, "MetaGraphDef")
        self._add_record(_event(_META_GRAPH_DEF, payload, global_step), False)

    def add_session_log(self, session_log: Any, global_step: SupportsInt | None = None) -> None:
        """Add a `SessionLog` message: a session started, stopped or saved a checkpoint.

        Raises:
          TypeError: If `session_log` is anything else.
        """
        payload = _serialized("session_log", session_log, "SessionLog")
        self._add_record(_event(_SESSION_LOG, payload, global_step), False)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: SupportsInt | None = None) -> None:
        """Add the `RunMetadata` message of one `session.run()`, under a name of its own.

        Raises:
          TypeError: If `run_metadata` is anything else.
        """
        payload = _serialized("run_metadata", run_metadata, "RunMetadata")
        tagged = tf.compat.v1.summary.TaggedRunMetadata(tag=tag, run_metadata=payload)
        payload = tagged.SerializeToString()
        self._add_record(_event(_TAGGED_RUN_METADATA, payload, global_step), False)


def summary_event(summary: bytes, step: int | None, walltime: float) -> bytes:
    """A serialized `Event` with a serialized `Summary`; `step` as `_int64` gives it."""
    return _encoded(_SUMMARY, summary, step, walltime)


def _event(field: int, payload: bytes, global_step: SupportsInt | None) -> bytes:
    """A serialized `Event` of this moment, with `payload` as the field of that number."""
    return _encoded(field, payload, None if global_step is None else _int64(global_step), time.time())


def _encoded(field: int, payload: bytes, step: int | None, walltime: float) -> bytes:
    step_field = b"" if step is None else b"\x10" + _varint(step)
    tag_and_size = bytes((field << 3 | 2,)) + _varint(len(payload))
    return b"".join((_wall_time_field(9, walltime), step_field, tag_and_size, payload))


def _step_field(step: SupportsInt) -> bytes:
    return b"\x10" + _varint(_int64(step))


def _int64(step: Any) -> int:
    """An integer as the unsigned number with the same 64 bits."""
    if type(step) is not int:
        step = int(step.item() if hasattr(step, "item") else step)  # int() refuses arrays that are no scalars
    if not -(1 << 63) <= step < 1 << 63:
        raise ValueError(f"global_step must be a number of 64 bits, not {step}")
    return int(step & (1 << 64) - 1)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _message_name(value: Any) -> str | None:
    return getattr(getattr(type(value), "DESCRIPTOR", None), "name", None)


def _serialized(argument: str, value: Any, message: str, alternative: str = "") -> bytes:
    if _message_name(value) != message:
        raise TypeError(
            f"{argument} must be {alternative}a message of type {message}, not {type(value).__name__}"
        )
    record: bytes = value.SerializeToString()
    return record
