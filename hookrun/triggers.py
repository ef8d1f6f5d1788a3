"""When: at which training steps a hook is called.

A trigger is called once for each step and says whether it fires there. It is saved and restored with its
hook, so that a resumed run fires where an uninterrupted one would:

>>> trigger = EverySteps(100) | AtSteps([1, 10])
>>> trigger.start(0)
>>> [step for step in range(1, 301) if trigger(step)]
[1, 10, 100, 200, 300]

A trigger belongs to one subscription, which calls it from one thread at a time. Nothing here imports
TensorFlow.
"""

from __future__ import annotations

import abc
import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hookrun.numeric import checked_int, checked_number

__all__ = [
    "AnyOf",
    "AtSteps",
    "EverySecs",
    "EverySteps",
    "NextStep",
    "Once",
    "Trigger",
    "required",
    "schedule",
]


class Trigger(abc.ABC):
    """Says at which steps something happens. ``a | b`` fires where either does."""

    def start(self, step: int) -> None:  # noqa: B027 (most triggers have a use for it, none must)
        """Training starts, or resumes, after `step` steps. Called before the first step of a session."""

    def go_on_from(self, step: int) -> None:
        """The training goes on after `step` steps, where it had made others: an older checkpoint was restored
        within its session. What counts steps begins anew there, which `start` does unless this is overridden;
        what measures time goes on."""
        self.start(step)

    @abc.abstractmethod
    def __call__(self, step: int) -> bool:
        """True when the trigger fires at `step`, which is then remembered.

        `step` may have advanced by more than one since the last call, as it does where several workers
        train one model: a trigger fires at the first step at or after the one it was meant for. Where
        several threads train, a step may also come after one that followed it: it fires nothing.
        """

    def next_due(self, step: int) -> float:
        """The next step after `step` at which it may fire: before that one, it need not be asked.

        Returns:
          A step; infinity for one that goes by time alone, and is asked now and then.
        """
        return step + 1

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart, as JSON values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from what `state_dict` returned. Called after `start`."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Trigger:
        return deep_copy(self, memo)

    def __or__(self, other: Trigger) -> AnyOf:
        if not isinstance(other, Trigger):
            return NotImplemented
        return AnyOf(self, other)


class EverySteps(Trigger):
    """Fires at each multiple of `steps`.

    Args:
      steps: A positive number of steps.

    Raises:
      ValueError: If `steps` is not a positive integer.
    """

    def __init__(self, steps: int) -> None:
        self.steps = checked_int("every_steps", steps, "a positive number of steps")
        self._last: int | None = None

    def start(self, step: int) -> None:
        self._last = step

    def __call__(self, step: int) -> bool:
        last = step - 1 if self._last is None else self._last
        self._last = max(last, step)
        return step // self.steps > last // self.steps

    def next_due(self, step: int) -> float:
        return (step // self.steps + 1) * self.steps

    def __repr__(self) -> str:
        return f"EverySteps({self.steps})"


class EverySecs(Trigger):
    """Fires at the first step after each `secs` seconds, counted from the start or from its last firing.

    Args:
      secs: A positive number of seconds.
      clock: Returns the time in seconds; it never goes backwards.

    Raises:
      ValueError: If `secs` is not a positive number.
    """

    def __init__(self, secs: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.secs = checked_number("every_secs", secs, "a positive number of seconds", lambda n: n > 0)
        self._clock = clock
        self._last: float | None = None

    def start(self, step: int) -> None:
        self._last = self._clock()

    def go_on_from(self, step: int) -> None:
        """The time goes on."""

    def __call__(self, step: int) -> bool:
        now = self._clock()
        if self._last is None:
            self._last = now
        if now - self._last < self.secs:
            return False
        self._last = now
        return True

    def next_due(self, step: int) -> float:
        return math.inf

    def state_dict(self) -> dict[str, Any]:
        return {"elapsed_secs": 0.0 if self._last is None else self._clock() - self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last = self._clock() - state["elapsed_secs"]

    def __repr__(self) -> str:
        return f"EverySecs({self.secs})"


class AtSteps(Trigger):
    """Fires at the given steps, once each.

    Args:
      steps: Positive step numbers, in any order.

    Raises:
      ValueError: If `steps` is empty or holds anything but positive integers.
    """

    def __init__(self, steps: Iterable[int]) -> None:
        if isinstance(steps, (str, bytes)) or not isinstance(steps, Iterable):
            raise ValueError(f"at_steps must be an iterable of step numbers, not {steps!r}")
        self.steps = sorted({checked_int("at_steps", step, "positive numbers of steps") for step in steps})
        if not self.steps:
            raise ValueError("at_steps must name at least one step")
        self._last: int | None = None

    def start(self, step: int) -> None:
        self._last = step

    def __call__(self, step: int) -> bool:
        last = step - 1 if self._last is None else self._last
        self._last = max(last, step)
        return any(last < at <= step for at in self.steps)

    def next_due(self, step: int) -> float:
        return next((at for at in self.steps if at > step), math.inf)

    def __repr__(self) -> str:
        return f"AtSteps({self.steps})"


class Once(Trigger):
    """Fires at the first step it sees, and never again, in runs that are resumed neither."""

    def __init__(self) -> None:
        self._fired = False

    def start(self, step: int) -> None:
        self._fired = False  # one that is resumed loads its state after this

    def go_on_from(self, step: int) -> None:
        pass  # it has fired, whatever step the training goes back to

    def __call__(self, step: int) -> bool:
        fires, self._fired = not self._fired, True
        return fires

    def next_due(self, step: int) -> float:
        return math.inf if self._fired else step + 1

    def state_dict(self) -> dict[str, Any]:
        return {"fired": self._fired}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._fired = state["fired"]

    def __repr__(self) -> str:
        return "Once()"


class AnyOf(Trigger):
    """Fires where any of `triggers` does; ``a | b`` makes one.

    Args:
      *triggers: The triggers; each sees every step.
    """

    def __init__(self, *triggers: Trigger) -> None:
        self.triggers = triggers

    def start(self, step: int) -> None:
        for trigger in self.triggers:
            trigger.start(step)

    def go_on_from(self, step: int) -> None:
        for trigger in self.triggers:
            trigger.go_on_from(step)

    def __call__(self, step: int) -> bool:
        return any([trigger(step) for trigger in self.triggers])

    def next_due(self, step: int) -> float:
        return min((trigger.next_due(step) for trigger in self.triggers), default=math.inf)

    def state_dict(self) -> dict[str, Any]:
        return {"triggers": [trigger.state_dict() for trigger in self.triggers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for trigger, own in list(zip(self.triggers, state["triggers"], strict=True)):  # all or none
            trigger.load_state_dict(own)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.triggers))


class NextStep:
    """Says whether the step that comes next is due, for hooks that change its run.

    Args:
      trigger: Says which steps are due.
    """

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self.is_due = False
        """True when the step that comes next is due."""

    def start(self, step: int) -> None:
        """Training starts, or resumes, after `step` steps."""
        self._trigger.start(step)
        self.after(step)

    def go_on_from(self, step: int) -> None:
        """The training goes on after `step` steps, where it had made others."""
        self._trigger.go_on_from(step)
        self.after(step)

    def after(self, step: int) -> None:
        """The step `step` was run."""
        self.is_due = self._trigger(step + 1)


_Copied = TypeVar("_Copied")


def deep_copy(original: _Copied, memo: dict[int, Any]) -> _Copied:
    """A deep copy of a hook or a trigger, for its `__deepcopy__`.

    Functions that it was given are shared, clocks among them, and so is what cannot be copied: tensors,
    files, locks.
    """
    copied = memo[id(original)] = object.__new__(type(original))
    for name, value in vars(original).items():
        attempt = dict(memo)  # one that fails leaves its half-made copies there
        try:
            if isinstance(value, Trigger) or not callable(value):
                value = copy.deepcopy(value, attempt)
                memo.update(attempt)
        except Exception:  # whatever an object raises that cannot be copied
            pass
        vars(copied)[name] = value
    return copied


def required(trigger: Trigger | None, name: str) -> Trigger:
    """The trigger that `schedule` returned for the hook of that name.

    Raises:
      ValueError: If it is None.
    """
    if trigger is None:
        raise ValueError(f"{name} needs one of every_steps, every_secs and at_steps")
    return trigger


def schedule(
    *,
    every_steps: int | None = None,
    every_secs: float | None = None,
    at_steps: Iterable[int] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trigger | None:
    """The trigger that the schedule arguments ask for; it fires where any of them does.

    Args:
      every_steps: Fire at each multiple of this number of steps.
      every_secs: Fire at the first step after each that many seconds.
      at_steps: Fire at these steps.
      clock: What `every_secs` goes by: returns the time in seconds; it never goes backwards.

    Returns:
      A trigger, or None when no argument is given: every step.

    Raises:
      ValueError: If an argument is not positive.
    """
    triggers: list[Trigger] = []
    if every_steps is not None:
        triggers.append(EverySteps(every_steps))
    if every_secs is not None:
        triggers.append(EverySecs(every_secs, clock=clock))
    if at_steps is not None:
        triggers.append(AtSteps(at_steps))
    if len(triggers) > 1:
        return AnyOf(*triggers)
    return triggers[0] if triggers else None
