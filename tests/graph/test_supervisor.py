"""Supervisor: the documented life of a session, from its making to its end, under TensorFlow 2's defaults.

What it shares with TensorFlow's class is compared with that class in tests/differential.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hookrun
from hookrun import hooks, signals

CLEAN = {"stop_grace_secs": 10}


def train(sv, model, steps=1):
    with sv.managed_session() as sess:
        for _ in range(steps):
            sess.run(model.train_op)
        return sess.run([model.global_step, model.weights])


def kinds_of(events):
    statuses = {1: "START", 2: "STOP", 3: "CHECKPOINT"}
    return [
        statuses[e.session_log.status] if e.WhichOneof("what") == "session_log" else e.WhichOneof("what")
        for e in events
    ]


class TestEnvironment:
    def test_importing_hookrun_changes_nothing_in_tensorflow(self):
        program = (
            "import tensorflow as tf; before = tf.compat.v1.control_flow_v2_enabled()\n"
            "import hookrun\n"
            "assert tf.executing_eagerly() and tf.compat.v1.resource_variables_enabled()\n"
            "assert tf.compat.v1.control_flow_v2_enabled() == before\n"
            "assert len(tf.compat.v1.get_default_graph().get_operations()) == 0\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=100)

    def test_eager_execution_is_refused(self):
        program = (
            "import hookrun\n"
            "try: hookrun.Supervisor()\n"
            "except RuntimeError as error: assert 'incompatible with eager execution' in str(error)\n"
            "else: raise SystemExit('no error')\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=100)

    def test_everything_works_with_the_graph_as_an_argument_of_a_session_used_outside_of_it(self, tmp_path):
        graph = tf.Graph()
        with graph.as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            tf.compat.v1.summary.scalar("step", step)
            train_op = tf.compat.v1.assign_add(step, 1)
            sv = hookrun.Supervisor(logdir=tmp_path)

        def program():  # a thread has no default graph: eager execution
            assert tf.executing_eagerly()
            with sv.managed_session() as sess:
                sess.run(train_op)

        thread = threading.Thread(target=program)
        thread.start()
        thread.join()
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-1")


class TestArguments:
    def test_a_path_is_a_logdir_and_is_made(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path / "runs" / "one")
        assert (tmp_path / "runs" / "one").is_dir()
        assert sv.logdir == str(tmp_path / "runs" / "one")
        sv.stop()

    @pytest.mark.parametrize(
        "name", ["save_summaries_secs", "save_model_secs", "recovery_wait_secs", "stop_grace_secs"]
    )
    def test_negative_seconds_are_refused_by_name_and_value(self, graph, name):
        with pytest.raises(ValueError, match=f"{name} must be .* not -1"):
            hookrun.Supervisor(**{name: -1})

    def test_seconds_may_be_a_number_of_numpy(self, model, tmp_path):
        secs = np.float32(0.1)
        names = ["save_summaries_secs", "save_model_secs", "recovery_wait_secs"]
        sv = hookrun.Supervisor(logdir=tmp_path, stop_grace_secs=np.float32(30), **dict.fromkeys(names, secs))
        saved = threading.Event()
        with sv.managed_session("local", max_wait_secs=np.float32(60)) as sess:
            sess.run(model.train_op)
            sv.on(signals.checkpoint_saved, lambda *_: saved.set())
            sess.run(model.train_op)
            assert saved.wait(30)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"stop_grace_secs": None}, ValueError),
            ({"save_model_secs": "600"}, ValueError),
            ({"save_model_steps": -1}, ValueError),
            ({"save_summaries_steps": 1.5}, ValueError),
            ({"graph": "graph"}, TypeError),
            ({"logdir": 5}, TypeError),
            ({"init_fn": 5}, TypeError),
            ({"global_step": "global_step:0"}, TypeError),
            ({"saver": "x"}, TypeError),
            ({"summary_op": 5}, TypeError),
            ({"checkpoint_basename": None}, TypeError),
        ],
    )
    def test_what_is_of_no_use_is_refused_at_once_by_name_and_value(self, model, arguments, error):
        ((name, value),) = arguments.items()
        with pytest.raises(error, match=f"^{name} must be .* not {value!r}$"):
            hookrun.Supervisor(**arguments)

    def test_a_summary_op_that_returns_no_summaries_is_refused_at_once(self, model):
        with pytest.raises(TypeError, match="^summary_op must be a tensor of strings.* dtype=float32"):
            hookrun.Supervisor(summary_op=model.loss)
        with pytest.raises(TypeError, match="^summary_op must be a tensor of strings"):
            hookrun.Supervisor(summary_op=model.train_op)

    def test_a_summary_op_may_be_a_name(self, model):
        assert hookrun.Supervisor(summary_op="loss:0").summary_op == "loss:0"

    @pytest.mark.parametrize("below", ["", "below"])
    def test_a_logdir_that_is_a_file_or_below_one_is_refused_by_name_and_path(self, model, tmp_path, below):
        (tmp_path / "file").touch()
        path = tmp_path / "file" / below
        with pytest.raises(OSError, match=f"logdir must be a directory that can be written: .*{path}"):
            hookrun.Supervisor(logdir=path)
        with pytest.raises(OSError, match="logdir must be a directory"):
            hookrun.Supervisor(logdir=path, summary_writer=None)

    def test_a_logdir_that_cannot_be_written_is_refused_unless_nothing_is(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for one who is not root
        with pytest.raises(PermissionError, match=f"logdir must be .* can be written: .*{tmp_path}"):
            hookrun.Supervisor(logdir=tmp_path)
        hookrun.Supervisor(logdir=tmp_path, summary_writer=None, save_model_secs=0)  # to restore and look

    def test_an_interval_of_none_or_0_is_no_interval(self, model, tmp_path):
        sv = hookrun.Supervisor(
            logdir=tmp_path, save_model_secs=None, save_summaries_secs=0, save_model_steps=0
        )
        assert [hook.name for hook in sv.hooks] == ["QueueRunnerHook"]
        sv.stop()

    def test_new_arguments_are_keyword_only(self, graph):
        with pytest.raises(TypeError):
            hookrun.Supervisor(*[hookrun.Supervisor.USE_DEFAULT] * 21)

    def test_a_summary_writer_that_is_none_is_refused_at_once(self, graph):
        with pytest.raises(TypeError, match="add_summary"):
            hookrun.Supervisor(summary_writer=object())

    def test_ops_added_after_the_graph_was_finalized_are_named(self, model, graph, caplog):
        sv = hookrun.Supervisor()
        graph._unsafe_unfinalize()
        tf.constant(1, name="too_late")
        with caplog.at_level(logging.WARNING, "hookrun"), sv.managed_session():
            pass
        assert "too_late" in caplog.text


class TestSession:
    def test_the_second_session_goes_on_where_the_first_ended(self, model, tmp_path):
        train(hookrun.Supervisor(logdir=tmp_path, **CLEAN), model, 7)
        with tf.Graph().as_default():
            step = tf.compat.v1.train.get_or_create_global_step()
            weights = tf.compat.v1.get_variable("weights", [3], initializer=tf.compat.v1.zeros_initializer())
            with hookrun.Supervisor(logdir=tmp_path).managed_session() as sess:
                assert sess.run(step) == 7
                assert sess.run(weights)[0] == pytest.approx(1 - 0.8**7)

    def test_prepare_stop_and_prepare_again_with_one_supervisor(self, model, tmp_path, read_events):
        sv = hookrun.Supervisor(logdir=tmp_path, **CLEAN)
        for expected in (2, 4):
            sess = sv.prepare_or_wait_for_session()
            sess.run(model.train_op)
            sess.run(model.train_op)
            assert sess.run(model.global_step) == expected
            sv.stop()
            sess.close()
        assert kinds_of(read_events(tmp_path)).count("START") == 2
        assert len(list(tmp_path.glob("events.*"))) == 2

    def test_master_local_is_a_server_in_this_process(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path)
        for first_step in (0, 3):
            with sv.managed_session("local") as sess:
                assert sess.sess_str.startswith(b"grpc://localhost:")
                assert sess.run(model.global_step) == first_step
                for _ in range(3):
                    sess.run(model.train_op)

    def test_an_end_of_input_while_the_session_is_made_is_raised_as_itself(self, model):
        def init_fn(sess):
            raise tf.errors.OutOfRangeError(None, None, "in init_fn")

        with pytest.raises(tf.errors.OutOfRangeError, match="in init_fn"):
            with hookrun.Supervisor(init_fn=init_fn).managed_session():
                pytest.fail("the block must not be entered")

    def test_a_resource_variable_called_global_step_is_found(self, graph):
        step = tf.compat.v1.get_variable("global_step", [], tf.int64, trainable=False, use_resource=True)
        assert hookrun.Supervisor().global_step is step

    def test_the_meta_graph_takes_its_collections_from_the_graph_given(self, graph, tmp_path, read_events):
        other = tf.Graph()
        with other.as_default():
            tf.compat.v1.train.get_or_create_global_step()
        with hookrun.Supervisor(graph=other, logdir=tmp_path).managed_session():
            pass
        (event,) = [e for e in read_events(tmp_path) if e.WhichOneof("what") == "meta_graph_def"]
        meta_graph = tf.compat.v1.MetaGraphDef.FromString(event.meta_graph_def)
        assert "global_step" in meta_graph.collection_def


class TestServices:
    def test_without_a_logdir_a_direct_start_is_an_error_and_a_session_is_not(self, model):
        sv = hookrun.Supervisor()
        sess = sv.prepare_or_wait_for_session()
        with pytest.raises(ValueError, match="logdir"):
            sv.start_standard_services(sess)
        sv.stop()
        sess.close()

    def test_the_timers_are_returned_named_registered_and_joined(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, **CLEAN)
        sess = sv.prepare_or_wait_for_session(start_standard_services=False)
        threads = sv.start_standard_services(sess)
        assert [thread.name for thread in threads] == ["hookrun-summary-timer", "hookrun-checkpoint-timer"]
        assert set(threads) <= sv.coord.threads
        sv.stop()
        assert not any(thread.is_alive() for thread in threads)
        sess.close()

    def test_the_first_ticks_come_at_once(self, model, tmp_path, wait_until):
        sv = hookrun.Supervisor(logdir=tmp_path, **CLEAN)
        summary, checkpoint = threading.Event(), threading.Event()
        sv.on(signals.summary_due, lambda *_: summary.set())
        sv.on(signals.checkpoint_saved, lambda *_: checkpoint.set())
        with sv.managed_session():
            wait_until(summary)
            wait_until(checkpoint)

    def test_summaries_and_checkpoints_every_so_many_steps(self, model, tmp_path):
        sv = hookrun.Supervisor(
            logdir=tmp_path,
            save_summaries_secs=0,
            save_model_secs=0,
            save_summaries_steps=2,
            save_model_steps=5,
            **CLEAN,
        )
        saved, summed = [], []
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        sv.on(signals.summary_due, lambda *_: summed.append(threading.current_thread()))
        train(sv, model, 12)
        assert saved == [5, 10, 12]
        assert summed == [threading.current_thread()] * 6

    def test_services_that_are_started_twice_run_once(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1, **CLEAN)
        summed = []
        sv.on(signals.summary_due, lambda *_: summed.append(True))
        with sv.managed_session() as sess:
            assert sv.start_standard_services(sess) == []
            sess.run(model.train_op)
        assert summed == [True]

    def test_a_new_session_ends_the_services_of_one_that_was_not_stopped(
        self, model, tmp_path, caplog, wait_until
    ):
        sv = hookrun.Supervisor(
            logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1, save_model_steps=2, **CLEAN
        )
        summed, ended, timers = [], [], []
        sv.on(signals.summary_due, lambda _, event: summed.append(event.session))
        sv.on(signals.stop, lambda _, event: ended.append((event.session, event.clean)))
        ticked = threading.Event()
        sv.on(signals.checkpoint_saved, lambda *_: ticked.set())
        first = sv.prepare_or_wait_for_session()
        wait_until(ticked)
        timers.append([t for t in threading.enumerate() if t.name == "hookrun-checkpoint-timer"])
        for _ in range(3):
            first.run(model.train_op)
        second = sv.prepare_or_wait_for_session()
        timers.append([t for t in threading.enumerate() if t.name == "hookrun-checkpoint-timer"])
        assert ended == [(first, False)]
        assert "was not stopped" in caplog.text
        assert [len(threads) for threads in timers] == [1, 1]
        assert timers[0] != timers[1]
        assert second.run(model.global_step) == 2  # saved on its schedule; nothing more
        second.run(model.train_op)
        assert summed == [first] * 3 + [second]
        assert not sv.should_stop()
        sv.stop()
        assert ended == [(first, False), (second, True)]
        assert first.run(model.global_step) == 3
        first.close()
        second.close()

    def test_an_error_of_a_session_that_was_not_stopped_is_not_one_of_the_next(self, model, tmp_path, caplog):
        sv = hookrun.Supervisor(logdir=tmp_path, **CLEAN)

        @sv.on(signals.step)
        def fail(supervisor, event):
            raise ValueError("of the first")

        first = sv.prepare_or_wait_for_session()
        first.run(model.train_op)
        fail.remove()
        with sv.managed_session() as second:
            second.run(model.train_op)
        assert "The previous session ended with an error" in caplog.text
        first.close()

    def test_a_session_of_the_programs_own_takes_the_place_of_the_one_before(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1, **CLEAN)
        summed = []
        sv.on(signals.summary_due, lambda _, event: summed.append(event.session))
        first = sv.prepare_or_wait_for_session()
        with tf.compat.v1.Session() as own:
            own.run(sv.init_op)
            sv.start_standard_services(own)
            own.run(model.train_op)
            sv.stop()
        assert summed == [own]
        first.close()

    def test_a_timer_starts_when_its_first_receiver_comes(self, model, tmp_path, wait_until):
        sv = hookrun.Supervisor(logdir=tmp_path, summary_op=None, global_step=None, **CLEAN)
        due = threading.Event()
        with sv.managed_session():
            assert "hookrun-summary-timer" not in [thread.name for thread in threading.enumerate()]
            sv.on(signals.summary_due, lambda *_: due.set())
            wait_until(due)

    def test_a_failing_service_stops_the_training(self, model, tmp_path):
        class Broken(tf.compat.v1.train.Saver):
            def save(self, *args, **kwargs):
                raise ValueError("cannot save")

        sv = hookrun.Supervisor(logdir=tmp_path, saver=Broken(), **CLEAN)
        with pytest.raises(ValueError, match="cannot save"), sv.managed_session() as sess:
            while True:
                sess.run(model.train_op)

    def test_no_services_means_no_checkpoint_at_the_end(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, **CLEAN)
        with sv.managed_session(start_standard_services=False) as sess:
            sess.run(model.train_op)
        assert tf.train.latest_checkpoint(str(tmp_path)) is None

    @pytest.mark.parametrize(
        ("arguments", "missing"),
        [
            ({"summary_op": None}, {"SummaryHook"}),
            ({"saver": None}, {"CheckpointHook"}),
            ({"global_step": None}, {"StepCounterHook"}),
            ({"summary_writer": None}, {"SummaryHook", "StepCounterHook"}),
            ({"save_summaries_secs": 0}, {"SummaryHook", "StepCounterHook"}),
            ({"save_model_secs": 0}, {"CheckpointHook"}),
            ({"logdir": None}, {"SummaryHook", "StepCounterHook", "CheckpointHook"}),
            ({"is_chief": False}, {"SummaryHook", "StepCounterHook", "CheckpointHook"}),
            ({"ready_op": None, "local_init_op": None}, set()),
        ],
    )
    def test_opting_out_of_a_service_leaves_its_hook_out(self, model, tmp_path, arguments, missing):
        sv = hookrun.Supervisor(**{"logdir": tmp_path, **arguments})
        standard = {"SummaryHook", "StepCounterHook", "CheckpointHook", "QueueRunnerHook"}
        assert {hook.name for hook in sv.hooks} == standard - missing
        sv.stop()

    def test_a_standard_hook_that_is_given_takes_the_place_of_the_default_one(self, model, tmp_path):
        class MySummaryHook(hooks.SummaryHook):
            pass

        mine = MySummaryHook()
        sv = hookrun.Supervisor(logdir=tmp_path, hooks=[mine])
        assert [hook for hook in sv.hooks if isinstance(hook, hooks.SummaryHook)] == [mine]
        sv.stop()


class TestEventStream:
    def test_it_is_tensorflows_event_for_event(self, model, tmp_path, read_events, wait_until):
        sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=100, **CLEAN)
        counted = threading.Event()
        sv.on(signals.summary_due, lambda *_: counted.set(), priority=1)
        with sv.managed_session() as sess:
            wait_until(counted)
            sess.run(model.train_op)
        events = read_events(tmp_path)
        assert kinds_of(events) == [
            "file_version",
            "graph_def",
            "meta_graph_def",
            "START",
            "summary",
            "summary",
            "CHECKPOINT",
            "STOP",
        ]
        assert [value.tag for e in events for value in e.summary.value] == ["loss", "global_step/sec"]
        assert events[6].session_log.checkpoint_path == sv.save_path
        assert [e.step for e in events] == [0, 0, 0, 0, 0, 0, 1, 0]

    def test_tensorboards_own_reader_finds_scalars_and_graph(self, model, tmp_path):
        sv = hookrun.Supervisor(
            logdir=tmp_path, save_summaries_secs=0, save_summaries_steps=1, save_model_secs=0, **CLEAN
        )
        train(sv, model, 3)
        accumulator = EventAccumulator(str(tmp_path)).Reload()
        assert [event.step for event in accumulator.Scalars("loss")] == [1, 2, 3]
        assert {node.name for node in accumulator.Graph().node} >= {"weights", "loss"}

    @pytest.mark.parametrize("way", ["stop", "managed_session"])
    def test_a_writer_that_was_passed_in_is_closed_unless_told_otherwise(
        self, model, tmp_path, read_events, way
    ):
        writer = tf.compat.v1.summary.FileWriter(str(tmp_path))
        sv = hookrun.Supervisor(summary_writer=writer, **CLEAN)
        assert sv.summary_writer is writer
        for closes in (False, True):
            if way == "stop":
                with sv.prepare_or_wait_for_session():
                    writer.add_summary(tf.compat.v1.Summary(), 5)
                    sv.stop(**({} if closes else {"close_summary_writer": False}))
            else:
                with sv.managed_session(**({} if closes else {"close_summary_writer": False})):
                    writer.add_summary(tf.compat.v1.Summary(), 5)
            events = read_events(tmp_path)  # all is on disk
            assert kinds_of(events)[-1] == ("STOP" if closes else "summary")
        assert [e.step for e in events if e.WhichOneof("what") == "summary"] == [5, 5]

    def test_without_a_global_step_start_is_written_where_an_earlier_run_wrote(self, tmp_path, read_events):
        tf.compat.v1.summary.FileWriter(str(tmp_path)).close()  # a file without events is of no run
        starts = []
        for _ in range(3):
            with tf.Graph().as_default():
                tf.compat.v1.get_variable("weight", initializer=1.0)
                with hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, **CLEAN).managed_session():
                    pass
            starts.append(kinds_of(read_events(tmp_path)).count("START"))
        assert starts == [0, 2, 3]  # the first that TensorBoard finds tells it of a beginning alone


class TestClosedByTheProgram:
    @pytest.fixture
    def sv(self, model, tmp_path):
        return hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=0, **CLEAN)

    @pytest.fixture
    def begun(self, sv, wait_until):
        """Waits for the checkpoint that the services begin with."""
        saved = threading.Event()
        sv.on(signals.checkpoint_saved, lambda *_: saved.set())
        return lambda: wait_until(saved)

    @staticmethod
    def newest(sv):
        return int(tf.train.latest_checkpoint(sv.logdir).rpartition("-")[2])

    @pytest.mark.parametrize("stops", [True, False])
    @pytest.mark.parametrize("way", ["with", "close", "closing"])
    def test_the_last_step_is_saved_and_hooks_are_told_before(self, model, sv, way, stops):
        told = []
        sv.on(signals.stop, lambda _, event: told.append((event.clean, event.session.closed)))
        sess = sv.prepare_or_wait_for_session()
        manager = {"with": sess, "closing": contextlib.closing(sess), "close": contextlib.nullcontext()}[way]
        with manager:
            for _ in range(3):
                sess.run(model.train_op)
        if way == "close":
            sess.close()
        if stops:
            sv.stop()
        assert sess.closed and told == [(True, False)]
        assert self.newest(sv) == 3
        assert not [thread for thread in threading.enumerate() if "timer" in thread.name]
        sv.summary_writer.close()

    @pytest.mark.parametrize("way", ["with", "closing"])
    def test_after_an_error_nothing_is_saved(self, model, sv, way, begun):
        told = []
        sv.on(signals.stop, lambda _, event: told.append(type(event.error)))
        sv.on(signals.checkpoint_saved, lambda _, event: told.append(event.global_step))
        sess = sv.prepare_or_wait_for_session(start_standard_services=False)
        sv.start_standard_services(sess)
        begun()
        with pytest.raises(ValueError), sess if way == "with" else contextlib.closing(sess):
            sess.run(model.train_op)
            raise ValueError
        sv.stop()
        assert told[-1] is ValueError and 1 not in told

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), tf.errors.OutOfRangeError(None, None, "end")])
    def test_what_is_no_error_of_the_training_is_an_end_as_intended(self, model, sv, error):
        with pytest.raises(type(error)), sv.prepare_or_wait_for_session() as sess:
            sess.run(model.train_op)
            raise error
        sv.stop()
        assert self.newest(sv) == 1

    def test_an_error_of_a_hook_is_raised_by_stop(self, model, sv):
        @sv.on(signals.stop)
        def fails(sv, event):
            raise RuntimeError("of a hook")

        with sv.prepare_or_wait_for_session() as sess:
            sess.run(model.train_op)
        with pytest.raises(RuntimeError, match="of a hook"):
            sv.stop()

    def test_the_next_session_goes_on_from_there(self, model, sv, caplog):
        for first in (0, 2):
            with sv.prepare_or_wait_for_session() as sess:
                assert sess.run(model.global_step) == first
                sess.run(model.train_op)
                sess.run(model.train_op)
        sv.stop()
        assert self.newest(sv) == 4 and "was not stopped" not in caplog.text

    def test_a_session_of_the_programs_own_is_saved_likewise(self, model, sv):
        with tf.compat.v1.Session() as own:
            own.run(sv.init_op)
            sv.start_standard_services(own)
            own.run(model.train_op)
        sv.stop()
        assert self.newest(sv) == 1

    def test_one_that_an_error_ends_is_not(self, model, sv, begun):
        saved = []
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        with pytest.raises(ValueError), tf.compat.v1.Session() as own:
            own.run(sv.init_op)
            sv.start_standard_services(own)
            begun()
            own.run(model.train_op)
            own.run(model.train_op)
            raise ValueError
        sv.stop()
        assert 2 not in saved

    def test_another_thread_that_closes_it_breaks_off_what_runs(self, model, sv, begun, caplog):
        sess = sv.prepare_or_wait_for_session()
        begun()
        sess.run(model.train_op)
        closer = threading.Thread(target=sess.close)
        closer.start()
        closer.join()
        told = []
        sv.on(signals.stop, lambda *_: told.append(threading.current_thread()))
        sv.stop()
        assert told == [threading.current_thread()]
        assert "its last step is not saved" in caplog.text

    def test_an_error_that_the_program_goes_on_from_is_not_that_of_the_session(self, model, sv):
        try:
            raise ValueError("before")
        except ValueError:
            sess = sv.prepare_or_wait_for_session()
            sess.run(model.train_op)
            sess.close()
        sv.stop()
        assert self.newest(sv) == 1

    def test_blocked_threads_of_the_program_do_not_hold_up_the_closing_that_ends_them(self, model, tmp_path):
        queue = tf.queue.FIFOQueue(1, tf.int32)
        dequeue = queue.dequeue()
        sv = hookrun.Supervisor(logdir=tmp_path, stop_grace_secs=600)
        blocked = threading.Event()

        def wait(sess):
            blocked.set()
            sess.run(dequeue)

        with sv.prepare_or_wait_for_session() as sess:
            thread = sv.loop(None, wait, (sess,))
            assert blocked.wait(30)
        thread.join(30)
        assert not thread.is_alive()
        sv.stop()


class TestSubclass:
    def test_its_methods_are_called_as_tensorflows_are(self, model, tmp_path):
        called = []

        class Sub(hookrun.Supervisor):
            def prepare_or_wait_for_session(self, master="", config=None, start_standard_services=True):
                called.append("prepare")
                return super().prepare_or_wait_for_session(
                    master, config, start_standard_services=start_standard_services
                )

            def start_standard_services(self, sess):
                called.append("services")
                return super().start_standard_services(sess)

            def start_queue_runners(self, sess):
                called.append("runners")
                return super().start_queue_runners(sess)

            def request_stop(self, ex=None):
                called.append(type(ex))
                super().request_stop(ex)

            def stop(self, threads=None, close_summary_writer=True, ignore_live_threads=False):
                called.append("stop")
                super().stop(threads, close_summary_writer, ignore_live_threads)

        for logdir in (tmp_path, None):
            called.clear()
            with pytest.raises(ValueError), Sub(logdir=logdir).managed_session() as sess:
                raise ValueError
            assert called == ["prepare", "services", "runners", ValueError, "stop"]
            assert sess.closed

    def test_one_whose_stop_does_nothing_leaves_the_session_closed_and_saved(self, model, tmp_path):
        class Sub(hookrun.Supervisor):
            def stop(self, *args, **kwargs):
                pass

        sv = Sub(logdir=tmp_path, **CLEAN)
        with sv.managed_session() as sess:
            sess.run(model.train_op)
        assert sess.closed
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-1")
        hookrun.Supervisor.stop(sv)

    def test_an_error_of_an_overridden_start_closes_the_session_and_is_raised(self, model, tmp_path):
        class Sub(hookrun.Supervisor):
            def start_standard_services(self, sess):
                sessions.append(sess)
                raise ValueError("no services today")

        sessions = []
        with pytest.raises(ValueError, match="no services"):
            Sub(logdir=tmp_path).prepare_or_wait_for_session()
        assert sessions[0].closed

    def test_private_methods_of_tensorflows_class_are_named_with_what_to_pass_instead(self, model, caplog):
        class Sub(hookrun.Supervisor):
            def _init_saver(self, saver=0):
                raise AssertionError("never called")

            def _init_ready_op(self, **kwargs):
                raise AssertionError("never called")

            def _verify_setup(self):
                raise AssertionError("never called")

        Sub()
        (message,) = [each for each in caplog.messages if "_init_saver" in each]
        for part in ("Sub", "saver=", "_init_ready_op", "ready_op=", "_verify_setup"):
            assert part in message
        caplog.clear()
        hookrun.Supervisor()
        assert caplog.messages == []


class TestEnd:
    def test_a_clean_end_saves_the_last_step_once(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=3600, **CLEAN)
        saved = []
        sv.on(signals.checkpoint_saved, lambda _, event: saved.append(event.global_step))
        train(sv, model, 50)
        assert saved[-1] == 50
        assert len(saved) == len(set(saved))
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-50")

    def test_an_error_saves_nothing(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=0, save_model_steps=1000, **CLEAN)
        with pytest.raises(ZeroDivisionError), sv.managed_session() as sess:
            sess.run(model.train_op)
            raise ZeroDivisionError
        assert tf.train.latest_checkpoint(str(tmp_path)) is None

    def test_an_interrupt_saves_the_last_step(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, save_model_secs=3600, **CLEAN)
        with pytest.raises(KeyboardInterrupt), sv.managed_session() as sess:
            sess.run(model.train_op)
            raise KeyboardInterrupt
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-1")
        assert sess.closed

    def test_a_generator_that_is_left_saves_the_last_step(self, model, tmp_path):
        def steps():
            with hookrun.Supervisor(logdir=tmp_path, **CLEAN).managed_session() as sess:
                while True:
                    yield sess.run([model.train_op, model.global_step])

        training = steps()
        for _, _ in zip(range(3), training, strict=False):
            pass
        training.close()
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-3")

    @pytest.mark.parametrize("ended_by", ["Ctrl-C", "a task that cancels it"])
    def test_a_cancelled_task_saves_the_last_step(self, model, tmp_path, ended_by):
        steps = []

        async def training():
            with hookrun.Supervisor(logdir=tmp_path, **CLEAN).managed_session() as sess:
                while True:
                    sess.run(model.train_op)
                    steps.append(int(sess.run(model.global_step)))
                    await asyncio.sleep(0)

        async def main():
            task = asyncio.create_task(training())
            while len(steps) < 5:
                await asyncio.sleep(0)
            if ended_by == "Ctrl-C":
                signal.raise_signal(signal.SIGINT)
            else:
                task.cancel()
            await task

        with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
            asyncio.run(main())
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith(f"model.ckpt-{steps[-1]}")

    def test_stop_is_sent_once_per_session(self, model):
        sv = hookrun.Supervisor(**CLEAN)
        told = []
        sv.on(signals.stop, lambda _, event: told.append((event.session.closed, event.error, event.clean)))
        with sv.managed_session():
            sv.stop()
            sv.stop()
        assert told == [(False, None, True)]

    def test_the_session_is_closed_at_the_blocks_end_also_after_a_stop_within_the_block(self, model):
        sv = hookrun.Supervisor(**CLEAN)
        with sv.managed_session() as sess:
            sv.stop()
        assert sess.closed

    def test_each_of_two_nested_blocks_closes_its_own_session(self, model):
        sv = hookrun.Supervisor(**CLEAN)
        with sv.managed_session() as outer:
            with sv.managed_session() as inner:
                pass
            assert (inner.closed, outer.closed) == (True, False)
        assert outer.closed

    def test_a_stop_by_a_service_does_not_wait_for_its_own_thread(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path, stop_grace_secs=60)
        sv.on(signals.summary_due, lambda sv, _: sv.stop(), name="stopper")
        with sv.managed_session():
            sv.wait_for_stop()
        assert tf.train.latest_checkpoint(str(tmp_path)).endswith("-0")

    def test_hooks_are_told_of_an_exit_while_the_session_is_made_ready(self, model):
        class Exit(BaseException):
            pass

        def leave(sv, event):
            raise Exit

        sv = hookrun.Supervisor(**CLEAN)
        sv.on(signals.session_created, leave)
        told = []
        sv.on(signals.stop, lambda _, event: told.append((type(event.error), event.clean)))
        with pytest.raises(Exit), sv.managed_session():
            pytest.fail("the block must not be entered")
        assert told == [(Exit, False)]

    def test_the_second_error_is_logged_and_the_first_raised(self, model, caplog):
        sv = hookrun.Supervisor(**CLEAN)
        with pytest.raises(ValueError, match="the first"), sv.managed_session():
            sv.request_stop(ValueError("the first"))
            raise KeyError("the second")
        assert "the second" in caplog.text

    def test_a_stop_request_with_an_error_that_was_never_raised(self, model):
        sv = hookrun.Supervisor(**CLEAN)
        with pytest.raises(ValueError, match="never raised"), sv.managed_session():
            sv.request_stop(ValueError("never raised"))
            assert sv.should_stop()

    def test_the_first_error_is_kept_when_threads_do_not_stop(self, model, wait_until):
        sv = hookrun.Supervisor(stop_grace_secs=0.2)
        release = threading.Event()
        with pytest.raises(ValueError, match="the first"), sv.managed_session():
            sv.loop(None, release.wait)
            sv.loop(None, lambda: sv.request_stop(ValueError("the first")))
            sv.wait_for_stop()
        release.set()
        self.wait_for_no_threads()

    def test_a_thread_blocked_in_an_enqueue_is_named_and_ends_with_the_session(self, model, wait_until):
        queue = tf.queue.FIFOQueue(1, tf.int32)
        enqueue = queue.enqueue(1)
        sv = hookrun.Supervisor(stop_grace_secs=2)
        before = set(threading.enumerate())
        calls, second_call = [], threading.Event()

        def fill(sess):
            calls.append(None)
            if len(calls) == 2:
                second_call.set()
            sess.run(enqueue)

        with pytest.raises(RuntimeError, match=r"threads still running: hookrun-loop-.*fill"):
            with sv.managed_session() as sess:
                sv.loop(None, fill, (sess,))
                wait_until(second_call)
                started = time.monotonic()
        assert time.monotonic() - started < 2 + 1
        assert set(threading.enumerate()) == before

    @pytest.mark.parametrize("master", ["", "local"])
    def test_a_thread_has_its_whole_grace_where_queue_runners_are_left_too(self, model, master):
        """It is blocked in a run."""
        let_go, begun = threading.Event(), threading.Event()

        def slowly():
            begun.set()
            return let_go.wait(30)

        slow = tf.numpy_function(slowly, [], tf.bool)
        gradients, queue = tf.compat.v1.ConditionalAccumulator(tf.float32), tf.queue.FIFOQueue(1, tf.float32)
        enqueue = queue.enqueue(gradients.take_grad(1))
        tf.compat.v1.train.add_queue_runner(tf.compat.v1.train.QueueRunner(queue, [enqueue]))
        sv = hookrun.Supervisor(stop_grace_secs=4)
        with sv.managed_session(master) as sess:
            thread = threading.Thread(target=sess.run, args=(slow,))
            sv.coord.register_thread(thread)
            thread.start()
            assert begun.wait(30)
            timer = threading.Timer(2.5, let_go.set)
            timer.start()
        timer.join()
        assert not thread.is_alive()

    def test_a_queue_runner_blocked_in_an_enqueue_ends_with_the_session(self, model):
        queue = tf.queue.FIFOQueue(1, tf.int32)
        runner = tf.compat.v1.train.QueueRunner(queue, [queue.enqueue(1)], cancel_op=tf.no_op())
        tf.compat.v1.train.add_queue_runner(runner)
        sv = hookrun.Supervisor(stop_grace_secs=60)
        started = time.monotonic()
        with sv.managed_session() as sess:
            sess.run(model.train_op)
        assert time.monotonic() - started < 30

    def test_a_remote_session_is_closed_where_what_waits_for_gradients_alone_is_left_unless_it_is_ignored(
        self, wait_until
    ):
        gradients, queue = tf.compat.v1.ConditionalAccumulator(tf.float32), tf.queue.FIFOQueue(1, tf.float32)
        begun = threading.Event()
        with tf.control_dependencies([tf.numpy_function(lambda: begun.set() or True, [], tf.bool)]):
            taken = gradients.take_grad(1)
        let_go = gradients.apply_grad(1.0)
        no_op = tf.no_op()
        runner = tf.compat.v1.train.QueueRunner(queue, [queue.enqueue(taken)], no_op, no_op)
        tf.compat.v1.train.add_queue_runner(runner)

        sv = hookrun.Supervisor(stop_grace_secs=60)
        before = set(threading.enumerate())
        sess = sv.prepare_or_wait_for_session("local")
        wait_until(begun)
        started = time.monotonic()
        sv.stop()
        assert time.monotonic() - started < 30
        assert sess.closed
        assert set(threading.enumerate()) == before

        sv = hookrun.Supervisor(stop_grace_secs=0.5)
        begun.clear()
        sess = sv.prepare_or_wait_for_session("local")
        wait_until(begun)
        runners = set(threading.enumerate()) - before
        sv.stop(ignore_live_threads=True)
        assert any(thread.is_alive() for thread in runners)
        sess.run(let_go)  # the session is open
        for thread in runners:
            thread.join(30)
        sess.close()

    def test_a_remote_session_stays_open_where_a_queue_runner_takes_its_time(self):
        begun, let_go = threading.Event(), threading.Event()

        def slowly():
            begun.set()
            return let_go.wait(30)

        queue = tf.queue.FIFOQueue(9, tf.bool)
        runner = tf.compat.v1.train.QueueRunner(
            queue, [queue.enqueue(tf.numpy_function(slowly, [], tf.bool))]
        )
        tf.compat.v1.train.add_queue_runner(runner)
        one = tf.constant(1)
        sv = hookrun.Supervisor(stop_grace_secs=30)
        sess = sv.prepare_or_wait_for_session("local")
        begun.wait(30)
        timer = threading.Timer(1.5, let_go.set)  # later than what waits for gradients alone is waited for
        timer.start()
        sv.stop()
        timer.join()
        assert sess.run(one) == 1
        sess.close()

    @staticmethod
    def wait_for_no_threads():
        for thread in threading.enumerate():
            if thread.name.startswith("hookrun"):
                thread.join(30)


class TestSummaryComputed:
    def test_text_is_no_summary(self, model, tmp_path):
        sv = hookrun.Supervisor(logdir=tmp_path)
        with sv.managed_session() as sess:
            with pytest.raises(TypeError, match="not 'text'"):
                sv.summary_computed(sess, "text")
            with pytest.raises(DecodeError, match="the bytes of a Summary proto, not b'text'"):
                sv.summary_computed(sess, b"text")

    def test_the_current_step_is_read_where_none_is_given(self, model, tmp_path, read_events):
        sv = hookrun.Supervisor(logdir=tmp_path, summary_op=None, save_summaries_secs=0, **CLEAN)
        with sv.managed_session() as sess:
            sess.run(model.train_op)
            sv.summary_computed(sess, tf.compat.v1.Summary().SerializeToString())
            sv.summary_computed(sess, tf.compat.v1.Summary(), 7)
        assert [e.step for e in read_events(tmp_path) if e.WhichOneof("what") == "summary"] == [1, 7]


class TestNonChief:
    def test_it_starts_no_services_and_writes_nothing(self, model, tmp_path):
        sv = hookrun.Supervisor(is_chief=False, logdir=tmp_path / "logs", ready_op=None)
        assert (sv.save_path, sv.summary_writer, sv.save_model_secs) == (None, None, None)
        with pytest.raises(RuntimeError, match="Only chief"):
            sv.start_standard_services(None)
        with sv.managed_session():
            pass
        assert not (tmp_path / "logs").exists()

    def test_hooks_for_the_chief_alone_are_left_out(self, model):
        class ForAll(hooks.Hook):
            def on_stop(self, supervisor, event):
                told.append(self.name)

        class ForTheChief(ForAll):
            chief_only = True

        told = []
        sv = hookrun.Supervisor(is_chief=False, ready_op=None, hooks=[ForAll(), ForTheChief()])
        with sv.managed_session():
            pass
        assert told == ["ForAll"]
