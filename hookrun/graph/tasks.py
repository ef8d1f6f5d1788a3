"""Tasks: what a session connects to, and which tasks of a cluster answer."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

__all__ = ["answering", "target_of"]

_CONNECT_SECS, _PROBES_SECS = 0.5, 0.7
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of gRPC begins: with this, and settings that are empty."""


def target_of(master: str) -> str:
    """What a session connects to for a `master`: for "local" a server in this process, the same each time.

    Args:
      master: A master as for `Supervisor.managed_session`.

    Returns:
      The target of a `tf.compat.v1.Session`; for anything but "local", `master` itself.
    """
    return _local_server().target if master == "local" else master


@functools.cache
def _local_server() -> Any:
    return tf.distribute.Server.create_local_server()


def answering(addresses: Iterable[str]) -> set[str]:
    """Those whose server answers, asked all at once."""
    answering: set[str] = set()

    def ask(address: str) -> None:
        if _answers(address):
            answering.add(address)

    threads = [
        threading.Thread(target=ask, args=(address,), name="hookrun-task-probe", daemon=True)
        for address in set(addresses)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PROBES_SECS
    for thread in threads:  # to look up a name may take longer
        thread.join(max(0.0, deadline - time.monotonic()))
    return set(answering)


def _answers(address: str) -> bool:
    """True where a server is alive: it answers with its settings, and one that is stopped does not."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECS) as connection:
            connection.sendall(_HTTP2_PREFACE)
            return bool(connection.recv(1))
    except (OSError, ValueError):
        return False
