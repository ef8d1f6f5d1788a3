"""The managed session: a `tf.compat.v1.Session` whose training steps send `signals.step`."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, NoReturn

import tensorflow as tf

from hookrun import signals
from hookrun.events import INTERRUPTS
from hookrun.graph.plans import Plan, Variant
from hookrun.graph.prepared import InlineChoice, NotPreparable, Ran
from hookrun.graph.recovery import LOST, SessionLostError, call_while_answered, close_within, is_lost
from hookrun.graph.training_steps import TrainingSteps

__all__ = ["ManagedSession", "manage"]

Closes = Callable[["ManagedSession", BaseException | None], None]

_NOT_INLINE = InlineChoice(False)

_CLOSE_SECS, _CLOSE_LOST_SECS = 5.0, 0.5
"""How long the end of a remote session is waited for."""


class ManagedSession(tf.compat.v1.Session):
    """What `Supervisor.managed_session` yields: a session that knows which of its runs train.

    A `run()` that is a training step (see `hookrun.graph.steps`) carries the fetches of the hooks that are
    due, and sends `signals.step` after it. Every other run is TensorFlow's own, but for the hooks that see or
    change every run (see `Hook.before_run`). `make_callable` and `partial_run` go straight to TensorFlow:
    what they run is no training step, and no hook sees it.
    """

    _training_steps: TrainingSteps
    _closes: Closes
    _pid: int
    _thread: int
    _handled: BaseException | None = None
    """An error that the program was handling already when the session was made."""
    _was_closed = False
    _lost: SessionLostError | None = None
    _watch: Callable[[Callable[[], Any]], Any] | None = None
    _close_secs = _CLOSE_SECS
    _check_run: Callable[[bool], object]

    @property
    def last_step(self) -> int:
        """The step after the last training step that was counted or told to hooks; lower again where the
        training went back to an earlier one."""
        return self._training_steps.last_step

    @property
    def model_version(self) -> int:
        """Another number whenever runs of this session may have written variables of the model."""
        return self._training_steps.model_version

    def catch_up(self) -> None:
        """Have `last_step` count the training steps of which nobody heard."""
        if not self._was_closed:
            self._training_steps.catch_up(self)

    def go_on_from(self, step: int) -> None:
        """Have the training steps counted from `step` on."""
        self._training_steps.go_on_from(step)

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._was_closed

    @property
    def is_inherited(self) -> bool:
        """True in a forked child of the process that made it, which alone may end it."""
        return self._pid != os.getpid()

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """Run operations and evaluate tensors, as `tf.compat.v1.Session.run` does.

        Raises:
          Exception: For a training step, the error that stopped the training before it; for any run,
            what a hook raised in `before_run`. It is not run then.
          SessionLostError: If a task of the cluster went away; every later run raises it too.
        """
        steps = self._training_steps
        if steps.step_was_set:
            steps.look(self, steps.plan(fetches, feed_dict))
        run_hooks = steps.run_hooks
        if run_hooks.present:
            return run_hooks.run(self, self._run_and_tell, fetches, feed_dict, options, run_metadata)
        return self._run_and_tell(fetches, feed_dict, options, run_metadata)

    def _run_and_tell(
        self,
        fetches: Any,
        feed_dict: Any,
        options: Any,
        run_metadata: Any,
        after: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Run; `after` is called with the results, before `step` is sent, and returns the program's own."""
        steps = self._training_steps
        plan = steps.plan(fetches, feed_dict)
        if plan is None:
            self._check_run(False)
            with steps.writing(self, None):
                results = self._run_raw(fetches, feed_dict, options, run_metadata)
            return results if after is None else after(results)
        if not plan.writes:
            self._check_run(False)
            results, *_ = self._run_variant(plan.plain, _NOT_INLINE, feed_dict, options, run_metadata)
            return results if after is None else after(results)
        trains = bool(plan.step_ops)
        if trains and steps.coord.error is not None:
            steps.raise_pending_error()
        gate, holds, thread = steps.gate, steps.gate.holds, get_ident()
        own = holds.get(thread, 0)
        holds[thread] = (
            own + 1
        )  # as `with gate` does, which takes longer, and which an interrupt may come into
        try:
            if gate.closed and not own:
                gate.wait(thread)
            if not trains:
                self._check_run(True)
                with steps.writing(self, plan):
                    results, *_ = self._run_variant(plan.plain, _NOT_INLINE, feed_dict, options, run_metadata)
                return results if after is None else after(results)
            state, listeners = steps.listening
            if state is not signals.step.state:
                listeners = steps.listeners()
            if listeners is None:
                try:
                    results, *_ = self._run_variant(plan.plain, plan.inline, feed_dict, options, run_metadata)
                finally:
                    steps.has_written = True
                if after is not None:
                    results = after(results)
                steps.count()
                return results
            before = steps.last_step
            riders = (
                listeners.riders(steps.expected_step()) if listeners.are_scheduled else listeners.fetching
            )
            try:
                known_riders, variant = plan.latest
                if known_riders is not riders:
                    variant = plan.variant(riders)
                ran = self._run_variant(variant, plan.inline, feed_dict, options, run_metadata)
            except BaseException:
                for rider in riders:
                    rider.missed()
                raise
            finally:
                steps.has_written = True
            results, reads, values = ran
            if after is not None:
                results = after(results)
            steps.done(self, listeners, variant, results, reads, values, before)
            return results
        finally:
            if own:
                holds[thread] = own
            else:
                holds.pop(thread, None)  # an interrupted wait took it back
                if gate.closed:
                    gate.notify()

    def _run_variant(
        self, variant: Variant, inline: InlineChoice, feed_dict: Any, options: Any, run_metadata: Any
    ) -> Ran:
        """What running `variant` gives, from a prepared run where there can be one."""
        if options is None and run_metadata is None:
            prepared = variant.run or variant.prepared(self, feed_dict)
            if prepared is not None:
                try:
                    if inline.choice is None:
                        return inline.measured(prepared, feed_dict)
                    return prepared.run(feed_dict, inline.choice)
                except NotPreparable:  # because of a value that is fed
                    pass
                except LOST as error:
                    self._raise_lost(error)
        if variant.is_plain:
            return self._run_raw(variant.parts[0], feed_dict, options, run_metadata), [], []
        results, reads, values = self._run_raw(variant.parts, feed_dict, options, run_metadata)
        return results, reads, values

    def run_without_hooks(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Run as `tf.compat.v1.Session.run` does: no training step, and no hook sees it."""
        plan = self._training_steps.plan(fetches, feed_dict)
        if plan is not None and not plan.writes:
            return self._run_raw(fetches, feed_dict, options, run_metadata)
        with self._training_steps.writing(self, plan):
            return self._run_raw(fetches, feed_dict, options, run_metadata)

    def _run_raw(self, fetches: Any, feed_dict: Any, options: Any, run_metadata: Any) -> Any:
        try:
            if self._watch is None:
                return super().run(fetches, feed_dict, options, run_metadata)
            return self._watch(functools.partial(super().run, fetches, feed_dict, options, run_metadata))
        except LOST as error:
            self._raise_lost(error)

    @contextlib.contextmanager
    def runs_watched(self, silent: Callable[[], str], deadline: float) -> Iterator[None]:
        """In the block, Ctrl-C ends the wait for a run, and so does a task that does not answer.

        For the end of a session: TensorFlow would wait for ever for a server that is stopped. Each run is
        made on the thread ``hookrun-session-last-run``, which takes longer.

        Args:
          silent, deadline: As for `recovery.call_while_answered`.
        """

        def watch(run: Callable[[], Any]) -> Any:
            try:
                return call_while_answered("hookrun-session-last-run", run, silent, deadline)
            except INTERRUPTS:
                self._close_secs = _CLOSE_LOST_SECS
                raise

        steps, can_prepare = self._training_steps, self._training_steps.can_prepare
        steps.forget()
        self._watch = watch
        try:
            yield
        finally:
            self._watch, steps.can_prepare = None, can_prepare

    @contextlib.contextmanager
    def runs_checked(self, check: Callable[[bool], object]) -> Iterator[None]:
        """In the block, `check` is called before each run of the calling thread that is no training step.

        Args:
          check: Called with True where the run writes variables of the model, by restoring or initializing
            them too. What it raises, the run raises, which is not made then.
        """
        thread = get_ident()
        self._check_run = lambda changes_model: get_ident() == thread and check(changes_model)
        try:
            yield
        finally:
            self._check_run = _no_check

    def _raise_lost(self, error: tf.errors.OpError) -> NoReturn:
        """Raise what tells that the session is lost, if it is; from now on each run does."""
        if not self.sess_str or isinstance(error, SessionLostError) or not is_lost(error, self.graph):
            raise error
        lost = self._lost = self._lost or SessionLostError(error)
        self._close_secs = _CLOSE_LOST_SECS
        # A lost session may come to life again, when another one has taken its place.
        self.run = self.run_without_hooks = functools.partial(_raise, lost)  # type: ignore[method-assign]
        raise lost from error

    def make_callable(self, fetches: Any, feed_list: Any = None, accept_options: bool = False) -> Any:
        """Return a callable, as `tf.compat.v1.Session.make_callable` does. No hook sees its runs."""
        run = super().make_callable(fetches, feed_list, accept_options)
        if feed_list is None:
            plan = self._training_steps.plan(fetches, None)
            writes = plan is None or plan.writes
            return functools.partial(self._call_raw, run, plan, writes) if self.sess_str or writes else run

        def run_with_feeds(*values: Any, **options: Any) -> Any:
            feeds = dict(zip(feed_list, values, strict=False))
            return self.run_without_hooks(fetches, feeds, **options)

        return run_with_feeds

    def _call_raw(
        self, run: Callable[..., Any], plan: Plan | None, writes: bool, *args: Any, **kwargs: Any
    ) -> Any:
        if self._lost is not None:
            raise self._lost
        with self._training_steps.writing(self, plan) if writes else contextlib.nullcontext():
            try:
                if self._watch is None:
                    return run(*args, **kwargs)
                return self._watch(functools.partial(run, *args, **kwargs))
            except LOST as error:
                self._raise_lost(error)

    def partial_run(self, handle: Any, fetches: Any, feed_dict: Any = None) -> Any:
        """Continue a partial run, as `tf.compat.v1.Session.partial_run` does. No hook sees it."""
        with self._training_steps.writing(self, None):
            return super().partial_run(handle, fetches, feed_dict)

    def __exit__(self, exec_type: Any, exec_value: Any, exec_tb: Any) -> None:
        try:
            self._tell_of_closing(exec_value)
        finally:
            super().__exit__(exec_type, exec_value, exec_tb)

    def close(self) -> None:
        """Close the session, as `tf.compat.v1.Session.close` does.

        Where it was not ended by `Supervisor.stop`, it is ended first: hooks are told, and its last step is
        saved, unless it is closed while an error is handled. Another thread than the one that asked for the
        session only closes it, which breaks off its runs. In a forked child this does nothing.

        The end of a remote session is waited for 5 s at most, and that of a lost one 0.5 s, on the thread
        ``hookrun-session-close``: with a server that does not answer, TensorFlow's call blocks until it does.
        """
        if self.is_inherited:
            return
        error = sys.exc_info()[1]
        try:
            self._tell_of_closing(None if error is self._handled else error)
        finally:
            self._close()

    def _tell_of_closing(self, error: BaseException | None) -> None:
        if not self._was_closed and not self.is_inherited and get_ident() == self._thread:
            self._closes(self, error)

    def _close(self) -> None:
        self._training_steps.forget()
        self._handled = None
        was_closed, self._was_closed = self._was_closed, True
        if not self.sess_str:
            super().close()
        elif (
            not was_closed and not sys.is_finalizing()
        ):  # then no thread can be started, nor anything waited for
            close_within(self._close_secs, super().close)

    def __del__(self) -> None:
        if self.is_inherited:
            return
        self._closes = _not_told
        super().__del__()


def _not_told(session: ManagedSession, error: BaseException | None) -> None:
    """A session that nobody has any more was not closed by the program."""


def _no_check(changes_model: bool) -> None:
    """Any run may be made."""


def _raise(error: BaseException, *args: Any, **kwargs: Any) -> NoReturn:
    raise error


def manage(session: Any, steps: TrainingSteps, closes: Closes) -> ManagedSession:
    """Make `session`, as a session manager made it, a `ManagedSession`.

    Args:
      session: A `tf.compat.v1.Session`.
      steps: Its training steps.
      closes: Called with the session before it is closed, and with the error that it is closed for, if any.

    Raises:
      TypeError: If it is no `tf.compat.v1.Session`.
    """
    kind = type(session)
    if not isinstance(session, ManagedSession):
        if not isinstance(session, tf.compat.v1.Session):
            raise TypeError(f"session_manager must make a tf.compat.v1.Session, not {session!r}")
        managed: type = ManagedSession
        if kind is not tf.compat.v1.Session:
            managed = type(f"Managed{kind.__name__}", (ManagedSession, kind), {})
        session._pid = os.getpid()  # looked at when it is deleted, whatever happens here
        session.__class__ = managed
    managed_session: ManagedSession = session
    managed_session._training_steps, managed_session._closes = steps, closes
    managed_session._thread, managed_session._handled = get_ident(), sys.exc_info()[1]
    managed_session._check_run = _no_check
    own_run = super(ManagedSession, managed_session).run
    steps.can_prepare = getattr(own_run, "__func__", None) is tf.compat.v1.Session.run
    return managed_session
