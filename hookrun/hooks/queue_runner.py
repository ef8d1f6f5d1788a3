"""QueueRunnerHook: starts the threads that fill the input queues."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hookrun import events
from hookrun.runtime.graph_training import in_graph
from hookrun.runtime.hook import Hook

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["QueueRunnerHook"]

_logger = logging.getLogger(__name__)


class QueueRunnerHook(Hook):
    """Starts the queue runners once a session is ready, after the other services.

    ```python
    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[hooks.QueueRunnerHook([])])  # starts none by itself
    ```

    The Supervisor adds this hook on every worker; `runtime.start_queue_runners` does the work.

    Args:
      queue_runners: A sequence of `tf.compat.v1.train.QueueRunner`; None for those collected in the
        graph under `GraphKeys.QUEUE_RUNNERS`.
    """

    _only_in_graphs = "a loop has no queues: its data are a tf.data.Dataset"

    priority = math.inf

    def __init__(self, queue_runners: Sequence[Any] | None = None) -> None:
        self._queue_runners = queue_runners

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if event.start_standard_services:
            runtime.after_services(functools.partial(self._start, runtime, event.session))

    def _start(self, runtime: Runtime, session: Any) -> None:
        _logger.info("Starting queue runners.")
        if self._queue_runners is None:
            in_graph(runtime).start_queue_runners(session)  # the one argument that a subclass must take
        else:
            in_graph(runtime).start_queue_runners(session, self._queue_runners)
