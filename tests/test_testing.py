"""hookrun.testing: what a hook author is given, also by its own documentation."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hookrun import hooks, signals, testing
from hookrun.testing import FakeClock, RecordingHook, run_steps

(DOCUMENTED,) = re.findall(r"```python\n(.*?)```", testing.__doc__, re.DOTALL)


def test_the_tests_in_its_documentation_pass(caplog):
    names = {}
    exec(DOCUMENTED, names)
    names["test_it_stops_the_training_at_a_loss_that_is_not_finite"]()
    caplog.clear()
    names["test_it_logs_the_values_with_the_steps_per_second"](caplog)


class Seen(hooks.Hook):
    """Keeps what it is told, and counts over restarts."""

    def __init__(self, fetches=None):
        self.fetches = fetches
        self.values = []
        self.count = 0

    def on_step(self, supervisor, event):
        self.values.append(event.values)
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class TestRunSteps:
    def test_gives_the_values_in_the_structure_of_the_fetches(self):
        own = {"loss": object(), "more": ["a name", object()]}
        hook = Seen(own)
        values = [{"loss": i / 2, "more": [np.arange(i), b"text"]} for i in (1, 2)]
        run_steps(hook, 2, values=values)
        assert hook.fetches is own
        assert [(v["loss"], list(v["more"][0]), v["more"][1]) for v in hook.values] == [
            (0.5, [0], b"text"),
            (1.0, [0, 1], b"text"),
        ]
        assert hook.values[0]["loss"].dtype == np.float32

    def test_is_a_whole_session_in_the_order_of_a_training(self, tmp_path):
        sent = run_steps(hooks.Hook(), 2, logdir=tmp_path)
        assert [signal.name for signal, _ in sent.sent] == [
            *("session_created", "step", "step", "checkpoint_saving", "checkpoint_saved", "stop")
        ]
        assert not sent.supervisor.services_started

    def test_ends_when_the_hook_stops_it_or_fails(self):
        stop = hooks.CallbackHook(lambda sv, _: sv.request_stop(), at_steps=[2])
        run_steps(stop, 5).assert_sent(signals.step, times=2)
        with pytest.raises(ZeroDivisionError):
            run_steps(hooks.CallbackHook(lambda *_: 1 / 0), 5)

    def test_restores_the_hook_from_what_it_saved(self, tmp_path):
        run_steps(Seen(), 3, logdir=tmp_path)
        again = Seen()
        run_steps(again, 2, logdir=tmp_path).assert_sent(signals.step, global_step=5)
        assert again.count == 5

    def test_moves_the_clock_before_each_step(self):
        clock, times = FakeClock(100.0), []
        run_steps(hooks.CallbackHook(lambda *_: times.append(clock())), 3, clock=clock, secs_per_step=0.5)
        assert times == [100.5, 101.0, 101.5]
        clock.advance(2)
        assert clock() == 103.5

    def test_values_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="values must be given where the hook has fetches: 'a'"):
            run_steps(Seen("a"), 1)
        with pytest.raises(ValueError, match="values must be given where the hook has fetches: None"):
            run_steps(Seen(), 1, values=[1.0])
        with pytest.raises(ValueError, match="values must hold those of 2 steps, not of 1"):
            run_steps(Seen("a"), 2, values=[1.0])
        with pytest.raises(ValueError, match="same set of keys"):
            run_steps(Seen({"a": "a"}), 1, values=[{"b": 1.0}])


class TestRecordingHook:
    def test_what_was_sent_is_counted_by_its_fields(self):
        sent = run_steps(hooks.Hook(), 3)
        sent.assert_sent(signals.step)
        sent.assert_sent(signals.step, times=3)
        sent.assert_sent(signals.step, times=1, global_step=2)
        sent.assert_sent(signals.checkpoint_saved, times=0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"times": 3}, r"step\(\) was sent 2 times, not 3"),
            ({"times": 0}, r"step\(\) was sent 2 times, not 0"),
            ({"global_step": 7}, r"step\(global_step=7\) was sent 0 times, not at least once"),
        ],
    )
    def test_what_was_not_sent_is_told_with_what_was(self, arguments, message):
        sent = run_steps(hooks.Hook(), 2)
        all_sent = (
            r"Sent: session_created\(global_step=0\), step\(global_step=1\), step\(global_step=2\), stop"
        )
        with pytest.raises(AssertionError, match=f"{message}. {all_sent}"):
            sent.assert_sent(signals.step, **arguments)

    def test_a_field_that_does_not_exist_is_an_error(self):
        with pytest.raises(AttributeError, match="global_stop"):
            run_steps(hooks.Hook(), 1).assert_sent(signals.step, times=0, global_stop=1)

    def test_it_is_called_last_and_keeps_what_was_sent_before_an_error(self):
        recorder = RecordingHook()
        with pytest.raises(ZeroDivisionError):
            run_steps(hooks.CallbackHook(lambda *_: 1 / 0), 2, others=[recorder])
        recorder.assert_sent(signals.step, times=1)
        assert isinstance(recorder.events(signals.stop)[0].error, ZeroDivisionError)
