"""RunHooks: the hooks that see or change every run, as TensorFlow's SessionRunHooks do."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from hookrun.graph import tf_internals
from hookrun.graph.plans import leaves_of
from hookrun.runtime.bus import Bus
from hookrun.runtime.coordinator import Coordinator
from hookrun.runtime.hook import Hook
from hookrun.runtime.subscriber import Subscriber, overrides
from hookrun.runtime.subscriptions import Subscription
from hookrun.runtime.told import private
from hookrun.signals import Signal

__all__ = ["Run", "RunHooks", "run_subscriptions_of"]

_before_run = Signal("before_run")
"""Sent before each run of the program, on the thread that runs it."""

_after_run = Signal("after_run")
"""Sent after it, before `step` where it was a training step."""


def run_subscriptions_of(hook: Subscriber) -> Iterator[Subscription]:
    """The subscriptions that `hook` asks for by overriding `before_run` or `after_run`."""
    for signal, receiver in ((_before_run, _ask), (_after_run, _tell)):
        if overrides(hook, signal.name):
            yield Subscription(
                signal,
                functools.partial(receiver, hook),
                name=f"{hook.name}.{signal.name}",
                priority=hook.priority,
                on_error=hook.on_error,
            )


class RunHooks:
    """Passes the runs of one Supervisor's program through its hooks.

    Runs of the hooks themselves, of the services and of the queue runners are not the program's.

    Args:
      bus: Whose hooks they are.
      coord: The coordinator that a failing hook stops.
    """

    def __init__(self, bus: Bus, coord: Coordinator) -> None:
        self.present = False
        self._bus = bus
        self._coord = coord
        self._unseen_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def update(self, subscriptions: Iterable[Subscription]) -> None:
        """A hook was added or removed: these subscriptions are left."""
        left = tuple(subscriptions)  # at once: other threads subscribe meanwhile
        self.present = any(s.signal in (_before_run, _after_run) for s in left)

    def leave_out(self, thread: threading.Thread) -> None:
        """What `thread` runs is not the program's."""
        self._unseen_threads.add(thread)

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """What the calling thread runs inside the block is not the program's."""
        thread = threading.current_thread()
        if thread in self._unseen_threads:
            yield
            return
        self._unseen_threads.add(thread)
        try:
            yield
        finally:
            self._unseen_threads.discard(thread)

    def apart(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function`: what it runs is not the program's."""
        if not self.present:
            return function(*args)
        with self.unseen():
            return function(*args)

    def run(
        self,
        session: Any,
        make_run: Callable[..., Any],
        fetches: Any,
        feed_dict: Any,
        options: Any,
        run_metadata: Any,
    ) -> Any:
        """Make a run of `session`, through the hooks where it is the program that runs.

        Args:
          session: The session.
          make_run: Makes the run from the next four, and calls ``after(results)`` before `step` is sent.
          fetches, feed_dict, options, run_metadata: As for `Session.run`.

        Raises:
          Exception: What a hook raised in `before_run`: without its part, the run is not made.
        """
        if threading.current_thread() in self._unseen_threads:
            return make_run(fetches, feed_dict, options, run_metadata)
        with self.unseen():
            run = self.ask(Run(session, fetches, feed_dict, options, run_metadata))
            return make_run(*run.arguments(), after=functools.partial(self.tell, run))

    def ask(self, run: Run) -> Run:
        """Ask the hooks what they add to `run`, and return it with that.

        Raises:
          Exception: What a hook raised in `before_run`.
        """
        error, interrupt = _before_run.call_all(self._bus, run)
        if error is not None:  # logged by the signal
            self._coord.fail(error)
        first = interrupt or error
        if first is not None:
            raise first
        return run

    def tell(self, run: Run, results: list[Any]) -> Any:
        """Called with what the run returned, before `step` is sent: returns the program's own part."""
        own = run.take(results)
        self._bus.send(_after_run, run)
        if run.context.stop_requested:
            self._coord.request_stop()
        return own


class Run:
    """A run that passes through the hooks, with what they add to it."""

    def __init__(self, session: Any, fetches: Any, feed_dict: Any, options: Any, run_metadata: Any) -> None:
        args = tf.compat.v1.train.SessionRunArgs(fetches, feed_dict, options)
        self.context = tf.compat.v1.train.SessionRunContext(args, session)
        self._graph = session.graph
        self._fetches: dict[int, Any] = {}  # by the id of the hook
        self._results: dict[int, Any] = {}
        self._feeds: dict[Any, Any] = {}
        self._options = options
        self._run_metadata = run_metadata

    def add(self, hook: Hook, args: Any) -> None:
        """Add what `hook` wants, or nothing of it.

        Raises:
          RuntimeError: If it feeds what the program or another hook feeds.
          TypeError, ValueError: If it is not what `before_run` may return.
        """
        if not isinstance(args, tf.compat.v1.train.SessionRunArgs):
            raise TypeError(f"before_run must return a SessionRunArgs or None, not {args!r}")
        if args.fetches is not None:
            _check_fetches(self._graph, args.fetches)
        program_feeds = self.context.original_args.feed_dict
        for feeds, whose in ((program_feeds, "the program"), (self._feeds, "another hook")):
            if isinstance(feeds, Mapping) and args.feed_dict:
                twice = [key for key in args.feed_dict if key in feeds]
                if twice:
                    raise RuntimeError(f"{hook.name} feeds what {whose} feeds too: {twice}")
        if args.fetches is not None:
            self._fetches[id(hook)] = args.fetches
        self._feeds.update(args.feed_dict or {})
        if args.options:
            self._options = _merged(self._options, args.options)

    def arguments(self) -> tuple[Any, Any, Any, Any]:
        """The arguments of the run that is made: the program's fetches, then those of the hooks."""
        fetches, feed_dict, _ = self.context.original_args
        if self._options is not None and self._run_metadata is None:
            self._run_metadata = tf.compat.v1.RunMetadata()
        if self._feeds and (feed_dict is None or isinstance(feed_dict, Mapping)):
            feed_dict = {**self._feeds, **(feed_dict or {})}
        return [fetches, *self._fetches.values()], feed_dict, self._options, self._run_metadata

    def added(self) -> Any:
        """The fetches of the program and the hooks, and what else the hooks add, as `SessionRunArgs`."""
        fetches, *_ = self.arguments()
        return tf.compat.v1.train.SessionRunArgs(fetches, self._feeds, self._options)

    def made_with(self, options: Any, run_metadata: Any) -> None:
        """The run was made by another session, with these."""
        self._options, self._run_metadata = options, run_metadata

    def take(self, results: list[Any]) -> Any:
        """Keep the results of the hooks; return those of the program."""
        own, *others = results
        self._results = dict(zip(self._fetches, map(private, others), strict=True))
        if self._options is None:
            self._options = tf.compat.v1.RunOptions()
        if self._run_metadata is None:
            self._run_metadata = tf.compat.v1.RunMetadata()
        return own

    def values(self, hook: Hook) -> Any:
        """What `hook` is told after the run."""
        results = self._results.get(id(hook))
        return tf.compat.v1.train.SessionRunValues(results, self._options, self._run_metadata)


def _ask(hook: Any, supervisor: Any, run: Run) -> None:
    args = hook.before_run(run.context)
    if args is not None:
        run.add(hook, args)


def _tell(hook: Any, supervisor: Any, run: Run) -> Any:
    return hook.after_run(run.context, run.values(hook))


def _check_fetches(graph: tf.Graph, fetches: Any) -> None:
    try:
        for leaf in leaves_of(fetches):
            graph.as_graph_element(leaf)
    except (KeyError, TypeError, ValueError):
        if not tf_internals.can_prepare:
            raise
        tf_internals.fetch_handler(graph, fetches)  # of a kind that only TensorFlow knows, or it says why not


def _merged(options: Any, others: Any) -> Any:
    """Both, as `tf.compat.v1.train.MonitoredSession` merges them: the larger number, any flag."""
    merged = tf.compat.v1.RunOptions()
    if options is not None:
        merged.CopyFrom(options)
    for name in (
        "trace_level",
        "timeout_in_ms",
        "inter_op_thread_pool",
        "output_partition_graphs",
        "report_tensor_allocations_upon_oom",
    ):
        setattr(merged, name, max(getattr(merged, name), getattr(others, name)))
    debug, more = merged.debug_options, others.debug_options
    debug.debug_tensor_watch_opts.extend(more.debug_tensor_watch_opts)
    debug.reset_disk_byte_usage = debug.reset_disk_byte_usage or more.reset_disk_byte_usage
    return merged
