"""The programs and recipes of docs/clusters.md, run in clusters and with what a scheduler would set."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

import hookrun
from hookrun import cluster, hooks, signals
from tests.cluster.processes import BOUND_SECS, Cluster, free_ports

v1 = tf.compat.v1
TEXT = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
PROGRAM, SYNCHRONOUS, LOOP, KUBERNETES, SLURM = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

MODEL = """
import tensorflow as tf

def build_loss():
    weights = tf.compat.v1.get_variable("weights", [3], initializer=tf.compat.v1.zeros_initializer())
    return tf.reduce_sum((weights - 1.0) ** 2)

def build_model():
    step = tf.compat.v1.train.get_or_create_global_step()
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.05)
    return optimizer.minimize(build_loss(), global_step=step)
"""


def trained(logdir):
    """The step of the newest checkpoint, and whether the weights in it have come to 1."""
    checkpoint = tf.train.load_checkpoint(str(logdir))
    weights = checkpoint.get_tensor("weights")
    return checkpoint.get_tensor("global_step"), weights == pytest.approx(1, abs=0.01)


@pytest.mark.timeout(300)
def test_the_program_of_every_task(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(MODEL + PROGRAM)
    tasks = Cluster(ps=1, chief=1, worker=1)
    try:
        processes = [tasks.start(program, job) for job in ("ps", "chief", "worker")]
        statuses = [process.status() for process in processes[::-1]]
    finally:
        print(tasks.output)
        tasks.close()

    assert statuses == [0, 0, 0]
    step, converged = trained(tmp_path / "runs" / "cluster")
    assert step >= 500
    assert converged


def test_the_program_of_synchronous_replicas(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
    spec = {"ps": addresses[:1], "chief": addresses[1:2], "worker": addresses[2:]}
    tasks = [cluster.Task(spec, *task) for task in (("ps", 0), ("chief", 0), ("worker", 0), ("worker", 1))]
    _, *servers = [task.start_server() for task in tasks]

    def run(task, server):
        names = {"cluster": cluster, "hooks": hooks, "hookrun": hookrun, "task": task, "server": server}
        exec(MODEL + SYNCHRONOUS, names)

    with ThreadPoolExecutor() as threads:
        for running in [threads.submit(run, *each) for each in zip(tasks[1:], servers, strict=True)]:
            running.result(BOUND_SECS)

    assert trained(tmp_path / "runs" / "synchronous") == (100, True)


def test_the_loop_that_goes_on_with_the_next_session(model, tmp_path):
    task = cluster.Task({"worker": [f"127.0.0.1:{free_ports(1)[0]}"]}, "worker")
    sv = hookrun.Supervisor(logdir=tmp_path, hooks=[hooks.StopAtStepHook(last_step=5)])
    started = []
    sv.on(signals.session_created, lambda sv, event: started.append(event.global_step))

    @sv.on(signals.step, at_steps=[3])
    def lose(sv, event):
        if len(started) == 1:
            event.session._raise_lost(v1.errors.UnavailableError(None, None, "gone"))

    exec(LOOP, {"sv": sv, "task": task, "server": task.start_server(), "train_op": model.train_op, "tf": tf})

    assert started == [0, 3]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-5")


def test_the_form_of_tf_config():
    (config,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)

    task = cluster.Task.from_tf_config(config)

    assert (task.job, task.index, task.is_chief) == ("worker", 0, False)


def task_of(recipe):
    """The task that a recipe makes of the environment."""
    names = {}
    exec(recipe, names)
    return names["task"]


@pytest.mark.parametrize(
    ("hostname", "job", "index"), [("ps-1", "ps", 1), ("chief-0", "chief", 0), ("worker-2", "worker", 2)]
)
def test_kubernetes(monkeypatch, hostname, job, index):
    monkeypatch.setenv("HOSTNAME", hostname)
    for name, replicas in {"PS_REPLICAS": 2, "CHIEF_REPLICAS": 1, "WORKER_REPLICAS": 3}.items():
        monkeypatch.setenv(name, str(replicas))

    task = task_of(KUBERNETES)

    assert (task.job, task.index) == (job, index)
    assert task.cluster_spec.as_dict() == {
        "ps": ["ps-0.ps:2222", "ps-1.ps:2222"],
        "chief": ["chief-0.chief:2222"],
        "worker": [f"worker-{i}.worker:2222" for i in range(3)],
    }


@pytest.mark.parametrize(
    ("rank", "job", "index", "is_chief"),
    [(1, "ps", 1, False), (2, "worker", 0, True), (5, "worker", 3, False)],
)
def test_slurm(monkeypatch, tmp_path, rank, job, index, is_chief):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\ntest "$*" = "show hostnames node[1-3]" && printf "node1\\nnode2\\nnode3\\n"\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-3]")
    monkeypatch.setenv("SLURM_NTASKS", "6")
    monkeypatch.setenv("SLURM_PROCID", str(rank))

    task = task_of(SLURM)

    assert (task.job, task.index, task.is_chief) == (job, index, is_chief)
    assert task.cluster_spec.as_dict() == {
        "ps": ["node1:2222", "node1:2223"],
        "worker": ["node2:2222", "node2:2223", "node3:2222", "node3:2223"],
    }
