"""The training steps of a session: which of its runs they are, their numbers, and who receives them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from hookrun import signals
from hookrun.graph.plan_cache import PlanCache
from hookrun.graph.plans import Listeners, NotCacheable, Plan, Variant, is_quick, key_of
from hookrun.graph.prepared import InlineChoice, InlineSteps
from hookrun.graph.run_hooks import RunHooks
from hookrun.graph.steps import StepOps
from hookrun.runtime.gate import StepGate
from hookrun.runtime.runtime import Runtime
from hookrun.runtime.told import IMMUTABLE, ToldStep, read_only

__all__ = ["TrainingSteps", "as_int"]

_SETTLED_EVERY = 1000
"""The number of steps after which the time of hooks is added up."""


class TrainingSteps:
    """The training steps of one session: which runs they are, their number, and who receives them.

    Used by every thread that runs the session.
    """

    def __init__(
        self,
        runtime: Runtime,
        graph: tf.Graph,
        step_ops: StepOps,
        gate: StepGate,
        run_hooks: RunHooks,
        inline_steps: InlineSteps,
    ) -> None:
        self.gate = gate
        self.run_hooks = run_hooks
        self._runtime = runtime
        self._graph = graph
        self._inline_steps: InlineSteps = inline_steps
        self.coord = runtime.coord
        self.can_prepare = True
        """False for a session with a `run` of its own, which every run passes through."""
        self._step_ops = step_ops
        self._lock = threading.Lock()
        self._plans = PlanCache()
        self._quick_plans = self._plans.quick
        self.listening: tuple[object, Listeners | None] = (None, None)
        """The receivers of training steps, and the `state` that `signals.step` had when they were found."""
        self.last_step = 0
        """The step after the last training step that was counted or told to hooks."""
        self.step_was_set = False
        """True after a run that may have set the global step, until a training step comes."""
        self.has_written = False
        """True after a run that may have written the model, until `model_version` is asked."""
        self._model_version = 0
        self._is_behind = False
        self._increment: int | None = None
        self._call_each = signals.step.call_each

    def start(self, step: int) -> None:
        """Training goes on after `step` steps."""
        self.last_step = step

    def forget(self) -> None:
        """Let go of the prepared runs, which hold the session, and prepare no more: it is closed."""
        self.can_prepare = False
        self._plans.clear()

    def expected_step(self) -> int:
        """The number that the next training step will most likely have."""
        return self.last_step + (self._increment or 1)

    @property
    def model_version(self) -> int:
        """Another number whenever runs of the session may have written the model; 0 at its beginning."""
        with self._lock:
            if self.has_written:
                self.has_written = False
                self._model_version += 1
            return self._model_version

    def writing(self, session: Any, plan: Plan | None) -> AbstractContextManager[None]:
        """Around a run that is told to nobody and may write the model; `plan` is what is known of it."""
        return self._writing(session, plan is None or plan.sets_step)

    @contextlib.contextmanager
    def _writing(self, session: Any, sets_step: bool) -> Iterator[None]:
        if sets_step:
            self.catch_up(session)
        try:
            yield
        finally:
            self.has_written = True
            if sets_step:
                self.step_was_set = True

    def look(self, session: Any, plan: Plan | None) -> None:
        """Called before a run where `step_was_set`: see at which step it begins, if it is a training step."""
        if plan is None or not plan.step_ops:
            return
        with self.gate:
            self.step_was_set = False
            before = self.last_step
            step = self._runtime.read_global_step(session)
            if step is not None and step < before:
                self._go_back(session, step, before)

    def go_on_from(self, step: int) -> None:
        """The training goes on from `step`, which may be an earlier one."""
        with self._lock:
            self.last_step = step

    def _go_back(self, session: Any, begin: int, before: int) -> None:
        """The training goes on from the step `begin`: seen by one who saw the step `before` earlier."""
        with self._lock:
            last_step = self.last_step
            is_told = last_step < before
            if not is_told:
                self.last_step = begin
        if is_told:  # what rides in the step that saw it was chosen before that
            self._runtime._restart_schedules(session)
        else:
            self._runtime._go_on_from(begin, last_step)

    def listeners(self) -> Listeners | None:
        """The receivers of training steps; None when there are none."""
        state, listeners = self.listening
        if state is not signals.step.state:
            state = signals.step.state  # before they are resolved, so that a change meanwhile is noticed
            references = signals.step.resolved_for(self._runtime)
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
        graph, feeds, inline = self._graph, list(feed_dict or ()), InlineChoice(self._inline_steps)
        try:
            return Plan(graph, self._step_ops, fetches, feeds, can_prepare, owns_executor, inline)
        except (KeyError, TypeError, ValueError):  # Session.run says what is wrong
            return None

    def raise_pending_error(self) -> None:
        """Raise the error that stopped the training, if one did."""
        if self.coord.should_stop() and self.coord.error is not None:
            raise self.coord.error

    def count(self) -> None:
        """A training step was run that has no receivers."""
        if self._step_ops.counts_global_step:
            self._is_behind = True
            return
        with self._lock:
            self.last_step += 1

    def catch_up(self, session: Any) -> None:
        """Read the global step, if training steps were run of which nobody heard."""
        if self._is_behind:
            self._is_behind = False
            step = self._runtime.read_global_step(session) or 0
            with self._lock:
                self.last_step = max(self.last_step, step)

    def done(
        self,
        session: Any,
        listeners: Listeners,
        variant: Variant,
        results: Any,
        reads: Any,
        values: list[Any],
        before: int,
    ) -> None:
        """A training step was run, and gave this for the parts of `variant`: tell those who listen.

        `before` is the `last_step` when it began.
        """
        step = int(reads) if type(reads) is np.int64 else self._number(session, variant, reads)
        if step > self.last_step:
            self._advance(step)
        elif step < before:
            self._go_back(session, max(0, step - (self._increment or 1)), before)
            self._advance(step)
        known, calls, without_values = variant.calls
        if known is not listeners:
            _, calls, without_values = variant.resolve_calls(listeners)
        told = []
        for of_rider in values:
            if type(of_rider) not in IMMUTABLE:
                of_rider = read_only(of_rider, results)
            told.append(ToldStep(step, session, results, of_rider))
        if without_values:
            told.append(ToldStep(step, session, results))
        if self.run_hooks.present:
            failures = self.run_hooks.apart(
                self._call_each, self._runtime, calls, listeners.state, told, self.coord.fail
            )
        else:
            failures = self._call_each(self._runtime, calls, listeners.state, told, self.coord.fail)
        if self.last_step < step:  # one that was told, or another thread, went back
            self._runtime._restart_schedules(session)
        if failures is not signals.NO_FAILURES:
            _, interrupt = failures  # an error is raised by the next step
            if interrupt is not None:
                raise interrupt
        listeners.steps += 1
        if listeners.steps >= _SETTLED_EVERY:
            listeners.settle_times()

    def _number(self, session: Any, variant: Variant, reads: Any) -> int:
        if not self._step_ops.counts_global_step:
            with self._lock:
                self.last_step += 1
                return self.last_step
        if variant.has_reads:
            return max(map(as_int, reads)) if type(reads) is list else as_int(reads)
        return self._runtime.read_global_step(session) or 0

    def _advance(self, step: int) -> None:
        with self._lock:
            increment = step - self.last_step
            if increment > 0:
                self.last_step = step
                if increment != self._increment:
                    self._increment = min(self._increment or increment, increment)


def as_int(value: Any) -> int:
    """The integer in a number, or in an array of size 1 of whatever shape."""
    return int(value) if type(value) is np.int64 else int(np.asarray(value).item())
