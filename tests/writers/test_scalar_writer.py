"""The sinks for scalars: JSONL, CSV, the console, and one of a user's own."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import hookrun
from hookrun.writers import ConsoleWriter, CSVWriter, JSONLWriter, ScalarWriter, TextFileWriter

tf1 = tf.compat.v1
START = tf1.SessionLog(status=tf1.SessionLog.START)


def summary(**scalars):
    return tf1.Summary(value=[tf1.Summary.Value(tag=tag, simple_value=v) for tag, v in scalars.items()])


def lines(path):
    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def rows(path):
    return list(csv.DictReader(path.open()))


class Recording(ScalarWriter):
    def __init__(self):
        super().__init__()
        self.calls = []

    def write(self, scalars, step, wall_time):
        self.calls.append((dict(scalars), step, wall_time))


def test_scalars_of_every_kind_of_summary_are_taken_out():
    sink = Recording()
    new_style = tf1.Summary.Value(
        tag="new", tensor=tf.make_tensor_proto(2.5), metadata={"plugin_data": {"plugin_name": "scalars"}}
    )
    text = tf1.Summary.Value(
        tag="text", tensor=tf.make_tensor_proto(["words"]), metadata={"plugin_data": {"plugin_name": "text"}}
    )
    old_style = tf1.Summary.Value(tag="old", simple_value=0.5)
    histogram = tf1.Summary.Value(tag="histogram", histo=tf1.HistogramProto(num=1))
    given = tf1.Summary(value=[old_style, new_style, text, histogram])
    sink.add_summary(given, 3, walltime=12.5)
    sink.add_summary(given.SerializeToString(), 4, walltime=13.5)
    sink.add_summary(tf1.Summary(value=[text]), 5)
    assert sink.calls == [({"old": 0.5, "new": 2.5}, 3, 12.5), ({"old": 0.5, "new": 2.5}, 4, 13.5)]


def test_one_scalar_is_added_as_in_tensorboardx():
    sink = Recording()
    sink.add_scalar("lr", 0.25, 7, 12.5)
    assert sink.calls == [({"lr": 0.25}, 7, 12.5)]


def test_jsonl_has_a_line_for_each_summary(tmp_path):
    sink = JSONLWriter(tmp_path / "deep" / "metrics.jsonl")
    sink.add_summary(summary(loss=0.5, step=2.0), 1, walltime=12.5)
    sink.add_summary(summary(loss=0.25), None, walltime=13.5)
    assert lines(tmp_path / "deep" / "metrics.jsonl") == [
        {"step": 1, "wall_time": 12.5, "scalars": {"loss": 0.5, "step": 2.0}},
        {"step": None, "wall_time": 13.5, "scalars": {"loss": 0.25}},
    ]
    sink.close()


def test_jsonl_has_null_for_what_is_not_finite(tmp_path):
    sink = JSONLWriter(tmp_path / "metrics.jsonl")
    sink.add_summary(summary(a=float("nan"), b=float("inf"), c=float("-inf"), d=0.5), 1)
    sink.add_scalar("e", np.float32("nan"), 1)
    found = lines(tmp_path / "metrics.jsonl")
    assert [line["scalars"] for line in found] == [{"a": None, "b": None, "c": None, "d": 0.5}, {"e": None}]
    sink.close()


def test_csv_has_a_row_for_each_scalar(tmp_path):
    sink = CSVWriter(tmp_path / "metrics.csv")
    sink.add_summary(summary(**{'with "quotes", and commas': 0.5, "loss": 2.0}), 1, walltime=12.5)
    sink.add_summary(summary(loss=float("inf")), None, walltime=13.5)
    sink.close()
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "1", "wall_time": "12.5", "tag": 'with "quotes", and commas', "value": "0.5"},
        {"step": "1", "wall_time": "12.5", "tag": "loss", "value": "2.0"},
        {"step": "", "wall_time": "13.5", "tag": "loss", "value": "inf"},
    ]


@pytest.mark.parametrize("kind", [JSONLWriter, CSVWriter])
def test_a_closed_file_is_appended_to(tmp_path, kind):
    path = tmp_path / "metrics"
    for step in range(2):
        sink = kind(path)
        for part in range(2):
            sink.add_summary(summary(loss=part), step, walltime=12.5)
            sink.close()
    found = (
        [(line["step"], line["scalars"]["loss"]) for line in lines(path)]
        if kind is JSONLWriter
        else [(int(row["step"]), float(row["value"])) for row in rows(path)]
    )
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("kind", [JSONLWriter, CSVWriter])
@pytest.mark.parametrize("torn", ["", "1", '{"step": 12', "step,wall_t", "x" * 10_000])
@pytest.mark.parametrize("complete", [0, 1, 3])
def test_a_last_line_that_was_torn_is_cut_off(tmp_path, kind, torn, complete):
    def write(path, steps):
        sink = kind(path)
        for step in steps:
            sink.add_summary(summary(loss=0.5), step, walltime=12.5)
        sink.close()

    path, whole = tmp_path / "metrics", tmp_path / "whole"
    write(path, range(complete))
    with path.open("a") as file:
        file.write(torn)
    write(path, range(complete, 4))
    write(whole, range(4))
    assert path.read_text() == whole.read_text()


@pytest.mark.parametrize("kind", [JSONLWriter, CSVWriter])
def test_what_is_added_survives_the_process_without_a_flush(tmp_path, kind):
    program = (
        "import os, signal, sys\n"
        f"from hookrun.writers import {kind.__name__} as Writer\n"
        "writer = Writer(sys.argv[1])\n"
        "for step in range(50):\n"
        "    writer.add_scalar('loss', 0.5, step, 12.5)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "metrics")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=100,
    )
    assert done.returncode == -signal.SIGKILL
    found = lines(tmp_path / "metrics") if kind is JSONLWriter else rows(tmp_path / "metrics")
    assert [int(row["step"]) for row in found] == list(range(50))


def test_a_start_is_marked_where_the_file_holds_something_already(tmp_path):
    paths = [tmp_path / "metrics.jsonl", tmp_path / "metrics.csv"]
    for start in (None, 3, None):
        for sink in (JSONLWriter(paths[0]), CSVWriter(paths[1])):
            sink.add_session_log(START, start)
            sink.add_session_log(tf1.SessionLog(status=tf1.SessionLog.CHECKPOINT), 3)
            sink.add_scalar("loss", 0.5, 4)
            sink.add_session_log(tf1.SessionLog(status=tf1.SessionLog.STOP))
            sink.close()
    loss = {"scalars": {"loss": 0.5}, "step": 4}
    mark = {"scalars": {}, "start": True}
    found = lines(paths[0])
    assert all(line.pop("wall_time") for line in found)
    assert found == [loss, {**mark, "step": 3}, loss, {**mark, "step": 0}, loss]
    found = [(row["step"], row["tag"], row["value"]) for row in rows(paths[1])]
    loss = ("4", "loss", "0.5")
    assert found == [loss, ("3", "hookrun/start", "3"), loss, ("0", "hookrun/start", "0"), loss]


def test_a_writer_of_ones_own_marks_a_start_where_it_says_so(tmp_path):
    class Plain(TextFileWriter):
        def text(self, scalars, step, wall_time):
            return f"{step} {dict(scalars)}\n"

    class Marking(Plain):
        def start_text(self, step, wall_time):
            return f"from {step}\n"

    for kind, expected in ((Plain, ""), (Marking, "from 7\n")):
        path = tmp_path / kind.__name__
        for _ in range(2):
            sink = kind(path)
            sink.add_session_log(START, 7)
            sink.add_scalar("loss", 0.5, 7)
            sink.close()
        assert path.read_text() == f"7 {{'loss': 0.5}}\n{expected}7 {{'loss': 0.5}}\n"


@pytest.mark.parametrize("path", ["gs://bucket/scalars.csv", "ram://scalars.csv"])
def test_a_url_is_refused_and_one_of_a_local_file_is_its_path(tmp_path, path):
    with pytest.raises(ValueError, match=f"path must be that of a local file, not '{path}'"):
        CSVWriter(path)
    sink = CSVWriter(f"file://{tmp_path}/scalars.csv")
    sink.add_scalar("loss", 0.5, 1)
    sink.close()
    assert len(rows(tmp_path / "scalars.csv")) == 1


def test_the_console_shows_a_line_for_each_summary(capsys):
    ConsoleWriter().add_summary(summary(loss=0.123456789, accuracy=1.0), 100)
    ConsoleWriter().add_summary(summary(loss=2.0))
    assert capsys.readouterr().out == "step 100: loss 0.123457, accuracy 1\nloss 2\n"
    stream = io.StringIO()
    ConsoleWriter(stream).add_scalar("lr", 0.5, 3)
    assert stream.getvalue() == "step 3: lr 0.5\n"


@pytest.mark.parametrize(("value", "error"), [([1.0, 2.0], ValueError), ("0.5", TypeError)])
def test_what_is_not_one_number_is_refused_by_its_tag(value, error):
    with pytest.raises(error, match=r"scalar .*per_class"):
        Recording().add_scalar("per_class", value)
    tensor = tf1.Summary.Value(tag="per_class", tensor=tf.make_tensor_proto(value))
    tensor.metadata.plugin_data.plugin_name = "scalars"
    with pytest.raises(error, match=r"scalar .*per_class"):
        Recording().add_summary(tf1.Summary(value=[tensor]))


def test_eight_threads_at_once_tear_no_line(tmp_path):
    sink = JSONLWriter(tmp_path / "metrics.jsonl")

    def add(index):
        for step in range(500):
            sink.add_scalar(f"thread {index}", index, step)

    threads = [threading.Thread(target=add, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert len(lines(tmp_path / "metrics.jsonl")) == 8 * 500


def test_a_sink_for_scalars_is_a_summary_writer(model, tmp_path):
    sink = JSONLWriter(tmp_path / "metrics.jsonl")
    sv = hookrun.Supervisor(
        logdir=tmp_path / "log", summary_writer=sink, save_summaries_secs=0, save_summaries_steps=1
    )
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
    found = lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in found if "loss" in line["scalars"]] == [1, 2, 3]
    assert any("global_step/sec" in line["scalars"] for line in found)


@pytest.mark.parametrize("as_summary_writer", [True, False])
def test_a_training_that_was_killed_marks_in_its_files_where_it_goes_on(tmp_path, as_summary_writer):
    """The processes are killed: without a checkpoint, and after one of step 4."""
    program = pathlib.Path(__file__).with_name("killed_training.py")
    for die in (3, 7, -1):
        subprocess.run(
            [sys.executable, program, tmp_path, str(die), str(as_summary_writer)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=100,
        )
    expected = ["1", "2", "3", "start 0", *"1234567", "start 5", *"56789"]
    if as_summary_writer:  # what TensorBoard is told, which draws the step of the checkpoint anew
        expected[11] = "start 4"
    table = [row for row in rows(tmp_path / "s.csv") if row["tag"] in ("loss", "hookrun/start")]
    assert [f"start {r['step']}" if r["tag"] != "loss" else r["step"] for r in table] == expected
    found = [line for line in lines(tmp_path / "s.jsonl") if "start" in line or "loss" in line["scalars"]]
    assert [f"start {r['step']}" if "start" in r else str(r["step"]) for r in found] == expected
