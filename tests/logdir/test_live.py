"""live: what a training does to the checkpoints that are looked at is no damage."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest
import tensorflow as tf

import hookrun
from hookrun import hooks
from hookrun.checkpoints import restore
from hookrun.checkpoints.directory import remove
from hookrun.logdir import contents, live
from hookrun.logdir.cli import main

tf1 = tf.compat.v1


def save(directory, *steps):
    with tf.Graph().as_default(), tf1.Session() as sess:
        step = tf1.train.get_or_create_global_step()
        tf1.get_variable("weights", [50_000])
        saver = tf1.train.Saver()
        sess.run(tf1.global_variables_initializer())
        for number in steps:
            sess.run(step.assign(number))
            saver.save(sess, str(directory / "model.ckpt"), global_step=number)


@pytest.fixture
def logdir(tmp_path):
    save(tmp_path, 1, 2, 3)
    return tmp_path


@pytest.fixture
def meanwhile(monkeypatch):
    """Does something while what is wrong is waited for, once."""

    def do(action):
        actions = [action]
        monkeypatch.setattr(live.time, "sleep", lambda _: actions and actions.pop()())

    return do


def steps(directory):
    return [checkpoint.step for checkpoint in contents.inspect(str(directory)).checkpoints]


def name(directory, *numbers):
    names = "".join(f'all_model_checkpoint_paths: "model.ckpt-{number}"\n' for number in numbers)
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-{numbers[-1]}"\n{names}')


def test_one_that_is_removed_before_it_is_read_is_left_out(logdir, monkeypatch):
    verify = restore.verify

    def removing(prefix, progress):
        if prefix.endswith("-2") and os.path.exists(f"{prefix}.index"):
            remove(prefix)
            name(logdir, 1, 3)
        return verify(prefix, progress)

    monkeypatch.setattr(restore, "verify", removing)
    assert steps(logdir) == [1, 3]


def test_one_of_which_half_is_removed_is_left_out_once_it_is_gone(logdir, meanwhile):
    (logdir / "model.ckpt-1.data-00000-of-00001").unlink()

    def finish():
        remove(str(logdir / "model.ckpt-1"))
        name(logdir, 2, 3)

    meanwhile(finish)
    assert steps(logdir) == [2, 3]


def test_one_that_is_removed_and_still_named_is_left_out_once_it_is_not(logdir, meanwhile):
    remove(str(logdir / "model.ckpt-1"))
    meanwhile(lambda: name(logdir, 2, 3))
    assert steps(logdir) == [2, 3]


def test_one_of_which_half_is_moved_in_is_intact_once_it_is_whole(logdir, tmp_path, meanwhile):
    index = logdir / "model.ckpt-3.index"
    index.rename(tmp_path / "aside")
    meanwhile(lambda: (tmp_path / "aside").rename(index))
    found = contents.inspect(str(logdir)).checkpoints
    assert [(checkpoint.step, checkpoint.damage) for checkpoint in found] == [(1, None), (2, None), (3, None)]


def test_one_that_is_replaced_is_read_again(logdir, tmp_path, meanwhile):
    shutil.copytree(logdir, tmp_path / "new")
    save(tmp_path / "new", 3)
    data, index = "model.ckpt-3.data-00000-of-00001", "model.ckpt-3.index"
    os.replace(tmp_path / "new" / data, logdir / data)
    meanwhile(lambda: os.replace(tmp_path / "new" / index, logdir / index))
    assert contents.inspect(str(logdir)).verify()[str(logdir / "model.ckpt-3")] is None


def test_what_stays_wrong_is_damage_and_without_a_wait_where_nothing_has_changed_for_long(logdir, meanwhile):
    meanwhile(lambda: pytest.fail("nothing is waited for"))
    (logdir / "model.ckpt-1.data-00000-of-00001").unlink()
    os.utime(logdir, (1, 1))
    damage = contents.inspect(str(logdir)).verify()
    assert "model.ckpt-1.data" in damage[str(logdir / "model.ckpt-1")]


def test_where_all_that_were_found_are_removed_they_are_looked_for_again(logdir, monkeypatch):
    found, new = restore.candidates, iter([4, 5])

    def removing(save_path):
        monkeypatch.setattr(restore, "candidates", found)
        paths = found(save_path)
        save(logdir, next(new))
        for path in paths:
            remove(path)
        return paths

    monkeypatch.setattr(restore, "candidates", removing)
    assert steps(logdir) == [4]
    monkeypatch.setattr(restore, "candidates", removing)
    (pruning,) = contents.prune(str(logdir), hooks.retention.LatestN(1), delete=False)
    assert [os.path.basename(path) for path in pruning.kept] == ["model.ckpt-5"]


def test_every_command_ends_well_beside_a_training(tmp_path, capsys):
    saved, stop = threading.Event(), threading.Event()

    def train():
        with tf.Graph().as_default():
            step = tf1.train.get_or_create_global_step()
            weights = tf1.get_variable("weights", [50_000], initializer=tf1.zeros_initializer())
            tf1.summary.scalar("value", weights[0])
            train_op = tf1.group(tf1.assign_add(step, 1), tf1.assign_add(weights, tf.ones([50_000])))
            keep = hooks.CheckpointHook(every_steps=1, keep=hooks.retention.LatestN(1))
            given = [keep, hooks.SummaryHook(every_steps=1)]
            sv = hookrun.Supervisor(logdir=tmp_path, save_summaries_secs=3600, hooks=given)
            sv.on(hookrun.signals.checkpoint_saved, lambda *_: saved.set())
            with sv.managed_session() as sess:
                while not stop.is_set():
                    sess.run(train_op)

    training = threading.Thread(target=train)
    training.start()
    try:
        assert saved.wait(60)
        capsys.readouterr()
        for number in range(24):
            words = ["inspect", "verify", "prune --keep latest:1", "prune --keep latest:1 --delete"]
            command, *arguments = words[number % 4].split()
            saved.clear()
            status = main([command, str(tmp_path), *arguments, "--json"])
            out, err = capsys.readouterr()
            assert (status, err) == (0, "")
            found = json.loads(out)
            if command == "inspect":
                assert not [c for c in found["checkpoints"] if c["damage"]]
            elif command == "prune":
                assert not any(pruning["damaged"] for pruning in found["checkpoints"])
            assert saved.wait(60)
    finally:
        stop.set()
        training.join()
    assert main(["scalars", str(tmp_path), "value"]) == 0
    assert main(["report", str(tmp_path)]) == 0
