"""Coordinator: the first error, and which errors are none."""

from __future__ import annotations

import sys
import threading

import pytest
import tensorflow as tf

from hookrun.runtime.coordinator import Coordinator


@pytest.fixture
def coord() -> Coordinator:
    return Coordinator()


def test_it_is_tensorflows(coord):
    assert isinstance(coord, tf.train.Coordinator)


def test_an_exception_that_was_never_raised_is_kept_and_raised_by_join(coord):
    coord.request_stop(ValueError("never raised"))
    assert coord.should_stop()
    with pytest.raises(ValueError, match="never raised"):
        coord.join()


def test_an_exc_info_tuple_is_kept_and_raised_by_join(coord):
    try:
        raise KeyError("raised")
    except KeyError:
        coord.request_stop(sys.exc_info())
    with pytest.raises(KeyError, match="raised"):
        coord.join()


def test_the_first_error_is_the_one(coord):
    coord.request_stop(ValueError("first"))
    coord.request_stop(ValueError("second"))
    coord.fail(ValueError("third"))
    assert str(coord.error) == "first"


def test_the_end_of_input_is_clean(coord):
    coord.request_stop(tf.errors.OutOfRangeError(None, None, "end"))
    assert coord.should_stop()
    coord.join()


def test_the_end_of_input_is_an_error_where_no_input_ends(coord):
    coord.fail(tf.errors.OutOfRangeError(None, None, "a truncated checkpoint"))
    with pytest.raises(tf.errors.OutOfRangeError, match="a truncated checkpoint"):
        coord.join()


def test_a_failure_after_a_stop_request_is_raised(coord):
    coord.request_stop()
    coord.fail(ValueError("late"))
    with pytest.raises(ValueError, match="late"):
        coord.join()


def test_a_failure_outranks_an_interrupt_before_it(coord):
    coord.fail(SystemExit(143))
    coord.fail(ValueError("the last step"))
    coord.fail(KeyboardInterrupt())
    with pytest.raises(ValueError, match="the last step"):
        coord.join()


def test_what_a_thread_reports_after_an_interrupt_does_not(coord):
    coord.fail(SystemExit(143))
    coord.request_stop(ValueError("broken off"))
    with pytest.raises(SystemExit):
        coord.join()


def test_a_failure_after_a_join_stops_and_is_raised_by_the_next(coord):
    coord.join()
    coord.fail(ValueError("late"))
    assert coord.should_stop()
    with pytest.raises(ValueError, match="late"):
        coord.join()


def test_clear_stop_forgets_the_error(coord):
    coord.request_stop(ValueError("old"))
    coord.clear_stop()
    assert not coord.should_stop()
    assert coord.error is None


def test_what_is_no_exception_is_refused(coord):
    with pytest.raises(TypeError, match="'because'"):
        coord.request_stop("because")
    assert not coord.should_stop()


def test_it_knows_its_threads_until_they_are_joined(coord):
    thread = threading.Thread(target=lambda: None)
    coord.register_thread(thread)
    assert coord.threads == {thread}
    coord.request_stop()
    coord.join()
    assert coord.threads == set()
