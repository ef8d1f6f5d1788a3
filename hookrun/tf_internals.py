"""Every name of TensorFlow's that is not public API, in one place, each with what is done without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

try:
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.client.session import SessionInterface, _FetchHandler

    with tf.Graph().as_default():
        _TENSOR = tf.constant(0)
    _MISSING = [
        name
        for owner, name in [
            (pywrap_tf_session, "TF_SessionRun_wrapper"),
            (pywrap_tf_session, "TF_NewBufferFromString"),
            (tf.compat.v1.Session, "_do_call"),
            (tf.compat.v1.Session, "_make_callable_from_options"),
            (tf.compat.v1.Session, "_extend_graph"),
            (_TENSOR, "_as_tf_output"),
            (_TENSOR.op, "_c_op"),
        ]
        if not hasattr(owner, name)
    ]
except ImportError as error:
    _MISSING = [str(error)]
    SessionInterface = object

__all__ = [
    "SessionInterface",
    "can_prepare",
    "fetch_handler",
    "output_of",
    "raw_run",
    "saves_relative_paths",
    "shared_fetch",
]

can_prepare = not _MISSING
"""False where TensorFlow lacks one of the names that prepared runs and snapshots need: everything goes
through `Session.run`, and a model is saved without a snapshot."""

if can_prepare:
    _INLINE = pywrap_tf_session.TF_NewBufferFromString(
        tf.compat.v1.RunOptions(inter_op_thread_pool=-1).SerializeToString()
    )


def fetch_handler(graph: tf.Graph, fetches: Any) -> Any:
    """TensorFlow's own reading of a structure of fetches; raises what `Session.run` raises for it."""
    return _FetchHandler(graph, fetches, {})


def output_of(tensor: Any) -> Any:
    """The key under which the raw run is fed `tensor`."""
    return tensor._as_tf_output()


def raw_run(session: Any, tensors: Sequence[Any], targets: Sequence[Any]) -> Callable[[Any, bool], list[Any]]:
    """A function that runs `tensors` and `targets` with nothing left to prepare.

    It takes a dictionary from `output_of` to arrays and whether to run on the calling thread alone, and
    returns the values of `tensors`. Errors are those of `Session.run`.
    """
    outputs = [tensor._as_tf_output() for tensor in tensors]
    operations = [op._c_op for op in targets]
    call, run, handle = session._do_call, pywrap_tf_session.TF_SessionRun_wrapper, session._session
    session._extend_graph()

    def raw(feeds: Any, inline: bool) -> list[Any]:
        options = _INLINE if inline else None
        return call(run, handle, options, feeds, outputs, operations, None)  # type: ignore[no-any-return]

    return raw


def shared_fetch(session: Any, tensors: Sequence[Any]) -> Callable[[], list[Any]]:
    """A function that fetches `tensors` on the calling thread without copying them.

    The arrays it returns may share their memory with the model: they must not be written to. That of a
    resource variable stays as it is, since the next update goes to a new one; that of a reference variable
    changes.
    """
    options = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
    callable_options = config_pb2.CallableOptions(fetch=[t.name for t in tensors], run_options=options)
    return session._make_callable_from_options(callable_options)  # type: ignore[no-any-return]


def saves_relative_paths(saver: Any) -> bool:
    """True for a `Saver(save_relative_paths=True)`."""
    return bool(getattr(saver, "_save_relative_paths", False))
