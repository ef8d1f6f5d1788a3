"""A training in TensorFlow 2: `Loop`, and what a `tf.train.Checkpoint` is saved and restored by.

It names the standard hooks. It knows nothing of `graph/` and of the command line.
"""
