"""Train with hooks that other packages publish, found by their entry points.

`pip install ./examples/published_hook` installs one, as `pip install hookrun-busy-cores` would if it were
published.
"""

import argparse
from importlib.metadata import entry_points

import tensorflow as tf

import hookrun
from hookrun import hooks


def main():
    published = entry_points(group="hookrun.hooks")
    parser = argparse.ArgumentParser(description="Train a small model with published hooks.")
    parser.add_argument("--logdir", default="runs/published_hook", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=1000, help="global step to reach; default: %(default)s")
    parser.add_argument(
        "--hook", action="append", choices=sorted(published.names), required=True, help="an installed one"
    )
    args = parser.parse_args()

    given = []
    for name in args.hook:
        entry_point = published[name]
        given.append(entry_point.load()())
        print(f"{name}: {type(given[-1]).__name__} of {entry_point.dist.name} {entry_point.dist.version}")

    with tf.Graph().as_default():
        weights = tf.compat.v1.get_variable("weights", [200, 200])
        loss = tf.reduce_mean((weights @ weights - tf.eye(200)) ** 2)
        global_step = tf.compat.v1.train.get_or_create_global_step()
        train_op = tf.compat.v1.train.AdamOptimizer(0.001).minimize(loss, global_step=global_step)

        sv = hookrun.Supervisor(
            logdir=args.logdir, hooks=[*given, hooks.StopAtStepHook(last_step=args.steps)]
        )
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)


if __name__ == "__main__":
    main()
