"""Which checkpoint a run starts from: the newest intact one.

A logdir may hold checkpoints of several base names; those of the Supervisor's `checkpoint_basename` are
its own, and where the state file names any of them, all that it names: the program may save by the same
saver under other names. They are found by their files and by the state file (`checkpoint`), whose paths are
looked up by their last component in the logdir first: it may have been moved, or come from another machine.
They are tried in this order, the higher step first within each line, until one is intact:

1. Those newer than what the state file names as newest, if they were saved after it was written and it
   does not list them: the process was killed before it could.
2. What the state file names as newest, also when it was made to name an older step by hand.
3. The older ones.
4. The remaining newer ones: what is left of training that was given up by 2.

Without a state file that can be read and names one of its own, all are tried by step. Where there is none
of its own, what the state file names is followed, as TensorFlow does.

Each one that is skipped is logged as a warning. Nothing is deleted, moved or written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection

from hookrun.checkpoints import files, integrity, state_file, storage
from hookrun.runtime import hook_state
from hookrun.runtime.hook_state import HookState

__all__ = [
    "Search",
    "candidates",
    "listed",
    "named_in",
    "newest_intact",
    "not_yet_named",
    "readable_state",
    "save_paths_in",
    "session_source",
    "verify",
]

_logger = logging.getLogger(__name__)


def newest_intact(save_path: str) -> str | None:
    """Find the checkpoint to start from, and log a warning for each one skipped.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.

    Returns:
      Its prefix, as `tf.compat.v1.train.Saver.restore` takes it; None where there is no checkpoint.

    Raises:
      tf.errors.DataLossError: If there are checkpoints and none is intact; it lists what was tried, and why
        each one failed.
    """
    search = Search(save_path)
    prefix = search.next(verify)
    if prefix is not None:
        search.explain(prefix)
    return prefix


class Search:
    """The search for the checkpoint to start from, which tells of what is found on the way.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.
    """

    def __init__(self, save_path: str) -> None:
        self._save_path = save_path
        self._logdir = _Logdir(save_path)
        self._left = iter(self._logdir.candidates())
        self._failed: dict[str, str] = {}

    def next(self, check: Callable[[str], str | None]) -> str | None:
        """The next checkpoint, of those that were not tried yet.

        Args:
          check: Called with a prefix; returns why that checkpoint is to be skipped, or None.

        Returns:
          Its prefix, as `tf.compat.v1.train.Saver.restore` takes it; None where there is no checkpoint.

        Raises:
          tf.errors.DataLossError: If there are checkpoints and all were tried; it lists them, and why each
            one failed.
        """
        for prefix in self._left:
            reason = check(prefix)
            if reason is None:
                return prefix
            self.pass_over(prefix, reason)
        if self._failed:
            tried = "\n  ".join(f"{prefix}: {reason}" for prefix, reason in self._failed.items())
            raise _data_loss(
                f"None of the checkpoints of {self._save_path} is intact, and the training does not start "
                f"anew while they are there. Tried, from the newest:\n  {tried}"
            )
        return None

    def pass_over(self, prefix: str, reason: str) -> None:
        """Log a warning: the training does not start from this checkpoint."""
        _logger.warning("Checkpoint %s is skipped: %s", prefix, reason)
        self._failed[prefix] = reason

    def explain(self, chosen: str) -> None:
        """Log a warning where the training starts from another one than who reads the state file expects."""
        self._logdir.explain(chosen, self._failed)


def candidates(save_path: str) -> list[str]:
    """The checkpoints that a run may start from, in the order in which they are tried.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.
    """
    return _Logdir(save_path).candidates()


def save_paths_in(directory: str) -> list[str]:
    """The paths of the checkpoints in a directory without their steps: one for each base name.

    Args:
      directory: A logdir.
    """
    named = {files.without_step(os.path.basename(path)) for path in named_in(directory)[:1]}
    found = set(map(files.without_step, files.prefixes_in(directory, named)))
    return sorted(os.path.join(directory, base_name) for base_name in named | found)


def named_in(directory: str) -> list[str]:
    """What the state file in `directory` names, from the newest; nothing where it cannot be read."""
    return _named(state_file.read(directory))


def not_yet_named(save_path: str) -> list[str]:
    """The checkpoints that killed processes saved and could not name in the state file, the oldest first.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`.
    """
    logdir = _Logdir(save_path)
    return [prefix for prefix in logdir.candidates() if logdir.is_not_yet_named(prefix)][::-1]


def listed(save_path: str) -> list[str]:
    """The checkpoints of one saver that the state file names, from the oldest, also those under other names.

    Args:
      save_path: Logdir and base name of the checkpoints, as `Supervisor.save_path`. Where the state file
        names none of these, it is that of another saver in the same directory.
    """
    return _Logdir(save_path).listed


def session_source(logdir: str | None, checkpoint: str | None) -> dict[str, str | None]:
    """The arguments by which a `SessionManager` restores `checkpoint`.

    Args:
      logdir: What the Supervisor would pass as `checkpoint_dir`.
      checkpoint: What `newest_intact` returned, or a path under which TensorFlow reads it.

    Returns:
      `checkpoint_dir` where the manager finds the same checkpoint there by itself, or waits for one;
      `checkpoint_filename_with_path` otherwise.
    """
    if checkpoint is not None and logdir is not None:
        named = named_in(logdir)
        if not named or os.path.realpath(named[0]) != os.path.realpath(checkpoint):
            return {"checkpoint_filename_with_path": checkpoint}
    return {"checkpoint_dir": logdir}


def verify(
    prefix: str,
    progress: integrity.Progress = lambda _: None,
    unless_restored: Collection[str] = frozenset(),
) -> str | None:
    """Read every byte of a checkpoint.

    A file of TensorFlow's first format, before V2, is not read: it is taken to be intact.

    Args:
      prefix: The checkpoint, as `tf.compat.v1.train.Saver.restore` takes it.
      progress: Called with the number of bytes of each piece of data that was read.
      unless_restored: The names of tensors whose data is not read, since a restore will do that.

    Returns:
      What is damaged, naming the file; None if the checkpoint is intact.
    """
    if not storage.exists(f"{prefix}.index"):
        return None if files.exists(prefix) else f"{prefix}.index is missing"
    return _damage_of_hook_state(prefix) or integrity.damage(
        prefix, unread=unless_restored, progress=progress
    )


def readable_state(prefix: str) -> HookState:
    """Verify a checkpoint that is asked for by name, and return what is saved beside it for the hooks.

    Raises:
      ValueError: If there is none.
      tf.errors.DataLossError: If it is damaged.
    """
    reason = verify(prefix)
    if not files.exists(prefix):
        raise ValueError(f"there is no checkpoint {prefix}: {reason}")
    if reason is not None:
        raise _data_loss(f"The checkpoint {prefix} is not restored: {reason}")
    return hook_state.read(prefix + hook_state.SUFFIX)


class _Logdir:
    """The checkpoints of a base name in a directory, and what its state file says of them."""

    def __init__(self, save_path: str) -> None:
        self._directory, self._base_name = os.path.split(save_path)
        on_disk = files.prefixes_in(self._directory, {self._base_name})
        self._on_disk = {os.path.join(self._directory, name) for name in on_disk}
        self._state_file = state_file.path_in(self._directory)
        self._state = state_file.read(self._directory)
        self._named = [self._found(path) for path in _named(self._state)]
        self.listed: list[str] = []
        """What the state file names, from the oldest, if it is that of this saver."""
        found = list(map(self._found, self._state.paths))
        if any(map(self._is_own, found)):
            self.listed = found

    def candidates(self) -> list[str]:
        """The checkpoints in the order in which they are tried."""
        own = [prefix for prefix in self._on_disk.union(self._named) if self._is_own(prefix)]
        if not own:
            return self._named
        return sorted(own, key=lambda prefix: (self._rank(prefix), -self._step(prefix), prefix))

    def explain(self, chosen: str, failed: Collection[str]) -> None:
        """Warn where `chosen` is not what a reader of the state file expects."""
        if not self._named:
            _logger.warning(
                "%s is missing or names no checkpoint; starting from %s, found by its files",
                *(self._state_file, chosen),
            )
            return
        newest = self._named[0]
        if chosen != newest and newest not in failed:
            reason = "which is older" if self._is_own(newest) else "which has another base name"
            _logger.warning(
                "Starting from %s, although %s names %s, %s", chosen, self._state_file, newest, reason
            )
        if chosen == newest:
            for prefix in self._on_disk:
                is_newer = 0 <= self._step(chosen) < self._step(prefix)
                if self._is_own(prefix) and is_newer and prefix not in failed:
                    _logger.warning(
                        "Checkpoint %s is skipped: %s, written after it, names %s",
                        *(prefix, self._state_file, chosen),
                    )

    def is_not_yet_named(self, prefix: str) -> bool:
        """True for one that was saved after the state file was written, and is of a later step."""
        return (
            bool(self._named)
            and self._is_own(self._named[0])
            and self._step(prefix) > self._step(self._named[0])
            and prefix not in self._named
            and self._state.is_older_than(prefix)
        )

    def _found(self, path: str) -> str:
        """Where a checkpoint that the state file names is: in the directory, or else where it says."""
        here = os.path.join(self._directory, os.path.basename(path))
        return path if here not in self._on_disk and files.exists(path) else here

    def _is_own(self, prefix: str) -> bool:
        return files.without_step(os.path.basename(prefix)) == self._base_name or prefix in self.listed

    def _step(self, prefix: str) -> int:
        """The step in the name; -1 without one."""
        step = files.step_of(prefix)
        return -1 if step is None else step

    def _rank(self, prefix: str) -> int:
        """The line of the module's docstring that `prefix` belongs to."""
        if not self._named or not self._is_own(self._named[0]):
            return 0
        newest = self._named[0]
        if prefix == newest:
            return 2
        if self._step(prefix) < self._step(newest):
            return 3
        return 1 if self.is_not_yet_named(prefix) else 4


def _data_loss(message: str) -> Exception:
    from tensorflow import errors

    error: Exception = errors.DataLossError(None, None, message)
    return error


def _named(state: state_file.StateFile) -> list[str]:
    newest = () if state.newest is None else (state.newest,)
    return list(dict.fromkeys([*newest, *reversed(state.paths)]))


def _damage_of_hook_state(prefix: str) -> str | None:
    try:
        hook_state.read(prefix + hook_state.SUFFIX)
    except (OSError, ValueError) as error:
        return str(error)
    return None
