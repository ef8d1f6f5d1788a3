"""Programs that end differently on purpose; `test_deliberate_differences.py` states how."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import tensorflow as tf
from observing import (
    ALL_SERVICES,
    catching,
    checkpoints,
    counting_model,
    events,
    first_tick,
    name_of,
    raised,
    streams,
    tf1,
    until,
)


def start_standard_services_without_logdir(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    with session:
        result = {"called": raised(sv.start_standard_services, session), "step": int(session.run(model.step))}
    sv.stop()
    return result


def _end_after_three_steps(
    Supervisor: Any, logdir: str, error: BaseException | None = None, **kwargs: Any
) -> Any:
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    with catching() as errors, sv.managed_session(**kwargs) as session:
        if kwargs.get("start_standard_services", True):
            first_tick(sv, logdir, *ALL_SERVICES)
        for _ in range(3):
            session.run(model.train_op)
        if error:
            raise error
    return {"raised": errors, "checkpoints": checkpoints(logdir), "stream": streams(logdir)[0]}


def final_checkpoint_at_a_clean_end(Supervisor, logdir):
    return _end_after_three_steps(Supervisor, logdir)


def final_checkpoint_at_the_end_of_the_input(Supervisor, logdir):
    return _end_after_three_steps(Supervisor, logdir, tf.errors.OutOfRangeError(None, None, "end"))


def final_checkpoint_after_a_keyboard_interrupt(Supervisor, logdir):
    return _end_after_three_steps(Supervisor, logdir, KeyboardInterrupt())


def no_final_checkpoint_after_an_error(Supervisor, logdir):
    return _end_after_three_steps(Supervisor, logdir, ValueError("the loss is not a number"))


def no_final_checkpoint_without_standard_services(Supervisor, logdir):
    return _end_after_three_steps(Supervisor, logdir, start_standard_services=False)


def no_final_checkpoint_when_checkpoints_are_off(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    with sv.managed_session() as session:
        session.run(model.train_op)
    return checkpoints(logdir)


def no_final_checkpoint_for_a_step_that_is_saved(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session():
        first_tick(sv, logdir, *ALL_SERVICES)
    found = [event for event in events(logdir)[0] if event.WhichOneof("what") == "session_log"]
    return [event.session_log.status for event in found]


def no_second_checkpoint_of_a_restored_step(Supervisor, logdir):
    for _ in range(2):
        with tf.Graph().as_default():
            counting_model()
            sv = Supervisor(logdir=logdir, save_summaries_secs=0)
            with sv.managed_session(), suppress(TimeoutError):
                until(lambda sv=sv: sv.summary_writer.flush() or "CHECKPOINT" in str(streams(logdir)[-1]), 2)
        time.sleep(1.1)  # TensorFlow's event file of the same second would be overwritten
    return [line for stream in streams(logdir) for line in stream if line.startswith("CHECKPOINT")]


def final_checkpoint_by_stop(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session()
    first_tick(sv, logdir, *ALL_SERVICES)
    session.run(model.train_op)
    sv.stop()
    session.close()
    return checkpoints(logdir)


def logdir_that_is_a_path(Supervisor, logdir):
    counting_model()
    with catching() as errors:
        sv = Supervisor(logdir=Path(logdir), summary_writer=None)
        with sv.managed_session():
            until(lambda: checkpoints(logdir))
    return [errors, checkpoints(logdir)]


def logdir_that_is_relative(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=os.path.relpath(logdir))
    with sv.managed_session():
        until(lambda: checkpoints(logdir))
    with open(os.path.join(logdir, "checkpoint"), encoding="utf-8") as file:
        return [os.path.isabs(sv.save_path), file.readline()]


def request_stop_outside_an_except_block(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    session = sv.prepare_or_wait_for_session()
    called = raised(sv.request_stop, ValueError("x"))
    should_stop = sv.should_stop()
    stopped = raised(sv.stop)
    session.close()
    return {"request_stop": called, "should_stop": should_stop, "stop": stopped}


def summary_computed_of_text(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    with sv.managed_session() as session:
        return raised(sv.summary_computed, session, "text")[0]


def meta_graph_of_the_graph_argument(Supervisor, logdir):
    graph = tf.Graph()
    with graph.as_default():
        counting_model()
    sv = Supervisor(graph=graph, logdir=logdir, save_model_secs=0, save_summaries_secs=0)
    with sv.managed_session():
        pass
    (event,) = [event for event in events(logdir)[0] if event.WhichOneof("what") == "meta_graph_def"]
    meta = tf1.MetaGraphDef.FromString(event.meta_graph_def)
    return [len(meta.graph_def.node) > 0, sorted(meta.collection_def)]


def session_reopened_within_a_second(Supervisor, logdir):
    for attempt in range(20):
        folder = os.path.join(logdir, str(attempt))
        with tf.Graph().as_default():
            counting_model()
            sv = Supervisor(logdir=folder, save_model_secs=0, save_summaries_secs=0)
        begin = int(time.time())
        for _ in range(2):
            with sv.managed_session():
                pass
        if int(time.time()) == begin:
            return sum(stream.count("START 0") for stream in streams(folder))
    return None


def out_of_range_error_in_init_fn(Supervisor, logdir):
    counting_model()

    def init_fn(session):
        raise tf.errors.OutOfRangeError(None, None, "the weights' file is too short")

    with catching() as errors, Supervisor(init_fn=init_fn).managed_session():
        pass
    return errors


def out_of_range_error_in_a_save(Supervisor, logdir):
    counting_model()

    class Failing(tf1.train.Saver):
        def save(self, *args, **kwargs):
            raise tf.errors.OutOfRangeError(None, None, "read less than expected")

    sv = Supervisor(logdir=logdir, saver=Failing())
    with catching() as errors, sv.managed_session():
        sv.wait_for_stop()
    return errors


def resource_variable_named_global_step(Supervisor, logdir):
    tf1.get_variable("global_step", initializer=4, use_resource=True)
    sv = Supervisor(logdir=logdir)
    with sv.managed_session():
        until(lambda: checkpoints(logdir))
    return [name_of(sv.global_step) is not None, checkpoints(logdir)]


def global_step_of_shape_1(Supervisor, logdir):
    step = tf1.get_variable("global_step", initializer=tf.constant([6], tf.int64), use_resource=False)
    tf1.add_to_collection(tf1.GraphKeys.GLOBAL_STEP, step)
    sv = Supervisor(logdir=logdir)
    with catching() as errors, sv.managed_session():
        first_tick(sv, logdir, "/sec", "CHECKPOINT")
    return [[error[0] for error in errors], checkpoints(logdir), streams(logdir)]


def ops_in_the_graph(Supervisor, logdir):
    counting_model()
    Supervisor(logdir=logdir)
    return [op.name for op in tf1.get_default_graph().get_operations()]


def threads_of_the_standard_services(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    session = sv.prepare_or_wait_for_session(start_standard_services=False)
    threads = sv.start_standard_services(session)
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.stop()
    session.close()
    return len(threads)


def training_step_after_a_loop_failed(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor()

    def target():
        raise ValueError("in the loop")

    with catching() as errors, sv.managed_session() as session:
        sv.loop(60, target)
        sv.wait_for_stop()
        step = raised(session.run, model.train_op)
        evaluation = raised(session.run, model.weight)
    return {"training step": step, "evaluation": evaluation, "block": errors}


def training_step_after_a_service_failed(Supervisor, logdir):
    model = counting_model()
    bad = tf1.summary.scalar("bad", tf.strings.to_number("four"))
    sv = Supervisor(logdir=logdir, summary_op=bad, save_model_secs=0)
    with catching() as errors, sv.managed_session() as session:
        sv.wait_for_stop()
        step = raised(session.run, model.train_op)
    return {"training step": step, "block": errors}


def start_after_an_earlier_run_without_a_global_step(Supervisor, logdir):
    counts = []
    for _ in range(2):
        with tf.Graph().as_default():
            tf1.get_variable("weight", initializer=1.0)
            sv = Supervisor(logdir=logdir, save_model_secs=0, save_summaries_secs=0)
            with sv.managed_session():
                pass
        counts.append(sum(stream.count("START 0") for stream in streams(logdir)))
        time.sleep(1.1)  # TensorFlow's event file of the same second would be overwritten
    return counts


def session_that_the_program_closes(Supervisor, logdir):
    saved = []
    for stops in (True, False):
        folder = os.path.join(logdir, str(stops))
        with tf.Graph().as_default():
            model = counting_model()
            sv = Supervisor(logdir=folder)
            with sv.prepare_or_wait_for_session() as session:
                first_tick(sv, folder, *ALL_SERVICES)
                for _ in range(3):
                    session.run(model.train_op)
            if stops:
                sv.stop()
            saved.append(checkpoints(folder))
            sv.request_stop()
    return saved


def private_method_of_a_subclass(Supervisor, logdir):
    counting_model()
    seen: list[Any] = [None, None]

    class Sub(Supervisor):
        def _init_saver(self, saver=0):
            seen[0] = "called"
            super()._init_saver(saver)

    class Keep(logging.Handler):
        def emit(self, record):
            seen[1] = record.getMessage()

    handler = Keep(logging.WARNING)
    logging.getLogger("hookrun").addHandler(handler)
    Sub()
    logging.getLogger("hookrun").removeHandler(handler)
    return seen
