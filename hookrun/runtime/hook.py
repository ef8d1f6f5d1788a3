"""The contract of a hook.

The life of a hook, with the thread that calls each method::

    hook.setup_graph(runtime)                  # in Supervisor(...), on the caller's thread
    for each session:
        hook.on_session_created(...)              # the caller's thread, before any service starts
        hook.on_session_recovered(...)            # the caller's thread, in `train` after a lost session
        while training goes on:
            hook.before_run(...)                  # the thread that runs, before each run of the program
            hook.after_run(...)                   # the same, after it
            hook.on_step(...)                     # the thread that ran the step, after it
            hook.on_summary_due(...)              # the summary timer's thread
            hook.on_checkpoint_due(...)           # the checkpoint timer's thread
            hook.on_checkpoint_saving(...)        # the thread that saves, between two steps
            hook.on_checkpoint_saved(...)         # the thread that saved
            hook.on_session_restored(...)         # the thread that restored, or the next step's, before it
        hook.on_session_lost(...)                 # the caller's thread, if a task of the cluster went away
        hook.on_stop(...)                         # the caller's thread, the session still open
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookrun.runtime.subscriber import Subscriber
from hookrun.runtime.subscriptions import OnError, OnUnfed
from hookrun.triggers import Trigger

if TYPE_CHECKING:
    from tensorflow.compat.v1.train import SessionRunArgs, SessionRunContext, SessionRunValues

    from hookrun import events
    from hookrun.runtime.runtime import Runtime

__all__ = ["Hook"]


class Hook(Subscriber):
    """Something that happens besides the training step. Override what is needed; only that is called.

    The attributes may be set on the class or on the instance, before the hook is given to a training. A
    method whose name begins with ``on_`` and that is none of these is a `TypeError` where the class is
    defined: it would never be called.
    """

    name: str = "Hook"
    """What the hook is called in logs; the name of its class unless set."""
    priority: float = 0
    """Hooks are called from the lowest to the highest, and in order of their addition where equal."""
    chief_only: bool = False
    """True for a hook that has nothing to do on a worker that is not the chief."""
    on_error: OnError = "stop"
    """What follows when the hook raises: "stop" ends the training with its error, "log" only logs it."""
    fetches: Any = None
    """What `on_step` wants from the step itself: anything that `tf.compat.v1.Session.run` takes. It rides
    in the program's own `run()` on the steps where the hook is due, and arrives as `event.values`."""
    on_unfed: OnUnfed = "stop"
    """What follows when a step does not feed a placeholder that `fetches` depend on: "stop" raises an error,
    "skip" runs the step without them, with one warning."""
    trigger: Trigger | None = None
    """At which training steps `on_step` is called; None for every one."""

    def setup_graph(self, runtime: Runtime) -> None:
        """Add ops to the graph. Called inside it, once, before it is finalized; `runtime.global_step`
        is known, the other ops are not yet: variables and summaries made here are initialized, saved and
        merged like the model's own."""

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        """Called once a session is ready, on the caller's thread, before any service starts."""

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        """Called after a training step at which `trigger` is due, on the thread that ran it."""

    def on_summary_due(self, runtime: Runtime, event: events.SummaryDue) -> None:
        """Called every `save_summaries_secs` on the summary timer's thread, and every
        `save_summaries_steps` on the thread that ran the step."""

    def on_checkpoint_due(self, runtime: Runtime, event: events.CheckpointDue) -> None:
        """Called every `save_model_secs` on the checkpoint timer's thread, and every `save_model_steps`
        on the thread that ran the step."""

    def on_checkpoint_saving(self, runtime: Runtime, event: events.CheckpointSaving) -> None:
        """Called before the model is taken for a checkpoint, on the thread that saves it, while no training
        step runs. It is not saved when `event.refused` is set to the reason."""

    def on_checkpoint_saved(self, runtime: Runtime, event: events.CheckpointSaved) -> None:
        """Called after a checkpoint is complete and visible, on the thread that saved it."""

    def on_session_lost(self, runtime: Runtime, event: events.SessionLost) -> None:
        """Called when a worker or a parameter server went away, on the caller's thread, before `on_stop`. The
        services have stopped; runs of the session raise `event.error`."""

    def on_session_recovered(self, runtime: Runtime, event: events.SessionRecovered) -> None:
        """Called when `Supervisor.train` goes on after a lost session, on the caller's thread: after
        `on_session_created` of the new one, before its first step. Timers and queue runners run already."""

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        """Called when an older checkpoint was restored within the session: what counts steps goes on from
        `event.global_step`. Between two steps on the thread of `Supervisor.restore`, before the state that is
        saved with the checkpoint is loaded; else on the thread of the next training step, before it is run.
        Triggers are restarted already."""

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        """Called once per session when it ends, cleanly or not, on the caller's thread. The services have
        stopped, the session is still open."""

    def before_run(self, context: SessionRunContext) -> SessionRunArgs | None:
        """Called before each `run()` of the program, training step or not, on the thread that runs, as in
        `tf.compat.v1.train.SessionRunHook`. `run_without_hooks`, `make_callable`, `partial_run`, and what
        hooks and services run themselves, do not pass through here.

        Args:
          context: A `tf.compat.v1.train.SessionRunContext`: the program's own arguments, the session, and
            `request_stop()`, which stops the training after the run.

        Returns:
          None, or a `tf.compat.v1.train.SessionRunArgs`: what is fetched, fed and set in the same run. To
          feed what the program or another hook feeds is a `RuntimeError`.
        """
        return None

    def after_run(self, context: SessionRunContext, values: SessionRunValues) -> None:
        """Called after each `run()` of the program that succeeded, on the same thread; before `on_step`
        where it was a training step, so that what changes here is saved with the step.

        Args:
          context: That of `before_run`.
          values: A `tf.compat.v1.train.SessionRunValues`: the results of what `before_run` asked for, None
            without, the run's options and its metadata.
        """

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart, as JSON values: saved beside each checkpoint. Called on the thread
        that saves, between two steps. Where it raises, and `on_error` is "log", the checkpoint has none.

        What JSON would give back as something else ends the training with a `TypeError`, as an error of the
        hook: keys that are no str, tuples. Numbers of numpy come back as Python's."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned. Called after `on_session_created` when the session was
        restored from a checkpoint, on the caller's thread."""
