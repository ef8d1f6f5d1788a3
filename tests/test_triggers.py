"""Triggers: at which steps they fire, also after a restart. The clock is moved, not waited for."""

from __future__ import annotations

import json

import pytest

from hookrun.testing import FakeClock
from hookrun.triggers import (
    AnyOf,
    AtSteps,
    EverySecs,
    EverySteps,
    NextStep,
    Once,
    Trigger,
    required,
    schedule,
)


def fired(trigger, steps):
    return [step for step in steps if trigger(step)]


def test_every_steps_fires_at_multiples():
    trigger = EverySteps(100)
    trigger.start(0)
    assert fired(trigger, range(1, 351)) == [100, 200, 300]


def test_every_steps_fires_after_a_resume_where_it_would_have_without():
    trigger = EverySteps(100)
    trigger.start(250)
    assert fired(trigger, range(251, 451)) == [300, 400]


def test_every_steps_fires_at_the_first_step_past_a_multiple_that_was_jumped_over():
    trigger = EverySteps(100)
    trigger.start(0)
    assert fired(trigger, [60, 99, 130, 180, 420]) == [130, 420]


def test_every_steps_that_was_never_started_fires_at_multiples():
    assert fired(EverySteps(10), range(995, 1011)) == [1000, 1010]


@pytest.mark.parametrize("trigger", [EverySteps(10), AtSteps([10, 20])])
def test_a_step_that_comes_after_a_later_one_fires_nothing(trigger):
    trigger.start(0)
    assert fired(trigger, [9, 11, 10, 9, 12, 19, 21, 20]) == [11, 21]


def test_every_secs_fires_when_its_time_is_up():
    clock = FakeClock(1000.0)
    trigger = EverySecs(60, clock=clock)
    trigger.start(0)
    assert not trigger(1)
    clock.advance(59.9)
    assert not trigger(2)
    clock.advance(0.1)
    assert trigger(3)
    assert not trigger(4)


def test_every_secs_counts_on_after_a_restart():
    clock = FakeClock(1000.0)
    trigger = EverySecs(60, clock=clock)
    trigger.start(0)
    clock.advance(50)
    state = json.loads(json.dumps(trigger.state_dict()))
    clock.advance(10_000)
    resumed = EverySecs(60, clock=clock)
    resumed.start(7)
    resumed.load_state_dict(state)
    clock.advance(9.9)
    assert not resumed(8)
    clock.advance(0.2)
    assert resumed(9)


def test_at_steps_fires_once_at_each():
    trigger = AtSteps([10, 1, 10])
    trigger.start(0)
    assert fired(trigger, range(1, 20)) == [1, 10]


def test_at_steps_leaves_out_those_before_a_resume():
    trigger = AtSteps([1, 10])
    trigger.start(5)
    assert fired(trigger, range(6, 20)) == [10]


def test_once_fires_once_in_all_runs():
    trigger = Once()
    assert fired(trigger, range(1, 5)) == [1]
    resumed = Once()
    resumed.load_state_dict(json.loads(json.dumps(trigger.state_dict())))
    assert fired(resumed, range(5, 9)) == []


def test_or_fires_where_either_does_and_each_sees_every_step():
    trigger = EverySteps(3) | AtSteps([1, 6]) | Once()
    trigger.start(0)
    assert fired(trigger, range(1, 10)) == [1, 3, 6, 9]


def test_or_is_saved_and_restored_with_its_parts():
    clock = FakeClock(1000.0)
    trigger = EverySecs(60, clock=clock) | Once()
    trigger.start(0)
    assert trigger(1)
    resumed = EverySecs(60, clock=clock) | Once()
    resumed.start(1)
    resumed.load_state_dict(json.loads(json.dumps(trigger.state_dict())))
    assert not resumed(2)
    clock.advance(60)
    assert resumed(3)


def test_schedule_makes_the_trigger_that_its_arguments_ask_for():
    assert schedule() is None
    assert repr(schedule(every_steps=5)) == "EverySteps(5)"
    both = schedule(every_steps=5, at_steps=[1])
    assert isinstance(both, AnyOf)
    both.start(0)
    assert fired(both, range(1, 11)) == [1, 5, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_steps": 0}, "every_steps must be a positive number of steps, not 0"),
        ({"every_steps": 2.5}, "every_steps .* not 2.5"),
        ({"every_steps": True}, "every_steps .* not True"),
        ({"every_steps": "often"}, "every_steps .* not 'often'"),
        ({"every_secs": 0}, "every_secs must be a positive number of seconds, not 0"),
        ({"every_secs": "1"}, "every_secs .* not '1'"),
        ({"at_steps": []}, "at_steps must name at least one step"),
        ({"at_steps": [3, -1]}, "at_steps .* not -1"),
        ({"at_steps": 5}, "at_steps must be an iterable of step numbers, not 5"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_by_name_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        schedule(**arguments)


def test_the_next_step_is_known_to_be_due_before_it_is_run():
    next_step = NextStep(EverySteps(3))
    next_step.start(2)
    due = [next_step.is_due]
    for step in (3, 4, 5, 6):
        next_step.after(step)
        due.append(next_step.is_due)
    assert due == [True, False, False, True, False]


def test_a_hook_without_the_schedule_that_it_needs_is_named():
    with pytest.raises(ValueError, match="TraceHook needs one of every_steps, every_secs and at_steps"):
        required(schedule(), "TraceHook")


def test_what_counts_steps_goes_on_from_a_step_that_the_training_went_back_to():
    for trigger in (EverySteps(10), AtSteps([10, 20, 30])):
        trigger.start(0)
        for step in range(1, 35):
            trigger(step)
        trigger.go_on_from(15)
        assert [step for step in range(16, 35) if trigger(step)] == [20, 30]


def test_time_goes_on_where_the_training_goes_back():
    now = [0.0]
    trigger = EverySecs(10, clock=lambda: now[0]) | Once()
    trigger.start(0)
    assert trigger(1)
    now[0] = 9.0
    trigger.go_on_from(0)
    assert not trigger(1)
    now[0] = 10.0
    assert trigger(2)


def test_a_trigger_of_ones_own_starts_anew_where_the_training_goes_back_unless_it_says_otherwise():
    class Own(Trigger):
        def start(self, step):
            self.begin = step

        def __call__(self, step):
            return step == self.begin + 2

    trigger = Own() | EverySteps(100)
    trigger.start(0)
    trigger.go_on_from(7)
    assert [step for step in range(8, 12) if trigger(step)] == [9]


def test_the_next_step_is_known_to_be_due_where_the_training_went_back():
    next_step = NextStep(AtSteps([3]))
    next_step.start(0)
    for step in range(1, 6):
        next_step.after(step)
    next_step.go_on_from(2)
    assert next_step.is_due
