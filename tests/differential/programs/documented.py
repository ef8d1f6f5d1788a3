"""The examples of the documentation."""

from __future__ import annotations

import threading

import tensorflow as tf
from observing import ALL_SERVICES, catching, counting_model, files, first_tick, streams, tf1


def single_program(Supervisor, logdir):
    with tf.Graph().as_default():
        model = counting_model()
        # Create a Supervisor that will checkpoint the model in '/tmp/mydir'.
        sv = Supervisor(logdir=logdir)
        # Get a TensorFlow session managed by the supervisor.
        with sv.managed_session("") as sess:
            first_tick(sv, logdir, *ALL_SERVICES)
            # Use the session to train the graph.
            while not sv.should_stop():
                if sess.run([model.train_op, model.step])[1] >= 9:
                    sv.saver.save(sess, sv.save_path, global_step=sv.global_step)
                    sv.request_stop()
    return files(logdir)


def multiple_replicas(Supervisor, logdir):
    server = tf1.train.Server.create_local_server()
    steps = []
    for is_chief in [True, False]:
        with tf.Graph().as_default(), tf.device("/cpu:0"):
            model = counting_model()
            # Create a Supervisor that uses log directory on a shared file system.
            # Indicate if you are the 'chief'
            sv = Supervisor(logdir=logdir, is_chief=is_chief, save_model_secs=0)
            # Get a Session in a TensorFlow server on the cluster.
            with sv.managed_session(server.target) as sess:
                # Use the session to train the graph.
                while not sv.should_stop():
                    sess.run(model.train_op)
                    steps.append(int(sess.run(model.step)))
                    if steps[-1] % 3 == 0:
                        sv.request_stop()
    return steps


def launching_additional_services(Supervisor, logdir):
    model = counting_model()
    printed = []
    called = threading.Event()

    def print_loss(sess):
        printed.append(isinstance(sess, tf1.Session))
        called.set()

    sv = Supervisor(logdir=logdir)
    with sv.managed_session() as sess:
        sv.loop(60, print_loss, (sess,))
        while not sv.should_stop():
            sess.run(model.train_op)
            if called.is_set():
                sv.request_stop()
    return printed


def launching_fewer_services(Supervisor, logdir):
    model = counting_model()
    my_summary_op = tf1.summary.merge_all()
    is_chief = True
    # Create a Supervisor with no automatic summaries.
    sv = Supervisor(logdir=logdir, is_chief=is_chief, summary_op=None)
    # As summary_op was None, managed_session() does not start the
    # summary thread.
    with sv.managed_session() as sess:
        first_tick(sv, logdir, "/sec", "CHECKPOINT")
        for step in range(301):
            if sv.should_stop():
                break
            if is_chief and step % 100 == 0:
                # Create the summary every 100 chief steps.
                sv.summary_computed(sess, sess.run(my_summary_op))
            else:
                # Train normally
                sess.run(model.train_op)
    return [line for line in streams(logdir)[0] if not line.startswith("CHECKPOINT 297")]


def training_with_a_bounded_loop(Supervisor, logdir):
    model = counting_model()
    sv = Supervisor(logdir=logdir, save_model_secs=0)
    done = []
    with sv.managed_session("") as sess:
        for step in range(20):
            if sv.should_stop():
                break
            sess.run(model.train_op)
            done.append(step)
            if step == 10:
                sv.request_stop()
    return len(done)


def retrying_after_preemption(Supervisor, logdir):
    attempts = []

    def train():
        with tf.Graph().as_default():
            model = counting_model()
            sv = Supervisor(logdir=logdir, save_model_secs=0)
            with sv.managed_session() as sess:
                attempts.append(int(sess.run(model.step)))
                sess.run(model.train_op)
                sv.saver.save(sess, sv.save_path, global_step=sv.global_step)
                if len(attempts) < 3:
                    raise tf.errors.AbortedError(None, None, "preempted")

    def main():
        while True:
            try:
                return train()
            except tf.errors.AbortedError:
                pass

    main()
    return attempts


def joining_the_threads_of_the_standard_services(Supervisor, logdir):
    """You can use the Supervisor's Coordinator to join these threads."""
    counting_model()
    sv = Supervisor(logdir=logdir)
    sess = sv.PrepareSession(start_standard_services=False)
    threads = sv.StartStandardServices(sess)
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.RequestStop()
    sv.coord.join(threads)
    alive = [thread for thread in threads if thread.is_alive()]
    sv.Stop()
    sess.close()
    return [len(alive), sv.ShouldStop()]


def custom_initialization_with_a_session_manager(Supervisor, logdir):
    """You can use the SessionManager directly to see if a session could be initialized automatically."""
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    sess, initialized = sv.session_manager.recover_session("", sv.saver, logdir)
    with sess:
        sess.run(sv.init_op)
        return [initialized, float(sess.run(model.weight))]


def old_names(Supervisor, logdir):
    """A program from the time of the CamelCase names."""
    model = counting_model()
    sv = Supervisor(logdir=logdir)
    called = threading.Event()
    sess = sv.PrepareSession("")
    first_tick(sv, logdir, *ALL_SERVICES)
    sv.Loop(60, called.set)
    called.wait(10)
    with catching() as errors, sv.StopOnException():
        while not sv.ShouldStop():
            sess.run(model.train_op)
            sv.SummaryComputed(sess, tf1.Summary(value=[tf1.Summary.Value(tag="mine", simple_value=1.0)]))
            sv.saver.save(sess, sv.save_path, global_step=sv.global_step)
            raise tf.errors.OutOfRangeError(None, None, "end of input")
    sv.WaitForStop()
    sv.Stop()
    sess.close()
    return [errors, [line for line in streams(logdir)[0] if not line.startswith("CHECKPOINT 1")]]
