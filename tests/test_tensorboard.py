"""A real TensorBoard server, asked over HTTP, shows what a training run wrote."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


RUN = """
import os, signal, sys, threading
import tensorflow as tf
import hookrun
logdir, steps, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with_global_step = sys.argv[4] == "True"
with tf.Graph().as_default():
    weight = tf.compat.v1.get_variable("weight", initializer=0.0)
    train_op = tf.compat.v1.assign_add(weight, 1.0)
    if with_global_step:
        with tf.control_dependencies([train_op]):
            train_op = tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)
    tf.compat.v1.summary.scalar("now", weight)
    sv = hookrun.Supervisor(
        logdir=logdir, save_summaries_secs=0, save_summaries_steps=1, save_model_secs=0, save_model_steps=100
    )
    saved = threading.Event()
    sv.on(hookrun.signals.checkpoint_saved, lambda sv, event: saved.set())
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(train_op)
        if end == "kill":
            assert steps < 100 or saved.wait(60)
            sv.summary_writer.flush()
            (name,) = [name for name in os.listdir(logdir) if "tfevents" in name]
            with open(os.path.join(logdir, name), "ab") as file:
                file.write(b"a record that is tor")
            os.kill(os.getpid(), signal.SIGKILL)
"""


def start(logdir, steps, end, with_global_step=True):
    """Train for so many steps in a process of its own: to its end, or until it kills itself."""
    command = [sys.executable, "-c", RUN, str(logdir), str(steps), end, str(with_global_step)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    status = subprocess.run(command, env=environment, timeout=100).returncode
    assert status == (-signal.SIGKILL if end == "kill" else 0)


@pytest.mark.parametrize("reader", ["http", "event accumulator"])
def test_a_run_killed_at_150_and_resumed_at_100_is_one_increasing_series(tmp_path, tensorboard, reader):
    start(tmp_path / "run", 150, "kill")
    start(tmp_path / "run", 20, "stop")
    if reader == "http":
        points = json.loads(tensorboard("plugin/scalars/scalars", run="run", tag="now"))
        series = [(step, value) for _, step, value in points]
    else:
        accumulator = EventAccumulator(str(tmp_path / "run")).Reload()
        series = [(point.step, point.value) for point in accumulator.Scalars("now")]
    # The start at step 100 makes it drop what it had from there on.
    assert series == [(step, step) for step in [*range(1, 100), *range(101, 121)]]


def test_without_a_global_step_the_latest_run_is_shown_alone(tmp_path, tensorboard):
    start(tmp_path / "run", 30, "kill", with_global_step=False)
    start(tmp_path / "run", 20, "stop", with_global_step=False)
    points = json.loads(tensorboard("plugin/scalars/scalars", run="run", tag="now"))
    assert [step for _, step, _ in points] == list(range(1, 21))


def test_sessions_within_one_second_are_one_increasing_series(tmp_path, tensorboard):
    step = tf.compat.v1.train.get_or_create_global_step()
    tf.compat.v1.summary.scalar("step", step)
    train_op = tf.compat.v1.assign_add(step, 1)
    sv = hookrun.Supervisor(
        logdir=tmp_path / "run", save_summaries_secs=0, save_summaries_steps=1, save_model_secs=1000
    )
    for _ in range(5):
        with sv.managed_session() as sess:
            for _ in range(3):
                sess.run(train_op)
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 5
    points = json.loads(tensorboard("plugin/scalars/scalars", run="run", tag="step"))
    assert [step for _, step, _ in points] == [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 15]
