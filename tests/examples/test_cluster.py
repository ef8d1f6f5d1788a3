import re

import pytest

pytestmark = pytest.mark.timeout(330)


@pytest.mark.long
def test_killed_tasks_come_back_and_all_end_when_the_training_is_done(run_example, tmp_path):
    output = run_example("cluster.py", "--logdir", tmp_path, timeout=300)

    start, server_killed, worker_killed, chief_killed = re.split(r"--- \w+ 0 is killed, .*\n", output)
    assert "chief 0: ready at step 0; the model: newly initialized\n" in start
    saved = re.findall(r"chief 0: saved step (\d+)", start)[-1]
    assert f"the model: model.ckpt-{saved}\n" in server_killed
    for task in ("chief 0", "worker 0", "worker 1"):
        assert f"{task}: lost the parameter server\n" in server_killed
        assert re.search(rf"{task}: recovered: \d+ steps lost\n", server_killed + worker_killed)
    last_saved = int(re.findall(r"chief 0: saved step (\d+)", server_killed)[-1])
    assert int(re.search(r"worker 0: ready at step (\d+)\n", worker_killed)[1]) > last_saved
    last_saved = int(re.findall(r"chief 0: saved step (\d+)", worker_killed)[-1])
    back, model = re.search(r"chief 0: ready at step (\d+); the model: (.*)\n", chief_killed).groups()
    assert int(back) > last_saved
    assert model == "live, no step lost"
    slope, intercept = re.search(r"chief 0: slope (\S+), intercept (\S+)\n", chief_killed).groups()
    assert (float(slope), float(intercept)) == pytest.approx((3, 2), abs=0.1)
    assert "ended with status 0 (ps 0), 0 (chief 0), 0 (worker 0), 0 (worker 1)\n" in chief_killed
    assert (tmp_path / "checkpoint").exists()


def test_without_a_kill_it_trains_to_the_end(run_example, tmp_path):
    output = run_example("cluster.py", "--logdir", tmp_path, "--steps", 300, "--kill")

    assert "killed" not in output
    assert "lost" not in output
    assert (tmp_path / "checkpoint").exists()
