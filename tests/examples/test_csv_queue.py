import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.timeout(150)


def test_fits_the_plane_until_its_input_ends(run_example, tmp_path):
    output = run_example("csv_queue.py", "--logdir", tmp_path, "--epochs", 10)

    # 3 files of 200 points without their headers, 10 times, in batches of 20
    step, *fitted = re.search(r"ended at step (\d+): slopes (\S+) (\S+), intercept (\S+)\n", output).groups()
    assert step == "300"
    assert [float(value) for value in fitted] == pytest.approx([3, -2, 0.5], abs=0.01)
    assert (tmp_path / "model.ckpt-300.index").exists()
    losses = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in losses] == [50, 100, 150, 200, 250, 300]
    assert losses[-1].value < losses[0].value
