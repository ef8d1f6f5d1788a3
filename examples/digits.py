"""Train a small network on scikit-learn's handwritten digits, under hookrun.Supervisor.

Run it twice: `python examples/digits.py` trains up to step 2000, and `python examples/digits.py --steps 4000`
resumes there.
"""

import argparse
import sys
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hookrun
from hookrun import hooks, triggers

REQUIRED_ACCURACY = 0.95

FILES = {
    "checkpoint": "names the newest checkpoint, from which the next run resumes",
    "model.ckpt-*.data-*": "the values of the variables at that step",
    "model.ckpt-*.index": "where each variable is in the data file",
    "model.ckpt-*.meta": "the graph to which the variables belong",
    "events.out.tfevents.*": "summaries and graph, for TensorBoard",
    "graph.pbtxt": "the graph, as text",
}


class AccuracyHook(hooks.Hook):
    """Measures the accuracy on held-out digits when it is due, prints it and writes it as a summary."""

    def __init__(self, accuracy, trigger):
        self.accuracy = accuracy
        self.trigger = trigger

    def setup_graph(self, runtime):
        # In no collection, so that the standard summary service does not write it too.
        self.summary = tf.compat.v1.summary.scalar("accuracy", self.accuracy, collections=[])

    def on_step(self, runtime, event):
        accuracy, summary = event.session.run([self.accuracy, self.summary])
        runtime.summary_computed(event.session, summary, event.global_step)
        print(f"step {event.global_step}: accuracy {accuracy:.4f}")


class StopWhenTrained(hooks.Hook):
    """Requests a stop once the global step has reached `last_step`, in this run or an earlier one."""

    def __init__(self, last_step):
        self.last_step = last_step

    def on_session_created(self, runtime, event):
        if event.global_step > 0:
            print(f"resumed at step {event.global_step}")
        if event.global_step >= self.last_step:
            print("nothing left to train, only evaluating; give a higher --steps to continue")
        self.stop_when_reached(runtime, event)

    def on_step(self, runtime, event):
        self.stop_when_reached(runtime, event)

    def stop_when_reached(self, runtime, event):
        if event.global_step >= self.last_step:
            runtime.request_stop()


def build_model(batch_size):
    """Returns the op that trains on the next batch, and the accuracy on the held-out digits."""
    digits = load_digits()
    train_images, test_images, train_labels, test_labels = train_test_split(
        (digits.images.reshape(-1, 64) / 16).astype("float32"), digits.target, test_size=0.2, random_state=0
    )
    hidden_weights = tf.compat.v1.get_variable("hidden/weights", [64, 64])
    hidden_bias = tf.compat.v1.get_variable("hidden/bias", [64], initializer=tf.zeros_initializer())
    output_weights = tf.compat.v1.get_variable("output/weights", [64, 10])
    output_bias = tf.compat.v1.get_variable("output/bias", [10], initializer=tf.zeros_initializer())

    def classify(images):
        hidden = tf.nn.relu(images @ hidden_weights + hidden_bias)
        return hidden @ output_weights + output_bias

    dataset = tf.data.Dataset.from_tensor_slices((train_images, train_labels))
    dataset = dataset.shuffle(len(train_images)).repeat().batch(batch_size)
    images, labels = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=classify(images))
    )
    tf.compat.v1.summary.scalar("loss", loss)
    train_op = tf.compat.v1.train.AdamOptimizer().minimize(
        loss, global_step=tf.compat.v1.train.get_or_create_global_step()
    )
    correct = tf.equal(tf.argmax(classify(test_images), axis=1), test_labels)
    return train_op, tf.reduce_mean(tf.cast(correct, tf.float32))


def train(logdir, steps, batch_size):
    """Trains up to global step `steps`, and returns the accuracy on the held-out digits."""
    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(0)
        train_op, accuracy = build_model(batch_size)
        sv = hookrun.Supervisor(
            logdir=logdir,
            save_model_secs=60,
            save_summaries_secs=0,
            save_summaries_steps=100,  # of global_step/sec; the loss has a schedule of its own
            hooks=[
                hooks.SummaryHook(every_steps=20, at_steps=[steps]),
                AccuracyHook(accuracy, triggers.EverySteps(200) | triggers.AtSteps([steps])),
                StopWhenTrained(steps),
            ],
        )
        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)
            return sess.run(accuracy)


def main():
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--logdir", default="runs/digits", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=2000, help="global step to reach; default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    args = parser.parse_args()

    accuracy = train(args.logdir, args.steps, args.batch_size)
    print(f"accuracy on held-out digits: {accuracy:.4f}")

    print(f"\nin {args.logdir}:")
    for pattern, meaning in FILES.items():
        for path in sorted(Path(args.logdir).glob(pattern)):
            print(f"  {path.name}: {meaning}")
    print(f"\nto see the curves and the graph: tensorboard --logdir {args.logdir}")

    if accuracy <= REQUIRED_ACCURACY:
        print(f"accuracy is not over {REQUIRED_ACCURACY}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
