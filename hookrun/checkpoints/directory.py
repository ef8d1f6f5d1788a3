"""CheckpointDirectory: checkpoints are written aside, synced, made visible, and then the old ones removed."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from hookrun.checkpoints import restore
from hookrun.checkpoints.early_sync import synced_early
from hookrun.checkpoints.retention import Checkpoint, EveryNHours, LatestN, Policy
from hookrun.graph import tf_internals
from hookrun.runtime import hook_state
from hookrun.runtime.hook_state import HookState

__all__ = [
    "CheckpointDirectory",
    "files_of",
    "policy_of",
    "remove",
    "time_saved",
    "undo_interrupted_save",
    "write_state_file",
]

_logger = logging.getLogger(__name__)

_SAVING = ".saving"
"""What the path of the checkpoints has at its end, for the directory that they are first written into."""

_STATE_FILE = ".checkpoint"
"""The same, for the state file before it is in its place: other checkpoints may share the directory."""

_REPLACED = ".replaced"
"""The same, for the directory that keeps a replaced one whole."""

_PARTIAL = ".replacing"
"""The same, for that directory before and after it is whole."""

_SAVES_UNTIL_MEASURED = 3
"""The number of saves by which a metric that decides what is kept should have been reported."""


def policy_of(saver: Any) -> Policy | None:
    """What `saver` was told to keep, by `max_to_keep` and `keep_checkpoint_every_n_hours`; None for all."""
    saver_def = saver.saver_def
    if not saver_def.max_to_keep:
        return None
    return LatestN(saver_def.max_to_keep) | EveryNHours(saver_def.keep_checkpoint_every_n_hours)


class CheckpointDirectory:
    """The checkpoints of one saver, at one path. For one thread at a time.

    A checkpoint is first written into a directory of its own, ``<save_path>.saving``, and synced. Its files
    are then moved to their places, the index last: a checkpoint that has an index is complete. Then the
    state file is written, and what `policy` does not keep is removed. When any of this fails, or the
    process is killed, what was saved before is as it was.

    A path that is a URL (``gs://``) is written to directly, as TensorFlow does.

    Args:
      saver: The `tf.compat.v1.train.Saver`. Its own list of checkpoints is kept up to date.
      save_path: The path of the checkpoints, without their step.
      policy: Which of them are kept; None for all, of which the state file names the newest alone.
      restored_from: The checkpoint that the run started from, which the state file may not name.
    """

    def __init__(
        self, saver: Any, save_path: str, policy: Policy | None, restored_from: str | None = None
    ) -> None:
        self._saver = saver
        self._save_path = save_path
        self._directory, self._base_name = os.path.split(save_path)
        self._local = "://" not in save_path
        self._policy = policy
        self._metrics: dict[str, dict[str, float]] = {}
        self._saves = 0
        self._paths = [*self._paths_in_state_file(), *restore.not_yet_named(save_path)]
        if restored_from is not None and self._is_ours(os.path.basename(restored_from)):
            restored = os.path.join(self._directory, os.path.basename(restored_from))
            if restored not in self._paths:
                self._paths.append(restored)
        # Restoring gave the saver all that the state file names: it may name those of others.
        saver.set_last_checkpoints_with_time([(c.path, c.time) for c in self.checkpoints])

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Those that the state file names and that exist, from the oldest to the newest."""
        return [
            Checkpoint(path, self._step_of(path), saved, self._metrics_of(path))
            for path in self._paths
            if (saved := time_saved(path)) is not None
        ]

    def add(self, save: Callable[[str], str | None], state: HookState) -> str | None:
        """Write a checkpoint, and make it the newest.

        Args:
          save: Called with the path to save to, without the step; returns the prefix of what it saved, or
            None, as `tf.compat.v1.train.Saver.save` does without a state file.
          state: What is to be remembered beside the checkpoint.

        Returns:
          The checkpoint's prefix; None if `save` saved nothing.

        Raises:
          Exception: What `save` raised, or an `OSError`. The partial files are removed then.
        """
        path = self._write(save, state)
        if path is None:
            return None
        self._metrics[path] = dict(state.metrics)
        others = dict.fromkeys([*self._paths, *self._saver.last_checkpoints])
        others.pop(path, None)
        self._paths = [*others, path]
        if self._policy is None:
            self._paths = [path]
        self._write_state_file(path)
        if self._policy is not None:
            self._prune(self._policy, path)
        return path

    def _prune(self, policy: Policy, newest: str) -> None:
        """Remove what is not kept. The state file names it until it is gone, so that none is forgotten."""
        checkpoints = self.checkpoints
        kept = policy.kept(checkpoints)
        self._saves += 1
        if self._saves == _SAVES_UNTIL_MEASURED:
            _warn_of_unknown_metrics(policy, checkpoints)
        self._paths = [c.path for c in checkpoints if c in kept or c.path == newest]
        removed = [c.path for c in checkpoints if c.path not in self._paths]
        for path in removed:
            self._remove(path)
        if removed:
            self._write_state_file(newest)
        self._saver.set_last_checkpoints_with_time(
            [(c.path, c.time) for c in checkpoints if c.path in self._paths]
        )

    def _write(self, save: Callable[[str], str | None], state: HookState) -> str | None:
        if not self._local:
            return save(self._save_path)
        saving = f"{self._save_path}{_SAVING}"
        shutil.rmtree(saving, ignore_errors=True)  # left by a process that was killed
        os.makedirs(saving)
        try:
            with synced_early(saving):
                saved = save(os.path.join(saving, self._base_name))
            if saved is None:
                return None
            if state:
                hook_state.write(saved + hook_state.SUFFIX, state)
            names = _index_last(os.listdir(saving))
            for name in names:
                _sync(os.path.join(saving, name))
            path = os.path.join(self._directory, os.path.basename(saved))
            with self._keeping_replaced(path):
                self._move_in(saving, names, path)
            return path
        finally:
            shutil.rmtree(saving, ignore_errors=True)

    def _move_in(self, saving: str, names: list[str], path: str) -> None:
        moved: list[str] = []
        try:
            for name in names:
                target = os.path.join(self._directory, name)
                os.replace(os.path.join(saving, name), target)
                moved.append(target)
            for replaced in set(files_of(path)) - set(moved):
                os.unlink(replaced)
            _sync(self._directory)
        except BaseException:
            for target in moved:
                os.unlink(target)
            raise

    @contextlib.contextmanager
    def _keeping_replaced(self, path: str) -> Iterator[None]:
        """Keep what is at `path` already aside, until the block has put another checkpoint in its place."""
        files = files_of(path)
        if not files:
            yield
            return
        partial = f"{self._save_path}{_PARTIAL}"
        shutil.rmtree(partial, ignore_errors=True)
        os.makedirs(partial)
        for file in files:
            _link_or_copy(file, os.path.join(partial, os.path.basename(file)))
        _sync(partial)
        os.rename(partial, f"{self._save_path}{_REPLACED}")
        try:
            yield
        except BaseException:
            _put_back_replaced(self._save_path)
            raise
        _discard_replaced(self._save_path)

    def _write_state_file(self, newest: str) -> None:
        paths = list(self._paths)
        if not self._local:
            tf.compat.v1.train.update_checkpoint_state(self._directory, newest, paths)
            return
        write_state_file(self._save_path, newest, paths, tf_internals.saves_relative_paths(self._saver))

    def _paths_in_state_file(self) -> list[str]:
        state = tf.train.get_checkpoint_state(self._directory)
        names = [os.path.basename(path) for path in state.all_model_checkpoint_paths] if state else []
        return [os.path.join(self._directory, name) for name in names if self._is_ours(name)]

    def _is_ours(self, name: str) -> bool:
        return name == self._base_name or name.removeprefix(f"{self._base_name}-").isdecimal()

    def _step_of(self, path: str) -> int | None:
        step = os.path.basename(path).removeprefix(f"{self._base_name}-")
        return int(step) if step.isdecimal() else None

    def _metrics_of(self, path: str) -> dict[str, float]:
        if path not in self._metrics:
            try:
                self._metrics[path] = dict(hook_state.read(path + hook_state.SUFFIX).metrics)
            except (OSError, ValueError) as error:
                _logger.warning("The metrics of the checkpoint %s are not known: %s", path, error)
                self._metrics[path] = {}
        return self._metrics[path]

    def _remove(self, path: str) -> None:
        self._metrics.pop(path, None)
        try:
            remove(path)
        except (OSError, tf.errors.OpError) as error:  # the new checkpoint is saved all the same
            _logger.warning("The old checkpoint %s could not be removed: %s", path, error)


def write_state_file(save_path: str, newest: str, paths: Iterable[str], relative: bool) -> None:
    """Replace the state file beside a checkpoint, whole and synced.

    Args:
      save_path: The path of the checkpoints, without their step.
      newest: The checkpoint that it names as the newest.
      paths: All that it names, from the oldest to the newest.
      relative: True to name them by paths relative to their directory, which may then be moved.

    Raises:
      OSError: If it cannot be written; the one before is in its place then.
    """
    directory = os.path.dirname(save_path)
    if relative:
        newest, *paths = (os.path.relpath(path, directory) for path in (newest, *paths))
        directory = os.path.abspath(directory)  # with a relative one, they are taken for paths from here
    state = tf.compat.v1.train.generate_checkpoint_state_proto(directory, newest, list(paths))
    written = f"{save_path}{_STATE_FILE}"
    try:
        with open(written, "w", encoding="utf-8") as file:
            file.write(text_format.MessageToString(state))
        _sync(written)
        os.replace(written, os.path.join(directory, "checkpoint"))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written)
        raise
    _sync(directory)


def remove(path: str) -> None:
    """Remove the files of the checkpoint with the prefix `path`.

    Raises:
      OSError, tf.errors.OpError: If one cannot be removed.
    """
    if "://" in path:
        tf.compat.v1.train.remove_checkpoint(path)
        if tf.io.gfile.exists(path + hook_state.SUFFIX):
            tf.io.gfile.remove(path + hook_state.SUFFIX)
        return
    for file in _index_last(
        files_of(path)
    ):  # a process that is killed meanwhile leaves what the next one finds
        os.unlink(file)
    if os.path.exists(path):  # in TensorFlow's first format
        os.unlink(path)


def undo_interrupted_save(save_path: str) -> None:
    """Undo a save of a process that was killed while it moved files in.

    Called before a checkpoint is looked for to start from.
    """
    _put_back_replaced(save_path)
    directory, saving = os.path.dirname(save_path), f"{save_path}{_SAVING}"
    if os.path.isdir(saving):
        for index in glob.glob(os.path.join(glob.escape(saving), "*.index")):
            path = os.path.join(directory, os.path.basename(index).removesuffix(".index"))
            if not os.path.exists(f"{path}.index"):
                for moved in files_of(path):
                    os.unlink(moved)
        shutil.rmtree(saving)


def _put_back_replaced(save_path: str) -> None:
    directory, kept = os.path.dirname(save_path), f"{save_path}{_REPLACED}"
    if not os.path.isdir(kept):
        return
    names = _index_last(os.listdir(kept))
    for name in names:
        source, target = os.path.join(kept, name), os.path.join(directory, name)
        if not (os.path.exists(target) and os.path.samefile(source, target)):
            _link_or_copy(source, f"{target}.back")
            os.replace(f"{target}.back", target)
    path = os.path.join(directory, names[-1].removesuffix(".index"))
    for file in files_of(path):
        if os.path.basename(file) not in names:
            os.unlink(file)
    _sync(directory)
    _discard_replaced(save_path)


def _discard_replaced(save_path: str) -> None:
    """Remove what was kept, in a way that does not leave half of it under its name."""
    partial = f"{save_path}{_PARTIAL}"
    os.rename(f"{save_path}{_REPLACED}", partial)
    shutil.rmtree(partial)


def time_saved(path: str) -> float | None:
    """When a checkpoint was saved, in seconds since the epoch; None where it does not exist."""
    for file in (f"{path}.index", path):  # a file of TensorFlow's first format is the checkpoint itself
        if tf.io.gfile.exists(file):
            return float(tf.io.gfile.stat(file).mtime_nsec) / 1e9
    return None


def _warn_of_unknown_metrics(policy: Policy, checkpoints: Iterable[Checkpoint]) -> None:
    known = {name for checkpoint in checkpoints for name in checkpoint.metrics}
    for missing in sorted(policy.metrics - known):
        _logger.warning(
            "%s goes by the metric %r, which no checkpoint has so far; reported were: %s",
            *(policy, missing, ", ".join(sorted(known)) or "none"),
        )


def _index_last(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.endswith(".index"), name))


def files_of(path: str) -> list[str]:
    """The files of the checkpoint with the prefix `path`."""
    endings = (".index", ".data-*", ".meta", hook_state.SUFFIX)
    return [file for ending in endings for file in glob.glob(glob.escape(path) + ending)]


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _sync(path: str) -> None:
    """Wait until the file, or the names in the directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
