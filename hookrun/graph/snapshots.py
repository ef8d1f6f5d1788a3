"""Snapshots: the values that a saver saves, taken between two training steps and written later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hookrun.graph import tf_internals
from hookrun.graph.steps import ancestors

if TYPE_CHECKING:
    from hookrun.graph.session import ManagedSession

__all__ = ["Snapshot", "Snapshots", "can_snapshot", "changes_by_runs_alone", "saves_as_tensorflow"]

_OF_VARIABLES = frozenset(
    {"VarHandleOp", "Variable", "VariableV2", "ReadVariableOp", "SaveV2", "MergeV2Checkpoints"}
)
"""The stateful ops of a saver that saves variables."""

_ALIGNMENT = 64
"""Bytes. An array aligned to this is fed without being copied."""


def saves_as_tensorflow(saver: Any) -> bool:
    """True for a `tf.compat.v1.train.Saver` whose `save` is TensorFlow's own."""
    kind = tf.compat.v1.train.Saver
    save_method: Callable[..., Any] = getattr(type(saver), "save", None)  # type: ignore[assignment]
    return isinstance(saver, kind) and save_method is kind.save and "save" not in vars(saver)


def can_snapshot(session: ManagedSession, saver: Any) -> bool:
    """True when what `saver` saves can be taken out of `session` as a snapshot.

    That is so for a `tf.compat.v1.train.Saver` that writes one file of the current format, in a session of
    this process. It is not for a subclass with a `save` of its own, a saver that is sharded over devices or
    saves iterators, and a ``grpc://`` session, where a snapshot would transfer all variables.
    """
    if not tf_internals.can_prepare or session.sess_str or not saves_as_tensorflow(saver):
        return False
    save_op = _save_op(session.graph, saver)
    return save_op is not None and all(
        tensor.dtype.base_dtype not in (tf.resource, tf.variant) for tensor in save_op.inputs
    )


def changes_by_runs_alone(session: ManagedSession, saver: Any) -> bool:
    """True when what `saver` saves changes by nothing but runs of `session` that write variables.

    It is not known for a session of a server, which others may write to, for what TensorFlow's Saver does not
    save itself, nor for one that saves iterators, tables or local variables.
    """
    if session.sess_str or not saves_as_tensorflow(saver) or saver.saver_def is None:
        return False
    graph, of = session.graph, session.graph.get_collection
    local = {v.op.name for v in of("local_variables")} - {v.op.name for v in of("variables")}
    saved = ancestors([graph.as_graph_element(saver.saver_def.save_tensor_name)], ())
    return all(
        op.name not in local and (not op.op_def.is_stateful or op.type in _OF_VARIABLES) for op in saved
    )


class Snapshots:
    """Takes snapshots of what `saver` saves, of one session. For one thread at a time.

    A resource variable is taken without copying it, in well under a millisecond: its memory is shared until
    the next update, which goes to a new one. What could change while it is written, as a reference variable
    does, is copied into memory that is kept from one snapshot to the next.

    Args:
      session: A session for which `can_snapshot` is true.
      saver: The saver.
    """

    def __init__(self, session: ManagedSession, saver: Any) -> None:
        self._session = session
        self._saver = saver
        self._tensors = _saved_tensors(session.graph, saver)
        self._copies: list[np.ndarray[Any, Any] | None] = [None] * len(self._tensors)
        self._fetch = tf_internals.shared_fetch(session, self._tensors)

    def take(self) -> Snapshot:
        """Take the values as they are now. The snapshot before must have been written.

        Call it inside `Supervisor.between_steps`.

        Raises:
          tf.errors.OpError: If a variable cannot be read; it may be uninitialized.
        """
        values = self._fetch()
        for index, (tensor, value) in enumerate(zip(self._tensors, values, strict=True)):
            if isinstance(value, np.ndarray) and not (_keeps_its_value(tensor) or value.dtype.hasobject):
                values[index] = self._copied(index, value)
        return Snapshot(self._session, self._saver, dict(zip(self._tensors, values, strict=True)))

    def _copied(self, index: int, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        copy = self._copies[index]
        if copy is None or copy.shape != value.shape or copy.dtype != value.dtype:
            copy = self._copies[index] = _aligned_like(value)
        np.copyto(copy, value)
        return copy


class Snapshot:
    """The values of all saved variables at one moment."""

    def __init__(self, session: ManagedSession, saver: Any, values: Mapping[Any, Any]) -> None:
        self._session = session
        self._saver = saver
        self._values = values

    def save(self, save_path: str, step: int | None) -> str:
        """Write the snapshot as `tf.compat.v1.train.Saver.save` writes the variables, but no state file.

        Any thread may call this, inside the session's graph, while training goes on.

        Args:
          save_path: The path of the checkpoint without its step.
          step: The step; None for none.

        Returns:
          The checkpoint's prefix.
        """
        session = _SnapshotSession(self._session, self._values)
        path: str = self._saver.save(session, save_path, global_step=step, write_state=False)
        return path


class _SnapshotSession(tf_internals.SessionInterface):
    """The session in which a saver finds the values of a snapshot in the place of the variables' own.

    It runs on the calling thread: a pool of one thread may be busy with a training step.
    """

    def __init__(self, session: ManagedSession, values: Mapping[Any, Any]) -> None:
        self._session = session
        self._values = values

    @property
    def graph(self) -> Any:
        return self._session.graph

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any]) -> Any:
        feeds = {**feed_dict, **self._values}
        options = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
        try:
            return self._session.run_without_hooks(fetches, feeds, options)
        except (RuntimeError, tf.errors.CancelledError):
            if not self._session.closed:
                raise
        # The program has closed it meanwhile. What was taken of it is written all the same.
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
        config.graph_options.place_pruned_graph = True
        with tf.compat.v1.Session(graph=self.graph, config=config) as session:
            return session.run(fetches, feeds, options)


def _save_op(graph: tf.Graph, saver: Any) -> Any:
    """The one op that writes the file; None where there are several, or it is of another format."""
    saver_def = saver.saver_def
    if saver_def is None or saver_def.version != saver_def.V2:
        return None
    pending = [graph.as_graph_element(saver_def.save_tensor_name).op]
    seen = set(pending)
    found = []
    while pending:
        op = pending.pop()
        if op.type == "SaveV2":
            found.append(op)
            continue
        for parent in [*(tensor.op for tensor in op.inputs), *op.control_inputs]:
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    filename = graph.as_graph_element(saver_def.filename_tensor_name)
    return found[0] if len(found) == 1 and found[0].inputs[0] is filename else None


def _saved_tensors(graph: tf.Graph, saver: Any) -> list[Any]:
    tensors: list[Any]
    _file_name, _names, _slices, *tensors = _save_op(graph, saver).inputs
    return tensors


def _keeps_its_value(tensor: Any) -> bool:
    """True for what was read from a resource variable."""
    while tensor.op.type == "Identity":
        (tensor,) = tensor.op.inputs
    return bool(tensor.op.type == "ReadVariableOp")


def _aligned_like(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    aligned: np.ndarray[Any, Any] = np.ndarray(array.shape, array.dtype, memory.data, start)
    return aligned
