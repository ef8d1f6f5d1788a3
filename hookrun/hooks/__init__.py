"""Hooks: what happens besides the training step. `Hook` is the contract, each other class one service."""

from hookrun.hooks import retention
from hookrun.hooks.base import Hook
from hookrun.hooks.callback import CallbackHook
from hookrun.hooks.checkpoint import CheckpointHook
from hookrun.hooks.early_stopping import EarlyStoppingHook
from hookrun.hooks.heartbeat import HeartbeatHook
from hookrun.hooks.logging import LoggingHook
from hookrun.hooks.nan_guard import NanGuardHook
from hookrun.hooks.preemption import PreemptionHook
from hookrun.hooks.progress import ProgressHook
from hookrun.hooks.queue_runner import QueueRunnerHook
from hookrun.hooks.step_counter import StepCounterHook
from hookrun.hooks.stop_after_time import StopAfterTimeHook
from hookrun.hooks.stop_at_step import StopAtStepHook
from hookrun.hooks.summary import SummaryHook
from hookrun.hooks.trace import TraceHook

__all__ = [
    "CallbackHook",
    "CheckpointHook",
    "EarlyStoppingHook",
    "HeartbeatHook",
    "Hook",
    "LoggingHook",
    "NanGuardHook",
    "PreemptionHook",
    "ProgressHook",
    "QueueRunnerHook",
    "StepCounterHook",
    "StopAfterTimeHook",
    "StopAtStepHook",
    "SummaryHook",
    "TraceHook",
    "retention",
]
