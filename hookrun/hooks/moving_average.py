"""MovingAverageHook: keeps averages of the weights, and evaluates and saves with them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from hookrun import events
from hookrun.numeric import checked_number
from hookrun.runtime.graph_training import in_graph
from hookrun.runtime.hook import Hook
from hookrun.triggers import schedule

if TYPE_CHECKING:
    from hookrun.runtime.runtime import Runtime

__all__ = ["MovingAverageHook"]


class MovingAverageHook(Hook):
    """Averages the weights over the training steps, as `tf.train.ExponentialMovingAverage` does.

    ```python
    averages = hooks.MovingAverageHook(decay=0.999)

    def evaluate(session):
        with averages.swapped_in(session):
            return {"averaged loss": session.run(loss)}

    evaluation = hooks.EvaluationHook(evaluate, every_steps=50)
    sv = hookrun.Supervisor(logdir="runs/mine", hooks=[averages, evaluation])
    ```

    The training goes on with the weights themselves. The averages are variables of their own, saved and
    restored with each checkpoint; they begin as the weights do. Those of weights in half precision are
    float32, in which small updates are not lost. A checkpoint that was saved without this hook has none, and
    cannot be restored with it.

    They are updated after each training step that is due, in a run of its own on the thread of the step, with
    the rate ``min(decay, (1 + step) / (10 + step))``, so that they forget the first steps sooner; without a
    global step, with `decay`.

    Args:
      decay: How much of an average stays at each update, from 0 to 1; 0.999 averages about 1,000 updates.
      variables: The variables to average; None for the trainable ones.
      every_steps: Update at each multiple of this number of steps.
      every_secs: Update at the first step after each that many seconds.
      at_steps: Update at these steps.

    Raises:
      ValueError: If `decay` is not between 0 and 1, or a schedule not positive.
    """

    _only_in_graphs = "use an optimizer of Keras with use_ema=True"

    chief_only = True
    priority = -1  # the other hooks of a step find the averages updated

    def __init__(
        self,
        decay: float = 0.999,
        variables: Iterable[tf.Variable] | None = None,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        at_steps: Iterable[int] | None = None,
    ) -> None:
        self.trigger = schedule(every_steps=every_steps, every_secs=every_secs, at_steps=at_steps)
        self._decay = checked_number("decay", decay, "a number between 0 and 1", lambda n: 0 < n < 1)
        self._variables = None if variables is None else list(variables)
        self._swapped_out: dict[Any, Any] | None = None
        self._updating = threading.Lock()

    def setup_graph(self, runtime: Runtime) -> None:
        variables = self._variables
        if variables is None:
            variables = tf.compat.v1.trainable_variables()
        if not variables:
            raise ValueError(f"{self.name} needs variables to average, and the graph has no trainable ones")
        self._saver = tf.compat.v1.train.Saver(
            list({v.ref(): v for v in (*tf.compat.v1.global_variables(), *variables)}.values()),
            max_to_keep=None,
        )
        step = in_graph(runtime).global_step
        with tf.name_scope(self.name):
            self._update, averages = _averages(
                variables, self._decay, None if step is None else tf.reshape(step, [])
            )
            given = [tf.compat.v1.placeholder(v.dtype.base_dtype, v.shape) for v in variables]
            self._put_back = tf.group(
                *(tf.compat.v1.assign(v, g) for v, g in zip(variables, given, strict=True))
            )
            self._swap_in = tf.group(
                *(
                    tf.compat.v1.assign(v, tf.cast(a, v.dtype.base_dtype))
                    for v, a in zip(variables, averages, strict=True)
                )
            )
        self._reads = dict(zip(given, variables, strict=True))
        self._runtime = runtime

    def on_session_created(self, runtime: Runtime, event: events.SessionCreated) -> None:
        self._swapped_out = None

    def on_step(self, runtime: Runtime, event: events.Step) -> None:
        if self._swapped_out is not None:
            raise RuntimeError("a training step was run inside `swapped_in`: it trained the averages")
        with self._updating:  # two at once would each take the whole way to the weights: twice as far
            event.session.run(self._update)

    def on_stop(self, runtime: Runtime, event: events.Stop) -> None:
        if self._swapped_out is not None and not event.session.closed:  # an interrupt came in between
            self._swap_back(event.session)

    @contextlib.contextmanager
    def swapped_in(self, session: Any) -> Iterator[None]:
        """Inside the block the variables of the model hold the averages.

        No training step is run and no checkpoint saved by another thread meanwhile; at the end, also after an
        error, the variables are as before. Any thread may call this, also one that is told of a step. What
        computes summaries on a timer may see the averages.

        Args:
          session: The session of the training.

        Returns:
          A context manager.

        Raises:
          RuntimeError: If the averages are swapped in already.
        """
        with self._runtime.between_steps():
            if self._swapped_out is not None:
                raise RuntimeError("the averages are swapped in already")
            placeholders, variables = list(self._reads), list(self._reads.values())
            values = in_graph(self._runtime).run_without_hooks(session, variables)
            self._swapped_out = dict(zip(placeholders, values, strict=True))
            try:
                in_graph(self._runtime).run_without_hooks(session, self._swap_in)
                yield
            finally:
                self._swap_back(session)

    def save(self, session: Any, save_path: str) -> str:
        """Write a checkpoint of the model in which the averages are under the names of the variables.

        A `tf.compat.v1.train.Saver` restores it into the model without this hook. No ``checkpoint`` file is
        written. The values are those of one step; training waits meanwhile. Not to be called when told of a
        `checkpoint_saved`: the step that is waited for may itself wait for that.

        Args:
          session: The session of the training.
          save_path: The prefix of the checkpoint; its directory is made.

        Returns:
          The prefix.
        """
        with self._runtime.between_steps(), self._runtime.context():
            are_in = self._swapped_out is not None
            with contextlib.nullcontext() if are_in else self.swapped_in(session):
                path: str = self._saver.save(session, save_path, write_meta_graph=False, write_state=False)
        return path

    def _swap_back(self, session: Any) -> None:
        in_graph(self._runtime).run_without_hooks(session, self._put_back, self._swapped_out)
        self._swapped_out = None


def _averages(variables: Sequence[Any], decay: float, step: Any) -> tuple[Any, list[Any]]:
    """The op that updates the averages of `variables`, and the averages."""
    average = tf.train.ExponentialMovingAverage(decay, step)
    updates = [average.apply([v for v in variables if not _is_half(v)])]
    averages = []
    for variable in variables:
        if not _is_half(variable):
            averages.append(average.average(variable))
            continue
        of_half = _float32_average(variable, average.name)
        averages.append(of_half)
        rate: Any = decay
        if step is not None:
            made = tf.cast(step, tf.float32)
            rate = tf.minimum(decay, (1 + made) / (10 + made))
        change = (of_half - tf.cast(variable, tf.float32)) * (1 - rate)
        updates.append(tf.compat.v1.assign_sub(of_half, change))
    return tf.group(*updates), averages


def _is_half(variable: Any) -> bool:
    return variable.dtype.base_dtype in (tf.bfloat16, tf.float16)


def _float32_average(variable: Any, name: str) -> Any:
    """A variable that begins as `variable` does, where `tf.train.ExponentialMovingAverage` has its own."""
    with tf.device(variable.device):
        first = tf.compat.v1.cond(
            tf.compat.v1.is_variable_initialized(variable),
            variable.read_value,
            lambda: variable.initial_value,
        )
        return tf.compat.v1.get_variable(
            f"{variable.op.name}/{name}", initializer=tf.cast(first, tf.float32), trainable=False
        )
