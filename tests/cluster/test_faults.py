"""What becomes of a cluster when something in it fails."""

from __future__ import annotations

import time

import pytest

from tests.cluster.conftest import TRAIN


def step_of(process):
    """The next step that it tells, of those that it has not told yet."""
    process.skip()
    return int(process.expect(r"step (\d+)")[1])


@pytest.fixture
def training(start_cluster, tmp_path):
    """Starts a parameter server, a chief and a worker, and waits until they train."""

    def start(grace_secs):
        cluster = start_cluster(ps=1, chief=1, worker=1)
        ps = cluster.start(TRAIN, "ps", 0, "--grace", grace_secs)
        chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path / "logdir")
        worker = cluster.start(TRAIN, "worker", 0)
        worker.expect("step")
        chief.expect("saved")
        return cluster, ps, chief, worker

    return start


@pytest.mark.long
def test_a_network_that_is_away_for_a_while_costs_no_step(training):
    cluster, ps, chief, worker = training(grace_secs=30)
    if cluster.network.unavailable:
        pytest.skip(cluster.network.unavailable)
    before = step_of(chief)

    cluster.network.take_down()
    time.sleep(1.5)  # it is the length of the drop that is tried
    chief.skip()
    cluster.network.bring_up()

    assert int(chief.expect(r"step (\d+)")[1]) > before
    assert step_of(worker) > before
    for process in (worker, chief):
        process.say("stop")
        assert process.status() == 0
    assert ps.status(10) == 0


@pytest.mark.long
def test_a_parameter_server_that_was_paused_goes_on(training):
    _, ps, chief, worker = training(grace_secs=30)

    ps.pause()
    before = int(chief.seen(r"step (\d+)")[-1][1])
    time.sleep(2)  # it is the length of the pause that is tried
    chief.skip()
    ps.go_on()

    assert int(chief.expect(r"step (\d+)")[1]) > before
    assert step_of(worker) > before


@pytest.mark.long
def test_a_killed_chief_finds_its_parameter_servers_and_they_end_when_it_does_not_come_back(
    training, tmp_path
):
    cluster, ps, chief, worker = training(grace_secs=25)
    chief.kill()

    chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path / "logdir")

    chief.expect("ready")
    step_of(chief)
    step_of(worker)
    assert ps.running
    worker.say("stop")
    assert worker.status() == 0
    chief.kill()
    killed = time.monotonic()
    assert ps.status(40) == 0
    assert 20 < time.monotonic() - killed < 30
    assert "ended without a word and was not back within 25.0 s" in ps.errors
