"""What grows with the number of workers of a cluster, measured with clusters of processes on this machine.

    python benchmarks/cluster.py [workers ...]      # 1 2 4 8 if none are given; 8 need about 6 GB

Each cluster has one parameter server, and is measured once it trains. All tasks share the cores of this
machine: the steps per second say what the parameter server bears, not what more machines would bring.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from measuring import print_table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.cluster.processes import Cluster, Process  # noqa: E402

PROGRAM = ROOT / "tests" / "cluster" / "train.py"
START_SECS = 300.0
MEASURED_SECS = 5.0


class Measured(NamedTuple):
    """One cluster; sizes in MB, times in seconds."""

    start: float
    """From the start of the first process until every task trains."""
    steps_per_sec: float
    """Of all tasks together."""
    connections: int
    """Established at the parameter server's port, at its side."""
    server_memory: float
    server_threads: int
    worker_memory: float
    """The mean of chief and workers."""
    server_cpu: float
    """The share of one core that the parameter server took."""
    end: float
    """From the chief's end until the parameter server's."""


def measure(workers: int) -> Measured:
    """A cluster of one parameter server and `workers` that train, the first of them the chief."""
    with (
        tempfile.TemporaryDirectory() as logdir,
        contextlib.closing(Cluster(ps=1, worker=workers)) as cluster,
    ):
        start = time.monotonic()
        server = cluster.start(PROGRAM, "ps", 0, "--grace", "60")
        options = ["--pace", "0", "--logdir", logdir]
        tasks = [cluster.start(PROGRAM, "worker", index, *options) for index in range(workers)]
        for task in tasks:
            task.expect("step", START_SECS)
        started = time.monotonic() - start

        first, cpu, begin = newest_step(tasks), cpu_secs(server), time.monotonic()
        time.sleep(MEASURED_SECS)
        secs = time.monotonic() - begin
        steps, cpu = newest_step(tasks) - first, cpu_secs(server) - cpu
        status, port = status_of(server), int(cluster.spec["ps"][0].rsplit(":")[-1])
        worker_memory = statistics.mean(status_of(task)["VmRSS"] / 1024 for task in tasks)
        connections = established(server, port)

        for task in tasks[::-1]:
            task.say("stop")
            assert task.status() == 0, task.output
        ended = time.monotonic()
        assert server.status() == 0, server.output
        return Measured(
            started,
            steps / secs,
            connections,
            status["VmRSS"] / 1024,
            status["Threads"],
            worker_memory,
            cpu / secs,
            time.monotonic() - ended,
        )


def newest_step(tasks: list[Process]) -> int:
    return max(int(task.seen(r"step (\d+)")[-1][1]) for task in tasks)


def status_of(process: Process) -> dict[str, int]:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", text, re.MULTILINE)}


def cpu_secs(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")")[-1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def established(process: Process, port: int) -> int:
    """The connections of the network of `process` whose local end is `port`."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return sum(line[3] == "01" and int(line[1].rsplit(":")[-1], 16) == port for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workers", type=int, nargs="*", default=[1, 2, 4, 8])
    counts = parser.parse_args().workers
    columns = [measure(count) for count in counts]
    rows = [
        ("until every task trains", [f"{m.start:.0f} s" for m in columns]),
        ("steps/s, all tasks together", [f"{m.steps_per_sec:.0f}" for m in columns]),
        ("connections of the parameter server", [f"{m.connections}" for m in columns]),
        ("parameter server: threads", [f"{m.server_threads}" for m in columns]),
        ("parameter server: memory", [f"{m.server_memory:.0f} MB" for m in columns]),
        ("parameter server: share of a core", [f"{m.server_cpu:.2f}" for m in columns]),
        ("a worker: memory", [f"{m.worker_memory:.0f} MB" for m in columns]),
        ("parameter server ends after the chief by", [f"{m.end:.1f} s" for m in columns]),
    ]
    print_table(
        "A cluster of one parameter server, on this machine",
        [(name, *values) for name, values in rows],
        tuple(f"{count} worker{'s' * (count > 1)}" for count in counts),
    )


if __name__ == "__main__":
    main()
