"""A training that writes its loss as CSV and as lines of JSON, and is killed at a step. Takes the directory,
that step, and whether the writers are the `summary_writer` ("True") or those of a `SummaryHook`."""

import os
import signal
import sys

import tensorflow as tf

import hookrun
from hookrun import hooks, signals, writers

tf1 = tf.compat.v1
directory, die, as_summary_writer = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
sinks = [writers.CSVWriter(f"{directory}/s.csv"), writers.JSONLWriter(f"{directory}/s.jsonl")]

with tf.Graph().as_default():
    train_op = tf1.assign_add(tf1.train.get_or_create_global_step(), 1)
    tf1.summary.scalar("loss", 0.5)
    sv = hookrun.Supervisor(
        logdir=f"{directory}/log",
        hooks=[
            hooks.CheckpointHook(every_steps=4, background=False),
            hooks.SummaryHook(every_steps=1, writers=[] if as_summary_writer else sinks),
        ],
        save_summaries_secs=3600,
        **({"summary_writer": writers.MultiWriter(sinks)} if as_summary_writer else {}),
    )

    @sv.on(signals.step, priority=1e9)
    def kill(sv, event):
        if event.global_step == die:
            os.kill(os.getpid(), signal.SIGKILL)

    with sv.managed_session() as session:
        for _ in range(9 - sv.read_global_step(session)):
            session.run(train_op)
