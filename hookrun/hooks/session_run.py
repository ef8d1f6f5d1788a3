"""SessionRunHookAdapter: TensorFlow's own hooks, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import only_if

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["SessionRunHookAdapter"]


class SessionRunHookAdapter(Hook):
    """Runs a hook that was written for `tf.compat.v1.train.MonitoredSession`.

    ```python
    import tensorflow as tf

    hook = tf.compat.v1.train.LoggingTensorHook({"loss": loss}, every_n_iter=100)
    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[hooks.SessionRunHookAdapter(hook)])
    ```

    Its methods are called as there:

    | method | when |
    | --- | --- |
    | `begin` | once, when the Supervisor is made; it may add ops |
    | `after_create_session` | once a session is ready, before the queue runners and other services start |
    | `before_run`, `after_run` | around each run of the program, in the order of `hooks=` |
    | `end` | after the services have stopped, the session still open; not after an error or an interrupt |

    What `after_run` raises stops the training as that of every hook does: the other hooks are still told of
    the run, whose results the program gets, and the next training step and the `with` block raise the error.

    A hook that takes a `tf.compat.v1.train.Scaffold` needs its `saver=` or `summary_op=` instead: a
    Supervisor has no Scaffold. One that writes event files is best given a directory of its own: TensorBoard
    reads one file of a directory after the other.

    Args:
      hook: A `tf.compat.v1.train.SessionRunHook`. Its class names this hook in logs.

    Raises:
      TypeError: If `hook` is anything else.
    """

    _only_in_graphs = "it wraps a hook of graphs; write a hookrun.hooks.Hook instead"

    def __init__(self, hook: Any) -> None:
        if not isinstance(hook, tf.compat.v1.train.SessionRunHook):
            raise TypeError(f"hook must be a tf.compat.v1.train.SessionRunHook, not {hook!r}")
        self.name = type(hook).__name__
        self._hook = hook

    def setup_graph(self, runtime: Runtime) -> None:
        self._hook.begin()

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._hook.after_create_session(event.session, runtime.coord)

    @only_if(lambda hook: _overrides(hook._hook, "before_run"))
    def before_run(self, context: Any) -> Any:
        return self._hook.before_run(context)

    @only_if(lambda hook: _overrides(hook._hook, "after_run"))
    def after_run(self, context: Any, values: Any) -> Any:
        return self._hook.after_run(context, values)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        if event.error is None:
            self._hook.end(event.session)


def _overrides(hook: Any, method: str) -> bool:
    """True where it has a method of its own: the base class's would cost something at each run."""
    return getattr(type(hook), method) is not getattr(tf.compat.v1.train.SessionRunHook, method)
