"""BusyCoresHook: how many cores a training keeps busy. If it is waiting for its input, they are few."""

import time

import tensorflow as tf

from hookrun import hooks, triggers

__all__ = ["BusyCoresHook"]


class BusyCoresHook(hooks.Hook):
    """Writes the CPU time per second of the process, as the scalar ``busy_cores``.

    ```python
    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[BusyCoresHook(every_steps=100)])
    ```

    Args:
      every_steps: Write it at each multiple of this number of steps, for the time since the previous one.
      clock: Returns the time in seconds; it never goes backwards.
      cpu_clock: Returns the CPU time of the process in seconds.
    """

    chief_only = True

    def __init__(self, *, every_steps=100, clock=time.monotonic, cpu_clock=time.process_time):
        self.trigger = triggers.EverySteps(every_steps)
        self._clock, self._cpu_clock = clock, cpu_clock

    def on_session_created(self, runtime, event):
        if runtime.summary_writer is None:
            raise ValueError(f"{self.name} needs a summary writer, and the Supervisor has none")
        self._time, self._cpu_time = self._clock(), self._cpu_clock()

    def on_step(self, runtime, event):
        secs, cpu_secs = self._clock() - self._time, self._cpu_clock() - self._cpu_time
        self._time, self._cpu_time = self._time + secs, self._cpu_time + cpu_secs
        value = tf.compat.v1.Summary.Value(tag="busy_cores", simple_value=cpu_secs / secs)
        summary = tf.compat.v1.Summary(value=[value])
        runtime.summary_computed(event.session, summary, event.global_step)
