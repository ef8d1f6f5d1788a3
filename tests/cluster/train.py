"""The program of every task of a cluster, as `TF_CONFIG` says; it tells what happens, a line each.

A line on its standard input ends the training, at this task; the end of its standard input the process.
"""

import argparse
import logging
import os
import sys
import threading
import time

import tensorflow as tf

import hookrun
from hookrun import cluster, signals

v1 = tf.compat.v1


def say(*words):
    print(*words, flush=True)


def read_stdin(supervisors):
    for _ in sys.stdin:
        for sv in supervisors:
            sv.request_stop()
    os._exit(3)


def build(args, task):
    step = v1.train.get_or_create_global_step()
    partitioner = tf.compat.v1.fixed_size_partitioner(2) if args.partitioned else None
    weights = v1.get_variable("weights", [8], initializer=v1.zeros_initializer(), partitioner=partitioner)
    loss = tf.reduce_sum((tf.convert_to_tensor(weights) - 1.0) ** 2)
    optimizer = v1.train.GradientDescentOptimizer(0.001)
    if not args.sync:
        return step, loss, optimizer.minimize(loss, global_step=step), None
    optimizer = v1.train.SyncReplicasOptimizer(
        optimizer, replicas_to_aggregate=args.sync, total_num_replicas=args.sync
    )
    return step, loss, optimizer.minimize(loss, global_step=step), optimizer


def main():
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("--logdir")
    parser.add_argument("--last-step", type=int, default=10**9)
    parser.add_argument("--save-secs", type=float, default=600)
    parser.add_argument("--pace", type=float, default=0.01, help="seconds between two steps")
    parser.add_argument("--grace", type=float, default=8.0)
    parser.add_argument("--max-wait", type=float, help="seconds to wait for a session")
    parser.add_argument("--recover", action="store_true", help="train with sv.train")
    parser.add_argument("--sync", type=int, default=0, help="replicas to aggregate")
    parser.add_argument("--partitioned", action="store_true")
    parser.add_argument("--sharded", action="store_true", help="a file of each parameter server")
    args = parser.parse_args()

    supervisors = []
    threading.Thread(target=read_stdin, args=[supervisors], daemon=True).start()
    task = cluster.Task.from_tf_config()
    server = task.start_server()
    if task.job == "ps":
        say("serving")
        cluster.run_parameter_server(server, chief_grace_secs=args.grace)
        say("released")
        return
    with tf.Graph().as_default(), v1.device(task.device_setter()):
        step, _, train_op, sync_optimizer = build(args, task)
        ops = {"saver": v1.train.Saver(sharded=True)} if args.sharded else {}
        if sync_optimizer is not None:
            ops["ready_for_local_init_op"] = sync_optimizer.ready_for_local_init_op
            ops["local_init_op"] = sync_optimizer.local_step_init_op
            if task.is_chief:
                ops["local_init_op"] = sync_optimizer.chief_init_op
                chief_queue_runner = sync_optimizer.get_chief_queue_runner()
                init_tokens_op = sync_optimizer.get_init_tokens_op()
        sv = hookrun.Supervisor(
            is_chief=task.is_chief,
            logdir=args.logdir,
            recovery_wait_secs=0.5,
            save_model_secs=args.save_secs,
            save_summaries_secs=0,
            hooks=[cluster.ReleaseParameterServersHook(server)],
            **ops,
        )
        supervisors.append(sv)
        sv.on(signals.checkpoint_saved, lambda _, event: say("saved", event.global_step))

        def train():
            bound = {} if args.max_wait is None else {"max_wait_secs": args.max_wait}
            config = task.session_config()
            with sv.managed_session(server.target, config=config, **bound) as sess:
                if sync_optimizer is not None and task.is_chief:
                    sv.start_queue_runners(sess, [chief_queue_runner])
                    sess.run(init_tokens_op)
                now = sess.run(step)
                say("ready", now)
                while not sv.should_stop() and now < args.last_step:
                    sess.run(train_op)
                    now = sess.run(step)
                    say("step", now)
                    time.sleep(args.pace)
                ending = time.monotonic()
            say("done", now, f"{time.monotonic() - ending:.3f}")

        def train_with_recovery():
            def one_step(sess):
                sess.run(train_op)
                now = sess.run(step)
                say("step", now)
                if now >= args.last_step:
                    sv.request_stop()
                time.sleep(args.pace)

            sv.on(signals.session_lost, lambda *_: say("lost"))
            sv.on(signals.session_recovered, lambda _, event: say("ready", event.global_step))
            bound = {} if args.max_wait is None else {"max_wait_secs": args.max_wait}
            sv.train(one_step, master=server.target, config=task.session_config(), **bound)
            say("done")

        while True:  # the documented loop
            start = time.monotonic()
            try:
                train_with_recovery() if args.recover else train()
            except tf.errors.AbortedError as error:
                say("lost", type(error).__name__)
            except tf.errors.DeadlineExceededError:
                say("gave up after", f"{time.monotonic() - start:.3f}")
                raise
            else:
                break


if __name__ == "__main__":
    main()
