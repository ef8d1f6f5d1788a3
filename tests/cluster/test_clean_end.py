"""How the processes of a cluster end."""

from __future__ import annotations

import time

from tests.cluster.conftest import TRAIN


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
