"""Loop: hooks, checkpoints and summaries in a training loop of TensorFlow 2."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, TypeVar

import tensorflow as tf

from hookrun import events, signals
from hookrun.eager.data import Batches, DataPositions
from hookrun.eager.loop_runtime import LoopRuntime
from hookrun.eager.several_steps import CallsOfSteps
from hookrun.eager.training_step import LoopSession, StepFunction, StepInBlock
from hookrun.runtime.arguments import check_secs, check_steps
from hookrun.runtime.hook import Hook
from hookrun.runtime.session import Ending
from hookrun.runtime.subscriber import checked_hooks
from hookrun.runtime.timers import start_loop

__all__ = ["Loop"]

_logger = logging.getLogger(__name__)

_Function = TypeVar("_Function", bound=Callable[..., Any])

_END_OF_DATA = (StopIteration, tf.errors.OutOfRangeError)


class Loop(LoopRuntime):
    """Hooks, checkpoints and summaries in a training loop of your own, in TensorFlow 2.

    ```python
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    loop = hookrun.Loop(checkpoint, logdir="runs/digits", hooks=[hooks.NanGuardHook("loss")])

    @loop.training_step
    @tf.function
    def train_step(x, y):
        ...
        return {"loss": loss}

    with loop:
        for x, y in loop.batches(dataset):
            train_step(x, y)
    ```

    The block begins with what the newest intact checkpoint in `logdir` holds, and saves its last step at the
    end. It may be entered again, and goes on then. Its signals, hooks, checkpoints and event files are those
    of `hookrun.Supervisor`.

    Args:
      checkpoint: A `tf.train.Checkpoint` of all that the training changes: the model, the optimizer, metrics,
        generators of random numbers, and the iterator of the data where `batches` is not used. None to save
        nothing.
      logdir: Directory of the checkpoints and event files; made if missing. Chief only.
      hooks: Instances of `hookrun.hooks.Hook`, subscribed in this order. A standard hook among them takes the
        place of the default one.
      save_model_secs: Seconds between checkpoints; 0 for none. save_model_steps: Training steps between
      checkpoints, besides `save_model_secs`; 0 or None for none. save_summaries_secs: Seconds between
      summaries; 0 for none. save_summaries_steps: Training steps between summaries, besides
      `save_summaries_secs`; 0 or None for none. checkpoint_basename: The base name of the checkpoints.
      summary_writer: What the events are written with; None to write none. Defaults to a
        `hookrun.writers.EventFileWriter` in `logdir`.
      stop_grace_secs: Seconds that running threads are given to stop. global_step: An integer variable, such
      as `optimizer.iterations`, that is read at the beginning of the block
        and assigned before each save. None where the loop alone counts.
      is_chief: True for the task that saves and writes summaries.

    Raises:
      RuntimeError: If made inside a graph; see `hookrun.Supervisor`.
      TypeError, ValueError: If an argument is not what it should be; the message says which.
      OSError: If `logdir` cannot be made or written to.
    """

    USE_DEFAULT = 0
    """Passed for `summary_writer` to have the default."""

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint | None = None,
        *,
        logdir: str | os.PathLike[str] | None = None,
        hooks: Iterable[Hook] = (),
        save_model_secs: float = 600,
        save_model_steps: int | None = None,
        save_summaries_secs: float = 120,
        save_summaries_steps: int | None = None,
        checkpoint_basename: str = "model.ckpt",
        summary_writer: Any = USE_DEFAULT,
        stop_grace_secs: float = 120,
        global_step: Any = None,
        is_chief: bool = True,
    ) -> None:
        if not tf.executing_eagerly():
            raise RuntimeError("A Loop cannot be made inside a tf.Graph: hookrun.Supervisor trains a graph")
        if checkpoint is not None and not isinstance(checkpoint, tf.train.Checkpoint):
            raise TypeError(f"checkpoint must be a tf.train.Checkpoint or None, not {checkpoint!r}")
        super().__init__(
            checkpoint,
            global_step,
            is_chief=is_chief,
            logdir=logdir,
            checkpoint_basename=checkpoint_basename,
            save_summaries_secs=save_summaries_secs,
            save_summaries_steps=save_summaries_steps,
            save_model_secs=save_model_secs,
            save_model_steps=save_model_steps,
            stop_grace_secs=stop_grace_secs,
        )
        given = checked_hooks(hooks)
        self._open_event_log(summary_writer, _is_default(summary_writer))
        for hook in (*given, *self._default_hooks(given)):
            self._subscribe(hook)

    def training_step(self, function: _Function) -> _Function:
        """Make each call of `function` a training step. A decorator, above `@tf.function`.

        After each call `signals.step` is sent, on the thread that made it, with what `function` returned. A
        key that a hook fetches is looked up in it: in nested dictionaries, named tuples and dataclasses; a
        single number is called ``loss``.

        Args:
          function: A `tf.function`, or any other callable, such as a model's `train_on_batch`.

        Returns:
          A callable with the name, signature and attributes of `function`. Called outside of the ``with``
          block of the loop, it raises a `RuntimeError`; after an error in a hook or service, that error.

        Raises:
          TypeError: If `function` is not callable.
        """
        if not callable(function):
            raise TypeError(f"training_step must be given a function, not {function!r}")
        return StepFunction(function, self._running_session)  # type: ignore[return-value]

    @contextlib.contextmanager
    def step(self) -> Iterator[StepInBlock]:
        """Return a context manager whose block is one training step, where a step is no function.

        ```python
        with loop.step() as step:
            step.results = {"loss": model.train_on_batch(x, y)}
        ```

        Yields:
          An object whose `results` are what hooks are told.

        Raises:
          RuntimeError: If called outside of the ``with`` block of the loop.
          Exception: The error that stopped the training before it.
        """
        block = StepInBlock()
        with self._running_session("step").step() as done:
            yield block
            done(block.results, 1)

    def batches(self, dataset: tf.data.Dataset) -> Batches:
        """The batches of `dataset`, whose position is saved and restored with the checkpoints.

        ```python
        with loop:
            for x, y in loop.batches(dataset):
                train_step(x, y)
        ```

        They end at the end of the data, and when the training is to stop. A run that was restored goes on
        with the first batch that no step was made with. Where a program asks for batches several times, as in
        each epoch, it goes on in the same place of the same order.

        Args:
          dataset: A `tf.data.Dataset` whose iterator can be saved: not one with a `from_generator` or
            `py_function` in it, for which the first save fails.

        Returns:
          An iterator.

        Raises:
          RuntimeError: If called outside of the ``with`` block of the loop.
          TypeError: If `dataset` is none.
        """
        if not isinstance(dataset, tf.data.Dataset):
            raise TypeError(f"batches must be given a tf.data.Dataset, not {dataset!r}")
        self._running_session("batches")
        return self._data.batches(dataset)

    def train(
        self,
        step_fn: Callable[..., Any],
        data: Any,
        *,
        last_step: int | None = None,
        steps_per_call: int | Literal["auto"] = 1,
    ) -> None:
        """Call `step_fn` with each batch of `data` until their end, a stop, or `last_step`.

        Called outside of the ``with`` block of the loop, it enters it itself.

        With `steps_per_call`, several steps are made in one call of a `tf.function`, with the iterator
        inside, up to the next step at which a hook is due: schedules by steps stay exact, and a hook that is
        due at every step is told of every step. Schedules by seconds, timers and stops are met within about
        0.2 s: fewer steps are made in a call where they take long. Where steps cannot be made so, they are
        made one by one, which is logged.

        Args:
          step_fn: Called with the elements of a batch where it is a tuple, or else with the batch. What
            `training_step` returned, or a function, which is made one here.
          data: A `tf.data.Dataset`, whose position is then saved as that of `batches`; its iterator; or any
            iterable of batches.
          last_step: The step to end at; None to go on to the end of the data.
          steps_per_call: The number of steps in a call at most; "auto" for as many as may be.

        Raises:
          Exception: The first error of the training.
          TypeError, ValueError: If an argument is not what it should be; the message says which.
        """
        if not callable(step_fn):
            raise TypeError(f"step_fn must be callable with a batch, not {step_fn!r}")
        check_steps(last_step=last_step)
        if steps_per_call != "auto":
            check_steps(steps_per_call=steps_per_call)
        with contextlib.nullcontext() if self._session is not None else self:
            batches = self.batches(data) if isinstance(data, tf.data.Dataset) else iter(data)
            function = (
                step_fn if isinstance(step_fn, StepFunction) else StepFunction(step_fn, self._running_session)
            )
            session = self._running_session("train")
            CallsOfSteps(
                session, self.next_due, self.should_stop, function, batches, last_step, steps_per_call
            ).make()

    def run_every(
        self, interval_secs: float | None, target: Callable[..., object], *args: Any, **kwargs: Any
    ) -> threading.Thread:
        """Start a thread that calls a function periodically, until a stop is requested.

        It is waited for at the end of the ``with`` block. An exception stops the training.

        Args:
          interval_secs: Seconds between two calls, the first at once; None to call back to back.
          target: A callable object.
          *args, **kwargs: What it is called with.

        Returns:
          The started thread.

        Raises:
          ValueError: If `target` is not callable.
        """
        if not callable(target):
            raise ValueError(f"target must be callable, not {target!r}")
        signals.check_runs("target", target)
        if interval_secs is not None:
            check_secs(interval_secs=interval_secs)
        call = functools.partial(target, *args, **kwargs)
        return start_loop(self._coord, interval_secs, call, signals.receiver_name(target), self.context)

    def __enter__(self) -> Loop:
        if self._session is not None:
            raise RuntimeError("This loop is running already: its with block is entered once at a time")
        self._coord.clear_stop()
        self._event_log.reopen()
        checkpoint, step = self._restored()
        session = self._steps = LoopSession(self, step)
        self._data = DataPositions(lambda: session.last_step, self.should_stop, checkpoint)
        created = events.SessionCreated(session, step, True, checkpoint)
        self._begin(created, None if checkpoint is None else self._saved_hook_state(checkpoint))
        if self._coord.error is not None:
            self._end(Ending(self._stop_grace_secs, to_close=session))
        if self._is_chief and self._logdir is not None:
            self._start_services()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        ending = Ending(self._stop_grace_secs, to_close=self._session)
        if isinstance(error, _END_OF_DATA):
            self._coord.request_stop()
        elif isinstance(error, Exception):
            self._coord.request_stop(error)
        else:
            ending.interrupt = error
        self._end(ending)
        return isinstance(error, _END_OF_DATA)


def _is_default(value: Any) -> bool:
    return isinstance(value, int) and value == Loop.USE_DEFAULT
