"""starts_needed: the START marks by which TensorBoard drops what an earlier run has written."""

from __future__ import annotations

import pytest
import tensorflow as tf

from hookrun.writers import EventFileWriter
from hookrun.writers.earlier_events import starts_needed

tf1 = tf.compat.v1
START = tf1.SessionLog(status=tf1.SessionLog.START)


def write(logdir, *events):
    with EventFileWriter(logdir) as writer:
        for event in events:
            writer.add_event(event)


SUMMARY = tf1.Event(step=1, summary=tf1.Summary(value=[tf1.Summary.Value(tag="a", simple_value=1.0)]))
GRAPH = tf1.Event(graph_def=b"")
STARTED = tf1.Event(session_log=START)


@pytest.mark.parametrize(
    ("files", "needed"),
    [
        ([], 0),
        ([[GRAPH]], 2),
        ([[GRAPH, SUMMARY]], 2),
        ([[GRAPH, STARTED, SUMMARY]], 1),
        ([[GRAPH, SUMMARY], [GRAPH, STARTED, STARTED, SUMMARY]], 1),
    ],
)
def test_it_depends_on_what_is_there(tmp_path, files, needed):
    for events in files:
        write(tmp_path, *events)
    assert starts_needed(None, str(tmp_path)) == needed


def test_tensorflows_own_files_are_read_too(tmp_path):
    writer = tf1.summary.FileWriter(str(tmp_path))
    writer.flush()
    assert starts_needed(None, str(tmp_path)) == 0
    writer.add_event(SUMMARY)
    writer.close()
    assert starts_needed(None, str(tmp_path)) == 2


def test_the_directory_is_that_of_the_writer(tmp_path):
    write(tmp_path / "elsewhere", SUMMARY)
    writer = EventFileWriter(tmp_path / "elsewhere")
    assert starts_needed(writer, str(tmp_path)) == 2
    writer.close()
    assert starts_needed(None, str(tmp_path / "missing")) == 0


@pytest.mark.parametrize("damage", [b"torn", b"\xff" * 40, b"\x04" + b"\0" * 11 + b"\xff" * 8])
def test_a_damaged_end_is_not_read(tmp_path, damage):
    write(tmp_path, GRAPH)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + damage)
    assert starts_needed(None, str(tmp_path)) == 2
