"""GraphSessions: how the sessions of a Supervisor are made, left, taken back, and recovered."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from hookrun import events, signals, writers
from hookrun.checkpoints import restore
from hookrun.checkpoints.aliases import readable
from hookrun.checkpoints.directory import undo_interrupted_save
from hookrun.checkpoints.provider import SnapshotProvider
from hookrun.graph import tf_internals
from hookrun.graph.block import Block
from hookrun.graph.graph_ops import GraphOps
from hookrun.graph.graph_runtime import GraphRuntime, close_session
from hookrun.graph.prepared import InlineSteps
from hookrun.graph.recovery import Recoveries, SessionLostError, StoppedWaitingError
from hookrun.graph.restored_shapes import check_shapes
from hookrun.graph.run_identity import run_id_of
from hookrun.graph.session import ManagedSession
from hookrun.graph.session_maker import Made, SessionMaker, step_of
from hookrun.graph.snapshots import SaverProvider
from hookrun.graph.summaries import GraphSummaries
from hookrun.graph.training_steps import TrainingSteps
from hookrun.numeric import checked_int
from hookrun.runtime import hook_state
from hookrun.runtime.arguments import check_secs
from hookrun.runtime.hook_state import HookState
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriptions import Subscription

__all__ = ["MAX_WAIT_SECS", "GraphSessions"]

_logger = logging.getLogger(__name__)

MAX_WAIT_SECS = 7200
"""How long a session is waited for, unless told otherwise."""

_BROKEN_OFF = (tf.errors.CancelledError, tf.errors.OutOfRangeError)
"""What a step raises that waits for input when the training is stopped."""


class GraphSessions(GraphRuntime):
    """What a Supervisor does to have its sessions, besides the methods that TensorFlow's class has.

    Args:
      graph: The `tf.Graph` of the model.
      recovery_wait_secs, init_feed_dict, init_fn, inline_steps, adopt_live_model: As for `Supervisor`.
      **arguments: As for `Runtime`.
    """

    _ops: GraphOps
    _session_manager: Any

    def __init__(
        self,
        graph: tf.Graph,
        *,
        recovery_wait_secs: float,
        init_feed_dict: Any,
        init_fn: Callable[[Any], Any] | None,
        inline_steps: InlineSteps,
        adopt_live_model: bool,
        **arguments: Any,
    ) -> None:
        super().__init__(graph, **arguments)
        self._recovery_wait_secs = recovery_wait_secs
        self._init_feed_dict = init_feed_dict
        self._init_fn = init_fn
        self._inline_steps: InlineSteps = inline_steps
        self._adopt_live_model = adopt_live_model
        self._run_id: str | None = None
        self._made: Made | None = None
        self._maker: SessionMaker | None = None
        self._making = threading.Lock()
        self._leaving: Block | None = None
        self._recovering = False
        self._keeps_first_state = False
        self._first_state: HookState | None = None

    # What TensorFlow's class has, and a subclass may override.

    def managed_session(
        self, master: str = "", config: Any = None, *, max_wait_secs: float = MAX_WAIT_SECS
    ) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def start_standard_services(self, sess: Any) -> list[threading.Thread]:
        raise NotImplementedError

    def stop(self, threads: Any = None, close_summary_writer: bool = True) -> None:
        raise NotImplementedError

    def _finalize_graph(self) -> None:
        self._graph.finalize()
        self._finalized_size = len(self._graph.get_operations())

    def _made_by_chief(self, maker: SessionMaker, wait_for_checkpoint: bool) -> Made:
        """A session that is restored, initialized or adopted."""
        save_path = self._save_path if self._ops.saver is not None else None
        if save_path is not None:
            undo_interrupted_save(save_path)
            if wait_for_checkpoint and not restore.candidates(save_path):
                maker.wait_for_checkpoint(os.path.dirname(save_path))
        run_id = self._known_run_id if self._adopt_live_model else None
        made = maker.prepare(run_id, wait_for_checkpoint, self._init_feed_dict, self._init_fn)
        self._write_graph()
        return made

    def _begin_session(self, sess: Any, start_standard_services: bool, made: Made | None) -> None:
        """Make `sess` the session of the training, and tell the hooks."""
        adopted = made is not None and made.how == "adopted"
        checkpoint = None if made is None else made.checkpoint
        state: HookState | None = None
        if adopted and self._made is not None:
            state = self.hook_state()  # hooks that ran know more than the checkpoint
        elif checkpoint is not None:
            state = self._saved_hook_state(checkpoint)
        self._made = made

        inline_steps = False if getattr(sess, "sess_str", "") else self._inline_steps
        self._begin_in_graph(
            sess,
            TrainingSteps(self, self._graph, self._step_ops, self._gate, self._run_hooks, inline_steps),
            state,
            self._keep_first_state,
            start_standard_services=start_standard_services,
            restored_from=None if adopted else checkpoint,
            adopted=adopted,
        )

    def _keep_first_state(self) -> None:
        """A session that is initialized once more begins with what the first one began with."""
        if self._keeps_first_state and self._first_state is None:
            self._first_state = self.hook_state()

    def summaries(self, summary_op: Any) -> GraphSummaries | None:
        """The summaries that `summary_op`, or the Supervisor's own returns; None where there are none."""
        return super().summaries(self._ops.summary_op if summary_op is None else summary_op)

    def snapshot_provider(self, session: Any, background: bool) -> SnapshotProvider:
        """What the saver saves of a session.

        Args:
          session: The session.
          background: False to have the model written between two steps.
        """
        relative = self._logdir_is_relative or tf_internals.saves_relative_paths(self._ops.saver)
        return SaverProvider(session, self._ops.saver, background, relative)

    def _start_as_asked(self, sess: Any) -> None:
        """Start what a subclass may start in its own way: the standard services, then the queue runners."""
        if self._is_chief:
            if self._logdir is not None:
                _logger.info("Starting standard services.")
            self._is_starting = True
            try:
                self.start_standard_services(sess)
            finally:
                self._is_starting = False
        for start in self._services.to_start_last:
            start()

    def _known_run_id(self) -> str:
        if self._run_id is None:
            self._run_id = run_id_of(self._logdir)
        return self._run_id

    def _warn_of_added_ops(self) -> None:
        added = [op.name for op in self._graph.get_operations()[self._finalized_size :]]
        if added:
            _logger.warning("Ops were added to the graph after it was finalized: %s", ", ".join(added))

    def _write_graph(self) -> None:
        if self._logdir is not None:
            graph_def = self._graph.as_graph_def(add_shapes=True)
            tf.io.write_graph(graph_def, self._logdir, "graph.pbtxt")
        if self.summary_writer is not None and not self._event_log.has_graph:
            writer = writers.file_writer(self.summary_writer)
            writer.add_graph(self._graph)
            saver_def = getattr(self._ops.saver, "saver_def", None)
            writer.add_meta_graph(
                tf.compat.v1.train.export_meta_graph(graph=self._graph, saver_def=saver_def)
            )
            self._event_log.has_graph = True

    def _fail_block(self, block: Block, error: Exception) -> None:
        """Stop the training because of an error in a block, or while its session was made."""
        first = self._coord.error
        both_lost = isinstance(first, SessionLostError) and isinstance(error, SessionLostError)
        self.request_stop(error)
        if block.session is None:
            self._coord.fail(error)  # an `OutOfRangeError` was no end of input
            return
        if isinstance(first, Exception) and first is not error and not both_lost:
            _logger.error(
                "The training loop also failed, after the first error of the training", exc_info=error
            )
        if isinstance(first, events.INTERRUPTS) and not isinstance(error, _BROKEN_OFF):
            self._coord.fail(error)

    def _leave(self, block: Block, close_summary_writer: bool) -> None:
        """End what a block began, by `stop`, which a subclass may override."""
        if not block.leave():
            return
        if block.session is None:
            block.session = self._session
        self._leaving = block
        try:
            self.stop(close_summary_writer=close_summary_writer)
        finally:
            self._leaving = None
            close_session(block.session)  # where an overriding `stop` has not

    def _ending(self, close_summary_writer: bool, **fields: Any) -> Ending:
        return Ending(self._grace_secs, close_summary_writer=close_summary_writer, **fields)

    def _stop_context(self, ending: Ending) -> AbstractContextManager[object]:
        """In the graph; a task of the cluster that does not answer is not waited for."""
        context = contextlib.ExitStack()
        context.enter_context(self.context())
        if self._maker is not None and ending.session.sess_str:
            context.enter_context(ending.session.runs_watched(self._maker.silent, ending.deadline))
        return context

    def restore(self, sess: Any, checkpoint: str | os.PathLike[str]) -> None:
        """Go back to a checkpoint within the session, with all that belongs to it, and go on from there.

        The model is restored between two steps, and the state that is saved beside it: the metrics, and that
        of the hooks and their triggers. The step is that of the checkpoint then, and `session_restored` is
        sent; schedules, the event file and the ``checkpoint`` file go on from there. What was saved of later
        steps is kept as long as it would have been, and is not what the next run starts from.

        Any thread may call this, also one that is told of a step. A plain ``sv.saver.restore(sess, path)``
        is noticed at the next training step: the hooks keep their state then, and the metrics are forgotten.

        Args:
          sess: The session of the training.
          checkpoint: The checkpoint's prefix, as `tf.compat.v1.train.Saver.restore` takes it.

        Raises:
          ValueError: If there is no such checkpoint, no `saver`, or `sess` is another session.
          tf.errors.DataLossError: If the checkpoint is damaged. The model is as it was, as for
            tf.errors.InvalidArgumentError: If a variable has another shape or type there than in the graph.
          Exception: What the saver or a hook raised; the training is stopped then, and nothing is saved.
        """
        prefix, session = os.fspath(checkpoint), self._session
        if self._ops.saver is None or session is None or sess is not session:
            needed = "a saver" if self._ops.saver is None else "the session of the training"
            raise ValueError(f"restore needs {needed}: {prefix} is not restored")
        state = restore.readable_state(prefix)
        check_shapes(self._graph, self._ops.saver, prefix)
        with self.between_steps(), self._graph.as_default():
            session.catch_up()
            last_step = session.last_step
            try:
                with self._run_hooks.unseen(), readable(prefix) as path:
                    self._ops.saver.restore(sess, path)
                read = self.read_global_step(sess)
                step = last_step if read is None else read
                session.go_on_from(step)
                self._go_on_from(step, last_step, prefix, state)
            except Exception as error:
                self._coord.fail(error)
                raise

    def train(
        self,
        step_fn: Callable[[Any], object],
        *,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = MAX_WAIT_SECS,
        max_recoveries: int = 10,
        recovery_period_secs: float = 3600,
    ) -> None:
        """Call `step_fn` with a managed session until a stop is requested; recover it when it is lost.

        ```python
        sv.train(lambda sess: sess.run(train_op), master=server.target, config=config)
        ```

        When a worker or a parameter server goes away, the session ends: `signals.session_lost` and
        `signals.stop` are sent, and nothing is saved. After a wait that grows with each recovery, a new one
        is made, as by `managed_session`, with timers, queue runners and prepared runs of its own;
        `signals.session_created` and then `signals.session_recovered` are sent, and the training goes on. The
        state of the hooks is that of the model: restored with a checkpoint, kept where the model was adopted,
        that of the beginning where it was initialized. A step that broke off is not made up for.

        Errors of `step_fn`, of a hook or of a service end the training, also an `AbortedError` that they
        raise themselves.

        Args:
          step_fn: Called as ``step_fn(session)``, on the caller's thread.
          master, config: As for `managed_session`.
          max_wait_secs: Seconds to wait for each session at most.
          max_recoveries: How often within `recovery_period_secs` the session is recovered; 0 for never.
          recovery_period_secs: Seconds.

        Raises:
          SessionLostError: If the session was lost after `max_recoveries`, or a stop was requested before
            or during the wait for a new one: what was not saved is lost. A stop that is requested while the
            first session is waited for ends this without an error.
          tf.errors.DeadlineExceededError: If there was no session after `max_wait_secs`.
          Exception: The first error of the training.
          TypeError, ValueError: If an argument is not what it should be; the message says which.
        """
        if not callable(step_fn):
            raise TypeError(f"step_fn must be callable as step_fn(session), not {step_fn!r}")
        signals.check_runs("step_fn", step_fn)
        check_secs(max_wait_secs=max_wait_secs, recovery_period_secs=recovery_period_secs)
        at_most = checked_int("max_recoveries", max_recoveries, "a number, 0 or more", least=0)
        recoveries = Recoveries(at_most, recovery_period_secs)
        self._first_state, self._keeps_first_state = None, bool(master)
        last_step: int | None = None
        while True:
            sess: ManagedSession | None = None
            try:
                with self.managed_session(master, config, max_wait_secs=max_wait_secs) as sess:
                    self._recovering = False
                    if master:  # told of each step, the session knows the last one when it is lost
                        self._connect(_step_keeper(), owner=sess)
                    if last_step is not None:
                        self._tell_of_recovery(sess, last_step)
                    while not self.should_stop():
                        signals.check_ran(step_fn, step_fn(sess))
                return
            except SessionLostError as error:
                lost = error
            except StoppedWaitingError as stopped:
                if not self._recovering:
                    return
                raise SessionLostError(stopped) from None
            finally:
                self._recovering = False
            if sess is not None:
                last_step = max(sess.last_step, last_step or 0)
            secs = recoveries.next_wait_secs(lost)
            if self._coord.stop_requested:
                raise lost
            self._coord.clear_stop()
            if self._coord.wait_for_stop(secs):
                raise self._coord.error or lost
            self._recovering = True
            del lost, sess  # with what its traceback holds

    def _tell_of_recovery(self, sess: ManagedSession, last_step: int) -> None:
        assert self._made is not None and self._first_state is not None
        _, how, checkpoint = self._made
        with self._graph.as_default():
            if how == "initialized":
                hook_state.load(self.hooks, self._first_state)
                self._metrics.restore(self._first_state.metrics, self._first_state.times_reported)
            step, lost = self.read_global_step(sess), None
            if step is not None:  # by now, other workers may have trained
                if how == "restored" and checkpoint is not None:
                    back_at = step_of(checkpoint, self._global_step)
                else:
                    back_at = sess.last_step
                lost = max(0, last_step - back_at)
            _logger.warning(
                "The session was recovered at step %s, its model %s; steps lost: %s", step, how, lost
            )
            self.send(signals.session_recovered, events.SessionRecovered(sess, step, how, lost))


def _step_keeper() -> Subscription:
    return Subscription(signals.step, lambda supervisor, event: None, name="the last step")
