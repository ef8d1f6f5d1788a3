"""What a receiver is told: one small dataclass per signal.

A receiver is called as ``receiver(runtime, event)``; `event` is an instance of the class of the
signal's name. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tensorflow.compat.v1 import Session

__all__ = [
    "INTERRUPTS",
    "CheckpointDue",
    "CheckpointSaved",
    "CheckpointSaving",
    "SessionCreated",
    "SessionLost",
    "SessionRecovered",
    "SessionRestored",
    "Step",
    "Stop",
    "SummaryDue",
]

INTERRUPTS = (KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError)
"""What ends a training from outside, and is no error of it: Ctrl-C, `sys.exit`, a generator that is left, a
task of `asyncio` that is cancelled."""


@dataclass(slots=True)
class SessionCreated:
    """A session is ready: its variables are initialized, restored, or those of a live model."""

    session: Session
    """The session that the training will use."""
    global_step: int | None
    """The step it starts from; None without a global step."""
    start_standard_services: bool
    """False where the caller asked for a session without services: no timers, no queue runners."""
    restored_from: str | None = None
    """The prefix of the checkpoint that was restored; None where the model was initialized or adopted, and
    on a worker that is not the chief."""
    adopted: bool = False
    """True where the training goes on with the live model of its parameter servers, losing no step; always on
    a worker that is not the chief."""


@dataclass(frozen=True, slots=True)
class Step:
    """A training step has been run. No receiver can change what others are told of it."""

    global_step: int
    """The global step after this step's own update; without a global step, the steps counted so far. With
    several threads that train, another one's update may be in it too: two steps then have the same number."""
    session: Session
    """The session that ran it."""
    results: Any
    """What `session.run` returns to the program, in the structure of its fetches: a copy."""
    values: Any = None
    """The values of the receiver's own `fetches`, in their structure, its arrays read-only; None without
    fetches."""


@dataclass(slots=True)
class SummaryDue:
    """It is time to write summaries."""

    session: Session
    """The session to compute them in."""


@dataclass(slots=True)
class CheckpointDue:
    """It is time to save a checkpoint."""

    session: Session
    """The session whose variables are to be saved."""


@dataclass(slots=True)
class CheckpointSaving:
    """The model is about to be taken for a checkpoint. No training step runs meanwhile."""

    session: Session
    """The session whose variables are to be saved."""
    global_step: int | None
    """The step they belong to; None without a global step."""
    refused: str | None = None
    """Why the model must not be saved, as set by a receiver; None to save it."""


@dataclass(slots=True)
class CheckpointSaved:
    """A checkpoint is complete and visible."""

    session: Session
    """The session whose variables were saved."""
    path: str
    """The checkpoint's prefix, as `tf.compat.v1.train.Saver.restore` takes it."""
    global_step: int | None
    """The step it holds; None without a global step."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The metrics reported so far, and those that the checkpoints are kept by, at this step."""


@dataclass(slots=True)
class SessionLost:
    """A worker or a parameter server went away, and the session with it: told before its `Stop`."""

    error: BaseException
    """What a step or a service ran into, a `hookrun.SessionLostError`; each run of the session raises it."""


@dataclass(slots=True)
class SessionRecovered:
    """`Supervisor.train` goes on in a new session: told after its `SessionCreated`."""

    session: Session
    """The new session."""
    global_step: int | None
    """The step it goes on from; None without a global step."""
    how: Literal["adopted", "restored", "initialized"]
    """Where its model comes from: that of the parameter servers as it was, a checkpoint, or the beginning."""
    steps_lost: int | None
    """The steps from where its model comes from to the last one that this process knew of, whatever other
    workers have trained meanwhile; None without a global step."""


@dataclass(slots=True)
class SessionRestored:
    """The training goes on from another step than its last one: an older checkpoint was restored."""

    session: Session
    """The session of the training."""
    global_step: int
    """The step that it goes on from; without a global step, the steps counted so far."""
    last_step: int
    """The step that it had reached before."""
    checkpoint: str | None
    """The prefix of what `Supervisor.restore` restored; None where it was done in another way."""


@dataclass(slots=True)
class Stop:
    """The session ends. The services have stopped; the session is still open."""

    session: Session
    """The session that ends."""
    error: BaseException | None
    """The first error of the session; None at a clean end."""

    @property
    def clean(self) -> bool:
        """True when the training ended as intended: no error, or one of `INTERRUPTS`."""
        return self.error is None or isinstance(self.error, INTERRUPTS)
