"""Clusters of real processes on 127.0.0.1, for tests and benchmarks.

Where the kernel allows it, a cluster runs in a network namespace of its own that has loopback alone: its
ports are its own, nobody outside reaches its servers, and its network can be taken down. Programs tell how
far they are in lines on their standard output, which `Process.expect` waits for; their standard input stays
open as long as the cluster, so that they can end themselves when it is gone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["BOUND_SECS", "Cluster", "Network", "Process", "free_ports"]

BOUND_SECS = 120.0
"""How long is waited for what must happen; on a busy machine TensorFlow alone takes a minute to import."""

ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in free]


class Network:
    """A network namespace that has loopback alone; its user needs no rights for it.

    `unavailable` says why there is none; everything then runs in the network of the machine.
    """

    def __init__(self) -> None:
        self._holder: subprocess.Popen[str] | None = None
        self.unavailable = ""
        try:
            self._holder = subprocess.Popen(
                [
                    "unshare",
                    "--map-root-user",
                    "--net",
                    "sh",
                    "-c",
                    "ip link set lo up && echo up && exec cat",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert self._holder.stdout is not None
            if self._holder.stdout.readline() != "up\n":
                self.unavailable = f"no network namespace: {self._holder.communicate()[1].strip()}"
        except FileNotFoundError as error:
            self.unavailable = f"no network namespace: {error}"

    @property
    def prefix(self) -> list[str]:
        """What a command is preceded by to run inside; it becomes the command, and keeps its pid."""
        if self.unavailable or self._holder is None:
            return []
        target = str(self._holder.pid)
        return ["nsenter", "--user", "--preserve-credentials", "--net", "--target", target, "--"]

    def take_down(self, *, breaking: bool = False) -> None:
        """Lose every packet from now on; with `breaking`, connections break within a second of that."""
        if breaking:
            subprocess.run([*self.prefix, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_retries2"], check=True)
        subprocess.run([*self.prefix, "ip", "link", "set", "lo", "down"], check=True)

    def bring_up(self) -> None:
        """Transport packets again."""
        subprocess.run([*self.prefix, "ip", "link", "set", "lo", "up"], check=True)

    def close(self) -> None:
        """Give up the namespace, which ends with the last process in it."""
        if self._holder is not None:
            self._holder.communicate()

    def ports(self, count: int) -> list[int]:
        """Ports that nobody listens on."""
        if self.prefix:
            return list(range(2222, 2222 + count))
        return free_ports(count)


class Process:
    """A process whose standard output is read line by line as it comes.

    Args:
      name: What it is called in messages.
      command: What is run.
      env: Environment variables besides those of this process.
    """

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str]) -> None:
        self.name = name
        self._stderr = tempfile.NamedTemporaryFile("w")
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._start = time.monotonic()
        self._lines: list[str] = []
        self._times: list[float] = []
        self._read = 0
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_lines, name=f"reader of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote and when; of lines that begin alike, one after the other, the last."""
        with self._changed:
            following = itertools.zip_longest(self._times, self._lines, self._lines[1:], fillvalue="")
            out = "".join(
                f"{secs:5.1f} s: {line}"
                for secs, line, after in following
                if line.split()[:1] != after.split()[:1]
            )
        state = "running" if self.running else f"ended with status {self._process.poll()}"
        return f"--- {self.name}, {state}, output:\n{out}--- errors:\n{self.errors}"

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        return Path(self._stderr.name).read_text(errors="replace")

    def expect(self, pattern: str, secs: float = BOUND_SECS) -> re.Match[str]:
        """Wait for the next line, after those that were expected before, that begins with `pattern`."""
        deadline = time.monotonic() + secs
        with self._changed:
            while True:
                while self._read < len(self._lines):
                    self._read += 1
                    match = re.match(pattern, self._lines[self._read - 1])
                    if match:
                        return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        why = "ended" if self._ended else f"took more than {secs} s"
        raise AssertionError(f"{self.name} {why} before it said {pattern!r}\n{self.output}")

    def skip(self) -> None:
        """Expect nothing any more of the lines that have come."""
        with self._changed:
            self._read = len(self._lines)

    def seen(self, pattern: str) -> list[re.Match[str]]:
        """The lines so far that begin with `pattern`."""
        with self._changed:
            return [match for line in self._lines if (match := re.match(pattern, line))]

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        self._stdin.write(line + "\n")

    def status(self, secs: float = BOUND_SECS) -> int:
        """Wait for its end, and return its exit status."""
        try:
            status = self._process.wait(secs)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.name} did not end within {secs} s\n{self.output}") from error
        self._reader.join(BOUND_SECS)
        return status

    def kill(self) -> None:
        """End it with SIGKILL, and wait for that."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it with SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue it with SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it if it runs, and let go of everything."""
        self.kill()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stderr.close()

    def _read_lines(self) -> None:
        with self._stdout as lines:
            for line in lines:
                with self._changed:
                    self._lines.append(line)
                    self._times.append(time.monotonic() - self._start)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Cluster:
    """The addresses of a cluster, and the processes that were started in it.

    Args:
      **jobs: The number of tasks of each job.
    """

    def __init__(self, **jobs: int) -> None:
        self.network = Network()
        self.processes: list[Process] = []
        ports = iter(self.network.ports(sum(jobs.values())))
        self.spec = {job: [f"127.0.0.1:{next(ports)}" for _ in range(count)] for job, count in jobs.items()}

    def start(self, program: Path, job: str, index: int = 0, *args: object, **env: str) -> Process:
        """Start the program of a task, or start it again, at its address and with its `TF_CONFIG`."""
        config = {"cluster": self.spec, "task": {"type": job, "index": index}}
        process = Process(
            f"{job} {index}",
            [*self.network.prefix, sys.executable, str(program), *map(str, args)],
            {
                "TF_CONFIG": json.dumps(config),
                "PYTHONPATH": str(ROOT),
                "TF_CPP_MIN_LOG_LEVEL": "2",
                "CUDA_VISIBLE_DEVICES": "",
                **env,
            },
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End every process, and give up the network."""
        for process in self.processes:
            process.close()
        self.network.close()

    @property
    def output(self) -> str:
        """Everything that its processes wrote."""
        return "\n".join(process.output for process in self.processes)
