"""The tasks of a cluster: server, device setter and session config of each, and the end of all of them.

A training program that is replicated between graphs, as each task of the cluster runs it that `TF_CONFIG`
describes:

```python
task = hookrun.cluster.Task.from_tf_config()
server = task.start_server()
if task.job == "ps":
    hookrun.cluster.run_parameter_server(server)
    sys.exit()
with tf.Graph().as_default(), tf.compat.v1.device(task.device_setter()):
    loss, train_op = build_model()
    sv = hookrun.Supervisor(
        is_chief=task.is_chief,
        logdir="runs/cluster",
        hooks=[hookrun.cluster.ReleaseParameterServersHook(server)],
    )
sv.train(lambda sess: sess.run(train_op), master=server.target, config=task.session_config())
```
"""

from __future__ import annotations

import contextlib
import json
import logging
import numbers
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from hookrun import events
from hookrun.graph.tasks import target_of
from hookrun.numeric import python_number
from hookrun.runtime.arguments import check_secs
from hookrun.runtime.hook import Hook

__all__ = ["ReleaseParameterServersHook", "Task", "run_parameter_server", "target_of"]

_logger = logging.getLogger(__name__)

_JOBS = ("chief", "worker", "ps")
_FIRST_POLL_SECS, _POLL_SECS = 0.1, 1.0
_CONNECT_SECS = 2.0
_WORKERS_SECS = 5.0
"""How long parameter servers that were released stay for workers that still run."""
_RELEASE_SECS = 5.0


class Task:
    """One task of a cluster: of the job "ps" (parameter servers), "worker" or "chief".

    The chief is the task of the job "chief"; in a cluster without that job, worker 0.

    ```python
    addresses = {"ps": ["a:2222"], "worker": ["b:2222", "c:2222"]}
    task = hookrun.cluster.Task(addresses, "worker", 1)
    ```

    Args:
      cluster: A `tf.train.ClusterSpec`, or what makes one: the addresses of the tasks, by job.
      job: The job of this task.
      index: Its number in the job.

    Raises:
      ValueError: If the cluster has no such task, or jobs that are not known; the message names it.
    """

    def __init__(self, cluster: Any, job: str, index: int = 0) -> None:
        try:
            spec = tf.train.ClusterSpec(cluster)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"cluster must be a ClusterSpec, or addresses by job, not {cluster!r}: {error}"
            ) from error
        for name in spec.jobs:
            if name not in _JOBS:
                raise ValueError(f"cluster has a job {name!r}; the jobs are {', '.join(map(repr, _JOBS))}")
        if job not in spec.jobs:
            raise ValueError(f"job must be one of the cluster's, {', '.join(spec.jobs)}; not {job!r}")
        index = python_number(index)
        if isinstance(index, bool) or not isinstance(index, numbers.Integral):
            raise TypeError(f"index must be the number of a task, not {index!r}")
        if index not in spec.task_indices(job):
            raise ValueError(f"index must be one of job {job!r}, {spec.task_indices(job)}; not {index!r}")
        _chief_address(spec)  # raises where there is none
        self.cluster_spec: Any = spec
        """The `tf.train.ClusterSpec`."""
        self.job: str = job
        """The job: "ps", "worker" or "chief"."""
        self.index: int = int(index)
        """The number in the job."""

    @classmethod
    def from_tf_config(cls, tf_config: str | None = None) -> Task:
        """The task that `TF_CONFIG` describes.

        Args:
          tf_config: JSON of the form ``{"cluster": {"ps": ["host:port"], "worker": [...]}, "task": {"type":
            "worker", "index": 0}}``; the environment variable `TF_CONFIG` if None.

        Returns:
          The `Task`.

        Raises:
          ValueError: If it is missing, or is not of this form; the message names the part.
        """
        if tf_config is None:
            tf_config = os.environ.get("TF_CONFIG")
        if not tf_config:
            raise ValueError("TF_CONFIG is not set: it describes the cluster and this task")
        try:
            config = json.loads(tf_config)
        except ValueError as error:
            raise ValueError(f"TF_CONFIG must be JSON, not {tf_config!r}: {error}") from error
        cluster = _part(config, "cluster")
        task = _part(config, "task")
        index = task.get("index", 0)
        if isinstance(index, str) and index.isdecimal():
            index = int(index)
        try:
            return cls(cluster, task.get("type", ""), index)
        except (TypeError, ValueError) as error:
            raise ValueError(f"TF_CONFIG: {error}") from error

    @property
    def is_chief(self) -> bool:
        """True for the task that initializes, restores, saves and summarizes."""
        return (self.job, self.index) == _chief(self.cluster_spec)

    def start_server(self, config: Any = None) -> Any:
        """Start the server of this task; it runs as long as the process.

        Args:
          config: Optional `tf.compat.v1.ConfigProto` for everything that runs on it.

        Returns:
          A `tf.distribute.Server`; its `target` is the master of this task's sessions.

        Raises:
          tf.errors.UnknownError: If it cannot be started, such as where its port is in use; the message has
            the address.
        """
        try:
            return tf.distribute.Server(
                self.cluster_spec, job_name=self.job, task_index=self.index, config=config
            )
        except tf.errors.UnknownError as error:
            address = self.cluster_spec.task_address(self.job, self.index)
            message = f"{error.message} for {self.job} {self.index} at {address}; is the port in use?"
            raise tf.errors.UnknownError(None, None, message) from error

    def device_setter(self) -> Any:
        """What places variables on the parameter servers, in turn, and all else on this task.

        Returns:
          A function for `tf.compat.v1.device`; see `tf.compat.v1.train.replica_device_setter`.
        """
        return tf.compat.v1.train.replica_device_setter(
            worker_device=f"/job:{self.job}/task:{self.index}", cluster=self.cluster_spec
        )

    def session_config(self) -> Any:
        """The config of a session that needs this task and the parameter servers, and no other task.

        Without it, a session waits for every task of the cluster, and is lost with any of them.

        Returns:
          A new `tf.compat.v1.ConfigProto` with its `device_filters` set.
        """
        filters = [f"/job:{self.job}/task:{self.index}"]
        if self.job != "ps":
            filters.insert(0, "/job:ps")
        return tf.compat.v1.ConfigProto(device_filters=filters)


def run_parameter_server(
    server: Any, *, chief_grace_secs: float = 8.0, max_wait_secs: float = 7200.0
) -> None:
    """Serve until the training has ended. In the place of `server.join()`, which never returns.

    Whether the chief is there is seen by connecting to its server's address, once a second, and ten times as
    often until it is there for the first time. When it has ended, and

    - `ReleaseParameterServersHook` had told that the training was done: this returns as soon as the workers
      have ended too, and after 5 s in any case.
    - nothing had been told (it was killed, or ended with an error): a chief that is back within
      `chief_grace_secs` finds the live model; otherwise this returns.

    Workers that end earlier change nothing. Call it on the main thread of the process, where Ctrl-C ends it.

    Args:
      server: The `tf.distribute.Server` of this parameter server.
      chief_grace_secs: Seconds that the chief may be away. Where something restarts it, longer than that
        takes.
      max_wait_secs: Seconds to wait for the chief to be there for the first time.

    Raises:
      ValueError: If `server` is not one of the job "ps", or an argument is not a number of seconds.
      tf.errors.DeadlineExceededError: If the chief did not come within `max_wait_secs`.
    """
    definition = server.server_def
    if definition.job_name != "ps":
        raise ValueError(f"server must be of the job 'ps', not of {definition.job_name!r}")
    check_secs(chief_grace_secs=chief_grace_secs, max_wait_secs=max_wait_secs)
    spec = tf.train.ClusterSpec(definition.cluster)
    chief = _chief_address(spec)
    with _Release(server.target, definition.task_index) as release:
        release.clear()
        start = time.monotonic()
        while not _listens(chief):
            if time.monotonic() - start >= max_wait_secs:
                raise tf.errors.DeadlineExceededError(
                    None, None, f"The chief did not come to {chief} within {max_wait_secs} s"
                )
            time.sleep(_FIRST_POLL_SECS)
        last_seen = time.monotonic()
        while True:
            wait_secs = _POLL_SECS
            if _listens(chief):
                last_seen = time.monotonic()
            elif release.told():
                _logger.info("The training is done: waiting for the workers, at most %s s", _WORKERS_SECS)
                _wait_for_end(_worker_addresses(spec), _WORKERS_SECS)
                return
            else:
                left = last_seen + chief_grace_secs - time.monotonic()
                if left <= 0:
                    _logger.warning(
                        "The chief at %s ended without releasing this server, and did not return within %s s",
                        *(chief, chief_grace_secs),
                    )
                    return
                wait_secs = min(wait_secs, left)
            time.sleep(wait_secs)


class ReleaseParameterServersHook(Hook):
    """Tells the parameter servers, at a clean end of the training, not to wait for the chief to come back.

    They run `run_parameter_server`, and return when the chief's process has ended. After an error nothing is
    told: a chief that is started again finds them there.

    ```python
    sv = hookrun.Supervisor(
        is_chief=task.is_chief,
        logdir="runs/cluster",
        hooks=[hookrun.cluster.ReleaseParameterServersHook(server)],
    )
    ```

    Args:
      server: The `tf.distribute.Server` of the chief.
    """

    chief_only = True

    def __init__(self, server: Any) -> None:
        cluster = tf.train.ClusterSpec(server.server_def.cluster)
        indices = cluster.task_indices("ps") if "ps" in cluster.jobs else []
        self._addresses = {index: cluster.task_address("ps", index) for index in indices}

    def on_session_created(self, supervisor: Any, event: events.SessionCreated) -> None:
        """A chief that was started again is not done."""
        self._tell_all(done=False)

    def on_stop(self, supervisor: Any, event: events.Stop) -> None:
        if event.error is None:
            self._tell_all(done=True)

    def _tell_all(self, done: bool) -> None:
        """Tell each of them on a thread of its own: one that is gone would hold up the others for ever."""
        threads = [
            threading.Thread(
                target=self._tell, args=(index, done), name=f"hookrun-release-ps-{index}", daemon=True
            )
            for index in self._addresses
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _RELEASE_SECS
        for index, thread in zip(self._addresses, threads, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _logger.warning("Parameter server %d could not be released within %s s", index, _RELEASE_SECS)

    def _tell(self, index: int, done: bool) -> None:
        try:
            with _Release(f"grpc://{self._addresses[index]}", index) as release:
                release.tell(done)
        except tf.errors.OpError as error:  # one that does not run run_parameter_server, or is gone
            _logger.warning("Parameter server %d was not released: %s", index, error.message)


class _Release:
    """A flag that lives on a parameter server: whether the training is done.

    Args:
      target: The master, that of the parameter server itself.
      index: The number of the parameter server.
    """

    def __init__(self, target: str, index: int) -> None:
        device = f"/job:ps/task:{index}"
        with tf.Graph().as_default() as graph, tf.device(f"{device}/cpu:0"), graph.container("hookrun"):
            flag = tf.compat.v1.get_variable("hookrun_done", initializer=False, use_resource=True)
            self._clear = flag.initializer
            self._read = flag.read_value()
            self._value = tf.compat.v1.placeholder(tf.bool, [])
            self._write = flag.assign(self._value, read_value=False)
        config = tf.compat.v1.ConfigProto(device_filters=[device])
        self._session = tf.compat.v1.Session(target, graph=graph, config=config)

    def __enter__(self) -> _Release:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def clear(self) -> None:
        self._session.run(self._clear)

    def told(self) -> bool:
        return bool(self._session.run(self._read))

    def tell(self, done: bool) -> None:
        self._session.run(self._write, {self._value: done})


def _part(config: Any, name: str) -> Mapping[str, Any]:
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"TF_CONFIG must have a {name!r} that is an object, not {part!r}: {config!r}")
    return part


def _chief(spec: Any) -> tuple[str, int]:
    return ("chief" if "chief" in spec.jobs else "worker", 0)


def _chief_address(spec: Any) -> str:
    job, index = _chief(spec)
    try:
        return str(spec.task_address(job, index))
    except ValueError as error:
        raise ValueError(f"cluster has no chief, {job} {index}: {spec.as_dict()}") from error


def _worker_addresses(spec: Any) -> list[str]:
    return (
        [spec.task_address("worker", i) for i in spec.task_indices("worker")] if "worker" in spec.jobs else []
    )


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECS).close()
        return True
    return False


def _wait_for_end(addresses: list[str], secs: float) -> None:
    deadline = time.monotonic() + secs
    while any(map(_listens, addresses)) and time.monotonic() < deadline:
        time.sleep(min(_POLL_SECS, secs))
