"""What hookrun logs: warnings are seen by default, the rest where a program asks for it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals

PROGRAM = """
import logging, sys
import hookrun
{configured}
for name in ("hookrun", "hookrun.runtime.bus"):
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logging.getLogger(name).log(getattr(logging, level), "%s of %s", level, name)
"""
CONFIGURED = {
    "nothing": ("", 1, 0),
    "log_to_console": ("hookrun.log_to_console()", 1, 1),
    "basicConfig": ("logging.basicConfig()", 1, 0),
    "basicConfig of INFO": ("logging.basicConfig(level=logging.INFO)", 1, 1),
    "a handler of its own": ("logging.getLogger('hookrun').addHandler(logging.NullHandler())", 0, 0),
    "a watcher": (
        "from hookrun.logs import LogWatcher\n"
        "for _ in range(2): logging.getLogger('hookrun').addHandler(LogWatcher())",
        1,
        0,
    ),
    "a watcher beside a handler": (
        "from hookrun.logs import LogWatcher\n"
        "logging.getLogger('hookrun').addHandler(LogWatcher()); logging.basicConfig()",
        1,
        0,
    ),
}


@pytest.mark.parametrize("configured", CONFIGURED)
def test_a_program_sees_each_warning_once_unless_it_silences_them(configured):
    line, warnings, infos = CONFIGURED[configured]
    program = PROGRAM.format(configured=line)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout == ""
    for name in ("hookrun\n", "hookrun.runtime.bus\n"):
        for level, times in {"ERROR": warnings, "WARNING": warnings, "INFO": infos, "DEBUG": 0}.items():
            assert done.stderr.count(f"{level} of {name}") == times


def test_a_warning_of_a_training_is_seen_beside_a_heartbeat(tmp_path):
    program = (
        "import sys, tensorflow as tf, hookrun\n"
        "from hookrun import hooks\n"
        "tf.compat.v1.disable_eager_execution()\n"
        "train_op = tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)\n"
        "heartbeat = hooks.HeartbeatHook(sys.argv[1] + '/heartbeat.json')\n"
        "class Refusing(hooks.Hook):\n"
        "    def on_checkpoint_saving(self, sv, event): event.refused = 'not good enough'\n"
        "sv = hookrun.Supervisor(logdir=sys.argv[1], hooks=[heartbeat, Refusing()])\n"
        "with sv.managed_session() as sess:\n"
        "    sess.run(train_op)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "The model is not saved at step 1: not good enough" in done.stderr.splitlines()


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
