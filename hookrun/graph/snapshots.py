"""Snapshots: the values that a saver saves, taken between two training steps and written later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from hookrun.checkpoints.provider import Snapshot as AnySnapshot
from hookrun.checkpoints.retention import EveryNHours, LatestN, Policy
from hookrun.graph import tf_internals
from hookrun.graph.meta_graph import MetaGraph, is_tensorflows
from hookrun.graph.session import ManagedSession
from hookrun.graph.walks import ancestors

__all__ = ["SaverProvider", "Snapshot", "Snapshots", "can_snapshot", "saves_as_tensorflow"]

_FEW = 100
_INPUTS_BEFORE_VALUES = 3
"""Of a `SaveV2` op: the path, the names and the slices."""
_OF_VARIABLES = frozenset(
    {"VarHandleOp", "Variable", "VariableV2", "ReadVariableOp", "SaveV2", "MergeV2Checkpoints"}
)
"""The stateful ops of a saver that saves variables."""

_ALIGNMENT = 64
"""Bytes. An array aligned to this is fed without being copied."""


class SaverProvider:
    """What a saver saves of a session: a `hookrun.checkpoints.provider.SnapshotProvider`.

    Args:
      session: The session.
      saver: The saver, of TensorFlow or with a `save` like its.
      background: False to have the model written between two steps.
      names_relative_paths: True for a state file that names checkpoints relative to its directory.
    """

    def __init__(
        self, session: ManagedSession, saver: Any, background: bool, names_relative_paths: bool
    ) -> None:
        self._session = session
        self._saver = saver
        self._knows_writes = changes_by_runs_alone(session, saver)
        self.names_relative_paths = names_relative_paths
        self.manages_files = not saves_as_tensorflow(saver)
        self.policy: Policy | None = None if self.manages_files else policy_of(saver)
        self.checkpoint_list = saver
        self._meta_graph = None if self.manages_files else MetaGraph(session.graph, saver)
        self._snapshots: Snapshots | None = None
        if background and can_snapshot(session, saver):
            self._snapshots = Snapshots(session, saver)
        self.writes_behind = self._snapshots is not None

    @property
    def is_prepared(self) -> bool:
        """True when `prepare` has nothing left to do."""
        return self._snapshots is None or self._snapshots.are_prepared

    def prepare(self) -> object:
        """Have TensorFlow compile what `take` runs."""
        return None if self._snapshots is None else self._snapshots.prepare()

    def take(self) -> AnySnapshot:
        """The values as they are now; where they cannot be taken, the model itself."""
        if self._snapshots is not None:
            return self._snapshots.take()
        return _LiveModel(self._session, self._saver, self._meta_graph)

    @property
    def version(self) -> int | None:
        """Another number whenever runs may have written the model; None where others may write it."""
        return self._session.model_version if self._knows_writes else None


class _LiveModel:
    """The model in the place of a snapshot of it, to be saved before the next step."""

    def __init__(self, session: ManagedSession, saver: Any, meta_graph: MetaGraph | None) -> None:
        self._session = session
        self._saver = saver
        self._meta_graph = meta_graph

    def save(self, save_path: str, step: int | None) -> str | None:
        path: str | None
        if self._meta_graph is None:
            path = self._saver.save(self._session, save_path, global_step=step)
        else:
            path = save_with(self._session, self._saver, self._meta_graph, save_path, step)
        return path


def policy_of(saver: Any) -> Policy | None:
    """What `saver` was told to keep, by `max_to_keep` and `keep_checkpoint_every_n_hours`; None for all."""
    saver_def = saver.saver_def
    if not saver_def.max_to_keep:
        return None
    return LatestN(saver_def.max_to_keep) | EveryNHours(saver_def.keep_checkpoint_every_n_hours)


def saves_as_tensorflow(saver: Any) -> bool:
    """True for a `tf.compat.v1.train.Saver` whose `save` is TensorFlow's own."""
    return isinstance(saver, tf.compat.v1.train.Saver) and is_tensorflows(saver, "save")


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
        self._save_op = _save_op(session.graph, saver)
        self._tensors = list(self._save_op.inputs[_INPUTS_BEFORE_VALUES:])
        self._changing = [index for index, tensor in enumerate(self._tensors) if not _keeps_its_value(tensor)]
        self._copies: dict[int, np.ndarray[Any, Any]] = {}
        self._meta_graph = MetaGraph(session.graph, saver)
        self._preparing = threading.Lock()
        self._fetch: Callable[[], list[Any]] | None = None
        self._file_writer: _FileWriter | None = None

    @property
    def are_prepared(self) -> bool:
        """True when `prepare` has nothing left to do that takes long, as it has not with few variables: their
        first snapshot is then of the model that the training begins with."""
        return self._fetch is not None or len(self._tensors) <= _FEW

    def prepare(self) -> Callable[[], list[Any]]:
        """Have TensorFlow compile what `take` runs, which it does for the whole graph.

        Any thread may call it. Outside of `Supervisor.between_steps`, the training does not wait for it.
        """
        with self._preparing:
            if self._fetch is None:
                self._fetch = tf_internals.shared_fetch(self._session, self._tensors)
            return self._fetch

    def take(self) -> Snapshot:
        """Take the values as they are now. The snapshot before must have been written.

        Call it inside `Supervisor.between_steps`.

        Raises:
          tf.errors.OpError: If a variable cannot be read; it may be uninitialized.
        """
        values = self.prepare()()
        for index in self._changing:
            value = values[index]
            if isinstance(value, np.ndarray) and not value.dtype.hasobject:
                values[index] = self._copied(index, value)
        return Snapshot(self._write, values)

    def _copied(self, index: int, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        copy = self._copies.get(index)
        if copy is None or copy.shape != value.shape or copy.dtype != value.dtype:
            copy = self._copies[index] = _aligned_like(value)
        np.copyto(copy, value)
        return copy

    def _write(self, values: list[Any], save_path: str, step: int | None) -> str:
        def write_file(path: str) -> None:
            if self._file_writer is None:
                self._file_writer = _FileWriter(self._save_op)
            self._file_writer.write(path, values)

        path: str = save_with(self._session, self._saver, self._meta_graph, save_path, step, write_file)
        return path


class Snapshot:
    """The values of all saved variables at one moment."""

    def __init__(self, write: Callable[[list[Any], str, int | None], str], values: list[Any]) -> None:
        self._write = write
        self._values = values

    def save(self, save_path: str, step: int | None) -> str:
        """Write the snapshot as `tf.compat.v1.train.Saver.save` writes the variables, but no state file.

        Any thread may call this, inside the session's graph, while training goes on, also when the session
        is closed. It runs on the calling thread: the only one of the session may be busy with a step.

        Args:
          save_path: The path of the checkpoint without its step.
          step: The step; None for none.

        Returns:
          The checkpoint's prefix.
        """
        return self._write(self._values, save_path, step)


def save_with(
    session: ManagedSession,
    saver: Any,
    meta_graph: MetaGraph,
    save_path: str,
    step: int | None,
    write_file: Callable[[str], object] | None = None,
) -> Any:
    """Save as `saver.save` does, in runs that no hook sees, with a ``.meta`` that is not made anew.

    Args:
      session: The session; called inside its graph.
      saver: A saver for which `saves_as_tensorflow` is true.
      meta_graph: That of the saver.
      save_path: The path of the checkpoint without its step.
      step: The step; None for none.
      write_file: Called with the prefix to write the values to; None to have the saver's ops write those of
        the session.

    Returns:
      The checkpoint's prefix; None where the saver has nothing to save.
    """
    saver_session = _SaverSession(session, write_file)
    path = saver.save(saver_session, save_path, global_step=step, write_state=False, write_meta_graph=False)
    if path is not None:
        meta_graph.write(saver_session.prefix)
    return path


class _SaverSession(tf_internals.SessionInterface):
    """The session that a saver is given."""

    def __init__(self, session: ManagedSession, write_file: Callable[[str], object] | None) -> None:
        self._session = session
        self._write_file = write_file
        self.prefix = ""
        """The checkpoint's, as the saver names it."""

    @property
    def graph(self) -> Any:
        return self._session.graph

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any]) -> Any:
        (self.prefix,) = feed_dict.values()
        if self._write_file is None:
            return self._session.run_without_hooks(fetches, feed_dict)
        self._write_file(self.prefix)
        return self.prefix


class _FileWriter:
    """Writes values into the file that a `SaveV2` op writes, in a graph that holds nothing else.

    In the graph of the model, TensorFlow would go through all of it for a run of its own.
    """

    def __init__(self, save_op: Any) -> None:
        graph_def = tf.compat.v1.GraphDef()
        fed, names = [], []
        for index, tensor in enumerate(save_op.inputs):
            node = graph_def.node.add(op="Placeholder", name=f"input_{index}")
            node.attr["dtype"].type = tensor.dtype.base_dtype.as_datatype_enum
            names.append(node.name)
            if 0 < index < _INPUTS_BEFORE_VALUES:
                node.op = "Const"
                node.attr["value"].CopyFrom(tensor.op.node_def.attr["value"])
            else:
                fed.append(f"{node.name}:0")
        node = graph_def.node.add(op="SaveV2", name=save_op.name, input=names)
        node.attr["dtypes"].CopyFrom(save_op.node_def.attr["dtypes"])
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            session = tf.compat.v1.Session(graph=graph, config=config)
        inputs = list(map(graph.get_tensor_by_name, fed))
        self._run = tf_internals.raw_run(session, inputs, [], [graph.get_operation_by_name(save_op.name)])

    def write(self, path: str, values: list[Any]) -> None:
        self._run([_array(path.encode()), *map(_array, values)], True)


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, object if isinstance(value, bytes) else None)


def _save_op(graph: tf.Graph, saver: Any) -> Any:
    """The one op that writes the file; None where there are several, or it is of another format."""
    saver_def = saver.saver_def
    if saver_def is None or saver_def.version != saver_def.V2:
        return None
    path = graph.as_graph_element(saver_def.filename_tensor_name)
    saved = graph.as_graph_element(saver_def.save_tensor_name).op
    if saved.type != "Identity" or saved.inputs[0] is not path or len(saved.control_inputs) != 1:
        return None
    (op,) = saved.control_inputs
    if op.type != "SaveV2" or op.control_inputs:
        return None
    written_to, names, slices, *_ = op.inputs
    return op if written_to is path and names.op.type == slices.op.type == "Const" else None


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
