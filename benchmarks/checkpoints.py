"""What saving a model costs its training, against the ways there are to save.

    python benchmarks/checkpoints.py

The step goes through the memory of 20 variables and does nothing else: no work hides what a save takes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from measuring import in_own_process, peak_mb, print_table, reset_peak, resident_mb

import hookrun
from hookrun import events, signals

v1 = tf.compat.v1
v1.logging.set_verbosity(v1.logging.ERROR)
v1.disable_eager_execution()  # with it, the threads of TensorFlow's Supervisor have no graph
VARIABLES = 20
ROUNDS = 7
CHECKPOINTS = 40
HOOKRUN, TENSORFLOW, SYNCHRONOUS = "hookrun", "TensorFlow's Supervisor", "Saver.save at the boundary"
NEVER = {"save_model_secs": 0, "save_summaries_secs": 0}
ONE_THREAD = {"inter_op_parallelism_threads": 1, "use_per_session_threads": True}


class Cost(NamedTuple):
    """What one save costs; times in seconds."""

    pause: float
    """Until the training goes on."""
    lost: float
    """By which the training ends later, pause included, and what it takes until the bytes are on the disk:
    a way of saving that does not wait for them leaves them to the kernel, which writes them meanwhile."""
    to_file: float
    """Until the checkpoint is there."""
    memory: float
    """The peak beyond what was resident before, in MB."""


def model(mb: float, use_resource: bool) -> Any:
    """Variables that equal the global step between any two steps; returns the op that trains."""
    step = v1.get_variable(
        "global_step", [], tf.int64, v1.zeros_initializer(), trainable=False, use_resource=use_resource
    )
    v1.add_to_collection(v1.GraphKeys.GLOBAL_STEP, step)
    ones = tf.ones([int(mb * 1e6 / 8 / VARIABLES)], tf.int64)
    updates = [
        v1.assign_add(
            v1.get_variable(f"v{i}", initializer=tf.zeros_like(ones), use_resource=use_resource),
            ones,
            use_locking=True,
        ).op
        for i in range(VARIABLES)
    ]
    with tf.control_dependencies(updates):
        return v1.assign_add(step, 1, use_locking=True).op


class Training:
    """A training of `model`, that one way of saving disturbs."""

    def __init__(self, run_step: Callable[[], Any], begin_save: Callable[[threading.Event], None]) -> None:
        self._run_step = run_step
        self._begin_save = begin_save
        self.costs: list[Cost] = []

    def save(self) -> None:
        """Train before, while and after a checkpoint is saved."""
        os.sync()
        step_secs = statistics.median(_timed(self._run_step) for _ in range(10))
        resident = resident_mb()
        reset_peak()
        saved, on_disk, times = threading.Event(), threading.Event(), []

        def wait() -> None:
            saved.wait()
            times.append(time.perf_counter())
            os.sync()
            on_disk.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        start = time.perf_counter()
        self._begin_save(saved)
        pause = time.perf_counter() - start
        steps, ended = 0, False
        while not ended:
            ended = on_disk.is_set()
            self._run_step()
            steps += 1
        lost = time.perf_counter() - start - steps * step_secs
        waiting.join()
        self.costs.append(Cost(pause, lost, times[0] - start, peak_mb() - resident))

    @property
    def cost(self) -> Cost:
        """Medians without the first save, and the highest memory of all."""
        medians = [statistics.median(values) for values in zip(*self.costs[1:], strict=True)]
        return Cost(*medians[:-1], max(cost.memory for cost in self.costs))


@contextlib.contextmanager
def trainings(mb: float, use_resource: bool, config: dict[str, Any]) -> Iterator[dict[str, Training]]:
    """A training for each way of saving; the synchronous save is one of hookrun's session."""
    directory = tempfile.mkdtemp()
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, directory)
        with tf.Graph().as_default():
            train_op = model(mb, use_resource)
            sv = hookrun.Supervisor(logdir=f"{directory}/hookrun", save_model_steps=10**9, **NEVER)
            sess = ending.enter_context(sv.managed_session(config=v1.ConfigProto(**config)))
        with tf.Graph().as_default():
            their_op = model(mb, use_resource)
            their_sv = v1.train.Supervisor(logdir=f"{directory}/tensorflow", **NEVER)
            their_sess = ending.enter_context(their_sv.managed_session(config=v1.ConfigProto(**config)))

        def hookrun_save(saved: threading.Event) -> None:
            handle = sv.on(signals.checkpoint_saved, lambda *_: (handle.remove(), saved.set()))
            with sv.graph.as_default():
                sv.send(signals.checkpoint_due, events.CheckpointDue(sess))

        def synchronous_save(saved: threading.Event) -> None:
            with sv.graph.as_default():
                sv.saver.save(sess, f"{directory}/synchronous", sv.global_step)
            saved.set()

        def their_save(saved: threading.Event) -> None:
            """What its timer's thread does."""

            def save() -> None:
                with their_sess.graph.as_default():
                    their_sv.saver.save(their_sess, their_sv.save_path, their_sv.global_step)
                saved.set()

            threading.Thread(target=save).start()

        yield {
            HOOKRUN: Training(lambda: sess.run(train_op), hookrun_save),
            TENSORFLOW: Training(lambda: their_sess.run(their_op), their_save),
            SYNCHRONOUS: Training(lambda: sess.run(train_op), synchronous_save),
        }


def costs(mb: float, use_resource: bool, config: dict[str, Any]) -> dict[str, Cost]:
    with trainings(mb, use_resource, config) as ways:
        for _ in range(ROUNDS):
            for training in ways.values():
                training.save()
        return {name: training.cost for name, training in ways.items()}


def floors(mb: float) -> tuple[float, float]:
    """Copying the bytes of the model into warm memory, and writing and syncing them, in seconds."""
    arrays = [np.ones(int(mb * 1e6 / 8 / VARIABLES), np.int64) for _ in range(VARIABLES)]
    copies = [array.copy() for array in arrays]

    def copy() -> None:
        for array, into in zip(arrays, copies, strict=True):
            np.copyto(into, array)

    def write() -> None:
        with tempfile.NamedTemporaryFile() as file:
            for array in arrays:
                file.write(array)
            file.flush()
            os.fsync(file.fileno())

    return tuple(statistics.median(_timed(call) for _ in range(ROUNDS)) for call in (copy, write))


def torn(supervisor: Any, use_resource: bool) -> tuple[int, int]:
    """How many checkpoints hold unequal values, or a step that is not theirs; and of how many."""
    directory = tempfile.mkdtemp()
    with tf.Graph().as_default():
        train_op = model(16, use_resource)
        saver = v1.train.Saver(max_to_keep=10 * CHECKPOINTS)
        sv = supervisor(logdir=directory, saver=saver, save_model_secs=0.02, save_summaries_secs=0)
        with sv.managed_session() as sess:
            while len(saver.last_checkpoints) < CHECKPOINTS and not sv.should_stop():
                sess.run(train_op)
    count = 0
    for path in saver.last_checkpoints:
        reader = tf.train.load_checkpoint(path)
        values = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
        count += any(np.any(value != int(path.rpartition("-")[2])) for value in values)
    shutil.rmtree(directory)
    return count, len(saver.last_checkpoints)


def measure_costs() -> None:
    rows, measured = [], {}
    copying, writing = {}, {}
    for mb in (4, 40, 400):
        copying[mb], writing[mb] = in_own_process(floors, mb)
        rows += [
            (f"{mb} MB, copied into warm memory", f"{copying[mb] * 1e3:.1f} ms", "", "", ""),
            (f"{mb} MB, written and synced", "", "", f"{writing[mb] * 1e3:.0f} ms", ""),
        ]
        for kind in ("resource", "reference"):
            of_kind = in_own_process(costs, mb, kind == "resource", {})
            measured |= {(mb, kind, name): cost for name, cost in of_kind.items()}
    one_thread = in_own_process(costs, 400, True, ONE_THREAD)
    measured |= {(400, "resource, one thread", name): cost for name, cost in one_thread.items()}
    rows += [
        (
            f"{mb} MB, {kind}: {name}",
            f"{cost.pause * 1e3:.1f} ms",
            f"{cost.lost * 1e3:.0f} ms",
            f"{cost.to_file * 1e3:.0f} ms",
            f"{cost.memory:.0f} MB",
        )
        for (mb, kind, name), cost in measured.items()
    ]
    print_table("What a save costs", rows, ("pause", "training time lost", "time to file", "extra memory"))
    ours, theirs = measured[400, "resource", HOOKRUN], measured[400, "resource", TENSORFLOW]
    synchronous = measured[400, "resource", SYNCHRONOUS]
    reference = measured[400, "reference", HOOKRUN]
    ratios = [
        ("pause, resource / Saver.save", ours.pause / synchronous.pause, "≤ 0.05"),
        ("pause, reference / memory copy", reference.pause / copying[400], "≤ 2"),
        ("training time lost / TensorFlow's Supervisor", ours.lost / theirs.lost, "≤ 1.1"),
        (
            "training time lost, one thread / Saver.save",
            one_thread[HOOKRUN].lost / one_thread[SYNCHRONOUS].lost,
            "≤ 0.5",
        ),
    ]
    print_table("Ratios, 400 MB", [(what, f"{ratio:.3f}", bar) for what, ratio, bar in ratios])


def measure_consistency() -> None:
    rows = []
    for name, supervisor in ((HOOKRUN, hookrun.Supervisor), (TENSORFLOW, v1.train.Supervisor)):
        for kind in ("resource", "reference"):
            count, saved = in_own_process(torn, supervisor, kind == "resource")
            rows.append((f"{name}, {kind} variables", f"{count} of {saved}", "0" if name == HOOKRUN else ""))
    print_table("Checkpoints of 20 equal variables that are torn", rows)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    measure_consistency()
    measure_costs()
