"""CheckpointHook in a process that is killed: each restart finds an intact one, none older than told."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class SavingProgram:
    def __init__(self, logdir, with_step):
        name = "with_step" if with_step else "without_step"
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "saving_program.py", logdir, name],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed_after(self, secs, saves=0):
        """Train, and kill the training that long after it was restored and has told of that many saves.

        Returns the steps restored and last told.
        """
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        pid = int(self._expect("pid"))
        restored = told = int(self._expect("restored"))
        for _ in range(saves):
            told = int(self._process.stdout.readline().removeprefix("saved"))
        time.sleep(secs)  # the moment is what is tried, not waited for
        os.kill(pid, signal.SIGKILL)
        while (line := self._process.stdout.readline().split())[0] == "saved":
            told = int(line[1])
        assert line == ["ended"]
        return restored, told

    def _expect(self, word):
        told = self._process.stdout.readline()
        while told.startswith("saved"):
            told = self._process.stdout.readline()
        assert told.startswith(word), told + self.stop()
        return told.split()[1]

    def stop(self):
        self._process.kill()
        return self._process.communicate()[1]


@pytest.mark.parametrize("with_step", [True, False], ids=["with a global step", "without"])
@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_each_restart_is_intact_and_no_older_than_what_was_told(tmp_path, kills, with_step):
    program = SavingProgram(tmp_path, with_step)
    moments = random.Random(kills)
    try:
        told = 0
        for _ in range(kills):
            restored, last = program.killed_after(moments.uniform(0, 0.4))
            assert restored >= told
            told = last
        program.killed_after(0, saves=2)  # each kill may have left one that was not removed
    finally:
        program.stop()
    if with_step:
        assert told > 0
    assert len(list(tmp_path.glob("*.index"))) <= 6  # max_to_keep, and the one being saved
