"""A user's program with hooks passes mypy in strict mode, and a slip in it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from __future__ import annotations

import hookrun
from hookrun import events, hooks, signals, triggers


class StopWhenGood(hooks.Hook):
    def __init__(self, enough: float) -> None:
        self.trigger = triggers.EverySteps(10)
        self.enough = enough

    def on_step(self, supervisor: hookrun.Supervisor, event: events.Step) -> None:
        if event.values < self.enough:
            supervisor.request_stop()


hookrun.log_to_console()
sv = hookrun.Supervisor(logdir="runs/mine", hooks=[StopWhenGood(0.5)])


@sv.on(signals.step, every_steps=100)
def report(sv: hookrun.Supervisor, event: events.Step) -> None:
    print(event.global_step + 1)
"""


def check(program, directory):
    path = directory / "program.py"
    path.write_text(program)
    silent = "--follow-imports=silent"  # as for a package that is installed: only the program is reported on
    command = [sys.executable, "-m", "mypy", "--strict", silent, "--cache-dir", str(directory / "cache")]
    root = Path(__file__).parent.parent
    return subprocess.run([*command, str(path)], cwd=root, capture_output=True, text=True, timeout=110).stdout


def test_mypy_knows_the_public_names_and_what_a_receiver_is_told(tmp_path):
    assert "Success" in check(PROGRAM, tmp_path)
    slips = PROGRAM.replace("global_step + 1", "global_stepp").replace("hooks.Hook)", "hooks.Hok)")
    found = check(slips, tmp_path)
    assert "global_stepp" in found and "Hok" in found
