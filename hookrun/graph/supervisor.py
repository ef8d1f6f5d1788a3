"""Supervisor: TensorFlow's constructor, properties and methods, for a training in a v1 graph."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from hookrun import signals, writers
from hookrun.checkpoints.aliases import check_readable
from hookrun.graph.block import Block, ended_at_exit
from hookrun.graph.graph_ops import USE_DEFAULT, GraphOps, find_global_step, is_default
from hookrun.graph.overrides import warn_of_overrides
from hookrun.graph.prepared import InlineSteps
from hookrun.graph.session_maker import SessionMaker
from hookrun.graph.sessions import MAX_WAIT_SECS, GraphSessions
from hookrun.graph.steps import StepOps
from hookrun.hooks import CheckpointHook, QueueRunnerHook, StepCounterHook, SummaryHook
from hookrun.runtime.arguments import check_secs, make_logdir
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import Subscriber, checked_hooks
from hookrun.runtime.timers import start_loop
from hookrun.writers.earlier_events import starts_needed

__all__ = ["Supervisor"]

_logger = logging.getLogger(__name__)


class Supervisor(GraphSessions):
    """A training helper that checkpoints models, computes summaries, and tells hooks about it.

    A drop-in replacement for `tf.compat.v1.train.Supervisor`:

    ```python
    with tf.Graph().as_default():
        loss, train_op = build_model()
        sv = hookrun.Supervisor(logdir="runs/digits", hooks=[MyHook()])
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)
    ```

    Inside it is a bus: every service, the standard ones included, is a hook subscribed to the signals in
    `hookrun.signals`. An error in a hook is logged at once, naming it, and stops the training:
    `should_stop` is true, the next training step raises it, and the `with` block does. All semantics not
    described here are those of TensorFlow's documentation of the class.
    """

    USE_DEFAULT = USE_DEFAULT
    """Passed for `ready_op`, `init_op`, `summary_op`, `saver`, ... to have the default."""

    def __init__(
        self,
        graph: tf.Graph | None = None,
        ready_op: Any = USE_DEFAULT,
        ready_for_local_init_op: Any = USE_DEFAULT,
        is_chief: bool = True,
        init_op: Any = USE_DEFAULT,
        init_feed_dict: Any = None,
        local_init_op: Any = USE_DEFAULT,
        logdir: str | os.PathLike[str] | None = None,
        summary_op: Any = USE_DEFAULT,
        saver: Any = USE_DEFAULT,
        global_step: Any = USE_DEFAULT,
        save_summaries_secs: float = 120,
        save_model_secs: float = 600,
        recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120,
        checkpoint_basename: str = "model.ckpt",
        session_manager: Any = None,
        summary_writer: Any = USE_DEFAULT,
        init_fn: Callable[[Any], Any] | None = None,
        local_init_run_options: Any = None,
        *,
        hooks: Iterable[Hook] = (),
        save_summaries_steps: int | None = None,
        save_model_steps: int | None = None,
        inline_steps: InlineSteps = False,
        adopt_live_model: bool = True,
    ) -> None:
        """Create a `Supervisor`, add what it needs to the graph, and finalize it.

        Args:
          graph: The `tf.Graph` of the model; the default graph if None.
          ready_op: 1-D string tensor that is empty when the model is ready; None for no check. Defaults
            to the names of the uninitialized variables.
          ready_for_local_init_op: 1-D string tensor that is empty when `local_init_op` may run; None for
            no check. Defaults to the first in the graph's collection, or None.
          is_chief: True for the task that initializes, restores, saves and summarizes.
          init_op: Operation that initializes the model where it is not restored; None for none. Defaults
            to one that initializes all global variables.
          init_feed_dict: What is fed to `init_op`.
          local_init_op: Operation that every new session runs; None for none. Defaults to one that
            initializes local variables and tables.
          logdir: Directory of the checkpoints and event files; made if missing. A relative path is that of
            now, also when the program changes its directory. Chief only.
          summary_op: What returns the summaries; None for none. Defaults to all summaries, merged.
          saver: The `tf.compat.v1.train.Saver`; None to save nothing. Defaults to one of all variables.
          global_step: Integer tensor or variable of size 1 that counts steps; None to record no step.
            Defaults to the graph's.
          save_summaries_secs: Seconds between summaries; 0 for none.
          save_model_secs: Seconds between checkpoints; 0 for none.
          recovery_wait_secs: Seconds between checks whether the model is ready.
          stop_grace_secs: Seconds that running threads are given to stop.
          checkpoint_basename: The base name of the checkpoints.
          session_manager: The `tf.compat.v1.train.SessionManager`; a default one if None. One of another
            class is asked for each session, and nothing else is done with its master.
          summary_writer: What the events are written with; None to write none. Defaults to a
            `hookrun.writers.EventFileWriter` in `logdir`.
          init_fn: Called with the session after `init_op`.
          local_init_run_options: `tf.compat.v1.RunOptions` for `local_init_op`.
          hooks: Instances of `hookrun.hooks.Hook`, subscribed in this order. A standard hook among them
            takes the place of the default one.
          save_summaries_steps: Training steps between summaries, besides `save_summaries_secs`; 0 or None for
            none.
          save_model_steps: Training steps between checkpoints, besides `save_model_secs`; 0 or None for none.
          inline_steps: True to run training steps on the calling thread alone, which is faster where a
            step has little to do in parallel; "auto" to measure both in the first steps and keep the
            faster. For sessions in this process.
          adopt_live_model: True for a chief that comes back to go on with the model that lives on in the
            parameter servers, losing no step, where it is this run's, initialized, and not behind the newest
            intact checkpoint. False to restore or initialize it, as TensorFlow's class does. The run is known
            by a file in `logdir`, ``hookrun_run_id``, that is written with the first remote session.

        Raises:
          RuntimeError: If called with eager execution enabled, outside of a graph.
          TypeError, ValueError: If an argument is not what it should be; the message says which.
          OSError: If `logdir` cannot be made or written to.
        """
        if tf.executing_eagerly():
            raise RuntimeError("Supervisors are incompatible with eager execution.")
        if graph is not None and not isinstance(graph, tf.Graph):
            raise TypeError(f"graph must be a tf.Graph or None, not {graph!r}")
        if saver is not None and not is_default(saver) and not callable(getattr(saver, "save", None)):
            raise TypeError(f"saver must be a tf.compat.v1.train.Saver or None, not {saver!r}")
        if init_fn is not None and not callable(init_fn):
            raise TypeError(f"init_fn must be callable as init_fn(session), not {init_fn!r}")
        if init_fn is not None:
            signals.check_runs("init_fn", init_fn)
        if inline_steps not in (False, True, "auto"):
            raise ValueError(f"inline_steps must be True, False or 'auto', not {inline_steps!r}")
        check_secs(recovery_wait_secs=recovery_wait_secs or 0)
        super().__init__(
            tf.compat.v1.get_default_graph() if graph is None else graph,
            is_chief=is_chief,
            logdir=logdir,
            checkpoint_basename=checkpoint_basename,
            save_summaries_secs=save_summaries_secs,
            save_summaries_steps=save_summaries_steps,
            save_model_secs=save_model_secs,
            save_model_steps=save_model_steps,
            stop_grace_secs=stop_grace_secs,
            recovery_wait_secs=float(recovery_wait_secs or 0.0),
            init_feed_dict=init_feed_dict,
            init_fn=init_fn,
            inline_steps=inline_steps,
            adopt_live_model=adopt_live_model,
        )
        warn_of_overrides(type(self))
        self._is_starting = False

        given = checked_hooks(hooks)
        if summary_writer is not None and not is_default(summary_writer):
            writers.file_writer(summary_writer)  # raises for what is no writer
        with self._graph.as_default():
            self._global_step = find_global_step(global_step)
            self._set_up_hooks(given)
            self._ops = GraphOps(
                ready_op=ready_op,
                ready_for_local_init_op=ready_for_local_init_op,
                init_op=init_op,
                local_init_op=local_init_op,
                saver=saver,
                summary_op=summary_op,
            )
            self._step_ops = StepOps(self._graph, self._global_step)
        if self._save_path is not None and self._ops.saver is not None:
            check_readable(self._save_path)
        if session_manager is None:
            session_manager = tf.compat.v1.train.SessionManager(
                local_init_op=self._ops.local_init_op,
                ready_op=self._ops.ready_op,
                ready_for_local_init_op=self._ops.ready_for_local_init_op,
                graph=self._graph,
                recovery_wait_secs=recovery_wait_secs,
                local_init_run_options=local_init_run_options,
            )
        self._session_manager = session_manager
        self._verify_devices()

        self._open_event_log(summary_writer, is_default(summary_writer))
        self._starts = 1
        if self._global_step is None and self._logdir is not None:
            self._starts = starts_needed(self.summary_writer, self._logdir)

        for hook in (*given, *self._default_hooks(given)):
            self._subscribe(hook)
        self._finalize_graph()

    def _default_hooks(self, given: Sequence[Hook]) -> Iterator[Hook]:
        """The standard services that the arguments ask for, without those that `given` replaces."""
        services = self._is_chief and self._logdir is not None
        summaries = self.summary_writer is not None and (
            self._save_summaries_secs or self._save_summaries_steps
        )
        checkpoints = self._ops.saver is not None and (self._save_model_secs or self._save_model_steps)
        wanted: dict[type[Hook], Any] = {
            SummaryHook: services and summaries and self._ops.summary_op is not None,
            StepCounterHook: services and summaries and self._global_step is not None,
            CheckpointHook: services and checkpoints,
            QueueRunnerHook: True,
        }
        for kind, is_wanted in wanted.items():
            if is_wanted and not any(isinstance(hook, kind) for hook in given):
                yield kind()

    def _verify_devices(self) -> None:
        """With replicas, a variable without a device would live in each of them."""
        if self._is_chief:
            return
        for op in self._graph.get_operations():
            if op.type in ("Variable", "VariableV2") and not op.device:
                raise ValueError(f"When using replicas, all Variables must have their device set: {op}")

    @property
    def session_manager(self) -> Any:
        """The `SessionManager` used by the Supervisor."""
        return self._session_manager

    @property
    def init_op(self) -> Any:
        """The operation that initializes the model, or None."""
        return self._ops.init_op

    @property
    def init_feed_dict(self) -> Any:
        """What is fed to `init_op`: a feed dictionary or None."""
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        """The tensor that is empty when the model is ready, or None."""
        return self._ops.ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The tensor that is empty when the model is ready for its local initialization, or None."""
        return self._ops.ready_for_local_init_op

    @property
    def summary_op(self) -> Any:
        """The tensor that returns the summaries, or None."""
        return self._ops.summary_op

    @property
    def saver(self) -> Any:
        """The `Saver`, or None."""
        return self._ops.saver

    def _subscribe(self, hook: Subscriber) -> None:
        if self._is_chief and isinstance(hook, CheckpointHook):
            if self._ops.saver is None or self._logdir is None:
                raise ValueError(
                    f"{hook.name} needs a `saver` and a `logdir`, and the Supervisor does not have both"
                )
            make_logdir(self._logdir)
        super()._subscribe(hook)

    @contextlib.contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
        *,
        max_wait_secs: float = MAX_WAIT_SECS,
    ) -> Iterator[Any]:
        """Return a context manager for a session that is ready to train, and ended at the block's end.

        An exception of the block, of a hook or of a service is raised from the block, after all threads
        have stopped and the session is closed. `tf.errors.OutOfRangeError`, the end of the input, is a
        normal end. When a worker or a parameter server goes away, that is a `hookrun.SessionLostError`, an
        `AbortedError` and an `UnavailableError` at once; see `train` for the recovery from it.

        Args:
          master: The TensorFlow master to use, as for `tf.compat.v1.Session`; or "local" for a server in this
            process.
          config: Optional `tf.compat.v1.ConfigProto` for the session.
          start_standard_services: Whether to start the timers and the queue runners.
          close_summary_writer: Whether to close the summary writer at the end.
          max_wait_secs: Seconds to wait for the session at most.

        Yields:
          A `tf.compat.v1.Session`, restored from the latest checkpoint or initialized.

        Raises:
          tf.errors.DeadlineExceededError: If there is no session in time; it says what is missing.
          tf.errors.CancelledError: If a stop is requested while the session is waited for; where an error
            of another thread stops the training, that error.
        """
        block = Block()
        arguments = {"master": master, "config": config, "start_standard_services": start_standard_services}
        if max_wait_secs != MAX_WAIT_SECS:  # which the method of a subclass may not know
            arguments["max_wait_secs"] = max_wait_secs
        leave = functools.partial(self._leave, block, close_summary_writer)
        with ended_at_exit(block, leave):
            try:
                block.session = self.prepare_or_wait_for_session(**arguments)
                yield block.session
            except Exception as error:
                if block.is_over:
                    raise
                self._fail_block(block, error)
                if block.session is None:
                    raise
            except BaseException as error:
                block.interrupt = error
                raise
            finally:
                leave()

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = MAX_WAIT_SECS,
        start_standard_services: bool = True,
    ) -> Any:
        """Make a session whose model is ready to be used.

        The chief restores the newest intact checkpoint (see `hookrun.checkpoints.restore`), or initializes
        the model where there is none; the others wait for it. A session before it that was not stopped ends
        here, and stays open: its services are stopped and its hooks are told, as of an end that is not clean,
        so that nothing is saved. The new one starts from what was saved before.

        Args:
          master: The TensorFlow master to use, as for `tf.compat.v1.Session`; or "local" for a server in this
            process.
          config: Optional `tf.compat.v1.ConfigProto` for the session.
          wait_for_checkpoint: Whether to wait for a checkpoint to restore.
          max_wait_secs: Seconds to wait for the session at most, and before that for the checkpoint. While
            it waits, a line at INFO says at growing intervals, up to `recovery_wait_secs`, which variables
            are not initialized, or which task does not answer.
          start_standard_services: Whether to start the timers and the queue runners.

        Returns:
          A `tf.compat.v1.Session` to drive the model with.

        Raises:
          tf.errors.DataLossError: If there are checkpoints and none is intact.
          tf.errors.InvalidArgumentError: If a variable has another shape or type in the checkpoint than in
            the graph; it names both, and nothing is restored.
          tf.errors.DeadlineExceededError: If there is no session in time; it says what is missing.
          tf.errors.CancelledError: If a stop is requested while the session is waited for.
          Exception: What a hook raised in `on_session_created`; the session is closed then. An error of
            another thread that stops the training while the session is waited for.
        """
        self._end_session_before()
        self._hook_graphs.check_free(self._own_hooks)
        if not self._recovering:  # else a stop that was requested meanwhile is kept
            self._coord.clear_stop()
        self._warn_of_added_ops()
        self._event_log.reopen()
        maker = self._maker = SessionMaker(
            self,
            self._ops,
            self._session_manager,
            master,
            config,
            float(max_wait_secs),
            self._recovery_wait_secs,
            self._making,
        )
        with self._graph.as_default():
            made = self._made_by_chief(maker, wait_for_checkpoint) if self._is_chief else maker.wait()
            self._begin_session(made.session, start_standard_services, made)
            if self._coord.error is None and start_standard_services:
                try:
                    self._start_as_asked(made.session)
                except Exception as error:
                    self._coord.fail(error)
            if self._coord.error is not None:
                self._end(self._ending(self._event_log.is_own, to_close=self._session))
        return made.session

    def start_standard_services(self, sess: Any) -> list[threading.Thread]:
        """Start the standard services for `sess`, in the background: the timers of the hooks.

        Args:
          sess: A `Session`.

        Returns:
          The started threads: they send `summary_due` and `checkpoint_due`. Join them with
          ``sv.coord.join(threads)``.

        Raises:
          RuntimeError: If called with a non-chief Supervisor.
          ValueError: If no `logdir` was passed to the constructor, as the services need one.
        """
        if not self._is_chief:
            raise RuntimeError(
                "Only chief supervisor can start standard services. "
                "Because only chief supervisors can write events."
            )
        if self._logdir is None:
            if self._is_starting:
                return []
            raise ValueError("Standard services need a 'logdir' passed to the Supervisor")
        if sess is not self._session:
            self._end_session_before()
            self._begin_session(sess, start_standard_services=False, made=None)
        if self.summary_writer is not None:  # TensorBoard drops what an earlier run wrote after this step
            for _ in range(self._starts):
                self._event_log.mark("START", self.read_global_step(sess))
            self._starts = 1 if self._starts else 2
        return self._start_services()

    def start_queue_runners(
        self, sess: Any, queue_runners: Sequence[Any] | None = None
    ) -> list[threading.Thread]:
        """Start threads for queue runners.

        Those collected in the graph are started by `QueueRunnerHook`; call this for others.

        Args:
          sess: A `Session`.
          queue_runners: A sequence of `tf.compat.v1.train.QueueRunner`; None for those in the graph's
            collection.

        Returns:
          The started threads.

        Raises:
          RuntimeError: If called with eager execution enabled.
        """
        if tf.executing_eagerly():
            raise RuntimeError("Queues are not compatible with eager execution.")
        if queue_runners is None:
            queue_runners = self._graph.get_collection(tf.compat.v1.GraphKeys.QUEUE_RUNNERS)
        threads: list[threading.Thread] = []
        for queue_runner in queue_runners:
            threads += queue_runner.create_threads(sess, coord=self._coord, daemon=True)
        for thread in threads:
            self._run_hooks.leave_out(thread)
            thread.start()
        return threads

    def loop(
        self,
        timer_interval_secs: float | None,
        target: Callable[..., object],
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> threading.Thread:
        """Start a thread that calls a function periodically, until a stop is requested.

        It is joined by `stop`. An exception stops the training.

        Args:
          timer_interval_secs: Seconds between two calls, the first at once; None to call back to back.
          target: A callable object.
          args: Optional positional arguments for `target`.
          kwargs: Optional keyword arguments for `target`.

        Returns:
          The started thread.

        Raises:
          ValueError: If `target` is not callable.
          TypeError: If a call of it would not run it, as that of a coroutine function.
        """
        if not callable(target):
            raise ValueError(f"target must be callable, not {target!r}")
        signals.check_runs("target", target)
        if timer_interval_secs is not None:
            check_secs(timer_interval_secs=timer_interval_secs)
        call = functools.partial(target, *(args or ()), **(kwargs or {}))
        name = signals.receiver_name(target)
        return start_loop(self._coord, timer_interval_secs, call, name, self.context)

    def stop(
        self,
        threads: Iterable[threading.Thread] | None = None,
        close_summary_writer: bool = True,
        ignore_live_threads: bool = False,
    ) -> None:
        """Stop the services and the coordinator.

        This does not close the session, but for one case: where queue runners of a remote one alone are left
        after a second, and a `SyncReplicasOptimizer` has one that waits for gradients, closing it ends them.
        In a forked child it does nothing: the session is that of its parent.

        Args:
          threads: Threads to join besides the Supervisor's own.
          close_summary_writer: Whether to close the summary writer, also one that was passed in. If False,
            what was added to it is flushed.
          ignore_live_threads: If True, threads still running after `stop_grace_secs` are ignored, and the
            session stays open.

        Raises:
          Exception: The first error of the training.
          RuntimeError: If threads are still running after `stop_grace_secs`; it names them.
        """
        if self._session is not None and self._session.is_inherited:
            return
        block, self._leaving = self._leaving, None
        ending = self._ending(close_summary_writer, threads=frozenset(threads or ()))
        ending.ignore_live_threads = ignore_live_threads
        if block is not None:
            ending.to_close, ending.interrupt = block.session, block.interrupt
        self._end(ending)

    Loop = loop
    PrepareSession = prepare_or_wait_for_session
    RequestStop = GraphSessions.request_stop
    ShouldStop = GraphSessions.should_stop
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    StopOnException = GraphSessions.stop_on_exception
    SummaryComputed = GraphSessions.summary_computed
    WaitForStop = GraphSessions.wait_for_stop
