"""tensorboardX's vocabulary, `add_scalar`, `add_image`, ..., on another writer of events."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

import tensorboardX
from tensorboardX.summary import hparams

__all__ = ["EventTarget", "Vocabulary"]


class EventTarget(Protocol):
    """What the events of a `Vocabulary` are added to."""

    def get_logdir(self) -> str:
        """The directory of its file."""

    def add_event(self, event: Any) -> None:
        """Add an `Event` message."""

    def beneath(self, name: str) -> Any:
        """The writer of the directory of that name within its own; flushed and closed with it."""


class Vocabulary(tensorboardX.SummaryWriter):
    """tensorboardX's own `SummaryWriter`, whose events go to another writer.

    Args:
      target: That writer, which is not kept alive.
    """

    file_writer: Any
    all_writers: Any

    def __init__(self, target: EventTarget) -> None:
        self._target: EventTarget = weakref.proxy(target)
        super().__init__(logdir=target.get_logdir())

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add scalars to one plot, as tensorboardX's method does: each in a run of its own."""
        for tag in tag_scalar_dict:
            run = self._target.beneath(os.path.join(main_tag, tag))
            self.all_writers[run.get_logdir()] = _Channel(run)
        super().add_scalars(main_tag, tag_scalar_dict, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, bool | str | float],
        metric_dict: dict[str, float],
        name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Add hyperparameters and their metrics, as tensorboardX's method does: in a run of its own."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        run = self._target.beneath(name or str(time.time()))
        for summary in hparams(hparam_dict, metric_dict):
            run.add_summary(summary)
        for tag, value in metric_dict.items():
            run.add_scalar(tag, value, global_step)

    def _get_file_writer(self) -> Any:
        if self.file_writer is None:
            self.file_writer = _Channel(self._target)
            self.all_writers = {self.logdir: self.file_writer}
        return self.file_writer


class _Channel(tensorboardX.FileWriter):
    """Where a `Vocabulary` believes its file to be."""

    def __init__(self, target: EventTarget) -> None:
        self.event_writer = target
        self._default_metadata: dict[str, Any] = {}
