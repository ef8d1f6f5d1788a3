"""The standard services: what they write, and how each is turned off."""

from __future__ import annotations

import os
import threading
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from observing import (
    ALL_SERVICES,
    FlushingWriter,
    RecordingWriter,
    checkpoints,
    counting_model,
    events,
    files,
    first_tick,
    node_names,
    raised,
    streams,
    tf1,
    until,
)


def _one_tick(
    Supervisor: Any, logdir: str, parts: tuple[str, ...] = ALL_SERVICES, **kwargs: Any
) -> dict[str, Any]:
    """A session in which each service ticks once, at its beginning."""
    counting_model()
    sv = Supervisor(logdir=logdir, **kwargs)
    with sv.managed_session():
        first_tick(sv, logdir, *parts)
    return {"stream": streams(logdir), "files": files(logdir), "checkpoints": checkpoints(logdir)}


def stream_of_a_session(Supervisor, logdir):
    """Version, graph, meta graph, START; a tick of each service; STOP."""
    return _one_tick(Supervisor, logdir)


def stream_of_a_session_with_resource_variables(Supervisor, logdir):
    model = counting_model(use_resource=True)
    sv = Supervisor(logdir=logdir)
    with sv.managed_session() as session:
        first_tick(sv, logdir, *ALL_SERVICES)
        session.run(model.weight)
    return [streams(logdir), files(logdir)]


def graph_in_the_event_file_and_in_the_logdir(Supervisor, logdir):
    """The same graph thrice, with the shapes of its tensors."""
    _one_tick(Supervisor, logdir)
    found = {event.WhichOneof("what"): event for event in events(logdir)[0]}
    graph = tf1.GraphDef.FromString(found["graph_def"].graph_def)
    meta = tf1.MetaGraphDef.FromString(found["meta_graph_def"].meta_graph_def)
    with open(os.path.join(logdir, "graph.pbtxt"), encoding="utf-8") as text:
        written = text_format.Parse(text.read(), tf1.GraphDef())
    shapes = [
        sum("_output_shapes" in node.attr for node in each.node) > 0
        for each in [graph, meta.graph_def, written]
    ]
    return [node_names(graph), node_names(meta.graph_def), node_names(written), shapes]


def meta_graph_in_the_event_file(Supervisor, logdir):
    _one_tick(Supervisor, logdir)
    (event,) = [event for event in events(logdir)[0] if event.WhichOneof("what") == "meta_graph_def"]
    meta = tf1.MetaGraphDef.FromString(event.meta_graph_def)
    return [
        sorted(meta.collection_def),
        meta.saver_def.max_to_keep,
        meta.saver_def.save_tensor_name,
        event.step,
    ]


def steps_of_a_restarted_session(Supervisor, logdir):
    """START says from which step on earlier events are outdated."""
    with tf.Graph().as_default():
        model = counting_model()
        sv = Supervisor(logdir=logdir, save_model_secs=0, summary_writer=None)
        with sv.managed_session() as session:
            for _ in range(5):
                session.run(model.train_op)
            sv.saver.save(session, sv.save_path, global_step=sv.global_step)
    return _one_tick(Supervisor, logdir, ("weight_now", "/sec"), save_model_secs=0)


def without_a_global_step(Supervisor, logdir):
    """No steps, no step counter, no number in the checkpoint's name."""
    weight = tf1.get_variable("weight", initializer=1.0)
    tf1.summary.scalar("weight_now", weight)
    sv = Supervisor(logdir=logdir)
    with sv.managed_session():
        first_tick(sv, logdir, "weight_now")
        until(lambda: checkpoints(logdir))
    return [streams(logdir), files(logdir), checkpoints(logdir)]


def global_step_none(Supervisor, logdir):
    """As without one, though the graph has one."""
    counting_model()
    sv = Supervisor(logdir=logdir, global_step=None)
    with sv.managed_session():
        first_tick(sv, logdir, "weight_now")
        until(lambda: checkpoints(logdir))
    return [streams(logdir), files(logdir), checkpoints(logdir)]


def a_model_that_no_run_writes_is_saved_once(Supervisor, logdir):
    """At the first tick, and not at the end; without a global step, as the index's time tells."""
    seen = []
    for name, has_step in (("with", True), ("without", False)):
        directory = os.path.join(logdir, name)
        with tf.Graph().as_default():
            weight = tf1.get_variable("weight", initializer=1.0)
            if has_step:
                tf1.train.get_or_create_global_step()
            sv = Supervisor(logdir=directory, save_summaries_secs=0)
            with sv.managed_session() as session:
                until(lambda directory=directory: checkpoints(directory))
                index = os.path.join(directory, f"{checkpoints(directory)[0]}.index")
                until(lambda index=index: os.path.exists(index))
                before = os.stat(index).st_mtime_ns
                session.run(weight)
        kinds = [event.session_log.status for stream in events(directory) for event in stream]
        marks = kinds.count(tf1.SessionLog.CHECKPOINT)
        seen.append([marks, checkpoints(directory), os.stat(index).st_mtime_ns == before])
    return seen


def events_with_a_global_step_of_32_bits(Supervisor, logdir):
    step = tf1.get_variable("global_step", initializer=tf.constant(7, tf.int32), use_resource=False)
    sv = Supervisor(logdir=logdir)
    with sv.managed_session() as session:
        first_tick(sv, logdir, "/sec", "CHECKPOINT")
        session.run(step)
    return [streams(logdir), checkpoints(logdir)]


def events_with_a_global_step_that_is_a_tensor(Supervisor, logdir):
    step = tf1.train.get_or_create_global_step()
    offset = tf.add(tf1.cast(step, tf.int64), 100, name="step_after_pretraining")
    sv = Supervisor(logdir=logdir, global_step=offset)
    with sv.managed_session():
        first_tick(sv, logdir, "/sec", "CHECKPOINT")
    return [streams(logdir), checkpoints(logdir)]


def events_with_a_global_step_of_another_name(Supervisor, logdir):
    step = tf1.get_variable("updates", initializer=5, use_resource=False)
    sv = Supervisor(logdir=logdir, global_step=step)
    with sv.managed_session():
        first_tick(sv, logdir, "updates/sec", "CHECKPOINT")
    return [streams(logdir), checkpoints(logdir)]


def save_summaries_secs_0(Supervisor, logdir):
    """Neither summaries nor the step counter."""
    return _one_tick(Supervisor, logdir, ("CHECKPOINT",), save_summaries_secs=0)


def save_model_secs_0(Supervisor, logdir):
    return _one_tick(Supervisor, logdir, ("weight_now", "/sec"), save_model_secs=0)


def summary_op_none(Supervisor, logdir):
    """The step counter goes on."""
    return _one_tick(Supervisor, logdir, ("/sec", "CHECKPOINT"), summary_op=None)


def saver_none(Supervisor, logdir):
    return _one_tick(Supervisor, logdir, ("weight_now", "/sec"), saver=None)


def summary_writer_none(Supervisor, logdir):
    """Checkpoints and the graph's text, no event file."""
    counting_model()
    sv = Supervisor(logdir=logdir, summary_writer=None)
    with sv.managed_session():
        until(lambda: checkpoints(logdir))
    return [files(logdir), checkpoints(logdir)]


def everything_off(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, saver=None, summary_op=None, summary_writer=None, global_step=None)
    with sv.managed_session():
        pass
    return files(logdir)


def graph_without_summaries(Supervisor, logdir):
    tf1.train.get_or_create_global_step()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session():
        first_tick(sv, logdir, "/sec", "CHECKPOINT")
    return streams(logdir)


def no_logdir(Supervisor, logdir):
    """No services; the session works."""
    model = counting_model()
    sv = Supervisor()
    before = set(threading.enumerate())
    with sv.managed_session() as session:
        threads = [thread.name for thread in threading.enumerate() if thread not in before]
        session.run(model.train_op)
        return [threads, int(session.run(model.step))]


def no_logdir_but_a_writer(Supervisor, logdir):
    """The graph, and STOP."""
    counting_model()
    writer = FlushingWriter()
    with Supervisor(summary_writer=writer).managed_session():
        pass
    return writer.in_order()


def start_standard_services_false(Supervisor, logdir):
    """The graph is written, and nothing else."""
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session(start_standard_services=False) as session:
        session.run(model.train_op)
    return [streams(logdir), files(logdir)]


def prepare_without_standard_services(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session(start_standard_services=False)
    session.run(model.train_op)
    sv.stop()
    session.close()
    return [streams(logdir), files(logdir)]


def start_standard_services_by_hand(Supervisor, logdir):
    """It returns running threads, that end at stop."""
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session(start_standard_services=False)
    threads = sv.start_standard_services(session)
    first_tick(sv, logdir, *ALL_SERVICES)
    running = [len(threads) > 0, all(isinstance(t, threading.Thread) and t.is_alive() for t in threads)]
    sv.request_stop()
    sv.coord.join(threads)
    joined = [thread.is_alive() for thread in threads if thread.is_alive()]
    sv.stop()
    session.close()
    return [type(threads).__name__, running, joined, streams(logdir)]


def start_standard_services_with_all_off(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0)
    session = sv.prepare_or_wait_for_session(start_standard_services=False)
    threads = sv.start_standard_services(session)
    sv.stop()
    session.close()
    return threads


def start_standard_services_of_a_non_chief(Supervisor, logdir):
    tf.constant(1)
    sv = Supervisor(is_chief=False, logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    error = raised(sv.start_standard_services, session)
    sv.stop()
    session.close()
    return [error, os.path.exists(logdir)]


def services_tick_again(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, save_summaries_secs=0.02, save_model_secs=0.02)

    def seen(word):
        found = [event for stream in events(logdir) for event in stream]
        return sum(word in str(event) for event in found)

    def often():
        sv.summary_writer.flush()
        return all(seen(word) >= 3 for word in ["weight_now", "global_step/sec"])

    with sv.managed_session():
        until(often)
    return streams(logdir)


def checkpoints_follow_the_training(Supervisor, logdir):
    """Each is told of in the event file, by the path without the step."""
    model = counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0.02, save_summaries_secs=0)
    with sv.managed_session() as session:
        for step in range(4):
            until(lambda path=f"{sv.save_path}-{step}": tf1.train.latest_checkpoint(logdir) == path)
            first_tick(sv, logdir, f"CHECKPOINT {step}")
            if step < 3:
                session.run(model.train_op)
    return [streams(logdir), checkpoints(logdir)]


def summaries_follow_the_training(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0.02)
    with sv.managed_session() as session:
        for step in range(4):
            first_tick(sv, logdir, f"summary {step} weight_now")
            if step < 3:
                session.run(model.train_op)
    # the values are left out: TensorFlow's class reads them while a training step changes them
    return sorted({line.split("=")[0] for line in streams(logdir)[0] if "/sec" not in line})


def summary_computed_of_bytes(Supervisor, logdir):
    """It is recorded at the current step."""
    model = counting_model()
    mine = tf1.summary.scalar("mine", 0.5)
    sv = Supervisor(logdir=logdir, summary_op=None, save_model_secs=0, save_summaries_secs=0)
    with sv.managed_session() as session:
        session.run(model.train_op)
        session.run(model.train_op)
        sv.summary_computed(session, session.run(mine))
    return streams(logdir)


def summary_computed_of_a_proto_at_a_step(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0)
    summary = tf1.Summary(value=[tf1.Summary.Value(tag="mine", simple_value=0.5)])
    with sv.managed_session() as session:
        sv.summary_computed(session, summary, 41)
        sv.summary_computed(session, summary=summary, global_step=42)
        sv.SummaryComputed(session, summary, global_step=0)
    return streams(logdir)


def summary_computed_without_a_global_step(Supervisor, logdir):
    tf1.get_variable("weight", initializer=1.0)
    sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0)
    summary = tf1.Summary(value=[tf1.Summary.Value(tag="mine", simple_value=0.5)])
    with sv.managed_session() as session:
        sv.summary_computed(session, summary)
    return streams(logdir)


def summary_computed_without_logdir(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.managed_session() as session:
        return raised(sv.summary_computed, session, tf1.Summary())


def summary_computed_without_a_writer(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, summary_writer=None, save_model_secs=0)
    with sv.managed_session() as session:
        return raised(sv.summary_computed, session, tf1.Summary())


def summary_computed_by_a_non_chief(Supervisor, logdir):
    tf.constant(1)
    sv = Supervisor(is_chief=False, logdir=logdir)
    with sv.managed_session() as session:
        return raised(sv.summary_computed, session, tf1.Summary())


def writer_of_the_user(Supervisor, logdir):
    """TensorFlow's own, for another directory: events go there, checkpoints to the logdir."""
    counting_model()
    elsewhere = os.path.join(logdir, "elsewhere")
    writer = tf1.summary.FileWriter(elsewhere)
    sv = Supervisor(logdir=logdir, summary_writer=writer)
    with sv.managed_session():
        first_tick(sv, elsewhere, *ALL_SERVICES)
    return [sv.summary_writer is writer, streams(elsewhere), files(logdir)]


def _calls_of(Supervisor: Any, logdir: str, writer: RecordingWriter) -> list[str]:
    counting_model()
    sv = Supervisor(logdir=logdir, summary_writer=writer)
    with sv.managed_session():
        until(lambda: all(any(part in call for call in writer.calls) for part in ALL_SERVICES))
    return writer.in_order()


def writer_of_ones_own(Supervisor, logdir):
    """Any object with the methods of TensorFlow's writer will do; the calls are the same."""
    return _calls_of(Supervisor, logdir, FlushingWriter())


def writer_of_ones_own_without_flush(Supervisor, logdir):
    """TensorFlow's class calls seven methods of a writer; flush() is none of them."""
    return _calls_of(Supervisor, logdir, RecordingWriter())


def writer_of_ones_own_through_two_sessions(Supervisor, logdir):
    counting_model()
    writer = FlushingWriter()
    sv = Supervisor(logdir=logdir, summary_writer=writer, save_model_secs=0, save_summaries_secs=0)
    for _ in range(2):
        with sv.managed_session():
            pass
    return writer.calls


def writer_of_ones_own_without_global_step(Supervisor, logdir):
    tf1.summary.scalar("weight_now", tf1.get_variable("weight", initializer=1.0))
    writer = FlushingWriter()
    sv = Supervisor(logdir=logdir, summary_writer=writer, save_model_secs=0)
    with sv.managed_session():
        until(lambda: "summary None weight_now=1.0" in writer.calls)
    return writer.in_order()


def writer_that_fails(Supervisor, logdir):
    counting_model()

    class FullDisk(FlushingWriter):
        def add_summary(self, summary, global_step=None):
            raise OSError("no space left")

    sv = Supervisor(logdir=logdir, summary_writer=FullDisk(), save_model_secs=0)

    def train():
        with sv.managed_session():
            sv.wait_for_stop()

    return raised(train)


def saver_is_called_with_the_path_and_the_step(Supervisor, logdir):
    model = counting_model()
    calls = []

    class Recording(tf1.train.Saver):
        def save(self, session, save_path, global_step=None, **kwargs):
            calls.append([isinstance(session, tf1.Session), save_path, global_step is not None])
            return super().save(session, save_path, global_step=global_step, **kwargs)

    sv = Supervisor(logdir=logdir, saver=Recording([model.weight, model.step]))
    with sv.managed_session():
        first_tick(sv, logdir, "CHECKPOINT")
    return [calls, files(logdir)]


def saver_without_meta_graph_and_in_the_first_format(Supervisor, logdir):
    counting_model()
    saver = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
    return _one_tick_with_saver(Supervisor, logdir, saver)


def saver_for_another_state_file(Supervisor, logdir):
    """Checkpoints under a basename with a directory."""
    counting_model()
    os.makedirs(os.path.join(logdir, "deep"))
    return _one_tick_with_saver(Supervisor, logdir, tf1.train.Saver(), checkpoint_basename="deep/model")


def _one_tick_with_saver(Supervisor: Any, logdir: str, saver: Any, **kwargs: Any) -> list[Any]:
    sv = Supervisor(logdir=logdir, saver=saver, **kwargs)
    with sv.managed_session():
        first_tick(sv, logdir, "CHECKPOINT")
    return [streams(logdir), files(logdir)]
