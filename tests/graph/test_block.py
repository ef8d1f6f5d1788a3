"""Block: who ends a session, where a process is forked inside the block or a generator is never finished."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

BOUND_SECS = 120

PROGRAM = """
import collections, multiprocessing, os, sys, threading
import tensorflow as tf
import hookrun

def model():
    return tf.compat.v1.assign_add(tf.compat.v1.train.get_or_create_global_step(), 1)

def supervisor(**arguments):
    sv = hookrun.Supervisor(logdir=sys.argv[1], **arguments)
    sv.on(hookrun.signals.stop, lambda sv, event: print("stop in", names[os.getpid()]))
    return sv

names = collections.defaultdict(lambda: "child", {os.getpid(): "parent"})
"""


def run(tmp_path, body):
    """The output of a program, and the step of its newest checkpoint."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + textwrap.dedent(body))
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "logs")],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=BOUND_SECS,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    steps = [int(path.stem.rpartition("-")[2]) for path in (tmp_path / "logs").glob("*.index")]
    return done.stdout.splitlines(), max(steps)


@pytest.mark.parametrize("block", ["sv.managed_session()", "sv.prepare_or_wait_for_session()"])
def test_a_forked_child_leaves_the_session_to_its_parent(tmp_path, block):
    lines, step = run(
        tmp_path,
        f"""
        ways = ["exits", "fails", "goes on", "closes", "stops"]
        with tf.Graph().as_default():
            train_op, sv, child = model(), supervisor(), None
            try:
                with {block} as sess:
                    for way in ways:
                        sess.run(train_op)
                        child = os.fork()
                        if child == 0:
                            break
                        print(way, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                    if child == 0:
                        if way == "exits":
                            sys.exit(3)
                        if way == "fails":
                            raise ValueError(way)
                        if way == "closes":
                            sess.close()
                        if way == "stops":
                            sv.stop()
            except ValueError:
                sys.exit(4)
            sv.stop()
        """,
    )
    assert lines == ["exits 3", "fails 4", "goes on 0", "closes 0", "stops 0", "stop in parent"]
    assert step == 5


def test_processes_of_multiprocessing_leave_it_too(tmp_path):
    lines, step = run(
        tmp_path,
        """
        def steps():
            with tf.Graph().as_default():
                train_op, sv = model(), supervisor()
                with sv.managed_session() as sess:
                    while True:
                        yield sess.run(train_op)

        training = steps()
        next(training)

        def work():
            training.close()
            sys.exit(3)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        print("status", process.exitcode)
        training.close()
        """,
    )
    assert (lines, step) == (["status 3", "stop in parent"], 1)


def test_a_generator_that_is_never_finished_ends_with_the_program(tmp_path):
    lines, step = run(
        tmp_path,
        """
        def steps():
            with tf.Graph().as_default():
                train_op = model()
                with supervisor().managed_session() as sess:
                    while True:
                        yield sess.run(train_op)

        training = steps()
        for step in training:
            if step == 5:
                break
        print("the program ends")
        """,
    )
    assert (lines, step) == (["the program ends", "stop in parent"], 5)


def test_a_daemon_thread_that_trains_is_not_disturbed_at_the_end_of_the_program(tmp_path):
    lines, step = run(
        tmp_path,
        """
        saved, trained = threading.Event(), threading.Event()

        def train():
            with tf.Graph().as_default():
                train_op, sv = model(), supervisor(save_model_secs=0, save_model_steps=2)
                sv.on(hookrun.signals.checkpoint_saved, lambda *_: saved.set())
                with sv.managed_session() as sess:
                    for _ in range(3):
                        sess.run(train_op)
                    trained.set()
                    threading.Event().wait()

        threading.Thread(target=train, daemon=True).start()
        assert trained.wait(60) and saved.wait(60)
        """,
    )
    assert (lines, step) == ([], 2)
