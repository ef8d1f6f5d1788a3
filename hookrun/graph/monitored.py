"""`as_session_run_hook`: hooks of hookrun in a `tf.compat.v1.train.MonitoredTrainingSession`."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from hookrun import events, signals
from hookrun.graph.graph_ops import USE_DEFAULT, find_global_step
from hookrun.graph.graph_runtime import GraphRuntime
from hookrun.graph.plans import Listeners, Variant
from hookrun.graph.run_hooks import Run, RunHooks
from hookrun.graph.steps import StepOps
from hookrun.graph.training_steps import TrainingSteps
from hookrun.runtime.arguments import absolute_logdir
from hookrun.runtime.hook import Hook
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriber import checked_hooks

__all__ = ["as_session_run_hook"]


def as_session_run_hook(*hooks: Hook, logdir: str | os.PathLike[str] | None = None) -> Any:
    """Return a `tf.compat.v1.train.SessionRunHook` that runs `hooks` in a `MonitoredTrainingSession`.

    ```python
    evaluation = hookrun.hooks.EvaluationHook({"loss": loss}, every_steps=50)
    hook = hookrun.as_session_run_hook(evaluation, logdir="runs/mine")
    last = tf.compat.v1.train.StopAtStepHook(last_step=200)
    with tf.compat.v1.train.MonitoredTrainingSession(hooks=[hook, last]) as sess:
        while not sess.should_stop():
            sess.run(train_op)
    ```

    The hooks are given a Supervisor of their own, which is the same for all of them: they see each other's
    metrics, and are called by priority. Of its signals, these are sent there: `session_created`, also for
    a session that was recovered; `step`, with triggers and fetches; `session_restored`, at the next step;
    `stop`, also after an error, and for a session that was lost. `summary_due`, `checkpoint_due`,
    `checkpoint_saving` and `checkpoint_saved` are not, and the state of hooks is not saved: summaries and
    checkpoints are the `MonitoredTrainingSession`'s.

    An error in a hook is raised from the run. A stop that is asked for ends the training after the run.

    Args:
      *hooks: Instances of `hookrun.hooks.Hook`, at least one. `setup_graph` is called from `begin`, once for
        a graph.
      logdir: Where the hooks write: their Supervisor's `logdir`, in which its `summary_writer` is; None for
        neither.

    Returns:
      One for the `hooks=` or `chief_only_hooks=` of a `MonitoredTrainingSession`.

    Raises:
      TypeError, ValueError: If there are no hooks, one twice, or one is no `hookrun.hooks.Hook`.
    """
    if not hooks:
        raise ValueError("hooks must be at least one hookrun.hooks.Hook; none is given")
    return _MonitoredHooks(checked_hooks(hooks), None if logdir is None else absolute_logdir(logdir))


class _MonitoredHooks(tf.compat.v1.train.SessionRunHook):
    def __init__(self, hooks: list[Hook], logdir: str | None) -> None:
        self._hooks = hooks
        self._logdir = logdir
        self._supervisor: _MonitoredRuntime | None = None

    def begin(self) -> None:
        graph = tf.compat.v1.get_default_graph()
        if self._supervisor is None or self._supervisor.graph is not graph:
            self._supervisor = _MonitoredRuntime(self._hooks, self._logdir)

    def after_create_session(self, session: Any, coord: Any) -> None:
        assert self._supervisor is not None
        self._supervisor.begin(session)

    def before_run(self, run_context: Any) -> Any:
        assert self._supervisor is not None
        return self._supervisor.before_run(run_context)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        assert self._supervisor is not None
        self._supervisor.after_run(run_context, run_values)

    def end(self, session: Any) -> None:
        assert self._supervisor is not None
        self._supervisor.stop()


class _MonitoredRuntime(GraphRuntime):
    """The training of hooks in a session that a `MonitoredSession` makes, runs and closes."""

    _training_steps: _MonitoredSteps
    _sent = frozenset({signals.session_created, signals.step, signals.stop})

    def __init__(self, hooks: list[Hook], logdir: str | None) -> None:
        super().__init__(
            tf.compat.v1.get_default_graph(),
            is_chief=True,
            logdir=logdir,
            checkpoint_basename="model.ckpt",
            save_summaries_secs=0,
            save_summaries_steps=None,
            save_model_secs=0,
            save_model_steps=None,
            stop_grace_secs=120,
        )
        self._global_step = find_global_step(USE_DEFAULT)
        self._set_up_hooks(hooks)
        self._step_ops = StepOps(self._graph, self._global_step)
        self._open_event_log(None, is_default=True)
        for hook in hooks:
            self._subscribe(hook)

    def begin(self, session: Any) -> None:
        self._end_session_before()  # another hook failed when it was told of that
        self._hook_graphs.check_free(self._own_hooks)
        self._coord.clear_stop()
        self._event_log.reopen()
        self._training_steps = _MonitoredSteps(
            self, self._graph, self._step_ops, self._gate, RunHooks(self, self._coord), False
        )
        with self.context():
            self._begin_in_graph(session, self._training_steps)
        session.close = functools.partial(self._close, session.close)  # after an error there is no `end`
        if isinstance(self._coord.error, Exception):
            self.stop()  # and no `close` either: it raises the error

    def stop(self) -> None:
        """End the session; raise its first error."""
        self._end(Ending(self._grace_secs))

    def _close(self, close: Callable[[], None]) -> None:
        error = sys.exc_info()[1]
        try:
            if error is not None and self._session is not None:
                self._coord.fail(error)
                self.stop()
        finally:
            close()

    def before_run(self, context: Any) -> Any:
        """What the hooks that are told of this run want in it."""
        steps = self._training_steps
        fetches, feed_dict, _ = context.original_args
        steps.raise_pending_error()
        self._told: tuple[Listeners, Variant, int] | None = None
        self._seen: Run | None = None
        wanted = fetches
        plan = TrainingSteps.plan(steps, fetches, feed_dict)
        if steps.step_was_set:
            steps.look(context.session, plan)
        self._sets_step = plan is None or plan.sets_step
        listeners = steps.listeners() if plan is not None and plan.step_ops else None
        if plan is not None and listeners is not None:
            before = steps.last_step
            variant = plan.variant(listeners.riders(steps.expected_step()))
            self._told = listeners, variant, before
            wanted = variant.parts
        if self._run_hooks.present:
            with self._run_hooks.unseen():
                run = Run(context.session, fetches, feed_dict, None, None)
                self._seen = self._run_hooks.ask(run)
            added = self._seen.added()
            return added._replace(fetches=[wanted, *added.fetches[1:]])
        return None if self._told is None else tf.compat.v1.train.SessionRunArgs([wanted])

    def after_run(self, context: Any, values: Any) -> None:
        """Tell the hooks."""
        if self._seen is not None:
            self._seen.made_with(values.options, values.run_metadata)
            self._run_hooks.tell(self._seen, values.results)
        if self._told is not None:
            listeners, variant, before = self._told
            results, reads, of_riders = values.results[0]
            with self._gate:
                self._training_steps.done(
                    context.session, listeners, variant, results, reads, of_riders, before
                )
        if self._sets_step:
            self._training_steps.step_was_set = True
        if self._coord.should_stop():
            context.request_stop()
        self._raise_error()

    def _raise_error(self) -> None:
        """Raise the first error. An interrupt ends the training as intended: `end` raises it."""
        error = self._coord.error
        if error is not None and not isinstance(error, events.INTERRUPTS):
            raise error


class _MonitoredSteps(TrainingSteps):
    """What the session runs itself is what hooks run: the program's own runs are told by the hook."""

    def plan(self, fetches: Any, feed_dict: Any) -> None:
        return None

    def writing(self, session: Any, plan: Any) -> AbstractContextManager[None]:
        return nullcontext()
