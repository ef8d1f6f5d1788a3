"""The Python blocks of the README and of the pages run as they stand; commands and names are complete."""

from __future__ import annotations

import argparse
import asyncio
import collections
import inspect
import json
import logging
import os
import re
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest
import tensorflow as tf

import hookrun
from hookrun import events, hooks, signals, testing, triggers, writers
from hookrun.logdir import cli
from hookrun.logdir.run_log import read_run_logs
from tests.cluster.processes import free_ports

ROOT = Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))}
TESTED_ELSEWHERE = {"clusters.md", "tensorflow2.md"}  # in the environment of a scheduler, and in no graph
TEXTS = {
    "README.md": (ROOT / "README.md").read_text(encoding="utf-8"),
    **{name: text for name, text in PAGES.items() if name not in TESTED_ELSEWHERE},
}


def blocks(language):
    return [
        pytest.param(block, id=f"{name}: {block.partition(chr(10))[0]}")
        for name, text in TEXTS.items()
        for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


@pytest.fixture
def clean_process():
    """What a program leaves in its process is gone with the test."""
    logger = logging.getLogger("hookrun")
    handlers, level = [*logger.handlers], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    tf.compat.v1.summary.FileWriterCache.clear()  # the threads of a MonitoredTrainingSession


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("block", blocks("python"))
def test_a_block_runs(block, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {
        "hookrun": hookrun,
        "hooks": hooks,
        "signals": signals,
        "tf": tf,
        "loss": model.loss,
        "train_op": model.train_op,
    }
    exec(block, names)
    if "sv" in names and "sess" not in names:
        with names["sv"].managed_session() as sess:
            while not names["sv"].should_stop() and sess.run(model.global_step) < 100:
                sess.run(model.train_op)
    if "print(" in block or "ConsoleWriter" in block:
        assert capsys.readouterr().out


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize(
    ("name", "logdir", "last_step"), [("README.md", "runs/readme", 2000), ("index.md", "runs/first", 200)]
)
def test_the_first_program_draws_curves(name, logdir, last_step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", TEXTS[name], re.DOTALL)[1], {})
    (log,) = read_run_logs(logdir)
    for tag in ("loss", "global_step/sec"):
        assert len(log.scalars[tag]) >= 20 and log.scalars[tag][-1].step == last_step


def build_model():
    """A loss, and a train op whose input ends after 200 steps."""
    step = tf.compat.v1.train.get_or_create_global_step()
    weight = tf.compat.v1.get_variable("weight", initializer=0.0)
    number = tf.compat.v1.data.make_one_shot_iterator(tf.data.Dataset.range(200)).get_next()
    loss = (weight - tf.cast(number, tf.float32)) ** 2
    return loss, tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)


@pytest.mark.parametrize(
    "documented",
    [
        hookrun,
        hookrun.Supervisor,
        hookrun.Supervisor.on,
        hookrun.Supervisor.train,
        hookrun.cluster,
        hookrun.cluster.Task,
        hookrun.cluster.ReleaseParameterServersHook,
    ],
    ids=lambda documented: getattr(documented, "__qualname__", documented.__name__),
)
def test_the_example_of_a_docstring_runs(documented, tmp_path, monkeypatch):
    """Those of the hooks, of `as_session_run_hook` and of `testing` are run where these are tested."""
    monkeypatch.chdir(tmp_path)
    (port,) = free_ports(1)
    chief = {"cluster": {"chief": [f"localhost:{port}"]}, "task": {"type": "chief", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(chief))
    loss, train_op = build_model()
    names = {
        "hookrun": hookrun,
        "signals": signals,
        "tf": tf,
        "sys": sys,
        "build_model": build_model,
        "loss": loss,
        "train_op": train_op,
        "sv": hookrun.Supervisor(logdir=tmp_path, hooks=[]),
        "MyHook": hooks.Hook,
        "task": hookrun.cluster.Task(chief["cluster"], "chief"),
        "server": tf.distribute.Server.create_local_server(),
        "config": None,
    }
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(documented), re.DOTALL)
    exec(block, names)


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("sh")
        for line in block.values[0].splitlines()
        if re.match(r"(\.venv/bin/)?hookrun ", line)
    ],
)
def test_a_command_is_one_of_the_command_line(line):
    arguments = shlex.split(line.partition("|")[0].partition(" > ")[0], comments=True)[1:]
    assert isinstance(cli._parser().parse_args(arguments), argparse.Namespace)


NAMES = {
    **{f"hookrun.{name}": name for name in hookrun.__all__},
    **{
        f"{module.__name__}.{name}": name
        for module in (hooks, signals, events, triggers, writers, testing, hookrun.cluster, hooks.retention)
        for name in module.__all__
    },
}


@pytest.mark.parametrize(
    "names",
    [
        [
            name
            for name, of in vars(tf.compat.v1.train.Supervisor).items()
            if callable(of) and name[0].islower()
        ],
        inspect.signature(tf.compat.v1.train.MonitoredTrainingSession).parameters,
    ],
    ids=["Supervisor", "MonitoredTrainingSession"],
)
def test_coming_from_tensorflow_tells_of_every_call(names):
    rows = re.findall(r"^\| (.+?) \| .+ \|$", PAGES["migrating.md"], re.MULTILINE)
    assert set(names) - set(re.findall(r"\w+", " ".join(rows))) == set()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/internals.md"])
def test_the_files_that_a_page_names_are_there(name):
    named = re.findall(r"`((?:\w+/)*[a-z_]+\.(?:py|md))`", (ROOT / name).read_text(encoding="utf-8"))
    missing = [file for file in named if not any([(ROOT / file).exists(), *ROOT.glob(f"hookrun/**/{file}")])]
    assert named and missing == []


def test_the_reference_has_every_public_name():
    entries = set(re.findall(r"^::: (\S+)$", PAGES["reference.md"], re.MULTILINE))
    assert set(NAMES) - entries == set()


def test_the_table_of_hooks_has_every_hook_and_the_lines_to_have_it():
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\S* \| .+ \| `(.+)` \|$", PAGES["hooks.md"], re.MULTILINE))
    assert set(rows) == {name for name in hooks.__all__ if name.endswith(("Hook", "Adapter"))} - {"Hook"}
    for name, line in rows.items():
        assert line.startswith(f"hooks.{name}(")


def test_the_lines_of_the_table_of_hooks_make_them(model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rows = re.findall(r"^\| \[`\w+`\]\S* \| .+ \| `(.+)` \|$", PAGES["hooks.md"], re.MULTILINE)
    given = {
        "hooks": hooks,
        "tf": tf,
        "loss": model.loss,
        "rate": tf.compat.v1.get_variable("rate", initializer=0.1, trainable=False),
        "report": lambda runtime, event: None,
        "evaluate": lambda session: {"loss": session.run(model.loss)},
        "tf_hook": tf.compat.v1.train.StopAtStepHook(last_step=1000),
    }
    for line in rows:
        assert isinstance(eval(line, given), hooks.Hook)


THREADS = {
    "the caller of `Supervisor(...)`": {"makes"},
    "the caller of `managed_session`": {"asks"},
    "the same; the caller of `restore`": {"asks", "restores"},
    "the caller of `restore`; otherwise the next training step's": {"restores", "trains"},
    "the caller of `run()`": {"trains"},
    "the step's": {"trains"},
    "`hookrun-summary-timer`; the step's for `save_summaries_steps`": {"hookrun-summary-timer", "trains"},
    "`hookrun-checkpoint-timer`; the step's for `save_model_steps`": {"hookrun-checkpoint-timer", "trains"},
    "the saving thread: a timer's, the step's, or at the end the session's": {
        *("hookrun-checkpoint-timer", "trains", "ends")
    },
    "`hookrun-checkpoint-writer_0`; the saving thread if it writes itself, as at the end": {
        *("hookrun-checkpoint-writer_0", "ends")
    },
    "the caller of `managed_session` or `train`": set(),  # no session is lost; see test_recovery.py
    "the caller that ends the session": {"ends"},
}
"""The threads of the training below, by what the table calls them."""


def test_the_table_of_threads_tells_on_which_each_method_is_called(model, graph, tmp_path, wait_until):
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+?) \| .+ \|$", PAGES["life.md"], re.MULTILINE)
    table = {name: THREADS[where] for names, where in rows for name in re.findall(r"\w+", names)}
    called = {name: collections.defaultdict(threading.Event) for name in table}

    def remembered(name):
        def method(self, *_):
            called[name][threading.current_thread().name].set()
            return {} if name == "state_dict" else None

        return method

    everywhere = type("Everywhere", (hooks.Hook,), {name: remembered(name) for name in table})
    results = []

    def on_a_thread(name, target, **arguments):
        def run():
            with graph.as_default():
                results.append(target(**arguments))

        thread = threading.Thread(target=run, name=name)
        thread.start()
        thread.join()
        return results.pop()

    sv = on_a_thread(
        "makes",
        hookrun.Supervisor,
        logdir=tmp_path,
        save_summaries_steps=1,
        save_model_steps=2,
        hooks=[everywhere()],
    )
    for restored_from in (None, str(tmp_path / "model.ckpt-3")):
        sess = on_a_thread("asks", sv.prepare_or_wait_for_session)
        wait_until(called["on_summary_due"]["hookrun-summary-timer"])
        wait_until(called["on_checkpoint_saving"]["hookrun-checkpoint-timer"])
        for _ in range(3):
            on_a_thread("trains", sess.run, fetches=model.train_op)
        if restored_from is not None:
            on_a_thread("restores", sv.restore, sess=sess, checkpoint=restored_from)
            on_a_thread("trains", sess.run, fetches=model.train_op)
            on_a_thread("trains", sv.saver.restore, sess=sess, save_path=restored_from)
            on_a_thread("trains", sess.run, fetches=model.train_op)
        on_a_thread("ends", sv.stop)
        sess.close()
    assert {name: set(threads) for name, threads in called.items()} == table


def end_with_an_error(sv):
    raise ValueError("of the program")


def end_with_ctrl_c(sv):
    raise KeyboardInterrupt


def leave_a_generator(sv):
    raise GeneratorExit


def cancel_a_task(sv):
    raise asyncio.CancelledError


def end_with_sigterm(sv):
    os.kill(os.getpid(), signal.SIGTERM)
    sv.wait_for_stop()


def end_with_an_error_of_a_hook(sv):
    @sv.on(signals.step)
    def fails(sv, event):
        raise RuntimeError("of a hook")


def end_of_input(sv):
    raise tf.errors.OutOfRangeError(None, None, "end of sequence")


ENDS = {
    "the loop ends": None,
    "`request_stop()`": hookrun.Supervisor.request_stop,
    "the input ends": end_of_input,
    "an error of the program": end_with_an_error,
    "an error of a hook": end_with_an_error_of_a_hook,
    "Ctrl-C": end_with_ctrl_c,
    "a generator is abandoned, as by `break`": leave_a_generator,
    "an `asyncio` task is cancelled": cancel_a_task,
    "SIGTERM, with `PreemptionHook`": end_with_sigterm,
}
ROW = r"^\| {} \| (\S+) \| `(\w+)`.* \| (\S+) \|$"


@pytest.mark.parametrize("kind", ENDS)
def test_the_table_of_ends_tells_what_happens(kind, model, tmp_path):
    saved, error, raised = re.search(ROW.format(re.escape(kind)), PAGES["life.md"], re.MULTILINE).groups()
    recorder = testing.RecordingHook()
    given = [recorder, hooks.PreemptionHook()]
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, hooks=given)
    threads = []
    sv.on(signals.stop, lambda *_: threads.append(threading.current_thread()))

    seen = "nothing"
    try:
        with sv.managed_session() as sess:
            for step in range(5):
                if step == 3:
                    if ENDS[kind] is None:
                        break
                    ENDS[kind](sv)
                if sv.should_stop():
                    break
                sess.run(model.train_op)
    except BaseException as ended:
        seen = f"`{type(ended).__name__}`"

    (stop,) = recorder.events(signals.stop)
    assert threads == [threading.current_thread()]
    assert raised == seen
    assert error == type(stop.error).__name__.replace("NoneType", "None")
    last = recorder.events(signals.step)[-1].global_step
    steps_saved = [each.global_step for each in recorder.events(signals.checkpoint_saved)]
    assert saved == ("yes" if last in steps_saved else "no")
