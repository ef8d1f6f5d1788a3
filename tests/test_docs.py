"""The recipes of docs/clusters.md, run with what a scheduler would set."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")


def task_of(scheduler):
    """The task that the recipe of a scheduler makes of the environment."""
    recipe = re.search(rf"\*\*{scheduler}\.\*\*.*?```python\n(.*?)```", TEXT, re.DOTALL)[1]
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

    task = task_of("Kubernetes")

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

    task = task_of("SLURM")

    assert (task.job, task.index, task.is_chief) == (job, index, is_chief)
    assert task.cluster_spec.as_dict() == {
        "ps": ["node1:2222", "node1:2223"],
        "worker": ["node2:2222", "node2:2223", "node3:2222", "node3:2223"],
    }
