"""The identity of a run: by it a chief that comes back knows the live model of its parameter servers."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from hookrun.graph.recovery import close_within

__all__ = ["CLOSE_SECS", "RunMark", "run_id_of", "short_session"]

_RUN_ID_FILE = "hookrun_run_id"

CLOSE_SECS = 0.5
"""How long the end of a session that was used for a moment, or is lost, is waited for, in seconds."""


class RunMark:
    """The identity of the run that a live model belongs to, in a variable beside its global step.

    It is in a graph of its own: it is no variable of the model, and in no checkpoint.
    """

    def __init__(self, master: str, config: Any, global_step: Any) -> None:
        self._master, self._config = master, config
        device = tf.DeviceSpec.from_string(global_step.device)
        if global_step.device:
            device = device.replace(device_type="CPU", device_index=0)
        container = ""
        with contextlib.suppress(ValueError):
            op = global_step.handle.op if hasattr(global_step, "handle") else global_step.op
            container = op.get_attr("container").decode()
        self._graph = tf.Graph()
        with (
            self._graph.as_default(),
            self._graph.container(container),
            tf.compat.v1.device(device.to_string()),
        ):
            self._value = tf.compat.v1.placeholder(tf.string, [])
            name = f"hookrun_run_id/{global_step.op.name}"
            self._variable = tf.compat.v1.get_variable(name, initializer="", use_resource=True)
            self._initialized = tf.compat.v1.is_variable_initialized(self._variable)
            self._assign = self._variable.assign(self._value)

    def read(self) -> str:
        """The identity; empty where there is none."""
        with short_session(self._master, self._graph, self._config) as session:
            return session.run(self._variable).decode() if session.run(self._initialized) else ""

    def write(self, run_id: str) -> None:
        with short_session(self._master, self._graph, self._config) as session:
            session.run(self._assign, {self._value: run_id})


@contextlib.contextmanager
def short_session(master: str, graph: tf.Graph, config: Any) -> Iterator[Any]:
    """A session of TensorFlow's for a moment, whose end is waited for `CLOSE_SECS` at most."""
    session = tf.compat.v1.Session(master, graph=graph, config=config)
    try:
        yield session
    finally:
        if master:
            close_within(CLOSE_SECS, session.close)
        else:
            session.close()


def run_id_of(logdir: str | None) -> str:
    """The identity of the run in `logdir`, kept in a file there; a new one without it."""
    if logdir is None:
        return uuid.uuid4().hex
    path = os.path.join(logdir, _RUN_ID_FILE)
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as file:
            known: str = file.read().strip()
            if known:
                return known
    run_id = uuid.uuid4().hex
    tf.io.gfile.makedirs(logdir)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(run_id + "\n")
    return run_id
