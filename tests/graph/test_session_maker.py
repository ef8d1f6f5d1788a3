"""SessionMaker: a session manager of the program's own is asked, and nothing else is done with the master."""

from __future__ import annotations

import threading

import pytest
import tensorflow as tf

import hookrun


class Manager:
    """Understands a master that TensorFlow does not."""

    def __init__(self, target=""):
        self._target = target
        self.asked = []

    def prepare_session(self, master, init_op=None, init_fn=None, config=None, **kwargs):
        self.asked.append((master, threading.current_thread(), init_fn))
        session = tf.compat.v1.Session(self._target, config=config)
        session.run(init_op)
        return session

    def wait_for_session(self, master, config=None, max_wait_secs=0):
        self.asked.append((master, threading.current_thread(), None))
        session = tf.compat.v1.Session(self._target, config=config)
        return session


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("is_chief", [False, True])
def test_a_manager_of_ones_own_alone_sees_the_master(model, tmp_path, is_remote, is_chief):
    server = tf.distribute.Server.create_local_server() if is_remote else None
    if server is not None and not is_chief:
        with tf.compat.v1.Session(server.target) as chief:
            chief.run(tf.compat.v1.global_variables_initializer())
    manager = Manager(server.target if server else "")

    def init_fn(sess):
        raise AssertionError("left to the manager")

    sv = hookrun.Supervisor(
        logdir=tmp_path, session_manager=manager, init_fn=init_fn, is_chief=is_chief, ready_op=None
    )
    with sv.managed_session("queue://jobs/7") as sess:
        if is_remote or is_chief:
            sess.run(model.train_op)
    given = init_fn if is_chief else None
    assert manager.asked == [("queue://jobs/7", threading.current_thread(), given)]


def test_local_too_is_passed_on_as_it_is(model):
    manager = Manager()
    with hookrun.Supervisor(session_manager=manager).managed_session("local"):
        pass
    assert [master for master, *_ in manager.asked] == ["local"]
