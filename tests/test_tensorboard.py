"""A real TensorBoard server, asked over HTTP, shows what a training run wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import tensorflow as tf

import hookrun


@pytest.fixture
def tensorboard(tmp_path):
    """Ask a TensorBoard that serves `tmp_path`: ``tensorboard(route, **query)`` returns the body."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--host", "127.0.0.1"]
    command += ["--port", "0", "--load_fast", "false", "--reload_interval", "0"]
    servers = []

    def ask(route: str, **query: str) -> str:
        if not servers:
            servers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            lines = iter(servers[0].stderr.readline, "")
            servers.append(next(found[0] for found in map(re.compile(r"http://\S+/").search, lines) if found))
        url = f"{servers[1]}data/{route}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.read().decode()

    yield ask
    if servers:
        servers[0].terminate()
        servers[0].wait(30)
        servers[0].stderr.close()


def test_it_shows_the_scalars_and_the_graph(model, tmp_path, tensorboard):
    sv = hookrun.Supervisor(
        logdir=tmp_path / "run", save_summaries_secs=0, save_summaries_steps=1, save_model_secs=0
    )
    with sv.managed_session() as sess:
        losses = [sess.run([model.train_op, model.loss])[1] for _ in range(3)]
    assert json.loads(tensorboard("runs")) == ["run"]
    tags = json.loads(tensorboard("plugin/scalars/tags"))
    assert set(tags["run"]) == {"loss", "global_step/sec"}
    scalars = json.loads(tensorboard("plugin/scalars/scalars", run="run", tag="loss"))
    assert [step for _, step, _ in scalars] == [1, 2, 3]
    assert [value for _, _, value in scalars][:2] == pytest.approx(losses[1:], rel=1e-6)
    graph = tensorboard("plugin/graphs/graph", run="run", conceptual="false")
    assert 'name: "weights"' in graph


def test_a_run_stopped_and_resumed_is_one_increasing_series(model, tmp_path, tensorboard):
    for _ in range(2):
        with tf.Graph().as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            tf.compat.v1.summary.scalar("step", step)
            train_op = tf.compat.v1.assign_add(step, 1)
            sv = hookrun.Supervisor(logdir=tmp_path / "run", save_summaries_secs=0, save_summaries_steps=1)
            with sv.managed_session() as sess:
                for _ in range(3):
                    sess.run(train_op)
    scalars = json.loads(tensorboard("plugin/scalars/scalars", run="run", tag="step"))
    steps = [step for _, step, _ in scalars]
    assert steps == [1, 2, 4, 5, 6]  # START at step 3 makes TensorBoard drop what it had from 3 on
    assert [value for _, _, value in scalars] == steps
