"""Teach a generator to draw points on a ring, against a discriminator; the two train ops take turns.

A global step is one round: only the generator's op, which runs second, increments it. So hooks are called
once per round, after both updates.
"""

import argparse
import math

import numpy as np
import tensorflow as tf

import hookrun
from hookrun import hooks

RADIUS, SPREAD = 2.0, 0.2


def real_points(count):
    """Returns points around a circle, drawn anew at each evaluation."""
    angle = tf.random.uniform([count], maxval=2 * math.pi)
    radius = tf.random.normal([count], RADIUS, SPREAD)
    return tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)


def network(inputs, sizes, name):
    """Returns the outputs of the network of that name; all calls share its weights."""
    with tf.compat.v1.variable_scope(name, reuse=tf.compat.v1.AUTO_REUSE):
        for layer, size in enumerate(sizes):
            if layer > 0:
                inputs = tf.nn.leaky_relu(inputs)
            weights = tf.compat.v1.get_variable(f"weights{layer}", [inputs.shape[1], size])
            biases = tf.compat.v1.get_variable(
                f"biases{layer}", [size], initializer=tf.compat.v1.zeros_initializer()
            )
            inputs = inputs @ weights + biases
    return inputs


def generate(noise):
    return network(noise, [32, 32, 2], "generator")


def discriminate(points):
    """Returns for each point the logit that it is real."""
    return network(points, [64, 64, 1], "discriminator")


def cross_entropy(logits, label):
    labels = tf.fill(tf.shape(logits), label)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))


def build_model(batch_size):
    """Returns the two losses and the two train ops."""
    fakes = generate(tf.random.normal([batch_size, 4]))
    judged_real, judged_fake = discriminate(real_points(batch_size)), discriminate(fakes)
    losses = {
        "discriminator": cross_entropy(judged_real, 1.0) + cross_entropy(judged_fake, 0.0),
        "generator": cross_entropy(judged_fake, 1.0),
    }
    train_ops = {}
    for name, global_step in (
        ("discriminator", None),
        ("generator", tf.compat.v1.train.get_or_create_global_step()),
    ):
        optimizer = tf.compat.v1.train.AdamOptimizer(0.002, beta1=0.5)
        variables = tf.compat.v1.trainable_variables(f"{name}/")
        train_ops[name] = optimizer.minimize(losses[name], global_step, var_list=variables)
    return losses, train_ops


def main():
    parser = argparse.ArgumentParser(description="Train a generator of points on a ring.")
    parser.add_argument("--logdir", default="runs/gan", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3000, help="rounds to reach; default: %(default)s")
    args = parser.parse_args()
    hookrun.log_to_console()

    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(0)
        losses, train_ops = build_model(batch_size=128)
        samples = generate(tf.random.normal([2000, 4]))

        def measure(session):
            points = session.run(samples)
            radii = np.linalg.norm(points, axis=1)
            x, y = points.mean(axis=0)
            return {"radius": radii.mean(), "spread": radii.std(), "x": x, "y": y}

        sv = hookrun.Supervisor(
            logdir=args.logdir,
            hooks=[
                hooks.LoggingHook(losses, every_steps=500),
                hooks.EvaluationHook(measure, every_steps=500, at_steps=[1]),
                hooks.StopAtStepHook(last_step=args.steps),
            ],
        )
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_ops["discriminator"])
                sess.run(train_ops["generator"])

    print("the generator's points: radius {radius:.3f}, spread {spread:.3f}".format(**sv.metrics))
    print(f"the points it imitates: radius {RADIUS:.3f}, spread {SPREAD:.3f}")


if __name__ == "__main__":
    main()
