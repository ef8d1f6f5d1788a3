"""Every name of TensorFlow's that is not public API, in one place, each with what is done without it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import tensorflow as tf

try:
    from tensorflow.core.protobuf.config_pb2 import CallableOptions
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.client.session import SessionInterface, _FetchHandler

    with tf.Graph().as_default():
        _TENSOR = tf.constant(0)
    _MISSING = [
        name
        for owner, name in [
            (pywrap_tf_session, "TF_SessionRun_wrapper"),
            (pywrap_tf_session, "TF_SessionRunCallable"),
            (pywrap_tf_session, "TF_NewBufferFromString"),
            (tf.compat.v1.Session, "_do_call"),
            (tf.compat.v1.Session, "_extend_graph"),
            (tf.compat.v1.Session, "_make_callable_from_options"),
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
    "chrome_timeline",
    "control_outputs",
    "fetch_handler",
    "raw_run",
    "saves_relative_paths",
    "server_of",
    "shared_fetch",
]

can_prepare = not _MISSING
"""False where TensorFlow lacks one of the names that prepared runs and snapshots need: everything goes
through `Session.run`, and a model is saved without a snapshot."""

RawRun = Callable[[list[Any], bool], list[Any]]

_INLINE = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
if can_prepare:
    _INLINE_BUFFER = pywrap_tf_session.TF_NewBufferFromString(_INLINE.SerializeToString())


def fetch_handler(graph: tf.Graph, fetches: Any) -> Any:
    """TensorFlow's own reading of a structure of fetches; raises what `Session.run` raises for it."""
    return _FetchHandler(graph, fetches, {})


def raw_run(
    session: Any,
    feeds: Sequence[Any],
    tensors: Sequence[Any],
    targets: Sequence[Any],
    owns_executor: bool = True,
) -> RawRun:
    """A function that runs `tensors` and `targets` with nothing left to prepare.

    It takes the arrays that are fed to the tensors in `feeds`, and whether to run on the calling thread
    alone, and returns the values of `tensors`. Errors are those of `Session.run`. Without an executor of its
    own it runs by the one that TensorFlow makes for `Session.run`, and keeps until the session is closed.
    """
    session._extend_graph()
    if owns_executor and not session.sess_str and all(map(_is_number, tensors)):
        return _callable_run(session, feeds, tensors, targets)
    return _session_run(session, feeds, tensors, targets)


def _is_number(tensor: Any) -> bool:
    """True for what a callable returns a copy of. Arrays it returns are views of live buffers."""
    dtype = tensor.dtype
    return bool(tensor.shape.rank == 0 and (dtype.is_integer or dtype.is_floating or dtype.is_bool))


def _callable_run(
    session: Any, feeds: Sequence[Any], tensors: Sequence[Any], targets: Sequence[Any]
) -> RawRun:
    options = CallableOptions(
        feed=[tensor.name for tensor in feeds],
        fetch=[tensor.name for tensor in tensors],
        target=[op.name for op in targets],
    )
    run, session_handle = pywrap_tf_session.TF_SessionRunCallable, session._session
    handles: dict[bool, Any] = {}
    made: list[Any] = []  # holds the handles
    making = threading.Lock()

    def make(inline: bool) -> None:
        with making:  # a second one in its place would release the handle that another thread runs
            if inline not in handles:
                own = CallableOptions(run_options=_INLINE if inline else None)
                own.MergeFrom(options)
                made.append(session._do_call(session._make_callable_from_options, own))
                handles[inline] = made[-1]._handle

    def raw(values: list[Any], inline: bool) -> list[Any]:
        if inline not in handles:
            make(inline)
        try:
            return run(session_handle, handles[inline], values, None)  # type: ignore[no-any-return]
        except tf.errors.OpError as error:
            return session._do_call(_reraise, error)  # type: ignore[no-any-return]

    return raw


def _session_run(
    session: Any, feeds: Sequence[Any], tensors: Sequence[Any], targets: Sequence[Any]
) -> RawRun:
    inputs = [tensor._as_tf_output() for tensor in feeds]
    outputs = [tensor._as_tf_output() for tensor in tensors]
    operations = [op._c_op for op in targets]
    run, session_handle = pywrap_tf_session.TF_SessionRun_wrapper, session._session

    def raw(values: list[Any], inline: bool) -> list[Any]:
        fed, options = dict(zip(inputs, values, strict=True)), _INLINE_BUFFER if inline else None
        try:
            return run(session_handle, options, fed, outputs, operations, None)  # type: ignore[no-any-return]
        except tf.errors.OpError as error:
            return session._do_call(_reraise, error)  # type: ignore[no-any-return]

    return raw


def _reraise(error: Exception) -> NoReturn:
    """For `Session._do_call`, which puts the op and a better message into what it is raised from it."""
    raise error


def shared_fetch(session: Any, tensors: Sequence[Any]) -> Callable[[], list[Any]]:
    """A function that fetches `tensors` on the calling thread without copying them.

    The arrays it returns may share their memory with the model: they must not be written to. That of a
    resource variable stays as it is, since the next update goes to a new one; that of a reference variable
    changes.
    """
    options = CallableOptions(fetch=[tensor.name for tensor in tensors], run_options=_INLINE)
    return session._make_callable_from_options(options)  # type: ignore[no-any-return]


def control_outputs(op: Any) -> Sequence[Any]:
    """The ops that wait for `op` without taking a value of it."""
    try:
        return op._control_outputs  # type: ignore[no-any-return]
    except AttributeError:
        return [other for other in op.graph.get_operations() if op in other.control_inputs]


def saves_relative_paths(saver: Any) -> bool:
    """True for a `Saver(save_relative_paths=True)`."""
    return bool(getattr(saver, "_save_relative_paths", False))


def chrome_timeline(step_stats: Any) -> str | None:
    """The ops of a run in Chrome's trace format, as JSON; None where TensorFlow cannot make it."""
    try:
        from tensorflow.python.client import timeline
    except ImportError:
        return None
    trace: str = timeline.Timeline(step_stats).generate_chrome_trace_format()
    return trace


def server_of(target: str) -> Any:
    """The `tf.distribute.Server` of this process with that target, as nothing else leads to it; else None."""
    for candidate in gc.get_objects():
        if type(candidate) is tf.distribute.Server and candidate.target == target:
            return candidate
    return None
