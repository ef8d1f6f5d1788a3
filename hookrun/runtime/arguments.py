"""Checks of arguments. What they raise says the name, the value and what was expected."""

from __future__ import annotations

import contextlib
import errno
import os
import reprlib
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from hookrun.numeric import checked_int, checked_number
from hookrun.paths import is_local, local_path
from hookrun.writers.record_file import make_directory

__all__ = ["absolute_logdir", "check_secs", "check_steps", "check_summary", "check_summary_op", "make_logdir"]


def check_secs(**arguments: Any) -> None:
    """Check that each is a number of seconds, 0 or more.

    Raises:
      ValueError: If one is anything else.
    """
    for name, value in arguments.items():
        checked_number(name, value, "a number of seconds, 0 or more", lambda n: n >= 0)


def check_steps(**arguments: Any) -> None:
    """Check that each is a number of steps, or None.

    Raises:
      ValueError: If one is anything else.
    """
    for name, value in arguments.items():
        if value is not None:
            checked_int(name, value, "a number of steps, 0 or None for none", least=0)


def check_summary(summary: Any) -> None:
    """Check that it is a `Summary` message, of TensorFlow or of another library, or one serialized.

    Raises:
      TypeError: If it is neither a message nor bytes.
      google.protobuf.message.DecodeError: If it is bytes of something else.
    """
    if isinstance(summary, bytes):
        try:
            tf.compat.v1.Summary.FromString(summary)
        except DecodeError as error:
            message = f"summary must be the bytes of a Summary proto, not {reprlib.repr(summary)}"
            raise DecodeError(message) from error
    elif getattr(getattr(type(summary), "DESCRIPTOR", None), "name", None) != "Summary":
        raise TypeError(f"summary must be a Summary proto or serialized bytes, not {summary!r}")


def absolute_logdir(logdir: str | os.PathLike[str]) -> str:
    """The directory that is meant now, also when the program changes its own: an absolute path, or a URL.

    Raises:
      ValueError: If it is a `file://` URL of another host, or of a relative path.
    """
    logdir = os.fspath(logdir)
    return local_path(logdir) if is_local(logdir) else logdir


def make_logdir(logdir: str) -> None:
    """Make the directory that is to be written to.

    Args:
      logdir: As `absolute_logdir` returns it.

    Raises:
      OSError: If it cannot be made or written to; the message names the argument.
      tf.errors.OpError: The same, of a URL.
    """
    if not is_local(logdir):
        make_directory(logdir)
        return
    try:
        os.makedirs(logdir, exist_ok=True)
        if not os.access(logdir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        message = f"logdir must be a directory that can be written: {error.strerror}"
        raise type(error)(error.errno, message, logdir) from error


def check_summary_op(summary_op: Any) -> None:
    """Refuse what returns no summaries: written as such, it would make the event file unreadable.

    Raises:
      TypeError: If it is no tensor of strings.
    """
    tensor = summary_op
    if isinstance(summary_op, str):
        with contextlib.suppress(KeyError, ValueError):  # there is no such tensor
            tensor = tf.compat.v1.get_default_graph().get_tensor_by_name(summary_op)
    dtype = getattr(tensor, "dtype", None)
    if not isinstance(dtype, tf.DType) or dtype.base_dtype != tf.string:
        raise TypeError(
            "summary_op must be a tensor of strings, such as tf.compat.v1.summary.merge_all returns, "
            f"or None, not {summary_op!r}"
        )
