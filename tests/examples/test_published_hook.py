import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(150)

PACKAGE = Path(__file__).parents[2] / "examples" / "published_hook"


def test_an_installed_hook_is_found_by_its_entry_point_and_trains(run_example, tmp_path):
    source = shutil.copytree(PACKAGE, tmp_path / "source")  # building a package leaves files beside it
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(tmp_path / "installed"), str(source)]
    subprocess.run(command, check=True, timeout=100)

    program, options = "published_hook/train.py", ["--steps", 300, "--hook", "busy_cores"]
    output = run_example(program, "--logdir", tmp_path / "run", *options, packages=tmp_path / "installed")

    assert re.search(r"^busy_cores: BusyCoresHook of hookrun-busy-cores 1\.\d+\.\d+$", output, re.MULTILINE)
    measured = EventAccumulator(str(tmp_path / "run")).Reload().Scalars("busy_cores")
    assert [point.step for point in measured] == [100, 200, 300]
    assert all(point.value > 0 for point in measured)
