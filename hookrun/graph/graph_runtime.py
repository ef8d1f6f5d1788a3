"""GraphRuntime: what every training in a v1 graph has, whoever makes its sessions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from hookrun import events, signals
from hookrun.graph import tf_internals
from hookrun.graph.hook_graphs import HookGraphs
from hookrun.graph.plans import leaves_of
from hookrun.graph.recovery import SessionLostError
from hookrun.graph.run_hooks import RunHooks, run_subscriptions_of
from hookrun.graph.session import ManagedSession, manage
from hookrun.graph.steps import StepOps
from hookrun.graph.summaries import GraphSummaries
from hookrun.graph.training_steps import TrainingSteps, as_int
from hookrun.runtime.hook import Hook
from hookrun.runtime.hook_state import HookState
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.services import is_queue_runner, join, join_before_closing
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriber import Subscriber, overrides
from hookrun.runtime.subscriptions import Subscription

__all__ = ["GraphRuntime", "close_session"]

_logger = logging.getLogger(__name__)

_LOST_GRACE_SECS = 4.0
"""How long threads are given to stop when their session is lost."""

_CLOSED_SECS = 1.0
"""How long threads are waited for, at least, that a closed session ends."""


class GraphRuntime(Runtime):
    """A training in a v1 graph: its runs, and the hooks that see each of them.

    Args:
      graph: The `tf.Graph` of the model.
      **arguments: As for `Runtime`.
    """

    def __init__(self, graph: tf.Graph, **arguments: Any) -> None:
        self._graph = graph
        super().__init__(**arguments)
        self._global_step: Any = None
        self._run_hooks = RunHooks(self, self._coord)
        self._hook_graphs = HookGraphs()
        self._step_ops: StepOps
        self._has_begun = False

    @property
    def graph(self) -> tf.Graph:
        """The `tf.Graph` of the model."""
        return self._graph

    @property
    def global_step(self) -> Any:
        """The tensor or variable of the global step, or None."""
        return self._global_step

    @property
    def global_step_advances(self) -> bool:
        """True when a run of this graph can advance the global step."""
        return self._step_ops.counts_global_step and bool(self._step_ops)

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

    @property
    def step_name(self) -> str | None:
        """The name of the op of the global step; None without one."""
        return None if self._global_step is None else self._global_step.op.name

    def summaries(self, summary_op: Any) -> GraphSummaries | None:
        """The summaries that `summary_op` returns; None where there are none."""
        return None if summary_op is None else GraphSummaries(self, summary_op)

    def chrome_timeline(self, step_stats: Any) -> str | None:
        """The ops of a run in Chrome's trace format, as JSON; None where TensorFlow cannot make it."""
        return tf_internals.chrome_timeline(step_stats)

    def values_of(self, sess: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """`run_without_hooks`, for hooks of any kind of training."""
        return self.run_without_hooks(sess, fetches, feed_dict)

    def start_queue_runners(
        self, sess: Any, queue_runners: Sequence[Any] | None = None
    ) -> list[threading.Thread]:
        raise NotImplementedError

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

    def context(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self._graph.as_default()
        return context

    def _check_fetches(self, name: str, fetches: Any) -> None:
        for fetch in leaves_of(fetches):
            try:
                self._graph.as_graph_element(fetch)
            except (KeyError, TypeError, ValueError) as error:
                message = f"{name} cannot fetch {fetch!r}: {error}"
                raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error

    def _check_late_hook(self, hook: Subscriber) -> None:
        if overrides(hook, "setup_graph"):
            raise RuntimeError(
                f"hook {hook.name} adds ops to the graph, which is finalized: pass it in hooks="
            )

    def _subscribe(self, hook: Subscriber) -> None:
        self._check_fetches(hook.name, hook._own_fetches)
        super()._subscribe(hook)

    def _subscriptions_of(self, hook: Subscriber) -> Iterable[Subscription]:
        return [*super()._subscriptions_of(hook), *run_subscriptions_of(hook)]

    def _hooks_changed(self) -> None:
        self._run_hooks.update(self._subscriptions)

    def _call_apart(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._run_hooks.apart(function, *args)

    # A session begins.

    def _set_up_hooks(self, hooks: Iterable[Hook]) -> None:
        """Have the hooks add their ops to the graph, which is the default one."""
        for hook in hooks:
            self._hook_graphs.set_up(hook, self)

    def _begin_in_graph(
        self,
        sess: Any,
        steps: TrainingSteps,
        state: HookState | None = None,
        when_told: Callable[[], object] = lambda: None,
        *,
        start_standard_services: bool = False,
        restored_from: str | None = None,
        adopted: bool = False,
    ) -> None:
        """Make `sess`, as a session manager made it, the session of the training."""
        session = manage(sess, steps, self._closed_by_program)
        self._hook_graphs.begin(session, self._own_hooks)
        try:
            step = self.read_global_step(session)
        except tf.errors.FailedPreconditionError:  # with ready_op=None the model may be uninitialized
            step = None
        steps.start(step or 0)
        if not self._has_begun and self._step_ops.is_forgotten:
            _logger.warning(
                "Nothing advances the global step %r: no run is a training step, and `step` is never sent. "
                "Was global_step= left out of minimize() or apply_gradients()?",
                self._global_step.name,
            )
        self._has_begun = True
        created = events.SessionCreated(session, step, start_standard_services, restored_from, adopted)
        self._begin(created, state, when_told)

    # A session ends.

    @property
    def _grace_secs(self) -> float:
        if isinstance(self._coord.error, SessionLostError):
            return min(self._stop_grace_secs, _LOST_GRACE_SECS)
        return self._stop_grace_secs

    def _end_session_before(self) -> None:
        if self._session is not None and not self._session.is_inherited:
            super()._end_session_before()

    def _end(self, ending: Ending) -> None:
        self._hook_graphs.end()
        super()._end(ending)

    def _join_threads(self, ending: Ending) -> None:
        """Queue runners are not waited for long where closing the session ends them: a session that is to be
        closed, or that they alone keep from ending."""
        may_close = ending.to_close is None and not ending.ignore_live_threads and ending.raises
        may_close = may_close and self._waits_for_gradients(ending.session)
        if not ending.raises:  # the program's own are left to `stop`
            ending.threads = self._services.timers | frozenset(filter(is_queue_runner, ending.threads))
        closes = ending.to_close is not None or may_close or not ending.raises
        wait = join_before_closing if closes else join
        wait(ending.threads, ending.deadline)
        left = {thread for thread in ending.threads if thread.is_alive()}
        runners = set(filter(is_queue_runner, left))
        if may_close and runners and left == runners:
            _logger.info("Queue runners alone are left: the session is closed, which ends them")
            ending.to_close = ending.session
        if ending.to_close is not None:
            left -= runners
        ending.stragglers += [thread.name for thread in left]

    def _waits_for_gradients(self, session: ManagedSession | None) -> bool:
        """True for a remote session with a queue runner that nothing ends but closing it."""
        if session is None or not session.sess_str:
            return False
        return any(op.type.endswith("AccumulatorTakeGradient") for op in self._graph.get_operations())

    def _closed_by_program(self, session: ManagedSession, error: BaseException | None) -> None:
        """The program closes the session itself, before `stop` or instead of it: it ends here, still open.

        Its own threads, the writer and the first error are left to `stop`. Called with the error that the
        program closes it for.
        """
        if session is not self._session:
            return
        interrupt = None if isinstance(error, tf.errors.OutOfRangeError) else error
        ending = Ending(self._grace_secs, close_summary_writer=False, interrupt=interrupt, raises=False)
        self._end(ending)

    def _tell_of_stop(self, ending: Ending) -> None:
        if isinstance(self._coord.error, SessionLostError):
            self.send(signals.session_lost, events.SessionLost(self._coord.error))
        super()._tell_of_stop(ending)

    def _close_session(self, ending: Ending) -> None:
        close_session(ending.to_close, ending.threads, ending.deadline)


def close_session(session: Any, threads: Iterable[threading.Thread] = (), deadline: float = 0.0) -> None:
    """Close the session, if there is one, and wait for the threads that this ends."""
    if session is None:
        return
    try:
        session.close()
    except Exception:  # as in TensorFlow: the session is gone either way
        _logger.debug("Closing the session failed", exc_info=True)
    join(threads, max(deadline, time.monotonic() + _CLOSED_SECS))
