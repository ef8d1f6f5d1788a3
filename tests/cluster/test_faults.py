"""What becomes of a cluster when something in it fails."""

from __future__ import annotations

import time

import pytest

from tests.cluster.conftest import TRAIN

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def step_of(process):
    """The next step that it tells, of those that it has not told yet."""
    process.skip()
    return int(process.expect(r"step (\d+)")[1])


def newest_step(process):
    return int(process.seen(r"step (\d+)")[-1][1])


@pytest.fixture
def training(start_cluster, tmp_path):
    """Starts a parameter server, a chief and a worker, and waits until they train."""

    def start(grace_secs, *options):
        cluster = start_cluster(ps=1, chief=1, worker=1)
        ps = cluster.start(TRAIN, "ps", 0, "--grace", grace_secs)
        chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path / "logdir", *options)
        worker = cluster.start(TRAIN, "worker", 0, *options)
        for said in ("saved", "step"):
            chief.expect(said)
        worker.expect("step")
        return cluster, ps, chief, worker

    return start


def test_a_network_that_is_away_for_a_while_costs_no_step(training):
    cluster, ps, chief, worker = training(grace_secs=30)
    if cluster.network.unavailable:
        pytest.skip(cluster.network.unavailable)
    cluster.network.take_down()
    before = newest_step(chief)
    time.sleep(1.5)  # it is the length of the drop that is tried
    during = newest_step(chief)
    chief.skip()
    cluster.network.bring_up()

    assert during < before + 20  # of the more than 100 that there would have been
    assert int(chief.expect(r"step (\d+)")[1]) > before
    assert step_of(worker) > before
    assert len(chief.seen("ready")) == len(worker.seen("ready")) == 1
    for process in (worker, chief):
        process.say("stop")
        assert process.status() == 0
    assert ps.status(10) == 0


@pytest.mark.parametrize("options", [[], ["--recover"]], ids=["documented loop", "sv.train"])
def test_a_network_whose_connections_break_costs_no_step(training, options):
    cluster, ps, chief, worker = training(30, *options)
    if cluster.network.unavailable:
        pytest.skip(cluster.network.unavailable)
    for process in (chief, worker):
        process.skip()
    cluster.network.take_down(breaking=True)
    time.sleep(1.5)  # it is the length of the drop that is tried
    before = max(map(newest_step, (chief, worker)))
    cluster.network.bring_up()

    for process in (chief, worker):
        process.expect("lost")
        assert int(process.expect(r"ready (\d+)")[1]) >= before > 0  # the step of the checkpoint
        process.expect("step")
    for process in (worker, chief):
        process.say("stop")
        assert process.status() == 0
    assert ps.status(10) == 0


def test_a_parameter_server_that_was_paused_goes_on(training):
    _, ps, chief, worker = training(grace_secs=30)

    ps.pause()
    before = newest_step(chief)
    time.sleep(2)  # it is the length of the pause that is tried
    during = newest_step(chief)
    chief.skip()
    ps.go_on()

    assert during < before + 20  # of the more than 100 that there would have been
    assert int(chief.expect(r"step (\d+)")[1]) > before
    assert step_of(worker) > before
    assert len(chief.seen("ready")) == len(worker.seen("ready")) == 1


def test_a_killed_chief_finds_its_parameter_servers_and_they_end_when_it_does_not_come_back(
    training, tmp_path
):
    cluster, ps, chief, worker = training(grace_secs=40)
    chief.kill()
    step_of(worker)
    worker.say("stop")
    assert worker.status() == 0

    chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path / "logdir")

    chief.expect("ready")  # though the worker has ended
    for _ in range(300):  # which take more than the second in which the parameter server sees it
        chief.expect("step")
    assert ps.running
    chief.kill()
    killed = time.monotonic()
    assert ps.status(60) == 0
    assert 35 < time.monotonic() - killed < 50
    assert "ended without releasing this server, and did not return within 40.0 s" in ps.errors
