"""Train a small Keras model on scikit-learn's handwritten digits, in a loop of TensorFlow 2, under
hookrun.Loop.

Run it twice: `python examples/digits_tf2.py` trains up to step 2000, and `--steps 4000` resumes there. Kill
it while it trains: the next run ends with the same weights as one that was not killed.
"""

import argparse
import sys

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hookrun
from hookrun import hooks, signals

REQUIRED_ACCURACY = 0.95


def train(logdir, steps, batch_size):
    """Trains up to global step `steps`, and returns the accuracy on the held-out digits and the model."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    train_images, test_images, train_labels, test_labels = train_test_split(
        (digits.images.reshape(-1, 64) / 16).astype("float32"), digits.target, test_size=0.2, random_state=0
    )
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.1, seed=1),
            keras.layers.Dense(10),
        ]
    )
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dataset = tf.data.Dataset.from_tensor_slices((train_images, train_labels))
    dataset = dataset.shuffle(len(train_images), seed=2).repeat().batch(batch_size)

    # The state of Dropout is not in the model's own variables as TensorFlow sees them: it is named.
    seeds = [variable.value for variable in model.non_trainable_variables]
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, seeds=seeds)
    loop = hookrun.Loop(
        checkpoint,
        logdir=logdir,
        save_model_steps=500,
        save_summaries_steps=20,
        hooks=[hooks.NanGuardHook("loss"), hooks.StopAtStepHook(last_step=steps), hooks.PreemptionHook()],
    )

    @loop.training_step
    @tf.function
    def train_step(images, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return {"loss": loss}

    def accuracy():
        predictions = tf.argmax(model(test_images), axis=1)
        return float(tf.reduce_mean(tf.cast(predictions == test_labels, tf.float32)))

    @loop.on(signals.step, every_steps=200, fetches={"loss": "loss"})
    def report(loop, event):
        loop.report_metrics({"accuracy": accuracy()})
        loss, step = event.values["loss"], event.global_step
        print(f"step {step}: loss {loss:.4f}, accuracy {loop.metrics['accuracy']:.4f}")

    with loop:
        if loop.global_step > 0:
            print(f"resumed at step {loop.global_step}")
        for images, labels in loop.batches(dataset):
            train_step(images, labels)
    return accuracy(), model


def main():
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--logdir", default="runs/digits_tf2", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=2000, help="global step to reach; default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    args = parser.parse_args()

    accuracy, model = train(args.logdir, args.steps, args.batch_size)
    print(f"accuracy on held-out digits: {accuracy:.4f}")
    weights = sum(float(tf.reduce_sum(variable)) for variable in model.trainable_variables)
    print(f"sum of the weights: {weights!r}")
    print(f"\nto see the curves: tensorboard --logdir {args.logdir}")

    if accuracy <= REQUIRED_ACCURACY:
        print(f"accuracy is not over {REQUIRED_ACCURACY}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
