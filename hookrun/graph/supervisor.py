"""Supervisor: TensorFlow's constructor and methods, and the bus that the hooks are subscribed to."""

from __future__ import annotations

import contextlib
import functools
import logging
import numbers
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import tensorflow as tf

from hookrun import events, signals, writers
from hookrun.checkpoints import restore
from hookrun.checkpoints.directory import undo_interrupted_save
from hookrun.graph.block import Block, ended_at_exit
from hookrun.graph.graph_ops import USE_DEFAULT, GraphOps, find_global_step, is_default
from hookrun.graph.overrides import warn_of_overrides
from hookrun.graph.plans import leaves_of
from hookrun.graph.prepared import InlineSteps
from hookrun.graph.recovery import Recoveries, SessionLostError, StoppedWaitingError
from hookrun.graph.run_identity import run_id_of
from hookrun.graph.session import ManagedSession, manage
from hookrun.graph.session_maker import Made, SessionMaker, step_of
from hookrun.graph.steps import StepOps
from hookrun.graph.training_steps import TrainingSteps, as_int
from hookrun.hooks import CheckpointHook, Hook, QueueRunnerHook, StepCounterHook, SummaryHook
from hookrun.runtime import hook_state
from hookrun.runtime.arguments import check_secs, check_steps, check_summary, make_logdir
from hookrun.runtime.bus import Bus, checked_hooks
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.gate import StepGate
from hookrun.runtime.hook_state import HookState
from hookrun.runtime.services import Schedule, Services, is_queue_runner, join, join_before_closing
from hookrun.runtime.subscriptions import Subscription
from hookrun.runtime.timers import TimerThread
from hookrun.writers.earlier_events import starts_needed

__all__ = ["Supervisor"]

_logger = logging.getLogger(__name__)

_MAX_WAIT_SECS = 7200
"""How long a session is waited for, unless told otherwise."""

_LOST_GRACE_SECS = 4.0
"""How long threads are given to stop when their session is lost."""

_CLOSED_SECS = 1.0
"""How long threads are waited for, at least, that a closed session ends."""

_BROKEN_OFF = (tf.errors.CancelledError, tf.errors.OutOfRangeError)
"""What a step raises that waits for input when the training is stopped."""


class Supervisor(Bus):
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

    _not_sent: ClassVar[frozenset[str]] = frozenset()
    """The names of signals that this one never sends."""

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
          logdir: Directory of the checkpoints and event files; made if missing. Chief only.
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
        if logdir is not None and not isinstance(logdir, (str, os.PathLike)):
            raise TypeError(f"logdir must be a path or None, not {logdir!r}")
        if not isinstance(checkpoint_basename, (str, os.PathLike)):
            raise TypeError(f"checkpoint_basename must be a str, not {checkpoint_basename!r}")
        if saver is not None and not is_default(saver) and not callable(getattr(saver, "save", None)):
            raise TypeError(f"saver must be a tf.compat.v1.train.Saver or None, not {saver!r}")
        if init_fn is not None and not callable(init_fn):
            raise TypeError(f"init_fn must be callable as init_fn(session), not {init_fn!r}")
        check_secs(
            save_summaries_secs=save_summaries_secs or 0,
            save_model_secs=save_model_secs or 0,
            recovery_wait_secs=recovery_wait_secs or 0,
            stop_grace_secs=stop_grace_secs,
        )
        check_steps(save_summaries_steps=save_summaries_steps, save_model_steps=save_model_steps)
        super().__init__(Coordinator(), is_chief)
        warn_of_overrides(type(self))
        if inline_steps not in (False, True, "auto"):
            raise ValueError(f"inline_steps must be True, False or 'auto', not {inline_steps!r}")
        self._inline_steps: InlineSteps = inline_steps
        self._adopt_live_model = adopt_live_model
        self._run_id: str | None = None
        self._recovering = False
        self._keeps_first_state = False
        self._first_state: HookState | None = None
        self._making = threading.Lock()
        self._recovery_wait_secs = float(recovery_wait_secs or 0.0)
        self._graph = tf.compat.v1.get_default_graph() if graph is None else graph
        self._init_feed_dict = init_feed_dict
        self._init_fn = init_fn
        self._stop_grace_secs = float(stop_grace_secs)
        self._logdir = os.fspath(logdir) if is_chief and logdir else None
        self._save_path = os.path.join(self._logdir, checkpoint_basename) if self._logdir else None
        self._save_summaries_secs = save_summaries_secs if is_chief else None
        self._save_model_secs = save_model_secs if is_chief else None
        self._save_summaries_steps = save_summaries_steps if is_chief else None
        self._save_model_steps = save_model_steps if is_chief else None

        self._gate = StepGate()
        self._metrics: dict[str, float] = {}
        self._session: ManagedSession | None = None
        self._made: Made | None = None
        self._maker: SessionMaker | None = None
        self._services = Services(self, ())
        self._is_starting = False
        self._leaving: Block | None = None
        self._graph_written = False

        given = checked_hooks(hooks)
        self._owns_summary_writer = is_default(summary_writer)
        if summary_writer is not None and not self._owns_summary_writer:
            writers.file_writer(summary_writer)  # raises for what is no writer
        with self._graph.as_default():
            self._global_step = find_global_step(global_step)
            for hook in given:
                hook.setup_graph(self)
            self._ops = GraphOps(
                ready_op=ready_op,
                ready_for_local_init_op=ready_for_local_init_op,
                init_op=init_op,
                local_init_op=local_init_op,
                saver=saver,
                summary_op=summary_op,
            )
            self._step_ops = StepOps(self._graph, self._global_step)
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

        if not is_chief:
            self._summary_writer = None
        elif self._owns_summary_writer:
            if self._logdir:
                make_logdir(self._logdir)
            self._summary_writer = writers.EventFileWriter(self._logdir) if self._logdir else None
        else:
            self._summary_writer = summary_writer
        self._writer_open = True
        self._starts = 1
        if self._global_step is None and self._logdir is not None:
            self._starts = starts_needed(self._summary_writer, self._logdir)

        for hook in (*given, *self._default_hooks(given)):
            self._subscribe(hook)
        self._finalize_graph()

    def _finalize_graph(self) -> None:
        self._graph.finalize()
        self._finalized_size = len(self._graph.get_operations())

    def _default_hooks(self, given: Sequence[Hook]) -> Iterator[Hook]:
        """The standard services that the arguments ask for, without those that `given` replaces."""
        services = self._is_chief and self._logdir is not None
        summaries = self._summary_writer is not None and (
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
    def is_chief(self) -> bool:
        """True if this is a chief supervisor."""
        return self._is_chief

    @property
    def session_manager(self) -> Any:
        """The `SessionManager` used by the Supervisor."""
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        """The `Coordinator` used by the Supervisor; useful to run further threads during the training."""
        return self._coord

    @property
    def graph(self) -> tf.Graph:
        """The `tf.Graph` of the model."""
        return self._graph

    @property
    def logdir(self) -> str | None:
        """The directory of checkpoints and event files; None without one, and on a non-chief."""
        return self._logdir

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
    def summary_writer(self) -> Any:
        """The writer of the events, as it was given; None on a non-chief and where there is none."""
        return self._summary_writer

    @property
    def summary_op(self) -> Any:
        """The tensor that returns the summaries, or None."""
        return self._ops.summary_op

    @property
    def save_summaries_secs(self) -> float | None:
        """Seconds between summaries; None on a non-chief."""
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        """The tensor or variable of the global step, or None."""
        return self._global_step

    @property
    def saver(self) -> Any:
        """The `Saver`, or None."""
        return self._ops.saver

    @property
    def save_model_secs(self) -> float | None:
        """Seconds between checkpoints; None on a non-chief."""
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        """The path of the checkpoints without their step; None without a `logdir`."""
        return self._save_path

    @property
    def services_started(self) -> bool:
        """True while the standard services of a session run."""
        return self._services.started

    @property
    def global_step_advances(self) -> bool:
        """True when a run of this graph can advance the global step."""
        return self._step_ops.counts_global_step and bool(self._step_ops)

    @property
    def in_training_step(self) -> bool:
        """True on a thread that is in a training step, from before its run until its hooks have been told."""
        return self._gate.held

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

    def _subscribe(self, hook: Hook) -> None:
        if self._is_chief and isinstance(hook, CheckpointHook):
            if self._ops.saver is None or self._logdir is None:
                raise ValueError(
                    f"{hook.name} needs a `saver` and a `logdir`, and the Supervisor has not both"
                )
            make_logdir(self._logdir)
        self._check_fetches(hook.name, hook._own_fetches)
        super()._subscribe(hook)

    def _check_fetches(self, name: str, fetches: Any) -> None:
        for fetch in leaves_of(fetches):
            try:
                self._graph.as_graph_element(fetch)
            except (KeyError, TypeError, ValueError) as error:
                message = f"{name} cannot fetch {fetch!r}: {error}"
                raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error

    def read_global_step(self, sess: Any) -> int | None:
        """Read the global step, in a run that no hook sees.

        Args:
          sess: A `Session`.

        Returns:
          The step; None without a global step.
        """
        return self.run_with_global_step(sess, ())[1]

    def run_with_global_step(self, sess: Any, fetches: Any) -> tuple[Any, int | None]:
        """Run `fetches` and read the global step, in one run that no hook sees.

        Args:
          sess: A `Session`.
          fetches: Anything that `Session.run` takes.

        Returns:
          The values of `fetches`, and the step; None without a global step.
        """
        step_fetches = [] if self._global_step is None else [self._global_step]
        values, steps = self.run_without_hooks(sess, (fetches, step_fetches))
        return values, as_int(steps[0]) if steps else None

    def run_without_hooks(
        self, sess: Any, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Run `fetches` as `tf.compat.v1.Session.run` does: no training step, and no hook sees it.

        Args:
          sess: A `Session`.
          fetches, feed_dict, options, run_metadata: As for `Session.run`.

        Returns:
          What `Session.run` returns.
        """
        run = sess.run_without_hooks if isinstance(sess, ManagedSession) else sess.run
        return run(fetches, feed_dict, options, run_metadata)

    def between_steps(self, timeout_secs: float | None = None) -> AbstractContextManager[bool]:
        """Return a context manager in whose block no training step runs, and no run that writes variables but
        local ones.

        What is read of the model inside the block belongs to one step. Runs that go straight to TensorFlow
        (`run_without_hooks`, `make_callable`, queue runners) and other processes are not held up. Any
        thread may call this, also one that is told of a step.

        Args:
          timeout_secs: Seconds to wait for steps that are running; None for as long as they take.

        Returns:
          A context manager; it yields False when the wait ended before the steps did.
        """
        return self._gate.alone(timeout_secs)

    def step_suspended(self) -> AbstractContextManager[bool]:
        """Return a context manager in whose block the calling thread's training step holds up no save.

        For a hook that waits, when told of a step, for another thread that may be in `between_steps`. Outside
        of a training step it does nothing. At the end of the block it waits until nobody is between steps.

        Returns:
          A context manager; its value is False where the thread is in `between_steps` itself, which stays so:
          wait with a bound then.
        """
        return self._gate.suspended()

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric that was reported."""
        return dict(self._metrics)

    def report_metrics(self, metrics: Mapping[str, float]) -> None:
        """Make the values of metrics known to all hooks, and have them remembered beside each checkpoint.

        Args:
          metrics: Numbers by name.

        Raises:
          TypeError: If a value is no number.
        """
        for name, value in metrics.items():
            try:
                self._metrics[name] = float(value)
            except (TypeError, ValueError) as error:
                raise TypeError(f"metric {name!r} must be a number, not {value!r}") from error

    def hook_state(self) -> HookState:
        """What is to be remembered beside a checkpoint: metrics, and the state of hooks and triggers."""
        return hook_state.collect(self.hooks, self._metrics)

    @contextlib.contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
        *,
        max_wait_secs: float = _MAX_WAIT_SECS,
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
        if max_wait_secs != _MAX_WAIT_SECS:  # which the method of a subclass may not know
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

    def _fail_block(self, block: Block, error: Exception) -> None:
        """Stop the training because of an error in a block, or while its session was made."""
        first = self._coord.error
        both_lost = isinstance(first, SessionLostError) and isinstance(error, SessionLostError)
        self.request_stop(error)
        if block.session is None:
            self._coord.fail(error)  # an `OutOfRangeError` was no end of input
            return
        if isinstance(first, Exception) and first is not error and not both_lost:
            _logger.error("After the training had failed, so did its loop", exc_info=error)
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
            _close(block.session, (), 0.0)  # where an overriding `stop` has not

    def train(
        self,
        step_fn: Callable[[Any], object],
        *,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = _MAX_WAIT_SECS,
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
        check_secs(max_wait_secs=max_wait_secs, recovery_period_secs=recovery_period_secs)
        if not isinstance(max_recoveries, numbers.Integral) or max_recoveries < 0:
            raise ValueError(f"max_recoveries must be a number, 0 or more, not {max_recoveries!r}")
        recoveries = Recoveries(int(max_recoveries), recovery_period_secs)
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
                        step_fn(sess)
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
                self._metrics = dict(self._first_state.metrics)
            step, lost = self.read_global_step(sess), None
            if step is not None:  # by now, other workers may have trained
                if how == "restored" and checkpoint is not None:
                    back_at = step_of(checkpoint, self._global_step)
                else:
                    back_at = sess.last_step
                lost = max(0, last_step - back_at)
            _logger.warning("The session is back at step %s, its model %s; steps lost: %s", step, how, lost)
            self.send(signals.session_recovered, events.SessionRecovered(sess, step, how, lost))

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = _MAX_WAIT_SECS,
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
          tf.errors.DeadlineExceededError: If there is no session in time; it says what is missing.
          tf.errors.CancelledError: If a stop is requested while the session is waited for.
          Exception: What a hook raised in `on_session_created`; the session is closed then. An error of
            another thread that stops the training while the session is waited for.
        """
        self._end_session_before()
        if not self._recovering:  # else a stop that was requested meanwhile is kept
            self._coord.clear_stop()
        self._warn_of_added_ops()
        if self._summary_writer is not None:
            writers.file_writer(self._summary_writer).reopen()
            self._writer_open = True
        checkpoint: str | None = None
        maker = SessionMaker(
            self, master, config, float(max_wait_secs), self._recovery_wait_secs, self._making
        )
        self._maker = maker
        with self._graph.as_default():
            if self._is_chief:
                save_path = self._save_path if self.saver is not None else None
                if save_path is not None:
                    undo_interrupted_save(save_path)
                    checkpoint = restore.newest_intact(save_path)
                if save_path is not None and wait_for_checkpoint and checkpoint is None:
                    maker.wait_for_checkpoint(os.path.dirname(save_path))
                    checkpoint = restore.newest_intact(save_path)
                    wait_for_checkpoint = checkpoint is not None
                run_id = self._known_run_id if self._adopt_live_model else None
                made = maker.prepare(
                    checkpoint, run_id, wait_for_checkpoint, self._init_feed_dict, self._init_fn
                )
                self._write_graph()
            else:
                made = maker.wait()
            sess = made.session
            self._begin(sess, start_standard_services, made)
            if self._coord.error is not None:
                self._end(None, self._owns_summary_writer, False, to_close=self._session)
            if start_standard_services:
                try:
                    self._start_as_asked(sess)
                except Exception as error:
                    self._coord.fail(error)
                    self._end(None, self._owns_summary_writer, False, to_close=self._session)
        return sess

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

    def after_services(self, start: Callable[[], object]) -> None:
        """Have `start` called once the standard services of the session that is being made are started.

        For a hook that is told of `session_created` where `start_standard_services` is set.
        """
        self._services.to_start_last.append(start)

    def _known_run_id(self) -> str:
        if self._run_id is None:
            self._run_id = run_id_of(self._logdir)
        return self._run_id

    def _end_session_before(self) -> None:
        """End the session that was not stopped, if there is one; its errors are not those of the next one."""
        if self._session is None or self._session.is_inherited:
            return
        _logger.warning("A new session begins, and the one before was not stopped: its services end now")
        reason = RuntimeError("a new session began before stop() was called")
        try:
            self._end(None, False, True, interrupt=reason)
        except Exception as error:
            _logger.error("The session before ended with an error", exc_info=error)
        self._coord.clear_stop()

    def _warn_of_added_ops(self) -> None:
        added = [op.name for op in self._graph.get_operations()[self._finalized_size :]]
        if added:
            _logger.warning("Ops were added to the graph after it was finalized: %s", ", ".join(added))

    def _write_graph(self) -> None:
        if self._logdir is not None:
            graph_def = self._graph.as_graph_def(add_shapes=True)
            tf.io.write_graph(graph_def, self._logdir, "graph.pbtxt")
        if self._summary_writer is not None and not self._graph_written:
            writer = writers.file_writer(self._summary_writer)
            writer.add_graph(self._graph)
            saver_def = getattr(self.saver, "saver_def", None)
            writer.add_meta_graph(
                tf.compat.v1.train.export_meta_graph(graph=self._graph, saver_def=saver_def)
            )
            self._graph_written = True

    def _begin(self, sess: Any, start_standard_services: bool, made: Made | None) -> None:
        """Make `sess` the session of the training, and tell the hooks."""
        steps = self._make_training_steps(sess)
        is_first = self._made is None
        self._made = made
        self._session = manage(sess, steps, self._closed_by_program)
        self._services = Services(
            self,
            [
                Schedule(
                    signals.summary_due,
                    events.SummaryDue(sess),
                    self._save_summaries_secs,
                    self._save_summaries_steps,
                ),
                Schedule(
                    signals.checkpoint_due,
                    events.CheckpointDue(sess),
                    self._save_model_secs,
                    self._save_model_steps,
                ),
            ],
        )
        try:
            step = self.read_global_step(sess)
        except tf.errors.FailedPreconditionError:  # with ready_op=None the model may be uninitialized
            step = None
        steps.start(step or 0)
        self._session_start = time.monotonic()
        for subscription in tuple(self._subscriptions):
            subscription.start(step or 0)
        adopted = made is not None and made.how == "adopted"
        restored_from = None if made is None or adopted else made.checkpoint
        self._log_subscriptions(step, restored_from)
        if is_first and self._step_ops.is_forgotten:
            _logger.warning(
                "Nothing advances the global step %r: no run is a training step, and hooks hear of none. "
                "Was global_step= left out of minimize() or apply_gradients()?",
                self._global_step.name,
            )
        created = events.SessionCreated(sess, step, start_standard_services, restored_from, adopted)
        self.send(signals.session_created, created)
        if self._keeps_first_state and self._first_state is None:
            self._first_state = self.hook_state()
        if made is not None and made.checkpoint is not None and (is_first or not adopted):
            self._load_hook_state(made.checkpoint)  # with an adopted model, hooks that ran know more than it

    def _make_training_steps(self, sess: Any) -> TrainingSteps:
        in_process = not getattr(sess, "sess_str", "")
        inline_steps = self._inline_steps if in_process else False
        return TrainingSteps(self, self._step_ops, self._gate, self._run_hooks, inline_steps)

    def _load_hook_state(self, checkpoint: str) -> None:
        """An error is as that of a hook: raised when the session is made."""
        try:
            state = hook_state.read(checkpoint + hook_state.SUFFIX)
        except Exception as error:
            _logger.exception("The state of the hooks could not be restored from %s", checkpoint)
            self._coord.fail(error)
            return
        self._metrics = dict(state.metrics)
        try:
            hook_state.load(self.hooks, state)
        except Exception as error:  # logged under the name of its hook
            self._coord.fail(error)

    def _log_subscriptions(self, step: int | None, restored_from: str | None) -> None:
        """Say once per session who hears of what, in which order."""
        by_signal: dict[str, list[str]] = {}
        for subscription in sorted(self._subscriptions, key=lambda subscription: subscription.priority):
            if subscription.signal.name in self._not_sent:
                continue
            by_signal.setdefault(subscription.signal.name, []).append(subscription.name)
        order = "; ".join(f"{signal}: {', '.join(names)}" for signal, names in sorted(by_signal.items()))
        restored = "" if restored_from is None else f", restored from {restored_from}"
        _logger.info("Session ready at step %s%s. Called in this order: %s", step, restored, order)

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
            self._begin(sess, start_standard_services=False, made=None)
        if self._summary_writer is not None:  # TensorBoard drops what an earlier run wrote after this step
            log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            for _ in range(self._starts):
                writers.file_writer(self._summary_writer).add_session_log(log, self.read_global_step(sess))
            self._starts = 1 if self._starts else 2
        if not self._services.started:
            for subscription in self._services.step_subscriptions():
                self._connect(subscription, owner=self._session)
        return self._services.start()

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
        """
        if not callable(target):
            raise ValueError(f"target must be callable, not {target!r}")
        if timer_interval_secs is not None:
            check_secs(timer_interval_secs=timer_interval_secs)
        call = functools.partial(target, *(args or ()), **(kwargs or {}))
        name = f"hookrun-loop-{signals.receiver_name(target)}"
        thread = TimerThread(name, self._coord, timer_interval_secs, call, self._graph)
        thread.start()
        return thread

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
        self._end(
            threads,
            close_summary_writer,
            ignore_live_threads,
            to_close=None if block is None else block.session,
            interrupt=None if block is None else block.interrupt,
        )

    @property
    def _grace_secs(self) -> float:
        if isinstance(self._coord.error, SessionLostError):
            return min(self._stop_grace_secs, _LOST_GRACE_SECS)
        return self._stop_grace_secs

    def _end(
        self,
        threads: Iterable[threading.Thread] | None,
        close_summary_writer: bool,
        ignore_live_threads: bool,
        *,
        to_close: ManagedSession | None = None,
        interrupt: BaseException | None = None,
    ) -> None:
        """End the session: each step of it, even when the one before failed; then raise the first error.

        Queue runners are not waited for long where closing the session ends them: one that is `to_close`, or
        that they alone keep from ending.
        """
        session, self._session = self._session, None
        deadline = time.monotonic() + self._grace_secs
        joined = (self._coord.threads | frozenset(threads or ())) - {threading.current_thread()}
        may_close = to_close is None and not ignore_live_threads and self._waits_for_gradients(session)
        self._coord.end()
        with contextlib.ExitStack() as ending:  # its callbacks run from the last to the first
            stragglers: list[str] = []
            ending.callback(lambda: self._raise_first_error(stragglers, ignore_live_threads, interrupt))
            ending.callback(lambda: _close(to_close, joined, deadline))
            ending.callback(self._finish_summary_writer, close_summary_writer)
            if session is not None:
                ending.callback(self._send_stop, session, interrupt, deadline)
            wait = join_before_closing if to_close is not None or may_close else join
            wait(joined, deadline)
            left = {thread for thread in joined if thread.is_alive()}
            runners = set(filter(is_queue_runner, left))
            if may_close and runners and left == runners:
                _logger.info("Queue runners alone are left: the session is closed, which ends them")
                to_close = session
            stragglers += [thread.name for thread in (left if to_close is None else left - runners)]

    def _waits_for_gradients(self, session: ManagedSession | None) -> bool:
        """True for a remote session with a queue runner that nothing ends but closing it."""
        if session is None or self._made is None or not session.sess_str:
            return False
        return any(op.type.endswith("AccumulatorTakeGradient") for op in self._graph.get_operations())

    def _closed_by_program(self, session: ManagedSession, error: BaseException | None) -> None:
        """The program closes the session itself, before `stop` or instead of it: it ends here, still open.

        Its own threads, the writer and the first error are left to `stop`. Called with the error that the
        program closes it for.
        """
        if session is not self._session:
            return
        self._session = None
        deadline = time.monotonic() + self._grace_secs
        self._coord.end()
        interrupt = None if isinstance(error, tf.errors.OutOfRangeError) else error
        with contextlib.ExitStack() as ending:
            ending.callback(self._finish_summary_writer, False)
            ending.callback(self._send_stop, session, interrupt, deadline)
            runners = filter(is_queue_runner, self._coord.threads)
            join_before_closing(self._services.timers | set(runners), deadline)

    def _send_stop(self, session: ManagedSession, interrupt: BaseException | None, deadline: float) -> None:
        watched: AbstractContextManager[None] = contextlib.nullcontext()
        if self._maker is not None and session.sess_str:
            watched = session.runs_watched(self._maker.silent, deadline)
        try:
            with self._graph.as_default(), watched:
                if isinstance(self._coord.error, SessionLostError):
                    self.send(signals.session_lost, events.SessionLost(self._coord.error))
                self.send(signals.stop, events.Stop(session, self._coord.error or interrupt))
        finally:
            self._services = Services(self, ())
            for subscription in self._owned_by(session):
                self._disconnect(subscription)
            self._report_hook_times(time.monotonic() - self._session_start)

    def _finish_summary_writer(self, close: bool) -> None:
        """Have all that was added on disk, and close the writer where asked."""
        if self._summary_writer is None or not self._writer_open:
            return
        writer = writers.file_writer(self._summary_writer)
        if not close:
            writers.flush_tick(writer, wait=True)
            return
        self._writer_open = self._graph_written = False
        try:
            # Without a step: the session may be gone.
            writer.add_session_log(tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.STOP))
            writer.close()
        except Exception as error:
            _logger.exception("The summary writer failed to close")
            self._coord.fail(error)

    def _raise_first_error(
        self, stragglers: list[str], ignore_live_threads: bool, interrupt: BaseException | None
    ) -> None:
        try:
            self._coord.join(stop_grace_period_secs=0.0, ignore_live_threads=True)
        except events.INTERRUPTS:
            if interrupt is None:
                raise
            return  # the block raises its own, with the exit status that it chose
        if stragglers:
            message = f"Coordinator stopped with threads still running: {' '.join(stragglers)}"
            if not ignore_live_threads:
                raise RuntimeError(message)
            _logger.info(message)

    def request_stop(self, ex: BaseException | tuple[Any, Any, Any] | None = None) -> None:
        """Request that the training stop.

        Args:
          ex: Optional exception, raised or not, or `exc_info` tuple. The first one is raised by `stop`.

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
          sess: A `Session`.
          summary: A `Summary` proto, or `bytes` that hold a serialized one.
          global_step: The step it belongs to; if None, the current one is read.

        Raises:
          TypeError: If `summary` is neither.
          google.protobuf.message.DecodeError: If it is bytes of something else: in the event file they
            would keep what follows from being read.
          RuntimeError: If there is no summary writer.
        """
        if self._summary_writer is None:
            raise RuntimeError("Writing a summary requires a summary writer.")
        check_summary(summary)
        if global_step is None:
            global_step = self.read_global_step(sess)
        writers.file_writer(self._summary_writer).add_summary(summary, global_step)

    Loop = loop
    PrepareSession = prepare_or_wait_for_session
    RequestStop = request_stop
    ShouldStop = should_stop
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    StopOnException = stop_on_exception
    SummaryComputed = summary_computed
    WaitForStop = wait_for_stop


def _step_keeper() -> Subscription:
    return Subscription(signals.step, lambda supervisor, event: None, name="the last step")


def _close(session: Any, threads: Iterable[threading.Thread], deadline: float) -> None:
    """Close the session, if there is one, and wait for the threads that this ends."""
    if session is None:
        return
    try:
        session.close()
    except Exception:  # as in TensorFlow: the session is gone either way
        _logger.debug("Closing the session failed", exc_info=True)
    join(threads, max(deadline, time.monotonic() + _CLOSED_SECS))
