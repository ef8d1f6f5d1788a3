"""The managed session: a `tf.compat.v1.Session` whose training steps send `signals.step`."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hookrun import events, signals, tf_internals
from hookrun.prepared import InlineChoice, InlineSteps, NotPreparable, PreparedRun
from hookrun.subscriptions import Subscription

if TYPE_CHECKING:
    from hookrun.gate import StepGate
    from hookrun.run_hooks import RunHooks
    from hookrun.steps import StepOps
    from hookrun.supervisor import Supervisor

__all__ = ["ManagedSession", "TrainingSteps", "as_int", "manage"]

_PLANS = 256
"""The number of distinct runs that are remembered."""

_VARIANTS = 64
"""The number of combinations of hooks that are remembered for each of them."""

_NOT_INLINE = InlineChoice(False)


def _unchanged(results: Any) -> Any:
    return results


class ManagedSession(tf.compat.v1.Session):
    """What `Supervisor.managed_session` yields: a session that knows which of its runs train.

    A `run()` that is a training step (see `hookrun.steps`) carries the fetches of the hooks that are due,
    and sends `signals.step` after it. Every other run is TensorFlow's own, but for the hooks that see or
    change every run (see `Hook.before_run`). `make_callable` and `partial_run` go straight to TensorFlow:
    what they run is no training step, and no hook sees it.
    """

    _training_steps: TrainingSteps
    _was_closed = False

    @property
    def last_step(self) -> int:
        """The step after the last training step that was counted or told to hooks."""
        return self._training_steps.last_step

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._was_closed

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Run operations and evaluate tensors, as `tf.compat.v1.Session.run` does.

        Raises:
          Exception: For a training step, the error that stopped the training before it; for any run,
            what a hook raised in `before_run`. It is not run then.
        """
        run_hooks = self._training_steps.run_hooks
        if run_hooks.present:
            return run_hooks.run(self, self._run_and_tell, fetches, feed_dict, options, run_metadata)
        return self._run_and_tell(fetches, feed_dict, options, run_metadata)

    def _run_and_tell(
        self,
        fetches: Any,
        feed_dict: Any,
        options: Any,
        run_metadata: Any,
        after: Callable[[Any], Any] = _unchanged,
    ) -> Any:
        """Run; `after` is called with the results, before `step` is sent, and returns the program's own."""
        steps = self._training_steps
        plan = steps.plan(fetches, feed_dict)
        if plan is None:
            return after(super().run(fetches, feed_dict, options, run_metadata))
        if not plan.writes:
            return after(self._run_variant(plan.plain, _NOT_INLINE, feed_dict, options, run_metadata)[0])
        if not plan.step_ops:
            with steps.gate:
                return after(self._run_variant(plan.plain, _NOT_INLINE, feed_dict, options, run_metadata)[0])
        steps.raise_pending_error()
        with steps.gate:
            listeners = steps.listeners()
            if listeners is None:
                results = self._run_variant(plan.plain, plan.inline, feed_dict, options, run_metadata)[0]
                results = after(results)
                steps.count()
                return results
            variant = plan.variant(listeners.riders(steps.expected_step()))
            results, reads, *values = self._run_variant(
                variant, plan.inline, feed_dict, options, run_metadata
            )
            results = after(results)
            steps.done(self, listeners, variant, results, reads, values)
            return results

    def _run_variant(
        self, variant: _Variant, inline: InlineChoice, feed_dict: Any, options: Any, run_metadata: Any
    ) -> Any:
        """The results of each part of `variant`, from a prepared run where there can be one."""
        if options is None and run_metadata is None and not self._was_closed:
            prepared = variant.prepared(self, feed_dict)
            if prepared is not None:
                try:
                    return inline.run(prepared, feed_dict)
                except NotPreparable:  # because of a value that is fed
                    pass
        parts = variant.parts
        if len(parts) == 1:
            return [super().run(parts[0], feed_dict, options, run_metadata)]
        return super().run(parts, feed_dict, options, run_metadata)

    def run_without_hooks(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Run as `tf.compat.v1.Session.run` does: no training step, and no hook sees it."""
        return super().run(fetches, feed_dict, options, run_metadata)

    def make_callable(self, fetches: Any, feed_list: Any = None, accept_options: bool = False) -> Any:
        """Return a callable, as `tf.compat.v1.Session.make_callable` does. No hook sees its runs."""
        run = super().make_callable(fetches, feed_list, accept_options)
        if feed_list is None:
            return run

        def run_with_feeds(*values: Any, **options: Any) -> Any:
            feeds = dict(zip(feed_list, values, strict=False))
            return self.run_without_hooks(fetches, feeds, **options)

        return run_with_feeds

    def close(self) -> None:
        """Close the session, as `tf.compat.v1.Session.close` does."""
        if "_training_steps" in self.__dict__:
            self._training_steps.forget()
        self._was_closed = True
        super().close()


def manage(session: Any, steps: TrainingSteps) -> ManagedSession:
    """Make `session`, as a session manager made it, a `ManagedSession`.

    Raises:
      TypeError: If it is no `tf.compat.v1.Session`.
    """
    kind = type(session)
    if not isinstance(session, ManagedSession):
        if not isinstance(session, tf.compat.v1.Session):
            raise TypeError(f"session_manager must make a tf.compat.v1.Session, not {session!r}")
        managed: type = ManagedSession
        if kind is not tf.compat.v1.Session:
            managed = type(f"Managed{kind.__name__}", (ManagedSession, kind), {})
        session.__class__ = managed
    managed_session: ManagedSession = session
    managed_session._training_steps = steps
    return managed_session


class _Plan:
    """What is known of a distinct run. Keeps alive the objects that its key names."""

    def __init__(
        self,
        graph: tf.Graph,
        all_step_ops: StepOps,
        fetches: Any,
        feeds: list[Any],
        cacheable: bool,
        inline: InlineChoice,
    ) -> None:
        elements = [graph.as_graph_element(leaf) for leaf in leaves_of(fetches)]
        self._fed = {id(graph.as_graph_element(leaf)) for key in feeds for leaf in leaves_of(key)}
        self.step_ops = all_step_ops.reached_by(elements, self._fed)
        self.writes = bool(self.step_ops) or all_step_ops.writes_variables(elements, self._fed)
        self._reads = all_step_ops.reads_of(self.step_ops)
        self._fetches = _copied(fetches)
        self._feeds = feeds
        self._graph = graph
        self._all_step_ops = all_step_ops
        self._variants: dict[tuple[Subscription, ...], _Variant] = {}
        self._can_prepare = cacheable and tf_internals.can_prepare
        self.plain = _Variant([self._fetches], (), None, self._can_prepare)
        self.inline = inline
        self._latest: tuple[Any, _Variant] = (None, self.plain)

    def variant(self, riders: tuple[Subscription, ...]) -> _Variant:
        """This run with the fetches of `riders`, and the global step.

        Raises:
          ValueError: If one of them needs a placeholder that the run does not feed.
        """
        latest_riders, latest = self._latest
        if latest_riders is riders:
            return latest
        variant = self._variants.get(riders)
        if variant is None:
            fed = [rider for rider in riders if self._can_carry(rider)]
            if len(self._variants) >= _VARIANTS:
                self._variants.clear()
            parts = [self._fetches, self._reads or []]
            variant = self._variants[riders] = _Variant(parts, fed, self._reads, self._can_prepare)
        self._latest = (riders, variant)
        return variant

    def _can_carry(self, rider: Subscription) -> bool:
        elements = [self._graph.as_graph_element(leaf) for leaf in leaves_of(rider.fetches)]
        missing = self._all_step_ops.unfed_placeholders(elements, self._fed)
        if missing:
            rider.unfed(missing[0].name)
        return not missing


class _Variant:
    """A run together with what rides in it."""

    def __init__(
        self, parts: list[Any], riders: Sequence[Subscription], reads: list[Any] | None, can_prepare: bool
    ) -> None:
        groups: dict[int, list[Subscription]] = {}
        for rider in riders:  # those that fetch the same object share its value
            groups.setdefault(id(rider.fetches), []).append(rider)
        self.positions: dict[Any, int] = {
            rider: i for i, group in enumerate(groups.values()) for rider in group
        }
        self.parts = parts + [group[0].fetches for group in groups.values()]
        self.has_reads = reads is not None
        self._calls: tuple[_Listeners | None, list[tuple[Any, int]]] = (None, [])
        self._prepared: PreparedRun | None = None
        self._tried = not can_prepare

    def calls(self, listeners: _Listeners) -> list[tuple[Any, int]]:
        """Each receiver of this step, and the index of its values; -1 for one without fetches."""
        known, calls = self._calls
        if known is not listeners:
            calls = [
                (receiver, self.positions.get(receiver, -1))
                for receiver in listeners.receivers
                if receiver in self.positions or getattr(receiver, "fetches", None) is None
            ]
            self._calls = (listeners, calls)
        return calls

    def prepared(self, session: ManagedSession, feed_dict: Any) -> PreparedRun | None:
        """The prepared run; None where it is left to `Session.run`."""
        if not self._tried:
            try:
                self._prepared = PreparedRun(session, self.parts, feed_dict or ())
            except (NotPreparable, KeyError, TypeError, ValueError):  # Session.run says what is wrong
                self._prepared = None
            self._tried = True
        return self._prepared


class _Listeners:
    """Those who hear of training steps, in the order in which they are called."""

    def __init__(self, references: tuple[Any, ...]) -> None:
        self.references = references
        receivers = [(reference(), reference) for reference in references]
        # What was given to blinker's own `connect` may be held weakly, and is not held here.
        self.receivers = [r if isinstance(r, Subscription) else _Weak(ref) for r, ref in receivers]
        self._fetching = tuple(
            [r for r in self.receivers if isinstance(r, Subscription) and r.fetches is not None]
        )
        self._scheduled = any(subscription.trigger is not None for subscription in self._fetching)

    def riders(self, step: int) -> tuple[Subscription, ...]:
        """The subscriptions whose fetches ride in `step`."""
        if not self._scheduled:
            return self._fetching
        return tuple([subscription for subscription in self._fetching if subscription.due(step)])


class _Weak:
    """A receiver that may have died."""

    def __init__(self, reference: Callable[[], Any]) -> None:
        self._reference = reference

    def __call__(self, sender: Any, event: Any) -> None:
        receiver = self._reference()
        if receiver is not None:
            receiver(sender, event)

    @property
    def name(self) -> str:
        return signals.receiver_name(self._reference())

    @property
    def on_error(self) -> str:
        return getattr(self._reference(), "on_error", "stop")


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
        self._coord = supervisor.coord
        self._step_ops = step_ops
        self._lock = threading.Lock()
        self._plans: dict[Any, _Plan] = {}
        self._listeners: _Listeners | None = None
        self._step = 0
        self._increment: int | None = None

    def start(self, step: int) -> None:
        """Training goes on after `step` steps."""
        self._step = step

    def forget(self) -> None:
        """Let go of the prepared runs, which hold the session."""
        with self._lock:
            self._plans.clear()

    @property
    def last_step(self) -> int:
        """The step after the last training step that was counted or told to hooks."""
        return self._step

    def expected_step(self) -> int:
        """The number that the next training step will most likely have."""
        return self._step + (self._increment or 1)

    def listeners(self) -> _Listeners | None:
        """Those who hear of training steps; None when nobody does."""
        references = signals.step.resolved_for(self._supervisor)
        if not references:
            return None
        listeners = self._listeners
        if listeners is None or listeners.references is not references:
            listeners = self._listeners = _Listeners(references)
        return listeners

    def plan(self, fetches: Any, feed_dict: Any) -> _Plan | None:
        """What is known of this run, from the first time it was made; None if it cannot be known."""
        if feed_dict and not isinstance(feed_dict, Mapping):
            return None
        try:
            key = (_key(fetches), tuple(map(_key, feed_dict)) if feed_dict else None)
        except _NotCacheable:
            return self._make_plan(fetches, feed_dict, cacheable=False)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make_plan(fetches, feed_dict, cacheable=True)
            if plan is not None:
                with self._lock:
                    if len(self._plans) >= _PLANS:
                        del self._plans[next(iter(self._plans))]
                    self._plans[key] = plan
        return plan

    def _make_plan(self, fetches: Any, feed_dict: Any, cacheable: bool) -> _Plan | None:
        try:
            feeds, inline = list(feed_dict or ()), InlineChoice(self._inline_steps)
            return _Plan(self._supervisor.graph, self._step_ops, fetches, feeds, cacheable, inline)
        except (KeyError, TypeError, ValueError):  # Session.run says what is wrong
            return None

    def raise_pending_error(self) -> None:
        """Raise the error that stopped the training, if one did."""
        if self._coord.should_stop() and self._coord.error is not None:
            raise self._coord.error

    def count(self) -> None:
        """A training step was run of which nobody hears."""
        if not self._step_ops.counts_global_step:
            with self._lock:
                self._step += 1

    def done(
        self,
        session: ManagedSession,
        listeners: _Listeners,
        variant: _Variant,
        results: Any,
        reads: Any,
        values: list[Any],
    ) -> None:
        """A training step was run: tell those who listen."""
        step = self._number(session, variant, reads)
        told = [events.Step(step, session, results, value) for value in values]
        told.append(events.Step(step, session, results))  # the last: that of index -1
        calls = [(receiver, told[index]) for receiver, index in variant.calls(listeners)]
        self._supervisor.deliver(signals.step, calls)

    def _number(self, session: ManagedSession, variant: _Variant, reads: Any) -> int:
        if not self._step_ops.counts_global_step:
            with self._lock:
                self._step += 1
                return self._step
        if variant.has_reads:
            step = as_int(reads[0]) if len(reads) == 1 else max(map(as_int, reads))
        else:
            step = self._supervisor.read_global_step(session) or 0
        with self._lock:
            increment = step - self._step
            if increment > 0:
                self._step = step
                if increment != self._increment:
                    self._increment = min(self._increment or increment, increment)
        return step


def as_int(value: Any) -> int:
    """The integer in a number, or in an array of size 1 of whatever shape."""
    return int(value) if isinstance(value, np.integer) else int(np.asarray(value).item())


class _NotCacheable(Exception):
    """A fetch or feed that cannot be told from another one by its identity."""


_BY_IDENTITY = (tf.Tensor, tf.Operation, tf.Variable, tf.SparseTensor, tf.IndexedSlices, tf.RaggedTensor)
_known_by_identity: set[type] = set()


def _key(fetches: Any) -> Any:
    """A key that two structures of fetches share when they fetch the same things in the same form."""
    kind = type(fetches)
    if kind in _known_by_identity:
        return id(fetches)
    if kind is list or kind is tuple:
        return (kind, *[id(f) if type(f) in _known_by_identity else _key(f) for f in fetches])
    if kind is str:
        return fetches
    if isinstance(fetches, tuple):
        return (kind, *map(_key, fetches))
    if kind in (dict, collections.OrderedDict):
        return (kind, tuple(fetches), *map(_key, fetches.values()))
    if isinstance(fetches, _BY_IDENTITY):
        _known_by_identity.add(kind)
        return id(fetches)
    raise _NotCacheable


def _copied(fetches: Any) -> Any:
    """The same structure in containers of its own, which the program cannot change."""
    if type(fetches) is list:
        return [_copied(fetch) for fetch in fetches]
    if type(fetches) is tuple:
        return tuple([_copied(fetch) for fetch in fetches])
    if isinstance(fetches, tuple):  # a namedtuple
        return type(fetches)(*map(_copied, fetches))
    if type(fetches) in (dict, collections.OrderedDict):
        return type(fetches)((key, _copied(fetch)) for key, fetch in fetches.items())
    return fetches


def leaves_of(fetches: Any) -> Iterator[Any]:
    """The single fetches within a structure."""
    if isinstance(fetches, (list, tuple)):
        for fetch in fetches:
            yield from leaves_of(fetch)
    elif isinstance(fetches, Mapping):
        for fetch in fetches.values():
            yield from leaves_of(fetch)
    elif isinstance(fetches, (str, tf.Variable)):
        yield fetches
    else:
        yield from tf.nest.flatten(fetches, expand_composites=True)
