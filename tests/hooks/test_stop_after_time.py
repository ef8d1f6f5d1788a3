"""StopAfterTimeHook: the training ends when its time is up, on a clock that the test moves."""

from __future__ import annotations

import pytest

from hookrun import hooks, signals
from hookrun.testing import FakeClock, run_steps


def test_the_first_step_that_ends_after_its_time_is_the_last_of_each_session(tmp_path):
    clock = FakeClock(1000.0)
    hook = hooks.StopAfterTimeHook(secs=60, clock=clock)
    for _ in range(2):
        sent = run_steps(hook, 9, clock=clock, secs_per_step=25)
        sent.assert_sent(signals.step, times=3)
        sent.assert_sent(signals.stop, error=None)


@pytest.mark.parametrize("secs", [0, -1, float("nan"), True, "60"])
def test_another_time_is_refused_by_name_and_value(secs):
    with pytest.raises(ValueError, match=f"secs must be a positive number of seconds, not {secs!r}"):
        hooks.StopAfterTimeHook(secs=secs)
