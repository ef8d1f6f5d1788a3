"""CheckpointHook: saves the model when a checkpoint is due, and at the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import tensorflow as tf

from hookrun import events, signals, writers
from hookrun.hooks.base import Hook

if TYPE_CHECKING:
    from hookrun.session import ManagedSession
    from hookrun.supervisor import Supervisor

__all__ = ["CheckpointHook"]

_logger = logging.getLogger(__name__)


class CheckpointHook(Hook):
    """Saves `supervisor.saver`'s variables to `supervisor.save_path` whenever a checkpoint is due.

    A session that ends cleanly is saved once more, so that the newest checkpoint holds its last step;
    one that ends with an error is not: a diverged model must not become the newest one. After each save
    `signals.checkpoint_saved` is sent and a CHECKPOINT event written.

    The Supervisor adds this hook on the chief when it has a `logdir`, a `saver` and an interval.
    """

    priority = 1000
    chief_only = True

    def __init__(self) -> None:
        self._saved_step: int | None = None

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        self._saved_step = None

    def on_checkpoint_due(self, supervisor: Supervisor, event: events.CheckpointDue) -> None:
        self._save(supervisor, event.session)

    def on_stop(self, supervisor: Supervisor, event: events.Stop) -> None:
        if not event.clean or not supervisor.services_started:
            return
        if event.session.closed:
            _logger.warning("The session was closed before stop(): its last step is not saved")
            return
        self._save(supervisor, event.session)

    def _save(self, supervisor: Supervisor, session: ManagedSession) -> None:
        step = supervisor.read_global_step(session)
        if supervisor.global_step_advances and step == self._saved_step:
            return
        _logger.info("Saving checkpoint to path %s", supervisor.save_path)
        path = supervisor.saver.save(session, supervisor.save_path, global_step=step)
        self._saved_step = step
        if supervisor.summary_writer is not None and step is not None:
            log = tf.compat.v1.SessionLog(
                status=tf.compat.v1.SessionLog.CHECKPOINT, checkpoint_path=supervisor.save_path
            )
            writers.file_writer(supervisor.summary_writer).add_session_log(log, step)
        supervisor.send(signals.checkpoint_saved, events.CheckpointSaved(session, path, step))
