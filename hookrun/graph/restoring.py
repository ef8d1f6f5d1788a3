"""Restoring: the newest checkpoint straight away, and the one before it where that shows damage.

TensorFlow compares the checksum of each tensor that it restores. What it would not notice is looked for
beforehand: damage of the index, of the state of the hooks, and of tensors that the saver does not restore.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from hookrun.checkpoints import restore

__all__ = ["restore_newest", "restore_ops", "restores_as_tensorflow"]

_T = TypeVar("_T")


def restore_newest(
    graph: tf.Graph, saver: Any, save_path: str, tells_damage: bool, make: Callable[[str | None], _T]
) -> _T:
    """Make a session from the newest intact checkpoint.

    Args:
      graph: The graph of the model.
      saver: What restores it.
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.
      tells_damage: False to read each checkpoint beforehand: where a restore may not fail though data is
        damaged, or what is half restored would be left.
      make: Called with the prefix of a checkpoint, or None where there is none; returns the session. Where it
        raises and the checkpoint is found to be damaged, it is called with the next one.

    Returns:
      What `make` returned.

    Raises:
      tf.errors.DataLossError: If there are checkpoints and none is intact.
      Exception: What `make` raised for an intact checkpoint, or without one.
    """
    search = restore.Search(save_path)
    noticed = _names_restored_whole(graph, saver) if tells_damage else frozenset()
    while True:
        prefix = search.next(lambda prefix: restore.verify(prefix, unless_restored=noticed))
        if prefix is None:
            return make(None)
        try:
            made = make(prefix)
        except Exception as error:
            reason = restore.verify(prefix) if noticed else None
            if reason is None:
                search.explain(prefix)
                raise
            _close_sessions_of(error, graph)
        else:
            search.explain(prefix)
            return made
        search.pass_over(prefix, reason)


def restores_as_tensorflow(saver: Any) -> bool:
    """True for a `tf.compat.v1.train.Saver` whose `restore` is TensorFlow's own."""
    kind = tf.compat.v1.train.Saver
    restores = (
        isinstance(saver, kind) and type(saver).restore is kind.restore and "restore" not in vars(saver)
    )
    return restores and saver.saver_def is not None


def restore_ops(graph: tf.Graph, saver: Any) -> list[Any]:
    """The ops by which `saver` reads a checkpoint."""
    filename = graph.as_graph_element(saver.saver_def.filename_tensor_name)
    return [op for op in filename.consumers() if op.type == "RestoreV2" and op.inputs[0] is filename]


def _names_restored_whole(graph: tf.Graph, saver: Any) -> frozenset[str]:
    """The names of the tensors that `saver` reads from their begin to their end."""
    if not restores_as_tensorflow(saver):
        return frozenset()
    named = [[tf.get_static_value(tensor) for tensor in op.inputs[1:]] for op in restore_ops(graph, saver)]
    return frozenset(
        name.decode() for each in named for name, of_slice in zip(*each, strict=True) if not of_slice
    )


def _close_sessions_of(error: Exception, graph: tf.Graph) -> None:
    """Let go of what is half restored: the sessions that `error` was raised in, and their variables."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    sessions = [
        value
        for frame in frames
        for value in frame.f_locals.values()
        if isinstance(value, tf.compat.v1.Session) and value.graph is graph
    ]
    for session in dict.fromkeys(sessions):
        session.close()
    traceback.clear_frames(error.__traceback__)
