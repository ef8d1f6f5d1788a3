"""What every test of hookrun has: a small model, and the check that no thread is left behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

BOUND_SECS = 30.0
"""How long a test waits for what must happen; reached only by a failing test."""


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert left == []


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    """Every test runs in a graph of its own, under TensorFlow 2's defaults."""
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def model(graph: tf.Graph) -> SimpleNamespace:
    """A linear model whose weights move towards 1, with a global step and a loss summary."""
    global_step = tf.compat.v1.train.get_or_create_global_step()
    weights = tf.compat.v1.get_variable("weights", [3], initializer=tf.compat.v1.zeros_initializer())
    loss = tf.reduce_sum((weights - 1.0) ** 2)
    tf.compat.v1.summary.scalar("loss", loss)
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.1)
    train_op = optimizer.minimize(loss, global_step=global_step)
    return SimpleNamespace(global_step=global_step, weights=weights, loss=loss, train_op=train_op)


@pytest.fixture
def wait_until() -> Callable[[threading.Event], None]:
    """Wait for an event that must come."""

    def wait(event: threading.Event) -> None:
        assert event.wait(BOUND_SECS), "what the test waits for did not happen"

    return wait


@pytest.fixture
def read_events() -> Callable[[Any], list[Any]]:
    """The events of all event files in a logdir, in the order in which TensorBoard reads them."""

    def read(logdir: Any) -> list[Any]:
        paths = sorted(logdir.glob("events.out.tfevents.*"))
        return [e for path in paths for e in tf.compat.v1.train.summary_iterator(str(path))]

    return read


@pytest.fixture
def when_logged() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Has a function called when a line is logged that holds a text, once, on the thread that logs it."""
    logger = logging.getLogger("hookrun")
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.INFO)

    class Calls(logging.Handler):
        def __init__(self, text: str, call: Callable[[], object]) -> None:
            super().__init__()
            self._text, self._call = text, call

        def emit(self, record: logging.LogRecord) -> None:
            if self._text in record.getMessage():
                logger.removeHandler(self)
                self._call()

    yield lambda text, call: logger.addHandler(Calls(text, call))
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture
def logger():
    """The logger of hookrun, put back as it was."""
    logger = logging.getLogger("hookrun")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers
