"""A program written for TensorFlow's Supervisor. Only the import differs.

TensorFlow's Supervisor also needs `tf.disable_v2_behavior()` at the top; with hookrun it may stay or go.
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf

# Before: from tensorflow.compat.v1.train import Supervisor
from hookrun import Supervisor


def print_loss(sess, global_step, loss):
    print("step {}: loss {:.4f}".format(*sess.run([global_step, loss])), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Fit a line to noisy points.")
    parser.add_argument("--logdir", default="runs/migrate", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=1000, help="global step to reach; default: %(default)s")
    args = parser.parse_args()

    random = np.random.RandomState(0)
    points = random.uniform(-1, 1, 200)
    values = 3 * points + 2 + random.normal(0, 0.1, 200)

    with tf.Graph().as_default():
        x = tf.constant(points, tf.float32)
        y = tf.constant(values, tf.float32)
        slope = tf.get_variable("slope", [], initializer=tf.zeros_initializer())
        intercept = tf.get_variable("intercept", [], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.square(slope * x + intercept - y))
        global_step = tf.train.get_or_create_global_step()
        train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=global_step)
        tf.summary.scalar("loss", loss)
        summary_op = tf.summary.merge_all()

        sv = Supervisor(logdir=args.logdir, summary_op=None, save_model_secs=60)
        with sv.managed_session() as sess:
            sv.loop(1, print_loss, (sess, global_step, loss))
            step = sess.run(global_step)
            while not sv.should_stop() and step < args.steps:
                sess.run(train_op)
                step = sess.run(global_step)
                if step % 100 == 0:
                    sv.summary_computed(sess, sess.run(summary_op))
            print("slope {:.5f}, intercept {:.5f}".format(*sess.run([slope, intercept])))


if __name__ == "__main__":
    main()
