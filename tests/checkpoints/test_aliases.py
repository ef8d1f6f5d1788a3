"""A path is a path, whatever it holds: no part of it is taken for a pattern."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks
from hookrun.checkpoints import restore
from hookrun.checkpoints.aliases import readable
from hookrun.hooks.retention import LatestN

tf1 = tf.compat.v1

NAMES = [f"a{part}b" for part in ("[c]", "[!c]", "[", "]", "*", "?", "{c,d}", "\\", "\\[", "[[]", "[a-c]*")]


def train(logdir, steps, **arguments):
    """The step from which a training starts that goes on for some steps."""
    with tf.Graph().as_default():
        step = tf1.train.get_or_create_global_step()
        train_op = step.assign_add(1, read_value=False)
        given = [hooks.CheckpointHook(every_steps=2, keep=LatestN(2))]
        sv = hookrun.Supervisor(logdir=logdir, hooks=given, save_summaries_secs=0, **arguments)
        with sv.managed_session() as sess:
            first = int(sess.run(step))
            for _ in range(steps):
                sess.run(train_op)
    return first


@pytest.mark.parametrize("name", NAMES)
def test_a_training_goes_on_whatever_its_logdir_is_called(tmp_path, name, caplog):
    assert [train(tmp_path / name / "run", 6) for _ in range(2)] == [0, 6]
    assert "is skipped" not in caplog.text
    assert sorted(path.name for path in (tmp_path / name / "run").glob("*.index")) == [
        "model.ckpt-10.index",
        "model.ckpt-12.index",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_goes_on_whatever_its_checkpoints_are_called(tmp_path, name):
    (tmp_path / "acb-6.index").write_bytes(b"")  # which some of them match
    assert [train(tmp_path, 6, checkpoint_basename=name) for _ in range(2)] == [0, 6]
    assert sorted(path.name for path in tmp_path.glob("*.index")) == sorted(
        ["acb-6.index", f"{name}-10.index", f"{name}-12.index"]
    )


def test_damage_is_told_by_the_path_that_the_user_knows(tmp_path):
    logdir = tmp_path / "[a]"
    train(logdir, 4)
    for file in logdir.glob("model.ckpt-4.data*"):
        file.write_bytes(file.read_bytes()[:-1])
    prefix = str(logdir / "model.ckpt-4")
    assert "hookrun-checkpoint-" not in restore.verify(prefix) and prefix in restore.verify(prefix)
    assert train(logdir, 0) == 2


def test_a_training_goes_back_to_a_checkpoint_there(tmp_path):
    train(tmp_path / "[a]", 4)
    step = tf1.train.get_or_create_global_step()
    sv = hookrun.Supervisor(logdir=tmp_path / "[a]", save_model_secs=0)
    with sv.managed_session() as sess:
        sv.restore(sess, tmp_path / "[a]" / "model.ckpt-2")
        assert sess.run(step) == 2


def test_links_are_gone_when_they_were_read(tmp_path):
    train(tmp_path / "[a]", 2)
    with readable(str(tmp_path / "[a]" / "model.ckpt-2")) as path:
        assert tf.train.load_variable(path, "global_step") == 2
    assert not os.path.exists(os.path.dirname(path))


def test_where_no_links_can_be_made_it_is_refused_by_the_character(tmp_path):
    with pytest.raises(ValueError, match=r"must not hold '\['.*ram://runs/lr=\[0.1\]"):
        train("ram://runs/lr=[0.1]", 2)
    tf1.train.get_or_create_global_step()
    sv = hookrun.Supervisor(logdir=tmp_path / "a\\b")
    with pytest.raises(ValueError, match="must not hold .* read by other processes"):
        sv.prepare_or_wait_for_session("local")
