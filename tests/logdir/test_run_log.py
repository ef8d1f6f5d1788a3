"""read_run_logs: what it makes of event files."""

from __future__ import annotations

import math

import pytest
import tensorflow as tf

from hookrun.logdir import run_log
from hookrun.logdir.events import event_files
from hookrun.logdir.run_log import read_run_logs
from hookrun.writers import EventFileWriter

tf1 = tf.compat.v1


def session_log(status, path=None):
    return tf1.SessionLog(status=getattr(tf1.SessionLog, status), checkpoint_path=path)


def steps(points):
    return [point.step for point in points]


def test_curves_of_every_directory_are_read_and_torn_records_end_a_file(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_scalar("loss", float("nan"), 2)
        writer.add_scalars("accuracy", {"test": 1.0}, 3)
        writer.add_text("text", "words", 3)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    with path.open("ab") as file:
        file.write(b"a record that is tor")
    top, beneath = read_run_logs(str(tmp_path))
    assert (top.name, beneath.name) == (".", "accuracy/test")
    assert steps(top.scalars["loss"]) == [1, 2] and math.isnan(top.scalars["loss"][1].value)
    assert [(p.step, p.value) for p in beneath.scalars["accuracy"]] == [(3, 1.0)]
    assert top.texts == {"text/text_summary": "words"}


def test_scalars_of_tensorflow_2_are_read_too_and_directories_in_order(tmp_path):
    value = tf1.Summary.Value(
        tag="loss",
        tensor=tf.make_tensor_proto(0.25),
        metadata={"plugin_data": {"plugin_name": "scalars"}},
    )
    for name in ("c", "a", "d", "b"):
        with EventFileWriter(tmp_path / name) as writer:
            writer.add_summary(tf1.Summary(value=[value]), 7)
    logs = read_run_logs(str(tmp_path))
    assert [log.name for log in logs] == ["a", "b", "c", "d"]
    assert {(p.step, p.value) for log in logs for p in log.scalars["loss"]} == {(7, 0.25)}


def scalar(tag, number, with_metadata):
    value = tf1.Summary.Value(tag=tag, tensor=tf.make_tensor_proto(number))
    if with_metadata:
        value.metadata.plugin_data.plugin_name = "scalars"
    return tf1.Summary(value=[value])


def test_the_metadata_of_a_tag_may_come_with_its_first_value_alone_also_in_an_earlier_file(tmp_path):
    for first in (0, 3):
        with EventFileWriter(tmp_path) as writer:
            for step in range(first, first + 3):
                writer.add_summary(scalar("loss", step / 4, with_metadata=step == 0), step)
                writer.add_summary(scalar("unknown", 0.0, with_metadata=False), step)
    with EventFileWriter(tmp_path / "eval") as writer:  # another run
        writer.add_summary(scalar("loss", 9.0, with_metadata=False), 1)
    log, other = read_run_logs(str(tmp_path))
    assert [(p.step, p.value) for p in log.scalars["loss"]] == [(step, step / 4) for step in range(6)]
    assert log.scalars.keys() == {"loss"} and not other.scalars


def test_an_event_file_that_is_removed_meanwhile_is_left_out(tmp_path, monkeypatch):
    for name in ("a", "b"):
        with EventFileWriter(tmp_path / name) as writer:
            writer.add_scalar("loss", 0.5, 1)
    (path,) = (tmp_path / "b").iterdir()
    found = list(event_files(str(tmp_path)))
    monkeypatch.setattr(run_log, "event_files", lambda _: found)
    path.unlink()
    first, second = read_run_logs(str(tmp_path))
    assert len(first.files) == 1 and first.scalars
    assert not second.files and not second.scalars


def test_a_restart_is_a_session_and_drops_what_it_repeats(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_session_log(session_log("START"), 0)
        for step in range(1, 16):
            writer.add_scalar("loss", step, step)
    with EventFileWriter(tmp_path) as writer:
        writer.add_session_log(session_log("START"), 10)
        for step in range(11, 13):
            writer.add_scalar("loss", step, step)
        writer.add_session_log(session_log("STOP"))
    (log,) = read_run_logs(str(tmp_path))
    assert steps(log.scalars["loss"]) == [*range(1, 10), 11, 12]
    assert [(s.start_step, s.last_step, s.stopped) for s in log.sessions] == [(0, 15, False), (10, 12, True)]


def test_checkpoints_are_listed_with_their_size_while_they_exist(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        for step in (5, 50):
            writer.add_session_log(session_log("CHECKPOINT", "/elsewhere/model.ckpt"), step)
    (tmp_path / "model.ckpt-5.index").write_bytes(b"12")
    (tmp_path / "model.ckpt-5.meta").write_bytes(b"345")
    (log,) = read_run_logs(str(tmp_path))
    assert [(c.step, c.path, c.size) for c in log.checkpoints] == [
        (5, str(tmp_path / "model.ckpt-5"), 5),
        (50, str(tmp_path / "model.ckpt-50"), None),
    ]


def test_a_directory_without_event_files_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no event files in '{tmp_path}'"):
        read_run_logs(str(tmp_path))
