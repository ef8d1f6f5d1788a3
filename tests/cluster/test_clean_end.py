"""How the processes of a cluster end."""

from __future__ import annotations

import time

import pytest
import tensorflow as tf

from tests.cluster.conftest import TRAIN

pytestmark = pytest.mark.timeout(300)


def test_a_worker_rejoins_and_everybody_ends_when_the_training_is_done(start_cluster, tmp_path):
    cluster = start_cluster(ps=1, chief=1, worker=1)
    logdir = tmp_path / "logdir"
    ps = cluster.start(TRAIN, "ps", 0, "--grace", 60)
    chief = cluster.start(TRAIN, "chief", 0, "--logdir", logdir)
    worker = cluster.start(TRAIN, "worker", 0)
    worker.expect("ready")
    worker.kill()
    step = int(chief.expect(r"step (\d+)")[1])

    worker = cluster.start(TRAIN, "worker", 0)

    assert int(worker.expect(r"ready (\d+)")[1]) >= step
    worker.say("stop")
    assert worker.status() == 0
    chief.say("stop")
    assert chief.status() == 0
    ended = time.monotonic()
    assert ps.status(10) == 0
    assert time.monotonic() - ended < 10
    chief.expect("done")
    saved = chief.seen(r"saved (\d+)")[-1][1]
    assert (logdir / f"model.ckpt-{saved}.index").exists()


@pytest.mark.long
def test_synchronous_replicas_end_by_themselves_and_the_chief_is_not_held_up(start_cluster, tmp_path):
    cluster = start_cluster(ps=2, worker=2)
    options = ["--sync", 2, "--partitioned", "--sharded", "--last-step", 20]
    servers = [cluster.start(TRAIN, "ps", index, "--grace", 60) for index in range(2)]
    chief = cluster.start(TRAIN, "worker", 0, *options, "--logdir", tmp_path)
    worker = cluster.start(TRAIN, "worker", 1, *options)

    assert chief.status() == 0
    assert float(chief.expect(r"done 20 (\S+)")[1]) < 2
    assert worker.status() == 0
    worker.expect("done 20")
    assert [server.status(10) for server in servers] == [0, 0]
    variables = dict(tf.train.list_variables(str(tmp_path / "model.ckpt-20")))
    assert variables["weights"] == [8]
    assert len(list(tmp_path.glob("model.ckpt-20.data-*-of-00002"))) == 2  # one of each parameter server
    for server in servers:
        server.expect("released")
    assert "Traceback" not in cluster.output
