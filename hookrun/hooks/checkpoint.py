"""CheckpointHook: saves the model when a checkpoint is due, and at the end."""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TYPE_CHECKING

import tensorflow as tf

from hookrun import events, signals, triggers, writers
from hookrun.checkpoints.directory import CheckpointDirectory, policy_of
from hookrun.checkpoints.retention import Policy
from hookrun.graph.snapshots import Snapshots, can_snapshot, saves_as_tensorflow
from hookrun.runtime.hook import Hook
from hookrun.runtime.hook_state import HookState

if TYPE_CHECKING:
    from hookrun.graph.session import ManagedSession
    from hookrun.graph.supervisor import Supervisor

__all__ = ["CheckpointHook"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECS = 30.0
"""How long a save waits for a training step that blocks."""

_STORAGE_ERRORS = (
    OSError,
    tf.errors.OutOfRangeError,  # a file that is too large
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnknownError,
)
"""What writing a file raises: the training goes on, and the next save is tried."""


class CheckpointHook(Hook):
    """Saves `supervisor.saver`'s variables to `supervisor.save_path` whenever a checkpoint is due.

    ```python
    keep = hooks.retention.LatestN(3) | hooks.retention.BestN(1, metric=loss, mode="min")
    sv = hookrun.Supervisor(logdir="runs/saved", hooks=[hooks.CheckpointHook(every_steps=50, keep=keep)])
    ```

    All that is saved belongs to one training step, that of the checkpoint's name. The values are taken
    between two steps, and written on a thread of their own while training goes on; a save that is due
    meanwhile waits for it. That takes the memory of one more copy of the variables. A model that cannot be
    taken so (see `hookrun.graph.snapshots.can_snapshot`) is written between two steps. The variables of a
    parameter server change under the hands of other workers all the same. A step that blocks for more than
    30 s is warned of and not waited for.

    A session that ends cleanly is saved once more, so that the newest checkpoint holds its last step; one
    that ends with an error is not, and nothing is saved once a hook or service has failed: a diverged model
    must not become the newest one. A step that is saved already, also by the run before, is not saved again.

    Before each save `signals.checkpoint_saving` is sent, between two steps: a receiver that sets the
    `refused` of its event to a reason prevents it.

    When the disk fails, nothing that was saved before is touched. The error is logged, the training goes
    on, the next save that is due is tried, and the failure is told again at the end. Errors of the last
    save are raised.

    After each save a CHECKPOINT event is written and `signals.checkpoint_saved` is sent, on the thread that
    saved. The metrics reported by then (`Supervisor.report_metrics`), and the state of all hooks, are saved
    beside the checkpoint.

    The Supervisor adds this hook on the chief when it has a `logdir`, a `saver` and an interval.

    Args:
      every_steps, every_secs, at_steps: When to save, instead of when `checkpoint_due` is sent.
      keep: Which checkpoints are kept, from `hookrun.hooks.retention`; None for the saver's `max_to_keep`
        and `keep_checkpoint_every_n_hours`.
      background: False to write between two steps, without a copy of the variables.

    Raises:
      TypeError: If `keep` is no policy.
      ValueError: If a schedule is not positive.
    """

    priority = 1000
    chief_only = True

    def __init__(
        self,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        keep: Policy | None = None,
        background: bool = True,
    ) -> None:
        self.trigger = triggers.schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        if self.trigger is not None:  # else nothing is connected to `step`
            self.on_step = self._save_at_step  # type: ignore[method-assign]
        if keep is not None and not isinstance(keep, Policy):
            raise TypeError(f"keep must be a policy of hookrun.hooks.retention or None, not {keep!r}")
        self._keep = keep
        self._own_fetches = {} if keep is None else keep.fetches
        self._background = background

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        saver = supervisor.saver
        assert supervisor.save_path is not None  # the Supervisor took it only with a saver and a logdir
        self._directory: CheckpointDirectory | None = None
        self._snapshots: Snapshots | None = None
        if saves_as_tensorflow(saver):
            policy = policy_of(saver) if self._keep is None else self._keep
            self._directory = CheckpointDirectory(saver, supervisor.save_path, policy, event.restored_from)
            if self._background and can_snapshot(event.session, saver):
                self._snapshots = Snapshots(event.session, saver)
        elif self._keep is not None:
            raise ValueError(
                f"keep needs a saver with the `save` of TensorFlow's, not a {type(saver).__name__}"
            )
        self._saved_step = None if event.restored_from is None else event.global_step
        self._failures = 0
        self._writer = futures.ThreadPoolExecutor(1, "hookrun-checkpoint-writer", self._remember_writer)
        self._writer_thread: int | None = None
        self._pending: futures.Future[None] | None = None  # done once written: who is told then may take long
        # Before any hook is stopped, as the other services end before that.
        self._at_stop = supervisor.on(
            signals.stop, self._end_writer, name=f"{self.name}._end_writer", priority=-math.inf
        )

    def _remember_writer(self) -> None:
        self._writer_thread = threading.get_ident()

    def on_checkpoint_due(self, supervisor: Supervisor, event: events.CheckpointDue) -> None:
        if self.trigger is None:
            self._save(supervisor, event.session, self._snapshots)

    def _save_at_step(self, supervisor: Supervisor, event: events.Step) -> None:
        self._save(supervisor, event.session, self._snapshots)

    def on_stop(self, supervisor: Supervisor, event: events.Stop) -> None:
        if not event.clean or not supervisor.services_started:
            return
        if event.session.closed:
            _logger.warning("The session was closed before stop(): its last step is not saved")
            return
        self._save(supervisor, event.session, None, at_end=True)

    def _end_writer(self, supervisor: Supervisor, event: events.Stop) -> None:
        self._at_stop.remove()
        self._writer.shutdown()
        self._snapshots = None
        if self._failures:
            _logger.error(
                "Checkpoints that could not be saved: %d; the last error: %s", self._failures, self._error
            )

    def _save(
        self,
        supervisor: Supervisor,
        session: ManagedSession,
        snapshots: Snapshots | None,
        at_end: bool = False,
    ) -> None:
        # One that is told of a checkpoint may train: what the writer's own thread saves comes after the rest.
        waits = threading.get_ident() != self._writer_thread
        while True:
            if self._pending is not None and waits:
                with supervisor.step_suspended() as free:  # who is told of that save may wait for this step
                    futures.wait([self._pending], None if free else _PATIENCE_SECS)
                if not self._pending.done():
                    _logger.warning("The model is not saved inside between_steps: the save before goes on")
                    return
            with supervisor.between_steps(_PATIENCE_SECS) as in_time:
                if self._pending is not None and waits and not self._pending.done():
                    continue  # another thread came first
                if not in_time:
                    _logger.warning(
                        "A training step has not ended for %g s: the model is saved in the middle of it",
                        _PATIENCE_SECS,
                    )
                step = supervisor.read_global_step(session)
                if supervisor.global_step_advances and step == self._saved_step:
                    return
                if not at_end and _has_failed(supervisor):
                    return
                saving = events.CheckpointSaving(session, step)
                supervisor.send(signals.checkpoint_saving, saving)
                if saving.refused is not None:
                    _logger.warning("The model is not saved at step %s: %s", step, saving.refused)
                    return
                if not at_end and _has_failed(supervisor):  # one that was told of it
                    return
                step = supervisor.read_global_step(session)  # one that was told of it may train
                state = self._state_to_save(supervisor, session)
                if state is None:
                    return
                if snapshots is not None:
                    save = functools.partial(snapshots.take().save, step=step)
                    written: futures.Future[None] = futures.Future()
                    self._writer.submit(self._save_behind, supervisor, session, step, save, state, written)
                    self._pending = written  # only now: an interrupted `submit` may never call it
                    return
                path = self._write(supervisor, session, step, state, at_end)
                if path is not None:
                    self._saved_step = step
            break
        self._announce(supervisor, session, step, path, state)

    def _state_to_save(self, supervisor: Supervisor, session: ManagedSession) -> HookState | None:
        """What is saved beside the model; None where a hook cannot tell, which ends the training."""
        if self._keep is not None and self._keep.fetches:
            supervisor.report_metrics(supervisor.run_without_hooks(session, self._keep.fetches))
        try:
            return supervisor.hook_state()
        except Exception as error:  # logged under the name of its hook
            supervisor.coord.fail(error)
            return None

    def _save_behind(
        self,
        supervisor: Supervisor,
        session: ManagedSession,
        step: int | None,
        save: Callable[[str], str | None],
        state: HookState,
        written: futures.Future[None],
    ) -> None:
        """Called on the writer's thread, while training goes on."""
        assert self._directory is not None
        try:
            with supervisor.graph.as_default():
                try:
                    _logger.info("Saving checkpoint to path %s", supervisor.save_path)
                    path = self._directory.add(save, state)
                    if path is not None:
                        self._saved_step = step
                except _STORAGE_ERRORS as error:
                    self._failed(step, error)
                    return
                finally:
                    written.set_result(None)
                self._announce(supervisor, session, step, path, state)
        except Exception as error:  # reaches the training as that of a receiver does
            _logger.exception("%s failed", self.name)
            if self.on_error != "log":
                supervisor.coord.fail(error)
        except events.INTERRUPTS as interrupt:  # of one that was told: it ends the training from any thread
            supervisor.coord.fail(interrupt)

    def _write(
        self,
        supervisor: Supervisor,
        session: ManagedSession,
        step: int | None,
        state: HookState,
        at_end: bool,
    ) -> str | None:
        """Write the model itself, in the place of a snapshot of it."""
        _logger.info("Saving checkpoint to path %s", supervisor.save_path)
        save = functools.partial(supervisor.saver.save, session, global_step=step)
        try:
            with supervisor.graph.as_default():  # on a program's own thread it is not
                if self._directory is None:
                    return save(supervisor.save_path)  # type: ignore[no-any-return]
                return self._directory.add(functools.partial(save, write_state=False), state)
        except _STORAGE_ERRORS as error:
            if at_end or self._directory is None:
                raise
            self._failed(step, error)
            return None

    def _failed(self, step: int | None, error: Exception) -> None:
        self._failures += 1
        self._error = error
        _logger.error(
            "The checkpoint of step %s could not be saved; the next one that is due is tried: %s",
            step,
            error,
            exc_info=error,
        )

    def _announce(
        self,
        supervisor: Supervisor,
        session: ManagedSession,
        step: int | None,
        path: str | None,
        state: HookState,
    ) -> None:
        """Tell of the checkpoint at `path`, if one was saved."""
        if path is None:
            return
        if supervisor.summary_writer is not None and step is not None:
            log = tf.compat.v1.SessionLog(
                status=tf.compat.v1.SessionLog.CHECKPOINT, checkpoint_path=supervisor.save_path
            )
            writers.file_writer(supervisor.summary_writer).add_session_log(log, step)
        saved = events.CheckpointSaved(session, path, step, state.metrics)
        supervisor.send(signals.checkpoint_saved, saved)


def _has_failed(supervisor: Supervisor) -> bool:
    return isinstance(supervisor.coord.error, Exception)
