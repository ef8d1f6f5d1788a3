"""Forks servers of clusters on demand, each in milliseconds: TensorFlow is imported once.

A line on standard input, ``JOB INDEX CLUSTER``, starts a server; its process id is the answer.
"""

import ctypes
import json
import os
import signal
import sys

import tensorflow as tf

_PR_SET_PDEATHSIG = 1

print("ready", flush=True)
for line in sys.stdin:
    job, index, cluster = line.split(" ", 2)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        server = tf.distribute.Server(json.loads(cluster), job, int(index))
        print(os.getpid(), flush=True)
        while True:
            signal.pause()
