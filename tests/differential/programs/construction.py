"""What the constructor takes, finds, adds to the graph, and shows in the properties."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from observing import catching, counting_model, files, name_of, names_in, node_names, raised, tf1

KEYS = tf1.GraphKeys
COLLECTIONS = {
    "ready_op": KEYS.READY_OP,
    "ready_for_local_init_op": KEYS.READY_FOR_LOCAL_INIT_OP,
    "init_op": KEYS.INIT_OP,
    "local_init_op": KEYS.LOCAL_INIT_OP,
    "saver": KEYS.SAVERS,
    "summary_op": KEYS.SUMMARY_OP,
    "global_step": KEYS.GLOBAL_STEP,
}
OP_PROPERTIES = ["ready_op", "ready_for_local_init_op", "init_op", "saver", "summary_op", "global_step"]


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Those that can be given by position; further ones are keyword-only."""
    parameters = inspect.signature(function).parameters.values()
    return [str(p.replace(annotation=p.empty)) for p in parameters if p.kind is not p.KEYWORD_ONLY]


def _ops(sv: Any) -> dict[str, Any]:
    return {name: name_of(getattr(sv, name)) for name in OP_PROPERTIES}


def _collections() -> dict[str, list[Any]]:
    return {name: names_in(key) for name, key in COLLECTIONS.items()}


def _settings(sv: Any) -> dict[str, Any]:
    return {
        "is_chief": sv.is_chief,
        "save_path": sv.save_path,
        "save_model_secs": sv.save_model_secs,
        "save_summaries_secs": sv.save_summaries_secs,
        "writes": sv.summary_writer is not None,
        "coordinator": isinstance(sv.coord, tf1.train.Coordinator),
        "session manager": isinstance(sv.session_manager, tf1.train.SessionManager),
        "init_feed_dict": sv.init_feed_dict,
    }


def constructor_signature(Supervisor, logdir):
    """The arguments, their order and defaults."""
    return _parameters(Supervisor.__init__)


def use_default(Supervisor, logdir):
    return Supervisor.USE_DEFAULT


def public_names(Supervisor, logdir):
    """Every public name of TensorFlow's class is there, as the same kind of thing."""
    names = [name for name in dir(tf1.train.Supervisor) if not name.startswith("_")]
    return {name: type(getattr(Supervisor, name, None)).__name__ for name in names}


def properties_cannot_be_assigned(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=None)
    names = [
        name for name in dir(tf1.train.Supervisor) if isinstance(getattr(Supervisor, name, None), property)
    ]
    return {name: raised(setattr, sv, name, None)[0] for name in names}


def method_signatures(Supervisor, logdir):
    """Without stop(): for the default of `close_summary_writer` see the deliberate differences."""
    methods = {name: getattr(tf1.train.Supervisor, name) for name in dir(tf1.train.Supervisor)}
    names = [name for name, method in methods.items() if callable(method) and not name.startswith("_")]
    return {
        name: _parameters(getattr(Supervisor, name))
        for name in names
        if name not in ["managed_session", "Stop", "stop"]
    }


def parameters_of_stop(Supervisor, logdir):
    return [list(inspect.signature(method).parameters) for method in [Supervisor.stop, Supervisor.Stop]]


def managed_session_signature(Supervisor, logdir):
    return _parameters(inspect.unwrap(Supervisor.managed_session))


def camel_case_names(Supervisor, logdir):
    """The ten CamelCase names are the same functions as the others."""
    names = {
        "PrepareSession": "prepare_or_wait_for_session",
        "StartQueueRunners": "start_queue_runners",
        "StartStandardServices": "start_standard_services",
        "Stop": "stop",
        "RequestStop": "request_stop",
        "Loop": "loop",
        "ShouldStop": "should_stop",
        "StopOnException": "stop_on_exception",
        "WaitForStop": "wait_for_stop",
        "SummaryComputed": "summary_computed",
    }
    return {camel: getattr(Supervisor, camel) is getattr(Supervisor, snake) for camel, snake in names.items()}


def every_argument_by_position(Supervisor, logdir):
    model = counting_model()
    text = tf.constant([], tf.string)
    graph, saver, writer = tf1.get_default_graph(), tf1.train.Saver(), tf1.summary.FileWriter(logdir)
    init, feed, local = tf1.global_variables_initializer(), {}, tf.no_op("local")
    manager, summary_op = tf1.train.SessionManager(), tf1.summary.merge_all()
    sv = Supervisor(
        *[
            graph,
            text,
            text,
            True,
            init,
            feed,
            local,
            logdir,
            summary_op,
            saver,
            model.step,
            7,
            8,
            9,
            10,
            "base",
        ],
        *[manager, writer, lambda session: None, tf1.RunOptions()],
    )
    writer.close()
    given = [
        sv.session_manager is manager,
        sv.summary_writer is writer,
        sv.saver is saver,
        sv.init_feed_dict is feed,
    ]
    return {"given": given, "ops": _ops(sv), **_settings(sv)}


def unknown_argument(Supervisor, logdir):
    return raised(Supervisor, no_such_argument=1)[0]


def defaults_are_made_and_put_into_collections(Supervisor, logdir):
    counting_model()
    tf1.get_local_variable("seen", initializer=0)
    sv = Supervisor()
    return {"ops": _ops(sv), "collections": _collections()}


def default_ops_have_the_same_names_in_the_graph(Supervisor, logdir):
    counting_model()
    Supervisor()
    return node_names(tf1.get_default_graph().as_graph_def())


def defaults_are_found_in_collections(Supervisor, logdir):
    model = counting_model()
    for name, key in COLLECTIONS.items():
        tf1.get_default_graph().clear_collection(key)
        if name == "saver":
            item = tf1.train.Saver([model.weight], name="my_saver")
        else:
            item = tf.constant([], tf.string, name=f"my_{name}")
        tf1.add_to_collection(key, item)
    sv = Supervisor()
    return {"ops": _ops(sv), "collections": _collections()}


def first_of_several_in_a_collection(Supervisor, logdir):
    counting_model()
    for name, key in COLLECTIONS.items():
        tf1.get_default_graph().clear_collection(key)
        for which in ["first", "second"]:
            if name == "saver":
                item = tf1.train.Saver(name=which)
            else:
                item = tf.constant([], tf.string, name=f"{which}_{name}")
            tf1.add_to_collection(key, item)
    return _ops(Supervisor())


def given_ops_are_used_and_not_collected(Supervisor, logdir):
    model = counting_model()
    tf1.get_default_graph().clear_collection(KEYS.GLOBAL_STEP)
    sv = Supervisor(
        ready_op=tf.constant([], tf.string, name="my_ready"),
        ready_for_local_init_op=tf.constant([], tf.string, name="my_ready_for_local"),
        init_op=tf1.variables_initializer([model.step], name="my_init"),
        local_init_op=tf.no_op("my_local_init"),
        summary_op=tf1.summary.merge_all(name="my_summary"),
        saver=tf1.train.Saver(name="my_saver"),
        global_step=model.step,
    )
    return {"ops": _ops(sv), "collections": _collections()}


def none_disables_each_default(Supervisor, logdir):
    counting_model()
    tf1.get_default_graph().clear_collection(KEYS.GLOBAL_STEP)
    sv = Supervisor(
        ready_op=None,
        ready_for_local_init_op=None,
        init_op=None,
        local_init_op=None,
        summary_op=None,
        saver=None,
        global_step=None,
        summary_writer=None,
        logdir=logdir,
    )
    return {"ops": _ops(sv), "collections": _collections(), **_settings(sv)}


def graph_without_variables_has_no_saver(Supervisor, logdir):
    tf.constant(1)
    return _ops(Supervisor())


def empty_graph(Supervisor, logdir):
    sv = Supervisor()
    return {"ops": _ops(sv), "nodes": node_names(tf1.get_default_graph().as_graph_def())}


def graph_is_finalized(Supervisor, logdir):
    counting_model()
    Supervisor()
    return [tf1.get_default_graph().finalized, raised(tf.constant, 1)]


def graph_argument(Supervisor, logdir):
    """The given graph gets the ops and is finalized; the default graph stays as it was."""
    graph = tf.Graph()
    with graph.as_default():
        counting_model()
    sv = Supervisor(graph=graph)
    default = tf1.get_default_graph()
    return {
        "ops": _ops(sv),
        "nodes": node_names(graph.as_graph_def()),
        "finalized": [graph.finalized, default.finalized],
        "default graph": node_names(default.as_graph_def()),
    }


def second_supervisor_on_a_finalized_graph(Supervisor, logdir):
    """It finds everything in the collections and adds nothing."""
    counting_model()
    first = Supervisor()
    second = Supervisor()
    return _ops(first) == _ops(second)


def finalized_graph_without_defaults(Supervisor, logdir):
    counting_model()
    tf1.get_default_graph().finalize()
    return raised(Supervisor)


def settings_of_a_chief(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    return {**_settings(sv), "directory": os.path.isdir(logdir)}


def settings_given(Supervisor, logdir):
    counting_model()
    sv = Supervisor(
        logdir=logdir,
        save_summaries_secs=11,
        save_model_secs=12.5,
        checkpoint_basename="my.ckpt",
        recovery_wait_secs=1,
        stop_grace_secs=2,
    )
    return _settings(sv)


def settings_without_logdir(Supervisor, logdir):
    settings = []
    for none in [None, ""]:
        with tf.Graph().as_default():
            counting_model()
            settings.append(_settings(Supervisor(logdir=none)))
    return settings


def settings_of_a_non_chief(Supervisor, logdir):
    """What a chief would write is None, even when it is given."""
    with tf.device("/cpu:0"):
        counting_model()
    sv = Supervisor(is_chief=False, logdir=logdir, summary_writer=tf1.summary.FileWriter(logdir + "-other"))
    return {"ops": _ops(sv), **_settings(sv), "directory": os.path.exists(logdir)}


def logdir_is_created_with_its_parents(Supervisor, logdir):
    counting_model()
    nested = os.path.join(logdir, "runs", "first")
    sv = Supervisor(logdir=nested)
    return [os.path.isdir(nested), sv.save_path, files(logdir)]


def logdir_with_a_slash_at_its_end(Supervisor, logdir):
    counting_model()
    return Supervisor(logdir=logdir + "/").save_path


def checkpoint_basename_with_a_directory(Supervisor, logdir):
    counting_model()
    return Supervisor(logdir=logdir, checkpoint_basename="checkpoints/model").save_path


def logdir_that_is_a_file(Supervisor, logdir):
    counting_model()
    with open(logdir, "w", encoding="utf-8"):
        return raised(Supervisor, logdir=logdir) is not None


def ready_for_local_init_op_needs_a_local_init_op(Supervisor, logdir):
    counting_model()
    return raised(Supervisor, ready_for_local_init_op=tf.constant([], tf.string), local_init_op=None)


def global_step_from_the_collection(Supervisor, logdir):
    tf1.add_to_collection(KEYS.GLOBAL_STEP, tf1.get_variable("my_step", initializer=0))
    return name_of(Supervisor().global_step)


def global_step_found_by_name(Supervisor, logdir):
    tf1.get_variable("global_step", initializer=0, use_resource=False)
    sv = Supervisor()
    return [name_of(sv.global_step), type(sv.global_step).__name__, names_in(KEYS.GLOBAL_STEP)]


def global_step_of_32_bits(Supervisor, logdir):
    tf1.get_variable("global_step", initializer=tf.constant(0, tf.int32), use_resource=False)
    return str(Supervisor().global_step.dtype.base_dtype)


def global_step_that_is_no_integer_is_not_used(Supervisor, logdir):
    tf1.get_variable("global_step", initializer=0.0, use_resource=False)
    return [name_of(Supervisor().global_step), names_in(KEYS.GLOBAL_STEP)]


def global_step_in_a_scope_is_not_used(Supervisor, logdir):
    with tf1.variable_scope("scope"):
        tf1.get_variable("global_step", initializer=0, use_resource=False)
    return name_of(Supervisor().global_step)


def global_step_that_is_a_tensor(Supervisor, logdir):
    doubled = tf.multiply(tf1.train.get_or_create_global_step(), 2, name="doubled")
    return Supervisor(global_step=doubled).global_step is doubled


def variables_of_a_non_chief_need_a_device(Supervisor, logdir):
    tf1.get_variable("weight", initializer=1.0, use_resource=False)
    return raised(Supervisor, is_chief=False, logdir=logdir)


def resource_variables_of_a_non_chief_need_no_device(Supervisor, logdir):
    tf1.get_variable("weight", initializer=1.0, use_resource=True)
    return raised(Supervisor, is_chief=False)


def variables_of_a_non_chief_with_a_device(Supervisor, logdir):
    with tf.device("/job:ps/task:0"):
        tf1.get_variable("weight", initializer=1.0, use_resource=False)
    return raised(Supervisor, is_chief=False)


def variables_of_a_chief_need_no_device(Supervisor, logdir):
    tf1.get_variable("weight", initializer=1.0, use_resource=False)
    return raised(Supervisor)


def summary_op_of_a_single_summary(Supervisor, logdir):
    summary = tf1.summary.scalar("only", 1.0)
    sv = Supervisor(summary_op=summary)
    return sv.summary_op is summary


def failed_construction_leaves_the_graph_open(Supervisor, logdir):
    tf1.get_variable("weight", initializer=1.0, use_resource=False)
    with catching():
        Supervisor(is_chief=False)
    return tf1.get_default_graph().finalized
