"""What writing events costs, and what is lost, against TensorFlow's and tensorboardX's writers.

    python benchmarks/event_files.py

The summary is a merged one of 20 scalars and 4 histograms.
"""

from __future__ import annotations

import glob
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorboardX
import tensorflow as tf
from measuring import print_table
from tensorboardX.proto.summary_pb2 import Summary

from hookrun.writers import EventFileWriter

v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")

ROUNDS = 5
WRITERS: dict[str, Callable[[str], Any]] = {
    "hookrun": EventFileWriter,
    "TensorFlow": v1.summary.FileWriter,
    "tensorboardX": tensorboardX.FileWriter,
}


def merged_summary() -> bytes:
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as sess:
        for index in range(20):
            v1.summary.scalar(f"scalar_{index}", float(random.random()))
        for index in range(4):
            v1.summary.histogram(f"histogram_{index}", random.normal(size=200).astype(np.float32))
        summary: bytes = sess.run(v1.summary.merge_all())
    return summary


def adder(name: str, writer: Any, summary: bytes) -> Callable[[int], None]:
    """A function that adds the summary, as bytes: tensorboardX has to parse them."""
    if name == "tensorboardX":
        return lambda step: writer.add_summary(Summary.FromString(summary), step)
    return lambda step: writer.add_summary(summary, step)


def in_graph(name: str) -> Any:
    """A writer in a directory of its own."""
    with tf.Graph().as_default():
        return WRITERS[name](tempfile.mkdtemp())


def paced_secs(name: str, summary: bytes, count: int = 400) -> float:
    """The median time of one `add_summary` in a loop that has other work between two."""
    writer, secs = in_graph(name), []
    add, matrix = adder(name, writer, summary), np.full((200, 200), 0.5)
    for step in range(count):
        start = time.perf_counter()
        add(step)
        secs.append(time.perf_counter() - start)
        for _ in range(4):
            matrix @ matrix
    writer.close()
    return statistics.median(secs)


def processor_and_wall_secs(name: str, summary: bytes, count: int) -> tuple[float, float]:
    """The processor time of all threads, and the time until all is on disk, for one event."""
    writer = in_graph(name)
    add = adder(name, writer, summary)
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for step in range(count):
        add(step)
    writer.close()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return processor / count, wall / count


def measure_costs() -> None:
    summary = merged_summary()
    names = ["hookrun", "TensorFlow"]
    paced: dict[str, list[float]] = {name: [] for name in names}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            paced[name].append(paced_secs(name, summary))
            costs[name].append(processor_and_wall_secs(name, summary, 10_000))
    costs["tensorboardX"] = [processor_and_wall_secs("tensorboardX", summary, 1_000)]
    add = {name: statistics.median(values) for name, values in paced.items()}
    processor = {name: statistics.median(p for p, _ in values) for name, values in costs.items()}
    wall = {name: statistics.median(w for _, w in values) for name, values in costs.items()}
    rows = [(f"add_summary, paced, {name}", f"{add[name] * 1e6:.1f} µs", "") for name in names]
    rows.append(("add_summary, paced / TensorFlow", f"{add['hookrun'] / add['TensorFlow']:.2f}", "≤ 0.20"))
    rows += [
        (f"processor time, {name} / TensorFlow", f"{processor[name] / processor['TensorFlow']:.2f}", bar)
        for name, bar in (("hookrun", "≤ 0.5"), ("tensorboardX", ""))
    ]
    rows += [
        (f"events to disk per second, {name} / TensorFlow", f"{wall['TensorFlow'] / wall[name]:.2f}", bar)
        for name, bar in (("hookrun", "≥ 1.0"), ("tensorboardX", ""))
    ]
    print_table(f"A summary of {len(summary) / 1000:.1f} kB", rows)


def events_in(logdir: str) -> int:
    count = 0
    for path in glob.glob(os.path.join(logdir, "*tfevents*")):
        try:
            count += sum(event.HasField("summary") for event in v1.train.summary_iterator(path))
        except tf.errors.DataLossError:
            pass
    return count


def lost_when_reopened(name: str) -> int:
    """Of 30 events, each added to a writer that is opened and closed for it, within a second."""
    logdir = tempfile.mkdtemp()
    with tf.Graph().as_default():
        writer = WRITERS[name](logdir)
        for step in range(30):
            writer.reopen()
            writer.add_summary(v1.Summary(value=[v1.Summary.Value(tag="loss", simple_value=1.0)]), step)
            writer.close()
    return 30 - events_in(logdir)


def lost_by_two_writers(name: str) -> int:
    """Of 200 events of two writers at once in one directory."""
    kind = v1.Summary if name != "tensorboardX" else Summary
    summary = kind(value=[{"tag": "loss", "simple_value": 1.0}])
    logdir = tempfile.mkdtemp()
    with tf.Graph().as_default():
        writers = [WRITERS[name](logdir) for _ in range(2)]
    for step in range(100):
        for writer in writers:
            writer.add_summary(summary, step)
    for writer in writers:
        writer.close()
    return 200 - events_in(logdir)


KILLED = """
import os, signal, sys
import tensorboardX, tensorflow as tf
from tensorboardX.proto.summary_pb2 import Summary
from hookrun.writers import EventFileWriter
kinds = {"hookrun": EventFileWriter, "TensorFlow": tf.compat.v1.summary.FileWriter}
kinds["tensorboardX"] = tensorboardX.FileWriter
kind = Summary if sys.argv[1] == "tensorboardX" else tf.compat.v1.Summary
with tf.Graph().as_default():
    writer = kinds[sys.argv[1]](sys.argv[2])
    for step in range(80):
        writer.add_summary(kind(value=[{"tag": "loss", "simple_value": 1.0}]), step)
    writer.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def lost_when_killed(name: str) -> int:
    """Of 80 events, when the process is killed after `flush()`."""
    logdir = tempfile.mkdtemp()
    subprocess.run([sys.executable, "-c", KILLED, name, logdir], capture_output=True)
    return 80 - events_in(logdir)


def measure_losses() -> None:
    rows = []
    for what, lost, names in (
        ("30 events, reopened for each", lost_when_reopened, ["hookrun", "TensorFlow"]),
        ("200 events of two writers at once", lost_by_two_writers, list(WRITERS)),
        ("80 events, killed after flush()", lost_when_killed, list(WRITERS)),
    ):
        rows += [(f"{what}, {name}", str(lost(name)), "0" if name == "hookrun" else "") for name in names]
    print_table("Events lost", rows)


def measure_dead_disk() -> None:
    """1,000 events for a disk that takes nothing, as the file size that a process may write is 0."""
    summary = merged_summary()
    writer = in_graph("hookrun")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    start = time.perf_counter()
    for step in range(1000):
        writer.add_summary(summary, step)
    secs = time.perf_counter() - start
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.close()
    print_table("A dead disk", [("1,000 events", f"{secs:.3f} s", "< 1 s")])


if __name__ == "__main__":
    measure_costs()
    measure_losses()
    measure_dead_disk()
