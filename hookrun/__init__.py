"""hookrun: an event-driven hook runtime for training with TensorFlow.

`Supervisor` takes the place of `tf.compat.v1.train.Supervisor`. Inside it is a bus: what it does besides
the training step, and what you add, are hooks subscribed to signals:

```python
import tensorflow as tf
import hookrun
from hookrun import signals

with tf.Graph().as_default():
    loss, train_op = build_model()
    sv = hookrun.Supervisor(logdir="runs/mine")

    @sv.on(signals.step, every_steps=100, fetches={"loss": loss})
    def report(sv, event):
        print(event.global_step, event.values["loss"])

    with sv.managed_session() as sess:
        while not sv.should_stop():
            sess.run(train_op)
```

| to | see |
| --- | --- |
| train a v1 graph | `Supervisor` |
| train in a TensorFlow 2 loop | `Loop` |
| add a service that is there | `hooks`, which lists them |
| write one | `hooks.Hook`, the contract; `Runtime`, what it is given |
| be told when something happens | `signals`, and `Supervisor.on` |
| know what a receiver is told | `events` |
| say at which steps | `triggers` |
| use TensorFlow's hooks, or be used as one | `hooks.SessionRunHookAdapter`, `as_session_run_hook` |
| train in a cluster | `cluster`, `SessionLostError` |
| write metrics | `writers` |
| test a hook of your own | `testing` |
| see what happens | `log_to_console` |

``help(hookrun.hooks.Hook)``, and so on, says more. TensorFlow is imported when the first of these is used
that needs it.
"""

from typing import TYPE_CHECKING

from hookrun.lazy import names_of
from hookrun.logs import log_to_console

if TYPE_CHECKING:
    from hookrun import cluster, events, hooks, signals, testing, triggers, writers
    from hookrun.eager.loop import Loop
    from hookrun.graph.monitored import as_session_run_hook
    from hookrun.graph.recovery import SessionLostError
    from hookrun.graph.supervisor import Supervisor
    from hookrun.runtime.runtime import Runtime

__all__ = [
    "Loop",
    "Runtime",
    "SessionLostError",
    "Supervisor",
    "as_session_run_hook",
    "cluster",
    "events",
    "hooks",
    "log_to_console",
    "signals",
    "testing",
    "triggers",
    "writers",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker would take every name for one of the package's
    _HOMES = {
        "Loop": "eager.loop",
        "Runtime": "runtime.runtime",
        "SessionLostError": "graph.recovery",
        "Supervisor": "graph.supervisor",
        "as_session_run_hook": "graph.monitored",
        "cluster": None,
        "events": None,
        "hooks": None,
        "signals": None,
        "testing": None,
        "triggers": None,
        "writers": None,
    }
    __getattr__, __dir__ = names_of(__name__, _HOMES)
