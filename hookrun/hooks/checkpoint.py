"""CheckpointHook: saves the model when a checkpoint is due, and at the end."""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events, signals, triggers, writers
from hookrun.checkpoints.directory import CheckpointDirectory
from hookrun.checkpoints.provider import SnapshotProvider
from hookrun.checkpoints.retention import Policy
from hookrun.runtime.hook import Hook
from hookrun.runtime.hook_state import HookState
from hookrun.runtime.subscriber import only_if
from hookrun.runtime.waits import Wait, wait_for
from hookrun.writers.scalars import as_number, check_is_number

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["CheckpointHook"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECS, _LESS_PATIENCE_SECS, _PATIENCE_AT_END_SECS = 60.0, 1.0, 10.0
"""How long a save waits for a moment without a step: at first, where there was none the last time, and at the
end, when a step that waits for another one waits for ever."""

_STORAGE_ERRORS = (
    OSError,
    tf.errors.OutOfRangeError,  # a file that is too large
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnknownError,
)
"""What writing a file raises: the training goes on, and the next save is tried."""


class CheckpointHook(Hook):
    """Saves `runtime.saver`'s variables to `runtime.save_path` whenever a checkpoint is due.

    ```python
    keep = hooks.retention.LatestN(3) | hooks.retention.BestN(1, metric=loss, mode="min")
    sv = hookrun.Supervisor(logdir="runs/saved", hooks=[hooks.CheckpointHook(every_steps=50, keep=keep)])
    ```

    All that is saved belongs to one training step, that of the checkpoint's name. The values are taken
    between two steps, and written on a thread of their own while training goes on; a save that is due
    meanwhile waits for it. That takes the memory of one more copy of the variables. A model that cannot be
    taken so (see `hookrun.graph.snapshots.can_snapshot`) is written between two steps. The variables of a
    parameter server change under the hands of other workers all the same.

    A save waits for a moment at which no step runs, and keeps none out for long that a running one may wait
    for. Where no such moment comes in a minute (10 s at the end), a warning says so once per session, and
    the model is saved in the middle of a step.

    A session that ends cleanly is saved once more, so that the newest checkpoint holds its last step; one
    that ends with an error is not, and nothing is saved once a hook or service has failed: a diverged model
    must not become the newest one. A step that is saved already, also by the run before, is not saved again;
    nor is a model, with a global step that advances or without, to which nothing was written since.

    Where an older checkpoint is restored within the session (see `Supervisor.restore`), the steps after it
    are saved again. The ``checkpoint`` file names it then, or the newest that is not of a later step; those
    of later steps are the first that `keep` lets go.

    Before each save `signals.checkpoint_saving` is sent, between two steps: a receiver that sets the
    `refused` of its event to a reason prevents it.

    When the disk fails, nothing that was saved before is touched. The error is logged, the training goes
    on, the next save that is due is tried, and the failure is told again at the end. Errors of the last
    save are raised.

    After each save a CHECKPOINT event is written and `signals.checkpoint_saved` is sent, on the thread that
    saved. The metrics reported by then (`Runtime.report_metrics`), and the state of all hooks, are saved
    beside the checkpoint.

    The Supervisor adds this hook on the chief when it has a `logdir`, a `saver` and an interval.

    Args:
      every_steps, every_secs, at_steps: When to save, instead of when `checkpoint_due` is sent.
      keep: Which checkpoints are kept, from `hookrun.hooks.retention`; None for the saver's `max_to_keep`
        and `keep_checkpoint_every_n_hours`.
      background: False to write between two steps, without a copy of the variables.

    Raises:
      TypeError: If `keep` is no policy.
      ValueError: If a schedule is not positive, or what `keep` measures is of several numbers.
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
        if keep is not None and not isinstance(keep, Policy):
            raise TypeError(f"keep must be a policy of hookrun.hooks.retention or None, not {keep!r}")
        self._keep = keep
        self._own_fetches = {} if keep is None else keep.fetches
        for name, fetch in self._own_fetches.items():
            check_is_number(fetch, f"{self.name}: metric {name!r}")
        self._background = background

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        assert runtime.save_path is not None  # it was taken only with one
        provider = self._provider = runtime.snapshot_provider(event.session, self._background)
        self._directory: CheckpointDirectory | None = None
        if not provider.manages_files:
            policy = provider.policy if self._keep is None else self._keep
            self._directory = CheckpointDirectory(
                provider.checkpoint_list,
                runtime.save_path,
                policy,
                event.restored_from,
                provider.names_relative_paths,
            )
        elif self._keep is not None:
            kind = type(provider.checkpoint_list).__name__
            raise ValueError(f"keep needs a saver with the `save` of TensorFlow's, not a {kind}")
        self._saved_step = None if event.restored_from is None else event.global_step
        self._saved_version = None if event.restored_from is None else 0
        self._failures = 0
        self._patience_secs = _PATIENCE_SECS
        self._warned_of_step = False
        self._writer = futures.ThreadPoolExecutor(1, "hookrun-checkpoint-writer", self._remember_writer)
        self._writer_thread: int | None = None
        self._pending: futures.Future[None] | None = None  # done once written: who is told then may take long
        self._told: futures.Future[None] | None = None  # done once those are told
        # Before any hook is stopped, as the other services end before that.
        self._at_stop = runtime.on(
            signals.stop, self._end_writer, name=f"{self.name}._end_writer", priority=-math.inf
        )

    def _remember_writer(self) -> None:
        self._writer_thread = threading.get_ident()

    def _writer_threads(self) -> list[int]:
        return [] if self._writer_thread is None else [self._writer_thread]

    @only_if(lambda hook: hook.trigger is None)
    def on_checkpoint_due(self, runtime: Runtime, event: events.CheckpointDue) -> None:
        self._save(runtime, event.session)

    @only_if(lambda hook: hook.trigger is not None)
    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        self._save(runtime, event.session)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        go_back = functools.partial(self._go_back, event, self._provider.version)
        is_writing = self._pending is not None and not self._pending.done()
        if is_writing and threading.get_ident() != self._writer_thread:
            # What is being written is of the steps that were given up: it must not become the newest.
            self._pending = self._writer.submit(self._behind, runtime, go_back)
        else:
            go_back()

    def _go_back(self, event: events.SessionRestored, version: int | None) -> None:
        self._saved_step = self._saved_version = None
        try:
            if self._directory is not None and self._directory.go_back(event.global_step, event.checkpoint):
                self._saved_step, self._saved_version = event.global_step, version
        except _STORAGE_ERRORS as error:
            _logger.error(
                "Until the next save, the `checkpoint` file names a later step: %s",
                error,
                exc_info=error,
            )

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        if not event.clean or not runtime.services_started:
            return
        if event.session.closed:
            _logger.warning("The session was closed before stop(): its last step is not saved")
            return
        self._save(runtime, event.session, at_end=True)

    def _end_writer(self, runtime: Runtime, event: events.Stop) -> None:
        self._at_stop.remove()
        if self._told is not None:
            wait_for(self._told, Wait("end the saving of checkpoints", self._writer_threads))
        self._writer.shutdown()
        if self._failures:
            _logger.error(
                "Checkpoints that could not be saved: %d; the last error: %s", self._failures, self._error
            )

    def _save(
        self,
        runtime: Runtime,
        session: Any,
        at_end: bool = False,
    ) -> None:
        provider = self._provider
        # One that is told of a checkpoint may train: what the writer's own thread saves comes after the rest.
        waits = threading.get_ident() != self._writer_thread
        while True:
            pending = self._pending
            if pending is not None and waits:
                with runtime.step_suspended() as free:  # who is told of that save may wait for this step
                    timeout_secs = None if free else _PATIENCE_SECS
                    done = wait_for(pending, Wait("save the model", self._writer_threads, timeout_secs))
                if not done:
                    _logger.warning(
                        "The model is not saved inside between_steps: the previous save is still running"
                    )
                    return
            if not provider.is_prepared:
                if self._is_saved(runtime, runtime.read_global_step(session)):
                    return
                provider.prepare()
            patience_secs = min(self._patience_secs, _PATIENCE_AT_END_SECS if at_end else math.inf)
            with runtime.between_steps(patience_secs) as in_time:
                if self._pending is not None and waits and not self._pending.done():
                    continue  # another thread came first
                self._patience_secs = _PATIENCE_SECS if in_time else _LESS_PATIENCE_SECS
                if not in_time:
                    self._warn_of_step(patience_secs)
                step = runtime.read_global_step(session)
                if self._is_saved(runtime, step):
                    return
                if not at_end and _has_failed(runtime):
                    return
                saving = events.CheckpointSaving(session, step)
                runtime.send(signals.checkpoint_saving, saving)
                if saving.refused is not None:
                    _logger.warning("The model is not saved at step %s: %s", step, saving.refused)
                    return
                if not at_end and _has_failed(runtime):  # one that was told of it
                    return
                step = runtime.read_global_step(session)  # one that was told of it may train
                state = self._state_to_save(runtime, session)
                if state is None:
                    return
                version = provider.version
                if provider.writes_behind and not at_end:
                    self._hand_over(runtime, session, step, version, state)
                    return
                path = self._write(runtime, provider, step, state, at_end)
                if path is not None:
                    self._saved_step, self._saved_version = step, version
            break
        self._announce(runtime, session, step, path, state)

    def _hand_over(
        self, runtime: Runtime, session: Any, step: int | None, version: int | None, state: HookState
    ) -> None:
        """Take the values now; the writer's thread writes them."""
        save = functools.partial(self._provider.take().save, step=step)
        written: futures.Future[None] = futures.Future()
        work = functools.partial(self._save_behind, runtime, session, step, version, save, state, written)
        try:
            self._told = self._writer.submit(self._behind, runtime, work)
        except RuntimeError:  # Python is ending and starts no thread; the last save needs none
            return
        self._pending = written  # only now: an interrupted `submit` may never call it

    def _warn_of_step(self, secs: float) -> None:
        if not self._warned_of_step:
            self._warned_of_step = True
            _logger.warning(
                "For %g s there was no moment without a run that writes variables: the model is saved in the "
                "middle of one, and again as long as this lasts. Use run_without_hooks or make_callable for "
                "long runs that a checkpoint need not wait for",
                secs,
            )

    def _is_saved(self, runtime: Runtime, step: int | None) -> bool:
        version = self._provider.version
        same_step = runtime.global_step_advances and step == self._saved_step
        return same_step or (version is not None and version == self._saved_version)

    def _state_to_save(self, runtime: Runtime, session: Any) -> HookState | None:
        """What is saved beside the model; None where a hook cannot tell, which ends the training."""
        if self._own_fetches:
            values = runtime.values_of(session, self._own_fetches)
            what = f"{self.name}: metric"
            runtime.report_metrics({name: as_number(v, what, name) for name, v in values.items()})
        try:
            return runtime.hook_state()
        except Exception as error:  # logged under the name of its hook
            runtime.coord.fail(error)
            return None

    def _behind(self, runtime: Runtime, work: Callable[[], None]) -> None:
        """Called on the writer's thread, while training goes on."""
        try:
            with runtime.context():
                work()
        except Exception as error:  # reaches the training as that of a receiver does
            _logger.exception("%s failed", self.name)
            if self.on_error != "log":
                runtime.coord.fail(error)
        except events.INTERRUPTS as interrupt:  # of one that was told: it ends the training from any thread
            runtime.coord.fail(interrupt)

    def _save_behind(
        self,
        runtime: Runtime,
        session: Any,
        step: int | None,
        version: int | None,
        save: Callable[[str], str | None],
        state: HookState,
        written: futures.Future[None],
    ) -> None:
        assert self._directory is not None
        try:
            _logger.info("Saving checkpoint to path %s", runtime.save_path)
            path = self._directory.add(save, state)
            if path is not None:
                self._saved_step, self._saved_version = step, version
        except _STORAGE_ERRORS as error:
            self._failed(step, error)
            return
        finally:
            written.set_result(None)
        self._announce(runtime, session, step, path, state)

    def _write(
        self,
        runtime: Runtime,
        provider: SnapshotProvider,
        step: int | None,
        state: HookState,
        at_end: bool,
    ) -> str | None:
        """Write the model between two steps, on the calling thread."""
        _logger.info("Saving checkpoint to path %s", runtime.save_path)
        try:
            with runtime.context():  # on a program's own thread it is not
                snapshot = provider.take()
                if self._directory is None:
                    assert runtime.save_path is not None
                    return snapshot.save(runtime.save_path, step)
                return self._directory.add(functools.partial(snapshot.save, step=step), state)
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
        runtime: Runtime,
        session: Any,
        step: int | None,
        path: str | None,
        state: HookState,
    ) -> None:
        """Tell of the checkpoint at `path`, if one was saved."""
        if path is None:
            return
        if runtime.summary_writer is not None and step is not None:
            log = tf.compat.v1.SessionLog(
                status=tf.compat.v1.SessionLog.CHECKPOINT, checkpoint_path=runtime.save_path
            )
            writers.file_writer(runtime.summary_writer).add_session_log(log, step)
        saved = events.CheckpointSaved(session, path, step, state.metrics)
        runtime.send(signals.checkpoint_saved, saved)


def _has_failed(runtime: Runtime) -> bool:
    return isinstance(runtime.coord.error, Exception)
