"""HParamsHook: hyperparameters and final metrics, for TensorBoard's HParams plugin."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hookrun import events, writers
from hookrun.runtime.hook import Hook
from hookrun.writers.scalars import as_number, check_is_number

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["HParamsHook"]


class HParamsHook(Hook):
    """Makes the training a row in the table of TensorBoard's HParams plugin.

    ```python
    sv = hookrun.Supervisor(
        logdir="runs/rate-0.1",
        hooks=[hooks.HParamsHook({"rate": 0.1, "optimizer": "sgd"}, metrics={"loss": loss})],
    )
    ```

    The row is there from the start of the session; its metrics are the last values of the run's scalars. At
    the end it has a status, and the final metrics as scalars ``final/...``: those that were reported with
    `Runtime.report_metrics`, by an evaluation for instance, and those of `metrics`, which are measured at
    a clean end. Each training is to have a `logdir` of its own, and TensorBoard is to show them all. Of a
    training that is resumed there, TensorBoard shows the hyperparameters and the status that it had first.

    Args:
      hparams: The hyperparameters by name: numbers, strings, or True and False.
      metrics: Fetches that give one number each at the end, by name.

    Raises:
      TypeError: If `hparams` or `metrics` is no mapping, or a value of `hparams` of another type.
      ValueError: If a fetch of `metrics` is of several numbers.
    """

    chief_only = True
    priority = 900  # the metrics are those that the other hooks report at the end

    def __init__(self, hparams: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> None:
        for name, argument in {"hparams": hparams, "metrics": metrics or {}}.items():
            if not isinstance(argument, Mapping):
                raise TypeError(f"{name} must be a mapping from names, not {argument!r}")
        for name, value in hparams.items():
            if not isinstance(value, (bool, int, float, str, np.integer, np.floating, np.bool_)):
                raise TypeError(f"hparams[{name!r}] must be a number, a string or a bool, not {value!r}")
        for name, fetch in (metrics or {}).items():
            check_is_number(fetch, f"{self.name}: metric {name!r}")
        self._hparams = dict(hparams)
        self._metrics = dict(metrics or {})

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        if runtime.summary_writer is None:
            raise ValueError(f"{self.name} needs a summary writer, and the Supervisor has none")
        from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

        start = SessionStartInfo(start_time_secs=time.time())
        for name, value in self._hparams.items():
            if isinstance(value, str):
                start.hparams[name].string_value = value
            elif isinstance(value, (bool, np.bool_)):
                start.hparams[name].bool_value = value
            else:
                start.hparams[name].number_value = value
        self._add(runtime, session_start_info=start)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        from tensorboardX.proto.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
        from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

        status = STATUS_SUCCESS if event.clean else STATUS_FAILURE
        try:
            metrics = runtime.metrics
            if self._metrics and event.clean and not event.session.closed:
                measured = runtime.values_of(event.session, self._metrics)
                what = f"{self.name}: metric"
                metrics.update({name: as_number(value, what, name) for name, value in measured.items()})
            values = [{"tag": f"final/{name}", "simple_value": value} for name, value in metrics.items()]
            if values:
                summary = tf.compat.v1.Summary(value=values)
                runtime.summary_computed(event.session, summary, event.session.last_step)
        finally:
            self._add(runtime, session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))

    def _add(self, runtime: Runtime, **info: Any) -> None:
        """Add a message of the plugin, under the tag by which it finds it."""
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

        (name,) = info
        content = HParamsPluginData(**info).SerializeToString()
        metadata = {"plugin_data": {"plugin_name": "hparams", "content": content}}
        summary = tf.compat.v1.Summary(value=[{"tag": f"_hparams_/{name}", "metadata": metadata}])
        writers.file_writer(runtime.summary_writer).add_summary(summary)
