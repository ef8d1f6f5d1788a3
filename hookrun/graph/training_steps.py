"""The training steps of a session: which of its runs they are, their numbers, and who hears of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hookrun import events, signals
from hookrun.graph.plan_cache import PlanCache
from hookrun.graph.plans import Listeners, NotCacheable, Plan, Variant, is_quick, key_of
from hookrun.graph.prepared import InlineChoice, InlineSteps

if TYPE_CHECKING:
    from hookrun.graph.run_hooks import RunHooks
    from hookrun.graph.session import ManagedSession
    from hookrun.graph.steps import StepOps
    from hookrun.graph.supervisor import Supervisor
    from hookrun.runtime.gate import StepGate

__all__ = ["TrainingSteps", "as_int"]

_SETTLED_EVERY = 1000
"""The number of steps after which the time of hooks is added up."""


class TrainingSteps:
    """The training steps of one session: which runs they are, their number, and who hears of them.

    Used by every thread that runs the session.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        step_ops: StepOps,
        gate: StepGate,
        run_hooks: RunHooks,
        inline_steps: InlineSteps,
    ) -> None:
        self.gate = gate
        self.run_hooks = run_hooks
        self._supervisor = supervisor
        self._inline_steps: InlineSteps = inline_steps
        self.coord = supervisor.coord
        self.can_prepare = True
        """False for a session with a `run` of its own, which every run passes through."""
        self._step_ops = step_ops
        self._lock = threading.Lock()
        self._plans = PlanCache()
        self._quick_plans = self._plans.quick
        self.listening: tuple[object, Listeners | None] = (None, None)
        """Those who heard of training steps, and the `state` that `signals.step` had when they did."""
        self._step = 0
        self._is_behind = False
        self._increment: int | None = None
        self._call_each = signals.step.call_each

    def start(self, step: int) -> None:
        """Training goes on after `step` steps."""
        self._step = step

    def forget(self) -> None:
        """Let go of the prepared runs, which hold the session, and prepare no more: it is closed."""
        self.can_prepare = False
        self._plans.clear()

    @property
    def last_step(self) -> int:
        """The step after the last training step that was counted or told to hooks."""
        return self._step

    def expected_step(self) -> int:
        """The number that the next training step will most likely have."""
        return self._step + (self._increment or 1)

    def listeners(self) -> Listeners | None:
        """Those who hear of training steps; None when nobody does."""
        state, listeners = self.listening
        if state is not signals.step.state:
            state = signals.step.state  # before they are resolved, lest a change meanwhile go unnoticed
            references = signals.step.resolved_for(self._supervisor)
            if listeners is not None:
                listeners.settle_times()
            listeners = Listeners(references, state) if references else None
            self.listening = (state, listeners)
        return listeners

    def plan(self, fetches: Any, feed_dict: Any) -> Plan | None:
        """What is known of this run, from the first time it was made; None if it cannot be known."""
        if feed_dict and not isinstance(feed_dict, Mapping):
            return None
        quick_key: Any = tuple(map(id, fetches)) if type(fetches) is list else id(fetches)
        if feed_dict:
            quick_key = (quick_key, None, *map(id, feed_dict))
        plan = self._quick_plans.get(quick_key)
        if plan is not None:
            return plan
        try:
            key = (key_of(fetches), tuple(map(key_of, feed_dict)) if feed_dict else None)
        except NotCacheable:
            return self._make_plan(fetches, feed_dict, can_prepare=False)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(fetches, feed_dict, self.can_prepare, not self._plans.returns(key))
            if plan is not None:
                self._plans.add(key, quick_key if is_quick(fetches, feed_dict) else None, plan)
        return plan

    def _make_plan(
        self, fetches: Any, feed_dict: Any, can_prepare: bool, owns_executor: bool = False
    ) -> Plan | None:
        graph, feeds, inline = self._supervisor.graph, list(feed_dict or ()), InlineChoice(self._inline_steps)
        try:
            return Plan(graph, self._step_ops, fetches, feeds, can_prepare, owns_executor, inline)
        except (KeyError, TypeError, ValueError):  # Session.run says what is wrong
            return None

    def raise_pending_error(self) -> None:
        """Raise the error that stopped the training, if one did."""
        if self.coord.should_stop() and self.coord.error is not None:
            raise self.coord.error

    def count(self) -> None:
        """A training step was run of which nobody hears."""
        if self._step_ops.counts_global_step:
            self._is_behind = True
            return
        with self._lock:
            self._step += 1

    def catch_up(self, session: ManagedSession) -> None:
        """Read the global step, if training steps were run of which nobody heard."""
        if self._is_behind:
            self._is_behind = False
            step = self._supervisor.read_global_step(session) or 0
            with self._lock:
                self._step = max(self._step, step)

    def done(
        self,
        session: ManagedSession,
        listeners: Listeners,
        variant: Variant,
        results: Any,
        reads: Any,
        values: list[Any],
    ) -> None:
        """A training step was run, and gave this for the parts of `variant`: tell those who listen."""
        if type(reads) is np.int64:
            step = int(reads)
            if step > self._step:
                self._advance(step)
        else:
            step = self._number(session, variant, reads)
        known, calls, without_values = variant.calls
        if known is not listeners:
            _, calls, without_values = variant.resolve_calls(listeners)
        told = []
        for of_rider in values:
            told.append(events.Step(step, session, results, of_rider))
        if without_values:
            told.append(events.Step(step, session, results))
        if self.run_hooks.present:
            failures = self.run_hooks.apart(
                self._call_each, self._supervisor, calls, listeners.state, told, self.coord.fail
            )
        else:
            failures = self._call_each(self._supervisor, calls, listeners.state, told, self.coord.fail)
        if failures is not signals.NO_FAILURES:
            _, interrupt = failures  # an error is raised by the next step
            if interrupt is not None:
                raise interrupt
        listeners.steps += 1
        if listeners.steps >= _SETTLED_EVERY:
            listeners.settle_times()

    def _number(self, session: ManagedSession, variant: Variant, reads: Any) -> int:
        if not self._step_ops.counts_global_step:
            with self._lock:
                self._step += 1
                return self._step
        if variant.has_reads:
            step = max(map(as_int, reads)) if type(reads) is list else as_int(reads)
        else:
            step = self._supervisor.read_global_step(session) or 0
        self._advance(step)
        return step

    def _advance(self, step: int) -> None:
        with self._lock:
            increment = step - self._step
            if increment > 0:
                self._step = step
                if increment != self._increment:
                    self._increment = min(self._increment or increment, increment)


def as_int(value: Any) -> int:
    """The integer in a number, or in an array of size 1 of whatever shape."""
    return int(value) if type(value) is np.int64 else int(np.asarray(value).item())
