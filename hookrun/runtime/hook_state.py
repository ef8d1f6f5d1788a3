"""What hooks must not forget over a restart: a JSON file beside each checkpoint.

It holds the `state_dict` of each hook, by its name, the state of its trigger, and the metrics that were
reported, as of the checkpoint's step.
"""

from __future__ import annotations

import collections
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import crc32c

from hookrun.numeric import python_number
from hookrun.paths import is_local
from hookrun.runtime.subscriber import Subscriber, overrides
from hookrun.triggers import Trigger

__all__ = ["SUFFIX", "HookState", "check_names", "collect", "has_state", "load", "read", "write"]

_logger = logging.getLogger(__name__)

SUFFIX = ".hooks.json"
"""What the name of the file adds to the checkpoint's prefix."""


@dataclass
class HookState:
    """What the file holds."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """The metrics reported so far, by name."""
    hooks: Mapping[str, Any] = field(default_factory=dict)
    """What each hook's `state_dict` returned, by the hook's name."""
    triggers: Mapping[str, Any] = field(default_factory=dict)
    """What each hook's trigger's `state_dict` returned, by the hook's name."""
    times_reported: Mapping[str, int] = field(default_factory=dict)
    """How often each metric had been reported by then; without those of a checkpoint of an older version."""

    def __bool__(self) -> bool:
        """False when there is nothing to remember, and no file is written."""
        return bool(self.metrics or self.hooks or self.triggers)


def write(path: str | os.PathLike[str], state: HookState) -> None:
    """Write `state` to the file at `path`.

    Raises:
      OSError: If the file cannot be written.
      tf.errors.OpError: The same, at a URL.
    """
    text = json.dumps(asdict(state))
    with _opened(path, "w") as file:
        file.write(json.dumps({"crc32c": crc32c.crc32c(text.encode()), "state": text}))


def read(path: str | os.PathLike[str]) -> HookState:
    """Read the state in the file at `path`; an empty one where there is no file.

    Raises:
      ValueError: If the file is damaged.
      OSError: If it cannot be read.
      tf.errors.OpError: The same, at a URL.
    """
    try:
        with _opened(path, "r") as file:
            content = json.loads(file.read())
        if crc32c.crc32c(content["state"].encode()) != content["crc32c"]:
            raise ValueError("its checksum is wrong")
        return HookState(**json.loads(content["state"]))
    except FileNotFoundError:
        return HookState()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}") from error


def _opened(path: str | os.PathLike[str], mode: str) -> IO[str]:
    path = os.fspath(path)
    if is_local(path):
        return open(path, mode, encoding="utf-8")
    from tensorflow import io

    if mode == "r" and not io.gfile.exists(path):
        raise FileNotFoundError(path)
    file: IO[str] = io.gfile.GFile(path, mode)
    return file


def collect(
    hooks: Iterable[Subscriber], metrics: Mapping[str, float], times_reported: Mapping[str, int] | None = None
) -> HookState:
    """What `hooks` are to remember now, with the metrics. What they change later is not in it.

    A `state_dict` that fails is logged, and left out where its hook has `on_error` "log".

    Raises:
      TypeError: If one of another hook holds what does not come back from JSON as it is; the message names
        the hook, and the key or the value.
      Exception: What one of another hook raised.
    """
    hooks = list(hooks)
    own = ((hook.name, hook, hook.state_dict) for hook in hooks if has_state(hook))
    of_triggers = ((name, hook, trigger.state_dict) for name, hook, trigger in _triggers(hooks))
    return HookState(
        metrics=dict(metrics),
        hooks=dict(_collected(own)),
        triggers={name: state for name, state in _collected(of_triggers) if state},
        times_reported=dict(times_reported or {}),
    )


def load(hooks: Iterable[Subscriber], state: HookState) -> None:
    """Give each hook what it is to remember. One that is new, or gone, is warned of.

    A `load_state_dict` that fails is logged, and no more than that where its hook has `on_error` "log".

    Raises:
      Exception: What one of another hook raised.
    """
    hooks = list(hooks)
    with_state = {hook.name: hook for hook in hooks if has_state(hook)}
    for name in with_state.keys() - state.hooks.keys():
        _logger.warning("The checkpoint holds no state of the hook %s: it starts anew", name)
    for name in state.hooks.keys() - with_state.keys():
        _logger.warning(
            "The checkpoint holds the state of a hook %s, which this training does not have", name
        )
    for name in with_state.keys() & state.hooks.keys():
        try:
            with_state[name].load_state_dict(state.hooks[name])
        except Exception as error:
            _failed("load_state_dict", name, with_state[name], error)
    for name, _, trigger in _triggers(hooks):
        if name in state.triggers:
            try:
                trigger.load_state_dict(state.triggers[name])
            except (KeyError, TypeError, ValueError):  # a program may change a schedule between two runs
                _logger.warning(
                    "The checkpoint holds the state of another schedule of the hook %s: it starts anew", name
                )


def check_names(hooks: Iterable[Subscriber]) -> None:
    """Refuse two hooks that would be remembered under one name.

    Raises:
      ValueError: If there are two; it says the name.
    """
    names: set[str] = set()
    for hook in hooks:
        if has_state(hook):
            if hook.name in names:
                raise ValueError(
                    f"two hooks are called {hook.name!r}, and their state would be saved under that name: "
                    "set the name of one of them"
                )
            names.add(hook.name)


def _collected(
    sources: Iterable[tuple[str, Subscriber, Callable[[], dict[str, Any]]]],
) -> Iterator[tuple[str, Any]]:
    for name, hook, state_dict in sources:
        try:
            state = state_dict()
            try:
                state = _as_json(state)
            except TypeError as error:
                raise TypeError(f"state_dict of {name} must hold JSON values only: {error}") from None
        except Exception as error:
            _failed("state_dict", name, hook, error)
        else:
            yield name, state


def _as_json(value: Any, path: str = "") -> Any:
    """`value` as it comes back from JSON.

    Raises:
      TypeError: If that is something else, such as a list for a tuple; it says what, and where in the state.
    """
    where = f" in {path}" if path else ""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r}{where} is not a str")
        return {key: _as_json(each, f"{path}[{key!r}]") for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each, f"{path}[{i}]") for i, each in enumerate(value)]
    value = python_number(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (int, float, str)):  # an enum's, for instance
        return json.loads(json.dumps(value))
    raise TypeError(f"{value!r}{where} is of the type {type(value).__name__}")


def _failed(method: str, name: str, hook: Subscriber, error: Exception) -> None:
    _logger.error("%s.%s failed", name, method, exc_info=error)
    if hook.on_error != "log":
        raise error


def has_state(hook: Subscriber) -> bool:
    """True where the hook has something to remember."""
    return overrides(hook, "state_dict")


def _triggers(hooks: Iterable[Subscriber]) -> Iterator[tuple[str, Subscriber, Trigger]]:
    """The trigger of each hook, by the hook's name; of several of one name, by its number among them."""
    counts: dict[str, int] = collections.Counter()
    for hook in hooks:
        if hook.trigger is not None:
            counts[hook.name] += 1
            number = counts[hook.name]
            yield hook.name if number == 1 else f"{hook.name} {number}", hook, hook.trigger
