"""The state file: what it says is true of a copy as of the original, whatever the times of the files are."""

from __future__ import annotations

import os
import shutil
import time

import pytest
import tensorflow as tf

from hookrun.checkpoints import restore, state_file
from hookrun.checkpoints.directory import CheckpointDirectory
from hookrun.graph.snapshots import policy_of
from hookrun.runtime.hook_state import HookState

v1 = tf.compat.v1


def saves(logdir, *steps, name_newest=True):
    """Save checkpoints of these steps; of the last one, the state file may not be written any more."""
    with tf.Graph().as_default(), v1.Session() as sess:
        variable = v1.get_variable("v", initializer=0.0)
        sess.run(variable.initializer)
        saver = v1.train.Saver(max_to_keep=9)
        directory = CheckpointDirectory(saver, str(logdir / "model.ckpt"), policy_of(saver))
        for step in steps:
            if step == steps[-1] and not name_newest:
                directory._write_state_file = lambda newest: None
            directory.add(
                lambda path, step=step: saver.save(sess, path, global_step=step, write_state=False),
                HookState(),
            )


def same(number, count):
    return 1.0


def rising(number, count):
    return 1e9 + number


def falling(number, count):
    return 1e9 + count - number


@pytest.fixture(params=[same, rising, falling])
def copied(request, tmp_path):
    """Copies a logdir without the times of its files."""

    def copy(logdir):
        copy = tmp_path / "copy"
        copy.mkdir()
        names = sorted(os.listdir(logdir))
        for number, name in enumerate(names):
            shutil.copyfile(logdir / name, copy / name)
            seconds = request.param(number, len(names))
            os.utime(copy / name, (seconds, seconds))
        return copy

    return copy


@pytest.fixture
def logdir(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def start(logdir):
    return restore.newest_intact(str(logdir / "model.ckpt"))


def test_a_saver_reads_it_and_what_it_names_is_what_it_holds(logdir):
    before = time.time()
    saves(logdir, 1, 2)
    shutil.copy(logdir / "model.ckpt-1.index", logdir / "model.ckpt-0.index")
    saves(logdir, 3)
    state = tf.train.get_checkpoint_state(str(logdir))
    assert list(state.all_model_checkpoint_paths) == [
        str(logdir / f"model.ckpt-{step}") for step in (1, 2, 3)
    ]
    assert tf.train.latest_checkpoint(str(logdir)) == str(logdir / "model.ckpt-3")
    assert before <= state.all_model_checkpoint_timestamps[0] <= time.time()
    assert "# model.ckpt-0 is there too" in (logdir / "checkpoint").read_text()


def test_the_time_of_a_save_is_that_of_the_original_in_a_copy(logdir, copied):
    saves(logdir, 1, 2)
    times = [state_file.time_saved(str(logdir / f"model.ckpt-{step}")) for step in (1, 2)]
    copy = copied(logdir)
    assert [state_file.time_saved(str(copy / f"model.ckpt-{step}")) for step in (1, 2)] == times
    saves(copy, 3)  # which writes the state file of the copy
    assert [state_file.time_saved(str(copy / f"model.ckpt-{step}")) for step in (1, 2)] == times


def test_the_time_of_one_that_it_does_not_name_is_that_of_its_original_too(logdir, copied):
    saves(logdir, 1, 2)
    saved = state_file.time_saved(str(logdir / "model.ckpt-1"))
    state_file.write(str(logdir / "model.ckpt"), str(logdir / "model.ckpt-2"), [], False)
    assert state_file.time_saved(str(copied(logdir) / "model.ckpt-1")) == saved


def test_one_of_another_saver_has_the_time_of_its_file(logdir):
    saves(logdir, 1)
    shutil.copy(logdir / "model.ckpt-1.index", logdir / "other-1.index")
    os.utime(logdir / "other-1.index", (5.0, 5.0))
    assert state_file.time_saved(str(logdir / "other-1")) == 5.0
    assert state_file.time_saved(str(logdir / "other-2")) is None


def test_in_a_copy_one_that_a_killed_process_could_not_name_is_found(logdir, copied):
    saves(logdir, 5, 10)
    saves(logdir, 15, name_newest=False)
    assert start(copied(logdir)) == str(logdir.parent / "copy" / "model.ckpt-15")


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: 'model_checkpoint_path: "model.ckpt-5"\n',
        lambda text: text.replace("model.ckpt-10", "model.ckpt-5"),
        lambda text: text.replace("model.ckpt-10", "model.ckpt-5", 1),
        lambda text: "".join(line for line in text.splitlines(True) if "-10" not in line),
    ],
    ids=["one line", "each name", "the first name", "lines removed"],
)
def test_in_a_copy_one_that_was_edited_to_an_older_step_is_obeyed(logdir, copied, edit):
    saves(logdir, 5, 10)
    text = edit((logdir / "checkpoint").read_text())
    if not text.startswith("model_checkpoint_path"):
        text = f'model_checkpoint_path: "{logdir}/model.ckpt-5"\n' + text
    (logdir / "checkpoint").write_text(text)
    assert start(logdir) == str(logdir / "model.ckpt-5")
    assert start(copied(logdir)) == str(logdir.parent / "copy" / "model.ckpt-5")


def test_in_a_copy_what_was_given_up_is_not_come_back_to(logdir, copied):
    saves(logdir, 5, 10)
    (logdir / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-5"\n')
    saves(logdir, 7)
    assert start(logdir) == str(logdir / "model.ckpt-7")
    assert start(copied(logdir)) == str(logdir.parent / "copy" / "model.ckpt-7")
