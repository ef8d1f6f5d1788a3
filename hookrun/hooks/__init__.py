"""Hooks: what happens besides the training step. `Hook` is the contract, each other class one service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookrun.lazy import names_of

if TYPE_CHECKING:
    from hookrun.hooks import retention
    from hookrun.hooks.base import Hook
    from hookrun.hooks.checkpoint import CheckpointHook
    from hookrun.hooks.preemption import PreemptionHook
    from hookrun.hooks.queue_runner import QueueRunnerHook
    from hookrun.hooks.step_counter import StepCounterHook
    from hookrun.hooks.summary import SummaryHook
    from hookrun.hooks.trace import TraceHook

__all__ = [
    "CheckpointHook",
    "Hook",
    "PreemptionHook",
    "QueueRunnerHook",
    "StepCounterHook",
    "SummaryHook",
    "TraceHook",
    "retention",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the package's
    __getattr__, __dir__ = names_of(
        __name__,
        {
            "CheckpointHook": "checkpoint",
            "Hook": "base",
            "PreemptionHook": "preemption",
            "QueueRunnerHook": "queue_runner",
            "StepCounterHook": "step_counter",
            "SummaryHook": "summary",
            "TraceHook": "trace",
            "retention": None,
        },
    )
