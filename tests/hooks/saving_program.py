"""A program that saves all the time, to be killed: for each line it reads, it forks a child that trains.

The child prints ``pid N``, ``restored STEP`` and ``saved STEP`` for each checkpoint that was announced; the
program ``ended`` when the child has.
"""

import os
import sys

import tensorflow as tf

import hookrun
from hookrun import hooks, signals


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Seen(hooks.Hook):
    """Counts the steps, as the global step does, and must agree with it after a restart."""

    seen = 0

    def on_step(self, supervisor, event):
        self.seen = event.global_step

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def train(logdir, with_step):
    say("pid", os.getpid())
    with tf.Graph().as_default():
        step = tf.compat.v1.train.get_or_create_global_step() if with_step else None
        weights = tf.compat.v1.get_variable(
            "weights", [20_000], tf.int64, tf.compat.v1.zeros_initializer(), trainable=False
        )
        count = tf.compat.v1.get_variable(
            "count", [], tf.int64, tf.compat.v1.zeros_initializer(), trainable=False
        )
        loss_weight = tf.compat.v1.get_variable("loss_weight", initializer=1.0)
        updates = [tf.compat.v1.assign_add(weights, tf.ones_like(weights)), tf.compat.v1.assign_add(count, 1)]
        with tf.control_dependencies([*updates, tf.compat.v1.assign_add(loss_weight, 0.0)]):
            train_op = tf.compat.v1.assign_add(step, 1).op if with_step else tf.no_op()
        equal = [weights[0], weights[-1], count, *([step] if with_step else [])]
        seen = Seen()
        sv = hookrun.Supervisor(
            logdir=logdir, save_model_secs=0.05, save_summaries_secs=0, summary_writer=None, hooks=[seen]
        )
        sv.on(signals.checkpoint_saved, lambda _, event: say("saved", event.global_step or 0))
        with sv.managed_session() as sess:
            values = sess.run(equal)
            if len(set(values)) != 1 or (with_step and seen.seen != values[0]):
                say("torn", values, seen.seen)
                os._exit(1)
            say("restored", values[0] if with_step else 0)
            while True:
                sess.run(train_op)


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            train(sys.argv[1], sys.argv[2] == "with_step")
        os.waitpid(child, 0)
        say("ended")
