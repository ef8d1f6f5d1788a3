import re

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.mark.parametrize("killed", ["worker", "chief"])
def test_a_killed_task_comes_back_and_all_end_when_the_training_is_done(run_example, tmp_path, killed):
    output = run_example("cluster.py", "--logdir", tmp_path, "--kill", killed)

    before, after = output.split(f"--- {killed} 0 is killed, and started again\n")
    assert f"{killed} 0: training from step" in before
    assert f"{killed} 0: training from step" in after
    for task in ("ps 0", "chief 0", "worker 0", "worker 1"):
        assert f"{task} ended with status 0" in after
    slope, intercept = re.search(r"chief 0: slope (\S+), intercept (\S+)", after).groups()
    assert (float(slope), float(intercept)) == pytest.approx((3, 2), abs=0.1)
    assert (tmp_path / "checkpoint").exists()
