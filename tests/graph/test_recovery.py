"""Lost sessions, with a worker in this process and a parameter server in another one that is killed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks, signals
from hookrun.graph import recovery, session_maker, tasks
from hookrun.graph.recovery import Recoveries, SessionLostError, call_within
from hookrun.testing import RecordingHook
from tests.cluster.processes import ROOT, Process, free_ports

v1 = tf.compat.v1


class Cluster:
    """A worker in this process, and parameter servers that are started and killed."""

    def __init__(self, nursery):
        self._nursery = nursery
        ps, *workers = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self.spec = {"ps": [ps], "worker": workers}
        self.worker = tf.distribute.Server(self.spec, "worker", 0)
        self.config = v1.ConfigProto(device_filters=["/job:ps", "/job:worker/task:0"])
        self.pid = None

    @property
    def ps(self):
        return self.spec["ps"][0]

    @property
    def master(self):
        return {"master": self.worker.target, "config": self.config}

    def start_ps(self):
        if self.pid is not None:
            return
        self._nursery.stdin.write(f"ps 0 {json.dumps(self.spec)}\n")
        self.pid = int(self._nursery.stdout.readline())

    def kill_ps(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # once it is gone, and its port is free
                while True:
                    os.kill(self.pid, 0)
                    time.sleep(0.001)
            self.pid = None


def blocked_threads():
    """Those that wait in TensorFlow for a server; they end when it is there."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("hookrun-session")]


@pytest.fixture(scope="module")
def nursery():
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "server_nursery.py")],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def cluster(nursery):
    cluster = Cluster(nursery)
    yield cluster
    if blocked_threads():
        cluster.start_ps()
        for thread in blocked_threads():
            thread.join(30)
    cluster.kill_ps()


@pytest.fixture
def build(cluster):
    """Builds the model on the parameter server, in a graph of its own, with its Supervisor."""

    def build(logdir, **options):
        with tf.Graph().as_default(), tf.device("/job:ps/task:0"):
            step = v1.train.get_or_create_global_step()
            train_op = v1.assign_add(step, 1)
            sv = hookrun.Supervisor(logdir=logdir, recovery_wait_secs=0.5, **options)
        return SimpleNamespace(sv=sv, step=step, train_op=train_op)

    return build


class Told(hooks.Hook):
    def __init__(self):
        self.of = []
        self.recovered = []

    def on_session_created(self, supervisor, event):
        self.of.append("created")

    def on_session_lost(self, supervisor, event):
        self.of.append(type(event.error).__name__)

    def on_session_recovered(self, supervisor, event):
        assert v1.get_default_graph() is supervisor.graph
        self.of.append("recovered")
        self.recovered.append(event)

    def on_stop(self, supervisor, event):
        self.of.append("stop")


def test_a_lost_session_leaves_the_block_at_once_as_both_kinds_of_error(cluster, build, tmp_path):
    cluster.start_ps()
    told = Told()
    model = build(tmp_path, hooks=[told])
    with pytest.raises(tf.errors.UnavailableError) as raised:
        with model.sv.managed_session(**cluster.master) as sess:
            sess.run(model.train_op)
            cluster.kill_ps()
            killed = time.monotonic()
            sess.run(model.train_op)

    assert time.monotonic() - killed < 3
    assert isinstance(raised.value, tf.errors.AbortedError)
    assert told.of == ["created", "SessionLostError", "stop"]
    with pytest.raises(SessionLostError):
        sess.run(model.step)


def test_train_restores_what_was_saved_when_the_server_comes_back(cluster, build, tmp_path):
    cluster.start_ps()
    told = Told()
    model = build(tmp_path, hooks=[told, hooks.CheckpointHook(at_steps=[3])])

    @model.sv.on(signals.session_created)
    def train_elsewhere(sv, event):
        if event.restored_from is not None:
            with v1.Session(cluster.worker.target, graph=sv.graph, config=cluster.config) as other:
                other.run(model.train_op)

    def step(sess):
        now = sess.run(model.train_op)
        if now == 5 and not told.recovered:
            cluster.kill_ps()
            cluster.start_ps()
        if now == 8:
            model.sv.request_stop()

    model.sv.train(step, **cluster.master)

    (event,) = told.recovered
    assert (event.global_step, event.how, event.steps_lost) == (4, "restored", 2)
    assert told.of == ["created", "SessionLostError", "stop", "created", "recovered", "stop"]
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-8")


class Best(hooks.Hook):
    """Remembers the best step, which it begins to look for with each session."""

    def on_session_created(self, supervisor, event):
        self.best = 0

    def on_step(self, supervisor, event):
        self.best = max(self.best, event.global_step)

    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, state):
        self.best = state["best"]
        self.loaded = state


def test_train_gives_hooks_the_state_of_the_beginning_where_nothing_was_saved(cluster, build):
    cluster.start_ps()
    told, best = Told(), Best()
    model = build(None, hooks=[told, best])

    def step(sess):
        if sess.run(model.train_op) == 2:
            if told.recovered:
                model.sv.request_stop()
            else:
                cluster.kill_ps()
                cluster.start_ps()

    model.sv.train(step, **cluster.master)

    (event,) = told.recovered
    assert (event.global_step, event.how, event.steps_lost) == (0, "initialized", 2)
    assert best.loaded == {"best": 0}


def test_train_goes_on_with_the_live_model_when_the_server_was_only_out_of_reach(cluster, build, tmp_path):
    cluster.start_ps()
    told = Told()
    early = hooks.EarlyStoppingHook("loss", mode="min", patience=1000)
    model = build(tmp_path, hooks=[told, early])
    model.sv.report_metrics({"loss": 0.5})

    def step(sess):
        if sess.run(model.train_op) == 4 and not told.recovered:
            sess._raise_lost(tf.errors.UnavailableError(None, None, "network is unreachable"))
        if sess.last_step == 6:
            model.sv.request_stop()

    model.sv.train(step, **cluster.master)

    (event,) = told.recovered
    assert (event.global_step, event.how, event.steps_lost) == (4, "adopted", 0)
    assert (early.best, early.best_step) == (0.5, 1)


def test_train_ends_after_max_recoveries_and_does_not_retry_what_a_hook_raises(cluster, build, tmp_path):
    cluster.start_ps()
    model = build(tmp_path / "a")
    lost = []

    def lose(sess):
        lost.append(sess)
        sess._raise_lost(tf.errors.UnavailableError(None, None, "gone"))

    with pytest.raises(SessionLostError, match="gone"):
        model.sv.train(lose, max_recoveries=1, **cluster.master)
    assert len(lost) == 2

    model = build(tmp_path / "b")
    sessions = []
    model.sv.on(signals.session_created, lambda sv, event: sessions.append(event.session))

    @model.sv.on(signals.step)
    def fail(sv, event):
        raise tf.errors.AbortedError(None, None, "of a hook")

    with pytest.raises(tf.errors.AbortedError, match="of a hook") as raised:
        model.sv.train(lambda sess: sess.run(model.train_op), **cluster.master)
    assert not isinstance(raised.value, SessionLostError)
    assert len(sessions) == 1


def test_a_chief_that_is_started_again_adopts_the_live_model_of_its_own_run_alone(cluster, build, tmp_path):
    cluster.start_ps()
    created = []

    def train(logdir, **options):
        model = build(logdir, save_model_secs=0, **options)
        model.sv.on(signals.session_created, lambda sv, event: created.append(event))
        with model.sv.managed_session(**cluster.master) as sess:
            start = sess.run(model.step)
            for _ in range(5):
                sess.run(model.train_op)
        return start

    assert train(tmp_path / "a") == 0
    assert train(tmp_path / "a") == 5
    assert created[-1].adopted and created[-1].restored_from is None
    assert train(tmp_path / "a", adopt_live_model=False) == 0
    assert train(tmp_path / "b") == 0  # another run on the same server
    assert train(tmp_path / "a") == 0  # whose model is gone
    assert not created[-1].adopted


def test_a_live_model_that_is_behind_the_newest_checkpoint_is_not_adopted(cluster, build, tmp_path):
    cluster.start_ps()
    model = build(tmp_path)
    with model.sv.managed_session(**cluster.master) as sess:
        for _ in range(5):
            sess.run(model.train_op)
    with v1.Session(cluster.worker.target, graph=model.sv.graph, config=cluster.config) as sess:
        sess.run(model.sv.init_op)

    with model.sv.managed_session(**cluster.master) as sess:
        assert sess.run(model.step) == 5
    names = [name for name, _ in tf.train.list_variables(str(tmp_path))]
    assert names == ["global_step"]  # the mark of the run is in no checkpoint


def test_a_session_that_is_not_there_in_time_says_what_is_missing(cluster, build, caplog, tmp_path):
    caplog.set_level(logging.INFO, "hookrun")
    cluster.start_ps()
    worker = build(None, is_chief=False)
    with pytest.raises(tf.errors.DeadlineExceededError, match="variables not initialized: global_step"):
        with worker.sv.managed_session(**cluster.master, max_wait_secs=1):
            pass
    assert "Waiting for the model: variables not initialized: global_step" in caplog.text

    silent = rf"^Session was not ready after waiting 2 secs: no answer from /job:ps/task:0 \({cluster.ps}\)$"
    for make_silent in (lambda: os.kill(cluster.pid, signal.SIGSTOP), cluster.kill_ps):
        make_silent()
        begin = time.monotonic()
        with pytest.raises(tf.errors.DeadlineExceededError, match=silent):
            with build(tmp_path).sv.managed_session(**cluster.master, max_wait_secs=2):
                pass
        assert time.monotonic() - begin < 5
    assert f": no answer from /job:ps/task:0 ({cluster.ps})" in caplog.text


def test_init_fn_is_called_on_the_callers_thread_and_what_it_raises_is_no_lost_session(cluster, build):
    cluster.start_ps()
    seen = []

    def init_fn(sess):
        seen.append((threading.current_thread(), v1.get_default_graph() is sess.graph))
        if len(seen) == 1:
            time.sleep(1.2)  # it is the time that must not count as waiting
        elif len(seen) == 2:
            raise tf.errors.AbortedError(None, None, "of init_fn")
        else:
            cluster.kill_ps()
            sess.run(model.step)

    model = build(None, init_fn=init_fn)
    with model.sv.managed_session(**cluster.master, max_wait_secs=1) as sess:
        assert sess.run(model.train_op) == 1
    model = build(None, init_fn=init_fn)
    with pytest.raises(tf.errors.AbortedError, match="of init_fn") as raised:
        model.sv.train(lambda sess: None, **cluster.master)
    assert not isinstance(raised.value, SessionLostError)
    with pytest.raises(SessionLostError):
        model.sv.train(lambda sess: None, max_recoveries=0, **cluster.master)
    assert seen == [(threading.current_thread(), True)] * 3


def test_a_check_that_blocks_is_not_waited_for_longer_than_max_wait_secs(cluster, build, monkeypatch):
    cluster.start_ps()
    let_go = threading.Event()
    monkeypatch.setattr(session_maker.SessionMaker, "_uninitialized", lambda self: let_go.wait())
    worker = build(None, is_chief=False)
    begin = time.monotonic()
    with pytest.raises(tf.errors.DeadlineExceededError, match="after waiting 1 secs: every known task"):
        with worker.sv.managed_session(**cluster.master, max_wait_secs=1):
            pass
    assert time.monotonic() - begin < 5
    let_go.set()


def test_tasks_that_do_not_answer_are_asked_at_once(monkeypatch):
    def connect(address, timeout):
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr("hookrun.graph.tasks.socket.create_connection", connect)
    begin = time.monotonic()
    assert tasks.answering(f"10.0.0.1:{port}" for port in range(40)) == set()
    assert time.monotonic() - begin < 2


def test_services_that_meet_a_lost_session_are_no_failures_and_it_leaves_as_one_error(
    cluster, build, caplog, tmp_path
):
    caplog.set_level(logging.INFO, "hookrun")
    cluster.start_ps()
    told = Told()
    met = threading.Event()
    model = build(tmp_path, hooks=[told], save_model_secs=0.05)
    threads = []
    model.sv.on(signals.session_lost, lambda sv, event: threads.append(threading.current_thread()))
    model.sv.on(signals.session_recovered, lambda sv, event: threads.append(threading.current_thread()))

    def loop(sess):
        try:
            sess.run(model.step)
        except SessionLostError:
            met.set()
            raise

    with pytest.raises(SessionLostError):
        with model.sv.managed_session(**cluster.master) as sess:
            model.sv.loop(0.01, loop, args=[sess])
            cluster.kill_ps()
            assert met.wait(30)
            model.sv.wait_for_stop()
            sess.run(model.train_op)
    assert told.of == ["created", "SessionLostError", "stop"]

    told.of.clear()
    cluster.start_ps()

    def step(sess):
        sess.run(model.train_op)
        if told.recovered:
            model.sv.request_stop()
        elif sess.last_step == 3:
            cluster.kill_ps()
            cluster.start_ps()
            model.sv.wait_for_stop()  # the checkpoint timer meets it

    model.sv.train(step, **cluster.master)
    assert told.of == ["created", "SessionLostError", "stop", "created", "recovered", "stop"]
    assert threads == [threading.current_thread()] * 3
    assert "CheckpointHook.on_checkpoint_due was interrupted by a lost session" in caplog.text
    assert [record for record in caplog.records if record.exc_info] == []


def test_only_a_run_loses_the_session_not_the_program_nor_a_hook_that_raises_what_one_would(cluster, build):
    cluster.start_ps()

    class Raises(hooks.Hook):
        def __init__(self, method):
            setattr(self, method, self.fail)

        def fail(self, *args):
            raise tf.errors.UnavailableError(None, None, "of a hook")

        def before_run(self, context):
            return None

    for method in ("before_run", "after_run"):
        kind = type("Hook", (Raises,), {method: Raises.fail})
        model = build(None, hooks=[kind(method)])
        with pytest.raises(tf.errors.UnavailableError, match="of a hook") as raised:
            model.sv.train(lambda sess, model=model: sess.run(model.train_op), **cluster.master)
        assert not isinstance(raised.value, SessionLostError)

    def fail(sess):
        raise tf.errors.AbortedError(None, None, "of the program")

    sessions = []

    def fail_in_an_op(sess):
        sess._raise_lost(tf.errors.UnavailableError(None, None, "of an op [[{{node global_step}}]]"))

    for step_fn, message in ((fail, "of the program"), (fail_in_an_op, "of an op")):
        model = build(None)
        model.sv.on(signals.session_created, lambda sv, event: sessions.append(event.session))
        with pytest.raises(recovery.LOST, match=message) as raised:
            model.sv.train(step_fn, **cluster.master)
        assert not isinstance(raised.value, SessionLostError)
    assert len(sessions) == 2  # nothing was retried


@pytest.mark.parametrize(
    ("kind", "others", "lost"),
    [
        (
            tf.errors.CancelledError,
            "ABORTED: From /job:ps/replica:0/task:0:\nSession handle is not found\n",
            True,
        ),
        (tf.errors.CancelledError, "UNAVAILABLE: recvmsg:Connection reset by peer\n", True),
        (tf.errors.CancelledError, "UNAVAILABLE: too busy [[{{node known}}]]\n", False),
        (tf.errors.CancelledError, "INTERNAL: something else\n", False),
        (tf.errors.InternalError, "ABORTED: Session handle is not found\n", False),
    ],
)
def test_a_loss_is_found_among_several_errors_that_tensorflow_reports_as_one(kind, others, lost):
    """As a run does that was waiting for values of the parameter server while that one was replaced."""
    message = (
        "Graph execution error:\n\n=====================\nCANCELLED: From /job:worker/replica:0/task:0:\n"
        "RecvFromRemoteAsync is cancelled.\n\t [[{{node known}}]]\nRecent warning and error logs:\n"
        f"  W0000 master_session.cc:2166] UNAVAILABLE: failed to connect\n{others}====================="
    )
    with tf.Graph().as_default() as graph:
        tf.no_op("known")
    assert recovery.is_lost(kind(None, None, message), graph) is lost
    assert not recovery.is_lost(tf.errors.CancelledError(None, None, "Run call was cancelled"), graph)


@pytest.mark.parametrize("when", ["before it waits", "while it waits", "while there is no session"])
def test_a_stop_that_is_requested_while_train_recovers_ends_it(
    cluster, build, monkeypatch, when_logged, when
):
    cluster.start_ps()
    monkeypatch.setattr(Recoveries, "next_wait_secs", lambda self, error: 0.1 if "session" in when else 60.0)
    model = build(None)
    sessions = []

    def lose(sess):
        sessions.append(sess)
        if when == "while there is no session":
            cluster.kill_ps()
        sess._raise_lost(tf.errors.UnavailableError(None, None, "gone"))

    stopper = threading.Timer(0.3, model.sv.request_stop)
    if when == "before it waits":
        model.sv.on(signals.stop, lambda sv, event: sv.request_stop())
    elif when == "while it waits":
        model.sv.on(signals.stop, lambda sv, event: stopper.start())
    else:
        when_logged("Waiting for a session", model.sv.request_stop)
    begin = time.monotonic()
    with pytest.raises(SessionLostError, match="A stop was requested.*no answer" if "no" in when else "gone"):
        model.sv.train(lose, **cluster.master)
    assert time.monotonic() - begin < 15
    assert len(sessions) == 1
    if stopper.ident is not None:
        stopper.join()


@pytest.fixture
def start_program(cluster):
    """Starts `waiting_program.py` as worker 1 of the cluster, to wait for these."""
    programs = []

    def start(*waits):
        command = [
            sys.executable,
            ROOT / "tests/graph/waiting_program.py",
            json.dumps(cluster.spec),
            "1",
            *waits,
        ]
        env = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        programs.append(Process("waiting program", command, env))
        return programs[-1]

    yield start
    for program in programs:
        print(program.output)
        program.close()


def test_ctrl_c_ends_any_wait_and_the_process(cluster, start_program):
    program = start_program("session", "chief", "backoff", "lost", "save", "close")

    def interrupt():
        os.kill(program.pid, signal.SIGINT)
        interrupted = time.monotonic()
        program.expect("interrupted")
        assert time.monotonic() - interrupted < 3

    program.expect("INFO hookrun.graph.session_maker: Waiting for a session")
    interrupt()
    cluster.start_ps()
    program.expect("INFO hookrun.graph.session_maker: Waiting for the model: variables not initialized")
    interrupt()
    for line in (
        "ERROR hookrun.graph.recovery: Recovery 1",
        "INFO hookrun.graph.session_maker: Waiting for a session",
    ):
        program.expect("step")
        cluster.kill_ps()
        program.expect(line)
        interrupt()
        cluster.start_ps()
    program.expect("step")
    os.kill(cluster.pid, signal.SIGSTOP)
    program.say("end")
    program.expect("in hookrun-session-last-run")
    interrupt()
    os.kill(cluster.pid, signal.SIGCONT)
    program.expect("step")
    cluster.kill_ps()
    program.say("close")
    program.expect("in hookrun-session-close")
    interrupt()

    assert program.status(10) == -signal.SIGINT  # the last one was not caught


def test_the_end_of_a_session_does_not_wait_for_ever_for_a_server_that_is_stopped(
    cluster, build, monkeypatch, tmp_path
):
    monkeypatch.setattr(recovery, "_SILENCE_SECS", 0.5)
    cluster.start_ps()
    model = build(tmp_path, stop_grace_secs=1, save_summaries_secs=0)
    saved = threading.Event()
    model.sv.on(signals.checkpoint_saved, lambda sv, event: saved.set())

    with pytest.raises(SessionLostError, match=rf"no answer from /job:ps/task:0 \({cluster.ps}\)"):
        with model.sv.managed_session(**cluster.master) as sess:
            assert saved.wait(30)
            sess.run(model.train_op)
            os.kill(cluster.pid, signal.SIGSTOP)
            stopped = time.monotonic()

    assert time.monotonic() - stopped < 10
    cluster.kill_ps()  # which ends what is blocked


def test_a_stop_ends_the_wait_for_a_session_at_once(cluster, build, when_logged, tmp_path):
    begin = time.monotonic()
    model = build(tmp_path)
    when_logged("Waiting for a session", model.sv.request_stop)
    with pytest.raises(
        tf.errors.CancelledError, match=f"waiting for a session: no answer from .*{cluster.ps}"
    ):
        with model.sv.managed_session(**cluster.master):
            pass
    model = build(tmp_path)
    when_logged("Waiting for a session", lambda: model.sv.request_stop(ValueError("of a thread")))
    with pytest.raises(ValueError, match="of a thread"):
        with model.sv.managed_session(**cluster.master):
            pass
    model = build(tmp_path)
    when_logged("Waiting for a session", model.sv.request_stop)
    model.sv.train(lambda sess: pytest.fail("there is no session"), **cluster.master)

    cluster.start_ps()
    for fails, error in ((False, tf.errors.CancelledError), (True, ValueError)):
        worker = build(None, is_chief=False)
        when_logged(
            "Waiting for the model",
            lambda worker=worker, fails=fails: worker.sv.request_stop(ValueError() if fails else None),
        )
        with pytest.raises(error):
            with worker.sv.managed_session(**cluster.master):
                pass
    model = build(tmp_path)
    when_logged("Waiting for a checkpoint", model.sv.request_stop)
    with pytest.raises(tf.errors.CancelledError, match=f"no checkpoint in {tmp_path}"):
        model.sv.prepare_or_wait_for_session(**cluster.master, wait_for_checkpoint=True)
    assert time.monotonic() - begin < 15


def test_a_wait_that_was_given_up_touches_the_model_no_more(cluster, build, when_logged, tmp_path):
    model = build(tmp_path, adopt_live_model=False)
    when_logged("Waiting for a session", model.sv.request_stop)
    with pytest.raises(tf.errors.CancelledError):
        with model.sv.managed_session(**cluster.master):
            pass
    (maker,) = blocked_threads()
    cluster.start_ps()
    maker.join(30)
    with v1.Session(cluster.worker.target, graph=model.sv.graph, config=cluster.config) as sess:
        assert list(sess.run(model.sv.ready_op)) == [b"global_step"]


def test_a_synchronous_chief_goes_on_in_a_new_session(cluster, tmp_path):
    """Its token queue is on the parameter server: it is filled, and its queue runner started, for each."""
    with tf.Graph().as_default(), tf.device("/job:ps/task:0"):
        step = v1.train.get_or_create_global_step()
        weight = v1.get_variable("weight", initializer=0.0)
        optimizer = v1.train.SyncReplicasOptimizer(v1.train.GradientDescentOptimizer(0.1), 1)
        train_op = optimizer.minimize((weight - 1.0) ** 2, global_step=step)
        told = Told()
        sv = hookrun.Supervisor(
            logdir=tmp_path,
            recovery_wait_secs=0.5,
            local_init_op=optimizer.chief_init_op,
            ready_for_local_init_op=optimizer.ready_for_local_init_op,
            save_model_secs=0,
            hooks=[
                hooks.SessionRunHookAdapter(optimizer.make_session_run_hook(is_chief=True)),
                hooks.CheckpointHook(every_steps=5, background=False),
                hooks.StopAtStepHook(last_step=20),
                told,
            ],
        )
    sessions = []

    def train(sess):
        if len(sessions) < 2 and told.of.count("created") > len(sessions) and sess.last_step == 8:
            sessions.append(sess)
            cluster.kill_ps()
            cluster.start_ps()
        sess.run(train_op)

    cluster.start_ps()
    sv.train(train, **cluster.master)
    assert len(sessions) == 2
    assert [event.steps_lost for event in told.recovered] == [3, 3]
    assert tf.train.latest_checkpoint(tmp_path).endswith("-20")


@pytest.mark.parametrize("ends", ["", "raise ValueError('the program itself')"])
def test_a_process_ends_with_a_session_that_is_not_closed_and_a_dead_server(cluster, ends):
    """TensorFlow's own session would block in its destructor until the server is back."""
    program = f"""
        import sys, tensorflow as tf, hookrun
        from hookrun import cluster
        v1 = tf.compat.v1
        v1.disable_eager_execution()
        with tf.device("/job:ps/task:0"):
            train_op = v1.assign_add(v1.train.get_or_create_global_step(), 1)
        server = tf.distribute.Server({cluster.spec!r}, "worker", 1)
        config = v1.ConfigProto(device_filters=["/job:ps", "/job:worker/task:1"])
        sv = hookrun.Supervisor()
        sess = sv.prepare_or_wait_for_session(server.target, config=config)
        sess.run(train_op)
        print("step", flush=True)
        sys.stdin.readline()
        try:
            sess.run(train_op)
        except tf.errors.UnavailableError:
            print("lost", flush=True)
        {ends}
    """
    cluster.start_ps()
    env = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    process = Process("unclosed", [sys.executable, "-c", textwrap.dedent(program)], env)
    try:
        process.expect("step")
        cluster.kill_ps()
        process.say("go on")
        process.expect("lost")
        assert process.status(10) == bool(ends)
    finally:
        process.close()


def test_the_documented_table_of_ends_tells_what_a_lost_session_is(cluster, build, tmp_path):
    page = (ROOT / "docs" / "life.md").read_text(encoding="utf-8")
    raised = "`SessionLostError`; with `train`, only after `max_recoveries`"
    assert f"| a lost session | no | `SessionLostError` | {raised} |" in page.splitlines()
    told = RecordingHook()
    off = {"save_summaries_secs": 0, "save_model_secs": 0}
    model = build(tmp_path, **off, hooks=[told, hooks.CheckpointHook(every_steps=1000)])

    def make_a_step_and_lose_the_session(sess):
        sess.run(model.train_op)
        cluster.kill_ps()
        cluster.start_ps()
        sess.run(model.train_op)

    cluster.start_ps()
    with pytest.raises(SessionLostError), model.sv.managed_session(**cluster.master) as sess:
        make_a_step_and_lose_the_session(sess)
    with pytest.raises(SessionLostError):
        model.sv.train(make_a_step_and_lose_the_session, max_recoveries=1, **cluster.master)
    names = [signal.name for signal, _ in told.sent]
    session = ["session_created", "step", "session_lost", "stop"]
    assert names == session * 2 + ["session_created", "session_recovered", *session[1:]]
    assert {type(event.error) for event in told.events(signals.stop)} == {SessionLostError}


def test_recoveries_are_counted_within_the_period_and_wait_longer_each_time():
    now = [0.0]
    error = SessionLostError(tf.errors.UnavailableError(None, None, "gone"))
    recoveries = Recoveries(2, 10.0, clock=lambda: now[0])

    assert 0.1 < recoveries.next_wait_secs(error) <= 0.25
    assert 0.2 < recoveries.next_wait_secs(error) <= 0.5
    with pytest.raises(SessionLostError):
        recoveries.next_wait_secs(error)
    now[0] = 11.0
    assert recoveries.next_wait_secs(error) <= 0.25


def test_a_call_that_blocks_is_given_up_at_the_deadline_and_its_result_is_disposed_of(monkeypatch):
    monkeypatch.setattr(recovery, "_EXIT_SECS", 30.0)
    gate, disposed = threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        call_within("blocked", gate.wait, time.monotonic() + 0.05, too_late=lambda _: disposed.set())
    comes_back = threading.Timer(0.1, gate.set)
    comes_back.start()
    recovery._wait_for_those_left()  # at the exit of the process
    comes_back.join()
    assert disposed.is_set()
    assert "blocked" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ValueError, match="of the call"):
        call_within("raises", lambda: int("of the call"), time.monotonic() + 30)
