"""Numbers of numpy as arguments: taken wherever Python's are, refused where those are."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hookrun
from hookrun import cluster, hooks, triggers
from hookrun.hooks import retention
from hookrun.numeric import checked_int, checked_number

FIVE = [5, np.int64(5), np.uint8(5), np.array(5), 5.0, np.float32(5)]
HALF = [0.5, np.float64(0.5), np.float32(0.5), np.float16(0.5), np.array(0.5)]


@pytest.mark.parametrize("number", FIVE, ids=repr)
def test_an_integer_becomes_pythons(number):
    assert type(checked_int("n", number, "a number")) is int
    assert checked_int("n", number, "a number") == 5


@pytest.mark.parametrize("number", [*FIVE, *HALF], ids=repr)
def test_a_number_becomes_pythons(number):
    checked = checked_number("n", number, "a number", lambda n: n > 0)
    assert type(checked) in (int, float) and checked == number


@pytest.mark.parametrize(
    "value",
    [*HALF, 0, np.int64(0), True, np.True_, "5", np.str_("5"), None, [5], np.array([5]), math.inf, math.nan],
)
def test_what_is_no_such_integer_is_refused_by_its_value(value):
    with pytest.raises(ValueError, match="n must be a count, not "):
        checked_int("n", value, "a count")


INTEGERS = {
    "EverySteps": lambda n: triggers.EverySteps(n),
    "AtSteps": lambda n: triggers.AtSteps([n]),
    "StopAtStepHook(last_step)": lambda n: hooks.StopAtStepHook(last_step=n),
    "StopAtStepHook(num_steps)": lambda n: hooks.StopAtStepHook(num_steps=n),
    "EarlyStoppingHook(patience)": lambda n: hooks.EarlyStoppingHook("m", mode="min", patience=n),
    "EvaluationHook(every_checkpoints)": lambda n: hooks.EvaluationHook(dict, every_checkpoints=n),
    "LatestN": lambda n: retention.LatestN(n),
    "BestN": lambda n: retention.BestN(n, metric="m"),
    "Supervisor(save_model_steps)": lambda n: hookrun.Supervisor(save_model_steps=n),
    "Supervisor(save_summaries_steps)": lambda n: hookrun.Supervisor(save_summaries_steps=n),
}
NUMBERS = {
    "EverySecs": lambda n: triggers.EverySecs(n),
    "StopAfterTimeHook": lambda n: hooks.StopAfterTimeHook(secs=n),
    "EarlyStoppingHook(min_delta)": lambda n: hooks.EarlyStoppingHook(
        "m", mode="min", patience=1, min_delta=n
    ),
    "ProgressHook(last_step)": lambda n: hooks.ProgressHook(last_step=n),
    "ProgressHook(secs)": lambda n: hooks.ProgressHook(secs=n),
    "EveryNHours": lambda n: retention.EveryNHours(n),
    "Supervisor(save_model_secs)": lambda n: hookrun.Supervisor(save_model_secs=n),
    "Supervisor(stop_grace_secs)": lambda n: hookrun.Supervisor(stop_grace_secs=n),
}


@pytest.mark.parametrize("make", INTEGERS.values(), ids=INTEGERS)
def test_an_argument_may_be_an_integer_of_numpys(model, make):
    for number in FIVE:
        make(number)
    for number in HALF:
        with pytest.raises(ValueError, match="must be "):
            make(number)


@pytest.mark.parametrize("make", NUMBERS.values(), ids=NUMBERS)
def test_an_argument_may_be_a_number_of_numpys(model, make):
    for number in (*FIVE, *HALF):
        make(number)
    for number in (-1, np.int64(-1), math.nan, np.float32(math.nan), "1"):
        with pytest.raises(ValueError, match="must be "):
            make(number)


def test_others_may_be_numbers_of_numpys(model):
    assert hooks.MovingAverageHook(np.float32(0.5))._decay == 0.5
    assert cluster.Task({"worker": ["a:1", "b:1"]}, "worker", np.int64(1)).index == 1
    assert list(map(type, hooks.PreemptionHook([np.int64(15)])._signal_numbers)) == [int]
    hookrun.Supervisor().on(hookrun.signals.step, print, priority=np.array(1))
