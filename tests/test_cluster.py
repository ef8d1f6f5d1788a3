from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf

from hookrun import cluster, events
from tests.cluster.processes import free_ports
from tests.conftest import BOUND_SECS

CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1", "e:1"]}
WITHOUT_CHIEF = {"worker": ["b:1", "c:1"], "ps": ["d:1", "e:1"]}


def tf_config(addresses, job, index=0):
    return json.dumps({"cluster": addresses, "task": {"type": job, "index": index}})


class TestTask:
    def test_of_tf_config_is_that_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("TF_CONFIG", tf_config(CHIEF, "worker", 1))

        task = cluster.Task.from_tf_config()

        assert (task.job, task.index, task.is_chief) == ("worker", 1, False)
        assert task.cluster_spec == tf.train.ClusterSpec(CHIEF)

    @pytest.mark.parametrize(
        ("addresses", "job", "index", "is_chief"),
        [
            (CHIEF, "chief", 0, True),
            (CHIEF, "worker", 0, False),
            (CHIEF, "ps", 0, False),
            (WITHOUT_CHIEF, "worker", 0, True),
            (WITHOUT_CHIEF, "worker", 1, False),
            (tf.train.ClusterSpec(WITHOUT_CHIEF), "ps", 0, False),
        ],
    )
    def test_the_chief_is_the_one_of_that_job_or_else_worker_0(self, addresses, job, index, is_chief):
        assert cluster.Task(addresses, job, index).is_chief == is_chief

    def test_a_sparse_job_has_the_tasks_that_it_names(self):
        sparse = {"worker": {0: "b:1", 7: "c:1"}, "ps": ["d:1"]}

        assert cluster.Task(sparse, "worker", 7).index == 7
        with pytest.raises(ValueError, match="index must be one of job 'worker', .*; not 1"):
            cluster.Task(sparse, "worker", 1)

    def test_a_session_of_it_needs_the_parameter_servers_and_itself(self):
        assert list(cluster.Task(CHIEF, "worker", 1).session_config().device_filters) == [
            "/job:ps",
            "/job:worker/task:1",
        ]
        assert list(cluster.Task(CHIEF, "chief").session_config().device_filters) == [
            "/job:ps",
            "/job:chief/task:0",
        ]
        assert list(cluster.Task(CHIEF, "ps", 1).session_config().device_filters) == ["/job:ps/task:1"]

    def test_variables_are_placed_on_the_parameter_servers_in_turn_and_the_rest_on_the_task(self):
        with tf.compat.v1.device(cluster.Task(CHIEF, "worker", 1).device_setter()):
            variables = [tf.compat.v1.get_variable(name, [2]) for name in "abc"]
            total = tf.add_n([tf.convert_to_tensor(variable) for variable in variables])

        assert [v.device for v in variables] == [f"/job:ps/task:{i}" for i in (0, 1, 0)]
        assert total.device == "/job:worker/task:1"

    @pytest.mark.parametrize(
        ("addresses", "job", "index", "error", "message"),
        [
            (3, "ps", 0, TypeError, "cluster must be a ClusterSpec, or addresses by job, not 3"),
            ({"wroker": ["b:1"]}, "wroker", 0, ValueError, "cluster has a job 'wroker'"),
            (CHIEF, "evaluator", 0, ValueError, "job must be one of .*; not 'evaluator'"),
            (CHIEF, "worker", 2, ValueError, "index must be one of job 'worker', .*; not 2"),
            (CHIEF, "worker", "1", TypeError, "index must be the number of a task, not '1'"),
            (CHIEF, "worker", True, TypeError, "index must be the number of a task, not True"),
            ({"ps": ["d:1"]}, "ps", 0, ValueError, "cluster has no chief, worker 0"),
        ],
    )
    def test_what_is_wrong_is_named(self, addresses, job, index, error, message):
        with pytest.raises(error, match=message):
            cluster.Task(addresses, job, index)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("", "TF_CONFIG is not set"),
            ("{cluster}", r"TF_CONFIG must be JSON, not '\{cluster\}'"),
            ("[]", "TF_CONFIG must have a 'cluster' that is an object, not None"),
            ('{"cluster": {"worker": ["b:1"]}}', "TF_CONFIG must have a 'task' that is an object, not None"),
            (tf_config(CHIEF, "worker", 2), "TF_CONFIG: index must be one of job 'worker', .*; not 2"),
            (tf_config(CHIEF, "worker", "two"), "TF_CONFIG: index must be the number of a task, not 'two'"),
        ],
    )
    def test_what_is_wrong_with_tf_config_is_named(self, monkeypatch, config, message):
        monkeypatch.setenv("TF_CONFIG", config)
        with pytest.raises(ValueError, match=message):
            cluster.Task.from_tf_config()

    def test_a_server_that_cannot_be_started_is_named_with_its_address(self):
        with socket.create_server(("", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(
                tf.errors.UnknownError, match=f"for worker 0 at {address}; is the port in use"
            ):
                cluster.Task({"worker": [address]}, "worker").start_server()


class TestRunParameterServer:
    def test_refuses_what_it_cannot_do(self):
        with pytest.raises(ValueError, match="server must be of the job 'ps', not of 'worker'"):
            cluster.run_parameter_server(server_of("worker", worker=free_ports(1)))
        server = server_of("ps", ps=free_ports(1), worker=[1])
        with pytest.raises(ValueError, match="chief_grace_secs must be a number of seconds, .*, not -1"):
            cluster.run_parameter_server(server, chief_grace_secs=-1)

    def test_does_not_wait_for_ever_for_a_chief_that_never_comes(self):
        server = server_of("ps", ps=free_ports(1), worker=[1])
        with pytest.raises(tf.errors.DeadlineExceededError, match="chief did not come to .* within 0 s"):
            cluster.run_parameter_server(server, max_wait_secs=0)

    def test_ends_at_ctrl_c(self):
        server = server_of("ps", ps=free_ports(1), worker=[1])
        interrupt = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            interrupt.start()
            cluster.run_parameter_server(server)
        assert time.monotonic() - begin < 5
        interrupt.join()

    def test_ends_when_the_chief_is_away_for_longer_than_the_grace_period(self, serving, caplog):
        with serving(chief_grace_secs=2) as (_, chief, ended):
            chief.close()
            closed = time.monotonic()
            ended.result(BOUND_SECS)

        assert 1 < time.monotonic() - closed < 5
        assert "ended without releasing this server, and did not return within 2 s" in caplog.text

    def test_does_not_wait_for_a_chief_that_has_told_that_the_training_is_done(self, serving):
        with serving(chief_grace_secs=1000) as (hook, chief, ended):
            hook.on_session_created(None, None)
            hook.on_stop(None, events.Stop(None, None))
            chief.close()

            ended.result(BOUND_SECS)

    @pytest.mark.parametrize("again", ["failed", "started again"])
    def test_waits_for_a_chief_that_is_not_done(self, serving, again):
        with serving(chief_grace_secs=3) as (hook, chief, ended):
            hook.on_stop(None, events.Stop(None, None if again == "started again" else ValueError()))
            if again == "started again":
                hook.on_session_created(None, None)
            chief.close()
            closed = time.monotonic()
            ended.result(BOUND_SECS)

        assert time.monotonic() - closed > 2


def server_of(job, **ports):
    """The server of the first task of a job, in this process."""
    spec = {name: [f"127.0.0.1:{port}" for port in numbers] for name, numbers in ports.items()}
    return tf.distribute.Server(spec, job_name=job, task_index=0)


@pytest.fixture
def serving():
    """Runs a parameter server in a thread; yields the hook and the open port of its chief, and its end."""

    @contextlib.contextmanager
    def serve(chief_grace_secs):
        with socket.create_server(("127.0.0.1", 0)) as chief, ThreadPoolExecutor() as threads:
            server = server_of("ps", ps=free_ports(1), chief=[chief.getsockname()[1]])
            arguments = {"chief_grace_secs": chief_grace_secs, "max_wait_secs": BOUND_SECS}
            ended = threads.submit(cluster.run_parameter_server, server, **arguments)
            chief.settimeout(BOUND_SECS)
            chief.accept()[0].close()  # it has seen the chief
            yield cluster.ReleaseParameterServersHook(server), chief, ended

    return serve


@pytest.mark.long
def test_a_chief_ends_though_a_parameter_server_that_it_would_tell_is_dead():
    program = f"""
import tensorflow as tf
from hookrun import cluster, events
spec = {{"ps": ["127.0.0.1:1"], "worker": ["127.0.0.1:{free_ports(1)[0]}"]}}
server = tf.distribute.Server(spec, job_name="worker", task_index=0)
cluster.ReleaseParameterServersHook(server).on_stop(None, events.Stop(None, None))
print("told")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
