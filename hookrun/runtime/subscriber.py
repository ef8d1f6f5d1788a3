"""Subscriber: what the bus knows of a hook: its attributes, and what it is to be told."""

from __future__ import annotations

import copy
import difflib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

from hookrun import signals
from hookrun.runtime.subscriptions import OnError, OnUnfed, Subscription
from hookrun.triggers import NextStep, Trigger, deep_copy

__all__ = ["Subscriber", "checked_hooks", "only_if", "overrides", "subscriptions_of"]

_METHODS = {
    "setup_graph": ["runtime"],
    "before_run": ["context"],
    "after_run": ["context", "values"],
    "state_dict": [],
    "load_state_dict": ["state"],
}
"""The arguments of those methods of a hook that receive no signal."""


class Subscriber:
    """What the bus knows of a hook. `Hook`, the one class that derives from it itself, explains it."""

    name: str
    priority: float
    chief_only: bool
    on_error: OnError
    fetches: Any
    on_unfed: OnUnfed
    trigger: Trigger | None

    _own_fetches: Any = ()
    """What the hook fetches in runs of its own: looked up in the graph when it is given to a training."""

    _only_in_graphs: ClassVar[str | None] = None
    """Why a `Loop` refuses the hook, and what to use; None where it may not."""

    _fits_loops: ClassVar[bool] = False
    """True for one that overrides a method of graphs, and has no use for it in a `Loop`."""

    _made_in_graph: Any = None
    """The attributes that `setup_graph` set last."""

    _used_by: Callable[[], Any] = staticmethod(lambda: None)
    """Gives what knows of its last session, while that is there."""

    _contract: ClassVar[type[Subscriber]]
    """`Hook`, whose methods do nothing."""

    _signals: ClassVar[tuple[signals.Signal, ...]] = (
        signals.session_created,
        signals.step,
        signals.summary_due,
        signals.checkpoint_due,
        signals.checkpoint_saving,
        signals.checkpoint_saved,
        signals.session_lost,
        signals.session_recovered,
        signals.session_restored,
        signals.stop,
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Subscriber in cls.__bases__:
            Subscriber._contract = cls
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        known = [f"on_{signal.name}" for signal in Subscriber._signals]
        for name, method in cls.__dict__.items():
            if name.startswith("on_") and callable(method) and name not in known:
                nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
                raise TypeError(
                    f"{cls.__name__}.{name} is not called by any signal: did you mean {nearest}? "
                    "Methods of a hook that begin with on_ are named after the signals"
                )

    def __copy__(self) -> Subscriber:
        """A hook with the same attributes, for a training of its own: its triggers are its own."""
        copied = object.__new__(type(self))
        memo: dict[int, Any] = {}
        for name, value in vars(self).items():
            is_own = isinstance(value, (Trigger, NextStep))
            vars(copied)[name] = copy.deepcopy(value, memo) if is_own else value
        vars(copied).pop("_used_by", None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Subscriber:
        """The same with containers of its own. Functions, tensors and files are shared."""
        copied = deep_copy(self, memo)
        vars(copied).pop("_used_by", None)
        return copied

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


_Method = TypeVar("_Method", bound=Callable[..., Any])


def only_if(needed: Callable[[Any], bool]) -> Callable[[_Method], _Method]:
    """Decorate a method that only some instances of the hook have a use for.

    Where ``needed(hook)`` is false, the method is not connected, and does nothing. What overrides it in a
    subclass is always connected, and may call `super`.
    """

    def decorate(method: _Method) -> _Method:
        @functools.wraps(method)
        def called_if_needed(hook: Any, *arguments: Any) -> Any:
            return method(hook, *arguments) if needed(hook) else None

        called_if_needed._needed = needed  # type: ignore[attr-defined]
        return called_if_needed  # type: ignore[return-value]

    return decorate


def overrides(hook: Subscriber, method: str) -> bool:
    """True where `hook` has a method of its own by that name, and a use for it."""
    function = getattr(getattr(hook, method), "__func__", None)
    needed = getattr(function, "_needed", None)
    return function is not getattr(Subscriber._contract, method) and (needed is None or needed(hook))


def subscriptions_of(hook: Subscriber) -> Iterator[Subscription]:
    """The subscriptions that `hook` asks for: one for each `on_…` method that it overrides."""
    if hook.trigger is not None and "trigger" not in vars(
        hook
    ):  # one of the class serves its other instances too
        hook.trigger = copy.deepcopy(hook.trigger)
    for signal in Subscriber._signals:
        method = f"on_{signal.name}"
        receiver = getattr(hook, method)
        if not overrides(hook, method):
            continue
        scheduled: dict[str, Any] = {}
        if signal is signals.step:
            scheduled = {"fetches": hook.fetches, "trigger": hook.trigger, "on_unfed": hook.on_unfed}
        yield Subscription(
            signal,
            receiver,
            name=f"{hook.name}.{method}",
            priority=hook.priority,
            on_error=hook.on_error,
            **scheduled,
        )


def _does_nothing(hook: Subscriber) -> bool:
    methods = [
        name for name, method in vars(Subscriber._contract).items() if name[0] != "_" and callable(method)
    ]
    return not any(overrides(hook, name) for name in methods)


def _check_methods(hook: Subscriber) -> None:
    """Check what no `Subscription` does: those of the signals are checked by theirs."""
    for method, arguments in _METHODS.items():
        function = getattr(hook, method)
        if not callable(function) or not signals.takes(function, len(arguments)):
            call = f"{method}({', '.join(arguments)})"
            raise TypeError(f"{hook.name}.{method} must be callable as {call}, not {function!r}")
        signals.check_runs(f"{hook.name}.{method}", function)
    if overrides(hook, "state_dict") and not overrides(hook, "load_state_dict"):
        raise TypeError(
            f"{hook.name} overrides state_dict without load_state_dict: "
            "what it remembers would never be given back"
        )


def checked_hooks(given: Iterable[Any]) -> list[Any]:
    if not isinstance(given, Iterable):
        raise TypeError(f"hooks must be a sequence of hookrun.hooks.Hook, not {given!r}")
    checked: list[Any] = list(given)
    for hook in checked:
        if not isinstance(hook, Subscriber):
            wrap = hasattr(hook, "after_create_session")  # a tf.compat.v1.train.SessionRunHook
            advice = ": wrap it in hookrun.hooks.SessionRunHookAdapter" if wrap else ""
            raise TypeError(f"hooks must be instances of hookrun.hooks.Hook, not {hook!r}{advice}")
        if not isinstance(hook.name, str):
            raise TypeError(f"name must be a str, not {hook.name!r}, of the hook {hook!r}")
        if type(hook) is not Subscriber._contract and _does_nothing(hook):
            raise TypeError(
                f"{hook.name} overrides no method of hookrun.hooks.Hook: it would never be called"
            )
        if sum(other is hook for other in checked) > 1:
            raise ValueError(f"hooks has one hook twice: {hook.name}")
        _check_methods(hook)
    return checked
