"""A user's program with hooks passes mypy in strict mode, and a slip in it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = re.findall(r"`(hooks\.\w+\(.*\))` \|$", (ROOT / "docs" / "hooks.md").read_text("utf-8"), re.MULTILINE)
"""The line of each hook in the documentation."""

PROGRAM = """
from __future__ import annotations

from typing import Any

import hookrun
from hookrun import events, hooks, signals, triggers


class StopWhenGood(hooks.Hook):
    def __init__(self, enough: float) -> None:
        self.trigger = triggers.EverySteps(10)
        self.enough = enough

    def on_step(self, runtime: hookrun.Runtime, event: events.Step) -> None:
        if event.values < self.enough:
            runtime.request_stop()


hookrun.log_to_console()
sv = hookrun.Supervisor(logdir="runs/mine", hooks=[StopWhenGood(0.5)])


@sv.on(signals.step, every_steps=100)
def report(sv: hookrun.Supervisor, event: events.Step) -> None:
    print(event.global_step + 1)


def evaluate(session: Any) -> dict[str, float]:
    return {"loss": float(session.run("loss:0"))}


def each_hook(loss: Any, rate: Any, tf_hook: Any) -> list[hooks.Hook]:
    return [HOOKS]
""".replace("HOOKS", ", ".join(TABLE))


def check(program, directory):
    path = directory / "program.py"
    path.write_text(program)
    silent = "--follow-imports=silent"  # as for a package that is installed: only the program is reported on
    command = [sys.executable, "-m", "mypy", "--strict", silent, "--cache-dir", str(directory / "cache")]
    return subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=110).stdout


def test_mypy_knows_the_public_names_and_what_a_receiver_is_told(tmp_path):
    assert len(TABLE) >= 20
    assert "Success" in check(PROGRAM, tmp_path)
    slips = PROGRAM.replace("global_step + 1", "global_stepp").replace("hooks.Hook)", "hooks.Hok)")
    found = check(slips, tmp_path)
    assert "global_stepp" in found and "Hok" in found
