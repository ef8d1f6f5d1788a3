"""GraphTraining: what a hook that belongs to graphs sees of its training, beside `Runtime`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from hookrun.runtime.runtime import Runtime

if TYPE_CHECKING:
    from tensorflow import Graph

__all__ = ["GraphTraining", "in_graph"]


class GraphTraining(Protocol):
    """A training in a v1 graph."""

    @property
    def graph(self) -> Graph:
        """The `tf.Graph` of the model."""

    @property
    def global_step(self) -> Any:
        """The tensor or variable of the global step, or None."""

    def run_without_hooks(
        self, sess: Any, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Run as `tf.compat.v1.Session.run` does: no training step, and no hook sees it."""

    def run_with_global_step(self, sess: Any, fetches: Any) -> tuple[Any, int | None]:
        """The same, with the value of the global step."""

    def start_queue_runners(
        self, sess: Any, queue_runners: Sequence[Any] | None = None
    ) -> list[threading.Thread]:
        """Start threads for queue runners."""

    def chrome_timeline(self, step_stats: Any) -> str | None:
        """The ops of a run in Chrome's trace format, as JSON; None where TensorFlow cannot make it."""


def in_graph(runtime: Runtime) -> GraphTraining:
    """`runtime`, which is that of a graph: another kind of training refuses the hooks that ask for this."""
    return cast(GraphTraining, runtime)
