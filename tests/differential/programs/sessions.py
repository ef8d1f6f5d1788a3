"""How a session is made: initialized, restored or waited for, and what it is."""

from __future__ import annotations

import os
import threading
from typing import Any

import tensorflow as tf
from observing import Model, catching, checkpoints, counting_model, files, raised, saved, tf1, until


def _variables(session: Any, model: Model) -> list[float]:
    return [float(value) for value in session.run([model.weight, model.step])]


def _run_of_three_steps(Supervisor: Any, logdir: str, **kwargs: Any) -> None:
    """Three steps and a checkpoint, in a graph of its own."""
    with tf.Graph().as_default():
        model = counting_model()
        sv = Supervisor(logdir=logdir, save_model_secs=0, **kwargs)
        with sv.managed_session() as session:
            for _ in range(3):
                session.run(model.train_op)
            sv.saver.save(session, sv.save_path, global_step=sv.global_step)


def variables_are_initialized(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session() as session:
        return _variables(session, model)


def resource_variables_are_initialized(Supervisor, logdir):
    model = counting_model(use_resource=True)
    sv = Supervisor(logdir=logdir)
    with sv.managed_session() as session:
        return _variables(session, model)


def init_op(Supervisor, logdir):
    model = counting_model()
    with tf.control_dependencies([tf1.global_variables_initializer()]):
        init = tf1.assign(model.weight, 7.0).op
    sv = Supervisor(init_op=init)
    with sv.managed_session() as session:
        return _variables(session, model)


def init_op_given_as_a_list(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(init_op=[model.weight.initializer, model.step.initializer])
    with sv.managed_session() as session:
        return _variables(session, model)


def init_fn_runs_after_the_init_op(Supervisor, logdir):
    model = counting_model()
    add_ten = tf1.assign_add(model.weight, 10.0)
    calls = []

    def init_fn(session):
        calls.append([isinstance(session, tf1.Session), float(session.run(model.weight))])
        session.run(add_ten)

    sv = Supervisor(init_fn=init_fn)
    with sv.managed_session() as session:
        return {"calls": calls, "variables": _variables(session, model)}


def init_fn_without_an_init_op(Supervisor, logdir):
    model = counting_model()
    initialize = tf1.global_variables_initializer()
    sv = Supervisor(init_op=None, init_fn=lambda session: session.run(initialize))
    with sv.managed_session() as session:
        return _variables(session, model)


def init_fn_that_raises(Supervisor, logdir):
    counting_model()

    def init_fn(session):
        raise ValueError("no weights to start from")

    sv = Supervisor(logdir=logdir, init_fn=init_fn)
    with catching() as managed, sv.managed_session():
        pass
    return {"managed": managed, "prepare": raised(sv.prepare_or_wait_for_session), "files": files(logdir)}


def init_feed_dict(Supervisor, logdir):
    start = tf1.placeholder(tf.float32, [])
    weight = tf1.get_variable("weight", initializer=start)
    sv = Supervisor(init_feed_dict={start: 5.0})
    with sv.managed_session() as session:
        return float(session.run(weight))


def init_feed_dict_missing(Supervisor, logdir):
    start = tf1.placeholder(tf.float32, [], name="start")
    tf1.get_variable("weight", initializer=start)
    return raised(Supervisor().prepare_or_wait_for_session)


def local_variables_and_tables_are_initialized(Supervisor, logdir):
    local = tf1.get_local_variable("local", initializer=3)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [4]), -1)
    found = table.lookup(tf.constant("a"))
    with Supervisor().managed_session() as session:
        return [int(value) for value in session.run([local, found])]


def local_init_op(Supervisor, logdir):
    model = counting_model()
    local = tf1.get_local_variable("local", initializer=3)
    with tf.control_dependencies([local.initializer]):
        op = tf1.assign(local, 9).op
    with Supervisor(local_init_op=op).managed_session() as session:
        return [int(session.run(local)), _variables(session, model)]


def local_init_op_none_leaves_local_variables(Supervisor, logdir):
    """The default ready op then finds them not initialized."""
    counting_model()
    tf1.get_local_variable("local", initializer=3)
    sv = Supervisor(local_init_op=None)
    with catching() as managed, sv.managed_session():
        pass
    return {"managed": managed, "prepare": raised(sv.prepare_or_wait_for_session)}


def local_init_op_runs_after_restoring_too(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    copy = tf1.get_local_variable("copy", initializer=0.0)
    sv = Supervisor(logdir=logdir, local_init_op=tf1.assign(copy, model.weight).op)
    with sv.managed_session() as session:
        return float(session.run(copy))


def local_init_run_options(Supervisor, logdir):
    """A local init op that never ends runs into the time-out of the options."""
    blocked = tf1.FIFOQueue(1, tf.int32).dequeue()
    sv = Supervisor(local_init_op=blocked, local_init_run_options=tf1.RunOptions(timeout_in_ms=50))
    return raised(sv.prepare_or_wait_for_session)[0]


def nothing_to_initialize_with(Supervisor, logdir):
    counting_model()
    sv = Supervisor(init_op=None, local_init_op=None)
    with catching() as managed, sv.managed_session():
        pass
    return {"managed": managed, "prepare": raised(sv.prepare_or_wait_for_session)}


def init_op_that_forgets_a_variable(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir, init_op=model.step.initializer)
    with catching() as managed, sv.managed_session():
        pass
    return {"managed": managed, "files": files(logdir)}


def init_fn_is_named_when_the_model_is_not_ready(Supervisor, logdir):
    counting_model()

    def load_weights(session):
        pass

    return raised(Supervisor(init_op=None, init_fn=load_weights).prepare_or_wait_for_session)


def ready_op_that_is_never_ready(Supervisor, logdir):
    counting_model()
    sv = Supervisor(ready_op=tf.constant(["left", "right"]))
    return raised(sv.prepare_or_wait_for_session)


def ready_op_that_fails(Supervisor, logdir):
    counting_model()
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], ["b"]), "c")
    sv = Supervisor(ready_op=table.lookup(tf.constant(["a"])), local_init_op=tf.no_op())
    return raised(sv.prepare_or_wait_for_session)[0]


def ready_op_that_fails_otherwise(Supervisor, logdir):
    """An error that is not about readiness is raised as it is."""
    counting_model()
    sv = Supervisor(ready_op=tf.strings.as_string(tf.strings.to_number(["no number"])))
    return raised(sv.prepare_or_wait_for_session)


def ready_op_none_checks_nothing(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(ready_op=None, init_op=model.step.initializer)
    session = sv.prepare_or_wait_for_session()
    with session:
        return raised(session.run, model.weight)[0]


def ready_op_of_integers_counts_as_ready(Supervisor, logdir):
    counting_model()
    return raised(Supervisor(ready_op=tf.constant(5)).prepare_or_wait_for_session)


def ready_for_local_init_op_that_is_ready(Supervisor, logdir):
    counting_model()
    local = tf1.get_local_variable("local", initializer=3)
    sv = Supervisor(ready_for_local_init_op=tf1.report_uninitialized_variables(tf1.global_variables()))
    with sv.managed_session() as session:
        return int(session.run(local))


def ready_for_local_init_op_that_is_never_ready(Supervisor, logdir):
    counting_model()
    sv = Supervisor(ready_for_local_init_op=tf.constant(["not yet"]))
    with catching() as managed, sv.managed_session():
        pass
    return {"managed": managed, "prepare": raised(sv.prepare_or_wait_for_session)}


def ready_for_local_init_op_from_the_collection(Supervisor, logdir):
    counting_model()
    tf1.add_to_collection(tf1.GraphKeys.READY_FOR_LOCAL_INIT_OP, tf.constant(["collected"]))
    return raised(Supervisor().prepare_or_wait_for_session)


def restart_restores_variables_and_step(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    with Supervisor(logdir=logdir).managed_session() as session:
        return _variables(session, model)


def restart_after_an_error(Supervisor, logdir):
    """The new run goes on from the checkpoint of the timer."""
    errors = []
    for run in range(3):
        with tf.Graph().as_default(), catching() as error:
            model = counting_model()
            sv = Supervisor(logdir=logdir, save_model_secs=0.05)
            with sv.managed_session() as session:
                until(lambda path=f"{sv.save_path}-{run}": tf1.train.latest_checkpoint(logdir) == path)
                before = _variables(session, model)
                session.run(model.train_op)
                until(lambda path=f"{sv.save_path}-{run + 1}": tf1.train.latest_checkpoint(logdir) == path)
                raise ValueError(f"crash of run {run}")
        errors.append([error, before])
    return [errors, checkpoints(logdir)]


def restart_does_not_initialize(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    calls = []
    with tf.control_dependencies([tf1.global_variables_initializer()]):
        init = tf1.assign(model.weight, -1.0).op
    sv = Supervisor(logdir=logdir, init_op=init, init_fn=calls.append)
    with sv.managed_session() as session:
        return [calls, _variables(session, model)]


def restart_without_a_saver_starts_anew(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    with Supervisor(logdir=logdir, saver=None).managed_session() as session:
        return _variables(session, model)


def restart_without_logdir_starts_anew(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    with Supervisor().managed_session() as session:
        return _variables(session, model)


def restart_with_checkpoints_off_restores(Supervisor, logdir):
    """0 stops saving, not restoring."""
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    with Supervisor(logdir=logdir, save_model_secs=0).managed_session() as session:
        return _variables(session, model)


def restart_without_a_global_step(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    with Supervisor(logdir=logdir, global_step=None, save_model_secs=0).managed_session() as session:
        return _variables(session, model)


def restart_with_a_saver_of_some_variables(Supervisor, logdir):
    """What the saver does not know is not restored, and init does not run: the model is not ready."""
    _run_of_three_steps(Supervisor, logdir)
    model = counting_model()
    sv = Supervisor(logdir=logdir, saver=tf1.train.Saver([model.step]))
    return raised(sv.prepare_or_wait_for_session)


def restart_with_a_new_variable(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    counting_model()
    tf1.get_variable("unsaved", initializer=0.0)
    return raised(Supervisor(logdir=logdir).prepare_or_wait_for_session)[0]


def restart_with_another_basename_restores_the_newest(Supervisor, logdir):
    """Which checkpoint is restored is said by the directory, not by the basename."""
    _run_of_three_steps(Supervisor, logdir, checkpoint_basename="old.ckpt")
    model = counting_model()
    sv = Supervisor(logdir=logdir, checkpoint_basename="new.ckpt", save_model_secs=0)
    with sv.managed_session() as session:
        return _variables(session, model)


def restart_from_a_checkpoint_that_is_not_the_last(Supervisor, logdir):
    """The state file says which."""
    _run_of_three_steps(Supervisor, logdir)
    with tf.Graph().as_default():
        model = counting_model()
        sv = Supervisor(logdir=logdir, save_model_secs=0)
        with sv.managed_session() as session:
            session.run(model.train_op)
            sv.saver.save(session, sv.save_path, global_step=sv.global_step)
    tf1.train.update_checkpoint_state(logdir, os.path.join(logdir, "model.ckpt-3"))
    model = counting_model()
    with Supervisor(logdir=logdir, save_model_secs=0).managed_session() as session:
        return _variables(session, model)


def checkpoint_holds_the_variables(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir)
    return [saved(tf1.train.latest_checkpoint(logdir)), files(logdir)]


def wait_for_checkpoint_that_does_not_come(Supervisor, logdir):
    """After the time is over the model is initialized."""
    model = counting_model()
    sv = Supervisor(logdir=logdir, recovery_wait_secs=0.01)
    session = sv.prepare_or_wait_for_session(wait_for_checkpoint=True, max_wait_secs=0.03)
    values = _variables(session, model)
    sv.stop()
    session.close()
    return values


def wait_for_checkpoint_that_comes(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir, recovery_wait_secs=0.05)
    other = threading.Thread(target=_run_of_three_steps, args=(tf1.train.Supervisor, logdir))
    other.start()
    session = sv.prepare_or_wait_for_session("", None, True, 30)
    values = _variables(session, model)
    other.join()
    sv.stop()
    session.close()
    return values


def checkpoint_basename(Supervisor, logdir):
    _run_of_three_steps(Supervisor, logdir, checkpoint_basename="digits.ckpt")
    return files(logdir)


def saves_under_another_name(Supervisor, logdir):
    """They are counted among those that are kept, over a restart too."""
    kept = []
    for _ in range(2):
        with tf.Graph().as_default():
            model = counting_model()
            sv = Supervisor(logdir=logdir, saver=tf1.train.Saver(max_to_keep=3), save_model_secs=0)
            with sv.managed_session() as session:
                for name in ("model.ckpt", "mine"):
                    session.run(model.train_op)
                    sv.saver.save(session, os.path.join(logdir, name), global_step=sv.global_step)
            kept.append([checkpoints(logdir), files(logdir)])
    return kept


def saver_that_keeps_two(Supervisor, logdir):
    """The two newest checkpoints are kept, over a restart too."""
    kept = []
    for _ in range(2):
        with tf.Graph().as_default():
            model = counting_model()
            sv = Supervisor(logdir=logdir, saver=tf1.train.Saver(max_to_keep=2), save_model_secs=0)
            with sv.managed_session() as session:
                for _ in range(3):
                    session.run(model.train_op)
                    sv.saver.save(session, sv.save_path, global_step=sv.global_step)
            kept.append([checkpoints(logdir), files(logdir)])
    return kept


def saver_of_the_timer_keeps_two(Supervisor, logdir):
    kept = []
    for run in range(2):
        with tf.Graph().as_default():
            model = counting_model()
            sv = Supervisor(logdir=logdir, saver=tf1.train.Saver(max_to_keep=2), save_model_secs=0.05)
            with sv.managed_session() as session:
                for step in range(3 * run + 1, 3 * run + 4):
                    session.run(model.train_op)
                    until(lambda path=f"{sv.save_path}-{step}": tf1.train.latest_checkpoint(logdir) == path)
            kept.append(checkpoints(logdir))
    return kept


class _RecordingManager(tf1.train.SessionManager):
    """Notes what the Supervisor asks of it."""

    def prepare_session(self, *args: Any, **kwargs: Any) -> tf1.Session:
        self.prepared = [args, kwargs]
        return super().prepare_session(*args, **kwargs)

    def wait_for_session(self, *args: Any, **kwargs: Any) -> tf1.Session:
        self.waited = [args, kwargs]
        return super().wait_for_session(*args, **kwargs)


def session_manager_is_asked_to_prepare(Supervisor, logdir):
    """It is given all that it needs, by the names that TensorFlow's manager has."""
    counting_model()
    manager = _RecordingManager(ready_op=tf1.report_uninitialized_variables())
    config, init_feed = tf1.ConfigProto(), {}

    def init_fn(session):
        pass

    sv = Supervisor(logdir=logdir, session_manager=manager, init_feed_dict=init_feed, init_fn=init_fn)
    sv.prepare_or_wait_for_session("", config, False, 17, False).close()
    args, kwargs = manager.prepared
    expected = {"init_op": sv.init_op, "saver": sv.saver, "config": config, "init_fn": init_fn}
    return {
        "args": args,
        "names": sorted(kwargs),
        "same": {name: kwargs.get(name) is value for name, value in expected.items()},
        "values": {
            name: kwargs.get(name) for name in ["checkpoint_dir", "wait_for_checkpoint", "max_wait_secs"]
        },
    }


def session_manager_is_asked_to_wait(Supervisor, logdir):
    tf.constant(1)
    manager, config = _RecordingManager(), tf1.ConfigProto()
    sv = Supervisor(is_chief=False, session_manager=manager)
    sv.prepare_or_wait_for_session("", config, max_wait_secs=17).close()
    args, kwargs = manager.waited
    same = kwargs.pop("config") is config
    return {"args": args, "kwargs": kwargs, "config": same}


def session_manager_makes_the_session(Supervisor, logdir):
    """Only what the manager was made with counts: local init is its own affair."""
    model = counting_model()
    local = tf1.get_local_variable("local", initializer=3)
    sv = Supervisor(session_manager=tf1.train.SessionManager(), local_init_op=local.initializer)
    with sv.managed_session() as session:
        return [_variables(session, model), raised(session.run, local)[0], isinstance(session, tf1.Session)]


def session_manager_of_ones_own(Supervisor, logdir):
    """Any object with the two methods will do."""
    model = counting_model()
    initialize = tf1.global_variables_initializer()

    class Manager:
        def prepare_session(self, master, **kwargs):
            session = tf1.Session(master)
            session.run(initialize)
            session.run(model.train_op)
            return session

    sv = Supervisor(session_manager=Manager())
    with sv.managed_session() as session:
        return _variables(session, model)


def config_is_passed_on(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with sv.managed_session(config=tf1.ConfigProto(device_count={"CPU": 3})) as session:
        managed = len([device for device in session.list_devices() if device.device_type == "CPU"])
    session = sv.prepare_or_wait_for_session(config=tf1.ConfigProto(device_count={"CPU": 2}))
    with session:
        return [managed, len([device for device in session.list_devices() if device.device_type == "CPU"])]


def master_is_a_server(Supervisor, logdir):
    model = counting_model()
    server = tf1.train.Server.create_local_server()
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    with sv.managed_session(server.target) as session:
        session.run(model.train_op)
        return [session.sess_str == server.target.encode(), _variables(session, model)]


def master_that_is_unknown(Supervisor, logdir):
    counting_model()
    sv = Supervisor()
    with catching() as managed, sv.managed_session("nonsense"):
        pass
    return {"managed": managed, "prepare": raised(sv.prepare_or_wait_for_session, "nonsense")}


def managed_session_yields_a_session(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor()
    with sv.managed_session() as session:
        inside = [
            isinstance(session, tf1.Session),
            session.graph is tf1.get_default_graph(),
            tf1.get_default_session() is None,
            float(model.weight.eval(session=session)),
        ]
    return [inside, raised(session.run, model.weight)]


def managed_session_as_the_default_session(Supervisor, logdir):
    model = counting_model()
    with Supervisor().managed_session() as session, session.as_default():
        model.train_op.run()
        return [float(model.weight.eval()), tf1.get_default_session() is session]


def managed_session_by_position(Supervisor, logdir):
    """master, config, start_standard_services, close_summary_writer."""
    counting_model()
    sv = Supervisor(logdir=logdir)
    with sv.managed_session("", tf1.ConfigProto(), False, False):
        pass
    sv.summary_writer.flush()
    return files(logdir)


def managed_session_does_nothing_before_it_is_entered(Supervisor, logdir):
    counting_model()
    sv = Supervisor(logdir=logdir)
    sv.managed_session()
    return [files(logdir), sv.should_stop()]


def managed_session_twice(Supervisor, logdir):
    """Without a logdir the second one starts anew."""
    model = counting_model()
    sv = Supervisor()
    values = []
    for _ in range(2):
        with sv.managed_session() as session:
            session.run(model.train_op)
            values.append([_variables(session, model), sv.should_stop()])
    return [values, sv.should_stop()]


def fetches_of_every_shape(Supervisor, logdir):
    model = counting_model()
    doubled = model.weight * 2
    with Supervisor().managed_session() as session:
        return {
            "list": session.run([model.train_op, model.weight.name])[0],
            "dict": sorted(session.run({"w": model.weight, "nested": (model.step, [model.weight])})),
            "name": float(session.run("weight:0")),
            "feed": float(session.run(doubled, {model.weight: 21.0})),
            "op by name": session.run(model.train_op.name),
            "unknown": raised(session.run, "no_such_op:0"),
        }


def run_of_a_callable(Supervisor, logdir):
    model = counting_model()
    with Supervisor().managed_session() as session:
        doubled = model.weight.value().op.outputs[0]
        read = session.make_callable(doubled)
        metadata = tf1.RunMetadata()
        options = tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE)
        session.run(model.train_op, options=options, run_metadata=metadata)
        return [float(read()), bool(metadata.step_stats.dev_stats)]
