"""Hooks: what happens besides the training step. `Hook` is the contract, each other class one service."""

from hookrun.hooks import retention
from hookrun.hooks.base import Hook
from hookrun.hooks.checkpoint import CheckpointHook
from hookrun.hooks.evaluation import EvaluationHook
from hookrun.hooks.hparams import HParamsHook
from hookrun.hooks.learning_rate import LearningRateHook
from hookrun.hooks.moving_average import MovingAverageHook
from hookrun.hooks.preemption import PreemptionHook
from hookrun.hooks.profiler import ProfilerHook
from hookrun.hooks.queue_runner import QueueRunnerHook
from hookrun.hooks.session_run import SessionRunHookAdapter
from hookrun.hooks.step_counter import StepCounterHook
from hookrun.hooks.summary import SummaryHook
from hookrun.hooks.trace import TraceHook

__all__ = [
    "CheckpointHook",
    "EvaluationHook",
    "HParamsHook",
    "Hook",
    "LearningRateHook",
    "MovingAverageHook",
    "PreemptionHook",
    "ProfilerHook",
    "QueueRunnerHook",
    "SessionRunHookAdapter",
    "StepCounterHook",
    "SummaryHook",
    "TraceHook",
    "retention",
]
