"""SnapshotProvider: what is saved of a session, as the kind of training gives it to `CheckpointHook`."""

from __future__ import annotations

from typing import Any, Protocol

from hookrun.checkpoints.retention import Policy

__all__ = ["CheckpointList", "Snapshot", "SnapshotProvider"]


class Snapshot(Protocol):
    """The model at one moment."""

    def save(self, save_path: str, step: int | None) -> str | None:
        """Write it to the files of a checkpoint.

        Args:
          save_path: The path of the checkpoint without its step.
          step: The step; None for none.

        Returns:
          The checkpoint's prefix; None where there was nothing to save.
        """


class CheckpointList(Protocol):
    """A list of checkpoints that somebody keeps besides, such as a `tf.compat.v1.train.Saver`."""

    @property
    def last_checkpoints(self) -> list[str]:
        """Their prefixes, the oldest first."""

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: list[tuple[str, float]]) -> Any:
        """Take another list: prefixes, each with its time in seconds since the epoch."""


class SnapshotProvider(Protocol):
    """Takes snapshots of one session. For one thread at a time."""

    policy: Policy | None
    """Which checkpoints are kept, unless the hook is told otherwise; None for all."""
    checkpoint_list: CheckpointList | None
    """The list that is to be kept up to date; None for none."""
    names_relative_paths: bool
    """True where the state file names checkpoints relative to its directory."""
    manages_files: bool
    """True where saving is all its own: the names, the state file, and which files are removed."""
    writes_behind: bool
    """True where a snapshot may be written while training goes on; else before the next step."""

    @property
    def is_prepared(self) -> bool:
        """True when `prepare` has nothing left to do."""

    def prepare(self) -> object:
        """Do what is to be done before the first snapshot, and need not hold up the training."""

    def take(self) -> Snapshot:
        """Take the model as it is now, between two steps. The snapshot before must have been written."""

    @property
    def version(self) -> int | None:
        """Another number whenever the model may have been written since the session began at 0; None where
        that
        is not known."""
