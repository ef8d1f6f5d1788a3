"""Bus: who receives which signal, in which order, and what follows when one fails."""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any, overload

from hookrun import signals, triggers
from hookrun.runtime import hook_state
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.subscriber import Subscriber, checked_hooks, subscriptions_of
from hookrun.runtime.subscriptions import Handle, HookTime, OnError, OnUnfed, Subscription

__all__ = ["Bus"]

_logger = logging.getLogger(__name__)

_SLOW_SHARE, _SLOW_SECS = 0.1, 0.1
"""A receiver that took more than this share of the training time, and more seconds, is warned of."""


class Bus:
    """The receivers of one training. It holds them strongly, the signals only weakly.

    Args:
      coord: The coordinator that a failing receiver stops.
      is_chief: False to leave out the hooks that are for the chief only.
    """

    _sent: frozenset[signals.Signal] | None = None
    """The signals that this kind of training sends; None for all."""

    def __init__(self, coord: Coordinator, is_chief: bool) -> None:
        self._coord = coord
        self._is_chief = is_chief
        self._subscriptions: dict[Subscription, object] = {}
        self._hooks: list[Subscriber] = []
        self._changing_hooks = threading.RLock()  # again by a signal's handler, in between

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks in the order of their addition, the standard ones after those given."""
        return tuple(self._hooks)

    @overload
    def on(
        self,
        signal: signals.Signal,
        receiver: Callable[[Any, Any], Any],
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        fetches: Any = None,
        name: str | None = None,
        priority: float = 0,
        on_error: OnError = "stop",
        on_unfed: OnUnfed = "stop",
    ) -> Handle: ...

    @overload
    def on(
        self,
        signal: signals.Signal,
        receiver: None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        fetches: Any = None,
        name: str | None = None,
        priority: float = 0,
        on_error: OnError = "stop",
        on_unfed: OnUnfed = "stop",
    ) -> Callable[[Callable[[Any, Any], Any]], Handle]: ...

    def on(
        self,
        signal: signals.Signal,
        receiver: Callable[[Any, Any], Any] | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        fetches: Any = None,
        name: str | None = None,
        priority: float = 0,
        on_error: OnError = "stop",
        on_unfed: OnUnfed = "stop",
    ) -> Any:
        """Call `receiver` when this training sends `signal`; a decorator without `receiver`.

        ```python
        @sv.on(signals.step, every_steps=100, fetches={"loss": loss})
        def report(sv, event):
            print(event.global_step, event.values["loss"])
        ```

        The receiver is held strongly, until it is removed or this object is gone.

        Args:
          signal: One of `hookrun.signals`.
          receiver: Called as ``receiver(runtime, event)``, on the thread that sends the signal.
          every_steps: Only at each multiple of this number of steps. For `step`, like the next three.
          every_secs: Only at the first step after each that many seconds.
          at_steps: Only at these steps.
          fetches: Values from the step itself, in any structure that `Session.run` takes; they arrive as
            `event.values`.
          name: What the receiver is called in logs; its own name if None.
          priority: Lower goes first; those of one priority in order of connection.
          on_error: "stop" ends the training when the receiver raises; "log" only logs it.
          on_unfed: "stop" raises where a step does not feed a placeholder that `fetches` depend on; with
            "skip" it is not called for that step.

        Returns:
          A `Handle`: call its `remove()`, or use it as a context manager. As a decorator, a function that
          takes the receiver and returns its handle.

        Raises:
          TypeError, ValueError: If an argument is not what it should be; the message says which.
        """
        if receiver is None:
            return functools.partial(
                self.on,
                signal,
                every_steps=every_steps,
                every_secs=every_secs,
                at_steps=at_steps,
                fetches=fetches,
                name=name,
                priority=priority,
                on_error=on_error,
                on_unfed=on_unfed,
            )
        subscription = Subscription(
            signal,
            receiver,
            name=name or signals.receiver_name(receiver),
            priority=priority,
            on_error=on_error,
            fetches=fetches,
            trigger=triggers.schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps),
            on_unfed=on_unfed,
        )
        self._connect(subscription, owner=None)
        return Handle(receiver, functools.partial(self._disconnect, subscription))

    def add_hook(self, hook: Subscriber) -> None:
        """Subscribe `hook`: it receives what is sent from now on.

        Most hooks of the library begin at `session_created`: add them before a session is made.

        Raises:
          TypeError: If `hook` is not a `hookrun.hooks.Hook`, or a method cannot be called as that says.
          ValueError: If it was added before.
          RuntimeError: If it has a `setup_graph`: the graph is finalized. Pass it in `hooks=`.
        """
        (hook,) = checked_hooks([hook])
        if any(hook is known for known in self._hooks):
            raise ValueError(f"hook was already added: {hook.name}")
        self._check_late_hook(hook)
        self._subscribe(hook)

    def remove_hook(self, hook: Subscriber) -> None:
        """Call `hook` no more.

        Raises:
          ValueError: If it is not one of `hooks`.
        """
        if not any(hook is known for known in self._hooks):
            raise ValueError(f"hook is not part of this training: {hook!r}")
        for subscription in self._owned_by(hook):
            self._disconnect(subscription)
        with self._changing_hooks:
            self._hooks = [known for known in self._hooks if known is not hook]
            self._hooks_changed()

    def send(self, signal: signals.Signal, event: Any) -> None:
        """Send `signal` to its receivers, on the calling thread. An error among them stops the training.

        Called by the training for its own signals, and by hooks for theirs (`checkpoint_saved`).

        Args:
          signal: One of `hookrun.signals`.
          event: An instance of its class in `hookrun.events`.

        Raises:
          BaseException: An interrupt (`KeyboardInterrupt`, `SystemExit`) of a receiver, once all were called.
        """
        # An error is logged by the signal, known to those called after it, and raised by the next step.
        _, interrupt = self._call_apart(signal.call_all, self, event, self._coord.fail)
        if interrupt is not None:
            raise interrupt

    def next_due(self, step: int) -> float:
        """The next step after `step` at which a receiver of `signals.step` may be due; infinity for none."""
        receivers = (reference() for reference in signals.step.resolved_for(self))
        triggers = (getattr(receiver, "trigger", None) for receiver in receivers if receiver is not None)
        return min((step + 1 if t is None else t.next_due(step) for t in triggers), default=math.inf)

    def hook_times(self) -> list[HookTime]:
        """The time that each receiver has taken in the current session, or the one before.

        Returns:
          One row for each receiver and signal, the one that took most time first. Those connected to a
          signal directly, with blinker's `connect`, are not among them.
        """
        owned = tuple(self._subscriptions.items())  # the services' own have their session for an owner
        times = [s.settle_time() for s, owner in owned if owner is None or isinstance(owner, Subscriber)]
        return sorted(times, key=lambda time: -time.total_secs)

    def _log_subscriptions(self, step: int | None, restored_from: str | None) -> None:
        """Say once per session who is told of what, in which order."""
        by_signal: dict[str, list[str]] = {}
        for subscription in sorted(self._subscriptions, key=lambda subscription: subscription.priority):
            if self._sent is None or subscription.signal in self._sent:
                by_signal.setdefault(subscription.signal.name, []).append(subscription.name)
        order = "; ".join(f"{signal}: {', '.join(names)}" for signal, names in sorted(by_signal.items()))
        restored = "" if restored_from is None else f", restored from {restored_from}"
        _logger.info("Session ready at step %s%s. Called in this order: %s", step, restored, order)

    def _report_hook_times(self, session_secs: float) -> None:
        """A table at DEBUG, and a warning for each receiver that held up the training."""
        for row in self.hook_times():
            _logger.debug(
                "%-40s %-18s %8d calls %10.3f s total %10.6f s mean %10.6f s max",
                *(row.name, row.signal, row.count, row.total_secs, row.mean_secs, row.max_secs),
            )
            share = row.training_secs / session_secs
            if share > _SLOW_SHARE and row.training_secs > _SLOW_SECS:
                _logger.warning(
                    "%s took %.0f %% of the training time: %d calls, %.3f s on average, %.3f s at most",
                    *(row.name, 100 * share, row.count, row.mean_secs, row.max_secs),
                )

    def _subscribe(self, hook: Subscriber) -> None:
        hook_state.check_names([*self._hooks, hook])
        subscriptions: list[Subscription] = []
        if self._is_chief or not hook.chief_only:
            subscriptions += self._subscriptions_of(hook)
        try:
            for subscription in subscriptions:
                self._connect(subscription, owner=hook)
        except BaseException:
            for subscription in subscriptions:
                self._disconnect(subscription)
            raise
        with self._changing_hooks:
            self._hooks.append(hook)
            self._hooks_changed()

    # What a kind of training has more to say of its hooks.

    def _check_late_hook(self, hook: Subscriber) -> None:
        """Refuse a hook that must be given when the training is made."""

    def _subscriptions_of(self, hook: Subscriber) -> Iterable[Subscription]:
        return subscriptions_of(hook)

    def _hooks_changed(self) -> None:
        """A hook was added or removed."""

    def _call_apart(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function`, which calls hooks: what they run is not the program's."""
        return function(*args)

    def _connect(self, subscription: Subscription, owner: object) -> None:
        self._subscriptions[subscription] = owner
        subscription.signal.connect(subscription, sender=self)

    def _restart_schedules(self, session: Any) -> None:
        """The training goes on from another step: so do the schedules of all receivers."""
        for subscription in tuple(self._subscriptions):
            subscription.go_on_from(session)

    def _owned_by(self, owner: object) -> list[Subscription]:
        # All at once: other threads subscribe meanwhile.
        return [subscription for subscription, its in tuple(self._subscriptions.items()) if its is owner]

    def _disconnect(self, subscription: Subscription) -> None:
        if self._subscriptions.pop(subscription, self) is not self:
            subscription.signal.disconnect(subscription, sender=self)
