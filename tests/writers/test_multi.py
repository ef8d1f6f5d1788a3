"""MultiWriter: several writers at once, of which one may fail."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf

import hookrun
from hookrun.writers import EventFileWriter, JSONLWriter, MultiWriter

tf1 = tf.compat.v1
SCALAR = tf1.Summary(value=[tf1.Summary.Value(tag="loss", simple_value=0.5)])


class Writer:
    """Notes what it is called with, and fails when it is told to."""

    def __init__(self, fails=False):
        self.fails, self.calls = fails, []

    def _note(self, *call):
        self.calls.append(call)
        if self.fails:
            raise OSError("no more room")

    def add_summary(self, summary, global_step=None):
        self._note("add_summary", summary, global_step)

    def add_session_log(self, session_log, global_step=None):
        self._note("add_session_log", session_log, global_step)

    def add_graph(self, graph, global_step=None):
        self._note("add_graph", graph, global_step)

    def add_meta_graph(self, meta_graph_def, global_step=None):
        self._note("add_meta_graph", meta_graph_def, global_step)

    def close(self):
        self._note("close")

    def reopen(self):
        self._note("reopen")


def test_each_writer_gets_everything_though_one_fails(caplog):
    given = [Writer(), Writer(fails=True), Writer()]
    writer = MultiWriter(given)
    with caplog.at_level(logging.ERROR, "hookrun"):
        writer.add_summary(SCALAR, 1)
        writer.add_session_log("log", 2)
        writer.add_graph("graph", 3)
        writer.add_meta_graph("meta graph", 4)
        writer.flush()  # which none of them has
        writer.flush_soon()
        writer.close()
    calls = [("add_summary", SCALAR, 1), ("add_session_log", "log", 2), ("add_graph", "graph", 3)]
    calls += [("add_meta_graph", "meta graph", 4), ("close",)]
    assert [each.calls for each in given] == [calls] * 3
    (record,) = caplog.records
    assert record.getMessage() == "Writer failed in add_summary; the other writers go on"
    assert isinstance(record.exc_info[1], OSError)


def test_a_failure_is_reported_again_after_reopening(caplog):
    writer = MultiWriter([Writer(fails=True)])
    with caplog.at_level(logging.ERROR, "hookrun"):
        writer.add_summary(SCALAR, 1)
        writer.reopen()
    assert len(caplog.records) == 2


def test_another_method_goes_to_those_that_have_it(tmp_path):
    with_it = JSONLWriter(tmp_path / "metrics.jsonl")
    writer = MultiWriter([Writer(), with_it])
    writer.add_scalar("lr", 0.5, 3)
    writer.close()
    assert '"lr": 0.5' in (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(AttributeError, match="MultiWriter has no attribute 'add_nothing'"):
        writer.add_nothing()
    with pytest.raises(AttributeError, match="MultiWriter has no attribute 'name'"):
        writer.name  # noqa: B018


def test_what_is_no_writer_is_refused():
    with pytest.raises(TypeError, match="type str lacks"):
        MultiWriter(["metrics.jsonl"])


def test_it_takes_the_place_of_the_supervisors_writer(model, tmp_path, read_events):
    log = tmp_path / "log"
    writer = MultiWriter([Writer(fails=True), EventFileWriter(log), JSONLWriter(tmp_path / "metrics.jsonl")])
    sv = hookrun.Supervisor(
        logdir=log, summary_writer=writer, save_summaries_secs=0, save_summaries_steps=1, save_model_secs=0
    )
    with sv.managed_session() as sess:
        for _ in range(3):
            sess.run(model.train_op)
            sv.summary_writer.add_scalar("lr", 0.5, 1)
    tags = [value.tag for event in read_events(log) for value in event.summary.value]
    assert tags.count("loss") == 3 and tags.count("lr") == 3
    assert (tmp_path / "metrics.jsonl").read_text().count('"loss"') == 3
