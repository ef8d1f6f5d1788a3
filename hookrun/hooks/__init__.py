"""Hooks: what happens besides the training step.

`Hook` is the contract, each other class one service, to be given as ``Supervisor(..., hooks=[...])``:

| hook | what it does |
| --- | --- |
| `CallbackHook` | calls a function when a signal is sent |
| `EarlyStoppingHook` | stops when a metric no longer improves |
| `EvaluationHook` | measures the model now and then |
| `HParamsHook` | a row in TensorBoard's table of hyperparameters |
| `HeartbeatHook` | a JSON file for health checks |
| `LearningRateHook` | sets the learning rate, and records it |
| `LoggingHook` | logs values, with the steps per second |
| `MovingAverageHook` | averages of the weights, to evaluate and save with |
| `NanGuardHook` | ends a training that has diverged |
| `PreemptionHook` | on SIGTERM or Ctrl-C: finishes the step, saves, ends |
| `ProfilerHook` | profiles chosen steps, for TensorBoard and Chrome |
| `ProgressHook` | a progress bar on a terminal, lines elsewhere |
| `SessionRunHookAdapter` | runs a hook of TensorFlow's |
| `StopAfterTimeHook` | stops after a time |
| `StopAtStepHook` | stops at a step |
| `TraceHook` | time and memory of each op of chosen steps |

The default services, which are there unless switched off or replaced:

| hook | what it does |
| --- | --- |
| `CheckpointHook` | saves the model; which checkpoints are kept is said with `retention` |
| `QueueRunnerHook` | starts the queue runners |
| `StepCounterHook` | writes the steps per second |
| `SummaryHook` | computes and writes the summaries |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookrun.lazy import names_of

if TYPE_CHECKING:
    from hookrun.hooks import retention
    from hookrun.hooks.callback import CallbackHook
    from hookrun.hooks.checkpoint import CheckpointHook
    from hookrun.hooks.early_stopping import EarlyStoppingHook
    from hookrun.hooks.evaluation import EvaluationHook
    from hookrun.hooks.heartbeat import HeartbeatHook
    from hookrun.hooks.hparams import HParamsHook
    from hookrun.hooks.learning_rate import LearningRateHook
    from hookrun.hooks.logging import LoggingHook
    from hookrun.hooks.moving_average import MovingAverageHook
    from hookrun.hooks.nan_guard import NanGuardHook
    from hookrun.hooks.preemption import PreemptionHook
    from hookrun.hooks.profiler import ProfilerHook
    from hookrun.hooks.progress import ProgressHook
    from hookrun.hooks.queue_runner import QueueRunnerHook
    from hookrun.hooks.session_run import SessionRunHookAdapter
    from hookrun.hooks.step_counter import StepCounterHook
    from hookrun.hooks.stop_after_time import StopAfterTimeHook
    from hookrun.hooks.stop_at_step import StopAtStepHook
    from hookrun.hooks.summary import SummaryHook
    from hookrun.hooks.trace import TraceHook
    from hookrun.runtime.hook import Hook

__all__ = [
    "CallbackHook",
    "CheckpointHook",
    "EarlyStoppingHook",
    "EvaluationHook",
    "HParamsHook",
    "HeartbeatHook",
    "Hook",
    "LearningRateHook",
    "LoggingHook",
    "MovingAverageHook",
    "NanGuardHook",
    "PreemptionHook",
    "ProfilerHook",
    "ProgressHook",
    "QueueRunnerHook",
    "SessionRunHookAdapter",
    "StepCounterHook",
    "StopAfterTimeHook",
    "StopAtStepHook",
    "SummaryHook",
    "TraceHook",
    "retention",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of the package's
    _HOMES = {
        "CallbackHook": "callback",
        "CheckpointHook": "checkpoint",
        "EarlyStoppingHook": "early_stopping",
        "EvaluationHook": "evaluation",
        "HParamsHook": "hparams",
        "HeartbeatHook": "heartbeat",
        "Hook": ".runtime.hook",
        "LearningRateHook": "learning_rate",
        "LoggingHook": "logging",
        "MovingAverageHook": "moving_average",
        "NanGuardHook": "nan_guard",
        "PreemptionHook": "preemption",
        "ProfilerHook": "profiler",
        "ProgressHook": "progress",
        "QueueRunnerHook": "queue_runner",
        "SessionRunHookAdapter": "session_run",
        "StepCounterHook": "step_counter",
        "StopAfterTimeHook": "stop_after_time",
        "StopAtStepHook": "stop_at_step",
        "SummaryHook": "summary",
        "TraceHook": "trace",
        "retention": None,
    }
    __getattr__, __dir__ = names_of(__name__, _HOMES)
