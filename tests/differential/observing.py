"""What the programs share: a model, waiting for a condition, and what can be seen of a run from outside."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf

tf1 = tf.compat.v1
SessionLog = tf1.SessionLog

DEADLINE_SECS = 10


class Model(NamedTuple):
    """A model with one variable that grows by one in each training step."""

    train_op: tf.Operation
    weight: tf.Variable
    step: tf.Variable


def counting_model(**variable_args: Any) -> Model:
    """Add to the default graph: a global step, `weight` that starts at 1, its summary, a train op."""
    step = tf1.train.get_or_create_global_step()
    weight = tf1.get_variable("weight", initializer=1.0, **variable_args)
    tf1.summary.scalar("weight_now", weight)
    with tf.control_dependencies([tf1.assign_add(weight, 1.0)]):
        train_op = tf1.assign_add(step, 1).op
    return Model(train_op, weight, step)


def until(condition: Callable[[], Any], secs: float = DEADLINE_SECS) -> None:
    """Wait for a condition, and say so when it does not come about."""
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {secs} s")
        time.sleep(0.005)


@contextmanager
def catching() -> Iterator[list[list[str]]]:
    """Collect what the block raises, as a list of at most one [type, text]."""
    errors: list[list[str]] = []
    try:
        yield errors
    except BaseException as error:
        errors.append(described(error))


def described(error: BaseException) -> list[str]:
    """Return type and text of an error; that of an op without where in the program the op was made."""
    text = str(error)
    if isinstance(error, tf.errors.OpError):
        found = re.search(r"^Node: .*\n(.*)", text, re.MULTILINE)
        text = found[1] if found else text.splitlines()[0]
    return [type(error).__qualname__, text]


def raised(action: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str] | None:
    """Return [type, text] of what the call raises, or None."""
    with catching() as errors:
        action(*args, **kwargs)
    return errors[0] if errors else None


def files(logdir: str) -> list[str]:
    """List the files below the directory; event files without time and host, and hence once."""
    found = set()
    for folder, _, names in os.walk(logdir):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), logdir)
            found.add(re.sub(r"events\.out\.tfevents\..*", "events.out.tfevents", path))
    return sorted(found)


def checkpoints(logdir: str) -> list[str]:
    """List the checkpoints that the state file names, oldest first."""
    state = tf1.train.get_checkpoint_state(logdir)
    return [os.path.basename(path) for path in state.all_model_checkpoint_paths] if state else []


def saved(checkpoint: str) -> dict[str, Any]:
    """Return the variables in a checkpoint."""
    reader = tf1.train.NewCheckpointReader(checkpoint)
    return {name: reader.get_tensor(name).tolist() for name in sorted(reader.get_variable_to_shape_map())}


def events(logdir: str) -> list[list[Any]]:
    """Return the events of each event file, in the order in which the files were begun."""
    return sorted(
        (list(_readable(path)) for path in glob.glob(os.path.join(logdir, "*tfevents*"))),
        key=lambda found: found[0].wall_time if found else 0.0,
    )


def _readable(path: str) -> Iterator[Any]:
    try:
        yield from tf1.train.summary_iterator(path)
    except tf.errors.DataLossError:
        return  # the record is still being written


def streams(logdir: str) -> list[list[str]]:
    """Return each event file as lines; those of concurrent services sorted, repeats dropped."""
    result = []
    for found in events(logdir):
        lines: list[str] = []
        concurrent: set[str] = set()
        for event in found:
            line = _line(event)
            if line.startswith(("CHECKPOINT", "summary")):
                concurrent.add(line)
            else:
                lines += [*sorted(concurrent), line]
                concurrent = set()
        result.append(lines + sorted(concurrent))
    return result


def _line(event: Any) -> str:
    kind = event.WhichOneof("what")
    if kind == "file_version":
        return event.file_version
    if kind == "session_log":
        log = event.session_log
        return f"{SessionLog.SessionStatus.Name(log.status)} {event.step} {log.checkpoint_path}".rstrip()
    if kind == "summary":
        return f"summary {event.step} " + " ".join(_value(value) for value in event.summary.value)
    return kind.replace("_", " ")


def _value(value: Any) -> str:
    return value.tag if value.tag.endswith("/sec") else f"{value.tag}={value.simple_value}"


def first_tick(sv: Any, logdir: str, *parts: str) -> None:
    """Wait until the newest event file holds lines that contain these parts, or a service failed."""

    def arrived() -> bool:
        if sv.should_stop():
            return True
        sv.summary_writer.flush()
        lines = [line for stream in streams(logdir)[-1:] for line in stream]
        return all(any(part in line for line in lines) for part in parts)

    until(arrived)


ALL_SERVICES = ("weight_now", "/sec", "CHECKPOINT")


def node_names(graph_def: Any) -> list[str]:
    """List the ops of a graph, without those that hookrun adds in its own name scope."""
    return sorted(node.name for node in graph_def.node if not node.name.startswith("hookrun/"))


def names_in(key: str, graph: tf.Graph | None = None) -> list[str]:
    """List the names of what a collection holds; a saver is named by its save op."""
    found = (graph or tf1.get_default_graph()).get_collection(key)
    return [name_of(item) for item in found]


def name_of(item: Any) -> Any:
    """Return the name of an op, tensor or variable, a saver's op names, or None."""
    if isinstance(item, tf1.train.Saver):
        saver_def = item.saver_def
        return [saver_def.filename_tensor_name, saver_def.save_tensor_name, saver_def.restore_op_name]
    return None if item is None else item.name


class RecordingWriter:
    """A summary writer of the user's own, that notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def add_summary(self, summary: Any, global_step: int | None = None) -> None:
        proto = summary if isinstance(summary, tf1.Summary) else tf1.Summary.FromString(summary)
        self.calls.append(f"summary {global_step} " + " ".join(_value(value) for value in proto.value))

    def add_session_log(self, session_log: Any, global_step: int | None = None) -> None:
        status = SessionLog.SessionStatus.Name(session_log.status)
        self.calls.append(f"{status} {global_step} {session_log.checkpoint_path}".rstrip())

    def add_graph(self, graph: Any, global_step: int | None = None) -> None:
        self.calls.append(f"add_graph {type(graph).__name__} {global_step}")

    def add_meta_graph(self, meta_graph_def: Any, global_step: int | None = None) -> None:
        self.calls.append(f"add_meta_graph {type(meta_graph_def).__name__} {global_step}")

    def reopen(self) -> None:
        self.calls.append("reopen")

    def close(self) -> None:
        self.calls.append("close")

    def in_order(self) -> list[str]:
        """Return the calls; those of concurrent services sorted."""
        lines: list[str] = []
        concurrent: set[str] = set()
        for call in self.calls:
            if call.startswith(("CHECKPOINT", "summary")):
                concurrent.add(call)
            else:
                lines += [*sorted(concurrent), call]
                concurrent = set()
        return lines + sorted(concurrent)


class FlushingWriter(RecordingWriter):
    """The same with `flush()`, which is not noted: when to flush is no part of the interface."""

    def flush(self) -> None:
        """Do nothing."""
