"""SessionMaker: a session whose model is ready: adopted, restored, initialized or waited for."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, NoReturn

import tensorflow as tf

from hookrun.checkpoints import aliases, restore
from hookrun.graph import tf_internals
from hookrun.graph.graph_ops import GraphOps
from hookrun.graph.graph_runtime import GraphRuntime
from hookrun.graph.recovery import (
    LOST,
    CallersThread,
    SessionLostError,
    StoppedWaitingError,
    call_within,
    close_within,
    growing_waits,
    is_lost,
)
from hookrun.graph.restored_shapes import check_shapes
from hookrun.graph.restoring import restore_newest
from hookrun.graph.run_identity import CLOSE_SECS, RunMark, short_session
from hookrun.graph.tasks import answering, target_of
from hookrun.graph.training_steps import as_int

__all__ = ["How", "Made", "SessionMaker", "step_of"]

_logger = logging.getLogger(__name__)

How = Literal["adopted", "restored", "initialized"]

_NAMES_TOLD = 10
_NOTHING_SILENT = "every known task answers"


class Made(NamedTuple):
    """A session, and where its model comes from."""

    session: Any
    how: How
    checkpoint: str | None
    """The checkpoint that was restored, or is the newest one of an adopted model; None without."""


class SessionMaker:
    """Makes the sessions of a Supervisor on one master, each within a bound.

    On a remote master, what may block in TensorFlow's C++ is done on the thread ``hookrun-session-maker``;
    the program's own `init_fn` is called on the caller's. A stop that is requested ends any wait. A thread
    that is not waited for any more touches the model only to end what it has begun; the one after it waits
    for that.

    A session manager that is no plain `tf.compat.v1.train.SessionManager` is asked on the caller's thread,
    and nothing else is done with the master, which it alone may understand: it waits as it likes, and no live
    model is looked for.

    Args:
      runtime: The training.
      ops: The ops of its graph.
      session_manager: The `tf.compat.v1.train.SessionManager` that makes them.
      master: The TensorFlow master, as for `Supervisor.managed_session`.
      config: Optional `tf.compat.v1.ConfigProto`.
      max_wait_secs: The bound, in seconds from now.
      recovery_wait_secs: The longest time between two checks whether the model is ready.
      making: Held by a thread that touches the model; the same for all sessions of the Supervisor.
    """

    def __init__(
        self,
        runtime: GraphRuntime,
        ops: GraphOps,
        session_manager: Any,
        master: str,
        config: Any,
        max_wait_secs: float,
        recovery_wait_secs: float,
        making: threading.Lock,
    ) -> None:
        self._runtime = runtime
        self._ops = ops
        self._making = making
        self._manager = session_manager
        self._config = config
        self._is_custom = type(self._manager) is not tf.compat.v1.train.SessionManager
        self._master = master if self._is_custom else target_of(master)
        self._remote = bool(master) and not self._is_custom
        self._max_wait_secs = max_wait_secs
        self._deadline = time.monotonic() + max_wait_secs
        self._longest_wait_secs = recovery_wait_secs or 1.0
        self._missing = ""

    def wait(self) -> Made:
        """Wait until the chief has made the model ready.

        Raises:
          tf.errors.DeadlineExceededError: If it is not in time; it says what is missing.
          Exception: The error that stopped the training meanwhile.
          StoppedWaitingError: If it was stopped without one.
        """
        if self._is_custom:  # which may wait in a way of its own
            return Made(self._call(self._wait_as_asked), "adopted", None)
        for secs in growing_waits(self._longest_wait_secs):
            session, self._missing = self._call(self._check)
            if session is not None:
                return Made(session, "adopted", None)
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise self._too_late(self._missing)
            _logger.info("Waiting for the model: %s", self._missing)
            self._pause(min(secs, left))
        raise AssertionError("unreachable")

    def wait_for_checkpoint(self, logdir: str) -> None:
        """Wait until a checkpoint is named in `logdir`; at most as long as then for the session.

        Raises:
          Exception, StoppedWaitingError: As `wait`.
        """
        self._missing = f"there is no checkpoint in {logdir}"
        for secs in growing_waits(self._longest_wait_secs):
            left = self._deadline - time.monotonic()
            if left <= 0 or restore.named_in(logdir):
                break
            _logger.info("Waiting for a checkpoint: %s", self._missing)
            self._pause(min(secs, left))
        self._deadline = time.monotonic() + self._max_wait_secs

    def _pause(self, secs: float) -> None:
        if self._runtime.coord.wait_for_stop(secs):
            self._raise_stopped()

    def _raise_stopped(self) -> NoReturn:
        raise self._runtime.coord.error or StoppedWaitingError(self._missing)

    def prepare(
        self,
        run_id: Callable[[], str] | None,
        wait_for_checkpoint: bool,
        init_feed_dict: Any,
        init_fn: Callable[[Any], Any] | None,
    ) -> Made:
        """Adopt the live model, restore the newest intact checkpoint, or initialize it, as the chief does.

        Args:
          run_id: Returns the identity of the run, by which its live model is known; None to adopt none.
          wait_for_checkpoint: Whether the session manager is to wait for a checkpoint.
          init_feed_dict, init_fn: As for the Supervisor.

        Raises:
          tf.errors.DataLossError: If there are checkpoints and none is intact.
          tf.errors.InvalidArgumentError: If the checkpoint does not fit the graph.
          tf.errors.DeadlineExceededError: If a task does not answer in time; it says which.
          SessionLostError: If a task went away meanwhile.
          ValueError: If the other tasks could not read a checkpoint of that path.
          Exception, StoppedWaitingError: As `wait`.
        """
        runtime = self._runtime
        callers_thread = CallersThread()
        errors_of_init_fn: list[Exception] = []

        def call_init_fn(session: Any) -> None:
            assert init_fn is not None
            try:
                callers_thread.call(functools.partial(init_fn, session))
            except Exception as error:
                if not _is_of_tensorflow(error):
                    errors_of_init_fn.append(error)
                raise

        def prepare(checkpoint: str | None) -> Made:
            return self._prepare(
                checkpoint,
                run_id,
                wait_for_checkpoint=wait_for_checkpoint and (checkpoint is not None or save_path is None),
                init_feed_dict=init_feed_dict,
                init_fn=call_init_fn if self._remote and init_fn is not None else init_fn,
            )

        def make(checkpoint: str | None) -> Made:
            try:
                made: Made = self._call(functools.partial(prepare, checkpoint), callers_thread)
                return made
            except LOST as error:
                ours = isinstance(error, SessionLostError) or error in errors_of_init_fn
                if ours or not self._is_lost(error):
                    raise
                raise SessionLostError(error) from error

        save_path = runtime.save_path if self._ops.saver is not None else None
        if save_path is None:
            return make(None)
        aliases.check_readable(save_path, remote=self._remote)
        tells_damage = not self._remote and not self._is_custom
        return restore_newest(runtime.graph, self._ops.saver, save_path, tells_damage, make)

    def _prepare(
        self,
        checkpoint: str | None,
        run_id: Callable[[], str] | None,
        wait_for_checkpoint: bool,
        init_feed_dict: Any,
        init_fn: Callable[[Any], Any] | None,
    ) -> Made:
        runtime = self._runtime
        if checkpoint is not None and not self._is_custom:
            check_shapes(runtime.graph, self._ops.saver, checkpoint)
        mark: RunMark | None = None
        if self._remote and run_id is not None and runtime.global_step is not None:
            mark = RunMark(self._master, self._config, runtime.global_step)
            if mark.read() == run_id():
                adopted = self._adopt(checkpoint)
                if adopted is not None:
                    return Made(adopted, "adopted", checkpoint)
            mark.write("")  # what is half restored is nobody's
        with contextlib.ExitStack() as reading:
            source = checkpoint and reading.enter_context(aliases.readable(checkpoint))
            session = self._manager.prepare_session(
                self._master,
                init_op=self._ops.init_op,
                saver=self._ops.saver,
                **restore.session_source(runtime.logdir, source),
                wait_for_checkpoint=wait_for_checkpoint,
                max_wait_secs=self._max_wait_secs,
                config=self._config,
                init_feed_dict=init_feed_dict,
                init_fn=init_fn,
            )
        if mark is not None and run_id is not None:
            mark.write(run_id())
        return Made(session, "initialized" if checkpoint is None else "restored", checkpoint)

    def _adopt(self, checkpoint: str | None) -> Any:
        """A session of the live model; None where it is not ready, or older than `checkpoint`."""
        try:
            session = self._manager.wait_for_session(self._master, config=self._config, max_wait_secs=0)
        except tf.errors.DeadlineExceededError:
            return None
        step = as_int(session.run(self._runtime.global_step))
        if checkpoint is not None and step < step_of(checkpoint, self._runtime.global_step):
            session.close()
            return None
        _logger.info("The live model is adopted at step %d", step)
        return session

    def _wait_as_asked(self) -> Any:
        return self._manager.wait_for_session(
            self._master, config=self._config, max_wait_secs=self._max_wait_secs
        )

    def _check(self) -> tuple[Any, str]:
        """A session if the model is ready, else None; and what is missing."""
        try:
            session = self._manager.wait_for_session(self._master, config=self._config, max_wait_secs=0)
            return session, ""
        except tf.errors.DeadlineExceededError:
            return None, self._uninitialized()
        except LOST as error:
            if not self._is_lost(error):
                raise
            self._close_sessions_of(error)
            return None, f"a task went away: {error.message}"

    def _uninitialized(self) -> str:
        names: list[str] = []
        with short_session(self._master, self._runtime.graph, self._config) as session:
            for ready_op in (self._ops.ready_for_local_init_op, self._ops.ready_op):
                if ready_op is not None and not names:
                    names = [name.decode() for name in session.run(ready_op)]
        more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
        return (
            f"variables not initialized: {', '.join(names[:_NAMES_TOLD])}{more}"
            if names
            else "it is not ready"
        )

    def _call(self, call: Callable[[], Any], callers_thread: CallersThread | None = None) -> Any:
        if not self._remote:
            return call()
        waits = growing_waits(self._longest_wait_secs)
        next_line = time.monotonic() + next(waits)
        waiter = callers_thread or CallersThread()

        def call_in_graph() -> Any:
            with self._runtime.graph.as_default():
                self._connect()
                with self._making:
                    waiter.call(lambda: None)  # raises if nobody waits any more
                    try:
                        return call()
                    except LOST as error:
                        self._close_sessions_of(error)
                        raise

        def say_what_is_missing() -> None:
            nonlocal next_line
            if self._runtime.coord.should_stop():
                self._raise_stopped()
            if time.monotonic() >= next_line:
                self._missing = self.silent() or _NOTHING_SILENT
                _logger.info("Waiting for a session of %s: %s", self._master, self._missing)
                next_line = time.monotonic() + next(waits)

        try:
            return call_within(
                "hookrun-session-maker",
                call_in_graph,
                self._deadline,
                waiting=say_what_is_missing,
                callers_thread=waiter,
                too_late=_close_session_of,
            )
        except TimeoutError:
            known = filter(None, (self._missing, self.silent() or _NOTHING_SILENT))
            raise self._too_late(", ".join(dict.fromkeys(known))) from None

    def _connect(self) -> None:
        """Wait until every task answers."""
        with tf.Graph().as_default() as graph:
            nothing = tf.no_op()
        with short_session(self._master, graph, self._config) as session:
            session.run(nothing)

    def _is_lost(self, error: tf.errors.OpError) -> bool:
        return self._remote and is_lost(error, self._runtime.graph)

    def _close_sessions_of(self, error: tf.errors.OpError) -> None:
        """Close the sessions that `error` was raised in: whoever let go of the last one would block."""
        sessions = {
            id(value): value
            for frame, _ in traceback.walk_tb(error.__traceback__)
            for value in frame.f_locals.values()
            if isinstance(value, tf.compat.v1.Session)
        }
        for session in sessions.values():
            if self._remote and session.graph is self._runtime.graph:
                close_within(CLOSE_SECS, session.close)

    def _too_late(self, missing: str) -> tf.errors.DeadlineExceededError:
        message = f"Session was not ready after waiting {self._max_wait_secs:g} secs: {missing}"
        return tf.errors.DeadlineExceededError(None, None, message)

    def silent(self) -> str:
        """Which tasks do not answer; empty where all that are known do."""
        if not self._remote:
            return ""
        tasks = dict(self._tasks())
        answer = answering(tasks.values())
        silent = [f"{name} ({address})" for name, address in tasks.items() if address not in answer]
        return f"no answer from {', '.join(silent)}" if silent else ""

    def _tasks(self) -> Iterator[tuple[str, str]]:
        """The master, and the other tasks of its cluster where it is a server in this process."""
        yield "the master", self._master.removeprefix("grpc://")
        server = tf_internals.server_of(self._master)
        if server is None:
            return
        filters = list(self._config.device_filters) if self._config is not None else []
        for job in server.server_def.cluster.job:
            for index, address in sorted(job.tasks.items()):
                if (job.name, index) == (server.server_def.job_name, server.server_def.task_index):
                    continue  # the master; of a local server, its port is not known here
                name = f"/job:{job.name}/task:{index}"
                if not filters or any(each in (f"/job:{job.name}", name) for each in filters):
                    yield name, address


def step_of(checkpoint: str, global_step: Any) -> int:
    """The global step that a checkpoint holds."""
    suffix = checkpoint.rpartition("-")[2]
    if suffix.isdecimal():
        return int(suffix)
    return as_int(tf.train.load_variable(checkpoint, global_step.op.name))


def _is_of_tensorflow(error: Exception) -> bool:
    """True for what TensorFlow raised, as a run does; False for what the program did."""
    module = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == "tensorflow"


def _close_session_of(made: Any) -> None:
    """Close what was made too late; on the thread that made it."""
    session = made[0] if isinstance(made, tuple) else made
    if session is not None:
        session.close()
