"""What grows with the number of workers of a cluster, measured with clusters of processes on this machine.

    python benchmarks/cluster.py [workers ...]      # 1 2 4 8 if none are given; 8 need about 6 GB
    python benchmarks/cluster.py 2 --servers 2      # parameter servers; 1 unless given

Each cluster is measured once it trains. All tasks share the cores of this machine: the steps per second say
what a parameter server bears, not what more machines would bring.
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
    """Established by the parameter server and to it."""
    server_memory: float
    server_threads: int
    worker_memory: float
    """The mean of chief and workers."""
    server_cpu: float
    """The share of one core that the parameter server took."""
    end: float
    """From the chief's end until the parameter server's."""


def measure(workers: int, servers: int) -> Measured:
    """A cluster of parameter servers, of which the first is measured, and of workers, the first the chief."""
    with (
        tempfile.TemporaryDirectory() as logdir,
        contextlib.closing(Cluster(ps=servers, worker=workers)) as cluster,
    ):
        start = time.monotonic()
        server, *_ = [cluster.start(PROGRAM, "ps", index, "--grace", "60") for index in range(servers)]
        options = ["--pace", "0", "--logdir", logdir, *["--partitioned"] * (servers > 1)]
        tasks = [cluster.start(PROGRAM, "worker", index, *options) for index in range(workers)]
        for task in tasks:
            task.expect("step", START_SECS)
        started = time.monotonic() - start

        first, cpu, begin = newest_step(tasks), cpu_secs(server), time.monotonic()
        time.sleep(MEASURED_SECS)
        secs = time.monotonic() - begin
        steps, cpu = newest_step(tasks) - first, cpu_secs(server) - cpu
        status = status_of(server)
        worker_memory = statistics.mean(status_of(task)["VmRSS"] / 1024 for task in tasks)
        connections = established(server)

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


def established(process: Process) -> int:
    """The number of connections that `process` has, those it made and those it accepted."""
    tables = [Path(f"/proc/{process.pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "01"}
    open_files = [os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    return sum(name in {f"socket:[{inode}]" for inode in inodes} for name in open_files)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workers", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--servers", type=int, default=1, help="parameter servers; default: %(default)s")
    args = parser.parse_args()
    columns = [measure(count, args.servers) for count in args.workers]
    rows = [
        ("until every task trains", [f"{m.start:.0f} s" for m in columns]),
        ("steps/s, all tasks together", [f"{m.steps_per_sec:.0f}" for m in columns]),
        ("parameter server: connections", [f"{m.connections}" for m in columns]),
        ("parameter server: threads", [f"{m.server_threads}" for m in columns]),
        ("parameter server: memory", [f"{m.server_memory:.0f} MB" for m in columns]),
        ("parameter server: share of a core", [f"{m.server_cpu:.2f}" for m in columns]),
        ("a worker: memory", [f"{m.worker_memory:.0f} MB" for m in columns]),
        ("parameter server ends after the chief by", [f"{m.end:.1f} s" for m in columns]),
    ]
    print_table(
        f"A cluster on this machine; parameter servers: {args.servers}",
        [(name, *values) for name, values in rows],
        tuple(f"{count} worker{'s' * (count > 1)}" for count in args.workers),
    )


if __name__ == "__main__":
    main()
