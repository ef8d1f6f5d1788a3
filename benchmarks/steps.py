"""What a supervised training step costs, against the ways there are to run one.

    python benchmarks/steps.py

All ratios are to a bare `tf.compat.v1.Session.run` of the same step in the same process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from measuring import ROUNDS, in_own_process, medians, print_table, resident_mb

import hookrun
from hookrun import hooks, signals

v1 = tf.compat.v1
COUNTS = (0, 1, 5, 20)
SUPERVISOR = "TensorFlow's Supervisor"
INLINE = "hookrun, 5 hooks, inline"
LONG = {"save_summaries_secs": 3600, "save_model_secs": 3600}


class FetchingHook(hooks.Hook):
    """Fetches the loss at every step, as a hookrun hook."""

    def __init__(self, loss: Any) -> None:
        self.fetches = loss

    def on_step(self, supervisor: hookrun.Supervisor, event: Any) -> None:
        self.last = event.values


class FetchingSessionRunHook(v1.train.SessionRunHook):
    """Fetches the loss at every step, as one of TensorFlow's hooks."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def before_run(self, run_context: Any) -> Any:
        return v1.train.SessionRunArgs(self.loss)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self.last = run_values.results


def toy(feeds: int = 0) -> tuple[list[Any], dict[Any, Any]]:
    """A step that does next to nothing: what is measured is what surrounds it."""
    step = v1.train.get_or_create_global_step()
    weights = v1.get_variable("weights", [10], initializer=v1.zeros_initializer())
    loss = tf.reduce_sum((weights - 1.0) ** 2)
    shapes = {0: [], 1: [[128, 784]], 5: [[8]] * 5}[feeds]
    fed = {v1.placeholder(tf.float32, shape): np.zeros(shape, np.float32) for shape in shapes}
    loss += sum(tf.reduce_sum(tf.reshape(placeholder, [-1])[:1]) for placeholder in fed)
    train_op = v1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
    return [train_op, loss], fed


def digits() -> tuple[list[Any], dict[Any, Any]]:
    """The size of the model in examples/digits.py: 64 pixels, 64 hidden units, batches of 64."""
    step = v1.train.get_or_create_global_step()
    images = v1.placeholder(tf.float32, [None, 64])
    labels = v1.placeholder(tf.int64, [None])
    first = v1.get_variable("first", [64, 64])
    second = v1.get_variable("second", [64, 10])
    logits = tf.matmul(tf.nn.relu(tf.matmul(images, first)), second)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    train_op = v1.train.AdamOptimizer().minimize(loss, global_step=step)
    random = np.random.default_rng(0)
    fed = {images: random.random((64, 64), np.float32), labels: random.integers(0, 10, 64)}
    return [train_op, loss], fed


def heavy() -> tuple[list[Any], dict[Any, Any]]:
    """A step of well over 10 ms."""
    step = v1.train.get_or_create_global_step()
    weights = v1.get_variable("weights", [500, 500])
    product = weights
    for _ in range(4):
        product = tf.matmul(product, weights) * 0.001
    loss = tf.reduce_sum(product)
    train_op = v1.train.GradientDescentOptimizer(1e-9).minimize(loss, global_step=step)
    return [train_op, loss], {}


def runner(sess: Any, fetches: list[Any], fed: dict[Any, Any]) -> Callable[[], Any]:
    """One step as a program writes it: its fetch list is built afresh each time."""
    train_op, loss = fetches
    if fed:
        return lambda: sess.run([train_op, loss], fed)
    return lambda: sess.run([train_op, loss])


class Contenders:
    """Ways to run one step, each with a graph and a session of its own, closed at the end of the block."""

    def __init__(self, model: Callable[[], tuple[list[Any], dict[Any, Any]]]) -> None:
        self._model = model
        self._ending = contextlib.ExitStack()
        self.runs: dict[str, Callable[[], Any]] = {}

    def __enter__(self) -> Contenders:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.close()

    @contextlib.contextmanager
    def _graph(self) -> Iterator[tuple[list[Any], dict[Any, Any]]]:
        with tf.Graph().as_default():
            yield self._model()

    def bare(self) -> None:
        with self._graph() as (fetches, fed):
            sess = self._ending.enter_context(v1.Session())
            sess.run(v1.global_variables_initializer())
            self.runs["bare"] = runner(sess, fetches, fed)

    def tensorflow_supervisor(self) -> None:
        with self._graph() as (fetches, fed):
            sv = v1.train.Supervisor(logdir=tempfile.mkdtemp(), saver=None, summary_op=None, **LONG)
            sess = sv.prepare_or_wait_for_session(start_standard_services=False)
            self._ending.callback(sess.close)
            self._ending.callback(sv.stop)
            self.runs[SUPERVISOR] = runner(sess, fetches, fed)

    def monitored(self, count: int) -> None:
        with self._graph() as (fetches, fed):
            given = [FetchingSessionRunHook(fetches[1]) for _ in range(count)]
            sess = self._ending.enter_context(
                v1.train.MonitoredTrainingSession(
                    checkpoint_dir=tempfile.mkdtemp(),
                    hooks=given,
                    save_checkpoint_secs=None,  # it would save at the end, outside of its graph
                    save_checkpoint_steps=None,
                    save_summaries_secs=3600,
                    save_summaries_steps=None,
                )
            )
            self.runs[f"MonitoredTrainingSession, {count} hooks"] = runner(sess, fetches, fed)

    def hookrun(self, count: int, **arguments: Any) -> None:
        with self._graph() as (fetches, fed):
            given = [FetchingHook(fetches[1]) for _ in range(count)]
            sv = hookrun.Supervisor(logdir=tempfile.mkdtemp(), hooks=given, **LONG, **arguments)
            sess = self._ending.enter_context(sv.managed_session())
            inline = ", inline" if arguments.get("inline_steps") else ""
            self.runs[f"hookrun, {count} hooks{inline}"] = runner(sess, fetches, fed)

    def ratios(self, calls: int, *, rounds: int = ROUNDS) -> tuple[dict[str, float], float]:
        """The time of each run relative to the bare one, and that in seconds."""
        secs = medians(self.runs, calls, rounds=rounds)
        return {name: value / secs["bare"] for name, value in secs.items()}, secs["bare"]


def measure_steps() -> None:
    rows: list[tuple[str, str, str]] = []
    bars = {
        ("no feed", 0): "≤ 0.40",
        ("no feed", 5): "≤ 0.45",
        ("no feed", 20): "≤ 0.52",
        ("one feed of float32[128, 784]", 5): "≤ 0.42",
        ("five feeds", 5): "≤ 0.38",
    }
    for title, feeds in (("no feed", 0), ("one feed of float32[128, 784]", 1), ("five feeds", 5)):
        with Contenders(lambda feeds=feeds: toy(feeds)) as contenders:
            contenders.bare()
            contenders.tensorflow_supervisor()
            for count in COUNTS:
                contenders.monitored(count)
                contenders.hookrun(count)
            if not feeds:
                contenders.hookrun(5, inline_steps=True)
            ratios, bare_secs = contenders.ratios(500)
        rows.append((f"{title}, TensorFlow's Supervisor", f"{ratios[SUPERVISOR]:.2f}", ""))
        for kind in ("MonitoredTrainingSession", "hookrun"):
            rows += [
                (
                    f"{title}, {kind}, {count} hooks",
                    f"{ratios[f'{kind}, {count} hooks']:.2f}",
                    bars.get((title, count), "") if kind == "hookrun" else "",
                )
                for count in COUNTS
            ]
            per_hook = (ratios[f"{kind}, 20 hooks"] - ratios[f"{kind}, 0 hooks"]) / 20 * bare_secs
            rows.append((f"{title}, {kind}, each hook", f"{per_hook * 1e6:.2f} µs", ""))
        if not feeds:
            rows.append((f"{title}, hookrun, 5 hooks, inline", f"{ratios[INLINE]:.2f}", "≤ 0.10"))
        against = ratios["hookrun, 5 hooks"] / ratios["MonitoredTrainingSession, 5 hooks"]
        bar = "" if feeds else "≤ 0.25"
        rows.append((f"{title}, 5 hooks, hookrun / MonitoredTrainingSession", f"{against:.2f}", bar))
    for title, model, calls, rounds, bar in (
        ("the digits model, hookrun, 5 hooks", digits, 500, ROUNDS, ""),
        ("over 10 ms a step, hookrun, 5 hooks", heavy, 5, 51, "≤ 1.02"),  # it varies by more than the bar
    ):
        with Contenders(model) as contenders:
            contenders.bare()
            contenders.hookrun(5)
            rows.append((title, f"{contenders.ratios(calls, rounds=rounds)[0]['hookrun, 5 hooks']:.2f}", bar))
    print_table("A training step, relative to a bare Session.run", rows)


def measure_bus() -> None:
    class Sender:
        pass

    sender = Sender()
    rows = []
    for count in (0, 5, 20):
        signal = signals.Signal("benchmark")
        receivers = [lambda sender, event: None for _ in range(count)]
        for receiver in receivers:
            signal.connect(receiver, sender=sender)
        secs = medians({"send": lambda signal=signal: signal.send(sender, event=None)}, 20_000)["send"]
        rows.append((f"one send to {count} receivers", f"{secs * 1e6:.2f} µs", ""))
    print_table("The bus alone", rows)


def memory_growth() -> float:
    """Resident memory over 100,000 steps, whose fetch lists are built afresh; in MB."""
    with Contenders(toy) as contenders:
        contenders.hookrun(5)
        (run,) = contenders.runs.values()
        for _ in range(5_000):
            run()
        before = resident_mb()
        for _ in range(100_000):
            run()
        return resident_mb() - before


def measure_memory() -> None:
    growth = in_own_process(memory_growth)
    print_table("Memory", [("growth over 100,000 steps", f"{growth:.1f} MB", "flat")])


def measure_import() -> None:
    """What a program pays for hookrun beyond `import tensorflow`, in processes of its own.

    They find byte code, as an installed package has it, also where this environment writes none.
    """
    program = (
        "import time, tensorflow as tf; tf.compat.v1.train; start = time.perf_counter();"
        "from hookrun import Supervisor; print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}

        def seconds(*command: str) -> float:
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *command], env=environment, capture_output=True, text=True, check=True
            )
            return float(done.stdout) if command[0] == "-c" else time.perf_counter() - start

        imports = [seconds("-c", program) for _ in range(6)][1:]  # the first one compiles
        helps = [seconds("-m", "hookrun", "--help") for _ in range(6)][1:]
    print_table(
        "Start",
        [
            (
                "`from hookrun import Supervisor` beyond `import tensorflow`",
                f"{median(imports) * 1e3:.0f} ms",
                "≤ 60 ms",
            ),
            ("`hookrun --help`", f"{median(helps) * 1e3:.0f} ms", "≤ 500 ms"),
        ],
    )


if __name__ == "__main__":
    measure_steps()
    measure_bus()
    measure_memory()
    measure_import()
