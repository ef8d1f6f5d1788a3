import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_example():
    """Runs a program (a path, or a name in examples/), checks its exit status, returns what it printed.

    `packages` is a further directory that it imports from, `timeout` in seconds.
    """

    def run(program, *args, status=0, packages=ROOT, timeout=120):
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / program, *map(str, args)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return run
