"""hookrun: an event-driven hook runtime for TensorFlow graph training.

`Supervisor` takes the place of `tf.compat.v1.train.Supervisor`; `hooks` are its services and yours,
`signals` what they subscribe to, `events` what they are told, `triggers` when, `writers` where metrics go.
`cluster` is what a task of a cluster needs.
"""

import logging

from hookrun import cluster, events, hooks, signals, triggers, writers
from hookrun.recovery import SessionLostError
from hookrun.supervisor import Supervisor

__all__ = ["SessionLostError", "Supervisor", "cluster", "events", "hooks", "signals", "triggers", "writers"]

logging.getLogger(__name__).addHandler(logging.NullHandler())
