"""Runtime: a training as its hooks see it, and the life of one session of it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hookrun import events, signals, writers
from hookrun.runtime import hook_state
from hookrun.runtime.arguments import absolute_logdir, check_secs, check_steps, check_summary, make_logdir
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.event_log import EventLog
from hookrun.runtime.hook_state import HookState
from hookrun.runtime.kind import TrainingKind
from hookrun.runtime.metrics import Metrics
from hookrun.runtime.services import Schedule, Services, join
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriptions import Subscription

__all__ = ["Runtime"]

_logger = logging.getLogger(__name__)


class Runtime(TrainingKind):
    """A training as its hooks see it: what each of their methods is given first.

    `hookrun.Supervisor` is one; a hook that uses no more than what is here fits every kind of training.

    A session begins in this order: the kind of training makes it, `session_created` is sent, the hooks are
    given what they remembered, the services start. It ends in this order, each also when the one before
    failed: the services are waited for, `stop` is sent to every hook, the summary writer is closed, the
    session is closed, and the first error is raised.

    Args:
      is_chief: True for the task that saves and writes summaries.
      logdir: Directory of the checkpoints and event files, for the chief.
      checkpoint_basename: The base name of the checkpoints.
      save_summaries_secs, save_model_secs: Seconds between summaries, and between checkpoints; 0 for none.
      save_summaries_steps, save_model_steps: The same, in training steps; 0 or None for none.
      stop_grace_secs: Seconds that running threads are given to stop.

    Raises:
      TypeError, ValueError: If an argument is not what it should be; the message says which.
    """

    def __init__(
        self,
        *,
        is_chief: bool,
        logdir: str | os.PathLike[str] | None,
        checkpoint_basename: str,
        save_summaries_secs: float,
        save_summaries_steps: int | None,
        save_model_secs: float,
        save_model_steps: int | None,
        stop_grace_secs: float,
    ) -> None:
        if logdir is not None and not isinstance(logdir, (str, os.PathLike)):
            raise TypeError(f"logdir must be a path or None, not {logdir!r}")
        if not isinstance(checkpoint_basename, (str, os.PathLike)):
            raise TypeError(f"checkpoint_basename must be a str, not {checkpoint_basename!r}")
        check_secs(
            save_summaries_secs=save_summaries_secs or 0,
            save_model_secs=save_model_secs or 0,
            stop_grace_secs=stop_grace_secs,
        )
        check_steps(save_summaries_steps=save_summaries_steps, save_model_steps=save_model_steps)
        super().__init__(is_chief)
        self._logdir = absolute_logdir(logdir) if is_chief and logdir else None
        self._logdir_is_relative = self._logdir is not None and not os.path.isabs(logdir or "")
        self._save_path = os.path.join(self._logdir, checkpoint_basename) if self._logdir else None
        self._save_summaries_secs = save_summaries_secs if is_chief else None
        self._save_model_secs = save_model_secs if is_chief else None
        self._save_summaries_steps = save_summaries_steps if is_chief else None
        self._save_model_steps = save_model_steps if is_chief else None
        self._stop_grace_secs = float(stop_grace_secs)
        self._metrics = Metrics()
        self._session: Any = None
        self._services = self._make_services(())
        self._event_log = EventLog(None, is_own=False)

    # What hooks see.

    @property
    def is_chief(self) -> bool:
        """True if this is the task that saves and writes summaries."""
        return self._is_chief

    @property
    def coord(self) -> Coordinator:
        """The `Coordinator` of the training; useful to run further threads during it."""
        return self._coord

    @property
    def logdir(self) -> str | None:
        """The directory of checkpoints and events, absolute or a URL; None without, and on a non-chief."""
        return self._logdir

    @property
    def save_path(self) -> str | None:
        """The path of the checkpoints without their step, absolute or a URL; None without a `logdir`."""
        return self._save_path

    @property
    def save_summaries_secs(self) -> float | None:
        """Seconds between summaries; None on a non-chief."""
        return self._save_summaries_secs

    @property
    def save_model_secs(self) -> float | None:
        """Seconds between checkpoints; None on a non-chief."""
        return self._save_model_secs

    @property
    def summary_writer(self) -> Any:
        """The writer of the events, as it was given; None on a non-chief and where there is none."""
        return self._event_log.writer

    @property
    def services_started(self) -> bool:
        """True while the standard services of a session run."""
        return self._services.started

    @property
    def in_training_step(self) -> bool:
        """True on a thread that is in a training step, from before its run until its hooks have been told."""
        return self._gate.held

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric that was reported."""
        return self._metrics.values

    def report_metrics(self, metrics: Mapping[str, float]) -> None:
        """Make the values of metrics known to all hooks, and have them remembered beside each checkpoint.

        Args:
          metrics: Numbers by name.

        Raises:
          TypeError: If a name is no string, or a value no number. Nothing is reported then.
          ValueError: If a value is of several numbers. Nothing is reported then.
        """
        self._metrics.report(metrics)

    def times_reported(self, metric: str) -> int:
        """How often a metric was reported, in the sessions that were saved before this one too.

        A hook that goes by a metric finds a value new where this number has changed, also where the value is
        the same as before.

        Args:
          metric: The name of the metric.

        Returns:
          The number; 0 for one that was never reported.
        """
        return self._metrics.times_reported.get(metric, 0)

    @property
    def _own_hooks(self) -> list[Any]:
        """The hooks that are told of its sessions."""
        return [hook for hook in self.hooks if self._is_chief or not hook.chief_only]

    def hook_state(self) -> HookState:
        """What is to be remembered beside a checkpoint: metrics, and the state of hooks and triggers."""
        return hook_state.collect(self.hooks, self._metrics.values, self._metrics.times_reported)

    def request_stop(self, ex: BaseException | tuple[Any, Any, Any] | None = None) -> None:
        """Request that the training stop.

        Args:
          ex: Optional exception, raised or not, or `exc_info` tuple. The first one is raised at the end of
            the session.

        Raises:
          TypeError: If `ex` is anything else.
        """
        self._coord.request_stop(ex)

    def should_stop(self) -> bool:
        """True if a stop was requested."""
        return bool(self._coord.should_stop())

    def stop_on_exception(self) -> Any:
        """Return a context manager that requests a stop when its block raises.

        See `tf.train.Coordinator.stop_on_exception`.
        """
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        """Block until a stop is requested."""
        self._coord.wait_for_stop()

    def summary_computed(self, sess: Any, summary: Any, global_step: int | None = None) -> None:
        """Write a summary that was computed.

        Args:
          sess: The session.
          summary: A `Summary` proto, or `bytes` that hold a serialized one.
          global_step: The step it belongs to; if None, the current one is read.

        Raises:
          TypeError: If `summary` is neither.
          google.protobuf.message.DecodeError: If it is bytes of something else: in the event file they
            would keep what follows from being read.
          RuntimeError: If there is no summary writer.
        """
        if self.summary_writer is None:
            raise RuntimeError("Writing a summary requires a summary writer.")
        check_summary(summary)
        if global_step is None:
            global_step = self.read_global_step(sess)
        writers.file_writer(self.summary_writer).add_summary(summary, global_step)

    def after_services(self, start: Callable[[], object]) -> None:
        """Have `start` called once the standard services of the session that is being made are started.

        For a hook that is told of `session_created` where `start_standard_services` is set.
        """
        self._services.to_start_last.append(start)

    # A session begins.

    def _open_event_log(self, summary_writer: Any, is_default: bool) -> None:
        """Have the events written by `summary_writer`, or by one of this training's own."""
        if is_default:
            summary_writer = None
            if self._logdir is not None:
                make_logdir(self._logdir)
                summary_writer = writers.EventFileWriter(self._logdir)
        self._event_log = EventLog(summary_writer if self._is_chief else None, is_default)

    def _begin(
        self,
        created: events.SessionCreated,
        state: HookState | None,
        when_told: Callable[[], object] = lambda: None,
    ) -> None:
        """A session was made: tell the hooks, and give them what they remembered.

        Args:
          created: What they are told.
          state: What they remembered; None for nothing.
          when_told: Called in between.
        """
        session = self._session = created.session
        summaries = self._save_summaries_secs, self._save_summaries_steps
        checkpoints = self._save_model_secs, self._save_model_steps
        self._services = self._make_services(
            [
                Schedule(signals.summary_due, events.SummaryDue(session), *summaries),
                Schedule(signals.checkpoint_due, events.CheckpointDue(session), *checkpoints),
            ]
        )
        self._session_start = time.monotonic()
        for subscription in tuple(self._subscriptions):
            subscription.start(created.global_step or 0)
        self._log_subscriptions(created.global_step, created.restored_from)
        if state is not None:
            self._metrics.restore(state.metrics, state.times_reported)
        self.send(signals.session_created, created)
        when_told()
        if state is not None:
            self._load_hook_state(state)

    def _make_services(self, schedules: Sequence[Schedule]) -> Services:
        return Services(self, self._coord, self.context, schedules)

    def _saved_hook_state(self, checkpoint: str) -> HookState | None:
        """What is remembered beside a checkpoint. An error is as that of a hook: raised when the session is
        made."""
        try:
            return hook_state.read(checkpoint + hook_state.SUFFIX)
        except Exception as error:
            _logger.exception("The state of the hooks could not be restored from %s", checkpoint)
            self._coord.fail(error)
            return None

    def _load_hook_state(self, state: HookState) -> None:
        try:
            hook_state.load(self.hooks, state)
        except Exception as error:  # logged under the name of its hook
            self._coord.fail(error)

    def _start_services(self) -> list[threading.Thread]:
        if not self._services.started:
            for subscription in self._services.step_subscriptions():
                self._connect(subscription, owner=self._session)
        return self._services.start()

    def _end_session_before(self) -> None:
        """End the session that was not stopped, if there is one; its errors are not those of the next one."""
        if self._session is None:
            return
        _logger.warning(
            "A new session begins, and the previous one was not stopped: its services are stopped now"
        )
        reason = RuntimeError("a new session began before stop() was called")
        try:
            self._end(
                Ending(
                    self._grace_secs, ignore_live_threads=True, close_summary_writer=False, interrupt=reason
                )
            )
        except Exception as error:
            _logger.error("The previous session ended with an error", exc_info=error)
        self._coord.clear_stop()

    def _go_on_from(
        self, step: int, last_step: int, checkpoint: str | None = None, state: HookState | None = None
    ) -> None:
        """The model is that of `step` now, not that of the last one: tell all that count steps."""
        state = state or HookState()
        self._metrics.restore(state.metrics, state.times_reported)
        self._restart_schedules(self._session)
        if step < last_step:  # TensorBoard drops what was given up
            self._event_log.mark("START", step + 1, msg=f"back from step {last_step} to {step}")
        _logger.info("The training continues from step %d; its last step was %d", step, last_step)
        restored = events.SessionRestored(self._session, step, last_step, checkpoint)
        self.send(signals.session_restored, restored)
        if state:
            hook_state.load(self.hooks, state)

    def _connect(self, subscription: Subscription, owner: object) -> None:
        """Connect a receiver; during a session its schedule starts now, and its timer if it needs one."""
        if subscription.fetches is not None:
            self._check_fetches(subscription.name, subscription.fetches)
        if self._session is not None and subscription.signal is signals.step:
            self._session.catch_up()
        super()._connect(subscription, owner)
        if self._session is None:
            return
        subscription.start(self._session.last_step)
        self._services.start_timers()

    # A session ends.

    @property
    def _grace_secs(self) -> float:
        return self._stop_grace_secs

    def _end(self, ending: Ending) -> None:
        """End the session: each step of it, even when the one before failed; then raise the first error."""
        ending.session, self._session = self._session, None
        ending.deadline = time.monotonic() + ending.grace_secs
        ending.threads = (ending.threads | self._coord.threads) - {threading.current_thread()}
        self._coord.end()
        with contextlib.ExitStack() as last_to_first:
            last_to_first.callback(self._raise_first_error, ending)
            last_to_first.callback(self._close_session, ending)
            last_to_first.callback(self._finish_event_log, ending)
            last_to_first.callback(self._send_stop, ending)
            self._join_threads(ending)

    def _join_threads(self, ending: Ending) -> None:
        join(ending.threads, ending.deadline)
        ending.stragglers += [thread.name for thread in ending.threads if thread.is_alive()]

    def _send_stop(self, ending: Ending) -> None:
        if ending.session is None:
            return
        try:
            with self._stop_context(ending):
                self._tell_of_stop(ending)
        finally:
            self._services = self._make_services(())
            for subscription in self._owned_by(ending.session):
                self._disconnect(subscription)
            self._report_hook_times(time.monotonic() - self._session_start)

    def _tell_of_stop(self, ending: Ending) -> None:
        self.send(signals.stop, events.Stop(ending.session, self._coord.error or ending.interrupt))

    def _finish_event_log(self, ending: Ending) -> None:
        if not ending.close_summary_writer:
            self._event_log.flush()
            return
        try:
            self._event_log.close()
        except Exception as error:
            _logger.exception("The summary writer failed to close")
            self._coord.fail(error)

    def _raise_first_error(self, ending: Ending) -> None:
        if not ending.raises:
            return
        try:
            self._coord.join(stop_grace_period_secs=0.0, ignore_live_threads=True)
        except events.INTERRUPTS:
            if ending.interrupt is None:
                raise
            return  # the block raises its own, with the exit status that it chose
        if ending.stragglers:
            message = f"Coordinator stopped with threads still running: {' '.join(ending.stragglers)}"
            if not ending.ignore_live_threads:
                raise RuntimeError(message)
            _logger.info(message)
