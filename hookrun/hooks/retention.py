"""Which checkpoints are kept: the policies for `CheckpointHook(keep=...)`."""

from hookrun.checkpoints.retention import AnyOf, BestN, Checkpoint, EveryNHours, LatestN, Policy

__all__ = ["AnyOf", "BestN", "Checkpoint", "EveryNHours", "LatestN", "Policy"]
