"""ProfilerHook: profiles training steps, for TensorBoard and for Chrome."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events
from hookrun.runtime.graph_training import in_graph
from hookrun.runtime.hook import Hook
from hookrun.triggers import NextStep, required, schedule

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["ProfilerHook"]

_logger = logging.getLogger(__name__)

_TRACE = tf.compat.v1.RunOptions.SOFTWARE_TRACE
"""What the host ran; a higher level takes TensorFlow's profiler."""


class ProfilerHook(Hook):
    """Profiles the training steps that are due: what each thread and device did, and when.

    ```python
    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[hooks.ProfilerHook(at_steps=[10, 50])])
    ```

    For each of them it writes into the Supervisor's `logdir`

    - ``plugins/profile/step_N/``: the trace of `tf.profiler.experimental`, which TensorBoard's profile plugin
      (`pip install tensorboard-plugin-profile`) shows as the run ``step_N``;
    - ``timeline-N.json``: the ops of the step as the host ran them, for ``chrome://tracing`` or Perfetto.

    A profiled step is slower, and so is, a little, every run while this hook is present. TensorFlow has one
    profiler for the process: a step that is due while the program uses it, also with a ``FULL_TRACE`` of that
    step itself, has no profile but in ``timeline-N.json``, with a warning.

    Args:
      every_steps: Profile each multiple of this number of steps.
      every_secs: Profile the first step after each that many seconds.
      at_steps: Profile these steps.

    Raises:
      ValueError: If none of them is given, or one is not positive.
    """

    _only_in_graphs = "use tf.profiler.experimental around the steps"

    chief_only = True

    def __init__(
        self,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
    ) -> None:
        due = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self._next_step = NextStep(required(due, self.name))
        self._lock = threading.Lock()
        self._profile: _Profile | None = None

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if runtime.logdir is None:
            raise ValueError(f"{self.name} needs a logdir, and the Supervisor has none")
        with self._lock:
            self._discard()  # of a session that was not stopped
        self._next_step.start(event.global_step or 0)

    def on_session_restored(self, runtime: Runtime, event: events.SessionRestored) -> None:
        self._next_step.go_on_from(event.global_step)

    def before_run(self, context: Any) -> Any:
        if not self._next_step.is_due:
            return None
        with self._lock:
            if self._profile is not None:
                if self._profile.is_running and not self._profile.is_own:
                    return None  # another thread runs the step that is due
                self._profile.discard()  # of a run that failed, or was no training step
            options = context.original_args.options
            self._profile = _Profile(options is not None and options.trace_level > _TRACE)
        options = tf.compat.v1.RunOptions(trace_level=_TRACE)
        return tf.compat.v1.train.SessionRunArgs(None, options=options)

    def after_run(self, context: Any, values: Any) -> None:
        profile = self._profile
        if profile is not None and profile.is_own:
            profile.end(values.run_metadata)

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        # Reached by a training step alone: an evaluation that was profiled meanwhile is not written.
        with self._lock:
            if self._profile is not None and self._profile.is_own:
                assert runtime.logdir is not None
                try:
                    self._profile.write(runtime.logdir, event.global_step)
                    timeline = in_graph(runtime).chrome_timeline(self._profile.step_stats)
                    if timeline is not None:
                        path = os.path.join(runtime.logdir, f"timeline-{event.global_step}.json")
                        with tf.io.gfile.GFile(path, "w") as file:
                            file.write(timeline)
                finally:
                    self._discard()
        self._next_step.after(event.global_step)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        self._next_step.is_due = False
        with self._lock:
            self._discard()

    def _discard(self) -> None:
        if self._profile is not None:
            self._profile.discard()
            self._profile = None


class _Profile:
    """The profile of a run of the calling thread, begun at once.

    Args:
      is_used_by_run: True when the run itself takes TensorFlow's profiler.
    """

    def __init__(self, is_used_by_run: bool) -> None:
        self._thread = threading.current_thread()
        self._directory = tempfile.TemporaryDirectory(prefix="hookrun-profile-")
        self.is_running = False
        self._step_stats: Any = None
        if not is_used_by_run:
            with contextlib.suppress(tf.errors.AlreadyExistsError):
                tf.profiler.experimental.start(self._directory.name)
                self.is_running = True
        if not self.is_running:
            _logger.warning("TensorFlow's profiler is in use: the step is not profiled for TensorBoard")

    @property
    def is_own(self) -> bool:
        """True on the thread that makes the run."""
        return threading.current_thread() is self._thread

    def end(self, run_metadata: Any) -> None:
        """The run is over."""
        self.step_stats = run_metadata.step_stats
        self._stop(save=True)

    def write(self, logdir: str, step: int) -> None:
        """Write the profile: the run was the training step `step`."""
        run = os.path.join(logdir, "plugins", "profile", f"step_{step}")
        for directory, _, names in os.walk(os.path.join(self._directory.name, "plugins")):
            for name in names:
                tf.io.gfile.makedirs(run)
                tf.io.gfile.copy(os.path.join(directory, name), os.path.join(run, name), overwrite=True)

    def discard(self) -> None:
        """Stop profiling, and remove what is not in the logdir."""
        self._stop(save=False)
        self._directory.cleanup()

    def _stop(self, save: bool) -> None:
        if self.is_running:
            self.is_running = False
            tf.profiler.experimental.stop(save)
