"""TrainingKind: what differs between kinds of training, behind a few methods that each kind implements."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

from hookrun.runtime.bus import Bus
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.gate import StepGate
from hookrun.runtime.session import Ending

__all__ = ["TrainingKind"]


class TrainingKind(Bus):
    """What `Runtime` asks of a kind of training.

    Args:
      is_chief: True for the task that saves and writes summaries.
    """

    def __init__(self, is_chief: bool) -> None:
        super().__init__(Coordinator(), is_chief)
        self._gate = StepGate()

    def between_steps(self, timeout_secs: float | None = None) -> AbstractContextManager[bool]:
        """Return a context manager in whose block no training step runs, and no run that writes variables but
        local ones.

        What is read of the model inside the block belongs to one step. Runs that go straight to TensorFlow
        (`run_without_hooks`, `make_callable`, queue runners) and other processes are not held up. Any
        thread may call this, also one that is told of a step.

        Args:
          timeout_secs: Seconds to wait for steps that are running; None for as long as they take.

        Returns:
          A context manager; it yields False when the wait ended before the steps did.
        """
        return self._gate.alone(timeout_secs)

    def step_suspended(self) -> AbstractContextManager[bool]:
        """Return a context manager in whose block the calling thread's training step holds up no save.

        For a hook that waits, when told of a step, for another thread that may be in `between_steps`. Outside
        of a training step it does nothing. At the end of the block it waits until nobody is between steps.

        Returns:
          A context manager; its value is False where the thread is in `between_steps` itself, which stays so:
          wait with a bound then.
        """
        return self._gate.suspended()

    def read_global_step(self, sess: Any) -> int | None:
        """Read the global step, in a run that no hook sees.

        Args:
          sess: The session.

        Returns:
          The step; None without a global step.
        """
        raise NotImplementedError

    @property
    def step_name(self) -> str | None:
        """What the global step is called; None without one."""
        return "global_step"

    @property
    def global_step_advances(self) -> bool:
        """True when a step of this training can advance the global step."""
        return True

    def values_of(self, sess: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """The values of `fetches` apart from any training step; no hook sees how they are computed.

        Args:
          sess: The session.
          fetches: As for `Hook.fetches`.
          feed_dict: What is fed for them, in a graph.

        Returns:
          The values, in the structure of `fetches`.
        """
        raise NotImplementedError

    def summaries(self, summary_op: Any) -> Any:
        """What `SummaryHook` writes: something with `need_a_step`, `fetches`, `compute` and `merged`, as
        `hookrun.graph.summaries.GraphSummaries` has them.

        Args:
          summary_op: What returns the summaries, in a graph; None for those of the training.

        Returns:
          None where there are none.
        """
        raise NotImplementedError

    def finite_checks(self) -> dict[str, Any]:
        """For each variable that is saved, by its name, what fetches whether all its values are finite. In a
        graph there is none: `NanGuardHook` adds its own ops."""
        return {}

    def snapshot_provider(self, session: Any, background: bool) -> Any:
        """What `CheckpointHook` saves of a session: a `hookrun.checkpoints.provider.SnapshotProvider`.

        Args:
          session: The session.
          background: False to have each snapshot written before the next step.
        """
        raise NotImplementedError

    def context(self) -> AbstractContextManager[object]:
        """Make the context in which hooks and services are called on threads of hookrun's own."""
        return contextlib.nullcontext()

    def _check_fetches(self, name: str, fetches: Any) -> None:
        """Refuse what the receiver `name` cannot fetch."""

    def _stop_context(self, ending: Ending) -> AbstractContextManager[object]:
        """Make the context in which hooks are told that the session ends."""
        return self.context()

    def _close_session(self, ending: Ending) -> None:
        """Close `ending.to_close`, where there is one."""
