"""HeartbeatHook: what the file tells, and that it is always whole."""

from __future__ import annotations

import json
import logging
import os

import pytest

import hookrun
from hookrun import events, hooks, signals
from hookrun.testing import FakeClock, run_steps


def read(path):
    return json.loads(path.read_text())


def test_a_step_that_comes_after_one_that_followed_it_has_no_rate(tmp_path):
    clock = FakeClock()
    hook = hooks.HeartbeatHook(tmp_path / "heartbeat.json", clock=clock)
    rates = []
    for step in (10, 9, 11):
        clock.advance(2)
        hook.on_step(None, events.Step(step, None, None))
        rates.append(read(tmp_path / "heartbeat.json")["steps_per_sec"])
    assert rates == [5.0, None, 1.0]


def test_it_tells_the_step_the_rate_and_the_end_with_the_final_checkpoint(tmp_path):
    handlers = list(logging.getLogger("hookrun").handlers)
    path, clock, told = tmp_path / "status" / "heartbeat.json", FakeClock(), []
    look = hooks.CallbackHook(lambda *_: told.append(read(path)))
    look.priority = 4000
    hook = hooks.HeartbeatHook(path, clock=clock)
    run_steps(hook, 5, others=[look], logdir=tmp_path / "logs", clock=clock, secs_per_step=5)
    assert [(now["state"], now["step"], now["steps_per_sec"]) for now in told] == [
        ("training", 0, None),
        ("training", 2, 0.2),
        ("training", 2, 0.2),
        ("training", 4, 0.2),
        ("training", 4, 0.2),
    ]
    end = read(path)
    assert end.pop("time") >= told[-1]["time"] > 1e9
    assert end == {
        "state": "ended",
        "step": 5,
        "steps_per_sec": 0.2,
        "last_checkpoint": str(tmp_path / "logs" / "model.ckpt-5"),
        "last_error": None,
        "pid": os.getpid(),
    }
    assert [each.name for each in path.parent.iterdir()] == ["heartbeat.json"]
    logging.getLogger("hookrun").error("of something else, after the end")
    run_steps(hook, 0, others=[started := Started(path)], logdir=tmp_path / "logs")
    assert started.told["last_checkpoint"].endswith("model.ckpt-5") and started.told["step"] == 5
    assert read(path)["last_error"] is None and handlers == logging.getLogger("hookrun").handlers


class Started(hooks.Hook):
    priority = 4000

    def __init__(self, path):
        self.path = path

    def on_session_created(self, supervisor, event):
        self.told = read(self.path)


def test_it_tells_the_error_that_ended_the_training(model, tmp_path):
    path = tmp_path / "heartbeat.json"
    sv = hookrun.Supervisor(hooks=[hooks.HeartbeatHook(path, every_steps=1)])
    with pytest.raises(ZeroDivisionError), sv.managed_session() as sess:
        sess.run(model.train_op)
        raise ZeroDivisionError("in the loop")
    assert (read(path)["state"], read(path)["last_error"]) == ("failed", "ZeroDivisionError: in the loop")


def test_an_interrupt_is_no_failure(tmp_path):
    def leave(supervisor, event):
        raise SystemExit(3)

    path = tmp_path / "heartbeat.json"
    with pytest.raises(SystemExit):
        run_steps(hooks.HeartbeatHook(path), 2, others=[hooks.CallbackHook(leave)])
    assert read(path)["state"] == "interrupted"


def test_an_error_that_the_training_survives_is_told_and_one_of_the_end_too(tmp_path):
    path = tmp_path / "heartbeat.json"

    def fails(supervisor, event):
        raise OSError("no space")

    survived = hooks.CallbackHook(fails)
    survived.on_error = "log"
    run_steps(hooks.HeartbeatHook(path), 1, others=[survived])
    assert read(path)["state"] == "ended"
    assert read(path)["last_error"].endswith("fails.on_step failed in step: OSError: no space")
    final = hooks.CallbackHook(fails, signals.stop)
    final.priority = 1000  # as the final checkpoint
    with pytest.raises(OSError):
        run_steps(hooks.HeartbeatHook(path), 1, others=[final])
    assert (read(path)["state"], read(path)["last_error"]) == ("failed", "OSError: no space")


def test_a_file_that_cannot_be_written_is_logged_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "heartbeat.json").mkdir()
    sent = run_steps(hooks.HeartbeatHook(tmp_path / "heartbeat.json", every_steps=1), 2)
    sent.assert_sent(signals.stop, error=None)
    assert "HeartbeatHook.on_step failed in step" in caplog.text
    assert [each.name for each in tmp_path.iterdir()] == ["heartbeat.json"]


def test_what_was_written_before_stays_whole_when_the_next_cannot_be_put_in_its_place(tmp_path, monkeypatch):
    path = tmp_path / "heartbeat.json"
    run_steps(hooks.HeartbeatHook(path), 3)
    before = read(path)

    def fails(*args):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fails)
    run_steps(hooks.HeartbeatHook(path, every_steps=1), 2)
    assert read(path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["heartbeat.json"]


def test_other_arguments_are_refused_by_name_and_value():
    with pytest.raises(TypeError, match="path must be a path, not None"):
        hooks.HeartbeatHook(None)
    with pytest.raises(ValueError, match="every_secs must be a positive number of seconds, not -1"):
        hooks.HeartbeatHook("heartbeat.json", every_secs=-1)
