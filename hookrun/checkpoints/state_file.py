"""The state file `checkpoint` of a directory: which checkpoints it names, and when they were saved.

It is TensorFlow's: a `Saver` and `tf.train.latest_checkpoint` read it. What TensorFlow has no use for is here
because the times of files do not survive a copy:

- The times of the saves, in the field in which `tf.train.CheckpointManager` has them.
- Comments that mention the other checkpoints of the same base name that were there: whatever of a later step
  it says nothing of came after it was written, by a process that was killed before it could name it.
- A last comment with the checksum of all the lines before, so that it is known when they were edited by hand:
  then nothing came after it, and what it names is what somebody wants.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import crc32c
from google.protobuf import text_format

from hookrun.checkpoints import files, storage
from hookrun.checkpoints.messages import CheckpointState

__all__ = ["StateFile", "path_in", "read", "time_saved", "write"]

_NAME = "checkpoint"
_ASIDE = ".checkpoint"
"""What the path of the checkpoints has at its end, for the state file before it is in its place: other
checkpoints may share the directory."""

_MENTIONED = re.compile(r"^# (.+) is there too, saved at ([\d.]+)$", re.MULTILINE)
_CHECKSUM = re.compile(r"# The crc32c of the lines before is (\d+)\n")


@dataclass(frozen=True)
class StateFile:
    """What a state file says; nothing where there is none, or it cannot be read."""

    directory: str
    newest: str | None = None
    """The checkpoint that it names as the newest."""
    paths: tuple[str, ...] = ()
    """All that it names, from the oldest to the newest."""
    times: Mapping[str, float] = field(default_factory=dict)
    """When they and those that it mentions were saved, in seconds since the epoch, by the last component of
    their path. Of others it is not known."""
    tells_all: bool = False
    """True where it names or mentions all checkpoints that there were."""
    by_hand: bool = False
    """True where it was edited."""

    def time_of(self, path: str) -> float | None:
        """When a checkpoint in the directory was saved: as it says here, or else as its file does; in seconds
        since the epoch. None where there is no such checkpoint."""
        for file in (f"{path}.index", path):  # a file of TensorFlow's first format is the checkpoint itself
            with contextlib.suppress(FileNotFoundError):
                written = storage.size_and_time(file)[1] / 1e9
                return self.times.get(os.path.basename(path), written)
        return None

    def is_older_than(self, path: str) -> bool:
        """True where a checkpoint in the directory, of a later step than the newest that it names, was saved
        after it was written."""
        name = os.path.basename(path)
        if self.by_hand or self.tells_all:
            return self.tells_all and name not in self.times
        there = storage.names_in(self.directory)
        parts = [file for file in there if files.prefix_of(file) == name or file == name]
        saved = [_written(os.path.join(self.directory, part)) for part in parts]
        return max(saved, default=0) > _written(path_in(self.directory))


def path_in(directory: str) -> str:
    return os.path.join(directory, _NAME)


def read(directory: str) -> StateFile:
    """Read the state file of a directory."""
    try:
        with storage.open_to_read(path_in(directory)) as file:
            text = file.read().decode()
        state = text_format.Parse(text, CheckpointState(), allow_unknown_field=True)
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return StateFile(directory)
    if not state.model_checkpoint_path:
        return StateFile(directory)
    newest = os.path.join(directory, state.model_checkpoint_path)
    paths = tuple(os.path.join(directory, path) for path in state.all_model_checkpoint_paths)
    saved = state.all_model_checkpoint_timestamps
    times = dict(zip(map(os.path.basename, paths), saved, strict=True)) if len(saved) == len(paths) else {}
    times |= {name: float(time) for name, time in _MENTIONED.findall(text)}
    checksum = _CHECKSUM.search(text)
    tells_all = checksum is not None and text == _with_checksum(text[: checksum.start()])
    by_hand = not tells_all and (checksum is not None or paths[-1:] != (newest,))
    return StateFile(directory, newest, paths, times, tells_all, by_hand)


def write(
    save_path: str,
    newest: str,
    paths: Iterable[str],
    relative: bool,
    times: Mapping[str, float] | None = None,
) -> None:
    """Replace the state file beside a checkpoint, whole and synced.

    Args:
      save_path: The path of the checkpoints, without their step.
      newest: The checkpoint that it names as the newest.
      paths: All that it names, from the oldest to the newest.
      relative: True to name them by paths relative to their directory, which may then be moved.
      times: When they were saved, by path; of those that are not here, as `time_saved` says.

    Raises:
      OSError: If it cannot be written; the one before is in its place then.
    """
    directory, base_name = os.path.split(save_path)
    before, times = read(directory), times or {}

    def time_of(path: str) -> float:
        return times[path] if path in times else before.time_of(path) or 0.0

    named = [path for path in paths if path != newest] + [newest]
    saved = [time_of(path) for path in named]
    others = {
        name for name in files.prefixes_in(directory, {base_name}) if files.without_step(name) == base_name
    }
    others -= {os.path.basename(path) for path in named}
    if relative or not os.path.isabs(directory):  # relative paths are taken for paths from the directory
        newest, *named = (os.path.relpath(path, directory) for path in (newest, *named))
    state = CheckpointState(
        model_checkpoint_path=newest,
        all_model_checkpoint_paths=named,
        all_model_checkpoint_timestamps=saved,
    )
    text = text_format.MessageToString(state)
    for name in sorted(others):
        text += f"# {name} is there too, saved at {time_of(os.path.join(directory, name))}\n"
    storage.write_text(path_in(directory), _with_checksum(text), f"{save_path}{_ASIDE}")


def time_saved(path: str) -> float | None:
    """When a checkpoint was saved, in seconds since the epoch; None where it does not exist.

    The state file beside it says it, or else the time of its file. For many, `read` the state file once.
    """
    return read(os.path.dirname(path)).time_of(path)


def _written(path: str) -> int:
    """When a file was written, in nanoseconds since the epoch; 0 for one that was removed meanwhile."""
    try:
        return storage.size_and_time(path)[1]
    except FileNotFoundError:
        return 0


def _with_checksum(text: str) -> str:
    return f"{text}# The crc32c of the lines before is {crc32c.crc32c(text.encode())}\n"
