"""SummaryHook: computes the merged summaries when they are due."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hookrun import events
from hookrun.hooks.base import Hook

if TYPE_CHECKING:
    from hookrun.supervisor import Supervisor

__all__ = ["SummaryHook"]

_logger = logging.getLogger(__name__)


class SummaryHook(Hook):
    """Runs `supervisor.summary_op` whenever summaries are due, and writes what it returns.

    The Supervisor adds this hook on the chief when it has a `logdir`, a `summary_op`, a `summary_writer`
    and an interval.
    """

    chief_only = True

    def on_session_created(self, supervisor: Supervisor, event: events.SessionCreated) -> None:
        if supervisor.global_step is None:
            _logger.warning("Without a global step, summaries are written without the step they belong to")

    def on_summary_due(self, supervisor: Supervisor, event: events.SummaryDue) -> None:
        summary, step = supervisor.run_with_global_step(event.session, supervisor.summary_op)
        _logger.info("Recording summary at step %s.", step)
        supervisor.summary_computed(event.session, summary, step)
