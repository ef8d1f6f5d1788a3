"""Run each selected program under both Supervisor classes, each class in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORKER_SECS = 500
FAULTS = {"the program itself raised", "the process ended"}


class Both(NamedTuple):
    """What one program showed under each class."""

    tensorflow: Any
    hookrun: Any


def functions_in(path: Path) -> list[str]:
    """List the public functions of a file, without importing it: of a file in `programs/`, its programs."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]


PROGRAMS = [
    f"{path.stem}.{name}" for path in sorted((HERE / "programs").glob("*.py")) for name in functions_in(path)
]
BY_NAME = {program.split(".")[1]: program for program in PROGRAMS}
WITH_A_TEST = {name.removeprefix("test_") for name in functions_in(HERE / "test_deliberate_differences.py")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `program` runs once for each program that has no test of its own."""
    if "program" in metafunc.fixturenames:
        metafunc.parametrize("program", [each for each in PROGRAMS if each.split(".")[1] not in WITH_A_TEST])


def program_of(item: Any) -> str | None:
    """Return the program of a test: its parameter, or else the one of the same name."""
    if HERE not in Path(item.path).parents:
        return None
    if hasattr(item, "callspec"):
        return item.callspec.params.get("program")
    return BY_NAME[item.name.removeprefix("test_")]


def not_eager(program: str) -> tuple[bool, str]:
    """Sort key: the programs that need TensorFlow 2's defaults first, as they cannot be restored."""
    return (not program.startswith("eager."), program)


@pytest.fixture(scope="session")
def observations(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    """Run the programs of the selected tests under both classes."""
    names = sorted({name for name in map(program_of, request.session.items) if name}, key=not_eager)
    folder = tmp_path_factory.mktemp("differential")

    def run(runtime: str) -> dict[str, Any]:
        return run_worker(runtime, folder / f"{runtime}.jsonl", names)

    with ThreadPoolExecutor() as pool:
        tensorflow, hookrun = pool.map(run, ["tensorflow", "hookrun"])
    return {name: Both(tensorflow[name], hookrun[name]) for name in names}


def run_worker(runtime: str, output: Path, names: list[str]) -> dict[str, Any]:
    """Observe the programs. A program that ends the process is noted, and those after it run in a new one."""
    found: dict[str, Any] = {}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    while names:
        output.write_text("")
        worker = subprocess.run(
            [sys.executable, str(HERE / "worker.py"), runtime, str(output), *names],
            env=environment,
            capture_output=True,
            text=True,
            timeout=WORKER_SECS,
            check=False,
        )
        for line in output.read_text().splitlines():
            result = json.loads(line)
            found[result["program"]] = result["observation"]
        names = [name for name in names if name not in found]
        if names:
            found[names.pop(0)] = {"the process ended": worker.returncode, "stderr": worker.stderr[-3000:]}
    return found


@pytest.fixture
def observed(request: pytest.FixtureRequest, observations: dict[str, Both]) -> Both:
    """What the program of this test showed under each class. Under TensorFlow's it must have worked."""
    both = observations[program_of(request.node)]
    if isinstance(both.tensorflow, dict) and both.tensorflow.keys() & FAULTS:
        pytest.fail(f"the program does not work with TensorFlow's class: {both.tensorflow}")
    return both
