"""PreemptionHook: what a signal does to a training, seen from inside and from the parent process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals

PRELUDE = """
import os, signal, sys, threading
import tensorflow as tf
import hookrun
from hookrun import hooks, signals
from hookrun.testing import FakeClock

def say(what):
    print(what, flush=True)

def step_that(does, at):
    '''A training step that calls `does` from within, on TensorFlow's thread, in its `at`-th run.'''
    runs = []
    def body():
        runs.append(1)
        if len(runs) == at:
            does()
    step = tf.compat.v1.train.get_or_create_global_step()
    with tf.control_dependencies([tf.compat.v1.py_func(body, [], [])]):
        return tf.compat.v1.assign_add(step, 1)

def supervisor(*more, hook=hooks.PreemptionHook()):
    given = [hook] if hook else []
    return hookrun.Supervisor(
        logdir=sys.argv[1], save_model_secs=0, save_model_steps=1000, save_summaries_secs=0,
        stop_grace_secs=10, hooks=[*given, *more])

tf.compat.v1.disable_eager_execution()
"""


@pytest.fixture
def program(tmp_path):
    """Start a program as a process of its own, which says on its standard output how far it is."""
    started = []

    def start(text, *, shell=None):
        path = tmp_path / "program.py"
        path.write_text(PRELUDE + text)
        command = [sys.executable, str(path), str(tmp_path / "run")]
        if shell is not None:
            command = ["sh", "-c", shell, "sh", *command]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def hear(process, expected):
    """Read the next line of the process, which is what is expected."""
    line = process.stdout.readline().strip()
    assert line == expected, process.stderr.read() if not line else line


def newest_checkpoint(tmp_path):
    return os.path.basename(tf.train.latest_checkpoint(str(tmp_path / "run")) or "none")


class TestTheProcess:
    def test_sigterm_in_a_step_finishes_it_saves_it_and_ends_with_143(self, program, tmp_path):
        process = program("""
def wait():
    say("in step 3")
    sv.wait_for_stop()

train_op = step_that(wait, at=3)
sv = supervisor()
with sv.managed_session() as sess:
    while True:
        sess.run(train_op)
""")
        hear(process, "in step 3")
        process.terminate()
        assert process.wait(60) == 143
        assert newest_checkpoint(tmp_path) == "model.ckpt-3"

    def test_sigterm_between_steps_is_143_for_a_shell_and_a_loop_that_asks_ends_by_itself(
        self, program, tmp_path
    ):
        process = program(
            """
train_op = step_that(None, at=-1)
sv = supervisor()
with sv.managed_session() as sess:
    for _ in range(5):
        sess.run(train_op)
    say(os.getpid())
    while not sv.should_stop():
        sv.wait_for_stop()
    say("loop ended")
say("not reached")
""",
            shell='"$@"; echo status $?',
        )
        os.kill(int(process.stdout.readline()), signal.SIGTERM)
        hear(process, "loop ended")
        hear(process, "status 143")
        assert newest_checkpoint(tmp_path) == "model.ckpt-5"

    def test_ctrl_c_ends_as_without_the_hook_but_only_after_the_step(self, program, tmp_path):
        process = program("""
def wait():
    say("in step 2")
    sv.wait_for_stop()

train_op = step_that(wait, at=2)
sv = supervisor()
with sv.managed_session() as sess:
    while True:
        sess.run(train_op)
""")
        hear(process, "in step 2")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert process.stderr.read().rstrip().endswith("KeyboardInterrupt")
        assert newest_checkpoint(tmp_path) == "model.ckpt-2"

    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_signal_ends_a_stop_that_hangs(self, program, second):
        process = program("""
class Hangs(hooks.Hook):
    def on_stop(self, supervisor, event):
        clock.advance(0.5)
        say("hangs")
        threading.Event().wait()

clock = FakeClock()
train_op = step_that(None, at=-1)
sv = supervisor(Hangs(), hook=hooks.PreemptionHook(clock=clock))
with sv.managed_session() as sess:
    sess.run(train_op)
    say("training")
    while True:
        sess.run(train_op)
""")
        hear(process, "training")
        process.terminate()
        hear(process, "hangs")
        process.send_signal(second)
        assert process.wait(10) == -second

    def test_what_comes_within_half_a_second_is_one_signal_for_the_programs_handler_too(
        self, program, tmp_path
    ):
        process = program("""
calls = []
signal.signal(signal.SIGTERM, lambda *_: calls.append(1))
clock = FakeClock()
train_op = step_that(None, at=-1)
sv = supervisor(hook=hooks.PreemptionHook(clock=clock))
with sv.managed_session() as sess:
    for _ in range(3):
        sess.run(train_op)
    os.kill(os.getpid(), signal.SIGTERM)
    sv.wait_for_stop()
    clock.advance(0.49)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    say(f"goes on, {len(calls)} call")
    sess.run(train_op)
""")
        hear(process, "goes on, 1 call")
        assert process.wait(60) == 143
        assert newest_checkpoint(tmp_path) == "model.ckpt-3"

    def test_what_is_one_signal_with_that_of_the_end_does_not_come_after_it(self, program, tmp_path):
        process = program("""
class SignalledAtTheEnd(hooks.Hook):
    priority = 1999

    def on_stop(self, supervisor, event):
        os.kill(os.getpid(), signal.SIGTERM)

def wait(secs):
    say(f"waits for {secs:.2f} s")
    os.kill(os.getpid(), signal.SIGTERM)

hooks.preemption.time.sleep = wait
clock = FakeClock()
train_op = step_that(None, at=-1)
sv = supervisor(SignalledAtTheEnd(), hook=hooks.PreemptionHook(clock=clock))
with sv.managed_session() as sess:
    sess.run(train_op)
""")
        hear(process, "waits for 0.50 s")
        assert process.wait(60) == 143
        assert newest_checkpoint(tmp_path) == "model.ckpt-1"

    def test_a_second_signal_does_not_wait_for_what_the_first_does(self, program):
        process = program("""
import logging

class Hangs(logging.Handler):
    def emit(self, record):
        clock.advance(0.5)
        say("hangs")
        threading.Event().wait()

logging.getLogger("hookrun.hooks.preemption").addHandler(Hangs())
clock = FakeClock()
train_op = step_that(None, at=-1)
sv = supervisor(hook=hooks.PreemptionHook(clock=clock))
with sv.managed_session() as sess:
    say("training")
    while True:
        sess.run(train_op)
""")
        hear(process, "training")
        process.terminate()
        hear(process, "hangs")
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM

    BLOCKED = """
empty = tf.compat.v1.FIFOQueue(1, tf.int64, shapes=[()])
step = tf.compat.v1.train.get_or_create_global_step()

def wait():
    say("dequeues")

with tf.control_dependencies([tf.compat.v1.py_func(wait, [], [])]):
    trigger = tf.identity(0)
with tf.control_dependencies([trigger]):
    taken = empty.dequeue()
train_op = tf.compat.v1.assign_add(step, taken)
clock = FakeClock()
sv = supervisor(hook=hooks.PreemptionHook(clock=clock))

def watch():
    sv.wait_for_stop()
    clock.advance(0.5)
    say("should stop")
    THEN

with sv.managed_session() as sess:
    threading.Thread(target=watch, daemon=True).start()
    sess.run(train_op)
"""

    def test_a_step_that_waits_for_input_is_told_to_stop_and_killed_by_the_second_signal(self, program):
        process = program(self.BLOCKED.replace("THEN", "pass"))
        hear(process, "dequeues")
        process.terminate()
        hear(process, "should stop")
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM

    def test_a_step_that_waits_for_input_ends_with_the_session(self, program):
        process = program(self.BLOCKED.replace("THEN", "sess.close()"))
        hear(process, "dequeues")
        process.terminate()
        hear(process, "should stop")
        status = process.wait(60)
        assert status == 143, process.stderr.read()

    def test_a_step_that_waits_for_a_queue_runner_ends_with_it_and_is_saved(self, program, tmp_path):
        process = program("""
import threading
ready = threading.Event()
def slow():
    ready.wait()
    say("dequeues")
    sv.wait_for_stop()
    return 1

queue = tf.compat.v1.FIFOQueue(1, tf.int64, shapes=[()])
enqueue = queue.enqueue(tf.compat.v1.py_func(slow, [], tf.int64))
tf.compat.v1.train.add_queue_runner(tf.compat.v1.train.QueueRunner(queue, [enqueue]))
step = tf.compat.v1.train.get_or_create_global_step()
train_op = tf.compat.v1.assign_add(step, queue.dequeue())
sv = supervisor()
with sv.managed_session() as sess:
    ready.set()
    while True:
        sess.run(train_op)
""")
        hear(process, "dequeues")
        process.terminate()
        assert process.wait(60) == 143
        assert newest_checkpoint(tmp_path) in ("model.ckpt-0", "model.ckpt-1")

    def test_without_the_hook_a_signal_does_what_it_does_by_default(self, program):
        process = program("""
train_op = step_that(None, at=-1)
sv = supervisor(hook=None)
with sv.managed_session() as sess:
    sess.run(train_op)
    say("training")
    while True:
        sess.run(train_op)
""")
        hear(process, "training")
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM

    def test_without_the_hook_the_programs_own_handler_is_intact(self, program):
        process = program("""
received = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: received.set())
train_op = step_that(None, at=-1)
sv = supervisor(hook=None)
with sv.managed_session() as sess:
    sess.run(train_op)
    say("training")
    received.wait()
    sess.run(train_op)
    say("still training")
""")
        hear(process, "training")
        process.terminate()
        hear(process, "still training")
        assert process.wait(60) == 0

    def test_a_child_process_dies_alone_and_does_not_hold_up_the_end(self, program, tmp_path):
        process = program("""
def fork():
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    return child

train_op = step_that(None, at=-1)
sv = supervisor()
with sv.managed_session() as sess:
    first, second = fork(), fork()
    os.kill(first, signal.SIGTERM)
    say(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
    for _ in range(5):
        sess.run(train_op)
say("ended")
os.kill(second, signal.SIGTERM)
say(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))
""")
        hear(process, "-15")
        hear(process, "ended")
        hear(process, "-15")
        assert process.wait(60) == 0
        assert newest_checkpoint(tmp_path) == "model.ckpt-5"


def supervised(tmp_path, *more, signal_numbers=(signal.SIGTERM, signal.SIGINT)):
    return hookrun.Supervisor(
        logdir=tmp_path / "run",
        save_model_secs=0,
        save_model_steps=1000,
        save_summaries_secs=0,
        stop_grace_secs=10,
        hooks=[hooks.PreemptionHook(signal_numbers), *more],
    )


def train_until_interrupted(sv, model, number, steps=2):
    """Train, send this process a signal, and train on until the next step raises."""
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)
        os.kill(os.getpid(), number)
        sv.wait_for_stop()
        sess.run(model.train_op)


@pytest.fixture
def handled():
    """Handle signals in a way of the test's own; afterwards everything is as it was."""
    before = {}

    def handle(number, handler):
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def everything_is_put_back():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    wakeup_fd = signal.set_wakeup_fd(-1)
    assert wakeup_fd == -1


class TestTheTraining:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
    def test_the_exit_status_is_128_and_the_signals_number(self, model, tmp_path, number):
        with pytest.raises(SystemExit) as raised:
            train_until_interrupted(supervised(tmp_path, signal_numbers=[number]), model, number)
        assert raised.value.code == 128 + number
        assert newest_checkpoint(tmp_path) == "model.ckpt-2"

    def test_stop_raises_it_without_a_managed_session(self, model, tmp_path):
        sv = supervised(tmp_path)
        sess = sv.prepare_or_wait_for_session()
        sess.run(model.train_op)
        os.kill(os.getpid(), signal.SIGTERM)
        sv.wait_for_stop()
        with pytest.raises(SystemExit):
            sv.stop()
        sess.close()
        assert newest_checkpoint(tmp_path) == "model.ckpt-1"

    def test_the_log_says_which_signal_stopped_it(self, model, tmp_path, caplog):
        with caplog.at_level(logging.WARNING, "hookrun"), pytest.raises(SystemExit):
            train_until_interrupted(supervised(tmp_path), model, signal.SIGTERM)
        assert "SIGTERM received" in caplog.text
        assert "ERROR" not in caplog.text

    def test_one_session_after_the_other_each_with_a_signal_or_none(self, model, tmp_path):
        sv = supervised(tmp_path)
        for steps in (1, 2):
            with pytest.raises(SystemExit):
                train_until_interrupted(sv, model, signal.SIGTERM, steps)
            with sv.managed_session() as sess:
                sess.run(model.train_op)
        assert newest_checkpoint(tmp_path) == "model.ckpt-5"

    def test_a_signal_in_the_final_save_lets_it_finish_and_is_not_lost(self, model, tmp_path):
        class SignalledAtTheEnd(hooks.Hook):
            def on_stop(self, supervisor, event):
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(SystemExit) as raised:
            with supervised(tmp_path, SignalledAtTheEnd()).managed_session() as sess:
                sess.run(model.train_op)
        assert raised.value.code == 143
        assert newest_checkpoint(tmp_path) == "model.ckpt-1"

    def test_a_signal_while_the_session_is_created_ends_it_before_any_step(self, model, tmp_path):
        class SignalledAtTheStart(hooks.Hook):
            priority = 3000

            def on_session_created(self, supervisor, event):
                os.kill(os.getpid(), signal.SIGTERM)
                supervisor.wait_for_stop()

        with pytest.raises(SystemExit), supervised(tmp_path, SignalledAtTheStart()).managed_session():
            pytest.fail("the block was entered")
        assert newest_checkpoint(tmp_path) == "none"

    def test_an_error_in_the_last_step_outranks_the_signal_and_nothing_is_saved(self, model, tmp_path):
        class Diverged(hooks.Hook):
            def on_step(self, supervisor, event):
                os.kill(os.getpid(), signal.SIGTERM)
                supervisor.wait_for_stop()
                raise ValueError("loss is NaN")

        with pytest.raises(ValueError, match="loss is NaN"):
            with supervised(tmp_path, Diverged()).managed_session() as sess:
                while True:
                    sess.run(model.train_op)
        assert newest_checkpoint(tmp_path) == "none"

    def test_an_error_of_the_loop_outranks_the_signal_and_nothing_is_saved(self, model, tmp_path):
        sv = supervised(tmp_path)
        with pytest.raises(ZeroDivisionError), sv.managed_session() as sess:
            sess.run(model.train_op)
            os.kill(os.getpid(), signal.SIGTERM)
            sv.wait_for_stop()
            raise ZeroDivisionError
        assert newest_checkpoint(tmp_path) == "none"

    def test_an_error_in_the_final_save_outranks_the_signal(self, model, tmp_path):
        class Broken(hooks.CheckpointHook):
            def on_stop(self, supervisor, event):
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            train_until_interrupted(supervised(tmp_path, Broken()), model, signal.SIGTERM)

    def test_it_comes_while_the_interrupted_code_holds_the_locks_that_stopping_takes(self, model, tmp_path):
        lock = threading.Lock()

        class Logging(logging.Handler):
            def emit(self, record):
                with lock:
                    pass

        logger, handler = logging.getLogger("hookrun"), Logging()
        logger.addHandler(handler)
        sv = supervised(tmp_path)
        try:
            with pytest.raises(SystemExit), sv.managed_session() as sess:
                with lock, sv.coord._report_lock:
                    os.kill(os.getpid(), signal.SIGTERM)
                    assert not sv.should_stop()
                sv.wait_for_stop()
                sess.run(model.train_op)
        finally:
            logger.removeHandler(handler)

    def test_a_session_on_another_thread_is_refused(self, model, tmp_path):
        sv, raised = supervised(tmp_path), []

        def train():
            try:
                with sv.managed_session():
                    pass
            except RuntimeError as error:
                raised.append(str(error))

        thread = threading.Thread(target=train, name="trainer")
        thread.start()
        thread.join()
        assert len(raised) == 1
        assert "on the main thread" in raised[0] and raised[0].endswith("made on trainer")


class TestOtherHandlers:
    def test_the_programs_own_is_called_on_the_main_thread_and_put_back(self, model, tmp_path, handled):
        calls = []

        def own(number, frame):
            calls.append((number, threading.current_thread() is threading.main_thread(), frame is not None))

        handled(signal.SIGTERM, own)
        with pytest.raises(SystemExit):
            train_until_interrupted(supervised(tmp_path), model, signal.SIGTERM)
        assert calls == [(signal.SIGTERM, True, True)]
        assert signal.getsignal(signal.SIGTERM) is own
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(calls) == 2

    def test_one_that_exits_does_so_with_its_own_status_after_the_final_save(self, model, tmp_path, handled):
        handled(signal.SIGTERM, lambda *_: sys.exit(3))
        with pytest.raises(SystemExit) as raised:
            train_until_interrupted(supervised(tmp_path), model, signal.SIGTERM)
        assert raised.value.code == 3
        assert newest_checkpoint(tmp_path) == "model.ckpt-2"

    def test_an_ignored_signal_stays_ignored(self, model, tmp_path, handled):
        handled(signal.SIGINT, signal.SIG_IGN)
        with supervised(tmp_path).managed_session() as sess:
            os.kill(os.getpid(), signal.SIGINT)
            sess.run(model.train_op)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def test_one_that_the_program_installs_meanwhile_is_left_alone(self, model, tmp_path, handled):
        def later(number, frame):
            pass

        handled(signal.SIGTERM, signal.SIG_DFL)
        with supervised(tmp_path).managed_session():
            signal.signal(signal.SIGTERM, later)
        assert signal.getsignal(signal.SIGTERM) is later

    def test_an_event_loop_around_the_training_hears_of_the_signal_too(self, model, tmp_path):
        heard = []

        async def main():
            loop = asyncio.get_running_loop()
            received = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, received.set)
            with pytest.raises(SystemExit):
                train_until_interrupted(
                    supervised(tmp_path, signal_numbers=[signal.SIGUSR1]), model, signal.SIGUSR1
                )
            await asyncio.wait_for(received.wait(), 30)
            heard.append("in training")
            received.clear()
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(received.wait(), 30)
            heard.append("after it")
            loop.remove_signal_handler(signal.SIGUSR1)

        asyncio.run(main())
        assert heard == ["in training", "after it"]

    def test_a_library_that_takes_the_interpreters_wakeup_for_itself_does_not_make_it_deaf(
        self, model, tmp_path
    ):
        sv = supervised(tmp_path)
        mine, other = socket.socketpair()
        mine.setblocking(False)
        sv.on(signals.session_created, lambda *_: signal.set_wakeup_fd(mine.fileno()), priority=3000)
        with mine, other, pytest.raises(SystemExit):
            train_until_interrupted(sv, model, signal.SIGTERM)
        assert signal.set_wakeup_fd(-1) != -1


class TestArguments:
    @pytest.mark.parametrize("number", [signal.SIGKILL, 0, 1000, "SIGTERM", None])
    def test_what_cannot_be_handled_is_refused_by_name_and_value(self, number):
        with pytest.raises(ValueError, match=f"signal_numbers must be signals .* not {number!r}"):
            hooks.PreemptionHook([number])

    def test_one_number_alone_is_refused(self):
        with pytest.raises(ValueError, match="signal_numbers must be an iterable of signal numbers, not 15"):
            hooks.PreemptionHook(15)

    def test_none_at_all_is_refused(self):
        with pytest.raises(ValueError, match="signal_numbers must name at least one signal"):
            hooks.PreemptionHook([])
