"""What a hook author needs to test a hook without a model.

`run_steps` drives a hook through a whole session, from its creation to its end, on a model that only counts
its steps; the values of what the hook fetches are given. `RecordingHook` keeps what was sent, `FakeClock`
moves when it is told to. Tests of two of the library's own hooks:

```python
import logging
from hookrun import hooks, signals, testing


def test_it_stops_the_training_at_a_loss_that_is_not_finite():
    guard = hooks.NanGuardHook("loss:0", then="stop")
    sent = testing.run_steps(guard, 4, values=[[0.5], [0.25], [float("nan")], [0.125]])
    sent.assert_sent(signals.step, times=3)
    sent.assert_sent(signals.stop, error=None)


def test_it_logs_the_values_with_the_steps_per_second(caplog):
    caplog.set_level(logging.INFO, "hookrun.hooks.logging")
    clock = testing.FakeClock()
    log = hooks.LoggingHook({"loss": "loss:0"}, every_steps=2, clock=clock)
    testing.run_steps(log, 2, values=[{"loss": 0.5}, {"loss": 0.25}], clock=clock, secs_per_step=0.1)
    assert caplog.messages == ["step 2: loss 0.25 (10 steps/s)"]
```
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from hookrun import signals
from hookrun.graph.supervisor import Supervisor
from hookrun.hooks import CheckpointHook, Hook

__all__ = ["FakeClock", "RecordingHook", "run_steps"]


class FakeClock:
    """A clock that moves when it is told to: give it to a hook as its `clock`.

    Args:
      now: The time that it shows at first, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, secs: float) -> None:
        """Let `secs` seconds pass."""
        self.now += secs


class RecordingHook(Hook):
    """Keeps all that is sent, in order. It is called after every other hook.

    Set its `fetches` and `trigger` as those of any hook, to have values from the steps or not every step.
    """

    priority = math.inf

    def __init__(self) -> None:
        self.sent: list[tuple[signals.Signal, Any]] = []
        """Each signal with its event."""
        self.supervisor: Any = None
        """The Supervisor that sent them last."""

    def events(self, signal: signals.Signal) -> list[Any]:
        """What was told with `signal`, in order."""
        return [event for sent, event in self.sent if sent is signal]

    def assert_sent(self, signal: signals.Signal, *, times: int | None = None, **fields: Any) -> None:
        """Fail unless `signal` was sent.

        Args:
          signal: One of `hookrun.signals`.
          times: How often; 0 for never, None for at least once.
          **fields: Only those are counted whose event has these values in its fields.

        Raises:
          AssertionError: If it was not; the message tells what was sent.
          AttributeError: If the event has no such field.
        """
        counted = [
            event
            for event in self.events(signal)
            if all(getattr(event, name) == value for name, value in fields.items())
        ]
        if len(counted) != times if times is not None else not counted:
            wanted = ", ".join(f"{name}={value!r}" for name, value in fields.items())
            raise AssertionError(
                f"{signal.name}({wanted}) was sent {len(counted)} times, "
                f"not {'at least once' if times is None else times}. Sent: "
                + (", ".join(map(_told, self.sent)) or "nothing")
            )

    def _record(self, signal: signals.Signal, supervisor: Supervisor, event: Any) -> None:
        self.supervisor = supervisor
        self.sent.append((signal, event))


def _recording(signal: signals.Signal) -> Callable[[RecordingHook, Supervisor, Any], None]:
    return lambda hook, supervisor, event: hook._record(signal, supervisor, event)


for _signal in Hook._signals:
    setattr(RecordingHook, f"on_{_signal.name}", _recording(_signal))


def _told(sent: tuple[signals.Signal, Any]) -> str:
    signal, event = sent
    step = getattr(event, "global_step", None)
    return signal.name if step is None else f"{signal.name}(global_step={step})"


def run_steps(
    hook: Hook,
    n: int,
    *,
    values: Sequence[Any] | None = None,
    metrics: Sequence[Mapping[str, float]] | None = None,
    graph: tf.Graph | None = None,
    others: Iterable[Hook] = (),
    logdir: str | os.PathLike[str] | None = None,
    clock: FakeClock | None = None,
    secs_per_step: float = 1.0,
) -> RecordingHook:
    """Drive `hook` through a session of at most `n` training steps.

    The session is a real one, of a `Supervisor` whose model has a global step and nothing else: the hook is
    called when, in the order, and on the thread that it is in a training. The session ends after `n` steps,
    or when a stop is requested.

    No timer runs: `summary_due` and `checkpoint_due` are sent when one of `others` does so, with
    ``supervisor.send(signals.summary_due, events.SummaryDue(event.session))``.

    Args:
      hook: The hook.
      n: The number of steps.
      values: For each step, the values of the hook's `fetches`, in their structure: what arrives as
        `event.values`, arrays as numpy's. The fetches themselves may be any objects, such as names. None
        where the hook fetches nothing, or `graph` is to give them.
      metrics: For each step, what is made known with `Supervisor.report_metrics` before it, as by an
        evaluation; an empty mapping for nothing.
      graph: A graph that is not finalized, for a hook that is given variables, summaries or ops: those in
        it. Only its global step is trained. None for a new one.
      others: Further hooks; called before `hook` where their priority is the same.
      logdir: A directory, for a hook that needs one. A checkpoint is saved there at a clean end, and what
        was saved before is restored, the hook's state included.
      clock: A clock that is moved before each step.
      secs_per_step: How far it is moved, in seconds.

    Returns:
      What was sent.

    Raises:
      TypeError, ValueError: If `values` are missing, of another structure, or they or `metrics` are not one
        for each step.
      Exception: What the hook raised, as in a training.
    """
    if (hook.fetches is None) != (values is None) and (values is not None or graph is None):
        raise ValueError(f"values must be given where the hook has fetches: {hook.fetches!r}, not {values!r}")
    for name, given in {"values": values, "metrics": metrics}.items():
        if given is not None and len(given) != n:
            raise ValueError(f"{name} must hold those of {n} steps, not of {len(given)}")
    recorder = RecordingHook()
    hooks = [*others, hook, recorder]
    if logdir is not None and not any(isinstance(each, CheckpointHook) for each in hooks):
        hooks.append(CheckpointHook())
    with (tf.Graph() if graph is None else graph).as_default():
        train_op = tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1).op
        with _fed_fetches(hook, values) as feeds:
            sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0, hooks=hooks)
            with sv.managed_session() as sess:
                for i in range(n):
                    if sv.should_stop():
                        break
                    if clock is not None:
                        clock.advance(secs_per_step)
                    if metrics is not None:
                        sv.report_metrics(metrics[i])
                    sess.run(train_op, feeds[i] if feeds else None)
    return recorder


@contextlib.contextmanager
def _fed_fetches(hook: Hook, values: Sequence[Any] | None) -> Iterator[list[dict[Any, Any]]]:
    """In the block, `hook` fetches placeholders; yields what is fed to them at each step."""
    if not values:
        yield []
        return
    own = hook.fetches
    for value in values:
        tf.nest.assert_same_structure(own, value)
    flat = [tf.nest.flatten(value) for value in values]
    placeholders = [
        tf.compat.v1.placeholder(tf.as_dtype(tf.make_tensor_proto(leaf).dtype), name="value")
        for leaf in flat[0]
    ]
    hook.fetches = tf.nest.pack_sequence_as(own, placeholders)
    try:
        yield [dict(zip(placeholders, leaves, strict=True)) for leaves in flat]
    finally:
        hook.fetches = own
