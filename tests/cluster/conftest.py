"""Clusters of real processes, and the program that they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import Cluster

TRAIN = Path(__file__).parent / "train.py"


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes a cluster of so many tasks of each job; its processes end with the test."""
    clusters: list[Cluster] = []

    def start(**jobs: int) -> Cluster:
        clusters.append(Cluster(**jobs))
        return clusters[-1]

    yield start
    for cluster in clusters:
        print(cluster.output)
        cluster.close()
