"""What a training costs besides its steps as the model grows, against TensorFlow's Supervisor.

    python benchmarks/scale.py           some minutes
    python benchmarks/scale.py --large   with 3,000 variables and 1.6 GB: most of an hour

Each training is in a process of its own; the ratios are of hookrun to TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from measuring import in_own_process, print_table

import hookrun
from hookrun import events, signals

v1 = tf.compat.v1
v1.logging.set_verbosity(v1.logging.ERROR)
v1.disable_eager_execution()  # with it, the threads of TensorFlow's Supervisor have no graph
SUPERVISORS = {"hookrun": hookrun.Supervisor, "TensorFlow": v1.train.Supervisor}
SAVES = 4
STEP_SECS = 1.0
"""How long steps are run to know what one takes."""


class Size(NamedTuple):
    variables: int
    mb: float

    def __str__(self) -> str:
        size = f"{self.mb:g} MB" if self.mb else "4 floats each"
        return f"{self.variables:,} variables, {size}"


SMALL = [Size(10, 0), Size(300, 0), Size(1000, 0), Size(20, 4), Size(20, 400)]
LARGE = [Size(3000, 0), Size(20, 1600)]


class Cost(NamedTuple):
    """What a training costs, in seconds."""

    construction: float
    session: float
    first_step: float
    step: float
    pause: float
    """From the moment at which a save is due until the thread that trains goes on."""
    lost: float
    """By which the training ends later for a save."""
    processor: float
    """Of a save while nothing trains."""
    on_disk: float
    """From the moment at which a save is due until its bytes are on the disk."""
    end: float
    restart: float
    """Until the session is ready, the construction excluded."""


def model(size: Size) -> Any:
    """Variables that are all written at each step; returns the op that trains."""
    step = v1.train.get_or_create_global_step()
    floats = int(size.mb * 1e6 / 4 / size.variables) or 4
    weights = [v1.get_variable(f"w{i}", [floats], use_resource=True) for i in range(size.variables)]
    v1.summary.scalar("mean", tf.reduce_mean(weights[0]))
    loss = tf.add_n([tf.reduce_sum(tf.square(weight - 1.0)) for weight in weights])
    return v1.train.GradientDescentOptimizer(1e-4).minimize(loss, step)


def cost_of(name: str, size: Size, logdir: str) -> Cost:
    """Of a new run; the restart is left to `restart_of`."""
    with tf.Graph().as_default():
        train_op = model(size)
        sv, construction = timed(lambda: SUPERVISORS[name](logdir=logdir))
        manager = sv.managed_session()
        sess, session = timed(manager.__enter__)
        _, first_step = timed(lambda: sess.run(train_op))
        step = median_step(sess, train_op)
        save = {"hookrun": due_save, "TensorFlow": timer_save}[name]
        saves = [disturbed(sess, train_op, step, lambda saved: save(sv, sess, saved)) for _ in range(SAVES)]
        pause, lost, on_disk = map(statistics.median, zip(*saves[1:], strict=True))
        processor = statistics.median(
            processor_secs(sess, train_op, lambda saved: save(sv, sess, saved)) for _ in range(SAVES)
        )
        sess.run(train_op)
        _, end = timed(lambda: manager.__exit__(None, None, None))
    return Cost(construction, session, first_step, step, pause, lost, processor, on_disk, end, 0.0)


def restart_of(name: str, size: Size, logdir: str) -> float:
    """The time until a session is restored from what is in `logdir`."""
    with tf.Graph().as_default():
        model(size)
        sv = SUPERVISORS[name](logdir=logdir)
        manager = sv.managed_session()
        _, session = timed(manager.__enter__)
        manager.__exit__(None, None, None)
    return session


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def median_step(sess: Any, train_op: Any) -> float:
    secs, deadline = [], time.perf_counter() + STEP_SECS
    while len(secs) < 5 or time.perf_counter() < deadline:
        secs.append(timed(lambda: sess.run(train_op))[1])
    return statistics.median(secs)


def due_save(sv: Any, sess: Any, saved: threading.Event) -> None:
    """What the timer's thread does: hookrun writes behind the training."""
    handle = sv.on(signals.checkpoint_saved, lambda *_: (handle.remove(), saved.set()))
    with sv.graph.as_default():
        sv.send(signals.checkpoint_due, events.CheckpointDue(sess))


def timer_save(sv: Any, sess: Any, saved: threading.Event) -> None:
    """The same of TensorFlow's, which is all on that thread."""

    def save() -> None:
        with sess.graph.as_default():
            sv.saver.save(sess, sv.save_path, sv.global_step)
        saved.set()

    threading.Thread(target=save).start()


def disturbed(
    sess: Any, train_op: Any, step_secs: float, save: Callable[[threading.Event], None]
) -> tuple[float, float, float]:
    """The pause, the training time that is lost, and the time until the bytes are on the disk."""
    os.sync()
    saved, on_disk, times = threading.Event(), threading.Event(), []

    def wait() -> None:
        saved.wait()
        os.sync()
        times.append(time.perf_counter())
        on_disk.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    start = time.perf_counter()
    save(saved)
    sess.run(train_op)
    pause = time.perf_counter() - start - step_secs
    steps, ended = 1, False
    while not ended:
        ended = on_disk.is_set()
        sess.run(train_op)
        steps += 1
    lost = time.perf_counter() - start - steps * step_secs
    waiting.join()
    return max(0.0, pause), max(0.0, lost), times[0] - start


def processor_secs(sess: Any, train_op: Any, save: Callable[[threading.Event], None]) -> float:
    sess.run(train_op)
    saved = threading.Event()
    start = time.process_time()
    save(saved)
    saved.wait()
    return time.process_time() - start


def measure(name: str, size: Size) -> Cost:
    logdir = tempfile.mkdtemp()
    try:
        cost: Cost = in_own_process(cost_of, name, size, logdir)
        return cost._replace(restart=in_own_process(restart_of, name, size, logdir))
    finally:
        shutil.rmtree(logdir)


def ratio(costs: dict[tuple[str, Size], Cost], size: Size, of: str) -> str:
    ours, theirs = (getattr(costs[name, size], of) for name in SUPERVISORS)
    return f"{ours / theirs:.2f}" if theirs else "-"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true", help="also 3,000 variables, and 1.6 GB")
    sizes = SMALL + LARGE * parser.parse_args().large
    costs = {(name, size): measure(name, size) for size in sizes for name in SUPERVISORS}
    for size in sizes:
        ours, theirs = (costs[name, size] for name in SUPERVISORS)
        rows = [
            (of.replace("_", " "), f"{a * 1e3:.1f} ms", f"{b * 1e3:.1f} ms", ratio(costs, size, of))
            for of, a, b in zip(Cost._fields, ours, theirs, strict=True)
        ]
        print_table(str(size), rows, (*SUPERVISORS, "ratio"))
    thousand, many, big = Size(1000, 0), *LARGE
    bars = [
        ("processor time of a save, 1,000 variables", ratio(costs, thousand, "processor"), "≤ 0.15"),
        ("training time lost to a save, 1,000 variables", ratio(costs, thousand, "lost"), "≤ 0.3"),
    ]
    if many in sizes:
        longer = costs["hookrun", many].end - costs["TensorFlow", many].end
        bars += [
            ("first step of a new run, 3,000 variables", ratio(costs, many, "first_step"), "≤ 1.25"),
            ("the end with its save, 3,000 variables, longer by", f"{longer:.2f} s", "≤ 0.5 s"),
            ("restart, 1.6 GB", ratio(costs, big, "restart"), "≤ 1.15"),
        ]
    print_table("Bars, hookrun / TensorFlow", bars)


if __name__ == "__main__":
    main()
