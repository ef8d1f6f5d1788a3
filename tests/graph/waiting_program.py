"""A worker that waits until Ctrl-C: ``python waiting_program.py CLUSTER INDEX WAIT...``, in this order.

It logs and tells what it does on its standard output. The last interrupt is not caught.
"""

import contextlib
import json
import logging
import sys
import tempfile
import threading
import time

import tensorflow as tf

import hookrun
from hookrun import signals
from hookrun.graph.recovery import Recoveries

v1 = tf.compat.v1


class Program:
    def __init__(self, cluster, index):
        self._server = tf.distribute.Server(cluster, "worker", index)
        config = v1.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{index}"])
        self._master = {"master": self._server.target, "config": config}

    def _supervisor(self, **options):
        with tf.Graph().as_default(), tf.device("/job:ps/task:0"):
            self._train_op = v1.assign_add(v1.train.get_or_create_global_step(), 1)
            return hookrun.Supervisor(recovery_wait_secs=0.5, **options)

    def session(self):
        """For a session, whose parameter server is missing."""
        with self._supervisor().managed_session(**self._master):
            pass

    def chief(self):
        """For the chief, who has not initialized the model."""
        with self._supervisor(is_chief=False).managed_session(**self._master):
            pass

    def backoff(self):
        """Before a session is made in the place of a lost one."""
        next_wait_secs = Recoveries.next_wait_secs
        Recoveries.next_wait_secs = lambda *args: next_wait_secs(*args) + 600
        try:
            self._supervisor().train(self._step, **self._master)
        finally:
            Recoveries.next_wait_secs = next_wait_secs

    def lost(self):
        """For a session in the place of a lost one."""
        self._supervisor().train(self._step, **self._master)

    def save(self):
        """For the last save, whose parameter server is stopped."""
        with tempfile.TemporaryDirectory() as logdir:
            sv = self._supervisor(logdir=logdir, save_summaries_secs=0)
            saved = threading.Event()
            sv.on(signals.checkpoint_saved, lambda *_: saved.set())
            with sv.managed_session(**self._master) as sess:
                saved.wait()
                self._step(sess)
                sys.stdin.readline()
                _say_when_in("hookrun-session-last-run")

    def close(self):
        """For the end of a session whose parameter server is dead."""
        with self._supervisor().managed_session(**self._master) as sess:
            self._step(sess)
            sys.stdin.readline()
            for _ in range(2):  # unseen by `sess`, which would not wait for long
                with contextlib.suppress(tf.errors.UnavailableError):
                    v1.Session.run(sess, self._train_op)
            _say_when_in("hookrun-session-close")

    def _step(self, sess):
        print("step", sess.run(self._train_op), flush=True)
        time.sleep(0.01)


def _say_when_in(name):
    def say():
        while not any(thread.name == name for thread in threading.enumerate()):
            time.sleep(0.001)
        print("in", name, flush=True)

    threading.Thread(target=say, daemon=True).start()


def main():
    cluster, index, *waits = sys.argv[1:]
    logging.basicConfig(
        stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s", level=logging.INFO, force=True
    )
    program = Program(json.loads(cluster), int(index))
    for wait in waits:
        try:
            getattr(program, wait)()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            if wait is waits[-1]:
                raise


if __name__ == "__main__":
    main()
