"""CallbackHook: a function as a hook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hookrun import signals
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import only_if
from hookrun.runtime.subscriptions import OnUnfed
from hookrun.triggers import schedule

__all__ = ["CallbackHook"]


class CallbackHook(Hook):
    """Calls a function when a signal is sent; for where a hook is wanted before there is a Supervisor.

    ```python
    def report(runtime, event):
        print(event.global_step, event.values)

    sv = hookrun.Supervisor(hooks=[hooks.CallbackHook(report, every_steps=50, fetches=loss)])
    ```

    With a Supervisor at hand, ``@sv.on(signals.step, every_steps=50, fetches=loss)`` is the same.

    Args:
      function: Called as ``function(runtime, event)``, on the thread that sends the signal.
      signal: One of `hookrun.signals`.
      every_steps: Call it at each multiple of this number of steps. For `step`, like the next three.
      every_secs: Call it at the first step after each that many seconds.
      at_steps: Call it at these steps.
      fetches: Values from the step itself; they arrive as `event.values`.
      on_unfed: "stop" raises where a step does not feed a placeholder that they depend on; with "skip" it is
        not called for that step.

    Raises:
      TypeError: If `function` cannot be called so, or `signal` is no signal of a Supervisor.
      ValueError: If a schedule is not positive, or it or fetches are for a signal other than `step`.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        signal: signals.Signal = signals.step,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
        fetches: Any = None,
        on_unfed: OnUnfed = "stop",
    ) -> None:
        if not callable(function) or not signals.takes_event(function):
            raise TypeError(f"function must be callable as function(runtime, event), not {function!r}")
        signals.check_runs("function", function)
        if signal not in Hook._signals:
            raise TypeError(f"signal must be one of hookrun.signals, not {signal!r}")
        self.name = signals.receiver_name(function)
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self.fetches = fetches
        self.on_unfed = on_unfed
        if signal is not signals.step and not (self.trigger is None and fetches is None):
            raise ValueError(f"only `step` has schedules and fetches; {self.name} is for {signal.name}")
        self._function = function
        self._signal_name = signal.name


def _calling(signal: signals.Signal) -> Callable[[Any, Any, Any], Any]:
    @only_if(lambda hook: hook._signal_name == signal.name)
    def call(hook: CallbackHook, runtime: Any, event: Any) -> Any:
        return hook._function(runtime, event)

    return call


for _signal in Hook._signals:
    setattr(CallbackHook, f"on_{_signal.name}", _calling(_signal))
