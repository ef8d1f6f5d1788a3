"""A cluster on one machine: a parameter server, a chief, two workers, and what happens when they are killed.

    python examples/cluster.py                       # kills the parameter server, a worker and the chief
    python examples/cluster.py --kill chief          # kills only the chief
    python examples/cluster.py --kill                # kills nothing

Without `TF_CONFIG` this program is the launcher: it starts itself once for each task, with a `TF_CONFIG` that
describes the cluster, as a scheduler does on many machines. With it, it is that task.
"""

import argparse
import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

JOBS = {"ps": 1, "chief": 1, "worker": 2}


def run_task(args):
    """Run one task of the cluster."""
    import numpy as np
    import tensorflow as tf

    import hookrun
    from hookrun import cluster, hooks, signals

    v1 = tf.compat.v1
    task = cluster.Task.from_tf_config()
    server = task.start_server()
    if task.job == "ps":
        cluster.run_parameter_server(server, chief_grace_secs=60)  # longer than a restart takes
        return

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
            hooks=[
                hooks.StopAtStepHook(last_step=args.steps),
                cluster.ReleaseParameterServersHook(server),
            ],
        )

    @sv.on(signals.session_created)
    def tell_where_it_starts(sv, event):
        restored_from = os.path.basename(event.restored_from or "newly initialized")
        model = "live, no step lost" if event.adopted else restored_from
        say(f"ready at step {event.global_step}", f"; the model: {model}" if task.is_chief else "")

    @sv.on(signals.session_lost)
    def tell_of_the_loss(sv, event):
        say("lost the parameter server")

    @sv.on(signals.session_recovered)
    def tell_of_the_recovery(sv, event):
        say(f"recovered: {event.steps_lost} steps lost")

    @sv.on(signals.checkpoint_saved)
    def tell_of_the_checkpoint(sv, event):
        say(f"saved step {event.global_step}")

    @sv.on(signals.stop)
    def tell_the_result(sv, event):
        if event.clean and task.is_chief:
            say("slope {:.2f}, intercept {:.2f}".format(*event.session.run([slope, intercept])))

    random = np.random.default_rng(task.index)

    def step(sess):
        batch = random.uniform(-1, 1, 32)
        sess.run(train_op, {points: batch, values: 3 * batch + 2 + random.normal(0, 0.1, 32)})
        time.sleep(0.03)  # stands for a larger model

    sv.train(step, master=server.target, config=task.session_config(), max_wait_secs=120)


def say(*words):
    print(*words, sep="", flush=True)


class Launcher:
    """Starts the tasks, passes on what they print, and kills and restarts them."""

    def __init__(self, arguments):
        self._command = [sys.executable, __file__, *arguments]
        with contextlib.ExitStack() as sockets:
            self._cluster = {
                job: [self._free_address(sockets) for _ in range(count)] for job, count in JOBS.items()
            }
        self._tasks = {}
        self._lines = queue.SimpleQueue()  # a line is None when the process has ended
        self._running = set()

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
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tasks[f"{job} {index}"] = process
        self._running.add(process)
        threading.Thread(target=self._read, args=(f"{job} {index}", process)).start()

    def _read(self, task, process):
        with process.stdout:
            for line in process.stdout:
                self._lines.put((task, process, line))
        self._lines.put((task, process, None))

    def _pass_on_a_line(self):
        task, process, line = self._lines.get()
        if line is None:
            self._running.remove(process)
        else:
            say(f"{task}: {line.rstrip()}")
        return task, line or ""

    def wait_for(self, task, *texts):
        """Pass on what is printed until a task has printed each of `texts`."""
        for text in texts:
            teller, line = "", ""
            while teller != task or text not in line:
                teller, line = self._pass_on_a_line()
                if self._tasks[task] not in self._running:
                    sys.exit(f"{task} ended before it said {text!r}")

    def kill(self, job, index):
        """Kill a task, as if its machine failed."""
        self._tasks[f"{job} {index}"].kill()
        self._tasks[f"{job} {index}"].wait()

    def wait(self):
        """Pass on what is printed until all tasks have ended; return whether they succeeded."""
        while self._running:
            self._pass_on_a_line()
        statuses = {task: process.wait() for task, process in self._tasks.items()}
        say("ended with status ", ", ".join(f"{status} ({task})" for task, status in statuses.items()))
        return not any(statuses.values())

    def close(self):
        """End the remaining tasks."""
        for process in self._tasks.values():
            process.kill()


def launch(args):
    """Start the cluster, kill and restart tasks of it, and wait for the end of the training."""
    arguments = ["--logdir", args.logdir, "--steps", str(args.steps)]
    with contextlib.closing(Launcher(arguments)) as launcher:
        for job, count in JOBS.items():
            for index in range(count):
                launcher.start(job, index)
        for job in args.kill:
            launcher.wait_for("chief 0", "saved", "saved")  # the first may be that of the start
            time.sleep(1)  # so that some steps are not saved
            say(f"--- {job} 0 is killed, and started again")
            launcher.kill(job, 0)
            launcher.start(job, 0)
            launcher.wait_for(*("chief 0", "recovered") if job == "ps" else (f"{job} 0", "ready"))
        if not launcher.wait():
            sys.exit("a task failed")


def main():
    parser = argparse.ArgumentParser(description="Train in a cluster on this machine; kill tasks of it.")
    logdir = time.strftime("runs/cluster-%Y%m%d-%H%M%S")
    parser.add_argument("--logdir", default=logdir, help="default: a new one in runs/")
    parser.add_argument("--steps", type=int, default=3000, help="global step to reach; default: %(default)s")
    jobs = ["ps", "worker", "chief"]
    parser.add_argument(
        "--kill", nargs="*", choices=jobs, default=jobs, help="jobs of which task 0 is killed; default: all"
    )
    args = parser.parse_args()
    if "TF_CONFIG" in os.environ:
        run_task(args)
    else:
        launch(args)


if __name__ == "__main__":
    main()
