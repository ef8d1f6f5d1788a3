"""Fit a plane to points in CSV files, which queue runners read, decode and shuffle in the background.

The files are written first. After `--epochs` the input ends, and the training ends cleanly.
"""

import argparse
import csv
import random
from pathlib import Path

import tensorflow as tf

import hookrun
from hookrun import signals

SLOPES, INTERCEPT = (3.0, -2.0), 0.5


def write_files(directory, files, rows):
    """Writes points on a plane, with a header in each file; returns the paths."""
    chance = random.Random(0)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"points-{number}.csv" for number in range(files)]
    for path in paths:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["x", "y", "z"])
            for _ in range(rows):
                x, y = chance.uniform(-1, 1), chance.uniform(-1, 1)
                writer.writerow([x, y, SLOPES[0] * x + SLOPES[1] * y + INTERCEPT])
    return [str(path) for path in paths]


def read_batches(paths, epochs, batch_size):
    """Returns the next batch of points, through two queues; the session starts their runners."""
    v1 = tf.compat.v1
    names = v1.train.string_input_producer(paths, num_epochs=epochs, seed=0)
    _, line = v1.TextLineReader(skip_header_lines=1).read(names)
    x, y, z = tf.io.decode_csv(line, record_defaults=[[0.0], [0.0], [0.0]])
    return v1.train.shuffle_batch(
        [tf.stack([x, y]), z],
        batch_size,
        capacity=1000,
        min_after_dequeue=200,
        seed=0,
        allow_smaller_final_batch=True,
    )


def main():
    parser = argparse.ArgumentParser(description="Fit a plane to points in CSV files.")
    parser.add_argument("--logdir", default="runs/csv_queue", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the files; default: %(default)s")
    args = parser.parse_args()
    paths = write_files(Path(args.logdir) / "data", files=3, rows=200)

    with tf.Graph().as_default():
        tf.compat.v1.set_random_seed(0)
        points, heights = read_batches(paths, args.epochs, batch_size=20)
        slopes = tf.compat.v1.get_variable("slopes", [2], initializer=tf.compat.v1.zeros_initializer())
        intercept = tf.compat.v1.get_variable("intercept", [], initializer=tf.compat.v1.zeros_initializer())
        loss = tf.reduce_mean((tf.linalg.matvec(points, slopes) + intercept - heights) ** 2)
        global_step = tf.compat.v1.train.get_or_create_global_step()
        optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.2)
        train_op = optimizer.minimize(loss, global_step=global_step)

        # No tf.summary of the loss: computing it would consume batches.
        sv = hookrun.Supervisor(logdir=args.logdir)

        @sv.on(signals.step, every_steps=50, fetches=loss)
        def report(sv, event):
            print(f"step {event.global_step}: loss {event.values:.6f}")
            sv.summary_writer.add_scalar("loss", event.values, event.global_step)

        @sv.on(signals.stop)
        def show(sv, event):
            if event.clean:
                step, (x, y), z = event.session.run([global_step, slopes, intercept])
                print(f"the input ended at step {step}: slopes {x:.3f} {y:.3f}, intercept {z:.3f}")

        with sv.managed_session() as sess:
            while not sv.should_stop():
                sess.run(train_op)


if __name__ == "__main__":
    main()
