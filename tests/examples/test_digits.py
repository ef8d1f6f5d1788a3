import re
import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(300)


def accuracy(output):
    return float(re.search(r"accuracy on held-out digits: (\S+)", output).group(1))


@pytest.fixture(scope="module")
def first_run(run_example, tmp_path_factory):
    """The logdir of a run to step 790, and what the run printed."""
    logdir = tmp_path_factory.mktemp("runs") / "digits"
    return logdir, run_example("digits.py", "--logdir", logdir, "--steps", 790)


def test_trains_and_says_what_it_wrote(first_run):
    logdir, output = first_run

    assert accuracy(output) > 0.95
    assert "resumed" not in output
    assert f"tensorboard --logdir {logdir}" in output
    written = {path.name for path in logdir.iterdir()}
    assert {"checkpoint", "graph.pbtxt", "model.ckpt-790.index", "model.ckpt-790.meta"} <= written
    events = [name for name in written if name.startswith("events.out.tfevents.")]
    assert len(events) == 1
    for name in [*events, "checkpoint", "graph.pbtxt", "model.ckpt-790.index"]:
        assert f"  {name}: " in output


def test_summaries_hold_the_loss_the_graph_and_the_printed_accuracies(first_run):
    logdir, output = first_run

    events = EventAccumulator(str(logdir)).Reload()

    printed = re.findall(r"^step (\d+): accuracy (\S+)$", output, re.MULTILINE)
    assert [(str(e.step), f"{e.value:.4f}") for e in events.Scalars("accuracy")] == printed
    assert [step for step, _ in printed] == ["200", "400", "600", "790"]
    assert [point.step for point in events.Scalars("loss")] == [*range(20, 790, 20), 790]
    assert [point.step for point in events.Scalars("global_step/sec")] == list(range(100, 790, 100))
    assert events.Graph().node


def test_resumes_evaluates_when_nothing_is_left_and_trains_on(run_example, first_run, tmp_path):
    first_logdir, first_output = first_run
    logdir = shutil.copytree(first_logdir, tmp_path / "digits")

    again = run_example("digits.py", "--logdir", logdir, "--steps", 790)
    assert "resumed at step 790\n" in again
    assert "give a higher --steps" in again
    assert accuracy(again) == accuracy(first_output)

    further = run_example("digits.py", "--logdir", logdir, "--steps", 1000)
    assert "resumed at step 790\n" in further
    assert "give a higher --steps" not in further
    assert "step 1000: accuracy" in further
    assert accuracy(further) > 0.95
    assert (logdir / "model.ckpt-1000.index").exists()


def test_fails_when_the_accuracy_is_not_reached(run_example, tmp_path):
    output = run_example("digits.py", "--logdir", tmp_path, "--steps", 1, status=1)

    assert accuracy(output) < 0.95
