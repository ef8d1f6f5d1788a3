"""StepRate: on a clock that the test moves."""

from __future__ import annotations

import math

from hookrun.runtime.step_rate import StepRate
from hookrun.testing import FakeClock


def test_it_is_measured_from_one_time_to_the_next():
    clock = FakeClock()
    rate = StepRate(clock)
    rate.start(10)
    clock.advance(2.0)
    assert rate(30) == 10.0
    assert rate(31) == math.inf
    clock.advance(0.5)
    assert rate(31) == 0.0


def test_it_is_not_known_where_the_step_went_back_and_measured_from_there():
    clock = FakeClock()
    rate = StepRate(clock)
    rate.start(30)
    clock.advance(1.0)
    assert rate(10) is None
    clock.advance(1.0)
    assert rate(14) == 4.0
