"""Predict Python's manual, character by character, with a recurrent network.

The text is cut into rows that are read in parallel, a few characters per step. Back-propagation is truncated
there, and a variable carries the state of the network to the next step. Each checkpoint holds it, and the
global step, which determines the position in the text: a resumed run continues reading there.
"""

import argparse
from pydoc_data.topics import topics

import numpy as np
import tensorflow as tf

import hookrun
from hookrun import hooks

ROWS, UNROLLED, UNITS = 32, 20, 128
RATE = 0.01


def read_text(length):
    """Returns the first `length` characters as numbers, and the character of each number."""
    text = "".join(topics.values())[:length]
    characters, numbers = np.unique(list(text), return_inverse=True)
    return numbers.astype("int32"), characters


def next_characters(numbers, global_step):
    """Returns this step's characters of the rows, the ones after them, and whether the rows begin."""
    width = (len(numbers) - 1) // (ROWS * UNROLLED) * UNROLLED
    inputs = tf.constant(numbers[: ROWS * width].reshape(ROWS, width))
    targets = tf.constant(numbers[1 : ROWS * width + 1].reshape(ROWS, width))
    start = tf.cast(global_step, tf.int32) * UNROLLED % width
    part = slice(None), slice(start, start + UNROLLED)
    return inputs[part], targets[part], tf.equal(start, 0)


def dense(inputs, size, name):
    weights = tf.compat.v1.get_variable(f"{name}/weights", [inputs.shape[-1], size])
    biases = tf.compat.v1.get_variable(f"{name}/biases", [size], initializer=tf.compat.v1.zeros_initializer())
    return inputs @ weights + biases


def gated_recurrent_unit(state, inputs):
    """Returns the next state."""
    with tf.compat.v1.variable_scope("cell", reuse=tf.compat.v1.AUTO_REUSE):
        gates = tf.sigmoid(dense(tf.concat([state, inputs], axis=1), 2 * UNITS, "gates"))
        reset, keep = tf.split(gates, 2, axis=1)
        candidate = tf.tanh(dense(tf.concat([reset * state, inputs], axis=1), UNITS, "candidate"))
        return keep * state + (1 - keep) * candidate


def build_model(numbers, vocabulary):
    """Returns the mean loss per character, the op that trains, and the variable with the learning rate."""
    global_step = tf.compat.v1.train.get_or_create_global_step()
    inputs, targets, begin = next_characters(numbers, global_step)
    carried = tf.compat.v1.get_variable(
        "carried_state", [ROWS, UNITS], initializer=tf.compat.v1.zeros_initializer(), trainable=False
    )
    state = tf.where(begin, tf.zeros_like(carried), carried)
    states = []
    for characters in tf.unstack(tf.one_hot(inputs, vocabulary), UNROLLED, axis=1):
        state = gated_recurrent_unit(state, characters)
        states.append(state)
    logits = dense(tf.stack(states, axis=1), vocabulary, "output")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits))

    rate = tf.compat.v1.get_variable("learning_rate", initializer=RATE, trainable=False)
    optimizer = tf.compat.v1.train.AdamOptimizer(rate)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
    with tf.control_dependencies([*gradients, carried.assign(state)]):
        train_op = optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step)
    return loss, train_op, rate


def main():
    parser = argparse.ArgumentParser(description="Train a recurrent model of the text of Python's manual.")
    parser.add_argument("--logdir", default="runs/language_model", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3000, help="global step to reach; default: %(default)s")
    parser.add_argument("--length", type=int, default=400_000, help="of the text; default: %(default)s")
    args = parser.parse_args()
    hookrun.log_to_console()

    numbers, characters = read_text(args.length)
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(0)
        loss, train_op, rate = build_model(numbers, len(characters))
        perplexity = tf.exp(loss)
        summary = tf.compat.v1.summary.scalar("perplexity", perplexity)

        def rate_at(step):
            """Halves the rate after each third of the training."""
            return RATE * 0.5 ** (3 * step // args.steps)

        sv = hookrun.Supervisor(
            logdir=args.logdir,
            hooks=[
                hooks.SummaryHook(summary, every_steps=50),
                hooks.LearningRateHook(rate, rate_at, every_steps=50),
                hooks.LoggingHook({"perplexity": perplexity}, every_steps=50),
                hooks.StopAtStepHook(last_step=args.steps),
            ],
        )
        print(f"{len(numbers)} characters, {len(characters)} different ones")
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)


if __name__ == "__main__":
    main()
