"""hookrun: an event-driven hook runtime for TensorFlow graph training.

`Supervisor` takes the place of `tf.compat.v1.train.Supervisor`; `hooks` are its services and yours,
`signals` what they subscribe to, `events` what they are told, `triggers` when, `writers` where metrics go.
"""

import logging

from hookrun import events, hooks, signals, triggers, writers
from hookrun.monitored import as_session_run_hook
from hookrun.supervisor import Supervisor

__all__ = ["Supervisor", "as_session_run_hook", "events", "hooks", "signals", "triggers", "writers"]

logging.getLogger(__name__).addHandler(logging.NullHandler())
