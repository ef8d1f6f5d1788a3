"""The page on TensorFlow 2, the docstrings of Loop and the example run as they stand."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tensorflow2.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert names["loop"].global_step == 6000
    assert re.search(r"^500 \d", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    "documented", [hookrun.Loop, hookrun.Loop.step, hookrun.Loop.batches], ids=lambda d: d.__name__
)
def test_the_example_of_a_docstring_runs(documented, model, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(documented), re.DOTALL)
    block = block.replace("    ...\n", "    loss = tf.reduce_sum(x)\n")
    loop = hookrun.Loop()
    names = {
        "hookrun": hookrun,
        "hooks": hooks,
        "signals": signals,
        "tf": tf,
        "dataset": dataset,
        "loop": loop,
    }
    names |= {"model": tf.Module(), "optimizer": tf.Module(), "x": 1.0, "y": 2.0}
    if documented is hookrun.Loop:
        names["dataset"] = tf.data.Dataset.zip((dataset.take(3), dataset.take(3)))
    if documented is hookrun.Loop.batches:
        names |= {"train_step": loop.training_step(lambda x, y: None)}
        names["dataset"] = tf.data.Dataset.zip((dataset.take(3), dataset.take(3)))
    if documented is hookrun.Loop.step:
        names["model"] = type("Model", (), {"train_on_batch": lambda self, x, y: 0.5})()
        with loop:
            exec(block, names)
    else:
        exec(block, names)


def example(logdir, *arguments):
    return subprocess.Popen(
        [sys.executable, ROOT / "examples" / "digits_tf2.py", "--logdir", logdir, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(300)
def test_the_example_that_was_killed_ends_as_one_that_was_not(tmp_path):
    whole = example(tmp_path / "whole", "--steps", 1200)
    killed = example(tmp_path / "killed", "--steps", 1200)
    while not (line := killed.stdout.readline()).startswith("step 800"):
        assert line, killed.stderr.read()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = example(tmp_path / "killed", "--steps", 1200)
    outputs = [process.communicate(timeout=250) for process in (whole, resumed)]
    weights = [re.search(r"sum of the weights: (\S+)", out).group(1) for out, _ in outputs]
    assert "resumed at step 500" in outputs[1][0], outputs[1]
    assert weights[0] == weights[1]
    assert float(re.search(r"accuracy on held-out digits: (\S+)", outputs[1][0]).group(1)) > 0.95
