"""The sinks for scalars: JSONL, CSV, the console, and one of a user's own."""

from __future__ import annotations

import csv
import io
import json
import math
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun.writers import ConsoleWriter, CSVWriter, JSONLWriter, ScalarWriter

tf1 = tf.compat.v1


def summary(**scalars):
    return tf1.Summary(value=[tf1.Summary.Value(tag=tag, simple_value=v) for tag, v in scalars.items()])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    sink.add_summary(summary(loss=float("nan")), None, walltime=13.5)
    sink.flush()
    first, second = lines(tmp_path / "deep" / "metrics.jsonl")
    assert first == {"step": 1, "wall_time": 12.5, "scalars": {"loss": 0.5, "step": 2.0}}
    assert second["step"] is None and math.isnan(second["scalars"]["loss"])
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
def test_a_closed_file_is_appended_to_after_a_line_that_was_torn(tmp_path, kind):
    path = tmp_path / "metrics"
    for step in range(2):
        sink = kind(path)
        sink.add_summary(summary(loss=0.5), step, walltime=12.5)
        sink.close()
        sink.add_summary(summary(loss=0.5), step, walltime=12.5)
        sink.close()
    whole = path.read_text().splitlines()
    with path.open("a") as file:
        file.write(whole[-1][:10])
    kind(path).add_summary(summary(loss=0.5), 2, walltime=12.5)
    sink = kind(path)
    sink.add_summary(summary(loss=0.5), 3, walltime=12.5)
    sink.close()
    assert path.read_text().count("wall_time,tag") == (kind is CSVWriter)
    assert path.read_text().splitlines()[len(whole)] == whole[-1][:10]
    assert path.read_text().splitlines()[-1] == whole[-1].replace("1", "3", 1)


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
