"""CallbackHook: a function that is called as a hook is."""

from __future__ import annotations

import pytest

from hookrun import hooks, signals
from hookrun.testing import run_steps


def test_it_is_called_at_the_steps_that_are_due_with_the_values_of_its_fetches():
    told = []
    hook = hooks.CallbackHook(
        lambda sv, event: told.append((event.global_step, float(event.values))),
        every_steps=2,
        fetches="loss:0",
    )
    run_steps(hook, 4, values=[1.0, 0.5, 0.25, 0.125])
    assert told == [(2, 0.5), (4, 0.125)]


def test_it_may_be_left_out_of_steps_that_do_not_feed_what_it_fetches():
    assert hooks.CallbackHook(print, fetches="loss:0", on_unfed="skip").on_unfed == "skip"
    assert hooks.CallbackHook(print, fetches="loss:0").on_unfed == "stop"


def test_any_signal_may_be_what_it_is_called_for():
    told = []
    sent = run_steps(hooks.CallbackHook(lambda *args: told.append(args), signals.stop), 2)
    assert told == [(sent.supervisor, sent.events(signals.stop)[0])]


def test_an_error_is_reported_under_the_name_of_the_function(caplog):
    def fails(supervisor, event):
        raise KeyError("missing")

    with pytest.raises(KeyError):
        run_steps(hooks.CallbackHook(fails), 2)
    assert "fails.on_step failed in step" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["report"], TypeError, "function must be callable as function.*, not 'report'"),
        ([lambda: None], TypeError, "function must be callable as function"),
        ([print, "step"], TypeError, "signal must be one of hookrun.signals, not 'step'"),
    ],
)
def test_what_cannot_be_called_or_sent_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        hooks.CallbackHook(*arguments)


def test_a_schedule_for_another_signal_than_step_is_refused():
    with pytest.raises(ValueError, match="only `step` has schedules and fetches; .* is for stop"):
        hooks.CallbackHook(print, signals.stop, every_steps=3)
