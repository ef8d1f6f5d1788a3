"""CheckpointDirectory: checkpoints are written aside, synced, made visible, and then the old ones removed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator

from hookrun.checkpoints import restore, state_file, storage
from hookrun.checkpoints.files import files_of, index_last, remove, step_of, without_step
from hookrun.checkpoints.provider import CheckpointList
from hookrun.checkpoints.retention import Checkpoint, Policy
from hookrun.runtime import hook_state
from hookrun.runtime.hook_state import HookState

__all__ = ["CheckpointDirectory", "undo_interrupted_save"]

_logger = logging.getLogger(__name__)

_SAVING = ".saving"
"""What the path of the checkpoints has at its end, for the directory that they are first written into."""

_REPLACED = ".replaced"
"""The same, for the directory that keeps a replaced one whole."""

_PARTIAL = ".replacing"
"""The same, for that directory before and after it is whole."""

_SAVES_UNTIL_MEASURED = 3
"""The number of saves by which a metric that decides what is kept should have been reported."""


class CheckpointDirectory:
    """The checkpoints of one saver, at one path. For one thread at a time.

    Those that the program saves by the same saver under other names are among them, as TensorFlow's own saves
    count them: over a restart too, where the state file names both.

    A checkpoint is first written into a directory of its own, ``<save_path>.saving``, and synced. Its files
    are then moved to their places, the index last: a checkpoint that has an index is complete. Then the
    state file is written, and what `policy` does not keep is removed. When any of this fails, or the
    process is killed, what was saved before is as it was.

    At a URL (``gs://``) a checkpoint is written where it stays, as by TensorFlow, and is as safe as that file
    system makes it.

    Args:
      others: A list of checkpoints that is kept up to date, such as that of a saver; None for none.
      save_path: The path of the checkpoints, without their step.
      policy: Which of them are kept; None for all, of which the state file names the newest alone.
      restored_from: The checkpoint that the run started from, which the state file may not name.
      relative: True for a state file that names them by paths relative to its directory.
    """

    def __init__(
        self,
        others: CheckpointList | None,
        save_path: str,
        policy: Policy | None,
        restored_from: str | None = None,
        relative: bool = False,
    ) -> None:
        self._others = others
        self._save_path = save_path
        self._directory, self._base_name = os.path.split(save_path)
        self._policy = policy
        self._states: dict[str, HookState] = {}
        self._relative = relative
        self._saves = 0
        self._state_before = state_file.read(self._directory)
        self._times: dict[str, float] = {}
        self._paths = [*restore.listed(save_path), *restore.not_yet_named(save_path)]
        restored = None if restored_from is None else self._own(restored_from)
        if restored is not None and restored not in self._paths:
            self._paths.append(restored)
        # Restoring gave the saver all that the state file names: it may name those of others.
        self._list(self.checkpoints)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Those that the state file names and that exist, from the oldest to the newest."""
        return [
            Checkpoint(path, step_of(path), saved, state.metrics, state.times_reported)
            for path in self._paths
            if (saved := self._time_of(path)) is not None
            for state in [self._state_of(path)]
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
        self._states[path] = _metrics_alone(state)
        self._times[path] = time.time()
        listed = [] if self._others is None else self._others.last_checkpoints
        earlier = dict.fromkeys([*self._paths, *listed])
        earlier.pop(path, None)
        self._paths = [*earlier, path]
        if self._policy is None:
            self._paths = [path]
        self._write_state_file(path)
        if self._policy is not None:
            self._prune(self._policy, path)
        return path

    def go_back(self, step: int, restored: str | None = None) -> bool:
        """The training goes on from `step`: what was saved of later steps is given up.

        It is older than the rest from now on. The state file names as newest what was restored, or else the
        newest of the rest, so that the next run does not start from what was given up. Where there is none,
        all stays as it was.

        Args:
          step: The step that the training goes on from.
          restored: The checkpoint that was restored; None where it is not known.

        Returns:
          True where `restored` is one of the directory's own.

        Raises:
          OSError: If the state file cannot be written.
        """
        known = self._paths if self._policy is not None else restore.candidates(self._save_path)
        steps = {path: step_of(path) or 0 for path in known if self._time_of(path) is not None}
        own = None if restored is None else self._own(restored)
        newest = own or max((p for p in steps if steps[p] <= step), key=steps.__getitem__, default=None)
        if newest is None:
            return False
        steps.pop(newest, None)
        self._paths = [*sorted(steps, key=lambda path: steps[path] <= step), newest]
        if self._policy is None:
            self._paths = [newest]
        self._write_state_file(newest)
        self._list(self.checkpoints)
        return own is not None

    def _own(self, checkpoint: str) -> str | None:
        """Its path, where it is one of the directory's."""
        directory, name = os.path.split(checkpoint)
        same = os.path.realpath(directory) == os.path.realpath(self._directory)
        return os.path.join(self._directory, name) if same and without_step(name) == self._base_name else None

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
        self._list(c for c in checkpoints if c.path in self._paths)

    def _list(self, checkpoints: Iterable[Checkpoint]) -> None:
        if self._others is not None:
            self._others.set_last_checkpoints_with_time([(c.path, c.time) for c in checkpoints])

    def _write(self, save: Callable[[str], str | None], state: HookState) -> str | None:
        if storage.is_url(self._save_path):
            return self._write_in_place(save, state)
        saving = f"{self._save_path}{_SAVING}"
        shutil.rmtree(saving, ignore_errors=True)  # left by a process that was killed
        os.makedirs(saving)
        try:
            saved = save(os.path.join(saving, self._base_name))
            if saved is None:
                return None
            if state:
                hook_state.write(saved + hook_state.SUFFIX, state)
            names = index_last(os.listdir(saving))
            for name in names:
                storage.sync(os.path.join(saving, name))
            path = os.path.join(self._directory, os.path.basename(saved))
            with self._keeping_replaced(path):
                self._move_in(saving, names, path)
            return path
        finally:
            shutil.rmtree(saving, ignore_errors=True)

    def _write_in_place(self, save: Callable[[str], str | None], state: HookState) -> str | None:
        """Write a checkpoint where it stays: to rename it would be to copy it, in an object store."""
        path = save(self._save_path)
        if path is not None and state:
            hook_state.write(path + hook_state.SUFFIX, state)
        elif path is not None and storage.exists(path + hook_state.SUFFIX):  # of one that this replaces
            storage.remove(path + hook_state.SUFFIX)
        return path

    def _move_in(self, saving: str, names: list[str], path: str) -> None:
        moved: list[str] = []
        try:
            for name in names:
                target = os.path.join(self._directory, name)
                os.replace(os.path.join(saving, name), target)
                moved.append(target)
            for replaced in set(files_of(path)) - set(moved):
                os.unlink(replaced)
            storage.sync(self._directory)
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
        storage.sync(partial)
        os.rename(partial, f"{self._save_path}{_REPLACED}")
        try:
            yield
        except BaseException:
            _put_back_replaced(self._save_path)
            raise
        _discard_replaced(self._save_path)

    def _write_state_file(self, newest: str) -> None:
        state_file.write(self._save_path, newest, self._paths, self._relative, self._times)

    def _time_of(self, path: str) -> float | None:
        """When it was saved; None where it is gone."""
        saved = self._state_before.time_of(path)
        return None if saved is None else self._times.setdefault(path, saved)

    def _state_of(self, path: str) -> HookState:
        """What is remembered beside the checkpoint of metrics."""
        if path not in self._states:
            try:
                self._states[path] = _metrics_alone(hook_state.read(path + hook_state.SUFFIX))
            except (OSError, ValueError) as error:
                _logger.warning("The metrics of the checkpoint %s are not known: %s", path, error)
                self._states[path] = HookState()
        return self._states[path]

    def _remove(self, path: str) -> None:
        self._states.pop(path, None)
        self._times.pop(path, None)
        try:
            remove(path)
        except OSError as error:  # the new checkpoint is saved all the same
            _logger.warning("The old checkpoint %s could not be removed: %s", path, error)


def undo_interrupted_save(save_path: str) -> None:
    """Undo a save of a process that was killed while it moved files in.

    Called before a checkpoint is looked for to start from.
    """
    _put_back_replaced(save_path)
    directory, saving = os.path.dirname(save_path), f"{save_path}{_SAVING}"
    if os.path.isdir(saving):
        for index in (name for name in os.listdir(saving) if name.endswith(".index")):
            path = os.path.join(directory, index.removesuffix(".index"))
            if not os.path.exists(f"{path}.index"):
                for moved in files_of(path):
                    os.unlink(moved)
        shutil.rmtree(saving)


def _put_back_replaced(save_path: str) -> None:
    directory, kept = os.path.dirname(save_path), f"{save_path}{_REPLACED}"
    if not os.path.isdir(kept):
        return
    names = index_last(os.listdir(kept))
    for name in names:
        source, target = os.path.join(kept, name), os.path.join(directory, name)
        if not (os.path.exists(target) and os.path.samefile(source, target)):
            _link_or_copy(source, f"{target}.back")
            os.replace(f"{target}.back", target)
    path = os.path.join(directory, names[-1].removesuffix(".index"))
    for file in files_of(path):
        if os.path.basename(file) not in names:
            os.unlink(file)
    storage.sync(directory)
    _discard_replaced(save_path)


def _discard_replaced(save_path: str) -> None:
    """Remove what was kept, in a way that does not leave half of it under its name."""
    partial = f"{save_path}{_PARTIAL}"
    os.rename(f"{save_path}{_REPLACED}", partial)
    shutil.rmtree(partial)


def _metrics_alone(state: HookState) -> HookState:
    """What the policies go by; the rest may be large."""
    return HookState(dict(state.metrics), times_reported=dict(state.times_reported))


def _warn_of_unknown_metrics(policy: Policy, checkpoints: Iterable[Checkpoint]) -> None:
    known = {name for checkpoint in checkpoints for name in checkpoint.metrics}
    for missing in sorted(policy.metrics - known):
        _logger.warning(
            "%s uses the metric %r, which no checkpoint has so far; reported metrics: %s",
            *(policy, missing, ", ".join(sorted(known)) or "none"),
        )


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
