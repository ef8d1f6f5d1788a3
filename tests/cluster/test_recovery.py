"""What comes back after a fault, and within which time."""

from __future__ import annotations

import time

import pytest
import tensorflow as tf

from tests.cluster.conftest import TRAIN

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def newest_step(process):
    return int(process.seen(r"step (\d+)")[-1][1])


def start_all(cluster, logdir, *options, grace_secs=60):
    servers = [
        cluster.start(TRAIN, "ps", index, "--grace", grace_secs) for index in range(len(cluster.spec["ps"]))
    ]
    chief = cluster.start(TRAIN, "chief", 0, "--logdir", logdir, *options)
    worker = cluster.start(TRAIN, "worker", 0, *options)
    chief.expect("step")
    worker.expect("step")
    return servers, chief, worker


def test_a_chief_that_is_started_again_loses_no_step(start_cluster, tmp_path):
    cluster = start_cluster(ps=1, chief=1, worker=1)
    _, chief, worker = start_all(cluster, tmp_path)
    chief.kill()
    before = newest_step(worker)

    chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path)

    assert int(chief.expect(r"ready (\d+)")[1]) >= before


def test_a_chief_that_is_killed_while_it_saves_leaves_intact_checkpoints(start_cluster, tmp_path):
    cluster = start_cluster(ps=1, chief=1)
    cluster.start(TRAIN, "ps", 0, "--grace", 60)
    for _ in range(3):
        chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path, "--save-secs", 0.05)
        restored = int(chief.expect(r"ready (\d+)")[1])
        for _ in range(10):
            saved = int(chief.expect(r"saved (\d+)")[1])
        chief.kill()

        assert saved > restored
        newest = tf.train.latest_checkpoint(str(tmp_path))
        assert int(tf.train.load_checkpoint(newest).get_tensor("global_step")) >= saved


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("options", [[], ["--recover"]], ids=["documented loop", "sv.train"])
def test_a_parameter_server_that_is_killed_three_times_costs_what_was_not_saved(
    start_cluster, tmp_path, servers, options
):
    cluster = start_cluster(ps=servers, chief=1, worker=1)
    spread = ["--partitioned", "--sharded"] if servers > 1 else []
    (*_, killed), chief, worker = start_all(cluster, tmp_path, "--save-secs", 1, *spread, *options)
    for _ in range(3):
        chief.expect("saved")
        killed.kill()
        saved = int(chief.seen(r"saved (\d+)")[-1][1])
        for process in (chief, worker):
            process.skip()
        killed = cluster.start(TRAIN, "ps", servers - 1, "--grace", 60)
        killed.expect("serving")
        returned = time.monotonic()

        assert int(chief.expect(r"ready (\d+)")[1]) >= saved
        chief.expect("step")
        worker.expect("step")
        assert time.monotonic() - returned < 3
    for process in (worker, chief):
        process.say("stop")
        assert process.status() == 0


def test_a_chief_and_a_parameter_server_that_die_together_come_back_from_the_checkpoint(
    start_cluster, tmp_path
):
    cluster = start_cluster(ps=2, chief=1, worker=1)
    (*_, server), chief, worker = start_all(cluster, tmp_path, "--save-secs", 1, "--recover")
    for _ in range(2):  # the first one is that of the start
        chief.expect("saved")
    for killed in (server, chief):
        killed.kill()
    saved = int(chief.seen(r"saved (\d+)")[-1][1])
    worker.skip()

    cluster.start(TRAIN, "ps", 1, "--grace", 60)
    chief = cluster.start(TRAIN, "chief", 0, "--logdir", tmp_path)

    assert int(chief.expect(r"ready (\d+)")[1]) >= saved > 0
    assert int(worker.expect(r"ready (\d+)")[1]) >= saved
    for process in (worker, chief):
        process.say("stop")
        assert process.status() == 0


@pytest.mark.parametrize("options", [[], ["--recover"]], ids=["documented loop", "sv.train"])
def test_everybody_ends_when_a_parameter_server_never_comes_back(start_cluster, tmp_path, options):
    cluster = start_cluster(ps=2, chief=1, worker=1)
    servers, chief, worker = start_all(cluster, tmp_path, "--max-wait", 5, *options, grace_secs=8)

    servers[1].kill()

    assert chief.status(20) == 1
    ended = time.monotonic()
    assert worker.status(20) == 1
    for process in (chief, worker):
        assert "DeadlineExceededError" in process.errors
        assert "no answer from /job:ps/task:1" in process.errors
    assert servers[0].status(20) == 0
    assert time.monotonic() - ended < 10


@pytest.mark.parametrize("job", ["chief", "worker"])
def test_a_session_is_not_waited_for_longer_than_max_wait_secs(start_cluster, tmp_path, job):
    cluster = start_cluster(ps=1, chief=1, worker=1)
    process = cluster.start(TRAIN, job, 0, "--logdir", tmp_path, "--max-wait", 4)

    assert float(process.expect(r"gave up after (\S+)", 40)[1]) < 8
    assert process.status(20) == 1
