"""Services: what runs beside the training of one session: the timers, and the threads of queue runners."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from hookrun import signals, triggers
from hookrun.runtime.bus import Bus
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.subscriptions import Subscription
from hookrun.runtime.timers import TimerThread

__all__ = ["Schedule", "Services", "is_queue_runner", "join", "join_before_closing"]

_QUEUE_RUNNER_SECS = 1.0
"""How long a closing session waits for queue runners alone; closing it is what ends a blocked one."""

_QUEUE_RUNNER_THREAD = "QueueRunnerThread-"
"""How TensorFlow names the threads of queue runners, also those that a hook or the program starts."""


class Schedule(NamedTuple):
    """When a signal is sent while the services run."""

    signal: signals.Signal
    event: Any
    """What its receivers are told."""
    secs: float | None
    """Seconds between two sends on a timer's thread; None or 0 for no timer."""
    steps: int | None
    """Training steps between two sends on the step's thread; None for none."""


class Services:
    """The services of one session.

    Args:
      bus: Whose signals are sent.
      coord: The coordinator that ends the timers.
      context: Makes the context manager in which the signals are sent.
      schedules: When.
    """

    def __init__(
        self,
        bus: Bus,
        coord: Coordinator,
        context: Callable[[], AbstractContextManager[object]],
        schedules: Sequence[Schedule],
    ) -> None:
        self._bus = bus
        self._coord = coord
        self._context = context
        self._schedules = schedules
        self._timers: dict[signals.Signal, TimerThread] = {}
        self.started = False
        self.to_start_last: list[Callable[[], object]] = []
        """What starts after the services, in this order."""

    def start(self) -> list[threading.Thread]:
        """Start the timers; return their threads."""
        self.started = True
        return self.start_timers()

    def step_subscriptions(self) -> list[Subscription]:
        """What sends the signals that come every so many steps; to be connected once."""
        return [
            Subscription(
                signals.step,
                functools.partial(self._send, schedule),
                name=f"{schedule.signal.name} every {schedule.steps} steps",
                priority=1000,
                trigger=triggers.EverySteps(schedule.steps),
            )
            for schedule in self._schedules
            if schedule.steps
        ]

    def _send(self, schedule: Schedule, *_: Any) -> None:
        with self._context():
            self._bus.send(schedule.signal, schedule.event)

    def start_timers(self) -> list[threading.Thread]:
        """Start the timers that somebody listens to and that are not running yet; return their threads."""
        started: list[threading.Thread] = []
        for signal, event, secs, _ in self._schedules:
            if self.started and secs and signal not in self._timers and signal.resolved_for(self._bus):
                name = f"hookrun-{signal.name.removesuffix('_due')}-timer"
                send = functools.partial(self._bus.send, signal, event)
                timer = TimerThread(name, self._coord, secs, send, self._context)
                self._timers[signal] = timer
                started.append(timer)
        for thread in started:
            thread.start()
        return started

    @property
    def timers(self) -> frozenset[threading.Thread]:
        """The threads of the timers that were started."""
        return frozenset(self._timers.values())


def join_before_closing(threads: Iterable[threading.Thread], deadline: float) -> None:
    """Wait for threads until the deadline, but not long for queue runners: closing the session ends them."""
    runners = frozenset(filter(is_queue_runner, threads))
    join(frozenset(threads) - runners, deadline)
    join(runners, min(deadline, time.monotonic() + _QUEUE_RUNNER_SECS))


def is_queue_runner(thread: threading.Thread) -> bool:
    """True for a thread of a `tf.compat.v1.train.QueueRunner`."""
    return thread.name.startswith(_QUEUE_RUNNER_THREAD)


def join(threads: Iterable[threading.Thread], deadline: float) -> None:
    """Wait for threads until the deadline, a time of `time.monotonic`."""
    for thread in threads:
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
