"""What hookrun logs is silent until a program asks for it."""

from __future__ import annotations

import logging

import pytest

import hookrun
from hookrun import signals


@pytest.fixture
def logger():
    """The logger of hookrun, put back as it was."""
    logger = logging.getLogger("hookrun")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


def test_it_has_a_handler_that_says_nothing(logger):
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


def test_log_to_console_shows_who_is_called_in_which_order(model, logger, capsys):
    hookrun.log_to_console()
    hookrun.log_to_console()  # shows nothing twice
    sv = hookrun.Supervisor()
    sv.on(signals.step, lambda *_: None, name="second")
    sv.on(signals.step, lambda *_: None, name="first", priority=-1)
    with sv.managed_session() as sess:
        sess.run(model.train_op)
    shown = [line for line in capsys.readouterr().err.splitlines() if "Session ready" in line]
    assert len(shown) == 1 and "step: first, second" in shown[0]
    assert " INFO hookrun.supervisor: " in shown[0]


def test_a_further_call_changes_the_level(logger, capsys):
    hookrun.log_to_console()
    hookrun.log_to_console("ERROR")
    logging.getLogger("hookrun.test").warning("not shown")
    logging.getLogger("hookrun.test").error("shown")
    assert capsys.readouterr().err.count("shown") == 1


def test_what_is_no_level_is_refused(logger):
    with pytest.raises(ValueError, match="LOUD"):
        hookrun.log_to_console("LOUD")
