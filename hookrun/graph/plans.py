"""Plans: what is known of each distinct run of a session, and who rides in it."""

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from hookrun import signals
from hookrun.graph import tf_internals
from hookrun.graph.prepared import InlineChoice, NotPreparable, PreparedRun
from hookrun.graph.steps import StepOps
from hookrun.runtime.subscriptions import Subscription

__all__ = ["Listeners", "NotCacheable", "Plan", "Variant", "is_quick", "key_of", "leaves_of"]

_VARIANTS = 64
"""The number of combinations of hooks that are remembered for each of them."""


class Plan:
    """What is known of a distinct run. Keeps alive the objects that its key names."""

    def __init__(
        self,
        graph: tf.Graph,
        all_step_ops: StepOps,
        fetches: Any,
        feeds: list[Any],
        can_prepare: bool,
        owns_executor: bool,
        inline: InlineChoice,
    ) -> None:
        elements = [graph.as_graph_element(leaf) for leaf in leaves_of(fetches)]
        self._fed = {id(graph.as_graph_element(leaf)) for key in feeds for leaf in leaves_of(key)}
        self.step_ops = all_step_ops.reached_by(elements, self._fed)
        self.writes = bool(self.step_ops) or all_step_ops.writes_variables(elements, self._fed)
        self.sets_step = not self.step_ops and all_step_ops.sets_step(elements, self._fed)
        self._reads = all_step_ops.reads_of(self.step_ops)
        self._fetches = _copied(fetches)
        self._feeds = feeds
        self._graph = graph
        self._all_step_ops = all_step_ops
        self._variants: dict[tuple[Subscription, ...], Variant] = {}
        self._can_prepare = can_prepare and tf_internals.can_prepare
        self.owns_executor = owns_executor and self._can_prepare
        """True where its prepared runs are compiled for it, and freed with it."""
        self.size = 20 + len(elements) + len(self._fed)
        """What it takes of memory, in some unit."""
        self.plain = self._make_variant(None, ())
        self.inline = inline
        self.latest: tuple[Any, Variant] = (None, self.plain)
        """The riders and the variant of the run before."""

    def variant(self, riders: tuple[Subscription, ...]) -> Variant:
        """This run with the fetches of `riders`, and the global step.

        Raises:
          ValueError: If one of them needs a placeholder that the run does not feed.
        """
        variant = self._variants.get(riders)
        if variant is None:
            fed = [rider for rider in riders if self._can_carry(rider)]
            if len(self._variants) >= _VARIANTS:
                self._variants.clear()
            variant = self._variants[riders] = self._make_variant(self._reads, fed)
        self.latest = (riders, variant)
        return variant

    def _make_variant(self, reads: list[Any] | None, riders: Sequence[Subscription]) -> Variant:
        return Variant(self._fetches, reads, riders, self._can_prepare, self.owns_executor)

    def _can_carry(self, rider: Subscription) -> bool:
        elements = [self._graph.as_graph_element(leaf) for leaf in leaves_of(rider.fetches)]
        missing = self._all_step_ops.unfed_placeholders(elements, self._fed)
        if missing:
            rider.unfed(missing[0].name)
        return not missing


class Variant:
    """A run together with what rides in it."""

    def __init__(
        self,
        fetches: Any,
        reads: list[Any] | None,
        riders: Sequence[Subscription],
        can_prepare: bool,
        owns_executor: bool,
    ) -> None:
        groups: dict[int, list[Subscription]] = {}
        for rider in riders:  # those that fetch the same tensor share its value; containers can be changed
            shares = isinstance(rider.fetches, (*_BY_IDENTITY, str))
            groups.setdefault(id(rider.fetches if shares else rider), []).append(rider)
        self.positions: dict[Any, int] = {
            rider: i for i, group in enumerate(groups.values()) for rider in group
        }
        own_reads = reads[0] if reads is not None and len(reads) == 1 else reads or []
        self.parts = (fetches, own_reads, [group[0].fetches for group in groups.values()])
        """What the program fetches, what reads the global step, and what hooks fetch."""
        self.is_plain = not reads and not groups
        self.has_reads = reads is not None
        self.calls: tuple[Listeners | None, list[signals.Call], bool] = (None, [], False)
        """For these listeners, the calls after this run, and whether some get no values."""
        self.run: PreparedRun | None = None
        self._tried = not can_prepare
        self._owns_executor = owns_executor

    def resolve_calls(self, listeners: Listeners) -> tuple[Listeners, list[signals.Call], bool]:
        """The `calls` for its receivers from now on. The index of a call without values is -1."""
        calls = [
            _call(receiver, self.positions.get(receiver, -1))
            for receiver in listeners.receivers
            if receiver in self.positions or getattr(receiver, "fetches", None) is None
        ]
        self.calls = resolved = (listeners, calls, any(index < 0 for *_, index in calls))
        return resolved

    def prepared(self, session: Any, feed_dict: Any) -> PreparedRun | None:
        """The prepared run; None where it is left to `Session.run`."""
        if not self._tried:
            # Where it cannot be, Session.run says what is wrong.
            with contextlib.suppress(NotPreparable, KeyError, TypeError, ValueError):
                self.run = PreparedRun(session, *self.parts, feed_dict or (), self._owns_executor)
            self._tried = True
        return self.run


class Listeners:
    """The receivers of training steps, in the order in which they are called.

    Args:
      references: What `Signal.resolved_for` returns.
      state: The `state` of the signal before that.
    """

    def __init__(self, references: tuple[signals.Reference, ...], state: object) -> None:
        self.state = state
        receivers = [(reference(), reference) for reference in references]
        # What was given to blinker's own `connect` may be held weakly, and is not held here.
        self.receivers = [r if isinstance(r, Subscription) else _Weak(ref) for r, ref in receivers]
        self._subscriptions = [r for r in self.receivers if isinstance(r, Subscription)]
        self.fetching = tuple([s for s in self._subscriptions if s.fetches is not None])
        self.are_scheduled = any(subscription.trigger is not None for subscription in self.fetching)
        self.steps = 0
        """The number of steps since the times were added up."""

    def riders(self, step: int) -> tuple[Subscription, ...]:
        """The subscriptions whose fetches ride in `step`."""
        return tuple([subscription for subscription in self.fetching if subscription.due(step)])

    def settle_times(self) -> None:
        """Add up the time that each took."""
        self.steps = 0
        for subscription in self._subscriptions:
            subscription.settle_time()


def _call(receiver: Subscription | _Weak, index: int) -> signals.Call:
    if isinstance(receiver, _Weak):
        return receiver.reference, receiver, _forget, index
    if receiver.is_scheduled:  # then it is timed by itself
        return weakref.ref(receiver), receiver, _forget, index
    return weakref.ref(receiver), receiver.receiver, receiver.took, index


def _forget(secs: float) -> None:
    pass


class _Weak:
    """A receiver that may have died."""

    def __init__(self, reference: signals.Reference) -> None:
        self.reference = reference

    def __call__(self, sender: Any, event: Any) -> Any:
        receiver = self.reference()
        return None if receiver is None else receiver(sender, event)


class NotCacheable(Exception):
    """A fetch or feed that cannot be told from another one by its identity."""


_BY_IDENTITY = (tf.Tensor, tf.Operation, tf.Variable, tf.SparseTensor, tf.IndexedSlices, tf.RaggedTensor)
_known_by_identity: set[type] = set()


def is_quick(fetches: Any, feed_dict: Mapping[Any, Any] | None) -> bool:
    """True for a fetch, or a list of such, and feeds that are told from others by their identity."""
    leaves = [*(fetches if type(fetches) is list else [fetches]), *(feed_dict or ())]
    return all(isinstance(leaf, _BY_IDENTITY) for leaf in leaves)


def key_of(fetches: Any) -> Any:
    """A key that two structures of fetches share when they fetch the same things in the same form."""
    kind = type(fetches)
    if kind in _known_by_identity:
        return id(fetches)
    if kind is list or kind is tuple:
        return (kind, *[id(f) if type(f) in _known_by_identity else key_of(f) for f in fetches])
    if kind is str:
        return fetches
    if isinstance(fetches, tuple):
        return (kind, *map(key_of, fetches))
    if kind in (dict, collections.OrderedDict):
        return (kind, tuple(fetches), *map(type, fetches), *map(key_of, fetches.values()))  # as 1 == True
    if isinstance(fetches, _BY_IDENTITY):
        _known_by_identity.add(kind)
        return id(fetches)
    raise NotCacheable


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
