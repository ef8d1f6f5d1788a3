"""What hookrun logs is silent until a program asks for it."""

from __future__ import annotations

import logging
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals


def test_it_has_a_handler_that_says_nothing(logger):
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


def test_log_to_console_shows_who_is_called_in_which_order(model, logger, capsys):
    hookrun.log_to_console()
    hookrun.log_to_console()  # shows nothing twice
    sv = hookrun.Supervisor()
    sv.on(signals.step, lambda *_: None, name="second")
    sv.on(signals.step, lambda *_: None, name="first", priority=-1)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    shown = [line for line in capsys.readouterr().err.splitlines() if "Session ready" in line]
    assert len(shown) == 1 and "step: first, second" in shown[0]
    assert " INFO hookrun.runtime.bus: " in shown[0]


def test_lines_that_repeat_with_the_steps_are_for_debugging(model, logger, tmp_path, capsys):
    """But those of a LoggingHook; what TensorFlow's Supervisor logs on its timers is not among them."""
    hookrun.log_to_console()
    rate = tf.compat.v1.get_variable("rate", initializer=0.1, trainable=False)
    sv = hookrun.Supervisor(
        logdir=tmp_path,
        save_summaries_secs=0,
        save_summaries_steps=1,
        save_model_secs=0,
        hooks=[
            hooks.SummaryHook(every_steps=1),
            hooks.LearningRateHook(rate, lambda step: step / 10, every_steps=1),
            hooks.LoggingHook({}, every_steps=1),
        ],
    )
    with sv.managed_session() as sess:
        capsys.readouterr()
        sess.run(model.train_op)
        (line,) = capsys.readouterr().err.splitlines()
        assert " INFO hookrun.hooks.logging: step 1: " in line
        hookrun.log_to_console("DEBUG")
        sess.run(model.train_op)
        told = capsys.readouterr().err
    assert "Recording summary at step 2." in told and "learning_rate at step 2: 0.1" in told
    assert "global_step/sec: " in told


def test_what_tensorflows_supervisor_logs_on_its_timers_is_shown(model, logger, tmp_path, capsys, wait_until):
    hookrun.log_to_console()
    sv = hookrun.Supervisor(logdir=tmp_path)
    due = threading.Event()
    sv.on(signals.summary_due, lambda *_: due.set(), priority=1)
    with sv.managed_session():
        wait_until(due)
    shown = capsys.readouterr().err
    for line in ("Recording summary at step 0.", "global_step/sec: ", "Saving checkpoint to path "):
        assert f": {line}" in shown


def test_a_further_call_changes_the_level(logger, capsys):
    hookrun.log_to_console()
    hookrun.log_to_console("ERROR")
    logging.getLogger("hookrun.test").warning("not shown")
    logging.getLogger("hookrun.test").error("shown")
    assert capsys.readouterr().err.count("shown") == 1


def test_what_is_no_level_is_refused(logger):
    with pytest.raises(ValueError, match="LOUD"):
        hookrun.log_to_console("LOUD")
