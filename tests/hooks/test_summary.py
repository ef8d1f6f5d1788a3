"""SummaryHook: what it writes when summaries are due."""

from __future__ import annotations

import logging
import threading

import tensorflow as tf

import hookrun
from hookrun import signals


def summaries(events):
    return [(e.step, {v.tag for v in e.summary.value}) for e in events if e.WhichOneof("what") == "summary"]


def test_the_merged_summaries_are_written_with_the_current_step(model, tmp_path, read_events):
    sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=3)
    with sv.managed_session() as sess:
        for _ in range(6):
            sess.run(model.train_op)
    loss = [row for row in summaries(read_events(tmp_path)) if row[1] == {"loss"}]
    assert loss == [(3, {"loss"}), (6, {"loss"})]


def test_computing_them_is_no_training_step(model, tmp_path, wait_until):
    sv = hookrun.Supervisor(logdir=tmp_path)
    told, written = [], threading.Event()
    sv.on(signals.step, lambda _, event: told.append(event))
    sv.on(signals.summary_due, lambda *_: written.set(), priority=1)
    with sv.managed_session():
        wait_until(written)
    assert told == []


def test_without_a_global_step_they_are_written_with_one_warning(
    graph, tmp_path, read_events, caplog, wait_until
):
    tf.compat.v1.summary.scalar("constant", 1.0)
    sv = hookrun.Supervisor(logdir=tmp_path)
    written = threading.Event()
    sv.on(signals.summary_due, lambda *_: written.set(), priority=1)
    with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session():
        wait_until(written)
    assert summaries(read_events(tmp_path)) == [(0, {"constant"})]
    assert len([r for r in caplog.records if "global step" in r.getMessage()]) == 1
