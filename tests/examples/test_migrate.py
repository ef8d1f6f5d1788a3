import re
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(400)

SOURCE = (Path(__file__).parents[2] / "examples" / "migrate.py").read_text()
NEW_IMPORT = "\nfrom hookrun import Supervisor\n"
OLD_IMPORT = "\nfrom tensorflow.compat.v1.train import Supervisor\n"
DISABLE_V2 = "import tensorflow.compat.v1 as tf\n\ntf.disable_v2_behavior()\n"


def parameters(output):
    return [float(value) for value in re.search(r"slope (\S+), intercept (\S+)", output).groups()]


@pytest.fixture(scope="module")
def migrated(run_example, tmp_path_factory):
    """The logdir of a run of the example to step 250, and what the run printed."""
    logdir = tmp_path_factory.mktemp("runs") / "migrate"
    return logdir, run_example("migrate.py", "--logdir", logdir, "--steps", 250)


def test_learns_what_the_original_learns(run_example, migrated, tmp_path):
    assert SOURCE.count(NEW_IMPORT) == 1
    original = tmp_path / "original.py"
    original.write_text(DISABLE_V2 + SOURCE.replace(NEW_IMPORT, OLD_IMPORT))

    expected = parameters(run_example(original, "--logdir", tmp_path / "original", "--steps", 250))

    _, output = migrated
    assert expected == pytest.approx([3, 2], abs=0.1)
    assert parameters(output) == pytest.approx(expected, abs=1e-4)
    assert re.match(r"step \d+: loss", output)  # told by a timer, which may come late


def test_runs_with_v2_behavior_disabled_too(run_example, migrated, tmp_path):
    program = tmp_path / "v1.py"
    program.write_text(DISABLE_V2 + SOURCE)

    output = run_example(program, "--logdir", tmp_path / "v1", "--steps", 250)

    assert parameters(output) == pytest.approx(parameters(migrated[1]), abs=1e-4)


def test_writes_summaries_and_resumes(run_example, migrated, tmp_path):
    assert (migrated[0] / "model.ckpt-250.index").exists()
    logdir = shutil.copytree(migrated[0], tmp_path / "migrate")

    output = run_example("migrate.py", "--logdir", logdir, "--steps", 350)

    assert "step 0:" not in output
    assert (logdir / "model.ckpt-350.index").exists()
    losses = EventAccumulator(str(logdir)).Reload().Scalars("loss")
    assert [event.step for event in losses] == [100, 200, 300]
