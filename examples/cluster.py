"""A whole cluster on one machine: one parameter server, a chief, two workers; one of them is killed.

    python examples/cluster.py                 # a worker is killed, started again, and goes on
    python examples/cluster.py --kill chief    # the chief

Without `TF_CONFIG` this program is the launcher: it starts itself once for each task, with a `TF_CONFIG` that
describes the cluster, as a scheduler does on many machines. With it, it is that task.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

JOBS = {"ps": 1, "chief": 1, "worker": 2}


def run_task(args):
    """What each task of the cluster does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    import hookrun
    from hookrun import cluster, signals

    v1 = tf.compat.v1
    task = cluster.Task.from_tf_config()
    server = task.start_server()
    if task.job == "ps":
        print("serving", flush=True)
        cluster.run_parameter_server(server, chief_grace_secs=60)  # longer than a restart takes
        print("the training is over", flush=True)
        return

    random = np.random.default_rng(task.index)
    with tf.Graph().as_default(), v1.device(task.device_setter()):
        points = v1.placeholder(tf.float32, [None])
        values = v1.placeholder(tf.float32, [None])
        slope = v1.get_variable("slope", [], initializer=v1.zeros_initializer())
        intercept = v1.get_variable("intercept", [], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean((slope * points + intercept - values) ** 2)
        global_step = v1.train.get_or_create_global_step()
        train_op = v1.train.GradientDescentOptimizer(0.05).minimize(loss, global_step=global_step)

        sv = hookrun.Supervisor(
            is_chief=task.is_chief,
            logdir=args.logdir,
            save_model_secs=2,
            recovery_wait_secs=1,
            hooks=[cluster.ReleaseParameterServersHook(server)],
        )

        @sv.on(signals.step, every_secs=1)
        def report(sv, event):
            print(f"step {event.global_step}", flush=True)

        with sv.managed_session(server.target, config=task.session_config()) as sess:
            step = sess.run(global_step)
            print(f"training from step {step}", flush=True)
            while not sv.should_stop() and step < args.steps:
                batch = random.uniform(-1, 1, 32)
                feed = {points: batch, values: 3 * batch + 2 + random.normal(0, 0.1, 32)}
                _, step = sess.run([train_op, global_step], feed)
                time.sleep(args.step_secs)
            if task.is_chief:
                print("slope {:.2f}, intercept {:.2f}".format(*sess.run([slope, intercept])), flush=True)
        print("done", flush=True)


class Launcher:
    """Starts the tasks, passes on what they print, and kills and restarts one."""

    def __init__(self, args):
        self._command = [sys.executable, __file__, *args]
        with contextlib.ExitStack() as sockets:
            self._cluster = {
                job: [self._free_address(sockets) for _ in range(count)] for job, count in JOBS.items()
            }
        self._printed = threading.Condition()
        self._lines = {}
        self._processes = {}
        self._readers = []

    @staticmethod
    def _free_address(sockets):
        free = sockets.enter_context(socket.socket())
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"

    def start(self, job, index):
        """Start a task, or start it again."""
        config = {"cluster": self._cluster, "task": {"type": job, "index": index}}
        process = subprocess.Popen(
            self._command,
            env={**os.environ, "TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines[job, index] = []
        self._processes[job, index] = process
        reader = threading.Thread(target=self._pass_on, args=(job, index, process))
        reader.start()
        self._readers.append(reader)

    def _pass_on(self, job, index, process):
        with process.stdout:
            for line in process.stdout:
                print(f"{job} {index}: {line}", end="", flush=True)
                with self._printed:
                    self._lines[job, index].append(line)
                    self._printed.notify_all()

    def wait_for_step(self, job, index):
        """Wait until a task reports a step; False if it does not."""
        with self._printed:
            return self._printed.wait_for(
                lambda: any(line.startswith("step") for line in self._lines[job, index]), timeout=60
            )

    def kill(self, job, index):
        """Kill a task as the end of its machine would."""
        self._processes[job, index].kill()
        self._processes[job, index].wait()

    def wait(self):
        """Wait for the end of all tasks; return whether all of them ended well."""
        statuses = {task: process.wait() for task, process in self._processes.items()}
        for (job, index), status in statuses.items():
            print(f"{job} {index} ended with status {status}", flush=True)
        return not any(statuses.values())

    def close(self):
        """End what is left."""
        for process in self._processes.values():
            process.kill()
        for reader in self._readers:
            reader.join()


def main():
    parser = argparse.ArgumentParser(description="Train in a cluster on this machine; kill a task of it.")
    parser.add_argument("--logdir", default="runs/cluster", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3000, help="global step to reach; default: %(default)s")
    parser.add_argument(
        "--step-secs", type=float, default=0.02, help="pause after a step; default: %(default)s"
    )
    parser.add_argument("--kill", choices=["chief", "worker"], default="worker", help="default: %(default)s")
    args = parser.parse_args()
    if "TF_CONFIG" in os.environ:
        run_task(args)
        return
    launcher = Launcher(sys.argv[1:])
    try:
        for job, count in JOBS.items():
            for index in range(count):
                launcher.start(job, index)
        if launcher.wait_for_step(args.kill, 0):
            print(f"--- {args.kill} 0 is killed, and started again", flush=True)
            launcher.kill(args.kill, 0)
            launcher.start(args.kill, 0)
        if not launcher.wait():
            sys.exit("a task failed")
    finally:
        launcher.close()


if __name__ == "__main__":
    main()
