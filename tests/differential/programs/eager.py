"""Under TensorFlow 2's defaults: nothing is switched off in this process."""

from __future__ import annotations

import tensorflow as tf
from observing import ALL_SERVICES, catching, counting_model, first_tick, raised, streams, tf1


def constructor_in_eager_mode(Supervisor, logdir):
    return [tf.executing_eagerly(), raised(Supervisor, logdir=logdir), raised(Supervisor, graph=tf.Graph())]


def start_queue_runners_in_eager_mode(Supervisor, logdir):
    with tf.Graph().as_default():
        counting_model()
        sv = Supervisor()
        session = sv.prepare_or_wait_for_session()
    with session:
        return raised(sv.start_queue_runners, session)


def session_without_services(Supervisor, logdir):
    with tf.Graph().as_default():
        model = counting_model()
        sv = Supervisor()
        with sv.managed_session() as session:
            session.run(model.train_op)
            return [int(session.run(model.step)), float(session.run(model.weight))]


def nothing_is_switched_off(Supervisor, logdir):
    with tf.Graph().as_default():
        counting_model()
        Supervisor()
    return [tf.executing_eagerly(), tf1.resource_variables_enabled(), tf1.control_flow_v2_enabled()]


def services_under_the_defaults_of_tensorflow_2(Supervisor, logdir):
    with tf.Graph().as_default():
        model = counting_model()
        sv = Supervisor(logdir=logdir)
        with catching() as errors, sv.managed_session() as session:
            first_tick(sv, logdir, *ALL_SERVICES)
            session.run(model.step)
    return [errors, streams(logdir)]
