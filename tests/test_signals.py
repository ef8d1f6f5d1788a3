"""Signals: their order, their errors, and whom they keep alive. No TensorFlow needed."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import subprocess
import sys

import blinker
import pytest

from hookrun import signals


class Sender:
    """Sends signals in place of a Supervisor."""


@pytest.fixture
def signal() -> signals.Signal:
    return signals.Signal("tested")


@pytest.fixture
def sender() -> Sender:
    return Sender()


class Receiver:
    def __init__(self, calls: list, label: str, priority: float = 0, on_error: str = "stop") -> None:
        self.calls, self.name, self.priority, self.on_error = calls, label, priority, on_error

    def __call__(self, sender, event) -> None:
        self.calls.append(self.name)


def test_receivers_are_called_by_priority_then_in_order_of_connection_every_time(signal, sender):
    calls: list[str] = []
    receivers = [
        Receiver(calls, "last", 1000),
        Receiver(calls, "first of the middle"),
        Receiver(calls, "very first", -5),
        Receiver(calls, "second of the middle"),
        Receiver(calls, "late", 10),
        Receiver(calls, "third of the middle"),
    ]
    for receiver in receivers:
        signal.connect(receiver, sender=sender)
    for _ in range(200):
        calls.clear()
        signal.send(sender, event=None)
        assert calls == [
            "very first",
            "first of the middle",
            "second of the middle",
            "third of the middle",
            "late",
            "last",
        ]


def test_receivers_of_one_sender_and_of_any_share_one_order(signal, sender):
    calls: list[str] = []
    receivers = [Receiver(calls, str(i)) for i in range(6)]
    for i, receiver in enumerate(receivers):
        signal.connect(receiver, sender=sender if i % 2 else blinker.ANY)
    signal.send(sender, event=None)
    assert calls == ["0", "1", "2", "3", "4", "5"]
    calls.clear()
    signal.send(Sender(), event=None)
    assert calls == ["0", "2", "4"]


def test_a_receiver_gets_the_sender_and_the_event(signal, sender):
    got = []

    def receiver(runtime, event):
        got.append((runtime, event))

    signal.connect(receiver, sender=sender)
    signal.send(sender, event="the event")
    assert got == [(sender, "the event")]


def test_a_receiver_in_blinkers_own_form_gets_the_event_by_name(signal, sender):
    got = []

    def receiver(sender, **extra):
        got.append(extra)

    signal.connect(receiver, sender=sender)
    signal.send(sender, event=1)
    assert got == [{"event": 1}]


def test_every_receiver_is_called_and_the_first_error_is_raised(signal, sender, caplog):
    calls: list[str] = []

    def fails(sender, event):
        raise ValueError("the first")

    def fails_too(sender, event):
        raise KeyError("the second")

    last = Receiver(calls, "last")
    for receiver in (fails, fails_too, last):
        signal.connect(receiver, sender=sender)
    with caplog.at_level(logging.ERROR, "hookrun"), pytest.raises(ValueError, match="the first"):
        signal.send(sender, event=None)
    assert calls == ["last"]
    assert [(r.levelname, r.exc_info[0]) for r in caplog.records] == [
        ("ERROR", ValueError),
        ("ERROR", KeyError),
    ]
    assert "fails_too failed in tested" in caplog.records[1].getMessage()


def test_the_error_of_a_receiver_that_only_logs_is_not_raised(signal, sender, caplog):
    def fails(sender, event):
        raise ValueError("logged")

    fails.on_error = "log"
    signal.connect(fails, sender=sender)
    signal.send(sender, event=None)
    assert "logged" in caplog.text


def test_an_interrupt_is_raised_before_any_error_after_every_receiver_was_called(signal, sender, caplog):
    calls: list[str] = []

    def fails(sender, event):
        raise ValueError("an error")

    def interrupts(sender, event):
        raise KeyboardInterrupt("the first")

    def exits(sender, event):
        raise SystemExit("the second")

    last = Receiver(calls, "last")
    for receiver in (fails, interrupts, exits, last):
        signal.connect(receiver, sender=sender)
    with pytest.raises(KeyboardInterrupt, match="the first"):
        signal.send(sender, event=None)
    assert calls == ["last"]
    assert "fails failed in tested" in caplog.text


def test_an_interrupt_is_raised_whatever_the_receiver_says_of_errors(signal, sender):
    def interrupts(sender, event):
        raise KeyboardInterrupt

    interrupts.on_error = "log"
    signal.connect(interrupts, sender=sender)
    with pytest.raises(KeyboardInterrupt):
        signal.send(sender, event=None)


def test_a_weakly_connected_receiver_is_gone_with_its_last_reference(signal, sender):
    calls: list[str] = []
    receiver = Receiver(calls, "gone")
    signal.connect(receiver, sender=sender)
    signal.send(sender, event=None)
    del receiver
    gc.collect()
    signal.send(sender, event=None)
    assert calls == ["gone"]


def test_a_strongly_connected_lambda_and_method_stay(signal, sender):
    calls: list[str] = []
    signal.connect(lambda sender, event: calls.append("lambda"), sender=sender, weak=False)
    signal.connect(Receiver(calls, "method").__call__, sender=sender, weak=False)
    gc.collect()
    signal.send(sender, event=None)
    assert calls == ["lambda", "method"]


def test_a_disconnected_receiver_is_not_called(signal, sender):
    calls: list[str] = []
    receiver = Receiver(calls, "removed")
    signal.connect(receiver, sender=sender)
    signal.send(sender, event=None)
    signal.disconnect(receiver, sender=sender)
    signal.send(sender, event=None)
    assert calls == ["removed"]


def test_a_receiver_that_an_earlier_one_disconnects_is_not_called(signal, sender):
    calls: list[str] = []

    def in_blinkers_form(sender, **kwargs):
        calls.append("blinker's form")

    removed = Receiver(calls, "removed")
    signal.connect(lambda sender, event: signal.disconnect(removed), sender=sender, weak=False)
    signal.connect(removed, sender=sender)
    signal.connect(in_blinkers_form, sender=sender)
    signal.send(sender, event=None)
    assert calls == ["blinker's form"]


def test_a_muted_signal_is_not_sent(signal, sender):
    calls: list[str] = []
    receiver = Receiver(calls, "muted")
    signal.connect(receiver, sender=sender)
    with signal.muted():
        signal.send(sender, event=None)
    assert calls == []


def test_receivers_are_resolved_once_until_one_connects(signal, sender):
    receiver = Receiver([], "one")
    signal.connect(receiver, sender=sender)
    resolved = signal.resolved_for(sender)
    assert signal.resolved_for(sender) is resolved
    other = Receiver([], "other")
    signal.connect(other, sender=sender)
    assert [reference() for reference in signal.resolved_for(sender)] == [receiver, other]


def test_what_was_resolved_for_a_sender_is_not_used_for_another_at_its_address(signal):
    calls: list[str] = []
    receiver = Receiver(calls, "of the dead sender")
    for _ in range(100):
        sender = Sender()
        signal.connect(receiver, sender=sender)
        signal.send(sender, event=None)
        del sender
        calls.clear()
        signal.send(Sender(), event=None)
        assert calls == []


async def coroutine(sender, event): ...


async def async_generator(sender, event):
    yield


def generator(sender, event):
    yield


class Called:
    async def __call__(self, sender, event): ...

    async def method(self, sender, event): ...


NEVER_RUN = {
    "a coroutine function": coroutine,
    "an async generator": async_generator,
    "a generator": generator,
    "an object with an async __call__": Called(),
    "a method that is one": Called().method,
    "a partial of one": functools.partial(functools.partial(generator), None),
    "a partial of an object with an async __call__": functools.partial(Called(), None),
}


@pytest.mark.parametrize("receiver", NEVER_RUN.values(), ids=NEVER_RUN)
def test_what_a_call_would_not_run_is_refused(signal, receiver):
    with pytest.raises(
        TypeError, match="receiver must be an ordinary function, not an? .*which a call does not"
    ):
        signal.connect(receiver)


@pytest.mark.parametrize("hidden", [coroutine, async_generator, generator], ids=lambda f: f.__name__)
def test_one_that_is_wrapped_is_an_error_when_it_is_called(signal, hidden):
    @functools.wraps(hidden)
    def wrapper(sender, event):
        return hidden(sender, event)

    sender = Sender()
    signal.connect(wrapper, sender=sender)
    with pytest.raises(TypeError, match=f"{hidden.__name__} returned <.*>, which is never run"):
        signal.send(sender, event=None)


def test_a_wrapper_that_runs_a_coroutine_is_an_ordinary_function(signal):
    ran = []

    async def receiver(sender, event):
        ran.append(event)

    @functools.wraps(receiver)
    def wrapper(sender, event):
        asyncio.run(receiver(sender, event))

    sender = Sender()
    signal.connect(wrapper, sender=sender)
    signal.send(sender, event="event")
    assert ran == ["event"]


def test_signals_events_and_triggers_do_not_import_tensorflow():
    program = (
        "import sys, importlib.util as u\n"
        "import types; package = types.ModuleType('hookrun'); package.__path__ = ['hookrun']\n"
        "sys.modules['hookrun'] = package\n"
        "import hookrun.signals, hookrun.events, hookrun.triggers\n"
        "rooms = {m for m in sys.modules if m.startswith('hookrun.')}\n"
        "known = {'hookrun.signals', 'hookrun.events', 'hookrun.triggers', 'hookrun.numeric'}\n"
        "assert rooms == known, rooms\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
