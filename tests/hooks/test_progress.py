"""ProgressHook: lines where there is no terminal, and one bar where there is."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import termios

import pytest

import hookrun
from hookrun import hooks
from hookrun.testing import FakeClock, run_steps


def lines(steps, secs_per_step=0.5, logdir=None, **arguments):
    file, clock = io.StringIO(), FakeClock()
    hook = hooks.ProgressHook({"loss": "loss:0"}, file=file, clock=clock, **arguments)
    values = [{"loss": 1 / step} for step in range(1, steps + 1)]
    run_steps(hook, steps, values=values, clock=clock, secs_per_step=secs_per_step, logdir=logdir)
    return file.getvalue().splitlines()


class TestLines:
    def test_tell_the_share_of_the_steps_and_the_time_left(self):
        assert lines(4, last_step=8, every_steps=2) == [
            "25% 2/8 [00:01<00:03,  2.00 steps/s, loss 0.5]",
            "50% 4/8 [00:02<00:02,  2.00 steps/s, loss 0.25]",
        ]

    def test_go_on_over_a_restart(self, tmp_path):
        assert lines(2, last_step=8, every_steps=2, logdir=tmp_path)[0].startswith("25% 2/8")
        assert lines(2, last_step=8, every_steps=2, logdir=tmp_path) == [
            "50% 4/8 [00:01<00:02,  2.00 steps/s, loss 0.5]"
        ]
        assert lines(2, num_steps=4, every_steps=2, logdir=tmp_path)[0].startswith("75% 6/8 [00:01<00:01")

    def test_show_no_end_where_the_session_starts_behind_it(self, tmp_path):
        lines(30, last_step=40, every_steps=30, logdir=tmp_path)
        told = lines(4, last_step=20, every_steps=2, logdir=tmp_path)
        assert told == [
            "32 steps [00:01,  2.00 steps/s, loss 0.5]",
            "34 steps [00:02,  2.00 steps/s, loss 0.25]",
        ]

    def test_tell_the_share_of_the_time_with_the_step(self):
        assert lines(4, secs=8, secs_per_step=2, every_steps=2) == [
            "50% 4/8 s [00:04<00:04, step 2, loss 0.5]",
            "100% 8/8 s [00:08<00:00, step 4, loss 0.25]",
        ]

    def test_come_every_ten_seconds_and_at_the_end_without_a_schedule(self):
        told = lines(6, secs_per_step=4)
        assert [line.partition(" ")[0] for line in told] == ["3", "6"]
        assert [line.partition(" ")[0] for line in lines(4, secs_per_step=4)] == ["3", "4"]


@pytest.fixture
def terminal():
    """A pseudo terminal: what is written to, and what has been shown since the last time."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 100, 0, 0))
    with open(writer, "w", encoding="utf-8") as file:

        def shown():
            print("\0", end="", file=file, flush=True)
            text = ""
            while not text.endswith("\0"):
                text += os.read(reader, 1_000_000).decode()
            return text[:-1]

        yield file, shown
    os.close(reader)


def test_a_terminal_has_a_bar_on_one_line_that_is_closed_with_its_session(terminal):
    file, shown = terminal
    bar = hooks.ProgressHook({"loss": "loss:0"}, last_step=4, every_steps=1, file=file)
    for _ in range(2):
        run_steps(bar, 3, values=[{"loss": 1 / step} for step in range(1, 4)])
        (line, end) = shown().split("\n")
        assert re.search(r"\r *75%\|.*\| 3/4 \[.* steps/s, loss 0\.333333\]\r$", line)
        assert line.count("/4 [") >= 4
        assert end == ""


def test_a_terminal_that_does_not_know_its_size_has_a_bar_too(terminal):
    file, shown = terminal
    fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    run_steps(hooks.ProgressHook(last_step=4, every_steps=1, file=file), 4)
    assert re.search(r"\r100%\|.*\| 4/4 \[", shown())


def test_a_second_hook_writes_lines_above_the_bar(terminal):
    file, shown = terminal
    bar = hooks.ProgressHook(last_step=4, every_steps=1, file=file)
    other = hooks.ProgressHook(last_step=8, every_steps=2, file=file)
    run_steps(other, 4, others=[bar])
    text = shown()
    assert len(re.findall(r"[\r\n]25% 2/8 \[[^\r\n]*\]\r\n", text)) == 1
    assert not re.search(r"\|[^\r\n]*/8", text)


def rows(text):
    """What a terminal shows that `text` was written to."""
    screen, column = [[]], 0
    for character in text:
        if character in "\r\n":
            column = 0
            if character == "\n":
                screen.append([])
        else:
            screen[-1][column : column + 1] = character
            column += 1
    return ["".join(row).rstrip() for row in screen]


def test_what_is_logged_to_the_terminal_stands_above_the_bar(terminal, logger, monkeypatch):
    file, shown = terminal
    monkeypatch.setattr("sys.stderr", file)
    hookrun.log_to_console()
    bar = hooks.ProgressHook(last_step=3, every_steps=1)
    run_steps(bar, 3, others=[hooks.LoggingHook({}, every_steps=1, clock=FakeClock())])
    logger.info("after it")
    ready, *logged, shown_bar, after, end = rows(shown())
    assert "INFO hookrun.runtime.bus: Session ready at step 0" in ready
    # one row of the terminal each, with nothing before it and nothing left of the bar behind it
    logged = [line for line in logged if not line.endswith("Starting queue runners.")]
    expected = [f"INFO hookrun.hooks.logging: step {step}: (inf steps/s)" for step in (1, 2, 3)]
    assert [re.sub(r"^[-0-9]{10} [:,0-9]{12} ", "", line) for line in logged] == expected
    assert re.search(r"^100%\|.*\| 3/3 \[", shown_bar)
    assert after.endswith("INFO hookrun: after it") and end == ""
    assert [handler.stream for handler in logger.handlers if hasattr(handler, "stream")] == [file]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"values": ["loss"]}, TypeError, r"values must be a mapping of names to fetches, not \['loss'\]"),
        ({"last_step": 5, "secs": 3}, ValueError, "takes one of .* not {'last_step': 5, 'secs': 3}"),
        ({"num_steps": 0}, ValueError, "num_steps must be a positive number, not 0"),
        ({"secs": "3"}, ValueError, "secs must be a positive number, not '3'"),
        ({"every_steps": 0}, ValueError, "every_steps must be a positive number of steps, not 0"),
    ],
)
def test_other_arguments_are_refused_by_name_and_value(arguments, error, message):
    with pytest.raises(error, match=message):
        hooks.ProgressHook(**arguments)


@pytest.mark.parametrize("on_terminal", [False, True])
def test_the_rate_is_that_of_the_steps_since_the_training_went_back(model, tmp_path, terminal, on_terminal):
    file, clock = io.StringIO(), FakeClock()
    if on_terminal:
        file, read = terminal
    progress = hooks.ProgressHook(last_step=100, every_steps=10, file=file, clock=clock)
    checkpoints = hooks.CheckpointHook(at_steps=[10], background=False)
    sv = hookrun.Supervisor(
        logdir=tmp_path, hooks=[progress, checkpoints], save_model_secs=0, save_summaries_secs=0
    )
    with sv.managed_session() as sess:
        for step in range(60):
            clock.advance(0.5)
            sess.run(model.train_op)
            if step == 39:
                sv.restore(sess, f"{sv.save_path}-10")
    text = read() if on_terminal else file.getvalue()
    assert "30/100" in text and not re.search(r"-\d", text)
    if not on_terminal:
        assert text.splitlines()[-1].startswith("30% 30/100 [00:10<00:35,  2.00 steps/s")
