"""EventFileWriter, on real files, threads and processes."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import logging
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref

import crc32c
import numpy as np
import pytest
import tensorboardX.record_writer
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2 as tensorboard_event
from tensorboard.compat.proto import summary_pb2 as tensorboard_summary
from tensorboardX.proto import event_pb2 as tensorboardx_event
from tensorboardX.proto import summary_pb2 as tensorboardx_summary

from hookrun.writers import EventFileWriter, record_file

tf1 = tf.compat.v1
BOUND = 60  # seconds after which a wait has failed


def scalar(value, tag="loss"):
    return tf1.Summary(value=[tf1.Summary.Value(tag=tag, simple_value=value)]).SerializeToString()


def every_kind_of_summary():
    text = tf1.SummaryMetadata(plugin_data={"plugin_name": "text"})
    image = tf1.Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=b"png")
    audio = tf1.Summary.Audio(sample_rate=8000, num_channels=1, length_frames=1, encoded_audio_string=b"wav")
    histogram = tf1.HistogramProto(min=0, max=2, num=3, sum=3, bucket_limit=[1, 2], bucket=[1, 2])
    return tf1.Summary(
        value=[
            tf1.Summary.Value(tag="nan", simple_value=float("nan")),
            tf1.Summary.Value(tag="histogram", histo=histogram),
            tf1.Summary.Value(tag="image", image=image),
            tf1.Summary.Value(tag="audio", audio=audio),
            tf1.Summary.Value(tag="text", metadata=text, tensor=tf.make_tensor_proto(["words"])),
            tf1.Summary.Value(tag="tensor", tensor=tf.make_tensor_proto([[1.0, 2.0]])),
        ]
    )


def files(logdir):
    return sorted(str(path) for path in pathlib.Path(logdir).glob("*tfevents*"))


def events(logdir):
    """All events but the version, file after file."""
    found = [event for path in files(logdir) for event in tf1.train.summary_iterator(path)]
    return [event for event in found if event.WhichOneof("what") != "file_version"]


def steps(logdir):
    return [event.step for event in events(logdir)]


def await_steps(logdir, expected):
    """Wait until the event files hold these steps, as one who reads them while they are written."""
    deadline, found = time.monotonic() + BOUND, None
    while found != list(expected):
        assert time.monotonic() < deadline, f"{found} and not {expected}"
        with contextlib.suppress(tf.errors.DataLossError):  # the last record is being written
            found = steps(logdir)


def writer_threads():
    return [thread for thread in threading.enumerate() if thread.name == "hookrun-event-writer"]


def run(function):
    """Call `function` on a thread; join it with `joined`."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(BOUND)
    return not thread.is_alive()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Disk:
    """The record layer, which can be made to fail or to hang and tells what happens."""

    def __init__(self):
        self.error = None
        self.fails_at = "flush"
        self.works = threading.Event()
        self.works.set()
        self.hangs = threading.Event()
        self.outcomes = queue.Queue()  # of each flush: True, or the error

    def outcome(self):
        return self.outcomes.get(timeout=BOUND)

    def fail(self, at="flush"):
        self.fails_at, self.error = at, OSError(errno.ENOSPC, "No space left on device")

    def hang(self):
        self.hangs.clear()
        self.works.clear()

    def reach(self, place):
        if self.error is not None and self.fails_at == place:
            self.outcomes.put(self.error)
            raise self.error


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()

    opened = record_file._opened

    def open_(path):
        disk.reach("open")
        return opened(path)

    class RecordStream(record_file.RecordStream):
        def write(self, data):
            if disk.error is not None and disk.fails_at == "write":
                super().write(data)
                self._writer.flush()
                path = self._writer.name
                os.truncate(path, os.path.getsize(path) - 3)  # the record is torn
            disk.reach("write")
            super().write(data)

        def flush(self):
            if not disk.works.is_set():
                disk.hangs.set()
                assert disk.works.wait(BOUND)
            disk.reach("flush")
            super().flush()
            disk.outcomes.put(True)

    monkeypatch.setattr(record_file, "_opened", open_)
    monkeypatch.setattr(record_file, "RecordStream", RecordStream)
    yield disk
    disk.works.set()


@pytest.fixture
def log():
    """A queue of what is logged."""
    records = queue.Queue()

    class Handler(logging.Handler):
        def emit(self, record):
            records.put(record)

    logger = logging.getLogger("hookrun.writers.event_file")
    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def logged(log):
    return [log.get_nowait() for _ in range(log.qsize())]


@pytest.fixture
def python(tmp_path):
    """Start a Python process that has a writer `w` for `tmp_path / "log"`, and `scalar`."""
    start = (
        "import logging, os, signal, sys, time\n"
        "import tensorflow as tf\n"
        "from hookrun.writers import EventFileWriter\n"
        "def scalar(value):\n"
        "    value = tf.compat.v1.Summary.Value(tag='loss', simple_value=value)\n"
        "    return tf.compat.v1.Summary(value=[value]).SerializeToString()\n"
        "logging.basicConfig()\n"
        f"w = EventFileWriter({str(tmp_path / 'log')!r})\n"
    )
    processes = []

    def popen(program):
        process = subprocess.Popen(
            [sys.executable, "-c", start + program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield popen
    for process in processes:
        process.kill()
        process.communicate()


# What is written


def test_directory_is_made_at_once_and_the_file_with_the_first_event(tmp_path):
    logdir = tmp_path / "deep" / "log"
    with EventFileWriter(logdir) as writer:
        assert logdir.is_dir() and files(logdir) == []
        assert writer.get_logdir() == str(logdir)
        writer.add_summary(scalar(1.0), 1)
        writer.flush()
        assert len(files(logdir)) == 1
    assert len(files(logdir)) == 1


def test_file_begins_with_the_version(tmp_path):
    before = time.time()
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(scalar(1.0), 1)
    first, second = tf1.train.summary_iterator(files(tmp_path)[0])
    assert first.file_version == "brain.Event:2"
    assert before <= second.wall_time <= first.wall_time <= time.time()


@pytest.mark.parametrize("suffix", ["", ".eval"])
def test_file_name_begins_as_in_tensorflow_and_ends_with_the_suffix(tmp_path, suffix):
    with EventFileWriter(tmp_path, filename_suffix=suffix) as writer:
        writer.add_summary(scalar(1.0), 1)
    name = os.path.basename(files(tmp_path)[0])
    parts = name.split(".")
    assert parts[:3] == ["events", "out", "tfevents"] and abs(int(parts[3]) - time.time()) < 60
    assert name.endswith(f".{os.getpid()}{suffix}")


@pytest.mark.parametrize(
    "kind",
    [None, tf1.Summary, tensorboardx_summary.Summary, tensorboard_summary.Summary],
    ids=["bytes", "tensorflow", "tensorboardX", "tensorboard"],
)
def test_summaries_come_back_unchanged(tmp_path, kind):
    serialized = every_kind_of_summary().SerializeToString()
    with EventFileWriter(tmp_path) as writer:
        for step in range(2):
            writer.add_summary(kind.FromString(serialized) if kind else serialized, step)
    assert [event.summary.SerializeToString() for event in events(tmp_path)] == [serialized] * 2


def test_bytes_are_not_parsed(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(b"no message at all", 1)
    _, record = tf1.io.tf_record_iterator(files(tmp_path)[0])
    assert record.endswith(b"\x10\x01\x2a\x11no message at all")


def test_tensorboard_reads_the_curve(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        for step in range(300):
            writer.add_summary(scalar(step / 2), step)
    curve = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(point.step, point.value) for point in curve] == [(step, step / 2) for step in range(300)]


@pytest.mark.parametrize(
    ("step", "read"),
    [
        (0, 0),
        (127, 127),
        (128, 128),
        (-3, -3),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (np.int64(5), 5),
        (np.int32(-5), -5),
        (np.array(5), 5),
        (np.array([5]), 5),
        (5.0, 5),
        (None, 0),
    ],
)
def test_step_is_any_kind_of_integer(tmp_path, step, read):
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(scalar(1.0), step)
    assert steps(tmp_path) == [read]


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, np.array([1, 2])])
def test_step_that_is_not_one_number_of_64_bits_is_refused(tmp_path, step):
    with EventFileWriter(tmp_path) as writer, pytest.raises(ValueError):
        writer.add_summary(scalar(1.0), step)


@pytest.mark.parametrize("kind", [tf1.Event, tensorboardx_event.Event, tensorboard_event.Event])
def test_event_keeps_its_own_time_and_step(tmp_path, kind):
    event = kind(wall_time=12.5, step=7, log_message={"message": "hello"})
    with EventFileWriter(tmp_path) as writer:
        writer.add_event(event)
    assert [event.SerializeToString() for event in events(tmp_path)] == [event.SerializeToString()]


@pytest.mark.parametrize("messages", [tf1, tensorboardx_event, tensorboard_event])
def test_session_log_is_read_back(tmp_path, messages):
    with EventFileWriter(tmp_path) as writer:
        log = messages.SessionLog(status=messages.SessionLog.CHECKPOINT, checkpoint_path="model-3")
        writer.add_session_log(log, 3)
    (event,) = events(tmp_path)
    assert event.step == 3 and event.session_log.checkpoint_path == "model-3"


def test_graph_meta_graph_and_run_metadata_are_read_back(tmp_path):
    with tf.Graph().as_default() as graph:
        tf1.placeholder(tf.float32, [3], name="x")
        meta_graph = tf1.train.export_meta_graph()
    run_metadata = tf1.RunMetadata(step_stats={"dev_stats": [{"device": "cpu"}]})
    with EventFileWriter(tmp_path) as writer:
        writer.add_graph(graph, 1)
        writer.add_meta_graph(meta_graph, 2)
        writer.add_run_metadata(run_metadata, "first", 3)
    read = EventAccumulator(str(tmp_path)).Reload()
    expected = graph.as_graph_def(add_shapes=True).SerializeToString(deterministic=True)
    assert read.Graph().SerializeToString(deterministic=True) == expected
    assert read.MetaGraph().graph_def.node[0].name == "x"
    assert read.RunMetadata("first").step_stats.dev_stats[0].device == "cpu"
    assert steps(tmp_path) == [1, 2, 3]


def test_graph_may_be_a_graph_def_under_either_name(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.constant(1.0)
    graph_def = graph.as_graph_def()
    with EventFileWriter(tmp_path) as writer:
        writer.add_graph(graph_def)
        writer.add_graph(None, graph_def=graph_def)
        writer.add_graph(None, graph_def=graph)
    as_def, as_older_name, as_graph = [tf1.GraphDef.FromString(event.graph_def) for event in events(tmp_path)]
    assert as_def == as_older_name == graph_def
    assert as_graph == graph.as_graph_def(add_shapes=True)


def test_checksums_are_computed_natively():
    assert tensorboardX.record_writer.crc32c is crc32c.crc32c


# What is refused


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("add_summary", "text", "summary must be serialized bytes or a message of type Summary, not str"),
        ("add_summary", {"loss": 1.0}, "summary must be .* Summary, not dict"),
        ("add_summary", None, "summary must be .* Summary, not NoneType"),
        ("add_summary", tf1.Event(), "summary must be .* Summary, not Event"),
        ("add_summary", tf1.Summary, "summary must be .* Summary, not "),
        ("add_event", b"", "event must be a message of type Event, not bytes"),
        ("add_session_log", b"", "session_log must be a message of type SessionLog, not bytes"),
        ("add_meta_graph", b"", "meta_graph_def must be a message of type MetaGraphDef, not bytes"),
        ("add_graph", "text", "must be an instance of `Graph` or the deprecated `GraphDef`"),
        ("add_graph", None, "must be an instance of `Graph` or the deprecated `GraphDef`"),
    ],
)
def test_other_type_is_refused_by_name_and_type(tmp_path, method, value, message):
    with EventFileWriter(tmp_path) as writer, pytest.raises(TypeError, match=message):
        getattr(writer, method)(value)
    assert files(tmp_path) == []


def test_graph_given_twice_is_refused(tmp_path):
    with EventFileWriter(tmp_path) as writer, pytest.raises(ValueError, match="Please pass only graph"):
        writer.add_graph(tf.Graph(), graph_def=tf1.GraphDef())


def test_tag_of_run_metadata_is_used_once(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        with pytest.raises(TypeError):
            writer.add_run_metadata(b"", "tag")
        writer.add_run_metadata(tf1.RunMetadata(), "tag", 1)
        with pytest.raises(ValueError, match="The provided tag was already used for this event type"):
            writer.add_run_metadata(tf1.RunMetadata(), "tag", 2)
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_queue": 0}, "max_queue .* not 0"),
        ({"flush_secs": -1}, "flush_secs .* not -1"),
        ({"flush_secs": float("nan")}, "flush_secs .* not nan"),
        ({"logdir": "other://host/log"}, "logdir must be a local path, .*ram, not 'other://host/log'"),
        ({"logdir": "file://runs/first"}, "absolute path, .* not 'file://runs/first'"),
    ],
)
def test_argument_out_of_range_is_refused_with_its_value(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        EventFileWriter(**{"logdir": tmp_path, **arguments})


def test_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        EventFileWriter(tmp_path / "file")


# When it is written


def test_flush_returns_when_everything_added_before_is_on_disk(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def recording(descriptor):
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", recording)
    with EventFileWriter(tmp_path) as writer:
        for step in range(100):
            run_thread = run(lambda step=step: writer.add_summary(scalar(1.0), step))
            writer.add_summary(scalar(1.0), 1000 + step)
            assert joined(run_thread)
            writer.flush()
            assert len(steps(tmp_path)) == 2 * (step + 1)
            assert synced[-1] == os.path.getsize(files(tmp_path)[0])


def test_flush_waits_for_a_write_that_is_under_way(tmp_path, disk):
    with EventFileWriter(tmp_path) as writer:
        disk.hang()
        writer.add_summary(scalar(1.0), 1)
        assert disk.hangs.wait(BOUND)
        flushed = []
        flushing = run(lambda: (writer.flush(), flushed.append(steps(tmp_path))))
        flushing.join(0.1)
        assert not flushed
        disk.works.set()
        assert joined(flushing) and flushed == [[1]]


def test_nothing_is_lost_when_the_process_is_killed_after_flush(tmp_path, python):
    process = python(
        "for step in range(700):\n"
        "    w.add_summary(scalar(step), step)\n"
        "w.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert process.wait(BOUND) == -signal.SIGKILL
    assert steps(tmp_path / "log") == list(range(700))


def test_nothing_before_the_last_flush_is_missing_at_50_random_moments_of_a_kill(tmp_path):
    """The children are forked from a process that has no threads yet; each tells what it has flushed."""
    program = (
        "import os, random, signal, sys, time\n"
        "import tensorflow as tf\n"
        "from hookrun.writers import EventFileWriter\n"
        "value = tf.compat.v1.Summary.Value(tag='loss', simple_value=0.5)\n"
        "summary = tf.compat.v1.Summary(value=[value] * 20).SerializeToString()\n"
        "generator = random.Random(0)\n"
        "for child in range(50):\n"
        "    logdir, secs = os.path.join(sys.argv[1], str(child)), generator.uniform(0, 0.1)\n"
        "    read, write = os.pipe()\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        writer = EventFileWriter(logdir, max_queue=50)\n"
        "        step = 0\n"
        "        while True:\n"
        "            for _ in range(generator.randrange(1, 40)):\n"
        "                step += 1\n"
        "                writer.add_summary(summary, step)\n"
        "            writer.flush()\n"
        "            os.write(write, b'%d\\n' % step)\n"
        "    os.close(write)\n"
        "    first = os.read(read, 5)\n"
        "    time.sleep(secs)\n"
        "    os.kill(pid, signal.SIGKILL)\n"
        "    os.waitpid(pid, 0)\n"
        "    with os.fdopen(read, 'rb') as told:\n"
        "        flushed = (first + told.read()).split()\n"
        "    print(flushed[-1].decode(), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    flushed = [int(line) for line in done.stdout.split()]
    assert len(flushed) == 50 and max(flushed) > 50
    for child, last in enumerate(flushed):
        (path,) = files(tmp_path / str(child))
        read = []
        with contextlib.suppress(tf.errors.DataLossError):  # the last record may be torn
            read.extend(event.step for event in tf1.train.summary_iterator(path) if event.step)
        assert read == list(range(1, len(read) + 1)) and len(read) >= last


def test_what_is_added_is_written_within_a_second_and_synced_every_flush_secs(tmp_path, disk):
    clock = Clock()
    with EventFileWriter(tmp_path, flush_secs=120, clock=clock) as writer:
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is True  # the first one is synced at once
        writer.flush()  # has nothing to write, but waits until the thread has read the clock
        writer.add_summary(scalar(1.0), 2)
        for step, secs in ((3, 0.6), (4, 118)):
            clock.now += secs
            writer.add_summary(scalar(1.0), step)
            await_steps(tmp_path, range(1, step + 1))
            assert disk.outcomes.empty()
        clock.now += 1.5
        writer.add_summary(scalar(1.0), 5)
        assert disk.outcome() is True
        assert steps(tmp_path) == [1, 2, 3, 4, 5]


def test_what_was_added_survives_a_kill_without_any_flush(tmp_path, python):
    process = python(
        "for step in range(50):\n"
        "    w.add_summary(scalar(step), step)\n"
        "    print(step, flush=True)\n"
        "    if step == 0: w.flush()\n"
        "sys.stdin.read()\n"
    )
    assert [process.stdout.readline() for _ in range(50)][-1] == "49\n"
    await_steps(tmp_path / "log", range(50))  # much earlier than flush_secs
    process.kill()
    process.wait(BOUND)
    assert steps(tmp_path / "log") == list(range(50))


def test_what_was_written_and_not_synced_is_written_again_after_a_failure(tmp_path, disk):
    clock = Clock()
    with EventFileWriter(tmp_path, clock=clock) as writer:
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is True
        writer.flush()
        clock.now += 1
        writer.add_summary(scalar(1.0), 2)
        await_steps(tmp_path, [1, 2])
        disk.fail("write")
        clock.now += 1
        writer.add_summary(scalar(1.0), 3)
        assert disk.outcome() is disk.error
        await_steps(tmp_path, [1])  # it is cut back
        disk.error = None
    assert steps(tmp_path) == [1, 2, 3] and len(files(tmp_path)) == 2


def test_flush_soon_has_everything_written_without_waiting(tmp_path, disk):
    with EventFileWriter(tmp_path) as writer:
        writer.flush_soon()  # there is nothing to write
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is True
        for step in (2, 4):
            writer.add_summary(scalar(1.0), step)
            disk.hang()
            writer.flush_soon()
            assert disk.hangs.wait(BOUND)
            writer.add_summary(scalar(1.0), step + 1)
            writer.flush_soon()  # while it is being written, without what was added since
            disk.works.set()
            assert disk.outcome() is True and disk.outcome() is True
            assert steps(tmp_path) == list(range(1, step + 2))


def test_flush_soon_does_not_hurry_a_disk_that_fails(tmp_path, disk):
    with EventFileWriter(tmp_path, clock=Clock()) as writer:
        disk.fail()
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is disk.error
        writer.add_summary(scalar(1.0), 2)
        writer.flush_soon()
        with pytest.raises(queue.Empty):
            disk.outcomes.get(timeout=0.05)
        disk.error = None
    assert steps(tmp_path) == [1, 2]


def test_first_event_after_reopening_is_written_at_once(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    for step in range(2):
        writer.reopen()
        writer.add_summary(scalar(1.0), step)
        assert disk.outcome() is True
        assert steps(tmp_path) == list(range(step + 1))
        writer.close()


def test_events_are_written_after_flush_secs_when_none_follows(tmp_path, disk):
    with EventFileWriter(tmp_path, flush_secs=0.05) as writer:
        for step in (1, 2):
            writer.add_summary(scalar(1.0), step)
            assert disk.outcome() is True
        assert steps(tmp_path) == [1, 2]


def test_flush_secs_may_be_infinite(tmp_path, disk):
    clock = Clock()
    with EventFileWriter(tmp_path, flush_secs=float("inf"), clock=clock) as writer:
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is True
        writer.flush()
        clock.now += 1e9
        writer.add_summary(scalar(1.0), 2)
        await_steps(tmp_path, [1, 2])
        assert disk.outcomes.empty()
    assert disk.outcome() is True


@pytest.mark.parametrize(("count", "size"), [(5, 0), (1, 16 << 20)])
def test_events_are_written_when_the_queue_is_half_full_or_large(tmp_path, disk, count, size):
    with EventFileWriter(tmp_path, max_queue=10) as writer:
        writer.add_summary(scalar(1.0), 0)
        assert disk.outcome() is True
        for step in range(1, count + 1):
            writer.add_summary(scalar(1.0, tag="x" * size), step)
        assert disk.outcome() is True
        assert steps(tmp_path) == list(range(count + 1))


# Many writers and threads


def test_eight_threads_at_once_lose_nothing_and_keep_their_order(tmp_path):
    start = threading.Barrier(8)

    def add(index):
        start.wait(BOUND)
        for value in range(1000):
            writer.add_summary(scalar(value), index)

    with EventFileWriter(tmp_path) as writer:
        threads = [run(lambda index=index: add(index)) for index in range(8)]
        assert all([joined(thread) for thread in threads])
        writer.flush()
        assert writer.dropped == 0
    values = {index: [] for index in range(8)}
    for event in events(tmp_path):
        values[event.step].append(event.summary.value[0].simple_value)
    assert values == {index: list(range(1000)) for index in range(8)}


def test_thirty_reopens_within_a_second_keep_everything_in_order(tmp_path):
    writer = EventFileWriter(tmp_path)
    before = time.monotonic()
    for step in range(30):
        writer.reopen()
        writer.add_summary(scalar(1.0), step)
        writer.close()
        assert writer_threads() == []
    assert time.monotonic() - before < 10  # no file waits for the next second
    assert len(files(tmp_path)) == 30
    assert steps(tmp_path) == list(range(30))
    curve = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [point.step for point in curve] == list(range(30))


def test_writers_of_the_same_instant_have_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    with EventFileWriter(tmp_path) as one, EventFileWriter(tmp_path) as other:
        one.add_summary(scalar(1.0), 1)
        one.flush()
        other.add_summary(scalar(1.0), 2)
        other.flush()
        one.add_summary(scalar(1.0), 3)
    assert [[event.step for event in tf1.train.summary_iterator(path)] for path in files(tmp_path)] == [
        [0, 1, 3],
        [0, 2],
    ]


def test_two_processes_at_once_lose_nothing(tmp_path, python):
    program = (
        "print('ready', flush=True)\n"
        "first = int(sys.stdin.readline())\n"
        "for step in range(first, first + 100):\n"
        "    w.add_summary(scalar(step), step)\n"
        "w.close()\n"
    )
    processes = [python(program), python(program)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for index, process in enumerate(processes):
        process.stdin.write(f"{100 * index}\n")
        process.stdin.flush()
    assert [process.wait(BOUND) for process in processes] == [0, 0]
    assert len(files(tmp_path / "log")) == 2
    assert sorted(steps(tmp_path / "log")) == list(range(200))


# The queue is full


def test_a_disk_that_hangs_holds_nothing_up_and_what_does_not_fit_is_counted(tmp_path, disk, log):
    with EventFileWriter(tmp_path, max_queue=10) as writer:
        disk.hang()
        writer.add_summary(scalar(1.0), 0)
        assert disk.hangs.wait(BOUND)
        for step in range(1, 10):
            writer.add_summary(scalar(1.0), step)
        assert writer.dropped == 0
        before = time.monotonic()
        for step in range(1000):
            writer.add_summary(scalar(1.0), 1000 + step)
            assert time.monotonic() - before < 1
        assert writer.dropped == 1000
        (record,) = logged(log)
        assert record.levelno == logging.WARNING and "10 events wait" in record.getMessage()
        disk.works.set()
    assert steps(tmp_path) == list(range(10))
    (record,) = logged(log)
    assert record.levelno == logging.WARNING and "1000 events" in record.getMessage()


def test_what_matters_most_is_never_dropped(tmp_path, disk):
    with EventFileWriter(tmp_path, max_queue=1) as writer:
        disk.hang()
        writer.add_summary(scalar(1.0), 1)
        assert disk.hangs.wait(BOUND)
        writer.add_session_log(tf1.SessionLog(status=tf1.SessionLog.START), 2)
        writer.add_graph(tf1.GraphDef(), 3)
        writer.add_meta_graph(tf1.MetaGraphDef(), 4)
        writer.add_run_metadata(tf1.RunMetadata(), "tag", 5)
        writer.add_event(tf1.Event(step=6, session_log={"status": 2}))
        writer.add_event(tf1.Event(file_version="brain.Event:2", step=7))
        assert writer.dropped == 0
        writer.add_event(tf1.Event(step=8, summary=tf1.Summary()))
        assert writer.dropped == 1
        disk.works.set()
    assert [event.step for event in tf1.train.summary_iterator(files(tmp_path)[0])][1:] == list(range(1, 8))


def test_a_disk_that_keeps_up_is_waited_for(tmp_path):
    with EventFileWriter(tmp_path, max_queue=2) as writer:
        for step in range(200):
            writer.add_summary(scalar(1.0), step)
        assert writer.dropped == 0
    assert steps(tmp_path) == list(range(200))


# The disk fails


@pytest.mark.parametrize("place", ["open", "write", "flush"])
def test_a_failing_disk_is_reported_once_and_retried_until_it_works(tmp_path, disk, log, place):
    with EventFileWriter(tmp_path) as writer:
        disk.fail(place)
        writer.add_summary(scalar(1.0), 0)
        assert disk.outcome() is disk.error
        before = time.monotonic()
        for step in range(1, 1000):
            writer.add_summary(scalar(1.0), step)
            assert time.monotonic() - before < 1
        assert writer.dropped == 0
        assert disk.outcome() is disk.error  # the next attempt
        record = log.get(timeout=BOUND)
        assert record.levelno == logging.ERROR and record.exc_info[1] is disk.error
        disk.error = None
        record = log.get(timeout=BOUND)  # no second report comes before this
        assert record.levelno == logging.INFO and "again" in record.getMessage()
        assert len(files(tmp_path)) == 1
        assert steps(tmp_path) == list(range(1000))
        disk.fail("write")
        with pytest.raises(OSError):
            writer.add_summary(scalar(1.0), 1000)
            writer.flush()
        assert log.get(timeout=BOUND).levelno == logging.ERROR  # a new failure
        disk.error = None


def test_events_beyond_the_queue_are_dropped_at_once_while_the_disk_fails(tmp_path, disk):
    writer = EventFileWriter(tmp_path, max_queue=10, clock=Clock())
    disk.fail()
    for step in range(10):
        writer.add_summary(scalar(1.0), step)
    with pytest.raises(OSError):
        writer.flush()
    before = time.monotonic()
    for step in range(1000):
        writer.add_summary(scalar(1.0), 1000 + step)
        assert time.monotonic() - before < 0.4  # less than the wait for a disk that keeps up
    assert writer.dropped == 1000
    disk.error = None
    writer.close()
    assert steps(tmp_path) == list(range(10))


@pytest.mark.parametrize("place", ["write", "flush"])
def test_a_failure_leaves_no_torn_record_and_writes_nothing_twice(tmp_path, disk, place):
    with EventFileWriter(tmp_path, clock=Clock()) as writer:
        for step in range(5):
            writer.add_summary(scalar(1.0), step)
        writer.flush()
        before = [pathlib.Path(path).read_bytes() for path in files(tmp_path)]
        disk.fail(place)
        for step in range(5, 10):
            writer.add_summary(scalar(1.0), step)
        with pytest.raises(OSError):
            writer.flush()
        disk.error = None
        gc.collect()  # what is still buffered somewhere would be written now
        assert [pathlib.Path(path).read_bytes() for path in files(tmp_path)] == before
    assert len(files(tmp_path)) == 2
    assert steps(tmp_path) == list(range(10))


def test_flush_raises_the_error_after_its_attempt_and_loses_nothing(tmp_path, disk):
    writer = EventFileWriter(tmp_path, clock=Clock())
    disk.fail()
    writer.add_summary(scalar(1.0), 1)
    for _ in range(3):
        with pytest.raises(OSError) as raised:
            writer.flush()
        assert raised.value is disk.error
    disk.error = None
    writer.flush()
    assert steps(tmp_path) == [1]
    writer.close()


def test_next_attempt_is_made_after_a_time_that_doubles_up_to_five_seconds(tmp_path, disk):
    clock = Clock()
    writer = EventFileWriter(tmp_path, clock=clock)
    disk.fail()
    writer.add_summary(scalar(1.0), 0)
    for secs in (0.2, 0.8, 3.2, 5, 5):
        assert disk.outcome() is disk.error  # of the thread's attempt
        with pytest.raises(OSError):
            writer.flush()
        assert disk.outcome() is disk.error
        clock.now += 0.99 * secs
        writer.add_summary(scalar(1.0), 1)
        with pytest.raises(queue.Empty):
            disk.outcomes.get(timeout=0.02)
        clock.now += 0.02 * secs
        writer.add_summary(scalar(1.0), 1)
    assert disk.outcome() is disk.error
    disk.error = None
    writer.close()


def test_close_says_how_many_events_are_lost(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    disk.fail()
    for step in range(3):
        writer.add_summary(scalar(1.0), step)
    with pytest.raises(OSError, match="3 events .* were lost: .*No space left on device") as raised:
        writer.close()
    assert raised.value.errno == errno.ENOSPC and raised.value.__cause__ is disk.error
    assert writer_threads() == [] and files(tmp_path) == []
    disk.error = None
    writer.close()
    writer.reopen()
    writer.add_summary(scalar(1.0), 5)
    writer.close()
    assert steps(tmp_path) == [5]


def test_close_makes_a_last_attempt(tmp_path, disk):
    writer = EventFileWriter(tmp_path, clock=Clock())
    disk.fail()
    writer.add_summary(scalar(1.0), 1)
    assert disk.outcome() is disk.error
    disk.error = None
    writer.close()
    assert steps(tmp_path) == [1]


def test_any_error_of_the_storage_counts_as_failure(tmp_path, disk):
    with EventFileWriter(tmp_path) as writer:
        disk.error = RuntimeError("the client of the storage has its own errors")
        writer.add_summary(scalar(1.0), 1)
        assert disk.outcome() is disk.error
        disk.error = None
        assert disk.outcome() is True
        assert steps(tmp_path) == [1]


def test_a_real_disk_that_takes_no_more_holds_nothing_up(tmp_path, python):
    process = python(
        "import resource\n"
        "w.add_summary(scalar(0), 0)\n"
        "w.flush()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "def flush():\n"
        "    try:\n"
        "        w.flush()\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
        "before = time.monotonic()\n"
        "for step in range(1, 501):\n"
        "    w.add_summary(scalar(step), step)\n"
        "flush()\n"
        "for step in range(501, 1000):\n"
        "    w.add_summary(scalar(step), step)\n"
        "print(time.monotonic() - before < 1, w.dropped)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "flush()\n"
        "w.close()\n"
    )
    output, errors = process.communicate(timeout=BOUND)
    assert output.split() == [str(errno.EFBIG), "True", "0"], errors
    assert errors.count("Traceback") == 1
    assert steps(tmp_path / "log") == list(range(1000))


def test_a_deleted_file_is_replaced(tmp_path):
    logdir = tmp_path / "log"
    with EventFileWriter(logdir) as writer:
        writer.add_summary(scalar(1.0), 1)
        writer.flush()
        os.remove(files(logdir)[0])
        logdir.rmdir()
        writer.add_summary(scalar(1.0), 2)
    assert steps(logdir) == [2]


# The end


def test_closed_writer_ignores_events_until_it_is_reopened(tmp_path):
    writer = EventFileWriter(tmp_path)
    writer.add_summary(scalar(1.0), 1)
    writer.close()
    writer.close()
    with pytest.warns(UserWarning, match="ignored: the writer is closed") as warned:
        writer.add_summary(scalar(1.0), 2)
    assert warned[0].filename == __file__
    writer.flush()
    writer.reopen()
    writer.add_summary(scalar(1.0), 3)
    writer.close()
    assert steps(tmp_path) == [1, 3] and len(files(tmp_path)) == 2


def test_reopening_an_open_writer_does_nothing(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(scalar(1.0), 1)
        writer.flush()
        writer.reopen()
        writer.add_summary(scalar(1.0), 2)
    assert steps(tmp_path) == [1, 2] and len(files(tmp_path)) == 1


def test_thread_lives_from_the_first_event_to_close(tmp_path):
    with EventFileWriter(tmp_path) as writer:
        assert writer_threads() == []
        for step in range(2):
            writer.add_summary(scalar(1.0), step)
            (thread,) = writer_threads()
            assert thread.daemon
        writer.flush()  # so that close has nothing to do but to end the thread
    assert writer_threads() == []


@pytest.mark.filterwarnings("ignore:This event is ignored")
def test_close_and_reopen_from_several_threads_leave_no_thread(tmp_path):
    writer = EventFileWriter(tmp_path)

    def use():
        for _ in range(20):
            writer.reopen()
            writer.add_session_log(tf1.SessionLog())
            writer.close()

    threads = [run(use) for _ in range(4)]
    assert all([joined(thread) for thread in threads])
    writer.close()
    assert writer_threads() == []
    assert all(list(tf1.train.summary_iterator(path)) for path in files(tmp_path))


def test_end_of_the_interpreter_keeps_the_events_of_an_open_writer(tmp_path, python):
    process = python(
        "w.add_summary(scalar(0), 0)\n"
        "w.flush()\n"
        "for step in range(1, 50):\n"
        "    w.add_summary(scalar(step), step)\n"
    )
    assert process.wait(BOUND) == 0
    assert steps(tmp_path / "log") == list(range(50))


def test_close_leaves_nothing_to_do_at_the_end_of_the_interpreter(tmp_path, monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    writer = EventFileWriter(tmp_path)
    assert len(at_exit) == 1
    writer.close()
    assert at_exit == []


def test_forgotten_writer_is_collected_and_its_events_are_written(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    writer.add_summary(scalar(1.0), 1)
    assert disk.outcome() is True
    writer.add_summary(scalar(1.0), 2)
    reference, (thread,) = weakref.ref(writer), writer_threads()
    del writer
    gc.collect()
    assert joined(thread)
    assert reference() is None
    assert steps(tmp_path) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_child_leaves_the_events_of_its_parent_alone(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    writer.add_summary(scalar(1.0), 1)
    assert disk.outcome() is True
    writer.add_summary(scalar(1.0), 2)
    if (child := os.fork()) == 0:
        del writer
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert steps(tmp_path) == [1]
    writer.close()
    assert steps(tmp_path) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_child_that_adds_events_writes_a_file_of_its_own(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    writer.add_summary(scalar(1.0), 1)
    assert disk.outcome() is True
    writer.add_summary(scalar(1.0), 2)
    if (child := os.fork()) == 0:
        try:
            writer.add_summary(scalar(1.0), 100)
            writer.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    writer.add_summary(scalar(1.0), 3)
    writer.close()
    assert sorted(steps(tmp_path)) == [1, 2, 3, 100] and len(files(tmp_path)) == 2


@pytest.mark.skipif(not os.path.ismount("/dev/shm") or os.geteuid() != 0, reason="mounting needs root")
def test_full_disk_costs_the_training_nothing_and_what_fits_later_is_written(tmp_path, log):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        (disk / "ballast").write_bytes(bytes(40_000))
        writer = EventFileWriter(disk / "log", max_queue=100_000)
        before = time.monotonic()
        for step in range(1000):
            writer.add_summary(scalar(1.0, tag="x" * 50), step)
        assert time.monotonic() - before < 1
        with pytest.raises(OSError) as raised:
            writer.flush()
        assert raised.value.errno == errno.ENOSPC
        subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        writer.close()
        assert steps(disk / "log") == list(range(1000))
        assert [record.levelno for record in logged(log)].count(logging.ERROR) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# The name of the file


NOW = 1_700_000_000


@pytest.mark.parametrize(
    "there",
    [
        [f"events.out.tfevents.{NOW + 86400}.000000005.host.7"],  # the clock was set back
        [f"events.out.tfevents.{NOW + 86400}.zebra"],  # of TensorFlow's FileWriter
        [f"events.out.tfevents.{NOW}.zebra.7.0.v2"],  # in the same second
        ["events.out.tfevents.9000000000.zebra", f"events.out.tfevents.{NOW}.host"],  # far in the future
        [f"events.out.tfevents.{NOW}.123456789.zebra.99"],  # of another host, at the same instant
        ["checkpoint", "graph.pbtxt", "tfevents"],
    ],
)
def test_its_name_sorts_after_those_that_are_there(tmp_path, monkeypatch, there):
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 10**9 + 123_456_789)
    for name in there:
        (tmp_path / name).touch()
    writer = EventFileWriter(tmp_path)
    for step in range(3):
        writer.reopen()
        writer.add_summary(scalar(1.0), step)
        writer.close()
    names = sorted(name for name in os.listdir(tmp_path) if name.startswith("events"))
    new = [name for name in names if name not in there]
    assert names[-3:] == new and steps(tmp_path) == [0, 1, 2]


def test_a_run_whose_clock_was_set_back_is_shown_after_one_of_tensorflows_writer(tmp_path, monkeypatch):
    with tf.Graph().as_default():
        other = tf1.summary.FileWriter(tmp_path)
    other.add_summary(scalar(1.0), 1)
    other.close()
    day_before = time.time_ns() - 86400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: day_before)
    with EventFileWriter(tmp_path) as writer:
        writer.add_summary(scalar(2.0), 2)
    assert [point.step for point in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")] == [1, 2]


def test_a_change_of_the_directory_leaves_the_file_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with EventFileWriter("log") as writer:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        writer.add_summary(scalar(1.0), 1)
        writer.add_scalars("losses", {"train": 0.5}, 1)
    assert steps(tmp_path / "log") == [1] and files(tmp_path / "elsewhere") == []
    assert len(files(tmp_path / "log" / "losses" / "train")) == 1


# Storage that is not local


def test_urls_go_through_the_factories_of_tensorboardx(monkeypatch):
    stored = {}

    class Blob(io.BytesIO):
        def flush(self):
            stored[self.path] = self.getvalue()

        def fileno(self):
            return os.open(os.devnull, os.O_WRONLY)

    class Factory:
        directories = []

        def directory_check(self, path):
            self.directories.append(path)

        def open(self, path):
            blob = Blob()
            blob.path = path
            return blob

    monkeypatch.setitem(tensorboardX.record_writer.REGISTERED_FACTORIES, "memory", Factory())
    monkeypatch.setattr(os, "fsync", os.close)
    with EventFileWriter("memory://bucket/log") as writer:
        assert Factory.directories == ["memory://bucket/log"]
        writer.add_summary(scalar(1.0), 1)
        writer.flush()
        ((path, content),) = stored.items()
        assert path.startswith("memory://bucket/log/events.out.tfevents.")
        assert scalar(1.0) in content


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_url_is_a_local_path(tmp_path, host):
    with EventFileWriter(f"file://{host}{tmp_path}/log") as writer:
        assert writer.get_logdir() == f"{tmp_path}/log"
        writer.add_summary(scalar(1.0), 1)
    assert steps(tmp_path / "log") == [1]


def test_what_tensorflow_alone_knows_goes_through_its_file_systems():
    logdir = "ram://bucket/log"
    tf.io.gfile.makedirs(logdir)
    earlier = "events.out.tfevents.9000000000.zebra"
    with tf.io.gfile.GFile(f"{logdir}/{earlier}", "wb") as file:
        file.write(b"")

    def written():
        names = sorted(name for name in tf.io.gfile.listdir(logdir) if "tfevents" in name)
        assert names[0] == earlier
        found = [event for name in names[1:] for event in tf1.train.summary_iterator(f"{logdir}/{name}")]
        return [event.step for event in found if event.HasField("summary")]

    writer = EventFileWriter(logdir)
    writer.add_summary(scalar(1.0), 1)
    writer.flush()
    assert written() == [1]
    writer.add_summary(scalar(1.0), 2)
    writer.add_scalars("losses", {"train": 0.5}, 1)
    writer.close()
    assert written() == [1, 2]
    writer.reopen()
    writer.add_summary(scalar(1.0), 3)
    writer.close()
    assert written() == [1, 2, 3]
    assert tf.io.gfile.exists(f"{logdir}/losses/train")


def test_an_error_of_the_storage_is_raised_by_flush_as_one_of_the_system(tmp_path, disk):
    writer = EventFileWriter(tmp_path)
    disk.error = tf.errors.UnavailableError(None, None, "the storage is away")
    writer.add_summary(scalar(1.0), 1)
    with pytest.raises(OSError, match="Writing events to .* failed: the storage is away"):
        writer.flush()
    disk.error = None
    writer.close()
    assert steps(tmp_path) == [1]
