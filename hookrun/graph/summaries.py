"""Summaries of a graph: what one op merges, computed in a run of its own or from a training step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from hookrun.graph.steps import StepOps
from hookrun.runtime.graph_training import GraphTraining

__all__ = ["GraphSummaries"]

_logger = logging.getLogger(__name__)


class GraphSummaries:
    """The summaries that one op merges, with the histograms apart: they fail where a value is not finite.

    Args:
      training: The training in whose sessions they are computed.
      summary_op: What returns the summaries.
    """

    def __init__(self, training: GraphTraining, summary_op: Any) -> None:
        self._training = training
        self._op = summary_op
        merged = training.graph.as_graph_element(summary_op)
        self._summaries = list(_unmerged(merged))
        self._left_out: set[str] = set()
        self.need_a_step = bool(StepOps.unfed_placeholders([merged], ()))
        """True where they depend on what only a training step feeds."""
        self.fetches = [_histogram_values(summary) for summary in self._summaries]
        """What they are made of, to be fetched in a training step."""

    def compute(self, session: Any) -> tuple[bytes, int | None]:
        """Compute them in a run of their own; return them serialized, with the global step."""
        try:
            return self._training.run_with_global_step(session, self._op)
        except tf.errors.InvalidArgumentError:  # perhaps of a histogram
            values, step = self._training.run_with_global_step(session, self.fetches)
            return self.merged(session, values), step

    def merged(self, session: Any, values: Sequence[Any]) -> bytes:
        """The serialized summaries, from the values of `fetches`; histograms are computed in `session`."""
        parts = []
        for summary, fetch, value in zip(self._summaries, self.fetches, values, strict=True):
            if fetch is not summary:
                try:
                    value = self._training.run_without_hooks(session, summary, {fetch: value})
                except tf.errors.InvalidArgumentError:
                    self._leave_out(summary.op.name)
                    continue
            parts.append(value)
        return b"".join(parts)  # one message after another is their merged message

    def _leave_out(self, name: str) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            _logger.warning("The histogram %s is left out where its values are not all finite", name)


def _unmerged(summary: tf.Tensor) -> Iterator[tf.Tensor]:
    if summary.op.type != "MergeSummary":
        yield summary
        return
    for part in summary.op.inputs:
        yield from _unmerged(part)


def _histogram_values(summary: tf.Tensor) -> tf.Tensor:
    """What `summary` is a histogram of; `summary` itself where it is of another kind."""
    if summary.op.type == "HistogramSummary" and summary.graph.is_feedable(summary.op.inputs[1]):
        return summary.op.inputs[1]
    return summary
