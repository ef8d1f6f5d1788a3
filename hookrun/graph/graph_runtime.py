"""GraphRuntime: what every training in a v1 graph has, whoever makes its sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from hookrun import events
from hookrun.graph.plans import leaves_of
from hookrun.graph.prepared import InlineSteps
from hookrun.graph.run_hooks import RunHooks, run_subscriptions_of
from hookrun.graph.session import ManagedSession
from hookrun.graph.steps import StepOps
from hookrun.graph.training_steps import TrainingSteps, as_int
from hookrun.runtime.hook import Hook
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.subscriptions import Subscription

__all__ = ["GraphRuntime"]


class GraphRuntime(Runtime):
    """A training in a v1 graph: its runs, and the hooks that see each of them.

    Args:
      graph: The `tf.Graph` of the model.
      **arguments: As for `Runtime`.
    """

    def __init__(self, graph: tf.Graph, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._graph = graph
        self._global_step: Any = None
        self._run_hooks = RunHooks(self, self._coord)
        self._step_ops: StepOps

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

    def _make_training_steps(self, inline_steps: InlineSteps) -> TrainingSteps:
        return TrainingSteps(self, self._step_ops, self._gate, self._run_hooks, inline_steps)

    def _context(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self._graph.as_default()
        return context

    def _check_fetches(self, name: str, fetches: Any) -> None:
        for fetch in leaves_of(fetches):
            try:
                self._graph.as_graph_element(fetch)
            except (KeyError, TypeError, ValueError) as error:
                message = f"{name} cannot fetch {fetch!r}: {error}"
                raise (TypeError if isinstance(error, TypeError) else ValueError)(message) from error

    def _check_late_hook(self, hook: Hook) -> None:
        if type(hook).setup_graph is not Hook.setup_graph:
            raise RuntimeError(
                f"hook {hook.name} adds ops to the graph, which is finalized: pass it in hooks="
            )

    def _subscribe(self, hook: Hook) -> None:
        self._check_fetches(hook.name, hook._own_fetches)
        super()._subscribe(hook)

    def _subscriptions_of(self, hook: Hook) -> Iterable[Subscription]:
        return [*super()._subscriptions_of(hook), *run_subscriptions_of(hook)]

    def _hooks_changed(self) -> None:
        self._run_hooks.update(self._subscriptions)

    def _call_apart(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._run_hooks.apart(function, *args)

    def _step_at_begin(self, sess: Any) -> int | None:
        """The step that a session begins at; None where the model may be uninitialized, with `ready_op=None`."""
        try:
            return self.read_global_step(sess)
        except tf.errors.FailedPreconditionError:
            return None
